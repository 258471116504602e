//! What is read of every object alike, whatever its kind.

use crate::{Condition, FINALIZER, Ownership, annotations};
use kube::{Resource, ResourceExt};
use serde::Serialize;

/// One annotation.
pub fn annotation<K: Resource>(object: &K, name: &str) -> Option<String> {
    object.meta().annotations.as_ref()?.get(name).cloned()
}

/// `mailtenant.dev/paused: "true"`.
pub fn paused<K: Resource>(object: &K) -> bool {
    annotation(object, annotations::PAUSED).as_deref() == Some("true")
}

/// `mailtenant.dev/orphan: "true"`.
pub fn orphan<K: Resource>(object: &K) -> bool {
    annotation(object, annotations::ORPHAN).as_deref() == Some("true")
}

/// Uid of an object; empty before it is created.
pub fn uid<K: Resource>(object: &K) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

/// Whether an object is being deleted.
pub fn is_deleting<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Whether our finalizer is on an object.
pub fn has_finalizer<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|f| f == FINALIZER)
}

/// Whether nothing of an object can be at the backend: no pass ever reported that it created or adopted something.
pub fn never_made(ownership: Option<Ownership>) -> bool {
    !matches!(ownership, Some(Ownership::Created | Ownership::Adopted))
}

/// What the statuses of all kinds have in common.
pub trait ObjectStatus: Clone + Default + PartialEq + Serialize {
    /// The conditions.
    fn conditions(&self) -> &[Condition];
    /// Replaces the conditions.
    fn set_conditions(&mut self, conditions: Vec<Condition>);
    /// Generation of the spec that the status speaks of.
    fn set_observed_generation(&mut self, generation: Option<i64>);
    /// How the object at the backend came to be ours; none for kinds that have nothing there.
    fn ownership(&self) -> Option<Ownership>;
}

macro_rules! object_status {
    ($($status:ty $(, $ownership:ident)?);* $(;)?) => {$(
        impl ObjectStatus for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
            fn set_conditions(&mut self, conditions: Vec<Condition>) {
                self.conditions = conditions;
            }
            fn set_observed_generation(&mut self, generation: Option<i64>) {
                self.observed_generation = generation;
            }
            fn ownership(&self) -> Option<Ownership> {
                None $(.or(self.$ownership))?
            }
        }
    )*};
}

object_status! {
    crate::GroupwareBackendStatus;
    crate::DNSBackendStatus;
    crate::MailInstanceStatus, ownership;
    crate::MailDomainStatus, ownership;
    crate::MailboxStatus, ownership;
    crate::MailAliasStatus, ownership;
}
