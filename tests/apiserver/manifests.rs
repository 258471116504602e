//! `manifests/good.yaml`, `bad.yaml` and `updates.yaml` against the apiserver.

use crate::{apply, cluster, create};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One document with the words of its leading comments.
struct Case {
    case: String,
    expect: Option<String>,
    then: Option<String>,
    object: Value,
}

fn cases(text: &str) -> Vec<Case> {
    text.split("\n---\n")
        .skip(1)
        .map(|document| {
            let word = |key: &str| {
                let key = format!("# {key}");
                document.lines().find_map(|line| line.strip_prefix(&key)).map(|rest| rest.trim().to_string())
            };
            Case {
                case: word("case: ").unwrap_or_default(),
                expect: word("expect: "),
                then: word("then "),
                object: serde_yaml::from_str(document).unwrap_or_else(|e| panic!("{document}\n{e}")),
            }
        })
        .collect()
}

fn fail_with(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn good_manifests_are_accepted() {
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("good").await);
    let cases = cases(include_str!("manifests/good.yaml"));
    assert!(cases.len() >= 30, "{} cases", cases.len());
    let mut failures = vec![];
    for case in &cases {
        if let Err(error) = create(&client, &namespace, &case.object, true).await {
            failures.push(format!("{} ({}): {error}", case.case, case.object["kind"]));
        }
    }
    fail_with(failures);
}

/// Each bad manifest is refused with the words that help, and no rule of the CRDs is left that nothing has tried.
#[tokio::test]
async fn bad_manifests_are_refused_with_what_is_allowed() {
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("bad").await);
    let cases = cases(include_str!("manifests/bad.yaml"));
    assert!(cases.len() >= 80, "{} cases", cases.len());
    let (mut failures, mut answers) = (vec![], vec![]);
    for case in &cases {
        let expect = case.expect.as_deref().unwrap_or_else(|| panic!("{}: no expect", case.case));
        match create(&client, &namespace, &case.object, true).await {
            Ok(_) => failures.push(format!("{} ({}): accepted", case.case, case.object["kind"])),
            Err(answer) if answer.contains(expect) => answers.push((case.object["kind"].clone(), answer)),
            Err(answer) => failures.push(format!("{} ({}): {answer}", case.case, case.object["kind"])),
        }
    }
    for (kind, message, transition) in rules() {
        if !transition && !answers.iter().any(|(k, answer)| *k == kind && answer.contains(&message)) {
            // The same rule stands at fields of several kinds; once seen at work, it is.
            if !answers.iter().any(|(_, answer)| answer.contains(&message)) {
                failures.push(format!("no bad {kind} was refused with {message:?}"));
            }
        }
    }
    fail_with(failures);
}

/// The largest objects: within the bounds the rules have the budget that the apiserver gives them, one more is refused.
#[tokio::test]
async fn the_largest_objects_are_accepted_and_one_more_is_refused() {
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("bounds").await);
    let alias = |targets: Vec<Value>| {
        json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": "MailAlias", "metadata": {"name": "x"},
            "spec": {"domainRef": {"name": "acme"}, "localPart": "info", "targets": targets}})
    };
    let label = "a".repeat(63);
    let address = |i: usize| json!({"address": format!("a{label}@{label}.{label}.t{i:03}{}", "a".repeat(57))});
    assert_eq!(address(0)["address"].as_str().unwrap().len(), 254);
    let mailbox = |i: usize| json!({"mailboxRef": {"name": format!("{}{i:03}", "a".repeat(250))}});
    for targets in [(0..500).map(address).collect(), (0..500).map(mailbox).collect::<Vec<_>>()] {
        create(&client, &namespace, &alias(targets), true).await.unwrap();
    }
    let refused = create(&client, &namespace, &alias((0..501).map(mailbox).collect()), true).await.unwrap_err();
    assert!(refused.contains("must have at most 500 items"), "{refused}");

    let mailbox = |message: &str| {
        json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": "Mailbox", "metadata": {"name": "x"},
            "spec": {"domainRef": {"name": "acme"}, "localPart": "a", "autoReply": {"subject": "s", "message": message}}})
    };
    create(&client, &namespace, &mailbox(&"a".repeat(10_000)), true).await.unwrap();
    let refused = create(&client, &namespace, &mailbox(&"a".repeat(10_001)), true).await.unwrap_err();
    assert!(refused.contains("may not be more than 10000 bytes"), "{refused}");

    let names: Vec<String> = (0..128).map(|i| format!("{}{i:03}", "a".repeat(60))).collect();
    let zones = |count: usize| {
        let zone = |i: usize| {
            json!({"name": format!("{label}.{label}.{label}.z{i:03}{}", "a".repeat(57)),
                "allowedNamespaces": {"from": "Names", "names": names}})
        };
        json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": "DNSBackend", "metadata": {"name": "x"},
            "spec": {"allowedNamespaces": {"from": "All"}, "zones": (0..count).map(zone).collect::<Vec<_>>(),
                "powerdns": {"url": "http://pdns:8081", "apiKeySecretRef": {"name": "p", "key": "k"}}}})
    };
    create(&client, &namespace, &zones(256), true).await.unwrap();
    let refused = create(&client, &namespace, &zones(257), true).await.unwrap_err();
    assert!(refused.contains("must have at most 256 items"), "{refused}");
}

#[tokio::test]
async fn changes_are_accepted_or_refused() {
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("updates").await);
    let cases = cases(include_str!("manifests/updates.yaml"));
    let (mut failures, mut answers) = (vec![], String::new());
    for (index, pair) in cases.chunks(2).enumerate() {
        let [old, new] = pair else { panic!("a case without its change") };
        let (mut before, mut after) = (old.object.clone(), new.object.clone());
        let name = format!("case-{index}.{namespace}");
        before["metadata"]["name"] = name.clone().into();
        after["metadata"]["name"] = name.into();
        if let Err(error) = apply(&client, &namespace, &before).await {
            failures.push(format!("{}: {error}", old.case));
            continue;
        }
        let verdict = new.then.as_deref().unwrap_or_else(|| panic!("{}: no verdict", old.case));
        match (apply(&client, &namespace, &after).await, verdict.strip_prefix("refused: ")) {
            (Ok(_), None) => {}
            (Err(answer), Some(expect)) if answer.contains(expect) => answers += &answer,
            (result, _) => failures.push(format!("{}: {verdict}, but {result:?}", old.case)),
        }
    }
    for (kind, message, transition) in rules() {
        if transition && !answers.contains(&message) {
            failures.push(format!("no change of a {kind} was refused with {message:?}"));
        }
    }
    fail_with(failures);
}

/// Kind, message and whether it compares with the old object, of each rule in the CRDs.
fn rules() -> BTreeSet<(String, String, bool)> {
    fn walk(kind: &str, schema: &Value, out: &mut BTreeSet<(String, String, bool)>) {
        match schema {
            Value::Object(map) => {
                for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                    let text = |key: &str| rule[key].as_str().unwrap_or_default().to_string();
                    assert!(!text("message").is_empty(), "a rule of {kind} without a message: {rule}");
                    out.insert((kind.into(), text("message"), text("rule").contains("oldSelf")));
                }
                map.values().for_each(|v| walk(kind, v, out));
            }
            Value::Array(list) => list.iter().for_each(|v| walk(kind, v, out)),
            _ => {}
        }
    }
    let mut out = BTreeSet::new();
    for crd in mailtenant_api::crds::all() {
        walk(crd["spec"]["names"]["kind"].as_str().unwrap_or_default(), &crd, &mut out);
    }
    out
}
