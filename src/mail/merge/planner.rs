//! The state of a plan while it is computed: the sets as they will be, and the journal so far.

use super::plan::{Conflict, Plan, PreviousMx};
use crate::policy::{Ownership, Purpose, RecordState, RecordStatus};
use crate::records::{Record, is_own_selector};
use crate::rr::{Change, RecordType, RrSet};
use std::collections::{BTreeMap, BTreeSet};

/// One set while it is planned.
pub(super) struct PlannedSet {
    pub(super) before: RrSet,
    /// Values as they will be.
    pub(super) values: BTreeSet<String>,
    /// Our time to live, used if all values that stay are ours.
    pub(super) own_ttl: Option<u32>,
    /// Values that are kept or written for a wanted record.
    pub(super) kept: BTreeSet<String>,
}

/// The modes (`exclusive`, `shared`, `mx`, `spf`) each plan one wanted record in here; `leftovers` the rest.
pub(super) struct Planner<'a> {
    /// The journal as the status has it.
    pub(super) journal: &'a [RecordStatus],
    /// Whether the MX entries of the journal were planned already.
    pub(super) mx_done: bool,
    /// By name and type. A set that is not here was not read.
    pub(super) sets: BTreeMap<(String, RecordType), PlannedSet>,
    pub(super) out: Plan,
}

impl<'a> Planner<'a> {
    /// Nothing is planned yet: the sets are as they were read, the journal of the plan is empty.
    pub(super) fn new(journal: &'a [RecordStatus], live: &[RrSet], previous_mx: Option<PreviousMx>) -> Self {
        let sets = live
            .iter()
            .map(|set| {
                let work = PlannedSet {
                    before: set.clone(),
                    values: set.values.iter().cloned().collect(),
                    own_ttl: None,
                    kept: BTreeSet::new(),
                };
                ((set.name.clone(), set.rtype), work)
            })
            .collect();
        Planner { journal, mx_done: false, sets, out: Plan { previous_mx, ..Plan::default() } }
    }
}

impl Planner<'_> {
    /// Whether an entry of the journal is about this record, whatever its value.
    pub(super) fn is_for(&self, e: &RecordStatus, record: &Record) -> bool {
        e.name == record.name && e.type_ == record.rtype.as_str() && e.purpose == record.purpose
    }

    fn entry(&self, record: &Record, value: &str) -> Option<&RecordStatus> {
        self.journal.iter().find(|e| self.is_for(e, record) && e.value == value)
    }

    /// Whether the journal says that we wrote this whole value.
    pub(super) fn wrote(&self, record: &Record, value: &str) -> bool {
        self.entry(record, value).is_some_and(|e| e.ownership == Some(Ownership::Created))
    }

    /// The values of a record's set as they were read.
    pub(super) fn live(&self, record: &Record) -> BTreeSet<String> {
        let set = self.sets.get(&(record.name.clone(), record.rtype));
        set.map(|s| s.before.values.iter().cloned().collect()).unwrap_or_default()
    }

    /// Adds an entry to the new journal; the caller may complete it.
    pub(super) fn add_entry(
        &mut self,
        record: &Record,
        value: &str,
        state: RecordState,
        ownership: Option<Ownership>,
    ) -> &mut RecordStatus {
        self.out.journal.push(RecordStatus {
            name: record.name.clone(),
            type_: record.rtype.as_str().into(),
            value: value.into(),
            purpose: record.purpose,
            state,
            ownership,
            term: None,
            edited: false,
            observed: None,
            message: None,
        });
        let at = self.out.journal.len() - 1;
        &mut self.out.journal[at]
    }

    /// Keeps a live value: `Created` if the journal says that we wrote it, else `Observed`. The journal can be lost (a
    /// restored etcd): a key under a selector of ours that the server has is published by nobody else.
    pub(super) fn keep(&mut self, record: &Record, value: &str) {
        let our_key = record.purpose == Purpose::DKIM
            && is_own_selector(&record.name)
            && record.values.iter().any(|wanted| wanted == value);
        let ownership = if our_key || self.wrote(record, value) { Ownership::Created } else { Ownership::Observed };
        self.add_entry(record, value, RecordState::Ok, Some(ownership));
        self.edit(record, |set| {
            set.kept.insert(value.into());
        });
    }

    pub(super) fn create(&mut self, record: &Record, value: &str) {
        self.add_entry(record, value, RecordState::Missing, Some(Ownership::Created));
        self.edit(record, |set| {
            set.values.insert(value.into());
            set.kept.insert(value.into());
        });
    }

    pub(super) fn edit(&mut self, record: &Record, f: impl FnOnce(&mut PlannedSet)) {
        if let Some(set) = self.sets.get_mut(&(record.name.clone(), record.rtype)) {
            f(set);
        }
    }

    /// Reports a record that cannot be published. Its set stays as it is. Without the records of client discovery
    /// and of MTA-STS, and without the marker, the domain works: they are reported and hold nothing up.
    ///
    /// `there`: the type and the values in its place.
    pub(super) fn conflict(
        &mut self,
        record: &Record,
        state: RecordState,
        there: (RecordType, &[String]),
        message: &str,
    ) {
        let (rtype, values) = there;
        let message = format!("{}: {message}", in_words(&record.name, rtype, values));
        let all = values.join(" | ");
        let observed = if rtype == record.rtype { all } else { format!("{} {all}", rtype.as_str()) };
        for value in &record.values {
            // What we wrote and is still there stays known as ours.
            let ours = self.live(record).contains(value) && self.wrote(record, value);
            let entry = self.add_entry(record, value, state, ours.then_some(Ownership::Created));
            entry.observed = Some(observed.clone());
            entry.message = Some(message.clone());
            self.edit(record, |set| {
                set.kept.insert(value.clone());
            });
        }
        if matches!(record.purpose, Purpose::ClientDiscovery | Purpose::MTASTS | Purpose::Marker) {
            return;
        }
        self.out.conflicts.push(Conflict {
            name: record.name.clone(),
            rtype: record.rtype,
            purpose: record.purpose,
            message,
        });
    }

    /// Completes the plan with the changes of all sets that differ from what was read.
    pub(super) fn finish(mut self) -> Plan {
        for set in self.sets.into_values() {
            let ours = |v: &String| {
                self.out.journal.iter().any(|e| {
                    e.name == set.before.name
                        && e.type_ == set.before.rtype.as_str()
                        && &e.value == v
                        && e.ownership == Some(Ownership::Created)
                })
            };
            // One time to live counts for the whole set: that of others stays while one of their values does.
            let ttl = set.own_ttl.filter(|_| set.values.iter().all(ours)).unwrap_or(set.before.ttl);
            let after = RrSet { values: set.values.into_iter().collect(), ttl, ..set.before.clone() };
            if after.values != set.before.values || (!after.values.is_empty() && after.ttl != set.before.ttl) {
                self.out.changes.push(Change { before: set.before, after });
            }
        }
        // What goes makes room for what comes: a server looks at one change after the other (PowerDNS 4.7.3 refuses a TXT
        // where a CNAME is, also when the same request deletes that further on).
        self.out.changes.sort_by_key(|change| !change.after.values.is_empty());
        self.out
    }
}

/// Longest text of the values of a set in a message.
const SHOWN: usize = 200;

/// A set in the words of a message: `TXT _dmarc.acme.test "v=DMARC1; p=none"`.
pub fn in_words(name: &str, rtype: RecordType, values: &[String]) -> String {
    let values = values.iter().map(|v| format!("\"{v}\"")).collect::<Vec<_>>().join(", ");
    let shown: String = values.chars().take(SHOWN).collect();
    let more = if shown.len() < values.len() { "..." } else { "" };
    format!("{} {name} {shown}{more}", rtype.as_str())
}
