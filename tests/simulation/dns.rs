//! DNS servers in memory: zones with foreign records, compare-and-set, secondaries that lag behind, and the probe that
//! asks a mail server for recipients.
//!
//! The server is plain state; `DnsClient`, `View` and `Probe` are what the operator holds: each of their calls goes
//! through the simulator's queue.

use crate::sim::{Lane, Sim};
use async_trait::async_trait;
use mailtenant_api::DNSBackendSpec;
use mailtenant_controllers::connect::{ConnectDns, Secrets};
use mailtenant_dns::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Name and type of a set.
pub type SetKey = (String, RecordType);

/// One primary with its secondaries.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub zones: BTreeSet<String>,
    /// Zones that were moved to another server for a while, or for good.
    pub moved: BTreeSet<String>,
    pub sets: BTreeMap<SetKey, RrSet>,
    /// What others than the operator put there.
    pub foreign: BTreeMap<SetKey, RrSet>,
    /// Changes in order: when (virtual ms) and what the set became.
    pub history: Vec<(u64, RrSet)>,
    /// Which of them were made by others than the operator.
    pub by_others: BTreeSet<usize>,
    /// When (virtual ms) the operator was told what MX of a name is, by a look-up.
    pub mx_told: BTreeMap<String, Vec<u64>>,
    /// How far each secondary is behind, in ms.
    pub lags: Vec<u64>,
    /// API key that the operator must know.
    pub key: String,
}

/// The type with this word.
pub fn rtype(word: &str) -> RecordType {
    use RecordType::*;
    [MX, TXT, CNAME, SRV, TLSA, CAA, NS, SOA, A, AAAA, LUA, ALIAS]
        .into_iter()
        .find(|t| t.as_str() == word)
        .unwrap_or_else(|| panic!("no type {word}"))
}

fn empty(key: &SetKey) -> RrSet {
    RrSet { name: key.0.clone(), rtype: key.1, ttl: 0, values: vec![] }
}

/// Without the TTL of a set that is not there.
fn canonical(set: &RrSet) -> RrSet {
    let mut set = set.clone();
    set.values.sort();
    set.values.dedup();
    if set.values.is_empty() {
        set.ttl = 0;
    }
    set
}

impl Server {
    pub fn set(&self, name: &str, rtype: RecordType) -> RrSet {
        let key = (name.to_string(), rtype);
        self.sets.get(&key).cloned().unwrap_or_else(|| empty(&key))
    }

    fn put(&mut self, ms: u64, set: &RrSet) {
        let set = canonical(set);
        let key = (set.name.clone(), set.rtype);
        self.history.push((ms, set.clone()));
        match set.values.is_empty() {
            true => drop(self.sets.remove(&key)),
            false => drop(self.sets.insert(key, set)),
        }
    }

    pub fn zone_of(&self, name: &str) -> Option<String> {
        let holds = |z: &&String| name == z.as_str() || name.ends_with(&format!(".{z}"));
        self.zones.iter().filter(holds).max_by_key(|z| z.len()).cloned()
    }

    pub fn apply(&mut self, ms: u64, zone: &str, changes: &[Change]) -> Result<()> {
        if !self.zones.contains(zone) {
            return Err(BackendError::NotFound(format!("zone {zone}")));
        }
        for c in changes {
            if self.zone_of(&c.after.name).as_deref() != Some(zone) {
                return Err(BackendError::Rejected(format!("{} is out of zone {zone}", c.after.name)));
            }
            if c.before.name != c.after.name || c.before.rtype != c.after.rtype {
                return Err(BackendError::Rejected("a change must speak of one set".into()));
            }
            if canonical(&self.set(&c.before.name, c.before.rtype)) != canonical(&c.before) {
                return Err(BackendError::Conflict(format!(
                    "{} {} is not as it was read",
                    c.before.name,
                    c.before.rtype.as_str()
                )));
            }
        }
        changes.iter().for_each(|c| self.put(ms, &c.after));
        Ok(())
    }

    /// The set as each authoritative server shows it: the primary, then the secondaries.
    pub fn views(&self, ms: u64, name: &str, rtype: RecordType) -> Vec<RrSet> {
        let key = (name.to_string(), rtype);
        let at = |lag: u64| {
            let seen = self.history.iter().rev().find(|(t, s)| t + lag <= ms && s.name == key.0 && s.rtype == key.1);
            seen.map_or_else(|| empty(&key), |(_, s)| s.clone())
        };
        std::iter::once(0).chain(self.lags.iter().copied()).map(at).collect()
    }
}

/// What somebody does in the DNS by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ByHand {
    /// A zone is there from now on.
    Zone { name: String },
    /// A zone is not in the list of the server any more: it was moved to another one, which shows what was in it.
    Unlist { name: String },
    /// All sets of a zone are gone, wherever it is.
    Clear { name: String },
    /// Secondaries are so many ms behind.
    Lags { ms: Vec<u64> },
    /// The set is this, whatever it was.
    Set { name: String, rtype: String, ttl: u32, values: Vec<String> },
    /// Values are added, with the TTL of the set.
    Add { name: String, rtype: String, ttl: u32, values: Vec<String> },
    /// The values that the operator put into the set are removed.
    DropOurs { name: String, rtype: String },
    /// The values that others put into the set are removed.
    DropTheirs { name: String, rtype: String },
}

impl Server {
    /// Does it; the name whose sets are no longer as the operator left them.
    pub fn by_hand(&mut self, ms: u64, step: &ByHand) -> Option<String> {
        let before = self.history.len();
        let touched = self.does(ms, step);
        self.by_others.extend(before..self.history.len());
        touched
    }

    fn does(&mut self, ms: u64, step: &ByHand) -> Option<String> {
        match step {
            ByHand::Zone { name } => drop(self.zones.insert(name.clone())),
            ByHand::Unlist { name } => {
                self.zones.remove(name);
                self.moved.insert(name.clone());
            }
            ByHand::Clear { name } => {
                let within = |n: &str| n == name || n.ends_with(&format!(".{name}"));
                let all: Vec<SetKey> = self.sets.keys().filter(|(n, _)| within(n)).cloned().collect();
                all.iter().for_each(|key| self.put(ms, &empty(key)));
                self.foreign.retain(|(n, _), _| !within(n));
                return Some(format!("dns:{name}"));
            }
            ByHand::Lags { ms } => self.lags = ms.clone(),
            ByHand::Set { name, rtype: t, ttl, values } => {
                let set = RrSet { name: name.clone(), rtype: rtype(t), ttl: *ttl, values: values.clone() };
                self.foreign.insert((name.clone(), set.rtype), canonical(&set));
                self.put(ms, &set);
                return Some(format!("dns:{name}"));
            }
            ByHand::Add { name, rtype: t, ttl, values } => {
                let key = (name.clone(), rtype(t));
                let mut mine = self.foreign.get(&key).cloned().unwrap_or_else(|| empty(&key));
                mine.ttl = *ttl;
                mine.values.extend(values.iter().cloned());
                self.foreign.insert(key.clone(), canonical(&mine));
                let mut set = self.set(name, key.1);
                set.ttl = *ttl;
                set.values.extend(values.iter().cloned());
                self.put(ms, &set);
                return Some(format!("dns:{name}"));
            }
            ByHand::DropTheirs { name, rtype: t } => {
                let key = (name.clone(), rtype(t));
                let theirs = self.foreign.remove(&key).map(|s| s.values).unwrap_or_default();
                let mut set = self.set(name, key.1);
                if set.values.iter().any(|v| theirs.contains(v)) {
                    set.values.retain(|v| !theirs.contains(v));
                    self.put(ms, &set);
                    return Some(format!("dns:{name}"));
                }
            }
            ByHand::DropOurs { name, rtype: t } => {
                let key = (name.clone(), rtype(t));
                let mut set = self.set(name, key.1);
                let theirs = self.foreign.get(&key).map(|s| s.values.clone()).unwrap_or_default();
                if set.values.iter().any(|v| !theirs.contains(v)) {
                    // Ours was merged with theirs into one SPF record: with it theirs goes, by this hand.
                    if let Some(f) = self.foreign.get_mut(&key) {
                        f.values.retain(|v| !v.starts_with("v=spf1") || set.values.contains(v));
                    }
                    set.values.retain(|v| theirs.contains(v));
                    self.put(ms, &set);
                    return Some(format!("dns:{name}"));
                }
            }
        }
        None
    }
}

/// The provider: a connection to one server of the world, with the key it was given.
pub struct DnsClient {
    sim: Sim,
    host: String,
    key: String,
}

impl DnsClient {
    async fn call<T: Send + 'static>(
        &self,
        lane: Lane,
        what: String,
        f: impl FnOnce(&mut Server, u64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (host, key) = (self.host.clone(), self.key.clone());
        self.sim
            .backend(lane, format!("{host}: {what}"), move |w, _| {
                let ms = w.ms;
                let server = w.dns.entry(host).or_default();
                if server.key != key {
                    return Err(BackendError::Unauthorized("401".into()));
                }
                f(server, ms)
            })
            .await
    }
}

fn brief(changes: &[Change]) -> String {
    let one = |c: &Change| {
        format!("{} {} {:?} => {:?}", c.after.name, c.after.rtype.as_str(), c.before.values, c.after.values)
    };
    changes.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[async_trait]
impl DnsServer for DnsClient {
    fn provider(&self) -> &'static str {
        "powerdns"
    }
    fn capabilities(&self) -> DnsCapabilities {
        DnsCapabilities { atomic: true, compare_and_set: true }
    }
    async fn probe(&self) -> Result<String> {
        self.call(Lane::DnsRead, "probe".into(), |_, _| Ok("5.0".into())).await
    }
    async fn find_zone(&self, name: &str) -> Result<String> {
        let name = name.to_string();
        self.call(Lane::DnsRead, format!("find_zone {name}"), move |s, _| {
            s.zone_of(&name).ok_or(BackendError::NotFound(format!("zone of {name}")))
        })
        .await
    }
    async fn read(&self, zone: &str, which: &[(String, RecordType)]) -> Result<Vec<RrSet>> {
        let (which, at) = (which.to_vec(), zone.to_string());
        self.call(Lane::DnsRead, format!("read {} sets of {zone}", which.len()), move |s, _| {
            if !s.zones.contains(&at) {
                return Err(BackendError::NotFound(format!("zone {at}")));
            }
            Ok(which.iter().map(|(n, t)| s.set(n, *t)).collect())
        })
        .await
    }
    async fn wildcard(&self, zone: &str, name: &str) -> Result<Option<Wildcard>> {
        if name == zone {
            return Ok(None);
        }
        let (zone, name) = (zone.to_string(), name.to_string());
        self.call(Lane::DnsRead, format!("wildcard of {name}"), move |s, _| {
            let names = s.sets.keys().map(|(n, _)| n.clone()).collect();
            let wildcard = wildcard::answering(&name, &zone, &names);
            Ok(wildcard.map(|name| Wildcard { name, records: vec!["A 192.0.2.80".into()] }))
        })
        .await
    }
    async fn apply(&self, zone: &str, changes: &[Change]) -> Result<()> {
        let (zone, changes) = (zone.to_string(), changes.to_vec());
        self.call(Lane::DnsWrite, format!("apply {}", brief(&changes)), move |s, ms| s.apply(ms, &zone, &changes)).await
    }
}

/// Whether a host of MX has an address: those of the platform do, a mistyped one does not.
pub fn has_address(host: &str) -> bool {
    host.trim_end_matches('.').ends_with(".mail.example.net")
}

/// What the authoritative servers say.
pub struct View {
    sim: Sim,
    /// None: the server that has the zone of the name, whichever that is.
    host: Option<String>,
}

#[async_trait]
impl Resolver for View {
    async fn lookup(&self, name: &str, rtype: RecordType) -> Result<Vec<RrSet>> {
        let (host, name) = (self.host.clone(), name.to_string());
        let what = format!("lookup {name} {}", rtype.as_str());
        self.sim
            .backend(Lane::Lookup, what, move |w, _| {
                if rtype == RecordType::A && has_address(&name) {
                    return Ok(vec![RrSet { name, rtype, ttl: 60, values: vec!["192.0.2.25".into()] }]);
                }
                let shows =
                    |s: &Server| s.zone_of(&name).is_some() || s.history.iter().any(|(_, set)| set.name == name);
                let found = || w.dns.iter().find(|(_, s)| shows(s)).map(|(host, _)| host.clone());
                let host = host.or_else(found).unwrap_or_default();
                let server = w.dns.entry(host).or_default();
                if rtype == RecordType::MX {
                    server.mx_told.entry(name.clone()).or_default().push(w.ms);
                }
                Ok(server.views(w.ms, &name, rtype))
            })
            .await
    }
}

/// Makes providers; the server is found by the URL of the spec.
pub struct DnsConnect(pub Sim);

impl ConnectDns for DnsConnect {
    fn connect(&self, spec: &DNSBackendSpec, secrets: &Secrets) -> Result<Arc<dyn DnsServer>> {
        let Some(pdns) = &spec.powerdns else {
            return Err(BackendError::Unsupported("no provider block".into()));
        };
        let key = secrets.get(&pdns.api_key_secret_ref.name, &pdns.api_key_secret_ref.key);
        let key = key.map(|s| s.expose().to_string()).unwrap_or_default();
        Ok(Arc::new(DnsClient { sim: self.0.clone(), host: pdns.url.clone(), key }))
    }
    fn resolver(&self, spec: &DNSBackendSpec) -> Result<Arc<dyn Resolver>> {
        let host = spec.powerdns.as_ref().map(|p| p.url.clone()).unwrap_or_default();
        Ok(Arc::new(View { sim: self.0.clone(), host: Some(host) }))
    }
    fn default_resolver(&self) -> Arc<dyn Resolver> {
        Arc::new(View { sim: self.0.clone(), host: None })
    }
}

/// Asks the groupware server whose delivery host is named like it.
pub struct Probe(pub Sim);

#[async_trait]
impl RecipientProbe for Probe {
    async fn ask(&self, server: &(String, u16), addresses: &[String], _: Duration) -> Result<Vec<Verdict>> {
        let host = server.0.clone();
        // No more than a slow server would answer for: the caller has to ask for the others.
        let addresses: Vec<String> = addresses.iter().take(3).cloned().collect();
        let what = format!("{host}: RCPT {addresses:?}");
        self.0
            .backend(Lane::Lookup, what, move |w, _| {
                let server = w.groupware.entry(host).or_default();
                let takes: Vec<(String, bool)> =
                    addresses.into_iter().map(|a| (a.clone(), server.accepts(&a))).collect();
                let verdict =
                    |t: &(String, bool)| if t.1 { Verdict::Accepted } else { Verdict::Refused("550 5.1.1".into()) };
                let verdicts = takes.iter().map(verdict).collect();
                w.notes.asked.extend(takes);
                Ok(verdicts)
            })
            .await
    }
}
