use super::*;
use crate::metered::Metered;
use mailtenant_backend::metering::RequestMetrics;
use std::sync::Arc;

/// A server that answers its probe and does nothing else.
struct Bare {
    said: BTreeSet<Capability>,
    signer: Option<Signer>,
}

struct Signer(BTreeSet<DkimAlgorithm>);

fn no<T>() -> Result<T> {
    Err(BackendError::Unsupported("anything".into()))
}

#[async_trait]
impl GroupwareServer for Bare {
    fn provider(&self) -> &'static str {
        "bare"
    }
    async fn probe(&self) -> Result<ServerInfo> {
        Ok(ServerInfo { version: "1".into(), capabilities: self.said.clone(), behind: None })
    }
    async fn ensure_tenant(&self, _: &TenantWant) -> Result<(TenantRow, Made)> {
        no()
    }
    async fn tenant(&self, _: &Uid) -> Result<Option<TenantRow>> {
        no()
    }
    async fn remove_tenant(&self, _: &Uid) -> Result<TenantRemoval> {
        no()
    }
    async fn read_domain(&self, _: &DomainName) -> Result<DomainSnapshot> {
        no()
    }
    async fn ensure_domain(&self, _: &DomainWant) -> Result<(DomainRow, Made)> {
        no()
    }
    async fn remove_domain(&self, _: &Uid, _: &DomainName, _: Removal) -> Result<Left> {
        no()
    }
    async fn ensure_mailbox(&self, _: &MailboxWant) -> Result<(MailboxRow, Made)> {
        no()
    }
    async fn disable_mailbox(&self, _: &Uid, _: &Address) -> Result<()> {
        no()
    }
    async fn purge_mailbox(&self, _: &Uid, _: &Address) -> Result<()> {
        no()
    }
    async fn drop_mailbox(&self, _: &Uid, _: &Address) -> Result<()> {
        no()
    }
    async fn release_mailbox(&self, _: &Uid, _: &Address) -> Result<()> {
        no()
    }
    async fn ensure_alias(&self, _: &AliasWant) -> Result<(AliasRow, Made)> {
        no()
    }
    async fn remove_alias(&self, _: &Uid, _: &Address, _: Removal) -> Result<()> {
        no()
    }
    async fn aliases_to(&self, _: &Address) -> Result<Vec<Address>> {
        no()
    }
    fn dkim(&self) -> Option<&dyn DkimSigner> {
        self.signer.as_ref().map(|s| s as &dyn DkimSigner)
    }
}

#[async_trait]
impl DkimSigner for Signer {
    fn algorithms(&self) -> BTreeSet<DkimAlgorithm> {
        self.0.clone()
    }
    async fn ensure_dkim_key(&self, _: &Uid, _: &DomainName, _: &Selector, _: &DkimKey) -> Result<DkimRow> {
        no()
    }
    async fn sign_with(&self, _: &Uid, _: &DomainName, _: &[DkimRow]) -> Result<()> {
        Ok(())
    }
    async fn remove_dkim_key(&self, _: &Uid, _: &DomainName, _: &Selector) -> Result<()> {
        no()
    }
}

/// Whatever a probe says: what a server signs with is what its signer signs with, also behind the wrapper that counts.
#[tokio::test]
async fn a_facet_is_the_capability() {
    use Capability::{DkimEd25519, DkimRsa, Suspend};
    use DkimAlgorithm::{Ed25519, RSA2048};
    for (said, signer, can) in [
        (vec![Suspend], None, vec![Suspend]),
        (vec![Suspend, DkimRsa], None, vec![Suspend]),
        (vec![Suspend], Some(vec![]), vec![Suspend]),
        (vec![Suspend, DkimEd25519], Some(vec![RSA2048]), vec![Suspend, DkimRsa]),
        (vec![], Some(vec![RSA2048, Ed25519]), vec![DkimRsa, DkimEd25519]),
    ] {
        let signer = signer.map(|all| Signer(all.into_iter().collect()));
        let has_one = signer.is_some();
        let bare = Arc::new(Bare { said: said.into_iter().collect(), signer });
        let metered = Metered::new(Arc::clone(&bare) as _, "b", RequestMetrics::default());
        for server in [&*bare as &dyn GroupwareServer, &metered] {
            let info = examine(server).await.unwrap();
            assert_eq!(info.capabilities, can.iter().copied().collect());
            assert_eq!(server.dkim().is_some(), has_one);
            if let Some(signer) = server.dkim() {
                let (owner, domain) = (Uid::new("o"), DomainName::from_server("a.test"));
                assert_eq!(signer.sign_with(&owner, &domain, &[]).await, Ok(()));
            }
        }
    }
}
