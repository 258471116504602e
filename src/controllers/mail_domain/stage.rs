//! The status of a domain while its stages run: each puts in what it found, whatever becomes of the next.

use super::super::ctx::{Ctx, Step, write_status};
use super::super::edges::put;
use super::super::hold::Hold;
use mailtenant_api::mail_domain::DomainDnsStatus;
use mailtenant_api::*;
use mailtenant_dns::{Change, RecordType};
use mailtenant_mail::merge::PreviousMx;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// RFC 3339 in whole seconds: texts of this form compare as the times do.
pub fn stamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// [`stamp`] of the first whole second that is not before: what is waited for is over then.
fn stamp_after(at: jiff::Timestamp) -> String {
    let begun = at.subsec_nanosecond() > 0;
    stamp(at + jiff::SignedDuration::from_secs(i64::from(begun)))
}

/// A status under construction.
pub struct Progress {
    /// The object that this pass is about; its spec stays the one that was looked at.
    pub object: Arc<MailDomain>,
    /// All but the conditions.
    pub status: MailDomainStatus,
    /// The conditions.
    pub conditions: Conditions,
}

impl Progress {
    /// Starts from what the status says now.
    pub fn new(ctx: &Ctx, object: Arc<MailDomain>) -> Self {
        let generation = object.metadata.generation.unwrap_or_default();
        let old = object.status.clone().unwrap_or_default();
        let mut conditions = Conditions::new(&old.conditions, generation, ctx.clock.now());
        // On the way out it is said anew by each pass, and must keep the time since when it holds.
        if object.metadata.deletion_timestamp.is_none() {
            conditions.remove(ConditionType::DeletionBlocked);
        }
        Progress { status: MailDomainStatus { observed_generation: Some(generation), ..old }, conditions, object }
    }

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

    /// [`Progress::write`] of what must be known before the DNS is changed: nothing is changed for an object that is gone.
    pub async fn write_first(&mut self, ctx: &Ctx) -> Step<()> {
        if self.write(ctx).await? {
            return Ok(());
        }
        Err(Hold::waiting(Reason::Progressing, "the MailDomain is gone").into())
    }

    /// Writes the status as it is now, if it differs: at the end, and before the DNS is changed. False: the object is gone.
    pub async fn write(&mut self, ctx: &Ctx) -> Result<bool, kube::Error> {
        let mut status = self.status.clone();
        status.conditions = self.conditions.clone().into_vec();
        let key = NamespacedName::of(self.object.as_ref());
        let api = ctx.api::<MailDomain>(&key.namespace);
        // What the world has may be newer than the spec that this pass looks at; for the comparison the newer one counts.
        let uid = self.object.metadata.uid.clone();
        let known = ctx.world().domains.get(&key).filter(|d| d.metadata.uid == uid);
        write_status(ctx, &api, known.as_deref().unwrap_or(&self.object), status, put::domain).await
    }
}
