//! What a name costs the server: a bounded number of requests, however many labels it has. A tenant chooses the name.

use crate::server::{connect, set};
use mailtenant::providers::Dns;
use mailtenant_dns::{Change, DnsServer, RecordType};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server with the zone `acme.test` that counts requests.
async fn counting() -> (Arc<dyn DnsServer>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::Relaxed);
            let (mut request, mut length) = (vec![0u8; 65536], 0);
            // Head and body come in one or two pieces; a JSON body ends with a brace.
            let text = loop {
                let n = stream.read(&mut request[length..]).await.unwrap_or(0);
                length += n;
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                if n == 0 || (text.contains("\r\n\r\n") && (!text.starts_with("PATCH") || text.ends_with('}'))) {
                    break text;
                }
            };
            let (status, body) = match text.lines().next().unwrap_or_default() {
                line if line.starts_with("PATCH") => ("204 No Content", ""),
                line if line.contains("/zones?zone=acme.test.") => ("200 OK", r#"[{"name":"acme.test."}]"#),
                line if line.contains("/zones?zone=") => ("200 OK", "[]"),
                line if line.contains("/zones?") => ("200 OK", r#"[{"name":"acme.test."},{"name":"example.org."}]"#),
                _ => ("200 OK", r#"{"name":"acme.test.","rrsets":[]}"#),
            };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let spec = serde_json::from_value(serde_json::json!({
        "allowedNamespaces": {"from": "All"}, "zones": [{"name": "acme.test"}],
        "powerdns": {"url": url, "apiKeySecretRef": {"name": "pdns", "key": "apiKey"}},
    }));
    (connect(&Dns::default(), spec.unwrap(), "key"), count)
}

/// `a.a. ... .acme.test` of so many labels.
fn name(labels: usize) -> String {
    format!("{}acme.test", "a.".repeat(labels - 2))
}

#[tokio::test]
async fn a_name_of_many_labels_costs_no_more_than_one_of_a_few() {
    let (dns, count) = counting().await;
    let mut costs = vec![];
    for labels in [2, 3, 12, 30, 120] {
        let name = name(labels);
        count.store(0, Ordering::Relaxed);
        assert_eq!(dns.find_zone(&name).await.as_deref(), Ok("acme.test"), "{name}");
        let found = count.swap(0, Ordering::Relaxed);
        let change =
            Change { before: set(&name, RecordType::TXT, 0, &[]), after: set(&name, RecordType::TXT, 60, &["x"]) };
        dns.apply("acme.test", &[change]).await.unwrap();
        costs.push((labels, found, count.load(Ordering::Relaxed)));
    }
    // The usual ones ask for what they need; a long one reads the list of zones and the zone once.
    assert!(costs.iter().all(|(_, find, apply)| *find <= 24 && *apply <= 16), "{costs:?}");
    assert_eq!(costs[0], (2, 1, 2), "{costs:?}");
    assert_eq!((costs[3], costs[4]), ((30, 2, 3), (120, 2, 3)), "{costs:?}");
    let lost = dns.find_zone(&format!("{}other.test", "a.".repeat(100))).await;
    assert!(matches!(lost, Err(mailtenant_dns::BackendError::NotFound(_))), "{lost:?}");
}
