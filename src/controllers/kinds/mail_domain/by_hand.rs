//! A domain whose tenant edits the records (`dns.mode: Manual`): what is said of each record, and when MX is asked for. Pure.
//!
//! Nothing is written in the DNS, so nothing here is a journal: the records in the status are what was seen last.

use super::facts::{Compared, Looked, Proof, Seen, ZoneFile};
use super::gate::{Gate, gate, is_live, never_verified};
use super::keys::KeyPlan;
use super::parents::Parents;
use super::records;
use super::steps::{Action, Next, Note, Observation, Stage, learned};
use crate::not_ready::NotReady;
use crate::state::derived;
use mailtenant_api::mail_domain::{ConflictPolicy, CutoverMode, DomainState, RecordStatus};
use mailtenant_api::*;
use mailtenant_dns::RrSet;
use mailtenant_mail::manual::{self, Advice, MxAdvice, Shown};
use mailtenant_mail::merge;
use mailtenant_mail::mx;
use mailtenant_mail::records::{Record, is_milder, soften};
use mailtenant_runtime::dispatch;
use std::time::Duration;

/// Shortest and longest pause between two looks while somebody has to edit records.
const PAUSE: (u64, u64) = (30, 300);
/// How many records a message names.
const NAMED: usize = 5;

/// The pause before the next look: a quarter of the time for which a condition has not held, within [`PAUSE`]. Whoever has
/// just pasted is not kept waiting, and a domain that nobody cares for costs little.
pub(super) fn pause(seen: &Seen<'_>, condition: ConditionType) -> Duration {
    let all = seen.domain.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let since = conditions::find(all, condition).filter(|c| c.status == "False");
    let since: Option<jiff::Timestamp> = since.and_then(|c| c.last_transition_time.parse().ok());
    let age = since.map_or(0, |since| seen.now.duration_since(since).as_secs().max(0)).unsigned_abs();
    Duration::from_secs((age / 4).clamp(PAUSE.0, PAUSE.1))
}

/// How many servers show a value.
fn shown_by(proof: &Proof, value: &str) -> usize {
    proof.answers.sets.iter().filter(|set| set.values.iter().any(|v| v == value)).count()
}

/// What else the tenant has to know while the name is not proven.
pub(super) fn unproven(proof: &Option<Proof>, value: &str) -> String {
    let Some(proof) = proof else { return String::new() };
    let (shown, all) = (shown_by(proof, value), proof.answers.sets.len() + proof.answers.silent.len());
    let mut text = String::new();
    if proof.wildcard {
        text += ". A wildcard record shows it now, which proves nothing: add it at this very name";
    } else if shown > 0 && shown < all {
        text += &format!(". {shown} of {all} DNS servers show it so far, and all of them must");
    }
    if !proof.answers.silent.is_empty() {
        let silent = proof.answers.silent.join(", ");
        text += &format!(". No authoritative answer came from {silent}: have it repaired, or taken out of NS");
    }
    if !proof.mx_of_wildcard.is_empty() {
        // The record below the name ends the wildcard for the name itself (RFC 4592, 2.2.2).
        let mx = proof.mx_of_wildcard.join(", ");
        text += &format!(
            ". First add MX {mx} and the addresses of the name at the name itself: they come from a wildcard record, which ends \
             for it as soon as any record is below it"
        );
    }
    text
}

/// The record that proves the name, for the status. Of a name that was lost the status keeps what it says.
pub(super) fn challenge(seen: &Seen<'_>, name: &str, value: &str) -> Option<Note> {
    let shown = seen.facts.proof.as_ref().map_or(0, |p| shown_by(p, value));
    let entry = RecordStatus {
        name: name.to_owned(),
        type_: "TXT".into(),
        value: value.to_owned(),
        purpose: Purpose::Challenge,
        state: if shown > 0 { RecordState::Propagating } else { RecordState::Missing },
        ownership: None,
        term: None,
        edited: false,
        observed: None,
        message: Some("add this record at your DNS provider: it proves that the name is yours".into()),
    };
    never_verified(seen.status).then(|| Note::Records(vec![entry]))
}

/// Whether every server shows our MX, and nothing beside it.
pub(super) fn mx_is_ours(wanted: &[Record], shown: &[Shown]) -> bool {
    let mx: Vec<&Record> = wanted.iter().filter(|r| r.purpose == Purpose::MX).collect();
    let set = |r: &Record| shown.iter().find(|s| s.name == r.name && s.rtype == r.rtype && !s.wildcard);
    let ours =
        |r: &&Record| set(r).is_some_and(|s| s.alias.is_none() && s.servers.iter().all(|x| x.values == r.values));
    !mx.is_empty() && mx.iter().all(ours)
}

/// Whether what a server has of a set is not what is wanted there.
pub(super) fn is_suspect(wanted: &[Record], set: &RrSet) -> bool {
    let Some(record) = wanted.iter().find(|r| r.name == set.name && r.rtype == set.rtype) else { return false };
    let shown =
        Shown { name: set.name.clone(), rtype: set.rtype, servers: vec![set.clone()], alias: None, wildcard: false };
    let advice = Advice { conflict: ConflictPolicy::Refuse, mx: MxAdvice::Set };
    let same = wanted.iter().filter(|r| r.name == record.name && r.rtype == record.rtype).cloned();
    manual::judge(&same.collect::<Vec<_>>(), &[shown], &advice).iter().any(|e| e.state != RecordState::Ok)
}

/// For `managementPolicy: Observe`: the records as they are, and which of them differ.
pub(super) fn compared(wanted: &[Record], shown: &[Shown], conflict: ConflictPolicy) -> Compared {
    let records = manual::judge(wanted, shown, &Advice { conflict, mx: MxAdvice::Set });
    let differing = records.iter().filter(|e| e.state != RecordState::Ok).map(|e| (e.purpose, e.name.clone()));
    Compared { differing: differing.collect(), records }
}

/// What holds MX up.
enum Holds {
    /// It leads here already.
    Nothing,
    /// Other records are not there.
    Records,
    Gate(Gate),
}

/// The records that are to be there. Until MX leads here none of them has mail rejected that goes through another server.
pub(super) fn wanted(seen: &Seen<'_>, name: &str, parents: &Parents<'_>, keys: &KeyPlan) -> Vec<Record> {
    let mut wanted = records::desired((seen.domain, seen.status), name, parents, keys.public());
    if !is_live(seen.status) && !seen.facts.went_live {
        soften(&mut wanted);
    }
    wanted
}

/// How they stand, as the servers show them.
pub(super) fn states(seen: &Seen<'_>, wanted: &[Record]) -> Stage<Vec<RecordStatus>> {
    Ok(judged(seen, wanted, learned(&seen.facts.shown, Observation::ShownByHand)?, MxAdvice::Set))
}

fn judged(seen: &Seen<'_>, wanted: &[Record], looked: &Looked, mx: MxAdvice) -> Vec<RecordStatus> {
    let conflict = seen.domain.spec.dns.conflict_policy;
    manual::judge(wanted, &looked.sets, &Advice { conflict, mx })
}

/// All that is said of the records; the message of `Ready=True`.
pub(super) fn check(seen: &Seen<'_>, name: &str, wanted: &[Record], notes: &mut Vec<Note>) -> Stage<String> {
    let looked = learned(&seen.facts.shown, Observation::ShownByHand)?;
    let states = judged(seen, wanted, looked, MxAdvice::Set);
    let ours = mx_is_ours(wanted, &looked.sets);
    let lacking: Vec<RecordStatus> = lacking(&states).into_iter().cloned().collect();
    // Who approves has seen what is missing: a registrar that cannot hold a record does not keep the domain for ever.
    let cutover = &seen.domain.spec.cutover;
    let approved = cutover.mode == CutoverMode::Manual && cutover.approved;
    let holds = match (ours, lacking.is_empty() || approved) {
        (true, _) => Holds::Nothing,
        (false, false) => Holds::Records,
        (false, true) => Holds::Gate(gate(seen)?),
    };
    let former = former_mx(seen, wanted, looked);
    let leads_here = mx_leads_here(wanted, &looked.sets).is_some() || !former.is_empty();
    let stays_live = leads_here && (is_live(seen.status) || seen.facts.went_live);
    let advice = advice(&holds, stays_live);
    let stays = advice != MxAdvice::Set;
    let entries = judged(seen, wanted, looked, advice);
    if let Some((_, ttl)) = mx_leads_here(wanted, &looked.sets) {
        notes.push(Note::MxLeadsHere(ttl, looked.at));
    }
    notes.push(Note::Records(entries.iter().cloned().chain(former).collect()));
    notes.push(Note::State(if stays_live { DomainState::Live } else { state(&holds, seen) }));
    let text = manual::zone_file(name, &entries, records::ttl(seen.domain), stays);
    let file = match &seen.facts.zone_file {
        Some(file) if file.text == text => file,
        _ => return Err(Next::Do(Action::WriteZoneFile(text))),
    };
    notes.push(Note::ZoneFile(file.problem.is_none().then(|| file.name.clone())));
    if ours && !is_live(seen.status) && !seen.facts.went_live {
        return Err(Next::Do(Action::GoLive));
    }
    verdict(seen, name, (&entries, &lacking, approved), &holds, file, notes)
}

/// MX that led here and is still shown, though its host is not declared any more: the platform team has changed `hosts.mx`, and
/// mail comes here as before. A deletion waits for it too.
fn former_mx(seen: &Seen<'_>, wanted: &[Record], looked: &Looked) -> Vec<RecordStatus> {
    let leads = |values: &[String], e: &RecordStatus| values.iter().any(|v| mx::same_host(v, &e.value));
    let declared = |e: &RecordStatus| wanted.iter().any(|r| r.purpose == Purpose::MX && leads(&r.values, e));
    let shows = |e: &RecordStatus| {
        let mut sets = looked.sets.iter().filter(|s| s.name == e.name && s.rtype.as_str() == e.type_);
        sets.any(|s| s.servers.iter().any(|set| leads(&set.values, e)))
    };
    let journal = derived::journal(seen.domain, seen.status);
    let former = journal.filter(|e| merge::is_good_mx(e) && !declared(e) && shows(e));
    let told = |e: &RecordStatus| RecordStatus {
        state: RecordState::Wrong,
        ownership: Some(Ownership::Observed),
        observed: None,
        message: Some("it leads to a mail server that the platform team no longer names: replace it".into()),
        ..e.clone()
    };
    former.map(told).collect()
}

/// The records without which the domain does not work as declared, as far as they are not there.
fn lacking(entries: &[RecordStatus]) -> Vec<&RecordStatus> {
    // That one was asked for until MX led here, and does no harm.
    let still_mild = |e: &RecordStatus| e.observed.as_ref().is_some_and(|there| is_milder(e.purpose, there, &e.value));
    entries.iter().filter(|e| manual::is_required(e) && e.state != RecordState::Ok && !still_mild(e)).collect()
}

/// The host of ours that any server shows as MX, and its time to live.
fn mx_leads_here(wanted: &[Record], shown: &[Shown]) -> Option<(String, u32)> {
    let ours = wanted.iter().find(|r| r.purpose == Purpose::MX)?;
    let set = shown.iter().find(|s| s.name == ours.name && s.rtype == ours.rtype)?;
    mx::leads_to(&set.servers, &ours.values)
}

/// `live`: mail comes here already, so that MX is left alone where it cannot be as declared yet.
fn advice(holds: &Holds, live: bool) -> MxAdvice {
    let until = match holds {
        Holds::Nothing | Holds::Gate(Gate::Open) => return MxAdvice::Set,
        Holds::Records => "all other records are there",
        Holds::Gate(Gate::NoAddress) => "there is a Mailbox or a MailAlias in the domain",
        Holds::Gate(Gate::Closed(n)) if n.reason == Reason::AwaitingApproval => "spec.cutover.approved is true",
        Holds::Gate(Gate::Closed(n)) if n.reason == Reason::AwaitingPolicyEnd => {
            "no sender can hold the former MTA-STS policy"
        }
        Holds::Gate(Gate::Closed(_)) => "the mail server takes mail for every declared address",
    };
    if live { MxAdvice::Keep(until.into()) } else { MxAdvice::Stay(until.into()) }
}

fn state(holds: &Holds, seen: &Seen<'_>) -> DomainState {
    match holds {
        Holds::Nothing if is_live(seen.status) || seen.facts.went_live => DomainState::Live,
        Holds::Nothing | Holds::Gate(_) => DomainState::CutoverReady,
        Holds::Records => DomainState::Provisioned,
    }
}

/// What is said of MX: the message of `Ready=True`, or what is waited for.
fn about_mx(
    seen: &Seen<'_>,
    name: &str,
    entries: &[RecordStatus],
    holds: &Holds,
    notes: &mut Vec<Note>,
) -> (String, Option<NotReady>) {
    let mut says = |done, reason, text: &str| {
        notes.push(Note::Condition(ConditionType::CutOver, done, reason, text.to_owned()));
    };
    let mut message = format!("{name} is live");
    let wait = match holds {
        Holds::Nothing => {
            says(true, Reason::Succeeded, "every authoritative server shows our MX");
            None
        }
        Holds::Records => {
            let text = "MX stays as it is until all other records are there: see DNSPublished";
            says(false, Reason::AwaitingRecords, text);
            None
        }
        Holds::Gate(Gate::NoAddress) => {
            let text = "MX is to be set when the first Mailbox or MailAlias of the domain is there";
            says(false, Reason::AwaitingFirstAddress, text);
            message = format!("{name} is prepared: {text}");
            None
        }
        Holds::Gate(Gate::Closed(not_ready)) => Some(not_ready.clone()),
        Holds::Gate(Gate::Open) => {
            let mx: Vec<&RecordStatus> = entries.iter().filter(|e| e.purpose == Purpose::MX).collect();
            Some(awaited_mx(name, &mx, pause(seen, ConditionType::CutOver)))
        }
    };
    (message, wait)
}

/// The conditions, and what is waited for.
fn verdict(
    seen: &Seen<'_>,
    name: &str,
    (entries, lacking, approved): (&[RecordStatus], &[RecordStatus], bool),
    holds: &Holds,
    file: &ZoneFile,
    notes: &mut Vec<Note>,
) -> Stage<String> {
    let (mut message, wait) = about_mx(seen, name, entries, holds, notes);
    let mut waits: Vec<(NotReady, ConditionType)> = wait.map(|n| (n, ConditionType::CutOver)).into_iter().collect();
    match lacking {
        [] => {
            let text = "every authoritative server shows the records".to_owned();
            notes.push(Note::Condition(ConditionType::DNSPublished, true, Reason::Succeeded, text));
        }
        some => {
            let without = matches!(holds, Holds::Records) && !approved;
            let not_ready = awaited(some, file, without, pause(seen, ConditionType::DNSPublished));
            waits.push((not_ready, ConditionType::DNSPublished));
        }
    }
    for (not_ready, condition) in waits.iter().skip(1) {
        notes.push(Note::Condition(*condition, false, not_ready.reason, not_ready.message.clone()));
    }
    if let Some((not_ready, condition)) = waits.into_iter().next() {
        // Records change where nothing tells of it.
        let again = pause(seen, condition);
        let next =
            if not_ready.next == dispatch::Next::Settled { dispatch::Next::After(again) } else { not_ready.next };
        return Err(Next::Wait(NotReady { next, ..not_ready }, Some(condition)));
    }
    if let Some(problem) = &file.problem {
        return Err(Next::Wait(problem.clone(), None));
    }
    let optional = |purpose| entries.iter().filter(|e| e.purpose == purpose && e.state != RecordState::Ok).count();
    for (purpose, what) in
        [(Purpose::ClientDiscovery, "by which mail clients find the servers"), (Purpose::MTASTS, "of MTA-STS")]
    {
        let lacking = optional(purpose);
        if lacking > 0 {
            message += &format!("; {lacking} records {what} are not there: see status.dns.records");
        }
    }
    Ok(message)
}

/// Up to [`NAMED`] records, and how many more.
pub(super) fn named(entries: &[RecordStatus]) -> String {
    let one = |e: &RecordStatus| format!("{} {} ({:?})", e.type_, e.name, e.purpose);
    let some: Vec<String> = entries.iter().take(NAMED).map(one).collect();
    let more = entries.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", some.join(", "))
}

/// What is said while records are not there.
fn awaited(lacking: &[RecordStatus], file: &ZoneFile, without: bool, again: Duration) -> NotReady {
    let names = named(lacking);
    if lacking.iter().all(|e| e.state == RecordState::Propagating) {
        let text = format!("not every DNS server shows {names} yet: they are asked again");
        return NotReady::after(Reason::DNSPropagating, text, again);
    }
    let mut text = format!("{names}: edit them at your DNS provider as status.dns.records says");
    if file.problem.is_none() {
        text += &format!("; ConfigMap {} has all records as a zone file", file.name);
    }
    if without {
        text += ". If your provider cannot hold one of them, cutover {mode: Manual, approved: true} lets MX go on without it";
    }
    NotReady::after(Reason::AwaitingRecords, text, again)
}

/// What is said while MX may lead here, and does not everywhere.
fn awaited_mx(name: &str, mx: &[&RecordStatus], again: Duration) -> NotReady {
    if !mx.is_empty() && mx.iter().all(|e| e.state == RecordState::Propagating) {
        let text = format!("not every DNS server shows MX {name} yet: they are asked again");
        return NotReady::after(Reason::DNSPropagating, text, again);
    }
    let values: Vec<&str> = mx.iter().map(|e| e.value.as_str()).collect();
    let there = mx.iter().find_map(|e| e.observed.as_ref());
    let there = there.map_or(String::new(), |o| format!(", in the place of {o}"));
    let text = format!(
        "mail is taken for every address: set MX of {name} to {} at your DNS provider now{there}",
        values.join(", ")
    );
    NotReady::after(Reason::AwaitingRecords, text, again)
}
