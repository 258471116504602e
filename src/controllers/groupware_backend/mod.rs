//! The life of a GroupwareBackend: is it reachable, are the credentials good, what can it do? It leaves after the
//! instances on it.

use super::ctx::{Ctx, Pass, Step, Stop, annotation, orphan, settle, with_finalizer, without_finalizer, write_status};
use super::deletion;
use super::edges::put;
use super::hold::Hold;
use super::lane;
use super::world::{Kind, ObjectId};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use mailtenant_api::*;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;
use std::time::Duration;

/// Pause between two looks at a server that answers.
const LOOK: Duration = Duration::from_secs(300);
/// Pause between two looks at one that does not: short, since everything on it waits.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Passes of one backend at a time, whatever its `limits.concurrency` says: half of all, so that a slow one leaves room.
const MOST_OF_ONE: usize = crate::operator::BOUNDS.concurrency / 2;

/// Whether passes may use a backend: its own pass found it good. One that does not answer is asked by one pass, not by
/// every object on it; when it is back, that wakes them all.
pub fn usable(backend: &GroupwareBackend) -> Result<(), Hold> {
    let name = backend.metadata.name.clone().unwrap_or_default();
    good(&format!("GroupwareBackend {name}"), &backend.status.clone().unwrap_or_default().conditions)
}

/// Why what is on a backend cannot go on; none if it can. Those that are on it are woken when this changes.
pub fn reason(list: &[Condition]) -> Option<Reason> {
    let ready = conditions::find(list, ConditionType::Ready);
    if ready.is_some_and(|c| c.status == "True") {
        return None;
    }
    let known = ready.and_then(|c| Reason::ALL.iter().copied().find(|r| r.as_str() == c.reason));
    // What was wrong with a pass of the backend's is nothing to do with those that are on it.
    let of_the_pass = [Reason::TimedOut, Reason::InternalError, Reason::KubernetesError];
    Some(known.filter(|r| !of_the_pass.contains(r)).unwrap_or(Reason::BackendUnreachable))
}

/// The same for any backend's conditions.
pub fn good(label: &str, list: &[Condition]) -> Result<(), Hold> {
    let Some(reason) = reason(list) else { return Ok(()) };
    Err(match conditions::find(list, ConditionType::Ready) {
        Some(c) => Hold::waiting(reason, format!("{label} is not ready: {}", c.message)),
        None => Hold::waiting(reason, format!("{label} was not looked at yet")),
    })
}

/// One pass.
pub async fn pass(ctx: &Ctx, key: &NamespacedName) -> Next {
    let id = ObjectId::new(Kind::GroupwareBackend, key.clone());
    let Some(backend) = ctx.world().groupware.get(key) else { return Next::Settled };
    let result = if backend.metadata.deletion_timestamp.is_some() {
        cleanup(ctx, backend).await
    } else {
        reconcile(ctx, backend).await
    };
    settle(ctx, result, &id).await
}

async fn reconcile(ctx: &Ctx, backend: Arc<GroupwareBackend>) -> Pass {
    let api: Api<GroupwareBackend> = Api::all(ctx.client.clone());
    let backend = with_finalizer(ctx, &api, backend, put::groupware).await?;
    let concurrency = (backend.spec.limits.concurrency.max(1) as usize).min(MOST_OF_ONE);
    ctx.queue.set_limits(&lane::groupware(&backend.name_any()), Some(lane::groupware_limits(concurrency)));
    examine(ctx, &api, &backend, None).await
}

/// Looks at the server and says what was found; also while the object waits to go, since what is on it needs it.
async fn examine(ctx: &Ctx, api: &Api<GroupwareBackend>, backend: &GroupwareBackend, blocked: Option<Hold>) -> Pass {
    let generation = backend.metadata.generation.unwrap_or_default();
    let old = backend.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&old.conditions, generation, ctx.clock.now());
    if let Some(hold) = blocked {
        conditions.set(ConditionType::DeletionBlocked, true, hold.reason, hold.message.clone());
    } else {
        conditions.remove(ConditionType::DeletionBlocked);
    }
    let mut status = GroupwareBackendStatus {
        observed_generation: Some(generation),
        last_handled_reconcile_at: annotation(backend, annotations::RECONCILE),
        ..old.clone()
    };
    let next = match look(ctx, backend).await {
        Ok((provider, info)) => {
            if !conditions::is_true(&old.conditions, ConditionType::Ready) {
                // It was away: what it held before says nothing now.
                ctx.observed.stale_all(&super::ctx::uid(backend)).await;
            }
            conditions.ready(format!("{provider} {} answers and takes our credentials", info.version));
            status.provider = Some(provider.into());
            status.version = Some(info.version);
            status.capabilities = info.capabilities.iter().map(|c| c.as_str().to_owned()).collect();
            Next::After(ctx.random.around(LOOK, 20))
        }
        Err(Stop::Hold(hold)) => {
            super::tell_unready(ctx, backend, &old.conditions, &hold);
            hold.tell(&mut conditions);
            match hold.next {
                Next::RetryAfter(pause) => Next::After(pause.max(LOOK_AGAIN)),
                Next::Retry => Next::After(ctx.random.around(LOOK_AGAIN, 20)),
                // It may be mended at the server, which wakes nobody here.
                Next::Settled => Next::After(ctx.random.around(LOOK, 20)),
                next => next,
            }
        }
        Err(Stop::Kubernetes(error)) => return Err(error),
    };
    status.conditions = conditions.into_vec();
    write_status(ctx, api, backend, status, put::groupware).await?;
    Ok(next)
}

async fn look(ctx: &Ctx, backend: &GroupwareBackend) -> Step<(&'static str, mailtenant_groupware::ServerInfo)> {
    let server = ctx.connections.groupware(ctx, &backend.name_any()).await?;
    let info = server.server.probe().await.map_err(|e| Hold::backend("the server", &e))?;
    Ok((server.server.provider(), info))
}

async fn cleanup(ctx: &Ctx, backend: Arc<GroupwareBackend>) -> Pass {
    if !backend.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Next::Settled);
    }
    let api: Api<GroupwareBackend> = Api::all(ctx.client.clone());
    let name = backend.name_any();
    let instances: Api<MailInstance> = Api::all(ctx.client.clone());
    // A live list: an instance that came just now counts.
    let users = instances
        .list_metadata(&ListParams::default().fields(&format!("spec.backendRef.name={name}")).limit(50))
        .await?;
    if users.items.is_empty() || orphan(backend.as_ref()) {
        if !users.items.is_empty() {
            ctx.event(
                backend.as_ref(),
                true,
                "Orphaned",
                "it goes although it is still used: what is on it cannot be reached any more",
            );
        }
        without_finalizer(ctx, &api, backend.as_ref(), put::groupware).await?;
        return Ok(Next::Settled);
    }
    let names: Vec<String> =
        users.items.iter().map(|i| format!("{}/{}", i.namespace().unwrap_or_default(), i.name_any())).collect();
    let hold = deletion::blocked(Reason::HasInstances, "MailInstance", &names);
    let old = backend.status.clone().unwrap_or_default();
    super::tell_hold(ctx, backend.as_ref(), &old.conditions, &hold);
    // It goes on serving what is on it.
    examine(ctx, &api, &backend, Some(hold)).await
}
