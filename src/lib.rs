//! The parts of the binary: command line, process, choice of providers. Everything else is in the crates below `src/`;
//! `docs/architecture.md` follows one Mailbox through them.
#![forbid(unsafe_code)]

pub mod args;
pub mod command;
pub mod process;
pub mod providers;
pub mod wellknown_process;
