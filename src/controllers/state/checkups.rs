//! When the health of a live domain is judged again.

use super::kind::ObjectId;
use mailtenant_clock::Random;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Time between two judgements, give or take 20 %. What is judged changes within days; a judgement costs up to five look-ups.
const PAUSE: Duration = Duration::from_secs(4 * 3600);
/// The same where servers gave no answer: it may have been a moment.
const NO_ANSWER: Duration = Duration::from_secs(30 * 60);

/// When each domain is judged next.
#[derive(Default)]
pub struct Checkups(Mutex<BTreeMap<ObjectId, Instant>>);

impl Checkups {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ObjectId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time. One that was `never` judged is judged now; one that was before this process began, at some time
    /// within [`PAUSE`]: at a start all domains have a pass at once.
    pub fn due(&self, id: &ObjectId, never: bool, random: &dyn Random) -> bool {
        let now = Instant::now();
        let first = || if never { now } else { now + Duration::from_secs(random.below(PAUSE.as_secs())) };
        *self.all().entry(id.clone()).or_insert_with(first) <= now
    }

    /// It was judged, or could not be.
    pub fn judged(&self, id: &ObjectId, had_answer: bool, random: &dyn Random) {
        let pause = random.around(if had_answer { PAUSE } else { NO_ANSWER }, 20);
        self.all().insert(id.clone(), Instant::now() + pause);
    }

    /// How long until it is judged again; none: it is not, or is overdue. A pass that ends before it could judge would otherwise
    /// ask for the next one at once, for as long as it does.
    pub fn until(&self, id: &ObjectId) -> Option<Duration> {
        let left = self.all().get(id)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// It is gone, or not judged any more.
    pub fn forget(&self, id: &ObjectId) {
        self.all().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::kind::Kind;
    use mailtenant_clock::SystemRandom;
    use mailtenant_runtime::store::NamespacedName;

    #[tokio::test(start_paused = true)]
    async fn a_start_spreads_them_and_an_answer_serves_for_hours() {
        let (checkups, random) = (Checkups::default(), SystemRandom);
        let id = |n: usize| ObjectId::new(Kind::MailDomain, NamespacedName::new("t", format!("d{n}")));
        let due = (0..100).filter(|n| checkups.due(&id(*n), false, &random)).count();
        assert!(due < 5, "{due} of 100 at once");
        tokio::time::sleep(PAUSE).await;
        assert!((0..100).all(|n| checkups.due(&id(n), false, &random)), "all of them have come by then");
        assert_eq!(checkups.until(&id(0)), None, "it is overdue");
        checkups.judged(&id(0), true, &random);
        checkups.judged(&id(1), false, &random);
        tokio::time::sleep(NO_ANSWER * 2).await;
        assert!(
            !checkups.due(&id(0), false, &random)
                && checkups.until(&id(0)).is_some()
                && checkups.due(&id(1), false, &random)
        );
        tokio::time::sleep(PAUSE * 2).await;
        assert!(checkups.due(&id(0), false, &random));
        assert!(checkups.due(&id(1000), true, &random), "one that was never judged does not wait");
        checkups.judged(&id(1000), false, &random);
        assert!(!checkups.due(&id(1000), true, &random), "but for one that was just tried");
        checkups.forget(&id(0));
        assert_eq!(checkups.until(&id(0)), None);
    }
}
