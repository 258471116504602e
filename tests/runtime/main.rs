//! The plumbing of `src/runtime` against an in-memory API server on a paused clock: minutes of leases and time limits
//! pass in milliseconds, and every fault is chosen.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

mod crds;
mod dispatch;
mod events;
mod fake;
mod finalizer;
mod lease;
mod queue;
mod requests;
mod revision;
