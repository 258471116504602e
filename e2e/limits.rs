//! The numbers that an instance allows: the youngest waits, the others go on, and it comes when one of them goes.

use crate::harness::kubectl::condition_of;
use crate::harness::world::World;
use crate::harness::{eventually, mail, secs};
use serde_json::{Value, json};

const OUTSIDER: &str = "x@elsewhere.example";

/// Waits until the instance says that it has these.
async fn counts(w: &World, usage: Value) {
    eventually(&format!("usage is {usage}"), secs(60), || async {
        let instance = w.k.get("MailInstance", "acme").await.expect("it is there");
        let told = instance["status"]["usage"].clone();
        if told == usage { Ok(()) } else { Err(told) }
    })
    .await
}

/// Waits until it is refused as one too many, in words that name what is to be raised.
async fn one_too_many(w: &World, kind: &str, name: &str, what: &str, limit: u64) {
    let object = w.k.not_ready(kind, name, "LimitExceeded", secs(60)).await;
    let said = condition_of(&object, "Stalled").expect("only a person can help")["message"].to_string();
    let allowed = format!("MailInstance acme allows {limit} {what}");
    assert!(said.contains(&allowed) && said.contains(&format!("spec.limits.{what}")), "{said}");
}

#[tokio::test]
async fn one_more_than_is_allowed_waits_until_there_is_room() {
    let w = World::new("limits").await;
    // Names inside of the test's own zone.
    let zones = ["spare", "second"].map(|n| format!("{n}.{}", w.zone()));
    let mut instance = w.instance("acme");
    instance["spec"]["limits"] = json!({"domains": 2, "mailboxes": 2, "aliases": 1});
    w.k.apply(instance).await;
    w.k.ready("MailInstance", "acme", secs(60)).await;
    counts(&w, json!({"domains": 0, "mailboxes": 0, "aliases": 0, "storageAllocated": "0", "storageUsed": "0"})).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    w.k.apply(w.domain("spare", "acme", &zones[0])).await;
    for name in ["alice", "bob"] {
        w.k.apply(w.mailbox(name, "main")).await;
    }
    w.k.apply(w.alias("info", "main", "info", &["bob"])).await;
    let allowed = [
        ("MailDomain", "main"),
        ("MailDomain", "spare"),
        ("Mailbox", "alice"),
        ("Mailbox", "bob"),
        ("MailAlias", "info"),
    ];
    for (kind, name) in allowed {
        w.k.ready(kind, name, secs(120)).await;
    }
    counts(&w, json!({"domains": 2, "mailboxes": 2, "aliases": 1, "storageAllocated": "20Mi", "storageUsed": "0"}))
        .await;

    let before = w.sql.snapshot(&format!("%{}%", w.ns)).await;
    w.k.apply(w.domain("second", "acme", &zones[1])).await;
    w.k.apply(w.mailbox("carol", "main")).await;
    w.k.apply(w.alias("sales", "main", "sales", &["bob"])).await;
    one_too_many(&w, "MailDomain", "second", "domains", 2).await;
    one_too_many(&w, "Mailbox", "carol", "mailboxes", 2).await;
    one_too_many(&w, "MailAlias", "sales", "aliases", 1).await;
    for (kind, name) in allowed {
        w.k.ready(kind, name, secs(1)).await;
    }
    assert_eq!(w.sql.snapshot(&format!("%{}%", w.ns)).await, before, "nothing of them is made");
    assert!(w.k.get("Secret", "carol-mail").await.is_none());
    assert!(w.k.get("MailDomainClaim", &zones[1]).await.is_none(), "a name is held that cannot be used");
    // What is declared is counted, whether there is room for it or not.
    counts(&w, json!({"domains": 3, "mailboxes": 3, "aliases": 2, "storageAllocated": "30Mi", "storageUsed": "0"}))
        .await;

    for (kind, old, new) in
        [("MailAlias", "info", "sales"), ("Mailbox", "alice", "carol"), ("MailDomain", "spare", "second")]
    {
        w.k.delete(kind, old).await;
        w.k.gone(kind, old, secs(60)).await;
        w.k.ready(kind, new, secs(60)).await;
    }
    counts(&w, json!({"domains": 2, "mailboxes": 2, "aliases": 1, "storageAllocated": "20Mi", "storageUsed": "0"}))
        .await;

    // Lowered below what is there: the youngest is over it and says so, and nobody's mail ends.
    w.k.patch("MailInstance", "acme", json!({"spec": {"limits": {"mailboxes": 1}}})).await;
    one_too_many(&w, "Mailbox", "carol", "mailboxes", 1).await;
    w.k.ready("Mailbox", "bob", secs(30)).await;
    let (carol, password) = (w.address("carol"), w.password("carol").await);
    mail::send(w.stack, OUTSIDER, &carol, "still there", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&carol, &password), "still there").await;
    w.k.patch("MailInstance", "acme", json!({"spec": {"limits": {"mailboxes": null}}})).await;
    w.k.ready("Mailbox", "carol", secs(60)).await;
}

/// Who is over the number may not be given more storage beside that: it keeps the quota that it has.
#[tokio::test]
async fn one_too_many_gets_no_larger_quota() {
    let w = World::new("over").await;
    w.tenant(&["alice"]).await;
    w.k.apply(w.mailbox("bob", "main")).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;
    let quotas = format!("SELECT quota / 1048576 FROM mailbox WHERE domain = '{}' ORDER BY username", w.zone());
    let limit = |limit: Value| json!({"spec": {"limits": {"mailboxes": limit}}});
    w.k.patch("MailInstance", "acme", limit(json!(1))).await;
    one_too_many(&w, "Mailbox", "bob", "mailboxes", 1).await;
    w.k.patch("Mailbox", "bob", json!({"spec": {"quota": "100Ti", "displayName": "Bob the Big"}})).await;
    one_too_many(&w, "Mailbox", "bob", "mailboxes", 1).await;
    let bob = w.k.get("Mailbox", "bob").await.expect("it is there");
    assert_eq!(
        (&bob["status"]["quota"], w.sql.column(&quotas).await),
        (&json!("10Mi"), vec!["10".into(), "10".into()])
    );
    let row = w.sql.row("mailbox", &format!("username = '{}'", w.address("bob"))).await.expect("a row");
    assert_eq!(row["name"], "Bob the Big", "all else of it is carried out");

    // Where all share the storage no quota is too large, but it is one too many all the same.
    w.k.patch("MailInstance", "acme", json!({"spec": {"storagePolicy": "Share"}})).await;
    w.k.ready("MailInstance", "acme", secs(60)).await;
    w.k.patch("Mailbox", "bob", json!({"spec": {"displayName": "Bob"}})).await;
    one_too_many(&w, "Mailbox", "bob", "mailboxes", 1).await;
    assert_eq!(w.sql.column(&quotas).await, ["10", "10"]);
    w.k.patch("MailInstance", "acme", json!({"spec": {"storagePolicy": "Allocate"}})).await;

    // Allowed again it may ask, as everybody may.
    w.k.patch("MailInstance", "acme", limit(Value::Null)).await;
    w.k.not_ready("Mailbox", "bob", "QuotaExceeded", secs(60)).await;
    w.k.patch("Mailbox", "bob", json!({"spec": {"quota": "20Mi"}})).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;
    assert_eq!(w.sql.column(&quotas).await, ["10", "20"]);
}
