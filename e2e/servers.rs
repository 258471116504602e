//! The servers without the operator: what the other tests rest on. If one of these fails, look here first.

use crate::harness::proxy::{Fault, Protocol, Proxy, When};
use crate::harness::{dav, dns, eventually, kubectl::Kubectl, mail, secs, sink, sql::Sql, stack::Stack, world};
use serde_json::json;
use std::process::Command;

fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().expect("a program");
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_string()
}

/// A tenant made by hand, as an administrator would with psql.
async fn tenant(stack: &Stack, sql: &Sql, domain: &str) {
    let hash = run("doveadm", &["pw", "-s", "SHA512-CRYPT", "-p", "secret-1"]);
    sql.run(&format!(
        "INSERT INTO tenant(name) VALUES ('{domain}'); INSERT INTO domain(domain, tenant) VALUES ('{domain}', '{domain}');"
    ))
    .await;
    for local in ["alice", "bob"] {
        sql.run(&format!(
            "INSERT INTO mailbox(username, password, name, quota, local_part, domain) VALUES ('{local}@{domain}', '{hash}', '{local}', 200000, '{local}', '{domain}');
             INSERT INTO alias(address, goto, domain) VALUES ('{local}@{domain}', '{local}@{domain}', '{domain}')"
        ))
        .await;
    }
    sql.run(&format!("INSERT INTO alias(address, goto, domain) VALUES ('info@{domain}', 'alice@{domain},far@away.example', '{domain}')")).await;
    dns::create_zone(stack, domain).await;
}

#[tokio::test]
async fn mail_flows_is_signed_and_refused_where_it_must_be() {
    let stack = tokio::task::spawn_blocking(Stack::shared).await.expect("a stack");
    let sql = Sql::connect(stack).await;
    sql.start_audit().await;
    let outside = sink::outside(stack);
    let domain = format!("servers-{:05x}.test", fastrand::u32(..0x100000));
    let before = sql.last_change().await;
    tenant(stack, &sql, &domain).await;
    let address = |local: &str| format!("{local}@{domain}");
    let (alice, bob) = (address("alice"), address("bob"));
    let login = (alice.as_str(), "secret-1");

    mail::send(stack, "x@elsewhere.example", &alice, "to a mailbox", None).await.expect("mail is taken");
    mail::arrives(stack, login, "to a mailbox").await;
    mail::send(stack, "x@elsewhere.example", &address("info"), "to an alias", None).await.expect("mail is taken");
    mail::arrives(stack, login, "to an alias").await;
    eventually("the copy for an outside target left", secs(30), || async {
        let all = outside.lock().expect("no poison").clone();
        all.iter()
            .find(|m| m.to == ["far@away.example"] && mail::has_subject(&m.data, "to an alias"))
            .cloned()
            .ok_or(all.len())
    })
    .await;
    let refused = mail::send(stack, "x@elsewhere.example", &address("nobody"), "no", None).await.expect_err("unknown");
    assert_eq!(refused.0, 550, "{refused:?}");
    assert_eq!(mail::offer(stack, &bob, 1000).await.0, 250);
    assert_eq!(mail::offer(stack, &bob, 500_000).await.0, 552, "over quota");

    assert!(mail::imap_login(stack, login).await && !mail::imap_login(stack, (&alice, "wrong")).await);
    assert!(dav::sign_in(stack, login).await && !dav::sign_in(stack, (&bob, "wrong")).await);
    dav::put_event(stack, login, "e1").await;
    assert!(dav::has_event(stack, login, "e1").await && !dav::has_event(stack, login, "e2").await);
    mail::send(stack, &address("info"), &bob, "as an alias", Some(login)).await.expect("send-as");
    let refused = mail::send(stack, &bob, &alice, "as somebody", Some(login)).await.expect_err("not alice's address");
    assert_eq!(refused.0, 553, "{refused:?}");
    let refused = mail::send(stack, &alice, &bob, "wrong password", Some((&alice, "wrong"))).await;
    assert_eq!(refused.expect_err("refused").0, 535);

    // A key for the signer and its record: the signature verifies, and does not once the record is another one.
    let pem = run("openssl", &["genrsa", "2048"]);
    let public = {
        let file = stack.root.join("log/servers-test.pem");
        std::fs::write(&file, &pem).expect("a file");
        run("sh", &["-c", &format!("openssl rsa -in {} -pubout -outform DER 2>/dev/null | base64 -w0", file.display())])
    };
    sql.run(&format!(
        "INSERT INTO dkim(domain_name, selector, private_key) VALUES ('{domain}', 's1', '{pem}');
         INSERT INTO dkim_signing(author, dkim_id) SELECT '{domain}', id FROM dkim WHERE domain_name = '{domain}'"
    ))
    .await;
    let record = format!("\"v=DKIM1; k=rsa; p={}\" \"{}\"", &public[..200], &public[200..]);
    dns::put(stack, &domain, &format!("s1._domainkey.{domain}"), "TXT", 1, &[&record]).await;
    mail::send(stack, &alice, &bob, "signed", Some(login)).await.expect("sent");
    let message = mail::arrives(stack, (&bob, "secret-1"), "signed").await;
    let signatures = mail::dkim_signatures(stack, &message);
    let want =
        mail::Signature { domain: domain.clone(), selector: "s1".into(), algorithm: "rsa-sha256".into(), good: true };
    assert_eq!(signatures, [want]);
    dns::put(stack, &domain, &format!("s1._domainkey.{domain}"), "TXT", 1, &["\"v=DKIM1; k=rsa; p=\""]).await;
    assert!(mail::dkim_signatures(stack, &message).iter().all(|s| !s.good));

    // The database's own log has every change in its order.
    let changes = sql.changes(before, &format!("%{domain}%")).await;
    let order: Vec<_> = changes.iter().map(|c| (c.op.as_str(), c.table.as_str())).take(3).collect();
    assert_eq!(order, [("INSERT", "tenant"), ("INSERT", "domain"), ("INSERT", "mailbox")]);
}

#[tokio::test]
async fn kubernetes_serves_the_kinds() {
    let stack = tokio::task::spawn_blocking(Stack::shared).await.expect("a stack");
    let k = Kubectl::admin(stack, "default").await;
    world::apply_crds(&k).await;
    let ns = format!("kinds-{:05x}", fastrand::u32(..0x100000));
    k.apply(json!({"kind": "Namespace", "metadata": {"name": ns}})).await;
    let k = k.within(&ns);
    let spec = json!({"domainRef": {"name": "d"}, "localPart": "a"});
    let made = k.apply(json!({"kind": "Mailbox", "metadata": {"name": "a"}, "spec": spec})).await;
    // Not looked at yet, and says so (kstatus).
    assert_eq!(made.data["status"]["observedGeneration"], -1, "{made:?}");
    k.delete("Mailbox", "a").await;
    k.gone("Mailbox", "a", secs(60)).await;
}

#[tokio::test]
async fn the_proxy_breaks_http_as_it_is_told() {
    let stack = tokio::task::spawn_blocking(Stack::shared).await.expect("a stack");
    let api = stack.dns_api_port();
    let proxy = Proxy::start(stack, Protocol::Http, api);
    let client = |limit| reqwest::Client::builder().timeout(limit).build().expect("a client");
    let get_within = |limit| {
        client(limit)
            .get(format!("http://127.0.0.1:{}/api/v1/servers/localhost", proxy.port))
            .header("X-API-Key", stack.get("PDNS_KEY"))
            .send()
    };
    let get = || get_within(secs(30));
    assert_eq!(get().await.expect("it passes").status(), 200);
    proxy.fail(Fault::Http(429, &[("Retry-After", "7")], "slow down"), When::Nth(1));
    assert_eq!(get().await.expect("the first passes").status(), 200);
    let answer = get().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().ok()), (429, Some("7")));
    assert_eq!(get().await.expect("and once only").status(), 200);
    proxy.fail(Fault::Refuse, When::Always);
    assert!(get().await.expect_err("refused").is_connect());
    proxy.fail(Fault::Hang, When::Always);
    assert!(get_within(secs(1)).await.expect_err("no answer").is_timeout());
    for fault in [Fault::ResetBefore, Fault::ResetInAnswer] {
        proxy.fail(fault.clone(), When::Always);
        let broken = match get().await {
            Ok(answer) => answer.text().await.is_err(),
            Err(_) => true,
        };
        assert!(broken && proxy.fired() >= 1, "{fault:?}");
    }
    proxy.heal();
    assert_eq!(get().await.expect("it passes again").status(), 200);
}

#[tokio::test]
async fn the_proxy_breaks_postgresql_as_it_is_told() {
    let stack = tokio::task::spawn_blocking(Stack::shared).await.expect("a stack");
    let direct = Sql::connect(stack).await;
    let table = format!("e2e_proxy_{:05x}", fastrand::u32(..0x100000));
    direct.run(&format!("CREATE TABLE {table} (n int)")).await;
    let proxy = Proxy::start(stack, Protocol::Postgres, stack.port("PG"));
    let connect = || async {
        let text = format!("host=127.0.0.1 port={} user=postgres dbname=groupware", proxy.port);
        let (client, connection) = tokio_postgres::connect(&text, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok::<_, tokio_postgres::Error>(client)
    };
    let insert = format!("INSERT INTO {table} VALUES ($1)");

    // An error in a transaction: the client sees it, and nothing of the transaction stays.
    let mut client = connect().await.expect("it passes");
    let begun = client.transaction().await.expect("BEGIN");
    begun.execute(&insert, &[&1]).await.expect("it passes");
    drop(begun);
    proxy.fail(Fault::Sql("40001"), When::Nth(2));
    let mut client = connect().await.expect("it passes");
    let begun = client.transaction().await.expect("BEGIN");
    begun.execute(&insert, &[&2]).await.expect("the first passes");
    let error = begun.execute(&insert, &[&3]).await.expect_err("the second fails");
    assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::T_R_SERIALIZATION_FAILURE));
    drop(begun);
    assert_eq!(direct.one(&format!("SELECT count(*) FROM {table}")).await, "0");
    assert_eq!(client.execute(&insert, &[&4]).await.expect("the connection lives on"), 1);

    // COMMIT is done, the client does not hear of it.
    proxy.fail(Fault::LostCommit, When::Always);
    let mut client = connect().await.expect("it passes");
    let begun = client.transaction().await.expect("BEGIN");
    begun.execute(&insert, &[&5]).await.expect("it passes");
    assert!(begun.commit().await.is_err());
    // The client may hear of the end before the server has done it.
    eventually("the row is committed", secs(10), || async {
        let n = direct.one(&format!("SELECT count(*) FROM {table} WHERE n = 5")).await;
        if n == "1" { Ok(()) } else { Err(n) }
    })
    .await;

    for fault in [Fault::Refuse, Fault::ResetBefore, Fault::ResetInAnswer] {
        proxy.fail(fault.clone(), When::Always);
        let broken = match connect().await {
            Ok(client) => client.execute(&insert, &[&6]).await.is_err(),
            Err(_) => true,
        };
        assert!(broken && proxy.fired() >= 1, "{fault:?}");
    }
    assert_eq!(
        direct.one(&format!("SELECT count(*) FROM {table} WHERE n = 6")).await,
        "1",
        "only ResetInAnswer reaches the server"
    );
    proxy.heal();
    connect().await.expect("it passes again").execute(&insert, &[&7]).await.expect("it passes again");
}
