//! Who is served, and by whose word.

use super::*;
use serde_json::{Value, json};

fn object<K: DeserializeOwned>(kind: &str, namespace: Option<&str>, name: &str, mut fields: Value) -> K {
    fields["apiVersion"] = json!(mailtenant_api::API_VERSION);
    fields["kind"] = json!(kind);
    fields["metadata"] =
        json!({"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "resourceVersion": "1"});
    serde_json::from_value(fields).unwrap()
}

/// The MailDomain `d` of `acme.test`, which holds its name; `spec` is added.
pub(crate) fn domain(spec: Value) -> MailDomain {
    let mut all = json!({"instanceRef": {"name": "i"}, "domain": "acme.test", "dns": {"mode": "Manual"}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    let mta_sts = json!({"mode": "Testing", "mx": ["mx1.mail.example.net"], "maxAge": 86400});
    object("MailDomain", Some("t"), "d", json!({"spec": all, "status": {"dns": {"mtaSts": mta_sts}}}))
}

fn claim(name: &str, uid: &str) -> MailDomainClaim {
    object("MailDomainClaim", None, name, json!({"spec": {"owner": {"namespace": "t", "name": "d", "uid": uid}}}))
}

fn backend(well_known: Option<&str>) -> GroupwareBackend {
    let hosts = json!({"mx": [{"host": "mx1.mail.example.net"}], "imap": {"host": "imap.mail.example.net", "port": 993},
        "submission": {"host": "smtp.mail.example.net", "port": 465}, "wellKnown": well_known});
    object("GroupwareBackend", None, "b", json!({"spec": {"allowedNamespaces": {"from": "All"}, "hosts": hosts}}))
}

/// A cluster in which `acme.test` is served.
pub(crate) fn known() -> Known {
    let mut known = Known::default();
    known.apply(Event::Applied(domain(json!({}))));
    known.apply(Event::Applied(claim("acme.test", "uid-d")));
    let instance = json!({"spec": {"backendRef": {"name": "b"}, "storage": "1Gi"}});
    known.apply(Event::Applied(object::<MailInstance>("MailInstance", Some("t"), "i", instance)));
    known.apply(Event::Applied(backend(Some("wellknown.mail.example.net"))));
    known
}

fn again<K: Resource>(mut object: K) -> K {
    object.meta_mut().resource_version = Some("2".into());
    object
}

#[test]
fn who_holds_the_name_is_served() {
    let served = known().served("acme.test").unwrap();
    assert_eq!(
        served.policy.unwrap().text(),
        "version: STSv1\r\nmode: testing\r\nmx: mx1.mail.example.net\r\nmax_age: 86400\r\n"
    );
    assert_eq!(served.offered.unwrap().imap.unwrap().host, "imap.mail.example.net");
    assert!(known().is_platform_host("wellknown.mail.example.net") && !known().is_platform_host("other.test"));
    for stranger in ["other.test", "mail.acme.test", "test", ""] {
        assert_eq!(known().served(stranger), None, "{stranger}");
    }
}

#[test]
fn nobody_else_is() {
    type Change = fn(&mut Known);
    let changes: [(&str, Change); 7] = [
        ("the claim is another one's", |k| k.apply(Event::Applied(again(claim("acme.test", "uid-other"))))),
        ("there is no claim", |k| {
            let key = NamespacedName::new("", "acme.test");
            k.apply::<MailDomainClaim>(Event::Deleted { key, uid: Some("uid-acme.test".into()) });
        }),
        ("the MailDomain is gone", |k| {
            let key = NamespacedName::new("t", "d");
            k.apply::<MailDomain>(Event::Deleted { key, uid: Some("uid-d".into()) });
        }),
        ("the claim is for another name", |k| k.apply(Event::Applied(again(domain(json!({"domain": "b.test"})))))),
        ("there is no instance", |k| {
            let key = NamespacedName::new("t", "i");
            k.apply::<MailInstance>(Event::Deleted { key, uid: Some("uid-i".into()) });
        }),
        ("there is no backend", |k| {
            let key = NamespacedName::new("", "b");
            k.apply::<GroupwareBackend>(Event::Deleted { key, uid: Some("uid-b".into()) });
        }),
        ("no record leads here", |k| k.apply(Event::Applied(again(backend(None))))),
    ];
    for (why, change) in changes {
        let mut known = known();
        change(&mut known);
        assert_eq!(known.served("acme.test"), None, "{why}");
    }
}

#[test]
fn what_is_not_declared_is_not_served() {
    let mut known = known();
    let mut quiet = again(domain(json!({"dns": {"mode": "Manual", "clientDiscovery": false}})));
    quiet.status = None;
    known.apply(Event::Applied(quiet));
    let served = known.served("acme.test").unwrap();
    assert_eq!((served.policy, served.offered), (None, None));
}
