//! Whom a change concerns: from a change of one object to the passes it asks for. Pure.
//!
//! An object gets a pass from its own change, or when a dependant can see that another object changed: only that part of a
//! parent (its facet) counts, so that a status write of a parent does not wake ten thousand children. Which part that is
//! stands in `kinds/<kind>/watch.rs`; here is what kinds share.

use super::kind::{Kind, ObjectId};
use super::world::World;
use kube::{Resource, ResourceExt};
use mailtenant_api::*;
use mailtenant_mail::Address;
use mailtenant_runtime::queue::Priority;
use mailtenant_runtime::store::{Delta, NamespacedName};

/// Passes that a change asks for.
#[derive(Default, Debug)]
pub struct Wakeups {
    /// As soon as there is room.
    pub now: Vec<(ObjectId, Priority)>,
    /// After a moment, so that many changes are one pass: counts, cut-over.
    pub soon: Vec<ObjectId>,
    /// Objects that are gone.
    pub gone: Vec<ObjectId>,
}

impl Wakeups {
    pub fn add(&mut self, ids: impl IntoIterator<Item = ObjectId>, priority: Priority) {
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

/// The pass of the changed object itself.
pub fn of_itself<K: Resource>(wakes: &mut Wakeups, kind: Kind, delta: &Delta<K>) {
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

/// Whether what others see of an object changed: its facet.
pub fn differs<K, F: PartialEq>(delta: &Delta<K>, facet: impl Fn(&K) -> F) -> bool {
    delta.old.as_deref().map(&facet) != delta.new.as_deref().map(&facet)
}

/// Whether conditions say Ready.
pub fn ready(conditions: &[Condition]) -> bool {
    conditions::is_true(conditions, ConditionType::Ready)
}

/// An annotation, as a facet.
pub fn flag<K: Resource>(object: &K, annotation: &str) -> Option<String> {
    object.annotations().get(annotation).cloned()
}

/// A Secret: backends of the operator's namespace, mailboxes of a tenant's.
pub fn secret(world: &World, operator_namespace: &str, key: &NamespacedName) -> Wakeups {
    let mut wakes = Wakeups::default();
    if key.namespace == operator_namespace {
        wakes.add(world.index.backends_by_secret.of(&key.name).cloned(), Priority::High);
    }
    let mailboxes = world.index.mailboxes_by_secret.of(key);
    wakes.add(mailboxes.map(|m| ObjectId::new(Kind::Mailbox, m.clone())), Priority::High);
    wakes
}

/// A namespace whose labels changed: who may use what.
pub fn namespace(world: &World, name: &str) -> Wakeups {
    let mut wakes = Wakeups::default();
    let instances: Vec<_> = world.instances.iter().map(|(k, _)| k).filter(|k| k.namespace == name).cloned().collect();
    for instance in &instances {
        wakes.add([ObjectId::new(Kind::MailInstance, instance.clone())], Priority::Normal);
        wakes.add(domains_of(world, instance), Priority::Normal);
        wakes.add(world.children_of(instance), Priority::Low);
    }
    wakes
}

/// The domains of an instance.
pub fn domains_of(world: &World, instance: &NamespacedName) -> Vec<ObjectId> {
    world.index.domains_by_instance.of(instance).map(|d| ObjectId::new(Kind::MailDomain, d.clone())).collect()
}

/// Those of an instance that wait for a part of its limits.
pub fn wanting_of(world: &World, instance: &NamespacedName) -> Vec<ObjectId> {
    let domains = world.index.domains_by_instance.of(instance);
    domains.flat_map(|domain| world.index.wanting.of(domain)).cloned().collect()
}

/// What a child's parents and neighbours must hear of it, the same for mailboxes and aliases.
pub struct Child<'a> {
    pub domain: NamespacedName,
    pub local_part: &'a str,
    /// It came, went, or became (un)ready.
    pub stands: bool,
    /// It came or went, or takes another part of what was booked.
    pub counts: bool,
    pub gone: bool,
}

pub fn child(world: &World, wakes: &mut Wakeups, own: &ObjectId, c: Child) {
    let domain = world.domains.get(&c.domain);
    if c.stands
        && let Some(d) = &domain
    {
        let live = d.status.as_ref().is_some_and(|s| s.state == Some(mail_domain::DomainState::Live));
        let undeclared =
            d.status.as_ref().is_some_and(|s| conditions::is_true(&s.conditions, ConditionType::Undeclared));
        // Once a domain is live it has nothing to do with its addresses until it goes, but where it says that one has no object.
        if !live || undeclared || d.metadata.deletion_timestamp.is_some() {
            wakes.soon.push(ObjectId::new(Kind::MailDomain, c.domain.clone()));
        }
    }
    if c.counts
        && let Some(d) = &domain
    {
        let instance = c.domain.sibling(&d.spec.instance_ref.name);
        wakes.add(wanting_of(world, &instance).into_iter().filter(|id| id != own), Priority::Low);
        wakes.soon.push(ObjectId::new(Kind::MailInstance, instance));
    }
    if c.gone {
        wakes.add(world.owner_of_address(&c.domain, c.local_part), Priority::Normal);
    }
}

/// Mailbox objects of a namespace that mail for an address comes to, also with a `+detail`.
pub fn by_address(world: &World, namespace: &str, address: &Address) -> Vec<NamespacedName> {
    let plain = address.without_detail();
    let domains = world.index.domains_by_name.of(address.domain()).filter(|d| d.namespace == namespace);
    domains
        .flat_map(|d| world.owner_of_address(d, plain.local()))
        .filter(|id| id.kind == Kind::Mailbox)
        .map(|id| id.key)
        .collect()
}
