//! The whole operator in one thread on a virtual clock, against models of the Kubernetes API and of the servers, with
//! each interleaving, fault, stale read, lost reply and crash chosen by a seed.
//!
//! `SEEDS=` sets how many schedules are run (default 2,000), `SEED=` where they start. A violation is shrunk and printed,
//! and written to `target/simulation/`; a copy in `fixtures/` is replayed for ever. `tool.rs` is the same for a person.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod api_tests;
mod authority;
mod by_hand;
mod causes;
mod cost;
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

use hunt::{Tally, first_failure, number, real_seconds, report, run_all};
use plant::Bug;
use schedule::{Outcome, Plan, run};

/// I1 to I5, I7 to I13, in many schedules.
#[test]
fn holds() {
    let subject = operator::subject(None);
    let (from, count, started) = (number("SEED", 1), number("SEEDS", 2_000), real_seconds());
    let (mut tally, mut found) = (Tally::default(), None::<(u64, Outcome)>);
    run_all(&subject, from, count, |seed, o| {
        tally.add(o);
        if o.bad.is_some() && found.as_ref().is_none_or(|(s, _)| seed < *s) {
            found = Some((seed, o.clone()));
        }
        o.bad.is_none()
    });
    println!("from seed {from}: {}", tally.line(started));
    if let Some((seed, o)) = found {
        panic!("{}", report(&subject, seed, &o, 1500));
    }
}

/// How many schedules it takes to see a bug; it must be seen by one of the properties that `class` says.
fn seen_within(bug: Bug, class: &str, limit: u64) {
    let (subject, from) = (operator::subject(Some(bug)), number("SEED", 1));
    let Some((seed, o)) = first_failure(&subject, from, limit) else {
        panic!("{bug:?} was not found within {limit} schedules from seed {from}")
    };
    let bad = o.bad.unwrap_or_default();
    println!("{bug:?}: found after {} schedules: {bad}", seed - from + 1);
    assert!(class.split(' ').any(|c| bad.starts_with(c)), "{bug:?} should be seen as {class}, it is: {bad}");
}

/// The same seed gives the same run, byte for byte; another seed gives another.
#[test]
fn repeats_byte_for_byte() {
    let subject = operator::subject(None);
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 1..=50 {
        let once = |_| run(&Plan { record: true, ..Plan::new(seed) }, &subject, (subject.user)(seed));
        let both: Vec<Outcome> = (0..2).map(once).collect();
        if both[0].hash != both[1].hash {
            let differ = both[0].lines.iter().zip(&both[1].lines).enumerate().find(|(_, (a, b))| a != b);
            panic!("seed {seed} did not repeat: {differ:?}");
        }
        hashes.insert(both[0].hash);
    }
    assert_eq!(hashes.len(), 50, "different seeds give different runs");
}

/// Each planted bug is found, or the simulator has gone blind.
#[test]
fn bugs_are_seen() {
    for (bug, class) in Bug::ALL {
        seen_within(bug, class, 2_000);
    }
}

/// What was found once stays repaired.
#[test]
fn fixtures() {
    let all = shrink::fixtures();
    assert!(!all.is_empty(), "no fixtures in {}", shrink::folder().display());
    for (file, fixture) in all {
        let o = run(&fixture.plan(), &operator::subject(None), fixture.user.clone());
        assert_eq!(o.bad, None, "{file}: {}\n{}", fixture.note, o.lines.join("\n"));
    }
}
