//! What the watching half must know of a kind. Its folder below `kinds/` says it, in `watch.rs`.

use super::kind::{Kind, ObjectId};
use super::lane;
use super::wakeups::Wakeups;
use super::world::World;
use kube::Resource;
use mailtenant_runtime::queue::Lane;
use mailtenant_runtime::store::{Delta, Event, NamespacedName, Store};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// Where the objects of a kind are kept. Made by the registration.
pub trait Stored: Sized {
    const KIND: Kind;
    fn store(world: &World) -> &Store<Self>;
    /// Its objects, to be changed.
    fn store_mut(world: &mut World) -> &mut Store<Self>;
}

/// A kind that is watched and has passes.
pub trait Managed:
    Stored + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Takes a change into the index of who refers to whom.
    fn index(world: &mut World, delta: &Delta<Self>);

    /// The passes that a change asks for.
    fn wakeups(world: &World, delta: &Delta<Self>) -> Wakeups;

    /// The lane of the work queue that an object's passes run in.
    fn lane(world: &World, key: &NamespacedName) -> Lane {
        let _ = world;
        lane::unassigned(&key.namespace)
    }

    /// How one object of the kind is named.
    fn id(key: &NamespacedName) -> ObjectId {
        ObjectId::new(Self::KIND, key.clone())
    }
}

impl World {
    pub fn get<K: Managed>(&self, key: &NamespacedName) -> Option<Arc<K>> {
        K::store(self).get(key)
    }

    /// Takes in an event of a watch: store, then index. The caller asks [`Managed::wakeups`] whom it concerns.
    pub fn apply<K: Managed>(&mut self, event: Event<K>) -> Vec<Delta<K>> {
        let deltas = K::store_mut(self).apply(event);
        for delta in &deltas {
            K::index(self, delta);
        }
        deltas
    }

    /// Puts in what a write of ours returned.
    pub fn observe<K: Managed>(&mut self, object: K) -> Option<Delta<K>> {
        let delta = K::store_mut(self).observe(object)?;
        K::index(self, &delta);
        Some(delta)
    }
}
