//! `DNSBackend`: a DNS server that takes changes.

use super::*;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A DNS server that the operator may write to.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailtenant.dev",
    version = "v1alpha1",
    kind = "DNSBackend",
    plural = "dnsbackends",
    shortname = "dnsb",
    status = "DNSBackendStatus",
    derive = "PartialEq",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".status.provider"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.powerdns)].filter(x, x).size() == 1").message("exactly one provider block must be given: powerdns"))]
pub struct DNSBackendSpec {
    /// Which namespaces may use this server. Nothing is allowed unless it is said.
    pub allowed_namespaces: AllowedNamespaces,
    /// Zones it may touch; a name outside is never written.
    #[schemars(transform = rules::zones)]
    pub zones: Vec<Zone>,
    /// Ask the tenant for the TXT proof here too.
    #[serde(default)]
    pub require_proof: bool,
    /// PowerDNS over its HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub powerdns: Option<PowerDns>,
    /// Servers to ask, `host:port`, for tests and split horizon. Default: the authoritative servers, found from the root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = rules::sockets)]
    pub resolvers: Vec<String>,
}

/// One zone.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Zone {
    /// Name of the zone in lower case, without a trailing dot.
    #[schemars(transform = rules::zone)]
    pub name: String,
    /// Who may claim names in it. Default: who may use the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
}

/// PowerDNS over its HTTP API.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PowerDns {
    /// URL of the API's server, without `/api`.
    #[schemars(transform = rules::powerdns_url)]
    pub url: String,
    /// Id of the server inside the API.
    #[serde(default = "default_server_id")]
    #[schemars(transform = rules::server_id)]
    pub server_id: String,
    /// The API key.
    pub api_key_secret_ref: SecretKeyRef,
    /// Where the server answers DNS, `host:port`, for the read-back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::socket)]
    pub dns_address: Option<String>,
}

fn default_server_id() -> String {
    "localhost".into()
}

impl DNSBackendSpec {
    /// Every key of a Secret that the spec names, in the operator's namespace: their change is a change of the backend.
    pub fn secret_refs(&self) -> Vec<SecretKeyRef> {
        self.powerdns.iter().map(|p| p.api_key_secret_ref.clone()).collect()
    }
}

/// What is known of the server.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DNSBackendStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `reconcile-requested-at` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// `powerdns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Version that the server reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
