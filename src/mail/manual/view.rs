//! What one server has in the place of a record.

use crate::policy::RecordState;

/// What one server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum View {
    /// The record, or one that is as good: its value.
    Good(String),
    /// Nothing that is for this purpose.
    Absent,
    /// Something else: the state, the value that should be there, what is there, and what to do.
    Other(RecordState, String, String, String),
}

impl View {
    pub(super) fn good(&self) -> Option<&String> {
        if let View::Good(value) = self { Some(value) } else { None }
    }

    pub(super) fn other(&self) -> Option<(&RecordState, &String, &String, &String)> {
        if let View::Other(state, value, observed, message) = self {
            return Some((state, value, observed, message));
        }
        None
    }
}
