//! The tables: which columns there must be, which give a capability, and the migration that makes them.
//!
//! The text that is run is `config/groupware/sogo/schema.sql` and `views.sql`, the same that platform teams run by hand
//! under `schema: External`. It only adds.

use super::db::Conn;
use crate::groupware::{BackendError, Capability, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Tables, columns and indexes.
pub const SCHEMA: &str = include_str!("../../../config/groupware/sogo/schema.sql");
/// Views; blocks are separated by an empty line.
pub const VIEWS: &str = include_str!("../../../config/groupware/sogo/views.sql");
/// What the comment on a view of this version says.
const VIEW_VERSION: &str = "mailtenant 2";
/// Two operators (one going, one coming) may migrate at the same moment: the second waits for this lock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7236271430271561)";
/// A new column with a default that is computed by row rewrites the table: 10 s are too short for a big one. Less than a
/// pass may take: one that is cut off says nothing in the status.
const MIGRATION_LIMIT: Duration = Duration::from_secs(45);

/// What nothing works without.
const NEEDED: &[(&str, &[&str])] = &[
    ("tenant", &["name", "quota", "active", "owner", "origin", "adopted", "address_book"]),
    ("domain", &["domain", "active", "backupmx", "modified", "tenant", "owner", "adopted"]),
    ("alias_domain", &["alias_domain", "target_domain", "active"]),
    (
        "mailbox",
        &[
            "username",
            "password",
            "name",
            "maildir",
            "quota",
            "local_part",
            "domain",
            "active",
            "modified",
            "store_uid",
            "owner",
            "adopted",
            "password_version",
            "password_applied",
            "effects_due",
            "removing",
            "home_path",
        ],
    ),
    ("alias", &["address", "goto", "domain", "active", "modified", "owner", "adopted", "effects_due", "effects_for"]),
    ("quota2", &["username", "bytes"]),
];
/// What can be done without.
const OPTIONAL: &[(&str, &[&str])] = &[
    (
        "mailbox",
        &["login_enabled", "access_imap", "access_pop3", "access_submission", "access_sieve", "access_groupware"],
    ),
    ("alias", &["send_as", "display_name"]),
    ("dkim", &["id", "domain_name", "selector", "private_key", "public_key", "owner", "algorithm"]),
    ("dkim_signing", &["author", "dkim_id"]),
    ("dkim_signing_ed25519", &["author", "dkim_id"]),
    ("app_password", &["username"]),
    ("import_job", &["username"]),
];
const VIEW_NAMES: &[&str] = &["mailbox_quota", "mailbox_login", "domain_on", "sogo_users"];
const INDEXES: &[&str] =
    &["tenant_owner_idx", "domain_tenant_idx", "mailbox_domain_idx", "alias_domain_idx", "alias_goto_idx"];

/// What the tables at hand can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// `mailbox.login_enabled`.
    pub login: bool,
    /// `mailbox.access_*`.
    pub access: bool,
    /// `alias.send_as`.
    pub send_as: bool,
    /// `alias.display_name`.
    pub display_name: bool,
    /// Tables of the RSA signer.
    pub dkim: bool,
    /// Table of the Ed25519 signer.
    pub ed25519: bool,
    /// Table of app passwords.
    pub app_password: bool,
    /// Table of imports.
    pub import_job: bool,
    /// View with the effective quota.
    pub quota_view: bool,
    /// Views that know protocol access and switched-off tenants.
    pub login_views: bool,
    /// View that SOGo reads.
    pub sogo_view: bool,
}

impl Features {
    /// As the API says it.
    pub fn capabilities(&self) -> BTreeSet<Capability> {
        let mut all = BTreeSet::from([Capability::CatchAll, Capability::Forwarding, Capability::HashedPasswords]);
        for (there, capability) in [
            (self.quota_view, Capability::TenantStorage),
            (self.login, Capability::Suspend),
            (self.send_as, Capability::SendAs),
            (self.access && self.login_views, Capability::ProtocolAccess),
            (self.sogo_view, Capability::Groupware),
            (self.dkim, Capability::DkimRsa),
            (self.dkim && self.ed25519, Capability::DkimEd25519),
            (self.import_job, Capability::ImapImport),
        ] {
            if there {
                all.insert(capability);
            }
        }
        all
    }
}

/// What the database has.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Columns by table or view; an index has none.
    columns: BTreeMap<String, BTreeSet<String>>,
    /// Comments on views.
    comments: BTreeMap<String, String>,
}

impl Catalog {
    /// Reads it, in one query.
    pub async fn read(conn: &mut Conn) -> Result<Catalog> {
        let tables = NEEDED.iter().chain(OPTIONAL).map(|(t, _)| *t);
        let names: Vec<&str> = tables.chain(VIEW_NAMES.iter().copied()).chain(INDEXES.iter().copied()).collect();
        let rows = conn
            .query(
                "SELECT c.relname::text, a.attname::text, obj_description(c.oid, 'pg_class') FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                 WHERE n.nspname = ANY(current_schemas(false)) AND c.relname::text = ANY($1)",
                &[&names],
            )
            .await?;
        let mut catalog = Catalog::default();
        for row in rows {
            let relation: String = row.get(0);
            if let Some(comment) = row.get::<_, Option<String>>(2) {
                catalog.comments.insert(relation.clone(), comment);
            }
            catalog.columns.entry(relation).or_default().extend(row.get::<_, Option<String>>(1));
        }
        Ok(catalog)
    }

    fn has(&self, table: &str, columns: &[&str]) -> bool {
        self.columns.get(table).is_some_and(|have| columns.iter().all(|c| have.contains(*c)))
    }

    fn view(&self, name: &str) -> bool {
        self.comments.get(name).is_some_and(|c| c == VIEW_VERSION)
    }

    /// The first thing that is missing and that nothing works without.
    pub fn lacks(&self) -> Option<String> {
        for (table, columns) in NEEDED {
            let Some(have) = self.columns.get(*table) else { return Some(format!("table {table}")) };
            if let Some(column) = columns.iter().find(|c| !have.contains(**c)) {
                return Some(format!("column {table}.{column}"));
            }
        }
        None
    }

    /// Whether a migration would change anything. With `views_tried` a view that is not ours is no reason: it did not
    /// let itself be replaced.
    fn complete(&self, views_tried: bool) -> bool {
        self.lacks().is_none()
            && OPTIONAL.iter().all(|(t, c)| self.has(t, c))
            && INDEXES.iter().all(|i| self.columns.contains_key(*i))
            && VIEW_NAMES.iter().all(|v| self.view(v) || (views_tried && self.columns.contains_key(*v)))
    }

    /// What the tables can say.
    pub fn features(&self) -> Features {
        let dkim = self
            .has("dkim", &["id", "domain_name", "selector", "private_key", "public_key", "owner", "algorithm"])
            && self.has("dkim_signing", &["author", "dkim_id"]);
        Features {
            login: self.has("mailbox", &["login_enabled"]),
            access: self.has(
                "mailbox",
                &["access_imap", "access_pop3", "access_submission", "access_sieve", "access_groupware"],
            ),
            send_as: self.has("alias", &["send_as"]),
            display_name: self.has("alias", &["display_name"]),
            dkim,
            ed25519: self.has("dkim_signing_ed25519", &["author", "dkim_id"]),
            app_password: self.has("app_password", &["username"]),
            import_job: self.has("import_job", &["username"]),
            quota_view: self.columns.contains_key("mailbox_quota"),
            login_views: self.view("mailbox_login") && self.view("domain_on") && self.view("sogo_users"),
            sogo_view: self.columns.contains_key("sogo_users"),
        }
    }
}

/// Makes what is missing, beside what is there, in one transaction. Changes nothing where nothing is missing.
pub async fn migrate(conn: &mut Conn, views_tried: bool) -> Result<Catalog> {
    let catalog = Catalog::read(conn).await?;
    if catalog.complete(views_tried) {
        return Ok(catalog);
    }
    conn.begin().await?;
    let done = match tokio::time::timeout(MIGRATION_LIMIT, run(conn)).await {
        Ok(done) => done,
        Err(_) => Err(BackendError::unavailable(
            "the database did not end the migration within 45 s: run config/groupware/sogo/schema.sql and views.sql there",
        )),
    };
    conn.end(done).await?;
    let catalog = Catalog::read(conn).await?;
    match catalog.lacks() {
        None => Ok(catalog),
        Some(what) => Err(BackendError::Rejected(format!("the database still lacks {what} after the migration"))),
    }
}

async fn run(conn: &mut Conn) -> Result<()> {
    let ms = MIGRATION_LIMIT.as_millis();
    conn.batch(&format!("SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = '30s'; {LOCK}"), MIGRATION_LIMIT)
        .await?;
    conn.batch(SCHEMA, MIGRATION_LIMIT).await?;
    for block in VIEWS.split("\n\n").filter(|b| b.contains("CREATE OR REPLACE VIEW")) {
        // A view of the same name with other columns is somebody else's: it stays, and the capabilities that need ours
        // are missing.
        conn.batch("SAVEPOINT view", MIGRATION_LIMIT).await?;
        match conn.batch(block, MIGRATION_LIMIT).await {
            Ok(()) => conn.batch("RELEASE view", MIGRATION_LIMIT).await?,
            Err(_) if conn.refused_for_good() => conn.batch("ROLLBACK TO view", MIGRATION_LIMIT).await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lists here and the SQL speak of the same tables.
    #[test]
    fn lists_match_the_sql() {
        for (table, columns) in NEEDED.iter().chain(OPTIONAL) {
            let start = SCHEMA.find(&format!("CREATE TABLE IF NOT EXISTS {table} (")).expect(table);
            let body = &SCHEMA[start..start + SCHEMA[start..].find(");").unwrap()];
            for column in *columns {
                let made = body.lines().any(|l| l.trim_start().starts_with(&format!("{column} ")));
                let added = SCHEMA.contains(&format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} "));
                assert!(made || added, "{table}.{column}");
            }
        }
        for index in INDEXES {
            assert!(SCHEMA.contains(&format!("INDEX IF NOT EXISTS {index} ")), "{index}");
        }
        for view in VIEW_NAMES {
            assert!(VIEWS.contains(&format!("CREATE OR REPLACE VIEW {view} AS")), "{view}");
            assert!(VIEWS.contains(&format!("COMMENT ON VIEW {view} IS '{VIEW_VERSION}'")), "{view}");
        }
    }

    /// The migration only adds.
    #[test]
    fn nothing_is_dropped_or_rewritten() {
        for text in [SCHEMA, VIEWS] {
            let code: String = text.lines().map(|l| l.split("--").next().unwrap()).collect::<Vec<_>>().join("\n");
            for statement in code.split(';').map(str::trim).filter(|s| !s.is_empty()) {
                let adds = statement.starts_with("CREATE TABLE IF NOT EXISTS ")
                    || (statement.starts_with("ALTER TABLE ") && statement.contains(" ADD COLUMN IF NOT EXISTS "))
                    || statement.starts_with("CREATE INDEX IF NOT EXISTS ")
                    || statement.starts_with("CREATE UNIQUE INDEX IF NOT EXISTS ")
                    || statement.starts_with("CREATE OR REPLACE VIEW ")
                    || statement.starts_with("COMMENT ON VIEW ");
                assert!(adds, "{statement}");
            }
        }
    }

    #[test]
    fn missing_columns_are_missing_capabilities() {
        let mut catalog = Catalog::default();
        assert_eq!(catalog.lacks().as_deref(), Some("table tenant"));
        for (table, columns) in NEEDED {
            catalog.columns.insert((*table).into(), columns.iter().map(|c| (*c).into()).collect());
        }
        assert_eq!(catalog.lacks(), None);
        assert!(!catalog.complete(false));
        let bare = catalog.features().capabilities();
        assert_eq!(
            bare.into_iter().collect::<Vec<_>>(),
            [Capability::CatchAll, Capability::Forwarding, Capability::HashedPasswords]
        );
        for (table, columns) in OPTIONAL {
            catalog.columns.entry((*table).into()).or_default().extend(columns.iter().map(|c| (*c).into()));
        }
        for view in VIEW_NAMES {
            catalog.columns.insert((*view).into(), BTreeSet::new());
        }
        // views of an older version or of somebody else do not know protocol access
        assert!(!catalog.features().capabilities().contains(&Capability::ProtocolAccess));
        for view in VIEW_NAMES {
            catalog.comments.insert((*view).into(), VIEW_VERSION.into());
        }
        for index in INDEXES {
            catalog.columns.insert((*index).into(), BTreeSet::new());
        }
        assert!(catalog.complete(false));
        assert!(catalog.features().capabilities().contains(&Capability::ProtocolAccess));
        catalog.columns.get_mut("mailbox").unwrap().remove("owner");
        assert_eq!(catalog.lacks().as_deref(), Some("column mailbox.owner"));
    }
}
