//! Many small tenants: as many namespaces, each with an instance, a domain in a zone of its own, and a mailbox.

use super::CONCURRENCY;
use super::harness::kubectl::Kubectl;
use super::harness::stack::Stack;
use super::harness::world::{self, GROUPWARE};
use super::harness::{dns, secs};
use super::observer::Observer;
use futures::StreamExt;
use serde_json::json;
use std::time::{Duration, Instant};

/// Zones of one DNSBackend, which takes 256.
const ZONES_OF_ONE: usize = 250;

/// So many of them.
pub struct Many {
    /// The servers.
    pub stack: &'static Stack,
    /// Kubernetes.
    pub k: Kubectl,
    /// How many.
    pub count: usize,
}

fn zone(i: usize) -> String {
    format!("many{i}.test")
}

fn dns_backend(i: usize) -> String {
    format!("many{}", i / ZONES_OF_ONE)
}

impl Many {
    /// What a platform has: the zones and their DNSBackends.
    pub async fn prepare(&self) {
        let zones: Vec<String> = (0..self.count).map(zone).collect();
        for zone in &zones {
            dns::create_zone(self.stack, zone).await;
        }
        for (i, zones) in zones.chunks(ZONES_OF_ONE).enumerate() {
            let mut backend = world::dns_backend(self.stack, &dns_backend(i * ZONES_OF_ONE), &[], zones);
            backend["spec"]["allowedNamespaces"] = json!({"from": "All"});
            self.k.apply(backend).await;
        }
        for i in (0..self.count).step_by(ZONES_OF_ONE) {
            self.k.ready("DNSBackend", &dns_backend(i), secs(120)).await;
        }
    }

    /// Applies all of them; how long it took until all objects of a kind were ready.
    pub async fn apply(&self, start: Instant) -> Vec<(&'static str, Duration)> {
        let kinds = ["MailInstance", "MailDomain", "Mailbox"];
        let observers = kinds.map(|kind| (kind, Observer::everywhere(&self.k, kind, self.count)));
        futures::stream::iter(0..self.count).for_each_concurrent(CONCURRENCY, |i| self.tenant(i)).await;
        let mut ready = vec![];
        for (kind, observer) in &observers {
            ready.push((*kind, observer.all_ready(secs(120 + self.count as u64)).await.duration_since(start)));
        }
        ready
    }

    async fn tenant(&self, i: usize) {
        let namespace = format!("many-{i}");
        let k = self.k.within(&namespace);
        k.apply(json!({"kind": "Namespace", "metadata": {"name": namespace}})).await;
        k.apply(json!({"kind": "MailInstance", "metadata": {"name": "mail"}, "spec": {
            "backendRef": {"name": GROUPWARE}, "storage": "1Gi", "defaultMailboxQuota": "10Mi"}}))
            .await;
        k.apply(json!({"kind": "MailDomain", "metadata": {"name": "main"}, "spec": {
            "instanceRef": {"name": "mail"}, "domain": zone(i),
            "dns": {"mode": "Managed", "backendRef": {"name": dns_backend(i)}, "ttl": 1}}}))
            .await;
        k.apply(json!({"kind": "Mailbox", "metadata": {"name": "alice"}, "spec": {
            "domainRef": {"name": "main"}, "localPart": "alice"}}))
            .await;
    }
}
