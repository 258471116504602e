//! `mailtenant wellknown` behind HTTPS, at an address of one test's own, and what senders make of it.

use super::stack::Stack;
use super::{eventually, secs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A running one. It ends with this value, or with the stack.
pub struct Web {
    /// Loopback address at which it answers HTTPS on port 443, and DNS on port 53.
    pub address: String,
    stack: &'static Stack,
    root: PathBuf,
    /// Port of the documents, without TLS.
    plain: u16,
    children: Mutex<Vec<Child>>,
    /// What ends TLS at the moment.
    front: Mutex<Option<Child>>,
}

/// Who signed the certificate that is shown.
#[derive(Clone, Copy)]
pub enum SignedBy {
    /// The authority that the operator and senders trust.
    Known,
    Nobody,
}

impl Web {
    /// Starts the service. Nobody reaches it by HTTPS before [`Web::show`].
    pub async fn start(stack: &'static Stack) -> Web {
        static NEXT: AtomicU16 = AtomicU16::new(64);
        let base: u16 = stack.get("STACK_PORT_BASE").parse().expect("a port");
        // The base of the ports is one stack's alone.
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.{n}.{}.{}", base >> 8, base & 255);
        let root = stack.root.join(format!("web-{n}"));
        std::fs::create_dir_all(&root).expect("a folder");
        let [plain, health] = [stack.free_port(), stack.free_port()];
        let web = Web { address, stack, root, plain, children: Mutex::default(), front: Mutex::default() };
        let local = |port: u16| format!("127.0.0.1:{port}");
        let mut service = Command::new(env!("CARGO_BIN_EXE_mailtenant"));
        service.args(["wellknown", "--listen-address", &local(plain), "--http-address", &local(health)]);
        service.env("KUBECONFIG", stack.get("STACK_KUBECONFIG"));
        web.keep(web.spawn(&mut service, "mailtenant"));
        let dns = stack.get("PDNS_DNS");
        for (listen, connect) in [("UDP-LISTEN", "UDP"), ("TCP-LISTEN", "TCP")] {
            let mut relay = Command::new("socat");
            relay.arg(format!("{listen}:53,bind={},fork,reuseaddr", web.address)).arg(format!("{connect}:{dns}"));
            web.keep(web.spawn(&mut relay, "socat"));
        }
        eventually("wellknown is ready", secs(60), || async {
            let answer = reqwest::get(format!("http://{}/readyz", local(health))).await.map_err(|e| e.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
        web
    }

    fn spawn(&self, command: &mut Command, word: &str) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.root.join("log")).expect("a log");
        let command = command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().expect("it can be started");
        self.stack.end_with_stack(child.id(), word);
        child
    }

    fn keep(&self, child: Child) {
        self.children.lock().unwrap().push(child);
    }

    /// From now on it is reached by HTTPS, with a certificate for this host.
    pub fn show(&self, host: &str, by: SignedBy) {
        self.end_tls(host, by, self.plain);
    }

    /// From now on somebody else is reached there, who serves this policy for the host.
    pub async fn show_another(&self, host: &str, policy: &'static str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let _ = client.read(&mut [0; 4096]).await;
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n", policy.len());
                let _ = client.write_all(format!("{head}Connection: close\r\n\r\n{policy}").as_bytes()).await;
                let _ = client.shutdown().await;
            }
        });
        self.end_tls(host, SignedBy::Known, port);
    }

    fn end_tls(&self, host: &str, by: SignedBy, port: u16) {
        let script = r#"
            set -eu; cd "$1"
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=web" \
              -addext "subjectAltName=DNS:$2" -keyout key -out csr
            if [ -n "$3" ]; then openssl x509 -req -in csr -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 30 -copy_extensions copy -out crt
            else openssl x509 -req -in csr -signkey key -days 30 -copy_extensions copy -out crt; fi
            cat key crt >both"#;
        let authority = match by {
            SignedBy::Known => self.stack.get("STACK_WEB_CA"),
            SignedBy::Nobody => "",
        };
        let out = Command::new("bash").args(["-c", script, "bash"]).arg(&self.root).args([host, authority]).output();
        let out = out.expect("bash runs");
        assert!(out.status.success(), "no certificate: {}", String::from_utf8_lossy(&out.stderr));
        self.hide();
        let mut front = Command::new("socat");
        let both = self.root.join("both");
        front.arg(format!("OPENSSL-LISTEN:443,bind={},cert={},verify=0,fork,reuseaddr", self.address, both.display()));
        front.arg(format!("TCP:127.0.0.1:{port}"));
        *self.front.lock().unwrap() = Some(self.spawn(&mut front, "socat"));
    }

    /// It is not reached by HTTPS any more.
    pub fn hide(&self) {
        if let Some(mut front) = self.front.lock().unwrap().take() {
            let _ = front.kill();
            let _ = front.wait();
        }
    }

    /// The policy of a domain as a sender gets it: `postfix-mta-sts-resolver` asks DNS and HTTPS at this address alone. It
    /// needs files of its own for the resolver.
    pub fn as_senders_see_it(&self, domain: &str) -> String {
        let resolv = self.root.join("resolv.conf");
        std::fs::write(&resolv, format!("nameserver {}\n", self.address)).expect("a file");
        let script = r#"mount --bind "$1" /etc/resolv.conf && exec mta-sts-query "$2""#;
        let mut query = Command::new("unshare");
        query.args(["-m", "bash", "-c", script, "bash"]).arg(&resolv).arg(domain);
        let out = query.env("SSL_CERT_FILE", web_ca(self.stack)).output().expect("unshare runs");
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.hide();
        for child in self.children.lock().unwrap().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The authority that signs for web servers here.
pub fn web_ca(stack: &Stack) -> PathBuf {
    Path::new(&format!("{}.crt", stack.get("STACK_WEB_CA"))).to_path_buf()
}
