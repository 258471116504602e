//! What every DNS provider must do, on PowerDNS.

use crate::server::{Server, connect, set};
use mailtenant::providers::Dns;
use mailtenant_controllers::connect::ConnectDns;
use mailtenant_dns::{BackendError, Change, DnsServer, RecordType};
use mailtenant_groupware::{DkimAlgorithm, Selector, signing};
use mailtenant_mail::merge::{Plan, Policy, plan, which, withdraw_mx, withdraw_rest};
use mailtenant_mail::policy::{ConflictPolicy, DmarcPolicy, OnDelete, SpfAll};
use mailtenant_mail::records::{DkimPublic, Dmarc, Input, challenge_value, desired};
use serde_json::json;
use std::sync::Arc;

use RecordType::{CNAME, MX, NS, TXT};

fn wanted(domain: &str) -> Input {
    let keys = [("s202611r", DkimAlgorithm::RSA2048), ("s202611e", DkimAlgorithm::Ed25519)];
    Input {
        domain: domain.into(),
        ttl: 3600,
        challenge: Some(challenge_value("uid", domain)),
        mx: vec![(10, "mx1.mail.example.net".into()), (20, "mx2.mail.example.net".into())],
        spf: Some(("_spf.mail.example.net".into(), SpfAll::Fail)),
        dkim: keys
            .map(|(selector, algorithm)| DkimPublic {
                selector: Selector::new(selector),
                algorithm,
                public: signing::generate(algorithm).expect("a key").public,
            })
            .to_vec(),
        dmarc: Some(Dmarc { policy: DmarcPolicy::Quarantine, report_to: vec!["mailto:dmarc@acme.test".into()] }),
        tls_rpt: vec!["mailto:tls@acme.test".into()],
        discovery: None,
    }
}

#[tokio::test]
async fn finds_zones_and_reads_what_is_there() {
    let server = Server::start();
    for zone in ["acme.test", "example.org", "sub.example.org"] {
        server.add_zone(zone).await;
    }
    let dns = server.backend();
    assert_eq!(dns.probe().await.as_deref().map(|v| v.starts_with(|c: char| c.is_ascii_digit())), Ok(true));
    for (name, zone) in [
        ("acme.test", "acme.test"),
        ("_dmarc.acme.test", "acme.test"),
        ("a.b.example.org", "example.org"),
        ("sub.example.org", "sub.example.org"),
        ("x.sub.example.org", "sub.example.org"),
        ("xsub.example.org", "example.org"),
    ] {
        assert_eq!(dns.find_zone(name).await.as_deref(), Ok(zone), "{name}");
    }
    assert!(matches!(dns.find_zone("other.test").await, Err(BackendError::NotFound(_))));
    assert!(matches!(dns.read("other.test", &[("other.test".into(), TXT)]).await, Err(BackendError::NotFound(_))));
    server
        .put(
            "acme.test",
            json!([
                {"name": "acme.test.", "type": "TXT", "ttl": 77, "changetype": "REPLACE", "comments": [{"content": "c", "account": "a"}],
                 "records": [{"content": "\"a\" \"b\""}, {"content": "\"say \\\"hi\\\" \\195\\169\""}, {"content": "\"off\"", "disabled": true}]},
                {"name": "acme.test.", "type": "MX", "ttl": 78, "changetype": "REPLACE", "records": [{"content": "10 Mail.Example.NET."}]},
            ]),
        )
        .await;
    // In the order asked for, empty ones too; another name's commented set does not get in (4.7.3 sends it along).
    let asked = [
        ("nothing.acme.test".to_string(), TXT),
        ("acme.test".to_string(), MX),
        ("acme.test".to_string(), TXT),
        ("acme.test".to_string(), CNAME),
    ];
    let sets = dns.read("acme.test", &asked).await.expect("sets");
    let want = [
        set("nothing.acme.test", TXT, 0, &[]),
        set("acme.test", MX, 78, &["10 mail.example.net."]),
        set("acme.test", TXT, 77, &["ab", "say \"hi\" é"]),
        set("acme.test", CNAME, 0, &[]),
    ];
    assert_eq!(sets, want);
}

/// Plans and applies until nothing is left to do, as the controller does; the last plan.
async fn settle(dns: &Arc<dyn DnsServer>, input: &Input) -> Plan {
    let (zone, records) = (dns.find_zone(&input.domain).await.expect("a zone"), desired(input));
    let mut last = Plan::default();
    for _ in 0..4 {
        let live = dns.read(&zone, &which(&records, &last.journal)).await.expect("sets");
        let policy =
            Policy { conflict: ConflictPolicy::Refuse, switch_mx: true, previous_mx: last.previous_mx.clone() };
        last = plan(&records, &last.journal, &live, &policy);
        if last.changes.is_empty() {
            return last;
        }
        dns.apply(&zone, &last.changes).await.expect("applied");
    }
    panic!("does not settle");
}

async fn withdraw(dns: &Arc<dyn DnsServer>, zone: &str, domain: &str, was: Plan) {
    let mut journal = was.journal;
    for _ in 0..3 {
        let live = dns.read(zone, &[(domain.to_string(), MX)]).await.expect("MX").remove(0);
        let p = withdraw_mx(&journal, &live, OnDelete::RestorePrevious, was.previous_mx.as_ref());
        dns.apply(zone, &p.changes).await.expect("MX withdrawn");
        journal = p.journal;
    }
    for _ in 0..3 {
        let p = withdraw_rest(&journal, &dns.read(zone, &which(&[], &journal)).await.expect("sets"));
        if p.is_withdrawn() {
            return;
        }
        dns.apply(zone, &p.changes).await.expect("withdrawn");
        journal = p.journal;
    }
    panic!("does not settle");
}

#[tokio::test]
async fn a_domain_comes_and_goes_beside_foreign_records() {
    let server = Server::start();
    server.add_zone("acme.test").await;
    let long = format!("\"{}\" \"{}\"", "x".repeat(200), "y".repeat(200));
    server
        .put(
            "acme.test",
            json!([
                {"name": "acme.test.", "type": "TXT", "ttl": 77, "changetype": "REPLACE",
                 "comments": [{"content": "asked for by Joe", "account": "joe"}],
                 "records": [
                    {"content": "\"google-site-verification=abc\""},
                    {"content": "\"v=spf1  mx\" \" a:www.acme.test ~all\""},
                    {"content": "\"caf\\195\\169 \\\"q\\\" \\\\ \\255\""},
                    {"content": long},
                    {"content": "\"v=spf1 -all\"", "disabled": true},
                 ]},
                {"name": "acme.test.", "type": "MX", "ttl": 7200, "changetype": "REPLACE",
                 "comments": [{"content": "old mail", "account": "joe"}],
                 "records": [{"content": "10 mail.old.example."}, {"content": "20 off.old.example.", "disabled": true}]},
                {"name": "acme.test.", "type": "A", "ttl": 60, "changetype": "REPLACE", "records": [{"content": "192.0.2.1"}]},
                {"name": "www.acme.test.", "type": "TXT", "ttl": 60, "changetype": "REPLACE", "records": [{"content": "\"w\""}],
                 "comments": [{"content": "w", "account": ""}]},
                {"name": "_dmarc.acme.test.", "type": "TXT", "ttl": 60, "changetype": "REPLACE",
                 "records": [{"content": "\"v=DMARC1; p=none\"", "disabled": true}]},
            ]),
        )
        .await;
    let before = server.raw_sets("acme.test").await;
    let dns = server.backend();
    let input = wanted("acme.test");
    let done = settle(&dns, &input).await;
    assert_eq!(done.conflicts, []);
    let rsa = desired(&input).into_iter().find(|r| r.name.starts_with("s202611r.")).expect("RSA key").values.remove(0);
    assert_eq!(rsa.len(), 410);
    // By DNS, as the world sees it: a key of more than 255 bytes, the merged SPF, MX.
    let resolver = Dns::default().resolver(&server.spec(&["acme.test"])).expect("a resolver");
    let seen = |name: &'static str, rtype| {
        let resolver = resolver.clone();
        async move { resolver.lookup(name, rtype).await.expect("an answer").remove(0) }
    };
    assert_eq!(
        seen("s202611r._domainkey.acme.test", TXT).await,
        set("s202611r._domainkey.acme.test", TXT, 3600, &[&rsa])
    );
    assert_eq!(
        seen("acme.test", MX).await,
        set("acme.test", MX, 3600, &["10 mx1.mail.example.net.", "20 mx2.mail.example.net."])
    );
    assert_eq!(seen("_dmarc.acme.test", TXT).await.values, ["v=DMARC1; p=quarantine; rua=mailto:dmarc@acme.test"]);
    assert_eq!(seen("_mailtenant-challenge.acme.test", TXT).await.values, [challenge_value("uid", "acme.test")]);
    let apex = seen("acme.test", TXT).await;
    assert_eq!((apex.ttl, apex.values.len()), (77, 4));
    assert!(
        apex.values.contains(&"v=spf1  mx a:www.acme.test include:_spf.mail.example.net ~all".to_string()),
        "{apex:?}"
    );
    assert_eq!(seen("nothing.acme.test", TXT).await.values, [""; 0]);
    // While ours is there, the foreign records are as they were, the disabled ones too.
    let during = server.raw_sets("acme.test").await;
    let at = "\"acme.test.\" \"TXT\"";
    assert_eq!(during[at]["comments"], before[at]["comments"]);
    for record in before[at]["records"]
        .as_array()
        .expect("records")
        .iter()
        .filter(|r| !r["content"].to_string().contains("a:www"))
    {
        assert!(during[at]["records"].as_array().expect("records").contains(record), "{record}");
    }
    withdraw(&dns, "acme.test", "acme.test", done).await;
    let mut after = server.raw_sets("acme.test").await;
    // The one record that we edited comes back with the same text; into which strings a text is cut means nothing.
    for record in after.get_mut(at).and_then(|s| s["records"].as_array_mut()).expect("records") {
        if record["content"] == "\"v=spf1  mx a:www.acme.test ~all\"" {
            record["content"] = json!("\"v=spf1  mx\" \" a:www.acme.test ~all\"");
        }
    }
    if let Some(list) = after.get_mut(at).and_then(|s| s["records"].as_array_mut()) {
        list.sort_by_key(ToString::to_string);
    }
    // The API has one time to live a set: a disabled record that shared its set with one of ours only keeps ours.
    assert_eq!(after["\"_dmarc.acme.test.\" \"TXT\""]["ttl"], 3600);
    after.get_mut("\"_dmarc.acme.test.\" \"TXT\"").expect("still there")["ttl"] = json!(60);
    assert_eq!(after, before);
}

#[tokio::test]
async fn all_changes_or_none() {
    let server = Server::start();
    server.add_zone("acme.test").await;
    let dns = server.backend();
    let good = Change { before: set("good.acme.test", TXT, 0, &[]), after: set("good.acme.test", TXT, 60, &["x"]) };
    let bad = Change { before: set("bad.acme.test", MX, 0, &[]), after: set("bad.acme.test", MX, 60, &["10 no-dot"]) };
    let Err(BackendError::Rejected(text)) = dns.apply("acme.test", &[good.clone(), bad]).await else { panic!("taken") };
    assert!(text.contains("bad.acme.test"), "{text}");
    let stale =
        Change { before: set("stale.acme.test", TXT, 60, &["old"]), after: set("stale.acme.test", TXT, 60, &["new"]) };
    assert!(matches!(dns.apply("acme.test", &[good.clone(), stale]).await, Err(BackendError::Conflict(_))));
    assert_eq!(server.raw_sets("acme.test").await.len(), 1, "something was written");
    dns.apply("acme.test", std::slice::from_ref(&good)).await.expect("applied");
    // The same again is a conflict: what was read is no longer so.
    assert!(matches!(dns.apply("acme.test", std::slice::from_ref(&good)).await, Err(BackendError::Conflict(_))));
    let ttl = Change { before: set("good.acme.test", TXT, 61, &["x"]), after: set("good.acme.test", TXT, 60, &[]) };
    assert!(matches!(dns.apply("acme.test", &[ttl]).await, Err(BackendError::Conflict(_))));
    let away = Change { before: good.after.clone(), after: set("good.acme.test", TXT, 60, &[]) };
    dns.apply("acme.test", &[away]).await.expect("deleted");
    assert_eq!(server.raw_sets("acme.test").await.len(), 1);
}

#[tokio::test]
async fn nothing_outside_the_zones_is_written() {
    let server = Server::start();
    for zone in ["acme.test", "other.test"] {
        server.add_zone(zone).await;
    }
    let dns = server.backend();
    for (zone, name) in [
        ("other.test", "other.test"),
        ("other.test", "acme.test"),
        ("acme.test", "other.test"),
        ("acme.test", "xacme.test"),
    ] {
        let change = Change { before: set(name, TXT, 0, &[]), after: set(name, TXT, 60, &["x"]) };
        assert!(matches!(dns.apply(zone, &[change]).await, Err(BackendError::Rejected(_))), "{zone} {name}");
    }
    for name in ["a/../b.acme.test", "UPPER.acme.test", "é.acme.test", "a..acme.test", ""] {
        assert!(matches!(dns.find_zone(name).await, Err(BackendError::Rejected(_))), "{name}");
    }
    assert_eq!(server.raw_sets("other.test").await.len(), 1);
}

#[tokio::test]
async fn two_writers_lose_nothing() {
    let server = Server::start();
    server.add_zone("acme.test").await;
    // Two providers of one operator, as after a change of the DNSBackend: they share the server's lock.
    let operator = Dns::default();
    let writers: Vec<_> = (0..2).map(|_| connect(&operator, server.spec(&["acme.test"]), &server.key)).collect();
    let before = writers[0].read("acme.test", &[("acme.test".into(), TXT)]).await.expect("read").remove(0);
    let change = |v: &str| Change { before: before.clone(), after: set("acme.test", TXT, 60, &[v]) };
    let (one, two) = ([change("a")], [change("b")]);
    let both = tokio::join!(writers[0].apply("acme.test", &one), writers[1].apply("acme.test", &two));
    let lost = [both.0, both.1].into_iter().filter(|r| matches!(r, Err(BackendError::Conflict(_)))).count();
    assert_eq!(lost, 1, "one of two must lose");
    let add = |writer: Arc<dyn DnsServer>, letter: char| async move {
        let mut conflicts = 0;
        for n in 0..15 {
            loop {
                let before = writer.read("acme.test", &[("acme.test".into(), TXT)]).await.expect("read").remove(0);
                let mut after = before.clone();
                after.ttl = 60;
                after.values.push(format!("{letter}{n}"));
                after.values.sort();
                match writer.apply("acme.test", &[Change { before, after }]).await {
                    Ok(()) => break,
                    Err(BackendError::Conflict(_)) => conflicts += 1,
                    Err(e) => panic!("{e}"),
                }
            }
        }
        conflicts
    };
    let (x, y) = tokio::join!(add(writers[0].clone(), 'x'), add(writers[1].clone(), 'y'));
    assert!(x + y > 0, "the writers never met");
    let end = writers[0].read("acme.test", &[("acme.test".into(), TXT)]).await.expect("read").remove(0);
    assert_eq!(end.values.len(), 31);
}

#[tokio::test]
async fn a_cut_below_the_zone_is_seen() {
    let server = Server::start();
    for zone in ["acme.test", "own.acme.test"] {
        server.add_zone(zone).await;
    }
    server
        .put("acme.test", json!([{"name": "away.acme.test.", "type": "NS", "ttl": 60, "changetype": "REPLACE", "records": [{"content": "ns.example.net."}]}]))
        .await;
    let dns = server.backend();
    assert_eq!(
        dns.read("acme.test", &[("away.acme.test".into(), NS)]).await.expect("read")[0].values,
        ["ns.example.net."]
    );
    for name in ["away.acme.test", "_dmarc.away.acme.test"] {
        assert!(matches!(dns.find_zone(name).await, Err(BackendError::NotFound(_))), "{name}");
    }
    for name in ["away.acme.test", "_dmarc.away.acme.test", "own.acme.test", "_dmarc.own.acme.test"] {
        let change = Change { before: set(name, TXT, 0, &[]), after: set(name, TXT, 60, &["x"]) };
        assert!(matches!(dns.apply("acme.test", &[change]).await, Err(BackendError::Rejected(_))), "{name}");
    }
    let change = Change {
        before: set("_dmarc.own.acme.test", TXT, 0, &[]),
        after: set("_dmarc.own.acme.test", TXT, 60, &["x"]),
    };
    dns.apply("own.acme.test", &[change]).await.expect("in its own zone");
}
