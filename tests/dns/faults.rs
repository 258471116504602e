//! I2: only typed answers prove anything. A server that says nonsense proves nothing.

use crate::server::{Server, connect, set};
use mailtenant::providers::Dns;
use mailtenant_controllers::connect::{ConnectDns, Secrets};
use mailtenant_dns::{BackendError, Change, DnsServer, RecordType};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &str = "a-key-that-must-not-get-out";

#[tokio::test]
async fn wrong_key_and_no_server() {
    let server = Server::start();
    server.add_zone("acme.test").await;
    let spec = server.spec(&["acme.test"]);
    let dns = connect(&Dns::default(), spec.clone(), "wrong");
    assert!(matches!(dns.probe().await, Err(BackendError::Unauthorized(_))));
    assert!(matches!(dns.find_zone("acme.test").await, Err(BackendError::Unauthorized(_))));
    assert!(matches!(dns.apply("acme.test", &[change()]).await, Err(BackendError::Unauthorized(_))));
    // The line break at the end of a Secret made from a file is not part of the key.
    let dns = connect(&Dns::default(), spec.clone(), &format!("{}\n", server.key));
    assert!(dns.probe().await.is_ok());
    let mut other = spec.clone();
    other.powerdns.as_mut().expect("powerdns").server_id = "other".into();
    let elsewhere = connect(&Dns::default(), other, &server.key);
    assert!(matches!(elsewhere.find_zone("acme.test").await, Err(BackendError::Unavailable { .. })));
    drop(server);
    for result in [dns.probe().await, dns.find_zone("acme.test").await] {
        assert!(matches!(result, Err(BackendError::Unavailable { .. })), "{result:?}");
    }
    assert!(matches!(Dns::default().connect(&spec, &Secrets::default()), Err(BackendError::Rejected(_))));
}

fn change() -> Change {
    Change { before: set("acme.test", RecordType::TXT, 0, &[]), after: set("acme.test", RecordType::TXT, 60, &["x"]) }
}

const ZONE: &str = r#"{"name":"acme.test.","rrsets":[]}"#;

fn http(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\nRetry-After: 7\r\n\r\n{body}",
        body.len()
    )
}

/// A server that gives `answer` to requests of `method` (to all if empty), and good answers to others.
async fn scripted(method: &'static str, answer: String) -> Arc<dyn DnsServer> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0u8; 65536];
            let mut length = 0;
            // Head and body come in one or two pieces; a JSON body ends with a brace.
            loop {
                let n = stream.read(&mut request[length..]).await.unwrap_or(0);
                length += n;
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                if n == 0 || (text.contains("\r\n\r\n") && (!text.starts_with("PATCH") || text.ends_with('}'))) {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            let good = if text.contains("/zones?zone=acme.test.") {
                http("200 OK", "application/json", r#"[{"name":"acme.test."}]"#)
            } else if text.contains("/zones?") {
                http("200 OK", "application/json", "[]")
            } else {
                http("200 OK", "application/json", ZONE)
            };
            let reply = if text.starts_with(method) { &answer } else { &good };
            let _ = stream.write_all(reply.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let spec = serde_json::from_value(serde_json::json!({
        "allowedNamespaces": {"from": "All"}, "zones": [{"name": "acme.test"}],
        "powerdns": {"url": url, "apiKeySecretRef": {"name": "pdns", "key": "apiKey"}},
    }));
    connect(&Dns::default(), spec.expect("a spec"), SECRET)
}

fn word(e: &BackendError) -> &'static str {
    match e {
        BackendError::NotFound(_) => "NotFound",
        BackendError::Exists { .. } => "Exists",
        BackendError::Conflict(_) => "Conflict",
        BackendError::Rejected(_) => "Rejected",
        BackendError::ReadOnly(_) => "ReadOnly",
        BackendError::Unsupported(_) => "Unsupported",
        BackendError::InvalidSecret(_) => "InvalidSecret",
        BackendError::Unauthorized(_) => "Unauthorized",
        BackendError::Unavailable { .. } => "Unavailable",
    }
}

#[tokio::test]
async fn nonsense_proves_nothing() {
    let json = "application/json";
    let html = http("200 OK", "text/html", "<html>Welcome</html>");
    let cut = http("200 OK", json, ZONE).replace("Content-Length: ", "Content-Length: 9");
    for (answer, on_get, on_patch) in [
        (http("500 Oops", json, "{}"), "Unavailable", "Unavailable"),
        (http("502 Bad Gateway", "text/html", "<html>"), "Unavailable", "Unavailable"),
        (http("503 Busy", "text/plain", ""), "Unavailable", "Unavailable"),
        (http("429 Slow", "text/plain", ""), "Unavailable", "Unavailable"),
        (http("401 No", "text/plain", ""), "Unauthorized", "Unauthorized"),
        (http("403 No", "text/html", "<html>"), "Unauthorized", "Unauthorized"),
        (http("404 Not Found", "text/html", "<html>"), "Unavailable", "Unavailable"),
        (http("404 Not Found", json, r#"{"error": "Not Found"}"#), "Unavailable", "Unavailable"),
        (http("409 Conflict", json, "{}"), "Conflict", "Conflict"),
        (http("400 Bad", json, r#"{"error": "x"}"#), "Rejected", "Rejected"),
        (http("422 Bad", json, r#"{"error": "no"}"#), "Rejected", "Rejected"),
        (http("422 Bad", "text/html", "<html>"), "Unavailable", "Unavailable"),
        (http("302 Found", "text/html", ""), "Unavailable", "Unavailable"),
        (html, "Unavailable", "Unavailable"),
        (http("200 OK", json, ""), "Unavailable", "Unavailable"),
        (http("200 OK", json, r#"{"error": "inside"}"#), "Unavailable", "Unavailable"),
        (http("200 OK", json, "null"), "Unavailable", "Unavailable"),
        (cut, "Unavailable", "Unavailable"),
        (String::new(), "Unavailable", "Unavailable"),
    ] {
        let dns = scripted("GET", answer.clone()).await;
        let asked = [("acme.test".to_string(), RecordType::TXT)];
        for result in
            [dns.probe().await.err(), dns.find_zone("acme.test").await.err(), dns.read("acme.test", &asked).await.err()]
        {
            assert_eq!(result.as_ref().map(word), Some(on_get), "GET {answer:?}");
        }
        let dns = scripted("PATCH", answer.clone()).await;
        let result = dns.apply("acme.test", &[change()]).await.err();
        assert_eq!(result.as_ref().map(word), Some(on_patch), "PATCH {answer:?}");
    }
}

#[tokio::test]
async fn waits_as_long_as_it_is_told_and_keeps_the_key() {
    let dns = scripted("PATCH", http("429 Slow", "text/plain", SECRET)).await;
    let Err(BackendError::Unavailable { retry_after, message }) = dns.apply("acme.test", &[change()]).await else {
        panic!("taken")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
    assert!(!message.contains(SECRET));
    let dns =
        scripted("PATCH", http("503 Busy", "text/plain", "").replace("Retry-After: 7", "Retry-After: 4294967295"))
            .await;
    let Err(BackendError::Unavailable { retry_after, .. }) = dns.apply("acme.test", &[change()]).await else {
        panic!("taken")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(3600)), "no server puts its objects aside for longer");
    let echo = serde_json::json!({ "error": format!("bad key {SECRET}") }).to_string();
    let dns = scripted("PATCH", http("422 Bad", "application/json", &echo)).await;
    let error = dns.apply("acme.test", &[change()]).await.expect_err("refused");
    assert!(!format!("{error} {error:?}").contains(SECRET));
    let dns = scripted("PATCH", http("204 No Content", "", "")).await;
    dns.apply("acme.test", &[change()]).await.expect("applied");
}
