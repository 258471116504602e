//! One schedule: picks, at each quiescent point, what happens next and what goes wrong with it.
//!
//! A schedule is a list of pairs (which of the enabled actions, which fault); a missing pair is (0, 0), and 0 is always
//! the plain thing: the oldest action, no fault. That one convention gives replay, shrinking and short reproductions.

use crate::api::Cluster;
use crate::pin;
use crate::sim::*;
use crate::world::{User, When, World};
use bytes::Bytes;
use futures::future::BoxFuture;
use mailtenant_groupware::BackendError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// xorshift64*.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..4).for_each(|_| {
            rng.next();
        });
        rng
    }
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
    pub fn below(&mut self, n: usize) -> usize {
        if n < 2 { 0 } else { (self.next() % n as u64) as usize }
    }
    /// True in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.next() % 1000 < per_mille
    }
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let i = self.below(list.len());
        &list[i]
    }
}

/// How actions are picked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// The oldest first.
    Fifo,
    Uniform,
    /// A random priority for each lane, lowered at a few random steps (probabilistic concurrency testing).
    Pct,
    /// Drawn for each seed, with its own rate of faults.
    Swarm,
}

/// What decides a schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub policy: Policy,
    /// Pairs of (action, fault); None = drawn from the seed.
    pub replay: Option<Vec<u32>>,
    pub record: bool,
    /// Steps after which nothing goes wrong any more.
    pub fault_steps: usize,
    /// Also requests that the server carries out long after the client gave up.
    pub late: bool,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Plan { seed, policy: Policy::Swarm, replay: None, record: false, fault_steps: 400, late: false }
    }
}

/// How a schedule went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `class: what`, if a property was violated.
    pub bad: Option<String>,
    pub hash: u64,
    pub choices: Vec<u32>,
    pub steps: usize,
    pub crashes: usize,
    pub requests: u64,
    pub virtual_ms: u64,
    pub lines: Vec<String>,
}

/// What must hold; made anew for each schedule.
pub trait Monitor: Send {
    /// After each change of the world.
    fn check(&mut self, world: &World) -> Option<String>;
    /// Faults have stopped, and nothing moves any more.
    fn at_end(&mut self, world: &World) -> Option<String>;
}

/// What is run: the operator as one future, its user, its properties.
pub struct Subject {
    pub start: Arc<dyn Fn(Sim) -> BoxFuture<'static, ()> + Send + Sync>,
    pub user: fn(u64) -> Vec<User>,
    pub monitor: fn() -> Box<dyn Monitor>,
    /// Virtual time without any change after which a run is over; longer than the longest timer of the operator.
    pub quiet_ms: u64,
}

/// A run that still moves after so many steps does not converge.
const MAX_STEPS: usize = 12_000;
/// Nor does one that still moves so long after the last fault and the last step of the user.
const MAX_MS: u64 = 6 * 3_600_000;
/// Nothing changed for so long: a user who waits until things settle goes on.
const SETTLED_MS: u64 = 30_000;
/// Client and server have given up on a connection that hangs.
const HANG_MS: u64 = 60_000;
/// The same of a look-up: the resolver itself ends it before the pass that asks has to end (`WALK` in `src/dns/resolve.rs`), so
/// that the pass can still note what other look-ups told.
const LOOKUP_MS: u64 = 15_000;
const MAX_CRASHES: usize = 4;

const FAULTS: &[&str] = &[
    "",
    "500",
    "429",
    "409",
    "reset-before",
    "lost-reply",
    "hold-reply",
    "hang-unexecuted",
    "hang-executed",
    "CRASH-before",
    "CRASH-after",
    "CRASH-all",
    "stale-list",
    "late",
    "unauthorized",
    "conflict",
    "retry-after",
    "half",
];
const WATCH_FAULTS: &[&str] = &["", "closed", "410", "stall-10", "stall-40", "stall-150", "CRASH"];

/// Faults that make sense for a call.
fn faults(call: &Call, late: bool) -> Vec<u32> {
    let names: &[&str] = match call {
        Call::Watch(_) => &["500", "429", "reset-before", "hold-reply", "hang-unexecuted", "CRASH-before"],
        Call::Api(r) if r.method == "GET" && r.query.get("resourceVersion").is_some_and(|v| v == "0") => &[
            "500",
            "429",
            "reset-before",
            "hold-reply",
            "hang-unexecuted",
            "CRASH-before",
            "stale-list",
            "stale-list",
            "stale-list",
        ],
        Call::Api(r) if r.method == "GET" => &[
            "500",
            "429",
            "reset-before",
            "lost-reply",
            "hold-reply",
            "hang-unexecuted",
            "CRASH-before",
            "CRASH-after",
        ],
        Call::Api(_) => &[
            "500",
            "429",
            "409",
            "reset-before",
            "lost-reply",
            "hold-reply",
            "hang-unexecuted",
            "hang-executed",
            "CRASH-before",
            "CRASH-after",
            "CRASH-all",
            "late",
        ],
        Call::Backend { lane, .. } if lane.is_write() => &[
            "reset-before",
            "lost-reply",
            "hold-reply",
            "hang-unexecuted",
            "hang-executed",
            "CRASH-before",
            "CRASH-after",
            "CRASH-all",
            "unauthorized",
            "conflict",
            "retry-after",
            "half",
            "late",
        ],
        Call::Backend { .. } => &[
            "reset-before",
            "hold-reply",
            "hang-unexecuted",
            "CRASH-before",
            "CRASH-after",
            "unauthorized",
            "retry-after",
        ],
    };
    let index = |n: &&str| FAULTS.iter().position(|f| f == n).map(|i| i as u32);
    names.iter().filter(|n| late || **n != "late").filter_map(index).collect()
}

#[derive(Clone, Debug)]
enum Act {
    Op(u64),
    Event(u64),
    Bookmark(u64),
    Cluster(Cluster),
    User,
}

struct Chooser {
    rng: Rng,
    policy: Policy,
    fault_per_mille: u64,
    priority: BTreeMap<Arc<str>, u64>,
    demotions: Vec<usize>,
    replay: Option<Vec<u32>>,
    log: Vec<u32>,
}

impl Chooser {
    fn new(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let (policy, fault_per_mille) = match plan.policy {
            Policy::Swarm => (
                [Policy::Fifo, Policy::Uniform, Policy::Pct, Policy::Pct][rng.below(4)],
                [0, 15, 40, 120][rng.below(4)],
            ),
            p => (p, 40),
        };
        let demotions = (0..4).map(|_| rng.below(plan.fault_steps)).collect();
        Chooser {
            rng,
            policy,
            fault_per_mille,
            priority: BTreeMap::new(),
            demotions,
            replay: plan.replay.clone(),
            log: vec![],
        }
    }

    fn pick(&mut self, step: usize, acts: &[(Act, Arc<str>)]) -> usize {
        match self.policy {
            Policy::Fifo | Policy::Swarm => 0,
            Policy::Uniform => self.rng.below(acts.len()),
            Policy::Pct => {
                for (_, lane) in acts {
                    if !self.priority.contains_key(lane) {
                        let p = 1000 + self.rng.next() % 1_000_000;
                        self.priority.insert(lane.clone(), p);
                    }
                }
                let of = |i: &usize| (self.priority.get(&acts[*i].1).copied(), usize::MAX - i);
                let top = (0..acts.len()).max_by_key(of).unwrap_or(0);
                if self.demotions.contains(&step) {
                    self.priority.insert(acts[top].1.clone(), 999u64.saturating_sub(step as u64));
                }
                top
            }
        }
    }

    fn choose(
        &mut self,
        step: usize,
        acts: &[(Act, Arc<str>)],
        plain: bool,
        faults_of: impl Fn(&Act) -> Vec<u32>,
    ) -> (usize, u32) {
        let (a, f) = match &self.replay {
            Some(r) => {
                let at = |i: usize| r.get(i).copied().unwrap_or(0);
                ((at(step * 2) as usize).min(acts.len() - 1), at(step * 2 + 1))
            }
            None => {
                // Plain once faults have stopped: an unfair choice for ever could keep anything from ending.
                let a = if plain { 0 } else { self.pick(step, acts) };
                let f = if !plain && self.rng.chance(self.fault_per_mille) {
                    let list = faults_of(&acts[a].0);
                    if list.is_empty() { 0 } else { *self.rng.pick(&list) }
                } else {
                    0
                };
                (a, f)
            }
        };
        self.log.extend([a as u32, f]);
        (a, f)
    }
}

enum Exit {
    Done,
    Crash,
}

/// Runs one schedule on a thread of its own.
pub fn run(plan: &Plan, subject: &Subject, user: Vec<User>) -> Outcome {
    pin::with(plan.seed | 1, || run_here(plan, subject, user))
}

fn run_here(plan: &Plan, subject: &Subject, user: Vec<User>) -> Outcome {
    let mut chooser = Chooser::new(plan);
    let sim = Sim::new(Core::new(user, plan.record), plan.seed);
    let mut monitor = (subject.monitor)();
    let mut crashes = 0;
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let Ok(runtime) = runtime else { panic!("no runtime") };
        let exit = runtime.block_on(async {
            sim.lock().trace(|| format!("==== start {crashes}"));
            let task = tokio::spawn((subject.start)(sim.clone()));
            drive(&sim, &mut chooser, plan, subject, crashes, &task, monitor.as_mut()).await
        });
        // The crash: every task of the operator is dropped where it stands.
        drop(runtime);
        let mut c = sim.lock();
        c.start_ms = c.world.ms + 500;
        match exit {
            Exit::Crash => {
                crashes += 1;
                if let Some(ahead) = c.world.restart.take() {
                    sim.set_ahead(ahead);
                }
                c.ops.retain(|o| matches!(o.state, State::Late(_)));
                c.streams.clear();
            }
            Exit::Done => {
                return Outcome {
                    bad: c.bad.clone(),
                    hash: c.hash,
                    choices: std::mem::take(&mut chooser.log),
                    steps: c.step,
                    crashes,
                    requests: c.requests,
                    virtual_ms: c.world.ms,
                    lines: c.lines.take().unwrap_or_default(),
                };
            }
        }
    }
}

async fn drive(
    sim: &Sim,
    chooser: &mut Chooser,
    plan: &Plan,
    subject: &Subject,
    crashes: usize,
    task: &tokio::task::JoinHandle<()>,
    monitor: &mut dyn Monitor,
) -> Exit {
    let t0 = tokio::time::Instant::now();
    let mut checked = None;
    let mut calm_since = 0;
    loop {
        // On a paused clock this sleep ends only when every task is blocked: the quiescent point.
        let spins = tokio::select! { biased;
            _ = sim.spinning.notified() => true,
            _ = tokio::time::sleep(Duration::from_millis(1)) => false,
        };
        let wait = {
            let mut guard = sim.lock();
            let c = &mut *guard;
            if spins {
                c.bad = Some("I5 (spin): the operator loops without waiting for anything".into());
            }
            let now = c.start_ms + t0.elapsed().as_millis() as u64;
            c.world.at(now);
            sim.set_ms(now);
            if task.is_finished() {
                c.bad = Some("ended: the operator's future ended".into());
            }
            overdue(c);
            if c.bad.is_none() && checked != Some((c.world.stamp(), c.user.len())) {
                checked = Some((c.world.stamp(), c.user.len()));
                c.bad = monitor.check(&c.world);
            }
            let plain = c.step >= plan.fault_steps;
            if !plain || !c.user.is_empty() {
                calm_since = now;
            }
            if c.step > MAX_STEPS || now - calm_since > MAX_MS {
                let last = c.last_write.clone();
                let why = if c.step > MAX_STEPS { "steps" } else { "time" };
                c.bad.get_or_insert_with(|| format!("I5 ({why}): it never comes to rest; last write: {last}"));
            }
            if let Some(bad) = c.bad.clone() {
                c.trace(|| format!("VIOLATION {bad}"));
                return Exit::Done;
            }
            let mut acts = enabled(c, plain);
            if acts.is_empty() {
                // Who met a fault tries again after a pause (seed 28525).
                if now - c.changed_ms.max(c.faulted_ms) > subject.quiet_ms && c.ops.is_empty() && c.user.is_empty() {
                    c.bad = monitor.at_end(&c.world);
                    if let Some(bad) = c.bad.clone() {
                        c.trace(|| format!("VIOLATION at the end: {bad}"));
                    }
                    return Exit::Done;
                }
                idle(c, plain)
            } else {
                if acts.len() > 1 || c.step.is_multiple_of(8) {
                    add_bookmarks(c, plain, &mut acts);
                }
                let late = plan.late;
                let ops = &c.ops;
                let (a, f) = chooser.choose(c.step, &acts, plain, |act| match act {
                    Act::Op(id) => {
                        let op = ops.iter().find(|o| o.id == *id && matches!(o.state, State::Arrived));
                        let crash_free = |f: &u32| crashes < MAX_CRASHES || !FAULTS[*f as usize].starts_with("CRASH");
                        op.map(|o| faults(&o.call, late).into_iter().filter(crash_free).collect()).unwrap_or_default()
                    }
                    Act::Event(_) => (1..WATCH_FAULTS.len() as u32 - u32::from(crashes >= MAX_CRASHES)).collect(),
                    _ => vec![],
                });
                c.step += 1;
                let (act, _) = acts.swap_remove(a);
                if apply(c, act, f as usize) {
                    return Exit::Crash;
                }
                if let Some(ahead) = c.world.clock.take() {
                    sim.set_ahead(ahead);
                }
                None
            }
        };
        let Some(ms) = wait else { continue };
        tokio::select! { biased;
            _ = sim.wake.notified() => {}
            _ = tokio::time::sleep(Duration::from_millis(ms)) => {}
        }
    }
}

/// Breaks connections that hang, and carries out what is late.
fn overdue(c: &mut Core) {
    let now = c.world.ms;
    let due = |s: &State| matches!(s, State::Dead(t) | State::Late(t) if *t <= now);
    while let Some(i) = c.ops.iter().position(|o| due(&o.state)) {
        let mut op = c.ops.remove(i);
        let rv = c.world.api.rv;
        let reply = if let State::Late(_) = op.state { c.execute(op.id, &mut op.call, rv) } else { Reply::Broken };
        c.trace(|| format!("#{} at last: {}", op.id, show_reply(&reply)));
        if let Some(tx) = op.tx.take() {
            let _ = tx.send(reply);
        }
    }
}

/// All that can happen now, in a stable order.
fn enabled(c: &mut Core, plain: bool) -> Vec<(Act, Arc<str>)> {
    let waiting = |o: &&Op| matches!(o.state, State::Arrived | State::Held(_));
    let mut acts: Vec<(Act, Arc<str>)> =
        c.ops.iter().filter(waiting).map(|o| (Act::Op(o.id), o.lane.clone())).collect();
    c.streams.retain(|s| !s.tx.is_closed());
    for s in &mut c.streams {
        let held = c.world.held.get(s.watch.kind.plural).is_some_and(|(until, _)| c.world.ms < *until);
        if !held && (plain || s.stalled <= c.step) && c.world.api.has_event(&mut s.watch) {
            acts.push((Act::Event(s.id), s.lane.clone()));
        }
    }
    let cluster: Arc<str> = "cluster".into();
    if c.cluster.0 != c.world.api.rv {
        c.cluster = (c.world.api.rv, c.world.api.cluster_steps());
    }
    // Garbage is collected by those who watch too: while a watch is held they are as late.
    let late = c.world.held.values().any(|(until, _)| c.world.ms < *until);
    let steps = c.cluster.1.iter().filter(|s| !late || !matches!(s, Cluster::Collect(_)));
    acts.extend(steps.map(|e| (Act::Cluster(e.clone()), cluster.clone())));
    let settled = c.world.ms - c.changed_ms >= SETTLED_MS;
    let ready = |u: &User| match u.when {
        When::Now => true,
        When::Idle => acts.is_empty(),
        When::Settled => acts.is_empty() && settled,
    };
    if c.user.first().is_some_and(ready) {
        acts.push((Act::User, "user".into()));
    }
    acts
}

fn add_bookmarks(c: &mut Core, plain: bool, acts: &mut Vec<(Act, Arc<str>)>) {
    if plain {
        return;
    }
    let lane: Arc<str> = "bookmarks".into();
    for s in &mut c.streams {
        if s.watch.bookmarks && s.watch.cursor < c.world.api.rv && !c.world.api.has_event(&mut s.watch) {
            acts.push((Act::Bookmark(s.id), lane.clone()));
        }
    }
}

/// Nothing but time can move things: for how long to wait at most. A watch that was stalled goes on then.
fn idle(c: &mut Core, plain: bool) -> Option<u64> {
    let step = c.step;
    let mut stalled = false;
    for s in c.streams.iter_mut().filter(|s| s.stalled > step) {
        s.stalled = 0;
        stalled = true;
    }
    if stalled && !plain {
        return None;
    }
    let now = c.world.ms;
    let due = c.ops.iter().filter_map(|o| match o.state {
        State::Dead(t) | State::Late(t) => Some(t.saturating_sub(now).max(1)),
        _ => None,
    });
    let user = c.user.first().map(|_| (c.changed_ms + SETTLED_MS).saturating_sub(now).max(1));
    let held = c.world.held.values().filter(|(until, _)| *until > now).map(|(until, _)| until - now);
    Some(due.chain(user).chain(held).min().unwrap_or(120_000))
}

/// Carries out one action; true = the operator crashes now.
fn apply(c: &mut Core, act: Act, f: usize) -> bool {
    match act {
        Act::User => {
            let u = c.user.remove(0);
            let line = c.world.user(&u.step);
            c.changed_ms = c.world.ms;
            c.trace(|| line);
            c.world.restart.is_some()
        }
        Act::Cluster(step) => {
            c.world.api.actor = crate::api::Actor::Cluster;
            c.world.api.cluster_step(&step);
            c.changed_ms = c.world.ms;
            c.trace(|| format!("cluster {step:?}"));
            false
        }
        Act::Bookmark(id) => {
            let Some(s) = c.streams.iter_mut().find(|s| s.id == id) else { return false };
            let bookmark = c.world.api.bookmark(&s.watch);
            s.watch.cursor = c.world.api.rv;
            let _ = s.tx.send(Bytes::from(format!("{bookmark}\n")));
            c.trace(|| format!("watch {id} bookmark"));
            false
        }
        Act::Event(id) => event(c, id, f),
        Act::Op(id) => operation(c, id, f),
    }
}

fn event(c: &mut Core, id: u64, f: usize) -> bool {
    let Some(i) = c.streams.iter().position(|s| s.id == id) else { return false };
    let name = WATCH_FAULTS.get(f).copied().unwrap_or("");
    let res = c.streams[i].watch.kind.plural;
    if !name.is_empty() {
        c.trace(|| format!("!!!! watch {res} {name}"));
    }
    let mut send = None;
    match name {
        "" => send = c.world.api.next_event(&mut c.streams[i].watch),
        "closed" => drop(c.streams.remove(i)),
        "410" => {
            c.world.api.compact();
            send = Some(c.world.api.gone());
        }
        "CRASH" => return true,
        stall => c.streams[i].stalled = c.step + stall.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(10),
    }
    if let Some(e) = send {
        let of = |p: &str| crate::api::text(&e, p).to_string();
        c.trace(|| {
            format!(
                "watch {res} <- {} {} rv={}",
                of("/type"),
                of("/object/metadata/name"),
                of("/object/metadata/resourceVersion")
            )
        });
        let _ = c.streams[i].tx.send(Bytes::from(format!("{e}\n")));
        if e["type"] == "ERROR" {
            c.streams.remove(i);
        }
    }
    false
}

fn operation(c: &mut Core, id: u64, f: usize) -> bool {
    let Some(i) = c.ops.iter().position(|o| o.id == id) else { return false };
    let mut op = c.ops.remove(i);
    if let State::Held(reply) = op.state {
        c.trace(|| format!("#{id} <= {} (held)", show_reply(&reply)));
        if let Some(tx) = op.tx.take() {
            let _ = tx.send(reply);
        }
        return false;
    }
    let fault = FAULTS.get(f).copied().unwrap_or("");
    if !fault.is_empty() {
        c.faulted_ms = c.world.ms;
        // What is asked again because of it does not show that the operator never comes to rest.
        c.world.notes.calls.clear();
        c.trace(|| format!("!!!! #{id} {fault}"));
    }
    let rv = c.world.api.rv;
    let stale = if fault == "stale-list" { rv.saturating_sub(6).max(crate::api::FIRST_RV) } else { rv };
    let backend = matches!(op.call, Call::Backend { .. });
    if backend && !fault.is_empty() {
        c.world.notes.trouble = c.world.ms + 2 * HANG_MS;
    }
    let lookup = matches!(op.call, Call::Backend { lane: Lane::Lookup, .. });
    let hangs = if lookup { LOOKUP_MS } else { HANG_MS };
    let broken = || if backend { Reply::Failed(BackendError::unavailable("connection reset")) } else { Reply::Broken };
    let read = matches!(&op.call, Call::Api(r) if r.method == "GET") || matches!(op.call, Call::Watch(_));
    let (reply, state) = match fault {
        "500" if !backend => (Some(injected(500, "InternalError")), None),
        "429" if !backend => (Some(injected(429, "TooManyRequests")), None),
        "409" if !backend && !read => (Some(injected(409, "Conflict")), None),
        "unauthorized" if backend => (Some(Reply::Failed(BackendError::Unauthorized("injected".into()))), None),
        "conflict" if backend => {
            (Some(Reply::Failed(BackendError::Conflict("could not serialize access".into()))), None)
        }
        "retry-after" if backend => {
            let retry_after = Some(Duration::from_secs(7));
            (Some(Reply::Failed(BackendError::Unavailable { message: "busy".into(), retry_after })), None)
        }
        "reset-before" => (Some(broken()), None),
        "hang-unexecuted" => (None, Some(State::Dead(c.world.ms + hangs))),
        "late" => (None, Some(State::Late(c.world.ms + 45_000))),
        "CRASH-before" => return true,
        _ => {
            if fault == "half" {
                c.world.groupware.values_mut().for_each(|s| s.half = true);
            }
            let reply = c.execute(id, &mut op.call, stale);
            c.world.groupware.values_mut().for_each(|s| s.half = false);
            c.trace(|| format!("#{id} = {}", show_reply(&reply)));
            match fault {
                "lost-reply" => (Some(broken()), None),
                "hold-reply" => (None, Some(State::Held(reply))),
                "hang-executed" => (None, Some(State::Dead(c.world.ms + hangs))),
                "CRASH-after" => return true,
                "CRASH-all" => {
                    // All that was under way was carried out as well.
                    for mut other in std::mem::take(&mut c.ops) {
                        if matches!(other.state, State::Arrived) {
                            let reply = c.execute(other.id, &mut other.call, rv);
                            c.trace(|| format!("#{} = {}", other.id, show_reply(&reply)));
                        }
                    }
                    return true;
                }
                _ => (Some(reply), None),
            }
        }
    };
    match (reply, state) {
        (Some(reply), _) => {
            if let Some(tx) = op.tx.take() {
                let _ = tx.send(reply);
            }
        }
        (None, Some(state)) => {
            op.state = state;
            c.ops.push(op);
        }
        (None, None) => {}
    }
    false
}
