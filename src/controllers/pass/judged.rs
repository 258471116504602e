//! What of an object a pass judges: two versions that differ in nothing else are the same to it.

use mailtenant_api::annotations;
use serde::Serialize;
use serde_json::Value;

/// Whether two versions of one object are the same in all that a guard may have judged. A wish for a pass, and annotations
/// of others, are none of it: whoever asks again and again would else keep a deletion from ending (passes of 1 to 3 s, a wish
/// each 0.6 s: not ended after 240 s).
pub fn is_judged_alike<K: Serialize>(one: &K, other: &K) -> bool {
    let judged = |object: &K| {
        // An object that is not JSON has not come from Kubernetes.
        let mut value = serde_json::to_value(object).ok()?;
        if let Some(meta) = value["metadata"].as_object_mut() {
            meta.remove("resourceVersion");
            meta.remove("managedFields");
            if let Some(all) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
                all.retain(|name, _| annotations::ALL.contains(&name.as_str()) && name != annotations::RECONCILE);
                if all.is_empty() {
                    meta.remove("annotations");
                }
            }
        }
        if let Some(status) = value["status"].as_object_mut() {
            status.remove("lastHandledReconcileAt");
        }
        Some(value)
    };
    judged(one).is_some_and(|one| judged(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({
            "metadata": {"name": "a", "uid": "1", "generation": 2, "resourceVersion": "7", "finalizers": ["f"]},
            "spec": {"name": "a"},
            "status": {"ownership": "Created", "lastHandledReconcileAt": "1"},
        })
    }

    fn changed(pointer: &str, value: Value) -> Value {
        let mut object = object();
        let (parent, key) = pointer.rsplit_once('/').expect("a path");
        object.pointer_mut(parent).expect("there")[key] = value;
        object
    }

    #[test]
    fn wishes_and_annotations_of_others_are_not_judged() {
        for (pointer, value) in [
            ("/metadata/resourceVersion", json!("8")),
            ("/metadata/managedFields", json!([{"manager": "kubectl"}])),
            ("/metadata/annotations", json!({})),
            ("/metadata/annotations", json!({"mailtenant.dev/reconcile-requested-at": "2"})),
            ("/metadata/annotations", json!({"argocd.argoproj.io/tracking-id": "x"})),
            ("/status/lastHandledReconcileAt", json!("2")),
        ] {
            assert!(is_judged_alike(&object(), &changed(pointer, value.clone())), "{pointer} {value}");
        }
    }

    #[test]
    fn all_else_is() {
        for (pointer, value) in [
            ("/metadata/uid", json!("2")),
            ("/metadata/generation", json!(3)),
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
            ("/metadata/labels", json!({"a": "b"})),
            ("/metadata/finalizers", json!(["f", "g"])),
            ("/metadata/annotations", json!({"mailtenant.dev/paused": "true"})),
            ("/metadata/annotations", json!({"mailtenant.dev/orphan": "true"})),
            ("/spec/name", json!("b")),
            ("/status/ownership", json!("Adopted")),
        ] {
            assert!(!is_judged_alike(&object(), &changed(pointer, value.clone())), "{pointer} {value}");
        }
    }
}
