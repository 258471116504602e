//! What the watches have told, and what is served for a name by that: only to whoever holds it. Pure.

use kube::Resource;
use mailtenant_api::{GroupwareBackend, MailDomain, MailDomainClaim, MailInstance};
use mailtenant_mail::name;
use mailtenant_mail::records::{Discovery, MtaStsPolicy};
use mailtenant_runtime::store::{Event, NamespacedName, Store};
use serde::de::DeserializeOwned;

/// The objects of the four kinds.
#[derive(Debug, Default)]
pub struct Known {
    domains: Store<MailDomain>,
    claims: Store<MailDomainClaim>,
    instances: Store<MailInstance>,
    backends: Store<GroupwareBackend>,
}

/// A kind that is watched.
pub trait Stored:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Its objects.
    fn store(known: &mut Known) -> &mut Store<Self>;
    /// Takes out of an object what nothing is served from: of a MailDomain most of it.
    fn slim(&mut self) {}
}

impl Stored for MailDomain {
    fn store(known: &mut Known) -> &mut Store<Self> {
        &mut known.domains
    }
    fn slim(&mut self) {
        if let Some(status) = &mut self.status {
            (status.conditions, status.dkim) = (vec![], vec![]);
            status.dns.iter_mut().for_each(|dns| dns.records = vec![]);
        }
    }
}

impl Stored for MailDomainClaim {
    fn store(known: &mut Known) -> &mut Store<Self> {
        &mut known.claims
    }
}

impl Stored for MailInstance {
    fn store(known: &mut Known) -> &mut Store<Self> {
        &mut known.instances
    }
}

impl Stored for GroupwareBackend {
    fn store(known: &mut Known) -> &mut Store<Self> {
        &mut known.backends
    }
}

/// What is served for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The domain in canonical form.
    pub name: String,
    /// Its MTA-STS policy; none: it has none.
    pub policy: Option<MtaStsPolicy>,
    /// What mail clients are told; none: they are told nothing.
    pub offered: Option<Discovery>,
}

impl Known {
    /// Takes in an event of a watch.
    pub fn apply<K: Stored>(&mut self, event: Event<K>) {
        let slim = |mut object: K| {
            object.slim();
            object
        };
        K::store(self).apply(match event {
            Event::Listed(object) => Event::Listed(slim(object)),
            Event::Applied(object) => Event::Applied(slim(object)),
            other => other,
        });
    }

    /// Whether every kind was listed. Before that "not there" means nothing.
    pub fn synced(&self) -> bool {
        self.domains.synced() && self.claims.synced() && self.instances.synced() && self.backends.synced()
    }

    /// What is served for a name in canonical form; none: nobody holds it. A MailDomain of that name which does not hold the claim,
    /// by its uid, has no say.
    pub fn served(&self, domain: &str) -> Option<Served> {
        let owner = self.claims.get(&NamespacedName::new("", domain))?.spec.owner.clone();
        let key = NamespacedName::new(owner.namespace, owner.name);
        let object = self.domains.get(&key).filter(|d| d.metadata.uid.as_ref() == Some(&owner.uid))?;
        if name::mail_domain(&object.spec.domain).as_deref() != Ok(domain) {
            return None;
        }
        let instance = self.instances.get(&key.sibling(&object.spec.instance_ref.name))?;
        let backend = self.backends.get(&NamespacedName::new("", &instance.spec.backend_ref.name))?;
        let hosts = &backend.spec.hosts;
        // Without it no record leads here, and senders are told of nothing.
        hosts.well_known.as_ref()?;
        let policy = object.status.as_ref().and_then(|s| s.dns.as_ref()).and_then(|d| d.mta_sts.as_ref());
        Some(Served {
            name: domain.to_owned(),
            policy: policy.map(|sts| sts.policy()),
            offered: object.spec.dns.client_discovery.then(|| hosts.discovery()),
        })
    }

    /// Whether a GroupwareBackend names this host for the documents of its domains.
    pub fn is_platform_host(&self, host: &str) -> bool {
        self.backends.iter().any(|(_, b)| b.spec.hosts.well_known.as_deref() == Some(host))
    }
}

#[cfg(test)]
#[path = "known_tests.rs"]
pub(crate) mod tests;
