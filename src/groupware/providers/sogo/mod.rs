//! SOGo, Dovecot, Postfix and OpenDKIM over PostgreSQL. What is declared stands in rows that the servers read; doveadm
//! (HTTP) and memcached are told what must take effect at once. May not touch Kubernetes.
//!
//! Every change is one transaction that also notes that effects are due; then the effects; then the note is cleared and
//! the row read back. A call that finds nothing to do is one read. The tables are in `config/groupware/sogo/`, what the
//! columns mean in `docs/groupware-sogo.md`.

mod alias;
mod columns;
mod connect;
mod db;
mod dkim;
mod domain;
mod mailbox;
mod memcached;
mod migrate;
mod ownership;
mod params;
mod removal;
pub mod schema;
mod search_path;
mod sogo_data;
mod tenant;
mod version;

pub use connect::{Database, DatabaseTls, DoveadmSettings, Settings, connect};

use crate::dovecot::doveadm::Doveadm;
use crate::dovecot::hasher::Hasher;
use crate::ownership::{claim, exists};
use crate::*;
use db::Conn;
use mailtenant_backend::limit::Limit;
use schema::{Catalog, Features};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// One installation: its database, its Dovecot, its SOGo.
pub struct Sogo {
    pool: deadpool_postgres::Pool,
    doveadm: Doveadm,
    /// Host and port.
    memcached: Option<(String, u16)>,
    managed: bool,
    limit: Arc<Limit>,
    /// What the tables can say, read once and by every probe.
    features: RwLock<Option<Features>>,
    hasher: Hasher,
}

impl Sogo {
    /// The first connection of a call, which counts against the limit of requests.
    async fn connection_within_limit(&self) -> Result<Conn> {
        self.limit.wait().await;
        self.connection().await
    }

    /// A further connection of a call: it counts no more.
    async fn connection(&self) -> Result<Conn> {
        Conn::open(&self.pool).await
    }

    /// What was seen last, if it was.
    fn known_features(&self) -> Option<Features> {
        *self.features.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn features(&self, conn: &mut Conn) -> Result<Features> {
        if let Some(f) = self.known_features() {
            return Ok(f);
        }
        search_path::check(conn).await?;
        let catalog = Catalog::read(conn).await?;
        self.remember(&catalog)
    }

    /// The features of a catalog, kept for later calls; an error where nothing would work.
    fn remember(&self, catalog: &Catalog) -> Result<Features> {
        if let Some(what) = catalog.lacks() {
            *self.features.write().unwrap_or_else(PoisonError::into_inner) = None;
            return Err(match self.managed {
                true => BackendError::unavailable(format!("the database lacks {what}: the next probe makes it")),
                false => {
                    BackendError::Rejected(format!("the database lacks {what}: run config/groupware/sogo/schema.sql"))
                }
            });
        }
        let features = catalog.features();
        *self.features.write().unwrap_or_else(PoisonError::into_inner) = Some(features);
        Ok(features)
    }

    /// SOGo forgets what it has cached of these users.
    async fn clear_sogo_cache(&self, users: &[Address]) -> Result<()> {
        match &self.memcached {
            Some(server) if !users.is_empty() => {
                self.limit.wait().await;
                memcached::forget(server, users).await
            }
            _ => Ok(()),
        }
    }

    /// Ends the sessions of a user, and waits until they are seen to be over.
    async fn end_sessions(&self, user: &Address) -> Result<()> {
        self.doveadm.flush(user).await?;
        self.doveadm.kick(user).await?;
        // A kick takes effect a moment later; a session that is still open could write into a home that is being removed.
        for _ in 0..20 {
            if !self.doveadm.sessions(user).await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.doveadm.kick(user).await?;
        }
        Err(BackendError::Conflict(format!("sessions of {user} are still open")))
    }

    async fn probed(&self) -> Result<ServerInfo> {
        let mut conn = self.connection_within_limit().await?;
        let said: String = match conn.row("SELECT current_setting('server_version') AS version", &[]).await? {
            Some(row) => row.get("version"),
            None => return Err(BackendError::unavailable("the database gave no row for its version")),
        };
        let database = version::postgresql(&said)?;
        search_path::check(&mut conn).await?;
        let (catalog, behind) = match self.managed {
            true => migrate::migrate(&mut conn).await?,
            false => {
                let catalog = Catalog::read(&mut conn).await?;
                let lacks = |file| {
                    let text = "it lacks something of config/groupware/sogo";
                    BackendError::Rejected(format!("{text}/{file}: run usage.sql, then views.sql"))
                };
                let behind = catalog.behind().map(lacks);
                (catalog, behind)
            }
        };
        let features = self.remember(&catalog)?;
        drop(conn);
        let dovecot = self.doveadm.probe().await?;
        // A key that nobody has: the answer is NOT_FOUND, and we know that it is there.
        self.clear_sogo_cache(&[Address::from_server("mailtenant-probe")]).await?;
        let version = format!("Dovecot {dovecot}, {database}");
        Ok(ServerInfo { version, capabilities: features.capabilities(), behind })
    }
}

#[async_trait]
impl GroupwareServer for Sogo {
    fn provider(&self) -> &'static str {
        "sogo"
    }
    async fn probe(&self) -> Result<ServerInfo> {
        self.probed().await
    }
    async fn ensure_tenant(&self, want: &TenantWant) -> Result<(TenantRow, Made)> {
        self.tenant_ensure(want).await
    }
    async fn tenant(&self, owner: &Uid) -> Result<Option<TenantRow>> {
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        tenant::by_owner(&mut conn, f, owner).await
    }
    async fn remove_tenant(&self, owner: &Uid) -> Result<TenantRemoval> {
        self.tenant_remove(owner).await
    }
    async fn read_domain(&self, name: &DomainName) -> Result<DomainSnapshot> {
        self.domain_read(name).await
    }
    async fn ensure_domain(&self, want: &DomainWant) -> Result<(DomainRow, Made)> {
        self.domain_ensure(want).await
    }
    async fn remove_domain(&self, owner: &Uid, name: &DomainName, removal: Removal) -> Result<Left> {
        self.domain_remove(owner, name, removal).await
    }
    async fn ensure_mailbox(&self, want: &MailboxWant) -> Result<(MailboxRow, Made)> {
        self.mailbox_ensure(want).await
    }
    async fn disable_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.mailbox_disable(owner, address).await
    }
    async fn purge_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.mailbox_purge(owner, address).await
    }
    async fn drop_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.mailbox_drop(owner, address).await
    }
    async fn release_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.mailbox_release(owner, address).await
    }
    async fn ensure_alias(&self, want: &AliasWant) -> Result<(AliasRow, Made)> {
        self.alias_ensure(want).await
    }
    async fn remove_alias(&self, owner: &Uid, address: &Address, removal: Removal) -> Result<()> {
        self.alias_remove(owner, address, removal).await
    }
    async fn aliases_to(&self, address: &Address) -> Result<Vec<Address>> {
        let mut conn = self.connection_within_limit().await?;
        alias::delivering_to(&mut conn, address).await
    }
    fn dkim(&self) -> Option<&dyn DkimSigner> {
        Some(self)
    }
}
