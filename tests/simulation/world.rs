//! Everything outside of the operator: the API, the servers, and what a user does to them.

use crate::api::{Actor, Api, Key, Req, kind_of, text};
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
    /// Uids that were told to forget the backend.
    pub orphaned: BTreeSet<String>,
    /// Uids whose finalizer a user took away, until it was put back.
    pub bare: BTreeSet<String>,
    /// By resource, namespace ("" = all) and field selector: the newest revision that the operator was shown by a live list.
    pub live_lists: BTreeMap<(&'static str, String, String), u64>,
    /// Calls of backends since anything last changed.
    pub calls: Vec<String>,
    /// Op at which each groupware server was emptied.
    pub emptied: BTreeMap<String, u64>,
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
}

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

impl World {
    pub fn new() -> Self {
        World { api: Api::new(), groupware: BTreeMap::new(), dns: BTreeMap::new(), ms: 0, notes: Notes::default() }
    }

    /// Sets the time, also for what the API stamps.
    pub fn at(&mut self, ms: u64) {
        self.ms = ms;
        let seconds = ms / 1000;
        let day = 1 + seconds / 86_400;
        self.api.now =
            format!("2026-01-{day:02}T{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
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
                    self.notes.orphaned.extend(orphaned);
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
                if *step == groupware::ByHand::Empty {
                    self.notes.emptied.insert(server.clone(), self.notes.last_op);
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
                let shown = self.api.objs.get(&key).map(|d| d["status"]["challenge"].clone()).unwrap_or_default();
                let (name, value) = (text(&shown, "/name").to_string(), text(&shown, "/value").to_string());
                let line = format!("by hand at {server}: {name} TXT {value:?}");
                if !value.is_empty() {
                    let step = dns::ByHand::Add { name, rtype: "TXT".into(), ttl: 60, values: vec![value] };
                    self.dns.entry(server.clone()).or_default().by_hand(self.ms, &step);
                }
                line
            }
        }
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

    /// A finalizer that was put back makes its object whole again.
    pub fn made_whole(&mut self) {
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
