//! The simulator for a person (`make simulate`): runs many schedules of the operator without stopping, counts what fails
//! by class, shrinks the easiest of each class. Exits with 1 if anything failed.
//!
//! `SEEDS=` (2,000) schedules from `SEED=` (1); `SUBJECT=toy` for the toy; `TRIES=` (0) bounds the shrinking of a class;
//! `SHOW=` a seed: shows that schedule alone, `WIDE=` characters a line, with `RUST_LOG=` the operator's log too.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, reason = "a tool of tests")]

mod api;
mod declared;
mod dns;
mod end;
mod groupware;
mod hunt;
mod operator;
mod pin;
mod plant;
mod properties;
mod schedule;
mod shrink;
mod sim;
mod toy;
mod user;
mod world;

use hunt::{Classes, Tally, number, real_seconds, report, run_all, subject};
use schedule::{Plan, run};

fn main() {
    // `cargo test --benches` asks for a list: there is nothing to list.
    if std::env::args().any(|a| a == "--list") {
        return;
    }
    let name = std::env::var("SUBJECT").ok().filter(|s| !s.is_empty()).unwrap_or("operator".into());
    match std::env::var("SHOW").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => show(&name, seed),
        None => soak(&name),
    }
}

fn soak(name: &str) {
    let subject = subject(name, None);
    let (from, count, started) = (number("SEED", 1), number("SEEDS", 2_000), real_seconds());
    let (mut tally, mut classes, mut told) = (Tally::default(), Classes::default(), started);
    run_all(&subject, from, count, |seed, o| {
        tally.add(o);
        classes.add(seed, o);
        if real_seconds() - told > 30.0 {
            told = real_seconds();
            eprintln!("{}{}", tally.line(started), if classes.is_empty() { "" } else { "; there are failures" });
        }
        true
    });
    println!("{name} from seed {from}: {}", tally.line(started));
    if classes.is_empty() {
        println!("0 violations");
        return;
    }
    print!("{}", classes.lines());
    let tries = number("TRIES", 0);
    if tries > 0 {
        classes.easiest().for_each(|(seed, o)| println!("\n{}", report(name, &subject, seed, o, tries)));
    }
    std::process::exit(1);
}

fn show(name: &str, seed: u64) {
    let subject = subject(name, None);
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).init();
    }
    let o = run(&Plan { record: true, ..Plan::new(seed) }, &subject, (subject.user)(seed));
    let width = number("WIDE", 400) as usize;
    o.lines.iter().for_each(|l| println!("{}", l.chars().take(width).collect::<String>()));
    println!("{} choices, {} requests, {} crashes; {:?}", o.steps, o.requests, o.crashes, o.bad);
}
