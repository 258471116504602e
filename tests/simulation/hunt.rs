//! Runs many schedules on every core, and makes of a failure what a person can read and keep.

use crate::plant::Bug;
use crate::schedule::{Outcome, Plan, Subject, run};
use crate::{operator, shrink, toy};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Time as it passes for the person who waits.
#[allow(clippy::disallowed_methods)]
pub fn real_seconds() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map(|d| d.as_secs_f64()).unwrap_or_default()
}

/// What can be run, with or without a bug planted.
pub fn subject(name: &str, bug: Option<Bug>) -> Subject {
    match name {
        "toy" => toy::subject(bug),
        "operator" => operator::subject(bug),
        other => panic!("there is no subject {other}: toy or operator"),
    }
}

/// Runs seeds `from..from + count` on every core; `each` hears of all, and says whether to go on.
pub fn run_all(subject: &Subject, from: u64, count: u64, each: impl FnMut(u64, &Outcome) -> bool + Send) {
    let next = AtomicU64::new(from);
    let end = AtomicU64::new(from + count);
    let each = Mutex::new(each);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|s| {
        for _ in 0..cores {
            s.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let o = run(&Plan::new(seed), subject, (subject.user)(seed));
                    if !(each.lock().unwrap())(seed, &o) {
                        end.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// The first failure by seed, of those seen before all stopped.
pub fn first_failure(subject: &Subject, from: u64, count: u64) -> Option<(u64, Outcome)> {
    let mut found: Option<(u64, Outcome)> = None;
    run_all(subject, from, count, |seed, o| {
        if o.bad.is_some() && found.as_ref().is_none_or(|(s, _)| seed < *s) {
            found = Some((seed, o.clone()));
        }
        o.bad.is_none()
    });
    found
}

/// What a run of many schedules was like.
#[derive(Default)]
pub struct Tally {
    pub schedules: u64,
    choices: u64,
    requests: u64,
    crashes: u64,
    seconds: u64,
}

impl Tally {
    pub fn add(&mut self, o: &Outcome) {
        self.schedules += 1;
        self.choices += o.steps as u64;
        self.requests += o.requests;
        self.crashes += o.crashes as u64;
        self.seconds += o.virtual_ms / 1000;
    }

    pub fn line(&self, started: f64) -> String {
        let n = self.schedules.max(1) as f64;
        format!(
            "{} schedules, {:.0}/s; each {:.0} choices, {:.0} requests, {:.1} crashes, {:.0} virtual seconds",
            self.schedules,
            n / (real_seconds() - started).max(0.001),
            self.choices as f64 / n,
            self.requests as f64 / n,
            self.crashes as f64 / n,
            self.seconds as f64 / n
        )
    }
}

/// Shrinks a failure, writes it to `target/simulation/`, and gives what to print.
pub fn report(name: &str, subject: &Subject, seed: u64, o: &Outcome, tries: u64) -> String {
    let plan = Plan::new(seed);
    let small = shrink::shrink(&plan, subject, (subject.user)(seed), o, tries as usize);
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

/// Failures by class: how many, and those that took the fewest steps.
#[derive(Default)]
pub struct Classes(BTreeMap<String, (u64, Vec<(usize, u64, Outcome)>)>);

impl Classes {
    pub fn add(&mut self, seed: u64, o: &Outcome) {
        let Some(bad) = &o.bad else { return };
        let class = bad.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        let (count, list) = self.0.entry(class).or_default();
        *count += 1;
        list.push((o.steps, seed, o.clone()));
        list.sort_by_key(|(steps, seed, _)| (*steps, *seed));
        list.truncate(3);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A paragraph a class.
    pub fn lines(&self) -> String {
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
    pub fn easiest(&self) -> impl Iterator<Item = (u64, &Outcome)> {
        self.0.values().filter_map(|(_, list)| list.first().map(|(_, seed, o)| (*seed, o)))
    }
}
