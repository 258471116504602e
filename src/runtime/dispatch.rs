//! Runs passes: bounded overall and a lane, each with a time limit, a panic costing one object one pass.

use super::backoff::Backoff;
use super::queue::{Priority, Queue};
use futures::FutureExt;
use mailtenant_clock::Random;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

/// What a pass asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Settled,
    /// Another look later; nothing failed.
    After(Duration),
    /// It failed or waits for something that may heal: again after a growing pause.
    Retry,
    /// The same, and the other side has said when it wants to be asked again.
    RetryAfter(Duration),
}

/// Longest pause that another side may ask for: a header can hold any number.
const LONGEST: Duration = Duration::from_secs(3600);

/// Time for what is said of a pass that took too long or panicked.
const LAST_WORD: Duration = Duration::from_secs(10);

/// How a pass ended, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It came to its end and asked for this.
    With(Next),
    /// It took longer than it may.
    TimedOut,
    /// It panicked.
    Panicked,
}

/// Something that has passes. Keys are cheap to clone and ordered.
pub trait Work<K>: Send + Sync + 'static {
    /// One pass.
    fn pass(self: Arc<Self>, key: K) -> impl Future<Output = Next> + Send;
    /// A pass took too long or panicked: what can be said of that. Has a time limit of its own.
    fn failed(self: Arc<Self>, _key: K, _ended: Ended) -> impl Future<Output = ()> + Send {
        async {}
    }
    /// Which lane a key belongs to now.
    fn lane(&self, key: &K) -> String;
    /// Time limit of a pass, where it is not the usual one.
    fn limit(&self, _key: &K, usual: Duration) -> Duration {
        usual
    }
    /// Told of every end, with how long it took.
    fn ended(&self, key: &K, ended: Ended, took: Duration);
}

/// The queue as everybody shares it.
pub struct Dispatcher<K> {
    queue: Mutex<Queue<K>>,
    backoff: Mutex<Backoff<K>>,
    notify: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock means a panic inside these few lines; the data is whole, and the panic was counted elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bounds of a dispatcher.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Passes at a time.
    pub concurrency: usize,
    /// Passes at a time in a lane that has no bound of its own.
    pub lane: usize,
    /// Time limit of a pass, if [`Work::limit`] says no other one.
    pub pass: Duration,
}

impl<K: Ord + Clone + Send + Sync + 'static> Dispatcher<K> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Dispatcher { queue: Mutex::new(Queue::new(bounds.lane)), backoff: Mutex::default(), notify: Notify::new() }
    }

    /// Asks for passes now.
    pub fn add(&self, keys: impl IntoIterator<Item = (K, Priority, String)>) {
        let mut queue = lock(&self.queue);
        for (key, priority, lane) in keys {
            queue.add(&key, priority, &lane);
        }
        drop(queue);
        self.notify.notify_one();
    }

    /// Asks for a pass after a while; several such wishes are one.
    pub fn add_after(&self, key: &K, after: Duration) {
        lock(&self.queue).add_at(key, Instant::now() + after);
        self.notify.notify_one();
    }

    /// Sets how many passes of a lane may run at a time.
    pub fn set_limit(&self, lane: &str, limit: usize) {
        lock(&self.queue).set_limit(lane, limit);
    }

    /// The object is gone: its failures do not count against a new one of that name.
    pub fn forget(&self, key: &K) {
        lock(&self.backoff).clear(key);
    }

    /// How many objects are failing now.
    pub fn failing(&self) -> usize {
        lock(&self.backoff).len()
    }

    /// How often the passes of an object have failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        lock(&self.backoff).failures(key)
    }

    /// Waiting passes, a lane.
    pub fn depths(&self) -> BTreeMap<String, usize> {
        lock(&self.queue).depths().map(|(l, n)| (l.to_owned(), n)).collect()
    }

    /// Runs passes until `shutdown` turns true; then starts no more and waits for those that run.
    pub async fn run<W: Work<K>>(
        &self,
        work: Arc<W>,
        bounds: Bounds,
        random: Arc<dyn Random>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut running: JoinSet<(Ended, Duration)> = JoinSet::new();
        let mut keys: BTreeMap<Id, K> = BTreeMap::new();
        let mut stopping = *shutdown.borrow();
        loop {
            if stopping && running.is_empty() {
                return;
            }
            if !stopping {
                let mut queue = lock(&self.queue);
                queue.wake(Instant::now(), |k| work.lane(k));
                while running.len() < bounds.concurrency {
                    let Some(key) = queue.pop() else { break };
                    let limit = work.limit(&key, bounds.pass);
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
                    let (id, ended, took) = match joined {
                        Ok((id, (ended, took))) => (id, ended, took),
                        Err(error) => (error.id(), Ended::Panicked, Duration::ZERO),
                    };
                    if let Some(key) = keys.remove(&id) {
                        self.finish(&key, ended, work.as_ref(), random.as_ref());
                        work.ended(&key, ended, took);
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
                Ended::With(Next::RetryAfter(after)) => Some(backoff.failed(key, random).max(after.min(LONGEST))),
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
    let word = AssertUnwindSafe(work.failed(key, ended)).catch_unwind();
    let _ = tokio::time::timeout(LAST_WORD, word).await;
    (ended, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtenant_clock::SystemRandom;

    struct Fake(Mutex<Vec<(u32, Ended)>>);
    impl Work<u32> for Fake {
        async fn pass(self: Arc<Self>, key: u32) -> Next {
            match key {
                1 => panic!("planted"),
                2 => std::future::pending().await,
                3 => Next::After(Duration::from_secs(7)),
                5 => {
                    tokio::time::sleep(Duration::from_secs(200)).await;
                    Next::Settled
                }
                _ => Next::Settled,
            }
        }
        fn lane(&self, _: &u32) -> String {
            String::new()
        }
        fn limit(&self, key: &u32, usual: Duration) -> Duration {
            if *key == 5 { Duration::from_secs(300) } else { usual }
        }
        fn ended(&self, key: &u32, ended: Ended, _: Duration) {
            lock(&self.0).push((*key, ended));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_a_hang_cost_one_object_one_pass() {
        let bounds = Bounds { concurrency: 4, lane: 4, pass: Duration::from_secs(60) };
        let d = Dispatcher::new(bounds);
        let work = Arc::new(Fake(Mutex::default()));
        d.add([1, 2, 3, 4].map(|k| (k, Priority::Normal, String::new())));
        let (stop, rx) = watch::channel(false);
        let run = d.run(work.clone(), bounds, Arc::new(SystemRandom), rx);
        let watch = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(lock(&work.0).len(), 3, "all but the one that hangs");
            assert_eq!(d.failing(), 1);
            tokio::time::sleep(Duration::from_secs(70)).await;
            stop.send(true).expect("the dispatcher listens");
        };
        futures::join!(run, watch);
        let seen = lock(&work.0).clone();
        assert!(seen.contains(&(2, Ended::TimedOut)));
        assert!(seen.iter().filter(|(k, e)| *k == 1 && *e == Ended::Panicked).count() >= 3, "tried again with pauses");
        assert_eq!(seen.iter().filter(|(k, _)| *k == 3).count(), 11, "every 7 s");
        assert_eq!(seen.iter().filter(|(k, _)| *k == 4).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_may_have_a_time_limit_of_its_own() {
        let bounds = Bounds { concurrency: 4, lane: 4, pass: Duration::from_secs(60) };
        let d = Dispatcher::new(bounds);
        let work = Arc::new(Fake(Mutex::default()));
        d.add([2, 5].map(|k| (k, Priority::Normal, String::new())));
        let (stop, rx) = watch::channel(false);
        let run = d.run(work.clone(), bounds, Arc::new(SystemRandom), rx);
        let watch = async {
            tokio::time::sleep(Duration::from_secs(250)).await;
            stop.send(true).expect("the dispatcher listens");
        };
        futures::join!(run, watch);
        let seen = lock(&work.0).clone();
        assert!(seen.contains(&(2, Ended::TimedOut)), "{seen:?}");
        assert!(seen.contains(&(5, Ended::With(Next::Settled))), "{seen:?}");
    }
}
