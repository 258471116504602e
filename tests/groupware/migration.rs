//! `schema: Managed` beside rows that are there, `schema: External`, and credentials that are refused.

use crate::conformance::*;
use crate::stack::Stack;
use mailtenant_backend::SecretText;
use mailtenant_groupware::*;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// PostfixAdmin's own tables, as they are without our columns, with rows of others.
const POSTFIXADMIN: &str = "
CREATE TABLE domain (domain varchar(255) PRIMARY KEY, description varchar(255) NOT NULL DEFAULT '', aliases int NOT NULL DEFAULT 0,
  mailboxes int NOT NULL DEFAULT 0, maxquota bigint NOT NULL DEFAULT 0, quota bigint NOT NULL DEFAULT 0, transport varchar(255) DEFAULT NULL,
  backupmx boolean NOT NULL DEFAULT false, created timestamptz DEFAULT now(), modified timestamptz DEFAULT now(), active boolean NOT NULL DEFAULT true,
  password_expiry int DEFAULT 0);
CREATE TABLE mailbox (username varchar(255) PRIMARY KEY, password varchar(255) NOT NULL DEFAULT '', name varchar(255) NOT NULL DEFAULT '',
  maildir varchar(255) NOT NULL DEFAULT '', quota bigint NOT NULL DEFAULT 0, created timestamptz DEFAULT now(), modified timestamptz DEFAULT now(),
  active boolean NOT NULL DEFAULT true, domain varchar(255), local_part varchar(255) NOT NULL, phone varchar(30) NOT NULL DEFAULT '');
CREATE TABLE alias (address varchar(255) PRIMARY KEY, goto text NOT NULL, domain varchar(255) NOT NULL REFERENCES domain(domain),
  created timestamptz DEFAULT now(), modified timestamptz DEFAULT now(), active boolean NOT NULL DEFAULT true);
CREATE TABLE quota2 (username varchar(100) PRIMARY KEY, bytes bigint NOT NULL DEFAULT 0, messages int NOT NULL DEFAULT 0);
CREATE TABLE log (timestamp timestamptz DEFAULT now(), username varchar(255), data text);
INSERT INTO domain (domain, transport) VALUES ('ALL', ''), ('old.test', 'virtual');
INSERT INTO mailbox (username, password, name, maildir, quota, domain, local_part) VALUES
  ('a@old.test', '{SHA512-CRYPT}$6$x$y', 'A', 'old.test/a/', 1000, 'old.test', 'a'), ('b@old.test', '', 'B', 'old.test/b/', 0, 'old.test', 'b');
INSERT INTO alias (address, goto, domain) VALUES ('a@old.test', 'a@old.test', 'old.test'), ('b@old.test', 'b@old.test, x@ext.test', 'old.test'),
  ('info@old.test', 'a@old.test,b@old.test', 'old.test');
INSERT INTO quota2 VALUES ('a@old.test', 500, 3);
INSERT INTO log (username, data) VALUES ('admin', 'kept');
";
const THEIRS: &str = "
SELECT md5(string_agg(x, '|' ORDER BY x)) FROM (
  SELECT (d.domain, d.description, d.transport, d.active, d.created, d.modified)::text x FROM domain d WHERE d.domain IN ('ALL', 'old.test') UNION ALL
  SELECT (m.username, m.password, m.name, m.maildir, m.quota, m.created, m.modified, m.active)::text FROM mailbox m WHERE m.domain = 'old.test' UNION ALL
  SELECT (a.address, a.goto, a.created, a.modified, a.active)::text FROM alias a WHERE a.domain = 'old.test' UNION ALL
  SELECT (q.*)::text FROM quota2 q WHERE q.username LIKE '%@old.test' UNION ALL SELECT (l.*)::text FROM log l) t";

#[tokio::test]
async fn beside_postfixadmin() {
    let stack = Stack::up();
    stack.sql("groupware").await.run("CREATE DATABASE old OWNER mailtenant").await;
    let sql = stack.sql("old").await;
    sql.run(&format!("SET ROLE mailtenant; {POSTFIXADMIN}; RESET ROLE")).await;
    let theirs = sql.text(THEIRS).await;
    let patch = json!({"database": {"name": "old"}});
    // External: what is missing is said by name
    let mut external = patch.clone();
    external["schema"] = json!("External");
    let refused = stack.settings(external.clone()).connect().unwrap().probe().await;
    let Err(BackendError::Rejected(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("table tenant"), "{why}");
    // Managed, by two operators at the same moment
    let b = stack.settings(patch.clone()).connect().unwrap();
    let other = stack.settings(patch).connect().unwrap();
    let (one, two) = tokio::join!(b.probe(), other.probe());
    let info = one.unwrap();
    assert_eq!(two.unwrap(), info);
    let all = facets::examine(&*b).await.unwrap().capabilities;
    for c in [Capability::ProtocolAccess, Capability::TenantStorage, Capability::DkimEd25519, Capability::Suspend] {
        assert!(all.contains(&c), "{c:?}");
    }
    assert!(!info.capabilities.contains(&Capability::AliasDisplayName));
    assert_eq!(sql.text(THEIRS).await, theirs, "the migration changed rows of others");
    // a second probe makes nothing
    let oids = "SELECT string_agg(relname || oid || relfilenode, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let before = sql.text(oids).await;
    b.probe().await.unwrap();
    assert_eq!(sql.text(oids).await, before);
    // homes that were there stay where they are
    assert_eq!(sql.text("SELECT home FROM mailbox_quota WHERE username = 'a@old.test'").await, "old.test/a");
    // strangers are seen, not touched, and taken over only by who asks
    b.ensure_tenant(&tenant("t", "acme")).await.unwrap();
    let snapshot = b.read_domain(&name("old.test")).await.unwrap();
    assert_eq!(snapshot.domain.as_ref().unwrap().owner, None);
    assert_eq!(snapshot.mailboxes.len(), 2);
    assert_eq!(snapshot.mailboxes["a@old.test"].used, 500);
    assert_eq!(snapshot.mailboxes["b@old.test"].settings.forward_to, ["x@ext.test"]);
    assert_eq!(snapshot.aliases.keys().collect::<Vec<_>>(), ["info@old.test"]);
    for refused in [
        b.ensure_domain(&domain("d", "old.test", "acme")).await.map(|_| ()),
        b.remove_domain(&uid("d"), &name("old.test"), Removal::Destroy).await.map(|_| ()),
        b.ensure_mailbox(&mailbox("m", "a@old.test", "acme", "pw")).await.map(|_| ()),
        b.disable_mailbox(&uid("m"), &at("a@old.test")).await,
        b.release_mailbox(&uid("m"), &at("a@old.test")).await,
        b.ensure_alias(&alias("x", "info@old.test", "acme", &["a@old.test"])).await.map(|_| ()),
        b.remove_alias(&uid("x"), &at("info@old.test"), Removal::Destroy).await,
        signer(&*b).ensure_dkim_key(&uid("d"), &name("old.test"), &selector("s"), &rsa()).await.map(|_| ()),
    ] {
        assert!(refused.is_err());
    }
    assert_eq!(sql.text(THEIRS).await, theirs, "a refused call changed rows of others");
    // what was there before anybody noted an owner is no tenant's own
    adoptable(b.ensure_domain(&DomainWant { owner: keeping("d"), ..domain("d", "old.test", "acme") }).await);
    assert_eq!(sql.text(THEIRS).await, theirs, "a refused call changed rows of others");
    b.ensure_domain(&DomainWant { owner: adopting("d"), ..domain("d", "old.test", "acme") }).await.unwrap();
    let below = sql.text(THEIRS).await;
    adoptable(b.ensure_mailbox(&MailboxWant { owner: keeping("m"), ..mailbox("m", "a@old.test", "acme", "pw") }).await);
    let info_alias = alias("x", "info@old.test", "acme", &["a@old.test"]);
    adoptable(b.ensure_alias(&AliasWant { owner: keeping("x"), ..info_alias }).await);
    assert_eq!(sql.text(THEIRS).await, below, "a refused call changed rows of others");
    let want =
        MailboxWant { owner: adopting("m"), password: PasswordWant::Keep, ..mailbox("m", "a@old.test", "acme", "") };
    let (row, made) = b.ensure_mailbox(&want).await.unwrap();
    assert_eq!((made, row.adopted), (Made::Adopted, true));
    assert_eq!(sql.text("SELECT password FROM mailbox WHERE username = 'a@old.test'").await, "{SHA512-CRYPT}$6$x$y");
    // the strangers below keep the domain
    assert!(matches!(
        b.remove_domain(&uid("d"), &name("old.test"), Removal::Destroy).await,
        Err(BackendError::Conflict(_))
    ));
    // External once everything is there; a column less is a capability less
    let external = stack.settings(external).connect().unwrap();
    assert_eq!(external.probe().await.unwrap(), info);
    sql.run("DROP VIEW sogo_users, mailbox_login; ALTER TABLE mailbox DROP COLUMN access_pop3; ALTER TABLE alias DROP COLUMN send_as").await;
    let less = external.probe().await.unwrap().capabilities;
    assert!(!less.contains(&Capability::ProtocolAccess) && !less.contains(&Capability::SendAs));
    assert!(less.contains(&Capability::Suspend));
    let mut want = want;
    want.settings.access.pop3 = false;
    assert!(matches!(external.ensure_mailbox(&want).await, Err(BackendError::Unsupported(_))));
    want.settings.access.pop3 = true;
    want.settings.display_name = "Ann".into();
    external.ensure_mailbox(&want).await.unwrap();
}

/// Tables in the schema where the role's own search_path finds them are not overlooked, and no second set is made.
#[tokio::test]
async fn tables_of_another_schema() {
    let stack = Stack::up();
    stack.sql("groupware").await.run("CREATE DATABASE elsewhere OWNER mailtenant").await;
    let sql = stack.sql("elsewhere").await;
    sql.run(&format!("SET ROLE mailtenant; CREATE SCHEMA mailtenant; SET search_path = mailtenant; {POSTFIXADMIN}; RESET search_path; RESET ROLE"))
        .await;
    for schema in ["Managed", "External"] {
        let b = stack.settings(json!({"database": {"name": "elsewhere"}, "schema": schema})).connect().unwrap();
        let refused = b.probe().await;
        assert!(matches!(&refused, Err(BackendError::Rejected(t)) if t.contains("mailtenant.")), "{refused:?}");
        assert!(matches!(b.ensure_tenant(&tenant("t", "acme")).await, Err(BackendError::Rejected(_))));
    }
    assert_eq!(sql.count("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await, 0);
    sql.run(
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'mailtenant' LOOP \
           EXECUTE format('ALTER TABLE mailtenant.%I SET SCHEMA public', t); END LOOP; END $$",
    )
    .await;
    let b = stack.settings(json!({"database": {"name": "elsewhere"}})).connect().unwrap();
    b.probe().await.unwrap();
    assert_eq!(sql.count("SELECT count(*) FROM public.mailbox").await, 2);
}

/// A view of the same name that is somebody else's stays, also one that could be replaced, and gives no capability.
#[tokio::test]
async fn beside_other_views() {
    let stack = Stack::up();
    stack.sql("groupware").await.run("CREATE DATABASE views OWNER mailtenant").await;
    let sql = stack.sql("views").await;
    sql.run("SET ROLE mailtenant; CREATE VIEW sogo_users AS SELECT 1 AS theirs; RESET ROLE").await;
    let b = stack.settings(json!({"database": {"name": "views"}})).connect().unwrap();
    for _ in 0..2 {
        let info = b.probe().await.unwrap();
        for c in [Capability::ProtocolAccess, Capability::Groupware] {
            assert!(!info.capabilities.contains(&c), "{c:?}");
        }
        assert!(
            info.capabilities.contains(&Capability::Suspend) && info.capabilities.contains(&Capability::TenantStorage)
        );
    }
    assert_eq!(sql.count("SELECT theirs::bigint FROM sogo_users").await, 1);
    sql.run("COMMENT ON VIEW mailbox_quota IS 'made by hand'").await;
    let before = sql.text("SELECT xmin::text FROM pg_class WHERE relname = 'mailbox_quota'").await;
    assert!(!b.probe().await.unwrap().capabilities.contains(&Capability::TenantStorage));
    assert_eq!(sql.text("SELECT xmin::text FROM pg_class WHERE relname = 'mailbox_quota'").await, before);
}

/// A large database with readers: no row is written twice, no reader waits for long, and what could not be done is done
/// by a later look.
#[tokio::test]
async fn a_large_database_that_is_read_all_the_time() {
    let stack = Stack::up();
    stack.sql("groupware").await.run("CREATE DATABASE large OWNER mailtenant").await;
    let sql = stack.sql("large").await;
    sql.run(&format!("SET ROLE mailtenant; {POSTFIXADMIN}; RESET ROLE")).await;
    sql.run(
        "INSERT INTO mailbox (username, maildir, domain, local_part) \
         SELECT n || '@old.test', 'old.test/' || n || '/', 'old.test', n::text FROM generate_series(1, 30000) n",
    )
    .await;
    let file = "SELECT pg_relation_filenode('mailbox')::text";
    let before = (sql.text(file).await, sql.text(THEIRS).await);
    let b = stack.settings(json!({"database": {"name": "large"}})).connect().unwrap();
    // A dump holds every table for as long as it lasts: the migration gives up, and meanwhile others read on.
    let dump = stack.sql("large").await;
    dump.run("BEGIN; SELECT count(*) FROM mailbox").await;
    let reads = async {
        let mut longest = Duration::ZERO;
        for _ in 0..30 {
            let start = Instant::now();
            assert_eq!(sql.count("SELECT count(*) FROM mailbox WHERE username = '7@old.test'").await, 1);
            longest = longest.max(start.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        longest
    };
    let (held, longest) = tokio::join!(b.probe(), reads);
    assert!(matches!(held, Err(BackendError::Unavailable { .. })), "{held:?}");
    assert!(longest < Duration::from_secs(4), "a reader waited {longest:?}");
    dump.run("COMMIT").await;
    // It had stopped while rows were filled: some have no id yet, and the API says so instead of reading half of it.
    sql.run("ALTER TABLE mailbox ADD COLUMN store_uid text; UPDATE mailbox SET store_uid = 'kept' WHERE username = '7@old.test'").await;
    let early = b.read_domain(&name("old.test")).await;
    assert!(matches!(early, Err(BackendError::Unavailable { .. })), "{early:?}");
    let info = b.probe().await.unwrap();
    assert!(info.capabilities.contains(&Capability::ProtocolAccess));
    assert_eq!((sql.text(file).await, sql.text(THEIRS).await), before, "the table was rewritten, or rows of others");
    assert_eq!(sql.count("SELECT count(DISTINCT store_uid) FROM mailbox").await, 30_002);
    assert_eq!(sql.text("SELECT store_uid FROM mailbox WHERE username = '7@old.test'").await, "kept");
    assert_eq!(sql.count("SELECT count(*) FROM pg_constraint WHERE conname LIKE 'mailtenant%'").await, 0);
    // whoever goes on inserting rows without knowing the column gets an id
    sql.run("INSERT INTO mailbox (username, domain, local_part) VALUES ('new@old.test', 'old.test', 'new')").await;
    assert_eq!(
        sql.count("SELECT count(*) FROM mailbox WHERE username = 'new@old.test' AND length(store_uid) = 36").await,
        1
    );
    // An older view of ours that is in use just then is replaced later, without a restart.
    sql.run("COMMENT ON VIEW domain_on IS 'mailtenant 1'").await;
    dump.run("BEGIN; SELECT count(*) FROM domain_on").await;
    let info = b.probe().await.unwrap();
    assert!(!info.capabilities.contains(&Capability::ProtocolAccess));
    let said = info.behind.expect("the step that failed").to_string();
    assert!(said.contains("migration of domain_on"), "{said}");
    dump.run("COMMIT").await;
    let info = b.probe().await.unwrap();
    assert!(info.capabilities.contains(&Capability::ProtocolAccess) && info.behind.is_none());
    assert_eq!(sql.text("SELECT obj_description('domain_on'::regclass)").await, "mailtenant 2");
}

#[tokio::test]
async fn refused_and_unreachable() {
    let stack = Stack::up();
    let probe = async |name: &str, key: &str, value: &str, patch: serde_json::Value| {
        let mut settings = stack.settings(patch);
        if !name.is_empty() {
            settings.secrets.0.insert((name.into(), key.into()), SecretText::new(value));
        }
        settings.connect().unwrap().probe().await.unwrap_err()
    };
    let e = probe("db", "password", "wrong-word", json!({})).await;
    assert!(matches!(e, BackendError::Unauthorized(_)), "{e:?}");
    assert!(!format!("{e:?} {e}").contains("wrong-word"));
    let e = probe("doveadm", "apiKey", "wrong-word", json!({})).await;
    assert!(matches!(e, BackendError::Unauthorized(_)), "{e:?}");
    let closed = stack.port("SINK");
    for patch in [
        json!({"database": {"port": closed}}),
        json!({"database": {"name": "nowhere"}}),
        json!({"database": {"tls": "Require"}}),
        json!({"doveadm": {"url": format!("http://127.0.0.1:{closed}/doveadm/v1")}}),
        json!({"doveadm": {"url": format!("http://127.0.0.1:{}/SOGo", stack.port("SOGO"))}}),
        json!({"memcached": {"port": closed}}),
        json!({"memcached": {"port": stack.port("SMTP")}}),
    ] {
        let e = probe("", "", "", patch.clone()).await;
        assert!(matches!(e, BackendError::Unavailable { .. }), "{patch}: {e:?}");
    }
    // a database that may only be read
    stack.sql("groupware").await.run("ALTER ROLE mailtenant SET default_transaction_read_only = on").await;
    let e = stack.backend().ensure_tenant(&tenant("t", "acme")).await.unwrap_err();
    assert!(matches!(e, BackendError::Unavailable { .. }), "{e:?}");
}
