//! The tables: which columns there must be, and which give a capability. What makes them is in `migrate`.

use super::db::Conn;
use crate::{Capability, DkimAlgorithm, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Tables, columns and indexes.
pub const SCHEMA: &str = include_str!("../../../../config/groupware/sogo/schema.sql");
/// What tenants use, with the triggers that keep it; blocks are separated by an empty line, and the last one counts.
pub const USAGE: &str = include_str!("../../../../config/groupware/sogo/usage.sql");
/// Views; blocks are separated by an empty line.
pub const VIEWS: &str = include_str!("../../../../config/groupware/sogo/views.sql");
/// What the comment on a view of this version says. Each has its own: under `External` a person has to replace them, and
/// those of an older version are missing capabilities.
pub(super) fn view_version(name: &str) -> &'static str {
    if name == QUOTA_VIEW { "mailtenant 3" } else { "mailtenant 2" }
}
/// The view with what a mailbox may hold.
pub(super) const QUOTA_VIEW: &str = "mailbox_quota";
/// Its versions that add up the tenant by themselves, at each lookup: as right as those after them, but slower.
const QUOTA_VIEWS_THAT_ADD_UP: &[&str] = &["mailtenant 1", "mailtenant 2"];
/// What the comment on the table of [`USAGE`] says once the triggers are there and the sums are right.
const USAGE_VERSION: &str = "mailtenant 1";
/// The table of [`USAGE`].
const USAGE_TABLE: &str = "tenant_usage";
/// What keeps it up to date.
const TRIGGERS: &[&str] = &[
    "tenant_usage_quota2_insert",
    "tenant_usage_quota2_update",
    "tenant_usage_quota2_delete",
    "tenant_usage_quota2_truncate",
    "tenant_usage_mailbox_insert",
    "tenant_usage_mailbox_update",
    "tenant_usage_mailbox_delete",
    "tenant_usage_mailbox_truncate",
    "tenant_usage_domain_insert",
    "tenant_usage_domain_update",
    "tenant_usage_domain_delete",
    "tenant_usage_domain_truncate",
    "tenant_usage_tenant_insert",
];
/// What the comment on any view of ours begins with.
const OUR_VIEW: &str = "mailtenant ";
/// A column that counts as there only when it is NOT NULL: rows are filled after it was added.
const FILLED: (&str, &str) = ("mailbox", "store_uid");

/// What nothing works without.
const NEEDED: &[(&str, &[&str])] = &[
    ("tenant", &["name", "quota", "active", "owner", "origin", "cluster", "adopted", "address_book", "redirects"]),
    ("domain", &["domain", "active", "backupmx", "modified", "tenant", "owner", "origin", "cluster", "adopted"]),
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
            "origin",
            "cluster",
            "adopted",
            "password_version",
            "password_applied",
            "effects_due",
            "removing",
            "home_path",
        ],
    ),
    (
        "alias",
        &[
            "address",
            "goto",
            "domain",
            "active",
            "modified",
            "owner",
            "origin",
            "cluster",
            "adopted",
            "effects_due",
            "effects_for",
        ],
    ),
    ("quota2", &["username", "bytes"]),
];
/// What can be done without.
const OPTIONAL: &[(&str, &[&str])] = &[
    (
        "mailbox",
        &["login_enabled", "access_imap", "access_pop3", "access_submission", "access_sieve", "access_groupware"],
    ),
    ("alias", &["send_as", "display_name"]),
    ("dkim", &["id", "domain_name", "selector", "private_key", "public_key", "created", "owner", "algorithm"]),
    ("dkim_signing", &["author", "dkim_id"]),
    ("dkim_signing_ed25519", &["author", "dkim_id"]),
    ("app_password", &["username"]),
    ("import_job", &["username"]),
];
pub(super) const VIEW_NAMES: &[&str] = &["mailbox_quota", "mailbox_login", "domain_on", "sogo_users"];
const INDEXES: &[&str] =
    &["tenant_owner_idx", "domain_tenant_idx", "mailbox_domain_idx", "alias_domain_idx", "alias_goto_idx"];

/// Tables and views, as they are named.
pub(super) fn relations() -> impl Iterator<Item = &'static str> {
    NEEDED.iter().chain(OPTIONAL).map(|(t, _)| *t).chain([USAGE_TABLE]).chain(VIEW_NAMES.iter().copied())
}

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
    /// View with the effective quota, and what it needs.
    pub quota_view: bool,
    /// Table with what tenants use, kept up to date, that may be read.
    pub usage: bool,
    /// Views that know protocol access and switched-off tenants.
    pub login_views: bool,
    /// View that SOGo reads.
    pub sogo_view: bool,
}

impl Features {
    /// What mail is signed with.
    pub fn algorithms(&self) -> BTreeSet<DkimAlgorithm> {
        let rsa = self.dkim.then_some(DkimAlgorithm::RSA2048);
        rsa.into_iter().chain((self.dkim && self.ed25519).then_some(DkimAlgorithm::Ed25519)).collect()
    }

    /// Which settings can be written, as the API says it.
    pub fn capabilities(&self) -> BTreeSet<Capability> {
        let mut all = BTreeSet::from([Capability::CatchAll, Capability::Forwarding, Capability::HashedPasswords]);
        for (there, capability) in [
            (self.quota_view, Capability::TenantStorage),
            (self.login, Capability::Suspend),
            (self.send_as, Capability::SendAs),
            (self.access && self.login_views, Capability::ProtocolAccess),
            (self.sogo_view, Capability::Groupware),
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
#[derive(Debug, Default, Clone)]
pub struct Catalog {
    /// Columns by table or view; an index or a trigger has none.
    columns: BTreeMap<String, BTreeSet<String>>,
    /// Comments on views and tables.
    comments: BTreeMap<String, String>,
    /// Tables and views that the operator's role may not read.
    unreadable: BTreeSet<String>,
}

impl Catalog {
    /// Reads it, in one query.
    pub async fn read(conn: &mut Conn) -> Result<Catalog> {
        let others = [INDEXES, TRIGGERS].into_iter().flatten().copied();
        let names: Vec<&str> = relations().chain(others).collect();
        let rows = conn
            .query(
                "SELECT c.relname::text AS relation, a.attname::text AS attribute, obj_description(c.oid, 'pg_class') AS comment, \
                 a.attnotnull AS not_null, has_table_privilege(c.oid, 'SELECT') AS readable FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                 WHERE n.nspname = ANY(current_schemas(false)) AND c.relname::text = ANY($1) \
                 UNION ALL SELECT t.tgname::text, NULL, NULL, NULL, true FROM pg_trigger t \
                 JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = ANY(current_schemas(false)) AND t.tgname::text = ANY($1) AND t.tgenabled IN ('O', 'A')",
                &[&names],
            )
            .await?;
        let mut catalog = Catalog::default();
        for row in rows {
            let relation: String = row.get("relation");
            if let Some(comment) = row.get::<_, Option<String>>("comment") {
                catalog.comments.insert(relation.clone(), comment);
            }
            if !row.get::<_, bool>("readable") {
                catalog.unreadable.insert(relation.clone());
            }
            let column: Option<String> = row.get("attribute");
            let filling = (relation.as_str(), column.as_deref().unwrap_or_default()) == FILLED
                && row.get::<_, Option<bool>>("not_null") != Some(true);
            catalog.columns.entry(relation).or_default().extend(column.filter(|_| !filling));
        }
        Ok(catalog)
    }

    /// Whether a table, or an index or view, is there.
    pub(super) fn there(&self, relation: &str) -> bool {
        self.columns.contains_key(relation)
    }

    /// Whether a table has all of these columns.
    pub(super) fn has(&self, table: &str, columns: &[&str]) -> bool {
        self.columns.get(table).is_some_and(|have| columns.iter().all(|c| have.contains(*c)))
    }

    /// Whether a view is ours, of this version.
    fn view(&self, name: &str) -> bool {
        self.comments.get(name).is_some_and(|c| c == view_version(name))
    }

    /// Whether a view is ours, of any version.
    fn our_view(&self, name: &str) -> bool {
        self.comments.get(name).is_some_and(|c| c.starts_with(OUR_VIEW))
    }

    /// Whether the view with what a mailbox may hold is ours, and needs no counting.
    fn adds_up(&self) -> bool {
        self.comments.get(QUOTA_VIEW).is_some_and(|c| QUOTA_VIEWS_THAT_ADD_UP.contains(&c.as_str()))
    }

    /// Whether a view has to be made or replaced: it is not there, or ours of another version. One of somebody else stays.
    pub(super) fn wants_view(&self, name: &str) -> bool {
        !self.there(name) || (self.our_view(name) && !self.view(name))
    }

    /// Whether what tenants use is counted.
    pub(super) fn counts(&self) -> bool {
        self.comments.get(USAGE_TABLE).is_some_and(|c| c == USAGE_VERSION) && TRIGGERS.iter().all(|t| self.there(t))
    }

    /// Whether counting has to be set up: for a view of ours, there or to be made.
    pub(super) fn wants_counting(&self) -> bool {
        !self.counts() && (!self.there(QUOTA_VIEW) || self.our_view(QUOTA_VIEW))
    }

    /// Which file a person should run under `External`: what there is works, but adds up the tenant at each lookup, or
    /// bounds nobody (`TenantStorage` is missing then).
    pub fn behind(&self) -> Option<&'static str> {
        match self.our_view(QUOTA_VIEW) {
            true if !self.counts() => Some("usage.sql"),
            true if !self.view(QUOTA_VIEW) => Some("views.sql"),
            _ => None,
        }
    }

    /// The first thing that is missing and that nothing works without.
    pub fn lacks(&self) -> Option<String> {
        for (table, columns) in NEEDED {
            let Some(have) = self.columns.get(*table) else { return Some(format!("table {table}")) };
            if let Some(column) = columns.iter().find(|c| !have.contains(**c)) {
                let filled = if (*table, *column) == FILLED { " NOT NULL" } else { "" };
                return Some(format!("column {table}.{column}{filled}"));
            }
        }
        None
    }

    /// What the tables can say.
    pub fn features(&self) -> Features {
        let dkim = self.has(
            "dkim",
            &["id", "domain_name", "selector", "private_key", "public_key", "created", "owner", "algorithm"],
        ) && self.has("dkim_signing", &["author", "dkim_id"]);
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
            quota_view: self.our_view(QUOTA_VIEW) && (self.adds_up() || self.counts()),
            usage: self.counts() && !self.unreadable.contains(USAGE_TABLE),
            login_views: self.view("mailbox_login") && self.view("domain_on") && self.view("sogo_users"),
            sogo_view: self.our_view("sogo_users"),
        }
    }
}

#[cfg(test)]
impl Catalog {
    /// One that has a column (or, with an empty name, a relation).
    pub(super) fn with(mut self, table: &str, column: &str) -> Catalog {
        let columns = self.columns.entry(table.into()).or_default();
        columns.extend((!column.is_empty()).then(|| column.to_owned()));
        self
    }
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
            let version = view_version(view);
            assert!(VIEWS.contains(&format!("COMMENT ON VIEW {view} IS '{version}'")), "{view}");
        }
    }

    #[test]
    fn the_list_of_triggers_is_that_of_the_sql() {
        let made = USAGE.lines().filter_map(|l| l.strip_prefix("CREATE OR REPLACE TRIGGER ")?.split(' ').next());
        assert_eq!(made.collect::<BTreeSet<_>>(), TRIGGERS.iter().copied().collect());
        assert!(USAGE.contains(&format!("CREATE TABLE IF NOT EXISTS {USAGE_TABLE} (")));
        let last = USAGE.split("\n\n").last().unwrap();
        assert!(last.contains(&format!("COMMENT ON TABLE {USAGE_TABLE} IS '{USAGE_VERSION}'")), "{last}");
    }

    #[test]
    fn missing_columns_are_missing_capabilities() {
        let mut catalog = Catalog::default();
        assert_eq!(catalog.lacks().as_deref(), Some("table tenant"));
        for (table, columns) in NEEDED {
            catalog.columns.insert((*table).into(), columns.iter().map(|c| (*c).into()).collect());
        }
        assert_eq!(catalog.lacks(), None);
        let bare = catalog.features().capabilities();
        assert_eq!(
            bare.into_iter().collect::<Vec<_>>(),
            [Capability::CatchAll, Capability::Forwarding, Capability::HashedPasswords]
        );
        assert_eq!(catalog.features().algorithms(), [].into());
        for (table, columns) in OPTIONAL {
            catalog.columns.entry((*table).into()).or_default().extend(columns.iter().map(|c| (*c).into()));
        }
        assert_eq!(catalog.features().algorithms(), [DkimAlgorithm::RSA2048, DkimAlgorithm::Ed25519].into());
        // views of somebody else give nothing and stay, older ones of ours do not know protocol access
        let by_views = [Capability::TenantStorage, Capability::Groupware, Capability::ProtocolAccess];
        let given = |c: &Catalog| by_views.map(|v| c.features().capabilities().contains(&v));
        let wanted = |c: &Catalog| VIEW_NAMES.iter().filter(|v| c.wants_view(v)).count();
        assert_eq!((given(&catalog), wanted(&catalog)), ([false; 3], 4));
        for view in VIEW_NAMES {
            catalog.columns.insert((*view).into(), BTreeSet::new());
        }
        assert_eq!((given(&catalog), wanted(&catalog)), ([false; 3], 0));
        for view in VIEW_NAMES {
            catalog.comments.insert((*view).into(), "mailtenant 1".into());
        }
        assert_eq!((given(&catalog), wanted(&catalog)), ([true, true, false], 4));
        assert_eq!(catalog.behind(), Some("usage.sql"));
        for view in VIEW_NAMES {
            catalog.comments.insert((*view).into(), view_version(view).into());
        }
        // the newest view bounds nobody unless use is counted, by all of the triggers
        assert_eq!((given(&catalog), wanted(&catalog), catalog.wants_counting()), ([false, true, true], 0, true));
        for trigger in TRIGGERS {
            catalog.columns.insert((*trigger).into(), BTreeSet::new());
        }
        assert!(catalog.wants_counting() && !given(&catalog)[0], "the sums are not right yet");
        catalog.comments.insert(USAGE_TABLE.into(), USAGE_VERSION.into());
        assert_eq!((given(&catalog), catalog.behind(), catalog.features().usage), ([true; 3], None, true));
        catalog.comments.insert(QUOTA_VIEW.into(), "mailtenant 2".into());
        assert_eq!((given(&catalog), catalog.behind()), ([true; 3], Some("views.sql")));
        catalog.comments.insert(QUOTA_VIEW.into(), "somebody's".into());
        assert_eq!((given(&catalog)[0], catalog.behind()), (false, None));
        catalog.comments.insert(QUOTA_VIEW.into(), view_version(QUOTA_VIEW).into());
        catalog.unreadable.insert(USAGE_TABLE.into());
        assert_eq!((given(&catalog)[0], catalog.features().usage), (true, false));
        for trigger in TRIGGERS {
            let columns = catalog.columns.remove(*trigger).unwrap();
            assert!(!given(&catalog)[0] && catalog.wants_counting(), "{trigger}");
            catalog.columns.insert((*trigger).into(), columns);
        }
        catalog.columns.get_mut("mailbox").unwrap().remove("owner");
        assert_eq!(catalog.lacks().as_deref(), Some("column mailbox.owner"));
        catalog.columns.get_mut("mailbox").unwrap().remove("store_uid");
        assert_eq!(catalog.lacks().as_deref(), Some("column mailbox.store_uid NOT NULL"));
    }
}
