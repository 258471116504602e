//! The life of a DNSBackend: is it reachable, are the credentials good? It leaves after the domains whose records it
//! holds.

pub mod watch;

use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::pass::above::Above;
use crate::pass::deletion;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::lifecycle::{Lifecycle, Reached};
use crate::pass::report::unready_event;
use crate::state::kind::ObjectId;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use mailtenant_api::*;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;
use std::time::Duration;

/// Pause between two looks at a server that answers.
const LOOK: Duration = Duration::from_secs(300);
/// Pause between two looks at one that does not: short, since everything on it waits.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl WithStatus for DNSBackend {
    fn api(ctx: &Ctx, _: &str) -> Api<Self> {
        Api::all(ctx.client.clone())
    }
}

impl Lifecycle for DNSBackend {
    async fn up(ctx: &Ctx, _: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
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
        Ok((!names.is_empty()).then(|| deletion::blocked(Reason::HasDomains, "MailDomain", &names)))
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

/// Domains with records on the backend. By a live list: one that came just now counts; and those that name another backend
/// by now, while their records are still here: no selector finds them, the store does.
async fn users(ctx: &Ctx, backend: &DNSBackend) -> Result<Vec<String>, kube::Error> {
    let name = backend.name_any();
    let domains: Api<MailDomain> = Api::all(ctx.client.clone());
    let params = ListParams::default().fields(&format!("spec.dns.backendRef.name={name}")).limit(50);
    let live = domains.list_metadata(&params).await?;
    let live = live.items.iter().map(|d| NamespacedName::new(d.namespace().unwrap_or_default(), d.name_any()));
    let mut users: BTreeSet<NamespacedName> = live.collect();
    users.extend(ctx.world().index.domains_by_dns_backend.of(&name).cloned());
    Ok(users.iter().map(ToString::to_string).collect())
}

/// Looks at the server and reports what was found; also while the object waits to go, since what is on it needs it.
async fn examine(ctx: &Ctx, draft: &mut Draft<DNSBackend>) -> Result<Next, kube::Error> {
    let backend = draft.object.clone();
    let backend = backend.as_ref();
    draft.status.last_handled_reconcile_at = annotation(backend, annotations::RECONCILE);
    match look(ctx, backend).await {
        Ok((provider, version)) => {
            draft.conditions.ready(format!("{provider} {version} answers and takes our credentials"));
            draft.status.provider = Some(provider.into());
            draft.status.version = Some(version);
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

async fn look(ctx: &Ctx, backend: &DNSBackend) -> Step<(&'static str, String)> {
    let server = ctx.dns(&backend.name_any()).await?;
    let version = server.server.probe().await.map_err(|e| NotReady::backend("the server", &e))?;
    Ok((server.server.provider(), version))
}
