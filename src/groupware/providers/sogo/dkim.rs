//! Signing keys: rows that opendkim reads with no reload. One opendkim signs with one algorithm and one key per domain,
//! so RSA and Ed25519 have a table and a process each (`config/groupware/sogo/templates/opendkim*.conf.in`).

use super::columns;
use super::db::Conn;
use super::ownership::lock_domain;
use super::*;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailtenant_backend::secret::SecretText;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::Row;

/// Tables that name the keys to sign with.
pub(super) fn signing_tables(f: Features) -> &'static [&'static str] {
    if f.ed25519 { &["dkim_signing", "dkim_signing_ed25519"] } else { &["dkim_signing"] }
}

fn table(algorithm: DkimAlgorithm) -> &'static str {
    match algorithm {
        DkimAlgorithm::RSA2048 => "dkim_signing",
        DkimAlgorithm::Ed25519 => "dkim_signing_ed25519",
    }
}

fn word(algorithm: DkimAlgorithm) -> &'static str {
    match algorithm {
        DkimAlgorithm::RSA2048 => "RSA2048",
        DkimAlgorithm::Ed25519 => "Ed25519",
    }
}

/// The value of `p=`: by itself, as we write it, or inside a record, as others do.
fn public(text: &str) -> String {
    let joined: String = text.chars().filter(|c| !c.is_whitespace() && !"\"()".contains(*c)).collect();
    let tag = joined.split(';').find_map(|t| t.strip_prefix("p="));
    tag.unwrap_or(&joined).to_owned()
}

/// Rows of others say no algorithm: 32 bytes are an Ed25519 key (RFC 8463), anything else is RSA.
fn algorithm(said: Option<&str>, public: &str) -> DkimAlgorithm {
    match said {
        Some("Ed25519") => DkimAlgorithm::Ed25519,
        None if STANDARD.decode(public).is_ok_and(|k| k.len() == 32) => DkimAlgorithm::Ed25519,
        _ => DkimAlgorithm::RSA2048,
    }
}

fn row(r: &Row) -> DkimRow {
    let public = public(r.get::<_, Option<&str>>("public_key").unwrap_or_default());
    let created = r.get::<_, Option<i64>>("created_at").and_then(|s| jiff::Timestamp::from_second(s).ok());
    let algorithm = algorithm(r.get("algorithm"), &public);
    let (selector, owner) = (Selector::new(r.get::<_, String>("selector")), columns::owner(r, "owner"));
    DkimRow { selector, owner, algorithm, public, active: r.get("signs"), created }
}

/// Keys of a domain in the order in which they were made, without their private halves.
pub(super) async fn rows(conn: &mut Conn, f: Features, domain: &DomainName) -> Result<Vec<DkimRow>> {
    let signs: Vec<String> = signing_tables(f)
        .iter()
        .map(|t| format!("EXISTS (SELECT FROM {t} s WHERE s.dkim_id = k.id AND s.author = k.domain_name)"))
        .collect();
    let sql = format!(
        "SELECT k.selector, k.algorithm, k.public_key, ({}) AS signs, k.owner, \
         CASE WHEN isfinite(k.created) THEN extract(epoch FROM k.created)::bigint END AS created_at \
         FROM dkim k WHERE k.domain_name = $1 ORDER BY k.id",
        signs.join(" OR ")
    );
    Ok(conn.query(&sql, &[&domain]).await?.iter().map(row).collect())
}

/// PKCS#8 as OpenSSL 3 reads it: version 1. Ed25519 keys come as version 2 (with the public half) from some makers, and
/// opendkim would defer every mail of the domain.
fn pem(key: &DkimKey) -> Result<SecretText> {
    let bad = || BackendError::Rejected("the signing key is no PKCS#8 PEM".into());
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.private_pem.expose().as_bytes()).map_err(|_| bad())?;
    if key.algorithm == DkimAlgorithm::RSA2048 {
        return Ok(key.private_pem.clone());
    }
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| bad())?;
    let v1 = pair.to_pkcs8v1().map_err(|_| bad())?;
    let body = zeroize::Zeroizing::new(STANDARD.encode(v1.as_ref()));
    Ok(SecretText::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", body.as_str())))
}

impl Sogo {
    fn check_signer(f: Features, algorithm: DkimAlgorithm) -> Result<()> {
        match f.algorithms().contains(&algorithm) {
            true => Ok(()),
            false => Err(BackendError::Unsupported(format!("signing with {} keys", word(algorithm)))),
        }
    }
}

/// Where the tables of a signer are missing it signs with nothing.
#[async_trait]
impl DkimSigner for Sogo {
    fn algorithms(&self) -> BTreeSet<DkimAlgorithm> {
        self.known_features().map(|f| f.algorithms()).unwrap_or_default()
    }

    async fn ensure_dkim_key(
        &self,
        owner: &Uid,
        domain: &DomainName,
        selector: &Selector,
        key: &DkimKey,
    ) -> Result<DkimRow> {
        let pem = pem(key)?;
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        Self::check_signer(f, key.algorithm)?;
        conn.begin().await?;
        let done = async {
            // The lock is what keeps a selector unique: PostfixAdmin's table has no such constraint.
            lock_domain(&mut conn, owner, domain).await?;
            if let Some(there) = rows(&mut conn, f, domain).await?.into_iter().find(|r| r.selector == *selector) {
                return match there.owner.as_ref() == Some(owner) {
                    true => Ok(()),
                    false => Err(exists(format!("key {selector} of {domain}"), there.owner.as_ref(), None)),
                };
            }
            conn.execute(
                "INSERT INTO dkim (domain_name, description, selector, private_key, public_key, owner, algorithm, created, \
                 modified) VALUES ($1, 'mailtenant', $2, $3, $4, $5, $6, now(), now())", // PostfixAdmin's default is 2000-01-01
                &[&domain, &selector, &pem.expose(), &key.public, &owner, &word(key.algorithm)],
            )
            .await
            .map(|_| ())
        }
        .await;
        conn.end(done).await?;
        let all = rows(&mut conn, f, domain).await?;
        all.into_iter()
            .find(|r| r.selector == *selector)
            .ok_or_else(|| BackendError::Conflict(format!("key {selector} of {domain} went away while it was made")))
    }

    async fn sign_with(&self, owner: &Uid, domain: &DomainName, keys: &[DkimRow]) -> Result<()> {
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        if !f.dkim {
            return if keys.is_empty() { Ok(()) } else { Self::check_signer(f, DkimAlgorithm::RSA2048) };
        }
        conn.begin().await?;
        let done = async {
            lock_domain(&mut conn, owner, domain).await?;
            let have = rows(&mut conn, f, domain).await?;
            let mut wanted: Vec<(&Selector, DkimAlgorithm)> = Vec::new();
            for DkimRow { selector, public, .. } in keys {
                // After a restore, or in another database, a key of the same selector is another one.
                let same = |r: &&DkimRow| r.selector == *selector && r.public == *public;
                let Some(key) = have.iter().filter(|r| r.owner.as_ref() == Some(owner)).find(same) else {
                    return Err(BackendError::NotFound(format!("key {selector} of {domain}")));
                };
                Self::check_signer(f, key.algorithm)?;
                if wanted.iter().any(|(s, a)| *a == key.algorithm && *s != selector) {
                    let a = word(key.algorithm);
                    return Err(BackendError::Unsupported(format!("signing with two {a} keys at a time")));
                }
                wanted.push((selector, key.algorithm));
            }
            let now: BTreeSet<&Selector> = have.iter().filter(|r| r.active).map(|r| &r.selector).collect();
            if now == wanted.iter().map(|(s, _)| *s).collect() {
                return Ok(());
            }
            let adopted = conn.row("SELECT adopted FROM domain WHERE domain = $1", &[&domain]).await?;
            let adopted = adopted.is_some_and(|r| r.get("adopted"));
            for t in signing_tables(f) {
                // A key of somebody else stays, and so does what says that it signs, but where the domain with all that
                // it does was taken over.
                let sql = format!(
                    "DELETE FROM {t} s USING dkim k WHERE k.id = s.dkim_id AND s.author = $1 AND (k.owner = $2 OR (k.owner IS NULL AND $3))"
                );
                conn.execute(&sql, &[&domain, &owner, &adopted]).await?;
            }
            for (selector, algorithm) in wanted {
                let t = table(algorithm);
                // With two rows for an author opendkim signs with either.
                let sql = format!("SELECT k.selector, k.owner FROM {t} s JOIN dkim k ON k.id = s.dkim_id WHERE s.author = $1 LIMIT 1");
                if let Some(other) = conn.row(&sql, &[&domain]).await? {
                    let what = format!("a key that signs for {domain} ({})", other.get::<_, &str>("selector"));
                    return Err(exists(what, columns::owner(&other, "owner").as_ref(), None));
                }
                let sql = format!(
                    "INSERT INTO {t} (author, dkim_id) SELECT domain_name, id FROM dkim \
                     WHERE domain_name = $1 AND selector = $2 AND owner = $3 ORDER BY id LIMIT 1"
                );
                conn.execute(&sql, &[&domain, selector, &owner]).await?;
            }
            Ok(())
        }
        .await;
        conn.end(done).await
    }

    async fn remove_dkim_key(&self, owner: &Uid, domain: &DomainName, selector: &Selector) -> Result<()> {
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        if !f.dkim {
            return Ok(());
        }
        conn.begin().await?;
        let done = async {
            lock_domain(&mut conn, owner, domain).await?;
            let mine = "SELECT id FROM dkim WHERE domain_name = $1 AND selector = $2 AND owner = $3";
            for t in signing_tables(f) {
                conn.execute(&format!("DELETE FROM {t} WHERE dkim_id IN ({mine})"), &[&domain, &selector, &owner])
                    .await?;
            }
            conn.execute(
                "DELETE FROM dkim WHERE domain_name = $1 AND selector = $2 AND owner = $3",
                &[&domain, &selector, &owner],
            )
            .await
            .map(|_| ())
        }
        .await;
        conn.end(done).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_others() {
        assert_eq!(public("MIIB+/ab=="), "MIIB+/ab==");
        assert_eq!(public("v=DKIM1; k=rsa; p=MIIB+/ab=="), "MIIB+/ab==");
        assert_eq!(public("\"v=DKIM1; k=rsa; \" \"p=MIIB\" \"xyz\""), "MIIBxyz");
        let raw = STANDARD.encode([7u8; 32]);
        assert_eq!(algorithm(None, &raw), DkimAlgorithm::Ed25519);
        assert_eq!(algorithm(None, "MIIB"), DkimAlgorithm::RSA2048);
        assert_eq!(algorithm(Some("Ed25519"), "x"), DkimAlgorithm::Ed25519);
    }

    /// OpenSSL 3.0 refuses PKCS#8 version 2.
    #[test]
    fn ed25519_becomes_version_1() {
        let v2 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let text =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(v2.as_ref()));
        let mut key =
            DkimKey { algorithm: DkimAlgorithm::Ed25519, private_pem: SecretText::new(text), public: String::new() };
        let out = pem(&key).unwrap();
        let der = PrivatePkcs8KeyDer::from_pem_slice(out.expose().as_bytes()).unwrap();
        assert_eq!(der.secret_pkcs8_der().len(), 48);
        assert!(v2.as_ref().len() > 48);
        key.private_pem = SecretText::new("no key");
        assert!(matches!(pem(&key), Err(BackendError::Rejected(_))));
    }
}
