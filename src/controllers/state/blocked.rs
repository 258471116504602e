//! Which deletions a backend blocks, since when, and which of them go on without it. Kept in memory: a status that says so
//! could be written by others, and here it lets mail go.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a backend must block a deletion before it may go on without it: one lost connection is no reason to leave
/// something behind.
const LASTING: Duration = Duration::from_secs(10);
/// How long the last look counts for those that depend on it: a little more than the longest pause between two passes.
const COUNTS: Duration = Duration::from_secs(400);

/// Which of its backends blocks a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Groupware,
    Dns,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    since: Instant,
    last: Instant,
    given_up: bool,
}

/// By uid and side.
#[derive(Default)]
pub struct Blocked(Mutex<BTreeMap<(String, Side), Block>>);

impl Blocked {
    fn all(&self) -> MutexGuard<'_, BTreeMap<(String, Side), Block>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a pass found the deletion blocked. Returned is how long it must stay so before it lasts; zero: it does.
    pub fn note(&self, uid: &str, side: Side) -> Duration {
        let now = Instant::now();
        let mut all = self.all();
        let block = all.entry((uid.to_owned(), side)).or_insert(Block { since: now, last: now, given_up: false });
        block.last = now;
        LASTING.saturating_sub(now.duration_since(block.since))
    }

    /// The deletion goes on without this backend. True: for the first time.
    pub fn give_up(&self, uid: &str, side: Side) -> bool {
        let mut all = self.all();
        let block = all.get_mut(&(uid.to_owned(), side));
        block.is_some_and(|b| !std::mem::replace(&mut b.given_up, true))
    }

    /// What was given up answers again, or a person takes the word back.
    pub fn take_back(&self, uid: &str, side: Side) {
        if let Some(block) = self.all().get_mut(&(uid.to_owned(), side)) {
            block.given_up = false;
        }
    }

    /// Whether the last pass went on without this backend, not long ago.
    pub fn is_given_up(&self, uid: &str, side: Side) -> bool {
        let all = self.all();
        all.get(&(uid.to_owned(), side)).is_some_and(|b| b.given_up && b.last.elapsed() < COUNTS)
    }

    /// A pass found that nothing blocks there.
    pub fn clear(&self, uid: &str, side: Side) {
        self.all().remove(&(uid.to_owned(), side));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_block_counts_once_it_lasts_and_is_forgotten_when_it_ends() {
        let blocked = Blocked::default();
        assert_eq!(blocked.note("u", Side::Dns), LASTING);
        tokio::time::advance(LASTING - Duration::from_secs(1)).await;
        assert_eq!(blocked.note("u", Side::Dns), Duration::from_secs(1));
        assert_eq!(blocked.note("u", Side::Groupware), LASTING, "each by itself");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(blocked.note("u", Side::Dns), Duration::ZERO);
        assert!(!blocked.is_given_up("u", Side::Dns), "nobody said so");
        assert!(blocked.give_up("u", Side::Dns) && !blocked.give_up("u", Side::Dns), "it is told once");
        assert!(blocked.is_given_up("u", Side::Dns) && !blocked.is_given_up("v", Side::Dns));
        tokio::time::advance(COUNTS).await;
        assert!(!blocked.is_given_up("u", Side::Dns), "nobody has looked since");
        blocked.note("u", Side::Dns);
        assert!(blocked.is_given_up("u", Side::Dns));
        blocked.take_back("u", Side::Dns);
        assert!(!blocked.is_given_up("u", Side::Dns));
        assert_eq!(blocked.note("u", Side::Dns), Duration::ZERO, "it lasts all the same");
        blocked.clear("u", Side::Dns);
        assert!(!blocked.is_given_up("u", Side::Dns) && !blocked.give_up("u", Side::Dns));
        assert_eq!(blocked.note("u", Side::Dns), LASTING, "it begins anew");
    }
}
