//! The binary from outside: what it prints, what it serves while it waits, how it ends.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

#[path = "common/folder.rs"]
mod folder;

use folder::Folder;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const BINARY: &str = env!("CARGO_BIN_EXE_mailtenant");

fn mailtenant(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn crds_are_printed_and_written() {
    let printed = mailtenant(&["crds"]).output().unwrap();
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    let folder = Folder::new("crds");
    let dir = folder.0.join("new/crds");
    let written = mailtenant(&["crds", "--dir", dir.to_str().unwrap()]).output().unwrap();
    assert!(written.status.success() && written.stdout.is_empty(), "{written:?}");
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 7);
    assert!(dir.join("mailtenant.dev_mailboxes.yaml").exists(), "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(printed.contains(&text), "{} is not what is printed", file.display());
    }
    let refused = mailtenant(&["crds", "--dir", "/proc/no"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("/proc/no: "), "{refused:?}");
}

#[test]
fn bad_arguments_end_with_2() {
    for arguments in [
        &["run", "--log-level=a=b=c"][..],
        &["run", "--http-address=8080"],
        &["wellknown", "--listen-address=8081"],
        &["wellknown", "--leader-elect"],
        &["walk"],
        &[],
    ] {
        let output = mailtenant(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {output:?}");
    }
}

#[test]
fn without_a_cluster_it_says_so_and_fails() {
    let any = "127.0.0.1:0";
    for arguments in
        [&["run", "--http-address", any][..], &["wellknown", "--http-address", any, "--listen-address", any]]
    {
        let output =
            mailtenant(arguments).env("KUBECONFIG", "/proc/no-kubeconfig").env("HOME", "/proc").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains("no cluster: neither KUBECONFIG nor a service account can be used"), "{log}");
    }
}

/// A running operator whose apiserver is `server`; killed when the test ends early.
struct Running {
    child: Option<Child>,
    url: String,
    _folder: Folder,
}

impl Running {
    fn start(name: &str, server: &str) -> Self {
        let folder = Folder::new(name);
        let kubeconfig = folder.0.join("kubeconfig");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: '{server}'}}}}], \
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}], users: [{{name: u, user: {{}}}}]}}"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        // Free a moment ago; nothing else on this machine is told about it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let child = mailtenant(&["run", "--http-address", &address, "--log-format=json"])
            .env("KUBECONFIG", &kubeconfig)
            .spawn()
            .unwrap();
        Running { child: Some(child), url: format!("http://{address}"), _folder: folder }
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Waits until `path` answers as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let asked = async {
            loop {
                if let Some((code, text)) = self.get(path).await
                    && wanted(code, &text)
                {
                    return text;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), asked).await.unwrap_or_else(|_| panic!("{path} never answered as wanted"))
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    async fn end(mut self) -> Output {
        let child = self.child.take().unwrap();
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        timeout(Duration::from_secs(20), ended).await.unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn while_the_apiserver_is_away_it_lives_is_not_ready_and_ends_when_asked() {
    // Nobody listens there.
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let running = Running::start("away", &format!("http://{away}"));
    let reasons = running.until("/readyz", |code, text| code == 503 && text.contains("did not answer")).await;
    assert!(reasons.starts_with("crds: groupwarebackends.mailtenant.dev could not be read"), "{reasons}");
    assert_eq!(running.get("/healthz").await, Some((200, "ok\n".into())));
    let (_, metrics) = running.get("/metrics").await.unwrap();
    for line in [
        "mailtenant_crd_missing 7\n",
        "mailtenant_leader 0\n",
        "resource=\"customresourcedefinitions\",code=\"error\"} ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    running.signal("TERM");
    let output = running.end().await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let log = String::from_utf8(output.stderr).unwrap();
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "not JSON: {line}");
    }
    assert!(log.contains("waiting: mailboxes.mailtenant.dev could not be read"), "{log}");
    assert!(log.contains("ended as asked"), "{log}");
}

#[tokio::test]
async fn a_port_that_is_taken_ends_it_with_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = mailtenant(&["run", "--http-address", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(&format!("--http-address {address}: ")));
    let output =
        mailtenant(&["wellknown", "--http-address=127.0.0.1:0", "--listen-address", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(&format!("--listen-address {address}: ")));
}
