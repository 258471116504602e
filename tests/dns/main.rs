//! DNS against real servers: each test starts PowerDNS, BIND or Knot in a folder of its own, on free ports, and ends it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

mod conformance;
mod faults;
mod hostile;
mod life;
mod nameserver;
mod occupied;
mod policy;
mod powerdns;
mod requests;
mod rfc2136;
mod roots;
mod server;
mod smtp;
