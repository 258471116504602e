//! The way to PostgreSQL: a pool, connections that never come back half-used, errors typed by what to do next.
//! Knows no table. No error holds a statement's parameters or the server's own words (they may quote values).

use super::params::Param;
use crate::{BackendError, Result};
use deadpool_postgres::{Hook, HookError, Object, Pool, PoolError};
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};

/// What the server may take for a statement and for waiting on a lock.
const SERVER_LIMITS: &str = "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=60s";
/// Where names are looked for, whatever the role or the database says: in a schema where another role may create, a
/// function or an operator of theirs could be meant.
pub(super) const OUR_SCHEMA: &str = "public";
/// Longer than `statement_timeout`: when this is over the statement is surely not running any more.
pub const CLIENT_LIMIT: Duration = Duration::from_secs(13);

/// Parameters of a statement.
pub type Params<'a> = &'a [&'a dyn Param];

fn references<'a>(values: &'a [Box<dyn ToSql + Sync + Send + 'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
}

/// Adds the limits that every session has.
pub fn with_limits(config: &mut Config) {
    config.options(SERVER_LIMITS).application_name("mailtenant").connect_timeout(Duration::from_secs(5));
    config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(20));
}

/// The first statement of a session: [`OUR_SCHEMA`] alone. Not an option of the connection, which would take the place of
/// what the role says; that is compared, see `search_path`.
pub fn in_our_schema() -> Hook {
    Hook::async_fn(|client, _| {
        Box::pin(async move {
            let set = format!("SET search_path = {OUR_SCHEMA}");
            match timeout(CLIENT_LIMIT, client.batch_execute(&set)).await {
                Ok(done) => done.map_err(HookError::Backend),
                Err(_) => Err(HookError::message("no answer in time")),
            }
        })
    })
}

/// One connection, taken from the pool. It goes back there only if nothing is under way on it: a pass that is cancelled
/// in the middle of a statement or a transaction closes the connection instead, and the server rolls back.
pub struct Conn {
    object: Option<Object>,
    /// A statement was sent and its answer not seen to the end.
    busy: bool,
    in_transaction: bool,
}

impl Conn {
    /// Takes a connection, or makes one.
    pub async fn open(pool: &Pool) -> Result<Conn> {
        match pool.get().await {
            Ok(object) => Ok(Conn { object: Some(object), busy: false, in_transaction: false }),
            Err(PoolError::Backend(e) | PoolError::PostCreateHook(HookError::Backend(e))) => Err(backend_error(&e)),
            Err(PoolError::Timeout(_)) => Err(BackendError::unavailable("no database connection in time")),
            Err(_) => Err(BackendError::unavailable("no database connection")),
        }
    }

    /// Whether the connection is in order; false after a lost answer or a broken line.
    pub fn usable(&self) -> bool {
        !self.busy && self.object.is_some()
    }

    fn client(&self) -> Result<&Object> {
        self.object.as_ref().ok_or_else(|| BackendError::unavailable("the database connection is gone"))
    }

    /// What came back, or did not.
    fn settle<T>(&mut self, answer: Result<Result<T, tokio_postgres::Error>, Elapsed>) -> Result<T> {
        match answer {
            Ok(Ok(value)) => {
                self.busy = false;
                Ok(value)
            }
            Ok(Err(e)) => {
                // An error of the server leaves the connection in order; anything else does not.
                self.busy = e.as_db_error().is_none();
                Err(backend_error(&e))
            }
            Err(_) => Err(BackendError::unavailable("the database did not answer in time")),
        }
    }

    /// All rows of a query.
    pub async fn query(&mut self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.busy = true;
        let client = self.client()?;
        let values: Vec<_> = params.iter().map(|p| p.value()).collect();
        let work = async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, &references(&values)).await
        };
        let answer = timeout(CLIENT_LIMIT, work).await;
        self.settle(answer)
    }

    /// The row of a query that has one at most.
    pub async fn row(&mut self, sql: &str, params: Params<'_>) -> Result<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// A statement; how many rows it changed.
    pub async fn execute(&mut self, sql: &str, params: Params<'_>) -> Result<u64> {
        self.busy = true;
        let client = self.client()?;
        let values: Vec<_> = params.iter().map(|p| p.value()).collect();
        let work = async {
            let statement = client.prepare_cached(sql).await?;
            client.execute(&statement, &references(&values)).await
        };
        let answer = timeout(CLIENT_LIMIT, work).await;
        self.settle(answer)
    }

    /// Statements without parameters, as the simple protocol takes them.
    pub async fn batch(&mut self, sql: &str, limit: Duration) -> Result<()> {
        self.busy = true;
        let client = self.client()?;
        let answer = timeout(limit, client.batch_execute(sql)).await;
        self.settle(answer)
    }

    /// Opens a transaction; [`Conn::end`] closes it.
    pub async fn begin(&mut self) -> Result<()> {
        self.in_transaction = true;
        self.batch("BEGIN", CLIENT_LIMIT).await
    }

    /// Commits what ended well, rolls back what did not. A COMMIT whose answer is lost may have been done or not: the
    /// caller repeats, and every call may be repeated.
    pub async fn end<T>(&mut self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => {
                self.batch("COMMIT", CLIENT_LIMIT).await?;
                self.in_transaction = false;
                Ok(value)
            }
            Err(e) => {
                // On a broken connection there is nothing to roll back; it is closed when dropped.
                if !self.busy && self.batch("ROLLBACK", CLIENT_LIMIT).await.is_ok() {
                    self.in_transaction = false;
                }
                Err(e)
            }
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let Some(object) = self.object.take().filter(|_| self.busy || self.in_transaction) {
            drop(Object::take(object));
        }
    }
}

/// What to do about an error of the database.
pub fn backend_error(e: &tokio_postgres::Error) -> BackendError {
    match e.code() {
        Some(code) => by_sqlstate(code.code()),
        None if e.is_closed() => BackendError::unavailable("the database closed the connection"),
        None => BackendError::unavailable("no connection to the database, or it broke"),
    }
}

/// The same by SQLSTATE (PostgreSQL, appendix A). Only the code goes into the text.
fn by_sqlstate(code: &str) -> BackendError {
    match code {
        "42501" => BackendError::Unauthorized("database: no permission (42501)".into()),
        "23505" | "23503" => BackendError::Conflict(format!("database: the rows changed meanwhile ({code})")),
        "23502" | "23514" => BackendError::Rejected(format!("database: value not allowed ({code})")),
        _ => match code.get(..2) {
            Some("28") => BackendError::Unauthorized(format!("database: sign-in refused ({code})")),
            Some("22") => BackendError::Rejected(format!("database: value not allowed ({code})")),
            // Everything else may pass: restarts, read-only standbys, deadlocks, full disks, limits, missing tables that
            // the next probe makes.
            _ => BackendError::unavailable(format!("database error {code}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let word = |e: BackendError| match e {
            BackendError::NotFound(_) => "NotFound",
            BackendError::Exists { .. } => "Exists",
            BackendError::Conflict(_) => "Conflict",
            BackendError::Rejected(_) => "Rejected",
            BackendError::ReadOnly(_) => "ReadOnly",
            BackendError::Unsupported(_) => "Unsupported",
            BackendError::InvalidSecret(_) => "InvalidSecret",
            BackendError::Unauthorized(_) => "Unauthorized",
            BackendError::Unavailable { .. } => "Unavailable",
        };
        for (code, want) in [
            ("28P01", "Unauthorized"),
            ("28000", "Unauthorized"),
            ("42501", "Unauthorized"),
            ("25006", "Unavailable"),
            ("40001", "Unavailable"),
            ("40P01", "Unavailable"),
            ("55P03", "Unavailable"),
            ("57014", "Unavailable"),
            ("57P01", "Unavailable"),
            ("57P03", "Unavailable"),
            ("53300", "Unavailable"),
            ("08006", "Unavailable"),
            ("42P01", "Unavailable"),
            ("42703", "Unavailable"),
            ("XX000", "Unavailable"),
            ("23505", "Conflict"),
            ("23503", "Conflict"),
            ("23514", "Rejected"),
            ("22001", "Rejected"),
            ("22021", "Rejected"),
        ] {
            assert_eq!(word(by_sqlstate(code)), want, "{code}");
        }
    }
}
