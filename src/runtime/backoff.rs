//! Growing pauses between failed passes, an object at a time.

use super::clock::Random;
use std::collections::BTreeMap;
use std::time::Duration;

/// First pause.
const BASE: Duration = Duration::from_secs(1);
/// Longest pause.
const CAP: Duration = Duration::from_secs(300);

/// How often each object has failed in a row.
#[derive(Debug)]
pub struct Backoff<K>(BTreeMap<K, u32>);

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Backoff(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Backoff<K> {
    /// Counts a failure; returns the pause: 1 s doubling to 300 s, give or take 20 % so that nothing runs in step.
    pub fn failed(&mut self, key: &K, random: &dyn Random) -> Duration {
        let n = self.0.entry(key.clone()).or_insert(0);
        let pause = BASE.saturating_mul(1 << (*n).min(9)).min(CAP);
        *n = n.saturating_add(1);
        random.around(pause, 20)
    }
    /// A pass went through, or the object is gone.
    pub fn clear(&mut self, key: &K) {
        self.0.remove(key);
    }
    /// How many objects are failing.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether none is failing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
