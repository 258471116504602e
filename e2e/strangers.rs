//! I3: what is there already is neither taken over nor deleted unless adopted, and who lost owns nothing.

use crate::harness::kubectl::{TENANT_KINDS, condition_of};
use crate::harness::world::{World, dns_backend};
use crate::harness::{dns, mail, secs};
use serde_json::{Value, json};

async fn insert_mailbox(w: &World, local: &str) -> Value {
    let (address, zone) = (w.address(local), w.zone());
    w.sql
        .run(&format!(
            "INSERT INTO mailbox(username, password, name, quota, local_part, domain) VALUES ('{address}', '{{SSHA512}}x', 'a stranger', 4711000, '{local}', '{zone}');
             INSERT INTO alias(address, goto, domain) VALUES ('{address}', '{address}', '{zone}')"
        ))
        .await;
    row(w, local).await
}

async fn row(w: &World, local: &str) -> Value {
    w.sql.row("mailbox", &format!("username = '{}'", w.address(local))).await.unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_mailbox_that_is_there_stays_as_it_is_until_it_is_adopted() {
    let w = World::new("stranger").await;
    w.tenant(&["bob"]).await;
    let was = insert_mailbox(&w, "alice").await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.not_ready("Mailbox", "alice", "ExistsAtBackend", secs(60)).await;
    assert_eq!(row(&w, "alice").await, was);
    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(60)).await;
    assert_eq!(row(&w, "alice").await, was, "the loser's deletion touched it");

    // The zone is for whoever comes first, and what the operator published in it entitles nobody.
    let mut adopts = w.mailbox("alice", "main");
    adopts["spec"]["adoptionPolicy"] = json!("IfUnowned");
    w.k.apply(adopts).await;
    let refused = w.k.not_ready("Mailbox", "alice", "NotEntitled", secs(60)).await;
    let said = condition_of(&refused, "Ready").expect("Ready")["message"].to_string();
    for word in [&format!("_mailtenant-challenge.{}", w.zone()), &format!("name namespace {}", w.ns)] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(row(&w, "alice").await, was);
    // The platform names the namespace: the mailbox hears of it.
    let mut backend = dns_backend(w.stack, &w.ns, &[&w.ns], &[w.zone()]);
    backend["spec"]["zones"][0]["allowedNamespaces"] = json!({"from": "Names", "names": [w.ns]});
    w.k.apply(backend).await;
    let object = w.k.ready("Mailbox", "alice", secs(60)).await;
    assert_eq!(object["status"]["ownership"], "Adopted");
    let now = row(&w, "alice").await;
    assert_eq!((&now["store_uid"], &now["name"]), (&was["store_uid"], &json!("alice")), "the same store, our values");
    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(60)).await;
    assert_eq!(row(&w, "alice").await, Value::Null, "what was adopted is ours to delete");
}

/// A server that served the domain before mailtenant came, and a tenant who was the first to ask for it.
#[tokio::test]
async fn mail_of_before_is_for_whoever_the_name_belongs_to() {
    const OLD: &str = "the-password-of-before";
    let w = World::new("legacy").await;
    let (zone, alice, info) = (w.zone(), w.address("alice"), w.address("info"));
    w.sql
        .run(&format!(
            "INSERT INTO domain(domain) VALUES ('{zone}');
             INSERT INTO mailbox(username, password, local_part, domain) VALUES ('{alice}', '{{PLAIN}}{OLD}', 'alice', '{zone}');
             INSERT INTO alias(address, goto, domain) VALUES ('{alice}', '{alice}', '{zone}'), ('{info}', '{alice}', '{zone}')"
        ))
        .await;
    mail::send(w.stack, "x@elsewhere.example", &info, "of before", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, OLD), "of before").await;
    let rows = w.sql.snapshot(&format!("%{zone}%")).await;
    let records = dns::snapshot(w.stack, &zone).await;

    w.k.put_secret("chosen", &[("password", "a-password-of-his-choice")]).await;
    let mut mailbox = w.mailbox("alice", "main");
    mailbox["spec"]["password"] = json!({"secretRef": {"name": "chosen", "key": "password"}});
    w.k.apply(w.instance("acme")).await;
    for mut object in [w.domain("main", "acme", &zone), mailbox, w.alias("info", "main", "info", &["alice"])] {
        object["spec"]["adoptionPolicy"] = json!("IfUnowned");
        w.k.apply(object).await;
    }
    let refused = w.k.not_ready("MailDomain", "main", "NotEntitled", secs(60)).await;
    let challenge = |key: &str| refused["status"]["challenge"][key].as_str().expect("a challenge").to_owned();
    let (record, value) = (challenge("name"), challenge("value"));
    let said = condition_of(&refused, "Provisioned").expect("Provisioned")["message"].to_string();
    assert!(said.contains(&record) && said.contains(&value) && said.contains(&format!("zone {zone}")), "{said}");
    w.k.not_ready("Mailbox", "alice", "DomainNotReady", secs(60)).await;
    w.k.not_ready("MailAlias", "info", "DomainNotReady", secs(60)).await;
    assert_eq!(w.sql.snapshot(&format!("%{zone}%")).await, rows);
    assert_eq!(dns::snapshot(w.stack, &zone).await, records);
    let signs_in = |password: &'static str| mail::imap_login(w.stack, (&alice, password));
    assert!(signs_in(OLD).await && !signs_in("a-password-of-his-choice").await);

    // Somebody who may write the zone says that it is his.
    dns::put(w.stack, &zone, &record, "TXT", 1, &[&format!("\"{value}\"")]).await;
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", "now").await;
    for (kind, name) in [("MailDomain", "main"), ("Mailbox", "alice"), ("MailAlias", "info")] {
        let object = w.k.ready(kind, name, secs(120)).await;
        assert_eq!(object["status"]["ownership"], "Adopted", "{kind}");
        w.k.event(kind, name, "Adopted", &[], secs(30)).await;
    }
    mail::arrives(w.stack, (&alice, "a-password-of-his-choice"), "of before").await;
    assert!(!signs_in(OLD).await);
}

#[tokio::test]
async fn an_alias_and_a_domain_that_are_there_stay_as_they_are() {
    let w = World::new("strangers").await;
    w.tenant(&["bob"]).await;
    let (info, zone) = (w.address("info"), w.zone());
    w.sql
        .run(&format!("INSERT INTO alias(address, goto, domain) VALUES ('{info}', 'somebody@away.example', '{zone}')"))
        .await;
    let alias = w.sql.row("alias", &format!("address = '{info}'")).await;
    w.k.apply(w.alias("info", "main", "info", &["bob"])).await;
    w.k.not_ready("MailAlias", "info", "ExistsAtBackend", secs(60)).await;
    w.k.delete("MailAlias", "info").await;
    w.k.gone("MailAlias", "info", secs(60)).await;
    assert_eq!(w.sql.row("alias", &format!("address = '{info}'")).await, alias);

    // A domain of somebody who was never declared here, with a mailbox in it.
    let theirs = format!("theirs.{zone}");
    w.sql
        .run(&format!(
            "INSERT INTO tenant(name) VALUES ('{theirs}'); INSERT INTO domain(domain, tenant) VALUES ('{theirs}', '{theirs}');
             INSERT INTO mailbox(username, local_part, domain) VALUES ('x@{theirs}', 'x', '{theirs}')"
        ))
        .await;
    let before = w.sql.snapshot(&format!("%{theirs}%")).await;
    for (policy, name) in [("Never", "theirs"), ("IfUnowned", "theirs-too")] {
        let mut domain = w.domain(name, "acme", &theirs);
        domain["spec"]["adoptionPolicy"] = json!(policy);
        w.k.apply(domain).await;
        w.k.not_ready("MailDomain", name, "ExistsAtBackend", secs(60)).await;
        w.k.delete("MailDomain", name).await;
        w.k.gone("MailDomain", name, secs(60)).await;
    }
    assert_eq!(w.sql.snapshot(&format!("%{theirs}%")).await, before);
    // What is foreign below our domain keeps it from being destroyed, but not from going.
    w.k.delete("Mailbox", "bob").await;
    w.k.delete("MailDomain", "main").await;
    w.k.gone("MailDomain", "main", secs(120)).await;
    assert_eq!(w.sql.row("alias", &format!("address = '{info}'")).await, alias);
}

#[tokio::test]
async fn the_younger_of_two_objects_for_one_address_owns_nothing() {
    let w = World::new("duplicate").await;
    w.tenant(&["alice"]).await;
    let was = row(&w, "alice").await;
    // Creation times have whole seconds; then the uid decides.
    tokio::time::sleep(secs(2)).await;
    let mut twin = w.mailbox("twin", "main");
    twin["spec"]["localPart"] = json!("alice");
    twin["spec"]["displayName"] = json!("the twin");
    w.k.apply(twin).await;
    w.k.apply(w.alias("alias-twin", "main", "alice", &["alice"])).await;
    w.k.not_ready("Mailbox", "twin", "AddressInUse", secs(60)).await;
    w.k.not_ready("MailAlias", "alias-twin", "AddressInUse", secs(60)).await;
    for (kind, name) in [("Mailbox", "twin"), ("MailAlias", "alias-twin")] {
        w.k.delete(kind, name).await;
        w.k.gone(kind, name, secs(60)).await;
    }
    assert_eq!(row(&w, "alice").await, was);
    w.k.ready("Mailbox", "alice", secs(10)).await;
    let (alice, password) = (w.address("alice"), w.password("alice").await);
    mail::send(w.stack, "x@elsewhere.example", &alice, "still there", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &password), "still there").await;
}

#[tokio::test]
async fn records_of_others_stay_byte_for_byte() {
    let w = World::new("records").await;
    let zone = w.zone();
    dns::put(w.stack, &zone, &zone, "MX", 300, &["5 old.mx.example.", "10 older.mx.example."]).await;
    let spf = "\"v=spf1 ip4:192.0.2.0/24 include:_spf.newsletter.example ~all\"";
    dns::put(w.stack, &zone, &zone, "TXT", 300, &["\"site-verification=4711\"", spf]).await;
    dns::put(
        w.stack,
        &zone,
        &format!("_dmarc.{zone}"),
        "TXT",
        300,
        &["\"v=DMARC1; p=none; rua=mailto:them@away.example\""],
    )
    .await;
    let was = dns::snapshot(w.stack, &zone).await;

    // A DMARC record with another value: told, not touched.
    w.k.apply(w.instance("acme")).await;
    w.k.apply(w.domain("main", "acme", &zone)).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.not_ready("MailDomain", "main", "DNSConflict", secs(120)).await;
    let now = dns::snapshot(w.stack, &zone).await;
    let dmarc = (format!("_dmarc.{zone}."), "TXT".to_string());
    assert_eq!(now[&dmarc], was[&dmarc]);

    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"conflictPolicy": "Adopt"}}})).await;
    w.k.ready("MailDomain", "main", secs(120)).await;
    let now = dns::snapshot(w.stack, &zone).await;
    assert_eq!(now[&dmarc], was[&dmarc]);
    let (_, txt) = &now[&(format!("{zone}."), "TXT".to_string())];
    assert!(txt.contains(&"\"site-verification=4711\"".to_string()), "{txt:?}");
    let merged: Vec<_> = txt.iter().filter(|t| t.contains("v=spf1")).collect();
    assert_eq!(merged.len(), 1, "two SPF records are none (RFC 7208, 4.5): {txt:?}");
    for part in ["ip4:192.0.2.0/24", "include:_spf.newsletter.example", "include:_spf.mail.example.net", "~all"] {
        assert!(merged[0].contains(part), "{merged:?}");
    }
    assert_eq!(now[&(format!("{zone}."), "MX".to_string())].1, ["10 mx1.mail.example.net."]);

    w.k.delete("MailInstance", "acme").await;
    w.k.delete("MailDomain", "main").await;
    w.k.delete("Mailbox", "alice").await;
    w.empty(secs(120)).await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, was);
}

#[tokio::test]
async fn records_that_another_cluster_writes_are_left_to_it() {
    let w = World::new("clusters").await;
    let zone = w.zone();
    let marker = "\"v=mailtenant1; cluster=another; owner=somebody; made=SPF\"";
    let name = format!("_mailtenant.{zone}");
    dns::put(w.stack, &zone, &name, "TXT", 300, &[marker]).await;
    let was = dns::snapshot(w.stack, &zone).await;
    w.k.apply(w.instance("acme")).await;
    w.k.apply(w.domain("main", "acme", &zone)).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    let refused = w.k.not_ready("MailDomain", "main", "DNSConflict", secs(120)).await;
    let said = refused["status"]["conditions"].to_string();
    assert!(said.contains("the cluster with the id another writes the records"), "{said}");
    assert_eq!(dns::snapshot(w.stack, &zone).await, was);

    // It does not any more: whoever is sure of that takes the record out, as the message says.
    dns::put(w.stack, &zone, &name, "TXT", 300, &[]).await;
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", "1").await;
    w.k.ready("MailDomain", "main", secs(120)).await;
    let ours = dns::contents(w.stack, &zone, &name, "TXT").await;
    assert!(ours.len() == 1 && ours[0].contains("made=") && !ours[0].contains("another"), "{ours:?}");
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(120)).await;
    dns::put(w.stack, &zone, &name, "TXT", 300, &[marker]).await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, was, "but for the marker all is as it was");
}
