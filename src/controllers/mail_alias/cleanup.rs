//! The way out of an alias: at once, unless its whole domain is on the way out and may still get mail (I7).

use super::super::ctx::{Ctx, Pass, Step, Stop, orphan, paused, uid, without_finalizer, write_status};
use super::super::edges::put;
use super::super::hold::Hold;
use super::super::{deletion, family};
use super::gather::address;
use kube::ResourceExt;
use mailtenant_api::*;
use mailtenant_groupware::{BackendError, DomainSnapshot};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// One pass of the way out.
pub async fn run(ctx: &Ctx, alias: Arc<MailAlias>) -> Pass {
    if !alias.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Next::Settled);
    }
    let api = ctx.api::<MailAlias>(&alias.namespace().unwrap_or_default());
    match steps(ctx, &alias).await {
        Ok(Cleanup::Done) => {
            without_finalizer(ctx, &api, alias.as_ref(), put::alias).await?;
            Ok(Next::Settled)
        }
        Ok(Cleanup::Waiting(hold)) | Err(Stop::Hold(hold)) => {
            let old = alias.status.clone().unwrap_or_default();
            super::super::tell_hold(ctx, alias.as_ref(), &old.conditions, &hold);
            let conditions = deletion::conditions(alias.as_ref(), &old.conditions, &hold, ctx.clock.now());
            let status = MailAliasStatus { observed_generation: alias.metadata.generation, conditions, ..old };
            write_status(ctx, &api, alias.as_ref(), status, put::alias).await?;
            Ok(hold.next)
        }
        Err(Stop::Kubernetes(error)) => Err(error),
    }
}

async fn steps(ctx: &Ctx, alias: &MailAlias) -> Step<Cleanup<Hold>> {
    let key = NamespacedName::of(alias);
    if orphan(alias) {
        ctx.event(alias, true, "Orphaned", "the backend was not asked: what is there stays there");
        return Ok(Cleanup::Done);
    }
    if paused(alias) {
        return Ok(Cleanup::Waiting(family::paused_itself()));
    }
    let domain = {
        let world = ctx.world();
        let domain_key = key.sibling(&alias.spec.domain_ref.name);
        let own = alias.status.as_ref().and_then(|s| s.ownership);
        if deletion::never_made(own) && deletion::parent_never_made(&world, &domain_key) {
            return Ok(Cleanup::Done);
        }
        match family::domain(&world, &key.sibling(&alias.spec.domain_ref.name), true) {
            Ok(domain) => domain,
            Err(hold) if deletion::never_made(alias.status.as_ref().and_then(|s| s.ownership)) => {
                return Ok(deletion::parentless(hold));
            }
            Err(hold) => return Ok(Cleanup::Waiting(deletion::with_way_out(hold))),
        }
    };
    let instance = &domain.instance.object;
    if let Some(hold) = family::paused_by(instance) {
        return Ok(Cleanup::Waiting(hold));
    }
    if [alias.spec.management_policy, instance.spec.management_policy].contains(&ManagementPolicy::Observe) {
        let (own, address) = (uid(alias), address(alias, &domain.name));
        let ours = |rows: &DomainSnapshot| rows.alias_is_of(&address, &own);
        let (place, ownership) = ((&domain.key, domain.name.as_str()), alias.status.as_ref().and_then(|s| s.ownership));
        return deletion::observed_row(ctx, &domain.instance, place, ownership, ours).await;
    }
    if let Some(hold) = deletion::drains(ctx, &domain).await? {
        return Ok(Cleanup::Waiting(hold));
    }
    if let Some(hold) = deletion::mass_loss(&domain.instance) {
        return Ok(Cleanup::Waiting(hold));
    }
    super::super::groupware_backend::usable(&domain.instance.backend).map_err(deletion::with_way_out)?;
    let server = ctx.connections.groupware(ctx, &instance.spec.backend_ref.name).await?;
    let address = address(alias, &domain.name);
    let retain = alias.spec.deletion_policy == DeletionPolicy::Retain;
    let result = server.server.remove_alias(&uid(alias), &address, retain).await;
    if matches!(result, Err(BackendError::NotFound(_)))
        && !deletion::never_made(alias.status.as_ref().and_then(|s| s.ownership))
    {
        deletion::not_there(ctx, &server, &domain.instance).await?;
    }
    match result {
        Ok(()) => {
            let left = |s: &mut DomainSnapshot| match s.aliases.get_mut(&address) {
                Some(row) if retain => row.owner = None,
                _ => drop(s.aliases.remove(&address)),
            };
            ctx.observed.update(&server.uid, &domain.name, left).await;
            Ok(Cleanup::Done)
        }
        Err(BackendError::NotFound(_) | BackendError::Exists { .. }) => Ok(Cleanup::Done),
        Err(error) => {
            ctx.trouble(&server, &error);
            ctx.observed.stale(&server.uid, &domain.name).await;
            Ok(Cleanup::Waiting(deletion::with_way_out(Hold::backend(&server.label(), &error))))
        }
    }
}
