//! Counts and times every call to a DNS server.

use super::*;
use mailtenant_backend::metering::RequestMetrics;
use std::sync::Arc;

/// A server whose calls are counted and timed.
pub struct Metered {
    inner: Arc<dyn DnsServer>,
    name: String,
    metrics: RequestMetrics,
}

impl Metered {
    /// Counts the calls to `inner` under the backend's name.
    pub fn new(inner: Arc<dyn DnsServer>, name: &str, metrics: RequestMetrics) -> Self {
        metrics.lost_updates(name, 0);
        Metered { inner, name: name.to_owned(), metrics }
    }

    async fn count<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.metrics.count(&self.name, operation, call).await
    }
}

#[async_trait]
impl DnsServer for Metered {
    fn provider(&self) -> &'static str {
        self.inner.provider()
    }
    fn capabilities(&self) -> DnsCapabilities {
        self.inner.capabilities()
    }
    async fn probe(&self) -> Result<String> {
        self.count("probe", self.inner.probe()).await
    }
    async fn find_zone(&self, name: &str) -> Result<String> {
        self.count("find_zone", self.inner.find_zone(name)).await
    }
    async fn read(&self, zone: &str, which: &[(String, RecordType)]) -> Result<Vec<RrSet>> {
        self.count("read", self.inner.read(zone, which)).await
    }
    async fn contents(&self, zone: &str, name: &str, rtype: RecordType) -> Result<Vec<String>> {
        self.count("read", self.inner.contents(zone, name, rtype)).await
    }
    async fn wildcard(&self, zone: &str, name: &str) -> Result<Option<Wildcard>> {
        self.count("read", self.inner.wildcard(zone, name)).await
    }
    async fn apply(&self, zone: &str, changes: &[Change]) -> Result<()> {
        self.count("apply", self.inner.apply(zone, changes)).await
    }
}
