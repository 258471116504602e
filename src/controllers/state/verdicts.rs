//! Verdicts about who gets what there is not enough of, and how long they are kept. [`super::limits`] makes them.

use super::kind::Kind;
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands against an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Fits,
    /// The number that the instance allows is reached.
    Number {
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// It asks for no bound in an instance that gives each mailbox a part of its storage.
    Unbounded,
    /// The storage that was booked is given out.
    Storage {
        /// What the object asks for, in bytes.
        wanted: u64,
        /// What it could have, in bytes.
        free: u128,
        /// What was booked, in bytes.
        booked: u64,
    },
}

/// Who does not get what it asks for, and why. Whoever is not in it does.
pub type Refused = BTreeMap<NamespacedName, Verdict>;

/// What verdicts were made from: as long as it is the same, so are they.
pub type Stamp = (Option<String>, Option<i64>, Vec<(NamespacedName, u64)>);

/// Verdicts of the instances that were asked for, kept until something that they depend on changes. Without it five thousand
/// mailboxes that wait for storage of one instance cost five thousand sorts of five thousand, under the world's lock.
#[derive(Default)]
pub struct Verdicts {
    pub(super) kept: BTreeMap<(NamespacedName, Kind), (Stamp, Arc<Refused>)>,
    /// How often they were made.
    pub made: u64,
}

impl Verdicts {
    /// The instance is gone.
    pub fn forget(&mut self, instance: &NamespacedName) {
        self.kept.retain(|(key, _), _| key != instance);
    }
}
