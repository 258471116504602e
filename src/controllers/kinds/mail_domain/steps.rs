//! What the plan of a domain says: something to learn, something to do, and what the status says meanwhile.

use super::facts::Kept;
use crate::not_ready::NotReady;
use jiff::Timestamp;
use mailtenant_api::mail_domain::{
    DkimAlgorithm, DkimKeyStatus, DomainState, FormerPolicy, MtaStsStatus, RecordStatus,
};
use mailtenant_api::{ConditionType, Ownership, Reason};
use mailtenant_dns::RecordType;
use mailtenant_groupware::{DkimRow, Selector};

/// What the status says from now on, and what comes next.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// For the status. They are given again each time.
    pub notes: Vec<Note>,
    pub next: Next,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Something must be known first.
    Learn(Observation),
    /// Something is to be done.
    Do(Action),
    /// It cannot go on; the condition says why too.
    Wait(NotReady, Option<ConditionType>),
    /// As declared, or as far as it goes without somebody else; the message of `Ready=True`.
    Ready(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Whether the regular look at the rows is due.
    Regular,
    /// The rows, read now.
    Look,
    /// The parents, as the watches tell.
    Parents,
    /// The groupware server, connected.
    Server,
    /// The zone of the name.
    Zone,
    /// Who holds the name, as the watch tells.
    Holder,
    /// Who holds the name, by a live look.
    LiveHolder,
    /// Who holds a name above or below, as the watch tells.
    Relative,
    /// Whether the challenge is shown.
    Proof,
    /// Whether a wildcard alone answers for the name.
    Wildcard,
    /// The domain at the groupware server.
    Row {
        /// Read now; what was known before may be from whoever held the name then.
        fresh: bool,
    },
    /// Whether what is missing may be made again.
    Loss,
    Keys,
    /// Whether every authoritative server shows what was written.
    Shown(Part),
    /// What is declared in the domain.
    Declared,
    /// Whether the mail servers take mail for what is declared.
    Acceptance,
    /// Whether it is for this domain to try new mail servers in MX.
    NewMxTurn,
    /// Whether new mail servers in MX have addresses and take mail for what is declared.
    NewMx,
    /// Whether an MTA-STS policy of before forbids our mail servers.
    FormerPolicy,
    /// What the host of the MTA-STS policy serves.
    Policy,
    /// How the records stand that are edited by hand.
    ShownByHand,
    /// How the records stand, of a domain that is only looked at.
    Compared,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Takes the name, and looks who else holds one above or below.
    Claim,
    /// Writes `Verified` into the status.
    NoteVerified,
    /// Makes the domain at the groupware server.
    Provision,
    MakeKeys(Vec<DkimAlgorithm>),
    Publish {
        part: Part,
        /// Whether MX may be made ours.
        switch_mx: bool,
    },
    /// Signs with these keys, whose records are shown.
    Sign(Vec<DkimRow>),
    /// Has the records tell senders of the MTA-STS policy that is served.
    TellPolicy,
    /// Has the ConfigMap hold this zone file.
    WriteZoneFile(String),
    /// Says that the domain is live.
    GoLive,
    /// Removes a signing key that no mail on its way needs.
    RemoveKey(Selector),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but MX; MX too where it is ours already.
    Records,
    Mx,
}

impl Part {
    /// The condition that speaks of them.
    pub fn condition(self) -> ConditionType {
        match self {
            Part::Records => ConditionType::DNSPublished,
            Part::Mx => ConditionType::CutOver,
        }
    }
}

impl Observation {
    /// The condition that says why it could not be learned, besides `Ready`.
    pub fn condition(self) -> Option<ConditionType> {
        match self {
            Observation::Shown(part) => Some(part.condition()),
            Observation::ShownByHand => Some(ConditionType::DNSPublished),
            Observation::Acceptance | Observation::FormerPolicy => Some(ConditionType::CutOver),
            // MX leads here as before: only its record is not as declared yet.
            Observation::NewMxTurn | Observation::NewMx => Some(ConditionType::DNSPublished),
            _ => None,
        }
    }
}

impl Action {
    /// The condition that says why it could not be done, besides `Ready`.
    pub fn condition(&self) -> Option<ConditionType> {
        match self {
            Action::Provision => Some(ConditionType::Provisioned),
            Action::Publish { part, .. } => Some(part.condition()),
            _ => None,
        }
    }
}

/// Something for the status.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// The name as it stands in the DNS, and the value of the record that proves it.
    Name(String, String),
    /// The wish to be looked at that is handled.
    Handled(Option<String>),
    /// Where the domain is on its way.
    State(DomainState),
    Condition(ConditionType, bool, Reason, String),
    Drift(Vec<String>),
    /// How the domain came to be ours.
    Ownership(Ownership),
    Keys(Vec<DkimKeyStatus>),
    /// The wish for new keys that is handled.
    Rotated(String),
    /// Sets that some server does not show yet.
    Propagating(Vec<(String, RecordType)>),
    /// Every server shows MX as it is now: what was there before is not needed any more.
    MxShown,
    /// What is answered through records that are kept in the place of ours.
    Kept(Vec<Kept>),
    /// Records that nothing is written of: of a domain that is only looked at, or whose tenant edits them.
    Records(Vec<RecordStatus>),
    /// Some server shows MX with a host of ours that somebody else put there: its time to live, and when that was seen.
    MxLeadsHere(u32, Timestamp),
    /// The MTA-STS policy that is served, and which one senders are told of.
    MtaSts(Option<MtaStsStatus>),
    /// What is remembered of the MTA-STS policy of before.
    FormerPolicy(Option<FormerPolicy>),
    /// The ConfigMap that has the records as a zone file.
    ZoneFile(Option<String>),
}

/// A stage that is through, or what comes next.
pub(super) type Stage<T> = Result<T, Next>;

pub(super) fn learned<T>(fact: &Option<T>, what: Observation) -> Stage<&T> {
    fact.as_ref().ok_or(Next::Learn(what))
}

pub(super) fn wait(not_ready: NotReady) -> Next {
    Next::Wait(not_ready, None)
}
