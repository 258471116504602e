//! `dns.mode: Manual`: a person edits the records at a DNS provider of the tenant's own, which is a zone that no DNSBackend has
//! here. The operator tells and looks, and writes nothing there.

use crate::harness::kubectl::{Kubectl, TENANT_KINDS, condition_of, conditions};
use crate::harness::world::World;
use crate::harness::{dns, eventually, mail, secs};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const OUTSIDER: &str = "x@elsewhere.example";
const OLD: [&str; 2] = ["10 older.mx.example.", "5 old.mx.example."];
const OURS: [&str; 1] = ["10 mx1.mail.example.net."];
/// TTL of MX.
const TTL: u64 = 4;

/// Asks for a look now, and waits until it was taken and the domain is as `so` wants it.
pub async fn looked_at(w: &World, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, secs(120), || async {
        let wish = format!("{:08x}", fastrand::u32(..));
        w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", &wish).await;
        tokio::time::sleep(secs(1)).await;
        let domain = w.k.get("MailDomain", "main").await.ok_or("gone".to_owned())?;
        if so(&domain) { Ok(domain) } else { Err(format!("{}\n{}", conditions(&domain), domain["status"]["dns"])) }
    })
    .await
}

pub fn reason(domain: &Value, condition: &str) -> String {
    condition_of(domain, condition).map(|c| c["reason"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

pub fn message(domain: &Value, condition: &str) -> String {
    condition_of(domain, condition).map(|c| c["message"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

/// The entries of a purpose in the status.
fn records(domain: &Value, purpose: &str) -> Vec<Value> {
    let all = domain["status"]["dns"]["records"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|r| r["purpose"] == purpose).collect()
}

/// What an importer of zone files does: it adds each line that is no comment, and replaces nothing.
pub async fn import(w: &World, zone: &str, text: &str) {
    let mut sets = BTreeMap::<(String, String), Vec<String>>::new();
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with(';')) {
        let mut parts = line.splitn(5, ' ');
        let mut next = || parts.next().expect("a record").to_owned();
        let (name, _ttl, _class, rtype, value) = (next(), next(), next(), next(), next());
        sets.entry((name.trim_end_matches('.').to_owned(), rtype)).or_default().push(value);
    }
    for ((name, rtype), values) in sets {
        let mut all = dns::contents(w.stack, zone, &name, &rtype).await;
        all.extend(values);
        all.sort();
        all.dedup();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        dns::put(w.stack, zone, &name, &rtype, 1, &all).await;
    }
}

pub async fn zone_file(w: &World, domain: &Value) -> String {
    let file = &domain["status"]["dns"]["zoneFile"];
    let map = w.k.get("ConfigMap", file["configMap"].as_str().expect("a ConfigMap")).await.expect("it is there");
    map["data"][file["key"].as_str().expect("a key")].as_str().expect("a text").to_owned()
}

pub fn manual(w: &World, domain: &str) -> Value {
    let mut object = w.domain("main", "acme", domain);
    object["spec"]["dns"] = json!({"mode": "Manual", "ttl": 1});
    object
}

#[tokio::test]
async fn a_tenant_that_edits_its_own_records_moves_here_and_away_without_losing_mail() {
    let w = World::new("byhand").await;
    let zone = format!("own-{}.test", w.ns);
    dns::create_zone(w.stack, &zone).await;
    dns::put(w.stack, &zone, &zone, "MX", TTL, &OLD).await;
    let verification = "\"site-verification=4711\"";
    dns::put(w.stack, &zone, &zone, "TXT", 1, &[verification, "\"v=spf1 a ~all\"", "\"v=spf1 mx -all\""]).await;
    w.k.apply(w.instance("acme")).await;
    w.k.apply(manual(&w, &zone)).await;

    // Nothing is made before the name is proven.
    let object = looked_at(&w, "the challenge is asked for", |d| reason(d, "Ready") == "OwnershipUnproven").await;
    let challenge = &object["status"]["challenge"];
    let (name, value) = (challenge["name"].as_str().expect("a name"), challenge["value"].as_str().expect("a value"));
    assert_eq!(records(&object, "Challenge")[0]["value"], json!(value));
    assert!(w.k.get("MailDomainClaim", &zone).await.is_none() && w.k.get("ConfigMap", "main-records").await.is_none());
    assert_eq!(w.sql.row("domain", &format!("domain = '{zone}'")).await, None);
    dns::put(w.stack, &zone, name, "TXT", 1, &[&format!("\"{value}\"")]).await;

    // Prepared: every record is said, with what is wrong. A domain without an address has no MX to set.
    let object = looked_at(&w, "the records are asked for", |d| reason(d, "DNSPublished") == "AwaitingRecords").await;
    assert_eq!(
        (reason(&object, "OwnershipVerified"), object["status"]["state"].clone()),
        ("Succeeded".into(), json!("Provisioned"))
    );
    let spf = &records(&object, "SPF")[0];
    assert_eq!(
        (&spf["state"], &spf["value"]),
        (&json!("Duplicate"), &json!("v=spf1 a mx include:_spf.mail.example.net ~all"))
    );
    assert!(spf["message"].as_str().unwrap_or_default().contains("2 SPF records"), "{spf}");
    let mx = &records(&object, "MX")[0];
    assert_eq!(
        (&mx["state"], mx["observed"].as_str()),
        (&json!("Missing"), Some("10 older.mx.example. | 5 old.mx.example."))
    );
    assert!(mx["message"].as_str().unwrap_or_default().contains("MX stays as it is"), "{mx}");
    assert!(object["status"]["dkim"].as_array().is_some_and(|k| k.iter().all(|k| k["state"] == "Pending")));
    let text = zone_file(&w, &object).await;
    assert!(text.contains(&format!("\n;{zone}. 1 IN MX 10 mx1.mail.example.net.")), "{text}");

    // The person pastes the file, and edits by hand what it says.
    import(&w, &zone, &text).await;
    let merged = format!("\"{}\"", spf["value"].as_str().expect("a value"));
    dns::put(w.stack, &zone, &zone, "TXT", 1, &[verification, &merged]).await;
    let object = looked_at(&w, "the records are there", |d| reason(d, "DNSPublished") == "Succeeded").await;
    assert_eq!(
        (reason(&object, "CutOver"), reason(&object, "Ready")),
        ("AwaitingFirstAddress".into(), "Succeeded".into())
    );
    assert!(object["status"]["dkim"].as_array().is_some_and(|k| k.iter().all(|k| k["state"] == "Active")), "{object}");
    assert_eq!(dns::contents(w.stack, &zone, &zone, "MX").await, OLD);

    // With an address that the server takes mail for MX is asked for.
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.ready("Mailbox", "alice", secs(120)).await;
    let object = looked_at(&w, "MX is asked for", |d| reason(d, "CutOver") == "AwaitingRecords").await;
    assert_eq!(object["status"]["state"], "CutoverReady");
    assert!(message(&object, "Ready").contains("set MX of"), "{}", message(&object, "Ready"));
    let alice = format!("alice@{zone}");
    let password = w.password("alice").await;
    let login = (alice.as_str(), password.as_str());
    // The old server may still hand mail over.
    mail::send(w.stack, OUTSIDER, &alice, "before MX", None).await.expect("mail is taken");
    // Half of it is not enough.
    dns::put(w.stack, &zone, &zone, "MX", TTL, &[OLD[1], OURS[0]]).await;
    let object = looked_at(&w, "old MX is to go", |d| records(d, "MX")[0]["state"] == "Wrong").await;
    assert_eq!(object["status"]["state"], "CutoverReady");
    dns::put(w.stack, &zone, &zone, "MX", TTL, &OURS).await;
    let object =
        looked_at(&w, "it is live", |d| d["status"]["state"] == "Live" && reason(d, "Ready") == "Succeeded").await;
    assert_eq!(object["status"]["dns"]["mxTtl"], json!(TTL));
    w.k.event("MailDomain", "main", "CutOver", &[&zone], secs(30)).await;
    for subject in ["before MX", "after MX"] {
        if subject == "after MX" {
            mail::send(w.stack, OUTSIDER, &alice, subject, None).await.expect("mail is taken");
        }
        mail::arrives(w.stack, login, subject).await;
    }
    // Clients are led here from now on, and nothing waits for that.
    let object = looked_at(&w, "SRV is told", |d| !records(d, "ClientDiscovery").is_empty()).await;
    assert!(message(&object, "Ready").contains("mail clients"), "{}", message(&object, "Ready"));
    import(&w, &zone, &zone_file(&w, &object).await).await;
    // What would have hurt while the old server still sent mail is asked for now, and holds nothing up.
    let dmarc = &records(&object, "DMARC")[0];
    let told = (&dmarc["state"], &dmarc["observed"], &dmarc["value"]);
    assert_eq!(told, (&json!("Wrong"), &json!("v=DMARC1; p=none"), &json!("v=DMARC1; p=quarantine")));
    dns::put(w.stack, &zone, &format!("_dmarc.{zone}"), "TXT", 1, &["\"v=DMARC1; p=quarantine\""]).await;
    let all =
        |d: &Value| d["status"]["dns"]["records"].as_array().is_some_and(|r| r.iter().all(|r| r["state"] == "Ok"));
    looked_at(&w, "every record is there", all).await;
    let version = |o: Option<Value>| o.map(|o| o["metadata"]["resourceVersion"].clone());
    let before = (version(w.k.get("MailDomain", "main").await), version(w.k.get("ConfigMap", "main-records").await));
    // More than one regular look: nothing changes, so nothing is written.
    tokio::time::sleep(secs(25)).await;
    let after = (version(w.k.get("MailDomain", "main").await), version(w.k.get("ConfigMap", "main-records").await));
    assert_eq!(before, after, "something was written although nothing changed");

    // On the way out MX leaves first, by the person's hand.
    let person = dns::snapshot(w.stack, &zone).await;
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.k.blocked(
        "MailDomain",
        "main",
        "AwaitingRecords",
        &["mx1.mail.example.net", "remove it at your DNS provider", "orphan"],
        secs(60),
    )
    .await;
    w.k.blocked("Mailbox", "alice", "Draining", &[&zone], secs(60)).await;
    mail::send(w.stack, OUTSIDER, &alice, "still led here", None).await.expect("mail is taken");
    mail::arrives(w.stack, login, "still led here").await;
    assert_eq!(dns::snapshot(w.stack, &zone).await, person, "something was written at the provider");
    dns::put(w.stack, &zone, &zone, "MX", TTL, &OLD).await;
    let until = eventually("MX has left", secs(60), || async {
        let domain = w.k.get("MailDomain", "main").await.ok_or("gone".to_owned())?;
        domain["status"]["drainingUntil"].as_str().map(str::to_owned).ok_or(conditions(&domain))
    });
    until.await;
    w.k.event("MailDomain", "main", "Retained", &["you can remove at your DNS provider", "_dmarc"], secs(90)).await;
    w.empty(secs(120)).await;
    assert!(w.k.get("MailDomainClaim", &zone).await.is_none(), "the claim is given back");
    eventually("the ConfigMap goes with its MailDomain", secs(60), || async {
        w.k.get("ConfigMap", "main-records").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
}

#[tokio::test]
async fn a_name_in_a_zone_of_the_platform_is_not_had_by_editing_it_by_hand() {
    let w = World::new("around").await;
    let other = format!("{}-other", w.ns);
    w.namespace(&other).await;
    let stranger = Kubectl::admin(w.stack, &other).await;
    stranger.apply(w.instance("acme")).await;
    // The zone of the test is for its own namespace alone.
    stranger.apply(manual(&w, &w.zone())).await;
    stranger.not_ready("MailDomain", "main", "BackendNotAllowed", secs(60)).await;
    assert!(w.k.get("MailDomainClaim", &w.zone()).await.is_none());
    // A ConfigMap of somebody else stays as it is.
    let map = json!({"kind": "ConfigMap", "metadata": {"name": "main-records"}, "data": {"zone": "mine"}});
    w.k.apply(map).await;
    w.k.apply(w.instance("acme")).await;
    w.k.apply(manual(&w, &w.zone())).await;
    let object = w.k.not_ready("MailDomain", "main", "OwnershipUnproven", secs(60)).await;
    let challenge = &object["status"]["challenge"];
    let (name, value) = (challenge["name"].as_str().expect("a name"), challenge["value"].as_str().expect("a value"));
    dns::put(w.stack, &w.zone(), name, "TXT", 1, &[&format!("\"{value}\"")]).await;
    let object = looked_at(&w, "the records are asked for", |d| reason(d, "DNSPublished") == "AwaitingRecords").await;
    assert_eq!(object["status"]["dns"]["zoneFile"], Value::Null);
    for record in object["status"]["dns"]["records"].as_array().cloned().unwrap_or_default() {
        let (name, rtype) = (record["name"].as_str().unwrap_or_default(), record["type"].as_str().unwrap_or_default());
        if record["purpose"] == "MX" {
            continue;
        }
        let value = mailtenant_mail::value::to_presentation(
            mailtenant_mail::rr::RecordType::TXT,
            record["value"].as_str().unwrap_or_default(),
        );
        let mut all = dns::contents(w.stack, &w.zone(), name, rtype).await;
        all.push(value);
        dns::put(w.stack, &w.zone(), name, rtype, 1, &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let object = looked_at(&w, "the ConfigMap is named", |d| reason(d, "Ready") == "ConfigMapNotOwned").await;
    assert!(message(&object, "Ready").contains("main-records"));
    assert_eq!(w.k.get("ConfigMap", "main-records").await.expect("it stays")["data"]["zone"], "mine");
    for k in [&w.k, &stranger] {
        for kind in TENANT_KINDS {
            k.delete_all(kind).await;
        }
    }
    w.empty(secs(120)).await;
}
