//! What the apiserver makes of the kinds: defaults, columns, names, selectors.

use crate::{call, cluster, create, path};
use serde_json::{Value, json};

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The least that each kind can be written with.
pub fn least(kind: &str, name: &str) -> Value {
    let spec = match kind {
        "MailInstance" => json!({"backendRef": {"name": "berlin"}, "storage": "100Gi"}),
        "MailDomain" => json!({"instanceRef": {"name": "acme"}, "domain": "acme.example",
            "dns": {"mode": "Managed", "backendRef": {"name": "pdns"}}}),
        "Mailbox" => json!({"domainRef": {"name": "acme-example"}, "localPart": "alice"}),
        "MailAlias" => json!({"domainRef": {"name": "acme-example"}, "localPart": "info",
            "targets": [{"mailboxRef": {"name": "alice"}}]}),
        "GroupwareBackend" => json!({"allowedNamespaces": {"from": "All"}, "hosts": {
                "mx": [{"host": "mx1.mail.example.net"}], "imap": {"host": "imap.mail.example.net", "port": 993}},
            "delivery": {"address": "127.0.0.1"},
            "sogo": {"database": {"host": "db", "name": "mail", "credentialsSecretRef": {"name": "db"}},
                "doveadm": {"url": "https://dovecot:8080/doveadm/v1", "apiKeySecretRef": {"name": "d", "key": "k"}}}}),
        "DNSBackend" => json!({"allowedNamespaces": {"from": "All"}, "zones": [{"name": "example.org"}],
            "powerdns": {"url": "http://pdns:8081", "apiKeySecretRef": {"name": "pdns", "key": "k"}}}),
        other => panic!("{other}"),
    };
    object(kind, name, spec)
}

pub const WITH_STATUS: [&str; 6] =
    ["MailInstance", "MailDomain", "Mailbox", "MailAlias", "GroupwareBackend", "DNSBackend"];

/// Everything of `part` stands in `whole`.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(k, v)| whole.get(k).is_some_and(|w| holds(w, v)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(w, p)| holds(w, p))
        }
        _ => whole == part,
    }
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("defaults").await);
    let expected = [
        (
            "MailInstance",
            json!({"storagePolicy": "Allocate", "deletionPolicy": "Retain", "managementPolicy": "Full",
            "adoptionPolicy": "Never", "externalForwarding": "Deny", "addressBook": "Instance"}),
        ),
        (
            "MailDomain",
            json!({"dns": {"conflictPolicy": "Refuse", "ttl": 3600, "spf": {"all": "Fail"},
                "dmarc": {"policy": "Quarantine"}, "mtaSts": {"mode": "None"}, "clientDiscovery": true,
                "onDelete": "RestorePrevious"},
            "dkim": {"algorithms": ["RSA2048", "Ed25519"], "rotateEvery": "365d"},
            "cutover": {"mode": "Auto", "approved": false}, "deletionPolicy": "Delete", "managementPolicy": "Full",
            "adoptionPolicy": "Never"}),
        ),
        (
            "Mailbox",
            json!({"password": {"management": "OnChange"}, "suspend": "None",
            "access": {"imap": true, "pop3": true, "submission": true, "sieve": true, "groupware": true},
            "managementPolicy": "Full", "adoptionPolicy": "Never"}),
        ),
        ("MailAlias", json!({"deletionPolicy": "Delete", "managementPolicy": "Full", "adoptionPolicy": "Never"})),
        (
            "GroupwareBackend",
            json!({"hosts": {"mx": [{"preference": 10}], "imap": {"security": "TLS"}},
            "delivery": {"port": 25}, "limits": {"requestsPerSecond": 100, "concurrency": 16},
            "resync": {"interval": "15m"}, "massLoss": {"percent": 20, "minimum": 10},
            "sogo": {"schema": "Managed", "database": {"port": 5432, "tls": "VerifyFull"}}}),
        ),
        ("DNSBackend", json!({"powerdns": {"serverId": "localhost"}})),
    ];
    for (kind, spec) in expected {
        let made = create(&client, &namespace, &least(kind, "x"), true).await.unwrap();
        assert!(holds(&made["spec"], &spec), "{kind}: {:#}", made["spec"]);
        assert_eq!(made["status"], json!({"observedGeneration": -1}), "{kind}");
    }
    // What is inherited, follows from another field, or has no default stays open.
    for (kind, fields) in [
        ("Mailbox", &["quota", "deletionPolicy", "credentialsSecret", "forwarding", "autoReply", "displayName"][..]),
        ("MailAlias", &["sendAs"]),
        ("MailInstance", &["limits", "defaultMailboxQuota", "contact"]),
        ("MailDomain", &["aliasOf"]),
    ] {
        let made = create(&client, &namespace, &least(kind, "x"), true).await.unwrap();
        for field in fields {
            assert!(made["spec"].get(field).is_none(), "{kind}.{field}: {:#}", made["spec"]);
        }
    }
    // A source that was defaulted would collide with the one that a later apply names.
    let made = create(&client, &namespace, &least("Mailbox", "x"), true).await.unwrap();
    assert!(made["spec"]["password"].get("generate").is_none());
    let mut generated = least("Mailbox", "x");
    generated["spec"]["password"] = json!({"generate": {}});
    let made = create(&client, &namespace, &generated, true).await.unwrap();
    assert_eq!(made["spec"]["password"]["generate"], json!({"length": 24}));
}

#[tokio::test]
async fn nulls_of_spf_and_dmarc_stay_and_others_go() {
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("nulls").await);
    let mut domain = least("MailDomain", "x");
    domain["spec"]["dns"]["spf"] = Value::Null;
    domain["spec"]["dns"]["dmarc"] = Value::Null;
    domain["spec"]["dns"]["ttl"] = Value::Null;
    domain["spec"]["aliasOf"] = Value::Null;
    let made = create(&client, &namespace, &domain, true).await.unwrap();
    for field in ["spf", "dmarc"] {
        assert_eq!(made["spec"]["dns"].get(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(made["spec"]["dns"]["ttl"], 3600);
    assert!(made["spec"].get("aliasOf").is_none());
    let typed: mailtenant_api::MailDomain = serde_json::from_value(made).unwrap();
    assert_eq!((typed.spec.dns.spf, typed.spec.dns.dmarc), (None, None));
}

/// What the apiserver stores is what the types read and write: nothing is lost on the way through them.
#[tokio::test]
async fn types_read_what_the_apiserver_gives() {
    fn through<T: serde::de::DeserializeOwned + serde::Serialize>(value: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(value.clone()).unwrap()).unwrap()
    }
    use mailtenant_api::*;
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("types").await);
    let good = include_str!("manifests/good.yaml");
    for document in good.split("\n---\n").skip(1) {
        let object: Value = serde_yaml::from_str(document).unwrap();
        let made = create(&client, &namespace, &object, true).await.unwrap();
        let kind = object["kind"].as_str().unwrap();
        let again = match kind {
            "MailInstance" => through::<MailInstance>(&made),
            "MailDomain" => through::<MailDomain>(&made),
            "Mailbox" => through::<Mailbox>(&made),
            "MailAlias" => through::<MailAlias>(&made),
            "GroupwareBackend" => through::<GroupwareBackend>(&made),
            "DNSBackend" => through::<DNSBackend>(&made),
            "MailDomainClaim" => through::<MailDomainClaim>(&made),
            other => panic!("{other}"),
        };
        // A number of bytes is written as text by the types; the operator never writes a spec.
        if kind != "MailInstance" {
            assert_eq!(again["spec"], made["spec"], "{document}");
        }
    }
}

#[tokio::test]
async fn columns_answer_ready_why_and_whose() {
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("columns").await);
    let condition = |reason: &str| {
        json!([{"type": "Ready", "status": "False", "reason": reason, "message": "m", "observedGeneration": 1,
            "lastTransitionTime": "2026-11-01T00:00:00Z"}])
    };
    let wanted: [(&str, Value, &[&str], &[&str]); 6] = [
        (
            "MailInstance",
            json!({"instanceId": "acme-7f3a", "usage": {"domains": 1, "mailboxes": 2, "aliases": 3, "storageUsed": "1Gi"}}),
            &["Name", "Ready", "Reason", "Instance", "Backend", "Used", "Storage", "Mailboxes", "Age"],
            &["False", "BackendUnreachable", "acme-7f3a", "berlin", "1Gi", "100Gi", "2"],
        ),
        (
            "MailDomain",
            json!({"state": "Pending"}),
            &["Name", "Ready", "Reason", "State", "Domain", "Instance", "Age"],
            &["False", "BackendUnreachable", "Pending", "acme.example", "acme"],
        ),
        (
            "Mailbox",
            json!({"address": "alice@acme.example", "usedStorage": "120Mi", "quota": "5Gi"}),
            &["Name", "Ready", "Reason", "Address", "Domain", "Used", "Quota", "Age"],
            &["False", "BackendUnreachable", "alice@acme.example", "acme-example", "120Mi", "5Gi"],
        ),
        (
            "MailAlias",
            json!({"address": "info@acme.example"}),
            &["Name", "Ready", "Reason", "Address", "Domain", "Age"],
            &["False", "BackendUnreachable", "info@acme.example", "acme-example"],
        ),
        (
            "GroupwareBackend",
            json!({"provider": "sogo", "version": "5.8.0"}),
            &["Name", "Ready", "Reason", "Provider", "Version", "Age"],
            &["False", "BackendUnreachable", "sogo", "5.8.0"],
        ),
        (
            "DNSBackend",
            json!({"provider": "powerdns", "version": "4.7.3"}),
            &["Name", "Ready", "Reason", "Provider", "Version", "Age"],
            &["False", "BackendUnreachable", "powerdns", "4.7.3"],
        ),
    ];
    for (kind, status, columns, cells) in wanted {
        let name = format!("x.{namespace}");
        let object = least(kind, &name);
        create(&client, &namespace, &object, false).await.unwrap();
        let at = format!("{}/{name}", path(&object, &namespace));
        let mut status = status;
        status["conditions"] = condition("BackendUnreachable");
        status["observedGeneration"] = 1.into();
        let patch = format!("{at}/status?fieldValidation=Strict");
        call(&client, "PATCH", &patch, "application/merge-patch+json", &json!({"status": status})).await.unwrap();
        let request = http::Request::get(&at)
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(vec![])
            .unwrap();
        let table: Value = client.request(request).await.unwrap();
        let names: Vec<&str> =
            table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, columns, "{kind}");
        let row = table["rows"][0]["cells"].as_array().unwrap();
        let row: Vec<String> =
            row[1..row.len() - 1].iter().map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_string)).collect();
        assert_eq!(row, cells, "{kind}");
        call(&client, "DELETE", &at, "application/json", &Value::Null).await.unwrap();
    }
}

/// Every field of a status may be missing: an operator of another version can write what it knows.
#[tokio::test]
async fn an_empty_status_is_accepted_and_conditions_are_keyed_by_type() {
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("status").await);
    let condition = json!({"type": "Ready", "status": "True", "reason": "Succeeded", "message": "",
        "lastTransitionTime": "2026-11-01T00:00:00Z"});
    for kind in WITH_STATUS {
        let name = format!("x.{namespace}");
        let object = least(kind, &name);
        create(&client, &namespace, &object, false).await.unwrap();
        let at = format!("{}/{name}", path(&object, &namespace));
        let put = format!("{at}/status?fieldManager=t&force=true");
        let with = |status: Value| json!({"apiVersion": "mailtenant.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "status": status});
        let patch = "application/apply-patch+yaml";
        call(&client, "PATCH", &put, patch, &with(json!({}))).await.unwrap();
        call(&client, "PATCH", &put, patch, &with(json!({"conditions": [condition]}))).await.unwrap();
        let twice = with(json!({"conditions": [condition, condition]}));
        assert!(call(&client, "PATCH", &put, patch, &twice).await.is_err(), "{kind}: one type twice");
        let mut odd = condition.clone();
        odd["status"] = "Maybe".into();
        let refused = call(&client, "PATCH", &put, patch, &with(json!({"conditions": [odd]}))).await.unwrap_err();
        assert!(refused.contains(r#"supported values: "True", "False", "Unknown""#), "{kind}: {refused}");
        call(&client, "DELETE", &at, "application/json", &Value::Null).await.unwrap();
    }
}

#[tokio::test]
async fn names_and_categories_are_known() {
    let cluster = cluster::shared().await;
    let client = cluster.client().await;
    let list = call(&client, "GET", "/apis/mailtenant.dev/v1alpha1", "application/json", &Value::Null).await.unwrap();
    for (kind, short, category, namespaced) in [
        ("GroupwareBackend", "gwb", false, false),
        ("DNSBackend", "dnsb", false, false),
        ("MailInstance", "mi", true, true),
        ("MailDomain", "md", true, true),
        ("Mailbox", "mbx", true, true),
        ("MailAlias", "mal", true, true),
        ("MailDomainClaim", "mdc", false, false),
    ] {
        let found = list["resources"].as_array().unwrap().iter().find(|r| r["kind"] == kind).unwrap();
        assert_eq!(found["shortNames"], json!([short]), "{kind}");
        assert_eq!(found["categories"] == json!(["mail"]), category, "{kind}");
        assert_eq!(found["namespaced"], namespaced, "{kind}");
    }
}

#[tokio::test]
async fn children_are_found_by_their_parent() {
    let cluster = cluster::shared().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("fields").await);
    for (kind, field, value) in [
        ("MailInstance", ".spec.backendRef.name", "berlin"),
        ("MailDomain", ".spec.instanceRef.name", "acme"),
        ("MailDomain", ".spec.dns.backendRef.name", "pdns"),
        ("Mailbox", ".spec.domainRef.name", "acme-example"),
        ("MailAlias", ".spec.domainRef.name", "acme-example"),
    ] {
        let object = least(kind, "x");
        // The second field of a kind meets the object that the first one made.
        let _ = create(&client, &namespace, &object, false).await;
        let at = path(&object, &namespace);
        let selector = field.trim_start_matches('.');
        for (value, count) in [(value, 1), ("other", 0)] {
            let url = format!("{at}?fieldSelector={selector}%3D{value}");
            let list = call(&client, "GET", &url, "application/json", &Value::Null).await.unwrap();
            assert_eq!(list["items"].as_array().unwrap().len(), count, "{kind} {selector}={value}");
        }
    }
}

/// `kubectl explain` has a sentence for every field.
#[tokio::test]
async fn every_field_is_described() {
    fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property["description"].as_str().is_none_or(str::is_empty) {
                missing.push(path.clone());
            }
            walk(&path, property, missing);
            walk(&path, &property["items"], missing);
        }
    }
    let mut missing = vec![];
    for crd in mailtenant_api::crds::all() {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        for part in ["spec", "status"] {
            walk(&format!("{kind}.{part}"), &schema["properties"][part], &mut missing);
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
