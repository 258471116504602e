//! `DNSBackend`: a DNS server that takes changes.

use super::*;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A DNS server whose records the operator may change.
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
#[x_kube(validation = Rule::new("[has(self.powerdns), has(self.rfc2136)].filter(x, x).size() == 1").message("exactly one provider block must be given: powerdns or rfc2136"))]
pub struct DNSBackendSpec {
    /// Which namespaces may have MailDomains on this server. There is no default: a namespace that
    /// is not named is refused.
    pub allowed_namespaces: AllowedNamespaces,
    /// Zones that the operator may write to, 1 to 256. Names outside of them are never written.
    #[schemars(transform = rules::zones)]
    pub zones: Vec<Zone>,
    /// `true`: a tenant must publish the TXT record of `status.challenge` before it gets a domain in these zones.
    /// `false`: whoever may use the zone may claim any name in it, first come, first served. Left out: `true` in a zone
    /// without `allowedNamespaces` of its own by `Names` or `Selector`, `false` in the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_proof: Option<bool>,
    /// Provider `powerdns`: PowerDNS Authoritative, 4.7 or later, by its HTTP API. Exactly one provider must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub powerdns: Option<PowerDns>,
    /// Provider `rfc2136`: any server that takes dynamic updates (RFC 2136) signed with TSIG, such as BIND, Knot and
    /// PowerDNS. Exactly one provider must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136>,
    /// DNS servers (`host:port`) that are asked whether records are published, for split horizon and tests.
    /// Left out: the server at `powerdns.dnsAddress`, and without that the authoritative servers, found from the
    /// root servers of the Internet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = rules::sockets)]
    pub resolvers: Vec<String>,
}

/// One zone of a DNS server.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Zone {
    /// Name of the zone, such as `example.org`: in lower case, without a trailing dot.
    #[schemars(transform = rules::zone)]
    pub name: String,
    /// Which namespaces may claim names in this zone. Left out: all that may use the
    /// DNSBackend, each with the proof that `requireProof` speaks of. Namespaces that are chosen here by `Names` or `Selector` are also entitled
    /// to what nobody owns at the groupware server under names of this zone (`adoptionPolicy: IfUnowned`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
}

/// PowerDNS Authoritative, by its HTTP API.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PowerDns {
    /// URL of the web server of PowerDNS without `/api`, such as `http://pdns.dns.svc:8081`.
    #[schemars(transform = rules::powerdns_url)]
    pub url: String,
    /// Id of the server in the API. Default `localhost`, which is what PowerDNS itself has.
    #[serde(default = "default_server_id")]
    #[schemars(transform = rules::server_id)]
    pub server_id: String,
    /// Key of a Secret in the operator's namespace that holds the API key.
    pub api_key_secret_ref: SecretKeyRef,
    /// Where this server answers DNS queries (`host:port`). Used to see whether records are
    /// published if `resolvers` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::socket)]
    pub dns_address: Option<String>,
}

/// A server that takes dynamic updates (RFC 2136), by TCP.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rfc2136 {
    /// The primary server of the zones (`host:port`), reachable by TCP. It must let the key change records of the types
    /// MX, TXT, SRV and CNAME in them. It is not asked whether records are published: for that, `resolvers`.
    #[schemars(transform = rules::socket)]
    pub server: String,
    /// The key that messages are signed with (RFC 8945). The clocks of both sides may differ by 300 s.
    pub tsig: Tsig,
}

/// A TSIG key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tsig {
    /// Name of the key at the server, such as `mailtenant.`; the trailing dot may be left out.
    #[schemars(transform = rules::key_name)]
    pub name: String,
    /// Algorithm of the key. Default `hmac-sha256`.
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// Key of a Secret in the operator's namespace that holds the secret in base64, as `tsig-keygen` prints it.
    pub secret_ref: SecretKeyRef,
}

/// Algorithm of a TSIG key (RFC 8945, 6).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

fn default_server_id() -> String {
    "localhost".into()
}

impl DNSBackendSpec {
    /// Every key of a Secret that the spec names, in the operator's namespace. A change of one asks for
    /// a pass of the backend.
    pub fn secret_refs(&self) -> Vec<SecretKeyRef> {
        let powerdns = self.powerdns.iter().map(|p| &p.api_key_secret_ref);
        powerdns.chain(self.rfc2136.iter().map(|r| &r.tsig.secret_ref)).cloned().collect()
    }
}

/// What the operator last saw of the server.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DNSBackendStatus {
    /// `metadata.generation` of the spec that this status describes. -1: the operator has not looked at the object yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `mailtenant.dev/reconcile-requested-at` that the last full pass answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Name of the provider: `powerdns` or `rfc2136`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Version that the server reports, for people; nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the server can do: `AtomicUpdate`, several record sets change at once or not at all; `CompareAndSet`, the
    /// server itself sees that a set is as the operator read it. Without the second a change that somebody else makes
    /// within the same moment can be lost; the operator writes from one process only and reads again after each write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// `Ready`, `Reconciling` or `Stalled`, and `DeletionBlocked` while a deletion waits. Each has
    /// a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
