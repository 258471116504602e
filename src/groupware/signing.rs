//! Signing keys: made here, given to the signer, published. The private half is never kept by the operator (I6).

use crate::{BackendError, DkimAlgorithm, DkimKey, Result};
use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailtenant_backend::secret::SecretText;
use zeroize::Zeroizing;

const HEAD: &str = "-----BEGIN PRIVATE KEY-----\n";
const FOOT: &str = "-----END PRIVATE KEY-----\n";

/// Makes signing keys; the simulator has a cheap one.
#[async_trait]
pub trait KeyMaker: Send + Sync {
    /// A new key.
    async fn make(&self, algorithm: DkimAlgorithm) -> Result<DkimKey>;
}

/// Keys from the system's randomness.
pub struct SystemKeyMaker;

#[async_trait]
impl KeyMaker for SystemKeyMaker {
    #[allow(clippy::disallowed_methods, reason = "an RSA key takes 130 ms of one core, and this is behind a trait")]
    async fn make(&self, algorithm: DkimAlgorithm) -> Result<DkimKey> {
        match tokio::task::spawn_blocking(move || generate(algorithm)).await {
            Ok(key) => key,
            Err(_) => Err(BackendError::unavailable("the key generator stopped")),
        }
    }
}

/// Makes a key on this thread: about 130 ms for RSA.
pub fn generate(algorithm: DkimAlgorithm) -> Result<DkimKey> {
    let failed = |_| BackendError::unavailable("no key could be generated");
    let (private, public) = match algorithm {
        DkimAlgorithm::RSA2048 => {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let der: Pkcs8V1Der = key.as_der().map_err(failed)?;
            let spki: PublicKeyX509Der = key.public_key().as_der().map_err(failed)?;
            (pem(der.as_ref()), STANDARD.encode(spki.as_ref()))
        }
        DkimAlgorithm::Ed25519 => {
            let key = Ed25519KeyPair::generate().map_err(failed)?;
            let der = key.to_pkcs8v1().map_err(failed)?;
            (pem(der.as_ref()), STANDARD.encode(key.public_key().as_ref()))
        }
    };
    Ok(DkimKey { algorithm, private_pem: private, public })
}

/// The value of `p=` that belongs to a private key (PKCS#8, PEM); none if it is not a key of that algorithm.
pub fn public_of(private: &SecretText, algorithm: DkimAlgorithm) -> Option<String> {
    let text = private.expose();
    let body = text.trim().strip_prefix(HEAD.trim())?.strip_suffix(FOOT.trim())?;
    let body = Zeroizing::new(body.split_whitespace().collect::<String>());
    let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).ok()?);
    match algorithm {
        DkimAlgorithm::RSA2048 => {
            let key = RsaKeyPair::from_pkcs8(&der).ok()?;
            let spki: PublicKeyX509Der = key.public_key().as_der().ok()?;
            Some(STANDARD.encode(spki.as_ref()))
        }
        DkimAlgorithm::Ed25519 => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok()?;
            Some(STANDARD.encode(key.public_key().as_ref()))
        }
    }
}

/// Whether `public` (a value of `p=`) belongs to the private key.
pub fn belongs(private: &SecretText, algorithm: DkimAlgorithm, public: &str) -> bool {
    public_of(private, algorithm).is_some_and(|p| p == public.split_whitespace().collect::<String>())
}

/// PEM (RFC 7468): base64 in lines of 64.
fn pem(der: &[u8]) -> SecretText {
    let body = Zeroizing::new(STANDARD.encode(der));
    // With its final size from the start: a buffer that grows leaves copies of the key behind.
    let mut out = String::with_capacity(HEAD.len() + body.len() + body.len() / 64 + 2 + FOOT.len());
    out.push_str(HEAD);
    for (i, c) in body.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            out.push('\n');
        }
        out.push(c);
    }
    out.push('\n');
    out.push_str(FOOT);
    SecretText::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pairs() {
        for (algorithm, length) in [(DkimAlgorithm::RSA2048, 294), (DkimAlgorithm::Ed25519, 32)] {
            let a = SystemKeyMaker.make(algorithm).await.expect("a key");
            let b = SystemKeyMaker.make(algorithm).await.expect("another key");
            assert_eq!(STANDARD.decode(&a.public).expect("base64").len(), length);
            assert_ne!(a.public, b.public);
            assert!(belongs(&a.private_pem, algorithm, &a.public));
            assert!(!belongs(&a.private_pem, algorithm, &b.public));
            assert!(a.private_pem.expose().lines().all(|l| l.len() <= 64));
        }
        let ed = generate(DkimAlgorithm::Ed25519).expect("a key");
        assert_eq!(public_of(&ed.private_pem, DkimAlgorithm::RSA2048), None);
        assert_eq!(public_of(&SecretText::new("nonsense"), DkimAlgorithm::RSA2048), None);
    }
}
