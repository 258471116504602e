//! `/healthz`, `/readyz` and `/metrics`. Served from the first moment on, before the CRDs are there and before the
//! process leads, so that a waiting replica can be seen to wait. Knows no client and no object: others put into
//! [`Health`] and [`Metrics`] what is served.

use super::metrics::{CONTENT_TYPE, Metrics};
use super::shutdown::Shutdown;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Whether the process is alive and ready. Cheap to clone; clones share their state.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Loops that must report: the longest silence allowed, and when they last did.
    pulses: BTreeMap<&'static str, (Duration, Instant)>,
    /// Conditions that readiness waits for, each with the reason to show.
    gates: BTreeMap<&'static str, String>,
    /// What `/readyz` says besides: worth knowing, and no reason not to be ready.
    notes: BTreeMap<&'static str, String>,
}

impl Health {
    /// Alive and ready, until something is registered that is not.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not ready until [`Health::ready`] is called for the same `gate`; `reason` is shown by `/readyz`.
    pub fn waiting(&self, gate: &'static str, reason: impl Into<String>) {
        self.lock().gates.insert(gate, reason.into());
    }

    /// Ends the wait of [`Health::waiting`] for `gate`.
    pub fn ready(&self, gate: &'static str) {
        self.lock().gates.remove(gate);
    }

    /// From now on `/readyz` shows this text, ready or not. An empty one takes the last one of this name away.
    pub fn note(&self, name: &'static str, text: impl Into<String>) {
        let text = text.into();
        let mut inner = self.lock();
        if text.is_empty() {
            inner.notes.remove(name);
        } else {
            inner.notes.insert(name, text);
        }
    }

    /// From now on the loop `name` must call [`Pulse::beat`] at least once in `silence`, or `/healthz` fails. Ends
    /// when the [`Pulse`] is dropped.
    fn pulse(&self, name: &'static str, silence: Duration) -> Pulse {
        self.lock().pulses.insert(name, (silence, Instant::now()));
        Pulse { health: self.clone(), name }
    }

    /// Never returns. `/healthz` fails once the runtime has not polled this future for `silence`.
    pub async fn heartbeat(&self, name: &'static str, silence: Duration) {
        let pulse = self.pulse(name, silence);
        loop {
            tokio::time::sleep(silence / 4).await;
            pulse.beat();
        }
    }

    /// The loops that are overdue, with their silence.
    fn overdue(&self) -> Vec<(&'static str, Duration)> {
        let inner = self.lock();
        let silences = inner.pulses.iter().map(|(name, (allowed, last))| (*name, *allowed, last.elapsed()));
        silences.filter(|(_, allowed, silent)| silent > allowed).map(|(name, _, silent)| (name, silent)).collect()
    }

    /// What readiness waits for, with the reasons.
    fn waits(&self) -> Vec<(&'static str, String)> {
        self.lock().gates.iter().map(|(gate, reason)| (*gate, reason.clone())).collect()
    }

    /// What is worth knowing besides, one line each.
    fn notes(&self) -> String {
        self.lock().notes.iter().map(|(name, text)| format!("note: {name}: {text}\n")).collect()
    }
}

/// The sign of life of one loop, see [`Health::pulse`].
struct Pulse {
    health: Health,
    name: &'static str,
}

impl Pulse {
    /// The loop is still running.
    fn beat(&self) {
        if let Some((_, last)) = self.health.lock().pulses.get_mut(self.name) {
            *last = Instant::now();
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.health.lock().pulses.remove(self.name);
    }
}

#[derive(Clone)]
struct Served {
    health: Health,
    metrics: Metrics,
}

async fn healthz(State(served): State<Served>) -> Response {
    let overdue = served.health.overdue();
    if overdue.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let lines = overdue.iter().map(|(name, silent)| format!("{name}: no sign of life for {} s\n", silent.as_secs()));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>()).into_response()
}

async fn readyz(State(served): State<Served>) -> Response {
    let (waits, notes) = (served.health.waits(), served.health.notes());
    if waits.is_empty() {
        return (StatusCode::OK, format!("ok\n{notes}")).into_response();
    }
    let lines = waits.iter().map(|(gate, reason)| format!("{gate}: {reason}\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines.chain([notes]).collect::<String>()).into_response()
}

async fn metrics(State(served): State<Served>) -> Response {
    match served.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Opens the port. `[::]`, which serves IPv4 too, falls back to `0.0.0.0` on a machine without IPv6.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.is_ipv6() && address.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Serves `/healthz`, `/readyz` and `/metrics` until `shutdown` is requested.
pub async fn serve(listener: TcpListener, health: Health, metrics: Metrics, shutdown: Shutdown) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(self::metrics))
        .with_state(Served { health, metrics });
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.requested().await }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown;

    struct Server {
        url: String,
        health: Health,
        metrics: Metrics,
        trigger: shutdown::Trigger,
        task: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn server() -> Server {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (health, metrics) = (Health::new(), Metrics::new("demo"));
        let (trigger, shutdown) = shutdown::channel();
        let task = tokio::spawn(serve(listener, health.clone(), metrics.clone(), shutdown));
        Server { url, health, metrics, trigger, task }
    }

    impl Server {
        async fn get(&self, path: &str) -> (u16, String) {
            let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    }

    #[tokio::test]
    async fn not_ready_says_what_is_waited_for_until_the_last_gate_opens() {
        let server = server().await;
        assert_eq!(server.get("/readyz").await, (200, "ok\n".into()));
        server.health.waiting("crds", "waiting for things.example.dev");
        server.health.waiting("caches", "listing");
        let (code, text) = server.get("/readyz").await;
        assert_eq!((code, text.as_str()), (503, "caches: listing\ncrds: waiting for things.example.dev\n"));
        server.health.ready("crds");
        assert_eq!(server.get("/readyz").await, (503, "caches: listing\n".into()));
        assert_eq!(server.get("/healthz").await.0, 200, "waiting is no reason to be restarted");
        server.health.note("crds", "things.example.dev is older");
        assert_eq!(server.get("/readyz").await.1, "caches: listing\nnote: crds: things.example.dev is older\n");
        server.health.ready("caches");
        assert_eq!(server.get("/readyz").await, (200, "ok\nnote: crds: things.example.dev is older\n".into()));
        server.health.note("crds", "");
        assert_eq!(server.get("/readyz").await, (200, "ok\n".into()));
    }

    #[tokio::test]
    async fn a_loop_that_falls_silent_is_named() {
        let server = server().await;
        let pulse = server.health.pulse("dispatch", Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (code, text) = server.get("/healthz").await;
        assert_eq!(code, 503);
        assert!(text.starts_with("dispatch: no sign of life"), "{text}");
        drop(pulse);
        assert_eq!(server.get("/healthz").await, (200, "ok\n".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_beat_counts_from_the_last_one() {
        let health = Health::new();
        let pulse = health.pulse("dispatch", Duration::from_secs(60));
        tokio::time::sleep(Duration::from_secs(59)).await;
        pulse.beat();
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert!(health.overdue().is_empty());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(health.overdue(), [("dispatch", Duration::from_secs(61))]);
        drop(pulse);
        let beating = health.heartbeat("main", Duration::from_secs(20));
        assert!(tokio::time::timeout(Duration::from_secs(600), beating).await.is_err());
        assert!(health.overdue().is_empty());
    }

    #[tokio::test]
    async fn metrics_are_served_and_the_server_ends_when_asked_to() {
        let server = server().await;
        server.metrics.leader(true);
        let (code, text) = server.get("/metrics").await;
        assert_eq!(code, 200);
        assert!(text.contains("demo_leader 1\n"), "{text}");
        assert_eq!(server.get("/").await.0, 404);
        server.trigger.request();
        server.task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error() {
        let first = bind("[::]:0".parse().unwrap()).await.unwrap();
        let error = bind(first.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
