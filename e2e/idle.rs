//! I5: with nothing to do there are no writes to Kubernetes, backends are read by domain, and a restart is silent.

use crate::harness::proxy::{Protocol, Proxy};
use crate::harness::world::{GROUPWARE, Platform, World, groupware_backend};
use crate::harness::{audit, eventually, kubectl, secs};
use futures::StreamExt;
use serde_json::json;
use std::collections::BTreeMap;

const MAILBOXES: usize = 1000;

/// Writes of the operator since a point in the apiserver's audit log, by what they were: to objects of the test's
/// namespace, to the cluster's objects that are the test's by their name (backends, claim, their Events), and to the
/// backend that all tests share. What is left are the objects of other tests, which are not idle.
async fn writes(w: &World, since: u64) -> BTreeMap<String, usize> {
    audit::caught_up(w.stack, &w.k).await;
    let ours = |write: &&audit::Write| {
        let (namespace, name) = &write.object;
        *namespace == w.ns || name.contains(&w.ns) || name == GROUPWARE
    };
    audit::count(audit::writes(w.stack, since).iter().filter(ours))
}

/// What a new mailbox costs at most: `make bench` measures 3.00 writes (finalizer, Secret, status), 8.0 statements and 1.00
/// requests. Some more are those of the domain and its looks; a step added to each mailbox is more than that.
async fn created(w: &World, since: u64, statements: usize, requests: usize) {
    let writes = writes(w, since).await;
    let of = |what: &str| writes.get(what).copied().unwrap_or_default();
    for what in ["patch mailboxes/", "create secrets/", "patch mailboxes/status"] {
        assert!((MAILBOXES..MAILBOXES * 11 / 10).contains(&of(what)), "{what}: {writes:?}");
    }
    let all: usize = writes.values().sum();
    assert!(all < MAILBOXES * 33 / 10, "{all} writes: {writes:?}");
    assert!((MAILBOXES..MAILBOXES * 10).contains(&statements), "{statements} statements for {MAILBOXES} mailboxes");
    assert!((MAILBOXES..MAILBOXES * 12 / 10).contains(&requests), "{requests} requests to doveadm");
}

#[tokio::test]
async fn a_thousand_mailboxes_cost_nothing_at_rest_nor_at_a_restart() {
    let w = World::on(Platform::audited, "idle").await;
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
    w.k.condition("MailDomain", "main", "Provisioned", ("True", "Succeeded"), secs(120)).await;
    let (since, statements, requests) = (audit::mark(w.stack), sql.calls().len(), doveadm.calls().len());
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
    created(&w, since, sql.calls().len() - statements, doveadm.calls().len() - requests).await;
    w.k.ready("MailDomain", "main", secs(120)).await;

    // No other test ends the operator from here on.
    let _alone = w.platform.operator.alone.lock().await;
    w.platform.operator.ready().await;
    // Settled: the last sums and events are written.
    let quiet = async |seconds: u64, limit: u64| {
        eventually(&format!("{seconds} s without a write"), secs(limit), || async {
            let since = audit::mark(w.stack);
            tokio::time::sleep(secs(seconds)).await;
            let seen = writes(&w, since).await;
            if seen.is_empty() { Ok(()) } else { Err(seen) }
        })
        .await
    };
    quiet(5, 120).await;
    let (since, statements, requests) = (audit::mark(w.stack), sql.calls().len(), doveadm.calls().len());
    tokio::time::sleep(secs(60)).await;
    assert_eq!(writes(&w, since).await, BTreeMap::new(), "writes of an idle minute");
    let (statements, requests) = (sql.calls().split_off(statements), doveadm.calls().split_off(requests));
    assert!(!statements.is_empty(), "the drift read of every 10 s is not seen: nothing was measured");
    let reads = statements.len() + requests.len();
    assert!(
        reads < 200,
        "{reads} calls in a minute for one domain: {:#?} {:#?}",
        &statements[..statements.len().min(20)],
        &requests[..requests.len().min(20)]
    );

    let since = audit::mark(w.stack);
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
    assert_eq!(writes(&w, since).await, BTreeMap::new(), "writes of a restart");
    // And it works: it is not silent because it is dead.
    w.k.patch("Mailbox", "m0000", json!({"spec": {"displayName": "after the restart"}})).await;
    w.k.ready("Mailbox", "m0000", secs(60)).await;
    eventually("the change is in the log", secs(30), || async {
        if writes(&w, since).await.is_empty() { Err("it is not") } else { Ok(()) }
    })
    .await;
    // Nor is it silent because nobody sees: writes to the cluster's own objects are counted too.
    let since = audit::mark(w.stack);
    for kind in ["GroupwareBackend", "DNSBackend"] {
        w.k.annotate(kind, &w.ns, "mailtenant.dev/reconcile-requested-at", "seen").await;
    }
    eventually("writes to the backend objects are counted", secs(30), || async {
        let seen = writes(&w, since).await;
        let both = ["patch groupwarebackends/status", "patch dnsbackends/status"].iter().all(|k| seen.contains_key(*k));
        if both { Ok(()) } else { Err(seen) }
    })
    .await;
}
