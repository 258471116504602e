//! What a receiver that we did not write says of mail from a live domain: SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 9989).

use crate::harness::receiver::{Receiver, SENT_FROM};
use crate::harness::world::World;
use crate::harness::{dns, eventually, mail, secs};
use serde_json::json;

/// Where nobody of the platform sends from.
const FORGER: &str = "198.51.100.7";

/// The fields of a header, each with the lines that go on with it, and the rest.
fn fields(message: &str) -> (Vec<String>, &str) {
    let (header, body) = message.split_once("\r\n\r\n").expect("a header and a body");
    let mut fields: Vec<String> = vec![];
    for line in header.split("\r\n") {
        match fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some(field) => *field += &format!("\r\n{line}"),
            None => fields.push(line.to_owned()),
        }
    }
    (fields, body)
}

fn is_signature(field: &str) -> bool {
    field.to_ascii_lowercase().starts_with("dkim-signature:")
}

/// The message with one of its signatures; none: without any.
fn signed_by(message: &str, which: Option<usize>) -> String {
    let (fields, body) = fields(message);
    let kept = which.and_then(|n| fields.iter().filter(|f| is_signature(f)).nth(n)).cloned();
    let others = fields.iter().filter(|f| !is_signature(f));
    let header: Vec<&str> = kept.iter().chain(others).map(String::as_str).collect();
    format!("{}\r\n\r\n{body}", header.join("\r\n"))
}

#[tokio::test]
async fn what_a_tenant_sends_passes_and_what_is_forged_is_rejected() {
    let w = World::new("judged").await;
    w.tenant(&["alice", "bob"]).await;
    w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"dmarc": {"policy": "Reject"}}}})).await;
    let zone = w.zone();
    eventually("receivers are told to reject", secs(60), || async {
        let told = dns::contents(w.stack, &zone, &format!("_dmarc.{zone}"), "TXT").await;
        if told.iter().any(|t| t.contains("p=reject")) { Ok(()) } else { Err(told) }
    })
    .await;
    let (alice, bob, password) = (w.address("alice"), w.address("bob"), w.password("alice").await);
    mail::send(w.stack, &alice, &bob, "judged", Some((&alice, &password))).await.expect("sent");
    let message = mail::arrives(w.stack, (&bob, &w.password("bob").await), "judged").await;
    let receiver = Receiver::start(w.stack, &zone);

    let said = receiver.judge(SENT_FROM, &alice, &message).await;
    assert_eq!(said.action, "no action", "{said:?}");
    for pass in ["R_SPF_ALLOW", "R_DKIM_ALLOW", "DMARC_POLICY_ALLOW"] {
        assert!(said.symbols.contains_key(pass), "{pass}: {said:?}");
    }
    let domain = w.k.get("MailDomain", "main").await.expect("it is there");
    let keys = domain["status"]["dkim"].as_array().cloned().unwrap_or_default();
    let active = keys.iter().filter(|k| k["state"] == "Active");
    let mut wanted: Vec<String> =
        active.map(|k| format!("{zone}:s={}", k["selector"].as_str().unwrap_or_default())).collect();
    let mut passed = said.symbols["R_DKIM_ALLOW"].clone();
    wanted.sort();
    passed.sort();
    assert_eq!((wanted.len(), &passed), (2, &wanted), "{said:?}");

    // Each key alone is enough, also for who forwards it from elsewhere.
    for (n, _) in wanted.iter().enumerate() {
        let said = receiver.judge(FORGER, &alice, &signed_by(&message, Some(n))).await;
        assert_eq!(said.symbols["R_DKIM_ALLOW"].len(), 1, "{said:?}");
        assert!(said.symbols.contains_key("DMARC_POLICY_ALLOW"), "{said:?}");
        assert!(said.symbols.contains_key("R_SPF_FAIL") && said.action == "no action", "{said:?}");
    }
    // So is the server that it comes from.
    let said = receiver.judge(SENT_FROM, &alice, &signed_by(&message, None)).await;
    assert!(said.symbols.contains_key("DMARC_POLICY_ALLOW") && said.action == "no action", "{said:?}");

    // Without both it is nobody's.
    let said = receiver.judge(FORGER, &alice, &signed_by(&message, None)).await;
    assert!(said.symbols.contains_key("DMARC_POLICY_REJECT") && said.action == "reject", "{said:?}");
    let said = receiver.judge(FORGER, &alice, &message.replace("Subject: judged", "Subject: forged")).await;
    assert!(said.symbols.contains_key("R_DKIM_REJECT") && said.action == "reject", "{said:?}");
}
