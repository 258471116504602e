//! DNS against real servers: each test starts PowerDNS in a folder of its own, on free ports, and ends it.

mod faults;
mod powerdns;
mod roots;
mod server;
mod smtp;
