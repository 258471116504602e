//! What only PowerDNS has: disabled records, comments, and texts of any length in one string.

use crate::life::{settle, wanted, withdraw};
use crate::server::{Server, set};
use mailtenant::providers::Dns;
use mailtenant_controllers::connect::ConnectDns;
use mailtenant_dns::RecordType;
use mailtenant_mail::merge::Plan;
use mailtenant_mail::records::{challenge_value, desired};
use serde_json::json;

use RecordType::{CNAME, MX, TXT};

#[tokio::test]
async fn reads_what_is_served_of_disabled_and_commented_records() {
    let server = Server::start();
    server.add_zone("acme.test").await;
    let dns = server.backend();
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

#[tokio::test]
async fn a_domain_comes_and_goes_beside_disabled_and_commented_records() {
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
    let done = settle(&dns, &input, Plan::default()).await;
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
