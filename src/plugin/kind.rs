//! The kinds that the plugin shows, by the names that kubectl knows.

use kube::CustomResourceExt;
use kube::core::ApiResource;
use mailtenant_api as api;
use serde::{Serialize, Serializer};

/// A kind with a status. In the order of the tree: parents first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    GroupwareBackend,
    DNSBackend,
    MailInstance,
    MailDomain,
    Mailbox,
    MailAlias,
}

impl Kind {
    pub const ALL: [Kind; 6] = [
        Kind::GroupwareBackend,
        Kind::DNSBackend,
        Kind::MailInstance,
        Kind::MailDomain,
        Kind::Mailbox,
        Kind::MailAlias,
    ];
    /// What tenants declare.
    pub const TENANT: [Kind; 4] = [Kind::MailInstance, Kind::MailDomain, Kind::Mailbox, Kind::MailAlias];
    /// What the platform team registers.
    pub const PLATFORM: [Kind; 2] = [Kind::GroupwareBackend, Kind::DNSBackend];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::GroupwareBackend => "GroupwareBackend",
            Kind::DNSBackend => "DNSBackend",
            Kind::MailInstance => "MailInstance",
            Kind::MailDomain => "MailDomain",
            Kind::Mailbox => "Mailbox",
            Kind::MailAlias => "MailAlias",
        }
    }

    /// As kubectl takes it: `mailbox`.
    pub fn word(self) -> String {
        self.as_str().to_lowercase()
    }

    pub fn is_namespaced(self) -> bool {
        !Kind::PLATFORM.contains(&self)
    }

    pub fn resource(self) -> ApiResource {
        match self {
            Kind::GroupwareBackend => api::GroupwareBackend::api_resource(),
            Kind::DNSBackend => api::DNSBackend::api_resource(),
            Kind::MailInstance => api::MailInstance::api_resource(),
            Kind::MailDomain => api::MailDomain::api_resource(),
            Kind::Mailbox => api::Mailbox::api_resource(),
            Kind::MailAlias => api::MailAlias::api_resource(),
        }
    }

    fn short_names(self) -> &'static [&'static str] {
        match self {
            Kind::GroupwareBackend => api::GroupwareBackend::shortnames(),
            Kind::DNSBackend => api::DNSBackend::shortnames(),
            Kind::MailInstance => api::MailInstance::shortnames(),
            Kind::MailDomain => api::MailDomain::shortnames(),
            Kind::Mailbox => api::Mailbox::shortnames(),
            Kind::MailAlias => api::MailAlias::shortnames(),
        }
    }

    /// The kind of a word as kubectl takes it: kind, plural or short name, with or without the group.
    pub fn parse(word: &str) -> Option<Kind> {
        let word = word.to_lowercase();
        let word = word.strip_suffix(&format!(".{}", api::GROUP)).unwrap_or(&word).to_owned();
        Kind::ALL.into_iter().find(|kind| {
            kind.word() == word || kind.resource().plural == word || kind.short_names().contains(&word.as_str())
        })
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// An object as the command line names it: `mailbox/alice`, or `alice` where that is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub kind: Option<Kind>,
    pub name: String,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = || Kind::ALL.map(Kind::word).join(", ");
        let (kind, name) = match text.split_once('/') {
            None => (None, text),
            Some((word, name)) => {
                let kind = Kind::parse(word).ok_or_else(|| format!("no kind {word}: one of {}", kinds()))?;
                (Some(kind), name)
            }
        };
        match name.is_empty() || name.contains('/') {
            true => Err("write KIND/NAME, such as mailbox/alice".into()),
            false => Ok(Target { kind, name: name.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_kubectl_names_them() {
        for (word, kind) in [
            ("mailbox", Some(Kind::Mailbox)),
            ("Mailboxes", Some(Kind::Mailbox)),
            ("mbx", Some(Kind::Mailbox)),
            ("maildomains.mailtenant.dev", Some(Kind::MailDomain)),
            ("gwb", Some(Kind::GroupwareBackend)),
            ("dnsb", Some(Kind::DNSBackend)),
            ("pod", None),
        ] {
            assert_eq!(Kind::parse(word), kind, "{word}");
        }
        assert_eq!("mal/info".parse(), Ok(Target { kind: Some(Kind::MailAlias), name: "info".into() }));
        assert_eq!("info".parse(), Ok(Target { kind: None, name: "info".into() }));
        assert!("pod/x".parse::<Target>().is_err() && "mbx/".parse::<Target>().is_err());
    }
}
