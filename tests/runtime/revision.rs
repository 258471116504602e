//! A server that was restored to an earlier state is noticed without a Lease.

use crate::fake::{Fake, Fate, seeded};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use mailtenant_runtime::revision::{Restored, watch};
use serde_json::json;
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_lower_version_of_the_storage_is_seen_within_40_s_and_failures_say_nothing() {
    let fake = Fake::default();
    let change = |fake: &Fake| fake.put("/api/v1/namespaces/a", json!({"metadata": {"name": "a"}}));
    change(&fake);
    let backup = fake.clone_state();
    let mut n = 0;
    let client = fake.client(move |_, _| {
        n += 1;
        if n % 3 == 0 { Fate::Refused(500) } else { Fate::Done }
    });
    let random = seeded(1);
    let mut watching = Box::pin(watch::<Namespace>(Api::all(client), &*random));
    for _ in 0..20 {
        assert!(timeout(Duration::from_secs(50), &mut watching).await.is_err(), "nothing was restored");
        change(&fake);
    }
    fake.restore(backup);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(timeout(Duration::from_secs(80), watching).await, Ok(Restored), "two looks, one of which may fail");
    let looks = fake.log().len();
    assert!((30..45).contains(&looks), "one request per look: {looks}");
}
