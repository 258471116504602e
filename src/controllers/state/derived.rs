//! What follows from a single object.

use mailtenant_api::*;
use mailtenant_groupware::Capability;
use std::collections::BTreeSet;

/// The DNSBackends that a domain is on: the one it names, and the one that has its records. They differ when
/// `dns.backendRef` was changed.
pub fn dns_backends(domain: &MailDomain) -> BTreeSet<String> {
    let written = domain.status.as_ref().and_then(|s| s.dns.as_ref()).and_then(|d| d.backend.clone());
    domain.spec.dns.backend_ref.iter().map(|r| r.name.clone()).chain(written).collect()
}

/// The name that a domain has in the DNS; as it is written if it is not a name at all.
pub fn a_label(domain: &MailDomain) -> String {
    mailtenant_mail::name::canonical(&domain.spec.domain).unwrap_or_else(|_| domain.spec.domain.clone())
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
