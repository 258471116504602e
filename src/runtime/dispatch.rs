//! Runs passes: as many at a time as the queue allows, each with a time limit. A panic costs one object one pass.

use super::backoff::Backoff;
use super::queue::{Bounds, Lane, Limits, Priority, Queue};
use futures::FutureExt;
use mailtenant_clock::Random;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

/// When a pass wants the next one of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Not before something changes.
    Settled,
    /// After this time; nothing failed.
    After(Duration),
    /// After a pause that grows with each failure in a row: it failed, or waits for something that may come by itself.
    Retry,
    /// The same, but not before this time, which the other side asked for.
    RetryAfter(Duration),
}

/// Longest pause that another side may ask for: a header can hold any number.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Time limit of [`Work::failed`].
const FAILED_LIMIT: Duration = Duration::from_secs(10);

/// How a pass ended, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It returned, with this wish.
    With(Next),
    /// It took longer than its limit and was dropped.
    TimedOut,
    /// It panicked, and the panic was caught.
    Panicked,
}

/// What a controller does. `K` names an object; it is cheap to clone.
pub trait Work<K>: Send + Sync + 'static {
    /// Runs one pass of an object. Dropped when it takes longer than its time limit.
    fn pass(self: Arc<Self>, key: K) -> impl Future<Output = Next> + Send;
    /// Reports that a pass took too long or panicked, for example in the status. Has a time limit of its own, 10 s.
    fn failed(self: Arc<Self>, _key: K, _ended: Ended) -> impl Future<Output = ()> + Send {
        async {}
    }
    /// The lane in which a key waits and runs now.
    fn lane(&self, key: &K) -> Lane;
    /// Time limit of a pass of this key; `usual` is that of the dispatcher.
    fn time_limit(&self, _key: &K, usual: Duration) -> Duration {
        usual
    }
    /// Called after each pass, with the time it took; for metrics.
    fn ended(&self, key: &K, ended: Ended, duration: Duration);
}

/// A [`Queue`] that can be shared, and the loop that runs its passes.
pub struct Dispatcher<K> {
    queue: Mutex<Queue<K>>,
    backoff: Mutex<Backoff<K>>,
    notify: Notify,
    time_limit: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock means a panic inside these few lines; the data is whole, and the panic was counted elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Ord + Clone + Send + Sync + 'static> Dispatcher<K> {
    /// Without any keys. `time_limit` is that of a pass, unless [`Work::time_limit`] has another one.
    pub fn new(bounds: Bounds, time_limit: Duration) -> Self {
        let queue = Mutex::new(Queue::new(bounds));
        Dispatcher { queue, backoff: Mutex::default(), notify: Notify::new(), time_limit }
    }

    /// Asks for passes as soon as there is room.
    pub fn add(&self, keys: impl IntoIterator<Item = (K, Priority, Lane)>) {
        let mut queue = lock(&self.queue);
        for (key, priority, lane) in keys {
            queue.add(&key, priority, &lane);
        }
        drop(queue);
        self.notify.notify_one();
    }

    /// Asks for a pass after some time. Of several such requests the earliest counts.
    pub fn add_after(&self, key: &K, after: Duration) {
        lock(&self.queue).add_at(key, Instant::now() + after);
        self.notify.notify_one();
    }

    /// Gives a group limits of its own; none: those of [`Bounds`] again.
    pub fn set_limits(&self, group: &str, limits: Option<Limits>) {
        lock(&self.queue).set_limits(group, limits);
        self.notify.notify_one();
    }

    /// Forgets the failures of an object that is gone, so that they do not count for a new one of its name.
    pub fn forget(&self, key: &K) {
        lock(&self.backoff).clear(key);
    }

    /// Number of objects whose last pass failed.
    pub fn failing(&self) -> usize {
        lock(&self.backoff).len()
    }

    /// Number of passes of an object that failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        lock(&self.backoff).failures(key)
    }

    /// Number of keys that wait, by group. Groups that are idle are not in it.
    pub fn depths(&self) -> BTreeMap<String, usize> {
        lock(&self.queue).depths().map(|(group, waiting)| (group.to_owned(), waiting)).collect()
    }

    /// Runs passes until `shutdown` turns true; then starts no more and waits for those that run.
    pub async fn run<W: Work<K>>(&self, work: Arc<W>, random: Arc<dyn Random>, mut shutdown: watch::Receiver<bool>) {
        let mut running: JoinSet<(Ended, Duration)> = JoinSet::new();
        let mut keys: BTreeMap<Id, K> = BTreeMap::new();
        let mut stopping = *shutdown.borrow();
        loop {
            if stopping && running.is_empty() {
                return;
            }
            if !stopping {
                let mut queue = lock(&self.queue);
                queue.add_due(Instant::now(), |k| work.lane(k));
                while let Some(key) = queue.pop() {
                    let limit = work.time_limit(&key, self.time_limit);
                    let id = running.spawn(bounded(work.clone(), key.clone(), limit)).id();
                    keys.insert(id, key);
                }
            }
            let due = lock(&self.queue).next_due();
            let timer = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { biased;
                changed = shutdown.changed(), if !stopping => stopping = changed.is_err() || *shutdown.borrow(),
                Some(joined) = running.join_next_with_id() => {
                    let (id, ended, duration) = match joined {
                        Ok((id, (ended, duration))) => (id, ended, duration),
                        Err(error) => (error.id(), Ended::Panicked, Duration::ZERO),
                    };
                    if let Some(key) = keys.remove(&id) {
                        self.finish(&key, ended, work.as_ref(), random.as_ref());
                        work.ended(&key, ended, duration);
                    }
                }
                _ = self.notify.notified(), if !stopping => {}
                _ = timer, if !stopping => {}
            }
        }
    }

    fn finish<W: Work<K>>(&self, key: &K, ended: Ended, work: &W, random: &dyn Random) {
        let pause = {
            let mut backoff = lock(&self.backoff);
            match ended {
                Ended::With(Next::Settled) => {
                    backoff.clear(key);
                    None
                }
                Ended::With(Next::After(after)) => {
                    backoff.clear(key);
                    Some(after)
                }
                Ended::With(Next::RetryAfter(after)) => {
                    Some(backoff.failed(key, random).max(after.min(LONGEST_RETRY_AFTER)))
                }
                Ended::With(Next::Retry) | Ended::TimedOut | Ended::Panicked => Some(backoff.failed(key, random)),
            }
        };
        let mut queue = lock(&self.queue);
        queue.done(key, |k| work.lane(k));
        if let Some(pause) = pause {
            queue.add_at(key, Instant::now() + pause);
        }
    }
}

async fn bounded<K: Clone, W: Work<K>>(work: Arc<W>, key: K, limit: Duration) -> (Ended, Duration) {
    let start = Instant::now();
    let pass = AssertUnwindSafe(work.clone().pass(key.clone())).catch_unwind();
    let ended = match tokio::time::timeout(limit, pass).await {
        Ok(Ok(next)) => return (Ended::With(next), start.elapsed()),
        Ok(Err(_)) => Ended::Panicked,
        Err(_) => Ended::TimedOut,
    };
    let report = AssertUnwindSafe(work.failed(key, ended)).catch_unwind();
    let _ = tokio::time::timeout(FAILED_LIMIT, report).await;
    (ended, start.elapsed())
}
