//! A domain whose records stand at a BIND, by dynamic updates (RFC 2136): published, changed by its owner meanwhile, and gone
//! again, with what is somebody else's as it was.

use crate::harness::bind::Bind;
use crate::harness::world::{SYSTEM, World, dns_backend};
use crate::harness::{eventually, kubectl::Kubectl, secs};
use serde_json::json;

/// What the web agency has in the zone.
const RECORDS: &str = r#"@ A 192.0.2.10
@ 77 TXT "site-verification=4711"
@ 77 TXT "v=spf1 a:www  ~all"
@ 600 MX 10 mail.old.example.
* 60 TXT "nothing here"
www CNAME @
"#;

#[tokio::test]
async fn a_domain_at_bind_goes_live_and_leaves_no_trace() {
    let w = World::new("bind").await;
    let zone = format!("at-{}", w.zone());
    let bind = Bind::start(w.stack, &zone, RECORDS);
    let before = bind.snapshot();
    let system = Kubectl::admin(w.stack, SYSTEM).await;
    let (name, secret) = (format!("{}-bind", w.ns), format!("{}-tsig", w.ns));
    // First with something that is no key: the message names the Secret and what belongs there.
    system.put_secret(&secret, &[("secret", "key \"mailtenant.\" {")]).await;
    let mut backend = dns_backend(w.stack, &name, &[&w.ns], std::slice::from_ref(&zone));
    let spec = backend["spec"].as_object_mut().expect("a spec");
    spec.remove("powerdns");
    spec.insert("resolvers".into(), json!([bind.address]));
    let tsig = json!({"name": "mailtenant.", "secretRef": {"name": secret, "key": "secret"}});
    spec.insert("rfc2136".into(), json!({"server": bind.address, "tsig": tsig}));
    w.k.apply(backend).await;
    let refused = w.k.not_ready("DNSBackend", &name, "SecretInvalid", secs(60)).await;
    assert!(refused["status"]["conditions"].to_string().contains(&secret), "{}", refused["status"]);
    // A key that the server does not have.
    system.put_secret(&secret, &[("secret", "c29tZWJvZHkgZWxzZSdzIHNlY3JldA==")]).await;
    let refused = w.k.not_ready("DNSBackend", &name, "BackendUnauthorized", secs(60)).await;
    assert!(refused["status"]["conditions"].to_string().contains("BADSIG"), "{}", refused["status"]);
    system.put_secret(&secret, &[("secret", &bind.secret)]).await;
    let object = w.k.ready("DNSBackend", &name, secs(60)).await;
    assert_eq!(object["status"]["provider"], "rfc2136");
    assert_eq!(object["status"]["capabilities"], json!(["AtomicUpdate", "CompareAndSet"]));

    w.k.apply(w.instance("acme")).await;
    let mut domain = w.domain("main", "acme", &zone);
    domain["spec"]["dns"]["backendRef"]["name"] = json!(name);
    w.k.apply(domain).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.ready("Mailbox", "alice", secs(120)).await;
    let live = w.k.ready("MailDomain", "main", secs(120)).await;
    assert_eq!(live["status"]["state"], "Live");
    assert_eq!(live["status"]["dns"]["previousMX"], json!(["10 mail.old.example."]));
    let during = bind.snapshot();
    let apex = |rest: &str| format!("{zone}. {rest}");
    for line in [
        apex("1 IN MX 10 mx1.mail.example.net."),
        apex("77 IN TXT \"site-verification=4711\""),
        apex("77 IN TXT \"v=spf1 a:www  include:_spf.mail.example.net ~all\""),
    ] {
        assert!(during.contains(&line), "{line}: {during:#?}");
    }
    // A 2048 bit key is in two strings.
    assert!(
        during.iter().any(|l| l.contains("_domainkey.") && l.contains("k=rsa") && l.contains("\" \"")),
        "{during:#?}"
    );

    // The owner takes a record of ours out, and adds one beside it: ours comes back, theirs stays.
    let theirs = apex("77 IN TXT \"another-site=0815\"");
    bind.owner(&[
        &format!("delete {zone}. TXT \"v=spf1 a:www  include:_spf.mail.example.net ~all\""),
        &format!("add {zone}. 77 TXT \"v=spf1 a:www  ~all\""),
        &format!("add {zone}. 77 TXT \"another-site=0815\""),
    ]);
    w.k.annotate("MailDomain", "main", "mailtenant.dev/reconcile-requested-at", "now").await;
    eventually("SPF is put back", secs(60), || async {
        let now = bind.snapshot();
        let spf = now.contains(&apex("77 IN TXT \"v=spf1 a:www  include:_spf.mail.example.net ~all\""));
        if spf && now.contains(&theirs) { Ok(()) } else { Err(now) }
    })
    .await;

    for kind in ["MailInstance", "MailDomain", "Mailbox"] {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(120)).await;
    let mut after = bind.snapshot();
    assert!(after.remove(&theirs), "{after:#?}");
    assert_eq!(after, before);
}
