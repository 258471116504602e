//! A status under construction: each step puts in what it found, whatever becomes of the next.

use super::write::{Wrote, write_status};
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::state::managed::Managed;
use kube::Api;
use kube::core::object::HasStatus;
use mailtenant_api::{Condition, ConditionType, Conditions, ObjectStatus, Reason, is_deleting};
use mailtenant_runtime::store::NamespacedName;
use serde::Serialize;
use std::sync::Arc;

/// A kind that reports a status.
pub trait WithStatus: Managed + Serialize + HasStatus<Status: ObjectStatus + Send + Sync> {
    /// The API of the kind; `namespace` means nothing for a cluster-scoped one.
    fn api(ctx: &Ctx, namespace: &str) -> Api<Self>;
}

/// A status under construction.
pub struct Draft<K: WithStatus> {
    /// The object that this pass is about; its spec stays the one that was looked at.
    pub object: Arc<K>,
    /// All but the conditions.
    pub status: K::Status,
    pub conditions: Conditions,
    /// The conditions as the pass found them.
    pub before: Vec<Condition>,
    written: Option<Arc<K>>,
}

impl<K: WithStatus> Draft<K> {
    /// Starts from what the status says now.
    pub fn new(ctx: &Ctx, object: Arc<K>) -> Self {
        let generation = object.meta().generation;
        let mut status = object.status().cloned().unwrap_or_default();
        let before = status.conditions().to_vec();
        let mut conditions = Conditions::new(&before, generation.unwrap_or_default(), ctx.clock.now());
        // On the way out it is reported anew by each pass, and must keep the time since when it holds.
        if !is_deleting(object.as_ref()) {
            conditions.remove(ConditionType::DeletionBlocked);
        } else {
            // Its MX leaves by our own hand.
            conditions.remove(ConditionType::Healthy);
        }
        status.set_observed_generation(generation);
        Draft { object, status, conditions, before, written: None }
    }

    /// [`Draft::write`] of what must be known before a server is changed: nothing is changed for an object that is gone.
    pub async fn write_first(&mut self, ctx: &Ctx) -> Step<()> {
        if self.write(ctx).await? {
            return Ok(());
        }
        Err(NotReady::waiting(Reason::Progressing, format!("the {} is gone", K::KIND.as_str())).into())
    }

    /// Writes the status as it is now, if it differs. False: the object is gone.
    pub async fn write(&mut self, ctx: &Ctx) -> Result<bool, kube::Error> {
        let mut status = self.status.clone();
        status.set_conditions(self.conditions.clone().into_vec());
        let api = K::api(ctx, self.object.meta().namespace.as_deref().unwrap_or_default());
        Ok(match write_status(ctx, &api, self.latest(ctx).as_ref(), status).await? {
            Wrote::Nothing => true,
            Wrote::Gone => false,
            Wrote::Status(written) => {
                self.written = Some(written);
                true
            }
        })
    }

    /// The object that this pass knows all of: as it began, or as its own last write returned it. Whatever somebody else
    /// wrote meanwhile makes a compare-and-set with it fail, so that a finalizer is taken off only for what was judged.
    pub fn judged(&self) -> &K {
        self.written.as_ref().unwrap_or(&self.object)
    }

    /// The object as the world has it, for the comparison: what was written in this pass counts.
    fn latest(&self, ctx: &Ctx) -> Arc<K> {
        let known = ctx.world().get::<K>(&NamespacedName::of(self.object.as_ref()));
        known.filter(|k| k.meta().uid == self.object.meta().uid).unwrap_or_else(|| self.object.clone())
    }
}
