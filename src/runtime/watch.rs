//! Watches one kind and hands the events to the caller.

use super::store::{Event, NamespacedName, prune};
use futures::StreamExt;
use kube::core::{DeserializeGuard, ObjectMeta, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// An object that does not fit its type, for example because it was written under an older schema. It must not
/// keep others from being watched.
#[derive(Debug, Clone)]
pub struct Undecodable {
    /// Its metadata, which always decodes.
    pub metadata: ObjectMeta,
    /// What does not fit: names of fields, no values.
    pub error: String,
}

/// Watches one kind and never returns. `sink` gets every event, `broken` every object that cannot be decoded, `failed`
/// every error of the watch, which is then started again after a pause.
pub async fn run<K>(
    api: Api<DeserializeGuard<K>>,
    sink: impl FnMut(Event<K>),
    broken: impl FnMut(Undecodable),
    failed: impl FnMut(&watcher::Error),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let open = |guard: DeserializeGuard<K>| {
        guard.0.map_err(|invalid| Undecodable { metadata: invalid.metadata, error: invalid.error })
    };
    drive(api, open, sink, broken, failed).await;
}

/// The same for the metadata of a kind: nothing else of its objects is requested or kept. Metadata always decodes.
pub async fn run_metadata<K>(
    api: Api<PartialObjectMeta<K>>,
    sink: impl FnMut(Event<PartialObjectMeta<K>>),
    failed: impl FnMut(&watcher::Error),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + 'static,
{
    drive(api, Ok, sink, |_| {}, failed).await;
}

async fn drive<O, K>(
    api: Api<O>,
    open: impl Fn(O) -> Result<K, Undecodable>,
    mut sink: impl FnMut(Event<K>),
    mut broken: impl FnMut(Undecodable),
    mut failed: impl FnMut(&watcher::Error),
) where
    O: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    K: Resource,
{
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(item) = stream.next().await {
        let event = match item {
            Ok(event) => event,
            Err(error) => {
                failed(&error);
                continue;
            }
        };
        let mut take = |object: O, into: fn(K) -> Event<K>| match open(object) {
            Ok(mut object) => {
                prune(&mut object);
                sink(into(object));
            }
            Err(undecodable) => broken(undecodable),
        };
        match event {
            watcher::Event::Init => sink(Event::Init),
            watcher::Event::InitDone => sink(Event::ListedDone),
            watcher::Event::InitApply(object) => take(object, Event::Listed),
            watcher::Event::Apply(object) => take(object, Event::Applied),
            // What cannot be decoded any more is gone all the same.
            watcher::Event::Delete(object) => {
                let meta = object.meta();
                let key = NamespacedName::of(&object);
                sink(Event::Deleted { key, uid: meta.uid.clone() });
            }
        }
    }
}
