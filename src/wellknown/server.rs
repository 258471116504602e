//! HTTP for everybody on the Internet, behind an ingress: each limit here is one that nobody can talk his way around.

use crate::Shared;
use crate::answer::{Answer, Asked, Document, answer};
use crate::metrics::DocumentMetrics;
use bytes::Bytes;
use http::header::{CONNECTION, HOST, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mailtenant_runtime::shutdown::Shutdown;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections at a time. Further ones wait until one ends.
const CONNECTIONS: usize = 1024;
/// How long the head of a request may take, and its body.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a connection may live. An ingress opens a new one.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);
/// How long answers in flight may take once it should end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Longest head of a request, in bytes.
const HEAD: usize = 16 * 1024;
/// Longest body of a request, in bytes. That of Outlook has less than a thousand.
const BODY: usize = 16 * 1024;
/// Pause after a connection could not be taken: the process has no file descriptor left, for one.
const NO_CONNECTION: Duration = Duration::from_millis(100);

/// Answers until the shutdown is requested, then gives the answers in flight.
pub async fn serve(listener: TcpListener, shared: Shared, metrics: DocumentMetrics, shutdown: Shutdown) {
    let (free, mut connections) = (Arc::new(Semaphore::new(CONNECTIONS)), JoinSet::new());
    loop {
        let accepted = async {
            let place = free.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accepted => match accepted {
                (Ok(place), Ok((stream, _))) => {
                    let (shared, metrics, shutdown) = (shared.clone(), metrics.clone(), shutdown.clone());
                    connections.spawn(async move {
                        connection(stream, shared, metrics, shutdown).await;
                        drop(place);
                    });
                }
                _ => sleep(NO_CONNECTION).await,
            },
        }
    }
    let _ = timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(stream: TcpStream, shared: Shared, metrics: DocumentMetrics, shutdown: Shutdown) {
    let service = service_fn(|request| respond(request, &shared, &metrics));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ends = async {
        tokio::select! {
            biased;
            () = shutdown.requested() => {}
            () = sleep(CONNECTION_LIFE) => {}
        }
    };
    tokio::select! {
        biased;
        // Whatever a client does wrong ends its connection, and nothing else.
        _ = served.as_mut() => {}
        () = ends => {
            served.as_mut().graceful_shutdown();
            let _ = timeout(REQUEST, served).await;
        }
    }
}

async fn respond(
    request: Request<Incoming>,
    shared: &Shared,
    metrics: &DocumentMetrics,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = match head.method {
        Method::POST => read(body).await,
        _ => Ok(String::new()),
    };
    let (answer, ends) = match body {
        Ok(body) => {
            let host = host(&head.uri, &head.headers);
            let asked = Asked {
                method: &head.method,
                host: &host,
                path: head.uri.path(),
                query: head.uri.query().unwrap_or_default(),
                if_none_match: head.headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()),
                body: &body,
            };
            (shared.read(|known| answer(known, &asked)), false)
        }
        // What is left of the body would be taken for the next request.
        Err(status) => (Answer::plain(Document::Other, status, "the body was not taken"), true),
    };
    metrics.answered(answer.document, answer.status.as_u16());
    Ok(response(answer, ends))
}

/// The whole body as text, or the status that says why it was not taken.
async fn read(body: Incoming) -> Result<String, StatusCode> {
    match timeout(REQUEST, Limited::new(body, BODY).collect()).await {
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        // What is no UTF-8 names no address.
        Ok(Ok(body)) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
    }
}

/// The host that is asked for: that of the request line goes first (RFC 9112, 3.2.2). Two header fields name none.
fn host(uri: &http::Uri, headers: &HeaderMap) -> String {
    if let Some(authority) = uri.authority() {
        return authority.as_str().to_owned();
    }
    let mut all = headers.get_all(HOST).iter();
    match (all.next(), all.next()) {
        (Some(one), None) => one.to_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

fn response(answer: Answer, ends: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if answer.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if ends {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
