//! Records in each of the forms.

use super::*;
use crate::kind::Kind;

fn record(name: &str, type_: &str, value: &str, (purpose, state): (&str, &str)) -> Value {
    json!({"name": name, "type": type_, "value": value, "purpose": purpose, "state": state})
}

/// A domain of which these records are said.
fn saying(records: &[Value]) -> Object {
    let value = json!({"metadata": {"name": "acme-test", "namespace": "t"}, "spec": {"domain": "acme.test", "dns": {"ttl": 300}},
        "status": {"dns": {"zone": "acme.test", "records": records}}});
    Object { kind: Kind::MailDomain, value }
}

fn domain() -> Object {
    let long = format!("v=DKIM1; k=rsa; p={}", "A".repeat(300));
    let mut leaving = record("old._domainkey.acme.test", "TXT", "v=DKIM1; p=", ("DKIM", "Propagating"));
    leaving["message"] = json!("is being removed");
    saying(&[
        record("acme.test", "MX", "10 mx1.mail.example.net.", ("MX", "Ok")),
        record("acme.test", "TXT", "v=spf1 include:_spf.mail.example.net -all", ("SPF", "Missing")),
        record("s1._domainkey.acme.test", "TXT", &long, ("DKIM", "Ok")),
        record("_dmarc.acme.test", "TXT", "a \"quoted\" \\ ${x}\n", ("DMARC", "Ok")),
        record("_imaps._tcp.acme.test", "SRV", "0 1 993 imap.mail.example.net.", ("ClientDiscovery", "Ok")),
        leaving,
    ])
}

#[test]
fn a_zone_file_can_be_loaded() {
    let text = Records::of(&domain()).zone_file();
    for line in [
        "\n; MX, Ok\nacme.test. 300 IN MX 10 mx1.mail.example.net.\n",
        "\n; SPF, Missing\nacme.test. 300 IN TXT \"v=spf1 include:_spf.mail.example.net -all\"\n",
        "\n_dmarc.acme.test. 300 IN TXT \"a \\\"quoted\\\" \\\\ ${x}\\010\"\n",
        "\n_imaps._tcp.acme.test. 300 IN SRV 0 1 993 imap.mail.example.net.\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("old._domainkey"), "what is taken away is not published anew: {text}");
    let key = text.lines().find(|l| l.starts_with("s1._domainkey")).expect("the key");
    let strings: Vec<&str> = key.split('"').skip(1).step_by(2).collect();
    assert_eq!(strings.iter().map(|s| s.len()).collect::<Vec<_>>(), [255, 63], "{key}");
}

#[test]
fn terraform_gets_one_resource_for_each_name_and_type() {
    let text = Records::of(&domain()).terraform();
    assert_eq!(text.matches("\nresource ").count(), 5, "{text}");
    for part in [
        "resource \"dns_mx_record_set\" \"mail_acme_test\" {\n  zone = \"acme.test.\"\n  mx {\n    preference = 10\n    exchange   = \"mx1.mail.example.net.\"\n  }\n  ttl  = 300\n}",
        "  name = \"_dmarc\"\n  txt = [\n    \"a \\\"quoted\\\" \\\\ $${x}\\u000a\",\n  ]\n",
        "resource \"dns_srv_record_set\" \"mail__imaps__tcp_acme_test\"",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn external_dns_gets_an_endpoint_for_each_name_and_type() {
    let (endpoint, comments) = Records::of(&domain()).endpoint(&domain());
    let endpoints = endpoint["spec"]["endpoints"].as_array().expect("a list");
    assert_eq!((endpoints.len(), comments.as_str()), (5, ""));
    let mx =
        json!({"dnsName": "acme.test", "recordType": "MX", "recordTTL": 300, "targets": ["10 mx1.mail.example.net."]});
    assert!(endpoints.contains(&mx), "{endpoints:?}");
}

/// What would be taken over by somebody who pastes a text: without its comments.
fn pasted(domain: &Object) -> [(&'static str, String); 3] {
    let records = Records::of(domain);
    let without = |text: &str, sign: char| text.lines().filter(|l| !l.starts_with(sign)).collect::<Vec<_>>().join("\n");
    [
        ("zone", without(&records.zone_file(), ';')),
        ("terraform", without(&records.terraform(), '#')),
        ("dnsendpoint", records.endpoint(domain).0.to_string()),
    ]
}

/// Of each form the same: nothing that would stand beside what is there, and no MX before its time.
#[test]
fn only_what_may_be_added_can_be_pasted() {
    let spf = |state: &str, observed: &str, message: &str| {
        let mut spf = record("acme.test", "TXT", "v=spf1 a include:new -all", ("SPF", state));
        spf["message"] = json!(message);
        if !observed.is_empty() {
            spf["observed"] = json!(observed);
        }
        spf
    };
    let mx = |state: &str| record("acme.test", "MX", "10 new.example.net.", ("MX", state));
    let mut replaces = mx("Missing");
    replaces["observed"] = json!("5 old.example.");
    let condition = |type_: &str, reason: &str| json!({"type": type_, "status": "False", "reason": reason, "message": "", "lastTransitionTime": ""});
    let rows: &[(&str, Value, &str, &str, bool)] = &[
        ("nothing is there", spf("Missing", "", "add it"), "Provisioned", "AwaitingRecords", true),
        (
            "another record is there",
            spf("Wrong", "v=spf1 a -all\nevil. 1 IN TXT x", "add the term"),
            "Provisioned",
            "AwaitingRecords",
            false,
        ),
        ("two are there", spf("Duplicate", "", "merge them"), "Provisioned", "AwaitingRecords", false),
        ("a CNAME is there", spf("Conflict", "CNAME x.", "remove it"), "Provisioned", "AwaitingRecords", false),
        ("a word of a later release", spf("Strange", "", ""), "Provisioned", "AwaitingRecords", false),
        ("MX waits for records", mx("Missing"), "Provisioned", "AwaitingRecords", false),
        ("MX waits for a person", mx("Missing"), "CutoverReady", "AwaitingApproval", false),
        ("MX waits for the mail server", mx("Missing"), "CutoverReady", "AwaitingAcceptance", false),
        ("MX is asked for", mx("Missing"), "CutoverReady", "AwaitingRecords", true),
        ("MX is asked for in the place of another", replaces, "CutoverReady", "AwaitingRecords", false),
        ("MX is there", mx("Ok"), "Provisioned", "AwaitingRecords", true),
        ("MX of a host that is not declared any more", mx("Wrong"), "Live", "Succeeded", false),
    ];
    for (why, entry, state, reason, may) in rows {
        let mut domain = saying(std::slice::from_ref(entry));
        domain.value["status"]["state"] = json!(state);
        domain.value["status"]["conditions"] = json!([condition("CutOver", reason), condition("Ready", reason)]);
        for (form, text) in pasted(&domain) {
            assert_eq!(text.contains("new"), *may, "{why}, {form}: {text}");
            assert!(!text.contains("evil"), "{why}, {form}: what others wrote stays a comment: {text}");
        }
        // What is left out is not kept silent about.
        let records = Records::of(&domain);
        for text in [records.zone_file(), records.terraform(), records.endpoint(&domain).1] {
            let said = text.lines().any(|l| l.starts_with([';', '#']) && l.contains("acme.test"));
            assert!(*may || said, "{why}: {text}");
        }
    }
}

/// Another generation, a deletion, a pass that stopped earlier: what the status says of MX is not of now.
#[test]
fn mx_waits_where_the_status_is_old() {
    let condition = |type_: &str, reason: &str| json!({"type": type_, "status": "False", "reason": reason, "message": "", "lastTransitionTime": ""});
    let asked = || {
        let mut domain = saying(&[record("acme.test", "MX", "10 new.example.net.", ("MX", "Missing"))]);
        domain.value["status"]["state"] = json!("CutoverReady");
        domain.value["status"]["conditions"] =
            json!([condition("CutOver", "AwaitingRecords"), condition("Ready", "AwaitingRecords")]);
        domain
    };
    let changes: &[(fn(&mut Value), bool)] = &[
        (|_| {}, true),
        (|d| d["metadata"]["generation"] = json!(2), false),
        (|d| d["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"), false),
        (|d| d["status"]["conditions"][1]["reason"] = json!("InstanceNotReady"), false),
        (|d| d["status"]["state"] = json!("Unheard"), false),
    ];
    for (change, may) in changes {
        let mut domain = asked();
        change(&mut domain.value);
        for (form, text) in pasted(&domain) {
            assert_eq!(text.contains("new.example.net"), *may, "{form}: {}", domain.value);
        }
    }
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
