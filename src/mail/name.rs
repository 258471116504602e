//! Domain names: their canonical form, which of them can be mail domains, and which is below which. Pure.
//!
//! Everywhere else a name is canonical already: absolute, lower case, A-labels, without a trailing dot.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use psl::{Psl as _, Type};

crate::text_type! {
    /// A domain name in its canonical form: A-labels, lower case, no trailing dot. One that a server gave is as the server
    /// has it.
    DomainName
}

impl DomainName {
    /// From what a person typed: see [`canonical`].
    pub fn new(input: &str) -> Result<Self, NameError> {
        canonical(input).map(DomainName)
    }

    /// From what a person typed, refused where it cannot be one tenant's: see [`mail_domain`].
    pub fn mail_domain(input: &str) -> Result<Self, NameError> {
        mail_domain(input).map(DomainName)
    }

    /// As a server has it, unchanged: another spelling would be another row.
    pub fn from_server(text: impl Into<String>) -> Self {
        DomainName(text.into())
    }
}

/// Why a name cannot be a mail domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a domain name: empty, with an empty label or a character that is not allowed, or too long.
    #[error(
        "{0:?} is not a domain name: labels of at most 63 and a name of at most 253 characters, letters, digits and inner hyphens only"
    )]
    Invalid(String),
    /// It has only one label, such as `com`.
    #[error("{0:?} is a top-level domain: a mail domain needs at least two labels")]
    TopLevel(String),
    /// A public suffix below which everybody may register names, such as `co.uk`.
    #[error("{0:?} is a public suffix: names below it belong to different people")]
    PublicSuffix(String),
    /// It leaves no room for the names of its records.
    #[error(
        "{0:?} is too long for a mail domain: at most 225 characters in A-labels, so that the names of its records, such as s202611r._domainkey below it, fit into the 253 of a name"
    )]
    Long(String),
    /// A domain whose owner lets everybody have names below it, such as `github.io`.
    #[error("{0:?} is a private registry (public suffix list): only names below it can be mail domains")]
    PrivateSuffix(String),
}

/// The canonical form of a domain that a person typed: A-labels by UTS-46 (non-transitional, STD3 rules),
/// lower case, no trailing dot.
pub fn canonical(input: &str) -> Result<String, NameError> {
    let invalid = || NameError::Invalid(input.chars().take(255).collect());
    let name = input.strip_suffix('.').unwrap_or(input);
    let name = Uts46::new()
        .to_ascii(name.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
        .map_err(|_| invalid())?
        .into_owned();
    // UTS-46 checks hyphens of U-labels; it does not check pure ASCII labels, so the result is checked again.
    let label_ok = |l: &str| !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-');
    if name.is_empty() || name.len() > 253 || !name.split('.').all(label_ok) {
        return Err(invalid());
    }
    Ok(name)
}

/// Most characters of a mail domain: names of records stand below it, with selectors of up to 16 characters.
pub const LONGEST_MAIL_DOMAIN: usize = 253 - "._domainkey.".len() - 16;

/// The canonical form of a domain that one tenant can own: no top-level domain, public suffix or IP
/// address, and not too long for the names of its records. Names
/// under an unknown top-level domain (`acme.test`) are allowed.
pub fn mail_domain(input: &str) -> Result<String, NameError> {
    let name = canonical(input)?;
    // An address in dotted form has the shape of a name.
    if name.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit())) {
        return Err(NameError::Invalid(name));
    }
    if !name.contains('.') {
        return Err(NameError::TopLevel(name));
    }
    if name.len() > LONGEST_MAIL_DOMAIN {
        return Err(NameError::Long(name));
    }
    match suffix_kind(&name) {
        Some(Type::Icann) => Err(NameError::PublicSuffix(name)),
        Some(Type::Private) => Err(NameError::PrivateSuffix(name)),
        None => Ok(name),
    }
}

/// The part of the public suffix list that has exactly this name; none: it is not on the list.
fn suffix_kind(name: &str) -> Option<Type> {
    let suffix = psl::List.suffix(name.as_bytes())?;
    if suffix.as_bytes() != name.as_bytes() {
        return None;
    }
    suffix.typ()
}

/// The name at or above it that somebody has registered: one label below the public suffix. None: it is a suffix itself.
pub fn registered(name: &str) -> Option<&str> {
    psl::domain_str(name)
}

/// The name itself, then its parents up to the top-level domain: `a.b.c`, `b.c`, `c`.
pub fn self_and_parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name).filter(|n| !n.is_empty()), |n| n.split_once('.').map(|(_, rest)| rest))
}

/// The parents of a name, nearest first, without the name itself and without the root: `b.c`, `c` for `a.b.c`.
pub fn parents(name: &str) -> impl Iterator<Item = &str> {
    self_and_parents(name).skip(1)
}

/// Where one name is in the DNS tree, seen from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// Both are the same name.
    Same,
    /// The first is below the second.
    Below,
    /// The first is above the second.
    Above,
    /// Neither is below the other.
    Unrelated,
}

/// Where `a` is, seen from `b`, by whole labels.
fn relation(a: &str, b: &str) -> Relation {
    let below = |x: &str, y: &str| x.strip_suffix(y).is_some_and(|rest| rest.ends_with('.'));
    if a == b {
        Relation::Same
    } else if below(a, b) {
        Relation::Below
    } else if below(b, a) {
        Relation::Above
    } else {
        Relation::Unrelated
    }
}

/// Whether `name` is `zone` or below it.
pub fn is_within(name: &str, zone: &str) -> bool {
    matches!(relation(name, zone), Relation::Same | Relation::Below)
}

/// The canonical form of a name that a server sent: lower case, without the trailing dot. No IDNA: servers have ASCII,
/// and labels that no host name has (`_dmarc`).
pub fn from_server(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_forms() {
        for (input, want) in [
            ("acme.test", "acme.test"),
            ("ACME.Test.", "acme.test"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("faß。example", "xn--fa-hia.example"),
        ] {
            assert_eq!(canonical(input).as_deref(), Ok(want), "{input}");
        }
        let label = "a".repeat(63);
        assert!(canonical(&format!("{label}.test")).is_ok());
        let long = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(long.len(), 253);
        assert!(canonical(&long).is_ok());
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            ".a.b",
            "a.b..",
            "-a.test",
            "a-.test",
            "a_b.test",
            "a b.test",
            "a/b.test",
            "*.test",
            "a\n.test",
            "xn--a.test",
            "xn--zzzzzzz99.test",
            &format!("{label}a.test"),
            &format!("{long}a"),
            "a@b.test",
        ] {
            assert!(canonical(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn who_may_be_a_mail_domain() {
        for good in [
            "acme.test",
            "example.co.uk",
            "example.com",
            "mail.example.com",
            "foo.github.io",
            "www.ck",
            "bücher.example",
            "a.unknown-tld",
        ] {
            assert!(mail_domain(good).is_ok(), "{good} was refused");
        }
        assert_eq!(mail_domain("com"), Err(NameError::TopLevel("com".into())));
        assert_eq!(mail_domain("test."), Err(NameError::TopLevel("test".into())));
        assert_eq!(mail_domain("Co.UK"), Err(NameError::PublicSuffix("co.uk".into())));
        assert_eq!(mail_domain("anything.ck"), Err(NameError::PublicSuffix("anything.ck".into())));
        assert_eq!(mail_domain("公司.cn"), Err(NameError::PublicSuffix("xn--55qx5d.cn".into())));
        assert_eq!(mail_domain("github.io"), Err(NameError::PrivateSuffix("github.io".into())));
        assert!(matches!(mail_domain("192.0.2.1"), Err(NameError::Invalid(_))));
    }

    #[test]
    fn relations() {
        assert_eq!(relation("a.b", "a.b"), Relation::Same);
        assert_eq!(relation("x.a.b", "a.b"), Relation::Below);
        assert_eq!(relation("a.b", "x.a.b"), Relation::Above);
        assert_eq!(relation("xa.b", "a.b"), Relation::Unrelated);
        assert_eq!(relation("a.b", "a.c"), Relation::Unrelated);
        assert_eq!(parents("a.b.c").collect::<Vec<_>>(), ["b.c", "c"]);
        assert_eq!(self_and_parents("a.b.c").collect::<Vec<_>>(), ["a.b.c", "b.c", "c"]);
        assert_eq!(parents("c").count(), 0);
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(text in "[a-zA-Z0-9äöüßé.例-]{1,40}") {
            if let Ok(name) = canonical(&text) {
                prop_assert_eq!(canonical(&name), Ok(name));
            }
        }
    }

    #[test]
    fn what_is_registered_is_one_label_below_the_public_suffix() {
        for (name, want) in [
            ("acme.test", Some("acme.test")),
            ("mail.eu.acme.test", Some("acme.test")),
            ("mail.acme.co.uk", Some("acme.co.uk")),
            ("acme.github.io", Some("acme.github.io")),
            ("co.uk", None),
        ] {
            assert_eq!(registered(name), want, "{name}");
        }
    }
}
