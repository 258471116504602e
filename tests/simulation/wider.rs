//! What users do beside the plain life of a tenant: forwards and targets outside, passwords of their own, limits, a cut-over
//! that waits for approval, proofs of ownership, objects that are only observed, names above and below those of others,
//! and backends that are taken away. Drawn apart from `user`, so that the plain part of a seed stays what it was.

use crate::dns::ByHand as InDns;
use crate::schedule::Rng;
use crate::user::*;
use crate::world::{Step, User, When};
use serde_json::{Value, json};

const MAIN: Object = ("a", "maildomains", "main");
const ALICE: Object = ("a", "mailboxes", "alice");
const BOB: Object = ("a", "mailboxes", "bob");
const INFO: Object = ("a", "mailaliases", "info");
const ACME: Object = ("a", "mailinstances", "acme");
/// A name below one of another tenant, or above which another tenant comes later.
pub const BELOW: Object = ("b", "maildomains", "below");
pub const ERIN: Object = ("b", "mailboxes", "erin");
const CHOSEN: &str = "/api/v1/namespaces/a/secrets/chosen";

/// The mail servers in MX are changed by the platform team, which mistypes a new one at times. The first one stays: MX of
/// others may lead to it. Drawn apart from all else.
pub struct Moves(Rng);

impl Moves {
    pub fn new(seed: u64) -> Self {
        Moves(Rng::new(seed ^ 0x0030_1E50_30FE))
    }

    /// What answers for names below the zone, of which one may become a domain.
    pub fn before(&mut self) -> Option<User> {
        let values = vec!["192.0.2.80".to_owned()];
        let wildcard = InDns::Add { name: "*.acme.test".into(), rtype: "A".into(), ttl: 60, values };
        self.0.chance(250).then(|| User { when: When::Now, step: in_dns(wildcard) })
    }

    /// Among the edits of a round.
    pub fn edits(&mut self) -> Vec<User> {
        if !self.0.chance(300) {
            return vec![];
        }
        let lists = [
            json!([{"host": "mx1.mail.example.net"}, {"host": "mx2.mail.example.net", "preference": 20}]),
            json!([{"host": "mx1.mail.example.net"}, {"host": "mx2.mial.example.net"}]),
            json!([{"host": "mx1.mail.example.net", "preference": 5}]),
        ];
        let change = |mx: &Value| {
            let spec = json!({"spec": {"hosts": {"mx": mx}}});
            Step::Api(crate::api::Req::new("PATCH", &format!("{GROUP}/groupwarebackends/berlin"), MERGE, spec))
        };
        let n = 1 + self.0.below(3);
        (0..n).map(|_| User { when: when(&mut self.0), step: change(self.0.pick(&lists)) }).collect()
    }
}

/// What holds for a whole schedule.
pub struct Wide {
    rng: Rng,
    on: bool,
    pub require_proof: bool,
    pub manual: bool,
    below: bool,
    backends: bool,
    orphans: bool,
    relabels: bool,
}

impl Wide {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0071_DE05_71DE);
        let on = rng.chance(500);
        let mut often = |per_mille| on && rng.chance(per_mille);
        let (require_proof, manual, below, backends) = (often(200), often(200), often(250), often(150));
        let orphans = often(250);
        // Drawn apart too.
        let relabels = Rng::new(seed ^ 0x1ABE_1ABE).chance(80);
        Wide { rng, on, require_proof, manual, below, backends, orphans, relabels }
    }

    /// Before all else of a round.
    pub fn before(&mut self) -> Vec<User> {
        let (below, when) = (self.below && self.rng.chance(600), when(&mut self.rng));
        if below { below_of_others().into_iter().map(|step| User { when, step }).collect() } else { vec![] }
    }

    /// Among the edits of a round. For as long as they take a namespace may have lost the label by which backends choose it.
    pub fn edits(&mut self, round: usize) -> Vec<User> {
        let mut out = self.made_edits(round);
        if self.relabels && round == 0 {
            let mail = |value: &str| {
                let body = json!({"metadata": {"labels": {"mail": value}}});
                let step = Step::Api(crate::api::Req::new("PATCH", "/api/v1/namespaces/a", MERGE, body));
                User { when: When::Settled, step }
            };
            out.insert(0, mail("none"));
            out.push(mail("standard"));
        }
        out
    }

    fn made_edits(&mut self, round: usize) -> Vec<User> {
        let mut out = vec![];
        if !self.on {
            return out;
        }
        if self.below && self.rng.chance(500) {
            let when = when(&mut self.rng);
            out.extend(below_of_others().into_iter().map(|step| User { when, step }));
        }
        for n in 0..self.rng.below(6) {
            let when = when(&mut self.rng);
            out.extend(edit(&mut self.rng, 100 * round + n).into_iter().map(|step| User { when, step }));
        }
        if self.require_proof && self.rng.chance(850) {
            for (ns, name) in [("a", "main"), ("a", "shared"), ("b", "shared"), ("b", "below")] {
                let when = when(&mut self.rng);
                let (ns, name) = (ns.to_string(), name.to_string());
                out.push(User { when, step: Step::Prove { ns, name, server: DNS.into() } });
            }
        }
        if self.manual && self.rng.chance(800) {
            let when = when(&mut self.rng);
            out.push(User { when, step: patch(MAIN, json!({"spec": {"cutover": {"approved": true}}})) });
        }
        if self.orphans {
            out.extend(self.orphaned());
        }
        out
    }

    /// Objects that nothing blocks are told to go without their backend, before they are deleted or while they are.
    fn orphaned(&mut self) -> Vec<User> {
        let mut out = vec![];
        for _ in 0..1 + self.rng.below(3) {
            let o = *self.rng.pick(OBJECTS);
            let mut steps = [annotate(o, "orphan", json!("true")), delete(o)];
            if self.rng.chance(400) {
                steps.reverse();
            }
            for step in steps {
                out.push(User { when: when(&mut self.rng), step });
            }
        }
        out
    }

    /// After everything.
    pub fn after(&mut self) -> Vec<User> {
        let mut steps = vec![];
        if self.below && self.rng.chance(500) {
            steps.extend([delete(ERIN), delete(BELOW)]);
        }
        if self.backends {
            let cluster = |res: &str, name: &str| Step::Api(req("DELETE", &format!("{GROUP}/{res}/{name}")));
            if self.rng.chance(600) {
                steps.push(cluster("groupwarebackends", "berlin"));
            }
            if self.rng.chance(600) {
                steps.push(cluster("dnsbackends", "pdns"));
            }
            // Some take down what is on them only then.
            if self.rng.chance(500) {
                steps.extend(OBJECTS.iter().map(|o| delete(*o)));
            }
        }
        let when = when(&mut self.rng);
        steps.into_iter().map(|step| User { when, step }).collect()
    }
}

fn below_of_others() -> Vec<Step> {
    let domain = json!({"instanceRef": {"name": "beta"}, "domain": "sub.acme.test", "dkim": {"algorithms": ["Ed25519"]},
        "dns": {"mode": "Managed", "backendRef": {"name": "pdns"}, "ttl": 60, "conflictPolicy": "Overwrite"}});
    let mailbox = json!({"domainRef": {"name": "below"}, "localPart": "erin", "quota": "1Gi"});
    let made = |o: Object, spec: Value| {
        post(&format!("{GROUP}/namespaces/{}/{}", o.0, o.1), json!({"metadata": {"name": o.2}, "spec": spec}))
    };
    vec![made(BELOW, domain), made(ERIN, mailbox)]
}

fn edit(rng: &mut Rng, n: usize) -> Vec<Step> {
    let spec = |o: Object, spec: Value| patch(o, json!({"spec": spec}));
    let merge = |path: &str, body: Value| Step::Api(crate::api::Req::new("PATCH", path, MERGE, body));
    let policy = json!({"managementPolicy": rng.pick(&["Observe", "Observe", "Full"])});
    let any = *rng.pick(OBJECTS);
    match rng.below(16) {
        0 => {
            let lists =
                [json!(["bob@acme.test"]), json!(["far@away.example"]), json!(["bob@acme.test", "x@y.example"])];
            let to = rng.pick(&lists);
            vec![spec(ALICE, json!({"forwarding": {"to": to, "keepCopy": rng.chance(500)}}))]
        }
        1 => vec![spec(ALICE, json!({"forwarding": null}))],
        2 | 3 => vec![spec(ACME, json!({"externalForwarding": rng.pick(&["Allow", "Allow", "Deny"])}))],
        4 => vec![spec(INFO, json!({"targets": [{"address": "far@away.example"}, {"mailboxRef": {"name": "alice"}}]}))],
        5 => {
            let made = secret("a", "chosen", json!({"password": format!("chosen{n}")}));
            let from = json!({"generate": null, "secretRef": {"name": "chosen", "key": "password"}});
            vec![made, spec(BOB, json!({"password": from}))]
        }
        6 => vec![merge(CHOSEN, json!({"stringData": {"password": format!("changed{n}")}}))],
        7 => vec![spec(BOB, json!({"password": {"secretRef": null, "generate": {"length": 20}}}))],
        8 => vec![Step::Api(req("DELETE", CHOSEN))],
        9 => vec![spec(ACME, json!({"limits": {"mailboxes": rng.pick(&[json!(1), json!(null)])}}))],
        10 => vec![spec(ACME, json!({"storage": rng.pick(&["1Gi", "2Gi", "50Gi"])}))],
        11 => vec![annotate(MAIN, "rotate-dkim", json!(format!("k{n}")))],
        12 => vec![spec(any, policy)],
        // Looked at for a while, then taken into our hands again.
        13 => vec![spec(any, json!({"managementPolicy": "Observe"})), spec(any, json!({"managementPolicy": "Full"}))],
        14 => vec![spec(MAIN, json!({"dns": {"ttl": rng.pick(&[60, 120, 600])}}))],
        _ => vec![spec(MAIN, json!({"dns": {"dmarc": {"policy": rng.pick(&["None", "Reject"])}}}))],
    }
}
