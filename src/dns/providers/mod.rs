//! The providers of DNS servers, one folder each.

pub mod powerdns;
pub mod rfc2136;
