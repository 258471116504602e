//! What the status of a domain says of its records: the journal, the MX set from before, how long resolvers keep MX.

use crate::pass::draft::Draft;
use mailtenant_api::mail_domain::DomainDnsStatus;
use mailtenant_api::*;
use mailtenant_dns::{Change, RecordType};
use mailtenant_mail::merge::PreviousMx;

/// RFC 3339 in whole seconds: texts of this form compare as the times do.
pub fn stamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// [`stamp`] of the first whole second that is not before: what is waited for is over then.
fn stamp_after(at: jiff::Timestamp) -> String {
    let begun = at.subsec_nanosecond() > 0;
    stamp(at + jiff::SignedDuration::from_secs(i64::from(begun)))
}

/// The status of a domain under construction.
pub type Progress = Draft<MailDomain>;

impl Draft<MailDomain> {
    /// The part about records.
    pub fn dns(&mut self) -> &mut DomainDnsStatus {
        self.status.dns.get_or_insert_default()
    }

    /// The journal of records.
    pub fn journal(&self) -> Vec<mail_domain::RecordStatus> {
        self.status.dns.as_ref().map(|d| d.records.clone()).unwrap_or_default()
    }

    /// The MX set from before the cut-over.
    pub fn previous_mx(&self) -> Option<PreviousMx> {
        let dns = self.status.dns.as_ref()?;
        let values = dns.previous_mx.clone()?;
        Some(PreviousMx { values, ttl: dns.previous_mx_ttl.unwrap_or_default().max(0) as u32 })
    }

    /// Puts in a journal.
    pub fn set_journal(&mut self, records: Vec<mail_domain::RecordStatus>, previous: Option<PreviousMx>) {
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
        if let Some(old) = dns.mx_ttl.filter(|old| *old > i64::from(mx.after.ttl)) {
            let until = stamp_after(now + jiff::SignedDuration::from_secs(old));
            dns.mx_cached_until = dns.mx_cached_until.take().max(Some(until));
        }
        dns.mx_ttl = Some(i64::from(mx.after.ttl));
        before != (dns.mx_ttl, dns.mx_cached_until.clone())
    }

    /// Until when resolvers may send mail here, once MX is seen to have left now.
    pub fn mx_is_cached_until(&self, now: jiff::Timestamp) -> String {
        let dns = self.status.dns.clone().unwrap_or_default();
        let ttl = dns.mx_ttl.unwrap_or(i64::from(self.object.spec.dns.ttl)).max(1);
        let until = stamp_after(now + jiff::SignedDuration::from_secs(ttl));
        dns.mx_cached_until.filter(|old| *old > until).unwrap_or(until)
    }
}
