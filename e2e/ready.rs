//! I4: whoever sees a new `Ready=True` finds at the backend what the spec says, in that moment.

use crate::harness::kubectl::{TENANT_KINDS, is_ready};
use crate::harness::sql::Sql;
use crate::harness::world::World;
use crate::harness::{dns, eventually, secs};
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What of an object's spec is not at the backend; empty: all is there.
async fn lacks(w: &World, sql: &Sql, kind: &str, object: &Value) -> Vec<String> {
    let mut lacks = vec![];
    let mut must = |what: &str, holds: bool| {
        if !holds {
            lacks.push(what.to_string())
        }
    };
    let zone = w.zone();
    let local = object["spec"]["localPart"].as_str().unwrap_or_default();
    match kind {
        "MailInstance" => {
            let id = object["status"]["instanceId"].as_str().unwrap_or("?");
            must("tenant", sql.row("tenant", &format!("name = '{id}' AND active")).await.is_some());
        }
        "MailDomain" => {
            must("domain", sql.row("domain", &format!("domain = '{zone}' AND active")).await.is_some());
            let policy = object["spec"]["dns"]["dmarc"]["policy"].as_str().unwrap_or("?").to_lowercase();
            let dmarc = dns::contents(w.stack, &zone, &format!("_dmarc.{zone}"), "TXT").await;
            must(&format!("p={policy}, not {dmarc:?}"), dmarc.iter().any(|t| t.contains(&format!("p={policy}"))));
            must("MX", dns::contents(w.stack, &zone, &zone, "MX").await == ["10 mx1.mail.example.net."]);
        }
        "Mailbox" => match sql.row("mailbox", &format!("username = '{local}@{zone}'")).await {
            None => must("mailbox", false),
            Some(row) => {
                must("name", row["name"] == object["spec"]["displayName"]);
                must("active", row["active"] == true && row["login_enabled"] == (object["spec"]["suspend"] == "None"));
                must("quota", row["quota"] == 10 << 20);
                let own = format!(
                    "address = '{local}@{zone}' AND active AND owner = '{}'",
                    row["owner"].as_str().unwrap_or("?")
                );
                must("the row that mail comes by", sql.row("alias", &own).await.is_some());
            }
        },
        _ => match sql.row("alias", &format!("address = '{local}@{zone}' AND active")).await {
            None => must("alias", false),
            Some(row) => {
                let targets = object["spec"]["targets"].as_array().cloned().unwrap_or_default();
                let mut want: Vec<_> = targets
                    .iter()
                    .filter_map(|t| t["mailboxRef"]["name"].as_str())
                    .map(|n| format!("{n}@{zone}"))
                    .collect();
                let mut is: Vec<_> =
                    row["goto"].as_str().unwrap_or_default().split(',').map(|t| t.trim().to_string()).collect();
                want.sort();
                is.sort();
                must(&format!("targets {want:?}, not {is:?}"), want == is);
            }
        },
    }
    lacks
}

#[tokio::test]
async fn ready_is_never_said_while_the_backend_lacks_it() {
    let w = Arc::new(World::new("ready").await);
    let (lies, seen) = (Arc::new(Mutex::new(vec![])), Arc::new(Mutex::new(BTreeMap::<String, usize>::new())));
    for kind in TENANT_KINDS {
        let (w, lies, seen) = (w.clone(), lies.clone(), seen.clone());
        let (api, sql) = (w.k.api(kind), Sql::connect(w.stack).await);
        tokio::spawn(async move {
            let mut stream = watcher(api, watcher::Config::default()).default_backoff().touched_objects().boxed();
            while let Some(seen_now) = stream.next().await {
                let Ok(object) = seen_now else { continue };
                let object = serde_json::to_value(object).unwrap_or_default();
                if is_ready(&object) && object["metadata"]["deletionTimestamp"].is_null() {
                    let lacks = lacks(&w, &sql, kind, &object).await;
                    *seen.lock().expect("no poison").entry(kind.into()).or_default() += 1;
                    if !lacks.is_empty() {
                        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_string();
                        let lie = (std::time::Instant::now(), format!("{kind}/{name}: {lacks:?}"));
                        lies.lock().expect("no poison").push(lie);
                    }
                }
            }
        });
    }
    let honest = |when: &str| {
        let lies = lies.lock().expect("no poison").clone();
        assert!(lies.is_empty(), "{when}: {lies:#?}");
    };
    let names: Vec<String> = (0..10).map(|i| format!("m{i}")).collect();
    w.tenant(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for i in 0..5 {
        w.k.apply(w.alias(&format!("a{i}"), "main", &format!("a{i}"), &["m0", &names[i + 1]])).await;
    }
    for i in 0..5 {
        w.k.ready("MailAlias", &format!("a{i}"), secs(60)).await;
    }
    honest("creation");

    for round in 0..3 {
        for (i, name) in names.iter().enumerate() {
            let suspend = if (i + round) % 2 == 0 { "Login" } else { "None" };
            w.k.patch("Mailbox", name, json!({"spec": {"displayName": format!("{name} {round}"), "suspend": suspend}}))
                .await;
        }
        w.k.patch("MailAlias", "a0", json!({"spec": {"targets": [{"mailboxRef": {"name": names[round + 2]}}]}})).await;
        let policy = ["Reject", "None", "Quarantine"][round];
        w.k.patch("MailDomain", "main", json!({"spec": {"dns": {"dmarc": {"policy": policy}}}})).await;
        for name in &names {
            w.k.ready("Mailbox", name, secs(60)).await;
        }
        w.k.ready("MailAlias", "a0", secs(60)).await;
        w.k.ready("MailDomain", "main", secs(60)).await;
    }
    honest("change");

    // Somebody changes the server behind our back: nothing that is written from now on may call it ready before it is.
    let zone = w.zone();
    let drifted = std::time::Instant::now();
    w.sql
        .run(&format!(
            "UPDATE mailbox SET name = 'drifted' WHERE username = 'm1@{zone}';
             UPDATE mailbox SET active = false WHERE username = 'm2@{zone}';
             DELETE FROM alias WHERE address IN ('a1@{zone}', 'm3@{zone}', 'm4@{zone}'); DELETE FROM mailbox WHERE username = 'm3@{zone}';
             UPDATE alias SET active = false WHERE address = 'm5@{zone}';
             UPDATE alias SET goto = 'thief@away.example' WHERE address = 'a2@{zone}'"
        ))
        .await;
    dns::put(w.stack, &zone, &zone, "MX", 300, &["10 drifted.example."]).await;
    let sql = Sql::connect(w.stack).await;
    for (kind, name) in [
        ("Mailbox", "m1"),
        ("Mailbox", "m2"),
        ("Mailbox", "m3"),
        ("Mailbox", "m4"),
        ("Mailbox", "m5"),
        ("MailAlias", "a1"),
        ("MailAlias", "a2"),
        ("MailDomain", "main"),
    ] {
        eventually(&format!("drift of {kind}/{name} is put back"), secs(120), || async {
            let object = w.k.get(kind, name).await.ok_or("gone")?;
            let lacks = lacks(&w, &sql, kind, &object).await;
            if lacks.is_empty() && is_ready(&object) { Ok(()) } else { Err(format!("{lacks:?}")) }
        })
        .await;
    }
    // A pass that had read before the change may write a moment after it.
    lies.lock().expect("no poison").retain(|(at, _)| *at > drifted + secs(2));
    honest("drift");
    let seen = seen.lock().expect("no poison").clone();
    assert!(TENANT_KINDS.iter().all(|k| seen.get(*k).is_some_and(|n| *n > 0)), "the watch saw nothing: {seen:?}");
}
