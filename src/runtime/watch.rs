//! Carries the events of one watch to whoever keeps the store.

use super::store::{Event, prune};
use futures::StreamExt;
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// An object that does not fit its type: it was written past the schema, and must harm only itself.
#[derive(Debug, Clone)]
pub struct Undecodable {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What does not fit; names of fields, no values.
    pub error: String,
}

/// Watches one kind for ever. `sink` gets every event, `broken` every object that cannot be decoded.
/// Ends only if the stream ends, which it does not.
pub async fn run<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    mut sink: impl FnMut(Event<K>),
    mut broken: impl FnMut(Undecodable),
    mut failed: impl FnMut(&watcher::Error),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(item) = stream.next().await {
        let event = match item {
            Ok(event) => event,
            Err(error) => {
                failed(&error);
                continue;
            }
        };
        let decoded = match event {
            watcher::Event::Init => Some(Event::Init),
            watcher::Event::InitDone => Some(Event::ListedDone),
            watcher::Event::InitApply(guard) => open(guard, &mut broken).map(Event::Listed),
            watcher::Event::Apply(guard) => open(guard, &mut broken).map(Event::Applied),
            watcher::Event::Delete(guard) => open(guard, &mut broken).map(Event::Deleted),
        };
        if let Some(event) = decoded {
            sink(event);
        }
    }
}

fn open<K: Resource>(guard: DeserializeGuard<K>, broken: &mut impl FnMut(Undecodable)) -> Option<K> {
    match guard.0 {
        Ok(mut object) => {
            prune(&mut object);
            Some(object)
        }
        Err(invalid) => {
            broken(Undecodable { metadata: invalid.metadata, error: invalid.error });
            None
        }
    }
}
