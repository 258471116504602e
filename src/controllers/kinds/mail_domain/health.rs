//! Whether a live domain is healthy, by what its DNS tells the world. Pure. It is told and never acted on: what only somebody at
//! the registrar or at the DNS provider can have done, only they can undo.

use super::by_hand::named;
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_api::{Purpose, Reason, RecordState};
use mailtenant_dns::RrSet;
use mailtenant_dns::standing::Standing;
use mailtenant_mail::{manual, mx, records};
use std::collections::BTreeSet;

/// What is known of a live domain. What nobody says is empty.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The name of the domain.
    pub name: String,
    /// The name at or above it that somebody has registered.
    pub registered: String,
    /// What is said of it beyond its records.
    pub standing: Standing,
    /// Where the records are written; none: a person edits them, at whatever DNS provider.
    pub written: Option<Written>,
    /// The hosts that MX may lead to.
    pub hosts: BTreeSet<String>,
    /// MX as each server shows it.
    pub mx: Option<Vec<RrSet>>,
    /// Our own server has MX as it should be: the others have not heard of it yet.
    pub mx_on_its_way: bool,
    /// The records as this pass left them.
    pub records: Option<Vec<RecordStatus>>,
}

/// The zone that holds the records.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Name of the zone.
    pub zone: String,
    /// The DNSBackend, in words.
    pub label: String,
    /// The hosts that the server itself has as NS of the zone.
    pub servers: BTreeSet<String>,
}

/// What is said of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Good,
    Bad(String),
    /// Nobody can tell.
    Silent,
}

/// The verdict: `Succeeded`, or the worst that is known, with the words. None: there is none, so that the former one stays.
/// `former`: the reason for which it was not healthy.
pub fn judge(facts: &Facts, former: Option<&str>) -> Option<(Reason, String)> {
    let parts = parts(facts);
    for (reason, part) in &parts {
        if let Part::Bad(text) = part {
            return Some((*reason, text.clone()));
        }
    }
    // What was bad is not good because nobody answers; and without MX nothing is known of a domain.
    let needed = |reason: Reason| reason == Reason::MXElsewhere || former == Some(reason.as_str());
    if parts.iter().any(|(reason, part)| needed(*reason) && *part == Part::Silent) {
        return None;
    }
    Some((Reason::Succeeded, format!("MX of {} leads here, and nothing else was found amiss in its DNS", facts.name)))
}

/// The parts in the order of [`Reason::UNHEALTHY`].
fn parts(facts: &Facts) -> [(Reason, Part); Reason::UNHEALTHY.len()] {
    [
        (Reason::RegistrationGone, registration(facts)),
        (Reason::NameServersMoved, servers(facts)),
        (Reason::DNSSECBroken, signatures(facts)),
        (Reason::MXElsewhere, mx_elsewhere(facts)),
        (Reason::RecordsChanged, changed(facts)),
    ]
}

fn registration(facts: &Facts) -> Part {
    match facts.standing.registered {
        None => Part::Silent,
        Some(true) => Part::Good,
        Some(false) => Part::Bad(format!(
            "{} does not exist in the DNS any more (NXDOMAIN): no mail reaches it. Renew or restore its registration",
            facts.registered
        )),
    }
}

/// One host in common is enough: a server that is added or taken out is no move.
fn servers(facts: &Facts) -> Part {
    let Some(written) = &facts.written else { return Part::Silent };
    let seen = &facts.standing.servers;
    if seen.is_empty() || written.servers.is_empty() {
        return Part::Silent;
    }
    if !seen.is_disjoint(&written.servers) {
        return Part::Good;
    }
    Part::Bad(format!(
        "the zone {} is delegated to {}, and {} writes the records to the one of {}: nobody sees them. Have the zone delegated back, \
         or the records kept where it is now (dns.mode: Manual)",
        written.zone,
        list(seen),
        written.label,
        list(&written.servers),
    ))
}

fn signatures(facts: &Facts) -> Part {
    match facts.standing.bogus {
        None => Part::Silent,
        Some(false) => Part::Good,
        Some(true) => Part::Bad(format!(
            "a resolver that validates DNSSEC refuses {}, and has an answer without validation: senders behind such resolvers \
         cannot deliver. Have the DS records at the registrar and the signatures of the zone put in order",
            facts.name
        )),
    }
}

/// Whether mail goes elsewhere first, by what some server shows.
fn mx_elsewhere(facts: &Facts) -> Part {
    let Some(seen) = facts.mx.as_ref().filter(|seen| !seen.is_empty() && !facts.hosts.is_empty()) else {
        return Part::Silent;
    };
    if !seen.iter().any(|set| leads_elsewhere(set, &facts.hosts)) {
        return Part::Good;
    }
    if facts.mx_on_its_way {
        return Part::Silent;
    }
    let values: BTreeSet<String> = seen.iter().flat_map(|set| &set.values).cloned().collect();
    let where_to = if values.is_empty() { "is not there".to_owned() } else { format!("is {}", list(&values)) };
    let text = format!(
        "MX of {} {where_to}, and mail comes here only where it leads to {}: put it back where the zone is edited, or delete the \
         MailDomain if the mail has moved",
        facts.name,
        list(&facts.hosts),
    );
    Part::Bad(text)
}

/// Whether a host that is not ours has the best preference, or none is there.
fn leads_elsewhere(set: &RrSet, ours: &BTreeSet<String>) -> bool {
    let best = set.values.iter().map(|v| preference(v)).min();
    let first = set.values.iter().filter(|v| Some(preference(v)) == best);
    best.is_none() || first.into_iter().any(|value| !is_ours(value, ours))
}

fn preference(value: &str) -> u32 {
    value.split_whitespace().next().and_then(|p| p.parse().ok()).unwrap_or(u32::MAX)
}

fn is_ours(value: &str, ours: &BTreeSet<String>) -> bool {
    mx::host(value).is_some_and(|host| ours.contains(&host))
}

/// Records that the domain needs, and hosts of others behind ours in MX. What this pass put back is as it should be by now.
fn changed(facts: &Facts) -> Part {
    let Some(all) = &facts.records else { return Part::Silent };
    let amiss = |e: &&RecordStatus| {
        let state = matches!(
            e.state,
            RecordState::Missing | RecordState::Wrong | RecordState::Duplicate | RecordState::Conflict
        );
        // One that was asked for until MX led here does no harm.
        let mild = e.observed.as_ref().is_some_and(|there| records::is_milder(e.purpose, there, &e.value));
        state && !mild && e.purpose != Purpose::MX && manual::is_required(e)
    };
    let amiss: Vec<RecordStatus> = all.iter().filter(amiss).cloned().collect();
    let beside = facts.mx.iter().flatten().flat_map(|set| &set.values).filter(|v| !is_ours(v, &facts.hosts));
    let beside: BTreeSet<String> =
        beside.filter(|_| !facts.mx_on_its_way && !facts.hosts.is_empty()).cloned().collect();
    let mut texts = vec![];
    if !amiss.is_empty() {
        texts.push(format!("{}: not as status.dns.records wants them", named(&amiss)));
    }
    if !beside.is_empty() {
        texts.push(format!("MX of {} also leads to {}", facts.name, list(&beside)));
    }
    if texts.is_empty() {
        return Part::Good;
    }
    Part::Bad(format!("{}. It is not put back by itself: put it right where the zone is edited", texts.join("; ")))
}

/// How many values a message names.
const NAMED: usize = 5;

fn list(all: &BTreeSet<String>) -> String {
    let some: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", some.join(", "))
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
