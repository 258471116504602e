//! `mailtenant wellknown`: serves the MTA-STS policy (RFC 8461) and the settings that mail clients ask for, of exactly the domains
//! that are claimed, from a watch of four kinds. It reads no Secret, writes nothing, and leads no election: every replica
//! answers. HTTPS ends before it, at the platform's ingress.
//!
//! [`answer`] decides (pure), [`known`] holds what the watches have told, [`server`] speaks HTTP.

#![forbid(unsafe_code)]

pub mod answer;
pub mod known;
pub mod metrics;
pub mod server;

use known::{Known, Stored};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource};
use mailtenant_api::{GroupwareBackend, MailDomain, MailDomainClaim, MailInstance};
use mailtenant_runtime::http::Health;
use mailtenant_runtime::metrics::Metrics;
use mailtenant_runtime::shutdown::Shutdown;
use mailtenant_runtime::store::{Event, NamespacedName};
use mailtenant_runtime::watch::{self, Undecodable};
use metrics::DocumentMetrics;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::net::TcpListener;

/// What the watches have told, for whoever answers.
#[derive(Clone, Default)]
pub struct Shared(Arc<RwLock<Known>>);

impl Shared {
    /// Looks something up. Never held across an await.
    pub fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What [`run`] gets from outside.
pub struct Environment {
    /// For the Kubernetes API.
    pub client: Client,
    /// Where documents are served.
    pub listener: TcpListener,
    /// Ready once every kind is listed.
    pub health: Health,
    /// Of watches and requests to Kubernetes.
    pub metrics: Metrics,
    /// Of documents.
    pub documents: DocumentMetrics,
    /// Ends it.
    pub shutdown: Shutdown,
}

/// Watches and answers until the shutdown is asked for and the answers in flight are given.
pub async fn run(environment: Environment) {
    let Environment { client, listener, health, metrics, documents, shutdown } = environment;
    health.waiting("caches", "not listed yet");
    let shared = Shared::default();
    tokio::select! {
        biased;
        () = server::serve(listener, shared.clone(), documents, shutdown) => {}
        () = watched::<MailDomain>(&client, &shared, &health, &metrics, "MailDomain") => {}
        () = watched::<MailDomainClaim>(&client, &shared, &health, &metrics, "MailDomainClaim") => {}
        () = watched::<MailInstance>(&client, &shared, &health, &metrics, "MailInstance") => {}
        () = watched::<GroupwareBackend>(&client, &shared, &health, &metrics, "GroupwareBackend") => {}
    }
}

/// Takes in what the watch of a kind tells. Never returns.
async fn watched<K>(client: &Client, shared: &Shared, health: &Health, metrics: &Metrics, kind: &'static str)
where
    K: Stored + Resource<DynamicType = ()>,
{
    let take = |event: Event<K>| {
        let listed = matches!(event, Event::ListedDone);
        shared.change(|known| known.apply(event));
        if listed && shared.read(Known::synced) {
            health.ready("caches");
        }
    };
    // It is served no longer: what it says now is not known.
    let broken = |object: Undecodable| {
        let meta = object.metadata;
        let key = NamespacedName::new(meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
        tracing::warn!(kind, object = %key, error = object.error, "cannot be read, and is passed over");
        shared.change(|known| known.apply::<K>(Event::Deleted { key, uid: meta.uid }));
    };
    let failed = |error: &dyn std::fmt::Display| {
        metrics.watch_restarted(kind);
        tracing::warn!(kind, %error, "the watch is started again");
    };
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    watch::run(api, take, broken, |error| failed(error)).await;
}
