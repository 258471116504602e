//! The way out of a domain (I1, I7): MX leaves first, then its mailboxes and aliases are waited for and the old TTL, then
//! the domain at the backend goes, the rest of the records, and the claim.

use super::by_hand;
use super::gate::never_verified;
use super::journal;
use super::leave_policy::leave_policy;
use super::status::{Progress, stamp};
use super::written::{backend_of, holds, server};
use super::zone::Zone;
use crate::connections::{Dns, Groupware};
use crate::ctx::{Ctx, Step, Stop};
use crate::kinds::mail_domain_claim as claim;
use crate::not_ready::NotReady;
use crate::pass::above::Above;
use crate::pass::deletion::{self, removal};
use crate::pass::give_up;
use crate::rules::release::{self, BURNED};
use crate::rules::zones::{self, no_answer};
use crate::state::derived::{a_label, owner_uid};
use crate::state::parents::{self as above, Instance};
use kube::ResourceExt;
use kube::api::ListParams;
use mailtenant_api::mail_domain::{DomainState, OnDelete, RecordStatus};
use mailtenant_api::*;
use mailtenant_dns::converge::{Aim, Converged};
use mailtenant_dns::{RecordType, Resolver, RrSet};
use mailtenant_groupware::{BackendError, DomainSnapshot, Left, Removal};
use mailtenant_mail::merge::PreviousMx;
use mailtenant_mail::{merge, mx};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;
use std::time::Duration;

/// A name that was never ours: nothing was ever made of the domain. Its children go first all the same.
pub async fn nothing_made(ctx: &Ctx, p: &mut Progress) -> Step<Option<Cleanup<NotReady>>> {
    // Who holds the name is asked only where the status alone would let it go.
    let (own, journal) = (uid(p.object.as_ref()), p.journal());
    if !was_never_ours(&p.status, &journal, None, &own) {
        return Ok(None);
    }
    let holder = claim::holder(ctx, &a_label(&p.object)).await?;
    if !was_never_ours(&p.status, &journal, holder.as_deref(), &own) {
        return Ok(None);
    }
    match children(ctx, &NamespacedName::of(p.object.as_ref())).await? {
        Some(not_ready) => Ok(Some(Cleanup::Waiting(not_ready))),
        None => give_back(ctx, p).await.map(|()| Some(Cleanup::Done)),
    }
}

/// Whether a name was never ours. Records of ours in the journal say otherwise, whatever the state says: they are withdrawn
/// first. So does the claim: a status is no authority (I13), and something may have been made since it was taken.
fn was_never_ours(status: &MailDomainStatus, journal: &[RecordStatus], holder: Option<&str>, own: &str) -> bool {
    never_verified(status) && !journal.iter().any(merge::is_ours) && holder != Some(own)
}

/// The last step: the name is free for others.
pub async fn give_back(ctx: &Ctx, p: &Progress) -> Step<()> {
    let own = uid(p.object.as_ref());
    claim::give_back(ctx, &a_label(&p.object), &own).await?;
    ctx.answers.forget(&own);
    ctx.set_marker_read(&own, false);
    Ok(())
}

/// `managementPolicy: Observe`, on the domain or its instance.
pub fn observes(p: &Progress, parents: &Above) -> bool {
    let own = p.object.spec.management_policy;
    parents.instance().map_or(own == ManagementPolicy::Observe, |i| above::observes(own, &i.object))
}

/// What is only observed goes if nothing of ours is left anywhere.
pub async fn observed(ctx: &Ctx, p: &mut Progress, above: &Above) -> Step<Option<Cleanup<NotReady>>> {
    if !observes(p, above) {
        return Ok(None);
    }
    // Whoever has the row: nobody else knows of the records that we made.
    if p.journal().iter().any(merge::is_ours) {
        return Ok(Some(deletion::observed()));
    }
    let Some(instance) = above.instance() else {
        return Ok((!never_made(p.status.ownership)).then(deletion::observed));
    };
    let (key, own) = (NamespacedName::of(p.object.as_ref()), owner_uid(p.object.as_ref()));
    let ours = |rows: &DomainSnapshot| rows.domain_is_of(&own);
    let place = (&key, &a_label(&p.object));
    match deletion::observed_row(ctx, instance, place, p.status.ownership, ours).await? {
        Cleanup::Done => give_back(ctx, p).await.map(|()| Some(Cleanup::Done)),
        waiting => Ok(Some(waiting)),
    }
}

/// Takes the domain down at the server.
pub async fn remove(ctx: &Ctx, p: &mut Progress, instance: &Instance, server: &Groupware) -> Step<Cleanup<NotReady>> {
    let domain = p.object.clone();
    let (name, own) = (a_label(&domain), owner_uid(domain.as_ref()));
    let removal = removal(domain.spec.deletion_policy);
    let result = take_down_row(ctx, p, server, removal).await?;
    if matches!(result, Err(BackendError::NotFound(_))) && !never_made(p.status.ownership) {
        deletion::not_there(ctx, server, instance).await?;
    }
    match result {
        Ok(Left::Kept(n)) => {
            let note = format!("{name} is switched off and stays at the backend, with {n} retained objects; {BURNED}");
            ctx.event(domain.as_ref(), EventReason::Retained, note);
        }
        Ok(Left::Used(n)) => {
            let note = format!(
                "{name} stays as it is at the backend: {n} mailboxes and aliases of others are in use below it; {BURNED}"
            );
            ctx.event(domain.as_ref(), EventReason::Retained, note);
        }
        Ok(Left::Gone) | Err(BackendError::NotFound(_) | BackendError::Exists { .. }) => {}
        // A live list has said that nothing is in it.
        Err(BackendError::Conflict(what)) => {
            return Ok(Cleanup::Waiting(deletion::left_below(&server.label(), &what)));
        }
        Err(error) => return Ok(deletion::failed(ctx, server, &error)),
    }
    // What is known of the rows is the holder's: without it drift would have nothing to be compared with.
    let holder = ctx.world().claims.get(&NamespacedName::new("", &name)).map(|c| c.spec.owner.uid.clone());
    if holder.is_none_or(|uid| own == *uid) {
        ctx.snapshots.forget(&server.uid, &name);
    }
    Ok(Cleanup::Done)
}

/// Ends the domain at the server; rows below it whose objects no longer exist do not hold it up.
async fn take_down_row(
    ctx: &Ctx,
    p: &Progress,
    server: &Groupware,
    removal: Removal,
) -> Step<Result<Left, BackendError>> {
    let (name, own) = (a_label(&p.object), owner_uid(p.object.as_ref()));
    let result = server.server.remove_domain(&own, &name, removal).await;
    if !matches!(result, Err(BackendError::Conflict(_))) {
        return Ok(result);
    }
    let mut kept = vec![];
    let done = release::release(ctx, server, &name, &mut kept).await;
    if !kept.is_empty() {
        ctx.event(p.object.as_ref(), EventReason::Retained, release::words(&kept));
    }
    done?;
    if kept.is_empty() {
        return Ok(result);
    }
    Ok(server.server.remove_domain(&own, &name, removal).await)
}

/// Off and nobody's, with what is below it. No mail is destroyed at a server that is given up: it may be the wrong one. The
/// signing keys go, as under `Retain`.
pub async fn switch_off(ctx: &Ctx, p: &Progress, server: &Groupware) -> Step<String> {
    let name = a_label(&p.object);
    let result = match take_down_row(ctx, p, server, Removal::Keep).await {
        Ok(result) => result.map(drop),
        Err(Stop::NotReady(not_ready)) => Err(BackendError::unavailable(not_ready.message)),
        Err(stop) => return Err(stop),
    };
    ctx.snapshots.stale(&server.uid, &name).await;
    let left = give_up::off(name.as_str(), &server.label(), result);
    Ok(format!("{left}; {BURNED}"))
}

/// Who is still in the domain: by the store, and then by a live list, which has the last word.
pub async fn children(ctx: &Ctx, key: &NamespacedName) -> Result<Option<NotReady>, kube::Error> {
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
    let again = |not_ready| Some(NotReady { next: Next::Retry, ..not_ready });
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

/// MX leaves, or goes back to what it was; only then the rest waits for its TTL. One that leads here and is not ours has to
/// be changed by somebody else first: mail comes here as long.
pub async fn withdraw_mx(ctx: &Ctx, p: &mut Progress, above: &Above) -> Step<()> {
    // Somebody else wrote such a stamp, or it is of an earlier day: then nobody knows whether MX has left at all.
    let object = p.object.clone();
    let wrong = p.status.draining_until.take_if(|until| !deletion::may_be_the_end(&object, until));
    let left = mx_has_left(ctx, p, above, wrong.is_some()).await;
    if left.is_err() && p.status.draining_until.is_none() {
        // Nobody goes before that is known.
        p.status.draining_until = wrong;
    }
    left
}

/// `unsure`: whether what the status says of MX may be somebody else's word, so that the DNS has the last one.
async fn mx_has_left(ctx: &Ctx, p: &mut Progress, above: &Above, unsure: bool) -> Step<()> {
    if p.status.draining_until.is_none() {
        leave_policy(ctx, p, above).await?;
    }
    // The plan of the withdrawal forgets all entries of MX.
    let before = (p.journal(), p.previous_mx());
    withdraw_own_mx(ctx, p, above).await?;
    if p.status.draining_until.is_none() {
        others_mx_has_left(ctx, p, above, before, unsure).await?;
    }
    if unsure && p.status.draining_until.is_none() {
        // Nobody knows when it began: it begins now.
        begin_to_drain(ctx, p).await?;
    }
    Ok(())
}

/// While an MX that is not ours leads to a host of the backend (an adopted domain, or one whose status was lost), the
/// deletion waits; then for its TTL. Where nothing says that it ever did, DNS servers that do not answer hold nothing up.
///
/// `before` and `previous` are the journal, and the MX to put back, as the pass found them. What leads here stays in the
/// journal: those in the domain wait for that.
async fn others_mx_has_left(
    ctx: &Ctx,
    p: &mut Progress,
    above: &Above,
    (before, previous): (Vec<RecordStatus>, Option<PreviousMx>),
    unsure: bool,
) -> Step<()> {
    let by_hand = zones::by_hand(&p.object);
    let led = may_have_led(&before, &p.status, unsure);
    // Whoever holds the name now has mail sent where it wants.
    let held_by_another = claim::holder(ctx, &a_label(&p.object)).await?.is_some_and(|h| h != uid(p.object.as_ref()));
    let Some((label, resolver)) = asked_for_mx(ctx, p).await? else { return Ok(()) };
    if held_by_another || (above.instance().is_none() && !(by_hand && led)) {
        // Without its instance nobody knows the hosts of the backend, but those that were seen.
        return match (led && held_by_another, by_hand) {
            (true, _) => begin_to_drain(ctx, p).await,
            (false, true) => looked(ctx, p).await,
            (false, false) => Ok(()),
        };
    }
    if never_made(p.status.ownership) {
        // Mail for the name comes here, if it does, for somebody else who has it at the server.
        return Ok(());
    }
    let mut hosts = declared_hosts(above);
    // What was seen to lead here leads here until it is gone, also when the platform team has another host in MX since.
    hosts.extend(before.iter().filter(|r| merge::is_good_mx(r)).map(|r| r.value.as_str()));
    let name = a_label(&p.object);
    let seen = match resolver.lookup(&name, RecordType::MX).await {
        Ok(seen) => seen,
        // Somebody may have set MX since it was looked at last.
        Err(error) if led || by_hand => {
            p.set_journal(before, previous);
            return Err(NotReady::backend(&label, &no_answer(&name, error)).into());
        }
        Err(_) => return Ok(()),
    };
    if let Some((host, ttl)) = mx::leads_to(&seen, &hosts) {
        remember_ttl(p, ttl);
        let others = p.journal().into_iter().filter(|r| r.purpose != Purpose::MX);
        let entry = found_mx(&name, &host);
        p.set_journal(others.chain([entry]).collect(), None);
        return Err(still_leads_here(&p.object, &name, &host).into());
    }
    match (led, by_hand) {
        (true, _) => begin_to_drain(ctx, p).await,
        (false, true) => looked(ctx, p).await,
        (false, false) => Ok(()),
    }
}

/// Whether mail may come here by MX, as far as the status says, or cannot say.
fn may_have_led(journal: &[RecordStatus], status: &MailDomainStatus, unsure: bool) -> bool {
    unsure || journal.iter().any(merge::leads_here) || status.dns.as_ref().is_some_and(|d| d.mx_ttl.is_some())
}

/// The longest TTL (seconds) of an MX that leads here counts for the drain.
fn remember_ttl(p: &mut Progress, ttl: u32) {
    let ttl = i64::from(ttl).max(1);
    if p.status.dns.as_ref().and_then(|d| d.mx_ttl).is_none_or(|known| known < ttl) {
        p.dns().mx_ttl = Some(ttl);
    }
}

/// MX does not lead here, as far as anybody knows: those in the domain wait for that word.
async fn looked(ctx: &Ctx, p: &mut Progress) -> Step<()> {
    p.status.draining_until = Some(stamp(ctx.latest_now() + jiff::SignedDuration::from_secs(2)));
    p.write(ctx).await?;
    Ok(())
}

/// What is waited for while an MX that is not ours leads here. A tenant may have no way to the DNS provider any more, so that
/// a domain whose records it edits can be let go without that.
fn still_leads_here(domain: &MailDomain, name: &str, host: &str) -> NotReady {
    let pause = Duration::from_secs(15);
    if zones::by_hand(domain) {
        let text = format!("MX of {name} leads to {host}: remove it at your DNS provider, mail is taken until then");
        return NotReady::after(Reason::AwaitingRecords, text, pause);
    }
    let text = format!(
        "MX of {name} leads to {host}, as it did without mailtenant: change it where the domain's DNS is edited"
    );
    NotReady::after(Reason::Draining, text, pause)
}

/// Who is asked where MX leads, and its name for messages.
async fn asked_for_mx(ctx: &Ctx, p: &Progress) -> Step<Option<(String, Arc<dyn Resolver>)>> {
    if zones::by_hand(&p.object) {
        let zone = Zone::Manual { resolver: ctx.connections.dns.default_resolver() };
        return Ok(Some((zone.label(), zone.shared_resolver())));
    }
    let Some(backend) = backend_of(p) else { return Ok(None) };
    let dns = ctx.dns(&backend).await?;
    Ok(Some((dns.label(), dns.resolver)))
}

/// The entry of an MX that was there without us.
fn found_mx(name: &str, host: &str) -> RecordStatus {
    RecordStatus {
        name: name.to_owned(),
        type_: RecordType::MX.as_str().to_owned(),
        value: format!("{host}."),
        purpose: Purpose::MX,
        state: RecordState::Ok,
        ownership: Some(Ownership::Observed),
        term: None,
        edited: false,
        observed: None,
        message: None,
    }
}

async fn begin_to_drain(ctx: &Ctx, p: &mut Progress) -> Step<()> {
    p.status.draining_until = Some(p.mx_is_cached_until(ctx.latest_now()));
    p.status.state = Some(DomainState::Draining);
    p.conditions.set(ConditionType::CutOver, false, Reason::Draining, "MX has left");
    p.write(ctx).await?;
    Ok(())
}

async fn withdraw_own_mx(ctx: &Ctx, p: &mut Progress, above: &Above) -> Step<()> {
    let Some(ours) = p.journal().into_iter().find(|r| r.purpose == Purpose::MX) else { return Ok(()) };
    if p.journal().iter().any(merge::is_our_mx) && !holds(ctx, p).await? {
        // It is for whoever holds the name now. Mail may come here as long as resolvers remember ours.
        let rest = p.journal().into_iter().filter(|r| r.purpose != Purpose::MX).collect();
        let drains = begins_to_drain(&p.journal(), &p.status);
        p.set_journal(rest, None);
        return if drains { begin_to_drain(ctx, p).await } else { Ok(()) };
    }
    let Some((dns, zone)) = server(ctx, p).await? else { return Ok(()) };
    let leads_here;
    let aim = Aim::WithdrawMx { name: &ours.name, on_delete: p.object.spec.dns.on_delete };
    let journal = match journal::carry_out(ctx, p, &dns, &zone, &aim).await? {
        // No MX of ours is in a zone that is gone from this server; others may have it.
        Converged::ZoneGone => {
            let seen = gone_everywhere(&dns, &ours.name, p, true).await?;
            leads_here = still_led(p, above, [vec![], seen]);
            let none = RrSet { name: ours.name.clone(), rtype: RecordType::MX, ttl: 0, values: vec![] };
            aim.plan(&p.journal(), p.previous_mx(), &[none]).journal
        }
        Converged::Settled { live, .. } if !live.iter().any(|s| s.name == ours.name && s.rtype == RecordType::MX) => {
            let text = format!("{} did not say what MX of {} is", dns.label(), ours.name);
            return Err(NotReady::retry(Reason::BackendUnreachable, text).into());
        }
        Converged::Settled { plan, live } => {
            let seen = gone_everywhere(&dns, &ours.name, p, false).await?;
            leads_here = still_led(p, above, [live, seen]);
            plan.journal
        }
        Converged::Contended(last) => return Err(journal::contended(p, last.as_ref()).into()),
    };
    let drains = begins_to_drain(&p.journal(), &p.status) && !leads_here;
    p.set_journal(journal, None);
    if drains {
        begin_to_drain(ctx, p).await?;
    }
    Ok(())
}

/// Whether what was there before us leads to the backend too, by the server that is written to or by those that resolvers ask.
/// Others may take it out before all of them showed it: its TTL counts for the drain all the same.
fn still_led(p: &mut Progress, above: &Above, shown: [Vec<RrSet>; 2]) -> bool {
    let hosts = declared_hosts(above);
    let restores = p.object.spec.dns.on_delete == OnDelete::RestorePrevious;
    if let Some(previous) = p.previous_mx().filter(|m| restores && mx::any_leads_to(&m.values, &hosts)) {
        remember_ttl(p, previous.ttl);
    }
    let led = shown.iter().filter_map(|sets| mx::leads_to(sets, &hosts)).map(|(_, ttl)| ttl).max();
    if let Some(ttl) = led {
        remember_ttl(p, ttl);
    }
    led.is_some()
}

/// The hosts of MX that the backend names now.
fn declared_hosts(above: &Above) -> Vec<&str> {
    let hosts = above.instance().map(|i| &i.backend.spec.hosts.mx);
    hosts.into_iter().flatten().map(|mx| mx.host.as_str()).collect()
}

/// Whether MX that has left just now was ours, so that resolvers may still send mail here. The time is set once.
fn begins_to_drain(journal: &[RecordStatus], status: &MailDomainStatus) -> bool {
    journal.iter().any(merge::is_our_mx) && status.draining_until.is_none()
}

/// The servers that resolvers ask do not show our MX any more: only then does the old TTL begin to run out. What they show
/// instead is returned.
///
/// `zone_is_gone`, by the word of the server that is written to: then its DNS servers refuse, and that agrees with it.
async fn gone_everywhere(dns: &Dns, name: &str, p: &Progress, zone_is_gone: bool) -> Step<Vec<RrSet>> {
    let seen = match dns.resolver.lookup(name, RecordType::MX).await {
        Err(BackendError::NotFound(_)) if zone_is_gone => vec![],
        seen => seen.map_err(|e| NotReady::backend(&dns.label(), &no_answer(name, e)))?,
    };
    let put_back = p.previous_mx().map(|m| m.canonical()).unwrap_or_default();
    if shows_ours(&seen, &p.journal(), &put_back) {
        let text = format!("DNS servers still show our MX of {name}: they are asked again");
        return Err(NotReady::after(Reason::Draining, text, Duration::from_secs(5)).into());
    }
    Ok(seen)
}

/// Whether any server still shows an MX that leads where one led that we made, and that is not `put_back`. Its preference may be
/// the one of before: a secondary is behind, and the journal has the present one.
fn shows_ours(seen: &[RrSet], journal: &[RecordStatus], put_back: &[String]) -> bool {
    let made = |v: &str| journal.iter().any(|r| merge::is_our_mx(r) && mx::same_host(&r.value, v));
    let ours = |v: &String| made(v) && !put_back.contains(v);
    seen.iter().any(|set| set.values.iter().any(ours))
}

/// What a tenant may take out at its DNS provider once the domain is gone.
fn left_by_hand(ctx: &Ctx, p: &Progress) {
    let left = |r: &RecordStatus| !matches!(r.state, RecordState::Missing) && r.purpose != Purpose::MX;
    let left: Vec<RecordStatus> = p.journal().into_iter().filter(left).collect();
    if left.is_empty() {
        return;
    }
    let terms: Vec<&RecordStatus> = left.iter().filter(|r| r.purpose == Purpose::SPF).collect();
    let spf = if terms.is_empty() { "" } else { "; of the SPF record only the include: of this service" };
    let note = format!("you can remove at your DNS provider: {}{spf}", by_hand::named(&left));
    ctx.event(p.object.as_ref(), EventReason::Retained, note);
}

/// All but MX, which has left before, or is taken out without a look at whether all servers show that.
pub async fn withdraw_rest(ctx: &Ctx, p: &mut Progress, mx_given_up: bool) -> Step<()> {
    if zones::by_hand(&p.object) {
        left_by_hand(ctx, p);
        return Ok(());
    }
    if p.journal().iter().any(merge::is_ours) && !holds(ctx, p).await? {
        return Ok(());
    }
    let Some((dns, zone)) = server(ctx, p).await? else { return Ok(()) };
    if let Some(mx) = p.journal().into_iter().find(|r| mx_given_up && r.purpose == Purpose::MX) {
        let aim = Aim::WithdrawMx { name: &mx.name, on_delete: p.object.spec.dns.on_delete };
        match journal::carry_out(ctx, p, &dns, &zone, &aim).await? {
            Converged::ZoneGone => return Ok(()),
            Converged::Settled { plan, .. } => p.set_journal(plan.journal, None),
            Converged::Contended(last) => return Err(journal::contended(p, last.as_ref()).into()),
        }
    }
    match journal::carry_out(ctx, p, &dns, &zone, &Aim::WithdrawRest).await? {
        // Nothing of ours is in a zone that is gone.
        Converged::ZoneGone => return Ok(()),
        Converged::Settled { plan, .. } if plan.is_withdrawn() => return Ok(()),
        Converged::Settled { plan, .. } => p.set_journal(plan.journal, None),
        Converged::Contended(last) => return Err(journal::contended(p, last.as_ref()).into()),
    }
    Err(journal::contended(p, None).into())
}

#[cfg(test)]
#[path = "cleanup_tests.rs"]
mod tests;
