//! Tables for each row of the three-way rule, and arbitrary sets of records of which those of others must stay.

use super::*;
use crate::policy::OnDelete;
use crate::policy::{DkimAlgorithm, DmarcPolicy, SpfAll};
use crate::records::{Discovery, DkimPublic, Dmarc, Input, Selector, desired};
use crate::rr::Change;
use crate::spf;
use crate::value;
use proptest::prelude::*;
use std::collections::BTreeMap;

const Z: &str = "acme.test";
const ALL: &[(&str, RecordType)] = &[
    ("acme.test", RecordType::MX),
    ("acme.test", RecordType::TXT),
    ("_dmarc.acme.test", RecordType::TXT),
    ("_smtp._tls.acme.test", RecordType::TXT),
    ("_mailtenant-challenge.acme.test", RecordType::TXT),
    ("s1._domainkey.acme.test", RecordType::TXT),
    ("s2._domainkey.acme.test", RecordType::TXT),
];

/// A DNS server in memory.
#[derive(Clone, Debug, Default, PartialEq)]
struct Dns(BTreeMap<(String, RecordType), RrSet>);

impl Dns {
    fn of(list: &[(&str, RecordType, u32, &[&str])]) -> Dns {
        let mut dns = Dns::default();
        for (name, rtype, ttl, values) in list {
            dns.put(name, *rtype, *ttl, values.iter().map(|v| v.to_string()).collect());
        }
        dns
    }
    fn put(&mut self, name: &str, rtype: RecordType, ttl: u32, mut values: Vec<String>) {
        values.sort();
        values.dedup();
        let key = (name.to_string(), rtype);
        if values.is_empty() {
            self.0.remove(&key);
        } else {
            self.0.insert(key, RrSet { name: name.into(), rtype, ttl, values });
        }
    }
    fn get(&self, name: &str, rtype: RecordType) -> RrSet {
        let empty = RrSet { name: name.into(), rtype, ttl: 0, values: vec![] };
        self.0.get(&(name.to_string(), rtype)).cloned().unwrap_or(empty)
    }
    fn read(&self, which: &[(String, RecordType)]) -> Vec<RrSet> {
        which.iter().map(|(n, t)| self.get(n, *t)).collect()
    }
    /// Compare-and-set: false if a set does not equal `before` of its change.
    fn apply(&mut self, changes: &[Change]) -> bool {
        if changes.iter().any(|c| self.get(&c.before.name, c.before.rtype).values != c.before.values) {
            return false;
        }
        for c in changes {
            self.put(&c.after.name, c.after.rtype, c.after.ttl, c.after.values.clone());
        }
        true
    }
}

fn want(dmarc: DmarcPolicy, selector: &str, include: &str) -> Vec<Record> {
    desired(&input(dmarc, selector, include))
}

fn input(dmarc: DmarcPolicy, selector: &str, include: &str) -> Input {
    Input {
        domain: Z.into(),
        ttl: 300,
        challenge: Some("token=x expiry=never".into()),
        mx: vec![(10, "mx1.p.example".into()), (20, "mx2.p.example".into())],
        spf: Some((include.into(), SpfAll::Fail)),
        dkim: vec![DkimPublic {
            selector: Selector::new(selector),
            algorithm: DkimAlgorithm::RSA2048,
            public: selector.to_uppercase(),
        }],
        dmarc: Some(Dmarc { policy: dmarc, report_to: vec![] }),
        mta_sts: None,
        tls_rpt: vec![],
        discovery: None,
    }
}

fn wanted() -> Vec<Record> {
    want(DmarcPolicy::Reject, "s1", "_spf.p.example")
}

fn policy(conflict: ConflictPolicy) -> Policy {
    Policy { conflict, switch_mx: true, previous_mx: None }
}

/// Plans, journals and applies until there is nothing to do; the journal and previous MX at the end.
fn settle(
    dns: &mut Dns,
    records: &[Record],
    mut journal: Vec<RecordStatus>,
    mut policy: Policy,
) -> (Vec<RecordStatus>, Option<PreviousMx>, Vec<Conflict>) {
    for _ in 0..5 {
        let p = plan(records, &journal, &dns.read(&which(records, &journal)), &policy);
        (journal, policy.previous_mx) = (p.journal.clone(), p.previous_mx.clone());
        if p.changes.is_empty() {
            return (journal, policy.previous_mx, p.conflicts);
        }
        assert!(dns.apply(&p.changes));
    }
    panic!("does not settle: {journal:#?}");
}

fn withdraw_all(dns: &mut Dns, mut journal: Vec<RecordStatus>, previous: Option<PreviousMx>, on_delete: OnDelete) {
    for _ in 0..3 {
        let p = withdraw_mx(&journal, &dns.get(Z, RecordType::MX), on_delete, previous.as_ref());
        assert!(p.is_journaled(&journal, previous.as_ref()));
        journal = p.journal;
        if p.changes.is_empty() {
            break;
        }
        assert!(dns.apply(&p.changes));
    }
    assert!(!journal.iter().any(|e| e.purpose == Purpose::MX), "MX does not settle");
    for _ in 0..3 {
        let p = withdraw_rest(&journal, &dns.read(&which(&[], &journal)));
        assert!(p.is_journaled(&journal, None));
        if p.is_withdrawn() {
            return;
        }
        journal = p.journal;
        assert!(dns.apply(&p.changes));
    }
    panic!("withdrawal does not settle: {journal:#?}");
}

fn line(journal: &[RecordStatus], purpose: Purpose) -> String {
    let show = |e: &RecordStatus| {
        let ownership = e.ownership.map(|o| format!("{o:?}")).unwrap_or("-".into());
        format!(
            "{} [{:?} {ownership}{}]",
            e.value,
            e.state,
            e.term.as_ref().map(|t| format!(" {t}")).unwrap_or_default()
        )
    };
    journal.iter().filter(|e| e.purpose == purpose).map(show).collect::<Vec<_>>().join(" | ")
}

const DMARC: &str = "v=DMARC1; p=reject";
const OWN_SPF: &str = "v=spf1 include:_spf.p.example -all";

#[test]
fn an_empty_zone_and_back() {
    let mut dns = Dns::default();
    let first = plan(&wanted(), &[], &dns.read(&which(&wanted(), &[])), &policy(ConflictPolicy::Refuse));
    assert!(!first.is_journaled(&[], None));
    assert!(first.is_journaled(&first.journal, first.previous_mx.as_ref()));
    assert!(first.journal.iter().all(|e| e.state == RecordState::Missing && e.ownership == Some(Ownership::Created)));
    assert_eq!(first.previous_mx, Some(PreviousMx::default()));
    let (journal, previous, conflicts) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
    assert_eq!(conflicts, []);
    assert!(journal.iter().all(|e| e.state == RecordState::Ok));
    assert_eq!(dns.get(Z, RecordType::MX).values, ["10 mx1.p.example.", "20 mx2.p.example."]);
    assert_eq!(dns.get(Z, RecordType::TXT).values, [OWN_SPF]);
    assert_eq!(dns.0.len(), 5);
    assert!(dns.0.values().all(|s| s.ttl == 300));
    withdraw_all(&mut dns, journal, previous, OnDelete::RestorePrevious);
    assert_eq!(dns, Dns::default());
}

#[test]
fn exclusive_rows() {
    use ConflictPolicy::*;
    let other = "v=DMARC1; p=none; rua=mailto:x@y.test";
    // What is there, policy; what is there then, the journal.
    for (live, conflict, then, journal) in [
        (&[][..], Refuse, &[DMARC][..], "v=DMARC1; p=reject [Ok Created]"),
        (&[DMARC], Refuse, &[DMARC], "v=DMARC1; p=reject [Ok Observed]"),
        (&["v=DMARC1;p=reject"], Refuse, &["v=DMARC1;p=reject"], "v=DMARC1;p=reject [Ok Observed]"),
        (&[other], Refuse, &[other], "v=DMARC1; p=reject [Conflict -]"),
        (&[other], Adopt, &[other], "v=DMARC1; p=none; rua=mailto:x@y.test [Ok Adopted]"),
        (&[other], Overwrite, &[DMARC], "v=DMARC1; p=reject [Ok Created]"),
        (&[other, DMARC], Refuse, &[other, DMARC], "v=DMARC1; p=reject [Duplicate -]"),
        (&[other, DMARC], Adopt, &[other, DMARC], "v=DMARC1; p=reject [Duplicate -]"),
        (&[other, DMARC], Overwrite, &[DMARC], "v=DMARC1; p=reject [Ok Observed]"),
    ] {
        let mut dns = Dns::of(&[("_dmarc.acme.test", RecordType::TXT, 77, live)]);
        let (entries, _, conflicts) = settle(&mut dns, &wanted(), vec![], policy(conflict));
        let mut then: Vec<String> = then.iter().map(|v| v.to_string()).collect();
        then.sort();
        assert_eq!(dns.get("_dmarc.acme.test", RecordType::TXT).values, then, "{live:?} {conflict:?}");
        assert_eq!(line(&entries, Purpose::DMARC), journal, "{live:?} {conflict:?}");
        assert_eq!(conflicts.len(), usize::from(journal.contains("Conflict") || journal.contains("Duplicate")));
    }
}

#[test]
fn a_foreign_signing_key_is_not_adopted() {
    let name = "s1._domainkey.acme.test";
    let mut dns = Dns::of(&[(name, RecordType::TXT, 77, &["v=DKIM1; k=rsa; p=OTHER"])]);
    let (journal, _, conflicts) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Adopt));
    assert_eq!(line(&journal, Purpose::DKIM), "v=DKIM1; k=rsa; p=S1 [Conflict -]");
    assert_eq!((conflicts.len(), conflicts[0].purpose), (1, Purpose::DKIM));
    assert_eq!(dns.get(name, RecordType::TXT).values, ["v=DKIM1; k=rsa; p=OTHER"]);
}

/// After a restored etcd the journal does not know of a key that was made since: it is withdrawn with the domain all the same.
#[test]
fn our_own_signing_key_is_ours_without_a_journal() {
    let (exact, alike) = ("v=DKIM1; k=rsa; p=S202611R", "v=DKIM1;k=rsa;p=S202611R");
    for (selector, live, ownership, left) in [
        ("s202611r", exact, "Created", vec![]),
        // Somebody wrote it in another way, and would again.
        ("s202611r", alike, "Observed", vec![alike]),
        ("s1", exact, "Observed", vec![exact]),
    ] {
        let name = format!("{selector}._domainkey.acme.test");
        let mut dns = Dns::of(&[(&name, RecordType::TXT, 77, &[live])]);
        let mut wanted = want(DmarcPolicy::None, "s202611r", "spf.p.example");
        let key = wanted.iter_mut().find(|r| r.purpose == Purpose::DKIM).unwrap();
        key.name.clone_from(&name);
        let (journal, ..) = settle(&mut dns, &wanted, vec![], policy(ConflictPolicy::Refuse));
        assert_eq!(line(&journal, Purpose::DKIM), format!("{live} [Ok {ownership}]"));
        let (journal, ..) = settle(&mut dns, &[], journal, policy(ConflictPolicy::Refuse));
        assert_eq!(dns.get(&name, RecordType::TXT).values, left, "{selector}");
        assert_eq!(line(&journal, Purpose::DKIM), "");
    }
}

#[test]
fn what_is_ours_is_changed_put_back_and_taken_away() {
    let mut dns = Dns::default();
    let (journal, previous, _) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
    let policy = Policy { previous_mx: previous.clone(), ..policy(ConflictPolicy::Refuse) };
    // Another policy, a rotated key, another include.
    let next = want(DmarcPolicy::None, "s2", "spf.other.example");
    let (journal, _, conflicts) = settle(&mut dns, &next, journal, policy.clone());
    assert_eq!(conflicts, []);
    assert_eq!(dns.get("_dmarc.acme.test", RecordType::TXT).values, ["v=DMARC1; p=none"]);
    assert_eq!(dns.get(Z, RecordType::TXT).values, ["v=spf1 include:spf.other.example -all"]);
    assert_eq!(dns.get("s1._domainkey.acme.test", RecordType::TXT).values, [""; 0]);
    assert_eq!(dns.get("s2._domainkey.acme.test", RecordType::TXT).values, ["v=DKIM1; k=rsa; p=S2"]);
    assert_eq!(journal.len(), 6);
    // Somebody deletes everything: it is put back.
    let before = dns.clone();
    dns.0.clear();
    let (again, _, _) = settle(&mut dns, &next, journal.clone(), policy);
    assert_eq!((dns.clone(), again), (before, journal.clone()));
    withdraw_all(&mut dns, journal, previous, OnDelete::RestorePrevious);
    assert_eq!(dns, Dns::default());
}

#[test]
fn a_crash_between_journal_and_change_leaves_no_conflict() {
    let mut dns = Dns::default();
    let (journal, previous, _) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
    let policy = Policy { previous_mx: previous, ..policy(ConflictPolicy::Refuse) };
    let next = want(DmarcPolicy::None, "s1", "_spf.p.example");
    // The journal is written, the change is not made; then the wish changes once more.
    let lost = plan(&next, &journal, &dns.read(&which(&next, &journal)), &policy);
    assert!(!lost.is_journaled(&journal, policy.previous_mx.as_ref()));
    assert_eq!(
        line(&lost.journal, Purpose::DMARC),
        "v=DMARC1; p=none [Missing Created] | v=DMARC1; p=reject [Propagating Created]"
    );
    let last = want(DmarcPolicy::Quarantine, "s1", "_spf.p.example");
    let (journal, _, conflicts) = settle(&mut dns, &last, lost.journal, policy);
    assert_eq!(conflicts, []);
    assert_eq!(line(&journal, Purpose::DMARC), "v=DMARC1; p=quarantine [Ok Created]");
}

#[test]
fn spf_rows() {
    use ConflictPolicy::*;
    let nine =
        "v=spf1 a mx ptr include:a.b include:c.d include:e.f include:g.h include:i.j include:k.l include:m.n -all";
    for (live, conflict, then, journal, after) in [
        (
            &[][..],
            Refuse,
            &[OWN_SPF][..],
            "v=spf1 include:_spf.p.example -all [Ok Created include:_spf.p.example]",
            &[][..],
        ),
        (&[OWN_SPF], Refuse, &[OWN_SPF], "v=spf1 include:_spf.p.example -all [Ok Observed]", &[OWN_SPF]),
        (
            &["google=1"],
            Refuse,
            &["google=1", OWN_SPF],
            "v=spf1 include:_spf.p.example -all [Ok Created include:_spf.p.example]",
            &["google=1"],
        ),
        (
            &["google=1", "v=spf1  mx ~all"],
            Refuse,
            &["google=1", "v=spf1  mx include:_spf.p.example ~all"],
            "v=spf1  mx include:_spf.p.example ~all [Ok Adopted include:_spf.p.example]",
            &["google=1", "v=spf1  mx ~all"],
        ),
        (
            &["v=spf1 -all"],
            Refuse,
            &[OWN_SPF],
            "v=spf1 include:_spf.p.example -all [Ok Adopted include:_spf.p.example]",
            &["v=spf1 -all"],
        ),
        (
            &["v=spf1 include:_spf.p.example ?all"],
            Refuse,
            &["v=spf1 include:_spf.p.example ?all"],
            "v=spf1 include:_spf.p.example ?all [Ok Observed]",
            &["v=spf1 include:_spf.p.example ?all"],
        ),
        (
            &["v=spf1 redirect=o.example"],
            Refuse,
            &["v=spf1 redirect=o.example"],
            "v=spf1 include:_spf.p.example -all [Conflict -]",
            &["v=spf1 redirect=o.example"],
        ),
        (
            &["v=spf1 redirect=o.example"],
            Adopt,
            &["v=spf1 redirect=o.example"],
            "v=spf1 redirect=o.example [Ok Adopted]",
            &["v=spf1 redirect=o.example"],
        ),
        (
            &["v=spf1 redirect=o.example", "x"],
            Overwrite,
            &[OWN_SPF, "x"],
            "v=spf1 include:_spf.p.example -all [Ok Created include:_spf.p.example]",
            &["x"],
        ),
        (&[nine], Refuse, &[nine], "v=spf1 include:_spf.p.example -all [Conflict -]", &[nine]),
        (
            &["v=spf1 a -all", "v=spf1 mx -all"],
            Refuse,
            &["v=spf1 a -all", "v=spf1 mx -all"],
            "v=spf1 include:_spf.p.example -all [Duplicate -]",
            &["v=spf1 a -all", "v=spf1 mx -all"],
        ),
        (
            &["v=spf1 a -all", OWN_SPF],
            Refuse,
            &["v=spf1 a -all", OWN_SPF],
            "v=spf1 include:_spf.p.example -all [Duplicate -]",
            &["v=spf1 a -all", OWN_SPF],
        ),
    ] {
        let mut dns = Dns::of(&[(Z, RecordType::TXT, 77, live)]);
        let (entries, previous, conflicts) = settle(&mut dns, &wanted(), vec![], policy(conflict));
        let set = dns.get(Z, RecordType::TXT);
        let sorted =
            |list: &[&str]| list.iter().map(|v| v.to_string()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
        assert_eq!(set.values, sorted(then), "{live:?}");
        assert_eq!(line(&entries, Purpose::SPF), journal, "{live:?}");
        assert_eq!(conflicts.len(), usize::from(journal.contains("Conflict") || journal.contains("Duplicate")));
        if !live.is_empty() {
            assert_eq!(set.ttl, 77, "time to live of a shared set");
        }
        withdraw_all(&mut dns, entries, previous, OnDelete::RestorePrevious);
        assert_eq!(dns.get(Z, RecordType::TXT).values, sorted(after), "{live:?}");
    }
}

#[test]
fn spf_that_the_tenant_edits_while_we_are_in_it() {
    let none = || policy(ConflictPolicy::Refuse);
    // They extend the record that was wholly ours: only our term goes.
    let mut dns = Dns::default();
    let (journal, previous, _) = settle(&mut dns, &wanted(), vec![], none());
    dns.put(Z, RecordType::TXT, 300, vec!["v=spf1 ip4:192.0.2.1 include:_spf.p.example -all".into()]);
    withdraw_all(&mut dns.clone(), journal.clone(), previous.clone(), OnDelete::Remove);
    let (journal, _, _) = settle(&mut dns, &wanted(), journal, none());
    assert_eq!(
        line(&journal, Purpose::SPF),
        "v=spf1 ip4:192.0.2.1 include:_spf.p.example -all [Ok Adopted include:_spf.p.example]"
    );
    // They change its `all`: the record goes whole, since nobody is named without us.
    let mut looser = Dns::default();
    let (made, _, _) = settle(&mut looser, &wanted(), vec![], none());
    looser.put(Z, RecordType::TXT, 300, vec!["x".into(), "v=spf1 include:_spf.p.example ?all".into()]);
    // Also after passes, which leave what they wrote.
    for passes in 0..3 {
        let (mut dns, mut journal) = (looser.clone(), made.clone());
        for _ in 0..passes {
            journal = settle(&mut dns, &wanted(), journal, none()).0;
        }
        assert_eq!(dns.get(Z, RecordType::TXT).values, looser.get(Z, RecordType::TXT).values);
        withdraw_all(&mut dns, journal, None, OnDelete::Remove);
        assert_eq!(dns.get(Z, RecordType::TXT).values, ["x"], "after {passes} passes");
    }
    // The include changes: the old one goes, in their record.
    let next = want(DmarcPolicy::Reject, "s1", "spf.other.example");
    let (journal, _, _) = settle(&mut dns, &next, journal, none());
    assert_eq!(dns.get(Z, RecordType::TXT).values, ["v=spf1 ip4:192.0.2.1 include:spf.other.example -all"]);
    // They add a second record: both stay, and ours stays known.
    let mut both = dns.clone();
    both.put(
        Z,
        RecordType::TXT,
        300,
        vec!["v=spf1 ip4:192.0.2.1 include:spf.other.example -all".into(), "v=spf1 mx -all".into()],
    );
    let (held, _, conflicts) = settle(&mut both, &next, journal.clone(), none());
    assert_eq!((conflicts.len(), both.get(Z, RecordType::TXT).values.len()), (1, 2));
    withdraw_all(&mut both, held, previous.clone(), OnDelete::Remove);
    assert_eq!(both.get(Z, RecordType::TXT).values, ["v=spf1 ip4:192.0.2.1 -all", "v=spf1 mx -all"]);
    withdraw_all(&mut dns, journal, previous, OnDelete::Remove);
    assert_eq!(dns.get(Z, RecordType::TXT).values, ["v=spf1 ip4:192.0.2.1 -all"]);
    // They put their own beside ours: our term moves into it.
    let mut dns = Dns::default();
    let (journal, previous, _) = settle(&mut dns, &wanted(), vec![], none());
    dns.put(Z, RecordType::TXT, 300, vec![OWN_SPF.into(), "v=spf1 mx ~all".into()]);
    let (journal, _, _) = settle(&mut dns, &wanted(), journal, none());
    assert_eq!(dns.get(Z, RecordType::TXT).values, ["v=spf1 mx include:_spf.p.example ~all"]);
    withdraw_all(&mut dns, journal, previous, OnDelete::Remove);
    assert_eq!(dns.get(Z, RecordType::TXT).values, ["v=spf1 mx ~all"]);
}

#[test]
fn mx_waits_and_comes_back() {
    let old: &[&str] = &["10 mail.old.example.", "20 mail2.old.example."];
    let fresh = || Dns::of(&[(Z, RecordType::MX, 7200, old)]);
    let mut dns = fresh();
    let wait = Policy { switch_mx: false, ..policy(ConflictPolicy::Refuse) };
    let (journal, previous, _) = settle(&mut dns, &wanted(), vec![], wait.clone());
    assert_eq!(previous, None);
    assert_eq!(dns.get(Z, RecordType::MX), fresh().get(Z, RecordType::MX));
    assert_eq!(line(&journal, Purpose::MX), "10 mx1.p.example. [Missing -] | 20 mx2.p.example. [Missing -]");
    let (journal, previous, _) = settle(&mut dns, &wanted(), journal, policy(ConflictPolicy::Refuse));
    let was = PreviousMx { values: old.iter().map(|v| v.to_string()).collect(), ttl: 7200 };
    assert_eq!(previous, Some(was.clone()));
    assert_eq!(line(&journal, Purpose::MX), "10 mx1.p.example. [Ok Created] | 20 mx2.p.example. [Ok Created]");
    // Drift is put back, and is not what goes back on deletion.
    let live = dns.clone();
    dns.put(Z, RecordType::MX, 60, vec!["5 evil.example.".into()]);
    let on = Policy { previous_mx: previous.clone(), ..policy(ConflictPolicy::Refuse) };
    let (journal, same, _) = settle(&mut dns, &wanted(), journal, on);
    assert_eq!((&dns, &same), (&live, &previous));
    // While the backend does not take mail, MX is not touched, and stays known as ours.
    let (held, _, _) = settle(&mut dns, &want(DmarcPolicy::Reject, "s1", "_spf.p.example"), journal.clone(), wait);
    assert_eq!(line(&held, Purpose::MX), "10 mx1.p.example. [Ok Created] | 20 mx2.p.example. [Ok Created]");
    for (on_delete, previous, then) in [
        (OnDelete::RestorePrevious, Some(was.clone()), old),
        (OnDelete::RestorePrevious, None, &[]),
        (OnDelete::NullMX, Some(was.clone()), &["0 ."]),
        (OnDelete::Remove, Some(was.clone()), &[]),
    ] {
        let mut dns = dns.clone();
        withdraw_all(&mut dns, journal.clone(), previous, on_delete);
        assert_eq!(dns.get(Z, RecordType::MX).values, then, "{on_delete:?}");
    }
    // Not ours any more: it stays; mixed: ours goes.
    for (there, then) in [
        (&["5 new.example."][..], &["5 new.example."][..]),
        (&["10 mx1.p.example.", "5 new.example."], &["5 new.example."]),
        (&["10 mx1.p.example."], old),
    ] {
        let mut dns = Dns::of(&[(Z, RecordType::MX, 60, there)]);
        let mx: Vec<_> = journal.iter().filter(|e| e.purpose == Purpose::MX).cloned().collect();
        withdraw_all(&mut dns, mx, Some(was.clone()), OnDelete::RestorePrevious);
        assert_eq!(dns.get(Z, RecordType::MX).values, then, "{there:?}");
    }
}

/// A host in capitals is put back in capitals, and compared without.
#[test]
fn previous_mx_is_put_back_as_it_was_written() {
    let ours = |state| RecordStatus {
        state,
        ..settle(&mut Dns::default(), &wanted(), vec![], policy(ConflictPolicy::Refuse)).0[1].clone()
    };
    let was = PreviousMx { values: vec!["10 mail.old.example.".into(), "20 b.example.".into()], ttl: 7200 };
    let was = was.as_written(&["20 B.example.".into(), "10 Mail.OLD.example.".into(), "5 other.".into()]);
    assert_eq!(was.values, ["10 Mail.OLD.example.", "20 B.example."]);
    let set = |values: &[&str]| Dns::of(&[(Z, RecordType::MX, 60, values)]).get(Z, RecordType::MX);
    let journal = [ours(RecordState::Ok)];
    let withdraw = |live: &RrSet| withdraw_mx(&journal, live, OnDelete::RestorePrevious, Some(&was));
    assert_eq!(withdraw(&set(&["10 mx1.p.example."])).changes[0].after.values, was.values);
    let there = set(&["10 mail.old.example.", "20 b.example."]);
    assert_eq!(withdraw(&there).changes, [], "it is there, in canonical form");
}

/// A new host that is not proven yet takes MX out of what is wanted.
#[test]
fn that_mx_was_seen_to_lead_here_is_not_forgotten_where_it_is_not_planned() {
    let mut dns = Dns::of(&[(Z, RecordType::MX, 60, &["10 mx1.p.example.", "20 mx2.p.example."])]);
    let (journal, ..) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
    let rest: Vec<Record> = wanted().into_iter().filter(|r| r.purpose != Purpose::MX).collect();
    let (kept, ..) = settle(&mut dns, &rest, journal.clone(), policy(ConflictPolicy::Refuse));
    assert_eq!(line(&kept, Purpose::MX), "10 mx1.p.example. [Ok Observed] | 20 mx2.p.example. [Ok Observed]");
    let mut left = Dns::of(&[(Z, RecordType::MX, 60, &["5 elsewhere.example.", "30 mx2.p.example."])]);
    let (kept, ..) = settle(&mut left, &rest, journal, policy(ConflictPolicy::Refuse));
    assert_eq!(line(&kept, Purpose::MX), "20 mx2.p.example. [Ok Observed]", "the host counts");
    assert_eq!(seen_mx_ttl(&kept, &left.read(&which(&wanted(), &[]))), Some(60));
    assert_eq!(seen_mx_ttl(&[], &left.read(&which(&wanted(), &[]))), None);
}

#[test]
fn an_mx_that_leads_here_beside_others_is_known_to() {
    for (there, leads) in [
        (&["5 old.example.", "50 MX1.p.example."][..], true),
        (&["10 mx1.p.example."], true),
        (&["5 old.example."], false),
        (&[], false),
    ] {
        let mut dns = Dns::of(&[(Z, RecordType::MX, 60, there)]);
        let before = Policy { switch_mx: false, ..policy(ConflictPolicy::Refuse) };
        let (journal, ..) = settle(&mut dns, &wanted(), vec![], before);
        assert_eq!(journal.iter().any(leads_here), leads, "{there:?}");
        assert!(!journal.iter().any(|e| e.purpose == Purpose::MX && is_ours(e)), "{there:?}");
    }
}

#[test]
fn mx_that_was_there_is_not_ours() {
    let mut dns = Dns::of(&[(Z, RecordType::MX, 60, &["10 mx1.p.example.", "20 mx2.p.example."])]);
    let before = dns.get(Z, RecordType::MX);
    let (journal, previous, _) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
    assert_eq!(line(&journal, Purpose::MX), "10 mx1.p.example. [Ok Observed] | 20 mx2.p.example. [Ok Observed]");
    withdraw_all(&mut dns, journal, previous, OnDelete::Remove);
    assert_eq!(dns.get(Z, RecordType::MX), before);
}

/// A record of another type that answers in the place of ours: named, kept or replaced, as the policy says.
#[test]
fn records_of_another_type_in_the_place_of_ours() {
    use ConflictPolicy::*;
    use RecordType::{CNAME, LUA, TXT};
    let (alias, lua) = ("dmarc.other.example.", "TXT \"return 'v=DMARC1; p=none'\"");
    let (dmarc, dkim) = ("_dmarc.acme.test", "s1._domainkey.acme.test");
    let (own_dmarc, own_key) = ("v=DMARC1; p=reject [Ok Created]", "v=DKIM1; k=rsa; p=S1 [Ok Created]");
    // What is there, policy; what of it stays, the journal, whether it is a conflict.
    for (name, rtype, value, conflict, stays, journal, named) in [
        (dmarc, CNAME, alias, Refuse, true, "v=DMARC1; p=reject [Conflict -]", true),
        (dmarc, CNAME, alias, Adopt, true, "dmarc.other.example. [Ok Adopted]", false),
        (dmarc, CNAME, alias, Overwrite, false, own_dmarc, false),
        (dmarc, LUA, lua, Refuse, true, "v=DMARC1; p=reject [Conflict -]", true),
        (dmarc, LUA, lua, Adopt, true, "TXT \"return 'v=DMARC1; p=none'\" [Ok Adopted]", false),
        (dmarc, LUA, lua, Overwrite, false, own_dmarc, false),
        (dmarc, LUA, "A \"return '192.0.2.1'\"", Refuse, true, own_dmarc, false),
        // Mail would be signed with a key that nobody finds.
        (dkim, CNAME, alias, Adopt, true, "v=DKIM1; k=rsa; p=S1 [Conflict -]", true),
        (dkim, CNAME, alias, Overwrite, false, own_key, false),
        // It may be the web site of the domain.
        (Z, CNAME, alias, Overwrite, true, "10 mx1.p.example. [Conflict -] | 20 mx2.p.example. [Conflict -]", true),
        (
            Z,
            LUA,
            "MX \"return '10 x.'\"",
            Overwrite,
            true,
            "10 mx1.p.example. [Conflict -] | 20 mx2.p.example. [Conflict -]",
            true,
        ),
        (Z, LUA, "TXT \"return 'x'\"", Adopt, true, "v=spf1 include:_spf.p.example -all [Conflict -]", true),
        // Beside values of others there is room for ours.
        (
            "_mailtenant-challenge.acme.test",
            LUA,
            "TXT \"return 'x'\"",
            Refuse,
            true,
            "token=x expiry=never [Ok Created]",
            false,
        ),
    ] {
        let case = format!("{name} {} {value} {conflict:?}", rtype.as_str());
        let mut dns = Dns::of(&[(name, rtype, 60, &[value])]);
        let (entries, previous, conflicts) = settle(&mut dns, &wanted(), vec![], policy(conflict));
        assert_eq!(dns.get(name, rtype).values.is_empty(), !stays, "{case}");
        let wanted = wanted().into_iter().filter(|r| r.name == name).collect::<Vec<_>>();
        assert!(wanted.iter().any(|r| line(&entries, r.purpose) == journal), "{case}: {entries:#?}");
        let says = format!("{} {name} \"{value}\": ", rtype.as_str());
        assert_eq!(conflicts.iter().any(|c| c.message.starts_with(&says)), named, "{case}: {conflicts:?}");
        assert!(!stays || rtype == LUA || dns.get(name, TXT).values.is_empty(), "{case}");
        withdraw_all(&mut dns, entries, previous, OnDelete::RestorePrevious);
        let left: Vec<_> = dns.0.into_keys().collect();
        assert_eq!(left, if stays { vec![(name.to_owned(), rtype)] } else { vec![] }, "{case}");
    }
}

/// A server looks at one change of a request after the other.
#[test]
fn what_is_in_the_way_goes_before_what_takes_its_place() {
    let dns = Dns::of(&[("_dmarc.acme.test", RecordType::CNAME, 60, &["x.example."])]);
    let p = plan(&wanted(), &[], &dns.read(&which(&wanted(), &[])), &policy(ConflictPolicy::Overwrite));
    let at = |rtype| p.changes.iter().position(|c| c.before.name == "_dmarc.acme.test" && c.before.rtype == rtype);
    assert!(at(RecordType::CNAME).unwrap() < at(RecordType::TXT).unwrap(), "{:?}", p.changes);
}

/// Whoever reads a conflict can find the record: its name, type and value.
#[test]
fn a_conflict_names_the_record() {
    for (name, rtype, values, says) in [
        ("_dmarc.acme.test", RecordType::TXT, &["v=DMARC1; p=none"][..], "TXT _dmarc.acme.test \"v=DMARC1; p=none\": "),
        (
            Z,
            RecordType::TXT,
            &["v=spf1 a", "v=spf1 mx"],
            "TXT acme.test \"v=spf1 a\", \"v=spf1 mx\": there are 2 SPF records",
        ),
        ("s1._domainkey.acme.test", RecordType::TXT, &["x"], "TXT s1._domainkey.acme.test \"x\": "),
    ] {
        let mut dns = Dns::of(&[(name, rtype, 60, values)]);
        let (_, _, conflicts) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
        assert!(conflicts.len() == 1 && conflicts[0].message.starts_with(says), "{conflicts:?}");
    }
    let long = "x".repeat(1000);
    let mut dns = Dns::of(&[("_dmarc.acme.test", RecordType::TXT, 60, &[&long])]);
    let (_, _, conflicts) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
    assert!(conflicts[0].message.contains("xxx...: ") && conflicts[0].message.len() < 500, "{conflicts:?}");
}

/// What rejects mail comes with MX: until then somebody may send through another server.
#[test]
fn policies_are_tightened_with_mx_and_not_before() {
    let before = || crate::records::before_switch(wanted());
    let wait = || Policy { switch_mx: false, ..policy(ConflictPolicy::Refuse) };
    let dmarc = |dns: &Dns| dns.get("_dmarc.acme.test", RecordType::TXT).values.join(" | ");
    let mut dns = Dns::default();
    let (journal, ..) = settle(&mut dns, &before(), vec![], wait());
    assert_eq!(dns.get(Z, RecordType::TXT).values, ["v=spf1 include:_spf.p.example ~all"]);
    assert_eq!(dmarc(&dns), "v=DMARC1; p=none");
    let p = plan(&wanted(), &journal, &dns.read(&which(&wanted(), &journal)), &policy(ConflictPolicy::Refuse));
    let changed: Vec<_> = p.changes.iter().map(|c| format!("{} {}", c.after.rtype.as_str(), c.after.name)).collect();
    assert_eq!(changed, ["TXT _dmarc.acme.test", "MX acme.test", "TXT acme.test"], "in one change");
    let (journal, previous, _) = settle(&mut dns, &wanted(), journal, policy(ConflictPolicy::Refuse));
    assert_eq!((dns.get(Z, RecordType::TXT).values, dmarc(&dns)), (vec![OWN_SPF.to_owned()], DMARC.into()));
    withdraw_all(&mut dns, journal, previous, OnDelete::RestorePrevious);
    assert_eq!(dns, Dns::default());
    // What is there as it shall be is no conflict, and stays: after a loss of the status, or by a careful tenant.
    let there = || {
        Dns::of(&[
            (Z, RecordType::TXT, 77, &[OWN_SPF]),
            ("_dmarc.acme.test", RecordType::TXT, 77, &["v=DMARC1;p=reject"]),
        ])
    };
    let mut dns = there();
    let (journal, _, conflicts) = settle(&mut dns, &before(), vec![], wait());
    assert_eq!((conflicts, line(&journal, Purpose::DMARC)), (vec![], "v=DMARC1;p=reject [Ok Observed]".into()));
    assert_eq!(dns.get(Z, RecordType::TXT), there().get(Z, RecordType::TXT));
    let (journal, ..) = settle(&mut dns, &wanted(), journal, policy(ConflictPolicy::Refuse));
    assert_eq!(line(&journal, Purpose::DMARC), "v=DMARC1;p=reject [Ok Observed]");
}

#[test]
fn nothing_is_decided_about_a_set_that_was_not_read() {
    let mut dns = Dns::default();
    let (journal, _, _) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
    for records in [wanted(), vec![]] {
        let p = plan(&records, &journal, &[], &policy(ConflictPolicy::Refuse));
        assert_eq!((p.changes.len(), p.journal), (0, journal.clone()));
    }
}

/// What a foreigner may have in a set.
fn foreign() -> impl Strategy<Value = Dns> {
    let txt = prop_oneof![
        "v=spf1 (a |mx |ip4:192.0.2.1 | |include:x.example |include:_spf.p.example |redirect=r.example ){0,4}[-~?+]?all ?",
        "v=spf1( a| mx| include:_spf.p.example| exp=e.example)*",
        "google-site-verification=[a-z]{3}",
        "[ -~é]{0,12}",
    ];
    let exclusive = prop_oneof![
        Just(DMARC.to_string()),
        Just("v=DMARC1; p=none".into()),
        Just("v=DKIM1; k=rsa; p=S1".into()),
        "[a-z=; ]{1,9}"
    ];
    let host = prop_oneof![Just("mx1.p.example"), Just("mail.old.example"), Just("b.old.example"), Just(".")];
    let mx = (0u16..3, host).prop_map(|(n, h)| value::mx(n * 10, h));
    (
        (prop::collection::vec(txt, 0..4), 1u32..9999),
        (prop::collection::vec(mx, 0..3), 1u32..9999),
        prop::collection::vec((0usize..4, prop::collection::vec(exclusive, 0..3), 1u32..9999), 0..3),
    )
        .prop_map(|((txt, txt_ttl), (mx, mx_ttl), rest)| {
            let mut dns = Dns::default();
            dns.put(Z, RecordType::TXT, txt_ttl, txt);
            dns.put(Z, RecordType::MX, mx_ttl, mx);
            for (at, values, ttl) in rest {
                let (name, rtype) = ALL[2 + at];
                dns.put(name, rtype, ttl, values);
            }
            dns
        })
}

#[derive(Clone, Debug)]
enum Crash {
    No,
    BeforeChange,
    Twice,
    AfterChangeBeforeStatus,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn foreign_sets_stay_byte_for_byte(
        start in foreign(),
        steps in prop::collection::vec(
            (0usize..3, 0usize..2, 0usize..2, any::<bool>(), any::<bool>(),
             prop_oneof![Just(Crash::No), Just(Crash::BeforeChange), Just(Crash::Twice), Just(Crash::AfterChangeBeforeStatus)]), 0..6),
        end in prop::collection::vec(any::<bool>(), 0..4),
    ) {
        let mut dns = start.clone();
        let (mut journal, mut previous) = (vec![], None);
        for (dmarc, selector, include, adopt, switch_mx, crash) in steps {
            let records = want(
                [DmarcPolicy::None, DmarcPolicy::Quarantine, DmarcPolicy::Reject][dmarc],
                ["s1", "s2"][selector],
                ["_spf.p.example", "spf.other.example"][include],
            );
            let conflict = if adopt { ConflictPolicy::Adopt } else { ConflictPolicy::Refuse };
            let policy = Policy { conflict, switch_mx, previous_mx: previous.clone() };
            let p = plan(&records, &journal, &dns.read(&which(&records, &journal)), &policy);
            for c in &p.changes {
                // Whatever the foreigner has is still there, apart from the MX set and the one SPF record.
                let theirs = start.get(&c.before.name, c.before.rtype);
                let lost = theirs.values.iter().filter(|v| !spf::is_spf(v) && !c.after.values.contains(v)).count();
                prop_assert!(lost == 0 || c.before.rtype == RecordType::MX, "{c:?}");
            }
            (journal, previous) = (p.journal, p.previous_mx);
            match crash {
                Crash::BeforeChange => {}
                Crash::No | Crash::AfterChangeBeforeStatus => prop_assert!(dns.apply(&p.changes)),
                Crash::Twice => {
                    prop_assert!(dns.apply(&p.changes));
                    let once = dns.clone();
                    dns.apply(&p.changes);
                    prop_assert_eq!(&dns, &once);
                }
            }
            if matches!(crash, Crash::No) {
                let policy = Policy { previous_mx: previous.clone(), ..policy };
                let p = plan(&records, &journal, &dns.read(&which(&records, &journal)), &policy);
                prop_assert_eq!(&p.changes, &vec![], "one pass is enough");
                journal = p.journal;
            }
        }
        // The deletion, with crashes before the change.
        for made in end {
            let p = withdraw_mx(&journal, &dns.get(Z, RecordType::MX), OnDelete::RestorePrevious, previous.as_ref());
            if made {
                prop_assert!(dns.apply(&p.changes));
            }
            journal = p.journal;
        }
        withdraw_all(&mut dns, journal, previous, OnDelete::RestorePrevious);
        prop_assert_eq!(dns, start);
    }
}

#[test]
fn whoever_only_looks_owns_nothing_and_forgets_nothing() {
    let differing = |d: &BTreeSet<(Purpose, String)>| {
        d.iter().map(|(purpose, name)| format!("{purpose:?} {name}")).collect::<Vec<_>>().join(", ")
    };
    let mut records = wanted();
    records.retain(|r| r.purpose != Purpose::Challenge);
    let look = |dns: &Dns, journal: &[RecordStatus], records: &[Record]| {
        compare(records, journal, &dns.read(&which(records, &[])), ConflictPolicy::Refuse)
    };

    // Nothing is there, and nothing of it is going to be ours.
    let (seen, differ) = look(&Dns::default(), &[], &records);
    assert_eq!(differing(&differ), "MX acme.test, SPF acme.test, DKIM s1._domainkey.acme.test, DMARC _dmarc.acme.test");
    assert!(seen.iter().all(|e| e.ownership.is_none() && e.term.is_none()), "{seen:#?}");

    // All is there, made by others.
    let mut dns = Dns::default();
    settle(&mut dns, &records, vec![], policy(ConflictPolicy::Refuse));
    let (seen, differ) = look(&dns, &[], &records);
    assert_eq!(differing(&differ), "");
    assert!(seen.iter().all(|e| e.state == RecordState::Ok && !is_ours(e)), "{seen:#?}");

    // Made by us in its time: the journal stays, whatever became of the records since, or of what is wanted.
    let mut dns = Dns::default();
    let (journal, ..) = settle(&mut dns, &records, vec![], policy(ConflictPolicy::Refuse));
    dns.put(Z, RecordType::MX, 60, vec!["10 elsewhere.example.".into()]);
    dns.put("_dmarc.acme.test", RecordType::TXT, 300, vec!["v=DMARC1; p=none".into()]);
    let (seen, differ) = look(&dns, &journal, &records);
    assert_eq!(differing(&differ), "MX acme.test, DMARC _dmarc.acme.test");
    assert_eq!(seen.iter().filter(|e| is_ours(e)).cloned().collect::<Vec<_>>(), journal);
    let (seen, _) = look(&dns, &journal, &[]);
    assert_eq!(seen.iter().filter(|e| is_ours(e)).cloned().collect::<Vec<_>>(), journal);

    // A value beside ours is a difference, also where Full would remove it silently; another TXT is none.
    let mut dns = Dns::default();
    let (journal, ..) = settle(&mut dns, &records, vec![], policy(ConflictPolicy::Overwrite));
    let overwrite = |dns: &Dns| {
        let live = dns.read(&which(&records, &[]));
        differing(&compare(&records, &journal, &live, ConflictPolicy::Overwrite).1)
    };
    let beside = |dns: &mut Dns, name: &str, value: &str| {
        let mut set = dns.get(name, RecordType::TXT);
        set.values.push(value.into());
        dns.put(name, RecordType::TXT, set.ttl, set.values);
    };
    beside(&mut dns, Z, "some-verification=1");
    assert_eq!(overwrite(&dns), "");
    beside(&mut dns, "_dmarc.acme.test", "v=DMARC1; p=none");
    assert_eq!(overwrite(&dns), "DMARC _dmarc.acme.test");
    beside(&mut dns, Z, "v=spf1 -all");
    assert_eq!(overwrite(&dns), "SPF acme.test, DMARC _dmarc.acme.test");
}

/// Records of others in the place of those for client discovery are reported and stay, and hold nothing up.
#[test]
fn client_discovery_of_others_holds_nothing_up() {
    let discovery = Some(Discovery::default());
    let input = Input { discovery, ..input(DmarcPolicy::Reject, "s1", "_spf.p.example") };
    let mut dns = Dns::default();
    let (imaps, pop3) = (format!("_imaps._tcp.{Z}"), format!("_pop3._tcp.{Z}"));
    dns.put(&imaps, RecordType::SRV, 60, vec!["0 1 993 imap.old.example.".into()]);
    dns.put(&pop3, RecordType::CNAME, 60, vec!["elsewhere.old.example.".into()]);
    let wanted = desired(&input);
    let plan = plan(&wanted, &[], &dns.read(&which(&wanted, &[])), &policy(ConflictPolicy::Refuse));
    assert_eq!(plan.conflicts, []);
    let of = |name: &str| plan.journal.iter().find(|e| e.name == name).unwrap();
    for name in [&imaps, &pop3] {
        assert_eq!((of(name).state, of(name).ownership), (RecordState::Conflict, None), "{name}");
        assert!(!plan.changes.iter().any(|c| c.before.name == *name), "{name} stays");
    }
    let written = plan.changes.iter().find(|c| c.before.name == format!("_imap._tcp.{Z}")).unwrap();
    assert_eq!(written.after.values, ["0 0 0 ."]);
}

/// The host of the MTA-STS policy is a CNAME: what stands where it should be is named, kept or, if it is a CNAME, replaced.
#[test]
fn a_cname_of_ours_stands_alone_or_not_at_all() {
    use ConflictPolicy::*;
    use RecordType::{A, CNAME, LUA, NS, TXT};
    let (host, ours) = ("mta-sts.acme.test", "wellknown.p.example.");
    let sts = crate::records::MtaSts { served_at: "wellknown.p.example".into(), id: Some("a1".into()) };
    let wanted = desired(&Input { mta_sts: Some(sts), ..input(DmarcPolicy::Reject, "s1", "_spf.p.example") });
    let told = "v=STSv1; id=a1;";
    // What is there, policy; what is there then, the journal of the host.
    for (rtype, live, conflict, cname, journal) in [
        (CNAME, None, Refuse, &[ours][..], "wellknown.p.example. [Ok Created]"),
        (CNAME, Some(ours), Refuse, &[ours], "wellknown.p.example. [Ok Observed]"),
        (CNAME, Some("sts.old.example."), Refuse, &["sts.old.example."], "wellknown.p.example. [Conflict -]"),
        (CNAME, Some("sts.old.example."), Adopt, &["sts.old.example."], "sts.old.example. [Ok Adopted]"),
        (CNAME, Some("sts.old.example."), Overwrite, &[ours], "wellknown.p.example. [Ok Created]"),
        (A, Some("192.0.2.1"), Refuse, &[], "wellknown.p.example. [Conflict -]"),
        (A, Some("192.0.2.1"), Adopt, &[], "192.0.2.1 [Ok Adopted]"),
        (A, Some("192.0.2.1"), Overwrite, &[], "wellknown.p.example. [Conflict -]"),
        (TXT, Some("x"), Overwrite, &[], "wellknown.p.example. [Conflict -]"),
        (NS, Some("ns1.other.example."), Adopt, &[], "wellknown.p.example. [Conflict -]"),
        (LUA, Some("A \"return '192.0.2.1'\""), Refuse, &[], "wellknown.p.example. [Conflict -]"),
    ] {
        let case = format!("{} {live:?} {conflict:?}", rtype.as_str());
        let mut dns = Dns::default();
        dns.put(host, rtype, 60, live.iter().map(ToString::to_string).collect());
        let before = dns.clone();
        let (entries, previous, conflicts) = settle(&mut dns, &wanted, vec![], policy(conflict));
        assert_eq!(dns.get(host, CNAME).values, cname, "{case}");
        assert_eq!(conflicts, [], "{case}: it holds nothing up");
        let of_host: Vec<_> = entries.iter().filter(|e| e.name == host).cloned().collect();
        assert_eq!(line(&of_host, Purpose::MTASTS), journal, "{case}");
        if rtype != CNAME {
            assert_eq!(dns.get(host, rtype), before.get(host, rtype), "{case}: it stays");
        }
        assert_eq!(dns.get("_mta-sts.acme.test", TXT).values, [told]);
        withdraw_all(&mut dns, entries, previous, OnDelete::RestorePrevious);
        let overwritten = conflict == Overwrite && rtype == CNAME;
        assert_eq!(dns, if overwritten { Dns::default() } else { before }, "{case}");
    }
    // Another policy: another id, in one change, and never both.
    let mut dns = Dns::default();
    let (journal, ..) = settle(&mut dns, &wanted, vec![], policy(Refuse));
    let sts = crate::records::MtaSts { served_at: "wellknown.p.example".into(), id: Some("a2".into()) };
    let next = desired(&Input { mta_sts: Some(sts), ..input(DmarcPolicy::Reject, "s1", "_spf.p.example") });
    let p = plan(&next, &journal, &dns.read(&which(&next, &journal)), &policy(Refuse));
    assert_eq!(p.changes.len(), 1);
    assert_eq!(p.changes[0].after.values, ["v=STSv1; id=a2;"]);
}

#[path = "marker_tests.rs"]
mod marker_tests;
