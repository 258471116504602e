//! The life of a MailAlias: `gather` what is known, `plan` what is to be done (pure), do it, tell it (`status`); and the
//! way out (`cleanup`).

pub mod cleanup;
pub mod gather;
pub mod plan;
pub mod status;

use super::ctx::{Ctx, Pass, Step, Stop, paused, settle, uid, with_finalizer, write_status};
use super::edges::put;
use super::world::{Kind, ObjectId};
use super::{family, mailbox, mass_loss};
use mailtenant_api::*;
use mailtenant_groupware::{AliasRow, AliasWant, Made, Owner};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// One pass.
pub async fn pass(ctx: &Ctx, key: &NamespacedName) -> Next {
    let id = ObjectId::new(Kind::MailAlias, key.clone());
    let Some(alias) = ctx.world().aliases.get(key) else { return Next::Settled };
    let result = if alias.metadata.deletion_timestamp.is_some() {
        cleanup::run(ctx, alias).await
    } else if ctx.world().namespace_leaves(&key.namespace) {
        return Next::Settled;
    } else {
        reconcile(ctx, &id, alias).await
    };
    settle(ctx, result, &id).await
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
    /// Full address.
    pub address: String,
    /// All that can be was done, and still it is not as declared.
    pub hold: Option<super::hold::Hold>,
    /// Fields that have no effect.
    pub ignored: Vec<&'static str>,
    /// The server's name for messages.
    pub label: String,
}

async fn reconcile(ctx: &Ctx, id: &ObjectId, alias: Arc<MailAlias>) -> Pass {
    let api = ctx.api::<MailAlias>(&id.key.namespace);
    let alias = with_finalizer(ctx, &api, alias, put::alias).await?;
    let outcome = match steps(ctx, id, &alias).await {
        Ok(done) => Ok(done),
        Err(Stop::Hold(hold)) => Err(hold),
        Err(Stop::Kubernetes(error)) => return Err(error),
    };
    let next = match &outcome {
        Ok(done) => done.hold.as_ref().map_or(Next::Settled, |h| h.next),
        Err(hold) => hold.next,
    };
    status::tell(ctx, &alias, &outcome);
    let status = status::status(&alias, outcome, ctx.clock.now());
    write_status(ctx, &api, alias.as_ref(), status, put::alias).await?;
    Ok(next)
}

async fn steps(ctx: &Ctx, id: &ObjectId, alias: &MailAlias) -> Step<Done> {
    if paused(alias) {
        return Err(family::paused_itself().into());
    }
    let gather::Gathered { facts: seen, server } = gather::gather(ctx, id, alias).await?;
    let plan = plan::plan(alias, &seen)?;
    let (address, label) = (seen.address, seen.label);
    let ignored = super::ignored::of_alias(alias, &seen.capabilities);
    if plan.observe || plan.settled {
        return Ok(Done { row: seen.row, made: None, drift: plan.drift, address, hold: plan.hold, ignored, label });
    }
    if let Some(first) = super::said_first(alias, alias.status.as_ref().map(|s| &s.conditions), plan.hold.as_ref()) {
        return Err(first.into());
    }
    if plan.recreates {
        mass_loss::allow(ctx, &server, &seen.domain.instance).await?;
    } else if seen.row.is_none() {
        mass_loss::not_held(&seen.domain.instance)?;
    }
    let want = AliasWant {
        owner: Owner { uid: uid(alias), adopt: alias.spec.adoption_policy == AdoptionPolicy::IfUnowned },
        tenant: seen.tenant.clone(),
        address: address.clone(),
        settings: plan.settings,
    };
    match server.server.ensure_alias(&want).await {
        Ok((row, made)) => {
            let copy = row.clone();
            let put = |s: &mut mailtenant_groupware::DomainSnapshot| drop(s.aliases.insert(copy.address.clone(), copy));
            ctx.observed.update(&server.uid, &seen.domain.name, put).await;
            Ok(Done { row: Some(row), made: Some(made), drift: vec![], address, hold: plan.hold, ignored, label })
        }
        Err(error) => {
            ctx.trouble(&server, &error);
            let place = (seen.domain.name.as_str(), address.as_str());
            mailbox::gather::look_again(ctx, &server, place, &uid(alias), &error).await;
            Err(mailbox::gather::refused(ctx, &address, &server, &error).into())
        }
    }
}
