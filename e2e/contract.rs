//! What users and programs are promised about access data: every key of the credentials Secret, and the same in the status.

use crate::harness::world::{World, groupware_backend};
use crate::harness::{dav, eventually, mail, secs};
use serde_json::{Value, json};
use std::collections::BTreeMap;

type Data = BTreeMap<String, String>;

/// A backend of the test's own whose host names lead to the stack, with an instance on it and a domain in that.
async fn place(w: &World) {
    let mut backend = groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}));
    backend["spec"]["hosts"] = json!({
        "mx": [{"host": "mx1.mail.example.net", "preference": 10}],
        "imap": {"host": "localhost", "port": w.stack.port("IMAP"), "security": "STARTTLS"},
        "pop3": {"host": "pop.mail.example.net", "port": 995},
        "submission": {"host": "127.0.0.1", "port": w.stack.port("SUBMIT")},
        "sieve": {"host": "sieve.mail.example.net", "port": 4190, "security": "STARTTLS"},
        "webmail": "https://webmail.example.net/SOGo", "dav": dav::url(w.stack)});
    w.k.apply(backend).await;
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
}

/// What the Secret of a mailbox has, but for the password.
fn wanted(w: &World, name: &str) -> Data {
    let (imap, submission) = (w.stack.port("IMAP").to_string(), w.stack.port("SUBMIT").to_string());
    let (address, url) = (w.address(name), dav::url(w.stack));
    let pairs = [
        ("username", address.as_str()),
        ("imap-host", "localhost"),
        ("imap-port", &imap),
        ("imap-security", "STARTTLS"),
        ("pop3-host", "pop.mail.example.net"),
        ("pop3-port", "995"),
        ("pop3-security", "TLS"),
        ("submission-host", "127.0.0.1"),
        ("submission-port", &submission),
        ("submission-security", "TLS"),
        ("sieve-host", "sieve.mail.example.net"),
        ("sieve-port", "4190"),
        ("sieve-security", "STARTTLS"),
        ("webmail-url", "https://webmail.example.net/SOGo"),
        ("dav-url", &url),
    ];
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

/// `status.clientSettings` in the words of the Secret.
fn flat(settings: &Value) -> Data {
    let mut data = Data::new();
    for (service, value) in settings.as_object().cloned().unwrap_or_default() {
        match value {
            Value::String(text) if service == "username" => drop(data.insert(service, text)),
            Value::String(text) => drop(data.insert(format!("{service}-url"), text)),
            Value::Object(endpoint) => {
                for (key, value) in endpoint {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
                    data.insert(format!("{service}-{key}"), text);
                }
            }
            other => panic!("{service}: {other}"),
        }
    }
    data
}

/// Waits until both tell the same, the password apart; gives that.
async fn told(w: &World, mailbox: &str, secret: &str, want: &Data) -> Option<String> {
    eventually(&format!("the access data of {mailbox}"), secs(60), || async {
        let mut data = w.k.secret_data(secret).await.unwrap_or_default();
        let password = data.remove("password");
        let status = flat(&w.k.get("Mailbox", mailbox).await.expect("it is there")["status"]["clientSettings"]);
        if data == *want && status == *want { Ok(password) } else { Err((data, status)) }
    })
    .await
}

#[tokio::test]
async fn access_data_stands_in_secret_and_status_and_opens_the_doors_that_it_names() {
    let w = World::new("contract").await;
    place(&w).await;
    let with = |name: &str, spec: Value| {
        let mut mailbox = w.mailbox(name, "main");
        for (key, value) in spec.as_object().into_iter().flatten() {
            mailbox["spec"][key] = value.clone();
        }
        mailbox
    };
    w.k.put_secret("bobs", &[("password", "chosen-by-Bob-71")]).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.apply(with("bob", json!({"password": {"secretRef": {"name": "bobs", "key": "password"}}}))).await;
    w.k.apply(with("carol", json!({"credentialsSecret": "for-carol", "password": {"generate": {"length": 40}}}))).await;
    let secrets = [("alice", "alice-mail"), ("bob", "bob-mail"), ("carol", "for-carol")];
    for ((name, secret), length) in secrets.into_iter().zip([Some(24), None, Some(40)]) {
        let mailbox = w.k.ready("Mailbox", name, secs(120)).await;
        let password = told(&w, name, secret, &wanted(&w, name)).await;
        assert_eq!(password.map(|p| p.len()), length, "{name}");
        let object = w.k.get("Secret", secret).await.expect("it is there");
        assert_eq!(object["type"], "mailtenant.dev/credentials");
        let owner = json!([{"apiVersion": "mailtenant.dev/v1alpha1", "kind": "Mailbox", "name": name,
            "uid": mailbox["metadata"]["uid"], "controller": true, "blockOwnerDeletion": false}]);
        assert_eq!(object["metadata"]["ownerReferences"], owner);
    }
    assert!(w.k.get("Secret", "carol-mail").await.is_none(), "it was to have another name");

    // Somebody who knows nothing but the Secret signs in, sends, reads. Of the security nothing can be tried here.
    let data = w.k.secret_data("for-carol").await.expect("it is there");
    let login = (data["username"].as_str(), data["password"].as_str());
    let server = |service: &str| {
        (data[&format!("{service}-host")].as_str(), data[&format!("{service}-port")].parse::<u16>().expect("a port"))
    };
    let alice = w.address("alice");
    let sent = mail::hand_in(server("submission"), login.0, login.0, "to herself", "hello\r\n", Some(login)).await;
    sent.expect("submission takes the password");
    let refused = mail::hand_in(server("submission"), &alice, login.0, "as alice", "hello\r\n", Some(login)).await;
    assert_eq!(refused.expect_err("another's address").0, 553);
    eventually("it is in the inbox", secs(30), || async {
        let all = mail::inbox_at(server("imap"), login).await?;
        if all.iter().any(|m| mail::has_subject(m, "to herself")) {
            Ok(())
        } else {
            Err(format!("{} others", all.len()))
        }
    })
    .await;
    assert!(dav::sign_in_at(&data["dav-url"], login).await);
    assert!(!dav::sign_in_at(&data["dav-url"], (login.0, "another")).await);

    // What a mailbox may not use is not told, as what the server does not offer; the password stays.
    let password = w.password("alice").await;
    let without = |services: &[&str]| {
        let mut data = wanted(&w, "alice");
        data.retain(|key, _| !services.iter().any(|s| key.starts_with(&format!("{s}-"))));
        data
    };
    w.k.patch("Mailbox", "alice", json!({"spec": {"access": {"pop3": false, "groupware": false}}})).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    let mut want = without(&["pop3", "webmail", "dav"]);
    assert_eq!(told(&w, "alice", "alice-mail", &want).await.as_ref(), Some(&password));
    w.k.patch("Mailbox", "alice", json!({"spec": {"access": null}})).await;
    assert_eq!(told(&w, "alice", "alice-mail", &without(&[])).await.as_ref(), Some(&password));

    // The platform moves a service and ends another: who has a Secret is told.
    let hosts = json!({"pop3": null, "dav": null, "sieve": {"host": "sieve2.mail.example.net", "security": "TLS"}});
    w.k.patch("GroupwareBackend", &w.ns, json!({"spec": {"hosts": hosts}})).await;
    for (name, secret) in secrets {
        want = wanted(&w, name);
        want.retain(|key, _| !key.starts_with("pop3-") && !key.starts_with("dav-"));
        want.insert("sieve-host".into(), "sieve2.mail.example.net".into());
        want.insert("sieve-security".into(), "TLS".into());
        let kept = told(&w, name, secret, &want).await;
        assert_eq!(kept.is_some(), name != "bob");
    }
    assert_eq!(w.password("alice").await, password);
    assert!(mail::imap_login(w.stack, (&alice, &password)).await);
}

#[tokio::test]
async fn a_secret_of_somebody_else_in_its_place_is_left_as_it_is() {
    let w = World::new("foreign").await;
    w.tenant(&[]).await;
    w.k.put_secret("taken", &[("password", "not-ours-at-all-81"), ("imap-host", "elsewhere")]).await;
    let mut alice = w.mailbox("alice", "main");
    alice["spec"]["credentialsSecret"] = json!("taken");
    w.k.apply(alice).await;
    w.k.not_ready("Mailbox", "alice", "SecretNotOwned", secs(60)).await;
    let before = w.k.get("Secret", "taken").await.expect("it is there");
    assert!(w.sql.row("mailbox", &format!("username = '{}'", w.address("alice"))).await.is_none());
    // It goes, and the mailbox comes without being asked.
    assert_eq!(before["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(w.k.secret("taken", "imap-host").await.as_deref(), Some("elsewhere"));
    w.k.delete("Secret", "taken").await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    let password = w.k.secret("taken", "password").await.expect("it is made");
    assert!(mail::imap_login(w.stack, (&w.address("alice"), &password)).await);
}
