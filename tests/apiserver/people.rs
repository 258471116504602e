//! `config/rbac/people.yaml` and `config/admission/helpdesk.yaml`: who may do what, by the apiserver's own word.

use crate::cluster::Cluster;
use crate::shape::least;
use crate::tools::{kubectl, own_cluster, top};
use http::Request;
use kube::{Client, Error};
use mailtenant_api::FINALIZER;
use serde_json::{Value, json};
use std::time::Duration;

const OPERATOR: &str = "system:serviceaccount:mailtenant-system:mailtenant";

/// With a user for each role in the namespace that is given back.
async fn cluster_with_people() -> (&'static Cluster, String) {
    let cluster = own_cluster().await;
    let namespace = cluster.namespace("people").await;
    let run = |arguments: &[&str]| {
        let output = kubectl(Some(&cluster.kubeconfig), arguments, "");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["create", "namespace", "mailtenant-system"]);
    for file in ["config/rbac/people.yaml", "config/rbac/operator.yaml"] {
        run(&["apply", "--server-side", "-f", top().join(file).to_str().unwrap()]);
    }
    for role in mailtenant_api::people::roles() {
        let (name, role) = (role.name, format!("--clusterrole=mailtenant-{}", role.name));
        run(&["create", "rolebinding", name, &role, &format!("--user={name}"), "-n", &namespace]);
    }
    (cluster, namespace)
}

/// Whether a user may, as the apiserver's authorizer says.
async fn may(client: &Client, user: &str, namespace: &str, verb: &str, resource: &str) -> bool {
    let group = if ["secrets", "pods"].contains(&resource) { "" } else { "mailtenant.dev" };
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let asked = json!({
        "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource});
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": asked},
    });
    let url = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = crate::call(client, "POST", url, "application/json", &review).await.unwrap();
    answer["status"]["allowed"] == true
}

/// A merge patch of a Mailbox by somebody else; nothing is stored.
async fn patch_as(client: &Client, user: &str, namespace: &str, patch: &Value) -> Result<Value, String> {
    let url = format!("/apis/mailtenant.dev/v1alpha1/namespaces/{namespace}/mailboxes/x?dryRun=All");
    let request = Request::patch(url)
        .header("content-type", "application/merge-patch+json")
        .header("impersonate-user", user)
        .body(serde_json::to_vec(patch).unwrap())
        .unwrap();
    client.request::<Value>(request).await.map_err(|error| match error {
        Error::Api(status) => status.message.clone(),
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn people_may_what_their_role_says_and_the_helpdesk_asks_for_passwords_only() {
    let (cluster, namespace) = cluster_with_people().await;
    let client = cluster.client().await;
    roles(&client, &namespace).await;

    let mut mailbox = least("Mailbox", "x");
    mailbox["metadata"]["finalizers"] = json!([FINALIZER]);
    mailbox["metadata"]["annotations"] = json!({"a": "b"});
    crate::create(&client, &namespace, &mailbox, false).await.unwrap();
    let suspended = json!({"spec": {"displayName": "Somebody else"}});
    let rotated = json!({"metadata": {"annotations": {"mailtenant.dev/rotate-password": "1"}}});
    patch_as(&client, "helpdesk", &namespace, &suspended).await.expect("RBAC alone allows it, and the page says so");

    let policy = top().join("config/admission/helpdesk.yaml");
    let made = kubectl(Some(&cluster.kubeconfig), &["apply", "--server-side", "-f", policy.to_str().unwrap()], "");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut refused = Err("not asked".into());
    for _ in 0..300 {
        refused = patch_as(&client, "helpdesk", &namespace, &suspended).await;
        if refused.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = refused.expect_err("the policy is enforced within half a minute");
    assert!(refused.contains("to change the spec, ask somebody with the role mailtenant-tenant-admin"), "{refused}");
    for (patch, word) in [
        (json!({"metadata": {"annotations": {"mailtenant.dev/orphan": "true"}}}), "other annotations"),
        (json!({"metadata": {"annotations": {"a": "c"}}}), "other annotations"),
        (json!({"metadata": {"annotations": null}}), "other annotations"),
        (json!({"metadata": {"labels": {"a": "b"}}}), "labels and finalizers"),
        (json!({"metadata": {"finalizers": null}}), "labels and finalizers"),
    ] {
        let refused = patch_as(&client, "helpdesk", &namespace, &patch).await.expect_err(&patch.to_string());
        assert!(refused.contains(word), "{patch}: {refused}");
    }
    patch_as(&client, "helpdesk", &namespace, &rotated).await.unwrap();
    for user in ["tenant-admin", "tenant-creator"] {
        patch_as(&client, user, &namespace, &suspended).await.unwrap();
    }
    patch_as(&client, OPERATOR, &namespace, &json!({"metadata": {"finalizers": null}})).await.unwrap();
    let refused = patch_as(&client, "tenant-view", &namespace, &rotated).await.unwrap_err();
    assert!(refused.contains("forbidden"), "{refused}");
}

/// Verbs that each role has (first) and has not (second), on a Mailbox if no other resource is named.
async fn roles(client: &Client, namespace: &str) {
    let read = ["get mailboxes", "list maildomains", "watch mailaliases", "get mailinstances"];
    let secrets = ["get secrets", "list secrets", "watch secrets"];
    let table: &[(&str, &[&str], &[&str])] = &[
        (
            "tenant-admin",
            &["create mailboxes", "update mailaliases", "delete maildomains", "get secrets"],
            &["get pods"],
        ),
        ("tenant-view", &[], &["create mailboxes", "patch mailboxes", "delete mailboxes"]),
        (
            "tenant-creator",
            &["create mailinstances", "patch mailboxes", "update maildomains"],
            &["delete mailboxes", "deletecollection mailboxes"],
        ),
        (
            "helpdesk",
            &["patch mailboxes"],
            &["update mailboxes", "create mailboxes", "delete mailboxes", "patch maildomains", "patch mailinstances"],
        ),
    ];
    assert_eq!(table.len(), mailtenant_api::people::roles().len(), "a role is not in this table");
    for (user, has, lacks) in table {
        let without_secrets = secrets.iter().filter(|_| *user != "tenant-admin");
        let has = has.iter().chain(&read).map(|words| (words, true));
        let lacks = lacks.iter().chain(without_secrets).chain(&["patch mailboxes/status", "create maildomainclaims"]);
        for (words, wanted) in has.chain(lacks.map(|words| (words, false))) {
            let (verb, resource) = words.split_once(' ').unwrap();
            assert_eq!(may(client, user, namespace, verb, resource).await, wanted, "{user}: {words}");
            assert!(!may(client, user, "default", verb, resource).await, "{user} in another namespace: {words}");
        }
    }
}
