//! What is asked of a server and what it answers: a `Want` is what should be, a `Row` what is.

use crate::{Access, AddressBook, Capability, DkimAlgorithm};
use mailtenant_backend::{BackendError, Origin, SecretText, Uid};
use mailtenant_mail::{Address, DomainName, Selector};
use std::collections::{BTreeMap, BTreeSet};

mailtenant_mail::text_type! {
    /// What a server calls a tenant.
    #[derive(Default)]
    TenantId
}

impl TenantId {
    /// As we ask for it, or as a server has it.
    pub fn new(text: impl Into<String>) -> Self {
        TenantId(text.into())
    }
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Version of the server, for the status.
    pub version: String,
    /// What it can do: of a probe its settings alone, of [`crate::facets::examine`] all.
    pub capabilities: BTreeSet<Capability>,
    /// Why what the server keeps for us (tables, views) is not as this release wants it, though mail is served; what needs
    /// it is a missing capability. None: it is.
    pub behind: Option<BackendError>,
}

/// Who owns an object at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `metadata.uid` of the Kubernetes object.
    pub uid: Uid,
    /// What it takes over of that which nobody owns.
    pub adopt: Adopt,
    /// Where the object stands; noted with the uid.
    pub origin: Origin,
    /// Take over what this uid owns: an object of the same place that is no more (I14). The caller has made sure of that.
    pub replaces: Option<Uid>,
}

/// What an object takes over of that which nobody owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Adopt {
    /// Nothing (`adoptionPolicy: Never`).
    #[default]
    Nothing,
    /// What an object of the same tenant had and let go (`deletionPolicy: Retain`).
    Kept,
    /// All of it, also what was there before its tenant came. The caller has made sure that it is entitled to the name.
    All,
}

impl Owner {
    /// Whether it takes over what nobody owns; `origin`: where the last owner stood.
    pub fn adopts(&self, origin: Option<&Origin>) -> bool {
        match self.adopt {
            Adopt::Nothing => false,
            Adopt::Kept => origin.is_some_and(|o| o.same_tenant(&self.origin)),
            Adopt::All => true,
        }
    }
}

/// How something came to be in the state that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was not there before.
    Created,
    /// It was there, owned by nobody, and is ours now.
    Adopted,
    /// It was there, owned by [`Owner::replaces`], and is ours now.
    TakenOver,
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
    /// Ids in order of preference; the first that is free is taken when the tenant is made, and never changes then.
    pub ids: Vec<TenantId>,
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
    pub id: TenantId,
    /// Who owns it.
    pub owner: Option<Uid>,
    /// Where the object stood that owns it, or did last; none: nobody noted it.
    pub origin: Option<Origin>,
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

/// Who must own what something is put into. The caller knows a tenant's id and that a domain is there from statuses, which
/// others may have written (I13): the server compares the owners. None: not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Owner of the tenant.
    pub tenant: Option<Uid>,
    /// Owner of the domain.
    pub domain: Option<Uid>,
}

/// A domain as it should be: active, and in its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainWant {
    /// Whose it is to be.
    pub owner: Owner,
    /// The domain.
    pub name: DomainName,
    /// Its tenant.
    pub tenant: TenantId,
    /// Who must own the tenant.
    pub holders: Holders,
    /// The domain whose addresses work here too.
    pub alias_of: Option<DomainName>,
}

/// A domain as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRow {
    /// The domain.
    pub name: DomainName,
    /// Who owns it; none: not ours, or retained.
    pub owner: Option<Uid>,
    /// Where the object stood that owns it, or did last; none: nobody noted it.
    pub origin: Option<Origin>,
    /// Whether it was taken over rather than made.
    pub adopted: bool,
    /// Its tenant.
    pub tenant: Option<TenantId>,
    /// Whether mail is taken and people sign in.
    pub active: bool,
    /// The domain whose addresses work here too.
    pub alias_of: Option<DomainName>,
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
    /// The tenant that the domain must be in.
    pub tenant: TenantId,
    /// Who must own the tenant and the domain.
    pub holders: Holders,
    /// Its address.
    pub address: Address,
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
    pub forward_to: Vec<Address>,
    /// Whether the mailbox keeps what is forwarded.
    pub keep_copy: bool,
}

/// A mailbox as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxRow {
    /// Its address.
    pub address: Address,
    /// What the server calls it: never used again for another one, only for the same one made again.
    pub id: String,
    /// Who owns it; none: not ours, or retained.
    pub owner: Option<Uid>,
    /// Where the object stood that owns it, or did last; none: nobody noted it.
    pub origin: Option<Origin>,
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
    /// The tenant that the domain must be in.
    pub tenant: TenantId,
    /// Who must own the tenant and the domain.
    pub holders: Holders,
    /// Its address, or that of the catch-all.
    pub address: Address,
    /// What can be compared.
    pub settings: AliasSettings,
}

/// What can be compared of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasSettings {
    /// Addresses, sorted, each once.
    pub targets: Vec<Address>,
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
    /// Its address, or that of the catch-all.
    pub address: Address,
    /// Who owns it; none: not ours.
    pub owner: Option<Uid>,
    /// Where the object stood that owns it, or did last; none: nobody noted it.
    pub origin: Option<Origin>,
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
    /// Where its record stands.
    pub selector: Selector,
    /// Who owns it; none: not ours.
    pub owner: Option<Uid>,
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
    pub mailboxes: BTreeMap<Address, MailboxRow>,
    /// Aliases by address, without the rows that belong to mailboxes.
    pub aliases: BTreeMap<Address, AliasRow>,
    /// Signing keys, in the order in which they were made.
    pub dkim: Vec<DkimRow>,
}

impl DomainSnapshot {
    /// Whether the domain is there and the owner's.
    pub fn domain_is_of(&self, owner: &Uid) -> bool {
        self.domain.as_ref().is_some_and(|r| r.owner.as_ref() == Some(owner))
    }

    /// Whether the mailbox of this address is there and the owner's.
    pub fn mailbox_is_of(&self, address: &Address, owner: &Uid) -> bool {
        self.mailboxes.get(address).is_some_and(|r| r.owner.as_ref() == Some(owner))
    }

    /// Whether the alias of this address is there and the owner's.
    pub fn alias_is_of(&self, address: &Address, owner: &Uid) -> bool {
        self.aliases.get(address).is_some_and(|r| r.owner.as_ref() == Some(owner))
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

/// What became of the removal of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRemoval {
    /// It left.
    Left(Left),
    /// It is as it was: these domains in it have owners.
    Holds(Vec<DomainRow>),
}
