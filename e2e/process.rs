//! The process and its cluster: it ends when its Lease is taken, drains when it is told to end, and lives with an object
//! that was written past the schema.

use crate::harness::kubectl::{condition_of, conditions, is_ready, resource};
use crate::harness::operator::Again;
use crate::harness::world::{Platform, SYSTEM, World};
use crate::harness::{audit, eventually, mail, secs};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// Declares mailboxes without end, has `act` done once the first of them are made, and declares until that is over: it is
/// done in the middle of work, however fast the machine is.
async fn in_the_middle<T>(w: &World, prefix: &str, act: impl Future<Output = T>) -> (Vec<String>, T) {
    let over = AtomicBool::new(false);
    let declare = async {
        let mut names = vec![];
        while !over.load(Ordering::SeqCst) {
            // Never far ahead: an instance holds a thousand of them.
            if names.len() > rows(w, prefix).await.len() + 60 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                continue;
            }
            let more: Vec<String> = (0..8).map(|i| format!("{prefix}{:03}", names.len() + i)).collect();
            futures::future::join_all(more.iter().map(|n| w.k.apply(w.mailbox(n, "main")))).await;
            names.extend(more);
        }
        names
    };
    let then = async {
        eventually("some are made", secs(60), || async {
            let made = rows(w, prefix).await;
            if made.is_empty() { Err("none yet") } else { Ok(()) }
        })
        .await;
        let done = act.await;
        over.store(true, Ordering::SeqCst);
        done
    };
    tokio::join!(declare, then)
}

/// Mailboxes at the backend whose address begins so: with what is still due for each.
async fn rows(w: &World, prefix: &str) -> Vec<(String, bool)> {
    let like = format!("{prefix}___@{}", w.zone());
    let sql = format!("SELECT username || ' ' || effects_due FROM mailbox WHERE username LIKE '{like}' ORDER BY 1");
    let split = |t: String| t.split_once(' ').map(|(a, due)| (a.to_string(), due == "true"));
    w.sql.column(&sql).await.into_iter().filter_map(split).collect()
}

#[tokio::test]
async fn it_ends_when_its_lease_is_taken_and_drains_when_it_is_told_to_end() {
    let w = World::on(Platform::audited, "lease").await;
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
    let since = audit::mark(w.stack);
    let theft = async {
        let start = std::time::Instant::now();
        let (status, ()) = tokio::join!(operator.ends(secs(20)), take(json!("thief")));
        (status, start.elapsed())
    };
    let (names, (status, took)) = in_the_middle(&w, "a", theft).await;
    assert_eq!(status.code(), Some(1), "{}", operator.tail(5));
    assert!(took < secs(10), "{took:?}");
    assert!(operator.tail(5).contains("thief"), "{}", operator.tail(5));
    assert_eq!(holder().await, "thief");
    // What it had sent is still read from its sockets. Then there is silence, which can only be listened to.
    eventually("what it had sent is carried out", secs(10), || async {
        let mark = audit::mark(w.stack);
        tokio::time::sleep(secs(1)).await;
        audit::caught_up(w.stack, &w.k).await;
        let late = audit::writes(w.stack, mark);
        if late.iter().all(|write| write.object.0 != w.ns) { Ok(()) } else { Err(format!("{late:?}")) }
    })
    .await;
    let silent = jiff::Timestamp::now();
    let (at, snapshot) = (w.sql.last_change().await, w.sql.snapshot(&format!("%{}%", w.ns)).await);
    tokio::time::sleep(secs(3)).await;
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
    let (names, status) = in_the_middle(&w, "b", operator.terminate()).await;
    assert_eq!(status.code(), Some(0), "{}", operator.tail(5));
    let made = rows(&w, "b").await;
    assert!(!made.is_empty() && made.len() < names.len(), "{} of {} are made", made.len(), names.len());
    assert!(made.iter().all(|(_, due)| !due), "half done: {made:?}");
    for (address, _) in &made {
        let name = address.split('@').next().unwrap_or_default();
        let mailbox = w.k.get("Mailbox", name).await.expect("it is there");
        assert!(is_ready(&mailbox), "{address} was made and its status not written: {}", conditions(&mailbox));
    }
    let secrets = w.k.list("Secret").await;
    let begun = names.iter().filter(|n| secrets.iter().any(|s| s["metadata"]["name"] == format!("{n}-mail")));
    assert_eq!(begun.count(), made.len(), "credentials of mailboxes that were not made");
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
    assert!(condition_of(&corrected, "Stalled").is_none());
    assert!(!mail::imap_login(w.stack, (&bob, &w.password("bob").await)).await, "and it is carried out");
}

/// Somebody else's webhook that is away, and a quota: the objects say so, and go on by themselves when it is over.
#[tokio::test]
async fn what_kubernetes_does_not_do_is_named() {
    let w = World::new("refused").await;
    w.tenant(&[]).await;
    w.k.apply(json!({"kind": "ValidatingWebhookConfiguration", "metadata": {"name": w.ns}, "webhooks": [{
        "name": "away.elsewhere.example", "clientConfig": {"url": "https://127.0.0.1:1/"}, "timeoutSeconds": 1,
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": w.ns}},
        "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"]}]}))
        .await;
    // Not in the words of the answer, which may quote the Secret.
    let named = async |code: &str| {
        let alice = w.k.not_ready("Mailbox", "alice", "KubernetesError", secs(60)).await;
        let message = condition_of(&alice, "Ready").map(|c| c["message"].to_string()).unwrap_or_default();
        assert!(message.contains(code) && message.contains("quotas and admission webhooks"), "{message}");
        assert!(condition_of(&alice, "Stalled").is_none_or(|c| c["status"] != "True"));
    };
    w.k.apply(w.mailbox("alice", "main")).await;
    named("500").await;
    w.k.delete("ValidatingWebhookConfiguration", &w.ns).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;

    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(60)).await;
    let none = json!({"hard": {"count/secrets": "0"}});
    w.k.apply(json!({"kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": none})).await;
    // What its controller would write, which not every control plane runs.
    let enforced = json!({"status": {"hard": none["hard"], "used": {"count/secrets": "0"}}});
    let quotas = w.k.api("ResourceQuota");
    quotas.patch_status("none", &PatchParams::default(), &Patch::Merge(&enforced)).await.expect("a quota's status");
    // The apiserver hears of it by a watch of its own.
    let probe = json!({"kind": "Secret", "metadata": {"name": "probe"}});
    eventually("the quota is enforced", secs(60), || async {
        let Ok(_) = w.k.try_apply(probe.clone()).await else { return Ok(()) };
        w.k.delete("Secret", "probe").await;
        Err("it was made")
    })
    .await;
    w.k.apply(w.mailbox("alice", "main")).await;
    named("Forbidden").await;
    w.k.delete("ResourceQuota", "none").await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
}
