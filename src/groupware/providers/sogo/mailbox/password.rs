//! Whether a mailbox' password is written, and as which hash.

use super::rows::State;
use crate::dovecot::hasher::Hasher;
use crate::dovecot::password;
use crate::{PasswordWant, Result};
use mailtenant_backend::secret::SecretText;
use mailtenant_clock::SystemRandom;

/// What to write of a password.
#[derive(Default)]
pub(crate) struct NewPassword {
    /// With its `{SCHEME}`; none: what stands there stays.
    pub(crate) hash: Option<SecretText>,
    /// Token of the declared value.
    pub(crate) version: Option<String>,
    /// What stands there is what was declared: only noted.
    pub(crate) noted: bool,
}

/// Decides whether a password is written. It is not when it was declared before (`password_applied` fits), so that a
/// user's own change stays; with `force` it is not when it stands there already.
pub(crate) async fn decide(hasher: &Hasher, want: &PasswordWant, state: &State) -> Result<NewPassword> {
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
                && hasher.fits(text, reference).await?
            {
                return Ok(noted);
            }
            let hash = match generated {
                true => password::fast(text, &SystemRandom),
                false => hasher.slow(text).await?,
            };
            Ok(NewPassword { hash: Some(hash), version, noted: false })
        }
    }
}

/// The password that stands there stays, whatever was declared: its token alone is noted, so that it is compared with from
/// now on.
pub(crate) fn kept(want: &PasswordWant) -> NewPassword {
    let version = match want {
        PasswordWant::Keep => None,
        PasswordWant::Plain { version, .. } | PasswordWant::Hash { version, .. } => Some(version.clone()),
    };
    NewPassword { hash: None, version, noted: false }
}

/// Whether what a user changed is put back.
pub(crate) fn forced(want: &PasswordWant) -> bool {
    match want {
        PasswordWant::Keep => false,
        PasswordWant::Plain { force, .. } | PasswordWant::Hash { force, .. } => *force,
    }
}
