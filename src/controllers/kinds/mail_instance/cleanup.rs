//! The way out of an instance: its domains first, then the tenant at the server.

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::pass::above::Above;
use crate::pass::deletion;
use crate::pass::draft::Draft;
use crate::pass::give_up;
use crate::rules::backend_ready;
use crate::rules::release;
use crate::rules::undeclared::listed;
use crate::state::derived::owner_uid;
use kube::ResourceExt;
use kube::api::ListParams;
use mailtenant_api::*;
use mailtenant_groupware::{BackendError, DomainRow, Left, TenantRemoval};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;

/// Domains of the instance: by the store, and then by a live list, which has the last word.
pub async fn domains(ctx: &Ctx, instance: &MailInstance) -> Result<Option<NotReady>, kube::Error> {
    let key = NamespacedName::of(instance);
    let known: Vec<String> = {
        let world = ctx.world();
        world.index.domains_by_instance.of(&key).map(|k| k.name.clone()).collect()
    };
    if !known.is_empty() {
        return Ok(Some(deletion::blocked(Reason::HasDomains, "MailDomain", &known)));
    }
    // Metadata: a child that cannot be decoded is a child.
    let params = ListParams::default().fields(&format!("spec.instanceRef.name={}", key.name)).limit(6);
    let live = ctx.api::<MailDomain>(&key.namespace).list_metadata(&params).await?;
    let names: Vec<String> = live.items.iter().map(|d| d.name_any()).collect();
    let blocked = || NotReady { next: Next::Retry, ..deletion::blocked(Reason::HasDomains, "MailDomain", &names) };
    Ok((!names.is_empty()).then(blocked))
}

pub async fn observed(ctx: &Ctx, draft: &Draft<MailInstance>, above: &Above) -> Step<Option<Cleanup<NotReady>>> {
    let instance = draft.object.as_ref();
    if instance.spec.management_policy != ManagementPolicy::Observe {
        return Ok(None);
    }
    if !never_made(draft.status.ownership) {
        return Ok(Some(deletion::observed()));
    }
    let Some(known) = above.instance() else { return Ok(None) };
    // The status after a creation can have been lost, and nobody would come back for the tenant (I2).
    backend_ready::groupware(&known.backend).map_err(deletion::with_way_out)?;
    let server = ctx.groupware(&instance.spec.backend_ref.name).await?;
    let there = server.server.tenant(&owner_uid(instance)).await;
    let there = there.map_err(|e| deletion::with_way_out(NotReady::backend(&server.label(), &e)))?;
    Ok(Some(if there.is_some() { deletion::observed() } else { Cleanup::Done }))
}

/// Takes the tenant down at the server.
pub async fn remove(ctx: &Ctx, draft: &Draft<MailInstance>, server: &Groupware) -> Step<Cleanup<NotReady>> {
    let (instance, own) = (draft.object.as_ref(), owner_uid(draft.object.as_ref()));
    let mut removed = server.server.remove_tenant(&own).await;
    if let Ok(TenantRemoval::Holds(domains)) = &removed {
        let (namespace, mut kept) = (instance.namespace().unwrap_or_default(), vec![]);
        let done = release::release_domains(ctx, server, (&namespace, domains), &mut kept).await;
        if !kept.is_empty() {
            ctx.event(instance, EventReason::Retained, release::words(&kept));
        }
        done?;
        removed = server.server.remove_tenant(&own).await;
    }
    let left = match removed {
        Ok(TenantRemoval::Left(left)) => Ok(left),
        Ok(TenantRemoval::Holds(domains)) => Err(still_held(&domains)),
        Err(error) => Err(error),
    };
    match left {
        Ok(Left::Kept(n)) => {
            let note = format!("{n} retained objects stay at the backend, switched off, with their tenant");
            ctx.event(instance, EventReason::Retained, note);
        }
        Ok(Left::Used(n)) => {
            let note = format!("the tenant stays as it is at the backend: {n} domains in it are in use by others");
            ctx.event(instance, EventReason::Retained, note);
        }
        Ok(Left::Gone) | Err(BackendError::NotFound(_) | BackendError::Exists { .. }) => {}
        // A live list has said that it has no MailDomain.
        Err(BackendError::Conflict(what)) => {
            return Ok(Cleanup::Waiting(deletion::left_below(&server.label(), &what)));
        }
        Err(error) => return Ok(deletion::failed(ctx, server, &error)),
    }
    Ok(Cleanup::Done)
}

/// A tenant is no more than its domains, so it is removed if that is possible.
pub async fn switch_off(draft: &Draft<MailInstance>, server: &Groupware) -> String {
    let result = match server.server.remove_tenant(&owner_uid(draft.object.as_ref())).await {
        Ok(TenantRemoval::Left(_)) => Ok(()),
        Ok(TenantRemoval::Holds(domains)) => Err(still_held(&domains)),
        Err(error) => Err(error),
    };
    give_up::off("its tenant", &server.label(), result)
}

/// Domains in the tenant that are owned by objects which may exist.
fn still_held(domains: &[DomainRow]) -> BackendError {
    let names: Vec<&str> = domains.iter().map(|d| d.name.as_str()).collect();
    BackendError::Conflict(format!(
        "the tenant still has {}, which a MailDomain that exists, or one of another cluster, owns",
        listed(&names, names.len())
    ))
}
