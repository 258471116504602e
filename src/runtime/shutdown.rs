//! Shutdown on SIGTERM or SIGINT: one watch channel that everything long-lived listens to.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// Requests the shutdown. Dropping it requests nothing.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Learns when the shutdown is requested. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and the listener that belongs to it.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Requests the shutdown. A second request changes nothing.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether the shutdown was requested.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// The channel itself. Its value is `true` once the shutdown was requested.
    pub fn receiver(&self) -> watch::Receiver<bool> {
        self.0.clone()
    }

    /// Returns when the shutdown is requested, at once if it was. Never returns if the trigger
    /// is dropped without a request.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The signals that end the process: SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers. An error: the system does not allow it.
    pub fn install() -> io::Result<Self> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Never returns. The first signal requests the shutdown, the second ends the process at once with exit
    /// code 128 and its number.
    pub async fn forward(mut self, trigger: Trigger) {
        let (name, _) = self.next().await;
        info!(signal = name, "shutting down: passes in flight are finished, a second signal ends at once");
        trigger.request();
        let (name, number) = self.next().await;
        warn!(signal = name, "second signal: ending at once");
        std::process::exit(128 + number);
    }

    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => ("SIGTERM", 15),
            _ = self.interrupt.recv() => ("SIGINT", 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn everyone_hears_it_also_late_listeners() {
        let (trigger, shutdown) = channel();
        let early = shutdown.clone();
        assert!(!shutdown.is_requested());
        assert!(early.requested().now_or_never().is_none());
        trigger.request();
        trigger.request();
        early.requested().await;
        shutdown.clone().requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_dropped_trigger_asks_for_nothing() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        assert!(shutdown.requested().now_or_never().is_none());
        assert!(!shutdown.is_requested());
    }
}
