//! The migration of `schema: Managed`: what is missing of `config/groupware/sogo/schema.sql`, `usage.sql` and `views.sql`,
//! the same text that platform teams run by hand under `schema: External`. It only adds.
//!
//! Mail servers read these tables all the time. Adding a column needs a lock that waits for every reader and that every
//! reader then waits for, so each table is a short transaction of its own, which gives up after [`LOCK_WAIT`] and is tried
//! again; rows are filled in batches. What was done stays done: a migration that does not fit into one pass goes on in
//! the next.

use super::db::Conn;
use super::schema::{Catalog, QUOTA_VIEW, SCHEMA, USAGE, VIEW_NAMES, VIEWS};
use crate::{BackendError, Result};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// For all of it: less than a backend's pass may take (5 minutes), which also asks the other servers.
const BUDGET: Duration = Duration::from_secs(240);
/// For one statement. The longest builds an index: 10 s for a million aliases.
const STATEMENT: Duration = Duration::from_secs(120);
/// How long mail servers may have to wait behind a lock that we wait for.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How often a step is tried before the next pass tries it.
const TRIES: u32 = 5;
/// Rows of one transaction: some 100 ms.
const BATCH: i64 = 5000;
/// Two operators (one going, one coming) may migrate at the same moment: each step is done by one of them.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7236271430271561)";
/// A CHECK that was validated lets SET NOT NULL know, without reading the table under its lock, that no row is null.
const PROVE: &str = "ALTER TABLE mailbox DROP CONSTRAINT IF EXISTS mailtenant_store_uid; \
    ALTER TABLE mailbox ADD CONSTRAINT mailtenant_store_uid CHECK (store_uid IS NOT NULL) NOT VALID";
const VALIDATE: &str = "ALTER TABLE mailbox VALIDATE CONSTRAINT mailtenant_store_uid";
const PROVEN: &str = "ALTER TABLE mailbox DROP CONSTRAINT IF EXISTS mailtenant_store_uid";
/// Whether what is counted differs from what there is: rows that were written with triggers switched off (restored,
/// replicated). Both are of one snapshot, so deliveries meanwhile make no difference.
const MISCOUNTED: &str = "SELECT EXISTS (SELECT FROM \
    (SELECT tenant, sum(bytes) AS bytes, count(*) AS parts FROM tenant_usage GROUP BY tenant) have FULL JOIN \
    (SELECT t.name AS tenant, COALESCE(sum(q.bytes), 0) AS bytes FROM tenant t LEFT JOIN domain d ON d.tenant = t.name \
     LEFT JOIN mailbox m ON m.domain = d.domain LEFT JOIN quota2 q ON q.username = m.username GROUP BY t.name) want \
    USING (tenant) WHERE have.bytes IS DISTINCT FROM want.bytes OR have.parts <> 16) AS miscounted";

/// One step: a transaction, or a row of them.
#[derive(Debug, PartialEq)]
enum Step {
    /// Statements on one table.
    Run {
        /// The table, or index.
        on: String,
        /// The statements.
        sql: String,
    },
    /// Gives the rows of `mailbox` that have none their store id.
    Fill,
    /// Makes the column of store ids NOT NULL.
    NotNull(String),
    /// A view.
    View(String),
    /// A block of `usage.sql`.
    Usage(&'static str),
    /// Counts anew what tenants use, if it is not right.
    Recount,
}

impl Step {
    /// The error with what was to be made.
    fn named(&self, error: BackendError) -> BackendError {
        let what = match self {
            Step::Run { on, .. } => on,
            Step::Fill | Step::NotNull(_) => "mailbox.store_uid",
            Step::View(sql) => {
                sql.split_once("VIEW ").and_then(|(_, v)| v.split_whitespace().next()).unwrap_or("a view")
            }
            Step::Usage(_) | Step::Recount => "tenant_usage",
        };
        match error {
            BackendError::Unauthorized(text) => BackendError::Unauthorized(format!("{text} for {what}")),
            BackendError::Rejected(text) => BackendError::Rejected(format!("{text} for {what}")),
            BackendError::Unavailable { message, retry_after } => {
                BackendError::Unavailable { message: format!("{message} (migration of {what})"), retry_after }
            }
            other => other,
        }
    }
}

/// The statements of a text, without comments.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|l| l.split("--").next().unwrap_or_default()).collect();
    code.join("\n").split(';').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

/// What is missing, in its order.
fn steps(catalog: &Catalog) -> Vec<Step> {
    let mut all: Vec<Step> = Vec::new();
    let filled = catalog.has("mailbox", &["store_uid"]);
    for sql in statements(SCHEMA) {
        let words: Vec<&str> = sql.split_whitespace().collect();
        let on = match words.as_slice() {
            ["CREATE", "TABLE", "IF", "NOT", "EXISTS", t, ..] if !catalog.there(t) => *t,
            ["CREATE", "INDEX", "IF", "NOT", "EXISTS", i, ..]
            | ["CREATE", "UNIQUE", "INDEX", "IF", "NOT", "EXISTS", i, ..]
                if !catalog.there(i) =>
            {
                *i
            }
            ["ALTER", "TABLE", t, "ADD", "COLUMN", "IF", "NOT", "EXISTS", c, ..] if !catalog.has(t, &[*c]) => *t,
            ["ALTER", "TABLE", t, "ALTER", "COLUMN", "store_uid", "SET", "DEFAULT", ..] if !filled => *t,
            ["UPDATE", ..] if !filled => {
                all.push(Step::Fill);
                continue;
            }
            ["ALTER", "TABLE", _, "ALTER", "COLUMN", "store_uid", "SET", "NOT", "NULL"] if !filled => {
                all.push(Step::NotNull(sql));
                continue;
            }
            _ => continue,
        };
        match all.last_mut() {
            Some(Step::Run { on: last, sql: before }) if last == on => *before = format!("{before};\n{sql}"),
            _ => all.push(Step::Run { on: on.to_owned(), sql: sql.clone() }),
        }
    }
    // What the view with quotas reads is there and right before the view is.
    let views = |quota: bool| {
        let wanted = VIEW_NAMES.iter().filter(move |v| (**v == QUOTA_VIEW) == quota && catalog.wants_view(v));
        wanted.filter_map(|v| VIEWS.split("\n\n").find(|block| block.contains(&format!("VIEW {v} AS"))))
    };
    all.extend(views(false).map(|block| Step::View(block.to_owned())));
    if catalog.wants_counting() {
        all.extend(blocks(USAGE).map(Step::Usage));
    }
    all.extend(views(true).map(|block| Step::View(block.to_owned())));
    all
}

/// The blocks of a text that say more than comments.
fn blocks(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split("\n\n").filter(|b| b.lines().any(|l| !l.trim().is_empty() && !l.starts_with("--")))
}

/// Makes what is missing, beside what is there. Changes nothing where nothing is missing. With the tables as they are then
/// goes the error of the step that failed, if mail can be served without it: what needs it is a missing capability until
/// the next look.
pub async fn migrate(conn: &mut Conn) -> Result<(Catalog, Option<BackendError>)> {
    let catalog = Catalog::read(conn).await?;
    let mut steps = steps(&catalog);
    if steps.is_empty() {
        if !catalog.counts() {
            return Ok((catalog, None));
        }
        steps.push(Step::Recount);
    }
    let done = run_steps(conn, &steps).await;
    let usable = conn.usable();
    match (done, catalog.lacks()) {
        (Ok(tolerated), _) => {
            let catalog = Catalog::read(conn).await?;
            match catalog.lacks() {
                None => Ok((catalog, tolerated)),
                Some(what) => {
                    Err(BackendError::Rejected(format!("the database still lacks {what} after the migration")))
                }
            }
        }
        (Err(error), None) if usable => Ok((Catalog::read(conn).await?, Some(error))),
        (Err(error), _) => Err(error),
    }
}

/// Returns the error of a view of ours that another role made: it stays as it is, and the other steps go on.
async fn run_steps(conn: &mut Conn, steps: &[Step]) -> Result<Option<BackendError>> {
    let end = Instant::now() + BUDGET;
    let mut tolerated = None;
    for step in steps {
        match (step, run_with_retries(conn, step, end).await.map_err(|e| step.named(e))) {
            (Step::View(_), Err(error @ BackendError::Unauthorized(_))) => tolerated = tolerated.or(Some(error)),
            (_, done) => done?,
        }
    }
    Ok(tolerated)
}

/// A step, again if it failed in a way that passes: above all a lock that was not to be had.
async fn run_with_retries(conn: &mut Conn, step: &Step, end: Instant) -> Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match run_step(conn, step, end).await {
            Err(BackendError::Unavailable { .. }) if conn.usable() && tries < TRIES && Instant::now() < end => {
                sleep(LOCK_WAIT / 2).await;
            }
            other => return other,
        }
    }
}

async fn run_step(conn: &mut Conn, step: &Step, end: Instant) -> Result<()> {
    match step {
        Step::Run { sql, .. } | Step::View(sql) => transaction(conn, sql, end).await,
        Step::Usage(sql) => transaction(conn, sql, end).await,
        Step::Recount => recount(conn, end).await,
        Step::Fill => fill(conn, end).await,
        Step::NotNull(sql) => {
            transaction(conn, PROVE, end).await?;
            transaction(conn, VALIDATE, end).await?;
            transaction(conn, &format!("{sql};\n{PROVEN}"), end).await
        }
    }
}

/// What a statement may take now.
fn time_left(end: Instant) -> Result<Duration> {
    let left = end.saturating_duration_since(Instant::now()).min(STATEMENT);
    match left.is_zero() {
        true => {
            Err(BackendError::unavailable("the migration of the database takes longer: it goes on with the next look"))
        }
        false => Ok(left),
    }
}

async fn set_limits(conn: &mut Conn, limit: Duration) -> Result<()> {
    let (statement, lock) = (limit.as_millis().max(1), LOCK_WAIT.as_millis());
    let set = format!("SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; {LOCK}");
    conn.batch(&set, STATEMENT).await
}

async fn transaction(conn: &mut Conn, sql: &str, end: Instant) -> Result<()> {
    let limit = time_left(end)?;
    conn.begin().await?;
    let done = async {
        set_limits(conn, limit).await?;
        // The server's own limit is for each statement of the text, and comes first.
        conn.batch(sql, limit + Duration::from_secs(5)).await
    }
    .await;
    conn.end(done).await
}

async fn recount(conn: &mut Conn, end: Instant) -> Result<()> {
    let row = conn.row(MISCOUNTED, &[]).await?;
    if !row.is_some_and(|r| r.get("miscounted")) {
        return Ok(());
    }
    tracing::warn!("what tenants use was written past the triggers that count it: it is counted anew");
    transaction(conn, blocks(USAGE).last().unwrap_or_default(), end).await
}

async fn fill(conn: &mut Conn, end: Instant) -> Result<()> {
    let sql = "WITH part AS (SELECT username FROM mailbox WHERE store_uid IS NULL AND username > $1 ORDER BY username LIMIT $2 FOR UPDATE), \
               done AS (UPDATE mailbox m SET store_uid = gen_random_uuid()::text FROM part WHERE m.username = part.username RETURNING m.username) \
               SELECT count(*) AS rows, max(username) AS last FROM done";
    let mut last = String::new();
    loop {
        let limit = time_left(end)?;
        conn.begin().await?;
        let done = async {
            set_limits(conn, limit).await?;
            conn.row(sql, &[&last, &BATCH]).await
        }
        .await;
        let row = conn.end(done).await?.ok_or_else(|| BackendError::unavailable("the database gave no row"))?;
        let (rows, max): (i64, Option<String>) = (row.get("rows"), row.get("last"));
        match max {
            Some(max) if rows == BATCH => last = max,
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The migration only adds, and every statement is one of those that [`steps`] knows.
    #[test]
    fn nothing_is_dropped_or_rewritten() {
        for text in [SCHEMA, VIEWS] {
            for statement in statements(text) {
                let adds = statement.starts_with("CREATE TABLE IF NOT EXISTS ")
                    || (statement.starts_with("ALTER TABLE ") && statement.contains(" ADD COLUMN IF NOT EXISTS "))
                    || statement.starts_with("ALTER TABLE mailbox ALTER COLUMN store_uid SET ")
                    || statement == "UPDATE mailbox SET store_uid = gen_random_uuid()::text WHERE store_uid IS NULL"
                    || statement.starts_with("CREATE INDEX IF NOT EXISTS ")
                    || statement.starts_with("CREATE UNIQUE INDEX IF NOT EXISTS ")
                    || statement.starts_with("CREATE OR REPLACE VIEW ")
                    || statement.starts_with("COMMENT ON VIEW ");
                assert!(adds, "{statement}");
                // PostgreSQL adds a column without touching rows only if its default is the same for all of them.
                let volatile =
                    statement.contains(" ADD COLUMN ") && statement.contains('(') && statement.contains("DEFAULT");
                assert!(!volatile, "rewrites the table: {statement}");
            }
        }
    }

    /// A function or trigger is replaced by one of the same name; rows are written in tenant_usage only.
    #[test]
    fn counting_changes_nothing_else() {
        let all: Vec<&str> = blocks(USAGE).collect();
        assert_eq!(all.len(), 7);
        for line in all.iter().flat_map(|b| b.lines()).map(|l| l.split("--").next().unwrap_or_default().trim()) {
            let writes = ["INSERT INTO ", "UPDATE ", "DELETE FROM ", "ALTER ", "DROP ", "TRUNCATE "];
            let writes = writes.iter().find_map(|w| line.strip_prefix(w));
            assert!(writes.is_none_or(|to| to.starts_with("tenant_usage ")), "{line}");
        }
    }

    #[test]
    fn what_is_missing_and_nothing_else() {
        let all = steps(&Catalog::default());
        let runs = all.iter().filter_map(|s| if let Step::Run { on, .. } = s { Some(on.as_str()) } else { None });
        let runs: Vec<&str> = runs.collect();
        assert_eq!(runs.iter().filter(|t| **t == "tenant").count(), 2, "the table, then its columns: {runs:?}");
        assert_eq!(all.iter().filter(|s| matches!(s, Step::View(_))).count(), VIEW_NAMES.len());
        let at = |what: &dyn Fn(&Step) -> bool| all.iter().position(what).unwrap();
        assert_eq!(at(&|s| matches!(s, Step::View(v) if v.contains(QUOTA_VIEW))), all.len() - 1, "after what it reads");
        assert_eq!(all.iter().filter(|s| matches!(s, Step::Usage(_))).count(), 7);
        let fill = at(&|s| *s == Step::Fill);
        assert!(fill < at(&|s| matches!(s, Step::NotNull(_))));
        let Step::Run { on, sql } = &all[fill - 1] else { panic!("{all:?}") };
        assert!(on == "mailbox" && sql.contains("store_uid text") && sql.contains("store_uid SET DEFAULT"), "{sql}");
        // everything is known by its name: with it all nothing is left to do
        let mut catalog = Catalog::default();
        for sql in statements(SCHEMA) {
            let words: Vec<&str> = sql.split_whitespace().collect();
            catalog = match words.as_slice() {
                ["CREATE", "UNIQUE", _, "IF", "NOT", "EXISTS", name, ..] => catalog.with(name, ""),
                ["CREATE", _, "IF", "NOT", "EXISTS", name, ..] => catalog.with(name, ""),
                ["ALTER", "TABLE", t, "ADD", "COLUMN", "IF", "NOT", "EXISTS", c, ..] => catalog.with(t, c),
                _ => catalog,
            };
        }
        for view in VIEW_NAMES {
            catalog = catalog.with(view, "");
        }
        assert_eq!(steps(&catalog), []);
        // a migration that stopped while rows were filled goes on there
        let mut half = Catalog::default();
        for (table, column) in [("mailbox", "login_enabled"), ("mailbox", "owner")] {
            half = half.with(table, column);
        }
        let all = steps(&half);
        assert!(all.contains(&Step::Fill));
        assert!(!all.iter().any(|s| matches!(s, Step::Run { sql, .. } if sql.contains("login_enabled"))));
    }
}
