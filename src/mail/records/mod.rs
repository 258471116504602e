//! The DNS records that a mail domain needs, from its spec and from that of its groupware server. Pure.

mod challenge;
mod digest;
mod discovery;
mod dkim;
mod dmarc;
mod marker;
mod mta_sts;
mod mx;
mod spf;
mod tags;
mod tls_rpt;

pub(crate) use challenge::with_token;
pub use challenge::{adoption_value, challenge_name, challenge_value, token};
pub(crate) use digest::base32;
pub use discovery::{Dav, Discovery, Endpoint, autoconfig_host, autodiscover_host};
pub use dkim::{DkimPublic, Selector, dkim_name, new_selector};
pub use dmarc::Dmarc;
pub use marker::{Manager, Marker, marker_name};
pub use mta_sts::{MTA_STS_LONGEST, MTA_STS_PATH, MtaSts, MtaStsPolicy, mta_sts_host, mta_sts_name, mta_sts_value};
pub(crate) use tags::equivalent;

use crate::policy::{Purpose, RecordStatus, SpfAll};
use crate::rr::RecordType;
use crate::spf::own;
use dkim::dkim_value;
pub(crate) use dkim::is_own_selector;
use dmarc::dmarc_value;
use mx::mx_values;
use spf::{all_word, spf_term};
use tls_rpt::{tls_rpt_name, tls_rpt_value};

/// How a record shares its name and type with records that others wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not at all: nothing but mail uses the name, so the whole set is the operator's, or in conflict.
    Exclusive,
    /// The set has values of several owners. Each value is added and removed by itself.
    SharedValues,
    /// As one term in the only SPF record of the name.
    SpfTerm,
    /// The whole set is replaced once, and what was there before is kept so that it can be restored (MX).
    Switch,
}

/// A record set that should be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Absolute name in canonical form.
    pub name: String,
    /// Type of the set: TXT, MX, SRV or CNAME.
    pub rtype: RecordType,
    /// Time to live in seconds.
    pub ttl: u32,
    /// Canonical values, sorted. For SPF the record to create if there is none yet.
    pub values: Vec<String>,
    /// What the record is for.
    pub purpose: Purpose,
    /// How it shares its set with values of others.
    pub mode: Mode,
    /// For [`Mode::SpfTerm`]: the term to merge into an existing record.
    pub term: Option<String>,
    /// What takes the place of the values once MX leads here. Where somebody else has it there before, it is kept.
    pub after_switch: Option<String>,
    /// Published from the moment on at which MX leads here: it would send the domain's users to servers that do not have
    /// their mail yet.
    pub with_mx: bool,
}

/// What the records are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The domain in canonical form.
    pub domain: String,
    /// Time to live of the records, in seconds.
    pub ttl: u32,
    /// Value of the challenge ([`challenge_value`]); none: no such record.
    pub challenge: Option<String>,
    /// Mail exchangers as `(preference, host)`; empty: MX is left alone.
    pub mx: Vec<(u16, String)>,
    /// Name that the SPF record includes, and its result for all others; none: SPF is left alone.
    pub spf: Option<(String, SpfAll)>,
    /// DKIM keys to publish.
    pub dkim: Vec<DkimPublic>,
    /// DMARC policy; none: DMARC is left alone.
    pub dmarc: Option<Dmarc>,
    /// Which policy senders are told of; none: MTA-STS is left alone.
    pub mta_sts: Option<MtaSts>,
    /// Where senders report failures of TLS (RFC 8460); empty: no such record.
    pub tls_rpt: Vec<String>,
    /// The services that clients find; none: no such records.
    pub discovery: Option<Discovery>,
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
        after_switch: None,
        with_mx: false,
    };
    let mut out = Vec::new();
    if let Some(value) = &input.challenge {
        out.push(txt(challenge_name(domain), value.clone(), Purpose::Challenge, Mode::SharedValues, None));
    }
    if !input.mx.is_empty() {
        out.push(Record {
            name: domain.clone(),
            rtype: RecordType::MX,
            ttl: *ttl,
            values: mx_values(&input.mx),
            purpose: Purpose::MX,
            mode: Mode::Switch,
            term: None,
            after_switch: None,
            with_mx: false,
        });
    }
    if let Some((include, all)) = &input.spf {
        let term = spf_term(include);
        out.push(txt(domain.clone(), own(&term, all_word(*all)), Purpose::SPF, Mode::SpfTerm, Some(term)));
    }
    for key in &input.dkim {
        out.push(txt(dkim_name(&key.selector, domain), dkim_value(key), Purpose::DKIM, Mode::Exclusive, None));
    }
    if let Some(dmarc) = &input.dmarc {
        out.push(txt(format!("_dmarc.{domain}"), dmarc_value(dmarc), Purpose::DMARC, Mode::Exclusive, None));
    }
    for (name, rtype, value) in input.mta_sts.iter().flat_map(|sts| mta_sts(domain, sts)) {
        let record = txt(name, value, Purpose::MTASTS, Mode::Exclusive, None);
        out.push(Record { rtype, with_mx: true, ..record });
    }
    if !input.tls_rpt.is_empty() {
        let value = tls_rpt_value(&input.tls_rpt);
        out.push(txt(tls_rpt_name(domain), value, Purpose::TLSRPT, Mode::Exclusive, None));
    }
    for (name, rtype, value) in input.discovery.iter().flat_map(|offered| discovery::discovery(domain, offered)) {
        let record = txt(name, value, Purpose::ClientDiscovery, Mode::Exclusive, None);
        out.push(Record { rtype, with_mx: true, ..record });
    }
    out
}

/// The records of MTA-STS on the way out, where only the id is another one: the host stays what the journal says.
pub fn mta_sts_told(domain: &str, ttl: u32, id: &str, journal: &[RecordStatus]) -> Vec<Record> {
    let host = mta_sts_host(domain);
    let alias = journal.iter().find(|e| e.name == host && e.type_ == RecordType::CNAME.as_str());
    let alias = alias.map(|e| (host.clone(), RecordType::CNAME, e.value.clone()));
    let told = (mta_sts_name(domain), RecordType::TXT, mta_sts_value(id));
    let record = |(name, rtype, value)| Record {
        name,
        rtype,
        ttl,
        values: vec![value],
        purpose: Purpose::MTASTS,
        mode: Mode::Exclusive,
        term: None,
        after_switch: None,
        with_mx: true,
    };
    alias.into_iter().chain([told]).map(record).collect()
}

/// The host of the policy and, once senders may be told of it, the record that does.
fn mta_sts(domain: &str, sts: &MtaSts) -> Vec<(String, RecordType, String)> {
    let Some(target) = discovery::alias_target(&sts.served_at) else { return vec![] };
    let host = (mta_sts_host(domain), RecordType::CNAME, target);
    let told = sts.id.as_ref().map(|id| (mta_sts_name(domain), RecordType::TXT, mta_sts_value(id)));
    [host].into_iter().chain(told).collect()
}

/// The records as long as MX does not lead here: mail of the domain may still be sent through another server, which no record
/// of ours lists and whose signatures may be missing. So a record that we make rejects nothing: SPF ends in `~all`, and
/// DMARC says `p=none`. And clients are not led here yet.
pub fn before_switch(mut records: Vec<Record>) -> Vec<Record> {
    records.retain(|r| !r.with_mx);
    soften(&mut records);
    records
}

/// Takes out of records what would have receivers reject mail of the domain that goes through another server.
pub fn soften(records: &mut [Record]) {
    for record in records {
        if let [value] = record.values.as_mut_slice()
            && let Some(milder) = milder(record.purpose, value)
        {
            record.after_switch = Some(std::mem::replace(value, milder));
        }
    }
}

/// Whether a value is what stands in the place of `declared` until MX leads here.
pub fn is_milder(purpose: Purpose, value: &str, declared: &str) -> bool {
    milder(purpose, declared).is_some_and(|milder| equivalent(purpose, value, &milder))
}

/// What stands in the place of such a value for as long; none: it rejects nothing.
fn milder(purpose: Purpose, value: &str) -> Option<String> {
    match purpose {
        Purpose::SPF => spf::without_fail(value),
        Purpose::DMARC => dmarc::without_policy(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{DkimAlgorithm, DmarcPolicy};

    fn input() -> Input {
        Input {
            domain: "acme.test".into(),
            ttl: 3600,
            challenge: Some(challenge_value("uid-1", "acme.test")),
            mx: vec![(20, "mx2.mail.example.net".into()), (10, "MX1.mail.example.net.".into())],
            spf: Some(("_spf.mail.example.net".into(), SpfAll::SoftFail)),
            dkim: vec![
                DkimPublic {
                    selector: Selector::new("s202611r"),
                    algorithm: DkimAlgorithm::RSA2048,
                    public: "AAAA".into(),
                },
                DkimPublic {
                    selector: Selector::new("s202611e"),
                    algorithm: DkimAlgorithm::Ed25519,
                    public: "BBBB".into(),
                },
            ],
            dmarc: Some(Dmarc {
                policy: DmarcPolicy::Reject,
                report_to: vec!["mailto:a@b.test".into(), "mailto:c@d.test".into()],
            }),
            mta_sts: None,
            tls_rpt: vec!["mailto:t@b.test".into(), "https://d.test/tls".into()],
            discovery: Some(Discovery {
                sieve: Some(Endpoint { host: "imap.mail.example.net".into(), port: 4190, tls: false }),
                ..Discovery::default()
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
                "_smtp._tls.acme.test 3600 TXT v=TLSRPTv1; rua=mailto:t@b.test,https://d.test/tls Exclusive",
                "_imaps._tcp.acme.test 3600 SRV 0 0 0 . Exclusive",
                "_imap._tcp.acme.test 3600 SRV 0 0 0 . Exclusive",
                "_pop3s._tcp.acme.test 3600 SRV 0 0 0 . Exclusive",
                "_pop3._tcp.acme.test 3600 SRV 0 0 0 . Exclusive",
                "_submissions._tcp.acme.test 3600 SRV 0 0 0 . Exclusive",
                "_submission._tcp.acme.test 3600 SRV 0 0 0 . Exclusive",
                "_sieve._tcp.acme.test 3600 SRV 0 1 4190 imap.mail.example.net. Exclusive",
            ]
        );
    }

    #[test]
    fn mta_sts_is_told_of_once_it_may_be_and_never_before_mx_leads_here() {
        let lines = |sts: Option<MtaSts>| -> Vec<String> {
            let all = desired(&Input { mta_sts: sts, ..input() });
            let of = all.iter().filter(|r| r.purpose == Purpose::MTASTS);
            of.map(|r| format!("{} {} {}", r.name, r.rtype.as_str(), r.values.join(" | "))).collect()
        };
        let at = |host: &str, id: Option<&str>| Some(MtaSts { served_at: host.into(), id: id.map(str::to_owned) });
        assert_eq!(lines(None), [""; 0]);
        let host = "mta-sts.acme.test CNAME wellknown.mail.example.net.";
        assert_eq!(lines(at("Wellknown.mail.example.net", None)), [host]);
        let told = "_mta-sts.acme.test TXT v=STSv1; id=a1;";
        assert_eq!(lines(at("wellknown.mail.example.net", Some("a1"))), [host, told]);
        assert_eq!(lines(at("192.0.2.1", Some("a1"))), [""; 0], "nothing is told of what nobody serves");
        let sts = at("wellknown.mail.example.net", Some("a1"));
        let before = before_switch(desired(&Input { mta_sts: sts, ..input() }));
        assert!(before.iter().all(|r| r.purpose != Purpose::MTASTS));
    }

    #[test]
    fn the_longest_mail_domain_has_room_for_the_names_of_its_records() {
        let label = "a".repeat(63);
        let most = format!("{label}.{label}.{label}.{}.test", "b".repeat(28));
        assert_eq!(most.len(), crate::name::LONGEST_MAIL_DOMAIN);
        assert_eq!(crate::name::mail_domain(&most), Ok(most.clone()));
        assert!(matches!(crate::name::mail_domain(&most.replace(".b", ".bb")), Err(crate::name::NameError::Long(_))));
        let taken = [Selector::new("s202611r9999999")];
        let selector = new_selector(2026, 11, DkimAlgorithm::RSA2048, &taken);
        let key = DkimPublic { selector, algorithm: DkimAlgorithm::RSA2048, public: "AAAA".into() };
        let documents = Some("wellknown.test".to_owned());
        let discovery = Some(Discovery { documents, ..Discovery::default() });
        let mta_sts = Some(MtaSts { served_at: "wellknown.test".into(), id: Some("a1".into()) });
        let all = desired(&Input { domain: most, dkim: vec![key], discovery, mta_sts, ..input() });
        assert!(all.iter().all(|r| r.name.len() <= 253), "{:?}", all.iter().map(|r| r.name.len()).max());
    }

    #[test]
    fn nothing_is_rejected_before_mx_leads_here() {
        use DmarcPolicy::*;
        for (all, policy, spf, dmarc) in [
            (SpfAll::Fail, Reject, "v=spf1 include:x.test ~all", "v=DMARC1; p=none; rua=mailto:a@b.test"),
            (SpfAll::SoftFail, Quarantine, "v=spf1 include:x.test ~all", "v=DMARC1; p=none; rua=mailto:a@b.test"),
            (SpfAll::Neutral, None, "v=spf1 include:x.test ?all", "v=DMARC1; p=none; rua=mailto:a@b.test"),
        ] {
            let dmarc_input = Some(Dmarc { policy, report_to: vec!["mailto:a@b.test".into()] });
            let declared = desired(&Input { spf: Some(("x.test".into(), all)), dmarc: dmarc_input, ..input() });
            let before = before_switch(declared.clone());
            let of = |records: &[Record], purpose| records.iter().find(|r| r.purpose == purpose).cloned().unwrap();
            for (purpose, want) in [(Purpose::SPF, spf), (Purpose::DMARC, dmarc)] {
                let (was, is) = (of(&declared, purpose), of(&before, purpose));
                assert_eq!(is.values, [want], "{all:?} {policy:?}");
                assert_eq!(is.after_switch, (was.values != is.values).then(|| was.values[0].clone()));
            }
            assert!(before.iter().all(|r| !r.with_mx));
            let same = |r: &&Record| !r.with_mx && !matches!(r.purpose, Purpose::SPF | Purpose::DMARC);
            assert!(declared.iter().filter(same).eq(before.iter().filter(same)), "all else is as declared");
        }
    }

    #[test]
    fn left_alone() {
        let bare = Input { challenge: None, mx: vec![], spf: None, dkim: vec![], dmarc: None, ..input() };
        let bare = Input { mta_sts: None, tls_rpt: vec![], discovery: None, ..bare };
        assert_eq!(desired(&bare), []);
    }
}
