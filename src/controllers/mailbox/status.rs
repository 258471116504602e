//! What a mailbox's status says, from how the pass ended. Pure, but for the Events of transitions.

use super::super::ctx::{Ctx, annotation, uid};
use super::super::hold::Hold;
use super::Done;
use jiff::Timestamp;
use mailtenant_api::*;
use mailtenant_groupware::Made;

/// Use in steps of 1 % of the quota, at least 1 MiB; 100 MiB where there is no quota.
pub fn used_step(used: u64, quota: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    let step = if quota == 0 { 100 * MIB } else { (quota / 100).next_multiple_of(MIB).max(MIB) };
    used / step * step
}

/// The status.
pub fn status(mailbox: &Mailbox, outcome: Result<Done, Hold>, now: Timestamp) -> MailboxStatus {
    let old = mailbox.status.clone().unwrap_or_default();
    let generation = mailbox.metadata.generation.unwrap_or_default();
    let mut conditions = Conditions::new(&old.conditions, generation, now);
    conditions.remove(ConditionType::DeletionBlocked);
    let mut status = MailboxStatus { observed_generation: Some(generation), ..old };
    match outcome {
        Ok(done) => {
            match &done.hold {
                Some(hold) => hold.tell(&mut conditions),
                None => conditions.ready(format!("{} is as declared", done.address)),
            }
            within_quota(&mut conditions, done.short.as_ref());
            if let Some(row) = &done.row {
                let observed = row.owner.as_deref() != Some(&uid(mailbox));
                status.ownership = Some(match (observed, row.adopted) {
                    (true, _) => Ownership::Observed,
                    (_, true) => Ownership::Adopted,
                    _ => Ownership::Created,
                });
                status.backend_id = Some(row.id.clone());
                status.quota = Some(Quantity::from_bytes(row.settings.quota));
                status.used_storage = Some(Quantity::from_bytes(used_step(row.used, row.settings.quota)));
            }
            if let Some(wish) = done.rotated {
                status.last_handled_rotate_password = Some(wish);
            }
            status.last_handled_reconcile_at = annotation(mailbox, annotations::RECONCILE);
            status.address = Some(done.address);
            status.client_settings = Some(done.settings);
            status.drift = done.drift;
        }
        Err(hold) => {
            within_quota(&mut conditions, Some(&hold));
            hold.tell(&mut conditions);
        }
    }
    status.conditions = conditions.into_vec();
    status
}

fn within_quota(conditions: &mut Conditions, hold: Option<&Hold>) {
    match hold {
        Some(h) if h.reason == Reason::QuotaExceeded => {
            conditions.set(ConditionType::WithinQuota, false, h.reason, h.message.clone());
        }
        None => conditions.set(ConditionType::WithinQuota, true, Reason::Succeeded, "the quota is granted"),
        Some(_) => {}
    }
}

/// Said before it is done: whether it was is in the row alone after a call that failed half-way.
pub fn tell_recreated(ctx: &Ctx, mailbox: &Mailbox, address: &str) {
    ctx.event(
        mailbox,
        true,
        "Recreated",
        format!(
            "{address} is missing at the backend and is made again, with what still lies there under its backendId: \
             whatever a user changed (password) is as declared again"
        ),
    );
}

/// Events of transitions. A mailbox that simply came up makes none: ten thousand of them would be ten thousand writes.
pub fn tell(ctx: &Ctx, mailbox: &Mailbox, outcome: &Result<Done, Hold>) {
    let old = mailbox.status.clone().unwrap_or_default();
    match outcome {
        Ok(done) => {
            let other = done.row.as_ref().map(|r| &r.id).filter(|id| old.backend_id.as_ref() != Some(id));
            if let (Some(Made::Created), Some(was), Some(id)) = (done.made, &old.backend_id, other) {
                let note = format!("{} starts empty as {id}: what was in {was} is not brought back", done.address);
                ctx.event(mailbox, true, "Recreated", note);
            }
            if done.made == Some(Made::Adopted) {
                ctx.event(mailbox, false, "Adopted", format!("{} was at the backend and is taken over", done.address));
            }
            // Nor is it drift when what may be changed, and the mailbox with it.
            if done.made == Some(Made::Changed)
                && old.observed_generation == mailbox.metadata.generation
                && !done.handed_over
                && done.hold.is_none()
            {
                let note = format!("{} differed at the backend and was put back", done.address);
                if conditions::is_true(&old.conditions, ConditionType::Ready) {
                    ctx.event(mailbox, true, "DriftCorrected", note);
                }
            }
            if done.rotated.is_some() && done.rotated != old.last_handled_rotate_password && old.ownership.is_some() {
                ctx.event(mailbox, false, "PasswordRotated", format!("{} has a new password", done.address));
            }
            if let Some(hold) = &done.hold {
                super::super::tell_hold(ctx, mailbox, &old.conditions, hold);
            }
        }
        Err(hold) => super::super::tell_hold(ctx, mailbox, &old.conditions, hold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_moves_in_steps() {
        let gib = 1u64 << 30;
        assert_eq!(used_step(0, gib), 0);
        assert_eq!(used_step(10 << 20, gib), 0, "less than 1 % of 1 GiB");
        assert_eq!(used_step(12 << 20, gib), 11 << 20);
        assert_eq!(used_step(3 << 20, 10 << 20), 3 << 20, "at least 1 MiB");
        assert_eq!(used_step(250 << 20, 0), 200 << 20);
    }
}
