//! Whose turn it is, as a table.

use super::*;
use crate::fixtures;
use crate::state::managed::Managed;
use mailtenant_runtime::store::Event;
use serde_json::{Value, json};

/// A domain of the instance `i` on the backend `b`, with MX as all servers show it.
fn domain(name: &str, version: &str, state: &str, ready: &str, mx: &[&str]) -> MailDomain {
    let mut domain = fixtures::managed_domain(json!({"domain": format!("{name}.test")}));
    domain.metadata.name = Some(name.into());
    domain.metadata.uid = Some(format!("uid-{name}"));
    domain.metadata.resource_version = Some(version.into());
    let entry = |host: &&str| {
        json!({"name": format!("{name}.test"), "type": "MX", "value": format!("10 {host}."), "purpose": "MX", "state": "Ok",
            "ownership": "Created"})
    };
    let condition = |type_: &str, reason: &str| json!({"type": type_, "status": "False", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let records: Vec<Value> = mx.iter().map(entry).collect();
    let conditions = [condition("Ready", ready), condition("DNSPublished", ready)];
    let status = json!({"state": state, "conditions": conditions, "dns": {"records": records}});
    domain.status = serde_json::from_value(status).unwrap();
    domain
}

fn world(domains: Vec<MailDomain>) -> World {
    let mut world = World::default();
    let instance = fixtures::domain(json!({})).instance;
    let mut backend = (*instance.backend).clone();
    backend.metadata.namespace = None;
    world.apply(Event::Applied(backend));
    world.apply(Event::Applied((*instance.object).clone()));
    for domain in domains {
        world.apply(Event::Applied(domain));
    }
    world
}

#[test]
fn one_domain_goes_first_and_the_others_follow_when_its_mx_is_shown() {
    let old = || &["mx.test"][..];
    let other = |state: &str, ready: &str, mx: &[&str]| domain("a", "1", state, ready, mx);
    for (other, first, why) in [
        (other("Live", "AwaitingAcceptance", old()), false, "the one before tries it"),
        (other("Live", "Succeeded", old()), false, "the one before has not heard of it yet"),
        (other("Live", "BackendUnreachable", old()), true, "something else is in its way"),
        (other("CutoverReady", "AwaitingApproval", &[]), true, "it is not live"),
        (other("Live", "Succeeded", &["mx9.test"]), true, "its MX is shown"),
        (other("Live", "Succeeded", &["mx9.test", "mx.test"]), true, "its MX is shown, among others"),
    ] {
        let world = world(vec![other, domain("b", "1", "Live", "AwaitingAcceptance", old())]);
        let new = BTreeSet::from(["mx9.test".to_owned()]);
        assert_eq!(turn(&world, &NamespacedName::new("t", "b"), "b", &new), first, "{why}");
        assert!(turn(&world, &NamespacedName::new("t", "a"), "b", &new), "{why}: the first one is never held up");
    }
}

#[test]
fn those_that_wait_hear_of_it() {
    let mut world = world(vec![
        domain("a", "1", "Live", "AwaitingAcceptance", &["mx.test"]),
        domain("b", "1", "Live", "AwaitingAcceptance", &["mx.test"]),
        domain("c", "1", "Live", "Succeeded", &["mx.test"]),
    ]);
    let mut woken = |domain: MailDomain| {
        let deltas = world.apply(Event::Applied(domain));
        let all = deltas.iter().flat_map(|d| MailDomain::wakeups(&world, d).now);
        all.filter(|(id, _)| id.key.name != "a").map(|(id, _)| id.key.name).collect::<Vec<_>>()
    };
    assert_eq!(woken(domain("a", "2", "Live", "DNSPropagating", &["mx.test"])), Vec::<String>::new());
    assert_eq!(woken(domain("a", "3", "Live", "Succeeded", &["mx9.test"])), ["b"]);
}
