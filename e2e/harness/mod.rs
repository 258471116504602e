//! What the end-to-end tests are written with: the running servers, the operator as a child process, and the outside
//! world's view of both (mail, IMAP, DAV, SQL, DNS, Kubernetes). Nothing here knows how the operator works inside.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod audit;
pub mod bind;
pub mod book;
pub mod dav;
pub mod dns;
pub mod gate;
pub mod kubectl;
pub mod kubeproxy;
pub mod mail;
pub mod operator;
pub mod proxy;
pub mod receiver;
pub mod recorder;
pub mod sink;
pub mod sql;
pub mod stack;
pub mod web;
pub mod world;

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Waits until `probe` gives `Ok`, asking every 100 ms; its last `Err` says what was seen when time ran out.
pub async fn eventually<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() > end => panic!("{what}: not within {limit:?}; last seen: {seen:?}"),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A setting from the environment; an empty one counts as not set (make exports its variables always).
pub fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().filter(|v| !v.is_empty()).and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Seconds, for limits. Two cores carry everything: a limit is there to end a test that hangs, not to measure.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
