//! The way out of a domain (I1, I7): MX leaves first, then its mailboxes and aliases are waited for and the old TTL, then
//! the domain at the backend goes, the rest of the records, and the claim.

use super::super::ctx::{Ctx, Pass, Step, Stop, orphan, paused, uid, without_finalizer};
use super::super::edges::put;
use super::super::hold::Hold;
use super::super::mail_domain_claim as claim;
use super::super::world::a_label;
use super::super::{deletion, family};
use super::stage::Progress;
use kube::ResourceExt;
use kube::api::ListParams;
use mailtenant_api::mail_domain::DomainState;
use mailtenant_api::*;
use mailtenant_dns::{RecordType, RrSet};
use mailtenant_groupware::{BackendError, DomainSnapshot, Left};
use mailtenant_mail::merge::{self, Plan};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;
use std::time::Duration;

/// One pass of the way out.
pub async fn run(ctx: &Ctx, domain: Arc<MailDomain>) -> Pass {
    if !domain.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Next::Settled);
    }
    let api = ctx.api::<MailDomain>(&domain.namespace().unwrap_or_default());
    let before = domain.status.clone().unwrap_or_default();
    let mut p = Progress::new(ctx, domain);
    match steps(ctx, &mut p).await {
        Ok(Cleanup::Done) => {
            let key = NamespacedName::of(p.object.as_ref());
            ctx.answers.forget(&uid(p.object.as_ref()));
            let known = ctx.world().domains.get(&key).filter(|d| d.metadata.uid == p.object.metadata.uid);
            without_finalizer(ctx, &api, known.as_deref().unwrap_or(&p.object), put::domain).await?;
            Ok(Next::Settled)
        }
        Ok(Cleanup::Waiting(hold)) | Err(Stop::Hold(hold)) => {
            super::super::tell_hold(ctx, p.object.as_ref(), &before.conditions, &hold);
            p.conditions.waiting(Reason::Deleting, format!("being deleted; {}", hold.message));
            p.conditions.set(ConditionType::DeletionBlocked, true, hold.reason, hold.message.clone());
            p.write(ctx).await?;
            Ok(hold.next)
        }
        Err(Stop::Kubernetes(error)) => Err(error),
    }
}

async fn steps(ctx: &Ctx, p: &mut Progress) -> Step<Cleanup<Hold>> {
    let domain = p.object.clone();
    let key = NamespacedName::of(domain.as_ref());
    let name = a_label(&domain);
    let own = uid(domain.as_ref());
    if orphan(domain.as_ref()) {
        // Its children need it to find what they have to take down.
        if let Some(hold) = children(ctx, &key).await? {
            return Ok(Cleanup::Waiting(hold));
        }
        ctx.event(domain.as_ref(), true, "Orphaned", "neither backend nor DNS was asked: what is there stays there");
        claim::give_back(ctx, &name, &own).await?;
        return Ok(Cleanup::Done);
    }
    if paused(domain.as_ref()) {
        return Ok(Cleanup::Waiting(family::paused_itself()));
    }
    let instance = family::instance(&ctx.world(), &key.sibling(&domain.spec.instance_ref.name), true);
    if let Ok(instance) = &instance
        && let Some(hold) = family::paused_by(&instance.object)
    {
        return Ok(Cleanup::Waiting(hold));
    }
    if let Ok(instance) = &instance
        && let Some(hold) = deletion::mass_loss(instance)
    {
        return Ok(Cleanup::Waiting(hold));
    }
    let observed = domain.spec.management_policy == ManagementPolicy::Observe
        || instance.as_ref().is_ok_and(|i| i.object.spec.management_policy == ManagementPolicy::Observe);
    if !observed {
        withdraw_mx(ctx, p).await.map_err(way_out)?;
    }
    if let Some(hold) = children(ctx, &key).await? {
        return Ok(Cleanup::Waiting(hold));
    }
    if super::never_verified(&p.status) {
        claim::give_back(ctx, &name, &own).await?;
        return Ok(Cleanup::Done);
    }
    // Whoever has the row: nobody else knows of the records that we made.
    if observed && p.journal().iter().any(merge::is_ours) {
        return Ok(deletion::observed());
    }
    if let (true, Ok(instance)) = (observed, &instance) {
        let ours = |rows: &DomainSnapshot| rows.domain_is_of(&own);
        let outcome = deletion::observed_row(ctx, instance, (&key, &name), p.status.ownership, ours).await?;
        if matches!(outcome, Cleanup::Done) {
            claim::give_back(ctx, &name, &own).await?;
        }
        return Ok(outcome);
    }
    if observed && !deletion::never_made(p.status.ownership) {
        return Ok(deletion::observed());
    }
    if let Some(hold) = deletion::draining(&with_status(&domain, p), false, ctx.clock.now()) {
        return Ok(Cleanup::Waiting(hold));
    }
    match instance {
        Ok(instance) => {
            super::super::groupware_backend::usable(&instance.backend).map_err(deletion::with_way_out)?;
            let server =
                ctx.connections.groupware(ctx, &instance.object.spec.backend_ref.name).await.map_err(way_out)?;
            let retain = domain.spec.deletion_policy == DeletionPolicy::Retain;
            let result = server.server.remove_domain(&own, &name, retain).await;
            if matches!(result, Err(BackendError::NotFound(_))) && !deletion::never_made(p.status.ownership) {
                deletion::not_there(ctx, &server, &instance).await?;
            }
            match result {
                Ok(Left::Kept(n)) => {
                    let note = format!("{name} is switched off and stays at the backend, with {n} retained objects");
                    ctx.event(domain.as_ref(), false, "Retained", note);
                }
                Ok(Left::Used(n)) => {
                    let note = format!(
                        "{name} stays as it is at the backend: {n} mailboxes and aliases of others are in use below it"
                    );
                    ctx.event(domain.as_ref(), false, "Retained", note);
                }
                Ok(Left::Gone) | Err(BackendError::NotFound(_) | BackendError::Exists { .. }) => {}
                Err(error) => {
                    ctx.trouble(&server, &error);
                    return Ok(Cleanup::Waiting(deletion::with_way_out(Hold::backend(&server.label(), &error))));
                }
            }
            // What is known of the rows is the holder's: without it drift would have nothing to be compared with.
            let holder = ctx.world().claims.get(&NamespacedName::new("", &name)).map(|c| c.spec.owner.uid.clone());
            if holder.is_none_or(|uid| uid == own) {
                ctx.observed.forget(&server.uid, &name);
            }
        }
        Err(hold) => return Ok(Cleanup::Waiting(deletion::with_way_out(hold))),
    }
    withdraw_rest(ctx, p).await.map_err(way_out)?;
    claim::give_back(ctx, &name, &own).await?;
    Ok(Cleanup::Done)
}

fn way_out(stop: Stop) -> Stop {
    match stop {
        Stop::Hold(hold) => Stop::Hold(deletion::with_way_out(hold)),
        stop => stop,
    }
}

fn with_status(domain: &MailDomain, p: &Progress) -> MailDomain {
    MailDomain { status: Some(p.status.clone()), ..domain.clone() }
}

/// Who is still in the domain: by the store, and then by a live list, which has the last word.
async fn children(ctx: &Ctx, key: &NamespacedName) -> Result<Option<Hold>, kube::Error> {
    let (aliases, mailboxes): (Vec<String>, Vec<String>) = {
        let world = ctx.world();
        let names = |keys: Vec<&NamespacedName>| keys.into_iter().map(|k| k.name.clone()).collect();
        (
            names(world.index.aliases_by_domain.of(key).collect()),
            names(world.index.mailboxes_by_domain.of(key).collect()),
        )
    };
    if !aliases.is_empty() {
        return Ok(Some(deletion::blocked(Reason::HasAliases, "MailAlias", &aliases)));
    }
    if !mailboxes.is_empty() {
        return Ok(Some(deletion::blocked(Reason::HasMailboxes, "Mailbox", &mailboxes)));
    }
    let params = ListParams::default().fields(&format!("spec.domainRef.name={}", key.name)).limit(6);
    // Metadata: a child that cannot be decoded is a child.
    let aliases = ctx.api::<MailAlias>(&key.namespace).list_metadata(&params).await?;
    let mailboxes = ctx.api::<Mailbox>(&key.namespace).list_metadata(&params).await?;
    let again = |hold| Some(Hold { next: Next::Retry, ..hold });
    if !aliases.items.is_empty() {
        let names: Vec<String> = aliases.items.iter().map(|a| a.name_any()).collect();
        return Ok(again(deletion::blocked(Reason::HasAliases, "MailAlias", &names)));
    }
    if !mailboxes.items.is_empty() {
        let names: Vec<String> = mailboxes.items.iter().map(|m| m.name_any()).collect();
        return Ok(again(deletion::blocked(Reason::HasMailboxes, "Mailbox", &names)));
    }
    Ok(None)
}

/// The DNS server and the zone of what was written; none if nothing was.
async fn server(ctx: &Ctx, p: &Progress) -> Step<Option<(super::super::connections::Dns, String)>> {
    let dns = p.status.dns.clone().unwrap_or_default();
    let declared = p.object.spec.dns.backend_ref.as_ref().map(|r| r.name.clone());
    let (Some(zone), Some(backend)) = (dns.zone, dns.backend.or(declared)) else { return Ok(None) };
    if dns.records.is_empty() {
        return Ok(None);
    }
    Ok(Some((ctx.connections.dns(ctx, &backend).await?, zone)))
}

/// Rounds of read, plan, write.
const ROUNDS: usize = 4;

async fn withdraw_mx(ctx: &Ctx, p: &mut Progress) -> Step<()> {
    let mx = |p: &Progress| p.journal().into_iter().find(|r| r.purpose == Purpose::MX);
    let Some(ours) = mx(p) else { return Ok(()) };
    let Some((dns, zone)) = server(ctx, p).await? else { return Ok(()) };
    let which = [(ours.name.clone(), RecordType::MX)];
    let failed = |e: BackendError| ctx.dns_trouble(&dns, &e);
    for _ in 0..ROUNDS {
        let read = dns.server.read(&zone, &which).await;
        let zone_is_gone = matches!(read, Err(BackendError::NotFound(_)));
        let live = match read {
            // The zone itself is gone, by the server's own word: no MX is in it.
            Err(BackendError::NotFound(_)) => {
                RrSet { name: ours.name.clone(), rtype: RecordType::MX, ttl: 0, values: vec![] }
            }
            live => live.map_err(failed)?.into_iter().next().ok_or_else(|| {
                Hold::retry(
                    Reason::BackendUnreachable,
                    format!("{} did not say what MX of {} is", dns.label(), ours.name),
                )
            })?,
        };
        let plan = merge::withdraw_mx(&p.journal(), &live, p.object.spec.dns.on_delete, p.previous_mx().as_ref());
        if plan.changes.is_empty() {
            if !zone_is_gone {
                gone_everywhere(&dns, &ours.name, p).await?;
            }
            let was_ours =
                p.journal().iter().any(|r| r.purpose == Purpose::MX && r.ownership == Some(Ownership::Created));
            p.set_journal(plan.journal, None);
            if was_ours && p.status.draining_until.is_none() {
                p.status.draining_until = Some(p.mx_is_cached_until(ctx.clock.now()));
                p.status.state = Some(DomainState::Draining);
                p.conditions.set(ConditionType::CutOver, false, Reason::Draining, "MX has left");
                p.write(ctx).await?;
            }
            return Ok(());
        }
        apply(ctx, &dns, &zone, &plan).await?;
    }
    Err(Hold::retry(Reason::DNSConflict, format!("somebody else keeps changing MX of {}", ours.name)).into())
}

/// The servers that resolvers ask do not show our MX any more: only then does the old TTL begin to run out.
async fn gone_everywhere(dns: &super::super::connections::Dns, name: &str, p: &Progress) -> Step<()> {
    let seen = dns.resolver.lookup(name, RecordType::MX).await.map_err(|e| Hold::backend(&dns.label(), &e))?;
    let kept = p.previous_mx().map(|m| m.values).unwrap_or_default();
    let ours: Vec<String> = p
        .journal()
        .into_iter()
        .filter(|r| r.purpose == Purpose::MX && r.ownership == Some(Ownership::Created) && !kept.contains(&r.value))
        .map(|r| r.value)
        .collect();
    if seen.iter().any(|set: &RrSet| set.values.iter().any(|v| ours.contains(v))) {
        let text = format!("DNS servers still show our MX of {name}: they are asked again");
        return Err(Hold::after(Reason::Draining, text, Duration::from_secs(5)).into());
    }
    Ok(())
}

async fn apply(ctx: &Ctx, dns: &super::super::connections::Dns, zone: &str, plan: &Plan) -> Step<()> {
    match dns.server.apply(zone, &plan.changes).await {
        Ok(()) | Err(BackendError::Conflict(_)) => Ok(()),
        Err(e) => Err(ctx.dns_trouble(dns, &e).into()),
    }
}

async fn withdraw_rest(ctx: &Ctx, p: &mut Progress) -> Step<()> {
    let Some((dns, zone)) = server(ctx, p).await? else { return Ok(()) };
    for _ in 0..ROUNDS {
        let which = merge::which(&[], &p.journal());
        let live = match dns.server.read(&zone, &which).await {
            // The zone itself is gone, by the server's own word: nothing of ours is in it.
            Err(BackendError::NotFound(_)) => return Ok(()),
            live => live.map_err(|e| ctx.dns_trouble(&dns, &e))?,
        };
        let plan = merge::withdraw_rest(&p.journal(), &live);
        if plan.is_withdrawn() {
            return Ok(());
        }
        if plan.changes.is_empty() {
            p.set_journal(plan.journal, None);
            continue;
        }
        apply(ctx, &dns, &zone, &plan).await?;
    }
    Err(Hold::retry(Reason::DNSConflict, "somebody else keeps changing the records").into())
}
