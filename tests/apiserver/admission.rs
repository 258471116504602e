//! `config/admission/`: objects are created with the finalizer, and that is all that the policy does.

use crate::cluster::{self, Cluster, Options};
use crate::shape::{WITH_STATUS, least};
use crate::{apply, apply_as, call, create, path};
use kube::Client;
use mailtenant_api::FINALIZER;
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::time::Duration;
use tokio::sync::OnceCell;

const OTHER: &str = "example.com/other";

static WITH_POLICY: OnceCell<Cluster> = OnceCell::const_new();

/// A cluster of its own: a policy holds for everything that is in one, and objects with our finalizer stay.
async fn with_policy() -> &'static Cluster {
    let make = || async {
        let cluster = Cluster::start(Options::default()).await.expect("the control plane starts");
        let client = cluster.client().await;
        cluster::install_crds(&client).await.expect("the CRDs are established");
        for document in include_str!("../../config/admission/finalizer.yaml").split("\n---\n") {
            let object: Value = serde_yaml::from_str(document).unwrap();
            let plural = match object["kind"].as_str().unwrap() {
                "MutatingAdmissionPolicy" => "mutatingadmissionpolicies",
                "MutatingAdmissionPolicyBinding" => "mutatingadmissionpolicybindings",
                other => panic!("{other}"),
            };
            let url = format!("/apis/admissionregistration.k8s.io/v1/{plural}?fieldValidation=Strict");
            call(&client, "POST", &url, "application/json", &object).await.unwrap();
        }
        let namespace = cluster.namespace("enforced").await;
        for kind in WITH_STATUS {
            enforced(&client, &namespace, kind).await;
        }
        cluster
    };
    WITH_POLICY.get_or_init(make).await
}

/// The apiserver takes a policy up after about a second, and answers 503 as long as it has not read the schema of a new
/// CRD, whatever `failurePolicy` says.
async fn enforced(client: &Client, namespace: &str, kind: &str) {
    let mut seen = Ok(Value::Null);
    for _ in 0..600 {
        seen = create(client, namespace, &least(kind, "x"), true).await.map(|made| finalizers(&made));
        match &seen {
            Ok(list) if *list == json!([FINALIZER]) => return,
            Err(error) => assert!(error.contains("There can be a delay between when"), "{kind}: {error}"),
            Ok(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{kind} is created without the finalizer after a minute: {seen:?}");
}

fn finalizers(object: &Value) -> Value {
    object["metadata"]["finalizers"].clone()
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

/// What differs from one object to the next without anybody's doing.
fn without_circumstances(mut object: Value) -> Value {
    let meta = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "creationTimestamp", "namespace", "resourceVersion"] {
        meta.remove(field);
    }
    for entry in meta.get_mut("managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
        entry.as_object_mut().unwrap().remove("time");
    }
    object
}

#[tokio::test]
async fn objects_are_created_with_the_finalizer_and_keep_those_of_others() {
    let cluster = with_policy().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("born").await);
    let cases = [
        (json!([]), json!([FINALIZER])),
        (Value::Null, json!([FINALIZER])),
        (json!([OTHER]), json!([OTHER, FINALIZER])),
        (json!([FINALIZER]), json!([FINALIZER])),
        (json!([FINALIZER, OTHER]), json!([FINALIZER, OTHER])),
        (json!([OTHER, FINALIZER]), json!([OTHER, FINALIZER])),
    ];
    for kind in WITH_STATUS {
        for (given, wanted) in &cases {
            let mut object = least(kind, "x");
            object["metadata"]["finalizers"] = given.clone();
            let made = create(&client, &namespace, &object, true).await.unwrap();
            assert_eq!(finalizers(&made), *wanted, "{kind}, created with {given}");
            let made = apply_as(&client, &namespace, &object, "gitops", true).await.unwrap();
            assert_eq!(finalizers(&made), *wanted, "{kind}, applied with {given}");
        }
        // A backup is put back: the apiserver drops what it was being deleted with, so it needs the finalizer as any other.
        let mut object = least(kind, "x");
        object["metadata"]["deletionTimestamp"] = json!("2026-11-01T00:00:00Z");
        object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        let made = create(&client, &namespace, &object, true).await.unwrap();
        assert_eq!(finalizers(&made), json!([FINALIZER]), "{kind}");
        assert!(made["metadata"].get("deletionTimestamp").is_none(), "{kind}");
    }
}

/// Against a cluster without the policy: nulls, defaults, numbers, the claims, and who manages which field are the same.
#[tokio::test]
async fn nothing_but_the_finalizer_differs() {
    let (with, without) = (with_policy().await, cluster::shared().await);
    let (with_client, with_namespace) = (with.client().await, with.namespace("with").await);
    let (without_client, without_namespace) = (without.client().await, without.namespace("without").await);
    for document in include_str!("manifests/good.yaml").split("\n---\n").skip(1) {
        let object: Value = serde_yaml::from_str(document).unwrap();
        let made = create(&with_client, &with_namespace, &object, true).await.unwrap();
        let mut plain = create(&without_client, &without_namespace, &object, true).await.unwrap();
        assert_eq!(finalizers(&plain), Value::Null, "{document}");
        if object["kind"] != "MailDomainClaim" {
            plain["metadata"]["finalizers"] = json!([FINALIZER]);
        }
        assert_eq!(without_circumstances(made), without_circumstances(plain), "{document}");
    }
}

#[tokio::test]
async fn kinds_of_other_groups_are_left_alone() {
    let cluster = with_policy().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("others").await);
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "mailboxes.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "mailboxes", "kind": "Mailbox"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let at = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    call(&client, "POST", at, "application/json", &crd).await.unwrap();
    let at = format!("/apis/example.com/v1alpha1/namespaces/{namespace}/mailboxes");
    let mailbox = json!({"apiVersion": "example.com/v1alpha1", "kind": "Mailbox", "metadata": {"name": "x"}});
    let made = async {
        loop {
            // 404 until the kind is served.
            match call(&client, "POST", &at, "application/json", &mailbox).await {
                Ok(made) => return made,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let made = tokio::time::timeout(Duration::from_secs(30), made).await.expect("the kind is served");
    assert_eq!(finalizers(&made), Value::Null);
    for plural in ["configmaps", "secrets"] {
        let at = format!("/api/v1/namespaces/{namespace}/{plural}");
        let made = call(&client, "POST", &at, "application/json", &json!({"metadata": {"name": "x"}})).await.unwrap();
        assert_eq!(finalizers(&made), Value::Null, "{plural}");
    }
}

/// Whoever applies a manifest from Git again and again finds nothing to change, and does not become the finalizer's owner.
/// The second apply of a new object is a write without a change in it, also where there is no policy (1.36.3).
#[tokio::test]
async fn server_side_apply_is_stable() {
    let cluster = with_policy().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("apply").await);
    for kind in WITH_STATUS {
        let object = least(kind, &format!("x.{namespace}"));
        let first = apply(&client, &namespace, &object).await.unwrap();
        assert_eq!(finalizers(&first), json!([FINALIZER]), "{kind}");
        for entry in first["metadata"]["managedFields"].as_array().unwrap() {
            assert!(entry["fieldsV1"]["f:metadata"].get("f:finalizers").is_none(), "{kind}: {entry:#}");
        }
        let diff = apply_as(&client, &namespace, &object, "gitops", true).await.unwrap();
        assert_eq!(without_circumstances(diff), without_circumstances(first), "{kind}, compared");
        let second = apply(&client, &namespace, &object).await.unwrap();
        let third = apply(&client, &namespace, &object).await.unwrap();
        assert_eq!(third, second, "{kind}, applied again");
        let by_another = apply_as(&client, &namespace, &object, "other", false).await.unwrap();
        assert_eq!(finalizers(&by_another), json!([FINALIZER]), "{kind}, by another manager");

        // A manifest with finalizers of its own.
        let mut object = least(kind, &format!("y.{namespace}"));
        object["metadata"]["finalizers"] = json!([OTHER, "example.com/second"]);
        let first = apply(&client, &namespace, &object).await.unwrap();
        assert_eq!(finalizers(&first), json!([OTHER, "example.com/second", FINALIZER]), "{kind}");
        let second = apply(&client, &namespace, &object).await.unwrap();
        let third = apply(&client, &namespace, &object).await.unwrap();
        assert_eq!(finalizers(&third), finalizers(&first), "{kind}, applied again");
        assert_eq!(version(&third), version(&second), "{kind}, applied again");
        object["metadata"]["finalizers"] = json!([OTHER]);
        let fewer = apply(&client, &namespace, &object).await.unwrap();
        assert_eq!(finalizers(&fewer), json!([OTHER, FINALIZER]), "{kind}, one of them dropped");
        // The list goes with the last one that somebody manages: that is for the operator to mend.
        object["metadata"].as_object_mut().unwrap().remove("finalizers");
        let none = apply(&client, &namespace, &object).await.unwrap();
        assert_eq!(finalizers(&none), Value::Null, "{kind}, all of them dropped");
    }
}

/// The policy sees no update: otherwise the operator could not take its finalizer off, and nothing would ever be deleted.
#[tokio::test]
async fn the_finalizer_can_be_taken_off() {
    let cluster = with_policy().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("off").await);
    for kind in WITH_STATUS {
        let mut object = least(kind, &format!("x.{namespace}"));
        object["metadata"]["finalizers"] = json!([OTHER]);
        create(&client, &namespace, &object, false).await.unwrap();
        let at = format!("{}/x.{namespace}", path(&object, &namespace));
        let merge = "application/merge-patch+json";
        call(&client, "DELETE", &at, "application/json", &Value::Null).await.unwrap();
        let patch = json!({"metadata": {"finalizers": [OTHER]}});
        let left = call(&client, "PATCH", &at, merge, &patch).await.unwrap();
        assert_eq!(finalizers(&left), json!([OTHER]), "{kind}, being deleted");
        call(&client, "PATCH", &at, merge, &json!({"metadata": {"finalizers": null}})).await.unwrap();
        let gone = call(&client, "GET", &at, "application/json", &Value::Null).await.unwrap_err();
        assert!(gone.contains("not found"), "{kind}: {gone}");
    }
}

/// kubectl with the cluster's kubeconfig and a manifest.
fn kubectl(cluster: &Cluster, arguments: &[&str], manifest: &Value) -> Output {
    let folder = cluster.dir.as_ref().unwrap();
    let file = folder.join(format!("{}.json", cluster::unique()));
    std::fs::write(&file, manifest.to_string()).unwrap();
    let mut command = Command::new(cluster::binary("kubectl").unwrap());
    command.arg("--kubeconfig").arg(&cluster.kubeconfig).arg("--cache-dir").arg(folder.join("kubectl"));
    command.args(arguments).arg("-f").arg(file).output().unwrap()
}

#[tokio::test]
async fn kubectl_sees_no_difference() {
    let cluster = with_policy().await;
    let (client, namespace) = (cluster.client().await, cluster.namespace("kubectl").await);
    let run = |arguments: &[&str], manifest: &Value| {
        let output = kubectl(cluster, arguments, manifest);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        (output.status.code(), said(&output.stdout), said(&output.stderr))
    };
    for (flags, same) in [(&["apply"][..], "unchanged"), (&["apply", "--server-side"], "serverside-applied")] {
        let mut object = least("Mailbox", &format!("by-{}", flags.len()));
        object["metadata"]["namespace"] = json!(namespace);
        let at = format!("{}/by-{}", path(&object, &namespace), flags.len());
        let (code, out, err) = run(flags, &object);
        assert_eq!(code, Some(0), "{flags:?}: {out} {err}");
        let first = call(&client, "GET", &at, "application/json", &Value::Null).await.unwrap();
        assert_eq!(finalizers(&first), json!([FINALIZER]), "{flags:?}");
        let diff: Vec<&str> = ["diff"].iter().chain(&flags[1..]).copied().collect();
        assert_eq!(run(&diff, &object), (Some(0), String::new(), String::new()), "{diff:?}");
        let (_, out, err) = run(flags, &object);
        assert!(out.ends_with(same), "{flags:?}: {out} {err}");
        let second = call(&client, "GET", &at, "application/json", &Value::Null).await.unwrap();
        assert_eq!(without_circumstances(second), without_circumstances(first), "{flags:?}");
    }
    let mut object = least("Mailbox", "made");
    object["metadata"]["namespace"] = json!(namespace);
    let at = format!("{}/made", path(&object, &namespace));
    let (code, _, err) = run(&["create"], &object);
    assert_eq!(code, Some(0), "{err}");
    let made = call(&client, "GET", &at, "application/json", &Value::Null).await.unwrap();
    assert_eq!(finalizers(&made), json!([FINALIZER]));
    // A replacement that does not list the finalizer takes it off: that is for the operator to mend.
    let (code, _, err) = run(&["replace"], &object);
    assert_eq!(code, Some(0), "{err}");
    let replaced = call(&client, "GET", &at, "application/json", &Value::Null).await.unwrap();
    assert_eq!(finalizers(&replaced), Value::Null);
}
