//! I9, I11, I12, tried as somebody would who wants what is not theirs, and with a server that was emptied.

use crate::harness::kubectl::{condition_of, is_ready};
use crate::harness::world::{World, dns_backend};
use crate::harness::{dns, eventually, mail, secs};
use serde_json::json;

#[tokio::test]
async fn a_domain_is_held_by_one_tenant_and_free_again_when_it_goes() {
    let w = World::new("claim").await;
    w.tenant(&["alice"]).await;
    let other = format!("{}-thief", w.ns);
    w.namespace(&other).await;
    let zone = w.zone();
    w.k.apply(dns_backend(w.stack, &w.ns, &[&w.ns, &other], std::slice::from_ref(&zone))).await;
    let thief = w.k.within(&other);
    thief.apply(w.instance("acme")).await;
    thief.apply(w.domain("main", "acme", &zone)).await;
    thief.apply(w.mailbox("alice", "main")).await;
    let refused = thief.not_ready("MailDomain", "main", "DomainClaimed", secs(60)).await;
    // Who holds it is not the thief's to know.
    let said = serde_json::to_string(&refused["status"]["conditions"]).expect("JSON");
    assert!(!said.contains(&format!("{}/", w.ns)), "{said}");
    let claim = w.k.get("MailDomainClaim", &zone).await.expect("a claim");
    assert_eq!(claim["spec"]["owner"]["namespace"], json!(w.ns));
    w.k.ready("MailDomain", "main", secs(10)).await;
    thief.delete("MailDomain", "main").await;
    thief.delete("Mailbox", "alice").await;
    thief.gone("MailDomain", "main", secs(60)).await;
    assert!(w.k.get("MailDomainClaim", &zone).await.is_some(), "the loser's deletion took the claim");
    let (alice, password) = (w.address("alice"), w.password("alice").await);
    mail::send(w.stack, "x@elsewhere.example", &alice, "still ours", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &password), "still ours").await;

    // Once the holder is gone, whoever waits gets it, and nothing of the first is there.
    thief.apply(w.domain("main", "acme", &zone)).await;
    thief.apply(w.mailbox("alice", "main")).await;
    thief.not_ready("MailDomain", "main", "DomainClaimed", secs(60)).await;
    w.k.delete("Mailbox", "alice").await;
    w.k.delete("MailDomain", "main").await;
    w.k.gone("MailDomain", "main", secs(120)).await;
    thief.ready("MailDomain", "main", secs(180)).await;
    let second = eventually("the second holder's password", secs(60), || async {
        thief.secret("alice-mail", "password").await.ok_or("none")
    })
    .await;
    thief.ready("Mailbox", "alice", secs(60)).await;
    assert_eq!(mail::inbox(w.stack, (&alice, &second)).await.expect("sign-in"), Vec::<String>::new());
    assert!(!mail::imap_login(w.stack, (&alice, &password)).await);
}

#[tokio::test]
async fn an_unproven_claim_blocks_nobody() {
    let w = World::new("unproven").await;
    let squatter = format!("{}-squatter", w.ns);
    w.namespace(&squatter).await;
    let zone = w.zone();
    let s = w.k.within(&squatter);
    s.apply(w.instance("acme")).await;
    // He came first, by a server where the platform asks for proof.
    let proof = format!("{}-proof", w.ns);
    let mut backend = dns_backend(w.stack, &proof, &[&squatter], std::slice::from_ref(&zone));
    backend["spec"]["requireProof"] = json!(true);
    w.k.apply(backend).await;
    w.k.ready("DNSBackend", &proof, secs(60)).await;
    let mut domain = w.domain("main", "acme", &zone);
    domain["spec"]["dns"]["backendRef"]["name"] = json!(proof);
    s.apply(domain).await;
    s.not_ready("MailDomain", "main", "OwnershipUnproven", secs(60)).await;
    w.tenant(&["alice"]).await;
    let claim = w.k.get("MailDomainClaim", &zone).await.expect("a claim");
    assert_eq!(claim["spec"]["owner"]["namespace"], json!(w.ns));
    let domain = s.get("MailDomain", "main").await.expect("there");
    assert!(!is_ready(&domain), "{domain}");
    assert_eq!(w.sql.one(&format!("SELECT count(DISTINCT tenant) FROM domain WHERE domain = '{zone}'")).await, "1");
}

#[tokio::test]
async fn a_tenant_reaches_only_what_allows_its_namespace() {
    let w = World::new("sideways").await;
    w.tenant(&["alice"]).await;
    let before = w.sql.snapshot(&format!("%{}%", w.ns)).await;
    let zone = w.zone();
    let records = dns::snapshot(w.stack, &zone).await;

    // A namespace without the platform's label: not on the server at all.
    let outcast = w.k.within(&format!("{}-outcast", w.ns));
    outcast.apply(json!({"kind": "Namespace", "metadata": {"name": outcast.namespace}})).await;
    outcast.apply(w.instance("acme")).await;
    let refused = outcast.not_ready("MailInstance", "acme", "BackendNotAllowed", secs(60)).await;
    assert!(condition_of(&refused, "WithinLimits").is_none(), "nothing was judged: {refused}");

    // One that may use the server: not the other tenant's zone, nor a name below it, nor the other tenant's instance.
    let thief = w.k.within(&format!("{}-thief", w.ns));
    w.namespace(&thief.namespace).await;
    thief.apply(w.instance("mine")).await;
    thief.ready("MailInstance", "mine", secs(60)).await;
    let below = format!("below.{zone}");
    for (name, instance, domain, reason) in [
        ("same", "mine", &zone, "BackendNotAllowed"),
        ("below", "mine", &below, "BackendNotAllowed"),
        ("theirs", "acme", &below, "InstanceNotFound"),
    ] {
        thief.apply(w.domain(name, instance, domain)).await;
        thief.not_ready("MailDomain", name, reason, secs(60)).await;
    }
    // A zone that is kept for others inside a backend that is for all.
    let shared = format!("{}-shared", w.ns);
    let mut backend = dns_backend(w.stack, &shared, &[&w.ns, &thief.namespace], std::slice::from_ref(&zone));
    backend["spec"]["zones"][0]["allowedNamespaces"] = json!({"from": "Names", "names": [w.ns]});
    w.k.apply(backend).await;
    w.k.ready("DNSBackend", &shared, secs(60)).await;
    let mut domain = w.domain("kept", "mine", &below);
    domain["spec"]["dns"]["backendRef"]["name"] = json!(shared);
    thief.apply(domain).await;
    thief.not_ready("MailDomain", "kept", "BackendNotAllowed", secs(60)).await;

    // Objects of another namespace cannot be named, an address of another tenant is just an address outside.
    thief.apply(w.mailbox("mallory", "main")).await;
    thief.not_ready("Mailbox", "mallory", "DomainNotFound", secs(60)).await;
    thief.put_secret("mine", &[("password", "a-Password-of-mine")]).await;
    let mut peeks = w.mailbox("peeks", "main");
    peeks["spec"]["password"] = json!({"secretRef": {"name": "mine", "key": "password"}});
    w.k.apply(peeks).await;
    w.k.not_ready("Mailbox", "peeks", "SecretNotFound", secs(60)).await;

    // A Secret that is somebody else's is never written.
    w.k.put_secret("precious-mail", &[("password", "not-yours-to-write")]).await;
    w.k.apply(w.mailbox("precious", "main")).await;
    w.k.not_ready("Mailbox", "precious", "SecretNotOwned", secs(60)).await;
    assert_eq!(w.k.secret("precious-mail", "password").await.as_deref(), Some("not-yours-to-write"));
    assert_eq!(w.k.secret("precious-mail", "imap-host").await, None);
    w.k.delete("Mailbox", "precious").await;
    w.k.gone("Mailbox", "precious", secs(60)).await;
    assert!(w.k.get("Secret", "precious-mail").await.is_some());

    // Nor may a target or a forward lead out where the instance does not allow it.
    w.k.patch("MailInstance", "acme", json!({"spec": {"externalForwarding": "Deny"}})).await;
    w.k.ready("MailInstance", "acme", secs(60)).await;
    w.k.apply(json!({"kind": "MailAlias", "metadata": {"name": "out"}, "spec": {
        "domainRef": {"name": "main"}, "localPart": "out", "targets": [{"address": "x@away.example"}]}}))
        .await;
    w.k.not_ready("MailAlias", "out", "ExternalForwardingDenied", secs(60)).await;
    for name in ["peeks"] {
        w.k.delete("Mailbox", name).await;
        w.k.gone("Mailbox", name, secs(60)).await;
    }
    w.k.delete("MailAlias", "out").await;
    w.k.gone("MailAlias", "out", secs(60)).await;

    let strip = |rows: Vec<String>| -> Vec<String> {
        rows.into_iter().filter(|r| !r.contains("-thief") && !r.starts_with("tenant ")).collect()
    };
    assert_eq!(strip(w.sql.snapshot(&format!("%{}%", w.ns)).await), strip(before));
    assert_eq!(dns::snapshot(w.stack, &zone).await, records);
}

#[tokio::test]
async fn an_emptied_server_is_not_filled_again_before_a_person_says_so() {
    let w = World::new("loss").await;
    let names: Vec<String> = (0..12).map(|i| format!("m{i:02}")).collect();
    w.tenant(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let zone = w.zone();
    let count = || async { w.sql.one(&format!("SELECT count(*) FROM mailbox WHERE domain = '{zone}'")).await };
    assert_eq!(count().await, "12");
    // One that is missing is drift, and put back: with its mail, under its own id, and with a word about it.
    let m00 = (w.address("m00"), w.password("m00").await);
    let login = (m00.0.as_str(), m00.1.as_str());
    mail::send(w.stack, "sender@elsewhere.example", &m00.0, "before the loss", None).await.expect("taken");
    mail::arrives(w.stack, login, "before the loss").await;
    w.sql
        .run(&format!(
            "DELETE FROM alias WHERE address = 'm00@{zone}'; DELETE FROM mailbox WHERE username = 'm00@{zone}'"
        ))
        .await;
    eventually("one missing mailbox is made again", secs(60), || async {
        if count().await == "12" { Ok(()) } else { Err("11") }
    })
    .await;
    mail::arrives(w.stack, login, "before the loss").await;
    eventually("an Event says so", secs(60), || async {
        let events = w.k.list("Event").await;
        let told = |e: &&serde_json::Value| e["reason"] == "Recreated" && e["regarding"]["name"] == "m00";
        let told: Vec<_> = events.iter().filter(told).collect();
        if told.len() == 1 && told[0]["type"] == "Warning" { Ok(()) } else { Err(told.len()) }
    })
    .await;
    w.sql.run(&format!("DELETE FROM alias WHERE domain = '{zone}'; DELETE FROM mailbox WHERE domain = '{zone}'")).await;
    let before = w.sql.last_change().await;
    w.k.condition("MailInstance", "acme", "Ready", ("False", "MassLossHeld"), secs(60)).await;
    for name in &names {
        w.k.not_ready("Mailbox", name, "MassLossHeld", secs(60)).await;
        // Neither does a person's edit of one mailbox make it again.
        w.k.patch("Mailbox", name, json!({"spec": {"displayName": "edited"}})).await;
    }
    for name in &names {
        w.k.not_ready("Mailbox", name, "MassLossHeld", secs(60)).await;
    }
    assert_eq!(count().await, "0");
    let made = w.sql.changes(before, &format!("%{zone}%")).await;
    assert!(made.iter().all(|c| !(c.table == "mailbox" && c.op == "INSERT")), "{made:?}");
    w.k.annotate("MailInstance", "acme", "mailtenant.dev/accept-mass-loss", "yes, the disk is gone").await;
    for name in &names {
        w.k.ready("Mailbox", name, secs(120)).await;
    }
    assert_eq!(count().await, "12");
    assert!(mail::imap_login(w.stack, login).await, "the passwords in the Secrets still hold");
}
