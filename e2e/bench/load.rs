//! What a tenant applies, and the one mailbox that is edited now and then.

use super::harness::kubectl::{self, Kubectl};
use super::harness::world::GROUPWARE;
use super::harness::{eventually, secs};
use futures::StreamExt;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use mailtenant_api::Mailbox;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Name of the n-th zone.
pub fn zone(i: usize) -> String {
    format!("bench{i}.test")
}

/// A Mailbox with a generated password, one of a thousand in its domain.
pub fn mailbox(i: usize, domains: usize) -> Value {
    let name = format!("m{i:05}");
    // Those beyond the last thousand are in the first domain.
    let domain = if i / 1000 < domains { i / 1000 } else { 0 };
    json!({"kind": "Mailbox", "metadata": {"name": name}, "spec": {
        "domainRef": {"name": format!("d{domain}")}, "localPart": name, "displayName": format!("Mailbox {i}")}})
}

/// The tenant.
pub struct Tenant {
    /// Kubernetes, in its namespace.
    pub k: Kubectl,
    /// How many domains it has.
    pub domains: usize,
}

impl Tenant {
    /// Namespace, instance, domains, and the first mailbox: all there before anything is measured.
    pub async fn prepare(&self, n: usize) {
        let ns = &self.k.namespace;
        self.k.apply(json!({"kind": "Namespace", "metadata": {"name": ns, "labels": {"mail": "standard"}}})).await;
        self.k
            .apply(json!({"kind": "MailInstance", "metadata": {"name": "bench"}, "spec": {
                "backendRef": {"name": GROUPWARE}, "storage": format!("{}Gi", n / 50 + 10), "defaultMailboxQuota": "10Mi",
                "deletionPolicy": "Delete"}}))
            .await;
        for i in 0..self.domains {
            self.k
                .apply(json!({"kind": "MailDomain", "metadata": {"name": format!("d{i}")}, "spec": {
                    "instanceRef": {"name": "bench"}, "domain": zone(i),
                    "dns": {"mode": "Managed", "backendRef": {"name": ns}, "ttl": 1}}}))
                .await;
        }
        self.k
            .apply(json!({"kind": "Mailbox", "metadata": {"name": "pilot"}, "spec": {
                "domainRef": {"name": "d0"}, "localPart": "pilot", "displayName": "0"}}))
            .await;
        for i in 0..self.domains {
            self.k.ready("MailDomain", &format!("d{i}"), secs(120)).await;
        }
        self.k.ready("Mailbox", "pilot", secs(60)).await;
    }

    /// Applies mailboxes, so many at a time.
    pub async fn apply(&self, which: std::ops::Range<usize>, concurrency: usize) {
        futures::stream::iter(which)
            .for_each_concurrent(concurrency, |i| async move {
                self.k.apply(mailbox(i, self.domains)).await;
            })
            .await;
    }

    /// Waits until nothing of the tenant is left.
    pub async fn empty(&self, limit: Duration) -> Instant {
        eventually("the tenant is gone", limit, || async {
            for kind in ["Mailbox", "MailDomain", "MailInstance"] {
                let one = self.k.api(kind).list_metadata(&ListParams::default().limit(1)).await;
                if !one.expect("a list").items.is_empty() {
                    return Err(format!("there is a {kind}"));
                }
            }
            Ok(Instant::now())
        })
        .await
    }

    /// Waits until the namespace is gone with all that was in it.
    pub async fn gone(&self, limit: Duration) -> Instant {
        eventually("the namespace is gone", limit, || async {
            match self.k.get("Namespace", &self.k.namespace).await {
                None => Ok(Instant::now()),
                Some(namespace) => Err(namespace["status"].to_string()),
            }
        })
        .await
    }
}

/// A mailbox that is ready and gets edited, with a watch of its own.
pub struct Pilot {
    k: Kubectl,
    ready: mpsc::UnboundedReceiver<(i64, Instant)>,
    watching: tokio::task::JoinHandle<()>,
    edits: usize,
}

impl Pilot {
    /// Starts watching.
    pub async fn start(tenant: &Tenant) -> Pilot {
        let api: kube::Api<Mailbox> = kube::Api::namespaced(tenant.k.client.clone(), &tenant.k.namespace);
        let (tell, ready) = mpsc::unbounded_channel();
        let watching = tokio::spawn(async move {
            let config = watcher::Config::default().fields("metadata.name=pilot");
            let mut stream = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
            while let Some(seen) = stream.next().await {
                let Ok(object) = seen else { continue };
                let value = serde_json::to_value(&object).expect("JSON");
                if kubectl::is_ready(&value) {
                    let _ = tell.send((object.metadata.generation.unwrap_or_default(), Instant::now()));
                }
            }
        });
        Pilot { k: tenant.k.clone(), ready, watching, edits: 0 }
    }

    /// After a pause, changes the display name; how long until the status says of that very change that it is done.
    pub async fn edit_after(&mut self, pause: Duration) -> Duration {
        tokio::time::sleep(pause).await;
        self.edits += 1;
        let patch = json!({"spec": {"displayName": format!("edit {}", self.edits)}});
        let start = Instant::now();
        let written = self.k.api("Mailbox").patch("pilot", &PatchParams::default(), &Patch::Merge(&patch)).await;
        let generation = written.expect("the edit is taken").metadata.generation.unwrap_or_default();
        loop {
            let next = tokio::time::timeout(secs(120), self.ready.recv()).await;
            let (seen, at) = next.expect("the edit is carried out within two minutes").expect("the watch goes on");
            if seen >= generation {
                return at.duration_since(start);
            }
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
