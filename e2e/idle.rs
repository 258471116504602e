//! I5: with nothing to do there are no writes to Kubernetes, backends are read by domain, and a restart is silent.

use crate::harness::proxy::{Protocol, Proxy};
use crate::harness::world::{Platform, World, groupware_backend};
use crate::harness::{eventually, kubectl, secs};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MAILBOXES: usize = 1000;

/// Writes of the operator to objects of a namespace since a point in the apiserver's audit log, by what they were.
fn writes(platform: &Platform, ns: &str, since: u64) -> BTreeMap<String, usize> {
    use std::io::{Read, Seek, SeekFrom};
    let path = platform.stack.root.join("k8s/audit.log");
    let mut file = std::fs::File::open(&path).expect("this needs the apiserver's audit log: run it without KUBECONFIG");
    file.seek(SeekFrom::Start(since)).expect("the audit log only grows");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("the audit log is text");
    let mut out = BTreeMap::new();
    for line in text.lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        let verb = entry["verb"].as_str().unwrap_or_default();
        let ours = entry["user"]["username"] == "mailtenant" && entry["objectRef"]["namespace"] == ns;
        if ours && !["get", "list", "watch"].contains(&verb) {
            let what = |k: &str| entry["objectRef"][k].as_str().unwrap_or_default().to_string();
            *out.entry(format!("{verb} {}/{}", what("resource"), what("subresource"))).or_default() += 1;
        }
    }
    out
}

fn mark(platform: &Platform) -> u64 {
    std::fs::metadata(platform.stack.root.join("k8s/audit.log")).expect("the audit log").len()
}

#[tokio::test]
async fn a_thousand_mailboxes_cost_nothing_at_rest_nor_at_a_restart() {
    let w = World::new("idle").await;
    let sql = Proxy::start(w.stack, Protocol::Postgres, w.stack.port("PG"));
    let doveadm = Proxy::start(w.stack, Protocol::Http, w.stack.port("DOVEADM"));
    let mut backend = groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}));
    backend["spec"]["sogo"]["database"]["port"] = json!(sql.port);
    backend["spec"]["sogo"]["doveadm"]["url"] = json!(format!("http://127.0.0.1:{}/doveadm/v1", doveadm.port));
    w.k.apply(backend).await;
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    instance["spec"]["storage"] = json!("100Gi");
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    futures::stream::iter(0..MAILBOXES)
        .for_each_concurrent(16, |i| {
            let w = &w;
            async move {
                w.k.apply(w.mailbox(&format!("m{i:04}"), "main")).await;
            }
        })
        .await;
    eventually("all mailboxes are ready", secs(600), || async {
        let n = w.k.list("Mailbox").await.iter().filter(|m| kubectl::is_ready(m)).count();
        if n == MAILBOXES { Ok(()) } else { Err(format!("{n} ready")) }
    })
    .await;
    w.k.ready("MailDomain", "main", secs(120)).await;

    // Settled: the last sums and events are written.
    let quiet = async |seconds: u64, limit: u64| {
        eventually(&format!("{seconds} s without a write"), secs(limit), || async {
            let since = mark(w.platform);
            tokio::time::sleep(secs(seconds)).await;
            let seen = writes(w.platform, &w.ns, since);
            if seen.is_empty() { Ok(()) } else { Err(seen) }
        })
        .await
    };
    quiet(5, 120).await;
    let (since, statements, requests) = (mark(w.platform), sql.calls().len(), doveadm.calls().len());
    tokio::time::sleep(secs(60)).await;
    assert_eq!(writes(w.platform, &w.ns, since), BTreeMap::new(), "writes of an idle minute");
    let (statements, requests) = (sql.calls().split_off(statements), doveadm.calls().split_off(requests));
    assert!(!statements.is_empty(), "the drift read of every 10 s is not seen: nothing was measured");
    let reads = statements.len() + requests.len();
    assert!(
        reads < 200,
        "{reads} calls in a minute for one domain: {:#?} {:#?}",
        &statements[..statements.len().min(20)],
        &requests[..requests.len().min(20)]
    );

    let since = mark(w.platform);
    let status = w.platform.operator.terminate().await;
    assert!(status.success(), "SIGTERM: {status}");
    let before = sql.calls().len();
    w.platform.operator.restart();
    w.platform.operator.ready().await;
    eventually("the domain is read again after the restart", secs(60), || async {
        if sql.calls().len() > before + 2 { Ok(()) } else { Err(sql.calls().len()) }
    })
    .await;
    tokio::time::sleep(secs(15)).await;
    assert_eq!(writes(w.platform, &w.ns, since), BTreeMap::new(), "writes of a restart");
    // And it works: it is not silent because it is dead.
    w.k.patch("Mailbox", "m0000", json!({"spec": {"displayName": "after the restart"}})).await;
    w.k.ready("Mailbox", "m0000", secs(60)).await;
    assert!(!writes(w.platform, &w.ns, since).is_empty());
}
