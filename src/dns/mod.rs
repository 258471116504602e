//! What the operator asks of DNS servers, and what it looks up.
//!
//! `records` knows what a mail domain needs (pure), `merge` turns that and what is there into changes (pure),
//! each provider carries changes out. A provider may not touch Kubernetes and knows nothing of mail.

pub mod dkim;
pub mod merge;
pub mod metered;
pub mod name;
pub mod powerdns;
pub mod probe;
pub mod records;
pub mod resolve;
pub mod spf;
pub mod value;

use crate::api::DNSBackendSpec;
pub use crate::groupware::{BackendError, Result};
use crate::runtime::secret::SecretText;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Type of a record, of those that the operator reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum RecordType {
    MX,
    TXT,
    CNAME,
    SRV,
    TLSA,
    CAA,
    NS,
    SOA,
}

impl RecordType {
    /// The word of the DNS.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordType::MX => "MX",
            RecordType::TXT => "TXT",
            RecordType::CNAME => "CNAME",
            RecordType::SRV => "SRV",
            RecordType::TLSA => "TLSA",
            RecordType::CAA => "CAA",
            RecordType::NS => "NS",
            RecordType::SOA => "SOA",
        }
    }
}

/// All records of one name and type.
///
/// `name` is absolute, lower case, A-label, without a trailing dot. A value is canonical: for TXT the joined text,
/// for MX `preference host.` with a lower-case absolute host, for others the presentation form.
/// `values` is sorted, each once; an empty set = there is no such record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RrSet {
    /// Absolute name without a trailing dot.
    pub name: String,
    /// Type.
    pub rtype: RecordType,
    /// Time to live in seconds; of no meaning when there are no values.
    pub ttl: u32,
    /// Canonical values.
    pub values: Vec<String>,
}

/// A change of one set, made only if the set is as `before` says (compare and set: by the server where it can,
/// else by the provider under a lock).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was read.
    pub before: RrSet,
    /// What shall be: no values = the set is deleted.
    pub after: RrSet,
}

/// What a DNS server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsCapabilities {
    /// Several sets change at once or not at all.
    pub atomic: bool,
    /// The server itself compares before it sets.
    pub compare_and_set: bool,
}

/// A DNS server that takes changes.
#[async_trait]
pub trait DnsBackend: Send + Sync {
    /// Word for the status: `powerdns`.
    fn provider(&self) -> &'static str;
    /// What it can do.
    fn capabilities(&self) -> DnsCapabilities;
    /// Is it there, are our credentials good? Its version.
    async fn probe(&self) -> Result<String>;
    /// The zone that holds `name` at this server: the longest one that is a suffix. [`BackendError::NotFound`]: none.
    async fn find_zone(&self, name: &str) -> Result<String>;
    /// The sets of these names and types, each one asked for given back, also when empty.
    async fn read(&self, zone: &str, which: &[(String, RecordType)]) -> Result<Vec<RrSet>>;
    /// Carries out the changes, in one step where the server can. [`BackendError::Conflict`]: a set is not as `before`
    /// says; nothing was changed where [`DnsCapabilities::atomic`].
    async fn apply(&self, zone: &str, changes: &[Change]) -> Result<()>;
}

/// What the authoritative servers of a name say, without any cache between.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The set as each server has it, in the order of the servers. An error if none answers; a server that does not
    /// answer while others do is left out.
    async fn lookup(&self, name: &str, rtype: RecordType) -> Result<Vec<RrSet>>;
}

/// What a mail server says about a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It takes mail for it, or would if the mailbox were not full.
    Accepted,
    /// It knows no such recipient, or does not take mail for the domain (5xx).
    Refused(String),
    /// It cannot say now (4xx).
    Later(String),
}

/// Asks a mail server by SMTP whether it takes recipients, without sending mail.
#[async_trait]
pub trait RecipientProbe: Send + Sync {
    /// One verdict an address, in their order, for as many of them as the server answers for within `time`: at least
    /// one, which may take longer. An error: not even one. `server` is host and port.
    async fn ask(&self, server: &(String, u16), addresses: &[String], time: Duration) -> Result<Vec<Verdict>>;
}

/// What a provider is built from.
pub struct DnsSettings {
    /// Spec of the `DNSBackend`.
    pub spec: DNSBackendSpec,
    /// Values of the Secrets, by `(name, key)`.
    pub secrets: BTreeMap<(String, String), SecretText>,
}

/// Makes providers and resolvers for a `DNSBackend`; the simulator has another one.
pub trait Connect: Send + Sync {
    /// Secrets, as `(name, key)`, that the spec names.
    fn secrets(&self, spec: &DNSBackendSpec) -> Vec<(String, String)>;
    /// The provider. Nothing is sent yet.
    fn connect(&self, settings: DnsSettings) -> Result<Arc<dyn DnsBackend>>;
    /// Looks up by the spec's `resolvers`, else by the provider's `dnsAddress`, else from the root.
    fn resolver(&self, spec: &DNSBackendSpec) -> Result<Arc<dyn Resolver>>;
}
