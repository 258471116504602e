//! Values as the columns hold them.

use crate::{BackendError, Result};
use std::collections::BTreeSet;

/// A number of bytes, or of rows; below zero counts as nothing.
pub(super) fn bytes(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// A number of bytes for a `bigint`.
pub(super) fn stored(n: u64) -> Result<i64> {
    i64::try_from(n).map_err(|_| BackendError::Rejected("more than 8 EiB".into()))
}

/// Addresses of an `alias.goto` (separated by commas), sorted, each once.
pub(super) fn goto_list(goto: &str) -> Vec<String> {
    let set: BTreeSet<String> =
        goto.split(',').map(|t| t.trim().to_ascii_lowercase()).filter(|t| !t.is_empty()).collect();
    set.into_iter().collect()
}
