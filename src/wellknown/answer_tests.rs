//! Which request gets which document, as a table.

use super::*;
use crate::known::tests::{domain, known};
use mailtenant_api::{GroupwareBackend, MailDomain, MailDomainClaim, MailInstance};
use mailtenant_runtime::store::Event;
use serde_json::json;

/// The cluster of `known_tests`, completely listed.
fn listed() -> Known {
    let mut all = known();
    fn list<K: crate::known::Stored>(known: &mut Known) {
        let store = K::store(known);
        let objects: Vec<K> = store.iter().map(|(_, object)| object.as_ref().clone()).collect();
        store.apply(Event::Init);
        objects.into_iter().for_each(|object| {
            store.apply(Event::Listed(object));
        });
        store.apply(Event::ListedDone);
    }
    list::<MailDomain>(&mut all);
    list::<MailDomainClaim>(&mut all);
    list::<MailInstance>(&mut all);
    list::<GroupwareBackend>(&mut all);
    assert!(all.synced());
    all
}

fn ask(known: &Known, method: &Method, host: &str, target: &str, body: &str) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    answer(known, &Asked { method, host, path, query, if_none_match: None, body })
}

fn outlook(address: &str) -> String {
    format!("<Request><EMailAddress>{address}</EMailAddress></Request>")
}

const CONFIG: &str = "/mail/config-v1.1.xml";
const WELL_KNOWN: &str = "/.well-known/autoconfig/mail/config-v1.1.xml";
const PLATFORM: &str = "wellknown.mail.example.net";

#[test]
fn who_gets_what() {
    let known = listed();
    let (get, post) = (Method::GET, Method::POST);
    let alice = outlook("alice@acme.test");
    let (policy, config, settings, profile) = ("mode: testing", "<clientConfig", "<LoginName>", "PayloadContent");
    for (method, host, target, body, status, has) in [
        (&get, "mta-sts.acme.test", MTA_STS_PATH, "", 200, policy),
        (&get, "MTA-STS.Acme.Test.:443", MTA_STS_PATH, "", 200, policy),
        (&Method::HEAD, "mta-sts.acme.test", MTA_STS_PATH, "", 200, policy),
        (&get, "mta-sts.other.test", MTA_STS_PATH, "", 404, ""),
        (&get, "mta-sts.mail.acme.test", MTA_STS_PATH, "", 404, ""),
        (&get, "autoconfig.acme.test", MTA_STS_PATH, "", 404, ""),
        (&get, "mta-sts.acme.test", "/", "", 404, ""),
        (&get, "mta-sts.acme.test", "/.well-known/MTA-STS.txt", "", 404, ""),
        (&post, "mta-sts.acme.test", MTA_STS_PATH, "", 405, ""),
        (&get, "autoconfig.acme.test", CONFIG, "", 200, config),
        (&get, "autoconfig.acme.test", &format!("{CONFIG}?emailaddress=nobody%40acme.test"), "", 200, config),
        (&get, "autoconfig.acme.test", WELL_KNOWN, "", 200, config),
        (&get, "acme.test", WELL_KNOWN, "", 200, config),
        (&get, "acme.test", CONFIG, "", 404, ""),
        (&get, "autoconfig.other.test", CONFIG, "", 404, ""),
        (&get, "mta-sts.acme.test", CONFIG, "", 404, ""),
        (&post, "autodiscover.acme.test", AUTODISCOVER_PATH, &alice, 200, settings),
        (&post, "autodiscover.acme.test", "/Autodiscover/Autodiscover.xml", &alice, 200, settings),
        (&post, "acme.test", AUTODISCOVER_PATH, &alice, 200, settings),
        (&post, PLATFORM, AUTODISCOVER_PATH, &alice, 200, settings),
        (&post, PLATFORM, AUTODISCOVER_PATH, &outlook("a@other.test"), 404, ""),
        (&post, "autodiscover.acme.test", AUTODISCOVER_PATH, &outlook("a@other.test"), 200, "<ErrorCode>600<"),
        (&post, "autodiscover.acme.test", AUTODISCOVER_PATH, "", 200, "<ErrorCode>600<"),
        (&post, "autodiscover.other.test", AUTODISCOVER_PATH, &alice, 404, ""),
        (&get, "autodiscover.acme.test", AUTODISCOVER_PATH, "", 405, ""),
        (&get, "autodiscover.other.test", AUTODISCOVER_PATH, "", 404, ""),
        (
            &get,
            "autoconfig.acme.test",
            "/mail/mail.mobileconfig?email=alice%2Bx%40acme.test",
            "",
            200,
            "alice+x@acme.test",
        ),
        (&get, "autoconfig.acme.test", "/mail/mail.mobileconfig?email=alice+x@acme.test", "", 200, "alice+x@acme.test"),
        (&get, PLATFORM, "/mail/mail.mobileconfig?email=alice@acme.test", "", 200, profile),
        (&get, PLATFORM, "/mail/mail.mobileconfig?email=alice@other.test", "", 404, ""),
        (&get, "autoconfig.acme.test", "/mail/mail.mobileconfig?email=a@other.test", "", 404, ""),
        (&get, "autoconfig.acme.test", "/mail/mail.mobileconfig?email=%3Cscript%3E", "", 404, ""),
        (&get, "autoconfig.acme.test", "/mail/mail.mobileconfig", "", 404, ""),
        (&get, PLATFORM, "/", "", 404, ""),
        (&get, "acme.test", "/", "", 404, ""),
        (&get, "other.test", "/", "", 421, ""),
        (&get, "192.0.2.1", MTA_STS_PATH, "", 421, ""),
        (&get, "[2001:db8::1]:8081", MTA_STS_PATH, "", 421, ""),
        (&get, "", MTA_STS_PATH, "", 421, ""),
        (&get, "mta-sts.acme.test@evil.test", MTA_STS_PATH, "", 421, ""),
        (&get, "a b", MTA_STS_PATH, "", 421, ""),
        (&get, "x", "/served?domain=mta-sts.acme.test", "", 200, "served"),
        (&get, "x", "/served?domain=autoconfig.acme.test", "", 200, "served"),
        (&get, "x", "/served?domain=wellknown.mail.example.net", "", 200, "served"),
        (&get, "x", "/served?domain=acme.test", "", 404, ""),
        (&get, "x", "/served?domain=mta-sts.other.test", "", 404, ""),
        (&get, "x", "/served", "", 404, ""),
    ] {
        let given = ask(&known, method, host, target, body);
        assert_eq!(given.status.as_u16(), status, "{method} {host} {target} {body}: {}", given.body);
        assert!(given.body.contains(has), "{method} {host} {target}: {}", given.body);
    }
}

/// A stranger learns nothing: what is not claimed is answered word for word as what is not there.
#[test]
fn strangers_and_mailboxes_cannot_be_told_apart() {
    let known = listed();
    let get = |host: &str, target: &str| ask(&known, &Method::GET, host, target, "");
    assert_eq!(get("mta-sts.other.test", MTA_STS_PATH), get("mta-sts.third.test", MTA_STS_PATH));
    let post = |address: &str| ask(&known, &Method::POST, PLATFORM, AUTODISCOVER_PATH, &outlook(address));
    assert_eq!(post("a@other.test"), post("b@third.test"));
    let (one, other) = (post("alice@acme.test").body, post("nobody@acme.test").body);
    assert_eq!(one.replace("alice", "nobody"), other);
}

#[test]
fn who_has_a_document_is_told_so() {
    let known = listed();
    let first = ask(&known, &Method::GET, "mta-sts.acme.test", MTA_STS_PATH, "");
    let header = |answer: &Answer, name: &str| answer.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
    let etag = header(&first, "etag").unwrap();
    assert_eq!(header(&first, "cache-control").as_deref(), Some("no-cache"), "RFC 8461, 3.3");
    assert_eq!(header(&first, "content-type").as_deref(), Some("text/plain; charset=utf-8"));
    let host = "mta-sts.acme.test";
    let asked = |given| Asked {
        method: &Method::GET,
        host,
        path: MTA_STS_PATH,
        query: "",
        if_none_match: Some(given),
        body: "",
    };
    for (given, status) in [
        (etag.as_str(), 304),
        (&format!("\"x\", W/{etag}"), 304),
        ("*", 304),
        ("\"x\"", 200),
        (etag.trim_matches('"'), 200),
    ] {
        let again = answer(&known, &asked(given));
        assert_eq!((again.status.as_u16(), again.body.is_empty()), (status, status == 304), "{given}");
        assert_eq!(header(&again, "etag").as_ref(), Some(&etag));
    }
    // What has an address in it is kept by nobody.
    let profile = ask(&known, &Method::GET, PLATFORM, "/mail/mail.mobileconfig?email=a@acme.test", "");
    assert_eq!(header(&profile, "cache-control").as_deref(), Some("no-store"));
}

#[test]
fn nothing_is_said_before_all_is_listed() {
    let answer = ask(&known(), &Method::GET, "mta-sts.acme.test", MTA_STS_PATH, "");
    assert_eq!(answer.status.as_u16(), 503);
}

#[test]
fn a_domain_without_policy_or_discovery_has_no_documents() {
    let mut known = listed();
    let mut quiet = domain(json!({"dns": {"mode": "Manual", "clientDiscovery": false}}));
    (quiet.metadata.resource_version, quiet.status) = (Some("2".into()), None);
    known.apply(Event::Applied(quiet));
    let alice = outlook("alice@acme.test");
    for (method, host, target) in [
        (Method::GET, "mta-sts.acme.test", MTA_STS_PATH),
        (Method::GET, "autoconfig.acme.test", CONFIG),
        (Method::POST, "autodiscover.acme.test", AUTODISCOVER_PATH),
        (Method::POST, PLATFORM, AUTODISCOVER_PATH),
        (Method::GET, "autoconfig.acme.test", "/mail/mail.mobileconfig?email=alice@acme.test"),
        (Method::GET, "x", "/served?domain=mta-sts.acme.test"),
        (Method::GET, "x", "/served?domain=autoconfig.acme.test"),
    ] {
        assert_eq!(ask(&known, &method, host, target, &alice).status.as_u16(), 404, "{host} {target}");
    }
}
