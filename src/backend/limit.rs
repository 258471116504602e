//! A limit on requests per second, as `limits.requestsPerSecond` of a backend sets it.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;

/// Limits requests per second. After a pause as many may be sent at once.
pub struct Limit(DefaultDirectRateLimiter);

impl Limit {
    /// A limit of `per_second` requests; below 1 counts as 1.
    pub fn new(per_second: i32) -> Self {
        let n = u32::try_from(per_second).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        Limit(RateLimiter::direct(Quota::per_second(n)))
    }
    /// Waits until one more request is within the limit, and counts it.
    pub async fn wait(&self) {
        self.0.until_ready().await;
    }
}
