//! What the watching half knows of a GroupwareBackend: instances and all below see its spec, and that it came back.

use crate::rules::backend_ready;
use crate::state::derived::*;
use crate::state::kind::{Kind, ObjectId};
use crate::state::lane;
use crate::state::managed::{Managed, Stored};
use crate::state::wakeups::{self, Wakeups};
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_runtime::queue::{Lane, Priority};
use mailtenant_runtime::store::{Delta, NamespacedName};
use std::sync::Arc;

impl Managed for GroupwareBackend {
    fn index(world: &mut World, d: &Delta<Self>) {
        let names = |b: &Option<Arc<GroupwareBackend>>| secret_names(b.as_ref().map(|b| b.spec.secret_refs()));
        let id = Self::id(&d.key);
        world.index.backends_by_secret.update(&id, names(&d.old), names(&d.new));
    }

    fn wakeups(world: &World, delta: &Delta<Self>) -> Wakeups {
        let mut wakes = Wakeups::default();
        wakeups::of_itself(&mut wakes, <Self as Stored>::KIND, delta);
        let facet = |b: &GroupwareBackend| {
            let status = b.status.clone().unwrap_or_default();
            (
                b.metadata.uid.clone(),
                b.metadata.generation,
                backend_ready::reason(&status.conditions),
                status.capabilities,
            )
        };
        if wakeups::differs(delta, facet) {
            for instance in world.index.instances_by_backend.of(&delta.key.name) {
                wakes.add([ObjectId::new(Kind::MailInstance, instance.clone())], Priority::Normal);
                wakes.add(wakeups::domains_of(world, instance), Priority::Normal);
                wakes.add(world.children_of(instance), Priority::Low);
            }
        }
        wakes
    }

    fn lane(_: &World, key: &NamespacedName) -> Lane {
        lane::backend(&Self::id(key))
    }
}
