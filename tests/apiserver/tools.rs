//! helm, kubectl and kustomize as child processes, and what they print.

use crate::cluster::{self, Cluster, Options};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tokio::sync::OnceCell;

/// The top of the repository.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A cluster of these tests with the CRDs in it, also where `KUBECONFIG` gives another one: policies and foreign CRDs are made.
pub async fn own_cluster() -> &'static Cluster {
    static OWN: OnceCell<Cluster> = OnceCell::const_new();
    OWN.get_or_init(|| async {
        let cluster = Cluster::start(Options::default()).await.expect("the control plane starts");
        cluster::install_crds(&cluster.client().await).await.expect("the CRDs are established");
        cluster
    })
    .await
}

/// Where helm is; it is built by the first test that asks.
pub fn helm_binary() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| {
        let built = Command::new(top().join("e2e/stack/helm/build.sh")).stdin(Stdio::null()).output().unwrap();
        assert!(built.status.success(), "helm: {}", String::from_utf8_lossy(&built.stderr));
        PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
    })
}

/// Runs helm at the top of the repository. It needs no cluster for what is asked of it here.
pub fn helm(arguments: &[&str]) -> Output {
    let mut command = Command::new(helm_binary());
    command.args(arguments).current_dir(top()).env_remove("KUBECONFIG").stdin(Stdio::null()).output().unwrap()
}

/// What a chart makes of these `--set` arguments, as YAML.
pub fn template(release: &str, namespace: &str, chart: &str, set: &[&str]) -> String {
    let mut arguments = vec!["template", release, chart, "--namespace", namespace];
    set.iter().for_each(|value| arguments.extend(["--set", *value]));
    let output = helm(&arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs kubectl at the top of the repository; `kubeconfig` `None`: without a cluster.
pub fn kubectl(kubeconfig: Option<&Path>, arguments: &[&str], input: &str) -> Output {
    use std::io::Write as _;
    let mut command = Command::new(cluster::binary("kubectl").unwrap());
    command.args(arguments).current_dir(top()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.env("KUBECONFIG", kubeconfig.unwrap_or(Path::new("/dev/null"))).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What a folder's kustomization makes, as YAML.
pub fn kustomize(folder: &str) -> String {
    let output = kubectl(None, &["kustomize", folder], "");
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Objects by kind, namespace and name. Two of one name are an error.
pub fn objects(yaml: &str) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for document in format!("\n{yaml}").split("\n---") {
        if document.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
            continue;
        }
        let object: Value = serde_yaml::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"));
        let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
        let key = [word("/kind"), word("/metadata/namespace"), word("/metadata/name")].join(" ");
        assert!(all.insert(key.clone(), object).is_none(), "{key} is there twice");
    }
    all
}
