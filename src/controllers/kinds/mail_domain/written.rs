//! What a withdrawal needs to know first: where the records are that were written, and whether the name is still held.

use super::gather::is_proof;
use super::status::Progress;
use crate::connections::Dns;
use crate::ctx::{Ctx, Step};
use crate::kinds::mail_domain_claim as claim;
use crate::not_ready::NotReady;
use crate::rules::zones::{self, no_answer};
use crate::state::derived::a_label;
use mailtenant_api::{Purpose, uid};
use mailtenant_dns::RecordType;
use mailtenant_groupware::BackendError;
use mailtenant_mail::{merge, name, records};
use mailtenant_runtime::store::NamespacedName;

/// The DNSBackend that has the records; before there are any, the one that is declared. None has those that are edited by
/// hand, whatever a status says.
pub(super) fn backend_of(p: &Progress) -> Option<String> {
    if zones::by_hand(&p.object) {
        return None;
    }
    let declared = p.object.spec.dns.backend_ref.as_ref().map(|r| r.name.clone());
    p.status.dns.as_ref().and_then(|d| d.backend.clone()).or(declared)
}

/// The DNS server and the zone of what was written; none if nothing was.
pub(super) async fn server(ctx: &Ctx, p: &Progress) -> Step<Option<(Dns, String)>> {
    let (status, journal) = (p.status.dns.clone().unwrap_or_default(), p.journal());
    let (Some(zone), Some(backend)) = (status.zone, backend_of(p)) else { return Ok(None) };
    if journal.is_empty() {
        return Ok(None);
    }
    let (dns, name) = (ctx.dns(&backend).await?, a_label(&p.object));
    if name::is_within(&name, &zone) {
        return Ok(Some((dns, zone)));
    }
    // No zone that we have written to.
    match dns.server.find_zone(&name).await {
        Ok(zone) => Ok(Some((dns, zone))),
        Err(BackendError::NotFound(_)) => Ok(None),
        Err(error) => Err(ctx.dns_failed(&dns, &error).into()),
    }
}

/// Whether the records that were written are this domain's to withdraw: it holds its name, and no other cluster writes them
/// now. A journal that outlived the claim (the finalizer could not be removed) names records
/// that a successor may have published with the same values: they are not ours any more (I9).
pub(super) async fn holds(ctx: &Ctx, p: &Progress) -> Step<bool> {
    let (name, own) = (a_label(&p.object), uid(p.object.as_ref()));
    match claim::holder(ctx, &name).await? {
        Some(holder) if holder != own => return Ok(false),
        Some(_) => {}
        None if !take_back(ctx, p).await? => return Ok(false),
        None => {}
    }
    Ok(!is_taken_over(ctx, p).await?)
}

/// Whether the marker of another cluster stands where ours was: what we wrote is that cluster's now.
async fn is_taken_over(ctx: &Ctx, p: &Progress) -> Step<bool> {
    let journal = p.journal();
    let Some(marker) = journal.iter().find(|e| e.purpose == Purpose::Marker && merge::is_ours(e)) else {
        return Ok(false);
    };
    let Some((dns, zone)) = server(ctx, p).await? else { return Ok(false) };
    match dns.server.read(&zone, &[(marker.name.clone(), RecordType::TXT)]).await {
        Ok(live) => Ok(merge::is_taken_over(&journal, &live)),
        Err(BackendError::NotFound(_)) => Ok(false),
        Err(error) => Err(ctx.dns_failed(&dns, &error).into()),
    }
}

/// A name that nobody holds (somebody deleted its claim) is taken for as long as it takes to withdraw its records, by whoever
/// could claim it anew: the journal is in the status, which others can write, and proves nothing (I13).
async fn take_back(ctx: &Ctx, p: &Progress) -> Step<bool> {
    let (name, own, key) = (a_label(&p.object), uid(p.object.as_ref()), NamespacedName::of(p.object.as_ref()));
    let declared = p.object.spec.dns.backend_ref.as_ref().map(|r| r.name.clone());
    let Some(backend) = declared.filter(|d| backend_of(p).as_ref() == Some(d)) else { return Ok(false) };
    let needs_proof = {
        let world = ctx.world();
        let dns = world.dns.get(&NamespacedName::new("", &backend));
        let labels = world.namespace_labels(&key.namespace);
        dns.and_then(|dns| Some(zones::needs_proof(&dns, zones::allowed(&labels, &dns, &key.namespace, &name).ok()?)))
    };
    let Some(needs_proof) = needs_proof else { return Ok(false) };
    if claim::relative(ctx, &name, &key.namespace).await?.is_some() {
        return Ok(false);
    }
    let dns = ctx.dns(&backend).await?;
    if needs_proof {
        match dns.resolver.lookup(&records::challenge_name(&name), RecordType::TXT).await {
            Ok(seen) if is_proof(&seen, &own, &name) => {}
            Ok(_) => return Ok(false),
            Err(error) => {
                let refused = matches!(error, BackendError::NotFound(_));
                if refused && matches!(dns.server.find_zone(&name).await, Err(BackendError::NotFound(_))) {
                    // Both say that the zone is gone, and our records with it.
                    return Ok(false);
                }
                // Who does not answer says nothing: our records would stay for ever.
                return Err(NotReady::backend(&dns.label(), &no_answer(&name, error)).into());
            }
        }
    }
    Ok(claim::take_alone(ctx, &name, &p.object).await? == claim::Taken::Ours)
}
