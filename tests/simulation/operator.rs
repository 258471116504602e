//! The real operator as a subject: the same future that the process runs, with the models handed in.

use crate::causes::OPERATOR_NAMESPACE;
use crate::dns::{DnsConnect, Probe};
use crate::groupware::GroupwareConnect;
use crate::plant::{AsksOne, BelievesRefused, Bug, PlantedConnect, PlantedDnsConnect};
use crate::properties::Properties;
use crate::schedule::Subject;
use crate::sim::Sim;
use async_trait::async_trait;
use base64::Engine;
use mailtenant_backend::SecretText;
use mailtenant_backend::metering::RequestMetrics;
use mailtenant_clock::Random;
use mailtenant_controllers::connect::{ConnectDns, ConnectGroupware};
use mailtenant_controllers::operator::Environment;
use mailtenant_dns::{PolicyProbe, RecipientProbe};
use mailtenant_groupware::signing::KeyMaker;
use mailtenant_groupware::{BackendError, DkimAlgorithm, DkimKey};
use mailtenant_runtime::http::Health;
use mailtenant_runtime::metrics::Metrics;
use mailtenant_runtime::requests::RequestLayer;
use mailtenant_runtime::{events, shutdown};
use std::sync::Arc;

/// Keys of the right length that cost nothing.
struct CheapKeys(Sim);

#[async_trait]
impl KeyMaker for CheapKeys {
    async fn make(&self, algorithm: DkimAlgorithm) -> Result<DkimKey, BackendError> {
        let mut bytes = vec![0; if algorithm == DkimAlgorithm::Ed25519 { 32 } else { 294 }];
        self.0.fill(&mut bytes);
        let public = base64::engine::general_purpose::STANDARD.encode(bytes);
        Ok(DkimKey { algorithm, private_pem: SecretText::new(format!("private half of {public}")), public })
    }
}

/// No policy is served.
struct NoPolicies;

#[async_trait]
impl PolicyProbe for NoPolicies {
    async fn policy(&self, _: &str, _: &[std::net::IpAddr]) -> Result<String, BackendError> {
        Err(BackendError::unavailable("nobody serves it"))
    }
}

pub async fn operator(sim: Sim, bug: Option<Bug>, metrics: Metrics) {
    let plain: Arc<dyn ConnectGroupware> = Arc::new(GroupwareConnect(sim.clone()));
    let names: Arc<dyn ConnectDns> = Arc::new(DnsConnect(sim.clone()));
    let (groupware, dns): (Arc<dyn ConnectGroupware>, Arc<dyn ConnectDns>) = match bug {
        Some(bug) => (Arc::new(PlantedConnect(plain, bug)), Arc::new(PlantedDnsConnect(names, bug))),
        None => (plain, names),
    };
    let probe: Arc<dyn RecipientProbe> = Arc::new(Probe(sim.clone()));
    let (_trigger, shutdown) = shutdown::channel();
    let layer = RequestLayer::new(metrics.clone());
    let environment = Environment {
        client: sim.limited_client(&layer, bug),
        operator_namespace: OPERATOR_NAMESPACE.into(),
        identity: "simulation".into(),
        clock: Arc::new(sim.clone()),
        server_time: layer.server_time.clone(),
        random: Arc::new(sim.clone()),
        groupware,
        dns,
        probe: match bug {
            Some(Bug::BelievesRefused) => Arc::new(BelievesRefused(probe)),
            Some(Bug::AsksOne) => Arc::new(AsksOne(probe)),
            _ => probe,
        },
        policies: Arc::new(NoPolicies),
        keys: Arc::new(CheapKeys(sim.clone())),
        metrics: metrics.clone(),
        requests: RequestMetrics::default(),
        health: Health::new(),
        shutdown,
    };
    let (events, publisher) = events::new(
        environment.client.clone(),
        "mailtenant.dev/operator",
        environment.identity.clone(),
        environment.clock.clone(),
        environment.random.clone(),
        metrics,
    );
    tokio::select! { biased;
        () = publisher.run() => {}
        _ = mailtenant_controllers::operator::run(environment, events) => {}
    }
}

/// The operator, with or without a bug planted around it.
pub fn subject(bug: Option<Bug>) -> Subject {
    Subject {
        start: Arc::new(move |sim: Sim| Box::pin(operator(sim, bug, Metrics::new("mailtenant")))),
        user: crate::user::user,
        monitor: || Box::<Properties>::default(),
        quiet_ms: 1_000_000,
    }
}
