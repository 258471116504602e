//! New mail servers in MX of domains that are live: what the platform team corrects or adds in `hosts.mx`. A typing error there
//! would take the mail of every domain within seconds, so a new host is proven first, by one domain before the others. Pure.

use crate::not_ready::NotReady;
use crate::state::derived::journal;
use crate::state::parents::{self, Instance};
use crate::state::world::World;
use mailtenant_api::mail_domain::{DomainState, RecordStatus};
use mailtenant_api::*;
use mailtenant_mail::{mx, name};
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;

/// The hosts of MX that are declared, in canonical form.
pub fn hosts(instance: &Instance) -> BTreeSet<String> {
    instance.backend.spec.hosts.mx.iter().map(|m| canonical(&m.host)).collect()
}

/// The name of a host as MX has it.
pub fn canonical(host: &str) -> String {
    name::canonical(host).unwrap_or_else(|_| name::from_server(host))
}

/// Hosts of MX that MX of the domain never led to. What its journal names was proven before it was noted there.
pub fn new_hosts(instance: &Instance, journal: &[RecordStatus]) -> BTreeSet<String> {
    let known: BTreeSet<String> = journal
        .iter()
        .filter(|r| r.purpose == Purpose::MX && r.ownership.is_some())
        .filter_map(|r| mx::host(&r.value))
        .collect();
    hosts(instance).difference(&known).cloned().collect()
}

/// The hosts that MX of a live domain leads to, as all DNS servers show it.
pub fn shown(domain: &MailDomain) -> BTreeSet<String> {
    let Some(status) = domain.status.as_ref().filter(|s| s.state == Some(DomainState::Live)) else {
        return BTreeSet::new();
    };
    let good = |r: &&RecordStatus| r.purpose == Purpose::MX && r.ownership.is_some() && r.state == RecordState::Ok;
    journal(domain, status).filter(good).filter_map(|r| mx::host(&r.value)).collect()
}

/// Whether a domain waits for new mail servers in MX to be proven.
pub fn waits(domain: &MailDomain) -> bool {
    let published = domain.status.as_ref().and_then(|s| conditions::find(&s.conditions, ConditionType::DNSPublished));
    published.is_some_and(|c| c.reason == Reason::AwaitingAcceptance.as_str())
}

/// The domains of all instances on a GroupwareBackend.
pub fn domains_on<'w>(world: &'w World, backend: &str) -> impl Iterator<Item = &'w NamespacedName> {
    let instances = world.index.instances_by_backend.of(&backend.to_owned());
    instances.flat_map(|instance| world.index.domains_by_instance.of(instance)).collect::<BTreeSet<_>>().into_iter()
}

/// Whether it is for this domain to try the new hosts: MX of another live domain leads there already, or it is the first of
/// those that could go first.
pub fn turn(world: &World, key: &NamespacedName, backend: &str, new: &BTreeSet<String>) -> bool {
    let mut first = None;
    for other in domains_on(world, backend) {
        let Some(domain) = world.domains.get(other) else { continue };
        if new.is_subset(&shown(&domain)) {
            return true;
        }
        if first.is_none() && (other == key || goes_first(world, &domain)) {
            first = Some(other);
        }
    }
    first.is_none_or(|first| first == key)
}

/// Whether the others may wait for a domain: it is live, is written for, and nothing else is in its way.
fn goes_first(world: &World, domain: &MailDomain) -> bool {
    let Some(status) = domain.status.as_ref().filter(|s| s.state == Some(DomainState::Live)) else { return false };
    let instance = NamespacedName::of(domain).sibling(&domain.spec.instance_ref.name);
    let Ok(instance) = parents::instance(world, &instance, false) else { return false };
    let written = !parents::observes(domain.spec.management_policy, &instance.object)
        && !paused(domain)
        && parents::paused_by(&instance.object).is_none()
        && domain.metadata.deletion_timestamp.is_none();
    let reason = conditions::find(&status.conditions, ConditionType::Ready).map(|c| c.reason.as_str());
    let free = [Reason::Succeeded, Reason::Progressing, Reason::AwaitingAcceptance, Reason::DNSPropagating];
    written && reason.is_some_and(|reason| free.iter().any(|r| r.as_str() == reason))
}

/// Another domain tries the new hosts. Which one is nobody else's business (I11).
pub fn not_first(name: &str, new: &BTreeSet<String>) -> NotReady {
    let hosts: Vec<&str> = new.iter().map(String::as_str).collect();
    let text = format!(
        "MX of {name} stays as it is until MX of one other domain was switched to the new mail server {}",
        hosts.join(", ")
    );
    NotReady::waiting(Reason::AwaitingAcceptance, text)
}

/// A host of MX that nobody could find.
pub fn without_address(name: &str, host: &str, backend: &str) -> NotReady {
    let text = format!(
        "MX of {name} is not switched to {host}, which has no address (A, AAAA) in the DNS: create it, or correct \
         spec.hosts.mx of GroupwareBackend {backend}"
    );
    NotReady::retry(Reason::AwaitingAcceptance, text)
}

/// A host of MX of which nobody says whether it has an address.
pub fn unknown(name: &str, host: &str) -> NotReady {
    let text = format!(
        "MX of {name} is not switched to {host}: no DNS server says whether it has an address. Set resolvers of the DNSBackend \
         to servers that know it, if the root servers cannot be reached from here"
    );
    NotReady::retry(Reason::AwaitingAcceptance, text)
}

#[cfg(test)]
#[path = "move_mx_tests.rs"]
mod tests;
