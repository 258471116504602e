//! What several kinds share: references, policies, annotations, endpoints.

use super::rules;
pub use mailtenant_mail::policy::Ownership;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A reference to an object by name: in the same namespace for tenant kinds, cluster-wide for backends.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct LocalRef {
    /// Name of the object (`metadata.name`).
    #[schemars(transform = rules::object_name)]
    pub name: String,
}

/// One key of a Secret. Tenant kinds name Secrets of their own namespace, backends those of the operator's namespace.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret (`metadata.name`).
    #[schemars(transform = rules::object_name)]
    pub name: String,
    /// Key in the `data` of the Secret.
    #[schemars(transform = rules::secret_key)]
    pub key: String,
}

/// What happens at the backend when the object is deleted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DeletionPolicy {
    /// Delete it, with all that it holds.
    Delete,
    /// Switch it off, and keep its data at the backend.
    Retain,
}

/// Whether the operator writes to the backend.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ManagementPolicy {
    /// Create, change and delete what is declared.
    #[default]
    Full,
    /// Never write. The status lists what differs.
    Observe,
}

/// Whether something that is already at the backend under this name is taken over.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum AdoptionPolicy {
    /// Never: the object reports `ExistsAtBackend`.
    #[default]
    Never,
    /// Take it over when no other object owns it, and it is the tenant's: an object of this namespace had it last, or the
    /// domain is shown to be the tenant's. Otherwise the object reports `NotEntitled`.
    IfUnowned,
}

/// Which namespaces may use a cluster-scoped object.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transform = rules::allowed_namespaces)]
pub struct AllowedNamespaces {
    /// How the namespaces are chosen. `All`: every namespace. `Selector`: those with the labels in `selector`.
    /// `Names`: those listed in `names`.
    pub from: AllowedFrom,
    /// For `from: Selector`, and only there: the labels that a namespace must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
    /// For `from: Names`, and only there: the namespaces, at least one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = rules::namespaces)]
    pub names: Vec<String>,
}

/// How the namespaces of [`AllowedNamespaces`] are chosen.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum AllowedFrom {
    /// Every namespace of the cluster.
    All,
    /// Namespaces with the labels of `selector`.
    Selector,
    /// The namespaces in `names`.
    Names,
}

/// Labels that a namespace must have.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Label keys and their values. A namespace must have all of them.
    #[schemars(transform = rules::match_labels)]
    pub match_labels: BTreeMap<String, String>,
}

impl AllowedNamespaces {
    /// Whether `namespace` with its `labels` may use the object. No namespace may unless the spec allows it.
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

/// Annotations by which users control the operator.
pub mod annotations {
    /// `"true"`: nothing is written to a backend for this object (on an instance: for all below).
    pub const PAUSED: &str = "mailtenant.dev/paused";
    /// Any new value: one full pass now. `status.lastHandledReconcileAt` shows the value once that pass is done.
    pub const RECONCILE: &str = "mailtenant.dev/reconcile-requested-at";
    /// `"true"` on an object whose deletion a backend blocks: go without that backend. Else it means nothing.
    pub const ORPHAN: &str = "mailtenant.dev/orphan";
    /// Any new value: a new generated password (Mailbox with `generate`).
    pub const ROTATE_PASSWORD: &str = "mailtenant.dev/rotate-password";
    /// Any new value: new DKIM keys (MailDomain).
    pub const ROTATE_DKIM: &str = "mailtenant.dev/rotate-dkim";
    /// Any new value: mailboxes that are missing at the backend may be made again (MailInstance).
    pub const ACCEPT_MASS_LOSS: &str = "mailtenant.dev/accept-mass-loss";
    /// All of them: a change of one asks for a pass of its object.
    pub const ALL: &[&str] = &[PAUSED, RECONCILE, ORPHAN, ROTATE_PASSWORD, ROTATE_DKIM, ACCEPT_MASS_LOSS];
}

/// A host and a port that mail clients connect to.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Endpoint {
    /// Host name in lower case without a trailing dot, or IP address. Clients check the certificate against it.
    #[schemars(transform = rules::host)]
    pub host: String,
    /// TCP port, for example 993 for IMAP over TLS.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// How the connection is encrypted. `TLS` (default): from the first byte (RFC 8314). `STARTTLS`: the
    /// client upgrades a plain connection.
    #[serde(default)]
    pub security: Security,
}

/// How a connection is encrypted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Security {
    /// TLS from the first byte (RFC 8314).
    #[default]
    TLS,
    /// Upgrade of a plain connection by STARTTLS.
    STARTTLS,
}

impl Security {
    /// The value as manifests and the credentials Secret have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Security::TLS => "TLS",
            Security::STARTTLS => "STARTTLS",
        }
    }
}

/// How a client reaches the services of a mailbox. The credentials Secret has the same values.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct ClientSettings {
    /// User name to sign in with: the full address, its domain as A-label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Server for reading mail by IMAP (RFC 9051).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imap: Option<Endpoint>,
    /// Server for reading mail by POP3 (RFC 1939).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop3: Option<Endpoint>,
    /// Server that takes outgoing mail (RFC 6409).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<Endpoint>,
    /// Server for mail filters: ManageSieve (RFC 5804).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sieve: Option<Endpoint>,
    /// URL of the webmail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webmail: Option<String>,
    /// URL for calendars (CalDAV, RFC 4791) and contacts (CardDAV, RFC 6352).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dav: Option<String>,
}
