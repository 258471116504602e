//! The servers: one folder and one block of ports each (`e2e/stack/up.sh`), ended by a watcher when this process has ended,
//! however it did.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// A running stack.
pub struct Stack {
    /// Folder of all its files.
    pub root: PathBuf,
    env: BTreeMap<String, String>,
    next_port: AtomicU16,
}

impl Stack {
    /// The stack that most tests share, each in its own namespace. `MAILTENANT_STACK=ROOT` takes one that is up.
    pub fn shared() -> &'static Stack {
        static SHARED: OnceLock<Stack> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("MAILTENANT_STACK") {
            Ok(root) if !root.is_empty() => Stack::at(Path::new(&root)),
            _ => Stack::start_in("shared", std::env::var_os("KUBECONFIG")),
        })
    }

    /// The stack for tests that kill the operator, or stand between it and Kubernetes.
    pub fn rough() -> &'static Stack {
        static ROUGH: OnceLock<Stack> = OnceLock::new();
        ROUGH.get_or_init(|| Stack::start("rough"))
    }

    /// Starts one with a control plane of its own.
    pub fn start(name: &str) -> Stack {
        Stack::start_in(name, None)
    }

    /// Starts one, in the cluster of a kubeconfig if one is given.
    fn start_in(name: &str, kubeconfig: Option<OsString>) -> Stack {
        let root = std::env::temp_dir().join(format!("mailtenant-{name}-{}", std::process::id()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/stack/up.sh");
        let mut command = Command::new(script);
        command.env_remove("KUBECONFIG").envs(kubeconfig.map(|k| ("KUBECONFIG", k)));
        let out = command
            .arg(&root)
            .arg(std::process::id().to_string())
            .stdin(Stdio::null())
            .output()
            .expect("e2e/stack/up.sh can be started");
        assert!(out.status.success(), "the stack did not start: {}", String::from_utf8_lossy(&out.stderr));
        Stack::at(&root)
    }

    fn at(root: &Path) -> Stack {
        let text = std::fs::read_to_string(root.join("env")).expect("a running stack has a file env");
        let env: BTreeMap<_, _> =
            text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let base: u16 = env["STACK_PORT_BASE"].parse().expect("a port");
        // The groupware ends below 600, what tests start themselves begins above.
        Stack { root: root.to_path_buf(), env, next_port: AtomicU16::new(base + 700) }
    }

    /// A value that the scripts wrote.
    pub fn get(&self, key: &str) -> &str {
        self.env.get(key).unwrap_or_else(|| panic!("{key} stands in {}/env", self.root.display()))
    }

    /// A port of the groupware: `IMAP`, `SMTP`, `SUBMIT`, `SOGO`, `DOVEADM`, `PG`, `MEMCACHED`, `SINK`, ...
    pub fn port(&self, name: &str) -> u16 {
        self.get(&format!("GW_P_{name}")).parse().expect("a port")
    }

    /// The port of PowerDNS' HTTP API.
    pub fn dns_api_port(&self) -> u16 {
        self.get("PDNS_API").rsplit(':').next().and_then(|p| p.parse().ok()).expect("a URL with a port")
    }

    /// A port of this stack's block that nothing listens on.
    pub fn free_port(&self) -> u16 {
        let base: u16 = self.get("STACK_PORT_BASE").parse().expect("a port");
        loop {
            let port = self.next_port.fetch_add(1, Ordering::Relaxed);
            assert!(port < base + 1000, "the stack's block of ports is used up");
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    }

    /// Has a process of ours ended together with the stack: `word` stands in its command line.
    pub fn end_with_stack(&self, pid: u32, word: &str) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root.join("pids.also"))
            .expect("the stack's folder can be written");
        writeln!(file, "{pid} {word}").expect("the stack's folder can be written");
    }
}
