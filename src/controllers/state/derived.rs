//! What follows from a single object.

use kube::Resource;
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_api::*;
use mailtenant_groupware::{Address, Adopt, Capability, DomainName, Origin, Owner, Uid};
use mailtenant_mail::records;
use std::collections::BTreeSet;

/// The DNSBackends that a domain is on: the one it names, and the one that has its records. They differ when
/// `dns.backendRef` was changed.
pub fn dns_backends(domain: &MailDomain) -> BTreeSet<String> {
    let written = domain.status.as_ref().and_then(|s| s.dns.as_ref()).and_then(|d| d.backend.clone());
    domain.spec.dns.backend_ref.iter().map(|r| r.name.clone()).chain(written).collect()
}

/// The name that a domain has in the DNS; as it is written if it is not a name at all.
pub fn a_label(domain: &MailDomain) -> DomainName {
    // What is no name is asked for as it is written: no server has it.
    DomainName::new(&domain.spec.domain).unwrap_or_else(|_| DomainName::from_server(&domain.spec.domain))
}

/// The journal of records in a domain's status. An entry counts only at or below the own name: whoever may write the status
/// must not have records of others changed by it (I13).
pub fn journal<'a>(domain: &MailDomain, status: &'a MailDomainStatus) -> impl Iterator<Item = &'a RecordStatus> {
    let own = a_label(domain);
    let records = status.dns.iter().flat_map(|d| &d.records);
    records.filter(move |r| mailtenant_mail::name::is_within(&r.name, &own))
}

/// Who an object is to a server.
pub fn owner_uid<K: Resource>(object: &K) -> Uid {
    Uid::new(uid(object))
}

/// Where an object stands in the cluster of this id.
pub fn origin<K: Resource>(cluster: String, object: &K) -> Origin {
    let meta = object.meta().clone();
    Origin { cluster, namespace: meta.namespace.unwrap_or_default(), name: meta.name.unwrap_or_default() }
}

/// Whether a row says that its owner stands where `object` does. One of before that was noted does not, and is written once.
pub fn is_noted<K: Resource>(row: Option<&Origin>, object: &K) -> bool {
    row.is_some_and(|o| o.same_place(&origin(String::new(), object)))
}

/// Who an object of the cluster of this id is to a server. It takes over what its own tenant let go; for more it has to be
/// entitled ([`crate::rules::entitlement`]).
pub fn owner<K: Resource>(cluster: String, object: &K, policy: AdoptionPolicy) -> Owner {
    let adopt = match policy {
        AdoptionPolicy::Never => Adopt::Nothing,
        AdoptionPolicy::IfUnowned => Adopt::Kept,
    };
    Owner { uid: owner_uid(object), adopt, origin: origin(cluster, object), replaces: None }
}

/// Value of the TXT record that a domain shows for its proof. Where it is to take over what is there, that record entitles
/// to it too, so that nobody has to publish two.
pub fn proof_value(domain: &MailDomain, name: &str) -> String {
    match domain.spec.adoption_policy {
        AdoptionPolicy::Never => records::challenge_value(&uid(domain), name),
        AdoptionPolicy::IfUnowned => records::adoption_value(&uid(domain), name),
    }
}

/// The local part under which objects declare an address: `*` for the catch-all.
pub fn declared_local_part(address: &Address) -> &str {
    match address.local() {
        "" => "*",
        local => local,
    }
}

/// The Secret that a mailbox's access data is written to.
pub fn credentials_secret(mailbox: &Mailbox) -> String {
    let name = mailbox.metadata.name.as_deref().unwrap_or_default();
    mailbox.spec.credentials_secret.clone().unwrap_or_else(|| format!("{name}-mail"))
}

/// Bytes of a quota; what CEL lets through is readable.
pub fn bytes(quantity: &Quantity) -> u64 {
    quantity.bytes().unwrap_or(0)
}

/// Whether an object waits for storage or numbers.
pub fn wants_capacity(conditions: &[Condition]) -> bool {
    conditions::find(conditions, ConditionType::Ready)
        .is_some_and(|c| [Reason::QuotaExceeded, Reason::LimitExceeded].iter().any(|r| r.as_str() == c.reason))
}

/// Names of the Secrets that a spec names.
pub fn secret_names(refs: Option<Vec<SecretKeyRef>>) -> BTreeSet<String> {
    refs.into_iter().flatten().map(|r| r.name).collect()
}

/// What a server can do, by its object's status. A word of another version says nothing.
pub fn capabilities(backend: &GroupwareBackend) -> BTreeSet<Capability> {
    let words = backend.status.iter().flat_map(|s| &s.capabilities);
    words.filter_map(|word| Capability::parse(word)).collect()
}
