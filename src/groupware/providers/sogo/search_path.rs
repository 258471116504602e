//! Tables that stand elsewhere. Names mean those of one schema here ([`OUR_SCHEMA`]), and tables of another one, which the
//! role's own search_path may name, would not be seen: a second, empty set would be made beside them.

use super::db::{CLIENT_LIMIT, Conn, OUR_SCHEMA};
use super::schema::relations;
use crate::{BackendError, Result};

/// Refuses a database where the role itself finds tables of ours in another schema.
pub(super) async fn check(conn: &mut Conn) -> Result<()> {
    let path = own_path(conn).await?;
    let names: Vec<&str> = relations().collect();
    let sql = "SELECT c.relname::text AS name, n.nspname::text AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = ANY($1) AND c.relname::text = ANY($2) ORDER BY 1";
    let rows = conn.query(sql, &[&path, &names]).await?;
    let tables: Vec<(String, String)> = rows.iter().map(|r| (r.get("name"), r.get("schema"))).collect();
    elsewhere(&path, &tables).map_or(Ok(()), |(table, schema)| {
        Err(BackendError::Rejected(format!(
            "the role's own search_path finds the table {table} in the schema {schema}; mailtenant looks in {OUR_SCHEMA} alone. \
             If that is the table of the mail servers, move it and the others with it (ALTER TABLE {schema}.{table} SET SCHEMA \
             {OUR_SCHEMA}); if not, give the role the search_path {OUR_SCHEMA} (ALTER ROLE … SET search_path = {OUR_SCHEMA})"
        )))
    })
}

/// The schemas where the role would look, were it left to itself. Only this one statement is run there, and it names
/// its function in full: nothing of another schema can be meant.
async fn own_path(conn: &mut Conn) -> Result<Vec<String>> {
    conn.begin().await?;
    let asked = async {
        conn.batch("SET LOCAL search_path TO DEFAULT", CLIENT_LIMIT).await?;
        conn.row("SELECT pg_catalog.current_schemas(false) AS path", &[]).await
    }
    .await;
    let row = conn.end(asked).await?;
    Ok(row.map(|r| r.get("path")).unwrap_or_default())
}

/// The first table, with its schema, that is found along the path in another schema than ours.
fn elsewhere<'a>(path: &[String], tables: &'a [(String, String)]) -> Option<(&'a str, &'a str)> {
    let at = |schema: &str| path.iter().position(|p| p == schema);
    tables.iter().find_map(|(table, schema)| {
        let first = tables.iter().filter(|(t, _)| t == table).all(|(_, s)| at(schema) <= at(s));
        (schema != OUR_SCHEMA && first).then_some((table.as_str(), schema.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_schema_of_the_path_counts() {
        let path = |schemas: &[&str]| schemas.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let both = [("mailbox", "mail"), ("mailbox", "public"), ("tenant", "public")];
        let tables = both.map(|(t, s)| (t.to_owned(), s.to_owned()));
        assert_eq!(elsewhere(&path(&["mail", "public"]), &tables), Some(("mailbox", "mail")));
        assert_eq!(elsewhere(&path(&["public", "mail"]), &tables), None);
        assert_eq!(elsewhere(&path(&["mail"]), &tables[..1]), Some(("mailbox", "mail")));
        assert_eq!(elsewhere(&path(&["mail", "public"]), &tables[1..]), None);
        assert_eq!(elsewhere(&[], &[]), None);
    }
}
