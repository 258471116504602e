//! A state-based API server for a few objects: create, get, replace and merge patch with compare-and-set on
//! `resourceVersion`.
//! What goes wrong is decided for each request by the test.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use kube::client::Body;
use mailtenant_clock::{Clock, Random};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It is done and answered.
    Done,
    /// It is answered with this status and not done.
    Refused(u16),
    /// It is not done and never answered.
    Lost,
    /// It is done, and the answer never comes.
    AnswerLost,
    /// It is done after this time, and answered then.
    Late(Duration),
}

type Judge = Box<dyn FnMut(&Method, &str) -> Fate + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    /// Method, path and status of every request that was answered.
    log: Vec<(Method, String, u16)>,
}

/// A merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// The server.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// A client for which `judge` decides what happens to each request.
    pub fn client(&self, judge: impl FnMut(&Method, &str) -> Fate + Send + 'static) -> kube::Client {
        kube::Client::new(self.service(judge), "default")
    }

    /// The same as a bare service, to put layers round it.
    pub fn service(
        &self,
        judge: impl FnMut(&Method, &str) -> Fate + Send + 'static,
    ) -> impl tower::Service<
        Request<Body>,
        Response = Response<Full<Bytes>>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + Send
    + 'static {
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(judge)));
        let fake = self.clone();
        tower::service_fn(move |request: Request<Body>| {
            let (fake, judge) = (fake.clone(), judge.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path = parts.uri.path().to_string();
                let fate = (judge.lock().unwrap())(&parts.method, &path);
                if let Fate::Late(delay) = fate {
                    // The server goes on when the client has given up.
                    let answer = tokio::spawn(async move {
                        sleep(delay).await;
                        fake.answer(&parts.method, &path, &body)
                    });
                    return Ok(answer.await.unwrap());
                }
                let answer = match fate {
                    Fate::Refused(code) => fake.status(&parts.method, &path, code),
                    Fate::Lost => std::future::pending().await,
                    _ => fake.answer(&parts.method, &path, &body),
                };
                if fate == Fate::AnswerLost {
                    std::future::pending::<()>().await;
                }
                Ok(answer)
            }
        })
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Response<Full<Bytes>> {
        let mut state = self.0.lock().unwrap();
        let sent: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let found = state.objects.get(path).cloned();
        let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
        let (code, key, stored) = match (method.as_str(), found) {
            ("GET", Some(object)) => (200, path.to_string(), Some(object)),
            // A list has the version of the whole storage.
            ("GET", None)
                if state.objects.keys().any(|key| {
                    key.strip_prefix(path).and_then(|k| k.strip_prefix('/')).is_some_and(|name| !name.contains('/'))
                }) =>
            {
                let version = state.version.to_string();
                let list =
                    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": []});
                (200, path.to_string(), Some(list))
            }
            ("GET" | "PUT", None) => (404, path.to_string(), None),
            // Without a version the write is unconditional, as the apiserver does it for most kinds.
            ("PUT", Some(object)) if version(&sent).is_some_and(|sent| Some(sent) != version(&object)) => {
                (409, path.to_string(), None)
            }
            ("PUT", Some(_)) => (200, path.to_string(), Some(sent)),
            ("PATCH", None) => (404, path.to_string(), None),
            // What a merge patch says of the version and the uid must be true.
            ("PATCH", Some(object)) => {
                let mut merged = object.clone();
                merge(&mut merged, &sent);
                let same = ["/metadata/resourceVersion", "/metadata/uid"]
                    .iter()
                    .all(|p| merged.pointer(p) == object.pointer(p));
                if same { (200, path.to_string(), Some(merged)) } else { (409, path.to_string(), None) }
            }
            ("POST", _) => {
                let key = format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap());
                if state.objects.contains_key(&key) { (409, key, None) } else { (201, key, Some(sent)) }
            }
            other => panic!("{other:?} is not modelled"),
        };
        let Some(mut stored) = stored else {
            drop(state);
            return self.status(method, path, code);
        };
        if method != Method::GET {
            state.version += 1;
            stored["metadata"]["resourceVersion"] = json!(state.version.to_string());
            state.objects.insert(key, stored.clone());
        }
        state.log.push((method.clone(), path.to_string(), code));
        Response::builder().status(code).body(Full::from(stored.to_string())).unwrap()
    }

    fn status(&self, method: &Method, path: &str, code: u16) -> Response<Full<Bytes>> {
        self.0.lock().unwrap().log.push((method.clone(), path.to_string(), code));
        let reason = match (code, method.as_str()) {
            (403, _) => "Forbidden",
            (404, _) => "NotFound",
            (409, "POST") => "AlreadyExists",
            (409, _) => "Conflict",
            (429, _) => "TooManyRequests",
            _ => "InternalError",
        };
        let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason,
            "code": code, "details": {"name": path.rsplit('/').next(), "kind": path.rsplit('/').nth(1)}});
        Response::builder().status(code).body(Full::from(body.to_string())).unwrap()
    }

    /// Puts an object there, past every rule.
    pub fn put(&self, path: &str, mut object: Value) {
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.objects.insert(path.to_string(), object);
    }

    /// Changes an object as another client would.
    pub fn edit(&self, path: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = self.get(path).unwrap();
        edit(&mut object);
        self.put(path, object);
    }

    pub fn delete(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// All objects whose path begins like this.
    pub fn under(&self, path: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        state.objects.iter().filter(|(key, _)| key.starts_with(path)).map(|(_, object)| object.clone()).collect()
    }

    /// What is stored, as a backup of etcd has it.
    pub fn clone_state(&self) -> (BTreeMap<String, Value>, u64) {
        let state = self.0.lock().unwrap();
        (state.objects.clone(), state.version)
    }

    /// Goes back to a backup; versions are given out again from there.
    pub fn restore(&self, backup: (BTreeMap<String, Value>, u64)) {
        let mut state = self.0.lock().unwrap();
        (state.objects, state.version) = backup;
    }

    pub fn log(&self) -> Vec<(Method, String, u16)> {
        self.0.lock().unwrap().log.clone()
    }
}

/// Wall-clock time that follows the paused clock, wrong by `skew` seconds.
pub struct Skewed {
    start: Instant,
    skew: i64,
}

pub fn clock(skew: i64) -> Arc<Skewed> {
    Arc::new(Skewed { start: Instant::now(), skew })
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        let seconds = 1_790_000_000 + self.skew + i64::try_from(self.start.elapsed().as_secs()).unwrap();
        Timestamp::from_second(seconds).unwrap()
    }
}

/// Randomness from a seed.
pub struct Seeded(Mutex<fastrand::Rng>);

pub fn seeded(seed: u64) -> Arc<Seeded> {
    Arc::new(Seeded(Mutex::new(fastrand::Rng::with_seed(seed))))
}

impl Random for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap().fill(buffer);
    }
}
