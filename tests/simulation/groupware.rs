//! A groupware server in memory, strict about ownership as `mailtenant_groupware` documents it.
//!
//! Mailboxes hold marked mail, so that a loss is seen; every change goes to a log in its order. The server is plain
//! state; `GroupwareClient` is the provider: each of its calls goes through the simulator's queue.

mod by_hand;

pub use by_hand::ByHand;

use crate::sim::{Lane, Sim};
use async_trait::async_trait;
use mailtenant_api::GroupwareBackendSpec;
use mailtenant_controllers::connect::{ConnectGroupware, Secrets};
use mailtenant_groupware::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a mailbox is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Live,
    Disabled,
    Purged,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    pub row: TenantRow,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    pub row: DomainRow,
    /// In the order in which they were made.
    pub dkim: Vec<DkimRow>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mailbox {
    pub row: MailboxRow,
    pub stage: Stage,
    /// Password in the clear or hash, as it was written last.
    pub password: String,
    /// Marks of mail, contacts and calendars.
    pub data: BTreeSet<String>,
}

/// What was done, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Choice of the schedule at which it was done; the order of requests.
    pub op: u64,
    pub verb: Verb,
    /// `tenant`, `domain`, `mailbox`, `alias`.
    pub kind: &'static str,
    pub name: String,
    pub owner: Option<Uid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Created,
    Adopted,
    TakenOver,
    Changed,
    Disabled,
    /// Mail was destroyed.
    Purged,
    Deleted,
    /// Kept, switched off, owned by nobody.
    Released,
}

/// One server.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub tenants: BTreeMap<TenantId, Tenant>,
    pub domains: BTreeMap<DomainName, Domain>,
    pub mailboxes: BTreeMap<Address, Mailbox>,
    pub aliases: BTreeMap<Address, AliasRow>,
    pub log: Vec<Entry>,
    /// Password that the operator must know.
    pub password: String,
    /// Mailboxes ever made: ids are never used again.
    made: u64,
    /// Op in which the server is asked now.
    pub op: u64,
    /// As it was before another one answered in its place.
    away: Option<Box<Server>>,
    /// When that is, in virtual ms.
    pub ms: u64,
    /// Each time a key began to sign: when, its selector with its domain, its public half.
    pub signings: Vec<(u64, String, String)>,
    /// Only the first half of the next change is done: rows, but not what must follow.
    pub half: bool,
    /// Ops at which each domain was read in full, newest only.
    pub read_at: BTreeMap<DomainName, u64>,
}

fn exists(what: &str, name: &str, owner: &Option<Uid>, origin: &Option<Origin>) -> BackendError {
    let origin = origin.clone().map(Box::new);
    BackendError::Exists { what: format!("{what} {name}"), owner: owner.clone(), origin, adoptable: false }
}

/// Nobody owns it, and whoever asks gets no more than what its own tenant let go.
fn adoptable(what: &str, name: &str, origin: &Option<Origin>) -> BackendError {
    let origin = origin.clone().map(Box::new);
    BackendError::Exists { what: format!("{what} {name}"), owner: None, origin, adoptable: true }
}

fn absent(what: &str, name: &str) -> BackendError {
    BackendError::NotFound(format!("{what} {name}"))
}

impl Server {
    fn note(&mut self, verb: Verb, kind: &'static str, name: &str, owner: Option<&Uid>) {
        let op = self.op;
        self.log.push(Entry { op, verb, kind, name: name.into(), owner: owner.cloned() });
    }

    /// Whether a row may be written by `owner`: its own, nobody's when adoption is asked for (all, or what its own tenant
    /// let go), or that of the one who stood in the same place.
    fn may(row: &Option<Uid>, origin: &Option<Origin>, owner: &Owner, what: &str, name: &str) -> Result<Made> {
        let kept = || {
            let place = |o: &Origin| (o.cluster.clone(), o.namespace.clone());
            origin.as_ref().map(place) == Some(place(&owner.origin))
        };
        match row {
            Some(uid) if *uid == owner.uid => Ok(Made::Unchanged),
            None if owner.adopt == Adopt::All || (owner.adopt == Adopt::Kept && kept()) => Ok(Made::Adopted),
            None => Err(adoptable(what, name, origin)),
            Some(uid)
                if owner.replaces.as_ref() == Some(uid)
                    && origin.as_ref().is_some_and(|o| o.to_string() == owner.origin.to_string()) =>
            {
                Ok(Made::TakenOver)
            }
            other => Err(exists(what, name, other, origin)),
        }
    }

    fn done(&mut self, how: Made, changed: bool, kind: &'static str, name: &str, uid: &Uid) -> Made {
        let (verb, made) = match (how, changed) {
            (Made::Adopted, _) => (Verb::Adopted, Made::Adopted),
            (Made::TakenOver, _) => (Verb::TakenOver, Made::TakenOver),
            (_, true) => (Verb::Changed, Made::Changed),
            _ => return Made::Unchanged,
        };
        self.note(verb, kind, name, Some(uid));
        made
    }

    pub fn ensure_tenant(&mut self, want: &TenantWant) -> Result<(TenantRow, Made)> {
        let uid = &want.owner.uid;
        let mine = self.tenants.iter().find(|(_, t)| t.row.owner.as_ref() == Some(uid)).map(|(id, _)| id.clone());
        let same_place = |o: &Origin| o.to_string() == want.owner.origin.to_string();
        let left = || {
            self.tenants
                .iter()
                .find(|(_, t)| t.row.owner.is_none() && t.row.origin.as_ref().is_some_and(same_place))
                .map(|(id, _)| id.clone())
        };
        let dead = || {
            let mut all = self.tenants.iter();
            all.find(|(_, t)| t.row.owner.is_some() && t.row.origin.as_ref().is_some_and(same_place))
        };
        let dead = dead().filter(|_| mine.is_none()).map(|(id, t)| (id.clone(), t.row.clone()));
        let (id, how) = match (mine, dead) {
            (Some(id), _) => (id, Made::Unchanged),
            (None, Some((id, row))) => {
                let how = Self::may(&row.owner, &row.origin, &want.owner, "tenant", &id)?;
                (id, how)
            }
            (None, None) => match left().filter(|_| want.owner.adopt != Adopt::Nothing) {
                Some(id) => (id, Made::Adopted),
                None => {
                    let Some(id) = want.ids.iter().find(|id| !self.tenants.contains_key(*id)).cloned() else {
                        return Err(BackendError::Conflict("every id is taken".into()));
                    };
                    let row = TenantRow {
                        id: id.clone(),
                        owner: Some(uid.clone()),
                        origin: Some(want.owner.origin.clone()),
                        adopted: false,
                        storage: want.storage,
                        used: 0,
                        active: true,
                        address_book: want.address_book,
                        redirects: want.redirects,
                    };
                    self.tenants.insert(id.clone(), Tenant { row: row.clone() });
                    self.note(Verb::Created, "tenant", &id, Some(uid));
                    return Ok((row, Made::Created));
                }
            },
        };
        let Some(t) = self.tenants.get_mut(&id) else { return Err(absent("tenant", &id)) };
        let before = t.row.clone();
        t.row.owner = Some(uid.clone());
        t.row.adopted |= how == Made::Adopted;
        t.row.origin = Some(want.owner.origin.clone());
        t.row.storage = want.storage;
        t.row.active = true;
        t.row.address_book = want.address_book;
        t.row.redirects = want.redirects;
        let (row, changed) = (t.row.clone(), t.row != before);
        let made = self.done(how, changed, "tenant", &id, uid);
        Ok((row, made))
    }

    pub fn tenant(&self, owner: &str) -> Option<TenantRow> {
        self.tenants.values().find(|t| t.row.owner.as_deref() == Some(owner)).map(|t| t.row.clone())
    }

    pub fn remove_tenant(&mut self, owner: &Uid) -> Result<TenantRemoval> {
        let Some(id) = self.tenant(owner).map(|r| r.id) else { return Err(absent("tenant of", owner)) };
        let below: Vec<&Domain> = self.domains.values().filter(|d| d.row.tenant.as_ref() == Some(&id)).collect();
        let owned: Vec<DomainRow> = below.iter().map(|d| d.row.clone()).filter(|r| r.owner.is_some()).collect();
        if !owned.is_empty() {
            return Ok(TenantRemoval::Holds(owned));
        }
        let (kept, used) = (below.len() as u64, below.iter().filter(|d| d.row.active).count() as u64);
        if kept == 0 {
            self.tenants.remove(&id);
            self.note(Verb::Deleted, "tenant", &id, Some(owner));
            return Ok(TenantRemoval::Left(Left::Gone));
        }
        if let Some(t) = self.tenants.get_mut(&id) {
            t.row.owner = None;
            t.row.active &= used > 0;
        }
        self.note(Verb::Released, "tenant", &id, Some(owner));
        Ok(TenantRemoval::Left(if used > 0 { Left::Used(used) } else { Left::Kept(kept) }))
    }

    pub fn read_domain(&mut self, name: &DomainName) -> DomainSnapshot {
        self.read_at.insert(name.clone(), self.op);
        let inside = |a: &Address| a.domain() == name.as_str();
        DomainSnapshot {
            domain: self.domains.get(name).map(|d| d.row.clone()),
            mailboxes: self
                .mailboxes
                .iter()
                .filter(|(a, _)| inside(a))
                .map(|(a, m)| (a.clone(), m.row.clone()))
                .collect(),
            aliases: self.aliases.iter().filter(|(a, _)| inside(a)).map(|(a, r)| (a.clone(), r.clone())).collect(),
            dkim: self.domains.get(name).map(|d| d.dkim.clone()).unwrap_or_default(),
        }
    }

    pub fn ensure_domain(&mut self, want: &DomainWant) -> Result<(DomainRow, Made)> {
        let uid = &want.owner.uid;
        let Some(tenant) = self.tenants.get(&want.tenant) else { return Err(absent("tenant", &want.tenant)) };
        Holders { domain: None, ..want.holders.clone() }.check(&want.name, tenant.row.owner.as_ref(), None)?;
        let Some(d) = self.domains.get_mut(&want.name) else {
            let row = DomainRow {
                name: want.name.clone(),
                owner: Some(uid.clone()),
                origin: Some(want.owner.origin.clone()),
                adopted: false,
                tenant: Some(want.tenant.clone()),
                active: true,
                alias_of: want.alias_of.clone(),
            };
            self.domains.insert(want.name.clone(), Domain { row: row.clone(), dkim: vec![] });
            self.note(Verb::Created, "domain", &want.name, Some(uid));
            return Ok((row, Made::Created));
        };
        let of_another = d.row.tenant.as_ref().is_some_and(|t| *t != want.tenant);
        if of_another && d.row.owner.is_none() {
            return Err(exists("domain", &want.name, &None, &None));
        }
        let how = Self::may(&d.row.owner, &d.row.origin, &want.owner, "domain", &want.name)?;
        if of_another {
            return Err(exists("domain", &want.name, &d.row.owner, &None));
        }
        let before = d.row.clone();
        d.row.owner = Some(uid.clone());
        if how == Made::TakenOver {
            let old = before.owner.clone();
            d.dkim.iter_mut().filter(|k| k.owner == old).for_each(|k| k.owner = Some(uid.clone()));
        }
        d.row.origin = Some(want.owner.origin.clone());
        d.row.adopted |= how == Made::Adopted;
        d.row.tenant = Some(want.tenant.clone());
        d.row.active = true;
        d.row.alias_of = want.alias_of.clone();
        let (row, changed) = (d.row.clone(), d.row != before);
        let made = self.done(how, changed, "domain", &want.name, uid);
        Ok((row, made))
    }

    pub fn remove_domain(&mut self, owner: &Uid, name: &DomainName, removal: Removal) -> Result<Left> {
        if self.domains.get(name).is_none_or(|d| d.row.owner.as_ref() != Some(owner)) {
            return Err(absent("domain", name));
        }
        let mailboxes = self.mailboxes.iter().filter(|(a, _)| a.domain() == name.as_str()).map(|(_, m)| &m.row.owner);
        let aliases = self.aliases.iter().filter(|(a, _)| a.domain() == name.as_str()).map(|(_, r)| &r.owner);
        let below: Vec<bool> = mailboxes.chain(aliases).map(Option::is_some).collect();
        if below.contains(&true) {
            return Err(BackendError::Conflict(format!("domain {name} has mailboxes or aliases")));
        }
        if below.is_empty() && removal == Removal::Destroy {
            self.domains.remove(name);
            self.note(Verb::Deleted, "domain", name, Some(owner));
            return Ok(Left::Gone);
        }
        // What was retained is off: whatever is on is somebody else's.
        let mailboxes =
            self.mailboxes.iter().filter(|(a, m)| a.domain() == name.as_str() && m.row.settings.receive).count();
        let aliases = self.aliases.iter().filter(|(a, r)| a.domain() == name.as_str() && r.settings.active).count();
        let used = (mailboxes + aliases) as u64;
        if let Some(d) = self.domains.get_mut(name) {
            d.row.owner = None;
            d.row.active &= used > 0;
            d.dkim.clear();
        }
        self.note(Verb::Released, "domain", name, Some(owner));
        Ok(if used > 0 { Left::Used(used) } else { Left::Kept(below.len() as u64) })
    }

    fn in_tenant(&self, tenant: &TenantId, address: &Address, holders: &Holders) -> Result<()> {
        let name = address.domain();
        match self.domains.get(name) {
            None => Err(absent("domain", name)),
            Some(d) if d.row.tenant.as_ref() != Some(tenant) => {
                Err(BackendError::Conflict(format!("domain {name} is not in tenant {tenant}")))
            }
            Some(d) => {
                let of_tenant = self.tenants.get(tenant).and_then(|t| t.row.owner.as_ref());
                holders.check(name, of_tenant, d.row.owner.as_ref())
            }
        }
    }

    pub fn ensure_mailbox(&mut self, want: &MailboxWant) -> Result<(MailboxRow, Made)> {
        self.in_tenant(&want.tenant, &want.address, &want.holders)?;
        if let Some(a) = self.aliases.get(&want.address) {
            return Err(exists("alias", &want.address, &a.owner, &None));
        }
        let uid = &want.owner.uid;
        let password = match &want.password {
            PasswordWant::Keep => None,
            PasswordWant::Plain { text, version, force, .. } | PasswordWant::Hash { text, version, force } => {
                Some((text.expose().to_string(), version.clone(), *force))
            }
        };
        let half = std::mem::take(&mut self.half);
        let Some(m) = self.mailboxes.get_mut(&want.address) else {
            let Some((password, version, _)) = password else {
                return Err(BackendError::Rejected("a new mailbox needs a password".into()));
            };
            let taken = |id: &String| self.mailboxes.values().any(|m| m.row.id == *id);
            let former = want.former.clone().filter(|id| id.starts_with("mbx-") && !taken(id));
            let id = former.unwrap_or_else(|| {
                self.made += 1;
                format!("mbx-{}", self.made)
            });
            let row = MailboxRow {
                address: want.address.clone(),
                id,
                owner: Some(uid.clone()),
                origin: Some(want.owner.origin.clone()),
                adopted: false,
                settings: want.settings.clone(),
                password_version: Some(version),
                password_drifted: false,
                effects_due: half,
                removing: false,
                used: 0,
            };
            // The first mail comes at once, so that whatever destroys this mailbox is seen to destroy mail.
            let data =
                [format!("mail:{}", row.id), format!("contacts:{}", row.id), format!("calendar:{}", row.id)].into();
            self.mailboxes
                .insert(want.address.clone(), Mailbox { row: row.clone(), stage: Stage::Live, password, data });
            self.note(Verb::Created, "mailbox", &want.address, Some(uid));
            return if half {
                Err(BackendError::unavailable("connection lost half-way"))
            } else {
                Ok((row, Made::Created))
            };
        };
        if m.stage != Stage::Live {
            return Err(match m.row.owner.as_ref() == Some(uid) {
                true => BackendError::Conflict(format!("mailbox {} is being removed", want.address)),
                false => exists("mailbox", &want.address, &m.row.owner, &None),
            });
        }
        let how = Self::may(&m.row.owner, &m.row.origin, &want.owner, "mailbox", &want.address)?;
        let before = m.row.clone();
        m.row.owner = Some(uid.clone());
        m.row.origin = Some(want.owner.origin.clone());
        m.row.adopted |= how == Made::Adopted;
        m.row.settings = want.settings.clone();
        if let (Some((_, version, _)), Made::TakenOver) = (&password, how) {
            m.row.password_version = Some(version.clone());
        } else if let Some((text, version, force)) = password
            && (m.row.password_version.as_ref() != Some(&version) || (force && m.password != text))
        {
            m.password = text;
            m.row.password_version = Some(version);
            m.row.password_drifted = false;
        }
        let changed = m.row != before;
        m.row.effects_due = half && (changed || before.effects_due);
        let row = m.row.clone();
        let made = self.done(how, changed, "mailbox", &want.address, uid);
        if half { Err(BackendError::unavailable("connection lost half-way")) } else { Ok((row, made)) }
    }

    fn mine(&mut self, owner: &Uid, address: &Address) -> Result<&mut Mailbox> {
        self.mailboxes
            .get_mut(address)
            .filter(|m| m.row.owner.as_ref() == Some(owner))
            .ok_or_else(|| absent("mailbox", address))
    }

    pub fn disable_mailbox(&mut self, owner: &Uid, address: &Address) -> Result<()> {
        let m = self.mine(owner, address)?;
        let first = m.stage == Stage::Live;
        m.stage = m.stage.max(Stage::Disabled);
        m.row.removing = true;
        m.row.settings.login = false;
        m.row.settings.receive = false;
        if first {
            self.note(Verb::Disabled, "mailbox", address, Some(owner));
        }
        Ok(())
    }

    pub fn purge_mailbox(&mut self, owner: &Uid, address: &Address) -> Result<()> {
        let half = std::mem::take(&mut self.half);
        let m = self.mine(owner, address)?;
        if m.stage < Stage::Disabled {
            return Err(BackendError::Conflict(format!("mailbox {address} is not disabled")));
        }
        let had = !m.data.is_empty();
        if half {
            m.data.retain(|d| !d.starts_with("mail:"));
        } else {
            m.data.clear();
            m.stage = Stage::Purged;
        }
        if had {
            self.note(Verb::Purged, "mailbox", address, Some(owner));
        }
        if half { Err(BackendError::unavailable("connection lost half-way")) } else { Ok(()) }
    }

    pub fn drop_mailbox(&mut self, owner: &Uid, address: &Address) -> Result<()> {
        let m = self.mine(owner, address)?;
        if m.stage < Stage::Purged {
            return Err(BackendError::Conflict(format!("mailbox {address} still has data")));
        }
        self.mailboxes.remove(address);
        self.note(Verb::Deleted, "mailbox", address, Some(owner));
        Ok(())
    }

    pub fn release_mailbox(&mut self, owner: &Uid, address: &Address) -> Result<()> {
        let m = self.mine(owner, address)?;
        m.row.owner = None;
        m.row.removing = false;
        m.row.settings.login = false;
        m.row.settings.receive = false;
        m.stage = Stage::Live;
        self.note(Verb::Released, "mailbox", address, Some(owner));
        Ok(())
    }

    pub fn ensure_alias(&mut self, want: &AliasWant) -> Result<(AliasRow, Made)> {
        self.in_tenant(&want.tenant, &want.address, &want.holders)?;
        if let Some(m) = self.mailboxes.get(&want.address) {
            return Err(exists("mailbox", &want.address, &m.row.owner, &None));
        }
        let uid = &want.owner.uid;
        let half = std::mem::take(&mut self.half);
        let Some(a) = self.aliases.get_mut(&want.address) else {
            let row = AliasRow {
                address: want.address.clone(),
                owner: Some(uid.clone()),
                origin: Some(want.owner.origin.clone()),
                adopted: false,
                settings: want.settings.clone(),
                effects_due: half,
            };
            self.aliases.insert(want.address.clone(), row.clone());
            self.note(Verb::Created, "alias", &want.address, Some(uid));
            return if half {
                Err(BackendError::unavailable("connection lost half-way"))
            } else {
                Ok((row, Made::Created))
            };
        };
        let how = Self::may(&a.owner, &a.origin, &want.owner, "alias", &want.address)?;
        let before = a.clone();
        a.owner = Some(uid.clone());
        a.origin = Some(want.owner.origin.clone());
        a.adopted |= how == Made::Adopted;
        a.settings = want.settings.clone();
        let changed = *a != before;
        a.effects_due = half && (changed || before.effects_due);
        let row = a.clone();
        let made = self.done(how, changed, "alias", &want.address, uid);
        if half { Err(BackendError::unavailable("connection lost half-way")) } else { Ok((row, made)) }
    }

    pub fn remove_alias(&mut self, owner: &Uid, address: &Address, removal: Removal) -> Result<()> {
        let a = self
            .aliases
            .get_mut(address)
            .filter(|a| a.owner.as_ref() == Some(owner))
            .ok_or_else(|| absent("alias", address))?;
        if removal == Removal::Keep {
            a.owner = None;
            a.settings.active = false;
            self.note(Verb::Released, "alias", address, Some(owner));
        } else {
            self.aliases.remove(address);
            self.note(Verb::Deleted, "alias", address, Some(owner));
        }
        Ok(())
    }

    /// Owned aliases that deliver to an address.
    pub fn aliases_to(&self, address: &str) -> Vec<Address> {
        let hits =
            self.aliases.values().filter(|a| a.owner.is_some() && a.settings.targets.iter().any(|t| t == address));
        hits.map(|a| a.address.clone()).collect()
    }

    fn my_domain(&mut self, owner: &Uid, name: &DomainName) -> Result<&mut Domain> {
        self.domains.get_mut(name).filter(|d| d.row.owner.as_ref() == Some(owner)).ok_or_else(|| absent("domain", name))
    }

    pub fn ensure_dkim_key(
        &mut self,
        owner: &Uid,
        domain: &DomainName,
        selector: &Selector,
        key: &DkimKey,
    ) -> Result<DkimRow> {
        let d = self.my_domain(owner, domain)?;
        if let Some(there) = d.dkim.iter().find(|k| k.selector == *selector) {
            return Ok(there.clone());
        }
        let fresh = DkimRow {
            selector: selector.clone(),
            owner: Some(owner.clone()),
            algorithm: key.algorithm,
            public: key.public.clone(),
            active: false,
            created: None,
        };
        d.dkim.push(fresh.clone());
        Ok(fresh)
    }

    pub fn sign_with(&mut self, owner: &Uid, domain: &DomainName, keys: &[DkimRow]) -> Result<()> {
        let ms = self.ms;
        let d = self.my_domain(owner, domain)?;
        let same = |k: &DkimRow, wanted: &DkimRow| k.selector == wanted.selector && k.public == wanted.public;
        if let Some(wanted) = keys.iter().find(|wanted| !d.dkim.iter().any(|k| same(k, wanted))) {
            return Err(absent("signing key", &wanted.selector));
        }
        let mut begun = vec![];
        for key in &mut d.dkim {
            let signs = keys.iter().any(|wanted| same(key, wanted));
            if signs && !key.active {
                begun.push((ms, format!("{}._domainkey.{domain}", key.selector), key.public.clone()));
            }
            key.active = signs;
        }
        self.signings.extend(begun);
        Ok(())
    }

    pub fn remove_dkim_key(&mut self, owner: &Uid, domain: &DomainName, selector: &Selector) -> Result<()> {
        self.my_domain(owner, domain)?.dkim.retain(|k| k.selector != *selector);
        Ok(())
    }

    /// Whether the server takes mail for an address.
    pub fn accepts(&self, address: &str) -> bool {
        let domain = address.rsplit('@').next().unwrap_or_default();
        let Some(d) = self.domains.get(domain) else { return false };
        let alive = d.row.tenant.as_ref().is_none_or(|t| self.tenants.get(t).is_some_and(|t| t.row.active));
        let alias = |a: &str| self.aliases.get(a).is_some_and(|a| a.settings.active);
        d.row.active
            && alive
            && (self.mailboxes.get(address).is_some_and(|m| m.row.settings.receive)
                || alias(address)
                || alias(&format!("@{domain}")))
    }
}

/// The provider: a connection to one server of the world, with the password it was given.
pub struct GroupwareClient {
    sim: Sim,
    /// Name of the server.
    host: String,
    password: String,
}

impl GroupwareClient {
    async fn call<T: Send + 'static>(
        &self,
        lane: Lane,
        what: String,
        f: impl FnOnce(&mut Server) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (host, password) = (self.host.clone(), self.password.clone());
        self.sim
            .backend(lane, format!("{host}: {what}"), move |w, op| {
                let ms = w.ms;
                let server = w.groupware.entry(host).or_default();
                if server.password != password {
                    return Err(BackendError::Unauthorized("login failed".into()));
                }
                (server.op, server.ms) = (op, ms);
                let result = f(server);
                server.half = false;
                result
            })
            .await
    }
}

const READ: Lane = Lane::GroupwareRead;
const WRITE: Lane = Lane::GroupwareWrite;

#[async_trait]
impl GroupwareServer for GroupwareClient {
    fn provider(&self) -> &'static str {
        "sogo"
    }
    async fn probe(&self) -> Result<ServerInfo> {
        use Capability::*;
        let all = [
            TenantStorage,
            Suspend,
            SendAs,
            CatchAll,
            Forwarding,
            HashedPasswords,
            ProtocolAccess,
            Groupware,
            AliasDisplayName,
        ];
        self.call(READ, "probe".into(), move |_| {
            Ok(ServerInfo { version: "1".into(), capabilities: all.into(), behind: None })
        })
        .await
    }
    async fn ensure_tenant(&self, want: &TenantWant) -> Result<(TenantRow, Made)> {
        let want = want.clone();
        self.call(WRITE, format!("ensure_tenant {} {:?}", want.owner.origin, want.ids), move |s| s.ensure_tenant(&want))
            .await
    }
    async fn tenant(&self, owner: &Uid) -> Result<Option<TenantRow>> {
        let owner = owner.clone();
        self.call(READ, format!("tenant of {owner}"), move |s| Ok(s.tenant(&owner))).await
    }
    async fn remove_tenant(&self, owner: &Uid) -> Result<TenantRemoval> {
        let owner = owner.clone();
        self.call(WRITE, format!("remove_tenant of {owner}"), move |s| s.remove_tenant(&owner)).await
    }
    async fn read_domain(&self, name: &DomainName) -> Result<DomainSnapshot> {
        let name = name.clone();
        self.call(READ, format!("read_domain {name}"), move |s| Ok(s.read_domain(&name))).await
    }
    async fn ensure_domain(&self, want: &DomainWant) -> Result<(DomainRow, Made)> {
        let want = want.clone();
        self.call(WRITE, format!("ensure_domain {} in {}", want.name, want.tenant), move |s| s.ensure_domain(&want))
            .await
    }
    async fn remove_domain(&self, owner: &Uid, name: &DomainName, removal: Removal) -> Result<Left> {
        let (owner, name) = (owner.clone(), name.clone());
        self.call(WRITE, format!("remove_domain {name} {removal:?}"), move |s| s.remove_domain(&owner, &name, removal))
            .await
    }
    async fn ensure_mailbox(&self, want: &MailboxWant) -> Result<(MailboxRow, Made)> {
        let want = want.clone();
        self.call(WRITE, format!("ensure_mailbox {} quota={}", want.address, want.settings.quota), move |s| {
            s.ensure_mailbox(&want)
        })
        .await
    }
    async fn disable_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        let (owner, address) = (owner.clone(), address.clone());
        self.call(WRITE, format!("disable_mailbox {address}"), move |s| s.disable_mailbox(&owner, &address)).await
    }
    async fn purge_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        let (owner, address) = (owner.clone(), address.clone());
        self.call(WRITE, format!("purge_mailbox {address}"), move |s| s.purge_mailbox(&owner, &address)).await
    }
    async fn drop_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        let (owner, address) = (owner.clone(), address.clone());
        self.call(WRITE, format!("drop_mailbox {address}"), move |s| s.drop_mailbox(&owner, &address)).await
    }
    async fn release_mailbox(&self, owner: &Uid, address: &Address) -> Result<()> {
        let (owner, address) = (owner.clone(), address.clone());
        self.call(WRITE, format!("release_mailbox {address}"), move |s| s.release_mailbox(&owner, &address)).await
    }
    async fn ensure_alias(&self, want: &AliasWant) -> Result<(AliasRow, Made)> {
        let want = want.clone();
        self.call(WRITE, format!("ensure_alias {} -> {:?}", want.address, want.settings.targets), move |s| {
            s.ensure_alias(&want)
        })
        .await
    }
    async fn remove_alias(&self, owner: &Uid, address: &Address, removal: Removal) -> Result<()> {
        let (owner, address) = (owner.clone(), address.clone());
        self.call(WRITE, format!("remove_alias {address} {removal:?}"), move |s| {
            s.remove_alias(&owner, &address, removal)
        })
        .await
    }
    async fn aliases_to(&self, address: &Address) -> Result<Vec<Address>> {
        let address = address.clone();
        self.call(READ, format!("aliases_to {address}"), move |s| Ok(s.aliases_to(&address))).await
    }
    fn dkim(&self) -> Option<&dyn DkimSigner> {
        Some(self)
    }
}

#[async_trait]
impl DkimSigner for GroupwareClient {
    fn algorithms(&self) -> BTreeSet<DkimAlgorithm> {
        [DkimAlgorithm::RSA2048, DkimAlgorithm::Ed25519].into()
    }
    async fn ensure_dkim_key(
        &self,
        owner: &Uid,
        domain: &DomainName,
        selector: &Selector,
        key: &DkimKey,
    ) -> Result<DkimRow> {
        let (owner, domain, selector, key) = (owner.clone(), domain.clone(), selector.clone(), key.clone());
        self.call(WRITE, format!("ensure_dkim_key {selector} {domain}"), move |s| {
            s.ensure_dkim_key(&owner, &domain, &selector, &key)
        })
        .await
    }
    async fn sign_with(&self, owner: &Uid, domain: &DomainName, keys: &[DkimRow]) -> Result<()> {
        let (owner, domain, keys) = (owner.clone(), domain.clone(), keys.to_vec());
        let selectors: Vec<&Selector> = keys.iter().map(|k| &k.selector).collect();
        let what = format!("sign_with {selectors:?} {domain}");
        self.call(WRITE, what, move |s| s.sign_with(&owner, &domain, &keys)).await
    }
    async fn remove_dkim_key(&self, owner: &Uid, domain: &DomainName, selector: &Selector) -> Result<()> {
        let (owner, domain, selector) = (owner.clone(), domain.clone(), selector.clone());
        self.call(WRITE, format!("remove_dkim_key {selector} {domain}"), move |s| {
            s.remove_dkim_key(&owner, &domain, &selector)
        })
        .await
    }
}

/// Makes providers; the server is found by the host of the spec's database.
pub struct GroupwareConnect(pub Sim);

impl ConnectGroupware for GroupwareConnect {
    fn connect(&self, spec: &GroupwareBackendSpec, secrets: &Secrets) -> Result<Arc<dyn GroupwareServer>> {
        let Some(sogo) = &spec.sogo else { return Err(BackendError::Unsupported("no provider block".into())) };
        let password = secrets.get(&sogo.database.credentials_secret_ref.name, "password");
        let password = password.map(|s| s.expose().to_string()).unwrap_or_default();
        Ok(Arc::new(GroupwareClient { sim: self.0.clone(), host: sogo.database.host.clone(), password }))
    }
}
