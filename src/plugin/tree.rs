//! `tree`: instances with all that is in them, and what has lost its parent. Pure but for the printing.

use crate::args::Format;
use crate::error::Result;
use crate::kind::Kind;
use crate::object::{Object, Readiness};
use crate::output::{Colour, Terminal};
use crate::picture::{Gap, Lookup, Picture};
use crate::why::waits_for;
use serde::Serialize;

/// One object and what is in it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    /// Address, domain, or the id of the tenant at the server; of an alias also where it leads.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// `Live`, `Provisioned` and so on, of a domain; `Deleting` of what is on its way out; `Missing` of a parent that is not there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    pub ready: bool,
    /// Reason of `Ready`, or of `DeletionBlocked` on the way out.
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub used: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

/// All of it, as JSON has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tree {
    pub items: Vec<Node>,
    pub not_read: Vec<Gap>,
}

impl Node {
    pub fn all_ready(&self) -> bool {
        self.ready && self.children.iter().all(Node::all_ready)
    }
}

/// The instances in the order of namespace and name, each followed by parents that are named and not there.
pub fn tree(picture: &Picture, instance: Option<&str>) -> Vec<Node> {
    let wanted = |name: &str| instance.is_none_or(|i| i == name);
    let mut roots: Vec<Node> =
        picture.of_kind(Kind::MailInstance).filter(|o| wanted(o.name())).map(|o| node(picture, o)).collect();
    let orphans = picture.of_kind(Kind::MailDomain).filter(|o| wanted(o.text("/spec/instanceRef/name")));
    adopt(picture, &mut roots, orphans.collect());
    if instance.is_none() {
        let lost = picture.objects.iter().filter(|o| matches!(o.kind, Kind::Mailbox | Kind::MailAlias));
        adopt(picture, &mut roots, lost.collect());
    }
    roots.sort_by(|a, b| (&a.namespace, a.kind, &a.name).cmp(&(&b.namespace, b.kind, &b.name)));
    roots
}

/// Puts objects without a parent below a node for the parent that they name.
fn adopt(picture: &Picture, roots: &mut Vec<Node>, objects: Vec<&Object>) {
    for object in objects {
        let Some(lookup) = picture.parent(object).filter(|p| p.object().is_none()) else { continue };
        let Some((kind, name)) = object.parent() else { continue };
        let child = node(picture, object);
        let same = |n: &&mut Node| n.kind == kind && n.namespace == object.namespace() && n.name == name;
        match roots.iter_mut().find(same) {
            Some(root) => root.children.push(child),
            None => roots.push(Node {
                kind,
                namespace: object.namespace().into(),
                name: name.into(),
                what: String::new(),
                state: if lookup == Lookup::Missing { "Missing".into() } else { "Unread".into() },
                ready: false,
                reason: String::new(),
                waits_for: None,
                used: String::new(),
                children: vec![child],
            }),
        }
    }
}

fn node(picture: &Picture, object: &Object) -> Node {
    let (ready, reason) = match object.readiness() {
        Readiness::Ready => (true, "Succeeded".to_owned()),
        Readiness::Unseen => (false, "Unseen".to_owned()),
        Readiness::Not(condition) => (false, condition.reason),
    };
    let state = match (object.is_deleting(), object.text("/status/state")) {
        (true, "Draining") => "Draining".to_owned(),
        (true, _) => "Deleting".to_owned(),
        (false, state) => state.to_owned(),
    };
    Node {
        kind: object.kind,
        namespace: object.namespace().into(),
        name: object.name().into(),
        what: what(object),
        state,
        ready,
        reason,
        waits_for: waits_for(picture, object),
        used: used(object),
        children: picture.children(object).into_iter().map(|child| node(picture, child)).collect(),
    }
}

fn what(object: &Object) -> String {
    match object.kind {
        Kind::MailInstance => object.text("/status/instanceId").to_owned(),
        Kind::MailDomain => object.text("/spec/domain").to_owned(),
        Kind::Mailbox => object.text("/status/address").to_owned(),
        Kind::MailAlias => {
            let targets = object.targets();
            let more = targets.len().saturating_sub(3);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let shown = targets[..targets.len().min(3)].join(", ");
            format!("{} -> {shown}{more}", object.text("/status/address")).trim_start().to_owned()
        }
        Kind::GroupwareBackend | Kind::DNSBackend => String::new(),
    }
}

fn used(object: &Object) -> String {
    let of = |used: &str, all: &str| match (used, all) {
        ("", "") => String::new(),
        ("", all) => format!("of {all}"),
        (used, "") => used.to_owned(),
        (used, all) => format!("{used} of {all}"),
    };
    match object.kind {
        Kind::MailInstance => {
            let storage = of(object.text("/status/usage/storageUsed"), object.text("/spec/storage"));
            let there = object.number("/status/usage/mailboxes");
            let limit = object.number("/spec/limits/mailboxes");
            let mailboxes = match (there, limit) {
                (Some(there), Some(limit)) => format!(", {there} of {limit} mailboxes"),
                (Some(there), None) => format!(", {there} mailboxes"),
                (None, _) => String::new(),
            };
            storage + &mailboxes
        }
        Kind::Mailbox => of(object.text("/status/usedStorage"), object.text("/status/quota")),
        _ => String::new(),
    }
}

/// Prints it; `true`: all of it is ready.
pub fn print(terminal: &mut Terminal<'_>, picture: &Picture, instance: Option<&str>, format: Format) -> Result<bool> {
    let tree = Tree { items: tree(picture, instance), not_read: picture.gaps.clone() };
    if !terminal.structured(format, &tree)? {
        let mut rows = vec![];
        for root in &tree.items {
            row(root, "", "", &mut rows);
        }
        if rows.is_empty() {
            writeln!(terminal.err, "nothing found")?;
        } else {
            terminal.table(&["OBJECT", "WHAT", "STATE", "READY", "USED", "WAITS FOR"], &rows)?;
        }
    }
    Ok(tree.items.iter().all(Node::all_ready))
}

/// `first`: what stands before the object; `rest`: before what is in it.
fn row(node: &Node, first: &str, rest: &str, rows: &mut Vec<Vec<(String, Colour)>>) {
    let place = if first.is_empty() { format!("{}: ", node.namespace) } else { String::new() };
    let colour = match (node.ready, node.state.as_str()) {
        (true, _) => Colour::Good,
        (false, "Missing") => Colour::Bad,
        (false, _) => Colour::Waiting,
    };
    let ready = if node.reason.is_empty() { "-".to_owned() } else { node.reason.clone() };
    let plain = |text: &str| (text.to_owned(), Colour::Plain);
    rows.push(vec![
        plain(&format!("{first}{place}{}/{}", node.kind.as_str(), node.name)),
        plain(&node.what),
        (node.state.clone(), if node.state == "Missing" { Colour::Bad } else { Colour::Plain }),
        (if node.ready { "Ready".to_owned() } else { ready }, colour),
        plain(&node.used),
        plain(node.waits_for.as_deref().unwrap_or_default()),
    ]);
    let last = node.children.len().saturating_sub(1);
    for (index, child) in node.children.iter().enumerate() {
        let (branch, below) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        row(child, &format!("{rest}{branch}"), &format!("{rest}{below}"), rows);
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
