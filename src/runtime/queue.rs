//! Which object gets the next pass: a pure data structure, driven by [`super::dispatch`].
//!
//! Why not kube's `Controller`: its scheduler picks among waiting objects by the order of a hash set, so an edit made
//! while 10,000 objects are being created waits for half of them on average; it has no bound a backend, so one slow
//! server takes every slot; and a pass that panics ends it. Here a key waits at most once, never runs twice at a time,
//! urgent ones go first, each lane (a backend) has its own bound, and lanes take turns.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use tokio::time::Instant;

/// How soon a waiting object should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A person is waiting: an edit, a deletion.
    High,
    /// A new object, a parent that became ready.
    Normal,
    /// A look that may find nothing to do.
    Low,
}

/// Every so many picks of a lane the least urgent one goes first, so that it is never starved.
const FAIRNESS: u64 = 8;

#[derive(Debug)]
enum State {
    /// In a lane; the number tells live entries of the lists from dead ones.
    Waiting { priority: Priority, lane: String, ticket: u64 },
    /// Later; with the entry of the schedule.
    Delayed { at: Instant, ticket: u64 },
    /// Running; what was asked for meanwhile.
    Running { lane: String, again: Option<Priority>, later: Option<Instant> },
}

#[derive(Debug)]
struct Lane<K> {
    lists: [VecDeque<(K, u64)>; 3],
    waiting: usize,
    running: usize,
    picks: u64,
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Lane { lists: [VecDeque::new(), VecDeque::new(), VecDeque::new()], waiting: 0, running: 0, picks: 0 }
    }
}

/// The queue.
#[derive(Debug)]
pub struct Queue<K> {
    states: BTreeMap<K, State>,
    lanes: BTreeMap<String, Lane<K>>,
    limits: BTreeMap<String, usize>,
    schedule: BTreeMap<(Instant, u64), K>,
    default_limit: usize,
    tickets: u64,
    last_lane: String,
}

impl<K: Ord + Clone> Queue<K> {
    /// An empty queue; `lane_limit` passes of a lane may run at a time unless [`Queue::set_limit`] says otherwise.
    pub fn new(lane_limit: usize) -> Self {
        Queue {
            states: BTreeMap::new(),
            lanes: BTreeMap::new(),
            limits: BTreeMap::new(),
            schedule: BTreeMap::new(),
            default_limit: lane_limit.max(1),
            tickets: 0,
            last_lane: String::new(),
        }
    }

    /// How many passes of a lane may run at a time.
    pub fn set_limit(&mut self, lane: &str, limit: usize) {
        self.limits.insert(lane.into(), limit.max(1));
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Asks for a pass as soon as there is room. A key that waits already moves up if this is more urgent.
    pub fn add(&mut self, key: &K, priority: Priority, lane: &str) {
        match self.states.get_mut(key) {
            Some(State::Running { again, .. }) => *again = Some(again.map_or(priority, |p| p.min(priority))),
            Some(State::Waiting { priority: p, .. }) if *p <= priority => {}
            _ => {
                self.leave(key);
                let ticket = self.ticket();
                let entry = self.lanes.entry(lane.into()).or_default();
                entry.lists[priority as usize].push_back((key.clone(), ticket));
                entry.waiting += 1;
                self.states.insert(key.clone(), State::Waiting { priority, lane: lane.into(), ticket });
            }
        }
    }

    /// Asks for a pass at a time; an earlier wish stands.
    pub fn add_at(&mut self, key: &K, at: Instant) {
        match self.states.get_mut(key) {
            Some(State::Running { later, .. }) => *later = Some(later.map_or(at, |l| l.min(at))),
            Some(State::Waiting { .. }) => {}
            Some(State::Delayed { at: have, .. }) if *have <= at => {}
            _ => {
                self.leave(key);
                let ticket = self.ticket();
                self.schedule.insert((at, ticket), key.clone());
                self.states.insert(key.clone(), State::Delayed { at, ticket });
            }
        }
    }

    /// Takes a key out of whatever list it is in; its entry in a lane's list dies by its ticket.
    fn leave(&mut self, key: &K) {
        match self.states.remove(key) {
            Some(State::Delayed { at, ticket }) => {
                self.schedule.remove(&(at, ticket));
            }
            Some(State::Waiting { lane, .. }) => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.waiting -= 1;
                }
            }
            _ => {}
        }
    }

    /// When the next delayed key is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.schedule.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves keys whose time has come into their lanes.
    pub fn wake(&mut self, now: Instant, lane_of: impl Fn(&K) -> String) {
        while let Some(((at, _), key)) = self.schedule.first_key_value() {
            if *at > now {
                break;
            }
            let key = key.clone();
            let lane = lane_of(&key);
            self.add(&key, Priority::Low, &lane);
        }
    }

    /// The next key to run, if a lane has a waiting one and room. The caller must say [`Queue::done`] afterwards.
    pub fn pop(&mut self) -> Option<K> {
        let last = &self.last_lane;
        let after = self.lanes.range::<String, _>((Bound::Excluded(last), Bound::Unbounded));
        let turn = after.chain(self.lanes.range::<String, _>(..=last));
        let name = turn
            .filter(|(name, lane)| {
                lane.waiting > 0 && lane.running < *self.limits.get(*name).unwrap_or(&self.default_limit)
            })
            .map(|(name, _)| name.clone())
            .next()?;
        let lane = self.lanes.get_mut(&name)?;
        lane.picks += 1;
        let order: [usize; 3] = if lane.picks.is_multiple_of(FAIRNESS) { [2, 1, 0] } else { [0, 1, 2] };
        let mut picked = None;
        'lists: for list in order {
            while let Some((key, ticket)) = lane.lists[list].pop_front() {
                if matches!(self.states.get(&key), Some(State::Waiting { ticket: t, .. }) if *t == ticket) {
                    picked = Some(key);
                    break 'lists;
                }
            }
        }
        let key = picked?;
        lane.waiting -= 1;
        lane.running += 1;
        self.states.insert(key.clone(), State::Running { lane: name.clone(), again: None, later: None });
        self.last_lane = name;
        Some(key)
    }

    /// A pass ended. What was asked for while it ran is asked for now.
    pub fn done(&mut self, key: &K, lane_of: impl Fn(&K) -> String) {
        let Some(State::Running { lane, again, later }) = self.states.remove(key) else { return };
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.running -= 1;
        }
        if let Some(at) = later {
            self.add_at(key, at);
        }
        if let Some(priority) = again {
            let lane = lane_of(key);
            self.add(key, priority, &lane);
        }
    }

    /// How many keys wait for room, a lane.
    pub fn depths(&self) -> impl Iterator<Item = (&str, usize)> {
        self.lanes.iter().map(|(name, lane)| (name.as_str(), lane.waiting))
    }

    /// How many passes run.
    pub fn running(&self) -> usize {
        self.lanes.values().map(|l| l.running).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn lane(_: &u32) -> String {
        String::new()
    }

    #[test]
    fn urgent_first_then_in_order_and_nobody_starves() {
        let mut q = Queue::new(100);
        for k in 0..20 {
            q.add(&k, Priority::Low, "");
        }
        for k in 100..120 {
            q.add(&k, Priority::High, "");
        }
        let order: Vec<u32> = std::iter::from_fn(|| q.pop()).take(9).collect();
        assert_eq!(order, [100, 101, 102, 103, 104, 105, 106, 0, 107]);
    }

    #[test]
    fn a_key_waits_once_runs_once_and_is_asked_again_while_running() {
        let mut q = Queue::new(10);
        q.add(&1, Priority::Low, "");
        q.add(&1, Priority::High, "");
        assert_eq!(q.pop(), Some(1));
        assert_eq!(q.pop(), None, "the dead entry of the other list is not a second pass");
        q.add(&1, Priority::Normal, "");
        assert_eq!(q.pop(), None, "never twice at a time");
        q.done(&1, lane);
        assert_eq!(q.pop(), Some(1));
        q.done(&1, lane);
        assert_eq!(q.pop(), None);
        assert_eq!(q.running(), 0);
    }

    #[test]
    fn a_slow_lane_does_not_take_the_others_room() {
        let mut q = Queue::new(2);
        for k in 0..10 {
            q.add(&k, Priority::High, "slow");
        }
        q.add(&50, Priority::Low, "fast");
        let got: Vec<u32> = std::iter::from_fn(|| q.pop()).collect();
        assert_eq!(got.len(), 3);
        assert!(got.contains(&50));
        q.set_limit("slow", 4);
        assert_eq!(std::iter::from_fn(|| q.pop()).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_wish_stands_and_a_wish_for_now_replaces_it() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let mut q = Queue::new(10);
        q.add_at(&1, at(10));
        q.add_at(&1, at(20));
        q.add_at(&1, at(5));
        assert_eq!(q.next_due(), Some(at(5)));
        q.wake(at(4), lane);
        assert_eq!(q.pop(), None);
        q.add(&1, Priority::High, "");
        assert_eq!(q.next_due(), None);
        assert_eq!(q.pop(), Some(1));
        q.add_at(&1, at(7));
        q.done(&1, lane);
        q.wake(at(7), lane);
        assert_eq!(q.pop(), Some(1));
    }
}
