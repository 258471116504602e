//! I14, the procedure of docs/operations.md from its beginning to its end: objects are lost with their statuses, come back
//! with new uids, and take over what was theirs once the platform consents.

use crate::harness::kubectl::TENANT_KINDS;
use crate::harness::world::{World, groupware_backend};
use crate::harness::{dns, eventually, mail, secs};
use serde_json::{Value, json};

const OUTSIDER: &str = "x@elsewhere.example";
/// MX from before the tenant came.
const BEFORE: &str = "10 Mail.OLD.example.";

/// All that is there is lost without the operator: held first, so that nothing is taken down, then removed by force.
async fn lose_everything(w: &World) {
    w.k.annotate("MailInstance", "acme", "mailtenant.dev/paused", "true").await;
    for (kind, name) in [("MailDomain", "main"), ("Mailbox", "alice"), ("Mailbox", "bob"), ("MailAlias", "info")] {
        w.k.condition(kind, name, "Ready", ("False", "Paused"), secs(60)).await;
    }
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    // What holds the pause goes last: nothing is to be taken down.
    for kind in ["MailAlias", "Mailbox", "MailDomain", "MailInstance"] {
        for object in w.k.list(kind).await {
            let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
            w.k.patch(kind, &name, json!({"metadata": {"finalizers": null}})).await;
        }
    }
    w.empty(secs(60)).await;
    assert_eq!(dns::contents(w.stack, &w.zone(), &w.zone(), "MX").await, ["10 mx1.mail.example.net."]);
    for secret in ["alice-mail", "bob-mail"] {
        w.k.gone("Secret", secret, secs(60)).await;
    }
}

/// What a backup keeps of a Secret: neither its uid nor its owner.
fn backed_up(secret: &Value) -> Value {
    let meta = &secret["metadata"];
    json!({"apiVersion": "v1", "kind": "Secret", "type": secret["type"], "data": secret["data"], "metadata": {
        "name": meta["name"], "annotations": meta["annotations"], "labels": meta["labels"]}})
}

/// What must be the same afterwards.
async fn what_stays(w: &World) -> [String; 4] {
    let zone = w.zone();
    let tenant = format!("SELECT string_agg(name, ' ' ORDER BY name) FROM tenant WHERE origin = '{}/acme'", w.ns);
    let stores = format!("SELECT string_agg(store_uid, ' ' ORDER BY username) FROM mailbox WHERE domain = '{zone}'");
    let hashes = format!("SELECT string_agg(password, ' ' ORDER BY username) FROM mailbox WHERE domain = '{zone}'");
    let keys = format!("SELECT string_agg(selector, ' ' ORDER BY selector) FROM dkim WHERE domain_name = '{zone}'");
    [w.sql.one(&tenant).await, w.sql.one(&stores).await, w.sql.one(&hashes).await, w.sql.one(&keys).await]
}

#[tokio::test]
async fn what_is_restored_with_new_uids_takes_over_what_was_its_own() {
    let w = World::new("again").await;
    let zone = w.zone();
    w.k.apply(groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}))).await;
    w.k.ready("GroupwareBackend", &w.ns, secs(60)).await;
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    let mut domain = w.domain("main", "acme", &zone);
    // Long enough for a mail while resolvers may still know our MX.
    domain["spec"]["dns"]["ttl"] = json!(15);
    let objects = [
        ("MailInstance", "acme", instance),
        ("MailDomain", "main", domain),
        ("Mailbox", "alice", w.mailbox("alice", "main")),
        ("Mailbox", "bob", w.mailbox("bob", "main")),
        ("MailAlias", "info", w.alias("info", "main", "info", &["alice"])),
    ];
    dns::put(w.stack, &zone, &zone, "MX", 1, &[BEFORE]).await;
    let records = dns::snapshot(w.stack, &zone).await;
    for (_, _, object) in &objects {
        w.k.apply(object.clone()).await;
    }
    for (kind, name, _) in &objects {
        w.k.ready(kind, name, secs(120)).await;
    }
    let id = w.k.get("MailInstance", "acme").await.expect("it is there")["status"]["instanceId"].clone();
    let (alice, bob) = (w.address("alice"), w.address("bob"));
    let (of_alice, of_bob) = (w.password("alice").await, w.password("bob").await);
    mail::send(w.stack, OUTSIDER, &alice, "from before", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &of_alice), "from before").await;
    let before = what_stays(&w).await;
    let secret = backed_up(&w.k.get("Secret", "alice-mail").await.expect("a Secret"));

    lose_everything(&w).await;
    w.k.apply(secret).await;
    for (_, _, object) in &objects {
        w.k.apply(object.clone()).await;
    }

    // Without consent nothing is taken over, no second tenant is made, and it is said who can help.
    let refused = w.k.not_ready("MailInstance", "acme", "ExistsAtBackend", secs(60)).await;
    let said = refused["status"]["conditions"].to_string();
    for words in ["no longer exists", &format!("spec.recovery of GroupwareBackend {}", w.ns)] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("IfUnowned"), "an advice that cannot work: {said}");
    assert_eq!(what_stays(&w).await, before);

    let consent = json!({"allowedNamespaces": {"from": "Names", "names": [w.ns]}});
    w.k.patch("GroupwareBackend", &w.ns, json!({"spec": {"recovery": consent}})).await;
    for (kind, name, _) in &objects {
        let object = w.k.ready(kind, name, secs(120)).await;
        assert_eq!(object["status"]["ownership"], "Created", "{kind} {name}");
        w.k.event(kind, name, "TakenOver", &["no longer exists"], secs(30)).await;
    }
    assert_eq!(w.k.get("MailInstance", "acme").await.expect("it is there")["status"]["instanceId"], id);
    assert_eq!(what_stays(&w).await, before);
    assert_eq!(w.password("alice").await, of_alice, "the Secret came back with its password");
    let owner = w.k.get("Mailbox", "alice").await.expect("it is there")["metadata"]["uid"].clone();
    let adopted = w.k.get("Secret", "alice-mail").await.expect("a Secret");
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["uid"], owner);
    assert!(mail::imap_login(w.stack, (&bob, &of_bob)).await, "bob signs in as before");
    mail::arrives(w.stack, (&alice, &of_alice), "from before").await;
    mail::send(w.stack, OUTSIDER, &w.address("info"), "after it", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &of_alice), "after it").await;

    // Nobody backed bob's Secret up: nobody can read his password, and a wish makes a new one.
    assert_eq!(w.k.secret("bob-mail", "username").await.as_deref(), Some(bob.as_str()));
    assert_eq!(w.k.secret("bob-mail", "password").await, None);
    w.k.event("Mailbox", "bob", "TakenOver", &["mailtenant.dev/rotate-password"], secs(30)).await;
    w.k.annotate("Mailbox", "bob", "mailtenant.dev/rotate-password", "1").await;
    let new = w.password("bob").await;
    eventually("bob's new password is his", secs(30), || async {
        if mail::imap_login(w.stack, (&bob, &new)).await { Ok(()) } else { Err("not yet") }
    })
    .await;

    // The consent ends, and what was taken over stays as it is.
    w.k.patch("GroupwareBackend", &w.ns, json!({"spec": {"recovery": null}})).await;
    w.k.ready("GroupwareBackend", &w.ns, secs(60)).await;
    for (kind, name, _) in &objects {
        w.k.ready(kind, name, secs(60)).await;
    }
    drains_before_it_goes(&w).await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, records, "all records are as they were before the tenant came");
    w.k.delete("GroupwareBackend", &w.ns).await;
    w.k.gone("GroupwareBackend", &w.ns, secs(60)).await;
}

/// The journal was lost with the status, and is known again: MX goes back to what it was before the loss, and what is there
/// from before the tenant stays.
async fn drains_before_it_goes(w: &World) {
    let zone = w.zone();
    let known = w.k.get("MailDomain", "main").await.expect("it is there")["status"]["dns"]["previousMX"].clone();
    assert_eq!(known, json!([BEFORE]));
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    let alice = w.address("alice");
    eventually("MX is put back", secs(60), || async {
        let there = dns::contents(w.stack, &zone, &zone, "MX").await;
        if there == [BEFORE] { Ok(()) } else { Err(format!("{there:?}")) }
    })
    .await;
    mail::send(w.stack, OUTSIDER, &alice, "on the way out", None).await.expect("mail is taken");
    assert!(w.sql.row("mailbox", &format!("username = '{alice}' AND active")).await.is_some());
    w.empty(secs(120)).await;
    assert_eq!(w.sql.row("domain", &format!("domain = '{zone}'")).await, None);
}
