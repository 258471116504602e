//! Stands between the operator and the Kubernetes API and answers in its place, as a test says. It speaks plain HTTP to
//! the operator and hands on what passes with the credentials of the stack's operator kubeconfig.

use super::kubectl::client;
use super::stack::Stack;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::{Method, StatusCode, Uri};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// What the API does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeFault {
    /// This status, as `metav1.Status`.
    Status(u16, &'static str),
    /// A write is carried out, and answered with 500.
    LostReply,
    /// No answer for 20 s, then 504.
    Hang,
    /// Watches end in the middle of their stream.
    WatchEnds,
    /// Watches get an ERROR event `410 Gone`: what they knew is too old.
    WatchGone,
}

impl KubeFault {
    /// Whether a request can meet it.
    fn strikes(self, kind: &str) -> bool {
        let (watches, reads) = (kind.starts_with("watch "), kind.starts_with("get ") || kind.starts_with("list "));
        match self {
            KubeFault::Status(..) | KubeFault::Hang => true,
            KubeFault::LostReply => !watches && !reads,
            KubeFault::WatchEnds | KubeFault::WatchGone => watches,
        }
    }
}

/// Requests that go wrong: those that have to do with one namespace, or the watches and lists of the whole cluster.
struct Block {
    fault: KubeFault,
    /// Kinds of request that pass.
    open: BTreeSet<String>,
    /// How often a kind was struck.
    struck: BTreeMap<String, usize>,
}

/// The scope of watches and of lists of the whole cluster; any other scope is the name of a namespace.
pub const WATCHES: &str = "watches";

#[derive(Default)]
struct Plan {
    /// By scope.
    blocks: BTreeMap<String, Block>,
    /// Whatever it is about, so many percent, in one of these ways.
    percent: Option<(Vec<KubeFault>, u8)>,
    struck: usize,
}

struct Inner {
    plan: Mutex<Plan>,
    /// Watches are cut when this moves.
    cut: watch::Sender<u64>,
    /// Something passes now: whoever hangs has to look.
    opened: watch::Sender<u64>,
}

/// A running proxy.
pub struct KubeProxy {
    /// A kubeconfig that leads through it.
    pub kubeconfig: PathBuf,
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Shared {
    client: kube::Client,
    inner: Arc<Inner>,
}

impl KubeProxy {
    /// Starts one in front of the stack's control plane.
    pub fn start(stack: &'static Stack) -> KubeProxy {
        let port = stack.free_port();
        let inner = Arc::new(Inner { plan: Mutex::default(), cut: watch::channel(0).0, opened: watch::channel(0).0 });
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let shared = inner.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let client = client(Path::new(stack.get("STACK_OPERATOR_KUBECONFIG"))).await;
                let app = Router::new().fallback(pass).with_state(Shared { client, inner: shared });
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                let _ = axum::serve(listener, app).await;
            });
        });
        let kubeconfig = stack.root.join(format!("k8s/proxy-{port}.kubeconfig"));
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\n"
        );
        std::fs::write(&kubeconfig, text).expect("the stack's folder can be written");
        KubeProxy { kubeconfig, inner }
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.inner.plan.lock().expect("no poison")
    }

    /// From now on so many percent of the requests go wrong, each in one of these ways.
    pub fn fail(&self, faults: &[KubeFault], percent: u8) {
        let mut plan = self.lock();
        (plan.percent, plan.struck) = (Some((faults.to_vec(), percent)), 0);
    }

    /// From now on every request of this scope goes wrong until its kind is opened. Watches that are open are cut, so
    /// that they meet it.
    pub fn block(&self, scope: &str, fault: KubeFault, open: BTreeSet<String>) {
        self.lock().blocks.insert(scope.to_string(), Block { fault, open, struck: BTreeMap::new() });
        if scope == WATCHES {
            self.inner.cut.send_modify(|n| *n += 1);
        }
    }

    /// Requests of this kind pass again.
    pub fn open(&self, scope: &str, kind: &str) {
        if let Some(block) = self.lock().blocks.get_mut(scope) {
            block.open.insert(kind.to_string());
        }
        self.inner.opened.send_modify(|n| *n += 1);
    }

    /// Requests of this scope pass again.
    pub fn heal(&self, scope: &str) {
        self.lock().blocks.remove(scope);
        self.inner.opened.send_modify(|n| *n += 1);
    }

    /// No part of the requests goes wrong any more.
    pub fn heal_all(&self) {
        self.lock().percent = None;
        self.inner.opened.send_modify(|n| *n += 1);
    }

    /// How many requests went wrong since [`KubeProxy::fail`].
    pub fn struck(&self) -> usize {
        self.lock().struck
    }

    /// Kinds of request that went wrong and are not open, and how often: `patch mailboxes/status`.
    pub fn blocked(&self, scope: &str) -> BTreeMap<String, usize> {
        let plan = self.lock();
        let Some(block) = plan.blocks.get(scope) else { return BTreeMap::new() };
        block.struck.iter().filter(|(kind, _)| !block.open.contains(*kind)).map(|(k, n)| (k.clone(), *n)).collect()
    }
}

impl Plan {
    /// The scope that a request is in.
    fn scope(&self, kind: &str, text: &str) -> Option<String> {
        let whole = kind.starts_with("watch ") || (kind.starts_with("list ") && !text.contains("/namespaces/"));
        let scopes = self.blocks.keys();
        if whole { scopes.into_iter().find(|s| *s == WATCHES) } else { scopes.into_iter().find(|s| text.contains(*s)) }
            .cloned()
    }

    fn strike(&mut self, kind: &str, text: &str) -> Option<KubeFault> {
        // The Lease is left alone: losing it ends the process, which is tested by killing it.
        if kind.ends_with(" leases") {
            return None;
        }
        if let Some((faults, percent)) = &self.percent
            && fastrand::u8(..100) < *percent
        {
            self.struck += 1;
            return Some(faults[fastrand::usize(..faults.len())]);
        }
        let block = self.scope(kind, text).and_then(|scope| self.blocks.get_mut(&scope))?;
        if !block.fault.strikes(kind) || block.open.contains(kind) {
            return None;
        }
        *block.struck.entry(kind.to_string()).or_default() += 1;
        Some(block.fault)
    }

    /// Whether a request still hangs.
    fn hangs(&self, kind: &str, text: &str) -> bool {
        let block = self.scope(kind, text).and_then(|scope| self.blocks.get(&scope));
        self.percent.is_some() || block.is_some_and(|b| !b.open.contains(kind))
    }
}

/// Verb and resource of a request, as in RBAC.
fn kind(method: &Method, uri: &Uri) -> String {
    let parts: Vec<&str> = uri.path().split('/').filter(|p| !p.is_empty()).collect();
    let rest = if parts.first() == Some(&"api") { parts.get(2..) } else { parts.get(3..) }.unwrap_or_default();
    let rest = if rest.len() > 2 && rest[0] == "namespaces" { &rest[2..] } else { rest };
    let watch = uri.query().is_some_and(|q| q.split('&').any(|p| p == "watch=true" || p == "watch=1"));
    let verb = match (method, rest.len()) {
        _ if watch => "watch",
        (&Method::GET, 0 | 1) => "list",
        (&Method::GET, _) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, _) => "delete",
        _ => "other",
    };
    let sub = rest.get(2).map(|s| format!("/{s}")).unwrap_or_default();
    format!("{verb} {}{sub}", rest.first().unwrap_or(&"other"))
}

fn status(code: u16, reason: &str) -> Response {
    let body = serde_json::json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": "made by a test"});
    let json = [(http::header::CONTENT_TYPE, "application/json")];
    let mut answer = (StatusCode::from_u16(code).expect("a status"), json, body.to_string()).into_response();
    if code == 429 {
        answer.headers_mut().insert("Retry-After", http::HeaderValue::from_static("1"));
    }
    answer
}

async fn pass(State(shared): State<Shared>, request: Request) -> Response {
    let inner = shared.inner;
    let kind = kind(request.method(), request.uri());
    let watch = kind.starts_with("watch ");
    let write = request.method() != Method::GET;
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 8 << 20).await else { return status(400, "BadRequest") };
    let text = format!("{} {}", parts.uri, String::from_utf8_lossy(&body));
    let fault = inner.plan.lock().expect("no poison").strike(&kind, &text);
    match fault {
        Some(KubeFault::Status(code, reason)) => return status(code, reason),
        Some(KubeFault::Hang) => {
            let mut opened = inner.opened.subscribe();
            let _ = tokio::time::timeout(super::secs(20), async {
                while inner.plan.lock().expect("no poison").hangs(&kind, &text) && opened.changed().await.is_ok() {}
            })
            .await;
            return status(504, "Timeout");
        }
        _ => {}
    }
    let mut onward =
        http::Request::builder().method(parts.method).uri(parts.uri.path_and_query().map_or("/", |p| p.as_str()));
    for (name, value) in &parts.headers {
        if ![http::header::HOST, http::header::CONNECTION, http::header::CONTENT_LENGTH].contains(name) {
            onward = onward.header(name, value);
        }
    }
    let onward = onward.body(kube::client::Body::from(body.to_vec())).expect("a request");
    let mut cut = inner.cut.subscribe();
    let answer = match shared.client.send(onward).await {
        Ok(answer) => answer,
        Err(_) => return status(503, "ServiceUnavailable"),
    };
    if write && fault == Some(KubeFault::LostReply) {
        return status(500, "InternalError");
    }
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(http::header::TRANSFER_ENCODING);
    parts.headers.remove(http::header::CONTENT_LENGTH);
    if !watch {
        return Response::from_parts(parts, Body::new(body));
    }
    let lives =
        matches!(fault, Some(KubeFault::WatchEnds | KubeFault::WatchGone)).then_some(Duration::from_millis(500));
    let end = async move {
        let time = async {
            match lives {
                Some(lives) => tokio::time::sleep(lives).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { biased; _ = cut.changed() => {}, () = time => {} }
    };
    let gone = "{\"type\":\"ERROR\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"Status\",\"status\":\"Failure\",\"code\":410,\"reason\":\"Expired\",\"message\":\"made by a test\"}}\n";
    let last = (fault == Some(KubeFault::WatchGone)).then(|| Ok(bytes::Bytes::from_static(gone.as_bytes())));
    let stream = Body::new(body).into_data_stream().take_until(Box::pin(end));
    Response::from_parts(parts, Body::from_stream(stream.chain(futures::stream::iter(last))))
}
