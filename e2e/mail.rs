//! The main job: what is declared lives on real servers. Mail is sent from outside and read by IMAP; nothing here looks
//! at how the operator did it.

use crate::harness::kubectl::condition_of;
use crate::harness::world::World;
use crate::harness::{dav, dns, eventually, mail, secs, sink};
use serde_json::{Value, json};

const OUTSIDER: &str = "sender@elsewhere.example";

#[tokio::test]
async fn mail_reaches_mailbox_alias_catch_all_and_forward_and_is_signed() {
    let w = World::new("mail").await;
    let outside = sink::outside(w.stack);
    w.tenant(&["alice", "bob"]).await;
    w.k.apply(w.alias("info", "main", "info", &["alice", "bob"])).await;
    w.k.apply(w.alias("rest", "main", "*", &["bob"])).await;
    let mut carol = w.mailbox("carol", "main");
    carol["spec"]["forwarding"] = json!({"to": ["carol@away.example", w.address("bob")], "keepCopy": true});
    w.k.apply(carol).await;
    let mut dora = w.mailbox("dora", "main");
    dora["spec"]["forwarding"] = json!({"to": [w.address("alice")], "keepCopy": false});
    w.k.apply(dora).await;
    for (kind, name) in [("MailAlias", "info"), ("MailAlias", "rest"), ("Mailbox", "carol"), ("Mailbox", "dora")] {
        w.k.ready(kind, name, secs(60)).await;
    }
    let (alice, bob, carol, dora) = (w.address("alice"), w.address("bob"), w.address("carol"), w.address("dora"));
    let (pa, pb) = (w.password("alice").await, w.password("bob").await);
    let (pc, pd) = (w.password("carol").await, w.password("dora").await);
    let (la, lb, lc, ld) = (
        (alice.as_str(), pa.as_str()),
        (bob.as_str(), pb.as_str()),
        (carol.as_str(), pc.as_str()),
        (dora.as_str(), pd.as_str()),
    );

    for (to, subject) in [
        (&alice, "to a mailbox"),
        (&w.address("info"), "to an alias"),
        (&w.address("whoever"), "to nobody"),
        (&carol, "forwarded with a copy"),
        (&dora, "forwarded without"),
    ] {
        mail::send(w.stack, OUTSIDER, to, subject, None).await.unwrap_or_else(|e| panic!("{subject}: {e:?}"));
    }
    mail::arrives(w.stack, la, "to a mailbox").await;
    mail::arrives(w.stack, la, "to an alias").await;
    mail::arrives(w.stack, lb, "to an alias").await;
    mail::arrives(w.stack, lb, "to nobody").await;
    mail::arrives(w.stack, lc, "forwarded with a copy").await;
    mail::arrives(w.stack, lb, "forwarded with a copy").await;
    mail::arrives(w.stack, la, "forwarded without").await;
    eventually("the forward to another domain left", secs(30), || async {
        let left = outside.lock().expect("no poison").clone();
        left.iter()
            .any(|m| m.to == ["carol@away.example"] && mail::has_subject(&m.data, "forwarded with a copy"))
            .then_some(())
            .ok_or(left.len())
    })
    .await;
    assert_eq!(mail::inbox(w.stack, ld).await.expect("sign-in"), Vec::<String>::new(), "dora keeps no copy");
    let bobs = mail::inbox(w.stack, lb).await.expect("sign-in");
    assert!(!bobs.iter().any(|m| mail::has_subject(m, "to a mailbox")), "the catch-all takes no other address' mail");

    // Signed by every key that the status calls active, and each verifies against the published record.
    let domain = w.k.get("MailDomain", "main").await.expect("there");
    let keys = domain["status"]["dkim"].as_array().cloned().unwrap_or_default();
    let mut active: Vec<_> =
        keys.iter().filter(|k| k["state"] == "Active").filter_map(|k| k["selector"].as_str()).collect();
    active.sort();
    assert!(!active.is_empty(), "{domain}");
    mail::send(w.stack, &alice, &bob, "signed", Some(la)).await.expect("sent");
    let message = mail::arrives(w.stack, lb, "signed").await;
    let mut signatures = mail::dkim_signatures(w.stack, &message);
    signatures.sort();
    assert!(signatures.iter().all(|s| s.good && s.domain == w.zone()), "{signatures:?}");
    let mut selectors: Vec<_> = signatures.iter().map(|s| s.selector.as_str()).collect();
    selectors.sort();
    assert_eq!(selectors, active);
    let algorithms: Vec<_> = signatures.iter().map(|s| s.algorithm.as_str()).collect();
    assert!(["rsa-sha256", "ed25519-sha256"].iter().all(|a| algorithms.contains(a)), "{signatures:?}");

    // Sending as: the alias' targets may, nobody else's address.
    let info = w.address("info");
    mail::send(w.stack, &info, &bob, "as the alias", Some(la)).await.expect("send-as");
    mail::send(w.stack, &info, &alice, "as the alias too", Some(lb)).await.expect("send-as");
    for (from, login) in [(&bob, la), (&info, lc), (&w.address("whoever"), lb)] {
        let refused = mail::send(w.stack, from, &alice, "as somebody else", Some(login)).await;
        assert_eq!(refused.expect_err("must be refused").0, 553, "{} as {from}", login.0);
    }
    w.k.patch("MailAlias", "info", json!({"spec": {"sendAs": false}})).await;
    w.k.ready("MailAlias", "info", secs(60)).await;
    let refused = mail::send(w.stack, &info, &bob, "as the alias", Some(la)).await;
    assert_eq!(refused.expect_err("send-as is off").0, 553);

    // Over quota.
    w.k.patch("Mailbox", "alice", json!({"spec": {"quota": "1Mi"}})).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    assert_eq!(mail::offer(w.stack, &alice, 100_000).await.0, 250);
    assert_eq!(mail::offer(w.stack, &alice, 2_000_000).await.0, 552);

    // What the DNS tells the world.
    let zone = w.zone();
    assert_eq!(dns::contents(w.stack, &zone, &zone, "MX").await, ["10 mx1.mail.example.net."]);
    let txt = dns::contents(w.stack, &zone, &zone, "TXT").await;
    assert!(txt.iter().any(|t| t.contains("v=spf1 include:_spf.mail.example.net -all")), "{txt:?}");
    let dmarc = dns::contents(w.stack, &zone, &format!("_dmarc.{zone}"), "TXT").await;
    assert!(dmarc.iter().any(|t| t.contains("v=DMARC1") && t.contains("p=quarantine")), "{dmarc:?}");
}

/// Whether a login works by IMAP, submission and DAV.
async fn sign_in(w: &World, login: mail::Login<'_>) -> [bool; 3] {
    let sent = mail::send(w.stack, login.0, login.0, "sign-in", Some(login)).await;
    if let Err((code, text)) = &sent {
        assert_eq!(*code, 535, "{text}");
    }
    [mail::imap_login(w.stack, login).await, sent.is_ok(), dav::sign_in(w.stack, login).await]
}

#[tokio::test]
async fn rotation_refuses_the_old_password_at_once_everywhere() {
    let w = World::new("rotate").await;
    w.tenant(&["alice"]).await;
    let alice = w.address("alice");
    for round in ["first", "second"] {
        let old = w.password("alice").await;
        // Each has a cache that knows the old password now.
        assert_eq!(sign_in(&w, (&alice, &old)).await, [true; 3]);
        let mut held = mail::Held::open(w.stack, (&alice, &old)).await;
        w.k.annotate("Mailbox", "alice", "mailtenant.dev/rotate-password", round).await;
        eventually("the rotation is done", secs(60), || async {
            let mailbox = w.k.get("Mailbox", "alice").await.expect("there");
            let done = mailbox["status"]["lastHandledRotatePassword"] == round
                && condition_of(&mailbox, "Ready").is_some_and(|c| c["status"] == "True");
            if done { Ok(()) } else { Err(mailbox["status"].clone()) }
        })
        .await;
        // No waiting here: "at once".
        assert_eq!(sign_in(&w, (&alice, &old)).await, [false; 3], "{round}: the old password");
        assert!(!held.alive().await, "{round}: a session of the old password goes on");
        let new = w.password("alice").await;
        assert_ne!(old, new);
        assert_eq!(sign_in(&w, (&alice, &new)).await, [true; 3], "{round}: the new password");
    }
}

#[tokio::test]
async fn suspension_stops_sign_in_and_all_stops_mail_too() {
    let w = World::new("suspend").await;
    w.tenant(&["alice", "bob"]).await;
    let (alice, password) = (w.address("alice"), w.password("alice").await);
    let login = (alice.as_str(), password.as_str());
    assert_eq!(sign_in(&w, login).await, [true; 3]);
    let mut held = mail::Held::open(w.stack, login).await;
    let suspend = async |how: &str| {
        w.k.patch("Mailbox", "alice", json!({"spec": {"suspend": how}})).await;
        w.k.ready("Mailbox", "alice", secs(60)).await;
    };
    suspend("Login").await;
    assert_eq!(sign_in(&w, login).await, [false; 3]);
    assert!(!held.alive().await, "an open session goes on");
    mail::send(w.stack, OUTSIDER, &alice, "while suspended", None).await.expect("mail is taken");
    // Seen before it is closed: what is still in Postfix' queue then goes back to its sender.
    suspend("None").await;
    mail::arrives(w.stack, login, "while suspended").await;
    suspend("All").await;
    assert_eq!(sign_in(&w, login).await, [false; 3]);
    let refused = mail::send(w.stack, OUTSIDER, &alice, "refused", None).await.expect_err("no mail");
    assert_eq!(refused.0, 550, "{refused:?}");
    suspend("None").await;
    assert_eq!(sign_in(&w, login).await, [true; 3]);
    mail::arrives(w.stack, login, "while suspended").await;
}

#[tokio::test]
async fn passwords_come_from_secrets_as_text_or_hash() {
    let w = World::new("secret").await;
    w.tenant(&["alice"]).await;
    let with = |name: &str, password: Value| {
        let mut mailbox = w.mailbox(name, "main");
        mailbox["spec"]["password"] = password;
        mailbox
    };
    // The Secret comes later than its mailbox: the mailbox waits for it and is woken by it.
    w.k.apply(with("text", json!({"secretRef": {"name": "text", "key": "password"}}))).await;
    w.k.not_ready("Mailbox", "text", "SecretNotFound", secs(60)).await;
    w.k.put_secret("text", &[("password", "my-own-Password-1")]).await;
    w.k.ready("Mailbox", "text", secs(60)).await;
    assert_eq!(sign_in(&w, (&w.address("text"), "my-own-Password-1")).await, [true; 3]);
    assert_eq!(w.k.secret("text-mail", "password").await, None, "a given password is not copied");
    assert_eq!(w.k.secret("text-mail", "username").await, Some(w.address("text")));
    w.k.put_secret("text", &[("password", "my-other-Password-2")]).await;
    eventually("the new password works", secs(60), || async {
        mail::inbox(w.stack, (&w.address("text"), "my-other-Password-2")).await
    })
    .await;
    // By IMAP as soon as the row is written; what follows is done a moment later.
    let due = format!("SELECT effects_due FROM mailbox WHERE username = '{}'", w.address("text"));
    eventually("the old one is forgotten", secs(60), || async {
        let due = w.sql.one(&due).await;
        if due == "f" { Ok(()) } else { Err(due) }
    })
    .await;
    assert_eq!(sign_in(&w, (&w.address("text"), "my-own-Password-1")).await, [false; 3]);

    // What the operator made has more than 128 bits and needs no slow hash; what a person types into its Secret does.
    let stored = || async {
        w.sql
            .one(&format!(
                "SELECT split_part(password, '}}', 1) FROM mailbox WHERE username = '{}'",
                w.address("alice")
            ))
            .await
    };
    assert_eq!(stored().await, "{SSHA512");
    w.k.patch("Secret", "alice-mail", json!({"stringData": {"password": "typed-by-hand"}})).await;
    eventually("the typed password works", secs(60), || async {
        mail::inbox(w.stack, (&w.address("alice"), "typed-by-hand")).await
    })
    .await;
    assert_eq!(stored().await, "{ARGON2ID");
    w.k.annotate("Mailbox", "alice", "mailtenant.dev/rotate-password", "1").await;
    eventually("and is made by the operator again", secs(60), || async {
        let stored = stored().await;
        if stored == "{SSHA512" { Ok(()) } else { Err(stored) }
    })
    .await;

    let hash =
        std::process::Command::new("doveadm").args(["pw", "-s", "BLF-CRYPT", "-p", "hashed-Password-3"]).output();
    let hash = String::from_utf8(hash.expect("doveadm pw").stdout).expect("text");
    w.k.put_secret("hash", &[("hash", hash.trim().trim_start_matches("{BLF-CRYPT}"))]).await;
    w.k.apply(with("hash", json!({"hashSecretRef": {"name": "hash", "key": "hash"}}))).await;
    w.k.ready("Mailbox", "hash", secs(60)).await;
    assert_eq!(sign_in(&w, (&w.address("hash"), "hashed-Password-3")).await, [true; 3]);
    assert_eq!(sign_in(&w, (&w.address("hash"), "another")).await, [false; 3]);
}

#[tokio::test]
async fn an_address_that_is_used_again_starts_empty() {
    let w = World::new("again").await;
    w.tenant(&["alice", "bob"]).await;
    let alice = w.address("alice");
    let password = w.password("alice").await;
    let login = (alice.as_str(), password.as_str());
    mail::send(w.stack, OUTSIDER, &alice, "a secret of the first owner", None).await.expect("taken");
    mail::arrives(w.stack, login, "a secret of the first owner").await;
    dav::put_event(w.stack, login, "e1").await;
    assert!(dav::has_event(w.stack, login, "e1").await);
    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(60)).await;
    let refused = mail::send(w.stack, OUTSIDER, &alice, "to nobody", None).await.expect_err("no such mailbox");
    assert_eq!(refused.0, 550, "{refused:?}");
    assert_eq!(sign_in(&w, login).await, [false; 3]);
    // By Kubernetes' garbage collector, which looks for new kinds every 30 s only.
    eventually("the credentials are gone", secs(120), || async {
        w.k.get("Secret", "alice-mail").await.map_or(Ok(()), |s| Err(s["metadata"].clone()))
    })
    .await;

    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    let second = w.password("alice").await;
    assert_ne!(password, second);
    let login = (alice.as_str(), second.as_str());
    assert_eq!(mail::inbox(w.stack, login).await.expect("sign-in"), Vec::<String>::new());
    assert!(dav::sign_in(w.stack, login).await);
    assert!(!dav::has_event(w.stack, login, "e1").await, "the next owner reads the first one's calendar");
}

#[tokio::test]
async fn retained_mail_comes_back_to_the_same_place() {
    let w = World::new("retain").await;
    w.tenant(&["bob"]).await;
    let mut alice = w.mailbox("alice", "main");
    alice["spec"]["deletionPolicy"] = json!("Retain");
    w.k.apply(alice.clone()).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    let (address, password) = (w.address("alice"), w.password("alice").await);
    mail::send(w.stack, OUTSIDER, &address, "kept", None).await.expect("taken");
    mail::arrives(w.stack, (&address, &password), "kept").await;
    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(60)).await;
    assert_eq!(sign_in(&w, (&address, &password)).await, [false; 3], "switched off");
    assert_eq!(w.sql.one(&format!("SELECT count(*) FROM mailbox WHERE username = '{address}'")).await, "1", "but kept");

    w.k.apply(alice.clone()).await;
    w.k.not_ready("Mailbox", "alice", "ExistsAtBackend", secs(60)).await;
    alice["spec"]["adoptionPolicy"] = json!("IfUnowned");
    w.k.apply(alice).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    let password = w.password("alice").await;
    mail::arrives(w.stack, (&address, &password), "kept").await;
}
