//! What DNS servers said a moment ago, so that a thousand passes which want to know the same ask once.

use mailtenant_dns::{BackendError, Result, RrSet};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

/// How long an answer serves.
const ANSWER: Duration = Duration::from_secs(5);
/// How long it serves that there was none: passes that wait for a slow server hold slots which others need.
const FAILURE: Duration = Duration::from_secs(60);

type Said = Option<(Instant, Result<Vec<RrSet>>)>;
type Slot = Arc<AsyncMutex<Said>>;

/// The last answers, by the DNSBackend that says whom to ask, and the name of the record.
#[derive(Default)]
pub struct Lookups(Mutex<BTreeMap<(String, String), Slot>>);

fn serves(said: &Said) -> bool {
    said.as_ref().is_some_and(|(at, answer)| at.elapsed() < if answer.is_ok() { ANSWER } else { FAILURE })
}

impl Lookups {
    fn slot(&self, backend: &str, record: &str) -> Slot {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|said| serves(&said)));
        all.entry((backend.to_owned(), record.to_owned())).or_default().clone()
    }

    /// What was said a moment ago, or what `look` says now. Whoever comes while somebody looks waits for that answer.
    pub async fn once(
        &self,
        (backend, record): (&str, &str),
        look: impl Future<Output = Result<Vec<RrSet>>>,
    ) -> Result<Vec<RrSet>, BackendError> {
        let slot = self.slot(backend, record);
        let mut said = slot.lock().await;
        match &*said {
            Some((_, answer)) if serves(&said) => answer.clone(),
            _ => {
                let answer = look.await;
                *said = Some((Instant::now(), answer.clone()));
                answer
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn passes_of_one_moment_look_once() {
        let (lookups, looks) = (Lookups::default(), AtomicUsize::new(0));
        let look = |good: bool| async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            if good { Ok(vec![]) } else { Err(BackendError::unavailable("nobody")) }
        };
        let ask = |record: &'static str, good: bool| {
            let look = look(good);
            let (lookups, looks) = (&lookups, &looks);
            async move {
                let counted = async {
                    looks.fetch_add(1, Ordering::Relaxed);
                    look.await
                };
                lookups.once(("n", record), counted).await.is_ok()
            }
        };
        let looked = || looks.load(Ordering::Relaxed);
        assert_eq!(tokio::join!(ask("a", true), ask("a", false), ask("b", false)), (true, true, false));
        assert_eq!(looked(), 2, "one for each record");
        tokio::time::sleep(ANSWER).await;
        assert!(!ask("a", false).await, "it is asked again");
        tokio::time::sleep(ANSWER).await;
        assert!(!ask("a", true).await && looked() == 3, "who does not answer is left alone for a while");
        tokio::time::sleep(FAILURE).await;
        assert!(ask("a", true).await);
        assert_eq!(lookups.0.lock().unwrap().len(), 1, "what is over is forgotten");
    }
}
