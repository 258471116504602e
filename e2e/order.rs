//! I1 on real servers: random tenants, deleted in random ways, some with the operator killed at a random moment.
//! What counts is the database's own log of changes, and that nothing is left and nothing of others was touched.
//! `SCENARIOS=500` runs more, `SEED=...` runs the same again; both are printed.

use crate::harness::kubectl::{TENANT_KINDS, is_not_found};
use crate::harness::sql::ChangeRow;
use crate::harness::world::{Platform, World};
use crate::harness::{dns, eventually, secs, setting};
use fastrand::Rng;
use futures::StreamExt;
use kube::api::Patch;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How a tenant is taken down.
#[derive(Debug, Clone, Copy)]
enum Way {
    ChildrenFirst,
    ParentsFirst,
    AllAtOnce,
    Namespace,
    AllOfEachKind,
    ParentWhileChildrenAreAdded,
}
const WAYS: [Way; 6] = [
    Way::ChildrenFirst,
    Way::ParentsFirst,
    Way::AllAtOnce,
    Way::Namespace,
    Way::AllOfEachKind,
    Way::ParentWhileChildrenAreAdded,
];

/// A tenant as it is declared.
struct Tenant {
    zones: Vec<String>,
    objects: Vec<Value>,
}

fn name_of(object: &Value) -> (&str, &str) {
    (object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str().unwrap_or_default())
}

/// Several domains, mailboxes (some forward), aliases with several targets across domains, catch-alls.
fn declare(w: &World, rng: &mut Rng) -> Tenant {
    let zones: Vec<String> = (0..rng.usize(1..=3)).map(|i| format!("d{i}.{}", w.zone())).collect();
    let mut objects = vec![w.instance("acme")];
    let mut mailboxes = vec![];
    for (d, zone) in zones.iter().enumerate() {
        objects.push(w.domain(&format!("d{d}"), "acme", zone));
        for m in 0..rng.usize(1..=4) {
            let mut mailbox = w.mailbox(&format!("m{d}{m}"), &format!("d{d}"));
            if rng.u8(..) < 80 {
                let mut to = vec!["far@away.example".to_string()];
                to.extend(mailboxes.last().map(|(_, address): &(String, String)| address.clone()));
                mailbox["spec"]["forwarding"] = json!({"to": to, "keepCopy": rng.bool()});
            }
            objects.push(mailbox);
            mailboxes.push((format!("m{d}{m}"), format!("m{d}{m}@{zone}")));
        }
    }
    for (d, _) in zones.iter().enumerate() {
        for a in 0..rng.usize(0..=3) {
            let n = rng.usize(1..=3.min(mailboxes.len()));
            let targets = rng.choose_multiple(mailboxes.iter(), n);
            let targets: Vec<_> = targets.iter().map(|(name, _)| name.as_str()).collect();
            let local = if a == 0 && rng.bool() { "*".to_string() } else { format!("a{a}") };
            objects.push(w.alias(&format!("a{d}{a}"), &format!("d{d}"), &local, &targets));
        }
    }
    Tenant { zones, objects }
}

/// On the same platform another test breaks every request to Kubernetes in turn (`faults::kube`): a pass that failed often is
/// tried again after up to 6 minutes.
const PATIENCE: std::time::Duration = secs(480);

async fn take_down(w: &World, tenant: &Tenant, way: Way, rng: &mut Rng) {
    let mut all: Vec<_> = tenant.objects.iter().map(name_of).collect();
    match way {
        Way::ChildrenFirst => {
            for kind in TENANT_KINDS.iter().rev() {
                for (_, name) in all.iter().filter(|(k, _)| k == kind) {
                    w.k.delete(kind, name).await;
                }
                for (_, name) in all.iter().filter(|(k, _)| k == kind) {
                    w.k.gone(kind, name, PATIENCE).await;
                }
            }
        }
        Way::ParentsFirst => {
            for (kind, name) in all {
                w.k.delete(kind, name).await;
                tokio::time::sleep(std::time::Duration::from_millis(rng.u64(0..200))).await;
            }
        }
        Way::AllAtOnce => {
            rng.shuffle(&mut all);
            futures::future::join_all(all.iter().map(|(kind, name)| w.k.delete(kind, name))).await;
        }
        Way::Namespace => w.k.delete("Namespace", &w.ns).await,
        Way::AllOfEachKind => {
            let mut kinds = TENANT_KINDS;
            rng.shuffle(&mut kinds);
            for kind in kinds {
                w.k.delete_all(kind).await;
            }
        }
        Way::ParentWhileChildrenAreAdded => {
            let (mailbox, alias) = (w.mailbox("late", "d0"), w.alias("late", "d0", "late", &["late"]));
            let (kind, name) = if rng.bool() { ("MailInstance", "acme") } else { ("MailDomain", "d0") };
            tokio::join!(w.k.delete(kind, name), w.k.apply(mailbox), w.k.apply(alias));
            for (kind, name) in all.into_iter().chain([("Mailbox", "late"), ("MailAlias", "late")]) {
                w.k.delete(kind, name).await;
            }
        }
    }
}

/// Replays the database's log: no row may go, and no mailbox may be switched off, while something that belongs below it
/// is still there.
fn check_order(changes: &[ChangeRow]) -> Vec<String> {
    let mut rows: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
    let mut wrong = vec![];
    let text = |v: &Value, key: &str| v[key].as_str().unwrap_or_default().to_string();
    for change in changes {
        let key = match change.table.as_str() {
            "tenant" => "name",
            "domain" => "domain",
            "mailbox" => "username",
            "alias" => "address",
            _ => continue,
        };
        let table = change.table.as_str();
        let row = if change.op == "DELETE" { &change.old } else { &change.new };
        let id = text(row, key);
        let of = |rows: &BTreeMap<&str, BTreeMap<String, Value>>, table: &str, test: &dyn Fn(&Value) -> bool| {
            let all = rows.get(table).into_iter().flat_map(|t| t.iter());
            all.filter(|(_, r)| test(r)).map(|(k, _)| format!("{table} {k}")).collect::<Vec<_>>()
        };
        let switched_off = table == "mailbox"
            && change.op == "UPDATE"
            && change.old["active"] == true
            && change.new["active"] == false;
        let below = match (table, change.op.as_str()) {
            ("tenant", "DELETE") => of(&rows, "domain", &|r| text(r, "tenant") == id),
            ("domain", "DELETE") => {
                let mut b = of(&rows, "mailbox", &|r| text(r, "domain") == id);
                b.extend(of(&rows, "alias", &|r| text(r, "domain") == id));
                b
            }
            ("mailbox", "DELETE") | ("mailbox", "UPDATE") if change.op == "DELETE" || switched_off => {
                of(&rows, "alias", &|r| {
                    let address = text(r, "address");
                    // The mailbox's own row, and those that only carry another mailbox's forwards.
                    let own = rows.get("mailbox").is_some_and(|m| m.contains_key(&address));
                    !own && address != id && text(r, "goto").split(',').any(|t| t.trim() == id)
                })
            }
            _ => vec![],
        };
        if !below.is_empty() {
            wrong.push(format!("change {}: {} {table} {id} before {below:?}", change.seq, change.op));
        }
        if change.op == "DELETE" {
            rows.entry(table).or_default().remove(&id);
        } else {
            rows.entry(table).or_default().insert(id, row.clone());
        }
    }
    wrong
}

async fn scenario(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let way = WAYS[rng.usize(..WAYS.len())];
    let kills = rng.u8(..) < 85;
    let patient = rng.u8(..) < 170;
    let w = World::on(Platform::rough, "order").await;
    let tenant = declare(&w, &mut rng);
    w.zones(&tenant.zones).await;
    let mut foreign = BTreeMap::new();
    for zone in &tenant.zones {
        foreign.insert(zone.clone(), dns::snapshot(w.stack, zone).await);
    }
    let before = w.sql.last_change().await;
    for object in &tenant.objects {
        w.k.apply(object.clone()).await;
    }
    if patient {
        for (kind, name) in tenant.objects.iter().map(name_of) {
            w.k.ready(kind, name, PATIENCE).await;
        }
    } else {
        tokio::time::sleep(std::time::Duration::from_millis(rng.u64(0..4000))).await;
    }

    let moment = std::time::Duration::from_millis(rng.u64(0..3000));
    let kill = async {
        if kills {
            tokio::time::sleep(moment).await;
            w.platform.operator.crash();
        }
    };
    tokio::join!(take_down(&w, &tenant, way, &mut rng), kill);
    if matches!(way, Way::Namespace) {
        w.k.gone("Namespace", &w.ns, PATIENCE).await;
    } else {
        w.empty(PATIENCE).await;
    }

    let pattern = format!("%{}%", w.ns);
    let changes = w.sql.changes(before, &pattern).await;
    let wrong = check_order(&changes);
    assert!(wrong.is_empty(), "{wrong:#?}");
    if patient {
        let made: BTreeSet<_> = changes
            .iter()
            .filter(|c| c.op == "INSERT" && c.table == "mailbox")
            .map(|c| c.new["username"].to_string())
            .collect();
        let declared = tenant.objects.iter().filter(|o| o["kind"] == "Mailbox").count();
        assert!(made.len() >= declared, "the database's log does not show what was made: {made:?}");
    }
    assert_eq!(w.sql.snapshot(&pattern).await, Vec::<String>::new(), "left at the backend");
    for change in changes.iter().filter(|c| c.table == "mailbox" && c.op == "INSERT") {
        let home = w.stack.root.join("gw/vmail").join(change.new["store_uid"].as_str().unwrap_or("?"));
        assert!(!home.exists(), "mail is left in {}", home.display());
    }
    for (zone, was) in &foreign {
        assert_eq!(&dns::snapshot(w.stack, zone).await, was, "the zone {zone} is not as it was");
        // The last request of a process that was killed may be carried out after the next one has looked.
        eventually(&format!("the claim of {zone} is given back"), secs(60), || async {
            w.k.get("MailDomainClaim", zone).await.map_or(Ok(()), Err)
        })
        .await;
    }
    if !matches!(way, Way::Namespace) {
        eventually("no Secret is left", secs(120), || async {
            let left: Vec<_> = w.k.list("Secret").await.iter().map(|s| s["metadata"]["name"].clone()).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        w.k.delete("Namespace", &w.ns).await;
    }
    w.k.delete("DNSBackend", &w.ns).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_order_of_deletion_children_go_first_and_nothing_is_left() {
    let (count, seed) = (setting("SCENARIOS", 60u64), setting("SEED", fastrand::u64(..1_000_000)));
    println!("SEED={seed} SCENARIOS={count}");
    let runs = futures::stream::iter(0..count).map(|i| async move { (i, tokio::spawn(scenario(seed + i)).await) });
    let failed: Vec<_> = runs
        .buffer_unordered(8)
        .filter_map(|(i, ended)| async move { ended.err().map(|e| format!("SEED={} SCENARIOS=1: {e}", seed + i)) })
        .collect()
        .await;
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A pass that conflicts with each write of somebody else would never end a deletion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_ends_while_somebody_asks_for_a_pass_all_the_time() {
    let w = World::new("asked").await;
    w.tenant(&["alice"]).await;
    w.k.apply(w.alias("info", "main", "info", &["alice"])).await;
    w.k.ready("MailAlias", "info", secs(60)).await;
    let tenant = [("MailAlias", "info"), ("Mailbox", "alice"), ("MailDomain", "main"), ("MailInstance", "acme")];
    let ask = |kind, name| {
        let api = w.k.api(kind);
        async move {
            for n in 0u64.. {
                let wish =
                    json!({"metadata": {"annotations": {"mailtenant.dev/reconcile-requested-at": n.to_string()}}});
                if api.patch(name, &Default::default(), &Patch::Merge(&wish)).await.is_err_and(|e| is_not_found(&e)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    for (kind, name) in tenant {
        w.k.api(kind).delete(name, &Default::default()).await.expect("deleted");
    }
    let asking = futures::future::join_all(tenant.map(|(kind, name)| ask(kind, name)));
    tokio::time::timeout(secs(90), asking).await.expect("all is gone");
    w.empty(secs(30)).await;
}

#[test]
fn the_check_sees_a_wrong_order() {
    let row = |seq, op: &str, table: &str, row: Value| ChangeRow {
        seq,
        at: 0.0,
        table: table.into(),
        op: op.into(),
        old: if op == "INSERT" { Value::Null } else { row.clone() },
        new: if op == "DELETE" { Value::Null } else { row },
    };
    let tenant = json!({"name": "t"});
    let domain = json!({"domain": "d", "tenant": "t"});
    let mailbox = json!({"username": "m@d", "domain": "d", "active": true});
    let own = json!({"address": "m@d", "domain": "d", "goto": "m@d,far@away"});
    let alias = json!({"address": "a@d", "domain": "d", "goto": "x@d, m@d"});
    let up = |n: i64| {
        vec![
            row(n, "INSERT", "tenant", tenant.clone()),
            row(n + 1, "INSERT", "domain", domain.clone()),
            row(n + 2, "INSERT", "mailbox", mailbox.clone()),
            row(n + 3, "INSERT", "alias", own.clone()),
            row(n + 4, "INSERT", "alias", alias.clone()),
        ]
    };
    let down = |order: &[(&str, &Value)]| {
        let mut all = up(1);
        all.extend(order.iter().enumerate().map(|(i, (t, r))| row(10 + i as i64, "DELETE", t, (*r).clone())));
        check_order(&all)
    };
    let right = [("alias", &alias), ("alias", &own), ("mailbox", &mailbox), ("domain", &domain), ("tenant", &tenant)];
    assert_eq!(down(&right), Vec::<String>::new());
    for i in 0..right.len() - 1 {
        let mut swapped = right;
        swapped.swap(i, i + 1);
        let harmless = i == 0 || i == 1; // the mailbox's own row may go at any time
        assert_eq!(down(&swapped).is_empty(), harmless, "{swapped:?}");
    }
    assert_eq!(down(&[("mailbox", &mailbox)]).len(), 1, "an alias still leads to it");
    let mut off = up(1);
    let mut update = row(10, "UPDATE", "mailbox", mailbox.clone());
    update.new["active"] = json!(false);
    off.push(update);
    assert_eq!(check_order(&off).len(), 1, "switched off while an alias still leads to it");
}
