//! A PowerDNS of a test's own, and its API without our code between.

use mailtenant::providers::Dns;
use mailtenant_api::DNSBackendSpec;
use mailtenant_backend::SecretText;
use mailtenant_controllers::connect::{ConnectDns, Secrets};
use mailtenant_dns::guarded::Guarded;
use mailtenant_dns::{DnsServer, RecordType, RrSet};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

pub struct Server {
    pub root: PathBuf,
    pub api: String,
    pub dns: String,
    pub key: String,
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("e2e/stack/powerdns").join(name)
}

/// A port that is free for TCP and UDP on the address, and the next one for TCP.
pub fn free_ports(address: &str) -> u16 {
    loop {
        let first = TcpListener::bind((address, 0)).expect("a free port");
        let port = first.local_addr().expect("address").port();
        if port < u16::MAX && UdpSocket::bind((address, port)).is_ok() && TcpListener::bind((address, port + 1)).is_ok()
        {
            return port;
        }
    }
}

impl Server {
    pub fn start() -> Server {
        // Another test may take the port between the look and the start.
        for _ in 0..5 {
            if let Some(server) = Self::try_start("127.0.0.1", free_ports("127.0.0.1"), None) {
                return server;
            }
        }
        panic!("PowerDNS does not start");
    }

    pub fn try_start(address: &str, port: u16, api_port: Option<u16>) -> Option<Server> {
        let unique = format!("mailtenant-dns-{}-{port}-{address}", std::process::id());
        let root = std::env::temp_dir().join(unique);
        let mut command = Command::new(script("up.sh"));
        command.arg(&root).arg(port.to_string()).env("PDNS_ADDRESS", address).env("PDNS_UPDATES", "yes");
        command.env("OWNER_PID", std::process::id().to_string());
        if let Some(api_port) = api_port {
            command.env("PDNS_API_PORT", api_port.to_string());
        }
        let out = command.output().expect("up.sh runs");
        let mut server = Server { root, api: String::new(), dns: String::new(), key: String::new() };
        if !out.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&out.stderr));
            return None;
        }
        let env = std::fs::read_to_string(server.root.join("env")).expect("ROOT/env");
        let get = |name: &str| env.lines().find_map(|l| l.strip_prefix(&format!("{name}="))).expect(name).to_string();
        (server.api, server.dns, server.key) = (get("PDNS_API"), get("PDNS_DNS"), get("PDNS_KEY"));
        Some(server)
    }

    pub fn spec(&self, zones: &[&str]) -> DNSBackendSpec {
        serde_json::from_value(json!({
            "allowedNamespaces": {"from": "All"},
            "zones": zones.iter().map(|z| json!({"name": z})).collect::<Vec<_>>(),
            "powerdns": {"url": self.api, "apiKeySecretRef": {"name": "pdns", "key": "apiKey"}, "dnsAddress": self.dns},
        }))
        .expect("a spec")
    }

    /// A provider for the zones `acme.test` and `example.org`.
    pub fn backend(&self) -> Arc<dyn DnsServer> {
        connect(&Dns::default(), self.spec(&["acme.test", "example.org"]), &self.key)
    }

    /// A request of somebody else: status and body.
    pub async fn raw(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let url = format!("{}/api/v1/servers/localhost{path}", self.api);
        let mut request = reqwest::Client::new().request(method, url).header("X-API-Key", &self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or(Value::Null))
    }

    pub async fn add_zone(&self, name: &str) {
        let (status, body) = self
            .raw(
                "POST",
                "/zones",
                Some(json!({"name": format!("{name}."), "kind": "Native", "nameservers": ["ns1.example.net."]})),
            )
            .await;
        assert_eq!(status, 201, "{body}");
    }

    /// Puts record sets there as a person would.
    pub async fn put(&self, zone: &str, rrsets: Value) {
        let (status, body) = self.raw("PATCH", &format!("/zones/{zone}."), Some(json!({"rrsets": rrsets}))).await;
        assert_eq!(status, 204, "{body}");
    }

    /// The whole zone as the server holds it, with disabled records and comments, without SOA (its serial moves).
    pub async fn raw_sets(&self, zone: &str) -> BTreeMap<String, Value> {
        let (status, body) = self.raw("GET", &format!("/zones/{zone}."), None).await;
        assert_eq!(status, 200);
        let sets = body["rrsets"].as_array().expect("rrsets").iter().filter(|s| s["type"] != "SOA");
        sets.map(|s| {
            let mut s = s.clone();
            if let Some(list) = s["records"].as_array_mut() {
                list.sort_by_key(Value::to_string);
            }
            (format!("{} {}", s["name"], s["type"]), s)
        })
        .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new(script("down.sh")).arg(&self.root).status();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

pub fn connect(dns: &Dns, spec: DNSBackendSpec, key: &str) -> Arc<dyn DnsServer> {
    let refs = spec.secret_refs().into_iter();
    let secrets = Secrets(refs.map(|r| ((r.name, r.key), SecretText::new(key))).collect());
    let server = dns.connect(&spec, &secrets).expect("a provider");
    // As the operator does it.
    Arc::new(Guarded::new(server, spec.zones.iter().map(|z| z.name.as_str())))
}

pub fn set(name: &str, rtype: RecordType, ttl: u32, values: &[&str]) -> RrSet {
    let mut values: Vec<String> = values.iter().map(|v| v.to_string()).collect();
    values.sort();
    RrSet { name: name.into(), rtype, ttl, values }
}
