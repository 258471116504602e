//! Each way in which a person can have edited a record, as a row.

use super::*;
use crate::policy::{DkimAlgorithm, DmarcPolicy};
use crate::policy::{Ownership, SpfAll};
use crate::records::{DkimPublic, Dmarc, Endpoint, Input, Selector, challenge_value};
use RecordState::*;
use hickory_proto::serialize::txt::Parser;

const NAME: &str = "acme.test";
const INCLUDE: &str = "include:_spf.mail.example.net";

fn wanted() -> Vec<Record> {
    let key = |selector, algorithm, public: &str| DkimPublic {
        selector: Selector::new(selector),
        algorithm,
        public: public.to_owned(),
    };
    crate::records::desired(&Input {
        domain: NAME.into(),
        ttl: 3600,
        challenge: Some(challenge_value("uid-1", NAME)),
        mx: vec![(10, "mx1.mail.example.net".into()), (20, "mx2.mail.example.net".into())],
        spf: Some(("_spf.mail.example.net".into(), SpfAll::Fail)),
        dkim: vec![key("s1", DkimAlgorithm::RSA2048, &"A".repeat(392)), key("s2", DkimAlgorithm::Ed25519, "BBBB")],
        dmarc: Some(Dmarc { policy: DmarcPolicy::Reject, report_to: vec![] }),
        mta_sts: None,
        tls_rpt: vec!["mailto:t@acme.test".into()],
        discovery: Some(crate::records::Discovery {
            imap: Some(Endpoint { host: "imap.mail.example.net".into(), port: 993, tls: true }),
            ..Default::default()
        }),
    })
}

fn of(purpose: Purpose) -> Record {
    wanted().into_iter().find(|r| r.purpose == purpose).unwrap()
}

fn shown(record: &Record, servers: &[&[&str]]) -> Shown {
    let set = |values: &&[&str]| {
        let mut values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        values.sort();
        RrSet { name: record.name.clone(), rtype: record.rtype, ttl: 300, values }
    };
    let servers = servers.iter().map(set).collect();
    Shown { name: record.name.clone(), rtype: record.rtype, servers, alias: None, wildcard: false }
}

fn advice(conflict: ConflictPolicy) -> Advice {
    Advice { conflict, mx: MxAdvice::Set }
}

fn judged(record: &Record, shown: Shown, advice: &Advice) -> RecordStatus {
    let mut all = judge(std::slice::from_ref(record), &[shown], advice);
    assert!(!all.is_empty());
    all.remove(0)
}

#[test]
fn a_record_of_its_own_name() {
    let (dmarc, dkim, srv) = (of(Purpose::DMARC), of(Purpose::DKIM), of(Purpose::ClientDiscovery));
    let key: &str = &dkim.values[0];
    let spaced = key.replace("; ", ";");
    let none: &[&str] = &[];
    use ConflictPolicy::{Adopt, Overwrite, Refuse};
    type Row<'a> = (&'a Record, &'a [&'a [&'a str]], ConflictPolicy, RecordState, &'a str);
    let rows: &[Row<'_>] = &[
        (&dmarc, &[none], Refuse, Missing, "add this record"),
        (&dmarc, &[&["v=DMARC1; p=reject"]], Refuse, Ok, ""),
        (&dmarc, &[&["v=DMARC1;p=reject;"]], Refuse, Ok, ""),
        (&dmarc, &[&["v=DMARC1; p=none"]], Refuse, Wrong, "replace it"),
        (&dmarc, &[&["v=DMARC1; p=none"]], Overwrite, Wrong, "replace it"),
        (&dmarc, &[&["v=DMARC1; p=none"]], Adopt, Ok, ""),
        (&dmarc, &[&["v=DMARC1; p=none", "v=DMARC1; p=reject"]], Adopt, Duplicate, "2 such records"),
        // What is not for DMARC is passed over by receivers.
        (&dmarc, &[&["hello", "v=DMARC1; p=reject"]], Refuse, Ok, ""),
        (&dmarc, &[&["hello"]], Refuse, Missing, "add this record"),
        (&dmarc, &[&["v=DMARC1; p=reject"], none], Refuse, Propagating, "1 of 2 DNS servers"),
        (&dmarc, &[none, &["v=DMARC1; p=none"]], Refuse, Wrong, "replace it"),
        (&dkim, &[&[key]], Refuse, Ok, ""),
        (&dkim, &[&[&spaced]], Refuse, Ok, ""),
        (&dkim, &[&["v=DKIM1; k=rsa; p=AAAA"]], Adopt, Wrong, "replace it"),
        (&dkim, &[&[key, "v=DKIM1; k=rsa; p=AAAA"]], Refuse, Duplicate, "2 such records"),
        (&srv, &[&["0 1 993 imap.mail.example.net."]], Refuse, Ok, ""),
        (&srv, &[&["0 1 993 imap.old.example."]], Refuse, Wrong, "replace it"),
        (&srv, &[none], Refuse, Missing, "add this record"),
    ];
    for (record, servers, policy, state, words) in rows {
        let e = judged(record, shown(record, servers), &advice(*policy));
        assert_eq!(e.state, *state, "{} {servers:?} {policy:?}", record.name);
        assert!(e.message.as_deref().unwrap_or_default().contains(words), "{:?}", e.message);
        assert_eq!((e.message.is_none(), e.ownership), (*state == Ok, None), "{e:?}");
    }
}

#[test]
fn spf_is_merged_into_what_the_tenant_has() {
    let spf = of(Purpose::SPF);
    let own = format!("v=spf1 {INCLUDE} -all");
    let with = format!("v=spf1 a {INCLUDE} ~all");
    let rows: &[(&[&[&str]], RecordState, &str, &str)] = &[
        (&[&["verification=1"]], Missing, &own, "add this record"),
        (&[&[&own]], Ok, &own, ""),
        (&[&[&with, "verification=1"]], Ok, &with, ""),
        (&[&["v=spf1 a ~all"]], Wrong, &with, "add the term include:_spf.mail.example.net to the record that is there"),
        (
            &[&["v=spf1 a ~all", "v=spf1 mx -all"]],
            Duplicate,
            &format!("v=spf1 a mx {INCLUDE} ~all"),
            "2 SPF records: merge them",
        ),
        (&[&["v=spf1 a ~all", &own]], Duplicate, &format!("v=spf1 a {INCLUDE} ~all"), "2 SPF records"),
        (&[&["v=spf1 redirect=x.example"]], Conflict, &own, "redirect="),
        (&[&["v=spf1 redirect=x.example", "v=spf1 -all"]], Duplicate, &own, "redirect="),
        (&[&[&with], &["v=spf1 a ~all"]], Propagating, &with, "1 of 2"),
    ];
    for (servers, state, value, words) in rows {
        let e = judged(&spf, shown(&spf, servers), &advice(ConflictPolicy::Refuse));
        assert_eq!((e.state, e.value.as_str()), (*state, *value), "{servers:?}");
        assert!(e.message.as_deref().unwrap_or_default().contains(words), "{:?}", e.message);
    }
    let kept = judged(&spf, shown(&spf, &[&["v=spf1 redirect=x.example"]]), &advice(ConflictPolicy::Adopt));
    assert_eq!((kept.state, kept.value.as_str()), (Ok, "v=spf1 redirect=x.example"));
}

#[test]
fn mx_is_asked_for_only_when_it_may_lead_here() {
    let mx = of(Purpose::MX);
    let ours: &[&str] = &["10 mx1.mail.example.net.", "20 mx2.mail.example.net."];
    let one: &[&str] = &["10 mx1.mail.example.net."];
    let mixed: &[&str] = &["10 mx1.mail.example.net.", "5 old.example."];
    let old: &[&str] = &["5 old.example."];
    let stay = MxAdvice::Stay("the server takes mail for a@acme.test".into());
    let rows: &[(&[&[&str]], &MxAdvice, RecordState, bool, &str)] = &[
        (&[old], &stay, Missing, false, "MX stays as it is until the server takes mail for a@acme.test"),
        (&[&[]], &stay, Missing, false, "do not add it yet"),
        (&[one], &stay, Wrong, true, "leads here already"),
        (&[ours], &stay, Ok, true, ""),
        (&[&[]], &MxAdvice::Set, Missing, false, "set MX to 10 mx1.mail.example.net., 20 mx2.mail.example.net. now"),
        (&[old], &MxAdvice::Set, Missing, false, "in the place of all that is there"),
        (&[mixed], &MxAdvice::Set, Wrong, true, "in the place of all that is there"),
        (&[ours, old], &MxAdvice::Set, Propagating, true, "1 of 2 DNS servers"),
        (&[ours, ours], &MxAdvice::Set, Ok, true, ""),
    ];
    for (servers, advice, state, leads, words) in rows {
        let all = judge(
            std::slice::from_ref(&mx),
            &[shown(&mx, servers)],
            &Advice { conflict: ConflictPolicy::Refuse, mx: (*advice).clone() },
        );
        assert_eq!(all.len(), 2, "one entry for each value");
        assert_eq!(all[0].state, *state, "{servers:?} {advice:?}");
        assert_eq!(all[0].ownership, leads.then_some(Ownership::Observed), "{servers:?}");
        assert!(all[0].message.as_deref().unwrap_or_default().contains(words), "{:?}", all[0].message);
        assert_eq!(all[0].observed.is_some(), *state != Ok && servers.iter().any(|s| !s.is_empty()), "{:?}", all[0]);
    }
}

#[test]
fn what_is_no_record_of_the_name_is_named() {
    for purpose in [Purpose::DKIM, Purpose::DMARC, Purpose::SPF, Purpose::MX] {
        let record = of(purpose);
        let alias = Shown { alias: Some("x.example.".into()), ..shown(&record, &[&[]]) };
        let e = judged(&record, alias, &advice(ConflictPolicy::Adopt));
        assert_eq!((e.state, e.observed.as_deref()), (Conflict, Some("CNAME x.example.")), "{purpose:?}");
    }
    let dmarc = of(Purpose::DMARC);
    for wild in [shown(&dmarc, &[&["v=DMARC1; p=none"]]), Shown { alias: Some("x.".into()), ..shown(&dmarc, &[&[]]) }] {
        let e = judged(&dmarc, Shown { wildcard: true, ..wild }, &advice(ConflictPolicy::Refuse));
        assert!(e.state == Missing && e.message.as_deref().unwrap_or_default().contains("wildcard"), "{e:?}");
    }
    let mx = of(Purpose::MX);
    let wild = Shown { wildcard: true, ..shown(&mx, &[&["10 mx1.mail.example.net.", "20 mx2.mail.example.net."]]) };
    let e = judged(&mx, wild, &advice(ConflictPolicy::Refuse));
    assert_ne!(e.state, Ok, "it ends with the first record at the name");
    assert_eq!(e.ownership, Some(Ownership::Observed), "mail comes here all the same");
    assert!(e.message.unwrap_or_default().contains("wildcard"));
    // What was not looked up is not judged.
    assert_eq!(judge(&[of(Purpose::SPF)], &[], &advice(ConflictPolicy::Refuse)), []);
}

/// The records of a zone file, as a reader of zone files understands it.
fn parsed(text: &str) -> Vec<(String, RecordType, String)> {
    let origin = hickory_proto::rr::Name::root();
    let (_, sets) = Parser::new(text, None, Some(origin)).parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
    let types = [RecordType::TXT, RecordType::MX, RecordType::SRV, RecordType::CNAME];
    let mut out = vec![];
    for record in sets.values().flat_map(|set| set.records_without_rrsigs()) {
        let rtype = types.into_iter().find(|t| hickory_proto::rr::RecordType::from(*t) == record.record_type());
        let name = record.name.to_string().trim_end_matches('.').to_owned();
        out.push((name, rtype.unwrap(), crate::value::canonical(record.data.clone())));
    }
    out.sort();
    out
}

#[test]
fn the_zone_file_adds_what_may_be_added_and_nothing_else() {
    let wanted = wanted();
    let all = |value: fn(&Record) -> Vec<String>| -> Vec<Shown> {
        let set = |r: &Record| {
            let values = value(r);
            shown(r, &[&values.iter().map(String::as_str).collect::<Vec<_>>()])
        };
        wanted.iter().map(set).collect()
    };
    let values = |purposes: &dyn Fn(Purpose) -> bool| {
        let some = wanted.iter().filter(|r| purposes(r.purpose));
        let mut out: Vec<_> =
            some.flat_map(|r| r.values.iter().map(|v| (r.name.clone(), r.rtype, v.clone()))).collect();
        out.sort();
        out
    };
    let file = |shown: &[Shown], stays: bool| {
        zone_file(NAME, &judge(&wanted, shown, &advice(ConflictPolicy::Refuse)), 3600, stays)
    };
    // Nothing is there: all of it, MX only when it may be added.
    let empty = all(|_| vec![]);
    assert_eq!(parsed(&file(&empty, false)), values(&|_| true));
    assert_eq!(parsed(&file(&empty, true)), values(&|p| p != Purpose::MX));
    assert!(file(&empty, true).contains("\n;acme.test. 3600 IN MX 10 mx1.mail.example.net."));
    // All is there: pasted once more it changes nothing.
    assert_eq!(parsed(&file(&all(|r| r.values.clone()), true)), values(&|_| true));
    // Something else is there: a second record beside it would do harm.
    let others = all(|r| match r.purpose {
        Purpose::SPF => vec!["v=spf1 a -all".into()],
        Purpose::MX => vec!["5 old.example.".into()],
        Purpose::DMARC => vec!["v=DMARC1; p=none\nevil.acme.test. 1 IN TXT x".into()],
        _ => vec![],
    });
    let beside = |p| !matches!(p, Purpose::SPF | Purpose::MX | Purpose::DMARC);
    assert_eq!(parsed(&file(&others, false)), values(&beside));
    assert!(file(&others, false).contains(&format!(";acme.test. 3600 IN TXT \"v=spf1 a {INCLUDE} -all\"")));
    assert!(file(&others, false).lines().all(|l| l.is_empty() || l.starts_with(';') || l.contains(" IN ")));
    assert!(!file(&others, false).contains("\nevil"), "what others wrote stays a comment");
}
