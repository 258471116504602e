//! How far a domain has come, and whether MX may lead to it: the same whoever edits the records. Pure.

use super::facts::Seen;
use super::steps::{Next, Observation, Stage, learned};
use crate::not_ready::NotReady;
use crate::state::derived;
use mailtenant_api::mail_domain::{CutoverMode, DomainState};
use mailtenant_api::{MailDomainStatus, Reason, never_made};
use mailtenant_mail::merge;

/// Whether the name was never ours: nothing was ever made of the domain, since `Verified` is written before.
pub fn never_verified(status: &MailDomainStatus) -> bool {
    matches!(status.state, None | Some(DomainState::Pending)) && never_made(status.ownership)
}

/// The journal names MX before it is written: only the state says that the switch went through (I7).
pub fn is_live(status: &MailDomainStatus) -> bool {
    status.state == Some(DomainState::Live)
}

/// Whether MX may lead here (I7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Not yet; who or what is waited for.
    Closed(NotReady),
    /// There is nobody to take mail for.
    NoAddress,
    Open,
}

/// The gate before MX, the same whoever edits it: every declared address is ready, no policy of before has senders refuse our
/// mail servers, a person has agreed where that is asked for, and the servers themselves say that they take mail for each address.
pub fn gate(seen: &Seen<'_>) -> Stage<Gate> {
    let declared = learned(&seen.facts.declared, Observation::Declared)?;
    // Looked at first: what goes before it was seen cannot be waited for. Where MX leads here already, nothing is kept back by it.
    let former_policy = match leads_here(seen) {
        true => &None,
        false => learned(&seen.facts.former_policy, Observation::FormerPolicy)?,
    };
    if let Some(first) = declared.unready.first() {
        let more = declared.unready.len() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("{first}{more} must be ready before MX is switched: see their conditions");
        return Ok(Gate::Closed(NotReady::waiting(Reason::AwaitingAcceptance, text)));
    }
    if declared.addresses.is_empty() {
        return Ok(Gate::NoAddress);
    }
    if let Some(held) = former_policy {
        return Ok(Gate::Closed(held.clone()));
    }
    let cutover = &seen.domain.spec.cutover;
    if cutover.mode == CutoverMode::Manual && !cutover.approved {
        let text = "everything is prepared: set spec.cutover.approved: true to switch MX";
        return Ok(Gate::Closed(NotReady::waiting(Reason::AwaitingApproval, text)));
    }
    if let Some(refused) = &seen.facts.refused {
        return Ok(Gate::Closed(refused.clone()));
    }
    if !seen.facts.accepted {
        return Err(Next::Learn(Observation::Acceptance));
    }
    Ok(Gate::Open)
}

fn leads_here(seen: &Seen<'_>) -> bool {
    is_live(seen.status) || derived::journal(seen.domain, seen.status).any(merge::leads_here)
}
