//! The ConfigMap with the records of a domain as a zone file, for tenants who paste all at once. One of that name that is
//! not the domain's own is never written.

use super::facts::ZoneFile;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use mailtenant_api::*;
use mailtenant_runtime::dispatch::Next;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Key of the ConfigMap that holds the zone file.
pub const KEY: &str = "zone";

/// Pause before a ConfigMap of somebody else is looked at again.
const AGAIN: Duration = Duration::from_secs(300);

/// Name of the ConfigMap of a domain.
pub fn name(domain: &MailDomain) -> String {
    format!("{}-records", domain.name_any())
}

fn owner(domain: &MailDomain) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.into(),
        kind: MailDomain::kind(&()).into(),
        name: domain.name_any(),
        uid: uid(domain),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

fn is_own(map: &ConfigMap, domain: &MailDomain) -> bool {
    map.owner_references().iter().any(|o| o.uid == uid(domain))
}

/// Has the ConfigMap hold a text. It is written only if it does not yet. What Kubernetes refuses keeps no record out of the
/// status.
pub async fn write(ctx: &Ctx, domain: &MailDomain, text: String) -> Step<ZoneFile> {
    let name = name(domain);
    let file = |problem: Option<NotReady>| ZoneFile { name: name.clone(), text: text.clone(), problem };
    let api = ctx.api::<ConfigMap>(&domain.namespace().unwrap_or_default());
    let there = match api.get_opt(&name).await {
        Ok(there) => there,
        // Platforms may give the right in some namespaces alone: docs/security.md.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(file(Some(refused(&name, &status.message)))),
        Err(error) => return Err(error.into()),
    };
    let end = match there {
        Some(map) if !is_own(&map, domain) => return Ok(file(Some(not_owned(&name)))),
        Some(map) if map.data.as_ref().and_then(|d| d.get(KEY)) == Some(&text) => return Ok(file(None)),
        Some(map) => update(&api, &map, &text).await,
        None => create(&api, domain, &text).await,
    };
    match end {
        Ok(()) => Ok(file(None)),
        // Somebody else made or changed it just now: the next pass looks again.
        Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => Err(NotReady::retry(
            Reason::Progressing,
            format!("ConfigMap {name} changed just now: it is looked at again"),
        )
        .into()),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
            Ok(file(Some(refused(&name, &status.message))))
        }
        Err(error) => Err(error.into()),
    }
}

fn refused(name: &str, message: &str) -> NotReady {
    let text = format!("Kubernetes refused ConfigMap {name} with the zone file: {message}");
    NotReady::retry(Reason::KubernetesError, text)
}

fn not_owned(name: &str) -> NotReady {
    let text =
        format!("ConfigMap {name} is somebody else's and is not written: delete it, and the zone file is put there");
    // Nobody is told when it goes.
    NotReady { next: Next::After(AGAIN), ..NotReady::stalled(Reason::ConfigMapNotOwned, text) }
}

async fn create(api: &Api<ConfigMap>, domain: &MailDomain, text: &str) -> Result<(), kube::Error> {
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(domain)),
            namespace: domain.namespace(),
            owner_references: Some(vec![owner(domain)]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), text.to_owned())])),
        ..ConfigMap::default()
    };
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    api.create(&params, &map).await.map(drop)
}

/// Changes it only as it was read: one that took its place meanwhile may be somebody else's.
async fn update(api: &Api<ConfigMap>, map: &ConfigMap, text: &str) -> Result<(), kube::Error> {
    let meta = json!({"uid": map.metadata.uid, "resourceVersion": map.metadata.resource_version});
    let patch = Patch::Merge(json!({"metadata": meta, "data": {KEY: text}}));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch(&map.name_any(), &params, &patch).await.map(drop)
}
