//! The process around `mailtenant wellknown`: its two HTTP ports, signals, the client for the Kubernetes API.

use crate::args::WellknownArguments;
use crate::process::{Error, SILENCE};
use mailtenant_runtime::http::{self, Health};
use mailtenant_runtime::metrics::Metrics;
use mailtenant_runtime::requests::{self, RequestLayer};
use mailtenant_runtime::shutdown::{self, Signals};
use mailtenant_wellknown::metrics::DocumentMetrics;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::info;

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
    let (close_http, http_closes) = shutdown::channel();
    let mut tasks = JoinSet::new();
    let served = http::serve(listener, health.clone(), metrics.clone(), http_closes);
    tasks.spawn(async move {
        let _ = served.await;
        "the HTTP server"
    });
    tasks.spawn(async move {
        signals.forward(trigger).await;
        "signal handling"
    });
    let beating = health.clone();
    tasks.spawn(async move {
        beating.heartbeat("runtime", SILENCE).await;
        "the heartbeat"
    });
    let environment = mailtenant_wellknown::Environment {
        client,
        listener: public,
        health,
        metrics,
        documents,
        shutdown: shutdown.clone(),
    };
    let ended = tokio::select! {
        biased;
        task = tasks.join_next() => Err(match task {
            Some(Ok(name)) => Error::Ended(name),
            Some(Err(error)) => error.into(),
            None => Error::Ended("every task"),
        }),
        () = mailtenant_wellknown::run(environment) => match shutdown.is_requested() {
            true => Ok(()),
            false => Err(Error::Ended("the server of documents")),
        },
    };
    close_http.request();
    tasks.shutdown().await;
    ended
}

async fn bind(flag: &'static str, address: SocketAddr, what: &str) -> Result<TcpListener, Error> {
    let listener = http::bind(address).await.map_err(|error| Error::Bind { flag, address, error })?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving {what}");
    }
    Ok(listener)
}
