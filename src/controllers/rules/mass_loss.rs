//! I12: when a large part of an instance's mailboxes is missing at the backend, a person has to look before anything is
//! made again. It may be a restored or a wrong server, and new empty mailboxes would bury what is on the right one.

use super::loss::{self, Loss};
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::state::derived::a_label;
use crate::state::parents;
use crate::state::snapshots::Since;
use kube::ResourceExt;
use mailtenant_api::mail_instance::MassLossState;
use mailtenant_api::*;
use mailtenant_groupware::{Address, DomainName};
use mailtenant_runtime::store::NamespacedName;

/// Counts what is missing, from what the server has: in every domain of the instance, since a loss seen domain by domain
/// would look small until it is too late.
///
/// Of a mailbox that is being deleted it is not known whether it was taken down already, unless its domain is missing
/// too: that goes after its mailboxes, so whoever has them and not it is not the server that we know.
pub async fn count(ctx: &Ctx, server: &Groupware, instance: &NamespacedName, since: Since) -> Result<Loss, NotReady> {
    let domains: Vec<(NamespacedName, DomainName)> = {
        let world = ctx.world();
        let keys = world.index.domains_by_instance.of(instance);
        keys.filter_map(|k| Some((k.clone(), a_label(world.domains.get(k)?.as_ref())))).collect()
    };
    let mut loss = Loss { missing: 0, all: 0 };
    for (key, name) in domains {
        // Address, and whether it is being deleted.
        let ours: Vec<(Address, bool)> = {
            let world = ctx.world();
            let mailboxes = world.index.mailboxes_by_domain.of(&key).filter_map(|k| world.mailboxes.get(k));
            mailboxes
                .filter(|m| !never_made(m.status.as_ref().and_then(|s| s.ownership)))
                .map(|m| (Address::in_domain(&m.spec.local_part, &name), m.metadata.deletion_timestamp.is_some()))
                .collect()
        };
        if ours.is_empty() {
            continue;
        }
        let (missing, all) = ctx
            .rows(server, &key, &name, since, |rows| {
                let counted = ours.iter().filter(|(_, deleting)| !deleting || rows.domain.is_none());
                let missing = counted.clone().filter(|(a, _)| !rows.mailboxes.contains_key(a)).count();
                (missing, counted.count())
            })
            .await
            .map_err(|e| NotReady::backend(&server.label(), &e))?;
        loss.missing += missing;
        loss.all += all;
    }
    Ok(loss)
}

/// Whether something new may be made: not while it is asked whether this is the right server. Nothing is read for it.
pub fn not_held(instance: &parents::Instance) -> Result<(), NotReady> {
    match instance.object.status.as_ref().and_then(|s| s.mass_loss) {
        Some(MassLossState::Held) => Err(loss::not_ready(&instance.key.name, None)),
        Some(MassLossState::Accepted) | None => Ok(()),
    }
}

/// Whether something that was there and is not now may be made again, or be taken for deleted.
pub async fn allow(ctx: &Ctx, server: &Groupware, instance: &parents::Instance) -> Step<()> {
    let state = instance.object.status.as_ref().and_then(|s| s.mass_loss);
    // An instance that is being deleted judges no more: the annotation alone has to do.
    let going = instance.object.metadata.deletion_timestamp.is_some();
    match state {
        Some(MassLossState::Accepted) => return Ok(()),
        _ if going && loss::accepted(&instance.object) => return Ok(()),
        Some(MassLossState::Held) => return Err(loss::not_ready(&instance.key.name, None).into()),
        None => {}
    }
    let guard = ctx.mass_loss_of(&uid(instance.object.as_ref()));
    let mut known = guard.lock().await;
    let loss = match *known {
        // A count serves to hold, never to let through: what was there a moment ago may be gone now.
        Some((at, loss)) if at.elapsed() < FRESH && loss.large(&instance.backend.spec.mass_loss) => loss,
        _ => {
            let loss = count(ctx, server, &instance.key, Since::now()).await?;
            *known = Some((tokio::time::Instant::now(), loss));
            loss
        }
    };
    drop(known);
    if loss.large(&instance.backend.spec.mass_loss) {
        // The instance's own pass writes it down, and that wakes everybody it concerns.
        let now = vec![(crate::ctx::instance_id(&instance.key), mailtenant_runtime::queue::Priority::High)];
        ctx.wake(crate::state::wakeups::Wakeups { now, ..Default::default() });
        tracing::warn!(instance = %instance.object.name_any(), missing = loss.missing, all = loss.all, "mass loss is held");
        return Err(loss::not_ready(&instance.key.name, Some(loss)).into());
    }
    Ok(())
}

/// How long a count serves: ten thousand passes that miss their row count once.
const FRESH: std::time::Duration = std::time::Duration::from_secs(5);
