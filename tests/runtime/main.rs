//! The plumbing of `src/runtime` against an in-memory API server on a paused clock: minutes of leases and time limits
//! pass in milliseconds, and every fault is chosen.

mod crds;
mod events;
mod fake;
mod lease;
mod requests;
