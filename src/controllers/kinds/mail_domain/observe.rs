//! What is said of a domain that nothing is written for (`managementPolicy: Observe`). Pure, and without any action.

use super::facts::Seen;
use super::keys;
use super::parents::Parents;
use super::steps::{Note, Observation, Stage, learned, wait};
use crate::not_ready::{MISSING, NotReady};
use crate::state::derived::owner_uid;
use mailtenant_api::*;
use mailtenant_groupware::DkimRow;

/// Looks at a domain that nothing is written for.
pub(super) fn observe(seen: &Seen<'_>, name: &str, parents: &Parents<'_>, notes: &mut Vec<Note>) -> Stage<String> {
    let holder = learned(&seen.facts.holder, Observation::Holder)?;
    if holder.is_some() && *holder != seen.domain.metadata.uid {
        let text = format!("{name} is held by another tenant of this cluster");
        return Err(wait(NotReady::stalled(Reason::DomainClaimed, text)));
    }
    let provisioned = |good, text: &str| {
        let reason = if good { Reason::Succeeded } else { Reason::Drifted };
        Note::Condition(ConditionType::Provisioned, good, reason, text.to_owned())
    };
    let row = learned(&seen.facts.row, Observation::Row { fresh: false })?;
    // What another tenant has is not shown (I11).
    let Some(row) = row.as_ref().filter(|r| r.tenant.as_deref() == Some(parents.tenant)) else {
        let text = "nothing is written (managementPolicy: Observe), and the backend has no such domain in this tenant";
        notes.extend([Note::Drift(vec![MISSING.into()]), provisioned(false, text)]);
        return Err(wait(NotReady::waiting(Reason::Drifted, text)));
    };
    // What was made before stays known as ours: it has to be dealt with before the object may go.
    if row.owner != Some(owner_uid(seen.domain)) {
        notes.push(Note::Ownership(Ownership::Observed));
    }
    let mut drift = vec![];
    if row.active {
        // Children may look too.
        notes.push(provisioned(true, "observed at the backend"));
    } else {
        drift.push("active".to_owned());
        notes.push(provisioned(false, "switched off at the backend"));
    }
    if row.alias_of.is_some() {
        drift.push("aliasOf".to_owned());
    }
    if observed_keys(seen, name)?.1 {
        drift.push("dkim".to_owned());
    }
    drift.extend(observed_records(seen, notes)?);
    let not_ready = NotReady::drifted(&drift);
    notes.push(Note::Drift(drift));
    match not_ready {
        Some(not_ready) => Err(wait(not_ready)),
        None => Ok("as declared at the backend and in the DNS; nothing is written".into()),
    }
}

/// The keys that sign, and whether one is lacking that is declared.
fn observed_keys(seen: &Seen<'_>, name: &str) -> Stage<(Vec<DkimRow>, bool)> {
    let server = learned(&seen.facts.server, Observation::Server)?;
    let all = learned(&seen.facts.keys, Observation::Keys)?;
    Ok(keys::observed(all.clone(), keys::algorithms(seen.domain, server).ok(), name))
}

/// What differs of the records.
fn observed_records(seen: &Seen<'_>, notes: &mut Vec<Note>) -> Stage<Vec<String>> {
    let compared = learned(&seen.facts.compared, Observation::Compared)?;
    notes.push(Note::Records(compared.records.clone()));
    let mut drift = vec![];
    let (mx, rest): (Vec<_>, Vec<_>) = compared.differing.iter().partition(|(purpose, _)| *purpose == Purpose::MX);
    for (condition, differing) in [(ConditionType::DNSPublished, rest), (ConditionType::CutOver, mx)] {
        let names: Vec<String> = differing.iter().map(|(purpose, name)| format!("{purpose:?} {name}")).collect();
        notes.push(match names.as_slice() {
            [] => Note::Condition(condition, true, Reason::Succeeded, "observed in the DNS".into()),
            some => Note::Condition(condition, false, Reason::Drifted, format!("differs: {}", some.join(", "))),
        });
        drift.extend(names);
    }
    Ok(drift)
}
