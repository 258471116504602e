//! Kubernetes plumbing without any mail knowledge: watches and caches, the work queue, finalizers, status writes,
//! Events, the Lease, metrics, health. It knows no kind and no mail:
//! another operator could use it as it is.

pub mod backoff;
pub mod crds;
pub mod dispatch;
pub mod events;
pub mod finalizer;
pub mod http;
pub mod index;
pub mod lease;
pub mod metrics;
pub mod queue;
pub mod requests;
pub mod shutdown;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod watch;

/// The runtime of the process: as many threads as there are cores, at most four. The operator waits for others most of
/// the time, and each thread costs memory of the allocator.
pub fn multi_threaded() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(cores.min(4)).enable_all().build()
}
