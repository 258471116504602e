//! Reasons of Events. Stable, as [`Reason`] is: alerts and scripts compare them.

use crate::Reason;

/// Why an Event is published. Events report transitions only. `docs/reasons.md` explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventReason {
    /// Something at the backend that nobody owned was taken over.
    Adopted,
    /// MX was switched to the groupware server.
    CutOver,
    /// A deletion begins to wait, or waits for another reason.
    DeletionBlocked,
    /// The backend differed from what is declared and was put back.
    DriftCorrected,
    /// Fields have no effect, or other fields than before.
    FieldsIgnored,
    /// The annotation `mailtenant.dev/orphan` let the object go although a backend blocked its deletion.
    Orphaned,
    /// A generated password took the place of one that the mailbox had, without a wish for it.
    PasswordReplaced,
    /// A new value of `mailtenant.dev/rotate-password` was handled.
    PasswordRotated,
    /// A mailbox is deleted, and others still forward to its address.
    StillForwardedTo,
    /// A live domain is healthy again.
    Recovered,
    /// Something that was created is missing at the backend and is created again.
    Recreated,
    /// The object is deleted, and something of it stays at the backend.
    Retained,
    /// What an object of the same place had that no longer exists was taken over.
    TakenOver,
    /// A live domain is not healthy, or for another reason than before.
    Unhealthy,
    /// `Ready=False` began, or its reason changed.
    NotReady(Reason),
}

impl EventReason {
    /// All but [`EventReason::NotReady`], which is reported under the names of [`Reason`].
    pub const ALL: &'static [EventReason] = &[
        EventReason::Adopted,
        EventReason::CutOver,
        EventReason::DeletionBlocked,
        EventReason::DriftCorrected,
        EventReason::FieldsIgnored,
        EventReason::Orphaned,
        EventReason::PasswordReplaced,
        EventReason::PasswordRotated,
        EventReason::Recovered,
        EventReason::Recreated,
        EventReason::Retained,
        EventReason::StillForwardedTo,
        EventReason::TakenOver,
        EventReason::Unhealthy,
    ];

    /// `reason` of the Event.
    pub fn as_str(self) -> &'static str {
        match self {
            EventReason::Adopted => "Adopted",
            EventReason::CutOver => "CutOver",
            EventReason::DeletionBlocked => "DeletionBlocked",
            EventReason::DriftCorrected => "DriftCorrected",
            EventReason::FieldsIgnored => "FieldsIgnored",
            EventReason::Orphaned => "Orphaned",
            EventReason::PasswordReplaced => "PasswordReplaced",
            EventReason::PasswordRotated => "PasswordRotated",
            EventReason::Recovered => "Recovered",
            EventReason::Recreated => "Recreated",
            EventReason::Retained => "Retained",
            EventReason::StillForwardedTo => "StillForwardedTo",
            EventReason::TakenOver => "TakenOver",
            EventReason::Unhealthy => "Unhealthy",
            EventReason::NotReady(reason) => reason.as_str(),
        }
    }

    /// Whether the `type` of the Event is `Warning` rather than `Normal`.
    pub fn is_warning(self) -> bool {
        !matches!(
            self,
            EventReason::Adopted
                | EventReason::CutOver
                | EventReason::PasswordRotated
                | EventReason::Recovered
                | EventReason::Retained
                | EventReason::TakenOver
        )
    }
}
