//! What an alias' status says, from how the pass ended; and its Events.

use super::Done;
use crate::ctx::Ctx;
use crate::pass::draft::Draft;
use crate::pass::lifecycle::Reached;
use crate::rules::ignored_fields;
use crate::state::derived::owner_uid;
use mailtenant_api::*;
use mailtenant_groupware::Made;

/// Puts what a pass found into the status.
pub fn fill(draft: &mut Draft<MailAlias>, done: Done) -> Reached {
    ignored_fields::report(&mut draft.conditions, &done.ignored, &done.label);
    if let Some(row) = &done.row {
        let observed = row.owner.as_ref() != Some(&owner_uid(draft.object.as_ref()));
        draft.status.ownership = Some(match (observed, row.adopted) {
            (true, _) => Ownership::Observed,
            (_, true) => Ownership::Adopted,
            _ => Ownership::Created,
        });
        draft.status.backend_id = Some(row.address.clone().into());
    }
    draft.status.drift = done.drift;
    let message = format!("{} is as declared", done.address);
    draft.status.address = Some(done.address.into());
    Reached::settled(message, done.not_ready)
}

pub fn events(ctx: &Ctx, draft: &Draft<MailAlias>, done: &Done) {
    let (alias, old) = (draft.object.as_ref(), draft.object.status.clone().unwrap_or_default());
    if done.made == Some(Made::TakenOver) {
        let note = format!("{} was of a MailAlias of this name that no longer exists, and is taken over", done.address);
        ctx.event(alias, EventReason::TakenOver, note);
    }
    if done.made == Some(Made::Adopted) {
        ctx.event(alias, EventReason::Adopted, format!("{} was at the backend and is taken over", done.address));
    }
    let same = old.observed_generation == alias.metadata.generation;
    let was_ready = conditions::is_true(&old.conditions, ConditionType::Ready);
    // Nor is it drift when what may be changed, and the alias with it.
    if done.made == Some(Made::Changed) && same && was_ready && done.not_ready.is_none() {
        ctx.event(
            alias,
            EventReason::DriftCorrected,
            format!("{} differed at the backend and was put back", done.address),
        );
    }
    ignored_fields::event(ctx, alias, &old.conditions, &done.ignored, &done.label);
}
