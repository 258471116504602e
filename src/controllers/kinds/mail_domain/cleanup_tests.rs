//! What is decided on the way out.

use super::*;

fn mx(value: &str, ownership: Option<Ownership>) -> RecordStatus {
    RecordStatus {
        name: "acme.test".into(),
        type_: "MX".into(),
        value: value.into(),
        purpose: Purpose::MX,
        state: RecordState::Ok,
        ownership,
        term: None,
        edited: false,
        observed: None,
        message: None,
    }
}

#[test]
fn the_old_ttl_is_waited_for_once_and_only_where_mx_was_ours() {
    let ours = [mx("10 mx.test.", Some(Ownership::Created))];
    let never = MailDomainStatus::default();
    let draining = MailDomainStatus { draining_until: Some("2026-11-26T12:00:00Z".into()), ..never.clone() };
    for (journal, status, begins) in [
        (&ours[..], &never, true),
        (&ours[..], &draining, false),
        (&[mx("10 mx.test.", Some(Ownership::Observed))][..], &never, false),
        (&[mx("10 mx.test.", None)][..], &never, false),
        (&[], &never, false),
    ] {
        assert_eq!(begins_to_drain(journal, status), begins, "{journal:?} {:?}", status.draining_until);
    }
}

#[test]
fn a_name_was_never_ours_by_the_claim_not_by_the_status_alone() {
    let pending = || MailDomainStatus { state: Some(DomainState::Pending), ..MailDomainStatus::default() };
    let verified = || MailDomainStatus { state: Some(DomainState::Verified), ..MailDomainStatus::default() };
    let ours = [mx("10 mx.test.", Some(Ownership::Created))];
    for (name, status, journal, holder, never) in [
        ("nobody holds it", pending(), &[][..], None, true),
        ("another holds it", pending(), &[], Some("another"), true),
        ("we hold it, and somebody wrote over the status", pending(), &[], Some("own"), false),
        ("verified", verified(), &[], None, false),
        ("records of ours", pending(), &ours, None, false),
    ] {
        assert_eq!(was_never_ours(&status, journal, holder, "own"), never, "{name}");
    }
}

#[test]
fn one_server_that_shows_our_mx_is_enough_to_wait() {
    let set =
        |value: &str| RrSet { name: "acme.test".into(), rtype: RecordType::MX, ttl: 60, values: vec![value.into()] };
    let journal = [mx("10 mx.test.", Some(Ownership::Created)), mx("10 old.test.", Some(Ownership::Observed))];
    let (ours, old) = (set("10 mx.test."), set("10 old.test."));
    assert!(shows_ours(&[old.clone(), ours.clone()], &journal, &[]));
    assert!(!shows_ours(std::slice::from_ref(&old), &journal, &[]), "it is somebody else's");
    assert!(!shows_ours(std::slice::from_ref(&ours), &journal, &["10 mx.test.".into()]), "it is what was put back");
    assert!(!shows_ours(&[], &journal, &[]));
}

#[test]
fn whoever_edits_the_records_is_told_what_to_remove_and_has_a_way_out() {
    let mut domain = crate::fixtures::managed_domain(serde_json::json!({}));
    let managed = still_leads_here(&domain, "acme.test", "mx.test");
    assert_eq!(managed.reason, Reason::Draining);
    domain.spec.dns.mode = mail_domain::DnsMode::Manual;
    let manual = deletion::with_way_out(still_leads_here(&domain, "acme.test", "mx.test"));
    assert_eq!(manual.reason, Reason::AwaitingRecords);
    for words in ["MX of acme.test leads to mx.test", "remove it at your DNS provider", annotations::ORPHAN] {
        assert!(manual.message.contains(words), "{}", manual.message);
    }
}

#[test]
fn where_the_word_of_the_status_is_not_to_be_trusted_the_dns_is_asked() {
    let dns = |mx_ttl| mail_domain::DomainDnsStatus { mx_ttl, ..Default::default() };
    let here = found_mx("acme.test", "mx1.test");
    for (journal, mx_ttl, unsure, led, why) in [
        (vec![], None, false, false, "nothing says that it ever did"),
        (vec![here], None, false, true, "it was seen"),
        (vec![], Some(60), false, true, "its time to live is known"),
        (vec![], None, true, true, "a drain that cannot be right (seeds 37296 and 57042)"),
    ] {
        let status = MailDomainStatus { dns: Some(dns(mx_ttl)), ..Default::default() };
        assert_eq!(may_have_led(&journal, &status, unsure), led, "{why}");
    }
}
