//! Objects for the tables of pure tests.

use crate::state::parents::{Domain, Instance};
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_api::*;
use mailtenant_groupware::{Address, Capability, DomainName, TenantId};
use mailtenant_runtime::store::NamespacedName;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An entry of a journal for a record that the operator made.
pub fn record(name: &str, type_: &str, purpose: Purpose, state: RecordState) -> RecordStatus {
    RecordStatus {
        name: name.into(),
        type_: type_.into(),
        value: if type_ == "MX" { "10 mx.test." } else { "v" }.into(),
        purpose,
        state,
        ownership: Some(Ownership::Created),
        term: None,
        edited: false,
        observed: None,
        message: None,
    }
}

/// Capabilities of a server that can do everything that is planned for, but names of aliases.
pub fn everything() -> BTreeSet<Capability> {
    use Capability::*;
    [
        TenantStorage,
        Suspend,
        SendAs,
        CatchAll,
        Forwarding,
        HashedPasswords,
        ProtocolAccess,
        Groupware,
        DkimRsa,
        DkimEd25519,
    ]
    .into()
}

/// An address, as it stands.
pub fn at(text: &str) -> Address {
    Address::from_server(text)
}

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, mut fields: Value) -> K {
    fields["apiVersion"] = json!(API_VERSION);
    fields["kind"] = json!(kind);
    let meta =
        json!({"name": name, "namespace": "t", "uid": format!("uid-{name}"), "generation": 1, "resourceVersion": "1"});
    for (k, v) in meta.as_object().into_iter().flatten() {
        if fields["metadata"][k].is_null() {
            fields["metadata"][k] = v.clone();
        }
    }
    serde_json::from_value(fields).unwrap()
}

/// A mailbox `alice` of the domain `d`; `spec` is added.
pub fn mailbox(spec: Value, rest: Value) -> Mailbox {
    let mut all = rest;
    all["spec"] = json!({"domainRef": {"name": "d"}, "localPart": "alice"});
    for (k, v) in spec.as_object().into_iter().flatten() {
        all["spec"][k] = v.clone();
    }
    object("Mailbox", "alice", all)
}

/// An alias `info` of the domain `d`; `spec` is added.
pub fn alias(spec: Value) -> MailAlias {
    let mut all = json!({"spec": {"domainRef": {"name": "d"}, "localPart": "info", "targets": [{"mailboxRef": {"name": "alice"}}]}});
    for (k, v) in spec.as_object().into_iter().flatten() {
        all["spec"][k] = v.clone();
    }
    object("MailAlias", "info", all)
}

/// The domain `d` (`acme.test`) in the instance `i`, whose spec is extended by `instance`.
pub fn domain(instance: Value) -> Domain {
    let mut spec = json!({"backendRef": {"name": "b"}, "storage": "10Gi", "defaultMailboxQuota": "1Gi"});
    for (k, v) in instance.as_object().into_iter().flatten() {
        spec[k] = v.clone();
    }
    let backend = json!({"spec": {"allowedNamespaces": {"from": "All"}, "hosts": {"mx": [{"host": "mx.test"}]}}});
    Domain {
        object: Arc::new(object(
            "MailDomain",
            "d",
            json!({"spec": {"instanceRef": {"name": "i"}, "domain": "acme.test", "dns": {"mode": "Manual"}}}),
        )),
        key: NamespacedName::new("t", "d"),
        name: DomainName::from_server("acme.test"),
        instance: Instance {
            object: Arc::new(object("MailInstance", "i", json!({"spec": spec}))),
            key: NamespacedName::new("t", "i"),
            id: Some(TenantId::new("i-0000")),
            backend: Arc::new(object("GroupwareBackend", "b", backend)),
        },
    }
}

/// The domain `d` (`acme.test`) with the DNSBackend `n`; `spec` is added.
pub fn managed_domain(spec: Value) -> MailDomain {
    let dns = json!({"mode": "Managed", "backendRef": {"name": "n"}});
    let mut all = json!({"instanceRef": {"name": "i"}, "domain": "acme.test", "dns": dns});
    for (k, v) in spec.as_object().into_iter().flatten() {
        all[k] = v.clone();
    }
    object("MailDomain", "d", json!({"spec": all}))
}

/// The DNSBackend `n` for `acme.test`, ready; `spec` is added.
pub fn dns_backend(spec: Value) -> DNSBackend {
    let mut all = json!({"allowedNamespaces": {"from": "All"}, "zones": [{"name": "acme.test"}], "requireProof": true});
    for (k, v) in spec.as_object().into_iter().flatten() {
        all[k] = v.clone();
    }
    object("DNSBackend", "n", json!({"spec": all, "status": ready()}))
}

/// A status of an object that is ready.
pub fn ready() -> Value {
    let since = "2026-01-01T00:00:00Z";
    json!({"conditions": [
        {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": since}
    ]})
}
