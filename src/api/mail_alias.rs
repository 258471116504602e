//! `MailAlias`: a further address that delivers to mailboxes.

use super::*;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A further address that delivers to mailboxes and may be used by them as sender.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailtenant.dev",
    version = "v1alpha1",
    kind = "MailAlias",
    plural = "mailaliases",
    shortname = "mal",
    category = "mail",
    namespaced,
    status = "MailAliasStatus",
    derive = "PartialEq",
    selectable = ".spec.domainRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domainRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.domainRef.name == oldSelf.domainRef.name").message("domainRef is immutable: create a new MailAlias in the other domain").field_path(".domainRef"))]
#[x_kube(validation = Rule::new("self.localPart == oldSelf.localPart").message("localPart is immutable: create a new MailAlias for another address").field_path(".localPart"))]
#[x_kube(validation = Rule::new("!(self.localPart == '*' && has(self.sendAs) && self.sendAs)").message("sendAs: true is not allowed for the catch-all (*), whose targets could send as anybody of the domain: leave it out or say false").field_path(".sendAs"))]
pub struct MailAliasSpec {
    /// The MailDomain. Immutable.
    pub domain_ref: LocalRef,
    /// The part before the `@`, lower case; `*` = every address that is not another one's. Immutable.
    #[schemars(transform = rules::alias_local_part)]
    pub local_part: String,
    /// Where mail goes.
    #[schemars(transform = rules::targets)]
    pub targets: Vec<AliasTarget>,
    /// Whether the targets may send as this address. Default: true, but false for `*`, whose holder could otherwise
    /// send as anybody of the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_as: Option<bool>,
    /// Name for the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::line)]
    pub display_name: Option<String>,
    /// What happens at the backend when the object is deleted.
    #[serde(default = "super::mail_domain::delete")]
    pub deletion_policy: DeletionPolicy,
    /// Whether the operator writes to the backend.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// Whether an alias that is already at the backend is taken over.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

/// One target: a mailbox of the instance or an address.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::alias_target)]
pub struct AliasTarget {
    /// A Mailbox in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox_ref: Option<LocalRef>,
    /// An address; outside the instance it needs `externalForwarding: Allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::address)]
    pub address: Option<String>,
}

/// What the operator knows of the alias.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailAliasStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `reconcile-requested-at` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The full address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the backend calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_id: Option<String>,
    /// How the alias at the backend came to be ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// For `managementPolicy: Observe`: fields that differ at the backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
