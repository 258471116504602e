//! Which object gets the next pass: a pure data structure, driven by [`super::dispatch`].
//!
//! Why not kube's `Controller`: its scheduler picks among waiting objects by the order of a hash set, so an edit made
//! while 10,000 objects are being created waits for half of them on average; it has no bound per server, so one slow
//! server takes every slot; and a pass that panics ends it.
//!
//! A key waits at most once and never runs twice at a time. It waits in a [`Lane`], which has two levels:
//!
//! - Groups (a server each) are served in rotation. Each has its own bound, so a slow one leaves room for the others,
//!   and may run a few passes even when the others hold every slot.
//! - The members of a group (a tenant each) are served round robin, one pass at a time: a member that asks for one waits
//!   for one pass of each other member at most, however many those have waiting. A member may hold only a part of its
//!   group's slots, so that one whose passes are slow leaves room for those that come later.
//! - Within a member urgent keys go first, but never more than [`IN_A_ROW`] while a less urgent one waits; keys of the
//!   same priority go in the order in which they came.
//!
//! Every operation is logarithmic in what waits; `pop` looks at each group once. A member that has nothing waiting and
//! nothing running takes no memory, and neither does a group.

use std::collections::BTreeMap;
use std::ops::Bound;
use tokio::time::Instant;

/// How soon a waiting object should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A person waits for it: an edit, a deletion.
    High,
    /// A new object, a parent that became ready.
    Normal,
    /// A check that may find nothing to do.
    Low,
}

/// Most keys of one priority that a member runs in a row while a less urgent one of its own waits.
pub const IN_A_ROW: u8 = 4;

/// Where a key waits and runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// What the pass uses, such as a server. Also a label of metrics, so it must not be anything that a tenant chose.
    pub group: String,
    /// Who uses it, such as a tenant. The members of a group take turns.
    pub member: String,
}

impl Lane {
    /// A lane of a group and one of its members.
    pub fn new(group: impl Into<String>, member: impl Into<String>) -> Self {
        Lane { group: group.into(), member: member.into() }
    }
}

/// Most passes that run at the same time. 0 counts as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most passes in a group.
    pub group: usize,
    /// Most passes of one member of the group.
    pub member: usize,
}

/// Bounds of a whole queue.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most passes at the same time, all groups together.
    pub concurrency: usize,
    /// Passes that each group may run even when `concurrency` is used up by others.
    pub guaranteed: usize,
    /// Limits of a group that has none of its own by [`Queue::set_limits`].
    pub limits: Limits,
}

#[derive(Debug)]
enum State {
    /// In its lane, with its place in the order of that priority.
    Waiting { lane: Lane, priority: Priority, sequence: u64 },
    /// In the schedule, until `at`.
    Delayed { at: Instant, sequence: u64 },
    /// Running, with what was asked for meanwhile.
    Running { lane: Lane, requested: Option<Priority>, delayed: Option<Instant> },
}

/// What one member of a group has waiting and running.
#[derive(Debug)]
struct Member<K> {
    /// By priority; each in the order in which they came.
    waiting: [BTreeMap<u64, K>; 3],
    running: usize,
    /// How many of High and of Normal went in a row while a less urgent key waited.
    in_a_row: [u8; 2],
    /// Its place in the round robin; none while it has nothing waiting or runs as many passes as it may.
    position: Option<u64>,
}

impl<K> Member<K> {
    fn new() -> Self {
        Member { waiting: Default::default(), running: 0, in_a_row: [0, 0], position: None }
    }

    fn waits(&self) -> bool {
        self.waiting.iter().any(|keys| !keys.is_empty())
    }

    fn take(&mut self) -> Option<K> {
        for urgent in 0..self.in_a_row.len() {
            if self.waiting[urgent].is_empty() {
                continue;
            }
            if self.waiting[urgent + 1..].iter().all(BTreeMap::is_empty) {
                self.in_a_row[urgent] = 0;
            } else if self.in_a_row[urgent] < IN_A_ROW {
                self.in_a_row[urgent] += 1;
            } else {
                self.in_a_row[urgent] = 0;
                continue;
            }
            return self.waiting[urgent].pop_first().map(|(_, key)| key);
        }
        self.waiting[Priority::Low as usize].pop_first().map(|(_, key)| key)
    }
}

#[derive(Debug)]
struct Group<K> {
    members: BTreeMap<String, Member<K>>,
    /// Members that may start a pass, by their position: the first one is next.
    round_robin: BTreeMap<u64, String>,
    waiting: usize,
    running: usize,
}

impl<K> Group<K> {
    fn new() -> Self {
        Group { members: BTreeMap::new(), round_robin: BTreeMap::new(), waiting: 0, running: 0 }
    }

    /// Puts a member into the round robin or takes it out, as it should be now. `sequence` is the end of the order.
    fn update(&mut self, name: &str, limits: Limits, sequence: u64) {
        let Some(member) = self.members.get_mut(name) else { return };
        let may_start = member.waits() && member.running < limits.member.max(1);
        match member.position {
            None if may_start => {
                member.position = Some(sequence);
                self.round_robin.insert(sequence, name.to_owned());
            }
            Some(position) if !may_start => {
                member.position = None;
                self.round_robin.remove(&position);
            }
            _ => {}
        }
        if member.running == 0 && !member.waits() {
            self.members.remove(name);
        }
    }

    /// The next key, and whose it is: that member goes to the end of the order.
    fn pop(&mut self, limits: Limits, sequence: u64) -> Option<(String, K)> {
        let (_, name) = self.round_robin.pop_first()?;
        let member = self.members.get_mut(&name)?;
        member.position = None;
        let key = member.take()?;
        member.running += 1;
        self.waiting -= 1;
        self.running += 1;
        self.update(&name, limits, sequence);
        Some((name, key))
    }
}

/// Keys that wait, keys that run, and keys that are due later.
#[derive(Debug)]
pub struct Queue<K> {
    bounds: Bounds,
    /// Of groups that have their own.
    limits: BTreeMap<String, Limits>,
    states: BTreeMap<K, State>,
    groups: BTreeMap<String, Group<K>>,
    schedule: BTreeMap<(Instant, u64), K>,
    running: usize,
    sequence: u64,
    last_group: String,
}

impl<K: Ord + Clone> Queue<K> {
    /// A queue without any keys.
    pub fn new(bounds: Bounds) -> Self {
        Queue {
            bounds,
            limits: BTreeMap::new(),
            states: BTreeMap::new(),
            groups: BTreeMap::new(),
            schedule: BTreeMap::new(),
            running: 0,
            sequence: 0,
            last_group: String::new(),
        }
    }

    /// Gives a group limits of its own; none: those of [`Bounds`] again.
    pub fn set_limits(&mut self, group: &str, limits: Option<Limits>) {
        let before = match limits {
            Some(limits) => self.limits.insert(group.to_owned(), limits),
            None => self.limits.remove(group),
        };
        if before == limits {
            return;
        }
        let limits = limits.unwrap_or(self.bounds.limits);
        let Some(of) = self.groups.get_mut(group) else { return };
        let members: Vec<String> = of.members.keys().cloned().collect();
        for member in members {
            self.sequence += 1;
            of.update(&member, limits, self.sequence);
        }
    }

    fn limits_of(&self, group: &str) -> Limits {
        *self.limits.get(group).unwrap_or(&self.bounds.limits)
    }

    /// Asks for a pass as soon as there is room. A key that waits already moves up if this is more urgent, and into
    /// this lane if it waits in another one.
    pub fn add(&mut self, key: &K, priority: Priority, lane: &Lane) {
        let mut priority = priority;
        match self.states.get_mut(key) {
            Some(State::Running { requested, .. }) => {
                *requested = Some(requested.map_or(priority, |r| r.min(priority)));
                return;
            }
            Some(State::Waiting { lane: current, priority: before, .. }) => {
                if *before <= priority && current == lane {
                    return;
                }
                priority = priority.min(*before);
            }
            Some(State::Delayed { .. }) | None => {}
        }
        let replaced = self.states.remove(key);
        self.sequence += 1;
        let sequence = self.sequence;
        let group = self.groups.entry(lane.group.clone()).or_insert_with(Group::new);
        group.waiting += 1;
        let member = group.members.entry(lane.member.clone()).or_insert_with(Member::new);
        member.waiting[priority as usize].insert(sequence, key.clone());
        self.states.insert(key.clone(), State::Waiting { lane: lane.clone(), priority, sequence });
        self.update(lane);
        // Last, so that a member whose only key moves up keeps its position.
        self.drop_entry(replaced);
    }

    /// Asks for a pass at a certain time. Of several such requests the earliest counts, and none
    /// while the key waits anyway.
    pub fn add_at(&mut self, key: &K, at: Instant) {
        match self.states.get_mut(key) {
            Some(State::Running { delayed, .. }) => *delayed = Some(delayed.map_or(at, |d| d.min(at))),
            Some(State::Waiting { .. }) => {}
            Some(State::Delayed { at: before, .. }) if *before <= at => {}
            Some(State::Delayed { .. }) | None => {
                let replaced = self.states.remove(key);
                self.drop_entry(replaced);
                self.sequence += 1;
                self.schedule.insert((at, self.sequence), key.clone());
                self.states.insert(key.clone(), State::Delayed { at, sequence: self.sequence });
            }
        }
    }

    /// Deletes what a former state has in its lane or in the schedule.
    fn drop_entry(&mut self, state: Option<State>) {
        match state {
            Some(State::Delayed { at, sequence }) => {
                self.schedule.remove(&(at, sequence));
            }
            Some(State::Waiting { lane, priority, sequence }) => {
                let Some(group) = self.groups.get_mut(&lane.group) else { return };
                let Some(member) = group.members.get_mut(&lane.member) else { return };
                if member.waiting[priority as usize].remove(&sequence).is_some() {
                    group.waiting -= 1;
                }
                self.update(&lane);
            }
            Some(State::Running { .. }) | None => {}
        }
    }

    /// After a change of what a member has waiting or running.
    fn update(&mut self, lane: &Lane) {
        let limits = self.limits_of(&lane.group);
        let Some(group) = self.groups.get_mut(&lane.group) else { return };
        self.sequence += 1;
        group.update(&lane.member, limits, self.sequence);
        if group.members.is_empty() {
            self.groups.remove(&lane.group);
        }
    }

    /// When the next delayed key is due; none: no key is delayed.
    pub fn next_due(&self) -> Option<Instant> {
        self.schedule.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves the keys that are due at `now` into their lanes.
    pub fn add_due(&mut self, now: Instant, lane_of: impl Fn(&K) -> Lane) {
        while let Some(((at, _), key)) = self.schedule.first_key_value() {
            if *at > now {
                break;
            }
            let key = key.clone();
            let lane = lane_of(&key);
            self.add(&key, Priority::Low, &lane);
        }
    }

    /// The next key to run; none: no key waits where there is room. The caller must
    /// call [`Queue::done`] after its pass.
    pub fn pop(&mut self) -> Option<K> {
        let full = self.running >= self.bounds.concurrency;
        let after = self.groups.range::<str, _>((Bound::Excluded(self.last_group.as_str()), Bound::Unbounded));
        let up_to = self.groups.range::<str, _>((Bound::Unbounded, Bound::Included(self.last_group.as_str())));
        let rotation = after.chain(up_to);
        let has_room = |(name, group): &(&String, &Group<K>)| {
            !group.round_robin.is_empty()
                && group.running < self.limits_of(name).group.max(1)
                && (!full || group.running < self.bounds.guaranteed)
        };
        let name = rotation.into_iter().find(has_room)?.0.clone();
        let limits = self.limits_of(&name);
        self.sequence += 1;
        let (member, key) = self.groups.get_mut(&name)?.pop(limits, self.sequence)?;
        self.running += 1;
        self.last_group.clone_from(&name);
        let lane = Lane { group: name, member };
        self.states.insert(key.clone(), State::Running { lane, requested: None, delayed: None });
        Some(key)
    }

    /// Ends the pass of a key that [`Queue::pop`] gave. What was asked for while it ran takes effect now.
    pub fn done(&mut self, key: &K, lane_of: impl Fn(&K) -> Lane) {
        let (lane, requested, delayed) = match self.states.remove(key) {
            Some(State::Running { lane, requested, delayed }) => (lane, requested, delayed),
            other => {
                self.states.extend(other.map(|state| (key.clone(), state)));
                return;
            }
        };
        self.running -= 1;
        if let Some(group) = self.groups.get_mut(&lane.group) {
            group.running -= 1;
            if let Some(member) = group.members.get_mut(&lane.member) {
                member.running -= 1;
            }
        }
        self.update(&lane);
        if let Some(at) = delayed {
            self.add_at(key, at);
        }
        if let Some(priority) = requested {
            self.add(key, priority, &lane_of(key));
        }
    }

    /// Number of keys that wait for room, by group. Groups that are idle are not in it.
    pub fn depths(&self) -> impl Iterator<Item = (&str, usize)> {
        self.groups.iter().map(|(name, group)| (name.as_str(), group.waiting))
    }

    /// Number of passes that run now.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Number of groups and of members for which something is kept, for tests of the memory that is given back.
    pub fn lanes(&self) -> (usize, usize) {
        (self.groups.len(), self.groups.values().map(|g| g.members.len()).sum())
    }
}
