//! The dispatcher on a paused clock: passes that panic, hang, are slow, come again.

use mailtenant_clock::SystemRandom;
use mailtenant_runtime::dispatch::{Dispatcher, Ended, Next, Work};
use mailtenant_runtime::queue::{Bounds, Lane, Limits, Priority};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const BOUNDS: Bounds = Bounds { concurrency: 48, guaranteed: 4, limits: Limits { group: 16, member: 4 } };
const MINUTE: Duration = Duration::from_secs(60);

const PANICS: u32 = 1;
const HANGS: u32 = 2;
const COMES_AGAIN: u32 = 3;
const SETTLES: u32 = 4;
const TAKES_LONG: u32 = 5;
/// Passes of a tenant whose DNS servers do not answer.
const SLOW: std::ops::Range<u32> = 100..300;
/// What comes while those run.
const NEIGHBOUR: u32 = 1_000;
const MAILBOX: u32 = 1_001;

#[derive(Default)]
struct Fake(Mutex<Vec<(u32, Ended, Instant)>>);

impl Fake {
    fn of(&self, key: u32) -> Vec<(Ended, Instant)> {
        self.0.lock().unwrap().iter().filter(|(k, ..)| *k == key).map(|(_, ended, at)| (*ended, *at)).collect()
    }
}

impl Work<u32> for Fake {
    async fn pass(self: Arc<Self>, key: u32) -> Next {
        match key {
            PANICS => panic!("planted"),
            HANGS => std::future::pending().await,
            COMES_AGAIN => return Next::After(Duration::from_secs(7)),
            TAKES_LONG => tokio::time::sleep(Duration::from_secs(200)).await,
            _ if SLOW.contains(&key) => tokio::time::sleep(Duration::from_secs(50)).await,
            _ => {}
        }
        Next::Settled
    }
    fn lane(&self, key: &u32) -> Lane {
        match *key {
            NEIGHBOUR => Lane::new("dns", "neighbour"),
            MAILBOX => Lane::new("groupware", "slow"),
            key if SLOW.contains(&key) => Lane::new("dns", "slow"),
            key => Lane::new("groupware", format!("tenant {key}")),
        }
    }
    fn time_limit(&self, key: &u32, usual: Duration) -> Duration {
        if *key == TAKES_LONG { Duration::from_secs(300) } else { usual }
    }
    fn ended(&self, key: &u32, ended: Ended, _: Duration) {
        self.0.lock().unwrap().push((*key, ended, Instant::now()));
    }
}

/// Runs a dispatcher with what `script` asks it for, until that ends.
async fn run<F: Future<Output = ()>>(script: impl FnOnce(Arc<Dispatcher<u32>>, Arc<Fake>) -> F) -> Arc<Fake> {
    let dispatcher = Arc::new(Dispatcher::new(BOUNDS, MINUTE));
    let work = Arc::new(Fake::default());
    let (stop, stopping) = watch::channel(false);
    let script = async {
        script(dispatcher.clone(), work.clone()).await;
        stop.send(true).unwrap();
    };
    futures::join!(dispatcher.run(work.clone(), Arc::new(SystemRandom), stopping), script);
    work
}

fn add(dispatcher: &Dispatcher<u32>, work: &Fake, keys: impl IntoIterator<Item = u32>) {
    dispatcher.add(keys.into_iter().map(|key| (key, Priority::Normal, work.lane(&key))));
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_hang_cost_one_object_one_pass() {
    let work = run(|dispatcher, work| async move {
        add(&dispatcher, &work, [PANICS, HANGS, COMES_AGAIN, SETTLES]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(work.0.lock().unwrap().len(), 3, "all but the one that hangs");
        assert_eq!(dispatcher.failing(), 1);
        tokio::time::sleep(Duration::from_secs(70)).await;
    })
    .await;
    assert!(work.of(HANGS).iter().any(|(ended, _)| *ended == Ended::TimedOut));
    let panics = work.of(PANICS);
    assert!(panics.len() >= 3 && panics.iter().all(|(e, _)| *e == Ended::Panicked), "with pauses: {panics:?}");
    assert_eq!(work.of(COMES_AGAIN).len(), 11, "every 7 s");
    assert_eq!(work.of(SETTLES).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_may_have_a_time_limit_of_its_own() {
    let work = run(|dispatcher, work| async move {
        add(&dispatcher, &work, [HANGS, TAKES_LONG]);
        tokio::time::sleep(Duration::from_secs(250)).await;
    })
    .await;
    assert!(work.of(HANGS).iter().any(|(ended, _)| *ended == Ended::TimedOut));
    assert_eq!(work.of(TAKES_LONG)[0].0, Ended::With(Next::Settled));
}

#[tokio::test(start_paused = true)]
async fn slow_dns_servers_of_one_tenant_delay_neither_a_neighbour_nor_its_own_mailboxes() {
    let began = Instant::now();
    let work = run(|dispatcher, work| async move {
        add(&dispatcher, &work, SLOW);
        tokio::time::sleep(Duration::from_secs(10)).await;
        add(&dispatcher, &work, [NEIGHBOUR, MAILBOX]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(dispatcher.depths(), [("dns".to_owned(), SLOW.len() - 4)].into());
    })
    .await;
    for key in [NEIGHBOUR, MAILBOX] {
        let ended = work.of(key);
        assert!(ended.len() == 1 && ended[0].1 < began + Duration::from_secs(11), "{key}: {ended:?}");
    }
}
