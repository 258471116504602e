//! The client for the Kubernetes API: every request has a time limit and is counted.
//!
//! kube's own client has no read timeout and retries 429, 503 and 504 silently for up to 160 s. Here neither happens:
//! a request that fails is an error of the pass that sent it, and the queue's backoff decides when to try again.

use super::metrics::Metrics;
use super::server_time::ServerTime;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::DATE;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Either, Full};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tower::{BoxError, Layer, Service};

/// Time limit of one request, the whole answer included. A page of 500 objects takes well under a second.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A client whose requests go through `layer`. An error: `config` cannot be used, for example because a certificate cannot
/// be read.
pub fn client(mut config: Config, layer: &RequestLayer) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(layer.timeout);
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.with_layer(layer).build())
}

/// No answer came in time. It is not known whether a write was done.
#[derive(Debug, thiserror::Error)]
#[error("no answer to {verb} {resource} within {limit:?}")]
pub struct RequestTimeout {
    verb: &'static str,
    resource: String,
    limit: Duration,
}

/// A layer of `tower` that limits and counts the requests of a client.
#[derive(Clone)]
pub struct RequestLayer {
    /// The metrics that count the requests.
    pub metrics: Metrics,
    /// Time limit of one request, the whole answer included.
    pub timeout: Duration,
    /// The time at the API server, taken from the answers.
    pub server_time: Arc<ServerTime>,
}

impl RequestLayer {
    /// With the usual limit, [`TIMEOUT`].
    pub fn new(metrics: Metrics) -> Self {
        RequestLayer { metrics, timeout: TIMEOUT, server_time: Arc::default() }
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = Requests<S>;

    fn layer(&self, inner: S) -> Requests<S> {
        Requests { inner, layer: self.clone() }
    }
}

/// The service that [`RequestLayer`] makes.
pub struct Requests<S> {
    inner: S,
    layer: RequestLayer,
}

impl<S, B> Service<Request<Body>> for Requests<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Either<Full<Bytes>, B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Target { verb, resource } = target(request.method(), request.uri());
        let named = named(request.uri());
        let RequestLayer { metrics, timeout: limit, server_time } = self.layer.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (start, mut is_proof) = (Instant::now(), true);
            let answer = timeout(limit, async {
                let (parts, body) = answer.await.map_err(Into::into)?.into_parts();
                server_time.saw(parts.headers.get(DATE));
                // A watch lives on; kube ends it after 295 s of silence.
                if verb == "watch" {
                    return Ok::<_, BoxError>(Response::from_parts(parts, Either::Right(body)));
                }
                let body = body.collect().await.map_err(Into::into)?.to_bytes();
                is_proof = parts.status != StatusCode::NOT_FOUND || !is_about_one(verb) || is_not_there(&body, &named);
                let response = Response::from_parts(parts, Either::Left(Full::new(body)));
                Ok(response)
            })
            .await;
            let code = match &answer {
                Ok(Ok(response)) => response.status().as_str().to_string(),
                Ok(Err(_)) => "error".to_string(),
                Err(_) => "timeout".to_string(),
            };
            metrics.kubernetes_request(verb, resource.clone(), code, start.elapsed());
            if !is_proof {
                let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(NOT_AN_ANSWER))));
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                return Ok(response);
            }
            answer.unwrap_or_else(|_| Err(Box::new(RequestTimeout { verb, resource, limit })))
        })
    }
}

/// What a 404 becomes that says nothing of the object that was asked for.
const NOT_AN_ANSWER: &[u8] = br#"{"apiVersion":"v1","kind":"Status","metadata":{},"status":"Failure","reason":"ServiceUnavailable","code":503,"message":"the API server answered 404 without naming the object: that is no proof that it is gone"}"#;

/// Whether a request is about one object that has a name.
fn is_about_one(verb: &str) -> bool {
    ["get", "update", "patch", "delete"].contains(&verb)
}

/// Plural and name of the object that a request is about; empty: it names none.
fn named(uri: &Uri) -> (String, String) {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let rest = match parts.as_slice() {
        ["api", _version, rest @ ..] | ["apis", _, _version, rest @ ..] => rest,
        _ => &[],
    };
    match rest {
        ["namespaces", _, plural, name, ..] => ((*plural).to_owned(), (*name).to_owned()),
        [plural, name, ..] => ((*plural).to_owned(), (*name).to_owned()),
        _ => Default::default(),
    }
}

/// Whether the Status of a 404 says of the very object that it is not there, as an API server says it. A proxy, a path that is
/// not served (the CRD is gone), an aggregated server that is away, a webhook that misses something of its own say 404 too,
/// and mean something else: only the former is proof that an object is gone (I2).
fn is_not_there(body: &[u8], (plural, name): &(String, String)) -> bool {
    let status: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let details = &status["details"];
    let same = !name.is_empty() && details["name"] == name.as_str() && details["kind"] == plural.as_str();
    status["kind"] == "Status" && status["reason"] == "NotFound" && same
}

#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// As in RBAC: get, list, watch, create, update, patch, delete, deletecollection.
    verb: &'static str,
    /// The plural, with the subresource if there is one; `other` for paths that name no resource.
    resource: String,
}

/// What a request is about. Names of objects and namespaces are left out: they would be labels without bound.
fn target(method: &Method, uri: &Uri) -> Target {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let rest = match parts.as_slice() {
        ["api", _version, rest @ ..] => rest,
        ["apis", _group, _version, rest @ ..] => rest,
        _ => &[],
    };
    // The namespace itself is `namespaces/x`, its `status` and `finalize` subresources come after.
    let rest = match rest {
        ["namespaces", _, sub @ ("status" | "finalize")] => &["namespaces", "", sub][..],
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, named) = match rest {
        [] => ("other".to_string(), true),
        [plural] => (plural.to_string(), false),
        [plural, _name] => (plural.to_string(), true),
        [plural, _name, sub, ..] => (format!("{plural}/{sub}"), true),
    };
    let watches = uri.query().unwrap_or_default().split('&').any(|p| p == "watch=true" || p == "watch=1");
    let verb = match *method {
        Method::GET if watches => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    };
    Target { verb, resource }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_404_that_names_the_object_is_proof() {
        for (body, proof) in [
            (r#"{"kind":"Status","reason":"NotFound","details":{"name":"alice","kind":"mailboxes"},"code":404}"#, true),
            (r#"{"kind":"Status","reason":"NotFound","details":{"name":"bob","kind":"mailboxes"},"code":404}"#, false),
            (r#"{"kind":"Status","reason":"NotFound","details":{"name":"alice","kind":"secrets"},"code":404}"#, false),
            (r#"{"kind":"Status","reason":"NotFound","details":{"kind":"mailboxes"},"code":404}"#, false),
            (r#"{"kind":"Status","reason":"NotFound","details":{"name":""},"code":404}"#, false),
            (r#"{"kind":"Status","reason":"NotFound","details":{},"code":404}"#, false),
            (r#"{"kind":"Status","details":{"name":"alice"},"code":404}"#, false),
            (r#"{"error":"not found"}"#, false),
            ("404 page not found\n", false),
            ("<html>Not Found</html>", false),
            ("", false),
        ] {
            let asked = named(&"/apis/mailtenant.dev/v1alpha1/namespaces/t/mailboxes/alice/status".parse().unwrap());
            assert_eq!(is_not_there(body.as_bytes(), &asked), proof, "{body}");
        }
        for (path, plural, name) in [
            ("/api/v1/namespaces/t", "namespaces", "t"),
            ("/api/v1/namespaces/t/secrets/x?a=b", "secrets", "x"),
            ("/apis/mailtenant.dev/v1alpha1/dnsbackends/pdns/status", "dnsbackends", "pdns"),
            ("/apis/mailtenant.dev/v1alpha1/mailboxes", "", ""),
            ("/version", "", ""),
        ] {
            assert_eq!(named(&path.parse().unwrap()), (plural.to_owned(), name.to_owned()), "{path}");
        }
        assert!(serde_json::from_slice::<serde_json::Value>(NOT_AN_ANSWER).is_ok_and(|s| s["code"] == 503));
    }
}
