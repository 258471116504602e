//! CRDs that are older or newer than the operator: what it says of them, at the real apiserver, and what it does.

use crate::cluster::{self, Cluster, Options};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema/properties";

/// The operator, with the Lease.
struct Operator {
    child: Child,
    url: String,
}

impl Operator {
    fn start(kubeconfig: &Path) -> Operator {
        let [port] = cluster::free_ports::<1>().unwrap();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailtenant"));
        command.args(["run", "--operator-namespace=default", "--http-address", &address]).env_clear();
        command.env("KUBECONFIG", kubeconfig).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Operator { child: command.spawn().unwrap(), url: format!("http://{address}") }
    }

    async fn page(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Waits until `/readyz` answers as wanted; its text.
    async fn says(&self, within: u64, wanted: impl Fn(u16, &str) -> bool) -> String {
        let (start, mut last) = (Instant::now(), None);
        while start.elapsed() < Duration::from_secs(within) {
            last = self.page("/readyz").await;
            if let Some((code, text)) = &last
                && wanted(*code, text)
            {
                return text.clone();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("/readyz does not say what is wanted: {last:?}");
    }

    async fn metrics(&self) -> String {
        self.page("/metrics").await.unwrap().1
    }

    async fn ends(&mut self, within: u64) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(within) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not end");
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn patch(client: &Client, name: &str, operations: Value) {
    let resource = kube::core::ApiResource {
        group: "apiextensions.k8s.io".into(),
        version: "v1".into(),
        api_version: "apiextensions.k8s.io/v1".into(),
        kind: "CustomResourceDefinition".into(),
        plural: "customresourcedefinitions".into(),
    };
    let crds: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
    crds.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)).await.unwrap();
}

fn mismatch(crd: &str, difference: &str) -> String {
    format!("mailtenant_crd_mismatch{{crd=\"{crd}.mailtenant.dev\",difference=\"{difference}\"}} 1\n")
}

#[tokio::test]
async fn crds_of_another_release_are_named_and_fields_are_never_dropped() {
    let cluster = Cluster::start(Options::default()).await.expect("the control plane starts");
    let client = cluster.client().await;
    cluster::install_crds(&client).await.expect("the CRDs are established");

    // What the apiserver made of our own CRDs is no difference.
    let mut old = Operator::start(&cluster.kubeconfig);
    old.says(60, |code, text| code == 200 && text == "ok\n").await;
    assert!(!old.metrics().await.contains("mailtenant_crd_mismatch{"), "{}", old.metrics().await);

    // Newer, without a field that others write, looser: it goes on, and says so within a minute or so.
    let later = format!("{SCHEMA}/spec/properties/later");
    let add = json!([{"op": "add", "path": later, "value": {"type": "string"}}]);
    patch(&client, "mailboxes.mailtenant.dev", add).await;
    let lost = json!([{"op": "remove", "path": format!("{SCHEMA}/spec/properties/displayName")}]);
    patch(&client, "mailaliases.mailtenant.dev", lost).await;
    let looser = json!([
        {"op": "add", "path": format!("{SCHEMA}/status/x-kubernetes-preserve-unknown-fields"), "value": true},
        {"op": "remove", "path": format!("{SCHEMA}/status/properties/massLoss")},
        {"op": "remove", "path": format!("{SCHEMA}/spec/properties/deletionPolicy/enum")},
    ]);
    patch(&client, "mailinstances.mailtenant.dev", looser).await;
    let notes = [
        "mailboxes.mailtenant.dev is not that of this release, it has spec.later:",
        "mailaliases.mailtenant.dev is not that of this release, it lacks spec.displayName:",
        "mailinstances.mailtenant.dev is not that of this release, it has other rules or defaults:",
    ];
    let text = old.says(90, |code, text| code == 200 && notes.iter().all(|note| text.contains(note))).await;
    assert!(text.contains("note: crds: "), "{text}");
    let metrics = old.metrics().await;
    for (crd, difference) in
        [("mailboxes", "unknown_fields"), ("mailaliases", "lacks_fields"), ("mailinstances", "rules")]
    {
        assert!(metrics.contains(&mismatch(crd, difference)), "{crd} {difference} is not in {metrics}");
    }
    assert!(metrics.contains("mailtenant_leader 1\n"));
    cluster::install_crds(&client).await.expect("the CRDs are established");

    // One that takes less of what it writes: it ends, and whoever fits need not wait for its Lease to run out.
    let stricter = json!([
        {"op": "remove", "path": format!("{SCHEMA}/status/properties/drainingUntil")},
        {"op": "add", "path": format!("{SCHEMA}/status/properties/backendId/maxLength"), "value": 3},
    ]);
    patch(&client, "maildomains.mailtenant.dev", stricter).await;
    assert_eq!(old.ends(100).await.code(), Some(1));
    let lease = Api::<Lease>::namespaced(client.clone(), "default").get("mailtenant").await.unwrap().spec.unwrap();
    assert_eq!(lease.holder_identity, None, "it was not given back");

    // The next one waits, names it, does not lead, and begins when the CRD is there.
    let new = Operator::start(&cluster.kubeconfig);
    let text = new.says(60, |code, text| code == 503 && text.contains("it lacks or refuses")).await;
    assert!(
        text.starts_with(
            "crds: maildomains.mailtenant.dev is not that of this release, it lacks or refuses status.backendId (maxLength), status.drainingUntil:"
        ),
        "{text}"
    );
    let metrics = new.metrics().await;
    for line in [&mismatch("maildomains", "unfit"), "mailtenant_crd_missing 1\n", "mailtenant_leader 0\n"] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    cluster::install_crds(&client).await.expect("the CRDs are established");
    new.says(60, |code, text| code == 200 && text == "ok\n").await;
    assert!(!new.metrics().await.contains("mailtenant_crd_mismatch{"));
}
