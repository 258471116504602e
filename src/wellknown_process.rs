//! The process around `mailtenant wellknown`: its two HTTP ports, signals, the client for the Kubernetes API.

use crate::args::WellknownArguments;
use crate::process::{Error, beside_probes, bind};
use mailtenant_runtime::http::Health;
use mailtenant_runtime::metrics::Metrics;
use mailtenant_runtime::requests::{self, RequestLayer};
use mailtenant_runtime::shutdown::{self, Signals};
use mailtenant_wellknown::metrics::DocumentMetrics;

/// Serves documents until a signal asks it to stop (no error), or until it must stop.
pub async fn run(arguments: &WellknownArguments) -> Result<(), Error> {
    let signals = Signals::install().map_err(Error::Signals)?;
    let (trigger, shutdown) = shutdown::channel();
    let documents = DocumentMetrics::default();
    let (metrics, health) = (Metrics::with("mailtenant", |registry| documents.register(registry)), Health::new());
    health.waiting("caches", "not listed yet");
    let listener = bind("--http-address", arguments.http_address, "/healthz, /readyz and /metrics").await?;
    let public = bind("--listen-address", arguments.listen_address, "documents").await?;
    let config = kube::Config::infer().await?;
    let client = requests::client(config, &RequestLayer::new(metrics.clone())).map_err(Error::Client)?;
    let environment = mailtenant_wellknown::Environment {
        client,
        listener: public,
        health: health.clone(),
        metrics: metrics.clone(),
        documents,
        shutdown: shutdown.clone(),
    };
    let work = async {
        mailtenant_wellknown::run(environment).await;
        match shutdown.is_requested() {
            true => Ok(()),
            false => Err(Error::Ended("the server of documents")),
        }
    };
    beside_probes(listener, (health, metrics), (signals, trigger), work).await
}
