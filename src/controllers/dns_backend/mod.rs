//! The life of a DNSBackend: is it reachable, are the credentials good? It leaves after the domains whose records it
//! holds.

use super::ctx::{Ctx, Pass, Step, Stop, annotation, orphan, settle, with_finalizer, without_finalizer, write_status};
use super::deletion;
use super::edges::put;
use super::hold::Hold;
use super::world::{Kind, ObjectId};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use mailtenant_api::*;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Pause between two looks at a server that answers.
const LOOK: Duration = Duration::from_secs(300);
/// Pause between two looks at one that does not: short, since everything on it waits.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Whether passes may use a backend: its own pass found it good.
pub fn usable(backend: &DNSBackend) -> Result<(), Hold> {
    let name = backend.metadata.name.clone().unwrap_or_default();
    let status = backend.status.clone().unwrap_or_default();
    super::groupware_backend::good(&format!("DNSBackend {name}"), &status.conditions)
}

/// One pass.
pub async fn pass(ctx: &Ctx, key: &NamespacedName) -> Next {
    let id = ObjectId::new(Kind::DNSBackend, key.clone());
    let Some(backend) = ctx.world().dns.get(key) else { return Next::Settled };
    let result = if backend.metadata.deletion_timestamp.is_some() {
        cleanup(ctx, backend).await
    } else {
        reconcile(ctx, backend).await
    };
    settle(ctx, result, &id).await
}

async fn reconcile(ctx: &Ctx, backend: Arc<DNSBackend>) -> Pass {
    let api: Api<DNSBackend> = Api::all(ctx.client.clone());
    let backend = with_finalizer(ctx, &api, backend, put::dns).await?;
    examine(ctx, &api, &backend, None).await
}

/// Looks at the server and says what was found; also while the object waits to go, since what is on it needs it.
async fn examine(ctx: &Ctx, api: &Api<DNSBackend>, backend: &DNSBackend, blocked: Option<Hold>) -> Pass {
    let generation = backend.metadata.generation.unwrap_or_default();
    let old = backend.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&old.conditions, generation, ctx.clock.now());
    if let Some(hold) = blocked {
        conditions.set(ConditionType::DeletionBlocked, true, hold.reason, hold.message.clone());
    } else {
        conditions.remove(ConditionType::DeletionBlocked);
    }
    let mut status = DNSBackendStatus {
        observed_generation: Some(generation),
        last_handled_reconcile_at: annotation(backend, annotations::RECONCILE),
        ..old.clone()
    };
    let next = match look(ctx, backend).await {
        Ok((provider, version)) => {
            conditions.ready(format!("{provider} {version} answers and takes our credentials"));
            status.provider = Some(provider.into());
            status.version = Some(version);
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
    write_status(ctx, api, backend, status, put::dns).await?;
    Ok(next)
}

async fn look(ctx: &Ctx, backend: &DNSBackend) -> Step<(&'static str, String)> {
    let server = ctx.connections.dns(ctx, &backend.name_any()).await?;
    let version = server.server.probe().await.map_err(|e| Hold::backend("the server", &e))?;
    Ok((server.server.provider(), version))
}

async fn cleanup(ctx: &Ctx, backend: Arc<DNSBackend>) -> Pass {
    if !backend.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Next::Settled);
    }
    let api: Api<DNSBackend> = Api::all(ctx.client.clone());
    let name = backend.name_any();
    let domains: Api<MailDomain> = Api::all(ctx.client.clone());
    // A live list: a domain that came just now counts.
    let users = domains
        .list_metadata(&ListParams::default().fields(&format!("spec.dns.backendRef.name={name}")).limit(50))
        .await?;
    let key = |d: &kube::core::PartialObjectMeta<MailDomain>| {
        NamespacedName::new(d.namespace().unwrap_or_default(), d.name_any())
    };
    let mut users: BTreeSet<NamespacedName> = users.items.iter().map(key).collect();
    // Those that name another one by now, while their records are still here: no selector finds them, the store does.
    users.extend(ctx.world().index.domains_by_dns_backend.of(&name).cloned());
    if users.is_empty() || orphan(backend.as_ref()) {
        if !users.is_empty() {
            ctx.event(
                backend.as_ref(),
                true,
                "Orphaned",
                "it goes although it is still used: what is on it cannot be reached any more",
            );
        }
        without_finalizer(ctx, &api, backend.as_ref(), put::dns).await?;
        return Ok(Next::Settled);
    }
    let names: Vec<String> = users.iter().map(ToString::to_string).collect();
    let hold = deletion::blocked(Reason::HasDomains, "MailDomain", &names);
    let old = backend.status.clone().unwrap_or_default();
    super::tell_hold(ctx, backend.as_ref(), &old.conditions, &hold);
    // It goes on serving what is on it.
    examine(ctx, &api, &backend, Some(hold)).await
}
