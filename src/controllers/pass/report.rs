//! What users hear of an object that cannot be ready.

use crate::ctx::Ctx;
use crate::not_ready::NotReady;
use kube::Resource;
use mailtenant_api::{Condition, ConditionType, EventReason, conditions};
use mailtenant_runtime::dispatch::Next;
use std::time::Duration;

/// What is declared and not allowed any more is taken away at the server, and before that the status stops to report Ready
/// of it (I4): the next pass, a moment later, does the rest.
pub fn report_first(object: &impl Resource, old: &[Condition], not_ready: Option<&NotReady>) -> Option<NotReady> {
    let ready = conditions::find(old, ConditionType::Ready);
    let claims = ready.is_some_and(|c| c.status == "True" && c.observed_generation == object.meta().generation);
    not_ready.filter(|_| claims).map(|n| NotReady { next: Next::After(MOMENT), ..n.clone() })
}

/// Long enough not to spin where the watch has not told yet that the object is gone.
const MOMENT: Duration = Duration::from_millis(100);

/// A Warning Event when an object begins to wait, or waits for another reason.
pub fn not_ready_event<K: Resource<DynamicType = ()>>(ctx: &Ctx, object: &K, old: &[Condition], not_ready: &NotReady) {
    if object.meta().deletion_timestamp.is_none() {
        return unready_event(ctx, object, old, not_ready);
    }
    if reason(old, ConditionType::DeletionBlocked) != Some(not_ready.reason.as_str()) {
        ctx.event(object, EventReason::DeletionBlocked, not_ready.message.clone());
    }
}

/// The same for `Ready` alone: a backend that waits to go serves what is on it, and can stop to.
pub fn unready_event<K: Resource<DynamicType = ()>>(ctx: &Ctx, object: &K, old: &[Condition], not_ready: &NotReady) {
    // Parents that are on their way up are nothing to warn of.
    let patient = !not_ready.stalled && not_ready.next == Next::Settled;
    if reason(old, ConditionType::Ready) != Some(not_ready.reason.as_str()) && !patient {
        ctx.event(object, EventReason::NotReady(not_ready.reason), not_ready.message.clone());
    }
}

fn reason(list: &[Condition], of: ConditionType) -> Option<&str> {
    conditions::find(list, of).map(|c| c.reason.as_str())
}
