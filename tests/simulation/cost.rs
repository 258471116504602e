//! What a mailbox costs, by count: passes, requests to Kubernetes, calls of the groupware server. No machine is slow or fast
//! here, so the bounds are those of the code.

use crate::hostile::{Hostile, Plot};
use crate::legacy::Legacy;
use crate::operator;
use crate::schedule::{Plan, Policy, Rng, Subject, run};
use crate::user::{GROUP, namespace, platform, post};
use crate::wider::Wide;
use crate::world::{User, When};
use futures::future::BoxFuture;
use mailtenant_runtime::metrics::Metrics;
use serde_json::json;
use std::sync::Arc;

const MAILBOXES: usize = 60;

/// A tenant with one domain and so many mailboxes, applied at once.
fn tenant() -> Vec<User> {
    let mut rng = Rng::new(1);
    let plain = |s: &u64| !Wide::new(*s).require_proof && Hostile::new(*s).plot == Plot::None;
    let seed = (1..).find(plain).unwrap();
    let (wide, hostile) = (Wide::new(seed), Hostile::new(seed));
    let object = |kind: &str, name: &str, spec| {
        post(&format!("{GROUP}/namespaces/a/{kind}"), json!({"metadata": {"name": name}, "spec": spec}))
    };
    let mut steps = platform(&mut rng, &wide, &hostile, &mut Legacy::none());
    steps.push(namespace("a"));
    steps.push(object("mailinstances", "acme", json!({"backendRef": {"name": "berlin"}, "storage": "100Gi"})));
    let dns = json!({"mode": "Managed", "backendRef": {"name": "pdns"}});
    let domain = json!({"instanceRef": {"name": "acme"}, "domain": "acme.test", "dns": dns, "dkim": {"algorithms": ["Ed25519"]}});
    steps.push(object("maildomains", "main", domain));
    steps.extend((0..MAILBOXES).map(|n| {
        let name = format!("m{n:02}");
        object("mailboxes", &name, json!({"domainRef": {"name": "main"}, "localPart": name, "quota": "1Gi"}))
    }));
    steps.into_iter().map(|step| User { when: When::Now, step }).collect()
}

/// What one run cost, per kind of call.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    passes: usize,
    finalizers: usize,
    secrets: usize,
    statuses: usize,
    ensured: usize,
    /// Requests to Kubernetes about one mailbox or its Secret that are none of the above.
    other: usize,
    /// Bulk reads of the domain.
    reads: usize,
}

fn cost(policy: Policy, seed: u64) -> Cost {
    let metrics = Metrics::new("mailtenant");
    let handed = metrics.clone();
    let start = move |sim| -> BoxFuture<'static, ()> { Box::pin(operator::operator(sim, None, handed.clone())) };
    let subject = Subject { start: Arc::new(start), ..operator::subject(None) };
    // Only the order is drawn: nothing goes wrong.
    let replay = (policy == Policy::Fifo).then(Vec::new);
    let plan = Plan { policy, replay, record: true, fault_steps: 0, ..Plan::new(seed) };
    let o = run(&plan, &subject, tenant());
    assert_eq!(o.bad, None);
    let text = metrics.text().unwrap();
    let passes = text.lines().filter(|l| l.starts_with("mailtenant_reconcile_total{kind=\"Mailbox\""));
    let passes = passes.filter_map(|l| l.rsplit(' ').next()?.parse::<usize>().ok()).sum();
    let asked = |what: &dyn Fn(&str) -> bool| o.lines.iter().filter(|l| l.contains(" -> ") && what(l)).count();
    let of_one = |l: &str| l.contains("/mailboxes/m") || l.contains("/namespaces/a/secrets");
    let (finalizers, statuses, secrets) = (
        asked(&|l| l.contains("PATCH") && l.contains("/mailboxes/m") && !l.contains("/status?")),
        asked(&|l| l.contains("PATCH") && l.contains("/mailboxes/m") && l.contains("/status?")),
        asked(&|l| l.contains("POST") && l.contains("/namespaces/a/secrets")),
    );
    Cost {
        passes,
        finalizers,
        secrets,
        statuses,
        ensured: asked(&|l| l.contains(": ensure_mailbox ")),
        other: asked(&of_one) - finalizers - statuses - secrets,
        reads: asked(&|l| l.contains(": read_domain ")),
    }
}

/// In the order in which things happen it is exactly what must be; in any other order no request is added.
#[test]
fn a_mailbox_costs_no_more_than_it_must() {
    let n = MAILBOXES;
    let least = cost(Policy::Fifo, 1);
    let reads = least.reads;
    assert_eq!(least, Cost { passes: n, finalizers: n, secrets: n, statuses: n, ensured: n, other: 0, reads });
    // A run has 1,000 s at rest with a look every 5 minutes.
    assert!((1..=8).contains(&reads), "{reads} bulk reads");
    for seed in 1..=5 {
        let other = cost(Policy::Uniform, seed);
        assert_eq!(other, Cost { reads: other.reads, ..least }, "seed {seed}");
        assert!((1..=8).contains(&other.reads), "seed {seed}: {other:?}");
    }
}
