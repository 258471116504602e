//! Waiting for CRDs.

use crate::fake::{Fake, Fate, seeded};
use mailtenant_runtime::crds::{self, Missing, Why};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn crd(plural: &str, version: &str, established: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.dev")},
        "spec": {"group": "example.dev", "scope": "Namespaced", "names": {"plural": plural, "kind": "Thing"},
            "versions": [{"name": version, "served": true, "storage": true}]},
        "status": {"conditions": [{"type": "Established", "status": established, "reason": "x", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })
}

#[tokio::test(start_paused = true)]
async fn waits_for_each_says_what_for_and_ends() {
    let fake = Fake::default();
    let told: Arc<Mutex<Vec<Vec<Missing>>>> = Arc::default();
    let telling = told.clone();
    let names = ["a.example.dev".to_string(), "b.example.dev".to_string()];
    let random = seeded(1);
    let start = Instant::now();
    let waiting = crds::wait(fake.client(|_, _| Fate::Done), &names, "v1", &*random, |missing| {
        telling.lock().unwrap().push(missing.to_vec());
    });
    let installing = async {
        sleep(Duration::from_secs(100)).await;
        fake.put(&format!("{PATH}/a.example.dev"), crd("a", "v1", "True"));
        fake.put(&format!("{PATH}/b.example.dev"), crd("b", "v0", "True"));
        sleep(Duration::from_secs(20)).await;
        fake.put(&format!("{PATH}/b.example.dev"), crd("b", "v1", "False"));
        sleep(Duration::from_secs(20)).await;
        fake.put(&format!("{PATH}/b.example.dev"), crd("b", "v1", "True"));
    };
    tokio::join!(waiting, installing);
    let missing = |name: &str, why| Missing { name: format!("{name}.example.dev"), why };
    assert_eq!(
        *told.lock().unwrap(),
        [
            vec![missing("a", Why::NotFound), missing("b", Why::NotFound)],
            vec![missing("b", Why::NotServed)],
            vec![missing("b", Why::NotEstablished)],
            vec![],
        ]
    );
    assert!(start.elapsed() < Duration::from_secs(153), "{:?}", start.elapsed());
    let looks = fake.log().len();
    assert!(looks < 60, "{looks} requests: it should slow down, and not ask again for what is there");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_or_hangs_is_said_and_outlived() {
    let fake = Fake::default();
    fake.put(&format!("{PATH}/a.example.dev"), crd("a", "v1", "True"));
    let mut n = 0;
    let client = fake.client(move |_, _| {
        n += 1;
        [Fate::Refused(403), Fate::Refused(500), Fate::Lost, Fate::Done][n - 1]
    });
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let telling = told.clone();
    let (names, random) = (["a.example.dev".to_string()], seeded(1));
    let waiting = crds::wait(client, &names, "v1", &*random, |missing| {
        telling.lock().unwrap().extend(missing.iter().map(ToString::to_string));
    });
    timeout(Duration::from_secs(60), waiting).await.unwrap();
    assert_eq!(
        *told.lock().unwrap(),
        [
            "a.example.dev may not be read by this service account",
            "a.example.dev could not be read, the apiserver did not answer as it should",
        ]
    );
}
