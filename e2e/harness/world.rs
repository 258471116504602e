//! What a test starts from: a namespace of its own on a running platform (servers, operator, registered backends).

use super::kubectl::Kubectl;
use super::kubeproxy::KubeProxy;
use super::operator::Operator;
use super::recorder::Recorder;
use super::sql::Sql;
use super::stack::Stack;
use super::{dns, eventually, secs};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Namespace of the operator and of the backends' Secrets.
pub const SYSTEM: &str = "mailtenant-system";
/// The registered groupware server, for namespaces with the label `mail: standard`.
pub const GROUPWARE: &str = "berlin";

/// Servers with an operator.
pub struct Platform {
    /// The servers.
    pub stack: &'static Stack,
    /// The operator.
    pub operator: Operator,
    /// Who watches.
    pub recorder: Recorder,
    /// What stands between the operator and Kubernetes: on the rough platform only.
    pub kube: Option<KubeProxy>,
}

static ROUGH: OnceLock<Platform> = OnceLock::new();
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Tests that are under way in this process, the asking one included.
pub fn running() -> usize {
    RUNNING.load(Ordering::SeqCst)
}

impl Platform {
    /// The platform that most tests share.
    pub fn shared() -> &'static Platform {
        static SHARED: OnceLock<Platform> = OnceLock::new();
        SHARED.get_or_init(|| Platform::start(Stack::shared(), "shared", false))
    }

    /// The platform whose operator is killed at any moment.
    pub fn rough() -> &'static Platform {
        ROUGH.get_or_init(|| Platform::start(Stack::rough(), "rough", true))
    }

    /// One whose apiserver keeps an audit log: the shared one, unless `KUBECONFIG` gave that another cluster.
    pub fn audited() -> &'static Platform {
        static AUDITED: OnceLock<Platform> = OnceLock::new();
        match std::env::var_os("KUBECONFIG") {
            None => Platform::shared(),
            Some(_) => {
                AUDITED.get_or_init(|| Platform::start(Box::leak(Box::new(Stack::start("audited"))), "audited", false))
            }
        }
    }

    /// Whether a test has wanted it.
    pub fn rough_is_up() -> bool {
        ROUGH.get().is_some()
    }

    fn start(stack: &'static Stack, name: &str, proxied: bool) -> Platform {
        // A thread, since a runtime may not be started inside the test's own.
        let prepare = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(prepare(stack));
        };
        std::thread::spawn(prepare).join().expect("the platform is prepared");
        let recorder = Recorder::start(stack);
        let kube = proxied.then(|| KubeProxy::start(stack));
        let operator = match &kube {
            Some(proxy) => Operator::start_with(stack, name, &proxy.kubeconfig),
            None => Operator::start(stack, name),
        };
        Platform { stack, operator, recorder, kube }
    }
}

/// CRDs, the operator's namespace, the backends and their Secrets: what a platform engineer does once.
pub async fn prepare(stack: &Stack) {
    let k = Kubectl::admin(stack, SYSTEM).await;
    apply_crds(&k).await;
    k.apply(json!({"kind": "Namespace", "metadata": {"name": SYSTEM}})).await;
    k.put_secret("berlin-db", &[("username", stack.get("GW_DB_USER")), ("password", stack.get("GW_DB_PASSWORD"))])
        .await;
    k.put_secret("berlin-doveadm", &[("apiKey", stack.get("GW_API_KEY"))]).await;
    k.put_secret("pdns", &[("apiKey", stack.get("PDNS_KEY"))]).await;
    k.apply(groupware_backend(
        stack,
        GROUPWARE,
        json!({"from": "Selector", "selector": {"matchLabels": {"mail": "standard"}}}),
    ))
    .await;
}

/// Applies the CRDs as the operator prints them, and waits until they are served.
pub async fn apply_crds(k: &Kubectl) {
    for crd in mailtenant_api::crds::all() {
        let name = crd["metadata"]["name"].as_str().expect("a name").to_string();
        k.apply(crd).await;
        k_established(k, &name).await;
    }
}

async fn k_established(k: &Kubectl, name: &str) {
    eventually(&format!("{name} is served"), secs(30), || async {
        let crd = k.get("CustomResourceDefinition", name).await.ok_or("not there")?;
        super::kubectl::condition_of(&crd, "Established").filter(|c| c["status"] == "True").map(|_| ()).ok_or("not yet")
    })
    .await
}

/// A GroupwareBackend for the stack's server.
pub fn groupware_backend(stack: &Stack, name: &str, allowed: Value) -> Value {
    json!({"kind": "GroupwareBackend", "metadata": {"name": name}, "spec": {
        "allowedNamespaces": allowed,
        "hosts": {
            "mx": [{"host": "mx1.mail.example.net", "preference": 10}],
            "imap": {"host": "imap.mail.example.net", "port": 993},
            "pop3": {"host": "imap.mail.example.net", "port": 995},
            "submission": {"host": "smtp.mail.example.net", "port": 465},
            "sieve": {"host": "imap.mail.example.net", "port": 4190},
            "webmail": "https://webmail.example.net/SOGo",
            "dav": "https://webmail.example.net/SOGo/dav"},
        "spf": {"include": "_spf.mail.example.net"},
        "delivery": {"address": "127.0.0.1", "port": stack.port("SMTP")},
        "limits": {"requestsPerSecond": 1000, "concurrency": 16},
        "resync": {"interval": "10s"},
        "sogo": {
            "database": {"host": "127.0.0.1", "port": stack.port("PG"), "name": "groupware", "tls": "Disable",
                "credentialsSecretRef": {"name": "berlin-db"}},
            "doveadm": {"url": format!("http://127.0.0.1:{}/doveadm/v1", stack.port("DOVEADM")),
                "apiKeySecretRef": {"name": "berlin-doveadm", "key": "apiKey"}},
            "memcached": {"host": "127.0.0.1", "port": stack.port("MEMCACHED")},
            "schema": "Managed"}}})
}

/// A DNSBackend for the stack's server, for these zones.
pub fn dns_backend(stack: &Stack, name: &str, namespaces: &[&str], zones: &[String]) -> Value {
    let zones: Vec<_> = zones.iter().map(|z| json!({"name": z})).collect();
    json!({"kind": "DNSBackend", "metadata": {"name": name}, "spec": {
        "allowedNamespaces": {"from": "Names", "names": namespaces},
        "zones": zones,
        "resolvers": [stack.get("PDNS_DNS")],
        "requireProof": false,
        "powerdns": {"url": stack.get("PDNS_API"), "serverId": "localhost",
            "apiKeySecretRef": {"name": "pdns", "key": "apiKey"},
            "dnsAddress": stack.get("PDNS_DNS")}}})
}

/// One test's place in the world.
pub struct World {
    /// The platform.
    pub platform: &'static Platform,
    /// The servers.
    pub stack: &'static Stack,
    /// Kubernetes, in the test's namespace.
    pub k: Kubectl,
    /// The test's namespace. Its zone, `<namespace>.test`, and its DNSBackend have the same name.
    pub ns: String,
    /// The groupware's database.
    pub sql: Sql,
}

impl World {
    /// A place on the shared platform.
    pub async fn new(name: &str) -> World {
        World::on(Platform::shared, name).await
    }

    /// A place on the platform that `platform` gives; it is started by the first test that wants it.
    pub async fn on(platform: fn() -> &'static Platform, name: &str) -> World {
        RUNNING.fetch_add(1, Ordering::SeqCst);
        let platform = tokio::task::spawn_blocking(platform).await.unwrap_or_else(|_| {
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            panic!("the platform did not start")
        });
        let stack = platform.stack;
        let ns = format!("{name}-{:05x}", fastrand::u32(..0x100000));
        let k = Kubectl::admin(stack, &ns).await;
        let world = World { platform, stack, k, ns, sql: Sql::connect(stack).await };
        platform.operator.ready().await;
        world.k.ready("GroupwareBackend", GROUPWARE, secs(60)).await;
        world.sql.start_audit().await;
        world.namespace(&world.ns).await;
        world.zones(&[world.zone()]).await;
        world
    }

    /// Makes a namespace that may use the groupware.
    pub async fn namespace(&self, name: &str) {
        self.k.apply(json!({"kind": "Namespace", "metadata": {"name": name, "labels": {"mail": "standard"}}})).await;
    }

    /// The test's zone.
    pub fn zone(&self) -> String {
        format!("{}.test", self.ns)
    }

    /// Makes zones with records of somebody else, and a DNSBackend of the namespace's name for all of them.
    pub async fn zones(&self, zones: &[String]) {
        for zone in zones {
            dns::create_zone(self.stack, zone).await;
        }
        self.k.apply(dns_backend(self.stack, &self.ns, &[&self.ns], zones)).await;
        self.k.ready("DNSBackend", &self.ns, secs(240)).await;
    }

    /// Keys that sign no more, of those that are named or of all: they have not for long, and their records are not needed.
    pub async fn retired_long_ago(&self, named: &[String]) {
        let Some(domain) = self.k.get("MailDomain", "main").await else { return };
        let mut keys = domain["status"]["dkim"].as_array().cloned().unwrap_or_default();
        let mut changed = false;
        let meant = |k: &Value| named.is_empty() || named.iter().any(|n| k["selector"] == json!(n));
        let fresh = |k: &Value| k["retiredAt"].as_str().is_some_and(|t| !t.starts_with("2020"));
        for key in keys.iter_mut().filter(|k| meant(k) && fresh(k)) {
            key["retiredAt"] = json!("2020-01-01T00:00:00Z");
            changed = true;
        }
        if changed {
            let patch = json!({"status": {"dkim": keys}});
            let api = self.k.api("MailDomain");
            api.patch_status("main", &Default::default(), &kube::api::Patch::Merge(patch)).await.expect("taken");
        }
    }

    /// A MailInstance.
    pub fn instance(&self, name: &str) -> Value {
        json!({"kind": "MailInstance", "metadata": {"name": name}, "spec": {
            "backendRef": {"name": GROUPWARE}, "storage": "10Gi", "defaultMailboxQuota": "10Mi",
            "deletionPolicy": "Delete", "externalForwarding": "Allow"}})
    }

    /// A MailDomain whose records expire fast, so that draining does.
    pub fn domain(&self, name: &str, instance: &str, domain: &str) -> Value {
        json!({"kind": "MailDomain", "metadata": {"name": name}, "spec": {
            "instanceRef": {"name": instance}, "domain": domain,
            "dns": {"mode": "Managed", "backendRef": {"name": self.ns}, "ttl": 1}}})
    }

    /// A Mailbox with a generated password.
    pub fn mailbox(&self, name: &str, domain: &str) -> Value {
        json!({"kind": "Mailbox", "metadata": {"name": name}, "spec": {
            "domainRef": {"name": domain}, "localPart": name, "displayName": name}})
    }

    /// A MailAlias for mailboxes.
    pub fn alias(&self, name: &str, domain: &str, local: &str, mailboxes: &[&str]) -> Value {
        let targets: Vec<_> = mailboxes.iter().map(|m| json!({"mailboxRef": {"name": m}})).collect();
        json!({"kind": "MailAlias", "metadata": {"name": name}, "spec": {
            "domainRef": {"name": domain}, "localPart": local, "targets": targets}})
    }

    /// An instance `acme`, its domain `main` (the test's zone) and these mailboxes, all ready.
    pub async fn tenant(&self, mailboxes: &[&str]) {
        self.k.apply(self.instance("acme")).await;
        self.k.apply(self.domain("main", "acme", &self.zone())).await;
        for name in mailboxes {
            self.k.apply(self.mailbox(name, "main")).await;
        }
        for name in mailboxes {
            self.k.ready("Mailbox", name, secs(120)).await;
        }
        self.k.ready("MailInstance", "acme", secs(60)).await;
        if !mailboxes.is_empty() {
            self.k.ready("MailDomain", "main", secs(120)).await;
        }
    }

    /// The address of a mailbox or alias in the test's zone.
    pub fn address(&self, local: &str) -> String {
        format!("{local}@{}", self.zone())
    }

    /// The generated password of a mailbox.
    pub async fn password(&self, mailbox: &str) -> String {
        let secret = format!("{mailbox}-mail");
        eventually(&format!("Secret {secret} has a password"), secs(30), || async {
            self.k.secret(&secret, "password").await.ok_or("none")
        })
        .await
    }

    /// Waits until nothing of the tenant kinds is left in the namespace.
    pub async fn empty(&self, limit: std::time::Duration) {
        eventually(&format!("nothing is left in {}", self.ns), limit, || async {
            let mut left = vec![];
            for kind in super::kubectl::TENANT_KINDS {
                for o in self.k.list(kind).await {
                    left.push(format!("{kind}/{}: {}", o["metadata"]["name"], super::kubectl::conditions(&o)));
                }
            }
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.platform.operator.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().filter(|l| l.contains(&self.ns)).collect();
            eprintln!("-- the operator's last words about {}:", self.ns);
            lines[lines.len().saturating_sub(15)..].iter().for_each(|l| eprintln!("{l}"));
        }
    }
}
