//! What every groupware provider must do, written against the trait alone; `Hooks` are the test's own eyes at the server.

use async_trait::async_trait;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailtenant_api::mail_instance::AddressBook;
use mailtenant_backend::SecretText;
use mailtenant_groupware::*;

/// What a suite that knows only the trait cannot see or do.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Writes at the server since it was started.
    async fn writes(&self) -> i64;
    /// A user changes the own password.
    async fn change_password(&self, address: &str);
    /// A mailbox vanishes at the server, but for its data.
    async fn lose_mailbox(&self, address: &str);
}

pub fn uid(text: &str) -> Uid {
    Uid::new(text)
}

pub fn name(text: &str) -> DomainName {
    DomainName::from_server(text)
}

/// Any text, also one that is no address.
pub fn at(text: &str) -> Address {
    Address::from_server(text)
}

pub fn selector(text: &str) -> Selector {
    Selector::new(text)
}

/// Where an object stands.
pub fn origin(name: &str) -> Origin {
    Origin { cluster: "cluster".into(), namespace: "ns".into(), name: name.into() }
}

pub fn owner(owner: &str) -> Owner {
    Owner { uid: uid(owner), adopt: Adopt::Nothing, origin: origin(owner), replaces: None }
}

/// Entitled to all that nobody owns.
pub fn adopting(owner: &str) -> Owner {
    Owner { adopt: Adopt::All, ..self::owner(owner) }
}

/// Gets back what its own tenant let go.
pub fn keeping(owner: &str) -> Owner {
    Owner { adopt: Adopt::Kept, ..self::owner(owner) }
}

/// The same, of another tenant.
pub fn stranger(owner: &str) -> Owner {
    Owner { origin: Origin { namespace: "elsewhere".into(), ..origin(owner) }, ..keeping(owner) }
}

pub fn tenant(uid: &str, id: &str) -> TenantWant {
    TenantWant {
        owner: owner(uid),
        ids: [id, &format!("{id}-2"), &format!("{id}-3")].map(TenantId::new).into(),
        storage: 0,
        address_book: AddressBook::Instance,
        redirects: true,
    }
}

pub fn domain(uid: &str, name: &str, tenant: &str) -> DomainWant {
    DomainWant {
        owner: owner(uid),
        name: self::name(name),
        tenant: TenantId::new(tenant),
        holders: Holders::default(),
        alias_of: None,
    }
}

pub fn plain(text: &str, version: &str) -> PasswordWant {
    PasswordWant::Plain { text: SecretText::new(text), generated: true, version: version.into(), force: false }
}

pub fn settings() -> MailboxSettings {
    MailboxSettings {
        display_name: String::new(),
        quota: 0,
        login: true,
        receive: true,
        access: Access::default(),
        forward_to: vec![],
        keep_copy: true,
    }
}

pub fn mailbox(uid: &str, address: &str, tenant: &str, password: &str) -> MailboxWant {
    MailboxWant {
        owner: owner(uid),
        tenant: TenantId::new(tenant),
        holders: Holders::default(),
        address: at(address),
        former: None,
        settings: settings(),
        password: plain(password, password),
    }
}

pub fn alias(uid: &str, address: &str, tenant: &str, targets: &[&str]) -> AliasWant {
    let targets = targets.iter().map(|t| at(t)).collect();
    let settings = AliasSettings { targets, send_as: true, display_name: String::new(), active: true };
    AliasWant {
        owner: owner(uid),
        tenant: TenantId::new(tenant),
        holders: Holders::default(),
        address: at(address),
        settings,
    }
}

pub fn ed25519() -> DkimKey {
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let public = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap().public_key().as_ref().to_vec();
    DkimKey {
        algorithm: DkimAlgorithm::Ed25519,
        private_pem: SecretText::new(pem(pair.as_ref())),
        public: STANDARD.encode(public),
    }
}

pub fn rsa() -> DkimKey {
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    DkimKey {
        algorithm: DkimAlgorithm::RSA2048,
        private_pem: SecretText::new(pem(private.as_ref())),
        public: STANDARD.encode(public.as_ref()),
    }
}

fn new_key(algorithm: DkimAlgorithm) -> DkimKey {
    match algorithm {
        DkimAlgorithm::RSA2048 => rsa(),
        DkimAlgorithm::Ed25519 => ed25519(),
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

fn not_found<T: std::fmt::Debug>(r: Result<T>) {
    assert!(matches!(r, Err(BackendError::NotFound(_))), "{r:?}");
}

fn conflict<T: std::fmt::Debug>(r: Result<T>) {
    assert!(matches!(r, Err(BackendError::Conflict(_))), "{r:?}");
}

fn exists<T: std::fmt::Debug>(r: Result<T>, of: Option<&str>) {
    match r {
        Err(BackendError::Exists { owner, .. }) => assert_eq!(owner.as_deref(), of),
        other => panic!("{other:?}"),
    }
}

/// Nobody owns it, and whoever asks is not entitled.
pub fn adoptable<T: std::fmt::Debug>(r: Result<T>) {
    assert!(matches!(r, Err(BackendError::Exists { owner: None, adoptable: true, .. })), "{r:?}");
}

/// All of it. Uses the domains one.test, two.test and kept.test and tenants of their own.
pub async fn conformance(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    let info = facets::examine(b).await.unwrap();
    assert!(!info.version.is_empty());
    assert_eq!(facets::examine(b).await.unwrap(), info);
    says_what_its_facets_do(b, &info).await;
    tenants(b, hooks).await;
    domains(b, hooks).await;
    mailboxes(b, hooks).await;
    passwords(b, hooks).await;
    aliases(b, hooks).await;
    match b.dkim() {
        Some(signer) => keys(b, signer, hooks).await,
        None => {
            assert_eq!(b.read_domain(&name("one.test")).await.unwrap().dkim, [], "keys, and nobody to sign with them")
        }
    }
    removal(b, hooks).await;
    retention(b).await;
    taken_over(b, hooks).await;
}

/// A facet that is not there is no test that is left out: the server says that it lacks it.
async fn says_what_its_facets_do(b: &dyn GroupwareServer, info: &ServerInfo) {
    let probed = b.probe().await.unwrap().capabilities;
    let said: Vec<_> = probed.into_iter().filter(|c| c.is_of_facet()).collect();
    assert_eq!(said, [], "a probe says what only a facet can say");
    let algorithms = b.dkim().map(DkimSigner::algorithms);
    assert_ne!(algorithms, Some([].into()), "a signer that is not set up: it would not be tested");
    for algorithm in [DkimAlgorithm::RSA2048, DkimAlgorithm::Ed25519] {
        let signs = algorithms.as_ref().is_some_and(|all| all.contains(&algorithm));
        assert_eq!(info.capabilities.contains(&algorithm.into()), signs, "{algorithm:?}");
    }
}

/// The signer of a server that has one.
pub fn signer(b: &dyn GroupwareServer) -> &dyn DkimSigner {
    b.dkim().unwrap()
}

async fn tenants(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    let mut want = tenant("t1", "acme");
    let (row, made) = b.ensure_tenant(&want).await.unwrap();
    assert_eq!((made, row.id.as_str(), row.owner.as_deref(), row.active), (Made::Created, "acme", Some("t1"), true));
    let before = hooks.writes().await;
    assert_eq!(b.ensure_tenant(&want).await.unwrap(), (row.clone(), Made::Unchanged));
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    want.storage = 1 << 30;
    (want.address_book, want.redirects) = (AddressBook::Domain, false);
    let (changed, made) = b.ensure_tenant(&want).await.unwrap();
    assert_eq!(
        (made, changed.storage, changed.address_book, changed.redirects),
        (Made::Changed, 1 << 30, AddressBook::Domain, false)
    );
    assert_eq!(b.tenant(&uid("t1")).await.unwrap(), Some(changed));
    assert_eq!(b.tenant(&uid("nobody")).await.unwrap(), None);
    // another object that wants the same id gets the next one
    let (other, _) = b.ensure_tenant(&tenant("t2", "acme")).await.unwrap();
    assert_eq!(other.id, "acme-2");
    b.ensure_tenant(&tenant("t3", "acme")).await.unwrap();
    exists(b.ensure_tenant(&tenant("t4", "acme")).await, None);
    assert_eq!(b.remove_tenant(&uid("t3")).await, Ok(TenantRemoval::Left(Left::Gone)));
    not_found(b.remove_tenant(&uid("t3")).await);
}

async fn domains(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    not_found(b.ensure_domain(&domain("d1", "one.test", "no-such-tenant")).await);
    assert_eq!(b.read_domain(&name("one.test")).await.unwrap(), DomainSnapshot::default());
    let want = domain("d1", "one.test", "acme");
    let (row, made) = b.ensure_domain(&want).await.unwrap();
    assert_eq!((made, row.active, row.tenant.as_deref()), (Made::Created, true, Some("acme")));
    let before = hooks.writes().await;
    assert_eq!(b.ensure_domain(&want).await.unwrap(), (row.clone(), Made::Unchanged));
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    exists(b.ensure_domain(&DomainWant { owner: adopting("d9"), ..want.clone() }).await, Some("d1"));
    // Ids are in statuses, which others may write: whose the tenant is decides.
    let holders =
        |tenant: &str, domain: &str| Holders { tenant: Some(Uid::new(tenant)), domain: Some(Uid::new(domain)) };
    let foreign = DomainWant { holders: holders("t9", "d9"), ..domain("d9", "nine.test", "acme") };
    conflict(b.ensure_domain(&foreign).await);
    let mine = DomainWant { holders: holders("t1", "d9"), ..foreign };
    b.ensure_domain(&mine).await.unwrap();
    b.remove_domain(&Uid::new("d9"), &name("nine.test"), Removal::Destroy).await.unwrap();
    conflict(b.ensure_domain(&DomainWant { tenant: TenantId::new("acme-2"), ..want.clone() }).await);
    assert_eq!(b.read_domain(&name("one.test")).await.unwrap().domain, Some(row));
    // every address of one.test works at two.test too, and then not any more
    let mut second = DomainWant { alias_of: Some(name("one.test")), ..domain("d2", "two.test", "acme") };
    assert_eq!(b.ensure_domain(&second).await.unwrap().0.alias_of.as_deref(), Some("one.test"));
    conflict(b.remove_domain(&uid("d1"), &name("one.test"), Removal::Destroy).await);
    second.alias_of = None;
    assert_eq!(b.ensure_domain(&second).await.unwrap().0.alias_of, None);
    not_found(b.remove_domain(&uid("d9"), &name("one.test"), Removal::Destroy).await);
}

async fn mailboxes(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    not_found(b.ensure_mailbox(&mailbox("m1", "alice@nowhere.test", "acme", "pw")).await);
    conflict(b.ensure_mailbox(&mailbox("m1", "alice@one.test", "acme-2", "pw")).await);
    let refused = b.ensure_mailbox(&mailbox("m1", "Alice@one.test", "acme", "pw")).await;
    assert!(matches!(refused, Err(BackendError::Rejected(_))), "{refused:?}");
    let mut want = mailbox("m1", "alice@one.test", "acme", "pw");
    let (row, made) = b.ensure_mailbox(&want).await.unwrap();
    assert_eq!((made, &row.settings, row.effects_due, row.removing), (Made::Created, &want.settings, false, false));
    assert_eq!((row.password_version.as_deref(), row.password_drifted), (Some("pw"), false));
    let before = hooks.writes().await;
    assert_eq!(b.ensure_mailbox(&want).await.unwrap(), (row.clone(), Made::Unchanged));
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    b.ensure_mailbox(&mailbox("m2", "bob@one.test", "acme", "pw")).await.unwrap();
    // each thing by itself, and back
    let s = settings();
    for changed in [
        MailboxSettings { display_name: "Alice Ä".into(), ..s.clone() },
        MailboxSettings { quota: 10 << 20, ..s.clone() },
        MailboxSettings { login: false, ..s.clone() },
        MailboxSettings { login: false, receive: false, ..s.clone() },
        MailboxSettings { access: Access { imap: false, ..Access::default() }, ..s.clone() },
        MailboxSettings { access: Access { groupware: false, pop3: false, ..Access::default() }, ..s.clone() },
        MailboxSettings { access: Access { sieve: false, submission: false, ..Access::default() }, ..s.clone() },
        MailboxSettings { forward_to: vec![at("bob@one.test"), at("x@ext.test")], ..s.clone() },
        MailboxSettings { forward_to: vec![at("x@ext.test")], keep_copy: false, ..s.clone() },
        s.clone(),
    ] {
        want.settings = changed.clone();
        let (now, made) = b.ensure_mailbox(&want).await.unwrap();
        assert_eq!((made, &now.settings, now.effects_due), (Made::Changed, &changed, false));
        assert_eq!(now.id, row.id);
        assert_eq!(b.ensure_mailbox(&want).await.unwrap(), (now.clone(), Made::Unchanged));
        assert_eq!(b.read_domain(&name("one.test")).await.unwrap().mailboxes["alice@one.test"], now);
    }
    for (tenant, domain) in [("t9", "d1"), ("t1", "d9")] {
        let holders = Holders { tenant: Some(Uid::new(tenant)), domain: Some(Uid::new(domain)) };
        let want = MailboxWant { holders: holders.clone(), ..mailbox("m9", "nine@one.test", "acme", "pw") };
        conflict(b.ensure_mailbox(&want).await);
        conflict(b.ensure_alias(&AliasWant { holders, ..alias("a9", "nine@one.test", "acme", &["a@one.test"]) }).await);
    }
    exists(b.ensure_mailbox(&MailboxWant { owner: adopting("m9"), ..want.clone() }).await, Some("m1"));
    // made again after it vanished: the same one, if nobody is it by now
    let bob = b.read_domain(&name("one.test")).await.unwrap().mailboxes["bob@one.test"].id.clone();
    for (former, same) in [(Some(row.id.clone()), true), (Some(bob.clone()), false), (Some("../x".into()), false)] {
        hooks.lose_mailbox("alice@one.test").await;
        let (again, made) = b.ensure_mailbox(&MailboxWant { former: former.clone(), ..want.clone() }).await.unwrap();
        assert_eq!((made, again.id == row.id), (Made::Created, same), "{former:?}");
        assert!(same || Some(&again.id) != former.as_ref(), "{former:?}");
    }
    // of one that is there it changes nothing
    let kept = MailboxWant { former: Some(row.id.clone()), ..want.clone() };
    assert_eq!(b.ensure_mailbox(&kept).await.unwrap().1, Made::Unchanged);
    assert_eq!(b.read_domain(&name("one.test")).await.unwrap().mailboxes.len(), 2);
}

async fn passwords(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    let mut want = mailbox("m1", "alice@one.test", "acme", "pw");
    hooks.change_password("alice@one.test").await;
    let (row, made) = b.ensure_mailbox(&want).await.unwrap();
    assert_eq!((made, row.password_drifted), (Made::Unchanged, true), "a user's own change stays");
    // the same declared text under another token: noted, and the user's change stays
    want.password = plain("pw", "v2");
    let (row, _) = b.ensure_mailbox(&want).await.unwrap();
    assert_eq!((row.password_version.as_deref(), row.password_drifted), (Some("v2"), true));
    // Enforce puts it back
    want.password =
        PasswordWant::Plain { text: SecretText::new("pw"), generated: true, version: "v2".into(), force: true };
    let (row, made) = b.ensure_mailbox(&want).await.unwrap();
    assert_eq!((made, row.password_drifted), (Made::Changed, false));
    let before = hooks.writes().await;
    assert_eq!(b.ensure_mailbox(&want).await.unwrap().1, Made::Unchanged);
    assert_eq!(hooks.writes().await, before, "enforcing what is there writes");
    want.password = PasswordWant::Keep;
    assert_eq!(b.ensure_mailbox(&want).await.unwrap().1, Made::Unchanged);
    want.password = PasswordWant::Hash { text: SecretText::new("plain text"), version: "v3".into(), force: false };
    let refused = b.ensure_mailbox(&want).await;
    assert!(matches!(refused, Err(BackendError::Rejected(_))), "{refused:?}");
}

async fn aliases(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    let mut want = alias("a1", "info@one.test", "acme", &["bob@one.test", "alice@one.test", "bob@one.test"]);
    let (row, made) = b.ensure_alias(&want).await.unwrap();
    assert_eq!((made, row.effects_due), (Made::Created, false));
    assert_eq!(row.settings.targets, ["alice@one.test", "bob@one.test"]);
    let before = hooks.writes().await;
    assert_eq!(b.ensure_alias(&want).await.unwrap(), (row, Made::Unchanged));
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    assert_eq!(b.aliases_to(&at("bob@one.test")).await.unwrap(), ["info@one.test"]);
    want.settings.targets = vec![at("alice@one.test")];
    want.settings.send_as = false;
    let (row, made) = b.ensure_alias(&want).await.unwrap();
    assert_eq!((made, &row.settings), (Made::Changed, &want.settings));
    assert_eq!(b.aliases_to(&at("bob@one.test")).await.unwrap(), Vec::<Address>::new());
    // one address is one thing
    exists(b.ensure_alias(&alias("a2", "alice@one.test", "acme", &["bob@one.test"])).await, Some("m1"));
    exists(b.ensure_mailbox(&mailbox("m3", "info@one.test", "acme", "pw")).await, Some("a1"));
    exists(b.ensure_alias(&AliasWant { owner: adopting("a2"), ..want.clone() }).await, Some("a1"));
    not_found(b.ensure_alias(&alias("a2", "x@nowhere.test", "acme", &["bob@one.test"])).await);
    conflict(b.ensure_alias(&alias("a2", "x@one.test", "acme-2", &["bob@one.test"])).await);
    // catch-all
    let (all, _) = b.ensure_alias(&alias("a3", "@one.test", "acme", &["bob@one.test"])).await.unwrap();
    let snapshot = b.read_domain(&name("one.test")).await.unwrap();
    assert_eq!(snapshot.aliases.keys().collect::<Vec<_>>(), ["@one.test", "info@one.test"]);
    assert_eq!(snapshot.aliases["@one.test"], all);
}

async fn keys(b: &dyn GroupwareServer, signer: &dyn DkimSigner, hooks: &dyn Hooks) {
    let algorithms = signer.algorithms();
    let algorithm = *algorithms.first().unwrap();
    for other in [DkimAlgorithm::RSA2048, DkimAlgorithm::Ed25519].iter().filter(|a| !algorithms.contains(a)) {
        let refused = signer.ensure_dkim_key(&uid("d1"), &name("one.test"), &selector("x"), &new_key(*other)).await;
        assert!(matches!(refused, Err(BackendError::Unsupported(_))), "{refused:?}");
    }
    not_found(signer.ensure_dkim_key(&uid("d9"), &name("one.test"), &selector("r1"), &new_key(algorithm)).await);
    let key = new_key(algorithm);
    let row = signer.ensure_dkim_key(&uid("d1"), &name("one.test"), &selector("r1"), &key).await.unwrap();
    assert_eq!((row.algorithm, &row.public, row.active), (algorithm, &key.public, false));
    assert_eq!(row.owner.as_deref(), Some("d1"));
    let before = hooks.writes().await;
    assert_eq!(
        signer.ensure_dkim_key(&uid("d1"), &name("one.test"), &selector("r1"), &new_key(algorithm)).await.unwrap(),
        row,
        "a key that is there stays"
    );
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    signer.sign_with(&uid("d1"), &name("one.test"), std::slice::from_ref(&row)).await.unwrap();
    signer.ensure_dkim_key(&uid("d1"), &name("one.test"), &selector("r10"), &new_key(algorithm)).await.unwrap();
    let second = new_key(algorithm);
    let second = signer.ensure_dkim_key(&uid("d1"), &name("one.test"), &selector("r2"), &second).await.unwrap();
    let made: Vec<_> = b.read_domain(&name("one.test")).await.unwrap().dkim.into_iter().map(|k| k.selector).collect();
    assert_eq!(made, ["r1", "r10", "r2"], "in the order in which they were made");
    signer.remove_dkim_key(&uid("d1"), &name("one.test"), &selector("r10")).await.unwrap();
    let active = async || -> Vec<Selector> {
        let all = b.read_domain(&name("one.test")).await.unwrap().dkim;
        all.into_iter().filter(|k| k.active).map(|k| k.selector).collect()
    };
    assert_eq!(active().await, ["r1"]);
    // In another database a key may have the same selector, and the record that was published is not its own.
    let other = DkimRow { public: new_key(algorithm).public, ..second.clone() };
    not_found(signer.sign_with(&uid("d1"), &name("one.test"), &[other]).await);
    assert_eq!(active().await, ["r1"], "what signed goes on");
    signer.sign_with(&uid("d1"), &name("one.test"), std::slice::from_ref(&second)).await.unwrap();
    assert_eq!(active().await, ["r2"]);
    let before = hooks.writes().await;
    signer.sign_with(&uid("d1"), &name("one.test"), &[second]).await.unwrap();
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    signer.remove_dkim_key(&uid("d1"), &name("one.test"), &selector("r1")).await.unwrap();
    signer.remove_dkim_key(&uid("d1"), &name("one.test"), &selector("r1")).await.unwrap();
    not_found(signer.sign_with(&uid("d1"), &name("one.test"), &[row]).await);
    assert_eq!(b.read_domain(&name("one.test")).await.unwrap().dkim.len(), 1);
}

async fn removal(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    match b.remove_tenant(&uid("t1")).await {
        Ok(TenantRemoval::Holds(domains)) => {
            let named: Vec<_> = domains.iter().map(|d| (d.name.as_str(), d.owner.clone(), d.origin.clone())).collect();
            let of = |name, owner| (name, Some(uid(owner)), Some(origin(owner)));
            assert_eq!(named, [of("one.test", "d1"), of("two.test", "d2")], "the domains that hold it");
        }
        other => panic!("{other:?}"),
    }
    assert!(b.tenant(&uid("t1")).await.unwrap().is_some_and(|t| t.active), "it is as it was");
    conflict(b.remove_domain(&uid("d1"), &name("one.test"), Removal::Destroy).await);
    not_found(b.remove_alias(&uid("a9"), &at("info@one.test"), Removal::Destroy).await);
    not_found(b.disable_mailbox(&uid("m9"), &at("alice@one.test")).await);
    not_found(b.purge_mailbox(&uid("m9"), &at("alice@one.test")).await);
    not_found(b.drop_mailbox(&uid("m9"), &at("alice@one.test")).await);
    not_found(b.release_mailbox(&uid("m9"), &at("alice@one.test")).await);
    conflict(b.purge_mailbox(&uid("m1"), &at("alice@one.test")).await);
    conflict(b.drop_mailbox(&uid("m1"), &at("alice@one.test")).await);
    for (owner, address) in [("a1", "info@one.test"), ("a3", "@one.test")] {
        b.remove_alias(&uid(owner), &at(address), Removal::Destroy).await.unwrap();
        not_found(b.remove_alias(&uid(owner), &at(address), Removal::Destroy).await);
    }
    let id = b.read_domain(&name("one.test")).await.unwrap().mailboxes["alice@one.test"].id.clone();
    b.disable_mailbox(&uid("m1"), &at("alice@one.test")).await.unwrap();
    let row = b.read_domain(&name("one.test")).await.unwrap().mailboxes["alice@one.test"].clone();
    assert!(row.removing && !row.settings.login && !row.settings.receive);
    conflict(b.ensure_mailbox(&mailbox("m1", "alice@one.test", "acme", "pw")).await);
    let before = hooks.writes().await;
    b.disable_mailbox(&uid("m1"), &at("alice@one.test")).await.unwrap();
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    b.purge_mailbox(&uid("m1"), &at("alice@one.test")).await.unwrap();
    b.purge_mailbox(&uid("m1"), &at("alice@one.test")).await.unwrap();
    b.drop_mailbox(&uid("m1"), &at("alice@one.test")).await.unwrap();
    not_found(b.drop_mailbox(&uid("m1"), &at("alice@one.test")).await);
    not_found(b.purge_mailbox(&uid("m1"), &at("alice@one.test")).await);
    let (again, made) = b.ensure_mailbox(&mailbox("m4", "alice@one.test", "acme", "pw")).await.unwrap();
    assert_eq!(made, Made::Created);
    assert_ne!(again.id, id, "an id is never used again");
    for (owner, address) in [("m4", "alice@one.test"), ("m2", "bob@one.test")] {
        b.disable_mailbox(&uid(owner), &at(address)).await.unwrap();
        b.purge_mailbox(&uid(owner), &at(address)).await.unwrap();
        b.drop_mailbox(&uid(owner), &at(address)).await.unwrap();
    }
    for (owner, domain) in [("d1", "one.test"), ("d2", "two.test")] {
        assert_eq!(b.remove_domain(&uid(owner), &name(domain), Removal::Destroy).await, Ok(Left::Gone));
        not_found(b.remove_domain(&uid(owner), &name(domain), Removal::Destroy).await);
    }
    assert_eq!(b.read_domain(&name("one.test")).await.unwrap(), DomainSnapshot::default());
    for owner in ["t1", "t2"] {
        assert_eq!(b.remove_tenant(&uid(owner)).await, Ok(TenantRemoval::Left(Left::Gone)));
    }
}

async fn retention(b: &dyn GroupwareServer) {
    b.ensure_tenant(&tenant("t5", "kept")).await.unwrap();
    b.ensure_domain(&domain("d5", "kept.test", "kept")).await.unwrap();
    let (row, _) = b.ensure_mailbox(&mailbox("m5", "carol@kept.test", "kept", "pw")).await.unwrap();
    b.ensure_alias(&alias("a5", "office@kept.test", "kept", &["carol@kept.test"])).await.unwrap();
    b.remove_alias(&uid("a5"), &at("office@kept.test"), Removal::Keep).await.unwrap();
    not_found(b.remove_alias(&uid("a5"), &at("office@kept.test"), Removal::Keep).await);
    b.release_mailbox(&uid("m5"), &at("carol@kept.test")).await.unwrap();
    not_found(b.release_mailbox(&uid("m5"), &at("carol@kept.test")).await);
    let kept = b.read_domain(&name("kept.test")).await.unwrap();
    let m = &kept.mailboxes["carol@kept.test"];
    assert!(m.owner.is_none() && !m.settings.login && !m.settings.receive && m.id == row.id);
    assert!(kept.aliases["office@kept.test"].owner.is_none() && !kept.aliases["office@kept.test"].settings.active);
    assert_eq!(b.remove_domain(&uid("d5"), &name("kept.test"), Removal::Destroy).await, Ok(Left::Kept(2)));
    assert_eq!(b.remove_tenant(&uid("t5")).await, Ok(TenantRemoval::Left(Left::Kept(1))));
    not_found(b.remove_tenant(&uid("t5")).await);
    let domain_row = b.read_domain(&name("kept.test")).await.unwrap().domain.unwrap();
    assert!(domain_row.owner.is_none() && !domain_row.active);
    // a tenant of another place does not get it, and neither does one that does not ask
    let another = TenantWant { owner: adopting("t6"), ..tenant("t6", "kept") };
    assert_eq!(b.ensure_tenant(&another).await.unwrap().0.id, "kept-2");
    for owner in [adopting("d6"), keeping("d6")] {
        // Nobody who asks in another tenant is told that it could be had.
        let stolen = b.ensure_domain(&DomainWant { owner, ..domain("d6", "kept.test", "kept-2") }).await;
        assert!(matches!(stolen, Err(BackendError::Exists { owner: None, adoptable: false, .. })), "{stolen:?}");
    }
    // the same place, asking, gets all of it back
    let back = TenantWant { owner: Owner { origin: origin("t5"), ..keeping("t7") }, ..tenant("t7", "kept") };
    let (t, made) = b.ensure_tenant(&back).await.unwrap();
    assert_eq!((made, t.id.as_str(), t.adopted, t.active), (Made::Adopted, "kept", true, true));
    exists(b.ensure_domain(&domain("d7", "kept.test", "kept")).await, None);
    adoptable(b.ensure_domain(&DomainWant { owner: stranger("d7"), ..domain("d7", "kept.test", "kept") }).await);
    let (d, made) =
        b.ensure_domain(&DomainWant { owner: keeping("d7"), ..domain("d7", "kept.test", "kept") }).await.unwrap();
    assert_eq!((made, d.adopted, d.active), (Made::Adopted, true, true));
    exists(b.ensure_mailbox(&mailbox("m7", "carol@kept.test", "kept", "pw2")).await, None);
    let want = MailboxWant { owner: stranger("m7"), ..mailbox("m7", "carol@kept.test", "kept", "pw2") };
    adoptable(b.ensure_mailbox(&want).await);
    let want = MailboxWant { owner: keeping("m7"), ..want };
    let (m, made) = b.ensure_mailbox(&want).await.unwrap();
    assert_eq!((made, m.adopted, &m.id, &m.settings), (Made::Adopted, true, &row.id, &settings()));
    exists(b.ensure_alias(&alias("a7", "office@kept.test", "kept", &["carol@kept.test"])).await, None);
    let want = AliasWant { owner: stranger("a7"), ..alias("a7", "office@kept.test", "kept", &["carol@kept.test"]) };
    adoptable(b.ensure_alias(&want).await);
    let want = AliasWant { owner: keeping("a7"), ..want };
    assert_eq!(b.ensure_alias(&want).await.unwrap().1, Made::Adopted);
    b.remove_alias(&uid("a7"), &at("office@kept.test"), Removal::Destroy).await.unwrap();
    b.disable_mailbox(&uid("m7"), &at("carol@kept.test")).await.unwrap();
    b.purge_mailbox(&uid("m7"), &at("carol@kept.test")).await.unwrap();
    b.drop_mailbox(&uid("m7"), &at("carol@kept.test")).await.unwrap();
    assert_eq!(b.remove_domain(&uid("d7"), &name("kept.test"), Removal::Destroy).await, Ok(Left::Gone));
    assert_eq!(b.remove_tenant(&uid("t7")).await, Ok(TenantRemoval::Left(Left::Gone)));
    assert_eq!(b.remove_tenant(&uid("t6")).await, Ok(TenantRemoval::Left(Left::Gone)));
}

/// An object of the same place with another uid takes over what a dead one had, if it is told whom it replaces (I14).
async fn taken_over(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    let lost = name("lost.test");
    b.ensure_tenant(&tenant("t8", "lost")).await.unwrap();
    b.ensure_domain(&domain("d8", "lost.test", "lost")).await.unwrap();
    let (row, _) = b.ensure_mailbox(&mailbox("m8", "dora@lost.test", "lost", "pw")).await.unwrap();
    b.ensure_alias(&alias("a8", "desk@lost.test", "lost", &["dora@lost.test"])).await.unwrap();
    if let Some(signer) = b.dkim() {
        let key = new_key(*signer.algorithms().first().unwrap());
        let key = signer.ensure_dkim_key(&uid("d8"), &lost, &selector("k1"), &key).await.unwrap();
        signer.sign_with(&uid("d8"), &lost, &[key]).await.unwrap();
    }
    hooks.change_password("dora@lost.test").await;
    let before = b.read_domain(&lost).await.unwrap();
    for of in [&before.domain.as_ref().unwrap().origin, &before.mailboxes["dora@lost.test"].origin] {
        assert!(of.is_some(), "nobody noted where the owner stands");
    }
    // the same place, and whom it replaces
    let again = |new: &str, old: &str, replaces: Option<&str>| Owner {
        origin: origin(old),
        replaces: replaces.map(uid),
        ..adopting(new)
    };
    let of = |owner: Owner| TenantWant { owner, ..tenant("t9", "lost") };
    let writes = hooks.writes().await;
    // no second tenant is made, and the answer says whose it was
    match b.ensure_tenant(&of(again("t9", "t8", None))).await {
        Err(BackendError::Exists { owner, origin: place, .. }) => {
            assert_eq!((owner, place.as_deref()), (Some(uid("t8")), Some(&origin("t8"))));
        }
        other => panic!("{other:?}"),
    }
    exists(b.ensure_tenant(&of(again("t9", "t8", Some("t7")))).await, Some("t8"));
    assert_eq!(hooks.writes().await, writes, "a refusal writes");
    let (t, made) = b.ensure_tenant(&of(again("t9", "t8", Some("t8")))).await.unwrap();
    assert_eq!((made, t.id.as_str(), t.adopted, t.owner), (Made::TakenOver, "lost", false, Some(uid("t9"))));
    assert_eq!(b.ensure_tenant(&of(again("t9", "t8", None))).await.unwrap().1, Made::Unchanged);

    let want = |replaces| DomainWant { owner: again("d9", "d8", replaces), ..domain("d9", "lost.test", "lost") };
    exists(b.ensure_domain(&want(None)).await, Some("d8"));
    exists(b.ensure_domain(&DomainWant { owner: again("d9", "else", Some("d8")), ..want(None) }).await, Some("d8"));
    assert_eq!(b.ensure_domain(&want(Some("d8"))).await.unwrap().1, Made::TakenOver);
    let after = b.read_domain(&lost).await.unwrap();
    let keys = |all: &DomainSnapshot| all.dkim.iter().map(|k| (k.selector.clone(), k.active)).collect::<Vec<_>>();
    assert_eq!(keys(&after), keys(&before), "mail is signed as before");
    assert!(after.dkim.iter().all(|k| k.owner == Some(uid("d9"))));

    let want = |replaces| MailboxWant {
        owner: again("m9", "m8", replaces),
        password: plain("another", "v9"),
        ..mailbox("m9", "dora@lost.test", "lost", "pw")
    };
    exists(b.ensure_mailbox(&want(None)).await, Some("m8"));
    let (m, made) = b.ensure_mailbox(&want(Some("m8"))).await.unwrap();
    assert_eq!((made, &m.id, m.adopted, m.password_version.as_deref()), (Made::TakenOver, &row.id, false, Some("v9")));
    assert!(m.password_drifted, "the user's own password was written over");
    assert_eq!(b.ensure_mailbox(&want(None)).await.unwrap().1, Made::Unchanged);

    let want = |replaces| AliasWant {
        owner: again("a9", "a8", replaces),
        ..alias("a9", "desk@lost.test", "lost", &["dora@lost.test"])
    };
    exists(b.ensure_alias(&want(None)).await, Some("a8"));
    assert_eq!(b.ensure_alias(&want(Some("a8"))).await.unwrap().1, Made::TakenOver);
    assert_eq!(b.ensure_alias(&want(None)).await.unwrap().1, Made::Unchanged);

    // the old owner has nothing any more; the new one takes it down
    not_found(b.remove_alias(&uid("a8"), &at("desk@lost.test"), Removal::Destroy).await);
    not_found(b.disable_mailbox(&uid("m8"), &at("dora@lost.test")).await);
    b.remove_alias(&uid("a9"), &at("desk@lost.test"), Removal::Destroy).await.unwrap();
    b.disable_mailbox(&uid("m9"), &at("dora@lost.test")).await.unwrap();
    b.purge_mailbox(&uid("m9"), &at("dora@lost.test")).await.unwrap();
    b.drop_mailbox(&uid("m9"), &at("dora@lost.test")).await.unwrap();
    assert_eq!(b.remove_domain(&uid("d9"), &lost, Removal::Destroy).await, Ok(Left::Gone));
    assert_eq!(b.remove_tenant(&uid("t9")).await, Ok(TenantRemoval::Left(Left::Gone)));
}
