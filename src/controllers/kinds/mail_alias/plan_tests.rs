use super::*;
use crate::fixtures::{self, at, everything};
use mailtenant_groupware::{DomainName, Origin, TenantId, Uid};
use serde_json::{Value, json};

fn facts(instance: Value, targets: Vec<Target>) -> Facts {
    Facts {
        domain: fixtures::domain(instance),
        tenant: TenantId::new("i-0000"),
        label: "GroupwareBackend b".into(),
        capabilities: everything(),
        address: at("info@acme.test"),
        verdict: Verdict::Fits,
        targets,
        row: None,
        own_domains: [DomainName::from_server("acme.test")].into(),
        mail_loop: vec![],
        nobody: vec![],
    }
}
fn mail_loop() -> Vec<String> {
    ["info@acme.test", "a@acme.test", "info@acme.test"].map(String::from).into()
}
fn alice() -> Vec<Target> {
    vec![Target::Mailbox(at("alice@acme.test"))]
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
        (
            Facts { mail_loop: mail_loop(), ..facts(json!({}), vec![Target::Address("a@acme.test".into())]) },
            Reason::InvalidSpec,
        ),
        (
            Facts {
                nobody: vec![at("ghost@acme.test")],
                ..facts(json!({}), vec![Target::Address("Ghost@acme.test".into())])
            },
            Reason::InvalidSpec,
        ),
        (Facts { capabilities: [].into(), ..facts(json!({}), alice()) }, Reason::Unsupported),
    ];
    for (f, reason) in cases {
        let alias = fixtures::alias(if f.capabilities.is_empty() { json!({"sendAs": true}) } else { json!({}) });
        let not_ready = plan(&alias, &f).unwrap_err();
        assert_eq!(not_ready.reason, reason, "{}", not_ready.message);
        assert!(not_ready.message.contains(':'), "no next step: {}", not_ready.message);
    }
    let f = facts(json!({"externalForwarding": "Allow"}), outside());
    assert_eq!(plan(&fixtures::alias(json!({})), &f).unwrap().settings.targets, ["x@other.example"]);
}

#[test]
fn an_alias_that_is_there_is_not_led_into_a_mail_loop() {
    let mut f = facts(json!({}), alice());
    let settings = plan(&fixtures::alias(json!({})), &f).unwrap().settings;
    let owner = Some(Uid::new("uid-info"));
    f.row = Some(AliasRow {
        address: f.address.clone(),
        owner,
        origin: Origin::parse(None, "t/info"),
        adopted: false,
        settings,
        effects_due: false,
    });
    f.targets = vec![Target::Address("a@acme.test".into())];
    f.mail_loop = mail_loop();
    let p = plan(&fixtures::alias(json!({})), &f).unwrap();
    assert_eq!(p.settings.targets, ["alice@acme.test"], "mail goes where it went");
    let message = p.not_ready.unwrap().message;
    assert!(message.contains("info@acme.test -> a@acme.test -> info@acme.test"), "{message}");
}

/// What is refused of an alias that is there is refused alone: everything else is carried out.
#[test]
fn what_can_be_is_carried_out_for_an_alias_that_is_there() {
    let outside = || Target::Address("x@other.example".into());
    let bob = || Target::Mailbox(at("bob@acme.test"));
    type Case = (&'static str, Vec<Target>, &'static [&'static str], Reason, &'static [&'static str], bool);
    let cases: Vec<Case> = vec![
        (
            "a target that is not allowed any more",
            vec![alice().remove(0), outside()],
            &["alice@acme.test", "x@other.example"],
            Reason::ExternalForwardingDenied,
            &["alice@acme.test"],
            true,
        ),
        (
            "nobody is left: off",
            vec![outside()],
            &["alice@acme.test", "x@other.example"],
            Reason::ExternalForwardingDenied,
            &["x@other.example"],
            false,
        ),
        (
            "one is denied and one is not ready: the others keep their mail",
            vec![bob(), Target::NotReady("carol".into()), outside()],
            &["alice@acme.test", "x@other.example"],
            Reason::ExternalForwardingDenied,
            &["alice@acme.test"],
            true,
        ),
        (
            "one is not there yet: nothing changes",
            vec![Target::NoMailbox("carol".into())],
            &["alice@acme.test"],
            Reason::MailboxNotFound,
            &["alice@acme.test"],
            true,
        ),
        (
            "the only one is denied, and another one is not there yet",
            vec![Target::NoMailbox("carol".into()), outside()],
            &["x@other.example"],
            Reason::ExternalForwardingDenied,
            &["x@other.example"],
            false,
        ),
    ];
    for (name, targets, has, reason, want, active) in cases {
        let mut f = facts(json!({}), targets);
        let list = |l: &[&str]| l.iter().map(|t| at(t)).collect::<Vec<_>>();
        let settings = AliasSettings { targets: list(has), send_as: true, display_name: String::new(), active: true };
        f.row = Some(AliasRow {
            address: f.address.clone(),
            owner: Some(Uid::new("uid-info")),
            origin: Origin::parse(None, "t/info"),
            adopted: false,
            settings,
            effects_due: false,
        });
        let p = plan(&fixtures::alias(json!({})), &f).unwrap();
        assert_eq!((p.settings.targets.clone(), p.settings.active), (list(want), active), "{name}");
        assert_eq!(p.not_ready.as_ref().map(|h| h.reason), Some(reason), "{name}");
        // Once it was carried out there is nothing more to do, and it is still said.
        let row = f.row.take().map(|r| AliasRow { settings: p.settings, ..r });
        let again = plan(&fixtures::alias(json!({})), &Facts { row, ..f }).unwrap();
        assert!(again.settled && again.not_ready.is_some(), "{name}: {again:?}");
    }
}

#[test]
fn there_is_nothing_to_do_only_for_our_own_equal_row() {
    let alias = fixtures::alias(json!({}));
    let mut f = facts(json!({}), alice());
    let settings = plan(&alias, &f).unwrap().settings;
    let row = AliasRow {
        address: f.address.clone(),
        owner: Some(Uid::new("uid-info")),
        origin: Origin::parse(None, "t/info"),
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
