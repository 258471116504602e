//! Mailboxes as they are read.

use super::super::columns::{self, bytes, goto_list};
use super::super::db::Conn;
use super::super::schema::Features;
use crate::{Access, Address, BackendError, DomainName, MailboxRow, MailboxSettings, Origin, Result, TenantId, Uid};
use tokio_postgres::Row;

fn columns(f: Features) -> String {
    let login = if f.login { "m.login_enabled" } else { "true" };
    let access = match f.access {
        true => "m.access_imap, m.access_pop3, m.access_submission, m.access_sieve, m.access_groupware",
        false => {
            "true AS access_imap, true AS access_pop3, true AS access_submission, true AS access_sieve, \
             true AS access_groupware"
        }
    };
    format!(
        "m.username, m.store_uid, m.owner, m.origin, m.cluster, m.adopted, m.name, m.quota, m.active, {login} AS login_enabled, {access}, m.password_version, \
         (m.password_applied IS NOT NULL AND m.password <> m.password_applied) AS drifted, m.effects_due, \
         m.removing, COALESCE(q.bytes, 0) AS used, s.goto, \
         (m.owner IS NOT NULL AND (s.address IS NULL OR s.active <> m.active OR s.owner IS DISTINCT FROM m.owner)) \
         AS own_alias_differs"
    )
}

/// Columns and tables of [`row`], without a WHERE.
pub(crate) fn select(f: Features) -> String {
    format!(
        "SELECT {} FROM mailbox m LEFT JOIN quota2 q ON q.username = m.username \
         LEFT JOIN alias s ON s.address = m.username",
        columns(f)
    )
}

/// A row of [`select`].
pub(crate) fn row(r: &Row) -> MailboxRow {
    let username = columns::address(r, "username");
    let active: bool = r.get("active");
    let (forward_to, keep_copy) = forwards(&username, r.get("goto"));
    MailboxRow {
        id: r.get("store_uid"),
        owner: columns::owner(r, "owner"),
        origin: columns::origin(r),
        adopted: r.get("adopted"),
        settings: MailboxSettings {
            display_name: r.get("name"),
            quota: bytes(r.get("quota")),
            login: active && r.get::<_, bool>("login_enabled"),
            receive: active,
            access: Access {
                imap: r.get("access_imap"),
                pop3: r.get("access_pop3"),
                submission: r.get("access_submission"),
                sieve: r.get("access_sieve"),
                groupware: r.get("access_groupware"),
            },
            forward_to,
            keep_copy,
        },
        password_version: r.get("password_version"),
        password_drifted: r.get("drifted"),
        // A mailbox of ours whose own alias row is not there, off or another's gets no mail, whatever else is right.
        effects_due: r.get::<_, bool>("effects_due") || r.get::<_, bool>("own_alias_differs"),
        removing: r.get("removing"),
        used: bytes(r.get("used")),
        address: username,
    }
}

/// What a mailbox' own alias row says: where mail goes on to, and whether the mailbox keeps it. One that goes nowhere
/// else keeps its mail.
fn forwards(username: &Address, goto: Option<&str>) -> (Vec<Address>, bool) {
    let mut to = goto_list(goto.unwrap_or_default());
    let before = to.len();
    to.retain(|t| t != username);
    let keep = to.len() < before || to.is_empty();
    (to, keep)
}

/// All that a decision about a mailbox needs.
pub(crate) struct State {
    pub(crate) domain_there: bool,
    /// Of the domain.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) row: Option<MailboxRow>,
    /// `login_enabled` by itself.
    pub(crate) login_enabled: bool,
    /// `effects_due` by itself.
    pub(crate) due: bool,
    /// What Dovecot verifies against; empty where there is no mailbox.
    pub(crate) password: String,
    /// `password` as it was when a declared one was written last.
    pub(crate) applied: Option<String>,
    /// `home_path`: noted when it was switched off.
    pub(crate) home: Option<String>,
    pub(crate) own: Option<OwnAlias>,
}

/// The alias row under the mailbox' address.
pub(crate) struct OwnAlias {
    pub(crate) owner: Option<Uid>,
    /// Where the alias stood that was made with this address; none of a mailbox' own row.
    pub(crate) origin: Option<Origin>,
    pub(crate) goto: String,
    pub(crate) active: bool,
}

pub(crate) async fn read(conn: &mut Conn, f: Features, address: &Address, domain: &DomainName) -> Result<State> {
    let sql = format!(
        "SELECT {}, d.domain, d.tenant, m.password, m.password_applied, m.home_path, \
         s.owner AS own_owner, s.origin AS own_origin, s.cluster AS own_cluster, s.active AS own_active \
         FROM (SELECT $1::text AS address, $2::text AS domain) w LEFT JOIN domain d ON d.domain = w.domain \
         LEFT JOIN mailbox m ON m.username = w.address LEFT JOIN quota2 q ON q.username = m.username \
         LEFT JOIN alias s ON s.address = w.address",
        columns(f)
    );
    let r = conn.row(&sql, &[&address, &domain]).await?;
    let r = r.ok_or_else(|| BackendError::unavailable("the database gave no row"))?;
    let there = r.get::<_, Option<&str>>("username").is_some();
    Ok(State {
        domain_there: r.get::<_, Option<&str>>("domain").is_some(),
        tenant: columns::tenant(&r, "tenant"),
        row: there.then(|| row(&r)),
        login_enabled: there && r.get::<_, bool>("login_enabled"),
        due: there && r.get::<_, bool>("effects_due"),
        password: r.get::<_, Option<String>>("password").unwrap_or_default(),
        applied: r.get("password_applied"),
        home: r.get("home_path"),
        own: r.get::<_, Option<String>>("goto").map(|goto| OwnAlias {
            owner: columns::owner(&r, "own_owner"),
            origin: columns::origin_in(&r, "own_origin", "own_cluster"),
            goto,
            active: r.get("own_active"),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_alias_rows() {
        let list = |v: &[&str]| v.iter().map(|s| Address::from_server(*s)).collect::<Vec<_>>();
        let me = &Address::from_server("a@x.test");
        assert_eq!(forwards(me, None), (vec![], true));
        assert_eq!(forwards(me, Some("a@x.test")), (vec![], true));
        assert_eq!(forwards(me, Some("a@x.test,c@y.test,b@y.test")), (list(&["b@y.test", "c@y.test"]), true));
        assert_eq!(forwards(me, Some(" B@y.test , b@y.test,")), (list(&["b@y.test"]), false));
        assert_eq!(forwards(me, Some("")), (vec![], true));
    }
}
