//! Words that the API, the pure modules and the servers share. They stand here so that a provider needs no type of
//! Kubernetes; `mailtenant-api` shows the same types to users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the object at the backend came to be ours. Only what was created or adopted is ever deleted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Ownership {
    /// Made by this object.
    Created,
    /// Was there before and was taken over.
    Adopted,
    /// Only looked at (`managementPolicy: Observe`).
    Observed,
}

/// What is done about a record of ours-to-be that is already there with another value.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ConflictPolicy {
    /// Leave it, say `DNSConflict`.
    #[default]
    Refuse,
    /// Leave it and count it as ours.
    Adopt,
    /// Replace it.
    Overwrite,
}

/// Result for all other senders.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum SpfAll {
    /// `-all`
    #[default]
    Fail,
    /// `~all`
    SoftFail,
    /// `?all`
    Neutral,
}

/// What receivers do with mail that fails.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DmarcPolicy {
    /// `p=none`
    None,
    /// `p=quarantine`
    Quarantine,
    /// `p=reject`
    Reject,
}

/// What becomes of MX when the domain goes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OnDelete {
    /// The MX set from before the cut-over.
    #[default]
    RestorePrevious,
    /// `0 .`: the domain takes no mail (RFC 7505).
    NullMX,
    /// No MX at all.
    Remove,
}

/// Algorithm of a signing key.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub enum DkimAlgorithm {
    /// RSA, 2048 bits (RFC 8301).
    RSA2048,
    /// Ed25519 (RFC 8463).
    Ed25519,
}

/// One record.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordStatus {
    /// Absolute name, without a trailing dot.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Value, ready to paste.
    pub value: String,
    /// What it is for.
    pub purpose: Purpose,
    /// How it stands.
    pub state: RecordState,
    /// Who put the value there: `Created` by us, or `Observed` because it was there before (then it stays on deletion).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// SPF: the term of the value that is ours. With ownership `Adopted` it was merged into a record that was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
    /// What is there instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a record is for.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Purpose {
    Challenge,
    MX,
    SPF,
    DKIM,
    DMARC,
}

/// How a record stands.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum RecordState {
    /// Every authoritative server shows it.
    Ok,
    /// Not there.
    Missing,
    /// There with another value.
    Wrong,
    /// There more than once where one is allowed.
    Duplicate,
    /// Somebody else's record is in its place.
    Conflict,
    /// Written, and not shown by every server yet.
    Propagating,
}

/// Who sees whom in the address book.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum AddressBook {
    /// Everybody of the instance.
    #[default]
    Instance,
    /// Everybody of the domain.
    Domain,
    /// Nobody.
    None,
}

/// Which protocols may be used.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Access {
    /// IMAP.
    pub imap: bool,
    /// POP3.
    pub pop3: bool,
    /// Sending.
    pub submission: bool,
    /// ManageSieve.
    pub sieve: bool,
    /// Webmail, calendars, contacts.
    pub groupware: bool,
}

impl Default for Access {
    fn default() -> Self {
        Access { imap: true, pop3: true, submission: true, sieve: true, groupware: true }
    }
}
