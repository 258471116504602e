//! Planted bugs: wrappers outside of the operator that make it behave as if it had one. Each must be found, or the
//! simulator has gone blind.

use async_trait::async_trait;
use mailtenant_api::{DNSBackendSpec, GroupwareBackendSpec};
use mailtenant_backend::SecretText;
use mailtenant_controllers::connect::{ConnectDns, ConnectGroupware, Secrets};
use mailtenant_dns::{
    Change, DnsCapabilities, DnsServer, RecipientProbe, RecordType, Resolver, RrSet, Verdict, Wildcard,
};
use mailtenant_groupware::*;
use std::sync::Arc;
use std::time::Duration;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An error in cleanup is taken for "done" (I2).
    CleanupErrorIsDone,
    /// An `ensure` whose answer was lost is taken for done (I4).
    EnsureErrorIsDone,
    /// What is at the backend already is taken over without being asked to (I3).
    AlwaysAdopts,
    /// What nobody owns is taken over by whoever asks, whether the name is its tenant's or not (I3).
    AdoptsUnentitled,
    /// The mailbox is dropped with its mail whatever the policy says (I3).
    ReleaseDestroys,
    /// A quota that was lowered by hand reads as if it were not (I10 after drift).
    BlindRead,
    /// Nothing keeps a mailbox that an alias delivers to (I1).
    NoAliasesTo,
    /// A list that must be live is answered from a cache (I1).
    CachedLists,
    /// Whole record sets are written, whatever else was in them (I8).
    ReplacesSets,
    /// The last look before a deletion sees no more than the watches have told (I3).
    LooksAtWatches,
    /// Waits end by the operator's own clock (I7).
    OwnClockOnly,
    /// What belonged to an object that is no more is never taken over (I14).
    TakesNothingOver,
    /// Of the authoritative servers only the primary is asked (I7, signatures).
    AsksPrimaryOnly,
    /// The annotation `orphan` lets go what no backend blocks (I2).
    OrphansAtOnce,
    /// What the mail server refuses is taken for accepted (I7).
    BelievesRefused,
    /// What is taken over gets a new password (I14).
    NewPasswords,
    /// Every name has an address (I7).
    ResolvesAnything,
    /// Of several recipients the first one is asked for (I7).
    AsksOne,
    /// No name is answered by a wildcard (I8).
    OverlooksWildcards,
}

impl Bug {
    /// Each, and the properties by which it is seen.
    pub const ALL: [(Bug, &str); 19] = [
        (Bug::CleanupErrorIsDone, "I1 I2 I3 I9 I10"),
        (Bug::EnsureErrorIsDone, "I3 I4 I9 I10 end"),
        (Bug::AlwaysAdopts, "I3"),
        (Bug::AdoptsUnentitled, "I3"),
        (Bug::ReleaseDestroys, "I3"),
        (Bug::BlindRead, "I5 I10"),
        (Bug::NoAliasesTo, "I1"),
        (Bug::CachedLists, "I1"),
        (Bug::ReplacesSets, "I8"),
        (Bug::LooksAtWatches, "I3 I5 I7"),
        (Bug::OwnClockOnly, "I7"),
        (Bug::TakesNothingOver, "end"),
        (Bug::AsksPrimaryOnly, "I7 signature"),
        (Bug::OrphansAtOnce, "I1 I2 I8 I9"),
        (Bug::BelievesRefused, "I7"),
        (Bug::NewPasswords, "I14"),
        (Bug::ResolvesAnything, "I7"),
        (Bug::AsksOne, "I7"),
        (Bug::OverlooksWildcards, "I8"),
    ];
}

/// The real provider with a bug.
struct Planted {
    inner: Arc<dyn GroupwareServer>,
    bug: Bug,
}

impl Planted {
    fn cleanup<T>(&self, result: Result<T>, done: T) -> Result<T> {
        match result {
            Err(BackendError::Unavailable { .. } | BackendError::Unauthorized(_))
                if self.bug == Bug::CleanupErrorIsDone =>
            {
                Ok(done)
            }
            other => other,
        }
    }
    fn owner(&self, owner: &Owner) -> Owner {
        let replaces = owner.replaces.clone().filter(|_| self.bug != Bug::TakesNothingOver);
        let adopt = match (self.bug, owner.adopt) {
            (Bug::AlwaysAdopts, _) | (Bug::AdoptsUnentitled, Adopt::Kept) => Adopt::All,
            (_, adopt) => adopt,
        };
        Owner { adopt, replaces, ..owner.clone() }
    }
}

#[async_trait]
impl GroupwareServer for Planted {
    fn provider(&self) -> &'static str {
        self.inner.provider()
    }
    async fn probe(&self) -> Result<ServerInfo> {
        self.inner.probe().await
    }
    async fn ensure_tenant(&self, want: &TenantWant) -> Result<(TenantRow, Made)> {
        let want = TenantWant { owner: self.owner(&want.owner), ..want.clone() };
        self.inner.ensure_tenant(&want).await
    }
    async fn tenant(&self, owner: &Uid) -> Result<Option<TenantRow>> {
        self.inner.tenant(owner).await
    }
    async fn remove_tenant(&self, owner: &Uid) -> Result<TenantRemoval> {
        self.cleanup(self.inner.remove_tenant(owner).await, TenantRemoval::Left(Left::Gone))
    }
    async fn read_domain(&self, name: &DomainName) -> Result<DomainSnapshot> {
        let mut rows = self.inner.read_domain(name).await?;
        if self.bug == Bug::BlindRead {
            rows.mailboxes.values_mut().for_each(|m| m.settings.quota = m.settings.quota.max(1 << 30));
        }
        Ok(rows)
    }
    async fn ensure_domain(&self, want: &DomainWant) -> Result<(DomainRow, Made)> {
        let want = DomainWant { owner: self.owner(&want.owner), ..want.clone() };
        match self.inner.ensure_domain(&want).await {
            Err(BackendError::Unavailable { .. }) if self.bug == Bug::EnsureErrorIsDone => {
                let row = DomainRow {
                    name: want.name.clone(),
                    owner: Some(want.owner.uid.clone()),
                    origin: Some(want.owner.origin.clone()),
                    adopted: false,
                    tenant: Some(want.tenant.clone()),
                    active: true,
                    alias_of: want.alias_of.clone(),
                };
                Ok((row, Made::Created))
            }
            other => other,
        }
    }
    async fn remove_domain(&self, owner: &Uid, name: &DomainName, removal: Removal) -> Result<Left> {
        self.cleanup(self.inner.remove_domain(owner, name, removal).await, Left::Gone)
    }
    async fn ensure_mailbox(&self, want: &MailboxWant) -> Result<(MailboxRow, Made)> {
        let want = MailboxWant { owner: self.owner(&want.owner), ..want.clone() };
        let done = self.inner.ensure_mailbox(&want).await;
        if self.bug == Bug::NewPasswords && matches!(done, Ok((_, Made::TakenOver))) {
            let owner = Owner { replaces: None, ..want.owner.clone() };
            let (text, version) = (SecretText::new("made anew".to_owned()), "made anew".to_owned());
            let password = PasswordWant::Plain { text, generated: true, version, force: true };
            return self.inner.ensure_mailbox(&MailboxWant { owner, password, ..want }).await;
        }
        match done {
            Err(BackendError::Unavailable { .. }) if self.bug == Bug::EnsureErrorIsDone => {
                let version = match &want.password {
                    PasswordWant::Keep => None,
                    PasswordWant::Plain { version, .. } | PasswordWant::Hash { version, .. } => Some(version.clone()),
                };
                let row = MailboxRow {
                    address: want.address.clone(),
                    id: "unknown".into(),
                    owner: Some(want.owner.uid.clone()),
                    origin: Some(want.owner.origin.clone()),
                    adopted: false,
                    settings: want.settings.clone(),
                    password_version: version,
                    password_drifted: false,
                    effects_due: false,
                    removing: false,
                    used: 0,
                };
                Ok((row, Made::Created))
            }
            other => other,
        }
    }
    async fn disable_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.cleanup(self.inner.disable_mailbox(owner, address).await, ())
    }
    async fn purge_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.cleanup(self.inner.purge_mailbox(owner, address).await, ())
    }
    async fn drop_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.cleanup(self.inner.drop_mailbox(owner, address).await, ())
    }
    async fn release_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        if self.bug == Bug::ReleaseDestroys {
            self.inner.disable_mailbox(owner, address).await?;
            self.inner.purge_mailbox(owner, address).await?;
            return self.inner.drop_mailbox(owner, address).await;
        }
        self.cleanup(self.inner.release_mailbox(owner, address).await, ())
    }
    async fn ensure_alias(&self, want: &AliasWant) -> Result<(AliasRow, Made)> {
        let want = AliasWant { owner: self.owner(&want.owner), ..want.clone() };
        self.inner.ensure_alias(&want).await
    }
    async fn remove_alias(&self, owner: &Uid, address: &Address, removal: Removal) -> Result<()> {
        self.cleanup(self.inner.remove_alias(owner, address, removal).await, ())
    }
    async fn aliases_to(&self, address: &Address) -> Result<Vec<Address>> {
        if self.bug == Bug::NoAliasesTo { Ok(vec![]) } else { self.inner.aliases_to(address).await }
    }
    fn dkim(&self) -> Option<&dyn DkimSigner> {
        self.inner.dkim()
    }
}

/// Makes providers with a bug.
pub struct PlantedConnect(pub Arc<dyn ConnectGroupware>, pub Bug);

impl ConnectGroupware for PlantedConnect {
    fn connect(&self, spec: &GroupwareBackendSpec, secrets: &Secrets) -> Result<Arc<dyn GroupwareServer>> {
        Ok(Arc::new(Planted { inner: self.0.connect(spec, secrets)?, bug: self.1 }))
    }
}

/// A DNS server with a bug.
struct PlantedDns {
    inner: Arc<dyn DnsServer>,
    bug: Bug,
}

#[async_trait]
impl DnsServer for PlantedDns {
    fn provider(&self) -> &'static str {
        self.inner.provider()
    }
    fn capabilities(&self) -> DnsCapabilities {
        self.inner.capabilities()
    }
    async fn probe(&self) -> Result<String> {
        self.inner.probe().await
    }
    async fn find_zone(&self, name: &str) -> Result<String> {
        self.inner.find_zone(name).await
    }
    async fn read(&self, zone: &str, which: &[(String, RecordType)]) -> Result<Vec<RrSet>> {
        self.inner.read(zone, which).await
    }
    async fn wildcard(&self, zone: &str, name: &str) -> Result<Option<Wildcard>> {
        if self.bug == Bug::OverlooksWildcards {
            return Ok(None);
        }
        self.inner.wildcard(zone, name).await
    }
    async fn apply(&self, zone: &str, changes: &[Change]) -> Result<()> {
        let mut changes = changes.to_vec();
        if self.bug == Bug::ReplacesSets {
            for c in &mut changes {
                let new: Vec<String> =
                    c.after.values.iter().filter(|v| !c.before.values.contains(v)).cloned().collect();
                if !new.is_empty() {
                    c.after.values = new;
                }
            }
        }
        self.inner.apply(zone, &changes).await
    }
}

/// Sees the first of the authoritative servers.
struct PrimaryOnly(Arc<dyn Resolver>);

#[async_trait]
impl Resolver for PrimaryOnly {
    async fn lookup(&self, name: &str, rtype: RecordType) -> Result<Vec<RrSet>> {
        Ok(self.0.lookup(name, rtype).await?.into_iter().take(1).collect())
    }
}

/// Says that every recipient was accepted.
pub struct BelievesRefused(pub Arc<dyn RecipientProbe>);

#[async_trait]
impl RecipientProbe for BelievesRefused {
    async fn ask(&self, server: &(String, u16), addresses: &[String], limit: Duration) -> Result<Vec<Verdict>> {
        let all = self.0.ask(server, addresses, limit).await?;
        Ok(all.into_iter().map(|_| Verdict::Accepted).collect())
    }
}

/// Asks for the first recipient of several, and says the same of all.
pub struct AsksOne(pub Arc<dyn RecipientProbe>);

#[async_trait]
impl RecipientProbe for AsksOne {
    async fn ask(&self, server: &(String, u16), addresses: &[String], limit: Duration) -> Result<Vec<Verdict>> {
        let first = self.0.ask(server, &addresses[..addresses.len().min(1)], limit).await?;
        let said = |_: &String| first.first().cloned().unwrap_or(Verdict::Accepted);
        Ok(addresses.iter().map(said).collect())
    }
}

/// Every name has an address.
struct Anything(Arc<dyn Resolver>);

#[async_trait]
impl Resolver for Anything {
    async fn lookup(&self, name: &str, rtype: RecordType) -> Result<Vec<RrSet>> {
        match rtype {
            RecordType::A => Ok(vec![RrSet { name: name.into(), rtype, ttl: 60, values: vec!["192.0.2.1".into()] }]),
            rtype => self.0.lookup(name, rtype).await,
        }
    }
}

/// Makes DNS providers with a bug.
pub struct PlantedDnsConnect(pub Arc<dyn ConnectDns>, pub Bug);

impl ConnectDns for PlantedDnsConnect {
    fn connect(&self, spec: &DNSBackendSpec, secrets: &Secrets) -> Result<Arc<dyn DnsServer>> {
        Ok(Arc::new(PlantedDns { inner: self.0.connect(spec, secrets)?, bug: self.1 }))
    }
    fn resolver(&self, spec: &DNSBackendSpec) -> Result<Arc<dyn Resolver>> {
        if self.1 == Bug::AsksPrimaryOnly {
            return Ok(Arc::new(PrimaryOnly(self.0.resolver(spec)?)));
        }
        if self.1 == Bug::ResolvesAnything {
            return Ok(Arc::new(Anything(self.0.resolver(spec)?)));
        }
        self.0.resolver(spec)
    }
    fn default_resolver(&self) -> Arc<dyn Resolver> {
        self.0.default_resolver()
    }
}
