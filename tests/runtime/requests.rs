//! The client's layer: time limits and counts.

use crate::fake::{Fake, Fate};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::StreamBody;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{ListParams, PostParams, WatchParams};
use kube::client::Body;
use mailtenant_runtime::metrics::Metrics;
use mailtenant_runtime::requests::{RequestLayer, RequestTimeout};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;
use tower::Layer;

fn layer(metrics: &Metrics) -> RequestLayer {
    RequestLayer::new(metrics.clone())
}

fn requests(metrics: &Metrics) -> Vec<String> {
    let text = metrics.text().unwrap();
    let mut lines: Vec<String> =
        text.lines().filter_map(|l| l.strip_prefix("demo_kubernetes_requests_total")).map(str::to_string).collect();
    lines.sort();
    lines
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_verb_resource_and_code() {
    let fake = Fake::default();
    let metrics = Metrics::new("demo");
    let client = kube::Client::new(layer(&metrics).layer(fake.service(|_, _| Fate::Done)), "default");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "tenant");
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "x"}, "spec": {"containers": []}})).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    pods.get("x").await.unwrap();
    pods.get("x").await.unwrap();
    let mut stale = pod.clone();
    stale.metadata.resource_version = Some("999".into());
    assert!(pods.replace("x", &PostParams::default(), &stale).await.is_err());
    assert!(pods.get_status("x").await.is_err());
    assert!(Api::<Namespace>::all(client.clone()).get("tenant").await.is_err());
    assert!(Api::<Pod>::all(client.clone()).list(&ListParams::default()).await.is_err());
    assert!(client.apiserver_version().await.is_err());
    assert_eq!(
        requests(&metrics),
        [
            r#"{verb="create",resource="pods",code="201"} 1"#,
            r#"{verb="get",resource="namespaces",code="404"} 1"#,
            r#"{verb="get",resource="other",code="404"} 1"#,
            r#"{verb="get",resource="pods",code="200"} 2"#,
            r#"{verb="get",resource="pods/status",code="404"} 1"#,
            r#"{verb="list",resource="pods",code="404"} 1"#,
            r#"{verb="update",resource="pods",code="409"} 1"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_ends_after_its_limit_as_a_typed_error() {
    let fake = Fake::default();
    let metrics = Metrics::new("demo");
    let client = kube::Client::new(layer(&metrics).layer(fake.service(|_, _| Fate::Lost)), "default");
    let start = Instant::now();
    let error = Api::<Pod>::namespaced(client, "tenant").get("x").await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 30);
    let kube::Error::Service(error) = error else { panic!("{error:?}") };
    let error = error.downcast::<RequestTimeout>().unwrap();
    assert_eq!(error.to_string(), "no answer to get pods within 30s");
    assert_eq!(requests(&metrics), [r#"{verb="get",resource="pods",code="timeout"} 1"#]);
}

/// Headers at once, then `first`, then nothing.
fn stalls(
    first: &'static str,
) -> impl tower::Service<
    Request<Body>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send + 'static>,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Send
+ 'static {
    use futures::StreamExt;
    tower::service_fn(move |_| async move {
        let frames = futures::stream::iter([Ok(http_body::Frame::data(Bytes::from_static(first.as_bytes())))]);
        Ok(Response::new(StreamBody::new(frames.chain(futures::stream::pending()))))
    })
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_for_the_body_too_but_not_for_a_watch() {
    let metrics = Metrics::new("demo");
    let client = kube::Client::new(layer(&metrics).layer(stalls("{\"kind\":")), "default");
    let start = Instant::now();
    assert!(Api::<Pod>::all(client).list(&ListParams::default()).await.is_err());
    assert_eq!(start.elapsed().as_secs(), 30);

    let event = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"x\"}}}\n";
    let client = kube::Client::new(layer(&metrics).layer(stalls(event)), "default");
    use futures::StreamExt;
    let mut watch = Api::<Pod>::all(client).watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(watch.next().await.unwrap().is_ok());
    let more = tokio::time::timeout(Duration::from_secs(200), watch.next()).await;
    assert!(more.is_err(), "the watch was ended: {more:?}");
    assert_eq!(
        requests(&metrics),
        [r#"{verb="list",resource="pods",code="timeout"} 1"#, r#"{verb="watch",resource="pods",code="200"} 1"#]
    );
}
