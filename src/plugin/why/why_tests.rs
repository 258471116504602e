//! Broken tenants: the object that is named as the cause, and the command that mends it.

use super::*;
use crate::kind::Kind;
use serde_json::{Value, json};

const NS: &str = "tenant-acme";

fn object(kind: Kind, name: &str, spec: Value) -> Object {
    let mut metadata = json!({"name": name, "uid": format!("{}-{name}", kind.word()), "generation": 1});
    if kind.is_namespaced() {
        metadata["namespace"] = json!(NS);
    }
    let ready =
        json!({"type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": ""});
    let status = json!({"observedGeneration": 1, "ownership": "Created", "conditions": [ready]});
    Object { kind, value: json!({"metadata": metadata, "spec": spec, "status": status}) }
}

/// A tenant of which everything is ready.
fn tenant() -> Picture {
    let secret = json!({"name": "pdns", "key": "apiKey"});
    let objects = vec![
        object(
            Kind::GroupwareBackend,
            "berlin",
            json!({
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"mail": "standard"}}},
            "hosts": {"mx": [{"host": "mx1.mail.example.net", "preference": 10}]},
            "sogo": {"database": {"host": "db", "name": "mail", "credentialsSecretRef": {"name": "berlin-db"}},
                "doveadm": {"url": "http://dovecot/", "apiKeySecretRef": {"name": "berlin-doveadm", "key": "apiKey"}}}}),
        ),
        object(
            Kind::DNSBackend,
            "pdns",
            json!({
            "allowedNamespaces": {"from": "Names", "names": [NS]}, "zones": [{"name": "test"}],
            "powerdns": {"url": "http://pdns/", "apiKeySecretRef": secret}}),
        ),
        object(
            Kind::MailInstance,
            "acme",
            json!({"backendRef": {"name": "berlin"}, "storage": "10Gi", "limits": {"mailboxes": 1}}),
        ),
        object(
            Kind::MailDomain,
            "acme-test",
            json!({"instanceRef": {"name": "acme"}, "domain": "acme.test",
            "dns": {"mode": "Managed", "backendRef": {"name": "pdns"}}}),
        ),
        object(
            Kind::Mailbox,
            "alice",
            json!({"domainRef": {"name": "acme-test"}, "localPart": "alice", "quota": "12Gi",
            "password": {"secretRef": {"name": "alice-password", "key": "password"}}}),
        ),
        object(Kind::Mailbox, "bob", json!({"domainRef": {"name": "acme-test"}, "localPart": "bob", "quota": "1Gi"})),
        object(
            Kind::MailAlias,
            "info",
            json!({"domainRef": {"name": "acme-test"}, "localPart": "info",
            "targets": [{"mailboxRef": {"name": "alice"}}, {"mailboxRef": {"name": "bob"}}]}),
        ),
    ];
    let labels = [(NS.to_owned(), [("mail".to_owned(), "standard".to_owned())].into())].into();
    Picture { objects, labels, ..Picture::default() }
}

fn at<'a>(picture: &'a mut Picture, label: &str) -> &'a mut Value {
    let found = picture.objects.iter_mut().find(|o| o.label().eq_ignore_ascii_case(label));
    &mut found.unwrap_or_else(|| panic!("no {label}")).value
}

/// `label` says `Ready=False`.
fn says(picture: &mut Picture, label: &str, reason: &str, message: &str) {
    let condition =
        json!({"type": "Ready", "status": "False", "reason": reason, "message": message, "lastTransitionTime": ""});
    at(picture, label)["status"]["conditions"] = json!([condition]);
}

/// `label` is being deleted and waits.
fn blocked(picture: &mut Picture, label: &str, reason: &str) {
    let condition = |type_: &str, status: &str, reason: &str| json!({"type": type_, "status": status, "reason": reason, "message": "why", "lastTransitionTime": ""});
    let object = at(picture, label);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["status"]["conditions"] =
        json!([condition("Ready", "False", "Deleting"), condition("DeletionBlocked", "True", reason)]);
}

fn without(picture: &mut Picture, label: &str) {
    picture.objects.retain(|o| !o.label().eq_ignore_ascii_case(label));
}

fn shell() -> Shell {
    Shell { flags: vec![], operator_namespace: "mailtenant-system".into() }
}

fn asked(picture: &Picture, label: &str) -> Why {
    let object = picture.objects.iter().find(|o| o.label().eq_ignore_ascii_case(label)).expect("it is there");
    why(picture, object, &shell())
}

/// What is broken, who is asked, who blocks, and what stands in the first command.
type Row = (&'static str, fn(&mut Picture), &'static str, (&'static str, &'static str), &'static str);

const BROKEN: &[Row] = &[
    (
        "the instance of a domain is not there, and its mailbox says so too",
        |p| {
            without(p, "mailinstance/acme");
            says(p, "maildomain/acme-test", "InstanceNotFound", "");
            says(p, "mailbox/alice", "InstanceNotFound", "");
            says(p, "mailalias/info", "MailboxNotReady", "");
        },
        "mailalias/info",
        ("MailInstance/acme", "Missing"),
        "backendRef:\n    name: berlin",
    ),
    (
        "the domain of a mailbox is not there",
        |p| {
            without(p, "maildomain/acme-test");
            says(p, "mailbox/alice", "DomainNotFound", "");
        },
        "mailbox/alice",
        ("MailDomain/acme-test", "Missing"),
        "instanceRef:\n    name: acme",
    ),
    (
        "a target of an alias is not there",
        |p| {
            without(p, "mailbox/bob");
            says(p, "mailalias/info", "MailboxNotFound", "");
        },
        "mailalias/info",
        ("Mailbox/bob", "Missing"),
        "localPart: bob",
    ),
    (
        "the groupware backend is not there",
        |p| {
            at(p, "mailinstance/acme")["spec"]["backendRef"]["name"] = json!("munich");
            at(p, "mailinstance/acme")["status"]["ownership"] = Value::Null;
            says(p, "mailinstance/acme", "BackendNotFound", "");
            says(p, "maildomain/acme-test", "BackendNotFound", "");
            says(p, "mailbox/alice", "BackendNotFound", "");
        },
        "mailbox/alice",
        ("GroupwareBackend/munich", "Missing"),
        "",
    ),
    (
        "the groupware backend of an empty instance is not there",
        |p| {
            without(p, "maildomain/acme-test");
            at(p, "mailinstance/acme")["spec"]["backendRef"]["name"] = json!("munich");
            at(p, "mailinstance/acme")["status"]["ownership"] = Value::Null;
            says(p, "mailinstance/acme", "BackendNotFound", "");
        },
        "mailinstance/acme",
        ("GroupwareBackend/munich", "Missing"),
        "kubectl delete mailinstance acme -n tenant-acme && kubectl apply -f - <<'YAML'",
    ),
    (
        "the DNS backend is not there",
        |p| {
            at(p, "maildomain/acme-test")["spec"]["dns"]["backendRef"]["name"] = json!("bind");
            says(p, "maildomain/acme-test", "BackendNotFound", "");
        },
        "maildomain/acme-test",
        ("DNSBackend/bind", "Missing"),
        r#"kubectl patch maildomain acme-test -n tenant-acme --type merge -p '{"spec":{"dns":{"backendRef":{"name":"pdns"}}}}'"#,
    ),
    (
        "the groupware backend does not allow the namespace, by labels",
        |p| {
            p.labels.clear();
            says(p, "mailinstance/acme", "BackendNotAllowed", "");
            says(p, "maildomain/acme-test", "BackendNotAllowed", "");
        },
        "maildomain/acme-test",
        ("MailInstance/acme", "BackendNotAllowed"),
        "kubectl label namespace tenant-acme --overwrite mail=standard",
    ),
    (
        "the DNS backend does not allow the namespace, by names",
        |p| {
            at(p, "dnsbackend/pdns")["spec"]["allowedNamespaces"]["names"] = json!(["other"]);
            says(p, "maildomain/acme-test", "BackendNotAllowed", "");
        },
        "maildomain/acme-test",
        ("MailDomain/acme-test", "BackendNotAllowed"),
        r#"kubectl patch dnsbackend pdns --type json -p '[{"op":"add","path":"/spec/allowedNamespaces/names/-","value":"tenant-acme"}]'"#,
    ),
    (
        "no zone holds the name",
        |p| {
            at(p, "dnsbackend/pdns")["spec"]["zones"] = json!([{"name": "example"}]);
            says(p, "maildomain/acme-test", "BackendNotAllowed", "");
        },
        "maildomain/acme-test",
        ("MailDomain/acme-test", "BackendNotAllowed"),
        r#"'[{"op":"add","path":"/spec/zones/-","value":{"name":"acme.test"}}]'"#,
    ),
    (
        "the zone does not allow the namespace",
        |p| {
            at(p, "dnsbackend/pdns")["spec"]["zones"][0]["allowedNamespaces"] =
                json!({"from": "Names", "names": ["other"]});
            says(p, "maildomain/acme-test", "BackendNotAllowed", "");
        },
        "maildomain/acme-test",
        ("MailDomain/acme-test", "BackendNotAllowed"),
        r#"'[{"op":"test","path":"/spec/zones/0/name","value":"test"},{"op":"add","path":"/spec/zones/0/allowedNamespaces/names/-","value":"tenant-acme"}]'"#,
    ),
    (
        "the server refuses the credentials",
        |p| {
            says(p, "dnsbackend/pdns", "BackendUnauthorized", "");
            says(p, "maildomain/acme-test", "BackendUnauthorized", "");
        },
        "maildomain/acme-test",
        ("DNSBackend/pdns", "BackendUnauthorized"),
        "IFS= read -r value && echo >&2 && printf %s \"$value\" | kubectl create secret generic pdns -n mailtenant-system --from-file=apiKey=/dev/stdin",
    ),
    (
        "the certificate authority of a backend's database is not there",
        |p| {
            at(p, "groupwarebackend/berlin")["spec"]["sogo"]["database"]["caSecretRef"] = json!({"name": "berlin-ca"});
            let text = "Secret mailtenant-system/berlin-ca is not there: create it";
            says(p, "groupwarebackend/berlin", "SecretNotFound", text);
        },
        "groupwarebackend/berlin",
        ("GroupwareBackend/berlin", "SecretNotFound"),
        "kubectl create secret generic berlin-ca -n mailtenant-system --from-file=ca.crt=FILE --dry-run=client",
    ),
    (
        "the server refuses the operator's credentials, and only the mailbox says so",
        |p| says(p, "mailbox/bob", "BackendUnauthorized", "GroupwareBackend berlin: refused. Look at the credentials."),
        "mailbox/bob",
        ("Mailbox/bob", "BackendUnauthorized"),
        "",
    ),
    (
        "a backend's Secret has the name of the credentials",
        |p| says(p, "mailbox/bob", "SecretNotFound", "Secret mailtenant-system/bob-mail is not there: create it"),
        "mailbox/bob",
        ("Mailbox/bob", "SecretNotFound"),
        "",
    ),
    (
        "the password is not in the credentials",
        |p| {
            let text = "Secret bob-mail has no key password: add it, or delete the Secret to have it made again";
            says(p, "mailbox/bob", "SecretNotFound", text);
        },
        "mailbox/bob",
        ("Mailbox/bob", "SecretNotFound"),
        "kubectl create secret generic bob-mail -n tenant-acme --from-file=password=/dev/stdin",
    ),
    (
        "the credentials went away a moment ago",
        |p| says(p, "mailbox/bob", "SecretNotFound", "Secret bob-mail went away: it is made again"),
        "mailbox/bob",
        ("Mailbox/bob", "SecretNotFound"),
        "",
    ),
    (
        "a Secret of a backend is not there",
        |p| {
            says(
                p,
                "groupwarebackend/berlin",
                "SecretNotFound",
                "Secret mailtenant-system/berlin-doveadm is not there: create it",
            );
            says(p, "mailinstance/acme", "SecretNotFound", "");
            says(p, "maildomain/acme-test", "InstanceNotReady", "");
            says(p, "mailbox/alice", "DomainNotReady", "");
        },
        "mailbox/alice",
        ("GroupwareBackend/berlin", "SecretNotFound"),
        "secret generic berlin-doveadm -n mailtenant-system",
    ),
    (
        "the Secret with the password is not there",
        |p| {
            says(
                p,
                "mailbox/alice",
                "SecretNotFound",
                "Secret alice-password is not there: create it with the key password",
            )
        },
        "mailbox/alice",
        ("Mailbox/alice", "SecretNotFound"),
        "kubectl create secret generic alice-password -n tenant-acme --from-file=password=/dev/stdin",
    ),
    (
        "the Secret with the password cannot be used",
        |p| says(p, "mailbox/alice", "SecretInvalid", "key password of Secret alice-password is empty"),
        "mailbox/alice",
        ("Mailbox/alice", "SecretInvalid"),
        "--force-conflicts --field-manager=kubectl-mailtenant-password -f -",
    ),
    (
        "somebody else's Secret",
        |p| says(p, "mailbox/bob", "SecretNotOwned", ""),
        "mailbox/bob",
        ("Mailbox/bob", "SecretNotOwned"),
        r#"'{"spec":{"credentialsSecret":"bob-credentials"}}'"#,
    ),
    (
        "the proof is not there",
        |p| {
            says(p, "maildomain/acme-test", "OwnershipUnproven", "");
            says(p, "mailbox/alice", "DomainNotReady", "");
            says(p, "mailalias/info", "MailboxNotReady", "");
        },
        "mailalias/info",
        ("MailDomain/acme-test", "OwnershipUnproven"),
        "",
    ),
    (
        "a record of somebody else",
        |p| says(p, "maildomain/acme-test", "DNSConflict", ""),
        "maildomain/acme-test",
        ("MailDomain/acme-test", "DNSConflict"),
        r#"'{"spec":{"dns":{"conflictPolicy":"Adopt"}}}'"#,
    ),
    (
        "the cut-over waits for a person",
        |p| says(p, "maildomain/acme-test", "AwaitingApproval", ""),
        "maildomain/acme-test",
        ("MailDomain/acme-test", "AwaitingApproval"),
        "kubectl mailtenant approve maildomain/acme-test -n tenant-acme",
    ),
    (
        "the cut-over waits for an address",
        |p| {
            says(p, "maildomain/acme-test", "AwaitingAcceptance", "");
            says(p, "mailbox/bob", "Paused", "");
            at(p, "mailbox/bob")["metadata"]["annotations"]["mailtenant.dev/paused"] = json!("true");
        },
        "maildomain/acme-test",
        ("Mailbox/bob", "Paused"),
        "kubectl mailtenant resume mailbox/bob -n tenant-acme",
    ),
    (
        "the storage does not suffice",
        |p| says(p, "mailbox/alice", "QuotaExceeded", ""),
        "mailbox/alice",
        ("Mailbox/alice", "QuotaExceeded"),
        r#"kubectl patch mailinstance acme -n tenant-acme --type merge -p '{"spec":{"storage":"13Gi"}}'"#,
    ),
    (
        "there are too many",
        |p| says(p, "mailbox/bob", "LimitExceeded", ""),
        "mailbox/bob",
        ("Mailbox/bob", "LimitExceeded"),
        r#"'{"spec":{"limits":{"mailboxes":2}}}'"#,
    ),
    (
        "another one has the address",
        |p| {
            at(p, "mailalias/info")["spec"]["localPart"] = json!("bob");
            says(p, "mailalias/info", "AddressInUse", "");
        },
        "mailalias/info",
        ("MailAlias/info", "AddressInUse"),
        "kubectl delete mailalias info -n tenant-acme",
    ),
    (
        "the instance is paused",
        |p| {
            at(p, "mailinstance/acme")["metadata"]["annotations"]["mailtenant.dev/paused"] = json!("true");
            says(p, "mailinstance/acme", "Paused", "");
            says(p, "mailbox/alice", "Paused", "");
        },
        "mailbox/alice",
        ("MailInstance/acme", "Paused"),
        "kubectl mailtenant resume mailinstance/acme -n tenant-acme",
    ),
    (
        "many mailboxes are missing at the server",
        |p| {
            says(p, "mailinstance/acme", "MassLossHeld", "");
            says(p, "mailbox/alice", "MassLossHeld", "");
        },
        "mailbox/alice",
        ("MailInstance/acme", "MassLossHeld"),
        "kubectl mailtenant reconcile mailinstance/acme -n tenant-acme",
    ),
    (
        "forwarding is not allowed",
        |p| says(p, "mailalias/info", "ExternalForwardingDenied", ""),
        "mailalias/info",
        ("MailAlias/info", "ExternalForwardingDenied"),
        r#"'{"spec":{"externalForwarding":"Allow"}}'"#,
    ),
    (
        "it is at the server already",
        |p| says(p, "mailbox/alice", "ExistsAtBackend", ""),
        "mailbox/alice",
        ("Mailbox/alice", "ExistsAtBackend"),
        r#"'{"spec":{"adoptionPolicy":"IfUnowned"}}'"#,
    ),
    (
        "nothing shows that the name is the tenant's",
        |p| says(p, "mailbox/alice", "NotEntitled", ""),
        "mailbox/alice",
        ("Mailbox/alice", "NotEntitled"),
        r#"'[{"op":"test","path":"/spec/zones/0/name","value":"test"},{"op":"add","path":"/spec/zones/0/allowedNamespaces","value":{"from":"Names","names":["tenant-acme"]}}]'"#,
    ),
    (
        "a domain is deleted, and has mailboxes that nobody deletes",
        |p| blocked(p, "maildomain/acme-test", "HasMailboxes"),
        "maildomain/acme-test",
        ("MailDomain/acme-test", "HasMailboxes"),
        "kubectl delete mailbox alice bob -n tenant-acme",
    ),
    (
        "all is deleted, and an alias waits for a backend",
        |p| {
            says(p, "groupwarebackend/berlin", "BackendUnreachable", "");
            blocked(p, "mailinstance/acme", "HasDomains");
            blocked(p, "maildomain/acme-test", "HasAliases");
            blocked(p, "mailalias/info", "BackendUnreachable");
        },
        "mailinstance/acme",
        ("GroupwareBackend/berlin", "BackendUnreachable"),
        "",
    ),
    (
        "a mailbox is deleted, and an alias names it",
        |p| blocked(p, "mailbox/alice", "ReferencedByAlias"),
        "mailbox/alice",
        ("Mailbox/alice", "ReferencedByAlias"),
        "kubectl delete mailalias info -n tenant-acme",
    ),
    (
        "a mailbox is deleted, and its domain drains",
        |p| {
            blocked(p, "mailbox/alice", "Draining");
            blocked(p, "maildomain/acme-test", "Draining");
        },
        "mailbox/alice",
        ("MailDomain/acme-test", "Draining"),
        "",
    ),
    (
        "a mailbox is to come, and its domain goes",
        |p| {
            says(p, "mailbox/alice", "DomainNotReady", "");
            blocked(p, "maildomain/acme-test", "HasMailboxes");
        },
        "mailbox/alice",
        ("MailDomain/acme-test", "HasMailboxes"),
        "kubectl delete mailbox alice -n tenant-acme",
    ),
    (
        "a backend is deleted, and has instances",
        |p| blocked(p, "groupwarebackend/berlin", "HasInstances"),
        "groupwarebackend/berlin",
        ("GroupwareBackend/berlin", "HasInstances"),
        "",
    ),
    (
        "a backend is deleted, and has domains",
        |p| blocked(p, "dnsbackend/pdns", "HasDomains"),
        "dnsbackend/pdns",
        ("DNSBackend/pdns", "HasDomains"),
        "",
    ),
    (
        "records that the tenant edits are not there",
        |p| says(p, "maildomain/acme-test", "AwaitingRecords", ""),
        "maildomain/acme-test",
        ("MailDomain/acme-test", "AwaitingRecords"),
        "kubectl mailtenant reconcile maildomain/acme-test -n tenant-acme",
    ),
    (
        "the operator does not run",
        |p| at(p, "mailbox/alice")["metadata"]["generation"] = json!(2),
        "mailbox/alice",
        ("Mailbox/alice", "Unseen"),
        "",
    ),
];

#[test]
fn the_cause_is_named_and_the_command_that_mends_it() {
    for (name, break_it, who, (label, reason), command) in BROKEN {
        let mut picture = tenant();
        break_it(&mut picture);
        let why = asked(&picture, who);
        let blocks = why.blocks().unwrap_or_else(|| panic!("{name}: nothing blocks"));
        assert_eq!(
            (format!("{}/{}", blocks.kind.as_str(), blocks.name).as_str(), blocks.reason.as_str()),
            (*label, *reason),
            "{name}"
        );
        let step = why.step.as_ref().unwrap_or_else(|| panic!("{name}: no step"));
        assert!(!step.text.is_empty(), "{name}");
        match step.commands.first() {
            Some(first) => assert!(first.contains(command) && !command.is_empty(), "{name}: {first}"),
            None => assert_eq!(*command, "", "{name}: no command"),
        }
    }
}

#[test]
fn of_what_is_ready_nothing_blocks() {
    let mut picture = tenant();
    for (type_, reason) in [("CutOver", "AwaitingFirstAddress"), ("Healthy", "MXElsewhere")] {
        let condition =
            json!({"type": type_, "status": "False", "reason": reason, "message": "m", "lastTransitionTime": ""});
        at(&mut picture, "maildomain/acme-test")["status"]["conditions"]
            .as_array_mut()
            .expect("a list")
            .push(condition);
    }
    for object in &picture.objects {
        let why = why(&picture, object, &shell());
        assert!(why.ready && why.step.is_none() && why.blocks().is_none(), "{}", object.label());
        assert_eq!(why.notes.len(), if object.kind == Kind::MailDomain { 2 } else { 0 });
        assert_eq!(waits_for(&picture, object), None);
    }
}

/// Of each kind, going and staying, with and without all that is around it: it ends, and says something.
#[test]
fn every_reason_has_a_step_for_every_kind() {
    let mut scripts = std::collections::BTreeSet::new();
    for reason in Reason::ALL {
        for label in [
            "groupwarebackend/berlin",
            "dnsbackend/pdns",
            "mailinstance/acme",
            "maildomain/acme-test",
            "mailbox/alice",
            "mailalias/info",
        ] {
            for (deleting, alone) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut picture = tenant();
                if alone {
                    picture.objects.retain(|o| o.label().eq_ignore_ascii_case(label));
                    picture.unread.extend(Kind::ALL);
                }
                match deleting {
                    true => blocked(&mut picture, label, reason.as_str()),
                    false => says(&mut picture, label, reason.as_str(), "why"),
                }
                let why = asked(&picture, label);
                let step = why.step.unwrap_or_else(|| panic!("{reason} of {label} has no step"));
                assert!(step.text.len() > 10, "{reason} of {label}");
                let all = step.commands.iter().chain(&step.look).chain(&step.last_resort);
                for command in all {
                    assert!(command.contains("kubectl "), "{reason} of {label}: {command}");
                    scripts.insert(command.clone());
                }
                let orphan = step.last_resort.is_some_and(|c| c.contains("mailtenant orphan"));
                let tenant = !label.contains("backend");
                assert_eq!(orphan, deleting && tenant && reason.lies_at_a_backend(), "{reason} of {label}");
            }
        }
    }
    can_be_pasted(scripts.into_iter());
}

/// A shell of POSIX and no more understands them.
fn can_be_pasted(commands: impl Iterator<Item = String>) {
    let script = commands.collect::<Vec<_>>().join("\n");
    assert!(!script.contains("read -s") && !script.contains("read -rs"), "{script}");
    let mut shell = std::process::Command::new("dash");
    let output = shell.args(["-n", "-c", &script]).output().expect("dash");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{script}");
}

/// What a backend says is the cause of what is on it only where that can come from it.
#[test]
fn a_backend_that_is_not_ready_is_not_the_cause_of_everything() {
    for (own, of_the_backend, blocks) in [
        ("BackendUnreachable", "BackendUnauthorized", "berlin"),
        ("SecretNotFound", "SecretNotFound", "berlin"),
        ("BackendNotAllowed", "BackendUnreachable", "acme"),
        ("Unsupported", "BackendUnreachable", "acme"),
    ] {
        let mut picture = tenant();
        says(&mut picture, "groupwarebackend/berlin", of_the_backend, "");
        says(&mut picture, "mailinstance/acme", own, "");
        let why = asked(&picture, "mailinstance/acme");
        assert_eq!(why.blocks().map(|l| l.name.as_str()), Some(blocks), "{own}, {of_the_backend}");
    }
    let mut picture = tenant();
    says(&mut picture, "groupwarebackend/berlin", "BackendUnreachable", "");
    says(&mut picture, "mailbox/alice", "SecretNotFound", "");
    assert_eq!(asked(&picture, "mailbox/alice").blocks().map(|l| l.name.clone()), Some("alice".to_owned()));
}

/// The object that waits for the backend is the one that can go without it.
#[test]
fn the_last_resort_is_for_who_waits_for_the_backend() {
    let mut picture = tenant();
    without(&mut picture, "groupwarebackend/berlin");
    blocked(&mut picture, "mailinstance/acme", "HasDomains");
    blocked(&mut picture, "maildomain/acme-test", "HasAliases");
    blocked(&mut picture, "mailalias/info", "BackendNotFound");
    let why = asked(&picture, "mailinstance/acme");
    let step = why.step.expect("a step");
    assert_eq!(step.last_resort.as_deref(), Some("kubectl mailtenant orphan mailalias/info -n tenant-acme"));
}

/// What a tenant may not read is not taken for something that is missing.
#[test]
fn what_may_not_be_read_is_not_said_to_be_missing() {
    let mut picture = tenant();
    picture.objects.retain(|o| !Kind::PLATFORM.contains(&o.kind));
    picture.unread.extend(Kind::PLATFORM);
    says(&mut picture, "mailinstance/acme", "BackendNotFound", "GroupwareBackend berlin is not there");
    let why = asked(&picture, "mailinstance/acme");
    assert_eq!(why.blocks().map(|l| l.reason.as_str()), Some("Unread"));
    assert_eq!(why.step.map(|s| s.who), Some(Who::Platform));
}

#[path = "commands_tests.rs"]
mod commands;
