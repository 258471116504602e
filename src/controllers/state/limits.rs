//! Who may have what when there is not enough for all: addresses, numbers, storage. Pure.
//!
//! The loser is always the same: what is provisioned keeps what it has, then the older object wins, by creation time,
//! then by uid. So nothing flaps, and an object that never came to be owns nothing.

use super::verdicts::{Refused, Stamp};
use crate::state::derived::bytes;
use crate::state::kind::{Kind, ObjectId};
use crate::state::world::World;
use kube::Resource;
use mailtenant_api::mail_instance::StoragePolicy;
use mailtenant_api::*;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

pub use super::verdicts::Verdict;

/// Orders rivals: the smallest wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    waiting: bool,
    created: String,
    uid: String,
}

/// The rank of an object.
pub fn rank<K: Resource>(object: &K, ownership: Option<Ownership>) -> Rank {
    let meta = object.meta();
    Rank {
        waiting: !matches!(ownership, Some(Ownership::Created | Ownership::Adopted)),
        created: meta.creation_timestamp.as_ref().map(|t| t.0.to_string()).unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

fn rank_of(world: &World, id: &ObjectId) -> Option<Rank> {
    let mut rank = status_rank(world, id)?;
    rank.waiting &= !world.granting.contains_key(&rank.uid);
    Some(rank)
}

fn status_rank(world: &World, id: &ObjectId) -> Option<Rank> {
    match id.kind {
        Kind::Mailbox => {
            world.mailboxes.get(&id.key).map(|m| rank(m.as_ref(), m.status.as_ref().and_then(|s| s.ownership)))
        }
        Kind::MailAlias => {
            world.aliases.get(&id.key).map(|a| rank(a.as_ref(), a.status.as_ref().and_then(|s| s.ownership)))
        }
        Kind::MailDomain => {
            world.domains.get(&id.key).map(|d| rank(d.as_ref(), d.status.as_ref().and_then(|s| s.ownership)))
        }
        _ => None,
    }
}

/// The object that has an address before `own`, if any.
pub fn rival(world: &World, domain: &NamespacedName, local_part: &str, own: &ObjectId) -> Option<ObjectId> {
    let mine = rank_of(world, own)?;
    let others = world.owner_of_address(domain, local_part).into_iter().filter(|id| id != own);
    others.filter_map(|id| Some((rank_of(world, &id)?, id))).filter(|(r, _)| *r < mine).min().map(|(_, id)| id)
}

fn limit(instance: &MailInstance, which: fn(&mail_instance::InstanceLimits) -> Option<i64>) -> Option<u64> {
    instance.spec.limits.as_ref().and_then(which).map(|n| n.max(0) as u64)
}

/// All but the first `limit` of `ids`.
fn beyond(world: &World, ids: impl Iterator<Item = ObjectId>, what: &'static str, limit: u64) -> Refused {
    let mut all: Vec<(Rank, NamespacedName)> = ids.filter_map(|id| Some((rank_of(world, &id)?, id.key))).collect();
    all.sort();
    let first = usize::try_from(limit).unwrap_or(usize::MAX).min(all.len());
    all.split_off(first).into_iter().map(|(_, key)| (key, Verdict::Number { what, limit })).collect()
}

/// Whether a domain may be one of its instance.
pub fn domain(world: &World, instance: &MailInstance, own: &ObjectId) -> Verdict {
    let key = NamespacedName::of(instance);
    match limit(instance, |l| l.domains) {
        Some(max) if world.index.domains_by_instance.count(&key) as u64 > max => {
            let all = world.index.domains_by_instance.of(&key).map(|k| ObjectId::new(Kind::MailDomain, k.clone()));
            verdict(&beyond(world, all, "domains", max), own)
        }
        _ => Verdict::Fits,
    }
}

fn verdict(refused: &Refused, own: &ObjectId) -> Verdict {
    refused.get(&own.key).cloned().unwrap_or(Verdict::Fits)
}

/// Aliases that may not be of their instance; none if the number allows all.
fn refused_aliases(world: &World, instance: &MailInstance) -> Refused {
    let key = NamespacedName::of(instance);
    match limit(instance, |l| l.aliases) {
        Some(max) if world.tally(&key).aliases > max => {
            let all = world.children_of(&key).into_iter().filter(|id| id.kind == Kind::MailAlias);
            beyond(world, all, "aliases", max)
        }
        _ => Refused::new(),
    }
}

/// Quota that a mailbox asks for, in bytes; 0 = no bound.
pub fn wanted_quota(instance: &MailInstance, mailbox: &Mailbox) -> u64 {
    mailbox.spec.quota.as_ref().or(instance.spec.default_mailbox_quota.as_ref()).map_or(0, bytes)
}

fn granted(world: &World, mailbox: &Mailbox) -> u64 {
    let told = mailbox.metadata.uid.as_ref().and_then(|uid| world.granting.get(uid)).copied().unwrap_or(0);
    let status = mailbox.status.as_ref().filter(|s| s.ownership != Some(Ownership::Observed));
    status.and_then(|s| s.quota.as_ref()).map_or(0, bytes).max(told)
}

/// Mailboxes that may not be of their instance, or not with the quota that they ask for.
fn refused_mailboxes(world: &World, instance: &MailInstance) -> Refused {
    let key = NamespacedName::of(instance);
    let tally = world.tally(&key);
    let number = limit(instance, |l| l.mailboxes).filter(|max| tally.mailboxes > *max);
    let number = number.map_or_else(Refused::new, |max| {
        let all = world.children_of(&key).into_iter().filter(|id| id.kind == Kind::Mailbox);
        beyond(world, all, "mailboxes", max)
    });
    if instance.spec.storage_policy == StoragePolicy::Share {
        return number;
    }
    let booked = bytes(&instance.spec.storage);
    let default = instance.spec.default_mailbox_quota.as_ref().map_or(0, bytes);
    let declared = tally.declared + u128::from(default) * u128::from(tally.without_quota);
    // All that is declared fits, and nothing that is granted is about to be given back: nobody has to be asked.
    let all_fit = declared.max(tally.granted) <= u128::from(booked) && (default > 0 || tally.without_quota == 0);
    if all_fit {
        return number;
    }
    let mut refused = beyond_storage(world, instance, &number, booked);
    refused.extend(number);
    refused
}

/// What is granted stays granted, what is left goes to the oldest that it is enough for, but not to those that are too many.
fn beyond_storage(world: &World, instance: &MailInstance, too_many: &Refused, booked: u64) -> Refused {
    let ids = world.children_of(&NamespacedName::of(instance)).into_iter().filter(|id| id.kind == Kind::Mailbox);
    let mut all: Vec<_> = ids
        .filter_map(|id| {
            let object = world.mailboxes.get(&id.key)?;
            let rank = Rank { waiting: false, ..rank(object.as_ref(), None) };
            Some((rank, id.key, wanted_quota(instance, &object), granted(world, &object)))
        })
        .collect();
    all.sort();
    // A mailbox that gives back keeps what it wants; one that asks for more, or for no bound, holds what it has.
    let holds = |wanted: u64, granted: u64| if wanted == 0 { granted } else { wanted.min(granted) };
    let held: u128 = all.iter().map(|(_, _, wanted, granted)| u128::from(holds(*wanted, *granted))).sum();
    let mut free = u128::from(booked).saturating_sub(held);
    let mut refused = Refused::new();
    for (_, key, wanted, granted) in all {
        let more = u128::from(wanted.saturating_sub(granted));
        if wanted == 0 {
            refused.insert(key, Verdict::Unbounded);
        } else if more > free {
            refused.insert(key, Verdict::Storage { wanted, free: u128::from(granted) + free, booked });
        } else if !too_many.contains_key(&key) {
            free -= more;
        }
    }
    refused
}

/// Whether all that mailboxes were given, by what their statuses say, is within what was booked.
pub fn within_storage(world: &World, instance: &MailInstance) -> bool {
    let granted = world.tally(&NamespacedName::of(instance)).granted;
    instance.spec.storage_policy == StoragePolicy::Share || granted <= u128::from(bytes(&instance.spec.storage))
}

fn kept(
    world: &mut World,
    instance: &MailInstance,
    kind: Kind,
    make: fn(&World, &MailInstance) -> Refused,
) -> Arc<Refused> {
    let key = NamespacedName::of(instance);
    let revision = |d: &NamespacedName| (d.clone(), world.index.tallies.get(d).map_or(0, |t| t.revision));
    let domains = world.index.domains_by_instance.of(&key).map(revision).collect();
    let stamp: Stamp = (instance.metadata.uid.clone(), instance.metadata.generation, domains);
    let at = (key, kind);
    if let Some((of, refused)) = world.verdicts.kept.get(&at)
        && *of == stamp
    {
        return refused.clone();
    }
    let refused = Arc::new(make(world, instance));
    world.verdicts.made += 1;
    world.verdicts.kept.insert(at, (stamp, refused.clone()));
    refused
}

/// Whether an alias may be one of its instance.
pub fn alias(world: &mut World, instance: &MailInstance, own: &ObjectId) -> Verdict {
    verdict(&kept(world, instance, Kind::MailAlias, refused_aliases), own)
}

/// Whether a mailbox may be one of its instance, with the quota that it asks for.
pub fn mailbox(world: &mut World, instance: &MailInstance, own: &ObjectId) -> Verdict {
    verdict(&kept(world, instance, Kind::Mailbox, refused_mailboxes), own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtenant_runtime::store::Event;
    use serde_json::json;

    fn world(mailboxes: &[(&str, &str, &str, &str, Option<&str>)]) -> (World, MailInstance) {
        let mut w = World::default();
        let meta = |name: &str, uid: &str, at: &str| {
            json!({"name": name, "namespace": "t", "uid": uid, "resourceVersion": "1",
                   "creationTimestamp": format!("2026-01-01T00:00:{at}Z")})
        };
        let instance: MailInstance = serde_json::from_value(json!({
            "apiVersion": "mailtenant.dev/v1alpha1", "kind": "MailInstance", "metadata": meta("i", "i", "00"),
            "spec": {"backendRef": {"name": "b"}, "storage": "10Gi", "limits": {"mailboxes": 3}}
        }))
        .unwrap();
        w.apply::<MailInstance>(Event::Applied(instance.clone()));
        w.apply::<MailDomain>(Event::Applied(
            serde_json::from_value(json!({
                "apiVersion": "mailtenant.dev/v1alpha1", "kind": "MailDomain", "metadata": meta("d", "d", "00"),
                "spec": {"instanceRef": {"name": "i"}, "domain": "a.test", "dns": {"mode": "Manual"}}
            }))
            .unwrap(),
        ));
        for (name, uid, at, quota, granted) in mailboxes {
            let local = name.split('-').next().unwrap();
            let mut m = json!({
                "apiVersion": "mailtenant.dev/v1alpha1", "kind": "Mailbox", "metadata": meta(name, uid, at),
                "spec": {"domainRef": {"name": "d"}, "localPart": local, "quota": quota}
            });
            if let Some(g) = granted {
                m["status"] = json!({"quota": g, "ownership": "Created"});
            }
            w.apply::<Mailbox>(Event::Applied(serde_json::from_value(m).unwrap()));
        }
        (w, instance)
    }
    fn id(name: &str) -> ObjectId {
        ObjectId::new(Kind::Mailbox, NamespacedName::new("t", name))
    }

    #[test]
    fn the_younger_loses_and_what_is_provisioned_stays() {
        let (mut w, i) = world(&[
            ("a", "1", "01", "4Gi", Some("4Gi")),
            ("b", "2", "02", "7Gi", None),
            ("c", "3", "03", "3Gi", None),
            ("d", "4", "04", "4Gi", None),
        ]);
        assert_eq!(mailbox(&mut w, &i, &id("a")), Verdict::Fits);
        assert_eq!(
            mailbox(&mut w, &i, &id("b")),
            Verdict::Storage { wanted: 7 << 30, free: 6 << 30, booked: 10 << 30 }
        );
        assert_eq!(mailbox(&mut w, &i, &id("c")), Verdict::Fits, "what is left is enough for it");
        assert_eq!(mailbox(&mut w, &i, &id("d")), Verdict::Number { what: "mailboxes", limit: 3 });
    }

    #[test]
    fn who_asks_for_more_loses_not_who_has_it() {
        let (mut w, i) = world(&[("a", "1", "01", "8Gi", Some("4Gi")), ("b", "2", "02", "5Gi", Some("5Gi"))]);
        assert_eq!(
            mailbox(&mut w, &i, &id("a")),
            Verdict::Storage { wanted: 8 << 30, free: 5 << 30, booked: 10 << 30 }
        );
        assert_eq!(mailbox(&mut w, &i, &id("b")), Verdict::Fits);
    }

    /// Three that ask for more than 64 bits can hold, and go again: what is left is counted as if they had never been.
    #[test]
    fn a_sum_beyond_64_bits_is_taken_back_whole() {
        let (mut w, i) = world(&[("a", "1", "01", "9Gi", Some("9Gi"))]);
        for name in ["x", "y", "z"] {
            let mut huge = w.mailboxes.get(&id("a").key).unwrap().as_ref().clone();
            (huge.metadata.name, huge.metadata.uid) = (Some(name.into()), Some(name.into()));
            huge.spec.quota = Some(Quantity("7168Pi".into()));
            huge.status.as_mut().unwrap().quota = Some(Quantity("7168Pi".into()));
            w.apply(Event::Applied(huge));
        }
        assert!(!within_storage(&w, &i));
        for name in ["x", "y", "z"] {
            w.apply::<Mailbox>(Event::Deleted { key: id(name).key, uid: Some(name.into()) });
        }
        let tally = w.tally(&NamespacedName::of(&i));
        assert_eq!((tally.declared, tally.granted), (9 << 30, 9 << 30));
        let (mut w, i) = (w, i);
        let mut b = w.mailboxes.get(&id("a").key).unwrap().as_ref().clone();
        (b.metadata.name, b.metadata.uid, b.status) = (Some("b".into()), Some("b".into()), None);
        b.spec.quota = Some(Quantity("2Gi".into()));
        w.apply(Event::Applied(b));
        assert_eq!(
            mailbox(&mut w, &i, &id("b")),
            Verdict::Storage { wanted: 2 << 30, free: 1 << 30, booked: 10 << 30 }
        );
    }

    #[test]
    fn without_a_bound_there_is_no_part_of_the_storage() {
        let (mut w, mut i) = world(&[("a", "1", "01", "1Gi", None), ("b", "2", "02", "1Gi", None)]);
        let mut b = w.mailboxes.get(&id("b").key).unwrap().as_ref().clone();
        (b.spec.quota, b.metadata.resource_version) = (None, Some("2".into()));
        w.apply(Event::Applied(b));
        assert_eq!(["a", "b"].map(|n| mailbox(&mut w, &i, &id(n))), [Verdict::Fits, Verdict::Unbounded]);
        i.spec.default_mailbox_quota = Some(Quantity("1Gi".into()));
        i.metadata.generation = Some(2);
        assert_eq!(mailbox(&mut w, &i, &id("b")), Verdict::Fits, "the instance gives a bound");
        i.spec.default_mailbox_quota = None;
        i.spec.storage_policy = StoragePolicy::Share;
        i.metadata.generation = Some(3);
        assert_eq!(mailbox(&mut w, &i, &id("b")), Verdict::Fits, "all share one bound");
    }

    #[test]
    fn an_address_is_the_provisioned_ones_then_the_older_ones() {
        let d = NamespacedName::new("t", "d");
        let (w, _) = world(&[
            ("x-1", "1", "01", "1Gi", None),
            ("x-2", "2", "02", "1Gi", Some("1Gi")),
            ("x-3", "0", "02", "1Gi", None),
        ]);
        assert_eq!(rival(&w, &d, "x", &id("x-1")), Some(id("x-2")));
        assert_eq!(rival(&w, &d, "x", &id("x-2")), None);
        assert_eq!(rival(&w, &d, "x", &id("x-3")), Some(id("x-2")));
        let (w, _) = world(&[("x-1", "2", "01", "1Gi", None), ("x-2", "1", "01", "1Gi", None)]);
        assert_eq!(rival(&w, &d, "x", &id("x-1")), Some(id("x-2")), "same second: by uid");
    }

    /// An instance with these limits, its domain `d`, and more domains and aliases, the n-th made in second n; `had` are
    /// provisioned.
    fn numbers(limits: serde_json::Value, domains: &[&str], aliases: &[&str], had: &[&str]) -> (World, MailInstance) {
        let (mut w, mut instance) = world(&[]);
        instance.spec.limits = serde_json::from_value(limits).unwrap();
        let object = |kind: &str, name: &str, n: usize, spec: serde_json::Value| {
            let ownership = had.contains(&name).then_some("Created");
            json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": kind, "spec": spec, "status": {"ownership": ownership},
                   "metadata": {"name": name, "namespace": "t", "uid": name, "resourceVersion": "1",
                                "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", n + 1)}})
        };
        for (n, name) in domains.iter().enumerate() {
            let spec =
                json!({"instanceRef": {"name": "i"}, "domain": format!("{name}.test"), "dns": {"mode": "Manual"}});
            w.apply::<MailDomain>(Event::Applied(serde_json::from_value(object("MailDomain", name, n, spec)).unwrap()));
        }
        for (n, name) in aliases.iter().enumerate() {
            let domain = domains.last().unwrap_or(&"d");
            let spec =
                json!({"domainRef": {"name": domain}, "localPart": name, "targets": [{"mailboxRef": {"name": "m"}}]});
            w.apply::<MailAlias>(Event::Applied(serde_json::from_value(object("MailAlias", name, n, spec)).unwrap()));
        }
        (w, instance)
    }

    #[test]
    fn the_youngest_domain_is_one_too_many_unless_it_was_there_first() {
        let judge = |w: &World, i: &MailInstance, name: &str| {
            domain(w, i, &ObjectId::new(Kind::MailDomain, NamespacedName::new("t", name)))
        };
        let over = |limit| Verdict::Number { what: "domains", limit };
        let (mut w, i) = numbers(json!({"domains": 2}), &["x", "y"], &[], &[]);
        assert_eq!(["d", "x", "y"].map(|n| judge(&mut w, &i, n)), [Verdict::Fits, Verdict::Fits, over(2)]);
        let (mut w, i) = numbers(json!({"domains": 2}), &["x", "y"], &[], &["d", "y"]);
        assert_eq!(["d", "x", "y"].map(|n| judge(&mut w, &i, n)), [Verdict::Fits, over(2), Verdict::Fits]);
        // Lowered below what is there: the youngest of those again, and never more than the limit.
        let (mut w, i) = numbers(json!({"domains": 1}), &["x", "y"], &[], &["x", "y"]);
        assert_eq!(["d", "x", "y"].map(|n| judge(&mut w, &i, n)), [over(1), Verdict::Fits, over(1)]);
        let (mut w, i) = numbers(json!({"domains": 0}), &[], &[], &["d"]);
        assert_eq!(judge(&mut w, &i, "d"), over(0));
        for none in [json!({}), json!({"mailboxes": 0, "aliases": 0}), json!(null), json!({"domains": 3})] {
            let (mut w, i) = numbers(none, &["x", "y"], &[], &[]);
            assert_eq!(judge(&mut w, &i, "y"), Verdict::Fits);
        }
    }

    #[test]
    fn aliases_are_counted_over_all_domains_of_the_instance() {
        let judge = |w: &mut World, i: &MailInstance, name: &str| {
            alias(w, i, &ObjectId::new(Kind::MailAlias, NamespacedName::new("t", name)))
        };
        let over = |limit| Verdict::Number { what: "aliases", limit };
        let (mut w, i) = numbers(json!({"aliases": 2}), &[], &["a", "b", "c"], &[]);
        assert_eq!(["a", "b", "c"].map(|n| judge(&mut w, &i, n)), [Verdict::Fits, Verdict::Fits, over(2)]);
        w.apply::<MailAlias>(Event::Deleted { key: NamespacedName::new("t", "a"), uid: Some("a".into()) });
        assert_eq!(judge(&mut w, &i, "c"), Verdict::Fits, "there is room again");
        let (mut w, i) = numbers(json!({"aliases": 2}), &["x"], &["a", "b", "c"], &["c"]);
        assert_eq!(["a", "b", "c"].map(|n| judge(&mut w, &i, n)), [Verdict::Fits, over(2), Verdict::Fits]);
        let (mut w, i) = numbers(json!({"domains": 1, "mailboxes": 1}), &[], &["a", "b", "c"], &[]);
        assert_eq!(judge(&mut w, &i, "c"), Verdict::Fits, "other numbers have nothing to do with it");
    }

    /// Five thousand that wait cost one look at all of them, and a status that only says why one waits is no change.
    #[test]
    fn verdicts_are_made_once_until_something_they_depend_on_changes() {
        const WAITING: usize = 5000;
        let names: Vec<String> = (0..WAITING).map(|n| format!("m{n:04}")).collect();
        let at = "2026-01-01T00:00:00Z";
        let all: Vec<_> = names.iter().map(|n| (n.as_str(), n.as_str(), "01", "1Gi", None)).collect();
        let (mut w, mut i) = world(&all);
        i.spec.limits = None;
        let ask =
            |w: &mut World, name: &str| mailbox(w, &i, &ObjectId::new(Kind::Mailbox, NamespacedName::new("t", name)));
        let fits = names.iter().filter(|n| ask(&mut w, n) == Verdict::Fits).count();
        assert_eq!((fits, w.verdicts.made), (10, 1), "10Gi are booked");
        let key = NamespacedName::new("t", "m4000");
        let mut object = w.mailboxes.get(&key).unwrap().as_ref().clone();
        object.metadata.resource_version = Some("900".into());
        let condition = json!({"type": "Ready", "status": "False", "reason": "QuotaExceeded", "message": "",
            "lastTransitionTime": at});
        object.status = serde_json::from_value(json!({"conditions": [condition]})).unwrap();
        w.apply(Event::Applied(object.clone()));
        assert!(ask(&mut w, "m4000") != Verdict::Fits);
        assert_eq!(w.verdicts.made, 1, "that it waits changes nothing");
        w.grant(&NamespacedName::new("t", "d"), "m0000".into(), 1 << 30);
        assert_eq!((ask(&mut w, "m0000"), w.verdicts.made), (Verdict::Fits, 2), "it was told to go on");
        object.metadata.resource_version = Some("901".into());
        object.spec.quota = Some(Quantity("2Gi".into()));
        w.apply(Event::Applied(object));
        ask(&mut w, "m4000");
        assert_eq!(w.verdicts.made, 3, "it asks for more");
        w.apply::<Mailbox>(Event::Deleted { key: NamespacedName::new("t", "m0001"), uid: Some("m0001".into()) });
        assert_eq!((ask(&mut w, "m0010"), w.verdicts.made), (Verdict::Fits, 4), "there is room again");
    }
}
