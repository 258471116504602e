//! `make bench`: one table of times, writes and reads, each ratio taken in one run on one control plane.
//!
//! First a floor program makes the writes of as many Mailboxes, and nothing else ([`floor`]). Then the operator has
//! them as a user does ([`phases`]): applied at once, edited while others are made, at rest, restarted, with a rotated
//! Secret of their backend, deleted with their namespace. The finalizer's admission policy ([`policy`]) is there for the
//! operator and not for the floor. Last come many small tenants ([`many`]). Whoever watches (this program, [`observer`])
//! costs the same in all runs. Numbers come from the apiserver's audit log, PostgreSQL's statement counter, `/proc` and the
//! operator's own metrics ([`measure`]).
//!
//! `N` mailboxes (1,000), in domains of 1,000; `IDLE` seconds at rest (600); `NAMESPACES` small tenants (1,000; 0: none);
//! `POLICY=0` without the policy.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

#[path = "../harness/mod.rs"]
mod harness;

mod floor;
mod load;
mod many;
mod measure;
mod neighbour;
mod observer;
mod phases;
mod policy;
mod table;

use harness::{secs, setting};
use phases::{Bench, Platform};
use std::time::Duration;
use table::Table;

/// Passes of a backend at a time (`spec.limits.concurrency`, its default), and writers of the floor.
const CONCURRENCY: usize = 16;

fn main() {
    // `cargo test --benches` asks for a list: there is nothing to list.
    if std::env::args().any(|a| a == "--list") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(run(
        setting("N", 1000usize).max(10),
        secs(setting("IDLE", 600)),
        setting("NAMESPACES", 1000),
        setting("POLICY", 1) != 0,
    ));
}

async fn run(n: usize, idle: Duration, namespaces: usize, with_policy: bool) {
    let platform = Platform::start().await;
    let mut table = Table::new(n, n.div_ceil(1000));
    said("the floor, nobody else being there");
    platform.floor("floor-warm", 100, true).await;
    let before = [platform.floor("floor-two", n, false).await, platform.floor("floor-three", n, true).await];
    if with_policy {
        policy::install(&platform.k).await;
    }
    let mut bench = Bench::start(platform, n).await;
    bench.few(&mut table).await;
    let took = bench.creation(&mut table, &before).await;
    bench.rest(&mut table, idle).await;
    bench.restart(&mut table).await;
    bench.fan_out(&mut table).await;
    bench.neighbour(&mut table).await;
    bench.deletion(&mut table).await;
    bench.end().await;
    if n <= 2000 {
        said("the floor once more: how much the machine moved meanwhile");
        if with_policy {
            policy::remove(&bench.platform.k).await;
        }
        let after =
            [bench.platform.floor("floor-two-b", n, false).await, bench.platform.floor("floor-three-b", n, true).await];
        table.floor_again(took, &before, &after);
        if with_policy {
            policy::install(&bench.platform.k).await;
        }
    }
    // After the floor, which their objects in the control plane would slow down.
    if namespaces > 0 {
        bench.namespaces(&mut table, namespaces).await;
        bench.end().await;
    }
    table.print();
}

/// What is being done, for who looks on.
fn said(what: &str) {
    eprintln!("bench: {what}");
}
