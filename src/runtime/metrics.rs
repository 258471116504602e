//! Metrics of a controller, in the text format of OpenMetrics. Labels are kinds, operations, outcomes and
//! names of servers: never a text of an error or anything that a tenant chose. All names begin with a
//! prefix that the caller gives.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// `Content-Type` of the text that [`Metrics::text`] returns.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ObjectCondition {
    kind: &'static str,
    condition: &'static str,
    status: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CrdDifference {
    crd: String,
    difference: &'static str,
}

/// Gauges whose labels change together: each time all of them are set, and a scrape sees those of before or those of
/// after. (A [`Family`] that is cleared and filled again is empty for a moment.)
#[derive(Debug)]
struct Whole<L>(Arc<RwLock<Vec<(L, Gauge)>>>);

impl<L> Clone for Whole<L> {
    fn clone(&self) -> Self {
        Whole(self.0.clone())
    }
}

impl<L> Default for Whole<L> {
    fn default() -> Self {
        Whole(Arc::default())
    }
}

impl<L> Whole<L> {
    /// What is not in `values` is left out from now on. Each label set must be in it once.
    fn set(&self, values: impl Iterator<Item = (L, usize)>) {
        let with_gauge = |(labels, n)| {
            let value = Gauge::default();
            value.set(gauge(n));
            (labels, value)
        };
        // Made before the lock is taken, which a scrape may wait for.
        let values = values.map(with_gauge).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = values;
    }
}

impl<L: EncodeLabelSet + Debug + Send + Sync + 'static> EncodeMetric for Whole<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let values = self.0.read().unwrap_or_else(PoisonError::into_inner);
        values.iter().try_for_each(|(labels, value)| value.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
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
    queue_depth: Whole<Lane>,
    objects_in_backoff: Family<Kind, Gauge>,
    cache_objects: Family<Kind, Gauge>,
    object_conditions: Whole<ObjectCondition>,
    watch_restarts: Family<Kind, Counter>,
    kubernetes_requests: Family<KubernetesRequest, Counter>,
    kubernetes_seconds: Histograms<Verb>,
    leader: Gauge,
    crd_missing: Gauge,
    crd_mismatch: Whole<CrdDifference>,
    panics: Counter,
    events_dropped: Counter,
    resident_memory: Gauge,
}

/// Adds metrics to a registry, one line of the table below each.
struct Table<'a>(&'a mut Registry);

impl Table<'_> {
    fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.put(name, help, M::default())
    }

    /// A histogram of seconds.
    fn seconds<L>(&mut self, name: &str, help: &str) -> Histograms<L>
    where
        L: EncodeLabelSet + Clone + Debug + Hash + Eq + Send + Sync + 'static,
    {
        self.put(name, help, Family::new_with_constructor(seconds as fn() -> Histogram))
    }

    fn put<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}

impl Metrics {
    /// Metrics whose names begin with `<prefix>_`, in a registry of their own.
    pub fn new(prefix: &str) -> Self {
        Self::with(prefix, |_| {})
    }

    /// The same, with what `more` registers under the same prefix.
    pub fn with(prefix: &str, more: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::default();
        let memory = "Resident memory of the process, read when it is scraped";
        let resident_memory = Table(&mut registry).add("process_resident_memory_bytes", memory);
        let named = registry.sub_registry_with_prefix(prefix);
        more(named);
        let mut table = Table(named);
        Metrics(Arc::new(Inner {
            reconciles: table.add("reconcile", "Passes by kind and outcome"),
            reconcile_seconds: table.seconds("reconcile_duration_seconds", "Time a pass took"),
            queue_depth: table.add("queue_depth", "Objects that wait for a pass"),
            objects_in_backoff: table.add("objects_in_backoff", "Objects whose last pass failed"),
            cache_objects: table.add("cache_objects", "Objects in the cache of a watch"),
            object_conditions: table.add("object_conditions", "Objects by their conditions"),
            watch_restarts: table.add("watch_restarts", "Watches that ended in an error and were started again"),
            kubernetes_requests: table.add(
                "kubernetes_requests",
                "Requests to the Kubernetes API; code is the HTTP status, or timeout, or error where no answer came",
            ),
            kubernetes_seconds: table.seconds(
                "kubernetes_request_duration_seconds",
                "Time to the end of the answer; for a watch, to its beginning",
            ),
            leader: table.add("leader", "1 while this process holds the Lease or runs without one"),
            crd_missing: table.add("crd_missing", "CRDs that are waited for"),
            crd_mismatch: table.add("crd_mismatch", "1 for a CRD of another release than the process"),
            panics: table.add("panics", "Passes that panicked; each cost one object one pass"),
            events_dropped: table.add("events_dropped", "Events not published because too many were waiting"),
            registry,
            resident_memory,
        }))
    }

    /// Counts a pass of an object of `kind` that ended, with the time it took.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.0.reconciles.get_or_create(&KindOutcome { kind, outcome }).inc();
        self.0.reconcile_seconds.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// Sets how many objects wait in each lane of the queue. Lanes that are not in `depths` are left out from now on.
    pub fn queue_depths<'a>(&self, depths: impl IntoIterator<Item = (&'a str, usize)>) {
        self.0.queue_depth.set(depths.into_iter().map(|(lane, depth)| (Lane { lane: lane.to_string() }, depth)));
    }

    /// Sets how many objects of `kind` failed in their last pass.
    pub fn objects_in_backoff(&self, kind: &'static str, objects: usize) {
        self.0.objects_in_backoff.get_or_create(&Kind { kind }).set(gauge(objects));
    }

    /// Sets how many objects of `kind` the cache of a watch holds.
    pub fn cache_objects(&self, kind: &'static str, objects: usize) {
        self.0.cache_objects.get_or_create(&Kind { kind }).set(gauge(objects));
    }

    /// Sets how many objects of a kind have a condition with a status and a reason, in this order of words. What is not in
    /// `counts` is left out from now on.
    pub fn object_conditions(
        &self,
        counts: impl IntoIterator<Item = ((&'static str, &'static str, &'static str, &'static str), usize)>,
    ) {
        self.0.object_conditions.set(counts.into_iter().map(|((kind, condition, status, reason), n)| {
            let labels = ObjectCondition { kind, condition, status, reason };
            (labels, n)
        }));
    }

    /// Counts a watch of `kind` that failed and is started again.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.0.watch_restarts.get_or_create(&Kind { kind }).inc();
    }

    /// Counts a request to the Kubernetes API that ended. `resource` is the plural with its subresource
    /// (`pods/status`), `code` the HTTP status, `timeout` or `error`.
    pub(crate) fn kubernetes_request(&self, verb: &'static str, resource: String, code: String, took: Duration) {
        self.0.kubernetes_requests.get_or_create(&KubernetesRequest { verb, resource, code }).inc();
        self.0.kubernetes_seconds.get_or_create(&Verb { verb }).observe(took.as_secs_f64());
    }

    /// Sets whether this process leads.
    pub fn leader(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// Sets how many CRDs are waited for.
    pub fn crd_missing(&self, missing: usize) {
        self.0.crd_missing.set(gauge(missing));
    }

    /// Sets which CRDs are of another release, by name, each with one word for how it differs.
    pub fn crd_mismatch<'a>(&self, different: impl IntoIterator<Item = (&'a str, &'static str)>) {
        let labels = |(crd, difference): (&str, _)| (CrdDifference { crd: crd.to_string(), difference }, 1);
        self.0.crd_mismatch.set(different.into_iter().map(labels));
    }

    /// Counts a pass that panicked.
    pub fn panicked(&self) {
        self.0.panics.inc();
    }

    /// Counts an Event that was dropped.
    pub(crate) fn event_dropped(&self) {
        self.0.events_dropped.inc();
    }

    /// All metrics in the text format of OpenMetrics. Memory is read now, and 0 where `/proc` does not show it.
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

/// Resident bytes from the text of `/proc/self/status`. Not from `statm`: it counts pages, and
/// only `libc` knows their size.
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
        metrics.object_conditions([(("Thing", "Ready", "False", "gone"), 1)]);
        metrics.object_conditions([(("Thing", "Ready", "True", "Succeeded"), 4)]);
        metrics.watch_restarted("Thing");
        metrics.kubernetes_request("patch", "things/status".into(), "409".into(), Duration::from_millis(1));
        metrics.leader(true);
        metrics.crd_missing(3);
        metrics.crd_mismatch([("gone.example.dev", "rules")]);
        metrics.crd_mismatch([("things.example.dev", "lacks_fields")]);
        metrics.panicked();
        metrics.event_dropped();
        let text = metrics.text().unwrap();
        for line in [
            r#"demo_reconcile_total{kind="Thing",outcome="completed"} 2"#,
            r#"demo_reconcile_duration_seconds_count{kind="Thing"} 2"#,
            r#"demo_queue_depth{lane="berlin"} 7"#,
            r#"demo_objects_in_backoff{kind="Thing"} 2"#,
            r#"demo_cache_objects{kind="Thing"} 10000"#,
            r#"demo_object_conditions{kind="Thing",condition="Ready",status="True",reason="Succeeded"} 4"#,
            r#"demo_watch_restarts_total{kind="Thing"} 1"#,
            r#"demo_kubernetes_requests_total{verb="patch",resource="things/status",code="409"} 1"#,
            r#"demo_kubernetes_request_duration_seconds_count{verb="patch"} 1"#,
            "demo_leader 1",
            "demo_crd_missing 3",
            r#"demo_crd_mismatch{crd="things.example.dev",difference="lacks_fields"} 1"#,
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

    /// A scrape while they are set anew sees all of them.
    #[test]
    fn what_is_set_together_is_seen_together() {
        const CRDS: usize = 50;
        let names: Vec<String> = (0..CRDS).map(|n| format!("{n}.example.dev")).collect();
        let metrics = Metrics::new("demo");
        let set = || {
            metrics.crd_mismatch(names.iter().map(|name| (name.as_str(), "rules")));
            metrics.object_conditions(CONDITIONS.map(|reason| (("Thing", "Ready", "True", reason), 1)));
        };
        set();
        std::thread::scope(|scope| {
            let setting = scope.spawn(|| (0..5_000).for_each(|_| set()));
            while !setting.is_finished() {
                let text = metrics.text().unwrap();
                let seen = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
                assert_eq!((seen("demo_crd_mismatch{"), seen("demo_object_conditions{")), (CRDS, CONDITIONS.len()));
            }
        });
    }

    const CONDITIONS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

    #[test]
    fn memory_is_read_from_the_status_file() {
        assert_eq!(resident_bytes("Name:\tx\nVmHWM:\t   900 kB\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
        assert_eq!(resident_bytes("VmRSS:\t12 MB\n"), None);
        assert_eq!(resident_bytes(""), None);
    }
}
