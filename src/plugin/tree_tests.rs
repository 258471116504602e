//! The tree as it is printed and as programs read it.

use super::*;
use serde_json::{Value, json};

fn object(kind: Kind, name: &str, spec: Value, status: Value) -> Object {
    let value = json!({"metadata": {"name": name, "namespace": "t", "uid": name, "generation": 1}, "spec": spec, "status": status});
    Object { kind, value }
}

fn status(ready: bool, reason: &str, more: Value) -> Value {
    let word = if ready { "True" } else { "False" };
    let mut status = json!({"observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": word, "reason": reason, "message": "", "lastTransitionTime": ""}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    status
}

fn picture() -> Picture {
    let backend = Object {
        kind: Kind::GroupwareBackend,
        value: json!({"metadata": {"name": "berlin", "generation": 1}, "status": status(true, "Succeeded", json!({}))}),
    };
    let usage = json!({"instanceId": "acme-1", "usage": {"storageUsed": "1Gi", "mailboxes": 2}});
    let objects = vec![
        backend,
        object(
            Kind::MailInstance,
            "acme",
            json!({"backendRef": {"name": "berlin"}, "storage": "10Gi", "limits": {"mailboxes": 5}}),
            status(true, "Succeeded", usage),
        ),
        object(
            Kind::MailDomain,
            "main",
            json!({"instanceRef": {"name": "acme"}, "domain": "acme.test"}),
            status(true, "Succeeded", json!({"state": "Live"})),
        ),
        object(
            Kind::MailAlias,
            "info",
            json!({"domainRef": {"name": "main"}, "localPart": "info",
            "targets": [{"mailboxRef": {"name": "bob"}}, {"address": "x@away.example"}]}),
            status(false, "MailboxNotReady", json!({"address": "info@acme.test"})),
        ),
        object(
            Kind::Mailbox,
            "bob",
            json!({"domainRef": {"name": "main"}, "localPart": "bob"}),
            status(false, "QuotaExceeded", json!({})),
        ),
        object(
            Kind::Mailbox,
            "alice",
            json!({"domainRef": {"name": "main"}, "localPart": "alice"}),
            status(true, "Succeeded", json!({"address": "alice@acme.test", "quota": "5Gi", "usedStorage": "100Mi"})),
        ),
        object(
            Kind::MailDomain,
            "lost",
            json!({"instanceRef": {"name": "gone"}, "domain": "lost.test"}),
            status(false, "InstanceNotFound", json!({"state": "Pending"})),
        ),
        object(
            Kind::Mailbox,
            "stray",
            json!({"domainRef": {"name": "nowhere"}, "localPart": "stray"}),
            status(false, "DomainNotFound", json!({})),
        ),
    ];
    Picture { objects, ..Picture::default() }
}

fn printed(picture: &Picture, instance: Option<&str>, colour: bool) -> (String, bool) {
    let (mut out, mut err, mut input) = (vec![], vec![], &b""[..]);
    let mut terminal = Terminal { out: &mut out, err: &mut err, input: &mut input, colour };
    let ready = print(&mut terminal, picture, instance, Format::Table).expect("it is printed");
    (String::from_utf8(out).expect("text"), ready)
}

#[test]
fn parents_come_before_children_and_what_lost_its_parent_is_shown() {
    let (text, ready) = printed(&picture(), None, false);
    let wanted = "\
OBJECT                 WHAT                                   STATE    READY             USED                           WAITS FOR
t: MailInstance/acme   acme-1                                          Ready             1Gi of 10Gi, 2 of 5 mailboxes
└─ MailDomain/main     acme.test                              Live     Ready
   ├─ Mailbox/alice    alice@acme.test                                 Ready             100Mi of 5Gi
   ├─ Mailbox/bob                                                      QuotaExceeded
   └─ MailAlias/info   info@acme.test -> bob, x@away.example           MailboxNotReady                                  Mailbox/bob (QuotaExceeded)
t: MailInstance/gone                                          Missing  -
└─ MailDomain/lost     lost.test                              Pending  InstanceNotFound                                 MailInstance/gone (Missing)
t: MailDomain/nowhere                                         Missing  -
└─ Mailbox/stray                                                       DomainNotFound                                   MailDomain/nowhere (Missing)
";
    assert_eq!(text, wanted, "\n{text}");
    assert!(!ready);
}

#[test]
fn one_instance_alone() {
    let (text, _) = printed(&picture(), Some("gone"), false);
    assert!(text.contains("MailDomain/lost") && !text.contains("acme") && !text.contains("stray"), "{text}");
    let (text, ready) = printed(&picture(), Some("nobody"), false);
    assert!(text.is_empty() && ready, "{text}");
}

#[test]
fn colours_are_for_terminals() {
    assert!(printed(&picture(), None, true).0.contains("\x1b[32mReady\x1b[0m"));
    assert!(!printed(&picture(), None, false).0.contains('\x1b'));
}

#[test]
fn programs_read_the_same() {
    let (mut out, mut err, mut input) = (vec![], vec![], &b""[..]);
    let mut terminal = Terminal { out: &mut out, err: &mut err, input: &mut input, colour: true };
    print(&mut terminal, &picture(), Some("acme"), Format::Json).expect("it is printed");
    let tree: Value = serde_json::from_slice(&out).expect("JSON");
    let domain = &tree["items"][0]["children"][0];
    assert_eq!((&domain["state"], &domain["ready"]), (&json!("Live"), &json!(true)));
    assert_eq!(domain["children"][2]["waitsFor"], "Mailbox/bob (QuotaExceeded)");
    assert_eq!(tree["notRead"], json!([]));
}
