//! `retained` and `undeclared`: what the server has that no object declares. Lists only; nothing is removed.

use crate::args::Format;
use crate::connect::Cluster;
use crate::error::{Error, Result};
use crate::fetch;
use crate::kind::Kind;
use crate::object::Object;
use crate::output::{Colour, Terminal};
use crate::picture::Picture;
use k8s_openapi::api::events::v1::Event;
use kube::core::ApiResource;
use mailtenant_api::{ConditionType, EventReason};
use serde::Serialize;
use serde_json::Value;

/// One thing that is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Kept {
    pub namespace: String,
    /// `Mailbox/alice`: whose object it was, or the domain that tells of it.
    pub object: String,
    pub reason: String,
    /// When the Event was last seen; empty for a condition.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub when: String,
    pub message: String,
}

/// Of Events those that tell what stays at a backend.
pub fn of_events(events: &[Value]) -> Vec<Kept> {
    let reasons = [EventReason::Retained.as_str(), EventReason::Orphaned.as_str()];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ours = |e: &&Value| {
        let group = e["regarding"]["apiVersion"].as_str().unwrap_or_default();
        reasons.iter().any(|r| e["reason"] == *r) && group.starts_with(mailtenant_api::GROUP)
    };
    let kept = |e: &Value| Kept {
        namespace: text(&e["regarding"]["namespace"]),
        object: format!("{}/{}", text(&e["regarding"]["kind"]), text(&e["regarding"]["name"])),
        reason: text(&e["reason"]),
        when: [&e["series"]["lastObservedTime"], &e["eventTime"], &e["metadata"]["creationTimestamp"]]
            .into_iter()
            .find_map(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        message: text(&e["note"]),
    };
    let mut all: Vec<Kept> = events.iter().filter(ours).map(kept).collect();
    all.sort();
    all
}

/// Of MailDomains those that say so.
pub fn of_conditions(picture: &Picture) -> Vec<Kept> {
    let said = |domain: &Object| {
        let condition = domain.condition(ConditionType::Undeclared).filter(|c| c.status == "True")?;
        Some(Kept {
            namespace: domain.namespace().into(),
            object: domain.label(),
            reason: ConditionType::Undeclared.as_str().into(),
            when: String::new(),
            message: condition.message,
        })
    };
    let mut all: Vec<Kept> = picture.of_kind(Kind::MailDomain).filter_map(said).collect();
    all.sort();
    all
}

/// Events of the namespace, or of all.
pub async fn events(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Value>, kube::Error> {
    fetch::list(cluster, &ApiResource::erase::<Event>(&()), namespace).await
}

pub async fn retained(
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
    namespace: Option<&str>,
    format: Format,
) -> Result<()> {
    let events = events(cluster, namespace).await;
    let events = events.map_err(|e| Error::call("list", "events", namespace.unwrap_or_default(), &e))?;
    print(terminal, &of_events(&events), format)?;
    let note = "Events are kept for an hour, unless the API server is told otherwise: what was kept before that is not in this list";
    writeln!(terminal.err, "{note}")?;
    Ok(())
}

pub fn undeclared(terminal: &mut Terminal<'_>, picture: &Picture, format: Format) -> Result<bool> {
    let all = of_conditions(picture);
    print(terminal, &all, format)?;
    Ok(all.is_empty())
}

fn print(terminal: &mut Terminal<'_>, all: &[Kept], format: Format) -> Result<()> {
    if terminal.structured(format, &all)? {
        return Ok(());
    }
    if all.is_empty() {
        writeln!(terminal.err, "nothing found")?;
        return Ok(());
    }
    let plain = |text: &str| (text.to_owned(), Colour::Plain);
    let row = |k: &Kept| {
        let when = if k.when.is_empty() { "-" } else { k.when.as_str() };
        vec![plain(&k.namespace), plain(&k.object), plain(&k.reason), plain(when), plain(&k.message)]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    terminal.table(&["NAMESPACE", "OBJECT", "REASON", "LAST SEEN", "MESSAGE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_events_that_tell_of_something_kept_are_listed() {
        let event = |reason: &str, api: &str| {
            json!({"reason": reason, "note": "alice@acme.test is switched off", "eventTime": "2026-01-01T00:00:00Z",
            "regarding": {"apiVersion": api, "kind": "Mailbox", "name": "alice", "namespace": "t"}})
        };
        let ours = "mailtenant.dev/v1alpha1";
        let listed = of_events(&[
            event("Retained", ours),
            event("CutOver", ours),
            event("Retained", "v1"),
            event("Orphaned", ours),
        ]);
        assert_eq!(listed.iter().map(|k| k.reason.as_str()).collect::<Vec<_>>(), ["Orphaned", "Retained"]);
        assert_eq!((listed[0].object.as_str(), listed[0].when.as_str()), ("Mailbox/alice", "2026-01-01T00:00:00Z"));
    }

    #[test]
    fn only_domains_that_say_so_are_listed() {
        let domain = |name: &str, status: &str| {
            let conditions = json!([{"type": "Undeclared", "status": status, "reason": "Succeeded", "message": "bob@", "lastTransitionTime": ""}]);
            Object {
                kind: Kind::MailDomain,
                value: json!({"metadata": {"name": name}, "status": {"conditions": conditions}}),
            }
        };
        let picture = Picture { objects: vec![domain("a", "False"), domain("b", "True")], ..Picture::default() };
        let listed = of_conditions(&picture);
        assert_eq!(listed.iter().map(|k| k.object.as_str()).collect::<Vec<_>>(), ["MailDomain/b"]);
    }
}
