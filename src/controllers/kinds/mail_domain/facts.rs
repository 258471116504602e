//! What one pass of a domain knows so far. A fact is empty until it was asked for (`gather`), and is replaced or emptied by
//! an action that changes it (`apply`).

use super::parents::Known;
use crate::kinds::mail_domain_claim::Taken;
use crate::not_ready::NotReady;
use jiff::Timestamp;
use mailtenant_api::mail_domain::{Purpose, RecordStatus};
use mailtenant_api::{MailDomain, MailDomainStatus};
use mailtenant_dns::{Answers, RecordType, RrSet, Wildcard};
use mailtenant_groupware::{Capability, DkimRow, DomainRow};
use mailtenant_mail::manual::Shown;
use mailtenant_mail::records::Record;
use std::collections::BTreeSet;

/// What is known when the plan is asked.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The object as the pass began.
    pub domain: &'a MailDomain,
    /// Its status under construction.
    pub status: &'a MailDomainStatus,
    /// When the pass began.
    pub now: Timestamp,
    /// What this pass has learned.
    pub facts: &'a Facts,
}

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What the regular look at the rows depends on; the inner none: there is no server that could be asked.
    pub regular: Option<Option<Regular>>,
    /// What the regular look found: whether the domain is there.
    pub looked: Option<bool>,
    /// The parents, as the watches tell.
    pub known: Option<Known>,
    /// The groupware server that was connected.
    pub server: Option<Server>,
    /// Whether the zone of the name was found.
    pub zone_found: bool,
    /// Uid of the MailDomain that holds the name, as the watch told when the pass came to it.
    pub holder: Option<Option<String>>,
    /// The same by a live look.
    pub live_holder: Option<Option<String>>,
    /// A name above or below that another tenant holds, in words, as far as the watch has told.
    pub relative: Option<Option<String>>,
    /// Whether every authoritative server shows the challenge.
    pub proven: Option<bool>,
    /// The wildcard by which alone the name is answered.
    pub wildcard: Option<Option<Wildcard>>,
    /// What was seen of the challenge, where the records are edited by hand.
    pub proof: Option<Proof>,
    /// How the claim ended that this pass made.
    pub claim: Option<Taken>,
    /// The domain as the server has it.
    pub row: Option<Option<DomainRow>>,
    /// The row is as the server gave it back after it was made.
    pub ensured: bool,
    /// What was there and is not now may be made again (I12).
    pub loss_allowed: bool,
    /// All signing keys of the domain, those of others too, in the order in which they were made.
    pub keys: Option<Vec<DkimRow>>,
    /// The same, read back after it was said which of them sign.
    pub signing: Option<Vec<DkimRow>>,
    /// The records, once they are written.
    pub records: Option<Published>,
    /// The same with MX switched.
    pub mx: Option<Published>,
    /// What is declared in the domain.
    pub declared: Option<Declared>,
    /// Every mail server takes mail for every declared address.
    pub accepted: bool,
    /// Whether it is for this domain to try new mail servers in MX.
    pub new_mx_turn: Option<bool>,
    /// The new mail servers in MX have addresses, and take mail for every declared address.
    pub new_mx_proven: bool,
    /// Why they do not, where that ends no pass: the records are edited by hand, and the status has to say of each how it
    /// stands.
    pub refused: Option<NotReady>,
    /// Why the MTA-STS policy of before has MX stay; the inner none: it does not.
    pub former_policy: Option<Option<NotReady>>,
    /// What the host of the MTA-STS policy serves, or why it is not known.
    pub policy: Option<Result<String, String>>,
    /// The records of this pass tell senders of the policy.
    pub told: bool,
    /// The records that are edited by hand, as the servers show them.
    pub shown: Option<Looked>,
    /// The ConfigMap that has them as a zone file.
    pub zone_file: Option<ZoneFile>,
    /// This pass has said that the domain is live.
    pub went_live: bool,
    /// How the records of a domain stand that is only looked at.
    pub compared: Option<Compared>,
}

/// What was seen of the record that proves the name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// What each server says.
    pub answers: Answers,
    /// The value comes from a wildcard record.
    pub wildcard: bool,
    /// MX of the name, where it comes from a wildcard record.
    pub mx_of_wildcard: Vec<String>,
}

/// Records that are edited by hand, as the servers show them.
#[derive(Debug, Clone)]
pub struct Looked {
    pub sets: Vec<Shown>,
    /// When, by the later of the clocks: resolvers may keep what was seen for its time to live from then on.
    pub at: Timestamp,
}

/// A ConfigMap with a zone file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneFile {
    pub name: String,
    /// What it holds, or should.
    pub text: String,
    /// Why it does not.
    pub problem: Option<NotReady>,
}

/// What the regular look at the rows depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regular {
    /// Its time has come.
    pub due: bool,
    /// Who holds the name.
    pub holder: Option<String>,
    /// The domain, or its instance, is only looked at.
    pub observes: bool,
    /// The server's name for messages.
    pub label: String,
}

#[derive(Debug, Clone)]
pub struct Server {
    /// Its name for messages.
    pub label: String,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
}

/// Records that are at the server as they should be.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// Whether MX is among them.
    pub switch_mx: bool,
    /// What was wanted.
    pub wanted: Vec<Record>,
    /// What stands in the way.
    pub conflict: Option<NotReady>,
    /// The sets that were asked for.
    pub which: Vec<(String, RecordType)>,
    /// The sets as the server has them.
    pub live: Vec<RrSet>,
    /// Those that some authoritative server does not show yet; none: they were not asked.
    pub unseen: Option<Vec<(String, RecordType)>>,
    /// What stands in the place of ours and is kept, with what it answers.
    pub kept: Vec<Kept>,
}

/// A record of another type that is kept in the place of ours (`conflictPolicy: Adopt`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub value: String,
    /// The texts that are answered through it; none: nobody says.
    pub answers: Option<Vec<String>>,
}

/// Records against what is declared, where nothing is written.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    pub records: Vec<RecordStatus>,
    pub differing: BTreeSet<(Purpose, String)>,
}

/// What is declared in a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Addresses that must take mail.
    pub addresses: Vec<String>,
    /// Objects that are not ready.
    pub unready: Vec<String>,
}
