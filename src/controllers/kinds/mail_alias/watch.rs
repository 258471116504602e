//! What the watching half knows of a MailAlias: mailboxes that wait to go, its domain, its instance, and whoever wants its
//! address.

use crate::state::derived::*;
use crate::state::kind::{Kind, ObjectId};
use crate::state::lane;
use crate::state::managed::{Managed, Stored};
use crate::state::routes;
use crate::state::wakeups::{self, Wakeups};
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_runtime::queue::{Lane, Priority};
use mailtenant_runtime::store::{Delta, NamespacedName};
use std::sync::Arc;

impl Managed for MailAlias {
    fn index(world: &mut World, d: &Delta<Self>) {
        type Of<'a> = &'a Option<Arc<MailAlias>>;
        let granted = |o: Of| o.as_ref().is_none_or(|o| o.status.as_ref().is_some_and(|s| s.ownership.is_some()));
        let mut told = false;
        if granted(&d.new)
            && let Some(uid) = d.new.as_ref().or(d.old.as_ref()).and_then(|o| o.metadata.uid.as_ref())
        {
            told = world.granting.remove(uid).is_some();
        }
        // What a limit depends on; a status that only says why it waits changes none of it.
        let counts = |o: &MailAlias| (o.metadata.uid.clone(), o.status.as_ref().and_then(|s| s.ownership));
        if told || wakeups::differs(d, counts) {
            for object in [&d.old, &d.new].into_iter().flatten() {
                let domain = d.key.sibling(&object.spec.domain_ref.name);
                world.index.tallies.entry(domain).or_default().revision += 1;
            }
        }
        let id = ObjectId::new(Kind::MailAlias, d.key.clone());
        let domain = |o: Of| o.as_ref().map(|o| d.key.sibling(&o.spec.domain_ref.name));
        let mailboxes = |o: Of| o.as_ref().map(|o| mailbox_targets(o, &d.key)).unwrap_or_default();
        let address = |o: Of| o.as_ref().map(|o| (d.key.sibling(&o.spec.domain_ref.name), o.spec.local_part.clone()));
        let wanting = |o: Of| {
            let o = o.as_ref()?;
            wants_capacity(&o.status.as_ref()?.conditions).then(|| d.key.sibling(&o.spec.domain_ref.name))
        };
        let index = &mut world.index;
        index.aliases_by_domain.update(&d.key, domain(&d.old), domain(&d.new));
        index.aliases_by_mailbox.update(&d.key, mailboxes(&d.old), mailboxes(&d.new));
        let routes = |o: Of| o.as_ref().map(|o| routes::keys(&d.key, routes::named(o))).unwrap_or_default();
        index.routes_by_address.update(&id, routes(&d.old), routes(&d.new));
        index.addresses.update(&id, address(&d.old), address(&d.new));
        index.wanting.update(&id, wanting(&d.old), wanting(&d.new));
        for (object, by) in [(&d.old, -1i64), (&d.new, 1)] {
            let Some(object) = object else { continue };
            let tally = index.tallies.entry(d.key.sibling(&object.spec.domain_ref.name)).or_default();
            tally.aliases = tally.aliases.saturating_add_signed(by);
        }
    }

    fn wakeups(world: &World, delta: &Delta<Self>) -> Wakeups {
        let mut wakes = Wakeups::default();
        wakeups::of_itself(&mut wakes, <Self as Stored>::KIND, delta);
        let Some(any) = delta.new.as_ref().or(delta.old.as_ref()) else { return wakes };
        let stands = |a: &MailAlias| {
            let status = a.status.clone().unwrap_or_default();
            let seen = status.observed_generation == a.metadata.generation;
            (
                a.metadata.uid.clone(),
                wakeups::ready(&status.conditions),
                seen,
                a.metadata.deletion_timestamp.is_some(),
                status.ownership,
            )
        };
        let wants = |a: &MailAlias| a.status.as_ref().is_some_and(|s| wants_capacity(&s.conditions));
        if delta.new.as_deref().is_some_and(wants) && !delta.old.as_deref().is_some_and(wants) {
            // What was freed between its verdict and now woke it in vain.
            wakes.soon.push(ObjectId::new(Kind::MailAlias, delta.key.clone()));
        }
        let id = ObjectId::new(Kind::MailAlias, delta.key.clone());
        let c = wakeups::Child {
            domain: delta.key.sibling(&any.spec.domain_ref.name),
            local_part: &any.spec.local_part,
            stands: wakeups::differs(delta, stands),
            counts: delta.old.is_none() || delta.new.is_none(),
            gone: delta.new.is_none(),
        };
        wakeups::child(world, &mut wakes, &id, c);
        if wakeups::differs(delta, |a| (a.metadata.uid.clone(), a.spec.targets.clone())) {
            let domain = delta.key.sibling(&any.spec.domain_ref.name);
            wakes.add(routes::leading_to(world, &id, &domain, &any.spec.local_part), Priority::Low);
        }
        // A mailbox that is going waits for the aliases that named it, as the backend has them.
        let facet = |a: &MailAlias| (a.metadata.uid.clone(), a.status.as_ref().and_then(|s| s.observed_generation));
        if wakeups::differs(delta, facet) || wakeups::differs(delta, |a| a.spec.targets.clone()) {
            for object in [&delta.old, &delta.new].into_iter().flatten() {
                let named = routes::named(object);
                let by_address = named.iter().flat_map(|a| wakeups::by_address(world, &delta.key.namespace, a));
                let keys = mailbox_targets(object, &delta.key).into_iter().chain(by_address);
                let going = |k: &NamespacedName| {
                    world.mailboxes.get(k).is_some_and(|m| m.metadata.deletion_timestamp.is_some())
                };
                wakes.add(keys.filter(going).map(|k| ObjectId::new(Kind::Mailbox, k)), Priority::Normal);
            }
        }
        wakes
    }

    fn lane(world: &World, key: &NamespacedName) -> Lane {
        let domain = world.aliases.get(key).map(|a| key.sibling(&a.spec.domain_ref.name));
        lane::tenant(domain.and_then(|d| lane::on_groupware(world, world.instance_of(&d))), key)
    }
}

fn mailbox_targets(alias: &MailAlias, key: &NamespacedName) -> Vec<NamespacedName> {
    alias.spec.targets.iter().filter_map(|t| t.mailbox_ref.as_ref()).map(|r| key.sibling(&r.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_is_found_by_the_address_that_a_mailbox_has() {
        let targets = json!([{"address": "Info@M\u{fc}ller.example."}, {"address": "no address"}, {"address": "info+x@m\u{fc}ller.example"}]);
        let alias = crate::fixtures::alias(json!({"targets": targets}));
        let found = routes::keys(&NamespacedName::new("t", "info"), routes::named(&alias));
        let found: Vec<String> = found.into_iter().map(|(_, address)| address.into()).collect();
        assert_eq!(found, ["info@xn--mller-kva.example"], "mail to its +detail comes to it too");
    }
}
