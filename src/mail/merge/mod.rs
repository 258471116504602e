//! Which changes of the DNS are needed, from what is wanted, what the operator wrote before, and what is there. Pure.
//!
//! The journal (`status.dns.records`) names every value before it is written, and keeps it until it is seen
//! to be gone. So whatever a crash leaves in the DNS is known to be ours, and nothing else is ever removed
//! (I8, I10). A caller goes through these steps until there are no changes: [`which`], read, [`plan()`], write
//! the journal unless [`Plan::is_journaled`], apply.

mod exclusive;
mod journal;
mod leftovers;
mod marker;
mod mx;
mod occupied;
mod plan;
mod planner;
mod shared;
mod spf;

pub use journal::{is_good_mx, is_leaving, is_our_mx, is_ours, leads_here};
pub use marker::{Writer, is_taken_over, plan_with_marker, recovered, without_lost_mx};
pub use mx::{seen_mx_ttl, while_mx_is, withdraw_mx};
pub use plan::{Conflict, Plan, Policy, PreviousMx};
pub use planner::in_words;

use crate::policy::{ConflictPolicy, Ownership, Purpose, RecordState, RecordStatus};
use crate::records::{Mode, Record};
use crate::rr::{RecordType, RrSet};
use crate::spf::is_spf;
use journal::{rtype_of, same_record};
use occupied::BESIDE_ALIAS;
use planner::Planner;
use std::collections::BTreeSet;

/// The sets that [`plan()`] needs: those of the wanted records and of the journal, the CNAME of each name, beside
/// which no other record may be, and the LUA records, which may answer in the place of any type. Where a CNAME is wanted, all
/// others.
pub fn which(desired: &[Record], journal: &[RecordStatus]) -> Vec<(String, RecordType)> {
    let at = |r: &Record| {
        let others = if r.rtype == RecordType::CNAME { BESIDE_ALIAS } else { &[RecordType::CNAME, RecordType::LUA] };
        others.iter().chain([&r.rtype]).map(|rtype| (r.name.clone(), *rtype)).collect::<Vec<_>>()
    };
    let wanted = desired.iter().flat_map(at);
    let written = journal.iter().filter_map(|e| Some((e.name.clone(), rtype_of(e)?)));
    wanted.chain(written).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The changes after which the wanted records are there, and what we wrote before and do not want any more is gone.
///
/// A set that is not in `live` was not read: nothing is decided about it, and its entries of the journal stay.
/// Entries of MX that are not wanted stay too: MX is only withdrawn by [`withdraw_mx`].
pub fn plan(desired: &[Record], journal: &[RecordStatus], live: &[RrSet], policy: &Policy) -> Plan {
    let mut p = Planner::new(journal, live, policy.previous_mx.clone());
    for record in desired {
        let key = (record.name.clone(), record.rtype);
        if !p.sets.contains_key(&key) {
            let kept = journal.iter().filter(|e| p.is_for(e, record)).cloned().collect::<Vec<_>>();
            p.out.journal.extend(kept);
            continue;
        }
        if !p.makes_room(record, policy.conflict) {
            continue;
        }
        match record.mode {
            Mode::Exclusive => p.exclusive(record, policy.conflict),
            Mode::SharedValues => p.shared(record),
            Mode::SpfTerm => p.spf(record, policy.conflict),
            Mode::Switch => p.switch(record, policy),
        }
    }
    p.keep_seen_mx();
    p.leftovers();
    p.finish()
}

/// For `managementPolicy: Observe`: the records as they are, and which of them differ, by purpose and name.
/// Entries of the journal for our own values stay as they are, because they decide what a withdrawal removes.
/// No other value becomes ours.
pub fn compare(
    desired: &[Record],
    journal: &[RecordStatus],
    live: &[RrSet],
    conflict: ConflictPolicy,
) -> (Vec<RecordStatus>, BTreeSet<(Purpose, String)>) {
    let policy = Policy { conflict, switch_mx: false, previous_mx: None };
    let Plan { journal: found, changes, .. } = plan(desired, journal, live, &policy);
    let wanted = |e: &&RecordStatus| desired.iter().any(|r| r.name == e.name && r.purpose == e.purpose);
    let differ = found.iter().filter(wanted).filter(|e| !matches!(e.state, RecordState::Ok | RecordState::Propagating));
    // A record also differs where its set has another value that would be removed.
    let beside = desired.iter().filter(|r| matches!(r.mode, Mode::Exclusive | Mode::SpfTerm)).filter(|r| {
        let counts = |v: &&String| r.mode != Mode::SpfTerm || is_spf(v);
        changes.iter().filter(|c| c.before.name == r.name && c.before.rtype == r.rtype).any(|c| {
            let (before, after) = (c.before.values.iter().filter(counts), c.after.values.iter().filter(counts));
            !before.eq(after)
        })
    });
    let differing =
        differ.map(|e| (e.purpose, e.name.clone())).chain(beside.map(|r| (r.purpose, r.name.clone()))).collect();
    let mut records: Vec<RecordStatus> = journal.iter().filter(|e| is_ours(e)).cloned().collect();
    for entry in found {
        if !records.iter().any(|own| same_record(own, &entry)) {
            let ownership = entry.ownership.filter(|o| *o == Ownership::Observed);
            records.push(RecordStatus { ownership, term: None, ..entry });
        }
    }
    (records, differing)
}

/// The changes of a deletion after [`withdraw_mx`]: our values and terms that are still there are
/// removed. Repeat it until [`Plan::is_withdrawn`].
pub fn withdraw_rest(journal: &[RecordStatus], live: &[RrSet]) -> Plan {
    plan(&[], journal, live, &Policy { conflict: ConflictPolicy::Refuse, switch_mx: false, previous_mx: None })
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
