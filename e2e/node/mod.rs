//! The operator as it is installed: its image, started by kubelet in containerd, from the Helm charts with default values, serving
//! a tenant at the servers of the stack. What happens to it is what happens to pods.
//!
//! All of it runs on a machine of its own (`e2e/stack/node/machine.sh`): the test starts itself there once more.
//! `IMAGE_FILE=FILE` takes what `make image` made.

mod cluster;
mod tenant;

use crate::harness::audit;
use crate::harness::stack::Stack;
use crate::harness::world::SYSTEM;
use crate::harness::{eventually, secs};
use cluster::Node;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tenant::NAMESPACE;

/// Set on the machine, and nowhere else: its address, under which pods reach it.
const INSIDE: &str = "MAILTENANT_NODE_IP";

#[test]
fn installed_by_helm_it_serves_a_tenant_and_survives_what_happens_to_pods() {
    let Some(address) = std::env::var_os(INSIDE) else { return on_a_machine_of_its_own() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(life(address.into_string().expect("an address")));
}

/// A run that is killed together with `machine.sh` removes nothing itself.
#[test]
fn what_a_killed_run_left_is_removed_by_the_next_one() {
    let mut ended = Command::new("true").spawn().expect("true can be started");
    ended.wait().expect("a child");
    let name = |pid: u32| format!("mailtenant-machine-{pid}");
    let folder = |pid: u32| std::env::temp_dir().join(name(pid));
    let hierarchy = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(Path::new).into_iter().find(|h| h.exists());
    let cgroup = hierarchy.expect("cgroups are mounted").join(name(ended.id()));
    // That of a process that runs is not touched, nor one that somebody wants to look at.
    let (mine, kept) = (std::process::id(), ended.id() + 1_000_000_000);
    for made in [&folder(ended.id()).join("var"), &folder(1), &folder(kept), &cgroup.join("pods")] {
        std::fs::create_dir_all(made).expect("it can be made");
    }
    std::fs::write(folder(kept).join("keep"), "").expect("it can be written");
    let machine = cluster::top().join("e2e/stack/node/machine.sh");
    let out = Command::new(machine).arg(folder(mine)).args([&mine.to_string(), "true"]).output().expect("it runs");
    let left = [folder(ended.id()), folder(mine), cgroup, folder(1), folder(kept)].map(|path| path.exists());
    for pid in [1, kept] {
        std::fs::remove_dir_all(folder(pid)).expect("it is there");
    }
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(left, [false, false, false, true, true]);
}

fn script(name: &str, arguments: &[&Path]) {
    let script = cluster::top().join("e2e/stack").join(name);
    let out = Command::new(&script).args(arguments).stdin(Stdio::null()).output().expect("a script can be started");
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
}

/// This test once more, where it may do as it likes: what it says is handed on as it comes.
fn on_a_machine_of_its_own() {
    let root = std::env::temp_dir().join(format!("mailtenant-node-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("a folder for the node");
    script("node/build.sh", &[]);
    script("node/image.sh", &[&root.join("mailtenant.tar")]);
    // A session of its own: it must see the end of this process, also by Ctrl-C, and then remove what is left.
    let mut machine = Command::new("setsid");
    machine.args(["bash", "-c", "exec \"$@\" 2>&1", "bash"]).arg(cluster::top().join("e2e/stack/node/machine.sh"));
    machine.arg(&root).arg(std::process::id().to_string()).arg(std::env::current_exe().expect("this program"));
    let this = "node::installed_by_helm_it_serves_a_tenant_and_survives_what_happens_to_pods";
    machine.args([this, "--exact", "--nocapture", "--test-threads=1"]).env_remove("KUBECONFIG");
    let mut machine = machine.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("setsid can be started");
    for line in BufReader::new(machine.stdout.take().expect("a pipe")).lines() {
        println!("{}", line.expect("text"));
    }
    let status = machine.wait().expect("a child");
    assert!(status.success(), "on the machine of its own: {status}; KEEP_ROOT=1 keeps {}", root.display());
}

async fn life(address: String) {
    let stack = tokio::task::spawn_blocking(|| -> &'static Stack { Box::leak(Box::new(Stack::start("node"))) });
    let node = Node::start(stack.await.expect("the stack starts"), address).await;
    node.say("the stack is up");
    let image = PathBuf::from(std::env::var_os("TMPDIR").expect("set by machine.sh")).join("mailtenant.tar");
    let root = node.stack.root.clone();
    tokio::task::spawn_blocking(move || script("node/up.sh", &[&root, &image])).await.expect("the node starts");
    node.say("the node is ready");
    let node = &node;
    installed(node).await;
    tenant::register(node).await;
    tenant::declare(node, &["alice", "bob"]).await;
    tenant::delivers(node, "alice", "to a tenant of the pods").await;
    node.say("a tenant is ready and has mail");
    the_leaders_pod_is_deleted(node).await;
    the_leader_is_killed(node).await;
    upgraded(node).await;
    drained(node).await;
    // Before the removal: Helm takes the rights away before the pods have ended, and they still ask for the Lease.
    audit::caught_up(node.stack, &node.k).await;
    let forbidden = audit::forbidden(node.stack);
    assert!(forbidden.is_empty(), "the chart lacks rights: {forbidden:?}");
    removed(node).await;
}

/// As `docs/install.md` says, with the default for the image.
async fn installed(node: &Node) {
    // The stack gives these to an operator outside of the cluster. Here the chart does.
    node.kubectl(&["delete", "-f", "config/rbac/operator.yaml"]).await;
    node.helm(&["upgrade", "--install", "mailtenant-crds", "charts/mailtenant-crds", "--namespace", SYSTEM]).await;
    node.kubectl(&["label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted"]).await;
    node.install(&[]).await;
    node.say("helm has installed the chart");
    node.rolled_out().await;
    let leader = node.leader(secs(60)).await;
    node.say(&format!("two replicas are ready, {leader} leads"));
    for pod in node.pods().await {
        node.confined(&pod);
        let leads = node.metrics(&pod).await.lines().any(|l| l == "mailtenant_leader 1");
        assert_eq!(leads, pod.name == leader, "mailtenant_leader of {}", pod.name);
    }
    // The label is obeyed: a pod without the settings of the chart does not come in.
    let loose = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose", "namespace": SYSTEM},
        "spec": {"containers": [{"name": "c", "image": "localhost/pause:1"}]}});
    let refused = node.k.try_apply(loose).await.expect_err("a pod that is not restricted").to_string();
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
}

/// A pod that is told to end gives the Lease back; another one works on, and the Deployment is whole again.
async fn the_leaders_pod_is_deleted(node: &Node) {
    let old = node.leader(secs(60)).await;
    node.kubectl(&["delete", "pod", &old, "--namespace", SYSTEM, "--wait=false"]).await;
    let since = std::time::Instant::now();
    let new = node.other_leader(&old, secs(60)).await;
    node.say(&format!("{old} is deleted: {new} leads after {:.1} s", since.elapsed().as_secs_f64()));
    tenant::declare(node, &["carol"]).await;
    tenant::delivers(node, "carol", "after a pod was deleted").await;
    node.rolled_out().await;
}

/// A process that ends without a word: the Lease runs out.
async fn the_leader_is_killed(node: &Node) {
    let old = node.leader(secs(60)).await;
    let pod = node.pods().await.into_iter().find(|p| p.name == old).expect("the leader is a pod");
    let identity = node.holder().await;
    let pid = node.process(&pod).to_string();
    let since = std::time::Instant::now();
    assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill can be started").success());
    let new = eventually("another process leads", secs(60), || async {
        let holder = node.holder().await;
        if holder.is_empty() || holder == identity { Err(holder) } else { Ok(holder) }
    })
    .await;
    node.say(&format!("{old} is killed: {new} leads after {:.1} s", since.elapsed().as_secs_f64()));
    tenant::declare(node, &["dave"]).await;
    node.rolled_out().await;
    let again = node.pods().await.into_iter().find(|p| p.name == old).expect("its pod stays");
    assert_eq!(again.restarts, 1, "kubelet has started it again");
}

/// New pods by `helm upgrade`, and the old ones by `helm rollback`: nothing is written that was well.
async fn upgraded(node: &Node) {
    let change = node.install(&["--set", "log.level=debug"]);
    node.silently("helm upgrade", change).await;
    let back = async { drop(node.helm(&["rollback", "mailtenant", "1", "--namespace", SYSTEM]).await) };
    node.silently("helm rollback", back).await;
    // It was silent, and not deaf.
    tenant::declare(node, &["erin"]).await;
}

/// With one node there is nowhere to go: one replica is evicted, the PodDisruptionBudget keeps the other one, and it works.
async fn drained(node: &Node) {
    let drain = ["drain", "node1", "--ignore-daemonsets", "--timeout=20s"];
    let (done, said) = node.try_kubectl(&drain).await;
    assert!(!done && said.contains("would violate the pod's disruption budget"), "{said}");
    let ready: Vec<_> = node.pods().await.into_iter().filter(|p| p.ready).map(|p| p.name).collect();
    assert_eq!(ready.len(), 1, "one is gone and waits for a node, one is kept: {said}");
    assert_eq!(node.leader(secs(60)).await, ready[0]);
    tenant::declare(node, &["frank"]).await;
    node.say(&format!("the drain leaves {}, which leads and works", ready[0]));
    node.kubectl(&["uncordon", "node1"]).await;
    node.rolled_out().await;
    node.say("the node is back, two replicas are ready");
}

/// `helm uninstall` takes the operator and nothing else: mail goes on, what is deleted waits, and all of it goes when the
/// operator is back.
async fn removed(node: &Node) {
    let (objects, rows) = (node.versions().await, tenant::rows(node).await);
    node.helm(&["uninstall", "mailtenant", "--namespace", SYSTEM, "--wait"]).await;
    eventually("no pod is left", secs(60), || async {
        let pods = node.pods().await;
        if pods.is_empty() { Ok(()) } else { Err(format!("{} are", pods.len())) }
    })
    .await;
    tenant::delivers(node, "alice", "while there is no operator").await;
    assert_eq!(node.versions().await, objects, "objects after the removal");
    assert_eq!(tenant::rows(node).await, rows, "mailboxes at the server after the removal");
    let tenants = node.k.within(NAMESPACE);
    tenants.delete("Mailbox", "frank").await;
    tenants.delete("MailInstance", "acme").await;
    let instance = tenants.get("MailInstance", "acme").await.expect("it waits for the operator");
    assert!(!instance["metadata"]["deletionTimestamp"].is_null());
    node.say("without an operator: objects and mail are as before, a deletion waits");

    node.install(&[]).await;
    node.rolled_out().await;
    tenants.gone("Mailbox", "frank", secs(120)).await;
    for kind in ["MailAlias", "Mailbox", "MailDomain"] {
        tenants.delete_all(kind).await;
    }
    tenants.gone("MailInstance", "acme", secs(240)).await;
    tenant::gone(node).await;
    node.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"]).await;
    node.kubectl(&["delete", "groupwarebackends,dnsbackends", "--all", "--timeout=60s"]).await;
    node.helm(&["uninstall", "mailtenant", "--namespace", SYSTEM, "--wait"]).await;
    node.kubectl(&["delete", "namespace", SYSTEM, "--timeout=60s"]).await;
    node.say("with the operator back the tenant is gone, and then all of it");
}
