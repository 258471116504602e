//! DNS against real servers: each test starts PowerDNS in a folder of its own, on free ports, and ends it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

mod faults;
mod powerdns;
mod requests;
mod roots;
mod server;
mod smtp;
