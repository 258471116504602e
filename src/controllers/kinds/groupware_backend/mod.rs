//! The life of a GroupwareBackend: is it reachable, are the credentials good, what can it do? It leaves after the
//! instances on it.

pub mod watch;

use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::pass::above::Above;
use crate::pass::deletion;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::lifecycle::{Lifecycle, Reached};
use crate::pass::report::unready_event;
use crate::state::derived::owner_uid;
use crate::state::kind::ObjectId;
use crate::state::lane;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use mailtenant_api::*;
use mailtenant_groupware::{ServerInfo, facets};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use std::time::Duration;

/// Pause between two looks at a server that answers.
const LOOK: Duration = Duration::from_secs(300);
/// Pause between two looks at one that does not: short, since everything on it waits.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Passes of one backend at a time, whatever its `limits.concurrency` says: half of all, so that a slow one leaves room.
const MOST_OF_ONE: usize = crate::operator::BOUNDS.concurrency / 2;

impl WithStatus for GroupwareBackend {
    fn api(ctx: &Ctx, _: &str) -> Api<Self> {
        Api::all(ctx.client.clone())
    }
}

impl Lifecycle for GroupwareBackend {
    async fn up(ctx: &Ctx, _: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
        let concurrency = (draft.object.spec.limits.concurrency.max(1) as usize).min(MOST_OF_ONE);
        ctx.queue.set_limits(&lane::groupware(&draft.object.name_any()), Some(lane::groupware_limits(concurrency)));
        let next = examine(ctx, draft).await?;
        Ok(Reached::reported(next))
    }

    async fn orphaned(ctx: &Ctx, draft: &mut Draft<Self>) -> Step<Cleanup<NotReady>> {
        if !users(ctx, &draft.object).await?.is_empty() {
            let text = "it goes although it is still used: what is on it cannot be reached any more";
            ctx.event(draft.object.as_ref(), EventReason::Orphaned, text);
        }
        Ok(Cleanup::Done)
    }

    async fn needed_by(ctx: &Ctx, draft: &Draft<Self>, _: &Above) -> Step<Option<NotReady>> {
        let names = users(ctx, &draft.object).await?;
        Ok((!names.is_empty()).then(|| deletion::blocked(Reason::HasInstances, "MailInstance", &names)))
    }

    /// It goes on serving what is on it.
    async fn waiting(
        ctx: &Ctx,
        _: &ObjectId,
        draft: &mut Draft<Self>,
        not_ready: &NotReady,
    ) -> Result<Next, kube::Error> {
        let message = not_ready.message.clone();
        draft.conditions.set(ConditionType::DeletionBlocked, true, not_ready.reason, message);
        examine(ctx, draft).await
    }
}

/// Instances on the backend, by a live list: one that came just now counts.
async fn users(ctx: &Ctx, backend: &GroupwareBackend) -> Result<Vec<String>, kube::Error> {
    let instances: Api<MailInstance> = Api::all(ctx.client.clone());
    let params = ListParams::default().fields(&format!("spec.backendRef.name={}", backend.name_any())).limit(50);
    let users = instances.list_metadata(&params).await?;
    Ok(users.items.iter().map(|i| format!("{}/{}", i.namespace().unwrap_or_default(), i.name_any())).collect())
}

/// Looks at the server and reports what was found; also while the object waits to go, since what is on it needs it.
async fn examine(ctx: &Ctx, draft: &mut Draft<GroupwareBackend>) -> Result<Next, kube::Error> {
    let backend = draft.object.clone();
    let backend = backend.as_ref();
    draft.status.last_handled_reconcile_at = annotation(backend, annotations::RECONCILE);
    match look(ctx, backend).await {
        Ok((provider, info)) => {
            if !conditions::is_true(&draft.before, ConditionType::Ready) {
                // It was away: what it held before says nothing now.
                ctx.snapshots.stale_all(&owner_uid(backend)).await;
            }
            draft.conditions.ready(format!("{provider} {} answers and takes our credentials", info.version));
            draft.status.provider = Some(provider.into());
            draft.status.version = Some(info.version);
            draft.status.capabilities = info.capabilities.iter().map(|c| c.as_str().to_owned()).collect();
            Ok(Next::After(ctx.random.around(LOOK, 20)))
        }
        Err(Stop::NotReady(not_ready)) => {
            unready_event(ctx, backend, &draft.before, &not_ready);
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

async fn look(ctx: &Ctx, backend: &GroupwareBackend) -> Step<(&'static str, ServerInfo)> {
    let server = ctx.groupware(&backend.name_any()).await?;
    let info = facets::examine(server.server.as_ref()).await.map_err(|e| NotReady::backend("the server", &e))?;
    Ok((server.server.provider(), info))
}
