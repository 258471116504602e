//! The life of a MailInstance: the tenant at the backend, its numbers, what it misses (I12). It leaves after its domains.

pub mod cleanup;
pub mod plan;
pub mod status;
pub mod watch;

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::{MISSING, NotReady};
use crate::pass::above::Above;
use crate::pass::deletion;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::give_up;
use crate::pass::lifecycle::{Lifecycle, Reached, report_blocked};
use crate::rules::backend_ready;
use crate::rules::loss;
use crate::rules::mass_loss;
use crate::rules::recovery;
use crate::state::derived::{capabilities, origin, owner, owner_uid};
use crate::state::kind::ObjectId;
use crate::state::parents;
use crate::state::snapshots::Since;
use crate::state::world::World;
use aws_lc_rs::digest::{SHA256, digest};
use kube::Api;
use kube::ResourceExt;
use mailtenant_api::mail_instance::MassLossState;
use mailtenant_api::*;
use mailtenant_groupware::{BackendError, Made, TenantId, TenantRow, TenantWant};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use plan::{Action, Facts};
use std::sync::Arc;
use std::time::Duration;

impl WithStatus for MailInstance {
    fn api(ctx: &Ctx, namespace: &str) -> Api<Self> {
        ctx.api(namespace)
    }
}

impl Lifecycle for MailInstance {
    async fn up(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
        let object = draft.object.clone();
        draft.status.last_handled_reconcile_at = annotation(object.as_ref(), annotations::RECONCILE);
        let done = steps(ctx, id, &object).await?;
        Ok(status::fill(ctx, draft, done))
    }

    fn stopped(draft: &mut Draft<Self>, not_ready: &NotReady) {
        if not_ready.reason == Reason::MassLossHeld {
            draft.status.mass_loss = Some(MassLossState::Held);
        }
        if not_ready.reason == Reason::Drifted {
            draft.status.drift = vec![MISSING.into()];
        }
    }

    fn next(ctx: &Ctx, _: &ObjectId, draft: &Draft<Self>, next: Next) -> Next {
        match next {
            // The tenant is looked at all the same, and what is refused may be mended at the server.
            Next::Settled => Next::After(ctx.random.around(resync(ctx, &draft.object), 20)),
            next => next,
        }
    }

    fn above(world: &World, object: &Self) -> Above {
        Above::in_instance(world, &NamespacedName::of(object))
    }

    async fn needed_by(ctx: &Ctx, draft: &Draft<Self>, _: &Above) -> Step<Option<NotReady>> {
        Ok(cleanup::domains(ctx, &draft.object).await?)
    }

    async fn observed(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> Step<Option<Cleanup<NotReady>>> {
        cleanup::observed(ctx, draft, above).await
    }

    fn without_parents(draft: &Draft<Self>, not_ready: NotReady) -> Cleanup<NotReady> {
        // No backend, and nothing was ever made.
        if never_made(draft.status.ownership) {
            Cleanup::Done
        } else {
            Cleanup::Waiting(deletion::with_way_out(not_ready))
        }
    }

    async fn remove(ctx: &Ctx, draft: &mut Draft<Self>, _: &Above, server: &Groupware) -> Step<Cleanup<NotReady>> {
        cleanup::remove(ctx, draft, server).await
    }

    async fn switch_off(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> Step<String> {
        Ok(match give_up::reached(ctx, above).await? {
            Ok(server) => cleanup::switch_off(draft, &server).await,
            Err(why) => why,
        })
    }

    async fn waiting(
        ctx: &Ctx,
        _: &ObjectId,
        draft: &mut Draft<Self>,
        not_ready: &NotReady,
    ) -> Result<Next, kube::Error> {
        report_blocked(draft, not_ready);
        draft.status.last_handled_reconcile_at = annotation(draft.object.as_ref(), annotations::RECONCILE);
        // Those below ask it, instead of the server each for itself.
        draft.status.mass_loss = judge_while_waiting(ctx, &draft.object).await?;
        Ok(match (draft.status.mass_loss, not_ready.next) {
            // What is missing may come back.
            (Some(_), Next::Settled) => Next::After(ctx.random.around(resync(ctx, &draft.object), 20)),
            (_, next) => next,
        })
    }
}

/// What a pass that came through has to tell.
pub struct Done {
    tenant: TenantRow,
    made: Made,
    mass_loss: Option<MassLossState>,
    used: u64,
    not_ready: Option<NotReady>,
    /// What differs, where nothing is written.
    drift: Vec<String>,
    /// Whether what was given fits what was booked, if that was judged.
    within: Option<Result<(), NotReady>>,
}

fn resync(ctx: &Ctx, instance: &MailInstance) -> Duration {
    let world = ctx.world();
    let backend = world.groupware.get(&NamespacedName::new("", &instance.spec.backend_ref.name));
    backend.map_or(Duration::from_secs(900), |b| interval(&b.spec.resync.interval))
}

/// A duration as the API writes it: `15m`. What CEL lets through is readable.
pub fn interval(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        _ => 3600,
    };
    number.parse().map_or(Duration::from_secs(900), |n: u64| Duration::from_secs(n.max(1).saturating_mul(factor)))
}

/// Ids in order of preference: a name that a person can say, longer where that is taken. From the uid, so that the same
/// instance asks for the same ids at any time.
pub fn ids(instance: &MailInstance) -> Vec<TenantId> {
    let hash = digest(&SHA256, format!("mailtenant instance {}", uid(instance)).as_bytes());
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let name: String = instance.name_any().chars().take(40).collect();
    [4, 8, 16, 32].iter().map(|n| TenantId::new(format!("{name}-{}", &hex[..*n]))).collect()
}

async fn steps(ctx: &Ctx, id: &ObjectId, instance: &Arc<MailInstance>) -> Step<Done> {
    if paused(instance.as_ref()) {
        return Err(parents::paused_itself().into());
    }
    let known = parents::instance(&ctx.world(), &id.key, false)?;
    backend_ready::groupware(&known.backend)?;
    let server = ctx.groupware(&instance.spec.backend_ref.name).await?;
    let seen = gather(ctx, &known, &server).await?;
    let plan = plan::plan(instance, &seen)?;
    let (tenant, made) = match plan.action {
        Action::Keep(tenant) => (tenant, Made::Unchanged),
        Action::Ensure { storage } => {
            let mut want = TenantWant {
                owner: owner(ctx.world().cluster(), instance.as_ref(), instance.spec.adoption_policy),
                ids: ids(instance),
                storage,
                address_book: instance.spec.address_book,
                redirects: plan::redirects(instance),
            };
            let mut done = server.server.ensure_tenant(&want).await;
            if let Err(error) = &done
                && let Some(uid) = recovery::replaced(ctx, &server, instance.as_ref(), error).await?
            {
                want.owner.replaces = Some(uid);
                done = server.server.ensure_tenant(&want).await;
            }
            done.map_err(|e| failed(ctx, &server, &e))?
        }
    };
    let (used, mass_loss) = (tenant.used, seen.mass_loss);
    let within = Some(plan.within);
    Ok(Done { tenant, made, mass_loss, used, not_ready: plan.not_ready, drift: plan.drift, within })
}

fn failed(ctx: &Ctx, server: &Groupware, error: &BackendError) -> NotReady {
    ctx.backend_failed(server, error);
    NotReady::backend(&server.label(), error)
}

async fn gather(ctx: &Ctx, known: &parents::Instance, server: &Groupware) -> Step<Facts> {
    let tenant = server.server.tenant(&owner_uid(known.object.as_ref())).await.map_err(|e| failed(ctx, server, &e))?;
    let observe = known.object.spec.management_policy == ManagementPolicy::Observe;
    let mass_loss = if observe { None } else { judge(ctx, server, known, tenant.is_none()).await? };
    let place = origin(ctx.world().cluster(), known.object.as_ref());
    Ok(Facts {
        noted: tenant.as_ref().is_some_and(|t| t.origin.as_ref() == Some(&place)),
        tenant,
        granted: ctx.world().tally(&known.key).granted,
        capabilities: capabilities(&known.backend),
        label: server.label(),
        mass_loss,
    })
}

/// Where the instance stands with what it misses: looked at when something of it is known to be missing.
async fn judge(
    ctx: &Ctx,
    server: &Groupware,
    family: &parents::Instance,
    tenant_missing: bool,
) -> Step<Option<MassLossState>> {
    let status = family.object.status.clone().unwrap_or_default();
    let made_once = !never_made(status.ownership);
    let suspect = status.mass_loss.is_some()
        || (tenant_missing && made_once)
        || ctx.suspects_loss(&uid(family.object.as_ref())).await;
    if !suspect {
        return Ok(None);
    }
    // The regular reads of its domains are as good, unless a person asks.
    let asked = annotation(family.object.as_ref(), annotations::RECONCILE);
    let asks = asked.is_some() && asked != status.last_handled_reconcile_at;
    let fresh = asks || status.mass_loss.is_none();
    let age = interval(&family.backend.spec.resync.interval).mul_f64(1.25);
    let since = if fresh { Since::now() } else { Since::within(age) };
    let loss = mass_loss::count(ctx, server, &family.key, since).await?;
    // With nothing missing any more there is nothing to suspect.
    ctx.counted_loss(&uid(family.object.as_ref()), loss).await;
    if !loss.large(&family.backend.spec.mass_loss) {
        return Ok(None);
    }
    let accepted = status.mass_loss.is_some() && loss::accepted(&family.object);
    Ok(Some(if accepted { MassLossState::Accepted } else { MassLossState::Held }))
}

/// [`judge`] of an instance that waits to go; what was known stays where the server cannot be asked.
async fn judge_while_waiting(ctx: &Ctx, instance: &MailInstance) -> Result<Option<MassLossState>, kube::Error> {
    let old = instance.status.as_ref().and_then(|s| s.mass_loss);
    let family = parents::instance(&ctx.world(), &NamespacedName::of(instance), true);
    let Ok(family) = family else { return Ok(old) };
    if backend_ready::groupware(&family.backend).is_err() {
        return Ok(old);
    }
    let judged = async {
        let server = ctx.groupware(&instance.spec.backend_ref.name).await?;
        judge(ctx, &server, &family, false).await
    };
    match judged.await {
        Ok(state) => Ok(state),
        Err(Stop::NotReady(_)) => Ok(old),
        Err(Stop::Kubernetes(error)) => Err(error),
    }
}
