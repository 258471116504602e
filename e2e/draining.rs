//! I7, on the way out, and what those who wait say: MX leaves first, mail is taken until the old TTL is over, and then all
//! goes in its order.

use crate::harness::kubectl::TENANT_KINDS;
use crate::harness::world::World;
use crate::harness::{dns, eventually, mail, secs};
use serde_json::json;

/// Longer than everything between the deletion and the last look takes, shorter than anybody likes to wait.
const TTL: u64 = 60;

#[tokio::test]
async fn mx_leaves_first_and_mail_is_taken_until_the_old_ttl_is_over() {
    let w = World::new("drain").await;
    let (zone, second) = (w.zone(), format!("second.{}", w.zone()));
    w.k.apply(w.instance("acme")).await;
    for (name, domain) in [("main", &zone), ("second", &second)] {
        let mut domain = w.domain(name, "acme", domain);
        domain["spec"]["dns"]["ttl"] = json!(TTL);
        w.k.apply(domain).await;
    }
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.apply(w.mailbox("carl", "second")).await;
    w.k.apply(w.alias("info", "main", "info", &["alice"])).await;
    for (kind, name) in [("Mailbox", "alice"), ("MailAlias", "info"), ("MailDomain", "main"), ("MailDomain", "second")]
    {
        w.k.ready(kind, name, secs(120)).await;
    }
    let (alice, password) = (w.address("alice"), w.password("alice").await);
    let login = (alice.as_str(), password.as_str());
    let before = w.sql.last_change().await;

    // Everything at once, parents first, as a pruning GitOps tool does.
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    let until = eventually("MX has left", secs(30), || async {
        let domain = w.k.get("MailDomain", "main").await.ok_or("gone")?;
        let until = domain["status"]["drainingUntil"].as_str().unwrap_or_default().to_string();
        if until.is_empty() { Err(domain["status"].to_string()) } else { Ok(until) }
    })
    .await;
    assert_eq!(dns::contents(w.stack, &zone, &zone, "MX").await, [""; 0], "it says that MX has left");
    assert!(!dns::contents(w.stack, &zone, &zone, "TXT").await.is_empty(), "SPF stays as long as mail is sent");
    let until: jiff::Timestamp = until.parse().expect("a time");
    let left = move || until.duration_since(jiff::Timestamp::now()).as_secs_f64();
    // In whole seconds, rounded up.
    assert!(left() > 5.0 && left() <= TTL as f64 + 1.0, "{} s are left", left());

    // Who waits says for whom, in a condition and in an Event.
    let waiting: [(&str, &str, &str, &[&str]); 6] = [
        ("MailInstance", "acme", "HasDomains", &["main", "second"]),
        ("MailDomain", "main", "HasAliases", &["info"]),
        ("MailDomain", "second", "HasMailboxes", &["carl"]),
        ("Mailbox", "alice", "ReferencedByAlias", &["info"]),
        ("Mailbox", "carl", "Draining", &[&second]),
        ("MailAlias", "info", "Draining", &[&zone]),
    ];
    for (kind, name, reason, words) in waiting {
        w.k.blocked(kind, name, reason, words, secs(30)).await;
        w.k.event(kind, name, "DeletionBlocked", words, secs(30)).await;
        let object = w.k.get(kind, name).await.expect("it waits");
        assert_eq!(crate::harness::kubectl::condition_of(&object, "Ready").expect("Ready")["reason"], "Deleting");
    }

    // Resolvers may have the old MX: what they send here is taken, for the mailbox and for the alias.
    for (to, subject) in [(&alice, "after MX left"), (&w.address("info"), "to the alias after MX left")] {
        mail::send(w.stack, "x@elsewhere.example", to, subject, None).await.expect("mail is taken");
        mail::arrives(w.stack, login, subject).await;
    }
    assert!(left() > 15.0, "the test took too long to see anything");
    let rest = |until: f64| tokio::time::sleep(std::time::Duration::from_secs_f64((left() - until).max(0.0)));
    // In time to be in its mailbox before that goes.
    rest(15.0).await;
    mail::send(w.stack, "x@elsewhere.example", &alice, "the last one", None).await.expect("mail is taken");
    mail::arrives(w.stack, login, "the last one").await;
    assert!(left() > 2.0, "the test took too long to see anything");
    rest(2.0).await;
    let early = w.sql.changes(before, &format!("%{}%", w.ns)).await;
    let early: Vec<_> = early.iter().filter(|c| c.table != "dkim").map(|c| (&c.op, &c.table)).collect();
    assert!(early.is_empty(), "changed before the TTL was over: {early:?}");

    w.empty(secs(60)).await;
    // The second domain's name ends in the first one's: nothing orders the two against each other.
    let mut changes = w.sql.changes(before, &format!("%{zone}%")).await;
    changes.retain(|c| !c.old.to_string().contains(&second));
    let deleted: Vec<(&str, f64)> =
        changes.iter().filter(|c| c.op == "DELETE").map(|c| (c.table.as_str(), c.at)).collect();
    let first = |table: &str| deleted.iter().find(|(t, _)| *t == table).expect("it was there").1;
    let alias = changes
        .iter()
        .find(|c| c.table == "alias" && c.op == "DELETE" && c.old["address"] == json!(w.address("info")))
        .expect("the alias was there");
    assert!(alias.at >= until.as_second() as f64, "the alias went {} s early", until.as_second() as f64 - alias.at);
    assert!(alias.at < first("mailbox") && first("mailbox") < first("domain"), "{deleted:?}");
    let refused =
        mail::send(w.stack, "x@elsewhere.example", &alice, "too late", None).await.expect_err("nobody is there");
    assert!(refused.0 >= 550, "{refused:?}");
}

const OUTSIDER: &str = "x@elsewhere.example";

/// An adopted domain, or one that was moved here before it was declared: its MX is not ours to change.
#[tokio::test]
async fn an_mx_that_led_here_before_the_tenant_is_waited_for() {
    let w = World::new("ledhere").await;
    let zone = w.zone();
    dns::put(w.stack, &zone, &zone, "MX", 3, &["10 mx1.mail.example.net."]).await;
    w.tenant(&["alice"]).await;
    let (alice, password, before) = (w.address("alice"), w.password("alice").await, w.sql.last_change().await);
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.k.blocked("MailDomain", "main", "Draining", &["mx1.mail.example.net", "change it"], secs(60)).await;
    w.k.blocked("Mailbox", "alice", "Draining", &[&zone], secs(60)).await;
    mail::send(w.stack, OUTSIDER, &alice, "still led here", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &password), "still led here").await;
    let changed = w.sql.changes(before, &format!("%{}%", w.ns)).await;
    let changed: Vec<_> = changed.iter().filter(|c| c.table == "mailbox").map(|c| &c.op).collect();
    assert!(changed.iter().all(|op| *op != "DELETE"), "{changed:?}");
    // Whoever edits the DNS moves it.
    dns::put(w.stack, &zone, &zone, "MX", 3, &["10 mx.elsewhere.example."]).await;
    w.empty(secs(120)).await;
    assert_eq!(dns::contents(w.stack, &zone, &zone, "MX").await, ["10 mx.elsewhere.example."]);
}

/// Nobody withdraws the MX of a domain that is only observed: its mailboxes are not destroyed below it.
#[tokio::test]
async fn below_an_observed_domain_with_mx_here_nothing_is_destroyed() {
    let w = World::new("watched").await;
    let zone = w.zone();
    w.tenant(&["alice"]).await;
    let (alice, password) = (w.address("alice"), w.password("alice").await);
    w.k.patch("MailDomain", "main", json!({"spec": {"managementPolicy": "Observe"}})).await;
    w.k.ready("MailDomain", "main", secs(60)).await;
    for kind in ["MailDomain", "Mailbox"] {
        w.k.delete_all(kind).await;
    }
    w.k.blocked("Mailbox", "alice", "Draining", &["managementPolicy: Full"], secs(60)).await;
    assert!(!dns::contents(w.stack, &zone, &zone, "MX").await.is_empty());
    mail::send(w.stack, OUTSIDER, &alice, "still here", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&alice, &password), "still here").await;
    // The way out that the message names.
    w.k.patch("MailDomain", "main", json!({"spec": {"managementPolicy": "Full"}})).await;
    w.k.gone("Mailbox", "alice", secs(120)).await;
    w.k.gone("MailDomain", "main", secs(120)).await;
    assert_eq!(dns::contents(w.stack, &zone, &zone, "MX").await, [""; 0]);
}
