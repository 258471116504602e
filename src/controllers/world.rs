//! All that the watches have told, with the index of who refers to whom. Pure data: passes read it under a short lock,
//! [`super::edges`] says whom a change concerns.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use mailtenant_api::*;
use mailtenant_mail::name::parents;
use mailtenant_runtime::index::Multi;
use mailtenant_runtime::store::{Delta, Event, NamespacedName, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds that have passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the API")]
pub enum Kind {
    GroupwareBackend,
    DNSBackend,
    MailInstance,
    MailDomain,
    Mailbox,
    MailAlias,
    MailDomainClaim,
}

impl Kind {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::GroupwareBackend => "GroupwareBackend",
            Kind::DNSBackend => "DNSBackend",
            Kind::MailInstance => "MailInstance",
            Kind::MailDomain => "MailDomain",
            Kind::Mailbox => "Mailbox",
            Kind::MailAlias => "MailAlias",
            Kind::MailDomainClaim => "MailDomainClaim",
        }
    }
}

/// One object: what a pass is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub key: NamespacedName,
}

impl ObjectId {
    /// From its parts.
    pub fn new(kind: Kind, key: NamespacedName) -> Self {
        ObjectId { kind, key }
    }
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.key)
    }
}

/// Numbers of one domain, kept up with every change, so that a limit is looked up and not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Mailbox objects.
    pub mailboxes: u64,
    /// Alias objects.
    pub aliases: u64,
    /// Sum of the quotas that mailboxes declare, in bytes.
    pub declared: u64,
    /// Mailboxes that declare none.
    pub without_quota: u64,
    /// Sum of the quotas granted at the backend, in bytes.
    pub granted: u64,
}

/// Who refers to whom.
#[derive(Default)]
#[allow(missing_docs, reason = "the names say it: objects by what they refer to")]
pub struct Index {
    pub instances_by_backend: Multi<String, NamespacedName>,
    pub domains_by_instance: Multi<NamespacedName, NamespacedName>,
    pub domains_by_dns_backend: Multi<String, NamespacedName>,
    pub domains_by_name: Multi<String, NamespacedName>,
    pub domains_by_alias_of: Multi<NamespacedName, NamespacedName>,
    /// Domains by each name above theirs.
    pub domains_below: Multi<String, NamespacedName>,
    /// Claimed names by each name above them.
    pub claims_below: Multi<String, String>,
    pub mailboxes_by_domain: Multi<NamespacedName, NamespacedName>,
    pub mailboxes_by_secret: Multi<NamespacedName, NamespacedName>,
    pub aliases_by_domain: Multi<NamespacedName, NamespacedName>,
    pub aliases_by_mailbox: Multi<NamespacedName, NamespacedName>,
    pub aliases_by_address: Multi<(String, String), NamespacedName>,
    /// Objects that declare an address: domain object and local part.
    pub addresses: Multi<(NamespacedName, String), ObjectId>,
    pub backends_by_secret: Multi<String, ObjectId>,
    /// Objects that wait for storage or numbers, by domain.
    pub wanting: Multi<NamespacedName, ObjectId>,
    pub tallies: BTreeMap<NamespacedName, Tally>,
}

/// Metadata of a Secret; its content is read when it is needed.
pub type SecretMeta = PartialObjectMeta<Secret>;
/// Metadata of a Namespace.
pub type NamespaceMeta = PartialObjectMeta<Namespace>;

/// All that the watches have told.
#[derive(Default)]
#[allow(missing_docs, reason = "one store a kind")]
pub struct World {
    pub namespaces: Store<NamespaceMeta>,
    pub secrets: Store<SecretMeta>,
    pub groupware: Store<GroupwareBackend>,
    pub dns: Store<DNSBackend>,
    pub instances: Store<MailInstance>,
    pub domains: Store<MailDomain>,
    pub mailboxes: Store<Mailbox>,
    pub aliases: Store<MailAlias>,
    pub claims: Store<MailDomainClaim>,
    pub index: Index,
    /// Mailboxes and aliases that were told to go on and do not say so in their status yet: by uid, with the quota that
    /// they were told, in bytes. Without it two objects of the same second could both get the last place.
    pub granting: BTreeMap<String, u64>,
    /// Objects that cannot be decoded, with what is wrong.
    pub broken: BTreeMap<ObjectId, mailtenant_runtime::watch::Undecodable>,
    /// Those of them that were told of since their kind was listed last: the others are gone.
    pub relisted: BTreeSet<ObjectId>,
}

/// The DNSBackends that a domain is on: the one it names, and the one that has its records. They differ when
/// `dns.backendRef` was changed.
pub fn dns_backends(domain: &MailDomain) -> BTreeSet<String> {
    let written = domain.status.as_ref().and_then(|s| s.dns.as_ref()).and_then(|d| d.backend.clone());
    domain.spec.dns.backend_ref.iter().map(|r| r.name.clone()).chain(written).collect()
}

/// The name that a domain has in the DNS; as it is written if it is not a name at all.
pub fn a_label(domain: &MailDomain) -> String {
    mailtenant_mail::name::canonical(&domain.spec.domain).unwrap_or_else(|_| domain.spec.domain.clone())
}

/// The Secret that a mailbox's access data is written to.
pub fn credentials_secret(mailbox: &Mailbox) -> String {
    let name = mailbox.metadata.name.as_deref().unwrap_or_default();
    mailbox.spec.credentials_secret.clone().unwrap_or_else(|| format!("{name}-mail"))
}

fn secrets_of(mailbox: &Mailbox, key: &NamespacedName) -> BTreeSet<NamespacedName> {
    let password = &mailbox.spec.password;
    [&password.secret_ref, &password.hash_secret_ref]
        .into_iter()
        .flatten()
        .map(|r| r.name.clone())
        .chain([credentials_secret(mailbox)])
        .map(|name| key.sibling(name))
        .collect()
}

fn secret_names(refs: Option<Vec<SecretKeyRef>>) -> BTreeSet<String> {
    refs.into_iter().flatten().map(|r| r.name).collect()
}

fn address_targets(alias: &MailAlias, key: &NamespacedName) -> Vec<(String, String)> {
    let addresses = alias.spec.targets.iter().filter_map(|t| t.address.clone());
    addresses.map(|a| (key.namespace.clone(), a.to_lowercase())).collect()
}

fn mailbox_targets(alias: &MailAlias, key: &NamespacedName) -> Vec<NamespacedName> {
    alias.spec.targets.iter().filter_map(|t| t.mailbox_ref.as_ref()).map(|r| key.sibling(&r.name)).collect()
}

/// Bytes of a quota; what CEL lets through is readable.
pub fn bytes(quantity: &Quantity) -> u64 {
    quantity.bytes().unwrap_or(0)
}

/// Whether an object waits for storage or numbers.
pub fn wants_capacity(conditions: &[Condition]) -> bool {
    conditions::find(conditions, ConditionType::Ready)
        .is_some_and(|c| [Reason::QuotaExceeded, Reason::LimitExceeded].iter().any(|r| r.as_str() == c.reason))
}

impl World {
    /// Whether every kind was listed once.
    pub fn synced(&self) -> bool {
        self.namespaces.synced()
            && self.secrets.synced()
            && self.groupware.synced()
            && self.dns.synced()
            && self.instances.synced()
            && self.domains.synced()
            && self.mailboxes.synced()
            && self.aliases.synced()
            && self.claims.synced()
    }

    /// Labels of a namespace; none if it is not known.
    pub fn namespace_labels(&self, name: &str) -> BTreeMap<String, String> {
        let key = NamespacedName::new("", name);
        self.namespaces.get(&key).and_then(|n| n.metadata.labels.clone()).unwrap_or_default()
    }

    /// Whether a namespace is being deleted, and with it all that is in it.
    pub fn namespace_leaves(&self, name: &str) -> bool {
        self.namespaces.get(&NamespacedName::new("", name)).is_some_and(|n| n.metadata.deletion_timestamp.is_some())
    }

    /// Names that an instance's domains hold: an unproven claim counts for nothing (I9, I11).
    pub fn held_names(&self, instance: &NamespacedName) -> BTreeSet<String> {
        let domains = self.index.domains_by_instance.of(instance).filter_map(|k| self.domains.get(k));
        domains
            .filter_map(|d| {
                let name = a_label(&d);
                let claim = self.claims.get(&NamespacedName::new("", &name))?;
                (Some(&claim.spec.owner.uid) == d.metadata.uid.as_ref()).then_some(name)
            })
            .collect()
    }

    /// The instance of a domain object.
    pub fn instance_of(&self, domain: &NamespacedName) -> Option<Arc<MailInstance>> {
        let domain_object = self.domains.get(domain)?;
        self.instances.get(&domain.sibling(&domain_object.spec.instance_ref.name))
    }

    /// Takes in an event of one kind: store, then index. The caller asks [`super::edges`] whom it concerns.
    pub fn apply_groupware(&mut self, event: Event<GroupwareBackend>) -> Vec<Delta<GroupwareBackend>> {
        let deltas = self.groupware.apply(event);
        deltas.iter().for_each(|d| self.index_groupware(d));
        deltas
    }
    fn index_groupware(&mut self, d: &Delta<GroupwareBackend>) {
        let names = |b: &Option<Arc<GroupwareBackend>>| secret_names(b.as_ref().map(|b| b.spec.secret_refs()));
        let id = ObjectId::new(Kind::GroupwareBackend, d.key.clone());
        self.index.backends_by_secret.update(&id, names(&d.old), names(&d.new));
    }

    /// As [`World::apply_groupware`].
    pub fn apply_dns(&mut self, event: Event<DNSBackend>) -> Vec<Delta<DNSBackend>> {
        let deltas = self.dns.apply(event);
        for d in &deltas {
            let names = |b: &Option<Arc<DNSBackend>>| secret_names(b.as_ref().map(|b| b.spec.secret_refs()));
            let id = ObjectId::new(Kind::DNSBackend, d.key.clone());
            self.index.backends_by_secret.update(&id, names(&d.old), names(&d.new));
        }
        deltas
    }

    /// As [`World::apply_groupware`].
    pub fn apply_instance(&mut self, event: Event<MailInstance>) -> Vec<Delta<MailInstance>> {
        let deltas = self.instances.apply(event);
        for d in &deltas {
            let backend = |i: &Option<Arc<MailInstance>>| i.as_ref().map(|i| i.spec.backend_ref.name.clone());
            self.index.instances_by_backend.update(&d.key, backend(&d.old), backend(&d.new));
        }
        deltas
    }

    /// As [`World::apply_groupware`].
    pub fn apply_domain(&mut self, event: Event<MailDomain>) -> Vec<Delta<MailDomain>> {
        let deltas = self.domains.apply(event);
        for d in &deltas {
            self.index_domain(d);
        }
        deltas
    }
    fn index_domain(&mut self, d: &Delta<MailDomain>) {
        type Of<'a> = &'a Option<Arc<MailDomain>>;
        let instance = |o: Of| o.as_ref().map(|o| d.key.sibling(&o.spec.instance_ref.name));
        let dns = |o: Of| o.as_ref().map(|o| dns_backends(o)).unwrap_or_default();
        let name = |o: Of| o.as_ref().map(|o| a_label(o));
        let alias = |o: Of| o.as_ref().and_then(|o| o.spec.alias_of.as_ref()).map(|r| d.key.sibling(&r.name));
        let index = &mut self.index;
        index.domains_by_instance.update(&d.key, instance(&d.old), instance(&d.new));
        index.domains_by_dns_backend.update(&d.key, dns(&d.old), dns(&d.new));
        index.domains_by_name.update(&d.key, name(&d.old), name(&d.new));
        let above = |o: Of| name(o).iter().flat_map(|n| parents(n).map(String::from)).collect::<Vec<_>>();
        index.domains_below.update(&d.key, above(&d.old), above(&d.new));
        index.domains_by_alias_of.update(&d.key, alias(&d.old), alias(&d.new));
    }

    /// As [`World::apply_groupware`].
    pub fn apply_claim(&mut self, event: Event<MailDomainClaim>) -> Vec<Delta<MailDomainClaim>> {
        let deltas = self.claims.apply(event);
        for d in &deltas {
            let above = |there: bool| parents(&d.key.name).map(String::from).filter(move |_| there);
            self.index.claims_below.update(&d.key.name, above(d.old.is_some()), above(d.new.is_some()));
        }
        deltas
    }

    /// As [`World::apply_groupware`].
    pub fn apply_mailbox(&mut self, event: Event<Mailbox>) -> Vec<Delta<Mailbox>> {
        let deltas = self.mailboxes.apply(event);
        for d in &deltas {
            self.index_mailbox(d);
        }
        deltas
    }
    fn index_mailbox(&mut self, d: &Delta<Mailbox>) {
        type Of<'a> = &'a Option<Arc<Mailbox>>;
        let granted = |o: Of| o.as_ref().is_none_or(|o| o.status.as_ref().is_some_and(|s| s.quota.is_some()));
        if granted(&d.new)
            && let Some(uid) = d.new.as_ref().or(d.old.as_ref()).and_then(|o| o.metadata.uid.as_ref())
        {
            self.granting.remove(uid);
        }
        let id = ObjectId::new(Kind::Mailbox, d.key.clone());
        let domain = |o: Of| o.as_ref().map(|o| d.key.sibling(&o.spec.domain_ref.name));
        let secrets = |o: Of| o.as_ref().map(|o| secrets_of(o, &d.key)).unwrap_or_default();
        let address = |o: Of| o.as_ref().map(|o| (d.key.sibling(&o.spec.domain_ref.name), o.spec.local_part.clone()));
        let wanting = |o: Of| {
            let o = o.as_ref()?;
            wants_capacity(&o.status.as_ref()?.conditions).then(|| d.key.sibling(&o.spec.domain_ref.name))
        };
        let index = &mut self.index;
        index.mailboxes_by_domain.update(&d.key, domain(&d.old), domain(&d.new));
        index.mailboxes_by_secret.update(&d.key, secrets(&d.old), secrets(&d.new));
        index.addresses.update(&id, address(&d.old), address(&d.new));
        index.wanting.update(&id, wanting(&d.old), wanting(&d.new));
        for (object, sign) in [(&d.old, false), (&d.new, true)] {
            let Some(object) = object else { continue };
            let tally = index.tallies.entry(d.key.sibling(&object.spec.domain_ref.name)).or_default();
            let shift = |n: &mut u64, by: u64| *n = if sign { n.saturating_add(by) } else { n.saturating_sub(by) };
            shift(&mut tally.mailboxes, 1);
            match &object.spec.quota {
                Some(q) => shift(&mut tally.declared, bytes(q)),
                None => shift(&mut tally.without_quota, 1),
            }
            if let Some(q) = object.status.as_ref().and_then(|s| s.quota.as_ref()) {
                shift(&mut tally.granted, bytes(q));
            }
        }
    }

    /// As [`World::apply_groupware`].
    pub fn apply_alias(&mut self, event: Event<MailAlias>) -> Vec<Delta<MailAlias>> {
        let deltas = self.aliases.apply(event);
        for d in &deltas {
            self.index_alias(d);
        }
        deltas
    }
    fn index_alias(&mut self, d: &Delta<MailAlias>) {
        type Of<'a> = &'a Option<Arc<MailAlias>>;
        let granted = |o: Of| o.as_ref().is_none_or(|o| o.status.as_ref().is_some_and(|s| s.ownership.is_some()));
        if granted(&d.new)
            && let Some(uid) = d.new.as_ref().or(d.old.as_ref()).and_then(|o| o.metadata.uid.as_ref())
        {
            self.granting.remove(uid);
        }
        let id = ObjectId::new(Kind::MailAlias, d.key.clone());
        let domain = |o: Of| o.as_ref().map(|o| d.key.sibling(&o.spec.domain_ref.name));
        let mailboxes = |o: Of| o.as_ref().map(|o| mailbox_targets(o, &d.key)).unwrap_or_default();
        let addresses = |o: Of| o.as_ref().map(|o| address_targets(o, &d.key)).unwrap_or_default();
        let address = |o: Of| o.as_ref().map(|o| (d.key.sibling(&o.spec.domain_ref.name), o.spec.local_part.clone()));
        let wanting = |o: Of| {
            let o = o.as_ref()?;
            wants_capacity(&o.status.as_ref()?.conditions).then(|| d.key.sibling(&o.spec.domain_ref.name))
        };
        let index = &mut self.index;
        index.aliases_by_domain.update(&d.key, domain(&d.old), domain(&d.new));
        index.aliases_by_mailbox.update(&d.key, mailboxes(&d.old), mailboxes(&d.new));
        index.aliases_by_address.update(&d.key, addresses(&d.old), addresses(&d.new));
        index.addresses.update(&id, address(&d.old), address(&d.new));
        index.wanting.update(&id, wanting(&d.old), wanting(&d.new));
        for (object, by) in [(&d.old, -1i64), (&d.new, 1)] {
            let Some(object) = object else { continue };
            let tally = index.tallies.entry(d.key.sibling(&object.spec.domain_ref.name)).or_default();
            tally.aliases = tally.aliases.saturating_add_signed(by);
        }
    }

    /// Puts in what a write of ours returned.
    pub fn observe_instance(&mut self, object: MailInstance) -> Option<Delta<MailInstance>> {
        self.instances.observe(object)
    }
    /// Puts in what a write of ours returned.
    pub fn observe_domain(&mut self, object: MailDomain) -> Option<Delta<MailDomain>> {
        let delta = self.domains.observe(object)?;
        self.index_domain(&delta);
        Some(delta)
    }
    /// Puts in what a write of ours returned.
    pub fn observe_mailbox(&mut self, object: Mailbox) -> Option<Delta<Mailbox>> {
        let delta = self.mailboxes.observe(object)?;
        self.index_mailbox(&delta);
        Some(delta)
    }
    /// Puts in what a write of ours returned.
    pub fn observe_alias(&mut self, object: MailAlias) -> Option<Delta<MailAlias>> {
        let delta = self.aliases.observe(object)?;
        self.index_alias(&delta);
        Some(delta)
    }

    /// Numbers of a whole instance: the sum over its domains.
    pub fn tally(&self, instance: &NamespacedName) -> Tally {
        let mut sum = Tally::default();
        for domain in self.index.domains_by_instance.of(instance) {
            if let Some(t) = self.index.tallies.get(domain) {
                sum.mailboxes += t.mailboxes;
                sum.aliases += t.aliases;
                sum.declared = sum.declared.saturating_add(t.declared);
                sum.without_quota += t.without_quota;
                sum.granted = sum.granted.saturating_add(t.granted);
            }
        }
        sum
    }

    /// Every mailbox and alias object of an instance.
    pub fn children_of(&self, instance: &NamespacedName) -> Vec<ObjectId> {
        self.index.domains_by_instance.of(instance).flat_map(|d| self.children_of_domain(d)).collect()
    }

    /// Every mailbox and alias object of a domain.
    pub fn children_of_domain(&self, domain: &NamespacedName) -> Vec<ObjectId> {
        let mailboxes = self.index.mailboxes_by_domain.of(domain).map(|k| ObjectId::new(Kind::Mailbox, k.clone()));
        let aliases = self.index.aliases_by_domain.of(domain).map(|k| ObjectId::new(Kind::MailAlias, k.clone()));
        mailboxes.chain(aliases).collect()
    }

    /// The object that declares an address of a domain, for the look-up from a row to its object.
    pub fn owner_of_address(&self, domain: &NamespacedName, local_part: &str) -> Vec<ObjectId> {
        self.index.addresses.of(&(domain.clone(), local_part.to_owned())).cloned().collect()
    }
}
