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
fn an_mx_of_others_that_leads_to_the_backend_is_seen() {
    let set = |values: &[&str]| RrSet {
        name: "acme.test".into(),
        rtype: RecordType::MX,
        ttl: 300,
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    let hosts = ["mx1.mail.example.net", "MX2.mail.example.net."];
    for (seen, leads) in [
        (vec![set(&["10 mx1.mail.example.net."])], Some("mx1.mail.example.net")),
        (vec![set(&["5 old.test.", "50 Mx2.Mail.Example.Net."])], Some("mx2.mail.example.net")),
        // One of several servers is enough.
        (vec![set(&["5 old.test."]), set(&["10 mx1.mail.example.net."])], Some("mx1.mail.example.net")),
        (vec![set(&["5 old.test."]), set(&[])], None),
        (vec![set(&["0 ."])], None),
        (vec![set(&["10 notmx1.mail.example.net."])], None),
        (vec![], None),
    ] {
        assert_eq!(leads_to(&seen, &hosts), leads.map(|h| (h.to_owned(), 300)), "{seen:?}");
    }
}
