//! The life of an object, the same for all kinds: up (finalizer, gather, plan, apply, status) and down (guards, removal,
//! finalizer). What differs per kind is the trait [`Lifecycle`].

use super::draft::Draft;
use super::fallback_status;
use super::guards::{self, Above};
use super::report::not_ready_event;
use super::write::{with_finalizer, without_finalizer};
use crate::connections::Groupware;
use crate::ctx::{Ctx, Pass, Step, Stop};
use crate::not_ready::NotReady;
use crate::state::kind::ObjectId;
use crate::state::managed::Managed;
use crate::state::world::World;
use kube::Api;
use kube::core::object::HasStatus;
use mailtenant_api::{ObjectStatus, has_finalizer, is_deleting};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// How a pass that came through ended.
pub struct Reached {
    /// The message of `Ready=True`; none: the conditions say all already.
    pub message: Option<String>,
    /// All that can be done is done, and still it is not as declared.
    pub not_ready: Option<NotReady>,
    /// When the next pass is due by itself.
    pub next: Next,
}

impl Reached {
    /// As declared, or as much of it as can be; the next pass is due when something changes.
    pub fn settled(message: impl Into<String>, not_ready: Option<NotReady>) -> Self {
        let next = not_ready.as_ref().map_or(Next::Settled, |n| n.next);
        Reached { message: Some(message.into()), not_ready, next }
    }

    /// The conditions say all already.
    pub fn reported(next: Next) -> Self {
        Reached { message: None, not_ready: None, next }
    }
}

/// What the acting half must know of a kind. The defaults are those of a kind that has nothing at a server.
pub trait Lifecycle: Managed + HasStatus<Status: ObjectStatus + Send + Sync> {
    /// The API of the kind; `namespace` means nothing for a cluster-scoped one.
    fn api(ctx: &Ctx, namespace: &str) -> Api<Self>;

    /// Gather, plan, apply. What is found is put into the draft.
    fn up(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Self>) -> impl Future<Output = Step<Reached>> + Send;

    /// What the status says besides the conditions when a pass did not come through.
    fn stopped(draft: &mut Draft<Self>, not_ready: &NotReady) {
        let _ = (draft, not_ready);
    }

    /// When the next pass is due, if nothing changes.
    fn next(ctx: &Ctx, id: &ObjectId, draft: &Draft<Self>, next: Next) -> Next {
        let _ = (ctx, id, draft);
        next
    }

    /// The parents of an object that is being deleted, as far as they are known.
    fn above(world: &World, object: &Self) -> Above {
        let _ = (world, object);
        Above::default()
    }

    /// The annotation `orphan` is set: what it leaves behind, or why it may not go yet.
    fn orphaned(ctx: &Ctx, draft: &mut Draft<Self>) -> impl Future<Output = Step<Cleanup<NotReady>>> + Send;

    /// Some, if nothing of the object can be anywhere, so that no server has to be asked.
    fn nothing_made(
        ctx: &Ctx,
        draft: &mut Draft<Self>,
    ) -> impl Future<Output = Step<Option<Cleanup<NotReady>>>> + Send {
        let _ = (ctx, draft);
        async { Ok(None) }
    }

    /// What must leave before anything else is waited for: MX of a domain.
    fn withdraw_first(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> impl Future<Output = Step<()>> + Send {
        let _ = (ctx, draft, above);
        async { Ok(()) }
    }

    /// Who still needs the object: children by a live list, or whoever refers to it.
    fn needed_by(ctx: &Ctx, draft: &Draft<Self>, above: &Above) -> impl Future<Output = Step<Option<NotReady>>> + Send;

    /// `managementPolicy: Observe`: nothing is written. None: nothing stands against going on.
    fn observed(
        ctx: &Ctx,
        draft: &mut Draft<Self>,
        above: &Above,
    ) -> impl Future<Output = Step<Option<Cleanup<NotReady>>>> + Send {
        let _ = (ctx, draft, above);
        async { Ok(None) }
    }

    /// While resolvers may still send mail here.
    fn draining(ctx: &Ctx, draft: &Draft<Self>, above: &Above) -> impl Future<Output = Step<Option<NotReady>>> + Send {
        let _ = (ctx, draft, above);
        async { Ok(None) }
    }

    /// The parents cannot be used: some kinds may go all the same, if nothing was made.
    fn without_parents(draft: &Draft<Self>, not_ready: NotReady) -> Cleanup<NotReady> {
        let _ = draft;
        Cleanup::Waiting(super::deletion::with_way_out(not_ready))
    }

    /// Takes down what is at the server. Every guard has let it through.
    fn remove(
        ctx: &Ctx,
        draft: &mut Draft<Self>,
        above: &Above,
        server: &Groupware,
    ) -> impl Future<Output = Step<Cleanup<NotReady>>> + Send {
        let _ = (ctx, draft, above, server);
        async { Ok(Cleanup::Done) }
    }

    /// What is reported while a deletion waits, and when the next pass is due.
    fn waiting(
        ctx: &Ctx,
        id: &ObjectId,
        draft: &mut Draft<Self>,
        not_ready: &NotReady,
    ) -> impl Future<Output = Result<Next, kube::Error>> + Send {
        let _ = (ctx, id);
        report_blocked(draft, not_ready);
        async { Ok(not_ready.next) }
    }
}

/// Conditions of an object that is being deleted and may not go yet.
pub fn report_blocked<K: Lifecycle>(draft: &mut Draft<K>, not_ready: &NotReady) {
    super::deletion::blocked_conditions(&mut draft.conditions, not_ready);
}

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
            without_finalizer(ctx, &api, draft.latest(ctx).as_ref()).await?;
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
