//! Secrets that people write into: what clients read in them is put right, and what nobody can sign in with is said.

use crate::harness::world::World;
use crate::harness::{eventually, mail, secs};
use serde_json::{Value, json};

#[tokio::test]
async fn access_data_that_somebody_changed_are_put_back() {
    let w = World::new("put-back").await;
    w.tenant(&["alice"]).await;
    w.k.put_secret("text", &[("password", "my-own-Password-1")]).await;
    let mut text = w.mailbox("text", "main");
    text["spec"]["password"] = json!({"secretRef": {"name": "text", "key": "password"}});
    w.k.apply(text).await;
    w.k.ready("Mailbox", "text", secs(60)).await;
    let password = w.password("alice").await;
    for (name, key) in
        [("alice-mail", "username"), ("alice-mail", "imap-host"), ("text-mail", "username"), ("text-mail", "imap-port")]
    {
        let right = w.k.secret(name, key).await;
        assert!(right.is_some(), "{name} {key}");
        for change in [json!({"stringData": {key: "of-somebody-else"}}), json!({"data": {key: null}})] {
            w.k.patch("Secret", name, change).await;
            eventually(&format!("{key} of {name} is put back"), secs(60), || async {
                let now = w.k.secret(name, key).await;
                if now == right { Ok(()) } else { Err(now) }
            })
            .await;
        }
    }
    assert_eq!(w.password("alice").await, password, "the password stays");
    assert!(mail::imap_login(w.stack, (&w.address("alice"), &password)).await);

    // Its Secret is lost, and with it the password that somebody had typed.
    w.k.delete("Secret", "alice-mail").await;
    w.k.event("Mailbox", "alice", "PasswordReplaced", &["alice-mail"], secs(60)).await;
}

#[tokio::test]
async fn a_password_that_nobody_can_type_is_refused() {
    let w = World::new("typed").await;
    w.tenant(&[]).await;
    w.k.put_secret("text", &[("password", "\u{feff}my-own-Password-1\r\n")]).await;
    let mut text = w.mailbox("text", "main");
    text["spec"]["password"] = json!({"secretRef": {"name": "text", "key": "password"}});
    w.k.apply(text).await;
    w.k.ready("Mailbox", "text", secs(60)).await;
    let login = (&*w.address("text"), "my-own-Password-1");
    assert!(mail::imap_login(w.stack, login).await, "the mark and the line end are cut off");
    for (bad, words) in
        [("my\tPassword", "a tab (U+0009) as character 3"), ("my\nPassword", "a line feed"), ("pass\0", "NUL")]
    {
        w.k.put_secret("text", &[("password", bad)]).await;
        let seen = w.k.not_ready("Mailbox", "text", "SecretInvalid", secs(60)).await;
        eventually(words, secs(60), || async {
            let now = w.k.get("Mailbox", "text").await.unwrap_or_default()["status"]["conditions"].to_string();
            if now.contains(words) && !now.contains(bad) { Ok(()) } else { Err((now, seen.clone())) }
        })
        .await;
        assert!(mail::imap_login(w.stack, login).await, "{words}: it keeps the password it has");
    }
}

/// A mailbox `text` whose password comes from elsewhere.
async fn with_password(w: &World, password: Value) {
    let mut mailbox = w.mailbox("text", "main");
    mailbox["spec"]["password"] = password;
    w.k.apply(mailbox).await;
}

#[tokio::test]
async fn another_key_of_the_same_secret_is_another_password() {
    let w = World::new("keys").await;
    w.tenant(&[]).await;
    let words = ["first-of-Three-1", "second-of-Three-2", "third-of-Three-3"];
    let hash = mail::hash(words[2]);
    w.k.put_secret("text", &[("password", words[0]), ("second", words[1]), ("hash", &hash)]).await;
    let address = w.address("text");
    // As soon as it says so, and not a moment later.
    let signs_in = async |right: usize| {
        w.k.ready("Mailbox", "text", secs(60)).await;
        for (n, word) in words.iter().enumerate() {
            assert_eq!(mail::imap_login(w.stack, (&address, word)).await, n == right, "{n} where {right} is right");
        }
    };
    let key = |key: &str| json!({"name": "text", "key": key});
    with_password(&w, json!({"secretRef": key("password")})).await;
    signs_in(0).await;
    for (password, right) in [
        (json!({"secretRef": {"key": "second"}}), 1),
        (json!({"secretRef": null, "hashSecretRef": key("hash")}), 2),
        (json!({"secretRef": key("password"), "hashSecretRef": null}), 0),
    ] {
        w.k.patch("Mailbox", "text", json!({"spec": {"password": password}})).await;
        signs_in(right).await;
    }
}

const BCRYPT: &str = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";
const SHA512: &str =
    "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
/// Of `chosen-before-2`: a little more of memory times passes than what is allowed.
const COSTLY: &str =
    "{ARGON2ID}$argon2id$v=19$m=64,t=4097,p=1$H2z/R0fii3hY6khvs4E9qw$HZOBXWh/gw3SYpmwXVeOSQlQP6iOOpx5AZiaabFc0LU";

/// One that takes seconds to verify holds up the sign-in of everybody, and so does one that no server can read.
#[tokio::test]
async fn a_hash_that_costs_others_their_sign_in_is_refused() {
    let w = World::new("costly").await;
    w.tenant(&[]).await;
    let (address, word) = (w.address("text"), "hashed-Password-1");
    w.k.put_secret("text", &[("hash", &mail::hash(word))]).await;
    let from = json!({"hashSecretRef": {"name": "text", "key": "hash"}});
    with_password(&w, from.clone()).await;
    w.k.ready("Mailbox", "text", secs(60)).await;
    let row = format!("SELECT concat_ws(' ', password, password_applied) FROM mailbox WHERE username = '{address}'");
    let before = w.sql.one(&row).await;
    let range = "m up to 65536, m times t up to 262144";
    for (bad, why) in [
        (BCRYPT.replace("$05$", "$31$"), "bcrypt may have a cost of 04 to 12"),
        (BCRYPT.replace("bvIG", "b!IG"), "bcrypt has 53 characters of ./A-Za-z0-9"),
        (SHA512.replace("$6$", "$6$rounds=999999999$"), "rounds=1000 to rounds=656000"),
        (SHA512.replace("saltsalt", "salt!alt"), "1 to 16 characters of ./0-9A-Za-z"),
        (COSTLY.replace("m=64,t=4097", "m=8192,t=2000"), "m times t up to 262144 (m=65536 with t=4)"),
    ] {
        w.k.put_secret("text", &[("hash", &bad)]).await;
        let stalled = ("Stalled", "True", "BackendRejected");
        let said = w.k.says("Mailbox", "text", stalled, &[why], secs(60)).await["status"].to_string();
        assert!(said.contains(range) && !said.contains(&bad), "{said}");
        assert!(mail::imap_login(w.stack, (&address, word)).await, "{why}: it keeps the password it has");
        assert_eq!(w.sql.one(&row).await, before, "{why}");
    }
    // A new mailbox is not made with it.
    let mut new = w.mailbox("new", "main");
    new["spec"]["password"] = from;
    w.k.apply(new).await;
    w.k.not_ready("Mailbox", "new", "BackendRejected", secs(60)).await;
    assert_eq!(w.sql.row("mailbox", &format!("username = '{}'", w.address("new"))).await, None);
}

/// What is declared is not compared with it: had it been, it would have fitted, and stayed.
#[tokio::test]
async fn a_costly_hash_that_was_there_before_is_replaced_unread() {
    let w = World::new("unread").await;
    w.tenant(&[]).await;
    w.k.put_secret("text", &[("password", "my-own-Password-1")]).await;
    with_password(&w, json!({"secretRef": {"name": "text", "key": "password"}})).await;
    w.k.ready("Mailbox", "text", secs(60)).await;
    let (address, word) = (w.address("text"), "chosen-before-2");
    let which = format!("username = '{address}'");
    let set = format!("UPDATE mailbox SET password = '{COSTLY}', password_applied = '{COSTLY}' WHERE {which}");
    w.sql.run(&set).await;
    eventually("its text signs in", secs(30), || mail::inbox(w.stack, (&address, word))).await;

    w.k.put_secret("text", &[("password", word)]).await;
    let row = eventually("it is replaced", secs(60), || async {
        let row = w.sql.row("mailbox", &which).await.expect("a row");
        if row["password"] == COSTLY { Err("it stands there") } else { Ok(row) }
    })
    .await;
    let stored = row["password"].as_str().expect("a hash");
    assert!(stored.starts_with("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
    assert_eq!(row["password_applied"], row["password"]);
    w.k.ready("Mailbox", "text", secs(60)).await;
    assert!(mail::imap_login(w.stack, (&address, word)).await);
    assert!(!mail::imap_login(w.stack, (&address, "my-own-Password-1")).await);
}
