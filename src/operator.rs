//! The whole operator as one future, made of what is handed in.

use crate::runtime::clock::{Clock, Random};
use crate::runtime::events::Events;
use crate::runtime::http::Health;
use crate::runtime::metrics::Metrics;
use crate::runtime::shutdown::Shutdown;
use std::sync::Arc;

/// What the operator gets from outside.
#[derive(Clone)]
pub struct Environment {
    /// For the Kubernetes API.
    pub client: kube::Client,
    /// Where the Secrets of backends live.
    pub operator_namespace: String,
    /// This process, unique among replicas and restarts.
    pub identity: String,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether it is ready.
    pub health: Health,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Why the operator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Runs until the shutdown is asked for and the passes in flight have ended.
pub async fn run(environment: Environment, _events: Events) -> Result<(), Error> {
    environment.shutdown.requested().await;
    Ok(())
}
