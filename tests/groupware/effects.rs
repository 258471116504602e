//! What the provider's rows do in Dovecot, Postfix, OpenDKIM and SOGo, seen from outside.

use crate::conformance::*;
use crate::outside::{Mail, Outside, sink, until};
use crate::stack::{Sql, Stack};
use mailtenant_backend::SecretText;
use mailtenant_groupware::*;

pub const ALICE: &str = "alice@acme.test";
pub const BOB: &str = "bob@acme.test";
pub const ICS: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t\r\nBEGIN:VEVENT\r\nUID:e1\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260102T100000Z\r\nDTEND:20260102T110000Z\r\nSUMMARY:Meet\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
pub const VCF: &str =
    "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:c1\r\nFN:Carol\r\nN:;Carol;;;\r\nEMAIL:carol@ext.test\r\nEND:VCARD\r\n";

/// Tenant acme with acme.test, alice and bob.
pub async fn acme(b: &dyn GroupwareServer) {
    b.probe().await.unwrap();
    b.ensure_tenant(&tenant("t", "acme")).await.unwrap();
    b.ensure_domain(&domain("d", "acme.test", "acme")).await.unwrap();
    b.ensure_mailbox(&mailbox("alice", ALICE, "acme", "alice-1")).await.unwrap();
    b.ensure_mailbox(&mailbox("bob", BOB, "acme", "bob-1")).await.unwrap();
}

#[tokio::test]
async fn sign_in() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    acme(&*b).await;
    assert_eq!(out.signs_in(ALICE, "alice-1").await, [true; 3]);
    assert_eq!(out.signs_in(ALICE, "wrong").await, [false; 3]);
    // a new password: the old one fails at once, everywhere, and open sessions end
    let mut held = out.imap(ALICE, "alice-1").await.unwrap();
    let mut want = mailbox("alice", ALICE, "acme", "alice-2");
    b.ensure_mailbox(&want).await.unwrap();
    assert_eq!(out.signs_in(ALICE, "alice-1").await, [false; 3]);
    assert_eq!(out.signs_in(ALICE, "alice-2").await, [true; 3]);
    assert!(!held.noop().await, "a session outlives the password it was opened with");
    // one that a person chose, and one given as a hash
    want.password =
        PasswordWant::Plain { text: SecretText::new("chosen"), generated: false, version: "c".into(), force: false };
    b.ensure_mailbox(&want).await.unwrap();
    assert_eq!(out.signs_in(ALICE, "chosen").await, [true; 3]);
    for scheme in ["BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "SSHA512", "ARGON2ID"] {
        let made =
            std::process::Command::new("doveadm").args(["pw", "-s", scheme, "-p", "from-hash"]).output().unwrap();
        let mut text = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        if scheme != "SSHA512" {
            text = text.split_once('}').unwrap().1.to_owned();
        }
        want.password = PasswordWant::Hash { text: SecretText::new(text), version: scheme.into(), force: false };
        b.ensure_mailbox(&want).await.unwrap();
        assert_eq!(out.signs_in(ALICE, "from-hash").await, [true; 3], "{scheme}");
        assert_eq!(out.signs_in(ALICE, "chosen").await, [false; 3], "{scheme}");
    }
    // suspended: no sign-in, mail is taken; then refused too, also with a catch-all
    b.ensure_alias(&alias("all", "@acme.test", "acme", &[BOB])).await.unwrap();
    want.settings.login = false;
    b.ensure_mailbox(&want).await.unwrap();
    assert_eq!(out.signs_in(ALICE, "from-hash").await, [false; 3]);
    assert_eq!(out.mail(ALICE, "while-suspended").await, 250);
    // Seen before it is closed: what is still in Postfix' queue then is refused by Dovecot and goes back to its sender.
    want.settings = settings();
    b.ensure_mailbox(&want).await.unwrap();
    until("mail taken while suspended", async || out.inbox(ALICE, "from-hash").await.contains("while-suspended")).await;
    (want.settings.login, want.settings.receive) = (false, false);
    b.ensure_mailbox(&want).await.unwrap();
    assert_eq!(out.signs_in(ALICE, "from-hash").await, [false; 3]);
    assert_eq!(out.mail(ALICE, "while-off").await, 550);
    want.settings = settings();
    b.ensure_mailbox(&want).await.unwrap();
    assert_eq!(out.signs_in(ALICE, "from-hash").await, [true; 3]);
    let inbox = out.inbox(ALICE, "from-hash").await;
    assert!(inbox.contains("while-suspended") && !inbox.contains("while-off"), "{inbox}");
    // protocols one by one; webmail's own IMAP is groupware, not imap
    let all = [true; 6];
    for (n, off) in ["imap", "pop3", "submission", "sieve", "groupware"].iter().enumerate() {
        let mut access = serde_json::to_value(Access::default()).unwrap();
        access[off] = false.into();
        want.settings.access = serde_json::from_value(access).unwrap();
        b.ensure_mailbox(&want).await.unwrap();
        let p = "from-hash";
        let seen = [
            out.imap(ALICE, p).await.is_some(),
            out.pop3(ALICE, p).await,
            out.submit(ALICE, p, ALICE, BOB, "x").await == 250,
            out.sieve(ALICE, p).await,
            out.dav_in(ALICE, p).await,
            out.imap_at("IMAP_SOGO", ALICE, p).await.is_some(),
        ];
        let mut wanted = all;
        wanted[n] = false;
        wanted[5] = n != 4;
        assert_eq!(seen, wanted, "{off}");
    }
}

#[tokio::test]
async fn mail_flow() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    acme(&*b).await;
    let mut left = sink(&stack).await;
    let alice = async |s: &str| out.inbox(ALICE, "alice-1").await.contains(&format!("Subject: {s}\r\n"));
    let bob = async |s: &str| out.inbox(BOB, "bob-1").await.contains(&format!("Subject: {s}\r\n"));
    // alias with two targets, then one
    let mut info = alias("info", "info@acme.test", "acme", &[ALICE, BOB]);
    b.ensure_alias(&info).await.unwrap();
    assert_eq!(out.mail("info@acme.test", "to-both").await, 250);
    until("both targets have it", async || alice("to-both").await && bob("to-both").await).await;
    // send as: own address and alias; not another's, not a foreign alias, not with send_as off
    info.settings.targets = vec![at(ALICE)];
    b.ensure_alias(&info).await.unwrap();
    for (from, want) in [(ALICE, 250), ("info@acme.test", 250), (BOB, 553)] {
        assert_eq!(out.submit(ALICE, "alice-1", from, BOB, "as").await, want, "{from}");
    }
    assert_eq!(out.submit(BOB, "bob-1", "info@acme.test", BOB, "as").await, 553);
    info.settings.send_as = false;
    b.ensure_alias(&info).await.unwrap();
    assert_eq!(out.submit(ALICE, "alice-1", "info@acme.test", BOB, "as").await, 553);
    // catch-all: whatever is unknown, and nothing else
    assert_eq!(out.mail("whatever@acme.test", "unknown").await, 550);
    b.ensure_alias(&alias("all", "@acme.test", "acme", &[BOB])).await.unwrap();
    assert_eq!(out.mail("whatever@acme.test", "caught").await, 250);
    until("caught", async || bob("caught").await).await;
    assert_eq!(out.mail(ALICE, "direct").await, 250);
    until("direct", async || alice("direct").await).await;
    assert!(!bob("direct").await);
    // forwards, with and without a kept copy, inside and outside
    let mut want = mailbox("alice", ALICE, "acme", "alice-1");
    want.settings.forward_to = vec![at(BOB), at("far@ext.test")];
    b.ensure_mailbox(&want).await.unwrap();
    assert_eq!(out.mail(ALICE, "kept-and-forwarded").await, 250);
    until("kept and forwarded", async || alice("kept-and-forwarded").await && bob("kept-and-forwarded").await).await;
    assert_eq!(left.recv().await.as_deref(), Some("far@ext.test"));
    assert_eq!(out.submit(BOB, "bob-1", ALICE, BOB, "as").await, 553, "a forward lends the sender address");
    want.settings.keep_copy = false;
    b.ensure_mailbox(&want).await.unwrap();
    assert_eq!(out.mail(ALICE, "only-forwarded").await, 250);
    until("forwarded", async || bob("only-forwarded").await).await;
    assert_eq!(left.recv().await.as_deref(), Some("far@ext.test"));
    assert!(!alice("only-forwarded").await);
    want.settings = settings();
    // over quota
    want.settings.quota = 100 * 1024;
    b.ensure_mailbox(&want).await.unwrap();
    let big = Mail { from: "x@ext.test", to: ALICE, login: None, subject: "big", size: 200 * 1024 };
    assert_eq!(out.send(&big).await, 552);
    // every address works in an alias domain too, and may be sent as
    let second = DomainWant { alias_of: Some(name("acme.test")), ..domain("d2", "acme.example.test", "acme") };
    b.ensure_domain(&second).await.unwrap();
    for (to, subject) in [("bob@acme.example.test", "by-alias-domain"), ("any@acme.example.test", "by-its-catch-all")] {
        assert_eq!(out.mail(to, subject).await, 250, "{to}");
        until(subject, async || bob(subject).await).await;
    }
    assert_eq!(out.submit(BOB, "bob-1", "bob@acme.example.test", BOB, "as").await, 250);
    assert_eq!(out.submit(ALICE, "alice-1", "bob@acme.example.test", BOB, "as").await, 553);
    // signed by both keys
    let rsa = signer(&*b).ensure_dkim_key(&uid("d"), &name("acme.test"), &selector("r1"), &rsa()).await.unwrap();
    let ed25519 =
        signer(&*b).ensure_dkim_key(&uid("d"), &name("acme.test"), &selector("e1"), &ed25519()).await.unwrap();
    signer(&*b).sign_with(&uid("d"), &name("acme.test"), &[rsa, ed25519]).await.unwrap();
    assert_eq!(out.submit(BOB, "bob-1", BOB, BOB, "signed").await, 250);
    until("signed", async || bob("signed").await).await;
    let text = out.inbox(BOB, "bob-1").await;
    for tags in ["a=rsa-sha256", "s=r1", "a=ed25519-sha256", "s=e1"] {
        assert!(text.contains(tags), "{tags}");
    }
    signer(&*b).sign_with(&uid("d"), &name("acme.test"), &[]).await.unwrap();
    assert_eq!(out.submit(BOB, "bob-1", BOB, ALICE, "unsigned").await, 250);
    until("unsigned", async || alice("unsigned").await).await;
    assert!(!out.inbox(ALICE, "alice-1").await.rsplit("Subject: unsigned").nth(1).unwrap().contains("s=r1"));
}

/// How much of a user there is in SOGo's tables.
pub async fn in_sogo(sql: &Sql, user: &str) -> i64 {
    sql.count(&format!(
        "SELECT (SELECT count(*) FROM sogo_folder_info WHERE c_path2 = '{user}') \
         + (SELECT count(*) FROM sogo_user_profile WHERE c_uid = '{user}') \
         + (SELECT count(*) FROM sogo_store WHERE c_folder_id NOT IN (SELECT c_folder_id FROM sogo_folder_info)) \
         + (SELECT count(*) FROM sogo_quick_appointment WHERE c_folder_id NOT IN (SELECT c_folder_id FROM sogo_folder_info))"
    ))
    .await
}

#[tokio::test]
async fn removal_leaves_nothing() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    acme(&*b).await;
    for user in [(ALICE, "alice-1"), (BOB, "bob-1")] {
        assert_eq!(out.mail(user.0, "old-mail").await, 250);
        until("mail", async || out.inbox(user.0, user.1).await.contains("old-mail")).await;
        assert_eq!(out.dav("PUT", user.0, user.1, "Calendar/personal/e1.ics", ICS).await.0, 201);
        assert_eq!(out.dav("PUT", user.0, user.1, "Contacts/personal/c1.vcf", VCF).await.0, 201);
    }
    let homes = |n: usize| assert_eq!(std::fs::read_dir(stack.root().join("vmail")).unwrap().count(), n);
    homes(2);
    assert!(in_sogo(&sql, ALICE).await > 0);
    // Each step ends in the middle once: the home was noted and the row switched off, but nobody was told.
    b.disable_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    sql.run(&format!("UPDATE mailbox SET effects_due = true WHERE username = '{ALICE}'")).await;
    assert!(matches!(b.purge_mailbox(&uid("alice"), &at(ALICE)).await, Err(BackendError::Conflict(_))));
    b.disable_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    assert_eq!(out.signs_in(ALICE, "alice-1").await, [false; 3]);
    assert_eq!(out.mail(ALICE, "too-late").await, 550);
    assert!(
        matches!(b.drop_mailbox(&uid("alice"), &at(ALICE)).await, Err(BackendError::Conflict(_))),
        "dropped before it was purged"
    );
    // a home that is not the mailbox' own is never destroyed
    let home = sql.text(&format!("SELECT home_path FROM mailbox WHERE username = '{ALICE}'")).await;
    let parent = home.rsplit_once('/').unwrap().0;
    sql.run(&format!("UPDATE mailbox SET home_path = '{parent}' WHERE username = '{ALICE}'")).await;
    assert!(matches!(b.purge_mailbox(&uid("alice"), &at(ALICE)).await, Err(BackendError::Rejected(_))));
    homes(2);
    sql.run(&format!("UPDATE mailbox SET home_path = '{home}' WHERE username = '{ALICE}'")).await;
    // half of a purge was done
    std::fs::remove_dir_all(std::path::Path::new(&home).join("Maildir/new")).unwrap();
    b.purge_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    homes(1);
    assert_eq!(in_sogo(&sql, ALICE).await, 0);
    assert!(in_sogo(&sql, BOB).await > 0);
    b.drop_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    for table in ["mailbox", "quota2"] {
        assert_eq!(sql.count(&format!("SELECT count(*) FROM {table} WHERE username = '{ALICE}'")).await, 0);
    }
    assert_eq!(sql.count(&format!("SELECT count(*) FROM alias WHERE address = '{ALICE}'")).await, 0);
    // the next owner of the address finds nothing
    b.ensure_mailbox(&mailbox("alice2", ALICE, "acme", "fresh")).await.unwrap();
    assert_eq!(out.inbox(ALICE, "fresh").await, "");
    assert_eq!(out.dav("GET", ALICE, "fresh", "Calendar/personal/e1.ics", "").await.0, 404);
    assert_eq!(out.dav("GET", ALICE, "fresh", "Contacts/personal/c1.vcf", "").await.0, 404);
    assert_eq!(out.signs_in(ALICE, "alice-1").await, [false; 3]);
    // suspended for good before it is removed: the home is known all the same
    let mut want = mailbox("bob", BOB, "acme", "bob-1");
    want.settings.login = false;
    want.settings.receive = false;
    b.ensure_mailbox(&want).await.unwrap();
    // even if nobody noted it
    sql.run(&format!("UPDATE mailbox SET home_path = NULL WHERE username = '{BOB}'")).await;
    b.disable_mailbox(&uid("bob"), &at(BOB)).await.unwrap();
    b.purge_mailbox(&uid("bob"), &at(BOB)).await.unwrap();
    b.drop_mailbox(&uid("bob"), &at(BOB)).await.unwrap();
    homes(1);
    assert_eq!(in_sogo(&sql, BOB).await, 0);
}

/// The row under a mailbox' own address in `alias` is what Postfix delivers by: what becomes of it is drift like any other.
#[tokio::test]
async fn the_row_that_mail_comes_by_is_put_back() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    acme(&*b).await;
    b.ensure_alias(&alias("all", "@acme.test", "acme", &[BOB])).await.unwrap();
    let want = mailbox("alice", ALICE, "acme", "alice-1");
    let seen = async || b.read_domain(&name("acme.test")).await.unwrap().mailboxes[ALICE].effects_due;
    let mut held = out.imap(ALICE, "alice-1").await.unwrap();
    for (n, drift) in
        ["DELETE FROM alias", "UPDATE alias SET active = false", "UPDATE alias SET owner = NULL"].iter().enumerate()
    {
        assert!(!seen().await, "{drift}");
        sql.run(&format!("{drift} WHERE address = '{ALICE}'")).await;
        assert!(seen().await, "{drift}");
        let (row, made) = b.ensure_mailbox(&want).await.unwrap();
        assert_eq!((made, row.effects_due), (Made::Changed, false), "{drift}");
        assert_eq!(out.mail(ALICE, &format!("after-{n}")).await, 250);
        until(drift, async || out.inbox(ALICE, "alice-1").await.contains(&format!("after-{n}"))).await;
    }
    assert!(held.noop().await, "nobody is signed out for it");
    // of one that is nobody's, whatever it is like, nothing is due
    sql.run(&format!("UPDATE mailbox SET owner = NULL WHERE username = '{ALICE}'")).await;
    assert!(!seen().await);
}

/// The row under the address of a mailbox that is adopted, or is ours already, belongs to another one: that is said by name, and
/// nothing is written, until somebody takes the owner away.
#[tokio::test]
async fn the_row_that_mail_comes_by_is_another_ones() {
    let stack = Stack::up();
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    acme(&*b).await;
    let place = "origin = 'ns/info', cluster = 'cluster'";
    let elsewhere = "origin = 'other/info', cluster = 'cluster'";
    for (owner, origin, named) in
        [("NULL", place, true), ("'alice'", place, true), ("NULL", elsewhere, false), ("NULL", "origin = NULL", false)]
    {
        sql.run(&format!(
            "UPDATE mailbox SET owner = {owner} WHERE username = '{ALICE}'; \
             UPDATE alias SET owner = 'gone', {origin} WHERE address = '{ALICE}'"
        ))
        .await;
        let want = MailboxWant { owner: adopting("alice"), ..mailbox("alice", ALICE, "acme", "alice-1") };
        let whose = if named { " of MailAlias info" } else { "" };
        match b.ensure_mailbox(&want).await {
            Err(BackendError::Exists { what, owner, origin: None, .. }) => {
                assert_eq!((what, owner), (format!("alias {ALICE}{whose}"), Some(uid("gone"))), "{origin}");
            }
            other => panic!("{owner} {origin}: {other:?}"),
        }
        let rows = format!("SELECT count(*) FROM alias WHERE address = '{ALICE}' AND owner = 'gone'");
        assert_eq!(sql.count(&rows).await, 1, "it is as it was");
    }
    // The way out that docs/groupware-sogo.md tells.
    sql.run(&format!("UPDATE alias SET owner = NULL WHERE address = '{ALICE}'")).await;
    let want = MailboxWant { owner: adopting("alice"), ..mailbox("alice", ALICE, "acme", "alice-1") };
    assert_eq!(b.ensure_mailbox(&want).await.unwrap().1, Made::Adopted);
    let rows = format!("SELECT count(*) FROM alias WHERE address = '{ALICE}' AND owner = 'alice'");
    assert_eq!(sql.count(&rows).await, 1);
}

/// Somebody deletes the rows of a mailbox; its mail and calendars lie there still. Made again under its id it has them.
#[tokio::test]
async fn a_row_that_vanished_comes_back_with_its_mail() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    acme(&*b).await;
    let id = b.read_domain(&name("acme.test")).await.unwrap().mailboxes[ALICE].id.clone();
    assert_eq!(out.mail(ALICE, "before").await, 250);
    until("mail", async || out.inbox(ALICE, "alice-1").await.contains("before")).await;
    assert_eq!(out.dav("PUT", ALICE, "alice-1", "Calendar/personal/e1.ics", ICS).await.0, 201);
    let lost = format!("DELETE FROM mailbox WHERE username = '{ALICE}'; DELETE FROM alias WHERE address = '{ALICE}'");
    sql.run(&lost).await;
    let want = MailboxWant { former: Some(id.clone()), ..mailbox("alice", ALICE, "acme", "alice-1") };
    assert_eq!(b.ensure_mailbox(&want).await.unwrap().0.id, id);
    assert_eq!(out.signs_in(ALICE, "alice-1").await, [true; 3]);
    assert!(out.inbox(ALICE, "alice-1").await.contains("before"));
    assert_eq!(out.dav("GET", ALICE, "alice-1", "Calendar/personal/e1.ics", "").await.0, 200);
    // one that was destroyed before its row went is empty; nothing is on its way to it any more
    until("the mail of its sign-in", async || out.inbox(ALICE, "alice-1").await.contains("self")).await;
    sql.run(&lost).await;
    std::fs::remove_dir_all(stack.root().join("vmail").join(&id)).unwrap();
    b.ensure_mailbox(&want).await.unwrap();
    assert_eq!(out.inbox(ALICE, "alice-1").await, "");
    // the id of another one, also of one that lives in a folder of that name, is not given away
    let bob = b.read_domain(&name("acme.test")).await.unwrap().mailboxes[BOB].id.clone();
    for taken in
        ["store_uid = 'x', maildir = '{}'", "store_uid = 'x', maildir = '{}/'", "store_uid = 'x', maildir = '{}/a'"]
    {
        let taken = taken.replace("{}", &bob);
        sql.run(&format!("{lost}; UPDATE mailbox SET {taken} WHERE username = '{BOB}'")).await;
        let (row, _) = b.ensure_mailbox(&MailboxWant { former: Some(bob.clone()), ..want.clone() }).await.unwrap();
        assert_ne!(row.id, bob, "{taken}");
    }
}

/// A tenant that may forward to outside names a mailbox of another tenant: mail flows, and nothing else follows (I11).
#[tokio::test]
async fn tenants_apart() {
    const BERT: &str = "bert@beta.test";
    const CREW: &str = "crew@beta.test";
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    acme(&*b).await;
    b.ensure_tenant(&tenant("t2", "beta")).await.unwrap();
    b.ensure_domain(&domain("d2", "beta.test", "beta")).await.unwrap();
    b.ensure_mailbox(&mailbox("bert", BERT, "beta", "bert-1")).await.unwrap();
    b.ensure_alias(&alias("info", "info@acme.test", "acme", &[ALICE, BERT])).await.unwrap();
    // nor does a lock on the other tenant's mailbox hold the alias up
    sql.run(&format!("BEGIN; SELECT FROM mailbox WHERE username = '{ALICE}' FOR UPDATE")).await;
    let made = b.ensure_alias(&alias("crew", CREW, "beta", &[ALICE, BERT])).await;
    sql.run("ROLLBACK").await;
    made.unwrap();
    assert_eq!(out.mail(CREW, "to-the-crew").await, 250);
    until("delivered", async || out.inbox(ALICE, "alice-1").await.contains("to-the-crew")).await;
    assert_eq!(b.aliases_to(&at(ALICE)).await.unwrap(), ["info@acme.test"]);
    assert_eq!(b.aliases_to(&at(BERT)).await.unwrap(), [CREW]);
    // the address is lent inside its tenant only: by Postfix, and in SOGo's list of identities
    for (user, password, own, other) in
        [(ALICE, "alice-1", "info@acme.test", CREW), (BERT, "bert-1", CREW, "info@acme.test")]
    {
        assert_eq!(out.submit(user, password, own, BOB, "as").await, 250, "{user}");
        assert_eq!(out.submit(user, password, other, BOB, "as").await, 553, "{user}");
        assert_eq!(sql.text(&format!("SELECT aliases FROM sogo_users WHERE c_uid = '{user}'")).await, own);
    }
    // a view of ours from before that is replaced
    sql.run(
        "SET ROLE mailtenant; CREATE OR REPLACE VIEW domain_on AS SELECT domain, backupmx, ''::varchar(255) AS target_domain \
         FROM domain; COMMENT ON VIEW domain_on IS 'mailtenant 1'; RESET ROLE",
    )
    .await;
    stack.backend().probe().await.unwrap();
    assert!(sql.text("SELECT pg_get_viewdef('domain_on'::regclass)").await.contains("alias_domain"));
    // the mailbox goes, whoever else names it
    b.remove_alias(&uid("info"), &at("info@acme.test"), Removal::Destroy).await.unwrap();
    assert_eq!(b.aliases_to(&at(ALICE)).await.unwrap(), Vec::<Address>::new());
    b.disable_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    // whether it is being removed is not for the other tenant to see
    b.ensure_alias(&alias("more", "more@beta.test", "beta", &[ALICE])).await.unwrap();
    let late = b.ensure_alias(&alias("late", "late@acme.test", "acme", &[ALICE])).await;
    assert!(matches!(late, Err(BackendError::Conflict(_))), "{late:?}");
    b.purge_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    b.drop_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    assert_eq!(sql.count(&format!("SELECT count(*) FROM mailbox WHERE username = '{ALICE}'")).await, 0);
}

/// A domain with mailboxes of others goes on for them when its object goes, and so does its tenant.
#[tokio::test]
async fn those_of_others_go_on() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    acme(&*b).await;
    // alice becomes somebody else's, with mail that comes and a session that is open; bob stays ours, and is kept
    sql.run(&format!("UPDATE mailbox SET owner = NULL WHERE username = '{ALICE}'; UPDATE alias SET owner = NULL WHERE address = '{ALICE}'"))
        .await;
    let mut held = out.imap(ALICE, "alice-1").await.unwrap();
    b.release_mailbox(&uid("bob"), &at(BOB)).await.unwrap();
    assert_eq!(b.remove_domain(&uid("d"), &name("acme.test"), Removal::Destroy).await, Ok(Left::Used(1)));
    assert_eq!(b.remove_tenant(&uid("t")).await, Ok(TenantRemoval::Left(Left::Used(1))));
    assert_eq!(out.signs_in(ALICE, "alice-1").await, [true; 3]);
    assert!(held.noop().await, "a session of somebody else was ended");
    assert_eq!(out.mail(ALICE, "still-comes").await, 250);
    assert_eq!(out.mail(BOB, "is-off").await, 550);
    assert_eq!(out.signs_in(BOB, "bob-1").await, [false; 3]);
    // nothing of it is ours any more, and no other tenant gets it
    assert_eq!(b.read_domain(&name("acme.test")).await.unwrap().domain.unwrap().owner, None);
    b.ensure_tenant(&tenant("t2", "beta")).await.unwrap();
    let stolen = b.ensure_domain(&DomainWant { owner: adopting("d2"), ..domain("d2", "acme.test", "beta") }).await;
    assert!(matches!(stolen, Err(BackendError::Exists { .. })), "{stolen:?}");
    // the same place gets it back; without anybody who uses it it is switched off
    b.ensure_tenant(&TenantWant { owner: Owner { origin: origin("t"), ..adopting("t3") }, ..tenant("t3", "acme") })
        .await
        .unwrap();
    b.ensure_domain(&DomainWant { owner: adopting("d3"), ..domain("d3", "acme.test", "acme") }).await.unwrap();
    sql.run(&format!("UPDATE mailbox SET active = false WHERE username = '{ALICE}'")).await;
    assert_eq!(b.remove_domain(&uid("d3"), &name("acme.test"), Removal::Destroy).await, Ok(Left::Kept(2)));
    assert_eq!(b.remove_tenant(&uid("t3")).await, Ok(TenantRemoval::Left(Left::Kept(1))));
    assert_eq!(out.mail("nobody@acme.test", "off").await / 100, 5);
}

/// With memcached away at the moment of a change the clearing stays due, and a repeat that finds the row right does it.
#[tokio::test]
async fn effects_stay_due() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    acme(&*b).await;
    assert!(out.dav_in(ALICE, "alice-1").await);
    let gone = serde_json::json!({"memcached": {"host": "127.0.0.1", "port": stack.port("SINK")}});
    let broken = stack.settings(gone).connect().unwrap();
    let want = mailbox("alice", ALICE, "acme", "alice-2");
    let failed = broken.ensure_mailbox(&want).await;
    assert!(matches!(failed, Err(BackendError::Unavailable { .. })), "{failed:?}");
    assert!(b.read_domain(&name("acme.test")).await.unwrap().mailboxes[ALICE].effects_due);
    let info = alias("info", "info@acme.test", "acme", &[ALICE]);
    assert!(broken.ensure_alias(&info).await.is_err());
    assert!(b.read_domain(&name("acme.test")).await.unwrap().aliases["info@acme.test"].effects_due);
    let (row, _) = b.ensure_mailbox(&want).await.unwrap();
    assert!(!row.effects_due);
    assert!(!b.ensure_alias(&info).await.unwrap().0.effects_due);
    assert_eq!(out.signs_in(ALICE, "alice-1").await, [false; 3]);
    assert_eq!(out.signs_in(ALICE, "alice-2").await, [true; 3]);
}
