use super::super::facts::{Recovery, client_settings};
use super::super::forwards;
use super::*;
use crate::fixtures::{self, at, everything};
use mailtenant_groupware::{Address, DomainName, Origin, TenantId, Uid};
use serde_json::{Value, json};

fn facts(instance: Value) -> Facts {
    let domain = fixtures::domain(instance);
    let settings = client_settings(&domain.instance.backend, &at("alice@acme.test"), mailbox::Access::default());
    Facts {
        tenant: TenantId::new("i-0000"),
        label: "GroupwareBackend b".into(),
        capabilities: everything(),
        address: at("alice@acme.test"),
        verdict: Verdict::Fits,
        within_storage: true,
        quota: 1 << 30,
        row: None,
        recovery: Recovery { consents: false, whose: Ok(None) },
        credentials: SecretSeen::Missing,
        source: None,
        own_domains: [DomainName::from_server("acme.test")].into(),
        mail_loop: vec![],
        nobody: vec![],
        holders: Default::default(),
        gone: Default::default(),
        settings,
        domain,
    }
}

/// The plan of a mailbox that is not only looked at.
fn plan(mailbox: &Mailbox, facts: &Facts) -> Result<Ensure, NotReady> {
    match super::plan(mailbox, facts)? {
        Plan::Ensure(plan) => Ok(*plan),
        Plan::Observe(seen) => panic!("only looked at: {seen:?}"),
    }
}

fn observe(mailbox: &Mailbox, facts: &Facts) -> Observation {
    match super::plan(mailbox, facts) {
        Ok(Plan::Observe(seen)) => seen,
        other => panic!("not only looked at: {other:?}"),
    }
}

impl Ensure {
    fn settled(&self) -> bool {
        self.row == RowPlan::Ours { settled: true }
    }
    fn hands_over(&self) -> bool {
        self.password != PasswordPlan::Keep
    }
    fn forces(&self) -> bool {
        self.password == PasswordPlan::Force
    }
    fn recreates(&self) -> bool {
        matches!(self.row, RowPlan::Lost { .. })
    }
    fn former(&self) -> Option<&str> {
        match &self.row {
            RowPlan::Lost { former } => former.as_deref(),
            _ => None,
        }
    }
}

fn own(facts: &Facts, source: &Source) -> SecretSeen {
    let mark = Some(settings_mark(&facts.settings, source));
    SecretSeen::Own {
        version: "s/1".into(),
        mark,
        rotated_for: None,
        checked: false,
        without_password: false,
        password_of: None,
    }
}

/// The row as a server has it after the plan was carried out.
fn row(plan: &Ensure) -> MailboxRow {
    MailboxRow {
        address: at("alice@acme.test"),
        id: "store-1".into(),
        owner: Some(Uid::new("uid-alice")),
        origin: Origin::parse(None, "t/alice"),
        adopted: false,
        settings: plan.settings.clone(),
        password_version: Some("s/1".into()),
        password_drifted: false,
        effects_due: false,
        removing: false,
        used: 0,
    }
}

#[test]
fn a_new_mailbox_gets_a_secret_and_a_password_and_then_there_is_nothing_to_do() {
    let m = fixtures::mailbox(json!({}), json!({}));
    let mut f = facts(json!({}));
    let first = plan(&m, &f).unwrap();
    assert_eq!(
        (first.secret, first.hands_over(), first.settled(), first.recreates()),
        (SecretAction::Create, true, false, false)
    );
    assert_eq!(first.settings.quota, 1 << 30);
    f.credentials = own(&f, &Source::Generated);
    f.row = Some(row(&first));
    let again = plan(&m, &f).unwrap();
    assert_eq!((again.secret, again.hands_over(), again.settled()), (SecretAction::Keep, false, true));
}

#[test]
fn what_makes_a_pass_write() {
    type Case = (&'static str, Value, fn(&mut Facts), fn(&Ensure) -> bool);
    let cases: &[Case] = &[
        ("as declared", json!({}), |_| {}, |p| p.settled() && !p.hands_over()),
        ("display name", json!({"displayName": "Alice"}), |_| {}, |p| !p.settled() && !p.hands_over()),
        ("quota", json!({}), |f| f.quota = 2 << 30, |p| !p.settled() && p.settings.quota == 2 << 30),
        ("suspended", json!({"suspend": "Login"}), |_| {}, |p| !p.settled() && !p.settings.login && p.settings.receive),
        ("refused", json!({"suspend": "All"}), |_| {}, |p| !p.settings.login && !p.settings.receive),
        ("a due effect", json!({}), |f| f.row.as_mut().unwrap().effects_due = true, |p| !p.settled()),
        ("removal had begun", json!({}), |f| f.row.as_mut().unwrap().removing = true, |p| !p.settled()),
        (
            "somebody else's row",
            json!({}),
            |f| f.row.as_mut().unwrap().owner = None,
            |p| !p.settled() && p.hands_over(),
        ),
        (
            "secret changed",
            json!({}),
            |f| f.row.as_mut().unwrap().password_version = None,
            |p| p.settled() && p.hands_over() && !p.forces(),
        ),
        (
            "user's own password",
            json!({}),
            |f| f.row.as_mut().unwrap().password_drifted = true,
            |p| p.settled() && !p.hands_over(),
        ),
        (
            "enforced password",
            json!({"password": {"management": "Enforce"}}),
            |f| f.row.as_mut().unwrap().password_drifted = true,
            |p| p.hands_over() && p.forces(),
        ),
        (
            "hosts changed",
            json!({}),
            |f| f.settings.webmail = Some("https://new".into()),
            |p| p.secret == SecretAction::Update,
        ),
        (
            "forward inside",
            json!({"forwarding": {"to": ["bob@acme.test"]}}),
            |_| {},
            |p| p.settings.forward_to == ["bob@acme.test"],
        ),
    ];
    for (name, spec, change, check) in cases {
        let mut f = facts(json!({}));
        f.row = Some(row(&plan(&fixtures::mailbox(json!({}), json!({})), &f).unwrap()));
        f.credentials = own(&f, &Source::Generated);
        change(&mut f);
        let p = plan(&fixtures::mailbox(spec.clone(), json!({})), &f).unwrap();
        assert!(check(&p), "{name}: {p:?}");
    }
}

#[test]
fn what_is_refused_and_with_which_reason() {
    type Case = (Value, fn(&mut Facts), Reason);
    let cases: &[Case] = &[
        (json!({"autoReply": {"subject": "a", "message": "b"}}), |_| {}, Reason::Unsupported),
        (json!({"sendAccessDataTo": ["a@b.example"]}), |_| {}, Reason::Unsupported),
        (json!({"suspend": "Login"}), |f| f.capabilities.clear(), Reason::Unsupported),
        (json!({"forwarding": {"to": ["x@other.example"]}}), |_| {}, Reason::ExternalForwardingDenied),
        (json!({"forwarding": {"to": ["alice@acme.test"]}}), |_| {}, Reason::InvalidSpec),
        (
            json!({"forwarding": {"to": ["ghost@acme.test"]}}),
            |f| f.nobody = vec![at("ghost@acme.test")],
            Reason::InvalidSpec,
        ),
        (
            json!({"forwarding": {"to": ["bob@acme.test"], "keepCopy": false}}),
            |f| f.mail_loop = ["alice@acme.test", "bob@acme.test", "alice@acme.test"].map(String::from).into(),
            Reason::InvalidSpec,
        ),
        (
            json!({}),
            |f| f.address = Address::from_server(format!("alice@{}.test", "a.".repeat(122))),
            Reason::InvalidSpec,
        ),
        (json!({}), |f| f.credentials = SecretSeen::Foreign, Reason::SecretNotOwned),
        (json!({"password": {"secretRef": {"name": "p", "key": "k"}}}), |_| {}, Reason::SecretNotFound),
        (json!({}), |f| f.verdict = Verdict::Number { what: "mailboxes", limit: 1 }, Reason::LimitExceeded),
        (json!({}), |f| f.verdict = Verdict::Storage { wanted: 2, free: 1, booked: 1 }, Reason::QuotaExceeded),
    ];
    for (spec, change, reason) in cases {
        let mut f = facts(json!({}));
        change(&mut f);
        let not_ready = plan(&fixtures::mailbox(spec.clone(), json!({})), &f).unwrap_err();
        assert_eq!(not_ready.reason, *reason, "{spec}: {}", not_ready.message);
        assert!(
            not_ready.message.contains(':') && !not_ready.message.ends_with(':'),
            "no next step: {}",
            not_ready.message
        );
    }
}

/// What is refused of a mailbox that is there is refused alone: everything else is carried out.
#[test]
fn what_can_be_is_carried_out_for_a_mailbox_that_is_there() {
    type Case = (&'static str, Value, fn(&mut Facts), Reason, fn(&Ensure) -> bool);
    let deny = |f: &mut Facts| f.domain = fixtures::domain(json!({"externalForwarding": "Deny"}));
    let cases: &[Case] = &[
        (
            "autoReply",
            json!({"suspend": "All", "autoReply": {"subject": "a", "message": "b"}}),
            |_| {},
            Reason::Unsupported,
            |p| !p.settings.login && !p.settings.receive && !p.settled(),
        ),
        (
            "sign-in alone cannot be switched off",
            json!({"suspend": "Login", "displayName": "New"}),
            |f| {
                f.capabilities.remove(&Capability::Suspend);
            },
            Reason::Unsupported,
            |p| p.settings.login && p.settings.receive && p.settings.display_name == "New",
        ),
        (
            "protocols",
            json!({"suspend": "All", "access": {"imap": false}}),
            |f| {
                f.capabilities.remove(&Capability::ProtocolAccess);
            },
            Reason::Unsupported,
            |p| p.settings.access == mailbox::Access::default() && !p.settings.receive,
        ),
        (
            "no forwarding at all",
            json!({"forwarding": {"to": ["bob@acme.test"], "keepCopy": false}}),
            |f| {
                f.capabilities.remove(&Capability::Forwarding);
            },
            Reason::Unsupported,
            |p| p.settings.forward_to.is_empty() && p.settings.keep_copy,
        ),
        (
            "hashes",
            json!({"suspend": "All", "password": {"hashSecretRef": {"name": "p", "key": "k"}}}),
            |f| {
                f.capabilities.remove(&Capability::HashedPasswords);
                f.source = Some("p/7".into());
            },
            Reason::Unsupported,
            |p| !p.hands_over() && !p.settings.receive,
        ),
        (
            "a forward that is not allowed any more",
            json!({"suspend": "All", "forwarding": {"to": ["bob@acme.test", "x@other.example"], "keepCopy": false}}),
            deny,
            Reason::ExternalForwardingDenied,
            |p| p.settings.forward_to == ["bob@acme.test"] && p.settings.keep_copy && !p.settings.receive,
        ),
        (
            "a forward to itself",
            json!({"forwarding": {"to": ["alice@acme.test"], "keepCopy": false}}),
            |_| {},
            Reason::InvalidSpec,
            |p| p.settings.forward_to.is_empty() && p.settings.keep_copy,
        ),
        (
            "a mail loop",
            json!({"forwarding": {"to": ["bob@acme.test"], "keepCopy": false}}),
            |f| f.mail_loop = ["alice@acme.test", "bob@acme.test", "alice@acme.test"].map(String::from).into(),
            Reason::InvalidSpec,
            |p| p.settings.forward_to.is_empty() && p.settings.keep_copy,
        ),
        (
            "somebody else's Secret",
            json!({"suspend": "All"}),
            |f| f.credentials = SecretSeen::Foreign,
            Reason::SecretNotOwned,
            |p| !p.settings.receive && !p.hands_over() && p.secret == SecretAction::Keep,
        ),
        (
            "no Secret",
            json!({"suspend": "All", "password": {"secretRef": {"name": "p", "key": "k"}, "management": "Enforce"}}),
            |f| f.row.as_mut().unwrap().password_drifted = true,
            Reason::SecretNotFound,
            |p| !p.settings.receive && !p.hands_over() && !p.forces(),
        ),
        (
            "one too many, and a forbidden forward",
            json!({"forwarding": {"to": ["x@other.example"]}}),
            |f| f.verdict = Verdict::Number { what: "mailboxes", limit: 1 },
            Reason::ExternalForwardingDenied,
            |p| p.settings.forward_to.is_empty() && p.short.as_ref().unwrap().reason == Reason::LimitExceeded,
        ),
    ];
    for (name, spec, change, reason, check) in cases {
        let mut f = facts(json!({}));
        f.row = Some(row(&plan(&fixtures::mailbox(json!({}), json!({})), &f).unwrap()));
        f.credentials = own(&f, &Source::Generated);
        change(&mut f);
        let p = plan(&fixtures::mailbox(spec.clone(), json!({})), &f).unwrap();
        assert_eq!(p.not_ready.as_ref().map(|h| h.reason), Some(*reason), "{name}");
        assert!(check(&p), "{name}: {p:?}");
        // Once it was carried out there is nothing more to do, and it is still said.
        let again = MailboxRow { password_drifted: false, ..row(&p) };
        let again = plan(&fixtures::mailbox(spec.clone(), json!({})), &Facts { row: Some(again), ..f }).unwrap();
        assert!(again.settled() && again.not_ready.is_some(), "{name}: {again:?}");
    }
}

#[test]
fn a_quota_that_does_not_fit_keeps_what_is_there() {
    let m = fixtures::mailbox(json!({"displayName": "New"}), json!({}));
    let mut f = facts(json!({}));
    f.row = Some(row(&plan(&fixtures::mailbox(json!({}), json!({})), &f).unwrap()));
    f.credentials = own(&f, &Source::Generated);
    f.quota = 20 << 30;
    f.verdict = Verdict::Storage { wanted: 20 << 30, free: 10 << 30, booked: 10 << 30 };
    let p = plan(&m, &f).unwrap();
    assert_eq!((p.settings.quota, p.settings.display_name.as_str()), (1 << 30, "New"));
    assert_eq!(p.not_ready.unwrap().reason, Reason::QuotaExceeded);
}

#[test]
fn what_stands_against_a_mailbox_gives_it_no_more_than_it_has() {
    const GI: u64 = 1 << 30;
    let number = Verdict::Number { what: "mailboxes", limit: 1 };
    let storage = Verdict::Storage { wanted: 20 * GI, free: 0, booked: GI };
    // What it has, what it asks for (0 = no bound), what it gets.
    for (name, verdict, within, have, asks, gets, reason) in [
        ("fits", Verdict::Fits, true, GI, 2 * GI, 2 * GI, None),
        ("one too many", number.clone(), true, GI, 100 << 40, GI, Some(Reason::LimitExceeded)),
        ("one too many, and gives back", number.clone(), true, 2 * GI, GI, GI, Some(Reason::LimitExceeded)),
        ("one too many, without a bound", number.clone(), true, GI, 0, GI, Some(Reason::LimitExceeded)),
        ("one too many, bounded at last", number, true, 0, GI, GI, Some(Reason::LimitExceeded)),
        ("no storage left", storage, true, GI, 20 * GI, GI, Some(Reason::QuotaExceeded)),
        ("no bound", Verdict::Unbounded, true, GI, 0, GI, Some(Reason::QuotaExceeded)),
        ("no bound as before", Verdict::Unbounded, true, 0, 0, 0, Some(Reason::QuotaExceeded)),
        // A status that claims a grant: the verdict believes it, the server's row does not.
        ("forged", Verdict::Fits, false, GI, 100 << 40, GI, Some(Reason::QuotaExceeded)),
        ("gives back while all have too much", Verdict::Fits, false, 2 * GI, GI, GI, None),
        ("as it is while all have too much", Verdict::Fits, false, GI, GI, GI, None),
    ] {
        let m = fixtures::mailbox(json!({}), json!({}));
        let mut f = facts(json!({}));
        f.row = Some(row(&plan(&m, &f).unwrap()));
        f.row.as_mut().unwrap().settings.quota = have;
        f.credentials = own(&f, &Source::Generated);
        (f.verdict, f.within_storage, f.quota) = (verdict, within, asks);
        let p = plan(&m, &f).unwrap();
        assert_eq!((p.settings.quota, p.not_ready.map(|n| n.reason)), (gets, reason), "{name}");
    }
    let f = Facts { within_storage: false, ..facts(json!({})) };
    let refused = plan(&fixtures::mailbox(json!({}), json!({})), &f).unwrap_err();
    assert_eq!(refused.reason, Reason::QuotaExceeded, "forged, and not there");
    let status = json!({"status": {"ownership": "Created", "address": "alice@acme.test", "backendId": "store-1", "conditions": []}});
    assert!(plan(&fixtures::mailbox(json!({}), status.clone()), &f).is_ok(), "lost: it gets back what it had");
    let f = Facts { quota: 100 << 40, ..f };
    assert!(plan(&fixtures::mailbox(json!({}), status), &f).is_err(), "but no more than was booked for all");
}

#[test]
fn what_the_server_cannot_do_any_more_stays_as_it_is() {
    let spec = json!({"access": {"imap": false}, "suspend": "Login", "forwarding": {"to": ["bob@acme.test"], "keepCopy": false}});
    let m = fixtures::mailbox(spec, json!({}));
    let mut f = facts(json!({}));
    f.row = Some(row(&plan(&m, &f).unwrap()));
    f.credentials = own(&f, &Source::Generated);
    f.capabilities.clear();
    let p = plan(&m, &f).unwrap();
    assert_eq!(p.settings, f.row.as_ref().unwrap().settings);
    let message = p.not_ready.unwrap().message;
    assert!(["access", "suspend: Login", "forwarding"].iter().all(|w| message.contains(w)), "{message}");
}

#[test]
fn another_key_or_form_of_the_same_secret_is_another_password() {
    let key = |key: &str| SecretKeyRef { name: "s".into(), key: key.into() };
    let all = [
        Source::Plain(key("password")),
        Source::Plain(key("other")),
        Source::Hash(key("password")),
        Source::Hash(key("other")),
    ];
    let tokens: Vec<String> = all.iter().map(|s| super::super::facts::declared("uid/1".into(), s)).collect();
    let different: std::collections::BTreeSet<&String> = tokens.iter().collect();
    assert_eq!(different.len(), all.len(), "{tokens:?}");
    // A generated password that becomes a declared one, by the key that it stands in, is the same.
    assert_eq!(tokens[0], super::super::facts::declared("uid/1".into(), &Source::Generated));
}

#[test]
fn rotation_is_asked_for_once() {
    let wish = json!({"metadata": {"annotations": {"mailtenant.dev/rotate-password": "1"}}});
    let m = fixtures::mailbox(json!({}), wish);
    let mut f = facts(json!({}));
    f.row = Some(row(&plan(&fixtures::mailbox(json!({}), json!({})), &f).unwrap()));
    f.credentials = own(&f, &Source::Generated);
    let p = plan(&m, &f).unwrap();
    assert_eq!((p.secret, p.hands_over()), (SecretAction::Rotate, true));
    let SecretSeen::Own { version, mark, .. } = own(&f, &Source::Generated) else { panic!() };
    f.credentials = SecretSeen::Own {
        version,
        mark,
        rotated_for: Some("1".into()),
        checked: false,
        without_password: false,
        password_of: None,
    };
    assert_eq!(plan(&m, &f).unwrap().secret, SecretAction::Keep);
}

#[test]
fn what_was_there_once_is_made_again_only_with_leave() {
    let status = json!({"ownership": "Created", "address": "alice@acme.test", "backendId": "store-1"});
    let m = fixtures::mailbox(json!({}), json!({"status": status}));
    let mut f = facts(json!({}));
    let p = plan(&m, &f).unwrap();
    assert_eq!((p.recreates(), p.former()), (true, Some("store-1")));
    // what another address was called is not asked for
    f.address = at("alice@other.test");
    assert_eq!(plan(&m, &f).unwrap().former(), None);
    f.address = at("alice@acme.test");
    f.row = Some(row(&p));
    let there = plan(&m, &f).unwrap();
    assert_eq!((there.recreates(), there.former()), (false, None));
    // neither is one that was only looked at
    f.row = None;
    let status = json!({"ownership": "Observed", "address": "alice@acme.test", "backendId": "store-1"});
    let p = plan(&fixtures::mailbox(json!({}), json!({"status": status})), &f).unwrap();
    assert_eq!((p.recreates(), p.former()), (false, None));
}

#[test]
fn observing_writes_nothing_and_tells_what_differs() {
    let m = fixtures::mailbox(json!({"managementPolicy": "Observe", "displayName": "X"}), json!({}));
    let mut f = facts(json!({}));
    let p = observe(&m, &f);
    assert_eq!(p.drift, ["missing"]);
    f.row = Some(row(&plan(&fixtures::mailbox(json!({}), json!({})), &f).unwrap()));
    let p = observe(&m, &f);
    assert_eq!(p.drift, ["displayName"]);
    assert_eq!(p.not_ready.unwrap().reason, Reason::Drifted);
}

/// What a client reads in the Secret is put back after somebody changed it: each version that was not written or read by
/// this process, and that the server does not have the password of, is looked at.
#[test]
fn a_secret_that_somebody_wrote_is_read() {
    let from = SecretKeyRef { name: "text".into(), key: "password".into() };
    for (source, spec) in [
        (Source::Generated, json!({})),
        (Source::Plain(from.clone()), json!({"password": {"secretRef": {"name": "text", "key": "password"}}})),
        (Source::Hash(from), json!({"password": {"hashSecretRef": {"name": "text", "key": "password"}}})),
    ] {
        let m = fixtures::mailbox(spec, json!({}));
        let mut f = facts(json!({}));
        f.source = Some("s/1".into());
        let first = plan(&m, &f).unwrap();
        f.row = Some(row(&first));
        for (version, checked, generated, given) in [
            ("s/1", false, SecretAction::Keep, SecretAction::Check),
            ("s/2", false, SecretAction::Check, SecretAction::Check),
            ("s/1", true, SecretAction::Keep, SecretAction::Keep),
            ("s/2", true, SecretAction::Keep, SecretAction::Keep),
        ] {
            let mark = Some(settings_mark(&f.settings, &source));
            f.credentials = SecretSeen::Own {
                version: version.into(),
                mark,
                rotated_for: None,
                checked,
                without_password: false,
                password_of: None,
            };
            let want = if source == Source::Generated { generated } else { given };
            assert_eq!(plan(&m, &f).unwrap().secret, want, "{source:?} {version} {checked}");
        }
    }
}

#[test]
fn a_generated_password_that_replaces_another_is_told_of() {
    let text = || mailtenant_backend::secret::SecretText::new("x");
    let made = |generated| PasswordWant::Plain { text: text(), generated, version: "s/2".into(), force: false };
    let m = fixtures::mailbox(json!({}), json!({}));
    let mut f = facts(json!({}));
    let new = plan(&m, &f).unwrap();
    assert!(!new.replaces(&made(true)), "a new mailbox had none");
    f.row = Some(row(&new));
    let lost = plan(&m, &f).unwrap();
    assert_eq!(lost.secret, SecretAction::Create);
    assert!(lost.replaces(&made(true)));
    assert!(!lost.replaces(&made(false)), "a person typed it");
    assert!(!lost.replaces(&PasswordWant::Keep));
    assert!(!Ensure { secret: SecretAction::Rotate, ..lost.clone() }.replaces(&made(true)), "it was asked for");
    f.row.as_mut().unwrap().owner = None;
    assert!(plan(&m, &f).unwrap().replaces(&made(true)), "taken over");
}

/// The row of a mailbox that another uid owns, in the same place.
fn predecessors(f: &mut Facts) {
    let mut there = row(&plan(&fixtures::mailbox(json!({}), json!({})), f).unwrap());
    there.owner = Some(Uid::new("old"));
    f.row = Some(there);
    f.recovery = Recovery { consents: true, whose: Ok(Some(Uid::new("old"))) };
}

#[test]
fn what_a_predecessor_had_is_taken_over_with_the_password_that_is_there() {
    let m = fixtures::mailbox(json!({}), json!({}));
    let mut f = facts(json!({}));
    predecessors(&mut f);
    // Its Secret is gone: nobody can read the password, and it stays.
    let p = plan(&m, &f).unwrap();
    assert_eq!((&p.row, p.secret), (&RowPlan::Predecessor(Uid::new("old")), SecretAction::CreateWithoutPassword));
    assert!(!p.hands_over() && !p.recreates() && !p.replaces(&PasswordWant::Keep));
    // It came back: its password is declared, and the server notes that.
    f.credentials = SecretSeen::Predecessor;
    let p = plan(&m, &f).unwrap();
    assert_eq!((p.secret, p.hands_over(), p.not_ready), (SecretAction::TakeOver, true, None));
    // This pass ended in between: the Secret is ours, and known to hold the password of the row.
    let mark = Some(settings_mark(&f.settings, &Source::Generated));
    let own = |password_of: Option<&str>, rotated_for: Option<&str>| SecretSeen::Own {
        version: "s/1".into(),
        mark: mark.clone(),
        rotated_for: rotated_for.map(Into::into),
        checked: true,
        without_password: false,
        password_of: password_of.map(Into::into),
    };
    f.credentials = own(Some("old"), None);
    let p = plan(&m, &f).unwrap();
    assert_eq!((p.secret, p.hands_over()), (SecretAction::Keep, true));
    // Ours all along, as after an etcd went back to before the row's owner: it holds another password than the row, which
    // stays. What nobody can sign in with is not told.
    for of in [None, Some("another")] {
        f.credentials = own(of, None);
        let p = plan(&m, &f).unwrap();
        assert_eq!((p.secret, p.hands_over()), (SecretAction::TakeOutPassword, false), "{of:?}");
    }
    // A wish for a new one goes first.
    let wishes =
        fixtures::mailbox(json!({}), json!({"metadata": {"annotations": {annotations::ROTATE_PASSWORD: "1"}}}));
    let p = plan(&wishes, &f).unwrap();
    assert_eq!((p.secret, p.hands_over()), (SecretAction::Rotate, true));
    // So does one that the Secret has and the server has not: this pass ended in between.
    f.credentials = own(None, Some("1"));
    let p = plan(&wishes, &f).unwrap();
    assert_eq!((p.secret, p.hands_over()), (SecretAction::Rotate, true));
    let status = json!({"lastHandledRotatePassword": "1", "conditions": []});
    let handled = Mailbox { status: serde_json::from_value(status).unwrap(), ..wishes };
    assert_eq!(plan(&handled, &f).unwrap().secret, SecretAction::TakeOutPassword, "it was for another mailbox");
    // Without consent no Secret is made or touched.
    let no = NotReady::stalled(Reason::ExistsAtBackend, "GroupwareBackend b: no");
    f.recovery = Recovery { consents: false, whose: Err(no.clone()) };
    f.credentials = SecretSeen::Missing;
    assert_eq!(plan(&m, &f), Err(no));
}

#[test]
fn the_secret_of_a_predecessor_waits_for_consent() {
    let m = fixtures::mailbox(json!({}), json!({}));
    let mut f = facts(json!({}));
    f.row = Some(row(&plan(&m, &f).unwrap()));
    f.credentials = SecretSeen::Predecessor;
    let p = plan(&m, &f).unwrap();
    let not_ready = p.not_ready.clone().unwrap();
    assert_eq!((p.secret, p.hands_over(), not_ready.reason), (SecretAction::Keep, false, Reason::SecretNotOwned));
    assert!(not_ready.message.contains("spec.recovery of GroupwareBackend b"), "{}", not_ready.message);
    f.recovery.consents = true;
    let p = plan(&m, &f).unwrap();
    assert_eq!((p.secret, p.hands_over(), p.not_ready), (SecretAction::TakeOver, true, None));
}

#[test]
fn a_secret_without_a_password_gets_one_only_when_it_is_wished_for() {
    let mut f = facts(json!({}));
    let m = fixtures::mailbox(json!({}), json!({}));
    f.row = Some(MailboxRow { password_version: Some("dead/1".into()), ..row(&plan(&m, &f).unwrap()) });
    let mark = Some(settings_mark(&f.settings, &Source::Generated));
    let seen = |checked| SecretSeen::Own {
        version: "s/1".into(),
        mark: mark.clone(),
        rotated_for: None,
        checked,
        without_password: true,
        password_of: None,
    };
    for (checked, secret) in [(false, SecretAction::Check), (true, SecretAction::Keep)] {
        f.credentials = seen(checked);
        let p = plan(&m, &f).unwrap();
        assert_eq!((p.secret, p.hands_over()), (secret, false));
    }
    let wish = json!({"metadata": {"annotations": {annotations::ROTATE_PASSWORD: "1"}}});
    let p = plan(&fixtures::mailbox(json!({}), wish), &f).unwrap();
    assert_eq!((p.secret, p.hands_over()), (SecretAction::Rotate, true));
    // The row went meanwhile: a new mailbox needs a password.
    f.row = None;
    let p = plan(&m, &f).unwrap();
    assert_eq!((p.secret, p.hands_over()), (SecretAction::Rotate, true));
}

#[test]
fn a_row_that_does_not_say_where_its_owner_stands_is_written_once() {
    let m = fixtures::mailbox(json!({}), json!({}));
    let mut f = facts(json!({}));
    let there = row(&plan(&m, &f).unwrap());
    for (origin, settled) in [(None, false), (Origin::parse(Some("c"), "t/alice"), true)] {
        f.row = Some(MailboxRow { origin, ..there.clone() });
        assert_eq!(plan(&m, &f).unwrap().settled(), settled);
    }
}

#[test]
fn whose_a_secret_is() {
    use kube::core::PartialObjectMetaExt;
    let m = fixtures::mailbox(json!({}), json!({}));
    let of = |owners: Value, marked: bool| {
        let note = if marked { json!({"mailtenant.dev/settings": "x"}) } else { json!({}) };
        let meta = json!({"name": "alice-mail", "uid": "s", "annotations": note, "ownerReferences": owners});
        let meta: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta = serde_json::from_value(meta).unwrap();
        SecretSeen::of(Some(&meta.into_response_partial()), &m, None)
    };
    let owner = |kind: &str, name: &str, uid: &str| json!([{"apiVersion": API_VERSION, "kind": kind, "name": name, "uid": uid}]);
    assert!(matches!(of(owner("Mailbox", "alice", "uid-alice"), true), SecretSeen::Own { .. }));
    for (owners, marked, predecessor) in [
        (json!([]), true, true),
        (owner("Mailbox", "alice", "old"), true, true),
        // somebody else wrote it
        (json!([]), false, false),
        (owner("Mailbox", "alice", "old"), false, false),
        (owner("Mailbox", "bob", "old"), true, false),
        (owner("MailAlias", "alice", "old"), true, false),
    ] {
        let want = if predecessor { SecretSeen::Predecessor } else { SecretSeen::Foreign };
        assert_eq!(of(owners.clone(), marked), want, "{owners} {marked}");
    }
}

#[test]
fn a_forward_is_for_the_mailbox_that_had_the_address_when_it_began() {
    let to = json!({"forwarding": {"to": ["bob@acme.test"], "keepCopy": false}});
    let (bob, noted) = (at("bob@acme.test"), json!([{"address": "bob@acme.test", "uid": "uid-bob"}]));
    let known =
        |spec: &Value| fixtures::mailbox(spec.clone(), json!({"status": {"forwardsTo": noted, "conditions": []}}));
    let targets = |m: &Mailbox, f: &Facts| serde_json::to_value(forwards::targets(m, f)).unwrap();
    let mut f = facts(json!({}));
    assert_eq!(targets(&fixtures::mailbox(to.clone(), json!({})), &f), json!([]), "nobody has it yet");
    f.holders = [(bob.clone(), "uid-bob".to_owned())].into();
    assert_eq!(targets(&fixtures::mailbox(to.clone(), json!({})), &f), noted);
    let p = plan(&known(&to), &f).unwrap();
    f.row = Some(row(&p));
    assert_eq!((p.settings.forward_to, p.settings.keep_copy), (vec![bob.clone()], false));
    // He goes, and it is remembered whom it was for.
    (f.holders, f.nobody) = (Default::default(), vec![bob.clone()]);
    assert_eq!(targets(&known(&to), &f), noted);
    // Another one has the address, or the catch-all does.
    f.holders = [(bob.clone(), "uid-other".to_owned())].into();
    (f.gone, f.nobody) = ([bob].into(), vec![]);
    let p = plan(&known(&to), &f).unwrap();
    assert_eq!((p.settings.forward_to, p.settings.keep_copy), (vec![], true));
    let said = p.not_ready.unwrap();
    assert!(said.reason == Reason::InvalidSpec && said.message.contains("that had bob@acme.test is gone"), "{said:?}");
    assert_eq!(targets(&known(&to), &f), noted);
    // Taken out of the spec it is forgotten, so that it may be put back.
    assert_eq!(targets(&known(&json!({})), &f), json!([]));
}
