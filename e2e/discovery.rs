//! Records beside those that mail needs: where clients find the servers (RFC 6186, RFC 6764), and where senders report
//! failures of TLS (RFC 8460).

use crate::harness::world::World;
use crate::harness::{dns, eventually, secs};
use serde_json::{Value, json};

const REPORTS: &str = "\"v=TLSRPTv1; rua=mailto:tls@away.example\"";

#[tokio::test]
async fn clients_find_the_servers_once_mx_leads_here_and_what_others_have_there_stays() {
    let w = World::new("discovery").await;
    let zone = w.zone();
    let at = |service: &str| format!("_{service}._tcp.{zone}");
    let foreign = "0 1 110 pop.old.example.";
    dns::put(w.stack, &zone, &at("pop3"), "SRV", 60, &[foreign]).await;
    w.k.apply(w.instance("acme")).await;
    let mut domain = w.domain("main", "acme", &zone);
    domain["spec"]["cutover"] = json!({"mode": "Manual"});
    domain["spec"]["dns"]["tlsRpt"] = json!({"reportTo": ["mailto:tls@away.example"]});
    domain["spec"]["dns"]["dmarc"] = Value::Null;
    w.k.apply(domain).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.not_ready("MailDomain", "main", "AwaitingApproval", secs(60)).await;
    // Until then clients find the servers that have the mail.
    let reports = format!("_smtp._tls.{zone}");
    assert_eq!(dns::contents(w.stack, &zone, &reports, "TXT").await, [REPORTS]);
    assert_eq!(dns::contents(w.stack, &zone, &at("imaps"), "SRV").await, [""; 0]);
    assert_eq!(dns::contents(w.stack, &zone, &format!("_dmarc.{zone}"), "TXT").await, [""; 0], "dmarc: null");

    w.k.patch("MailDomain", "main", json!({"spec": {"cutover": {"approved": true}}})).await;
    let domain = w.k.ready("MailDomain", "main", secs(60)).await;
    for (service, value) in [
        ("imaps", "0 1 993 imap.mail.example.net."),
        ("imap", "0 0 0 ."),
        ("submission", "0 0 0 ."),
        ("sieve", "0 1 4190 imap.mail.example.net."),
        ("caldavs", "0 1 443 webmail.example.net."),
        ("carddavs", "0 1 443 webmail.example.net."),
        ("pop3", foreign),
    ] {
        assert_eq!(dns::contents(w.stack, &zone, &at(service), "SRV").await, [value], "{service}");
    }
    assert_eq!(dns::contents(w.stack, &zone, &at("caldavs"), "TXT").await, ["\"path=/SOGo/dav\""]);
    let records = domain["status"]["dns"]["records"].as_array().cloned().unwrap_or_default();
    let state = |name: &str| records.iter().find(|r| r["name"] == name).map(|r| r["state"].clone());
    assert_eq!(state(&at("imaps")), Some(json!("Ok")));
    assert_eq!(state(&at("pop3")), Some(json!("Conflict")), "it is reported, and holds nothing up");

    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"clientDiscovery": false}}})).await;
    eventually("they go with the field", secs(30), || async {
        match dns::contents(w.stack, &zone, &at("imaps"), "SRV").await {
            none if none.is_empty() => Ok(()),
            some => Err(some),
        }
    })
    .await;
    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"clientDiscovery": true}}})).await;
    w.k.ready("MailDomain", "main", secs(30)).await;
    for kind in ["Mailbox", "MailDomain", "MailInstance"] {
        w.k.delete_all(kind).await;
    }
    for (kind, name) in [("Mailbox", "alice"), ("MailDomain", "main"), ("MailInstance", "acme")] {
        w.k.gone(kind, name, secs(60)).await;
    }
    let left = dns::snapshot(w.stack, &zone).await;
    // The apex has records of others.
    let left: Vec<_> = left.keys().filter(|(name, _)| *name != format!("{zone}.") && name.starts_with('_')).collect();
    assert_eq!(left, [&(format!("{}.", at("pop3")), "SRV".to_string())]);
}
