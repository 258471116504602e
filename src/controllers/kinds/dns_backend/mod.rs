//! The life of a DNSBackend: is it reachable, are the credentials good? It leaves after the domains whose records it
//! holds.

pub mod watch;

use super::backend::{self, Backend};
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::pass::above::Above;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::lifecycle::{Lifecycle, Reached};
use crate::state::kind::ObjectId;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use mailtenant_api::*;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;

impl WithStatus for DNSBackend {
    fn api(ctx: &Ctx, _: &str) -> Api<Self> {
        Api::all(ctx.client.clone())
    }
}

impl Backend for DNSBackend {
    const USED_BY: (Reason, &'static str) = (Reason::HasDomains, "MailDomain");

    /// Also those that name another backend by now, while their records are still here: no selector finds them, the store
    /// does.
    async fn users(&self, ctx: &Ctx) -> Result<Vec<String>, kube::Error> {
        let name = self.name_any();
        let domains: Api<MailDomain> = Api::all(ctx.client.clone());
        let params = ListParams::default().fields(&format!("spec.dns.backendRef.name={name}")).limit(50);
        let live = domains.list_metadata(&params).await?;
        let live = live.items.iter().map(|d| NamespacedName::new(d.namespace().unwrap_or_default(), d.name_any()));
        let mut users: BTreeSet<NamespacedName> = live.collect();
        users.extend(ctx.world().index.domains_by_dns_backend.of(&name).cloned());
        Ok(users.iter().map(ToString::to_string).collect())
    }

    async fn look(ctx: &Ctx, draft: &mut Draft<Self>) -> Step<String> {
        let server = ctx.dns(&draft.object.name_any()).await?.server;
        let version = server.probe().await.map_err(|e| NotReady::backend("the server", &e))?;
        let message = format!("{} {version} answers and takes our credentials", server.provider());
        draft.status.provider = Some(server.provider().into());
        draft.status.capabilities = server.capabilities().words().into_iter().map(Into::into).collect();
        draft.status.version = Some(version);
        Ok(message)
    }

    fn handled(status: &mut DNSBackendStatus, wish: Option<String>) {
        status.last_handled_reconcile_at = wish;
    }
}

impl Lifecycle for DNSBackend {
    async fn up(ctx: &Ctx, _: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
        Ok(Reached::reported(backend::examine(ctx, draft).await?))
    }

    async fn needed_by(ctx: &Ctx, draft: &Draft<Self>, _: &Above) -> Step<Option<NotReady>> {
        backend::needed_by(ctx, draft).await
    }

    async fn waiting(
        ctx: &Ctx,
        _: &ObjectId,
        draft: &mut Draft<Self>,
        not_ready: &NotReady,
    ) -> Result<Next, kube::Error> {
        backend::waiting(ctx, draft, not_ready).await
    }
}
