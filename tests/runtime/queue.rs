//! Who goes next: tenants take turns, urgent keys go first but not for ever, and nobody holds every slot.

use mailtenant_runtime::queue::{Bounds, IN_A_ROW, Lane, Limits, Priority, Queue};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const WIDE: Bounds = Bounds { concurrency: 100, guaranteed: 0, limits: Limits { group: 100, member: 100 } };

fn bounds(concurrency: usize, guaranteed: usize, group: usize, member: usize) -> Bounds {
    Bounds { concurrency, guaranteed, limits: Limits { group, member } }
}

fn lane(member: &str) -> Lane {
    Lane::new("server", member)
}

fn a(_: &u32) -> Lane {
    lane("a")
}

/// Starts all that may.
fn start(queue: &mut Queue<u32>) -> Vec<u32> {
    std::iter::from_fn(|| queue.pop()).collect()
}

/// Runs passes one after the other.
fn one_by_one(queue: &mut Queue<u32>, n: usize) -> Vec<u32> {
    let mut order = vec![];
    while order.len() < n
        && let Some(key) = queue.pop()
    {
        queue.done(&key, a);
        order.push(key);
    }
    order
}

#[test]
fn a_neighbours_one_key_is_next_however_many_a_tenant_has_waiting() {
    for priority in [Priority::High, Priority::Normal, Priority::Low] {
        let mut queue = Queue::new(bounds(100, 0, 16, 12));
        for key in 0..5_000 {
            queue.add(&key, Priority::High, &lane("a"));
        }
        assert_eq!(start(&mut queue).len(), 12, "a quarter of the slots is out of one tenant's reach");
        queue.add(&9_999, priority, &lane("b"));
        assert_eq!(queue.pop(), Some(9_999), "{priority:?}: there is a slot at once");
    }
    // The same where a server takes one pass at a time: two of the tenant's passes at most go before.
    let mut queue = Queue::new(bounds(100, 0, 1, 1));
    for key in 0..5_000 {
        queue.add(&key, Priority::High, &lane("a"));
    }
    one_by_one(&mut queue, 100);
    let running = queue.pop().unwrap();
    queue.add(&9_999, Priority::Low, &lane("b"));
    queue.done(&running, a);
    assert!(one_by_one(&mut queue, 2).contains(&9_999));
}

#[test]
fn tenants_take_turns() {
    let mut queue = Queue::new(WIDE);
    for (member, keys) in [("a", 0..6), ("b", 10..13), ("c", 20..22)] {
        for key in keys {
            queue.add(&key, Priority::Normal, &lane(member));
        }
    }
    assert_eq!(start(&mut queue), [0, 10, 20, 1, 11, 21, 2, 12, 3, 4, 5]);
}

#[test]
fn urgent_keys_of_one_tenant_do_not_pass_the_others_of_another() {
    let mut queue = Queue::new(WIDE);
    for key in 0..4 {
        queue.add(&key, Priority::High, &lane("a"));
    }
    for key in 10..14 {
        queue.add(&key, Priority::Low, &lane("b"));
    }
    assert_eq!(start(&mut queue), [0, 10, 1, 11, 2, 12, 3, 13]);
}

#[test]
fn a_stream_of_urgent_keys_starves_nobody() {
    let mut queue = Queue::new(WIDE);
    for key in 1_000..1_100 {
        queue.add(&key, Priority::Normal, &lane("a"));
        queue.add(&(key + 1_000), Priority::Low, &lane("a"));
    }
    let mut counts = BTreeMap::new();
    for key in 0..500 {
        // There are always High ones waiting.
        queue.add(&(key * 2 + 10_000), Priority::High, &lane("a"));
        queue.add(&(key * 2 + 10_001), Priority::High, &lane("a"));
        let picked = one_by_one(&mut queue, 1)[0];
        *counts
            .entry(match picked {
                1_000..2_000 => Priority::Normal,
                2_000..3_000 => Priority::Low,
                _ => Priority::High,
            })
            .or_insert(0) += 1;
    }
    let row = usize::from(IN_A_ROW);
    let below = 500 / (row + 1);
    let low = below / (row + 1);
    let expected = [(Priority::High, 500 - below), (Priority::Normal, below - low), (Priority::Low, low)];
    assert_eq!(counts, BTreeMap::from(expected));
}

#[test]
fn urgent_first_and_in_the_order_of_arrival() {
    let mut queue = Queue::new(WIDE);
    queue.add(&1, Priority::Low, &lane("a"));
    for (key, priority) in [(10, Priority::Normal), (11, Priority::Normal), (20, Priority::High), (21, Priority::High)]
    {
        queue.add(&key, priority, &lane("a"));
    }
    assert_eq!(start(&mut queue), [20, 21, 10, 11, 1]);
}

#[test]
fn a_key_waits_once_runs_once_and_is_run_again_if_asked_for_meanwhile() {
    let mut queue = Queue::new(WIDE);
    queue.add(&1, Priority::Low, &lane("a"));
    queue.add(&1, Priority::High, &lane("a"));
    queue.add(&1, Priority::Normal, &lane("a"));
    assert_eq!(queue.depths().collect::<Vec<_>>(), [("server", 1)]);
    assert_eq!(start(&mut queue), [1]);
    queue.add(&1, Priority::Normal, &lane("a"));
    assert_eq!(queue.pop(), None, "never twice at a time");
    queue.done(&1, a);
    assert_eq!(start(&mut queue), [1]);
    queue.done(&1, a);
    queue.done(&1, a);
    assert_eq!(queue.pop(), None);
    assert_eq!((queue.running(), queue.lanes()), (0, (0, 0)));
}

#[test]
fn a_waiting_key_moves_to_the_lane_it_belongs_to_and_stays_as_urgent_as_it_was() {
    let mut queue = Queue::new(bounds(100, 0, 1, 1));
    queue.add(&1, Priority::High, &Lane::new("unassigned", "a"));
    queue.add(&2, Priority::Normal, &lane("a"));
    queue.add(&1, Priority::Low, &lane("a"));
    assert_eq!(queue.lanes(), (1, 1), "the lane that it left is gone");
    assert_eq!(start(&mut queue), [1], "one at a time in the lane of the server");
}

#[test]
fn a_key_that_becomes_more_urgent_does_not_cost_its_tenant_the_turn() {
    let mut queue = Queue::new(WIDE);
    queue.add(&1, Priority::Low, &lane("a"));
    queue.add(&2, Priority::Low, &lane("b"));
    queue.add(&1, Priority::High, &lane("a"));
    assert_eq!(start(&mut queue), [1, 2]);
}

#[test]
fn servers_take_turns_each_within_its_bound() {
    let mut queue = Queue::new(bounds(100, 0, 3, 2));
    for key in 0..5 {
        queue.add(&key, Priority::High, &Lane::new("x", format!("tenant {key}")));
        queue.add(&(key + 10), Priority::Low, &Lane::new("y", format!("tenant {key}")));
    }
    assert_eq!(start(&mut queue), [0, 10, 1, 11, 2, 12]);
}

#[test]
fn a_slow_server_leaves_room_for_the_others() {
    let mut queue = Queue::new(bounds(6, 2, 4, 4));
    for key in 0..10 {
        queue.add(&key, Priority::High, &Lane::new("slow", "a"));
        queue.add(&(key + 10), Priority::High, &Lane::new("slow too", "a"));
    }
    assert_eq!(start(&mut queue).len(), 6, "of all groups together");
    for key in 50..55 {
        queue.add(&key, Priority::Low, &Lane::new("fast", "a"));
    }
    assert_eq!(start(&mut queue), [50, 51], "what each group is guaranteed, though nothing has ended");
    queue.done(&50, a);
    assert_eq!(start(&mut queue), [52]);
}

#[test]
fn a_slow_tenant_leaves_slots_for_those_that_come_later() {
    let mut queue = Queue::new(bounds(48, 4, 16, 4));
    let dns = |member: &str| Lane::new("dns/ns", member);
    for key in 0..1_000 {
        queue.add(&key, Priority::High, &dns("slow"));
    }
    assert_eq!(start(&mut queue), [0, 1, 2, 3]);
    for key in 1_000..1_003 {
        queue.add(&key, Priority::Normal, &dns("b"));
        queue.add(&(key + 10), Priority::Normal, &Lane::new("groupware/b", "slow"));
    }
    let started = start(&mut queue);
    assert_eq!(started.len(), 6, "neither its neighbour nor its own mailboxes wait: {started:?}");
    queue.done(&2, |_| dns("slow"));
    assert_eq!(start(&mut queue), [4], "as one of its passes ends, its next one starts");
}

#[test]
fn limits_can_change_while_passes_wait() {
    let mut queue = Queue::new(bounds(100, 0, 2, 1));
    for key in 0..20 {
        queue.add(&key, Priority::Normal, &lane("a"));
    }
    assert_eq!(start(&mut queue).len(), 1);
    queue.set_limits("server", Some(Limits { group: 8, member: 6 }));
    assert_eq!(start(&mut queue).len(), 5);
    queue.set_limits("server", None);
    for key in 0..5 {
        queue.done(&key, a);
    }
    assert_eq!(start(&mut queue).len(), 0, "one runs still");
    queue.done(&5, a);
    assert_eq!(start(&mut queue).len(), 1);
    queue.set_limits("server", Some(Limits { group: 0, member: 0 }));
    queue.done(&6, a);
    assert_eq!(start(&mut queue).len(), 1, "none at all would be for ever");
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_takes_no_memory() {
    let mut queue = Queue::new(bounds(10, 1, 4, 2));
    let now = Instant::now();
    for key in 0..10_000 {
        queue.add(&key, Priority::Normal, &Lane::new(format!("server {}", key % 3), format!("tenant {key}")));
    }
    assert_eq!(queue.lanes(), (3, 10_000));
    let mut ended = 0;
    while let Some(key) = queue.pop() {
        queue.add_at(&key, now + Duration::from_secs(600));
        queue.done(&key, a);
        ended += 1;
    }
    assert_eq!(ended, 10_000);
    assert_eq!((queue.lanes(), queue.running()), ((0, 0), 0));
    assert_eq!(queue.depths().count(), 0);
    // What waits for its time is in no lane.
    assert!(queue.next_due().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_earliest_request_stands_and_one_for_now_replaces_it() {
    let now = Instant::now();
    let at = |s| now + Duration::from_secs(s);
    let mut queue = Queue::new(WIDE);
    queue.add_at(&1, at(10));
    queue.add_at(&1, at(20));
    queue.add_at(&1, at(5));
    assert_eq!(queue.next_due(), Some(at(5)));
    queue.add_due(at(4), a);
    assert_eq!(queue.pop(), None);
    queue.add(&1, Priority::High, &lane("a"));
    assert_eq!(queue.next_due(), None);
    assert_eq!(queue.pop(), Some(1));
    queue.add_at(&1, at(7));
    queue.done(&1, a);
    queue.add_due(at(7), a);
    assert_eq!(queue.pop(), Some(1));
}
