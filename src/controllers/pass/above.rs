//! The parents of an object that is being deleted.

use crate::not_ready::NotReady;
use crate::state::parents::{self, Domain, Instance};
use crate::state::world::World;
use mailtenant_runtime::store::NamespacedName;

/// The parents of an object that is being deleted, as far as they are known.
#[derive(Default)]
pub struct Above {
    domain: Option<Domain>,
    /// None: a platform kind, which has nothing above it and nothing at a groupware server.
    pub(super) instance: Option<Result<Instance, NotReady>>,
}

impl Above {
    /// Of something in a domain.
    pub fn in_domain(world: &World, domain: &NamespacedName) -> Self {
        match parents::domain(world, domain, true) {
            Ok(domain) => Above { instance: Some(Ok(domain.instance.clone())), domain: Some(domain) },
            Err(not_ready) => Above { instance: Some(Err(not_ready)), domain: None },
        }
    }

    /// Of something in an instance, or of the instance itself.
    pub fn in_instance(world: &World, instance: &NamespacedName) -> Self {
        Above { instance: Some(parents::instance(world, instance, true)), domain: None }
    }

    /// The instance, if it is known.
    pub fn instance(&self) -> Option<&Instance> {
        self.instance.as_ref()?.as_ref().ok()
    }

    /// The domain, if it is known.
    pub fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }
}
