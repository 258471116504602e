//! DKIM: one TXT record per key (RFC 6376, RFC 8463).

use crate::policy::DkimAlgorithm;

crate::text_type! {
    /// Selector of a signing key: what stands in front of `._domainkey` (RFC 6376, 3.1).
    Selector
}

impl Selector {
    /// As we made it, or as a server has it.
    pub fn new(text: impl Into<String>) -> Self {
        Selector(text.into())
    }
}

/// The public half of a DKIM key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimPublic {
    /// Selector: the label in front of `._domainkey`.
    pub selector: Selector,
    /// Algorithm, the tag `k=` of the record.
    pub algorithm: DkimAlgorithm,
    /// The key in base64, the tag `p=` of the record.
    pub public: String,
}

/// Name of the record of a signing key, in lower case as all names are.
pub fn dkim_name(selector: &str, domain: &str) -> String {
    format!("{}._domainkey.{domain}", selector.to_ascii_lowercase())
}

/// Text of the TXT record of a key.
pub(crate) fn dkim_value(key: &DkimPublic) -> String {
    let k = match key.algorithm {
        DkimAlgorithm::RSA2048 => "rsa",
        DkimAlgorithm::Ed25519 => "ed25519",
    };
    format!("v=DKIM1; k={k}; p={}", key.public)
}

/// A new selector: `s202611r` for an RSA key made in November 2026, `s202611e` for Ed25519, `s202611r2` and so on for
/// further ones of the month. `taken` are the selectors in use.
pub fn new_selector(year: i16, month: i8, algorithm: DkimAlgorithm, taken: &[Selector]) -> Selector {
    let letter = match algorithm {
        DkimAlgorithm::RSA2048 => 'r',
        DkimAlgorithm::Ed25519 => 'e',
    };
    let first = format!("s{year:04}{month:02}{letter}");
    // Never one that was used before: resolvers may have its key until the TTL is over.
    let number = |s: &Selector| match s.strip_prefix(first.as_str()) {
        Some("") => Some(1u32),
        Some(rest) => rest.parse().ok(),
        None => None,
    };
    Selector(match taken.iter().filter_map(number).max() {
        None => first,
        Some(n) => format!("{first}{}", n.saturating_add(1)),
    })
}

/// Whether the name of a key's record begins with a selector as [`new_selector`] makes them.
pub(crate) fn is_own_selector(name: &str) -> bool {
    let selector = name.split('.').next().unwrap_or_default().as_bytes();
    let (Some(month), Some(letter)) = (selector.get(1..7), selector.get(7)) else { return false };
    selector.starts_with(b"s")
        && month.iter().all(u8::is_ascii_digit)
        && matches!(letter, b'r' | b'e')
        && selector[8..].iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let r = DkimAlgorithm::RSA2048;
        assert_eq!(new_selector(2026, 3, r, &[]), "s202603r");
        assert_eq!(new_selector(2026, 11, DkimAlgorithm::Ed25519, &[Selector::new("s202611r")]), "s202611e");
        assert_eq!(new_selector(2026, 11, r, &[Selector::new("s202611r")]), "s202611r2");
        assert_eq!(new_selector(2026, 11, r, &[Selector::new("s202611r"), Selector::new("s202611r2")]), "s202611r3");
        assert_eq!(
            new_selector(2026, 11, r, &[Selector::new("s202611r7")]),
            "s202611r8",
            "one that went is not used again"
        );
        for own in ["s202603r", "s202611e", "s202611r12", "s202611e._domainkey.acme.test"] {
            assert!(is_own_selector(own), "{own}");
        }
        for other in ["s1", "default", "s202611", "s202611x", "s202611r2a", "x202611r", "s2026-1r", ""] {
            assert!(!is_own_selector(other), "{other}");
        }
    }
}
