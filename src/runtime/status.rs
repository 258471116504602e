//! Writes a status by server-side apply, and only if it differs.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// Applies `status`; the uid in the patch keeps it from landing on another object of the same name.
/// Returns the object as written. An object that is gone is fine.
pub async fn apply<K, S>(api: &Api<K>, object: &K, status: &S, manager: &str) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let patch = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.meta().uid},
        "status": status,
    });
    match api.patch_status(&object.name_any(), &PatchParams::apply(manager).force(), &Patch::Apply(&patch)).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(s)) if s.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
