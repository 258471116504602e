//! `GroupwareBackend`: a mail and groupware server that the platform team runs.

use super::*;
use kube::{CustomResource, KubeSchema};
use mailtenant_mail::records;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A mail and groupware server that the platform team runs, and on which tenants may have instances.
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
    /// Which namespaces may have MailInstances on this server. There is no default: a namespace that
    /// is not named is refused.
    pub allowed_namespaces: AllowedNamespaces,
    /// Public host names of the server: for MX records, and for the mail clients of users.
    pub hosts: Hosts,
    /// SPF record that the domains of tenants include. Left out: SPF of tenants is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf: Option<SpfInclude>,
    /// SMTP server that is asked, before MX is switched, whether it accepts each address. It must answer as it does to
    /// the Internet. Left out: each of `hosts.mx` at port 25, and all of them must accept every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// How much the operator may ask of the server at a time.
    #[serde(default)]
    pub limits: RequestLimits,
    /// How often the server is compared with what is declared.
    #[serde(default)]
    pub resync: Resync,
    /// How many missing mailboxes count as a loss, after which nothing is created again before a person accepts it.
    #[serde(default)]
    pub mass_loss: MassLoss,
    /// Consent to take over what belonged to objects that were lost and restored. Left out: nothing is taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Provider `sogo`: SOGo, Dovecot and Postfix with one PostgreSQL database. Exactly one provider must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sogo: Option<Sogo>,
}

/// Public host names of a groupware server.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hosts {
    /// Mail exchangers, 1 to 16: the MX records of every domain on this server. MX of a live domain is changed to a new one only
    /// when it has an address in the DNS and accepts every declared address, by one domain before the others.
    #[schemars(transform = rules::mx)]
    pub mx: Vec<MxHost>,
    /// Server for reading mail by IMAP (RFC 9051). Left out: not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imap: Option<Endpoint>,
    /// Server for reading mail by POP3 (RFC 1939). Left out: not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop3: Option<Endpoint>,
    /// Server that takes outgoing mail (RFC 6409). Left out: not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<Endpoint>,
    /// Server for mail filters: ManageSieve (RFC 5804). Left out: not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sieve: Option<Endpoint>,
    /// URL of the webmail, http or https. Left out: not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::web_url)]
    pub webmail: Option<String>,
    /// URL for calendars (CalDAV) and contacts (CardDAV), http or https. Left out: not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::web_url)]
    pub dav: Option<String>,
    /// Host at which the platform serves `mailtenant wellknown` over HTTPS, such as `wellknown.mail.example.net`: the MTA-STS policies
    /// of domains, and the settings that mail clients ask for (autoconfig, autodiscover). The domains get CNAME records that
    /// lead to it; what serves HTTPS there needs a certificate for each of their names. Left out: nothing is published for
    /// any of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::well_known_host)]
    pub well_known: Option<String>,
}

impl Hosts {
    /// What clients are told of the server.
    pub fn discovery(&self) -> records::Discovery {
        let endpoint = |e: &Option<Endpoint>| {
            e.as_ref().map(|e| records::Endpoint {
                host: e.host.clone(),
                port: e.port.clamp(1, 65535) as u16,
                tls: e.security == Security::TLS,
            })
        };
        records::Discovery {
            imap: endpoint(&self.imap),
            pop3: endpoint(&self.pop3),
            submission: endpoint(&self.submission),
            sieve: endpoint(&self.sieve),
            dav: self.dav.as_deref().and_then(dav),
            documents: self.well_known.clone(),
        }
    }
}

/// Host, port and path of the URL for calendars and contacts.
fn dav(url: &str) -> Option<records::Dav> {
    let url = url.parse::<http::Uri>().ok()?;
    let tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let endpoint = records::Endpoint { host: url.host()?.to_owned(), port, tls };
    Some(records::Dav { endpoint, path: url.path().to_owned() })
}

/// One mail exchanger (RFC 5321, 5.1).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct MxHost {
    /// Full host name, such as `mx1.mail.example.net`. Never an IP address or a CNAME (RFC 2181, 10.3).
    #[schemars(transform = rules::mx_host)]
    pub host: String,
    /// Preference of the MX record: senders try lower numbers first. Default 10.
    #[serde(default = "default_preference")]
    #[schemars(range(min = 0, max = 65535))]
    pub preference: i32,
}

fn default_preference() -> i32 {
    10
}

/// SPF record that the domains of tenants include.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct SpfInclude {
    /// Domain whose SPF record lists the hosts that send mail (RFC 7208, 5.2), such as `_spf.mail.example.net`.
    /// Tenants get `include:` with it.
    #[schemars(transform = rules::spf_domain)]
    pub include: String,
}

/// SMTP server that is asked before MX is switched.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Delivery {
    /// Host name or IP address of the SMTP server.
    #[schemars(transform = rules::host)]
    pub address: String,
    /// TCP port of the SMTP server. Default 25.
    #[serde(default = "default_smtp")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

fn default_smtp() -> i32 {
    25
}

/// How much the operator may ask of a server.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestLimits {
    /// Most requests per second. A new mailbox takes 3. Default 100.
    #[schemars(range(min = 1, max = 10000))]
    pub requests_per_second: i32,
    /// Most passes that use the server at the same time. Default 16.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: i32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits { requests_per_second: 100, concurrency: 16 }
    }
}

/// How often a server is compared with what is declared.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Resync {
    /// Time between two reads of all mailboxes and aliases of a domain, varied by up to 20 %, such as `30s`, `15m`
    /// (default) or `1h`. What differs then is set back.
    #[schemars(transform = rules::interval)]
    pub interval: String,
}

impl Default for Resync {
    fn default() -> Self {
        Resync { interval: "15m".into() }
    }
}

/// How many missing mailboxes count as a loss.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct MassLoss {
    /// Share of the mailboxes of an instance, in percent, that must be missing at once. Default 20.
    #[schemars(range(min = 1, max = 100))]
    pub percent: i32,
    /// Number of mailboxes that must be missing as well. Default 10: a loss of fewer is repaired without a question.
    #[schemars(range(min = 1, max = 1000000))]
    pub minimum: i32,
}

impl Default for MassLoss {
    fn default() -> Self {
        MassLoss { percent: 20, minimum: 10 }
    }
}

/// Consent to a recovery: objects that were restored or made anew have new uids, and what their predecessors had at the
/// server belongs to the old ones.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// Namespaces whose objects may take over what belonged to an object of the same kind, namespace and name that no longer
    /// exists. For the time of a restore: take it out afterwards.
    pub allowed_namespaces: AllowedNamespaces,
}

/// SOGo, Dovecot and Postfix with one PostgreSQL database.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
pub struct Sogo {
    /// The PostgreSQL database that holds domains, mailboxes and aliases.
    pub database: Database,
    /// The HTTP API of Dovecot, by which sessions are ended and mail is deleted.
    pub doveadm: Doveadm,
    /// The memcached that SOGo uses, so that a changed password takes effect at once. Left
    /// out: SOGo must cache nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memcached: Option<HostPort>,
    /// `Managed` (default): the operator creates tables, columns and views that are missing, and drops nothing.
    /// `External`: they exist already; what is missing is a missing capability or makes the backend `BackendRejected`.
    #[serde(default)]
    pub schema: SchemaPolicy,
}

/// A host and a port that the operator connects to.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct HostPort {
    /// Host name or IP address, as the operator reaches it.
    #[schemars(transform = rules::host)]
    pub host: String,
    /// TCP port, such as 11211 for memcached.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// A PostgreSQL database and how to connect to it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::database)]
pub struct Database {
    /// Host name or IP address, as the operator reaches it.
    #[schemars(transform = rules::host)]
    pub host: String,
    /// TCP port. Default 5432.
    #[serde(default = "default_pg")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Name of the database: at most 63 characters.
    #[schemars(transform = rules::database_name)]
    pub name: String,
    /// How the connection is encrypted. `VerifyFull` (default): certificate and host name are checked. `Require`:
    /// encrypted, the certificate is not checked. `Disable`: not encrypted.
    #[serde(default)]
    pub tls: DatabaseTls,
    /// For `tls: VerifyFull`, which needs it, and only there: Secret in the operator's namespace with the key `ca.crt`
    /// (PEM). It is trusted for doveadm too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalRef>,
    /// Secret in the operator's namespace with the keys `username` and `password`.
    pub credentials_secret_ref: LocalRef,
}

fn default_pg() -> i32 {
    5432
}

/// How a database connection is encrypted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum DatabaseTls {
    /// Not encrypted: for loopback and tests.
    Disable,
    /// Encrypted, and the certificate of the server is not checked.
    Require,
    /// Encrypted, and the certificate and the host name are checked.
    #[default]
    VerifyFull,
}

/// The HTTP API of Dovecot (doveadm).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Doveadm {
    /// URL of the API, such as `https://dovecot.mail.svc:8080/doveadm/v1`.
    #[schemars(transform = rules::doveadm_url)]
    pub url: String,
    /// Key of a Secret in the operator's namespace that holds the API key. Whoever has it can read and delete all mail.
    pub api_key_secret_ref: SecretKeyRef,
}

/// Who creates the tables of the database.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum SchemaPolicy {
    /// The operator creates what is missing, and drops nothing.
    #[default]
    Managed,
    /// They exist already. What is missing is a missing capability.
    External,
}

/// Key of the Secret of `caSecretRef` that holds the certificate authority, as PEM.
pub const CA_KEY: &str = "ca.crt";

impl GroupwareBackendSpec {
    /// Every key of a Secret that the spec names, in the operator's namespace. A change of one asks for
    /// a pass of the backend.
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

/// What the operator last saw of the server.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupwareBackendStatus {
    /// `metadata.generation` of the spec that this status describes. -1: the operator has not looked at the object yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `mailtenant.dev/reconcile-requested-at` that the last full pass answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Name of the provider: `sogo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Versions of the servers behind it, for people: `Dovecot 2.3, PostgreSQL 15.10`. One that this release does not
    /// know is refused: `Ready` is `False` with the reason `Unsupported`, and its message names the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the server can do, such as `SendAs` or `HashedPasswords`. A spec that asks for something else reports
    /// `Unsupported` or lists the field in `FieldsIgnored`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// `Ready`, `Reconciling` or `Stalled`, `SchemaUpToDate`, and `DeletionBlocked` while a deletion waits. Each has
    /// a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
