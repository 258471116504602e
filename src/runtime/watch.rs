//! Watches one kind and hands the events to the caller.

use super::store::{Event, NamespacedName, prune, version};
use futures::StreamExt;
use kube::core::{DeserializeGuard, ObjectMeta, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::sleep;

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

/// How long to wait before everything is listed again after the server has gone back.
const PAUSE: Duration = Duration::from_secs(1);

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
    // One round until the server has gone back to an earlier state: kube's watcher would go on from where it was, and
    // would never report what is different.
    loop {
        let mut order = Order::default();
        let mut stream = std::pin::pin!(watcher(api.clone(), watcher::Config::default()).default_backoff());
        while let Some(item) = stream.next().await {
            let event = match item {
                Ok(event) => event,
                Err(error) => {
                    failed(&error);
                    if is_ahead(&error) {
                        break;
                    }
                    continue;
                }
            };
            if order.went_back(&event) {
                tracing::warn!("the API server has gone back to an earlier state: everything is listed again");
                break;
            }
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
        sleep(PAUSE).await;
    }
}

/// The resourceVersions of a watch only grow: an event that is older than one before it shows that the server was restored
/// (etcd without a bump of its revision).
#[derive(Default)]
struct Order(u64);

impl Order {
    fn went_back<O: Resource>(&mut self, event: &watcher::Event<O>) -> bool {
        let seen = match event {
            // A new list may be of a server that was restored; its objects come in the order of their names.
            watcher::Event::Init => {
                self.0 = 0;
                return false;
            }
            watcher::Event::InitDone => return false,
            watcher::Event::InitApply(object) => {
                self.0 = self.0.max(version(object));
                return false;
            }
            watcher::Event::Apply(object) | watcher::Event::Delete(object) => version(object),
        };
        // One without a version, which the API server never sends, says nothing.
        let back = seen < self.0 && self.0 != u64::MAX;
        self.0 = seen;
        back
    }
}

/// Whether the server says that the watch is ahead of it.
fn is_ahead(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::WatchError(status) => status,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        _ => return false,
    };
    let causes = status.details.iter().flat_map(|d| &d.causes);
    causes.into_iter().any(|c| c.reason == "ResourceVersionTooLarge")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    fn object(version: u64) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "a", "resourceVersion": version.to_string()}})).unwrap()
    }

    #[test]
    fn an_event_before_what_was_seen_is_of_a_restored_server() {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let mut order = Order::default();
        let events = [Init, InitApply(object(7)), InitApply(object(3)), InitDone, Apply(object(8)), Delete(object(9))];
        assert!(!events.iter().any(|e| order.went_back(e)));
        assert!(!order.went_back(&Apply(object(9))), "two objects of one transaction");
        assert!(order.went_back(&Apply(object(8))));
        let restored = [Init, InitApply(object(2)), InitDone, Apply(object(3))];
        assert!(!restored.iter().any(|e| order.went_back(e)), "a new list begins anew");
    }

    #[test]
    fn who_is_ahead_of_the_server() {
        let status = |reason: &str| {
            let details = json!({"causes": [{"reason": reason, "message": "Too large resource version"}]});
            let status =
                json!({"status": "Failure", "code": 504, "reason": "Timeout", "message": "", "details": details});
            serde_json::from_value::<Box<kube::core::Status>>(status).unwrap()
        };
        assert!(is_ahead(&watcher::Error::WatchError(status("ResourceVersionTooLarge"))));
        let start = watcher::Error::WatchStartFailed(kube::Error::Api(status("ResourceVersionTooLarge")));
        assert!(is_ahead(&start));
        assert!(!is_ahead(&watcher::Error::WatchError(status("Expired"))));
        assert!(!is_ahead(&watcher::Error::NoResourceVersion));
    }
}
