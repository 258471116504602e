//! The whole operator in one thread on a virtual clock, against models of the Kubernetes API and of the servers, with
//! each interleaving, fault, stale read, lost reply and crash chosen by a seed.
//!
//! `SEEDS=` sets how many schedules are run (default 2,000 a property set), `SEED=` where they start. A violation is
//! shrunk and printed, and written to `target/simulation/`; a copy in `fixtures/` is replayed for ever.
#![allow(
    clippy::unusual_byte_groupings,
    clippy::nonminimal_bool,
    clippy::question_mark,
    reason = "as the table reads best"
)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod api_tests;
mod declared;
mod dns;
mod end;
mod groupware;
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

use plant::Bug;
use schedule::{Outcome, Plan, Subject, run};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn subjects() -> BTreeMap<&'static str, Subject> {
    [("toy", toy::subject(None)), ("operator", operator::subject(None))].into()
}

/// Runs seeds `from..from + count` on two threads until one fails; the first failure by seed among those seen.
fn hunt(
    subject: &Subject,
    from: u64,
    count: u64,
    mut each: impl FnMut(u64, &Outcome) + Send,
) -> Option<(u64, Outcome)> {
    let next = AtomicU64::new(from);
    let stop = AtomicU64::new(u64::MAX);
    let found = Mutex::new(None::<(u64, Outcome)>);
    let each = Mutex::new(&mut each);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || seed > stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let o = run(&Plan::new(seed), subject, (subject.user)(seed));
                    each.lock().unwrap()(seed, &o);
                    if o.bad.is_some() {
                        stop.fetch_min(seed, Ordering::Relaxed);
                        let mut found = found.lock().unwrap();
                        if found.as_ref().is_none_or(|(s, _)| seed < *s) {
                            *found = Some((seed, o));
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// Shrinks a failure, prints it and writes it down.
fn report(name: &str, subject: &Subject, seed: u64, o: &Outcome) -> String {
    let plan = Plan::new(seed);
    let small = shrink::shrink(&plan, subject, (subject.user)(seed), o, number("TRIES", 3000) as usize);
    let fixture = small.fixture(&plan, name);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/simulation");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}-{seed}.json"));
    std::fs::write(&file, serde_json::to_string_pretty(&fixture).unwrap()).unwrap();
    let lines: Vec<String> = small.outcome.lines.iter().map(|l| l.chars().take(260).collect()).collect();
    format!(
        "seed {seed}: {}\nshrunk in {} tries to {} steps of the user and {} choices: {:?}\n{}\n{}\nwritten to {}",
        o.bad.as_deref().unwrap_or_default(),
        small.tries,
        small.user.len(),
        fixture.choices.len(),
        fixture.choices,
        lines.join("\n"),
        small.outcome.bad.as_deref().unwrap_or_default(),
        file.display()
    )
}

/// Runs many schedules and fails with a shrunk one.
fn soak(name: &str, usual: u64) {
    let subject = &subjects()[name];
    let (from, count) = (number("SEED", 1), number("SEEDS", usual));
    let started = real_seconds();
    let mut sum = (0, 0, 0, 0, 0);
    let found = hunt(subject, from, count, |_, o| {
        sum = (sum.0 + 1, sum.1 + o.steps, sum.2 + o.requests, sum.3 + o.crashes, sum.4 + o.virtual_ms / 1000);
    });
    let n = f64::from(sum.0.max(1));
    println!(
        "{name}: {} schedules from seed {from}, {:.0}/s; each {:.0} choices, {:.0} requests, {:.1} crashes, {:.0} virtual seconds",
        sum.0,
        n / (real_seconds() - started),
        sum.1 as f64 / n,
        sum.2 as f64 / n,
        sum.3 as f64 / n,
        sum.4 as f64 / n
    );
    if let Some((seed, o)) = found {
        panic!("{}", report(name, subject, seed, &o));
    }
}

/// Time as it passes for the person who waits.
#[allow(clippy::disallowed_methods)]
fn real_seconds() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map(|d| d.as_secs_f64()).unwrap_or_default()
}

/// How many schedules it takes to see a bug.
fn seen_within(subject: &Subject, bug: Bug, limit: u64) {
    let from = number("SEED", 1);
    let found = hunt(subject, from, limit, |_, _| {});
    let Some((seed, o)) = found else { panic!("{bug:?} was not found within {limit} schedules from seed {from}") };
    println!("{bug:?}: found after {} schedules: {}", seed - from + 1, o.bad.unwrap_or_default());
}

/// The same seed gives the same run, byte for byte; another seed gives another.
fn repeats(name: &str) {
    let subject = &subjects()[name];
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 1..=50 {
        let once = |_| run(&Plan { record: true, ..Plan::new(seed) }, subject, (subject.user)(seed));
        let both: Vec<Outcome> = (0..2).map(once).collect();
        if both[0].hash != both[1].hash {
            let differ = both[0].lines.iter().zip(&both[1].lines).enumerate().find(|(_, (a, b))| a != b);
            panic!("seed {seed} did not repeat: {differ:?}");
        }
        hashes.insert(both[0].hash);
    }
    assert_eq!(hashes.len(), 50, "different seeds give different runs");
}

#[test]
fn toy_repeats() {
    repeats("toy");
}

#[test]
fn toy_holds() {
    soak("toy", 300);
}

#[test]
fn toy_bugs_are_seen() {
    for bug in [Bug::CleanupErrorIsDone, Bug::EnsureErrorIsDone, Bug::AlwaysAdopts] {
        seen_within(&toy::subject(Some(bug)), bug, 1_000);
    }
}

#[test]
fn repeats_byte_for_byte() {
    repeats("operator");
}

/// What was found once stays repaired.
#[test]
fn fixtures() {
    let subjects = subjects();
    for (file, fixture) in shrink::fixtures() {
        let Some(subject) = subjects.get(fixture.subject.as_str()) else {
            panic!("{file}: no subject {}", fixture.subject)
        };
        let o = run(&fixture.plan(), subject, fixture.user.clone());
        assert_eq!(o.bad, None, "{file}: {}\n{}", fixture.note, o.lines.join("\n"));
    }
}

/// Counts what fails, by class, without stopping: `SURVEY=subject SEEDS=1000 cargo test --test simulation survey -- --nocapture`.
#[test]
fn survey() {
    let Ok(name) = std::env::var("SURVEY") else { return };
    let (from, count) = (number("SEED", 1), number("SEEDS", 2_000));
    let (subjects, started) = (subjects(), real_seconds());
    let subject = &subjects[name.as_str()];
    let all: Mutex<BTreeMap<String, Vec<(usize, u64, String)>>> = Mutex::default();
    let next = AtomicU64::new(from);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let o = run(&Plan::new(seed), subject, (subject.user)(seed));
                    if let Some(bad) = &o.bad {
                        let class = bad.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
                        all.lock().unwrap().entry(class).or_default().push((o.steps, seed, bad.clone()));
                    }
                }
            });
        }
    });
    for (class, mut list) in all.into_inner().unwrap() {
        list.sort();
        println!("{class}: {}", list.len());
        for (steps, seed, bad) in list.iter().take(3) {
            println!("    seed {seed} ({steps} steps): {}", bad.chars().take(500).collect::<String>());
        }
    }
    println!("{count} schedules, {:.0}/s", count as f64 / (real_seconds() - started));
}

/// Shows one schedule: `SHOW=subject:seed cargo test --test simulation show -- --nocapture`; `RUST_LOG=` for the log too.
#[test]
fn show() {
    let Ok(which) = std::env::var("SHOW") else { return };
    let (name, seed) = which.split_once(':').expect("SHOW=subject:seed");
    let (subjects, seed) = (subjects(), seed.parse().expect("a seed"));
    let subject = &subjects[name];
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_ansi(false)
            .init();
    }
    let o = run(&Plan { record: true, ..Plan::new(seed) }, subject, (subject.user)(seed));
    o.lines.iter().for_each(|l| println!("{}", l.chars().take(400).collect::<String>()));
    println!("{} choices, {} requests, {} crashes; {:?}", o.steps, o.requests, o.crashes, o.bad);
}
