//! The parents of an object, as the world has them: instance, domain, backend, and whether they may be used. Pure.

use crate::not_ready::NotReady;
use crate::rules::loss;
use crate::state::derived::{a_label, owner_uid};
use crate::state::kind::{Kind, ObjectId};
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_groupware::{DomainName, Holders, TenantId};
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// Instance and backend of a tenant object, checked.
#[derive(Debug, Clone)]
pub struct Instance {
    pub object: Arc<MailInstance>,
    pub key: NamespacedName,
    /// Id at the backend; none while it is not provisioned.
    pub id: Option<TenantId>,
    pub backend: Arc<GroupwareBackend>,
}

/// A domain with its instance, checked.
#[derive(Debug, Clone)]
pub struct Domain {
    pub object: Arc<MailDomain>,
    /// Key of the MailDomain.
    pub key: NamespacedName,
    /// The domain, in A-labels.
    pub name: DomainName,
    pub instance: Instance,
}

/// Where something lies at a server: all that its way out needs to know of its domain, also where the MailDomain is gone.
#[derive(Debug, Clone)]
pub struct Place {
    /// Key of the MailDomain.
    pub key: NamespacedName,
    /// The domain, in A-labels.
    pub name: DomainName,
    pub instance: Instance,
}

impl Domain {
    /// Where what is in it lies.
    pub fn place(&self) -> Place {
        Place { key: self.key.clone(), name: self.name.clone(), instance: self.instance.clone() }
    }

    /// Whose domain and tenant something must be put into. A domain that is only observed is nobody's.
    pub fn holders(&self) -> Holders {
        let observes = self.object.spec.management_policy == ManagementPolicy::Observe;
        Holders { domain: (!observes).then(|| owner_uid(self.object.as_ref())), ..self.instance.holders() }
    }
}

impl Instance {
    /// Whose tenant a domain must be put into.
    pub fn holders(&self) -> Holders {
        Holders { tenant: Some(owner_uid(self.object.as_ref())), domain: None }
    }
}

/// The backend of an instance, if the namespace may use it.
pub fn backend(world: &World, instance: &MailInstance, for_deletion: bool) -> Result<Arc<GroupwareBackend>, NotReady> {
    let name = &instance.spec.backend_ref.name;
    let backend = world.groupware.get(&NamespacedName::new("", name)).ok_or_else(|| {
        NotReady::waiting(
            Reason::BackendNotFound,
            format!("GroupwareBackend {name} is not there: the platform team has to create it"),
        )
    })?;
    let made = !never_made(instance.status.as_ref().and_then(|s| s.ownership));
    if !for_deletion && !made && backend.metadata.deletion_timestamp.is_some() {
        let text = format!("GroupwareBackend {name} is being deleted: name another one in a new MailInstance");
        return Err(NotReady::stalled(Reason::BackendNotAllowed, text));
    }
    let namespace = instance.metadata.namespace.as_deref().unwrap_or_default();
    // Who may no longer make something may still take down what was made.
    if !for_deletion && !backend.spec.allowed_namespaces.allows(namespace, &world.namespace_labels(namespace)) {
        return Err(NotReady::stalled(
            Reason::BackendNotAllowed,
            format!(
                "GroupwareBackend {name} does not allow namespace {namespace}: ask the platform team to add it to spec.allowedNamespaces"
            ),
        ));
    }
    Ok(backend)
}

/// An object that cannot be decoded is there all the same.
fn readable(world: &World, kind: Kind, key: &NamespacedName) -> Result<(), NotReady> {
    match world.broken.get(&ObjectId::new(kind, key.clone())) {
        None => Ok(()),
        Some(_) => {
            let text = format!("{} {} cannot be decoded: correct it", kind.as_str(), key.name);
            Err(NotReady::retry(Reason::Undecodable, text))
        }
    }
}

/// The instance of an object, and its backend.
pub fn instance(world: &World, key: &NamespacedName, for_deletion: bool) -> Result<Instance, NotReady> {
    readable(world, Kind::MailInstance, key)?;
    let object = world.instances.get(key).ok_or_else(|| {
        NotReady::waiting(Reason::InstanceNotFound, format!("MailInstance {} is not there: create it", key.name))
    })?;
    let backend = backend(world, &object, for_deletion)?;
    let status = object.status.clone().unwrap_or_default();
    let id = status.instance_id.filter(|_| status.ownership.is_some()).map(TenantId::new);
    Ok(Instance { object, key: key.clone(), id, backend })
}

/// The domain of an object, with its instance; both usable for something new unless `for_deletion`.
pub fn domain(world: &World, key: &NamespacedName, for_deletion: bool) -> Result<Domain, NotReady> {
    readable(world, Kind::MailDomain, key)?;
    let object = world.domains.get(key).ok_or_else(|| {
        NotReady::waiting(Reason::DomainNotFound, format!("MailDomain {} is not there: create it", key.name))
    })?;
    let instance = instance(world, &key.sibling(&object.spec.instance_ref.name), for_deletion)?;
    let status = object.status.clone().unwrap_or_default();
    if !for_deletion {
        if instance.id.is_none() {
            return Err(NotReady::waiting(
                Reason::InstanceNotReady,
                format!("MailInstance {} is not ready yet: see its conditions", instance.key.name),
            ));
        }
        if object.metadata.deletion_timestamp.is_some() {
            return Err(NotReady::waiting(
                Reason::DomainNotReady,
                format!("MailDomain {} is being deleted: nothing new is made in it", key.name),
            ));
        }
        if !conditions::is_true(&status.conditions, ConditionType::Provisioned) {
            if instance.object.status.as_ref().and_then(|s| s.mass_loss) == Some(mail_instance::MassLossState::Held) {
                return Err(loss::not_ready(&instance.key.name, None));
            }
            return Err(NotReady::waiting(
                Reason::DomainNotReady,
                format!("MailDomain {} is not provisioned yet: see its conditions", key.name),
            ));
        }
    }
    Ok(Domain { name: a_label(&object), object, key: key.clone(), instance })
}

/// Whether `managementPolicy: Observe` stands on an object or its instance.
pub fn observes(own: ManagementPolicy, instance: &MailInstance) -> bool {
    [own, instance.spec.management_policy].contains(&ManagementPolicy::Observe)
}

/// Whether something new may be made in a domain: it holds its name. What its status says (`Provisioned`, an id) may have been
/// written by others and is no right to anybody's rows (I13). Whoever only looks holds nothing. What was made already goes
/// on being served while the name is disputed; the server compares whose it is.
pub fn holds_name(world: &World, domain: &Domain) -> Result<(), NotReady> {
    if world.holds_name(&domain.object) || observes(domain.object.spec.management_policy, &domain.instance.object) {
        return Ok(());
    }
    let text = format!("MailDomain {} does not hold its name: see its conditions", domain.key.name);
    Err(NotReady::waiting(Reason::DomainNotReady, text))
}

/// Whether writing is switched off for an object of this instance.
pub fn paused_by(instance: &MailInstance) -> Option<NotReady> {
    paused(instance).then(|| {
        let name = instance.metadata.name.as_deref().unwrap_or_default();
        NotReady::waiting(
            Reason::Paused,
            format!("MailInstance {name} is paused: remove its annotation {}", annotations::PAUSED),
        )
    })
}

/// The object itself is paused.
pub fn paused_itself() -> NotReady {
    NotReady::waiting(Reason::Paused, format!("nothing is written: remove the annotation {}", annotations::PAUSED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use mailtenant_runtime::store::Event;
    use serde_json::{Value, json};

    /// What a status says of a row is not enough (I13): the server compares whose it is.
    #[test]
    fn what_is_made_says_whose_tenant_and_domain_it_goes_into() {
        let mut domain = fixtures::domain(json!({}));
        let (tenant, own) = (owner_uid(domain.instance.object.as_ref()), owner_uid(domain.object.as_ref()));
        let instances = Holders { tenant: Some(tenant.clone()), domain: None };
        assert_eq!(domain.instance.holders(), instances);
        assert_eq!(domain.holders(), Holders { tenant: Some(tenant), domain: Some(own) });
        let mut object = (*domain.object).clone();
        object.spec.management_policy = ManagementPolicy::Observe;
        domain.object = Arc::new(object);
        assert_eq!(domain.holders(), instances, "only observed, it is nobody's");
    }

    /// A forged status (`Provisioned`, an id) is in none of the rows: it is not looked at.
    #[test]
    fn something_new_is_made_only_by_who_holds_the_name() {
        let claim = |uid: &str| json!({"namespace": "t", "name": "d", "uid": uid});
        for (name, owner, own, above, may) in [
            ("its own", claim("uid-d"), "Full", "Full", true),
            ("another's", claim("uid-x"), "Full", "Full", false),
            ("nobody's", Value::Null, "Full", "Full", false),
            ("only observed", Value::Null, "Observe", "Full", true),
            ("in an observed instance", Value::Null, "Full", "Observe", true),
        ] {
            let mut domain = fixtures::domain(json!({"managementPolicy": above}));
            let mut object = (*domain.object).clone();
            object.spec.management_policy = serde_json::from_value(json!(own)).unwrap();
            domain.object = Arc::new(object);
            let mut world = World::default();
            if !owner.is_null() {
                let claim = json!({"apiVersion": API_VERSION, "kind": "MailDomainClaim", "spec": {"owner": owner},
                    "metadata": {"name": "acme.test", "uid": "c", "resourceVersion": "1"}});
                world.apply::<MailDomainClaim>(Event::Applied(serde_json::from_value(claim).unwrap()));
            }
            let refused = holds_name(&world, &domain);
            assert_eq!(refused.is_ok(), may, "{name}");
            assert!(refused.is_ok() || matches!(refused, Err(n) if n.reason == Reason::DomainNotReady), "{name}");
        }
    }
}
