//! What a command must not do: delete what is not meant.

use super::*;

/// A Secret is deleted only where the operator says that it makes it again; and nobody is sent to a Secret that is not theirs.
#[test]
fn a_secret_is_deleted_only_where_the_message_says_so() {
    for (label, reason, message, who, deletes) in [
        (
            "mailbox/bob",
            "SecretNotFound",
            "Secret bob-mail has no key password: add it, or delete the Secret to have it made again",
            Who::Tenant,
            true,
        ),
        ("mailbox/bob", "SecretInvalid", "key password of Secret bob-mail is empty: correct it", Who::Tenant, false),
        ("mailbox/bob", "SecretNotFound", "Secret bob-mail went away: it is made again", Who::Nobody, false),
        (
            "mailbox/bob",
            "SecretNotFound",
            "Secret mailtenant-system/berlin-db is not there: create it",
            Who::Platform,
            false,
        ),
        (
            "mailbox/bob",
            "SecretInvalid",
            "GroupwareBackend berlin: x. The platform team has to correct the Secret.",
            Who::Platform,
            false,
        ),
        ("mailbox/bob", "BackendUnauthorized", "GroupwareBackend berlin: refused", Who::Platform, false),
        ("mailbox/bob", "SecretNotFound", "", Who::Platform, false),
        (
            "mailbox/alice",
            "SecretNotFound",
            "Secret alice-password has no key password: add it, or delete the Secret to have it made again",
            Who::Tenant,
            false,
        ),
        ("mailbox/alice", "BackendUnauthorized", "GroupwareBackend berlin: refused", Who::Platform, false),
        ("maildomain/acme-test", "BackendUnauthorized", "DNSBackend pdns: refused", Who::Platform, false),
        (
            "mailalias/info",
            "SecretNotFound",
            "Secret mailtenant-system/berlin-db is not there: create it",
            Who::Platform,
            false,
        ),
    ] {
        let mut picture = tenant();
        // As a tenant sees it, who may read no backend.
        picture.objects.retain(|o| !Kind::PLATFORM.contains(&o.kind));
        picture.unread.extend(Kind::PLATFORM);
        says(&mut picture, label, reason, message);
        let step = asked(&picture, label).step.expect("a step");
        let deleted = step.commands.iter().any(|c| c.contains("delete secret"));
        assert_eq!((step.who, deleted), (who, deletes), "{label} {reason} {message}: {step:?}");
        let system = step.commands.iter().any(|c| c.contains("mailtenant-system"));
        assert!(!system, "{label} {reason} {message}: {step:?}");
    }
}

/// What is in an instance would be held up by its deletion, or go with it.
#[test]
fn an_instance_is_made_anew_only_when_nothing_is_in_it() {
    let changes: &[(fn(&mut Picture), bool)] = &[
        (|p| without(p, "maildomain/acme-test"), true),
        (|_| {}, false),
        (
            |p| {
                without(p, "maildomain/acme-test");
                p.unread.insert(Kind::MailDomain);
            },
            false,
        ),
        (
            |p| {
                without(p, "maildomain/acme-test");
                at(p, "mailinstance/acme")["status"]["ownership"] = json!("Created");
            },
            false,
        ),
    ];
    for (change, anew) in changes {
        let mut picture = tenant();
        at(&mut picture, "mailinstance/acme")["spec"]["backendRef"]["name"] = json!("munich");
        at(&mut picture, "mailinstance/acme")["status"]["ownership"] = Value::Null;
        says(&mut picture, "mailinstance/acme", "BackendNotFound", "");
        change(&mut picture);
        let step = asked(&picture, "mailinstance/acme").step.expect("a step");
        assert_eq!(step.commands.iter().any(|c| c.contains("delete mailinstance")), *anew, "{step:?}");
    }
}

/// Whoever deletes a backend hears who is on it, and gets no command that deletes them.
#[test]
fn a_backend_in_use_is_for_the_platform_team_and_its_tenants_to_settle() {
    for (label, reason, who) in [
        ("groupwarebackend/berlin", "HasInstances", "tenant-acme/acme"),
        ("dnsbackend/pdns", "HasDomains", "tenant-acme/acme-test"),
    ] {
        let mut picture = tenant();
        blocked(&mut picture, label, reason);
        let step = asked(&picture, label).step.expect("a step");
        assert!(step.who == Who::Platform && step.text.contains(who) && step.commands.is_empty(), "{step:?}");
        assert!(step.look.iter().all(|c| c.starts_with("kubectl get ")), "{step:?}");
    }
}

/// One quota may be nearly 2^64 bytes: two of them are more.
#[test]
fn quotas_of_any_size_are_summed() {
    let mut picture = tenant();
    for label in ["mailbox/alice", "mailbox/bob"] {
        at(&mut picture, label)["spec"]["quota"] = json!("16000Pi");
    }
    says(&mut picture, "mailbox/alice", "QuotaExceeded", "");
    let step = asked(&picture, "mailbox/alice").step.expect("a step");
    assert!(step.commands[0].contains(r#"{"storage":"32000Pi"}"#), "{step:?}");
}
