//! Whether a mailbox' password is written, and as which hash; the slow ones take turns away from the async threads.

use super::mailbox::State;
use super::*;
use mailtenant_backend::secret::SecretText;
use mailtenant_clock::SystemRandom;

/// What to write of a password.
#[derive(Default)]
pub(super) struct NewPassword {
    pub(super) hash: Option<SecretText>,
    pub(super) version: Option<String>,
    /// What stands there is what was declared: only noted.
    pub(super) noted: bool,
}

impl Sogo {
    /// Decides whether a password is written. It is not when it was declared before (`password_applied` fits), so that a
    /// user's own change stays; with `force` it is not when it stands there already.
    pub(super) async fn password(&self, want: &PasswordWant, state: &State) -> Result<NewPassword> {
        let there = state.row.is_some();
        let (version, force) = match want {
            PasswordWant::Keep if there => return Ok(NewPassword::default()),
            PasswordWant::Keep => {
                return Ok(NewPassword { hash: Some(password::locked(&SystemRandom)), ..NewPassword::default() });
            }
            PasswordWant::Plain { version, force, .. } | PasswordWant::Hash { version, force, .. } => (version, *force),
        };
        let same_version = state.row.as_ref().is_some_and(|r| r.password_version.as_ref() == Some(version));
        let drifted = state.applied.as_deref() != Some(state.password.as_str());
        if same_version && (!force || !drifted) {
            return Ok(NewPassword::default());
        }
        let version = Some(version.clone());
        let reference = match force {
            true => there.then(|| state.password.clone()),
            false => state.applied.clone(),
        };
        let noted = NewPassword { hash: None, version: version.clone(), noted: true };
        match want {
            PasswordWant::Keep => Ok(NewPassword::default()),
            PasswordWant::Hash { text, .. } => {
                let hash = password::given(text)?;
                if reference.as_deref() == Some(hash.expose()) {
                    return Ok(noted);
                }
                Ok(NewPassword { hash: Some(hash), version, noted: false })
            }
            PasswordWant::Plain { text, generated, .. } => {
                if let Some(reference) = reference
                    && self.fits(text, reference).await?
                {
                    return Ok(noted);
                }
                let hash = match generated {
                    true => password::fast(text, &SystemRandom),
                    false => {
                        let text = text.clone();
                        self.blocking(move || password::slow(&text, &SystemRandom)).await??
                    }
                };
                Ok(NewPassword { hash: Some(hash), version, noted: false })
            }
        }
    }

    async fn fits(&self, text: &SecretText, reference: String) -> Result<bool> {
        if !password::is_slow(&reference) {
            return Ok(password::fits(text, &reference));
        }
        let text = text.clone();
        self.blocking(move || password::fits(&text, &reference)).await
    }

    /// Work of milliseconds, away from the async threads, so many at a time as there are cores.
    #[allow(clippy::disallowed_methods, reason = "behind the backend trait: argon2id takes 20 ms")]
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let gone = || BackendError::unavailable("hashing was cut off");
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| gone())?;
        tokio::task::spawn_blocking(move || {
            let value = work();
            drop(permit);
            value
        })
        .await
        .map_err(|_| gone())
    }
}

/// Whether what a user changed is put back.
pub(super) fn forced(want: &PasswordWant) -> bool {
    match want {
        PasswordWant::Keep => false,
        PasswordWant::Plain { force, .. } | PasswordWant::Hash { force, .. } => *force,
    }
}
