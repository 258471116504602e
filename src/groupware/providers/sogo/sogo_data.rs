//! What SOGo keeps of a user, in tables of its own.
//!
//! SOGo's role owns them. Whatever it can attach to a table (a trigger, a rule, an index with an expression) would run
//! here with the rights of the operator, who owns all mailboxes; `SET ROLE` is no way out, since code that runs can take
//! it back. So only plain tables are read and written, looked at under a lock that keeps them as they are, and by their
//! full names. That no name of the statements means something of SOGo's is for the schema: see grants.sql.

use super::db::{CLIENT_LIMIT, Conn};
use crate::{BackendError, Result};
use std::collections::BTreeMap;

/// Tables, in the order in which rows go, and which rows are a user's. `$1` is the address.
const TABLES: &[(&str, &str)] = &[
    ("sogo_quick_appointment", "c_folder_id IN FOLDERS"),
    ("sogo_quick_contact", "c_folder_id IN FOLDERS"),
    ("sogo_store", "c_folder_id IN FOLDERS"),
    ("sogo_acl", "c_uid = $1 OR c_folder_id IN FOLDERS"),
    ("sogo_cache_folder", "c_uid = $1"),
    ("sogo_alarms_folder", "starts_with(c_path, '/Users/' || $1 || '/')"),
    (INFO, "c_path2 = $1"),
    ("sogo_user_profile", "c_uid = $1"),
];
/// Names the folders of a user.
const INFO: &str = "sogo_folder_info";

/// Every table of these names. `used`: in a schema where SOGo's sessions look, which is one of its role's name, as
/// grants.sql makes it, or `public`. Other schemas hold copies, or tables that SOGo finds by settings unknown here.
const FIND: &str = "SELECT c.relname::text AS name, n.nspname::text AS schema, format('%I.%I', n.nspname, c.relname) AS place, \
    (n.nspname = pg_get_userbyid(c.relowner) OR n.nspname::text IN ('sogo', 'public')) AS used \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relname::text = ANY($1) AND NOT starts_with(n.nspname::text, 'pg_') ORDER BY 1, 2";

/// Those of the tables that may run something when they are read or written. 16384 is the first number of what is not
/// PostgreSQL's own. (`relhasrules` and the like would stay true after a rule is gone.)
const NOT_PLAIN: &str = "SELECT c.relname::text AS name FROM unnest($1::text[]) p JOIN pg_class c ON c.oid = p::regclass \
    WHERE c.relkind <> 'r' OR c.relrowsecurity OR c.relispartition OR c.relchecks > 0 \
    OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid) \
    OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) \
    OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid) \
    OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)) \
    OR EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid = c.oid) \
    OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.atttypid::int8 >= 16384) \
    ORDER BY 1 LIMIT 1";

/// SOGo's tables, held until the end of the transaction.
pub(super) struct SogoData(Vec<(String, String)>);

impl SogoData {
    /// Inside a transaction of the caller's. The lock lets SOGo read and write; nothing can be attached beside it.
    pub(super) async fn hold(conn: &mut Conn) -> Result<SogoData> {
        let names: Vec<&str> = TABLES.iter().map(|(t, _)| *t).collect();
        let rows = conn.query(FIND, &[&names]).await?;
        let found = rows.iter().map(|r| Found {
            table: r.get("name"),
            schema: r.get("schema"),
            place: r.get("place"),
            used: r.get("used"),
        });
        let places = places(found.collect())?;
        let all: Vec<&str> = places.values().map(String::as_str).collect();
        if all.is_empty() {
            return Ok(SogoData(vec![]));
        }
        conn.batch(&format!("LOCK TABLE {} IN ROW EXCLUSIVE MODE", all.join(", ")), CLIENT_LIMIT).await?;
        if let Some(row) = conn.row(NOT_PLAIN, &[&all]).await? {
            let table: String = row.get("name");
            return Err(BackendError::Rejected(format!(
                "{table} is not a plain table, as SOGo makes it: what is attached to it (a trigger, a rule, a policy, a check, \
                 an expression in an index) would run with the operator's rights. Not touched; remove it"
            )));
        }
        Ok(SogoData(users_rows(&places)))
    }

    /// How many rows there are of a user.
    pub(super) async fn count(&self, conn: &mut Conn, address: &str) -> Result<i64> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let counts: Vec<String> =
            self.0.iter().map(|(place, rows)| format!("(SELECT count(*) FROM {place} WHERE {rows})")).collect();
        let row = conn.row(&format!("SELECT {} AS left_over", counts.join(" + ")), &[&address]).await?;
        Ok(row.map_or(0, |r| r.get("left_over")))
    }

    /// Deletes them.
    pub(super) async fn purge(&self, conn: &mut Conn, address: &str) -> Result<()> {
        for (place, rows) in &self.0 {
            conn.execute(&format!("DELETE FROM {place} WHERE {rows}"), &[&address]).await?;
        }
        Ok(())
    }
}

/// A table of one of the names in [`TABLES`].
struct Found {
    table: String,
    schema: String,
    /// Its full name.
    place: String,
    used: bool,
}

/// The one place of each table. Where there are two, it is not known here which of them SOGo uses.
fn places(found: Vec<Found>) -> Result<BTreeMap<String, String>> {
    let mut all: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for one in found {
        all.entry(one.table.clone()).or_default().push(one);
    }
    let place = |(table, found): (String, Vec<Found>)| {
        let used: Vec<&Found> = found.iter().filter(|f| f.used).collect();
        let schemas = |of: &[&Found]| of.iter().map(|f| f.schema.as_str()).collect::<Vec<_>>().join(", ");
        match used.as_slice() {
            [one] => Ok((table, one.place.clone())),
            [] => Err(BackendError::Rejected(format!(
                "{table} is in {}, and SOGo's tables are looked for in the schema of its role's name and in public: what it \
                 keeps of a mailbox would stay. Move the table (ALTER TABLE … SET SCHEMA), or rename it if SOGo does not use it",
                schemas(&found.iter().collect::<Vec<_>>())
            ))),
            several => Err(BackendError::Rejected(format!(
                "{table} is in several schemas ({}): what SOGo keeps of a mailbox could stay in one. Drop or rename the one \
                 that SOGo does not use",
                schemas(several)
            ))),
        }
    };
    all.into_iter().map(place).collect()
}

/// Which rows of which table; `places` has the full names of those that are there.
fn users_rows(places: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let folders = places.get(INFO).map(|info| format!("(SELECT c_folder_id FROM {info} WHERE c_path2 = $1)"));
    let rows = |rows: &str| match &folders {
        Some(folders) => Some(rows.replace("FOLDERS", folders)),
        None => (!rows.contains("FOLDERS")).then(|| rows.to_owned()),
    };
    TABLES.iter().filter_map(|(t, w)| Some((places.get(*t)?.clone(), rows(w)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &str, schema: &str, used: bool) -> Found {
        Found { table: table.into(), schema: schema.into(), place: format!("{schema}.{table}"), used }
    }

    #[test]
    fn each_table_has_one_place() {
        let sogo = || found("sogo_store", "sogo", true);
        for all in [vec![sogo()], vec![found("sogo_store", "backup", false), sogo()]] {
            assert_eq!(places(all).unwrap(), BTreeMap::from([("sogo_store".into(), "sogo.sogo_store".into())]));
        }
        for all in [
            vec![found("sogo_store", "public", true), sogo()],
            vec![found("sogo_store", "elsewhere", false)],
            vec![found("sogo_acl", "elsewhere", false), sogo()],
        ] {
            let schemas: Vec<String> = all.iter().map(|f| f.schema.clone()).collect();
            let Err(BackendError::Rejected(text)) = places(all) else { panic!("{schemas:?}") };
            assert!(schemas.iter().any(|s| text.contains(s.as_str())), "{text}");
        }
        assert_eq!(places(vec![]).unwrap(), BTreeMap::new());
    }
}
