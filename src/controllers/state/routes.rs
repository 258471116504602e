//! Where mail for an address of an instance goes on to, by what is declared: mail loops, and addresses that nobody has. Pure.
//!
//! A server that is given a mail loop tries for days and then returns the mail; everything looks healthy meanwhile.

use super::derived::a_label;
use super::kind::{Kind, ObjectId};
use super::world::World;
use mailtenant_api::mail_alias::AliasTarget;
use mailtenant_api::mailbox::ForwardTarget;
use mailtenant_api::{ConditionType, MailAlias, Mailbox, conditions};
use mailtenant_mail::Address;
use mailtenant_runtime::store::NamespacedName;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The domain objects of an instance with a name (A-label), if it holds the name and the server has it: mail for any other
/// goes where the world says, not here.
fn domains<'a>(world: &'a World, instance: &'a NamespacedName, name: &str) -> impl Iterator<Item = &'a NamespacedName> {
    let of_instance = move |key: &&NamespacedName| {
        let Some(domain) = world.domains.get(key) else { return false };
        let conditions = domain.status.as_ref().map_or(&[][..], |s| &s.conditions);
        key.sibling(&domain.spec.instance_ref.name) == *instance
            && conditions::is_true(conditions, ConditionType::Provisioned)
            && world.holds_name(&domain)
    };
    world.index.domains_by_name.of(name).filter(of_instance)
}

/// The object that takes mail for an address: the one that declares it, else the one without its `+detail`
/// (RFC 5233), else the catch-all of the domain.
fn taker(world: &World, instance: &NamespacedName, address: &Address) -> Option<ObjectId> {
    let domains: Vec<&NamespacedName> = domains(world, instance, address.domain()).collect();
    let plain = address.without_detail();
    let at = |local: &str| domains.iter().find_map(|d| first(world, d, local));
    [address.local(), plain.local(), "*"].into_iter().find_map(at)
}

/// Of several objects with one address that which has it: only that one can be at the server.
fn first(world: &World, domain: &NamespacedName, local: &str) -> Option<ObjectId> {
    let all = world.owner_of_address(domain, local);
    all.iter().find(|id| super::limits::rival(world, domain, local, id).is_none()).or(all.first()).cloned()
}

/// The addresses that an alias delivers to.
fn alias_targets(world: &World, key: &NamespacedName, alias: &MailAlias) -> Vec<Address> {
    let one = |t: &AliasTarget| match (&t.mailbox_ref, &t.address) {
        (Some(r), _) => {
            let mailbox = world.mailboxes.get(&key.sibling(&r.name))?;
            let domain = world.domains.get(&key.sibling(&mailbox.spec.domain_ref.name))?;
            Some(Address::in_domain(&mailbox.spec.local_part, &a_label(&domain)))
        }
        (None, Some(text)) => Address::new(text).ok(),
        (None, None) => None,
    };
    alias.spec.targets.iter().filter_map(one).collect()
}

/// The addresses that a mailbox forwards to, in their canonical form.
pub fn forwards(mailbox: &Mailbox) -> Vec<Address> {
    let to = mailbox.spec.forwarding.iter().flat_map(|f| &f.to);
    to.filter_map(|text| Address::new(text).ok()).collect()
}

/// The addresses that mail is passed on to without being kept. A mailbox that keeps a copy ends every loop: Postfix expands
/// an address that stands in its own expansion once.
fn passes_on(world: &World, id: &ObjectId) -> Vec<Address> {
    match id.kind {
        Kind::MailAlias => world.aliases.get(&id.key).map_or(vec![], |a| alias_targets(world, &id.key, &a)),
        Kind::Mailbox => {
            let ends = |m: &Mailbox| m.spec.forwarding.as_ref().is_none_or(|f| f.keep_copy);
            let Some(mailbox) = world.mailboxes.get(&id.key).filter(|m| !ends(m)) else { return vec![] };
            let gone = gone_targets(world, &id.key.namespace, &mailbox);
            forwards(&mailbox).into_iter().filter(|a| !gone.contains(a)).collect()
        }
        _ => vec![],
    }
}

/// The shortest way that mail takes from an object back to it, as addresses; empty: there is none. `has_row`: whether an
/// address that no object declares is at the server all the same, as in a domain that was adopted: the way ends there, and
/// not at the catch-all.
pub fn mail_loop(
    world: &World,
    instance: &NamespacedName,
    start: &ObjectId,
    has_row: impl Fn(&Address) -> bool,
) -> Vec<String> {
    let mut came_from: BTreeMap<ObjectId, ObjectId> = BTreeMap::new();
    let mut queue = VecDeque::from([start.clone()]);
    while let Some(id) = queue.pop_front() {
        let ends = |to: &&Address, next: &ObjectId| is_catch_all(world, next) && has_row(to);
        let next = |to: &Address| taker(world, instance, to).filter(|next| !ends(&to, next));
        for next in passes_on(world, &id).iter().filter_map(next) {
            if next == *start {
                return way(world, &came_from, start, &id);
            }
            if !came_from.contains_key(&next) {
                came_from.insert(next.clone(), id.clone());
                queue.push_back(next);
            }
        }
    }
    vec![]
}

fn is_catch_all(world: &World, id: &ObjectId) -> bool {
    id.kind == Kind::MailAlias && world.aliases.get(&id.key).is_some_and(|a| a.spec.local_part == "*")
}

/// Of what mail for an object may reach, the addresses that only a catch-all takes: each with the object of its domain.
pub fn caught(world: &World, instance: &NamespacedName, start: &ObjectId) -> Vec<(NamespacedName, Address)> {
    let (mut seen, mut todo) = (BTreeSet::from([start.clone()]), vec![start.clone()]);
    let mut out = vec![];
    while let Some(id) = todo.pop() {
        for to in passes_on(world, &id) {
            let Some(next) = taker(world, instance, &to) else { continue };
            if is_catch_all(world, &next) {
                let domain = domains(world, instance, to.domain()).next().cloned();
                out.extend(domain.map(|d| (d, to)));
            }
            if seen.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    out
}

/// Whether an object names addresses that may be inside the instance or outside.
pub fn names_addresses(world: &World, id: &ObjectId) -> bool {
    match id.kind {
        Kind::Mailbox => world.mailboxes.get(&id.key).is_some_and(|m| m.spec.forwarding.is_some()),
        Kind::MailAlias => {
            world.aliases.get(&id.key).is_some_and(|a| a.spec.targets.iter().any(|t| t.address.is_some()))
        }
        _ => false,
    }
}

/// Whose the addresses were that a mailbox forwards to when the forwards began.
pub fn noted_targets(mailbox: &Mailbox) -> &[ForwardTarget] {
    mailbox.status.as_ref().and_then(|s| s.forwards_to.as_deref()).unwrap_or_default()
}

/// Of the addresses that a mailbox forwards to those whose Mailbox of the time when the forward began is gone.
pub fn gone_targets(world: &World, namespace: &str, mailbox: &Mailbox) -> BTreeSet<Address> {
    let is = |id: &ObjectId, uid: &str| {
        let object = world.mailboxes.get(&id.key).filter(|_| id.kind == Kind::Mailbox);
        object.is_some_and(|m| m.metadata.uid.as_deref() == Some(uid))
    };
    let is_there = |address: &Address, uid: &str| {
        let plain = address.without_detail();
        let mut domains = world.index.domains_by_name.of(address.domain()).filter(|d| d.namespace == namespace);
        let declare = |d: &NamespacedName, local: &str| world.owner_of_address(d, local).iter().any(|id| is(id, uid));
        domains.any(|d| declare(d, address.local()) || declare(d, plain.local()))
    };
    let noted = noted_targets(mailbox);
    let gone = |a: &Address| noted.iter().any(|n| n.address == a.as_str() && !is_there(a, &n.uid));
    if noted.is_empty() { BTreeSet::new() } else { forwards(mailbox).into_iter().filter(gone).collect() }
}

/// Of these addresses those that a Mailbox of the instance declares, itself or but for the `+detail`, with its uid.
pub fn holders(world: &World, instance: &NamespacedName, addresses: Vec<Address>) -> BTreeMap<Address, String> {
    let one = |address: Address| {
        let id = taker(world, instance, &address).filter(|id| id.kind == Kind::Mailbox)?;
        Some((address, world.mailboxes.get(&id.key)?.metadata.uid.clone()?))
    };
    addresses.into_iter().filter_map(one).collect()
}

fn way(world: &World, came_from: &BTreeMap<ObjectId, ObjectId>, start: &ObjectId, last: &ObjectId) -> Vec<String> {
    let before = |id: &ObjectId| came_from.get(id).cloned().filter(|_| id != start);
    let mut ids: Vec<ObjectId> = std::iter::successors(Some(last.clone()), before).collect();
    ids.reverse();
    ids.iter().chain([start]).filter_map(|id| address_of(world, id)).map(String::from).collect()
}

/// The address of a mailbox or alias; `*@domain` for a catch-all.
fn address_of(world: &World, id: &ObjectId) -> Option<Address> {
    match id.kind {
        Kind::Mailbox => {
            let object = world.mailboxes.get(&id.key)?;
            in_domain(world, &id.key.sibling(&object.spec.domain_ref.name), &object.spec.local_part)
        }
        Kind::MailAlias => {
            let object = world.aliases.get(&id.key)?;
            in_domain(world, &id.key.sibling(&object.spec.domain_ref.name), &object.spec.local_part)
        }
        _ => None,
    }
}

/// The address of a local part in a domain object.
fn in_domain(world: &World, domain: &NamespacedName, local: &str) -> Option<Address> {
    Some(Address::in_domain(local, &a_label(&*world.domains.get(domain)?)))
}

/// Of these addresses those in a domain of the instance that no object declares, with the object of their domain.
pub fn undeclared<'a>(
    world: &World,
    instance: &NamespacedName,
    addresses: impl IntoIterator<Item = &'a Address>,
) -> Vec<(NamespacedName, Address)> {
    let one = |address: &Address| {
        let domain = domains(world, instance, address.domain()).next()?.clone();
        taker(world, instance, address).is_none().then(|| (domain, address.clone()))
    };
    addresses.into_iter().filter_map(one).collect()
}

/// The addresses that an alias names as such, in their canonical form.
pub fn named(alias: &MailAlias) -> Vec<Address> {
    alias.spec.targets.iter().filter_map(|t| Address::new(t.address.as_deref()?).ok()).collect()
}

/// Key of an address in the index of those who name it, without its `+detail`.
pub fn index_key(namespace: &str, address: &Address) -> (String, Address) {
    (namespace.to_owned(), address.without_detail())
}

/// [`index_key`] of each address that an object names.
pub fn keys(object: &NamespacedName, addresses: Vec<Address>) -> BTreeSet<(String, Address)> {
    addresses.iter().map(|a| index_key(&object.namespace, a)).collect()
}

/// Aliases and mailboxes whose mail may reach an object (there, or just gone) with this local part in this domain object,
/// however many steps away. Of a catch-all: all in its instance that name addresses, since one that nobody has stands in no
/// index.
pub fn leading_to(world: &World, id: &ObjectId, domain: &NamespacedName, local: &str) -> BTreeSet<ObjectId> {
    let mut found = BTreeSet::new();
    let mut todo: Vec<_> = in_domain(world, domain, local).map(|address| (id.clone(), address)).into_iter().collect();
    while let Some((id, address)) = todo.pop() {
        for referrer in referrers(world, &id, domain, &address) {
            if found.insert(referrer.clone()) {
                todo.extend(address_of(world, &referrer).map(|address| (referrer, address)));
            }
        }
    }
    found.remove(id);
    found
}

fn referrers(world: &World, id: &ObjectId, domain: &NamespacedName, address: &Address) -> Vec<ObjectId> {
    let alias = |k: &NamespacedName| ObjectId::new(Kind::MailAlias, k.clone());
    let key = index_key(&id.key.namespace, address);
    let mut all: Vec<ObjectId> = world.index.routes_by_address.of(&key).cloned().collect();
    match id.kind {
        Kind::Mailbox => all.extend(world.index.aliases_by_mailbox.of(&id.key).map(alias)),
        _ if address.starts_with("*@") => {
            let instance = world.instance_of(domain).map(|i| NamespacedName::of(i.as_ref()));
            let children = instance.map_or(vec![], |i| world.children_of(&i));
            all.extend(children.into_iter().filter(|id| names_addresses(world, id)));
        }
        _ => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use mailtenant_api::{MailDomain, MailDomainClaim, MailInstance};
    use mailtenant_runtime::store::Event;
    use serde_json::{Value, json};

    /// An instance with the domain acme.test: mailboxes with their forwarding, aliases with their targets.
    fn world(mailboxes: &[(&str, Value)], aliases: &[(&str, Value)]) -> World {
        let mut w = World::default();
        let d = fixtures::domain(json!({}));
        w.apply::<MailInstance>(Event::Applied((*d.instance.object).clone()));
        let mut domain = (*d.object).clone();
        let provisioned = json!({"type": "Provisioned", "status": "True", "reason": "Succeeded", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        domain.status = serde_json::from_value(json!({"conditions": [provisioned]})).unwrap();
        let owner = json!({"namespace": "t", "name": "d", "uid": domain.metadata.uid});
        w.apply::<MailDomain>(Event::Applied(domain));
        let claim = json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": "MailDomainClaim",
            "metadata": {"name": "acme.test", "uid": "c", "resourceVersion": "1"}, "spec": {"owner": owner}});
        w.apply::<MailDomainClaim>(Event::Applied(serde_json::from_value(claim).unwrap()));
        for (local, forwarding) in mailboxes {
            let spec = json!({"localPart": local, "forwarding": forwarding});
            w.apply::<Mailbox>(Event::Applied(fixtures::mailbox(
                spec,
                json!({"metadata": {"name": local, "uid": local}}),
            )));
        }
        for (local, targets) in aliases {
            let mut a = fixtures::alias(json!({"localPart": local, "targets": targets}));
            let name = local.replace('*', "catch-all");
            (a.metadata.name, a.metadata.uid) = (Some(name.clone()), Some(name));
            w.apply::<MailAlias>(Event::Applied(a));
        }
        w
    }

    fn instance() -> NamespacedName {
        NamespacedName::new("t", "i")
    }

    fn to(addresses: &[&str]) -> Value {
        addresses.iter().map(|a| json!({"address": format!("{a}@acme.test")})).collect()
    }

    fn forward(address: &str, keep: bool) -> Value {
        json!({"to": [format!("{address}@acme.test")], "keepCopy": keep})
    }

    #[test]
    fn mail_loops_are_found_by_each_of_their_members_and_by_nobody_else() {
        let none = Value::Null;
        let by_name = json!([{"mailboxRef": {"name": "alice"}}]);
        type Case<'a> = (&'a str, Vec<(&'a str, Value)>, Vec<(&'a str, Value)>, Vec<&'a str>);
        let cases: Vec<Case> = vec![
            (
                "no mail_loop",
                vec![("alice", none.clone())],
                vec![("info", by_name.clone()), ("a", to(&["info"]))],
                vec![],
            ),
            ("two aliases", vec![], vec![("a", to(&["b"])), ("b", to(&["a"])), ("c", to(&["a"]))], vec!["a", "b"]),
            ("three", vec![], vec![("a", to(&["b"])), ("b", to(&["c"])), ("c", to(&["a"]))], vec!["a", "b", "c"]),
            (
                "one of several targets",
                vec![("alice", none.clone())],
                vec![("a", to(&["alice", "b"])), ("b", to(&["a"]))],
                vec!["a", "b"],
            ),
            ("detail", vec![], vec![("a", to(&["b+x"])), ("b", to(&["a+y"]))], vec!["a", "b"]),
            ("forwards", vec![("x", forward("y", false)), ("y", forward("x", false))], vec![], vec!["x", "y"]),
            ("a copy is kept", vec![("x", forward("y", false)), ("y", forward("x", true))], vec![], vec![]),
            (
                "alias and forward",
                vec![("alice", forward("info", false))],
                vec![("info", by_name)],
                vec!["alice", "info"],
            ),
            ("through the catch-all", vec![], vec![("*", to(&["a"])), ("a", to(&["nobody"]))], vec!["a", "catch-all"]),
            (
                "a catch-all that ends",
                vec![("alice", none)],
                vec![("*", to(&["alice"])), ("a", to(&["nobody"]))],
                vec![],
            ),
        ];
        for (name, mailboxes, aliases, members) in cases {
            let w = world(&mailboxes, &aliases);
            let ids = w.children_of(&instance());
            let mut found: Vec<&str> = vec![];
            for id in &ids {
                let mail_loop = mail_loop(&w, &instance(), id, |_| false);
                if !mail_loop.is_empty() {
                    found.push(&id.key.name);
                    assert_eq!(mail_loop.len(), members.len() + 1, "{name}: {mail_loop:?}");
                    assert_eq!(mail_loop.first(), mail_loop.last(), "{name}");
                    let all: BTreeSet<&String> = mail_loop.iter().collect();
                    assert_eq!(all.len(), members.len(), "{name}: each is named once: {mail_loop:?}");
                    // Whoever ends it wakes the others.
                    let local = mail_loop[0].split('@').next().unwrap();
                    let woken = leading_to(&w, id, &NamespacedName::new("t", "d"), local);
                    assert!(
                        members.iter().all(|m| *m == id.key.name || woken.iter().any(|i| i.key.name == *m)),
                        "{name}"
                    );
                }
            }
            found.sort_unstable();
            assert_eq!(found, members, "{name}");
        }
    }

    /// Whoever declares the address, it is for the Mailbox of that uid alone.
    #[test]
    fn a_forward_ends_with_the_mailbox_that_it_began_with() {
        let mut spec = forward("alice", false);
        spec["to"] = json!(["alice@acme.test", "alice+x@acme.test", "ghost@acme.test"]);
        let w = world(&[("bob", spec), ("alice", Value::Null)], &[("*", json!([{"mailboxRef": {"name": "alice"}}]))]);
        let mut bob = w.mailboxes.get(&NamespacedName::new("t", "bob")).unwrap().as_ref().clone();
        let alice = w.mailboxes.get(&NamespacedName::new("t", "alice")).unwrap().metadata.uid.clone().unwrap();
        for (noted, uid, gone) in [
            ("alice@acme.test", alice.as_str(), false),
            ("alice+x@acme.test", &alice, false),
            ("alice@acme.test", "uid-of-before", true),
            // The catch-all would take it.
            ("ghost@acme.test", "uid-of-before", true),
            // Not forwarded to any more.
            ("other@acme.test", "uid-of-before", false),
        ] {
            let status = json!({"conditions": [], "forwardsTo": [{"address": noted, "uid": uid}]});
            bob.status = serde_json::from_value(status).unwrap();
            let found = gone_targets(&w, "t", &bob);
            assert_eq!(found.iter().map(Address::as_str).collect::<Vec<_>>(), if gone { vec![noted] } else { vec![] });
        }
    }

    /// In a domain that was adopted an address may be at the server and nowhere else.
    #[test]
    fn a_row_of_no_object_ends_the_way() {
        let w = world(&[("alice", forward("office", false))], &[("*", json!([{"mailboxRef": {"name": "alice"}}]))]);
        let alice = ObjectId::new(Kind::Mailbox, NamespacedName::new("t", "alice"));
        assert_eq!(mail_loop(&w, &instance(), &alice, |_| false).len(), 3);
        assert!(mail_loop(&w, &instance(), &alice, |a| *a == "office@acme.test").is_empty());
        let asked: Vec<String> = caught(&w, &instance(), &alice).into_iter().map(|(_, a)| a.into()).collect();
        assert_eq!(asked, ["office@acme.test"]);
    }

    #[test]
    fn who_is_declared() {
        let w = world(&[("alice", Value::Null)], &[("info", to(&["alice"]))]);
        let ask = |w: &World, address: &str| !undeclared(w, &instance(), [&Address::from_server(address)]).is_empty();
        for (address, nobody) in [
            ("alice@acme.test", false),
            ("alice+news@acme.test", false),
            ("info@acme.test", false),
            ("ghost@acme.test", true),
            ("+x@acme.test", true),
            // Others' domains are not known here.
            ("ghost@other.test", false),
        ] {
            assert_eq!(ask(&w, address), nobody, "{address}");
        }
        let mut w = world(&[("alice", Value::Null)], &[("*", to(&["alice"]))]);
        assert!(!ask(&w, "ghost@acme.test"), "the catch-all takes it");
        w = world(&[("alice", Value::Null)], &[]);
        w.apply::<MailDomainClaim>(Event::Deleted { key: NamespacedName::new("", "acme.test"), uid: Some("c".into()) });
        assert!(!ask(&w, "ghost@acme.test"), "the name is not held: mail for it goes elsewhere");
    }
}
