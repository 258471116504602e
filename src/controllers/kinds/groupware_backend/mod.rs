//! The life of a GroupwareBackend: is it reachable, are the credentials good, what can it do? It leaves after the
//! instances on it.

pub mod watch;

use super::backend::{self, Backend};
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::pass::above::Above;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::lifecycle::{Lifecycle, Reached};
use crate::state::derived::owner_uid;
use crate::state::kind::ObjectId;
use crate::state::lane;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use mailtenant_api::*;
use mailtenant_groupware::{BackendError, facets};
use mailtenant_runtime::dispatch::Next;

/// Passes of one backend at a time, whatever its `limits.concurrency` says: half of all, so that a slow one leaves room.
const MOST_OF_ONE: usize = crate::operator::BOUNDS.concurrency / 2;

impl WithStatus for GroupwareBackend {
    fn api(ctx: &Ctx, _: &str) -> Api<Self> {
        Api::all(ctx.client.clone())
    }
}

impl Backend for GroupwareBackend {
    const USED_BY: (Reason, &'static str) = (Reason::HasInstances, "MailInstance");

    async fn users(&self, ctx: &Ctx) -> Result<Vec<String>, kube::Error> {
        let instances: Api<MailInstance> = Api::all(ctx.client.clone());
        let params = ListParams::default().fields(&format!("spec.backendRef.name={}", self.name_any())).limit(50);
        let users = instances.list_metadata(&params).await?;
        Ok(users.items.iter().map(|i| format!("{}/{}", i.namespace().unwrap_or_default(), i.name_any())).collect())
    }

    async fn look(ctx: &Ctx, draft: &mut Draft<Self>) -> Step<String> {
        let server = ctx.groupware(&draft.object.name_any()).await?.server;
        let info = facets::examine(server.as_ref()).await.map_err(|e| cannot_be_used(&e))?;
        if !conditions::is_true(&draft.before, ConditionType::Ready) {
            // It was away: what it held before says nothing now.
            ctx.snapshots.stale_all(&owner_uid(draft.object.as_ref())).await;
        }
        schema(&mut draft.conditions, info.behind.as_ref());
        let message = format!("{} {} answers and takes our credentials", server.provider(), info.version);
        draft.status.provider = Some(server.provider().into());
        draft.status.version = Some(info.version);
        draft.status.capabilities = info.capabilities.iter().map(|c| c.as_str().to_owned()).collect();
        Ok(message)
    }

    fn handled(status: &mut GroupwareBackendStatus, wish: Option<String>) {
        status.last_handled_reconcile_at = wish;
    }
}

/// Of a version, or without a function, that this release cannot work with: nothing that is declared would change that.
fn cannot_be_used(error: &BackendError) -> NotReady {
    let BackendError::Unsupported(what) = error else { return NotReady::backend("the server", error) };
    let help = "Use a version of it that this release of mailtenant knows, or a release that knows this version.";
    NotReady::stalled(Reason::Unsupported, format!("the server cannot be used: {what}. {help}"))
}

/// Tables and views that could not be brought up to date hold nothing up: what needs them is a missing capability.
fn schema(conditions: &mut Conditions, behind: Option<&BackendError>) {
    let (good, reason, message) = match behind {
        None => (true, Reason::Succeeded, "tables and views are those of this release".to_owned()),
        Some(error) => {
            let NotReady { reason, message, .. } = NotReady::backend("the database is not up to date", error);
            (false, reason, format!("{message} Until then capabilities are missing."))
        }
    };
    conditions.set(ConditionType::SchemaUpToDate, good, reason, message);
}

impl Lifecycle for GroupwareBackend {
    async fn up(ctx: &Ctx, _: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
        let concurrency = (draft.object.spec.limits.concurrency.max(1) as usize).min(MOST_OF_ONE);
        ctx.queue.set_limits(&lane::groupware(&draft.object.name_any()), Some(lane::groupware_limits(concurrency)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_nobody_knows_is_named_with_a_step_that_helps() {
        let refused = cannot_be_used(&BackendError::Unsupported("PostgreSQL 99.1 is not known".into()));
        assert_eq!((refused.reason, refused.stalled), (Reason::Unsupported, true));
        assert!(
            refused.message.contains("PostgreSQL 99.1") && refused.message.contains("Use a version"),
            "{refused:?}"
        );
        assert_eq!(cannot_be_used(&BackendError::unavailable("x")).reason, Reason::BackendUnreachable);
    }
}
