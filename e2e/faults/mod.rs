//! I2: whatever goes wrong between the operator and a backend or Kubernetes, at creation, change or deletion: no finalizer
//! goes without proof, nothing is made twice, the condition names it, and once the fault is gone the end is right.
//!
//! `table` says what goes wrong, `wired` is a tenant whose servers are reached through proxies, `life` drives one through
//! faults: at each step every kind of call fails until it was seen to fail and to be named, one kind after the other. So
//! a call that is new fails too, without anybody naming it here. `kube` does the same with the Kubernetes API.

mod kube;
mod life;
mod table;
mod wired;

use crate::harness::kubectl::{conditions, is_ready};
use crate::harness::proxy::{Fault, When};
use crate::harness::world::Platform;
use crate::harness::{dns, eventually, secs};
use futures::StreamExt;
use life::Life;
use std::collections::{BTreeMap, BTreeSet};
use table::{Row, WIRES, Wire, rows};
use wired::Wired;

/// What one life saw.
#[derive(Default)]
struct Seen {
    /// Kinds of call that were broken, by wire.
    broken: BTreeMap<Wire, BTreeSet<String>>,
    /// Operations on backends that failed, as the operator counts them.
    failed: BTreeSet<String>,
}

async fn live(row: Row, resolvers: bool) -> Seen {
    let mut life = Life::new(row, resolvers).await;
    life.made_changed_deleted().await;
    life.retained().await;
    life.adopted().await;
    life.migrated().await;
    let mut seen = Seen { failed: life.failed, ..Seen::default() };
    for ((_, wire), kinds) in life.verified {
        seen.broken.entry(wire).or_default().extend(kinds);
    }
    seen
}

/// Names in the source that stand behind one of these beginnings: `self.count("probe"` gives `probe`.
fn named_in(source: &str, beginnings: &[&str]) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let names = beginnings.iter().flat_map(|b| code.split(b).skip(1).filter_map(|rest| rest.split('"').next()));
    names.map(str::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_to_a_server_may_fail() {
    // One alone, to look at.
    let only: Option<usize> = std::env::var("FAULT_ROW").ok().and_then(|n| n.parse().ok());
    let chosen = rows().into_iter().enumerate().filter(|(n, _)| only.is_none_or(|o| o == *n));
    let lives = chosen.map(|(n, row)| async move {
        let what = format!("FAULT_ROW={n}: {row:?}");
        tokio::spawn(live(row, n % 2 == 0)).await.map_err(|e| format!("{what}: {e}"))
    });
    let lives: Vec<_> = futures::stream::iter(lives).buffer_unordered(12).collect().await;
    let (good, bad): (Vec<_>, Vec<_>) = lives.into_iter().partition(Result::is_ok);
    let bad: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    no_panic(Platform::shared()).await;
    if only.is_some() {
        return;
    }

    // Every call that the source knows was broken, under each fault that a call of its kind can meet.
    let mut failed = BTreeSet::new();
    let mut broken = BTreeMap::<Wire, BTreeSet<String>>::new();
    for seen in good.into_iter().flatten() {
        failed.extend(seen.failed);
        for (wire, kinds) in seen.broken {
            broken.entry(wire).or_default().extend(kinds);
        }
    }
    let operations = [include_str!("../../src/groupware/metered.rs"), include_str!("../../src/dns/metered.rs")];
    for source in operations {
        let missing: Vec<_> = named_in(source, &["self.count(\""]).difference(&failed).cloned().collect();
        assert!(missing.is_empty(), "operations that never failed: {missing:?}");
    }
    let doveadm = include_str!("../../src/groupware/dovecot/doveadm.rs");
    let commands = named_in(doveadm, &["self.call(\"", "self.done(\""]);
    let missing: Vec<_> = commands.difference(&broken[&Wire::Doveadm]).collect();
    assert!(missing.is_empty(), "doveadm commands that never failed: {missing:?}");
    for wire in WIRES {
        println!("{wire:?}: {} kinds of call were broken", broken[&wire].len());
    }
}

/// Passes that panicked, as the operator counts them: none.
async fn no_panic(platform: &Platform) {
    // Other tests may have killed it just now.
    let panics = eventually("the operator answers", secs(30), || async {
        platform.operator.metric("mailtenant_panics_total").await.ok_or("no answer")
    });
    assert_eq!(panics.await, 0.0);
}

/// The server is gone for a whole step, not at one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_waited_for() {
    let gone = WIRES
        .into_iter()
        .map(|wire| async move { tokio::spawn(away(wire)).await.err().map(|e| format!("{wire:?}: {e}")) });
    let failed: Vec<_> = futures::stream::iter(gone).buffer_unordered(3).filter_map(|f| async { f }).collect().await;
    assert!(failed.is_empty(), "{failed:#?}");
}

async fn away(wire: Wire) {
    let t = Wired::new("away", true).await;
    let w = &t.w;
    t.apply(|_, _| {}).await;
    t.prove("main").await;
    t.all_ready().await;
    t.proxy(wire).fail(Fault::Refuse, When::Always);
    if wire == Wire::Smtp {
        // It is asked before MX is switched and never again: another domain shows it.
        let zone = format!("second.{}", w.zone());
        w.k.apply(w.domain("second", "acme", &zone)).await;
        w.k.apply(w.mailbox("bob", "second")).await;
        t.prove("second").await;
        t.named(&["MailDomain"], wire, &["BackendUnreachable"]).await;
        assert!(
            dns::contents(w.stack, &w.zone(), &zone, "MX").await.is_empty(),
            "nobody has said that it is taken (I7)"
        );
        t.proxy(wire).heal();
        eventually("the second domain is ready", secs(120), || async {
            t.hurry().await;
            let domain = w.k.get("MailDomain", "second").await.ok_or("gone")?;
            if is_ready(&domain) { Ok(()) } else { Err(conditions(&domain)) }
        })
        .await;
    }
    for kind in ["MailAlias", "Mailbox", "MailDomain", "MailInstance"] {
        w.k.delete_all(kind).await;
    }
    if wire != Wire::Smtp {
        t.named(&["MailAlias", "Mailbox", "MailDomain", "MailInstance"], wire, &["BackendUnreachable"]).await;
        // However often it is tried: nothing goes that needs it.
        for _ in 0..3 {
            t.hurry().await;
            t.nothing_went_without_proof().await;
            tokio::time::sleep(secs(1)).await;
        }
        eventually("the one that needs it stays", secs(5), || async {
            let left = t.objects();
            if left.iter().any(|o| o["metadata"]["name"] == wire.last()) { Ok(()) } else { Err(left) }
        })
        .await;
    }
    t.proxy(wire).heal();
    t.hurry().await;
    t.all_gone(secs(240)).await;
}
