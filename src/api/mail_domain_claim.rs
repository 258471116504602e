//! `MailDomainClaim`: which MailDomain holds a domain. Internal: only the operator writes it.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which MailDomain holds a domain in this cluster. Internal: only the operator writes it. Its name is the A-label of
/// the domain, so that the apiserver allows one claim for each domain.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailtenant.dev",
    version = "v1alpha1",
    kind = "MailDomainClaim",
    plural = "maildomainclaims",
    shortname = "mdc",
    derive = "PartialEq",
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.owner.namespace"),
    printcolumn(name = "MailDomain", type_ = "string", json_path = ".spec.owner.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a claim is immutable: it is made and deleted by the operator"))]
pub struct MailDomainClaimSpec {
    /// The MailDomain that holds the domain. The claim is deleted with it.
    pub owner: ClaimOwner,
}

/// The MailDomain that holds a domain.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct ClaimOwner {
    /// Namespace of the MailDomain.
    pub namespace: String,
    /// Name of the MailDomain (`metadata.name`).
    pub name: String,
    /// `metadata.uid` of the MailDomain: one that was deleted and created again is another one.
    pub uid: String,
}
