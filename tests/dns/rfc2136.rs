//! What only dynamic updates have: keys, clocks, signatures, and answers that prove nothing (I2).

use crate::nameserver::{Kind, Nameserver};
use crate::server::set;
use jiff::{SignedDuration, Timestamp};
use mailtenant::providers::Dns;
use mailtenant_backend::SecretText;
use mailtenant_clock::Clock;
use mailtenant_controllers::connect::{ConnectDns, Secrets};
use mailtenant_dns::providers::rfc2136::{self, Algorithm, Key, Settings};
use mailtenant_dns::{BackendError, Change, DnsServer, RecordType};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &str = "bWFpbG9wLXRlc3Qta2V5LTMyLWJ5dGVzLWxvbmchISE=";

/// A clock that is wrong by so many seconds.
struct Skewed(i64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.0)
    }
}

fn provider(server: &str, name: &str, secret: &str, skew: i64) -> Arc<dyn DnsServer> {
    let key = Key::new(name, Algorithm::HmacSha256, &SecretText::new(secret)).unwrap();
    rfc2136::connect(Settings {
        server: server.into(),
        key,
        zones: vec!["acme.test".into()],
        clock: Arc::new(Skewed(skew)),
    })
}

fn added(name: &str, rtype: RecordType, value: &str) -> Change {
    Change { before: set(name, rtype, 0, &[]), after: set(name, rtype, 60, &[value]) }
}

async fn unauthorized(dns: &Arc<dyn DnsServer>, word: &str) {
    let asked = [("acme.test".to_string(), RecordType::TXT)];
    for result in [
        dns.probe().await.err(),
        dns.find_zone("acme.test").await.err(),
        dns.read("acme.test", &asked).await.err(),
        dns.apply("acme.test", &[added("acme.test", RecordType::TXT, "x")]).await.err(),
    ] {
        assert!(matches!(&result, Some(BackendError::Unauthorized(text)) if text.contains(word)), "{result:?}");
    }
}

async fn keys_and_clocks(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    let before = server.dump("acme.test");
    let (address, secret) = (&server.address, &server.secret);
    // PowerDNS does not say which of the possible reasons it is.
    unauthorized(&provider(address, "mailtenant.", secret, 900), "s apart").await;
    unauthorized(&provider(address, "mailtenant.", secret, -900), "s apart").await;
    unauthorized(&provider(address, "mailtenant.", SECRET, 0), "").await;
    unauthorized(&provider(address, "nobody.", secret, 0), "").await;
    assert_eq!(server.dump("acme.test"), before);
    let dns = provider(address, "mailtenant", secret, 250);
    dns.apply("acme.test", &[added("acme.test", RecordType::TXT, "x")]).await.unwrap();
}

#[tokio::test]
async fn keys_and_clocks_at_bind() {
    keys_and_clocks(Kind::Bind).await;
}

#[tokio::test]
async fn keys_and_clocks_at_knot() {
    keys_and_clocks(Kind::Knot).await;
}

#[tokio::test]
async fn keys_and_clocks_at_powerdns() {
    keys_and_clocks(Kind::PowerDns).await;
}

#[tokio::test]
async fn a_type_that_the_key_may_not_change_is_a_matter_of_rights() {
    for kind in [Kind::Bind, Kind::Knot] {
        let server = Nameserver::start(kind, &["acme.test"]).await;
        let before = server.dump("acme.test");
        let dns = server.backend();
        let good = added("good.acme.test", RecordType::TXT, "x");
        let bad = added("bad.acme.test", RecordType::NS, "ns.example.net.");
        // Not through the wrapper, which does not let it through in the first place.
        let dns_without = provider(&server.address, "mailtenant.", &server.secret, 0);
        let result = dns_without.apply("acme.test", &[good, bad]).await;
        assert!(matches!(result, Err(BackendError::Unauthorized(_))), "{kind:?}: {result:?}");
        assert_eq!(server.dump("acme.test"), before);
        assert!(dns.probe().await.is_ok());
    }
}

#[test]
fn a_secret_that_is_no_key_is_named() {
    let spec: mailtenant_api::DNSBackendSpec = serde_json::from_value(serde_json::json!({
        "allowedNamespaces": {"from": "All"}, "zones": [{"name": "acme.test"}],
        "rfc2136": {"server": "127.0.0.1:53", "tsig": {"name": "mailtenant.", "algorithm": "hmac-sha512",
            "secretRef": {"name": "tsig", "key": "secret"}}},
    }))
    .unwrap();
    let secrets = |text: &str| Secrets([(("tsig".into(), "secret".into()), SecretText::new(text))].into());
    assert!(Dns::default().connect(&spec, &secrets(SECRET)).is_ok());
    let Err(BackendError::InvalidSecret(text)) = Dns::default().connect(&spec, &secrets("not base64!")) else {
        panic!("taken")
    };
    assert!(
        text.contains("key secret of Secret tsig") && text.contains("base64") && !text.contains("not base64!"),
        "{text}"
    );
    assert!(matches!(Dns::default().connect(&spec, &Secrets::default()), Err(BackendError::Rejected(_))));
}

/// A server that answers each message with what `answer` makes of it.
async fn scripted(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + Clone + 'static) -> Arc<dyn DnsServer> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut request = vec![0; length.into()];
                    if stream.read_exact(&mut request).await.is_err() {
                        return;
                    }
                    let answer = answer(&request);
                    let _ = stream.write_all(&answer).await;
                    if answer.is_empty() {
                        return;
                    }
                }
            });
        }
    });
    provider(&address, "mailtenant.", SECRET, 0)
}

/// The request as an answer with this code, with its signature or without.
fn echo(request: &[u8], code: u8, signed: bool) -> Vec<u8> {
    let mut answer = request.to_vec();
    answer[2] |= 0x84;
    answer[3] = (answer[3] & 0xf0) | code;
    if !signed {
        // Name of the key, fixed fields, and the data: what `Key::sign` puts at the end.
        let length = answer.len() - (12 + 10 + 13 + 6 + 2 + 2 + 32 + 6);
        answer.truncate(length);
        answer[11] = 0;
    }
    [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat()
}

#[tokio::test]
async fn nonsense_proves_nothing() {
    const UPDATE: u8 = 5 << 3;
    let asked = [("acme.test".to_string(), RecordType::TXT)];
    let word = |e: Option<BackendError>| match e {
        Some(BackendError::Unavailable { .. }) => "Unavailable",
        Some(BackendError::Unauthorized(_)) => "Unauthorized",
        Some(BackendError::NotFound(_)) => "NotFound",
        Some(_) => "another error",
        None => "fine",
    };
    // Code of a query and of an update, whether they are signed (by an echo: with a signature that is not an answer's), and
    // what must come of it. Only NOTAUTH for an update, and no answer to the query, say that there is no zone.
    for (on_query, on_update, signed, want) in [
        (0, 0, false, "Unavailable"),
        (0, 0, true, "Unavailable"),
        (2, 9, false, "Unavailable"),
        (3, 9, false, "Unavailable"),
        (4, 9, false, "Unavailable"),
        (5, 0, false, "Unavailable"),
        (5, 0, true, "Unavailable"),
        (5, 2, false, "Unavailable"),
        (5, 5, false, "Unauthorized"),
        (5, 9, true, "Unavailable"),
        (5, 9, false, "NotFound"),
    ] {
        let answer = move |request: &[u8]| {
            let code = if request[2] & 0x78 == UPDATE { on_update } else { on_query };
            echo(request, code, signed)
        };
        let dns = scripted(answer).await;
        let results = [
            dns.find_zone("acme.test").await.err(),
            dns.read("acme.test", &asked).await.err(),
            dns.apply("acme.test", &[added("acme.test", RecordType::TXT, "x")]).await.err(),
        ];
        for result in results {
            let text = format!("{result:?}");
            assert_eq!(word(result), want, "{on_query} {on_update} {signed}: {text}");
        }
    }
    for answer in
        [vec![], vec![0, 3, 1, 2, 3], [&[0, 12][..], &[0xff; 12]].concat(), b"HTTP/1.1 400 Bad Request".to_vec()]
    {
        let dns = scripted(move |_| answer.clone()).await;
        for result in [dns.probe().await.err(), dns.find_zone("acme.test").await.err()] {
            let text = format!("{result:?}");
            assert_eq!(word(result), "Unavailable", "{text}");
        }
    }
}
