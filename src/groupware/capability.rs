//! What a server can do, in the words of the API.

use crate::DkimAlgorithm;

/// Makes the enum, its list and its words from one list, so that none of the three can lack one.
macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a server can do, as published in the status of its `GroupwareBackend`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Capability {
            $($(#[$doc])* $name,)*
        }

        impl Capability {
            /// All of them, sorted.
            pub const ALL: &[Capability] = &[$(Capability::$name),*];

            /// The word of the API.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Capability::$name => stringify!($name),)*
                }
            }
        }
    };
}

capabilities! {
    /// A bound on what all mailboxes of a tenant use together.
    TenantStorage,
    /// Switching off sign-in while mail is taken.
    Suspend,
    /// Sending as an alias.
    SendAs,
    /// An alias for every other address of a domain.
    CatchAll,
    /// Sending a mailbox' mail on to other addresses.
    Forwarding,
    /// Passwords given as a hash.
    HashedPasswords,
    /// Switching protocols on and off one by one.
    ProtocolAccess,
    /// Calendars and contacts.
    Groupware,
    /// Signing with RSA keys that we make.
    DkimRsa,
    /// Signing with Ed25519 keys that we make.
    DkimEd25519,
    /// Import from another server over IMAP.
    ImapImport,
    /// Absence notes, sent by the server in reply to mail.
    AutoReply,
    /// A name for an alias' identity.
    AliasDisplayName,
}

impl Capability {
    /// Whether a facet says it, and no probe: see [`crate::facets`].
    pub fn is_of_facet(self) -> bool {
        [DkimAlgorithm::RSA2048, DkimAlgorithm::Ed25519].map(Capability::from).contains(&self)
    }

    /// From the word of the API; none for a word of another version.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == word)
    }
}

impl From<DkimAlgorithm> for Capability {
    fn from(algorithm: DkimAlgorithm) -> Self {
        match algorithm {
            DkimAlgorithm::RSA2048 => Capability::DkimRsa,
            DkimAlgorithm::Ed25519 => Capability::DkimEd25519,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_by_word() {
        assert!(Capability::ALL.is_sorted());
        for c in Capability::ALL {
            assert_eq!(Capability::parse(c.as_str()), Some(*c));
        }
        assert_eq!(Capability::parse("DkimEd25519"), Some(Capability::DkimEd25519));
        for other in ["", "dkimEd25519", "Suspend ", "Teleport"] {
            assert_eq!(Capability::parse(other), None, "{other}");
        }
    }
}
