//! Counts and times every call to a groupware server; changes nothing.

use super::*;
use mailtenant_backend::metering::RequestMetrics;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A server whose calls are counted.
pub struct Metered {
    inner: Arc<dyn GroupwareServer>,
    name: String,
    metrics: RequestMetrics,
}

impl Metered {
    /// Counts the calls to `inner` under the backend's name.
    pub fn new(inner: Arc<dyn GroupwareServer>, name: &str, metrics: RequestMetrics) -> Self {
        Metered { inner, name: name.to_owned(), metrics }
    }

    async fn count<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.metrics.count(&self.name, operation, call).await
    }
}

impl Metered {
    fn signer(&self) -> Result<&dyn DkimSigner> {
        self.inner.dkim().ok_or_else(|| BackendError::Unsupported("signing".into()))
    }
}

#[async_trait]
impl GroupwareServer for Metered {
    fn provider(&self) -> &'static str {
        self.inner.provider()
    }
    async fn probe(&self) -> Result<ServerInfo> {
        self.count("probe", self.inner.probe()).await
    }
    async fn ensure_tenant(&self, want: &TenantWant) -> Result<(TenantRow, Made)> {
        self.count("ensure_tenant", self.inner.ensure_tenant(want)).await
    }
    async fn tenant(&self, owner: &Uid) -> Result<Option<TenantRow>> {
        self.count("tenant", self.inner.tenant(owner)).await
    }
    async fn remove_tenant(&self, owner: &Uid) -> Result<TenantRemoval> {
        self.count("remove_tenant", self.inner.remove_tenant(owner)).await
    }
    async fn read_domain(&self, name: &DomainName) -> Result<DomainSnapshot> {
        self.count("read_domain", self.inner.read_domain(name)).await
    }
    async fn ensure_domain(&self, want: &DomainWant) -> Result<(DomainRow, Made)> {
        self.count("ensure_domain", self.inner.ensure_domain(want)).await
    }
    async fn remove_domain(&self, owner: &Uid, name: &DomainName, removal: Removal) -> Result<Left> {
        self.count("remove_domain", self.inner.remove_domain(owner, name, removal)).await
    }
    async fn ensure_mailbox(&self, want: &MailboxWant) -> Result<(MailboxRow, Made)> {
        self.count("ensure_mailbox", self.inner.ensure_mailbox(want)).await
    }
    async fn disable_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.count("disable_mailbox", self.inner.disable_mailbox(owner, address)).await
    }
    async fn purge_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.count("purge_mailbox", self.inner.purge_mailbox(owner, address)).await
    }
    async fn drop_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.count("drop_mailbox", self.inner.drop_mailbox(owner, address)).await
    }
    async fn release_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.count("release_mailbox", self.inner.release_mailbox(owner, address)).await
    }
    async fn ensure_alias(&self, want: &AliasWant) -> Result<(AliasRow, Made)> {
        self.count("ensure_alias", self.inner.ensure_alias(want)).await
    }
    async fn remove_alias(&self, owner: &Uid, address: &Address, removal: Removal) -> Result<()> {
        self.count("remove_alias", self.inner.remove_alias(owner, address, removal)).await
    }
    async fn aliases_to(&self, address: &Address) -> Result<Vec<Address>> {
        self.count("aliases_to", self.inner.aliases_to(address)).await
    }
    fn dkim(&self) -> Option<&dyn DkimSigner> {
        self.inner.dkim().map(|_| self as &dyn DkimSigner)
    }
}

#[async_trait]
impl DkimSigner for Metered {
    fn algorithms(&self) -> BTreeSet<DkimAlgorithm> {
        self.inner.dkim().map(DkimSigner::algorithms).unwrap_or_default()
    }
    async fn ensure_dkim_key(
        &self,
        owner: &Uid,
        domain: &DomainName,
        selector: &Selector,
        key: &DkimKey,
    ) -> Result<DkimRow> {
        self.count("ensure_dkim_key", self.signer()?.ensure_dkim_key(owner, domain, selector, key)).await
    }
    async fn sign_with(&self, owner: &Uid, domain: &DomainName, keys: &[DkimRow]) -> Result<()> {
        self.count("sign_with", self.signer()?.sign_with(owner, domain, keys)).await
    }
    async fn remove_dkim_key(&self, owner: &Uid, domain: &DomainName, selector: &Selector) -> Result<()> {
        self.count("remove_dkim_key", self.signer()?.remove_dkim_key(owner, domain, selector)).await
    }
}
