//! What the operator asks of a groupware server: one trait, one folder a provider.
//!
//! Controllers know only this file. A provider translates it for its server and may not touch Kubernetes.
//! Every call may be repeated: after a lost reply the same call again gives the same end state. Every object
//! at the server carries the uid of the Kubernetes object that owns it; a call never changes or removes what
//! carries another uid, or none unless `adopt` is said (I3).

mod dovecot;
pub mod metered;
pub mod providers;
pub mod signing;

use async_trait::async_trait;
use mailtenant_backend::SecretText;
pub use mailtenant_backend::{BackendError, Result};
pub use mailtenant_mail::policy::{Access, AddressBook, DkimAlgorithm};
use std::collections::{BTreeMap, BTreeSet};

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
    /// From the word of the API; none for a word of another version.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == word)
    }
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Version of the server, for the status.
    pub version: String,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
}

/// Who owns an object at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `metadata.uid` of the Kubernetes object.
    pub uid: String,
    /// Take over what nobody owns (`adoptionPolicy: IfUnowned`).
    pub adopt: bool,
}

/// How something came to be in the state that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was not there before.
    Created,
    /// It was there, owned by nobody, and is ours now.
    Adopted,
    /// It was ours and differed.
    Changed,
    /// It was ours and as asked.
    Unchanged,
}

/// The tenant as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantWant {
    /// Whose it is to be.
    pub owner: Owner,
    /// `namespace/name`, kept with the tenant: a later object of the same place may adopt it, no other.
    pub origin: String,
    /// Ids in order of preference; the first that is free is taken when the tenant is made, and never changes then.
    pub ids: Vec<String>,
    /// Bytes that all mailboxes may use together; 0 = no bound.
    pub storage: u64,
    /// Who sees whom.
    pub address_book: AddressBook,
    /// Whether users' own filters may send mail on.
    pub redirects: bool,
}

/// The tenant as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Its id at the server.
    pub id: String,
    /// Uid of the owner.
    pub owner: Option<String>,
    /// Whether it was taken over rather than made.
    pub adopted: bool,
    /// Bytes that all mailboxes may use together; 0 = no bound.
    pub storage: u64,
    /// Bytes in use.
    pub used: u64,
    /// Whether mail is taken and people sign in.
    pub active: bool,
    /// Who sees whom.
    pub address_book: AddressBook,
    /// Whether users' own filters may send mail on.
    pub redirects: bool,
}

/// A domain as it should be: active, and in its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainWant {
    /// Whose it is to be.
    pub owner: Owner,
    /// In A-labels, lower case, no trailing dot.
    pub name: String,
    /// Id of the tenant.
    pub tenant: String,
    /// A-label of the domain whose addresses work here too.
    pub alias_of: Option<String>,
}

/// A domain as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRow {
    /// In A-labels, lower case, no trailing dot.
    pub name: String,
    /// Uid of the owner; none: not ours, or retained.
    pub owner: Option<String>,
    /// Whether it was taken over rather than made.
    pub adopted: bool,
    /// Id of the tenant.
    pub tenant: Option<String>,
    /// Whether mail is taken and people sign in.
    pub active: bool,
    /// A-label of the domain whose addresses work here too.
    pub alias_of: Option<String>,
}

/// A password to set.
#[derive(Clone)]
pub enum PasswordWant {
    /// Leave what is there (of a mailbox that exists).
    Keep,
    /// Plain text. It is written only if it differs from what was declared before, so that a user's own change stays.
    Plain {
        /// UTF-8, hashed as it is.
        text: SecretText,
        /// Made by us with at least 128 bits of entropy: a fast salted hash is enough.
        generated: bool,
        /// Token that changes with the declared value, kept at the server to compare with later.
        version: String,
        /// Write even if the declared value is the same (`management: Enforce` and drift).
        force: bool,
    },
    /// A PHC or crypt string, taken as it is.
    Hash {
        /// The string, without a `{SCHEME}` prefix or with one.
        text: SecretText,
        /// As with [`PasswordWant::Plain`].
        version: String,
        /// As with [`PasswordWant::Plain`].
        force: bool,
    },
}

impl std::fmt::Debug for PasswordWant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PasswordWant::Keep => "Keep",
            PasswordWant::Plain { .. } => "Plain",
            PasswordWant::Hash { .. } => "Hash",
        })
    }
}

/// A mailbox as it should be.
#[derive(Debug, Clone)]
pub struct MailboxWant {
    /// Whose it is to be.
    pub owner: Owner,
    /// Id of the tenant that the domain must be in.
    pub tenant: String,
    /// Full address, A-label.
    pub address: String,
    /// [`MailboxRow::id`] that it had here before, if it is made again: it gets it back, and with it the data that still
    /// lies there, unless another mailbox has it by now. Without meaning for one that is there.
    pub former: Option<String>,
    /// All but the password.
    pub settings: MailboxSettings,
    /// Compared by its token alone: the server gives no password back.
    pub password: PasswordWant,
}

/// What can be compared of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxSettings {
    /// Name of outgoing mail.
    pub display_name: String,
    /// Bytes; 0 = no bound.
    pub quota: u64,
    /// Whether anybody may sign in.
    pub login: bool,
    /// Whether mail is taken.
    pub receive: bool,
    /// Which protocols may be used.
    pub access: Access,
    /// Where mail goes on to, sorted; empty = nowhere.
    pub forward_to: Vec<String>,
    /// Whether the mailbox keeps what is forwarded.
    pub keep_copy: bool,
}

/// A mailbox as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxRow {
    /// Full address, A-label.
    pub address: String,
    /// What the server calls it: never used again for another one, only for the same one made again.
    pub id: String,
    /// Uid of the owner; none: not ours, or retained.
    pub owner: Option<String>,
    /// Whether it was taken over rather than made.
    pub adopted: bool,
    /// All but the password.
    pub settings: MailboxSettings,
    /// Token of the declared password that was written last.
    pub password_version: Option<String>,
    /// Whether the password was changed since by somebody else.
    pub password_drifted: bool,
    /// Something that no other field shows is still due (caches, sessions, rows beside it): the same `ensure` again
    /// does it.
    pub effects_due: bool,
    /// Removal has begun.
    pub removing: bool,
    /// Bytes in use.
    pub used: u64,
}

/// An alias as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasWant {
    /// Whose it is to be.
    pub owner: Owner,
    /// Id of the tenant that the domain must be in.
    pub tenant: String,
    /// Full address, A-label; `@domain` for the catch-all.
    pub address: String,
    /// What can be compared.
    pub settings: AliasSettings,
}

/// What can be compared of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasSettings {
    /// Addresses, sorted, each once.
    pub targets: Vec<String>,
    /// Whether the targets may send as it.
    pub send_as: bool,
    /// Name for the identity.
    pub display_name: String,
    /// Whether mail is taken.
    pub active: bool,
}

/// An alias as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasRow {
    /// Full address, A-label; `@domain` for the catch-all.
    pub address: String,
    /// Uid of the owner; none: not ours.
    pub owner: Option<String>,
    /// Whether it was taken over rather than made.
    pub adopted: bool,
    /// What can be compared.
    pub settings: AliasSettings,
    /// A step that must follow a change is still due: the same `ensure` again does it.
    pub effects_due: bool,
}

/// A signing key at the server. The private half never leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimRow {
    /// Label in front of `._domainkey` (RFC 6376, 3.1).
    pub selector: String,
    /// Uid of the owner; none: not ours.
    pub owner: Option<String>,
    /// What it signs with; of a key that others made, as far as its public half tells.
    pub algorithm: DkimAlgorithm,
    /// Value of `p=` (base64).
    pub public: String,
    /// Whether mail is signed with it.
    pub active: bool,
    /// When it was made, by the server's clock; none: it does not say.
    pub created: Option<jiff::Timestamp>,
}

/// A new signing key.
#[derive(Clone)]
pub struct DkimKey {
    /// What it signs with.
    pub algorithm: DkimAlgorithm,
    /// PKCS#8 in PEM (RFC 5958, RFC 7468).
    pub private_pem: SecretText,
    /// Value of `p=` (base64): SPKI for RSA (RFC 6376), the 32 raw bytes for Ed25519 (RFC 8463).
    pub public: String,
}

/// All that the server has of one domain, read in a bounded number of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainSnapshot {
    /// The domain itself.
    pub domain: Option<DomainRow>,
    /// Mailboxes by address.
    pub mailboxes: BTreeMap<String, MailboxRow>,
    /// Aliases by address, without the rows that belong to mailboxes.
    pub aliases: BTreeMap<String, AliasRow>,
    /// Signing keys, in the order in which they were made.
    pub dkim: Vec<DkimRow>,
}

impl DomainSnapshot {
    /// Whether the domain is there and the owner's.
    pub fn domain_is_of(&self, owner: &str) -> bool {
        self.domain.as_ref().is_some_and(|r| r.owner.as_deref() == Some(owner))
    }

    /// Whether the mailbox of this address is there and the owner's.
    pub fn mailbox_is_of(&self, address: &str, owner: &str) -> bool {
        self.mailboxes.get(address).is_some_and(|r| r.owner.as_deref() == Some(owner))
    }

    /// Whether the alias of this address is there and the owner's.
    pub fn alias_is_of(&self, address: &str, owner: &str) -> bool {
        self.aliases.get(address).is_some_and(|r| r.owner.as_deref() == Some(owner))
    }
}

/// What becomes of what an object had at the server (`deletionPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is destroyed.
    Destroy,
    /// It stays, switched off and owned by nobody.
    Keep,
}

/// How a parent left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It is gone.
    Gone,
    /// It was switched off and is owned by nobody now, since so many retained objects are below it.
    Kept(u64),
    /// It is owned by nobody now and goes on as it is: so many objects of others below it are in use.
    Used(u64),
}

/// A groupware server.
#[async_trait]
pub trait GroupwareServer: Send + Sync {
    /// Word for the status: `sogo`.
    fn provider(&self) -> &'static str;

    /// Is it there, are our credentials good, what can it do? Under `schema: Managed` makes the tables that are missing.
    async fn probe(&self) -> Result<ServerInfo>;

    /// Makes the tenant, or changes it into what is wanted. Found by owner, never by id.
    async fn ensure_tenant(&self, want: &TenantWant) -> Result<(TenantRow, Made)>;
    /// The tenant of an owner.
    async fn tenant(&self, owner: &str) -> Result<Option<TenantRow>>;
    /// Ends the tenant of an owner; keeps it while something retained is below, switched off if no domain of others is on.
    /// [`BackendError::NotFound`]: the owner has none. [`BackendError::Conflict`]: owned domains are below.
    async fn remove_tenant(&self, owner: &str) -> Result<Left>;

    /// Everything of a domain in a bounded number of requests, however many mailboxes it has.
    async fn read_domain(&self, name: &str) -> Result<DomainSnapshot>;
    /// Makes the domain, or changes it into what is wanted. A domain of another tenant is never adopted.
    async fn ensure_domain(&self, want: &DomainWant) -> Result<(DomainRow, Made)>;
    /// Ends a domain; keeps it while something retained, or something foreign, is below. Kept it is switched off, unless
    /// mailboxes or aliases of others below are in use: those go on. Own signing keys go with it.
    /// [`BackendError::NotFound`]: the owner has none of that name. With [`Removal::Keep`] it is kept in any case.
    /// [`BackendError::Conflict`]: owned mailboxes or aliases are below.
    async fn remove_domain(&self, owner: &str, name: &str, removal: Removal) -> Result<Left>;

    /// Makes the mailbox, or changes it into what is wanted, and does what must follow (caches, sessions).
    async fn ensure_mailbox(&self, want: &MailboxWant) -> Result<(MailboxRow, Made)>;
    /// Removal, step 1: no sign-in, no new mail, sessions ended, caches cleared. What is needed to find the data later is kept.
    async fn disable_mailbox(&self, owner: &str, address: &str) -> Result<()>;
    /// Removal, step 2, only after step 1: contacts, calendars and mail are destroyed, and seen to be gone.
    async fn purge_mailbox(&self, owner: &str, address: &str) -> Result<()>;
    /// Removal, step 3, only after step 2: the mailbox itself.
    async fn drop_mailbox(&self, owner: &str, address: &str) -> Result<()>;
    /// Instead of steps 2 and 3: the mailbox stays, switched off and owned by nobody.
    async fn release_mailbox(&self, owner: &str, address: &str) -> Result<()>;

    /// Makes the alias, or changes it into what is wanted.
    async fn ensure_alias(&self, want: &AliasWant) -> Result<(AliasRow, Made)>;
    /// Ends an alias. With [`Removal::Keep`] it stays, switched off and owned by nobody.
    async fn remove_alias(&self, owner: &str, address: &str, removal: Removal) -> Result<()>;
    /// Addresses of owned aliases of the mailbox' own tenant that deliver to it, as the server has them now.
    async fn aliases_to(&self, address: &str) -> Result<Vec<String>>;

    /// Gives the signer a key; an own one of that selector that is there already stays, and is returned.
    async fn ensure_dkim_key(&self, owner: &str, domain: &str, selector: &str, key: &DkimKey) -> Result<DkimRow>;
    /// Signs with exactly these own keys from now on. Of a domain that was adopted, what nobody owns signs no more; any
    /// other key that signs in the place of one of these is [`BackendError::Exists`].
    async fn sign_with(&self, owner: &str, domain: &str, selectors: &[String]) -> Result<()>;
    /// Takes a key away from the signer; one that is not there is fine.
    async fn remove_dkim_key(&self, owner: &str, domain: &str, selector: &str) -> Result<()>;
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
