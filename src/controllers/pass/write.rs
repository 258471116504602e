//! What a pass writes to its own object: finalizer and status. What the write returns is put into the world at once.

use super::judged::is_judged_alike;
use crate::ctx::Ctx;
use crate::state::managed::Managed;
use kube::core::object::HasStatus;
use kube::{Api, ResourceExt};
use mailtenant_api::{FIELD_MANAGER, FINALIZER};
use serde::Serialize;
use std::sync::Arc;

/// Puts the finalizer on if it is missing; returns the object to go on with.
pub async fn with_finalizer<K>(ctx: &Ctx, api: &Api<K>, object: Arc<K>) -> Result<Arc<K>, kube::Error>
where
    K: Managed,
{
    match mailtenant_runtime::finalizer::add(api, object.as_ref(), FINALIZER, FIELD_MANAGER).await? {
        Some(mut written) => {
            mailtenant_runtime::store::prune(&mut written);
            ctx.absorb(written.clone());
            Ok(Arc::new(written))
        }
        None => Ok(object),
    }
}

/// How often a finalizer is tried to be taken off in one pass while somebody writes what no guard judges.
const TRIES: usize = 5;

/// Takes the finalizer off what was judged. An API error 409: what a guard judges is not as it was any more.
pub async fn without_finalizer<K>(ctx: &Ctx, api: &Api<K>, judged: &K) -> Result<(), kube::Error>
where
    K: Managed + Serialize,
{
    let mut object = judged.clone();
    for left in (0..TRIES).rev() {
        match mailtenant_runtime::finalizer::remove(api, &object, FINALIZER, FIELD_MANAGER).await {
            Ok(Some(written)) => {
                ctx.absorb(written);
                return Ok(());
            }
            Ok(None) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() && left > 0 => {
                match api.get_opt(&object.name_any()).await? {
                    Some(live) if is_judged_alike(&live, judged) => object = live,
                    _ => return Err(kube::Error::Api(status)),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How a status was written.
pub enum Wrote<K> {
    /// It is so already.
    Nothing,
    /// The object with it, as Kubernetes returned it.
    Status(Arc<K>),
    /// The object is gone.
    Gone,
}

/// Writes a status if it differs, or if a write of one may have been carried out without our knowing: what the world has
/// says nothing then, and what was written in between would stay.
pub async fn write_status<K>(ctx: &Ctx, api: &Api<K>, object: &K, status: K::Status) -> Result<Wrote<K>, kube::Error>
where
    K: Managed + HasStatus,
    K::Status: PartialEq + serde::Serialize,
{
    let unsure = ctx.is_unsure(object);
    if object.status() == Some(&status) && !unsure {
        return Ok(Wrote::Nothing);
    }
    // Until the answer is here, and if none comes: a pass that is ended in between leaves it so.
    ctx.set_unsure(object, true);
    let applied = mailtenant_runtime::status::apply(api, object, &status, FIELD_MANAGER).await?;
    ctx.set_unsure(object, false);
    Ok(match applied {
        None => Wrote::Gone,
        Some(written) => {
            ctx.absorb(written.clone());
            Wrote::Status(Arc::new(written))
        }
    })
}
