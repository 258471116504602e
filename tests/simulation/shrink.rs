//! Makes a failing schedule small, and keeps it as a file.

use crate::schedule::{Outcome, Plan, Subject, run};
use crate::world::{User, When};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A schedule that once failed, as it stands in `fixtures/`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fixture {
    /// What it found, and what was wrong.
    pub note: String,
    pub seed: u64,
    #[serde(default)]
    pub late: bool,
    pub fault_steps: usize,
    pub user: Vec<User>,
    /// `[step, action, fault]` for each step that is not plain.
    pub choices: Vec<(usize, u32, u32)>,
}

impl Fixture {
    pub fn plan(&self) -> Plan {
        let steps = self.choices.iter().map(|c| c.0 + 1).max().unwrap_or(0);
        let mut replay = vec![0; steps * 2];
        for (step, action, fault) in &self.choices {
            replay[step * 2] = *action;
            replay[step * 2 + 1] = *fault;
        }
        Plan {
            replay: Some(replay),
            record: true,
            fault_steps: self.fault_steps,
            late: self.late,
            ..Plan::new(self.seed)
        }
    }
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/fixtures")
}

/// All that is kept, by file name.
pub fn fixtures() -> Vec<(String, Fixture)> {
    let mut all = vec![];
    for entry in std::fs::read_dir(folder()).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|e| e == "json") {
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            all.push((name.clone(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The word before the colon: a smaller schedule must fail in the same way.
pub fn class(o: &Outcome) -> Option<&str> {
    o.bad.as_ref().and_then(|b| b.split(':').next())
}

type Cost = (usize, usize, u64, u32, usize);

fn cost(choices: &[u32], user: &[User]) -> Cost {
    let waits = user.iter().map(|u| u.when as u64).sum();
    (user.len(), choices.iter().filter(|c| **c != 0).count(), waits, choices.iter().sum(), choices.len())
}

/// The smallest schedule found.
pub struct Shrunk {
    pub user: Vec<User>,
    pub choices: Vec<u32>,
    pub outcome: Outcome,
    pub tries: usize,
}

struct Search<'a> {
    plan: Plan,
    subject: &'a Subject,
    want: String,
    best: Shrunk,
    budget: usize,
}

impl Search<'_> {
    fn attempt(&mut self, mut choices: Vec<u32>, user: Vec<User>) -> bool {
        while choices.len() >= 2 && choices[choices.len() - 2..] == [0, 0] {
            choices.truncate(choices.len() - 2);
        }
        if self.best.tries >= self.budget || cost(&choices, &user) >= cost(&self.best.choices, &self.best.user) {
            return false;
        }
        self.plan.replay = Some(choices.clone());
        self.best.tries += 1;
        let outcome = run(&self.plan, self.subject, user.clone());
        if class(&outcome) != Some(&self.want) {
            return false;
        }
        self.best = Shrunk { user, choices, outcome, tries: self.best.tries };
        true
    }

    fn users(&mut self) {
        let mut size = (self.best.user.len() / 2).next_power_of_two();
        while size > 0 {
            let mut i = self.best.user.len();
            while i > 0 {
                let from = i.saturating_sub(size);
                let mut user = self.best.user.clone();
                user.drain(from..i.min(user.len()));
                self.attempt(self.best.choices.clone(), user);
                i = from.min(self.best.user.len());
            }
            size /= 2;
        }
        for i in 0..self.best.user.len() {
            for when in [When::Settled, When::Idle] {
                let mut user = self.best.user.clone();
                user[i].when = when;
                if self.attempt(self.best.choices.clone(), user) {
                    break;
                }
            }
        }
    }

    fn blocks(&mut self) {
        let mut size = (self.best.choices.len() / 2).next_power_of_two();
        while size > 0 {
            let mut i = 0;
            while i * 2 < self.best.choices.len() {
                let (from, to) = (i * 2, ((i + size) * 2).min(self.best.choices.len()));
                let mut shorter = self.best.choices.clone();
                shorter.drain(from..to);
                let mut plain = self.best.choices.clone();
                plain[from..to].fill(0);
                if !self.attempt(shorter, self.best.user.clone()) {
                    self.attempt(plain, self.best.user.clone());
                    i += size;
                }
            }
            size /= 2;
        }
    }

    fn values(&mut self) {
        for i in 0..self.best.choices.len() {
            while i < self.best.choices.len() && self.best.choices[i] > 0 {
                let mut choices = self.best.choices.clone();
                choices[i] = if i % 2 == 1 { 0 } else { choices[i] - 1 };
                if !self.attempt(choices, self.best.user.clone()) {
                    break;
                }
            }
        }
    }
}

/// Shrinks to a fixpoint: drops steps of the user, lets them wait, drops steps of the schedule in halving sizes, makes
/// them plain, lowers single choices.
pub fn shrink(plan: &Plan, subject: &Subject, user: Vec<User>, first: &Outcome, budget: usize) -> Shrunk {
    let best = Shrunk { user, choices: first.choices.clone(), outcome: first.clone(), tries: 0 };
    let want = class(first).unwrap_or_default().to_string();
    let mut search = Search { plan: Plan { record: false, ..plan.clone() }, subject, want, best, budget };
    loop {
        let before = cost(&search.best.choices, &search.best.user);
        search.users();
        search.blocks();
        search.values();
        if cost(&search.best.choices, &search.best.user) >= before || search.best.tries >= budget {
            break;
        }
    }
    let mut best = search.best;
    let plan = Plan { replay: Some(best.choices.clone()), record: true, ..plan.clone() };
    best.outcome = run(&plan, subject, best.user.clone());
    best
}

impl Shrunk {
    pub fn fixture(&self, plan: &Plan) -> Fixture {
        let pairs = self.choices.chunks(2).enumerate();
        let choices =
            pairs.map(|(i, c)| (i, c[0], c.get(1).copied().unwrap_or(0))).filter(|c| (c.1, c.2) != (0, 0)).collect();
        Fixture {
            note: self.outcome.bad.clone().unwrap_or_default(),
            seed: plan.seed,
            late: plan.late,
            fault_steps: plan.fault_steps,
            user: self.user.clone(),
            choices,
        }
    }
}
