//! What every provider must do, on each server that it is for. A new provider gets a line in `suite!`.

use crate::life::{changed, settle, wanted, withdraw};
use crate::nameserver::{Kind, Nameserver};
use crate::server::set;
use mailtenant_dns::{BackendError, Change, DnsServer, RecordType, RrSet};
use mailtenant_mail::merge::Plan;
use mailtenant_mail::policy::{Purpose, RecordState};
use mailtenant_mail::records::{Discovery, Input, MtaSts};
use std::collections::BTreeSet;
use std::sync::Arc;

use RecordType::{CNAME, MX, NS, SRV, TXT};

macro_rules! suite {
    ($($server:ident: $kind:expr,)*) => { $(
        mod $server {
            use super::Kind;
            suite!(@tests $kind;
                finds_zones_and_reads_what_is_there,
                creates_changes_and_deletes,
                all_changes_or_none,
                a_change_of_somebody_else_is_found,
                foreign_values_of_a_set_stay,
                hosts_are_put_back_with_the_letters_they_had,
                a_wildcard_is_no_set_of_its_own,
                what_is_below_a_cut_is_not_written,
                nothing_stands_beside_an_alias,
                an_alias_gives_way_in_one_step,
                absence_is_the_servers_own_word,
                nothing_outside_the_zones_is_written,
                two_writers_lose_nothing,
                a_domain_comes_and_goes_beside_foreign_records,
                aliases_of_ours_come_and_go_and_nothing_of_others_gives_way,
            );
        }
    )* };
    (@tests $kind:expr; $($test:ident,)*) => { $(
        #[tokio::test]
        async fn $test() {
            super::$test($kind).await;
        }
    )* };
}

suite! {
    powerdns_api: Kind::PowerDnsApi,
    powerdns: Kind::PowerDns,
    bind: Kind::Bind,
    knot: Kind::Knot,
}

fn lines<const N: usize>(lines: [&str; N]) -> Vec<String> {
    lines.map(String::from).to_vec()
}

fn none(name: &str, rtype: RecordType) -> RrSet {
    set(name, rtype, 0, &[])
}

fn change(before: &RrSet, after: &RrSet) -> Change {
    Change { before: before.clone(), after: after.clone() }
}

async fn read(dns: &Arc<dyn DnsServer>, name: &str, rtype: RecordType) -> RrSet {
    dns.read("acme.test", &[(name.into(), rtype)]).await.unwrap().remove(0)
}

async fn finds_zones_and_reads_what_is_there(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test", "example.org", "sub.example.org"]).await;
    server.owner(
        "acme.test",
        &lines([
            r#"add acme.test. 77 TXT "a" "b""#,
            r#"add acme.test. 77 TXT "say \"hi\" \195\169""#,
            "add acme.test. 78 MX 10 Mail.Example.NET.",
            "add _imaps._tcp.acme.test. 79 SRV 0 1 993 IMAP.example.net.",
            r#"add acme.test. 80 CAA 0 issue "ca.example.net""#,
        ]),
    );
    let dns = server.backend();
    let capabilities = dns.capabilities();
    assert!(capabilities.atomic);
    assert_eq!(capabilities.compare_and_set, kind != Kind::PowerDnsApi);
    let version = dns.probe().await.unwrap();
    assert!(version.contains(|c: char| c.is_ascii_digit()), "{version}");
    for (name, zone) in [
        ("acme.test", "acme.test"),
        ("_dmarc.acme.test", "acme.test"),
        ("a.b.example.org", "example.org"),
        ("sub.example.org", "sub.example.org"),
        ("x.sub.example.org", "sub.example.org"),
        ("xsub.example.org", "example.org"),
    ] {
        assert_eq!(dns.find_zone(name).await.as_deref(), Ok(zone), "{name}");
    }
    // In the order asked for, empty ones too.
    let asked = [
        ("nothing.acme.test", TXT),
        ("acme.test", MX),
        ("acme.test", TXT),
        ("acme.test", CNAME),
        ("_imaps._tcp.acme.test", SRV),
        ("acme.test", RecordType::CAA),
    ];
    let sets = dns.read("acme.test", &asked.map(|(name, rtype)| (name.into(), rtype))).await.unwrap();
    let want = [
        none("nothing.acme.test", TXT),
        set("acme.test", MX, 78, &["10 mail.example.net."]),
        set("acme.test", TXT, 77, &["ab", "say \"hi\" é"]),
        none("acme.test", CNAME),
        set("_imaps._tcp.acme.test", SRV, 79, &["0 1 993 imap.example.net."]),
        set("acme.test", RecordType::CAA, 80, &["0 issue \"ca.example.net\""]),
    ];
    assert_eq!(sets, want);
    for name in ["a/../b.acme.test", "UPPER.acme.test", "é.acme.test", "a..acme.test", ""] {
        assert!(matches!(dns.find_zone(name).await, Err(BackendError::Rejected(_))), "{name}");
    }
}

async fn creates_changes_and_deletes(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    let empty = server.dump("acme.test");
    let dns = server.backend();
    let long = "v=DKIM1; k=rsa; p=".to_owned() + &"x".repeat(392);
    let made = [
        set("s._domainkey.acme.test", TXT, 3601, &[&long]),
        set("acme.test", MX, 1, &["10 mx1.example.net.", "20 mx2.example.net."]),
        set("acme.test", TXT, 86399, &["", "quote \" and \\ and é", "v=spf1 -all"]),
        set("_imap._tcp.acme.test", SRV, 60, &["0 0 0 ."]),
        set("null.acme.test", MX, 60, &["0 ."]),
        set("mta-sts.acme.test", CNAME, 60, &["mta-sts.example.net."]),
    ];
    let changes: Vec<Change> = made.iter().map(|s| change(&none(&s.name, s.rtype), s)).collect();
    dns.apply("acme.test", &changes).await.unwrap();
    for s in &made {
        assert_eq!(read(&dns, &s.name, s.rtype).await, *s);
    }
    let dkim = format!("\"{}\" \"{}\"", &long[..255], &long[255..]);
    let line = format!("s._domainkey.acme.test. 3601 IN TXT {dkim}");
    assert!(server.dump("acme.test").contains(&line), "{line}\n{:?}", server.dump("acme.test"));
    // Values, the time to live alone, and both.
    let then = [
        made[0].clone(),
        set("acme.test", MX, 1, &["10 mx1.example.net.", "30 mx3.example.net."]),
        RrSet { ttl: 5, ..made[2].clone() },
        set("_imap._tcp.acme.test", SRV, 61, &["0 1 143 imap.example.net."]),
        none("null.acme.test", MX),
        set("mta-sts.acme.test", CNAME, 60, &["other.example.net."]),
    ];
    let changes: Vec<Change> = made.iter().zip(&then).skip(1).map(|(was, now)| change(was, now)).collect();
    dns.apply("acme.test", &changes).await.unwrap();
    for s in &then {
        assert_eq!(read(&dns, &s.name, s.rtype).await, *s);
    }
    let away: Vec<Change> =
        then.iter().filter(|s| !s.values.is_empty()).map(|s| change(s, &none(&s.name, s.rtype))).collect();
    dns.apply("acme.test", &away).await.unwrap();
    assert_eq!(server.dump("acme.test"), empty);
    dns.apply("acme.test", &[]).await.unwrap();
}

async fn all_changes_or_none(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    server.owner("acme.test", &lines([r#"add stale.acme.test. 60 TXT "new""#]));
    let before = server.dump("acme.test");
    let dns = server.backend();
    let good = change(&none("good.acme.test", TXT), &set("good.acme.test", TXT, 60, &["x"]));
    let bad = change(&none("bad.acme.test", MX), &set("bad.acme.test", MX, 60, &["10 no-dot"]));
    let Err(BackendError::Rejected(text)) = dns.apply("acme.test", &[good.clone(), bad]).await else { panic!("taken") };
    assert!(text.contains("bad.acme.test"), "{text}");
    let stale = change(&set("stale.acme.test", TXT, 60, &["old"]), &set("stale.acme.test", TXT, 60, &["mine"]));
    assert!(matches!(dns.apply("acme.test", &[good.clone(), stale]).await, Err(BackendError::Conflict(_))));
    // As another writer would, who is faster than the look of the provider: only the server sees it.
    let there = change(&none("stale.acme.test", TXT), &set("stale.acme.test", TXT, 60, &["mine"]));
    assert!(matches!(dns.apply("acme.test", &[good.clone(), there]).await, Err(BackendError::Conflict(_))));
    assert_eq!(server.dump("acme.test"), before, "something was written");
    dns.apply("acme.test", &[good]).await.unwrap();
    assert_eq!(server.dump("acme.test").len(), before.len() + 1);
}

async fn a_change_of_somebody_else_is_found(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    let dns = server.backend();
    let ours = set("acme.test", TXT, 60, &["ours"]);
    dns.apply("acme.test", &[change(&none("acme.test", TXT), &ours)]).await.unwrap();
    let conflict = |result| matches!(result, Err(BackendError::Conflict(_)));
    // The same again: what was read is no longer so.
    assert!(conflict(dns.apply("acme.test", &[change(&none("acme.test", TXT), &ours)]).await));
    server.owner("acme.test", &lines([r#"add acme.test. 60 TXT "theirs""#]));
    assert!(conflict(dns.apply("acme.test", &[change(&ours, &none("acme.test", TXT))]).await), "a value more");
    let both = set("acme.test", TXT, 60, &["ours", "theirs"]);
    assert!(conflict(dns.apply("acme.test", &[change(&RrSet { ttl: 61, ..both.clone() }, &ours)]).await), "the TTL");
    server.owner("acme.test", &lines([r#"delete acme.test. TXT "ours""#]));
    assert!(conflict(dns.apply("acme.test", &[change(&both, &ours)]).await), "a value less");
    server.owner("acme.test", &lines(["delete acme.test. TXT"]));
    assert!(conflict(dns.apply("acme.test", &[change(&both, &ours)]).await), "all of them");
    assert_eq!(read(&dns, "acme.test", TXT).await.values, [""; 0]);
}

async fn foreign_values_of_a_set_stay(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    let long = format!("add acme.test. 77 TXT \"{}\" \"{}\" \"\"", "x".repeat(200), "y".repeat(255));
    server.owner(
        "acme.test",
        &lines([
            r#"add acme.test. 77 TXT "google-site-verification=abc""#,
            r#"add acme.test. 77 TXT "caf\195\169  \"q\" \\ \255\000""#,
            r#"add acme.test. 77 TXT "a" "" "b""#,
            r#"add acme.test. 77 TXT """#,
            &long,
        ]),
    );
    let before = server.dump("acme.test");
    let dns = server.backend();
    let found = read(&dns, "acme.test", TXT).await;
    assert_eq!((found.ttl, found.values.len()), (77, 5), "{found:?}");
    let mut more = found.clone();
    more.values.push("ours".into());
    more.values.sort();
    dns.apply("acme.test", &[change(&found, &more)]).await.unwrap();
    let mut during = server.dump("acme.test");
    assert!(during.remove(r#"acme.test. 77 IN TXT "ours""#), "{during:?}");
    assert_eq!(during, before, "while ours is there");
    dns.apply("acme.test", &[change(&more, &found)]).await.unwrap();
    assert_eq!(server.dump("acme.test"), before);
}

async fn hosts_are_put_back_with_the_letters_they_had(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    server
        .owner("acme.test", &lines(["add acme.test. 60 MX 10 Mail.OLD.example.", "add acme.test. 60 MX 5 b.example."]));
    let before = server.dump("acme.test");
    let dns = server.backend();
    let mut contents = dns.contents("acme.test", "acme.test", MX).await.unwrap();
    contents.sort();
    // Knot itself makes small letters of them.
    let written = before.iter().any(|line| line.ends_with(&format!(" {}", contents[0])));
    assert!(written && contents[0].eq_ignore_ascii_case("10 mail.old.example."), "{contents:?}, {before:?}");
    let (found, ours) = (read(&dns, "acme.test", MX).await, set("acme.test", MX, 60, &["10 mx1.example.net."]));
    dns.apply("acme.test", &[change(&found, &ours)]).await.unwrap();
    dns.apply("acme.test", &[change(&ours, &RrSet { values: contents, ..found })]).await.unwrap();
    assert_eq!(server.dump("acme.test"), before);
}

async fn a_wildcard_is_no_set_of_its_own(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    server.owner(
        "acme.test",
        &lines([
            r#"add *.acme.test. 60 TXT "w""#,
            "add *.acme.test. 60 MX 10 w.example.net.",
            r#"add real.acme.test. 60 TXT "r""#,
        ]),
    );
    let before = server.dump("acme.test");
    let dns = server.backend();
    let asked = ["_dmarc.acme.test", "real.acme.test", "a.b.acme.test", "*.acme.test"];
    let sets = dns.read("acme.test", &asked.map(|n| (n.into(), TXT))).await.unwrap();
    let values: Vec<_> = sets.iter().map(|s| (s.ttl, s.values.join(" "))).collect();
    assert_eq!(values, [(0, "".into()), (60, "r".into()), (0, "".into()), (60, "w".into())]);
    let ours = set("_dmarc.acme.test", TXT, 70, &["v=DMARC1; p=none"]);
    dns.apply("acme.test", &[change(&none(&ours.name, TXT), &ours)]).await.unwrap();
    assert_eq!(read(&dns, &ours.name, TXT).await, ours);
    dns.apply("acme.test", &[change(&ours, &none(&ours.name, TXT))]).await.unwrap();
    assert_eq!(server.dump("acme.test"), before);
}

async fn what_is_below_a_cut_is_not_written(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test", "own.acme.test"]).await;
    server.owner("acme.test", &lines(["add away.acme.test. 60 NS ns.example.net."]));
    let before = server.dump("acme.test");
    let dns = server.backend();
    assert_eq!(read(&dns, "away.acme.test", NS).await.values, ["ns.example.net."]);
    assert_eq!(read(&dns, "_dmarc.away.acme.test", TXT).await.values, [""; 0]);
    for name in ["away.acme.test", "_dmarc.away.acme.test"] {
        let found = dns.find_zone(name).await;
        assert!(matches!(&found, Err(BackendError::NotFound(text)) if text.contains("delegated")), "{name}: {found:?}");
    }
    for name in ["away.acme.test", "_dmarc.away.acme.test", "own.acme.test", "_dmarc.own.acme.test"] {
        let added = change(&none(name, TXT), &set(name, TXT, 60, &["x"]));
        let result = dns.apply("acme.test", &[added]).await;
        assert!(matches!(result, Err(BackendError::Rejected(_))), "{name}: {result:?}");
    }
    assert_eq!(server.dump("acme.test"), before);
    let own = "_dmarc.own.acme.test";
    dns.apply("own.acme.test", &[change(&none(own, TXT), &set(own, TXT, 60, &["x"]))]).await.unwrap();
}

async fn nothing_stands_beside_an_alias(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    server.owner(
        "acme.test",
        &lines([
            "add _dmarc.acme.test. 60 CNAME _dmarc.example.net.",
            r#"add used.acme.test. 60 TXT "x""#,
            "add web.acme.test. 60 A 192.0.2.1",
        ]),
    );
    let before = server.dump("acme.test");
    let dns = server.backend();
    assert_eq!(dns.find_zone("_dmarc.acme.test").await.as_deref(), Ok("acme.test"));
    assert_eq!(read(&dns, "_dmarc.acme.test", TXT).await, none("_dmarc.acme.test", TXT), "an alias is not followed");
    for (name, rtype, value) in [
        ("_dmarc.acme.test", TXT, "v=DMARC1; p=none"),
        ("used.acme.test", CNAME, "example.net."),
        ("web.acme.test", CNAME, "example.net."),
    ] {
        let good = change(&none("good.acme.test", TXT), &set("good.acme.test", TXT, 60, &["x"]));
        let bad = change(&none(name, rtype), &set(name, rtype, 60, &[value]));
        let result = dns.apply("acme.test", &[good, bad]).await;
        assert!(matches!(result, Err(BackendError::Rejected(_) | BackendError::Conflict(_))), "{name}: {result:?}");
        if rtype == TXT {
            assert!(matches!(&result, Err(BackendError::Rejected(text)) if text.contains(name)), "{result:?}");
        }
        assert_eq!(server.dump("acme.test"), before, "{name}");
    }
}

async fn an_alias_gives_way_in_one_step(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    server.owner("acme.test", &lines(["add _dmarc.acme.test. 60 CNAME _dmarc.example.net."]));
    let before = server.dump("acme.test");
    let dns = server.backend();
    let alias = set("_dmarc.acme.test", CNAME, 60, &["_dmarc.example.net."]);
    let text = set("_dmarc.acme.test", TXT, 60, &["v=DMARC1; p=none"]);
    let (no_alias, no_text) = (none("_dmarc.acme.test", CNAME), none("_dmarc.acme.test", TXT));
    dns.apply("acme.test", &[change(&no_text, &text), change(&alias, &no_alias)]).await.unwrap();
    assert_eq!(read(&dns, "_dmarc.acme.test", TXT).await, text);
    dns.apply("acme.test", &[change(&no_alias, &alias), change(&text, &no_text)]).await.unwrap();
    assert_eq!(server.dump("acme.test"), before);
}

async fn absence_is_the_servers_own_word(kind: Kind) {
    let mut server = Nameserver::start(kind, &["acme.test"]).await;
    let dns = server.backend();
    let asked = |zone: &str| [(zone.to_string(), TXT)];
    let added = |zone: &str| [change(&none(zone, TXT), &set(zone, TXT, 60, &["x"]))];
    for zone in ["example.org", "sub.acme.test"] {
        assert!(matches!(dns.read(zone, &asked(zone)).await, Err(BackendError::NotFound(_))), "{zone}");
        assert!(matches!(dns.apply(zone, &added(zone)).await, Err(BackendError::NotFound(_))), "{zone}");
    }
    for name in ["example.org", "a.b.other.test", "test"] {
        assert!(matches!(dns.find_zone(name).await, Err(BackendError::NotFound(_))), "{name}");
    }
    // A credential that the server does not take proves nothing, neither that it is there nor that it is not.
    let other = if kind == Kind::PowerDnsApi { "other" } else { "b3RoZXIgc2VjcmV0IG9mIHNvbWVib2R5IGVsc2U=" };
    let stranger = server.backend_with(other);
    let results = [
        stranger.probe().await.err(),
        stranger.find_zone("acme.test").await.err(),
        stranger.read("acme.test", &asked("acme.test")).await.err(),
        stranger.apply("acme.test", &added("acme.test")).await.err(),
    ];
    for result in results {
        assert!(matches!(result, Some(BackendError::Unauthorized(_))), "{result:?}");
    }
    server.stop();
    let results = [
        dns.probe().await.err(),
        dns.find_zone("acme.test").await.err(),
        dns.find_zone("other.test").await.err(),
        dns.read("example.org", &asked("example.org")).await.err(),
        dns.apply("acme.test", &added("acme.test")).await.err(),
    ];
    for result in results {
        assert!(matches!(result, Some(BackendError::Unavailable { .. })), "{result:?}");
    }
}

async fn nothing_outside_the_zones_is_written(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test", "other.test"]).await;
    let before = [server.dump("acme.test"), server.dump("other.test")];
    let dns = server.backend();
    for (zone, name, rtype) in [
        ("other.test", "other.test", TXT),
        ("other.test", "acme.test", TXT),
        ("acme.test", "other.test", TXT),
        ("acme.test", "xacme.test", TXT),
        ("acme.test", "acme.test", NS),
    ] {
        let value = if rtype == TXT { "x" } else { "ns.example.net." };
        let added = change(&none(name, rtype), &set(name, rtype, 60, &[value]));
        let good = change(&none("good.acme.test", TXT), &set("good.acme.test", TXT, 60, &["x"]));
        let result = dns.apply(zone, &[good, added]).await;
        assert!(matches!(result, Err(BackendError::Rejected(_))), "{zone} {name}: {result:?}");
    }
    assert_eq!([server.dump("acme.test"), server.dump("other.test")], before);
}

/// Where the server compares and sets, the writers know nothing of each other. Where it does not, they are two providers
/// of one operator, as after a change of the DNSBackend.
async fn two_writers_lose_nothing(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    let writers = match kind {
        Kind::PowerDnsApi => {
            let operator = mailtenant::providers::Dns::default();
            let writer = || crate::server::connect(&operator, server.spec(&["acme.test"]), &server.secret);
            [writer(), writer()]
        }
        _ => [server.backend(), server.backend()],
    };
    let count = |writer: Arc<dyn DnsServer>| async move {
        let mut conflicts = 0;
        for _ in 0..25 {
            loop {
                let before = read(&writer, "count.acme.test", TXT).await;
                let number: u32 = before.values.first().map_or(0, |v| v.parse().unwrap());
                let after = set("count.acme.test", TXT, 60, &[&(number + 1).to_string()]);
                match writer.apply("acme.test", &[change(&before, &after)]).await {
                    Ok(()) => break,
                    Err(BackendError::Conflict(_)) => conflicts += 1,
                    Err(e) => panic!("{e}"),
                }
            }
        }
        conflicts
    };
    let (x, y) = tokio::join!(count(writers[0].clone()), count(writers[1].clone()));
    assert!(x + y > 0, "the writers never met");
    assert_eq!(read(&writers[0], "count.acme.test", TXT).await.values, ["50"]);
}

async fn a_domain_comes_and_goes_beside_foreign_records(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    server.owner(
        "acme.test",
        &lines([
            r#"add acme.test. 77 TXT "google-site-verification=abc""#,
            r#"add acme.test. 77 TXT "v=spf1  mx a:www.acme.test ~all""#,
            "add acme.test. 7200 MX 10 mail.old.example.",
            "add acme.test. 60 A 192.0.2.1",
            r#"add www.acme.test. 60 TXT "w""#,
        ]),
    );
    let before = server.dump("acme.test");
    let dns = server.backend();
    let made = settle(&dns, &wanted("acme.test"), Plan::default()).await;
    assert_eq!(made.conflicts, []);
    let during = server.dump("acme.test");
    let gone: BTreeSet<_> = before.difference(&during).cloned().collect();
    let replaced =
        ["acme.test. 7200 IN MX 10 mail.old.example.", r#"acme.test. 77 IN TXT "v=spf1  mx a:www.acme.test ~all""#];
    assert_eq!(gone, replaced.map(String::from).into());
    for line in [
        "acme.test. 3600 IN MX 10 mx1.mail.example.net.",
        "acme.test. 3600 IN MX 20 mx2.mail.example.net.",
        r#"acme.test. 77 IN TXT "v=spf1  mx a:www.acme.test include:_spf.mail.example.net ~all""#,
    ] {
        assert!(during.contains(line), "{line}: {during:#?}");
    }
    let made = settle(&dns, &changed("acme.test"), made).await;
    assert_eq!(made.conflicts, []);
    assert!(server.dump("acme.test").contains("acme.test. 600 IN MX 5 mx3.mail.example.net."));
    withdraw(&dns, "acme.test", "acme.test", made).await;
    assert_eq!(server.dump("acme.test"), before);
}

/// MTA-STS, autoconfig and autodiscover: where somebody's address record stands in the place of a CNAME, it stays, and all else is
/// published.
async fn aliases_of_ours_come_and_go_and_nothing_of_others_gives_way(kind: Kind) {
    let server = Nameserver::start(kind, &["acme.test"]).await;
    server
        .owner("acme.test", &lines(["add autodiscover.acme.test. 60 A 192.0.2.1", "add *.acme.test. 60 A 192.0.2.2"]));
    let before = server.dump("acme.test");
    let dns = server.backend();
    let documents = Some("wellknown.mail.example.net".to_owned());
    let input = |id: Option<&str>| Input {
        discovery: Some(Discovery { documents: documents.clone(), ..Discovery::default() }),
        mta_sts: Some(MtaSts { served_at: "wellknown.mail.example.net".into(), id: id.map(str::to_owned) }),
        ..wanted("acme.test")
    };
    let made = settle(&dns, &input(None), Plan::default()).await;
    assert_eq!(made.conflicts, []);
    let alias = |name: &str| format!("{name}.acme.test. 3600 IN CNAME wellknown.mail.example.net.");
    let during = server.dump("acme.test");
    assert!(during.contains(&alias("mta-sts")) && during.contains(&alias("autoconfig")), "{during:#?}");
    assert!(!during.iter().any(|line| line.starts_with("_mta-sts.")), "nobody is told yet");
    assert!(before.is_subset(&during), "what is not ours stays");
    let taken = made.journal.iter().find(|e| e.name == "autodiscover.acme.test").unwrap();
    assert_eq!((taken.purpose, taken.state), (Purpose::ClientDiscovery, RecordState::Conflict));
    let made = settle(&dns, &input(Some("a1")), made).await;
    assert!(server.dump("acme.test").contains(r#"_mta-sts.acme.test. 3600 IN TXT "v=STSv1; id=a1;""#));
    let made = settle(&dns, &input(Some("a2")), made).await;
    let told: Vec<_> = server.dump("acme.test").into_iter().filter(|line| line.starts_with("_mta-sts.")).collect();
    assert_eq!(told, [r#"_mta-sts.acme.test. 3600 IN TXT "v=STSv1; id=a2;""#]);
    withdraw(&dns, "acme.test", "acme.test", made).await;
    assert_eq!(server.dump("acme.test"), before);
}
