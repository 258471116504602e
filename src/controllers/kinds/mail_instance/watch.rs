//! What the watching half knows of a MailInstance: domains and their children see whether it can be used and how.

use crate::state::kind::{Kind, ObjectId};
use crate::state::lane;
use crate::state::managed::{Managed, Stored};
use crate::state::wakeups::{self, Wakeups};
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_runtime::queue::{Lane, Priority};
use mailtenant_runtime::store::{Delta, NamespacedName};
use std::sync::Arc;

impl Managed for MailInstance {
    fn index(world: &mut World, d: &Delta<Self>) {
        let backend = |i: &Option<Arc<MailInstance>>| i.as_ref().map(|i| i.spec.backend_ref.name.clone());
        world.index.instances_by_backend.update(&d.key, backend(&d.old), backend(&d.new));
        if d.new.is_none() {
            world.verdicts.forget(&d.key);
        }
    }

    fn wakeups(world: &World, delta: &Delta<Self>) -> Wakeups {
        let mut wakes = Wakeups::default();
        wakeups::of_itself(&mut wakes, <Self as Stored>::KIND, delta);
        let facet = |i: &MailInstance| {
            let status = i.status.clone().unwrap_or_default();
            (
                i.metadata.uid.clone(),
                i.metadata.generation,
                i.metadata.deletion_timestamp.is_some(),
                wakeups::flag(i, annotations::PAUSED),
                status.instance_id,
                status.ownership,
                status.mass_loss,
                // One that is being deleted does not judge any more: its word is for those below.
                i.metadata.deletion_timestamp.as_ref().and_then(|_| wakeups::flag(i, annotations::ACCEPT_MASS_LOSS)),
            )
        };
        if wakeups::differs(delta, facet) {
            wakes.add(wakeups::domains_of(world, &delta.key), Priority::Normal);
            wakes.add(world.children_of(&delta.key), Priority::Low);
            // What lies in its tenant without a MailDomain waits for it too. Of an instance that is new nothing does yet.
            if delta.old.is_some() {
                wakes.add(world.children_without_domain(&delta.key.namespace), Priority::Low);
            }
        }
        let id = ObjectId::new(Kind::GroupwareBackend, backend_key(delta.old.as_ref().or(delta.new.as_ref())));
        if delta.new.is_none() {
            wakes.soon.push(id);
        }
        wakes
    }

    fn lane(world: &World, key: &NamespacedName) -> Lane {
        lane::tenant(lane::on_groupware(world, world.instances.get(key)), key)
    }
}

fn backend_key(instance: Option<&Arc<MailInstance>>) -> NamespacedName {
    NamespacedName::new("", instance.map(|i| i.spec.backend_ref.name.clone()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use mailtenant_runtime::store::Event;
    use serde_json::json;

    /// Simulator, seed 8450: an alias whose MailDomain had gone by force waited for a loss that was not held any more.
    #[test]
    fn what_lies_in_its_tenant_without_a_domain_hears_of_its_loss() {
        let mut world = World::default();
        world.apply::<Mailbox>(Event::Applied(fixtures::mailbox(json!({}), json!({}))));
        world.apply::<MailAlias>(Event::Applied(fixtures::alias(json!({}))));
        let instance = |version: &str, loss: Option<&str>| {
            let mut i = (*fixtures::domain(json!({})).instance.object).clone();
            i.metadata.resource_version = Some(version.into());
            i.status = Some(serde_json::from_value(json!({"massLoss": loss})).unwrap());
            i
        };
        world.apply(Event::Applied(instance("1", Some("Held"))));
        let mut woken = |i: MailInstance| {
            let deltas = world.apply(Event::Applied(i));
            let all = deltas.iter().flat_map(|d| MailInstance::wakeups(&world, d).now);
            all.map(|(id, _)| id.key.name).filter(|name| name != "i").collect::<Vec<_>>()
        };
        assert_eq!(woken(instance("2", Some("Held"))), Vec::<String>::new());
        assert_eq!(woken(instance("3", None)), ["alice", "info"]);
    }
}
