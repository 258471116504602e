//! I12: when a large part of an instance's mailboxes is missing at the backend, a person has to look before anything is
//! made again. It may be a restored or a wrong server, and new empty mailboxes would bury what is on the right one.

use super::connections::Groupware;
use super::ctx::{Ctx, Step, uid};
use super::family;
use super::hold::Hold;
use super::world::a_label;
use crate::api::mail_instance::MassLossState;
use crate::api::*;
use crate::runtime::store::NamespacedName;
use kube::ResourceExt;
use std::collections::BTreeSet;

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Mailboxes that we made or took over and that are not there.
    pub missing: usize,
    /// Mailboxes that we made or took over.
    pub all: usize,
}

impl Loss {
    /// Whether it is large enough to be held.
    pub fn large(&self, bounds: &groupware_backend::MassLoss) -> bool {
        self.missing >= bounds.minimum.max(1) as usize
            && self.missing * 100 >= bounds.percent.max(1) as usize * self.all
    }
}

/// Counts what is missing, from what the server has now: every domain of the instance is read again, since a loss
/// seen domain by domain would look small until it is too late.
pub async fn count(ctx: &Ctx, server: &Groupware, instance: &NamespacedName) -> Result<Loss, Hold> {
    let domains: Vec<(NamespacedName, String)> = {
        let world = ctx.world();
        let keys = world.index.domains_by_instance.of(instance);
        keys.filter_map(|k| Some((k.clone(), a_label(world.domains.get(k)?.as_ref())))).collect()
    };
    let mut loss = Loss { missing: 0, all: 0 };
    for (key, name) in domains {
        let ours: BTreeSet<String> = {
            let world = ctx.world();
            let mailboxes = world.index.mailboxes_by_domain.of(&key).filter_map(|k| world.mailboxes.get(k));
            mailboxes
                .filter(|m| {
                    let ownership = m.status.as_ref().and_then(|s| s.ownership);
                    m.metadata.deletion_timestamp.is_none()
                        && matches!(ownership, Some(Ownership::Created | Ownership::Adopted))
                })
                .map(|m| format!("{}@{name}", m.spec.local_part))
                .collect()
        };
        if ours.is_empty() {
            continue;
        }
        let missing = ctx
            .rows(server, &key, &name, true, |rows| ours.iter().filter(|a| !rows.mailboxes.contains_key(*a)).count())
            .await
            .map_err(|e| Hold::backend(&server.label(), &e))?;
        loss.missing += missing;
        loss.all += ours.len();
    }
    Ok(loss)
}

/// The words.
pub fn hold(instance: &str, loss: Option<Loss>) -> Hold {
    let what = loss.map_or("many".into(), |l| format!("{} of {}", l.missing, l.all));
    Hold::waiting(
        Reason::MassLossHeld,
        format!(
            "{what} mailboxes of MailInstance {instance} are missing at the backend: is it the right server, was it restored? \
             To have them made again, with what of their mail is still there, set the annotation {} of the instance to a new value",
            annotations::ACCEPT_MASS_LOSS
        ),
    )
}

/// Whether something that was there and is not now may be made again.
pub async fn allow(ctx: &Ctx, server: &Groupware, instance: &family::Instance) -> Step<()> {
    let state = instance.object.status.as_ref().and_then(|s| s.mass_loss);
    match state {
        Some(MassLossState::Accepted) => return Ok(()),
        Some(MassLossState::Held) => return Err(hold(&instance.key.name, None).into()),
        None => {}
    }
    let guard = ctx.mass_loss_of(&uid(instance.object.as_ref()));
    let mut known = guard.lock().await;
    let loss = match *known {
        // A count serves to hold, never to let through: what was there a moment ago may be gone now.
        Some((at, loss)) if at.elapsed() < FRESH && loss.large(&instance.backend.spec.mass_loss) => loss,
        _ => {
            let loss = count(ctx, server, &instance.key).await?;
            *known = Some((tokio::time::Instant::now(), loss));
            loss
        }
    };
    drop(known);
    if loss.large(&instance.backend.spec.mass_loss) {
        // The instance's own pass writes it down, and that wakes everybody it concerns.
        ctx.queue.add([(
            super::ctx::instance_id(&instance.key),
            crate::runtime::queue::Priority::High,
            instance.object.spec.backend_ref.name.clone(),
        )]);
        tracing::warn!(instance = %instance.object.name_any(), missing = loss.missing, all = loss.all, "mass loss is held");
        return Err(hold(&instance.key.name, Some(loss)).into());
    }
    Ok(())
}

/// How long a count serves: ten thousand passes that miss their row count once.
const FRESH: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large() {
        let bounds = groupware_backend::MassLoss { percent: 20, minimum: 10 };
        for (missing, all, large) in [(0, 0, false), (9, 9, false), (10, 50, true), (10, 51, false), (1000, 1000, true)]
        {
            assert_eq!(Loss { missing, all }.large(&bounds), large, "{missing} of {all}");
        }
    }
}
