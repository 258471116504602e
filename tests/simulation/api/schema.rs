//! Structural schemas: pruning of unknown fields, defaults, and the checks that need no rule language.

use super::*;

/// Prunes, defaults and checks a custom resource.
pub fn complete(kind: &Kind, v: &mut Value) -> Result<(), Resp> {
    if !kind.custom {
        return Ok(());
    }
    let Some(properties) = kind.schema["properties"].as_object() else { return Ok(()) };
    let mut wrong = vec![];
    if let Some(object) = v.as_object_mut() {
        object.retain(|k, _| matches!(k.as_str(), "apiVersion" | "kind" | "metadata") || properties.contains_key(k));
        for (name, schema) in properties.iter().filter(|(k, _)| matches!(k.as_str(), "spec" | "status")) {
            if !object.contains_key(name)
                && let Some(default) = schema.get("default")
            {
                object.insert(name.clone(), default.clone());
            }
            if let Some(inner) = object.get_mut(name) {
                walk(inner, schema, name, &mut wrong);
            }
        }
        for name in kind.schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                wrong.push(format!("{name}: Required value"));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(failure(
        422,
        "Invalid",
        &format!("{} {:?} is invalid: {}", kind.kind, text(v, "/metadata/name"), wrong.join(", ")),
    ))
}

fn walk(v: &mut Value, schema: &Value, path: &str, wrong: &mut Vec<String>) {
    if v.is_null() && schema["nullable"] == true {
        return;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        if !v.is_string() && !v.is_i64() {
            wrong.push(format!("{path}: must be an integer or a string"));
        }
        return;
    }
    match v {
        Value::Object(object) => {
            expect(schema, "object", path, wrong);
            if let Some(properties) = schema["properties"].as_object() {
                if schema["x-kubernetes-preserve-unknown-fields"] != true {
                    object.retain(|k, _| properties.contains_key(k));
                }
                for (name, inner) in properties {
                    let nullable = inner["nullable"] == true;
                    if object.get(name).is_some_and(Value::is_null) && !nullable {
                        object.remove(name);
                    }
                    if !object.contains_key(name)
                        && let Some(default) = inner.get("default")
                    {
                        object.insert(name.clone(), default.clone());
                    }
                    if let Some(x) = object.get_mut(name) {
                        walk(x, inner, &format!("{path}.{name}"), wrong);
                    }
                }
            } else if schema["additionalProperties"].is_object() {
                for (k, x) in object.iter_mut() {
                    walk(x, &schema["additionalProperties"], &format!("{path}.{k}"), wrong);
                }
            }
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !object.contains_key(name) {
                    wrong.push(format!("{path}.{name}: Required value"));
                }
            }
        }
        Value::Array(items) => {
            expect(schema, "array", path, wrong);
            bounds(schema, "minItems", "maxItems", items.len() as f64, path, wrong);
            for (i, x) in items.iter_mut().enumerate() {
                walk(x, &schema["items"], &format!("{path}[{i}]"), wrong);
            }
        }
        Value::String(s) => {
            expect(schema, "string", path, wrong);
            bounds(schema, "minLength", "maxLength", s.chars().count() as f64, path, wrong);
            if let Some(allowed) = schema["enum"].as_array()
                && !allowed.iter().any(|a| a == s.as_str())
            {
                wrong.push(format!("{path}: Unsupported value: {s:?}"));
            }
        }
        Value::Bool(_) => expect(schema, "boolean", path, wrong),
        Value::Number(n) => {
            expect(schema, if n.is_f64() { "number" } else { "integer" }, path, wrong);
            bounds(schema, "minimum", "maximum", n.as_f64().unwrap_or(0.0), path, wrong);
        }
        Value::Null => wrong.push(format!("{path}: null is not allowed")),
    }
}

fn expect(schema: &Value, found: &str, path: &str, wrong: &mut Vec<String>) {
    match schema["type"].as_str() {
        Some("number") if found == "integer" => {}
        Some(t) if t != found => wrong.push(format!("{path}: Invalid value: {found:?}: must be of type {t}")),
        _ => {}
    }
}

fn bounds(schema: &Value, min: &str, max: &str, n: f64, path: &str, wrong: &mut Vec<String>) {
    if schema[min].as_f64().is_some_and(|m| n < m) || schema[max].as_f64().is_some_and(|m| n > m) {
        wrong.push(format!("{path}: Invalid value: outside of {min} to {max}"));
    }
}
