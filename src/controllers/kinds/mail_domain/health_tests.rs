use super::*;
use crate::fixtures;
use mailtenant_dns::RecordType;

fn set(values: &[&str]) -> RrSet {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    RrSet { name: "acme.test".into(), rtype: RecordType::MX, ttl: 60, values }
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|n| (*n).to_owned()).collect()
}

fn record(purpose: Purpose, state: RecordState) -> RecordStatus {
    fixtures::record("acme.test", "TXT", purpose, state)
}

/// A domain of which everything is known, and good.
fn good() -> Facts {
    Facts {
        name: "acme.test".into(),
        registered: "acme.test".into(),
        standing: Standing { servers: names(&["ns1.test", "ns2.test"]), registered: Some(true), bogus: Some(false) },
        written: Some(Written {
            zone: "acme.test".into(),
            label: "DNSBackend pdns".into(),
            servers: names(&["ns1.test", "ns3.test"]),
        }),
        hosts: names(&["mx1.test", "mx2.test"]),
        mx: Some(vec![set(&["10 mx1.test."])]),
        mx_on_its_way: false,
        records: Some(vec![record(Purpose::SPF, RecordState::Ok)]),
    }
}

fn said(facts: &Facts) -> Option<Reason> {
    let verdict = judge(facts, None);
    let text = verdict.as_ref().map(|(_, text)| text.as_str()).unwrap_or_default();
    assert!(!text.contains("  "), "{text}");
    verdict.map(|(reason, _)| reason)
}

#[test]
fn each_part_is_told_of_and_the_worst_one_first() {
    use Reason::*;
    let mut facts = good();
    assert_eq!(said(&facts), Some(Succeeded));
    assert_eq!(parts(&facts).map(|(reason, _)| reason), Reason::UNHEALTHY);
    for (reason, breaks) in [
        (RecordsChanged, (|f| f.records = Some(vec![record(Purpose::SPF, RecordState::Wrong)])) as fn(&mut Facts)),
        (MXElsewhere, |f| f.mx = Some(vec![set(&["10 mx.elsewhere.test."])])),
        (DNSSECBroken, |f| f.standing.bogus = Some(true)),
        (NameServersMoved, |f| f.standing.servers = names(&["ns.elsewhere.test"])),
        (RegistrationGone, |f| f.standing.registered = Some(false)),
    ] {
        let mut alone = good();
        breaks(&mut alone);
        assert_eq!(said(&alone), Some(reason));
        // Beside what was broken before.
        breaks(&mut facts);
        assert_eq!(said(&facts), Some(reason));
    }
}

#[test]
fn mx_leads_here_while_ours_come_first_at_every_server() {
    use Reason::*;
    for (seen, want, why) in [
        (vec![set(&["10 mx1.test."])], Some(Succeeded), "ours"),
        (vec![set(&["20 MX2.test.", "10 mx1.test."])], Some(Succeeded), "both of ours"),
        (vec![set(&["10 mx.elsewhere.test."])], Some(MXElsewhere), "of somebody else"),
        (vec![set(&[])], Some(MXElsewhere), "none: mail goes to the address of the name"),
        (vec![set(&["0 ."])], Some(MXElsewhere), "a null MX"),
        (vec![set(&["10 mx1.test.", "5 mx.elsewhere.test."])], Some(MXElsewhere), "another one goes before"),
        (vec![set(&["10 mx1.test.", "10 mx.elsewhere.test."])], Some(MXElsewhere), "another one beside"),
        (vec![set(&["10 mx1.test.", "50 mx.elsewhere.test."])], Some(RecordsChanged), "another one behind"),
        (vec![set(&["9 mx1.test.", "100 mx.elsewhere.test."])], Some(RecordsChanged), "by number, not by letter"),
        (vec![set(&["10 mx1.test."]), set(&["10 mx.elsewhere.test."])], Some(MXElsewhere), "at one of two servers"),
        (vec![], None, "nobody says anything"),
    ] {
        assert_eq!(said(&Facts { mx: Some(seen), ..good() }), want, "{why}");
    }
    assert_eq!(said(&Facts { mx: None, ..good() }), None);
    assert_eq!(said(&Facts { hosts: names(&[]), ..good() }), None, "nobody knows where it should lead");
    let elsewhere = Some(vec![set(&["10 mx.elsewhere.test."])]);
    assert_eq!(said(&Facts { mx: elsewhere, mx_on_its_way: true, ..good() }), None, "it was put back a moment ago");
}

#[test]
fn servers_moved_when_none_of_them_is_ours() {
    use Reason::*;
    let (ours, others) = (names(&["ns1.test", "ns2.test"]), names(&["ns.elsewhere.test"]));
    let nobody = BTreeSet::new();
    for (seen, written, want) in [
        (&ours, &ours, Succeeded),
        (&others, &ours, NameServersMoved),
        (&names(&["ns2.test", "ns.elsewhere.test"]), &ours, Succeeded),
        (&nobody, &ours, Succeeded),
        (&others, &nobody, Succeeded),
    ] {
        let mut facts = good();
        facts.standing.servers = seen.clone();
        if let Some(at) = &mut facts.written {
            at.servers = written.clone();
        }
        assert_eq!(said(&facts), Some(want), "{seen:?} {written:?}");
    }
    let mut by_hand = good();
    (by_hand.standing.servers, by_hand.written) = (others, None);
    assert_eq!(said(&by_hand), Some(Succeeded), "a tenant may take its zone where it likes");
}

#[test]
fn records_that_the_domain_needs_and_nobody_puts_back() {
    use Reason::*;
    use RecordState::{Conflict, Duplicate, Missing, Ok, Propagating, Wrong};
    for (purpose, state, want) in [
        (Purpose::SPF, Ok, Succeeded),
        (Purpose::SPF, Propagating, Succeeded),
        (Purpose::SPF, Missing, RecordsChanged),
        (Purpose::DKIM, Wrong, RecordsChanged),
        (Purpose::SPF, Duplicate, RecordsChanged),
        (Purpose::DMARC, Conflict, RecordsChanged),
        // The domain works without them, and a person may never have added them.
        (Purpose::ClientDiscovery, Missing, Succeeded),
        (Purpose::Challenge, Missing, Succeeded),
        // That is said of MX itself, as the world sees it.
        (Purpose::MX, Wrong, Succeeded),
    ] {
        let facts = Facts { records: Some(vec![record(purpose, state)]), ..good() };
        assert_eq!(said(&facts), Some(want), "{purpose:?} {state:?}");
    }
    let mild = RecordStatus {
        value: "v=DMARC1; p=quarantine".into(),
        observed: Some("v=DMARC1; p=none".into()),
        ..record(Purpose::DMARC, Wrong)
    };
    assert_eq!(said(&Facts { records: Some(vec![mild]), ..good() }), Some(Succeeded), "asked for until MX led here");
    assert_eq!(said(&Facts { records: None, ..good() }), Some(Succeeded), "the pass did not come to them");
    let text = judge(&Facts { records: Some(vec![record(Purpose::SPF, Wrong)]), ..good() }, None).map(|v| v.1);
    assert!(text.as_ref().is_some_and(|t| t.contains("TXT acme.test (SPF)")), "{text:?}");
}

#[test]
fn nobody_who_is_silent_makes_a_verdict() {
    use Reason::*;
    let silent = Facts { standing: Standing::default(), records: None, ..good() };
    let gone = Facts { standing: Standing { registered: Some(false), ..Standing::default() }, mx: None, ..good() };
    for (facts, former, want) in [
        (&silent, None, Some(Succeeded)),
        (&silent, Some(MXElsewhere), Some(Succeeded)),
        (&silent, Some(DNSSECBroken), None),
        (&silent, Some(NameServersMoved), None),
        (&silent, Some(RegistrationGone), None),
        (&silent, Some(RecordsChanged), None),
        (&good(), Some(RegistrationGone), Some(Succeeded)),
        // What is known is told, whatever is not.
        (&gone, None, Some(RegistrationGone)),
    ] {
        let verdict = judge(facts, former.map(Reason::as_str)).map(|(reason, _)| reason);
        assert_eq!(verdict, want, "{former:?}");
    }
}
