//! Why an object is not ready: the chain from it to the first object that blocks, and the step that mends it. Pure: all is
//! decided by what was read.

mod commands;
mod deletion;
mod dns;
mod limits;
mod parents;
mod platform;
mod secrets;
mod step;
mod steps;

pub use step::{Shell, Step, Who};

use crate::kind::Kind;
use crate::object::{Object, Readiness, reason};
use crate::picture::{Lookup, Picture};
use mailtenant_api::{Condition, Reason};
use serde::Serialize;

/// One object of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    pub kind: Kind,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
    /// A reason of the API, `Ready`, or one of `Missing`, `Unread`, `Unseen`.
    pub reason: String,
    pub message: String,
    pub deleting: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    pub ready: bool,
    /// From the object that was asked about to the one that blocks.
    pub chain: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// What does not hold it up, and is worth to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Why {
    /// The object that blocks; none: nothing does.
    pub fn blocks(&self) -> Option<&Link> {
        self.chain.last().filter(|_| !self.ready)
    }
}

/// Where the chain ends.
enum End<'a> {
    /// The object says so itself.
    At(&'a Object, Condition),
    /// What `asked` names is not there.
    Missing { kind: Kind, name: String, asked: &'a Object },
    /// It could not be read.
    Unread { kind: Kind, name: String, asked: &'a Object },
    /// The operator has not looked at it.
    Unseen(&'a Object),
    /// `parent` is being deleted, and `asked` is not.
    Going { parent: &'a Object, asked: &'a Object },
}

/// What an object waits for.
enum Next<'a> {
    Object(&'a Object),
    /// What the object, or one above it, names is not there.
    Absent(&'a Object, Kind, String),
    /// It could not be read.
    Unread(&'a Object, Kind, String),
    /// Nothing else: it is the cause itself.
    Here,
}

/// Why `object` is not ready.
pub fn why(picture: &Picture, object: &Object, shell: &Shell) -> Why {
    if object.is_ready() {
        return Why { ready: true, chain: vec![link(object)], step: None, notes: steps::notes(object) };
    }
    let (chain, end) = walk(picture, object);
    let step = match end {
        End::At(object, condition) => steps::at(picture, object, &condition, shell),
        End::Missing { kind, name, asked } => parents::missing(picture, (kind, &name), asked, shell),
        End::Unread { kind, name, asked } => platform::unread((kind, &name), asked, shell),
        End::Unseen(object) => platform::unseen(object, shell),
        End::Going { parent, asked } => parents::going(parent, asked, shell),
    };
    let step = deletion::with_last_resort(picture, step, &chain, shell);
    Why { ready: false, chain, step: Some(step), notes: vec![] }
}

/// What an object waits for in the end, in few words; none: it is ready, or waits for nobody else.
pub fn waits_for(picture: &Picture, object: &Object) -> Option<String> {
    if object.is_ready() {
        return None;
    }
    let (chain, _) = walk(picture, object);
    let last = chain.last().filter(|_| chain.len() > 1)?;
    Some(format!("{}/{} ({})", last.kind.as_str(), last.name, last.reason))
}

fn walk<'a>(picture: &'a Picture, object: &'a Object) -> (Vec<Link>, End<'a>) {
    let (mut chain, mut at) = (vec![link(object)], object);
    loop {
        let condition = match at.readiness() {
            Readiness::Not(condition) => condition,
            Readiness::Unseen | Readiness::Ready => return (chain, End::Unseen(at)),
        };
        match next(picture, at, &condition) {
            // A circle cannot come from references that go upwards; a deletion may lead down again.
            Next::Object(other) if !chain.iter().any(|l| same(l, other)) => {
                chain.push(link(other));
                if other.is_deleting() && !at.is_deleting() {
                    return (chain, End::Going { parent: other, asked: at });
                }
                at = other;
            }
            Next::Object(_) | Next::Here => return (chain, End::At(at, condition)),
            Next::Absent(asked, kind, name) => {
                chain.push(absent(asked, kind, &name, "Missing", "it does not exist"));
                return (chain, End::Missing { kind, name, asked });
            }
            Next::Unread(asked, kind, name) => {
                // What waits for it has the words.
                chain.push(absent(asked, kind, &name, "Unread", &condition.message));
                return (chain, End::Unread { kind, name, asked });
            }
        }
    }
}

fn same(link: &Link, object: &Object) -> bool {
    link.kind == object.kind && link.namespace == object.namespace() && link.name == object.name()
}

fn link(object: &Object) -> Link {
    let (reason, message) = match object.readiness() {
        Readiness::Ready => ("Ready".to_owned(), String::new()),
        Readiness::Unseen => ("Unseen".to_owned(), "the operator has not looked at it yet".to_owned()),
        Readiness::Not(condition) => (condition.reason, condition.message),
    };
    Link {
        kind: object.kind,
        namespace: object.namespace().into(),
        name: object.name().into(),
        reason,
        message,
        deleting: object.is_deleting(),
    }
}

fn absent(asked: &Object, kind: Kind, name: &str, reason: &str, message: &str) -> Link {
    let namespace = if kind.is_namespaced() { asked.namespace() } else { "" };
    Link {
        kind,
        namespace: namespace.into(),
        name: name.into(),
        reason: reason.into(),
        message: message.into(),
        deleting: false,
    }
}

/// To whom a reason points.
enum Direction {
    /// To a target of the alias.
    Target,
    /// To whatever in the domain is not ready.
    Child,
    /// To the instance, if it says so itself.
    Instance,
    /// To the parent that is missing or not ready.
    Parent,
    /// To whoever above says the same.
    SameAbove,
    /// To nobody: the object says itself what is to be done.
    Here,
}

fn direction(reason: Reason) -> Direction {
    match reason {
        Reason::MailboxNotFound | Reason::MailboxNotReady => Direction::Target,
        Reason::AwaitingAcceptance => Direction::Child,
        Reason::Paused | Reason::MassLossHeld => Direction::Instance,
        Reason::InstanceNotFound
        | Reason::DomainNotFound
        | Reason::BackendNotFound
        | Reason::InstanceNotReady
        | Reason::DomainNotReady => Direction::Parent,
        Reason::BackendNotAllowed
        | Reason::BackendUnreachable
        | Reason::BackendUnauthorized
        | Reason::BackendRejected
        | Reason::Unsupported
        | Reason::SecretNotFound
        | Reason::SecretInvalid
        | Reason::ZoneNotFound
        | Reason::ZoneReadOnly
        | Reason::Undecodable
        | Reason::Drifted
        | Reason::TimedOut
        | Reason::KubernetesError
        | Reason::InternalError => Direction::SameAbove,
        Reason::Succeeded
        | Reason::Progressing
        | Reason::QuotaExceeded
        | Reason::LimitExceeded
        | Reason::AddressInUse
        | Reason::DomainClaimed
        | Reason::OwnershipUnproven
        | Reason::DNSConflict
        | Reason::AwaitingRecords
        | Reason::RegistrationGone
        | Reason::NameServersMoved
        | Reason::DNSSECBroken
        | Reason::MXElsewhere
        | Reason::RecordsChanged
        | Reason::ConfigMapNotOwned
        | Reason::AwaitingApproval
        | Reason::AwaitingFirstAddress
        | Reason::AwaitingPolicyEnd
        | Reason::DNSPropagating
        | Reason::ExistsAtBackend
        | Reason::NotEntitled
        | Reason::SecretNotOwned
        | Reason::ExternalForwardingDenied
        | Reason::InvalidSpec
        | Reason::Deleting
        | Reason::HasInstances
        | Reason::HasDomains
        | Reason::HasMailboxes
        | Reason::HasAliases
        | Reason::ReferencedByAlias
        | Reason::Draining => Direction::Here,
    }
}

/// What an object waits for. A reason that is passed down from above (`BackendNotFound` of a mailbox) is followed upwards as long
/// as the one above is not ready either.
fn next<'a>(picture: &'a Picture, object: &'a Object, condition: &Condition) -> Next<'a> {
    let Some(reason) = reason(condition) else { return Next::Here };
    if condition.type_ == "DeletionBlocked"
        && let Some(next) = deletion::next(picture, object, reason)
    {
        return next;
    }
    match direction(reason) {
        Direction::Target => first_target(picture, object, reason),
        Direction::Child => {
            let waiting = picture.children(object).into_iter().find(|o| !o.is_ready());
            waiting.map_or(Next::Here, Next::Object)
        }
        Direction::Instance => {
            let other = |i: &&Object| i.uid() != object.uid() && !i.is_ready() && !object.is_paused();
            let meant = |i: &&Object| reason == Reason::MassLossHeld || i.is_paused();
            let instance = picture.above(object, Kind::MailInstance);
            instance.filter(other).filter(meant).map_or(Next::Here, Next::Object)
        }
        Direction::Parent => upwards(picture, object, reason),
        Direction::SameAbove => same_above(picture, object, condition),
        Direction::Here => Next::Here,
    }
}

/// Towards the parent that is missing or not ready.
fn upwards<'a>(picture: &'a Picture, object: &'a Object, reason: Reason) -> Next<'a> {
    if [Reason::InstanceNotReady, Reason::DomainNotReady].contains(&reason) {
        let not_ready = picture.upwards(object).skip(1).find(|o| !o.is_ready());
        return not_ready.map_or_else(|| missing(picture, object, reason), Next::Object);
    }
    let says_the_same = |o: &&Object| matches!(o.readiness(), Readiness::Not(c) if c.reason == reason.as_str());
    let parent = picture.parent(object).and_then(Lookup::object);
    parent.filter(says_the_same).map_or_else(|| missing(picture, object, reason), Next::Object)
}

/// The first that is named above an object and not there.
fn missing<'a>(picture: &'a Picture, object: &'a Object, reason: Reason) -> Next<'a> {
    for asked in picture.upwards(object) {
        let dns = asked.dns_backend().filter(|_| reason == Reason::BackendNotFound);
        for (kind, name) in dns.map(|name| (Kind::DNSBackend, name)).into_iter().chain(asked.parent()) {
            match picture.get(kind, asked.namespace(), name) {
                Lookup::There(_) => {}
                Lookup::Missing => return Next::Absent(asked, kind, name.into()),
                Lookup::Unread => return Next::Unread(asked, kind, name.into()),
            }
        }
    }
    Next::Here
}

/// Whether what an object says is passed down by a backend that is not ready: what is on it says the same, or that it cannot be
/// reached.
fn passed_down(backend: &Object, condition: &Condition) -> bool {
    match backend.readiness() {
        Readiness::Ready => false,
        Readiness::Unseen => condition.reason == Reason::BackendUnreachable.as_str(),
        Readiness::Not(own) => {
            own.reason == condition.reason || condition.reason == Reason::BackendUnreachable.as_str()
        }
    }
}

/// A fault of a backend is one of the backend object, if that is not ready; else of the next one above that says the same.
fn same_above<'a>(picture: &'a Picture, object: &'a Object, condition: &Condition) -> Next<'a> {
    let dns = object.dns_backend().and_then(|name| picture.get(Kind::DNSBackend, "", name).object());
    if let Some(backend) = dns.filter(|b| passed_down(b, condition)) {
        return Next::Object(backend);
    }
    let Some(Lookup::There(parent)) = picture.parent(object) else { return Next::Here };
    let says_the_same = match parent.readiness() {
        Readiness::Not(above) => above.reason == condition.reason,
        Readiness::Ready | Readiness::Unseen => false,
    };
    // The Secret of a mailbox is its own, unless all above say that of theirs.
    if says_the_same {
        return Next::Object(parent);
    }
    let other = |b: &&Object| b.uid() != object.uid() && passed_down(b, condition);
    picture.above(object, Kind::GroupwareBackend).filter(other).map_or(Next::Here, Next::Object)
}

/// The first target of an alias that is missing or not ready.
fn first_target<'a>(picture: &'a Picture, alias: &'a Object, reason: Reason) -> Next<'a> {
    for name in alias.target_mailboxes() {
        match picture.get(Kind::Mailbox, alias.namespace(), name) {
            Lookup::There(mailbox) if reason == Reason::MailboxNotReady && !mailbox.is_ready() => {
                return Next::Object(mailbox);
            }
            Lookup::Missing if reason == Reason::MailboxNotFound => {
                return Next::Absent(alias, Kind::Mailbox, name.into());
            }
            Lookup::Unread => return Next::Unread(alias, Kind::Mailbox, name.into()),
            Lookup::There(_) | Lookup::Missing => {}
        }
    }
    Next::Here
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
