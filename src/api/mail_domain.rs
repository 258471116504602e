//! `MailDomain`: a domain of a tenant.

use super::*;
use kube::{CustomResource, KubeSchema};
pub use mailtenant_mail::policy::{
    ConflictPolicy, DkimAlgorithm, DmarcPolicy, OnDelete, Purpose, RecordState, RecordStatus, SpfAll,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A domain of a tenant: its proof, its DNS, its keys, its cut-over.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailtenant.dev",
    version = "v1alpha1",
    kind = "MailDomain",
    plural = "maildomains",
    shortname = "md",
    category = "mail",
    namespaced,
    validation = Rule::new("!has(self.spec.aliasOf) || self.spec.aliasOf.name != self.metadata.name").message("aliasOf must name another MailDomain than this one").field_path(".spec.aliasOf"),
    status = "MailDomainStatus",
    derive = "PartialEq",
    selectable = ".spec.instanceRef.name",
    selectable = ".spec.dns.backendRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instanceRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.instanceRef.name == oldSelf.instanceRef.name").message("instanceRef is immutable: a domain stays in its instance; delete this MailDomain and create one in the other instance").field_path(".instanceRef"))]
#[x_kube(validation = Rule::new("self.domain == oldSelf.domain").message("domain is immutable: create a new MailDomain for another name").field_path(".domain"))]
pub struct MailDomainSpec {
    /// The MailInstance. Immutable.
    pub instance_ref: LocalRef,
    /// Name of the domain, as U-label or A-label, lower case, without a trailing dot. Immutable.
    #[schemars(transform = rules::domain)]
    pub domain: String,
    /// Records.
    pub dns: DomainDns,
    /// Signing keys.
    #[serde(default)]
    pub dkim: Dkim,
    /// When MX is switched to us.
    #[serde(default)]
    pub cutover: Cutover,
    /// Every address of that domain works here too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<LocalRef>,
    /// What happens at the backend when the object is deleted.
    #[serde(default = "delete")]
    pub deletion_policy: DeletionPolicy,
    /// Whether the operator writes.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// Whether a domain that is already at the backend is taken over.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

pub(super) fn delete() -> DeletionPolicy {
    DeletionPolicy::Delete
}

/// Records of the domain.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::domain_dns)]
pub struct DomainDns {
    /// Who edits the records.
    pub mode: DnsMode,
    /// The DNSBackend, for `Managed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<LocalRef>,
    /// What is done about a record of ours-to-be that is already there with another value.
    #[serde(default)]
    pub conflict_policy: ConflictPolicy,
    /// Time to live of our records, in seconds.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 1, max = 604800))]
    pub ttl: i32,
    /// SPF (RFC 7208). `null` = leave SPF alone.
    #[serde(default = "default_spf")]
    pub spf: Option<Spf>,
    /// DMARC (RFC 9989).
    #[serde(default)]
    pub dmarc: Dmarc,
    /// MTA-STS (RFC 8461).
    #[serde(default)]
    pub mta_sts: MtaSts,
    /// TLS reports (RFC 8460).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_rpt: Option<TlsRpt>,
    /// SRV records, autoconfig, autodiscover.
    #[serde(default = "yes")]
    pub client_discovery: bool,
    /// What becomes of MX when the domain goes.
    #[serde(default)]
    pub on_delete: OnDelete,
}

fn default_ttl() -> i32 {
    3600
}
fn default_spf() -> Option<Spf> {
    Some(Spf::default())
}
fn yes() -> bool {
    true
}

/// Who edits the records.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DnsMode {
    /// The operator, at a DNSBackend.
    Managed,
    /// The tenant, elsewhere; we tell and check.
    Manual,
}

/// SPF policy.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Spf {
    /// Result for all other senders.
    pub all: SpfAll,
}

/// DMARC policy.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dmarc {
    /// What receivers do with mail that fails.
    pub policy: DmarcPolicy,
    /// `mailto:` URIs for aggregate reports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = rules::dmarc_uris)]
    pub report_to: Vec<String>,
}

impl Default for Dmarc {
    fn default() -> Self {
        Dmarc { policy: DmarcPolicy::Quarantine, report_to: vec![] }
    }
}

/// MTA-STS policy.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct MtaSts {
    /// Mode of the policy.
    pub mode: MtaStsMode,
}

/// Mode of an MTA-STS policy.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum MtaStsMode {
    /// No policy.
    #[default]
    None,
    /// Report only.
    Testing,
    /// Enforced.
    Enforce,
}

/// Where TLS reports go.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsRpt {
    /// `mailto:` or `https:` URIs.
    #[schemars(transform = rules::tls_rpt_uris)]
    pub report_to: Vec<String>,
}

/// Signing keys.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dkim {
    /// One key for each.
    #[schemars(transform = rules::algorithms)]
    pub algorithms: Vec<DkimAlgorithm>,
    /// Age at which keys are replaced by new ones, in days: `365d`.
    #[schemars(transform = rules::days)]
    pub rotate_every: String,
}

impl Default for Dkim {
    fn default() -> Self {
        Dkim { algorithms: vec![DkimAlgorithm::RSA2048, DkimAlgorithm::Ed25519], rotate_every: "365d".into() }
    }
}

/// When MX is switched to us.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Cutover {
    /// Who decides.
    pub mode: CutoverMode,
    /// For `Manual`: go.
    pub approved: bool,
}

/// Who decides when MX is switched.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum CutoverMode {
    /// As soon as the server takes every declared address.
    #[default]
    Auto,
    /// And `approved` is true.
    Manual,
}

/// What the operator knows of the domain.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailDomainStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `reconcile-requested-at` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Value of the annotation `rotate-dkim` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rotate_dkim: Option<String>,
    /// Where the domain is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DomainState>,
    /// The name as it stands in the DNS (A-label).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_id: Option<String>,
    /// How the domain at the backend came to be ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// The record that proves ownership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// Records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DomainDnsStatus>,
    /// Signing keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dkim: Vec<DkimKeyStatus>,
    /// Until when the old MX may be in caches and the backend goes on accepting (RFC 3339); set once, when MX left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_until: Option<String>,
    /// For `managementPolicy: Observe`: what differs at the backend and in the DNS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where a domain is on its way.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DomainState {
    /// Ownership is not proven yet.
    Pending,
    /// Ownership is proven and the claim is ours.
    Verified,
    /// The backend has it.
    Provisioned,
    /// All but MX is there.
    CutoverReady,
    /// MX is ours.
    Live,
    /// On the way out: MX left, the backend goes on accepting.
    Draining,
    /// Ownership was lost.
    Lost,
}

/// The record that proves ownership.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Challenge {
    /// Name of the record.
    pub name: String,
    /// `TXT`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Value, ready to paste.
    pub value: String,
}

/// Records as declared and as seen. It is also the journal of what was written: a record is named here
/// before it is written, so that whatever a crash leaves in the DNS is known to be ours.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainDnsStatus {
    /// DNSBackend that the records were written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Zone that holds the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// One entry a record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordStatus>,
    /// The MX set from before the cut-over: `preference host.`
    #[serde(default, rename = "previousMX", skip_serializing_if = "Option::is_none")]
    pub previous_mx: Option<Vec<String>>,
    /// TTL of the MX set from before the cut-over, in seconds.
    #[serde(default, rename = "previousMXTTL", skip_serializing_if = "Option::is_none")]
    pub previous_mx_ttl: Option<i64>,
    /// Time to live (seconds) of our MX, as it was written last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx_ttl: Option<i64>,
    /// Until when resolvers may keep an MX of ours with a longer time to live from before (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx_cached_until: Option<String>,
}

/// One signing key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DkimKeyStatus {
    /// Selector.
    pub selector: String,
    /// Algorithm.
    pub algorithm: DkimAlgorithm,
    /// How it stands.
    pub state: DkimKeyState,
    /// Since when it signs no more (RFC 3339). Its record stays for 14 days more, for mail on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<String>,
}

/// How a signing key stands.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DkimKeyState {
    /// Made, its record is not seen yet.
    Pending,
    /// Mail is signed with it.
    Active,
    /// Its record stays for mail on its way.
    Retiring,
}
