//! Sees when all mailboxes of a namespace are ready, by one watch: the same observer in every run, so that it costs the
//! same in every run.

use super::harness::kubectl::Kubectl;
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use mailtenant_api::{ConditionType, FINALIZER, Mailbox, conditions};
use std::collections::BTreeSet;
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

impl Observer {
    /// Watches until `all` mailboxes of the namespace have their finalizer and a status that says Ready.
    pub async fn start(k: &Kubectl, all: usize) -> Observer {
        let api: Api<Mailbox> = Api::namespaced(k.client.clone(), &k.namespace);
        let (tell, done) = watch::channel((0, None));
        let task = tokio::spawn(async move {
            let mut stream =
                std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
            let mut ready = BTreeSet::new();
            while let Some(seen) = stream.next().await {
                let Ok(mailbox) = seen else { continue };
                if is_ready(&mailbox) && ready.insert(mailbox.name_any()) {
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
