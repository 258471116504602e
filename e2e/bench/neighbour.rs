//! A neighbour of a busy tenant: how long a new mailbox of its own takes while the other one edits all the time.

use super::harness::kubectl::Kubectl;
use super::harness::stack::Stack;
use super::harness::world::{self, GROUPWARE};
use super::harness::{dns, secs};
use super::load::Tenant;
use super::observer::Observer;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// Edits of the busy tenant per second.
const EDITS: u32 = 100;
/// Mailboxes that the neighbour makes, one after the other.
const MAILBOXES: usize = 8;
/// Pause between two of them.
const PAUSE: Duration = secs(2);

/// A tenant of its own on the same server.
pub struct Neighbour {
    k: Kubectl,
}

impl Neighbour {
    /// Namespace, instance and domain, ready.
    pub async fn prepare(stack: &'static Stack, k: &Kubectl) -> Neighbour {
        let k = k.within("neighbour");
        dns::create_zone(stack, "neighbour.test").await;
        k.apply(world::dns_backend(stack, "neighbour", &["neighbour"], &["neighbour.test".to_owned()])).await;
        k.apply(json!({"kind": "Namespace", "metadata": {"name": "neighbour", "labels": {"mail": "standard"}}})).await;
        k.apply(json!({"kind": "MailInstance", "metadata": {"name": "mail"}, "spec": {
            "backendRef": {"name": GROUPWARE}, "storage": "1Gi", "defaultMailboxQuota": "10Mi",
            "deletionPolicy": "Delete"}}))
            .await;
        k.apply(json!({"kind": "MailDomain", "metadata": {"name": "main"}, "spec": {
            "instanceRef": {"name": "mail"}, "domain": "neighbour.test",
            "dns": {"mode": "Managed", "backendRef": {"name": "neighbour"}, "ttl": 1}}}))
            .await;
        k.ready("MailDomain", "main", secs(120)).await;
        Neighbour { k }
    }

    /// How long each new mailbox took while `busy` edited its first `n` mailboxes, and how many edits there were.
    pub async fn beside(&self, busy: &Tenant, n: usize) -> (Vec<Duration>, usize) {
        let mut took = vec![];
        let mailboxes = async {
            for i in 0..MAILBOXES {
                tokio::time::sleep(PAUSE).await;
                let (observer, start) = (Observer::start(&self.k, i + 1).await, Instant::now());
                let spec = json!({"domainRef": {"name": "main"}, "localPart": format!("m{i}")});
                self.k.apply(json!({"kind": "Mailbox", "metadata": {"name": format!("m{i}")}, "spec": spec})).await;
                took.push(observer.all_ready(secs(120)).await.duration_since(start));
            }
        };
        let mut edits = 0;
        tokio::select! {
            () = mailboxes => {}
            () = edit(busy, n, &mut edits) => {}
        }
        (took, edits)
    }

    /// Its namespace goes.
    pub async fn end(&self) {
        self.k.delete("Namespace", "neighbour").await;
        Tenant { k: self.k.clone(), domains: 1 }.gone(secs(180)).await;
        self.k.delete("DNSBackend", "neighbour").await;
    }
}

/// Edits one mailbox after the other, for ever.
async fn edit(busy: &Tenant, n: usize, edits: &mut usize) {
    let mut ticks = interval(secs(1) / EDITS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let api = busy.k.api("Mailbox");
    loop {
        ticks.tick().await;
        let patch = json!({"spec": {"displayName": format!("busy {edits}")}});
        let (api, name) = (api.clone(), format!("m{:05}", *edits % n));
        tokio::spawn(async move { api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await });
        *edits += 1;
    }
}
