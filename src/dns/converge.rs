//! Record sets brought to where they should be: read, plan, note what is going to be written, write, and from the start
//! until nothing is left to change. Publishing and both withdrawals go through here.
//!
//! What to change is decided by the pure plans of `mailtenant_mail::merge`. What was written is known by the journal alone
//! (a DNS value carries no owner), so the journal is kept before the write (I8, I10): whatever a crash leaves in the DNS
//! is named in it.

use crate::{BackendError, DnsServer, RecordType, RrSet, Wildcard};
use mailtenant_mail::merge::{self, Plan, Policy, PreviousMx};
use mailtenant_mail::policy::{ConflictPolicy, OnDelete, RecordStatus};
use mailtenant_mail::records::Record;
use mailtenant_mail::value::from_presentation;
use std::borrow::Cow;

/// Rounds of read, plan, write: more than a few means that somebody else keeps writing.
pub const ROUNDS: usize = 4;

/// Where the sets shall come to.
#[derive(Debug, Clone, Copy)]
pub enum Aim<'a> {
    /// The records are there, and what we wrote before and want no longer is not.
    Publish {
        /// The domain.
        name: &'a str,
        /// The records.
        wanted: &'a [Record],
        /// What is done about somebody else's value in the place of ours.
        conflict: ConflictPolicy,
        /// Whether MX may be made ours now (I7), or put back once it was.
        switch_mx: bool,
        /// Who writes them, for the marker; none: there is no marker.
        writer: Option<merge::Writer<'a>>,
    },
    /// MX of this name is ours no more.
    WithdrawMx {
        /// The domain.
        name: &'a str,
        /// What becomes of MX.
        on_delete: OnDelete,
    },
    /// Nothing of ours is left, but for MX.
    WithdrawRest,
}

impl Aim<'_> {
    /// The sets to read.
    fn which(&self, journal: &[RecordStatus]) -> Vec<(String, RecordType)> {
        match self {
            Aim::Publish { wanted, writer: Some(writer), .. } => writer.which(wanted, journal),
            Aim::Publish { wanted, writer: None, .. } => merge::which(wanted, journal),
            Aim::WithdrawMx { name, .. } => vec![((*name).to_owned(), RecordType::MX)],
            Aim::WithdrawRest => merge::which(&[], journal),
        }
    }

    /// What has to change. Nothing is decided about a set that `live` lacks: it was not read.
    pub fn plan(&self, journal: &[RecordStatus], previous: Option<PreviousMx>, live: &[RrSet]) -> Plan {
        match self {
            Aim::Publish { wanted, conflict, switch_mx, writer, .. } => {
                let policy = Policy { conflict: *conflict, switch_mx: *switch_mx, previous_mx: previous };
                let wanted = match switch_mx {
                    true => Cow::Borrowed(*wanted),
                    false => merge::while_mx_is(wanted, journal, live),
                };
                match writer {
                    Some(writer) => merge::plan_with_marker(writer, &wanted, journal, live, &policy),
                    None => merge::plan(&wanted, journal, live, &policy),
                }
            }
            Aim::WithdrawMx { name, on_delete } => {
                match live.iter().find(|set| set.name == *name && set.rtype == RecordType::MX) {
                    Some(mx) => merge::withdraw_mx(journal, mx, *on_delete, previous.as_ref()),
                    None => Plan { journal: journal.to_vec(), previous_mx: previous, ..Plan::default() },
                }
            }
            // What is to be put back stays known.
            Aim::WithdrawRest => Plan { previous_mx: previous, ..merge::withdraw_rest(journal, live) },
        }
    }
}

/// What is known of the records that we wrote. The caller keeps it.
pub trait Journal: Send {
    /// Why it could not be kept.
    type Error: Send;
    /// The entries as they are known now.
    fn entries(&self) -> Vec<RecordStatus>;
    /// The MX set to put back on deletion.
    fn previous_mx(&self) -> Option<PreviousMx>;
    /// Hears of a plan before its changes are made. `unknown`: something in it is not in the journal yet, and must be kept,
    /// safe from any crash, before this returns. After an error nothing is written.
    fn keep(&mut self, plan: &Plan, unknown: bool) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Hears that a set which the server said it had written was another one a moment later: somebody else wrote it from
    /// what it was before. It is written again.
    fn lost(&mut self, set: &RrSet) {
        let _ = set;
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Converged {
    /// Nothing is left to change. The journal of the plan is the caller's to take over.
    Settled {
        /// Without changes.
        plan: Plan,
        /// The sets as the server has them.
        live: Vec<RrSet>,
    },
    /// The zone itself is not there, by the server's own word. What that means is for the caller to judge.
    ZoneGone,
    /// After [`ROUNDS`] rounds there is still something to change: somebody else keeps writing. The first set that had to be
    /// changed in the last round, as it was read.
    Contended(Option<RrSet>),
}

/// Why it did not end.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed<E> {
    /// The journal was not kept. Nothing was written after that.
    Journal(E),
    /// The server did not take a call. What the journal names may have been written or not.
    Server(BackendError),
    /// The domain is answered by this wildcard alone, which the first record at or below it would end. Nothing was written.
    Wildcard(Wildcard),
}

/// What would be lost by a write, before MX leads here.
async fn endangered(server: &dyn DnsServer, zone: &str, aim: &Aim<'_>) -> Result<Option<Wildcard>, BackendError> {
    match aim {
        Aim::Publish { name, switch_mx: false, .. } => server.wildcard(zone, name).await,
        // What is published anew there was published before, and what is withdrawn brings the wildcard back.
        Aim::Publish { .. } | Aim::WithdrawMx { .. } | Aim::WithdrawRest => Ok(None),
    }
}

/// Brings the sets to where they should be.
pub async fn converge<J: Journal>(
    server: &dyn DnsServer,
    zone: &str,
    aim: &Aim<'_>,
    journal: &mut J,
) -> Result<Converged, Failed<J::Error>> {
    let which = aim.which(&journal.entries());
    let (mut last, mut written) = (None, Vec::<RrSet>::new());
    for _ in 0..ROUNDS {
        let live = match server.read(zone, &which).await {
            Err(BackendError::NotFound(_)) => return Ok(Converged::ZoneGone),
            live => live.map_err(Failed::Server)?,
        };
        let now = |set: &RrSet| live.iter().find(|s| (&s.name, s.rtype) == (&set.name, set.rtype));
        written.iter().filter(|set| now(set).is_some_and(|now| is_lost(set, now))).for_each(|set| journal.lost(set));
        written.clear();
        let (known, previous) = (journal.entries(), journal.previous_mx());
        let mut plan = aim.plan(&known, previous.clone(), &live);
        if plan.changes.is_empty() {
            return Ok(Converged::Settled { plan, live });
        }
        if let Some(wildcard) = endangered(server, zone, aim).await.map_err(Failed::Server)? {
            return Err(Failed::Wildcard(wildcard));
        }
        if let (Aim::Publish { name, .. }, true) = (aim, plan.previous_mx != previous) {
            let contents = server.contents(zone, name, RecordType::MX).await.map_err(Failed::Server)?;
            // Once more: the marker says it too.
            plan = aim.plan(&known, plan.previous_mx.map(|mx| mx.as_written(&contents)), &live);
        }
        let unknown = !plan.is_journaled(&known, previous.as_ref());
        journal.keep(&plan, unknown).await.map_err(Failed::Journal)?;
        match server.apply(zone, &plan.changes).await {
            Ok(()) => written = plan.changes.iter().map(|c| canonical(&c.after)).collect(),
            // Somebody else was faster: the next round reads again.
            Err(BackendError::Conflict(_)) => {}
            Err(error) => return Err(Failed::Server(error)),
        }
        last = plan.changes.into_iter().next().map(|c| c.before);
    }
    Ok(Converged::Contended(last))
}

/// Whether a set that was written is not there any more. Values of others beside it lose nothing.
fn is_lost(written: &RrSet, now: &RrSet) -> bool {
    let gone = written.values.iter().any(|v| !now.values.contains(v));
    gone || (written.values.is_empty() && !now.values.is_empty())
}

/// A set as a server gives it back: what is put back may have capitals.
fn canonical(set: &RrSet) -> RrSet {
    let mut values: Vec<String> = match set.rtype {
        RecordType::MX => set.values.iter().map(|v| from_presentation(set.rtype, v)).collect(),
        _ => set.values.clone(),
    };
    values.sort();
    RrSet { values, ..set.clone() }
}

#[cfg(test)]
#[path = "converge_tests.rs"]
mod tests;
