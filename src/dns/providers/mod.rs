//! The DNS servers that there are, a folder each.

pub mod powerdns;
