//! Whom a change concerns: from a change of one object to the passes it asks for. Pure.
//!
//! An object gets a pass from its own change, or from an *edge* of another one: only what a dependant can see of its
//! parent (its facet) counts, so a parent's every status write does not wake ten thousand children.

use super::groupware_backend::reason;
use super::world::{Kind, ObjectId, World, a_label, dns_backends, wants_capacity};
use kube::{Resource, ResourceExt};
use mailtenant_api::*;
use mailtenant_runtime::queue::Priority;
use mailtenant_runtime::store::{Delta, NamespacedName};
use std::sync::Arc;

/// Passes that a change asks for.
#[derive(Default, Debug)]
pub struct Wakes {
    /// As soon as there is room.
    pub now: Vec<(ObjectId, Priority)>,
    /// After a moment, so that many changes are one pass: counts, cut-over.
    pub soon: Vec<ObjectId>,
    /// Objects that are gone.
    pub gone: Vec<ObjectId>,
}

impl Wakes {
    fn add(&mut self, ids: impl IntoIterator<Item = ObjectId>, priority: Priority) {
        self.now.extend(ids.into_iter().map(|id| (id, priority)));
    }
}

/// Whether an object's own pass must look at a change: spec, deletion, a finalizer that somebody took away, our
/// annotations. Labels and status are nobody's business.
fn own<K: Resource>(old: Option<&K>, new: &K) -> Option<Priority> {
    let Some(old) = old else { return Some(Priority::Normal) };
    let annotation = |o: &K, name: &str| o.annotations().get(name).cloned();
    let lost = |o: &K| !o.finalizers().iter().any(|f| f == FINALIZER);
    let changed = old.meta().uid != new.meta().uid
        || old.meta().generation != new.meta().generation
        || old.meta().deletion_timestamp != new.meta().deletion_timestamp
        || (lost(new) && !lost(old) && new.meta().deletion_timestamp.is_none())
        || annotations::ALL.iter().any(|name| annotation(old, name) != annotation(new, name));
    changed.then_some(Priority::High)
}

fn self_wake<K: Resource>(wakes: &mut Wakes, kind: Kind, delta: &Delta<K>) {
    let id = ObjectId::new(kind, delta.key.clone());
    match &delta.new {
        Some(new) => {
            if let Some(priority) = own(delta.old.as_deref(), new.as_ref()) {
                wakes.now.push((id, priority));
            }
        }
        None => wakes.gone.push(id),
    }
}

fn differs<K, F: PartialEq>(delta: &Delta<K>, facet: impl Fn(&K) -> F) -> bool {
    delta.old.as_deref().map(&facet) != delta.new.as_deref().map(&facet)
}

fn ready(conditions: &[Condition]) -> bool {
    conditions::is_true(conditions, ConditionType::Ready)
}

fn flag<K: Resource>(object: &K, annotation: &str) -> Option<String> {
    object.annotations().get(annotation).cloned()
}

/// A groupware backend: instances and all below see its spec, and that it came back.
pub fn groupware(world: &World, delta: &Delta<GroupwareBackend>) -> Wakes {
    let mut wakes = Wakes::default();
    self_wake(&mut wakes, Kind::GroupwareBackend, delta);
    let facet = |b: &GroupwareBackend| {
        let status = b.status.clone().unwrap_or_default();
        (b.metadata.uid.clone(), b.metadata.generation, reason(&status.conditions), status.capabilities)
    };
    if differs(delta, facet) {
        for instance in world.index.instances_by_backend.of(&delta.key.name) {
            wakes.add([ObjectId::new(Kind::MailInstance, instance.clone())], Priority::Normal);
            wakes.add(domains_of(world, instance), Priority::Normal);
            wakes.add(world.children_of(instance), Priority::Low);
        }
    }
    wakes
}

/// A DNS backend: domains see its spec, that it came back, and why it is away.
pub fn dns(world: &World, delta: &Delta<DNSBackend>) -> Wakes {
    let mut wakes = Wakes::default();
    self_wake(&mut wakes, Kind::DNSBackend, delta);
    let facet = |b: &DNSBackend| {
        let conditions = b.status.clone().unwrap_or_default().conditions;
        (b.metadata.uid.clone(), b.metadata.generation, reason(&conditions))
    };
    if differs(delta, facet) {
        let domains = world.index.domains_by_dns_backend.of(&delta.key.name);
        wakes.add(domains.map(|d| ObjectId::new(Kind::MailDomain, d.clone())), Priority::Normal);
    }
    wakes
}

fn domains_of(world: &World, instance: &NamespacedName) -> Vec<ObjectId> {
    world.index.domains_by_instance.of(instance).map(|d| ObjectId::new(Kind::MailDomain, d.clone())).collect()
}

/// An instance: domains and their children see whether it can be used and how.
pub fn instance(world: &World, delta: &Delta<MailInstance>) -> Wakes {
    let mut wakes = Wakes::default();
    self_wake(&mut wakes, Kind::MailInstance, delta);
    let facet = |i: &MailInstance| {
        let status = i.status.clone().unwrap_or_default();
        (
            i.metadata.uid.clone(),
            i.metadata.generation,
            i.metadata.deletion_timestamp.is_some(),
            flag(i, annotations::PAUSED),
            status.instance_id,
            status.ownership,
            status.mass_loss,
            // One that is being deleted does not judge any more: its word is for those below.
            i.metadata.deletion_timestamp.as_ref().and_then(|_| flag(i, annotations::ACCEPT_MASS_LOSS)),
        )
    };
    if differs(delta, facet) {
        wakes.add(domains_of(world, &delta.key), Priority::Normal);
        wakes.add(world.children_of(&delta.key), Priority::Low);
    }
    let id = ObjectId::new(Kind::GroupwareBackend, backend_key(delta.old.as_ref().or(delta.new.as_ref())));
    if delta.new.is_none() {
        wakes.soon.push(id);
    }
    wakes
}

fn backend_key(instance: Option<&Arc<MailInstance>>) -> NamespacedName {
    NamespacedName::new("", instance.map(|i| i.spec.backend_ref.name.clone()).unwrap_or_default())
}

/// A domain: its children see whether it is provisioned, its instance counts it, others may want its name.
pub fn domain(world: &World, delta: &Delta<MailDomain>) -> Wakes {
    let mut wakes = Wakes::default();
    self_wake(&mut wakes, Kind::MailDomain, delta);
    let facet = |d: &MailDomain| {
        let status = d.status.clone().unwrap_or_default();
        (
            d.metadata.uid.clone(),
            conditions::is_true(&status.conditions, ConditionType::Provisioned),
            d.metadata.deletion_timestamp.is_some(),
            status.draining_until,
            // While it lives its children do not look at the state; a wake of each at the cut-over would be for nothing.
            d.metadata.deletion_timestamp.is_some() && status.state == Some(mail_domain::DomainState::Live),
            // Once it is given up, or only looked at, nobody takes its MX out, and they wait for nothing any more.
            d.metadata.deletion_timestamp.as_ref().map(|_| (flag(d, annotations::ORPHAN), d.spec.management_policy)),
        )
    };
    if differs(delta, facet) {
        wakes.add(world.children_of_domain(&delta.key), Priority::Normal);
    }
    let Some(any) = delta.new.as_ref().or(delta.old.as_ref()) else { return wakes };
    if delta.old.is_none() || delta.new.is_none() {
        wakes.soon.push(ObjectId::new(Kind::MailInstance, delta.key.sibling(&any.spec.instance_ref.name)));
        // A limit may be free again, a name too.
        wakes.add(domains_of(world, &delta.key.sibling(&any.spec.instance_ref.name)), Priority::Low);
        let same = world.index.domains_by_name.of(&a_label(any));
        wakes.add(same.map(|d| ObjectId::new(Kind::MailDomain, d.clone())), Priority::Low);
        for backend in dns_backends(any) {
            wakes.soon.push(ObjectId::new(Kind::DNSBackend, NamespacedName::new("", &backend)));
        }
        wakes.soon.push(ObjectId::new(Kind::MailDomainClaim, NamespacedName::new("", a_label(any))));
        if let Some(target) = &any.spec.alias_of {
            wakes.add([ObjectId::new(Kind::MailDomain, delta.key.sibling(&target.name))], Priority::Low);
        }
    }
    wakes
}

/// What a child's parents and neighbours must hear of it, the same for mailboxes and aliases.
struct Child<'a> {
    domain: NamespacedName,
    local_part: &'a str,
    /// It came, went, or became (un)ready.
    stands: bool,
    /// It came or went, or takes another part of what was booked.
    counts: bool,
    gone: bool,
}

fn child(world: &World, wakes: &mut Wakes, own: &ObjectId, c: Child) {
    let domain = world.domains.get(&c.domain);
    if c.stands
        && let Some(d) = &domain
    {
        let live = d.status.as_ref().is_some_and(|s| s.state == Some(mail_domain::DomainState::Live));
        // Once a domain is live it has nothing to do with its addresses until it goes.
        if !live || d.metadata.deletion_timestamp.is_some() {
            wakes.soon.push(ObjectId::new(Kind::MailDomain, c.domain.clone()));
        }
    }
    if c.counts
        && let Some(d) = &domain
    {
        let instance = c.domain.sibling(&d.spec.instance_ref.name);
        for domain in world.index.domains_by_instance.of(&instance) {
            wakes.add(world.index.wanting.of(domain).filter(|id| *id != own).cloned(), Priority::Low);
        }
        wakes.soon.push(ObjectId::new(Kind::MailInstance, instance));
    }
    if c.gone {
        wakes.add(world.owner_of_address(&c.domain, c.local_part), Priority::Normal);
    }
}

/// A mailbox: aliases that name it, its domain, its instance, and whoever wants its address.
pub fn mailbox(world: &World, delta: &Delta<Mailbox>) -> Wakes {
    let mut wakes = Wakes::default();
    self_wake(&mut wakes, Kind::Mailbox, delta);
    let Some(any) = delta.new.as_ref().or(delta.old.as_ref()) else { return wakes };
    let stands = |m: &Mailbox| {
        let status = m.status.clone().unwrap_or_default();
        let seen = status.observed_generation == m.metadata.generation;
        (
            m.metadata.uid.clone(),
            ready(&status.conditions),
            seen,
            m.metadata.deletion_timestamp.is_some(),
            status.ownership,
        )
    };
    let counts = |m: &Mailbox| {
        let status = m.status.clone().unwrap_or_default();
        (m.spec.quota.clone(), status.quota, status.used_storage)
    };
    let stands = differs(delta, stands);
    let id = ObjectId::new(Kind::Mailbox, delta.key.clone());
    let wants = |m: &Mailbox| m.status.as_ref().is_some_and(|s| wants_capacity(&s.conditions));
    if delta.new.as_deref().is_some_and(wants) && !delta.old.as_deref().is_some_and(wants) {
        // What was freed between its verdict and now woke it in vain.
        wakes.soon.push(id.clone());
    }
    let c = Child {
        domain: delta.key.sibling(&any.spec.domain_ref.name),
        local_part: &any.spec.local_part,
        stands,
        counts: differs(delta, counts),
        gone: delta.new.is_none(),
    };
    child(world, &mut wakes, &id, c);
    if stands {
        let aliases = world.index.aliases_by_mailbox.of(&delta.key);
        wakes.add(aliases.map(|a| ObjectId::new(Kind::MailAlias, a.clone())), Priority::Normal);
    }
    wakes
}

/// An alias: mailboxes that wait to go, its domain, its instance, and whoever wants its address.
pub fn alias(world: &World, delta: &Delta<MailAlias>) -> Wakes {
    let mut wakes = Wakes::default();
    self_wake(&mut wakes, Kind::MailAlias, delta);
    let Some(any) = delta.new.as_ref().or(delta.old.as_ref()) else { return wakes };
    let stands = |a: &MailAlias| {
        let status = a.status.clone().unwrap_or_default();
        let seen = status.observed_generation == a.metadata.generation;
        (
            a.metadata.uid.clone(),
            ready(&status.conditions),
            seen,
            a.metadata.deletion_timestamp.is_some(),
            status.ownership,
        )
    };
    let wants = |a: &MailAlias| a.status.as_ref().is_some_and(|s| wants_capacity(&s.conditions));
    if delta.new.as_deref().is_some_and(wants) && !delta.old.as_deref().is_some_and(wants) {
        // What was freed between its verdict and now woke it in vain.
        wakes.soon.push(ObjectId::new(Kind::MailAlias, delta.key.clone()));
    }
    let id = ObjectId::new(Kind::MailAlias, delta.key.clone());
    let c = Child {
        domain: delta.key.sibling(&any.spec.domain_ref.name),
        local_part: &any.spec.local_part,
        stands: differs(delta, stands),
        counts: delta.old.is_none() || delta.new.is_none(),
        gone: delta.new.is_none(),
    };
    child(world, &mut wakes, &id, c);
    // A mailbox that is going waits for the aliases that named it, as the backend has them.
    let facet = |a: &MailAlias| (a.metadata.uid.clone(), a.status.as_ref().and_then(|s| s.observed_generation));
    if differs(delta, facet) || differs(delta, |a| a.spec.targets.clone()) {
        for object in [&delta.old, &delta.new].into_iter().flatten() {
            for target in &object.spec.targets {
                let keys: Vec<NamespacedName> = match (&target.mailbox_ref, &target.address) {
                    (Some(r), _) => vec![delta.key.sibling(&r.name)],
                    (_, Some(address)) => by_address(world, &delta.key.namespace, address),
                    _ => vec![],
                };
                let going = keys
                    .into_iter()
                    .filter(|k| world.mailboxes.get(k).is_some_and(|m| m.metadata.deletion_timestamp.is_some()));
                wakes.add(going.map(|k| ObjectId::new(Kind::Mailbox, k)), Priority::Normal);
            }
        }
    }
    wakes
}

/// Mailbox objects of a namespace with an address.
pub fn by_address(world: &World, namespace: &str, address: &str) -> Vec<NamespacedName> {
    let Some((local, domain)) = address.rsplit_once('@') else { return vec![] };
    let Ok(domain) = mailtenant_mail::name::canonical(domain) else { return vec![] };
    world
        .index
        .domains_by_name
        .of(&domain)
        .filter(|d| d.namespace == namespace)
        .flat_map(|d| world.owner_of_address(d, &local.to_lowercase()))
        .filter(|id| id.kind == Kind::Mailbox)
        .map(|id| id.key)
        .collect()
}

/// A claim: whoever wants the name.
pub fn claim(world: &World, delta: &Delta<MailDomainClaim>) -> Wakes {
    let mut wakes = Wakes::default();
    if delta.old.is_none() {
        wakes.soon.push(ObjectId::new(Kind::MailDomainClaim, delta.key.clone()));
    }
    if delta.new.is_none() {
        wakes.gone.push(ObjectId::new(Kind::MailDomainClaim, delta.key.clone()));
        // Names below and above it were refused to others too.
        let above = mailtenant_mail::name::parents(&delta.key.name).map(String::from);
        let same = std::iter::once(delta.key.name.clone()).chain(above);
        let wanting = same.flat_map(|n| world.index.domains_by_name.of(&n).cloned().collect::<Vec<_>>());
        let below = world.index.domains_below.of(&delta.key.name).cloned();
        wakes.add(wanting.chain(below).map(|k| ObjectId::new(Kind::MailDomain, k)), Priority::Normal);
    }
    // What an instance holds decides which targets are outside of it.
    if (delta.old.is_none() || delta.new.is_none())
        && let Some(claim) = delta.new.as_ref().or(delta.old.as_ref())
    {
        let owner = NamespacedName::new(&claim.spec.owner.namespace, &claim.spec.owner.name);
        if let Some(domain) = world.domains.get(&owner) {
            let children = world.children_of(&owner.sibling(&domain.spec.instance_ref.name));
            wakes.add(children.into_iter().filter(|id| names_addresses(world, id)), Priority::Low);
        }
    }
    wakes
}

/// Whether an object names addresses that may be inside the instance or outside.
fn names_addresses(world: &World, id: &ObjectId) -> bool {
    match id.kind {
        Kind::Mailbox => world.mailboxes.get(&id.key).is_some_and(|m| m.spec.forwarding.is_some()),
        Kind::MailAlias => {
            world.aliases.get(&id.key).is_some_and(|a| a.spec.targets.iter().any(|t| t.address.is_some()))
        }
        _ => false,
    }
}

/// A Secret: backends of the operator's namespace, mailboxes of a tenant's.
pub fn secret(world: &World, operator_namespace: &str, key: &NamespacedName) -> Wakes {
    let mut wakes = Wakes::default();
    if key.namespace == operator_namespace {
        wakes.add(world.index.backends_by_secret.of(&key.name).cloned(), Priority::High);
    }
    let mailboxes = world.index.mailboxes_by_secret.of(key);
    wakes.add(mailboxes.map(|m| ObjectId::new(Kind::Mailbox, m.clone())), Priority::High);
    wakes
}

/// A namespace whose labels changed: who may use what.
pub fn namespace(world: &World, name: &str) -> Wakes {
    let mut wakes = Wakes::default();
    let instances: Vec<_> = world.instances.iter().map(|(k, _)| k).filter(|k| k.namespace == name).cloned().collect();
    for instance in &instances {
        wakes.add([ObjectId::new(Kind::MailInstance, instance.clone())], Priority::Normal);
        wakes.add(domains_of(world, instance), Priority::Normal);
        wakes.add(world.children_of(instance), Priority::Low);
    }
    wakes
}

/// How what a write returned is put into the world, a kind each.
pub mod put {
    use super::*;

    /// A groupware backend.
    pub fn groupware(world: &mut World, object: GroupwareBackend) -> Option<Wakes> {
        let delta = world.groupware.observe(object)?;
        Some(super::groupware(world, &delta))
    }
    /// A DNS backend.
    pub fn dns(world: &mut World, object: DNSBackend) -> Option<Wakes> {
        let delta = world.dns.observe(object)?;
        Some(super::dns(world, &delta))
    }
    /// An instance.
    pub fn instance(world: &mut World, object: MailInstance) -> Option<Wakes> {
        let delta = world.observe_instance(object)?;
        Some(super::instance(world, &delta))
    }
    /// A domain.
    pub fn domain(world: &mut World, object: MailDomain) -> Option<Wakes> {
        let delta = world.observe_domain(object)?;
        Some(super::domain(world, &delta))
    }
    /// A mailbox.
    pub fn mailbox(world: &mut World, object: Mailbox) -> Option<Wakes> {
        let delta = world.observe_mailbox(object)?;
        Some(super::mailbox(world, &delta))
    }
    /// An alias.
    pub fn alias(world: &mut World, object: MailAlias) -> Option<Wakes> {
        let delta = world.observe_alias(object)?;
        Some(super::alias(world, &delta))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;
    use mailtenant_runtime::store::Event;
    use serde_json::json;

    fn backend(version: &str, status: &str, reason: &str) -> GroupwareBackend {
        let mut backend = (*fixtures::domain(json!({})).instance.backend).clone();
        backend.metadata.namespace = None;
        backend.metadata.resource_version = Some(version.into());
        let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        backend.status = serde_json::from_value(json!({"conditions": [condition]})).unwrap();
        backend
    }

    #[test]
    fn why_a_server_is_away_and_that_it_is_back_is_told_by_all_that_is_on_it() {
        let mut world = World::default();
        let domain = fixtures::domain(json!({}));
        world.apply_instance(Event::Applied((*domain.instance.object).clone()));
        world.apply_domain(Event::Applied((*domain.object).clone()));
        world.apply_mailbox(Event::Applied(fixtures::mailbox(json!({}), json!({}))));
        let mut told = |b: GroupwareBackend| -> Vec<Kind> {
            let deltas = world.apply_groupware(Event::Applied(b));
            let wakes = deltas.iter().flat_map(|d| groupware(&world, d).now);
            let mut kinds: Vec<Kind> = wakes.map(|(id, _)| id.kind).filter(|k| *k != Kind::GroupwareBackend).collect();
            kinds.sort();
            kinds
        };
        let all = [Kind::MailInstance, Kind::MailDomain, Kind::Mailbox];
        assert_eq!(told(backend("2", "False", "BackendUnreachable")), all);
        assert_eq!(told(backend("3", "False", "BackendUnreachable")), Vec::<Kind>::new());
        assert_eq!(told(backend("4", "False", "BackendUnauthorized")), all);
        assert_eq!(told(backend("5", "False", "BackendUnreachable")), all);
        assert_eq!(told(backend("6", "False", "TimedOut")), Vec::<Kind>::new(), "that is about the backend's own pass");
        assert_eq!(told(backend("7", "True", "Succeeded")), all);
    }

    #[test]
    fn those_in_a_domain_are_told_when_it_is_given_up_while_it_goes() {
        let mut world = World::default();
        let live = fixtures::domain(json!({}));
        world.apply_instance(Event::Applied((*live.instance.object).clone()));
        world.apply_mailbox(Event::Applied(fixtures::mailbox(json!({}), json!({}))));
        let mut told = |version: &str, deleted: bool, orphan: bool, policy: ManagementPolicy| -> usize {
            let mut domain = (*live.object).clone();
            domain.spec.management_policy = policy;
            domain.metadata.resource_version = Some(version.into());
            domain.metadata.deletion_timestamp =
                deleted.then(|| serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
            let note = orphan.then(|| (annotations::ORPHAN.to_owned(), "true".to_owned()));
            domain.metadata.annotations = Some(note.into_iter().collect());
            let deltas = world.apply_domain(Event::Applied(domain));
            let wakes = deltas.iter().flat_map(|d| super::domain(&world, d).now);
            wakes.filter(|(id, _)| id.kind == Kind::Mailbox).count()
        };
        use ManagementPolicy::{Full, Observe};
        told("2", false, false, Full);
        assert_eq!(told("3", false, true, Full), 0, "while it lives the word means nothing");
        assert_eq!(told("4", false, false, Observe), 0);
        assert_eq!(told("5", false, false, Full), 0);
        assert_eq!(told("6", true, false, Full), 1);
        assert_eq!(told("7", true, false, Observe), 1, "nobody takes its MX out any more: they wait for nothing");
        assert_eq!(told("8", true, true, Observe), 1, "nor here");
        assert_eq!(told("9", true, true, Observe), 0);
    }
}
