//! Compares the schema of an installed CRD with the one that the process was built with. Pure.
//!
//! The apiserver drops what its schema does not know, without a word to whoever writes a status, and refuses what breaks
//! a rule. So it matters which fields are missing and which rules are stricter, not which release the CRD says it is
//! from: a CRD that was edited by hand still says the old one. What is looser than ours takes all that we write.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use serde_json::Value;
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
        let lacks = not_let_through(&self.schema, &there);
        let (mut unfit, lacks): (Vec<String>, Vec<String>) = lacks.into_iter().partition(|path| self.is_ours(path));
        let stricter = stricter(&self.schema, &there);
        unfit.extend(stricter.into_iter().filter(|path| self.is_ours(path)));
        unfit.sort();
        Difference { unfit, lacks, more: not_let_through(&there, &self.schema), differs: true }
    }

    /// Whether the process writes it: the status; all of a kind that has none, which nobody else writes.
    fn is_ours(&self, path: &str) -> bool {
        let below_status = path.strip_prefix("status").is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
        below_status || self.schema.pointer("/properties/status").is_none()
    }
}

/// How the schema of an installed CRD differs from the one that the process was built with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What the process writes and the apiserver drops or refuses: fields, words of an enum (`status.phase=Done`), and
    /// rules that are stricter (`status.zone (maxLength)`).
    pub unfit: Vec<String>,
    /// Fields and words of an enum that others write, and that it does not have: the apiserver drops or refuses them.
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
            Difference { unfit, .. } if !unfit.is_empty() => Some("unfit"),
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
            Some("unfit") => write!(
                f,
                "is not that of this release, it lacks or refuses {}: nothing is done until the CRDs of this release \
                 are applied",
                some(&self.unfit)
            ),
            Some("lacks_fields") => write!(
                f,
                "is not that of this release, it lacks {}: nobody can say it there until the CRDs of this release are \
                 applied",
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

/// Paths of the fields and words of enums that the first schema has, and that an apiserver with the second one would
/// drop or refuse.
fn not_let_through(these: &Value, those: &Value) -> Vec<String> {
    let mut found = vec![];
    missing(these, those, "", &mut found);
    found.sort();
    found
}

fn missing(these: &Value, those: &Value, path: &str, found: &mut Vec<String>) {
    for (name, inner) in properties(these) {
        let path = below(path, name);
        match those.pointer("/properties").and_then(|p| p.get(name)).or_else(|| schema_of_values(those)) {
            Some(there) => missing(inner, there, &path, found),
            None if lets_all_through(those) => {}
            None => found.push(path),
        }
    }
    let words = |schema: &Value| schema.get("enum").and_then(Value::as_array).cloned();
    if let (Some(here), Some(there)) = (words(these), words(those)) {
        let word = |word: &Value| format!("{path}={}", word.as_str().map_or_else(|| word.to_string(), str::to_owned));
        found.extend(here.iter().filter(|w| !there.contains(w)).map(word));
    }
    let path = format!("{path}[]");
    for inside in [schema_of_items as fn(&Value) -> Option<&Value>, schema_of_values] {
        match (inside(these), inside(those)) {
            (Some(here), Some(there)) => missing(here, there, &path, found),
            (Some(_), None) if !lets_all_through(those) => found.push(path.clone()),
            _ => {}
        }
    }
}

/// What an apiserver keeps that no schema describes.
fn lets_all_through(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
        || schema.get("additionalProperties") == Some(&Value::Bool(true))
}

fn schema_of_items(schema: &Value) -> Option<&Value> {
    schema.get("items")
}

/// The schema of the values of a map.
fn schema_of_values(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|inner| inner.is_object())
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What the second schema refuses although the first one takes it, with the keyword: `status.zone (maxLength)`. A
/// keyword whose values cannot be told apart by more and less counts where it has another value.
fn stricter(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = vec![];
    narrowed(ours, theirs, "", &mut found);
    found
}

fn narrowed(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    for (keyword, value) in theirs.as_object().into_iter().flatten() {
        if refuses_more(keyword, ours.get(keyword), value) {
            found.push(format!("{path} ({keyword})"));
        }
    }
    let kept = ["nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"];
    for keyword in kept.into_iter().filter(|keyword| is_on(ours.get(keyword)) && !is_on(theirs.get(keyword))) {
        found.push(format!("{path} ({keyword})"));
    }
    for (name, inner) in properties(theirs) {
        if let Some(ours) = ours.get("properties").and_then(|p| p.get(name)) {
            narrowed(ours, inner, &below(path, name), found);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let (Some(ours), Some(theirs)) = (ours.get(key), theirs.get(key)) {
            narrowed(ours, theirs, &format!("{path}[]"), found);
        }
    }
}

fn is_on(value: Option<&Value>) -> bool {
    value == Some(&Value::Bool(true))
}

/// Whether a keyword of the installed schema takes less than ours.
fn refuses_more(keyword: &str, ours: Option<&Value>, theirs: &Value) -> bool {
    let (limit, their_limit) = (ours.and_then(Value::as_f64), theirs.as_f64());
    match keyword {
        "maximum" | "maxLength" | "maxItems" | "maxProperties" => {
            limit.is_none_or(|l| their_limit.is_none_or(|t| t < l))
        }
        "minimum" | "minLength" | "minItems" | "minProperties" => {
            limit.is_none_or(|l| their_limit.is_none_or(|t| t > l))
        }
        "exclusiveMaximum" | "exclusiveMinimum" | "uniqueItems" | "x-kubernetes-embedded-resource" => {
            is_on(Some(theirs)) && !is_on(ours)
        }
        "type" => ours != Some(theirs) && !(ours.is_some_and(|ours| ours == "integer") && theirs == "number"),
        "required" | "x-kubernetes-validations" => {
            let ours = ours.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let known = |rule: &Value| ours.iter().any(|o| the_rule(o) == the_rule(rule));
            theirs.as_array().is_some_and(|rules| !rules.iter().all(known))
        }
        // Words that are missing are told one by one.
        "enum" => ours.is_none(),
        "pattern"
        | "format"
        | "multipleOf"
        | "not"
        | "allOf"
        | "anyOf"
        | "oneOf"
        | "x-kubernetes-list-type"
        | "x-kubernetes-list-map-keys"
        | "x-kubernetes-map-type" => ours != Some(theirs),
        _ => false,
    }
}

/// A rule is the same with another message.
fn the_rule(rule: &Value) -> &Value {
    rule.get("rule").unwrap_or(rule)
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

    fn crd(spec: &Value, status: &Value) -> Value {
        json!({
            "metadata": {"name": "things.example.dev"},
            "spec": {"group": "example.dev", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "description": "A thing.", "properties": {"spec": spec, "status": status}}}}]},
        })
    }

    fn ours() -> Value {
        json!({"type": "object", "description": "What is wanted.", "properties": {
            "size": {"type": "integer", "maximum": 5, "description": "Its size."},
            "description": {"type": "string"},
            "mode": {"type": "string", "enum": ["On", "Off"]},
            "parts": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
        }})
    }

    /// What becomes of our schema with one place changed; with `null` it is taken out.
    fn changed(path: &str, value: &Value) -> Value {
        let mut theirs = ours();
        let (parent, field) = path.rsplit_once('/').unwrap();
        let parent = theirs.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Value::Null => _ = parent.remove(field),
            value => _ = parent.insert(field.into(), value.clone()),
        }
        theirs
    }

    fn compare(spec: &Value, status: &Value) -> Difference {
        let installed = serde_json::from_value(crd(spec, status)).unwrap();
        Wanted::new(&crd(&ours(), &ours()), "v1").compare(&installed)
    }

    /// A change, and what it means in `spec` and in `status`: the word, and what is named.
    type Row = (&'static str, Value, [(Option<&'static str>, &'static str); 2]);

    #[test]
    fn what_others_write_blocks_nobody_and_what_is_dropped_or_refused_of_ours_does() {
        let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let (rules, unfit) = ((Some("rules"), "other rules or defaults"), Some("unfit"));
        let (lacks, more) = (Some("lacks_fields"), Some("unknown_fields"));
        let table: [Row; 20] = [
            ("/properties/size/description", json!("Other words."), [(None, "is that of this release"); 2]),
            ("/properties/size", Value::Null, [(lacks, "lacks X.size:"), (unfit, "refuses X.size: nothing is done")]),
            ("/properties/description", Value::Null, [(lacks, "X.description:"), (unfit, "X.description:")]),
            ("/properties/mode/enum", json!(["On"]), [(lacks, "X.mode=Off:"), (unfit, "X.mode=Off:")]),
            ("/properties/parts/items/properties", json!({}), [(lacks, "X.parts[].name:"), (unfit, "X.parts[].name:")]),
            ("/properties/labels/additionalProperties", Value::Null, [(lacks, "X.labels[]:"), (unfit, "X.labels[]:")]),
            ("/properties/mode/enum", json!(["On", "Off", "Auto"]), [(more, "has X.mode=Auto:"); 2]),
            ("/properties/more", json!({"type": "string"}), [(more, "has X.more:"); 2]),
            // Looser.
            ("/properties/size/maximum", json!(7), [rules; 2]),
            ("/properties/size/type", json!("number"), [rules; 2]),
            ("/properties/mode/enum", Value::Null, [rules; 2]),
            ("/properties/parts/items", free.clone(), [rules; 2]),
            ("/properties/labels", free.clone(), [rules; 2]),
            // Stricter.
            ("/properties/size/maximum", json!(3), [rules, (unfit, "X.size (maximum):")]),
            ("/properties/size/minimum", json!(0), [rules, (unfit, "X.size (minimum):")]),
            ("/properties/description/enum", json!(["a"]), [rules, (unfit, "X.description (enum):")]),
            ("/properties/parts/maxItems", json!(9), [rules, (unfit, "X.parts (maxItems):")]),
            ("/properties/parts/items/required", json!(["name"]), [rules, (unfit, "X.parts[] (required):")]),
            ("/properties/mode/type", json!("object"), [rules, (unfit, "X.mode (type):")]),
            (
                "/properties/labels/additionalProperties",
                json!({"type": "string", "x-kubernetes-validations": [{"rule": "self != 'a'"}]}),
                [rules, (unfit, "X.labels[] (nullable), X.labels[] (x-kubernetes-validations):")],
            ),
        ];
        for (path, value, meaning) in table {
            let theirs = changed(path, &value);
            let places = [("spec", compare(&theirs, &ours())), ("status", compare(&ours(), &theirs))];
            for ((place, difference), (word, named)) in places.into_iter().zip(meaning) {
                assert_eq!(difference.word(), word, "{place}{path} {difference:?}");
                let named = named.replace("X.", &format!("{place}."));
                assert!(difference.to_string().contains(&named), "{place}{path}: {difference}");
            }
        }
        assert_eq!(compare(&free, &free).word(), Some("rules"));
    }

    /// Of a kind without a status the operator alone is the writer.
    #[test]
    fn all_of_a_kind_without_a_status_is_written_by_the_process() {
        let without_status = |spec: &Value| {
            let mut crd = crd(spec, &json!({}));
            let schema = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties").unwrap();
            schema.as_object_mut().unwrap().remove("status");
            crd
        };
        let wanted = Wanted::new(&without_status(&ours()), "v1");
        let theirs = changed("/properties/size", &Value::Null);
        let difference = wanted.compare(&serde_json::from_value(without_status(&theirs)).unwrap());
        assert_eq!((difference.word(), difference.unfit), (Some("unfit"), vec!["spec.size".to_owned()]));
    }

    #[test]
    fn many_fields_are_counted() {
        let fields = ["a", "b", "c", "d", "e", "f", "g"].map(String::from).to_vec();
        assert_eq!(some(&fields), "a, b, c, d, e and 2 more");
    }
}
