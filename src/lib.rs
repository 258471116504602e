//! mailtenant: a Kubernetes operator for mail tenants.
//!
//! `api` is what users declare, `controllers` what is done about it, `groupware` and `dns` how servers are spoken to,
//! `runtime` the Kubernetes plumbing. `docs/architecture.md` follows one Mailbox through the code.
#![forbid(unsafe_code)]
// The columns of `kubectl get` repeat their attribute by design.
#![allow(clippy::duplicated_attributes)]

pub mod api;
pub mod args;
pub mod controllers;
pub mod dns;
pub mod groupware;
pub mod operator;
pub mod process;
pub mod runtime;
