//! Types that the API, the pure modules and the providers share. They are defined here so that a provider needs no type
//! of Kubernetes; `mailtenant-api` shows the same types to users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How something at the backend came to belong to an object. Only what was created or adopted is ever deleted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Ownership {
    /// Created by this object.
    Created,
    /// It was there before and was taken over.
    Adopted,
    /// Only read, never written.
    Observed,
}

/// What happens where a record that the domain needs is already there with another value.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ConflictPolicy {
    /// Leave it, and report `DNSConflict`.
    #[default]
    Refuse,
    /// Leave it, and count it as published.
    Adopt,
    /// Replace it by the record that is needed.
    Overwrite,
}

/// SPF result for senders that no other term matches (RFC 7208, 2.6).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum SpfAll {
    /// `-all`: they are not authorized.
    #[default]
    Fail,
    /// `~all`: probably not authorized.
    SoftFail,
    /// `?all`: nothing is asserted.
    Neutral,
}

/// What receivers should do with mail that fails DMARC (RFC 9989).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DmarcPolicy {
    /// `p=none`: nothing, only report it.
    None,
    /// `p=quarantine`: treat it as suspicious.
    Quarantine,
    /// `p=reject`: refuse the mail.
    Reject,
}

/// Mode of an MTA-STS policy (RFC 8461, 3.2).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum MtaStsMode {
    /// Senders need no TLS: no policy is published, or one that says so.
    #[default]
    None,
    /// Senders deliver, and report failures.
    Testing,
    /// Senders deliver over valid TLS or not at all.
    Enforce,
}

/// What MX becomes when the MailDomain is deleted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OnDelete {
    /// The MX set from before the cut-over.
    #[default]
    RestorePrevious,
    /// `0 .`: the domain accepts no mail (RFC 7505).
    NullMX,
    /// There is no MX any more.
    Remove,
}

/// Algorithm of a DKIM key.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub enum DkimAlgorithm {
    /// RSA with 2048 bits (RFC 8301).
    RSA2048,
    /// Ed25519, with short records (RFC 8463).
    Ed25519,
}

/// One value of a DNS record, as declared and as seen.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordStatus {
    /// Absolute name of the record, without a trailing dot.
    pub name: String,
    /// Type of the record: `TXT`, `MX`, `SRV` or `CNAME`; another one, such as `LUA` or `A`, of a record that is kept in the
    /// place of ours.
    #[serde(rename = "type")]
    pub type_: String,
    /// Value of the record, ready to paste: for TXT the text without quotes, for MX `preference host.`, for SRV
    /// `priority weight port host.`, for CNAME `host.`
    pub value: String,
    /// What the record is for: `Challenge` (proof of ownership), `MX`, `SPF`, `DKIM`, `DMARC`, `MTASTS`
    /// (senders must use TLS), `TLSRPT` (reports of failed TLS), `ClientDiscovery` (where mail clients find the servers) or
    /// `Marker` (who writes these records, and MX from before).
    pub purpose: Purpose,
    /// `Ok`: every authoritative server shows it. `Missing`: it is not there. `Wrong`: there with another value.
    /// `Duplicate`: there more than once. `Conflict`: a record of somebody else is in its place. `Propagating`: written
    /// or taken away, and not every server shows that yet.
    pub state: RecordState,
    /// `Created`: the operator wrote the value, and takes it away on deletion. `Adopted`: a value of somebody else that
    /// is kept, or into which `term` was merged. `Observed`: it was there before, and stays on deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// For SPF: the term of the value that is the operator's. With ownership `Adopted` it was merged into a
    /// record that was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
    /// For SPF: the operator made the record, and somebody else has changed it since. On deletion it goes whole if it names no
    /// sender without `term`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
    /// What is there instead of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// What is wrong and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a DNS record is for.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Purpose {
    Challenge,
    MX,
    SPF,
    DKIM,
    DMARC,
    MTASTS,
    TLSRPT,
    ClientDiscovery,
    Marker,
}

/// Whether a record is published as declared.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum RecordState {
    /// Every authoritative server shows it.
    Ok,
    /// It is not there.
    Missing,
    /// There with another value.
    Wrong,
    /// There more than once where one is allowed.
    Duplicate,
    /// A record of somebody else is in its place.
    Conflict,
    /// Written or taken away, and not every server shows that yet.
    Propagating,
}

/// Whom users find in the address book.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum AddressBook {
    /// Users find everybody of the instance.
    #[default]
    Instance,
    /// Users find everybody of their own domain.
    Domain,
    /// Users find nobody in it.
    None,
}

/// Which protocols the user of a mailbox may use.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Access {
    /// Whether mail may be read by IMAP. Default `true`.
    pub imap: bool,
    /// Whether mail may be read by POP3. Default `true`.
    pub pop3: bool,
    /// Whether mail may be sent by SMTP submission. Default `true`.
    pub submission: bool,
    /// Whether mail filters may be edited by ManageSieve. Default `true`.
    pub sieve: bool,
    /// Whether webmail, calendars and contacts may be used. Default `true`.
    pub groupware: bool,
}

impl Default for Access {
    fn default() -> Self {
        Access { imap: true, pop3: true, submission: true, sieve: true, groupware: true }
    }
}
