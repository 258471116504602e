//! What the watching half knows of a MailDomain: its children see whether it is provisioned, its instance counts it, others
//! may want its name.

use super::move_mx;
use crate::state::derived::*;
use crate::state::kind::{Kind, ObjectId};
use crate::state::lane;
use crate::state::managed::{Managed, Stored};
use crate::state::routes;
use crate::state::wakeups::{self, Wakeups};
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_mail::name::parents;
use mailtenant_runtime::queue::{Lane, Priority};
use mailtenant_runtime::store::{Delta, NamespacedName};
use std::sync::Arc;

impl Managed for MailDomain {
    fn index(world: &mut World, d: &Delta<Self>) {
        type Of<'a> = &'a Option<Arc<MailDomain>>;
        let instance = |o: Of| o.as_ref().map(|o| d.key.sibling(&o.spec.instance_ref.name));
        let dns = |o: Of| o.as_ref().map(|o| dns_backends(o)).unwrap_or_default();
        let name = |o: Of| o.as_ref().map(|o| a_label(o));
        let alias = |o: Of| o.as_ref().and_then(|o| o.spec.alias_of.as_ref()).map(|r| d.key.sibling(&r.name));
        let index = &mut world.index;
        index.domains_by_instance.update(&d.key, instance(&d.old), instance(&d.new));
        index.domains_by_dns_backend.update(&d.key, dns(&d.old), dns(&d.new));
        index.domains_by_name.update(&d.key, name(&d.old), name(&d.new));
        let above = |o: Of| name(o).iter().flat_map(|n| parents(n).map(String::from)).collect::<Vec<_>>();
        index.domains_below.update(&d.key, above(&d.old), above(&d.new));
        index.domains_by_alias_of.update(&d.key, alias(&d.old), alias(&d.new));
    }

    fn wakeups(world: &World, delta: &Delta<Self>) -> Wakeups {
        let mut wakes = Wakeups::default();
        wakeups::of_itself(&mut wakes, <Self as Stored>::KIND, delta);
        let facet = |d: &MailDomain| {
            let status = d.status.clone().unwrap_or_default();
            (
                d.metadata.uid.clone(),
                conditions::is_true(&status.conditions, ConditionType::Provisioned),
                d.metadata.deletion_timestamp.is_some(),
                status.draining_until,
                // While it lives its children do not look at the state; a wake of each at the cut-over would be for nothing.
                d.metadata.deletion_timestamp.is_some() && status.state == Some(mail_domain::DomainState::Live),
                // While it goes: whether MX is taken out. Also while it lives: whoever only looks needs no claim.
                d.spec.management_policy,
            )
        };
        if wakeups::differs(delta, facet) {
            wakes.add(world.children_of_domain(&delta.key), Priority::Normal);
        }
        let Some(any) = delta.new.as_ref().or(delta.old.as_ref()) else { return wakes };
        let provisioned = |d: &MailDomain| {
            d.status.as_ref().is_some_and(|s| conditions::is_true(&s.conditions, ConditionType::Provisioned))
        };
        if wakeups::differs(delta, provisioned) {
            // Mail for it goes here from now on, or no longer.
            let all = world.children_of(&delta.key.sibling(&any.spec.instance_ref.name));
            wakes.add(all.into_iter().filter(|id| routes::names_addresses(world, id)), Priority::Low);
        }
        if wakeups::differs(delta, move_mx::shown) {
            // New mail servers in MX are tried by one domain first.
            let instance = world.instances.get(&delta.key.sibling(&any.spec.instance_ref.name));
            let backend = instance.map(|i| i.spec.backend_ref.name.clone()).unwrap_or_default();
            let waiting = move_mx::domains_on(world, &backend)
                .filter(|key| world.domains.get(key).is_some_and(|d| move_mx::waits(&d)))
                .map(|key| ObjectId::new(Kind::MailDomain, key.clone()));
            wakes.add(waiting.collect::<Vec<_>>(), Priority::Low);
        }
        if delta.old.is_none() || delta.new.is_none() {
            wakes.soon.push(ObjectId::new(Kind::MailInstance, delta.key.sibling(&any.spec.instance_ref.name)));
            // A limit may be free again, a name too. One that goes by force takes its mailboxes out of the limits.
            let instance = delta.key.sibling(&any.spec.instance_ref.name);
            wakes.add(wakeups::domains_of(world, &instance), Priority::Low);
            if delta.new.is_none() && !world.children_of_domain(&delta.key).is_empty() {
                wakes.add(wakeups::wanting_of(world, &instance), Priority::Low);
            }
            let same = world.index.domains_by_name.of(&a_label(any));
            wakes.add(same.map(|d| ObjectId::new(Kind::MailDomain, d.clone())), Priority::Low);
            for backend in dns_backends(any) {
                wakes.soon.push(ObjectId::new(Kind::DNSBackend, NamespacedName::new("", &backend)));
            }
            wakes.soon.push(ObjectId::new(Kind::MailDomainClaim, NamespacedName::new("", a_label(any))));
            if let Some(target) = &any.spec.alias_of {
                wakes.add([ObjectId::new(Kind::MailDomain, delta.key.sibling(&target.name))], Priority::Low);
            }
        }
        wakes
    }

    fn lane(world: &World, key: &NamespacedName) -> Lane {
        // It may wait for the DNS servers of its tenant, which must not take a slot from mailboxes.
        let group = lane::on_dns(world, key).or_else(|| lane::on_groupware(world, world.instance_of(key)));
        lane::tenant(group, key)
    }
}
