//! The life of a MailDomain. `plan` (pure) says what comes next; the pass learns it (`gather`), does it (`apply`), puts what
//! the plan notes into the status (`status`), and asks again. MX comes last and leaves first (`cleanup`).

pub mod acceptance;
pub mod apply;
pub mod by_hand;
pub mod checkup;
pub mod cleanup;
pub mod facts;
pub mod former_policy;
pub mod gate;
pub mod gather;
pub mod health;
pub mod journal;
pub mod keys;
pub mod leave_policy;
pub mod lookups;
pub mod move_mx;
pub mod mta_sts;
pub mod observe;
pub mod parents;
pub mod plan;
pub mod records;
pub mod stamps;
pub mod status;
pub mod steps;
pub mod watch;
pub mod written;
pub mod zone;
pub mod zone_file;

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::pass::above::Above;
use crate::pass::deletion;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::give_up;
use crate::pass::lifecycle::{Lifecycle, Reached};
use crate::pass::live;
use crate::rules::ignored_fields;
use crate::rules::undeclared;
use crate::state::blocked::Side;
use crate::state::kind::ObjectId;
use crate::state::parents::instance as parents_of;
use crate::state::wakeups::Wakeups;
use crate::state::world::World;
use gather::Pass;
use kube::Api;
use mailtenant_api::*;
use mailtenant_mail::merge;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::queue::Priority;
use mailtenant_runtime::store::NamespacedName;
use std::time::Duration;
use steps::Planned;

impl WithStatus for MailDomain {
    fn api(ctx: &Ctx, namespace: &str) -> Api<Self> {
        ctx.api(namespace)
    }
}

impl Lifecycle for MailDomain {
    async fn up(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
        let key = id.key.sibling(&draft.object.spec.instance_ref.name);
        let backend = parents_of(&ctx.world(), &key, false).map(|instance| instance.backend);
        let fields = ignored_fields::of_domain(&draft.object, backend.ok().as_deref());
        ignored_fields::event(ctx, draft.object.as_ref(), &draft.before, &fields, ignored_fields::NO_WELL_KNOWN);
        ignored_fields::report(&mut draft.conditions, &fields, ignored_fields::NO_WELL_KNOWN);
        let done = steps(ctx, id, draft).await;
        if !matches!(done, Err(Stop::Kubernetes(_))) {
            undeclared::report(ctx, draft).await?;
        }
        let message = done?;
        let next = Next::After(ctx.until_resync(id).unwrap_or_default().max(Duration::from_secs(1)));
        Ok(Reached { message: Some(message), not_ready: None, next })
    }

    fn next(ctx: &Ctx, id: &ObjectId, draft: &Draft<Self>, next: Next) -> Next {
        let step = mta_sts::pause(draft.object.status.as_ref(), &draft.status, ctx.earliest_now());
        let next = match next {
            Next::After(left) if step.is_some_and(|step| step < left) => Next::After(step.unwrap_or(left)),
            // The regular look goes on while somebody else is waited for.
            Next::Settled => ctx.until_resync(id).map_or(Next::Settled, |left| Next::After(left.max(PATIENCE))),
            next => next,
        };
        // A regular look may be a day away.
        match (ctx.checkups.until(id), next) {
            (Some(checkup), Next::After(left)) => Next::After(left.min(checkup.max(PATIENCE))),
            (Some(checkup), Next::Settled) => Next::After(checkup.max(PATIENCE)),
            (_, next) => next,
        }
    }

    fn above(world: &World, object: &Self) -> Above {
        Above::in_instance(world, &NamespacedName::of(object).sibling(&object.spec.instance_ref.name))
    }

    fn given_up(ctx: &Ctx, object: &Self, side: Side) {
        // Nobody takes its MX out any more: those in it wait for that no longer.
        if side == Side::Dns {
            let children = ctx.world().children_of_domain(&NamespacedName::of(object));
            let mut wakes = Wakeups::default();
            wakes.add(children, Priority::Normal);
            ctx.wake(wakes);
        }
    }

    async fn nothing_made(ctx: &Ctx, draft: &mut Draft<Self>) -> Step<Option<Cleanup<NotReady>>> {
        cleanup::nothing_made(ctx, draft).await
    }

    fn leads_here(draft: &Draft<Self>) -> bool {
        draft.journal().iter().any(merge::leads_here)
    }

    async fn withdraw_first(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> Step<()> {
        if cleanup::observes(draft, above) {
            return Ok(());
        }
        // It is the first call that changes something elsewhere: what was acknowledged before counts.
        if draft.journal().iter().any(merge::is_our_mx) && !live::is_as_judged(ctx, draft, above).await? {
            return Err(live::changed().into());
        }
        cleanup::withdraw_mx(ctx, draft, above).await.map_err(deletion::stop_with_way_out)
    }

    async fn needed_by(ctx: &Ctx, draft: &Draft<Self>, _: &Above) -> Step<Option<NotReady>> {
        Ok(cleanup::children(ctx, &NamespacedName::of(draft.object.as_ref())).await?)
    }

    async fn observed(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> Step<Option<Cleanup<NotReady>>> {
        cleanup::observed(ctx, draft, above).await
    }

    async fn draining(ctx: &Ctx, draft: &Draft<Self>, above: &Above) -> Step<Option<NotReady>> {
        if cleanup::observes(draft, above) {
            // Nothing is written for it, so mail is taken as before.
            return Ok(None);
        }
        let domain = MailDomain { status: Some(draft.status.clone()), ..draft.object.as_ref().clone() };
        let given_up = orphan(&domain) && ctx.blocked.is_given_up(&uid(&domain), Side::Dns);
        Ok(deletion::draining(&domain, false, given_up, ctx.earliest_now()))
    }

    async fn remove(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above, server: &Groupware) -> Step<Cleanup<NotReady>> {
        match above.instance() {
            Some(instance) => cleanup::remove(ctx, draft, instance, server).await,
            None => Ok(Cleanup::Done),
        }
    }

    async fn switch_off(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> Step<String> {
        match give_up::reached(ctx, above).await? {
            Ok(server) => cleanup::switch_off(ctx, draft, &server).await,
            Err(why) => Ok(why),
        }
    }

    async fn withdraw_rest(ctx: &Ctx, draft: &mut Draft<Self>, mx_given_up: bool) -> Step<()> {
        cleanup::withdraw_rest(ctx, draft, mx_given_up).await.map_err(deletion::stop_with_way_out)
    }

    async fn give_back(ctx: &Ctx, draft: &mut Draft<Self>) -> Step<()> {
        cleanup::give_back(ctx, draft).await
    }
}

/// Shortest pause before a domain that waits for somebody else is looked at again by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Steps of one pass. A whole life takes about 30, and one more for each key that goes.
const STEPS: usize = 200;

/// Goes on until the domain is as declared or cannot go on; the message of `Ready=True`. Its health is judged either way.
async fn steps(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<MailDomain>) -> Step<String> {
    let mut pass = Pass::new(ctx, id, draft);
    let done = walk(&mut pass).await;
    if !matches!(done, Err(Stop::Kubernetes(_))) {
        checkup::report(&mut pass).await;
    }
    done
}

async fn walk(pass: &mut Pass<'_>) -> Step<String> {
    for _ in 0..STEPS {
        let Planned { notes, next } = pass.plan();
        notes.into_iter().for_each(|note| pass.p.note(note));
        let (done, condition) = match next {
            steps::Next::Learn(what) => (gather::learn(pass, what).await, what.condition()),
            steps::Next::Do(action) => {
                let condition = action.condition();
                (apply::act(pass, action).await, condition)
            }
            steps::Next::Wait(not_ready, condition) => (Err(not_ready.into()), condition),
            steps::Next::Ready(message) => return Ok(message),
        };
        if let Err(stop) = done {
            if let Stop::NotReady(not_ready) = &stop {
                pass.p.refuse(condition, not_ready);
                gather::mx_by_hand_meanwhile(pass).await;
            }
            return Err(stop);
        }
    }
    let text = "a pass took more steps than it may: please report it";
    Err(NotReady::retry(Reason::InternalError, text).into())
}
