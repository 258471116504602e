//! What objects of all kinds have in common: annotations, finalizer, status.

use crate::{Condition, FINALIZER, Ownership, annotations};
use kube::{Resource, ResourceExt};
use serde::Serialize;

/// Value of one annotation; none: the object does not have it.
pub fn annotation<K: Resource>(object: &K, name: &str) -> Option<String> {
    object.meta().annotations.as_ref()?.get(name).cloned()
}

/// Whether the object has the annotation `mailtenant.dev/paused: "true"`.
pub fn paused<K: Resource>(object: &K) -> bool {
    annotation(object, annotations::PAUSED).as_deref() == Some("true")
}

/// Whether the object has the annotation `mailtenant.dev/orphan: "true"`. Of a tenant kind it counts only while a backend
/// blocks the deletion: see [`crate::Reason::lies_at_a_backend`].
pub fn orphan<K: Resource>(object: &K) -> bool {
    annotation(object, annotations::ORPHAN).as_deref() == Some("true")
}

/// `metadata.uid` of an object; empty before it is created.
pub fn uid<K: Resource>(object: &K) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

/// Whether an object is being deleted: it has a `deletionTimestamp`.
pub fn is_deleting<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Whether an object has the finalizer [`FINALIZER`].
pub fn has_finalizer<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|f| f == FINALIZER)
}

/// Whether nothing of an object can be at the backend: no pass ever reported that it created or adopted something.
pub fn never_made(ownership: Option<Ownership>) -> bool {
    !matches!(ownership, Some(Ownership::Created | Ownership::Adopted))
}

/// What the statuses of all kinds have in common.
pub trait ObjectStatus: Clone + Default + PartialEq + Serialize {
    /// `conditions`, as they were last written.
    fn conditions(&self) -> &[Condition];
    /// Replaces `conditions` as a whole.
    fn set_conditions(&mut self, conditions: Vec<Condition>);
    /// Sets the generation of the spec that the status describes.
    fn set_observed_generation(&mut self, generation: Option<i64>);
    /// How the object at the backend came to belong to this one; none for kinds that have nothing there.
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
