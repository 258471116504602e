//! The tenant that the pods serve: its manifests, its mail, its rows at the server.

use super::cluster::Node;
use crate::harness::kubectl::Kubectl;
use crate::harness::sql::Sql;
use crate::harness::world::{GROUPWARE, dns_backend, groupware_backend};
use crate::harness::{dns, eventually, mail, secs};
use serde_json::{Value, json};

/// Its namespace; its zone is `tenant.test`.
pub const NAMESPACE: &str = "tenant";
const ZONE: &str = "tenant.test";

fn address(local: &str) -> String {
    format!("{local}@{ZONE}")
}

fn tenants(node: &Node) -> Kubectl {
    node.k.within(NAMESPACE)
}

/// What a platform engineer does: the Secrets and the backends, at the address under which pods reach the servers.
pub async fn register(node: &Node) {
    let (k, stack) = (&node.k, node.stack);
    k.put_secret("berlin-db", &[("username", stack.get("GW_DB_USER")), ("password", stack.get("GW_DB_PASSWORD"))])
        .await;
    k.put_secret("berlin-doveadm", &[("apiKey", stack.get("GW_API_KEY"))]).await;
    k.put_secret("pdns", &[("apiKey", stack.get("PDNS_KEY"))]).await;
    dns::create_zone(stack, ZONE).await;
    let groupware = groupware_backend(
        stack,
        GROUPWARE,
        json!({"from": "Selector", "selector": {"matchLabels": {"mail": "standard"}}}),
    );
    let zones = [ZONE.to_string()];
    for backend in [groupware, dns_backend(stack, NAMESPACE, &[NAMESPACE], &zones)] {
        k.apply(from_pods(node, backend)).await;
    }
    k.ready("GroupwareBackend", GROUPWARE, secs(120)).await;
    k.ready("DNSBackend", NAMESPACE, secs(120)).await;
    let labels = json!({"mail": "standard"});
    k.apply(json!({"kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})).await;
}

/// The stack's servers listen on loopback; pods are led there from the node's address.
fn from_pods(node: &Node, backend: Value) -> Value {
    serde_json::from_str(&backend.to_string().replace("127.0.0.1", &node.address)).expect("JSON")
}

/// Declares the instance, its domain and these mailboxes, and waits until they are ready.
pub async fn declare(node: &Node, mailboxes: &[&str]) {
    let k = tenants(node);
    k.apply(json!({"kind": "MailInstance", "metadata": {"name": "acme"}, "spec": {
        "backendRef": {"name": GROUPWARE}, "storage": "10Gi", "defaultMailboxQuota": "10Mi", "deletionPolicy": "Delete"}}))
        .await;
    // Records that expire fast, so that draining does.
    k.apply(json!({"kind": "MailDomain", "metadata": {"name": "main"}, "spec": {
        "instanceRef": {"name": "acme"}, "domain": ZONE,
        "dns": {"mode": "Managed", "backendRef": {"name": NAMESPACE}, "ttl": 1}}}))
        .await;
    k.apply(json!({"kind": "MailAlias", "metadata": {"name": "office"}, "spec": {
        "domainRef": {"name": "main"}, "localPart": "office", "targets": [{"mailboxRef": {"name": "alice"}}]}}))
        .await;
    for name in mailboxes {
        k.apply(json!({"kind": "Mailbox", "metadata": {"name": name}, "spec": {
            "domainRef": {"name": "main"}, "localPart": name, "displayName": name}}))
            .await;
    }
    for name in mailboxes {
        k.ready("Mailbox", name, secs(120)).await;
    }
    for (kind, name) in [("MailAlias", "office"), ("MailDomain", "main"), ("MailInstance", "acme")] {
        k.ready(kind, name, secs(120)).await;
    }
}

/// Mail to a mailbox arrives, and its user reads it with the password of the Secret.
pub async fn delivers(node: &Node, mailbox: &str, subject: &str) {
    let to = address(mailbox);
    mail::send(node.stack, "somebody@outside.example", &to, subject, None).await.expect("the mail is taken");
    let password = tenants(node).secret(&format!("{mailbox}-mail"), "password").await.expect("a password");
    mail::arrives(node.stack, (&to, &password), subject).await;
}

/// Mailboxes and aliases at the server, by its own word.
pub async fn rows(node: &Node) -> Vec<String> {
    let sql = Sql::connect(node.stack).await;
    let both = format!(
        "SELECT username FROM mailbox WHERE username LIKE '%@{ZONE}' UNION SELECT address FROM alias WHERE address LIKE '%@{ZONE}' ORDER BY 1"
    );
    sql.column(&both).await
}

/// Waits until nothing of the tenant is left at the servers but the records of somebody else.
pub async fn gone(node: &Node) {
    eventually("the tenant is gone at the server", secs(60), || async {
        let left = rows(node).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let records = dns::snapshot(node.stack, ZONE).await;
    let mx: Vec<_> = records.keys().filter(|(_, kind)| kind == "MX").collect();
    assert!(mx.is_empty(), "records are left: {mx:?}");
    assert!(records.keys().any(|(name, kind)| kind == "A" && name.trim_end_matches('.') == ZONE), "{records:?}");
}
