//! Secrets that people write into: what clients read in them is put right, and what nobody can sign in with is said.

use crate::harness::world::World;
use crate::harness::{eventually, mail, secs};
use serde_json::json;

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
