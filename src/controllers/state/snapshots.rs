//! What the groupware servers were last seen to hold, a domain at a time: one bulk read serves every pass of a domain,
//! also after a restart with ten thousand mailboxes.
//!
//! Our own writes put their read-back in. A refresh tells which rows differ from before, so that drift wakes just the
//! objects it concerns. A snapshot that may be wrong (a call failed half-way) is marked stale and read again before it
//! is used; its rows stay for the comparison.

use mailtenant_groupware::{Address, AliasRow, DomainName, DomainSnapshot, GroupwareServer, MailboxRow, Result, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard};
use tokio::time::Instant;

/// Rows of one domain.
#[derive(Default)]
pub struct Slot {
    snapshot: DomainSnapshot,
    /// When the read that filled it was begun.
    read: Option<Instant>,
    stale: bool,
}

/// How old what was seen may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// As old as it is.
    Ever,
    /// Read at this moment or later. Whoever asks while another read goes on that began later than this waits for that
    /// one: ten thousand objects that are asked to look again do not read their domain ten thousand times.
    At(Instant),
}

impl Since {
    pub fn now() -> Self {
        Since::At(Instant::now())
    }
    pub fn now_if(asked: bool) -> Self {
        if asked { Since::now() } else { Since::Ever }
    }
    /// Not longer ago than this.
    pub fn within(age: Duration) -> Self {
        Instant::now().checked_sub(age).map_or(Since::Ever, Since::At)
    }
}

/// By the backend's uid and the domain's name.
type SlotKey = (Uid, DomainName);

/// What the servers were last seen to hold.
#[derive(Default)]
pub struct Snapshots(Mutex<BTreeMap<SlotKey, Arc<AsyncMutex<Slot>>>>);

/// Addresses whose rows differ between two reads.
pub fn changed(old: &DomainSnapshot, new: &DomainSnapshot) -> BTreeSet<Address> {
    fn diff<R: PartialEq>(
        a: &BTreeMap<Address, R>,
        b: &BTreeMap<Address, R>,
        same: impl Fn(&R, &R) -> bool,
    ) -> Vec<Address> {
        let names: BTreeSet<&Address> = a.keys().chain(b.keys()).collect();
        names
            .into_iter()
            .filter(|n| match (a.get(*n), b.get(*n)) {
                (Some(x), Some(y)) => !same(x, y),
                (x, y) => x.is_some() != y.is_some(),
            })
            .cloned()
            .collect()
    }
    let mailboxes = diff(&old.mailboxes, &new.mailboxes, |a: &MailboxRow, b| {
        // Use moves with every mail: only a step that the status shows counts.
        let step = |r: &MailboxRow| super::usage::used_step(r.used, r.settings.quota);
        MailboxRow { used: 0, ..a.clone() } == MailboxRow { used: 0, ..b.clone() } && step(a) == step(b)
    });
    let aliases = diff(&old.aliases, &new.aliases, |a: &AliasRow, b| a == b);
    mailboxes.into_iter().chain(aliases).collect()
}

impl Snapshots {
    fn slot(&self, backend: &Uid, domain: &DomainName) -> Arc<AsyncMutex<Slot>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry((backend.clone(), domain.clone())).or_default().clone()
    }

    /// The rows of a domain, read if they were not yet or are stale: whoever comes first reads, the others wait for it.
    /// `look` gets the rows and the addresses that changed by this read (at the first read: none).
    pub async fn with<T>(
        &self,
        server: &dyn GroupwareServer,
        backend: &Uid,
        domain: &DomainName,
        since: Since,
        look: impl FnOnce(&DomainSnapshot, BTreeSet<Address>) -> T,
    ) -> Result<T> {
        let slot = self.slot(backend, domain);
        let mut slot = slot.lock().await;
        let good = match (slot.read, since) {
            (None, _) => false,
            (Some(_), Since::Ever) => true,
            (Some(read), Since::At(at)) => read >= at,
        };
        let changed = if good && !slot.stale { BTreeSet::new() } else { read(server, domain, &mut slot).await? };
        Ok(look(&slot.snapshot, changed))
    }

    /// What was read last, without a read. None: nothing was, or it may be wrong by now.
    pub async fn last<T>(
        &self,
        backend: &Uid,
        domain: &DomainName,
        look: impl FnOnce(&DomainSnapshot) -> T,
    ) -> Option<T> {
        let slot = self.slot(backend, domain);
        let slot = slot.lock().await;
        (slot.read.is_some() && !slot.stale).then(|| look(&slot.snapshot))
    }

    /// Puts in what a call gave back.
    pub async fn update(&self, backend: &Uid, domain: &DomainName, change: impl FnOnce(&mut DomainSnapshot)) {
        let slot = self.slot(backend, domain);
        let mut slot = slot.lock().await;
        if slot.read.is_some() {
            change(&mut slot.snapshot);
        }
    }

    /// A call may have been carried out or not: read again before the next use.
    pub async fn stale(&self, backend: &Uid, domain: &DomainName) {
        let slot = self.slot(backend, domain);
        slot.lock().await.stale = true;
    }

    /// An address was refused since it is somebody else's: that is an answer, nothing was carried out. What is known of the
    /// domain is as good as before if it says that too, that the row is not of `uid`; whoever tries again and again must
    /// not have it read each time (I5).
    pub async fn refused(&self, backend: &Uid, domain: &DomainName, address: &Address, uid: &Uid) {
        let slot = self.slot(backend, domain);
        let mut slot = slot.lock().await;
        let mailbox = slot.snapshot.mailboxes.get(address);
        let alias = slot.snapshot.aliases.get(address).map(|r| &r.owner);
        let owners = mailbox.map(|r| &r.owner).into_iter().chain(alias);
        let mut known = owners.into_iter().any(|owner| owner.as_ref() != Some(uid));
        // A row beside the mailbox is somebody else's: it was read as due.
        known |= mailbox.is_some_and(|r| r.effects_due);
        slot.stale |= !known;
    }

    /// The server was away, or is another one: everything is read again before its next use.
    pub async fn stale_all(&self, backend: &Uid) {
        let slots: Vec<Arc<AsyncMutex<Slot>>> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter(|((b, _), _)| b == backend).map(|(_, slot)| slot.clone()).collect()
        };
        for slot in slots {
            slot.lock().await.stale = true;
        }
    }

    /// The domain is gone.
    pub fn forget(&self, backend: &Uid, domain: &DomainName) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.remove(&(backend.clone(), domain.clone()));
    }
}

async fn read(
    server: &dyn GroupwareServer,
    domain: &DomainName,
    slot: &mut AsyncGuard<'_, Slot>,
) -> Result<BTreeSet<Address>> {
    let begun = Instant::now();
    let fresh = server.read_domain(domain).await?;
    let changed = if slot.read.is_some() { changed(&slot.snapshot, &fresh) } else { BTreeSet::new() };
    slot.snapshot = fresh;
    slot.read = Some(begun);
    slot.stale = false;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtenant_groupware::AliasSettings;

    #[tokio::test]
    async fn a_refusal_is_news_only_where_the_row_was_thought_to_be_ones_own() {
        let (backend, me) = (Uid::new("b"), Uid::new("me"));
        let domain = DomainName::from_server("acme.test");
        let sales = Address::in_domain("sales", &domain);
        let row = |owner: Option<&str>| AliasRow {
            address: sales.clone(),
            owner: owner.map(Uid::new),
            origin: None,
            adopted: false,
            settings: AliasSettings { targets: vec![], send_as: false, display_name: String::new(), active: true },
            effects_due: false,
        };
        for (had, news) in [(Some(None), false), (Some(Some("other")), false), (Some(Some("me")), true), (None, true)] {
            let observed = Snapshots::default();
            {
                let slot = observed.slot(&backend, &domain);
                let mut slot = slot.lock().await;
                slot.snapshot.aliases.extend(had.map(|owner| (sales.clone(), row(owner))));
            }
            observed.refused(&backend, &domain, &sales, &me).await;
            assert_eq!(observed.slot(&backend, &domain).lock().await.stale, news, "{had:?}");
        }
    }
}
