//! The queue between the operator and the world.
//!
//! Nothing that the operator asks is answered by itself: each request of the Kubernetes client, each watch event and
//! each call of a backend waits until the schedule (`schedule.rs`) picks it, and may be given a fault.

use crate::api::{Actor, Cluster, Req, Resp, Watch, failure, text};
use crate::pin;
use crate::plant::Bug;
use crate::world::{User, World};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use mailtenant_clock::{Clock, Random};
use mailtenant_groupware::BackendError;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc, oneshot};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What kind of call a backend call is: reads and writes get different faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    GroupwareRead,
    GroupwareWrite,
    DnsRead,
    DnsWrite,
    /// Resolver and recipient probe.
    Lookup,
}

impl Lane {
    pub fn is_write(self) -> bool {
        matches!(self, Lane::GroupwareWrite | Lane::DnsWrite)
    }
}

/// Runs a backend call against the world; the word says how it ended. The number is that of the op.
type Run = Box<dyn FnOnce(&mut World, u64) -> String + Send>;

pub(crate) enum Call {
    Api(Req),
    Watch(Req),
    Backend { lane: Lane, what: String, run: Option<Run> },
}

pub(crate) enum Reply {
    Resp(Resp),
    Stream(mpsc::UnboundedReceiver<Bytes>),
    /// A backend call ran; how it ended stands in the trace.
    Ran(String),
    /// A backend call ended like this, whether it ran or not.
    Failed(BackendError),
    Broken,
}

pub(crate) enum State {
    Arrived,
    /// Executed; the reply waits for its own choice.
    Held(Reply),
    /// Hangs; the connection breaks at this time.
    Dead(u64),
    /// The server executes it at this time, whatever the client thinks by then.
    Late(u64),
}

pub(crate) struct Op {
    pub id: u64,
    pub lane: Arc<str>,
    pub call: Call,
    pub tx: Option<oneshot::Sender<Reply>>,
    pub state: State,
}

pub(crate) struct Stream {
    pub id: u64,
    pub lane: Arc<str>,
    pub watch: Watch,
    pub tx: mpsc::UnboundedSender<Bytes>,
    /// No event before this step.
    pub stalled: usize,
}

/// The world and all that is under way.
pub struct Core {
    pub world: World,
    pub(crate) ops: Vec<Op>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) user: Vec<User>,
    seq: u64,
    pub(crate) step: usize,
    pub(crate) hash: u64,
    pub(crate) lines: Option<Vec<String>>,
    pub(crate) bad: Option<String>,
    pub(crate) start_ms: u64,
    pub(crate) requests: u64,
    /// When the world last changed, or the operator last tried to change Kubernetes.
    pub(crate) changed_ms: u64,
    /// When a request or a call last met a fault.
    pub(crate) faulted_ms: u64,
    /// What the operator last tried to change, for the report of a run that does not end.
    pub(crate) last_write: String,
    /// Steps of the cluster's own controllers, as of a revision.
    pub(crate) cluster: (u64, Vec<Cluster>),
}

impl Core {
    pub(crate) fn new(user: Vec<User>, record: bool) -> Self {
        Core {
            world: World::new(),
            ops: vec![],
            streams: vec![],
            user,
            seq: 0,
            step: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            lines: record.then(Vec::new),
            bad: None,
            start_ms: 0,
            requests: 0,
            changed_ms: 0,
            faulted_ms: 0,
            last_write: String::new(),
            cluster: (0, vec![]),
        }
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{:>8} {}", self.world.ms, line());
        for b in line.bytes() {
            self.hash = (self.hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    /// Carries a request out. `stale`: revision for lists that allow any.
    pub(crate) fn execute(&mut self, id: u64, call: &mut Call, stale: u64) -> Reply {
        self.world.blocked();
        self.world.api.actor = Actor::Operator;
        self.world.notes.last_op = self.seq;
        let before = self.world.stamp();
        let reply = match call {
            Call::Api(r) => {
                self.world.listed(r);
                // A status with a field of somebody else in it is never as applied: applying it again changes nothing.
                let again = !self.world.notes.was_forged.is_empty() && r.path.ends_with("/status");
                if r.method != "GET" && !r.path.contains("/leases") && !again {
                    self.changed_ms = self.world.ms;
                    self.last_write = format!("{} {}", r.method, r.path);
                }
                Reply::Resp(self.world.as_watched(r).unwrap_or_else(|| self.world.api.handle(r, stale)))
            }
            Call::Backend { run, what, .. } => match run.take() {
                Some(run) => {
                    self.world.notes.calls.push(what.clone());
                    Reply::Ran(run(&mut self.world, id))
                }
                None => Reply::Broken,
            },
            Call::Watch(r) => match self.world.api.watch(r) {
                Ok(watch) => {
                    let (tx, rx) = mpsc::unbounded_channel();
                    self.seq += 1;
                    let lane = format!("events {}", watch.kind.plural).into();
                    self.streams.push(Stream { id: self.seq, lane, watch, tx, stalled: 0 });
                    Reply::Stream(rx)
                }
                Err(e) => Reply::Resp(e),
            },
        };
        self.world.made_whole();
        let leases = matches!(call, Call::Api(r) if r.path.contains("/leases"));
        if self.world.stamp() != before && !leases {
            self.changed_ms = self.world.ms;
        }
        if self.changed_ms == self.world.ms {
            self.world.notes.calls.clear();
        }
        reply
    }
}

pub(crate) fn show(call: &Call) -> String {
    match call {
        Call::Api(r) | Call::Watch(r) => {
            let shown = |k: &str| !matches!(k, "fieldManager" | "force" | "timeoutSeconds");
            let query: Vec<_> = r.query.iter().filter(|(k, _)| shown(k)).map(|(k, v)| format!("{k}={v}")).collect();
            let body = if r.body.is_null() { String::new() } else { r.body.to_string() };
            format!("{} {}?{} {body}", r.method, r.path, query.join("&"))
        }
        Call::Backend { what, .. } => what.clone(),
    }
}

pub(crate) fn show_reply(reply: &Reply) -> String {
    match reply {
        Reply::Resp(r) => format!("{} rv={}", r.code, text(&r.body, "/metadata/resourceVersion")),
        Reply::Stream(_) => "stream".into(),
        Reply::Ran(how) => how.clone(),
        Reply::Failed(e) => format!("failed: {e}"),
        Reply::Broken => "broken".into(),
    }
}

/// The operator's side of the queue.
#[derive(Clone)]
pub struct Sim {
    pub(crate) core: Arc<Mutex<Core>>,
    pub(crate) wake: Arc<Notify>,
    /// Told when the operator spins: it goes on and on without ever waiting for anything.
    pub(crate) spinning: Arc<Notify>,
    looks: Arc<AtomicU64>,
    /// Virtual time (ms) at a moment of the runtime's clock: between two looks of the driver time moves on too.
    since: Arc<Mutex<Option<(u64, tokio::time::Instant)>>>,
    random: Arc<Mutex<u64>>,
    /// How far the operator's wall clock is from the cluster's, in ms.
    ahead: Arc<AtomicI64>,
}

impl Sim {
    pub(crate) fn new(core: Core, seed: u64) -> Self {
        Sim {
            core: Arc::new(Mutex::new(core)),
            wake: Arc::new(Notify::new()),
            spinning: Arc::new(Notify::new()),
            looks: Arc::new(AtomicU64::new(0)),
            since: Arc::default(),
            random: Arc::new(Mutex::new(seed)),
            ahead: Arc::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Header of an answer, by the cluster's clock.
    fn date(&self) -> String {
        self.cluster_now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    fn cluster_now(&self) -> jiff::Timestamp {
        let since = *self.since.lock().unwrap_or_else(|e| e.into_inner());
        let ms = pin::EPOCH_MS + since.map_or(0, |(ms, at)| ms + at.elapsed().as_millis() as u64);
        jiff::Timestamp::from_millisecond(ms as i64).unwrap_or_default()
    }

    /// Puts the operator's wall clock so far from the cluster's.
    pub(crate) fn set_ahead(&self, ms: i64) {
        self.ahead.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn set_ms(&self, ms: u64) {
        self.looks.store(0, Ordering::Relaxed);
        *self.since.lock().unwrap_or_else(|e| e.into_inner()) = Some((ms, tokio::time::Instant::now()));
        pin::set_now_ms(ms);
    }

    /// The client as the process makes it: each request with a time limit, nothing retried behind the operator's back.
    /// Planted bugs: lists with a selector from a cache, single objects as the watches have told them, no `Date`.
    pub fn limited_client(&self, layer: &mailtenant_runtime::requests::RequestLayer, bug: Option<Bug>) -> kube::Client {
        kube::Client::new(tower::ServiceBuilder::new().layer(layer.clone()).service(self.service(bug)), "default")
    }

    #[allow(clippy::type_complexity)]
    fn service(
        &self,
        bug: Option<Bug>,
    ) -> impl tower::Service<
        http::Request<kube::client::Body>,
        Response = http::Response<UnsyncBoxBody<Bytes, BoxError>>,
        Error = BoxError,
        Future: Send,
    >
    + Clone
    + Send
    + 'static
    + use<> {
        let sim = self.clone();
        tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let sim = sim.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let header =
                    |name: &str| parts.headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or("").to_string();
                let mut r = Req {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_string(),
                    query: form(parts.uri.query().unwrap_or("")),
                    ctype: header("content-type"),
                    accept: header("accept"),
                    body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? },
                };
                let list = r.query.contains_key("fieldSelector");
                let cached =
                    (bug == Some(Bug::CachedLists) && list) || (bug == Some(Bug::LooksAtWatches) && r.query.is_empty());
                if cached && r.method == "GET" && !r.query.contains_key("watch") {
                    r.query.insert("resourceVersion".into(), "0".into());
                }
                // What it did once: the annotation lets a healthy object go.
                if bug == Some(Bug::OrphansAtOnce)
                    && let Some(path) = r.path.strip_suffix("/status").filter(|p| sim.lock().world.is_told(p))
                {
                    let body = serde_json::json!({"metadata": {"finalizers": null}});
                    r = Req::new("PATCH", path, crate::user::MERGE, body);
                }
                let lane = match r.method.as_str() {
                    "GET" => format!("r{}", r.path),
                    _ => format!("w{}", r.path),
                };
                let watch = r.query.get("watch").is_some_and(|w| w == "true" || w == "1");
                let call = if watch { Call::Watch(r) } else { Call::Api(r) };
                Ok(match sim.submit(lane, call).await {
                    Reply::Resp(r) => http::Response::builder()
                        .status(r.code)
                        .header("content-type", "application/json")
                        .header("date", if bug == Some(Bug::OwnClockOnly) { String::new() } else { sim.date() })
                        .body(Full::new(Bytes::from(r.body.to_string())).map_err(|e| match e {}).boxed_unsync())?,
                    Reply::Stream(rx) => {
                        let frames = futures::stream::unfold(rx, |mut rx| async move {
                            rx.recv().await.map(|b| (Ok::<_, BoxError>(http_body::Frame::data(b)), rx))
                        });
                        http::Response::new(StreamBody::new(frames.boxed()).boxed_unsync())
                    }
                    _ => return Err(BoxError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset))),
                })
            }
        })
    }

    async fn submit(&self, lane: String, call: Call) -> Reply {
        let (tx, rx) = oneshot::channel();
        {
            let mut c = self.lock();
            c.seq += 1;
            c.requests += 1;
            let id = c.seq;
            c.trace(|| format!("#{id} -> {}", show(&call)));
            c.ops.push(Op { id, lane: lane.into(), call, tx: Some(tx), state: State::Arrived });
        }
        self.wake.notify_one();
        rx.await.unwrap_or(Reply::Broken)
    }

    /// A call of a backend. `run` is done when, and if, the schedule says so.
    pub async fn backend<T: Send + 'static>(
        &self,
        lane: Lane,
        what: String,
        run: impl FnOnce(&mut World, u64) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let slot: Arc<Mutex<Option<Result<T, BackendError>>>> = Arc::default();
        let inside = slot.clone();
        let run: Run = Box::new(move |world, op| {
            let result = run(world, op);
            let how = match &result {
                Ok(_) => "ok".to_string(),
                Err(e) => format!("error: {e}"),
            };
            if let Ok(mut slot) = inside.lock() {
                *slot = Some(result);
            }
            how
        });
        let reply = self.submit(format!("{lane:?}"), Call::Backend { lane, what, run: Some(run) }).await;
        match reply {
            Reply::Failed(e) => Err(e),
            Reply::Ran(_) => {
                let result = slot.lock().ok().and_then(|mut s| s.take());
                result.unwrap_or_else(|| Err(BackendError::unavailable("no result")))
            }
            _ => Err(BackendError::unavailable("connection reset")),
        }
    }
}

const MAX_LOOKS: u64 = 20_000;

impl Clock for Sim {
    fn now(&self) -> jiff::Timestamp {
        // Time stands still while tasks run: so many looks at the clock in one moment are a loop.
        if self.looks.fetch_add(1, Ordering::Relaxed) == MAX_LOOKS {
            self.spinning.notify_one();
        }
        self.cluster_now() + jiff::SignedDuration::from_millis(self.ahead.load(Ordering::Relaxed))
    }
}

impl Random for Sim {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.random.lock().unwrap_or_else(|e| e.into_inner());
        buffer.iter_mut().for_each(|b| *b = pin::splitmix(&mut state) as u8);
    }
}

/// A 4xx or 5xx that was not the server's idea.
pub(crate) fn injected(code: u16, reason: &str) -> Reply {
    Reply::Resp(failure(code, reason, "injected"))
}

fn form(query: &str) -> BTreeMap<String, String> {
    let decode = |s: &str| {
        let (mut out, bytes, mut i) = (vec![], s.as_bytes(), 0);
        while i < bytes.len() {
            match bytes[i] {
                b'%' if i + 2 < bytes.len() => {
                    out.push(u8::from_str_radix(&s[i + 1..i + 3], 16).unwrap_or(b'?'));
                    i += 2;
                }
                b'+' => out.push(b' '),
                c => out.push(c),
            }
            i += 1;
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let pairs = query.split('&').filter(|x| !x.is_empty());
    pairs.map(|kv| kv.split_once('=').unwrap_or((kv, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}
