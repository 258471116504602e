//! Zones with whatever others may have put there: nothing but our values changes, whatever the domain goes through (I8).
//!
//! Two things are ours to write anew and are left out of it: an SPF record that we add a term to and take it out again
//! comes back as one string, and a host of the previous MX set in small letters. Here SPF records are one string, and hosts
//! are in small letters.

use crate::life::{changed, settle, wanted, withdraw};
use crate::nameserver::{Kind, Nameserver};
use fastrand::Rng;
use mailtenant_mail::merge::Plan;
use std::collections::BTreeSet;

/// Zones of each server. A failure names its seed.
const SEEDS: std::ops::Range<u64> = 0..12;

/// One character-string in presentation form: any bytes, as zone files escape them.
fn string(rng: &mut Rng, length: usize) -> String {
    let byte = |rng: &mut Rng| match rng.u8(0..4) {
        0 => rng.u8(..),
        1 => *rng.choice(&[b'"', b'\\', b' ', b';', b'(', b'\t', b'@', b'$', 0, 255]).unwrap(),
        _ => rng.u8(b'a'..=b'z'),
    };
    let escape = |b: u8| match b {
        b'"' | b'\\' | b';' | b'(' | b')' | b'@' | b'$' => format!("\\{}", b as char),
        b' '..=b'~' => (b as char).to_string(),
        _ => format!("\\{b:03}"),
    };
    let text: String = (0..length).map(|_| escape(byte(rng))).collect();
    format!("\"{text}\"")
}

/// A TXT record of an odd form.
fn text(rng: &mut Rng) -> String {
    match rng.u8(0..8) {
        0 => "\"\"".into(),
        1 => format!("{} {}", string(rng, 255), string(rng, 45)),
        2 => format!("\"\" {} \"\"", string(rng, 3)),
        3 => (0..20).map(|_| string(rng, 1)).collect::<Vec<_>>().join(" "),
        4 => "\"v=spf1x is no SPF record\"".into(),
        5 => "\"V=DMARC1; p=none\"".into(),
        _ => {
            let length = rng.usize(1..60);
            string(rng, length)
        }
    }
}

fn ttl(rng: &mut Rng) -> u32 {
    *rng.choice(&[0, 1, 59, 61, 77, 3599, 86401, 604_801]).unwrap()
}

/// The records of somebody else, as lines for nsupdate. A set has one time to live, so each draws its own once.
fn records(rng: &mut Rng) -> Vec<String> {
    let mut out = vec![];
    let mut add = |name: &str, ttl: u32, rest: &str| out.push(format!("add {name} {ttl} {rest}"));
    let apex = ttl(rng);
    for _ in 0..rng.usize(0..6) {
        add("acme.test.", apex, &format!("TXT {}", text(rng)));
    }
    let spf = ["\"v=spf1 mx  a:www.acme.test ~all\"", "\"v=spf1 include:_spf.example.org -all\"", "\"v=spf1\""];
    for _ in 0..rng.usize(0..3) {
        add("acme.test.", apex, &format!("TXT {}", rng.choice(&spf).unwrap()));
    }
    let mx = ttl(rng);
    for n in 0..rng.usize(0..3) {
        add("acme.test.", mx, &format!("MX {n} mx{n}.old.example."));
    }
    add("acme.test.", ttl(rng), "A 192.0.2.1");
    add("www.acme.test.", ttl(rng), "CNAME acme.test.");
    add("_domainkey.acme.test.", ttl(rng), &format!("TXT {}", text(rng)));
    add("other._domainkey.acme.test.", ttl(rng), &format!("TXT {}", text(rng)));
    let caa = ttl(rng);
    add("acme.test.", caa, "CAA 0 issue \"ca.example.net; validationmethods=dns-01\"");
    add("acme.test.", caa, "CAA 128 iodef \"mailto:caa@acme.test\"");
    if rng.bool() {
        let wild = ttl(rng);
        add("*.acme.test.", wild, &format!("TXT {}", text(rng)));
        add("*.acme.test.", ttl(rng), "MX 10 wild.example.");
    }
    if rng.bool() {
        add("_dmarc.acme.test.", ttl(rng), &format!("TXT {}", text(rng)));
    }
    if rng.bool() {
        add("_imaps._tcp.acme.test.", ttl(rng), "SRV 1 2 993 Imap.Example.ORG.");
    }
    if rng.bool() {
        add("_mailtenant-challenge.acme.test.", ttl(rng), &format!("TXT {}", text(rng)));
    }
    add("away.acme.test.", ttl(rng), "NS ns.example.net.");
    add("a.b.c.acme.test.", ttl(rng), "TXT \"deep\"");
    out
}

/// What was there and is not any more, but for what the operator may replace: MX, and the one SPF record.
fn lost(before: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<String> {
    let ours = |l: &&String| l.starts_with("acme.test. ") && (l.contains(" IN MX ") || l.contains(" IN TXT \"v=spf1"));
    before.difference(now).filter(|l| !ours(l)).cloned().collect()
}

async fn zones_come_out_as_they_were(kind: Kind) {
    for seed in SEEDS {
        let mut rng = Rng::with_seed(seed);
        let server = Nameserver::start(kind, &["acme.test"]).await;
        server.owner("acme.test", &records(&mut rng));
        let before = server.dump("acme.test");
        let dns = server.backend();
        let made = settle(&dns, &wanted("acme.test"), Plan::default()).await;
        let now = server.dump("acme.test");
        assert_eq!(lost(&before, &now), [""; 0], "seed {seed}, after creation");
        assert!(
            now.iter().any(|l| l.starts_with("acme.test. 3600 IN MX 10 mx1.mail.example.net.")),
            "seed {seed}: {now:?}"
        );
        let made = settle(&dns, &changed("acme.test"), made).await;
        assert_eq!(lost(&before, &server.dump("acme.test")), [""; 0], "seed {seed}, after a change");
        // Somebody else goes on editing the same sets.
        let foreign = "acme.test. 604800 IN TXT \"meanwhile\"";
        server.owner("acme.test", &["add acme.test. 604800 TXT \"meanwhile\"".into()]);
        withdraw(&dns, "acme.test", "acme.test", made).await;
        let mut after = server.dump("acme.test");
        assert!(after.remove(foreign), "seed {seed}: {after:?}");
        // Theirs has given the set its time to live.
        let at_apex = |l: &String| l.starts_with("acme.test. ") && l.contains(" IN TXT ");
        let timeless = |l: &String| {
            let rest = l.splitn(3, ' ').nth(2).unwrap();
            if at_apex(l) { format!("acme.test. {rest}") } else { l.clone() }
        };
        let (after, want): (BTreeSet<_>, BTreeSet<_>) =
            (after.iter().map(timeless).collect(), before.iter().map(timeless).collect());
        assert_eq!(after, want, "seed {seed}, after withdrawal");
    }
}

#[tokio::test]
async fn powerdns_api() {
    zones_come_out_as_they_were(Kind::PowerDnsApi).await;
}

#[tokio::test]
async fn powerdns() {
    zones_come_out_as_they_were(Kind::PowerDns).await;
}

#[tokio::test]
async fn bind() {
    zones_come_out_as_they_were(Kind::Bind).await;
}

#[tokio::test]
async fn knot() {
    zones_come_out_as_they_were(Kind::Knot).await;
}
