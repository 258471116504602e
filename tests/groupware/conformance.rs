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

pub fn owner(uid: &str) -> Owner {
    Owner { uid: uid.into(), adopt: false }
}

pub fn adopting(uid: &str) -> Owner {
    Owner { uid: uid.into(), adopt: true }
}

pub fn tenant(uid: &str, id: &str) -> TenantWant {
    TenantWant {
        owner: owner(uid),
        origin: format!("ns/{id}"),
        ids: vec![id.into(), format!("{id}-2"), format!("{id}-3")],
        storage: 0,
        address_book: AddressBook::Instance,
        redirects: true,
    }
}

pub fn domain(uid: &str, name: &str, tenant: &str) -> DomainWant {
    DomainWant { owner: owner(uid), name: name.into(), tenant: tenant.into(), alias_of: None }
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
        tenant: tenant.into(),
        address: address.into(),
        former: None,
        settings: settings(),
        password: plain(password, password),
    }
}

pub fn alias(uid: &str, address: &str, tenant: &str, targets: &[&str]) -> AliasWant {
    let targets = targets.iter().map(|t| (*t).to_owned()).collect();
    let settings = AliasSettings { targets, send_as: true, display_name: String::new(), active: true };
    AliasWant { owner: owner(uid), tenant: tenant.into(), address: address.into(), settings }
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

/// All of it. Uses the domains one.test, two.test and kept.test and tenants of their own.
pub async fn conformance(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    let info = b.probe().await.unwrap();
    assert!(!info.version.is_empty());
    assert_eq!(b.probe().await.unwrap(), info);
    tenants(b, hooks).await;
    domains(b, hooks).await;
    mailboxes(b, hooks).await;
    passwords(b, hooks).await;
    aliases(b, hooks).await;
    keys(b, hooks).await;
    removal(b, hooks).await;
    retention(b).await;
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
    assert_eq!(b.tenant("t1").await.unwrap(), Some(changed));
    assert_eq!(b.tenant("nobody").await.unwrap(), None);
    // another object that wants the same id gets the next one
    let (other, _) = b.ensure_tenant(&tenant("t2", "acme")).await.unwrap();
    assert_eq!(other.id, "acme-2");
    b.ensure_tenant(&tenant("t3", "acme")).await.unwrap();
    exists(b.ensure_tenant(&tenant("t4", "acme")).await, None);
    assert_eq!(b.remove_tenant("t3").await, Ok(Left::Gone));
    not_found(b.remove_tenant("t3").await);
}

async fn domains(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    not_found(b.ensure_domain(&domain("d1", "one.test", "no-such-tenant")).await);
    assert_eq!(b.read_domain("one.test").await.unwrap(), DomainSnapshot::default());
    let want = domain("d1", "one.test", "acme");
    let (row, made) = b.ensure_domain(&want).await.unwrap();
    assert_eq!((made, row.active, row.tenant.as_deref()), (Made::Created, true, Some("acme")));
    let before = hooks.writes().await;
    assert_eq!(b.ensure_domain(&want).await.unwrap(), (row.clone(), Made::Unchanged));
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    exists(b.ensure_domain(&DomainWant { owner: adopting("d9"), ..want.clone() }).await, Some("d1"));
    conflict(b.ensure_domain(&DomainWant { tenant: "acme-2".into(), ..want.clone() }).await);
    assert_eq!(b.read_domain("one.test").await.unwrap().domain, Some(row));
    // every address of one.test works at two.test too, and then not any more
    let mut second = DomainWant { alias_of: Some("one.test".into()), ..domain("d2", "two.test", "acme") };
    assert_eq!(b.ensure_domain(&second).await.unwrap().0.alias_of.as_deref(), Some("one.test"));
    conflict(b.remove_domain("d1", "one.test", Removal::Destroy).await);
    second.alias_of = None;
    assert_eq!(b.ensure_domain(&second).await.unwrap().0.alias_of, None);
    not_found(b.remove_domain("d9", "one.test", Removal::Destroy).await);
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
        MailboxSettings { forward_to: vec!["bob@one.test".into(), "x@ext.test".into()], ..s.clone() },
        MailboxSettings { forward_to: vec!["x@ext.test".into()], keep_copy: false, ..s.clone() },
        s.clone(),
    ] {
        want.settings = changed.clone();
        let (now, made) = b.ensure_mailbox(&want).await.unwrap();
        assert_eq!((made, &now.settings, now.effects_due), (Made::Changed, &changed, false));
        assert_eq!(now.id, row.id);
        assert_eq!(b.ensure_mailbox(&want).await.unwrap(), (now.clone(), Made::Unchanged));
        assert_eq!(b.read_domain("one.test").await.unwrap().mailboxes["alice@one.test"], now);
    }
    exists(b.ensure_mailbox(&MailboxWant { owner: adopting("m9"), ..want.clone() }).await, Some("m1"));
    // made again after it vanished: the same one, if nobody is it by now
    let bob = b.read_domain("one.test").await.unwrap().mailboxes["bob@one.test"].id.clone();
    for (former, same) in [(Some(row.id.clone()), true), (Some(bob.clone()), false), (Some("../x".into()), false)] {
        hooks.lose_mailbox("alice@one.test").await;
        let (again, made) = b.ensure_mailbox(&MailboxWant { former: former.clone(), ..want.clone() }).await.unwrap();
        assert_eq!((made, again.id == row.id), (Made::Created, same), "{former:?}");
        assert!(same || Some(&again.id) != former.as_ref(), "{former:?}");
    }
    // of one that is there it changes nothing
    let kept = MailboxWant { former: Some(row.id.clone()), ..want.clone() };
    assert_eq!(b.ensure_mailbox(&kept).await.unwrap().1, Made::Unchanged);
    assert_eq!(b.read_domain("one.test").await.unwrap().mailboxes.len(), 2);
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
    assert_eq!(b.aliases_to("bob@one.test").await.unwrap(), ["info@one.test"]);
    want.settings.targets = vec!["alice@one.test".into()];
    want.settings.send_as = false;
    let (row, made) = b.ensure_alias(&want).await.unwrap();
    assert_eq!((made, &row.settings), (Made::Changed, &want.settings));
    assert_eq!(b.aliases_to("bob@one.test").await.unwrap(), Vec::<String>::new());
    // one address is one thing
    exists(b.ensure_alias(&alias("a2", "alice@one.test", "acme", &["bob@one.test"])).await, Some("m1"));
    exists(b.ensure_mailbox(&mailbox("m3", "info@one.test", "acme", "pw")).await, Some("a1"));
    exists(b.ensure_alias(&AliasWant { owner: adopting("a2"), ..want.clone() }).await, Some("a1"));
    not_found(b.ensure_alias(&alias("a2", "x@nowhere.test", "acme", &["bob@one.test"])).await);
    conflict(b.ensure_alias(&alias("a2", "x@one.test", "acme-2", &["bob@one.test"])).await);
    // catch-all
    let (all, _) = b.ensure_alias(&alias("a3", "@one.test", "acme", &["bob@one.test"])).await.unwrap();
    let snapshot = b.read_domain("one.test").await.unwrap();
    assert_eq!(snapshot.aliases.keys().collect::<Vec<_>>(), ["@one.test", "info@one.test"]);
    assert_eq!(snapshot.aliases["@one.test"], all);
}

async fn keys(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    not_found(b.ensure_dkim_key("d9", "one.test", "r1", &rsa()).await);
    let key = rsa();
    let row = b.ensure_dkim_key("d1", "one.test", "r1", &key).await.unwrap();
    assert_eq!((row.algorithm, &row.public, row.active), (DkimAlgorithm::RSA2048, &key.public, false));
    assert_eq!(row.owner.as_deref(), Some("d1"));
    let before = hooks.writes().await;
    assert_eq!(b.ensure_dkim_key("d1", "one.test", "r1", &rsa()).await.unwrap(), row, "a key that is there stays");
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    b.sign_with("d1", "one.test", &["r1".into()]).await.unwrap();
    b.ensure_dkim_key("d1", "one.test", "r10", &rsa()).await.unwrap();
    b.ensure_dkim_key("d1", "one.test", "r2", &rsa()).await.unwrap();
    let made: Vec<_> = b.read_domain("one.test").await.unwrap().dkim.into_iter().map(|k| k.selector).collect();
    assert_eq!(made, ["r1", "r10", "r2"], "in the order in which they were made");
    b.remove_dkim_key("d1", "one.test", "r10").await.unwrap();
    let active = async || -> Vec<String> {
        let all = b.read_domain("one.test").await.unwrap().dkim;
        all.into_iter().filter(|k| k.active).map(|k| k.selector).collect()
    };
    assert_eq!(active().await, ["r1"]);
    b.sign_with("d1", "one.test", &["r2".into()]).await.unwrap();
    assert_eq!(active().await, ["r2"]);
    let before = hooks.writes().await;
    b.sign_with("d1", "one.test", &["r2".into()]).await.unwrap();
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    b.remove_dkim_key("d1", "one.test", "r1").await.unwrap();
    b.remove_dkim_key("d1", "one.test", "r1").await.unwrap();
    not_found(b.sign_with("d1", "one.test", &["r1".into()]).await);
    assert_eq!(b.read_domain("one.test").await.unwrap().dkim.len(), 1);
}

async fn removal(b: &dyn GroupwareServer, hooks: &dyn Hooks) {
    conflict(b.remove_tenant("t1").await);
    conflict(b.remove_domain("d1", "one.test", Removal::Destroy).await);
    not_found(b.remove_alias("a9", "info@one.test", Removal::Destroy).await);
    not_found(b.disable_mailbox("m9", "alice@one.test").await);
    not_found(b.purge_mailbox("m9", "alice@one.test").await);
    not_found(b.drop_mailbox("m9", "alice@one.test").await);
    not_found(b.release_mailbox("m9", "alice@one.test").await);
    conflict(b.purge_mailbox("m1", "alice@one.test").await);
    conflict(b.drop_mailbox("m1", "alice@one.test").await);
    for (uid, address) in [("a1", "info@one.test"), ("a3", "@one.test")] {
        b.remove_alias(uid, address, Removal::Destroy).await.unwrap();
        not_found(b.remove_alias(uid, address, Removal::Destroy).await);
    }
    let id = b.read_domain("one.test").await.unwrap().mailboxes["alice@one.test"].id.clone();
    b.disable_mailbox("m1", "alice@one.test").await.unwrap();
    let row = b.read_domain("one.test").await.unwrap().mailboxes["alice@one.test"].clone();
    assert!(row.removing && !row.settings.login && !row.settings.receive);
    conflict(b.ensure_mailbox(&mailbox("m1", "alice@one.test", "acme", "pw")).await);
    let before = hooks.writes().await;
    b.disable_mailbox("m1", "alice@one.test").await.unwrap();
    assert_eq!(hooks.writes().await, before, "a repeat writes");
    b.purge_mailbox("m1", "alice@one.test").await.unwrap();
    b.purge_mailbox("m1", "alice@one.test").await.unwrap();
    b.drop_mailbox("m1", "alice@one.test").await.unwrap();
    not_found(b.drop_mailbox("m1", "alice@one.test").await);
    not_found(b.purge_mailbox("m1", "alice@one.test").await);
    let (again, made) = b.ensure_mailbox(&mailbox("m4", "alice@one.test", "acme", "pw")).await.unwrap();
    assert_eq!(made, Made::Created);
    assert_ne!(again.id, id, "an id is never used again");
    for (uid, address) in [("m4", "alice@one.test"), ("m2", "bob@one.test")] {
        b.disable_mailbox(uid, address).await.unwrap();
        b.purge_mailbox(uid, address).await.unwrap();
        b.drop_mailbox(uid, address).await.unwrap();
    }
    for (uid, name) in [("d1", "one.test"), ("d2", "two.test")] {
        assert_eq!(b.remove_domain(uid, name, Removal::Destroy).await, Ok(Left::Gone));
        not_found(b.remove_domain(uid, name, Removal::Destroy).await);
    }
    assert_eq!(b.read_domain("one.test").await.unwrap(), DomainSnapshot::default());
    for uid in ["t1", "t2"] {
        assert_eq!(b.remove_tenant(uid).await, Ok(Left::Gone));
    }
}

async fn retention(b: &dyn GroupwareServer) {
    b.ensure_tenant(&tenant("t5", "kept")).await.unwrap();
    b.ensure_domain(&domain("d5", "kept.test", "kept")).await.unwrap();
    let (row, _) = b.ensure_mailbox(&mailbox("m5", "carol@kept.test", "kept", "pw")).await.unwrap();
    b.ensure_alias(&alias("a5", "office@kept.test", "kept", &["carol@kept.test"])).await.unwrap();
    b.remove_alias("a5", "office@kept.test", Removal::Keep).await.unwrap();
    not_found(b.remove_alias("a5", "office@kept.test", Removal::Keep).await);
    b.release_mailbox("m5", "carol@kept.test").await.unwrap();
    not_found(b.release_mailbox("m5", "carol@kept.test").await);
    let kept = b.read_domain("kept.test").await.unwrap();
    let m = &kept.mailboxes["carol@kept.test"];
    assert!(m.owner.is_none() && !m.settings.login && !m.settings.receive && m.id == row.id);
    assert!(kept.aliases["office@kept.test"].owner.is_none() && !kept.aliases["office@kept.test"].settings.active);
    assert_eq!(b.remove_domain("d5", "kept.test", Removal::Destroy).await, Ok(Left::Kept(2)));
    assert_eq!(b.remove_tenant("t5").await, Ok(Left::Kept(1)));
    not_found(b.remove_tenant("t5").await);
    let domain_row = b.read_domain("kept.test").await.unwrap().domain.unwrap();
    assert!(domain_row.owner.is_none() && !domain_row.active);
    // a tenant of another place does not get it, and neither does one that does not ask
    let stranger = TenantWant { owner: adopting("t6"), origin: "other/kept".into(), ..tenant("t6", "kept") };
    assert_eq!(b.ensure_tenant(&stranger).await.unwrap().0.id, "kept-2");
    exists(b.ensure_domain(&DomainWant { owner: adopting("d6"), ..domain("d6", "kept.test", "kept-2") }).await, None);
    // the same place, asking, gets all of it back
    let back = TenantWant { owner: adopting("t7"), ..tenant("t7", "kept") };
    let (t, made) = b.ensure_tenant(&back).await.unwrap();
    assert_eq!((made, t.id.as_str(), t.adopted, t.active), (Made::Adopted, "kept", true, true));
    exists(b.ensure_domain(&domain("d7", "kept.test", "kept")).await, None);
    let (d, made) =
        b.ensure_domain(&DomainWant { owner: adopting("d7"), ..domain("d7", "kept.test", "kept") }).await.unwrap();
    assert_eq!((made, d.adopted, d.active), (Made::Adopted, true, true));
    exists(b.ensure_mailbox(&mailbox("m7", "carol@kept.test", "kept", "pw2")).await, None);
    let want = MailboxWant { owner: adopting("m7"), ..mailbox("m7", "carol@kept.test", "kept", "pw2") };
    let (m, made) = b.ensure_mailbox(&want).await.unwrap();
    assert_eq!((made, m.adopted, &m.id, &m.settings), (Made::Adopted, true, &row.id, &settings()));
    exists(b.ensure_alias(&alias("a7", "office@kept.test", "kept", &["carol@kept.test"])).await, None);
    let want = AliasWant { owner: adopting("a7"), ..alias("a7", "office@kept.test", "kept", &["carol@kept.test"]) };
    assert_eq!(b.ensure_alias(&want).await.unwrap().1, Made::Adopted);
    b.remove_alias("a7", "office@kept.test", Removal::Destroy).await.unwrap();
    b.disable_mailbox("m7", "carol@kept.test").await.unwrap();
    b.purge_mailbox("m7", "carol@kept.test").await.unwrap();
    b.drop_mailbox("m7", "carol@kept.test").await.unwrap();
    assert_eq!(b.remove_domain("d7", "kept.test", Removal::Destroy).await, Ok(Left::Gone));
    assert_eq!(b.remove_tenant("t7").await, Ok(Left::Gone));
    assert_eq!(b.remove_tenant("t6").await, Ok(Left::Gone));
}
