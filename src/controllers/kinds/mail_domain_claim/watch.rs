//! What the watching half knows of a MailDomainClaim: who wants the name.

use crate::state::kind::{Kind, ObjectId};
use crate::state::lane;
use crate::state::managed::Managed;
use crate::state::routes;
use crate::state::wakeups::{self, Wakeups};
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_mail::name::parents;
use mailtenant_runtime::queue::{Lane, Priority};
use mailtenant_runtime::store::{Delta, NamespacedName};

impl Managed for MailDomainClaim {
    fn index(world: &mut World, d: &Delta<Self>) {
        let above = |there: bool| parents(&d.key.name).map(String::from).filter(move |_| there);
        world.index.claims_below.update(&d.key.name, above(d.old.is_some()), above(d.new.is_some()));
    }

    fn wakeups(world: &World, delta: &Delta<Self>) -> Wakeups {
        let mut wakes = Wakeups::default();
        if delta.old.is_none() {
            wakes.soon.push(ObjectId::new(Kind::MailDomainClaim, delta.key.clone()));
        }
        if delta.new.is_none() {
            wakes.gone.push(ObjectId::new(Kind::MailDomainClaim, delta.key.clone()));
            // Names below and above it were refused to others too.
            let above = mailtenant_mail::name::parents(&delta.key.name).map(String::from);
            let same = std::iter::once(delta.key.name.clone()).chain(above);
            let wanting = same.flat_map(|n| world.index.domains_by_name.of(n.as_str()).cloned().collect::<Vec<_>>());
            let below = world.index.domains_below.of(&delta.key.name).cloned();
            wakes.add(wanting.chain(below).map(|k| ObjectId::new(Kind::MailDomain, k)), Priority::Normal);
        }
        // What an instance holds decides which targets are outside of it. After a break of the watch a claim may have another
        // owner, without having gone in between.
        let owner = |c: &MailDomainClaim| c.spec.owner.clone();
        let changed = wakeups::differs(delta, |c| owner(c).uid);
        for owner in [&delta.old, &delta.new].into_iter().flatten().map(|c| owner(c)).filter(|_| changed) {
            let owner = NamespacedName::new(&owner.namespace, &owner.name);
            // A child that was never made waits for its domain to hold its name.
            let waits = world.children_of_domain(&owner).into_iter().filter(|id| world.was_never_made(id));
            wakes.add(waits, Priority::Normal);
            if let Some(domain) = world.domains.get(&owner) {
                let children = world.children_of(&owner.sibling(&domain.spec.instance_ref.name));
                wakes.add(children.into_iter().filter(|id| routes::names_addresses(world, id)), Priority::Low);
            }
        }
        wakes
    }

    fn lane(world: &World, key: &NamespacedName) -> Lane {
        let owner = world.claims.get(key).map(|c| c.spec.owner.namespace.clone());
        lane::unassigned(&owner.unwrap_or_default())
    }
}
