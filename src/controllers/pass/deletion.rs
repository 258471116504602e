//! What all kinds say while they are being deleted, and when their children may go.

use super::draft::{Draft, WithStatus};
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::rules::{backend_ready, zones};
use crate::state::derived::journal;
use crate::state::parents;
use crate::state::snapshots::Since;
use crate::state::world::World;
use jiff::Timestamp;
use kube::Resource;
use mailtenant_api::*;
use mailtenant_groupware::{BackendError, DomainName, DomainSnapshot, Removal};
use mailtenant_mail::merge;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::time::Duration;

/// Waiting for others: names up to five, and how many more.
pub fn blocked(reason: Reason, what: &str, names: &[impl AsRef<str>]) -> NotReady {
    let shown: Vec<&str> = names.iter().take(5).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(5);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    NotReady::waiting(reason, format!("deletion waits for {what} {}{more}: delete them first", shown.join(", ")))
}

/// Conditions of an object that is being deleted and may not go yet.
pub fn conditions<K: Resource>(object: &K, old: &[Condition], not_ready: &NotReady, now: Timestamp) -> Vec<Condition> {
    let mut conditions = Conditions::new(old, object.meta().generation.unwrap_or_default(), now);
    blocked_conditions(&mut conditions, not_ready);
    conditions.into_vec()
}

/// The same, put into conditions.
pub fn blocked_conditions(conditions: &mut Conditions, not_ready: &NotReady) {
    conditions.waiting(Reason::Deleting, format!("being deleted; {}", not_ready.message));
    conditions.set(ConditionType::DeletionBlocked, true, not_ready.reason, not_ready.message.clone());
}

/// What a `deletionPolicy` means for a server.
pub fn removal(policy: DeletionPolicy) -> Removal {
    match policy {
        DeletionPolicy::Delete => Removal::Destroy,
        DeletionPolicy::Retain => Removal::Keep,
    }
}

/// A call that takes something down failed: the object waits, and the backend's own pass looks at the server.
pub fn failed(ctx: &Ctx, server: &Groupware, error: &BackendError) -> Cleanup<NotReady> {
    ctx.backend_failed(server, error);
    Cleanup::Waiting(with_way_out(NotReady::backend(&server.label(), error)))
}

/// The server keeps a domain or a tenant because of rows below it, and no object for them is here.
pub fn left_below(label: &str, what: &str) -> NotReady {
    let text = format!(
        "{label}: {what}. It is looked at again. Where objects that no longer exist left it there, the platform team has to \
         remove it (docs/operations.md, \"Freeing a name\")."
    );
    with_way_out(NotReady::retry(Reason::ExistsAtBackend, text))
}

/// Something in a domain of which no pass ever said that it was made, as of its domain.
pub fn nothing_made<K: WithStatus>(ctx: &Ctx, draft: &Draft<K>, domain: &str) -> Option<Cleanup<NotReady>> {
    let domain = NamespacedName::of(draft.object.as_ref()).sibling(domain);
    let nothing = never_made(draft.status.ownership()) && parent_never_made(&ctx.world(), &domain);
    nothing.then_some(Cleanup::Done)
}

/// A domain that is gone held its finalizer until nothing was in it: nothing can be left of what was never made. One that is
/// there and cannot be used is waited for; also where its instance is gone by force, since the server may have what no
/// status tells of.
pub fn parentless(ownership: Option<Ownership>, not_ready: NotReady) -> Cleanup<NotReady> {
    match not_ready.reason {
        Reason::DomainNotFound if never_made(ownership) => Cleanup::Done,
        _ => Cleanup::Waiting(with_way_out(not_ready)),
    }
}

/// Whether the domain of an object was never made either: then nothing of the object can be anywhere, whatever becomes
/// of the backend. An object is made only after its domain has said in its status that it was made.
pub fn parent_never_made(world: &World, domain: &NamespacedName) -> bool {
    let nothing = |s: &MailDomainStatus| {
        // One that is only observed is there, and things can be made in it.
        s.ownership.is_none() && !conditions::is_true(&s.conditions, ConditionType::Provisioned)
    };
    world.domains.get(domain).is_some_and(|d| d.status.as_ref().is_none_or(nothing))
}

/// What `managementPolicy: Observe` means for a deletion: nothing is written, so what was made must be dealt with first.
pub fn observed() -> Cleanup<NotReady> {
    let text =
        "nothing is written (managementPolicy: Observe), and the backend still has what was made before: set Full";
    Cleanup::Waiting(NotReady::waiting(Reason::Paused, text))
}

/// How old a read may be that serves all who are deleted together. Whoever made something lately put it in itself.
pub const JUST_NOW: Duration = Duration::from_secs(5);

/// The same for what lies in a domain. One whose status says that nothing was made is looked for all the same: the status
/// after a creation can have been lost, and nobody would come back for what was made (I2).
pub async fn observed_row(
    ctx: &Ctx,
    instance: &parents::Instance,
    domain: (&NamespacedName, &DomainName),
    ownership: Option<Ownership>,
    ours: impl FnOnce(&DomainSnapshot) -> bool,
) -> Step<Cleanup<NotReady>> {
    if never_made(ownership) {
        backend_ready::groupware(&instance.backend).map_err(with_way_out)?;
        let server = ctx.groupware(&instance.object.spec.backend_ref.name).await?;
        let there = ctx.rows(&server, domain.0, domain.1, Since::within(JUST_NOW), ours).await;
        if !there.map_err(|e| with_way_out(NotReady::backend(&server.label(), &e)))? {
            return Ok(Cleanup::Done);
        }
    }
    Ok(observed())
}

/// Something that was made is not there. That is proof only if the server is the one that we know: with a large part of
/// the instance's mailboxes missing it may be a restored or a wrong one, and what is on the right one would be orphaned.
pub async fn not_there(ctx: &Ctx, server: &crate::connections::Groupware, instance: &parents::Instance) -> Step<()> {
    match crate::rules::mass_loss::allow(ctx, server, instance).await {
        Err(Stop::NotReady(not_ready)) => Err(with_way_out(not_ready).into()),
        other => other,
    }
}

/// Whether MX is ours, or was seen to be as it would be: somebody's before us, or while the domain was only observed.
fn mx_leads_here(domain: &MailDomain) -> bool {
    domain.status.iter().flat_map(|s| journal(domain, s)).any(merge::leads_here)
}

/// Adds the way out to a message, where there is one. What was refused is tried again: it may be mended where nobody wakes us.
pub fn with_way_out(not_ready: NotReady) -> NotReady {
    let next = if not_ready.next == Next::Settled { Next::Retry } else { not_ready.next };
    if !not_ready.reason.lies_at_a_backend() {
        return NotReady { stalled: false, next, ..not_ready };
    }
    let help =
        "If that will never be mended, the annotation mailtenant.dev/orphan: \"true\" lets this object go without it.";
    let stop = if not_ready.message.ends_with('.') { "" } else { "." };
    NotReady { message: format!("{}{stop} {help}", not_ready.message), stalled: false, next, ..not_ready }
}

/// While a domain is on its way out and resolvers may still send mail here, its mailboxes and aliases stay (I7).
///
/// `leaving`: the namespace is being deleted, so the domain goes too, whether it knows yet or not. `given_up`: its DNS, so
/// that nobody will withdraw MX.
pub fn draining(domain: &MailDomain, leaving: bool, given_up: bool, now: Timestamp) -> Option<NotReady> {
    if domain.metadata.deletion_timestamp.is_none() && !leaving {
        return None;
    }
    let status = domain.status.clone().unwrap_or_default();
    let name = &domain.spec.domain;
    let object = domain.metadata.name.as_deref().unwrap_or_default();
    if domain.spec.management_policy == ManagementPolicy::Observe && mx_leads_here(domain) {
        let text = format!(
            "MX of {name} points here, and MailDomain {object} is only observed: set its managementPolicy: Full, so that MX leaves first"
        );
        return Some(NotReady::waiting(Reason::Draining, text));
    }
    // The journal, not the state: it names MX before MX is written.
    let left = match &status.draining_until {
        Some(until) if !may_be_the_end(domain, until) => {
            let text = format!(
                "status.drainingUntil of MailDomain {object} cannot be right: the domain's own pass sets it anew"
            );
            return Some(NotReady::waiting(Reason::Draining, text));
        }
        Some(until) => remaining(until, now)?,
        None if mx_leads_here(domain) && !given_up => {
            let text =
                format!("MX of {name} still points here: it leaves first, see the conditions of MailDomain {object}");
            return Some(NotReady::waiting(Reason::Draining, text));
        }
        // Somebody may have set MX since the last look.
        None if !given_up && looks_first(domain, &status) => {
            let text = format!("MailDomain {object} looks first whether MX of {name} leads here: see its conditions");
            return Some(NotReady::waiting(Reason::Draining, text));
        }
        None => return None,
    };
    let until = status.draining_until.unwrap_or_default();
    let message =
        format!("resolvers may send mail for {name} here until {until}: the backend goes on accepting till then");
    Some(NotReady { next: Next::After(left), ..NotReady::waiting(Reason::Draining, message) })
}

/// Whether a domain that is on its way out has to look where MX leads before anything in it goes: its tenant edits the
/// records, and what its status says of them is as old as the last look.
fn looks_first(domain: &MailDomain, status: &MailDomainStatus) -> bool {
    let written = domain.spec.management_policy == ManagementPolicy::Full;
    zones::by_hand(domain) && written && !never_made(status.ownership)
}

/// Whether a stamp can be the end of draining: it can be read, and is after the deletion was asked for. Whoever may write the
/// status must not end the wait with it.
pub fn may_be_the_end(domain: &MailDomain, until: &str) -> bool {
    let asked = domain.metadata.deletion_timestamp.as_ref().map(|t| t.0);
    until.parse::<Timestamp>().is_ok_and(|until| asked.is_some_and(|asked| until > asked))
}

/// Time until a stamp; none if it has passed.
pub fn remaining(until: &str, now: Timestamp) -> Option<Duration> {
    let until: Timestamp = until.parse().ok()?;
    let left = until.duration_since(now);
    (left.is_positive() && !left.is_zero()).then(|| Duration::from_millis(left.as_millis().max(1) as u64))
}

/// [`with_way_out`] of a step that ended the pass.
pub fn stop_with_way_out(stop: Stop) -> Stop {
    match stop {
        Stop::NotReady(not_ready) => Stop::NotReady(with_way_out(not_ready)),
        stop => stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use serde_json::{Value, json};

    /// A domain that is being deleted, with one MX record in its journal.
    fn domain(policy: &str, mx: Value, until: Value) -> MailDomain {
        let mut domain = (*fixtures::domain(json!({})).object).clone();
        domain.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        domain.spec.management_policy = serde_json::from_value(json!(policy)).unwrap();
        let record = |mx: Value| {
            let mut record =
                json!({"purpose": "MX", "name": "acme.test", "type": "MX", "value": "10 mx.test.", "ttl": 60});
            record.as_object_mut().unwrap().extend(mx.as_object().unwrap().clone());
            record
        };
        let records: Vec<Value> = if mx.is_null() { vec![] } else { vec![record(mx)] };
        let status = json!({"conditions": [], "drainingUntil": until, "dns": {"records": records}});
        domain.status = serde_json::from_value(status).unwrap();
        domain
    }

    #[test]
    fn children_wait_while_mx_may_still_lead_here() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let ours = || json!({"state": "Ok", "ownership": "Created"});
        let found = || json!({"state": "Ok", "ownership": "Observed"});
        let missing = || json!({"state": "Missing"});
        let above = || json!({"state": "Ok", "ownership": "Created", "name": "test"});
        for (name, policy, mx, until, waits) in [
            ("ours", "Full", ours(), Value::Null, true),
            ("withdrawn, old TTL", "Full", Value::Null, json!("2026-01-01T00:10:01Z"), true),
            ("withdrawn, TTL over", "Full", Value::Null, json!("2026-01-01T00:10:00Z"), false),
            ("never ours", "Full", missing(), Value::Null, false),
            // Whoever may write a status must not end the wait with it.
            ("unreadable", "Full", Value::Null, json!("soon"), true),
            ("empty", "Full", Value::Null, json!(""), true),
            ("over before the deletion", "Full", Value::Null, json!("2025-12-31T00:00:00Z"), true),
            ("ours, observed", "Observe", ours(), Value::Null, true),
            ("led here before us", "Full", found(), Value::Null, true),
            ("led here before us, observed", "Observe", found(), Value::Null, true),
            ("a name above, of somebody else", "Full", above(), Value::Null, false),
            ("leads elsewhere, observed", "Observe", missing(), Value::Null, false),
            ("withdrawn, old TTL, observed", "Observe", Value::Null, json!("2026-01-01T00:10:01Z"), true),
        ] {
            let not_ready = draining(&domain(policy, mx, until), false, false, now);
            assert_eq!(not_ready.is_some(), waits, "{name}: {not_ready:?}");
        }
        // Of records that the tenant edits a status says only what was seen last.
        let by_hand = |policy: &str, made: bool, until: Value| {
            let mut domain = domain(policy, missing(), until);
            domain.spec.dns.mode = mail_domain::DnsMode::Manual;
            domain.status.as_mut().unwrap().ownership = made.then_some(Ownership::Created);
            domain
        };
        for (name, policy, made, until, given_up, waits) in [
            ("edited by hand, not looked at yet", "Full", true, Value::Null, false, true),
            ("looked at", "Full", true, json!("2026-01-01T00:09:00Z"), false, false),
            ("its DNS is given up", "Full", true, Value::Null, true, false),
            ("nothing was made", "Full", false, Value::Null, false, false),
            ("only observed: nobody looks", "Observe", true, Value::Null, false, false),
        ] {
            assert_eq!(draining(&by_hand(policy, made, until), false, given_up, now).is_some(), waits, "{name}");
        }
        // The annotation alone, and a status that says why, give nothing up.
        for (name, policy, mx, until, given_up, waits) in [
            ("the word alone", "Full", ours(), Value::Null, false, true),
            ("its DNS is given up", "Full", ours(), Value::Null, true, false),
            ("led here before us, and its DNS is given up", "Full", found(), Value::Null, true, false),
            ("only observed", "Observe", ours(), Value::Null, true, true),
            ("it has left, and the old TTL runs", "Full", Value::Null, json!("2026-01-01T00:10:01Z"), true, true),
        ] {
            let mut orphaned = domain(policy, mx, until);
            orphaned.metadata.annotations = Some([(annotations::ORPHAN.to_owned(), "true".to_owned())].into());
            let blocked = json!([{"type": "DeletionBlocked", "status": "True", "reason": "BackendUnreachable",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            orphaned.status.as_mut().unwrap().conditions = serde_json::from_value(blocked).unwrap();
            assert_eq!(draining(&orphaned, false, given_up, now).is_some(), waits, "{name}");
        }
    }

    #[test]
    fn the_way_out_is_said_where_it_counts() {
        for reason in Reason::ALL.iter().copied() {
            let said = with_way_out(NotReady::waiting(reason, "why"));
            assert_eq!(said.message.contains(annotations::ORPHAN), reason.lies_at_a_backend(), "{reason}");
            assert_eq!(said.next, Next::Retry, "{reason}");
        }
        let Cleanup::Waiting(observed) = observed() else { panic!("it waits") };
        assert!(!observed.reason.lies_at_a_backend(), "Full is the way out: {}", observed.message);
    }
}
