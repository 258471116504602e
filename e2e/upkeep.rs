//! What somebody changes behind the operator's back is put back, and nothing else: passwords that users may change,
//! objects that are paused, values of others beside ours. And what is used reaches the statuses.

use crate::harness::kubectl::{TENANT_KINDS, condition_of, is_ready};
use crate::harness::world::{World, groupware_backend};
use crate::harness::{dns, eventually, mail, secs, sink};
use serde_json::{Value, json};

async fn row(w: &World, local: &str) -> Value {
    w.sql.row("mailbox", &format!("username = '{}'", w.address(local))).await.expect("a row")
}

fn bytes(quantity: &Value) -> u64 {
    mailtenant_api::Quantity(quantity.as_str().unwrap_or("0").into()).bytes().expect("a quantity")
}

/// Takes the finalizers of objects away, as a plain apply of a manifest that lists others does, and waits for ours.
async fn finalizers_come_back(w: &World, objects: &[(&str, &str)]) {
    for (kind, name) in objects {
        w.k.patch(kind, name, json!({"metadata": {"finalizers": []}})).await;
    }
    for (kind, name) in objects {
        eventually(&format!("the finalizer of {kind} is put back"), secs(30), || async {
            let object = w.k.get(kind, name).await.expect("it is there");
            let have = object["metadata"]["finalizers"].clone();
            if have == json!(["mailtenant.dev/finalizer"]) { Ok(()) } else { Err(have) }
        })
        .await;
    }
}

#[tokio::test]
async fn backends_are_held_by_what_is_on_them_also_after_their_finalizers_were_lost() {
    let w = World::new("unheld").await;
    w.k.apply(groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}))).await;
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    w.k.ready("MailDomain", "main", secs(120)).await;
    let backends = [("GroupwareBackend", w.ns.as_str()), ("DNSBackend", w.ns.as_str())];
    finalizers_come_back(&w, &backends).await;
    for (kind, name) in backends {
        w.k.delete(kind, name).await;
    }
    w.k.blocked("GroupwareBackend", &w.ns, "HasInstances", &["acme"], secs(30)).await;
    w.k.blocked("DNSBackend", &w.ns, "HasDomains", &["main"], secs(30)).await;
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(60)).await;
    for (kind, name) in backends {
        w.k.gone(kind, name, secs(60)).await;
    }
}

#[tokio::test]
async fn mailboxes_are_kept_as_declared_where_that_was_asked_for() {
    let w = World::new("upkeep").await;
    w.tenant(&["free", "idle"]).await;
    // Use is told in steps of 1 % of what was booked.
    w.k.patch("MailInstance", "acme", json!({"spec": {"storage": "100Mi"}})).await;
    let mut strict = w.mailbox("strict", "main");
    strict["spec"]["password"] = json!({"management": "Enforce"});
    w.k.apply(strict).await;
    w.k.apply(w.alias("info", "main", "info", &["free"])).await;
    w.k.ready("Mailbox", "strict", secs(60)).await;
    w.k.ready("MailAlias", "info", secs(60)).await;
    let (strict, free) = (w.address("strict"), w.address("free"));
    let (ps, pf) = (w.password("strict").await, w.password("free").await);
    w.platform.recorder.note("chosen-by-the-User-7");

    // Paused: neither the spec nor the server's rows lead to a write.
    w.k.annotate("Mailbox", "idle", "mailtenant.dev/paused", "true").await;
    w.k.not_ready("Mailbox", "idle", "Paused", secs(30)).await;
    w.k.patch("Mailbox", "idle", json!({"spec": {"displayName": "not yet"}})).await;
    w.k.not_ready("Mailbox", "idle", "Paused", secs(30)).await;

    // Users change their passwords (as SOGo writes it: the column alone), and a hand changes a name of the paused one.
    let own = mail::hash("chosen-by-the-User-7");
    w.sql
        .run(&format!(
            "UPDATE mailbox SET password = '{own}' WHERE username IN ('{strict}', '{free}');
             UPDATE mailbox SET name = 'by hand' WHERE username = '{}'",
            w.address("idle")
        ))
        .await;
    let by_hand = row(&w, "idle").await;
    // Mail comes in.
    let body = "x".repeat(76) + "\r\n";
    mail::send_body(w.stack, "x@elsewhere.example", &free, "big", &body.repeat(2 * 1024 * 1024 / 78 + 1000), None)
        .await
        .expect("mail is taken");

    // Finalizers are lost.
    let objects = [("MailInstance", "acme"), ("MailDomain", "main"), ("Mailbox", "free"), ("MailAlias", "info")];
    finalizers_come_back(&w, &objects).await;

    // One read of the domain sees all of it: once `strict` is put back, the others were seen too.
    eventually("the enforced password is put back", secs(60), || async {
        mail::inbox(w.stack, (&strict, &ps)).await.map(|_| ())
    })
    .await;
    assert!(!mail::imap_login(w.stack, (&strict, "chosen-by-the-User-7")).await);
    eventually("what is used reaches the statuses", secs(60), || async {
        let mailbox = w.k.get("Mailbox", "free").await.expect("it is there");
        let instance = w.k.get("MailInstance", "acme").await.expect("it is there");
        let used = bytes(&mailbox["status"]["usedStorage"]);
        let sum = bytes(&instance["status"]["usage"]["storageUsed"]);
        let right = |n: &u64| (2 << 20..4 << 20).contains(n);
        if right(&used) && right(&sum) { Ok(()) } else { Err((used, sum)) }
    })
    .await;
    assert!(mail::imap_login(w.stack, (&free, "chosen-by-the-User-7")).await, "OnChange: users may change theirs");
    assert!(!mail::imap_login(w.stack, (&free, &pf)).await);
    assert_eq!(row(&w, "idle").await, by_hand, "written although it is paused");
    w.k.patch("Mailbox", "idle", json!({"metadata": {"annotations": {"mailtenant.dev/paused": null}}})).await;
    w.k.ready("Mailbox", "idle", secs(60)).await;
    assert_eq!(row(&w, "idle").await["name"], "not yet");
}

#[tokio::test]
async fn nothing_below_a_paused_instance_is_written() {
    let w = World::new("paused").await;
    w.tenant(&["alice"]).await;
    w.k.apply(w.alias("info", "main", "info", &["alice"])).await;
    w.k.apply(w.alias("old", "main", "old", &["alice"])).await;
    w.k.ready("MailAlias", "info", secs(60)).await;
    w.k.ready("MailAlias", "old", secs(60)).await;
    let pattern = format!("%{}%", w.ns);
    let (rows, records) = (w.sql.snapshot(&pattern).await, dns::snapshot(w.stack, &w.zone()).await);
    w.k.annotate("MailInstance", "acme", "mailtenant.dev/paused", "true").await;
    w.k.not_ready("MailInstance", "acme", "Paused", secs(30)).await;
    let edits = [
        ("MailInstance", "acme", json!({"storage": "20Gi"})),
        ("MailDomain", "main", json!({"dns": {"dmarc": {"policy": "Reject"}}})),
        ("Mailbox", "alice", json!({"displayName": "Paused", "suspend": "Login"})),
        ("MailAlias", "info", json!({"sendAs": false})),
    ];
    for (kind, name, spec) in &edits {
        w.k.patch(kind, name, json!({"spec": spec})).await;
    }
    w.k.delete("MailAlias", "old").await;
    w.k.apply(w.mailbox("bob", "main")).await;
    // Also somebody who asks for a pass gets none that writes.
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", "now").await;
    for (kind, name, _) in &edits {
        w.k.not_ready(kind, name, "Paused", secs(30)).await;
    }
    w.k.not_ready("Mailbox", "bob", "Paused", secs(30)).await;
    w.k.blocked("MailAlias", "old", "Paused", &["acme"], secs(30)).await;
    assert_eq!(w.sql.snapshot(&pattern).await, rows);
    assert_eq!(dns::snapshot(w.stack, &w.zone()).await, records);
    assert!(w.k.get("Secret", "bob-mail").await.is_none());

    w.k.patch("MailInstance", "acme", json!({"metadata": {"annotations": {"mailtenant.dev/paused": null}}})).await;
    for (kind, name, _) in &edits {
        w.k.ready(kind, name, secs(60)).await;
    }
    w.k.ready("Mailbox", "bob", secs(60)).await;
    w.k.gone("MailAlias", "old", secs(60)).await;
    assert_eq!(row(&w, "alice").await["login_enabled"], false);
}

/// What is refused of an object that is there is refused alone: the rest of it is carried out all the same.
#[tokio::test]
async fn what_is_not_allowed_any_more_ends_and_all_else_is_carried_out() {
    let w = World::new("partly").await;
    let outside = sink::outside(w.stack);
    w.tenant(&["alice"]).await;
    let mut bob = w.mailbox("bob", "main");
    bob["spec"]["forwarding"] = json!({"to": ["bob@away.example"], "keepCopy": false});
    w.k.apply(bob).await;
    let alias = |name: &str, targets: Value| {
        json!({"kind": "MailAlias", "metadata": {"name": name}, "spec": {
            "domainRef": {"name": "main"}, "localPart": name, "displayName": "The Office", "targets": targets}})
    };
    let out = json!({"address": "out@away.example"});
    w.k.apply(alias("both", json!([{"mailboxRef": {"name": "alice"}}, out]))).await;
    w.k.apply(alias("out", json!([out]))).await;
    for (kind, name) in [("Mailbox", "bob"), ("MailAlias", "both"), ("MailAlias", "out")] {
        w.k.ready(kind, name, secs(60)).await;
    }
    // What has no effect is said beside Ready=True.
    w.k.condition("MailAlias", "both", "FieldsIgnored", ("True", "Unsupported"), secs(10)).await;
    w.k.event("MailAlias", "both", "FieldsIgnored", &["displayName"], secs(30)).await;
    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"mtaSts": {"mode": "Testing"}}}})).await;
    let domain = w.k.condition("MailDomain", "main", "FieldsIgnored", ("True", "Unsupported"), secs(30)).await;
    assert!(condition_of(&domain, "FieldsIgnored").expect("said")["message"].to_string().contains("dns.mtaSts"));
    w.k.ready("MailDomain", "main", secs(30)).await;
    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"mtaSts": {"mode": "None"}}}})).await;
    eventually("it goes with the field", secs(30), || async {
        let domain = w.k.get("MailDomain", "main").await.expect("it is there");
        let gone = condition_of(&domain, "FieldsIgnored").is_none();
        if gone && is_ready(&domain) { Ok(()) } else { Err(domain["status"]["conditions"].clone()) }
    })
    .await;

    w.k.patch("MailInstance", "acme", json!({"spec": {"externalForwarding": "Deny"}})).await;
    for (kind, name) in [("Mailbox", "bob"), ("MailAlias", "both"), ("MailAlias", "out")] {
        w.k.not_ready(kind, name, "ExternalForwardingDenied", secs(60)).await;
    }
    // It is said first (I4), and taken away a moment later.
    let zone = w.zone();
    let open = format!("SELECT count(*) FROM alias WHERE domain = '{zone}' AND active AND goto LIKE '%away.example%'");
    eventually("nothing leads outside any more", secs(30), || async {
        match w.sql.one(&open).await.as_str() {
            "0" => Ok(()),
            rows => Err(format!("{rows} rows do")),
        }
    })
    .await;
    let left = |address: &'static str| {
        outside.lock().expect("no poison").iter().filter(|m| m.to.iter().any(|t| t == address)).count()
    };
    let before = (left("out@away.example"), left("bob@away.example"));
    let (alice, bob) = (w.address("alice"), w.address("bob"));
    let (pa, pb) = (w.password("alice").await, w.password("bob").await);
    for (to, subject) in [(&w.address("both"), "inside alone"), (&bob, "kept at home")] {
        mail::send(w.stack, "x@elsewhere.example", to, subject, None).await.expect("mail is taken");
    }
    mail::arrives(w.stack, (&alice, &pa), "inside alone").await;
    mail::arrives(w.stack, (&bob, &pb), "kept at home").await;
    let refused = mail::send(w.stack, "x@elsewhere.example", &w.address("out"), "nowhere", None).await;
    assert_eq!(refused.expect_err("nobody is left").0, 550);
    assert_eq!((left("out@away.example"), left("bob@away.example")), before, "mail left the instance");

    // A suspension does not wait for that, nor for a Secret that is not there.
    w.k.patch("Mailbox", "bob", json!({"spec": {"suspend": "All"}})).await;
    w.k.patch(
        "Mailbox",
        "alice",
        json!({"spec": {
        "suspend": "Login", "password": {"secretRef": {"name": "lost", "key": "password"}}}}),
    )
    .await;
    w.k.not_ready("Mailbox", "bob", "ExternalForwardingDenied", secs(60)).await;
    w.k.not_ready("Mailbox", "alice", "SecretNotFound", secs(60)).await;
    assert!(!mail::imap_login(w.stack, (&alice, &pa)).await, "suspended");
    let refused = mail::send(w.stack, "x@elsewhere.example", &bob, "refused", None).await.expect_err("suspended");
    assert_eq!(refused.0, 550, "{refused:?}");
    w.k.patch("Mailbox", "alice", json!({"spec": {"suspend": "None"}})).await;
    w.k.not_ready("Mailbox", "alice", "SecretNotFound", secs(60)).await;
    assert!(mail::imap_login(w.stack, (&alice, &pa)).await, "it keeps the password that it has");

    // Nor for a hash that the server cannot take.
    w.k.put_secret("junk", &[("hash", "this-is-No-Hash-either-8")]).await;
    w.k.patch(
        "Mailbox",
        "alice",
        json!({"spec": {
        "suspend": "Login", "password": {"secretRef": null, "hashSecretRef": {"name": "junk", "key": "hash"}}}}),
    )
    .await;
    w.k.not_ready("Mailbox", "alice", "BackendRejected", secs(60)).await;
    assert!(!mail::imap_login(w.stack, (&alice, &pa)).await, "suspended");

    w.k.patch("MailInstance", "acme", json!({"spec": {"externalForwarding": "Allow"}})).await;
    w.k.ready("MailAlias", "out", secs(60)).await;
    mail::send(w.stack, "x@elsewhere.example", &w.address("out"), "out again", None).await.expect("mail is taken");
    eventually("mail leaves again", secs(30), || async {
        if left("out@away.example") > before.0 { Ok(()) } else { Err("none") }
    })
    .await;
}

#[tokio::test]
async fn records_are_put_back_beside_those_of_others_and_keys_change_without_a_gap() {
    let w = World::new("rekey").await;
    w.tenant(&["alice", "bob"]).await;
    let zone = w.zone();
    let (alice, bob) = (w.address("alice"), w.address("bob"));
    let (pa, pb) = (w.password("alice").await, w.password("bob").await);
    let keys = async |state: &str| {
        let domain = w.k.get("MailDomain", "main").await.expect("it is there");
        let all = domain["status"]["dkim"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> =
            all.iter().filter(|k| k["state"] == state).filter_map(|k| Some(k["selector"].as_str()?.into())).collect();
        names.sort();
        names
    };
    let signed = async |subject: &str| {
        mail::send(w.stack, &alice, &bob, subject, Some((&alice, &pa))).await.expect("sent");
        mail::arrives(w.stack, (&bob, &pb), subject).await
    };
    let good = async |message: &str| {
        let all = mail::dkim_signatures(w.stack, message);
        assert!(all.iter().all(|s| s.good && s.domain == zone), "{all:?}");
        let mut names: Vec<String> = all.into_iter().map(|s| s.selector).collect();
        names.sort();
        names
    };
    let old = keys("Active").await;
    assert_eq!(old.len(), 2);
    let first = signed("by the old keys").await;
    assert_eq!(good(&first).await, old);

    // By hand: ours are gone, and values of somebody else stand in their place.
    let theirs = "\"hand-made=1\"";
    let dkim = format!("{}._domainkey.{zone}", old[0]);
    let was = dns::snapshot(w.stack, &zone).await;
    dns::put(w.stack, &zone, &format!("_dmarc.{zone}"), "TXT", 1, &[]).await;
    dns::put(w.stack, &zone, &dkim, "TXT", 1, &[]).await;
    dns::put(w.stack, &zone, &zone, "TXT", 300, &["\"site-verification=4711\"", theirs]).await;
    eventually("the records are put back", secs(60), || async {
        let now = dns::snapshot(w.stack, &zone).await;
        let mut want = was.clone();
        let apex = want.get_mut(&(format!("{zone}."), "TXT".into())).expect("SPF was there");
        apex.1.push(theirs.into());
        apex.1.sort();
        let same = now.iter().map(|(k, (_, v))| (k, v)).eq(want.iter().map(|(k, (_, v))| (k, v)));
        if same { Ok(()) } else { Err(now) }
    })
    .await;

    // New keys: the old records stay for mail that is on its way, the new ones sign.
    w.k.annotate("MailDomain", "main", "mailtenant.dev/rotate-dkim", "now").await;
    eventually("new keys sign", secs(90), || async {
        let domain = w.k.get("MailDomain", "main").await.expect("it is there");
        let active = keys("Active").await;
        let done = domain["status"]["lastHandledRotateDkim"] == "now"
            && active.len() == 2
            && active.iter().all(|k| !old.contains(k))
            && is_ready(&domain);
        if done { Ok(()) } else { Err(domain["status"].clone()) }
    })
    .await;
    assert_eq!(keys("Retiring").await, old);
    let second = signed("by the new keys").await;
    assert_eq!(good(&second).await, keys("Active").await);
    assert_eq!(good(&first).await, old, "mail that was signed before still verifies");

    // After two weeks out of use a key goes, with its record.
    let young = keys("Active").await;
    eventually("keys out of use are gone", secs(90), || async {
        w.retired_long_ago(&old).await;
        let kept = keys("Retiring").await;
        if kept.is_empty() { Ok(()) } else { Err(kept) }
    })
    .await;
    let records = dns::snapshot(w.stack, &zone).await;
    let published = |s: &String| records.keys().any(|(name, _)| name.starts_with(&format!("{s}._domainkey.")));
    assert!(young.iter().all(published) && !old.iter().any(published), "{records:?}");

    // And by age: the server says when a key was made. Nothing that signed a moment ago is taken away for it, and a key
    // that replaced one just now stays, whatever is said of its age.
    let aged = format!("UPDATE dkim SET created = created - interval '366 days' WHERE domain_name = '{zone}'");
    w.sql.run(&aged).await;
    let look = async || {
        w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", &fastrand::u64(..).to_string())
            .await;
    };
    eventually("new keys sign", secs(90), || async {
        look().await;
        let active = keys("Active").await;
        let done = active.len() == 2 && active.iter().all(|k| !old.contains(k) && !young.contains(k));
        if done { Ok(()) } else { Err(active) }
    })
    .await;
    assert_eq!(keys("Retiring").await, young);
    assert_eq!(good(&second).await, young, "mail that was signed before still verifies");
    let third = keys("Active").await;
    w.sql.run(&aged).await;
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", "the last").await;
    eventually("it was looked at", secs(60), || async {
        let domain = w.k.get("MailDomain", "main").await.expect("it is there");
        if domain["status"]["lastHandledReconcileAt"] == "the last" { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert_eq!((keys("Active").await, keys("Pending").await), (third, vec![]));

    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(60)).await;
    let left = dns::snapshot(w.stack, &zone).await;
    let texts: Vec<_> = left.iter().filter(|((_, t), _)| t == "TXT").map(|((n, _), (_, v))| (n, v.clone())).collect();
    let mut others = vec!["\"site-verification=4711\"".to_string(), theirs.to_string()];
    others.sort();
    assert_eq!(texts, [(&format!("{zone}."), others)], "all keys' records go with the domain");
}

/// The record of each key that was replaced stays for two weeks: whoever wishes for new ones again and again gets some, and
/// then none until those are over. More would fill the status, until nobody could write it any more.
#[tokio::test]
async fn who_asks_for_new_keys_without_a_pause_gets_only_so_many() {
    // 6 of each of two algorithms.
    const MOST: usize = 12;
    let w = World::new("often").await;
    w.tenant(&["alice", "bob"]).await;
    let zone = w.zone();
    let wish = async |value: &str| w.k.annotate("MailDomain", "main", "mailtenant.dev/rotate-dkim", value).await;
    let domain = async || w.k.get("MailDomain", "main").await.expect("it is there");
    let postponed = |domain: &Value| {
        let said = condition_of(domain, "Ready").cloned().unwrap_or_default();
        said["status"] == "True" && said.to_string().contains("new DKIM keys wait until one of the former ones is over")
    };
    // Without a pause, then each as soon as the one before is answered.
    for n in 0..20 {
        wish(&format!("at once {n}")).await;
    }
    let mut put_off = false;
    for n in 0..MOST {
        let value = format!("once more {n}");
        wish(&value).await;
        put_off = eventually("the wish is answered or put off", secs(90), || async {
            let domain = domain().await;
            let keys = domain["status"]["dkim"].as_array().cloned().unwrap_or_default();
            let signing = keys.iter().filter(|k| k["state"] == "Active").count() == 2;
            let answered = domain["status"]["lastHandledRotateDkim"] == json!(value) && signing;
            if answered || postponed(&domain) { Ok(!answered) } else { Err(domain["status"].clone()) }
        })
        .await;
        if put_off {
            break;
        }
    }
    assert!(put_off, "there is no end to it");
    for n in 0..20 {
        wish(&format!("in vain {n}")).await;
    }
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", "the last").await;
    let seen = eventually("it was looked at", secs(60), || async {
        let domain = domain().await;
        if domain["status"]["lastHandledReconcileAt"] == "the last" {
            Ok(domain)
        } else {
            Err(domain["status"].clone())
        }
    })
    .await;
    assert!(postponed(&seen), "{seen}");
    let records = dns::snapshot(w.stack, &zone).await;
    let published = records.keys().filter(|(name, _)| name.contains("._domainkey.")).count();
    let rows = w.sql.one(&format!("SELECT count(*) FROM dkim WHERE domain_name = '{zone}'")).await;
    let told = seen["status"]["dkim"].as_array().map_or(0, Vec::len);
    assert_eq!((told, published, rows), (MOST, MOST, MOST.to_string()));
    let (alice, bob) = (w.address("alice"), w.address("bob"));
    let (pa, pb) = (w.password("alice").await, w.password("bob").await);
    mail::send(w.stack, &alice, &bob, "signed", Some((&alice, &pa))).await.expect("sent");
    let message = mail::arrives(w.stack, (&bob, &pb), "signed").await;
    let signatures = mail::dkim_signatures(w.stack, &message);
    assert!(signatures.len() == 2 && signatures.iter().all(|s| s.good && s.domain == zone), "{signatures:?}");

    // It goes as any other does.
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(120)).await;
    let left = dns::snapshot(w.stack, &zone).await;
    assert!(left.keys().all(|(name, _)| !name.contains("._domainkey.")), "{left:?}");
    assert_eq!(w.sql.snapshot(&format!("%{zone}%")).await, Vec::<String>::new());
}
