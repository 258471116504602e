//! What is known: all that the watches have told ([`world`]), whom a change concerns ([`wakeups`]), what the servers were
//! last seen to hold ([`snapshots`]). A replica that only watches needs no more than this.

pub mod answers;
pub mod blocked;
pub mod census;
pub mod checkups;
pub mod derived;
pub mod kind;
pub mod lane;
pub mod limits;
pub mod lookups;
pub mod managed;
pub mod parents;
pub mod registered;
pub mod routes;
pub mod snapshots;
pub mod usage;
pub mod verdicts;
pub mod wakeups;
pub mod world;
