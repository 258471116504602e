//! `Healthy` of a live domain: what others did to its DNS is told, and nothing is done about it.

use crate::by_hand::{import, looked_at, manual, message, reason, zone_file};
use crate::harness::kubectl::{TENANT_KINDS, condition_of, is_ready};
use crate::harness::world::World;
use crate::harness::{dns, eventually, secs};
use serde_json::{Value, json};

const OURS: [&str; 1] = ["10 mx1.mail.example.net."];
const ELSEWHERE: [&str; 1] = ["10 mx.elsewhere.example."];

fn healthy(domain: &Value) -> String {
    let said = condition_of(domain, "Healthy");
    said.map(|c| format!("{}/{}", c["status"], c["reason"]).replace('"', "")).unwrap_or_default()
}

/// At least so many domains of this platform say so: other tests have some too.
async fn counted(w: &World, reason: &str) {
    let line = format!("mailtenant_unhealthy_domains{{reason=\"{reason}\"}}");
    eventually(&format!("{line} counts it"), secs(60), || async {
        let is = w.platform.operator.metric(&line).await;
        if is.is_some_and(|n| n >= 1.0) { Ok(()) } else { Err(is) }
    })
    .await;
}

/// A domain whose tenant has set all its records, MX too.
async fn live_by_hand(w: &World, zone: &str) {
    dns::create_zone(w.stack, zone).await;
    w.k.apply(w.instance("acme")).await;
    w.k.apply(manual(w, zone)).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    let object = looked_at(w, "the challenge is asked for", |d| reason(d, "Ready") == "OwnershipUnproven").await;
    let challenge = &object["status"]["challenge"];
    let (name, value) = (challenge["name"].as_str().expect("a name"), challenge["value"].as_str().expect("a value"));
    dns::put(w.stack, zone, name, "TXT", 1, &[&format!("\"{value}\"")]).await;
    let object = looked_at(w, "the records are asked for", |d| reason(d, "DNSPublished") == "AwaitingRecords").await;
    import(w, zone, &zone_file(w, &object).await).await;
    let object = looked_at(w, "MX is asked for", |d| reason(d, "CutOver") == "AwaitingRecords").await;
    assert_eq!(healthy(&object), "", "nothing is live yet");
    dns::put(w.stack, zone, zone, "MX", 1, &OURS).await;
    let object = looked_at(w, "it is live", |d| d["status"]["state"] == "Live").await;
    assert_eq!(healthy(&object), "True/Succeeded", "it is judged in the pass that says so: {object}");
}

#[tokio::test]
async fn an_mx_that_was_moved_by_hand_is_told_and_told_again_when_it_is_back() {
    let w = World::new("healthy").await;
    let zone = format!("own-{}.test", w.ns);
    live_by_hand(&w, &zone).await;
    dns::put(w.stack, &zone, &zone, "MX", 1, &ELSEWHERE).await;
    let person = dns::snapshot(w.stack, &zone).await;
    let object = looked_at(&w, "MX elsewhere is told", |d| healthy(d) == "False/MXElsewhere").await;
    let text = message(&object, "Healthy");
    for words in ["10 mx.elsewhere.example", "mx1.mail.example.net", zone.as_str()] {
        assert!(text.contains(words), "{words}: {text}");
    }
    w.k.event("MailDomain", "main", "Unhealthy", &["mx.elsewhere.example"], secs(30)).await;
    counted(&w, "MXElsewhere").await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, person, "nothing is done about it");

    dns::put(w.stack, &zone, &zone, "MX", 1, &OURS).await;
    looked_at(&w, "it is healthy again", |d| healthy(d) == "True/Succeeded" && is_ready(d)).await;
    w.k.event("MailDomain", "main", "Recovered", &[&zone], secs(30)).await;

    // A backup of others behind ours takes no mail while ours does, and is told all the same.
    dns::put(w.stack, &zone, &zone, "MX", 1, &[OURS[0], "50 backup.elsewhere.example."]).await;
    let object = looked_at(&w, "another host is told", |d| healthy(d) == "False/RecordsChanged").await;
    assert!(message(&object, "Healthy").contains("50 backup.elsewhere.example"), "{}", message(&object, "Healthy"));
    dns::put(w.stack, &zone, &zone, "MX", 1, &OURS).await;
    looked_at(&w, "it is healthy again", |d| healthy(d) == "True/Succeeded").await;

    // On the way out MX is taken away on purpose.
    w.k.delete("MailDomain", "main").await;
    eventually("nothing is said of its health any more", secs(60), || async {
        let domain = w.k.get("MailDomain", "main").await.unwrap_or_default();
        if healthy(&domain).is_empty() { Ok(()) } else { Err(healthy(&domain)) }
    })
    .await;
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    dns::put(w.stack, &zone, &zone, "MX", 1, &[]).await;
    w.empty(secs(120)).await;
}

#[tokio::test]
async fn what_is_put_back_is_not_told_and_what_is_only_looked_at_is() {
    let w = World::new("unchanged").await;
    let zone = w.zone();
    w.tenant(&["alice"]).await;
    let domain = w.k.condition("MailDomain", "main", "Healthy", ("True", "Succeeded"), secs(60)).await;
    let since = |d: &Value| condition_of(d, "Healthy").map(|c| c["lastTransitionTime"].clone());
    let put_back = async || dns::contents(w.stack, &zone, &zone, "MX").await == OURS;
    dns::put(w.stack, &zone, &zone, "MX", 1, &ELSEWHERE).await;
    let ready = |d: &Value| is_ready(d);
    looked_at(&w, "a pass has come", ready).await;
    eventually("MX is put back", secs(60), || async { put_back().await.then_some(()).ok_or("it is elsewhere") }).await;
    let after = looked_at(&w, "a pass has come", ready).await;
    assert_eq!((healthy(&after).as_str(), since(&after)), ("True/Succeeded", since(&domain)));

    let policy = async |policy: &str| {
        w.k.patch("MailDomain", "main", json!({"spec": {"managementPolicy": policy}})).await;
    };
    policy("Observe").await;
    dns::put(w.stack, &zone, &zone, "MX", 1, &ELSEWHERE).await;
    looked_at(&w, "MX elsewhere is told", |d| healthy(d) == "False/MXElsewhere").await;
    dns::put(w.stack, &zone, &zone, "MX", 1, &OURS).await;
    let dmarc = format!("_dmarc.{zone}");
    dns::put(w.stack, &zone, &dmarc, "TXT", 300, &["\"v=DMARC1; p=reject; rua=mailto:x@elsewhere.example\""]).await;
    let object = looked_at(&w, "a record of others is told", |d| healthy(d) == "False/RecordsChanged").await;
    assert!(message(&object, "Healthy").contains(&dmarc), "{}", message(&object, "Healthy"));
    counted(&w, "RecordsChanged").await;
    dns::put(w.stack, &zone, &dmarc, "TXT", 300, &[]).await;
    policy("Full").await;
    looked_at(&w, "all is put back", |d| healthy(d) == "True/Succeeded" && is_ready(d)).await;
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(120)).await;
}
