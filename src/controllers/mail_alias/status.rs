//! What an alias' status says, from how the pass ended. Pure, but for the Events of transitions.

use super::super::ctx::{Ctx, annotation, uid};
use super::super::hold::Hold;
use super::super::ignored;
use super::Done;
use jiff::Timestamp;
use mailtenant_api::*;
use mailtenant_groupware::Made;

/// The status.
pub fn status(alias: &MailAlias, outcome: Result<Done, Hold>, now: Timestamp) -> MailAliasStatus {
    let old = alias.status.clone().unwrap_or_default();
    let generation = alias.metadata.generation.unwrap_or_default();
    let mut conditions = Conditions::new(&old.conditions, generation, now);
    conditions.remove(ConditionType::DeletionBlocked);
    let mut status = MailAliasStatus { observed_generation: Some(generation), ..old };
    match outcome {
        Ok(done) => {
            match &done.hold {
                Some(hold) => hold.tell(&mut conditions),
                None => conditions.ready(format!("{} is as declared", done.address)),
            }
            ignored::say(&mut conditions, &done.ignored, &done.label);
            if let Some(row) = &done.row {
                let observed = row.owner.as_deref() != Some(&uid(alias));
                status.ownership = Some(match (observed, row.adopted) {
                    (true, _) => Ownership::Observed,
                    (_, true) => Ownership::Adopted,
                    _ => Ownership::Created,
                });
                status.backend_id = Some(row.address.clone());
            }
            status.last_handled_reconcile_at = annotation(alias, annotations::RECONCILE);
            status.address = Some(done.address);
            status.drift = done.drift;
        }
        Err(hold) => hold.tell(&mut conditions),
    }
    status.conditions = conditions.into_vec();
    status
}

/// Events of transitions.
pub fn tell(ctx: &Ctx, alias: &MailAlias, outcome: &Result<Done, Hold>) {
    let old = alias.status.clone().unwrap_or_default();
    let hold = match outcome {
        Ok(done) => {
            if done.made == Some(Made::Adopted) {
                ctx.event(alias, false, "Adopted", format!("{} was at the backend and is taken over", done.address));
            }
            let same = old.observed_generation == alias.metadata.generation;
            let was_ready = conditions::is_true(&old.conditions, ConditionType::Ready);
            // Nor is it drift when what may be changed, and the alias with it.
            if done.made == Some(Made::Changed) && same && was_ready && done.hold.is_none() {
                ctx.event(
                    alias,
                    true,
                    "DriftCorrected",
                    format!("{} differed at the backend and was put back", done.address),
                );
            }
            ignored::tell(ctx, alias, &old.conditions, &done.ignored, &done.label);
            done.hold.as_ref()
        }
        Err(hold) => Some(hold),
    };
    if let Some(hold) = hold {
        super::super::tell_hold(ctx, alias, &old.conditions, hold);
    }
}
