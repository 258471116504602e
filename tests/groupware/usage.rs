//! What a tenant uses, counted by triggers: right whatever changes, and cheap to look up.

use crate::conformance::*;
use crate::outside::until;
use crate::stack::{Sql, Stack};
use mailtenant_groupware::*;
use serde_json::{Value, json};
use tokio_postgres::SimpleQueryMessage;

/// Each tenant with what is counted for it, and what its mailboxes use.
const COUNTED: &str =
    "SELECT t.name || ' ' || (SELECT sum(bytes) FROM tenant_usage WHERE tenant = t.name) FROM tenant t ORDER BY 1";
const TRUE: &str = "SELECT t.name || ' ' || COALESCE(sum(q.bytes), 0) FROM tenant t LEFT JOIN domain d ON d.tenant = t.name \
    LEFT JOIN mailbox m USING (domain) LEFT JOIN quota2 q USING (username) GROUP BY t.name ORDER BY 1";
/// What differs from version 2: the view added up by itself, and nothing was counted.
const VERSION_2: &str = "
SET ROLE mailtenant;
CREATE OR REPLACE VIEW mailbox_quota AS
SELECT m.username, m.store_uid, m.active, m.quota,
       CASE WHEN COALESCE(t.quota, 0) = 0 THEN m.quota
            ELSE GREATEST(1, LEAST(NULLIF(m.quota, 0), COALESCE(q.bytes, 0) + GREATEST(t.quota - COALESCE(u.bytes, 0), 0))) END AS quota_effective,
       COALESCE(NULLIF(trim(trailing '/' from m.maildir), ''), m.store_uid) AS home
  FROM mailbox m JOIN domain d USING (domain) LEFT JOIN tenant t ON t.name = d.tenant
  LEFT JOIN quota2 q ON q.username = m.username
  LEFT JOIN LATERAL (SELECT sum(q2.bytes) AS bytes FROM quota2 q2 JOIN mailbox m2 USING (username) JOIN domain d2 ON d2.domain = m2.domain WHERE d2.tenant = d.tenant) u ON true;
COMMENT ON VIEW mailbox_quota IS 'mailtenant 2';
DROP FUNCTION tenant_usage_quota2, tenant_usage_mailbox, tenant_usage_domain, tenant_usage_tenant, tenant_usage_none CASCADE;
DROP TABLE tenant_usage;
RESET ROLE";

/// As Dovecot's quota_clone writes it, in its role.
fn holds(address: &str, bytes: i64) -> String {
    format!(
        "SET LOCAL ROLE mailread; INSERT INTO quota2 (bytes, username) VALUES ({bytes}, '{address}') \
         ON CONFLICT (username) DO UPDATE SET bytes = {bytes}; RESET ROLE"
    )
}

fn makes(address: &str) -> String {
    let (local, domain) = address.split_once('@').unwrap();
    format!("INSERT INTO mailbox (username, local_part, domain) VALUES ('{address}', '{local}', '{domain}')")
}

fn moves(domain: &str, tenant: &str) -> String {
    let tenant = if tenant.is_empty() { "NULL".into() } else { format!("'{tenant}'") };
    format!("UPDATE domain SET tenant = {tenant} WHERE domain = '{domain}'")
}

async fn right(sql: &Sql, case: &str) {
    assert_eq!(sql.texts(COUNTED).await, sql.texts(TRUE).await, "{case}");
}

/// Tenants acme and beta with a domain each, with mailboxes a, b and c; a and b hold something. `free.test` is nobody's.
async fn tenants(sql: &Sql) {
    sql.run(
        "INSERT INTO tenant (name, quota) VALUES ('acme', 100000), ('beta', 100000);
         INSERT INTO domain (domain, tenant) VALUES ('acme.test', 'acme'), ('beta.test', 'beta'), ('free.test', NULL);
         INSERT INTO mailbox (username, local_part, domain)
           SELECT l || '@' || domain, l, domain FROM domain, unnest('{a,b,c}'::text[]) l;
         INSERT INTO quota2 (username, bytes) SELECT username, 109 FROM mailbox WHERE local_part <> 'c'",
    )
    .await;
}

#[tokio::test]
async fn what_a_tenant_uses_is_right_after_every_change() {
    let stack = Stack::up();
    let sql = stack.sql("groupware").await;
    stack.backend().probe().await.unwrap();
    tenants(&sql).await;
    assert_eq!(sql.texts(COUNTED).await, ["acme 218", "beta 218"]);
    let case = async |sql_text: &str, want: [i64; 2]| {
        sql.run(&format!("BEGIN; {sql_text}; COMMIT")).await;
        assert_eq!(
            sql.texts(COUNTED).await,
            want.iter().zip(["acme", "beta"]).map(|(n, t)| format!("{t} {n}")).collect::<Vec<_>>(),
            "{sql_text}"
        );
        right(&sql, sql_text).await;
    };
    case(&holds("c@acme.test", 1000), [1218, 218]).await;
    case(&holds("c@acme.test", 300), [518, 218]).await;
    case(&holds("c@acme.test", 300), [518, 218]).await;
    case("UPDATE quota2 SET messages = messages + 1", [518, 218]).await;
    case(&holds("c@free.test", 5000), [518, 218]).await;
    // of a mailbox that is not there, and comes
    case(&holds("d@acme.test", 7), [518, 218]).await;
    case(&makes("d@acme.test"), [525, 218]).await;
    case(&format!("{}; {}", makes("e@acme.test"), holds("e@acme.test", 3)), [528, 218]).await;
    // the row with its use goes; then the mailbox; then both, either first
    case("DELETE FROM quota2 WHERE username = 'd@acme.test'", [521, 218]).await;
    case("DELETE FROM mailbox WHERE username = 'd@acme.test'", [521, 218]).await;
    case("DELETE FROM mailbox WHERE username = 'e@acme.test'", [518, 218]).await;
    case("DELETE FROM quota2 WHERE username = 'e@acme.test'", [518, 218]).await;
    let c = "username = 'c@acme.test'";
    case(&format!("DELETE FROM quota2 WHERE {c}; DELETE FROM mailbox WHERE {c}"), [218, 218]).await;
    // renamed, with its use and without
    let b = "username = 'b@acme.test'";
    case(&format!("UPDATE mailbox SET username = 'x@acme.test' WHERE {b}"), [109, 218]).await;
    case(&format!("UPDATE quota2 SET username = 'x@acme.test' WHERE {b}"), [218, 218]).await;
    case("UPDATE mailbox SET domain = 'beta.test' WHERE username = 'x@acme.test'", [109, 327]).await;
    case("UPDATE mailbox SET name = 'X', quota = 1, active = false", [109, 327]).await;
    // domains
    case(&moves("acme.test", ""), [0, 327]).await;
    case(&moves("free.test", "acme"), [5218, 327]).await;
    case(&moves("acme.test", "beta"), [5218, 436]).await;
    case("UPDATE domain SET active = false, modified = now()", [5218, 436]).await;
    // many at a time
    let many = "INSERT INTO mailbox (username, local_part, domain) SELECT n || '@beta.test', n, 'beta.test' FROM generate_series(1, 500) n;
                INSERT INTO quota2 (username, bytes) SELECT n || '@beta.test', n FROM generate_series(1, 600) n";
    case(many, [5218, 436 + 125_250]).await;
    case("UPDATE quota2 SET bytes = bytes * 2 WHERE username LIKE '%0@beta.test'", [5218, 436 + 125_250 + 12_750])
        .await;
    case(
        "DELETE FROM quota2 WHERE username LIKE '_@beta.test'; DELETE FROM mailbox WHERE username ~ '^[0-9]'",
        [5218, 218],
    )
    .await;
    // what is rolled back did not happen
    sql.run(&format!("BEGIN; {}; {}; ROLLBACK", holds("a@free.test", 1), moves("beta.test", "acme"))).await;
    right(&sql, "rolled back").await;
    // a tenant comes, and goes with what was counted
    sql.run(&format!("INSERT INTO tenant (name) VALUES ('gamma'); {}", moves("beta.test", "gamma"))).await;
    right(&sql, "a third tenant").await;
    sql.run(&format!("{}; DELETE FROM tenant WHERE name = 'gamma'", moves("beta.test", "beta"))).await;
    assert_eq!(sql.count("SELECT count(*) FROM tenant_usage").await, 32);
    right(&sql, "gone again").await;
    case("TRUNCATE quota2", [0, 0]).await;
    case(&holds("a@free.test", 9), [9, 0]).await;
    case("TRUNCATE mailbox CASCADE", [0, 0]).await;
}

/// The operator's own way to remove a mailbox, and what it tells of a tenant.
#[tokio::test]
async fn a_mailbox_that_was_destroyed_uses_nothing() {
    let stack = Stack::up();
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    b.probe().await.unwrap();
    b.ensure_tenant(&tenant("t", "acme")).await.unwrap();
    b.ensure_domain(&domain("d", "acme.test", "acme")).await.unwrap();
    for name in ["a", "b"] {
        let address = format!("{name}@acme.test");
        b.ensure_mailbox(&mailbox(name, &address, "acme", "secret")).await.unwrap();
        sql.run(&format!("BEGIN; {}; COMMIT", holds(&address, 50))).await;
    }
    let used = async || b.tenant(&uid("t")).await.unwrap().unwrap().used;
    assert_eq!(used().await, 100);
    b.disable_mailbox(&uid("a"), &at("a@acme.test")).await.unwrap();
    assert_eq!(used().await, 100, "it is there still");
    b.purge_mailbox(&uid("a"), &at("a@acme.test")).await.unwrap();
    b.drop_mailbox(&uid("a"), &at("a@acme.test")).await.unwrap();
    assert_eq!(used().await, 50);
    right(&sql, "dropped").await;
}

/// Two at a time, of which the second comes while the first has not ended: it waits for it or not, and the sums are
/// right when both are through.
#[tokio::test]
async fn what_happens_at_the_same_moment_is_counted() {
    let stack = Stack::up();
    let sql = stack.sql("groupware").await;
    stack.backend().probe().await.unwrap();
    let (one, two) = (stack.sql("groupware").await, stack.sql("groupware").await);
    let removes = |a: &str| format!("DELETE FROM mailbox WHERE username = '{a}'");
    let forgets = |a: &str| format!("DELETE FROM quota2 WHERE username = '{a}'");
    let of_use = [
        holds("a@acme.test", 7),
        holds("b@acme.test", 8),
        holds("c@acme.test", 9),
        holds("d@acme.test", 10),
        holds("c@free.test", 11),
        forgets("a@acme.test"),
    ];
    let of_place = [
        moves("acme.test", "beta"),
        moves("acme.test", ""),
        moves("free.test", "acme"),
        makes("d@acme.test"),
        removes("a@acme.test"),
        removes("c@acme.test"),
        format!("{}; {}", forgets("a@acme.test"), removes("a@acme.test")),
        "UPDATE mailbox SET username = 'y@beta.test', domain = 'beta.test' WHERE username = 'a@acme.test'".to_owned(),
        // of the same mailbox, and of others
        holds("a@acme.test", 12),
        holds("a@beta.test", 13),
    ];
    let pid = two.count("SELECT pg_backend_pid()::bigint").await;
    let state = format!("SELECT COALESCE(wait_event_type, '') || state FROM pg_stat_activity WHERE pid = {pid}");
    for use_change in &of_use {
        for place_change in &of_place {
            for (first, second) in [(use_change, place_change), (place_change, use_change)] {
                sql.run("DELETE FROM quota2; DELETE FROM mailbox; DELETE FROM domain; DELETE FROM tenant").await;
                tenants(&sql).await;
                one.run(&format!("BEGIN; {first}")).await;
                let other = async { two.run(&format!("BEGIN; {second}")).await };
                let end = async {
                    until("it waits, or is through", async || {
                        let now = sql.text(&state).await;
                        now.starts_with("Lock") || now.ends_with("idle in transaction")
                    })
                    .await;
                    one.run("COMMIT").await;
                };
                tokio::join!(other, end);
                two.run("COMMIT").await;
                right(&sql, &format!("{first} // {second}")).await;
            }
        }
    }
}

/// Many at the same moment, as Dovecot writes when a tenant's mailboxes all get mail, while mailboxes go and come back
/// and a domain moves.
#[tokio::test]
async fn many_mailboxes_get_mail_at_the_same_moment() {
    let stack = Stack::up();
    let sql = stack.sql("groupware").await;
    stack.backend().probe().await.unwrap();
    tenants(&sql).await;
    sql.run("INSERT INTO mailbox (username, local_part, domain) SELECT n || '@acme.test', n, 'acme.test' FROM generate_series(0, 39) n").await;
    let mut work = tokio::task::JoinSet::new();
    for task in 0..8_u64 {
        let c = stack.sql("groupware").await;
        work.spawn(async move {
            let mut n = task + 1;
            for _ in 0..150 {
                n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let address = format!("{}@acme.test", (n >> 33) % 40);
                let text = match (task, (n >> 40) % 3) {
                    (0, 0) => format!(
                        "DELETE FROM quota2 WHERE username = '{address}'; DELETE FROM mailbox WHERE username = '{address}'"
                    ),
                    (0, _) => format!("{} ON CONFLICT DO NOTHING", makes(&address)),
                    (1, t) => moves("acme.test", ["", "acme", "beta"][t as usize]),
                    _ => holds(&address, (n >> 44) as i64 % 1000),
                };
                c.run(&format!("BEGIN; {text}; COMMIT")).await;
            }
        });
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    right(&sql, "after all of it").await;
}

/// All rows that the nodes of a plan saw, those that they threw away too.
fn seen(node: &Value) -> u64 {
    let n = |key: &str| node[key].as_f64().unwrap_or(0.0);
    let thrown: f64 =
        ["Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck"].map(n).iter().sum();
    let own = ((n("Actual Rows") + thrown) * n("Actual Loops")).round() as u64;
    own + node["Plans"].as_array().into_iter().flatten().map(seen).sum::<u64>()
}

#[tokio::test]
async fn a_lookup_sees_as_many_rows_however_large_the_tenant() {
    let stack = Stack::up();
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    b.probe().await.unwrap();
    let mut rows = vec![];
    for size in [20, 3000] {
        let name = format!("t{size}");
        b.ensure_tenant(&TenantWant { storage: 1 << 30, ..tenant(&name, &name) }).await.unwrap();
        b.ensure_domain(&domain(&format!("d{size}"), &format!("{name}.test"), &name)).await.unwrap();
        // Allocate: each has its own part. Share: none has one, or each more than there is.
        for quota in [1000, 0, i64::MAX] {
            sql.run(&format!(
                "DELETE FROM quota2 WHERE username LIKE '%@{name}.test'; DELETE FROM mailbox WHERE domain = '{name}.test';
                 INSERT INTO mailbox (username, local_part, domain, quota)
                   SELECT n || '@{name}.test', n, '{name}.test', {quota} FROM generate_series(1, {size}) n;
                 INSERT INTO quota2 (username, bytes) SELECT username, 10 FROM mailbox WHERE domain = '{name}.test'; ANALYZE"
            ))
            .await;
            let lookup =
                format!("SELECT home, quota_effective FROM mailbox_quota WHERE username = '7@{name}.test' AND active");
            let answer = sql.0.simple_query(&format!("EXPLAIN (ANALYZE, FORMAT JSON) {lookup}")).await.unwrap();
            let plan = answer.iter().find_map(|m| match m {
                SimpleQueryMessage::Row(r) => r.get(0).map(str::to_owned),
                _ => None,
            });
            rows.push(plan.unwrap());
        }
    }
    let counts: Vec<u64> = rows.iter().map(|p| seen(&serde_json::from_str::<Value>(p).unwrap()[0]["Plan"])).collect();
    assert!(counts.iter().all(|n| *n < 120), "{counts:?}\n{}", rows[5]);
    right(&sql, "at the end").await;
}

/// Whoever may write use, or make tables and functions, gets no further by it.
#[tokio::test]
async fn the_triggers_lend_nobody_their_rights() {
    let stack = Stack::up();
    let sql = stack.sql("groupware").await;
    stack.backend().probe().await.unwrap();
    tenants(&sql).await;
    // As it was in earlier versions.
    sql.run("GRANT CREATE ON SCHEMA public TO sogo").await;
    for refused in [
        "SET LOCAL ROLE mailread; UPDATE tenant_usage SET bytes = 0",
        "SET LOCAL ROLE mailread; SELECT bytes FROM tenant_usage",
        "SET LOCAL ROLE sogo; CREATE TABLE own (a int); CREATE TRIGGER t AFTER INSERT ON own EXECUTE FUNCTION tenant_usage_none()",
    ] {
        let answer = sql.0.batch_execute(&format!("BEGIN; {refused}")).await.unwrap_err();
        assert_eq!(answer.code().map(|c| c.code()), Some("42501"), "{refused}: {answer:?}");
        sql.run("ROLLBACK").await;
    }
    // tables of the same names in the writer's own place, and functions that suit the arguments better
    sql.run(
        "BEGIN; SET LOCAL ROLE mailread; CREATE TEMP TABLE tenant_usage (tenant text, slot int, bytes bigint);
         CREATE TEMP TABLE mailbox (username text, domain text); CREATE TEMP TABLE domain (domain text, tenant text); COMMIT",
    )
    .await;
    sql.run(
        "SET ROLE sogo;
         CREATE FUNCTION array_agg_step(text[], text) RETURNS text[] LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''taken''; END';
         CREATE AGGREGATE array_agg(text) (SFUNC = array_agg_step, STYPE = text[]);
         CREATE FUNCTION hashtext(varchar) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''taken''; END';
         CREATE FUNCTION same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''taken''; END';
         CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = same);
         RESET ROLE",
    )
    .await;
    for change in [
        "SET LOCAL ROLE mailread; INSERT INTO public.quota2 (username, bytes) VALUES ('c@acme.test', 5000)",
        "UPDATE public.quota2 SET bytes = 6000 WHERE username = 'c@acme.test'::text",
        "UPDATE public.domain SET tenant = 'beta' WHERE domain = 'acme.test'::text",
        "INSERT INTO public.mailbox (username, local_part, domain) VALUES ('n@acme.test', 'n', 'acme.test')",
        "UPDATE public.mailbox SET username = 'm@acme.test' WHERE username = 'n@acme.test'::text",
        "DELETE FROM public.mailbox WHERE username = 'b@acme.test'::text",
        "DELETE FROM public.quota2 WHERE username = 'a@acme.test'::text",
    ] {
        sql.run(&format!("BEGIN; SET LOCAL search_path = pg_catalog; {change}; COMMIT")).await;
    }
    assert_eq!(stack.sql("groupware").await.texts(COUNTED).await, ["acme 0", "beta 6218"]);
}

/// A database of the version before, with mail that comes while it is brought up to date.
#[tokio::test]
async fn a_database_that_was_there_gets_it() {
    let stack = Stack::up();
    let sql = stack.sql("groupware").await;
    tenants(&sql).await;
    sql.run(VERSION_2).await;
    let effective = "SELECT quota_effective::text FROM mailbox_quota WHERE username = 'a@acme.test'";
    let before = sql.text(effective).await;
    // External: as before, until a person runs the files
    let external = stack.settings(json!({"schema": "External"})).connect().unwrap();
    let storage =
        async |b: &dyn GroupwareServer| b.probe().await.unwrap().capabilities.contains(&Capability::TenantStorage);
    assert!(storage(&*external).await);
    let said = external.probe().await.unwrap().behind.expect("a file to run").to_string();
    assert!(said.contains("run usage.sql, then views.sql"), "{said}");
    assert_eq!(sql.count("SELECT count(*) FROM pg_class WHERE relname = 'tenant_usage'").await, 0);
    // Managed; a write that began before is not lost
    let writer = stack.sql("groupware").await;
    writer.run(&format!("BEGIN; {}", holds("a@acme.test", 1000))).await;
    let b = stack.backend();
    let ends = async {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mailtenant' AND wait_event_type = 'Lock'";
        until("the migration waits", async || sql.count(waits).await > 0).await;
        assert_eq!(sql.text(effective).await, before, "who reads does not wait");
        writer.run("COMMIT").await;
    };
    let (done, ()) = tokio::join!(storage(&*b), ends);
    assert!(done);
    assert_eq!(sql.texts(COUNTED).await, ["acme 1109", "beta 218"]);
    assert_eq!(sql.text("SELECT obj_description('mailbox_quota'::regclass)").await, "mailtenant 3");
    assert_eq!(sql.text(effective).await, (1000 + 100_000 - 1109).to_string());
    assert!(storage(&*external).await);
    // a second look makes nothing, and counts nothing anew
    let state = "SELECT string_agg(x, ',' ORDER BY x) FROM (SELECT oid || '.' || xmin FROM pg_trigger UNION ALL \
                 SELECT tenant || slot || '.' || xmin FROM tenant_usage) t(x)";
    let before = sql.text(state).await;
    assert!(storage(&*b).await);
    assert_eq!(sql.text(state).await, before);
    // rows that were written past the triggers
    sql.run("SET session_replication_role = replica; UPDATE quota2 SET bytes = 1; DELETE FROM tenant_usage WHERE slot = 3; RESET session_replication_role").await;
    assert!(storage(&*b).await);
    right(&sql, "counted anew").await;
    // without a trigger nobody is bounded by what the tenant uses
    for gone in [
        "ALTER TABLE quota2 DISABLE TRIGGER tenant_usage_quota2_update",
        "DROP TRIGGER tenant_usage_domain_update ON domain",
    ] {
        sql.run(&format!("{gone}; UPDATE quota2 SET bytes = bytes + 5; {}", moves("acme.test", "beta"))).await;
        assert!(!storage(&*external).await, "{gone}");
        assert!(storage(&*b).await, "{gone}");
        right(&sql, gone).await;
        assert!(storage(&*external).await, "{gone}");
        sql.run(&moves("acme.test", "acme")).await;
    }
    // an operator that may not read what is counted adds it up
    let functions = ["quota2", "mailbox", "domain", "tenant", "none"]
        .map(|f| format!("ALTER FUNCTION tenant_usage_{f} OWNER TO postgres"));
    sql.run(&format!("ALTER TABLE tenant_usage OWNER TO postgres; {}", functions.join("; "))).await;
    assert!(storage(&*external).await);
    sql.run("UPDATE tenant SET owner = 't' WHERE name = 'acme'").await;
    let used = sql.count("SELECT sum(bytes)::bigint FROM tenant_usage WHERE tenant = 'acme'").await;
    assert!(used > 0);
    assert_eq!(external.tenant(&uid("t")).await.unwrap().unwrap().used, used as u64);
}
