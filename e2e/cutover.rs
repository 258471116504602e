//! I7, on the way in: MX stays with whoever had it until the mail server itself takes every declared address, and a person
//! has agreed where that is asked for. And what becomes of it when the domain goes.

use crate::harness::gate::Gate;
use crate::harness::kubectl::condition_of;
use crate::harness::world::{World, groupware_backend};
use crate::harness::{dns, eventually, secs};
use serde_json::json;

/// What others had.
const OLD: [&str; 2] = ["10 older.mx.example.", "5 old.mx.example."];
const OURS: [&str; 1] = ["10 mx1.mail.example.net."];

async fn mx(w: &World, zone: &str) -> Vec<String> {
    dns::contents(w.stack, zone, zone, "MX").await
}

/// Waits until the domain says why MX is not switched, in these words, and sees that it is not.
async fn waits(w: &World, domain: &str, reason: &str, words: &[&str]) {
    let zone = format!("{domain}.{}", w.zone());
    eventually(&format!("MailDomain/{domain}: CutOver=False/{reason} {words:?}"), secs(90), || async {
        let object = w.k.get("MailDomain", domain).await.ok_or("gone")?;
        let said = condition_of(&object, "CutOver").cloned().unwrap_or_default();
        let message = said["message"].as_str().unwrap_or_default();
        let fits = said["status"] == "False" && said["reason"] == reason && words.iter().all(|x| message.contains(x));
        if fits { Ok(()) } else { Err(said.to_string()) }
    })
    .await;
    assert_eq!(mx(w, &zone).await, OLD, "MX of {domain} was changed although {reason}");
}

#[tokio::test]
async fn mx_is_switched_when_every_address_is_taken_and_put_back_at_the_end() {
    let w = World::new("cutover").await;
    let gate = Gate::closed(w.stack);
    let mut backend = groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}));
    backend["spec"]["delivery"]["port"] = json!(gate.port);
    w.k.apply(backend).await;
    let names = ["auto", "manual", "bare"];
    let zones = names.map(|n| format!("{n}.{}", w.zone()));
    w.zones(&zones).await;
    for zone in &zones {
        dns::put(w.stack, zone, zone, "MX", 300, &OLD).await;
    }
    let mut before = vec![];
    for zone in &zones {
        before.push(dns::snapshot(w.stack, zone).await);
    }
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    w.k.apply(instance).await;
    for (name, on_delete) in names.iter().zip(["RestorePrevious", "NullMX", "Remove"]) {
        let mut domain = w.domain(name, "acme", &format!("{name}.{}", w.zone()));
        domain["spec"]["dns"]["onDelete"] = json!(on_delete);
        domain["spec"]["cutover"] = json!({"mode": if *name == "manual" { "Manual" } else { "Auto" }});
        w.k.apply(domain).await;
        w.k.apply(w.mailbox(&format!("m-{name}"), name)).await;
    }
    w.k.apply(w.alias("info", "auto", "info", &["m-auto"])).await;
    w.k.apply(w.alias("late", "auto", "late", &["bob"])).await;
    let address = |local: &str, domain: &str| format!("{local}@{domain}.{}", w.zone());

    // An address that is not ready, a mail server that is away, a person who has not agreed.
    waits(&w, "auto", "AwaitingAcceptance", &["MailAlias late"]).await;
    waits(&w, "bare", "BackendUnreachable", &[&gate.port.to_string()]).await;
    waits(&w, "manual", "AwaitingApproval", &["spec.cutover.approved"]).await;
    w.k.not_ready("MailDomain", "manual", "AwaitingApproval", secs(10)).await;

    // A mailbox that is not ready.
    let mut bob = w.mailbox("bob", "auto");
    bob["spec"]["password"] = json!({"secretRef": {"name": "bobs", "key": "password"}});
    w.k.apply(bob).await;
    waits(&w, "auto", "AwaitingAcceptance", &["Mailbox bob"]).await;

    // All are ready, and the server itself knows nothing of one of them.
    gate.refuse(&address("info", "auto"));
    gate.open();
    w.k.put_secret("bobs", &[("password", "chosen-by-Bob-17")]).await;
    w.k.ready("MailAlias", "late", secs(60)).await;
    waits(&w, "auto", "AwaitingAcceptance", &[&address("info", "auto"), "550"]).await;
    w.k.ready("MailDomain", "bare", secs(120)).await;
    assert_eq!(mx(&w, &zones[2]).await, OURS);

    gate.accept();
    w.k.annotate("MailDomain", "auto", "mailtenant.dev/reconcile-requested-at", "now").await;
    let live = w.k.ready("MailDomain", "auto", secs(120)).await;
    assert_eq!(mx(&w, &zones[0]).await, OURS);
    assert_eq!(live["status"]["dns"]["previousMX"], json!(OLD));
    let declared = ["m-auto", "bob", "info", "late"].map(|l| address(l, "auto"));
    assert!(declared.iter().all(|a| gate.taken().contains(a)), "not asked for all: {:?}", gate.taken());
    assert_eq!(mx(&w, &zones[1]).await, OLD, "nobody has approved it");
    assert!(!gate.taken().contains(&address("m-manual", "manual")));

    w.k.patch("MailDomain", "manual", json!({"spec": {"cutover": {"approved": true}}})).await;
    w.k.ready("MailDomain", "manual", secs(60)).await;
    assert_eq!(mx(&w, &zones[1]).await, OURS);
    assert!(gate.taken().contains(&address("m-manual", "manual")), "approval is no acceptance");
    w.k.event("MailDomain", "manual", "CutOver", &[], secs(30)).await;

    for kind in ["MailInstance", "MailDomain", "Mailbox", "MailAlias"] {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(120)).await;
    let key = |zone: &str| (format!("{zone}."), "MX".to_string());
    assert_eq!(dns::snapshot(w.stack, &zones[0]).await, before[0], "RestorePrevious: as it was, to the byte");
    let mut null = before[1].clone();
    null.insert(key(&zones[1]), (1, vec!["0 .".into()]));
    assert_eq!(dns::snapshot(w.stack, &zones[1]).await, null, "NullMX");
    let mut bare = before[2].clone();
    bare.remove(&key(&zones[2]));
    assert_eq!(dns::snapshot(w.stack, &zones[2]).await, bare, "Remove");
}
