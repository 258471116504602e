//! A domain whose tenant edits the records (`dns.mode: Manual`), and the person who does it: some time later, by what the
//! status says, now and then wrongly. Drawn apart from `user`, `wider` and `hostile`, so that their part of a seed stays what
//! it was.

use crate::api::{deleting, text};
use crate::authority::leads_here;
use crate::declared::Declared;
use crate::dns::{ByHand as InDns, Server};
use crate::schedule::Rng;
use crate::user::*;
use crate::world::{Step, User, When, World};
use mailtenant_dns::RecordType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The DNS server of the tenant's own provider. The operator has no way to write there.
pub const REGISTRAR: &str = "registrar";
pub const NAME: &str = "own.test";
const OWN: Object = ("a", "maildomains", "own");
const OLGA: Object = ("a", "mailboxes", "olga");

/// What the person does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum How {
    /// What the status says.
    AsTold,
    /// Almost what it says.
    Wrongly,
    /// MX is pointed elsewhere.
    MxAway,
}

/// What holds for a whole schedule.
pub struct ByHand {
    rng: Rng,
    pub on: bool,
}

pub fn is_by_hand(d: &Declared) -> bool {
    d.key.res == "maildomains" && text(d.object, "/spec/dns/mode") == "Manual"
}

/// Whether any DNS server of a name shows a host of ours as MX now.
pub fn mx_leads_here(w: &World, name: &str) -> bool {
    let server = w.dns.values().find(|s| s.zone_of(name).is_some());
    let shown = server.map(|s| s.views(w.ms, name, RecordType::MX)).unwrap_or_default();
    shown.iter().any(|set| set.values.iter().any(|v| leads_here(v)))
}

/// Whether every DNS server of a name shows our MX alone.
pub fn mx_is_ours(w: &World, name: &str) -> bool {
    let server = w.dns.values().find(|s| s.zone_of(name).is_some());
    let shown = server.map(|s| s.views(w.ms, name, RecordType::MX)).unwrap_or_default();
    !shown.is_empty() && shown.iter().all(|set| set.values == ["10 mx1.mail.example.net."])
}

impl ByHand {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x00B1_AA4D_B1A4);
        let on = rng.chance(150);
        ByHand { rng, on }
    }

    fn at(&mut self, step: Step) -> User {
        let when = *self.rng.pick(&[When::Settled, When::Settled, When::Settled, When::Idle]);
        User { when, step }
    }

    fn person(&mut self, how: How) -> User {
        self.at(Step::Edits { ns: OWN.0.into(), name: OWN.2.into(), server: REGISTRAR.into(), how })
    }

    /// Before all else: the provider has the zone, with mail at an old server.
    pub fn before(&mut self) -> Vec<User> {
        if !self.on {
            return vec![];
        }
        let lags = self.rng.pick(&[vec![], vec![2_000], vec![40_000]]).clone();
        let add = |rtype: &str, value: &str| InDns::Add {
            name: NAME.into(),
            rtype: rtype.into(),
            ttl: 300,
            values: vec![value.into()],
        };
        let mut steps = vec![InDns::Zone { name: NAME.into() }, InDns::Lags { ms: lags }];
        if self.rng.chance(700) {
            steps.extend([add("MX", "5 old.example."), add("TXT", "v=spf1 include:_spf.old.example ~all")]);
        }
        let step = |step| User { when: When::Now, step: Step::Dns { server: REGISTRAR.into(), step } };
        steps.into_iter().map(step).collect()
    }

    /// After the objects of the first round: the domain with its mailbox, and the person, as often as it may take.
    pub fn life(&mut self) -> Vec<User> {
        if !self.on {
            return vec![];
        }
        let mode = if self.rng.chance(300) { "Manual" } else { "Auto" };
        let domain = json!({"instanceRef": {"name": "acme"}, "domain": NAME, "dkim": {"algorithms": ["Ed25519"]},
            "cutover": {"mode": mode}, "dns": {"mode": "Manual", "ttl": 60}});
        let mailbox = json!({"domainRef": {"name": "own"}, "localPart": "olga", "quota": "1Gi"});
        let made = |o: Object, spec: Value| {
            post(&format!("{GROUP}/namespaces/{}/{}", o.0, o.1), json!({"metadata": {"name": o.2}, "spec": spec}))
        };
        let mut out = vec![self.at(made(OWN, domain)), User { when: When::Now, step: made(OLGA, mailbox) }];
        for _ in 0..3 + self.rng.below(4) {
            let how = if self.rng.chance(250) { How::Wrongly } else { How::AsTold };
            out.push(self.person(how));
        }
        if mode == "Manual" && self.rng.chance(800) {
            let step = patch(OWN, json!({"spec": {"cutover": {"approved": true}}}));
            out.push(self.at(step));
            out.push(self.person(How::AsTold));
        }
        if self.rng.chance(300) {
            let step = annotate(OWN, "rotate-dkim", json!("once"));
            out.push(self.at(step));
            out.push(self.person(How::AsTold));
        }
        if self.rng.chance(200) {
            out.push(self.person(How::MxAway));
            out.push(self.person(How::AsTold));
        }
        out
    }

    /// At the end: all of it goes, and the person takes MX out, before or after, or never.
    pub fn after(&mut self) -> Vec<User> {
        if !self.on || self.rng.chance(300) {
            return vec![];
        }
        let mut out = vec![];
        if self.rng.chance(200) {
            out.push(self.person(How::MxAway));
        }
        let mut down = vec![delete(OWN), delete(OLGA)];
        if self.rng.chance(500) {
            down.reverse();
        }
        let first = down.remove(0);
        out.push(self.at(first));
        out.extend(down.into_iter().map(|step| User { when: When::Now, step }));
        if self.rng.chance(800) {
            out.push(self.person(How::MxAway));
        } else if self.rng.chance(500) {
            let step = annotate(OWN, "orphan", json!("true"));
            out.push(self.at(step));
        }
        out
    }
}

/// What the person finds in the status, and what is put into the DNS for it.
pub fn edits(domain: &Value, server: &Server, how: How) -> Vec<InDns> {
    let set = |name: &str, rtype: &str, values: Vec<String>| InDns::Set {
        name: name.into(),
        rtype: rtype.into(),
        ttl: 300,
        values,
    };
    if how == How::MxAway {
        return vec![set(NAME, "MX", vec!["5 old.example.".into()])];
    }
    // Whoever has the objects deleted adds nothing any more.
    let entries =
        domain["status"]["dns"]["records"].as_array().filter(|_| !deleting(domain)).cloned().unwrap_or_default();
    let mut out = vec![];
    let told = |e: &&Value| e["state"] != "Ok" && e["state"] != "Propagating";
    for e in entries.iter().filter(told) {
        let (name, rtype, value) = (text(e, "/name"), text(e, "/type"), text(e, "/value").to_string());
        let there = server.set(name, crate::dns::rtype(rtype)).values;
        let wrongly = how == How::Wrongly;
        match text(e, "/purpose") {
            // Only when it is asked for.
            "MX" if !text(e, "/message").starts_with("set MX") => {}
            "MX" if wrongly => out.push(set(name, rtype, vec!["5 old.example.".into(), value])),
            "MX" => out.push(set(name, rtype, vec![value])),
            "SPF" if wrongly => out.push(set(name, rtype, [there, vec![value, "v=spf1 mx -all".into()]].concat())),
            "SPF" => {
                let others = there.into_iter().filter(|v| !v.starts_with("v=spf1"));
                out.push(set(name, rtype, others.chain([value]).collect()));
            }
            "DMARC" if wrongly => out.push(set(name, rtype, vec!["v=DMARC1; p=none".into()])),
            "DKIM" if wrongly => out.push(set(name, rtype, vec![value[..value.len() / 2].to_string()])),
            _ => out.push(set(name, rtype, vec![value])),
        }
    }
    out
}

/// I7: MX is asked for only when the server takes mail for somebody in the domain.
pub fn asked_too_early(w: &World, domain: &Value) -> Option<String> {
    let entries = domain["status"]["dns"]["records"].as_array().filter(|_| !deleting(domain))?;
    entries.iter().find(|e| e["purpose"] == "MX" && text(e, "/message").starts_with("set MX"))?;
    let name = text(domain, "/spec/domain");
    let takes = w.groupware.values().any(|s| {
        let mut all = s.mailboxes.keys().chain(s.aliases.keys());
        s.domains.get(name).is_some_and(|d| d.row.active) && all.any(|a| a.ends_with(&format!("@{name}")))
    });
    let lost = !w.notes.emptied.is_empty() || w.notes.drifted.keys().any(|n| n.ends_with(name));
    (!takes && !lost).then(|| format!("I7: MX of {name} is asked for, and nobody there gets mail"))
}

/// What must hold of such a domain at every moment: nothing is written at the tenant's provider.
pub fn check(w: &World) -> Result<(), String> {
    let Some(server) = w.dns.get(REGISTRAR) else { return Ok(()) };
    if let Some((_, set)) =
        server.history.iter().enumerate().find(|(i, _)| !server.by_others.contains(i)).map(|(_, h)| h)
    {
        return Err(format!("I8: {} {} was written at the tenant's provider", set.name, set.rtype.as_str()));
    }
    match &w.notes.asked_too_early {
        Some(bad) => Err(bad.clone()),
        None => Ok(()),
    }
}

/// What must hold of it once all is quiet: what it says of the DNS is so.
pub fn at_the_end(d: &Declared) -> Result<(), String> {
    let w = d.world;
    let entries = d.object["status"]["dns"]["records"].as_array().cloned().unwrap_or_default();
    let Some(server) = w.dns.get(REGISTRAR) else { return Ok(()) };
    for e in entries.iter().filter(|e| e["purpose"] != "ClientDiscovery") {
        let set = server.set(text(e, "/name"), crate::dns::rtype(text(e, "/type")));
        let there = set.values.iter().any(|v| v == text(e, "/value"));
        if (e["state"] == "Ok") != there && e["state"] == "Ok" {
            return Err(format!("end: {d} says {e}, and there is {:?}", set.values));
        }
    }
    let live = text(d.object, "/status/state") == "Live";
    let held = crate::authority::holds(d);
    if held && live != mx_is_ours(w, NAME) {
        return Err(format!("end: {d} is live: {live}, and MX is {:?}", server.set(NAME, RecordType::MX).values));
    }
    Ok(())
}
