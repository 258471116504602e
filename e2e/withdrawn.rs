//! I11 over time: what a tenant was allowed once and is not any more. Nothing that it has is lost, nothing new is made, and
//! it may still take down what it has, with proof.

use crate::harness::kubectl::{KINDS, TENANT_KINDS};
use crate::harness::world::{World, dns_backend, groupware_backend};
use crate::harness::{dns, mail, secs};
use serde_json::{Value, json};

const OUTSIDER: &str = "x@elsewhere.example";
const REASON: &str = "BackendNotAllowed";

/// Objects of a tenant of this file, parents first.
const OBJECTS: [(&str, &str); 5] =
    [("MailInstance", "acme"), ("MailDomain", "main"), ("Mailbox", "alice"), ("Mailbox", "bob"), ("MailAlias", "info")];

/// Everything that must not change.
async fn at_the_servers(w: &World) -> (Vec<String>, dns::Zone) {
    (w.sql.snapshot(&format!("%{}%", w.ns)).await, dns::snapshot(w.stack, &w.zone()).await)
}

/// A tenant on the backend of this name, ready.
async fn tenant(w: &World, groupware: &str) {
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(groupware);
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    for name in ["alice", "bob"] {
        w.k.apply(w.mailbox(name, "main")).await;
    }
    w.k.apply(w.alias("info", "main", "info", &["alice"])).await;
    all_ready(w).await;
}

async fn all_ready(w: &World) {
    for (kind, name) in OBJECTS {
        w.k.ready(kind, name, secs(120)).await;
    }
}

/// Users notice nothing: mail comes in, people sign in and write.
async fn mail_flows(w: &World, subject: &str) {
    let (alice, bob) = (w.address("alice"), w.address("bob"));
    let passwords = (w.password("alice").await, w.password("bob").await);
    mail::send(w.stack, OUTSIDER, &w.address("info"), subject, None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &passwords.0), subject).await;
    mail::send(w.stack, &alice, &bob, subject, Some((&alice, &passwords.0))).await.expect("mail is sent");
    mail::arrives(w.stack, (&bob, &passwords.1), subject).await;
}

/// It says that it may not, and whom to ask for what.
async fn not_allowed(w: &World, kind: &str, name: &str) -> Value {
    let object = w.k.not_ready(kind, name, REASON, secs(60)).await;
    let said = object["status"]["conditions"].to_string();
    assert!(said.contains("ask the platform team") && said.contains("llowed"), "{said}");
    object
}

#[tokio::test]
async fn a_namespace_that_loses_its_label_keeps_what_it_has_and_gets_nothing_new() {
    let w = World::new("unlabelled").await;
    tenant(&w, crate::harness::world::GROUPWARE).await;
    let (rows, records) = at_the_servers(&w).await;

    w.k.patch("Namespace", &w.ns, json!({"metadata": {"labels": {"mail": null}}})).await;
    for (kind, name) in OBJECTS {
        not_allowed(&w, kind, name).await;
    }
    mail_flows(&w, "without the label").await;

    // Nothing new, and no change to what is there.
    w.k.apply(w.mailbox("carol", "main")).await;
    w.k.apply(w.alias("more", "main", "more", &["bob"])).await;
    w.k.apply(w.instance("second")).await;
    w.k.apply(w.domain("below", "acme", &format!("below.{}", w.zone()))).await;
    w.k.patch("Mailbox", "alice", json!({"spec": {"displayName": "renamed"}})).await;
    let new = [("Mailbox", "carol"), ("MailAlias", "more"), ("MailInstance", "second"), ("MailDomain", "below")];
    for (kind, name) in new.into_iter().chain([("Mailbox", "alice")]) {
        not_allowed(&w, kind, name).await;
    }
    assert_eq!(at_the_servers(&w).await, (rows, records.clone()));
    assert!(w.k.get("MailDomainClaim", &format!("below.{}", w.zone())).await.is_none(), "a name was claimed");

    // What is there may go, and is gone at the backend when the object is; what never came to be goes as well.
    let row = |local: &str| format!("username = '{}'", w.address(local));
    for (kind, name) in [("MailAlias", "more"), ("Mailbox", "bob"), ("MailInstance", "second"), ("MailDomain", "below")]
    {
        w.k.delete(kind, name).await;
        w.k.gone(kind, name, secs(60)).await;
    }
    assert_eq!(w.sql.row("mailbox", &row("bob")).await, None);
    let refused = mail::send(w.stack, OUTSIDER, &w.address("bob"), "to nobody", None).await.expect_err("it is gone");
    assert_eq!(refused.0, 550, "{refused:?}");

    // Allowed again: what was asked for meanwhile is done.
    w.namespace(&w.ns).await;
    for (kind, name) in OBJECTS.into_iter().filter(|o| o.1 != "bob").chain([("Mailbox", "carol")]) {
        w.k.ready(kind, name, secs(60)).await;
    }
    assert_eq!(w.sql.row("mailbox", &row("alice")).await.expect("a row")["name"], "renamed");
    assert_eq!(dns::snapshot(w.stack, &w.zone()).await, records);
}

#[tokio::test]
async fn a_tenant_that_its_backends_no_longer_allow_keeps_what_it_has_and_may_take_it_down() {
    let w = World::new("withdrawn").await;
    let foreign = dns::snapshot(w.stack, &w.zone()).await;
    let ours = json!({"from": "Names", "names": [w.ns]});
    let others = json!({"from": "Names", "names": ["somebody-else"]});
    w.k.apply(groupware_backend(w.stack, &w.ns, ours.clone())).await;
    tenant(&w, &w.ns).await;
    let before = at_the_servers(&w).await;
    let allow = async |kind: &str, who: &Value| {
        w.k.patch(kind, &w.ns, json!({"spec": {"allowedNamespaces": who}})).await;
    };

    // The mail server: all that is on it.
    allow("GroupwareBackend", &others).await;
    for (kind, name) in OBJECTS {
        not_allowed(&w, kind, name).await;
    }
    mail_flows(&w, "not allowed at the mail server").await;
    allow("GroupwareBackend", &ours).await;
    all_ready(&w).await;

    // The DNS: domains alone. Mailboxes are not its business.
    allow("DNSBackend", &others).await;
    not_allowed(&w, "MailDomain", "main").await;
    for (kind, name) in OBJECTS.into_iter().filter(|(kind, _)| *kind != "MailDomain") {
        w.k.ready(kind, name, secs(60)).await;
    }
    let below = format!("below.{}", w.zone());
    w.k.apply(w.domain("below", "acme", &below)).await;
    not_allowed(&w, "MailDomain", "below").await;
    assert!(w.k.get("MailDomainClaim", &below).await.is_none(), "a name was claimed");
    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"dmarc": {"policy": "Reject"}}}})).await;
    not_allowed(&w, "MailDomain", "main").await;
    mail_flows(&w, "not allowed at the DNS").await;
    assert_eq!(at_the_servers(&w).await, before);
    w.k.delete("MailDomain", "below").await;
    w.k.gone("MailDomain", "below", secs(60)).await;
    allow("DNSBackend", &ours).await;
    all_ready(&w).await;
    let dmarc = dns::contents(w.stack, &w.zone(), &format!("_dmarc.{}", w.zone()), "TXT").await;
    assert!(dmarc.iter().any(|t| t.contains("p=reject")), "what was asked for meanwhile is done: {dmarc:?}");

    // The zone is kept for others from now on, and so is the mail server: who may not make may take down.
    let mut backend = dns_backend(w.stack, &w.ns, &[&w.ns], &[w.zone()]);
    backend["spec"]["zones"][0]["allowedNamespaces"] = others.clone();
    w.k.apply(backend).await;
    not_allowed(&w, "MailDomain", "main").await;
    allow("GroupwareBackend", &others).await;
    not_allowed(&w, "Mailbox", "alice").await;
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(60)).await;
    assert_eq!(at_the_servers(&w).await, (vec![], foreign));
    assert!(w.k.get("MailDomainClaim", &w.zone()).await.is_none(), "the claim is given back");
    // By proof, not by giving up.
    let events = w.k.list("Event").await;
    assert!(events.iter().all(|e| e["reason"] != "Orphaned"), "{events:?}");
    for kind in KINDS.into_iter().filter(|kind| kind.ends_with("Backend")) {
        w.k.delete(kind, &w.ns).await;
        w.k.gone(kind, &w.ns, secs(60)).await;
    }
}
