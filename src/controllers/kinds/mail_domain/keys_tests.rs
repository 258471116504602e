//! Keys, as tables.

use super::*;
use mailtenant_groupware::Uid;

fn key(selector: &str, algorithm: DkimAlgorithm, active: bool) -> DkimRow {
    let owner = Some(Uid::new("uid"));
    DkimRow { selector: Selector::new(selector), owner, algorithm, public: String::new(), active, created: None }
}

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

#[test]
fn the_newest_is_the_one_that_was_made_last_and_never_another_ones() {
    use DkimAlgorithm::RSA2048;
    let foreign = DkimRow { owner: None, ..key("zz", RSA2048, true) };
    let made = vec![key("s202611r9", RSA2048, true), key("s202611r10", RSA2048, false), foreign.clone()];
    let (mine, others) = ours(&made, "uid");
    assert_eq!((newest(&mine, &[RSA2048]), others), (vec![Selector::new("s202611r10")], vec![foreign]));
}

#[test]
fn keys_are_made_once_and_anew_only_when_asked() {
    use DkimAlgorithm::{Ed25519, RSA2048};
    let both = [RSA2048, Ed25519];
    let never = |_: &DkimRow| false;
    assert_eq!(missing(&[], &both, never), both);
    let keys = [key("a", RSA2048, true), key("b", Ed25519, true)];
    assert!(missing(&keys, &both, never).is_empty());
    let asked = |k: &DkimRow| ["a", "b"].contains(&k.selector.as_str());
    assert_eq!(missing(&keys, &both, asked), both);
    let crashed = [key("a", RSA2048, true), key("b", Ed25519, true), key("c", RSA2048, false)];
    assert_eq!(missing(&crashed, &both, asked), [Ed25519], "the one that a crash left is used");
    assert_eq!(newest(&crashed, &both), ["c", "b"]);
}

#[test]
fn who_only_looks_sees_that_a_declared_algorithm_does_not_sign() {
    use DkimAlgorithm::{Ed25519, RSA2048};
    let see = |keys: &[DkimRow], algorithms: Option<&[DkimAlgorithm]>| {
        let (signing, lacks) = observed(keys.to_vec(), algorithms.map(<[_]>::to_vec), "acme.test");
        (signing.into_iter().map(|k| k.selector).collect::<Vec<_>>().join(" "), lacks)
    };
    let (rsa, ed) = (key("Mail2024", RSA2048, true), key("e", Ed25519, true));
    assert_eq!(see(&[rsa.clone(), ed.clone()], Some(&[RSA2048, Ed25519])), ("Mail2024 e".into(), false));
    assert_eq!(see(&[rsa.clone(), ed.clone()], Some(&[RSA2048])), ("Mail2024 e".into(), false));
    let idle = DkimRow { active: false, ..ed };
    assert_eq!(see(&[rsa.clone(), idle], Some(&[RSA2048, Ed25519])), ("Mail2024".into(), true));
    assert_eq!(see(&[], Some(&[RSA2048])), (String::new(), true));
    assert_eq!(see(std::slice::from_ref(&rsa), None), ("Mail2024".into(), true), "the server has no such algorithm");
    for odd in ["a b", "a..b", "", "schl\u{fc}ssel", &"x".repeat(64)] {
        let odd = key(odd, RSA2048, true);
        assert_eq!(see(&[rsa.clone(), odd], Some(&[RSA2048])), ("Mail2024".into(), true));
    }
}

#[test]
fn keys_grow_old_by_the_servers_word() {
    let of = |created: Option<&str>| DkimRow { created: created.map(at), ..key("a", DkimAlgorithm::RSA2048, true) };
    let now = at("2026-11-26T12:00:00Z");
    let retired = |at: &str| {
        let (selector, algorithm, state) = ("z".to_owned(), DkimAlgorithm::RSA2048, DkimKeyState::Retiring);
        [DkimKeyStatus { selector, algorithm, state, retired_at: Some(at.into()) }]
    };
    assert!(aged(&of(Some("2025-11-26T12:00:00Z")), &[], "365d", now));
    assert!(!aged(&of(Some("2025-11-26T12:00:01Z")), &[], "365d", now));
    assert!(!aged(&of(Some("2027-01-01T00:00:00Z")), &[], "1d", now), "a clock that goes wrong");
    assert!(!aged(&of(None), &[], "1d", now));
    let new = DkimRow { active: false, ..of(Some("2000-01-01T00:00:00Z")) };
    assert!(!aged(&new, &[], "365d", now), "it does not even sign yet");
    let old = of(Some("2000-01-01T00:00:00Z"));
    assert!(!aged(&old, &retired("2026-11-26T11:00:00Z"), "365d", now), "it replaced one just now, whatever it says");
    assert!(aged(&old, &retired("2025-11-20T11:00:00Z"), "365d", now));
}

#[test]
fn a_record_stays_until_mail_that_is_on_its_way_has_arrived() {
    let now = at("2026-11-26T12:00:00Z");
    let told = |retired_at: Option<&str>| {
        let (selector, algorithm, state) = ("a".to_owned(), DkimAlgorithm::RSA2048, DkimKeyState::Retiring);
        vec![DkimKeyStatus { selector, algorithm, state, retired_at: retired_at.map(str::to_owned) }]
    };
    let idle = key("a", DkimAlgorithm::RSA2048, false);
    assert!(done_with(&idle, &told(Some("2026-11-12T12:00:00Z")), now));
    assert!(!done_with(&idle, &told(Some("2026-11-12T12:00:01Z")), now));
    assert!(!done_with(&idle, &told(None), now));
    assert!(!done_with(&idle, &[], now), "nobody knows since when");
    let signs = key("a", DkimAlgorithm::RSA2048, true);
    assert!(!done_with(&signs, &told(Some("2020-01-01T00:00:00Z")), now), "it signs, whatever the status says");
}

/// A domain whose status shows these keys, with a wish for new ones and the wish that was handled last.
fn domain(known: &[DkimKeyStatus], wish: Option<&str>, handled: Option<&str>) -> MailDomain {
    let mut domain = crate::fixtures::managed_domain(serde_json::json!({}));
    domain.metadata.uid = Some("uid".into());
    domain.metadata.annotations = wish.map(|w| [(annotations::ROTATE_DKIM.to_owned(), w.to_owned())].into());
    domain.status = Some(mailtenant_api::MailDomainStatus {
        dkim: known.to_vec(),
        last_handled_rotate_dkim: handled.map(str::to_owned),
        ..Default::default()
    });
    domain
}

fn active(selector: &str) -> DkimKeyStatus {
    let (algorithm, state) = (DkimAlgorithm::RSA2048, DkimKeyState::Active);
    DkimKeyStatus { selector: selector.into(), algorithm, state, retired_at: None }
}

#[test]
fn a_wish_for_new_keys_replaces_those_that_were_there_once() {
    use DkimAlgorithm::RSA2048;
    let now = at("2026-11-26T12:00:00Z");
    let a = key("a", RSA2048, true);
    let b = key("b", RSA2048, false);
    let signing_b = key("b", RSA2048, true);
    for (keys, known, wish, handled, make, newest) in [
        (vec![], vec![], None, None, true, ""),
        (vec![a.clone()], vec![active("a")], None, None, false, "a"),
        (vec![a.clone()], vec![active("a")], Some("1"), None, true, "a"),
        // The pass made the new one, or a crash left it there.
        (vec![a.clone(), b.clone()], vec![active("a")], Some("1"), None, false, "b"),
        (vec![a.clone(), b.clone()], vec![active("a"), active("b")], Some("1"), Some("1"), false, "b"),
        (vec![a.clone(), signing_b.clone()], vec![active("a"), active("b")], Some("2"), Some("1"), true, "b"),
        // It does not sign yet: it answers the next wish as well.
        (vec![a.clone(), b.clone()], vec![active("a"), active("b")], Some("2"), Some("1"), false, "b"),
        // The first keys of a domain answer a wish that came before them.
        (vec![a.clone()], vec![], Some("1"), None, false, "a"),
    ] {
        let plan = plan(&domain(&known, wish, handled), &keys, &[RSA2048], now);
        assert_eq!(
            (!plan.make.is_empty(), plan.newest.join(" ").as_str()),
            (make, newest),
            "{keys:?} {wish:?} {handled:?}"
        );
    }
}

#[test]
fn whoever_asks_without_a_pause_gets_no_more_keys_than_there_may_be() {
    use DkimAlgorithm::RSA2048;
    let now = at("2026-11-26T12:00:00Z");
    let (mut keys, mut known) = (vec![key("k0", RSA2048, true)], vec![active("k0")]);
    for wish in 1..20 {
        let seen = domain(&known, Some(&wish.to_string()), Some(&(wish - 1).to_string()));
        let made = plan(&seen, &keys, &[RSA2048], now);
        assert_eq!(made.postponed, keys.len() == MOST, "wish {wish}: {keys:?}");
        assert_eq!(made.make.is_empty(), made.postponed);
        if made.make.is_empty() {
            continue;
        }
        // It is made, shown, signs, and the former one is retired.
        let name = format!("k{wish}");
        keys.iter_mut().for_each(|k| k.active = false);
        for k in &mut known {
            k.retired_at.get_or_insert_with(|| "2026-11-26T12:00:00Z".into());
        }
        keys.push(key(&name, RSA2048, true));
        known.push(active(&name));
    }
    assert_eq!(keys.len(), MOST);
    let later = at("2026-12-11T12:00:00Z");
    let over = plan(&domain(&known, Some("x"), None), &keys, &[RSA2048], later).over;
    assert_eq!(over.len(), MOST - 1, "they go, and there is room again");
}

#[test]
fn a_wish_that_waits_for_one_algorithm_replaces_no_other() {
    use DkimAlgorithm::{Ed25519, RSA2048};
    let now = at("2026-11-26T12:00:00Z");
    let mut keys: Vec<DkimRow> = (0..MOST).map(|n| key(&format!("r{n}"), RSA2048, n + 1 == MOST)).collect();
    let retired = |k: &DkimRow| (!k.active).then(|| "2026-11-26T11:00:00Z".to_owned());
    let status = |k: &DkimRow| DkimKeyStatus { retired_at: retired(k), ..active(&k.selector) };
    let known: Vec<DkimKeyStatus> = keys.iter().map(status).chain([active("e")]).collect();
    let both = [RSA2048, Ed25519];
    let made = plan(&domain(&known, Some("1"), None), &keys, &both, now);
    assert_eq!((made.make, made.postponed), (vec![Ed25519], true), "an algorithm that has none gets one");
    keys.push(key("e", Ed25519, true));
    let made = plan(&domain(&known, Some("1"), None), &keys, &both, now);
    assert_eq!((made.make, made.postponed), (vec![], true));
}

#[test]
fn a_key_that_is_over_gets_no_record_and_one_that_is_the_newest_is_never_over() {
    use DkimAlgorithm::RSA2048;
    let now = at("2026-11-26T12:00:00Z");
    let retired =
        |selector: &str| DkimKeyStatus { retired_at: Some("2026-01-01T00:00:00Z".into()), ..active(selector) };
    let known = [retired("a"), retired("b")];
    let keys = [key("a", RSA2048, false), key("b", RSA2048, false)];
    let plan = plan(&domain(&known, None, None), &keys, &[RSA2048], now);
    assert_eq!((plan.over.join(" ").as_str(), plan.newest.join(" ").as_str()), ("a", "b"));
    assert_eq!(plan.public().into_iter().map(|k| k.selector).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn nothing_signs_before_its_record_shows() {
    use DkimAlgorithm::{Ed25519, RSA2048};
    let record = |selector: &str, state| RecordStatus {
        name: dkim_name(selector, "acme.test"),
        type_: "TXT".into(),
        value: String::new(),
        purpose: mail_domain::Purpose::DKIM,
        state,
        ownership: None,
        term: None,
        edited: false,
        observed: None,
        message: None,
    };
    use RecordState::{Ok as Shown, Propagating};
    let old = key("a", RSA2048, true);
    let (new, ed) = (key("b", RSA2048, false), key("e", Ed25519, false));
    let signing = |k: &DkimRow| DkimRow { active: true, ..k.clone() };
    for (keys, journal, want, why) in [
        (vec![new.clone()], vec![], None, "no record"),
        (vec![new.clone()], vec![record("b", Propagating)], None, "some server does not show it"),
        (vec![new.clone()], vec![record("b", Shown)], Some("b"), "shown"),
        (vec![signing(&new)], vec![record("b", Shown)], None, "it signs already"),
        (vec![new.clone(), ed.clone()], vec![record("b", Shown)], Some("b"), "one is better than none"),
        (
            vec![old.clone(), new.clone(), ed.clone()],
            vec![record("b", Shown)],
            None,
            "the old one goes on until all are",
        ),
        (
            vec![old.clone(), new.clone()],
            vec![record("a", Shown), record("b", Propagating)],
            None,
            "the old one goes on",
        ),
        (vec![old.clone(), new.clone()], vec![record("a", Shown), record("b", Shown)], Some("b"), "and then it ends"),
    ] {
        let newest = newest(&keys, &[RSA2048, Ed25519]);
        let plan = KeyPlan { keys, make: vec![], postponed: false, newest, over: vec![], lost: vec![] };
        let names = |keys: Vec<DkimRow>| keys.iter().map(|k| k.selector.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(signs(&plan, &journal, "acme.test").map(names).as_deref(), want, "{why}");
    }
}

#[test]
fn a_selector_is_never_used_twice() {
    let now = at("2026-11-26T12:00:00Z");
    let of = |known: &[DkimKeyStatus], keys: &[DkimRow]| {
        selector(&domain(known, None, None), keys, DkimAlgorithm::RSA2048, now)
    };
    let first = of(&[], &[]);
    assert_ne!(of(&[], &[key(&first, DkimAlgorithm::RSA2048, true)]), first, "it is there");
    assert_ne!(of(&[active(&first)], &[]), first, "it was there");
}

/// A table that was emptied, or restored from an old backup, takes no public key out of the DNS: mail is on its way.
#[test]
fn the_record_of_a_key_that_the_server_lost_stays_as_long_as_that_of_a_replaced_one() {
    use DkimAlgorithm::RSA2048;
    let (now, name) = (at("2026-11-26T12:00:00Z"), "s202610r._domainkey.acme.test");
    let entry = |name: &str, ownership: &str| {
        serde_json::json!({"name": name, "type": "TXT", "value": "v=DKIM1; k=rsa; p=A", "purpose": "DKIM", "state": "Ok",
            "ownership": ownership})
    };
    let retired = |at: &str| DkimKeyStatus { retired_at: Some(at.into()), ..active("s202610r") };
    let with = |known: &[DkimKeyStatus], entry: serde_json::Value| {
        let mut domain = domain(known, None, None);
        let status = domain.status.get_or_insert_default();
        status.dns = serde_json::from_value(serde_json::json!({"records": [entry]})).unwrap();
        domain
    };
    let ours = || entry(name, "Created");
    for (keys, known, entry, want, why) in [
        (vec![], vec![active("s202610r")], ours(), Some("2026-11-26T12:00:00Z"), "it signed until now"),
        (vec![], vec![], ours(), Some("2026-11-26T12:00:00Z"), "nothing but its record is known"),
        (
            vec![],
            vec![retired("2026-11-20T00:00:00Z")],
            ours(),
            Some("2026-11-20T00:00:00Z"),
            "it was out of use before",
        ),
        (vec![], vec![retired("2026-11-01T00:00:00Z")], ours(), None, "no mail of it is on its way any more"),
        (vec![key("s202610r", RSA2048, true)], vec![active("s202610r")], ours(), None, "it is there"),
        (vec![], vec![active("s202610r")], entry(name, "Observed"), None, "somebody else published it"),
        (vec![], vec![], entry("s1.other.test", "Created"), None, "no key of this domain"),
    ] {
        let plan = plan(&with(&known, entry), &keys, &[RSA2048], now);
        let since = plan.lost.first().map(|key| stamp(key.since));
        assert_eq!(since.as_deref(), want, "{why}");
        assert!(plan.lost.iter().all(|k| k.name == name && k.record(60).values == ["v=DKIM1; k=rsa; p=A"]), "{why}");
        assert!(plan.public().iter().all(|k| k.selector == "s202610r"), "{why}");
    }
}
