//! The finalizer of an object: added before anything is created elsewhere, removed once that is proven to be gone.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// How far the cleanup of a deleted object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleanup<W> {
    /// Nothing is left to clean up: the finalizer may be removed.
    Done,
    /// Something is left, and this is why. The finalizer stays.
    Waiting(W),
}

/// Adds the finalizer by compare-and-set; returns the object as written, or `None` if it has the finalizer already. An
/// API error 409: somebody else wrote the object since the caller read it.
pub async fn add<K>(api: &Api<K>, object: &K, finalizer: &str, manager: &str) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    if object.finalizers().iter().any(|f| f == finalizer) {
        return Ok(None);
    }
    let mut all = object.finalizers().to_vec();
    all.push(finalizer.into());
    set(api, object, &all, manager).await.map(Some)
}

/// Removes the finalizer by compare-and-set; returns the object as written, or `None` if it has no
/// such finalizer or is gone.
pub async fn remove<K>(api: &Api<K>, object: &K, finalizer: &str, manager: &str) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    if !object.finalizers().iter().any(|f| f == finalizer) {
        return Ok(None);
    }
    let rest: Vec<String> = object.finalizers().iter().filter(|f| *f != finalizer).cloned().collect();
    match set(api, object, &rest, manager).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn set<K>(api: &Api<K>, object: &K, finalizers: &[String], manager: &str) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let patch = json!({"metadata": {
        "uid": object.meta().uid, "resourceVersion": object.meta().resource_version, "finalizers": finalizers
    }});
    let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    api.patch(&object.name_any(), &params, &Patch::Merge(&patch)).await
}
