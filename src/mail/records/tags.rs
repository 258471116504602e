//! Tag lists, the form of DKIM, DMARC, MTA-STS and TLS report records (RFC 6376, 3.2): when two of them mean the same.

use crate::policy::Purpose;
use std::collections::BTreeMap;

/// Whether two values of the same purpose mean the same. Tag lists (DKIM, DMARC, MTASTS, TLSRPT) may differ in spaces, in the order of
/// tags after the first, and in a `;` at the end; everything else must be equal.
pub(crate) fn equivalent(purpose: Purpose, a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    if !matches!(purpose, Purpose::DKIM | Purpose::DMARC | Purpose::MTASTS | Purpose::TLSRPT) {
        return false;
    }
    match (tags(a), tags(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// A tag list (RFC 6376, 3.2) with its spaces taken out; none if it is not one, or names a tag twice.
fn tags(text: &str) -> Option<(String, BTreeMap<String, String>)> {
    let mut out = BTreeMap::new();
    let mut version = None;
    for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim().to_string(), value.split_whitespace().collect::<String>());
        if version.is_none() {
            // `v` comes first, or the record is none (RFC 6376, 3.6.1; RFC 9989).
            version = Some((name == "v").then(|| value.clone())?);
        }
        if out.insert(name, value).is_some() {
            return None;
        }
    }
    // A key without the tag `k` is RSA.
    if version.as_deref() == Some("DKIM1") {
        out.entry("k".into()).or_insert_with(|| "rsa".into());
    }
    Some((version?, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_meaning() {
        use Purpose::*;
        for (purpose, a, b, want) in [
            (DKIM, "v=DKIM1; k=rsa; p=AA", "v=DKIM1;p=A A;", true),
            (DKIM, "v=DKIM1; k=rsa; p=AA", "v=DKIM1; k=ed25519; p=AA", false),
            (DKIM, "v=DKIM1; k=rsa; p=AA", "v=DKIM1; k=rsa; p=Aa", false),
            (DKIM, "v=DKIM1; k=rsa; p=AA", "k=rsa; p=AA; v=DKIM1", false),
            (DMARC, "v=DMARC1; p=none", "v=DMARC1 ;p=none ; ", true),
            (DMARC, "v=DMARC1; p=none", "v=DMARC1; p=none; sp=none", false),
            (DMARC, "v=DMARC1; p=none", "v=DMARC1; p=none; p=none", false),
            (MTASTS, "v=STSv1; id=a1;", "v=STSv1;id=a1", true),
            (MTASTS, "v=STSv1; id=a1;", "v=STSv1; id=a2;", false),
            (MTASTS, "host.test.", "other.test.", false),
            (SPF, "v=spf1 -all", "v=spf1  -all", false),
        ] {
            assert_eq!(equivalent(purpose, a, b), want, "{a} / {b}");
        }
    }
}
