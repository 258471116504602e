//! Growing pauses between failed passes, per object.

use mailtenant_clock::Random;
use std::collections::BTreeMap;
use std::time::Duration;

/// Pause after the first failure.
const BASE: Duration = Duration::from_secs(1);
/// No pause is longer than this.
const CAP: Duration = Duration::from_secs(300);

/// How often each object has failed in a row.
#[derive(Debug)]
pub(crate) struct Backoff<K>(BTreeMap<K, u32>);

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Backoff(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Backoff<K> {
    /// Counts a failure; returns the pause: 1 s doubling to 300 s, give or take 20 % so that retries spread out.
    pub(crate) fn failed(&mut self, key: &K, random: &dyn Random) -> Duration {
        let failures = self.0.entry(key.clone()).or_insert(0);
        let pause = BASE.saturating_mul(1 << (*failures).min(9)).min(CAP);
        *failures = failures.saturating_add(1);
        random.around(pause, 20)
    }
    /// How often an object has failed in a row.
    pub(crate) fn failures(&self, key: &K) -> u32 {
        self.0.get(key).copied().unwrap_or_default()
    }
    /// A pass succeeded, or the object is gone.
    pub(crate) fn clear(&mut self, key: &K) {
        self.0.remove(key);
    }
    /// How many objects are failing.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtenant_clock::SystemRandom;

    #[test]
    fn pauses_double_up_to_five_minutes_and_spread_out() {
        let mut backoff = Backoff::default();
        let mut different = std::collections::BTreeSet::new();
        for n in 0..20u32 {
            assert_eq!(backoff.failures(&1), n);
            let expected = Duration::from_secs(1 << n.min(9)).min(CAP);
            let pause = backoff.failed(&1, &SystemRandom);
            assert!(pause >= expected.mul_f64(0.79) && pause <= expected.mul_f64(1.21), "{n}: {pause:?}");
            different.insert(pause);
        }
        assert!(different.len() > 15, "{different:?}");
        assert!(backoff.failed(&2, &SystemRandom) < Duration::from_secs(2), "each object has its own");
        assert_eq!(backoff.len(), 2);
        backoff.clear(&1);
        assert!(
            backoff.failed(&1, &SystemRandom) < Duration::from_secs(2),
            "after a success it starts from the first pause"
        );
    }
}
