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
    /// The MailDomain of the address, in the same namespace. Immutable.
    pub domain_ref: LocalRef,
    /// The part of the address before the `@`, in lower case, at most 64 characters (RFC 5321). `*` is the catch-all:
    /// every address of the domain that no Mailbox or other MailAlias has. Immutable.
    #[schemars(transform = rules::alias_local_part)]
    pub local_part: String,
    /// Mailboxes and addresses that get the mail, 1 to 500, each once.
    #[schemars(transform = rules::targets)]
    pub targets: Vec<AliasTarget>,
    /// Whether the target mailboxes may use this address as sender. Left out: `true`, and `false` for `*`, whose
    /// targets could otherwise send as anybody of the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_as: Option<bool>,
    /// Name shown in front of the address in mail that is sent as it. It has an effect only with the capability
    /// `AliasDisplayName`; without it `FieldsIgnored` lists the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::line)]
    pub display_name: Option<String>,
    /// What happens at the backend when this object is deleted. `Delete` (default): the alias is deleted. `Retain`: it
    /// is switched off and kept.
    #[serde(default = "super::mail_domain::delete")]
    pub deletion_policy: DeletionPolicy,
    /// `Full` (default): create, change and delete at the backend. `Observe`: never
    /// write; `status.drift` lists what differs.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// What happens if the backend has an alias of this address already. `Never` (default): it is left alone, and this
    /// object reports `ExistsAtBackend`. `IfUnowned`: it is taken over if no object owns it, and either an object of this
    /// namespace had it last (`deletionPolicy: Retain`) or the domain is shown to be the tenant's: the zone's own
    /// `allowedNamespaces` names the namespace, or the zone shows the TXT record that the message names. Otherwise this
    /// object reports `NotEntitled`.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

/// One target of an alias: exactly one of a mailbox of the instance and an address.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::alias_target)]
pub struct AliasTarget {
    /// A Mailbox in the same namespace, of the same MailInstance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox_ref: Option<LocalRef>,
    /// One address in lower case. An address outside the instance needs
    /// `externalForwarding: Allow` of the MailInstance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::address)]
    pub address: Option<String>,
}

/// What the operator last saw of the alias at the backend.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailAliasStatus {
    /// `metadata.generation` of the spec that this status describes. -1: the operator has not looked at the object yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `mailtenant.dev/reconcile-requested-at` that was answered last: the rows were read for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The full address, its domain as A-label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Identifier of the alias at the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_id: Option<String>,
    /// `Created` by this object, `Adopted` (it was there before and was taken over), or `Observed`. Only what was
    /// created or adopted is ever deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// For `managementPolicy: Observe`: names of the fields that differ at the backend, or `missing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// `Ready`, `Reconciling` or `Stalled`, `FieldsIgnored` where a field has no effect, and `DeletionBlocked` while a
    /// deletion waits. Each has a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
