//! Arithmetic on JSON objects: merge patch, server-side apply, selectors, partial metadata.

use serde_json::{Map, Value, json};

/// The value at a JSON pointer without escapes. `Value::pointer` unescapes each step, which made half of the time of a
/// schedule.
pub fn at<'a>(v: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer.split('/').skip(1).try_fold(v, |v, step| match v {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

/// The text at a JSON pointer, or "".
pub fn text<'a>(v: &'a Value, pointer: &str) -> &'a str {
    at(v, pointer).and_then(Value::as_str).unwrap_or("")
}

pub fn finalizers(v: &Value) -> Vec<&str> {
    at(v, "/metadata/finalizers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

pub fn deleting(v: &Value) -> bool {
    at(v, "/metadata/deletionTimestamp").is_some_and(|t| !t.is_null())
}

pub fn owners(v: &Value) -> &[Value] {
    at(v, "/metadata/ownerReferences").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// RFC 7386.
pub fn merge(dst: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *dst = patch.clone();
        return;
    };
    if !dst.is_object() {
        *dst = json!({});
    }
    if let Some(object) = dst.as_object_mut() {
        for (k, v) in patch {
            if v.is_null() {
                object.remove(k);
            } else {
                merge(object.entry(k.clone()).or_insert(Value::Null), v);
            }
        }
    }
}

/// Key of lists that are merged by a key in the kinds we use; `finalizers` is a set; every other list is atomic.
fn list_key(path: &str) -> Option<&'static str> {
    match path.rsplit('/').next() {
        Some("conditions") => Some("type"),
        Some("ownerReferences") => Some("uid"),
        _ => None,
    }
}

fn is_set(path: &str) -> bool {
    path == "/metadata/finalizers"
}

fn by<'a>(list: &'a Value, key: &str, item: &Value) -> Option<&'a Value> {
    list.as_array()?.iter().find(|x| x[key] == item[key])
}

/// Forced server-side apply: sets what `new` has, drops what this manager had in `last`, has no longer, and no other
/// manager (`others`) has.
pub fn apply(live: &mut Value, last: &Value, new: &Value, others: &[&Value], path: &str) {
    if let Value::Object(fields) = new {
        if !live.is_object() {
            *live = json!({});
        }
        let Some(object) = live.as_object_mut() else { return };
        for k in last.as_object().into_iter().flat_map(Map::keys) {
            if fields.contains_key(k) {
                continue;
            }
            let shared: Vec<&Value> = others.iter().filter_map(|o| o.get(k)).collect();
            match (object.get_mut(k), &last[k]) {
                (Some(inner @ Value::Object(_)), Value::Object(_)) => {
                    // Only the leaves that were ours go; an object that is left empty goes with them.
                    apply(inner, &last[k], &json!({}), &shared, &format!("{path}/{k}"));
                    if inner.as_object().is_some_and(Map::is_empty) {
                        object.remove(k);
                    }
                }
                (Some(inner @ Value::Array(_)), Value::Array(_))
                    if list_key(&format!("{path}/{k}")).is_some() || is_set(&format!("{path}/{k}")) =>
                {
                    apply(inner, &last[k], &json!([]), &shared, &format!("{path}/{k}"));
                    if inner.as_array().is_some_and(Vec::is_empty) {
                        object.remove(k);
                    }
                }
                (Some(_), _) if shared.is_empty() => drop(object.remove(k)),
                _ => {}
            }
        }
        for (k, v) in fields {
            let shared: Vec<&Value> = others.iter().filter_map(|o| o.get(k)).collect();
            apply(
                object.entry(k.clone()).or_insert(Value::Null),
                last.get(k).unwrap_or(&Value::Null),
                v,
                &shared,
                &format!("{path}/{k}"),
            );
        }
    } else if let (Some(key), Value::Array(items)) = (list_key(path), new) {
        let mut out: Vec<Value> = live.as_array().cloned().unwrap_or_default();
        out.retain(|x| {
            by(last, key, x).is_none() || by(new, key, x).is_some() || others.iter().any(|o| by(o, key, x).is_some())
        });
        for item in items {
            let before = by(last, key, item).cloned().unwrap_or_default();
            let shared: Vec<&Value> = others.iter().filter_map(|o| by(o, key, item)).collect();
            match out.iter_mut().find(|x| x[key] == item[key]) {
                Some(x) => apply(x, &before, item, &shared, ""),
                None => out.push(item.clone()),
            }
        }
        *live = Value::Array(out);
    } else if let (true, Value::Array(items)) = (is_set(path), new) {
        let has = |v: &Value, x: &Value| v.as_array().is_some_and(|a| a.contains(x));
        let mut out: Vec<Value> = live.as_array().cloned().unwrap_or_default();
        out.retain(|x| !has(last, x) || has(new, x) || others.iter().any(|o| has(o, x)));
        for item in items {
            if !out.contains(item) {
                out.push(item.clone());
            }
        }
        *live = Value::Array(out);
    } else {
        *live = new.clone();
    }
}

/// What of `last` a manager still owns after a write: a value that somebody else changed is theirs now.
pub fn still_owned(last: &Value, live: &Value, path: &str) -> Option<Value> {
    match (last, live) {
        (Value::Object(l), Value::Object(v)) => Some(Value::Object(
            l.iter()
                .filter_map(|(k, x)| Some((k.clone(), still_owned(x, v.get(k)?, &format!("{path}/{k}"))?)))
                .collect(),
        )),
        (Value::Array(l), Value::Array(_)) if let Some(key) = list_key(path) => {
            Some(Value::Array(l.iter().filter_map(|x| by(live, key, x).and_then(|y| still_owned(x, y, ""))).collect()))
        }
        (Value::Array(l), Value::Array(v)) if is_set(path) => {
            Some(Value::Array(l.iter().filter(|x| v.contains(x)).cloned().collect()))
        }
        (l, v) => (l == v).then(|| l.clone()),
    }
}

/// Whether an object is chosen by a field and a label selector (`=`, `==`, `!=`, `in`, `notin`, existence).
pub fn selected(v: &Value, fields: &str, labels: &str) -> bool {
    let field = |f: &str| {
        Some(match f.split('.').try_fold(v, |v, step| v.get(step)) {
            Some(Value::String(s)) => s.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        })
    };
    let label = |l: &str| v["metadata"]["labels"].get(l).and_then(Value::as_str).map(String::from);
    (fields.is_empty() || terms(fields).iter().all(|t| term(t, &field)))
        && (labels.is_empty() || terms(labels).iter().all(|t| term(t, &label)))
}

/// Splits at commas that are not inside brackets.
pub fn terms(selector: &str) -> Vec<String> {
    let (mut out, mut depth) = (vec![String::new()], 0);
    for c in selector.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = out.last_mut() {
            last.push(c);
        }
    }
    out.retain(|t| !t.is_empty());
    out
}

fn term(t: &str, get: &dyn Fn(&str) -> Option<String>) -> bool {
    let list = |s: &str| -> Vec<String> { s.trim_end_matches(')').split(',').map(|x| x.trim().to_string()).collect() };
    if let Some((k, rest)) = t.split_once(" notin (") {
        return !get(k.trim()).is_some_and(|v| list(rest).contains(&v));
    }
    if let Some((k, rest)) = t.split_once(" in (") {
        return get(k.trim()).is_some_and(|v| list(rest).contains(&v));
    }
    if let Some((k, w)) = t.split_once("!=") {
        return get(k).as_deref() != Some(w);
    }
    if let Some((k, w)) = t.split_once("==").or(t.split_once('=')) {
        return get(k).as_deref() == Some(w);
    }
    match t.strip_prefix('!') {
        Some(k) => get(k).is_none(),
        None => get(t).is_some(),
    }
}

/// The object alone with its metadata, where the client asked for that.
pub fn partial(accept: &str, v: Value) -> Value {
    if !accept.contains("as=PartialObjectMetadata") || v["kind"] == "Status" {
        return v;
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": v["metadata"]})
}
