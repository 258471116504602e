//! `mailtenant wellknown` as it runs in a cluster: with the rights of its own account and no others, asked by HTTP.

use crate::cluster::{self, Cluster};
use crate::tools::{kubectl, own_cluster};
use crate::{call, create};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SYSTEM: &str = "mailtenant-system";
const PLATFORM: &str = "wellknown.mail.example.net";
const POLICY: &str = "/.well-known/mta-sts.txt";
const OUTLOOK: &str = "/autodiscover/autodiscover.xml";

/// The account of `config/wellknown/rbac.yaml`, as kubelet would give it a token.
async fn account(cluster: &Cluster) -> PathBuf {
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {SYSTEM}}}\n---\n");
    let rights = namespace + &std::fs::read_to_string(crate::tools::top().join("config/wellknown/rbac.yaml")).unwrap();
    let made = kubectl(Some(&cluster.kubeconfig), &["apply", "--server-side", "-f", "-"], &rights);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = kubectl(Some(&cluster.kubeconfig), &["create", "token", "mailtenant-wellknown", "-n", SYSTEM], "");
    assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
    let text = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({"token": String::from_utf8(token.stdout).unwrap().trim()});
    let path = cluster.kubeconfig.with_file_name(format!("wellknown-{}.kubeconfig", cluster::unique()));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// A client with the rights of a kubeconfig.
async fn client_of(kubeconfig: &Path) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

struct Service {
    child: Child,
    documents: String,
    health: String,
    http: reqwest::Client,
}

impl Service {
    async fn start(kubeconfig: &Path) -> Service {
        let [documents, health] = cluster::free_ports::<2>().unwrap().map(|port| format!("127.0.0.1:{port}"));
        let child = Command::new(env!("CARGO_BIN_EXE_mailtenant"))
            .args(["wellknown", "--listen-address", &documents, "--http-address", &health, "--log-format=json"])
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let service = Service { child, documents, health, http: reqwest::Client::new() };
        for _ in 0..300 {
            let ready = service.http.get(format!("http://{}/readyz", service.health)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return service;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it is never ready");
    }

    async fn ask(&self, host: &str, path: &str, body: Option<String>) -> (u16, String) {
        let url = format!("http://{}{path}", self.documents);
        let request = match body {
            Some(body) => self.http.post(url).body(body),
            None => self.http.get(url),
        };
        let answer = request.header("host", host).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn get(&self, host: &str, path: &str) -> (u16, String) {
        self.ask(host, path, None).await
    }

    /// Waits until a document is answered like that.
    async fn until(&self, host: &str, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let mut last = (0, String::new());
        for _ in 0..300 {
            last = self.get(host, path).await;
            if wanted(last.0, &last.1) {
                return last.1;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{host}{path}: {last:?}");
    }

    async fn metrics(&self) -> String {
        self.http.get(format!("http://{}/metrics", self.health)).send().await.unwrap().text().await.unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tenant with one domain, as the operator leaves it.
struct Tenant {
    client: Client,
    namespace: String,
    domain: String,
    uid: String,
}

impl Tenant {
    async fn new(cluster: &Cluster) -> Tenant {
        let (client, namespace) = (cluster.client().await, cluster.namespace("wellknown").await);
        let domain = format!("{namespace}.test");
        let of = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let endpoint = |port: u16| json!({"host": "imap.mail.example.net", "port": port});
        let hosts = json!({"mx": [{"host": "mx1.mail.example.net"}], "imap": endpoint(993), "submission": endpoint(465),
            "wellKnown": PLATFORM});
        let sogo = json!({"database": {"host": "db", "name": "mail", "credentialsSecretRef": {"name": "db"}},
            "doveadm": {"url": "https://dovecot:8080/doveadm/v1", "apiKeySecretRef": {"name": "d", "key": "k"}}});
        let backend = json!({"allowedNamespaces": {"from": "All"}, "hosts": hosts, "sogo": sogo});
        let dns = json!({"mode": "Manual", "mtaSts": {"mode": "Testing"}});
        let mut uid = String::new();
        for object in [
            of("GroupwareBackend", &namespace, backend),
            of("MailInstance", "i", json!({"backendRef": {"name": namespace}, "storage": "1Gi"})),
            of("MailDomain", "d", json!({"instanceRef": {"name": "i"}, "domain": domain, "dns": dns})),
        ] {
            let made = create(&client, &namespace, &object, false).await.unwrap();
            uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
        }
        let tenant = Tenant { client, namespace, domain, uid };
        tenant.serves("Testing").await;
        tenant
    }

    /// The operator's word of what is served.
    async fn serves(&self, mode: &str) {
        let path = format!("/apis/mailtenant.dev/v1alpha1/namespaces/{}/maildomains/d/status", self.namespace);
        let sts = json!({"mode": mode, "mx": ["mx1.mail.example.net"], "maxAge": 604800});
        let status = json!({"status": {"dns": {"mtaSts": sts}}});
        call(&self.client, "PATCH", &path, "application/merge-patch+json", &status).await.unwrap();
    }

    async fn claim(&self, uid: &str) {
        let owner = json!({"namespace": self.namespace, "name": "d", "uid": uid});
        let claim = json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": "MailDomainClaim",
            "metadata": {"name": self.domain}, "spec": {"owner": owner}});
        create(&self.client, "", &claim, false).await.unwrap();
    }

    async fn release(&self) {
        let path = format!("/apis/mailtenant.dev/v1alpha1/maildomainclaims/{}", self.domain);
        call(&self.client, "DELETE", &path, "application/json", &Value::Null).await.unwrap();
    }
}

fn outlook(address: &str) -> Option<String> {
    Some(format!("<Autodiscover><Request><EMailAddress>{address}</EMailAddress></Request></Autodiscover>"))
}

#[tokio::test]
async fn claimed_domains_are_served_and_no_others() {
    let cluster = own_cluster().await;
    let service = Service::start(&account(cluster).await).await;
    let tenant = Tenant::new(cluster).await;
    let (domain, host) = (&tenant.domain, format!("mta-sts.{}", tenant.domain));
    let settings = format!("autoconfig.{domain}");
    assert_eq!(service.get(&host, POLICY).await.0, 404, "nobody holds the name");

    // Somebody else's claim, then its own.
    tenant.claim("00000000-0000-0000-0000-000000000000").await;
    let other = Tenant::new(cluster).await;
    other.claim(&other.uid).await;
    service.until(&format!("mta-sts.{}", other.domain), POLICY, |code, _| code == 200).await;
    assert_eq!(service.get(&host, POLICY).await.0, 404, "the claim came before, and is of another uid");
    tenant.release().await;
    tenant.claim(&tenant.uid).await;
    let text = service.until(&host, POLICY, |code, _| code == 200).await;
    assert_eq!(text, "version: STSv1\r\nmode: testing\r\nmx: mx1.mail.example.net\r\nmax_age: 604800\r\n");

    // What the operator says next is served within a moment.
    tenant.serves("Enforce").await;
    service.until(&host, POLICY, |_, text| text.contains("mode: enforce")).await;

    let (code, xml) = service.get(&settings, "/mail/config-v1.1.xml").await;
    assert!(code == 200 && xml.contains("<hostname>imap.mail.example.net</hostname>"), "{xml}");
    let autodiscover = format!("autodiscover.{domain}");
    for (host, address, status) in [
        (autodiscover.as_str(), format!("a&amp;b@{domain}"), 200),
        (PLATFORM, format!("nobody@{domain}"), 200),
        (PLATFORM, "a@stranger.test".into(), 404),
    ] {
        let (code, xml) = service.ask(host, OUTLOOK, outlook(&address)).await;
        assert_eq!((code, xml.contains("<LoginName>")), (status, status == 200), "{host} {address}: {xml}");
    }
    let (code, profile) = service.get(&settings, &format!("/mail/mail.mobileconfig?email=a@{domain}")).await;
    assert!(code == 200 && profile.contains("com.apple.mail.managed"), "{profile}");
    for (host, status) in [("mta-sts.stranger.test", 404), ("stranger.test", 421), ("127.0.0.1", 421)] {
        assert_eq!(service.get(host, POLICY).await.0, status, "{host}");
    }
    assert_eq!(service.get("x", &format!("/served?domain={host}")).await.0, 200);

    // A name that is given up is served no longer.
    tenant.release().await;
    service.until(&host, POLICY, |code, _| code == 404).await;
    assert_eq!(service.get(&settings, "/mail/config-v1.1.xml").await.0, 404);
    let metrics = service.metrics().await;
    let answered =
        |line: &str| line.starts_with("mailtenant_wellknown_requests_total{document=\"mta-sts\",code=\"200\"}");
    assert!(metrics.lines().any(answered) && !metrics.contains(domain.as_str()), "{metrics}");
    assert!(!metrics.contains("code=\"403\""), "rights are missing: {metrics}");
}

#[tokio::test]
async fn its_account_reads_four_kinds_and_no_secret() {
    let cluster = own_cluster().await;
    let account = account(cluster).await;
    let client = client_of(&account).await;
    let may = async |verb: &str, group: &str, resource: &str| {
        let attributes = json!({"verb": verb, "group": group, "resource": resource});
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        call(&client, "POST", path, "application/json", &review).await.unwrap()["status"]["allowed"] == true
    };
    let group = "mailtenant.dev";
    for kind in ["maildomains", "maildomainclaims", "mailinstances", "groupwarebackends"] {
        for (verb, allowed) in
            [("get", true), ("list", true), ("watch", true), ("create", false), ("patch", false), ("delete", false)]
        {
            assert_eq!(may(verb, group, kind).await, allowed, "{verb} {kind}");
        }
    }
    for (group, resource) in [
        ("", "secrets"),
        ("", "configmaps"),
        ("", "pods"),
        (group, "mailboxes"),
        (group, "mailaliases"),
        (group, "dnsbackends"),
        ("*", "*"),
    ] {
        for verb in ["get", "list", "watch", "create", "patch", "*"] {
            assert!(!may(verb, group, resource).await, "{verb} {resource}");
        }
    }
    let secrets = kubectl(Some(&account), &["get", "secrets", "--all-namespaces"], "");
    assert!(String::from_utf8_lossy(&secrets.stderr).contains("forbidden"), "{secrets:?}");
}

/// One connection with these bytes; what comes back until the other side ends it.
async fn raw(service: &Service, bytes: String) -> String {
    let mut stream = TcpStream::connect(&service.documents).await.unwrap();
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answer = vec![];
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    let _ = read.await.expect("the connection is ended by the other side");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn nobody_holds_it_up_by_what_he_sends() {
    let cluster = own_cluster().await;
    let mut service = Service::start(&account(cluster).await).await;
    let close = "connection: close\r\n";
    let post = |head: &str| format!("POST {OUTLOOK} HTTP/1.1\r\nhost: {PLATFORM}\r\n{close}{head}\r\n");
    let big = "x".repeat(20_000);
    let slow = format!("GET {POLICY} HTTP/1.1\r\nhost: mta-sts.a.te");
    let stuck = post("content-length: 100\r\n") + "begun";
    let (long, body, slow, stuck, two) = tokio::join!(
        raw(&service, format!("GET /{big} HTTP/1.1\r\nhost: a.test\r\n\r\n")),
        raw(&service, post("content-length: 20000\r\n") + &big),
        raw(&service, slow),
        raw(&service, stuck),
        raw(&service, format!("GET {POLICY} HTTP/1.1\r\nhost: a.test\r\nhost: b.test\r\n{close}\r\n")),
    );
    assert!(long.starts_with("HTTP/1.1 4") || long.is_empty(), "{long}");
    assert!(body.starts_with("HTTP/1.1 413 ") || body.is_empty(), "{body}");
    assert!(!slow.starts_with("HTTP/1.1 200"), "a head that never ends: {slow}");
    assert!(stuck.starts_with("HTTP/1.1 408 "), "a body that never ends: {stuck}");
    assert!(two.starts_with("HTTP/1.1 421 "), "two hosts: {two}");
    assert_eq!(service.get("mta-sts.stranger.test", POLICY).await.0, 404, "it answers as before");
    // It ends when it is told to, with a connection open.
    let open = TcpStream::connect(&service.documents).await.unwrap();
    let pid = service.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    let begun = std::time::Instant::now();
    let ended = loop {
        if let Some(status) = service.child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    drop(open);
    assert_eq!(ended.code(), Some(0));
}
