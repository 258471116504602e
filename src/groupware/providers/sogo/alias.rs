//! Aliases and catch-alls: rows of `alias` that are not a mailbox' own.

use super::columns::{self, goto_list};
use super::db::Conn;
use super::ownership::{check_tenant, hold_domain};
use super::*;
use mailtenant_mail::address;
use tokio_postgres::Row;

/// Of `alias a`: the address is no mailbox, whose own row it would be.
pub(super) const NO_MAILBOX: &str = "NOT EXISTS (SELECT FROM mailbox m WHERE m.username = a.address)";

/// Columns of [`row`], without a WHERE.
pub(super) fn select(f: Features) -> String {
    format!("SELECT {} FROM alias a", columns(f))
}

fn columns(f: Features) -> String {
    let send_as = if f.send_as { "a.send_as" } else { "true" };
    let name = if f.display_name { "a.display_name" } else { "''" };
    format!(
        "a.address, a.owner, a.origin, a.cluster, a.adopted, a.goto, {send_as} AS send_as, {name} AS display_name, a.active, a.effects_due"
    )
}

/// A row of [`select`].
pub(super) fn row(r: &Row) -> AliasRow {
    AliasRow {
        address: columns::address(r, "address"),
        owner: columns::owner(r, "owner"),
        origin: columns::origin(r),
        adopted: r.get("adopted"),
        settings: AliasSettings {
            targets: goto_list(r.get("goto")),
            send_as: r.get("send_as"),
            display_name: r.get("display_name"),
            active: r.get("active"),
        },
        effects_due: r.get("effects_due"),
    }
}

/// Owned aliases that deliver to a mailbox. Only those of its own tenant: another tenant that forwards to it neither
/// shows its addresses to this one nor keeps the mailbox from going (I11).
pub(super) async fn delivering_to(conn: &mut Conn, address: &Address) -> Result<Vec<Address>> {
    let sql = format!(
        "SELECT a.address FROM alias a JOIN domain d ON d.domain = a.domain \
         WHERE string_to_array(replace(a.goto, ' ', ''), ',') @> ARRAY[$1::text] AND a.owner IS NOT NULL AND {NO_MAILBOX} \
         AND d.tenant IS NOT DISTINCT FROM (SELECT tenant FROM domain WHERE domain = split_part($1::text, '@', 2)) \
         ORDER BY 1"
    );
    Ok(conn.query(&sql, &[&address]).await?.iter().map(|r| columns::address(r, "address")).collect())
}

struct State {
    domain_there: bool,
    tenant: Option<TenantId>,
    row: Option<AliasRow>,
    /// Owner of the mailbox of that address, if there is one.
    mailbox: Option<Option<Uid>>,
    /// Whose caches an earlier change still has to clear.
    pending: Vec<Address>,
}

async fn read(conn: &mut Conn, f: Features, address: &Address, domain: &DomainName) -> Result<State> {
    let sql = format!(
        "SELECT {}, d.domain, d.tenant, m.username, m.owner AS mailbox_owner, a.effects_for \
         FROM (SELECT $1::text AS address, $2::text AS domain) w LEFT JOIN domain d ON d.domain = w.domain \
         LEFT JOIN mailbox m ON m.username = w.address LEFT JOIN alias a ON a.address = w.address",
        columns(f)
    );
    let r = conn.row(&sql, &[&address, &domain]).await?;
    let r = r.ok_or_else(|| BackendError::unavailable("the database gave no row"))?;
    let there = r.get::<_, Option<&str>>("address").is_some();
    Ok(State {
        domain_there: r.get::<_, Option<&str>>("domain").is_some(),
        tenant: columns::tenant(&r, "tenant"),
        row: there.then(|| row(&r)),
        mailbox: r.get::<_, Option<&str>>("username").map(|_| columns::owner(&r, "mailbox_owner")),
        pending: goto_list(r.get::<_, Option<&str>>("effects_for").unwrap_or_default()),
    })
}

impl Sogo {
    pub(super) async fn alias_ensure(&self, want: &AliasWant) -> Result<(AliasRow, Made)> {
        let (domain, targets) = valid(want)?;
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        let s = &want.settings;
        if !f.send_as && !s.send_as {
            return Err(BackendError::Unsupported("an alias that may not be sent as".into()));
        }
        if !f.display_name && !s.display_name.is_empty() {
            return Err(BackendError::Unsupported("a name for an alias".into()));
        }
        let state = read(&mut conn, f, &want.address, &domain).await?;
        check_tenant(&domain, state.domain_there, state.tenant.as_ref(), &want.tenant)?;
        if let Some(owner) = state.mailbox {
            return Err(exists(format!("mailbox {}", want.address), owner.as_ref(), None));
        }
        let made = match &state.row {
            None => Made::Created,
            Some(r) => claim(format!("alias {}", want.address), r.owner.as_ref(), r.origin.as_ref(), &want.owner)?,
        };
        let settings = AliasSettings { targets, ..s.clone() };
        let mut affected = state.pending;
        if let (Made::Unchanged, Some(r)) = (made, &state.row)
            && r.settings == settings
        {
            if r.origin.as_ref() != Some(&want.owner.origin) {
                self.alias_note_origin(&mut conn, want).await?;
            }
            if !r.effects_due {
                let row = AliasRow { origin: Some(want.owner.origin.clone()), ..r.clone() };
                return Ok((row, Made::Unchanged));
            }
            affected.extend(settings.targets.iter().cloned());
        } else {
            // The addresses that a user may send as are cached with the user: of the old targets and of the new ones.
            affected.extend(settings.targets.iter().cloned());
            affected.extend(state.row.iter().flat_map(|r| r.settings.targets.clone()));
            affected = distinct(affected);
            conn.begin().await?;
            let done = write(&mut conn, want, f, &domain, &settings, state.row.as_ref(), made, &affected).await;
            conn.end(done).await?;
        }
        self.alias_follow(conn, &distinct(affected)).await?;
        let mut conn = self.connection().await?;
        conn.execute(
            "UPDATE alias SET effects_due = false, effects_for = NULL WHERE address = $1 AND owner = $2",
            &[&want.address, &want.owner.uid],
        )
        .await?;
        match read(&mut conn, f, &want.address, &domain).await?.row {
            Some(r) => Ok((r, if made == Made::Unchanged { Made::Changed } else { made })),
            None => Err(BackendError::Conflict(format!("alias {} went away while it was made", want.address))),
        }
    }

    /// Where its owner stands, of a row of before it was noted. Nothing follows from it.
    async fn alias_note_origin(&self, conn: &mut Conn, want: &AliasWant) -> Result<()> {
        let o = &want.owner.origin;
        let sql = "UPDATE alias SET origin = $3, cluster = $4 WHERE address = $1 AND owner = $2";
        conn.execute(sql, &[&want.address, &want.owner.uid, &o.to_string(), &o.cluster]).await.map(|_| ())
    }

    /// SOGo forgets what it cached of the mailboxes among `targets`.
    async fn alias_follow(&self, mut conn: Conn, targets: &[Address]) -> Result<()> {
        let rows = conn.query("SELECT username FROM mailbox WHERE username = ANY($1)", &[&targets]).await?;
        drop(conn);
        let users: Vec<Address> = rows.iter().map(|r| columns::address(r, "username")).collect();
        self.clear_sogo_cache(&users).await
    }

    pub(super) async fn alias_remove(&self, owner: &Uid, address: &Address, removal: Removal) -> Result<()> {
        let mut conn = self.connection_within_limit().await?;
        let sql = format!(
            "UPDATE alias a SET active = false, effects_due = true, modified = now(), \
             effects_for = concat_ws(',', effects_for, goto) WHERE address = $1 AND owner = $2 AND active AND {NO_MAILBOX}"
        );
        conn.execute(&sql, &[&address, &owner]).await?;
        let sql =
            format!("SELECT a.goto, a.effects_for FROM alias a WHERE address = $1 AND owner = $2 AND {NO_MAILBOX}");
        let Some(r) = conn.row(&sql, &[&address, &owner]).await? else {
            return Err(BackendError::NotFound(format!("alias {address}")));
        };
        let mut affected = goto_list(r.get("goto"));
        affected.extend(goto_list(r.get::<_, Option<&str>>("effects_for").unwrap_or_default()));
        self.alias_follow(conn, &distinct(affected)).await?;
        let mut conn = self.connection().await?;
        let end = match removal == Removal::Keep {
            true => format!(
                "UPDATE alias a SET owner = NULL, effects_due = false, effects_for = NULL \
                 WHERE address = $1 AND owner = $2 AND {NO_MAILBOX}"
            ),
            false => format!("DELETE FROM alias a WHERE address = $1 AND owner = $2 AND {NO_MAILBOX}"),
        };
        conn.execute(&end, &[&address, &owner]).await.map(|_| ())
    }
}

/// As `goto` holds them.
fn joined(list: &[Address]) -> String {
    list.iter().map(Address::as_str).collect::<Vec<_>>().join(",")
}

fn distinct(list: Vec<Address>) -> Vec<Address> {
    list.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The domain, and the targets sorted, each once.
fn valid(want: &AliasWant) -> Result<(DomainName, Vec<Address>)> {
    let refuse = |what: &str| Err(BackendError::Rejected(format!("{what} is no address in canonical form")));
    match want.address.strip_prefix('@') {
        Some(d) if address::domain(d).as_deref() == Ok(d) => {}
        None if Address::new(&want.address).as_ref() == Ok(&want.address) => {}
        _ => return refuse(&want.address),
    }
    for to in &want.settings.targets {
        if Address::new(to).as_ref() != Ok(to) {
            return refuse(to);
        }
    }
    if want.settings.targets.is_empty() {
        return Err(BackendError::Rejected("an alias needs a target".into()));
    }
    Ok((DomainName::from_server(want.address.domain()), distinct(want.settings.targets.clone())))
}

#[allow(clippy::too_many_arguments, reason = "one transaction, read from top to bottom")]
async fn write(
    conn: &mut Conn,
    want: &AliasWant,
    f: Features,
    domain: &DomainName,
    s: &AliasSettings,
    have: Option<&AliasRow>,
    made: Made,
    affected: &[Address],
) -> Result<()> {
    let (goto, affected) = (joined(&s.targets), joined(affected));
    let (place, cluster) = (want.owner.origin.to_string(), &want.owner.origin.cluster);
    // A mailbox on its way out gets no new alias: this and the last step of its removal lock the same row, so that one
    // of the two sees the other (I1). A mailbox of another tenant is any address outside: its removal does not wait for
    // this alias, and whether it is there or leaving is not told (I11).
    let leaving = "SELECT m.username FROM mailbox m JOIN domain d ON d.domain = m.domain \
                   WHERE m.username = ANY ($1) AND d.tenant = $2 AND m.removing FOR SHARE OF m";
    let held = "SELECT m.username FROM mailbox m JOIN domain d ON d.domain = m.domain \
                WHERE m.username = ANY ($1) AND d.tenant = $2 ORDER BY m.username FOR SHARE OF m";
    conn.query(held, &[&s.targets, &want.tenant]).await?;
    if let Some(row) = conn.query(leaving, &[&s.targets, &want.tenant]).await?.first() {
        return Err(BackendError::Conflict(format!("mailbox {} is being removed", row.get::<_, &str>("username"))));
    }
    hold_domain(conn, domain, &want.tenant, &want.holders).await?;
    let rows = match have {
        None => {
            conn.execute(
                "INSERT INTO alias (address, goto, domain, active, owner, effects_due, effects_for, origin, cluster) \
                 VALUES ($1, $2, $3, $4, $5, true, $6, $7, $8) ON CONFLICT DO NOTHING",
                &[&want.address, &goto, &domain, &s.active, &want.owner.uid, &affected, &place, cluster],
            )
            .await?
        }
        Some(have) => {
            conn.execute(
                "UPDATE alias SET goto = $2, active = $3, owner = $4, adopted = adopted OR $5, effects_due = true, \
                 effects_for = $6, origin = $8, cluster = $9, modified = now() \
                 WHERE address = $1 AND owner IS NOT DISTINCT FROM $7",
                &[
                    &want.address,
                    &goto,
                    &s.active,
                    &want.owner.uid,
                    &(made == Made::Adopted),
                    &affected,
                    &have.owner,
                    &place,
                    cluster,
                ],
            )
            .await?
        }
    };
    if rows != 1 {
        return Err(BackendError::Conflict(format!("alias {} changed meanwhile", want.address)));
    }
    if f.send_as {
        conn.execute(
            "UPDATE alias SET send_as = $2 WHERE address = $1 AND send_as <> $2",
            &[&want.address, &s.send_as],
        )
        .await?;
    }
    if f.display_name {
        conn.execute(
            "UPDATE alias SET display_name = $2 WHERE address = $1 AND display_name <> $2",
            &[&want.address, &s.display_name],
        )
        .await?;
    }
    Ok(())
}
