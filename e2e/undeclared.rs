//! Rows whose object no longer exists are reported, hold nothing up, and are not destroyed: nobody said that they may be.

use crate::harness::world::{World, groupware_backend};
use crate::harness::{eventually, mail, secs};
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

/// The gauge of the test's own backend.
async fn gauge(w: &World, right: f64) {
    let line = format!("mailtenant_undeclared_objects{{backend=\"{}\"}}", w.ns);
    eventually(&format!("{line} is {right}"), secs(60), || async {
        let is = w.platform.operator.metric(&line).await;
        if is == Some(right) { Ok(()) } else { Err(is) }
    })
    .await;
}

/// A tenant on a GroupwareBackend of its own, whose name is the namespace's.
async fn on_its_own_backend(w: &World, mailboxes: &[&str]) {
    w.k.apply(groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}))).await;
    w.k.ready("GroupwareBackend", &w.ns, secs(60)).await;
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    for name in mailboxes {
        w.k.apply(w.mailbox(name, "main")).await;
    }
    for name in mailboxes {
        w.k.ready("Mailbox", name, secs(120)).await;
    }
    w.k.ready("MailDomain", "main", secs(120)).await;
}

#[tokio::test]
async fn a_row_without_an_object_is_named_until_its_object_is_declared_again() {
    let w = World::new("named").await;
    on_its_own_backend(&w, &["alice", "bob"]).await;
    w.k.condition("MailDomain", "main", "Undeclared", ("False", "Succeeded"), secs(60)).await;
    gauge(&w, 0.0).await;
    removed_by_force(&w, "Mailbox", "alice").await;
    let domain = w.k.condition("MailDomain", "main", "Undeclared", ("True", "Succeeded"), secs(60)).await;
    let said = domain["status"]["conditions"].to_string();
    let step = format!("spec.recovery of GroupwareBackend {}", w.ns);
    for words in [format!("{} (Mailbox alice) at the backend", w.address("alice")), step] {
        assert!(said.contains(&words), "{words}: {said}");
    }
    assert!(!said.contains("bob@"), "{said}");
    gauge(&w, 1.0).await;
    // The domain is as declared, and nothing is removed.
    w.k.ready("MailDomain", "main", secs(30)).await;
    assert!(w.sql.row("mailbox", &format!("username = '{}' AND active", w.address("alice"))).await.is_some());

    let consent = json!({"allowedNamespaces": {"from": "Names", "names": [w.ns]}});
    w.k.patch("GroupwareBackend", &w.ns, json!({"spec": {"recovery": consent}})).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.ready("Mailbox", "alice", secs(120)).await;
    w.k.condition("MailDomain", "main", "Undeclared", ("False", "Succeeded"), secs(60)).await;
    gauge(&w, 0.0).await;
    for kind in ["MailInstance", "MailDomain", "Mailbox"] {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(120)).await;
    w.k.delete("GroupwareBackend", &w.ns).await;
    w.k.gone("GroupwareBackend", &w.ns, secs(60)).await;
}

/// Its MailDomain goes by force, before a mailbox that goes in the usual way and beside one that goes by force too.
#[tokio::test]
async fn a_domain_without_its_object_does_not_wedge_its_instance() {
    let w = World::new("headless").await;
    w.tenant(&["alice", "bob"]).await;
    w.k.apply(w.alias("info", "main", "info", &["bob"])).await;
    w.k.ready("MailAlias", "info", secs(60)).await;
    removed_by_force(&w, "Mailbox", "alice").await;
    removed_by_force(&w, "MailDomain", "main").await;
    w.k.not_ready("Mailbox", "bob", "DomainNotFound", secs(60)).await;

    w.k.delete("MailInstance", "acme").await;
    w.k.blocked("MailInstance", "acme", "HasAliases", &["info"], secs(60)).await;
    for kind in ["MailAlias", "Mailbox"] {
        w.k.delete_all(kind).await;
    }
    w.k.event("MailInstance", "acme", "Retained", &["alice@", "no longer exist"], secs(120)).await;
    w.empty(secs(120)).await;
    let (zone, alice, bob) = (w.zone(), w.address("alice"), w.address("bob"));
    let off = |row: serde_json::Value| (row["owner"].clone(), row["active"].clone());
    let nobody = (json!(null), json!(false));
    let domain = w.sql.row("domain", &format!("domain = '{zone}'")).await.expect("it is kept");
    let tenant = domain["tenant"].as_str().expect("a tenant").to_owned();
    assert_eq!(off(domain), nobody);
    assert_eq!(off(w.sql.row("mailbox", &format!("username = '{alice}'")).await.expect("it is kept")), nobody);
    assert_eq!(off(w.sql.row("tenant", &format!("name = '{tenant}'")).await.expect("it is kept")), nobody);
    // What was deleted in the usual way is gone, as its policy says.
    assert_eq!(w.sql.row("mailbox", &format!("username = '{bob}'")).await, None);
    assert_eq!(w.sql.row("alias", &format!("address = '{}'", w.address("info"))).await, None);
    let (code, _) = mail::offer(w.stack, &alice, 0).await;
    assert!(code >= 400, "no mail is taken: {code}");
}
