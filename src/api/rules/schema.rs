//! How a bound or a rule gets into a schema.

use schemars::Schema;
use serde_json::{Map, Value, json};

/// Adds a CEL rule and the message for values that break it.
pub(super) fn rule(s: &mut Schema, cel: impl Into<String>, message: &str) {
    push(s.ensure_object(), json!({"rule": cel.into(), "message": message}));
}

/// The same for a rule of one field; `path` is relative to the schema, such as `.domainRef`.
pub(super) fn rule_at(s: &mut Schema, path: &str, cel: impl Into<String>, message: &str) {
    push(s.ensure_object(), json!({"rule": cel.into(), "message": message, "fieldPath": path}));
}

fn push(schema: &mut Map<String, Value>, rule: Value) {
    if let Some(rules) = schema.entry("x-kubernetes-validations").or_insert_with(|| json!([])).as_array_mut() {
        rules.push(rule);
    }
}

/// Applies `f` to the schema of the items of a list.
pub(super) fn items(s: &mut Schema, f: impl Fn(&mut Schema)) {
    if let Some(items) = s.get_mut("items")
        && let Ok(mut schema) = Schema::try_from(items.take())
    {
        f(&mut schema);
        *items = schema.to_value();
    }
}

pub(super) fn text(s: &mut Schema, min: u32, max: u32) {
    s.insert("minLength".into(), json!(min));
    s.insert("maxLength".into(), json!(max));
}

pub(super) fn list(s: &mut Schema, min: u32, max: u32) {
    if min > 0 {
        s.insert("minItems".into(), json!(min));
    }
    s.insert("maxItems".into(), json!(max));
}

/// A list whose items differ from each other: the apiserver refuses `Duplicate value`.
pub(super) fn set(s: &mut Schema, min: u32, max: u32) {
    list(s, min, max);
    s.insert("x-kubernetes-list-type".into(), json!("set"));
}

/// A list of objects, each with another value in the field `key`.
pub(super) fn keyed(s: &mut Schema, min: u32, max: u32, key: &str) {
    list(s, min, max);
    s.insert("x-kubernetes-list-type".into(), json!("map"));
    s.insert("x-kubernetes-list-map-keys".into(), json!([key]));
}
