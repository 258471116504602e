//! Signing keys: made once, given to the signer, published, and only then signed with. The private half is at the signer
//! alone; what a crash leaves is found there again. Pure: what is missing, what may sign, what is over.

use super::facts::Server;
use super::status::stamp;
use crate::not_ready::NotReady;
use crate::state::derived::{a_label, journal};
use mailtenant_api::mail_domain::{DkimAlgorithm, DkimKeyState, DkimKeyStatus, RecordStatus};
use mailtenant_api::{MailDomain, Ownership, Purpose, Reason, RecordState, annotation, annotations, mail_domain, uid};
use mailtenant_groupware::{Capability, DkimRow, Selector};
use mailtenant_mail::records::{DkimPublic, Mode, Record, dkim_name, new_selector};
use mailtenant_mail::rr::RecordType;
use std::collections::BTreeMap;

/// How long the record of a key stays after it signed the last time: mail can be on its way for days (RFC 5321, 4.5.4.1
/// gives a queue 4 to 5), and is verified once more wherever it is moved to.
const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(14 * 24);
/// Keys of one algorithm that a domain may have. Each that was replaced stays for [`KEPT`], with its record and its entry in the
/// status: whoever asks for new ones without a pause would fill both.
const MOST: usize = 6;

/// Our own keys, and those of others: they are neither published nor signed with, and their names are taken.
pub fn ours(keys: &[DkimRow], uid: &str) -> (Vec<DkimRow>, Vec<DkimRow>) {
    keys.iter().cloned().partition(|k| k.owner.as_deref() == Some(uid))
}

fn newest(keys: &[DkimRow], algorithms: &[DkimAlgorithm]) -> Vec<Selector> {
    let last: BTreeMap<DkimAlgorithm, &Selector> = keys.iter().map(|k| (k.algorithm, &k.selector)).collect();
    algorithms.iter().filter_map(|a| last.get(a)).map(|s| (*s).clone()).collect()
}

/// The keys that have to be made: of algorithms that have none but what is replaced.
fn missing(keys: &[DkimRow], algorithms: &[DkimAlgorithm], replaced: impl Fn(&DkimRow) -> bool) -> Vec<DkimAlgorithm> {
    let has = |a: &DkimAlgorithm| keys.iter().any(|k| k.algorithm == *a && !replaced(k));
    algorithms.iter().filter(|a| !has(a)).copied().collect()
}

/// Whether a key that signs has reached the age of `dkim.rotateEvery` (`365d`). One of an unknown age never has. Whatever
/// the server's clock and the column say, one that replaced another one lately stays: a wrong clock makes no second key.
fn aged(key: &DkimRow, status: &[DkimKeyStatus], rotate_every: &str, now: jiff::Timestamp) -> bool {
    let days: Option<i64> = rotate_every.strip_suffix('d').and_then(|d| d.parse().ok());
    let (Some(days), Some(created)) = (days, key.created) else { return false };
    let old = |since: jiff::Timestamp| now.duration_since(since) >= jiff::SignedDuration::from_hours(24 * days);
    let retired =
        status.iter().filter(|s| s.algorithm == key.algorithm).filter_map(|s| s.retired_at.as_deref()?.parse().ok());
    key.active && old(created) && retired.into_iter().all(old)
}

/// Whether a key has been out of use for so long that no mail on its way needs its record. Since when it is stands in the
/// status; without that it is out of use since now.
fn done_with(key: &DkimRow, status: &[DkimKeyStatus], now: jiff::Timestamp) -> bool {
    let noted = status.iter().find(|s| s.selector == key.selector).and_then(|s| s.retired_at.as_deref());
    let since: Option<jiff::Timestamp> = noted.and_then(|t| t.parse().ok());
    !key.active && since.is_some_and(|since| now.duration_since(since) >= KEPT)
}

/// The algorithms to sign with: those that are declared; by default those of them that the server has.
pub fn algorithms(domain: &MailDomain, server: &Server) -> Result<Vec<DkimAlgorithm>, NotReady> {
    let wanted = &domain.spec.dkim.algorithms;
    let can = |a: &&DkimAlgorithm| server.capabilities.contains(&Capability::from(**a));
    let algorithms: Vec<DkimAlgorithm> = wanted.iter().filter(can).copied().collect();
    if algorithms.is_empty() || (algorithms != *wanted && *wanted != mail_domain::Dkim::default().algorithms) {
        return Err(cannot_sign(&server.label));
    }
    Ok(algorithms)
}

/// The server lacks an algorithm that is declared, or does not sign at all.
pub fn cannot_sign(label: &str) -> NotReady {
    let text =
        format!("{label} cannot sign with every algorithm of dkim.algorithms: leave it out, or name RSA2048 alone");
    NotReady::stalled(Reason::Unsupported, text)
}

/// Where nothing is written: the keys that sign, whoever made them, and whether one is lacking that is declared. One whose
/// selector cannot stand in the DNS signs nothing that anybody could verify.
pub fn observed(keys: Vec<DkimRow>, algorithms: Option<Vec<DkimAlgorithm>>, domain: &str) -> (Vec<DkimRow>, bool) {
    let (signing, odd): (Vec<_>, Vec<_>) = keys
        .into_iter()
        .filter(|k| k.active)
        .partition(|k| selector_ok(&k.selector) && dkim_name(&k.selector, domain).len() <= 253);
    let has = |a: &DkimAlgorithm| signing.iter().any(|k| k.algorithm == *a);
    let lacks = !odd.is_empty() || !algorithms.is_some_and(|all| all.iter().all(has));
    (signing, lacks)
}

/// Labels as a DNS server takes them (RFC 6376, 3.1), in either case.
fn selector_ok(selector: &str) -> bool {
    let label =
        |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    selector.split('.').all(label)
}

/// What becomes of the keys of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPlan {
    /// Ours, in the order in which they were made.
    pub keys: Vec<DkimRow>,
    /// Keys that have to be made first.
    pub make: Vec<DkimAlgorithm>,
    /// New keys are asked for, or due, and wait until one of [`MOST`] is over.
    pub postponed: bool,
    /// Selectors of the newest of each algorithm: those that are to sign.
    pub newest: Vec<Selector>,
    /// Selectors that no mail on its way needs any more: they get no record.
    pub over: Vec<Selector>,
    /// Keys that were published and that the server does not have any more.
    pub lost: Vec<LostKey>,
}

/// A key that was published and that the server does not have any more, or not as ours. Mail that it signed is on its way:
/// its record stays for as long as that of a key that was replaced, whatever the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostKey {
    pub selector: Selector,
    /// Name of its record.
    pub name: String,
    /// Text of its record, as it was written.
    pub text: String,
    pub algorithm: DkimAlgorithm,
    /// When it was seen to be gone, or was replaced before.
    pub since: jiff::Timestamp,
}

impl LostKey {
    pub fn record(&self, ttl: u32) -> Record {
        Record {
            name: self.name.clone(),
            rtype: RecordType::TXT,
            ttl,
            values: vec![self.text.clone()],
            purpose: Purpose::DKIM,
            mode: Mode::Exclusive,
            term: None,
            after_switch: None,
            with_mx: false,
        }
    }

    pub fn status(&self) -> DkimKeyStatus {
        DkimKeyStatus {
            selector: self.selector.clone().into(),
            algorithm: self.algorithm,
            state: DkimKeyState::Retiring,
            retired_at: Some(stamp(self.since)),
        }
    }
}

/// The keys of the journal that are not among `keys`. What is in the status of them since when counts.
fn lost(domain: &MailDomain, keys: &[DkimRow], now: jiff::Timestamp) -> Vec<LostKey> {
    let Some(status) = &domain.status else { return vec![] };
    let zone = a_label(domain);
    let lost = |entry: &RecordStatus| {
        let ours = entry.purpose == Purpose::DKIM && entry.ownership == Some(Ownership::Created);
        let selector = entry.name.strip_suffix(&dkim_name("", &zone)).filter(|_| ours)?;
        if keys.iter().any(|k| dkim_name(&k.selector, &zone) == entry.name) {
            return None;
        }
        let known = status.dkim.iter().find(|s| s.selector.eq_ignore_ascii_case(selector));
        let since = known.and_then(|s| s.retired_at.as_deref()?.parse().ok()).unwrap_or(now);
        let rsa = !entry.value.contains("k=ed25519");
        let algorithm = if rsa { DkimAlgorithm::RSA2048 } else { DkimAlgorithm::Ed25519 };
        let (name, text, selector) = (entry.name.clone(), entry.value.clone(), Selector::new(selector));
        (now.duration_since(since) < KEPT).then_some(LostKey { selector, name, text, algorithm, since })
    };
    journal(domain, status).filter_map(lost).collect()
}

impl KeyPlan {
    pub fn public(&self) -> Vec<DkimPublic> {
        public(self.keys.iter().filter(|k| !self.over.contains(&k.selector)))
    }
}

/// Public halves, for the records.
pub fn public<'a>(keys: impl Iterator<Item = &'a DkimRow>) -> Vec<DkimPublic> {
    let public =
        |k: &DkimRow| DkimPublic { selector: k.selector.clone(), algorithm: k.algorithm, public: k.public.clone() };
    keys.map(public).collect()
}

/// Plans by the status from before the pass: of a wish for new keys it has the keys that were there when the wish was seen
/// first, so that a crash in between makes no second pair.
pub fn plan(domain: &MailDomain, all: &[DkimRow], algorithms: &[DkimAlgorithm], now: jiff::Timestamp) -> KeyPlan {
    let (keys, _) = ours(all, &uid(domain));
    let status = domain.status.as_ref();
    let known = status.map_or(&[][..], |s| &s.dkim);
    let wish = annotation(domain, annotations::ROTATE_DKIM);
    let handled = status.and_then(|s| s.last_handled_rotate_dkim.as_ref());
    let asked = wish.is_some() && wish.as_ref() != handled && !known.is_empty();
    let every = &domain.spec.dkim.rotate_every;
    let before = |k: &DkimRow| known.iter().any(|s| s.selector == k.selector);
    // A new one that does not sign yet answers a further wish too: nobody has seen a signature of it.
    let signed = |k: &DkimRow| k.active || known.iter().any(|s| s.selector == k.selector && s.retired_at.is_some());
    let old = |k: &DkimRow| aged(k, known, every, now);
    let full = |a: &DkimAlgorithm| keys.iter().filter(|k| k.algorithm == *a).count() >= MOST;
    let mut make = missing(&keys, algorithms, |k| (asked && before(k) && signed(k)) || old(k));
    let postponed = make.iter().any(full);
    if postponed {
        // The wish is for all of them at once: one algorithm alone would be replaced again and again while it waits.
        make = missing(&keys, algorithms, old);
        make.retain(|a| !full(a));
    }
    let newest = newest(&keys, algorithms);
    let over = keys.iter().filter(|k| !newest.contains(&k.selector) && done_with(k, known, now));
    let over = over.map(|k| k.selector.clone()).collect();
    let lost = lost(domain, &keys, now);
    KeyPlan { keys, make, postponed, newest, over, lost }
}

/// A selector that no key has or had lately.
pub fn selector(domain: &MailDomain, all: &[DkimRow], algorithm: DkimAlgorithm, now: jiff::Timestamp) -> Selector {
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let known = domain.status.iter().flat_map(|s| &s.dkim).map(|k| Selector::new(&k.selector));
    let taken: Vec<Selector> = all.iter().map(|k| k.selector.clone()).chain(known).collect();
    new_selector(today.year(), today.month(), algorithm, &taken)
}

/// The keys to sign with from now on, if that changes: the newest whose records every server shows. While not all of
/// them are shown, what signs goes on, unless nothing does.
pub fn signs(plan: &KeyPlan, journal: &[RecordStatus], domain: &str) -> Option<Vec<DkimRow>> {
    let shown = |key: &&DkimRow| {
        let name = dkim_name(&key.selector, domain);
        journal.iter().any(|r| r.name == name && r.state == RecordState::Ok)
    };
    let newest = plan.newest.iter().filter_map(|s| plan.keys.iter().find(|k| k.selector == *s));
    let ready: Vec<DkimRow> = newest.filter(shown).cloned().collect();
    let active = plan.keys.iter().filter(|k| k.active).count();
    let same = ready.len() == active && ready.iter().all(|k| k.active);
    let may = !ready.is_empty() && (ready.len() == plan.newest.len() || active == 0);
    (may && !same).then_some(ready)
}

/// Our keys as the status shows them; `before`: as it showed them until now.
pub fn shown(
    keys: &[DkimRow],
    newest: &[Selector],
    before: &[DkimKeyStatus],
    now: jiff::Timestamp,
) -> Vec<DkimKeyStatus> {
    let state = |k: &DkimRow| match (k.active, newest.contains(&k.selector)) {
        (true, true) => DkimKeyState::Active,
        (false, true) => DkimKeyState::Pending,
        (_, false) => DkimKeyState::Retiring,
    };
    let told = |k: &DkimRow| before.iter().find(|s| s.selector == k.selector).and_then(|s| s.retired_at.clone());
    let retired = |k: &DkimRow| {
        let out_of_use = !k.active && !newest.contains(&k.selector);
        out_of_use.then(|| told(k).unwrap_or_else(|| stamp(now)))
    };
    let shown = |k: &DkimRow| DkimKeyStatus {
        selector: k.selector.clone().into(),
        algorithm: k.algorithm,
        state: state(k),
        retired_at: retired(k),
    };
    keys.iter().map(shown).collect()
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
