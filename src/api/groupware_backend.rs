//! `GroupwareBackend`: a mail and groupware server that the platform team runs.

use super::*;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A mail and groupware server that tenants may be put on.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailtenant.dev",
    version = "v1alpha1",
    kind = "GroupwareBackend",
    plural = "groupwarebackends",
    shortname = "gwb",
    status = "GroupwareBackendStatus",
    derive = "PartialEq",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".status.provider"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.sogo)].filter(x, x).size() == 1").message("exactly one provider block must be given: sogo"))]
pub struct GroupwareBackendSpec {
    /// Which namespaces may put instances here. Nothing is allowed unless it is said.
    pub allowed_namespaces: AllowedNamespaces,
    /// Host names that DNS records and users are told.
    pub hosts: Hosts,
    /// What tenants' SPF records include.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf: Option<SpfInclude>,
    /// Where cut-over probes ask whether a recipient is taken. Default: each MX host, port 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Bounds on what the operator asks of the server.
    #[serde(default)]
    pub limits: RequestLimits,
    /// How often what is at the server is compared with what is declared.
    #[serde(default)]
    pub resync: Resync,
    /// When missing mailboxes are held instead of made again.
    #[serde(default)]
    pub mass_loss: MassLoss,
    /// SOGo, Dovecot and Postfix over PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sogo: Option<Sogo>,
}

/// Host names that DNS records and users are told.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hosts {
    /// Mail exchangers, for MX records.
    #[schemars(transform = rules::mx)]
    pub mx: Vec<MxHost>,
    /// IMAP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imap: Option<Endpoint>,
    /// POP3; left out = not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop3: Option<Endpoint>,
    /// Submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<Endpoint>,
    /// ManageSieve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sieve: Option<Endpoint>,
    /// Webmail URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::web_url)]
    pub webmail: Option<String>,
    /// CalDAV and CardDAV URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::web_url)]
    pub dav: Option<String>,
}

/// One mail exchanger.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct MxHost {
    /// Host name; never an address or an alias (RFC 2181, 10.3).
    #[schemars(transform = rules::mx_host)]
    pub host: String,
    /// Preference: lower is tried first.
    #[serde(default = "default_preference")]
    #[schemars(range(min = 0, max = 65535))]
    pub preference: i32,
}

fn default_preference() -> i32 {
    10
}

/// What tenants' SPF records include.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct SpfInclude {
    /// Domain of an SPF record that lists the senders (RFC 7208, 5.2).
    #[schemars(transform = rules::spf_domain)]
    pub include: String,
}

/// Where cut-over probes ask.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Delivery {
    /// Host name or IP address.
    #[schemars(transform = rules::host)]
    pub address: String,
    /// TCP port.
    #[serde(default = "default_smtp")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

fn default_smtp() -> i32 {
    25
}

/// Bounds on what the operator asks of the server.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestLimits {
    /// Requests in a second.
    #[schemars(range(min = 1, max = 10000))]
    pub requests_per_second: i32,
    /// Passes at a time that may use the server.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: i32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits { requests_per_second: 100, concurrency: 16 }
    }
}

/// How often what is at the server is compared with what is declared.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Resync {
    /// Time between two bulk reads of a domain, give or take 20 %: `15m`, `1h`, `30s`.
    #[schemars(transform = rules::interval)]
    pub interval: String,
}

impl Default for Resync {
    fn default() -> Self {
        Resync { interval: "15m".into() }
    }
}

/// When missing mailboxes are held instead of made again.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct MassLoss {
    /// Held when at least this part of an instance's mailboxes is missing, in percent.
    #[schemars(range(min = 1, max = 100))]
    pub percent: i32,
    /// And at least so many.
    #[schemars(range(min = 1, max = 1000000))]
    pub minimum: i32,
}

impl Default for MassLoss {
    fn default() -> Self {
        MassLoss { percent: 20, minimum: 10 }
    }
}

/// SOGo, Dovecot and Postfix over PostgreSQL.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
pub struct Sogo {
    /// The database with the mail tables.
    pub database: Database,
    /// Dovecot's doveadm over HTTP.
    pub doveadm: Doveadm,
    /// The memcached that SOGo uses; left out = SOGo caches nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memcached: Option<HostPort>,
    /// Who makes the tables.
    #[serde(default)]
    pub schema: SchemaPolicy,
}

/// A host and a port inside the platform.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct HostPort {
    /// Host name or IP address.
    #[schemars(transform = rules::host)]
    pub host: String,
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// The database with the mail tables.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::database)]
pub struct Database {
    /// Host name or IP address.
    #[schemars(transform = rules::host)]
    pub host: String,
    /// TCP port.
    #[serde(default = "default_pg")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Name of the database.
    #[schemars(transform = rules::database_name)]
    pub name: String,
    /// How the connection is secured.
    #[serde(default)]
    pub tls: DatabaseTls,
    /// Secret with the key `ca.crt` (PEM), for `VerifyFull`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalRef>,
    /// Secret with the keys `username` and `password`.
    pub credentials_secret_ref: LocalRef,
}

fn default_pg() -> i32 {
    5432
}

/// How a database connection is secured.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum DatabaseTls {
    /// In the clear.
    Disable,
    /// Encrypted, the server's certificate is not checked.
    Require,
    /// Encrypted, certificate and name are checked.
    #[default]
    VerifyFull,
}

/// Dovecot's doveadm over HTTP.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Doveadm {
    /// URL of the API, ending in `/doveadm/v1`.
    #[schemars(transform = rules::doveadm_url)]
    pub url: String,
    /// The API key. It is root on the mail store.
    pub api_key_secret_ref: SecretKeyRef,
}

/// Who makes the tables.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum SchemaPolicy {
    /// The operator creates and migrates what it needs, beside what is there.
    #[default]
    Managed,
    /// They exist; what is missing is a missing capability.
    External,
}

/// Key of the Secret that `caSecretRef` names.
pub const CA_KEY: &str = "ca.crt";

impl GroupwareBackendSpec {
    /// Every key of a Secret that the spec names, in the operator's namespace: their change is a change of the backend.
    pub fn secret_refs(&self) -> Vec<SecretKeyRef> {
        self.sogo.iter().flat_map(Sogo::secret_refs).collect()
    }
}

impl Sogo {
    fn secret_refs(&self) -> Vec<SecretKeyRef> {
        let db = &self.database;
        let of = |reference: &LocalRef, key: &str| SecretKeyRef { name: reference.name.clone(), key: key.into() };
        let credentials = ["username", "password"].map(|key| of(&db.credentials_secret_ref, key));
        let ca = db.ca_secret_ref.as_ref().map(|ca| of(ca, CA_KEY));
        credentials.into_iter().chain(ca).chain([self.doveadm.api_key_secret_ref.clone()]).collect()
    }
}

/// What is known of the server.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupwareBackendStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `reconcile-requested-at` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// `sogo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Version that the server reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the server can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
