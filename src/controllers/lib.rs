//! What is done about each kind.
//!
//! `state` is what is known, `pass` the life that all kinds share (one driver up, one down), `rules` what several kinds
//! decide alike, `kinds` a folder per kind: gather -> plan (pure) -> apply -> status, and the way out. `operator` puts them
//! together.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "read by those who change it: a name that says it all has no comment beside it")]

/// Hands the kinds that the operator manages to a macro, with the name of their store. A new kind is one line here.
macro_rules! with_kinds {
    ($macro:ident) => {
        $macro! {
            GroupwareBackend: groupware,
            DNSBackend: dns,
            MailInstance: instances,
            MailDomain: domains,
            Mailbox: mailboxes,
            MailAlias: aliases,
            MailDomainClaim: claims,
        }
    };
}

pub mod connect;
pub mod connecting;
pub mod connections;
pub mod ctx;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod kinds;
pub mod not_ready;
pub mod operator;
pub mod pass;
pub mod rules;
pub mod state;
