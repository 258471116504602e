//! An on-call engineer with broken tenants and `kubectl mailtenant`: `why` names the cause, and the command that it prints mends
//! it when it is pasted into a shell.

use crate::harness::kubectl::conditions;
use crate::harness::world::{SYSTEM, World};
use crate::harness::{dns, eventually, secs};
use mailtenant_plugin::{FINE, NOT_READY, Terminal, run};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};

#[path = "../tests/common/cluster.rs"]
mod cluster;

/// The plugin in this process: exit code and what it printed.
async fn plugin(w: &World, words: &[&str]) -> (u8, String) {
    let (mut out, mut err, mut input) = (vec![], vec![], &b""[..]);
    let mut terminal = Terminal { out: &mut out, err: &mut err, input: &mut input, colour: false };
    let kubeconfig = w.stack.get("STACK_KUBECONFIG");
    let mut line = ["kubectl-mailtenant", "--operator-namespace", SYSTEM].to_vec();
    line.extend(words);
    for (flag, value) in [("--kubeconfig", kubeconfig), ("-n", &w.ns)] {
        if !words.contains(&flag) {
            line.extend([flag, value]);
        }
    }
    let code = run(line.into_iter().map(Into::into), &mut terminal).await;
    let printed = [out, err].map(|bytes| String::from_utf8(bytes).expect("text")).concat();
    (code, printed)
}

/// Waits until `why` says that `blocks`, for this reason, is what `object` waits for; gives the answer.
async fn blocked(w: &World, object: &str, blocks: &str, reason: &str) -> Value {
    eventually(&format!("why {object}: {blocks} {reason}"), secs(90), || async {
        let (code, printed) = plugin(w, &["why", object, "-o", "json"]).await;
        let why: Value = serde_json::from_str(&printed).map_err(|_| printed.clone())?;
        let last = why["chain"].as_array().and_then(|c| c.last()).cloned().unwrap_or_default();
        let label =
            format!("{}/{}", last["kind"].as_str().unwrap_or_default(), last["name"].as_str().unwrap_or_default());
        let fits = code == NOT_READY && label.eq_ignore_ascii_case(blocks) && last["reason"] == reason;
        if fits { Ok(why) } else { Err(printed) }
    })
    .await
}

/// Pastes a command, answers what it asks for, and expects that it succeeds.
async fn paste(w: &World, command: &str, typed: &str) {
    if let Some(rest) = command.strip_prefix("kubectl mailtenant ") {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (code, printed) = plugin(w, &words).await;
        assert_eq!(code, FINE, "{command}: {printed}");
        return;
    }
    let kubectl = cluster::binary("kubectl").expect("the control plane has kubectl");
    let folder = kubectl.parent().expect("a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&path))).expect("a PATH");
    // The one with the least in it: what it takes, each shell takes.
    let mut shell = Command::new("dash");
    shell.args(["-c", command]).env("PATH", path).env_remove("KUBECONFIG");
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("dash");
    let _ = child.stdin.take().expect("a pipe").write_all(typed.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command}: {output:?}");
}

/// One broken object, mended by the first command with these words replaced.
async fn mend(w: &World, object: &str, (blocks, reason): (&str, &str), replace: &[(&str, &str)], typed: &str) {
    let why = blocked(w, object, blocks, reason).await;
    let command = why["step"]["commands"][0].as_str().unwrap_or_else(|| panic!("{object}: no command: {why}"));
    let command = replace.iter().fold(command.to_owned(), |c, (word, value)| c.replace(word, value));
    paste(w, &command, typed).await;
}

async fn ready(w: &World, kind: &str, name: &str) {
    w.k.ready(kind, name, secs(120)).await;
    let (code, printed) = plugin(w, &["why", &format!("{kind}/{name}")]).await;
    assert_eq!(code, FINE, "{printed}");
}

#[tokio::test]
async fn what_is_missing_is_made_by_the_command_that_why_prints() {
    let w = World::new("whymiss").await;
    // Nothing above the alias is there.
    w.k.apply(w.alias("info", "main", "info", &["alice"])).await;
    mend(&w, "mal/info", ("MailDomain/main", "Missing"), &[("INSTANCE", "acme"), ("DOMAIN", &w.zone())], "").await;
    mend(&w, "mal/info", ("MailInstance/acme", "Missing"), &[], "").await;
    // The alias is an address of the domain too, so this comes before the domain is ready.
    mend(&w, "info", ("Mailbox/alice", "Missing"), &[], "").await;
    ready(&w, "MailAlias", "info").await;
    ready(&w, "MailDomain", "main").await;

    let mut instance = w.instance("elsewhere");
    instance["spec"]["backendRef"]["name"] = json!(format!("{}-none", w.ns));
    w.k.apply(instance).await;
    let missing = format!("GroupwareBackend/{}-none", w.ns);
    mend(&w, "mi/elsewhere", (&missing, "Missing"), &[], "").await;
    ready(&w, "MailInstance", "elsewhere").await;

    let zone = format!("second.{}", w.zone());
    let mut domain = w.domain("second", "acme", &zone);
    domain["spec"]["dns"]["backendRef"]["name"] = json!(format!("{}-none", w.ns));
    w.k.apply(domain).await;
    let missing = format!("DNSBackend/{}-none", w.ns);
    mend(&w, "md/second", (&missing, "Missing"), &[], "").await;
    ready(&w, "MailDomain", "second").await;
    let (code, printed) = plugin(&w, &["tree"]).await;
    assert_eq!(code, FINE, "{printed}");
}

#[tokio::test]
async fn what_is_not_allowed_or_does_not_fit_is_let_in_by_the_command_that_why_prints() {
    let w = World::new("whyfit").await;
    w.k.patch("Namespace", &w.ns, json!({"metadata": {"labels": {"mail": null}}})).await;
    w.k.apply(w.instance("acme")).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    mend(&w, "md/main", ("MailInstance/acme", "BackendNotAllowed"), &[], "").await;
    ready(&w, "MailDomain", "main").await;

    let other = format!("{}-other.test", w.ns);
    dns::create_zone(w.stack, &other).await;
    w.k.apply(w.domain("other", "acme", &other)).await;
    mend(&w, "md/other", ("MailDomain/other", "BackendNotAllowed"), &[], "").await;
    ready(&w, "MailDomain", "other").await;

    let mut large = w.mailbox("large", "main");
    large["spec"]["quota"] = json!("20Gi");
    w.k.apply(large).await;
    mend(&w, "mbx/large", ("Mailbox/large", "QuotaExceeded"), &[], "").await;
    ready(&w, "Mailbox", "large").await;

    w.k.patch("MailInstance", "acme", json!({"spec": {"limits": {"mailboxes": 1}}})).await;
    w.k.apply(w.mailbox("more", "main")).await;
    mend(&w, "mbx/more", ("Mailbox/more", "LimitExceeded"), &[], "").await;
    // Now it may be there, and the storage is given out.
    mend(&w, "mbx/more", ("Mailbox/more", "QuotaExceeded"), &[], "").await;
    ready(&w, "Mailbox", "more").await;

    w.k.patch("MailInstance", "acme", json!({"spec": {"externalForwarding": "Deny"}})).await;
    let mut away = w.mailbox("away", "main");
    away["spec"]["forwarding"] = json!({"to": ["x@elsewhere.example"]});
    w.k.apply(away).await;
    w.k.patch("MailInstance", "acme", json!({"spec": {"limits": null}})).await;
    mend(&w, "mbx/away", ("Mailbox/away", "ExternalForwardingDenied"), &[], "").await;
    ready(&w, "Mailbox", "away").await;

    w.k.apply(w.alias("twice", "main", "large", &["more"])).await;
    mend(&w, "mal/twice", ("MailAlias/twice", "AddressInUse"), &[], "").await;
    w.k.gone("MailAlias", "twice", secs(60)).await;
}

#[tokio::test]
async fn secrets_are_asked_for_by_the_command_that_why_prints() {
    let w = World::new("whysecret").await;
    w.tenant(&["alice"]).await;
    let mut bob = w.mailbox("bob", "main");
    bob["spec"]["password"] = json!({"secretRef": {"name": "bob-password", "key": "password"}});
    w.k.apply(bob).await;
    // With a character that no password may have, and then without it.
    mend(&w, "mbx/bob", ("Mailbox/bob", "SecretNotFound"), &[], "has-a-tab\t-in-it\n").await;
    mend(&w, "mbx/bob", ("Mailbox/bob", "SecretInvalid"), &[], "a-good-password-4711\n").await;
    ready(&w, "Mailbox", "bob").await;
    assert_eq!(w.k.secret("bob-password", "password").await.as_deref(), Some("a-good-password-4711"));

    w.k.put_secret("carol-mail", &[("of", "no-Mailbox-of-ours-5")]).await;
    w.k.apply(w.mailbox("carol", "main")).await;
    mend(&w, "mbx/carol", ("Mailbox/carol", "SecretNotOwned"), &[], "").await;
    ready(&w, "Mailbox", "carol").await;
    assert_eq!(w.k.secret("carol-mail", "of").await.as_deref(), Some("no-Mailbox-of-ours-5"));

    // A DNS server whose key is missing, then wrong, then right.
    let name = format!("{}-keyless", w.ns);
    let zone = format!("{name}.test");
    dns::create_zone(w.stack, &zone).await;
    let mut backend = crate::harness::world::dns_backend(w.stack, &name, &[&w.ns], std::slice::from_ref(&zone));
    backend["spec"]["powerdns"]["apiKeySecretRef"]["name"] = json!(name);
    w.k.apply(backend).await;
    let mut domain = w.domain("keyless", "acme", &zone);
    domain["spec"]["dns"]["backendRef"]["name"] = json!(name);
    w.k.apply(domain).await;
    let blocks = format!("DNSBackend/{name}");
    mend(&w, "md/keyless", (&blocks, "SecretNotFound"), &[], "not-the-key\n").await;
    mend(&w, "md/keyless", (&blocks, "BackendUnauthorized"), &[], &format!("{}\n", w.stack.get("PDNS_KEY"))).await;
    ready(&w, "MailDomain", "keyless").await;
}

#[tokio::test]
async fn a_domain_comes_to_life_by_the_commands_that_why_prints() {
    let w = World::new("whydns").await;
    let dmarc = format!("_dmarc.{}", w.zone());
    dns::put(w.stack, &w.zone(), &dmarc, "TXT", 300, &["\"v=DMARC1; p=reject\""]).await;
    let mut backend = crate::harness::world::dns_backend(w.stack, &w.ns, &[&w.ns], &[w.zone()]);
    backend["spec"]["requireProof"] = json!(true);
    w.k.apply(backend).await;
    w.k.apply(w.instance("acme")).await;
    let mut domain = w.domain("main", "acme", &w.zone());
    domain["spec"]["cutover"] = json!({"mode": "Manual"});
    w.k.apply(domain).await;
    w.k.apply(w.mailbox("alice", "main")).await;

    // No command publishes a record elsewhere: the step has it, and so has `dns`.
    let why = blocked(&w, "mbx/alice", "MailDomain/main", "OwnershipUnproven").await;
    let (code, printed) = plugin(&w, &["dns", "main", "-o", "json"]).await;
    let records: Value = serde_json::from_str(&printed).expect("JSON");
    let proof = records["records"].as_array().and_then(|r| r.iter().find(|r| r["purpose"] == "Challenge"));
    let proof = proof.unwrap_or_else(|| panic!("no proof: {printed}"));
    let (name, value) = (proof["name"].as_str().expect("a name"), proof["value"].as_str().expect("a value"));
    assert!(code == NOT_READY && why["step"]["text"].as_str().is_some_and(|t| t.contains(value)), "{why}");
    dns::put(w.stack, &w.zone(), name, "TXT", 60, &[&format!("\"{value}\"")]).await;

    mend(&w, "md/main", ("MailDomain/main", "DNSConflict"), &[], "").await;
    // The mailbox holds up the switch of MX.
    w.k.annotate("Mailbox", "alice", "mailtenant.dev/paused", "true").await;
    w.k.patch("Mailbox", "alice", json!({"spec": {"displayName": "Alice"}})).await;
    mend(&w, "md/main", ("Mailbox/alice", "Paused"), &[], "").await;
    mend(&w, "md/main", ("MailDomain/main", "AwaitingApproval"), &[], "").await;
    ready(&w, "MailDomain", "main").await;
    assert_eq!(dns::contents(w.stack, &w.zone(), &w.zone(), "MX").await, ["10 mx1.mail.example.net."]);
    let (code, zone) = plugin(&w, &["dns", "main", "-o", "zone"]).await;
    assert!(zone.contains(&format!("\n{}. 1 IN MX 10 mx1.mail.example.net.", w.zone())), "{code}: {zone}");

    // Of what is asked of the operator the plugin waits for the answer.
    let before = w.password("alice").await;
    let (code, printed) = plugin(&w, &["rotate-password", "alice", "--wait"]).await;
    assert_eq!(code, FINE, "{printed}");
    assert_ne!(w.password("alice").await, before);
    let (code, printed) = plugin(&w, &["reconcile", "mi/acme", "md/main", "mbx/alice", "--wait"]).await;
    assert_eq!(code, FINE, "{printed}");
}

#[tokio::test]
async fn a_deletion_goes_on_by_the_commands_that_why_prints() {
    let w = World::new("whygone").await;
    w.tenant(&["alice"]).await;
    w.k.apply(w.alias("info", "main", "info", &["alice"])).await;
    w.k.ready("MailAlias", "info", secs(60)).await;
    w.k.delete("MailInstance", "acme").await;
    mend(&w, "mi/acme", ("MailInstance/acme", "HasDomains"), &[], "").await;
    mend(&w, "mi/acme", ("MailDomain/main", "HasAliases"), &[], "").await;
    mend(&w, "mi/acme", ("MailDomain/main", "HasMailboxes"), &[], "").await;
    eventually("nothing is left", secs(120), || async {
        match w.k.get("MailInstance", "acme").await {
            None => Ok(()),
            Some(instance) => Err(conditions(&instance)),
        }
    })
    .await;
    let (code, printed) = plugin(&w, &["tree"]).await;
    assert!(code == FINE && printed.contains("nothing found"), "{code}: {printed}");
}
