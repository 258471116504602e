//! `docs/install.md`: its commands run in an empty cluster, and what they install runs the operator.

use crate::cluster::{self, Cluster, Options};
use crate::tools::{helm_binary, kubectl, top};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SYSTEM: &str = "mailtenant-system";

/// The shell blocks of the page by their heading, those aside that say why they are not run.
fn blocks() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(top().join("docs/install.md")).unwrap();
    let (mut heading, mut block, mut skipped, mut all) = (String::new(), None, false, vec![]);
    for line in text.lines() {
        match (&mut block, line) {
            (None, "```sh") => block = Some(String::new()),
            (Some(_), "```") => {
                let block = block.take().unwrap_or_default();
                if !std::mem::take(&mut skipped) {
                    all.push((heading.clone(), block));
                }
            }
            (Some(block), line) => *block += &format!("{line}\n"),
            (None, line) if line.starts_with("<!-- not run: ") => skipped = true,
            (None, line) => {
                if let Some(name) = line.strip_prefix("## ") {
                    heading = name.to_owned();
                }
            }
        }
    }
    assert!(block.is_none() && !skipped, "docs/install.md ends inside a block");
    all
}

/// What a person has who follows the page: a copy of the repository's manifests, the tools, and a cluster.
struct Person {
    cluster: Cluster,
    folder: PathBuf,
}

impl Person {
    async fn new() -> Person {
        // Pods are made, so Pod Security and the account are asked; no node runs them.
        let controllers = "namespace-controller,garbage-collector-controller,serviceaccount-controller,\
                           deployment-controller,replicaset-controller,root-ca-certificate-publisher-controller";
        let options = Options { controllers: Some(controllers.replace(' ', "")), ..Default::default() };
        let cluster = Cluster::start(options).await.expect("the control plane starts");
        let folder = cluster.dir.clone().unwrap().join("repository");
        std::fs::create_dir_all(&folder).unwrap();
        let manifests = ["charts", "config", "crds"].map(|name| top().join(name));
        let copied = Command::new("cp").arg("-r").args(manifests).arg(&folder).status().unwrap();
        assert!(copied.success());
        Person { cluster, folder }
    }

    /// Runs what the page says below these headings.
    fn follow(&self, heading: &str) {
        let blocks: Vec<_> = blocks().into_iter().filter(|(of, _)| of == heading).collect();
        assert!(!blocks.is_empty(), "nothing of {heading:?} is run");
        for (_, block) in blocks {
            let (ok, said) = self.shell(&block);
            assert!(ok, "{heading}: {block}{said}");
        }
    }

    fn shell(&self, script: &str) -> (bool, String) {
        let tools = [helm_binary().to_owned(), cluster::binary("kubectl").unwrap()];
        let tools = tools.map(|tool| tool.parent().unwrap().to_owned());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(tools.into_iter().chain(std::env::split_paths(&path))).unwrap();
        // A removal that is stuck waits for ever.
        let output = Command::new("timeout")
            .args(["300", "bash", "-euo", "pipefail", "-c", script])
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("HOME", &self.folder)
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.success(), said)
    }

    fn get(&self, what: &str) -> Value {
        let arguments = ["get", what, "--namespace", SYSTEM, "--output", "json", "--ignore-not-found"];
        let output = kubectl(Some(&self.cluster.kubeconfig), &arguments, "");
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn count(&self, what: &str) -> usize {
        self.get(what)["items"].as_array().map_or(0, Vec::len)
    }

    fn patch_finalizers(&self, pod: &str, finalizers: &Value) {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        let arguments = ["patch", "pod", pod, "--namespace", SYSTEM, "--type", "merge", "--patch", &patch];
        let output = kubectl(Some(&self.cluster.kubeconfig), &arguments, "");
        assert!(output.status.success(), "{pod}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Waits until the Deployment's Pods are made with this image: nothing in the cluster refuses them.
    async fn pods_are_made(&self, image: &str) {
        for _ in 0..300 {
            let pods = self.get("pods");
            let made = pods["items"].as_array().cloned().unwrap_or_default();
            let wanted = made.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == image).count();
            if wanted >= 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no two Pods with {image}: {}", self.get("replicasets"));
    }

    /// Waits until nothing is left of what was installed.
    async fn is_empty(&self) {
        for _ in 0..300 {
            if self.count("customresourcedefinitions") == 0 && self.get(&format!("namespace/{SYSTEM}")).is_null() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("left: {} {}", self.get("customresourcedefinitions"), self.get(&format!("namespace/{SYSTEM}")));
    }

    /// The tenants' objects.
    fn declared(&self) -> Vec<Value> {
        let output =
            kubectl(Some(&self.cluster.kubeconfig), &["get", "mail", "--all-namespaces", "--output", "json"], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Their versions, by kind and name.
    fn versions(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |o: &Value| {
            let name = format!("{} {}", text(&o["kind"]), text(&o["metadata"]["name"]));
            (name, text(&o["metadata"]["resourceVersion"]))
        };
        self.declared().iter().map(of).collect()
    }

    /// Waits until all of them have a finalizer and a status, and nobody has written one for a second; their versions.
    async fn settled(&self) -> BTreeMap<String, String> {
        let mut last = BTreeMap::new();
        for _ in 0..60 {
            let seen = |o: &Value| {
                o["metadata"]["finalizers"][0].is_string()
                    && o["status"]["observedGeneration"] == o["metadata"]["generation"]
            };
            let versions = self.versions();
            if self.declared().iter().all(seen) && versions == last {
                return versions;
            }
            last = versions;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("they do not come to rest: {:#?}", self.declared());
    }

    /// A kubeconfig of the account that the Deployment names, as kubelet would give it a token.
    fn account(&self, deployment: &Value) -> PathBuf {
        let account = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap();
        let made = kubectl(Some(&self.cluster.kubeconfig), &["create", "token", account, "--namespace", SYSTEM], "");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let token = String::from_utf8(made.stdout).unwrap();
        let text = std::fs::read_to_string(&self.cluster.kubeconfig).unwrap();
        let mut config: Value = serde_yaml::from_str(&text).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let path = self.folder.join("account.kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }
}

/// The operator as the Deployment says it: arguments, environment, account.
struct Operator {
    child: Child,
    log: PathBuf,
    url: String,
}

impl Operator {
    fn start(person: &Person, deployment: &Value) -> Operator {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let [port] = cluster::free_ports::<1>().unwrap();
        let log = person.folder.join("operator.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailtenant"));
        command.args(container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap())).env_clear();
        for variable in container["env"].as_array().unwrap() {
            let value = match variable["name"].as_str().unwrap() {
                // Its port is free in a Pod, and may not be on this machine.
                "HTTP_ADDRESS" => format!("127.0.0.1:{port}"),
                _ if variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace" => SYSTEM.to_owned(),
                _ => variable["value"].as_str().unwrap().to_owned(),
            };
            command.env(variable["name"].as_str().unwrap(), value);
        }
        command.env("KUBECONFIG", person.account(deployment)).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        Operator { child, log, url: format!("http://127.0.0.1:{port}") }
    }

    async fn page(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Waits until it has had a pass of that many objects of tenants.
    async fn has_seen_all(&self, objects: usize) {
        let mut passes = 0;
        for _ in 0..300 {
            let (_, metrics) = self.page("/metrics").await.unwrap();
            let of_tenants =
                metrics.lines().filter_map(|line| line.strip_prefix("mailtenant_reconcile_total{kind=\"Mail"));
            passes = of_tenants.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum();
            if passes >= objects {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("only {passes} passes");
    }

    /// Waits until the probes of the container are content and this replica leads. Nothing may have been forbidden to it.
    async fn works(&self, deployment: &Value) {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let probe = |name: &str| container[name]["httpGet"]["path"].as_str().unwrap().to_owned();
        let (alive, ready) = (probe("livenessProbe"), probe("readinessProbe"));
        for _ in 0..300 {
            if let (Some((200, _)), Some((200, _)), Some((200, metrics))) =
                (self.page(&alive).await, self.page(&ready).await, self.page("/metrics").await)
                && metrics.contains("mailtenant_leader 1\n")
            {
                let refused: Vec<&str> = metrics.lines().filter(|line| line.contains(r#"code="403""#)).collect();
                assert!(refused.is_empty(), "rights are missing: {refused:#?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not work: {:?}\n{}", self.page(&ready).await, std::fs::read_to_string(&self.log).unwrap());
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_page_installs_an_operator_that_works_and_removes_it() {
    let person = Person::new().await;
    let image = "registry.example.com/mailtenant:0.1.0";

    person.follow("Helm");
    assert_eq!(person.count("deployments"), 0, "the last command of the section removes the release");
    assert_eq!(person.count("customresourcedefinitions"), 7, "they are kept");
    assert_eq!(person.get("clusterrole/mailtenant"), Value::Null);

    person.follow("Kustomize");
    person.follow("One YAML file");
    person.follow("Afterwards");
    let deployment = person.get("deployment/mailtenant");
    person.pods_are_made(image).await;

    let operator = Operator::start(&person, &deployment);
    operator.works(&deployment).await;
    let lease = person.get("lease/mailtenant");
    assert!(lease["spec"]["holderIdentity"].is_string(), "the Lease is in the namespace of the Pod: {lease}");
    drop(operator);

    person.follow("Removing everything");
    person.is_empty().await;
    another_release_works_too(&person).await;
}

/// Another name, and every object that is optional and needs nothing else.
async fn another_release_works_too(person: &Person) {
    let (ok, said) = person.shell(&format!(
        "helm install crds charts/mailtenant-crds --namespace {SYSTEM} --create-namespace
         kubectl label namespace {SYSTEM} pod-security.kubernetes.io/enforce=restricted
         helm install post charts/mailtenant --namespace {SYSTEM} --set admission.finalizer=true --set admission.helpdesk=true
         helm upgrade crds charts/mailtenant-crds --namespace {SYSTEM}
         helm upgrade post charts/mailtenant --namespace {SYSTEM} --set log.level=debug"
    ));
    assert!(ok, "{said}");
    person.pods_are_made("localhost/mailtenant:0.1.0").await;
    let deployment = person.get("deployment/post-mailtenant");
    let operator = Operator::start(person, &deployment);
    operator.works(&deployment).await;
    let log = std::fs::read_to_string(&operator.log).unwrap();
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "the log is not JSON: {log}");

    let (ok, said) = person.shell("kubectl apply --server-side -k config/samples");
    assert!(ok, "{said}");
    let settled = person.settled().await;
    assert_eq!(settled.len(), 8, "{settled:?}");
    drop(operator);
    nothing_is_written_by_an_upgrade_and_a_rollback(person, &settled).await;
    it_goes_without_the_operator(person, settled.len()).await;
}

/// To other values and back, each time with an operator that has looked at all objects.
async fn nothing_is_written_by_an_upgrade_and_a_rollback(person: &Person, settled: &BTreeMap<String, String>) {
    for step in [
        "helm upgrade post charts/mailtenant --set log.level=info --set log.format=text --set replicaCount=3",
        "helm rollback post",
    ] {
        let (ok, said) = person.shell(&format!("{step} --namespace {SYSTEM}"));
        assert!(ok, "{step}: {said}");
        let deployment = person.get("deployment/post-mailtenant");
        let operator = Operator::start(person, &deployment);
        operator.works(&deployment).await;
        operator.has_seen_all(settled.len()).await;
        assert_eq!(person.versions(), *settled, "{step}: objects were written");
    }
}

/// Nothing goes with the release; who wants to be rid of the rest is freed by what the page says.
async fn it_goes_without_the_operator(person: &Person, objects: usize) {
    let pod = ends_late(person);
    let (ok, said) = person.shell(&format!(
        "helm uninstall post --namespace {SYSTEM}
         kubectl delete namespace tenant-acme --wait=false"
    ));
    assert!(ok, "{said}");
    assert_eq!(person.versions().len(), objects, "objects went with the release");
    std::thread::scope(|scope| {
        let page = scope.spawn(|| person.follow("Removing mailtenant and keeping the mail"));
        let (kept, page_waits) = (nothing_is_freed_while_it_runs(person, &pod), !page.is_finished());
        person.patch_finalizers(&pod, &json!(null));
        assert!(kept && page_waits, "finalizers were taken off although a Pod of the operator had not ended");
    });
    for _ in 0..300 {
        if person.count("customresourcedefinitions") == 0 && person.get("namespace/tenant-acme").is_null() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("left: {} {}", person.get("customresourcedefinitions"), person.get("namespace/tenant-acme"));
}

/// A Pod of the operator that takes its time to end, as one that drains; its name.
fn ends_late(person: &Person) -> String {
    let pod = person.get("pods")["items"][0]["metadata"]["name"].as_str().expect("a Pod").to_owned();
    person.patch_finalizers(&pod, &json!(["example.com/ends-late"]));
    pod
}

/// From the moment when the Pod was told to end, for longer than the rest of the page takes: whether no object lost its finalizer.
fn nothing_is_freed_while_it_runs(person: &Person, pod: &str) -> bool {
    let told = || person.get(&format!("pod/{pod}"))["metadata"]["deletionTimestamp"].is_string();
    let start = Instant::now();
    while !told() {
        assert!(start.elapsed() < Duration::from_secs(60), "the Pod is not told to end");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (objects, since) = (person.declared().len(), Instant::now());
    while since.elapsed() < Duration::from_secs(8) {
        let declared = person.declared();
        if declared.len() < objects || declared.iter().any(|o| !o["metadata"]["finalizers"][0].is_string()) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

#[test]
fn blocks_that_are_not_run_say_why() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install.md")).unwrap();
    assert_eq!(blocks().len() + text.matches("<!-- not run: ").count(), text.matches("```sh\n").count());
    assert!(blocks().len() >= 7);
}
