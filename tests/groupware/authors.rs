//! Whose name mail carries in its header: it is taken and signed only for an author that the login may send as.

use crate::conformance::*;
use crate::effects::{ALICE, BOB, acme};
use crate::outside::{Mail, Outside, sink, until};
use crate::stack::Stack;
use mailtenant_groupware::*;

const MALLORY: &str = "mallory@evil.test";

/// acme.test and evil.test, of two tenants, with keys.
async fn two_tenants(b: &dyn GroupwareServer) {
    acme(b).await;
    b.ensure_tenant(&tenant("t2", "evil")).await.unwrap();
    b.ensure_domain(&domain("d2", "evil.test", "evil")).await.unwrap();
    b.ensure_mailbox(&mailbox("mallory", MALLORY, "evil", "mallory-1")).await.unwrap();
    for (owner, domain, selectors) in [("d", "acme.test", ["r1", "e1"]), ("d2", "evil.test", ["r2", "e2"])] {
        let (owner, domain, selectors) = (uid(owner), name(domain), selectors.map(Selector::new));
        let signer = signer(b);
        let rsa = signer.ensure_dkim_key(&owner, &domain, &selectors[0], &rsa()).await.unwrap();
        let ed25519 = signer.ensure_dkim_key(&owner, &domain, &selectors[1], &ed25519()).await.unwrap();
        signer.sign_with(&owner, &domain, &[rsa, ed25519]).await.unwrap();
    }
}

/// The header of the message with this subject.
async fn header(out: &Outside<'_>, (user, password): (&str, &str), subject: &str) -> String {
    let mark = format!("Subject: {subject}\r\n");
    until(subject, async || out.inbox(user, password).await.contains(&mark)).await;
    let all = out.inbox(user, password).await;
    let message = all.split("BODY[] {").find(|m| m.contains(&mark)).unwrap_or_default();
    message.split("\r\n\r\n").next().unwrap_or_default().to_owned()
}

fn signed_by(header: &str, domain: &str) -> bool {
    let count = header.matches(&format!("d={domain};")).count();
    assert!([0, 2].contains(&count), "one signer signs, the other does not: {header}");
    count == 2
}

#[tokio::test]
async fn a_login_sends_in_no_other_name() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    two_tenants(&*b).await;
    let second = DomainWant { alias_of: Some(name("acme.test")), ..domain("d3", "acme.example.test", "acme") };
    b.ensure_domain(&second).await.unwrap();
    b.ensure_alias(&alias("info", "info@acme.test", "acme", &[ALICE])).await.unwrap();
    b.ensure_alias(&alias("o", "o'brien@acme.test", "acme", &[BOB, ALICE])).await.unwrap();
    b.ensure_alias(&alias("all", "@acme.test", "acme", &[ALICE])).await.unwrap();
    let mut none = alias("none", "none@acme.test", "acme", &[ALICE]);
    none.settings.send_as = false;
    b.ensure_alias(&none).await.unwrap();
    // of another tenant: delivers to alice, lends her nothing
    b.ensure_alias(&alias("ceo", "ceo@evil.test", "evil", &[ALICE])).await.unwrap();
    let send = async |login: (&str, &str), author: &str, subject: &str| {
        let mail = Mail { from: login.0, to: BOB, login: Some(login), subject, size: 100 };
        out.send_with(&mail, author).await
    };
    let (alice, mallory) = ((ALICE, "alice-1"), (MALLORY, "mallory-1"));
    for (n, (login, author, signed)) in [
        (alice, "From: alice@acme.test\r\n", "acme.test"),
        (alice, "From: =?utf-8?q?Al=C3=ADce?= <Alice@Acme.Test>\r\n", "acme.test"),
        (alice, "From: \"Doe, Alice <x@y>\"\r\n\t<alice@acme.test> (at work, today)\r\n", "acme.test"),
        (alice, "From: <alice+list@acme.test>\r\n", "acme.test"),
        (alice, "From: info@acme.test\r\n", "acme.test"),
        (alice, "From: o'brien@acme.test\r\n", "acme.test"),
        (alice, "From: alice@acme.example.test\r\n", ""),
        // A name is not an address.
        (mallory, "From: \"bob@acme.test\" <mallory@evil.test>\r\n", "evil.test"),
    ]
    .into_iter()
    .enumerate()
    {
        let subject = format!("own-{n}");
        assert_eq!(send(login, author, &subject).await, 250, "{author}");
        let header = header(&out, (BOB, "bob-1"), &subject).await;
        for domain in ["acme.test", "evil.test"] {
            assert_eq!(signed_by(&header, domain), domain == signed, "{author}: {header}");
        }
    }
    for (login, author) in [
        (alice, "From: bob@acme.test\r\n"),
        (alice, "From: none@acme.test\r\n"),
        (alice, "From: nobody@acme.test\r\n"),
        (alice, "From: ceo@evil.test\r\n"),
        (alice, "From: bob@acme.example.test\r\n"),
        (mallory, "From: bob@acme.test\r\n"),
        (mallory, "From: \"mallory@evil.test\" <bob@acme.test>\r\n"),
        (mallory, "From: (mallory@evil.test) bob@acme.test\r\n"),
        (mallory, "From: mallory@evil.test, bob@acme.test\r\n"),
        (mallory, "From: bob@acme.test, mallory@evil.test\r\n"),
        (mallory, "From: mallory@evil.test\r\nFrom: bob@acme.test\r\n"),
        (mallory, "From: bob@acme.test\r\nFrom: mallory@evil.test\r\n"),
        (mallory, "From: mallory@evil.test\r\nSender: mallory@evil.test\r\nfrom: bob@acme.test\r\n"),
        (mallory, "From: <mallory@evil.test> <bob@acme.test>\r\n"),
        (mallory, "From: x'or'a'='a@acme.test\r\n"),
        (mallory, "From: a:bob@acme.test;\r\n"),
    ] {
        assert_eq!(send(login, author, "forged").await, 550, "{author}");
    }
    assert!(!out.inbox(BOB, "bob-1").await.contains("Subject: forged"));
}

/// The longest addresses, and what is none: opendkim cuts a query off at 1023 bytes, and mail is deferred for ever then.
#[tokio::test]
async fn an_author_may_be_as_long_as_addresses_are() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    two_tenants(&*b).await;
    let label = "d".repeat(60);
    // As many characters before the @ as there may be, and in a domain that is declared; 254 together.
    let longest = [
        (64, format!("{label}.{label}.{}.test", "e".repeat(62))),
        (28, format!("{label}.{label}.{label}.{}.test", "e".repeat(37))),
    ];
    let bob = (BOB, "bob-1");
    let send = async |login: (&str, &str), from: &str, author: &[u8], subject: &str| {
        let mail = Mail { from, to: BOB, login: Some(login), subject, size: 100 };
        out.send_with(&mail, author).await
    };
    for (n, (local, end)) in longest.into_iter().enumerate() {
        b.ensure_domain(&domain(&format!("long-{n}"), &end, "acme")).await.unwrap();
        let user = format!("{}@{end}", "u".repeat(local));
        b.ensure_mailbox(&mailbox(&format!("user-{n}"), &user, "acme", "u-1")).await.unwrap();
        let other = format!("{}@{end}", "'".repeat(local));
        b.ensure_alias(&alias(&format!("alias-{n}"), &other, "acme", &[&user, ALICE])).await.unwrap();
        assert_eq!((local, user.len()), ([64, 28][n], 254));
        let login = (user.as_str(), "u-1");
        for (m, author) in [&user, &other].into_iter().enumerate() {
            let subject = format!("long-{n}-{m}");
            assert_eq!(send(login, &user, format!("From: <{author}>\r\n").as_bytes(), &subject).await, 250, "{author}");
            header(&out, bob, &subject).await;
        }
        let subject = format!("short-{n}");
        assert_eq!(send((ALICE, "alice-1"), ALICE, format!("From: <{other}>\r\n").as_bytes(), &subject).await, 250);
        for author in [ALICE.to_owned(), format!("x{}", &user[1..]), format!("{}@{end}", "x".repeat(300))] {
            assert_eq!(send(login, &user, format!("From: {author}\r\n").as_bytes(), "forged").await, 550, "{author}");
        }
    }
    // Bytes that are no UTF-8: in a name they are somebody's, in an address nobody's.
    let alice = (ALICE, "alice-1");
    assert_eq!(send(alice, ALICE, b"From: J\xf6rg <alice@acme.test>\r\n", "umlaut").await, 250);
    assert!(signed_by(&header(&out, bob, "umlaut").await, "acme.test"));
    assert_eq!(send(alice, ALICE, b"From: j\xf6rg@acme.test\r\n", "forged").await, 550);
    assert_eq!(send(alice, ALICE, "From: jörg@acme.test\r\n".as_bytes(), "forged").await, 550);
    // A script sends such mail of others on.
    out.put_sieve(MALLORY, "mallory-1", "redirect \"bob@acme.test\";\r\n").await;
    let long = format!("From: {}@ext.test\r\n", "x".repeat(300));
    for (n, author) in [b"From: j\xf6rg@ext.test\r\n".as_slice(), long.as_bytes()].into_iter().enumerate() {
        let subject = format!("sent-on-{n}");
        let mail = Mail { from: "x@ext.test", to: MALLORY, login: None, subject: &subject, size: 100 };
        assert_eq!(out.send_with(&mail, author).await, 250, "{subject}");
        assert!(!signed_by(&header(&out, bob, &subject).await, "evil.test"));
    }
}

/// What comes from outside is not signed, whichever host hands it in; nor when a user's Sieve script sends it on, or
/// answers in another name. An answer in the user's own name is.
#[tokio::test]
async fn what_a_script_sends_is_signed_for_its_user_alone() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    two_tenants(&*b).await;
    let from_outside = async |from: &str, to: &str, subject: &str| {
        assert_eq!(out.send(&Mail { from, to, login: None, subject, size: 100 }).await, 250, "{subject}");
    };
    let bob = (BOB, "bob-1");
    from_outside(ALICE, BOB, "forged").await;
    assert!(!signed_by(&header(&out, bob, "forged").await, "acme.test"));

    out.put_sieve(MALLORY, "mallory-1", "redirect \"bob@acme.test\";\r\n").await;
    from_outside(ALICE, MALLORY, "forged-and-sent-on").await;
    assert!(!signed_by(&header(&out, bob, "forged-and-sent-on").await, "acme.test"));

    let answers = |user: &str, from: &str| {
        format!("require \"vacation\";\r\nvacation :from \"{from}\" :subject \"{user} as {from}\" \"x\";\r\n")
    };
    for (user, password, from, signed) in [
        (MALLORY, "mallory-1", ALICE, ""),
        (MALLORY, "mallory-1", MALLORY, "evil.test"),
        (ALICE, "alice-1", ALICE, "acme.test"),
    ] {
        out.put_sieve(user, password, &answers(user, from)).await;
        from_outside(BOB, user, "asked").await;
        let header = header(&out, bob, &format!("{user} as {from}")).await;
        for domain in ["acme.test", "evil.test"] {
            assert_eq!(signed_by(&header, domain), domain == signed, "{user} as {from}: {header}");
        }
    }
}

/// Where mail may not be forwarded to others, a user's Sieve script does not either: the mail is kept.
#[tokio::test]
async fn a_script_redirects_only_where_forwarding_is_allowed() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    acme(&*b).await;
    let mut left = sink(&stack).await;
    let alice = (ALICE, "alice-1");
    out.put_sieve(alice.0, alice.1, "redirect \"far@ext.test\";\r\n").await;
    assert_eq!(out.mail(ALICE, "sent-on").await, 250);
    assert_eq!(left.recv().await.as_deref(), Some("far@ext.test"));
    b.ensure_tenant(&TenantWant { redirects: false, ..tenant("t", "acme") }).await.unwrap();
    assert_eq!(out.mail(ALICE, "kept").await, 250);
    header(&out, alice, "kept").await;
    assert!(left.try_recv().is_err(), "it was sent on");
    assert!(!out.inbox(alice.0, alice.1).await.contains("sent-on"));
}
