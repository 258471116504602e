//! Simulation.
#![allow(clippy::unwrap_used, dead_code)]
mod api;
mod api_tests;
mod pin;
