//! `managementPolicy: Observe`: what differs is named, nothing is written, and what was ours before is not forgotten.

use crate::harness::kubectl::condition_of;
use crate::harness::world::World;
use crate::harness::{dns, eventually, secs};
use serde_json::{Value, json};

/// Asks for a look, and waits until the object says that just this differs.
async fn drifts(w: &World, kind: &str, name: &str, expected: &[&str]) {
    w.k.annotate(kind, name, "mailtenant.dev/reconcile-requested-at", &fastrand::u64(..).to_string()).await;
    eventually(&format!("{kind}/{name} says what differs"), secs(60), || async {
        let object = w.k.get(kind, name).await.expect("it is there");
        let said: Vec<&str> =
            object["status"]["drift"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let status = object["status"].clone();
        if said == expected { Ok(()) } else { Err(status) }
    })
    .await;
    if expected.is_empty() {
        w.k.ready(kind, name, secs(60)).await;
    } else {
        let object = w.k.not_ready(kind, name, "Drifted", secs(60)).await;
        let ready = condition_of(&object, "Ready").expect("it was waited for");
        let message = ready["message"].as_str().unwrap_or_default();
        assert!(expected.iter().all(|e| *e == "missing" || message.contains(e)), "{message}");
    }
}

#[tokio::test]
async fn what_differs_is_named_and_nothing_is_written_until_the_policy_is_full_again() {
    let w = World::new("observed").await;
    w.tenant(&["alice"]).await;
    let (zone, alice) = (w.zone(), w.address("alice"));
    let policy = async |policy: &str| {
        for (kind, name) in [("MailInstance", "acme"), ("MailDomain", "main"), ("Mailbox", "alice")] {
            w.k.patch(kind, name, json!({"spec": {"managementPolicy": policy}})).await;
        }
    };
    policy("Observe").await;
    for (kind, name) in [("MailInstance", "acme"), ("MailDomain", "main"), ("Mailbox", "alice")] {
        drifts(&w, kind, name, &[]).await;
    }

    // Less than mailboxes were given: Full would leave the tenant what they have, and it is not what is declared.
    let booked = w.k.get("MailInstance", "acme").await.expect("it is there")["spec"]["storage"].clone();
    w.k.patch("MailInstance", "acme", json!({"spec": {"storage": "1Mi"}})).await;
    drifts(&w, "MailInstance", "acme", &["storage"]).await;
    w.k.patch("MailInstance", "acme", json!({"spec": {"storage": booked}})).await;
    drifts(&w, "MailInstance", "acme", &[]).await;

    // Others change it, at both servers.
    w.sql
        .run(&format!(
            "UPDATE tenant SET quota = 4711 WHERE origin = '{}/acme';
             UPDATE mailbox SET name = 'somebody' WHERE username = '{alice}';
             DELETE FROM dkim_signing_ed25519 WHERE author = '{zone}'",
            w.ns
        ))
        .await;
    let dmarc = format!("_dmarc.{zone}");
    dns::put(w.stack, &zone, &zone, "MX", 300, &["10 elsewhere.example."]).await;
    dns::put(w.stack, &zone, &dmarc, "TXT", 300, &["\"v=DMARC1; p=none; rua=mailto:x@elsewhere.example\""]).await;
    let (records, rows) = (dns::snapshot(w.stack, &zone).await, w.sql.snapshot(&format!("%{zone}%")).await);
    drifts(&w, "MailInstance", "acme", &["storage"]).await;
    drifts(&w, "MailDomain", "main", &["dkim", &format!("DMARC {dmarc}"), &format!("MX {zone}")]).await;
    drifts(&w, "Mailbox", "alice", &["displayName"]).await;
    for condition in ["DNSPublished", "CutOver"] {
        w.k.condition("MailDomain", "main", condition, ("False", "Drifted"), secs(10)).await;
    }
    // Nor is a change of the spec carried out.
    w.k.patch("MailInstance", "acme", json!({"spec": {"addressBook": "None"}})).await;
    drifts(&w, "MailInstance", "acme", &["storage", "addressBook"]).await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, records);
    assert_eq!(w.sql.snapshot(&format!("%{zone}%")).await, rows);
    assert_eq!(w.sql.one(&format!("SELECT quota FROM tenant WHERE origin = '{}/acme'", w.ns)).await, "4711");

    // A record of somebody else in the place of ours is theirs to take away, as ever.
    dns::put(w.stack, &zone, &dmarc, "TXT", 300, &[]).await;
    // In our hands again all is put back, and what was ours is known to be: it goes with its object.
    policy("Full").await;
    for (kind, name) in [("MailInstance", "acme"), ("MailDomain", "main"), ("Mailbox", "alice")] {
        let object = w.k.ready(kind, name, secs(120)).await;
        assert!(object["status"]["drift"].is_null(), "{}", object["status"]);
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        assert!(conditions.iter().all(|c| c["reason"] != "Drifted"), "{conditions:?}");
    }
    assert_ne!(w.sql.one(&format!("SELECT quota FROM tenant WHERE origin = '{}/acme'", w.ns)).await, "4711");
    assert_ne!(dns::contents(w.stack, &zone, &zone, "MX").await, ["10 elsewhere.example."]);
    let signs = format!("SELECT count(*) FROM dkim_signing_ed25519 WHERE author = '{zone}'");
    assert_eq!(w.sql.one(&signs).await, "1");
    for (kind, name) in [("Mailbox", "alice"), ("MailDomain", "main"), ("MailInstance", "acme")] {
        w.k.delete(kind, name).await;
    }
    w.empty(secs(120)).await;
    assert_eq!(w.sql.snapshot(&format!("%{zone}%")).await, Vec::<String>::new());
    assert!(dns::contents(w.stack, &zone, &zone, "MX").await.is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_missing_and_stays_so() {
    let w = World::new("unseen").await;
    let mut instance = w.instance("acme");
    instance["spec"]["managementPolicy"] = json!("Observe");
    w.k.apply(instance).await;
    drifts(&w, "MailInstance", "acme", &["missing"]).await;
    assert_eq!(w.sql.one(&format!("SELECT count(*) FROM tenant WHERE origin = '{}/acme'", w.ns)).await, "0");
    w.k.patch("MailInstance", "acme", json!({"spec": {"managementPolicy": "Full"}})).await;
    w.k.ready("MailInstance", "acme", secs(60)).await;

    let mut domain = w.domain("main", "acme", &w.zone());
    domain["spec"]["managementPolicy"] = json!("Observe");
    w.k.apply(domain).await;
    drifts(&w, "MailDomain", "main", &["missing"]).await;
    assert!(w.sql.row("domain", &format!("domain = '{}'", w.zone())).await.is_none());
    assert!(w.k.get("MailDomainClaim", &w.zone()).await.is_none(), "whoever only looks holds no name");
    w.k.delete("MailDomain", "main").await;
    w.k.gone("MailDomain", "main", secs(60)).await;
}

#[tokio::test]
async fn whose_row_went_to_another_one_does_not_leave_its_records_behind() {
    let w = World::new("lostrow").await;
    let zone = w.zone();
    let start = dns::snapshot(w.stack, &zone).await;
    w.tenant(&["alice"]).await;
    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(120)).await;
    w.k.patch("MailDomain", "main", json!({"spec": {"managementPolicy": "Observe"}})).await;
    drifts(&w, "MailDomain", "main", &[]).await;
    let records = dns::snapshot(w.stack, &zone).await;
    assert_ne!(records, start);
    w.sql.run(&format!("UPDATE domain SET owner = 'somebody' WHERE domain = '{zone}'")).await;
    drifts(&w, "MailDomain", "main", &[]).await;
    eventually("it says that the row is not its own", secs(60), || async {
        let domain = w.k.get("MailDomain", "main").await.expect("it is there");
        if domain["status"]["ownership"] == "Observed" { Ok(()) } else { Err(domain["status"].to_string()) }
    })
    .await;
    // Nobody else knows of MX, SPF and the keys' records.
    w.k.delete("MailDomain", "main").await;
    w.k.blocked("MailDomain", "main", "Paused", &["managementPolicy: Observe"], secs(60)).await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, records);
    assert!(w.k.get("MailDomainClaim", &zone).await.is_some(), "the name is held as long");
    w.k.patch("MailDomain", "main", json!({"spec": {"managementPolicy": "Full"}})).await;
    w.k.gone("MailDomain", "main", secs(120)).await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, start);
    assert_eq!(w.sql.one(&format!("SELECT owner FROM domain WHERE domain = '{zone}'")).await, "somebody", "I3");
    w.sql.run(&format!("DELETE FROM domain WHERE domain = '{zone}'")).await;
    w.k.delete("MailInstance", "acme").await;
    w.empty(secs(120)).await;
}
