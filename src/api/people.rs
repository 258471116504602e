//! Roles for people, as data: `config/rbac/people.yaml` and the chart's copy are made of it. They are bound per namespace
//! by a RoleBinding; the operator needs none of them.

use crate::{GROUP, crds, rbac};
use serde_json::{Value, json};

/// A ClusterRole for people who work in the namespaces of tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Without the prefix `mailtenant-`.
    pub name: &'static str,
    /// For whom it is, and where its limits are.
    pub purpose: &'static str,
    /// The roles of Kubernetes (`view`, `edit`, `admin`) that have it too.
    pub aggregate_to: &'static [&'static str],
    /// API group, resources, verbs.
    pub rules: Vec<(&'static str, Vec<String>, &'static [&'static str])>,
}

const READ: &[&str] = &["get", "list", "watch"];

/// All of them.
pub fn roles() -> Vec<Role> {
    let kinds = tenant_kinds();
    let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    // `kubectl describe` lists Events in the core group, the operator writes them in the other.
    let read = || vec![("events.k8s.io", words(&["events"]), READ), ("", words(&["events"]), READ)];
    let with = |verbs, more: Vec<_>| [vec![(GROUP, kinds.clone(), verbs)], read(), more].concat();
    vec![
        Role {
            name: "tenant-admin",
            purpose: "Everything about the mail of a namespace, with the Secrets in it: they hold the passwords of mailboxes.",
            aggregate_to: &["admin", "edit"],
            rules: with(
                &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
                vec![("", words(&["secrets"]), &["get", "list", "watch", "create", "update", "patch", "delete"][..])],
            ),
        },
        Role {
            name: "tenant-view",
            purpose: "Sees the mail objects of a namespace and their state. No Secrets.",
            aggregate_to: &["view"],
            rules: with(READ, vec![]),
        },
        Role {
            name: "tenant-creator",
            purpose: "For a portal or a pipeline: creates and changes mail objects, deletes none. No Secrets.",
            aggregate_to: &[],
            rules: with(&["get", "list", "watch", "create", "update", "patch"], vec![]),
        },
        Role {
            name: "helpdesk",
            purpose: "Has new passwords made (annotation mailtenant.dev/rotate-password). RBAC cannot limit a patch to one \
                      annotation: without the admission policy helpdesk.mailtenant.dev this role may change all of a Mailbox. \
                      No Secrets.",
            aggregate_to: &[],
            rules: with(READ, vec![(GROUP, words(&["mailboxes"]), &["patch"][..])]),
        },
    ]
}

/// Plurals of the kinds that tenants declare.
fn tenant_kinds() -> Vec<String> {
    let all = crds::all();
    let namespaced = all.iter().filter(|crd| crd["spec"]["scope"] == "Namespaced");
    namespaced.map(|crd| crd["spec"]["names"]["plural"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Labels of the ClusterRole of `role`, those that the chart adds aside.
fn aggregation(role: &Role) -> Value {
    let label = |to: &&str| (format!("rbac.authorization.k8s.io/aggregate-to-{to}"), json!("true"));
    Value::Object(role.aggregate_to.iter().map(label).collect())
}

fn rules(role: &Role) -> Vec<Value> {
    let one = |(group, resources, verbs): &(&str, Vec<String>, &[&str])| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    role.rules.iter().map(one).collect()
}

/// The ClusterRoles.
pub fn manifests() -> Vec<Value> {
    let one = |role: &Role| {
        let mut labels = aggregation(role);
        labels["app.kubernetes.io/name"] = rbac::NAME.into();
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": format!("{}-{}", rbac::NAME, role.name),
                "labels": labels,
                "annotations": {"kubernetes.io/description": role.purpose},
            },
            "rules": rules(role),
        })
    };
    roles().iter().map(one).collect()
}

/// What the Helm chart needs of all rights, the operator's too, to make its own objects of it.
pub fn for_the_chart() -> Value {
    let of = |kind: &str| {
        let all = rbac::manifests("");
        all.iter().find(|object| object["kind"] == kind).map(|object| object["rules"].clone()).unwrap_or_default()
    };
    let person = |role: &Role| json!({"name": role.name, "description": role.purpose, "labels": aggregation(role), "rules": rules(role)});
    json!({
        "cluster": of("ClusterRole"),
        "namespace": of("Role"),
        "wellknown": rbac::wellknown_rules(),
        "people": roles().iter().map(person).collect::<Vec<_>>(),
    })
}
