//! What the status of a domain says: what the plan notes on its way, and of its records the journal, the MX set from before,
//! how long resolvers keep MX.

pub use super::stamps::stamp;
use super::stamps::stamp_after;
use super::steps::Note;
use super::zone_file;
use crate::not_ready::NotReady;
use crate::pass::draft::Draft;
use crate::state::derived;
use mailtenant_api::mail_domain::{Challenge, DomainDnsStatus, DomainState, RecordStatus, ZoneFileRef};
use mailtenant_api::*;
use mailtenant_dns::{Change, RecordType};
use mailtenant_mail::merge::{self, PreviousMx};
use mailtenant_mail::records;

/// Puts in what the plan notes for the domain with a uid.
pub(super) fn put(status: &mut MailDomainStatus, conditions: &mut Conditions, note: Note) {
    match note {
        Note::Name(name, value) => {
            status.challenge = Some(Challenge { name: records::challenge_name(&name), type_: "TXT".into(), value });
            status.backend_id = Some(name);
            status.state.get_or_insert(DomainState::Pending);
        }
        Note::Handled(asked) => status.last_handled_reconcile_at = asked,
        Note::State(state) => status.state = Some(state),
        Note::Condition(type_, good, reason, message) => conditions.set(type_, good, reason, message),
        Note::Drift(drift) => status.drift = drift,
        Note::Ownership(ownership) => status.ownership = Some(ownership),
        Note::Keys(keys) => status.dkim = keys,
        Note::Rotated(wish) => status.last_handled_rotate_dkim = Some(wish),
        Note::Propagating(sets) => {
            let among = |r: &RecordStatus| sets.iter().any(|(n, t)| *n == r.name && t.as_str() == r.type_);
            let records = status.dns.iter_mut().flat_map(|d| &mut d.records);
            for record in records.filter(|r| r.state == RecordState::Ok && among(r)) {
                record.state = RecordState::Propagating;
            }
        }
        Note::MxShown => {
            let left = |r: &RecordStatus| merge::is_our_mx(r) && r.state == RecordState::Propagating;
            status.dns.iter_mut().for_each(|d| d.records.retain(|r| !left(r)));
        }
        Note::Kept(kept) => {
            let records = status.dns.iter_mut().flat_map(|d| &mut d.records);
            super::records::judge(records, &kept);
        }
        Note::Records(records) => status.dns.get_or_insert_default().records = records,
        Note::MxLeadsHere(ttl, at) => note_ttl(status.dns.get_or_insert_default(), ttl, at),
        Note::MtaSts(None) => status.dns.iter_mut().for_each(|d| d.mta_sts = None),
        Note::MtaSts(sts) => status.dns.get_or_insert_default().mta_sts = sts,
        Note::FormerPolicy(None) => status.dns.iter_mut().for_each(|d| d.former_policy = None),
        Note::FormerPolicy(policy) => status.dns.get_or_insert_default().former_policy = policy,
        Note::ZoneFile(name) => {
            let reference = |config_map| ZoneFileRef { config_map, key: zone_file::KEY.into() };
            status.dns.get_or_insert_default().zone_file = name.map(reference);
        }
    }
}

/// The status of a domain under construction.
pub type Progress = Draft<MailDomain>;

impl Draft<MailDomain> {
    /// Puts in what the plan notes.
    pub fn note(&mut self, note: Note) {
        put(&mut self.status, &mut self.conditions, note);
    }

    /// A condition that says why the pass cannot go on, besides `Ready`.
    pub fn refuse(&mut self, condition: Option<ConditionType>, not_ready: &NotReady) {
        if let Some(condition) = condition {
            self.conditions.set(condition, false, not_ready.reason, not_ready.message.clone());
        }
    }

    /// The part about records.
    pub fn dns(&mut self) -> &mut DomainDnsStatus {
        self.status.dns.get_or_insert_default()
    }

    /// The journal of records: see [`derived::journal`].
    pub fn journal(&self) -> Vec<RecordStatus> {
        derived::journal(&self.object, &self.status).cloned().collect()
    }

    /// The MX set from before the cut-over.
    pub fn previous_mx(&self) -> Option<PreviousMx> {
        let dns = self.status.dns.as_ref()?;
        let values = dns.previous_mx.clone()?;
        Some(PreviousMx { values, ttl: dns.previous_mx_ttl.unwrap_or_default().max(0) as u32 })
    }

    /// Puts in a journal.
    pub fn set_journal(&mut self, records: Vec<RecordStatus>, previous: Option<PreviousMx>) {
        let dns = self.dns();
        dns.records = records;
        if let Some(previous) = previous {
            dns.previous_mx_ttl = (!previous.values.is_empty()).then_some(i64::from(previous.ttl));
            dns.previous_mx = Some(previous.values);
        }
    }

    /// Notes how long resolvers may keep the MX that is going to be written, and the one that it replaces: on the way out
    /// both must have run out (I7), whatever the spec says by then. True if the status changed.
    pub fn note_mx_ttl(&mut self, changes: &[Change], now: jiff::Timestamp) -> bool {
        let Some(mx) = changes.iter().find(|c| c.after.rtype == RecordType::MX && !c.after.values.is_empty()) else {
            return false;
        };
        let dns = self.dns();
        let before = (dns.mx_ttl, dns.mx_cached_until.clone());
        note_ttl(dns, mx.after.ttl, now);
        before != (dns.mx_ttl, dns.mx_cached_until.clone())
    }

    /// Until when resolvers may send mail here, once MX is seen to have left now.
    pub fn mx_is_cached_until(&self, now: jiff::Timestamp) -> String {
        cached_until(&self.status.dns.clone().unwrap_or_default(), self.object.spec.dns.ttl, now)
    }
}

/// Notes the time to live that MX has from now on. What resolvers took with a longer one is there until that is over.
fn note_ttl(dns: &mut DomainDnsStatus, ttl: u32, now: jiff::Timestamp) {
    if let Some(old) = dns.mx_ttl.filter(|old| *old > i64::from(ttl)) {
        let until = stamp_after(now + jiff::SignedDuration::from_secs(old.min(LONGEST_TTL)));
        dns.mx_cached_until = dns.mx_cached_until.take().max(Some(until));
    }
    dns.mx_ttl = Some(i64::from(ttl));
}

/// Longest time for which a TTL is waited for, in seconds: resolvers cap it at 7 days (RFC 8767, 4). Whoever had an MX with one of
/// years, or writes one into the status, would else keep the domain as long.
const LONGEST_TTL: i64 = 604_800;

/// The longest TTL counts, not the last: what a resolver took while MX had a longer one is there until that is over.
fn cached_until(dns: &DomainDnsStatus, declared: i32, now: jiff::Timestamp) -> String {
    let ttl = dns.mx_ttl.unwrap_or(i64::from(declared)).clamp(1, LONGEST_TTL);
    let after = |seconds| stamp_after(now + jiff::SignedDuration::from_secs(seconds));
    let at = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let until = after(ttl);
    let counts = |old: &String| at(old).is_some() && at(old) > at(&until);
    dns.mx_cached_until.clone().filter(counts).map_or(until.clone(), |old| old.min(after(LONGEST_TTL)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_lasts_for_the_longest_ttl() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (ttl, known, until, why) in [
            (Some(60), None, "2026-01-01T00:01:00Z", "the TTL that MX had last"),
            (None, None, "2026-01-01T01:00:00Z", "the declared one, where none was noted"),
            (Some(60), Some("2026-01-02T00:00:00Z"), "2026-01-02T00:00:00Z", "it had a longer one before"),
            (Some(60), Some("2025-12-31T00:00:00Z"), "2026-01-01T00:01:00Z", "that one is over"),
            (Some(i64::MAX), None, "2026-01-08T00:00:00Z", "no resolver keeps it longer"),
            (Some(60), Some("2999-01-01T00:00:00Z"), "2026-01-08T00:00:00Z", "nor this, whoever wrote it"),
            (Some(60), Some("soon"), "2026-01-01T00:01:00Z", "nobody can read it"),
            (Some(-5), None, "2026-01-01T00:00:01Z", "never at once"),
        ] {
            let dns = DomainDnsStatus {
                mx_ttl: ttl,
                mx_cached_until: known.map(str::to_owned),
                ..DomainDnsStatus::default()
            };
            assert_eq!(cached_until(&dns, 3600, now), until, "{why}");
        }
    }
}
