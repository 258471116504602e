//! A server under test, of any product: its zones, its owner's hand, and the whole of a zone as it serves it.

use crate::server::{Server, connect, free_ports};
use mailtenant::providers::Dns;
use mailtenant_api::DNSBackendSpec;
use mailtenant_dns::DnsServer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A zone with nothing in it.
const EMPTY: &str =
    "$TTL 300\n@ SOA ns1.example.net. hostmaster.example.net. 1 3600 600 604800 60\n@ NS ns1.example.net.\n";

/// A server and how the operator reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PowerDNS by its HTTP API.
    PowerDnsApi,
    /// PowerDNS by dynamic updates.
    PowerDns,
    Bind,
    Knot,
}

/// A running one. Its owner has a key of all rights, the operator one of few.
pub struct Nameserver {
    pub kind: Kind,
    /// Where it answers DNS.
    pub address: String,
    /// The operator's credential: an API key, or the secret of the TSIG key `mailtenant.`.
    pub secret: String,
    owner: PathBuf,
    root: PathBuf,
    /// Ends with this.
    powerdns: Option<Server>,
}

fn stack(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/stack").join(path)
}

impl Nameserver {
    /// Starts one with these zones, which have nothing in them but SOA and NS.
    pub async fn start(kind: Kind, zones: &[&str]) -> Nameserver {
        match kind {
            Kind::PowerDnsApi | Kind::PowerDns => Self::powerdns(kind, zones).await,
            Kind::Bind => Self::by_script(kind, "bind/up.sh", zones, std::process::id()),
            Kind::Knot => Self::by_script(kind, "knot/up.sh", zones, std::process::id()),
        }
    }

    fn by_script(kind: Kind, script: &str, zones: &[&str], owner: u32) -> Nameserver {
        // Another test may take the port between the look and the start.
        for _ in 0..5 {
            let port = free_ports("127.0.0.1");
            let root = std::env::temp_dir().join(format!("mailtenant-{kind:?}-{}-{port}", std::process::id()));
            std::fs::create_dir_all(root.join("zones")).unwrap();
            for zone in zones {
                std::fs::write(root.join(format!("zones/{zone}.zone")), EMPTY).unwrap();
            }
            let mut up = Command::new(stack(script));
            up.arg(&root).arg(port.to_string()).env("OWNER_PID", owner.to_string());
            let out = up.output().unwrap();
            let mut server = Nameserver {
                kind,
                address: String::new(),
                secret: String::new(),
                owner: root.join("owner.key"),
                root,
                powerdns: None,
            };
            if out.status.success() {
                let env = std::fs::read_to_string(server.root.join("env")).unwrap();
                let get =
                    |name: &str| env.lines().find_map(|l| l.strip_prefix(&format!("{name}="))).unwrap().to_owned();
                (server.address, server.secret) = (get("NS_DNS"), get("NS_KEY"));
                return server;
            }
            eprintln!("{}", String::from_utf8_lossy(&out.stderr));
        }
        panic!("{kind:?} does not start");
    }

    async fn powerdns(kind: Kind, zones: &[&str]) -> Nameserver {
        let server = Server::start();
        let root = server.root.join("keys");
        std::fs::create_dir_all(&root).unwrap();
        let mut keys = vec![];
        for name in ["mailtenant", "owner"] {
            let body = json!({"name": name, "algorithm": "hmac-sha256"});
            let (status, key) = server.raw("POST", "/tsigkeys", Some(body)).await;
            assert_eq!(status, 201, "{key}");
            keys.push(key["key"].as_str().unwrap().to_owned());
        }
        for zone in zones {
            server.add_zone(zone).await;
            let body = json!({"kind": "TSIG-ALLOW-DNSUPDATE", "metadata": ["mailtenant", "owner"]});
            let (status, answer) = server.raw("POST", &format!("/zones/{zone}./metadata"), Some(body)).await;
            assert_eq!(status, 201, "{answer}");
        }
        let owner = root.join("owner.key");
        std::fs::write(&owner, format!("key \"owner.\" {{ algorithm hmac-sha256; secret \"{}\"; }};\n", keys[1]))
            .unwrap();
        let secret = if kind == Kind::PowerDnsApi { server.key.clone() } else { keys[0].clone() };
        Nameserver { kind, address: server.dns.clone(), secret, owner, root, powerdns: Some(server) }
    }

    /// What a platform team would write for it.
    pub fn spec(&self, zones: &[&str]) -> DNSBackendSpec {
        if let (Kind::PowerDnsApi, Some(server)) = (self.kind, &self.powerdns) {
            return server.spec(zones);
        }
        let tsig = json!({"name": "mailtenant.", "secretRef": {"name": "tsig", "key": "secret"}});
        let zones: Vec<Value> = zones.iter().map(|z| json!({"name": z})).collect();
        serde_json::from_value(json!({"allowedNamespaces": {"from": "All"}, "zones": zones,
            "rfc2136": {"server": self.address, "tsig": tsig}}))
        .unwrap()
    }

    /// A provider as the operator makes it, for the zones `acme.test`, `example.org` and what is below them.
    pub fn backend(&self) -> Arc<dyn DnsServer> {
        self.backend_with(&self.secret)
    }

    /// The same with another credential.
    pub fn backend_with(&self, secret: &str) -> Arc<dyn DnsServer> {
        connect(&Dns::default(), self.spec(&["acme.test", "example.org"]), secret)
    }

    /// Changes of the zone's owner, as lines for nsupdate: `add acme.test. 60 TXT "a"`, `delete www.acme.test. A`.
    pub fn owner(&self, zone: &str, lines: &[String]) {
        let (host, port) = self.address.rsplit_once(':').unwrap();
        let mut child = Command::new("nsupdate")
            .arg("-v")
            .arg("-k")
            .arg(&self.owner)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let updates: String = lines.iter().map(|l| format!("update {l}\n")).collect();
        let script = format!("server {host} {port}\nzone {zone}.\n{updates}send\n");
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success() && said.trim().is_empty(), "{said}\n{script}");
    }

    /// The whole zone as it is served, a record a line, without the SOA (its serial moves).
    pub fn dump(&self, zone: &str) -> BTreeSet<String> {
        let (host, port) = self.address.rsplit_once(':').unwrap();
        let mut command = Command::new("dig");
        command.args(["+noall", "+answer", "+nosplit", "+time=5", "+tries=1", &format!("@{host}"), "-p", port]);
        if self.powerdns.is_none() {
            command.arg("-k").arg(&self.owner);
        }
        let out = command.args([zone, "AXFR"]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let lines: Vec<&str> = text.lines().filter(|l| !l.is_empty() && !l.starts_with(';')).collect();
        // A transfer that breaks off would look like a zone that lost records: it begins and ends with the SOA.
        let soa = |line: Option<&&str>| line.is_some_and(|l| l.contains("\tSOA\t"));
        assert!(out.status.success() && lines.len() > 1 && soa(lines.first()) && soa(lines.last()), "{text}");
        let records = lines.into_iter().filter(|l| !l.contains("\tSOA\t") && !l.contains("\tTSIG\t"));
        // Fields are apart by tabs; blanks within a text stay as they are.
        records.map(|l| l.split('\t').filter(|f| !f.is_empty()).collect::<Vec<_>>().join(" ")).collect()
    }

    /// Ends the server before its time.
    pub fn stop(&mut self) {
        match self.powerdns.take() {
            Some(server) => drop(server),
            None => {
                let _ = Command::new(stack("nameserver-down.sh")).arg(&self.root).status();
            }
        }
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A test that is killed ends nothing itself.
#[test]
fn name_servers_end_when_their_owner_is_killed() {
    for (kind, script) in [(Kind::Bind, "bind/up.sh"), (Kind::Knot, "knot/up.sh")] {
        let mut owner = Command::new("sleep").arg("600").spawn().unwrap();
        let server = Nameserver::by_script(kind, script, &["acme.test"], owner.id());
        let pid = std::fs::read_to_string(server.root.join("pid")).unwrap();
        // Of a process that has ended and is not collected yet it is empty.
        let command_line = || std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        let runs = || command_line().contains(&server.root.display().to_string());
        assert!(runs(), "{kind:?}: {}", command_line());
        owner.kill().unwrap();
        owner.wait().unwrap();
        let killed = Instant::now();
        while runs() {
            assert!(killed.elapsed() < Duration::from_secs(30), "{kind:?} still runs");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
