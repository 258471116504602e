//! Addresses that are switched off, beside a catch-all that must not get their mail.

use crate::conformance::*;
use crate::effects::{ALICE, BOB, acme};
use crate::outside::{Outside, sink, until};
use crate::stack::Stack;
use mailtenant_groupware::*;

const GINA: &str = "gina@acme.test";

/// Leaves alice, and with her all that leads to her alone, closed. gina is open, and so is the catch-all, to bob.
async fn closed(b: &dyn GroupwareServer) {
    acme(b).await;
    b.ensure_domain(&DomainWant { alias_of: Some(name("acme.test")), ..domain("d2", "acme.example.test", "acme") })
        .await
        .unwrap();
    let forwards = |name: &str, keep_copy: bool| {
        let mut want = mailbox(name, &format!("{name}@acme.test"), "acme", "x-1");
        (want.settings.forward_to, want.settings.keep_copy) = (vec![at(ALICE)], keep_copy);
        want
    };
    for want in [
        mailbox("gina", GINA, "acme", "gina-1"),
        mailbox("eve", "eve@acme.test", "acme", "x-1"),
        mailbox("frank", "frank@acme.test", "acme", "x-1"),
        forwards("carol", true),
        forwards("dora", false),
    ] {
        b.ensure_mailbox(&want).await.unwrap();
    }
    let mut off = alias("off", "off@acme.test", "acme", &["far@ext.test"]);
    off.settings.active = false;
    for want in [
        alias("all", "@acme.test", "acme", &[BOB]),
        alias("info", "info@acme.test", "acme", &[ALICE]),
        alias("deep", "deep@acme.test", "acme", &["info@acme.test"]),
        alias("plus", "plus@acme.test", "acme", &["alice+x@acme.test"]),
        alias("other", "other@acme.test", "acme", &["alice@acme.example.test"]),
        alias("to-dora", "to-dora@acme.test", "acme", &["dora@acme.test"]),
        alias("to-off", "to-off@acme.test", "acme", &["off@acme.test"]),
        alias("both", "both@acme.test", "acme", &[ALICE, GINA]),
        off,
    ] {
        b.ensure_alias(&want).await.unwrap();
    }
    let mut alice = mailbox("alice", ALICE, "acme", "alice-1");
    (alice.settings.login, alice.settings.receive) = (false, false);
    b.ensure_mailbox(&alice).await.unwrap();
    b.release_mailbox(&uid("eve"), &at("eve@acme.test")).await.unwrap();
    b.disable_mailbox(&uid("frank"), &at("frank@acme.test")).await.unwrap();
}

#[tokio::test]
async fn what_is_closed_is_never_caught() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    closed(&*b).await;
    let mut left = sink(&stack).await;
    // suspended, kept after its object went, being removed, an alias that is off; and what leads nowhere but there
    for local in ["alice", "eve", "frank", "off", "info", "deep", "plus", "other", "to-dora", "to-off", "dora"] {
        for (detail, domain) in [("", "acme.test"), ("+x", "acme.test"), ("", "acme.example.test")] {
            let to = format!("{local}{detail}@{domain}");
            assert_eq!(out.mail(&to, "closed").await, 550, "{to}");
            assert_eq!(out.submit(GINA, "gina-1", GINA, &to, "closed").await, 550, "{to} from inside");
        }
    }
    // What leads elsewhere too is taken; what is closed of it goes back to the sender.
    for (to, open) in [("both@acme.test", GINA), ("carol@acme.test", "carol@acme.test")] {
        assert_eq!(out.mail(to, "half-closed").await, 250, "{to}");
        let password = if open == GINA { "gina-1" } else { "x-1" };
        until(to, async || out.inbox(open, password).await.contains("half-closed")).await;
        assert_eq!(left.recv().await.as_deref(), Some("x@ext.test"), "{to}");
    }
    assert_eq!(out.mail("whatever@acme.test", "caught").await, 250);
    until("caught", async || out.inbox(BOB, "bob-1").await.contains("caught")).await;
    let bob = out.inbox(BOB, "bob-1").await;
    assert!(!bob.contains("closed"), "{bob}");
    // Open again, and all that leads there.
    b.ensure_mailbox(&mailbox("alice", ALICE, "acme", "alice-1")).await.unwrap();
    for to in ["alice@acme.test", "alice+x@acme.test", "info@acme.test", "deep@acme.test", "dora@acme.test"] {
        assert_eq!(out.mail(to, &format!("open-{to}")).await, 250, "{to}");
        until(to, async || out.inbox(ALICE, "alice-1").await.contains(&format!("open-{to}"))).await;
    }
}

/// `support+sales` may be an address of its own, open or closed by itself; what has no row is `support`.
#[tokio::test]
async fn an_address_with_a_detail_of_its_own() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    acme(&*b).await;
    b.ensure_domain(&DomainWant { alias_of: Some(name("acme.test")), ..domain("d2", "acme.example.test", "acme") })
        .await
        .unwrap();
    let switched = async |closed: &str, open: &str| {
        for (local, active) in [(closed, false), (open, true)] {
            let mut want = alias(&format!("{local}-uid"), &format!("{local}@acme.test"), "acme", &[BOB]);
            want.settings.active = active;
            b.ensure_alias(&want).await.unwrap();
        }
    };
    for (name, target) in [("to-it", "support+sales@acme.test"), ("to-other", "support+other@acme.test")] {
        b.ensure_alias(&alias(name, &format!("{name}@acme.test"), "acme", &[target])).await.unwrap();
    }
    let is = async |local: &str, code: u16| {
        for domain in ["acme.test", "acme.example.test"] {
            let (to, subject) =
                (format!("{local}@{domain}"), format!("{}-{}", local.replace('+', "-"), fastrand::u64(..)));
            assert_eq!(out.mail(&to, &subject).await, code, "{to}");
            if code == 250 {
                until(&to, async || out.inbox(BOB, "bob-1").await.contains(&subject)).await;
            }
        }
    };
    switched("support", "support+sales").await;
    for (local, code) in
        [("support+sales", 250), ("to-it", 250), ("support", 550), ("support+other", 550), ("to-other", 550)]
    {
        is(local, code).await;
    }
    switched("support+sales", "support").await;
    for (local, code) in
        [("support+sales", 550), ("to-it", 550), ("support", 250), ("support+other", 250), ("to-other", 250)]
    {
        is(local, code).await;
    }
}

/// A mailbox whose own alias row is off or gone (of another program, or changed by hand) gets its mail all the same.
#[tokio::test]
async fn a_mailbox_without_its_row_is_not_caught_either() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    acme(&*b).await;
    b.ensure_alias(&alias("all", "@acme.test", "acme", &[BOB])).await.unwrap();
    let sql = stack.sql("groupware").await;
    for (change, subject) in [
        ("UPDATE alias SET active = false WHERE address =", "row-off"),
        ("DELETE FROM alias WHERE address =", "row-gone"),
    ] {
        sql.run(&format!("{change} '{ALICE}'")).await;
        assert_eq!(out.mail(ALICE, subject).await, 250, "{subject}");
        until(subject, async || out.inbox(ALICE, "alice-1").await.contains(subject)).await;
        assert!(!out.inbox(BOB, "bob-1").await.contains(subject), "{subject}");
    }
}

/// One that was never open has no home noted. To be asked for it, it was once switched on: mail was taken, and destroyed.
#[tokio::test]
async fn a_closed_mailbox_is_not_opened_to_be_removed() {
    let stack = Stack::up();
    let b = stack.backend();
    acme(&*b).await;
    let mut want = mailbox("eve", "eve@acme.test", "acme", "x-1");
    (want.settings.login, want.settings.receive) = (false, false);
    b.ensure_mailbox(&want).await.unwrap();
    let sql = stack.sql("groupware").await;
    assert_eq!(
        sql.count("SELECT count(*) FROM mailbox WHERE username = 'eve@acme.test' AND home_path IS NULL").await,
        1
    );
    sql.run(
        "CREATE FUNCTION opened() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'opened'; END $$; \
         CREATE TRIGGER opened BEFORE UPDATE ON mailbox FOR EACH ROW WHEN (NEW.active) EXECUTE FUNCTION opened()",
    )
    .await;
    b.disable_mailbox(&uid("eve"), &at("eve@acme.test")).await.unwrap();
    b.purge_mailbox(&uid("eve"), &at("eve@acme.test")).await.unwrap();
    b.drop_mailbox(&uid("eve"), &at("eve@acme.test")).await.unwrap();
    assert_eq!(sql.count("SELECT count(*) FROM mailbox WHERE username = 'eve@acme.test'").await, 0);
}
