//! The way out of a mailbox: whoever still needs it first, then sign-in, sessions, contacts and calendars, mail, rows.
//! The finalizer goes when the server has said that nothing of ours is left (I2).

use super::super::connections::Groupware;
use super::super::ctx::{Ctx, Pass, Step, Stop, orphan, paused, uid, without_finalizer, write_status};
use super::super::edges::{self, put};
use super::super::hold::Hold;
use super::super::observed::Since;
use super::super::world::{Kind, ObjectId, World};
use super::super::{deletion, family};
use kube::ResourceExt;
use mailtenant_api::*;
use mailtenant_groupware::{BackendError, DomainSnapshot};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::queue::Priority;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// One pass of the way out.
pub async fn run(ctx: &Ctx, mailbox: Arc<Mailbox>) -> Pass {
    if !mailbox.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Next::Settled);
    }
    let api = ctx.api::<Mailbox>(&mailbox.namespace().unwrap_or_default());
    match steps(ctx, &mailbox).await {
        Ok(Cleanup::Done) => {
            without_finalizer(ctx, &api, mailbox.as_ref(), put::mailbox).await?;
            Ok(Next::Settled)
        }
        Ok(Cleanup::Waiting(hold)) | Err(Stop::Hold(hold)) => {
            let old = mailbox.status.clone().unwrap_or_default();
            super::super::tell_hold(ctx, mailbox.as_ref(), &old.conditions, &hold);
            let conditions = deletion::conditions(mailbox.as_ref(), &old.conditions, &hold, ctx.clock.now());
            let status = MailboxStatus { observed_generation: mailbox.metadata.generation, conditions, ..old };
            write_status(ctx, &api, mailbox.as_ref(), status, put::mailbox).await?;
            Ok(hold.next)
        }
        Err(Stop::Kubernetes(error)) => Err(error),
    }
}

/// Alias objects that deliver to a mailbox.
fn referrers(world: &World, key: &NamespacedName, address: &str) -> Vec<String> {
    let by_ref = world.index.aliases_by_mailbox.of(key);
    let by_address = world.index.aliases_by_address.of(&(key.namespace.clone(), address.to_owned()));
    let mut names: Vec<String> = by_ref.chain(by_address).map(|k| k.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

async fn steps(ctx: &Ctx, mailbox: &Mailbox) -> Step<Cleanup<Hold>> {
    let key = NamespacedName::of(mailbox);
    if orphan(mailbox) {
        ctx.event(mailbox, true, "Orphaned", "the backend was not asked: what is there stays there");
        return Ok(Cleanup::Done);
    }
    if paused(mailbox) {
        return Ok(Cleanup::Waiting(family::paused_itself()));
    }
    let status = mailbox.status.clone().unwrap_or_default();
    let domain = {
        let world = ctx.world();
        let domain_key = key.sibling(&mailbox.spec.domain_ref.name);
        if deletion::never_made(status.ownership) && deletion::parent_never_made(&world, &domain_key) {
            return Ok(Cleanup::Done);
        }
        let domain = match family::domain(&world, &domain_key, true) {
            Ok(domain) => domain,
            Err(hold) if deletion::never_made(status.ownership) => return Ok(deletion::parentless(hold)),
            Err(hold) => return Ok(Cleanup::Waiting(deletion::with_way_out(hold))),
        };
        if let Some(hold) = family::paused_by(&domain.instance.object) {
            return Ok(Cleanup::Waiting(hold));
        }
        let address = format!("{}@{}", mailbox.spec.local_part, domain.name);
        let names = referrers(&world, &key, &address);
        if !names.is_empty() {
            return Ok(Cleanup::Waiting(deletion::blocked(Reason::ReferencedByAlias, "MailAlias", &names)));
        }
        domain
    };
    if mailbox.spec.management_policy == ManagementPolicy::Observe
        || domain.instance.object.spec.management_policy == ManagementPolicy::Observe
    {
        let (own, address) = (uid(mailbox), format!("{}@{}", mailbox.spec.local_part, domain.name));
        let ours = |rows: &DomainSnapshot| rows.mailbox_is_of(&address, &own);
        let place = (&domain.key, domain.name.as_str());
        return deletion::observed_row(ctx, &domain.instance, place, status.ownership, ours).await;
    }
    if let Some(hold) = deletion::drains(ctx, &domain).await? {
        return Ok(Cleanup::Waiting(hold));
    }
    if let Some(hold) = deletion::mass_loss(&domain.instance) {
        return Ok(Cleanup::Waiting(hold));
    }
    super::super::groupware_backend::usable(&domain.instance.backend).map_err(deletion::with_way_out)?;
    let server = ctx.connections.groupware(ctx, &domain.instance.object.spec.backend_ref.name).await?;
    let address = format!("{}@{}", mailbox.spec.local_part, domain.name);
    let own = uid(mailbox);
    // Whose row it is comes first: another tenant's address is none of our business, not even who delivers to it (I11).
    let ours = |rows: &DomainSnapshot| rows.mailbox_is_of(&address, &own);
    let ours = ctx.rows(&server, &domain.key, &domain.name, Since::Ever, ours);
    let ours = ours.await.map_err(|e| deletion::with_way_out(Hold::backend(&server.label(), &e)))?;
    let policy = mailbox.spec.deletion_policy.unwrap_or(domain.instance.object.spec.deletion_policy);
    let referenced = if ours { referenced(ctx, &server, &domain.key, &address).await } else { Ok(None) };
    match referenced {
        Ok(None) => {}
        Ok(Some(hold)) => return Ok(Cleanup::Waiting(hold)),
        Err(error) => {
            ctx.trouble(&server, &error);
            return Ok(Cleanup::Waiting(deletion::with_way_out(Hold::backend(&server.label(), &error))));
        }
    }
    let result = match policy {
        DeletionPolicy::Delete => destroy(&server, &own, &address).await,
        DeletionPolicy::Retain => {
            let released = server.server.release_mailbox(&uid(mailbox), &address).await;
            if released.is_ok() {
                ctx.event(
                    mailbox,
                    false,
                    "Retained",
                    format!("{address} is switched off, its mail stays at the backend (deletionPolicy: Retain)"),
                );
            }
            released.map(|()| Cleanup::Done)
        }
    };
    if matches!(result, Err(BackendError::NotFound(_))) && !deletion::never_made(status.ownership) {
        deletion::not_there(ctx, &server, &domain.instance).await?;
    }
    match result {
        Ok(Cleanup::Done) => {
            ctx.observed.update(&server.uid, &domain.name, |s| left(s, &address, policy)).await;
            Ok(Cleanup::Done)
        }
        Err(BackendError::NotFound(_) | BackendError::Exists { .. }) => Ok(Cleanup::Done),
        Ok(waiting) => Ok(waiting),
        Err(error) => {
            ctx.trouble(&server, &error);
            ctx.observed.stale(&server.uid, &domain.name).await;
            Ok(Cleanup::Waiting(deletion::with_way_out(Hold::backend(&server.label(), &error))))
        }
    }
}

/// Aliases that deliver to the mailbox at the backend: their passes come first, whether it is destroyed or kept (I1).
async fn referenced(
    ctx: &Ctx,
    server: &Groupware,
    domain: &NamespacedName,
    address: &str,
) -> Result<Option<Hold>, BackendError> {
    // An alias that was pointed elsewhere still names the mailbox at the backend until its own pass: the backend's
    // word counts, else its mail bounces.
    let aliases = server.server.aliases_to(address).await?;
    if !aliases.is_empty() {
        let mut wakes = edges::Wakes::default();
        {
            let world = ctx.world();
            for alias in &aliases {
                let local = alias.split('@').next().unwrap_or_default();
                let local = if local.is_empty() { "*" } else { local };
                let name = alias.rsplit('@').next().unwrap_or_default().to_owned();
                let domains = world.index.domains_by_name.of(&name).filter(|d| d.namespace == domain.namespace);
                let ids: Vec<ObjectId> = domains
                    .flat_map(|d| world.owner_of_address(d, local))
                    .filter(|id| id.kind == Kind::MailAlias)
                    .collect();
                wakes.now.extend(ids.into_iter().map(|id| (id, Priority::Normal)));
            }
        }
        ctx.wake(wakes);
        let hold = deletion::blocked(Reason::ReferencedByAlias, "at the backend, the alias", &aliases);
        return Ok(Some(Hold { next: Next::Retry, ..hold }));
    }
    Ok(None)
}

/// The rows as they are afterwards: what differs from that at the next read is drift.
fn left(rows: &mut DomainSnapshot, address: &str, policy: DeletionPolicy) {
    match policy {
        DeletionPolicy::Delete => drop(rows.mailboxes.remove(address)),
        DeletionPolicy::Retain => {
            if let Some(row) = rows.mailboxes.get_mut(address) {
                row.owner = None;
                row.settings.login = false;
                row.settings.receive = false;
            }
        }
    }
}

async fn destroy(server: &Groupware, owner: &str, address: &str) -> Result<Cleanup<Hold>, BackendError> {
    server.server.disable_mailbox(owner, address).await?;
    server.server.purge_mailbox(owner, address).await?;
    server.server.drop_mailbox(owner, address).await?;
    Ok(Cleanup::Done)
}
