use super::*;
use mailtenant_groupware::{Access, AliasRow, AliasSettings, MailboxRow, MailboxSettings};

fn at(cluster: Option<&str>, place: &str) -> Option<Origin> {
    Origin::parse(cluster, place)
}

fn alias(address: &str, owner: Option<&str>, origin: Option<Origin>) -> AliasRow {
    AliasRow {
        address: Address::from_server(address),
        owner: owner.map(Uid::new),
        origin,
        adopted: false,
        settings: AliasSettings { targets: vec![], send_as: false, display_name: String::new(), active: true },
        effects_due: false,
    }
}

fn mailbox(address: &str, owner: Option<&str>, origin: Option<Origin>) -> MailboxRow {
    MailboxRow {
        address: Address::from_server(address),
        id: "store".into(),
        owner: owner.map(Uid::new),
        origin,
        adopted: false,
        settings: MailboxSettings {
            display_name: String::new(),
            quota: 0,
            login: true,
            receive: true,
            access: Access::default(),
            forward_to: vec![],
            keep_copy: true,
        },
        password_version: None,
        password_drifted: false,
        effects_due: false,
        removing: false,
        used: 0,
    }
}

#[test]
fn whose_owner_nobody_knows() {
    for (owner, origin, undeclared) in [
        (Some("gone"), at(Some("c"), "t/alice"), true),
        (Some("gone"), at(None, "t/alice"), true),
        (Some("gone"), None, true),
        (Some("lives"), at(Some("c"), "t/alice"), false),
        (Some("lives"), None, false),
        // Retained, or of others.
        (None, at(Some("c"), "t/alice"), false),
        (None, None, false),
        // Nobody here can tell.
        (Some("gone"), at(Some("another"), "t/alice"), false),
    ] {
        let row = mailbox("alice@acme.test", owner, origin.clone());
        let other = alias("info@acme.test", owner, origin.clone());
        let mut rows = DomainSnapshot::default();
        rows.mailboxes.insert(row.address.clone(), row);
        rows.aliases.insert(other.address.clone(), other);
        let found = unknown(&rows, "c", ["other", "lives"].into_iter());
        let named: Vec<(Kind, &str)> = found.iter().map(|u| (u.kind, u.address.as_str())).collect();
        let all = [(Kind::MailAlias, "info@acme.test"), (Kind::Mailbox, "alice@acme.test")];
        assert_eq!(named, if undeclared { &all[..] } else { &[] }, "{owner:?} {origin:?}");
    }
}

#[test]
fn five_are_named_with_their_objects_and_a_step_that_works() {
    let undeclared = |n: usize, place: &str| Undeclared {
        kind: Kind::Mailbox,
        address: Address::from_server(format!("m{n}@acme.test")),
        owner: Uid::new(format!("uid-{n}")),
        origin: at(Some("c"), place),
    };
    let five: Vec<Undeclared> = (0..5).map(|n| undeclared(n, "t/m")).collect();
    let (there, text) = message(&five, 7, "t", "berlin");
    assert!(there && text.starts_with("m0@acme.test (Mailbox m), m1@"), "{text}");
    assert!(text.contains("m4@acme.test (Mailbox m) and 2 more at the backend"), "{text}");
    assert!(text.contains("spec.recovery of GroupwareBackend berlin"), "{text}");
    // What stood in another namespace is not named.
    let (_, text) = message(&[undeclared(0, "u/secret")], 1, "t", "berlin");
    assert!(text.starts_with("m0@acme.test (a Mailbox) at the backend") && !text.contains("secret"), "{text}");
    assert!(!message(&[], 0, "t", "berlin").0);
}
