//! Users drawn from a seed: what they declare, edit and delete, in which order, and what others do behind the operator.

use crate::api::Req;
use crate::by_hand::ByHand;
use crate::dns::ByHand as InDns;
use crate::groupware::ByHand as AtServer;
use crate::hostile::Hostile;
use crate::legacy::Legacy;
use crate::schedule::Rng;
use crate::wider::{Moves, Wide};
use crate::world::{Step, User, When};
use serde_json::{Value, json};

pub const MERGE: &str = "application/merge-patch+json";
pub const GROUPWARE: &str = "db-berlin";
pub const DNS: &str = "http://pdns:8081";
const SYSTEM: &str = "mailtenant-system";
pub const GROUP: &str = "/apis/mailtenant.dev/v1alpha1";

/// Resource and name inside a namespace.
pub type Object = (&'static str, &'static str, &'static str);

/// Every tenant object there may be, parents first.
pub const OBJECTS: &[Object] = &[
    ("a", "mailinstances", "acme"),
    ("a", "maildomains", "main"),
    ("a", "maildomains", "shared"),
    ("a", "mailboxes", "alice"),
    ("a", "mailboxes", "bob"),
    ("a", "mailboxes", "carol"),
    ("a", "mailaliases", "info"),
    ("a", "mailaliases", "all"),
    ("b", "mailinstances", "beta"),
    ("b", "maildomains", "shared"),
    ("b", "mailboxes", "dave"),
    ("b", "mailaliases", "sales"),
];

pub fn post(path: &str, body: Value) -> Step {
    Step::Api(Req::new("POST", path, "", body))
}

pub fn req(method: &str, path: &str) -> Req {
    Req::new(method, path, "", Value::Null)
}

fn path(o: Object) -> String {
    format!("{GROUP}/namespaces/{}/{}/{}", o.0, o.1, o.2)
}

pub fn patch(o: Object, body: Value) -> Step {
    Step::Api(Req::new("PATCH", &path(o), MERGE, body))
}

pub fn annotate(o: Object, name: &str, value: Value) -> Step {
    patch(o, json!({"metadata": {"annotations": {format!("mailtenant.dev/{name}"): value}}}))
}

pub fn delete(o: Object) -> Step {
    Step::Api(req("DELETE", &path(o)))
}

fn at_server(step: AtServer) -> Step {
    Step::Groupware { server: GROUPWARE.into(), step }
}

pub fn in_dns(step: InDns) -> Step {
    Step::Dns { server: DNS.into(), step }
}

pub fn secret(ns: &str, name: &str, data: Value) -> Step {
    post(&format!("/api/v1/namespaces/{ns}/secrets"), json!({"metadata": {"name": name}, "stringData": data}))
}

pub fn namespace(name: &str) -> Step {
    post("/api/v1/namespaces", json!({"metadata": {"name": name, "labels": {"mail": "standard"}}}))
}

/// Choices that hold for a whole schedule.
struct Shape {
    retain: bool,
    adopt: bool,
    manual: bool,
}

fn spec(o: Object, shape: &Shape, rng: &mut Rng) -> Value {
    let adopt = if shape.adopt { "IfUnowned" } else { "Never" };
    let mut spec = match o.1 {
        "mailinstances" => json!({"backendRef": {"name": "berlin"}, "storage": "100Gi", "defaultMailboxQuota": "1Gi",
            "deletionPolicy": if shape.retain { "Retain" } else { "Delete" }}),
        "maildomains" => {
            let instance = if o.0 == "a" { "acme" } else { "beta" };
            let name = if o.2 == "main" { "acme.test" } else { "shared.test" };
            let mode = if shape.manual && o.2 == "main" { "Manual" } else { "Auto" };
            json!({"cutover": {"mode": mode}, "instanceRef": {"name": instance}, "domain": name, "dkim": {"algorithms": ["Ed25519"]},
                "dns": {"mode": "Managed", "backendRef": {"name": "pdns"}, "ttl": 60, "conflictPolicy": "Overwrite"}})
        }
        "mailboxes" => {
            let domain = if matches!(o.2, "alice" | "bob") { "main" } else { "shared" };
            json!({"domainRef": {"name": domain}, "localPart": o.2, "quota": "1Gi", "displayName": format!("The {}", o.2)})
        }
        _ => match o.2 {
            "info" => {
                json!({"domainRef": {"name": "main"}, "localPart": "info", "targets": [{"mailboxRef": {"name": "alice"}}, {"mailboxRef": {"name": "bob"}}]})
            }
            "all" => {
                json!({"domainRef": {"name": "main"}, "localPart": "*", "targets": [{"mailboxRef": {"name": "alice"}}]})
            }
            _ => {
                json!({"domainRef": {"name": "shared"}, "localPart": "sales", "targets": [{"mailboxRef": {"name": "dave"}}]})
            }
        },
    };
    spec["adoptionPolicy"] = json!(adopt);
    if o.1 == "mailboxes" && rng.chance(200) {
        spec["deletionPolicy"] = json!(if rng.chance(500) { "Retain" } else { "Delete" });
    }
    spec
}

fn create(o: Object, shape: &Shape, rng: &mut Rng) -> Step {
    post(
        &format!("{GROUP}/namespaces/{}/{}", o.0, o.1),
        json!({"metadata": {"name": o.2}, "spec": spec(o, shape, rng)}),
    )
}

/// An object as it was first declared.
pub fn again(o: Object) -> Step {
    create(o, &Shape { retain: false, adopt: false, manual: false }, &mut Rng::new(1))
}

/// What the platform team sets up.
pub fn platform(rng: &mut Rng, wide: &Wide, hostile: &Hostile, legacy: &mut Legacy) -> Vec<Step> {
    let lags = [vec![], vec![500], vec![2_000, 30_000]];
    let mut dns = json!({"allowedNamespaces": {"from": "All"}, "zones": legacy.zones(hostile.zones()),
        "powerdns": {"url": DNS, "apiKeySecretRef": {"name": "pdns", "key": "key"}}});
    // Left out, it is asked for where the zone names nobody.
    if !wide.require_proof {
        dns["requireProof"] = json!(false);
    }
    let mut steps = vec![
        at_server(AtServer::Password { password: "pw".into() }),
        in_dns(InDns::Zone { name: "acme.test".into() }),
        in_dns(InDns::Zone { name: "shared.test".into() }),
        in_dns(InDns::Lags { ms: rng.pick(&lags).clone() }),
        namespace(SYSTEM),
        secret(SYSTEM, "berlin", json!({"username": "m", "password": "pw", "apiKey": "k"})),
        secret(SYSTEM, "pdns", json!({"key": ""})),
        post(
            &format!("{GROUP}/groupwarebackends"),
            json!({"metadata": {"name": "berlin"}, "spec": {
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"mail": "standard"}}},
            "hosts": {"mx": [{"host": "mx1.mail.example.net"}], "imap": {"host": "imap.mail.example.net", "port": 993},
                "submission": {"host": "smtp.mail.example.net", "port": 465}, "webmail": "https://webmail.example.net/SOGo"},
            "spf": {"include": "_spf.mail.example.net"}, "delivery": {"address": GROUPWARE, "port": 25},
            "resync": {"interval": "5m"}, "massLoss": {"percent": 40, "minimum": 2},
            "recovery": {"allowedNamespaces": {"from": "All"}},
            "sogo": {"database": {"host": GROUPWARE, "name": "mail", "tls": "Disable", "credentialsSecretRef": {"name": "berlin"}},
                "doveadm": {"url": "http://dovecot:8080/doveadm/v1", "apiKeySecretRef": {"name": "berlin", "key": "apiKey"}}}}}),
        ),
        post(&format!("{GROUP}/dnsbackends"), json!({"metadata": {"name": "pdns"}, "spec": dns})),
    ];
    let txt = |name: &str, values: Vec<&str>| {
        in_dns(InDns::Add {
            name: name.into(),
            rtype: "TXT".into(),
            ttl: 300,
            values: values.into_iter().map(String::from).collect(),
        })
    };
    if rng.chance(500) {
        steps.push(txt("acme.test", vec!["google-site-verification=1", "v=spf1 include:_spf.other.example ~all"]));
    }
    if rng.chance(500) {
        steps.push(in_dns(InDns::Add {
            name: "shared.test".into(),
            rtype: "MX".into(),
            ttl: 60,
            values: vec!["10 old.example.".into()],
        }));
        steps.push(txt("shared.test", vec!["something=else"]));
    }
    if rng.chance(100) {
        steps.push(at_server(AtServer::ForeignDomain { name: "acme.test".into() }));
    }
    if rng.chance(200) {
        steps.push(at_server(AtServer::ForeignMailbox {
            address: rng.pick(&["bob@acme.test", "dave@shared.test", "info@acme.test"]).to_string(),
        }));
    }
    if rng.chance(200) {
        steps.push(at_server(AtServer::ForeignAlias {
            address: rng.pick(&["info@acme.test", "@acme.test", "alice@acme.test"]).to_string(),
            target: "x@y.example".into(),
        }));
    }
    steps.extend(legacy.rows());
    steps
}

const ALICE: Object = ("a", "mailboxes", "alice");
const INFO: Object = ("a", "mailaliases", "info");
const ACME: Object = ("a", "mailinstances", "acme");

/// One edit, or something that happens behind the operator's back.
fn edit(rng: &mut Rng, n: usize) -> Vec<Step> {
    let mailbox = *rng.pick(&OBJECTS[3..6]);
    let address = match mailbox.2 {
        "carol" => "carol@shared.test".to_string(),
        name => format!("{name}@acme.test"),
    };
    let any = *rng.pick(OBJECTS);
    vec![match rng.below(22) {
        0..=2 => patch(mailbox, json!({"spec": {"quota": format!("{}Mi", 100 + n)}})),
        3 => patch(mailbox, json!({"spec": {"displayName": format!("Name {n}")}})),
        4 => patch(mailbox, json!({"spec": {"suspend": rng.pick(&["None", "Login", "All"])}})),
        5 | 6 => annotate(mailbox, "rotate-password", json!(format!("r{n}"))),
        7 | 8 => patch(
            INFO,
            json!({"spec": {"targets": rng.pick(&[json!([{"mailboxRef": {"name": "alice"}}]), json!([{"mailboxRef": {"name": "bob"}}]),
            json!([{"mailboxRef": {"name": "carol"}}, {"mailboxRef": {"name": "alice"}}])])}}),
        ),
        9 => annotate(any, "reconcile-requested-at", json!(format!("t{n}"))),
        10 => {
            return vec![annotate(any, "paused", json!("true")), annotate(any, "paused", Value::Null)];
        }
        11 => at_server(AtServer::DropMailbox { address }),
        12 => at_server(AtServer::EditMailbox { address, quota: 5 + n as u64 }),
        13 => at_server(AtServer::EditAlias {
            address: "info@acme.test".into(),
            targets: vec!["evil@elsewhere.example".into()],
        }),
        14 => at_server(AtServer::DropAlias {
            address: rng.pick(&["info@acme.test", "@acme.test", "sales@shared.test"]).to_string(),
        }),
        15 => at_server(AtServer::SwitchOffDomain { name: rng.pick(&["acme.test", "shared.test"]).to_string() }),
        16 => in_dns(InDns::DropOurs { name: "acme.test".into(), rtype: rng.pick(&["MX", "TXT"]).to_string() }),
        17 => in_dns(InDns::Add {
            name: "acme.test".into(),
            rtype: "TXT".into(),
            ttl: 300,
            values: vec![format!("later={n}")],
        }),
        18 => Step::Api(Req::new("DELETE", "/api/v1/namespaces/a/secrets/alice-mail", "", Value::Null)),
        19 => patch(any, json!({"metadata": {"finalizers": null}})),
        20 => patch(ACME, json!({"spec": {"storage": format!("{}Gi", 50 + n)}})),
        _ => {
            let rotated = Step::Api(Req::new(
                "PATCH",
                &format!("/api/v1/namespaces/{SYSTEM}/secrets/berlin"),
                MERGE,
                json!({"stringData": {"password": format!("pw{n}")}}),
            ));
            return vec![at_server(AtServer::Password { password: format!("pw{n}") }), rotated];
        }
    }]
}

/// Deletes in one of the ways that people and tools do.
fn deletions(rng: &mut Rng, shape: &Shape) -> Vec<Step> {
    let of = |ns: &str| OBJECTS.iter().copied().filter(|o| o.0 == ns).collect::<Vec<Object>>();
    let mut shuffled = OBJECTS.to_vec();
    for i in (1..shuffled.len()).rev() {
        shuffled.swap(i, rng.below(i + 1));
    }
    let collection =
        |kind: &str| Step::Api(Req::new("DELETE", &format!("{GROUP}/namespaces/a/{kind}"), "", Value::Null));
    match rng.below(11) {
        0 | 1 => vec![],
        // Children first; parents first; all at once, as a prune does.
        2 => OBJECTS.iter().rev().map(|o| delete(*o)).collect(),
        3 => OBJECTS.iter().map(|o| delete(*o)).collect(),
        4 => shuffled.into_iter().map(delete).collect(),
        5 => ["a", "b"]
            .iter()
            .map(|ns| Step::Api(Req::new("DELETE", &format!("/api/v1/namespaces/{ns}"), "", Value::Null)))
            .collect(),
        6 => {
            let mut kinds = vec!["mailinstances", "maildomains", "mailboxes", "mailaliases"];
            for i in (1..kinds.len()).rev() {
                kinds.swap(i, rng.below(i + 1));
            }
            kinds.into_iter().map(collection).collect()
        }
        // Deleted and made again.
        7 => {
            let some: Vec<Object> = shuffled.into_iter().take(3).collect();
            let mut steps: Vec<Step> = some.iter().map(|o| delete(*o)).collect();
            steps.extend(some.iter().map(|o| create(*o, shape, rng)));
            steps
        }
        // Taken away by force and made again, while passes are under way.
        9 => {
            let force = |o: Object| [patch(o, json!({"metadata": {"finalizers": null}})), delete(o)];
            let some = shuffled.into_iter().take(2);
            some.flat_map(|o| force(o).into_iter().chain([create(o, shape, rng)]).collect::<Vec<_>>()).collect()
        }
        // A parent goes while children are added; then the children too.
        8 => {
            let mut steps = vec![
                delete(("a", "maildomains", "main")),
                create(("a", "mailboxes", "bob"), shape, rng),
                create(INFO, shape, rng),
                delete(ACME),
            ];
            if rng.chance(700) {
                steps.extend(of("a").into_iter().rev().map(delete));
            }
            steps
        }
        // The secret or the backend went before its dependants: orphan is the way out.
        _ => {
            let mut steps = vec![Step::Api(Req::new(
                "DELETE",
                &format!("/api/v1/namespaces/{SYSTEM}/secrets/berlin"),
                "",
                Value::Null,
            ))];
            steps.extend(of("a").into_iter().rev().map(delete));
            steps.extend(of("a").into_iter().rev().map(|o| annotate(o, "orphan", json!("true"))));
            steps
        }
    }
}

/// All of it, or what is in its domains.
fn emptied(seed: u64) -> AtServer {
    if seed.is_multiple_of(2) { AtServer::Empty } else { AtServer::EmptyMailboxes }
}

pub fn when(rng: &mut Rng) -> When {
    [When::Now, When::Now, When::Idle, When::Settled][rng.below(4)]
}

/// The user of a seed.
pub fn user(seed: u64) -> Vec<User> {
    let mut rng = Rng::new(seed ^ 0x05EE_D0FA_05E4);
    let mut wide = Wide::new(seed);
    let mut hostile = Hostile::new(seed);
    let mut legacy = Legacy::new(seed);
    let mut moves = Moves::new(seed);
    let mut by_hand = ByHand::new(seed);
    let shape = Shape { retain: rng.chance(300), adopt: rng.chance(300), manual: wide.manual };
    let mut out: Vec<User> = platform(&mut rng, &wide, &hostile, &mut legacy)
        .into_iter()
        .map(|step| User { when: When::Now, step })
        .collect();
    out.extend(["a", "b"].map(|ns| User { when: When::Now, step: namespace(ns) }));
    out.extend(moves.before());
    out.extend(by_hand.before());
    let rounds = 1 + rng.below(2);
    for round in 0..rounds {
        let mut objects: Vec<Object> = OBJECTS.iter().copied().filter(|_| round == 0 && rng.chance(850)).collect();
        if round > 0 {
            objects = OBJECTS.to_vec();
        }
        // Mostly parents first, as files are written; sometimes in any order, as tools send them.
        if rng.chance(400) {
            for i in (1..objects.len()).rev() {
                objects.swap(i, rng.below(i + 1));
            }
        }
        out.extend(wide.before());
        out.extend(hostile.before());
        let pause = rng.chance(300);
        for o in objects {
            let when = if pause { when(&mut rng) } else { When::Now };
            out.push(User { when, step: create(o, &shape, &mut rng) });
            out.extend(hostile.made(o));
        }
        out.extend(legacy.proofs(shape.adopt));
        if round == 0 {
            out.extend(by_hand.life());
        }
        for n in 0..rng.below(7) {
            let when = when(&mut rng);
            out.extend(edit(&mut rng, 10 * round + n).into_iter().map(|step| User { when, step }));
        }
        out.extend(wide.edits(round));
        out.extend(moves.edits());
        if rng.chance(120) {
            out.push(User { when: When::Settled, step: at_server(emptied(seed)) });
            out.push(User { when: When::Settled, step: annotate(ALICE, "reconcile-requested-at", json!("after")) });
            if rng.chance(600) {
                out.push(User {
                    when: When::Settled,
                    step: annotate(ACME, "accept-mass-loss", json!(format!("yes{round}"))),
                });
                out.push(User {
                    when: When::Now,
                    step: annotate(("b", "mailinstances", "beta"), "accept-mass-loss", json!(format!("yes{round}"))),
                });
            }
        }
        out.extend(hostile.then(round == 0, round + 1 == rounds));
        let together = rng.chance(500);
        let first = when(&mut rng);
        for (i, step) in deletions(&mut rng, &shape).into_iter().enumerate() {
            let when = if i == 0 {
                first
            } else if together {
                When::Now
            } else {
                when(&mut rng)
            };
            out.push(User { when, step });
        }
    }
    out.extend(wide.after());
    out.extend(hostile.after());
    out.extend(by_hand.after());
    out
}
