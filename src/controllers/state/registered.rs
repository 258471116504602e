//! The registered kinds, as far as the watching half goes: where their objects are, and the lanes of their passes.

use super::kind::{Kind, ObjectId};
use super::managed::{Managed, Stored};
use super::world::World;
use mailtenant_api::*;
use mailtenant_runtime::queue::Lane;
use mailtenant_runtime::store::Store;

macro_rules! registered {
    ($($kind:ident: $store:ident),* $(,)?) => {
        impl World {
            /// The lane of the work queue that an object's passes run in.
            pub fn lane(&self, id: &ObjectId) -> Lane {
                match id.kind {
                    $(Kind::$kind => <$kind as Managed>::lane(self, &id.key)),*
                }
            }
        }

        $(impl Stored for $kind {
            const KIND: Kind = Kind::$kind;
            fn store(world: &World) -> &Store<Self> {
                &world.$store
            }
            fn store_mut(world: &mut World) -> &mut Store<Self> {
                &mut world.$store
            }
        })*
    };
}
with_kinds!(registered);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use mailtenant_runtime::store::Event;
    use serde_json::json;

    fn backend(version: &str, status: &str, reason: &str) -> GroupwareBackend {
        let mut backend = (*fixtures::domain(json!({})).instance.backend).clone();
        backend.metadata.namespace = None;
        backend.metadata.resource_version = Some(version.into());
        let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        backend.status = serde_json::from_value(json!({"conditions": [condition]})).unwrap();
        backend
    }

    #[test]
    fn why_a_server_is_away_and_that_it_is_back_is_told_by_all_that_is_on_it() {
        let mut world = World::default();
        let domain = fixtures::domain(json!({}));
        world.apply(Event::Applied((*domain.instance.object).clone()));
        world.apply(Event::Applied((*domain.object).clone()));
        world.apply(Event::Applied(fixtures::mailbox(json!({}), json!({}))));
        let mut told = |b: GroupwareBackend| -> Vec<Kind> {
            let deltas = world.apply(Event::Applied(b));
            let wakes = deltas.iter().flat_map(|d| GroupwareBackend::wakeups(&world, d).now);
            let mut kinds: Vec<Kind> = wakes.map(|(id, _)| id.kind).filter(|k| *k != Kind::GroupwareBackend).collect();
            kinds.sort();
            kinds
        };
        let all = [Kind::MailInstance, Kind::MailDomain, Kind::Mailbox];
        assert_eq!(told(backend("2", "False", "BackendUnreachable")), all);
        assert_eq!(told(backend("3", "False", "BackendUnreachable")), Vec::<Kind>::new());
        assert_eq!(told(backend("4", "False", "BackendUnauthorized")), all);
        assert_eq!(told(backend("5", "False", "BackendUnreachable")), all);
        assert_eq!(told(backend("6", "False", "TimedOut")), Vec::<Kind>::new(), "that is about the backend's own pass");
        assert_eq!(told(backend("7", "True", "Succeeded")), all);
    }

    #[test]
    fn those_in_a_domain_are_told_when_it_goes_and_when_it_is_only_observed() {
        let mut world = World::default();
        let live = fixtures::domain(json!({}));
        world.apply(Event::Applied((*live.instance.object).clone()));
        world.apply(Event::Applied(fixtures::mailbox(json!({}), json!({}))));
        let mut told = |version: &str, deleted: bool, orphan: bool, policy: ManagementPolicy| -> usize {
            let mut domain = (*live.object).clone();
            domain.spec.management_policy = policy;
            domain.metadata.resource_version = Some(version.into());
            domain.metadata.deletion_timestamp =
                deleted.then(|| serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
            let note = orphan.then(|| (annotations::ORPHAN.to_owned(), "true".to_owned()));
            domain.metadata.annotations = Some(note.into_iter().collect());
            let deltas = world.apply(Event::Applied(domain));
            let wakes = deltas.iter().flat_map(|d| MailDomain::wakeups(&world, d).now);
            wakes.filter(|(id, _)| id.kind == Kind::Mailbox).count()
        };
        use ManagementPolicy::{Full, Observe};
        told("2", false, false, Full);
        assert_eq!(told("3", false, true, Full), 0, "while it lives the word means nothing");
        assert_eq!(told("4", false, false, Observe), 1, "whoever only looks needs no claim");
        assert_eq!(told("5", false, false, Full), 1);
        assert_eq!(told("6", true, false, Full), 1);
        assert_eq!(told("7", true, false, Observe), 1, "nobody takes its MX out any more: they wait for nothing");
        assert_eq!(
            told("8", true, true, Observe),
            0,
            "the word alone means nothing: its own pass tells them when it counts"
        );
    }
}
