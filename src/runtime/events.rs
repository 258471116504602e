//! Events (`events.k8s.io/v1`) for people: a bounded queue that never makes a pass wait or fail. Events are only
//! created, never updated to a series: what would be repeated is left out.
//!
//! kube's own `Recorder` is not used: its cache is scanned for every publish (0.3 ms each at 20,000 objects), and a
//! changed note repeats the old one.

use super::metrics::Metrics;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use mailtenant_clock::{Clock, Random};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

/// Longest note that the API accepts, in bytes.
const NOTE_LIMIT: usize = 1024;
/// Most Events that wait to be published, of about 1 KiB each. Further ones are dropped and counted.
pub const QUEUE: usize = 1024;
/// Number of Events that are remembered so that they are not repeated.
pub const REMEMBERED: usize = 4096;
/// How long the same Event of the same object is not repeated. Less than the hour that the apiserver keeps Events, so
/// that a state that comes back later is reported again.
pub const REPEAT_AFTER: Duration = Duration::from_secs(600);
/// Time limit for publishing one Event.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// `type` of an Event, as Kubernetes defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// As it should be.
    Normal,
    /// Somebody may have to do something.
    Warning,
}

struct Queued {
    regarding: ObjectReference,
    type_: EventType,
    reason: String,
    action: String,
    note: String,
    time: MicroTime,
}

/// What makes two Events the same. The note is kept as a hash: it is long, and a collision costs one Event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    uid: String,
    reason: String,
    note: u64,
}

/// The last [`REMEMBERED`] Events, oldest out first.
#[derive(Default)]
struct Recent {
    seen: BTreeMap<Key, (u64, Instant)>,
    order: BTreeMap<u64, Key>,
    next: u64,
}

impl Recent {
    /// True, and remembered, if `key` was not published in the last [`REPEAT_AFTER`].
    fn admit(&mut self, key: &Key) -> bool {
        if let Some((number, at)) = self.seen.get(key) {
            if at.elapsed() < REPEAT_AFTER {
                return false;
            }
            self.order.remove(number);
        }
        self.seen.insert(key.clone(), (self.next, Instant::now()));
        self.order.insert(self.next, key.clone());
        self.next += 1;
        while self.order.len() > REMEMBERED {
            if let Some((_, oldest)) = self.order.pop_first() {
                self.seen.remove(&oldest);
            }
        }
        true
    }

    fn forget(&mut self, key: &Key) {
        if let Some((number, _)) = self.seen.remove(key) {
            self.order.remove(&number);
        }
    }
}

/// Takes Events from anywhere. Cheap to clone; clones share one queue.
#[derive(Clone)]
pub struct Events(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    state: Mutex<State>,
}

struct State {
    recent: Recent,
    /// `None` once [`Events::close`] was called.
    sender: Option<mpsc::Sender<Queued>>,
}

/// Publishes the Events that [`Events`] took.
pub struct Publisher {
    client: Client,
    random: Arc<dyn Random>,
    receiver: mpsc::Receiver<Queued>,
    controller: String,
    instance: String,
}

/// The two ends of a queue of Events. `controller` is the `reportingController` (`example.dev/operator`),
/// `instance` the `reportingInstance`: this process.
pub fn new(
    client: Client,
    controller: impl Into<String>,
    instance: impl Into<String>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    metrics: Metrics,
) -> (Events, Publisher) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let state = Mutex::new(State { recent: Recent::default(), sender: Some(sender) });
    let events = Events(Arc::new(Inner { clock, metrics, state }));
    let publisher = Publisher {
        client,
        random,
        receiver,
        controller: controller.into(),
        instance: cut(&instance.into(), 128).to_string(),
    };
    (events, publisher)
}

impl Events {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an Event into the queue and returns at once. The same reason and note for the same object (by uid) is left
    /// out for [`REPEAT_AFTER`]; with [`QUEUE`] Events waiting it is dropped and counted. `reason` and `action` are
    /// CamelCase words, `note` a sentence without secrets.
    pub fn publish(&self, regarding: ObjectReference, type_: EventType, reason: &str, action: &str, mut note: String) {
        note.truncate(cut(&note, NOTE_LIMIT).len());
        let mut hasher = DefaultHasher::new();
        note.hash(&mut hasher);
        let uid = regarding.uid.clone().unwrap_or_default();
        let key = Key { uid, reason: reason.to_string(), note: hasher.finish() };
        let time = MicroTime(self.0.clock.now());
        let queued = Queued { regarding, type_, reason: reason.to_string(), action: action.to_string(), note, time };
        let mut state = self.state();
        let Some(sender) = state.sender.clone() else { return };
        if !state.recent.admit(&key) {
            return;
        }
        if sender.try_send(queued).is_err() {
            state.recent.forget(&key);
            self.0.metrics.event_dropped();
        }
    }

    /// Takes no more Events; [`Publisher::run`] ends once it has published those that wait.
    pub fn close(&self) {
        self.state().sender = None;
    }
}

impl Publisher {
    /// Publishes one Event after another until [`Events::close`] was called or all [`Events`] are gone. Failures are
    /// logged and never reported.
    pub async fn run(mut self) {
        while let Some(queued) = self.receiver.recv().await {
            let (reason, about) = (queued.reason.clone(), queued.regarding.name.clone().unwrap_or_default());
            let event = self.event(queued);
            let namespace = event.metadata.namespace.clone().unwrap_or_default();
            let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
            match timeout(PUBLISH_TIMEOUT, api.create(&PostParams::default(), &event)).await {
                Ok(Ok(_)) => {}
                // Nothing can be created in a namespace that is being deleted (403) or gone (404).
                Ok(Err(kube::Error::Api(status))) if status.code == 403 || status.code == 404 => {
                    debug!(namespace, about, reason, code = status.code, "Event not published");
                }
                Ok(Err(error)) => warn!(namespace, about, reason, %error, "Event not published"),
                Err(_) => warn!(namespace, about, reason, "Event not published: no answer in time"),
            }
        }
    }

    fn event(&self, queued: Queued) -> Event {
        let mut bytes = [0u8; 8];
        self.random.fill(&mut bytes);
        // At most 253 bytes; an object's name may have as many itself. Cut at a character that may end a label.
        let about = queued.regarding.name.as_deref().unwrap_or("object");
        let about = cut(about, 200).trim_end_matches(['.', '-']);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{about}.{:016x}", u64::from_be_bytes(bytes))),
                // Events of cluster-scoped objects live in `default`: the apiserver insists.
                namespace: Some(queued.regarding.namespace.clone().unwrap_or_else(|| "default".to_string())),
                ..ObjectMeta::default()
            },
            event_time: Some(queued.time),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            action: Some(queued.action),
            reason: Some(queued.reason),
            note: Some(queued.note),
            type_: Some(match queued.type_ {
                EventType::Normal => "Normal".to_string(),
                EventType::Warning => "Warning".to_string(),
            }),
            regarding: Some(queued.regarding),
            ..Event::default()
        }
    }
}

/// The longest beginning of `text` that has at most `limit` bytes and ends between two characters.
fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
