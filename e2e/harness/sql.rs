//! The groupware's database, read past the operator, and a log of all changes that the database itself keeps.

use super::stack::Stack;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

/// Tables whose changes are logged.
pub const AUDITED: [&str; 6] = ["tenant", "domain", "mailbox", "alias", "dkim", "alias_domain"];

/// A connection as the database's owner, past every proxy.
pub struct Sql(pub Client);

/// One change, as the trigger saw it.
#[derive(Debug, Clone)]
pub struct ChangeRow {
    /// Order of changes; a transaction's changes are seen in the order in which they were made.
    pub seq: i64,
    /// Seconds since 1970, of the moment of the change.
    pub at: f64,
    /// Table.
    pub table: String,
    /// `INSERT`, `UPDATE` or `DELETE`.
    pub op: String,
    /// The row before.
    pub old: Value,
    /// The row after.
    pub new: Value,
}

impl Sql {
    /// Connects.
    pub async fn connect(stack: &Stack) -> Sql {
        Sql::connect_to(stack, "groupware").await
    }

    /// As [`Sql::connect`], to another database of that server.
    pub async fn connect_to(stack: &Stack, database: &str) -> Sql {
        let text = format!("host=127.0.0.1 port={} user=postgres dbname={database}", stack.port("PG"));
        let (client, connection) = tokio_postgres::connect(&text, NoTls).await.expect("PostgreSQL answers");
        tokio::spawn(connection);
        Sql(client)
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        self.0.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// The first column of each row, as text; NULL is empty.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.0.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        rows.iter()
            .filter_map(|m| match m {
                tokio_postgres::SimpleQueryMessage::Row(r) => Some(r.get(0).unwrap_or_default().to_string()),
                _ => None,
            })
            .collect()
    }

    /// One value, as text.
    pub async fn one(&self, sql: &str) -> String {
        self.column(sql).await.into_iter().next().unwrap_or_default()
    }

    /// A whole row as JSON, if it is there.
    pub async fn row(&self, table: &str, condition: &str) -> Option<Value> {
        let text = self.column(&format!("SELECT to_jsonb(t) FROM {table} t WHERE {condition}")).await;
        text.first().map(|t| serde_json::from_str(t).expect("JSON"))
    }

    /// Whether a table has a column.
    pub async fn has_column(&self, table: &str, column: &str) -> bool {
        let sql = format!(
            "SELECT 1 FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{table}' AND column_name = '{column}'"
        );
        !self.column(&sql).await.is_empty()
    }

    /// Has the database log every change of the mail tables from now on. Repeatable; to be called once the tables exist.
    pub async fn start_audit(&self) {
        let triggers: String = AUDITED
            .iter()
            .map(|t| format!("CREATE TRIGGER e2e_audit AFTER INSERT OR UPDATE OR DELETE ON public.{t} FOR EACH ROW EXECUTE FUNCTION e2e.audit(); "))
            .collect();
        // Tests start beside each other: the first one makes it, the others wait for that.
        self.run("BEGIN; SELECT pg_advisory_xact_lock(4711)").await;
        if self.one("SELECT to_regclass('e2e.audit')").await.is_empty() {
            self.run(&format!(
                "CREATE SCHEMA e2e;
                 CREATE TABLE e2e.audit (seq bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
                   tbl text NOT NULL, op text NOT NULL, old jsonb, new jsonb);
                 CREATE FUNCTION e2e.audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$ BEGIN
                   INSERT INTO e2e.audit(tbl, op, old, new) VALUES (TG_TABLE_NAME, TG_OP,
                     CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
                   RETURN NULL; END $f$;
                 {triggers}"
            ))
            .await;
        }
        self.run("COMMIT").await;
    }

    /// The changes after `seq`, in their order, of rows whose text matches a LIKE pattern.
    pub async fn changes(&self, after: i64, like: &str) -> Vec<ChangeRow> {
        let sql = format!(
            "SELECT jsonb_build_object('seq', seq, 'at', extract(epoch from at), 'table', tbl, 'op', op, 'old', old, 'new', new)
               FROM e2e.audit WHERE seq > {after} AND COALESCE(new, old)::text LIKE '{like}' ORDER BY seq"
        );
        let parse = |t: String| {
            let v: Value = serde_json::from_str(&t).expect("JSON");
            ChangeRow {
                seq: v["seq"].as_i64().expect("a number"),
                at: v["at"].as_f64().expect("a number"),
                table: v["table"].as_str().unwrap_or_default().into(),
                op: v["op"].as_str().unwrap_or_default().into(),
                old: v["old"].clone(),
                new: v["new"].clone(),
            }
        };
        self.column(&sql).await.into_iter().map(parse).collect()
    }

    /// Number of the last change.
    pub async fn last_change(&self) -> i64 {
        self.one("SELECT COALESCE(max(seq), 0) FROM e2e.audit").await.parse().expect("a number")
    }

    /// All rows of the mail tables that match a LIKE pattern, one text each: for before and after.
    pub async fn snapshot(&self, like: &str) -> Vec<String> {
        let mut all = vec![];
        for table in AUDITED {
            let rows = self
                .column(&format!("SELECT '{table} ' || to_jsonb(t)::text FROM {table} t WHERE to_jsonb(t)::text LIKE '{like}' ORDER BY 1"))
                .await;
            all.extend(rows);
        }
        all
    }
}
