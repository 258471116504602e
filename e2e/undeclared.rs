//! Rows whose object no longer exists hold nothing up, and are not destroyed: nobody said that they may be.

use crate::harness::world::World;
use crate::harness::{mail, secs};
use serde_json::json;

const OUTSIDER: &str = "x@elsewhere.example";

/// As a person does who is tired of waiting.
async fn removed_by_force(w: &World, kind: &str, name: &str) {
    // Without a pause the operator would take it down first.
    w.k.annotate(kind, name, "mailtenant.dev/paused", "true").await;
    w.k.condition(kind, name, "Ready", ("False", "Paused"), secs(60)).await;
    w.k.delete(kind, name).await;
    w.k.patch(kind, name, json!({"metadata": {"finalizers": null}})).await;
    w.k.gone(kind, name, secs(60)).await;
}

#[tokio::test]
async fn a_finalizer_that_was_taken_off_by_hand_does_not_wedge_the_namespace() {
    let w = World::new("byforce").await;
    w.tenant(&["alice", "bob"]).await;
    w.k.apply(w.alias("info", "main", "info", &["bob"])).await;
    w.k.ready("MailAlias", "info", secs(60)).await;
    let (alice, password) = (w.address("alice"), w.password("alice").await);
    mail::send(w.stack, OUTSIDER, &alice, "kept", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &password), "kept").await;
    removed_by_force(&w, "Mailbox", "alice").await;
    removed_by_force(&w, "MailAlias", "info").await;
    let store = w.sql.row("mailbox", &format!("username = '{alice}'")).await.expect("it is there")["store_uid"].clone();

    for kind in ["MailInstance", "MailDomain", "Mailbox"] {
        w.k.delete_all(kind).await;
    }
    w.k.event("Mailbox", "bob", "Retained", &["info@", "no longer exist"], secs(60)).await;
    w.k.event("MailDomain", "main", "Retained", &["alice@", "no longer exist"], secs(60)).await;
    w.empty(secs(120)).await;
    let row = w.sql.row("mailbox", &format!("username = '{alice}'")).await.expect("it is kept");
    assert_eq!((&row["owner"], &row["active"], &row["store_uid"]), (&json!(null), &json!(false), &store));
    let alias = w.sql.row("alias", &format!("address = '{}'", w.address("info"))).await.expect("it is kept");
    assert_eq!((&alias["owner"], &alias["active"]), (&json!(null), &json!(false)));
    assert!(!mail::imap_login(w.stack, (&alice, &password)).await, "it is switched off");
    let (code, _) = mail::offer(w.stack, &alice, 0).await;
    assert!(code >= 400, "no mail is taken: {code}");
    // What was deleted in the usual way is gone.
    assert_eq!(w.sql.row("mailbox", &format!("username = '{}'", w.address("bob"))).await, None);
}
