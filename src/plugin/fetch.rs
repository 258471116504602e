//! Reads what a command looks at. What may not be read is noted, and the rest is shown.

use crate::connect::Cluster;
use crate::error::gap;
use crate::kind::Kind;
use crate::object::Object;
use crate::picture::Picture;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, PartialObjectMeta};
use serde_json::Value;

/// Objects read in one request.
const PAGE: u32 = 500;

/// The objects of some kinds and what decides about them. `namespace` `None`: of all namespaces.
pub async fn picture(cluster: &Cluster, namespace: Option<&str>) -> Picture {
    let mut picture = Picture::default();
    for kind in Kind::ALL {
        let place = if kind.is_namespaced() { namespace } else { None };
        match list(cluster, &kind.resource(), place).await {
            Ok(values) => picture.objects.extend(values.into_iter().map(|value| Object { kind, value })),
            Err(error) => {
                picture.unread.insert(kind);
                let gap = gap("list", &kind.resource().plural, place.unwrap_or_default(), &error);
                picture.gaps.push(gap);
                // Nobody answers: the next one would be waited for as long.
                if !matches!(error, kube::Error::Api(_)) {
                    picture.unread.extend(Kind::ALL.into_iter().filter(|k| *k >= kind));
                    break;
                }
            }
        }
    }
    picture
}

/// What a question about one object needs besides: labels of its namespace, and claims. Neither is missed by who may not read it.
pub async fn surroundings(cluster: &Cluster, picture: &mut Picture) {
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(cluster.client.clone());
    if let Ok(namespace) = namespaces.get_metadata(&cluster.namespace).await {
        picture.labels.insert(cluster.namespace.clone(), namespace.metadata.labels.unwrap_or_default());
    }
    let claims = <mailtenant_api::MailDomainClaim as kube::CustomResourceExt>::api_resource();
    for mut claim in list(cluster, &claims, None).await.unwrap_or_default() {
        let name = claim["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        picture.claims.insert(name, claim["spec"]["owner"].take());
    }
}

/// All objects of a resource, in pages.
pub async fn list(
    cluster: &Cluster,
    resource: &ApiResource,
    namespace: Option<&str>,
) -> Result<Vec<Value>, kube::Error> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, resource),
        None => Api::all_with(cluster.client.clone(), resource),
    };
    let (mut all, mut params) = (vec![], ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await?;
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        for mut object in page.items {
            object.metadata.managed_fields = None;
            all.push(serde_json::to_value(object).map_err(kube::Error::SerdeError)?);
        }
        match next {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}
