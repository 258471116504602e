//! The CustomResourceDefinitions, as the files in `crds/` have them.

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

/// Adds what the derive cannot express.
///
/// - A default status with `observedGeneration: -1`, so that kstatus (Flux, Helm 4, Argo CD) never takes an object that
///   the operator has not looked at yet for a ready one.
/// - `null` in an optional field means "left out": the apiserver drops a null where the schema is not nullable, and
///   then `has()` in a rule and the operator see the same. Only `spf: null` and `dmarc: null` have a meaning of their own.
/// - The description of the kind is that of its spec, not a sentence about the Rust type.
fn finish(crd: CustomResourceDefinition) -> Value {
    let mut crd = serde_json::to_value(crd).unwrap_or_default();
    if let Some(versions) = crd.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                drop_nullable(schema, "");
                if let Some(kind) = schema.pointer("/properties/spec/description").cloned() {
                    schema["description"] = kind;
                }
            }
            if let Some(status) = version.pointer_mut("/schema/openAPIV3Schema/properties/status")
                && status.get("properties").is_some_and(|p| p.get("observedGeneration").is_some())
            {
                status["default"] = json!({"observedGeneration": -1});
            }
        }
    }
    crd
}

fn drop_nullable(schema: &mut Value, field: &str) {
    let Some(map) = schema.as_object_mut() else { return };
    if !["spf", "dmarc"].contains(&field) {
        map.remove("nullable");
        if map.get("default").is_some_and(Value::is_null) {
            map.remove("default");
        }
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            drop_nullable(property, name);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            drop_nullable(inner, "");
        }
    }
}

/// All CRDs as one YAML text, separated by `---`.
pub fn yaml() -> Result<String, serde_yaml::ser::Error> {
    let mut out = String::new();
    for crd in all() {
        out.push_str("---\n");
        out.push_str(&serde_yaml::to_string(&crd)?);
    }
    Ok(out)
}

/// Why the files of the CRDs could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// This file or folder, or standard output, could not be written.
    #[error("cannot write {0}: {1}")]
    Io(std::path::PathBuf, #[source] std::io::Error),
    /// The YAML text could not be made.
    #[error("cannot write a CRD as YAML: {0}")]
    Yaml(#[from] serde_yaml::ser::Error),
}

/// Name and content of each file in `crds/`, one for each kind.
pub fn files() -> Result<Vec<(String, String)>, serde_yaml::ser::Error> {
    all()
        .iter()
        .map(|crd| {
            let plural = crd.pointer("/spec/names/plural").and_then(Value::as_str).unwrap_or("unknown");
            Ok((format!("{GROUP}_{plural}.yaml"), serde_yaml::to_string(crd)?))
        })
        .collect()
}

/// Writes one file for each kind into the folder `dir`, which is created if it is missing.
pub fn write_dir(dir: &std::path::Path) -> Result<(), WriteError> {
    std::fs::create_dir_all(dir).map_err(|e| WriteError::Io(dir.into(), e))?;
    for (name, text) in files()? {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|e| WriteError::Io(path, e))?;
    }
    Ok(())
}
