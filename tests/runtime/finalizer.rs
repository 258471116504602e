//! Finalizers are written by compare-and-set: nobody else's is lost, and no other object of the name gets or loses ours.

use crate::fake::{Fake, Fate};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use mailtenant_runtime::finalizer::{add, remove};
use serde_json::{Value, json};

const PATH: &str = "/api/v1/namespaces/default/configmaps/a";
const OURS: &str = "example.com/ours";

fn server(finalizers: &[&str]) -> (Fake, Api<ConfigMap>) {
    let fake = Fake::default();
    fake.put(PATH, json!({"metadata": {"name": "a", "namespace": "default", "uid": "1", "finalizers": finalizers}}));
    let api = Api::namespaced(fake.client(|_, _| Fate::Done), "default");
    (fake, api)
}

fn finalizers(fake: &Fake) -> Value {
    fake.get(PATH).map(|o| o["metadata"]["finalizers"].clone()).unwrap_or_default()
}

fn is_conflict<T>(result: Result<T, kube::Error>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 409)
}

#[tokio::test]
async fn it_is_put_on_beside_others_and_taken_off_alone() {
    let (fake, api) = server(&["example.com/theirs"]);
    let with = add(&api, &api.get("a").await.unwrap(), OURS, "test").await.unwrap().unwrap();
    assert_eq!(finalizers(&fake), json!(["example.com/theirs", OURS]));
    assert!(add(&api, &with, OURS, "test").await.unwrap().is_none(), "it is there: nothing is written");
    let without = remove(&api, &with, OURS, "test").await.unwrap().unwrap();
    assert_eq!(finalizers(&fake), json!(["example.com/theirs"]));
    assert!(remove(&api, &without, OURS, "test").await.unwrap().is_none(), "it is gone: nothing is written");
    assert_eq!(fake.log().iter().filter(|(method, ..)| method == "PATCH").count(), 2);
}

#[tokio::test]
async fn a_finalizer_that_another_put_on_meanwhile_is_not_lost() {
    for ours in [false, true] {
        let before: &[&str] = if ours { &[OURS] } else { &[] };
        let (fake, api) = server(before);
        let read = api.get("a").await.unwrap();
        fake.edit(PATH, |o| o["metadata"]["finalizers"].as_array_mut().unwrap().push(json!("example.com/theirs")));
        let result = match ours {
            true => remove(&api, &read, OURS, "test").await,
            false => add(&api, &read, OURS, "test").await,
        };
        assert!(is_conflict(result));
        assert!(finalizers(&fake).as_array().unwrap().contains(&json!("example.com/theirs")));
    }
}

#[tokio::test]
async fn another_object_of_the_name_keeps_what_it_has() {
    let (fake, api) = server(&[OURS]);
    let mut read = api.get("a").await.unwrap();
    fake.edit(PATH, |o| o["metadata"]["uid"] = json!("2"));
    // However the version came to be the same.
    read.metadata.resource_version =
        fake.get(PATH).unwrap()["metadata"]["resourceVersion"].as_str().map(str::to_string);
    assert!(is_conflict(remove(&api, &read, OURS, "test").await));
    assert_eq!(finalizers(&fake), json!([OURS]));
    fake.delete(PATH);
    assert!(remove(&api, &read, OURS, "test").await.unwrap().is_none(), "one that is gone has none");
}
