//! The control plane that tests start: controllers work in it, and nothing of it is left behind.

use crate::cluster::{Cluster, Options};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::{await_condition, conditions};
use std::path::Path;
use std::time::Duration;

#[tokio::test]
async fn controllers_run_and_nothing_is_left_behind() {
    let controllers = Some("namespace-controller,garbage-collector-controller".into());
    let cluster = Cluster::start(Options { controllers, ..Default::default() }).await.unwrap();
    let Some(dir) = cluster.dir.clone() else { return };
    let name = cluster.namespace("gone").await;
    let namespaces: Api<Namespace> = Api::all(cluster.client().await);
    let uid = namespaces.get(&name).await.unwrap().metadata.uid.unwrap();
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    let gone = await_condition(namespaces, &name, conditions::is_deleted(&uid));
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the namespace controller works").unwrap();

    let pids: Vec<String> = ["etcd", "kube-apiserver", "kube-controller-manager"]
        .map(|name| std::fs::read_to_string(dir.join(format!("{name}.pid"))).unwrap().trim().to_string())
        .into();
    let alive = |pid: &String| Path::new("/proc").join(pid).exists();
    assert!(pids.iter().all(alive), "{pids:?}");
    drop(cluster);
    assert!(!pids.iter().any(alive) && !dir.exists(), "{pids:?} {dir:?}");
}
