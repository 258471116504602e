//! MTA-STS (RFC 8461) on the real servers, judged by `postfix-mta-sts-resolver`: senders are told of what is served, and MX does
//! not leave before they have forgotten what forbids it (I7).

use crate::harness::kubectl::condition_of;
use crate::harness::web::{SignedBy, Web};
use crate::harness::world::{World, groupware_backend};
use crate::harness::{dns, eventually, secs};
use serde_json::{Value, json};

/// MX of before, at a server whose certificate nobody has looked at.
const OLD: [&str; 1] = ["10 old.mx.example."];
const OURS: [&str; 1] = ["10 mx1.mail.example.net."];

/// The policy by the status of the domain.
async fn status(w: &World) -> Value {
    of_dns(w, "mtaSts").await
}

async fn of_dns(w: &World, field: &str) -> Value {
    let domain = w.k.get("MailDomain", "main").await.unwrap_or_default();
    domain["status"]["dns"][field].clone()
}

async fn asks(w: &World) {
    let wish = fastrand::u64(..).to_string();
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", &wish).await;
    tokio::time::sleep(secs(1)).await;
}

async fn told(w: &World) -> Vec<String> {
    dns::contents(w.stack, &w.zone(), &format!("_mta-sts.{}", w.zone()), "TXT").await
}

/// Asks for passes until the status of the policy is like this.
async fn comes_to(w: &World, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, secs(90), || async {
        w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", &fastrand::u64(..).to_string())
            .await;
        tokio::time::sleep(secs(1)).await;
        let now = status(w).await;
        if is(&now) { Ok(now) } else { Err(now) }
    })
    .await
}

/// Senders are told of this mode, and find it.
async fn senders_find(w: &World, web: &Web, mode: &str, in_the_status: &str) {
    let now = comes_to(w, mode, |s| s["mode"] == in_the_status && s["id"].is_string()).await;
    let id = now["id"].as_str().unwrap_or_default();
    assert_eq!(told(w).await, [format!("\"v=STSv1; id={id};\"")]);
    let seen = web.as_senders_see_it(&w.zone());
    for part in ["VALID", id, &format!("'mode': '{mode}'"), "'mx1.mail.example.net'", "'max_age': 5"] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
}

/// A domain with `dns.mtaSts`, below a backend that says where policies are served; it has MX elsewhere.
async fn declare(w: &World, web: &Web, mta_sts: Value) {
    let (zone, host) = (w.zone(), format!("wellknown.{}", w.zone()));
    dns::put(w.stack, &zone, &zone, "MX", 1, &OLD).await;
    dns::put(w.stack, &zone, &host, "A", 1, &[&web.address]).await;
    let mut backend = groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}));
    backend["spec"]["hosts"]["wellKnown"] = json!(host);
    w.k.apply(backend).await;
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    w.k.apply(instance).await;
    let mut domain = w.domain("main", "acme", &zone);
    domain["spec"]["dns"]["onDelete"] = json!("RestorePrevious");
    domain["spec"]["dns"]["mtaSts"] = mta_sts;
    w.k.apply(domain).await;
    w.k.apply(w.mailbox("alice", "main")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_are_told_of_what_is_served_and_mx_leaves_when_they_forgot_it() {
    let w = World::new("mtasts").await;
    let web = Web::start(w.stack).await;
    let host = format!("mta-sts.{}", w.zone());
    declare(&w, &web, json!({"mode": "Testing", "maxAge": 5})).await;
    w.k.ready("MailDomain", "main", secs(120)).await;
    assert_eq!(dns::contents(w.stack, &w.zone(), &w.zone(), "MX").await, OURS);

    // Nobody answers; then somebody whom no sender trusts.
    comes_to(&w, "it is not served", |s| s["message"].is_string()).await;
    web.show(&host, SignedBy::Nobody);
    let certificate = |s: &Value| s["message"].as_str().is_some_and(|m| m.to_lowercase().contains("certificate"));
    comes_to(&w, "the certificate is named", certificate).await;
    assert_eq!(told(&w).await, Vec::<String>::new(), "senders are told of what they cannot fetch");

    web.show(&host, SignedBy::Known);
    senders_find(&w, &web, "testing", "Testing").await;
    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"mtaSts": {"mode": "Enforce"}}}})).await;
    senders_find(&w, &web, "enforce", "Enforce").await;

    // The domain goes. MX leaves when no sender can hold `enforce` any more.
    for kind in ["Mailbox", "MailDomain", "MailInstance"] {
        w.k.delete_all(kind).await;
    }
    let mut until: Option<jiff::Timestamp> = None;
    let left = eventually("MX has left", secs(90), || {
        let w = &w;
        async move {
            let now = status(w).await;
            let mx = dns::contents(w.stack, &w.zone(), &w.zone(), "MX").await;
            if mx == OLD { Ok(jiff::Timestamp::now()) } else { Err((mx, now)) }
        }
    });
    let watched = async {
        loop {
            let now = status(&w).await;
            until = now["enforcedUntil"].as_str().and_then(|t| t.parse().ok()).or(until);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let left = tokio::select! { left = left => left, () = watched => unreachable!() };
    let until = until.expect("the status says until when senders may hold the policy");
    assert!(left >= until, "MX left at {left}, and senders may hold enforce until {until}");
    w.empty(secs(90)).await;
    let zone = dns::snapshot(w.stack, &w.zone()).await;
    let ours = zone.keys().find(|(name, _)| name.contains("mta-sts") || name.contains("_mailtenant"));
    assert_eq!(ours, None, "nothing of ours is left");
    let seen = web.as_senders_see_it(&w.zone());
    assert!(!seen.contains("VALID"), "{seen}");
}

/// What the provider serves that the domain comes from.
const FORMER: &str = "version: STSv1\r\nmode: enforce\r\nmx: old.mx.example\r\nmax_age: 8\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mx_stays_while_senders_may_hold_a_policy_of_before() {
    let w = World::new("mtaold").await;
    let web = Web::start(w.stack).await;
    let (zone, host) = (w.zone(), format!("mta-sts.{}", w.zone()));
    let record = format!("_mta-sts.{zone}");
    dns::put(w.stack, &zone, &host, "A", 1, &[&web.address]).await;
    dns::put(w.stack, &zone, &record, "TXT", 1, &["\"v=STSv1; id=former;\""]).await;
    web.show_another(&host, FORMER).await;
    declare(&w, &web, json!({"mode": "None"})).await;
    let seen = web.as_senders_see_it(&zone);
    assert!(seen.contains("VALID") && seen.contains("'old.mx.example'"), "{seen}");

    let cut_over = ("False", "AwaitingPolicyEnd");
    let domain = w.k.condition("MailDomain", "main", "CutOver", cut_over, secs(90)).await;
    let said = condition_of(&domain, "CutOver").cloned().unwrap_or_default();
    assert!(said["message"].as_str().is_some_and(|m| m.contains("mx1.mail.example.net")), "{said}");
    assert_eq!(of_dns(&w, "formerPolicy").await, json!({"ids": ["former"], "maxAge": 8}));

    // It is not told of any more: who fetched it keeps it for 8 s.
    dns::put(w.stack, &zone, &record, "TXT", 1, &[]).await;
    let until = eventually("the end is told", secs(60), || async {
        asks(&w).await;
        let now = of_dns(&w, "formerPolicy").await;
        now["heldUntil"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()).ok_or(now)
    })
    .await;
    assert_eq!(dns::contents(w.stack, &zone, &zone, "MX").await, OLD, "MX was switched while senders hold the policy");
    let switched = eventually("MX leads here", secs(60), || async {
        let mx = dns::contents(w.stack, &zone, &zone, "MX").await;
        if mx == OURS { Ok(jiff::Timestamp::now()) } else { Err(mx) }
    })
    .await;
    assert!(switched >= until, "MX was switched at {switched}, and senders may hold the policy until {until}");
    w.k.ready("MailDomain", "main", secs(60)).await;
    assert_eq!(of_dns(&w, "formerPolicy").await, Value::Null);
}

/// The record is a CNAME, as of whoever leaves MTA-STS to a service; the policy ends, first under the id that senders know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mx_goes_when_senders_are_told_by_a_new_id_that_the_policy_has_ended() {
    let w = World::new("mtaend").await;
    let web = Web::start(w.stack).await;
    let (zone, host) = (w.zone(), format!("mta-sts.{}", w.zone()));
    let (record, service) = (format!("_mta-sts.{zone}"), format!("acme.service.{zone}"));
    let tell = async |id: &str| {
        dns::put(w.stack, &zone, &service, "TXT", 1, &[&format!("\"v=STSv1; id={id};\"")]).await;
    };
    dns::put(w.stack, &zone, &host, "A", 1, &[&web.address]).await;
    dns::put(w.stack, &zone, &record, "CNAME", 1, &[&format!("{service}.")]).await;
    tell("former").await;
    let long = "version: STSv1\r\nmode: enforce\r\nmx: old.mx.example\r\nmax_age: 604800\r\n";
    web.show_another(&host, long).await;
    declare(&w, &web, json!({"mode": "None"})).await;
    w.k.condition("MailDomain", "main", "CutOver", ("False", "AwaitingPolicyEnd"), secs(90)).await;

    web.show_another(&host, "version: STSv1\r\nmode: none\r\nmax_age: 60\r\n").await;
    eventually("the id is missed", secs(60), || async {
        asks(&w).await;
        let now = of_dns(&w, "formerPolicy").await;
        if now["heldUntil"].is_string() && now["maxAge"] == 604_800 { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(dns::contents(w.stack, &zone, &zone, "MX").await, OLD, "senders have not heard of the end");

    tell("ended").await;
    eventually("MX leads here", secs(60), || async {
        asks(&w).await;
        let mx = dns::contents(w.stack, &zone, &zone, "MX").await;
        if mx == OURS { Ok(()) } else { Err(mx) }
    })
    .await;
    w.k.ready("MailDomain", "main", secs(60)).await;
    assert_eq!(of_dns(&w, "formerPolicy").await, Value::Null);
}
