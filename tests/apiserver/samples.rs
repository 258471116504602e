//! `config/samples/`: what the documentation tells users to apply is accepted.

use crate::{call, cluster};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples").join(name)).unwrap()
}

/// What `envsubst` does.
fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let filled = values.iter().fold(text.to_string(), |t, (k, v)| t.replace(&format!("${{{k}}}"), v));
    assert!(!filled.contains("${"), "platform.env lacks a value: {filled}");
    filled
}

fn environment() -> BTreeMap<String, String> {
    read("platform.env")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect()
}

fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|d| serde_yaml::from_str(d).unwrap()).collect()
}

#[tokio::test]
async fn the_samples_are_accepted() {
    let cluster = cluster::shared().await;
    let client = cluster.client().await;
    let mut all = documents(&fill(&read("platform.yaml"), &environment()));
    all.extend(
        ["tenant.yaml", "tenant-manual.yaml", "dns-rfc2136.yaml"].iter().flat_map(|file| documents(&read(file))),
    );
    let mut kinds = BTreeMap::<String, usize>::new();
    for object in &all {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        *kinds.entry(kind.into()).or_default() += 1;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        // Only the namespaces are made: the rest needs them to be tried at all.
        let (at, dry) = match kind {
            "Namespace" => ("/api/v1/namespaces".into(), ""),
            "Secret" => (format!("/api/v1/namespaces/{namespace}/secrets"), "&dryRun=All"),
            _ => (crate::path(object, namespace), "&dryRun=All"),
        };
        let url = format!("{at}/{name}?fieldManager=samples&force=true&fieldValidation=Strict{dry}");
        if let Err(error) = call(&client, "PATCH", &url, "application/apply-patch+yaml", object).await {
            panic!("{kind} {name}: {error}");
        }
    }
    let count = |kind: &str| kinds.get(kind).copied().unwrap_or_default();
    for (kind, least) in [
        ("GroupwareBackend", 1),
        ("DNSBackend", 2),
        ("MailInstance", 1),
        ("MailDomain", 2),
        ("Mailbox", 3),
        ("MailAlias", 2),
    ] {
        assert_eq!(count(kind), least, "{kind}");
    }
}

/// Secrets in the samples are seen to be examples, and every name that is referred to is there.
#[test]
fn the_samples_hang_together() {
    let mut all = documents(&fill(&read("platform.yaml"), &environment()));
    all.extend(
        ["tenant.yaml", "tenant-manual.yaml", "dns-rfc2136.yaml"].iter().flat_map(|file| documents(&read(file))),
    );
    let has = |kind: &str, name: &Value| all.iter().any(|o| o["kind"] == kind && o["metadata"]["name"] == *name);
    for object in &all {
        let spec = &object["spec"];
        for (kind, reference) in [
            ("GroupwareBackend", &spec["backendRef"]["name"]),
            ("DNSBackend", &spec["dns"]["backendRef"]["name"]),
            ("MailInstance", &spec["instanceRef"]["name"]),
            ("MailDomain", &spec["domainRef"]["name"]),
            ("Secret", &spec["password"]["secretRef"]["name"]),
            ("Secret", &spec["sogo"]["database"]["credentialsSecretRef"]["name"]),
            ("Secret", &spec["sogo"]["doveadm"]["apiKeySecretRef"]["name"]),
            ("Secret", &spec["powerdns"]["apiKeySecretRef"]["name"]),
            ("Secret", &spec["rfc2136"]["tsig"]["secretRef"]["name"]),
        ] {
            assert!(reference.is_null() || has(kind, reference), "{kind} {reference}");
        }
        for target in spec["targets"].as_array().into_iter().flatten() {
            assert!(has("Mailbox", &target["mailboxRef"]["name"]), "{target}");
        }
        for (key, value) in object["stringData"].as_object().into_iter().flatten() {
            // The second is the first in base64.
            let example = |text: &str| text.starts_with("example-only-") || text.starts_with("ZXhhbXBsZS1vbmx5L");
            assert!(key == "username" || example(value.as_str().unwrap()), "{key}");
        }
    }
}
