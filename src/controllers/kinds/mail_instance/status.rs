//! What the status of an instance says, from how the pass ended.

use super::{Done, resync};
use crate::ctx::Ctx;
use crate::not_ready::NotReady;
use crate::pass::draft::Draft;
use crate::pass::lifecycle::Reached;
use crate::state::derived::bytes;
use mailtenant_api::mail_instance::{InstanceUsage, MassLossState};
use mailtenant_api::*;
use mailtenant_groupware::Made;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::store::NamespacedName;
use std::time::Duration;

/// Pause between two looks at mailboxes that are being made again.
const WHILE_ACCEPTED: Duration = Duration::from_secs(30);

/// Puts what a pass found into the status.
pub fn fill(ctx: &Ctx, draft: &mut Draft<MailInstance>, done: Done) -> Reached {
    let instance = draft.object.clone();
    if done.made == Made::TakenOver {
        let note = format!(
            "tenant {} was of a MailInstance of this name that no longer exists, and is taken over",
            done.tenant.id
        );
        ctx.event(draft.object.as_ref(), EventReason::TakenOver, note);
    }
    if done.made == Made::Adopted {
        let note = format!("tenant {} was at the backend and is taken over", done.tenant.id);
        ctx.event(instance.as_ref(), EventReason::Adopted, note);
    }
    let status = &mut draft.status;
    status.ownership = Some(if done.tenant.adopted { Ownership::Adopted } else { Ownership::Created });
    status.usage = Some(usage(ctx, &instance, done.used));
    status.instance_id = Some(done.tenant.id.into());
    status.mass_loss = done.mass_loss;
    if done.mass_loss != Some(MassLossState::Held) {
        // Handled: while nothing is held, a value is spent as it stands.
        status.accepted_mass_loss = annotation(instance.as_ref(), annotations::ACCEPT_MASS_LOSS);
    }
    status.drift = done.drift;
    within_limits(&mut draft.conditions, done.within);
    let accepted = done.mass_loss == Some(MassLossState::Accepted);
    let (message, next) = match accepted {
        true => {
            ("the tenant is as declared; mailboxes that were lost are being made again", Next::After(WHILE_ACCEPTED))
        }
        false => ("the tenant is as declared", Next::After(ctx.random.around(resync(ctx, &instance), 20))),
    };
    let next = done.not_ready.as_ref().map_or(next, |n| n.next);
    Reached { message: Some(message.into()), not_ready: done.not_ready, next }
}

/// `WithinLimits`, if this pass judged it; what an earlier one said stays.
fn within_limits(conditions: &mut Conditions, within: Option<Result<(), NotReady>>) {
    match within {
        Some(Ok(())) => {
            conditions.set(
                ConditionType::WithinLimits,
                true,
                Reason::Succeeded,
                "what is declared fits what was booked",
            );
        }
        Some(Err(not_ready)) => conditions.set(ConditionType::WithinLimits, false, not_ready.reason, not_ready.message),
        None => {}
    }
}

fn usage(ctx: &Ctx, instance: &MailInstance, used: u64) -> InstanceUsage {
    let world = ctx.world();
    let key = NamespacedName::of(instance);
    let tally = world.tally(&key);
    let default = instance.spec.default_mailbox_quota.as_ref().map_or(0, bytes);
    let booked = bytes(&instance.spec.storage);
    let step = (booked / 100).max(1 << 20);
    InstanceUsage {
        domains: world.index.domains_by_instance.count(&key) as i64,
        mailboxes: tally.mailboxes as i64,
        aliases: tally.aliases as i64,
        storage_allocated: Some(Quantity::from_bytes(
            tally.declared + u128::from(default) * u128::from(tally.without_quota),
        )),
        storage_used: Some(Quantity::from_bytes((used / step * step) >> 20 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_limits_is_said_of_what_was_judged() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let said = |old: &[Condition], within| {
            let mut conditions = Conditions::new(old, 1, now);
            within_limits(&mut conditions, within);
            conditions.into_vec()
        };
        let short = NotReady::stalled(Reason::QuotaExceeded, "too little");
        assert_eq!(said(&[], None), [], "nothing was judged, nothing is said");
        let short = said(&[], Some(Err(short)));
        assert_eq!((short[0].status.as_str(), short[0].reason.as_str()), ("False", "QuotaExceeded"));
        assert_eq!(said(&short, None), short, "a server that is away makes no room");
        assert_eq!(said(&short, Some(Ok(())))[0].status, "True");
    }
}
