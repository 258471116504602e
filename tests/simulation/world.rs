//! Everything outside of the operator: the API, the servers, and what a user does to them.

use crate::api::{Actor, Api, Key, Obj, Req, kind_of, text};
use crate::{dns, groupware};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The API and the servers, by host.
pub struct World {
    pub api: Api,
    pub groupware: BTreeMap<String, groupware::Server>,
    pub dns: BTreeMap<String, dns::Server>,
    /// Virtual time since the start.
    pub ms: u64,
    /// Resources whose watches deliver nothing: before which time (ms), and the revision up to which they have told.
    pub held: BTreeMap<String, (u64, u64)>,
    /// The operator is to be restarted now, and how far its wall clock is off from then on, in ms.
    pub restart: Option<i64>,
    /// How far its wall clock is off from now on, in ms, if that changes now.
    pub clock: Option<i64>,
    /// The last backup of etcd.
    pub backup: Option<crate::api::Backup>,
    pub notes: Notes,
}

/// What the properties must know of the past.
#[derive(Default)]
pub struct Notes {
    /// Addresses and names (`dns:` before those in the DNS) that somebody changed by hand: how often.
    pub drifted: BTreeMap<String, u64>,
    /// Uids of what lay below an object whose finalizer a user took away: if their status after a creation is lost too,
    /// nothing tells any more where they are.
    pub forced: BTreeSet<String>,
    /// Addresses whose passwords somebody changed by way of a Secret.
    pub rekeyed: BTreeSet<String>,
    /// Uids that were told to go without a backend that blocks them.
    pub told: BTreeSet<String>,
    /// Those of them that were blocked by a backend while they were being deleted.
    pub orphaned: BTreeSet<String>,
    /// Until when (ms) a call of a backend that was made to fail may keep somebody waiting.
    pub trouble: u64,
    /// Uids whose finalizer a user took away, until it was put back.
    pub bare: BTreeSet<String>,
    /// By resource, namespace ("" = all) and field selector: the newest revision that the operator was shown by a live list.
    pub live_lists: BTreeMap<(&'static str, String, String), u64>,
    /// Calls of backends since anything last changed.
    pub calls: Vec<String>,
    /// Op at which each groupware server was emptied.
    pub emptied: BTreeMap<String, u64>,
    /// Uids whose status somebody else wrote, until the operator writes it again.
    pub forged: BTreeSet<String>,
    /// The same, for ever: what somebody else put into it beside ours stays.
    pub was_forged: BTreeSet<String>,
    /// How often etcd was restored.
    pub restores: u64,
    /// Names in the DNS whose records a restored etcd does not know of.
    pub left_behind: BTreeSet<String>,
    /// Addresses that the mail server was asked for, and whether it took them when it was asked last.
    pub asked: BTreeMap<String, bool>,
    /// The operator's wall clock was ahead of the cluster's at some time: what it began then lasts longer.
    pub clock_ahead: bool,
    /// MX of a domain that is edited by hand was asked for although nobody there gets mail.
    pub asked_too_early: Option<String>,
    /// Op at which the answer of the last complete read of each (server, domain) went out.
    pub last_op: u64,
}

/// One thing that a user does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    Api(Req),
    Groupware {
        server: String,
        step: groupware::ByHand,
    },
    Dns {
        server: String,
        step: dns::ByHand,
    },
    /// The challenge that a MailDomain shows is put into the DNS, as it was read there.
    Prove {
        ns: String,
        name: String,
        server: String,
    },
    /// A person edits the records of a MailDomain at its DNS provider, by what its status says.
    Edits {
        ns: String,
        name: String,
        server: String,
        how: crate::by_hand::How,
    },
    /// Watches of a resource deliver nothing for so long.
    Hold {
        resource: String,
        ms: u64,
    },
    /// The operator is killed and started again, with a wall clock that is so far from the cluster's.
    Restart {
        ahead_ms: i64,
    },
    /// The operator's wall clock is so far from the cluster's from now on.
    Clock {
        ahead_ms: i64,
    },
    /// Somebody who may write the status of one object writes there what stands in that of another one.
    Forge {
        object: Named,
        like: Named,
    },
    /// A finalizer of somebody else is put on an object, or taken off.
    Finalizer {
        object: Named,
        on: bool,
    },
    /// A backup of etcd is made.
    Backup,
    /// etcd is restored from the last backup, and the operator starts anew.
    Restore,
}

/// Namespace, resource and name.
pub type Named = (String, String, String);

/// The finalizer of somebody else.
pub const STRANGER: &str = "example.com/hold";

/// When a user does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum When {
    /// When nothing has changed for a while.
    Settled,
    /// When nothing else can happen at once.
    Idle,
    /// At any time.
    Now,
}

/// A step of the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub when: When,
    pub step: Step,
}

impl Notes {
    /// Whether a person took an object out of the operator's hands.
    pub fn abandoned(&self, uid: &str) -> bool {
        self.orphaned.contains(uid) || self.bare.contains(uid)
    }
}

/// A virtual time as the API writes it.
pub fn stamp(ms: u64) -> String {
    let seconds = ms / 1000;
    let day = 1 + seconds / 86_400;
    format!("2026-01-{day:02}T{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

impl World {
    pub fn new() -> Self {
        World {
            api: Api::new(),
            groupware: BTreeMap::new(),
            dns: BTreeMap::new(),
            ms: 0,
            held: BTreeMap::new(),
            restart: None,
            clock: None,
            backup: None,
            notes: Notes::default(),
        }
    }

    /// Sets the time, also for what the API stamps.
    pub fn at(&mut self, ms: u64) {
        self.ms = ms;
        self.api.now = stamp(ms);
    }

    /// The user does something; a line for the trace.
    pub fn user(&mut self, step: &Step) -> String {
        match step {
            Step::Api(r) => {
                self.api.actor = Actor::User;
                let (orphaned, bare) = self.strips(r);
                let below = self.below(&bare);
                let answer = self.api.handle(r, 0);
                if answer.code < 300 {
                    self.passwords(r);
                    self.forgeries(r);
                    self.notes.told.extend(orphaned);
                    self.notes.forced.extend(below);
                    self.notes.bare.extend(bare);
                }
                let uid = match answer.code {
                    201 => format!(" uid={}", text(&answer.body, "/metadata/uid")),
                    _ => String::new(),
                };
                format!("user {} {} {} = {}{uid}", r.method, r.path, r.body, answer.code)
            }
            Step::Groupware { server, step } => {
                let touched = self.groupware.entry(server.clone()).or_default().by_hand(step);
                if matches!(step, groupware::ByHand::Empty | groupware::ByHand::EmptyMailboxes) {
                    self.notes.emptied.insert(server.clone(), self.notes.last_op);
                }
                match step {
                    groupware::ByHand::Away => self.away(server),
                    groupware::ByHand::Back => drop(self.notes.emptied.remove(server)),
                    _ => {}
                }
                touched.into_iter().for_each(|t| *self.notes.drifted.entry(t).or_default() += 1);
                format!("by hand at {server}: {step:?}")
            }
            Step::Dns { server, step } => {
                let touched = self.dns.entry(server.clone()).or_default().by_hand(self.ms, step);
                touched.into_iter().for_each(|t| *self.notes.drifted.entry(t).or_default() += 1);
                format!("by hand at {server}: {step:?}")
            }
            Step::Prove { ns, name, server } => {
                let key = Key { res: "maildomains", ns: ns.clone(), name: name.clone() };
                let domain = self.api.objs.get(&key);
                // Where no proof is asked for, the operator publishes that very value.
                let asked = |d: &&Obj| {
                    d["spec"]["adoptionPolicy"] == "IfUnowned"
                        || crate::authority::needs_proof(self, &text(d, "/spec/domain").to_lowercase())
                };
                let shown = domain.filter(asked).map(|d| d["status"]["challenge"].clone()).unwrap_or_default();
                let (name, value) = (text(&shown, "/name").to_string(), text(&shown, "/value").to_string());
                let line = format!("by hand at {server}: {name} TXT {value:?}");
                if !value.is_empty() {
                    let step = dns::ByHand::Add { name, rtype: "TXT".into(), ttl: 60, values: vec![value] };
                    self.dns.entry(server.clone()).or_default().by_hand(self.ms, &step);
                }
                line
            }
            Step::Edits { ns, name, server, how } => {
                let key = Key { res: "maildomains", ns: ns.clone(), name: name.clone() };
                let domain = self.api.objs.get(&key).map(|d| (**d).clone()).unwrap_or_default();
                if self.notes.asked_too_early.is_none() {
                    self.notes.asked_too_early = crate::by_hand::asked_too_early(self, &domain);
                }
                let at = self.dns.entry(server.clone()).or_default();
                let steps = crate::by_hand::edits(&domain, at, *how);
                for step in &steps {
                    at.by_hand(self.ms, step);
                }
                format!("by hand at {server}: {how:?}: {steps:?}")
            }
            Step::Hold { resource, ms } => {
                self.held.insert(resource.clone(), (self.ms + ms, self.api.rv));
                format!("watches of {resource} are held for {ms} ms")
            }
            Step::Restart { ahead_ms } => {
                self.restart = Some(*ahead_ms);
                self.notes.clock_ahead |= *ahead_ms > 0;
                format!("the operator is restarted, its clock {ahead_ms} ms ahead")
            }
            Step::Clock { ahead_ms } => {
                self.clock = Some(*ahead_ms);
                self.notes.clock_ahead |= *ahead_ms > 0;
                format!("the operator's clock is {ahead_ms} ms ahead")
            }
            Step::Backup => {
                self.backup = Some(self.api.backup());
                "a backup of etcd is made".into()
            }
            Step::Restore => {
                self.restore();
                "etcd is restored from its backup".into()
            }
            Step::Forge { object, like } => {
                let status = self.named(like).map(|v| v["status"].clone()).filter(serde_json::Value::is_object);
                let Some(status) = status else { return format!("{like:?} has no status to be copied") };
                let (ns, res, name) = object;
                let path = format!("{}/namespaces/{ns}/{res}/{name}/status", crate::user::GROUP);
                let body = serde_json::json!({"status": status});
                self.user(&Step::Api(Req::new("PATCH", &path, crate::user::MERGE, body)))
            }
            Step::Finalizer { object, on } => {
                let all = self.named(object).map(|v| v["metadata"]["finalizers"].clone()).unwrap_or_default();
                let mut all: Vec<String> = serde_json::from_value(all).unwrap_or_default();
                all.retain(|f| f != STRANGER);
                all.extend(on.then(|| STRANGER.to_string()));
                let (ns, res, name) = object;
                let path = format!("{}/namespaces/{ns}/{res}/{name}", crate::user::GROUP);
                let body = serde_json::json!({"metadata": {"finalizers": all}});
                self.api.actor = Actor::User;
                let answer = self.api.handle(&Req::new("PATCH", &path, crate::user::MERGE, body), 0);
                format!("user puts finalizers {all:?} on {path} = {}", answer.code)
            }
        }
    }

    /// The API is as it was when the backup was made; the servers are not.
    fn restore(&mut self) {
        use crate::declared::{Declared, KINDS};
        let Some(backup) = self.backup.clone() else { return };
        let all = |w: &World| -> Vec<(Key, String, Vec<String>)> {
            let all = KINDS.iter().flat_map(|k| Declared::all(w, k));
            let places = |d: &Declared| -> Vec<String> {
                let place = match d.key.res {
                    "mailinstances" => Some(text(d.object, "/status/instanceId").to_string()),
                    "maildomains" => Some(d.name()),
                    _ => d.address(),
                };
                place.into_iter().collect()
            };
            all.map(|d| (d.key.clone(), text(d.object, "/metadata/uid").to_string(), places(&d))).collect()
        };
        let journal = |w: &World| -> BTreeSet<(String, String)> {
            let records = |d: &Declared| -> Vec<(String, String)> {
                let all = d.object["status"]["dns"]["records"].as_array().cloned().unwrap_or_default();
                all.iter().map(|r| (d.name(), format!("{} {} {}", r["name"], r["type"], r["value"]))).collect()
            };
            Declared::all(w, "maildomains").flat_map(|d| records(&d)).collect()
        };
        self.notes.restores += 1;
        let (before, journals) = (all(self), journal(self));
        // Nobody knows any more of what was made since.
        let lost = before.iter().filter(|(key, uid, _)| backup.uid(key) != Some(uid)).map(|(_, uid, _)| uid.clone());
        self.notes.bare.extend(lost);
        self.api.actor = Actor::Cluster;
        self.api.restore(&backup);
        let bare = |(key, uid, _): (Key, String, Vec<String>)| {
            self.api.objs.get(&key).is_some_and(|v| !crate::declared::held(v)).then_some(uid)
        };
        let bare: Vec<String> = all(self).into_iter().filter_map(bare).collect();
        self.notes.bare.extend(bare);
        // Records that were made since stand in no journal: nobody knows that they are ours.
        let known = journal(self);
        let since = journals.iter().filter(|record| !known.contains(record)).map(|(name, _)| name.clone());
        self.notes.left_behind.extend(since);
        // A name may have changed hands since: its claim is the former holder's again, and its row at the server is not. And
        // of what was made since, nobody knows.
        self.notes.forced.extend(all(self).into_iter().map(|(_, uid, _)| uid));
        // Statuses are of another time, until the operator has looked.
        self.notes.forged.extend(all(self).into_iter().map(|(_, uid, _)| uid));
        for place in before.into_iter().chain(all(self)).flat_map(|(_, _, places)| places) {
            *self.notes.drifted.entry(place.clone()).or_default() += 1;
            self.notes.rekeyed.insert(place);
        }
        self.restart = Some(0);
    }

    /// Another server answers in the place of one. Who has less than two mailboxes there cannot see it by that.
    fn away(&mut self, server: &str) {
        self.notes.emptied.insert(server.to_string(), self.notes.last_op);
        let all: Vec<_> = crate::declared::KINDS.iter().flat_map(|k| crate::declared::Declared::all(self, k)).collect();
        let few = |ns: &str| {
            let known = |d: &&crate::declared::Declared| {
                d.key.res == "mailboxes" && d.key.ns == ns && !text(d.object, "/status/ownership").is_empty()
            };
            all.iter().filter(known).count() < 3
        };
        let blind = all.iter().filter(|d| few(&d.key.ns)).map(|d| text(d.object, "/metadata/uid").to_string());
        let blind: Vec<String> = blind.collect();
        self.notes.forced.extend(blind);
    }

    fn named(&self, (ns, res, name): &Named) -> Option<&crate::api::Obj> {
        let here = |k: &&Key| k.res == res && k.ns == *ns && k.name == *name;
        self.api.objs.iter().find(|(k, _)| here(k)).map(|(_, v)| v)
    }

    /// Whose status is not the operator's any more.
    fn forgeries(&mut self, r: &Req) {
        let Some(path) = r.path.strip_suffix("/status").filter(|_| r.method == "PATCH") else { return };
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let ["apis", _, _, "namespaces", ns, res, name] = parts.as_slice() else { return };
        let uid = self.named(&(ns.to_string(), res.to_string(), name.to_string()));
        let uid = uid.map(|v| text(v, "/metadata/uid").to_string());
        self.notes.was_forged.extend(uid.clone());
        self.notes.forged.extend(uid);
    }

    fn below(&self, uids: &[String]) -> Vec<String> {
        let all = crate::declared::KINDS.iter().flat_map(|kind| crate::declared::Declared::all(self, kind));
        let is = |v: &serde_json::Value| uids.iter().any(|u| text(v, "/metadata/uid") == u);
        let hit = all.filter(|d| std::iter::successors(d.parent(), |p| p.parent()).any(|p| is(p.object)));
        hit.map(|d| text(d.object, "/metadata/uid").to_string()).collect()
    }

    /// A Secret that a user writes or removes changes passwords: of those the mailboxes' generations say nothing.
    fn passwords(&mut self, r: &Req) {
        let parts: Vec<&str> = r.path.trim_matches('/').split('/').collect();
        let ["api", "v1", "namespaces", ns, "secrets", rest @ ..] = parts.as_slice() else { return };
        let name = rest.first().map_or(text(&r.body, "/metadata/name"), |n| *n).to_string();
        let concerned: Vec<String> = crate::declared::Declared::all(self, "mailboxes")
            .filter(|m| m.key.ns == *ns)
            .filter(|m| {
                format!("{}-mail", m.key.name) == name || text(m.object, "/spec/password/secretRef/name") == name
            })
            .filter_map(|m| m.address())
            .collect();
        self.notes.rekeyed.extend(concerned);
    }

    /// Uids that a request by a user takes out of the operator's hands: `orphan` is said, or the finalizer taken away.
    fn strips(&self, r: &Req) -> (Vec<String>, Vec<String>) {
        let meta = &r.body["metadata"];
        let orphan = meta["annotations"]["mailtenant.dev/orphan"] == "true";
        let bare = meta.get("finalizers").is_some_and(|f| f.is_null() || f.as_array().is_some_and(Vec::is_empty));
        if r.method != "PATCH" || !(orphan || bare) {
            return (vec![], vec![]);
        }
        let here = |k: &Key| {
            r.path.ends_with(&format!("/{}/{}", k.res, k.name))
                && (k.ns.is_empty() || r.path.contains(&format!("/namespaces/{}/", k.ns)))
        };
        let hits: Vec<String> =
            self.api.objs.iter().filter(|(k, _)| here(k)).map(|(_, v)| text(v, "/metadata/uid").to_string()).collect();
        if orphan { (hits, vec![]) } else { (vec![], hits) }
    }

    /// Notes who is blocked by a backend, of those that were told to go without it. What heals is not heard of at once: the
    /// object of a backend that is not `Ready` is as good as the backend.
    pub fn blocked(&mut self) {
        if self.notes.told.is_empty() {
            return;
        }
        let all = crate::declared::KINDS.iter().flat_map(|kind| crate::declared::Declared::all(self, kind));
        let told = all.filter(|d| {
            let uid = text(d.object, "/metadata/uid");
            self.notes.told.contains(uid) && !self.notes.orphaned.contains(uid) && crate::api::deleting(d.object)
        });
        let hit = told.filter(|d| self.ms < self.notes.trouble || crate::causes::blocked(d));
        let hit: Vec<String> = hit.map(|d| text(d.object, "/metadata/uid").to_string()).collect();
        self.notes.orphaned.extend(hit);
    }

    /// Whether a path is that of an object that is being deleted and was told to go without its backend.
    pub fn is_told(&self, path: &str) -> bool {
        let here = |k: &&Key| path.ends_with(&format!("/namespaces/{}/{}/{}", k.ns, k.res, k.name));
        let object = self.api.objs.iter().find(|(k, _)| here(k)).map(|(_, v)| v);
        object.is_some_and(|v| crate::api::deleting(v) && self.notes.told.contains(text(v, "/metadata/uid")))
    }

    /// A finalizer that was put back makes its object whole again, and a status that the operator wrote is its own.
    pub fn made_whole(&mut self) {
        if let Some(c) = self.api.log.last().filter(|c| c.actor == Actor::Operator)
            && let (Some(old), Some(new)) = (&c.old, &c.new)
            && old["status"] != new["status"]
        {
            self.notes.forged.remove(text(new, "/metadata/uid"));
        }
        if !self.notes.bare.is_empty() {
            let whole: Vec<String> = self
                .api
                .objs
                .values()
                .filter(|v| crate::declared::held(v))
                .map(|v| text(v, "/metadata/uid").to_string())
                .collect();
            self.notes.bare.retain(|uid| !whole.contains(uid));
        }
    }

    /// A planted bug asks for one object as the watch has told it: the answer while that watch is held.
    pub fn as_watched(&self, r: &Req) -> Option<crate::api::Resp> {
        if r.method != "GET" || r.query.get("resourceVersion").is_none_or(|v| v != "0") {
            return None;
        }
        let (path, name) = r.path.trim_matches('/').rsplit_once('/')?;
        let res = path.rsplit('/').next()?;
        let (_, rv) = self.held.get(res).filter(|(until, _)| self.ms < *until)?;
        let here = |k: &Key| k.res == res && k.name == name && path.contains(&format!("/namespaces/{}/", k.ns));
        let last = self.api.log.iter().rev().find(|c| c.rv <= *rv && here(&c.key))?;
        Some(crate::api::Resp { code: 200, body: last.new.as_deref()?.clone() })
    }

    /// What a live list of the operator was shown.
    pub fn listed(&mut self, r: &Req) {
        if r.method != "GET" || r.query.get("resourceVersion").is_some_and(|v| v == "0") {
            return;
        }
        let parts: Vec<&str> = r.path.trim_matches('/').split('/').collect();
        let (ns, res) = match parts.as_slice() {
            ["apis", _, _, res] => ("", *res),
            ["apis", _, _, "namespaces", ns, res] => (*ns, *res),
            _ => return,
        };
        let kind = kind_of(res);
        let selector = r.query.get("fieldSelector").cloned().unwrap_or_default();
        let (rv, key) = (self.api.rv, (kind.plural, ns.to_string(), selector));
        self.notes.live_lists.insert(key, rv);
    }

    /// A stamp that changes when any state does.
    pub fn stamp(&self) -> (u64, usize, usize) {
        let groupware = self.groupware.values().map(|s| s.log.len()).sum();
        let dns = self.dns.values().map(|s| s.history.len()).sum();
        (self.api.rv, groupware, dns)
    }

    /// Objects of a kind.
    pub fn of<'a>(&'a self, res: &'static str) -> impl Iterator<Item = (&'a crate::api::Key, &'a crate::api::Obj)> {
        let first = crate::api::Key { res, ns: String::new(), name: String::new() };
        self.api.objs.range(first..).take_while(move |(k, _)| k.res == res)
    }

    /// The object with a uid.
    pub fn by_uid(&self, uid: &str) -> Option<(&crate::api::Key, &crate::api::Obj)> {
        self.api.objs.iter().find(|(_, v)| text(v, "/metadata/uid") == uid)
    }
}
