//! Input of a plan besides the records, and its result.

use super::journal::{is_ours, same_record};
use crate::policy::{ConflictPolicy, Purpose, RecordStatus};
use crate::rr::{Change, RecordType};
use crate::value::from_presentation;

/// The MX set from before the cut-over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviousMx {
    /// Values as the server had them, such as a host in capitals, to be put back like that; empty: there was no MX.
    pub values: Vec<String>,
    /// Time to live in seconds; without meaning if there are no values.
    pub ttl: u32,
}

/// Decisions of the caller that a plan follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What happens where a value of somebody else is in the place of ours.
    pub conflict: ConflictPolicy,
    /// Whether MX may be switched to our server now (I7), or back to it. If not, MX stays as it is.
    pub switch_mx: bool,
    /// The MX set from before the cut-over, as the status has it; none: it was not recorded yet.
    pub previous_mx: Option<PreviousMx>,
}

/// A record that cannot be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Absolute name of the record that was wanted.
    pub name: String,
    /// Type of the record that was wanted, not of the one that is in its place.
    pub rtype: RecordType,
    /// What the record that was wanted is for.
    pub purpose: Purpose,
    /// What is there and what to do about it, for people.
    pub message: String,
}

/// What to change, and the records for the status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes of the DNS, to be applied after the journal is written.
    pub changes: Vec<Change>,
    /// The records for the status. A value that is not there yet is `Missing`, one that is there `Ok`; the caller adds
    /// what the authoritative servers show. Values that are being removed are `Propagating`.
    pub journal: Vec<RecordStatus>,
    /// The MX set to restore on deletion; none: MX was not switched yet.
    pub previous_mx: Option<PreviousMx>,
    /// Records that cannot be published, and why.
    pub conflicts: Vec<Conflict>,
}

impl PreviousMx {
    /// The values in canonical form, to be compared.
    pub fn canonical(&self) -> Vec<String> {
        let mut values: Vec<String> = self.values.iter().map(|v| from_presentation(RecordType::MX, v)).collect();
        values.sort();
        values.dedup();
        values
    }

    /// The same with the values as a server has them, where they are the same.
    pub fn as_written(mut self, contents: &[String]) -> Self {
        for value in &mut self.values {
            let same = contents.iter().find(|c| from_presentation(RecordType::MX, c) == *value);
            same.unwrap_or(&value.clone()).clone_into(value);
        }
        self
    }
}

impl Plan {
    /// Whether `journal` and `previous` have everything that must be recorded before the changes are made: then the
    /// status need not be written first.
    pub fn is_journaled(&self, journal: &[RecordStatus], previous: Option<&PreviousMx>) -> bool {
        let known = |e: &RecordStatus| {
            journal.iter().any(|j| same_record(j, e) && j.ownership == e.ownership && j.term == e.term)
        };
        self.changes.is_empty()
            || (self.previous_mx.as_ref() == previous && self.journal.iter().filter(|e| is_ours(e)).all(known))
    }

    /// Whether nothing of ours is left: there are no changes, and the journal has no entry of ours.
    pub fn is_withdrawn(&self) -> bool {
        self.changes.is_empty() && !self.journal.iter().any(is_ours)
    }
}
