//! A server that cannot do any more what it could: what it was told before stays as it is.

use crate::harness::sql::Sql;
use crate::harness::world::{World, groupware_backend};
use crate::harness::{eventually, secs};
use serde_json::{Value, json};

/// Waits until the backend says whether it can do this.
async fn can(w: &World, capability: &str, it_can: bool) {
    w.k.annotate("GroupwareBackend", &w.ns, "mailtenant.dev/reconcile-requested-at", &it_can.to_string()).await;
    eventually(&format!("{capability}: {it_can}"), secs(60), || async {
        let backend = w.k.get("GroupwareBackend", &w.ns).await.expect("it is there");
        let all = backend["status"]["capabilities"].as_array().cloned().unwrap_or_default();
        if all.contains(&json!(capability)) == it_can { Ok(()) } else { Err(all) }
    })
    .await
}

#[tokio::test]
async fn what_was_closed_is_not_opened_by_a_server_that_lost_the_switch() {
    let w = World::new("unable").await;
    // Tables of its own: all other tests live in those of the stack.
    let database = w.ns.replace('-', "_");
    w.sql.run(&format!("CREATE DATABASE {database} OWNER mailtenant")).await;
    let sql = Sql::connect_to(w.stack, &database).await;
    let mut backend = groupware_backend(w.stack, &w.ns, json!({"from": "Names", "names": [w.ns]}));
    backend["spec"]["sogo"]["database"]["name"] = json!(database);
    w.k.apply(backend).await;
    w.k.ready("GroupwareBackend", &w.ns, secs(60)).await;
    can(&w, "ProtocolAccess", true).await;
    let mut instance = w.instance("acme");
    instance["spec"]["backendRef"]["name"] = json!(w.ns);
    w.k.apply(instance).await;
    w.k.apply(w.domain("main", "acme", &w.zone())).await;
    let mut alice = w.mailbox("alice", "main");
    alice["spec"]["access"] = json!({"imap": false});
    w.k.apply(alice).await;
    w.k.ready("Mailbox", "alice", secs(120)).await;
    let row = async || {
        let row = sql.row("mailbox", &format!("username = '{}'", w.address("alice"))).await.expect("a row");
        ["name", "access_imap", "access_pop3"].map(|column| row[column].clone())
    };
    let is = |name: &str, imap: bool, pop3: bool| -> [Value; 3] { [json!(name), json!(imap), json!(pop3)] };
    assert_eq!(row().await, is("alice", false, true));

    // The views that the mail servers read are somebody else's now: nobody can tell whether they know of protocols.
    let view = "COMMENT ON VIEW mailbox_login IS";
    let ours = sql.one("SELECT obj_description('mailbox_login'::regclass)").await;
    sql.run(&format!("{view} 'made by hand'")).await;
    can(&w, "ProtocolAccess", false).await;
    w.k.patch("Mailbox", "alice", json!({"spec": {"displayName": "Alice the Second"}})).await;
    let refused = ("Ready", "False", "Unsupported");
    w.k.says("Mailbox", "alice", refused, &["access is not supported"], secs(60)).await;
    eventually("all else is carried out", secs(30), || async {
        let row = row().await;
        if row[0] == "Alice the Second" { Ok(()) } else { Err(row) }
    })
    .await;
    assert_eq!(row().await, is("Alice the Second", false, true), "what was closed stays closed");
    // Nor is anything changed that cannot be judged.
    w.k.patch("Mailbox", "alice", json!({"spec": {"access": {"pop3": false}, "displayName": "Alice"}})).await;
    w.k.not_ready("Mailbox", "alice", "Unsupported", secs(60)).await;
    eventually("all else is carried out", secs(30), || async {
        let row = row().await;
        if row[0] == "Alice" { Ok(()) } else { Err(row) }
    })
    .await;
    assert_eq!(row().await, is("Alice", false, true));

    sql.run(&format!("{view} '{ours}'")).await;
    can(&w, "ProtocolAccess", true).await;
    w.k.ready("Mailbox", "alice", secs(60)).await;
    assert_eq!(row().await, is("Alice", false, false));
}
