//! What was booked is what there is: shared by all mailboxes of a tenant, or given out to them in parts. Seen by who sends
//! mail, and in the statuses.

use crate::harness::kubectl::condition_of;
use crate::harness::world::World;
use crate::harness::{eventually, mail, secs};
use serde_json::{Value, json};

const OUTSIDER: &str = "x@elsewhere.example";

/// A body of this many MiB and a few bytes.
fn mib(n: usize) -> String {
    ("x".repeat(76) + "\r\n").repeat((n << 20) / 78 + 1)
}

/// Waits until the server answers this to who offers a message of a size. What was delivered is counted a moment later.
async fn answers(w: &World, to: &str, size: usize, code: u16) {
    eventually(&format!("{code} for {size} bytes to {to}"), secs(30), || async {
        let answer = mail::offer(w.stack, to, size).await;
        if answer.0 == code { Ok(()) } else { Err(answer) }
    })
    .await
}

#[tokio::test]
async fn shared_storage_that_one_mailbox_fills_is_full_for_the_others() {
    let w = World::new("share").await;
    let mut instance = w.instance("acme");
    instance["spec"]["storage"] = json!("4Mi");
    instance["spec"]["storagePolicy"] = json!("Share");
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    for name in ["alice", "bob"] {
        w.k.apply(w.mailbox(name, "main")).await;
    }
    // 20Mi of quotas in 4Mi: what is shared is not given out.
    for name in ["alice", "bob"] {
        let mailbox = w.k.ready("Mailbox", name, secs(60)).await;
        assert_eq!(mailbox["status"]["quota"], "10Mi");
        assert_eq!(condition_of(&mailbox, "WithinQuota").expect("said")["status"], "True");
    }
    w.k.ready("MailInstance", "acme", secs(60)).await;
    let (alice, bob) = (w.address("alice"), w.address("bob"));
    let (pa, pb) = (w.password("alice").await, w.password("bob").await);
    answers(&w, &bob, 3_000_000, 250).await;

    mail::send_body(w.stack, OUTSIDER, &alice, "big", &mib(3), None).await.expect("mail is taken");
    mail::send(w.stack, OUTSIDER, &bob, "small", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &pa), "big").await;
    mail::arrives(w.stack, (&bob, &pb), "small").await;
    // 1 MiB is left, for whoever comes first.
    for address in [&alice, &bob] {
        answers(&w, address, 2_000_000, 552).await;
        answers(&w, address, 500_000, 250).await;
    }
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", "now").await;
    eventually("what is used is told", secs(60), || async {
        let instance = w.k.get("MailInstance", "acme").await.expect("it is there");
        let mailbox = w.k.get("Mailbox", "alice").await.expect("it is there");
        let told = (instance["status"]["usage"].clone(), mailbox["status"]["usedStorage"].clone());
        let usage =
            json!({"domains": 1, "mailboxes": 2, "aliases": 0, "storageAllocated": "20Mi", "storageUsed": "3Mi"});
        if told == (usage, json!("3Mi")) { Ok(()) } else { Err(told) }
    })
    .await;

    // Less than what is used already: nobody loses mail, and nobody gets more.
    let book = async |storage: &str| {
        w.k.patch("MailInstance", "acme", json!({"spec": {"storage": storage}})).await;
        w.k.ready("MailInstance", "acme", secs(60)).await;
    };
    book("2Mi").await;
    for address in [&alice, &bob] {
        let refused = mail::send(w.stack, OUTSIDER, address, "too much", None).await.expect_err("it is full");
        assert_eq!(refused.0, 552, "{refused:?}");
    }
    mail::arrives(w.stack, (&alice, &pa), "big").await;

    book("40Mi").await;
    answers(&w, &bob, 5_000_000, 250).await;
    mail::send(w.stack, OUTSIDER, &bob, "there is room again", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&bob, &pb), "there is room again").await;
    answers(&w, &bob, 20_000_000, 552).await;

    // What one deletes is there for the other.
    book("2Mi").await;
    answers(&w, &bob, 100_000, 552).await;
    mail::empty_inbox(w.stack, (&alice, &pa)).await;
    answers(&w, &bob, 1_000_000, 250).await;
    mail::send(w.stack, OUTSIDER, &bob, "alice made room", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&bob, &pb), "alice made room").await;
}

/// `WithinQuota` of a mailbox, and why.
fn within_quota(mailbox: &Value) -> (Value, Value) {
    let said = condition_of(mailbox, "WithinQuota").cloned().unwrap_or_default();
    (said["status"].clone(), said["reason"].clone())
}

#[tokio::test]
async fn storage_is_given_out_once() {
    let w = World::new("allocate").await;
    w.tenant(&["alice"]).await;
    let book = |storage: &str| json!({"spec": {"storage": storage}});
    let with = |name: &str, quota: &str| {
        let mut mailbox = w.mailbox(name, "main");
        mailbox["spec"]["quota"] = json!(quota);
        mailbox
    };
    let granted = async |name: &str| {
        w.sql.one(&format!("SELECT quota / 1048576 FROM mailbox WHERE username = '{}'", w.address(name))).await
    };
    let (no, yes) = ((json!("False"), json!("QuotaExceeded")), (json!("True"), json!("Succeeded")));
    w.k.patch("MailInstance", "acme", book("20Mi")).await;
    w.k.ready("MailInstance", "acme", secs(60)).await;

    // More than what is left is not made at all, and keeps nobody else from what is.
    w.k.apply(with("bob", "15Mi")).await;
    let bob = w.k.not_ready("Mailbox", "bob", "QuotaExceeded", secs(60)).await;
    assert_eq!(within_quota(&bob), no);
    let said = condition_of(&bob, "Stalled").expect("only a person can help")["message"].to_string();
    assert!(
        ["15Mi", "10Mi that are left", "20Mi", "MailInstance acme", "spec.storage"].iter().all(|x| said.contains(x)),
        "{said}"
    );
    w.k.apply(with("carol", "5Mi")).await;
    assert_eq!(within_quota(&w.k.ready("Mailbox", "carol", secs(60)).await), yes);
    assert_eq!((granted("bob").await, granted("carol").await), (String::new(), "5".into()));
    assert!(w.k.get("Secret", "bob-mail").await.is_none());
    let refused = mail::send(w.stack, OUTSIDER, &w.address("bob"), "nobody", None).await.expect_err("it is not there");
    assert_eq!(refused.0, 550, "{refused:?}");

    w.k.patch("Mailbox", "bob", json!({"spec": {"quota": "5Mi"}})).await;
    assert_eq!(within_quota(&w.k.ready("Mailbox", "bob", secs(60)).await), yes);
    assert_eq!(granted("bob").await, "5");

    // One that is there keeps what it has, and all else of it is carried out.
    w.k.patch("Mailbox", "alice", json!({"spec": {"quota": "12Mi", "displayName": "Alice the Second"}})).await;
    let alice = w.k.not_ready("Mailbox", "alice", "QuotaExceeded", secs(60)).await;
    assert_eq!((within_quota(&alice), &alice["status"]["quota"]), (no.clone(), &json!("10Mi")));
    assert_eq!(granted("alice").await, "10");
    let row = w.sql.row("mailbox", &format!("username = '{}'", w.address("alice"))).await.expect("a row");
    assert_eq!(row["name"], "Alice the Second");
    mail::send(w.stack, OUTSIDER, &w.address("alice"), "as before", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&w.address("alice"), &w.password("alice").await), "as before").await;

    // Lowered below what was given out: nobody is cut.
    w.k.patch("MailInstance", "acme", book("15Mi")).await;
    let instance = w.k.not_ready("MailInstance", "acme", "QuotaExceeded", secs(60)).await;
    assert_eq!(condition_of(&instance, "WithinLimits").expect("said")["status"], "False");
    let said = condition_of(&instance, "Ready").expect("said")["message"].to_string();
    assert!(["20Mi", "15Mi", "spec.storage"].iter().all(|x| said.contains(x)), "{said}");
    assert_eq!([granted("alice").await, granted("bob").await, granted("carol").await], ["10", "5", "5"]);

    w.k.patch("MailInstance", "acme", book("22Mi")).await;
    assert_eq!(within_quota(&w.k.ready("Mailbox", "alice", secs(60)).await), yes);
    assert_eq!(granted("alice").await, "12");
    let instance = w.k.ready("MailInstance", "acme", secs(60)).await;
    assert_eq!(condition_of(&instance, "WithinLimits").expect("said")["status"], "True");
    assert_eq!(instance["status"]["usage"]["storageAllocated"], "22Mi");

    // Deleted mail space of a mailbox is free for the next.
    w.k.patch("Mailbox", "bob", json!({"spec": {"quota": "10Mi"}})).await;
    assert_eq!(within_quota(&w.k.not_ready("Mailbox", "bob", "QuotaExceeded", secs(60)).await), no);
    w.k.delete("Mailbox", "carol").await;
    assert_eq!(within_quota(&w.k.ready("Mailbox", "bob", secs(60)).await), yes);
    assert_eq!(granted("bob").await, "10");
}

fn with_quota(w: &World, name: &str, quota: &str) -> Value {
    let mut mailbox = w.mailbox(name, "main");
    mailbox["spec"]["quota"] = json!(quota);
    mailbox
}

/// Quotas that add up to more than 64 bits can hold: they are counted while they are there, and forgotten whole.
#[tokio::test]
async fn quotas_that_no_number_can_hold_leave_nothing_behind() {
    const HUGE: [&str; 3] = ["x", "y", "z"];
    let w = World::new("huge").await;
    let mut instance = w.instance("acme");
    instance["spec"]["storage"] = json!("20Mi");
    // What is shared is not given out: a quota may be anything.
    instance["spec"]["storagePolicy"] = json!("Share");
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    w.k.apply(with_quota(&w, "alice", "5001Ki")).await;
    w.k.ready("Mailbox", "alice", secs(120)).await;
    let allocated = async |is: &str| {
        eventually(&format!("{is} is told as given out"), secs(60), || async {
            let told = w.k.get("MailInstance", "acme").await.expect("it is there")["status"].clone();
            if told["usage"]["storageAllocated"] == is { Ok(()) } else { Err(told) }
        })
        .await
    };
    allocated("5001Ki").await;
    for name in HUGE {
        w.k.apply(with_quota(&w, name, "7168Pi")).await;
    }
    for name in HUGE {
        assert_eq!(w.k.ready("Mailbox", name, secs(60)).await["status"]["quota"], "7168Pi");
    }
    // The exact sum needs more digits than the schema allows.
    allocated("23089744183301Mi").await;

    w.k.patch("MailInstance", "acme", json!({"spec": {"storagePolicy": "Allocate"}})).await;
    let instance = w.k.not_ready("MailInstance", "acme", "QuotaExceeded", secs(60)).await;
    let said = condition_of(&instance, "Ready").expect("said")["message"].to_string();
    assert!(["23089744183301Mi", "20Mi", "spec.storage"].iter().all(|x| said.contains(x)), "{said}");
    w.k.apply(with_quota(&w, "bob", "1Mi")).await;
    let bob = w.k.not_ready("Mailbox", "bob", "QuotaExceeded", secs(60)).await;
    let said = condition_of(&bob, "Ready").expect("said")["message"].to_string();
    assert!(said.contains("a quota of 1Mi is more than the 0 that are left"), "{said}");

    for name in HUGE {
        w.k.delete("Mailbox", name).await;
    }
    for name in HUGE {
        w.k.gone("Mailbox", name, secs(60)).await;
    }
    w.k.ready("MailInstance", "acme", secs(60)).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;
    allocated("6025Ki").await;
    // What alice and bob have is not forgotten with the others.
    w.k.apply(with_quota(&w, "carol", "15Mi")).await;
    let carol = w.k.not_ready("Mailbox", "carol", "QuotaExceeded", secs(60)).await;
    let said = condition_of(&carol, "Ready").expect("said")["message"].to_string();
    assert!(said.contains("14455Ki that are left of the 20Mi"), "{said}");
    w.k.patch("Mailbox", "carol", json!({"spec": {"quota": "14455Ki"}})).await;
    w.k.ready("Mailbox", "carol", secs(60)).await;
}

/// A mailbox without a bound could fill what others were given.
#[tokio::test]
async fn who_asks_for_no_bound_gets_no_part_of_the_storage() {
    let w = World::new("unbounded").await;
    let mut instance = w.instance("acme");
    instance["spec"]["storage"] = json!("20Mi");
    instance["spec"].as_object_mut().expect("a spec").remove("defaultMailboxQuota");
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.apply(with_quota(&w, "bob", "5Mi")).await;
    w.k.ready("Mailbox", "bob", secs(120)).await;
    let refused = async |name: &str| {
        let mailbox = w.k.not_ready("Mailbox", name, "QuotaExceeded", secs(60)).await;
        assert_eq!(within_quota(&mailbox), (json!("False"), json!("QuotaExceeded")));
        let said = condition_of(&mailbox, "Stalled").expect("only a person can help")["message"].to_string();
        let words = ["MailInstance acme", "spec.quota", "spec.defaultMailboxQuota", "storagePolicy: Share"];
        assert!(words.iter().all(|x| said.contains(x)), "{said}");
    };
    let rows = async || {
        let sql = format!("SELECT local_part || ' ' || quota / 1048576 FROM mailbox WHERE domain = '{}'", w.zone());
        let mut rows = w.sql.column(&sql).await;
        rows.sort();
        rows
    };
    refused("alice").await;
    assert_eq!(rows().await, ["bob 5"]);
    assert!(w.k.get("Secret", "alice-mail").await.is_none());
    // One that is there keeps the bound that it has.
    w.k.patch("Mailbox", "bob", json!({"spec": {"quota": null}})).await;
    refused("bob").await;
    assert_eq!(rows().await, ["bob 5"]);

    w.k.patch("MailInstance", "acme", json!({"spec": {"defaultMailboxQuota": "8Mi"}})).await;
    for name in ["alice", "bob"] {
        assert_eq!(w.k.ready("Mailbox", name, secs(60)).await["status"]["quota"], "8Mi");
    }
    assert_eq!(rows().await, ["alice 8", "bob 8"]);
}
