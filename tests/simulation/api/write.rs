//! Creates, updates, patches and deletes, with the server's rules about revisions, generations and finalizers.

use super::*;
use base64::Engine;

fn invalid(message: &str) -> Resp {
    failure(422, "Invalid", message)
}

fn conflict(message: &str) -> Resp {
    failure(409, "Conflict", message)
}

/// What is neither metadata nor status: a change of it is a new generation.
fn declared(v: &Value) -> Map<String, Value> {
    let object = v.as_object().cloned().unwrap_or_default();
    object.into_iter().filter(|(k, _)| !matches!(k.as_str(), "metadata" | "status" | "apiVersion" | "kind")).collect()
}

use serde_json::Map;

/// A uid in the form of a UUID, from a counter.
fn uid(n: u64) -> String {
    let mut state = n;
    let (a, b) = (crate::pin::splitmix(&mut state), crate::pin::splitmix(&mut state));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

/// What the server itself makes of an object of a built-in kind.
fn native(kind: &Kind, old: Option<&Value>, v: &mut Value) -> Result<(), Resp> {
    if kind.plural == "secrets" {
        if let Some(strings) = v.as_object_mut().and_then(|o| o.remove("stringData"))
            && let Value::Object(strings) = strings
        {
            for (k, s) in strings {
                v["data"][k] = json!(base64::engine::general_purpose::STANDARD.encode(s.as_str().unwrap_or_default()));
            }
        }
        if v.get("type").is_none() {
            v["type"] = json!("Opaque");
        }
        if old.is_some_and(|o| o["type"] != v["type"]) {
            return Err(invalid("Secret is invalid: type: Invalid value: field is immutable"));
        }
        if old.is_some_and(|o| o["immutable"] == true && o["data"] != v["data"]) {
            return Err(invalid("Secret is invalid: data: Forbidden: field is immutable when `immutable` is set"));
        }
    }
    if kind.plural == "namespaces" && old.is_none() {
        let name = v["metadata"]["name"].clone();
        v["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        v["spec"] = json!({"finalizers": ["kubernetes"]});
        v["status"] = json!({"phase": "Active"});
    }
    Ok(())
}

/// What is stored, as a backup of etcd has it.
#[derive(Clone)]
pub struct Backup {
    objs: BTreeMap<Key, Obj>,
    owned: BTreeMap<(Key, String, bool), Value>,
}

impl Backup {
    /// The object of a key, by its uid.
    pub fn uid(&self, key: &Key) -> Option<&str> {
        self.objs.get(key).map(|v| text(v, "/metadata/uid"))
    }
}

impl Api {
    /// What is stored now.
    pub fn backup(&self) -> Backup {
        Backup { objs: self.objs.clone(), owned: self.owned.clone() }
    }

    /// All is again as it was. Revisions go on: the operator is started anew, and never compares those of before.
    pub fn restore(&mut self, backup: &Backup) {
        let gone: Vec<Key> = self.objs.keys().filter(|k| !backup.objs.contains_key(k)).cloned().collect();
        gone.iter().for_each(|k| drop(self.commit(k, None)));
        for (key, was) in &backup.objs {
            let (uid, is) = (text(was, "/metadata/uid"), self.objs.get(key));
            if is.is_some_and(|v| text(v, "/metadata/uid") != uid) {
                self.commit(key, None);
            }
            // The revision alone is no difference.
            let differs = self.objs.get(key).is_none_or(|v| {
                let mut was = (**was).clone();
                was["metadata"]["resourceVersion"] = v["metadata"]["resourceVersion"].clone();
                was != **v
            });
            if differs {
                self.commit(key, Some((**was).clone()));
            }
        }
        self.owned = backup.owned.clone();
    }

    /// Stores a change. One that changes nothing makes no revision, as in the real server.
    fn commit(&mut self, key: &Key, new: Option<Value>) -> Obj {
        let old = self.objs.get(key).cloned();
        if let (Some(o), Some(n)) = (&old, &new)
            && **o == *n
        {
            return o.clone();
        }
        self.rv += 1;
        let mut last = new.clone().or_else(|| old.as_deref().cloned()).unwrap_or_default();
        last["metadata"]["resourceVersion"] = json!(self.rv.to_string());
        let last = Arc::new(last);
        let new = new.map(|_| last.clone());
        match &new {
            Some(v) => {
                self.objs.insert(key.clone(), v.clone());
                if old.is_some() {
                    for (_, applied) in
                        self.owned.range_mut((key.clone(), String::new(), false)..).take_while(|((k, ..), _)| k == key)
                    {
                        *applied = still_owned(applied, v, "").unwrap_or_default();
                    }
                }
            }
            None => {
                self.objs.remove(key);
                self.owned.retain(|(k, ..), _| k != key);
            }
        }
        self.log.push(Change { rv: self.rv, actor: self.actor, key: key.clone(), old, new, last: last.clone() });
        last
    }

    pub(super) fn create(&mut self, kind: &'static Kind, ns: &str, mut v: Value) -> Answer {
        if kind.namespaced {
            let parent = self.must(&Key { res: "namespaces", ns: String::new(), name: ns.into() })?;
            if deleting(&parent) {
                let mut f = failure(
                    403,
                    "Forbidden",
                    &format!("unable to create new content in namespace {ns} because it is being terminated"),
                );
                f.body["details"] = json!({"causes": [{"reason": "NamespaceTerminating", "message": format!("namespace {ns} is being terminated"), "field": "metadata.namespace"}]});
                return Err(f);
            }
        }
        if !text(&v, "/metadata/resourceVersion").is_empty() {
            // The real server's answer has no reason.
            return Err(failure(500, "", "resourceVersion should not be set on objects to be created"));
        }
        self.uid += 1;
        if text(&v, "/metadata/name").is_empty() {
            let prefix = text(&v, "/metadata/generateName");
            if prefix.is_empty() {
                return Err(invalid("name or generateName is required"));
            }
            v["metadata"]["name"] = json!(format!("{prefix}{:05x}", self.uid));
        }
        let key = Key { res: kind.plural, ns: ns.into(), name: text(&v, "/metadata/name").into() };
        if self.objs.contains_key(&key) {
            return Err(failure(409, "AlreadyExists", &format!("{} {:?} already exists", key.res, key.name)));
        }
        if kind.status
            && let Some(o) = v.as_object_mut()
        {
            o.remove("status");
        }
        schema::complete(kind, &mut v)?;
        native(kind, None, &mut v)?;
        v["apiVersion"] = json!(kind.gv);
        v["kind"] = json!(kind.kind);
        let Some(meta) = v["metadata"].as_object_mut() else { return Err(invalid("metadata is required")) };
        if kind.namespaced {
            meta.insert("namespace".into(), json!(ns));
        }
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"] {
            meta.remove(field);
        }
        if meta.get("finalizers").is_some_and(|f| f.as_array().is_none_or(Vec::is_empty)) {
            meta.remove("finalizers");
        }
        meta.insert("uid".into(), json!(uid(self.uid)));
        meta.insert("creationTimestamp".into(), json!(self.now));
        if kind.custom {
            meta.insert("generation".into(), json!(1));
        }
        let stored = self.commit(&key, Some(v));
        ok(201, (*stored).clone())
    }

    pub(super) fn put(&mut self, kind: &'static Kind, key: &Key, sub: Option<&str>, body: Value) -> Answer {
        if (kind.custom || kind.plural == "leases")
            && self.objs.contains_key(key)
            && text(&body, "/metadata/resourceVersion").is_empty()
        {
            return Err(invalid("metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"));
        }
        self.update(kind, key, sub, |v| {
            *v = body;
            Ok(())
        })
    }

    pub(super) fn update(
        &mut self,
        kind: &'static Kind,
        key: &Key,
        sub: Option<&str>,
        change: impl FnOnce(&mut Value) -> Result<(), Resp>,
    ) -> Answer {
        self.change(kind, key, sub, false, change)
    }

    /// The common way of PUT and of every PATCH: concurrency, subresource, generation, finalizers.
    /// `patched`: by any PATCH, where another uid is a wrong field, not a failed precondition.
    fn change(
        &mut self,
        kind: &'static Kind,
        key: &Key,
        sub: Option<&str>,
        patched: bool,
        change: impl FnOnce(&mut Value) -> Result<(), Resp>,
    ) -> Answer {
        let old = self.must(key)?;
        let mut new = (*old).clone();
        change(&mut new)?;
        let wanted = text(&new, "/metadata/resourceVersion");
        if !wanted.is_empty() && wanted != text(&old, "/metadata/resourceVersion") {
            return Err(conflict(&format!(
                "Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply your changes to the latest version and try again",
                key.res, key.name
            )));
        }
        let uid = text(&new, "/metadata/uid");
        // A patch of the status takes all metadata from the object as it is: a uid in it says nothing.
        if !uid.is_empty() && uid != text(&old, "/metadata/uid") && !(patched && sub.is_some()) {
            if patched {
                return Err(invalid("metadata.uid: Invalid value: field is immutable"));
            }
            return Err(conflict(&format!(
                "Operation cannot be fulfilled on {} {:?}: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                key.res,
                key.name,
                text(&old, "/metadata/uid")
            )));
        }
        let mut out = if sub == Some("status") {
            let mut out = (*old).clone();
            match new.get("status").filter(|s| !s.is_null()) {
                Some(status) => out["status"] = status.clone(),
                None => drop(out.as_object_mut().and_then(|o| o.remove("status"))),
            }
            out
        } else {
            let mut out = new;
            for field in ["apiVersion", "kind"] {
                out[field] = old[field].clone();
            }
            if kind.status
                && let Some(o) = out.as_object_mut()
            {
                o.remove("status");
                if let Some(status) = old.get("status") {
                    o.insert("status".into(), status.clone());
                }
            }
            let mut meta = out["metadata"].as_object().cloned().unwrap_or_default();
            const SERVERS_OWN: [&str; 8] = [
                "name",
                "namespace",
                "uid",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "generation",
                "resourceVersion",
            ];
            for field in SERVERS_OWN {
                match old["metadata"].get(field) {
                    Some(x) => drop(meta.insert(field.into(), x.clone())),
                    None => drop(meta.remove(field)),
                }
            }
            meta.remove("managedFields");
            for field in ["finalizers", "ownerReferences"] {
                if meta.get(field).is_some_and(|x| x.as_array().is_none_or(Vec::is_empty)) {
                    meta.remove(field);
                }
            }
            for field in ["annotations", "labels"] {
                if meta.get(field).is_some_and(|x| x.as_object().is_none_or(Map::is_empty)) {
                    meta.remove(field);
                }
            }
            out["metadata"] = Value::Object(meta);
            out
        };
        schema::complete(kind, &mut out)?;
        native(kind, Some(&old), &mut out)?;
        if kind.custom && declared(&out) != declared(&old) {
            out["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        if deleting(&old) {
            let before = finalizers(&old);
            if finalizers(&out).iter().any(|f| !before.contains(f)) {
                return Err(invalid(
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted",
                ));
            }
            if finalizers(&out).is_empty() && key.res != "namespaces" {
                // One DELETED event with the state before; the emptied list itself is never stored.
                self.commit(key, None);
                return ok(200, out);
            }
        }
        let stored = self.commit(key, Some(out));
        ok(200, (*stored).clone())
    }

    pub(super) fn patch(&mut self, r: &Req, kind: &'static Kind, key: &Key, sub: Option<&str>) -> Answer {
        match r.ctype.as_str() {
            "application/merge-patch+json" => self.change(kind, key, sub, true, |v| {
                merge(v, &r.body);
                Ok(())
            }),
            "application/json-patch+json" => self.change(kind, key, sub, true, |v| {
                let patch: json_patch::Patch =
                    serde_json::from_value(r.body.clone()).map_err(|e| failure(400, "BadRequest", &e.to_string()))?;
                json_patch::patch(v, &patch)
                    .map_err(|_| invalid("the server rejected our request due to an error in our request"))
            }),
            "application/apply-patch+yaml" | "application/apply-patch+json" => self.apply(r, kind, key, sub),
            other => Err(failure(
                415,
                "UnsupportedMediaType",
                &format!("the body of the request was in an unknown format: {other}"),
            )),
        }
    }

    fn apply(&mut self, r: &Req, kind: &'static Kind, key: &Key, sub: Option<&str>) -> Answer {
        let Some(manager) = r.query.get("fieldManager") else {
            return Err(invalid(
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ));
        };
        let mut body = r.body.clone();
        if text(&body, "/apiVersion") != kind.gv || text(&body, "/kind") != kind.kind {
            return Err(failure(400, "BadRequest", "apiVersion and kind are required for apply patch"));
        }
        let meta = body.as_object_mut().and_then(|o| o.get_mut("metadata")).and_then(Value::as_object_mut);
        let rv = meta.and_then(|m| m.remove("resourceVersion"));
        if !self.objs.contains_key(key) {
            if sub.is_some() {
                self.must(key)?;
            }
            if rv.is_some() {
                return Err(conflict("resourceVersion was given for an object that does not exist"));
            }
            if text(&body, "/metadata/name") != key.name {
                return Err(failure(
                    400,
                    "BadRequest",
                    "the name of the object (based on URL) was undeterminable: name must be provided",
                ));
            }
            let out = self.create(kind, &key.ns, body.clone())?;
            self.owned.insert((key.clone(), manager.clone(), false), body);
            return Ok(out);
        }
        let id = (key.clone(), manager.clone(), sub.is_some());
        let last = self.owned.get(&id).cloned().unwrap_or_default();
        let others: Vec<Value> =
            self.owned.iter().filter(|(k, _)| k.0 == *key && **k != id).map(|(_, v)| v.clone()).collect();
        // Names are not fields that anybody owns.
        let fields = |v: &Value| {
            let mut v = v.clone();
            for field in ["apiVersion", "kind"] {
                v.as_object_mut().map(|o| o.remove(field));
            }
            for field in ["name", "namespace", "uid"] {
                v.get_mut("metadata").and_then(Value::as_object_mut).map(|m| m.remove(field));
            }
            v
        };
        let out = self.change(kind, key, sub, true, |v| {
            if let Some(uid) = body.pointer("/metadata/uid") {
                v["metadata"]["uid"] = uid.clone();
            }
            super::value::apply(v, &fields(&last), &fields(&body), &others.iter().collect::<Vec<_>>(), "");
            if let Some(rv) = rv {
                v["metadata"]["resourceVersion"] = rv;
            }
            Ok(())
        })?;
        if self.objs.contains_key(key) {
            self.owned.insert(id, body);
        }
        Ok(out)
    }

    pub(super) fn delete(&mut self, key: &Key, options: &Value) -> Answer {
        let old = self.must(key)?;
        for (p, field) in
            [("/preconditions/uid", "/metadata/uid"), ("/preconditions/resourceVersion", "/metadata/resourceVersion")]
        {
            if !text(options, p).is_empty() && text(options, p) != text(&old, field) {
                return Err(conflict(&format!(
                    "Operation cannot be fulfilled on {} {:?}: the precondition does not match",
                    key.res, key.name
                )));
            }
        }
        let mut v = (*old).clone();
        let mut kept: Vec<String> = finalizers(&v).into_iter().map(String::from).collect();
        if text(options, "/propagationPolicy") == "Foreground" && !kept.iter().any(|f| f == "foregroundDeletion") {
            kept.push("foregroundDeletion".into());
            v["metadata"]["finalizers"] = json!(kept);
        }
        if key.res == "namespaces" {
            v["status"] = json!({"phase": "Terminating"});
        } else if kept.is_empty() {
            self.commit(key, None);
            let group = kind_of(key.res).gv.split_once('/').map_or("", |g| g.0);
            return ok(
                200,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {"name": key.name, "group": group, "kind": key.res, "uid": old["metadata"]["uid"]}}),
            );
        }
        if !deleting(&v) {
            v["metadata"]["deletionTimestamp"] = json!(self.now);
            v["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            if let Some(g) = v["metadata"]["generation"].as_i64() {
                v["metadata"]["generation"] = json!(g + 1);
            }
        }
        let stored = self.commit(key, Some(v));
        ok(200, (*stored).clone())
    }

    pub(super) fn delete_collection(&mut self, r: &Req, kind: &'static Kind, ns: &str) -> Answer {
        let hit = |k: &Key, v: &Value| {
            k.res == kind.plural
                && (ns.is_empty() || k.ns == ns)
                && selected(v, r.q("fieldSelector"), r.q("labelSelector"))
        };
        let keys: Vec<Key> = self.objs.iter().filter(|(k, v)| hit(k, v)).map(|(k, _)| k.clone()).collect();
        let mut items = vec![];
        for key in keys {
            if let Some(v) = self.objs.get(&key).cloned() {
                let _ = self.delete(&key, &delete_options(r));
                items.push((*v).clone());
            }
        }
        ok(
            200,
            json!({"kind": format!("{}List", kind.kind), "apiVersion": kind.gv, "metadata": {"resourceVersion": self.rv.to_string()}, "items": items}),
        )
    }

    /// Removes an object without asking its finalizers; for the cluster's own controllers.
    pub(super) fn remove(&mut self, key: &Key) {
        if self.objs.contains_key(key) {
            self.commit(key, None);
        }
    }
}
