//! `limits.requestsPerSecond`: counted are the work of every call in SQL, every doveadm request and every round to memcached.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;

/// Requests in a second; as many may come at once after a rest.
pub struct Limit(DefaultDirectRateLimiter);

impl Limit {
    /// `per_second` below 1 counts as 1.
    pub fn new(per_second: i32) -> Self {
        let n = u32::try_from(per_second).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        Limit(RateLimiter::direct(Quota::per_second(n)))
    }
    /// Waits until one more is within the limit.
    pub async fn wait(&self) {
        self.0.until_ready().await;
    }
}
