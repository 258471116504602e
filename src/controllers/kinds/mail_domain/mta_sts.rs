//! MTA-STS of a domain (RFC 8461): which policy is served for it, and which one senders are told of. Pure.
//!
//! The policy stands in the status, from where `mailtenant wellknown` serves it. Senders are told of it, by the id in the TXT
//! record, once the host of the policy was seen to serve that very policy (RFC 8461, 8.2): never before, or they would keep the old
//! one under the new id, or be told of a policy that nobody serves. Each step begins with what the last pass has written.
//!
//! `enforce` has mail refused if something is wrong with it. So it comes after `testing`, and when it ends senders are told that
//! there is none (mode `none`, RFC 8461, 8.3) for as long as any of them may hold it.

use super::facts::Seen;
use super::gate::is_live;
use super::move_mx;
use super::parents::Parents;
use super::stamps::{stamp, stamp_after};
use super::steps::{Action, Next, Note, Observation, Stage};
use crate::not_ready::NotReady;
use crate::rules::zones;
use crate::state::derived;
use mailtenant_api::mail_domain::{MtaStsMode, MtaStsStatus, OnDelete, RecordStatus};
use mailtenant_api::*;
use mailtenant_mail::merge::PreviousMx;
use mailtenant_mail::mx;
use mailtenant_mail::records::{MTA_STS_LONGEST, MTA_STS_PATH, MtaSts, MtaStsPolicy, mta_sts_host};
use mailtenant_runtime::dispatch;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long senders keep the word that there is no policy, in seconds: a small time (RFC 8461, 8.3).
const NONE_KEPT: i64 = 86_400;
/// Pause before the next step: the service hears of a policy by its watch, within a moment.
const STEP: Duration = Duration::from_secs(5);
/// Pause before it is looked at again whether a policy is served: a certificate may have to be made first.
const SERVED: Duration = Duration::from_secs(120);

/// What is published of MTA-STS. A status is no authority: an id that is none is left out.
pub fn published(domain: &MailDomain, status: &MailDomainStatus, backend: &GroupwareBackend) -> Option<MtaSts> {
    let served_at = backend.spec.hosts.well_known.clone()?;
    let is_id = |id: &&String| (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    let id = in_status(Some(status)).and_then(|s| s.id.as_ref()).filter(is_id).cloned();
    let declared = domain.spec.dns.mta_sts.mode != MtaStsMode::None;
    (declared || id.is_some()).then_some(MtaSts { served_at, id })
}

fn in_status(status: Option<&MailDomainStatus>) -> Option<&MtaStsStatus> {
    status?.dns.as_ref()?.mta_sts.as_ref()
}

/// Whether senders were told of the policy that is served.
fn is_told(sts: &MtaStsStatus) -> bool {
    sts.id.as_ref() == Some(&sts.policy().id())
}

/// What is served as of now, from what was served before; none: nothing.
///
/// `hosts`: all that MX leads to or is going to lead to. Empty: nobody serves anything, and senders are told nothing.
fn next(
    before: Option<&MtaStsStatus>,
    declared: &mail_domain::MtaSts,
    hosts: &BTreeSet<String>,
    now: jiff::Timestamp,
) -> Option<MtaStsStatus> {
    let serves = !hosts.is_empty();
    let enforces = before.is_some_and(|b| b.mode == MtaStsMode::Enforce);
    let tried = before.is_some_and(|b| b.mode == MtaStsMode::Testing && is_told(b));
    let mode = match declared.mode {
        _ if !serves => MtaStsMode::None,
        MtaStsMode::Enforce if !enforces && !tried => MtaStsMode::Testing,
        mode => mode,
    };
    let kept = i64::from(declared.max_age.max(1));
    let max_age = if mode == MtaStsMode::None { kept.min(NONE_KEPT) } else { kept };
    let told = before.and_then(|b| b.id.clone()).filter(|_| serves);
    let enforced_until = before.and_then(|b| held_until(b, mode, max_age, (now, now)));
    let over = enforced_until.is_none() && before.is_none_or(|b| b.id.is_none() || is_told(b) && b.mode == mode);
    if mode == MtaStsMode::None && (over || (!serves && enforced_until.is_none())) {
        return None;
    }
    let policy = MtaStsPolicy::new(mode, hosts.iter().map(String::as_str), u32::try_from(max_age).unwrap_or(u32::MAX));
    let mx = policy.mx().to_vec();
    Some(MtaStsStatus { mode, mx, max_age, id: told, enforced_until, message: None })
}

/// Until when senders may hold a policy that has mail refused, and that is not served any more, or for a shorter time. It
/// begins by the later of the clocks, and is over by the earlier. A time that nobody can read, or that no policy lasts for, is
/// none: a status proves nothing.
fn held_until(
    before: &MtaStsStatus,
    mode: MtaStsMode,
    max_age: i64,
    (earliest, latest): (jiff::Timestamp, jiff::Timestamp),
) -> Option<String> {
    let longest = latest + jiff::SignedDuration::from_secs(i64::from(MTA_STS_LONGEST) + 1);
    let at = |text: &String| text.parse::<jiff::Timestamp>().ok();
    let known = before.enforced_until.as_ref().and_then(at).filter(|until| *until > earliest && *until <= longest);
    let known = known.map(stamp);
    let ends = before.mode == MtaStsMode::Enforce && (mode != MtaStsMode::Enforce || max_age < before.max_age);
    if !ends {
        return known;
    }
    let until = stamp_after(latest + jiff::SignedDuration::from_secs(i64::from(before.policy().max_age())));
    known.max(Some(until))
}

/// Goes on with it; what the message of `Ready` says of it.
pub(super) fn advance(seen: &Seen<'_>, parents: &Parents<'_>, name: &str, notes: &mut Vec<Note>) -> Stage<String> {
    let before = in_status(seen.domain.status.as_ref());
    let live = is_live(seen.status) || seen.facts.went_live;
    let declared = &seen.domain.spec.dns.mta_sts;
    if before.is_none() && (!live || declared.mode == MtaStsMode::None) {
        return Ok(String::new());
    }
    let hosts = match &parents.instance.backend.spec.hosts.well_known {
        Some(_) => hosts(seen, parents),
        None => BTreeSet::new(),
    };
    let occupied = occupied(seen);
    let strict = declared.mode == MtaStsMode::Enforce && before.is_none_or(|b| b.mode != MtaStsMode::Enforce);
    // Senders would go on with what that record tells of.
    let mode = if occupied && strict { MtaStsMode::Testing } else { declared.mode };
    let wish = mail_domain::MtaSts { mode, ..declared.clone() };
    let Some(mut sts) = next(before, &wish, &hosts, seen.now) else {
        notes.push(Note::MtaSts(None));
        return Ok(String::new());
    };
    if hosts.is_empty() {
        sts.message = Some("the GroupwareBackend names no hosts.wellKnown any more: nothing is served".into());
    } else if !is_told(&sts) {
        sts.message = look(seen, before, name, &mut sts)?;
    }
    if occupied && sts.message.is_none() {
        sts.message = Some("a record of somebody else stands in the place of ours: see status.dns.records".into());
    }
    let told = before.is_none_or(|b| b.id != sts.id) && sts.id.is_some();
    let text = words(&sts, declared.mode);
    notes.push(Note::MtaSts(Some(sts)));
    if told && !seen.facts.told && !zones::by_hand(seen.domain) {
        return Err(Next::Do(Action::TellPolicy));
    }
    Ok(text)
}

/// Whether the policy is seen to be served; puts in its id if so, else gives what is waited for.
fn look(seen: &Seen<'_>, before: Option<&MtaStsStatus>, name: &str, sts: &mut MtaStsStatus) -> Stage<Option<String>> {
    let url = format!("https://{}{MTA_STS_PATH}", mta_sts_host(name));
    let policy = sts.policy();
    if before.is_none_or(|b| b.policy() != policy) {
        return Ok(Some(format!("senders are told of it when {url} serves it")));
    }
    Ok(match seen.facts.policy.as_ref().ok_or(Next::Learn(Observation::Policy))? {
        Ok(text) if MtaStsPolicy::parse(text).as_ref() == Some(&policy) => {
            sts.id = Some(policy.id());
            None
        }
        Ok(_) => Some(format!("{url} serves another policy: senders are told of it when it serves this one")),
        Err(why) => Some(format!("senders are told of it when {url} serves it: {why}")),
    })
}

/// Whether a record of somebody else stands where senders would be told of a policy.
fn occupied(seen: &Seen<'_>) -> bool {
    let taken = |r: &RecordStatus| matches!(r.state, RecordState::Conflict | RecordState::Duplicate);
    derived::journal(seen.domain, seen.status).any(|r| r.purpose == Purpose::MTASTS && r.type_ == "TXT" && taken(r))
}

/// All hosts that MX leads to, as far as is known, or is going to lead to.
fn hosts(seen: &Seen<'_>, parents: &Parents<'_>) -> BTreeSet<String> {
    let leads = |r: &&RecordStatus| r.purpose == Purpose::MX && r.ownership.is_some();
    let journal = derived::journal(seen.domain, seen.status).filter(leads);
    let journal = journal.filter_map(|r| mx::host(&r.value)).filter(|host| !host.is_empty());
    move_mx::hosts(parents.instance).into_iter().chain(journal).collect()
}

fn words(sts: &MtaStsStatus, declared: MtaStsMode) -> String {
    match (&sts.message, &sts.enforced_until) {
        (Some(message), _) => format!("; MTA-STS is {:?}, {message}", sts.mode),
        (None, Some(until)) if sts.mode == MtaStsMode::None => {
            format!("; MTA-STS: senders may hold the former policy until {until}, and are told that there is none")
        }
        (None, _) if sts.mode != declared => format!("; MTA-STS is {:?} before it is {declared:?}", sts.mode),
        (None, _) => String::new(),
    }
}

/// Why MX must not lead to new hosts yet: senders that hold the policy would not deliver to them.
pub(super) fn holds_mx(seen: &Seen<'_>, name: &str, new: &BTreeSet<String>) -> Option<NotReady> {
    let sts = in_status(seen.domain.status.as_ref())?;
    let enforces = sts.mode == MtaStsMode::Enforce;
    // Also one that is not served any more is held until senders were told of another one.
    let held = held_until(sts, sts.mode, sts.max_age, (seen.now, seen.now)).is_some();
    if !(enforces && sts.id.is_some() || held) {
        return None;
    }
    if is_told(sts) && (!enforces || new.iter().all(|host| sts.mx.contains(host))) {
        return None;
    }
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let text = format!(
        "MX of {name} stays as it is until senders are told of an MTA-STS policy with {}: see status.dns.mtaSts",
        new.join(", ")
    );
    Some(NotReady::after(Reason::AwaitingAcceptance, text, STEP))
}

/// When the next step is due; none: there is none.
pub fn pause(before: Option<&MailDomainStatus>, status: &MailDomainStatus, now: jiff::Timestamp) -> Option<Duration> {
    let sts = in_status(Some(status));
    if in_status(before) != sts {
        return Some(STEP);
    }
    let sts = sts?;
    if sts.message.is_some() {
        return Some(SERVED);
    }
    let until: jiff::Timestamp = sts.enforced_until.as_ref()?.parse().ok()?;
    let left = until.duration_since(now).as_secs().max(0).unsigned_abs();
    Some(Duration::from_secs(left) + STEP)
}

/// What is served on the way out, where MX goes back to other mail servers: that there is no policy. None: nothing has to be
/// done about it, since no sender refuses to deliver there. `clocks`: the earliest and the latest that it may be now.
pub fn leaving(
    domain: &MailDomain,
    status: &MailDomainStatus,
    previous: Option<&PreviousMx>,
    clocks: (jiff::Timestamp, jiff::Timestamp),
) -> Option<MtaStsStatus> {
    let before = in_status(Some(status))?;
    let back = domain.spec.dns.on_delete == OnDelete::RestorePrevious;
    let others = |value: &String| mx::host(value).is_some_and(|host| !host.is_empty() && !before.mx.contains(&host));
    if !back || !previous.is_some_and(|p| p.values.iter().any(others)) {
        return None;
    }
    let enforced_until = held_until(before, MtaStsMode::None, NONE_KEPT, clocks)?;
    let max_age = before.max_age.min(NONE_KEPT);
    let none = MtaStsStatus { mode: MtaStsMode::None, mx: vec![], max_age, message: None, ..before.clone() };
    Some(MtaStsStatus { enforced_until: Some(enforced_until), ..none })
}

/// What is waited for on the way out.
pub fn still_held(name: &str, until: &str, now: jiff::Timestamp) -> NotReady {
    let at = until.parse::<jiff::Timestamp>().unwrap_or(now);
    let left = Duration::from_secs(at.duration_since(now).as_secs().max(0).unsigned_abs()) + Duration::from_secs(1);
    let text = format!(
        "senders may hold an MTA-STS policy of {name} until {until}, under which they deliver to no other mail server: MX stays until \
         then, and they are told that there is none. With dns.onDelete: NullMX or Remove nothing is waited for"
    );
    NotReady { next: dispatch::Next::After(left.min(SERVED)), ..NotReady::waiting(Reason::Draining, text) }
}

/// The pause between the file and the record that tells of it.
pub fn first_served(name: &str) -> NotReady {
    let text = format!("that {name} has no MTA-STS policy any more is served, then senders are told");
    NotReady::after(Reason::Draining, text, STEP)
}

#[cfg(test)]
#[path = "mta_sts_tests.rs"]
mod tests;
