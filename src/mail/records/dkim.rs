//! DKIM: one TXT record per key (RFC 6376, RFC 8463).

use crate::policy::DkimAlgorithm;

/// The public half of a DKIM key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimPublic {
    /// Selector: the label in front of `._domainkey`.
    pub selector: String,
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
pub fn new_selector(year: i16, month: i8, algorithm: DkimAlgorithm, taken: &[String]) -> String {
    let letter = match algorithm {
        DkimAlgorithm::RSA2048 => 'r',
        DkimAlgorithm::Ed25519 => 'e',
    };
    let first = format!("s{year:04}{month:02}{letter}");
    // Never one that was used before: resolvers may have its key until the TTL is over.
    let number = |s: &String| match s.strip_prefix(first.as_str()) {
        Some("") => Some(1u32),
        Some(rest) => rest.parse().ok(),
        None => None,
    };
    match taken.iter().filter_map(number).max() {
        None => first,
        Some(n) => format!("{first}{}", n.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let r = DkimAlgorithm::RSA2048;
        assert_eq!(new_selector(2026, 3, r, &[]), "s202603r");
        assert_eq!(new_selector(2026, 11, DkimAlgorithm::Ed25519, &["s202611r".into()]), "s202611e");
        assert_eq!(new_selector(2026, 11, r, &["s202611r".into()]), "s202611r2");
        assert_eq!(new_selector(2026, 11, r, &["s202611r".into(), "s202611r2".into()]), "s202611r3");
        assert_eq!(new_selector(2026, 11, r, &["s202611r7".into()]), "s202611r8", "one that went is not used again");
    }
}
