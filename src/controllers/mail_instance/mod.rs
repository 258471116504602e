//! The life of a MailInstance: the tenant at the backend, its numbers, what it misses (I12). It leaves after its domains.

use super::connections::Groupware;
use super::ctx::{
    Ctx, Pass, Step, Stop, annotation, orphan, paused, settle, uid, with_finalizer, without_finalizer, write_status,
};
use super::edges::put;
use super::hold::{Hold, MISSING};
use super::observed::Since;
use super::world::{Kind, ObjectId, bytes};
use super::{deletion, family, mass_loss};
use aws_lc_rs::digest::{SHA256, digest};
use kube::ResourceExt;
use kube::api::ListParams;
use mailtenant_api::mail_instance::{InstanceUsage, MassLossState};
use mailtenant_api::*;
use mailtenant_groupware::{BackendError, Left, Made, Owner, TenantRow, TenantWant};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;
use std::time::Duration;

/// One pass.
pub async fn pass(ctx: &Ctx, key: &NamespacedName) -> Next {
    let id = ObjectId::new(Kind::MailInstance, key.clone());
    let Some(instance) = ctx.world().instances.get(key) else { return Next::Settled };
    let result = if instance.metadata.deletion_timestamp.is_some() {
        cleanup(ctx, instance).await
    } else if ctx.world().namespace_leaves(&key.namespace) {
        return Next::Settled;
    } else {
        reconcile(ctx, &id, instance).await
    };
    settle(ctx, result, &id).await
}

/// What a pass that came through has to tell.
struct Done {
    tenant: TenantRow,
    made: Made,
    mass_loss: Option<MassLossState>,
    used: u64,
    hold: Option<Hold>,
    /// What differs, where nothing is written.
    drift: Vec<String>,
    /// Whether what was given fits what was booked, if that was judged.
    within: Option<Result<(), Hold>>,
}

/// `WithinLimits`, if this pass judged it; what an earlier one said stays.
fn within_limits(conditions: &mut Conditions, within: Option<Result<(), Hold>>) {
    match within {
        Some(Ok(())) => {
            conditions.set(
                ConditionType::WithinLimits,
                true,
                Reason::Succeeded,
                "what is declared fits what was booked",
            );
        }
        Some(Err(hold)) => conditions.set(ConditionType::WithinLimits, false, hold.reason, hold.message),
        None => {}
    }
}

async fn reconcile(ctx: &Ctx, id: &ObjectId, instance: Arc<MailInstance>) -> Pass {
    let api = ctx.api::<MailInstance>(&id.key.namespace);
    let instance = with_finalizer(ctx, &api, instance, put::instance).await?;
    let outcome = match steps(ctx, id, &instance).await {
        Ok(done) => Ok(done),
        Err(Stop::Hold(hold)) => Err(hold),
        Err(Stop::Kubernetes(error)) => return Err(error),
    };
    let old = instance.status.clone().unwrap_or_default();
    let generation = instance.metadata.generation.unwrap_or_default();
    let mut conditions = Conditions::new(&old.conditions, generation, ctx.clock.now());
    conditions.remove(ConditionType::DeletionBlocked);
    let mut status = MailInstanceStatus {
        observed_generation: Some(generation),
        last_handled_reconcile_at: annotation(instance.as_ref(), annotations::RECONCILE),
        ..old.clone()
    };
    let hold = match outcome {
        Ok(done) => {
            if done.made == Made::Adopted {
                ctx.event(
                    instance.as_ref(),
                    false,
                    "Adopted",
                    format!("tenant {} was at the backend and is taken over", done.tenant.id),
                );
            }
            status.ownership = Some(if done.tenant.adopted { Ownership::Adopted } else { Ownership::Created });
            status.usage = Some(usage(ctx, &instance, done.used));
            status.instance_id = Some(done.tenant.id);
            status.mass_loss = done.mass_loss;
            if done.mass_loss != Some(MassLossState::Held) {
                // Handled: while nothing is held, a value is spent as it stands.
                status.accepted_mass_loss = annotation(instance.as_ref(), annotations::ACCEPT_MASS_LOSS);
            }
            status.drift = done.drift;
            within_limits(&mut conditions, done.within);
            done.hold
        }
        Err(hold) => {
            if hold.reason == Reason::MassLossHeld {
                status.mass_loss = Some(MassLossState::Held);
            }
            if hold.reason == Reason::Drifted {
                status.drift = vec![MISSING.into()];
            }
            Some(hold)
        }
    };
    let next = match &hold {
        Some(hold) => {
            super::tell_hold(ctx, instance.as_ref(), &old.conditions, hold);
            hold.tell(&mut conditions);
            match hold.next {
                // The tenant is looked at all the same, and what is refused may be mended at the server.
                Next::Settled => Next::After(ctx.random.around(resync(ctx, &instance), 20)),
                next => next,
            }
        }
        None if status.mass_loss == Some(MassLossState::Accepted) => {
            conditions.ready("the tenant is as declared; mailboxes that were lost are being made again");
            Next::After(Duration::from_secs(30))
        }
        None => {
            conditions.ready("the tenant is as declared");
            let every = resync(ctx, &instance);
            Next::After(ctx.random.around(every, 20))
        }
    };
    status.conditions = conditions.into_vec();
    write_status(ctx, &api, instance.as_ref(), status, put::instance).await?;
    Ok(next)
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
pub fn ids(instance: &MailInstance) -> Vec<String> {
    let hash = digest(&SHA256, format!("mailtenant instance {}", uid(instance)).as_bytes());
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let name: String = instance.name_any().chars().take(40).collect();
    [4, 8, 16, 32].iter().map(|n| format!("{name}-{}", &hex[..*n])).collect()
}

fn usage(ctx: &Ctx, instance: &MailInstance, used: u64) -> InstanceUsage {
    let world = ctx.world();
    let key = NamespacedName::of(instance);
    let tally = world.tally(&key);
    let default = instance.spec.default_mailbox_quota.as_ref().map_or(0, bytes);
    let booked = bytes(&instance.spec.storage);
    let step = (booked / 100).max(1 << 20);
    InstanceUsage {
        domains: world.index.domains_by_instance.count(&key) as i64,
        mailboxes: tally.mailboxes as i64,
        aliases: tally.aliases as i64,
        storage_allocated: Some(Quantity::from_bytes(
            tally.declared.saturating_add(default.saturating_mul(tally.without_quota)),
        )),
        storage_used: Some(Quantity::from_bytes((used / step * step) >> 20 << 20)),
    }
}

async fn steps(ctx: &Ctx, id: &ObjectId, instance: &Arc<MailInstance>) -> Step<Done> {
    if paused(instance.as_ref()) {
        return Err(family::paused_itself().into());
    }
    let family = family::instance(&ctx.world(), &id.key, false)?;
    super::groupware_backend::usable(&family.backend)?;
    let server = ctx.connections.groupware(ctx, &instance.spec.backend_ref.name).await?;
    let failed = |e: BackendError| {
        ctx.trouble(&server, &e);
        Hold::backend(&server.label(), &e)
    };
    let have = server.server.tenant(&uid(instance.as_ref())).await.map_err(failed)?;
    let tally = ctx.world().tally(&id.key);
    let booked = bytes(&instance.spec.storage);
    // Lowered below what mailboxes were given: what they have stays theirs until their quotas are lowered.
    let short = instance.spec.storage_policy == mail_instance::StoragePolicy::Allocate && tally.granted > booked;
    let storage = if short { tally.granted } else { booked };
    let short = short.then(|| {
        Hold::stalled(
            Reason::QuotaExceeded,
            format!(
                "mailboxes were given {}, more than spec.storage {}: lower their quotas first, or raise spec.storage",
                Quantity::from_bytes(tally.granted).0,
                instance.spec.storage.0
            ),
        )
    });
    let within = Some(short.clone().map_or(Ok(()), Err));
    let capabilities = family.backend.status.clone().unwrap_or_default().capabilities;
    let can_share = can_share(instance, &capabilities, &server.label());
    if instance.spec.management_policy == ManagementPolicy::Observe {
        let tenant = have.ok_or_else(|| {
            let text = "nothing is written (managementPolicy: Observe), and the backend has no such tenant";
            Hold::waiting(Reason::Drifted, text)
        })?;
        // What is declared, not what would be written while mailboxes still have more.
        let drift = differences(&tenant, booked, instance.spec.address_book);
        let hold = Hold::drifted(&drift).or(can_share.err());
        let used = tenant.used;
        return Ok(Done { tenant, made: Made::Unchanged, mass_loss: None, used, hold, drift, within });
    }
    let mass_loss = judge(ctx, &server, &family, have.is_none()).await?;
    if mass_loss == Some(MassLossState::Held) && have.is_none() {
        return Err(mass_loss::hold(&id.key.name, None).into());
    }
    can_share?;
    let want = TenantWant {
        owner: Owner { uid: uid(instance.as_ref()), adopt: instance.spec.adoption_policy == AdoptionPolicy::IfUnowned },
        origin: id.key.to_string(),
        ids: ids(instance),
        storage,
        address_book: instance.spec.address_book,
    };
    let same = have.as_ref().is_some_and(|t| differences(t, storage, want.address_book).is_empty());
    let (tenant, made) = match have {
        // While a loss is held nothing is written: it was read before the others, and may be gone with them by now.
        Some(tenant) if same || mass_loss == Some(MassLossState::Held) => (tenant, Made::Unchanged),
        _ => server.server.ensure_tenant(&want).await.map_err(failed)?,
    };
    let held = (mass_loss == Some(MassLossState::Held)).then(|| mass_loss::hold(&id.key.name, None));
    let hold = held.or(short);
    let used = tenant.used;
    Ok(Done { tenant, made, mass_loss, used, hold, drift: vec![], within })
}

/// What a tenant at the backend has otherwise than declared, by the names of the fields.
fn differences(tenant: &TenantRow, storage: u64, address_book: mail_instance::AddressBook) -> Vec<String> {
    let all = [
        ("active", tenant.active),
        ("storage", tenant.storage == storage),
        ("addressBook", tenant.address_book == address_book),
    ];
    all.into_iter().filter(|(_, same)| !same).map(|(name, _)| name.to_owned()).collect()
}

/// Storage is shared only where the server itself keeps mailboxes within it.
fn can_share(instance: &MailInstance, capabilities: &[String], label: &str) -> Result<(), Hold> {
    let bounded = capabilities.iter().any(|c| c == mailtenant_groupware::Capability::TenantStorage.as_str());
    if instance.spec.storage_policy != mail_instance::StoragePolicy::Share || bounded {
        return Ok(());
    }
    let text = format!("storagePolicy: Share is not supported with {label}: use Allocate");
    Err(Hold::stalled(Reason::Unsupported, text))
}

/// Where the instance stands with what it misses: looked at when something of it is known to be missing.
async fn judge(
    ctx: &Ctx,
    server: &Groupware,
    family: &family::Instance,
    tenant_missing: bool,
) -> Step<Option<MassLossState>> {
    let status = family.object.status.clone().unwrap_or_default();
    let made_once = !deletion::never_made(status.ownership);
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
    let accepted = status.mass_loss.is_some() && mass_loss::accepted(&family.object);
    Ok(Some(if accepted { MassLossState::Accepted } else { MassLossState::Held }))
}

async fn cleanup(ctx: &Ctx, instance: Arc<MailInstance>) -> Pass {
    if !instance.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Next::Settled);
    }
    let api = ctx.api::<MailInstance>(&instance.namespace().unwrap_or_default());
    match way_out(ctx, &instance).await {
        Ok(Cleanup::Done) => {
            without_finalizer(ctx, &api, instance.as_ref(), put::instance).await?;
            Ok(Next::Settled)
        }
        Ok(Cleanup::Waiting(hold)) | Err(Stop::Hold(hold)) => {
            let old = instance.status.clone().unwrap_or_default();
            super::tell_hold(ctx, instance.as_ref(), &old.conditions, &hold);
            let conditions = deletion::conditions(instance.as_ref(), &old.conditions, &hold, ctx.clock.now());
            // Those below ask it, instead of the server each for itself.
            let mass_loss = judge_while_waiting(ctx, &instance).await?;
            let status = MailInstanceStatus {
                observed_generation: instance.metadata.generation,
                last_handled_reconcile_at: annotation(instance.as_ref(), annotations::RECONCILE),
                conditions,
                mass_loss,
                ..old
            };
            write_status(ctx, &api, instance.as_ref(), status, put::instance).await?;
            Ok(match (mass_loss, hold.next) {
                // What is missing may come back.
                (Some(_), Next::Settled) => Next::After(ctx.random.around(resync(ctx, &instance), 20)),
                (_, next) => next,
            })
        }
        Err(Stop::Kubernetes(error)) => Err(error),
    }
}

/// [`judge`] of an instance that waits to go; what was known stays where the server cannot be asked.
async fn judge_while_waiting(ctx: &Ctx, instance: &MailInstance) -> Result<Option<MassLossState>, kube::Error> {
    let old = instance.status.as_ref().and_then(|s| s.mass_loss);
    let family = family::instance(&ctx.world(), &NamespacedName::of(instance), true);
    let Ok(family) = family else { return Ok(old) };
    if super::groupware_backend::usable(&family.backend).is_err() {
        return Ok(old);
    }
    let judged = async {
        let server = ctx.connections.groupware(ctx, &instance.spec.backend_ref.name).await?;
        judge(ctx, &server, &family, false).await
    };
    match judged.await {
        Ok(state) => Ok(state),
        Err(Stop::Hold(_)) => Ok(old),
        Err(Stop::Kubernetes(error)) => Err(error),
    }
}

async fn way_out(ctx: &Ctx, instance: &MailInstance) -> Step<Cleanup<Hold>> {
    let key = NamespacedName::of(instance);
    let names: Vec<String> = {
        let world = ctx.world();
        world.index.domains_by_instance.of(&key).map(|k| k.name.clone()).collect()
    };
    // Also of one that is orphaned: its children need it to find what they have to take down.
    if !names.is_empty() {
        return Ok(Cleanup::Waiting(deletion::blocked(Reason::HasDomains, "MailDomain", &names)));
    }
    if orphan(instance) {
        ctx.event(instance, true, "Orphaned", "the backend was not asked: what is there stays there");
        return Ok(Cleanup::Done);
    }
    // The store may lag: a live list has the last word before anything is taken down.
    let params = ListParams::default().fields(&format!("spec.instanceRef.name={}", key.name)).limit(6);
    let live = ctx.api::<MailDomain>(&key.namespace).list_metadata(&params).await?;
    if !live.items.is_empty() {
        let names: Vec<String> = live.items.iter().map(|d| d.name_any()).collect();
        let hold = deletion::blocked(Reason::HasDomains, "MailDomain", &names);
        return Ok(Cleanup::Waiting(Hold { next: Next::Retry, ..hold }));
    }
    if paused(instance) {
        return Ok(Cleanup::Waiting(family::paused_itself()));
    }
    let observed = instance.spec.management_policy == ManagementPolicy::Observe;
    if observed && !deletion::never_made(instance.status.as_ref().and_then(|s| s.ownership)) {
        return Ok(deletion::observed());
    }
    if instance.status.as_ref().and_then(|s| s.mass_loss) == Some(MassLossState::Held) && !mass_loss::accepted(instance)
    {
        return Ok(Cleanup::Waiting(deletion::with_way_out(mass_loss::hold(&key.name, None))));
    }
    let backend = match family::backend(&ctx.world(), instance, true) {
        Ok(backend) => backend,
        // No backend, and nothing was ever made.
        Err(_) if instance.status.as_ref().is_none_or(|s| deletion::never_made(s.ownership)) => {
            return Ok(Cleanup::Done);
        }
        Err(hold) => return Ok(Cleanup::Waiting(deletion::with_way_out(hold))),
    };
    super::groupware_backend::usable(&backend).map_err(deletion::with_way_out)?;
    let server = ctx.connections.groupware(ctx, &instance.spec.backend_ref.name).await?;
    if observed {
        // The status after a creation can have been lost, and nobody would come back for the tenant (I2).
        let there = server.server.tenant(&uid(instance)).await;
        let there = there.map_err(|e| deletion::with_way_out(Hold::backend(&server.label(), &e)))?;
        return Ok(if there.is_some() { deletion::observed() } else { Cleanup::Done });
    }
    match server.server.remove_tenant(&uid(instance)).await {
        Ok(Left::Kept(n)) => {
            ctx.event(
                instance,
                false,
                "Retained",
                format!("{n} retained objects stay at the backend, switched off, with their tenant"),
            );
            Ok(Cleanup::Done)
        }
        Ok(Left::Used(n)) => {
            let note = format!("the tenant stays as it is at the backend: {n} domains in it are in use by others");
            ctx.event(instance, false, "Retained", note);
            Ok(Cleanup::Done)
        }
        Ok(Left::Gone) | Err(BackendError::NotFound(_) | BackendError::Exists { .. }) => Ok(Cleanup::Done),
        Err(error) => {
            ctx.trouble(&server, &error);
            Ok(Cleanup::Waiting(deletion::with_way_out(Hold::backend(&server.label(), &error))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_limits_is_said_of_what_was_judged() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let said = |old: &[Condition], within| {
            let mut conditions = Conditions::new(old, 1, now);
            within_limits(&mut conditions, within);
            conditions.into_vec()
        };
        let short = Hold::stalled(Reason::QuotaExceeded, "too little");
        assert_eq!(said(&[], None), [], "nothing was judged, nothing is said");
        let short = said(&[], Some(Err(short)));
        assert_eq!((short[0].status.as_str(), short[0].reason.as_str()), ("False", "QuotaExceeded"));
        assert_eq!(said(&short, None), short, "a server that is away makes no room");
        assert_eq!(said(&short, Some(Ok(())))[0].status, "True");
    }

    #[test]
    fn what_differs_of_a_tenant_is_named() {
        let tenant = |storage, active, address_book| TenantRow {
            id: "acme-1".into(),
            owner: None,
            adopted: false,
            storage,
            used: 0,
            active,
            address_book,
        };
        use mail_instance::AddressBook::{Instance, None as Nobody};
        assert!(differences(&tenant(5, true, Instance), 5, Instance).is_empty());
        assert_eq!(differences(&tenant(6, false, Nobody), 5, Instance), ["active", "storage", "addressBook"]);
        assert_eq!(
            differences(&tenant(0, true, Instance), 5, Instance),
            ["storage"],
            "no bound is not what was booked"
        );
    }

    #[test]
    fn storage_is_shared_only_where_the_server_bounds_it() {
        use crate::fixtures::{EVERYTHING, domain};
        let all: Vec<String> = EVERYTHING.iter().map(|c| (*c).to_owned()).collect();
        let less: Vec<String> = all.iter().filter(|c| *c != "TenantStorage").cloned().collect();
        let ask = |policy: &str, capabilities: &[String]| {
            let instance = domain(serde_json::json!({"storagePolicy": policy})).instance.object;
            can_share(&instance, capabilities, "GroupwareBackend b")
        };
        assert_eq!([ask("Share", &all), ask("Allocate", &all), ask("Allocate", &less)], [Ok(()), Ok(()), Ok(())]);
        let hold = ask("Share", &less).unwrap_err();
        assert_eq!((hold.reason, hold.stalled, hold.next), (Reason::Unsupported, true, Next::Settled));
        assert!(["storagePolicy: Share", "GroupwareBackend b"].iter().all(|w| hold.message.contains(w)), "{hold:?}");
    }
}
