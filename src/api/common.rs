//! Pieces that several kinds share: references, policies, annotations.

use super::rules;
pub use mailtenant_mail::policy::Ownership;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A reference to an object by name: in the same namespace for tenant kinds, cluster-wide for backends.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(transform = rules::object_name)]
    pub name: String,
}

/// One key of a Secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(transform = rules::object_name)]
    pub name: String,
    /// Key inside the Secret.
    #[schemars(transform = rules::secret_key)]
    pub key: String,
}

/// What happens at the backend when the object is deleted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DeletionPolicy {
    /// Destroy it, with all it holds.
    Delete,
    /// Switch it off and leave its data.
    Retain,
}

/// Whether the operator writes to the backend.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ManagementPolicy {
    /// Create, change, delete.
    #[default]
    Full,
    /// Never write; the status says what differs.
    Observe,
}

/// Whether an object that is already at the backend is taken over.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum AdoptionPolicy {
    /// Never: `ExistsAtBackend`.
    #[default]
    Never,
    /// Take it over when no other object owns it.
    IfUnowned,
}

/// Which namespaces may use a cluster-scoped object.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transform = rules::allowed_namespaces)]
pub struct AllowedNamespaces {
    /// How the namespaces are said.
    pub from: AllowedFrom,
    /// For `Selector`: labels of the namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
    /// For `Names`: the namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = rules::namespaces)]
    pub names: Vec<String>,
}

/// How the namespaces of [`AllowedNamespaces`] are said.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum AllowedFrom {
    /// Every namespace.
    All,
    /// Namespaces with the labels of `selector`.
    Selector,
    /// The namespaces in `names`.
    Names,
}

/// Labels a namespace must have, all of them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Label to value.
    #[schemars(transform = rules::match_labels)]
    pub match_labels: BTreeMap<String, String>,
}

impl AllowedNamespaces {
    /// Whether `namespace` with its `labels` may use the object. Nothing is allowed unless it is said.
    pub fn allows(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        match self.from {
            AllowedFrom::All => true,
            AllowedFrom::Names => self.names.iter().any(|n| n == namespace),
            AllowedFrom::Selector => self.selector.as_ref().is_some_and(|s| {
                !s.match_labels.is_empty() && s.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            }),
        }
    }
}

/// Annotations that users set.
pub mod annotations {
    /// `"true"`: nothing is written to a backend for this object (on an instance: for all below).
    pub const PAUSED: &str = "mailtenant.dev/paused";
    /// Any new value: one full pass now, echoed in `status.lastHandledReconcileAt`.
    pub const RECONCILE: &str = "mailtenant.dev/reconcile-requested-at";
    /// `"true"` on an object that is being deleted: forget the backend, drop the finalizer.
    pub const ORPHAN: &str = "mailtenant.dev/orphan";
    /// Any new value: a new generated password (Mailbox with `generate`).
    pub const ROTATE_PASSWORD: &str = "mailtenant.dev/rotate-password";
    /// Any new value: new DKIM keys (MailDomain).
    pub const ROTATE_DKIM: &str = "mailtenant.dev/rotate-dkim";
    /// Any new value: mailboxes that are missing at the backend may be made again (MailInstance).
    pub const ACCEPT_MASS_LOSS: &str = "mailtenant.dev/accept-mass-loss";
    /// All of them: a change of one wakes its object.
    pub const ALL: &[&str] = &[PAUSED, RECONCILE, ORPHAN, ROTATE_PASSWORD, ROTATE_DKIM, ACCEPT_MASS_LOSS];
}

/// A host and a port that users and DNS are told.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Endpoint {
    /// Host name in lower case.
    #[schemars(transform = rules::host)]
    pub host: String,
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// How the connection is secured.
    #[serde(default)]
    pub security: Security,
}

/// How a connection is secured.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Security {
    /// TLS from the first byte (RFC 8314).
    #[default]
    TLS,
    /// Upgrade by STARTTLS.
    STARTTLS,
}

impl Security {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Security::TLS => "TLS",
            Security::STARTTLS => "STARTTLS",
        }
    }
}

/// How to reach the services of a mailbox; the same facts stand in the credentials Secret.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct ClientSettings {
    /// The login: the full address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// IMAP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imap: Option<Endpoint>,
    /// POP3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop3: Option<Endpoint>,
    /// Submission of mail (RFC 6409).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<Endpoint>,
    /// ManageSieve (RFC 5804).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sieve: Option<Endpoint>,
    /// Webmail URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webmail: Option<String>,
    /// CalDAV and CardDAV URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dav: Option<String>,
}
