//! Names of Kubernetes objects, labels, keys of Secrets.

use super::schema::{items, rule, set, text};
use schemars::Schema;
use serde_json::{Value, json};

/// The name of an object: an RFC 1123 subdomain.
const OBJECT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

/// Name of an object or a Secret (RFC 1123 subdomain).
pub(crate) fn object_name(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        format!("self.matches(r'^{OBJECT}$')"),
        "must be the name of an object: lower-case letters, digits, '-' and '.', starting and ending with a letter or a digit",
    );
}

/// Key of a Secret, as the apiserver itself allows it.
pub(crate) fn secret_key(s: &mut Schema) {
    text(s, 1, 253);
    rule(s, "self.matches(r'^[-._a-zA-Z0-9]+$')", "must be a key of a Secret: letters, digits, '-', '_' and '.'");
}

/// Names of namespaces, each once (RFC 1123 labels).
pub(crate) fn namespaces(s: &mut Schema) {
    set(s, 0, 128);
    items(s, |s| {
        text(s, 1, 63);
        rule(
            s,
            "self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "must be the name of a namespace: lower-case letters, digits and inner '-', at most 63 characters",
        );
    });
}

/// Labels that a namespace must have: keys and values as the apiserver allows them.
pub(crate) fn match_labels(s: &mut Schema) {
    s.insert("minProperties".into(), json!(1));
    s.insert("maxProperties".into(), json!(16));
    if let Some(values) = s.get_mut("additionalProperties").and_then(Value::as_object_mut) {
        values.insert("maxLength".into(), json!(63));
    }
    rule(
        s,
        "self.all(k, k.size() <= 317 && k.matches(r'^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$'))",
        "the keys must be label keys, such as mail or example.com/mail",
    );
    rule(
        s,
        "self.all(k, self[k].matches(r'^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$'))",
        "the values must be label values: letters, digits, '-', '_' and '.', at most 63 characters",
    );
}
