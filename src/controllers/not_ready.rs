//! Why an object cannot be ready now, in the words of its conditions, and what the operator does next.

use mailtenant_api::{Conditions, Reason};
use mailtenant_groupware::BackendError;
use mailtenant_runtime::dispatch::Next;
use std::time::Duration;

/// What `status.drift` says of an object that is not at the backend at all.
pub const MISSING: &str = "missing";

/// Why an object cannot be ready now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    pub reason: Reason,
    /// For a person: names the object that is waited for and the step that helps.
    pub message: String,
    /// Whether only a change by somebody helps (kstatus: Failed).
    pub stalled: bool,
    /// What is done next.
    pub next: Next,
}

impl NotReady {
    /// Something else must happen first; its change wakes us.
    pub fn waiting(reason: Reason, message: impl Into<String>) -> Self {
        NotReady { reason, message: message.into(), stalled: false, next: Next::Settled }
    }
    /// Somebody must change something; that change wakes us.
    pub fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        NotReady { reason, message: message.into(), stalled: true, next: Next::Settled }
    }
    /// Again after a growing pause.
    pub fn retry(reason: Reason, message: impl Into<String>) -> Self {
        NotReady { reason, message: message.into(), stalled: false, next: Next::Retry }
    }
    /// Again after this time; nothing failed.
    pub fn after(reason: Reason, message: impl Into<String>, after: Duration) -> Self {
        NotReady { reason, message: message.into(), stalled: false, next: Next::After(after) }
    }

    /// `managementPolicy: Observe` and something differs, or is `missing`.
    pub fn drifted(drift: &[String]) -> Option<Self> {
        let text = "nothing is written (managementPolicy: Observe), and the backend differs";
        (!drift.is_empty()).then(|| NotReady::waiting(Reason::Drifted, format!("{text}: {}", drift.join(", "))))
    }

    /// From a call to a server, named for the message: `GroupwareBackend berlin`.
    pub fn backend(server: &str, error: &BackendError) -> Self {
        let text = |help: &str| format!("{server}: {error}. {help}");
        match error {
            BackendError::NotFound(_) | BackendError::Conflict(_) => {
                NotReady::retry(Reason::Progressing, text("It is looked at again."))
            }
            // What belongs to an owner is never adopted, whatever the policy.
            BackendError::Exists { owner: Some(_), .. } => NotReady::stalled(
                Reason::ExistsAtBackend,
                text("Delete the object that it belongs to, or ask the platform team to remove it there."),
            ),
            BackendError::Exists { owner: None, adoptable: true, .. } => {
                NotReady::stalled(Reason::ExistsAtBackend, text("Remove it there, or set adoptionPolicy: IfUnowned."))
            }
            BackendError::Exists { owner: None, adoptable: false, .. } => {
                NotReady::stalled(Reason::ExistsAtBackend, text("Remove it there, or choose another name."))
            }
            BackendError::Rejected(_) => NotReady::stalled(Reason::BackendRejected, text("Change what is declared.")),
            // It may be mended at the server, where nobody wakes us.
            BackendError::ReadOnly(_) => NotReady::retry(
                Reason::ZoneReadOnly,
                text("The platform team has to give the DNSBackend the primary server of the zone."),
            ),
            BackendError::Unsupported(_) => NotReady::stalled(Reason::Unsupported, text("Change what is declared.")),
            // A change of the Secret wakes what is on the backend.
            BackendError::InvalidSecret(_) => {
                NotReady::waiting(Reason::SecretInvalid, text("The platform team has to correct the Secret."))
            }
            BackendError::Unauthorized(_) => {
                NotReady::retry(Reason::BackendUnauthorized, text("The platform team has to look at the credentials."))
            }
            BackendError::Unavailable { retry_after, .. } => NotReady {
                next: retry_after.map_or(Next::Retry, Next::RetryAfter),
                ..NotReady::retry(Reason::BackendUnreachable, text("It is tried again."))
            },
        }
    }

    /// Puts it into the conditions.
    pub fn put(&self, conditions: &mut Conditions) {
        if self.stalled {
            conditions.stalled(self.reason, self.message.clone());
        } else {
            conditions.waiting(self.reason, self.message.clone());
        }
    }
}
