//! What the two kinds of backend share: they are looked at, they go on serving what is on them, and they leave after it.

use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::pass::deletion;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::report::unready_event;
use mailtenant_api::*;
use mailtenant_runtime::dispatch::Next;
use std::time::Duration;

/// Pause between two looks at a server that answers.
const LOOK: Duration = Duration::from_secs(300);
/// Pause between two looks at one that does not: short, since everything on it waits.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A server that the platform team registers.
pub trait Backend: WithStatus {
    /// Reason of `DeletionBlocked` while it is used, and the kind that uses it.
    const USED_BY: (Reason, &'static str);

    /// Who uses it, by a live list: one that came just now counts.
    fn users(&self, ctx: &Ctx) -> impl Future<Output = Result<Vec<String>, kube::Error>> + Send;

    /// Looks at the server. What it finds is put into the draft; returned is the message of `Ready=True`.
    fn look(ctx: &Ctx, draft: &mut Draft<Self>) -> impl Future<Output = Step<String>> + Send;

    /// Notes the wish for a pass that this one answers.
    fn handled(status: &mut Self::Status, wish: Option<String>);
}

/// Looks at the server and reports what was found; also while the object waits to go, since what is on it needs it.
pub async fn examine<K: Backend>(ctx: &Ctx, draft: &mut Draft<K>) -> Result<Next, kube::Error> {
    let object = draft.object.clone();
    K::handled(&mut draft.status, annotation(object.as_ref(), annotations::RECONCILE));
    match K::look(ctx, draft).await {
        Ok(message) => {
            draft.conditions.ready(message);
            Ok(Next::After(ctx.random.around(LOOK, 20)))
        }
        Err(Stop::NotReady(not_ready)) => {
            unready_event(ctx, object.as_ref(), &draft.before, &not_ready);
            not_ready.put(&mut draft.conditions);
            Ok(match not_ready.next {
                Next::RetryAfter(pause) => Next::After(pause.max(LOOK_AGAIN)),
                Next::Retry => Next::After(ctx.random.around(LOOK_AGAIN, 20)),
                // It may be mended at the server, which wakes nobody here.
                Next::Settled => Next::After(ctx.random.around(LOOK, 20)),
                next => next,
            })
        }
        Err(Stop::Kubernetes(error)) => Err(error),
    }
}

/// The annotation `orphan` on a backend is the word of the platform team, who alone can write one: it goes although it is
/// used.
pub async fn needed_by<K: Backend>(ctx: &Ctx, draft: &Draft<K>) -> Step<Option<NotReady>> {
    let (names, (reason, kind)) = (draft.object.users(ctx).await?, K::USED_BY);
    if !names.is_empty() && orphan(draft.object.as_ref()) {
        let text = "it goes although it is still used: what is on it cannot be reached any more";
        ctx.event(draft.object.as_ref(), EventReason::Orphaned, text);
        return Ok(None);
    }
    Ok((!names.is_empty()).then(|| deletion::blocked(reason, kind, &names)))
}

/// Reports why it may not go yet. It goes on serving what is on it.
pub async fn waiting<K: Backend>(ctx: &Ctx, draft: &mut Draft<K>, not_ready: &NotReady) -> Result<Next, kube::Error> {
    let message = not_ready.message.clone();
    draft.conditions.set(ConditionType::DeletionBlocked, true, not_ready.reason, message);
    examine(ctx, draft).await
}
