//! How much a mailbox may hold, where its tenant booked a total: the view that Dovecot reads its limits from.

use crate::conformance::*;
use crate::outside::{Mail, Outside, until};
use crate::stack::{Sql, Stack};
use mailtenant_groupware::*;

const A: &str = "a@acme.test";
const B: &str = "b@acme.test";
const C: &str = "c@acme.example.test";

/// Tenant acme with a total and its mailboxes in two domains, each with a quota and what it holds; the limits as Dovecot
/// is told them, in the order of `mailboxes`.
async fn limits(b: &dyn GroupwareServer, sql: &Sql, total: u64, mailboxes: &[(&str, u64, u64)]) -> Vec<i64> {
    b.ensure_tenant(&TenantWant { storage: total, ..tenant("t", "acme") }).await.unwrap();
    let mut seen = vec![];
    for (address, quota, holds) in mailboxes {
        let mut want = mailbox(address, address, "acme", "secret");
        want.settings.quota = *quota;
        b.ensure_mailbox(&want).await.unwrap();
        sql.run(&format!(
            "INSERT INTO quota2 (username, bytes, messages) VALUES ('{address}', {holds}, 1)
             ON CONFLICT (username) DO UPDATE SET bytes = excluded.bytes"
        ))
        .await;
    }
    for (address, _, _) in mailboxes {
        seen.push(
            sql.count(&format!("SELECT quota_effective::bigint FROM mailbox_quota WHERE username = '{address}'")).await,
        );
    }
    seen
}

#[tokio::test]
async fn a_mailbox_may_hold_what_it_has_and_what_its_tenant_has_left() {
    let stack = Stack::up();
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    b.probe().await.unwrap();
    b.ensure_tenant(&tenant("t", "acme")).await.unwrap();
    b.ensure_tenant(&TenantWant { storage: 10, ..tenant("t2", "beta") }).await.unwrap();
    for (uid, name, of) in [("d", "acme.test", "acme"), ("e", "acme.example.test", "acme"), ("f", "beta.test", "beta")]
    {
        b.ensure_domain(&domain(uid, name, of)).await.unwrap();
    }
    // Whoever else is full has nothing to do with it.
    b.ensure_mailbox(&mailbox("z", "z@beta.test", "beta", "secret")).await.unwrap();
    sql.run("INSERT INTO quota2 (username, bytes, messages) VALUES ('z@beta.test', 1000000, 1)").await;

    // What is left belongs to whoever comes first, so each is told all of it: 0 means no limit.
    for (case, total, holds, want) in [
        ("no total: their own limits, whatever they hold", 0, [(100, 50), (100, 500), (0, 900)], [100, 100, 0]),
        ("room for all: their own limits", 10_000, [(100, 50), (200, 0), (300, 300)], [100, 200, 300]),
        ("less room than their own limits: what is left", 1000, [(900, 300), (900, 200), (900, 0)], [800, 700, 500]),
        ("the smaller of the two, one by one", 1000, [(400, 300), (900, 200), (100, 0)], [400, 700, 100]),
        ("no limit of their own: what is left", 1000, [(0, 300), (0, 0), (0, 200)], [800, 500, 700]),
        ("nothing left: what they hold", 1000, [(900, 600), (0, 300), (900, 100)], [600, 300, 100]),
        (
            "over it already: what they hold, none of it is too much",
            1000,
            [(900, 800), (0, 700), (500, 50)],
            [800, 700, 50],
        ),
        (
            "nothing left for one that holds nothing: next to nothing, since 0 is no limit",
            1000,
            [(900, 1000), (0, 0), (500, 0)],
            [900, 1, 1],
        ),
        ("over its own limit: that limit, as without a total", 1000, [(100, 300), (0, 0), (900, 0)], [100, 700, 700]),
    ] {
        let all: Vec<_> = [A, B, C].into_iter().zip(holds).map(|(a, (quota, bytes))| (a, quota, bytes)).collect();
        assert_eq!(limits(&*b, &sql, total, &all).await, want, "{case}");
    }

    // What a mailbox that is switched off holds lies there all the same.
    assert_eq!(limits(&*b, &sql, 1000, &[(A, 0, 600), (B, 0, 100), (C, 0, 0)]).await, [900, 400, 300]);
    b.release_mailbox(&uid(A), &at(A)).await.unwrap();
    assert_eq!(limits(&*b, &sql, 1000, &[(B, 0, 100), (C, 0, 0)]).await, [400, 300]);
    // Nobody's domain has no total.
    sql.run("UPDATE domain SET tenant = NULL WHERE domain = 'acme.example.test'").await;
    let orphan = sql.count(&format!("SELECT quota_effective::bigint FROM mailbox_quota WHERE username = '{C}'")).await;
    assert_eq!(orphan, 0);
}

/// Dovecot asks for it at every delivery: one mailbox fills what the other could have had.
#[tokio::test]
async fn dovecot_keeps_mailboxes_within_their_tenants_total() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    b.probe().await.unwrap();
    let total = async |storage| {
        b.ensure_tenant(&TenantWant { storage, ..tenant("t", "acme") }).await.unwrap();
    };
    total(400 << 10).await;
    b.ensure_domain(&domain("d", "acme.test", "acme")).await.unwrap();
    for address in [A, B] {
        b.ensure_mailbox(&mailbox(address, address, "acme", "secret")).await.unwrap();
    }
    let big = |to, size| Mail { from: "x@ext.test", to, login: None, subject: "big", size };
    assert_eq!(out.send(&big(A, 300 << 10)).await, 250);
    let held = format!("SELECT count(*) FROM quota2 WHERE username = '{A}' AND bytes >= {}", 300 << 10);
    until("it is counted", async || sql.count(&held).await == 1).await;
    assert_eq!(out.send(&big(B, 200 << 10)).await, 552, "what the other one could have had");
    assert_eq!(out.send(&big(A, 200 << 10)).await, 552, "nor may who filled it hold more");
    assert_eq!(out.send(&big(B, 20 << 10)).await, 250, "what is left is for all");
    total(4 << 20).await;
    assert_eq!(out.send(&big(B, 200 << 10)).await, 250);
    total(0).await;
    assert_eq!(out.send(&big(B, 5 << 20)).await, 250);
}
