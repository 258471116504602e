//! The life of a MailAlias: `gather` what is known, `plan` what is to be done (pure), do it, tell it (`status`); and the
//! way out (`cleanup`).

pub mod cleanup;
pub mod gather;
pub mod plan;
pub mod status;
pub mod watch;

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::kinds::mailbox;
use crate::not_ready::NotReady;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::in_domain::InDomain;
use crate::pass::lifecycle::Reached;
use crate::pass::report::report_first;
use crate::rules::{entitlement, mass_loss, recovery};
use crate::state::derived::{owner, owner_uid};
use crate::state::kind::ObjectId;
use crate::state::parents::{self, Domain, Place};
use kube::Api;
use mailtenant_api::*;
use mailtenant_groupware::{Address, Adopt, AliasRow, AliasWant, DomainName, DomainSnapshot, Made};
use mailtenant_runtime::finalizer::Cleanup;

impl WithStatus for MailAlias {
    fn api(ctx: &Ctx, namespace: &str) -> Api<Self> {
        ctx.api(namespace)
    }
}

impl InDomain for MailAlias {
    fn domain_ref(&self) -> &LocalRef {
        &self.spec.domain_ref
    }

    fn last_address(&self) -> Option<&str> {
        self.status.as_ref()?.address.as_deref()
    }

    fn management_policy(&self) -> ManagementPolicy {
        self.spec.management_policy
    }

    fn is_among(&self, rows: &DomainSnapshot, domain: &DomainName) -> bool {
        rows.alias_is_of(&gather::address(self, domain), &owner_uid(self))
    }

    async fn up(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
        let done = steps(ctx, id, draft).await?;
        status::events(ctx, draft, &done);
        Ok(status::fill(draft, done))
    }

    async fn remove(ctx: &Ctx, draft: &Draft<Self>, place: &Place, server: &Groupware) -> Step<Cleanup<NotReady>> {
        cleanup::remove(ctx, draft, place, server).await
    }

    async fn switch_off(ctx: &Ctx, draft: &Draft<Self>, place: &Place, server: &Groupware) -> String {
        cleanup::switch_off(ctx, draft, place, server).await
    }
}

/// What a pass that came through has to tell.
#[derive(Debug)]
pub struct Done {
    /// The alias as read back, if the server has it.
    pub row: Option<AliasRow>,
    /// How it came to be so; none if nothing was asked for.
    pub made: Option<Made>,
    /// What differs, where nothing may be written.
    pub drift: Vec<String>,
    /// Its address, or that of the catch-all.
    pub address: Address,
    /// All that can be was done, and still it is not as declared.
    pub not_ready: Option<NotReady>,
    /// Fields that have no effect.
    pub ignored: Vec<&'static str>,
    /// The server's name for messages.
    pub label: String,
}

async fn steps(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<MailAlias>) -> Step<Done> {
    let object = draft.object.clone();
    let alias = object.as_ref();
    if paused(alias) {
        return Err(parents::paused_itself().into());
    }
    let gather::Gathered { facts: seen, server } = gather::gather(ctx, id, alias).await?;
    // It was looked at, whatever comes of that: who is refused again and again must not have the domain read each time (I5).
    draft.status.last_handled_reconcile_at = annotation(alias, annotations::RECONCILE);
    let plan = plan::plan(alias, &seen)?;
    let (address, label) = (seen.address, seen.label);
    let ignored = crate::rules::ignored_fields::of_alias(alias, &seen.capabilities);
    if plan.observe || plan.settled {
        return Ok(Done {
            row: seen.row,
            made: None,
            drift: plan.drift,
            address,
            not_ready: plan.not_ready,
            ignored,
            label,
        });
    }
    let old = alias.status.as_ref().map_or(&[][..], |s| &s.conditions);
    if let Some(first) = report_first(alias, old, plan.not_ready.as_ref()) {
        return Err(first.into());
    }
    if plan.recreates {
        mass_loss::allow(ctx, &server, &seen.domain.instance).await?;
    } else if seen.row.is_none() {
        mass_loss::not_held(&seen.domain.instance)?;
    }
    let want = AliasWant {
        owner: owner(ctx.world().cluster(), alias, alias.spec.adoption_policy),
        tenant: seen.tenant.clone(),
        holders: seen.domain.holders(),
        address: address.clone(),
        settings: plan.settings,
    };
    let (row, made) = ensure(ctx, &server, alias, &seen.domain, want).await?;
    Ok(Done { row: Some(row), made: Some(made), drift: vec![], address, not_ready: plan.not_ready, ignored, label })
}

/// The server has it. What a predecessor had, or nobody, is taken over where that may be.
async fn ensure(
    ctx: &Ctx,
    server: &Groupware,
    alias: &MailAlias,
    domain: &Domain,
    mut want: AliasWant,
) -> Step<(AliasRow, Made)> {
    let mut answer = server.server.ensure_alias(&want).await;
    if let Err(error) = &answer
        && let Some(uid) = recovery::replaced(ctx, server, alias, error).await?
    {
        want.owner.replaces = Some(uid);
        answer = server.server.ensure_alias(&want).await;
    }
    let entitled = match &answer {
        Err(error) => entitlement::adopts(ctx, server, &domain.object, alias.spec.adoption_policy, error).await,
        Ok(_) => Ok(false),
    };
    if matches!(entitled, Ok(true)) {
        want.owner.adopt = Adopt::All;
        answer = server.server.ensure_alias(&want).await;
    }
    match answer {
        Ok((row, made)) => {
            let copy = row.clone();
            let put = |s: &mut DomainSnapshot| drop(s.aliases.insert(copy.address.clone(), copy));
            ctx.snapshots.update(&server.uid, &domain.name, put).await;
            Ok((row, made))
        }
        Err(error) => {
            ctx.backend_failed(server, &error);
            mailbox::gather::look_again(ctx, server, (&domain.name, &want.address), &want.owner.uid, &error).await;
            entitled?;
            Err(mailbox::gather::refused(ctx, alias, &want.address, server, &error).await?.into())
        }
    }
}
