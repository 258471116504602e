//! The life of a domain, in one place: what comes after what, and what must be known first. Pure.
//!
//! [`next`] is asked again and again with what is known so far. It goes through the life from its beginning, and the first
//! stage that needs something has the word: something to learn, something to do, or somebody to wait for. So each rule
//! stands before what it guards: a claim after its proof, nothing provisioned before `Verified` is written, no signature
//! before its record shows everywhere, MX last, and old keys go after all that.

use super::by_hand;
use super::facts::{Published, Regular, Seen};
use super::gate::{Gate, gate, is_live, never_verified};
use super::keys::{self, KeyPlan, LostKey};
use super::move_mx;
use super::mta_sts;
use super::observe::observe;
use super::parents::{self, Parents};
use super::records::caution;
use super::steps::{Action, Next, Note, Observation, Part, Planned, Stage, learned, wait};
use crate::kinds::mail_domain_claim::Taken;
use crate::not_ready::NotReady;
use crate::rules::{backend_ready, mass_loss, zones};
use crate::state::derived::{self, is_noted, owner_uid, proof_value};
use crate::state::parents::{observes, paused_itself};
use mailtenant_api::mail_domain::{DomainState, RecordStatus};
use mailtenant_api::*;
use mailtenant_mail::{name, records};
use mailtenant_runtime::dispatch;
use std::time::Duration;

/// Pause between two looks for a proof.
const PROOF: Duration = Duration::from_secs(30);
/// Pause before DNS servers are asked again.
const PROPAGATION: Duration = Duration::from_secs(5);

pub fn next(seen: &Seen<'_>) -> Planned {
    let mut notes = vec![];
    let next = life(seen, &mut notes).map_or_else(|next| next, Next::Ready);
    Planned { notes, next }
}

fn life(seen: &Seen<'_>, notes: &mut Vec<Note>) -> Stage<String> {
    look(seen, notes)?;
    if paused(seen.domain) {
        return Err(wait(paused_itself()));
    }
    let name = name::mail_domain(&seen.domain.spec.domain)
        .map_err(|e| wait(NotReady::stalled(Reason::InvalidSpec, format!("{}: {e}", seen.domain.spec.domain))))?;
    notes.push(Note::Name(name.clone(), proof_value(seen.domain, &name)));
    let parents = parents(seen, &name)?;
    if observes(seen.domain.spec.management_policy, &parents.instance.object) {
        return observe(seen, &name, &parents, notes);
    }
    notes.push(Note::Drift(vec![]));
    verify(seen, &name, &parents, notes)?;
    provision(seen, &parents, notes)?;
    let keys = signing_keys(seen, notes)?;
    let message = if zones::by_hand(seen.domain) {
        let wanted = by_hand::wanted(seen, &name, &parents, &keys);
        sign(seen, &name, &keys, &by_hand::states(seen, &wanted)?)?;
        let policy = mta_sts::advance(seen, &parents, &name, notes)?;
        by_hand::check(seen, &name, &wanted, notes)? + &policy
    } else {
        publish(seen, notes)?;
        let journal = seen.status.dns.as_ref().map_or(&[][..], |d| &d.records);
        sign(seen, &name, &keys, journal)?;
        let policy = mta_sts::advance(seen, &parents, &name, notes)?;
        new_hosts(seen, &name, &parents, notes)?;
        let text = "every authoritative server shows the records".to_owned();
        notes.push(Note::Condition(ConditionType::DNSPublished, true, Reason::Succeeded, text));
        cut_over(seen, &name, notes)? + &policy
    };
    clear(&keys)?;
    let wait = "; new DKIM keys wait until one of the former ones is over: each stays 14 days after its last signature";
    Ok(if keys.postponed { message + wait } else { message })
}

/// The regular look at what the server has of the domain. It comes before all that may stand in the domain's own way, its
/// DNS for one: nothing else watches its mailboxes.
fn look(seen: &Seen<'_>, notes: &mut Vec<Note>) -> Stage<()> {
    let Some(regular) = learned(&seen.facts.regular, Observation::Regular)? else { return Ok(()) };
    let status = seen.domain.status.as_ref();
    let asked = annotation(seen.domain, annotations::RECONCILE);
    let asks = asked.is_some() && asked.as_ref() != status.and_then(|s| s.last_handled_reconcile_at.as_ref());
    if looks(seen.domain, regular) && (regular.due || asks) {
        let there = *learned(&seen.facts.looked, Observation::Look)?;
        let provisioned = status.is_some_and(|s| conditions::is_true(&s.conditions, ConditionType::Provisioned));
        if !there && provisioned {
            // Those in it wait for this pass to make it again, instead of asking the server each for itself.
            let name = name::mail_domain(&seen.domain.spec.domain).unwrap_or_default();
            let text = format!("{} does not have {name} any more", regular.label);
            notes.push(Note::Condition(ConditionType::Provisioned, false, Reason::Drifted, text));
        }
    }
    notes.push(Note::Handled(asked));
    Ok(())
}

/// Whether the rows are this domain's to look at.
fn looks(domain: &MailDomain, regular: &Regular) -> bool {
    regular.holder == domain.metadata.uid || (regular.holder.is_none() && regular.observes)
}

/// The parents may be used, the servers are connected, and the name has a zone.
fn parents<'a>(seen: &Seen<'a>, name: &str) -> Stage<Parents<'a>> {
    let known = learned(&seen.facts.known, Observation::Parents)?;
    let parents = parents::check(seen.domain, name, known).map_err(wait)?;
    learned(&seen.facts.server, Observation::Server)?;
    parents.dns.map_or(Ok(()), backend_ready::dns).map_err(wait)?;
    if !seen.facts.zone_found {
        return Err(Next::Learn(Observation::Zone));
    }
    Ok(parents)
}

/// Proof, then claim (I9). A claim is held until the MailDomain goes; it is never looked past. `Verified` in the status says
/// that nobody held a name above or below once the claim was there, and is written before anything is provisioned: whoever
/// crashed in between looks again.
fn verify(seen: &Seen<'_>, name: &str, parents: &Parents<'_>, notes: &mut Vec<Note>) -> Stage<()> {
    let refused = |not_ready| Next::Wait(not_ready, Some(ConditionType::OwnershipVerified));
    let ours = match &seen.facts.claim {
        Some(Taken::Ours) => true,
        Some(Taken::Other) => return Err(refused(held_by_another(name))),
        Some(Taken::Relative(relative)) => {
            return Err(refused(NotReady { next: dispatch::Next::Retry, ..held_by_another(relative) }));
        }
        None => held(seen)?,
    };
    if !ours {
        unclaimed(seen, name, parents, notes)?;
    }
    // Also where the watch says that it is ours: it may have been given back a moment ago, and the watch be late.
    let unsure = never_verified(seen.status) || seen.status.state == Some(DomainState::Lost);
    match (ours, unsure, &seen.facts.claim) {
        (false, ..) | (_, true, None) => return Err(Next::Do(Action::Claim)),
        (_, true, Some(_)) => return Err(Next::Do(Action::NoteVerified)),
        (true, false, _) => {}
    }
    notes.push(verified(name));
    Ok(())
}

/// The condition of a name that is ours.
pub fn verified(name: &str) -> Note {
    Note::Condition(ConditionType::OwnershipVerified, true, Reason::Succeeded, format!("{name} is claimed"))
}

fn held_by_another(what: &str) -> NotReady {
    NotReady::stalled(
        Reason::DomainClaimed,
        format!("{what} is held by another tenant of this cluster: ask the platform team if it should be yours"),
    )
}

/// Uid of who holds the name. The watch may be late: what is provisioned is not put at risk for that.
fn holder<'a>(seen: &Seen<'a>) -> Stage<&'a Option<String>> {
    let told = learned(&seen.facts.holder, Observation::Holder)?;
    if *told != seen.domain.metadata.uid && !never_verified(seen.status) {
        return learned(&seen.facts.live_holder, Observation::LiveHolder);
    }
    Ok(told)
}

fn held(seen: &Seen<'_>) -> Stage<bool> {
    Ok(*holder(seen)? == seen.domain.metadata.uid)
}

/// A name that is not ours: whether it may be claimed.
fn unclaimed(seen: &Seen<'_>, name: &str, parents: &Parents<'_>, notes: &mut Vec<Note>) -> Stage<()> {
    let refused = |not_ready| Err(Next::Wait(not_ready, Some(ConditionType::OwnershipVerified)));
    // What was verified once may have left something: it is never `Pending` again.
    let lost = !never_verified(seen.status);
    notes.push(Note::State(if lost { DomainState::Lost } else { DomainState::Pending }));
    let unproven = |text: &str| {
        Note::Condition(ConditionType::OwnershipVerified, false, Reason::OwnershipUnproven, text.to_owned())
    };
    notes.push(unproven("not proven yet"));
    if holder(seen)?.is_some() {
        return refused(held_by_another(name));
    }
    if let Some(relative) = learned(&seen.facts.relative, Observation::Relative)? {
        return refused(held_by_another(relative));
    }
    if parents.needs_proof && !*learned(&seen.facts.proven, Observation::Proof)? {
        let challenge = records::challenge_name(name);
        let value = proof_value(seen.domain, name);
        let mut pause = PROOF;
        let mut text = format!("add the TXT record {challenge} with the value \"{value}\": then {name} is yours");
        if zones::by_hand(seen.domain) {
            notes.extend(by_hand::challenge(seen, &challenge, &value));
            text += &by_hand::unproven(&seen.facts.proof, &value);
            pause = by_hand::pause(seen, ConditionType::OwnershipVerified);
        } else if let Some(wildcard) = learned(&seen.facts.wildcard, Observation::Wildcard)? {
            text += &caution(name, wildcard);
        }
        return refused(NotReady::after(Reason::OwnershipUnproven, text, pause));
    }
    Ok(())
}

/// The domain is at the server, as it should be.
fn provision(seen: &Seen<'_>, parents: &Parents<'_>, notes: &mut Vec<Note>) -> Stage<()> {
    // What is known of the rows may be from whoever held the name before.
    let fresh = *learned(&seen.facts.holder, Observation::Holder)? != seen.domain.metadata.uid;
    let row = learned(&seen.facts.row, Observation::Row { fresh })?;
    let own = owner_uid(seen.domain);
    let good = row.as_ref().is_some_and(|r| {
        let ours = r.owner.as_ref() == Some(&own) && r.tenant.as_deref() == Some(parents.tenant);
        ours && r.active && r.alias_of.is_none() && is_noted(r.origin.as_ref(), seen.domain)
    });
    if !good && !seen.facts.ensured {
        let text = "being made at the backend".to_owned();
        notes.push(Note::Condition(ConditionType::Provisioned, false, Reason::Progressing, text));
        match row {
            None if never_made(seen.status.ownership) => mass_loss::not_held(parents.instance).map_err(wait)?,
            None if !seen.facts.loss_allowed => return Err(Next::Learn(Observation::Loss)),
            _ => {}
        }
        return Err(Next::Do(Action::Provision));
    }
    let adopted = row.as_ref().is_some_and(|r| r.adopted);
    notes.push(Note::Ownership(if adopted { Ownership::Adopted } else { Ownership::Created }));
    let text = "the backend takes mail for the domain".to_owned();
    notes.push(Note::Condition(ConditionType::Provisioned, true, Reason::Succeeded, text));
    if matches!(seen.status.state, Some(DomainState::Pending | DomainState::Verified)) {
        notes.push(Note::State(DomainState::Provisioned));
    }
    Ok(())
}

/// There is a key for each algorithm, and none that is to be replaced.
fn signing_keys(seen: &Seen<'_>, notes: &mut Vec<Note>) -> Stage<KeyPlan> {
    let server = learned(&seen.facts.server, Observation::Server)?;
    let algorithms = keys::algorithms(seen.domain, server).map_err(wait)?;
    let all = learned(&seen.facts.keys, Observation::Keys)?;
    let plan = keys::plan(seen.domain, all, &algorithms, seen.now);
    if !plan.make.is_empty() {
        return Err(Next::Do(Action::MakeKeys(plan.make)));
    }
    if let Some(wish) = annotation(seen.domain, annotations::ROTATE_DKIM).filter(|_| !plan.postponed) {
        notes.push(Note::Rotated(wish));
    }
    let (own, _) = keys::ours(seen.facts.signing.as_ref().unwrap_or(all), &uid(seen.domain));
    let mut shown = keys::shown(&own, &plan.newest, &seen.status.dkim, seen.now);
    shown.extend(plan.lost.iter().map(LostKey::status));
    notes.push(Note::Keys(shown));
    Ok(plan)
}

/// All but MX is written and shown; MX too where it is ours already.
fn publish(seen: &Seen<'_>, notes: &mut Vec<Note>) -> Stage<()> {
    let Some(published) = &seen.facts.records else {
        return Err(Next::Do(Action::Publish { part: Part::Records, switch_mx: is_live(seen.status) }));
    };
    shown(published, Part::Records, notes)
}

/// Nothing stands in the way of what was written, and every authoritative server shows it.
fn shown(published: &Published, part: Part, notes: &mut Vec<Note>) -> Stage<()> {
    let condition = Some(part.condition());
    if let Some(conflict) = &published.conflict {
        return Err(Next::Wait(conflict.clone(), condition));
    }
    let unseen = learned(&published.unseen, Observation::Shown(part))?;
    if !published.kept.is_empty() {
        notes.push(Note::Kept(published.kept.clone()));
    }
    let Some((name, rtype)) = unseen.first() else {
        if part == Part::Mx {
            notes.push(Note::MxShown);
        }
        return Ok(());
    };
    notes.push(Note::Propagating(unseen.clone()));
    let text = format!("DNS servers do not show {} {name} yet: they are asked again", rtype.as_str());
    Err(Next::Wait(NotReady::after(Reason::DNSPropagating, text, PROPAGATION), condition))
}

/// Mail is signed with the newest keys, once their records are shown.
fn sign(seen: &Seen<'_>, name: &str, keys: &KeyPlan, journal: &[RecordStatus]) -> Stage<()> {
    if seen.facts.signing.is_some() {
        return Ok(());
    }
    match keys::signs(keys, journal, name) {
        Some(keys) => Err(Next::Do(Action::Sign(keys))),
        None => Ok(()),
    }
}

/// MX of a live domain leads to a new mail server only once that is proven, and by one domain before the others: until then
/// it stays as it is.
fn new_hosts(seen: &Seen<'_>, name: &str, parents: &Parents<'_>, notes: &mut Vec<Note>) -> Stage<()> {
    if !is_live(seen.status) || seen.facts.went_live {
        return Ok(());
    }
    if let Some(published) = &seen.facts.mx {
        return shown(published, Part::Mx, notes);
    }
    let journal: Vec<RecordStatus> = derived::journal(seen.domain, seen.status).cloned().collect();
    let new = move_mx::new_hosts(parents.instance, &journal);
    if new.is_empty() {
        // It was among the records, which are all shown.
        notes.push(Note::MxShown);
        return Ok(());
    }
    if let Some(held) = mta_sts::holds_mx(seen, name, &new) {
        return Err(Next::Wait(held, Observation::NewMxTurn.condition()));
    }
    if !*learned(&seen.facts.new_mx_turn, Observation::NewMxTurn)? {
        return Err(Next::Wait(move_mx::not_first(name, &new), Observation::NewMxTurn.condition()));
    }
    learned(&seen.facts.declared, Observation::Declared)?;
    if !seen.facts.new_mx_proven {
        return Err(Next::Learn(Observation::NewMx));
    }
    Err(Next::Do(Action::Publish { part: Part::Mx, switch_mx: true }))
}

/// MX is switched last (I7): when every declared address is ready, the servers themselves say that they take mail for each,
/// and a person has agreed where that is asked for.
fn cut_over(seen: &Seen<'_>, name: &str, notes: &mut Vec<Note>) -> Stage<String> {
    let cut_over = |done, reason, text: &str| Note::Condition(ConditionType::CutOver, done, reason, text.to_owned());
    let waits = |not_ready| Err(Next::Wait(not_ready, Some(ConditionType::CutOver)));
    let ours = |r: &RecordStatus| r.purpose == Purpose::MX && r.state == RecordState::Ok && r.ownership.is_some();
    let shown_before = is_live(seen.status) && seen.status.dns.as_ref().is_some_and(|d| d.records.iter().any(ours));
    if seen.facts.went_live || shown_before {
        notes.push(cut_over(true, Reason::Succeeded, "MX is ours"));
        return Ok(format!("{name} is live"));
    }
    notes.push(Note::State(DomainState::CutoverReady));
    match gate(seen)? {
        Gate::Closed(not_ready) => return waits(not_ready),
        Gate::NoAddress => {
            let text = "MX is switched when the first Mailbox or MailAlias of the domain is there";
            notes.push(cut_over(false, Reason::AwaitingFirstAddress, text));
            return Ok(format!("{name} is prepared: {text}"));
        }
        Gate::Open => {}
    }
    let Some(published) = &seen.facts.mx else {
        return Err(Next::Do(Action::Publish { part: Part::Mx, switch_mx: true }));
    };
    shown(published, Part::Mx, notes)?;
    Err(Next::Do(Action::GoLive))
}

/// What nobody needs any more goes, after its record, and after all that the domain itself needs.
fn clear(keys: &KeyPlan) -> Stage<()> {
    keys.over.first().map_or(Ok(()), |selector| Err(Next::Do(Action::RemoveKey(selector.clone()))))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
