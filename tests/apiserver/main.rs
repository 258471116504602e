//! The API as a user meets it: manifests that a real kube-apiserver takes and refuses, and what it makes of them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

mod admission;
mod charts;
#[path = "../common/cluster.rs"]
mod cluster;
mod harness;
mod install;
mod manifests;
mod people;
mod releases;
mod samples;
mod shape;
mod tools;
mod wellknown;

use http::Request;
use kube::{Client, Error};
use serde_json::Value;

/// Where objects of a kind live.
pub fn path(object: &Value, namespace: &str) -> String {
    let kind = object["kind"].as_str().expect("a kind");
    let crds = mailtenant_api::crds::all();
    let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == kind);
    let spec = crd.map_or_else(|| panic!("no kind {kind}"), |crd| &crd["spec"]);
    let root = if spec["scope"] == "Cluster" { String::new() } else { format!("namespaces/{namespace}/") };
    let plural = spec["names"]["plural"].as_str().expect("a plural");
    format!("/apis/mailtenant.dev/v1alpha1/{root}{plural}")
}

/// One request with a JSON body; the apiserver's own words are the error.
pub async fn call(client: &Client, method: &str, path: &str, content: &str, body: &Value) -> Result<Value, String> {
    let body = if body.is_null() { vec![] } else { serde_json::to_vec(body).unwrap() };
    let request = Request::builder().method(method).uri(path).header("content-type", content).body(body).unwrap();
    client.request::<Value>(request).await.map_err(|error| match error {
        Error::Api(status) => status.message.clone(),
        other => panic!("{method} {path}: {other}"),
    })
}

/// Creates an object, with unknown fields refused as kubectl and Flux ask for it.
pub async fn create(client: &Client, namespace: &str, object: &Value, dry_run: bool) -> Result<Value, String> {
    let dry = if dry_run { "&dryRun=All" } else { "" };
    let path = format!("{}?fieldValidation=Strict{dry}", path(object, namespace));
    call(client, "POST", &path, "application/json", object).await
}

/// Server-side apply, as GitOps tools do it.
pub async fn apply(client: &Client, namespace: &str, object: &Value) -> Result<Value, String> {
    apply_as(client, namespace, object, "gitops", false).await
}

/// The same by a field manager of that name.
pub async fn apply_as(
    client: &Client,
    namespace: &str,
    object: &Value,
    manager: &str,
    dry_run: bool,
) -> Result<Value, String> {
    let name = object["metadata"]["name"].as_str().expect("a name");
    let dry = if dry_run { "&dryRun=All" } else { "" };
    let path = format!("{}/{name}?fieldManager={manager}&fieldValidation=Strict{dry}", path(object, namespace));
    call(client, "PATCH", &path, "application/apply-patch+yaml", object).await
}
