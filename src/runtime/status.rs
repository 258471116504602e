//! Writes a status by server-side apply, and only to the object that it was computed for.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// Most tries of a write where others write the object in between.
const ROUNDS: usize = 5;

/// Applies `status` to this object, whatever others have written to it since it was read, and to no later
/// one of its name. Returns the object as written, or `None` if it is gone. An API error 409: others wrote
/// it in between, five times.
///
/// The resourceVersion names the object: kube-apiserver (1.36) ignores a uid in a patch of the status.
pub async fn apply<K, S>(api: &Api<K>, object: &K, status: &S, manager: &str) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let name = object.name_any();
    let mut version = object.resource_version();
    for _ in 1..ROUNDS {
        match once(api, &name, version, status, manager).await {
            Err(kube::Error::Api(s)) if s.is_conflict() => {}
            other => return other,
        }
        match api.get_metadata_opt(&name).await? {
            Some(live) if live.metadata.uid == object.meta().uid => version = live.metadata.resource_version,
            _ => return Ok(None),
        }
    }
    once(api, &name, version, status, manager).await
}

async fn once<K, S>(
    api: &Api<K>,
    name: &str,
    version: Option<String>,
    status: &S,
    manager: &str,
) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let patch = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"name": name, "resourceVersion": version},
        "status": status,
    });
    match api.patch_status(name, &PatchParams::apply(manager).force(), &Patch::Apply(&patch)).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(s)) if s.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
