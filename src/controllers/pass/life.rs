//! The life of an object, the same for all kinds: up (finalizer, gather, plan, apply, status) and down (guards, removal,
//! finalizer). What differs per kind is the trait [`Lifecycle`].

use super::draft::Draft;
use super::fallback_status;
use super::guards;
use super::lifecycle::Lifecycle;
use super::report::not_ready_event;
use super::write::{with_finalizer, without_finalizer};
use crate::ctx::{Ctx, Pass, Stop};
use crate::not_ready::NotReady;
use crate::state::blocked::Side;
use crate::state::kind::ObjectId;
use mailtenant_api::{has_finalizer, is_deleting, uid};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// One pass of an object.
pub async fn pass<K: Lifecycle>(ctx: &Ctx, key: &NamespacedName) -> Next {
    let id = K::id(key);
    let Some(object) = ctx.world().get::<K>(key) else { return Next::Settled };
    let result = if is_deleting(object.as_ref()) {
        down(ctx, &id, object).await
    } else if !key.namespace.is_empty() && ctx.world().namespace_leaves(&key.namespace) {
        return Next::Settled;
    } else {
        up(ctx, &id, object).await
    };
    settle(ctx, result, &id).await
}

async fn up<K: Lifecycle>(ctx: &Ctx, id: &ObjectId, object: Arc<K>) -> Pass {
    let api = K::api(ctx, &id.key.namespace);
    let object = with_finalizer(ctx, &api, object).await?;
    let mut draft = Draft::new(ctx, object);
    let next = match K::up(ctx, id, &mut draft).await {
        Ok(reached) => {
            match (&reached.not_ready, reached.message) {
                (Some(not_ready), _) => report(ctx, &mut draft, not_ready),
                (None, Some(message)) => draft.conditions.ready(message),
                (None, None) => {}
            }
            reached.next
        }
        Err(Stop::NotReady(not_ready)) => {
            K::stopped(&mut draft, &not_ready);
            report(ctx, &mut draft, &not_ready);
            not_ready.next
        }
        Err(Stop::Kubernetes(error)) => return Err(error),
    };
    let next = K::next(ctx, id, &draft, next);
    draft.write(ctx).await?;
    Ok(next)
}

fn report<K: Lifecycle>(ctx: &Ctx, draft: &mut Draft<K>, not_ready: &NotReady) {
    not_ready_event(ctx, draft.object.as_ref(), &draft.before, not_ready);
    not_ready.put(&mut draft.conditions);
}

async fn down<K: Lifecycle>(ctx: &Ctx, id: &ObjectId, object: Arc<K>) -> Pass {
    if !has_finalizer(object.as_ref()) {
        return Ok(Next::Settled);
    }
    let mut draft = Draft::new(ctx, object);
    match guards::take_down(ctx, &mut draft).await {
        Ok(Cleanup::Done) => {
            let api = K::api(ctx, &id.key.namespace);
            without_finalizer(ctx, &api, draft.judged()).await?;
            let own = uid(draft.object.as_ref());
            [Side::Groupware, Side::Dns].into_iter().for_each(|side| ctx.blocked.clear(&own, side));
            Ok(Next::Settled)
        }
        Ok(Cleanup::Waiting(not_ready)) | Err(Stop::NotReady(not_ready)) => {
            not_ready_event(ctx, draft.object.as_ref(), &draft.before, &not_ready);
            let next = K::waiting(ctx, id, &mut draft, &not_ready).await?;
            draft.write(ctx).await?;
            Ok(next)
        }
        Err(Stop::Kubernetes(error)) => Err(error),
    }
}

/// What a finished pass asks for. What Kubernetes refused stands in the status afterwards.
pub async fn settle(ctx: &Ctx, result: Pass, id: &ObjectId) -> Next {
    match result {
        Ok(next) => next,
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            tracing::info!(object = %id, "somebody else wrote at the same time; again");
            Next::Retry
        }
        Err(error) => {
            // serde's words quote what it met, which may be a part of a Secret (I6).
            let said = match &error {
                kube::Error::SerdeError(e) => {
                    format!("an answer does not decode at line {}, column {}", e.line(), e.column())
                }
                other => other.to_string(),
            };
            tracing::warn!(object = %id, error = said, "Kubernetes did not take a call; again");
            let again = ctx.queue.failures(id) > 0;
            if let Some(not_ready) =
                fallback_status::refusal(&error).or_else(|| fallback_status::away(&error).filter(|_| again))
            {
                fallback_status::after(ctx, id, &not_ready).await;
            }
            Next::Retry
        }
    }
}
