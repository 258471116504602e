//! From SIGTERM or SIGINT to "finish what you are doing": one watch channel that everything long-lived listens to.
//! Knows signals and nothing else.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// Asks for the shutdown. Dropping it asks for nothing.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Tells when the shutdown was asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and the listener that belongs to it.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Asks for the shutdown; asking twice changes nothing.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// True once the shutdown was asked for.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// The channel itself, true once the shutdown was asked for.
    pub fn receiver(&self) -> watch::Receiver<bool> {
        self.0.clone()
    }

    /// Ends when the shutdown is asked for (at once if it was). Never ends when the trigger is dropped without asking:
    /// whoever dropped it is going down by itself.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The two signals that mean "stop".
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers. Fails where the process may not (never seen on Linux).
    pub fn install() -> io::Result<Self> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The first signal asks for the shutdown, the second ends the process at once with 128 + its number. Never
    /// returns otherwise.
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
