//! Objects that were restored, or made anew in the same place, have new uids, and what they had at the server belongs to the
//! old ones. Whether they take it over is decided here, for all kinds (I14).
//!
//! A server notes where the owner of a row stood. In this cluster two objects of a kind never have the same namespace and
//! name: if the one who asks stands in that place, the old owner is no more. Of an owner in another cluster nobody here can
//! tell. In both cases the platform consents, by `spec.recovery` of the GroupwareBackend: the tenant's word would not do.

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::pass::draft::WithStatus;
use crate::rules::undeclared;
use crate::state::derived;
use kube::ResourceExt;
use mailtenant_api::{GroupwareBackend, Reason, is_deleting};
use mailtenant_groupware::{BackendError, Origin, Uid};
use mailtenant_runtime::dispatch::Next;
use std::collections::BTreeMap;

/// Whether objects of a namespace with these labels may take over what was lost.
pub fn consents(backend: &GroupwareBackend, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    backend.spec.recovery.as_ref().is_some_and(|r| r.allowed_namespaces.allows(namespace, labels))
}

/// The owner and its place, if `error` says that what is asked for belongs to somebody in the place of `own`.
pub fn predecessor<'a>(own: &Origin, error: &'a BackendError) -> Option<(&'a Uid, &'a Origin)> {
    match error {
        BackendError::Exists { owner: Some(owner), origin: Some(origin), .. } if origin.same_place(own) => {
            Some((owner, origin))
        }
        _ => None,
    }
}

/// Whom `object` replaces at the server, that answered with `error`. None: it belongs to nobody of this place. An error: it
/// does, and must not be taken over now.
pub async fn replaced<K: WithStatus>(
    ctx: &Ctx,
    server: &Groupware,
    object: &K,
    error: &BackendError,
) -> Step<Option<Uid>> {
    let own = derived::origin(ctx.world().cluster(), object);
    let Some((owner, origin)) = predecessor(&own, error) else { return Ok(None) };
    let allowed = consents(&server.object, &own.namespace, &ctx.world().namespace_labels(&own.namespace));
    if !allowed {
        return Err(not_allowed::<K>(&server.label(), error, owner, origin, &own).into());
    }
    // A live look: the watch may be late, and what is asked for may be another object's by now.
    let live = K::api(ctx, &own.namespace).get_opt(&own.name).await?;
    if live.is_some_and(|live| live.meta().uid == object.meta().uid && !is_deleting(&live)) {
        return Ok(Some(owner.clone()));
    }
    let text = format!("the {} is gone, or is being deleted: nothing is taken over", K::KIND.as_str());
    Err(NotReady::retry(Reason::Progressing, text).into())
}

/// The step that helps where the platform has not consented.
pub fn consent_needed(server: &str) -> String {
    format!("The platform team can allow to take it over, by spec.recovery of {server}")
}

fn not_allowed<K: WithStatus>(
    server: &str,
    error: &BackendError,
    owner: &Uid,
    origin: &Origin,
    own: &Origin,
) -> NotReady {
    let kind = K::KIND.as_str();
    let whose = match origin.cluster == own.cluster {
        true => format!("to a {kind} of this name that no longer exists (uid {owner})"),
        false => format!("to the {kind} of this name in another cluster ({}, uid {owner})", origin.cluster),
    };
    let what = match error {
        BackendError::Exists { what, .. } => what.as_str(),
        _ => "it",
    };
    let text = format!("{server}: {what} exists at the backend and belongs {whose}. {}", consent_needed(server));
    NotReady::stalled(Reason::ExistsAtBackend, text)
}

/// The words for an error of a call for `object`: what belongs to an object of another place names that object, if it is of
/// the same namespace (I11), and whether it still exists.
pub async fn refused<K: WithStatus>(ctx: &Ctx, server: &Groupware, object: &K, error: &BackendError) -> Step<NotReady> {
    let label = server.label();
    let BackendError::Exists { what, owner: Some(owner), origin, .. } = error else {
        return Ok(NotReady::backend(&label, error));
    };
    let Some(origin) = origin else {
        let lives = undeclared::is_living(&ctx.world(), owner);
        return Ok(if lives { NotReady::backend(&label, error) } else { ownerless(&label, what, owner) });
    };
    let (own, kind) = (derived::origin(ctx.world().cluster(), object), K::KIND.as_str());
    if let Some((owner, origin)) = predecessor(&own, error) {
        return Ok(not_allowed::<K>(&label, error, owner, origin, &own));
    }
    let (text, step) = if origin.cluster != own.cluster || origin.namespace != own.namespace {
        (format!("a {kind} of another namespace or cluster"), "ask the platform team")
    } else {
        let name = &origin.name;
        match K::api(ctx, &origin.namespace).get_opt(name).await? {
            Some(live) if live.uid().as_deref() == Some(owner.as_str()) => {
                (format!("{kind} {name}"), "delete one of the two")
            }
            _ => (format!("{kind} {name}, which no longer exists"), "create it again under that name to take it over"),
        }
    };
    let text = format!("{label}: {what} exists at the backend and belongs to {text}: {step}");
    Ok(NotReady { next: Next::Retry, ..NotReady::stalled(Reason::ExistsAtBackend, text) })
}

/// What belongs to an object that is not there, and that no object can take over: a person has to clear it up.
fn ownerless(server: &str, what: &str, owner: &Uid) -> NotReady {
    let text = format!(
        "{server}: {what} exists at the backend and belongs to an object that this cluster does not have (uid {owner}): the \
         platform team can remove it there, or take its owner away"
    );
    NotReady::stalled(Reason::ExistsAtBackend, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use mailtenant_api::{MailDomain, Mailbox};
    use mailtenant_groupware::ownership::exists;
    use serde_json::json;

    #[test]
    fn who_is_a_predecessor() {
        let own = Origin::parse(Some("c"), "t/alice").unwrap();
        for (owner, origin, predecessor) in [
            (Some("old"), Origin::parse(Some("c"), "t/alice"), true),
            (Some("old"), Origin::parse(Some("another"), "t/alice"), true),
            (Some("old"), Origin::parse(Some("c"), "t/bob"), false),
            (Some("old"), Origin::parse(Some("c"), "u/alice"), false),
            (Some("old"), None, false),
            (None, Origin::parse(Some("c"), "t/alice"), false),
        ] {
            let error = exists("mailbox a@x.test", owner.map(Uid::new).as_ref(), origin.as_ref());
            assert_eq!(super::predecessor(&own, &error).is_some(), predecessor, "{owner:?} {origin:?}");
        }
        assert_eq!(super::predecessor(&own, &BackendError::NotFound("it".into())), None);
    }

    #[test]
    fn nobody_consents_by_default() {
        let backend = fixtures::domain(json!({})).instance.backend;
        let labels = BTreeMap::new();
        assert!(!consents(&backend, "t", &labels));
        let mut allowing = backend.as_ref().clone();
        let recovery = json!({"allowedNamespaces": {"from": "Names", "names": ["t"]}});
        allowing.spec.recovery = serde_json::from_value(recovery).unwrap();
        assert!(consents(&allowing, "t", &labels) && !consents(&allowing, "u", &labels));
    }

    #[test]
    fn a_refusal_names_a_step_that_works() {
        let own = Origin::parse(Some("c"), "t/alice").unwrap();
        let error = exists("mailbox a@x.test", Some(&Uid::new("old")), Some(&own));
        let here = not_allowed::<Mailbox>("GroupwareBackend b", &error, &Uid::new("old"), &own, &own);
        let there = Origin::parse(Some("x"), "t/alice").unwrap();
        let elsewhere = not_allowed::<MailDomain>("GroupwareBackend b", &error, &Uid::new("old"), &there, &own);
        for (not_ready, words) in [(&here, "a Mailbox of this name that no longer exists"), (&elsewhere, "cluster (x,")]
        {
            assert!(not_ready.stalled && not_ready.reason == Reason::ExistsAtBackend);
            assert!(not_ready.message.contains(words), "{}", not_ready.message);
            assert!(not_ready.message.contains("spec.recovery of GroupwareBackend b"), "{}", not_ready.message);
            assert!(!not_ready.message.contains("IfUnowned"), "{}", not_ready.message);
        }
    }
}
