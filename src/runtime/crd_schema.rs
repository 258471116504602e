//! Compares the schema of an installed CRD with the one that the process was built with. Pure.
//!
//! The apiserver drops what its schema does not know, without a word to whoever writes a status. So it matters which
//! fields are missing, not which release the CRD says it is from: a CRD that was edited by hand still says the old one.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// How many fields a message names.
const NAMED: usize = 5;

/// A CRD that the process needs, as it was built with it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Name of the CRD, `<plural>.<group>`.
    pub name: String,
    /// The version that must be served.
    pub version: String,
    schema: Value,
}

impl Wanted {
    /// From a manifest; without a schema for `version`, only the version is asked for.
    pub fn new(crd: &Value, version: &str) -> Self {
        let name = crd.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
        let schema = versions.into_iter().flatten().find(|v| v.get("name").is_some_and(|name| name == version));
        let schema = schema.and_then(|v| v.pointer("/schema/openAPIV3Schema")).cloned().unwrap_or_default();
        // As an apiserver gives it back: 5 may be written as 5.0.
        let typed = serde_json::from_value::<JSONSchemaProps>(schema.clone()).and_then(serde_json::to_value);
        let schema = if schema.is_null() { schema } else { typed.unwrap_or(schema) };
        Wanted { name, version: version.to_owned(), schema: without_descriptions(schema) }
    }

    /// How the installed CRD differs. Descriptions do not count.
    pub fn compare(&self, installed: &CustomResourceDefinition) -> Difference {
        let version = installed.spec.versions.iter().find(|v| v.name == self.version);
        let schema = version.and_then(|v| v.schema.as_ref()).and_then(|s| s.open_api_v3_schema.as_ref());
        let there = schema.and_then(|schema| serde_json::to_value(schema).ok()).unwrap_or_default();
        let there = without_descriptions(there);
        if self.schema.is_null() || there == self.schema {
            return Difference::default();
        }
        let (wanted, installed) = (fields(&self.schema), fields(&there));
        let without = |these: &BTreeSet<String>, those: &BTreeSet<String>| these.difference(those).cloned().collect();
        Difference { lacks: without(&wanted, &installed), more: without(&installed, &wanted), differs: true }
    }
}

/// How the schema of an installed CRD differs from the one that the process was built with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Fields, and words of an enum (`spec.suspend=All`), that it does not have: the apiserver drops or refuses them.
    pub lacks: Vec<String>,
    /// Those that it has and the process does not know.
    pub more: Vec<String>,
    /// Something differs, be it only a rule or a default.
    pub differs: bool,
}

impl Difference {
    /// One word for a metric; none: it does not differ.
    pub fn word(&self) -> Option<&'static str> {
        match self {
            Difference { differs: false, .. } => None,
            Difference { lacks, .. } if !lacks.is_empty() => Some("lacks_fields"),
            Difference { more, .. } if !more.is_empty() => Some("unknown_fields"),
            Difference { .. } => Some("rules"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word() {
            None => write!(f, "is that of this release"),
            Some("lacks_fields") => write!(
                f,
                "is not that of this release, it lacks {}: nothing is done until the CRDs of this release are applied",
                some(&self.lacks)
            ),
            Some("unknown_fields") => write!(
                f,
                "is not that of this release, it has {}: what is written there is ignored until the operator of the \
                 CRD's release runs",
                some(&self.more)
            ),
            Some(_) => write!(
                f,
                "is not that of this release, it has other rules or defaults: apply the CRDs of the operator's release"
            ),
        }
    }
}

fn some(fields: &[String]) -> String {
    let named = fields.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match fields.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Paths of all fields below a schema, and the words of its enums.
fn fields(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(schema, "", &mut found);
    found
}

fn collect(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(inner, &path, found);
        found.insert(path);
    }
    for word in schema.get("enum").and_then(Value::as_array).into_iter().flatten() {
        found.insert(format!("{path}={}", word.as_str().map_or_else(|| word.to_string(), str::to_owned)));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            collect(inner, &format!("{path}[]"), found);
        }
    }
}

/// A field may be called `description` too: only the texts of schemas are removed.
fn without_descriptions(mut schema: Value) -> Value {
    if let Some(map) = schema.as_object_mut() {
        map.remove("description");
        for (_, inner) in map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
            *inner = without_descriptions(inner.take());
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = map.get_mut(key) {
                *inner = without_descriptions(inner.take());
            }
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd(spec: &Value) -> Value {
        json!({
            "metadata": {"name": "things.example.dev"},
            "spec": {"group": "example.dev", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "description": "A thing.", "properties": {"spec": spec}}}}]},
        })
    }

    #[test]
    fn what_is_missing_what_is_more_and_what_else_differs_is_told_apart() {
        let ours = json!({"type": "object", "description": "What is wanted.", "properties": {
            "size": {"type": "integer", "maximum": 5, "description": "Its size."},
            "description": {"type": "string"},
            "mode": {"type": "string", "enum": ["On", "Off"]},
            "parts": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        }});
        let wanted = Wanted::new(&crd(&ours), "v1");
        let table: [(&str, Value, Option<&str>, &str); 8] = [
            ("/properties/size/description", json!("Other words."), None, "is that of this release"),
            ("/properties/size/maximum", json!(7), Some("rules"), "other rules or defaults"),
            ("/properties/size", Value::Null, Some("lacks_fields"), "it lacks spec.size: nothing is done"),
            ("/properties/description", Value::Null, Some("lacks_fields"), "lacks spec.description:"),
            ("/properties/mode/enum", json!(["On"]), Some("lacks_fields"), "lacks spec.mode=Off:"),
            ("/properties/mode/enum", json!(["On", "Off", "Auto"]), Some("unknown_fields"), "has spec.mode=Auto:"),
            ("/properties/parts/items/properties", json!({}), Some("lacks_fields"), "lacks spec.parts[].name:"),
            ("/properties/more", json!({"type": "string"}), Some("unknown_fields"), "has spec.more:"),
        ];
        for (path, value, word, message) in table {
            let mut theirs = ours.clone();
            let (parent, field) = path.rsplit_once('/').unwrap();
            let parent = theirs.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            match value {
                Value::Null => _ = parent.remove(field),
                value => _ = parent.insert(field.into(), value),
            }
            let difference = wanted.compare(&serde_json::from_value(crd(&theirs)).unwrap());
            assert_eq!(difference.word(), word, "{path} {difference:?}");
            assert!(difference.to_string().contains(message), "{path}: {difference}");
        }
    }

    #[test]
    fn many_fields_are_counted() {
        let fields = ["a", "b", "c", "d", "e", "f", "g"].map(String::from).to_vec();
        assert_eq!(some(&fields), "a, b, c, d, e and 2 more");
    }
}
