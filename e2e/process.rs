//! The process and its cluster: it ends when its Lease is taken, drains when it is told to end, and lives with an object
//! that was written past the schema.

use crate::harness::kubectl::{conditions, is_ready, resource};
use crate::harness::operator::Again;
use crate::harness::world::{SYSTEM, World};
use crate::harness::{audit, eventually, mail, secs};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const MANY: usize = 40;

/// Declares mailboxes, and waits until the operator is in the middle of making them.
async fn in_the_middle(w: &World, prefix: &str) -> Vec<String> {
    let names: Vec<String> = (0..MANY).map(|i| format!("{prefix}{i:02}")).collect();
    futures::future::join_all(names.iter().map(|n| w.k.apply(w.mailbox(n, "main")))).await;
    eventually("some are made", secs(60), || async {
        let made = rows(w, prefix).await;
        if made.is_empty() { Err("none yet") } else { Ok(()) }
    })
    .await;
    names
}

/// Mailboxes at the backend whose address begins so: with what is still due for each.
async fn rows(w: &World, prefix: &str) -> Vec<(String, bool)> {
    let like = format!("{prefix}__@{}", w.zone());
    let sql = format!("SELECT username || ' ' || effects_due FROM mailbox WHERE username LIKE '{like}' ORDER BY 1");
    let split = |t: String| t.split_once(' ').map(|(a, due)| (a.to_string(), due == "true"));
    w.sql.column(&sql).await.into_iter().filter_map(split).collect()
}

#[tokio::test]
async fn it_ends_when_its_lease_is_taken_and_drains_when_it_is_told_to_end() {
    let w = World::new("lease").await;
    w.tenant(&["alice"]).await;
    let operator = &w.platform.operator;
    let _alone = operator.alone.lock().await;
    let _again = Again(operator);
    operator.ready().await;
    let leases = w.k.within(SYSTEM);
    let holder = async || leases.get("Lease", "mailtenant").await.expect("a Lease")["spec"]["holderIdentity"].clone();
    let take = async |identity: Value| {
        // Against renewals of every 2 s, as another candidate would: until it is ours.
        leases.patch("Lease", "mailtenant", json!({"spec": {"holderIdentity": identity}})).await;
    };

    // Taken in the middle of work: it ends with an error, before the new holder may begin, and is silent from then on.
    let names = in_the_middle(&w, "a").await;
    let (since, start) = (audit::mark(w.stack), std::time::Instant::now());
    let ended = async { operator.ends(secs(20)).await };
    let (status, ()) = tokio::join!(ended, take(json!("thief")));
    let (took, silent) = (start.elapsed(), jiff::Timestamp::now());
    assert_eq!(status.code(), Some(1), "{}", operator.tail(5));
    assert!(took < secs(10), "{took:?}");
    assert!(operator.tail(5).contains("thief"), "{}", operator.tail(5));
    assert_eq!(holder().await, "thief");
    let (at, snapshot) = (w.sql.last_change().await, w.sql.snapshot(&format!("%{}%", w.ns)).await);
    // The thief lets go, so that the next one need not wait until it is taken for dead.
    take(Value::Null).await;
    audit::caught_up(w.stack, &w.k).await;
    let writes = audit::writes(w.stack, since);
    assert!(!writes.is_empty(), "it was not in the middle of work");
    // Others wire their worlds through proxies, which may hand on late what was sent before.
    let late: Vec<_> = writes.iter().filter(|write| write.at > silent && write.object.0 == w.ns).collect();
    assert!(late.is_empty(), "writes of a process that has ended: {late:?}");
    assert_eq!(w.sql.snapshot(&format!("%{}%", w.ns)).await, snapshot);
    operator.restart();
    operator.ready().await;
    for name in &names {
        w.k.ready("Mailbox", name, secs(120)).await;
    }
    assert!(w.sql.last_change().await > at, "it was in the middle of work");

    // Told to end in the middle of work: what has begun is finished, the rest is not begun.
    let names = in_the_middle(&w, "b").await;
    let status = operator.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", operator.tail(5));
    let made = rows(&w, "b").await;
    assert!(!made.is_empty() && made.len() < MANY, "not in the middle: {} of {MANY}", made.len());
    assert!(made.iter().all(|(_, due)| !due), "half done: {made:?}");
    for (address, _) in &made {
        let name = address.split('@').next().unwrap_or_default();
        let mailbox = w.k.get("Mailbox", name).await.expect("it is there");
        assert!(is_ready(&mailbox), "{address} was made and its status not written: {}", conditions(&mailbox));
    }
    let listed = w.k.list("Secret").await.len();
    assert!(listed <= 1 + MANY + made.len() + 2, "Secrets of mailboxes that were not made: {listed}");
    assert_eq!(holder().await, Value::Null, "the Lease is given back");
    operator.restart();
    operator.ready().await;
    for name in &names {
        w.k.ready("Mailbox", name, secs(120)).await;
    }
    let (alice, password) = (w.address("alice"), w.password("alice").await);
    assert!(mail::imap_login(w.stack, (&alice, &password)).await);
}

/// An upgrade that went wrong: for a moment the CRD takes a word that this release does not know.
#[tokio::test]
async fn an_object_that_cannot_be_read_harms_itself_alone() {
    let w = World::new("broken").await;
    w.tenant(&["alice", "bob"]).await;
    let crds = w.k.api("CustomResourceDefinition");
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend/enum";
    let words = async |words: &[&str]| {
        let patch: json_patch::Patch =
            serde_json::from_value(json!([{"op": "replace", "path": path, "value": words}])).expect("a patch");
        let patched = crds.patch("mailboxes.mailtenant.dev", &PatchParams::default(), &Patch::Json::<()>(patch)).await;
        patched.expect("the CRD can be patched");
    };
    let (resource, _) = resource("Mailbox");
    let mailboxes = kube::Api::<kube::api::DynamicObject>::namespaced_with(w.k.client.clone(), &w.ns, &resource);
    eventually("the apiserver takes the word", secs(30), || async {
        // Another test may apply the CRDs in between.
        words(&["None", "Login", "All", "Sometimes"]).await;
        let patch = json!({"spec": {"suspend": "Sometimes"}});
        mailboxes
            .patch("bob", &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map(drop)
            .map_err(|e| e.to_string())
    })
    .await;
    words(&["None", "Login", "All"]).await;

    w.k.condition("Mailbox", "bob", "Stalled", ("True", "Undecodable"), secs(60)).await;
    w.k.patch("Mailbox", "alice", json!({"spec": {"displayName": "unharmed"}})).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    w.k.apply(w.mailbox("carol", "main")).await;
    w.k.ready("Mailbox", "carol", secs(60)).await;
    w.k.ready("MailDomain", "main", secs(10)).await;
    // It is there all the same: nobody takes it for gone, and what it was made to be goes on.
    let bob = w.address("bob");
    mail::send(w.stack, "x@elsewhere.example", &bob, "meanwhile", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&bob, &w.password("bob").await), "meanwhile").await;

    w.k.patch("Mailbox", "bob", json!({"spec": {"suspend": "Login"}})).await;
    let corrected = w.k.ready("Mailbox", "bob", secs(60)).await;
    assert!(crate::harness::kubectl::condition_of(&corrected, "Stalled").is_none());
    assert!(!mail::imap_login(w.stack, (&bob, &w.password("bob").await)).await, "and it is carried out");
}
