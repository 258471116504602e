//! What the operator must be allowed to do, as data: `config/rbac/` and the table in `docs/operations.md` are made of it.
//!
//! The rights on our own kinds follow from their CRDs, so a new kind has its rights from the beginning. A right that is
//! missing here is a 403 in the end-to-end tests, whose operator has no others.
//! See <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>.

use crate::{GROUP, crds};
use serde_json::{Value, json};

/// Where a right holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Objects of the cluster.
    Cluster,
    /// Objects in any namespace.
    AllNamespaces,
    /// Objects in the namespace that the operator runs in.
    OperatorNamespace,
}

impl Scope {
    /// For the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Cluster => "cluster",
            Scope::AllNamespaces => "all namespaces",
            Scope::OperatorNamespace => "operator namespace",
        }
    }
}

/// A rule of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural names, with the subresource behind a slash.
    pub resources: Vec<String>,
    /// The objects that it is limited to; empty: all.
    pub names: Vec<String>,
    /// Verbs of the Kubernetes API.
    pub verbs: &'static [&'static str],
    /// Where it holds.
    pub scope: Scope,
    /// What the operator does with it.
    pub purpose: &'static str,
}

/// All rules.
pub fn rules() -> Vec<Rule> {
    let (mut rules, all) = (own_kinds(), crds::all());
    let names = all.iter().map(|crd| text(crd, "/metadata/name")).collect();
    let others = [
        (
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            names,
            GET,
            Scope::Cluster,
            "waits until they are served",
        ),
        (
            "coordination.k8s.io",
            "leases",
            vec![LEASE.to_owned()],
            &["get", "update"][..],
            Scope::OperatorNamespace,
            "one replica acts",
        ),
        // A name cannot limit `create`: the object has none yet.
        ("coordination.k8s.io", "leases", vec![], &["create"], Scope::OperatorNamespace, "the first start"),
        ("events.k8s.io", "events", vec![], &["create"], Scope::AllNamespaces, "reports changes"),
        ("", "namespaces", vec![], &["list", "watch"], Scope::Cluster, "labels (`allowedNamespaces`), deletion"),
        (
            "",
            "secrets",
            vec![],
            &["get", "list", "watch", "create", "patch"],
            Scope::AllNamespaces,
            "passwords and keys that specs name; credentials Secrets of mailboxes",
        ),
        (
            "",
            "configmaps",
            vec![],
            &["get", "create", "patch"],
            Scope::AllNamespaces,
            "zone files of domains with `dns.mode: Manual`",
        ),
    ];
    rules.extend(others.into_iter().map(|(group, resource, names, verbs, scope, purpose)| Rule {
        group,
        resources: vec![resource.to_owned()],
        names,
        verbs,
        scope,
        purpose,
    }));
    rules
}

const GET: &[&str] = &["get"];
/// Name of the Lease.
pub const LEASE: &str = "mailtenant";
/// Name of the ServiceAccount and of the roles.
pub const NAME: &str = "mailtenant";

/// Kinds that users declare are patched (finalizers, statuses); kinds without a status are the operator's own.
fn own_kinds() -> Vec<Rule> {
    let mut rules = vec![];
    for (scope, scope_word) in [(Scope::Cluster, "Cluster"), (Scope::AllNamespaces, "Namespaced")] {
        let of_scope: Vec<Value> = crds::all().into_iter().filter(|c| text(c, "/spec/scope") == scope_word).collect();
        let (declared, own): (Vec<Value>, Vec<Value>) =
            of_scope.into_iter().partition(|c| c.pointer("/spec/versions/0/subresources/status").is_some());
        let plurals = |crds: &[Value]| crds.iter().map(|c| text(c, "/spec/names/plural")).collect::<Vec<_>>();
        let status = plurals(&declared).iter().map(|p| format!("{p}/status")).collect();
        for (resources, verbs, purpose) in [
            (plurals(&declared), &["get", "list", "watch", "patch"][..], "puts its finalizer on and takes it off"),
            (status, &["patch"], "reports"),
            (plurals(&own), &["get", "list", "watch", "create", "delete"], "one holder for each name"),
        ] {
            if !resources.is_empty() {
                rules.push(Rule { group: GROUP, resources, names: vec![], verbs, scope, purpose });
            }
        }
    }
    rules
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// ServiceAccount, roles and bindings for an operator in `namespace`.
pub fn manifests(namespace: &str) -> Vec<Value> {
    let (inside, everywhere): (Vec<Rule>, Vec<Rule>) =
        rules().into_iter().partition(|r| r.scope == Scope::OperatorNamespace);
    let account = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}]);
    let role_ref = |kind: &str| json!({"apiGroup": RBAC, "kind": kind, "name": NAME});
    let object = |kind: &str, namespace: Option<&str>| {
        let mut meta = json!({"name": NAME, "labels": {"app.kubernetes.io/name": NAME}});
        if let Some(namespace) = namespace {
            meta["namespace"] = namespace.into();
        }
        let version = if kind == "ServiceAccount" { "v1".to_owned() } else { format!("{RBAC}/v1") };
        json!({"apiVersion": version, "kind": kind, "metadata": meta})
    };
    let with = |mut object: Value, fields: Value| {
        for (name, value) in fields.as_object().into_iter().flatten() {
            object[name] = value.clone();
        }
        object
    };
    vec![
        object("ServiceAccount", Some(namespace)),
        with(object("ClusterRole", None), json!({"rules": policy_rules(&everywhere)})),
        with(object("ClusterRoleBinding", None), json!({"roleRef": role_ref("ClusterRole"), "subjects": account})),
        with(object("Role", Some(namespace)), json!({"rules": policy_rules(&inside)})),
        with(object("RoleBinding", Some(namespace)), json!({"roleRef": role_ref("Role"), "subjects": account})),
    ]
}

/// Name of the ServiceAccount, role and binding of `mailtenant wellknown`.
pub const WELLKNOWN: &str = "mailtenant-wellknown";

/// What `mailtenant wellknown` may do: read four kinds, of which none holds a secret.
pub fn wellknown_rules() -> Vec<Value> {
    let all = crds::all();
    let kinds = ["GroupwareBackend", "MailInstance", "MailDomain", "MailDomainClaim"];
    let read = all.iter().filter(|crd| kinds.contains(&text(crd, "/spec/names/kind").as_str()));
    let resources: Vec<String> = read.map(|crd| text(crd, "/spec/names/plural")).collect();
    vec![json!({"apiGroups": [GROUP], "resources": resources, "verbs": ["get", "list", "watch"]})]
}

/// ServiceAccount, role and binding for `mailtenant wellknown` in `namespace`.
pub fn wellknown_manifests(namespace: &str) -> Vec<Value> {
    let labels = json!({"app.kubernetes.io/name": WELLKNOWN});
    let role = format!("{RBAC}/v1");
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": WELLKNOWN, "namespace": namespace, "labels": labels}}),
        json!({"apiVersion": role, "kind": "ClusterRole", "metadata": {"name": WELLKNOWN, "labels": labels},
            "rules": wellknown_rules()}),
        json!({"apiVersion": role, "kind": "ClusterRoleBinding", "metadata": {"name": WELLKNOWN, "labels": labels},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": WELLKNOWN},
            "subjects": [{"kind": "ServiceAccount", "name": WELLKNOWN, "namespace": namespace}]}),
    ]
}

const RBAC: &str = "rbac.authorization.k8s.io";

fn policy_rules(rules: &[Rule]) -> Vec<Value> {
    let one = |r: &Rule| {
        let mut rule = json!({"apiGroups": [r.group], "resources": r.resources, "verbs": r.verbs});
        if !r.names.is_empty() {
            rule["resourceNames"] = json!(r.names);
        }
        rule
    };
    rules.iter().map(one).collect()
}

/// The same as one YAML text.
pub fn yaml(namespace: &str) -> Result<String, serde_yaml::ser::Error> {
    let documents = manifests(namespace).iter().map(serde_yaml::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(documents.join("---\n"))
}
