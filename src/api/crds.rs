//! The CustomResourceDefinitions, as they stand in `crds/`.

use super::*;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

/// All CRDs, backends first, in the order in which they are applied.
pub fn all() -> Vec<Value> {
    [
        GroupwareBackend::crd(),
        DNSBackend::crd(),
        MailInstance::crd(),
        MailDomain::crd(),
        Mailbox::crd(),
        MailAlias::crd(),
        MailDomainClaim::crd(),
    ]
    .into_iter()
    .map(finish)
    .collect()
}

/// What the derive cannot say: a status that is "not looked at yet" from the first moment on, so that kstatus
/// (Flux, Helm 4, Argo CD) never takes an object without a status for a ready one.
fn finish(crd: CustomResourceDefinition) -> Value {
    let mut crd = serde_json::to_value(crd).unwrap_or_default();
    if let Some(versions) = crd.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(status) = version.pointer_mut("/schema/openAPIV3Schema/properties/status")
                && status.get("properties").is_some_and(|p| p.get("observedGeneration").is_some())
            {
                status["default"] = json!({"observedGeneration": -1});
            }
        }
    }
    crd
}

/// One YAML text of all CRDs.
pub fn yaml() -> Result<String, serde_yaml::ser::Error> {
    let mut out = String::new();
    for crd in all() {
        out.push_str("---\n");
        out.push_str(&serde_yaml::to_string(&crd)?);
    }
    Ok(out)
}
