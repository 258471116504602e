//! The marker: against a second cluster, and for the day on which the journal is lost.

use super::*;
use crate::records::{Manager, Marker, marker_name};

const MARKER: &str = "_mailtenant.acme.test";

fn manager(cluster: &str, name: &str) -> Manager {
    Manager::new(cluster, "tenant-acme", name)
}

fn writer(manager: &Manager) -> Writer<'_> {
    Writer { domain: Z, ttl: 300, manager, token: "x", recovers: false }
}

/// Plans, journals and applies until there is nothing to do.
fn settle_as(
    writer: &Writer<'_>,
    dns: &mut Dns,
    mut journal: Vec<RecordStatus>,
    mut policy: Policy,
) -> (Vec<RecordStatus>, Option<PreviousMx>, Vec<Conflict>) {
    for _ in 0..5 {
        let live = dns.read(&writer.which(&wanted(), &journal));
        let p = plan_with_marker(writer, &wanted(), &journal, &live, &policy);
        (journal, policy.previous_mx) = (p.journal.clone(), p.previous_mx.clone());
        if p.changes.is_empty() {
            return (journal, policy.previous_mx, p.conflicts);
        }
        assert!(dns.apply(&p.changes));
    }
    panic!("does not settle: {journal:#?}");
}

fn text(dns: &Dns) -> Vec<Marker> {
    dns.get(MARKER, RecordType::TXT).values.iter().map(|v| Marker::parse(v).unwrap()).collect()
}

/// Zones before anything of ours: MX of another server, SPF records of others, and what equals ours.
fn zones() -> Vec<Dns> {
    vec![
        Dns::default(),
        Dns::of(&[
            (Z, RecordType::MX, 60, &["10 mail.old.example.", "20 b.old.example."]),
            (Z, RecordType::TXT, 900, &["site=1", "v=spf1 include:old.example -all"]),
        ]),
        Dns::of(&[
            (Z, RecordType::TXT, 900, &["v=spf1 include:_spf.p.example include:old.example ~all"]),
            ("_dmarc.acme.test", RecordType::TXT, 900, &["v=DMARC1;p=reject"]),
        ]),
        Dns::of(&[(Z, RecordType::MX, 60, &["10 mx1.p.example.", "20 mx2.p.example."])]),
    ]
}

#[test]
fn what_was_made_is_known_again_when_the_journal_is_lost() {
    let own = manager("c", "acme-test");
    for (n, before) in zones().into_iter().enumerate() {
        let mut dns = before.clone();
        let adopt = policy(ConflictPolicy::Adopt);
        let (journal, previous, conflicts) = settle_as(&writer(&own), &mut dns, vec![], adopt.clone());
        assert_eq!(conflicts, [], "{n}");
        let there = dns.clone();
        let live = dns.read(&writer(&own).which(&wanted(), &[]));
        let (known, known_mx) = recovered(&writer(&own), &wanted(), &live, &[]).unwrap();
        assert_eq!(known_mx, previous, "{n}");
        let lost = Policy { previous_mx: known_mx.clone(), ..adopt };
        let (again, again_mx, _) = settle_as(&writer(&own), &mut dns, known, lost);
        assert_eq!((&dns, &again_mx), (&there, &previous), "{n}: nothing is changed");
        let sorted = |mut j: Vec<RecordStatus>| {
            j.sort_by(|a, b| (&a.name, &a.type_, &a.value).cmp(&(&b.name, &b.type_, &b.value)));
            j
        };
        assert_eq!(sorted(again.clone()), sorted(journal), "{n}");
        withdraw_all(&mut dns, again, again_mx, OnDelete::RestorePrevious);
        assert_eq!(dns, before, "{n}: what was there before is there again");
    }
}

/// Its value is another one for each MailDomain.
#[test]
fn the_challenge_of_the_maildomain_of_before_goes() {
    let own = manager("c", "acme-test");
    let mut dns = Dns::default();
    settle_as(&writer(&own), &mut dns, vec![], policy(ConflictPolicy::Refuse));
    let challenge = "_mailtenant-challenge.acme.test";
    dns.put(challenge, RecordType::TXT, 300, vec!["token=x expiry=never".into(), "token=other expiry=never".into()]);
    let mut anew = wanted();
    for record in anew.iter_mut().filter(|r| r.purpose == Purpose::Challenge) {
        record.values = vec!["token=new expiry=never".into()];
    }
    let live = dns.read(&writer(&own).which(&anew, &[]));
    let heir = |recovers| Writer { token: "new", recovers, ..writer(&own) };
    assert_eq!(recovered(&heir(false), &anew, &live, &[]), None, "the place may be another tenant's by now");
    let (known, _) = recovered(&heir(true), &anew, &live, &[]).unwrap();
    let live = dns.read(&writer(&own).which(&anew, &known));
    assert!(dns.apply(&plan_with_marker(&heir(true), &anew, &known, &live, &policy(ConflictPolicy::Refuse)).changes));
    let there = dns.get(challenge, RecordType::TXT).values;
    assert_eq!(there, ["token=new expiry=never", "token=other expiry=never"], "that of somebody else stays");
    assert_eq!(text(&dns).into_iter().map(|m| m.token).collect::<Vec<_>>(), ["new"]);
}

/// MX stays as it is meanwhile, and is not among the records that are planned.
#[test]
fn mx_stays_in_the_marker_while_a_new_host_is_not_proven() {
    let own = manager("c", "acme-test");
    let mut dns = Dns::default();
    let (journal, previous, _) = settle_as(&writer(&own), &mut dns, vec![], policy(ConflictPolicy::Refuse));
    let rest: Vec<Record> = wanted().into_iter().filter(|r| r.purpose != Purpose::MX).collect();
    let live = dns.read(&writer(&own).which(&rest, &journal));
    let now = Policy { previous_mx: previous, ..policy(ConflictPolicy::Refuse) };
    assert_eq!(plan_with_marker(&writer(&own), &rest, &journal, &live, &now).changes, []);
}

#[test]
fn a_purpose_of_which_one_record_was_found_is_not_said_to_be_made() {
    let own = manager("c", "acme-test");
    let discovery = Some(Discovery::default());
    let wanted = desired(&Input { discovery, ..input(DmarcPolicy::Reject, "s1", "_spf.p.example") });
    for found in [false, true] {
        let mut dns = Dns::default();
        if found {
            dns.put("_imap._tcp.acme.test", RecordType::SRV, 60, vec!["0 0 0 .".into()]);
        }
        let live = dns.read(&writer(&own).which(&wanted, &[]));
        let p = plan_with_marker(&writer(&own), &wanted, &[], &live, &policy(ConflictPolicy::Refuse));
        assert!(dns.apply(&p.changes));
        assert_eq!(text(&dns)[0].made.contains(&Purpose::ClientDiscovery), !found);
    }
}

/// etcd is that of a day before the cut-over.
#[test]
fn what_a_journal_of_an_earlier_day_lacks_is_known_again() {
    let own = manager("c", "acme-test");
    let start = Dns::of(&[(Z, RecordType::MX, 60, &["10 mail.old.example."])]);
    let mut dns = start.clone();
    let before = Policy { switch_mx: false, ..policy(ConflictPolicy::Refuse) };
    let (early, ..) = settle_as(&writer(&own), &mut dns, vec![], before);
    let (late, previous, _) = settle_as(&writer(&own), &mut dns, early.clone(), policy(ConflictPolicy::Refuse));
    let live = dns.read(&writer(&own).which(&wanted(), &[]));
    assert_eq!(recovered(&writer(&own), &wanted(), &live, &late), None, "all of it is known");
    let (known, known_mx) = recovered(&writer(&own), &wanted(), &live, &early).unwrap();
    assert_eq!(known_mx, previous);
    let again = Policy { previous_mx: known_mx, ..policy(ConflictPolicy::Refuse) };
    let (again, again_mx, _) = settle_as(&writer(&own), &mut dns, known, again);
    assert_eq!(again, late);
    withdraw_all(&mut dns, again, again_mx, OnDelete::RestorePrevious);
    assert_eq!(dns, start);
}

/// A domain was deleted, and etcd is that of the day before.
#[test]
fn a_journal_of_an_earlier_day_does_not_say_that_mx_leads_here() {
    let mut dns = Dns::of(&[(Z, RecordType::MX, 60, &["10 mx1.p.example.", "20 mx2.p.example."])]);
    let (observed, ..) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
    let (made, ..) = settle(&mut Dns::default(), &wanted(), vec![], policy(ConflictPolicy::Refuse));
    for (journal, left) in
        [(observed, ""), (made, "10 mx1.p.example. [Wrong Created] | 20 mx2.p.example. [Wrong Created]")]
    {
        let there = dns.read(&which(&wanted(), &journal));
        assert_eq!(without_lost_mx(journal.clone(), &there), journal, "it does");
        let gone = Dns::of(&[(Z, RecordType::MX, 60, &["10 elsewhere.example."])]);
        let now = without_lost_mx(journal.clone(), &gone.read(&which(&wanted(), &journal)));
        assert_eq!((line(&now, Purpose::MX).as_str(), now.iter().any(is_good_mx)), (left, false));
        assert_eq!(without_lost_mx(journal.clone(), &[]), journal, "it was not read");
    }
    // What others put there since is not MX from before.
    let mut dns = Dns::of(&[(Z, RecordType::MX, 60, &["10 mail.old.example."])]);
    let (journal, previous, _) = settle(&mut dns, &wanted(), vec![], policy(ConflictPolicy::Refuse));
    dns.put(Z, RecordType::MX, 60, vec!["5 drift.example.".into()]);
    let journal = without_lost_mx(journal.clone(), &dns.read(&which(&wanted(), &journal)));
    let now = Policy { previous_mx: previous.clone(), ..policy(ConflictPolicy::Refuse) };
    assert_eq!(settle(&mut dns, &wanted(), journal, now).1, previous);
}

#[test]
fn what_rejects_nothing_yet_is_known_again_too() {
    let own = manager("c", "acme-test");
    let (mut dns, mut mild) = (Dns::default(), wanted());
    crate::records::soften(&mut mild);
    let before = Policy { switch_mx: false, ..policy(ConflictPolicy::Refuse) };
    let live = dns.read(&writer(&own).which(&mild, &[]));
    assert!(dns.apply(&plan_with_marker(&writer(&own), &mild, &[], &live, &before).changes));
    let live = dns.read(&writer(&own).which(&wanted(), &[]));
    let (known, previous) = recovered(&writer(&own), &wanted(), &live, &[]).unwrap();
    assert_eq!(line(&known, Purpose::DMARC), "v=DMARC1; p=none [Ok Created]");
    assert_eq!((line(&known, Purpose::MX).as_str(), previous), ("", None), "MX is not switched");
}

#[test]
fn a_second_cluster_changes_nothing() {
    let (one, two) = (manager("one", "acme-test"), manager("two", "acme-test"));
    let second = |recovers| Writer { token: "another", recovers, ..writer(&two) };
    let mut dns = Dns::of(&[(Z, RecordType::MX, 60, &["10 mail.old.example."])]);
    let (journal, previous, _) = settle_as(&writer(&one), &mut dns, vec![], policy(ConflictPolicy::Refuse));
    let there = dns.clone();
    for conflict in [ConflictPolicy::Refuse, ConflictPolicy::Adopt] {
        let (kept, _, conflicts) = settle_as(&second(false), &mut dns, vec![], policy(conflict));
        assert_eq!(dns, there);
        assert!(!kept.iter().any(is_ours), "nothing of it is withdrawn");
        let said = &conflicts[0].message;
        assert!(said.contains("the cluster with the id one writes the records of acme.test"), "{said}");
    }
    // Nor by a MailDomain of the same place, unless the platform consents: then it goes on where the other ended.
    let live = dns.read(&second(false).which(&wanted(), &[]));
    assert_eq!(recovered(&second(false), &wanted(), &live, &[]), None);
    let allowed = second(true);
    let (known, known_mx) = recovered(&allowed, &wanted(), &live, &[]).unwrap();
    assert_eq!(known_mx, previous);
    let heir = Policy { previous_mx: known_mx, ..policy(ConflictPolicy::Refuse) };
    let (taken, taken_mx, _) = settle_as(&allowed, &mut dns, known, heir);
    let managers: Vec<Manager> = text(&dns).into_iter().map(|m| m.manager).collect();
    assert_eq!(managers, std::slice::from_ref(&two));
    // From now on the first cluster changes nothing, also when its MailDomain is deleted, and whatever its policy is.
    let there = dns.clone();
    for conflict in [ConflictPolicy::Refuse, ConflictPolicy::Overwrite] {
        let late = Policy { previous_mx: previous.clone(), ..policy(conflict) };
        let (_, _, conflicts) = settle_as(&writer(&one), &mut dns, journal.clone(), late);
        assert_eq!((&dns, conflicts.len()), (&there, 1));
    }
    assert!(is_taken_over(&journal, &dns.read(&which(&[], &journal))));
    assert!(!is_taken_over(&taken, &dns.read(&which(&[], &taken))));
    withdraw_all(&mut dns, taken, taken_mx, OnDelete::RestorePrevious);
    assert_eq!(dns, Dns::of(&[(Z, RecordType::MX, 60, &["10 mail.old.example."])]));
}

#[test]
fn who_asks_to_overwrite_takes_the_name_from_another_cluster_and_inherits_nothing() {
    let (one, two) = (manager("one", "acme-test"), manager("two", "other"));
    let mut dns = Dns::of(&[(Z, RecordType::MX, 60, &["10 mail.old.example."])]);
    settle_as(&writer(&one), &mut dns, vec![], policy(ConflictPolicy::Refuse));
    settle_as(&writer(&two), &mut dns, vec![], policy(ConflictPolicy::Overwrite));
    let [marker] = text(&dns).try_into().unwrap();
    assert_eq!((marker.manager, marker.made), (two, [].into()), "all else was there already");
}

#[test]
fn a_marker_of_another_place_in_this_cluster_is_old() {
    let (before, now) = (manager("c", "before"), manager("c", "acme-test"));
    let mut dns = Dns::default();
    settle_as(&writer(&before), &mut dns, vec![], policy(ConflictPolicy::Refuse));
    let live = dns.read(&writer(&now).which(&wanted(), &[]));
    assert_eq!(recovered(&writer(&now), &wanted(), &live, &[]), None, "it may have been another tenant's");
    settle_as(&writer(&now), &mut dns, vec![], policy(ConflictPolicy::Refuse));
    assert_eq!(text(&dns).into_iter().map(|m| m.manager).collect::<Vec<_>>(), [now]);
}

#[test]
fn texts_of_others_at_its_name_stay() {
    assert_eq!(marker_name(Z), MARKER);
    let own = manager("c", "acme-test");
    let before = Dns::of(&[(MARKER, RecordType::TXT, 900, &["something else"])]);
    let mut dns = before.clone();
    let (journal, previous, conflicts) = settle_as(&writer(&own), &mut dns, vec![], policy(ConflictPolicy::Refuse));
    assert_eq!((dns.get(MARKER, RecordType::TXT).values.len(), conflicts), (2, vec![]));
    withdraw_all(&mut dns, journal, previous, OnDelete::RestorePrevious);
    assert_eq!(dns, before);
}

#[test]
fn a_cname_at_its_name_holds_nothing_up() {
    let own = manager("c", "acme-test");
    for conflict in [ConflictPolicy::Refuse, ConflictPolicy::Adopt] {
        let mut dns = Dns::of(&[(MARKER, RecordType::CNAME, 60, &["x.example."])]);
        let (journal, _, conflicts) = settle_as(&writer(&own), &mut dns, vec![], policy(conflict));
        assert_eq!(conflicts, []);
        assert!(line(&journal, Purpose::Marker).ends_with("[Conflict -]"), "{journal:#?}");
    }
}
