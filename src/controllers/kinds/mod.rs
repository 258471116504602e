//! The kinds, a folder each.

pub mod backend;
pub mod dns_backend;
pub mod groupware_backend;
pub mod mail_alias;
pub mod mail_domain;
pub mod mail_domain_claim;
pub mod mail_instance;
pub mod mailbox;
