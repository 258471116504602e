//! MX: the set is replaced as a whole when the domain is cut over (I7), and restored on deletion.

use super::journal::{is_good_mx, is_our_mx, is_ours, leaving};
use super::plan::{Plan, Policy, PreviousMx};
use super::planner::Planner;
use crate::mx;
use crate::policy::{OnDelete, Ownership, Purpose, RecordState, RecordStatus};
use crate::records::{Record, before_switch};
use crate::rr::{Change, RecordType, RrSet};
use std::borrow::Cow;
use std::collections::BTreeSet;

impl Planner<'_> {
    pub(super) fn switch(&mut self, record: &Record, policy: &Policy) {
        self.mx_done = true;
        let live = self.live(record);
        let wanted: BTreeSet<String> = record.values.iter().cloned().collect();
        let entries: Vec<RecordStatus> = self.journal.iter().filter(|e| self.is_for(e, record)).cloned().collect();
        let wrote = |v: &String| entries.iter().any(|e| e.ownership == Some(Ownership::Created) && &e.value == v);
        // What was taken out may still be shown by a secondary: known until every server was seen to show the set as it is now.
        let leaves = |e: &&RecordStatus| {
            e.state == RecordState::Propagating && is_ours(e) && !wanted.contains(&e.value) && !live.contains(&e.value)
        };
        self.out.journal.extend(entries.iter().filter(leaves).cloned());
        if live == wanted {
            return wanted.iter().for_each(|value| self.keep(record, value));
        }
        if !policy.switch_mx {
            // What we wrote stays known as ours, whether it is there or not: it may yet be put back.
            for value in &wanted {
                let ownership = wrote(value).then_some(Ownership::Created);
                let state = if live.contains(value) { RecordState::Wrong } else { RecordState::Missing };
                let entry = self.add_entry(record, value, state, ownership);
                entry.observed = Some(live.iter().cloned().collect::<Vec<_>>().join(" | ")).filter(|o| !o.is_empty());
            }
            // Nor is it forgotten that MX leads here, when the host is not declared any more.
            let known = |e: &RecordStatus| is_ours(e) || is_good_mx(e);
            for old in entries.into_iter().filter(|e| known(e) && !wanted.contains(&e.value) && live.contains(&e.value))
            {
                self.out.journal.push(old);
            }
            let values: Vec<String> = live.into_iter().collect();
            return self.edit(record, |set| set.kept.extend(values));
        }
        // A set without any value of ours is what the domain had; once ours was seen in place, what others put there
        // later is drift, and not what goes back on deletion.
        let seen = entries.iter().any(|e| e.ownership == Some(Ownership::Created) && e.state != RecordState::Missing);
        let foreign_set = !live.is_empty() && !live.iter().any(wrote) && !seen;
        if self.out.previous_mx.is_none() || foreign_set {
            let ttl = self.sets.get(&(record.name.clone(), record.rtype)).map(|s| s.before.ttl).unwrap_or_default();
            let values: Vec<String> = live.iter().cloned().collect();
            let found = PreviousMx { ttl: if values.is_empty() { 0 } else { ttl }, values };
            let known = |p: &PreviousMx| p.ttl == found.ttl && p.canonical() == found.values;
            if !self.out.previous_mx.as_ref().is_some_and(known) {
                self.out.previous_mx = Some(found);
            }
        }
        for value in &wanted {
            let state = if live.contains(value) { RecordState::Ok } else { RecordState::Missing };
            self.add_entry(record, value, state, Some(Ownership::Created));
        }
        let stale: Vec<RecordStatus> = entries
            .iter()
            .filter(|e| is_ours(e) && live.contains(&e.value) && !wanted.contains(&e.value))
            .cloned()
            .collect();
        self.out.journal.extend(stale.into_iter().map(leaving));
        self.edit(record, |set| {
            set.values = wanted.clone();
            set.kept = wanted;
            set.own_ttl = Some(record.ttl);
        });
    }
}

impl Planner<'_> {
    /// Where MX is not planned: that it was seen to lead here is not forgotten for as long as it does. A deletion waits for it.
    pub(super) fn keep_seen_mx(&mut self) {
        if self.mx_done {
            return;
        }
        let leads = |e: &&RecordStatus| {
            let set = self.sets.get(&(e.name.clone(), RecordType::MX));
            set.is_none_or(|s| s.before.values.iter().any(|v| mx::same_host(v, &e.value)))
        };
        let seen = self.journal.iter().filter(|e| is_good_mx(e) && !is_ours(e)).filter(leads).cloned();
        self.out.journal.extend(seen.collect::<Vec<_>>());
    }
}

/// The records for an MX that is not switched now, as it was read: where it does not lead here, they are those of before the
/// switch, whatever the journal remembers. Somebody else may have taken it out since it was written or seen.
pub fn while_mx_is<'a>(desired: &'a [Record], journal: &[RecordStatus], live: &[RrSet]) -> Cow<'a, [Record]> {
    let wanted = desired.iter().filter(|r| r.purpose == Purpose::MX).flat_map(|r| &r.values);
    let known = journal.iter().filter(|e| is_our_mx(e) || is_good_mx(e)).map(|e| &e.value);
    let hosts: Vec<&String> = wanted.chain(known).collect();
    let mut sets = live
        .iter()
        .filter(|s| s.rtype == RecordType::MX && desired.iter().any(|r| r.purpose == Purpose::MX && r.name == s.name));
    match sets.next() {
        Some(set) if !mx::any_leads_to(&set.values, &hosts) => Cow::Owned(before_switch(desired.to_vec())),
        _ => Cow::Borrowed(desired),
    }
}

/// Time to live in seconds of the MX that the journal says was seen to lead here; none: no set of `live` has it.
pub fn seen_mx_ttl(journal: &[RecordStatus], live: &[RrSet]) -> Option<u32> {
    let hosts: Vec<&String> = journal.iter().filter(|e| is_good_mx(e)).map(|e| &e.value).collect();
    let sets: Vec<RrSet> = live.iter().filter(|s| s.rtype == RecordType::MX).cloned().collect();
    mx::leads_to(&sets, &hosts).map(|(_, ttl)| ttl)
}

/// The change of MX when the domain is deleted (I7: before anything else). Only what is still ours is changed: a set
/// that others wrote since stays, and of a mixed set only our values are removed. The journal loses its MX entries once
/// there is nothing left to change.
pub fn withdraw_mx(journal: &[RecordStatus], live: &RrSet, on_delete: OnDelete, previous: Option<&PreviousMx>) -> Plan {
    let ours: BTreeSet<&String> = journal
        .iter()
        .filter(|e| e.purpose == Purpose::MX && e.name == live.name && is_ours(e))
        .map(|e| &e.value)
        .collect();
    let mut plan = Plan { previous_mx: previous.cloned(), ..Plan::default() };
    let none = PreviousMx::default();
    let before = previous.unwrap_or(&none);
    let theirs = before.canonical();
    let restored = on_delete == OnDelete::RestorePrevious && live.values == theirs;
    let mut after = live.clone();
    if !restored && live.values.iter().any(|v| ours.contains(v)) {
        if live.values.iter().all(|v| ours.contains(v)) {
            (after.values, after.ttl) = match on_delete {
                OnDelete::RestorePrevious if !before.values.is_empty() => (before.values.clone(), before.ttl),
                OnDelete::NullMX => (vec!["0 .".into()], live.ttl),
                OnDelete::RestorePrevious | OnDelete::Remove => (vec![], live.ttl),
            };
        } else {
            after.values.retain(|v| !ours.contains(v) || theirs.contains(v));
        }
    }
    if after.values != live.values {
        plan.journal = journal.to_vec();
        plan.changes.push(Change { before: live.clone(), after });
    } else {
        plan.journal = journal.iter().filter(|e| e.purpose != Purpose::MX).cloned().collect();
    }
    plan
}
