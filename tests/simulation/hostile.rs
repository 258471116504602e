//! A hostile or unlucky world: statuses that others wrote, words that come late to a watch that is held, a clock that is
//! ahead after a restart, finalizers and Secrets of others, zones that are not for everybody, and for a while another
//! server in the place of the right one. Drawn apart from `user` and `wider`, so that their part of a seed stays what it was.

use crate::dns::ByHand as InDns;
use crate::groupware::ByHand as AtServer;
use crate::schedule::Rng;
use crate::user::*;
use crate::wider::BELOW;
use crate::world::{Named, Step, User, When};
use serde_json::{Value, json};

const ACME: Object = ("a", "mailinstances", "acme");
const MAIN: Object = ("a", "maildomains", "main");
const ALICE: Object = ("a", "mailboxes", "alice");
const INFO: Object = ("a", "mailaliases", "info");
const ALL: Object = ("a", "mailaliases", "all");
/// Of two objects for one name the younger waits for the claim of the older.
const RIVALS: [Object; 2] = [("a", "maildomains", "shared"), ("b", "maildomains", "shared")];

/// What happens in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plot {
    /// Nothing.
    None,
    /// A word comes late, and a deletion at once.
    LateWord,
    /// The operator's clock is ahead while a domain drains, after a restart or all of a sudden.
    Clock,
    /// A TTL of MX is lowered just before the domain goes.
    LowerTtl,
    /// Statuses are written by others.
    Forged,
    /// Finalizers of others.
    Finalizers,
    /// A Secret is there in the place of ours.
    Secret,
    /// A zone is for some namespaces only.
    Zone,
    /// Another server answers for a while, and mailboxes are deleted meanwhile.
    WrongServer,
    /// Left paused.
    Paused,
    /// Objects are removed by force, and what they had stays at the server; some are declared again, or their namespace goes.
    Forced,
    /// MX led here before the tenant came, and is changed by somebody else only when all is settled.
    OldMx,
    /// etcd is restored to what it was before the last edits.
    Restored,
    /// A zone is moved to another DNS server, which shows its records until somebody takes them out, or moves it back.
    Moved,
}

/// What holds for a whole schedule.
pub struct Hostile {
    rng: Rng,
    pub plot: Plot,
}

fn named(o: Object) -> Named {
    (o.0.into(), o.1.into(), o.2.into())
}

fn at(when: When, steps: Vec<Step>) -> Vec<User> {
    let follow = steps.into_iter().enumerate();
    follow.map(|(i, step)| User { when: if i == 0 { when } else { When::Now }, step }).collect()
}

fn hold(o: Object, ms: u64) -> Step {
    Step::Hold { resource: o.1.into(), ms }
}

fn status(o: Object, body: Value) -> Step {
    Step::Api(crate::api::Req::new(
        "PATCH",
        &format!("{GROUP}/namespaces/{}/{}/{}/status", o.0, o.1, o.2),
        MERGE,
        json!({"status": body}),
    ))
}

impl Hostile {
    pub fn new(seed: u64) -> Self {
        use Plot::*;
        let mut rng = Rng::new(seed ^ 0x0B05_711E_0B05);
        let plots =
            [LateWord, LateWord, Clock, LowerTtl, Forged, Forged, Finalizers, Secret, Zone, WrongServer, Paused];
        let plot = if rng.chance(350) { *rng.pick(&plots) } else { None };
        // Drawn last: what the others are in a seed stays what it was.
        let plot = if plot == None && rng.chance(120) { Forced } else { plot };
        let plot = if plot == None && rng.chance(170) { *rng.pick(&[OldMx, Restored, Restored, Moved]) } else { plot };
        Hostile { rng, plot }
    }

    /// The zones of the DNSBackend.
    pub fn zones(&self) -> Value {
        match self.plot {
            Plot::Zone => {
                json!([{"name": "acme.test"}, {"name": "shared.test", "allowedNamespaces": {"from": "Names", "names": ["b"]}}])
            }
            _ => json!([{"name": "acme.test"}, {"name": "shared.test"}]),
        }
    }

    /// Before the objects of a round.
    pub fn before(&mut self) -> Vec<User> {
        match self.plot {
            Plot::OldMx => {
                let ttl = 600;
                let (name, rtype) = ("acme.test".to_string(), "MX".to_string());
                let values = vec!["10 mx1.mail.example.net.".to_string()];
                at(When::Now, vec![in_dns(InDns::Add { name, rtype, ttl, values })])
            }
            Plot::Secret => at(When::Now, vec![secret("a", "alice-mail", json!({"password": "of somebody else"}))]),
            _ => vec![],
        }
    }

    /// Right after an object was made.
    pub fn made(&mut self, o: Object) -> Vec<User> {
        let on = self.plot == Plot::Finalizers && self.rng.chance(400);
        at(When::Now, if on { vec![Step::Finalizer { object: named(o), on }] } else { vec![] })
    }

    /// After the edits of a round, before what is deleted in it.
    pub fn then(&mut self, first: bool, last: bool) -> Vec<User> {
        let rng = &mut self.rng;
        let when = *rng.pick(&[When::Settled, When::Settled, When::Idle]);
        match self.plot {
            Plot::LateWord => late_word(rng, when),
            Plot::Clock if last => {
                let down = [INFO, ALL, ALICE, MAIN];
                let mut steps: Vec<Step> = down.iter().rev().map(|o| delete(*o)).collect();
                let ahead_ms = *rng.pick(&[3_600_000, 3_600_000, -200_000]);
                let restart = if rng.chance(500) { Step::Restart { ahead_ms } } else { Step::Clock { ahead_ms } };
                let after = if rng.chance(500) { When::Idle } else { When::Now };
                let mut out = at(when, std::mem::take(&mut steps));
                out.push(User { when: after, step: restart });
                out
            }
            Plot::LowerTtl if first => {
                let ttl = |n: u64| patch(MAIN, json!({"spec": {"dns": {"ttl": n}}}));
                let mut out = at(When::Settled, vec![ttl(600)]);
                out.extend(at(When::Settled, vec![ttl(60)]));
                let soon = if rng.chance(500) { When::Settled } else { When::Idle };
                out.extend(at(soon, [MAIN, INFO, ALL, ALICE].map(delete).to_vec()));
                out
            }
            Plot::Forged => forged(rng, when),
            Plot::Finalizers => {
                let some: Vec<Object> = OBJECTS.iter().copied().filter(|_| rng.chance(300)).collect();
                let mut steps: Vec<Step> = vec![];
                if rng.chance(700) {
                    steps.push(hold(*rng.pick(OBJECTS), 60_000));
                }
                steps.extend(some.iter().map(|o| Step::Finalizer { object: named(*o), on: true }));
                steps.extend(some.iter().map(|o| delete(*o)));
                at(when, steps)
            }
            Plot::WrongServer if last => {
                let server = || GROUPWARE.to_string();
                let mut steps = vec![Step::Groupware { server: server(), step: AtServer::Away }];
                steps.extend([INFO, ALL, ALICE].map(delete));
                let mut out = at(When::Settled, steps);
                out.extend(at(When::Settled, vec![Step::Groupware { server: server(), step: AtServer::Back }]));
                out
            }
            Plot::Forced if last => forced(rng, when),
            Plot::Restored => {
                let mut out = if first { at(When::Settled, vec![Step::Backup]) } else { vec![] };
                if last {
                    out.extend(at(when, since_the_backup(rng)));
                    let when = *rng.pick(&[When::Settled, When::Idle, When::Now]);
                    out.extend(at(when, vec![Step::Restore]));
                }
                out
            }
            Plot::Moved if last => {
                let name = || "acme.test".to_string();
                let mut steps = vec![in_dns(InDns::Unlist { name: name() })];
                steps.extend([MAIN, INFO, ALL, ALICE, ("a", "mailboxes", "bob")].map(delete));
                let mut out = at(When::Settled, steps);
                // Nothing but time: the TTL of an MX that nobody took out.
                out.extend((0..4).map(|_| User { when: When::Settled, step: Step::Backup }));
                let back = rng.chance(400);
                let then = if back { InDns::Zone { name: name() } } else { InDns::Clear { name: name() } };
                out.extend(at(When::Settled, vec![in_dns(then)]));
                out
            }
            Plot::Paused if last => {
                let who = *rng.pick(&[ALICE, MAIN, ACME, INFO]);
                at(when, vec![annotate(who, "paused", json!("true"))])
            }
            _ => vec![],
        }
    }

    /// After everything.
    pub fn after(&mut self) -> Vec<User> {
        match self.plot {
            Plot::OldMx => {
                let (name, rtype) = ("acme.test".to_string(), "MX".to_string());
                at(When::Settled, vec![in_dns(InDns::DropTheirs { name, rtype })])
            }
            Plot::Finalizers => {
                let off = OBJECTS.iter().map(|o| Step::Finalizer { object: named(*o), on: false });
                at(When::Settled, off.collect())
            }
            _ => vec![],
        }
    }
}

/// What happens between a backup and the end of what it holds.
fn since_the_backup(rng: &mut Rng) -> Vec<Step> {
    let carol = ("a", "mailboxes", "carol");
    let some = [
        delete(INFO),
        delete(ALICE),
        delete(MAIN),
        delete(carol),
        patch(ALICE, json!({"spec": {"quota": "77Mi"}})),
        patch(INFO, json!({"spec": {"targets": [{"mailboxRef": {"name": "bob"}}]}})),
        annotate(ALICE, "rotate-password", json!("restored")),
        annotate(MAIN, "rotate-dkim", json!("restored")),
        post(
            &format!("{GROUP}/namespaces/a/mailboxes"),
            json!({"metadata": {"name": "frank"}, "spec": {"domainRef": {"name": "main"}, "localPart": "frank", "quota": "1Gi"}}),
        ),
    ];
    some.into_iter().filter(|_| rng.chance(350)).collect()
}

/// What was acknowledged must count, also while the watch that tells it is held.
fn late_word(rng: &mut Rng, when: When) -> Vec<User> {
    let observe = json!({"spec": {"managementPolicy": "Observe"}});
    let words = [
        (ACME, patch(ACME, json!({"spec": {"deletionPolicy": "Retain"}}))),
        (ACME, annotate(ACME, "paused", json!("true"))),
        (ACME, patch(ACME, observe.clone())),
        (MAIN, patch(MAIN, observe.clone())),
        (MAIN, annotate(MAIN, "paused", json!("true"))),
        (ALICE, patch(ALICE, json!({"spec": {"deletionPolicy": "Retain"}}))),
        (ALICE, annotate(ALICE, "paused", json!("true"))),
        (ALICE, patch(ALICE, observe)),
    ];
    let (who, word) = rng.pick(&words).clone();
    let mut steps = vec![hold(who, 1000 * (30 + rng.below(240) as u64)), word];
    steps.extend(if who == MAIN || rng.chance(300) { vec![delete(MAIN)] } else { vec![] });
    steps.extend([INFO, ALL, ALICE].map(delete));
    at(when, steps)
}

/// Some objects go without the operator: held by a pause, so that it takes nothing down, then without their finalizer. In the
/// end one of them is declared again, or the instance or its whole namespace goes, or nothing more happens.
fn forced(rng: &mut Rng, when: When) -> Vec<User> {
    const CAROL: Object = ("a", "mailboxes", "carol");
    const SHARED: Object = ("a", "maildomains", "shared");
    let all = [MAIN, ALICE, ("a", "mailboxes", "bob"), CAROL, INFO, ALL, SHARED];
    let some: Vec<Object> = all.into_iter().filter(|_| rng.chance(350)).collect();
    let paused = rng.chance(700);
    let mut out = vec![];
    if rng.chance(300) {
        // An alias of one domain for a mailbox of another one.
        out.extend(at(when, vec![patch(INFO, json!({"spec": {"targets": [{"mailboxRef": {"name": "carol"}}]}}))]));
    }
    if paused {
        out.extend(at(when, some.iter().map(|o| annotate(*o, "paused", json!("true"))).collect()));
    }
    let off = |o: &Object| [delete(*o), patch(*o, json!({"metadata": {"finalizers": null}}))];
    out.extend(at(When::Settled, some.iter().flat_map(off).collect()));
    let (ns, soon) = ("/api/v1/namespaces/a", if rng.chance(700) { When::Settled } else { When::Now });
    let then = match rng.below(5) {
        0 => vec![Step::Api(req("DELETE", ns))],
        1 => OBJECTS.iter().filter(|o| o.0 == "a").map(|o| delete(*o)).collect(),
        2 => [MAIN, SHARED].into_iter().filter(|_| rng.chance(600)).map(delete).collect(),
        3 => some.iter().take(2).map(|o| crate::user::again(*o)).collect(),
        _ => vec![],
    };
    out.extend(at(soon, then));
    out
}

/// Whoever may write statuses in namespace `b` writes there what stands in those of `a`, and the other way round.
fn forged(rng: &mut Rng, when: When) -> Vec<User> {
    let like = |object: Object, like: Object| Step::Forge { object: named(object), like: named(like) };
    let beta = ("b", "mailinstances", "beta");
    let dave = ("b", "mailboxes", "dave");
    let sales = ("b", "mailaliases", "sales");
    let carol = ("a", "mailboxes", "carol");
    let asked = |o: Object| annotate(o, "reconcile-requested-at", json!("forged"));
    let turned = rng.chance(300);
    let [there, here] = if turned { [RIVALS[1], RIVALS[0]] } else { RIVALS };
    let child = if turned { carol } else { dave };
    let nothing_given = json!({"usage": {"mailboxes": 0, "storageAllocated": "0", "storageUsed": "0"}});
    let steps = match rng.below(8) {
        0 | 1 => vec![like(here, there), asked(child), asked(sales)],
        2 => vec![like(here, there), delete(here), delete(child), delete(sales)],
        3 => vec![like(BELOW, MAIN), delete(crate::wider::ERIN), delete(BELOW)],
        4 => vec![like(beta, ACME), asked(beta), asked(here), asked(child)],
        6 => vec![status(ACME, nothing_given), patch(ALICE, json!({"spec": {"quota": "99Gi"}})), asked(MAIN)],
        5 => vec![status(child, json!({"quota": "900Gi"})), patch(child, json!({"spec": {"quota": "900Gi"}}))],
        _ => {
            let until = *rng.pick(&["soon", "", "2025-01-01T00:00:00Z"]);
            vec![delete(MAIN), delete(INFO), status(MAIN, json!({"drainingUntil": until})), delete(ALL), delete(ALICE)]
        }
    };
    at(when, steps)
}
