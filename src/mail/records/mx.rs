//! MX: the mail exchangers of a domain (RFC 5321, 5.1).

use crate::name::canonical;
use crate::value;

/// Canonical values, sorted, each once, of `(preference, host)`.
pub(super) fn mx_values(hosts: &[(u16, String)]) -> Vec<String> {
    let mut values: Vec<_> = hosts
        .iter()
        .map(|(preference, host)| value::mx(*preference, &canonical(host).unwrap_or_else(|_| host.clone())))
        .collect();
    values.sort();
    values.dedup();
    values
}
