//! MTA-STS of a live domain, pass by pass: what is learned, what is done, and what the status says.

use super::*;
use crate::kinds::mail_domain::records::desired;
use crate::kinds::mail_domain::status::put;
use mailtenant_api::mail_domain::{MtaStsMode, MtaStsStatus};
use mailtenant_mail::records::MtaStsPolicy;

/// A live domain whose backend names a host for documents.
fn with_host() -> Case {
    let mut case = live();
    Arc::make_mut(&mut case.instance().backend).spec.hosts.well_known = Some("wellknown.test".into());
    case
}

fn sts(case: &Case) -> Option<MtaStsStatus> {
    case.status.dns.as_ref().and_then(|dns| dns.mta_sts.clone())
}

/// What the status would have published for MTA-STS.
fn told(case: &Case) -> Vec<String> {
    let known = case.facts.known.as_ref().unwrap();
    let parents = crate::kinds::mail_domain::parents::check(&case.domain, "acme.test", known).unwrap();
    let all = desired((&case.domain, &case.status), "acme.test", &parents, vec![]);
    all.into_iter().filter(|r| r.purpose == Purpose::MTASTS).flat_map(|r| r.values).collect()
}

/// One pass; what it learned and did. `serves`: what the host of the policy serves.
fn pass(case: &mut Case, serves: &Result<String, String>) -> Vec<String> {
    case.domain.status = Some(case.status.clone());
    (case.facts.policy, case.facts.told) = (None, false);
    let mut story = vec![];
    for _ in 0..10 {
        let Planned { notes, next } = case.plan();
        let mut conditions = Conditions::new(&[], 1, jiff::Timestamp::UNIX_EPOCH);
        notes.into_iter().for_each(|note| put(&mut case.status, &mut conditions, note));
        story.push(said(&next));
        match next {
            Next::Learn(Observation::Policy) => case.facts.policy = Some(serves.clone()),
            Next::Do(Action::TellPolicy) => case.facts.told = true,
            _ => return story,
        }
    }
    panic!("it does not end: {story:?}");
}

#[test]
fn senders_are_told_of_what_is_served_and_of_nothing_else() {
    let mut case = with_host();
    let nobody = Err("connection refused".to_owned());
    assert_eq!(pass(&mut case, &nobody), ["acme.test is live"]);
    assert_eq!((sts(&case), told(&case)), (None, vec![]), "nothing is declared");

    case.domain.spec.dns.mta_sts.mode = MtaStsMode::Enforce;
    assert_eq!(told(&case), ["wellknown.test."], "the host is there before anything is told");
    let story = pass(&mut case, &nobody);
    assert!(story[0].contains("MTA-STS is Testing") && story.len() == 1, "{story:?}");
    let first = sts(&case).unwrap();
    assert_eq!(
        (first.mode, first.id.as_ref(), first.mx.as_slice()),
        (MtaStsMode::Testing, None, &["mx.test".to_owned()][..])
    );

    // The certificate is not there yet.
    let story = pass(&mut case, &nobody);
    assert_eq!(story[0], "learn Policy");
    assert!(
        story[1].contains("https://mta-sts.acme.test/.well-known/mta-sts.txt serves it: connection refused"),
        "{story:?}"
    );
    assert_eq!(told(&case), ["wellknown.test."]);
    // Somebody else's policy, or an old one.
    let other = MtaStsPolicy::new(MtaStsMode::Enforce, ["old.test"], 60).text();
    let story = pass(&mut case, &Ok(other));
    assert!(story[1].contains("serves another policy"), "{story:?}");
    assert_eq!(told(&case), ["wellknown.test."]);

    let testing = first.policy();
    let story = pass(&mut case, &Ok(testing.text()));
    assert_eq!(&story[..2], ["learn Policy", "do TellPolicy"]);
    assert_eq!(told(&case), ["wellknown.test.".to_owned(), format!("v=STSv1; id={};", testing.id())]);

    // Then the strict one: its file, and its record when the file was seen.
    pass(&mut case, &nobody);
    let strict = sts(&case).unwrap();
    assert_eq!((strict.mode, strict.id), (MtaStsMode::Enforce, Some(testing.id())));
    let strict = sts(&case).unwrap().policy();
    let story = pass(&mut case, &Ok(testing.text()));
    assert!(story[1].contains("serves another policy"), "one replica is behind: {story:?}");
    let story = pass(&mut case, &Ok(strict.text()));
    assert_eq!(&story[..2], ["learn Policy", "do TellPolicy"]);
    assert_eq!(told(&case)[1], format!("v=STSv1; id={};", strict.id()));
    assert_eq!(pass(&mut case, &nobody), ["acme.test is live"], "at rest nobody is asked");
}

#[test]
fn a_record_of_somebody_else_keeps_the_policy_mild() {
    let mut case = with_host();
    case.domain.spec.dns.mta_sts.mode = MtaStsMode::Enforce;
    let taken = record("_mta-sts.acme.test", "TXT", Purpose::MTASTS, RecordState::Conflict);
    case.status.dns.as_mut().unwrap().records.push(taken);
    pass(&mut case, &Err("not asked".into()));
    let testing = sts(&case).unwrap().policy();
    for _ in 0..3 {
        pass(&mut case, &Ok(testing.text()));
    }
    let held = sts(&case).unwrap();
    assert_eq!(held.mode, MtaStsMode::Testing);
    assert!(held.message.is_some_and(|m| m.contains("see status.dns.records")));
}

#[test]
fn nothing_is_served_before_mx_leads_here() {
    let mut case = with_host();
    case.domain.spec.dns.mta_sts.mode = MtaStsMode::Testing;
    (case.status.state, case.status.dns) = (Some(DomainState::Provisioned), journal(false));
    case.facts.declared = Some(Declared::default());
    pass(&mut case, &Err("not asked".into()));
    assert_eq!(sts(&case), None);
}

#[test]
fn mx_goes_to_a_new_host_when_senders_know_of_it() {
    let mut case = with_host();
    case.domain.spec.dns.mta_sts.mode = MtaStsMode::Enforce;
    let policy = |hosts: &[&str]| MtaStsPolicy::new(MtaStsMode::Enforce, hosts.iter().copied(), 604_800);
    let told = policy(&["mx.test"]);
    let (mode, mx) = (told.mode(), told.mx().to_vec());
    case.status.dns.as_mut().unwrap().mta_sts =
        Some(MtaStsStatus { mode, mx, max_age: 604_800, id: Some(told.id()), ..MtaStsStatus::default() });
    Arc::make_mut(&mut case.instance().backend).spec.hosts.mx[0].host = "new.test".into();
    let story = pass(&mut case, &Err("not yet".into()));
    assert_eq!(story, ["wait AwaitingAcceptance DNSPublished"]);
    assert_eq!(sts(&case).unwrap().mx, ["mx.test", "new.test"], "both are in it meanwhile");
    let both = policy(&["mx.test", "new.test"]);
    let story = pass(&mut case, &Ok(both.text()));
    assert_eq!(story, ["learn Policy", "do TellPolicy", "wait AwaitingAcceptance DNSPublished"]);
    let story = pass(&mut case, &Err("not asked".into()));
    assert_eq!(story, ["learn NewMxTurn"], "now it is tried");
}
