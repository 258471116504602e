//! Stands between the operator and the Kubernetes API and answers in its place, as a test says. It speaks plain HTTP to
//! the operator and hands on what passes with the credentials of the stack's operator kubeconfig.

use super::kubectl::client;
use super::stack::Stack;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::StatusCode;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What the API does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeFault {
    /// This status, as `metav1.Status`.
    Status(u16, &'static str),
    /// A write is carried out, and answered with 500.
    LostReply,
    /// No answer for 20 s, then the connection is closed.
    Hang,
    /// Watches end in the middle of their stream.
    WatchEnds,
    /// Watches get an ERROR event `410 Gone`: what they knew is too old.
    WatchGone,
}

/// Faults, and the part of requests that they strike, in percent.
#[derive(Default)]
struct Plan {
    faults: Vec<KubeFault>,
    percent: u8,
    struck: usize,
}

/// A running proxy.
pub struct KubeProxy {
    /// A kubeconfig that leads through it.
    pub kubeconfig: PathBuf,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Clone)]
struct Shared {
    client: kube::Client,
    plan: Arc<Mutex<Plan>>,
}

impl KubeProxy {
    /// Starts one in front of the stack's control plane.
    pub fn start(stack: &'static Stack) -> KubeProxy {
        let port = stack.free_port();
        let plan = Arc::new(Mutex::new(Plan::default()));
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let shared = plan.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let client = client(Path::new(stack.get("STACK_OPERATOR_KUBECONFIG"))).await;
                let app = Router::new().fallback(pass).with_state(Shared { client, plan: shared });
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                let _ = axum::serve(listener, app).await;
            });
        });
        let kubeconfig = stack.root.join(format!("k8s/proxy-{port}.kubeconfig"));
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\n"
        );
        std::fs::write(&kubeconfig, text).expect("the stack's folder can be written");
        KubeProxy { kubeconfig, plan }
    }

    /// From now on so many percent of the requests go wrong, each in one of these ways.
    pub fn fail(&self, faults: &[KubeFault], percent: u8) {
        *self.plan.lock().expect("no poison") = Plan { faults: faults.to_vec(), percent, struck: 0 };
    }

    /// All requests pass again.
    pub fn heal(&self) {
        let mut plan = self.plan.lock().expect("no poison");
        plan.percent = 0;
    }

    /// How many requests went wrong since [`KubeProxy::fail`].
    pub fn struck(&self) -> usize {
        self.plan.lock().expect("no poison").struck
    }
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
    let watch = request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "watch=true" || p == "watch=1"));
    let write = request.method() != http::Method::GET;
    let fault = {
        let mut plan = shared.plan.lock().expect("no poison");
        // The Lease is left alone: losing it ends the process, which is tested by killing it.
        let lease = request.uri().path().contains("/leases");
        if !plan.faults.is_empty() && !lease && fastrand::u8(..100) < plan.percent {
            plan.struck += 1;
            Some(plan.faults[fastrand::usize(..plan.faults.len())])
        } else {
            None
        }
    };
    match fault {
        Some(KubeFault::Status(code, reason)) => return status(code, reason),
        Some(KubeFault::Hang) => {
            tokio::time::sleep(super::secs(20)).await;
            return status(504, "Timeout");
        }
        _ => {}
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 8 << 20).await else { return status(400, "BadRequest") };
    let mut onward =
        http::Request::builder().method(parts.method).uri(parts.uri.path_and_query().map_or("/", |p| p.as_str()));
    for (name, value) in &parts.headers {
        if ![http::header::HOST, http::header::CONNECTION, http::header::CONTENT_LENGTH].contains(name) {
            onward = onward.header(name, value);
        }
    }
    let onward = onward.body(kube::client::Body::from(body.to_vec())).expect("a request");
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
    let body = match fault {
        Some(KubeFault::WatchEnds | KubeFault::WatchGone) if watch => {
            let gone = "{\"type\":\"ERROR\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"Status\",\"status\":\"Failure\",\"code\":410,\"reason\":\"Expired\",\"message\":\"made by a test\"}}\n";
            let last = (fault == Some(KubeFault::WatchGone)).then(|| Ok(bytes::Bytes::from_static(gone.as_bytes())));
            let cut = axum::body::Body::new(body).into_data_stream().take_until(tokio::time::sleep(super::secs(2)));
            Body::from_stream(cut.chain(futures::stream::iter(last)))
        }
        _ => Body::new(body),
    };
    Response::from_parts(parts, body)
}
