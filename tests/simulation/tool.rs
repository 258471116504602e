//! The simulator for a person (`make simulate`): runs many schedules of the operator without stopping, counts what fails
//! by class, shrinks the easiest of each class. Exits with 1 if anything failed.
//!
//! `SEEDS=` (2,000) schedules from `SEED=` (1); `TRIES=` (0) bounds the shrinking of a class;
//! `SHOW=` a seed: shows that schedule alone, `WIDE=` characters a line, with `RUST_LOG=` the operator's log too.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, reason = "a tool of tests")]

mod api;
mod authority;
mod by_hand;
mod causes;
mod declared;
mod dns;
mod end;
mod groupware;
mod hostile;
mod hunt;
mod legacy;
mod operator;
mod pin;
mod plant;
mod properties;
mod schedule;
mod shrink;
mod sim;
mod user;
mod wider;
mod world;

use hunt::{Tally, number, real_seconds, report, run_all};
use schedule::{Outcome, Plan, run};
use std::collections::BTreeMap;

fn main() {
    // `cargo test --benches` asks for a list: there is nothing to list.
    if std::env::args().any(|a| a == "--list") {
        return;
    }
    match std::env::var("SHOW").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => show(seed),
        None => soak(),
    }
}

fn soak() {
    let subject = operator::subject(None);
    let (from, count, started) = (number("SEED", 1), number("SEEDS", 2_000), real_seconds());
    let (mut tally, mut classes, mut told) = (Tally::default(), Classes::default(), started);
    run_all(&subject, from, count, |seed, o| {
        tally.add(o);
        classes.add(seed, o);
        if let Some(bad) = &o.bad {
            eprintln!("seed {seed}: {}", bad.chars().take(600).collect::<String>());
        }
        if real_seconds() - told > 30.0 {
            told = real_seconds();
            eprintln!("{}{}", tally.line(started), if classes.is_empty() { "" } else { "; there are failures" });
        }
        true
    });
    println!("from seed {from}: {}", tally.line(started));
    if classes.is_empty() {
        println!("0 violations");
        return;
    }
    print!("{}", classes.lines());
    let tries = number("TRIES", 0);
    if tries > 0 {
        classes.easiest().for_each(|(seed, o)| println!("\n{}", report(&subject, seed, o, tries)));
    }
    std::process::exit(1);
}

fn show(seed: u64) {
    let subject = operator::subject(None);
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).init();
    }
    let o = run(&Plan { record: true, ..Plan::new(seed) }, &subject, (subject.user)(seed));
    let width = number("WIDE", 400) as usize;
    o.lines.iter().for_each(|l| println!("{}", l.chars().take(width).collect::<String>()));
    println!("{} choices, {} requests, {} crashes; {:?}", o.steps, o.requests, o.crashes, o.bad);
}

/// Failures by class: how many, and those that took the fewest steps.
#[derive(Default)]
struct Classes(BTreeMap<String, (u64, Vec<(usize, u64, Outcome)>)>);

impl Classes {
    fn add(&mut self, seed: u64, o: &Outcome) {
        let Some(bad) = &o.bad else { return };
        let class = bad.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        let (count, list) = self.0.entry(class).or_default();
        *count += 1;
        list.push((o.steps, seed, o.clone()));
        list.sort_by_key(|(steps, seed, _)| (*steps, *seed));
        list.truncate(3);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A paragraph a class.
    fn lines(&self) -> String {
        let mut out = String::new();
        for (class, (count, list)) in &self.0 {
            out += &format!("{class}: {count}\n");
            for (steps, seed, o) in list {
                let bad: String = o.bad.iter().flat_map(|b| b.chars()).take(600).collect();
                out += &format!("    seed {seed} ({steps} steps): {bad}\n");
            }
        }
        out
    }

    /// The easiest failure of each class.
    fn easiest(&self) -> impl Iterator<Item = (u64, &Outcome)> {
        self.0.values().filter_map(|(_, list)| list.first().map(|(_, seed, o)| (*seed, o)))
    }
}
