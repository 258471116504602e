//! The marker of a domain ([`Marker`]): written with the records, and read where another cluster may write them too, or where
//! the journal is lost.

use super::journal::{is_ours, same_record};
use super::plan::{Conflict, Plan, Policy, PreviousMx};
use super::planner::in_words;
use super::{plan, which};
use crate::mx;
use crate::policy::{ConflictPolicy, Ownership, Purpose, RecordState, RecordStatus};
use crate::records::{Manager, Marker, Mode, Record, challenge_name, marker_name, soften, with_token};
use crate::rr::{RecordType, RrSet};
use crate::spf;
use std::collections::BTreeSet;

/// Who writes the records of a domain, for its marker.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The domain.
    pub domain: &'a str,
    /// Time to live of the marker, in seconds.
    pub ttl: u32,
    /// The MailDomain.
    pub manager: &'a Manager,
    /// Its token, which is another one for each MailDomain: that of its challenge.
    pub token: &'a str,
    /// Whether it may go on where another MailDomain of the same place ended.
    pub recovers: bool,
}

impl Writer<'_> {
    /// Whether what `marker` says was done by this MailDomain, or by one that it replaces.
    fn is_own(&self, marker: &Marker) -> bool {
        marker.manager.owner == self.manager.owner && (marker.token == self.token || self.recovers)
    }

    /// Whether another cluster writes the records. Within a cluster it is the claim that says whose a name is.
    fn is_of_another(&self, marker: &Marker) -> bool {
        marker.manager.cluster != self.manager.cluster && !self.is_own(marker)
    }

    /// The sets that [`plan_with_marker`] needs.
    pub fn which(&self, desired: &[Record], journal: &[RecordStatus]) -> Vec<(String, RecordType)> {
        which(&[desired, &[self.any_record()]].concat(), journal)
    }

    fn record(&self, made: BTreeSet<Purpose>, previous_mx: Option<PreviousMx>) -> Record {
        let (manager, token) = (self.manager.clone(), self.token.to_owned());
        Marker { manager, token, made, previous_mx }.record(self.domain, self.ttl)
    }

    /// The record as far as its name counts.
    fn any_record(&self) -> Record {
        self.record(BTreeSet::new(), None)
    }
}

/// The texts of the set at the name of the marker.
fn texts<'a>(domain: &str, live: &'a [RrSet]) -> &'a [String] {
    let name = marker_name(domain);
    live.iter().find(|s| s.rtype == RecordType::TXT && s.name == name).map_or(&[], |s| &s.values)
}

/// [`plan()`] with the marker, which says what was made of `desired`. Where another cluster's is there nothing is changed.
pub fn plan_with_marker(
    writer: &Writer<'_>,
    desired: &[Record],
    journal: &[RecordStatus],
    live: &[RrSet],
    policy: &Policy,
) -> Plan {
    let markers: Vec<(&String, Marker)> =
        texts(writer.domain, live).iter().filter_map(|t| Some((t, Marker::parse(t)?))).collect();
    let was_ours = journal.iter().any(|e| e.purpose == Purpose::Marker && is_ours(e));
    let overwrites = policy.conflict == ConflictPolicy::Overwrite && !was_ours;
    if let Some((text, marker)) = markers.iter().find(|(_, m)| writer.is_of_another(m) && !overwrites) {
        return left_to_another(writer, text, &marker.manager, journal, policy);
    }
    // Those of before are ours to take out: of this place, of one that had the name before, and of whom we replace.
    let mut known = journal.to_vec();
    for (text, _) in &markers {
        if !journal.iter().any(|e| e.purpose == Purpose::Marker && &e.value == *text) {
            known.push(entry(&writer.any_record(), text, None));
        }
    }
    let first = plan(desired, &known, live, policy);
    // MX stays as it is, and is not planned, while a new host in it is not proven.
    let wanted = |e: &&RecordStatus| e.purpose == Purpose::MX || desired.iter().any(|r| r.purpose == e.purpose);
    // Of a purpose with several records all must be: one of somebody else would be taken for ours.
    let found = |e: &&RecordStatus| {
        first.journal.iter().any(|o| o.purpose == e.purpose && !is_ours(o) && o.ownership.is_some())
    };
    let made = first.journal.iter().filter(|e| is_ours(e) && e.purpose != Purpose::Marker);
    let made = made.filter(wanted).filter(|e| !found(e)).map(|e| e.purpose).collect();
    let marker = writer.record(made, first.previous_mx);
    plan(&[desired, &[marker]].concat(), &known, live, policy)
}

/// Nothing is changed: another cluster writes the records.
fn left_to_another(
    writer: &Writer<'_>,
    text: &str,
    other: &Manager,
    journal: &[RecordStatus],
    policy: &Policy,
) -> Plan {
    let record = writer.any_record();
    let there = in_words(&record.name, RecordType::TXT, &[text.to_owned()]);
    // Of a rebuilt cluster: the platform team has a better way.
    let heir = other.owner == writer.manager.owner;
    let or = if heir { ", or let spec.recovery of the GroupwareBackend name the namespace" } else { "" };
    let message = format!(
        "{there}: the cluster with the id {} writes the records of {}, so nothing is written from here. If it does not \
         any more, remove this record{or}",
        other.cluster, writer.domain
    );
    let mut entries: Vec<RecordStatus> = journal.iter().filter(|e| e.purpose != Purpose::Marker).cloned().collect();
    let mut ours: Vec<RecordStatus> = journal.iter().filter(|e| e.purpose == Purpose::Marker).cloned().collect();
    if ours.is_empty() {
        ours.push(RecordStatus { ownership: None, ..entry(&record, &record.values[0], None) });
    }
    for e in &mut ours {
        (e.state, e.observed, e.message) = (RecordState::Conflict, Some(text.to_owned()), Some(message.clone()));
    }
    entries.extend(ours);
    let conflict = Conflict { name: record.name, rtype: record.rtype, purpose: record.purpose, message };
    Plan { journal: entries, previous_mx: policy.previous_mx.clone(), conflicts: vec![conflict], changes: vec![] }
}

/// The entry of a value that we made.
fn entry(record: &Record, value: &str, term: Option<&String>) -> RecordStatus {
    RecordStatus {
        name: record.name.clone(),
        type_: record.rtype.as_str().into(),
        value: value.into(),
        purpose: record.purpose,
        state: RecordState::Ok,
        ownership: Some(Ownership::Created),
        term: term.cloned(),
        edited: false,
        observed: None,
        message: None,
    }
}

/// What the journal lacks, if it is lost or that of an earlier day: what the marker says was made, and is still there as
/// `desired` or as it is until MX leads here, was made by us. With it MX from before the cut-over. None: the marker says nothing
/// that is not known.
pub fn recovered(
    writer: &Writer<'_>,
    desired: &[Record],
    live: &[RrSet],
    journal: &[RecordStatus],
) -> Option<(Vec<RecordStatus>, Option<PreviousMx>)> {
    let markers = texts(writer.domain, live).iter().filter_map(|t| Marker::parse(t));
    let marker = markers.filter(|m| writer.is_own(m)).max_by_key(|m| (m.previous_mx.is_some(), m.made.len()))?;
    let mut mild = desired.to_vec();
    soften(&mut mild);
    let known = |e: &RecordStatus| journal.iter().any(|j| same_record(j, e) && is_ours(j));
    let made = |r: &Record| {
        let told = r.purpose != Purpose::MX || marker.previous_mx.is_some();
        told && marker.made.contains(&r.purpose)
    };
    let pairs = desired.iter().zip(&mild).filter(|(record, _)| made(record));
    let found = pairs.flat_map(|(r, mild)| made_of(r, mild, live)).chain(old_challenge(writer, &marker, live));
    let found: Vec<RecordStatus> = found.filter(|e| !known(e)).collect();
    if found.is_empty() {
        return None;
    }
    let rest = journal.iter().filter(|j| !found.iter().any(|e| same_record(j, e))).cloned();
    Some((rest.chain(found.iter().cloned()).collect(), marker.previous_mx))
}

/// The entry of the challenge that the MailDomain of before published for itself: nobody wants it any more.
fn old_challenge(writer: &Writer<'_>, marker: &Marker, live: &[RrSet]) -> Option<RecordStatus> {
    if !marker.made.contains(&Purpose::Challenge) || marker.token == writer.token {
        return None;
    }
    let value = with_token(&marker.token);
    let (name, rtype) = (challenge_name(writer.domain), RecordType::TXT);
    let set = live.iter().find(|s| s.name == name && s.rtype == rtype).filter(|s| s.values.contains(&value))?;
    let any = writer.any_record();
    Some(RecordStatus { name: set.name.clone(), purpose: Purpose::Challenge, ..entry(&any, &value, None) })
}

/// The entries of what is there of a record that we made. `mild`: the same record until MX leads here.
fn made_of(record: &Record, mild: &Record, live: &[RrSet]) -> Vec<RecordStatus> {
    let set = live.iter().find(|s| s.name == record.name && s.rtype == record.rtype);
    let own = |v: &String| record.values.contains(v) || mild.values.contains(v);
    let merged = |v: &String| record.term.clone().filter(|t| record.mode == Mode::SpfTerm && spf::has(v, t));
    let entry_of = |value: &String| match (own(value), merged(value)) {
        (true, _) => Some(entry(record, value, record.term.as_ref())),
        (false, Some(term)) => {
            Some(RecordStatus { ownership: Some(Ownership::Adopted), ..entry(record, value, Some(&term)) })
        }
        (false, None) => None,
    };
    set.iter().flat_map(|s| &s.values).filter_map(entry_of).collect()
}

/// The journal without the word that MX leads here, where it does not: it may be that of an earlier day, and what is published
/// only while MX leads here would be published for it.
pub fn without_lost_mx(mut journal: Vec<RecordStatus>, live: &[RrSet]) -> Vec<RecordStatus> {
    let lost = |e: &RecordStatus| {
        let set = live.iter().find(|s| s.name == e.name && s.rtype == RecordType::MX);
        e.purpose == Purpose::MX && set.is_some_and(|s| !s.values.iter().any(|v| mx::same_host(v, &e.value)))
    };
    journal.retain(|e| is_ours(e) || !lost(e));
    journal.iter_mut().filter(|e| lost(e)).for_each(|e| e.state = RecordState::Wrong);
    journal
}

/// Whether another cluster writes the records now: its marker stands where the one of the journal was.
pub fn is_taken_over(journal: &[RecordStatus], live: &[RrSet]) -> bool {
    let ours = journal.iter().find(|e| e.purpose == Purpose::Marker && is_ours(e));
    let Some((ours, own)) = ours.and_then(|e| Some((e, Marker::parse(&e.value)?))) else { return false };
    let set = live.iter().find(|s| s.name == ours.name && s.rtype == RecordType::TXT);
    let there = set.map_or(&[][..], |s| &s.values);
    let is_other = |t: &String| Marker::parse(t).is_some_and(|m| m.manager.cluster != own.manager.cluster);
    !there.contains(&ours.value) && there.iter().any(is_other)
}
