//! What a mailbox's status says, from how the pass ended; and its Events.

use super::Done;
use crate::ctx::Ctx;
use crate::not_ready::NotReady;
use crate::pass::draft::Draft;
use crate::pass::lifecycle::Reached;
use crate::state::derived::{credentials_secret, owner_uid};
use crate::state::usage::used_step;
use mailtenant_api::*;
use mailtenant_groupware::{Address, Made};

/// Puts what a pass found into the status.
pub fn fill(draft: &mut Draft<Mailbox>, done: Done) -> Reached {
    let own = owner_uid(draft.object.as_ref());
    let status = &mut draft.status;
    within_quota(&mut draft.conditions, done.short.as_ref());
    if let Some(row) = &done.row {
        let observed = row.owner.as_ref() != Some(&own);
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
    status.client_settings = Some(done.settings);
    if let Some(targets) = done.forwards_to {
        // An empty list takes out what others wrote too.
        status.forwards_to = (!targets.is_empty() || status.forwards_to.is_some()).then_some(targets);
    }
    status.drift = done.drift;
    let message = format!("{} is as declared", done.address);
    status.address = Some(done.address.into());
    Reached::settled(message, done.not_ready)
}

/// `WithinQuota`, if this pass judged it.
pub fn within_quota(conditions: &mut Conditions, not_ready: Option<&NotReady>) {
    match not_ready {
        Some(h) if h.reason == Reason::QuotaExceeded => {
            conditions.set(ConditionType::WithinQuota, false, h.reason, h.message.clone());
        }
        None => conditions.set(ConditionType::WithinQuota, true, Reason::Succeeded, "the quota is granted"),
        Some(_) => {}
    }
}

/// Said before it is done: whether it was is in the row alone after a call that failed half-way.
pub fn recreated_event(ctx: &Ctx, mailbox: &Mailbox, address: &Address) {
    ctx.event(
        mailbox,
        EventReason::Recreated,
        format!(
            "{address} is missing at the backend and is made again, with what still lies there under its backendId: \
             whatever a user changed (password) is as declared again"
        ),
    );
}

/// Events of transitions. A mailbox that simply came up makes none: ten thousand of them would be ten thousand writes.
pub fn events(ctx: &Ctx, draft: &Draft<Mailbox>, done: &Done) {
    let (mailbox, old) = (draft.object.as_ref(), draft.object.status.clone().unwrap_or_default());
    let other = done.row.as_ref().map(|r| &r.id).filter(|id| old.backend_id.as_ref() != Some(id));
    if let (Some(Made::Created), Some(was), Some(id)) = (done.made, &old.backend_id, other) {
        let note = format!("{} starts empty as {id}: what was in {was} is not brought back", done.address);
        ctx.event(mailbox, EventReason::Recreated, note);
    }
    if done.made == Some(Made::TakenOver) {
        let mut note = format!(
            "{} was of a Mailbox of this name that no longer exists, and is taken over with its mail and its password",
            done.address
        );
        if done.password_unknown {
            let secret = credentials_secret(mailbox);
            note += &format!(
                ". The password is not in Secret {secret}: set the annotation {} to have a new one made",
                annotations::ROTATE_PASSWORD
            );
        }
        let password = &mailbox.spec.password;
        if let Some(declared) = password.secret_ref.as_ref().or(password.hash_secret_ref.as_ref()) {
            note += &format!(". The password of Secret {} is set when that Secret changes", declared.name);
        }
        ctx.event(mailbox, EventReason::TakenOver, note);
    }
    if done.made == Some(Made::Adopted) {
        ctx.event(mailbox, EventReason::Adopted, format!("{} was at the backend and is taken over", done.address));
    }
    // Nor is it drift when what may be changed, and the mailbox with it.
    if done.made == Some(Made::Changed)
        && old.observed_generation == mailbox.metadata.generation
        && !done.handed_over
        && done.not_ready.is_none()
        && conditions::is_true(&old.conditions, ConditionType::Ready)
    {
        let note = format!("{} differed at the backend and was put back", done.address);
        ctx.event(mailbox, EventReason::DriftCorrected, note);
    }
    if done.replaced {
        let note = format!(
            "{} has a generated password in the place of the one that it had: it stands in Secret {}",
            done.address,
            credentials_secret(mailbox)
        );
        ctx.event(mailbox, EventReason::PasswordReplaced, note);
    }
    if done.rotated.is_some() && done.rotated != old.last_handled_rotate_password && old.ownership.is_some() {
        ctx.event(mailbox, EventReason::PasswordRotated, format!("{} has a new password", done.address));
    }
}
