//! The objects of one kind as a watch delivers them: a pure data structure, fed by [`super::watch`].
//!
//! Every change comes out as a [`Delta`], also for objects that were deleted while a watch was broken: kube's own
//! `touched_objects` does not report those, and a parent would never learn that its last child is gone. The caller puts
//! in the results of its own writes at once ([`Store::observe`]), so that the next pass never sees an older object.

use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// Its namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name in the namespace (`metadata.name`).
    pub name: String,
}

impl NamespacedName {
    /// The key of an object that need not exist.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        NamespacedName { namespace: namespace.into(), name: name.into() }
    }
    /// The key of an object at hand.
    pub fn of<K: Resource>(object: &K) -> Self {
        NamespacedName::new(
            object.meta().namespace.clone().unwrap_or_default(),
            object.meta().name.clone().unwrap_or_default(),
        )
    }
    /// The key of another object in the same namespace.
    pub fn sibling(&self, name: impl Into<String>) -> Self {
        NamespacedName::new(self.namespace.clone(), name)
    }
}

impl std::fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// A change of one object: created (no `old`), changed, or deleted (no `new`).
#[derive(Debug)]
pub struct Delta<K> {
    /// Namespace and name of the object.
    pub key: NamespacedName,
    /// The object before the change.
    pub old: Option<Arc<K>>,
    /// The object after the change.
    pub new: Option<Arc<K>>,
}

/// An event of a watch, as [`Store::apply`] takes it.
#[derive(Debug)]
pub enum Event<K> {
    /// A new list begins.
    Init,
    /// An object of the list.
    Listed(K),
    /// The list is complete: objects that were not in it are gone.
    ListedDone,
    /// An object was created or changed.
    Applied(K),
    /// An object was deleted.
    Deleted {
        /// Namespace and name of the object.
        key: NamespacedName,
        /// Its uid: a new object of the same name is not deleted.
        uid: Option<String>,
    },
}

/// All objects of one kind, by namespace and name.
#[derive(Debug)]
pub struct Store<K> {
    objects: BTreeMap<NamespacedName, Arc<K>>,
    listing: Option<Listing<K>>,
    synced: bool,
}

/// A list that is not complete yet.
#[derive(Debug)]
struct Listing<K> {
    objects: BTreeMap<NamespacedName, Arc<K>>,
    /// What the caller wrote since the list began: the list may be older.
    observed: BTreeSet<NamespacedName>,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Listing { objects: BTreeMap::new(), observed: BTreeSet::new() }
    }
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Store { objects: BTreeMap::new(), listing: None, synced: false }
    }
}

/// A resourceVersion as a number: comparable since Kubernetes 1.35 (KEP-5504), and in fact ever since etcd 3.
pub(crate) fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(u64::MAX)
}

fn same_uid<K: Resource>(a: &K, b: &K) -> bool {
    a.meta().uid == b.meta().uid
}

impl<K: Resource> Store<K> {
    /// Takes in one event of the watch; returns what it changed.
    pub fn apply(&mut self, event: Event<K>) -> Vec<Delta<K>> {
        match event {
            Event::Init => {
                self.listing = Some(Listing::default());
                vec![]
            }
            Event::Listed(object) => {
                let listing = self.listing.get_or_insert_default();
                listing.objects.insert(NamespacedName::of(&object), Arc::new(object));
                vec![]
            }
            Event::ListedDone => self.swap(),
            Event::Applied(object) => self.put(object).into_iter().collect(),
            Event::Deleted { key, uid } => match self.objects.get(&key) {
                Some(have) if have.meta().uid == uid => {
                    let old = self.objects.remove(&key);
                    vec![Delta { key, old, new: None }]
                }
                _ => vec![],
            },
        }
    }

    /// Takes in the result of a write; none: the object is gone, or the store has a newer version of it.
    pub fn observe(&mut self, object: K) -> Option<Delta<K>> {
        let key = NamespacedName::of(&object);
        let have = self.objects.get(&key)?;
        if !same_uid(have.as_ref(), &object) {
            return None;
        }
        if let Some(listing) = &mut self.listing {
            listing.observed.insert(key);
        }
        self.put(object)
    }

    fn put(&mut self, object: K) -> Option<Delta<K>> {
        let key = NamespacedName::of(&object);
        if let Some(have) = self.objects.get(&key)
            && same_uid(have.as_ref(), &object)
            && version(have.as_ref()) >= version(&object)
        {
            return None;
        }
        let new = Arc::new(object);
        let old = self.objects.insert(key.clone(), new.clone());
        Some(Delta { key, old, new: Some(new) })
    }

    /// The list has the word, also where it is older than what is here: the server may have been restored to an earlier
    /// state, whose resourceVersions are lower. What was written since the list began is newer than the list.
    fn swap(&mut self) -> Vec<Delta<K>> {
        let Listing { objects: listed, observed } = self.listing.take().unwrap_or_default();
        self.synced = true;
        let gone: Vec<_> = self.objects.keys().filter(|k| !listed.contains_key(*k)).cloned().collect();
        let mut deltas = vec![];
        for key in gone {
            let old = self.objects.remove(&key);
            deltas.push(Delta { key, old, new: None });
        }
        for (key, new) in listed {
            let (keeps, listed) = (observed.contains(&key), version(new.as_ref()));
            match self.objects.get(&key).map(|have| (same_uid(have.as_ref(), new.as_ref()), version(have.as_ref()))) {
                Some((true, have)) if have == listed || (keeps && have > listed) => {}
                _ => {
                    let old = self.objects.insert(key.clone(), new.clone());
                    deltas.push(Delta { key, old, new: Some(new) });
                }
            }
        }
        deltas
    }

    /// Whether a complete list was taken in.
    pub fn synced(&self) -> bool {
        self.synced
    }
    /// The object of this name; none: there is no such object.
    pub fn get(&self, key: &NamespacedName) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }
    /// All objects, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&NamespacedName, &Arc<K>)> {
        self.objects.iter()
    }
    /// Number of objects in the store.
    pub fn len(&self) -> usize {
        self.objects.len()
    }
    /// Whether the store has no objects.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// Removes `managedFields` and the last applied configuration, which a controller never reads, before an object is
/// kept: 100,000 objects with them took 1,888 MiB, without them 291 MiB.
pub fn prune<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(name: &str, uid: &str, version: u64) -> ConfigMap {
        let mut o = ConfigMap::default();
        o.metadata.name = Some(name.into());
        o.metadata.namespace = Some("ns".into());
        o.metadata.uid = Some(uid.into());
        o.metadata.resource_version = Some(version.to_string());
        o
    }
    fn shown(deltas: &[Delta<ConfigMap>]) -> Vec<String> {
        let rv =
            |o: &Option<Arc<ConfigMap>>| o.as_ref().map_or("-".into(), |o| o.resource_version().unwrap_or_default());
        deltas.iter().map(|d| format!("{} {}>{}", d.key.name, rv(&d.old), rv(&d.new))).collect()
    }

    #[test]
    fn objects_deleted_while_a_watch_was_broken_are_reported() {
        let mut s = Store::default();
        s.apply(Event::Init);
        s.apply(Event::Listed(object("a", "1", 1)));
        s.apply(Event::Listed(object("b", "2", 2)));
        assert!(!s.synced());
        assert_eq!(shown(&s.apply(Event::ListedDone)), ["a ->1", "b ->2"]);
        s.apply(Event::Init);
        s.apply(Event::Listed(object("b", "3", 9)));
        assert_eq!(shown(&s.apply(Event::ListedDone)), ["a 1>-", "b 2>9"]);
    }

    /// An etcd that was restored without a bump of its revision: everything has lower versions than before.
    #[test]
    fn a_complete_list_has_the_word_but_for_what_was_written_since_it_began() {
        let mut s = Store::default();
        for (name, version) in [("back", 9), ("gone", 8), ("same", 3), ("written", 4)] {
            s.apply(Event::Applied(object(name, name, version)));
        }
        s.observe(object("back", "back", 10));
        s.apply(Event::Init);
        s.observe(object("written", "written", 7));
        for (name, version) in [("back", 2), ("same", 3), ("written", 6)] {
            s.apply(Event::Listed(object(name, name, version)));
        }
        assert_eq!(shown(&s.apply(Event::ListedDone)), ["gone 8>-", "back 10>2"]);
        // From here on events are as new as ever.
        assert_eq!(shown(&s.apply(Event::Applied(object("back", "back", 3)))), ["back 2>3"]);
        s.apply(Event::Init);
        s.apply(Event::Listed(object("written", "written", 6)));
        assert_eq!(
            shown(&s.apply(Event::ListedDone)),
            ["back 3>-", "same 3>-", "written 7>6"],
            "written before this list"
        );
    }

    #[test]
    fn our_own_write_is_never_overwritten_by_an_older_event_nor_brings_back_what_is_gone() {
        let mut s = Store::default();
        s.apply(Event::Applied(object("a", "1", 1)));
        assert_eq!(shown(&s.observe(object("a", "1", 5)).into_iter().collect::<Vec<_>>()), ["a 1>5"]);
        assert!(s.apply(Event::Applied(object("a", "1", 4))).is_empty());
        assert!(s.apply(Event::Applied(object("a", "1", 5))).is_empty());
        s.apply(Event::Deleted { key: NamespacedName::new("ns", "a"), uid: Some("1".into()) });
        assert!(s.observe(object("a", "1", 5)).is_none());
        assert!(s.is_empty());
        s.apply(Event::Applied(object("a", "2", 3)));
        assert!(s.observe(object("a", "1", 9)).is_none(), "another object of that name");
    }
}
