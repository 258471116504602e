//! The records that a mail domain needs, from what is declared and what the groupware server says. Pure.

use super::name::canonical;
use super::spf;
use super::value::mx;
use crate::policy::{DkimAlgorithm, DmarcPolicy, Purpose, SpfAll};
use crate::rr::RecordType;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// How a record shares its name and type with records of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The name and type are used by nothing but mail: the whole set is ours, or in conflict.
    Exclusive,
    /// Several values of several owners stand side by side: ours are added and removed one by one.
    SharedValues,
    /// One term inside the one SPF record.
    SpfTerm,
    /// Replaced on purpose, once, and what was there before is kept to be put back (MX).
    Switch,
}

/// A record set as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Absolute name, canonical.
    pub name: String,
    /// Type.
    pub rtype: RecordType,
    /// Time to live in seconds.
    pub ttl: u32,
    /// Canonical values, sorted. For SPF the record as it stands when there is none yet.
    pub values: Vec<String>,
    /// What it is for.
    pub purpose: Purpose,
    /// How it shares its set.
    pub mode: Mode,
    /// For [`Mode::SpfTerm`]: the term.
    pub term: Option<String>,
}

/// A signing key to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimPublic {
    /// Selector.
    pub selector: String,
    /// Algorithm.
    pub algorithm: DkimAlgorithm,
    /// Value of `p=` (base64).
    pub public: String,
}

/// What the DMARC record says (RFC 9989).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dmarc {
    /// What receivers do with mail that fails.
    pub policy: DmarcPolicy,
    /// `mailto:` URIs for aggregate reports.
    pub report_to: Vec<String>,
}

/// What the records are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The domain, canonical.
    pub domain: String,
    /// Time to live of our records, in seconds.
    pub ttl: u32,
    /// Value of the challenge ([`challenge_value`]); none: no challenge is wanted.
    pub challenge: Option<String>,
    /// Mail hosts, as `(preference, host)`; empty: MX is left alone.
    pub mx: Vec<(u16, String)>,
    /// Name that SPF records include, and what follows it; none: SPF is left alone.
    pub spf: Option<(String, SpfAll)>,
    /// Signing keys to publish.
    pub dkim: Vec<DkimPublic>,
    /// DMARC policy; none: DMARC is left alone.
    pub dmarc: Option<Dmarc>,
}

/// The records of a domain, in the order in which they are shown.
pub fn desired(input: &Input) -> Vec<Record> {
    let Input { domain, ttl, .. } = input;
    let txt = |name: String, value: String, purpose, mode, term| Record {
        name,
        rtype: RecordType::TXT,
        ttl: *ttl,
        values: vec![value],
        purpose,
        mode,
        term,
    };
    let mut out = Vec::new();
    if let Some(value) = &input.challenge {
        out.push(txt(challenge_name(domain), value.clone(), Purpose::Challenge, Mode::SharedValues, None));
    }
    if !input.mx.is_empty() {
        let mut values: Vec<_> = input
            .mx
            .iter()
            .map(|(preference, host)| mx(*preference, &canonical(host).unwrap_or_else(|_| host.clone())))
            .collect();
        values.sort();
        values.dedup();
        out.push(Record {
            name: domain.clone(),
            rtype: RecordType::MX,
            ttl: *ttl,
            values,
            purpose: Purpose::MX,
            mode: Mode::Switch,
            term: None,
        });
    }
    if let Some((include, all)) = &input.spf {
        let term = spf_term(include);
        out.push(txt(domain.clone(), spf::own(&term, all_word(*all)), Purpose::SPF, Mode::SpfTerm, Some(term)));
    }
    for key in &input.dkim {
        out.push(txt(dkim_name(&key.selector, domain), dkim_value(key), Purpose::DKIM, Mode::Exclusive, None));
    }
    if let Some(dmarc) = &input.dmarc {
        out.push(txt(format!("_dmarc.{domain}"), dmarc_value(dmarc), Purpose::DMARC, Mode::Exclusive, None));
    }
    out
}

/// Name of the record that proves ownership.
pub fn challenge_name(domain: &str) -> String {
    format!("_mailtenant-challenge.{domain}")
}

/// Value of the record that proves ownership: the same for the same MailDomain and domain at any time, so that it need
/// not be stored to be checked; different for any other MailDomain, so that a proof is of no use to another tenant.
///
/// `uid` is `metadata.uid` of the MailDomain.
pub fn challenge_value(uid: &str, domain: &str) -> String {
    // Each part ends with a byte that it cannot contain: no two inputs make the same text.
    let text = format!("mailtenant.dev/challenge/v1\0{uid}\0{domain}\0");
    let digest = Sha256::digest(text.as_bytes());
    format!("token={} expiry=never", base32(&digest[..20]))
}

/// Base32 in lower case, without padding (RFC 4648, 6); `bytes` is a multiple of 5.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    bytes
        .chunks(5)
        .flat_map(|chunk| {
            let n = chunk.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            (0..8).rev().map(move |i| ALPHABET[(n >> (5 * i)) as usize & 31] as char)
        })
        .collect()
}

/// The SPF term for a name.
pub fn spf_term(include: &str) -> String {
    format!("include:{}", include.strip_suffix('.').unwrap_or(include))
}

fn all_word(all: SpfAll) -> &'static str {
    match all {
        SpfAll::Fail => "-all",
        SpfAll::SoftFail => "~all",
        SpfAll::Neutral => "?all",
    }
}

/// Name of the record of a signing key, in lower case as all names are.
pub fn dkim_name(selector: &str, domain: &str) -> String {
    format!("{}._domainkey.{domain}", selector.to_ascii_lowercase())
}

/// Value of the record of a signing key (RFC 6376, RFC 8463).
pub fn dkim_value(key: &DkimPublic) -> String {
    let k = match key.algorithm {
        DkimAlgorithm::RSA2048 => "rsa",
        DkimAlgorithm::Ed25519 => "ed25519",
    };
    format!("v=DKIM1; k={k}; p={}", key.public)
}

/// A new selector: `s202611r` for an RSA key made in November 2026, `s202611e` for Ed25519, `s202611r2` and so on when
/// the month has had one. `taken` are the selectors in use.
pub fn new_selector(year: i16, month: i8, algorithm: DkimAlgorithm, taken: &[String]) -> String {
    let letter = match algorithm {
        DkimAlgorithm::RSA2048 => 'r',
        DkimAlgorithm::Ed25519 => 'e',
    };
    let first = format!("s{year:04}{month:02}{letter}");
    // Never one that was there before: resolvers may have its key for as long as its TTL says.
    let number = |s: &String| match s.strip_prefix(first.as_str()) {
        Some("") => Some(1u32),
        Some(rest) => rest.parse().ok(),
        None => None,
    };
    match taken.iter().filter_map(number).max() {
        None => first,
        Some(n) => format!("{first}{}", n.saturating_add(1)),
    }
}

/// Value of the DMARC record. `p` stands right behind `v` for readers from before RFC 9989.
pub fn dmarc_value(dmarc: &Dmarc) -> String {
    let policy = match dmarc.policy {
        DmarcPolicy::None => "none",
        DmarcPolicy::Quarantine => "quarantine",
        DmarcPolicy::Reject => "reject",
    };
    match dmarc.report_to.as_slice() {
        [] => format!("v=DMARC1; p={policy}"),
        uris => format!("v=DMARC1; p={policy}; rua={}", uris.join(",")),
    }
}

/// Whether two values of the same purpose say the same. Tag lists (DKIM, DMARC) may differ in spaces, in the order of
/// tags after the first, and in a `;` at the end; everything else must be equal.
pub fn equivalent(purpose: Purpose, a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    if !matches!(purpose, Purpose::DKIM | Purpose::DMARC) {
        return false;
    }
    match (tags(a), tags(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// A tag list (RFC 6376, 3.2) with its spaces taken out; none if it is not one, or names a tag twice.
fn tags(text: &str) -> Option<(String, BTreeMap<String, String>)> {
    let mut out = BTreeMap::new();
    let mut version = None;
    for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim().to_string(), value.split_whitespace().collect::<String>());
        if version.is_none() {
            // `v` comes first, or the record is none (RFC 6376, 3.6.1; RFC 9989).
            version = Some((name == "v").then(|| value.clone())?);
        }
        if out.insert(name, value).is_some() {
            return None;
        }
    }
    // A key is RSA if nothing else is said.
    if version.as_deref() == Some("DKIM1") {
        out.entry("k".into()).or_insert_with(|| "rsa".into());
    }
    Some((version?, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> Input {
        Input {
            domain: "acme.test".into(),
            ttl: 3600,
            challenge: Some(challenge_value("uid-1", "acme.test")),
            mx: vec![(20, "mx2.mail.example.net".into()), (10, "MX1.mail.example.net.".into())],
            spf: Some(("_spf.mail.example.net".into(), SpfAll::SoftFail)),
            dkim: vec![
                DkimPublic { selector: "s202611r".into(), algorithm: DkimAlgorithm::RSA2048, public: "AAAA".into() },
                DkimPublic { selector: "s202611e".into(), algorithm: DkimAlgorithm::Ed25519, public: "BBBB".into() },
            ],
            dmarc: Some(Dmarc {
                policy: DmarcPolicy::Reject,
                report_to: vec!["mailto:a@b.test".into(), "mailto:c@d.test".into()],
            }),
        }
    }

    #[test]
    fn whole_set() {
        let lines: Vec<_> = desired(&input())
            .iter()
            .map(|r| format!("{} {} {} {} {:?}", r.name, r.ttl, r.rtype.as_str(), r.values.join(" | "), r.mode))
            .collect();
        assert_eq!(
            lines,
            [
                &format!(
                    "_mailtenant-challenge.acme.test 3600 TXT {} SharedValues",
                    challenge_value("uid-1", "acme.test")
                ),
                "acme.test 3600 MX 10 mx1.mail.example.net. | 20 mx2.mail.example.net. Switch",
                "acme.test 3600 TXT v=spf1 include:_spf.mail.example.net ~all SpfTerm",
                "s202611r._domainkey.acme.test 3600 TXT v=DKIM1; k=rsa; p=AAAA Exclusive",
                "s202611e._domainkey.acme.test 3600 TXT v=DKIM1; k=ed25519; p=BBBB Exclusive",
                "_dmarc.acme.test 3600 TXT v=DMARC1; p=reject; rua=mailto:a@b.test,mailto:c@d.test Exclusive",
            ]
        );
    }

    #[test]
    fn left_alone() {
        let bare = Input { challenge: None, mx: vec![], spf: None, dkim: vec![], dmarc: None, ..input() };
        assert_eq!(desired(&bare), []);
    }

    #[test]
    fn challenges() {
        let value = challenge_value("uid-1", "acme.test");
        let token = value.strip_prefix("token=").and_then(|v| v.strip_suffix(" expiry=never")).expect("form");
        assert_eq!(token.len(), 32);
        assert!(token.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)));
        assert_eq!(value, challenge_value("uid-1", "acme.test"));
        assert_ne!(value, challenge_value("uid-2", "acme.test"));
        assert_ne!(value, challenge_value("uid-1", "acme.tes"));
        assert_eq!(base32(b"fooba"), "mzxw6ytb");
    }

    #[test]
    fn selectors() {
        let r = DkimAlgorithm::RSA2048;
        assert_eq!(new_selector(2026, 3, r, &[]), "s202603r");
        assert_eq!(new_selector(2026, 11, DkimAlgorithm::Ed25519, &["s202611r".into()]), "s202611e");
        assert_eq!(new_selector(2026, 11, r, &["s202611r".into()]), "s202611r2");
        assert_eq!(new_selector(2026, 11, r, &["s202611r".into(), "s202611r2".into()]), "s202611r3");
        assert_eq!(new_selector(2026, 11, r, &["s202611r7".into()]), "s202611r8", "one that went is not used again");
    }

    #[test]
    fn same_meaning() {
        use Purpose::*;
        for (purpose, a, b, want) in [
            (DKIM, "v=DKIM1; k=rsa; p=AA", "v=DKIM1;p=A A;", true),
            (DKIM, "v=DKIM1; k=rsa; p=AA", "v=DKIM1; k=ed25519; p=AA", false),
            (DKIM, "v=DKIM1; k=rsa; p=AA", "v=DKIM1; k=rsa; p=Aa", false),
            (DKIM, "v=DKIM1; k=rsa; p=AA", "k=rsa; p=AA; v=DKIM1", false),
            (DMARC, "v=DMARC1; p=none", "v=DMARC1 ;p=none ; ", true),
            (DMARC, "v=DMARC1; p=none", "v=DMARC1; p=none; sp=none", false),
            (DMARC, "v=DMARC1; p=none", "v=DMARC1; p=none; p=none", false),
            (SPF, "v=spf1 -all", "v=spf1  -all", false),
        ] {
            assert_eq!(equivalent(purpose, a, b), want, "{a} / {b}");
        }
    }
}
