//! What the model must do just as kube-apiserver does. Each test is written once and runs against both, so that a
//! difference shows.

use crate::api::{Api, Req, Resp, Watch};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;

#[path = "../common/cluster.rs"]
mod cluster;

const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const META: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const META_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// One of the two.
enum Server {
    Model(Mutex<Api>),
    Real(kube::Client),
}

/// An open watch of one of the two.
enum Watching<'a> {
    Model(&'a Mutex<Api>, Watch),
    Real(kube::client::Body, Vec<u8>),
}

impl Server {
    async fn call(&self, r: Req) -> Resp {
        match self {
            Server::Model(api) => {
                let mut api = api.lock().unwrap();
                let rv = api.rv;
                api.handle(&r, rv)
            }
            Server::Real(client) => {
                let response = client.send(request(&r)).await.unwrap();
                let code = response.status().as_u16();
                let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
                Resp { code, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
            }
        }
    }

    async fn go(&self, method: &str, target: &str, ctype: &str, body: Value) -> Resp {
        self.call(Req::new(method, target, ctype, body)).await
    }

    async fn get(&self, target: &str) -> Resp {
        self.go("GET", target, "", Value::Null).await
    }

    async fn watch(&self, target: &str, accept: &str) -> Watching<'_> {
        let r = Req { accept: accept.into(), ..Req::new("GET", &format!("{target}&watch=true"), "", Value::Null) };
        match self {
            Server::Model(api) => {
                let w = api.lock().unwrap().watch(&r).unwrap();
                Watching::Model(api, w)
            }
            Server::Real(client) => {
                let response = client.send(request(&r)).await.unwrap();
                assert_eq!(response.status(), 200);
                Watching::Real(response.into_body(), vec![])
            }
        }
    }

    /// Waits until something holds; the model's controllers take all their steps first.
    async fn until(&self, what: &str, target: &str, holds: impl Fn(&Resp) -> bool) {
        for _ in 0..300 {
            if let Server::Model(api) = self {
                let mut api = api.lock().unwrap();
                while let Some(step) = api.cluster_steps().first().cloned() {
                    api.cluster_step(&step);
                }
            }
            let answer = self.get(target).await;
            if holds(&answer) {
                return;
            }
            assert!(matches!(self, Server::Real(_)), "{what}: {} {}", answer.code, answer.body);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what}: not in 30 s");
    }
}

impl Watching<'_> {
    async fn next(&mut self) -> Value {
        match self {
            Watching::Model(api, w) => api.lock().unwrap().next_event(w).unwrap_or(Value::Null),
            Watching::Real(body, buffer) => loop {
                if let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    return serde_json::from_slice(&line).unwrap();
                }
                let frame = tokio::time::timeout(Duration::from_secs(20), http_body_util::BodyExt::frame(body))
                    .await
                    .expect("an event in 20 s");
                buffer.extend_from_slice(&frame.expect("more events").unwrap().into_data().unwrap());
            },
        }
    }

    /// Type and name of the next event.
    async fn brief(&mut self) -> (String, String) {
        let e = self.next().await;
        let text = |p: &str| crate::api::text(&e, p).to_string();
        (text("/type"), text("/object/metadata/name"))
    }
}

fn request(r: &Req) -> http::Request<kube::client::Body> {
    let query: Vec<String> = r
        .query
        .iter()
        .map(|(k, v)| {
            format!("{k}={}", v.replace('%', "%25").replace('=', "%3D").replace(' ', "%20").replace('!', "%21"))
        })
        .collect();
    let mut b = http::Request::builder().method(r.method.as_str()).uri(format!("{}?{}", r.path, query.join("&")));
    let ctype = if r.ctype.is_empty() { "application/json" } else { &r.ctype };
    b = b.header("content-type", ctype);
    if !r.accept.is_empty() {
        b = b.header("accept", &r.accept);
    }
    let body = if r.body.is_null() { vec![] } else { r.body.to_string().into_bytes() };
    b.body(body.into()).unwrap()
}

/// A namespace for one test.
struct Place<'a> {
    server: &'a Server,
    ns: String,
}

impl<'a> Place<'a> {
    async fn new(server: &'a Server, name: &str) -> Self {
        let made = server.go("POST", "/api/v1/namespaces", "", json!({"metadata": {"name": name}})).await;
        assert_eq!(made.code, 201, "{}", made.body);
        Place { server, ns: name.into() }
    }
    fn path(&self, rest: &str) -> String {
        format!("/apis/mailtenant.dev/v1alpha1/namespaces/{}/mailboxes{rest}", self.ns)
    }
    async fn make(&self, name: &str, metadata: Value) -> Resp {
        let mut body = json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": "Mailbox", "metadata": {"name": name},
            "spec": {"domainRef": {"name": "d"}, "localPart": name}});
        crate::api::merge(&mut body["metadata"], &metadata);
        self.server.go("POST", &self.path(""), "", body).await
    }
    async fn patch(&self, name: &str, ctype: &str, body: Value) -> Resp {
        self.server.go("PATCH", &self.path(&format!("/{name}")), ctype, body).await
    }
    async fn get(&self, name: &str) -> Resp {
        self.server.get(&self.path(&format!("/{name}"))).await
    }
    async fn delete(&self, name: &str, options: Value) -> Resp {
        self.server.go("DELETE", &self.path(&format!("/{name}")), "", options).await
    }
    async fn apply(&self, name: &str, manager: &str, mut body: Value) -> Resp {
        body["apiVersion"] = json!("mailtenant.dev/v1alpha1");
        body["kind"] = json!("Mailbox");
        if !name.contains('/') {
            body["metadata"]["name"] = json!(name);
        }
        self.server.go("PATCH", &self.path(&format!("/{name}?fieldManager={manager}&force=true")), APPLY, body).await
    }
}

fn meta<'a>(r: &'a Resp, field: &str) -> &'a Value {
    &r.body["metadata"][field]
}

fn names(r: &Resp) -> Vec<&str> {
    let items = r.body["items"].as_array().unwrap();
    items.iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

async fn creation(s: &Server) {
    let p = Place::new(s, "creation").await;
    let a = p.make("a", json!({})).await;
    assert_eq!(a.code, 201, "{}", a.body);
    assert_eq!((meta(&a, "generation"), meta(&a, "namespace")), (&json!(1), &json!("creation")));
    assert!(meta(&a, "uid").is_string() && meta(&a, "creationTimestamp").is_string());
    assert_eq!(a.body["spec"]["suspend"], "None", "a default");
    assert_eq!(a.body["spec"]["access"]["imap"], true, "a default inside of a default");
    let read = p.get("a").await;
    assert_eq!(read.body["status"]["observedGeneration"], -1, "not looked at yet");
    let again = p.make("a", json!({})).await;
    assert_eq!((again.code, &again.body["reason"]), (409, &json!("AlreadyExists")));
    let body = |spec: Value| json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": "Mailbox", "metadata": {"name": "x"}, "spec": spec});
    for (what, spec) in [
        ("a required field", json!({"localPart": "x"})),
        ("an enum", json!({"domainRef": {"name": "d"}, "localPart": "x", "suspend": "Sometimes"})),
        ("a type", json!({"domainRef": {"name": "d"}, "localPart": 7})),
        ("a length", json!({"domainRef": {"name": "d"}, "localPart": ""})),
    ] {
        let r = s.go("POST", &p.path(""), "", body(spec)).await;
        assert_eq!((r.code, &r.body["reason"]), (422, &json!("Invalid")), "{what}: {}", r.body);
    }
    let unknown = s
        .go("POST", &p.path(""), "", body(json!({"domainRef": {"name": "d"}, "localPart": "x", "colour": "red"})))
        .await;
    assert_eq!((unknown.code, unknown.body["spec"].get("colour")), (201, None), "unknown fields are pruned");
    let r = p.make("v", json!({"resourceVersion": "7"})).await;
    assert_eq!(r.code, 500, "{}", r.body);
    let nowhere = s
        .go(
            "POST",
            "/apis/mailtenant.dev/v1alpha1/namespaces/nowhere/mailboxes",
            "",
            body(json!({"domainRef": {"name": "d"}, "localPart": "x"})),
        )
        .await;
    assert_eq!((nowhere.code, &nowhere.body["reason"]), (404, &json!("NotFound")));
    let missing = p.get("nobody").await;
    assert_eq!(
        (missing.code, &missing.body["reason"], &missing.body["details"]["name"]),
        (404, &json!("NotFound"), &json!("nobody"))
    );
    assert_eq!(s.get("/apis/mailtenant.dev/v1alpha1/nothings").await.code, 404);
}

async fn updates(s: &Server) {
    let p = Place::new(s, "updates").await;
    let a = p.make("a", json!({})).await;
    let b = p.patch("a", MERGE, json!({"spec": {"displayName": "B"}, "status": {"address": "x"}})).await;
    assert_eq!(
        (meta(&b, "generation"), b.body["status"].get("address")),
        (&json!(2), None),
        "status only by its subresource"
    );
    let c = p.patch("a/status", MERGE, json!({"status": {"address": "x"}, "spec": {"displayName": "C"}})).await;
    assert_eq!(
        (meta(&c, "generation"), &c.body["spec"]["displayName"], &c.body["status"]["address"]),
        (&json!(2), &json!("B"), &json!("x"))
    );
    let d = p.patch("a/status", MERGE, json!({"status": {"address": "x"}})).await;
    assert_eq!(meta(&c, "resourceVersion"), meta(&d, "resourceVersion"), "what changes nothing is not written");
    let labels = p.patch("a", MERGE, json!({"metadata": {"labels": {"l": "1"}, "annotations": {"n": "1"}}})).await;
    assert_eq!(meta(&labels, "generation"), &json!(2), "metadata are no generation");
    assert_eq!(
        p.patch(
            "a",
            MERGE,
            json!({"metadata": {"resourceVersion": meta(&a, "resourceVersion")}, "spec": {"displayName": "Z"}})
        )
        .await
        .code,
        409
    );
    assert_eq!(p.patch("a", MERGE, json!({"metadata": {"uid": "other"}})).await.code, 422);
    let mut other = p.get("a").await.body;
    other["metadata"]["uid"] = json!("other");
    assert_eq!(s.go("PUT", &p.path("/a"), "", other).await.code, 409);
    let mut stale = a.body.clone();
    stale["spec"]["displayName"] = json!("stale");
    assert_eq!(s.go("PUT", &p.path("/a"), "", stale.clone()).await.code, 409);
    stale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(s.go("PUT", &p.path("/a"), "", stale).await.code, 422, "a custom resource is not replaced blindly");
    let mut fresh = p.get("a").await.body;
    fresh["spec"]["displayName"] = json!("fresh");
    let put = s.go("PUT", &p.path("/a"), "", fresh).await;
    assert_eq!((put.code, meta(&put, "generation")), (200, &json!(3)));
    let test = |name: &str| json!([{"op": "test", "path": "/spec/displayName", "value": name}, {"op": "replace", "path": "/spec/displayName", "value": "patched"}]);
    assert_eq!(p.patch("a", JSON_PATCH, test("wrong")).await.code, 422);
    assert_eq!(p.patch("a", JSON_PATCH, test("fresh")).await.code, 200);
    let gone = p.patch("a", MERGE, json!({"spec": {"displayName": null}})).await;
    assert_eq!(gone.body["spec"].get("displayName"), None);
    assert_eq!(p.patch("a", MERGE, json!({"spec": {"suspend": "Sometimes"}})).await.code, 422);
    assert_eq!(p.patch("nobody", MERGE, json!({"spec": {}})).await.code, 404);
    assert_eq!(s.go("PATCH", &p.path("/a"), "text/plain", json!({})).await.code, 415);
}

async fn deletion(s: &Server) {
    let p = Place::new(s, "deletion").await;
    p.make("plain", json!({})).await;
    assert_eq!(p.delete("plain", json!({"preconditions": {"uid": "other"}})).await.code, 409);
    let d = p.delete("plain", Value::Null).await;
    assert_eq!((d.code, &d.body["kind"], &d.body["status"]), (200, &json!("Status"), &json!("Success")), "{}", d.body);
    assert_eq!(p.delete("plain", Value::Null).await.code, 404);
    p.make("held", json!({"finalizers": ["x.test/y"]})).await;
    let d = p.delete("held", Value::Null).await;
    assert_eq!(
        (d.code, &d.body["kind"], meta(&d, "generation")),
        (200, &json!("Mailbox"), &json!(2)),
        "the mark is a generation"
    );
    assert!(meta(&d, "deletionTimestamp").is_string());
    let again = p.delete("held", Value::Null).await;
    assert_eq!(
        (again.code, meta(&again, "generation"), meta(&again, "resourceVersion")),
        (200, &json!(2), meta(&d, "resourceVersion"))
    );
    assert_eq!(p.patch("held", MERGE, json!({"metadata": {"finalizers": ["x.test/y", "x.test/z"]}})).await.code, 422);
    let edited = p.patch("held", MERGE, json!({"spec": {"displayName": "E"}})).await;
    assert_eq!((edited.code, meta(&edited, "generation")), (200, &json!(3)));
    let status = p.patch("held/status", MERGE, json!({"status": {"address": "x"}})).await;
    assert_eq!((status.code, &status.body["status"]["address"]), (200, &json!("x")));
    let mut w = s
        .watch(
            &p.path(&format!("?resourceVersion={}", status.body["metadata"]["resourceVersion"].as_str().unwrap())),
            "",
        )
        .await;
    assert_eq!(p.patch("held", MERGE, json!({"metadata": {"finalizers": null}})).await.code, 200);
    assert_eq!(p.get("held").await.code, 404);
    let e = w.next().await;
    assert_eq!(e["type"], "DELETED");
    assert!(
        e["object"]["metadata"]["deletionTimestamp"].is_string()
            && e["object"]["metadata"]["resourceVersion"] != status.body["metadata"]["resourceVersion"]
    );
    for i in 0..3 {
        p.make(&format!("many{i}"), if i == 2 { json!({"finalizers": ["x.test/y"]}) } else { json!({}) }).await;
    }
    assert_eq!(s.go("DELETE", &p.path(""), "", Value::Null).await.code, 200);
    assert_eq!(names(&s.get(&p.path("")).await), ["many2"]);
    p.patch("many2", MERGE, json!({"metadata": {"finalizers": null}})).await;
}

async fn lists(s: &Server) {
    let p = Place::new(s, "lists").await;
    for i in 0..5 {
        p.make(&format!("n{i}"), json!({"labels": {"g": if i < 2 { "a" } else { "b" }}})).await;
    }
    let one = s.get(&p.path("?limit=2")).await;
    assert_eq!((names(&one), meta(&one, "remainingItemCount")), (vec!["n0", "n1"], &json!(3)));
    p.make("n9", json!({})).await;
    let next = one.body["metadata"]["continue"].as_str().unwrap().to_string();
    let two = s
        .call(Req {
            query: [("limit".to_string(), "9".to_string()), ("continue".into(), next)].into(),
            ..Req::new("GET", &p.path(""), "", Value::Null)
        })
        .await;
    assert_eq!(names(&two), ["n2", "n3", "n4"], "all pages are of one revision");
    assert_eq!(meta(&two, "resourceVersion"), meta(&one, "resourceVersion"));
    let select = |field: &'static str, value: &'static str| Req {
        query: [(field.to_string(), value.to_string())].into(),
        ..Req::new("GET", &p.path(""), "", Value::Null)
    };
    for (field, value, count) in [
        ("labelSelector", "g=a", 2),
        ("labelSelector", "g!=a", 4),
        ("labelSelector", "!g", 1),
        ("labelSelector", "g", 5),
        ("labelSelector", "g in (a,b)", 5),
        ("labelSelector", "g notin (a)", 4),
        ("fieldSelector", "metadata.name=n3", 1),
        ("fieldSelector", "spec.domainRef.name=d", 6),
        ("fieldSelector", "spec.domainRef.name=other", 0),
    ] {
        let r = s.call(select(field, value)).await;
        assert_eq!((r.code, names(&r).len()), (200, count), "{value}");
    }
    assert_eq!(s.call(select("fieldSelector", "spec.localPart=n1")).await.code, 400, "not a selectable field");
    let all = s.get("/apis/mailtenant.dev/v1alpha1/mailboxes").await;
    assert!(names(&all).len() >= 6 && all.body["kind"] == "MailboxList");
    let any = s.get(&p.path("?resourceVersion=0")).await;
    assert_eq!((any.code, &any.body["kind"]), (200, &json!("MailboxList")));
}

async fn watches(s: &Server) {
    let p = Place::new(s, "watches").await;
    p.make("old", json!({"labels": {"g": "a"}})).await;
    let list = s.get(&p.path("")).await;
    let rv = list.body["metadata"]["resourceVersion"].as_str().unwrap();
    let mut all = s.watch(&p.path(&format!("?resourceVersion={rv}")), "").await;
    let mut some = s.watch(&p.path(&format!("?resourceVersion={rv}&labelSelector=g=a")), "").await;
    p.make("new", json!({})).await;
    p.patch("old", MERGE, json!({"metadata": {"labels": {"g": "c"}}})).await;
    p.patch("old", MERGE, json!({"metadata": {"labels": {"g": "a"}}})).await;
    p.delete("new", Value::Null).await;
    let word = |t: &str, n: &str| (t.to_string(), n.to_string());
    for e in [word("ADDED", "new"), word("MODIFIED", "old"), word("MODIFIED", "old"), word("DELETED", "new")] {
        assert_eq!(all.brief().await, e);
    }
    for e in [word("DELETED", "old"), word("ADDED", "old")] {
        assert_eq!(some.brief().await, e, "an object leaves and enters the selector");
    }
    let mut from_zero = s.watch(&p.path("?resourceVersion=0"), "").await;
    assert_eq!(from_zero.brief().await, word("ADDED", "old"));
    let mut streaming = s
        .watch(&p.path("?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"), "")
        .await;
    assert_eq!(streaming.brief().await, word("ADDED", "old"));
    let end = streaming.next().await;
    assert_eq!(
        (&end["type"], end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"),
        (&json!("BOOKMARK"), true)
    );
    let mut ancient = s.watch(&p.path("?resourceVersion=1"), "").await;
    let e = ancient.next().await;
    assert_eq!(
        (&e["type"], &e["object"]["code"], &e["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired")),
        "{e}"
    );
}

async fn applies(s: &Server) {
    let p = Place::new(s, "applies").await;
    let spec = |name: &str| json!({"domainRef": {"name": "d"}, "localPart": "a", "displayName": name});
    let made = p.apply("a", "one", json!({"spec": spec("A")})).await;
    assert_eq!((made.code, meta(&made, "generation")), (201, &json!(1)), "{}", made.body);
    // The first repeat in another second was once seen to move the stamp of the manager at the real server; then it rests.
    let once = p.apply("a", "one", json!({"spec": spec("A")})).await;
    let same = p.apply("a", "one", json!({"spec": spec("A")})).await;
    assert_eq!((same.code, meta(&same, "resourceVersion")), (200, meta(&once, "resourceVersion")), "nothing to do");
    let dropped = p.apply("a", "one", json!({"spec": {"domainRef": {"name": "d"}, "localPart": "a"}})).await;
    assert_eq!(dropped.body["spec"].get("displayName"), None, "what a manager no longer applies goes");
    // What somebody else has changed since is theirs.
    p.apply("a", "one", json!({"spec": spec("B")})).await;
    p.patch("a", MERGE, json!({"spec": {"displayName": "C"}})).await;
    let kept = p.apply("a", "one", json!({"spec": {"domainRef": {"name": "d"}, "localPart": "a"}})).await;
    assert_eq!(kept.body["spec"]["displayName"], "C");
    // Two managers of one field.
    p.apply("a", "one", json!({"spec": spec("D")})).await;
    p.apply("a", "two", json!({"spec": {"displayName": "D"}})).await;
    let kept = p.apply("a", "one", json!({"spec": {"domainRef": {"name": "d"}, "localPart": "a"}})).await;
    assert_eq!(kept.body["spec"]["displayName"], "D", "the other still applies it");
    let gone = p.apply("a", "two", json!({"spec": {}})).await;
    assert_eq!(gone.body["spec"].get("displayName"), None);
    let cond = |t: &str, status: &str| json!({"type": t, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    p.apply("a/status", "m", json!({"status": {"observedGeneration": 1, "address": "x", "conditions": [cond("A", "True"), cond("B", "True")]}})).await;
    p.apply("a/status", "other", json!({"status": {"conditions": [cond("C", "True")]}})).await;
    let v = p
        .apply("a/status", "m", json!({"status": {"observedGeneration": 2, "conditions": [cond("A", "False")]}}))
        .await;
    let status = &v.body["status"];
    let mut kinds: Vec<(&str, &str)> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap()))
        .collect();
    kinds.sort_unstable();
    assert_eq!(
        (kinds, &status["observedGeneration"], status.get("address")),
        (vec![("A", "False"), ("C", "True")], &json!(2), None)
    );
    let uid =
        p.apply("a/status", "m", json!({"metadata": {"uid": "other"}, "status": {"observedGeneration": 3}})).await;
    // No precondition there: whoever must not hit another object of the same name says which version it has seen.
    assert_eq!((uid.code, &uid.body["status"]["observedGeneration"]), (200, &json!(3)), "{}", uid.body);
    assert_eq!(meta(&uid, "uid"), meta(&made, "uid"));
    let merge = json!({"metadata": {"uid": "other"}, "status": {"observedGeneration": 3}});
    assert_eq!(p.patch("a/status", MERGE, merge).await.code, 200);
    let main = json!({"metadata": {"uid": "other"}, "spec": {"domainRef": {"name": "d"}, "localPart": "a"}});
    assert_eq!(p.apply("a", "one", main).await.code, 422);
    let rv = p.apply("a/status", "m", json!({"metadata": {"resourceVersion": meta(&made, "resourceVersion")}, "status": {"observedGeneration": 3}})).await;
    assert_eq!(rv.code, 409, "{}", rv.body);
    assert_eq!(p.apply("nobody/status", "m", json!({"status": {"observedGeneration": 3}})).await.code, 404);
    let unnamed = s
        .go(
            "PATCH",
            &p.path("/a?force=true"),
            APPLY,
            json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": "Mailbox", "spec": {}}),
        )
        .await;
    assert!(matches!(unnamed.code, 400 | 422), "{}", unnamed.code);
    // Finalizers are a set that managers share.
    p.apply(
        "a",
        "one",
        json!({"metadata": {"finalizers": ["x.test/one"]}, "spec": {"domainRef": {"name": "d"}, "localPart": "a"}}),
    )
    .await;
    let both = p.apply("a", "two", json!({"metadata": {"finalizers": ["x.test/two"]}})).await;
    assert_eq!(meta(&both, "finalizers"), &json!(["x.test/one", "x.test/two"]));
    let left = p.apply("a", "one", json!({"spec": {"domainRef": {"name": "d"}, "localPart": "a"}})).await;
    assert_eq!(meta(&left, "finalizers"), &json!(["x.test/two"]));
    p.patch("a", MERGE, json!({"metadata": {"finalizers": null}})).await;
}

async fn partial_metadata(s: &Server) {
    let p = Place::new(s, "partial").await;
    p.make("a", json!({"labels": {"g": "a"}})).await;
    let with = |path: String, accept: &str| Req { accept: accept.into(), ..Req::new("GET", &path, "", Value::Null) };
    let one = s.call(with(p.path("/a"), META)).await;
    assert_eq!(
        (&one.body["kind"], &one.body["apiVersion"], one.body.get("spec")),
        (&json!("PartialObjectMetadata"), &json!("meta.k8s.io/v1"), None)
    );
    assert_eq!(meta(&one, "labels"), &json!({"g": "a"}));
    let list = s.call(with(p.path(""), META_LIST)).await;
    assert_eq!(
        (&list.body["kind"], names(&list), list.body["items"][0].get("spec")),
        (&json!("PartialObjectMetadataList"), vec!["a"], None)
    );
    let rv = list.body["metadata"]["resourceVersion"].as_str().unwrap();
    let mut w = s.watch(&p.path(&format!("?resourceVersion={rv}")), META).await;
    p.patch("a", MERGE, json!({"metadata": {"labels": {"g": "b"}}})).await;
    let e = w.next().await;
    assert_eq!(
        (&e["type"], &e["object"]["kind"], e["object"].get("spec")),
        (&json!("MODIFIED"), &json!("PartialObjectMetadata"), None)
    );
    let mut patch = Req::new("PATCH", &p.path("/a"), MERGE, json!({"metadata": {"labels": {"g": "c"}}}));
    patch.accept = META.into();
    let patched = s.call(patch).await;
    assert_eq!(
        (patched.code, &patched.body["kind"], meta(&patched, "labels")),
        (200, &json!("PartialObjectMetadata"), &json!({"g": "c"}))
    );
}

async fn built_in_kinds(s: &Server) {
    Place::new(s, "builtin").await;
    let secrets = "/api/v1/namespaces/builtin/secrets";
    let a = s.go("POST", secrets, "", json!({"metadata": {"name": "a"}, "stringData": {"k": "v"}})).await;
    assert_eq!(
        (a.code, &a.body["type"], &a.body["data"]["k"], a.body.get("stringData")),
        (201, &json!("Opaque"), &json!("dg=="), None)
    );
    assert_eq!(a.body["metadata"].get("generation"), None, "Secrets have none");
    let typed = s
        .go(
            "POST",
            secrets,
            "",
            json!({"metadata": {"name": "b"}, "type": "mailtenant.dev/credentials", "data": {"k": "dg=="}}),
        )
        .await;
    assert_eq!(typed.code, 201);
    let path = format!("{secrets}/a");
    assert_eq!(s.go("PATCH", &path, MERGE, json!({"type": "other"})).await.code, 422, "the type stays");
    let p = s.go("PATCH", &path, MERGE, json!({"stringData": {"k": "w"}})).await;
    assert_eq!((&p.body["data"]["k"], p.body.get("stringData")), (&json!("dw=="), None));
    let selected = s
        .call(Req {
            query: [("fieldSelector".to_string(), "type=mailtenant.dev/credentials".to_string())].into(),
            ..Req::new("GET", secrets, "", Value::Null)
        })
        .await;
    assert_eq!(names(&selected), ["b"]);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/builtin/leases";
    let l = s
        .go(
            "POST",
            leases,
            "",
            json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}}),
        )
        .await;
    assert_eq!(l.code, 201, "{}", l.body);
    let mut taken = l.body.clone();
    taken["spec"]["holderIdentity"] = json!("b");
    assert_eq!(s.go("PUT", &format!("{leases}/l"), "", taken.clone()).await.code, 200);
    assert_eq!(s.go("PUT", &format!("{leases}/l"), "", taken.clone()).await.code, 409, "compare and set");
    let e = s
        .go("POST", "/apis/events.k8s.io/v1/namespaces/builtin/events", "", json!({"metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "mailtenant.dev/operator", "reportingInstance": "x", "action": "Reconcile", "reason": "R", "type": "Normal", "note": "n",
            "regarding": {"kind": "Mailbox", "namespace": "builtin", "name": "a"}}))
        .await;
    assert_eq!(e.code, 201, "{}", e.body);
    let series = s
        .go(
            "PATCH",
            "/apis/events.k8s.io/v1/namespaces/builtin/events/e",
            MERGE,
            json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}),
        )
        .await;
    assert_eq!((series.code, &series.body["series"]["count"]), (200, &json!(2)), "{}", series.body);
    let ns = s.get("/api/v1/namespaces/builtin").await;
    assert_eq!(meta(&ns, "labels")["kubernetes.io/metadata.name"], "builtin");
    let crd = s.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/mailboxes.mailtenant.dev").await;
    let established = crd.body["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .any(|c| c["type"] == "Established" && c["status"] == "True");
    assert!(established);
    assert!(s.get("/version").await.body["gitVersion"].as_str().unwrap().starts_with("v1."));
}

async fn garbage_and_namespaces(s: &Server) {
    let p = Place::new(s, "garbage").await;
    let a = p.make("a", json!({})).await;
    let own = |block: bool| json!({"ownerReferences": [{"uid": meta(&a, "uid"), "name": "a", "kind": "Mailbox", "apiVersion": "mailtenant.dev/v1alpha1", "blockOwnerDeletion": block}]});
    p.make("b", own(false)).await;
    p.delete("a", Value::Null).await;
    s.until("what is owned goes with its owner", &p.path("/b"), |r| r.code == 404).await;
    let c = p.make("c", json!({})).await;
    let own = json!({"ownerReferences": [{"uid": meta(&c, "uid"), "name": "c", "kind": "Mailbox", "apiVersion": "mailtenant.dev/v1alpha1", "blockOwnerDeletion": true}]});
    p.make("d", crate_merge(own, json!({"finalizers": ["x.test/y"]}))).await;
    let d = p.delete("c", json!({"propagationPolicy": "Foreground"})).await;
    assert_eq!(meta(&d, "finalizers"), &json!(["foregroundDeletion"]));
    s.until("the child is told to go first", &p.path("/d"), |r| r.body["metadata"].get("deletionTimestamp").is_some())
        .await;
    assert_eq!(p.get("c").await.code, 200, "held by its child");
    p.patch("d", MERGE, json!({"metadata": {"finalizers": null}})).await;
    s.until("then the owner", &p.path("/c"), |r| r.code == 404).await;
    p.make("held", json!({"finalizers": ["x.test/y"]})).await;
    p.make("free", json!({})).await;
    let gone = s.go("DELETE", "/api/v1/namespaces/garbage", "", Value::Null).await;
    assert_eq!((gone.code, &gone.body["status"]["phase"]), (200, &json!("Terminating")));
    let refused = p.make("late", json!({})).await;
    assert_eq!((refused.code, &refused.body["reason"]), (403, &json!("Forbidden")));
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "NamespaceTerminating", "{}", refused.body);
    s.until("what nobody holds goes", &p.path("/free"), |r| r.code == 404).await;
    s.until("the rest is marked", &p.path("/held"), |r| r.body["metadata"].get("deletionTimestamp").is_some()).await;
    assert_eq!(s.get("/api/v1/namespaces/garbage").await.code, 200, "held by a finalizer inside");
    p.patch("held", MERGE, json!({"metadata": {"finalizers": []}})).await;
    s.until("the namespace goes last", "/api/v1/namespaces/garbage", |r| r.code == 404).await;
}

fn crate_merge(mut a: Value, b: Value) -> Value {
    crate::api::merge(&mut a, &b);
    a
}

/// All of them, so that every difference is seen at once.
async fn all(s: &Server) {
    use futures::FutureExt;
    let mut failed = vec![];
    let mut note = |name: &'static str, result: Result<(), Box<dyn std::any::Any + Send>>| {
        if result.is_err() {
            failed.push(name);
        }
    };
    macro_rules! each {
        ($($test:ident),* $(,)?) => {
            $(note(stringify!($test), std::panic::AssertUnwindSafe($test(s)).catch_unwind().await);)*
        };
    }
    each!(
        creation,
        updates,
        deletion,
        lists,
        watches,
        applies,
        partial_metadata,
        built_in_kinds,
        garbage_and_namespaces
    );
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn the_model_does_as_it_should() {
    all(&Server::Model(Mutex::new(Api::new()))).await;
}

#[tokio::test]
async fn kube_apiserver_does_the_same() {
    let controllers = Some("garbage-collector-controller,namespace-controller".into());
    let cluster = cluster::Cluster::start(cluster::Options { controllers, ..Default::default() }).await.unwrap();
    let client = cluster.client().await;
    cluster::install_crds(&client).await.unwrap();
    all(&Server::Real(client)).await;
}

/// Only the model can be told to forget.
#[test]
fn an_old_page_is_gone_after_a_compaction() {
    let mut api = Api::new();
    let mut go = |m: &str, t: &str, b: Value| {
        let rv = api.rv;
        api.handle(&Req::new(m, t, "", b), rv)
    };
    for n in ["a", "b", "c"] {
        go("POST", "/api/v1/namespaces", json!({"metadata": {"name": n}}));
    }
    let page = go("GET", "/api/v1/namespaces?limit=1", Value::Null);
    let next = page.body["metadata"]["continue"].as_str().unwrap().to_string();
    go("POST", "/api/v1/namespaces", json!({"metadata": {"name": "d"}}));
    assert_eq!(go("GET", &format!("/api/v1/namespaces?limit=1&continue={next}"), Value::Null).code, 200);
    api.compact();
    let rv = api.rv;
    let r = api.handle(&Req::new("GET", &format!("/api/v1/namespaces?limit=1&continue={next}"), "", Value::Null), rv);
    assert_eq!((r.code, &r.body["reason"]), (410, &json!("Expired")));
}
