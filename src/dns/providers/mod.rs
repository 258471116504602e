//! The providers of DNS servers, one folder each.

pub mod powerdns;
