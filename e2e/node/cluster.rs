//! The cluster as its administrator has it: helm, kubectl, the operator's pods and what the kernel says of them.

use super::tenant::NAMESPACE;
use crate::harness::kubectl::{KINDS, Kubectl};
use crate::harness::stack::Stack;
use crate::harness::world::{GROUPWARE, SYSTEM};
use crate::harness::{audit, eventually, secs};
use kube::api::ListParams;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// The top of the repository.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A pod of the operator.
pub struct Pod {
    /// Its name, which is its host name too.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether its readiness probe says so, and it is not about to end.
    pub ready: bool,
    /// How often kubelet has started its container again.
    pub restarts: u64,
}

/// The cluster with its only node.
pub struct Node {
    /// The servers.
    pub stack: &'static Stack,
    /// Kubernetes, in the operator's namespace.
    pub k: Kubectl,
    /// Under which pods reach the servers.
    pub address: String,
    begun: Instant,
}

impl Node {
    /// The cluster of a stack.
    pub async fn start(stack: &'static Stack, address: String) -> Node {
        Node { stack, k: Kubectl::admin(stack, SYSTEM).await, address, begun: Instant::now() }
    }

    /// For who looks on.
    pub fn say(&self, what: &str) {
        println!("node: {:5.1} s {what}", self.begun.elapsed().as_secs_f64());
    }

    async fn tool(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let path = format!("{}:{}", self.stack.get("STACK_BIN"), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("env");
        command.arg(program).args(arguments).current_dir(top()).stdin(Stdio::null()).kill_on_drop(true);
        command.env("PATH", path).env("HOME", &self.stack.root).env("KUBECONFIG", self.stack.get("STACK_KUBECONFIG"));
        let out = command.output().await.expect("env can be started");
        (out.status.success(), [out.stdout, out.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat())
    }

    /// Runs kubectl, at the top of the repository; gives whether it was content, and what it said.
    pub async fn try_kubectl(&self, arguments: &[&str]) -> (bool, String) {
        self.tool("kubectl", arguments).await
    }

    /// Runs kubectl, which must be content.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let (done, said) = self.try_kubectl(arguments).await;
        assert!(done, "kubectl {arguments:?}: {said}");
        said
    }

    /// Runs helm, which must be content.
    pub async fn helm(&self, arguments: &[&str]) -> String {
        let (done, said) = self.tool("helm", arguments).await;
        assert!(done, "helm {arguments:?}: {said}");
        said
    }

    /// Installs the operator or changes it, with default values but for these.
    pub async fn install(&self, set: &[&str]) {
        let chart = ["upgrade", "--install", "mailtenant", "charts/mailtenant", "--namespace", SYSTEM];
        self.helm(&[&chart, set].concat()).await;
    }

    /// Waits until both replicas are of the newest template, ready, and no other is left.
    pub async fn rolled_out(&self) {
        let rollout = ["rollout", "status", "deployment/mailtenant", "--namespace", SYSTEM, "--timeout=180s"];
        let (done, said) = self.try_kubectl(&rollout).await;
        if !done {
            let about = ["describe", "pods", "--namespace", SYSTEM];
            let logs = ["logs", "--namespace", SYSTEM, "--selector=app.kubernetes.io/name=mailtenant", "--tail=20"];
            let (about, logs) = (self.try_kubectl(&about).await.1, self.try_kubectl(&logs).await.1);
            panic!("{said}\n{about}\n{logs}");
        }
        eventually("two pods, both ready", secs(90), || async {
            let pods = self.pods().await;
            if pods.len() == 2 && pods.iter().all(|p| p.ready) { Ok(()) } else { Err(pods.len()) }
        })
        .await;
    }

    /// The operator's pods, those that are ending too.
    pub async fn pods(&self) -> Vec<Pod> {
        let ours = ListParams::default().labels("app.kubernetes.io/name=mailtenant");
        let list = self.k.api("Pod").list(&ours).await.expect("pods");
        let pod = |object: kube::api::DynamicObject| {
            let (name, status) = (object.metadata.name.unwrap_or_default(), &object.data["status"]);
            let said = status["conditions"].as_array().into_iter().flatten();
            let ready = said.clone().any(|c| c["type"] == "Ready" && c["status"] == "True");
            Pod {
                name,
                address: status["podIP"].as_str().unwrap_or_default().into(),
                ready: ready && object.metadata.deletion_timestamp.is_none(),
                restarts: status["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default(),
            }
        };
        list.items.into_iter().map(pod).collect()
    }

    /// Who holds the Lease: a pod's name, and what makes the process one of its kind. Empty: nobody.
    pub async fn holder(&self) -> String {
        let lease = self.k.get("Lease", "mailtenant").await.unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().into()
    }

    /// The pod that leads, of those that are ready.
    pub async fn leader(&self, limit: Duration) -> String {
        self.other_leader("", limit).await
    }

    /// A pod that leads and is not this one.
    pub async fn other_leader(&self, than: &str, limit: Duration) -> String {
        eventually("a pod leads", limit, || async {
            let holder = self.holder().await;
            let name = holder.split_once('_').map(|(pod, _)| pod.to_string()).unwrap_or_default();
            let there = self.pods().await.iter().any(|p| p.ready && p.name == name);
            if there && name != than { Ok(name) } else { Err(holder) }
        })
        .await
    }

    /// What a pod says on `/metrics`.
    pub async fn metrics(&self, pod: &Pod) -> String {
        let url = format!("http://{}:8080/metrics", pod.address);
        reqwest::get(url).await.expect("the pod answers").text().await.expect("text")
    }

    /// The process of a pod, as this machine counts.
    pub fn process(&self, pod: &Pod) -> u32 {
        let pids =
            std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        let of_the_pod = |pid: &u32| {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            read("cmdline").starts_with("/mailtenant\0") && read("root/etc/hostname").trim() == pod.name
        };
        pids.into_iter().find(of_the_pod).unwrap_or_else(|| panic!("{} has no process", pod.name))
    }

    /// What the kernel lets the pod do: what the restricted profile promises, and no writing to its files.
    pub fn confined(&self, pod: &Pod) {
        let pid = self.process(pod);
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("/proc");
        let status = read("status");
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("no {name}")).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        for (name, wanted) in [
            ("Uid", "65532 65532 65532 65532"),
            ("Gid", "65532 65532 65532 65532"),
            ("CapEff", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(field(name), wanted, "{name} of {}", pod.name);
        }
        let mounts = read("mountinfo");
        let root = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>()).find(|m| m[4] == "/").expect("a root");
        assert!(root[5].split(',').any(|option| option == "ro"), "the root of {} can be written: {root:?}", pod.name);
    }

    /// The version of each object of ours, of the tenant's Secrets, and of nothing that moves by itself.
    pub async fn versions(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for kind in KINDS.into_iter().chain(["Secret"]) {
            for object in self.k.within(NAMESPACE).list(kind).await {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_string();
                all.insert(format!("{kind}/{}", text("name")), text("resourceVersion"));
            }
        }
        all
    }

    /// Writes of the operator to the tenant's objects and to the backends, and Events about them.
    async fn writes(&self, since: u64) -> BTreeMap<String, usize> {
        audit::caught_up(self.stack, &self.k).await;
        let ours = |write: &&audit::Write| {
            let (namespace, name) = &write.object;
            namespace == NAMESPACE || name.starts_with(NAMESPACE) || name.starts_with(GROUPWARE)
        };
        audit::count(audit::writes(self.stack, since).iter().filter(ours))
    }

    /// Replaces all pods by `change`, and sees that the new leader has looked at every object and has written nothing.
    pub async fn silently(&self, what: &str, change: impl Future<Output = ()>) {
        eventually("5 s without a write", secs(120), || async {
            let since = audit::mark(self.stack);
            sleep(secs(5)).await;
            let seen = self.writes(since).await;
            if seen.is_empty() { Ok(()) } else { Err(seen) }
        })
        .await;
        let old: Vec<String> = self.pods().await.into_iter().map(|p| p.name).collect();
        let (since, before) = (audit::mark(self.stack), self.versions().await);
        change.await;
        self.rolled_out().await;
        let pods = self.pods().await;
        assert!(pods.iter().all(|p| !old.contains(&p.name)), "{what} has not replaced the pods");
        self.looked_at_everything(&before).await;
        assert_eq!(self.versions().await, before, "versions of objects before (right) and after {what}");
        let writes = self.writes(since).await;
        assert!(writes.is_empty(), "writes by {what}: {writes:?}");
        self.say(&format!("{what}: other pods, {} objects looked at, none written", before.len()));
    }

    /// Waits until the process that leads has made a pass for each object.
    async fn looked_at_everything(&self, objects: &BTreeMap<String, String>) {
        eventually("all objects are looked at", secs(120), || async {
            let leader = self.leader(secs(60)).await;
            let pods = self.pods().await;
            let Some(pod) = pods.iter().find(|p| p.name == leader) else { return Err("no leader".to_string()) };
            let metrics = self.metrics(pod).await;
            for kind in KINDS {
                let wanted = objects.keys().filter(|o| o.split('/').next() == Some(kind)).count() as f64;
                let of_the_kind = format!("mailtenant_reconcile_total{{kind=\"{kind}\"");
                let lines = metrics.lines().filter(|l| l.starts_with(&of_the_kind));
                let passes: f64 = lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum();
                if kind != "MailDomainClaim" && passes < wanted {
                    return Err(format!("{passes} passes for {wanted} objects of {kind}"));
                }
            }
            Ok(())
        })
        .await
    }
}
