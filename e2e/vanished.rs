//! What others depend on is lost: a backend's object, or the Secret that it needs. Whoever is asked to go meanwhile says
//! what is missing and how to go without it, does not go before that is said, and goes in order once it is back.

use crate::harness::kubectl::{Kubectl, TENANT_KINDS};
use crate::harness::world::{SYSTEM, World, dns_backend, groupware_backend};
use crate::harness::{dns, mail, secs};
use serde_json::{Value, json};

const OUTSIDER: &str = "x@elsewhere.example";
/// What a status must say to whoever is stuck.
const WAY_OUT: &str = "mailtenant.dev/orphan: \"true\"";

/// Two domains of one test, each in an instance of its own, with a mailbox and an alias: the first one is given up, the
/// second one waits for what was lost to come back.
struct Pair<'a> {
    w: &'a World,
    zones: [String; 2],
    before: [dns::Zone; 2],
}

/// A part of a [`Pair`]: names of its objects, children first.
const PARTS: [[(&str, &str); 4]; 2] = [
    [("MailAlias", "info1"), ("Mailbox", "user1"), ("MailDomain", "main1"), ("MailInstance", "acme1")],
    [("MailAlias", "info2"), ("Mailbox", "user2"), ("MailDomain", "main2"), ("MailInstance", "acme2")],
];

impl Pair<'_> {
    /// Made, and ready, on this groupware.
    async fn new<'a>(w: &'a World, groupware: &str) -> Pair<'a> {
        let zones = [w.zone(), format!("{}-2.test", w.ns)];
        let before = [dns::snapshot(w.stack, &zones[0]).await, dns::snapshot(w.stack, &zones[1]).await];
        for (zone, n) in zones.iter().zip(1..) {
            let mut instance = w.instance(&format!("acme{n}"));
            instance["spec"]["backendRef"]["name"] = json!(groupware);
            w.k.apply(instance).await;
            w.k.apply(w.domain(&format!("main{n}"), &format!("acme{n}"), zone)).await;
            w.k.apply(w.mailbox(&format!("user{n}"), &format!("main{n}"))).await;
            w.k.apply(w.alias(&format!("info{n}"), &format!("main{n}"), "info", &[&format!("user{n}")])).await;
        }
        for (kind, name) in PARTS.into_iter().flatten() {
            w.k.ready(kind, name, secs(120)).await;
        }
        Pair { w, zones, before }
    }

    /// Sends to both aliases, and sees it in both mailboxes.
    async fn gets_mail(&self, subject: &str) {
        for (zone, n) in self.zones.iter().zip(1..) {
            let user = format!("user{n}");
            let login = (format!("{user}@{zone}"), self.w.password(&user).await);
            mail::send(self.w.stack, OUTSIDER, &format!("info@{zone}"), subject, None).await.expect("mail is taken");
            mail::arrives(self.w.stack, (&login.0, &login.1), subject).await;
        }
    }

    /// Asks all to go, as a pruned Git repository does.
    async fn delete_all(&self) {
        for kind in TENANT_KINDS {
            self.w.k.delete_all(kind).await;
        }
    }

    /// Rows of one part at the groupware.
    async fn rows(&self, part: usize) -> Vec<String> {
        self.w.sql.snapshot(&format!("%{}%", self.zones[part])).await
    }

    /// Of one part nothing is left: no object, no row, no record, no claim.
    async fn left_nothing(&self, part: usize) {
        for (kind, name) in PARTS[part] {
            self.w.k.gone(kind, name, secs(60)).await;
        }
        assert_eq!(self.rows(part).await, Vec::<String>::new());
        let tenant = format!("origin = '{}/acme{}'", self.w.ns, part + 1);
        assert_eq!(self.w.sql.row("tenant", &tenant).await, None);
        assert_eq!(dns::snapshot(self.w.stack, &self.zones[part]).await, self.before[part]);
        assert_eq!(self.w.k.get("MailDomainClaim", &self.zones[part]).await, None);
    }

    /// It says why it cannot go and how it could, is told to, goes, and an Event says at what price.
    async fn orphan(&self, kind: &str, name: &str, reason: &str) {
        self.w.k.blocked(kind, name, reason, &[WAY_OUT], secs(60)).await;
        self.w.k.annotate(kind, name, "mailtenant.dev/orphan", "true").await;
        self.w.k.gone(kind, name, secs(60)).await;
        self.w.k.event(kind, name, "Orphaned", &["stays there"], secs(30)).await;
    }

    /// None of these went.
    async fn stand(&self, objects: &[(&str, &str)]) {
        for (kind, name) in objects {
            assert!(self.w.k.get(kind, name).await.is_some(), "{kind}/{name} went without proof");
        }
    }
}

/// An object goes by force, past its finalizer, as somebody does who is in a hurry.
async fn force(k: &Kubectl, kind: &str, name: &str) {
    k.delete(kind, name).await;
    k.patch(kind, name, json!({"metadata": {"finalizers": null}})).await;
    k.gone(kind, name, secs(30)).await;
}

/// A groupware backend for this test alone.
fn own_groupware(w: &World) -> Value {
    groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}))
}

#[tokio::test]
async fn of_a_groupware_backend_that_vanished_tenants_go_orphaned_or_when_it_is_back() {
    let w = World::new("nogw").await;
    own_dns(&w).await;
    w.k.apply(own_groupware(&w)).await;
    let pair = Pair::new(&w, &w.ns).await;
    let records = dns::snapshot(w.stack, &pair.zones[0]).await;

    force(&w.k, "GroupwareBackend", &w.ns).await;
    for (kind, name) in PARTS.into_iter().flatten() {
        w.k.not_ready(kind, name, "BackendNotFound", secs(60)).await;
    }
    // The servers know nothing of it, and neither do users.
    pair.gets_mail("while the backend's object is gone").await;
    assert_eq!(dns::snapshot(w.stack, &pair.zones[0]).await, records);

    pair.delete_all().await;
    let rows = pair.rows(0).await;
    let [given_up, waits] = PARTS;
    for (kind, name) in [given_up[0], given_up[1], waits[0], waits[1]] {
        w.k.blocked(kind, name, "BackendNotFound", &[WAY_OUT], secs(60)).await;
    }
    // Parents wait for their children, whatever becomes of the backend: orphaned too early they stay all the same.
    w.k.blocked("MailInstance", "acme1", "HasDomains", &["main1"], secs(60)).await;
    w.k.blocked("MailDomain", "main1", "HasAliases", &["info1"], secs(60)).await;
    pair.stand(&given_up).await;
    for (kind, name) in given_up {
        pair.orphan(kind, name, "BackendNotFound").await;
    }
    assert_eq!(w.k.get("MailDomainClaim", &pair.zones[0]).await, None, "the claim is given back");
    assert_eq!(pair.rows(0).await, rows, "who was not asked was not changed");
    assert_eq!(
        dns::snapshot(w.stack, &pair.zones[0]).await,
        pair.before[0],
        "the DNS answers: its records are withdrawn"
    );
    pair.stand(&waits).await;

    w.k.apply(own_groupware(&w)).await;
    pair.left_nothing(1).await;
    assert_eq!(pair.rows(0).await, rows, "what was given up is nobody's to remove");
}

/// The domains' DNS is away in one way or another: what a test of that has in common. `lose` and `bring_back` are about the
/// DNSBackend that has the test's name.
async fn dns_away(w: &World, reason: &str, lose: impl AsyncFn(), bring_back: impl AsyncFn()) {
    let pair = Pair::new(w, crate::harness::world::GROUPWARE).await;
    lose().await;
    for name in ["main1", "main2"] {
        w.k.not_ready("MailDomain", name, reason, secs(60)).await;
    }
    // It is about records alone: everything else goes on.
    w.k.patch("Mailbox", "user1", json!({"spec": {"displayName": "still served"}})).await;
    for (kind, name) in PARTS.into_iter().flatten().filter(|(kind, _)| *kind != "MailDomain") {
        w.k.ready(kind, name, secs(60)).await;
    }
    pair.gets_mail("while the DNS is away").await;

    pair.delete_all().await;
    for name in ["main1", "main2"] {
        w.k.blocked("MailDomain", name, reason, &[WAY_OUT], secs(60)).await;
    }
    // MX still leads here, and nobody can take it out: nothing that takes mail goes (I7).
    for n in [1, 2] {
        let words = ["MX", &format!("MailDomain main{n}")];
        w.k.blocked("MailAlias", &format!("info{n}"), "Draining", &words, secs(60)).await;
        let alias = format!("info{n}");
        w.k.blocked("Mailbox", &format!("user{n}"), "ReferencedByAlias", &[&alias], secs(60)).await;
    }
    pair.gets_mail("while all are asked to go").await;
    let records = dns::snapshot(w.stack, &pair.zones[0]).await;

    // Given up, the domain lets its children go. The groupware answers: all is removed there, and the tenant can end.
    w.k.annotate("MailDomain", "main1", "mailtenant.dev/orphan", "true").await;
    for (kind, name) in PARTS[0] {
        w.k.gone(kind, name, secs(60)).await;
    }
    w.k.event("MailDomain", "main1", "Orphaned", &["stay in the DNS"], secs(30)).await;
    assert_eq!(pair.rows(0).await, Vec::<String>::new(), "what can be reached is taken down");
    assert_eq!(w.k.get("MailDomainClaim", &pair.zones[0]).await, None, "the claim is given back");
    assert_eq!(dns::snapshot(w.stack, &pair.zones[0]).await, records, "who was not asked was not changed");
    pair.stand(&PARTS[1]).await;

    bring_back().await;
    pair.left_nothing(1).await;
    assert_eq!(dns::snapshot(w.stack, &pair.zones[0]).await, records, "what was given up is nobody's to remove");
}

/// The second zone of a [`Pair`], and a DNSBackend for both with an API key of this test's own.
async fn own_dns(w: &World) -> (Kubectl, Value) {
    let system = w.k.within(SYSTEM);
    let second = format!("{}-2.test", w.ns);
    dns::create_zone(w.stack, &second).await;
    let key = format!("{}-dns", w.ns);
    system.put_secret(&key, &[("apiKey", w.stack.get("PDNS_KEY"))]).await;
    let mut backend = dns_backend(w.stack, &w.ns, &[&w.ns], &[w.zone(), second]);
    backend["spec"]["powerdns"]["apiKeySecretRef"]["name"] = json!(key);
    w.k.apply(backend.clone()).await;
    w.k.ready("DNSBackend", &w.ns, secs(60)).await;
    (system, backend)
}

#[tokio::test]
async fn of_a_dns_backend_that_vanished_domains_go_orphaned_or_when_it_is_back() {
    let w = World::new("nodns").await;
    let (_, backend) = own_dns(&w).await;
    let bring_back = async || drop(w.k.apply(backend.clone()).await);
    dns_away(&w, "BackendNotFound", async || force(&w.k, "DNSBackend", &w.ns).await, bring_back).await;
}

#[tokio::test]
async fn without_the_key_of_their_dns_domains_go_orphaned_or_when_it_is_back() {
    let w = World::new("nokey").await;
    let (system, _) = own_dns(&w).await;
    let key = format!("{}-dns", w.ns);
    let lose = async || {
        system.delete("Secret", &key).await;
        w.k.not_ready("DNSBackend", &w.ns, "SecretNotFound", secs(60)).await;
    };
    let bring_back = async || system.put_secret(&key, &[("apiKey", w.stack.get("PDNS_KEY"))]).await;
    dns_away(&w, "SecretNotFound", lose, bring_back).await;
}

/// The API of the DNS server answers, and the servers that resolvers ask do not: whether MX has left is not known. Given up,
/// the domain takes all of its records with it.
#[tokio::test]
async fn where_nobody_shows_whether_mx_has_left_domains_go_orphaned_and_leave_no_record() {
    let w = World::new("silent").await;
    let (_, mut backend) = own_dns(&w).await;
    let resolvers = backend["spec"]["resolvers"].clone();
    let pair = Pair::new(&w, crate::harness::world::GROUPWARE).await;
    backend["spec"]["resolvers"] = json!(["127.0.0.1:1"]);
    w.k.apply(backend.clone()).await;
    pair.delete_all().await;
    for name in ["main1", "main2"] {
        w.k.blocked("MailDomain", name, "BackendUnreachable", &[WAY_OUT], secs(90)).await;
    }
    w.k.annotate("MailDomain", "main1", "mailtenant.dev/orphan", "true").await;
    for (kind, name) in PARTS[0] {
        w.k.gone(kind, name, secs(60)).await;
    }
    w.k.event("MailDomain", "main1", "Orphaned", &["were withdrawn"], secs(30)).await;
    pair.left_nothing(0).await;
    pair.stand(&PARTS[1]).await;

    backend["spec"]["resolvers"] = if resolvers.is_null() { json!([]) } else { resolvers };
    w.k.apply(backend).await;
    pair.left_nothing(1).await;
}

#[tokio::test]
async fn backends_in_use_go_when_they_are_orphaned_and_take_nobody_along() {
    let w = World::new("forsaken").await;
    let (_, dns_backend) = own_dns(&w).await;
    w.k.apply(own_groupware(&w)).await;
    let pair = Pair::new(&w, &w.ns).await;
    let rows = [pair.rows(0).await, pair.rows(1).await];
    let backends = [("DNSBackend", "HasDomains", "main1"), ("GroupwareBackend", "HasInstances", "acme1")];
    for (kind, reason, user) in backends {
        w.k.delete(kind, &w.ns).await;
        w.k.blocked(kind, &w.ns, reason, &[&format!("{}/{user}", w.ns)], secs(60)).await;
        w.k.annotate(kind, &w.ns, "mailtenant.dev/orphan", "true").await;
        w.k.gone(kind, &w.ns, secs(60)).await;
        w.k.event(kind, &w.ns, "Orphaned", &["still used"], secs(30)).await;
        let says = if kind == "DNSBackend" { &["MailDomain"][..] } else { &TENANT_KINDS[..] };
        for (kind, name) in PARTS.into_iter().flatten().filter(|(kind, _)| says.contains(kind)) {
            w.k.not_ready(kind, name, "BackendNotFound", secs(60)).await;
        }
    }
    pair.gets_mail("without backends").await;
    // Under the same name they are the same: nothing is made anew.
    for backend in [own_groupware(&w), dns_backend] {
        w.k.apply(backend).await;
    }
    for (kind, name) in PARTS.into_iter().flatten() {
        w.k.ready(kind, name, secs(60)).await;
    }
    assert_eq!([pair.rows(0).await, pair.rows(1).await], rows);
}

#[tokio::test]
async fn orphan_takes_nothing_out_of_the_limits_that_no_backend_blocks() {
    let w = World::new("healthy").await;
    let mut instance = w.instance("acme");
    instance["spec"]["limits"] = json!({"mailboxes": 1});
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    w.k.apply(w.mailbox("alice", "main")).await;
    w.k.ready("Mailbox", "alice", secs(120)).await;
    w.k.ready("MailDomain", "main", secs(120)).await;
    let row = format!("username = '{}'", w.address("alice"));
    assert!(w.sql.row("mailbox", &row).await.is_some());

    // Said before and while it is deleted, it is removed like any other.
    w.k.annotate("Mailbox", "alice", "mailtenant.dev/orphan", "true").await;
    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(60)).await;
    assert_eq!(w.sql.row("mailbox", &row).await, None, "a mailbox that works has left the limits");
    w.k.apply(w.mailbox("bob", "main")).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;

    // Nor does it help against a pause, or against looking only.
    for (patch, reason) in [
        (json!({"metadata": {"annotations": {"mailtenant.dev/paused": "true"}}}), "Paused"),
        (
            json!({"metadata": {"annotations": {"mailtenant.dev/paused": null}}, "spec": {"managementPolicy": "Observe"}}),
            "Paused",
        ),
    ] {
        w.k.patch("Mailbox", "bob", patch).await;
        w.k.annotate("Mailbox", "bob", "mailtenant.dev/orphan", "true").await;
        w.k.delete("Mailbox", "bob").await;
        w.k.blocked("Mailbox", "bob", reason, &[], secs(60)).await;
        tokio::time::sleep(secs(15)).await;
        assert!(w.k.get("Mailbox", "bob").await.is_some(), "{reason}: it went with what works");
    }
    w.k.blocked("Mailbox", "bob", "Paused", &["set Full"], secs(60)).await;
    w.k.patch("Mailbox", "bob", json!({"spec": {"managementPolicy": "Full"}})).await;
    w.k.gone("Mailbox", "bob", secs(60)).await;
    assert_eq!(w.sql.row("mailbox", &format!("username = '{}'", w.address("bob"))).await, None);

    // A domain lets its MX leave and its TTL run out, whatever it is told.
    w.k.annotate("MailDomain", "main", "mailtenant.dev/orphan", "true").await;
    w.k.annotate("MailInstance", "acme", "mailtenant.dev/orphan", "true").await;
    for kind in TENANT_KINDS {
        w.k.delete_all(kind).await;
    }
    w.empty(secs(60)).await;
    assert_eq!(w.sql.snapshot(&format!("%{}%", w.zone())).await, Vec::<String>::new());
    assert!(dns::contents(w.stack, &w.zone(), &w.zone(), "MX").await.is_empty());
}
