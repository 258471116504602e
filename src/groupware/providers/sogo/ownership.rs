//! Whether something may be made below a row, and in which tenant. Whether the row itself may be changed says
//! `crate::ownership` (I3).

use super::columns;
use super::db::Conn;
use crate::{BackendError, DomainName, Holders, Result, TenantId, Uid};

/// Locks the domain of an owner against changes below it until the end of the transaction, or says that the owner has
/// none.
pub(super) async fn lock_domain(conn: &mut Conn, owner: &Uid, name: &DomainName) -> Result<()> {
    let there = conn.row("SELECT 1 FROM domain WHERE domain = $1 AND owner = $2 FOR UPDATE", &[&name, &owner]).await?;
    there.map(|_| ()).ok_or_else(|| BackendError::NotFound(format!("domain {name}")))
}

/// [`check_tenant`] and whose both are, of the domain as it is now; keeps it from going away until the end of the
/// transaction.
pub(super) async fn hold_domain(
    conn: &mut Conn,
    name: &DomainName,
    tenant: &TenantId,
    holders: &Holders,
) -> Result<()> {
    let sql = "SELECT d.tenant, d.owner, t.owner AS tenant_owner FROM domain d LEFT JOIN tenant t ON t.name = d.tenant \
               WHERE d.domain = $1 FOR KEY SHARE OF d";
    let row = conn.row(sql, &[&name]).await?;
    check_tenant(name, row.is_some(), row.as_ref().and_then(|r| columns::tenant(r, "tenant")).as_ref(), tenant)?;
    let owner = |column: &str| row.as_ref().and_then(|r| columns::owner(r, column));
    holders.check(name, owner("tenant_owner").as_ref(), owner("owner").as_ref())
}

/// The typed error for a domain that is not there (`there`), or in another tenant (`have`) than `want`.
pub(super) fn check_tenant(name: &DomainName, there: bool, have: Option<&TenantId>, want: &TenantId) -> Result<()> {
    match (there, have) {
        (false, _) => Err(BackendError::NotFound(format!("domain {name}"))),
        (true, Some(t)) if t == want => Ok(()),
        (true, _) => Err(BackendError::Conflict(format!("domain {name} is not in tenant {want}"))),
    }
}
