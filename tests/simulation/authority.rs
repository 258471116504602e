//! Who may have what done: words that were acknowledged before a deletion was asked for, names, records, Secrets and
//! finalizers of others, signatures, and how long mail is taken. Beside `properties.rs`, held in the same way.

use crate::api::{Actor, Change, Key, Obj, deleting, finalizers, owners, text};
use crate::declared::*;
use crate::groupware::{Entry, Verb};
use crate::world::{STRANGER, World};
use mailtenant_dns::{RecordType, RrSet};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Verdict = Result<(), String>;

/// Whether a value is one of the platform's MX.
pub fn leads_here(value: &str) -> bool {
    value.contains("mail.example.net")
}

/// Whether a MailDomain has the claim of its name.
pub fn holds(d: &Declared) -> bool {
    let claim = d.world.of("maildomainclaims").find(|(k, _)| k.name == d.name());
    claim.is_some_and(|(_, c)| text(c, "/spec/owner/uid") == uid(d.object))
}

fn within(name: &str, domain: &str) -> bool {
    name == domain || name.ends_with(&format!(".{domain}"))
}

/// What was looked at already.
#[derive(Default)]
pub struct Authority {
    /// Changes of each DNS server.
    records: BTreeMap<String, usize>,
    /// Keys that began to sign at each groupware server.
    signings: BTreeMap<String, usize>,
}

/// Revision at which a deletion was asked for, unless a restored etcd has forgotten it.
pub fn asked(w: &World, key: &Key, uid_of: &str) -> Option<u64> {
    let marked = |v: Option<&Obj>| v.is_some_and(|v| deleting(v) && uid(v) == uid_of);
    let begins = |c: &&Change| c.key == *key && marked(c.new.as_ref()) && !marked(c.old.as_ref());
    let last = w.api.log.iter().rfind(|c| c.key == *key && c.new.as_ref().is_none_or(|v| uid(v) == uid_of))?;
    let forgotten = last.new.is_some() && !marked(last.new.as_ref());
    w.api.log.iter().rfind(begins).filter(|_| !forgotten).map(|c| c.rv)
}

/// Whether something was so of an object at a revision, and ever since.
fn ever_since(w: &World, key: &Key, rv: u64, so: impl Fn(&Value) -> bool) -> bool {
    let of_it = || w.api.log.iter().filter(|c| c.key == *key);
    let then = of_it().rfind(|c| c.rv <= rv).and_then(|c| c.new.as_ref());
    then.is_some_and(|v| so(v)) && of_it().filter(|c| c.rv > rv).all(|c| c.new.as_ref().is_some_and(|v| so(v)))
}

/// What forbids to take an object down, of what was acknowledged before its deletion and was not taken back.
pub fn forbidden(d: &Declared, rv: u64, destroys: bool) -> Option<String> {
    let w = d.world;
    let instance = d.instance().map(|i| i.key);
    let said = |so: &dyn Fn(&Value) -> bool| {
        ever_since(w, d.key, rv, so) || instance.is_some_and(|i| i != d.key && ever_since(w, i, rv, so))
    };
    let own = |so: &dyn Fn(&Value) -> bool| ever_since(w, d.key, rv, so);
    let retains = |v: &Value| text(v, "/spec/deletionPolicy") == "Retain";
    let unset = |v: &Value| text(v, "/spec/deletionPolicy").is_empty();
    let retained = own(&retains) || (own(&unset) && instance.is_some_and(|i| ever_since(w, i, rv, retains)));
    if said(&|v| annotation(v, "paused") == "true") {
        return Some("paused".into());
    }
    if said(&|v| text(v, "/spec/managementPolicy") == "Observe") {
        return Some("managementPolicy: Observe".into());
    }
    (destroys && d.key.res == "mailboxes" && retained).then(|| "deletionPolicy: Retain".into())
}

/// I3: a word that was acknowledged before the deletion counts, however late its watch is.
pub fn acknowledged(w: &World, e: &Entry) -> Verdict {
    if !matches!(e.verb, Verb::Disabled | Verb::Purged | Verb::Deleted | Verb::Released) {
        return Ok(());
    }
    let owner = e.owner.as_deref().unwrap_or_default();
    let Some((key, object)) = w.by_uid(owner).filter(|_| !w.notes.abandoned(owner)) else { return Ok(()) };
    let Some(rv) = asked(w, key, owner) else { return Ok(()) };
    match forbidden(&Declared { world: w, key, object }, rv, e.verb != Verb::Released) {
        Some(word) => Err(format!("I3: {key} was {word} before its deletion, and {} was {:?}", e.name, e.verb)),
        None => Ok(()),
    }
}

/// I9: the SPF term of a live domain that holds its name stays, whoever else declares that name and goes. `before`: all
/// changes until then.
pub fn of_the_holder(w: &World, before: &[(u64, RrSet)], set: &RrSet) -> Verdict {
    let has = |s: &RrSet| s.values.iter().any(|v| v.contains("include:_spf.mail.example.net"));
    let had = before.iter().rev().find(|(_, s)| s.name == set.name && s.rtype == set.rtype);
    if !had.is_some_and(|(_, s)| has(s)) || has(set) {
        return Ok(());
    }
    let holder = Declared::all(w, "maildomains").find(|d| d.name() == set.name && holds(d));
    let stays = |d: &Declared| {
        let told = w.notes.abandoned(uid(d.object)) || w.notes.was_forged.contains(uid(d.object));
        let going = std::iter::successors(Some(*d), |p| p.parent()).any(|p| deleting(p.object));
        text(d.object, "/status/state") == "Live" && ready(d.object) && !told && !going
    };
    match holder.filter(stays) {
        Some(d) => Err(format!("I9: {} is live, and its SPF term was taken out", d.key)),
        None => Ok(()),
    }
}

/// Shortest pause (ms) between two looks at records that a person edits.
const LOOKS: u64 = 30_000;

/// Until when (virtual ms) a resolver can have an MX of a name that leads here, by the longest TTL that it ever had and that
/// is not over. `Err`: an authoritative server still shows one. One that others put back after `left` (ms), when MX had left, is
/// their own doing: whatever is asked before the end, they may be faster. So is one that a person who edits by hand (`by_hand`)
/// sets and takes out between two looks, which are [`LOOKS`] apart at least.
pub fn led_here_until(server: &crate::dns::Server, name: &str, left: Option<u64>, by_hand: bool) -> Result<u64, ()> {
    let lag = server.lags.iter().copied().max().unwrap_or(0);
    let all = server.history.iter().enumerate();
    let sets: Vec<(usize, &(u64, RrSet))> =
        all.filter(|(_, (_, s))| s.name == name && s.rtype == RecordType::MX).collect();
    let mut until = 0;
    for (i, (at, (since, set))) in sets.iter().enumerate() {
        let put_back = server.by_others.contains(at) && left.is_some_and(|left| *since > left);
        if put_back || !set.values.iter().any(|v| leads_here(v)) {
            continue;
        }
        let Some((_, (replaced, _))) = sets.get(i + 1) else { return Err(()) };
        // A set that was there for less than a secondary lags has been shown by none: transfers skip it.
        let lag = if replaced - since > lag { lag } else { 0 };
        let told = server.mx_told.get(name).is_some_and(|all| all.iter().any(|t| since <= t && *t <= replaced + lag));
        if by_hand && server.by_others.contains(at) && replaced - since < LOOKS && !told {
            continue;
        }
        until = until.max(replaced + lag + u64::from(set.ttl) * 1000);
    }
    Ok(until)
}

/// I7, on the way out: nothing below a domain whose deletion was asked for first goes while mail can be sent here.
///
/// `draining`: since when (ms) MX of a MailDomain, by uid, has left.
pub fn taken_until_the_end(
    w: &World,
    e: &Entry,
    forgotten: &BTreeSet<String>,
    draining: &BTreeMap<String, u64>,
) -> Verdict {
    let gone = matches!(e.verb, Verb::Disabled | Verb::Purged | Verb::Deleted | Verb::Released);
    let owner = e.owner.as_deref().unwrap_or_default();
    if !gone || e.kind == "tenant" || w.notes.abandoned(owner) {
        return Ok(());
    }
    let name = e.name.rsplit('@').next().unwrap_or_default();
    // An MX that was left behind by force was there before whoever came next: it is not his to end.
    if forgotten.contains(name) {
        return Ok(());
    }
    let mut of_domain = owner;
    if e.kind != "domain" {
        let Some((key, object)) = w.by_uid(owner) else { return Ok(()) };
        let Some(domain) = (Declared { world: w, key, object }).domain() else { return Ok(()) };
        of_domain = uid(domain.object);
        let (own, above) = (asked(w, key, owner), asked(w, domain.key, of_domain));
        let first = matches!((own, above), (Some(own), Some(above)) if above < own);
        if !first || w.notes.abandoned(of_domain) || domain.name() != name {
            return Ok(());
        }
    }
    if e.kind == "domain" && !was_told_of(w, owner) && !had_addresses(w, name) {
        return Ok(());
    }
    // It takes mail as before, for addresses that are not ours (seed 18211).
    let stays_on =
        |s: &crate::groupware::Server| s.domains.get(name).is_some_and(|d| d.row.active && d.row.owner.is_none());
    if e.kind == "domain" && e.verb == Verb::Released && w.groupware.values().any(stays_on) {
        return Ok(());
    }
    let by_hand = w.by_uid(of_domain).is_some_and(|(_, v)| text(v, "/spec/dns/mode") == "Manual");
    for server in w.dns.values() {
        match led_here_until(server, name, draining.get(of_domain).copied(), by_hand) {
            Err(()) => return Err(format!("I7: {} {} was {:?} while MX leads here", e.kind, e.name, e.verb)),
            Ok(until) if w.ms < until => {
                let left = until - w.ms;
                let what =
                    format!("I7: {} {} was {:?} {left} ms before the TTL of its MX is over", e.kind, e.name, e.verb);
                return Err(what);
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Whether the status of an object says that something was made for it. The answer of the call may have been lost.
fn was_told_of(w: &World, owner: &str) -> bool {
    w.by_uid(owner).is_none_or(|(_, v)| !text(v, "/status/ownership").is_empty())
}

/// Whether anybody in a domain was ever at a server. Without that no mail was ever taken for it.
fn had_addresses(w: &World, name: &str) -> bool {
    w.groupware.values().any(|s| {
        let below = |address: &str| address.rsplit_once('@').is_some_and(|(_, domain)| domain == name);
        let logged = s.log.iter().any(|e| e.kind != "domain" && below(&e.name));
        logged || s.mailboxes.keys().any(|a| below(a)) || s.aliases.keys().any(|a| below(a))
    })
}

/// I13: nothing is put into what another tenant holds, whatever a status says.
pub fn in_its_own(w: &World, e: &Entry, server: &crate::groupware::Server) -> Verdict {
    if !matches!(e.verb, Verb::Created | Verb::Adopted | Verb::TakenOver | Verb::Changed) {
        return Ok(());
    }
    let Some((key, _)) = w.by_uid(e.owner.as_deref().unwrap_or_default()) else { return Ok(()) };
    let name = e.name.rsplit('@').next().unwrap_or_default();
    let claim = w.of("maildomainclaims").find(|(k, _)| k.name == name);
    let holder = claim.map(|(_, c)| text(c, "/spec/owner/namespace")).filter(|_| e.kind != "tenant");
    if let Some(other) = holder.filter(|ns| *ns != key.ns) {
        return Err(format!(
            "I13: {} {} of {key} was {:?}, and {name} is held by namespace {other}",
            e.kind, e.name, e.verb
        ));
    }
    let tenant = server.domains.get(name).and_then(|d| server.tenants.get(d.row.tenant.as_ref()?));
    let above = tenant.and_then(|t| w.by_uid(t.row.owner.as_deref()?));
    match above.filter(|(k, _)| e.kind == "domain" && k.ns != key.ns) {
        Some((k, _)) => Err(format!("I13: domain {name} of {key} was {:?} in the tenant of {k}", e.verb)),
        None => Ok(()),
    }
}

/// Whether a record is that of a signing key which somebody who may write the status of its MailDomain took out of the journal
/// there, and the operator has not put in again. Its selector stands nowhere else in the cluster or the DNS, and it verifies
/// nothing once its key is gone: nobody knows that it is ours. All others have names that the marker tells of.
pub fn is_unknown_key(w: &World, record: &str) -> bool {
    let Some((_, name)) = record.split_once("._domainkey.") else { return false };
    let mut lost: BTreeMap<&str, bool> = BTreeMap::new();
    for c in w.api.log.iter().filter(|c| c.key.res == "maildomains") {
        let Some(new) = c.new.as_ref().filter(|v| text(v, "/spec/domain").to_lowercase() == name) else { continue };
        let names = |v: &Obj| {
            let all = v["status"]["dns"]["records"].as_array();
            all.is_some_and(|all| all.iter().any(|r| r["name"] == record))
        };
        if names(new) {
            lost.insert(uid(new), false);
        } else if c.actor == Actor::User && c.old.as_ref().is_some_and(names) {
            lost.insert(uid(new), true);
        }
    }
    lost.into_values().any(|lost| lost)
}

/// Whether the zone of a name is for a namespace; the most specific one decides.
pub fn zone_allows(w: &World, name: &str, ns: &str) -> bool {
    let backends = w.of("dnsbackends").filter_map(|(_, b)| b["spec"]["zones"].as_array());
    let zones = backends.flatten().filter(|z| within(name, text(z, "/name")));
    let zone = zones.max_by_key(|z| text(z, "/name").len());
    let names = zone.and_then(|z| z["allowedNamespaces"]["names"].as_array());
    names.is_none_or(|all| all.iter().any(|n| n == ns))
}

/// Whether a name has to be proven in its zone: by the word of the DNSBackend, and without one where the zone names nobody.
pub fn needs_proof(w: &World, name: &str) -> bool {
    let zones = |b: &Obj| b["spec"]["zones"].as_array().cloned().unwrap_or_default();
    let all =
        w.of("dnsbackends").flat_map(|(_, b)| zones(b).into_iter().map(|z| (z, b["spec"]["requireProof"].clone())));
    let decides = all.filter(|(z, _)| within(name, text(z, "/name"))).max_by_key(|(z, _)| text(z, "/name").len());
    decides.is_some_and(|(z, said)| said.as_bool().unwrap_or(z["allowedNamespaces"].is_null()))
}

impl Authority {
    /// What the operator changed in Kubernetes.
    pub fn change(w: &World, c: &Change, forgotten: &BTreeSet<String>) -> Verdict {
        if c.actor != Actor::Operator {
            return Ok(());
        }
        if let Some(old) = &c.old {
            let had = |v: &Obj| finalizers(v).contains(&STRANGER);
            if had(old) && !c.new.as_ref().is_some_and(had) {
                return Err(format!("finalizer: the operator took one of somebody else off {}", c.key));
            }
            if c.key.res == "secrets" && owners(old).is_empty() {
                return Err(format!("I11: {} is a Secret of somebody else, and the operator changed it", c.key));
            }
        }
        match (c.key.res, &c.old, &c.new) {
            ("maildomainclaims", None, Some(claim)) => Self::entitled(w, &c.key.name, claim),
            ("maildomainclaims", Some(claim), None) => Self::nothing_left(w, &c.key.name, claim, forgotten),
            _ => Ok(()),
        }
    }

    /// I11: a name is taken only by whom the platform lets use its zone.
    fn entitled(w: &World, name: &str, claim: &Obj) -> Verdict {
        let ns = text(claim, "/spec/owner/namespace");
        // What the platform wants shown in the DNS was shown.
        let owner = text(claim, "/spec/owner/uid");
        let wants = needs_proof(w, name);
        let wants = |v: &Obj| wants || text(v, "/spec/dns/mode") == "Manual";
        if let Some((k, v)) = w.by_uid(owner).filter(|(_, v)| wants(v) && !w.notes.was_forged.contains(owner)) {
            let value = text(v, "/status/challenge/value");
            let key = (text(v, "/status/challenge/name").to_string(), RecordType::TXT);
            let shown =
                |s: &crate::dns::Server| s.foreign.get(&key).is_some_and(|f| f.values.iter().any(|v| v == value));
            if !w.dns.values().any(shown) {
                return Err(format!("I7: {k} took {name} without a proof"));
            }
        }
        match zone_allows(w, name, ns) {
            true => Ok(()),
            false => Err(format!("I11: {name} was taken by namespace {ns}, which its zone does not allow")),
        }
    }

    /// I9: a name is free for others only when nothing of its holder is left in the DNS.
    fn nothing_left(w: &World, name: &str, claim: &Obj, forgotten: &BTreeSet<String>) -> Verdict {
        let owner = text(claim, "/spec/owner/uid");
        if w.notes.abandoned(owner) || w.notes.forced.contains(owner) || forgotten.contains(name) {
            return Ok(());
        }
        let held = |n: &str| w.of("maildomainclaims").any(|(k, _)| k.name != name && within(n, &k.name));
        // What is in a zone that was moved away is for whoever edits it there (seed 438).
        for server in w.dns.values().filter(|s| s.zone_of(name).is_some()) {
            for ((n, t), set) in server.sets.iter().filter(|((n, _), _)| within(n, name) && !held(n)) {
                let theirs = server.foreign.get(&(n.clone(), *t)).map(|s| &s.values);
                let left = set.values.iter().find(|v| !theirs.is_some_and(|t| t.contains(v)));
                if let Some(ours) = left.filter(|_| !is_unknown_key(w, n)) {
                    return Err(format!("I9: {name} was given back while {n} {} {ours:?} is there", t.as_str()));
                }
            }
        }
        Ok(())
    }

    /// What was written at the servers.
    pub fn servers(&mut self, w: &World, forgotten: &BTreeSet<String>) -> Verdict {
        for (host, server) in &w.dns {
            let from = self.records.insert(host.clone(), server.history.len()).unwrap_or(0);
            for i in from.min(server.history.len())..server.history.len() {
                Self::withdrawn(w, server, i, forgotten)?;
            }
        }
        for (host, server) in &w.groupware {
            let from = self.signings.insert(host.clone(), server.signings.len()).unwrap_or(0);
            for (ms, name, public) in &server.signings[from.min(server.signings.len())..] {
                let Some(dns) = w.dns.values().find(|d| d.zone_of(name).is_some()) else { continue };
                let shows = |s: &RrSet| s.values.iter().any(|v| v.contains(public.as_str()));
                if !dns.views(*ms, name, RecordType::TXT).iter().all(shows) {
                    return Err(format!("signature: {name} signs, and not every server shows its record"));
                }
            }
        }
        Ok(())
    }

    /// I9: MX is withdrawn for the holder of the name alone.
    fn withdrawn(w: &World, server: &crate::dns::Server, i: usize, forgotten: &BTreeSet<String>) -> Verdict {
        let (_, set) = &server.history[i];
        if set.rtype != RecordType::MX || server.by_others.contains(&i) || forgotten.contains(&set.name) {
            return Ok(());
        }
        let led = |s: &RrSet| s.values.iter().any(|v| leads_here(v));
        let before = server.history[..i].iter().rev().find(|(_, s)| s.name == set.name && s.rtype == set.rtype);
        if led(set) || !before.is_some_and(|(_, s)| led(s)) {
            return Ok(());
        }
        let claim = w.of("maildomainclaims").find(|(k, _)| k.name == set.name);
        let holder = claim.and_then(|(_, c)| w.by_uid(text(c, "/spec/owner/uid")));
        match holder.filter(|(_, v)| !deleting(v) && !w.notes.abandoned(uid(v))) {
            Some((k, _)) => Err(format!("I9: MX of {} was withdrawn, and {k} holds it and stays", set.name)),
            None => Ok(()),
        }
    }
}
