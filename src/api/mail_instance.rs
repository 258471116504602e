//! `MailInstance`: the tenant.

use super::*;
use kube::{CustomResource, KubeSchema};
pub use mailtenant_mail::policy::AddressBook;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A mail tenant: a backend, booked storage, limits and policies.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailtenant.dev",
    version = "v1alpha1",
    kind = "MailInstance",
    plural = "mailinstances",
    shortname = "mi",
    category = "mail",
    namespaced,
    status = "MailInstanceStatus",
    derive = "PartialEq",
    selectable = ".spec.backendRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Instance", type_ = "string", json_path = ".status.instanceId"),
    printcolumn(name = "Backend", type_ = "string", json_path = ".spec.backendRef.name"),
    printcolumn(name = "Used", type_ = "string", json_path = ".status.usage.storageUsed"),
    printcolumn(name = "Storage", type_ = "string", json_path = ".spec.storage"),
    printcolumn(name = "Mailboxes", type_ = "integer", json_path = ".status.usage.mailboxes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.backendRef.name == oldSelf.backendRef.name").message("backendRef is immutable: create a new MailInstance to use another backend").field_path(".backendRef"))]
pub struct MailInstanceSpec {
    /// The GroupwareBackend. Immutable.
    pub backend_ref: LocalRef,
    /// Booked storage. May be lowered down to what is allocated.
    #[schemars(transform = rules::storage)]
    pub storage: Quantity,
    /// How the booked storage bounds the mailboxes.
    #[serde(default)]
    pub storage_policy: StoragePolicy,
    /// Limits on numbers; a missing one = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<InstanceLimits>,
    /// Quota of mailboxes that do not say their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::storage)]
    pub default_mailbox_quota: Option<Quantity>,
    /// For mailboxes that do not say their own. The instance itself always ends as `Delete` once nothing is retained in it.
    #[serde(default = "retain")]
    pub deletion_policy: DeletionPolicy,
    /// Whether the operator writes to the backend.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// Whether a tenant that is already at the backend is taken over.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// Forwards and alias targets outside the instance. `Deny` also stops users' own filters (Sieve) from sending mail on.
    #[serde(default)]
    pub external_forwarding: ExternalForwarding,
    /// Who sees whom in the address book.
    #[serde(default)]
    pub address_book: AddressBook,
    /// Where notices go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::address)]
    pub contact: Option<String>,
}

fn retain() -> DeletionPolicy {
    DeletionPolicy::Retain
}

/// How the booked storage bounds the mailboxes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum StoragePolicy {
    /// Mailbox quotas sum to at most the storage.
    #[default]
    Allocate,
    /// What mailboxes use sums to at most the storage (capability `TenantStorage`).
    Share,
}

/// Forwards and alias targets outside the instance.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ExternalForwarding {
    /// Refused.
    #[default]
    Deny,
    /// Allowed.
    Allow,
}

/// Limits on numbers; a missing one = no limit.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct InstanceLimits {
    /// Domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub domains: Option<i64>,
    /// Mailboxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub mailboxes: Option<i64>,
    /// Aliases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub aliases: Option<i64>,
}

/// What the operator knows of the tenant.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailInstanceStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `reconcile-requested-at` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The number a user tells support: stable, unique at the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// How the tenant at the backend came to be ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// Value of the annotation `accept-mass-loss` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_mass_loss: Option<String>,
    /// Whether mailboxes that are missing at the backend are held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mass_loss: Option<MassLossState>,
    /// What is used of what was booked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<InstanceUsage>,
    /// For `managementPolicy: Observe`: what differs at the backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Whether mailboxes that are missing at the backend are held back.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum MassLossState {
    /// Many are missing; nothing is made again.
    Held,
    /// A person has said that they may be made again.
    Accepted,
}

/// What is used of what was booked.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceUsage {
    /// Domains.
    #[serde(default)]
    pub domains: i64,
    /// Mailboxes.
    #[serde(default)]
    pub mailboxes: i64,
    /// Aliases.
    #[serde(default)]
    pub aliases: i64,
    /// Sum of the mailboxes' quotas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_allocated: Option<Quantity>,
    /// Storage in use, in steps of 1 % of what was booked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_used: Option<Quantity>,
}
