//! Slow password hashes away from the async threads.

use super::password;
use crate::{BackendError, Result};
use mailtenant_backend::secret::SecretText;
use mailtenant_clock::SystemRandom;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Makes and verifies hashes, as many slow ones at a time as there are cores: each takes a core for 20 ms.
pub(crate) struct Hasher(Arc<Semaphore>);

impl Hasher {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Hasher(Arc::new(Semaphore::new(cores)))
    }

    /// [`password::fits`].
    pub(crate) async fn fits(&self, text: &SecretText, stored: String) -> Result<bool> {
        if !password::is_slow(&stored) {
            return Ok(password::fits(text, &stored));
        }
        let text = text.clone();
        self.blocking(move || password::fits(&text, &stored)).await
    }

    /// [`password::slow`].
    pub(crate) async fn slow(&self, text: &SecretText) -> Result<SecretText> {
        let text = text.clone();
        self.blocking(move || password::slow(&text, &SystemRandom)).await?
    }

    #[allow(clippy::disallowed_methods, reason = "behind the backend trait: argon2id takes 20 ms")]
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let gone = || BackendError::unavailable("hashing was cut off");
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|_| gone())?;
        tokio::task::spawn_blocking(move || {
            let value = work();
            drop(permit);
            value
        })
        .await
        .map_err(|_| gone())
    }
}
