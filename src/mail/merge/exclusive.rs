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
            && equivalent(record.purpose, there, want)
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
        let observed = live.iter().cloned().collect::<Vec<_>>().join(" | ");
        // A foreign DKIM key is never adopted: mail would be signed with a key that it does not verify.
        if let (ConflictPolicy::Adopt, [one], 1, true) =
            (policy, foreign.as_slice(), live.len(), record.purpose != Purpose::DKIM)
        {
            let value = (*one).clone();
            let entry = self.add_entry(record, &value, RecordState::Ok, Some(Ownership::Adopted));
            entry.message = Some("kept as it was found (conflictPolicy: Adopt)".into());
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
            (
                RecordState::Conflict,
                "another value that we did not write is there: remove it, or set dns.conflictPolicy",
            )
        };
        self.conflict(record, state, Some(observed), message);
    }
}
