//! The parents of a domain as the watches tell, and whether they may be used. Pure.

use crate::not_ready::NotReady;
use crate::rules::{backend_ready, zones};
use crate::state::derived::a_label;
use crate::state::kind::ObjectId;
use crate::state::limits::{self, Verdict};
use crate::state::parents::{self, Instance};
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_groupware::TenantId;
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the watches tell of the parents.
#[derive(Debug, Clone)]
pub struct Known {
    /// The instance with its backend, or why it cannot be used.
    pub instance: Result<Instance, NotReady>,
    /// Whether the instance's number of domains allows this one.
    pub limit: Verdict,
    /// The DNSBackend that the spec names, if it is there.
    pub dns: Option<Arc<DNSBackend>>,
    /// Whether the name may be the namespace's where its records are edited by hand.
    pub by_hand: Result<(), NotReady>,
    /// Labels of the namespace.
    pub labels: BTreeMap<String, String>,
}

impl Known {
    pub fn of(world: &World, id: &ObjectId, domain: &MailDomain) -> Self {
        let instance = parents::instance(world, &id.key.sibling(&domain.spec.instance_ref.name), false);
        let limit = instance.as_ref().map_or(Verdict::Fits, |i| limits::domain(world, &i.object, id));
        let dns = domain.spec.dns.backend_ref.as_ref();
        let dns = dns.and_then(|r| world.dns.get(&NamespacedName::new("", &r.name)));
        let labels = world.namespace_labels(&id.key.namespace);
        let by_hand = match zones::by_hand(domain) {
            true => {
                let all = world.dns.iter().map(|(_, backend)| backend.as_ref());
                zones::allowed_by_hand(&labels, all, &id.key.namespace, &a_label(domain)).map(drop)
            }
            false => Ok(()),
        };
        Known { instance, limit, dns, by_hand, labels }
    }
}

/// Parents that may be used.
#[derive(Debug, Clone, Copy)]
pub struct Parents<'a> {
    pub instance: &'a Instance,
    pub tenant: &'a TenantId,
    /// None: the records are edited by hand.
    pub dns: Option<&'a DNSBackend>,
    /// Whether the name has to be proven before it is claimed: always where nobody of the platform edits the zone.
    pub needs_proof: bool,
}

/// The rules about parents, in the order in which they are reported.
pub fn check<'a>(domain: &MailDomain, name: &str, known: &'a Known) -> Result<Parents<'a>, NotReady> {
    let (instance, tenant) = usable(known)?;
    let (dns, needs_proof) = match zones::managed_by(domain)? {
        Some(dns_name) => {
            let dns = known.dns.as_deref().ok_or_else(|| zones::not_there(dns_name))?;
            let namespace = domain.metadata.namespace.as_deref().unwrap_or_default();
            let zone = zones::allowed(&known.labels, dns, namespace, name)?;
            (Some((dns_name, dns)), zones::needs_proof(dns, zone))
        }
        None => {
            known.by_hand.clone()?;
            (None, true)
        }
    };
    backend_ready::groupware(&instance.backend)?;
    if domain.spec.alias_of.is_some() {
        return Err(NotReady::stalled(Reason::Unsupported, "aliasOf is not supported yet: take it out of the spec"));
    }
    // What was written is known to one server only: another one would be written to, and the first never cleaned.
    if let Some((dns_name, _)) = dns
        && let Some(old) = domain.status.as_ref().and_then(|s| s.dns.as_ref()).and_then(|d| d.backend.as_ref())
        && old.as_str() != dns_name
    {
        let text = format!(
            "the records of {name} are at DNSBackend {old}: set dns.backendRef back to it, and make a new MailDomain to move"
        );
        return Err(NotReady::stalled(Reason::InvalidSpec, text));
    }
    Ok(Parents { instance, tenant, dns: dns.map(|(_, dns)| dns), needs_proof })
}

/// An instance in which something new may be made, and the id of its tenant.
fn usable(known: &Known) -> Result<(&Instance, &TenantId), NotReady> {
    let instance = known.instance.as_ref().map_err(Clone::clone)?;
    if let Some(not_ready) = parents::paused_by(&instance.object) {
        return Err(not_ready);
    }
    if instance.object.metadata.deletion_timestamp.is_some() {
        let text = format!("MailInstance {} is being deleted: nothing new is made in it", instance.key.name);
        return Err(NotReady::waiting(Reason::InstanceNotReady, text));
    }
    let Some(tenant) = &instance.id else {
        let text = format!("MailInstance {} is not ready yet: see its conditions", instance.key.name);
        return Err(NotReady::waiting(Reason::InstanceNotReady, text));
    };
    if let Verdict::Number { limit, .. } = known.limit {
        let text = format!(
            "MailInstance {} allows {limit} domains: raise spec.limits.domains, or delete one",
            instance.key.name
        );
        return Err(NotReady::stalled(Reason::LimitExceeded, text));
    }
    Ok((instance, tenant))
}
