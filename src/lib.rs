//! The binary's own parts: arguments, the process, the providers that it has. Everything else is in the crates below
//! `src/`; `docs/architecture.md` follows one Mailbox through them.
#![forbid(unsafe_code)]

pub mod args;
pub mod process;
pub mod providers;
