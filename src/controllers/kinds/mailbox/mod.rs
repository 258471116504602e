//! The life of a Mailbox: `gather` what is known, `plan` what is to be done (pure), do it (`secret`, then the server),
//! tell it (`status`); and the way out (`cleanup`).

pub mod cleanup;
pub mod facts;
pub mod forwards;
pub mod gather;
pub mod plan;
pub mod secret;
mod secret_text;
pub mod status;
pub mod watch;

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::in_domain::InDomain;
use crate::pass::lifecycle::Reached;
use crate::pass::report::report_first;
use crate::rules::{entitlement, mass_loss};
use crate::state::derived::{owner, owner_uid};
use crate::state::kind::ObjectId;
use crate::state::parents::{self, Domain, Place};
use crate::state::snapshots::Since;
use crate::state::world::World;
use kube::Api;
use mailtenant_api::*;
use mailtenant_groupware::{
    Address, Adopt, DomainName, DomainSnapshot, Made, MailboxRow, MailboxWant, Owner, PasswordWant,
};
use mailtenant_runtime::finalizer::Cleanup;
use plan::{Ensure, Observation, Plan, RowPlan};

impl WithStatus for Mailbox {
    fn api(ctx: &Ctx, namespace: &str) -> Api<Self> {
        ctx.api(namespace)
    }
}

impl InDomain for Mailbox {
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
        rows.mailbox_is_of(&cleanup::address(self, domain), &owner_uid(self))
    }

    async fn up(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
        let done = steps(ctx, id, draft).await?;
        if done.row.is_some() {
            ctx.is_back(id);
        }
        status::events(ctx, draft, &done);
        Ok(status::fill(draft, done))
    }

    fn stopped(draft: &mut Draft<Self>, not_ready: &NotReady) {
        status::within_quota(&mut draft.conditions, Some(not_ready));
    }

    fn needed_by(world: &World, object: &Self, place: &Place) -> Option<NotReady> {
        cleanup::referring_aliases(world, object, place)
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
    /// The mailbox as read back, if the server has it.
    pub row: Option<MailboxRow>,
    /// How it came to be so; none if nothing was asked for.
    pub made: Option<Made>,
    /// The value of the annotation `rotate-password` that is handled.
    pub rotated: Option<String>,
    /// A password was handed over, so that a change is no drift.
    pub handed_over: bool,
    /// A password that nobody asked for was made, and replaces the one that the mailbox had.
    pub replaced: bool,
    /// The mailbox was taken over with a password that no Secret has.
    pub password_unknown: bool,
    /// Whose the addresses are that are forwarded to; none: not looked at.
    pub forwards_to: Option<Vec<mailbox::ForwardTarget>>,
    /// What differs, where nothing may be written.
    pub drift: Vec<String>,
    pub address: Address,
    /// How to reach the services.
    pub settings: ClientSettings,
    /// All that can be was done, and still it is not as declared.
    pub not_ready: Option<NotReady>,
    /// What stands against its number or quota.
    pub short: Option<NotReady>,
}

impl Done {
    /// Of a mailbox that is only looked at.
    fn observed(seen: facts::Facts, plan: Observation) -> Self {
        Done {
            drift: plan.drift,
            row: seen.row,
            made: None,
            rotated: None,
            handed_over: false,
            replaced: false,
            password_unknown: false,
            forwards_to: None,
            address: seen.address,
            settings: seen.settings,
            not_ready: plan.not_ready,
            short: plan.short,
        }
    }
}

async fn steps(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Mailbox>) -> Step<Done> {
    let object = draft.object.clone();
    let mailbox = object.as_ref();
    if paused(mailbox) {
        return Err(parents::paused_itself().into());
    }
    let gather::Gathered { facts: seen, server } = gather::gather(ctx, id, mailbox).await?;
    // It was looked at, whatever comes of that: who is refused again and again must not have the domain read each time (I5).
    draft.status.last_handled_reconcile_at = annotation(mailbox, annotations::RECONCILE);
    let plan = match plan::plan(mailbox, &seen)? {
        Plan::Observe(plan) => return Ok(Done::observed(seen, plan)),
        Plan::Ensure(plan) => plan,
    };
    if let Some(first) = report_first(mailbox, old_conditions(mailbox), plan.not_ready.as_ref()) {
        return Err(first.into());
    }
    match &plan.row {
        RowPlan::Lost { .. } => {
            mass_loss::allow(ctx, &server, &seen.domain.instance).await?;
            // That may have read the rows anew: of a mailbox that came back the password must not change.
            let back = |rows: &DomainSnapshot| rows.mailboxes.contains_key(&seen.address);
            let back = ctx.rows(&server, &seen.domain.key, &seen.domain.name, Since::Ever, back).await;
            if back.map_err(|e| NotReady::backend(&server.label(), &e))? {
                let text = format!("{} is at the backend again: it is looked at anew", seen.address);
                return Err(NotReady::retry(Reason::Progressing, text).into());
            }
            // Once a loss: the server may refuse for good, and each try would say it again.
            if ctx.tell_lost(id, uid(mailbox)) {
                status::recreated_event(ctx, mailbox, &seen.address);
            }
        }
        RowPlan::New => mass_loss::not_held(&seen.domain.instance)?,
        RowPlan::Ours { .. } | RowPlan::Other | RowPlan::Predecessor(_) => {}
    }
    apply(ctx, mailbox, &server, seen, *plan).await
}

/// Carries a plan out: the Secret first, then the server.
async fn apply(ctx: &Ctx, mailbox: &Mailbox, server: &Groupware, seen: facts::Facts, plan: Ensure) -> Step<Done> {
    let (password, lacking) = match secret::carry_out(ctx, mailbox, &seen, &plan).await {
        Ok(password) => (password, None),
        // One that is there goes on with the password it has; what else was declared does not wait for a Secret.
        Err(Stop::NotReady(not_ready)) if plan.is_there() => (PasswordWant::Keep, Some(not_ready)),
        Err(stop) => return Err(stop),
    };
    let handed_over = !matches!(password, PasswordWant::Keep);
    let replaces = plan.replaces(&password);
    let settled = plan.row == (RowPlan::Ours { settled: true });
    let ensured = match settled && !handed_over {
        true => Ensured { row: seen.row.clone(), made: None, handed_over, refused: None },
        false => write(ctx, mailbox, server, &seen, &plan, password).await?,
    };
    let lacking = lacking.or(ensured.refused);
    let rotated = annotation(mailbox, annotations::ROTATE_PASSWORD)
        .filter(|_| plan.source == facts::Source::Generated && lacking.is_none())
        .filter(|_| !matches!(seen.credentials, facts::SecretSeen::Foreign | facts::SecretSeen::Predecessor))
        .filter(|_| !plan.secret.is_without_password());
    Ok(Done {
        row: ensured.row,
        made: ensured.made,
        rotated,
        replaced: replaces && ensured.handed_over,
        password_unknown: plan.secret.is_without_password(),
        handed_over: ensured.handed_over,
        forwards_to: Some(forwards::targets(mailbox, &seen)),
        drift: vec![],
        address: seen.address,
        settings: seen.settings,
        not_ready: plan.not_ready.or(lacking),
        short: plan.short,
    })
}

/// What the server made of a plan.
struct Ensured {
    row: Option<MailboxRow>,
    made: Option<Made>,
    handed_over: bool,
    /// Why the password was not taken, of a mailbox that is there all the same.
    refused: Option<NotReady>,
}

async fn write(
    ctx: &Ctx,
    mailbox: &Mailbox,
    server: &Groupware,
    seen: &facts::Facts,
    plan: &Ensure,
    password: PasswordWant,
) -> Step<Ensured> {
    let handed_over = !matches!(password, PasswordWant::Keep);
    let mut want = MailboxWant {
        owner: Owner {
            replaces: match &plan.row {
                RowPlan::Predecessor(uid) => Some(uid.clone()),
                _ => None,
            },
            ..owner(ctx.world().cluster(), mailbox, mailbox.spec.adoption_policy)
        },
        tenant: seen.tenant.clone(),
        holders: seen.domain.holders(),
        address: seen.address.clone(),
        former: match &plan.row {
            RowPlan::Lost { former } => former.clone(),
            _ => None,
        },
        settings: plan.settings.clone(),
        password,
    };
    let made_anew = matches!(want.password, PasswordWant::Plain { generated: true, .. });
    if want.owner.replaces.is_some() && (made_anew || plan.secret == plan::SecretAction::Rotate) {
        // What is taken over keeps its password. A new one that was asked for is for the mailbox that is ours then.
        let kept = MailboxWant { password: PasswordWant::Keep, ..want.clone() };
        ensure(ctx, mailbox, server, &seen.domain, &kept).await?;
        want.owner.replaces = None;
    }
    match ensure(ctx, mailbox, server, &seen.domain, &want).await {
        Ok((row, made)) => Ok(Ensured { row: Some(row), made: Some(made), handed_over, refused: None }),
        // A hash that the server cannot take is no reason to leave the rest undone.
        Err(Stop::NotReady(not_ready))
            if plan.is_there() && handed_over && not_ready.reason == Reason::BackendRejected =>
        {
            want.password = PasswordWant::Keep;
            let (row, made) = ensure(ctx, mailbox, server, &seen.domain, &want).await?;
            Ok(Ensured { row: Some(row), made: Some(made), handed_over: false, refused: Some(not_ready) })
        }
        Err(stop) => Err(stop),
    }
}

fn old_conditions(mailbox: &Mailbox) -> &[Condition] {
    mailbox.status.as_ref().map_or(&[], |s| &s.conditions)
}

async fn ensure(
    ctx: &Ctx,
    mailbox: &Mailbox,
    server: &crate::connections::Groupware,
    domain: &Domain,
    want: &MailboxWant,
) -> Step<(MailboxRow, Made)> {
    let mut answer = server.server.ensure_mailbox(want).await;
    let entitled = match &answer {
        Err(error) => entitlement::adopts(ctx, server, &domain.object, mailbox.spec.adoption_policy, error).await,
        Ok(_) => Ok(false),
    };
    if matches!(entitled, Ok(true)) {
        let owner = Owner { adopt: Adopt::All, ..want.owner.clone() };
        answer = server.server.ensure_mailbox(&MailboxWant { owner, ..want.clone() }).await;
    }
    match answer {
        Ok((row, made)) => {
            let copy = row.clone();
            ctx.snapshots
                .update(&server.uid, &domain.name, |s| drop(s.mailboxes.insert(copy.address.clone(), copy)))
                .await;
            Ok((row, made))
        }
        Err(error) => {
            ctx.backend_failed(server, &error);
            gather::look_again(ctx, server, (&domain.name, &want.address), &want.owner.uid, &error).await;
            entitled?;
            Err(gather::refused(ctx, mailbox, &want.address, server, &error).await?.into())
        }
    }
}
