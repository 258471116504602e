//! Domains whose tenants edit the records: what is asked for, and when.

use super::*;
use crate::kinds::mail_domain::by_hand as rules;
use crate::kinds::mail_domain::facts::{Looked, Proof, ZoneFile};
use crate::kinds::mail_domain::records::{desired, ttl};
use crate::kinds::mail_domain::status::put;
use mailtenant_api::mail_domain::DnsMode;
use mailtenant_dns::{Answers, RrSet};
use mailtenant_mail::manual::Shown;
use mailtenant_mail::records::Record;

impl Case {
    /// What the domain wants in the DNS.
    fn wanted(&self) -> Vec<Record> {
        let known = self.facts.known.as_ref().unwrap();
        let parents = crate::kinds::mail_domain::parents::check(&self.domain, "acme.test", known).unwrap();
        let server = self.facts.server.as_ref().unwrap();
        let algorithms = keys::algorithms(&self.domain, server).unwrap();
        let now = "2026-11-26T12:00:00Z".parse().unwrap();
        let plan = keys::plan(&self.domain, self.facts.keys.as_ref().unwrap(), &algorithms, now);
        desired((&self.domain, &self.status), "acme.test", &parents, plan.public())
    }

    /// Two servers, each of which shows what `values` says of a record.
    fn show(&mut self, values: &dyn Fn(usize, &Record) -> Vec<String>) {
        let wanted = self.wanted();
        let set = |n, r: &Record| RrSet { name: r.name.clone(), rtype: r.rtype, ttl: 300, values: values(n, r) };
        let shown = |r: &Record| Shown {
            name: r.name.clone(),
            rtype: r.rtype,
            servers: vec![set(0, r), set(1, r)],
            alias: None,
            wildcard: false,
        };
        let sets = wanted.iter().map(shown).collect();
        self.facts.shown = Some(Looked { sets, at: "2026-11-26T12:00:00Z".parse().unwrap() });
    }

    /// Plans, and carries out what concerns Kubernetes alone.
    fn settled(&mut self) -> Planned {
        for _ in 0..5 {
            let planned = self.plan();
            match &planned.next {
                Next::Do(Action::WriteZoneFile(text)) => {
                    let name = "d-records".to_owned();
                    self.facts.zone_file = Some(ZoneFile { name, text: text.clone(), problem: None });
                }
                Next::Do(Action::GoLive) => {
                    self.facts.went_live = true;
                    self.status.state = Some(DomainState::Live);
                }
                _ => return planned,
            }
        }
        panic!("it does not end")
    }

    /// The status as a pass leaves it that ends with this plan.
    fn left(&self, planned: &Planned) -> MailDomainStatus {
        let mut status = self.status.clone();
        let mut conditions = Conditions::new(&[], 1, jiff::Timestamp::UNIX_EPOCH);
        planned.notes.iter().cloned().for_each(|n| put(&mut status, &mut conditions, n));
        match &planned.next {
            Next::Wait(not_ready, condition) => {
                not_ready.put(&mut conditions);
                if let Some(type_) = condition {
                    conditions.set(*type_, false, not_ready.reason, not_ready.message.clone());
                }
            }
            Next::Ready(message) => conditions.ready(message.clone()),
            Next::Do(_) | Next::Learn(_) => {}
        }
        MailDomainStatus { conditions: conditions.into_vec(), ..status }
    }
}

/// A domain that is prepared but for its records; mail is taken for its address.
fn manual() -> Case {
    let mut case = prepared();
    case.domain.spec.dns.mode = DnsMode::Manual;
    case.domain.spec.dns.backend_ref = None;
    case.status.dns = None;
    case.facts.known.as_mut().unwrap().dns = None;
    (case.facts.records, case.facts.mx) = (None, None);
    case.facts.keys = Some(vec![key("s1", false)]);
    case
}

fn all(_: usize, r: &Record) -> Vec<String> {
    r.values.clone()
}

fn but_mx(_: usize, r: &Record) -> Vec<String> {
    if r.purpose == Purpose::MX { vec!["5 old.example.".into()] } else { r.values.clone() }
}

fn only_mx(_: usize, r: &Record) -> Vec<String> {
    if r.purpose == Purpose::MX { r.values.clone() } else { vec![] }
}

fn nothing(_: usize, _: &Record) -> Vec<String> {
    vec![]
}

/// The last word of the notes about a condition.
fn condition(planned: &Planned, wanted: ConditionType) -> Option<(bool, Reason)> {
    planned.notes.iter().rev().find_map(|n| match n {
        Note::Condition(type_, good, reason, _) if *type_ == wanted => Some((*good, *reason)),
        _ => None,
    })
}

fn entries(planned: &Planned) -> Vec<RecordStatus> {
    planned
        .notes
        .iter()
        .rev()
        .find_map(|n| if let Note::Records(r) = n { Some(r.clone()) } else { None })
        .unwrap_or_default()
}

fn last_state(planned: &Planned) -> Option<DomainState> {
    planned.notes.iter().rev().find_map(|n| if let Note::State(s) = n { Some(*s) } else { None })
}

#[test]
fn mx_is_asked_for_last_and_nothing_is_ever_written() {
    type Shows = fn(usize, &Record) -> Vec<String>;
    let signing = |c: &mut Case| {
        c.facts.keys = Some(vec![key("s1", true)]);
        c.facts.signing = c.facts.keys.clone();
    };
    let approve = |c: &mut Case| c.domain.spec.cutover.mode = CutoverMode::Manual;
    type Change<'a> = &'a dyn Fn(&mut Case);
    let rows: &[(&str, Shows, Change<'_>, &str, DomainState)] = &[
        ("nothing is there", nothing, &|_| {}, "wait AwaitingRecords DNSPublished", DomainState::Provisioned),
        ("the key is there: it signs", but_mx, &|_| {}, "do Sign([\"s1\"])", DomainState::Provisioned),
        ("all but MX is there", but_mx, &signing, "wait AwaitingRecords CutOver", DomainState::CutoverReady),
        (
            "a mailbox is not ready",
            but_mx,
            &|c| {
                signing(c);
                c.facts.declared.as_mut().unwrap().unready = vec!["Mailbox a".into()];
            },
            "wait AwaitingAcceptance CutOver",
            DomainState::CutoverReady,
        ),
        (
            "the server was not asked",
            but_mx,
            &|c| {
                signing(c);
                c.facts.accepted = false;
            },
            "learn Acceptance",
            DomainState::Provisioned,
        ),
        (
            "a policy of before has senders refuse it",
            but_mx,
            &|c| {
                signing(c);
                c.facts.former_policy = Some(Some(NotReady::waiting(Reason::AwaitingPolicyEnd, "held")));
            },
            "wait AwaitingPolicyEnd CutOver",
            DomainState::CutoverReady,
        ),
        (
            "it does not take mail",
            but_mx,
            &|c| {
                signing(c);
                c.facts.accepted = false;
                c.facts.refused = Some(NotReady::retry(Reason::AwaitingAcceptance, "550"));
            },
            "wait AwaitingAcceptance CutOver",
            DomainState::CutoverReady,
        ),
        (
            "a person has not agreed",
            but_mx,
            &|c| {
                signing(c);
                approve(c);
            },
            "wait AwaitingApproval CutOver",
            DomainState::CutoverReady,
        ),
        (
            "a person goes on without the records",
            nothing,
            &|c| {
                approve(c);
                c.domain.spec.cutover.approved = true;
            },
            "wait AwaitingRecords CutOver",
            DomainState::CutoverReady,
        ),
        (
            "there is no address",
            but_mx,
            &|c| {
                signing(c);
                c.facts.declared = Some(Declared::default());
            },
            "acme.test is prepared: MX is to be set when the first Mailbox or MailAlias of the domain is there",
            DomainState::CutoverReady,
        ),
        ("all is there", all, &signing, "acme.test is live", DomainState::Live),
        (
            "MX was set before its time: mail comes here, so it is live, and the rest is asked for",
            only_mx,
            &|_| {},
            "wait AwaitingRecords DNSPublished",
            DomainState::Live,
        ),
        (
            "one server is behind with MX",
            |n, r| if n == 0 { all(n, r) } else { but_mx(n, r) },
            &signing,
            "wait DNSPropagating CutOver",
            DomainState::CutoverReady,
        ),
        (
            "one server is behind with a record",
            |n, r| if n == 0 { all(n, r) } else { only_mx(n, r) },
            &signing,
            "wait DNSPropagating DNSPublished",
            DomainState::Live,
        ),
    ];
    for (why, shows, change, want, state) in rows {
        let mut case = manual();
        change(&mut case);
        case.show(shows);
        let planned = case.settled();
        assert_eq!(said(&planned.next), *want, "{why}");
        if !matches!(planned.next, Next::Do(_) | Next::Learn(_)) {
            assert_eq!(last_state(&planned), Some(*state), "{why}");
        }
        let stays = case.facts.zone_file.as_ref().is_some_and(|f| f.text.contains("do not add it yet"));
        let asked = want.contains("CutOver") && want.contains("AwaitingRecords");
        assert!(!(stays && asked), "{why}: the zone file says something else");
        // Whoever makes the file from the status, as the kubectl plugin does, gets the same.
        if matches!(planned.next, Next::Wait(..) | Next::Ready(_)) {
            let status = case.left(&planned);
            let records = entries(&planned);
            let text = mailtenant_mail::manual::zone_file("acme.test", &records, ttl(&case.domain), status.mx_stays());
            assert_eq!(Some(&text), case.facts.zone_file.as_ref().map(|f| &f.text), "{why}");
        }
        assert!(!matches!(planned.next, Next::Do(Action::Publish { .. })), "{why}");
        let mx = entries(&planned).into_iter().find(|e| e.purpose == Purpose::MX);
        if let Some(message) = mx.and_then(|e| e.message) {
            assert_eq!(message.starts_with("set MX"), asked, "{why}: {message}");
        }
    }
}

#[test]
fn both_conditions_speak_whatever_is_waited_for_first() {
    let mut case = manual();
    case.show(&nothing);
    let planned = case.settled();
    assert_eq!(condition(&planned, ConditionType::CutOver), Some((false, Reason::AwaitingRecords)));
    let Next::Wait(not_ready, _) = planned.next else { panic!("it waits") };
    for words in
        ["TXT s1._domainkey.acme.test (DKIM)", "TXT _dmarc.acme.test (DMARC)", "ConfigMap d-records", "approved: true"]
    {
        assert!(not_ready.message.contains(words), "{}", not_ready.message);
    }
    case.domain.spec.cutover.mode = CutoverMode::Manual;
    case.domain.spec.cutover.approved = true;
    let planned = case.settled();
    assert_eq!(condition(&planned, ConditionType::DNSPublished), Some((false, Reason::AwaitingRecords)));
    let Next::Wait(not_ready, _) = planned.next else { panic!("it waits") };
    assert!(not_ready.message.contains("set MX of acme.test to 10 mx.test."), "{}", not_ready.message);
    // Once it is there all of it is said to be good.
    let mut case = manual();
    case.facts.keys = Some(vec![key("s1", true)]);
    case.show(&all);
    let planned = case.settled();
    for type_ in [ConditionType::CutOver, ConditionType::DNSPublished] {
        assert_eq!(condition(&planned, type_), Some((true, Reason::Succeeded)));
    }
    assert!(planned.notes.iter().any(|n| matches!(n, Note::MxLeadsHere(300, _))), "its time to live is known");
    assert!(planned.notes.iter().any(|n| *n == Note::ZoneFile(Some("d-records".into()))));
    // A ConfigMap of somebody else is no reason to stop, and is said when all else is done.
    let problem = NotReady::stalled(Reason::ConfigMapNotOwned, "");
    case.facts.zone_file.as_mut().unwrap().problem = Some(problem);
    let planned = case.settled();
    assert_eq!(said(&planned.next), "wait ConfigMapNotOwned");
    assert!(planned.notes.contains(&Note::ZoneFile(None)));
}

#[test]
fn an_mx_that_leads_here_is_known_for_the_way_out_also_at_one_server() {
    let mut case = manual();
    case.facts.keys = Some(vec![key("s1", true)]);
    case.show(&|n, r| if n == 1 { all(n, r) } else { but_mx(n, r) });
    let records = entries(&case.settled());
    let leads = records.iter().any(mailtenant_mail::merge::is_good_mx);
    assert!(leads && !records.iter().any(mailtenant_mail::merge::is_ours), "{records:?}");
    case.show(&but_mx);
    assert!(!entries(&case.settled()).iter().any(mailtenant_mail::merge::is_good_mx));
}

#[test]
fn a_name_is_proven_by_its_record_at_every_server() {
    let value = proof_value(&manual().domain, "acme.test");
    let set = |values: &[&str]| RrSet {
        name: "_mailtenant-challenge.acme.test".into(),
        rtype: RecordType::TXT,
        ttl: 60,
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    let proof = |sets: Vec<RrSet>, silent: &[&str]| Proof {
        answers: Answers { sets, silent: silent.iter().map(|s| (*s).to_owned()).collect() },
        ..Proof::default()
    };
    let rows: &[(&str, Proof, &[&str])] = &[
        ("nowhere", proof(vec![set(&[]), set(&[])], &[]), &["add the TXT record _mailtenant-challenge.acme.test"]),
        ("at one of two", proof(vec![set(&[&value]), set(&[])], &[]), &["1 of 2 DNS servers show it"]),
        (
            "one is silent",
            proof(vec![set(&[&value])], &["192.0.2.1:53"]),
            &["1 of 2 DNS servers", "No authoritative answer came from 192.0.2.1:53"],
        ),
        ("a wildcard", Proof { wildcard: true, ..proof(vec![set(&[&value])], &[]) }, &["wildcard record shows it now"]),
        (
            "mail by a wildcard",
            Proof { mx_of_wildcard: vec!["10 old.test.".into()], ..proof(vec![set(&[])], &[]) },
            &["First add MX 10 old.test."],
        ),
    ];
    for (why, proof, words) in rows {
        let mut case = manual();
        case.new_name();
        (case.facts.proven, case.facts.proof) = (Some(false), Some(proof.clone()));
        let planned = case.plan();
        let Next::Wait(not_ready, Some(ConditionType::OwnershipVerified)) = &planned.next else { panic!("{why}") };
        assert_eq!(not_ready.reason, Reason::OwnershipUnproven, "{why}");
        assert!(not_ready.message.contains(&value), "{why}: {}", not_ready.message);
        for words in *words {
            assert!(not_ready.message.contains(words), "{why}: {}", not_ready.message);
        }
        let records = entries(&planned);
        assert_eq!((records.len(), records[0].purpose, &records[0].value), (1, Purpose::Challenge, &value), "{why}");
    }
    // It is asked for although no DNSBackend asks for it; a name that is proven is claimed.
    let mut case = manual();
    case.new_name();
    case.facts.proven = None;
    assert_eq!(said(&case.plan().next), "learn Proof");
    case.facts.proven = Some(true);
    assert_eq!(said(&case.plan().next), "do Claim");
    // What a status says of a name that was lost stays: MX may lead here.
    case.status.state = Some(DomainState::Live);
    case.status.ownership = Some(Ownership::Created);
    (case.facts.live_holder, case.facts.proven) = (Some(None), Some(false));
    assert_eq!(entries(&case.plan()), []);
}

#[test]
fn who_has_just_begun_is_looked_at_sooner() {
    let mut case = manual();
    let mut pauses = vec![];
    for since in [None, Some("2026-11-26T11:59:50Z"), Some("2026-11-26T11:50:00Z"), Some("2026-11-20T12:00:00Z")] {
        let condition = |since: &str| {
            let mut all = Conditions::new(&[], 1, since.parse().unwrap());
            all.set(ConditionType::CutOver, false, Reason::AwaitingRecords, "");
            all.into_vec()
        };
        let conditions = since.map(condition).unwrap_or_default();
        case.domain.status = Some(MailDomainStatus { conditions, ..Default::default() });
        let now = "2026-11-26T12:00:00Z".parse().unwrap();
        let seen = Seen { domain: &case.domain, status: &case.status, now, facts: &case.facts };
        pauses.push(rules::pause(&seen, ConditionType::CutOver).as_secs());
    }
    assert_eq!(pauses, [30, 30, 150, 300]);
}

#[test]
fn a_domain_that_is_live_stays_live_and_keeps_its_mx_while_that_is_not_as_declared() {
    let mut case = manual();
    case.facts.keys = Some(vec![key("s1", true)]);
    case.show(&all);
    assert_eq!(last_state(&case.settled()), Some(DomainState::Live));
    // Somebody put another MX beside ours, and a mailbox is not ready just now.
    case.facts.went_live = false;
    case.facts.accepted = false;
    case.facts.declared = Some(Declared { unready: vec!["Mailbox alice".into()], ..Declared::default() });
    case.show(&|_, r| match r.purpose {
        Purpose::MX => vec!["5 old.example.".into(), "10 mx.test.".into()],
        _ => r.values.clone(),
    });
    let planned = case.settled();
    assert_eq!(
        (said(&planned.next), last_state(&planned)),
        ("wait AwaitingAcceptance CutOver".into(), Some(DomainState::Live))
    );
    let mx = entries(&planned).into_iter().find(|e| e.purpose == Purpose::MX).and_then(|e| e.message).unwrap();
    assert!(mx.starts_with("leave MX as it is until"), "{mx}");
    let text = case.facts.zone_file.as_ref().unwrap().text.clone();
    assert!(!text.lines().any(|l| !l.starts_with(';') && l.contains(" IN MX ")), "{text}");
}

#[test]
fn what_is_as_declared_before_mx_leads_here_is_good_in_any_spelling() {
    let mut case = manual();
    case.facts.keys = Some(vec![key("s1", true)]);
    for (dmarc, there) in [("v=DMARC1;p=quarantine", true), ("v=DMARC1; p=none", true), ("v=DMARC1; p=reject", false)] {
        case.show(&|_, r| match r.purpose {
            Purpose::DMARC => vec![dmarc.into()],
            Purpose::MX => vec![],
            _ => r.values.clone(),
        });
        let planned = case.settled();
        let is = entries(&planned).into_iter().find(|e| e.purpose == Purpose::DMARC).map(|e| e.state);
        assert_eq!(is == Some(RecordState::Ok), there, "{dmarc}: {is:?}");
    }
}
