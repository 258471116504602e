//! Records in each of the forms.

use super::*;
use crate::kind::Kind;

fn domain() -> Object {
    let long = format!("v=DKIM1; k=rsa; p={}", "A".repeat(300));
    let record = |name: &str, type_: &str, value: &str, purpose: &str, state: &str| json!({"name": name, "type": type_, "value": value, "purpose": purpose, "state": state});
    let mut leaving = record("old._domainkey.acme.test", "TXT", "v=DKIM1; p=", "DKIM", "Propagating");
    leaving["message"] = json!(LEAVING);
    let records = json!([
        record("acme.test", "MX", "10 mx1.mail.example.net.", "MX", "Missing"),
        record("acme.test", "TXT", "v=spf1 include:_spf.mail.example.net -all", "SPF", "Ok"),
        record("s1._domainkey.acme.test", "TXT", &long, "DKIM", "Ok"),
        record("_dmarc.acme.test", "TXT", "a \"quoted\" \\ ${x}", "DMARC", "Ok"),
        record("_imaps._tcp.acme.test", "SRV", "0 1 993 imap.mail.example.net.", "ClientDiscovery", "Ok"),
        leaving,
    ]);
    let value = json!({"metadata": {"name": "acme-test", "namespace": "t"}, "spec": {"domain": "acme.test", "dns": {"ttl": 300}},
        "status": {"dns": {"zone": "acme.test", "records": records}}});
    Object { kind: Kind::MailDomain, value }
}

#[test]
fn a_zone_file_can_be_loaded() {
    let text = Records::of(&domain()).zone_file();
    for line in [
        "acme.test.\t300\tIN\tMX\t10 mx1.mail.example.net.\t; MX, Missing",
        "acme.test.\t300\tIN\tTXT\t\"v=spf1 include:_spf.mail.example.net -all\"\t; SPF, Ok",
        "_dmarc.acme.test.\t300\tIN\tTXT\t\"a \\\"quoted\\\" \\\\ ${x}\"\t; DMARC, Ok",
        "_imaps._tcp.acme.test.\t300\tIN\tSRV\t0 1 993 imap.mail.example.net.\t; ClientDiscovery, Ok",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("old._domainkey"), "what is taken away is not published anew: {text}");
    let key = text.lines().find(|l| l.starts_with("s1._domainkey")).expect("the key");
    let strings: Vec<&str> = key.split('"').skip(1).step_by(2).collect();
    assert_eq!(strings.iter().map(|s| s.len()).collect::<Vec<_>>(), [255, 63], "{key}");
    assert_eq!(txt("ü\u{7}"), "\"\\195\\188\\007\"");
}

#[test]
fn terraform_gets_one_resource_for_each_name_and_type() {
    let text = Records::of(&domain()).terraform();
    assert_eq!(text.matches("\nresource ").count(), 5, "{text}");
    for part in [
        "resource \"dns_mx_record_set\" \"mail_acme_test\" {\n  zone = \"acme.test.\"\n  mx {\n    preference = 10\n    exchange   = \"mx1.mail.example.net.\"\n  }\n  ttl  = 300\n}",
        "  name = \"_dmarc\"\n  txt = [\n    \"a \\\"quoted\\\" \\\\ $${x}\",\n  ]\n",
        "resource \"dns_srv_record_set\" \"mail__imaps__tcp_acme_test\"",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn external_dns_gets_an_endpoint_for_each_name_and_type() {
    let endpoint = Records::of(&domain()).endpoint(&domain());
    let endpoints = endpoint["spec"]["endpoints"].as_array().expect("a list");
    assert_eq!(endpoints.len(), 5);
    let mx =
        json!({"dnsName": "acme.test", "recordType": "MX", "recordTTL": 300, "targets": ["10 mx1.mail.example.net."]});
    assert!(endpoints.contains(&mx), "{endpoints:?}");
}

#[test]
fn a_proof_that_the_tenant_has_to_publish_is_among_the_records() {
    let mut domain = domain();
    domain.value["status"]["challenge"] =
        json!({"name": "_mailtenant-challenge.acme.test", "type": "TXT", "value": "token=1"});
    for (status, listed) in [("False", true), ("True", false)] {
        domain.value["status"]["conditions"] =
            json!([{"type": "OwnershipVerified", "status": status, "reason": "x", "lastTransitionTime": ""}]);
        let records = Records::of(&domain);
        assert_eq!(records.records.iter().any(|r| r.purpose == "Challenge"), listed);
    }
}

#[test]
fn the_table_says_what_is_wrong_by_its_exit_code() {
    let (mut out, mut err, mut input) = (vec![], vec![], &b""[..]);
    let mut terminal = Terminal { out: &mut out, err: &mut err, input: &mut input, colour: false };
    assert!(!print(&mut terminal, &domain(), DnsFormat::Table).expect("printed"));
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("Missing") && text.contains("p=AAA") && text.contains('…'), "{text}");
}
