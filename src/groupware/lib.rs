//! What the operator asks of a groupware server: one trait, one folder a provider.
//!
//! Controllers know only this file. A provider translates it for its server and may not touch Kubernetes.
//! Every call may be repeated: after a lost reply the same call again gives the same end state. Every object
//! at the server carries the uid of the Kubernetes object that owns it; a call never changes or removes what
//! carries another uid, or none unless `adopt` is said (I3); what carries [`Owner::replaces`] is taken over (I14).

mod capability;
mod dovecot;
pub mod facets;
pub mod metered;
mod model;
pub mod ownership;
pub mod providers;
pub mod signing;

use async_trait::async_trait;
pub use capability::Capability;
pub use facets::DkimSigner;
pub use mailtenant_backend::{BackendError, Origin, Result, Uid};
pub use mailtenant_mail::policy::{Access, AddressBook, DkimAlgorithm};
pub use mailtenant_mail::{Address, DomainName, Selector};
pub use model::*;

/// A groupware server.
#[async_trait]
pub trait GroupwareServer: Send + Sync {
    /// Word for the status: `sogo`.
    fn provider(&self) -> &'static str;

    /// Is it there, are our credentials good, which settings can it do? What it can do by its facets is not said here:
    /// [`facets::examine`] adds it. Under `schema: Managed` makes the tables that are missing.
    async fn probe(&self) -> Result<ServerInfo>;

    /// Makes the tenant, or changes it into what is wanted. Found by owner, never by id.
    async fn ensure_tenant(&self, want: &TenantWant) -> Result<(TenantRow, Made)>;
    /// The tenant of an owner.
    async fn tenant(&self, owner: &Uid) -> Result<Option<TenantRow>>;
    /// Ends the tenant of an owner; keeps it while something retained is below, switched off if no domain of others is on.
    /// With owned domains below nothing is done, and they are named. [`BackendError::NotFound`]: the owner has none.
    async fn remove_tenant(&self, owner: &Uid) -> Result<TenantRemoval>;

    /// Everything of a domain in a bounded number of requests, however many mailboxes it has.
    async fn read_domain(&self, name: &DomainName) -> Result<DomainSnapshot>;
    /// Makes the domain, or changes it into what is wanted. A domain of another tenant is never adopted.
    /// [`BackendError::NotFound`]: there is no such tenant. [`BackendError::Conflict`]: it is the owner's already, in
    /// another tenant; or the tenant is not that of [`DomainWant::holders`].
    async fn ensure_domain(&self, want: &DomainWant) -> Result<(DomainRow, Made)>;
    /// Ends a domain; keeps it while something retained, or something foreign, is below. Kept it is switched off, unless
    /// mailboxes or aliases of others below are in use: those go on. Own signing keys go with it.
    /// [`BackendError::NotFound`]: the owner has none of that name. With [`Removal::Keep`] it is kept in any case.
    /// [`BackendError::Conflict`]: owned mailboxes or aliases are below.
    async fn remove_domain(&self, owner: &Uid, name: &DomainName, removal: Removal) -> Result<Left>;

    /// Makes the mailbox, or changes it into what is wanted, and does what must follow (caches, sessions). An address is
    /// one thing: [`BackendError::Exists`] names the owner of an alias that has it. [`BackendError::NotFound`]: there is
    /// no such domain. [`BackendError::Conflict`]: the domain is in another tenant or another owner's, or the mailbox is
    /// being removed. [`BackendError::Rejected`]: the address is not in its canonical form.
    async fn ensure_mailbox(&self, want: &MailboxWant) -> Result<(MailboxRow, Made)>;
    /// Removal, step 1: no sign-in, no new mail, sessions ended, caches cleared. What is needed to find the data later is kept.
    async fn disable_mailbox(&self, owner: &Uid, address: &Address) -> Result<()>;
    /// Removal, step 2, only after step 1: contacts, calendars and mail are destroyed, and seen to be gone.
    async fn purge_mailbox(&self, owner: &Uid, address: &Address) -> Result<()>;
    /// Removal, step 3, only after step 2: the mailbox itself.
    async fn drop_mailbox(&self, owner: &Uid, address: &Address) -> Result<()>;
    /// Instead of steps 2 and 3: the mailbox stays, switched off and owned by nobody.
    async fn release_mailbox(&self, owner: &Uid, address: &Address) -> Result<()>;

    /// Makes the alias, or changes it into what is wanted; its targets are kept sorted, each once. Errors as of
    /// [`GroupwareServer::ensure_mailbox`]; [`BackendError::Conflict`] too if a target of the tenant is being removed.
    async fn ensure_alias(&self, want: &AliasWant) -> Result<(AliasRow, Made)>;
    /// Ends an alias. With [`Removal::Keep`] it stays, switched off and owned by nobody.
    async fn remove_alias(&self, owner: &Uid, address: &Address, removal: Removal) -> Result<()>;
    /// Addresses of owned aliases of the mailbox' own tenant that deliver to it, as the server has them now.
    async fn aliases_to(&self, address: &Address) -> Result<Vec<Address>>;

    /// Its signer; none: it signs no mail with keys that we make. See [`facets`].
    fn dkim(&self) -> Option<&dyn DkimSigner> {
        None
    }
}
