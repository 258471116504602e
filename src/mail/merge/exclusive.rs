//! A name and type that only mail uses: the whole set is ours, or in conflict.

use super::planner::Planner;
use crate::policy::{ConflictPolicy, Ownership, Purpose, RecordState};
use crate::records::{Record, equivalent};
use std::collections::BTreeSet;

impl Planner<'_> {
    pub(super) fn exclusive(&mut self, record: &Record, policy: ConflictPolicy) {
        let live = self.live(record);
        let wanted: BTreeSet<String> = record.values.iter().cloned().collect();
        // A value of others that means the same is as good.
        if let (Some(there), Some(want), 1, 1) = (live.first(), wanted.first(), live.len(), wanted.len())
            && there != want
            && !self.wrote(record, there)
            && [Some(want), record.after_switch.as_ref()]
                .into_iter()
                .flatten()
                .any(|good| equivalent(record.purpose, there, good))
        {
            return self.keep(record, there);
        }
        let foreign: Vec<&String> = live.iter().filter(|v| !wanted.contains(*v) && !self.wrote(record, v)).collect();
        let overwrite = policy == ConflictPolicy::Overwrite;
        if foreign.is_empty() || overwrite {
            for value in &wanted {
                if live.contains(value) { self.keep(record, value) } else { self.create(record, value) }
            }
            let foreign: Vec<String> = foreign.into_iter().cloned().collect();
            self.edit(record, |set| set.values.retain(|v| !foreign.contains(v)));
            self.edit(record, |set| set.own_ttl = Some(record.ttl));
            return;
        }
        let there: Vec<String> = live.iter().cloned().collect();
        // A foreign DKIM key is never adopted: mail would be signed with a key that it does not verify.
        if let (ConflictPolicy::Adopt, [one], 1, true) =
            (policy, foreign.as_slice(), live.len(), record.purpose != Purpose::DKIM)
        {
            let value = (*one).clone();
            let entry = self.add_entry(record, &value, RecordState::Ok, Some(Ownership::Adopted));
            entry.message = Some(KEPT_AS_FOUND.into());
            self.edit(record, |set| {
                set.kept.insert(value);
            });
            return;
        }
        let (state, message) = if live.len() > 1 {
            (
                RecordState::Duplicate,
                "more than one value stands where one is allowed: remove those that are not ours, or set dns.conflictPolicy: Overwrite",
            )
        } else {
            (RecordState::Conflict, choice(record.purpose))
        };
        self.conflict(record, state, (record.rtype, &there), message);
    }
}

/// What the status says of a record that is kept.
pub(super) const KEPT_AS_FOUND: &str = "kept as it was found (conflictPolicy: Adopt)";

/// What can be done about a record of somebody else in the place of ours.
pub(super) fn choice(purpose: Purpose) -> &'static str {
    match purpose {
        // Neither would do: mail would be signed with a key that nobody finds, and a challenge proves nothing elsewhere.
        Purpose::DKIM | Purpose::Challenge | Purpose::Marker => {
            "mailtenant did not write it: remove it, or set dns.conflictPolicy: Overwrite (replaces it)"
        }
        _ => {
            "mailtenant did not write it: remove it, or set dns.conflictPolicy: Adopt (keeps it) or Overwrite (replaces it)"
        }
    }
}
