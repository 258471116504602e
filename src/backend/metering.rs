//! Counts and times the requests to servers. Labels are the name of the backend object, the operation of the trait and
//! the outcome: never an address, a domain or an error text.

use crate::{BackendError, Result};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    backend: String,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Backend {
    backend: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Cause {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Operation {
    backend: String,
    operation: &'static str,
}

/// 2 ms to 65 s: the time limit of a pass is a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.002, 2.0, 16))
}

/// Metrics of the requests to all backends, and of what they were last seen to hold. Cheap to clone; clones share their counters.
#[derive(Clone)]
pub struct RequestMetrics {
    requests: Family<Request, Counter>,
    seconds: Family<Operation, Histogram, fn() -> Histogram>,
    undeclared: Family<Backend, Gauge>,
    unhealthy: Family<Cause, Gauge>,
    lost_updates: Family<Backend, Counter>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        RequestMetrics {
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            undeclared: Family::default(),
            unhealthy: Family::default(),
            lost_updates: Family::default(),
        }
    }
}

impl RequestMetrics {
    /// Puts `backend_requests`, `backend_request_duration_seconds`, `undeclared_objects`, `unhealthy_domains` and `dns_lost_updates` into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("backend_requests", "Requests to a backend by operation and outcome", self.requests.clone());
        registry.register("backend_request_duration_seconds", "Time a request to a backend took", self.seconds.clone());
        let help = "Mailboxes and aliases at a backend whose object no longer exists";
        registry.register("undeclared_objects", help, self.undeclared.clone());
        let help = "Live mail domains that are not healthy, by reason";
        registry.register("unhealthy_domains", help, self.unhealthy.clone());
        let help = "Record sets that another program wrote over a moment after they were written";
        registry.register("dns_lost_updates", help, self.lost_updates.clone());
    }

    /// Counts record sets of a DNS server that were written, and were others a moment later. With 0 the series begins: of one
    /// that begins with its first loss nobody sees an increase.
    pub fn lost_updates(&self, backend: &str, sets: u64) {
        self.lost_updates.get_or_create(&Backend { backend: backend.to_owned() }).inc_by(sets);
    }

    /// Sets how many mailboxes and aliases of each backend belong to objects that no longer exist. A backend that is not
    /// among them is left out from now on.
    pub fn undeclared_objects(&self, by_backend: impl IntoIterator<Item = (String, usize)>) {
        self.undeclared.clear();
        for (backend, n) in by_backend {
            self.undeclared.get_or_create(&Backend { backend }).set(i64::try_from(n).unwrap_or(i64::MAX));
        }
    }

    /// Sets how many live domains are not healthy, for each reason that there is: of one that is left out nobody sees that there
    /// are none.
    pub fn unhealthy_domains(&self, by_reason: impl IntoIterator<Item = (&'static str, usize)>) {
        for (reason, n) in by_reason {
            self.unhealthy.get_or_create(&Cause { reason }).set(i64::try_from(n).unwrap_or(i64::MAX));
        }
    }

    fn request(&self, backend: &str, operation: &'static str, outcome: &'static str, duration: Duration) {
        let backend = backend.to_owned();
        self.requests.get_or_create(&Request { backend: backend.clone(), operation, outcome }).inc();
        self.seconds.get_or_create(&Operation { backend, operation }).observe(duration.as_secs_f64());
    }

    /// Awaits `call` and counts it under the name of the backend object and the operation of the trait.
    pub async fn count<T>(
        &self,
        backend: &str,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let start = Instant::now();
        let result = call.await;
        self.request(backend, operation, outcome(&result), start.elapsed());
        result
    }
}

/// The outcome of a request as a label.
fn outcome<T>(result: &Result<T>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(BackendError::NotFound(_)) => "not_found",
        Err(BackendError::Exists { .. }) => "exists",
        Err(BackendError::Conflict(_)) => "conflict",
        Err(BackendError::Rejected(_)) => "rejected",
        Err(BackendError::ReadOnly(_)) => "read_only",
        Err(BackendError::Unsupported(_)) => "unsupported",
        Err(BackendError::InvalidSecret(_)) => "invalid_secret",
        Err(BackendError::Unauthorized(_)) => "unauthorized",
        Err(BackendError::Unavailable { .. }) => "unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_in_the_text() {
        let (mut registry, metrics) = (Registry::with_prefix("demo"), RequestMetrics::default());
        metrics.register(&mut registry);
        metrics.request("berlin", "list", "ok", Duration::from_millis(1));
        metrics.undeclared_objects([("gone".to_owned(), 1)]);
        metrics.undeclared_objects([("berlin".to_owned(), 2)]);
        metrics.unhealthy_domains([("MXElsewhere", 0), ("RecordsChanged", 1)]);
        metrics.lost_updates("pdns", 0);
        metrics.lost_updates("pdns", 1);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"demo_backend_requests_total{backend="berlin",operation="list",outcome="ok"} 1"#,
            r#"demo_backend_request_duration_seconds_count{backend="berlin",operation="list"} 1"#,
            r#"demo_undeclared_objects{backend="berlin"} 2"#,
            r#"demo_unhealthy_domains{reason="MXElsewhere"} 0"#,
            r#"demo_unhealthy_domains{reason="RecordsChanged"} 1"#,
            r#"demo_dns_lost_updates_total{backend="pdns"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("gone"), "{text}");
    }
}
