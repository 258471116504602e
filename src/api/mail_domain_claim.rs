//! `MailDomainClaim`: who holds a domain. Internal: written by the operator alone.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who holds a domain in this cluster. Its name is the A-label of the domain, so that creation is the lock.
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
    /// The MailDomain that holds the name.
    pub owner: ClaimOwner,
}

/// The MailDomain that holds a name.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct ClaimOwner {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid: a MailDomain that was deleted and made again is another one.
    pub uid: String,
}
