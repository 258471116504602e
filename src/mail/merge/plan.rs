//! What a plan is made by besides the records, and what it says.

use super::journal::{is_ours, same_record};
use crate::policy::{ConflictPolicy, Purpose, RecordStatus};
use crate::rr::{Change, RecordType};

/// The MX set from before the cut-over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviousMx {
    /// Canonical values; empty: there was no MX.
    pub values: Vec<String>,
    /// Time to live in seconds; of no meaning when there are no values.
    pub ttl: u32,
}

/// What the caller decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What is done about somebody else's value in the place of ours.
    pub conflict: ConflictPolicy,
    /// Whether MX may be made ours now (I7), or put back once it was. If not, MX stays as it is.
    pub switch_mx: bool,
    /// The MX set from before the cut-over, as the status has it.
    pub previous_mx: Option<PreviousMx>,
}

/// A record that cannot be made ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Absolute name of the record that was wanted.
    pub name: String,
    /// Type of the record that was wanted, not of what stands in its way.
    pub rtype: RecordType,
    /// What the record would be for.
    pub purpose: Purpose,
    /// What is there and what to do about it, for people.
    pub message: String,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes, to be applied after the journal is written.
    pub changes: Vec<Change>,
    /// The records for the status. A value that is not there yet is `Missing`, one that is there `Ok`: what the
    /// authoritative servers show is for the caller to add. Values on their way out are `Propagating`.
    pub journal: Vec<RecordStatus>,
    /// The MX set to put back on deletion.
    pub previous_mx: Option<PreviousMx>,
    /// What stands in the way.
    pub conflicts: Vec<Conflict>,
}

impl Plan {
    /// Whether everything that must be known before the changes are made stands in `journal` and `previous` already:
    /// then they may be made without writing the status first.
    pub fn is_journaled(&self, journal: &[RecordStatus], previous: Option<&PreviousMx>) -> bool {
        let known = |e: &RecordStatus| {
            journal.iter().any(|j| same_record(j, e) && j.ownership == e.ownership && j.term == e.term)
        };
        self.changes.is_empty()
            || (self.previous_mx.as_ref() == previous && self.journal.iter().filter(|e| is_ours(e)).all(known))
    }

    /// Whether nothing of ours is left, as far as this plan looked: nothing to change, nothing owned in the journal.
    pub fn is_withdrawn(&self) -> bool {
        self.changes.is_empty() && !self.journal.iter().any(is_ours)
    }
}
