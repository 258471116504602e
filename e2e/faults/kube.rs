//! The same with the Kubernetes API: every kind of request fails until it was tried again, one kind after the other. The
//! platform behind the proxy is the rough one; only what has to do with the test's namespace fails, and all watches.

use super::life::Step;
use super::wired::TENANT;
use crate::harness::kubectl::{condition_of, conditions, is_ready};
use crate::harness::kubeproxy::{KubeFault, KubeProxy, WATCHES};
use crate::harness::world::{Platform, World};
use crate::harness::{dns, eventually, mail, secs};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const CONFLICT: KubeFault = KubeFault::Status(409, "Conflict");
const INVALID: KubeFault = KubeFault::Status(422, "Invalid");
const SLOW_DOWN: KubeFault = KubeFault::Status(429, "TooManyRequests");
const INTERNAL: KubeFault = KubeFault::Status(500, "InternalError");
/// What a request of a pass can meet.
const REQUESTS: [KubeFault; 6] = [CONFLICT, INVALID, SLOW_DOWN, INTERNAL, KubeFault::LostReply, KubeFault::Hang];
/// What a watch can meet.
const WATCH: [KubeFault; 5] = [KubeFault::WatchEnds, KubeFault::WatchGone, INTERNAL, SLOW_DOWN, KubeFault::Hang];

/// Nobody waits for an Event; a last look at the domain is needless once the watch has told that it is going; an object is
/// read to say what Kubernetes did not do, or where a status was not taken, if that still is so.
const OPTIONAL: [&str; 5] =
    ["create events", "get maildomains", "get mailinstances", "get mailboxes", "get mailaliases"];

struct Life {
    w: World,
    /// What fails: what has to do with the test's namespace, or all watches.
    scope: String,
    fault: KubeFault,
    verified: BTreeMap<Step, BTreeSet<String>>,
}

impl Life {
    fn proxy(&self) -> &KubeProxy {
        self.w.platform.kube.as_ref().expect("the rough platform has a proxy")
    }

    fn begin(&mut self) {
        // A watch that fails again and again is deaf for up to 30 s: once is enough where it is not about the watch.
        let ends = matches!(self.fault, KubeFault::WatchEnds | KubeFault::WatchGone);
        let before = self.verified.values().flatten().filter(|_| self.scope == WATCHES && !ends);
        let open = before.cloned().collect();
        self.proxy().block(&self.scope, self.fault, open);
    }

    async fn hurry(&self) {
        for (kind, name) in TENANT {
            let asks = json!({"metadata": {"annotations": {"mailtenant.dev/reconcile-requested-at": fastrand::u64(..).to_string()}}});
            let _ = self.w.k.api(kind).patch(name, &Default::default(), &::kube::api::Patch::Merge(asks)).await;
        }
    }

    /// What is not as it should be at the end of a step.
    async fn missing(&self, step: Step) -> Vec<String> {
        let objects = TENANT.map(|(kind, name)| async move { (kind, name, self.w.k.get(kind, name).await) });
        let mut missing = vec![];
        for (kind, name, object) in futures::future::join_all(objects).await {
            let rotated = |o: &Value| {
                (kind, step) != ("Mailbox", Step::Change) || o["status"]["lastHandledRotatePassword"] == "1"
            };
            match object {
                None if step == Step::Deletion => {}
                Some(o) if step != Step::Deletion && is_ready(&o) && rotated(&o) => {}
                o => missing.push(format!("{kind}/{name}: {:?}", o.as_ref().map(conditions))),
            }
        }
        missing
    }

    /// What failed and must not fail for a step to come to its end.
    fn needed(&self) -> Vec<String> {
        self.proxy().blocked(&self.scope).into_keys().filter(|k| !OPTIONAL.contains(&k.as_str())).collect()
    }

    async fn until(&mut self, step: Step) {
        let (start, mut asked, mut looked) = (Instant::now(), Instant::now(), Instant::now());
        let mut at_end: Option<Instant> = None;
        loop {
            let mut opened = false;
            for (kind, times) in self.proxy().blocked(&self.scope) {
                // A second one: it was tried again. A watch was, or nothing would be heard of what follows.
                // A request that hangs is waited for once.
                let hung = self.fault == KubeFault::Hang && self.verified.values().any(|kinds| !kinds.is_empty());
                if times >= 2 || hung || self.fault == KubeFault::LostReply || self.scope == WATCHES {
                    self.proxy().open(&self.scope, &kind);
                    self.verified.entry(step).or_default().insert(kind);
                    opened = true;
                }
            }
            if asked.elapsed() > Duration::from_millis(700) {
                self.hurry().await;
                asked = Instant::now();
            }
            sleep(Duration::from_millis(50)).await;
            if looked.elapsed() < Duration::from_millis(300) && !opened {
                continue;
            }
            looked = Instant::now();
            let (missing, needed) = (self.missing(step).await, self.needed());
            if missing.is_empty() && !opened {
                let patience = if needed.is_empty() { Duration::ZERO } else { secs(15) };
                if at_end.get_or_insert_with(Instant::now).elapsed() >= patience {
                    break;
                }
            } else {
                at_end = None;
            }
            let late = start.elapsed() > secs(400);
            assert!(!late, "{step:?} under {:?} does not end: {missing:#?}; {needed:?}", self.fault);
        }
        let left = self.needed();
        assert!(left.is_empty(), "{step:?} came to its end although these fail with {:?}: {left:?}", self.fault);
        self.proxy().heal(&self.scope);
        eprintln!("{} {:?} {} {step:?} in {:?}", self.w.ns, self.fault, self.scope, start.elapsed());
        assert!(self.w.platform.operator.ended().is_none(), "the operator ended");
    }

    async fn run(&mut self) {
        let zone = self.w.zone();
        self.begin();
        let w = &self.w;
        for object in tenant(w) {
            w.k.apply(object).await;
        }
        self.until(Step::Creation).await;
        once(&self.w).await;

        self.begin();
        let w = &self.w;
        let rotate = json!({"mailtenant.dev/rotate-password": "1"});
        w.k.patch("Mailbox", "alice", json!({"spec": {"displayName": "Changed"}, "metadata": {"annotations": rotate}}))
            .await;
        w.k.patch("MailAlias", "info", json!({"spec": {"sendAs": false}})).await;
        w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"dmarc": {"policy": "Reject"}}}})).await;
        w.k.patch("MailInstance", "acme", json!({"spec": {"storage": "20Gi"}})).await;
        self.until(Step::Change).await;
        self.w.k.condition("Mailbox", "alice", "Ready", ("True", ""), secs(60)).await;
        once(&self.w).await;
        let row = self.w.sql.row("mailbox", &format!("username = 'alice@{zone}'")).await.expect("there");
        assert_eq!(row["name"], "Changed");

        self.begin();
        for (kind, name) in TENANT {
            self.w.k.delete(kind, name).await;
        }
        self.until(Step::Deletion).await;
        empty(&self.w).await;
    }
}

fn tenant(w: &World) -> [Value; 4] {
    [
        w.instance("acme"),
        w.domain("main", "acme", &w.zone()),
        w.mailbox("alice", "main"),
        w.alias("info", "main", "info", &["alice"]),
    ]
}

/// Nothing was made twice, and what the Secret says is true.
async fn once(w: &World) {
    let zone = w.zone();
    for (table, which) in [
        ("tenant", format!("origin = '{}/acme'", w.ns)),
        ("domain", format!("domain = '{zone}'")),
        ("mailbox", format!("domain = '{zone}'")),
        ("alias", format!("address = 'info@{zone}'")),
    ] {
        assert_eq!(w.sql.one(&format!("SELECT count(*) FROM {table} WHERE {which}")).await, "1", "{table}");
    }
    let keys = w.sql.column(&format!("SELECT selector FROM dkim WHERE domain_name = '{zone}'")).await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    for (kind, name) in TENANT {
        let object = w.k.get(kind, name).await.expect("there");
        assert!(condition_of(&object, "Stalled").is_none_or(|c| c["status"] != "True"), "{}", conditions(&object));
    }
    eventually("the Secret's password is the mailbox'", secs(30), || async {
        let (alice, password) = (w.address("alice"), w.password("alice").await);
        if mail::imap_login(w.stack, (&alice, &password)).await { Ok(()) } else { Err("refused") }
    })
    .await;
}

async fn empty(w: &World) {
    let zone = w.zone();
    w.empty(secs(240)).await;
    assert_eq!(w.sql.snapshot(&format!("%{zone}%")).await, Vec::<String>::new());
    assert!(dns::contents(w.stack, &zone, &zone, "MX").await.is_empty());
    eventually("the name is given back", secs(60), || async {
        match w.k.get("MailDomainClaim", &zone).await {
            None => Ok(()),
            Some(claim) => Err(claim),
        }
    })
    .await;
}

async fn live(fault: KubeFault, watches: bool) -> BTreeSet<String> {
    let w = World::on(Platform::rough, "kube").await;
    let scope = if watches { WATCHES.to_string() } else { w.ns.clone() };
    let mut life = Life { w, scope, fault, verified: BTreeMap::new() };
    life.run().await;
    life.verified.into_values().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_to_kubernetes_may_fail() {
    let lives = REQUESTS
        .map(|fault| async move { tokio::spawn(live(fault, false)).await.map_err(|e| format!("{fault:?}: {e}")) });
    let lives = futures::future::join_all(lives).await;
    let failed: Vec<_> = lives.iter().filter_map(|life| life.as_ref().err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    // A status and the finalizer of each kind, the claim, the credentials, the live looks.
    let broken: Vec<_> = lives.into_iter().flatten().collect();
    for resource in ["mailinstances", "maildomains", "mailboxes", "mailaliases"] {
        for kind in [format!("patch {resource}"), format!("patch {resource}/status")] {
            assert!(broken.iter().all(|kinds| kinds.contains(&kind)), "{kind}");
        }
    }
    for kind in ["create maildomainclaims", "delete maildomainclaims", "create secrets", "patch secrets"] {
        assert!(broken.iter().all(|kinds| kinds.contains(kind)), "{kind}: {broken:#?}");
    }
    for fault in WATCH {
        let broken = live(fault, true).await;
        let watched = broken.iter().filter(|kind| kind.starts_with("watch ")).count();
        assert_eq!(watched, 9, "{fault:?}: {broken:?}");
    }
    a_late_watch().await;
    all_at_once().await;
    super::no_panic(Platform::rough()).await;
}

/// What was acknowledged before a deletion counts, also if its watch has not told of it: mail is destroyed by no picture of
/// yesterday.
async fn a_late_watch() {
    let w = World::on(Platform::rough, "late").await;
    w.tenant(&["alice"]).await;
    let address = w.address("alice");
    let proxy = w.platform.kube.as_ref().expect("the rough platform has a proxy");
    let others = [
        "groupwarebackends",
        "dnsbackends",
        "maildomains",
        "mailboxes",
        "mailaliases",
        "maildomainclaims",
        "secrets",
        "namespaces",
        "customresourcedefinitions",
    ];
    let open = others.iter().flat_map(|r| [format!("watch {r}"), format!("list {r}")]).collect();
    proxy.block(WATCHES, KubeFault::Hang, open);
    eventually("the watch of instances is held", secs(60), || async {
        let struck = proxy.blocked(WATCHES);
        if struck.keys().any(|k| k.ends_with(" mailinstances")) { Ok(()) } else { Err(struck) }
    })
    .await;
    w.k.patch("MailInstance", "acme", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(120)).await;
    let held = proxy.blocked(WATCHES);
    proxy.heal(WATCHES);
    let row = w.sql.row("mailbox", &format!("username = '{address}'")).await;
    assert!(row.is_some(), "its mail was destroyed; held: {held:?}");
    for kind in ["MailDomain", "MailInstance"] {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(240)).await;
}

/// A third of the requests goes wrong, each in another way: the operator gets through all the same.
async fn all_at_once() {
    let w = World::on(Platform::rough, "kube").await;
    let scope = w.ns.clone();
    let mut life = Life { w, scope, fault: CONFLICT, verified: BTreeMap::new() };
    let faults = [REQUESTS.as_slice(), &WATCH[..2]].concat();
    life.proxy().fail(&faults, 35);
    for object in tenant(&life.w) {
        life.w.k.apply(object).await;
    }
    life.until(Step::Creation).await;
    let rotate = json!({"mailtenant.dev/rotate-password": "1"});
    life.w.k.patch("Mailbox", "alice", json!({"metadata": {"annotations": rotate}})).await;
    life.until(Step::Change).await;
    once(&life.w).await;
    for (kind, name) in TENANT {
        life.w.k.delete(kind, name).await;
    }
    life.until(Step::Deletion).await;
    let struck = life.proxy().struck();
    life.proxy().heal_all();
    assert!(struck >= 8, "hardly a request went wrong: {struck}");
    empty(&life.w).await;
}
