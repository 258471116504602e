//! Domains, and the bulk read of one: four queries, however many mailboxes it has.

use super::columns::{self, bytes};
use super::db::Conn;
use super::mailbox::rows as mailbox;
use super::ownership::{hold_domain, lock_domain};
use super::*;
use tokio_postgres::Row;

/// Columns of [`row`], without a WHERE.
const SELECT: &str = "SELECT d.domain, d.owner, d.origin, d.cluster, d.adopted, d.tenant, d.active, x.target_domain FROM domain d \
    LEFT JOIN alias_domain x ON x.alias_domain = d.domain AND x.active";

fn row(r: &Row) -> DomainRow {
    DomainRow {
        name: DomainName::from_server(r.get::<_, String>("domain")),
        owner: columns::owner(r, "owner"),
        origin: columns::origin(r),
        adopted: r.get("adopted"),
        tenant: columns::tenant(r, "tenant"),
        active: r.get("active"),
        alias_of: columns::domain(r, "target_domain"),
    }
}

async fn read(conn: &mut Conn, name: &DomainName) -> Result<Option<DomainRow>> {
    Ok(conn.row(&format!("{SELECT} WHERE d.domain = $1"), &[&name]).await?.as_ref().map(row))
}

/// The owned domains of a tenant.
pub(super) async fn owned_of(conn: &mut Conn, tenant: &str) -> Result<Vec<DomainRow>> {
    let sql = format!("{SELECT} WHERE d.tenant = $1 AND d.owner IS NOT NULL ORDER BY d.domain");
    Ok(conn.query(&sql, &[&tenant]).await?.iter().map(row).collect())
}

impl Sogo {
    pub(super) async fn domain_read(&self, name: &DomainName) -> Result<DomainSnapshot> {
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        let mut all = DomainSnapshot { domain: read(&mut conn, name).await?, ..DomainSnapshot::default() };
        for r in conn.query(&format!("{} WHERE m.domain = $1", mailbox::select(f)), &[&name]).await? {
            let m = mailbox::row(&r);
            all.mailboxes.insert(m.address.clone(), m);
        }
        for r in
            conn.query(&format!("{} WHERE a.domain = $1 AND {}", alias::select(f), alias::NO_MAILBOX), &[&name]).await?
        {
            let a = alias::row(&r);
            all.aliases.insert(a.address.clone(), a);
        }
        if f.dkim {
            all.dkim = dkim::rows(&mut conn, f, name).await?;
        }
        Ok(all)
    }

    pub(super) async fn domain_ensure(&self, want: &DomainWant) -> Result<(DomainRow, Made)> {
        let mut conn = self.connection_within_limit().await?;
        let have = read(&mut conn, &want.name).await?;
        let made = check(want, have.as_ref())?;
        let same = |d: &DomainRow| d.active && d.tenant.as_ref() == Some(&want.tenant) && d.alias_of == want.alias_of;
        let noted = |d: &&DomainRow| d.origin.as_ref() == Some(&want.owner.origin);
        if let (Made::Unchanged, Some(d)) = (made, have.as_ref().filter(|d| same(d)).filter(noted)) {
            return Ok((d.clone(), made));
        }
        let f = self.features(&mut conn).await?;
        conn.begin().await?;
        let done = put(&mut conn, f, want, have.as_ref(), made).await;
        conn.end(done).await?;
        match read(&mut conn, &want.name).await? {
            // Where its owner stands was noted, and nothing else.
            Some(d) if made == Made::Unchanged && have.as_ref().is_some_and(same) => Ok((d, made)),
            Some(d) => Ok((d, if made == Made::Unchanged { Made::Changed } else { made })),
            None => Err(BackendError::Conflict(format!("domain {} went away while it was made", want.name))),
        }
    }

    pub(super) async fn domain_remove(&self, owner: &Uid, name: &DomainName, removal: Removal) -> Result<Left> {
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        conn.begin().await?;
        let done = remove(&mut conn, f, owner, name, removal).await;
        conn.end(done).await
    }
}

fn check(want: &DomainWant, have: Option<&DomainRow>) -> Result<Made> {
    let what = format!("domain {}", want.name);
    let Some(d) = have else { return Ok(Made::Created) };
    if let Some(t) = d.tenant.as_ref().filter(|t| d.owner.is_none() && **t != want.tenant) {
        return Err(exists(format!("{what} of tenant {t}"), None, None));
    }
    let made = claim(&what, d.owner.as_ref(), d.origin.as_ref(), &want.owner)?;
    match &d.tenant {
        Some(t) if *t != want.tenant && made != Made::Unchanged => {
            Err(exists(format!("{what} of tenant {t}"), d.owner.as_ref(), None))
        }
        Some(t) if *t != want.tenant => Err(BackendError::Conflict(format!("{what} is in another tenant"))),
        _ => Ok(made),
    }
}

async fn put(conn: &mut Conn, f: Features, want: &DomainWant, have: Option<&DomainRow>, made: Made) -> Result<()> {
    let (name, uid, tenant) = (&want.name, &want.owner.uid, &want.tenant);
    let (place, cluster) = (want.owner.origin.to_string(), &want.owner.origin.cluster);
    let held = conn.row("SELECT owner FROM tenant WHERE name = $1 FOR KEY SHARE", &[tenant]).await?;
    let held = held.ok_or_else(|| BackendError::NotFound(format!("tenant {tenant}")))?;
    let holders = Holders { tenant: want.holders.tenant.clone(), domain: None };
    holders.check(name, columns::owner(&held, "owner").as_ref(), None)?;
    if let Some(target) = &want.alias_of {
        hold_domain(conn, target, tenant, &holders).await?;
    }
    let conflict = || BackendError::Conflict(format!("domain {name} changed meanwhile"));
    let rows = match have {
        None => {
            conn.execute(
                "INSERT INTO domain (domain, active, tenant, owner, origin, cluster) VALUES ($1, true, $2, $3, $4, $5) \
                 ON CONFLICT DO NOTHING",
                &[name, tenant, uid, &place, cluster],
            )
            .await?
        }
        Some(d) => {
            conn.execute(
                "UPDATE domain SET active = true, tenant = $2, owner = $3, adopted = adopted OR $4, modified = now(), \
                 origin = $6, cluster = $7 \
                 WHERE domain = $1 AND owner IS NOT DISTINCT FROM $5 AND (tenant IS NULL OR tenant = $2)",
                &[name, tenant, uid, &(made == Made::Adopted), &d.owner, &place, cluster],
            )
            .await?
        }
    };
    if rows != 1 {
        return Err(conflict());
    }
    if made == Made::TakenOver && f.dkim {
        // Mail is signed as before, by keys whose records are in the DNS.
        let old = have.and_then(|d| d.owner.clone());
        conn.execute("UPDATE dkim SET owner = $2 WHERE domain_name = $1 AND owner = $3", &[name, uid, &old]).await?;
    }
    if have.and_then(|d| d.alias_of.as_ref()) != want.alias_of.as_ref() {
        match &want.alias_of {
            None => conn.execute("DELETE FROM alias_domain WHERE alias_domain = $1", &[name]).await?,
            Some(target) => {
                conn.execute(
                    "INSERT INTO alias_domain (alias_domain, target_domain, active) VALUES ($1, $2, true) \
                     ON CONFLICT (alias_domain) DO UPDATE SET target_domain = $2, active = true",
                    &[name, target],
                )
                .await?
            }
        };
    }
    Ok(())
}

async fn remove(conn: &mut Conn, f: Features, owner: &Uid, name: &DomainName, removal: Removal) -> Result<Left> {
    lock_domain(conn, owner, name).await?;
    let below = conn
        .row(
            "SELECT (SELECT count(owner) FROM mailbox WHERE domain = $1) AS our_mailboxes, \
             (SELECT count(*) FROM mailbox WHERE domain = $1) AS mailboxes, \
             (SELECT count(owner) FROM alias a WHERE domain = $1 AND NOT EXISTS (SELECT FROM mailbox m WHERE m.username = a.address)) \
             AS our_aliases, \
             (SELECT count(*) FROM alias a WHERE domain = $1 AND NOT EXISTS (SELECT FROM mailbox m WHERE m.username = a.address)) \
             AS aliases, \
             (SELECT count(*) FROM alias_domain x JOIN domain d ON d.domain = x.alias_domain WHERE x.target_domain = $1 AND d.owner IS NOT NULL) \
             AS our_domains, \
             (SELECT count(*) FROM alias_domain x JOIN domain d ON d.domain = x.alias_domain WHERE x.target_domain = $1) AS domains",
            &[&name],
        )
        .await?
        .ok_or_else(|| BackendError::unavailable("the database gave no row for counts"))?;
    let n = |column: &str| -> i64 { below.get(column) };
    let (m, a, d) = (n("our_mailboxes"), n("our_aliases"), n("our_domains"));
    if m + a + d > 0 {
        return Err(BackendError::Conflict(format!(
            "{name} still has {m} mailboxes, {a} aliases and {d} alias domains"
        )));
    }
    let mut kept = n("mailboxes") + n("aliases") + n("domains");
    if f.dkim {
        let mine = "SELECT id FROM dkim WHERE domain_name = $1 AND owner IS NOT NULL";
        for table in dkim::signing_tables(f) {
            conn.execute(&format!("DELETE FROM {table} WHERE dkim_id IN ({mine})"), &[&name]).await?;
        }
        conn.execute("DELETE FROM dkim WHERE domain_name = $1 AND owner IS NOT NULL", &[&name]).await?;
        // A key of somebody else would go with the domain's row.
        let left = conn.row("SELECT count(*) AS keys FROM dkim WHERE domain_name = $1", &[&name]).await?;
        kept += left.map_or(0, |r| r.get::<_, i64>("keys"));
    }
    if kept > 0 || removal == Removal::Keep {
        // What we let go is off by itself, so whatever is on is somebody else's and in use: it goes on (I3). Otherwise
        // nobody can be signed in, and nobody's session has to end.
        let used = conn
            .row(
                "SELECT (SELECT count(*) FROM mailbox WHERE domain = $1 AND active) + (SELECT count(*) FROM alias a \
                 WHERE domain = $1 AND active AND NOT EXISTS (SELECT FROM mailbox m WHERE m.username = a.address)) AS used",
                &[&name],
            )
            .await?
            .map_or(0, |r| r.get::<_, i64>("used"));
        let sql = "UPDATE domain SET active = active AND $2, owner = NULL, modified = now() WHERE domain = $1";
        conn.execute(sql, &[&name, &(used > 0)]).await?;
        return Ok(if used > 0 { Left::Used(bytes(used)) } else { Left::Kept(bytes(kept)) });
    }
    conn.execute("DELETE FROM alias_domain WHERE alias_domain = $1", &[&name]).await?;
    conn.execute("DELETE FROM domain WHERE domain = $1", &[&name]).await?;
    Ok(Left::Gone)
}
