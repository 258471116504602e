//! The invariants, held against the API and the servers alone, never against the operator's insides.
//!
//! Each violation starts with the number of its invariant. `end.rs` has what must hold once nothing moves any more.

mod records;

use crate::api::{Actor, Change, at, deleting, finalizers, text};
use crate::authority::{self, Authority};
use crate::declared::*;
use crate::groupware::{Entry, Verb};
use crate::schedule::Monitor;
use crate::world::World;
use mailtenant_api::FINALIZER;
use mailtenant_groupware::Address;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A row that nobody owns, as it was first seen.
#[derive(Clone, PartialEq, Debug)]
enum Foreign {
    Domain(crate::groupware::Domain),
    Mailbox(crate::groupware::Mailbox),
    Alias(mailtenant_groupware::AliasRow),
}

impl Foreign {
    /// Where its last owner stood.
    fn origin(&self) -> Option<&mailtenant_groupware::Origin> {
        match self {
            Foreign::Domain(d) => d.row.origin.as_ref(),
            Foreign::Mailbox(m) => m.row.origin.as_ref(),
            Foreign::Alias(a) => a.origin.as_ref(),
        }
    }
}

/// The properties of one schedule.
#[derive(Default)]
pub struct Properties {
    /// Changes of the API that were looked at.
    seen: usize,
    /// Entries of each server's log that were looked at.
    entries: BTreeMap<String, usize>,
    /// How often something had drifted when it was last as declared.
    healed: BTreeMap<String, u64>,
    foreign: BTreeMap<(String, &'static str, String), (Foreign, u64)>,
    /// Mailboxes, by uid, that were made.
    made: BTreeMap<String, u64>,
    /// Changes of each DNS server that were looked at.
    records: BTreeMap<String, usize>,
    /// Passwords at each server, by address: whose mailbox it is, and how often somebody changed it by hand.
    passwords: BTreeMap<(String, String), (Option<String>, String)>,
    /// Names whose records were left behind because a person said so.
    forgotten: BTreeSet<String>,
    /// Instances, by uid, whose status says that a mass loss is held: since when (ms).
    losses: BTreeMap<String, u64>,
    /// MailDomains, by uid, whose MX has left, so that the old TTL runs: since when (ms).
    draining: BTreeMap<String, u64>,
    authority: Authority,
}

type Verdict = Result<(), String>;

impl Monitor for Properties {
    fn check(&mut self, w: &World) -> Option<String> {
        self.all(w).err()
    }
    fn at_end(&mut self, w: &World) -> Option<String> {
        self.all(w).and_then(|()| crate::end::check(w)).err()
    }
}

impl Properties {
    fn all(&mut self, w: &World) -> Verdict {
        self.history(w)?;
        self.logs(w)?;
        self.no_leak(w)?;
        self.strangers(w)?;
        self.passwords(w)?;
        self.one_holder(w)?;
        self.switched(w)?;
        self.authority.servers(w, &self.forgotten)?;
        self.truth(w)?;
        crate::by_hand::check(w)?;
        self.records(w)
    }

    fn drifted(&self, w: &World, name: &str) -> bool {
        w.notes.drifted.get(name).is_some_and(|n| self.healed.get(name).is_none_or(|h| h < n))
    }

    fn heal(&mut self, w: &World, name: &str) {
        if let Some(n) = w.notes.drifted.get(name) {
            self.healed.insert(name.into(), *n);
        }
    }

    /// I1 in the API, and that spec is never written by the operator.
    fn history(&mut self, w: &World) -> Verdict {
        self.forgotten.extend(w.notes.left_behind.iter().cloned());
        for c in &w.api.log[self.seen.min(w.api.log.len())..] {
            let drains = |v: &&crate::api::Obj| !text(v, "/status/drainingUntil").is_empty();
            match c.new.as_ref().filter(|_| c.key.res == "maildomains") {
                Some(v) if drains(&v) => drop(self.draining.entry(uid(v).into()).or_insert(w.ms)),
                Some(v) => drop(self.draining.remove(uid(v))),
                None => {}
            }
            if let (Some(old), Some(new)) = (&c.old, &c.new)
                && KINDS.contains(&c.key.res)
                && c.actor == Actor::Operator
                && old["spec"] != new["spec"]
            {
                return Err(format!("spec: the operator changed the spec of {}", c.key));
            }
            Authority::change(w, c, &self.forgotten)?;
            if c.key.res == "mailinstances" {
                let held = c.new.as_deref().filter(|v| text(v, "/status/massLoss") == "Held");
                match held {
                    Some(v) => drop(self.losses.entry(uid(v).into()).or_insert(w.ms)),
                    None => drop(self.losses.remove(uid(&c.last))),
                }
            }
            if c.actor == Actor::Operator && c.new.is_none() {
                self.parent_left(w, c)?;
                Self::off_first(w, c)?;
            }
            if let Some(new) = c.new.as_ref().filter(|_| c.actor == Actor::Operator) {
                Self::own_words(w, c, new)?;
                Self::undeclared(w, c, new)?;
            }
            if let Some(old) = c.old.as_ref().filter(|_| c.key.res == "maildomains" && c.new.is_none())
                && w.notes.abandoned(uid(old))
            {
                self.forgotten.insert(text(old, "/spec/domain").to_lowercase());
            }
        }
        self.seen = w.api.log.len();
        Ok(())
    }

    /// What a status says to have been made was made for this object, and not for another one of its name.
    fn own_words(w: &World, c: &Change, new: &Value) -> Verdict {
        let said = |v: &Value| matches!(text(v, "/status/ownership"), "Created" | "Adopted");
        let of = |e: &Entry| e.owner.as_deref() == Some(uid(new));
        if said(new)
            && !c.old.as_deref().is_some_and(said)
            && !w.groupware.values().any(|server| server.log.iter().any(of))
        {
            return Err(format!("I3: {} says {}, and nothing was made for it", c.key, text(new, "/status/ownership")));
        }
        Ok(())
    }

    /// Who goes without a backend is switched off there, if it can be reached.
    fn off_first(w: &World, c: &Change) -> Verdict {
        let Some(old) = c.old.as_ref().filter(|o| w.notes.orphaned.contains(uid(o))) else { return Ok(()) };
        let d = Declared { world: w, key: &c.key, object: old };
        let (Some(server), Some(address)) = (d.server(), d.address()) else { return Ok(()) };
        // What a held watch has not told is not known to be there again.
        let calm = w.ms >= w.notes.trouble && w.held.values().all(|(until, _)| w.ms >= *until);
        if !calm || !crate::causes::reachable(&d) || d.is_observed() {
            return Ok(());
        }
        let owned = |owner: &Option<mailtenant_groupware::Uid>| owner.as_deref() == Some(uid(old));
        let mailbox = server.mailboxes.get(address.as_str()).filter(|m| owned(&m.row.owner));
        let alias = server.aliases.get(address.as_str()).filter(|a| owned(&a.owner));
        let on = mailbox.is_some_and(|m| m.row.settings.login || m.row.settings.receive) || alias.is_some();
        if on {
            Err(format!("I2: {} went by orphan, its server can be reached, and {address} is on", c.key))
        } else {
            Ok(())
        }
    }

    /// `Undeclared` is begun to be said only where a row has no object, or had none until a moment ago.
    fn undeclared(w: &World, c: &Change, new: &Value) -> Verdict {
        let said = |v: &Value| condition(v, "Undeclared").0 == "True";
        if c.key.res != "maildomains" || !said(new) || c.old.as_deref().is_some_and(said) {
            return Ok(());
        }
        let name = text(new, "/spec/domain").to_lowercase();
        let below = |address: &str| address.rsplit_once('@').is_some_and(|(_, domain)| domain == name);
        let lacks = |owner: &Option<mailtenant_groupware::Uid>| owner.as_ref().is_some_and(|o| w.by_uid(o).is_none());
        let is = w.groupware.values().any(|s| {
            s.mailboxes.values().any(|m| below(&m.row.address) && lacks(&m.row.owner))
                || s.aliases.values().any(|a| below(&a.address) && lacks(&a.owner))
        });
        let was = w
            .groupware
            .values()
            .flat_map(|s| &s.log)
            .any(|e| matches!(e.verb, Verb::TakenOver | Verb::Released | Verb::Deleted) && below(&e.name));
        if is || was || w.notes.drifted.keys().any(|name| below(name)) {
            return Ok(());
        }
        Err(format!("Undeclared: {} says it, and every row has its object", c.key))
    }

    /// A parent's finalizer stays until a live list, asked for after its deletion began, finds no child.
    fn parent_left(&self, w: &World, c: &Change) -> Verdict {
        let Some(old) = c.old.as_ref().filter(|o| held(o) && !w.notes.abandoned(uid(o))) else { return Ok(()) };
        let (kinds, pointer): (&[&'static str], _) = match c.key.res {
            "groupwarebackends" => (&["mailinstances"], "/spec/backendRef/name"),
            "dnsbackends" => (&["maildomains"], "/spec/dns/backendRef/name"),
            "mailinstances" => (&["maildomains"], "/spec/instanceRef/name"),
            "maildomains" => (&["mailboxes", "mailaliases"], "/spec/domainRef/name"),
            _ => return Ok(()),
        };
        let began = w
            .api
            .log
            .iter()
            .find(|l| l.key == c.key && l.new.as_ref().is_some_and(|n| deleting(n) && uid(n) == uid(old)))
            .map_or(0, |l| l.rv);
        let selector = format!("{}={}", pointer.trim_start_matches('/').replace('/', "."), c.key.name);
        for kind in kinds {
            let listed = |ns: &str, selector: &str| {
                let key = (*kind, ns.to_string(), selector.to_string());
                w.notes.live_lists.get(&key).copied().unwrap_or(0)
            };
            let at = listed("", "").max(listed(&c.key.ns, "")).max(listed(&c.key.ns, &selector));
            if at < began {
                return Err(format!("I1: {} left without a live list of {kind} after its deletion began", c.key));
            }
            let child = w.of(kind).find(|(k, v)| {
                let born = || {
                    w.api
                        .log
                        .iter()
                        .find(|l| l.key == **k && l.new.as_ref().is_some_and(|n| uid(n) == uid(v)))
                        .map_or(0, |l| l.rv)
                };
                (c.key.ns.is_empty() || k.ns == c.key.ns) && text(v, pointer) == c.key.name && born() <= at
            });
            if let Some((k, _)) = child {
                return Err(format!("I1: {} left before {k}", c.key));
            }
        }
        Ok(())
    }

    /// What the servers' logs say: order, mail that is destroyed, things made twice.
    fn logs(&mut self, w: &World) -> Verdict {
        for (host, server) in &w.groupware {
            let from = self.entries.insert(host.clone(), server.log.len()).unwrap_or(0);
            for e in &server.log[from.min(server.log.len())..] {
                self.entry(w, host, e)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, w: &World, host: &str, e: &Entry) -> Verdict {
        let server = &w.groupware[host];
        let owner = e.owner.as_deref().unwrap_or_default();
        if e.kind == "mailbox"
            && matches!(e.verb, Verb::Deleted | Verb::Released)
            && let Some(alias) = server.aliases_to(&e.name).iter().find(|a| !Self::given_up_beside(w, server, e, a))
        {
            return Err(format!("I1: mailbox {} left the backend before alias {alias}", e.name));
        }
        if e.verb == Verb::Purged {
            // One that was being deleted, and lost its finalizer to a person before we heard of that, counts as it last was.
            let last =
                || w.api.log.iter().rev().find_map(|l| Some((&l.key, l.old.as_ref().filter(|o| uid(o) == owner)?)));
            let Some((key, object)) = w.by_uid(owner).or_else(last) else {
                return Err(format!("I3: mail of {} was destroyed for an object that never was", e.name));
            };
            let policy = Declared { world: w, key, object }.deletion_policy();
            if !deleting(object) || policy == Some("Retain") {
                return Err(format!(
                    "I3: mail of {} was destroyed; {key} is deleting: {}, policy {policy:?}",
                    e.name,
                    deleting(object)
                ));
            }
        }
        if matches!(e.verb, Verb::Created | Verb::Adopted | Verb::TakenOver | Verb::Changed)
            && let Some((key, v)) = w.by_uid(owner)
            && text(v, "/spec/managementPolicy") == "Observe"
            && v["status"]["observedGeneration"] == v["metadata"]["generation"]
        {
            return Err(format!("I3: {key} is only observed, and {} {} was {:?}", e.kind, e.name, e.verb));
        }
        authority::acknowledged(w, e)?;
        authority::taken_until_the_end(w, e, &self.forgotten, &self.draining)?;
        authority::in_its_own(w, e, server)?;
        recovery(e, server)?;
        if e.verb == Verb::Created {
            // Apart: another name may be made for it after a restored etcd.
            let lost = w.notes.drifted.get(&e.name).copied().unwrap_or(0) + 1000 * w.notes.restores;
            if let Some(before) = self.made.insert(owner.into(), lost) {
                if before == lost {
                    return Err(format!("I10: {} {} was made twice for one object", e.kind, e.name));
                }
                self.mass_loss(w, host, e)?;
            }
        }
        Ok(())
    }

    /// Whether a mailbox was switched off because its owner is told to go without what holds it up, and an alias has no
    /// object that could go first: it delivers to others too, so that it stays on.
    fn given_up_beside(w: &World, server: &crate::groupware::Server, e: &Entry, alias: &Address) -> bool {
        let told = e.owner.as_deref().is_some_and(|owner| w.notes.orphaned.contains(owner));
        let owner = server.aliases.get(alias).and_then(|a| a.owner.as_deref());
        e.verb == Verb::Released && told && owner.is_some_and(|o| w.by_uid(o).is_none())
    }

    /// I12: what was there before is made again only if little is missing, or a person said so.
    fn mass_loss(&self, w: &World, host: &str, e: &Entry) -> Verdict {
        let server = &w.groupware[host];
        let (Some(emptied), Some((key, object))) =
            (w.notes.emptied.get(host), w.by_uid(e.owner.as_deref().unwrap_or_default()))
        else {
            return Ok(());
        };
        let mine = Declared { world: w, key, object };
        let Some(instance) = mine.instance() else { return Ok(()) };
        // Asked before the loss could be known: the same race as a restore a moment later.
        let known = |name: &str| server.read_at.get(name).is_some_and(|at| at > emptied && *at < e.op);
        let told = match mine.domain() {
            Some(d) => known(&d.name()),
            None => instance.children().iter().any(|d| known(&d.name())),
        };
        if !told || !annotation(instance.object, "accept-mass-loss").is_empty() {
            return Ok(());
        }
        let all: Vec<_> =
            Declared::all(w, "mailboxes").filter(|m| m.instance().is_some_and(|i| i.key == instance.key)).collect();
        // Of one whose status could not be written after it was made nobody knows that it was there.
        let known_of =
            |m: &Declared| self.made.contains_key(uid(m.object)) && !text(m.object, "/status/ownership").is_empty();
        let all: Vec<_> = all.into_iter().filter(|m| !deleting(m.object) && known_of(m)).collect();
        // A row of an owner that is no more is what an etcd of before finds in its place: it is taken over, not made again.
        let is_its =
            |owner: Option<&str>, m: &Declared| owner.is_some_and(|o| o == uid(m.object) || w.by_uid(o).is_none());
        let there = |m: &Declared| {
            // Whose domain was not read since then is not known to be missing.
            !m.domain().is_some_and(|d| known(&d.name()))
                || m.address().is_some_and(|a| {
                    a != e.name && server.mailboxes.get(a.as_str()).is_some_and(|r| is_its(r.row.owner.as_deref(), m))
                })
        };
        let missing = all.iter().filter(|m| !there(m)).count() as u64;
        let limit =
            |name: &str, default| mine.backend().and_then(|b| b["spec"]["massLoss"][name].as_u64()).unwrap_or(default);
        if missing >= limit("minimum", 10) && missing * 100 >= limit("percent", 20) * all.len() as u64 {
            return Err(format!(
                "I12: {} {} was made again while {missing} of {} mailboxes of {instance} are missing",
                e.kind,
                e.name,
                all.len()
            ));
        }
        Ok(())
    }

    /// I2: whatever is owned at a server has its object, with the finalizer on it.
    fn no_leak(&self, w: &World) -> Verdict {
        for (host, server) in &w.groupware {
            let tenants = server.tenants.values().map(|t| ("tenant", t.row.id.as_str(), &t.row.owner));
            let domains = server.domains.values().map(|d| ("domain", d.row.name.as_str(), &d.row.owner));
            let mailboxes = server.mailboxes.values().map(|m| ("mailbox", m.row.address.as_str(), &m.row.owner));
            let aliases = server.aliases.values().map(|a| ("alias", a.address.as_str(), &a.owner));
            let mut owners = BTreeSet::new();
            for (kind, name, owner) in tenants.chain(domains).chain(mailboxes).chain(aliases) {
                let Some(owner) = owner else { continue };
                if !owners.insert(owner) {
                    return Err(format!("I10: {owner} owns two things at {host}, one is {kind} {name}"));
                }
                if w.notes.abandoned(owner) {
                    continue;
                }
                match w.by_uid(owner) {
                    None if w.notes.forced.contains(owner.as_str()) => {}
                    None => return Err(format!("I2: {kind} {name} at {host} is left, its object is gone")),
                    Some((key, v)) if !finalizers(v).contains(&FINALIZER) => {
                        return Err(format!("I2: {kind} {name} at {host} is owned by {key}, which has no finalizer"));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// I3: what nobody owns stays as it is, unless an object adopts it or a person changes it.
    fn strangers(&mut self, w: &World) -> Verdict {
        let mut now = BTreeMap::new();
        for (host, s) in &w.groupware {
            let id = |kind, name: &str| (host.clone(), kind, name.to_owned());
            now.extend(
                s.domains
                    .iter()
                    .filter(|(_, d)| d.row.owner.is_none())
                    .map(|(n, d)| (id("domain", n.as_str()), Foreign::Domain(d.clone()))),
            );
            now.extend(
                s.mailboxes
                    .iter()
                    .filter(|(_, m)| m.row.owner.is_none())
                    .map(|(n, m)| (id("mailbox", n.as_str()), Foreign::Mailbox(m.clone()))),
            );
            now.extend(
                s.aliases
                    .iter()
                    .filter(|(_, a)| a.owner.is_none())
                    .map(|(n, a)| (id("alias", n.as_str()), Foreign::Alias(a.clone()))),
            );
        }
        for (id, (was, count)) in &self.foreign {
            let (host, kind, name) = id;
            let by_hand = w.notes.drifted.get(name).copied().unwrap_or(0) != *count;
            if by_hand || now.get(id).is_some_and(|n| n == was) {
                continue;
            }
            let s = &w.groupware[host];
            let owner = match *kind {
                "domain" => s.domains.get(name.as_str()).and_then(|d| d.row.owner.clone()),
                "mailbox" => s.mailboxes.get(name.as_str()).and_then(|m| m.row.owner.clone()),
                _ => s.aliases.get(name.as_str()).and_then(|a| a.owner.clone()),
            };
            let adopter = owner.as_deref().and_then(|o| w.by_uid(o));
            let asks = adopter.is_some_and(|(_, v)| text(v, "/spec/adoptionPolicy") == "IfUnowned");
            let kept_mail = match (was, s.mailboxes.get(name.as_str())) {
                (Foreign::Mailbox(m), Some(n)) => m.data.is_subset(&n.data),
                _ => true,
            };
            if !asks || !kept_mail {
                return Err(format!("I3: {kind} {name} at {host} was nobody's and was changed (owner now {owner:?})"));
            }
            if !adopter.is_some_and(|(k, v)| crate::legacy::entitled(w, k, v, was.origin())) {
                return Err(format!("I3: {kind} {name} at {host} was nobody's, and {owner:?} is not entitled to it"));
            }
        }
        let count = |name: &String| w.notes.drifted.get(name).copied().unwrap_or(0);
        self.foreign = now
            .into_iter()
            .map(|(id, row)| {
                let n = count(&id.2);
                (id, (row, n))
            })
            .collect();
        Ok(())
    }

    /// I14: a password changes only by somebody's word: a wish to rotate it, a Secret, another source in the spec, or the
    /// taking over of what nobody owned.
    fn passwords(&mut self, w: &World) -> Verdict {
        let mut now = BTreeMap::new();
        for (host, s) in &w.groupware {
            for (address, m) in &s.mailboxes {
                let owner = m.row.owner.as_ref().map(ToString::to_string);
                now.insert((host.clone(), address.to_string()), (owner, m.password.clone()));
            }
        }
        for (id, (owner, password)) in &now {
            let Some((before, old)) = self.passwords.get(id).filter(|(_, old)| old != password) else { continue };
            let object = owner.as_deref().and_then(|o| w.by_uid(o));
            let sources = |(key, _): (&crate::api::Key, &crate::api::Obj)| {
                let of_it = w.api.log.iter().filter(|c| c.key == *key).filter_map(|c| c.new.as_ref());
                of_it.map(|v| v["spec"]["password"].to_string()).collect::<BTreeSet<_>>().len()
            };
            let asked = object.is_some_and(|o| !annotation(o.1, "rotate-password").is_empty() || sources(o) > 1);
            let told = w.notes.rekeyed.contains(&id.1) || w.notes.drifted.contains_key(&id.1);
            // Of an object that is gone, which a late watch still shows: its Secret was collected, and nobody has that password.
            let gone = object.is_none();
            if before.is_some() && !asked && !told && !gone && !old.is_empty() {
                return Err(format!("I14: the password of {} was changed, and nobody asked for it", id.1));
            }
        }
        self.passwords = now;
        Ok(())
    }

    /// I9: one tenant of the cluster has a domain, and it holds the claim.
    fn one_holder(&self, w: &World) -> Verdict {
        let mut holders: BTreeMap<&str, &str> = BTreeMap::new();
        for server in w.groupware.values() {
            for d in server.domains.values() {
                let Some(owner) = d.row.owner.as_deref().filter(|o| !w.notes.abandoned(o)) else { continue };
                if let Some(other) = holders.insert(&d.row.name, owner) {
                    return Err(format!("I9: {} is provisioned for {owner} and for {other}", d.row.name));
                }
                let tenant = |uid: &str| w.by_uid(uid).map(|(k, _)| k.ns.clone());
                let near = holders.iter().find(|(n, other)| {
                    (n.ends_with(&format!(".{}", d.row.name)) || d.row.name.ends_with(&format!(".{n}")))
                        && tenant(other) != tenant(owner)
                        // Left at a server that another one stood in for while its object went.
                        && ![owner, *other].iter().any(|o| w.notes.forced.contains(*o))
                });
                if let Some((name, _)) = near {
                    return Err(format!("I9: {} and {name} are provisioned for two tenants", d.row.name));
                }
                let claim = w.of("maildomainclaims").find(|(k, _)| k.name == d.row.name);
                let holder = claim.map(|(_, c)| text(c, "/spec/owner/uid"));
                if holder != Some(owner) && !w.notes.forced.contains(owner) {
                    return Err(format!(
                        "I9: {} is provisioned for {owner}, the claim is held by {holder:?}",
                        d.row.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// I4: Ready=True at this generation means that the backend has just that.
    fn truth(&mut self, w: &World) -> Verdict {
        for kind in KINDS {
            for object in Declared::all(w, kind) {
                let Some(name) = Self::place(&object) else { continue };
                let lie = Self::differs(&object);
                if lie.is_none() && object.server().is_some() && object.targets().is_some() {
                    self.heal(w, &name);
                }
                // Nor does a Secret: the row is there, and what follows a new password is on its way.
                let lie = lie.filter(|l| !(l.starts_with("effects") && w.notes.rekeyed.contains(&name)));
                // A wish by annotation makes no generation: until it is handled the status speaks of what was before.
                let asked = annotation(object.object, "rotate-password");
                let wishes = asked != text(object.object, "/status/lastHandledRotatePassword");
                if let Some(lie) = lie
                    && !wishes
                    && ready(object.object)
                    && !self.drifted(w, &name)
                    && !w.notes.abandoned(uid(object.object))
                    && !Self::is_forged(w, &object)
                    && !object.is_observed()
                    // Its parent was, until a moment ago: it says itself that it is not its own.
                    && text(object.object, "/status/ownership") != "Observed"
                    && !(lie.starts_with("its tenant is") && Self::parent_was_replaced(w, &object))
                {
                    return Err(format!(
                        "I4: {object} is Ready at generation {}, but {lie}",
                        object.object["metadata"]["generation"]
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether the domain is in the tenant of an instance that went by force: it has not heard of the new one yet.
    fn parent_was_replaced(w: &World, domain: &Declared) -> bool {
        let Some(server) = domain.server() else { return false };
        let tenant =
            server.domains.get(domain.name().as_str()).and_then(|d| server.tenants.get(d.row.tenant.as_deref()?));
        tenant.and_then(|t| t.row.owner.as_deref()).is_some_and(|owner| w.notes.abandoned(owner))
    }

    /// Whether the status of an object, or of one above it, is not the operator's.
    fn is_forged(w: &World, object: &Declared) -> bool {
        let mut above = std::iter::successors(Some(*object), |d| d.parent());
        above.any(|d| w.notes.forged.contains(uid(d.object)))
    }

    /// Name under which drift of an object is noted.
    fn place(d: &Declared) -> Option<String> {
        match d.key.res {
            "mailinstances" => Some(text(d.object, "/status/instanceId").to_string()),
            "maildomains" => Some(d.name()),
            _ => d.address(),
        }
    }

    /// What the groupware server has otherwise than declared.
    pub fn differs(d: &Declared) -> Option<String> {
        let me = uid(d.object);
        let server = d.server()?;
        match d.key.res {
            "mailinstances" => match server.tenant(me) {
                None => Some("the tenant is not there".into()),
                Some(t) if !t.active => Some("the tenant is switched off".into()),
                Some(t) if t.id != text(d.object, "/status/instanceId") => Some(format!("its id is {}", t.id)),
                _ => None,
            },
            "maildomains" => match server.domains.get(d.name().as_str()) {
                Some(r) if r.row.owner.as_deref() == Some(me) => {
                    let tenant = d.instance().map(|i| text(i.object, "/status/instanceId").to_string());
                    (!r.row.active).then(|| "the domain is switched off".to_string()).or_else(|| {
                        // Taken over a moment ago, the instance's status does not name it yet.
                        let own = d.instance().and_then(|i| server.tenant(uid(i.object))).map(|t| t.id);
                        let other = r.row.tenant.as_deref() != tenant.as_deref() && r.row.tenant != own;
                        (tenant.is_some() && other).then(|| format!("its tenant is {:?}", r.row.tenant))
                    })
                }
                other => Some(format!("the domain's owner is {:?}", other.map(|o| &o.row.owner))),
            },
            "mailboxes" => match server.mailboxes.get(d.address()?.as_str()) {
                Some(m) if m.row.owner.as_deref() == Some(me) => Self::mailbox_differs(d.object, m),
                other => Some(format!("the mailbox's owner is {:?}", other.map(|o| &o.row.owner))),
            },
            _ => match server.aliases.get(d.address()?.as_str()) {
                Some(a) if a.owner.as_deref() == Some(me) => {
                    let want = d.targets()?;
                    if a.settings.targets != want {
                        return Some(format!("its targets are {:?}, not {want:?}", a.settings.targets));
                    }
                    let send_as =
                        d.object["spec"]["sendAs"].as_bool().unwrap_or(text(d.object, "/spec/localPart") != "*");
                    (a.settings.send_as != send_as || !a.settings.active || a.effects_due)
                        .then(|| format!("it is {a:?}"))
                }
                other => Some(format!("the alias' owner is {:?}", other.map(|o| &o.owner))),
            },
        }
    }

    fn mailbox_differs(v: &Value, m: &crate::groupware::Mailbox) -> Option<String> {
        let s = &m.row.settings;
        let suspend = text(v, "/spec/suspend");
        let name = text(v, "/spec/displayName");
        let mut forward: Vec<&str> = at(v, "/spec/forwarding/to")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        forward.sort_unstable();
        let wrong = [
            ("quota", bytes(&v["spec"]["quota"]).is_some_and(|q| q != s.quota)),
            ("login", s.login != matches!(suspend, "" | "None")),
            ("receive", s.receive != (suspend != "All")),
            ("displayName", !name.is_empty() && name != s.display_name),
            ("forwarding", s.forward_to != forward),
            ("effects", m.row.effects_due),
            ("stage", m.stage != crate::groupware::Stage::Live),
        ];
        wrong.iter().find(|(_, bad)| *bad).map(|(what, _)| format!("{what} of the mailbox is otherwise: {:?}", m.row))
    }
}

/// I14: objects of one place never have two tenants, one of them with their mail and one without.
fn recovery(e: &Entry, server: &crate::groupware::Server) -> Verdict {
    if (e.verb, e.kind) != (Verb::Created, "tenant") {
        return Ok(());
    }
    let place = |id: &str| server.tenants.get(id).and_then(|t| t.row.origin.as_ref()).map(ToString::to_string);
    let made = place(&e.name);
    let twin =
        server.tenants.iter().find(|(id, t)| id.as_str() != e.name && t.row.owner.is_some() && place(id) == made);
    match twin {
        Some((id, _)) => Err(format!("I14: tenant {} was made beside {id}, of the same place", e.name)),
        None => Ok(()),
    }
}
