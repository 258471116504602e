//! A model of the Kubernetes API in memory: pure and synchronous, without a clock or randomness of its own.
//!
//! `read` answers gets, lists and watches, `write` the rest, `cluster` does what the controller manager does (garbage
//! collection, end of namespaces), `schema` defaults and prunes by the CRDs, `value` has the patch arithmetic.
//! `api_tests.rs` runs against it and against a real kube-apiserver. Not modelled: CEL, admission, RBAC, conflicts of
//! server-side apply without `force`, `managedFields`, Tables.

mod cluster;
mod read;
pub mod schema;
mod value;
mod write;

pub use cluster::Cluster;
pub use read::Watch;
pub use value::*;
pub use write::Backup;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

/// An object as it is stored.
pub type Obj = Arc<Value>;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub res: &'static str,
    /// Empty for what is cluster-scoped.
    pub ns: String,
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ns.as_str() {
            "" => write!(f, "{}/{}", self.res, self.name),
            ns => write!(f, "{}/{ns}/{}", self.res, self.name),
        }
    }
}

/// A resource type.
#[derive(Debug)]
pub struct Kind {
    /// `group/version`, or the version alone for the core group.
    pub gv: String,
    pub kind: String,
    pub plural: &'static str,
    pub namespaced: bool,
    /// Has the status subresource.
    pub status: bool,
    /// Custom resource: counts generations, refuses updates without a resourceVersion.
    pub custom: bool,
    /// Structural schema, for custom resources.
    pub schema: Value,
    /// Field selectors besides `metadata.name` and `metadata.namespace`.
    pub selectable: Vec<String>,
}

/// One committed change; old and new let lists at any revision and filtered watches be answered.
#[derive(Clone)]
pub struct Change {
    pub rv: u64,
    pub actor: Actor,
    pub key: Key,
    pub old: Option<Obj>,
    /// None = deleted.
    pub new: Option<Obj>,
    /// The last state with the new resourceVersion, for DELETED events.
    pub last: Obj,
}

/// Who made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    User,
    Operator,
    /// The controller manager.
    Cluster,
}

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Req {
    pub method: String,
    pub path: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ctype: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub accept: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

impl Req {
    /// A request from `path?query`.
    pub fn new(method: &str, target: &str, ctype: &str, body: Value) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.split('&').filter_map(|kv| kv.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        Req { method: method.into(), path: path.into(), query, ctype: ctype.into(), accept: String::new(), body }
    }
    fn q(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Resp {
    pub code: u16,
    pub body: Value,
}

type Answer = Result<Resp, Resp>;

/// A `Status` of kind Failure.
pub fn failure(code: u16, reason: &str, message: &str) -> Resp {
    Resp {
        code,
        body: json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": message, "code": code}),
    }
}

fn ok(code: u16, body: Value) -> Answer {
    Ok(Resp { code, body })
}

enum Target {
    List { kind: &'static Kind, ns: String },
    One { kind: &'static Kind, key: Key, sub: Option<String> },
}

/// The API server and its storage.
pub struct Api {
    pub rv: u64,
    uid: u64,
    /// For creationTimestamp and deletionTimestamp.
    pub now: String,
    /// Who is at it.
    pub actor: Actor,
    pub objs: BTreeMap<Key, Obj>,
    pub log: Vec<Change>,
    /// Revisions below are gone: 410.
    pub compacted: u64,
    /// Server-side apply: what each manager applied last, by (object, manager, is status).
    owned: BTreeMap<(Key, String, bool), Value>,
}

/// Revision before the first write.
pub const FIRST_RV: u64 = 100;

/// All resource types: ours from the CRDs, and what the operator needs besides.
pub fn kinds() -> &'static [Kind] {
    static KINDS: OnceLock<Vec<Kind>> = OnceLock::new();
    KINDS.get_or_init(|| {
        let plain = |gv: &str, kind: &str, plural, namespaced, selectable: &[&str]| Kind {
            gv: gv.into(),
            kind: kind.into(),
            plural,
            namespaced,
            status: false,
            custom: false,
            schema: Value::Null,
            selectable: selectable.iter().map(|s| s.to_string()).collect(),
        };
        let mut all = vec![
            plain("v1", "Namespace", "namespaces", false, &[]),
            plain("v1", "Secret", "secrets", true, &["type"]),
            plain("v1", "ConfigMap", "configmaps", true, &[]),
            plain("coordination.k8s.io/v1", "Lease", "leases", true, &[]),
            plain("events.k8s.io/v1", "Event", "events", true, &["regarding.name", "regarding.kind", "regarding.uid"]),
            plain("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false, &[]),
        ];
        for crd in mailtenant_api::crds::all() {
            let version = &crd["spec"]["versions"][0];
            let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
            all.push(Kind {
                gv: format!("{}/{}", text(&crd["spec"]["group"]), text(&version["name"])),
                kind: text(&crd["spec"]["names"]["kind"]),
                plural: Box::leak(text(&crd["spec"]["names"]["plural"]).into_boxed_str()),
                namespaced: crd["spec"]["scope"] == "Namespaced",
                status: version["subresources"].get("status").is_some(),
                custom: true,
                schema: version["schema"]["openAPIV3Schema"].clone(),
                selectable: version["selectableFields"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|f| text(&f["jsonPath"]).trim_start_matches('.').to_string())
                    .collect(),
            });
        }
        all
    })
}

/// The kind with this plural name.
pub fn kind_of(res: &str) -> &'static Kind {
    kinds().iter().find(|k| k.plural == res).unwrap_or_else(|| panic!("no kind {res}"))
}

impl Api {
    /// A server with our CRDs established, and the namespaces that every cluster has.
    pub fn new() -> Self {
        let mut api = Api {
            rv: FIRST_RV,
            uid: 0,
            now: "2026-01-01T00:00:00Z".into(),
            actor: Actor::Cluster,
            objs: BTreeMap::new(),
            log: vec![],
            compacted: FIRST_RV,
            owned: BTreeMap::new(),
        };
        static CRDS: OnceLock<Vec<Value>> = OnceLock::new();
        let crds = CRDS.get_or_init(|| mailtenant_api::crds::all().into_iter().map(established).collect());
        for (res, object) in crds
            .iter()
            .map(|c| ("customresourcedefinitions", c.clone()))
            .chain(["default", "kube-system"].map(|n| ("namespaces", json!({"metadata": {"name": n}}))))
        {
            let _ = api.create(kind_of(res), "", object);
        }
        api
    }

    fn target(&self, path: &str) -> Result<Target, Resp> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let unknown = || failure(404, "NotFound", "the server could not find the requested resource");
        let (gv, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => (version.to_string(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return Err(unknown()),
        };
        let (ns, rest) = match rest {
            ["namespaces", ns, rest @ ..] if !rest.is_empty() && !matches!(*rest, ["status"] | ["finalize"]) => {
                (ns.to_string(), rest)
            }
            rest => (String::new(), rest),
        };
        let find = |plural: &str| kinds().iter().find(|k| k.plural == plural && k.gv == gv).ok_or_else(unknown);
        match rest {
            [plural] => Ok(Target::List { kind: find(plural)?, ns }),
            [plural, name, sub @ ..] => {
                let kind = find(plural)?;
                let key = Key { res: kind.plural, ns, name: name.to_string() };
                let sub = sub.first().map(|s| s.to_string());
                if sub.is_some() && !(kind.status && sub.as_deref() == Some("status")) {
                    return Err(unknown());
                }
                Ok(Target::One { kind, key, sub })
            }
            _ => Err(unknown()),
        }
    }

    /// Answers a request. `stale`: revision at which a list with `resourceVersion=0` is answered.
    pub fn handle(&mut self, r: &Req, stale: u64) -> Resp {
        self.route(r, stale).unwrap_or_else(|e| e)
    }

    fn route(&mut self, r: &Req, stale: u64) -> Answer {
        if r.method == "GET" && r.path == "/version" {
            return ok(
                200,
                json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "clean",
                "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "gc", "platform": "linux/amd64"}),
            );
        }
        if r.method == "GET"
            && let Some(answer) = Self::discovery(&r.path)
        {
            return answer;
        }
        let shape = |answer: Resp| Resp { body: partial(&r.accept, answer.body), ..answer };
        match (r.method.as_str(), self.target(&r.path)?) {
            ("GET", Target::List { kind, ns }) => self.list(r, kind, &ns, stale),
            ("GET", Target::One { key, .. }) => Ok(shape(Resp { code: 200, body: (*self.must(&key)?).clone() })),
            ("POST", Target::List { kind, ns }) => self.create(kind, &ns, r.body.clone()).map(shape),
            ("PUT", Target::One { kind, key, sub }) => self.put(kind, &key, sub.as_deref(), r.body.clone()).map(shape),
            ("PATCH", Target::One { kind, key, sub }) => self.patch(r, kind, &key, sub.as_deref()).map(shape),
            ("DELETE", Target::One { key, .. }) => self.delete(&key, &delete_options(r)),
            ("DELETE", Target::List { kind, ns }) => self.delete_collection(r, kind, &ns),
            _ => {
                Err(failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"))
            }
        }
    }

    fn discovery(path: &str) -> Option<Answer> {
        let gv = path.strip_prefix("/apis/").or(path.strip_prefix("/api/"))?;
        let of: Vec<Value> = kinds()
            .iter()
            .filter(|k| k.gv == gv)
            .map(|k| json!({"name": k.plural, "singularName": k.kind.to_lowercase(), "namespaced": k.namespaced, "kind": k.kind,
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]}))
            .collect();
        (!of.is_empty()).then(|| {
            ok(200, json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": of}))
        })
    }

    fn must(&self, key: &Key) -> Result<Obj, Resp> {
        self.objs.get(key).cloned().ok_or_else(|| {
            let mut f = failure(404, "NotFound", &format!("{} {:?} not found", key.res, key.name));
            f.body["details"] = json!({"name": key.name, "kind": key.res});
            f
        })
    }
}

/// `propagationPolicy` may stand in the query too.
fn delete_options(r: &Req) -> Value {
    let mut options = r.body.clone();
    if let Some(policy) = r.query.get("propagationPolicy") {
        options["propagationPolicy"] = json!(policy);
    }
    options
}

/// A CRD as the server shows it once it serves the kind; the schema is left out, since it is long and nobody reads it.
fn established(mut crd: Value) -> Value {
    let names = crd["spec"]["names"].clone();
    crd["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": {"type": "object"}});
    let condition = |t: &str, reason: &str| json!({"type": t, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    crd["status"] = json!({"acceptedNames": names, "storedVersions": ["v1alpha1"],
        "conditions": [condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")]});
    crd
}

/// Queue of the events that a watch sends before it follows the log.
pub type Initial = VecDeque<Value>;
