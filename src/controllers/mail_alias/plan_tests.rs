use super::super::super::fixtures::{self, EVERYTHING};
use super::*;
use serde_json::{Value, json};

fn facts(instance: Value, targets: Vec<Target>) -> Facts {
    Facts {
        domain: fixtures::domain(instance),
        tenant: "i-0000".into(),
        label: "GroupwareBackend b".into(),
        capabilities: EVERYTHING.iter().map(|c| (*c).to_owned()).collect(),
        address: "info@acme.test".into(),
        verdict: Verdict::Fits,
        targets,
        row: None,
        own_domains: ["acme.test".to_owned()].into(),
    }
}
fn alice() -> Vec<Target> {
    vec![Target::Mailbox("alice@acme.test".into())]
}

#[test]
fn targets_become_addresses_sorted_and_once() {
    let two =
        vec![Target::Address("Bob@ACME.test".into()), alice().remove(0), Target::Address("alice@acme.test".into())];
    let p = plan(&fixtures::alias(json!({})), &facts(json!({}), two)).unwrap();
    assert_eq!(p.settings.targets, ["alice@acme.test", "bob@acme.test"]);
    assert!(p.settings.send_as && !p.settled);
}

#[test]
fn a_catch_all_never_lends_its_addresses() {
    let p = plan(&fixtures::alias(json!({"localPart": "*"})), &facts(json!({}), alice())).unwrap();
    assert!(!p.settings.send_as);
}

#[test]
fn what_is_refused_and_with_which_reason() {
    let outside = || vec![Target::Address("x@other.example".into())];
    let cases: Vec<(Facts, Reason)> = vec![
        (facts(json!({}), vec![Target::NoMailbox("bob".into())]), Reason::MailboxNotFound),
        (facts(json!({}), vec![Target::NotReady("bob".into())]), Reason::MailboxNotReady),
        (facts(json!({}), vec![Target::Stranger("bob".into())]), Reason::InvalidSpec),
        (facts(json!({}), outside()), Reason::ExternalForwardingDenied),
        (facts(json!({}), vec![Target::Address("info@acme.test".into())]), Reason::InvalidSpec),
        (
            Facts { verdict: Verdict::Number { what: "aliases", limit: 1 }, ..facts(json!({}), alice()) },
            Reason::LimitExceeded,
        ),
        (Facts { capabilities: [].into(), ..facts(json!({}), alice()) }, Reason::Unsupported),
    ];
    for (f, reason) in cases {
        let alias = fixtures::alias(if f.capabilities.is_empty() { json!({"sendAs": true}) } else { json!({}) });
        let hold = plan(&alias, &f).unwrap_err();
        assert_eq!(hold.reason, reason, "{}", hold.message);
        assert!(hold.message.contains(':'), "no next step: {}", hold.message);
    }
    let f = facts(json!({"externalForwarding": "Allow"}), outside());
    assert_eq!(plan(&fixtures::alias(json!({})), &f).unwrap().settings.targets, ["x@other.example"]);
}

#[test]
fn there_is_nothing_to_do_only_for_our_own_equal_row() {
    let alias = fixtures::alias(json!({}));
    let mut f = facts(json!({}), alice());
    let settings = plan(&alias, &f).unwrap().settings;
    let row = AliasRow {
        address: f.address.clone(),
        owner: Some("uid-info".into()),
        adopted: false,
        settings,
        effects_due: false,
    };
    f.row = Some(row.clone());
    assert!(plan(&alias, &f).unwrap().settled);
    f.row = Some(AliasRow { owner: None, ..row.clone() });
    assert!(!plan(&alias, &f).unwrap().settled, "not ours");
    f.row = Some(AliasRow { effects_due: true, ..row.clone() });
    assert!(!plan(&alias, &f).unwrap().settled, "a step is still due");
    f.row = Some(AliasRow { settings: AliasSettings { active: false, ..row.settings.clone() }, ..row });
    assert!(!plan(&alias, &f).unwrap().settled, "switched off");
}
