//! Facets: what a server has as a whole or lacks as a whole, with calls of its own. Each is a trait; that a server has it
//! is the capability, so a server without it implements nothing, and a capability without its calls cannot be said.
//!
//! Only what a server of the field may really lack is a facet. Tenants, domains, mailboxes, their removal and aliases are
//! in [`GroupwareServer`]: a server without one of them cannot keep what the API promises. A capability that is a setting
//! of a mailbox, an alias or a tenant has no calls, so it stays a word of [`Capability`] that the probe says.

use crate::*;
use std::collections::BTreeSet;

/// Signs mail with keys that we make (RFC 6376). Keys belong to a domain's owner and go with the domain.
#[async_trait]
pub trait DkimSigner: Send + Sync {
    /// What it signs with, as the last probe found it set up; nothing before the first probe.
    fn algorithms(&self) -> BTreeSet<DkimAlgorithm>;

    /// Gives the signer a key; an own one of that selector that is there already stays, and is returned.
    async fn ensure_dkim_key(
        &self,
        owner: &Uid,
        domain: &DomainName,
        selector: &Selector,
        key: &DkimKey,
    ) -> Result<DkimRow>;
    /// Signs with exactly these own keys from now on, as they were read: one that has another public half by now is
    /// [`BackendError::NotFound`], since the record that was published is not its own. Of a domain that was adopted, what
    /// nobody owns signs no more; any other key that signs in the place of one of these is [`BackendError::Exists`].
    async fn sign_with(&self, owner: &Uid, domain: &DomainName, keys: &[DkimRow]) -> Result<()>;
    /// Takes a key away from the signer; one that is not there is fine.
    async fn remove_dkim_key(&self, owner: &Uid, domain: &DomainName, selector: &Selector) -> Result<()>;
}

/// What the facets of a server let it do.
pub fn capabilities(server: &dyn GroupwareServer) -> BTreeSet<Capability> {
    let algorithms = server.dkim().map(DkimSigner::algorithms).unwrap_or_default();
    algorithms.into_iter().map(Capability::from).collect()
}

/// Probes a server: all that it can do, by its settings and by its facets.
pub async fn examine(server: &dyn GroupwareServer) -> Result<ServerInfo> {
    let mut info = server.probe().await?;
    info.capabilities.retain(|c| !c.is_of_facet());
    info.capabilities.extend(capabilities(server));
    Ok(info)
}

#[cfg(test)]
#[path = "facets_tests.rs"]
mod tests;
