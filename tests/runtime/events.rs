//! Events: bounded, not repeated, never in the way.

use crate::fake::{Fake, Fate, clock, seeded};
use http::Method;
use k8s_openapi::api::core::v1::ObjectReference;
use mailtenant_runtime::events::{self, EventType, Events, Publisher, QUEUE, REMEMBERED, REPEAT_AFTER};
use mailtenant_runtime::metrics::Metrics;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const PATH: &str = "/apis/events.k8s.io/v1/namespaces/tenant/events";

fn about(uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("example.dev/v1".into()),
        kind: Some("Thing".into()),
        name: Some("alice".into()),
        namespace: Some("tenant".into()),
        uid: Some(uid.into()),
        ..ObjectReference::default()
    }
}

fn setup(fake: &Fake, judge: impl FnMut(&Method, &str) -> Fate + Send + 'static) -> (Events, Publisher, Metrics) {
    let metrics = Metrics::new("demo");
    let (events, publisher) =
        events::new(fake.client(judge), "example.dev/op", "host_1", clock(0), seeded(7), metrics.clone());
    (events, publisher, metrics)
}

fn say(events: &Events, uid: &str, note: &str) {
    events.publish(about(uid), EventType::Warning, "BackendUnreachable", "Reconcile", note.into());
}

#[tokio::test(start_paused = true)]
async fn an_event_is_published_as_the_api_wants_it() {
    let fake = Fake::default();
    let (events, publisher, _) = setup(&fake, |_, _| Fate::Done);
    say(&events, "1", "no answer");
    events.close();
    publisher.run().await;
    let event = &fake.under(PATH)[0];
    assert_eq!(event["note"], "no answer");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reason"], "BackendUnreachable");
    assert_eq!(event["action"], "Reconcile");
    assert_eq!(event["reportingController"], "example.dev/op");
    assert_eq!(event["reportingInstance"], "host_1");
    assert_eq!(event["regarding"]["uid"], "1");
    assert!(event["eventTime"].as_str().is_some_and(|time| time.ends_with("000Z")), "{event}");
    let name = event["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("alice.") && name.len() == 22, "{name}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_scoped_object_has_its_events_in_default() {
    let fake = Fake::default();
    let (events, publisher, _) = setup(&fake, |_, _| Fate::Done);
    let regarding = ObjectReference { namespace: None, name: Some("x".repeat(199) + "-.y"), ..about("1") };
    events.publish(regarding, EventType::Normal, "Ready", "Reconcile", String::new());
    events.close();
    publisher.run().await;
    let event = &fake.under("/apis/events.k8s.io/v1/namespaces/default/events")[0];
    assert!(event["metadata"]["name"].as_str().unwrap().starts_with(&format!("{}.", "x".repeat(199))), "{event}");
}

#[tokio::test(start_paused = true)]
async fn the_same_is_not_said_twice_and_a_changed_note_is_another_event() {
    let fake = Fake::default();
    let (events, publisher, _) = setup(&fake, |_, _| Fate::Done);
    for _ in 0..50 {
        say(&events, "1", "one");
        say(&events, "1", "two");
        say(&events, "2", "one");
    }
    sleep(REPEAT_AFTER - Duration::from_secs(1)).await;
    say(&events, "1", "one");
    sleep(Duration::from_secs(2)).await;
    // The state is back after a while: told again.
    say(&events, "1", "one");
    events.close();
    publisher.run().await;
    assert_eq!(fake.under(PATH).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn notes_are_cut_between_characters() {
    let fake = Fake::default();
    let (events, publisher, _) = setup(&fake, |_, _| Fate::Done);
    say(&events, "1", &format!("x{}", "ü".repeat(1000)));
    events.close();
    publisher.run().await;
    let note = fake.under(PATH)[0]["note"].as_str().unwrap().to_string();
    assert_eq!(note, format!("x{}", "ü".repeat(511)));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_dropped_counted_and_may_come_again() {
    let fake = Fake::default();
    let (events, publisher, metrics) = setup(&fake, |_, _| Fate::Done);
    for n in 0..QUEUE + 10 {
        say(&events, &n.to_string(), "one");
    }
    assert!(metrics.text().unwrap().contains("demo_events_dropped_total 10\n"));
    let again = events.clone();
    let drained = tokio::join!(publisher.run(), async move {
        sleep(Duration::from_secs(1)).await;
        // Said now, where there is room; the first one is not repeated.
        say(&again, &(QUEUE + 9).to_string(), "one");
        say(&again, "0", "one");
        again.close();
        say(&again, "late", "one");
    });
    assert_eq!(drained, ((), ()));
    assert_eq!(fake.under(PATH).len(), QUEUE + 1);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_remembered() {
    let fake = Fake::default();
    let (events, publisher, _) = setup(&fake, |_, _| Fate::Done);
    let giving = async {
        for n in 0..=REMEMBERED {
            say(&events, &n.to_string(), "one");
            tokio::task::yield_now().await;
            if n % 500 == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        }
        sleep(Duration::from_millis(10)).await;
        say(&events, &REMEMBERED.to_string(), "one");
        say(&events, "0", "one");
        events.close();
    };
    tokio::join!(publisher.run(), giving);
    assert_eq!(fake.under(PATH).len(), REMEMBERED + 2, "the oldest was forgotten, the newest not");
}

#[tokio::test(start_paused = true)]
async fn failures_cost_their_event_and_at_most_5_s() {
    let fake = Fake::default();
    let mut n = 0;
    let (events, publisher, _) = setup(&fake, move |_, _| {
        n += 1;
        [Fate::Lost, Fate::Refused(403), Fate::Refused(404), Fate::Refused(500), Fate::Done][n - 1]
    });
    for n in 0..5 {
        say(&events, &n.to_string(), "one");
    }
    events.close();
    let start = Instant::now();
    publisher.run().await;
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(fake.under(PATH).len(), 1);
}
