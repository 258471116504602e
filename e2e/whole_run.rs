//! What is asked of the whole run: libtest starts tests in the order of their names, this one's is the last, and it waits
//! until every other one has ended.

use crate::harness::audit;
use crate::harness::kubectl::{KINDS, Kubectl};
use crate::harness::world::{Platform, World, running};
use crate::harness::{eventually, secs};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[tokio::test]
async fn no_secret_left_the_operator_and_its_rights_are_enough() {
    let w = World::new("zz").await;
    // Also when run alone there are secrets of each kind, and errors about each.
    w.tenant(&["alice"]).await;
    w.k.put_secret("own", &[("password", "chosen-by-A-Person-1")]).await;
    let mut own = w.mailbox("own", "main");
    own["spec"]["password"] = json!({"secretRef": {"name": "own", "key": "password"}});
    w.k.apply(own).await;
    w.k.ready("Mailbox", "own", secs(60)).await;
    w.k.put_secret("own", &[("password", "")]).await;
    w.k.put_secret("junk", &[("hash", "this-is-No-Hash-at-all-2")]).await;
    let mut junk = w.mailbox("junk", "main");
    junk["spec"]["password"] = json!({"hashSecretRef": {"name": "junk", "key": "hash"}});
    w.k.apply(junk).await;
    w.k.condition("Mailbox", "junk", "Stalled", ("True", ""), secs(60)).await;

    // By its name it starts last. The longest of those that are still under way takes some minutes.
    eventually("the other tests have ended", secs(900), || async {
        match running() {
            0 | 1 => Ok(()),
            n => Err(format!("{} are under way", n - 1)),
        }
    })
    .await;
    for platform in [Some(w.platform), Platform::rough_is_up().then(Platform::rough)].into_iter().flatten() {
        check(platform).await;
        specs(platform);
        // The cluster of a user (KUBECONFIG) keeps no log here.
        if platform.stack.root.join("k8s/audit.log").exists() {
            let forbidden = audit::forbidden(platform.stack);
            assert!(forbidden.is_empty(), "config/rbac/ lacks rights: {forbidden:?}");
        }
    }
}

/// No spec was ever written by the operator: of no version of any object that was seen in this run, by the apiserver's
/// own account of who set which field. (The claim is its own kind.)
fn specs(platform: &Platform) {
    let text = std::fs::read_to_string(&platform.recorder.file).expect("objects");
    let mut looked = 0;
    for object in text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()) {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !KINDS.contains(&kind) || kind == "MailDomainClaim" {
            continue;
        }
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            // Its name as field manager, and kube's where a request says none.
            if entry["manager"].as_str().is_some_and(|m| m.starts_with("mailtenant")) {
                looked += 1;
                let fields = &entry["fieldsV1"];
                assert!(fields["f:spec"].is_null(), "{kind}/{}: {entry}", object["metadata"]["name"]);
                let meta = fields["f:metadata"].as_object().cloned().unwrap_or_default();
                assert!(meta.keys().all(|k| k == "f:finalizers"), "{kind}/{}: {entry}", object["metadata"]["name"]);
            }
        }
    }
    assert!(looked > 10, "nothing of the operator's was seen: {looked}");
}

async fn check(platform: &Platform) {
    let sql = crate::harness::sql::Sql::connect(platform.stack).await;
    let mut secrets = platform.recorder.secrets();
    // Hashes and keys never were in a Secret: the database has seen them all.
    secrets.extend(
        sql.column("SELECT DISTINCT COALESCE(new, old)->>'password' FROM e2e.audit WHERE tbl = 'mailbox'").await,
    );
    for pem in sql.column("SELECT DISTINCT COALESCE(new, old)->>'private_key' FROM e2e.audit WHERE tbl = 'dkim'").await
    {
        secrets.extend(pem.lines().filter(|l| !l.starts_with("-----")).map(str::to_string));
    }
    secrets.retain(|s| s.len() >= 8);
    assert!(secrets.len() >= 8, "hardly any secret was used: {}", secrets.len());

    let mut places = BTreeMap::new();
    let read = |path: &std::path::Path| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
    places.insert("the operator's log", read(&platform.operator.log).expect("a log"));
    places.insert("objects and events", read(&platform.recorder.file).expect("objects"));
    places.insert("metrics", platform.operator.page("/metrics").await.expect("metrics").1);
    for file in ["cmdline", "environ"] {
        let path = format!("/proc/{}/{file}", platform.operator.pid());
        places.insert(
            if file == "cmdline" { "process arguments" } else { "environment" },
            read(path.as_ref()).expect("/proc"),
        );
    }
    let k = Kubectl::admin(platform.stack, "default").await;
    let events = k.everywhere("Event").list(&Default::default()).await.expect("events");
    places.insert("events now", serde_json::to_string(&events.items).expect("JSON"));
    for (place, text) in &places {
        assert!(!text.is_empty(), "{place} is empty: nothing was looked at");
        // Which secret it was must not get into CI's log either.
        if let Some(length) = leaked(text, &secrets) {
            panic!("{place} has a secret of {length} characters");
        }
    }
}

/// The length of a secret that stands in a text. One pass over the text for all of them: thousands of secrets, each looked
/// for in tens of megabytes, took two minutes.
fn leaked(text: &str, secrets: &BTreeSet<String>) -> Option<usize> {
    let start = |b: &[u8]| usize::from(b[0]) << 16 | usize::from(b[1]) << 8 | usize::from(b[2]);
    let mut begins = vec![false; 1 << 24];
    let mut by_start = BTreeMap::<usize, Vec<&[u8]>>::new();
    for secret in secrets.iter().map(String::as_bytes) {
        begins[start(secret)] = true;
        by_start.entry(start(secret)).or_default().push(secret);
    }
    let text = text.as_bytes();
    let hit = |at: usize| {
        let all = by_start.get(&start(&text[at..]))?;
        all.iter().find(|s| text[at..].starts_with(s)).map(|s| s.len())
    };
    (0..text.len().saturating_sub(2)).filter(|at| begins[start(&text[*at..])]).find_map(hit)
}

#[test]
fn a_leak_is_seen() {
    let secrets = BTreeSet::from(["secret-one".to_string(), "secret-other".into()]);
    assert_eq!(leaked("nothing of secret-on or ecret-one", &secrets), None);
    assert_eq!(leaked("a secret-secret-other", &secrets), Some(12));
    assert_eq!(leaked("secret-one", &secrets), Some(10));
}
