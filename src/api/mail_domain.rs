//! `MailDomain`: a domain of a tenant.

use super::*;
use kube::{CustomResource, KubeSchema};
pub use mailtenant_mail::policy::{
    ConflictPolicy, DkimAlgorithm, DmarcPolicy, MtaStsMode, OnDelete, Purpose, RecordState, RecordStatus, SpfAll,
};
use mailtenant_mail::records::MtaStsPolicy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A domain of a tenant: proof of ownership, DNS records, DKIM keys, and when MX is switched.
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
    /// The MailInstance that the domain belongs to, in the same namespace. Immutable.
    pub instance_ref: LocalRef,
    /// Name of the domain, such as `acme.example` or `münchen.example`: U-labels or A-labels (RFC 5890), in lower case,
    /// without a trailing dot. Immutable.
    #[schemars(transform = rules::domain)]
    pub domain: String,
    /// Which DNS records the domain gets, and who writes them.
    pub dns: DomainDns,
    /// DKIM keys that outgoing mail is signed with (RFC 6376). Left out: one RSA and one
    /// Ed25519 key, replaced every year.
    #[serde(default)]
    pub dkim: Dkim,
    /// When MX is switched to the groupware server. Left out: as soon as the server accepts
    /// mail for every declared address.
    #[serde(default)]
    pub cutover: Cutover,
    /// A MailDomain in the same namespace whose addresses all work in this domain too. Not supported by this
    /// release: the domain reports `Unsupported`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<LocalRef>,
    /// What happens at the backend when this object is deleted. `Delete` (default): the domain is deleted there, unless
    /// retained mailboxes are left in it. `Retain`: it is switched off and kept. For its MX see `dns.onDelete`.
    #[serde(default = "delete")]
    pub deletion_policy: DeletionPolicy,
    /// `Full` (default): create, change and delete at the backend and in the DNS. `Observe`: never
    /// write; `status.drift` lists what differs.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// What happens if the backend has this domain already. `Never` (default): it is left alone, and this object
    /// reports `ExistsAtBackend`. `IfUnowned`: it is taken over if no object owns it, and either an object of this
    /// namespace had it last (`deletionPolicy: Retain`) or the name is shown to be the tenant's: the zone's own
    /// `allowedNamespaces` names the namespace, or the zone shows the TXT record of `status.challenge`. Otherwise
    /// this object reports `NotEntitled`.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

pub(super) fn delete() -> DeletionPolicy {
    DeletionPolicy::Delete
}

/// DNS records of a mail domain.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::domain_dns)]
pub struct DomainDns {
    /// Who writes the records. `Managed`: the operator, at the DNSBackend that `backendRef` names. `Manual`: the
    /// tenant, at some other DNS server: `status.dns.records` says what to add, and how each record stands. Ownership is always
    /// proven by `status.challenge`. Immutable.
    pub mode: DnsMode,
    /// For `mode: Managed`, and only there: the DNSBackend that holds the zone. It must allow this namespace. A domain
    /// whose records were written cannot move to another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<LocalRef>,
    /// What happens where a record that the domain needs is already there with another value. `Refuse` (default): it is
    /// left alone, and the domain reports `DNSConflict`. `Adopt`: it is kept and counts as published, except DKIM keys.
    /// `Overwrite`: it is replaced. A CNAME, or a LUA record of PowerDNS, at the name of a record is treated in the same way,
    /// but at the domain itself always left alone. An existing SPF record is not a conflict: one `include:` is added to it.
    #[serde(default)]
    pub conflict_policy: ConflictPolicy,
    /// Time to live of the records, in seconds. A deleted domain accepts mail for as long after MX has left, so lower
    /// it in time before a move.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 1, max = 604800))]
    pub ttl: i32,
    /// SPF (RFC 7208): who may send as the domain. Left out: the record includes that of the backend and ends in `-all`,
    /// once MX leads to the groupware server.
    /// `null`: SPF is left alone, as it is if the backend has none to include.
    #[serde(default = "default_spf")]
    pub spf: Option<Spf>,
    /// DMARC (RFC 9989): what receivers do with mail that fails SPF and DKIM. Left out: `Quarantine`, without reports.
    /// `null`: DMARC is left alone.
    #[serde(default = "default_dmarc")]
    pub dmarc: Option<Dmarc>,
    /// MTA-STS (RFC 8461): whether senders must use TLS. The policy is published once MX leads to the groupware server and
    /// `https://mta-sts.<domain>` was seen to serve it. It needs `hosts.wellKnown` of the GroupwareBackend: without it a mode other
    /// than `None` is listed in the condition `FieldsIgnored`. How it stands: `status.dns.mtaSts`.
    #[serde(default)]
    pub mta_sts: MtaSts,
    /// Where senders report failed TLS connections (RFC 8460), in the TXT record `_smtp._tls`. Left out: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_rpt: Option<TlsRpt>,
    /// SRV records by which mail clients find the servers: mail (RFC 6186, RFC 8314), filters (RFC 5804), calendars and
    /// contacts (RFC 6764). They are published once MX leads to the groupware server; one that is in their place is
    /// reported in `status.dns.records` and holds nothing up. Default `true`. With
    /// `hosts.wellKnown` of the GroupwareBackend also the names `autoconfig` and `autodiscover` below the domain, as CNAME.
    #[serde(default = "yes")]
    pub client_discovery: bool,
    /// What MX becomes when this object is deleted; for `mode: Managed` only. `RestorePrevious` (default): the set from before the cut-over.
    /// `NullMX`: `0 .`, the domain accepts no mail (RFC 7505). `Remove`: no MX.
    #[serde(default)]
    pub on_delete: OnDelete,
}

fn default_ttl() -> i32 {
    3600
}
fn default_spf() -> Option<Spf> {
    Some(Spf::default())
}
fn default_dmarc() -> Option<Dmarc> {
    Some(Dmarc::default())
}
fn yes() -> bool {
    true
}

/// Who writes the DNS records.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DnsMode {
    /// The operator writes them, at a DNSBackend.
    Managed,
    /// The tenant writes them elsewhere. The operator shows and checks them.
    Manual,
}

/// SPF record of a domain (RFC 7208).
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Spf {
    /// Result for all other senders. `Fail` (default): `-all`, and `~all` until MX is switched: until then the domain may
    /// send through another server. `SoftFail`: `~all`. `Neutral`: `?all`. An existing SPF record keeps its own.
    pub all: SpfAll,
}

/// DMARC record of a domain (RFC 9989).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dmarc {
    /// What receivers should do with mail that fails. `None`: nothing, `p=none`. `Quarantine` (default): treat it as
    /// suspicious, `p=quarantine`. `Reject`: refuse it, `p=reject`. Until MX is switched `p=none` is published: until then the
    /// domain may send through another server. An equal record that is there already stays.
    pub policy: DmarcPolicy,
    /// Where receivers send aggregate reports (RFC 9990): up to 10 `mailto:` URIs. Left out: nowhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = rules::dmarc_uris)]
    pub report_to: Vec<String>,
}

impl Default for Dmarc {
    fn default() -> Self {
        Dmarc { policy: DmarcPolicy::Quarantine, report_to: vec![] }
    }
}

/// MTA-STS policy of a domain (RFC 8461).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MtaSts {
    /// `None` (default): no policy. One that was published is replaced by one that says so (mode `none`), until no sender
    /// can hold it any more. `Testing`: senders only report failures, to `tlsRpt`. `Enforce`: senders deliver over valid TLS or
    /// not at all; before it is published, `testing` is, and was seen to be served.
    pub mode: MtaStsMode,
    /// How long senders keep the policy, in seconds; up to 30 days. Default 604800, a week. As long as that a domain with
    /// `Enforce` keeps its MX when it is deleted: senders would not deliver to another mail server.
    #[schemars(range(min = 1, max = 2592000))]
    pub max_age: i32,
}

impl Default for MtaSts {
    fn default() -> Self {
        MtaSts { mode: MtaStsMode::None, max_age: 604_800 }
    }
}

/// TLS reporting of a domain (RFC 8460).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsRpt {
    /// Where senders send reports: 1 to 10 `mailto:` or `https:` URIs.
    #[schemars(transform = rules::tls_rpt_uris)]
    pub report_to: Vec<String>,
}

/// DKIM keys of a domain (RFC 6376).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dkim {
    /// Algorithms, one key for each: `RSA2048` (RFC 8301), `Ed25519` (RFC 8463; needs
    /// the capability `DkimEd25519`). Default: both.
    #[schemars(transform = rules::algorithms)]
    pub algorithms: Vec<DkimAlgorithm>,
    /// Age at which a key is replaced by a new one, in days, such as `365d` (default). The record of the old
    /// key stays for 14 days.
    #[schemars(transform = rules::days)]
    pub rotate_every: String,
}

impl Default for Dkim {
    fn default() -> Self {
        Dkim { algorithms: vec![DkimAlgorithm::RSA2048, DkimAlgorithm::Ed25519], rotate_every: "365d".into() }
    }
}

/// When MX is switched to the groupware server.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Cutover {
    /// `Auto` (default): MX is switched once ownership is proven and the mail server accepts every declared address.
    /// `Manual`: not before `approved` is `true` as well.
    pub mode: CutoverMode,
    /// For `mode: Manual`: `true` allows the switch. Default `false`.
    pub approved: bool,
}

/// Who decides when MX is switched.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum CutoverMode {
    /// As soon as the mail server accepts every declared address.
    #[default]
    Auto,
    /// The same, and not before `approved` is `true`.
    Manual,
}

/// What the operator last saw of the domain at the backend and in the DNS.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailDomainStatus {
    /// `metadata.generation` of the spec that this status describes. -1: the operator has not looked at the object yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `mailtenant.dev/reconcile-requested-at` that the last full pass answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Value of the annotation `mailtenant.dev/rotate-dkim` for which new DKIM keys were last made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rotate_dkim: Option<String>,
    /// How far the domain has come. `Pending`: ownership is not proven yet. `Verified`: it is. `Provisioned`:
    /// the groupware server has the domain. `CutoverReady`: all records but MX are published. `Live`: MX
    /// points to the server. `Draining`: being deleted, MX has left, mail is still accepted. `Lost`:
    /// another tenant holds the name now; nothing new is made, and nothing is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DomainState>,
    /// Name of the domain at the backend and in the DNS, as A-label (RFC 5890).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_id: Option<String>,
    /// `Created` by this object, `Adopted` (it was there before and was taken over), or `Observed`. Only what was
    /// created or adopted is ever deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// The TXT record to publish as proof of ownership, where the zone asks for it (`requireProof` of the DNSBackend), and always
    /// for `mode: Manual`. With
    /// `adoptionPolicy: IfUnowned` its value is another one, which also entitles to take over what was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// The DNS records of the domain, as declared and as seen at the authoritative servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DomainDnsStatus>,
    /// The DKIM keys of the domain, one entry each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dkim: Vec<DkimKeyStatus>,
    /// Time (RFC 3339) until which resolvers may still have the MX that was withdrawn; the backend accepts mail until
    /// then. Set once, when MX has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_until: Option<String>,
    /// For `managementPolicy: Observe`: what differs at the backend and in the DNS: names of fields, records such as
    /// `MX acme.example`, or `missing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// `Ready`, `Reconciling` or `Stalled`, `OwnershipVerified`, `Provisioned`, `DNSPublished`, `CutOver`, `Undeclared`,
    /// `Healthy` once the domain was live, `FieldsIgnored` where a field has no effect, and `DeletionBlocked` while a deletion waits. Each has
    /// a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl MailDomainStatus {
    /// For `mode: Manual`: whether MX must be left as it is. It is asked for only while all but MX is done, and the operator waits
    /// for that alone (I7).
    pub fn mx_stays(&self) -> bool {
        let asked = |type_: ConditionType| {
            let not_yet = conditions::find(&self.conditions, type_).filter(|c| c.status == "False");
            not_yet.is_some_and(|c| {
                [Reason::AwaitingRecords, Reason::DNSPropagating].iter().any(|reason| c.reason == reason.as_str())
            })
        };
        let open = self.state == Some(DomainState::CutoverReady);
        !(open && asked(ConditionType::CutOver) && asked(ConditionType::Ready))
    }
}

/// How far a domain has come.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DomainState {
    /// Ownership is not proven yet.
    Pending,
    /// Ownership is proven, and the claim is held.
    Verified,
    /// The groupware server has the domain.
    Provisioned,
    /// All records but MX are published.
    CutoverReady,
    /// MX points to the groupware server.
    Live,
    /// The object is being deleted: MX has left, mail is still accepted.
    Draining,
    /// Ownership was proven once and is not any more. Reserved: this release never sets it.
    Lost,
}

/// A TXT record that proves ownership of a domain.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Challenge {
    /// Name of the record: absolute, without a trailing dot.
    pub name: String,
    /// Type of the record, always `TXT`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Text of the record, without quotes. Only this MailDomain has this value.
    pub value: String,
}

/// Records as declared and as seen. It is also the journal of what was written: a record is listed here before it is
/// written, so that whatever a crash leaves in the DNS is known to be the operator's.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainDnsStatus {
    /// Name of the DNSBackend that the records were written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Name of the zone at the DNSBackend that holds the records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The records, one entry for each value. It is also the journal of what the operator wrote: a value is listed here
    /// before it is written, and until it is seen to be gone. For `mode: Manual`: what the tenant has to add, each ready to
    /// paste, with its state; while ownership is not proven, the challenge alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordStatus>,
    /// The MX set from before the cut-over, as `preference host.`; empty: there was none.
    #[serde(default, rename = "previousMX", skip_serializing_if = "Option::is_none")]
    pub previous_mx: Option<Vec<String>>,
    /// TTL of the MX set from before the cut-over, in seconds.
    #[serde(default, rename = "previousMXTTL", skip_serializing_if = "Option::is_none")]
    pub previous_mx_ttl: Option<i64>,
    /// Time to live of the MX that the operator wrote last, in seconds; for `mode: Manual` of the MX that led here last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx_ttl: Option<i64>,
    /// Time (RFC 3339) until which resolvers may have an earlier MX of the operator that had a longer time to live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx_cached_until: Option<String>,
    /// An MTA-STS policy of whoever had the mail of the domain before, while it has MX stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_policy: Option<FormerPolicy>,
    /// The MTA-STS policy that is served for the domain, and how far senders were told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mta_sts: Option<MtaStsStatus>,
    /// For `mode: Manual`: where all records stand as a zone file (RFC 1035), to be pasted at once. What must not be added
    /// yet, or only in the place of something that is there, is a comment in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_file: Option<ZoneFileRef>,
}

/// An MTA-STS policy (RFC 8461) that was in force before MX led here, and that does not name the mail servers of the backend.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerPolicy {
    /// Ids in the TXT record `_mta-sts` that tell senders of it.
    #[serde(default)]
    pub ids: Vec<String>,
    /// How long senders keep it, in seconds: the longest time that was seen.
    pub max_age: i64,
    /// Time (RFC 3339) until which senders may hold it, once it has ended without a new id. MX stays until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<String>,
}

/// The MTA-STS policy of a domain (RFC 8461) as it is served at `https://mta-sts.<domain>/.well-known/mta-sts.txt`.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MtaStsStatus {
    /// Mode of the policy. It follows the spec in steps: `Testing` before `Enforce`, and `None` before there is no policy
    /// any more.
    pub mode: MtaStsMode,
    /// Mail servers that the policy names: those that MX leads to, and those that it is going to lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx: Vec<String>,
    /// How long senders keep the policy, in seconds.
    pub max_age: i64,
    /// Id of the policy that the TXT record `_mta-sts` tells senders of; it is set once the policy was seen to be served.
    /// Left out: senders are told of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Time (RFC 3339) until which senders may hold an earlier policy with `Enforce`. Set when it was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced_until: Option<String>,
    /// What is waited for, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl MtaStsStatus {
    /// The policy that is served.
    pub fn policy(&self) -> MtaStsPolicy {
        let max_age = u32::try_from(self.max_age.max(0)).unwrap_or(u32::MAX);
        MtaStsPolicy::new(self.mode, self.mx.iter().map(String::as_str), max_age)
    }
}

/// A key of a ConfigMap in the namespace of the MailDomain.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneFileRef {
    /// Name of the ConfigMap: `<name of the MailDomain>-records`. The operator writes it, and it goes with the MailDomain.
    pub config_map: String,
    /// Key that holds the zone file: `zone`.
    pub key: String,
}

/// One DKIM key of a domain.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DkimKeyStatus {
    /// Selector: the record of the key is `<selector>._domainkey.<domain>`.
    pub selector: String,
    /// Algorithm of the key: `RSA2048` or `Ed25519`.
    pub algorithm: DkimAlgorithm,
    /// `Pending`: made, and not every authoritative server shows its record yet. `Active`: mail is signed with it.
    /// `Retiring`: it does not sign any more, its record stays for mail on its way.
    pub state: DkimKeyState,
    /// Time (RFC 3339) at which mail was last signed with it. Its record stays for 14 days more, for mail on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<String>,
}

/// What a DKIM key is used for now.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DkimKeyState {
    /// Made, and its record is not seen everywhere yet.
    Pending,
    /// Mail is signed with it.
    Active,
    /// Signs no mail any more. Its record stays for mail on its way.
    Retiring,
}
