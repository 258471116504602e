//! A server that served mail before mailtenant came: rows that nobody owns, and who is entitled to them (I3): whom the platform
//! names in the zone, or whose record somebody put into it who may write it. Drawn apart from `user`, so that its part of a
//! seed stays what it was.

use crate::api::{Key, text};
use crate::declared::{Declared, uid};
use crate::groupware::ByHand as AtServer;
use crate::schedule::Rng;
use crate::user::*;
use crate::world::{Step, User, When, World};
use mailtenant_dns::RecordType;
use mailtenant_groupware::Origin;
use mailtenant_mail::records::{adoption_value, challenge_name};
use serde_json::{Value, json};

/// By what the tenants are entitled to what was there.
#[derive(Clone, Copy, PartialEq)]
enum Word {
    /// By nothing: the zones are for whoever comes first.
    Nothing,
    /// The zones name their namespaces.
    Zone,
    /// Somebody puts the records into the zones.
    Record,
}

/// What holds for a whole schedule.
pub struct Legacy {
    rng: Rng,
    rows: bool,
    word: Word,
}

impl Legacy {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x1E6A_C71E_6AC7);
        let rows = rng.chance(300);
        let word = *rng.pick(&[Word::Nothing, Word::Nothing, Word::Zone, Word::Record]);
        Legacy { rng, rows, word }
    }

    /// A new server.
    pub fn none() -> Self {
        Legacy { rng: Rng::new(0), rows: false, word: Word::Nothing }
    }

    /// The zones of the DNSBackend, as they are for whom.
    pub fn zones(&self, mut zones: Value) -> Value {
        let all = zones.as_array_mut().into_iter().flatten();
        for zone in all.filter(|z| self.word == Word::Zone && z["allowedNamespaces"].is_null()) {
            zone["allowedNamespaces"] = json!({"from": "Names", "names": ["a", "b"]});
        }
        zones
    }

    /// What is at the server before anybody comes.
    pub fn rows(&mut self) -> Vec<Step> {
        if !self.rows {
            return vec![];
        }
        let rng = &mut self.rng;
        let mut steps = vec![];
        for name in ["acme.test", "shared.test"] {
            steps.extend(rng.chance(600).then(|| AtServer::ForeignDomain { name: name.into() }));
        }
        for address in ["alice@acme.test", "bob@acme.test", "carol@shared.test", "dave@shared.test"] {
            steps.extend(rng.chance(400).then(|| AtServer::ForeignMailbox { address: address.into() }));
        }
        for address in ["info@acme.test", "sales@shared.test"] {
            let target = || "x@y.example".to_string();
            steps.extend(rng.chance(300).then(|| AtServer::ForeignAlias { address: address.into(), target: target() }));
        }
        steps.into_iter().map(|step| Step::Groupware { server: GROUPWARE.into(), step }).collect()
    }

    /// Somebody who may write the zones puts in what the domains show. What those show that adopt nothing the operator
    /// itself may have published: of one value it is not known whose it is.
    pub fn proofs(&mut self, adopt: bool) -> Vec<User> {
        if self.word != Word::Record || !adopt {
            return vec![];
        }
        let when = *self.rng.pick(&[When::Idle, When::Settled]);
        let of = |(ns, name): (&str, &str)| Step::Prove { ns: ns.into(), name: name.into(), server: DNS.into() };
        let all = [("a", "main"), ("a", "shared"), ("b", "shared")];
        all.into_iter().map(|domain| User { when, step: of(domain) }).collect()
    }
}

/// Whether an object may have what nobody owns, of a row whose last owner stood at `origin`.
pub fn entitled(w: &World, key: &Key, object: &Value, origin: Option<&Origin>) -> bool {
    let cluster = w.of("namespaces").find(|(k, _)| k.name == "kube-system").map(|(_, v)| uid(v));
    if origin.is_some_and(|o| o.namespace == key.ns && Some(o.cluster.as_str()) == cluster) {
        return true;
    }
    let Some(domain) = (Declared { world: w, key, object }).domain() else { return false };
    let name = domain.name();
    names(w, &name, &key.ns) || proven(w, domain.key, &name)
}

/// The same as things are now, and not by what was seen before: a zone of before, or the record of a MailDomain that went.
pub fn entitled_now(w: &World, key: &Key, object: &Value) -> bool {
    let Some(domain) = (Declared { world: w, key, object }).domain() else { return false };
    let name = domain.name();
    let named = w.of("dnsbackends").any(|(_, backend)| zone_names(backend, &name, &key.ns));
    let record = (challenge_name(&name), RecordType::TXT);
    let value = adoption_value(uid(domain.object), &name);
    named || w.dns.values().filter_map(|s| s.foreign.get(&record)).any(|set| set.values.contains(&value))
}

fn zone_names(backend: &Value, name: &str, ns: &str) -> bool {
    let zones = backend["spec"]["zones"].as_array().into_iter().flatten();
    let within = |z: &&Value| name == text(z, "/name") || name.ends_with(&format!(".{}", text(z, "/name")));
    let zone = zones.filter(within).max_by_key(|z| text(z, "/name").len());
    let names = zone.and_then(|z| z["allowedNamespaces"]["names"].as_array());
    names.is_some_and(|all| all.iter().any(|n| n == ns))
}

/// Whether a zone names a namespace, or did: a pass that goes on with what it has seen is none too late.
fn names(w: &World, name: &str, ns: &str) -> bool {
    let mut backends = w.api.log.iter().filter(|c| c.key.res == "dnsbackends").filter_map(|c| c.new.as_ref());
    backends.any(|backend| zone_names(backend, name, ns))
}

/// Whether somebody put the record into the DNS that is made for a MailDomain of this place.
fn proven(w: &World, domain: &Key, name: &str) -> bool {
    let record = (challenge_name(name), RecordType::TXT);
    let ever = w.api.log.iter().filter(|c| c.key == *domain).filter_map(|c| c.new.as_ref());
    let values: std::collections::BTreeSet<String> = ever.map(|v| adoption_value(uid(v), name)).collect();
    let by_others = w.dns.values().filter_map(|server| server.foreign.get(&record));
    by_others.flat_map(|set| &set.values).any(|v| values.contains(v))
}
