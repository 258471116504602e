//! SPF: one term in the only SPF record of a name, whoever wrote that record.

use super::exclusive::KEPT_AS_FOUND;
use super::journal::{is_ours, leaving, may_hold_term, same_record};
use super::planner::Planner;
use crate::policy::{ConflictPolicy, Ownership, RecordState, RecordStatus};
use crate::records::Record;
use crate::spf;

/// The SPF records of the name, and what we know of them.
struct Found {
    /// SPF records of the live set.
    live: Vec<String>,
    /// Entries of the journal for this record about something that we wrote.
    entries: Vec<RecordStatus>,
    /// Records of `live` that others wrote.
    foreign: Vec<String>,
}

/// The record of others as it will be.
struct Merged {
    before: String,
    after: String,
    /// The term was there without us.
    theirs: bool,
    /// It was a record of ours, which others changed.
    edited: bool,
}

impl Found {
    fn wrote(&self, value: &str) -> bool {
        self.entries.iter().any(|e| e.ownership == Some(Ownership::Created) && e.value == value)
    }

    /// Entries with terms that we put in earlier and do not want any more.
    fn outdated<'a>(&'a self, term: &'a str) -> impl Iterator<Item = &'a RecordStatus> {
        self.entries.iter().filter(move |e| e.term.as_ref().is_some_and(|t| t != term))
    }

    /// Our term in the record of others.
    fn merge(&self, term: &str) -> Result<Merged, spf::SpfProblem> {
        // One name has one SPF record, so a record of ours is removed and its term moves into the tenant's. With more
        // than one record of others nothing can be merged.
        let before = match self.foreign.as_slice() {
            [one] if self.live.iter().all(|v| v == one || self.wrote(v)) => one.clone(),
            _ => return Err(spf::SpfProblem::Several(self.live.len())),
        };
        // Outdated terms make room for the new one.
        let base =
            self.outdated(term).filter_map(|e| e.term.as_deref()).fold(before.clone(), |r, t| spf::unmerge(&r, t));
        // A term that is there without us is theirs. One that we put there stays ours, in whatever the tenant made of
        // the record since.
        let put_in = self.entries.iter().any(|e| e.term.as_deref() == Some(term) && may_hold_term(e));
        let has = spf::has(&base, term);
        let theirs = has && !put_in;
        let made =
            |e: &RecordStatus| e.edited || e.ownership == Some(Ownership::Created) && !self.live.contains(&e.value);
        let edited = has && put_in && self.entries.iter().any(|e| e.term.as_deref() == Some(term) && made(e));
        Ok(Merged { edited, after: spf::merge(&base, term)?, before, theirs })
    }
}

impl Planner<'_> {
    pub(super) fn spf(&mut self, record: &Record, policy: ConflictPolicy) {
        let (Some(own), Some(term)) = (record.values.first(), record.term.as_ref()) else { return };
        let found = self.spf_found(record, own);
        if found.foreign.is_empty() {
            return self.spf_of_our_own(record, own, term, &found);
        }
        match found.merge(term) {
            Ok(merged) => self.spf_merged(record, term, &found, merged),
            Err(_) if policy == ConflictPolicy::Overwrite => self.spf_overwritten(record, own, term),
            Err(_) if policy == ConflictPolicy::Adopt && found.live.len() == 1 => {
                let entry = self.add_entry(record, &found.foreign[0], RecordState::Ok, Some(Ownership::Adopted));
                entry.message = Some(KEPT_AS_FOUND.into());
            }
            Err(problem) => self.spf_conflict(record, &found, &problem),
        }
    }

    fn spf_found(&self, record: &Record, own: &str) -> Found {
        let live: Vec<String> = self.live(record).into_iter().filter(|v| spf::is_spf(v)).collect();
        let entries = self.journal.iter().filter(|e| self.is_for(e, record) && is_ours(e)).cloned().collect();
        let mut found = Found { live, entries, foreign: Vec::new() };
        // A bare `v=spf1 -all` of the tenant with our term in it reads like a record of ours: the journal knows better.
        let merged_in = |v: &str| found.entries.iter().any(|e| e.ownership == Some(Ownership::Adopted) && e.value == v);
        let foreign = found.live.iter().filter(|v| !found.wrote(v) && (*v != own || merged_in(v)));
        found.foreign = foreign.cloned().collect();
        found
    }

    /// No record of others is there. An equal record that we did not write is kept, and does not become ours. Older
    /// records of ours that are still there are removed as leftovers.
    fn spf_of_our_own(&mut self, record: &Record, own: &str, term: &str, found: &Found) {
        if found.live.iter().any(|v| v == own) {
            self.keep(record, own)
        } else {
            self.create(record, own)
        }
        if let Some(e) = self.out.journal.last_mut().filter(|e| is_ours(e)) {
            e.term = Some(term.into());
        }
        self.edit(record, |set| set.own_ttl = Some(record.ttl));
    }

    fn spf_merged(&mut self, record: &Record, term: &str, found: &Found, merged: Merged) {
        let Merged { before, after, theirs, edited } = merged;
        let state = if after == before { RecordState::Ok } else { RecordState::Missing };
        let ownership = if theirs { Ownership::Observed } else { Ownership::Adopted };
        let entry = self.add_entry(record, &after, state, Some(ownership));
        (entry.term, entry.edited) = ((!theirs).then(|| term.into()), edited);
        // The outdated terms are in the record until the change is made.
        let still_in = |e: &&RecordStatus| e.term.as_deref().is_some_and(|t| spf::has(&before, t));
        self.out.journal.extend(found.outdated(term).filter(still_in).cloned().map(leaving));
        self.edit(record, |set| {
            set.values.remove(&before);
            set.values.insert(after.clone());
            set.kept.insert(after);
        });
    }

    fn spf_overwritten(&mut self, record: &Record, own: &str, term: &str) {
        self.add_entry(record, own, RecordState::Missing, Some(Ownership::Created)).term = Some(term.into());
        self.edit(record, |set| {
            set.values.retain(|v| !spf::is_spf(v));
            set.values.insert(own.into());
            set.kept.insert(own.into());
        });
    }

    /// Nothing is changed until the tenant has decided, and the journal keeps what is ours.
    fn spf_conflict(&mut self, record: &Record, found: &Found, problem: &spf::SpfProblem) {
        let Found { live, entries, .. } = found;
        let state = if live.len() > 1 { RecordState::Duplicate } else { RecordState::Conflict };
        self.conflict(record, state, (record.rtype, live), &problem.to_string());
        for e in entries {
            let there = live.contains(&e.value)
                || e.term.as_deref().is_some_and(|t| may_hold_term(e) && live.iter().any(|v| spf::has(v, t)));
            if there && !self.out.journal.iter().any(|n| same_record(n, e)) {
                let message = Some(problem.to_string());
                self.out.journal.push(RecordStatus { state, message, ..e.clone() });
            }
        }
    }
}
