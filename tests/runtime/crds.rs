//! Waiting for CRDs.

use crate::fake::{Fake, Fate, seeded};
use mailtenant_runtime::crds::{self, Missing, Wanted, Why};
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

/// The same with a schema of these fields.
fn with_fields(plural: &str, fields: &[&str]) -> Value {
    let mut crd = crd(plural, "v1", "True");
    let fields: serde_json::Map<String, Value> =
        fields.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
    crd["metadata"]["uid"] = "1".into();
    crd["metadata"]["generation"] = fields.len().into();
    crd["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": {"type": "object", "properties": fields}});
    crd
}

fn wanted(plural: &str) -> Wanted {
    Wanted::new(&crd(plural, "v1", "True"), "v1")
}

#[tokio::test(start_paused = true)]
async fn waits_for_each_says_what_for_and_ends() {
    let fake = Fake::default();
    let told: Arc<Mutex<Vec<Vec<Missing>>>> = Arc::default();
    let telling = told.clone();
    let names = [wanted("a"), wanted("b")];
    let random = seeded(1);
    let start = Instant::now();
    let waiting = crds::wait(fake.client(|_, _| Fate::Done), &names, &*random, |missing| {
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
    let (names, random) = ([wanted("a")], seeded(1));
    let waiting = crds::wait(client, &names, &*random, |missing| {
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

#[tokio::test(start_paused = true)]
async fn one_that_lacks_a_field_is_waited_for() {
    let fake = Fake::default();
    fake.put(&format!("{PATH}/a.example.dev"), with_fields("a", &["old"]));
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let telling = told.clone();
    let (names, random) = ([Wanted::new(&with_fields("a", &["new", "old"]), "v1")], seeded(1));
    let waiting = crds::wait(fake.client(|_, _| Fate::Done), &names, &*random, |missing| {
        telling.lock().unwrap().push(missing.iter().map(ToString::to_string).collect());
    });
    let upgrade = async {
        sleep(Duration::from_secs(100)).await;
        assert_eq!(told.lock().unwrap().len(), 1, "it goes on with a field that the apiserver drops");
        fake.put(&format!("{PATH}/a.example.dev"), with_fields("a", &["new", "old"]));
    };
    tokio::join!(waiting, upgrade);
    let lacks = "a.example.dev is not that of this release, it lacks or refuses new: nothing is done until the CRDs of this \
                 release are applied";
    assert_eq!(*told.lock().unwrap(), [lacks, ""]);
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_it_is_used_is_said_and_what_cannot_be_used_ends_it() {
    let fake = Fake::default();
    let put = |fields: &[&str]| fake.put(&format!("{PATH}/a.example.dev"), with_fields("a", fields));
    put(&["old"]);
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let telling = told.clone();
    let (names, random) = ([Wanted::new(&with_fields("a", &["old"]), "v1")], seeded(1));
    let refuse = Arc::new(Mutex::new(false));
    let refusing = refuse.clone();
    let client = fake.client(move |_, _| if *refusing.lock().unwrap() { Fate::Refused(503) } else { Fate::Done });
    let watching = crds::watch(client, &names, &*random, |different| {
        telling.lock().unwrap().push(different.iter().map(|d| d.difference.more.join(",")).collect());
    });
    let changes = async {
        sleep(Duration::from_secs(600)).await;
        let quiet = fake.log().len();
        assert!(quiet < 16, "{quiet} requests in ten minutes");
        put(&["later", "old"]);
        sleep(Duration::from_secs(100)).await;
        assert_eq!(*told.lock().unwrap(), ["later"]);
        put(&["old"]);
        sleep(Duration::from_secs(100)).await;
        assert_eq!(*told.lock().unwrap(), ["later", ""]);
        // An apiserver that is away proves nothing.
        *refuse.lock().unwrap() = true;
        sleep(Duration::from_secs(300)).await;
        *refuse.lock().unwrap() = false;
        sleep(Duration::from_secs(100)).await;
        put(&[]);
        sleep(Duration::from_secs(100)).await;
    };
    let (missing, ()) = timeout(Duration::from_secs(2000), async { tokio::join!(watching, changes) }).await.unwrap();
    assert!(matches!(missing.why, Why::Unfit(_)), "{missing}");
}
