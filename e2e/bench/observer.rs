//! Sees when all objects are ready, by one watch: the same observer in every run, so that it costs the same in every run.

use super::harness::kubectl::{self, Kubectl};
use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use mailtenant_api::{ConditionType, FINALIZER, Mailbox, conditions};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A running observer.
pub struct Observer {
    done: watch::Receiver<(usize, Option<Instant>)>,
    task: tokio::task::JoinHandle<()>,
}

fn is_ready(mailbox: &Mailbox) -> bool {
    let Some(status) = &mailbox.status else { return false };
    status.observed_generation == mailbox.metadata.generation
        && conditions::is_true(&status.conditions, ConditionType::Ready)
        && mailbox.finalizers().iter().any(|f| f == FINALIZER)
}

fn is_any_ready(object: &DynamicObject) -> bool {
    kubectl::is_ready(&serde_json::to_value(object).expect("JSON"))
        && object.finalizers().iter().any(|f| f == FINALIZER)
}

impl Observer {
    /// Watches until `all` mailboxes of the namespace have their finalizer and a status that says Ready.
    pub async fn start(k: &Kubectl, all: usize) -> Observer {
        Observer::watch(Api::<Mailbox>::namespaced(k.client.clone(), &k.namespace), all, is_ready)
    }

    /// The same for any kind, in all namespaces.
    pub fn everywhere(k: &Kubectl, kind: &str, all: usize) -> Observer {
        Observer::watch(k.everywhere(kind), all, is_any_ready)
    }

    fn watch<K>(api: Api<K>, all: usize, is_ready: fn(&K) -> bool) -> Observer
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let (tell, done) = watch::channel((0, None));
        let task = tokio::spawn(async move {
            let mut stream =
                std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
            let mut ready = BTreeSet::new();
            while let Some(seen) = stream.next().await {
                let Ok(object) = seen else { continue };
                if is_ready(&object) && ready.insert((object.namespace(), object.name_any())) {
                    let end = (ready.len() >= all).then(Instant::now);
                    tell.send_replace((ready.len(), end));
                    if end.is_some() {
                        return;
                    }
                }
            }
        });
        Observer { done, task }
    }

    /// When the last one became ready.
    pub async fn all_ready(&self, limit: Duration) -> Instant {
        let mut done = self.done.clone();
        let all = tokio::time::timeout(limit, done.wait_for(|(_, end)| end.is_some())).await;
        let seen = self.done.borrow().0;
        let (_, end) = *all.unwrap_or_else(|_| panic!("{seen} were ready after {limit:?}")).expect("the observer runs");
        end.expect("waited for")
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
