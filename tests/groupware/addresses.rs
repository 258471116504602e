//! What the API takes as a mailbox' local part works at the real servers, from sign-in to removal; the provider refuses
//! the rest, and an alias gives a mailbox the addresses that it cannot have itself.

use crate::conformance::*;
use crate::effects::ICS;
use crate::outside::{Outside, until};
use crate::stack::Stack;
use mailtenant_groupware::BackendError;

#[tokio::test]
async fn every_character_of_a_local_part() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    b.probe().await.unwrap();
    b.ensure_tenant(&tenant("t", "acme")).await.unwrap();
    b.ensure_domain(&domain("d", "acme.test", "acme")).await.unwrap();
    // the neighbours are who a wildcard or a subaddress would meet
    let names = ["ab", "a.b", "a-b", "a_b", "_ab", "ab-", "0.-_"];
    for name in names {
        let address = format!("{name}@acme.test");
        b.ensure_mailbox(&mailbox(name, &address, "acme", name)).await.unwrap();
        assert_eq!(out.signs_in(&address, name).await, [true; 3], "{name}");
        assert_eq!(out.dav("PUT", &address, name, "Calendar/personal/e1.ics", ICS).await.0, 201, "{name}");
    }
    for name in names {
        let address = format!("{name}@acme.test");
        assert_eq!(out.mail(&address, &format!("to-{name}-alone")).await, 250, "{name}");
        until(name, async || out.inbox(&address, name).await.contains(&format!("to-{name}-alone"))).await;
    }
    for name in names {
        let address = format!("{name}@acme.test");
        assert_eq!(
            out.inbox(&address, name).await.matches("-alone").count(),
            2,
            "{name}: Subject and Message-ID of one"
        );
        b.disable_mailbox(&uid(name), &at(&address)).await.unwrap();
        b.purge_mailbox(&uid(name), &at(&address)).await.unwrap();
        b.drop_mailbox(&uid(name), &at(&address)).await.unwrap();
        let left = sql.count(&format!("SELECT count(*) FROM sogo_folder_info WHERE c_path2 = '{address}'")).await;
        assert_eq!(left, 0, "{name}");
    }
    assert_eq!(sql.count("SELECT count(*) FROM sogo_store").await, 0);
    assert_eq!(std::fs::read_dir(stack.root().join("vmail")).unwrap().count(), 0);
    for name in ["o'brien", "x'or'1'='1", "a+b", "a?b", "a*b", "a%b", "a&b", "-ab"] {
        let refused = b.ensure_mailbox(&mailbox("m", &format!("{name}@acme.test"), "acme", "pw")).await;
        assert!(matches!(refused, Err(BackendError::Rejected(_))), "{name}: {refused:?}");
    }
}

/// A domain with other letters than those of ASCII has its mail by its A-label. A server that announced SMTPUTF8 would be told
/// the U-label too, and would refuse it for good.
#[tokio::test]
async fn a_domain_in_other_letters_is_told_by_its_a_label() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    b.probe().await.unwrap();
    b.ensure_tenant(&tenant("t", "acme")).await.unwrap();
    b.ensure_domain(&domain("d", "xn--mnchen-3ya.test", "acme")).await.unwrap();
    b.ensure_mailbox(&mailbox("m", "a@xn--mnchen-3ya.test", "acme", "pw")).await.unwrap();
    assert_eq!(out.mail("a@xn--mnchen-3ya.test", "to-the-a-label").await, 250);
    for port in ["SMTP", "SUBMIT"] {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", stack.port(port))).await.unwrap();
        let mut stream = BufReader::new(stream);
        let (mut line, mut said) = (String::new(), String::new());
        stream.read_line(&mut line).await.unwrap();
        stream.write_all(b"EHLO there.test\r\n").await.unwrap();
        while !said.contains("250 ") {
            line.clear();
            assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "{said}");
            said.push_str(&line);
        }
        assert!(said.contains("8BITMIME") && !said.contains("SMTPUTF8"), "{port}: {said}");
    }
}

/// A mailbox with aliases of every character: it gets their mail and may send as them, and webmail goes on working.
#[tokio::test]
async fn every_character_of_an_alias() {
    const USER: &str = "obrien@acme.test";
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    b.probe().await.unwrap();
    b.ensure_tenant(&tenant("t", "acme")).await.unwrap();
    b.ensure_domain(&domain("d", "acme.test", "acme")).await.unwrap();
    b.ensure_mailbox(&mailbox("m", USER, "acme", "pw")).await.unwrap();
    for (n, name) in ["o'brien", "r&d", "a+b", "a?b", "a#$=^_~{}-b"].iter().enumerate() {
        let address = format!("{name}@acme.test");
        b.ensure_alias(&alias(name, &address, "acme", &[USER])).await.unwrap();
        assert_eq!(out.mail(&address, &format!("alias-{n}")).await, 250, "{name}");
        until(name, async || out.inbox(USER, "pw").await.contains(&format!("Subject: alias-{n}"))).await;
        assert_eq!(out.submit(USER, "pw", &address, USER, "as").await, 250, "{name}");
        assert_eq!(b.aliases_to(&at(USER)).await.unwrap().len(), n + 1);
        assert_eq!(out.dav("PUT", USER, "pw", "Calendar/personal/e1.ics", ICS).await.0 / 100, 2, "{name}");
    }
    // why the API refuses a hyphen at the beginning: Postfix does (allow_min_user)
    b.ensure_alias(&alias("hyphen", "-ab@acme.test", "acme", &[USER])).await.unwrap();
    assert_ne!(out.mail("-ab@acme.test", "hyphen").await, 250);
}
