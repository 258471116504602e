//! Kubernetes plumbing for a controller: watches and their caches, a fair work queue, finalizers, status writes,
//! Events, the Lease, metrics and health. It knows no kind of object: those are the caller's.
//!
//! What a watch delivers goes into a [`store::Store`], which says what changed. The caller turns that into keys and
//! gives them to a [`dispatch::Dispatcher`], which runs one pass at a time for each key. Waiting is done by
//! `tokio::time`, so tests run on a paused clock and need no cluster:
//!
//! ```
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use mailtenant_clock::SystemRandom;
//! use mailtenant_runtime::dispatch::{Dispatcher, Ended, Next, Work};
//! use mailtenant_runtime::queue::{Bounds, Lane, Limits, Priority};
//! use mailtenant_runtime::store::{Event, NamespacedName, Store};
//! use std::{sync::{Arc, Mutex}, time::Duration};
//! use tokio::{sync::watch, time::Instant};
//!
//! #[derive(Default)]
//! struct Controller { store: Mutex<Store<ConfigMap>>, passes: Mutex<Vec<(NamespacedName, Instant)>> }
//!
//! impl Work<NamespacedName> for Controller {
//!     async fn pass(self: Arc<Self>, key: NamespacedName) -> Next {
//!         assert!(self.store.lock().unwrap().get(&key).is_some());
//!         let mut passes = self.passes.lock().unwrap();
//!         passes.push((key, Instant::now()));
//!         if passes.len() == 1 { Next::Retry } else { Next::Settled } // The first pass fails.
//!     }
//!     fn lane(&self, key: &NamespacedName) -> Lane { Lane::new("server", &key.namespace) }
//!     fn ended(&self, _: &NamespacedName, _: Ended, _: Duration) {}
//! }
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() {
//!     let limits = Limits { group: 4, member: 2 };
//!     let dispatcher = Dispatcher::new(Bounds { concurrency: 8, guaranteed: 1, limits }, Duration::from_secs(60));
//!     let controller = Arc::new(Controller::default());
//!     let mut object = ConfigMap::default(); // As `watch::run` delivers it.
//!     (object.metadata.namespace, object.metadata.name) = (Some("team".into()), Some("settings".into()));
//!     for change in controller.store.lock().unwrap().apply(Event::Applied(object)) {
//!         dispatcher.add([(change.key.clone(), Priority::High, controller.lane(&change.key))]);
//!     }
//!     let (stop, stopped) = watch::channel(false);
//!     let run = dispatcher.run(controller.clone(), Arc::new(SystemRandom), stopped);
//!     tokio::join!(run, async { tokio::time::sleep(Duration::from_secs(10)).await; stop.send_replace(true) });
//!     let passes = controller.passes.lock().unwrap();
//!     assert!(passes.len() == 2 && passes[1].1 - passes[0].1 > Duration::from_millis(799), "it is tried again");
//! }
//! ```

mod backoff;
mod crd_schema;
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
pub mod revision;
pub mod server_time;
pub mod shutdown;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod watch;

/// An async runtime with as many threads as there are cores, at most four: a controller waits for others most of the
/// time, and each thread costs memory of the allocator. An error: the system gives no thread.
pub fn multi_threaded() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(cores.min(4)).enable_all().build()
}
