//! The life of a domain's records at a server, with the plans that the controller has: published, changed, withdrawn.

use mailtenant_dns::{DnsServer, RecordType};
use mailtenant_groupware::{DkimAlgorithm, Selector, signing};
use mailtenant_mail::merge::{Plan, Policy, plan, which, withdraw_mx, withdraw_rest};
use mailtenant_mail::policy::{ConflictPolicy, DmarcPolicy, OnDelete, SpfAll};
use mailtenant_mail::records::{Discovery, DkimPublic, Dmarc, Input, challenge_value, desired};
use std::sync::{Arc, LazyLock};

/// A public key of 410 characters, one of 66, and another of 410. Made once: it takes a tenth of a second.
static KEYS: LazyLock<[DkimPublic; 3]> = LazyLock::new(|| {
    let keys = [
        ("s202611r", DkimAlgorithm::RSA2048),
        ("s202611e", DkimAlgorithm::Ed25519),
        ("s202612r", DkimAlgorithm::RSA2048),
    ];
    keys.map(|(selector, algorithm)| DkimPublic {
        selector: Selector::new(selector),
        algorithm,
        public: signing::generate(algorithm).expect("a key").public,
    })
});

/// Everything that a domain can have.
pub fn wanted(domain: &str) -> Input {
    Input {
        domain: domain.into(),
        ttl: 3600,
        challenge: Some(challenge_value("uid", domain)),
        mx: vec![(10, "mx1.mail.example.net".into()), (20, "mx2.mail.example.net".into())],
        spf: Some(("_spf.mail.example.net".into(), SpfAll::Fail)),
        dkim: KEYS[..2].to_vec(),
        dmarc: Some(Dmarc { policy: DmarcPolicy::Quarantine, report_to: vec!["mailto:dmarc@acme.test".into()] }),
        mta_sts: None,
        tls_rpt: vec!["mailto:tls@acme.test".into()],
        discovery: Some(Discovery::default()),
    }
}

/// The same after a change of everything that can be changed.
pub fn changed(domain: &str) -> Input {
    Input {
        ttl: 600,
        mx: vec![(10, "mx1.mail.example.net".into()), (5, "mx3.mail.example.net".into())],
        dkim: KEYS[1..].to_vec(),
        dmarc: Some(Dmarc { policy: DmarcPolicy::Reject, report_to: vec![] }),
        ..wanted(domain)
    }
}

/// Plans and applies until nothing is left to do, as the controller does, from what `last` left; the last plan.
pub async fn settle(dns: &Arc<dyn DnsServer>, input: &Input, mut last: Plan) -> Plan {
    let (zone, records) = (dns.find_zone(&input.domain).await.expect("a zone"), desired(input));
    for _ in 0..4 {
        let live = dns.read(&zone, &which(&records, &last.journal)).await.expect("sets");
        let policy =
            Policy { conflict: ConflictPolicy::Refuse, switch_mx: true, previous_mx: last.previous_mx.clone() };
        last = plan(&records, &last.journal, &live, &policy);
        if last.changes.is_empty() {
            return last;
        }
        dns.apply(&zone, &last.changes).await.expect("applied");
    }
    panic!("does not settle: {:?}", last.changes);
}

/// Takes everything out again and puts the MX of before back.
pub async fn withdraw(dns: &Arc<dyn DnsServer>, zone: &str, domain: &str, was: Plan) {
    let mut journal = was.journal;
    for _ in 0..3 {
        let live = dns.read(zone, &[(domain.to_string(), RecordType::MX)]).await.expect("MX").remove(0);
        let p = withdraw_mx(&journal, &live, OnDelete::RestorePrevious, was.previous_mx.as_ref());
        dns.apply(zone, &p.changes).await.expect("MX withdrawn");
        journal = p.journal;
    }
    for _ in 0..3 {
        let p = withdraw_rest(&journal, &dns.read(zone, &which(&[], &journal)).await.expect("sets"));
        if p.is_withdrawn() {
            return;
        }
        dns.apply(zone, &p.changes).await.expect("withdrawn");
        journal = p.journal;
    }
    panic!("does not settle");
}
