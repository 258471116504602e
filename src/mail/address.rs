//! Canonical mail addresses: what is compared, stored and sent to servers. Pure.
//!
//! The local part is lower case ASCII (RFC 5321 lets servers tell cases apart; none of ours does), the domain is a
//! lower case A-label without a final dot.

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing on one of its sides.
    #[error("an address looks like local@domain")]
    Shape,
    /// The local part is longer than 64 bytes or has characters that are not allowed.
    #[error(
        "a local part has 1 to 64 characters from a-z, 0-9 and .!#$%&'*+/=?^_`{{|}}~-, and no dot at an end or beside a dot"
    )]
    Local,
    /// The domain is not a host name.
    #[error("a domain has at least two labels of 1 to 63 letters, digits and hyphens, 253 characters at most")]
    Domain,
}

/// A domain as lower case A-label: `Müller.Example.` becomes `xn--mller-kva.example`.
pub fn domain(text: &str) -> Result<String, AddressError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let ascii = idna::domain_to_ascii_strict(text).map_err(|_| AddressError::Domain)?;
    let labels = ascii.split('.').count();
    if labels < 2 || ascii.len() > 253 || ascii.split('.').any(str::is_empty) {
        return Err(AddressError::Domain);
    }
    Ok(ascii)
}

/// A local part in lower case: a dot-atom of RFC 5322, 64 bytes at most; quoted strings are not taken.
pub fn local(text: &str) -> Result<String, AddressError> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b);
    let dots = text.starts_with('.') || text.ends_with('.') || text.contains("..");
    if text.is_empty() || text.len() > 64 || dots || !text.bytes().all(ok) {
        return Err(AddressError::Local);
    }
    Ok(text.to_ascii_lowercase())
}

/// A full address in its canonical form.
pub fn canonical(text: &str) -> Result<String, AddressError> {
    let (l, d) = text.rsplit_once('@').filter(|(l, d)| !l.is_empty() && !d.is_empty()).ok_or(AddressError::Shape)?;
    Ok(format!("{}@{}", local(l)?, domain(d)?))
}

/// Local part and domain of an address; none: it has no `@`. For a catch-all (`@acme.test`) the local part is empty.
pub fn split(address: &str) -> Option<(&str, &str)> {
    address.rsplit_once('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_addresses() {
        let long = "a".repeat(64);
        let label = "b".repeat(63);
        let deep = format!("x@{label}.{label}.{label}.{}", "c".repeat(61));
        let too_deep = format!("x@{label}.{label}.{label}.{}", "c".repeat(62));
        let table: Vec<(String, Result<String, AddressError>)> = vec![
            ("alice@acme.test".into(), Ok("alice@acme.test".into())),
            ("Alice.Adams@ACME.Test".into(), Ok("alice.adams@acme.test".into())),
            ("alice@acme.test.".into(), Ok("alice@acme.test".into())),
            ("info@Müller.example".into(), Ok("info@xn--mller-kva.example".into())),
            ("info@xn--mller-kva.example".into(), Ok("info@xn--mller-kva.example".into())),
            ("a+b@acme.test".into(), Ok("a+b@acme.test".into())),
            (format!("{long}@acme.test"), Ok(format!("{long}@acme.test"))),
            (deep.clone(), Ok(deep)),
            (too_deep, Err(AddressError::Domain)),
            (format!("{long}a@acme.test"), Err(AddressError::Local)),
            ("alice".into(), Err(AddressError::Shape)),
            ("@acme.test".into(), Err(AddressError::Shape)),
            ("alice@".into(), Err(AddressError::Shape)),
            (".a@acme.test".into(), Err(AddressError::Local)),
            ("a..b@acme.test".into(), Err(AddressError::Local)),
            ("a b@acme.test".into(), Err(AddressError::Local)),
            ("a,b@acme.test".into(), Err(AddressError::Local)),
            ("\"a b\"@acme.test".into(), Err(AddressError::Local)),
            ("müller@acme.test".into(), Err(AddressError::Local)),
            ("a@localhost".into(), Err(AddressError::Domain)),
            ("a@-x.test".into(), Err(AddressError::Domain)),
            ("a@x_y.test".into(), Err(AddressError::Domain)),
            ("a@a..test".into(), Err(AddressError::Domain)),
            (format!("a@{label}b.test"), Err(AddressError::Domain)),
        ];
        for (given, want) in table {
            assert_eq!(canonical(&given), want, "{given}");
        }
    }

    #[test]
    fn canonical_is_a_fixed_point() {
        let once = canonical("Info@BÜCHER.example").unwrap();
        assert_eq!(canonical(&once), Ok(once.clone()));
    }

    #[test]
    fn apart() {
        assert_eq!(split("@acme.test"), Some(("", "acme.test")));
        assert_eq!(split("a@acme.test"), Some(("a", "acme.test")));
        assert_eq!(split("a"), None);
    }
}
