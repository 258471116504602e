//! Runs many schedules on every core, and makes of a failure what a person can read and keep.

use crate::schedule::{Outcome, Plan, Subject, run};
use crate::shrink;
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
pub fn report(subject: &Subject, seed: u64, o: &Outcome, tries: u64) -> String {
    let plan = Plan::new(seed);
    let small = shrink::shrink(&plan, subject, (subject.user)(seed), o, tries as usize);
    let fixture = small.fixture(&plan);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/simulation");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{seed}.json"));
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
