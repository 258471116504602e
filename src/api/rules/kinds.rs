//! Which fields of one struct go together, and what a list of structs may hold.

use super::schema::{list, rule, rule_at, set};
use schemars::Schema;
use serde_json::json;

/// [`crate::AllowedNamespaces`]: which field goes with which value of `from`.
pub(crate) fn allowed_namespaces(s: &mut Schema) {
    rule(
        s,
        "self.from == 'Selector' ? has(self.selector) : !has(self.selector)",
        "selector goes with from: Selector, and only with it",
    );
    rule(
        s,
        "self.from == 'Names' ? has(self.names) && self.names.size() > 0 : !has(self.names) || self.names.size() == 0",
        "names (at least one) goes with from: Names, and only with it",
    );
}

/// [`crate::groupware_backend::Database`]: the CA belongs to the one mode that checks certificates.
pub(crate) fn database(s: &mut Schema) {
    rule_at(
        s,
        ".caSecretRef",
        "!has(self.caSecretRef) || self.tls == 'VerifyFull'",
        "caSecretRef goes with tls: VerifyFull: the other modes check no certificate",
    );
}

/// [`crate::mailbox::AutoReply`]: the first day is not after the last one.
pub(crate) fn auto_reply(s: &mut Schema) {
    rule_at(
        s,
        ".until",
        "!has(self.from) || !has(self.until) || self.until >= self.from",
        "until must be the same day as from or a later one",
    );
}

/// [`crate::mailbox::Password`]: at most one source.
pub(crate) fn password(s: &mut Schema) {
    rule(
        s,
        "[has(self.generate), has(self.secretRef), has(self.hashSecretRef)].filter(x, x).size() <= 1",
        "exactly one of generate, secretRef and hashSecretRef may be given; none = generate",
    );
}

/// [`crate::mail_alias::AliasTarget`]: a mailbox or an address.
pub(crate) fn alias_target(s: &mut Schema) {
    rule(s, "has(self.mailboxRef) != has(self.address)", "a target is exactly one of mailboxRef and address");
}

/// Targets of an alias, each once.
pub(crate) fn targets(s: &mut Schema) {
    list(s, 1, 500);
    s.insert("x-kubernetes-list-type".into(), json!("atomic"));
    rule(s, "self.all(t, self.exists_one(u, u == t))", "no target may be given twice");
}

/// [`crate::mail_domain::DomainDns`]: `Managed` needs a backend, `Manual` has none.
pub(crate) fn domain_dns(s: &mut Schema) {
    rule_at(
        s,
        ".backendRef",
        "self.mode != 'Managed' || has(self.backendRef)",
        "mode: Managed needs backendRef, the DNSBackend that holds the zone",
    );
    rule_at(
        s,
        ".backendRef",
        "self.mode != 'Manual' || !has(self.backendRef)",
        "mode: Manual has no backendRef: the records are edited elsewhere; remove it or say mode: Managed",
    );
    rule_at(
        s,
        ".mode",
        "self.mode == oldSelf.mode",
        "mode is immutable: who writes the records of a domain does not change; delete this MailDomain and create one with the other mode",
    );
}

/// Algorithms of signing keys, each once.
pub(crate) fn algorithms(s: &mut Schema) {
    set(s, 1, 2);
}

/// Status of a condition, as apimachinery bounds it.
pub(crate) fn condition_status(s: &mut Schema) {
    s.insert("enum".into(), json!(["True", "False", "Unknown"]));
}
