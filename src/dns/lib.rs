//! What the operator asks of DNS servers, and what it looks up.
//!
//! What a mail domain needs and which changes that takes is decided in `mailtenant-mail`; a provider reads record sets and
//! carries changes out. It knows nothing of Kubernetes.

pub mod address;
mod ask;
pub mod converge;
pub mod guarded;
pub mod metered;
pub mod policy;
pub mod probe;
pub mod providers;
pub mod resolve;
pub mod standing;
pub mod survey;
pub mod wildcard;

use async_trait::async_trait;
pub use mailtenant_backend::{BackendError, Result};
pub use mailtenant_mail::rr::{Change, RecordType, RrSet};
use std::net::IpAddr;
use std::time::Duration;
pub use wildcard::Wildcard;

/// What a DNS server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsCapabilities {
    /// Several sets change at once or not at all.
    pub atomic: bool,
    /// The server itself compares before it sets.
    pub compare_and_set: bool,
}

impl DnsCapabilities {
    /// Their words for the status.
    pub fn words(self) -> Vec<&'static str> {
        let all = [(self.atomic, "AtomicUpdate"), (self.compare_and_set, "CompareAndSet")];
        all.into_iter().filter_map(|(can, word)| can.then_some(word)).collect()
    }
}

/// A DNS server that takes changes.
#[async_trait]
pub trait DnsServer: Send + Sync {
    /// Word for the status: `powerdns`, `rfc2136`.
    fn provider(&self) -> &'static str;
    /// What it can do.
    fn capabilities(&self) -> DnsCapabilities;
    /// Is it there, are our credentials good? Its version.
    async fn probe(&self) -> Result<String>;
    /// The zone that holds `name` at this server: the longest one that is a suffix. [`BackendError::NotFound`]: none.
    /// [`BackendError::ReadOnly`]: the server has a copy that it takes from another one.
    async fn find_zone(&self, name: &str) -> Result<String>;
    /// The sets of these names and types, each one asked for given back, also when empty.
    async fn read(&self, zone: &str, which: &[(String, RecordType)]) -> Result<Vec<RrSet>>;
    /// The contents of a set as the server has them, not in canonical form: with the letters of a host that somebody wrote in
    /// capitals. They are put back like that.
    async fn contents(&self, zone: &str, name: &str, rtype: RecordType) -> Result<Vec<String>> {
        let sets = self.read(zone, &[(name.to_owned(), rtype)]).await?;
        Ok(sets.into_iter().flat_map(|s| s.values).collect())
    }
    /// The wildcard by which alone `name` is answered; none: it is there, or nothing answers for it. The zone itself is
    /// always there, and costs no request.
    async fn wildcard(&self, zone: &str, name: &str) -> Result<Option<Wildcard>> {
        wildcard::by_reads(self, zone, name).await
    }
    /// Carries out the changes, in one step where the server can. [`BackendError::Conflict`]: a set is not as `before`
    /// says; nothing was changed where [`DnsCapabilities::atomic`].
    async fn apply(&self, zone: &str, changes: &[Change]) -> Result<()>;
}

/// What the authoritative servers of a name say, without any cache between.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The set as each server has it, in the order of the servers. An error if none answers; a server that does not
    /// answer while others do is left out. [`BackendError::NotFound`]: every server refuses,
    /// since it has no such zone, or does not answer us.
    async fn lookup(&self, name: &str, rtype: RecordType) -> Result<Vec<RrSet>>;
    /// The same for a proof, which every server must show: also those that gave no answer that counts.
    async fn lookup_each(&self, name: &str, rtype: RecordType) -> Result<Answers> {
        Ok(Answers { sets: self.lookup(name, rtype).await?, silent: vec![] })
    }
    /// What is known of a name beyond its records.
    async fn standing(&self, about: &standing::About<'_>) -> standing::Standing {
        let _ = about;
        standing::Standing::default()
    }
}

/// What the authoritative servers of a name say, each of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// The set as each server has it that answers, in the order of the servers.
    pub sets: Vec<RrSet>,
    /// Addresses of those that do not answer, refuse, or are not authoritative for the name (lame, RFC 1912, 2.8).
    pub silent: Vec<String>,
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

/// Fetches MTA-STS policies as senders do (RFC 8461, 3.3).
#[async_trait]
pub trait PolicyProbe: Send + Sync {
    /// The text that the host of the policy of `domain` serves at one of these addresses, with a valid certificate for it. An error
    /// says in words what senders would meet.
    async fn policy(&self, domain: &str, addresses: &[IpAddr]) -> Result<String>;
}
