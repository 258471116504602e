//! What is to be done for an alias. Pure.

use super::gather::{Facts, Target};
use crate::not_ready::{MISSING, NotReady};
use crate::rules::delivery;
use crate::state::derived::{is_noted, owner_uid};
use crate::state::limits::Verdict;
use mailtenant_api::mail_instance::ExternalForwarding;
use mailtenant_api::*;
use mailtenant_groupware::{Address, AliasRow, AliasSettings, Capability};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The alias as it should be.
    pub settings: AliasSettings,
    /// The row is ours and as it should be.
    pub settled: bool,
    /// The row was there once, by our own word, and is not now.
    pub recreates: bool,
    /// Nothing may be written.
    pub observe: bool,
    pub drift: Vec<String>,
    /// All that can be is done, and still it is not as declared.
    pub not_ready: Option<NotReady>,
}

/// Whether the targets may send as it: yes unless said otherwise, but never for a catch-all, whose holder could send as
/// anybody of the domain.
fn send_as(alias: &MailAlias) -> bool {
    alias.spec.local_part != "*" && alias.spec.send_as.unwrap_or(true)
}

fn unsupported(alias: &MailAlias, seen: &Facts) -> Option<NotReady> {
    let can = |c: Capability| seen.capabilities.contains(&c);
    let what = if alias.spec.local_part == "*" && !can(Capability::CatchAll) {
        "localPart: \"*\""
    } else if alias.spec.send_as == Some(true) && !can(Capability::SendAs) {
        "sendAs"
    } else {
        return None;
    };
    let message = format!("{what} is not supported with {}: take it out of the spec", seen.label);
    Some(NotReady::stalled(Reason::Unsupported, message))
}

/// Where mail goes, whether it does at all, and why not everywhere that is declared. What is denied is left out at once;
/// when nobody is left the alias is off, with its targets, since a server has none without. For what else cannot be had
/// an alias that is there stays as it is: a target that is being made must not cost the others their mail.
fn targets(mine: Option<&AliasRow>, seen: &Facts) -> (Vec<Address>, bool, Option<NotReady>) {
    let results: Vec<Result<Address, NotReady>> = seen.targets.iter().map(|t| resolve(t, seen)).collect();
    // What is denied comes first: it is what somebody has to change.
    let refusal = results.iter().flatten().find_map(|address| refuse(address, seen));
    let mail_loop = (!seen.mail_loop.is_empty()).then(|| delivery::mail_loop(&seen.mail_loop));
    let waits = mail_loop.or_else(|| results.iter().find_map(|r| r.as_ref().err().cloned()));
    let mut all: Vec<Address> = match mine {
        Some(row) if waits.is_some() => row.settings.targets.clone(),
        _ => results.into_iter().flatten().collect(),
    };
    all.sort();
    all.dedup();
    let allowed: Vec<Address> = all.iter().filter(|t| refuse(t, seen).is_none()).cloned().collect();
    let active = !allowed.is_empty();
    (if active { allowed } else { all }, active, refusal.or(waits))
}

/// Why mail may not go to an address.
fn refuse(address: &Address, seen: &Facts) -> Option<NotReady> {
    let outside = !seen.own_domains.contains(address.domain());
    let denied = outside && seen.domain.instance.object.spec.external_forwarding == ExternalForwarding::Deny;
    denied.then(|| {
        let text = format!(
            "{address} is outside MailInstance {}: name one of its mailboxes, or set its externalForwarding: Allow",
            seen.domain.instance.key.name
        );
        NotReady::stalled(Reason::ExternalForwardingDenied, text)
    })
}

fn resolve(target: &Target, seen: &Facts) -> Result<Address, NotReady> {
    let instance = &seen.domain.instance.key.name;
    match target {
        Target::Mailbox(address) => Ok(address.clone()),
        Target::NoMailbox(name) => Err(NotReady::waiting(
            Reason::MailboxNotFound,
            format!("Mailbox {name} is not there: create it, or take it out of targets"),
        )),
        Target::NotReady(name) => Err(NotReady::waiting(
            Reason::MailboxNotReady,
            format!("Mailbox {name} is not provisioned yet: see its conditions"),
        )),
        Target::Stranger(name) => Err(NotReady::stalled(
            Reason::InvalidSpec,
            format!(
                "Mailbox {name} is not in MailInstance {instance}: an alias delivers to mailboxes of its own instance"
            ),
        )),
        Target::Address(text) => {
            let address = Address::new(text)
                .map_err(|e| NotReady::stalled(Reason::InvalidSpec, format!("targets: {text}: {e}")))?;
            if address == seen.address {
                return Err(NotReady::stalled(Reason::InvalidSpec, "targets names the alias itself: name a mailbox"));
            }
            if seen.nobody.contains(&address) {
                return Err(delivery::nobody_has(&address));
            }
            Ok(address)
        }
    }
}

/// Names of the settings that differ.
pub fn differences(row: &AliasRow, settings: &AliasSettings) -> Vec<String> {
    let have = &row.settings;
    let pairs = [
        ("targets", have.targets != settings.targets),
        ("sendAs", have.send_as != settings.send_as),
        ("displayName", have.display_name != settings.display_name),
        ("active", have.active != settings.active),
    ];
    pairs.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()).collect()
}

/// Plans. What stands against an alias that is there stands against that part of it alone; one that is not there is not
/// made in parts.
pub fn plan(alias: &MailAlias, seen: &Facts) -> Result<Plan, NotReady> {
    seen.address.fits().map_err(|e| NotReady::stalled(Reason::InvalidSpec, format!("{}: {e}", seen.address)))?;
    let mine = seen.row.as_ref().filter(|r| r.owner.as_ref() == Some(&owner_uid(alias)));
    let (targets, active, refused) = targets(mine, seen);
    let not_ready = unsupported(alias, seen).or(refused).or(short(seen));
    if let (Some(not_ready), None) = (&not_ready, mine) {
        return Err(not_ready.clone());
    }
    let settings = AliasSettings {
        targets,
        send_as: send_as(alias),
        display_name: alias.spec.display_name.clone().unwrap_or_default(),
        active,
    };
    let observe = alias.spec.management_policy == ManagementPolicy::Observe
        || seen.domain.instance.object.spec.management_policy == ManagementPolicy::Observe;
    if observe {
        let drift = seen.row.as_ref().map_or_else(|| vec![MISSING.to_owned()], |row| differences(row, &settings));
        return Ok(Plan {
            settings,
            settled: true,
            recreates: false,
            observe,
            not_ready: NotReady::drifted(&drift).or(not_ready),
            drift,
        });
    }
    let settled = mine
        .is_some_and(|r| !r.effects_due && is_noted(r.origin.as_ref(), alias) && differences(r, &settings).is_empty());
    let ownership = alias.status.as_ref().and_then(|s| s.ownership);
    let recreates = seen.row.is_none() && matches!(ownership, Some(Ownership::Created | Ownership::Adopted));
    Ok(Plan { settings, settled, recreates, observe: false, drift: vec![], not_ready })
}

fn short(seen: &Facts) -> Option<NotReady> {
    let Verdict::Number { what, limit } = &seen.verdict else { return None };
    let text = format!(
        "MailInstance {} allows {limit} {what}: raise spec.limits.{what}, or delete one",
        seen.domain.instance.key.name
    );
    Some(NotReady::stalled(Reason::LimitExceeded, text))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
