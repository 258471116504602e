//! What has to change in the DNS: from what is wanted, what we wrote before, and what is there. Pure.
//!
//! The journal (`status.dns.records`) names every value before it is written, and keeps it until it is seen to be gone.
//! So whatever a crash leaves in the DNS is known to be ours, and nothing else is ever removed (I8, I10). The way of a
//! caller is: [`which`], read, [`plan`], write the journal if [`Plan::is_journaled`] says no, apply, and from the start
//! until there are no changes.

use super::records::{Mode, Record, equivalent};
use super::spf;
use crate::policy::Ownership;
use crate::policy::{ConflictPolicy, OnDelete, Purpose, RecordState, RecordStatus};
use crate::rr::{Change, RecordType, RrSet};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Absolute name.
    pub name: String,
    /// Type.
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

/// Whether an entry speaks of something that we wrote: a whole value (`Created`), or a term (`Adopted` with a term).
pub fn is_ours(e: &RecordStatus) -> bool {
    match e.ownership {
        Some(Ownership::Created) => true,
        Some(Ownership::Adopted) => e.term.is_some(),
        _ => false,
    }
}

fn same_record(a: &RecordStatus, b: &RecordStatus) -> bool {
    a.name == b.name && a.type_ == b.type_ && a.value == b.value && a.purpose == b.purpose
}

fn rtype_of(e: &RecordStatus) -> Option<RecordType> {
    match e.type_.as_str() {
        "MX" => Some(RecordType::MX),
        "TXT" => Some(RecordType::TXT),
        "CNAME" => Some(RecordType::CNAME),
        "SRV" => Some(RecordType::SRV),
        "TLSA" => Some(RecordType::TLSA),
        "CAA" => Some(RecordType::CAA),
        _ => None,
    }
}

/// The sets that [`plan`] must be given: those of the wanted records and of the journal, and a CNAME at each name, which
/// would stand in the way.
pub fn which(desired: &[Record], journal: &[RecordStatus]) -> Vec<(String, RecordType)> {
    let wanted = desired.iter().flat_map(|r| [(r.name.clone(), r.rtype), (r.name.clone(), RecordType::CNAME)]);
    let written = journal.iter().filter_map(|e| Some((e.name.clone(), rtype_of(e)?)));
    wanted.chain(written).collect::<BTreeSet<_>>().into_iter().collect()
}

/// One set while it is planned.
struct Work {
    before: RrSet,
    values: BTreeSet<String>,
    /// Our time to live, taken where every value that stays is ours.
    own_ttl: Option<u32>,
    /// Values that are kept or written for a wanted record.
    kept: BTreeSet<String>,
}

struct Planner<'a> {
    journal: &'a [RecordStatus],
    /// The journal's entries of MX are dealt with.
    mx_done: bool,
    sets: BTreeMap<(String, RecordType), Work>,
    out: Plan,
}

/// What has to change so that the wanted records are there and what we wrote before and want no longer is not.
///
/// A set that `live` lacks was not read: nothing is decided about it, and its part of the journal stays.
/// Entries of MX that are not wanted stay too: MX is only withdrawn by [`withdraw_mx`].
pub fn plan(desired: &[Record], journal: &[RecordStatus], live: &[RrSet], policy: &Policy) -> Plan {
    let sets = live
        .iter()
        .map(|set| {
            let work = Work {
                before: set.clone(),
                values: set.values.iter().cloned().collect(),
                own_ttl: None,
                kept: BTreeSet::new(),
            };
            ((set.name.clone(), set.rtype), work)
        })
        .collect();
    let mut p = Planner {
        journal,
        mx_done: false,
        sets,
        out: Plan { previous_mx: policy.previous_mx.clone(), ..Plan::default() },
    };
    for record in desired {
        let key = (record.name.clone(), record.rtype);
        if !p.sets.contains_key(&key) {
            let kept = journal.iter().filter(|e| p.is_for(e, record)).cloned().collect::<Vec<_>>();
            p.out.journal.extend(kept);
            continue;
        }
        if let Some(alias) = p.alias_at(record) {
            p.conflict(
                record,
                RecordState::Conflict,
                Some(alias),
                "a CNAME stands at this name, beside which nothing else can be: remove it",
            );
            continue;
        }
        match record.mode {
            Mode::Exclusive => p.exclusive(record, policy.conflict),
            Mode::SharedValues => p.shared(record),
            Mode::SpfTerm => p.spf(record, policy.conflict),
            Mode::Switch => p.switch(record, policy),
        }
    }
    p.leftovers();
    p.finish()
}

/// How the records stand, for whoever only looks. What the journal says of our own values stays word for word, since it is
/// what a withdrawal goes by; nothing else becomes ours. With it, what differs, by purpose and name.
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
    // Nor is it as declared where something stands beside it that would be taken away.
    let beside = desired.iter().filter(|r| matches!(r.mode, Mode::Exclusive | Mode::SpfTerm)).filter(|r| {
        let counts = |v: &&String| r.mode != Mode::SpfTerm || spf::is_spf(v);
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

impl Planner<'_> {
    fn is_for(&self, e: &RecordStatus, record: &Record) -> bool {
        e.name == record.name && e.type_ == record.rtype.as_str() && e.purpose == record.purpose
    }

    fn entry(&self, record: &Record, value: &str) -> Option<&RecordStatus> {
        self.journal.iter().find(|e| self.is_for(e, record) && e.value == value)
    }

    /// Whether the journal says that we wrote this whole value.
    fn wrote(&self, record: &Record, value: &str) -> bool {
        self.entry(record, value).is_some_and(|e| e.ownership == Some(Ownership::Created))
    }

    fn alias_at(&self, record: &Record) -> Option<String> {
        let set = self.sets.get(&(record.name.clone(), RecordType::CNAME))?;
        set.before.values.first().map(|target| format!("CNAME {target}"))
    }

    fn live(&self, record: &Record) -> BTreeSet<String> {
        let set = self.sets.get(&(record.name.clone(), record.rtype));
        set.map(|s| s.before.values.iter().cloned().collect()).unwrap_or_default()
    }

    fn put(
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
            observed: None,
            message: None,
        });
        let at = self.out.journal.len() - 1;
        &mut self.out.journal[at]
    }

    /// Keeps a live value: ours if the journal says that we wrote it, else only looked at.
    fn keep(&mut self, record: &Record, value: &str) {
        let ownership = if self.wrote(record, value) { Ownership::Created } else { Ownership::Observed };
        self.put(record, value, RecordState::Ok, Some(ownership));
        self.edit(record, |set| {
            set.kept.insert(value.into());
        });
    }

    fn create(&mut self, record: &Record, value: &str) {
        self.put(record, value, RecordState::Missing, Some(Ownership::Created));
        self.edit(record, |set| {
            set.values.insert(value.into());
            set.kept.insert(value.into());
        });
    }

    fn edit(&mut self, record: &Record, f: impl FnOnce(&mut Work)) {
        if let Some(set) = self.sets.get_mut(&(record.name.clone(), record.rtype)) {
            f(set);
        }
    }

    fn conflict(&mut self, record: &Record, state: RecordState, observed: Option<String>, message: &str) {
        for value in &record.values {
            // What we wrote and is still there stays known as ours.
            let ours = self.live(record).contains(value) && self.wrote(record, value);
            let entry = self.put(record, value, state, ours.then_some(Ownership::Created));
            entry.observed = observed.clone();
            entry.message = Some(message.into());
            self.edit(record, |set| {
                set.kept.insert(value.clone());
            });
        }
        self.out.conflicts.push(Conflict {
            name: record.name.clone(),
            rtype: record.rtype,
            purpose: record.purpose,
            message: message.into(),
        });
    }

    fn exclusive(&mut self, record: &Record, policy: ConflictPolicy) {
        let live = self.live(record);
        let wanted: BTreeSet<String> = record.values.iter().cloned().collect();
        // The same in other words, not by us: that is as good.
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
            let entry = self.put(record, &value, RecordState::Ok, Some(Ownership::Adopted));
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

    fn shared(&mut self, record: &Record) {
        let live = self.live(record);
        for value in &record.values {
            if live.contains(value) { self.keep(record, value) } else { self.create(record, value) }
        }
        self.edit(record, |set| set.own_ttl = Some(record.ttl));
    }

    fn switch(&mut self, record: &Record, policy: &Policy) {
        self.mx_done = true;
        let live = self.live(record);
        let wanted: BTreeSet<String> = record.values.iter().cloned().collect();
        let entries: Vec<RecordStatus> = self.journal.iter().filter(|e| self.is_for(e, record)).cloned().collect();
        let wrote = |v: &String| entries.iter().any(|e| e.ownership == Some(Ownership::Created) && &e.value == v);
        if live == wanted {
            return wanted.iter().for_each(|value| self.keep(record, value));
        }
        if !policy.switch_mx {
            // What we wrote stays known as ours, whether it is there or not: it may yet be put back.
            for value in &wanted {
                let ownership = wrote(value).then_some(Ownership::Created);
                let state = if live.contains(value) { RecordState::Wrong } else { RecordState::Missing };
                let entry = self.put(record, value, state, ownership);
                entry.observed = Some(live.iter().cloned().collect::<Vec<_>>().join(" | ")).filter(|o| !o.is_empty());
            }
            for old in
                entries.into_iter().filter(|e| is_ours(e) && !wanted.contains(&e.value) && live.contains(&e.value))
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
            self.out.previous_mx = Some(PreviousMx { ttl: if values.is_empty() { 0 } else { ttl }, values });
        }
        for value in &wanted {
            let state = if live.contains(value) { RecordState::Ok } else { RecordState::Missing };
            self.put(record, value, state, Some(Ownership::Created));
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

    fn spf(&mut self, record: &Record, policy: ConflictPolicy) {
        let (Some(own), Some(term)) = (record.values.first().cloned(), record.term.clone()) else { return };
        let live: Vec<String> = self.live(record).into_iter().filter(|v| spf::is_spf(v)).collect();
        let entries: Vec<RecordStatus> =
            self.journal.iter().filter(|e| self.is_for(e, record) && is_ours(e)).cloned().collect();
        let whole = |v: &String| entries.iter().any(|e| e.ownership == Some(Ownership::Created) && &e.value == v);
        // A bare `v=spf1 -all` of the tenant with our term in it reads like a record of ours: the journal knows better.
        let merged_in = |v: &String| entries.iter().any(|e| e.ownership == Some(Ownership::Adopted) && &e.value == v);
        let foreign: Vec<String> = live.iter().filter(|v| !whole(v) && (**v != own || merged_in(v))).cloned().collect();
        let chosen = match foreign.as_slice() {
            [] => {
                // Ours, or nobody's; an equal record that we did not write is kept, and is not ours.
                if live.contains(&own) {
                    self.keep(record, &own)
                } else {
                    self.create(record, &own)
                }
                if let Some(e) = self.out.journal.last_mut().filter(|e| is_ours(e)) {
                    e.term = Some(term);
                }
                // Older records of ours that are still there are taken away as leftovers.
                return self.edit(record, |set| set.own_ttl = Some(record.ttl));
            }
            // Beside the tenant's record ours has to go: its term moves into theirs. If ours was not written by us
            // there are two records of others.
            [one] if live.iter().all(|v| v == one || whole(v)) => Ok(one.clone()),
            _ => Err(spf::SpfProblem::Several(live.len())),
        };
        // Terms that we put in earlier and want no longer make room for the new one.
        let outdated: Vec<&RecordStatus> =
            entries.iter().filter(|e| e.term.as_ref().is_some_and(|t| *t != term)).collect();
        let merged = chosen.and_then(|text| {
            let base = outdated.iter().filter_map(|e| e.term.as_deref()).fold(text.clone(), |r, t| spf::unmerge(&r, t));
            // A term that is there without us is theirs. One that we put there stays ours, in whatever the tenant made
            // of the record since.
            let theirs =
                spf::has(&base, &term) && !entries.iter().any(|e| e.term.as_deref() == Some(&term) && may_hold_term(e));
            Ok((spf::merge(&base, &term)?, text, theirs))
        });
        match merged {
            Ok((merged, text, theirs)) => {
                let state = if merged == text { RecordState::Ok } else { RecordState::Missing };
                let ownership = if theirs { Ownership::Observed } else { Ownership::Adopted };
                self.put(record, &merged, state, Some(ownership)).term = (!theirs).then_some(term.clone());
                // The old terms are in the record until the change is made.
                let stale: Vec<RecordStatus> = outdated
                    .into_iter()
                    .filter(|e| e.term.as_deref().is_some_and(|t| spf::has(&text, t)))
                    .cloned()
                    .collect();
                self.out.journal.extend(stale.into_iter().map(leaving));
                self.edit(record, |set| {
                    set.values.remove(&text);
                    set.values.insert(merged.clone());
                    set.kept.insert(merged);
                });
            }
            Err(_) if policy == ConflictPolicy::Overwrite => {
                self.put(record, &own, RecordState::Missing, Some(Ownership::Created)).term = Some(term);
                self.edit(record, |set| {
                    set.values.retain(|v| !spf::is_spf(v));
                    set.values.insert(own.clone());
                    set.kept.insert(own);
                });
            }
            Err(_) if policy == ConflictPolicy::Adopt && live.len() == 1 => {
                let entry = self.put(record, &foreign[0], RecordState::Ok, Some(Ownership::Adopted));
                entry.message = Some("kept as it was found (conflictPolicy: Adopt)".into());
            }
            Err(problem) => {
                let state = if live.len() > 1 { RecordState::Duplicate } else { RecordState::Conflict };
                self.conflict(record, state, Some(live.join(" | ")), &problem.to_string());
                // What is ours in there stays, and stays known as ours, until the tenant has decided.
                for e in &entries {
                    let there = live.contains(&e.value)
                        || e.term.as_deref().is_some_and(|t| may_hold_term(e) && live.iter().any(|v| spf::has(v, t)));
                    if there && !self.out.journal.iter().any(|n| same_record(n, e)) {
                        let message = Some(problem.to_string());
                        self.out.journal.push(RecordStatus { state, message, ..e.clone() });
                    }
                }
            }
        }
    }

    /// What we wrote and want no longer: taken away where it is, forgotten where it is not.
    fn leftovers(&mut self) {
        for e in self.journal.iter().filter(|e| is_ours(e)) {
            if self
                .out
                .journal
                .iter()
                .any(|n| same_record(n, e) && (n.term == e.term || n.ownership == Some(Ownership::Created)))
            {
                continue;
            }
            let Some(set) = rtype_of(e).and_then(|t| self.sets.get_mut(&(e.name.clone(), t))) else {
                if !self.out.journal.iter().any(|n| same_record(n, e)) {
                    self.out.journal.push(e.clone());
                }
                continue;
            };
            if e.purpose == Purpose::MX {
                if !self.mx_done && !self.out.journal.iter().any(|n| same_record(n, e)) {
                    self.out.journal.push(e.clone());
                }
                continue;
            }
            let mut gone = false;
            if e.ownership == Some(Ownership::Created) && set.before.values.contains(&e.value) {
                gone = !set.kept.contains(&e.value) && set.values.remove(&e.value);
            } else if let Some(term) = e.term.as_ref().filter(|_| may_hold_term(e)) {
                // The record as it is now, which the tenant may have changed since.
                let wanted = self
                    .out
                    .journal
                    .iter()
                    .any(|n| n.name == e.name && n.purpose == e.purpose && n.term.as_ref() == Some(term));
                let holder = set.values.iter().find(|v| spf::has(v, term)).cloned();
                if let (Some(text), false) = (holder, wanted) {
                    set.values.remove(&text);
                    let rest = spf::unmerge(&text, term);
                    if set.kept.remove(&text) {
                        set.kept.insert(rest.clone());
                    }
                    set.values.insert(rest);
                    gone = true;
                }
            }
            if gone {
                self.out.journal.push(leaving(e.clone()));
            }
        }
    }

    fn finish(mut self) -> Plan {
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
        self.out
    }
}

/// Whether a term found in a live record can be the one of this entry. A record of our own that was never seen in place
/// and stands there in other words was not written by us.
fn may_hold_term(e: &RecordStatus) -> bool {
    e.ownership != Some(Ownership::Created) || e.state != RecordState::Missing
}

/// An entry of a value that is about to go.
fn leaving(mut e: RecordStatus) -> RecordStatus {
    e.state = RecordState::Propagating;
    e.observed = None;
    e.message = Some("is being taken away".into());
    e
}

/// MX on the way out (I7: before anything else). Only what is still ours is changed: a set that others made since stays,
/// and of a mixed set only our values go. The journal loses its MX entries once there is nothing left to change.
pub fn withdraw_mx(journal: &[RecordStatus], live: &RrSet, on_delete: OnDelete, previous: Option<&PreviousMx>) -> Plan {
    let ours: BTreeSet<&String> = journal
        .iter()
        .filter(|e| e.purpose == Purpose::MX && e.name == live.name && is_ours(e))
        .map(|e| &e.value)
        .collect();
    let mut plan = Plan { previous_mx: previous.cloned(), ..Plan::default() };
    let none = PreviousMx::default();
    let before = previous.unwrap_or(&none);
    let restored = on_delete == OnDelete::RestorePrevious && live.values == before.values;
    let mut after = live.clone();
    if !restored && live.values.iter().any(|v| ours.contains(v)) {
        if live.values.iter().all(|v| ours.contains(v)) {
            (after.values, after.ttl) = match on_delete {
                OnDelete::RestorePrevious if !before.values.is_empty() => (before.values.clone(), before.ttl),
                OnDelete::NullMX => (vec!["0 .".into()], live.ttl),
                OnDelete::RestorePrevious | OnDelete::Remove => (vec![], live.ttl),
            };
        } else {
            after.values.retain(|v| !ours.contains(v) || before.values.contains(v));
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

/// The rest on the way out, after [`withdraw_mx`]: our values and terms that are still there go. Ends when
/// [`Plan::is_withdrawn`] is true.
pub fn withdraw_rest(journal: &[RecordStatus], live: &[RrSet]) -> Plan {
    plan(&[], journal, live, &Policy { conflict: ConflictPolicy::Refuse, switch_mx: false, previous_mx: None })
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
