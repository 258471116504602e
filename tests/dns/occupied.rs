//! Places that are taken in another way than by a record of the same name and type: wildcards, zones that are copies,
//! CNAMEs and LUA records.

use crate::server::{Server, connect, set};
use mailtenant::providers::Dns;
use mailtenant_dns::converge::{Aim, Converged, Failed, Journal, converge};
use mailtenant_dns::resolve::DirectResolver;
use mailtenant_dns::{BackendError, Change, DnsServer, RecordType, Resolver, Wildcard, wildcard};
use mailtenant_mail::merge::{Plan, PreviousMx};
use mailtenant_mail::policy::{ConflictPolicy, DmarcPolicy, OnDelete, RecordStatus};
use mailtenant_mail::records::{Dmarc, Input, Record, desired};
use serde_json::json;

use RecordType::{CNAME, LUA, MX, TXT};

/// A journal in memory.
#[derive(Default)]
struct Notes(Vec<RecordStatus>, Option<PreviousMx>);

impl Journal for Notes {
    type Error = ();
    fn entries(&self) -> Vec<RecordStatus> {
        self.0.clone()
    }
    fn previous_mx(&self) -> Option<PreviousMx> {
        self.1.clone()
    }
    async fn keep(&mut self, plan: &Plan, _: bool) -> Result<(), ()> {
        (self.0, self.1) = (plan.journal.clone(), plan.previous_mx.clone());
        Ok(())
    }
}

fn wanted(domain: &str) -> Vec<Record> {
    desired(&Input {
        domain: domain.into(),
        ttl: 60,
        challenge: None,
        mx: vec![(10, "mx1.mail.example.net".into())],
        spf: None,
        dkim: vec![],
        dmarc: Some(Dmarc { policy: DmarcPolicy::None, report_to: vec![] }),
        mta_sts: None,
        tls_rpt: vec![],
        discovery: None,
    })
}

async fn publish(
    dns: &dyn DnsServer,
    zone: &str,
    domain: &str,
    conflict: ConflictPolicy,
    notes: &mut Notes,
) -> Result<Converged, Failed<()>> {
    let wanted = wanted(domain);
    let aim = Aim::Publish { name: domain, wanted: &wanted, conflict, switch_mx: false, writer: None };
    converge(dns, zone, &aim, notes).await
}

#[tokio::test]
async fn a_name_that_lives_by_a_wildcard_keeps_its_web_site_and_its_mail() {
    let server = Server::start();
    server.add_zone("wild.test").await;
    let of_wildcard = json!([
        {"name": "*.wild.test.", "type": "A", "ttl": 60, "changetype": "REPLACE", "records": [{"content": "192.0.2.1"}]},
        {"name": "*.wild.test.", "type": "MX", "ttl": 60, "changetype": "REPLACE", "records": [{"content": "10 mail.wild.test."}]},
    ]);
    server.put("wild.test", of_wildcard).await;
    let dns = connect(&Dns::default(), server.spec(&["wild.test"]), &server.key);
    let world = DirectResolver::new(vec![server.dns.clone()]);
    let mx = async || world.lookup("shop.wild.test", MX).await.expect("an answer").remove(0).values;
    assert_eq!(mx().await, ["10 mail.wild.test."]);
    let records = vec!["A 192.0.2.1".to_owned(), "MX 10 mail.wild.test.".into()];
    let there = Some(Wildcard { name: "*.wild.test".into(), records });
    for name in ["shop.wild.test", "a.b.wild.test"] {
        assert_eq!(dns.wildcard("wild.test", name).await, Ok(there.clone()), "{name}");
        assert_eq!(wildcard::by_reads(dns.as_ref(), "wild.test", name).await, Ok(there.clone()), "{name}");
    }
    assert_eq!(dns.wildcard("wild.test", "wild.test").await, Ok(None), "the zone itself");
    let before = server.raw_sets("wild.test").await;
    let mut notes = Notes::default();
    let held = publish(dns.as_ref(), "wild.test", "shop.wild.test", ConflictPolicy::Overwrite, &mut notes).await;
    assert_eq!(held, Err(Failed::Wildcard(there.clone().unwrap())));
    assert_eq!((server.raw_sets("wild.test").await, mx().await.len()), (before, 1), "nothing was written");
    // With a record of its own the wildcard is over, and MX is what somebody has put there.
    let own = json!([
        {"name": "shop.wild.test.", "type": "MX", "ttl": 60, "changetype": "REPLACE", "records": [{"content": "5 own.wild.test."}]},
    ]);
    server.put("wild.test", own).await;
    assert_eq!(dns.wildcard("wild.test", "shop.wild.test").await, Ok(None));
    assert_eq!(wildcard::by_reads(dns.as_ref(), "wild.test", "shop.wild.test").await, Ok(None));
    let done = publish(dns.as_ref(), "wild.test", "shop.wild.test", ConflictPolicy::Refuse, &mut notes).await;
    assert!(matches!(done, Ok(Converged::Settled { .. })), "{done:?}");
    assert_eq!(mx().await, ["5 own.wild.test."]);
    // A record below a name is enough to end it, and one that is switched off is none.
    let below = |name: &str, off: bool| json!([{"name": name, "type": "TXT", "ttl": 60, "changetype": "REPLACE", "records": [{"content": "\"x\"", "disabled": off}]}]);
    server.put("wild.test", below("off.wild.test.", true)).await;
    assert_eq!(dns.wildcard("wild.test", "off.wild.test").await, Ok(there));
    server.put("wild.test", below("_x.other.wild.test.", false)).await;
    assert_eq!(dns.wildcard("wild.test", "other.wild.test").await, Ok(None));
}

#[tokio::test]
async fn a_copy_of_a_zone_is_never_written_to() {
    let server = Server::start();
    let dns = server.backend();
    let change = [Change { before: set("acme.test", TXT, 0, &[]), after: set("acme.test", TXT, 60, &["x"]) }];
    for (kind, writable) in [("Slave", false), ("Master", true), ("Native", true)] {
        let zone = json!({"name": "acme.test.", "kind": kind, "nameservers": [], "masters": ["192.0.2.53"]});
        let (status, body) = server.raw("POST", "/zones", Some(zone)).await;
        assert_eq!(status, 201, "{body}");
        let before = server.raw_sets("acme.test").await;
        let (found, applied) = (dns.find_zone("acme.test").await, dns.apply("acme.test", &change).await);
        if writable {
            assert_eq!((found.as_deref(), applied), (Ok("acme.test"), Ok(())), "{kind}");
        } else {
            for error in [found.map(drop), applied] {
                let Err(BackendError::ReadOnly(text)) = error else { panic!("{kind}: {error:?}") };
                assert!(text.contains("acme.test") && text.contains(kind), "{text}");
            }
            assert_eq!(server.raw_sets("acme.test").await, before);
        }
        assert_eq!(server.raw("DELETE", "/zones/acme.test.", None).await.0, 204);
    }
}

#[tokio::test]
async fn a_record_of_another_type_is_kept_or_replaced_in_one_change() {
    let server = Server::start();
    server.add_zone("acme.test").await;
    let dns = server.backend();
    let name = "_dmarc.acme.test";
    for (rtype, content) in [(CNAME, "dmarc.example.org."), (LUA, "TXT \"return 'v=DMARC1; p=none'\"")] {
        let there = json!([
            {"name": format!("{name}."), "type": "TXT", "changetype": "DELETE"},
            {"name": format!("{name}."), "type": rtype.as_str(), "ttl": 60, "changetype": "REPLACE", "records": [{"content": content}]},
        ]);
        server.put("acme.test", there).await;
        let before = server.raw_sets("acme.test").await;
        for conflict in [ConflictPolicy::Refuse, ConflictPolicy::Adopt] {
            let done = publish(dns.as_ref(), "acme.test", "acme.test", conflict, &mut Notes::default()).await;
            let Ok(Converged::Settled { plan, .. }) = done else { panic!("{done:?}") };
            let says = plan.conflicts.first().map(|c| c.message.clone()).unwrap_or_default();
            let named = says.starts_with(&format!("{} {name} \"{content}\"", rtype.as_str()));
            assert_eq!(named, conflict == ConflictPolicy::Refuse, "{says}");
            assert_eq!(server.raw_sets("acme.test").await, before, "{conflict:?}");
        }
        let done =
            publish(dns.as_ref(), "acme.test", "acme.test", ConflictPolicy::Overwrite, &mut Notes::default()).await;
        assert!(matches!(done, Ok(Converged::Settled { .. })), "{done:?}");
        let sets = dns.read("acme.test", &[(name.into(), rtype), (name.into(), TXT)]).await.expect("sets");
        assert_eq!((sets[0].values.len(), sets[1].values.clone()), (0, vec!["v=DMARC1; p=none".to_owned()]));
    }
}

#[tokio::test]
async fn the_old_mx_comes_back_byte_for_byte() {
    let server = Server::start();
    server.add_zone("acme.test").await;
    let old = json!([{"name": "acme.test.", "type": "MX", "ttl": 7200, "changetype": "REPLACE",
        "records": [{"content": "10 Mail.OLD.example."}, {"content": "20 b.example."}]}]);
    server.put("acme.test", old).await;
    let (before, dns, mut notes) = (server.raw_sets("acme.test").await, server.backend(), Notes::default());
    let wanted = wanted("acme.test");
    let publish = Aim::Publish {
        name: "acme.test",
        wanted: &wanted,
        conflict: ConflictPolicy::Refuse,
        switch_mx: true,
        writer: None,
    };
    let withdraw = Aim::WithdrawMx { name: "acme.test", on_delete: OnDelete::RestorePrevious };
    for aim in [publish, publish, withdraw, Aim::WithdrawRest] {
        let Ok(Converged::Settled { plan, .. }) = converge(dns.as_ref(), "acme.test", &aim, &mut notes).await else {
            panic!("{aim:?} does not settle")
        };
        (notes.0, notes.1) = (plan.journal, plan.previous_mx.or(notes.1));
    }
    assert_eq!(server.raw_sets("acme.test").await, before);
}
