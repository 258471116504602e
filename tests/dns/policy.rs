//! MTA-STS policies are fetched as senders do (RFC 8461, 3.3): from a real TLS server, with each thing that it can do wrong.

use mailtenant_dns::PolicyProbe;
use mailtenant_dns::policy::HttpsPolicy;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const POLICY: &str = "version: STSv1\r\nmode: none\r\nmax_age: 60\r\n";

/// A folder with a CA and a certificate for `host`, removed at the end.
struct Certificates(PathBuf);

impl Certificates {
    fn new(host: &str, test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mailtenant-policy-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let key = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&dir, &format!("{key} -x509 -days 30 -subj /CN=test-ca -keyout ca.key -out ca.crt"));
        openssl(&dir, &format!("{key} -subj /CN=server -keyout server.key -out server.csr"));
        std::fs::write(dir.join("ext"), format!("subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\n")).unwrap();
        let ca = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 30";
        openssl(&dir, &format!("x509 -req -in server.csr -out server.crt -extfile ext {ca}"));
        Certificates(dir)
    }

    fn config(&self) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_file_iter(self.0.join("server.crt")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.0.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn openssl(dir: &Path, arguments: &str) {
    let output =
        Command::new("openssl").args(arguments.split(' ')).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server that gives one answer to one request; its port.
fn serve(config: Arc<ServerConfig>, answer: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let Ok((stream, _)) = listener.accept() else { return };
        let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let (mut request, mut buffer) = (vec![], [0u8; 4096]);
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            match tls.read(&mut buffer) {
                Ok(length) if length > 0 => request.extend_from_slice(&buffer[..length]),
                _ => return,
            }
        }
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains(&format!("host: mta-sts.acme.test:{port}\r\n")), "{request}");
        let _ = tls.write_all(answer.as_bytes());
        tls.conn.send_close_notify();
        let _ = tls.flush();
    });
    port
}

fn http(status: &str, more: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";

async fn fetch(certificates: &Certificates, answer: String) -> Result<String, String> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let port = serve(certificates.config(), answer);
    let root = std::fs::read(certificates.0.join("ca.crt")).unwrap();
    let probe = HttpsPolicy::at(port, &root).unwrap();
    probe.policy("acme.test", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_senders_would_take_is_taken_and_nothing_else() {
    let certificates = Certificates::new("mta-sts.acme.test", "good");
    assert_eq!(fetch(&certificates, http("200 OK", TEXT, POLICY)).await, Ok(POLICY.to_owned()));
    for (answer, says) in [
        (http("404 Not Found", TEXT, POLICY), "404"),
        (http("302 Found", &format!("Location: https://elsewhere.test/\r\n{TEXT}"), POLICY), "302"),
        (http("200 OK", "Content-Type: text/html\r\n", POLICY), "text/plain"),
        (http("200 OK", "", POLICY), "text/plain"),
        (http("200 OK", TEXT, &"x".repeat(70_000)), "longer"),
        (http("200 OK", TEXT, POLICY).replace("Content-Length: ", "Content-Length: 9"), ""),
        ("nonsense\r\n\r\n".into(), ""),
    ] {
        let error = fetch(&certificates, answer.clone()).await.expect_err(&answer);
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_nobody_is_none() {
    let other = Certificates::new("mta-sts.other.test", "other");
    let error = fetch(&other, http("200 OK", TEXT, POLICY)).await.expect_err("a certificate for another name");
    assert!(error.contains("certificate"), "{error}");
    // The right name, by a CA that nobody trusts.
    let (own, unknown) = (Certificates::new("mta-sts.acme.test", "own"), Certificates::new("unknown.test", "unknown"));
    let port = serve(own.config(), http("200 OK", TEXT, POLICY));
    let probe = HttpsPolicy::at(port, &std::fs::read(unknown.0.join("ca.crt")).unwrap()).unwrap();
    let error = probe.policy("acme.test", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]).await.expect_err("an unknown CA");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let certificates = Certificates::new("nobody.test", "nobody");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let probe = HttpsPolicy::at(port, &std::fs::read(certificates.0.join("ca.crt")).unwrap()).unwrap();
    let error = probe.policy("acme.test", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]).await.expect_err("nobody listens");
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
}
