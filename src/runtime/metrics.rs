//! What the process counts, in the text format of Prometheus. Labels are kinds, operations, outcomes and names of
//! backends: never an address, a domain, an error text or anything a tenant chose. Names get the prefix that the
//! caller gives; nothing here knows what is being counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// Content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindOutcome {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Lane {
    lane: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KubernetesRequest {
    verb: &'static str,
    resource: String,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Verb {
    verb: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// 2 ms to 65 s: a pass of a settled object takes single milliseconds, the time limit of a pass is a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.002, 2.0, 16))
}

/// All metrics of the process. Cheap to clone; every clone counts into the same registry.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    reconciles: Family<KindOutcome, Counter>,
    reconcile_seconds: Histograms<Kind>,
    queue_depth: Family<Lane, Gauge>,
    objects_in_backoff: Family<Kind, Gauge>,
    cache_objects: Family<Kind, Gauge>,
    watch_restarts: Family<Kind, Counter>,
    kubernetes_requests: Family<KubernetesRequest, Counter>,
    kubernetes_seconds: Histograms<Verb>,
    leader: Gauge,
    crd_missing: Gauge,
    panics: Counter,
    events_dropped: Counter,
    resident_memory: Gauge,
}

/// A metric that is in the registry.
fn registered<M: prometheus_client::registry::Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// An empty set of metrics named `<prefix>_…`.
    pub fn new(prefix: &str) -> Self {
        Self::with(prefix, |_| {})
    }

    /// The same, and what the caller registers beside them under the same prefix.
    pub fn with(prefix: &str, more: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::default();
        let resident_memory = Gauge::default();
        registry.register(
            "process_resident_memory_bytes",
            "Resident memory of the process, read when it is scraped",
            resident_memory.clone(),
        );
        let named = registry.sub_registry_with_prefix(prefix);
        more(named);
        Metrics(Arc::new(Inner {
            reconciles: registered(named, "reconcile", "Passes by kind and outcome", Family::default()),
            reconcile_seconds: registered(
                named,
                "reconcile_duration_seconds",
                "Time a pass took",
                Histograms::<Kind>::new_with_constructor(seconds),
            ),
            queue_depth: registered(named, "queue_depth", "Objects that wait for a pass", Family::default()),
            objects_in_backoff: registered(
                named,
                "objects_in_backoff",
                "Objects whose last pass failed",
                Family::default(),
            ),
            cache_objects: registered(named, "cache_objects", "Objects in the cache of a watch", Family::default()),
            watch_restarts: registered(
                named,
                "watch_restarts",
                "Watches that ended in an error and were started again",
                Family::default(),
            ),
            kubernetes_requests: registered(
                named,
                "kubernetes_requests",
                "Requests to the Kubernetes API; code is the HTTP status, or timeout, or error where no answer came",
                Family::default(),
            ),
            kubernetes_seconds: registered(
                named,
                "kubernetes_request_duration_seconds",
                "Time to the end of the answer; for a watch, to its beginning",
                Histograms::<Verb>::new_with_constructor(seconds),
            ),
            leader: registered(
                named,
                "leader",
                "1 while this process holds the Lease or runs without one",
                Gauge::default(),
            ),
            crd_missing: registered(named, "crd_missing", "CRDs that are waited for", Gauge::default()),
            panics: registered(
                named,
                "panics",
                "Passes that panicked; each cost one object one pass",
                Counter::default(),
            ),
            events_dropped: registered(
                named,
                "events_dropped",
                "Events not published because too many were waiting",
                Counter::default(),
            ),
            registry,
            resident_memory,
        }))
    }

    /// A pass of an object of `kind` ended.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.0.reconciles.get_or_create(&KindOutcome { kind, outcome }).inc();
        self.0.reconcile_seconds.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// So many objects wait in each lane of the queue. Lanes that are not in it are forgotten.
    pub fn queue_depths<'a>(&self, depths: impl IntoIterator<Item = (&'a str, usize)>) {
        self.0.queue_depth.clear();
        for (lane, depth) in depths {
            self.0.queue_depth.get_or_create(&Lane { lane: lane.to_string() }).set(gauge(depth));
        }
    }

    /// So many objects of `kind` wait for a retry.
    pub fn objects_in_backoff(&self, kind: &'static str, objects: usize) {
        self.0.objects_in_backoff.get_or_create(&Kind { kind }).set(gauge(objects));
    }

    /// So many objects of `kind` are cached.
    pub fn cache_objects(&self, kind: &'static str, objects: usize) {
        self.0.cache_objects.get_or_create(&Kind { kind }).set(gauge(objects));
    }

    /// The watch of `kind` failed and is started again.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.0.watch_restarts.get_or_create(&Kind { kind }).inc();
    }

    /// A request to the Kubernetes API ended. `resource` is the plural with its subresource (`pods/status`), `code` the
    /// HTTP status, `timeout` or `error`.
    pub fn kubernetes_request(&self, verb: &'static str, resource: String, code: String, took: Duration) {
        self.0.kubernetes_requests.get_or_create(&KubernetesRequest { verb, resource, code }).inc();
        self.0.kubernetes_seconds.get_or_create(&Verb { verb }).observe(took.as_secs_f64());
    }

    /// Whether this process leads.
    pub fn leader(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// So many CRDs are waited for.
    pub fn crd_missing(&self, missing: usize) {
        self.0.crd_missing.set(gauge(missing));
    }

    /// A pass panicked and was caught.
    pub fn panicked(&self) {
        self.0.panics.inc();
    }

    /// An Event was dropped.
    pub fn event_dropped(&self) {
        self.0.events_dropped.inc();
    }

    /// The metrics as text, of content type [`CONTENT_TYPE`]. Memory is read now; 0 where it cannot be read.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        self.0.resident_memory.set(resident_bytes(&status).unwrap_or(0));
        let mut out = String::new();
        encode(&mut out, &self.0.registry)?;
        Ok(out)
    }
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Resident bytes from the text of `/proc/self/status`. Not from `statm`, which counts pages, whose size only `libc`
/// could tell.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_in_the_text() {
        let metrics = Metrics::new("demo");
        metrics.reconciled("Thing", "completed", Duration::from_millis(3));
        metrics.reconciled("Thing", "completed", Duration::from_millis(3));
        metrics.queue_depths([("berlin", 5), ("gone", 1)]);
        metrics.queue_depths([("berlin", 7)]);
        metrics.objects_in_backoff("Thing", 2);
        metrics.cache_objects("Thing", 10_000);
        metrics.watch_restarted("Thing");
        metrics.kubernetes_request("patch", "things/status".into(), "409".into(), Duration::from_millis(1));
        metrics.leader(true);
        metrics.crd_missing(3);
        metrics.panicked();
        metrics.event_dropped();
        let text = metrics.text().unwrap();
        for line in [
            r#"demo_reconcile_total{kind="Thing",outcome="completed"} 2"#,
            r#"demo_reconcile_duration_seconds_count{kind="Thing"} 2"#,
            r#"demo_queue_depth{lane="berlin"} 7"#,
            r#"demo_objects_in_backoff{kind="Thing"} 2"#,
            r#"demo_cache_objects{kind="Thing"} 10000"#,
            r#"demo_watch_restarts_total{kind="Thing"} 1"#,
            r#"demo_kubernetes_requests_total{verb="patch",resource="things/status",code="409"} 1"#,
            r#"demo_kubernetes_request_duration_seconds_count{verb="patch"} 1"#,
            "demo_leader 1",
            "demo_crd_missing 3",
            "demo_panics_total 1",
            "demo_events_dropped_total 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("gone"), "{text}");
        let rss = text.lines().find_map(|l| l.strip_prefix("process_resident_memory_bytes ")).unwrap();
        assert!(rss.parse::<i64>().unwrap() > 1 << 20, "{rss}");
    }

    #[test]
    fn memory_is_read_from_the_status_file() {
        assert_eq!(resident_bytes("Name:\tx\nVmHWM:\t   900 kB\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
        assert_eq!(resident_bytes("VmRSS:\t12 MB\n"), None);
        assert_eq!(resident_bytes(""), None);
    }
}
