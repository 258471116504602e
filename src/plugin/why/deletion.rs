//! Deletions that wait: for whom, and what lets them go on.

use super::step::{Shell, Step, Who};
use super::{Link, Next};
use crate::kind::Kind;
use crate::object::{Object, Readiness};
use crate::picture::Picture;
use mailtenant_api::Reason;

/// Those whose deletion `object` waits for; none: it waits for something else.
fn blockers<'a>(picture: &'a Picture, object: &'a Object, reason: Reason) -> Vec<&'a Object> {
    let children = |kind: Kind| picture.children(object).into_iter().filter(|o| o.kind == kind).collect::<Vec<_>>();
    match reason {
        Reason::HasInstances => children(Kind::MailInstance),
        Reason::HasDomains => children(Kind::MailDomain),
        Reason::HasMailboxes if object.kind == Kind::MailInstance => lost(picture, object, Kind::Mailbox),
        Reason::HasAliases if object.kind == Kind::MailInstance => lost(picture, object, Kind::MailAlias),
        Reason::HasMailboxes => children(Kind::Mailbox),
        Reason::HasAliases => children(Kind::MailAlias),
        Reason::ReferencedByAlias => picture.aliases_to(object),
        _ => vec![],
    }
}

/// Of an instance: what is in domains whose MailDomain is gone.
fn lost<'a>(picture: &'a Picture, instance: &Object, kind: Kind) -> Vec<&'a Object> {
    let beside = picture.of_kind(kind).filter(|o| o.namespace() == instance.namespace());
    beside.filter(|o| picture.parent(o).is_some_and(|p| p.object().is_none())).collect()
}

/// Whom a blocked deletion waits for, if it is another object that is on its way out already.
pub fn next<'a>(picture: &'a Picture, object: &'a Object, reason: Reason) -> Option<Next<'a>> {
    if reason == Reason::Draining {
        let domain = picture.above(object, Kind::MailDomain)?;
        let other = domain.uid() != object.uid() && domain.is_deleting();
        return Some(if other { Next::Object(domain) } else { Next::Here });
    }
    let blockers = blockers(picture, object, reason);
    // Somebody has to delete those that nobody deletes: it is said of the object that waits for them.
    if blockers.is_empty() || blockers.iter().any(|o| !o.is_deleting()) {
        return None;
    }
    let blocked = |o: &&&Object| matches!(o.readiness(), Readiness::Not(c) if c.type_ == "DeletionBlocked");
    blockers.iter().find(blocked).or(blockers.first()).map(|o| Next::Object(o))
}

/// What lets a deletion go on that waits for others.
pub fn waits(picture: &Picture, object: &Object, reason: Reason, shell: &Shell) -> Step {
    let blockers = blockers(picture, object, reason);
    let here: Vec<&Object> = blockers.iter().copied().filter(|o| !o.is_deleting()).collect();
    let who = if object.kind.is_namespaced() { Who::Tenant } else { Who::Platform };
    let Some(first) = here.first() else {
        let text = "what it waits for is not among the objects that were read: the message names it";
        return Step::new(who, text).look(shell.kubectl("get mail --all-namespaces"));
    };
    if who == Who::Platform {
        return still_used(object, (first, &here), shell);
    }
    let kind = first.kind.word();
    let mut commands = vec![];
    for namespace in here.iter().map(|o| o.namespace()).collect::<std::collections::BTreeSet<_>>() {
        let names: Vec<&str> = here.iter().filter(|o| o.namespace() == namespace).map(|o| o.name()).collect();
        commands.push(shell.kubectl(&format!("delete {kind} {} -n {namespace} --wait=false", names.join(" "))));
    }
    let text = match reason {
        Reason::ReferencedByAlias => {
            "delete the aliases, or take the mailbox out of their targets; it goes by itself then"
        }
        _ => "delete them, if all of it is to go: the deletion goes on by itself then",
    };
    Step::tenant(text).run(commands.join(" && "))
}

/// How many tenants a step names.
const NAMED: usize = 5;

/// A backend is to go, and tenants are on it. Which of them are to go too is between the platform team and them: no command does
/// that at once.
fn still_used(backend: &Object, (first, here): (&Object, &[&Object]), shell: &Shell) -> Step {
    let names: Vec<String> = here.iter().take(NAMED).map(|o| format!("{}/{}", o.namespace(), o.name())).collect();
    let more = here.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!(
        "{} is used by {} {}{more}. Settle with the tenants what becomes of them: the deletion goes on by itself when none of them is \
         left",
        backend.label(),
        first.kind.as_str(),
        names.join(", ")
    );
    Step::platform(text).look(shell.kubectl(&format!("get {} --all-namespaces", first.kind.resource().plural)))
}

/// Adds the way out where a backend blocks a deletion for good: of the object in the chain that waits for the backend.
pub fn with_last_resort(picture: &Picture, step: Step, chain: &[Link], shell: &Shell) -> Step {
    let stuck = |link: &&Link| {
        let reason = Reason::ALL.iter().find(|r| r.as_str() == link.reason);
        link.deleting && link.kind.is_namespaced() && reason.is_some_and(|r| r.lies_at_a_backend())
    };
    let found = chain.iter().rev().find(stuck).and_then(|l| picture.get(l.kind, &l.namespace, &l.name).object());
    Step { last_resort: found.map(|object| shell.plugin("orphan", object)), ..step }
}

/// MX has left, or has to.
pub fn draining(picture: &Picture, object: &Object, message: &str, shell: &Shell) -> Step {
    let observed = picture.above(object, Kind::MailDomain).filter(|d| d.text("/spec/managementPolicy") == "Observe");
    match observed {
        Some(domain) => Step::tenant("the domain is only observed: let the operator take MX out")
            .run(shell.merge(domain, &serde_json::json!({"spec": {"managementPolicy": "Full"}}))),
        None => Step::wait(format!("wait, until nobody can send mail by the old MX any more: {message}")),
    }
}
