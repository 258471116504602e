//! A BIND of one test's own, with one zone, and its records read and written past the operator.

use super::stack::Stack;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A running one. It ends with the stack.
pub struct Bind {
    /// Where it answers DNS and takes updates: `host:port`.
    pub address: String,
    /// Secret of the TSIG key `mailtenant.`, which may change records for mail.
    pub secret: String,
    zone: String,
    owner: PathBuf,
}

impl Bind {
    /// Starts one with a zone in which there is something already.
    pub fn start(stack: &'static Stack, zone: &str, records: &str) -> Bind {
        let root = stack.root.join(format!("bind-{zone}"));
        std::fs::create_dir_all(root.join("zones")).expect("a folder");
        let text = format!("$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 604800 60\n@ NS ns1\nns1 A 127.0.0.1\n{records}");
        std::fs::write(root.join(format!("zones/{zone}.zone")), text).expect("a zone");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/stack/bind/up.sh");
        let out = Command::new(script).arg(&root).arg(stack.free_port().to_string()).output().expect("up.sh runs");
        assert!(out.status.success(), "BIND did not start: {}", String::from_utf8_lossy(&out.stderr));
        let pid = std::fs::read_to_string(root.join("pid")).expect("a pid").trim().parse().expect("a number");
        stack.end_with_stack(pid, &root.display().to_string());
        let env = std::fs::read_to_string(root.join("env")).expect("ROOT/env");
        let get = |name: &str| env.lines().find_map(|l| l.strip_prefix(&format!("{name}="))).expect(name).to_owned();
        Bind { address: get("NS_DNS"), secret: get("NS_KEY"), zone: zone.into(), owner: get("NS_OWNER").into() }
    }

    /// The whole zone, a record a line as dig prints it, without the SOA, whose serial counts changes.
    pub fn snapshot(&self) -> BTreeSet<String> {
        let (host, port) = self.address.rsplit_once(':').expect("host:port");
        let mut dig = Command::new("dig");
        dig.args(["+noall", "+answer", &format!("@{host}"), "-p", port, "-k"]).arg(&self.owner);
        let out = dig.args([&self.zone, "AXFR"]).output().expect("dig runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success() && text.contains("\tSOA\t"), "no transfer: {text}");
        let records = text.lines().filter(|l| !l.is_empty() && !l.starts_with(';') && !l.contains("\tSOA\t"));
        let records = records.filter(|l| !l.contains("\tTSIG\t"));
        records.map(|l| l.split('\t').filter(|f| !f.is_empty()).collect::<Vec<_>>().join(" ")).collect()
    }

    /// A change of the zone's owner: lines such as `add www.acme.test. 60 A 192.0.2.1`.
    pub fn owner(&self, lines: &[&str]) {
        let (host, port) = self.address.rsplit_once(':').expect("host:port");
        let mut nsupdate = Command::new("nsupdate");
        nsupdate.arg("-v").arg("-k").arg(&self.owner).stdin(Stdio::piped());
        let mut child = nsupdate.spawn().expect("nsupdate runs");
        let updates: String = lines.iter().map(|l| format!("update {l}\n")).collect();
        let script = format!("server {host} {port}\nzone {}.\n{updates}send\n", self.zone);
        child.stdin.take().expect("an input").write_all(script.as_bytes()).expect("written");
        assert!(child.wait().expect("it ends").success(), "{script}");
    }
}
