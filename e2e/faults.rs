//! I2: whatever goes wrong between the operator and a backend or Kubernetes, at creation, change or deletion: no finalizer
//! goes without proof, nothing is made twice, the condition names it, and once the fault is gone the end is right.

use crate::harness::kubectl::{condition_of, conditions, is_ready};
use crate::harness::kubeproxy::{KubeFault, KubeProxy};
use crate::harness::proxy::{Fault, Protocol, Proxy, When};
use crate::harness::world::{Platform, World, dns_backend, groupware_backend};
use crate::harness::{dns, eventually, mail, secs};
use futures::StreamExt;
use serde_json::{Value, json};

/// A tenant whose backends are reached through proxies of its own.
struct Wired {
    w: World,
    sql: Proxy,
    doveadm: Proxy,
    powerdns: Proxy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Sql,
    Doveadm,
    PowerDns,
}

impl Wired {
    async fn new(name: &str) -> Wired {
        let w = World::new(name).await;
        let sql = Proxy::start(w.stack, Protocol::Postgres, w.stack.port("PG"));
        let doveadm = Proxy::start(w.stack, Protocol::Http, w.stack.port("DOVEADM"));
        let powerdns = Proxy::start(w.stack, Protocol::Http, w.stack.dns_api_port());
        let mut gwb = groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}));
        gwb["spec"]["sogo"]["database"]["port"] = json!(sql.port);
        gwb["spec"]["sogo"]["doveadm"]["url"] = json!(format!("http://127.0.0.1:{}/doveadm/v1", doveadm.port));
        w.k.apply(gwb).await;
        let mut dnsb = dns_backend(w.stack, &w.ns, &[&w.ns], &[w.zone()]);
        dnsb["spec"]["powerdns"]["url"] = json!(format!("http://127.0.0.1:{}", powerdns.port));
        w.k.apply(dnsb).await;
        let mut instance = w.instance("acme");
        instance["spec"]["backendRef"]["name"] = json!(w.ns);
        w.k.apply(instance).await;
        w.k.ready("MailInstance", "acme", secs(60)).await;
        Wired { w, sql, doveadm, powerdns }
    }

    fn proxy(&self, wire: Wire) -> &Proxy {
        match wire {
            Wire::Sql => &self.sql,
            Wire::Doveadm => &self.doveadm,
            Wire::PowerDns => &self.powerdns,
        }
    }

    /// Retries grow: a test that waited for each would take minutes. A user in a hurry asks as well.
    async fn hurry(&self) {
        for kind in ["MailInstance", "MailDomain", "Mailbox", "MailAlias"] {
            for object in self.w.k.list(kind).await {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_string();
                let patch = json!({"metadata": {"annotations": {"mailtenant.dev/reconcile-requested-at": fastrand::u64(..).to_string()}}});
                let api = self.w.k.api(kind);
                // It may have gone meanwhile.
                let _ = api.patch(&name, &Default::default(), &kube::api::Patch::Merge(&patch)).await;
            }
        }
        for kind in ["GroupwareBackend", "DNSBackend"] {
            self.w
                .k
                .annotate(kind, &self.w.ns, "mailtenant.dev/reconcile-requested-at", &fastrand::u64(..).to_string())
                .await;
        }
    }

    /// Heals, and waits for `Ready` of all that is named.
    async fn heals(&self, wire: Wire, objects: &[(&str, &str)]) {
        self.proxy(wire).heal();
        self.hurry().await;
        for (kind, name) in objects {
            self.w.k.ready(kind, name, secs(180)).await;
        }
    }
}

/// The reason that an answer of this kind must show.
fn reasons(fault: &Fault) -> &'static [&'static str] {
    match fault {
        Fault::Http(401 | 403, ..) | Fault::Sql("28P01") => &["BackendUnauthorized"],
        _ => &["BackendUnreachable"],
    }
}

const HTTP: [Fault; 11] = [
    Fault::Refuse,
    Fault::ResetBefore,
    Fault::ResetInAnswer,
    Fault::Hang,
    Fault::Http(401, &[], ""),
    Fault::Http(403, &[("Content-Type", "text/html")], "<html>Forbidden</html>"),
    Fault::Http(429, &[("Retry-After", "2")], "slow down"),
    Fault::Http(500, &[("Content-Type", "application/json")], "{\"error\": \"internal\"}"),
    Fault::Http(502, &[("Content-Type", "text/html")], "<html><h1>502 Bad Gateway</h1></html>"),
    Fault::Http(
        200,
        &[("Content-Type", "application/json")],
        "[[\"error\",{\"type\":\"exitCode\",\"exitCode\":75},\"t\"]]",
    ),
    Fault::Http(200, &[], ""),
];
const SQL: [Fault; 8] = [
    Fault::Refuse,
    Fault::ResetBefore,
    Fault::ResetInAnswer,
    Fault::Hang,
    Fault::Sql("40001"),
    Fault::Sql("25006"),
    Fault::Sql("28P01"),
    Fault::LostCommit,
];

/// One fault on one wire that lasts through creation, then change, then deletion.
async fn lasting(wire: Wire, fault: Fault) {
    let t = Wired::new("faults").await;
    let (w, proxy) = (&t.w, t.proxy(wire));
    let zone = w.zone();
    let all = [("MailDomain", "main"), ("Mailbox", "alice"), ("MailAlias", "info")];

    proxy.fail(fault.clone(), When::Always);
    w.k.apply(w.domain("main", "acme", &zone)).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.apply(w.alias("info", "main", "info", &["alice"])).await;
    struck(&t, wire, &fault, "creation").await;
    let named = async |kind: &'static str, name: &'static str| {
        let want = reasons(&fault);
        eventually(&format!("{kind}/{name} names {want:?}"), secs(90), || async {
            let o = w.k.get(kind, name).await.expect("nothing goes without proof");
            let found = o["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|c| want.iter().any(|r| c["reason"] == *r));
            if found { Ok(()) } else { Err(conditions(&o)) }
        })
        .await
    };
    // A lost COMMIT heals by asking again: there is nothing lasting to name. doveadm has no part in making a mailbox.
    let names = fault != Fault::LostCommit;
    if names && wire != Wire::Doveadm {
        named("MailDomain", "main").await;
    }
    if names && wire == Wire::Sql {
        let object = w.k.get("Mailbox", "alice").await.expect("there");
        assert!(!is_ready(&object), "{}", conditions(&object));
    }
    t.heals(wire, &all).await;
    once(w).await;

    proxy.fail(fault.clone(), When::Always);
    w.k.patch("Mailbox", "alice", json!({"spec": {"displayName": "Changed", "suspend": "Login"}})).await;
    w.k.patch("MailAlias", "info", json!({"spec": {"sendAs": false}})).await;
    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"dmarc": {"policy": "Reject"}}}})).await;
    struck(&t, wire, &fault, "change").await;
    if names && wire != Wire::PowerDns {
        named("Mailbox", "alice").await;
    }
    t.heals(wire, &all).await;
    let row = w.sql.row("mailbox", &format!("username = 'alice@{zone}'")).await.expect("there");
    assert_eq!((&row["name"], &row["login_enabled"]), (&json!("Changed"), &json!(false)));
    let dmarc = dns::contents(w.stack, &zone, &format!("_dmarc.{zone}"), "TXT").await;
    assert!(dmarc.iter().any(|t| t.contains("p=reject")), "{dmarc:?}");
    w.k.patch("Mailbox", "alice", json!({"spec": {"suspend": "None"}})).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    once(w).await;

    proxy.fail(fault.clone(), When::Always);
    for (kind, name) in all {
        w.k.delete(kind, name).await;
    }
    struck(&t, wire, &fault, "deletion").await;
    if names {
        // Who needs this wire to go stays; whoever went before had its proof.
        let (kind, name) = match wire {
            Wire::Sql => ("MailAlias", "info"),
            Wire::Doveadm => ("Mailbox", "alice"),
            Wire::PowerDns => ("MailDomain", "main"),
        };
        named(kind, name).await;
        // Stays, however often it is tried.
        t.hurry().await;
        tokio::time::sleep(secs(3)).await;
        let object = w.k.get(kind, name).await.expect("nothing goes without proof");
        let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        assert!(finalizers.contains(&json!("mailtenant.dev/finalizer")), "{object}");
    }
    proxy.heal();
    t.hurry().await;
    w.k.delete("MailInstance", "acme").await;
    w.empty(secs(240)).await;
    assert_eq!(w.sql.snapshot(&format!("%{zone}%")).await, Vec::<String>::new());
    assert!(dns::contents(w.stack, &zone, &zone, "MX").await.is_empty());
}

/// The fault was really met, else nothing was tested.
async fn struck(t: &Wired, wire: Wire, fault: &Fault, phase: &str) {
    // doveadm is asked by the backend's probe and by what ends sessions, not when a mailbox is made.
    if wire == Wire::Doveadm && phase == "creation" {
        return;
    }
    eventually(&format!("{fault:?} on {wire:?} strikes at {phase}"), secs(90), || async {
        let fired = t.proxy(wire).fired();
        if fired > 0 { Ok(()) } else { Err(t.proxy(wire).calls().len()) }
    })
    .await
}

/// Nothing was made twice.
async fn once(w: &World) {
    let zone = w.zone();
    for (table, condition) in [
        ("domain", format!("domain = '{zone}'")),
        ("mailbox", format!("domain = '{zone}'")),
        ("alias", format!("address = 'info@{zone}'")),
    ] {
        assert_eq!(w.sql.one(&format!("SELECT count(*) FROM {table} WHERE {condition}")).await, "1", "{table}");
    }
    let selectors = w.sql.column(&format!("SELECT selector FROM dkim WHERE domain_name = '{zone}'")).await;
    let domain = w.k.get("MailDomain", "main").await.expect("there");
    let keys = domain["status"]["dkim"].as_array().map_or(0, Vec::len);
    assert_eq!(selectors.len(), keys, "keys at the signer that the status does not know: {selectors:?}");
    let zone_now = dns::snapshot(w.stack, &zone).await;
    assert!(
        zone_now.values().all(|(_, c)| c.iter().collect::<std::collections::BTreeSet<_>>().len() == c.len()),
        "{zone_now:?}"
    );
    let spf = zone_now[&(format!("{zone}."), "TXT".to_string())].1.iter().filter(|t| t.contains("v=spf1")).count();
    assert_eq!(spf, 1);
}

async fn all_of(wire: Wire, faults: &[Fault]) {
    let runs = faults.iter().cloned().map(|fault| async move {
        let what = format!("{wire:?} {fault:?}");
        tokio::spawn(lasting(wire, fault)).await.err().map(|e| format!("{what}: {e}"))
    });
    let failed: Vec<_> = futures::stream::iter(runs).buffer_unordered(4).filter_map(|f| async { f }).collect().await;
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lasting_faults_of_postgresql() {
    all_of(Wire::Sql, &SQL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lasting_faults_of_doveadm() {
    all_of(Wire::Doveadm, &HTTP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lasting_faults_of_powerdns() {
    all_of(Wire::PowerDns, &HTTP).await;
}

/// Each call of a mailbox's and an alias' life in turn goes wrong once.
async fn sweep(wire: Wire, faults: &[Fault], calls: usize) {
    let t = Wired::new("sweep").await;
    let w = &t.w;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    w.k.apply(w.mailbox("first", "main")).await;
    w.k.ready("MailDomain", "main", secs(120)).await;
    let mut struck = 0;
    for fault in faults {
        for nth in 0..calls {
            let (mailbox, alias) = (format!("m{nth}"), format!("a{nth}"));
            let rows = async |condition: &str| {
                w.sql
                    .one(&format!(
                        "SELECT count(*) FROM mailbox WHERE {condition} AND local_part = '{mailbox}' AND domain = '{}'",
                        w.zone()
                    ))
                    .await
            };
            t.proxy(wire).fail(fault.clone(), When::Nth(nth));
            w.k.apply(w.mailbox(&mailbox, "main")).await;
            w.k.apply(w.alias(&alias, "main", &alias, &[&mailbox])).await;
            w.k.ready("Mailbox", &mailbox, secs(120)).await;
            w.k.ready("MailAlias", &alias, secs(120)).await;
            struck += t.proxy(wire).fired();
            assert_eq!(rows("true").await, "1");
            let (address, password) = (w.address(&mailbox), w.password(&mailbox).await);
            assert!(
                mail::imap_login(w.stack, (&address, &password)).await,
                "{fault:?} at {nth}: the Secret's password"
            );
            t.proxy(wire).fail(fault.clone(), When::Nth(nth));
            w.k.delete("Mailbox", &mailbox).await;
            w.k.delete("MailAlias", &alias).await;
            w.k.gone("Mailbox", &mailbox, secs(120)).await;
            struck += t.proxy(wire).fired();
            assert_eq!(rows("true").await, "0", "{fault:?} at {nth}: gone here, there at the backend");
        }
    }
    t.proxy(wire).heal();
    assert!(struck > faults.len(), "hardly a call was struck: {struck}");
}

#[tokio::test]
async fn every_call_to_postgresql_may_fail_once() {
    sweep(Wire::Sql, &[Fault::ResetBefore, Fault::ResetInAnswer, Fault::Sql("40001"), Fault::LostCommit], 8).await;
}

#[tokio::test]
async fn every_call_to_doveadm_may_fail_once() {
    sweep(Wire::Doveadm, &[Fault::ResetInAnswer, Fault::Http(200, &[], ""), Fault::Http(502, &[], "<html>")], 6).await;
}

const KUBE: [KubeFault; 8] = [
    KubeFault::Status(409, "Conflict"),
    KubeFault::Status(422, "Invalid"),
    KubeFault::Status(429, "TooManyRequests"),
    KubeFault::Status(500, "InternalError"),
    KubeFault::LostReply,
    KubeFault::Hang,
    KubeFault::WatchEnds,
    KubeFault::WatchGone,
];

/// The platform behind the proxy is the rough one: nobody else's timing hangs on it.
#[tokio::test]
async fn kubernetes_may_fail_in_every_way() {
    let w = World::on(Platform::rough, "kube").await;
    let proxy: &KubeProxy = w.platform.kube.as_ref().expect("the rough platform has a proxy");
    for faults in KUBE.iter().map(std::slice::from_ref).chain([KUBE.as_slice()]) {
        let zone = w.zone();
        proxy.fail(faults, if faults.len() == 1 { 40 } else { 25 });
        for object in [
            w.instance("acme"),
            w.domain("main", "acme", &zone),
            w.mailbox("alice", "main"),
            w.alias("info", "main", "info", &["alice"]),
        ] {
            w.k.apply(object).await;
        }
        tokio::time::sleep(secs(6)).await;
        w.k.patch(
            "Mailbox",
            "alice",
            json!({"spec": {"displayName": format!("{faults:?}").chars().take(60).collect::<String>()}}),
        )
        .await;
        tokio::time::sleep(secs(2)).await;
        let struck = proxy.struck();
        proxy.heal();
        for (kind, name) in
            [("MailInstance", "acme"), ("MailDomain", "main"), ("Mailbox", "alice"), ("MailAlias", "info")]
        {
            let object: Value = w.k.ready(kind, name, secs(180)).await;
            assert!(condition_of(&object, "Stalled").is_none_or(|c| c["status"] != "True"), "{}", conditions(&object));
        }
        assert!(struck > 0, "{faults:?} did not strike");
        once(&w).await;
        let (alice, password) = (w.address("alice"), w.password("alice").await);
        assert!(mail::imap_login(w.stack, (&alice, &password)).await, "{faults:?}: the Secret's password");

        proxy.fail(faults, 40);
        for kind in ["MailInstance", "MailDomain", "Mailbox", "MailAlias"] {
            w.k.delete_all(kind).await;
        }
        tokio::time::sleep(secs(6)).await;
        proxy.heal();
        w.empty(secs(240)).await;
        assert_eq!(w.sql.snapshot(&format!("%{zone}%")).await, Vec::<String>::new(), "{faults:?}");
    }
    assert!(w.platform.operator.ended().is_none(), "the operator ended");
}
