//! What the watching half knows of a DNSBackend: domains see its spec, that it came back, and why it is away.

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

impl Managed for DNSBackend {
    fn index(world: &mut World, d: &Delta<Self>) {
        let names = |b: &Option<Arc<DNSBackend>>| secret_names(b.as_ref().map(|b| b.spec.secret_refs()));
        let id = Self::id(&d.key);
        world.index.backends_by_secret.update(&id, names(&d.old), names(&d.new));
    }

    fn wakeups(world: &World, delta: &Delta<Self>) -> Wakeups {
        let mut wakes = Wakeups::default();
        wakeups::of_itself(&mut wakes, <Self as Stored>::KIND, delta);
        let facet = |b: &DNSBackend| {
            let conditions = b.status.clone().unwrap_or_default().conditions;
            (b.metadata.uid.clone(), b.metadata.generation, backend_ready::reason(&conditions))
        };
        if wakeups::differs(delta, facet) {
            let domains = world.index.domains_by_dns_backend.of(&delta.key.name);
            wakes.add(domains.map(|d| ObjectId::new(Kind::MailDomain, d.clone())), Priority::Normal);
        }
        wakes
    }

    fn lane(_: &World, key: &NamespacedName) -> Lane {
        lane::backend(&Self::id(key))
    }
}
