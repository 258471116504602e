//! Values as the columns hold them.

use crate::{Address, BackendError, DomainName, Origin, Result, TenantId, Uid};
use std::collections::BTreeSet;
use tokio_postgres::Row;

/// A number of bytes, or of rows; below zero counts as nothing.
pub(super) fn bytes(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// A number of bytes for a `bigint`.
pub(super) fn stored(n: u64) -> Result<i64> {
    i64::try_from(n).map_err(|_| BackendError::Rejected("more than 8 EiB".into()))
}

/// Addresses of an `alias.goto` (separated by commas), sorted, each once.
pub(super) fn goto_list(goto: &str) -> Vec<Address> {
    let targets = goto.split(',').map(|t| t.trim().to_ascii_lowercase()).filter(|t| !t.is_empty());
    let set: BTreeSet<Address> = targets.map(Address::from_server).collect();
    set.into_iter().collect()
}

/// Who owns a row, or none.
pub(super) fn owner(row: &Row, column: &str) -> Option<Uid> {
    row.get::<_, Option<String>>(column).map(Uid::new)
}

/// Where the owner of a row stands, or did last, from its columns `origin` and `cluster`.
pub(super) fn origin(row: &Row) -> Option<Origin> {
    origin_in(row, "origin", "cluster")
}

/// The same from columns of these names.
pub(super) fn origin_in(row: &Row, origin: &str, cluster: &str) -> Option<Origin> {
    let place: Option<&str> = row.get(origin);
    Origin::parse(row.get(cluster), place?)
}

/// A tenant's `name`, or none.
pub(super) fn tenant(row: &Row, column: &str) -> Option<TenantId> {
    row.get::<_, Option<String>>(column).map(TenantId::new)
}

/// An address.
pub(super) fn address(row: &Row, column: &str) -> Address {
    Address::from_server(row.get::<_, String>(column))
}

/// A domain, or none.
pub(super) fn domain(row: &Row, column: &str) -> Option<DomainName> {
    row.get::<_, Option<String>>(column).map(DomainName::from_server)
}
