//! The life of a Mailbox: `gather` what is known, `plan` what is to be done (pure), do it (`secret`, then the server),
//! tell it (`status`); and the way out (`cleanup`).

pub mod cleanup;
pub mod gather;
pub mod plan;
pub mod secret;
pub mod status;

use super::ctx::{Ctx, Pass, Step, Stop, annotation, paused, settle, uid, with_finalizer, write_status};
use super::edges::put;
use super::world::{Kind, ObjectId};
use super::{family, mass_loss};
use mailtenant_api::*;
use mailtenant_groupware::{Made, MailboxRow, MailboxWant, Owner, PasswordWant};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// One pass.
pub async fn pass(ctx: &Ctx, key: &NamespacedName) -> Next {
    let id = ObjectId::new(Kind::Mailbox, key.clone());
    let Some(mailbox) = ctx.world().mailboxes.get(key) else { return Next::Settled };
    let result = if mailbox.metadata.deletion_timestamp.is_some() {
        cleanup::run(ctx, mailbox).await
    } else if ctx.world().namespace_leaves(&key.namespace) {
        return Next::Settled;
    } else {
        reconcile(ctx, &id, mailbox).await
    };
    settle(ctx, result, &id).await
}

async fn reconcile(ctx: &Ctx, id: &ObjectId, mailbox: Arc<Mailbox>) -> Pass {
    let api = ctx.api::<Mailbox>(&id.key.namespace);
    let mailbox = with_finalizer(ctx, &api, mailbox, put::mailbox).await?;
    let outcome = match steps(ctx, id, &mailbox).await {
        Ok(done) => Ok(done),
        Err(Stop::Hold(hold)) => Err(hold),
        Err(Stop::Kubernetes(error)) => return Err(error),
    };
    let next = match &outcome {
        Ok(done) => done.hold.as_ref().map_or(Next::Settled, |h| h.next),
        Err(hold) => hold.next,
    };
    status::tell(ctx, &mailbox, &outcome);
    let status = status::status(&mailbox, outcome, ctx.clock.now());
    write_status(ctx, &api, mailbox.as_ref(), status, put::mailbox).await?;
    Ok(next)
}

/// What a pass that came through has to tell.
#[derive(Debug)]
pub struct Done {
    /// The mailbox as read back, if the server has it.
    pub row: Option<MailboxRow>,
    /// How it came to be so; none if nothing was asked for.
    pub made: Option<Made>,
    /// The value of the annotation `rotate-password` that is handled.
    pub rotated: Option<String>,
    /// A password was handed over, so that a change is no drift.
    pub handed_over: bool,
    /// What differs, where nothing may be written.
    pub drift: Vec<String>,
    /// Address and access data.
    pub address: String,
    /// How to reach the services.
    pub settings: ClientSettings,
    /// All that can be was done, and still it is not as declared.
    pub hold: Option<super::hold::Hold>,
    /// What stands against its number or quota.
    pub short: Option<super::hold::Hold>,
}

async fn steps(ctx: &Ctx, id: &ObjectId, mailbox: &Mailbox) -> Step<Done> {
    if paused(mailbox) {
        return Err(family::paused_itself().into());
    }
    let gather::Gathered { facts: seen, server } = gather::gather(ctx, id, mailbox).await?;
    let plan = plan::plan(mailbox, &seen)?;
    if plan.observe {
        return Ok(Done {
            drift: plan.drift,
            row: seen.row,
            made: None,
            rotated: None,
            handed_over: false,
            address: seen.address,
            settings: seen.settings,
            hold: plan.hold,
            short: plan.short,
        });
    }
    if let Some(first) = super::said_first(mailbox, mailbox.status.as_ref().map(|s| &s.conditions), plan.hold.as_ref())
    {
        return Err(first.into());
    }
    if plan.recreates {
        mass_loss::allow(ctx, &server, &seen.domain.instance).await?;
        status::tell_recreated(ctx, mailbox, &seen.address);
    } else if seen.row.is_none() {
        mass_loss::not_held(&seen.domain.instance)?;
    }
    let (password, mut lacking) = match secret::carry_out(ctx, mailbox, &seen, &plan).await {
        Ok(password) => (password, None),
        // One that is there goes on with the password it has; what else was declared does not wait for a Secret.
        Err(Stop::Hold(hold)) if plan.there => (PasswordWant::Keep, Some(hold)),
        Err(stop) => return Err(stop),
    };
    let mut handed_over = !matches!(password, PasswordWant::Keep);
    let settled = plan.settled && !handed_over;
    let (row, made) = if settled {
        (seen.row, None)
    } else {
        let mut want = MailboxWant {
            owner: Owner { uid: uid(mailbox), adopt: mailbox.spec.adoption_policy == AdoptionPolicy::IfUnowned },
            tenant: seen.tenant.clone(),
            address: seen.address.clone(),
            former: plan.former,
            settings: plan.settings,
            password,
        };
        let ensured = match ensure(ctx, &server, &seen.domain, &want).await {
            // A hash that the server cannot take is no reason either.
            Err(Stop::Hold(hold)) if plan.there && handed_over && hold.reason == Reason::BackendRejected => {
                (want.password, handed_over, lacking) = (PasswordWant::Keep, false, Some(hold));
                ensure(ctx, &server, &seen.domain, &want).await
            }
            ensured => ensured,
        };
        let (row, made) = ensured?;
        (Some(row), Some(made))
    };
    let rotated = annotation(mailbox, annotations::ROTATE_PASSWORD)
        .filter(|_| plan.source == plan::Source::Generated && lacking.is_none())
        .filter(|_| seen.credentials != secret::SecretSeen::Foreign);
    Ok(Done {
        row,
        made,
        rotated,
        handed_over,
        drift: vec![],
        address: seen.address,
        settings: seen.settings,
        hold: plan.hold.or(lacking),
        short: plan.short,
    })
}

async fn ensure(
    ctx: &Ctx,
    server: &super::connections::Groupware,
    domain: &family::Domain,
    want: &MailboxWant,
) -> Step<(MailboxRow, Made)> {
    match server.server.ensure_mailbox(want).await {
        Ok((row, made)) => {
            let copy = row.clone();
            ctx.observed
                .update(&server.uid, &domain.name, |s| drop(s.mailboxes.insert(copy.address.clone(), copy)))
                .await;
            Ok((row, made))
        }
        Err(error) => {
            ctx.trouble(server, &error);
            gather::look_again(ctx, server, (&domain.name, &want.address), &want.owner.uid, &error).await;
            Err(gather::refused(ctx, &want.address, server, &error).into())
        }
    }
}
