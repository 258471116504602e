//! The parents of an object that is being deleted.

use crate::not_ready::NotReady;
use crate::state::parents::{self, Domain, Instance, Place};
use crate::state::world::World;
use mailtenant_runtime::store::NamespacedName;

/// The parents of an object that is being deleted, as far as they are known.
#[derive(Default)]
pub struct Above {
    domain: Option<Domain>,
    place: Option<Place>,
    /// None: a platform kind, which has nothing above it and nothing at a groupware server.
    pub(super) instance: Option<Result<Instance, NotReady>>,
}

impl Above {
    /// Of something in a domain.
    pub fn in_domain(world: &World, domain: &NamespacedName) -> Self {
        match parents::domain(world, domain, true) {
            Ok(domain) => {
                Above { instance: Some(Ok(domain.instance.clone())), place: Some(domain.place()), domain: Some(domain) }
            }
            Err(not_ready) => Above { instance: Some(Err(not_ready)), ..Above::default() },
        }
    }

    /// Of something in a domain whose MailDomain is gone.
    pub fn in_place(place: Place) -> Self {
        Above { instance: Some(Ok(place.instance.clone())), place: Some(place), domain: None }
    }

    /// Of something in an instance, or of the instance itself.
    pub fn in_instance(world: &World, instance: &NamespacedName) -> Self {
        Above { instance: Some(parents::instance(world, instance, true)), ..Above::default() }
    }

    /// The instance, if it is known.
    pub fn instance(&self) -> Option<&Instance> {
        self.instance.as_ref()?.as_ref().ok()
    }

    /// The domain, if it is known.
    pub fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    /// Where something in a domain lies, if that is known.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Why the parents cannot be used.
    pub fn lacks(&self) -> Option<&NotReady> {
        self.instance.as_ref()?.as_ref().err()
    }
}
