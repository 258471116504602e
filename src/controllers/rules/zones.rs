//! Where the names of a domain are edited, whose namespaces may have them, and what DNS servers show of them. Pure.

use crate::not_ready::NotReady;
use mailtenant_api::dns_backend::Zone;
use mailtenant_api::mail_domain::DnsMode;
use mailtenant_api::{AllowedFrom, DNSBackend, MailDomain, Reason};
use mailtenant_dns::{BackendError, RrSet};
use mailtenant_mail::name;
use std::collections::BTreeMap;

/// Whether the tenant edits a domain's records, somewhere else.
pub fn by_hand(domain: &MailDomain) -> bool {
    domain.spec.dns.mode == DnsMode::Manual
}

/// Name of the DNSBackend that a domain's records are written to; none: they are edited by hand.
pub fn managed_by(domain: &MailDomain) -> Result<Option<&str>, NotReady> {
    match (domain.spec.dns.mode, &domain.spec.dns.backend_ref) {
        (DnsMode::Managed, Some(r)) => Ok(Some(&r.name)),
        (DnsMode::Managed, None) => {
            Err(NotReady::stalled(Reason::InvalidSpec, "dns.mode: Managed needs dns.backendRef"))
        }
        (DnsMode::Manual, _) => Ok(None),
    }
}

/// The words for a DNSBackend that is named and not there.
pub fn not_there(name: &str) -> NotReady {
    let text = format!("DNSBackend {name} is not there: the platform team has to create it");
    NotReady::waiting(Reason::BackendNotFound, text)
}

/// The most specific zone of a DNS backend that a name is in.
fn covering<'a>(backend: &'a DNSBackend, domain: &str) -> Option<(usize, &'a Zone)> {
    let zones = backend.spec.zones.iter().filter_map(|zone| Some((name::canonical(&zone.name).ok()?, zone)));
    zones.filter(|(z, _)| name::is_within(domain, z)).map(|(z, zone)| (z.len(), zone)).max_by_key(|(length, _)| *length)
}

/// The zones of all DNS backends that decide about a name whose records are edited by hand: the most specific ones. An error:
/// one of them is not for the namespace. `dns.mode: Manual` is no way around `allowedNamespaces` (I11).
pub fn allowed_by_hand<'a>(
    labels: &BTreeMap<String, String>,
    backends: impl Iterator<Item = &'a DNSBackend>,
    namespace: &str,
    domain: &str,
) -> Result<Vec<&'a Zone>, NotReady> {
    let all: Vec<(usize, &DNSBackend)> = backends.filter_map(|b| Some((covering(b, domain)?.0, b))).collect();
    let longest = all.iter().map(|(length, _)| *length).max();
    let deciding = all.into_iter().filter(|(length, _)| Some(*length) == longest);
    deciding.map(|(_, backend)| allowed(labels, backend, namespace, domain)).collect()
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
    match covering(backend, domain).map(|(_, zone)| zone) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use serde_json::{Value, json};

    #[test]
    fn editing_by_hand_is_no_way_around_the_zones_of_the_platform() {
        let (all, ours, theirs) = (
            json!({"from": "All"}),
            json!({"from": "Names", "names": ["t"]}),
            json!({"from": "Names", "names": ["u"]}),
        );
        // Of each DNSBackend whom it is for, and its zones with whom they are for; the zones that decide; none: refused.
        type Backend<'a> = (&'a Value, &'a [(&'a str, &'a Value)]);
        let rows: &[(&str, &[Backend<'_>], Option<&[&str]>)] = &[
            ("no DNSBackend at all", &[], Some(&[])),
            ("in no zone", &[(&theirs, &[("other.test", &Value::Null)])], Some(&[])),
            ("an open zone", &[(&all, &[("acme.test", &Value::Null)])], Some(&["acme.test"])),
            ("a zone for it", &[(&all, &[("acme.test", &ours)])], Some(&["acme.test"])),
            ("a zone for others", &[(&all, &[("acme.test", &theirs)])], None),
            ("a zone above for others", &[(&all, &[("test", &theirs)])], None),
            ("a DNSBackend for others", &[(&theirs, &[("acme.test", &Value::Null)])], None),
            (
                "the most specific zone decides: for others",
                &[(&all, &[("test", &ours)]), (&all, &[("acme.test", &theirs)])],
                None,
            ),
            (
                "the most specific zone decides: for it",
                &[(&all, &[("test", &theirs)]), (&all, &[("acme.test", &ours)])],
                Some(&["acme.test"]),
            ),
            (
                "two servers have the zone, and one is for others",
                &[(&all, &[("acme.test", &ours)]), (&all, &[("acme.test", &theirs)])],
                None,
            ),
            ("within one DNSBackend too", &[(&all, &[("test", &theirs), ("acme.test", &ours)])], Some(&["acme.test"])),
        ];
        for (why, backends, want) in rows {
            let zone = |(name, allowed): &(&str, &Value)| match allowed {
                Value::Null => json!({"name": name}),
                allowed => json!({"name": name, "allowedNamespaces": allowed}),
            };
            let backend = |(allowed, zones): &Backend<'_>| {
                let zones: Vec<Value> = zones.iter().map(zone).collect();
                fixtures::dns_backend(json!({"allowedNamespaces": allowed, "zones": zones}))
            };
            let backends: Vec<DNSBackend> = backends.iter().map(backend).collect();
            let found = allowed_by_hand(&BTreeMap::new(), backends.iter(), "t", "acme.test");
            let found = found.map(|zones| zones.into_iter().map(|z| z.name.as_str()).collect::<Vec<_>>());
            assert_eq!(found.as_deref().ok(), *want, "{why}");
            if let Err(refused) = found {
                assert_eq!(refused.reason, Reason::BackendNotAllowed, "{why}");
            }
        }
    }
}
