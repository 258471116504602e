//! Finding authoritative servers from a private root: three PowerDNS on loopback, `.`, `test`, and two of `acme.test`.

use crate::server::{Server, free_ports, set};
use mailtenant_dns::resolve::{DirectResolver, RootResolver};
use mailtenant_dns::standing::{About, Standing};
use mailtenant_dns::{BackendError, RecordType, Resolver};
use serde_json::{Value, json};

fn sets(list: &[(&str, &str, &str)]) -> Value {
    list.iter()
        .map(|(name, kind, content)| json!({"name": name, "type": kind, "ttl": 60, "records": [{"content": content}]}))
        .collect()
}

async fn zone(server: &Server, name: &str, rrsets: Value) {
    let body = json!({"name": name, "kind": "Native", "nameservers": [], "rrsets": rrsets});
    let (status, answer) = server.raw("POST", "/zones", Some(body)).await;
    assert_eq!(status, 201, "{answer}");
}

/// Servers at 127.77.0.1 and so on, all with the same DNS port, as in the world.
fn start(count: u8) -> (Vec<Server>, u16) {
    for _ in 0..5 {
        let port = free_ports("127.77.0.1");
        let servers: Vec<_> = (1..=count)
            .filter_map(|n| Server::try_start(&format!("127.77.0.{n}"), port, Some(free_ports("127.0.0.1"))))
            .collect();
        if servers.len() == usize::from(count) {
            return (servers, port);
        }
    }
    panic!("PowerDNS does not start");
}

#[tokio::test]
async fn from_the_root_to_every_server() {
    let (servers, port) = start(4);
    let soa = "ns.root.test. h.root.test. 1 60 60 60 60";
    zone(
        &servers[0],
        ".",
        sets(&[
            (".", "SOA", soa),
            (".", "NS", "a.root."),
            ("a.root.", "A", "127.77.0.1"),
            ("test.", "NS", "ns.test."),
            ("ns.test.", "A", "127.77.0.2"),
        ]),
    )
    .await;
    // The name servers of acme.test stand in another zone: their addresses are looked up from the root too.
    let both = json!([{"content": "ns1.host.test."}, {"content": "ns2.host.test."}]);
    let two = json!([
        {"name": "acme.test.", "type": "NS", "ttl": 60, "records": both},
        {"name": "part.test.", "type": "NS", "ttl": 60, "records": both},
    ]);
    let mut test = sets(&[
        ("test.", "SOA", soa),
        ("test.", "NS", "ns.test."),
        ("ns.test.", "A", "127.77.0.2"),
        ("host.test.", "NS", "ns.host.test."),
        ("ns.host.test.", "A", "127.77.0.3"),
        ("lame.test.", "NS", "ns1.host.test."),
    ]);
    test.as_array_mut().expect("a list").extend(two.as_array().expect("a list").clone());
    zone(&servers[1], "test.", test).await;
    zone(
        &servers[2],
        "host.test.",
        sets(&[
            ("host.test.", "SOA", soa),
            ("host.test.", "NS", "ns.host.test."),
            ("ns.host.test.", "A", "127.77.0.3"),
            ("ns1.host.test.", "A", "127.77.0.3"),
            ("ns2.host.test.", "A", "127.77.0.4"),
        ]),
    )
    .await;
    let apex = |text: &str| {
        sets(&[
            ("acme.test.", "SOA", soa),
            ("acme.test.", "NS", "ns1.host.test."),
            ("acme.test.", "TXT", text),
            ("alias.acme.test.", "CNAME", "acme.test."),
        ])
    };
    let long = "x".repeat(3000);
    zone(&servers[2], "acme.test.", apex(&format!("\"{}\"", long))).await;
    zone(&servers[3], "acme.test.", apex("\"old\"")).await;

    let root = RootResolver::from_roots(vec![format!("127.77.0.1:{port}").parse().expect("address")], port);
    // Each server's own view, the first by TCP since it does not fit into a datagram.
    let seen = root.lookup("acme.test", RecordType::TXT).await.expect("answers");
    assert_eq!(
        seen,
        [set("acme.test", RecordType::TXT, 60, &[&long]), set("acme.test", RecordType::TXT, 60, &["old"])]
    );
    // Roots that do not answer cost a moment, not a time-out each.
    let silent: Vec<_> = (0..5).map(|_| std::net::UdpSocket::bind("127.77.0.1:0").expect("a port")).collect();
    let mut roots: Vec<_> = silent.iter().map(|s| s.local_addr().expect("address")).collect();
    roots.push(format!("127.77.0.1:{port}").parse().expect("address"));
    let started = std::time::Instant::now();
    let seen = RootResolver::from_roots(roots, port).lookup("acme.test", RecordType::TXT).await.expect("answers");
    assert!(seen.len() == 2 && started.elapsed().as_secs() < 12, "{:?}", started.elapsed());
    // An absent name is an answer; an alias is not followed.
    for name in ["nothing.acme.test", "alias.acme.test"] {
        let seen = root.lookup(name, RecordType::TXT).await.expect("answers");
        assert_eq!(seen.iter().map(|s| s.values.len()).collect::<Vec<_>>(), [0, 0], "{name}");
    }
    assert_eq!(root.lookup("gone.test", RecordType::TXT).await.expect("an answer")[0].values, [""; 0]);
    // A delegation to a server that does not have the zone is no proof of anything.
    assert!(matches!(root.lookup("lame.test", RecordType::TXT).await, Err(BackendError::Unavailable { .. })));

    // For a proof each server counts: also one that is away, and one that the zone above names and that has not the zone.
    let part =
        sets(&[("part.test.", "SOA", soa), ("part.test.", "NS", "ns1.host.test."), ("part.test.", "TXT", "\"it\"")]);
    zone(&servers[2], "part.test.", part).await;
    assert_eq!(root.lookup("part.test", RecordType::TXT).await.expect("answers").len(), 1);
    let each = root.lookup_each("part.test", RecordType::TXT).await.expect("answers");
    assert_eq!((each.sets.len(), each.silent), (1, vec![format!("127.77.0.4:{port}")]));
    let each = root.lookup_each("acme.test", RecordType::TXT).await.expect("answers");
    assert_eq!((each.sets.len(), each.silent), (2, vec![]));
    let many =
        DirectResolver::new(vec![servers[3].dns.clone(), "127.77.0.9:1".into(), "no-such-host.invalid:53".into()]);
    let each = many.lookup_each("acme.test", RecordType::TXT).await.expect("an answer");
    assert_eq!((each.sets.len(), each.silent), (1, vec!["127.77.0.9:1".to_owned(), "no-such-host.invalid:53".into()]));

    // The zone above names the servers, and they themselves; what nobody answers for is not said to be anything.
    let standing = async |resolver: &dyn Resolver, name: &str, zone: Option<&str>| {
        resolver.standing(&About { name, registered: name, zone }).await
    };
    let hosts = |all: &[&str]| all.iter().map(|h| (*h).to_owned()).collect();
    let both = Standing { servers: hosts(&["ns1.host.test", "ns2.host.test"]), registered: Some(true), bogus: None };
    assert_eq!(standing(&root, "acme.test", Some("acme.test")).await, both);
    assert_eq!(standing(&root, "acme.test", None).await, Standing { servers: hosts(&[]), ..both.clone() });
    let gone = Standing { registered: Some(false), ..Standing::default() };
    assert_eq!(standing(&root, "gone.test", Some("gone.test")).await, gone);
    assert_eq!(standing(&root, "lame.test", Some("lame.test")).await, Standing::default());
    let authoritative = DirectResolver::new(vec![servers[3].dns.clone()]);
    let own = Standing { servers: hosts(&["ns1.host.test"]), ..both };
    assert_eq!(standing(&authoritative, "acme.test", Some("acme.test")).await, own);
    // Not its zone.
    assert_eq!(standing(&authoritative, "other.test", Some("other.test")).await, Standing::default());

    // A server that is away is left out while another answers; none is an error.
    let away = "127.77.0.9:1".to_string();
    let direct = DirectResolver::new(vec![away.clone(), servers[3].dns.clone(), "no-such-host.invalid:53".into()]);
    assert_eq!(
        direct.lookup("acme.test", RecordType::TXT).await.expect("an answer"),
        [set("acme.test", RecordType::TXT, 60, &["old"])]
    );
    assert!(matches!(
        DirectResolver::new(vec![away]).lookup("acme.test", RecordType::TXT).await,
        Err(BackendError::Unavailable { .. })
    ));
    // Not its zone: refused. Where one of several refuses the others answer; where each does, none has the zone.
    let only = DirectResolver::new(vec![servers[3].dns.clone()]).lookup("other.test", RecordType::TXT).await;
    assert!(matches!(only, Err(BackendError::NotFound(_))), "{only:?}");
    let silent = DirectResolver::new(vec![servers[3].dns.clone(), "127.0.0.1:1".into()]);
    let some = silent.lookup("other.test", RecordType::TXT).await;
    assert!(matches!(some, Err(BackendError::Unavailable { .. })), "a server that is silent may have it: {some:?}");
}
