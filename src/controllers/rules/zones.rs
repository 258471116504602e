//! Where the names of a domain are edited, whose namespaces may have them, and what DNS servers show of them. Pure.

use crate::not_ready::NotReady;
use mailtenant_api::dns_backend::Zone;
use mailtenant_api::mail_domain::DnsMode;
use mailtenant_api::{AllowedFrom, DNSBackend, MailDomain, Reason};
use mailtenant_dns::{BackendError, RrSet};
use mailtenant_mail::name;
use std::collections::BTreeMap;

/// Name of the DNSBackend that a domain's records are written to.
pub fn managed_by(domain: &MailDomain) -> Result<&str, NotReady> {
    match (domain.spec.dns.mode, &domain.spec.dns.backend_ref) {
        (DnsMode::Managed, Some(r)) => Ok(&r.name),
        (DnsMode::Managed, None) => {
            Err(NotReady::stalled(Reason::InvalidSpec, "dns.mode: Managed needs dns.backendRef"))
        }
        (DnsMode::Manual, _) => {
            let text = "dns.mode: Manual is not supported yet: use Managed with a DNSBackend";
            Err(NotReady::stalled(Reason::Unsupported, text))
        }
    }
}

/// The words for a DNSBackend that is named and not there.
pub fn not_there(name: &str) -> NotReady {
    let text = format!("DNSBackend {name} is not there: the platform team has to create it");
    NotReady::waiting(Reason::BackendNotFound, text)
}

/// The zone of a DNS backend that a name is in, if the namespace may have it. The most specific zone decides.
pub fn allowed<'a>(
    labels: &BTreeMap<String, String>,
    backend: &'a DNSBackend,
    namespace: &str,
    domain: &str,
) -> Result<&'a Zone, NotReady> {
    let label = backend.metadata.name.as_deref().unwrap_or_default();
    let ask = "ask the platform team";
    if !backend.spec.allowed_namespaces.allows(namespace, labels) {
        return Err(NotReady::stalled(
            Reason::BackendNotAllowed,
            format!(
                "DNSBackend {label} does not allow namespace {namespace}: {ask} to add it to spec.allowedNamespaces"
            ),
        ));
    }
    let covers = |zone: &&Zone| name::canonical(&zone.name).is_ok_and(|z| name::is_within(domain, &z));
    let length = |z: &&Zone| name::canonical(&z.name).map_or(0, |n| n.len());
    let zone = backend.spec.zones.iter().filter(covers).max_by_key(length);
    match zone {
        None => Err(NotReady::stalled(
            Reason::BackendNotAllowed,
            format!("{domain} is in no zone of DNSBackend {label}: {ask} to add its zone to spec.zones"),
        )),
        Some(z) if z.allowed_namespaces.as_ref().is_some_and(|a| !a.allows(namespace, labels)) => {
            Err(NotReady::stalled(
                Reason::BackendNotAllowed,
                format!("zone {} of DNSBackend {label} does not allow namespace {namespace}: {ask}", z.name),
            ))
        }
        Some(zone) => Ok(zone),
    }
}

/// Whether a zone is for the namespaces that it names, and not for whoever comes first.
pub fn names_its_tenants(zone: &Zone) -> bool {
    zone.allowed_namespaces.as_ref().is_some_and(|a| a.from != AllowedFrom::All)
}

/// Whether a tenant has to prove a name in this zone of a DNS backend by a TXT record before it gets it. In a zone that names
/// nobody whoever comes first would get the mail of a domain of somebody else (I9), so that has to be said.
pub fn needs_proof(backend: &DNSBackend, zone: &Zone) -> bool {
    backend.spec.require_proof.unwrap_or(!names_its_tenants(zone))
}

/// Whether every authoritative server shows a value, of the sets that they have; no set: nobody answers for it.
pub fn all_show(seen: &[RrSet], value: &str) -> bool {
    !seen.is_empty() && seen.iter().all(|set| set.values.iter().any(|v| v == value))
}

/// A server that refuses does not say what it has: it may answer others.
pub fn no_answer(name: &str, error: BackendError) -> BackendError {
    match error {
        BackendError::NotFound(_) => BackendError::unavailable(format!("no DNS server answers for {name}")),
        error => error,
    }
}
