//! What the watching half knows of a Mailbox: aliases that name it, its domain, its instance, and whoever wants its
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
use std::collections::BTreeSet;
use std::sync::Arc;

impl Managed for Mailbox {
    fn index(world: &mut World, d: &Delta<Self>) {
        type Of<'a> = &'a Option<Arc<Mailbox>>;
        let granted = |o: Of| o.as_ref().is_none_or(|o| o.status.as_ref().is_some_and(|s| s.quota.is_some()));
        let mut told = false;
        if granted(&d.new)
            && let Some(uid) = d.new.as_ref().or(d.old.as_ref()).and_then(|o| o.metadata.uid.as_ref())
        {
            told = world.granting.remove(uid).is_some();
        }
        // What a limit depends on; a status that only says why it waits changes none of it.
        let counts = |o: &Mailbox| {
            let status = o.status.as_ref();
            let granted = status.and_then(|s| s.quota.clone());
            (o.metadata.uid.clone(), o.spec.quota.clone(), granted, status.and_then(|s| s.ownership))
        };
        if told || wakeups::differs(d, counts) {
            for object in [&d.old, &d.new].into_iter().flatten() {
                let domain = d.key.sibling(&object.spec.domain_ref.name);
                world.index.tallies.entry(domain).or_default().revision += 1;
            }
        }
        let id = ObjectId::new(Kind::Mailbox, d.key.clone());
        let domain = |o: Of| o.as_ref().map(|o| d.key.sibling(&o.spec.domain_ref.name));
        let secrets = |o: Of| o.as_ref().map(|o| secrets_of(o, &d.key)).unwrap_or_default();
        let address = |o: Of| o.as_ref().map(|o| (d.key.sibling(&o.spec.domain_ref.name), o.spec.local_part.clone()));
        let wanting = |o: Of| {
            let o = o.as_ref()?;
            wants_capacity(&o.status.as_ref()?.conditions).then(|| d.key.sibling(&o.spec.domain_ref.name))
        };
        let index = &mut world.index;
        index.mailboxes_by_domain.update(&d.key, domain(&d.old), domain(&d.new));
        index.mailboxes_by_secret.update(&d.key, secrets(&d.old), secrets(&d.new));
        let routes = |o: Of| o.as_ref().map(|o| routes::keys(&d.key, routes::forwards(o))).unwrap_or_default();
        index.routes_by_address.update(&id, routes(&d.old), routes(&d.new));
        index.addresses.update(&id, address(&d.old), address(&d.new));
        index.wanting.update(&id, wanting(&d.old), wanting(&d.new));
        for (object, sign) in [(&d.old, false), (&d.new, true)] {
            let Some(object) = object else { continue };
            let tally = index.tallies.entry(d.key.sibling(&object.spec.domain_ref.name)).or_default();
            let count = |n: &mut u64| *n = if sign { *n + 1 } else { n.saturating_sub(1) };
            let sum = |n: &mut u128, by: &Quantity| {
                let by = u128::from(bytes(by));
                *n = if sign { *n + by } else { n.saturating_sub(by) };
            };
            count(&mut tally.mailboxes);
            match &object.spec.quota {
                Some(q) => sum(&mut tally.declared, q),
                None => count(&mut tally.without_quota),
            }
            // What is only looked at was granted nothing.
            let granted = object.status.as_ref().filter(|s| s.ownership != Some(Ownership::Observed));
            if let Some(q) = granted.and_then(|s| s.quota.as_ref()) {
                sum(&mut tally.granted, q);
            }
        }
    }

    fn wakeups(world: &World, delta: &Delta<Self>) -> Wakeups {
        let mut wakes = Wakeups::default();
        wakeups::of_itself(&mut wakes, <Self as Stored>::KIND, delta);
        let Some(any) = delta.new.as_ref().or(delta.old.as_ref()) else { return wakes };
        let stands = |m: &Mailbox| {
            let status = m.status.clone().unwrap_or_default();
            let seen = status.observed_generation == m.metadata.generation;
            (
                m.metadata.uid.clone(),
                wakeups::ready(&status.conditions),
                seen,
                m.metadata.deletion_timestamp.is_some(),
                status.ownership,
            )
        };
        let counts = |m: &Mailbox| {
            let status = m.status.clone().unwrap_or_default();
            (m.spec.quota.clone(), status.quota, status.used_storage)
        };
        let stands = wakeups::differs(delta, stands);
        let id = ObjectId::new(Kind::Mailbox, delta.key.clone());
        let wants = |m: &Mailbox| m.status.as_ref().is_some_and(|s| wants_capacity(&s.conditions));
        if delta.new.as_deref().is_some_and(wants) && !delta.old.as_deref().is_some_and(wants) {
            // What was freed between its verdict and now woke it in vain.
            wakes.soon.push(id.clone());
        }
        let c = wakeups::Child {
            domain: delta.key.sibling(&any.spec.domain_ref.name),
            local_part: &any.spec.local_part,
            stands,
            counts: wakeups::differs(delta, counts),
            gone: delta.new.is_none(),
        };
        wakeups::child(world, &mut wakes, &id, c);
        if wakeups::differs(delta, |m| (m.metadata.uid.clone(), m.spec.forwarding.clone())) {
            let domain = delta.key.sibling(&any.spec.domain_ref.name);
            wakes.add(routes::leading_to(world, &id, &domain, &any.spec.local_part), Priority::Low);
        }
        if stands {
            let aliases = world.index.aliases_by_mailbox.of(&delta.key);
            wakes.add(aliases.map(|a| ObjectId::new(Kind::MailAlias, a.clone())), Priority::Normal);
        }
        wakes
    }

    fn lane(world: &World, key: &NamespacedName) -> Lane {
        let domain = world.mailboxes.get(key).map(|m| key.sibling(&m.spec.domain_ref.name));
        lane::tenant(domain.and_then(|d| lane::on_groupware(world, world.instance_of(&d))), key)
    }
}

fn secrets_of(mailbox: &Mailbox, key: &NamespacedName) -> BTreeSet<NamespacedName> {
    let password = &mailbox.spec.password;
    [&password.secret_ref, &password.hash_secret_ref]
        .into_iter()
        .flatten()
        .map(|r| r.name.clone())
        .chain([credentials_secret(mailbox)])
        .map(|name| key.sibling(name))
        .collect()
}
