//! Which policy is served, step by step, and what is waited for on the way out.

use super::*;
use crate::fixtures;
use serde_json::json;

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

fn declared(mode: MtaStsMode, max_age: i32) -> mail_domain::MtaSts {
    mail_domain::MtaSts { mode, max_age }
}

fn hosts(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// In short: mode, hosts, time, whether senders are told of it (`+`), until when they may hold `enforce`.
fn short(sts: &Option<MtaStsStatus>) -> String {
    let Some(sts) = sts else { return "nothing".into() };
    let told = match &sts.id {
        None => "untold",
        Some(_) if is_told(sts) => "told",
        Some(_) => "told of another",
    };
    let until = sts.enforced_until.as_ref().map(|until| format!(", held until {until}")).unwrap_or_default();
    format!("{:?} [{}] {} {told}{until}", sts.mode, sts.mx.join(" "), sts.max_age)
}

/// Its host was seen to serve it.
fn told(sts: Option<MtaStsStatus>) -> Option<MtaStsStatus> {
    sts.map(|sts| MtaStsStatus { id: Some(sts.policy().id()), ..sts })
}

#[test]
fn testing_comes_first_and_none_last() {
    use MtaStsMode::*;
    let (mx, begun, later) = (hosts(&["mx1.test"]), at("2026-01-01T00:00:00Z"), at("2026-01-08T00:00:01Z"));
    let enforce = declared(Enforce, 604_800);
    let first = next(Option::None, &enforce, &mx, begun);
    assert_eq!(short(&first), "Testing [mx1.test] 604800 untold");
    assert_eq!(next(first.as_ref(), &enforce, &mx, begun), first, "until it is seen to be served");
    let tried = told(first);
    let strict = next(tried.as_ref(), &enforce, &mx, begun);
    assert_eq!(short(&strict), "Enforce [mx1.test] 604800 told of another", "the file first, then the record");
    let strict = told(strict);
    assert_eq!(next(strict.as_ref(), &enforce, &mx, begun), strict, "at rest");
    // Another mail server: in the policy at once, and it stays as strict as it was.
    let both = next(strict.as_ref(), &enforce, &hosts(&["mx1.test", "mx2.test"]), begun);
    assert_eq!(short(&both), "Enforce [mx1.test mx2.test] 604800 told of another");
    // Back: senders may hold it for as long as it said.
    let none = next(strict.as_ref(), &declared(None, 604_800), &mx, begun);
    let held = "held until 2026-01-08T00:00:00Z";
    assert_eq!(short(&none), format!("None [] 86400 told of another, {held}"));
    let none = told(none);
    let no_more = |now| next(none.as_ref(), &declared(None, 604_800), &mx, now);
    assert_eq!(no_more(at("2026-01-07T00:00:00Z")), none, "nothing moves by itself");
    assert_eq!(no_more(later), Option::None);
    // It was never told that there is none, so it stays.
    let untold = next(strict.as_ref(), &declared(None, 604_800), &mx, begun);
    assert_eq!(short(&next(untold.as_ref(), &declared(None, 604_800), &mx, later)), "None [] 86400 told of another");
    // From testing it is over as soon as senders are told.
    let none = next(tried.as_ref(), &declared(None, 604_800), &mx, begun);
    assert_eq!(short(&none), "None [] 86400 told of another");
    assert_eq!(next(told(none).as_ref(), &declared(None, 604_800), &mx, begun), Option::None);
    // Nobody was told of anything.
    let untold = next(Option::None, &declared(Testing, 60), &mx, begun);
    assert_eq!(next(untold.as_ref(), &declared(None, 60), &mx, begun), Option::None);
}

#[test]
fn a_strict_policy_is_remembered_for_its_time_whatever_comes_after_it() {
    use MtaStsMode::*;
    let (mx, begun) = (hosts(&["mx1.test"]), at("2026-01-01T00:00:00Z"));
    let strict =
        told(Some(MtaStsStatus { mode: Enforce, mx: vec!["mx1.test".into()], max_age: 1000, ..Default::default() }));
    for (mode, max_age, want) in [
        (Enforce, 1000, "Enforce [mx1.test] 1000 told"),
        (Enforce, 2000, "Enforce [mx1.test] 2000 told of another"),
        (Enforce, 10, "Enforce [mx1.test] 10 told of another, held until 2026-01-01T00:16:40Z"),
        (Testing, 1000, "Testing [mx1.test] 1000 told of another, held until 2026-01-01T00:16:40Z"),
        (None, 1000, "None [] 1000 told of another, held until 2026-01-01T00:16:40Z"),
    ] {
        assert_eq!(short(&next(strict.as_ref(), &declared(mode, max_age), &mx, begun)), want);
    }
    // A longer time that was said before counts.
    let before = strict.map(|s| MtaStsStatus { enforced_until: Some("2026-01-02T00:00:00Z".into()), ..s });
    let none = next(before.as_ref(), &declared(None, 1000), &mx, begun);
    assert_eq!(short(&none), "None [] 1000 told of another, held until 2026-01-02T00:00:00Z");
    // Nobody serves anything any more: the record goes, what senders hold stays known.
    let gone = next(before.as_ref(), &declared(Enforce, 1000), &BTreeSet::new(), begun);
    assert_eq!(short(&gone), "None [] 1000 untold, held until 2026-01-02T00:00:00Z");
    let over = next(gone.as_ref(), &declared(Enforce, 1000), &BTreeSet::new(), at("2026-01-03T00:00:00Z"));
    assert_eq!(over, Option::None);
}

#[test]
fn on_the_way_out_only_those_wait_who_would_lose_mail() {
    let now = at("2026-01-01T00:00:00Z");
    let old = |values: &[&str]| PreviousMx { values: values.iter().map(|v| (*v).to_owned()).collect(), ttl: 60 };
    for (mode, on_delete, previous, waits, why) in [
        ("Enforce", "RestorePrevious", Some(old(&["5 old.test."])), true, "senders would not deliver to the old one"),
        ("Enforce", "RestorePrevious", Some(old(&["5 mx1.test."])), false, "it goes back to one that the policy names"),
        ("Enforce", "RestorePrevious", Some(old(&["0 ."])), false, "nobody takes mail then"),
        ("Enforce", "RestorePrevious", Some(old(&[])), false, "nobody takes mail then"),
        ("Enforce", "RestorePrevious", None, false, "MX was never ours"),
        ("Enforce", "NullMX", Some(old(&["5 old.test."])), false, "nobody takes mail then"),
        ("Enforce", "Remove", Some(old(&["5 old.test."])), false, "nobody takes mail then"),
        ("Testing", "RestorePrevious", Some(old(&["5 old.test."])), false, "senders deliver all the same"),
    ] {
        let dns = json!({"mode": "Managed", "backendRef": {"name": "n"}, "onDelete": on_delete});
        let domain = fixtures::managed_domain(json!({"dns": dns}));
        let sts = json!({"mode": mode, "mx": ["mx1.test"], "maxAge": 3600, "id": "a"});
        let mut status: MailDomainStatus = serde_json::from_value(json!({"dns": {"mtaSts": sts}})).unwrap();
        let none = leaving(&domain, &status, previous.as_ref(), (now, now));
        assert_eq!(none.is_some(), waits, "{mode} {on_delete}: {why}");
        let Some(none) = none else { continue };
        assert_eq!((none.mode, none.enforced_until.as_deref()), (MtaStsMode::None, Some("2026-01-01T01:00:00Z")));
        status.dns.as_mut().unwrap().mta_sts = Some(none.clone());
        let half = leaving(&domain, &status, previous.as_ref(), (now, at("2026-01-01T02:00:00Z")));
        assert_eq!(half, Some(none), "the time is set once, and over by the earlier clock");
        let over = at("2026-01-01T01:00:00Z");
        assert_eq!(leaving(&domain, &status, previous.as_ref(), (over, over)), None, "it is over");
        for forged in ["soon", "9999-01-01T00:00:00Z"] {
            status.dns.as_mut().unwrap().mta_sts.as_mut().unwrap().enforced_until = Some(forged.into());
            assert_eq!(leaving(&domain, &status, previous.as_ref(), (now, now)), None, "{forged}");
        }
    }
}

#[test]
fn an_id_that_is_none_is_never_published() {
    let mut backend = fixtures::domain(json!({})).instance.backend.as_ref().clone();
    let dns = json!({"mode": "Managed", "backendRef": {"name": "n"}, "mtaSts": {"mode": "Testing"}});
    let domain = fixtures::managed_domain(json!({"dns": dns}));
    let status = |id: &str| -> MailDomainStatus {
        serde_json::from_value(json!({"dns": {"mtaSts": {"mode": "Testing", "maxAge": 60, "id": id}}})).unwrap()
    };
    assert_eq!(published(&domain, &status("a1"), &backend), None, "nobody serves it");
    backend.spec.hosts.well_known = Some("wellknown.test".into());
    let id = |status: &MailDomainStatus| published(&domain, status, &backend).and_then(|sts| sts.id);
    assert_eq!(id(&status("a1")).as_deref(), Some("a1"));
    for bad in ["", "a b", "a; rua=x", &"a".repeat(33)] {
        assert_eq!(id(&status(bad)), None, "{bad:?}");
    }
    let untold = published(&domain, &MailDomainStatus::default(), &backend);
    assert_eq!(
        untold,
        Some(MtaSts { served_at: "wellknown.test".into(), id: None }),
        "the host comes before the record"
    );
    let quiet = fixtures::managed_domain(json!({}));
    assert_eq!(published(&quiet, &MailDomainStatus::default(), &backend), None);
    assert!(published(&quiet, &status("a1"), &backend).is_some(), "until senders are told that there is none");
}

#[test]
fn a_forged_time_is_no_longer_than_a_policy_may_last() {
    let now = at("2026-01-01T00:00:00Z");
    let before = MtaStsStatus { mode: MtaStsMode::Enforce, max_age: i64::MAX, ..Default::default() };
    let until = held_until(&before, MtaStsMode::None, NONE_KEPT, (now, now));
    assert_eq!(until.as_deref(), Some("2027-01-01T06:00:00Z"), "a year (RFC 8461, 3.2)");
}
