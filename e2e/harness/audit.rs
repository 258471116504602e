//! What the operator wrote to Kubernetes, by the apiserver's own word: its audit log.

use super::kubectl::Kubectl;
use super::stack::Stack;
use super::{eventually, secs};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};

/// Who the operator is to the apiserver: its ServiceAccount.
pub const OPERATOR: &str = "system:serviceaccount:mailtenant-system:mailtenant";

/// A point in the audit log: now.
pub fn mark(stack: &Stack) -> u64 {
    let log = std::fs::metadata(stack.root.join("k8s/audit.log"));
    log.expect("this needs the apiserver's audit log: run it without KUBECONFIG").len()
}

/// One write of the operator.
#[derive(Debug)]
pub struct Write {
    /// `patch mailboxes/status`.
    pub what: String,
    /// Namespace and name; the name is empty where the server makes it.
    pub object: (String, String),
    /// When the request came.
    pub at: jiff::Timestamp,
}

/// Writes of the operator since a point in the log, renewals of its Lease aside.
pub fn writes(stack: &Stack, since: u64) -> Vec<Write> {
    let mut file = std::fs::File::open(stack.root.join("k8s/audit.log")).expect("the audit log");
    file.seek(SeekFrom::Start(since)).expect("the audit log only grows");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("the audit log is text");
    let mut out = vec![];
    for entry in text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()) {
        let field = |k: &str| entry["objectRef"][k].as_str().unwrap_or_default().to_string();
        let verb = entry["verb"].as_str().unwrap_or_default();
        let write = entry["user"]["username"] == OPERATOR && !["get", "list", "watch"].contains(&verb);
        if write && field("resource") != "leases" {
            out.push(Write {
                what: format!("{verb} {}/{}", field("resource"), field("subresource")),
                object: (field("namespace"), field("name")),
                at: entry["requestReceivedTimestamp"].as_str().and_then(|t| t.parse().ok()).expect("a time"),
            });
        }
    }
    out
}

/// What the operator had no right to, by all that the log has. A namespace that is being deleted refuses new objects with
/// the same code 403; that is not about rights.
pub fn forbidden(stack: &Stack) -> BTreeSet<String> {
    let text = std::fs::read_to_string(stack.root.join("k8s/audit.log")).expect("the audit log");
    let mut out = BTreeSet::new();
    for entry in text.lines().filter(|l| l.contains("forbid")).filter_map(|l| serde_json::from_str::<Value>(l).ok()) {
        if entry["user"]["username"] == OPERATOR && entry["annotations"]["authorization.k8s.io/decision"] == "forbid" {
            out.insert(format!("{} {}", entry["verb"], entry["objectRef"]));
        }
    }
    out
}

/// Waits until the log has everything that was answered before this call: it is written a moment later.
pub async fn caught_up(stack: &Stack, k: &Kubectl) {
    let stamp = format!("audit-{:08x}", fastrand::u32(..));
    // Not there, and logged all the same.
    let _ = k.api("Mailbox").get_opt(&stamp).await;
    let path = stack.root.join("k8s/audit.log");
    eventually("the audit log has caught up", secs(30), || async {
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        if text.lines().rev().take(1000).any(|l| l.contains(&stamp)) { Ok(()) } else { Err("not yet".to_string()) }
    })
    .await
}

/// How many of each.
pub fn count<'a>(writes: impl Iterator<Item = &'a Write>) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for write in writes {
        *out.entry(write.what.clone()).or_default() += 1;
    }
    out
}
