//! Who has what: the proof of a domain, what is retained and comes back, backends that are in use, and the way out when
//! one of them is gone for good.

use crate::harness::kubectl::{Kubectl, TENANT_KINDS, condition_of};
use crate::harness::world::{SYSTEM, World, dns_backend, groupware_backend};
use crate::harness::{dns, eventually, mail, secs};
use serde_json::{Value, json};

const OUTSIDER: &str = "x@elsewhere.example";

#[tokio::test]
async fn a_name_in_other_letters_is_proven_then_claimed_and_served() {
    let w = World::new("proof").await;
    let unicode = format!("bücher-{}.test", w.ns);
    let name = idna::domain_to_ascii(&unicode).expect("a name");
    dns::create_zone(w.stack, &name).await;
    let before = dns::snapshot(w.stack, &name).await;
    let mut backend = dns_backend(w.stack, &w.ns, &[&w.ns], std::slice::from_ref(&name));
    // Left out, in a zone that names no namespaces of its own: proof is asked for.
    backend["spec"].as_object_mut().expect("an object").remove("requireProof");
    w.k.apply(backend).await;
    w.k.ready("DNSBackend", &w.ns, secs(60)).await;
    w.k.apply(w.instance("acme")).await;
    w.k.apply(w.domain("main", "acme", &unicode)).await;
    w.k.apply(w.mailbox("alice", "main")).await;

    let object = w.k.not_ready("MailDomain", "main", "OwnershipUnproven", secs(60)).await;
    let challenge = &object["status"]["challenge"];
    let (record, value) = (challenge["name"].as_str().expect("a name"), challenge["value"].as_str().expect("a value"));
    assert_eq!((record, &challenge["type"]), (format!("_mailtenant-challenge.{name}").as_str(), &json!("TXT")));
    let proven = condition_of(&object, "OwnershipVerified").expect("a condition");
    let said = proven["message"].as_str().unwrap_or_default();
    assert!(proven["status"] == "False" && said.contains(record) && said.contains(value), "{said}");
    assert!(w.k.get("MailDomainClaim", &name).await.is_none(), "claimed without a proof");
    assert_eq!(w.sql.row("domain", &format!("domain = '{name}'")).await, None);
    assert_eq!(dns::snapshot(w.stack, &name).await, before, "records without a proof");

    // Somebody else's token proves nothing.
    let ask = async |why: &str| {
        w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", why).await;
        eventually("the pass that was asked for", secs(30), || async {
            let object = w.k.get("MailDomain", "main").await.expect("it is there");
            if object["status"]["lastHandledReconcileAt"] == why { Ok(object) } else { Err("not yet") }
        })
        .await
    };
    dns::put(w.stack, &name, record, "TXT", 1, &["\"token=somebody-elses\""]).await;
    let object = ask("another").await;
    assert_eq!(condition_of(&object, "Ready").expect("Ready")["reason"], "OwnershipUnproven");
    assert!(w.k.get("MailDomainClaim", &name).await.is_none());
    dns::put(w.stack, &name, record, "TXT", 1, &["\"token=somebody-elses\"", &format!("\"{value}\"")]).await;
    ask("ours").await;
    let object = w.k.ready("MailDomain", "main", secs(120)).await;
    assert_eq!(object["status"]["backendId"], json!(name));
    let claim = w.k.get("MailDomainClaim", &name).await.expect("a claim");
    assert_eq!((&claim["spec"]["owner"]["namespace"], &claim["spec"]["owner"]["name"]), (&json!(w.ns), &json!("main")));

    let alice = format!("alice@{name}");
    let mailbox = w.k.ready("Mailbox", "alice", secs(60)).await;
    assert_eq!(mailbox["status"]["address"], json!(alice));
    mail::send(w.stack, OUTSIDER, &alice, "to other letters", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &w.password("alice").await), "to other letters").await;
    assert_eq!(dns::contents(w.stack, &name, &name, "MX").await, ["10 mx1.mail.example.net."]);

    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(60)).await;
    assert!(w.k.get("MailDomainClaim", &name).await.is_none(), "the claim is given back");
    let mut after = dns::snapshot(w.stack, &name).await;
    assert!(after.remove(&(format!("{record}."), "TXT".into())).is_some(), "the proof is the tenant's own record");
    assert_eq!(after, before);
}

#[tokio::test]
async fn what_is_retained_is_switched_off_and_comes_back_with_its_mail() {
    let w = World::new("kept").await;
    let zone = w.zone();
    let before = dns::snapshot(w.stack, &zone).await;
    let mut instance = w.instance("acme");
    instance["spec"]["deletionPolicy"] = json!("Retain");
    let objects = [instance, w.domain("main", "acme", &zone), w.mailbox("alice", "main")];
    for object in &objects {
        w.k.apply(object.clone()).await;
    }
    w.k.ready("MailDomain", "main", secs(120)).await;
    let alice = w.address("alice");
    mail::send(w.stack, OUTSIDER, &alice, "kept", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &w.password("alice").await), "kept").await;
    let store = w.sql.one(&format!("SELECT store_uid FROM mailbox WHERE username = '{alice}'")).await;

    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(60)).await;
    for (kind, name, word) in [("Mailbox", "alice", &alice), ("MailDomain", "main", &zone)] {
        w.k.event(kind, name, "Retained", &[word, "switched off"], secs(30)).await;
    }
    w.k.event("MailInstance", "acme", "Retained", &["switched off"], secs(30)).await;
    let off = |table: &'static str, condition: String| {
        let w = &w;
        async move { w.sql.row(table, &condition).await.map(|r| (r["active"].clone(), r["owner"].clone())) }
    };
    let nobodys = Some((json!(false), Value::Null));
    assert_eq!(off("mailbox", format!("username = '{alice}'")).await, nobodys);
    assert_eq!(off("domain", format!("domain = '{zone}'")).await, nobodys);
    assert_eq!(off("tenant", format!("origin = '{}/acme'", w.ns)).await, nobodys);
    let refused = mail::send(w.stack, OUTSIDER, &alice, "meanwhile", None).await.expect_err("it takes no mail");
    assert!(refused.0 >= 550, "{refused:?}");
    assert_eq!(dns::snapshot(w.stack, &zone).await, before);

    for mut object in objects {
        object["spec"]["adoptionPolicy"] = json!("IfUnowned");
        w.k.apply(object).await;
    }
    for (kind, name) in [("Mailbox", "alice"), ("MailDomain", "main"), ("MailInstance", "acme")] {
        let object = w.k.ready(kind, name, secs(120)).await;
        assert_eq!(object["status"]["ownership"], "Adopted", "{kind}");
        w.k.event(kind, name, "Adopted", &[], secs(30)).await;
    }
    assert_eq!(w.sql.one(&format!("SELECT store_uid FROM mailbox WHERE username = '{alice}'")).await, store);
    let password = w.password("alice").await;
    mail::arrives(w.stack, (&alice, &password), "kept").await;
    mail::send(w.stack, OUTSIDER, &alice, "again", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &password), "again").await;
}

/// A block of SQL out of docs/operations.md, for a name.
fn documented(step: &str, name: &str) -> String {
    let page = include_str!("../docs/operations.md");
    let (_, after) = page.split_once(&format!("-- free: {step}\n")).expect("the block is there");
    let (sql, _) = after.split_once("```").expect("it ends");
    sql.replace("acme.test", name)
}

#[tokio::test]
async fn a_name_that_was_retained_is_freed_for_another_tenant_as_the_docs_say() {
    let w = World::new("burned").await;
    let zone = w.zone();
    let mut instance = w.instance("acme");
    instance["spec"]["deletionPolicy"] = json!("Retain");
    for object in [instance, w.domain("main", "acme", &zone), w.mailbox("alice", "main")] {
        w.k.apply(object).await;
    }
    w.k.ready("MailDomain", "main", secs(120)).await;
    let alice = w.address("alice");
    mail::send(w.stack, OUTSIDER, &alice, "old", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &w.password("alice").await), "old").await;
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(60)).await;
    w.k.event("MailDomain", "main", "Retained", &["Freeing a name", "IfUnowned"], secs(30)).await;
    // What SOGo keeps of a user that has signed in.
    let known = format!("FROM sogo.sogo_user_profile WHERE c_uid = '{alice}'");
    w.sql.run(&format!("DELETE {known}; INSERT INTO sogo.sogo_user_profile (c_uid) VALUES ('{alice}')")).await;

    // Whatever another tenant says, it does not get the name; somebody else's row below it is no obstacle to be removed.
    w.k.apply(w.instance("other")).await;
    let mut domain = w.domain("again", "other", &zone);
    domain["spec"]["adoptionPolicy"] = json!("IfUnowned");
    w.k.apply(domain).await;
    w.k.not_ready("MailDomain", "again", "ExistsAtBackend", secs(60)).await;
    let foreign = format!("INSERT INTO alias (address, goto, domain) VALUES ('x@{zone}', 'x@y.example', '{zone}')");
    w.sql.run(&foreign).await;
    let rows = documented("rows", &zone);
    let refused = w.sql.0.batch_execute(&rows).await.expect_err("somebody else's alias is on");
    assert!(format!("{refused:?}").contains("foreign key"), "{refused:?}");
    w.sql.run("ROLLBACK").await;
    assert!(w.sql.row("mailbox", &format!("username = '{alice}'")).await.is_some(), "nothing is changed");
    w.sql.run(&format!("DELETE FROM alias WHERE address = 'x@{zone}'")).await;

    assert_eq!(w.sql.column(&documented("others", &zone)).await, Vec::<String>::new());
    assert_eq!(w.sql.column(&documented("folders", &zone)).await, std::slice::from_ref(&alice));
    w.sql.run("SET ROLE sogo").await;
    w.sql.run(&documented("sogo", &zone)).await;
    w.sql.run("RESET ROLE").await;
    assert_eq!(w.sql.one(&format!("SELECT count(*) {known}")).await, "0");
    w.sql.run(&rows).await;
    assert_eq!(w.sql.snapshot(&format!("%@{zone}%")).await, Vec::<String>::new());
    assert_eq!(w.sql.row("tenant", &format!("origin = '{}/acme'", w.ns)).await, None);
    w.k.annotate("MailDomain", "again", "mailtenant.dev/reconcile-requested-at", "freed").await;
    w.k.apply(w.mailbox("alice", "again")).await;
    w.k.ready("MailDomain", "again", secs(120)).await;
    let password = w.password("alice").await;
    mail::send(w.stack, OUTSIDER, &alice, "new", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &password), "new").await;
    let inbox = mail::inbox(w.stack, (&alice, &password)).await.expect("the sign-in works");
    assert_eq!(inbox.len(), 1, "the mail of the tenant before: {inbox:?}");

    // Orphaned rows have an owner: the first block is for them.
    let tables = ["alias", "mailbox", "domain"];
    w.sql.run(&format!("BEGIN; {}", documented("orphaned", &zone))).await;
    for table in tables {
        let on = format!("SELECT count(*) FROM {table} WHERE domain = '{zone}' AND (active OR owner IS NOT NULL)");
        assert_eq!(w.sql.one(&on).await, "0", "{table}");
    }
    w.sql.run("ROLLBACK").await;
}

/// A backend of this test's own, with Secrets of its own.
async fn own_backend(w: &World) -> (Kubectl, String) {
    let system = w.k.within(SYSTEM);
    let secret = format!("{}-db", w.ns);
    let login = [("username", w.stack.get("GW_DB_USER")), ("password", w.stack.get("GW_DB_PASSWORD"))];
    system.put_secret(&secret, &login).await;
    let mut backend = groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}));
    backend["spec"]["sogo"]["database"]["credentialsSecretRef"]["name"] = json!(secret);
    w.k.apply(backend).await;
    (system, secret)
}

#[tokio::test]
async fn backends_in_use_stay_and_orphan_is_the_way_out_when_one_is_gone_for_good() {
    let w = World::new("orphan").await;
    let (system, secret) = own_backend(&w).await;
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.ready("MailDomain", "main", secs(120)).await;

    // In use: asked to go, they stay, say for whom, and go on serving.
    let backends = [("GroupwareBackend", "HasInstances", "acme"), ("DNSBackend", "HasDomains", "main")];
    for (kind, reason, user) in backends {
        w.k.delete(kind, &w.ns).await;
        let user = format!("{}/{user}", w.ns);
        w.k.blocked(kind, &w.ns, reason, &[&user], secs(30)).await;
        w.k.event(kind, &w.ns, "DeletionBlocked", &[&user], secs(30)).await;
    }
    w.k.patch("Mailbox", "alice", json!({"spec": {"displayName": "still served"}})).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"dmarc": {"policy": "Reject"}}}})).await;
    w.k.ready("MailDomain", "main", secs(60)).await;

    // The Secret is lost, and nobody has the password any more.
    system.delete("Secret", &secret).await;
    w.k.not_ready("GroupwareBackend", &w.ns, "SecretNotFound", secs(60)).await;
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    let help = "mailtenant.dev/orphan: \"true\"";
    for (kind, name) in [("Mailbox", "alice"), ("MailDomain", "main"), ("MailInstance", "acme")] {
        // The status says it before anybody has to know it.
        assert!(w.k.get(kind, name).await.is_some(), "{kind} went without proof");
        w.k.blocked(kind, name, "SecretNotFound", &[help], secs(60)).await;
        w.k.annotate(kind, name, "mailtenant.dev/orphan", "true").await;
        w.k.gone(kind, name, secs(60)).await;
        w.k.event(kind, name, "Orphaned", &["stays there"], secs(30)).await;
    }
    assert!(w.k.get("MailDomainClaim", &w.zone()).await.is_none(), "the claim is given back");
    let alice = w.address("alice");
    assert!(w.sql.row("mailbox", &format!("username = '{alice}'")).await.is_some(), "the backend was not to be asked");
    // Unused now, they go by themselves.
    for (kind, _, _) in backends {
        w.k.gone(kind, &w.ns, secs(60)).await;
    }
}
