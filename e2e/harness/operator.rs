//! The operator as users run it: the built binary as a child process, with its own kubeconfig and its log in a file.

use super::{eventually, secs, stack::Stack};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A running operator.
pub struct Operator {
    stack: &'static Stack,
    kubeconfig: PathBuf,
    /// Its log: all of its lives one after the other.
    pub log: PathBuf,
    /// Where it answers `/healthz`, `/readyz`, `/metrics`.
    pub http: u16,
    child: Mutex<Child>,
    /// A test has it ended: it will be started again.
    ending: AtomicBool,
    /// Held by a test that ends it and starts it again, or that must not see that.
    pub alone: tokio::sync::Mutex<()>,
}

impl Operator {
    /// Starts one with the stack's kubeconfig for operators.
    pub fn start(stack: &'static Stack, name: &str) -> Operator {
        Operator::start_with(stack, name, Path::new(stack.get("STACK_OPERATOR_KUBECONFIG")))
    }

    /// Starts one with another kubeconfig: one that leads through a proxy.
    pub fn start_with(stack: &'static Stack, name: &str, kubeconfig: &Path) -> Operator {
        let log = stack.root.join(format!("log/operator-{name}.log"));
        let http = stack.free_port();
        let child = Mutex::new(spawn(stack, kubeconfig, &log, http));
        let (ending, alone) = (AtomicBool::new(false), tokio::sync::Mutex::default());
        Operator { stack, kubeconfig: kubeconfig.to_path_buf(), log, http, child, ending, alone }
    }

    /// SIGKILL, and started again at once: no destructor runs, no Lease is given back. One at a time.
    pub fn crash(&self) {
        let mut child = self.child.lock().expect("no poison");
        let _ = child.kill();
        let _ = child.wait();
        *child = spawn(self.stack, &self.kubeconfig, &self.log, self.http);
    }

    /// SIGTERM; gives how it ended. It must drain within half a minute.
    pub async fn terminate(&self) -> ExitStatus {
        let pid = self.pid();
        self.ending.store(true, Ordering::SeqCst);
        let sent = Command::new("kill").arg(pid.to_string()).status().expect("kill can be started");
        assert!(sent.success(), "the operator had ended before");
        eventually("the operator ends on SIGTERM", secs(30), || async { self.ended().ok_or("it still runs") }).await
    }

    /// Waits until it has ended for a reason of its own that a test knows of, called before that; gives how.
    pub async fn ends(&self, limit: Duration) -> ExitStatus {
        self.ending.store(true, Ordering::SeqCst);
        eventually("the operator ends", limit, || async { self.ended().ok_or("it still runs") }).await
    }

    /// Starts it again after [`Operator::terminate`] or [`Operator::ends`].
    pub fn restart(&self) {
        let mut child = self.child.lock().expect("no poison");
        *child = spawn(self.stack, &self.kubeconfig, &self.log, self.http);
        self.ending.store(false, Ordering::SeqCst);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.lock().expect("no poison").id()
    }

    /// Whether it still runs; the exit status if not.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().expect("no poison").try_wait().expect("a child")
    }

    /// The body of one of its pages, and the HTTP status.
    pub async fn page(&self, path: &str) -> Result<(u16, String), String> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.http)).await.map_err(|e| e.to_string())?;
        Ok((answer.status().as_u16(), answer.text().await.map_err(|e| e.to_string())?))
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        eventually("the operator is ready", secs(60), || async {
            if let Some(status) = self.ended().filter(|_| !self.ending.load(Ordering::SeqCst)) {
                panic!("the operator ended ({status}):\n{}", self.tail(30));
            }
            match self.page("/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(other),
            }
        })
        .await
    }

    /// One sample of its metrics, by its whole line up to the value.
    pub async fn metric(&self, line: &str) -> Option<f64> {
        let (_, text) = self.page("/metrics").await.ok()?;
        text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
    }

    /// The last lines of its log.
    pub fn tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Starts the operator again when a test that ended it does not get so far.
pub struct Again<'a>(pub &'a Operator);

impl Drop for Again<'_> {
    fn drop(&mut self) {
        if self.0.ended().is_some() {
            self.0.restart();
        }
    }
}

fn spawn(stack: &Stack, kubeconfig: &Path, log: &Path, http: u16) -> Child {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
    let child = Command::new(env!("CARGO_BIN_EXE_mailtenant"))
        .arg("run")
        .args(["--http-address", &format!("127.0.0.1:{http}")])
        .args(["--resolvers", stack.get("PDNS_DNS")])
        .env("KUBECONFIG", kubeconfig)
        .env("RUST_BACKTRACE", "1")
        .env("SSL_CERT_FILE", super::web::web_ca(stack))
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a log file"))
        .stderr(file)
        .spawn()
        .expect("the operator can be started");
    stack.end_with_stack(child.id(), "mailtenant");
    child
}
