//! Writes a status by server-side apply, and only if it differs.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// Applies `status`, if the object is still the one that was seen. Returns the object as written. An object that is gone is
/// fine. 409: somebody else wrote in between, or another object has the name now.
///
/// It is the resourceVersion that says so: kube-apiserver (1.36) takes no notice of another uid in a patch of the status.
pub async fn apply<K, S>(api: &Api<K>, object: &K, status: &S, manager: &str) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let patch = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "resourceVersion": object.meta().resource_version},
        "status": status,
    });
    match api.patch_status(&object.name_any(), &PatchParams::apply(manager).force(), &Patch::Apply(&patch)).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(s)) if s.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
