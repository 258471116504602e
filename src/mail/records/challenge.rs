//! Proof of ownership of a domain: a TXT record whose value is different for each MailDomain.

use super::digest::base32;
use sha2::{Digest, Sha256};

/// Name of the TXT record that proves ownership of `domain`.
pub fn challenge_name(domain: &str) -> String {
    format!("_mailtenant-challenge.{domain}")
}

/// Value of the record that proves ownership: the same for the same MailDomain and domain at any time, so that it need
/// not be stored to be checked; different for any other MailDomain, so that a proof is of no use to another tenant.
///
/// `uid` is `metadata.uid` of the MailDomain.
pub fn challenge_value(uid: &str, domain: &str) -> String {
    value("challenge", uid, domain)
}

/// Value of the record that proves more: that whoever may write the zone wants this MailDomain to have what nobody owns.
/// It is another one than [`challenge_value`], which the operator itself publishes in zones that ask for no proof.
/// This one it never writes.
pub fn adoption_value(uid: &str, domain: &str) -> String {
    value("adoption", uid, domain)
}

fn value(purpose: &str, uid: &str, domain: &str) -> String {
    with_token(&hashed(purpose, uid, domain))
}

/// What stands for a MailDomain, by its uid, in the records of `domain`: the token of its [`challenge_value`].
pub fn token(uid: &str, domain: &str) -> String {
    hashed("challenge", uid, domain)
}

/// The value with this token.
pub(crate) fn with_token(token: &str) -> String {
    format!("token={token} expiry=never")
}

/// 32 characters for two texts, other ones for each `purpose`.
pub(super) fn hashed(purpose: &str, one: &str, other: &str) -> String {
    // Each part ends with a byte that it cannot contain: no two inputs make the same text.
    let text = format!("mailtenant.dev/{purpose}/v1\0{one}\0{other}\0");
    let digest = Sha256::digest(text.as_bytes());
    base32(&digest[..20])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let value = challenge_value("uid-1", "acme.test");
        let token = value.strip_prefix("token=").and_then(|v| v.strip_suffix(" expiry=never")).expect("form");
        assert_eq!(token, super::token("uid-1", "acme.test"));
        assert_eq!(token.len(), 32);
        assert!(token.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)));
        assert_eq!(value, challenge_value("uid-1", "acme.test"));
        assert_ne!(value, challenge_value("uid-2", "acme.test"));
        assert_ne!(value, challenge_value("uid-1", "acme.tes"));
        let adoption = adoption_value("uid-1", "acme.test");
        assert_ne!(adoption, value, "what the operator publishes entitles to nothing");
        assert_ne!(adoption, adoption_value("uid-2", "acme.test"));
    }
}
