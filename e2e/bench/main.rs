//! `make bench`: one table of times, writes and reads, each ratio taken in one run on one control plane.
//!
//! First a floor program makes the same writes for as many Mailboxes, and nothing else ([`floor`]). Then the operator has
//! them as a user does: applied at once, edited while others are made, at rest, restarted, deleted with their namespace.
//! Whoever watches (this program, [`observer`]) costs the same in all runs. Numbers come from the apiserver's audit log,
//! PostgreSQL's statement counter, `/proc` and the operator's own metrics ([`measure`]).
//!
//! `N` mailboxes (1,000), in domains of 1,000; `IDLE` seconds at rest (600).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

#[path = "../harness/mod.rs"]
mod harness;

mod floor;
mod load;
mod measure;
mod observer;
mod table;

use floor::Floor;
use harness::kubectl::Kubectl;
use harness::operator::Operator;
use harness::proxy::{Protocol, Proxy};
use harness::stack::Stack;
use harness::world::{self, GROUPWARE};
use harness::{dns, secs, setting};
use load::Tenant;
use measure::{Meter, Quiet};
use observer::Observer;
use serde_json::json;
use std::time::{Duration, Instant};
use table::Table;

/// Passes of a backend at a time (`spec.limits.concurrency`, its default), and writers of the floor.
const CONCURRENCY: usize = 16;

/// Mailboxes that are made before the others.
const FEW: usize = 50;

fn main() {
    // `cargo test --benches` asks for a list: there is nothing to list.
    if std::env::args().any(|a| a == "--list") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(run(setting("N", 1000usize).max(10), secs(setting("IDLE", 600))));
}

async fn run(n: usize, idle: Duration) {
    let domains = n.div_ceil(1000);
    let stack: &'static Stack = Box::leak(Box::new(Stack::start("bench")));
    let said = |what: &str| eprintln!("bench: {what}");
    world::prepare(stack).await;
    let k = Kubectl::admin(stack, "bench").await;
    let doveadm = Proxy::start(stack, Protocol::Http, stack.port("DOVEADM"));
    let mut backend = world::groupware_backend(stack, GROUPWARE, json!({"from": "All"}));
    // The default of 100 requests a second would be what is measured.
    backend["spec"]["limits"] = json!({"requestsPerSecond": 1000, "concurrency": CONCURRENCY});
    backend["spec"]["resync"] = json!({"interval": "30s"});
    // The proxy counts requests and takes its share of the machine: it is in the way only where nothing is timed.
    let straight = backend["spec"]["sogo"]["doveadm"]["url"].clone();
    let counted = json!(format!("http://127.0.0.1:{}/doveadm/v1", doveadm.port));
    let by_way_of = async |url: &serde_json::Value| {
        let patch = json!({"spec": {"sogo": {"doveadm": {"url": url}}}});
        k.patch("GroupwareBackend", GROUPWARE, patch).await;
        k.ready("GroupwareBackend", GROUPWARE, secs(60)).await;
    };
    backend["spec"]["sogo"]["doveadm"]["url"] = counted.clone();
    k.apply(backend.clone()).await;
    let mut table = Table::new(n, domains);

    said("the floor, nobody else being there");
    Floor::run(stack, "floor-warm", 100, true, &backend).await;
    let before = [
        Floor::run(stack, "floor-two", n, false, &backend).await,
        Floor::run(stack, "floor-three", n, true, &backend).await,
    ];

    said("the operator comes up; a tenant with its domains and one mailbox");
    let tenant = Tenant { k: k.clone(), domains };
    for i in 0..domains {
        dns::create_zone(stack, &load::zone(i)).await;
    }
    let zones: Vec<String> = (0..domains).map(load::zone).collect();
    k.apply(world::dns_backend(stack, "bench", &["bench"], &zones)).await;
    let operator = Operator::start(stack, "bench");
    operator.ready().await;
    let mut meter = Meter::new(stack, doveadm).await;
    k.ready("DNSBackend", "bench", secs(60)).await;
    k.ready("GroupwareBackend", GROUPWARE, secs(60)).await;
    tenant.prepare(n).await;
    Quiet::wait(&operator, secs(3), secs(120)).await;

    said("a few mailboxes whose requests to doveadm are counted");
    let mark = meter.mark(&operator).await;
    let observer = Observer::start(&tenant.k, 1 + FEW).await;
    tenant.apply(n..n + FEW, CONCURRENCY).await;
    observer.all_ready(secs(60)).await;
    table.doveadm(meter.since(&mark, &operator).await.doveadm / FEW as f64);
    by_way_of(&straight).await;
    Quiet::wait(&operator, secs(3), secs(120)).await;

    said("all mailboxes at once");
    let mut pilot = load::Pilot::start(&tenant).await;
    let observer = Observer::start(&tenant.k, n + FEW + 1).await;
    let mark = meter.mark(&operator).await;
    let start = Instant::now();
    let (edits, took) = {
        let work = async {
            tenant.apply(0..n, CONCURRENCY).await;
            observer.all_ready(secs(60 + n as u64 / 5)).await
        };
        tokio::pin!(work);
        let mut edits = vec![];
        let ready = loop {
            tokio::select! { biased;
                at = &mut work => break at,
                took = pilot.edit_after(secs(1)) => edits.push(took),
            }
        };
        let took = ready.duration_since(start);
        table.set_ready(took, &before);
        (edits, took)
    };
    let quiet = Quiet::wait(&operator, secs(5), secs(300)).await;
    let used = meter.since(&mark, &operator).await;
    drop(observer);
    table.creation(quiet.saturating_duration_since(start), &before, &used, edits.len());

    said("an edit with nothing else to do");
    let mut calm = vec![];
    for _ in 0..9 {
        calm.push(pilot.edit_after(Duration::from_millis(300)).await);
    }
    table.edits(&edits, &calm);
    Quiet::wait(&operator, secs(3), secs(60)).await;

    said("at rest");
    let mark = meter.mark(&operator).await;
    tokio::time::sleep(idle).await;
    table.idle(idle, &meter.since(&mark, &operator).await);
    table.memory("resident memory after creation (peak)", &operator);

    said("a restart");
    let mark = meter.mark(&operator).await;
    let status = operator.terminate().await;
    assert!(status.success(), "SIGTERM: {status}");
    let start = Instant::now();
    operator.restart();
    operator.ready().await;
    let listed = start.elapsed();
    let quiet = Quiet::wait(&operator, secs(3), secs(120)).await;
    table.restart(listed, quiet.saturating_duration_since(start), &meter.since(&mark, &operator).await);
    table.memory("resident memory after a restart (peak)", &operator);

    by_way_of(&counted).await;
    Quiet::wait(&operator, secs(3), secs(120)).await;

    said("the namespace is deleted");
    drop(pilot);
    let mark = meter.mark(&operator).await;
    let start = Instant::now();
    tenant.k.delete("Namespace", "bench").await;
    let empty = tenant.empty(secs(120 + n as u64)).await.duration_since(start);
    let used = meter.since(&mark, &operator).await;
    let gone = tenant.gone(secs(120)).await.duration_since(start);
    table.deletion(empty, gone, &used);

    let status = operator.terminate().await;
    assert!(status.success(), "SIGTERM: {status}");
    if n <= 2000 {
        said("the floor once more: how much the machine moved meanwhile");
        let after = [
            Floor::run(stack, "floor-two-b", n, false, &backend).await,
            Floor::run(stack, "floor-three-b", n, true, &backend).await,
        ];
        table.floor_again(took, &before, &after);
    }
    table.print();
}
