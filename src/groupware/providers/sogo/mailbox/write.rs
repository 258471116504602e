//! A mailbox' rows as they are written: in one transaction, and only if they are still as they were read.

use super::super::db::Conn;
use super::super::ownership::hold_domain;
use super::super::params::Param;
use super::super::schema::Features;
use super::change::{Change, Columns, Effects};
use super::rows::State;
use crate::{BackendError, DomainName, MailboxWant, Result, Uid};

/// Inside a transaction of the caller's.
pub(crate) async fn write(
    conn: &mut Conn,
    want: &MailboxWant,
    f: Features,
    state: &State,
    domain: &DomainName,
    change: Change,
) -> Result<()> {
    let Change { mut columns, own_goto, effects } = change;
    if effects > Effects::None {
        columns.push(("effects_due", Box::new(true)));
    }
    hold_domain(conn, domain, &want.tenant, &want.holders).await?;
    match &state.row {
        None => insert(conn, want, domain, columns).await?,
        Some(row) if !columns.is_empty() => update(conn, want, &row.owner, &columns).await?,
        Some(_) => {}
    }
    match own_goto {
        Some(goto) => write_own_alias(conn, want, f, domain, &goto).await,
        None => Ok(()),
    }
}

async fn insert(conn: &mut Conn, want: &MailboxWant, domain: &DomainName, mut columns: Columns) -> Result<()> {
    let local = want.address.local().to_owned();
    columns.push(("username", Box::new(want.address.clone())));
    columns.push(("local_part", Box::new(local)));
    columns.push(("domain", Box::new(domain.clone())));
    if let Some(id) = want.former.as_deref().filter(|id| is_store_id(id))
        && store_id_is_free(conn, id).await?
    {
        columns.push(("store_uid", Box::new(id.to_owned())));
    }
    let names: Vec<&str> = columns.iter().map(|(n, _)| *n).collect();
    let marks: Vec<String> = (1..=columns.len()).map(|i| format!("${i}")).collect();
    let params: Vec<&dyn Param> = columns.iter().map(|(_, v)| &**v as &dyn Param).collect();
    let sql =
        format!("INSERT INTO mailbox ({}) VALUES ({}) ON CONFLICT DO NOTHING", names.join(", "), marks.join(", "));
    changed_one(want, conn.execute(&sql, &params).await?)
}

/// `owner`: as it was read.
async fn update(conn: &mut Conn, want: &MailboxWant, owner: &Option<Uid>, columns: &Columns) -> Result<()> {
    let list: Vec<String> = columns.iter().enumerate().map(|(i, (n, _))| format!("{n} = ${}", i + 3)).collect();
    let mut params: Vec<&dyn Param> = vec![&want.address, owner];
    params.extend(columns.iter().map(|(_, v)| &**v as &dyn Param));
    let sql = format!(
        "UPDATE mailbox SET {}, modified = now() WHERE username = $1 AND owner IS NOT DISTINCT FROM $2",
        list.join(", ")
    );
    changed_one(want, conn.execute(&sql, &params).await?)
}

async fn write_own_alias(
    conn: &mut Conn,
    want: &MailboxWant,
    f: Features,
    domain: &DomainName,
    goto: &str,
) -> Result<()> {
    let send_as = if f.send_as { ", send_as" } else { "" };
    let send_as_value = if f.send_as { ", true" } else { "" };
    let sql = format!(
        "INSERT INTO alias (address, goto, domain, active, owner{send_as}) VALUES ($1, $2, $3, $4, $5{send_as_value}) \
         ON CONFLICT (address) DO UPDATE SET goto = $2, active = $4, owner = $5, modified = now() \
         WHERE alias.owner IS NULL OR alias.owner = $5 OR alias.owner = $6"
    );
    let w = &want.owner;
    let params: [&dyn Param; 6] = [&want.address, &goto, &domain, &want.settings.receive, &w.uid, &w.replaces];
    let rows = conn.execute(&sql, &params).await?;
    changed_one(want, rows)
}

fn changed_one(want: &MailboxWant, rows: u64) -> Result<()> {
    match rows {
        1 => Ok(()),
        _ => Err(BackendError::Conflict(format!("mailbox {} changed meanwhile", want.address))),
    }
}

/// A store id as the database makes them. What else a status may hold (it can be copied or written by hand) must not
/// become a path.
fn is_store_id(id: &str) -> bool {
    let groups = [8, 4, 4, 4, 12];
    id.split('-').map(str::len).eq(groups) && id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// Whether no mailbox lives in the home of this id. Holds the id until the end of the transaction: nothing but this lock
/// keeps two mailboxes from getting it at the same moment.
async fn store_id_is_free(conn: &mut Conn, id: &str) -> Result<bool> {
    conn.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 7236271))", &[&id]).await?;
    let sql = "SELECT 1 FROM mailbox WHERE store_uid = $1 OR trim(trailing '/' from maildir) = $1 \
               OR starts_with(maildir, $1 || '/') LIMIT 1";
    Ok(conn.row(sql, &[&id]).await?.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_ids() {
        assert!(is_store_id("6059e5bc-368c-4d4e-82d2-4b460284c7e3"));
        for id in [
            "",
            "..",
            "6059e5bc",
            "6059e5bc-368c-4d4e-82d2-4b460284c7e",
            "old.test/a",
            "6059e5bc-368c-4d4e-82d2-4b460284c7/.",
        ] {
            assert!(!is_store_id(id), "{id}");
        }
    }
}
