//! SOGo's tables are SOGo's: its role can attach to them what it likes, and gains nothing by it.

use crate::conformance::*;
use crate::effects::{ALICE, BOB, ICS, acme, in_sogo};
use crate::outside::Outside;
use crate::stack::Stack;
use mailtenant_groupware::*;

/// What SOGo's role may do to a table of its own that then runs a function of its own, and how to take it back.
const ATTACHED: &[(&str, &str)] = &[
    (
        "CREATE TRIGGER t BEFORE DELETE ON sogo_folder_info FOR EACH ROW EXECUTE FUNCTION fired()",
        "DROP TRIGGER t ON sogo_folder_info",
    ),
    (
        "CREATE CONSTRAINT TRIGGER t AFTER DELETE ON sogo_store DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fired()",
        "DROP TRIGGER t ON sogo_store",
    ),
    ("CREATE RULE r AS ON DELETE TO sogo_store DO ALSO SELECT take()", "DROP RULE r ON sogo_store"),
    (
        "ALTER TABLE sogo_folder_info ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON sogo_folder_info USING (take())",
        "DROP POLICY p ON sogo_folder_info; ALTER TABLE sogo_folder_info DISABLE ROW LEVEL SECURITY",
    ),
    ("CREATE INDEX i ON sogo_store (c_folder_id) WHERE take()", "DROP INDEX i"),
    ("CREATE INDEX i ON sogo_store ((take()))", "DROP INDEX i"),
    (
        "ALTER TABLE sogo_user_profile RENAME TO kept; CREATE VIEW sogo_user_profile AS SELECT * FROM kept WHERE take()",
        "DROP VIEW sogo_user_profile; ALTER TABLE kept RENAME TO sogo_user_profile",
    ),
];

#[tokio::test]
async fn what_is_attached_to_them_runs_not_with_our_rights() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    acme(&*b).await;
    assert!(out.dav_in(ALICE, "alice-1").await);
    assert_eq!(out.dav("PUT", ALICE, "alice-1", "Calendar/personal/e1.ics", ICS).await.0, 201);
    let sql = stack.sql("groupware").await;
    let before = in_sogo(&sql, ALICE).await;
    assert!(before > 0, "nothing to purge");
    b.disable_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    // Made while the tables are read, which is fine; what it does at the wrong moment is the matter.
    sql.run(&format!(
        "SET ROLE sogo; \
         CREATE FUNCTION sogo.write() RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
           UPDATE public.mailbox SET name = current_user WHERE username = '{BOB}'; \
           EXCEPTION WHEN insufficient_privilege THEN NULL; END $$; \
         CREATE FUNCTION sogo.take() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN \
           PERFORM sogo.write(); RETURN true; END $$; \
         CREATE FUNCTION sogo.fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           PERFORM sogo.take(); RETURN OLD; END $$; RESET ROLE"
    ))
    .await;
    let name = format!("SELECT name FROM mailbox WHERE username = '{BOB}'");
    let as_it_was = sql.text(&name).await;
    for (attach, detach) in ATTACHED {
        sql.run(&format!("SET ROLE sogo; SET search_path = sogo, public; {attach}; RESET search_path; RESET ROLE"))
            .await;
        let refused = b.purge_mailbox(&uid("alice"), &at(ALICE)).await;
        assert_eq!(sql.text(&name).await, as_it_was, "{attach}: it ran");
        assert!(matches!(refused, Err(BackendError::Rejected(_))), "{attach}: {refused:?}");
        let refused = b.drop_mailbox(&uid("alice"), &at(ALICE)).await;
        assert!(refused.is_err(), "{attach}: {refused:?}");
        sql.run(&format!("SET ROLE sogo; SET search_path = sogo, public; {detach}; RESET search_path; RESET ROLE"))
            .await;
    }
    assert_eq!(in_sogo(&sql, ALICE).await, before);
    b.purge_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    b.drop_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    assert_eq!(in_sogo(&sql, ALICE).await, 0);
}

/// Nor does it get a name into what the operator and the other servers say.
#[tokio::test]
async fn nothing_of_its_own_stands_where_others_look() {
    let stack = Stack::up();
    let sql = stack.sql("groupware").await;
    let own = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = 'public' AND pg_get_userbyid(c.relowner) = 'sogo'";
    assert_eq!(sql.count(own).await, 0);
    for create in [
        "CREATE FUNCTION public.starts_with(varchar, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE TABLE public.quota3 (username text)",
        "CREATE TYPE public.t AS (a text)",
    ] {
        let refused = sql.0.batch_execute(&format!("BEGIN; SET LOCAL ROLE sogo; {create}")).await;
        let code = refused.as_ref().err().and_then(|e| e.code()).map(|c| c.code().to_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{create}: {refused:?}");
        sql.run("ROLLBACK").await;
    }
    // Whatever the role says of names, the operator's sessions look into one schema, and make in it what is missing.
    sql.run("ALTER ROLE mailtenant SET search_path = sogo, public; DROP TABLE public.app_password").await;
    acme(&*stack.backend()).await;
    let app_password =
        "SELECT to_regclass('public.app_password') IS NOT NULL AND to_regclass('sogo.app_password') IS NULL";
    assert_eq!(sql.text(&format!("SELECT ({app_password})::text")).await, "true");
    // Where it says that tables of ours are elsewhere, a person has to tell which are meant.
    sql.run("CREATE TABLE sogo.tenant (name text)").await;
    let refused = stack.backend().probe().await;
    assert!(matches!(&refused, Err(BackendError::Rejected(text)) if text.contains("sogo.tenant")), "{refused:?}");
    let refused = stack.backend().ensure_tenant(&tenant("t2", "evil")).await;
    assert!(matches!(refused, Err(BackendError::Rejected(_))), "{refused:?}");
    sql.run("ALTER ROLE mailtenant RESET search_path").await;
    acme(&*stack.backend()).await;
}

/// A copy is no reason to leave what SOGo has: the next owner of the address would find it.
#[tokio::test]
async fn a_copy_of_them_is_not_purged_in_their_place() {
    let stack = Stack::up();
    let out = Outside::new(&stack);
    let b = stack.backend();
    acme(&*b).await;
    assert!(out.dav_in(ALICE, "alice-1").await);
    assert_eq!(out.dav("PUT", ALICE, "alice-1", "Calendar/personal/e1.ics", ICS).await.0, 201);
    let sql = stack.sql("groupware").await;
    let in_copy = "SELECT count(*) FROM backup.sogo_folder_info WHERE c_path2 = 'alice@acme.test'";
    sql.run(
        "CREATE SCHEMA backup AUTHORIZATION sogo; SET ROLE sogo; \
         DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'sogo' LOOP \
           EXECUTE format('CREATE TABLE backup.%I AS TABLE sogo.%I', t, t); END LOOP; END $$; RESET ROLE",
    )
    .await;
    let copied = sql.count(in_copy).await;
    assert!(copied > 0 && in_sogo(&sql, ALICE).await > 0, "nothing to purge");
    b.disable_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    // Two that SOGo may use, and one that it cannot be seen to use.
    for (change, back, words) in [
        ("CREATE TABLE public.sogo_store (LIKE sogo.sogo_store)", "DROP TABLE public.sogo_store", "public, sogo"),
        (
            "DROP TABLE IF EXISTS backup.sogo_acl; ALTER TABLE sogo.sogo_acl SET SCHEMA backup",
            "ALTER TABLE backup.sogo_acl SET SCHEMA sogo",
            "sogo_acl is in backup",
        ),
    ] {
        sql.run(change).await;
        let refused = b.purge_mailbox(&uid("alice"), &at(ALICE)).await;
        assert!(matches!(&refused, Err(BackendError::Rejected(t)) if t.contains(words)), "{change}: {refused:?}");
        sql.run(back).await;
    }
    b.purge_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    b.drop_mailbox(&uid("alice"), &at(ALICE)).await.unwrap();
    assert_eq!((in_sogo(&sql, ALICE).await, sql.count(in_copy).await), (0, copied));
}
