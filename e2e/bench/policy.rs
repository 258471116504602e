//! `config/admission/finalizer.yaml` on the bench's cluster.

use super::harness::kubectl::Kubectl;
use super::harness::{eventually, secs};
use kube::ResourceExt;
use kube::api::PostParams;
use mailtenant_api::{API_VERSION, FINALIZER};
use serde_json::{Value, json};

fn manifests() -> impl Iterator<Item = Value> {
    let text = include_str!("../../config/admission/finalizer.yaml");
    text.split("\n---\n").map(|document| serde_yaml::from_str(document).expect("a manifest"))
}

/// Installs it; in force when this returns.
pub async fn install(k: &Kubectl) {
    for manifest in manifests() {
        k.apply(manifest).await;
    }
    wait(k, true).await;
}

/// Takes it away; out of force when this returns.
pub async fn remove(k: &Kubectl) {
    for manifest in manifests() {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        k.delete(&text(&manifest["kind"]), &text(&manifest["metadata"]["name"])).await;
    }
    wait(k, false).await;
}

/// The apiserver reads policies once a second.
async fn wait(k: &Kubectl, in_force: bool) {
    let mailboxes = k.within("default").api("Mailbox");
    let probe = json!({"apiVersion": API_VERSION, "kind": "Mailbox", "metadata": {"name": "probe"},
        "spec": {"domainRef": {"name": "probe"}, "localPart": "probe"}});
    let probe = serde_json::from_value(probe).expect("an object");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually(&format!("the policy is in force: {in_force}"), secs(60), || async {
        let made = mailboxes.create(&dry_run, &probe).await.map_err(|e| e.to_string())?;
        let finalizers = made.finalizers();
        if finalizers.iter().any(|f| f == FINALIZER) == in_force { Ok(()) } else { Err(format!("{finalizers:?}")) }
    })
    .await
}
