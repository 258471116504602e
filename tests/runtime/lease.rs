//! Leader election: never two, always one in the end.

use crate::fake::{Fake, Fate, clock, seeded};
use futures::FutureExt;
use mailtenant_runtime::lease::{Config, Election, Lost, identity};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/ops/leases/op";

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn candidate(
    fake: &Fake,
    name: &str,
    judge: impl FnMut(&http::Method, &str) -> Fate + Send + 'static,
) -> Arc<Election> {
    let seed = name.bytes().map(u64::from).sum();
    // Clocks an hour apart for each letter: nobody's time of day may matter.
    let skew = 3600 * (i64::from(name.as_bytes()[0]) - 97);
    Arc::new(Election::new(fake.client(judge), Config::new("ops", "op", name), clock(skew), seeded(seed)))
}

fn healthy(fake: &Fake, name: &str) -> Arc<Election> {
    candidate(fake, name, |_, _| Fate::Done)
}

fn holder(fake: &Fake) -> Option<String> {
    fake.get(PATH)?.pointer("/spec/holderIdentity")?.as_str().map(str::to_string)
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_at_once_and_keeps_leading() {
    let fake = Fake::default();
    let start = Instant::now();
    let leadership = healthy(&fake, "a").acquire().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(holder(&fake).as_deref(), Some("a"));
    assert!(timeout(secs(3600), leadership.hold()).await.is_err(), "an hour without a fault");
    let spec = &fake.get(PATH).unwrap()["spec"];
    assert_eq!(spec["leaseTransitions"], 1);
    assert_eq!(spec["leaseDurationSeconds"], 15);
    assert!(spec["renewTime"].as_str() > spec["acquireTime"].as_str(), "{spec}");
    let renewals = fake.log().len();
    assert!((1790..=1810).contains(&renewals), "every 2 s: {renewals}");
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_only_after_it_has_seen_15_s_of_silence() {
    let fake = Fake::default();
    let leader = healthy(&fake, "a").acquire().await;
    let standby = healthy(&fake, "b");
    let (done, end) = (secs(60), Instant::now() + secs(60));
    tokio::select! {
        biased;
        _ = leader.hold() => panic!("lost"),
        _ = standby.acquire() => panic!("took over from a healthy leader"),
        () = sleep(done) => {}
    }
    // The leader is killed: no release. What the standby saw before counts for nothing, it starts anew here.
    let leadership = healthy(&fake, "c").acquire().await;
    let waited = end.elapsed();
    assert!(waited >= secs(15) && waited < secs(18), "{waited:?}");
    assert_eq!(holder(&fake).as_deref(), Some("c"));
    drop(leadership);
}

#[tokio::test(start_paused = true)]
async fn a_longer_lease_of_the_other_is_respected_and_a_strange_clock_ignored() {
    let fake = Fake::default();
    fake.put(
        PATH,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "op", "namespace": "ops"},
            "spec": {"holderIdentity": "z", "leaseDurationSeconds": 60, "renewTime": "1999-01-01T00:00:00.000000Z"}}),
    );
    let start = Instant::now();
    healthy(&fake, "a").acquire().await;
    assert!(start.elapsed() >= secs(60) && start.elapsed() < secs(63), "{:?}", start.elapsed());
    let spec = &fake.get(PATH).unwrap()["spec"];
    assert_eq!((&spec["holderIdentity"], &spec["leaseDurationSeconds"]), (&json!("a"), &json!(15)));
}

#[tokio::test(start_paused = true)]
async fn released_is_taken_over_at_the_next_look() {
    let fake = Fake::default();
    let first = healthy(&fake, "a");
    let leadership = first.acquire().await;
    let second = healthy(&fake, "b");
    let mut waiting = Box::pin(second.acquire());
    assert!(timeout(secs(5), &mut waiting).await.is_err());
    drop(leadership);
    first.release().await;
    assert_eq!(holder(&fake), None);
    let start = Instant::now();
    waiting.await;
    assert!(start.elapsed() <= secs(3), "{:?}", start.elapsed());
    // What is not ours is not released.
    first.release().await;
    assert_eq!(holder(&fake).as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn release_wins_over_a_renewal_that_was_still_on_its_way() {
    let fake = Fake::default();
    let first = healthy(&fake, "a");
    first.acquire().await;
    let mut gets = 0;
    let meddled = fake.clone();
    // Between the read and the write of the release, the renewal lands.
    let same = candidate(&fake, "a", move |method, _| {
        if method == http::Method::PUT {
            gets += 1;
            if gets == 1 {
                meddled.edit(PATH, |lease| lease["spec"]["renewTime"] = json!("2026-01-01T00:00:00.000000Z"));
            }
        }
        Fate::Done
    });
    same.release().await;
    assert_eq!(holder(&fake), None);
    assert!(fake.log().iter().any(|(_, _, code)| *code == 409));
}

#[tokio::test(start_paused = true)]
async fn a_stolen_lease_is_noticed_at_the_next_renewal() {
    let fake = Fake::default();
    let leadership = healthy(&fake, "a").acquire().await;
    fake.edit(PATH, |lease| lease["spec"]["holderIdentity"] = json!("thief"));
    let start = Instant::now();
    let lost = timeout(secs(60), leadership.hold()).await;
    assert_eq!(lost, Ok(Lost::Taken { holder: "thief".into() }));
    assert!(start.elapsed() <= secs(2));
    assert_eq!(holder(&fake).as_deref(), Some("thief"), "nothing was written over it");
}

#[tokio::test(start_paused = true)]
async fn a_cleared_or_deleted_lease_is_lost() {
    let fake = Fake::default();
    let leadership = healthy(&fake, "a").acquire().await;
    fake.edit(PATH, |lease| lease["spec"]["holderIdentity"] = json!(null));
    let lost = timeout(secs(60), leadership.hold()).await;
    assert_eq!(lost, Ok(Lost::Taken { holder: String::new() }));
    let leadership = healthy(&fake, "a").acquire().await;
    fake.delete(PATH);
    assert_eq!(leadership.hold().await, Lost::Deleted);
    assert!(fake.get(PATH).is_none(), "not made again by one who may have lost it");
}

#[tokio::test(start_paused = true)]
async fn a_label_put_on_the_lease_ends_nothing() {
    let fake = Fake::default();
    let leadership = healthy(&fake, "a").acquire().await;
    let mut hold = Box::pin(leadership.hold());
    for n in 0..20 {
        assert!(timeout(secs(5), &mut hold).await.is_err(), "lost after {n} labels");
        fake.edit(PATH, |lease| lease["metadata"]["labels"] = json!({"n": n.to_string()}));
    }
    assert!(timeout(secs(60), &mut hold).await.is_err());
    assert_eq!(fake.get(PATH).unwrap()["metadata"]["labels"]["n"], "19", "and the label stays");
}

/// An etcd that was restored without a bump of its revision: the Lease is ours, as it was some time ago.
#[tokio::test(start_paused = true)]
async fn a_server_that_was_restored_to_an_earlier_state_ends_leadership() {
    let fake = Fake::default();
    let leadership = healthy(&fake, "a").acquire().await;
    let mut hold = Box::pin(leadership.hold());
    assert!(timeout(secs(21), &mut hold).await.is_err());
    let backup = fake.clone_state();
    assert!(timeout(secs(20), &mut hold).await.is_err());
    fake.restore(backup);
    assert_eq!(timeout(secs(3), hold).await, Ok(Lost::Restored));
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_in_any_way_end_leadership_10_s_after_the_last_good_one() {
    for fate in [Fate::Lost, Fate::Refused(500), Fate::Refused(429), Fate::Refused(403), Fate::Late(secs(7))] {
        let fake = Fake::default();
        let broken = Arc::new(Mutex::new(false));
        let judged = broken.clone();
        let election = candidate(&fake, "a", move |_, _| if *judged.lock().unwrap() { fate } else { Fate::Done });
        let leadership = election.acquire().await;
        let mut hold = Box::pin(leadership.hold());
        assert!(timeout(secs(61), &mut hold).await.is_err());
        *broken.lock().unwrap() = true;
        let start = Instant::now();
        assert_eq!(hold.await, Lost::Deadline(secs(10)), "{fate:?}");
        // The last good one was sent 1 s before.
        assert_eq!(start.elapsed().as_secs(), 9, "{fate:?}");
    }
}

/// Others may have seen the write the moment it was sent, however late its answer came.
#[tokio::test(start_paused = true)]
async fn the_10_s_count_from_before_the_last_good_renewal_was_sent() {
    let fake = Fake::default();
    let mut n = 0;
    let election = candidate(&fake, "a", move |_, _| {
        n += 1;
        // A look, the create, one slow renewal, then nothing more.
        [Fate::Done, Fate::Done, Fate::Late(secs(4))].get(n - 1).copied().unwrap_or(Fate::Lost)
    });
    let leadership = election.acquire().await;
    let start = Instant::now();
    assert_eq!(leadership.hold().await, Lost::Deadline(secs(10)));
    assert_eq!(start.elapsed().as_secs(), 12, "the renewal was sent after 2 s and answered after 6");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_is_recognised_as_ours() {
    let fake = Fake::default();
    let mut n = 0;
    let election = candidate(&fake, "a", move |_, _| {
        n += 1;
        // The first create too; each time the renewal after it goes well.
        if n % 4 == 2 { Fate::AnswerLost } else { Fate::Done }
    });
    let leadership = timeout(secs(30), election.acquire()).await.unwrap();
    assert!(timeout(secs(300), leadership.hold()).await.is_err());
    assert_eq!(holder(&fake).as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_for_a_while_does_not_go_on_leading() {
    let fake = Fake::default();
    let leadership = healthy(&fake, "a").acquire().await;
    let mut hold = Box::pin(leadership.hold());
    assert!((&mut hold).now_or_never().is_none());
    // Nothing polls it for 11 s, as under SIGSTOP.
    sleep(secs(11)).await;
    let writes = fake.log().len();
    assert_eq!(hold.await, Lost::Deadline(secs(10)));
    assert_eq!(fake.log().len(), writes, "it did not even ask");
}

#[test]
fn identities_differ() {
    let random = seeded(1);
    let (one, two) = (identity("host", &*random), identity("host", &*random));
    assert_ne!(one, two);
    assert!(one.starts_with("host_") && one.len() == 21, "{one}");
}

/// Three candidates, each behind a network that loses, refuses and delays as its seed says, some of them letting go
/// now and then: their times of leading never overlap, and once the network is well somebody leads.
#[tokio::test(start_paused = true)]
async fn never_two_leaders_under_any_network() {
    let mut terms = 0;
    for seed in 0..300 {
        let fake = Fake::default();
        let begin = Instant::now();
        let led: Arc<Mutex<Vec<(Instant, Instant, &str)>>> = Arc::default();
        let leading: Arc<Mutex<Option<&str>>> = Arc::default();
        let run = |name: &'static str| {
            let mut rng = fastrand::Rng::with_seed(seed * 31 + u64::from(name.as_bytes()[0]));
            let mut weather = (Instant::now(), 0);
            let mut dice = rng.fork();
            let election = candidate(&fake, name, move |_, _| {
                if Instant::now() >= begin + secs(300) {
                    return Fate::Done;
                }
                if Instant::now() >= weather.0 {
                    weather = (Instant::now() + secs(dice.u64(1..25)), dice.u8(0..6));
                }
                match weather.1 {
                    0..=2 => Fate::Done,
                    3 => Fate::Lost,
                    4 => Fate::AnswerLost,
                    _ => match dice.u8(0..4) {
                        0 => Fate::Refused(500),
                        1 => Fate::AnswerLost,
                        2 => Fate::Done,
                        _ => Fate::Late(Duration::from_millis(dice.u64(0..40_000))),
                    },
                }
            });
            let (led, leading) = (led.clone(), leading.clone());
            async move {
                loop {
                    let leadership = election.acquire().await;
                    let from = Instant::now();
                    let other = leading.lock().unwrap().replace(name);
                    assert_eq!(other, None, "seed {seed}: {name} leads at {:?} while another does", begin.elapsed());
                    let term = if Instant::now() < begin + secs(300) { rng.u64(1..200) } else { 1_000_000 };
                    let lost = timeout(secs(term), leadership.hold()).await;
                    *leading.lock().unwrap() = None;
                    led.lock().unwrap().push((from, Instant::now(), name));
                    if lost.is_err() {
                        election.release().await;
                        sleep(secs(rng.u64(1..30))).await;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = async { futures::join!(run("a"), run("b"), run("c")); } => {}
            // Terms that began in bad weather have ended by then.
            () = sleep(secs(550)) => {}
        }
        assert!(leading.lock().unwrap().is_some(), "seed {seed}: nobody leads though the network is well");
        terms += led.lock().unwrap().len();
    }
    assert!(terms > 1000, "only {terms} terms: the test looks at nothing");
}
