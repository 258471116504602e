//! A secondary index: which objects refer to which. A scan of 100,000 objects takes 2 to 7 ms,
//! a look-up here a microsecond.

use std::borrow::Borrow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Who refers to one key. Most keys have one referrer (an address, a Secret), and a `BTreeSet` of one allocates a
/// node for eleven: by the sizes of the types about 1.2 kB per object in two such indexes (calculated, not measured).
#[derive(Debug)]
enum Few<B> {
    One(B),
    Many(BTreeSet<B>),
}

/// From a key to the set of objects that refer to it.
#[derive(Debug)]
pub struct Multi<A, B>(BTreeMap<A, Few<B>>);

impl<A, B> Default for Multi<A, B> {
    fn default() -> Self {
        Multi(BTreeMap::new())
    }
}

impl<A: Ord + Clone, B: Ord + Clone> Multi<A, B> {
    /// Moves the referrer `who` from its `old` keys to its `new` ones.
    pub fn update(&mut self, who: &B, old: impl IntoIterator<Item = A>, new: impl IntoIterator<Item = A>) {
        for key in old {
            self.remove(&key, who);
        }
        for key in new {
            self.insert(key, who);
        }
    }

    fn insert(&mut self, key: A, who: &B) {
        match self.0.entry(key) {
            Entry::Vacant(empty) => {
                empty.insert(Few::One(who.clone()));
            }
            Entry::Occupied(mut have) => match have.get_mut() {
                Few::One(one) if one == who => {}
                Few::One(one) => {
                    let both = BTreeSet::from([one.clone(), who.clone()]);
                    have.insert(Few::Many(both));
                }
                Few::Many(set) => {
                    set.insert(who.clone());
                }
            },
        }
    }

    fn remove(&mut self, key: &A, who: &B) {
        let empty = match self.0.get_mut(key) {
            Some(Few::One(one)) => one == who,
            Some(Few::Many(set)) => {
                set.remove(who);
                set.is_empty()
            }
            None => false,
        };
        if empty {
            self.0.remove(key);
        }
    }

    /// The objects that refer to `key`, in their order.
    pub fn of<'a, Q: Ord + ?Sized>(&'a self, key: &Q) -> impl Iterator<Item = &'a B> + use<'a, A, B, Q>
    where
        A: Borrow<Q>,
    {
        let (one, many) = match self.0.get(key) {
            Some(Few::One(one)) => (Some(one), None),
            Some(Few::Many(set)) => (None, Some(set)),
            None => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The keys from `first` on, in their order.
    pub fn keys_from<'a>(&'a self, first: &A) -> impl Iterator<Item = &'a A> + use<'a, A, B> {
        self.0.range((Bound::Included(first.clone()), Bound::Unbounded)).map(|(key, _)| key)
    }

    /// Number of objects that refer to `key`.
    pub fn count(&self, key: &A) -> usize {
        match self.0.get(key) {
            Some(Few::One(_)) => 1,
            Some(Few::Many(set)) => set.len(),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_map_of_sets_would_do() {
        let mut multi: Multi<u8, u8> = Multi::default();
        let mut plain: BTreeMap<u8, BTreeSet<u8>> = BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let (who, old, new) = (random.u8(..6), random.u8(..6), random.u8(..6));
            multi.update(&who, [old], (new > 1).then_some(new));
            plain.entry(old).or_default().remove(&who);
            if new > 1 {
                plain.entry(new).or_default().insert(who);
            }
            for key in 0..6 {
                let want: Vec<u8> = plain.get(&key).into_iter().flatten().copied().collect();
                assert_eq!(multi.of(&key).copied().collect::<Vec<_>>(), want);
                assert_eq!(multi.count(&key), want.len());
            }
        }
        assert!(multi.0.values().all(|f| !matches!(f, Few::Many(set) if set.is_empty())), "nothing empty is kept");
    }
}
