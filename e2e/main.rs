//! The whole system on real servers: control plane, PowerDNS, BIND, SOGo, Dovecot, Postfix, and the operator's own binary.
//!
//! Tests share one platform and work in namespaces of their own; those that kill the operator have another one.
//! `cargo test --test e2e` needs root on Debian 12 and sets up the rest (`e2e/stack/up.sh`). `MAILTENANT_STACK=ROOT`
//! takes servers that are up already.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

mod harness;

mod by_hand;
mod contract;
mod cutover;
mod dashboard;
mod discovery;
mod draining;
mod dynamic_updates;
mod endangered;
mod faults;
mod gone;
mod health;
mod idle;
mod judged;
mod limits;
mod mail;
mod mta_sts;
mod neighbours;
mod node;
mod observed;
mod order;
mod ownership;
mod plugin;
mod process;
mod ready;
mod recovery;
mod secrets;
mod servers;
mod states;
mod storage;
mod strangers;
mod tenancy;
mod unable;
mod undeclared;
mod undeliverable;
mod upkeep;
mod vanished;
mod whole_run;
mod withdrawn;
