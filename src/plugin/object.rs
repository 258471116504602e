//! One object as the API gave it. It is read field by field: one that does not fit the schema any more is shown too.

use crate::kind::Kind;
use mailtenant_api::{Condition, ConditionType, Reason, annotations};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub kind: Kind,
    pub value: Value,
}

/// What an object says of itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Readiness {
    /// `Ready=True` of the spec as it is.
    Ready,
    /// The operator has not looked at the spec as it is.
    Unseen,
    /// The condition that says why not: `Ready`, or `DeletionBlocked` of an object that is being deleted.
    Not(Condition),
}

impl Object {
    fn meta(&self, field: &str) -> &str {
        self.value["metadata"][field].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.meta("name")
    }

    /// Empty for the kinds of the platform.
    pub fn namespace(&self) -> &str {
        self.meta("namespace")
    }

    pub fn uid(&self) -> &str {
        self.meta("uid")
    }

    /// `Mailbox/alice`.
    pub fn label(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.name())
    }

    /// A text below the object; empty: it is not there.
    pub fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.value.pointer(pointer).and_then(Value::as_i64)
    }

    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.value["metadata"]["annotations"][name].as_str()
    }

    pub fn is_paused(&self) -> bool {
        self.annotation(annotations::PAUSED) == Some("true")
    }

    pub fn is_deleting(&self) -> bool {
        !self.meta("deletionTimestamp").is_empty()
    }

    /// Whether a pass ever said that something was made or taken over.
    pub fn was_made(&self) -> bool {
        ["Created", "Adopted"].contains(&self.text("/status/ownership"))
    }

    pub fn condition(&self, type_: ConditionType) -> Option<Condition> {
        let all = self.value["status"]["conditions"].as_array()?;
        let found = all.iter().find(|c| c["type"] == type_.as_str())?;
        serde_json::from_value(found.clone()).ok()
    }

    /// Whether the operator has looked at the spec as it is.
    pub fn is_current(&self) -> bool {
        self.number("/status/observedGeneration") == self.number("/metadata/generation")
    }

    pub fn readiness(&self) -> Readiness {
        if self.is_deleting() {
            let blocked = self.condition(ConditionType::DeletionBlocked).filter(|c| c.status == "True");
            return match blocked.or_else(|| self.condition(ConditionType::Ready)) {
                Some(condition) if condition.status != "True" || condition.type_ == "DeletionBlocked" => {
                    Readiness::Not(condition)
                }
                _ => Readiness::Unseen,
            };
        }
        match self.condition(ConditionType::Ready) {
            Some(ready) if ready.status == "True" && self.is_current() => Readiness::Ready,
            Some(ready) if ready.status != "True" => Readiness::Not(ready),
            _ => Readiness::Unseen,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.readiness() == Readiness::Ready
    }

    /// Names of what the object names directly above it.
    pub fn parent(&self) -> Option<(Kind, &str)> {
        let (kind, pointer) = match self.kind {
            Kind::GroupwareBackend | Kind::DNSBackend => return None,
            Kind::MailInstance => (Kind::GroupwareBackend, "/spec/backendRef/name"),
            Kind::MailDomain => (Kind::MailInstance, "/spec/instanceRef/name"),
            Kind::Mailbox | Kind::MailAlias => (Kind::MailDomain, "/spec/domainRef/name"),
        };
        Some((kind, self.text(pointer)))
    }

    /// Of a MailDomain: name of its DNSBackend.
    pub fn dns_backend(&self) -> Option<&str> {
        let name = self.text("/spec/dns/backendRef/name");
        (self.kind == Kind::MailDomain && !name.is_empty()).then_some(name)
    }

    /// Of a MailAlias: names of the Mailboxes that it delivers to.
    pub fn target_mailboxes(&self) -> Vec<&str> {
        let targets = self.value["spec"]["targets"].as_array();
        targets.into_iter().flatten().filter_map(|t| t["mailboxRef"]["name"].as_str()).collect()
    }

    /// Of a MailAlias: everything that it delivers to.
    pub fn targets(&self) -> Vec<&str> {
        let targets = self.value["spec"]["targets"].as_array();
        let name = |t: &'_ Value| t["mailboxRef"]["name"].as_str().is_some();
        let word = |t| if name(t) { t["mailboxRef"]["name"].as_str() } else { t["address"].as_str() };
        targets.into_iter().flatten().filter_map(word).collect()
    }
}

/// The reason of a condition; none: a word that this release of the plugin does not know.
pub fn reason(condition: &Condition) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|r| r.as_str() == condition.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_is_said_only_of_the_spec_as_it_is() {
        let object = |generation: i64, observed: i64, ready: &str, deleting: bool, blocked: bool| {
            let mut conditions =
                vec![json!({"type": "Ready", "status": ready, "reason": "x", "lastTransitionTime": ""})];
            if blocked {
                conditions.push(json!({"type": "DeletionBlocked", "status": "True", "reason": "HasAliases", "lastTransitionTime": ""}));
            }
            let mut value = json!({"metadata": {"name": "a", "generation": generation},
                "status": {"observedGeneration": observed, "conditions": conditions}});
            if deleting {
                value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            Object { kind: Kind::Mailbox, value }
        };
        let word = |readiness: Readiness| match readiness {
            Readiness::Ready => "ready".to_owned(),
            Readiness::Unseen => "unseen".to_owned(),
            Readiness::Not(condition) => condition.reason,
        };
        for (object, wanted) in [
            (object(1, 1, "True", false, false), "ready"),
            (object(2, 1, "True", false, false), "unseen"),
            (object(2, 1, "False", false, false), "x"),
            (object(1, 1, "False", true, true), "HasAliases"),
            (object(1, 1, "False", true, false), "x"),
            (object(1, 1, "True", true, false), "unseen"),
            (Object { kind: Kind::Mailbox, value: json!({"metadata": {"name": "a"}}) }, "unseen"),
        ] {
            assert_eq!(word(object.readiness()), wanted, "{object:?}");
        }
    }
}
