//! The life of a MailDomain, one stage after the other: parents, claim, provisioning at the backend, signing keys,
//! records (`publish`), cut-over (`cutover`). A stage that cannot go on says why; what earlier stages found stays in the
//! status. MX comes last and leaves first (`cleanup`).

pub mod cleanup;
pub mod cutover;
pub mod journal;
pub mod keys;
pub mod publish;
pub mod status;
pub mod watch;

use crate::connections::{Dns, Groupware};
use crate::ctx::{Ctx, Step, Stop};
use crate::kinds::mail_domain_claim::{self as claim, Holder};
use crate::not_ready::{MISSING, NotReady};
use crate::pass::above::Above;
use crate::pass::deletion;
use crate::pass::draft::{Draft, WithStatus};
use crate::pass::lifecycle::{Lifecycle, Reached};
use crate::rules::backend_ready;
use crate::rules::ignored_fields;
use crate::rules::mass_loss;
use crate::state::kind::ObjectId;
use crate::state::limits::{self, Verdict};
use crate::state::parents;
use crate::state::snapshots::Since;
use crate::state::world::World;
use kube::Api;
use mailtenant_api::mail_domain::{Challenge, DnsMode, DomainState};
use mailtenant_api::*;
use mailtenant_groupware::{BackendError, DomainWant, Made, Owner};
use mailtenant_mail::{name, records};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use status::Progress;

impl WithStatus for MailDomain {
    fn api(ctx: &Ctx, namespace: &str) -> Api<Self> {
        ctx.api(namespace)
    }
}

impl Lifecycle for MailDomain {
    async fn up(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
        let fields = ignored_fields::of_domain(&draft.object);
        ignored_fields::event(ctx, draft.object.as_ref(), &draft.before, &fields, ignored_fields::RELEASE);
        ignored_fields::report(&mut draft.conditions, &fields, ignored_fields::RELEASE);
        let message = stages(ctx, id, draft).await?;
        let next = Next::After(ctx.until_resync(id).unwrap_or_default().max(std::time::Duration::from_secs(1)));
        Ok(Reached { message: Some(message), not_ready: None, next })
    }

    fn next(ctx: &Ctx, id: &ObjectId, _: &Draft<Self>, next: Next) -> Next {
        match next {
            // The regular look goes on while somebody else is waited for.
            Next::Settled => ctx.until_resync(id).map_or(Next::Settled, |left| Next::After(left.max(PATIENCE))),
            next => next,
        }
    }

    fn above(world: &World, object: &Self) -> Above {
        Above::in_instance(world, &NamespacedName::of(object).sibling(&object.spec.instance_ref.name))
    }

    async fn orphaned(ctx: &Ctx, draft: &mut Draft<Self>) -> Step<Cleanup<NotReady>> {
        cleanup::orphaned(ctx, draft).await
    }

    async fn nothing_made(ctx: &Ctx, draft: &mut Draft<Self>) -> Step<Option<Cleanup<NotReady>>> {
        cleanup::nothing_made(ctx, draft).await
    }

    async fn withdraw_first(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> Step<()> {
        if cleanup::observes(draft, above) {
            return Ok(());
        }
        cleanup::withdraw_mx(ctx, draft).await.map_err(deletion::stop_with_way_out)
    }

    async fn needed_by(ctx: &Ctx, draft: &Draft<Self>, _: &Above) -> Step<Option<NotReady>> {
        Ok(cleanup::children(ctx, &NamespacedName::of(draft.object.as_ref())).await?)
    }

    async fn observed(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> Step<Option<Cleanup<NotReady>>> {
        cleanup::observed(ctx, draft, above).await
    }

    async fn draining(ctx: &Ctx, draft: &Draft<Self>, _: &Above) -> Step<Option<NotReady>> {
        let domain = MailDomain { status: Some(draft.status.clone()), ..draft.object.as_ref().clone() };
        Ok(deletion::draining(&domain, false, ctx.clock.now()))
    }

    async fn remove(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above, server: &Groupware) -> Step<Cleanup<NotReady>> {
        match above.instance() {
            Some(instance) => cleanup::remove(ctx, draft, instance, server).await,
            None => Ok(Cleanup::Done),
        }
    }
}

/// Shortest pause before a domain that waits for somebody else is looked at again by itself.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The parents of a domain, checked.
pub struct Parents {
    /// A-label.
    pub name: String,
    /// The instance.
    pub instance: parents::Instance,
    /// Id of the tenant.
    pub tenant: String,
    /// The groupware server.
    pub server: Groupware,
    /// The DNS server.
    pub dns: Dns,
    /// The zone that holds the name.
    pub zone: String,
}

async fn stages(ctx: &Ctx, id: &ObjectId, p: &mut Progress) -> Step<String> {
    look(ctx, id, p).await?;
    if paused(p.object.as_ref()) {
        return Err(parents::paused_itself().into());
    }
    let parents = parents(ctx, id, p).await?;
    if observes(p.object.as_ref(), &parents.instance.object) {
        return observe(ctx, id, p, &parents).await;
    }
    p.status.drift.clear();
    let held = holder(ctx, &parents.name) == p.object.metadata.uid;
    verify(ctx, p, &parents).await?;
    // What is known of the rows may be from whoever held the name before.
    provision(ctx, id, p, &parents, Since::now_if(!held)).await?;
    let selectors = keys::ensure(ctx, id, p, &parents).await?;
    publish::all_but_mx(ctx, p, &parents, &selectors).await?;
    keys::sign(ctx, id, p, &parents, &selectors).await?;
    let said = cutover::run(ctx, id, p, &parents, &selectors).await?;
    keys::clear(ctx, p, &parents, &selectors).await?;
    Ok(said)
}

fn observes(domain: &MailDomain, instance: &MailInstance) -> bool {
    [domain.spec.management_policy, instance.spec.management_policy].contains(&ManagementPolicy::Observe)
}

/// Uid of the MailDomain that holds a name.
fn holder(ctx: &Ctx, name: &str) -> Option<String> {
    ctx.world().claims.get(&NamespacedName::new("", name)).map(|c| c.spec.owner.uid.clone())
}

/// The regular look at what the server has of the domain. It comes before all that may stand in the domain's own way, its
/// DNS for one: nothing else watches its mailboxes.
async fn look(ctx: &Ctx, id: &ObjectId, p: &mut Progress) -> Step<()> {
    let domain = p.object.clone();
    let Ok(name) = name::mail_domain(&domain.spec.domain) else { return Ok(()) };
    let Ok(instance) = parents::instance(&ctx.world(), &id.key.sibling(&domain.spec.instance_ref.name), false) else {
        return Ok(());
    };
    if backend_ready::groupware(&instance.backend).is_err() {
        return Ok(());
    }
    let held = holder(ctx, &name);
    let asked = annotation(domain.as_ref(), annotations::RECONCILE);
    // Also of one that holds nothing: what it is refused for may be gone the next time.
    let due = ctx.resync_due(id, crate::kinds::mail_instance::interval(&instance.backend.spec.resync.interval));
    let asks = asked.is_some() && asked != p.status.last_handled_reconcile_at;
    let ours = held == domain.metadata.uid || (held.is_none() && observes(&domain, &instance.object));
    if ours && (due || asks) {
        let server = ctx.groupware(&instance.object.spec.backend_ref.name).await?;
        let there = ctx.rows(&server, &id.key, &name, Since::now(), |rows| rows.domain.is_some()).await;
        let there = there.map_err(|e| NotReady::backend(&server.label(), &e))?;
        if !there
            && conditions::is_true(&domain.status.clone().unwrap_or_default().conditions, ConditionType::Provisioned)
        {
            // Those in it wait for this pass to make it again, instead of asking the server each for itself.
            let text = format!("{} does not have {name} any more", server.label());
            p.conditions.set(ConditionType::Provisioned, false, Reason::Drifted, text);
        }
    }
    p.status.last_handled_reconcile_at = asked;
    Ok(())
}

/// Whether the DNS backend may be used for a name by a namespace.
fn dns_allowed(world: &World, backend: &DNSBackend, namespace: &str, domain: &str) -> Result<(), NotReady> {
    let label = backend.metadata.name.clone().unwrap_or_default();
    let labels = world.namespace_labels(namespace);
    let ask = "ask the platform team";
    if !backend.spec.allowed_namespaces.allows(namespace, &labels) {
        return Err(NotReady::stalled(
            Reason::BackendNotAllowed,
            format!(
                "DNSBackend {label} does not allow namespace {namespace}: {ask} to add it to spec.allowedNamespaces"
            ),
        ));
    }
    // The most specific zone decides.
    let covers = |zone: &&dns_backend::Zone| name::canonical(&zone.name).is_ok_and(|z| name::is_within(domain, &z));
    let length = |z: &&dns_backend::Zone| name::canonical(&z.name).map_or(0, |n| n.len());
    let zone = backend.spec.zones.iter().filter(covers).max_by_key(length);
    match zone {
        None => Err(NotReady::stalled(
            Reason::BackendNotAllowed,
            format!("{domain} is in no zone of DNSBackend {label}: {ask} to add its zone to spec.zones"),
        )),
        Some(z) if z.allowed_namespaces.as_ref().is_some_and(|a| !a.allows(namespace, &labels)) => {
            Err(NotReady::stalled(
                Reason::BackendNotAllowed,
                format!("zone {} of DNSBackend {label} does not allow namespace {namespace}: {ask}", z.name),
            ))
        }
        Some(_) => Ok(()),
    }
}

/// What the world says of the parents of a domain, checked.
struct Known {
    instance: parents::Instance,
    dns_name: String,
    dns_backend: std::sync::Arc<DNSBackend>,
}

fn known_parents(world: &World, id: &ObjectId, domain: &MailDomain, name: &str) -> Result<Known, NotReady> {
    let instance = parents::instance(world, &id.key.sibling(&domain.spec.instance_ref.name), false)?;
    if let Some(not_ready) = parents::paused_by(&instance.object) {
        return Err(not_ready);
    }
    if instance.object.metadata.deletion_timestamp.is_some() {
        let text = format!("MailInstance {} is being deleted: nothing new is made in it", instance.key.name);
        return Err(NotReady::waiting(Reason::InstanceNotReady, text));
    }
    if instance.id.is_none() {
        let text = format!("MailInstance {} is not ready yet: see its conditions", instance.key.name);
        return Err(NotReady::waiting(Reason::InstanceNotReady, text));
    }
    if let Verdict::Number { limit, .. } = limits::domain(world, &instance.object, id) {
        let text = format!(
            "MailInstance {} allows {limit} domains: raise spec.limits.domains, or delete one",
            instance.key.name
        );
        return Err(NotReady::stalled(Reason::LimitExceeded, text));
    }
    let dns_name = managed_by(domain)?;
    let dns_backend = world.dns.get(&NamespacedName::new("", &dns_name)).ok_or_else(|| {
        NotReady::waiting(
            Reason::BackendNotFound,
            format!("DNSBackend {dns_name} is not there: the platform team has to create it"),
        )
    })?;
    dns_allowed(world, &dns_backend, &id.key.namespace, name)?;
    backend_ready::groupware(&instance.backend)?;
    Ok(Known { instance, dns_name, dns_backend })
}

/// Name of the DNSBackend that a domain's records are written to.
fn managed_by(domain: &MailDomain) -> Result<String, NotReady> {
    match (domain.spec.dns.mode, &domain.spec.dns.backend_ref) {
        (DnsMode::Managed, Some(r)) => Ok(r.name.clone()),
        (DnsMode::Managed, None) => {
            Err(NotReady::stalled(Reason::InvalidSpec, "dns.mode: Managed needs dns.backendRef"))
        }
        (DnsMode::Manual, _) => {
            let text = "dns.mode: Manual is not supported yet: use Managed with a DNSBackend";
            Err(NotReady::stalled(Reason::Unsupported, text))
        }
    }
}

async fn parents(ctx: &Ctx, id: &ObjectId, p: &mut Progress) -> Step<Parents> {
    let domain = p.object.clone();
    let name = name::mail_domain(&domain.spec.domain)
        .map_err(|e| NotReady::stalled(Reason::InvalidSpec, format!("{}: {e}", domain.spec.domain)))?;
    p.status.backend_id = Some(name.clone());
    p.status.challenge = Some(Challenge {
        name: records::challenge_name(&name),
        type_: "TXT".into(),
        value: records::challenge_value(&uid(domain.as_ref()), &name),
    });
    p.status.state.get_or_insert(DomainState::Pending);
    let Known { instance, dns_name, dns_backend } = known_parents(&ctx.world(), id, &domain, &name)?;
    if domain.spec.alias_of.is_some() {
        return Err(
            NotReady::stalled(Reason::Unsupported, "aliasOf is not supported yet: take it out of the spec").into()
        );
    }
    // What was written is known to one server only: another one would be written to, and the first never cleaned.
    if let Some(old) = domain.status.as_ref().and_then(|s| s.dns.as_ref()).and_then(|d| d.backend.as_ref())
        && *old != dns_name
    {
        let text = format!(
            "the records of {name} are at DNSBackend {old}: set dns.backendRef back to it, and make a new MailDomain to move"
        );
        return Err(NotReady::stalled(Reason::InvalidSpec, text).into());
    }
    let server = ctx.groupware(&instance.object.spec.backend_ref.name).await?;
    backend_ready::dns(&dns_backend)?;
    let dns = ctx.dns(&dns_name).await?;
    let zone = dns.server.find_zone(&name).await.map_err(|e| match e {
        BackendError::NotFound(_) => {
            NotReady::retry(Reason::ZoneNotFound, format!("{} has no zone for {name}: create it there", dns.label()))
        }
        e => ctx.dns_failed(&dns, &e),
    })?;
    let tenant = instance.id.clone().unwrap_or_default();
    Ok(Parents { name, instance, tenant, server, dns, zone })
}

/// Whether the name was never ours: nothing was ever made of the domain, since `Verified` is written before.
pub fn never_verified(status: &MailDomainStatus) -> bool {
    matches!(status.state, None | Some(DomainState::Pending)) && never_made(status.ownership)
}

/// Proof, then claim (I9). A claim is held until the MailDomain goes; it is never looked past. `Verified` in the status says
/// that nobody held a name above or below once the claim was there, and is written before anything is provisioned: whoever
/// crashed in between looks again.
async fn verify(ctx: &Ctx, p: &mut Progress, parents: &Parents) -> Step<()> {
    let name = &parents.name;
    let own = uid(p.object.as_ref());
    let claimed = |what: &str| {
        NotReady::stalled(
            Reason::DomainClaimed,
            format!("{what} is held by another tenant of this cluster: ask the platform team if it should be yours"),
        )
    };
    let refused = |p: &mut Progress, not_ready: NotReady| {
        p.conditions.set(ConditionType::OwnershipVerified, false, not_ready.reason, not_ready.message.clone());
        Err(not_ready.into())
    };
    let before = !never_verified(&p.status);
    let mut held = holder(ctx, name);
    if before && held.as_deref() != Some(own.as_str()) {
        // The watch may be late: what is provisioned is not put at risk for that.
        held = claim::holder(ctx, name).await?;
    }
    if held.as_deref() != Some(own.as_str()) {
        // What was verified once may have left something: it is never `Pending` again.
        p.status.state = Some(if before { DomainState::Lost } else { DomainState::Pending });
        p.conditions.set(ConditionType::OwnershipVerified, false, Reason::OwnershipUnproven, "not proven yet");
        if held.is_some() {
            return refused(p, claimed(name));
        }
        let namespace = p.object.metadata.namespace.clone().unwrap_or_default();
        let relative = claim::relative_known(&ctx.world(), name, &namespace);
        if let Some(relative) = relative {
            return refused(p, claimed(&relative));
        }
        if parents.dns.object.spec.require_proof {
            proof(p, parents).await?;
        }
    }
    let verified = format!("{name} is claimed");
    if never_verified(&p.status) || p.status.state == Some(DomainState::Lost) {
        // Also where the watch says that it is ours: it may have been given back a moment ago, and the watch be late.
        if let Holder::Other(_) = claim::take(ctx, name, &p.object).await? {
            return refused(p, claimed(name));
        }
        let namespace = p.object.metadata.namespace.clone().unwrap_or_default();
        if let Some(relative) = claim::relative(ctx, name, &namespace).await? {
            claim::give_back(ctx, name, &own).await?;
            return refused(p, NotReady { next: Next::Retry, ..claimed(&relative) });
        }
        p.status.state = Some(DomainState::Verified);
        p.conditions.set(ConditionType::OwnershipVerified, true, Reason::Succeeded, verified);
        p.conditions.waiting(Reason::Progressing, "the name is ours, the domain is being made");
        return p.write_first(ctx).await;
    }
    p.conditions.set(ConditionType::OwnershipVerified, true, Reason::Succeeded, verified);
    Ok(())
}

async fn proof(p: &mut Progress, parents: &Parents) -> Step<()> {
    let name = records::challenge_name(&parents.name);
    let value = records::challenge_value(&uid(p.object.as_ref()), &parents.name);
    let seen = parents.dns.resolver.lookup(&name, mailtenant_dns::RecordType::TXT).await;
    let seen = seen.map_err(|e| NotReady::backend(&parents.dns.label(), &e))?;
    if seen.is_empty() || !seen.iter().all(|set| set.values.contains(&value)) {
        let text = format!("add the TXT record {name} with the value \"{value}\": then {} is yours", parents.name);
        p.conditions.set(ConditionType::OwnershipVerified, false, Reason::OwnershipUnproven, text.clone());
        return Err(NotReady::after(Reason::OwnershipUnproven, text, PROOF).into());
    }
    Ok(())
}

/// Pause between two looks for a proof.
const PROOF: std::time::Duration = std::time::Duration::from_secs(30);

async fn provision(ctx: &Ctx, id: &ObjectId, p: &mut Progress, parents: &Parents, since: Since) -> Step<()> {
    let server = &parents.server;
    let row = ctx
        .rows(server, &id.key, &parents.name, since, |rows| rows.domain.clone())
        .await
        .map_err(|e| NotReady::backend(&server.label(), &e))?;
    let own = uid(p.object.as_ref());
    let good = row.as_ref().is_some_and(|r| {
        r.owner.as_ref() == Some(&own) && r.active && r.tenant.as_ref() == Some(&parents.tenant) && r.alias_of.is_none()
    });
    let row = if good {
        row
    } else {
        p.conditions.set(ConditionType::Provisioned, false, Reason::Progressing, "being made at the backend");
        match row {
            None if never_made(p.status.ownership) => mass_loss::not_held(&parents.instance)?,
            None => mass_loss::allow(ctx, server, &parents.instance).await?,
            Some(_) => {}
        }
        let want = DomainWant {
            owner: Owner { uid: own, adopt: p.object.spec.adoption_policy == AdoptionPolicy::IfUnowned },
            name: parents.name.clone(),
            tenant: parents.tenant.clone(),
            alias_of: None,
        };
        match server.server.ensure_domain(&want).await {
            Ok((row, made)) => {
                if made == Made::Adopted {
                    let note = format!("{} was at the backend and is taken over", parents.name);
                    ctx.event(p.object.as_ref(), EventReason::Adopted, note);
                }
                let copy = row.clone();
                ctx.snapshots.update(&server.uid, &parents.name, |s| s.domain = Some(copy)).await;
                Some(row)
            }
            Err(error) => {
                ctx.backend_failed(server, &error);
                ctx.snapshots.stale(&server.uid, &parents.name).await;
                let not_ready = NotReady::backend(&server.label(), &error);
                p.conditions.set(ConditionType::Provisioned, false, not_ready.reason, not_ready.message.clone());
                return Err(not_ready.into());
            }
        }
    };
    let adopted = row.is_some_and(|r| r.adopted);
    p.status.ownership = Some(if adopted { Ownership::Adopted } else { Ownership::Created });
    p.conditions.set(ConditionType::Provisioned, true, Reason::Succeeded, "the backend takes mail for the domain");
    if matches!(p.status.state, Some(DomainState::Pending | DomainState::Verified)) {
        p.status.state = Some(DomainState::Provisioned);
    }
    Ok(())
}

async fn observe(ctx: &Ctx, id: &ObjectId, p: &mut Progress, parents: &Parents) -> Step<String> {
    let other = holder(ctx, &parents.name);
    if other.as_ref().is_some_and(|u| *u != uid(p.object.as_ref())) {
        let text = format!("{} is held by another tenant of this cluster", parents.name);
        return Err(NotReady::stalled(Reason::DomainClaimed, text).into());
    }
    let (row, keys) = ctx
        .rows(&parents.server, &id.key, &parents.name, Since::Ever, |rows| (rows.domain.clone(), rows.dkim.clone()))
        .await
        .map_err(|e| NotReady::backend(&parents.server.label(), &e))?;
    // What another tenant has is not shown (I11).
    let Some(row) = row.filter(|r| r.tenant.as_ref() == Some(&parents.tenant)) else {
        let text = "nothing is written (managementPolicy: Observe), and the backend has no such domain in this tenant";
        p.status.drift = vec![MISSING.into()];
        p.conditions.set(ConditionType::Provisioned, false, Reason::Drifted, text);
        return Err(NotReady::waiting(Reason::Drifted, text).into());
    };
    // What was made before stays known as ours: it has to be dealt with before the object may go.
    if row.owner != p.object.metadata.uid {
        p.status.ownership = Some(Ownership::Observed);
    }
    let mut drift = vec![];
    if row.active {
        // Children may look too.
        p.conditions.set(ConditionType::Provisioned, true, Reason::Succeeded, "observed at the backend");
    } else {
        drift.push("active".to_owned());
        p.conditions.set(ConditionType::Provisioned, false, Reason::Drifted, "switched off at the backend");
    }
    if row.alias_of.is_some() {
        drift.push("aliasOf".to_owned());
    }
    let (signing, lacks) = keys::observed(keys, keys::algorithms(p, &parents.server).ok(), &parents.name);
    if lacks {
        drift.push("dkim".to_owned());
    }
    let differing = publish::observe(ctx, p, parents, signing).await?;
    drift.extend(differing);
    p.status.drift = drift;
    match NotReady::drifted(&p.status.drift) {
        Some(not_ready) => Err(not_ready.into()),
        None => Ok("as declared at the backend and in the DNS; nothing is written".into()),
    }
}
