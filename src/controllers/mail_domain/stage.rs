//! The status of a domain while its stages run: each puts in what it found, whatever becomes of the next.

use super::super::ctx::{Ctx, write_status};
use super::super::edges::put;
use crate::api::mail_domain::DomainDnsStatus;
use crate::api::*;
use crate::dns::merge::PreviousMx;
use crate::runtime::store::NamespacedName;
use std::sync::Arc;

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
        conditions.remove(ConditionType::DeletionBlocked);
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

    /// Writes the status as it is now, if it differs: at the end, and before the DNS is changed.
    pub async fn write(&mut self, ctx: &Ctx) -> Result<(), kube::Error> {
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
