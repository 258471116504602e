//! Tenants: one row each, found by owner.

use super::columns::{self, bytes, stored};
use super::db::Conn;
use super::*;
use tokio_postgres::Row;

fn select(f: Features) -> String {
    // Where it is not counted the whole tenant is added up.
    let used = match f.usage {
        true => "SELECT sum(u.bytes) FROM tenant_usage u WHERE u.tenant = t.name",
        false => {
            "SELECT sum(q.bytes) FROM quota2 q JOIN mailbox m USING (username) JOIN domain d USING (domain) \
             WHERE d.tenant = t.name"
        }
    };
    format!(
        "SELECT t.name, t.owner, t.origin, t.cluster, t.adopted, t.quota, t.active, t.address_book, t.redirects, COALESCE(({used}), 0)::bigint AS used \
         FROM tenant t"
    )
}

fn address_book(text: &str) -> AddressBook {
    match text {
        "Domain" => AddressBook::Domain,
        "None" => AddressBook::None,
        _ => AddressBook::Instance,
    }
}

fn address_book_word(b: AddressBook) -> &'static str {
    match b {
        AddressBook::Instance => "Instance",
        AddressBook::Domain => "Domain",
        AddressBook::None => "None",
    }
}

fn row(r: &Row) -> TenantRow {
    TenantRow {
        id: TenantId::new(r.get::<_, String>("name")),
        owner: columns::owner(r, "owner"),
        origin: columns::origin(r),
        adopted: r.get("adopted"),
        storage: bytes(r.get("quota")),
        active: r.get("active"),
        address_book: address_book(r.get("address_book")),
        redirects: r.get("redirects"),
        used: bytes(r.get("used")),
    }
}

/// The tenant of an owner.
pub(super) async fn by_owner(conn: &mut Conn, f: Features, owner: &Uid) -> Result<Option<TenantRow>> {
    Ok(conn.row(&format!("{} WHERE t.owner = $1", select(f)), &[&owner]).await?.as_ref().map(row))
}

impl Sogo {
    pub(super) async fn tenant_ensure(&self, want: &TenantWant) -> Result<(TenantRow, Made)> {
        let quota = stored(want.storage)?;
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        let have = by_owner(&mut conn, f, &want.owner.uid).await?;
        let as_wanted = |t: &TenantRow| {
            let have = (t.storage, t.address_book, t.redirects);
            let noted = t.origin.as_ref() == Some(&want.owner.origin);
            noted && t.active && have == (want.storage, want.address_book, want.redirects)
        };
        if let Some(t) = have.as_ref().filter(|t| as_wanted(t)) {
            return Ok((t.clone(), Made::Unchanged));
        }
        conn.begin().await?;
        let done = put(&mut conn, want, quota, have.is_some()).await;
        let mut made = conn.end(done).await?;
        let noted = |t: &TenantRow| as_wanted(&TenantRow { origin: Some(want.owner.origin.clone()), ..t.clone() });
        if have.as_ref().is_some_and(noted) {
            // Where its owner stands was noted, and nothing else.
            made = Made::Unchanged;
        }
        match by_owner(&mut conn, f, &want.owner.uid).await? {
            Some(t) => Ok((t, made)),
            None => Err(BackendError::Conflict("the tenant went away while it was made".into())),
        }
    }

    pub(super) async fn tenant_remove(&self, owner: &Uid) -> Result<TenantRemoval> {
        let mut conn = self.connection_within_limit().await?;
        conn.begin().await?;
        let done = remove(&mut conn, owner).await;
        conn.end(done).await
    }
}

async fn put(conn: &mut Conn, want: &TenantWant, quota: i64, there: bool) -> Result<Made> {
    let uid = &want.owner.uid;
    let word = address_book_word(want.address_book);
    let (place, cluster) = (want.owner.origin.to_string(), &want.owner.origin.cluster);
    if there {
        let changed = conn
            .execute(
                "UPDATE tenant SET quota = $2, address_book = $3, redirects = $4, active = true, origin = $5, cluster = $6 \
                 WHERE owner = $1",
                &[uid, &quota, &word, &want.redirects, &place, &cluster],
            )
            .await?;
        return match changed {
            1 => Ok(Made::Changed),
            _ => Err(BackendError::Conflict("the tenant went away meanwhile".into())),
        };
    }
    if let Some(made) = take_over(conn, want, quota).await? {
        return Ok(made);
    }
    if want.owner.adopt != Adopt::Nothing {
        // What was kept (or restored) for the same namespace and name, and for no other.
        let kept = conn
            .row(
                "SELECT name FROM tenant WHERE owner IS NULL AND origin = $1 ORDER BY name LIMIT 1 FOR UPDATE",
                &[&place],
            )
            .await?;
        if let Some(kept) = kept {
            let name: String = kept.get("name");
            conn.execute(
                "UPDATE tenant SET owner = $2, adopted = true, quota = $3, address_book = $4, redirects = $5, active = true, \
                 cluster = $6 WHERE name = $1",
                &[&name, uid, &quota, &word, &want.redirects, cluster],
            )
            .await?;
            return Ok(Made::Adopted);
        }
    }
    for id in &want.ids {
        let made = conn
            .execute(
                "INSERT INTO tenant (name, quota, active, owner, origin, address_book, redirects, cluster) \
                 VALUES ($1, $2, true, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                &[id, &quota, uid, &place, &word, &want.redirects, cluster],
            )
            .await?;
        if made == 1 {
            return Ok(Made::Created);
        }
    }
    Err(exists(format!("each of the ids {}", want.ids.join(", ")), None, None))
}

/// A tenant of the same place that another uid owns: no second, empty one is made beside it. It is taken over, or is the
/// answer. Where there are more, the one with most in it comes first.
async fn take_over(conn: &mut Conn, want: &TenantWant, quota: i64) -> Result<Option<Made>> {
    let there = conn
        .row(
            "SELECT t.name, t.owner, t.origin, t.cluster FROM tenant t WHERE t.owner IS NOT NULL AND t.origin = $1 \
             ORDER BY (SELECT count(*) FROM domain d WHERE d.tenant = t.name) DESC, t.name LIMIT 1 FOR UPDATE OF t",
            &[&want.owner.origin.to_string()],
        )
        .await?;
    let Some(there) = there else { return Ok(None) };
    let name: String = there.get("name");
    let made = claim(
        format!("tenant {name}"),
        columns::owner(&there, "owner").as_ref(),
        columns::origin(&there).as_ref(),
        &want.owner,
    )?;
    let word = address_book_word(want.address_book);
    conn.execute(
        "UPDATE tenant SET owner = $2, quota = $3, address_book = $4, redirects = $5, active = true, cluster = $6 WHERE name = $1",
        &[&name, &want.owner.uid, &quota, &word, &want.redirects, &want.owner.origin.cluster],
    )
    .await?;
    Ok(Some(made))
}

async fn remove(conn: &mut Conn, owner: &Uid) -> Result<TenantRemoval> {
    let Some(tenant) = conn.row("SELECT name FROM tenant WHERE owner = $1 FOR UPDATE", &[&owner]).await? else {
        return Err(BackendError::NotFound("the tenant".into()));
    };
    let name: String = tenant.get("name");
    let owned = domain::owned_of(conn, &name).await?;
    if !owned.is_empty() {
        return Ok(TenantRemoval::Holds(owned));
    }
    let all = conn.row("SELECT count(*) AS all FROM domain WHERE tenant = $1", &[&name]).await?;
    let all = all.map_or(0, |r| r.get::<_, i64>("all"));
    if all > 0 {
        // A domain that is on was left so for those of others below it.
        let used = conn.row("SELECT count(*) AS used FROM domain WHERE tenant = $1 AND active", &[&name]).await?;
        let used = used.map_or(0, |r| r.get::<_, i64>("used"));
        let sql = "UPDATE tenant SET active = active AND $2, owner = NULL WHERE name = $1";
        conn.execute(sql, &[&name, &(used > 0)]).await?;
        let left = if used > 0 { Left::Used(bytes(used)) } else { Left::Kept(bytes(all)) };
        return Ok(TenantRemoval::Left(left));
    }
    conn.execute("DELETE FROM tenant WHERE name = $1", &[&name]).await?;
    Ok(TenantRemoval::Left(Left::Gone))
}
