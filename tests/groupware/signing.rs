//! Signing keys of ours beside those of others.

use crate::conformance::*;
use crate::stack::Stack;
use mailtenant_groupware::*;

#[tokio::test]
async fn keys_of_others_stay() {
    let stack = Stack::up();
    let b = stack.backend();
    let sql = stack.sql("groupware").await;
    b.probe().await.unwrap();
    b.ensure_tenant(&tenant("t", "acme")).await.unwrap();
    // one domain is made, one was there
    sql.run("INSERT INTO domain (domain) VALUES ('old.test')").await;
    b.ensure_domain(&domain("new", "new.test", "acme")).await.unwrap();
    b.ensure_domain(&DomainWant { owner: adopting("old"), ..domain("old", "old.test", "acme") }).await.unwrap();
    // each has a key of somebody else, which signs for the domain and for one address
    sql.run(
        "INSERT INTO dkim (domain_name, selector, private_key, public_key) VALUES \
           ('new.test', 'zz', 'theirs', 'MIIB'), ('old.test', 'zz', 'theirs', 'MIIB'); \
         INSERT INTO dkim_signing (author, dkim_id) SELECT domain_name, id FROM dkim; \
         INSERT INTO dkim_signing (author, dkim_id) SELECT 'ceo@' || domain_name, id FROM dkim",
    )
    .await;
    let signs = async |name: &str| {
        sql.texts(&format!(
            "SELECT s.author || ' ' || k.selector FROM dkim_signing s JOIN dkim k ON k.id = s.dkim_id \
             WHERE k.domain_name = '{name}' ORDER BY 1"
        ))
        .await
    };
    let key_of = async |domain: &str, selector: &str| {
        let all = b.read_domain(&name(domain)).await.unwrap().dkim;
        all.into_iter().find(|k| *k.selector == *selector).unwrap()
    };
    for (owner, domain) in [("new", "new.test"), ("old", "old.test")] {
        let taken = signer(&*b).ensure_dkim_key(&uid(owner), &name(domain), &selector("zz"), &rsa()).await;
        assert!(matches!(taken, Err(BackendError::Exists { owner: None, .. })), "{taken:?}");
        signer(&*b).ensure_dkim_key(&uid(owner), &name(domain), &selector("r1"), &rsa()).await.unwrap();
        let rows: Vec<_> =
            b.read_domain(&name(domain)).await.unwrap().dkim.into_iter().map(|k| (k.selector, k.owner)).collect();
        assert_eq!(rows, [(selector("zz"), None), (selector("r1"), Some(uid(owner)))]);
        let theirs = signer(&*b).sign_with(&uid(owner), &name(domain), &[key_of(domain, "zz").await]).await;
        assert!(matches!(theirs, Err(BackendError::NotFound(_))), "{theirs:?}");
    }
    // of the one that we made nothing of theirs is switched off
    let refused = signer(&*b).sign_with(&uid("new"), &name("new.test"), &[key_of("new.test", "r1").await]).await;
    assert!(matches!(refused, Err(BackendError::Exists { owner: None, .. })), "{refused:?}");
    assert_eq!(signs("new.test").await, ["ceo@new.test zz", "new.test zz"]);
    sql.run("DELETE FROM dkim_signing WHERE author = 'new.test'").await;
    signer(&*b).sign_with(&uid("new"), &name("new.test"), &[key_of("new.test", "r1").await]).await.unwrap();
    assert_eq!(signs("new.test").await, ["ceo@new.test zz", "new.test r1"]);
    // the other was taken over with its signing; the key and what an address signs with stay
    signer(&*b).sign_with(&uid("old"), &name("old.test"), &[key_of("old.test", "r1").await]).await.unwrap();
    assert_eq!(signs("old.test").await, ["ceo@old.test zz", "old.test r1"]);
    signer(&*b).sign_with(&uid("old"), &name("old.test"), &[]).await.unwrap();
    assert_eq!(signs("old.test").await, ["ceo@old.test zz"]);
    // and the domain's row, with which the key would go, stays when our object goes
    for (owner, domain) in [("new", "new.test"), ("old", "old.test")] {
        assert_eq!(b.remove_domain(&uid(owner), &name(domain), Removal::Destroy).await, Ok(Left::Kept(1)));
        assert_eq!(sql.texts(&format!("SELECT selector FROM dkim WHERE domain_name = '{domain}'")).await, ["zz"]);
        assert_eq!(signs(domain).await, [format!("ceo@{domain} zz")]);
    }
}
