//! What a domain says on its way, and when its name was taken from it; and that GitOps tools read each of it rightly.

use crate::harness::kubectl::{TENANT_KINDS, condition_of, is_current, is_ready};
use crate::harness::world::{World, dns_backend};
use crate::harness::{dns, eventually, mail, secs};
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const OUTSIDER: &str = "x@elsewhere.example";

type Seen = Arc<Mutex<Vec<Value>>>;

/// Every version of every object of the namespace from now on.
fn watch(w: &World) -> Seen {
    let seen = Seen::default();
    for kind in TENANT_KINDS {
        let (api, seen) = (w.k.api(kind), seen.clone());
        tokio::spawn(async move {
            let mut stream = watcher(api, watcher::Config::default()).default_backoff().touched_objects().boxed();
            while let Some(seen_now) = stream.next().await {
                let Ok(object) = seen_now else { continue };
                seen.lock().expect("no poison").push(serde_json::to_value(object).unwrap_or_default());
            }
        });
    }
    seen
}

/// What kstatus, and with it Flux and Helm, makes of an object.
fn kstatus(object: &Value) -> &'static str {
    let status = |type_: &str| condition_of(object, type_).map_or("", |c| c["status"].as_str().unwrap_or_default());
    match (is_current(object), status("Reconciling"), status("Stalled"), status("Ready")) {
        _ if !object["metadata"]["deletionTimestamp"].is_null() => "Terminating",
        (false, ..) | (_, "True", ..) => "InProgress",
        (_, _, "True", _) => "Failed",
        (_, _, _, "True") => "Current",
        _ => "InProgress",
    }
}

/// `Ready=True` alone, or `Ready=False` with what it waits for: time (`Reconciling`) or a person (`Stalled`), said in the
/// same words. Never more than that, never less.
fn is_plain(object: &Value) -> bool {
    let Some(ready) = condition_of(object, "Ready") else { return object["status"]["conditions"].is_null() };
    let beside: Vec<_> = ["Reconciling", "Stalled"].iter().filter_map(|t| condition_of(object, t)).collect();
    match ready["status"].as_str() {
        Some("True") => beside.is_empty(),
        Some("False") => {
            let same = |c: &Value| c["status"] == "True" && ["reason", "message"].iter().all(|k| c[k] == ready[k]);
            beside.len() == 1 && same(beside[0]) && ready["message"].as_str().is_some_and(|m| !m.is_empty())
        }
        _ => false,
    }
}

/// The states of an object in the order in which they were first said one after the other.
fn states(seen: &Seen, name: &str) -> Vec<String> {
    let seen = seen.lock().expect("no poison");
    let of = |o: &&Value| o["kind"] == "MailDomain" && o["metadata"]["name"] == name;
    let mut all: Vec<String> =
        seen.iter().filter(of).filter_map(|o| o["status"]["state"].as_str().map(String::from)).collect();
    all.dedup();
    all
}

/// Status and reason of the conditions that tell of a domain's way.
fn way(domain: &Value) -> Vec<String> {
    let said =
        |t: &&str| condition_of(domain, t).map(|c| format!("{t}={}/{}", c["status"], c["reason"]).replace('"', ""));
    ["OwnershipVerified", "Provisioned", "DNSPublished", "CutOver"].iter().filter_map(said).collect()
}

#[tokio::test]
async fn a_domain_says_where_it_is_and_tools_read_it_rightly() {
    let w = World::new("states").await;
    let seen = watch(&w);
    // Nobody is there yet: it waits for its instance, and that is nobody's fault.
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    let waiting = w.k.not_ready("MailDomain", "main", "InstanceNotFound", secs(60)).await;
    assert_eq!((kstatus(&waiting), &waiting["status"]["state"]), ("InProgress", &json!("Pending")));
    w.k.apply(w.instance("acme")).await;
    let prepared = w.k.ready("MailDomain", "main", secs(120)).await;
    assert_eq!((kstatus(&prepared), &prepared["status"]["state"]), ("Current", &json!("CutoverReady")));
    let good = ["OwnershipVerified", "Provisioned", "DNSPublished"].map(|t| format!("{t}=True/Succeeded"));
    let mut want = good.to_vec();
    want.push("CutOver=False/AwaitingFirstAddress".into());
    assert_eq!(way(&prepared), want);
    assert_ne!(dns::contents(w.stack, &w.zone(), &w.zone(), "MX").await, ["10 mx1.mail.example.net."]);

    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.condition("MailDomain", "main", "CutOver", ("True", "Succeeded"), secs(60)).await;
    let live = w.k.ready("MailDomain", "main", secs(30)).await;
    assert_eq!(live["status"]["state"], "Live");
    want.pop();
    want.push("CutOver=True/Succeeded".into());
    assert_eq!(way(&live), want);
    assert_eq!(dns::contents(w.stack, &w.zone(), &w.zone(), "MX").await, ["10 mx1.mail.example.net."]);
    eventually("the watch has told all of it", secs(30), || async {
        let told = states(&seen, "main");
        if told == ["Pending", "Verified", "Provisioned", "CutoverReady", "Live"] { Ok(()) } else { Err(told) }
    })
    .await;

    // What only a person can mend fails at once, what mends itself does not.
    let mut held = w.mailbox("held", "main");
    held["spec"]["autoReply"] = json!({"subject": "Away", "message": "Back on Monday"});
    w.k.apply(held).await;
    assert_eq!(kstatus(&w.k.not_ready("Mailbox", "held", "Unsupported", secs(60)).await), "Failed");
    w.k.apply(w.alias("early", "main", "early", &["late"])).await;
    assert_eq!(kstatus(&w.k.not_ready("MailAlias", "early", "MailboxNotFound", secs(60)).await), "InProgress");
    w.k.apply(w.mailbox("late", "main")).await;
    assert_eq!(kstatus(&w.k.ready("MailAlias", "early", secs(60)).await), "Current");
    w.k.delete("Mailbox", "held").await;
    w.k.gone("Mailbox", "held", secs(60)).await;
    w.k.delete("MailDomain", "main").await;
    w.k.blocked("MailDomain", "main", "HasAliases", &["early"], secs(60)).await;
    let going = w.k.get("MailDomain", "main").await.expect("it waits");
    assert_eq!(kstatus(&going), "Terminating");
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(60)).await;
    let seen = seen.lock().expect("no poison").clone();
    assert!(seen.len() > 20, "the watch saw next to nothing: {}", seen.len());
    for object in seen.iter().filter(|o| o["metadata"]["deletionTimestamp"].is_null()) {
        // Before the first word of the operator nothing may look finished.
        assert!(!object["status"]["observedGeneration"].is_null(), "{object}");
        assert!(is_plain(object), "{object}");
        assert_eq!(kstatus(object) == "Current", is_ready(object), "{object}");
    }
}

#[tokio::test]
async fn a_name_that_was_given_to_another_is_lost_and_no_mail_with_it() {
    let w = World::new("lost").await;
    w.tenant(&["alice"]).await;
    let (zone, alice, password) = (w.zone(), w.address("alice"), w.password("alice").await);
    let login = (alice.as_str(), password.as_str());
    let arrives = async |subject: &str| {
        mail::send(w.stack, OUTSIDER, &alice, subject, None).await.expect("mail is taken");
        mail::arrives(w.stack, login, subject).await;
    };
    let live = async || {
        eventually("the domain is live again", secs(90), || async {
            let domain = w.k.get("MailDomain", "main").await.expect("it is there");
            let claim = w.k.get("MailDomainClaim", &zone).await;
            let ours = claim.is_some_and(|c| c["spec"]["owner"]["uid"] == domain["metadata"]["uid"]);
            let good = is_ready(&domain) && domain["status"]["state"] == "Live" && ours;
            if good { Ok(()) } else { Err(domain["status"].clone()) }
        })
        .await
    };
    let (records, rows) = (dns::snapshot(w.stack, &zone).await, w.sql.snapshot(&format!("%{}%", w.ns)).await);

    // By hand, with nobody who waits for the name: it is taken again.
    w.k.delete("MailDomainClaim", &zone).await;
    eventually("it is claimed again", secs(60), || async {
        w.k.get("MailDomainClaim", &zone).await.map(|_| ()).ok_or("nobody has it")
    })
    .await;
    live().await;
    arrives("claimed again").await;

    // Another one waits for it, and it goes to him while the holder may do nothing.
    let other = w.k.within(&format!("{}-other", w.ns));
    w.namespace(&other.namespace).await;
    w.k.apply(dns_backend(w.stack, &w.ns, &[&w.ns, &other.namespace], std::slice::from_ref(&zone))).await;
    other.apply(w.instance("acme")).await;
    other.apply(w.domain("main", "acme", &zone)).await;
    other.not_ready("MailDomain", "main", "DomainClaimed", secs(60)).await;
    w.k.annotate("MailDomain", "main", "mailtenant.dev/paused", "true").await;
    w.k.not_ready("MailDomain", "main", "Paused", secs(60)).await;
    w.k.delete("MailDomainClaim", &zone).await;
    eventually("the other one has the name", secs(60), || async {
        let claim = w.k.get("MailDomainClaim", &zone).await.ok_or("nobody has it")?;
        if claim["spec"]["owner"]["namespace"] == json!(other.namespace) { Ok(()) } else { Err("not the other one") }
    })
    .await;
    // The server knows whose it is.
    other.not_ready("MailDomain", "main", "ExistsAtBackend", secs(60)).await;
    w.k.patch("MailDomain", "main", json!({"metadata": {"annotations": {"mailtenant.dev/paused": null}}})).await;
    let lost = w.k.not_ready("MailDomain", "main", "DomainClaimed", secs(60)).await;
    assert_eq!((kstatus(&lost), &lost["status"]["state"]), ("Failed", &json!("Lost")));
    let proven = condition_of(&lost, "OwnershipVerified").expect("said");
    assert_eq!((&proven["status"], &proven["reason"]), (&json!("False"), &json!("DomainClaimed")));
    let said = condition_of(&lost, "Ready").expect("said")["message"].to_string();
    assert!(said.contains(&zone) && said.contains("ask the platform team"), "{said}");
    assert!(!said.contains(&other.namespace), "who has it is not for everybody to know: {said}");
    arrives("while it is lost").await;
    w.k.patch("Mailbox", "alice", json!({"spec": {"displayName": "Alice still"}})).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, records, "records of a name that is in dispute");

    // The other one gives it back.
    other.delete("MailDomain", "main").await;
    other.gone("MailDomain", "main", secs(60)).await;
    live().await;
    arrives("it is back").await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, records);
    other.delete("MailInstance", "acme").await;
    other.gone("MailInstance", "acme", secs(60)).await;
    let after = w.sql.snapshot(&format!("%{}%", w.ns)).await;
    assert_eq!(after.len(), rows.len(), "{after:#?} where there was {rows:#?}");
}

#[tokio::test]
async fn what_is_put_back_and_what_is_rotated_is_told_in_events() {
    let w = World::new("told").await;
    w.tenant(&["alice", "bob", "carol"]).await;
    w.k.apply(w.alias("info", "main", "info", &["alice"])).await;
    w.k.ready("MailAlias", "info", secs(60)).await;
    let (alice, info) = (w.address("alice"), w.address("info"));
    w.sql
        .run(&format!(
            "UPDATE mailbox SET name = 'by hand' WHERE username = '{alice}';
             UPDATE alias SET goto = 'thief@away.example' WHERE address = '{info}'"
        ))
        .await;
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", "now").await;
    w.k.event("Mailbox", "alice", "DriftCorrected", &[&alice, "put back"], secs(60)).await;
    w.k.event("MailAlias", "info", "DriftCorrected", &[&info, "put back"], secs(60)).await;
    let row = |table: &'static str, condition: String| {
        let w = &w;
        async move { w.sql.row(table, &condition).await.expect("a row") }
    };
    assert_eq!(row("mailbox", format!("username = '{alice}'")).await["name"], "alice");
    assert_eq!(row("alias", format!("address = '{info}'")).await["goto"], json!(alice));

    let old = w.password("alice").await;
    w.k.annotate("Mailbox", "alice", "mailtenant.dev/rotate-password", "once").await;
    w.k.event("Mailbox", "alice", "PasswordRotated", &[&alice], secs(60)).await;
    assert!(mail::imap_login(w.stack, (&alice, &w.password("alice").await)).await);
    assert_ne!(w.password("alice").await, old);
    // A change that was declared is no drift. Another one that is told of comes after it.
    w.k.patch("Mailbox", "bob", json!({"spec": {"displayName": "declared"}})).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;
    w.k.annotate("Mailbox", "carol", "mailtenant.dev/rotate-password", "once").await;
    w.k.event("Mailbox", "carol", "PasswordRotated", &[], secs(60)).await;
    let all = w.k.list("Event").await;
    let of_bob = all.iter().find(|e| e["regarding"]["name"] == "bob" && e["reason"] == "DriftCorrected");
    assert_eq!(of_bob, None);
}

#[tokio::test]
async fn a_forward_to_a_mailbox_that_went_is_off_and_both_sides_are_told() {
    let w = World::new("forwarded").await;
    w.tenant(&["alice", "bob"]).await;
    let (alice, bob) = (w.address("alice"), w.address("bob"));
    w.k.patch("Mailbox", "bob", json!({"spec": {"forwarding": {"to": [alice], "keepCopy": false}}})).await;
    let goto = format!("SELECT goto FROM alias WHERE address = '{bob}'");
    let leads_to = async |address: &str| {
        eventually(&format!("mail for bob goes to {address} alone"), secs(60), || async {
            let is = w.sql.one(&goto).await;
            if is == address { Ok(()) } else { Err(is) }
        })
        .await;
    };
    leads_to(&alice).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;

    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(120)).await;
    w.k.event("Mailbox", "alice", "StillForwardedTo", &["Mailbox bob", &alice, "spec.forwarding"], secs(60)).await;
    let invalid = ("Ready", "False", "InvalidSpec");
    w.k.says("Mailbox", "bob", invalid, &[&format!("nobody has {alice}")], secs(60)).await;
    leads_to(&bob).await;
    // Somebody else gets what is sent to the address, by a catch-all or by its own: bob's mail is not for them.
    // A pass that saw who has it now must have ended.
    let is_off = async |wish: &str| {
        w.k.annotate("Mailbox", "bob", "mailtenant.dev/reconcile-requested-at", wish).await;
        let object = eventually("bob was looked at", secs(60), || async {
            let object = w.k.get("Mailbox", "bob").await.expect("it is there");
            if object["status"]["lastHandledReconcileAt"] == wish { Ok(object) } else { Err(object["status"].clone()) }
        })
        .await;
        let said = condition_of(&object, "Ready").expect("a condition")["message"].to_string();
        assert!(said.contains(&format!("the Mailbox that had {alice} is gone")), "{said}");
        assert_eq!(w.sql.one(&goto).await, bob);
    };
    w.k.apply(w.mailbox("carol", "main")).await;
    w.k.apply(w.alias("rest", "main", "*", &["carol"])).await;
    w.k.ready("MailAlias", "rest", secs(60)).await;
    is_off("there is a catch-all").await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    is_off("there is another alice").await;
    // As it tells him to: until it is declared anew.
    w.k.patch("Mailbox", "bob", json!({"spec": {"forwarding": null}})).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;
    leads_to(&bob).await;
    w.k.patch("Mailbox", "bob", json!({"spec": {"forwarding": {"to": [alice], "keepCopy": false}}})).await;
    leads_to(&alice).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;
}
