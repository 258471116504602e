//! The plugin as kubectl starts it, against a real kube-apiserver. No operator runs: statuses are written by the tests.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

#[path = "../../../tests/common/cluster.rs"]
mod cluster;
#[path = "../../../tests/common/folder.rs"]
mod folder;

use cluster::Cluster;
use folder::Folder;
use http::Request;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_kubectl-mailtenant");
const API: &str = "/apis/mailtenant.dev/v1alpha1";

/// A namespace of a test's own, and what it does there.
struct Place {
    cluster: &'static Cluster,
    client: kube::Client,
    ns: String,
}

impl Place {
    async fn new(name: &str) -> Place {
        let cluster = cluster::shared().await;
        Place { cluster, client: cluster.client().await, ns: cluster.namespace(name).await }
    }

    fn path(&self, kind: &str) -> String {
        let crds = mailtenant_api::crds::all();
        let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap();
        let plural = crd["spec"]["names"]["plural"].as_str().unwrap();
        match crd["spec"]["scope"] == "Cluster" {
            true => format!("{API}/{plural}"),
            false => format!("{API}/namespaces/{}/{plural}", self.ns),
        }
    }

    async fn send(&self, method: &str, path: &str, content: &str, body: &Value) -> Value {
        let body = if body.is_null() { vec![] } else { serde_json::to_vec(body).unwrap() };
        let request = Request::builder().method(method).uri(path).header("content-type", content).body(body).unwrap();
        self.client.request(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Makes an object that is ready.
    async fn make(&self, kind: &str, name: &str, spec: Value) {
        let object =
            json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.send("POST", &self.path(kind), "application/json", &object).await;
        self.says(kind, name, ("True", "Succeeded"), json!({})).await;
    }

    async fn get(&self, kind: &str, name: &str) -> Value {
        self.send("GET", &format!("{}/{name}", self.path(kind)), "application/json", &Value::Null).await
    }

    async fn patch(&self, kind: &str, name: &str, patch: Value) {
        self.send("PATCH", &format!("{}/{name}", self.path(kind)), "application/merge-patch+json", &patch).await;
    }

    /// Writes a status as the operator does, with `Ready` of this status and reason.
    async fn says(&self, kind: &str, name: &str, (ready, reason): (&str, &str), more: Value) {
        let condition = |type_: &str, status: &str| {
            json!({"type": type_, "status": status, "reason": reason, "message": format!("{reason} of {name}"),
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let object = self.get(kind, name).await;
        let mut conditions = vec![condition("Ready", ready)];
        if !object["metadata"]["deletionTimestamp"].is_null() {
            conditions.push(condition("DeletionBlocked", "True"));
        }
        let mut status = json!({"observedGeneration": object["metadata"]["generation"], "conditions": conditions});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("{}/{name}/status", self.path(kind));
        self.send("PATCH", &path, "application/merge-patch+json", &json!({"status": status})).await;
    }

    /// Deletes an object that has a finalizer: it stays.
    async fn going(&self, kind: &str, name: &str, reason: &str) {
        self.patch(kind, name, json!({"metadata": {"finalizers": ["mailtenant.dev/finalizer"]}})).await;
        self.send("DELETE", &format!("{}/{name}", self.path(kind)), "application/json", &Value::Null).await;
        self.says(kind, name, ("False", reason), json!({})).await;
    }

    /// A tenant on backends of the namespace's own name.
    async fn tenant(&self) {
        let ns = &self.ns;
        self.make("GroupwareBackend", ns, json!({"allowedNamespaces": {"from": "Names", "names": [ns]},
            "hosts": {"mx": [{"host": "mx1.mail.example.net"}]},
            "sogo": {"database": {"host": "db", "name": "mail", "tls": "Disable", "credentialsSecretRef": {"name": "db"}},
                "doveadm": {"url": "http://dovecot:8080/doveadm/v1", "apiKeySecretRef": {"name": "doveadm", "key": "apiKey"}}}})).await;
        self.make(
            "DNSBackend",
            ns,
            json!({"allowedNamespaces": {"from": "Names", "names": [ns]}, "zones": [{"name": "acme.test"}],
            "powerdns": {"url": "http://pdns:8081", "apiKeySecretRef": {"name": "pdns", "key": "apiKey"}}}),
        )
        .await;
        self.make("MailInstance", "acme", json!({"backendRef": {"name": ns}, "storage": "10Gi"})).await;
        self.make(
            "MailDomain",
            "main",
            json!({"instanceRef": {"name": "acme"}, "domain": "acme.test",
            "dns": {"mode": "Managed", "backendRef": {"name": ns}}, "cutover": {"mode": "Manual"}}),
        )
        .await;
        for name in ["alice", "bob"] {
            let spec = json!({"domainRef": {"name": "main"}, "localPart": name, "quota": "6Gi"});
            self.make("Mailbox", name, spec).await;
        }
        self.make(
            "MailAlias",
            "info",
            json!({"domainRef": {"name": "main"}, "localPart": "info",
            "targets": [{"mailboxRef": {"name": "alice"}}]}),
        )
        .await;
    }

    fn plugin(&self, words: &[&str], input: &str) -> Output {
        run(Command::new(BINARY).args(words).args(["-n", &self.ns]), &self.cluster.kubeconfig, input)
    }

    /// Runs it and expects this exit code; gives what it printed.
    fn expect(&self, words: &[&str], code: i32) -> String {
        let output = self.plugin(words, "");
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &[&str], code: i32) -> Value {
        serde_json::from_str(&self.expect(&[words, &["-o", "json"]].concat(), code)).unwrap()
    }
}

fn run(command: &mut Command, kubeconfig: &Path, input: &str) -> Output {
    command.env("KUBECONFIG", kubeconfig).env_remove("NO_COLOR");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who needs no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// PATH with kubectl and the plugin in front.
fn path() -> std::ffi::OsString {
    let kubectl = cluster::binary("kubectl").unwrap();
    let folders = [Path::new(BINARY).parent().unwrap().to_owned(), kubectl.parent().unwrap().to_owned()];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path))).unwrap()
}

/// Pastes a command into a shell of POSIX and no more, and types what it asks for.
fn paste(p: &Place, command: &str, typed: &str) -> Output {
    run(Command::new("dash").args(["-c", command]).env("PATH", path()), &p.cluster.kubeconfig, typed)
}

#[tokio::test]
async fn a_tenant_is_shown_and_exit_codes_tell_whether_it_is_ready() {
    let p = Place::new("tree").await;
    p.tenant().await;
    let shown = p.expect(&["tree"], 0);
    for word in ["MailInstance/acme", "└─ MailDomain/main", "├─ Mailbox/alice", "└─ MailAlias/info", "-> alice"]
    {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(!shown.contains('\x1b'), "no colours but on a terminal: {shown}");
    assert_eq!(p.expect(&["why", "alice"], 0).trim(), "Mailbox/alice: Ready");
    p.says("Mailbox", "alice", ("False", "QuotaExceeded"), json!({})).await;
    p.says("MailAlias", "info", ("False", "MailboxNotReady"), json!({})).await;
    let tree = p.json(&["tree", "acme"], 2);
    let alias = &tree["items"][0]["children"][0]["children"][2];
    assert_eq!(alias["waitsFor"], "Mailbox/alice (QuotaExceeded)", "{tree}");
    let said = p.expect(&["why", "mal/info"], 2);
    assert!(said.starts_with("MailAlias/info: MailboxNotReady\n  waits for Mailbox/alice: QuotaExceeded\n"), "{said}");
    assert!(said.contains("QuotaExceeded of alice") && said.contains("kubectl patch mailinstance acme"), "{said}");
    for wrong in [&["why", "nobody"][..], &["why", "pod/x"], &["walk"], &[], &["tree", "-o", "xml"]] {
        let output = p.plugin(wrong, "");
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{wrong:?}: {output:?}");
    }
}

/// What is broken, what `why` is asked about, and the words of the status that the command leads to.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// Each command is pasted into a shell, and taken by kubectl and the apiserver. That it mends is for `e2e/plugin.rs`.
const STEPS: &[Row] = &[
    ("MailDomain", "main", "AwaitingApproval", "/spec/cutover/approved=true"),
    ("MailDomain", "main", "DNSConflict", "/spec/dns/conflictPolicy=\"Adopt\""),
    ("Mailbox", "alice", "ExistsAtBackend", "/spec/adoptionPolicy=\"IfUnowned\""),
    ("Mailbox", "alice", "SecretNotOwned", "/spec/credentialsSecret=\"alice-credentials\""),
    ("Mailbox", "alice", "Paused", "/metadata/annotations/mailtenant.dev~1paused=null"),
    ("Mailbox", "alice", "Drifted", "/spec/managementPolicy=\"Full\""),
    ("MailInstance", "acme", "QuotaExceeded", "/spec/storage=\"12Gi\""),
];

#[tokio::test]
async fn the_commands_can_be_pasted() {
    let p = Place::new("paste").await;
    p.tenant().await;
    for (kind, name, reason, wanted) in STEPS {
        if *reason == "Paused" {
            p.expect(&["pause", &format!("{kind}/{name}")], 0);
        }
        p.says(kind, name, ("False", reason), json!({})).await;
        let why = p.json(&["why", &format!("{kind}/{name}")], 2);
        let command = why["step"]["commands"][0].as_str().unwrap_or_else(|| panic!("{reason}: {why}"));
        let output = paste(&p, command, "");
        assert!(output.status.success(), "{reason}: {command}: {output:?}");
        let (pointer, value) = wanted.split_once('=').unwrap();
        let object = p.get(kind, name).await;
        let found = object.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found.to_string(), value, "{reason}: {command}");
        p.says(kind, name, ("True", "Succeeded"), json!({})).await;
    }
}

/// A value that is typed reaches the Secret, other keys stay, and it stands on no command line.
#[tokio::test]
async fn a_missing_key_of_a_secret_is_asked_for() {
    let p = Place::new("typed").await;
    p.tenant().await;
    p.patch("Mailbox", "alice", json!({"spec": {"password": {"secretRef": {"name": "pw", "key": "password"}}}})).await;
    let secrets = format!("/api/v1/namespaces/{}/secrets", p.ns);
    let secret = json!({"metadata": {"name": "pw"}, "stringData": {"other": "stays"}});
    p.send("POST", &secrets, "application/json", &secret).await;
    let message = "Secret pw has no key password: add it";
    let ready = json!({"type": "Ready", "status": "False", "reason": "SecretNotFound", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    p.says("Mailbox", "alice", ("False", "SecretNotFound"), json!({"conditions": [ready]})).await;
    let why = p.json(&["why", "mbx/alice"], 2);
    let command = why["step"]["commands"][0].as_str().unwrap();
    let output = paste(&p, command, "typed \\by; \"hand\" \n");
    assert!(output.status.success(), "{command}: {output:?}");
    assert!(!text(&output.stdout).contains("typed") && !text(&output.stderr).contains("typed"), "{output:?}");
    let data = p.send("GET", &format!("{secrets}/pw"), "application/json", &Value::Null).await["data"].clone();
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let wanted = json!({"other": STANDARD.encode("stays"), "password": STANDARD.encode("typed \\by; \"hand\" ")});
    assert_eq!(data, wanted);
}

/// A certificate has many lines, so it comes from a file.
#[tokio::test]
async fn a_certificate_authority_comes_from_a_file() {
    let p = Place::new("cafile").await;
    p.tenant().await;
    let database = json!({"tls": "VerifyFull", "caSecretRef": {"name": "berlin-ca"}});
    p.patch("GroupwareBackend", &p.ns, json!({"spec": {"sogo": {"database": database}}})).await;
    let message = format!("Secret {}/berlin-ca is not there: create it", p.ns);
    let ready = json!({"type": "Ready", "status": "False", "reason": "SecretNotFound", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    p.says("GroupwareBackend", &p.ns, ("False", "SecretNotFound"), json!({"conditions": [ready]})).await;
    let why = p.json(&["why", &format!("gwb/{}", p.ns), "--operator-namespace", &p.ns], 2);
    assert_eq!(why["step"]["replace"], json!(["FILE"]), "{why}");
    let folder = Folder::new("cafile");
    let (file, pem) = (folder.0.join("ca.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    std::fs::write(&file, pem).unwrap();
    let command = why["step"]["commands"][0].as_str().unwrap().replace("FILE", file.to_str().unwrap());
    let output = paste(&p, &command, "");
    assert!(output.status.success(), "{command}: {output:?}");
    let secret = format!("/api/v1/namespaces/{}/secrets/berlin-ca", p.ns);
    let data = p.send("GET", &secret, "application/json", &Value::Null).await["data"].clone();
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    assert_eq!(data, json!({"ca.crt": STANDARD.encode(pem)}));
}

/// Whoever pastes a command may do so later: it does not edit another zone than the one that it was made for.
#[tokio::test]
async fn a_zone_that_has_moved_is_not_edited_at_its_old_place() {
    let p = Place::new("zones").await;
    p.tenant().await;
    let zone = |name: &str| json!({"name": name, "allowedNamespaces": {"from": "Names", "names": ["other"]}});
    let zones = async |zones: Value| p.patch("DNSBackend", &p.ns, json!({"spec": {"zones": zones}})).await;
    zones(json!([zone("acme.test"), zone("b.test")])).await;
    p.says("MailDomain", "main", ("False", "BackendNotAllowed"), json!({})).await;
    let why = p.json(&["why", "md/main"], 2);
    let command = why["step"]["commands"][0].as_str().unwrap_or_else(|| panic!("{why}"));
    let names = async || -> Vec<Value> {
        let zones = p.get("DNSBackend", &p.ns).await["spec"]["zones"].as_array().unwrap().clone();
        zones.iter().map(|z| z["allowedNamespaces"]["names"].clone()).collect()
    };
    zones(json!([zone("b.test"), zone("acme.test")])).await;
    let output = paste(&p, command, "");
    assert!(!output.status.success(), "{command}: {output:?}");
    assert_eq!(names().await, [json!(["other"]), json!(["other"])]);
    zones(json!([zone("acme.test"), zone("b.test")])).await;
    let output = paste(&p, command, "");
    assert!(output.status.success(), "{command}: {output:?}");
    assert_eq!(names().await, [json!(["other", p.ns]), json!(["other"])]);
}

#[tokio::test]
async fn switches_are_set_by_the_plugin_s_own_field_manager() {
    let p = Place::new("switch").await;
    p.tenant().await;
    let annotation =
        |object: &Value, name: &str| object["metadata"]["annotations"][format!("mailtenant.dev/{name}")].clone();
    p.expect(&["reconcile", "mailbox/alice", "md/main"], 0);
    p.expect(&["rotate-password", "alice"], 0);
    p.expect(&["rotate-dkim", "main"], 0);
    p.expect(&["pause", "mi/acme"], 0);
    p.expect(&["approve", "main"], 0);
    let alice = p.get("Mailbox", "alice").await;
    assert!(
        annotation(&alice, "reconcile-requested-at").is_string() && annotation(&alice, "rotate-password").is_string()
    );
    let managers = alice["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|m| m["manager"] == "kubectl-mailtenant"), "{managers:?}");
    let main = p.get("MailDomain", "main").await;
    assert!(annotation(&main, "rotate-dkim").is_string() && main["spec"]["cutover"]["approved"] == true);
    assert_eq!(annotation(&p.get("MailInstance", "acme").await, "paused"), "true");
    p.expect(&["resume", "mi/acme"], 0);
    assert!(annotation(&p.get("MailInstance", "acme").await, "paused").is_null());
    // Twice is a new wish, and nobody answers it here.
    let output = p.plugin(&["rotate-password", "alice", "--wait", "--timeout", "1"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("waiting for Mailbox/alice"), "{output:?}");
    assert_ne!(annotation(&p.get("Mailbox", "alice").await, "rotate-password"), annotation(&alice, "rotate-password"));
    for wrong in [
        &["approve", "mbx/alice"][..],
        &["pause", "alice"],
        &["rotate-password", "nobody"],
        &["pause", &format!("gwb/{}", p.ns)],
    ] {
        p.expect(wrong, 1);
    }
}

#[tokio::test]
async fn an_answer_is_waited_for() {
    let p = Place::new("wait").await;
    p.tenant().await;
    let mut child = Command::new(BINARY)
        .args(["reconcile", "mbx/alice", "--wait", "-n", &p.ns])
        .env("KUBECONFIG", &p.cluster.kubeconfig)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stamp = loop {
        let alice = p.get("Mailbox", "alice").await;
        let stamp = alice["metadata"]["annotations"]["mailtenant.dev/reconcile-requested-at"].clone();
        if stamp.is_string() {
            break stamp;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended without asking");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    p.says("Mailbox", "alice", ("True", "Succeeded"), json!({"lastHandledReconcileAt": stamp})).await;
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_explained_and_asked_for() {
    let p = Place::new("orphan").await;
    p.tenant().await;
    let orphaned =
        async || p.get("Mailbox", "alice").await["metadata"]["annotations"]["mailtenant.dev/orphan"] == "true";
    p.expect(&["orphan", "mbx/alice", "--yes"], 1);
    p.going("Mailbox", "alice", "ReferencedByAlias").await;
    p.expect(&["orphan", "mbx/alice", "--yes"], 1);
    p.says("Mailbox", "alice", ("False", "BackendUnreachable"), json!({})).await;
    let output = p.plugin(&["orphan", "mbx/alice"], "yes\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("stay at the server") && !orphaned().await, "{output:?}");
    let output = p.plugin(&["orphan", "mbx/alice"], "alice\n");
    assert!(output.status.success() && orphaned().await, "{output:?}");

    p.expect(&["accept-mass-loss", "acme", "--yes"], 1);
    p.says("MailInstance", "acme", ("False", "MassLossHeld"), json!({"massLoss": "Held"})).await;
    assert_eq!(p.plugin(&["accept-mass-loss", "acme"], "no\n").status.code(), Some(1));
    p.expect(&["accept-mass-loss", "acme", "--yes"], 0);
    let instance = p.get("MailInstance", "acme").await;
    assert!(instance["metadata"]["annotations"]["mailtenant.dev/accept-mass-loss"].is_string());
}

/// Gives a user rights in the namespace.
async fn rights(p: &Place, user: &str, rules: Value) {
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", p.ns);
    let role = json!({"metadata": {"name": user}, "rules": rules});
    p.send("POST", &format!("{rbac}/roles"), "application/json", &role).await;
    let binding = json!({"metadata": {"name": user}, "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": user, "apiGroup": "rbac.authorization.k8s.io"}});
    p.send("POST", &format!("{rbac}/rolebindings"), "application/json", &binding).await;
}

#[tokio::test]
async fn what_may_not_be_read_is_named_and_the_rest_is_shown() {
    let p = Place::new("rights").await;
    p.tenant().await;
    let some = ["mailinstances", "maildomains", "mailboxes"];
    rights(&p, "some", json!([{"apiGroups": ["mailtenant.dev"], "resources": some, "verbs": ["get", "list"]}])).await;
    // The authorizer hears of a new role a moment later.
    let output = loop {
        let output = p.plugin(&["tree", "--as", "some"], "");
        if output.status.code() != Some(1) {
            break output;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let (shown, left_out) = (text(&output.stdout), text(&output.stderr));
    assert!(shown.contains("Mailbox/alice") && !shown.contains("MailAlias"), "{shown}");
    assert!(
        left_out.contains(&format!("cannot list mailaliases in namespace {}: forbidden (403)", p.ns)),
        "{left_out}"
    );
    assert!(left_out.contains("cannot list groupwarebackends in the cluster"), "{left_out}");
    let output = p.plugin(&["pause", "mbx/alice", "--as", "some"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot patch mailboxes in namespace"), "{output:?}");
    let output = p.plugin(&["tree", "--as", "nobody"], "");
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true), "{output:?}");
    p.says("MailInstance", "acme", ("False", "BackendNotFound"), json!({})).await;
    let why = p.json(&["why", "mi/acme", "--as", "some"], 2);
    assert_eq!(why["chain"][1]["reason"], "Unread", "{why}");
}

#[tokio::test]
async fn a_bundle_has_what_helps_and_no_secret() {
    let p = Place::new("bundle").await;
    p.tenant().await;
    let kinds = ["mailinstances", "maildomains", "mailboxes", "mailaliases"];
    rights(
        &p,
        "helper",
        json!([{"apiGroups": ["mailtenant.dev"], "resources": kinds, "verbs": ["list"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["list"]}]),
    )
    .await;
    let secret = json!({"metadata": {"name": "alice-mail"}, "stringData": {"password": "must-not-leave-1"}});
    p.send("POST", &format!("/api/v1/namespaces/{}/secrets", p.ns), "application/json", &secret).await;
    let note = json!({"metadata": {"annotations": {"note": "password=must-not-leave-2 {SHA512-CRYPT}$6$must-not-leave-3",
        "json": "{\"accessToken\":\"must-not-leave-5\\\"must-not-leave-6\"}", "passphrase": "must-not-leave-7\n  must-not-leave-8\n",
        "yaml": "clientSecret: must-not-leave-9\npassword: >\n  must-not-leave-10\nurl: imap://x:a@must-not-leave-11@host\n",
        "kubectl.kubernetes.io/last-applied-configuration": "must-not-leave-4"}}});
    p.patch("Mailbox", "alice", note).await;
    let event = json!({"metadata": {"name": "e1", "namespace": p.ns}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
        "reason": "Retained", "action": "x", "reportingController": "mailtenant", "reportingInstance": "x", "note": "bob@acme.test is switched off",
        "regarding": {"apiVersion": "mailtenant.dev/v1alpha1", "kind": "Mailbox", "name": "bob", "namespace": p.ns}});
    p.send("POST", &format!("/apis/events.k8s.io/v1/namespaces/{}/events", p.ns), "application/json", &event).await;
    let kept = p.expect(&["retained"], 0);
    assert!(kept.contains("Mailbox/bob") && kept.contains("bob@acme.test is switched off"), "{kept}");

    let folder = Folder::new("bundle");
    let file = folder.0.join("support.tar.gz");
    let words = ["support-bundle", "--file", file.to_str().unwrap(), "--as", "helper"];
    let output = loop {
        let output = p.plugin(&words, "");
        if !text(&output.stderr).contains("mailaliases") {
            break output;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(output.status.success(), "{output:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let progress = text(&output.stderr);
    assert!(progress.contains("reading objects\n") && progress.contains("cannot list pods"), "{progress}");
    let untar = Command::new("tar").args(["-xzf", file.to_str().unwrap(), "-C", folder.0.to_str().unwrap()]).status();
    assert!(untar.unwrap().success());
    let read = |name: &str| std::fs::read_to_string(folder.0.join("mailtenant-support").join(name)).unwrap();
    assert!(read("objects/mailboxes.yaml").contains("name: alice") && read("events.yaml").contains("Retained"));
    assert!(read("tree.yaml").contains("MailDomain") && read("about.yaml").contains("groupwarebackends"));
    let all = Command::new("grep")
        .args(["-r", "must-not-leave", folder.0.join("mailtenant-support").to_str().unwrap()])
        .output();
    assert_eq!(text(&all.unwrap().stdout), "");
}

#[tokio::test]
async fn what_no_object_declares_is_listed() {
    let p = Place::new("undeclared").await;
    p.tenant().await;
    p.expect(&["undeclared"], 0);
    let condition = json!({"type": "Undeclared", "status": "True", "reason": "Succeeded", "message": "carol@acme.test at the backend",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let conditions = [p.get("MailDomain", "main").await["status"]["conditions"][0].clone(), condition];
    p.says("MailDomain", "main", ("True", "Succeeded"), json!({"conditions": conditions})).await;
    let listed = p.json(&["undeclared"], 2);
    assert_eq!(listed[0]["object"], "MailDomain/main");
    assert!(listed[0]["message"].as_str().unwrap().contains("carol@"));
}

#[tokio::test]
async fn records_are_printed_in_each_form() {
    let p = Place::new("dns").await;
    p.tenant().await;
    p.expect(&["dns", "main"], 1);
    let record = |type_: &str, value: &str, purpose: &str, state: &str| json!({"name": "acme.test", "type": type_, "value": value, "purpose": purpose, "state": state});
    let records = json!([
        record("MX", "10 mx1.mail.example.net.", "MX", "Missing"),
        record("TXT", "v=spf1 a include:spf.mail.example.net -all", "SPF", "Wrong"),
    ]);
    // The same records: before MX is asked for, and then.
    for (state, reason, may) in [("Provisioned", "AwaitingRecords", false), ("CutoverReady", "AwaitingRecords", true)] {
        let condition = |type_: &str| json!({"type": type_, "status": "False", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let more = json!({"state": state, "dns": {"zone": "acme.test", "records": records},
            "conditions": [condition("Ready"), condition("CutOver")]});
        p.says("MailDomain", "main", ("False", reason), more).await;
        for (format, words) in [
            ("table", "MX    Missing"),
            ("zone", "acme.test. 3600 IN MX 10 mx1.mail.example.net."),
            ("terraform", "resource \"dns_mx_record_set\" \"mail_acme_test\""),
            ("dnsendpoint", "dnsName: acme.test"),
            ("json", "\"state\": \"Missing\""),
            ("yaml", "state: Missing"),
        ] {
            let shown = p.expect(&["dns", "acme.test", "-o", format], 2);
            let pasted = shown.lines().any(|line| line.contains(words) && !line.starts_with([';', '#']));
            assert_eq!(pasted, may || ["table", "json", "yaml"].contains(&format), "{state}, {format}: {shown}");
            let spf = |line: &str| line.contains("v=spf1") && !line.starts_with([';', '#']);
            let beside = ["zone", "terraform", "dnsendpoint"].contains(&format) && shown.lines().any(spf);
            assert!(!beside, "{state}, {format}: {shown}");
        }
    }
}

#[tokio::test]
async fn kubectl_finds_it_and_shells_complete_it() {
    let p = Place::new("kubectl").await;
    p.tenant().await;
    let mut kubectl = Command::new(cluster::binary("kubectl").unwrap());
    let output = run(kubectl.args(["mailtenant", "tree", "-n", &p.ns]).env("PATH", path()), &p.cluster.kubeconfig, "");
    assert!(output.status.success() && text(&output.stdout).contains("MailInstance/acme"), "{output:?}");
    for (shell, check) in [("bash", true), ("zsh", false), ("fish", false)] {
        let script = p.expect(&["completion", shell], 0);
        assert!(script.contains("support-bundle"), "{shell}: {script}");
        if check {
            let output = run(Command::new("bash").args(["-n", "/dev/stdin"]), &p.cluster.kubeconfig, &script);
            assert!(output.status.success(), "{output:?}");
        }
    }
    assert!(p.expect(&["--help"], 0).contains("Exit codes: 0 fine"));
}

/// Each line of `docs/plugin.md` is understood, and each command has an example there.
#[test]
fn the_page_shows_every_command_as_it_is() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plugin.md");
    let page = std::fs::read_to_string(page).unwrap();
    let lines: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("kubectl mailtenant ")).collect();
    for line in &lines {
        let words = line.split(" >").next().unwrap().split_whitespace();
        let output = run(Command::new(BINARY).args(words).env("HOME", "/proc"), Path::new("/proc/none"), "");
        let understood = output.status.success() || text(&output.stderr).starts_with("error: no cluster: ");
        assert!(understood, "{line}: {}", text(&output.stderr));
    }
    let help = text(&Command::new(BINARY).arg("--help").output().unwrap().stdout);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands =
        commands.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    for command in commands.filter(|c| *c != "help") {
        let example = |line: &&str| line.split_whitespace().next() == Some(command);
        assert!(lines.iter().any(example), "docs/plugin.md has no example of {command}");
    }
}

/// The template says what a release has to fill in, invents nothing, and names the binary as it is.
#[test]
fn the_template_for_krew_is_one_that_can_be_filled_in() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/krew/mailtenant.yaml");
    let content = std::fs::read_to_string(file).unwrap();
    let manifest: Value = serde_yaml::from_str(&content).unwrap();
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&json!("Plugin"), &json!("mailtenant")));
    let binary = Path::new(BINARY).file_name().unwrap().to_str().unwrap();
    let mut open = vec![manifest["spec"]["version"].as_str().unwrap()];
    for platform in manifest["spec"]["platforms"].as_array().unwrap() {
        assert_eq!(platform["bin"], binary);
        open.extend(["uri", "sha256"].map(|field| platform[field].as_str().unwrap()));
    }
    let (head, _) = content.split_once("\napiVersion:").unwrap();
    for word in open {
        let documented = head.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|w| w == word);
        assert!(documented && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'), "{word}");
    }
}
