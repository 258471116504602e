//! Canonical mail addresses: what is compared, stored and sent to servers. Pure.
//!
//! The local part is lower case ASCII (RFC 5321 lets servers tell cases apart; none of ours does), the domain is a
//! lower case A-label without a final dot.

use crate::{DomainName, name};

crate::text_type! {
    /// A full address, `local@domain`, or `@domain` for all others of a domain (a catch-all). In its canonical form; one
    /// that a server gave is as the server has it.
    Address
}

impl Address {
    /// From what a person typed: see [`canonical`].
    pub fn new(input: &str) -> Result<Self, AddressError> {
        canonical(input).map(Address)
    }

    /// A local part in a domain. The local part is one that the API has let through.
    pub fn in_domain(local: &str, domain: &DomainName) -> Self {
        Address(format!("{local}@{domain}"))
    }

    /// All other addresses of a domain.
    pub fn catch_all(domain: &DomainName) -> Self {
        Address(format!("@{domain}"))
    }

    /// As a server has it, unchanged: another spelling would be another row.
    pub fn from_server(text: impl Into<String>) -> Self {
        Address(text.into())
    }

    /// Without the `+detail` of its local part (RFC 5233), if it has one.
    pub fn without_detail(&self) -> Self {
        match self.local().split_once('+') {
            Some((base, _)) if !base.is_empty() => Address(format!("{base}@{}", self.domain())),
            _ => self.clone(),
        }
    }

    /// Whether it is short enough to be sent to.
    pub fn fits(&self) -> Result<(), AddressError> {
        fits(&self.0)
    }

    /// Before the `@`; empty for a catch-all.
    pub fn local(&self) -> &str {
        split(&self.0).map_or(&self.0, |(local, _)| local)
    }

    /// Behind the `@`.
    pub fn domain(&self) -> &str {
        split(&self.0).map_or("", |(_, domain)| domain)
    }
}

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
    /// The whole address is longer than [`LONGEST`]; the number is what is left for the local part in this domain.
    #[error("an address has at most 254 characters: in this domain a local part has at most {0}")]
    Long(usize),
    /// The domain is not a host name.
    #[error("a domain has at least two labels of 1 to 63 letters, digits and hyphens, 253 characters at most")]
    Domain,
}

/// A domain as lower case A-label: `Müller.Example.` becomes `xn--mller-kva.example`.
pub fn domain(text: &str) -> Result<String, AddressError> {
    let name = name::canonical(text).map_err(|_| AddressError::Domain)?;
    if name.contains('.') { Ok(name) } else { Err(AddressError::Domain) }
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

/// Most characters of an address: a path has 256 with its angle brackets (RFC 5321, 4.5.3.1.3).
pub const LONGEST: usize = 254;

/// A full address in its canonical form.
pub fn canonical(text: &str) -> Result<String, AddressError> {
    let (l, d) = text.rsplit_once('@').filter(|(l, d)| !l.is_empty() && !d.is_empty()).ok_or(AddressError::Shape)?;
    let address = format!("{}@{}", local(l)?, domain(d)?);
    fits(&address)?;
    Ok(address)
}

fn fits(address: &str) -> Result<(), AddressError> {
    let domain = split(address).map_or(0, |(_, domain)| domain.len());
    if address.len() > LONGEST { Err(AddressError::Long(LONGEST.saturating_sub(domain + 1))) } else { Ok(()) }
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
            (deep.clone(), Err(AddressError::Long(0))),
            (
                format!("{}@{label}.{label}.{}", "a".repeat(62), label),
                Ok(format!("{}@{label}.{label}.{label}", "a".repeat(62))),
            ),
            (format!("{long}@{label}.{label}.{label}"), Err(AddressError::Long(62))),
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
    fn typed() {
        let acme = DomainName::new("ACME.test.").unwrap();
        assert_eq!(Address::new("Info@ACME.test"), Ok(Address::in_domain("info", &acme)));
        let (one, all) = (Address::in_domain("a", &acme), Address::catch_all(&acme));
        assert_eq!((one.local(), one.domain()), ("a", "acme.test"));
        assert_eq!((all.local(), all.domain(), all.as_str()), ("", "acme.test", "@acme.test"));
        let odd = Address::from_server("Postmaster");
        assert_eq!((odd.local(), odd.domain()), ("Postmaster", ""), "a row of others may be anything");
        assert!(std::collections::BTreeSet::from([one]).contains("a@acme.test"));
    }

    #[test]
    fn apart() {
        assert_eq!(split("@acme.test"), Some(("", "acme.test")));
        assert_eq!(split("a@acme.test"), Some(("a", "acme.test")));
        assert_eq!(split("a"), None);
    }
}
