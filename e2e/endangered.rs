//! What a change of ours would take from a domain that works: names that live by a wildcard, and MX of domains that are live
//! when the platform team changes the mail servers.

use crate::harness::kubectl::condition_of;
use crate::harness::world::{World, groupware_backend};
use crate::harness::{dns, eventually, secs};
use serde_json::json;

async fn mx(w: &World, zone: &str) -> Vec<String> {
    dns::contents(w.stack, zone, zone, "MX").await
}

/// Waits until the domain says that it waits for new mail servers, in these words.
async fn waits(w: &World, domain: &str, words: &str) {
    eventually(&format!("MailDomain/{domain}: AwaitingAcceptance {words}"), secs(90), || async {
        let object = w.k.get("MailDomain", domain).await.ok_or("gone")?;
        let said = condition_of(&object, "DNSPublished").cloned().unwrap_or_default();
        let fits =
            said["reason"] == "AwaitingAcceptance" && said["message"].as_str().unwrap_or_default().contains(words);
        if fits { Ok(()) } else { Err(said.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_new_mail_server_is_proven_before_mx_leads_to_it() {
    let w = World::new("newmx").await;
    let backend = |mx: serde_json::Value| {
        let mut backend = groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}));
        backend["spec"]["hosts"]["mx"] = mx;
        backend
    };
    let zones = ["a", "b"].map(|n| format!("{n}.{}", w.zone()));
    let [old, new, typo] = ["mx1", "mx2", "mxx"].map(|n| format!("{n}.{}", zones[0]));
    w.zones(&zones).await;
    for host in [&old, &new] {
        dns::put(w.stack, &zones[0], host, "A", 60, &["192.0.2.25"]).await;
    }
    w.k.apply(backend(json!([{"host": old}]))).await;
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    w.k.apply(instance).await;
    for (name, zone) in ["a", "b"].iter().zip(&zones) {
        w.k.apply(w.domain(name, "acme", zone)).await;
        w.k.apply(w.mailbox(&format!("m-{name}"), name)).await;
        w.k.ready("MailDomain", name, secs(120)).await;
        assert_eq!(mx(&w, zone).await, [format!("10 {old}.")]);
    }
    // A typing error: one domain tries it, the other one waits for that, and MX of both stays.
    w.k.apply(backend(json!([{"host": old}, {"host": typo}]))).await;
    waits(&w, "a", &format!("{typo}, which has no address")).await;
    waits(&w, "b", "until MX of one other domain was switched").await;
    for zone in &zones {
        assert_eq!(mx(&w, zone).await, [format!("10 {old}.")]);
    }
    // Corrected: both follow.
    w.k.apply(backend(json!([{"host": new}]))).await;
    for (name, zone) in ["a", "b"].iter().zip(&zones) {
        eventually(&format!("MX of {name} follows"), secs(90), || async {
            let now = mx(&w, zone).await;
            if now == [format!("10 {new}.")] { Ok(()) } else { Err(now) }
        })
        .await;
        w.k.ready("MailDomain", name, secs(90)).await;
    }
    for kind in ["MailInstance", "MailDomain", "Mailbox"] {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(120)).await;
    for zone in &zones {
        assert!(mx(&w, zone).await.is_empty(), "nothing of ours is left in {zone}");
    }
}

#[tokio::test]
async fn a_domain_that_lives_by_a_wildcard_keeps_what_it_has() {
    let w = World::new("wild").await;
    let (zone, shop) = (w.zone(), format!("shop.{}", w.zone()));
    dns::put(w.stack, &zone, &format!("*.{zone}"), "MX", 60, &["10 old.mx.example."]).await;
    dns::put(w.stack, &zone, &format!("*.{zone}"), "A", 60, &["192.0.2.80"]).await;
    let before = dns::snapshot(w.stack, &zone).await;
    w.k.apply(w.instance("acme")).await;
    w.k.apply(w.domain("main", "acme", &shop)).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    let said = w.k.not_ready("MailDomain", "main", "DNSConflict", secs(120)).await;
    let message = said.to_string();
    for words in [format!("*.{zone}"), "A 192.0.2.80".into(), "MX 10 old.mx.example.".into()] {
        assert!(message.contains(&words), "{message}");
    }
    assert_eq!(dns::snapshot(w.stack, &zone).await, before);
    // Somebody gives it records of its own: from then on it goes its way, and back to them.
    dns::put(w.stack, &zone, &shop, "MX", 60, &["10 old.mx.example."]).await;
    dns::put(w.stack, &zone, &shop, "A", 60, &["192.0.2.80"]).await;
    let own = dns::snapshot(w.stack, &zone).await;
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", "now").await;
    w.k.ready("MailDomain", "main", secs(120)).await;
    assert_eq!(mx(&w, &zone).await.len(), 0);
    assert_eq!(dns::contents(w.stack, &zone, &shop, "MX").await, ["10 mx1.mail.example.net."]);
    for kind in ["MailInstance", "MailDomain", "Mailbox"] {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(120)).await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, own);
}
