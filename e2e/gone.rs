//! No operator for a while, and none any more: mail goes on, nothing is lost, and the next one carries on.

use crate::harness::operator::Again;
use crate::harness::world::{Platform, World};
use crate::harness::{eventually, mail, secs};
use serde_json::{Value, json};

const OUTSIDER: &str = "x@elsewhere.example";

async fn gets_mail(w: &World, name: &str, password: &str, subject: &str) {
    let address = w.address(name);
    mail::send(w.stack, OUTSIDER, &address, subject, None).await.expect("mail is taken");
    mail::arrives(w.stack, (&address, password), subject).await;
}

#[tokio::test]
async fn what_was_declared_meanwhile_is_carried_out_and_nothing_else_is_written() {
    let w = World::on(Platform::audited, "away").await;
    w.tenant(&["alice", "bob", "untouched"]).await;
    let (alice, bob) = (w.password("alice").await, w.password("bob").await);
    let operator = &w.platform.operator;
    let _alone = operator.alone.lock().await;
    let _again = Again(operator);
    operator.ready().await;
    let version =
        async || w.k.get("Mailbox", "untouched").await.expect("it is there")["metadata"]["resourceVersion"].clone();
    let before = version().await;
    assert!(operator.terminate().await.success(), "{}", operator.tail(5));

    w.k.apply(w.mailbox("carol", "main")).await;
    w.k.patch("Mailbox", "alice", json!({"spec": {"displayName": "Meanwhile"}})).await;
    w.k.delete("Mailbox", "bob").await;
    gets_mail(&w, "alice", &alice, "while nobody works").await;
    // Its deletion waits, and so it still takes mail.
    gets_mail(&w, "bob", &bob, "not yet gone").await;
    let leaving = w.k.get("Mailbox", "bob").await.expect("its finalizer holds it");
    assert!(leaving["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(w.k.get("Mailbox", "carol").await.expect("it is there")["status"]["observedGeneration"], -1);

    operator.restart();
    operator.ready().await;
    w.k.ready("Mailbox", "carol", secs(60)).await;
    w.k.gone("Mailbox", "bob", secs(60)).await;
    eventually("the change is at the server", secs(60), || async {
        let row = w.sql.row("mailbox", &format!("username = '{}'", w.address("alice"))).await.expect("it is there");
        if row["name"] == "Meanwhile" { Ok(()) } else { Err(row) }
    })
    .await;
    assert_eq!(version().await, before, "a mailbox that nobody changed was written");
    let carol = w.password("carol").await;
    gets_mail(&w, "carol", &carol, "and on it goes").await;
}

/// As `docs/install.md` says it for who gives mailtenant up, in one namespace.
#[tokio::test]
async fn without_the_operator_objects_go_by_force_and_mail_stays() {
    let w = World::on(Platform::audited, "givenup").await;
    w.tenant(&["alice"]).await;
    w.k.apply(w.alias("info", "main", "info", &["alice"])).await;
    w.k.ready("MailAlias", "info", secs(60)).await;
    let password = w.password("alice").await;
    let operator = &w.platform.operator;
    let _alone = operator.alone.lock().await;
    let _again = Again(operator);
    operator.ready().await;
    assert!(operator.terminate().await.success(), "{}", operator.tail(5));
    let like = format!("%{}%", w.zone());
    let rows = w.sql.snapshot(&like).await;

    for (kind, name) in [("MailAlias", "info"), ("Mailbox", "alice"), ("MailDomain", "main"), ("MailInstance", "acme")]
    {
        w.k.patch(kind, name, json!({"metadata": {"finalizers": Value::Null}})).await;
        w.k.delete(kind, name).await;
        w.k.gone(kind, name, secs(30)).await;
    }
    assert_eq!(w.sql.snapshot(&like).await, rows);
    gets_mail(&w, "alice", &password, "nobody declares it").await;

    // An operator that comes later leaves it alone: nobody said that it may be destroyed.
    operator.restart();
    operator.ready().await;
    w.k.apply(w.instance("later")).await;
    w.k.ready("MailInstance", "later", secs(60)).await;
    gets_mail(&w, "alice", &password, "still there").await;
    let owned = format!("username = '{}' AND active AND owner IS NOT NULL", w.address("alice"));
    assert!(w.sql.row("mailbox", &owned).await.is_some());
}
