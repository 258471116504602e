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
    /// The GroupwareBackend that serves the tenant. It must allow this namespace. Immutable.
    pub backend_ref: LocalRef,
    /// Storage that the tenant booked, such as `100Gi`. It may be lowered down to what the mailboxes were given;
    /// below that `WithinLimits` becomes `False`.
    #[schemars(transform = rules::storage)]
    pub storage: Quantity,
    /// How `storage` limits the mailboxes. `Allocate` (default): their quotas add up to at most `storage`. `Share`:
    /// what they use does; needs the capability `TenantStorage`.
    #[serde(default)]
    pub storage_policy: StoragePolicy,
    /// Most domains, mailboxes and aliases. A number that is left out is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<InstanceLimits>,
    /// Quota of mailboxes without one of their own, such as `5Gi`. Left out: each mailbox must have its own, unless
    /// `storagePolicy` is `Share`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::storage)]
    pub default_mailbox_quota: Option<Quantity>,
    /// What happens to the data of a deleted Mailbox that has no `deletionPolicy` of its own. `Retain` (default): it is
    /// switched off and kept at the backend. `Delete`: it is deleted. The tenant itself is deleted at the backend once
    /// nothing is retained in it.
    #[serde(default = "retain")]
    pub deletion_policy: DeletionPolicy,
    /// `Full` (default): create, change and delete at the backend. `Observe`: never
    /// write; `status.drift` lists what differs.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// What happens if the backend has a tenant of this namespace and name already. `Never` (default): it is left
    /// alone, and this object reports `ExistsAtBackend`. `IfUnowned`: it is taken over unless another object owns it.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// Whether mailboxes may forward to, and aliases may name, addresses outside the
    /// instance. `Deny` (default) or `Allow`. `Deny` also stops users' own filters (Sieve) from sending mail on.
    #[serde(default)]
    pub external_forwarding: ExternalForwarding,
    /// Whom users find in the address book. `Instance` (default): everybody of the instance. `Domain`: everybody of
    /// their own domain. `None`: nobody.
    #[serde(default)]
    pub address_book: AddressBook,
    /// Address of the person in charge of the tenant. This release sends no notices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::address)]
    pub contact: Option<String>,
}

fn retain() -> DeletionPolicy {
    DeletionPolicy::Retain
}

/// How the booked storage limits the mailboxes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum StoragePolicy {
    /// The quotas of the mailboxes add up to at most the storage.
    #[default]
    Allocate,
    /// What the mailboxes use adds up to at most the storage (capability `TenantStorage`).
    Share,
}

/// Whether mail may be forwarded out of the instance.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ExternalForwarding {
    /// Refused: the object reports `ExternalForwardingDenied`.
    #[default]
    Deny,
    /// Allowed, to any address.
    Allow,
}

/// Most objects of each kind. A number that is left out is not limited.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct InstanceLimits {
    /// Most MailDomains that name this instance. Of those above it the youngest report `LimitExceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub domains: Option<i64>,
    /// Most Mailboxes in the domains of this instance. Of those above it the youngest report `LimitExceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub mailboxes: Option<i64>,
    /// Most MailAliases in the domains of this instance. Of those above it the youngest report `LimitExceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub aliases: Option<i64>,
}

/// What the operator last saw of the tenant at the backend.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailInstanceStatus {
    /// `metadata.generation` of the spec that this status describes. -1: the operator has not looked at the object yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `mailtenant.dev/reconcile-requested-at` that the last full pass answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Identifier of the tenant at the backend, for support requests. It never changes and is unique there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// `Created` by this object, `Adopted` (it was there before and was taken over), or `Observed`. Only what was
    /// created or adopted is ever deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// Value of the annotation `mailtenant.dev/accept-mass-loss` that was last accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_mass_loss: Option<String>,
    /// `Held`: many mailboxes are missing at the backend, and none is created again before a person
    /// accepts the loss. `Accepted`: it was accepted by the annotation `mailtenant.dev/accept-mass-loss`.
    /// Left out: nothing much is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mass_loss: Option<MassLossState>,
    /// How many objects the tenant has, and how much of its storage is given out and used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<InstanceUsage>,
    /// For `managementPolicy: Observe`: names of the fields that differ at the backend, or `missing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// `Ready`, `Reconciling` or `Stalled`, `WithinLimits`, and `DeletionBlocked` while a deletion waits. Each has
    /// a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Whether mailboxes that are missing at the backend may be created again.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum MassLossState {
    /// Many are missing. None is created again.
    Held,
    /// A person has accepted the loss. They are created again.
    Accepted,
}

/// What the tenant has of what it booked.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceUsage {
    /// Number of MailDomains that name this instance.
    #[serde(default)]
    pub domains: i64,
    /// Number of Mailboxes in the domains of this instance.
    #[serde(default)]
    pub mailboxes: i64,
    /// Number of MailAliases in the domains of this instance.
    #[serde(default)]
    pub aliases: i64,
    /// Sum of the quotas of all mailboxes, `defaultMailboxQuota` for those without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_allocated: Option<Quantity>,
    /// Storage that the mail of all mailboxes takes, in steps of 1 % of `spec.storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_used: Option<Quantity>,
}
