//! Does what the plan asks for, and puts into the facts what became of it. Nothing is decided here.

use super::facts::Published;
use super::gather::Pass;
use super::journal;
use super::keys;
use super::plan::verified;
use super::records;
use super::steps::{Action, Note, Part};
use super::zone_file;
use crate::ctx::Step;
use crate::kinds::mail_domain_claim as claim;
use crate::not_ready::NotReady;
use crate::rules::{entitlement, recovery, zones};
use crate::state::derived::owner;
use crate::state::snapshots::Since;
use mailtenant_api::mail_domain::{DkimAlgorithm, DomainState};
use mailtenant_api::*;
use mailtenant_dns::converge::Converged;
use mailtenant_groupware::{Adopt, BackendError, DkimRow, DomainSnapshot, DomainWant, Made, Selector};
use mailtenant_mail::merge;

pub async fn act(pass: &mut Pass<'_>, action: Action) -> Step<()> {
    match action {
        Action::Claim => {
            pass.facts.claim = Some(claim::take_alone(pass.ctx, &pass.name, &pass.p.object).await?);
        }
        Action::NoteVerified => {
            pass.p.note(Note::State(DomainState::Verified));
            pass.p.note(verified(&pass.name));
            pass.p.conditions.waiting(Reason::Progressing, "the name is ours, the domain is being made");
            pass.p.write_first(pass.ctx).await?;
        }
        Action::Provision => provision(pass).await?,
        Action::MakeKeys(algorithms) => make_keys(pass, &algorithms).await?,
        Action::Publish { part, switch_mx } => publish(pass, part, switch_mx).await?,
        Action::Sign(keys) => sign(pass, &keys).await?,
        Action::TellPolicy => {
            // They are made anew, with the policy that the status has by now.
            (pass.facts.told, pass.facts.records) = (true, None);
        }
        Action::WriteZoneFile(text) => {
            pass.facts.zone_file = Some(zone_file::write(pass.ctx, &pass.p.object, text).await?);
        }
        Action::GoLive => go_live(pass),
        Action::RemoveKey(selector) => remove_key(pass, &selector).await?,
    }
    Ok(())
}

/// A call to the groupware server failed, and may have been carried out or not.
async fn failed(pass: &Pass<'_>, error: &BackendError) -> Step<NotReady> {
    let server = pass.server()?;
    pass.ctx.backend_failed(server, error);
    pass.ctx.snapshots.stale(&server.uid, &pass.name).await;
    Ok(NotReady::backend(&server.label(), error))
}

async fn provision(pass: &mut Pass<'_>) -> Step<()> {
    let domain = pass.p.object.clone();
    let mut want = DomainWant {
        owner: owner(pass.ctx.world().cluster(), domain.as_ref(), domain.spec.adoption_policy),
        name: pass.name.clone(),
        tenant: pass.parents()?.tenant.clone(),
        holders: pass.parents()?.instance.holders(),
        alias_of: None,
    };
    let server = pass.server()?;
    let mut done = server.server.ensure_domain(&want).await;
    if let Err(error) = &done
        && let Some(uid) = recovery::replaced(pass.ctx, server, domain.as_ref(), error).await?
    {
        want.owner.replaces = Some(uid);
        done = server.server.ensure_domain(&want).await;
    }
    if let Err(error) = &done
        && adopts(pass, error).await?
    {
        want.owner.adopt = Adopt::All;
        done = server.server.ensure_domain(&want).await;
    }
    let (row, made) = match done {
        Ok(done) => done,
        Err(error @ BackendError::Exists { .. }) => {
            if !is_known(pass, &error) {
                pass.ctx.snapshots.stale(&server.uid, &pass.name).await;
            }
            return Err(recovery::refused(pass.ctx, server, domain.as_ref(), &error).await?.into());
        }
        Err(error) => return Err(failed(pass, &error).await?.into()),
    };
    if made == Made::TakenOver {
        let note = format!("{} was of a MailDomain of this name that no longer exists, and is taken over", pass.name);
        pass.ctx.event(domain.as_ref(), EventReason::TakenOver, note);
        // Its signing keys are ours too now.
        pass.ctx.snapshots.stale(&server.uid, &pass.name).await;
    }
    if made == Made::Adopted {
        let note = format!("{} was at the backend and is taken over", pass.name);
        pass.ctx.event(domain.as_ref(), EventReason::Adopted, note);
    }
    let copy = row.clone();
    pass.ctx.snapshots.update(&server.uid, &pass.name, |s| s.domain = Some(copy)).await;
    (pass.facts.row, pass.facts.ensured) = (Some(Some(row)), true);
    Ok(())
}

/// Whether what is there may be taken over after all.
async fn adopts(pass: &Pass<'_>, error: &BackendError) -> Step<bool> {
    let (server, domain) = (pass.server()?, pass.p.object.as_ref());
    let answer = entitlement::adopts(pass.ctx, server, domain, domain.spec.adoption_policy, error).await;
    if answer.is_err() && !is_known(pass, error) {
        pass.ctx.snapshots.stale(&server.uid, &pass.name).await;
    }
    answer
}

/// Whether what is known of the row says whose it is as the server's refusal does: who tries again and again must not have the
/// domain read each time (I5).
fn is_known(pass: &Pass<'_>, refusal: &BackendError) -> bool {
    let BackendError::Exists { owner, .. } = refusal else { return false };
    matches!(&pass.facts.row, Some(Some(row)) if row.owner == *owner)
}

async fn make_keys(pass: &mut Pass<'_>, algorithms: &[DkimAlgorithm]) -> Step<()> {
    let (ctx, own) = (pass.ctx, pass.owner());
    let mut all = pass.facts.keys.clone().unwrap_or_default();
    for &algorithm in algorithms {
        let server = pass.server()?;
        let selector = keys::selector(&pass.p.object, &all, algorithm, pass.now);
        let key = ctx.keys.make(algorithm).await.map_err(|e| {
            ctx.backend_failed(server, &e);
            NotReady::backend(&server.label(), &e)
        })?;
        match pass.signer()?.ensure_dkim_key(&own, &pass.name, &selector, &key).await {
            Ok(row) => all.push(row),
            Err(error) => return Err(failed(pass, &error).await?.into()),
        }
    }
    let copy = all.clone();
    ctx.snapshots.update(&pass.server()?.uid, &pass.name, |s| s.dkim = copy).await;
    pass.facts.keys = Some(all);
    Ok(())
}

async fn publish(pass: &mut Pass<'_>, part: Part, switch_mx: bool) -> Step<()> {
    recover_journal(pass).await?;
    let (wanted, name, manager) = (pass.wanted(part, switch_mx)?, pass.name.clone(), pass.manager());
    let aim = pass.aim(&name, &wanted, &manager, switch_mx)?;
    let which = merge::which(&wanted, &pass.p.journal());
    let (dns, zone) = pass.zone()?.managed()?;
    let (dns, zone) = (dns.clone(), zone.to_owned());
    let (plan, live) = match journal::carry_out(pass.ctx, pass.p, &dns, &zone, &aim).await? {
        Converged::Settled { plan, live } => (plan, live),
        Converged::ZoneGone => {
            return Err(pass.ctx.dns_failed(&dns, &BackendError::NotFound(format!("the zone {zone}"))).into());
        }
        Converged::Contended(last) => return Err(journal::contended(pass.p, last.as_ref()).into()),
    };
    let conflict = records::conflict(&plan.conflicts);
    if let Some(ttl) = merge::seen_mx_ttl(&plan.journal, &live) {
        // Also of an MX that others wrote: on the way out resolvers may know it for as long.
        pass.p.note(Note::MxLeadsHere(ttl, pass.ctx.latest_now()));
    }
    pass.p.set_journal(plan.journal, plan.previous_mx);
    let published = Some(Published { switch_mx, wanted, conflict, which, live, unseen: None, kept: vec![] });
    match part {
        Part::Records => pass.facts.records = published,
        Part::Mx => {
            // What was said before MX led there is of no use for the next change.
            pass.ctx.answers.forget(&pass.uid());
            pass.facts.mx = published;
        }
    }
    Ok(())
}

/// The journal may be lost, or be that of an earlier day: what the marker of the domain says was made by this MailDomain is ours
/// again, and MX from before the cut-over is known again. Read once in the life of this process, and while there is nothing of
/// ours.
async fn recover_journal(pass: &mut Pass<'_>) -> Step<()> {
    let (name, uid, manager) = (pass.name.clone(), pass.uid(), pass.manager());
    let Some(writer) = pass.writer(&name, &manager)? else { return Ok(()) };
    if pass.ctx.marker_was_read(&uid) && pass.p.journal().iter().any(merge::is_ours) {
        return Ok(());
    }
    let declared = pass.declared()?;
    let (dns, zone) = pass.zone()?.managed()?;
    let live = match dns.server.read(zone, &writer.which(&declared, &[])).await {
        Ok(live) => live,
        // Publishing says so.
        Err(BackendError::NotFound(_)) => return Ok(()),
        Err(error) => return Err(pass.ctx.dns_failed(dns, &error).into()),
    };
    let (zone, backend) = (zone.to_owned(), dns.name.clone());
    let before = merge::without_lost_mx(pass.p.journal(), &live);
    pass.p.set_journal(before.clone(), None);
    if let Some((journal, previous)) = merge::recovered(&writer, &declared, &live, &before) {
        let text = format!("records of {name} that this MailDomain made before are its own again, by its marker");
        pass.ctx.event(pass.p.object.as_ref(), EventReason::TakenOver, text);
        let previous = pass.p.previous_mx().or(previous);
        // Where they are is known too, or nothing would be withdrawn.
        (pass.p.dns().zone, pass.p.dns().backend) = (Some(zone), Some(backend));
        pass.p.set_journal(journal, previous);
    }
    pass.ctx.set_marker_read(&uid, true);
    Ok(())
}

async fn sign(pass: &mut Pass<'_>, keys: &[DkimRow]) -> Step<()> {
    let signed = pass.signer()?.sign_with(&pass.owner(), &pass.name, keys).await;
    if let Err(error) = signed {
        return Err(failed(pass, &error).await?.into());
    }
    // Read back: what the status says of a key is what the signer has.
    pass.facts.signing = Some(pass.rows(Since::now(), |rows| rows.dkim.clone()).await?);
    Ok(())
}

fn go_live(pass: &mut Pass<'_>) {
    pass.p.note(Note::State(DomainState::Live));
    pass.p.note(Note::FormerPolicy(None));
    pass.facts.went_live = true;
    let text = if zones::by_hand(&pass.p.object) {
        format!("every authoritative server shows our MX of {}", pass.name)
    } else {
        format!("MX of {} is ours, every declared address takes mail", pass.name)
    };
    pass.ctx.event(pass.p.object.as_ref(), EventReason::CutOver, text);
}

async fn remove_key(pass: &mut Pass<'_>, selector: &Selector) -> Step<()> {
    let removed = pass.signer()?.remove_dkim_key(&pass.owner(), &pass.name, selector).await;
    if let Err(error) = removed {
        return Err(failed(pass, &error).await?.into());
    }
    let gone = |s: &mut DomainSnapshot| s.dkim.retain(|k| k.selector != *selector);
    pass.ctx.snapshots.update(&pass.server()?.uid, &pass.name, gone).await;
    for keys in [&mut pass.facts.keys, &mut pass.facts.signing].into_iter().flatten() {
        keys.retain(|k| k.selector != *selector);
    }
    Ok(())
}
