//! I11 between tenants of one server: whose Secrets are written and read, where mail goes, who sees whom.

use crate::harness::kubectl::Kubectl;
use crate::harness::world::{World, dns_backend};
use crate::harness::{book, dns, eventually, mail, secs};
use serde_json::{Value, json};

const OUTSIDER: &str = "x@elsewhere.example";

/// Another tenant on the same server, with one domain of its own (`main`, of the namespace's name) in `acme`.
struct Neighbour {
    k: Kubectl,
    zone: String,
}

async fn neighbour(w: &World, suffix: &str, mailboxes: &[&str]) -> Neighbour {
    let k = w.k.within(&format!("{}-{suffix}", w.ns));
    w.namespace(&k.namespace).await;
    let zone = format!("{}.test", k.namespace);
    dns::create_zone(w.stack, &zone).await;
    let mut backend = dns_backend(w.stack, &k.namespace, &[&k.namespace], std::slice::from_ref(&zone));
    backend["spec"]["resolvers"] = json!([w.stack.get("PDNS_DNS")]);
    w.k.apply(backend).await;
    k.apply(w.instance("acme")).await;
    let mut domain = w.domain("main", "acme", &zone);
    domain["spec"]["dns"]["backendRef"]["name"] = json!(k.namespace);
    k.apply(domain).await;
    for name in mailboxes {
        k.apply(w.mailbox(name, "main")).await;
    }
    for name in mailboxes {
        k.ready("Mailbox", name, secs(120)).await;
    }
    Neighbour { k, zone }
}

/// The generated password of a mailbox in another namespace.
async fn password(k: &Kubectl, mailbox: &str) -> String {
    k.secret(&format!("{mailbox}-mail"), "password").await.expect("one that is ready has a password")
}

#[tokio::test]
async fn access_data_is_written_into_no_secret_of_somebody_else() {
    let w = World::new("foreign").await;
    w.tenant(&["alice"]).await;
    let named = |name: &str, secret: &str| {
        let mut mailbox = w.mailbox(name, "main");
        mailbox["spec"]["credentialsSecret"] = json!(secret);
        mailbox
    };
    w.k.put_secret("theirs", &[("password", "not-yours-to-write"), ("username", "root")]).await;
    let untouched = w.k.get("Secret", "theirs").await;
    w.k.apply(named("bob", "theirs")).await;
    let refused = w.k.not_ready("Mailbox", "bob", "SecretNotOwned", secs(60)).await;
    let said = refused["status"]["conditions"].to_string();
    assert!(said.contains("theirs") && said.contains("spec.credentialsSecret"), "{said}");
    assert!(!said.contains("not-yours-to-write"), "{said}");
    // Nor one that is the operator's own work, for another mailbox.
    let hers = w.k.get("Secret", "alice-mail").await;
    w.k.apply(named("bob", "alice-mail")).await;
    w.k.not_ready("Mailbox", "bob", "SecretNotOwned", secs(60)).await;
    w.k.annotate("Mailbox", "bob", "mailtenant.dev/rotate-password", "now").await;
    w.k.apply(named("bob", "bobs")).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;
    let (bob, password) = (w.address("bob"), w.k.secret("bobs", "password").await.expect("a password"));
    assert!(mail::imap_login(w.stack, (&bob, &password)).await);
    assert!(!mail::imap_login(w.stack, (&bob, "not-yours-to-write")).await);
    assert_eq!(w.k.get("Secret", "theirs").await, untouched);
    assert_eq!(w.k.get("Secret", "alice-mail").await, hers);

    // Two that name the same one, at the same time: the one that made it has it, the other one says so and takes nothing.
    let pair = ["carol", "dora"];
    for name in pair {
        w.k.apply(named(name, "shared")).await;
    }
    let owner = eventually("the Secret belongs to one of the two", secs(60), || async {
        let secret = w.k.get("Secret", "shared").await.ok_or("no Secret")?;
        let owner = secret["metadata"]["ownerReferences"][0]["name"].as_str().map(String::from);
        owner.ok_or("no owner")
    })
    .await;
    let loser = if owner == pair[0] { pair[1] } else { pair[0] };
    w.k.ready("Mailbox", &owner, secs(60)).await;
    w.k.not_ready("Mailbox", loser, "SecretNotOwned", secs(60)).await;
    let shared = w.k.get("Secret", "shared").await;
    assert_eq!(w.k.secret("shared", "username").await, Some(w.address(&owner)));
    let password = w.k.secret("shared", "password").await.expect("a password");
    assert!(mail::imap_login(w.stack, (&w.address(&owner), &password)).await);
    assert!(!mail::imap_login(w.stack, (&w.address(loser), &password)).await, "one password for two");
    w.k.delete("Mailbox", loser).await;
    w.k.gone("Mailbox", loser, secs(60)).await;
    w.k.ready("Mailbox", &owner, secs(60)).await;
    assert_eq!(w.k.get("Secret", "shared").await, shared, "the loser took it along");
}

#[tokio::test]
async fn names_of_another_tenants_things_lead_nowhere() {
    let w = World::new("names").await;
    w.tenant(&["alice"]).await;
    w.k.put_secret("hash", &[("hash", "$2y$05$qTrXIvJ2ZvcMPjrwUnsPAOWvpZs3QIkCBWBHMi0gOmEnVFXwqZkGe")]).await;
    w.k.apply(w.alias("hers", "main", "hers", &["alice"])).await;
    w.k.ready("MailAlias", "hers", secs(60)).await;
    let there = w.sql.snapshot(&format!("%{}%", w.zone())).await;
    let n = neighbour(&w, "next", &["mallory"]).await;

    let mut hashed = w.mailbox("hashed", "main");
    hashed["spec"]["password"] = json!({"hashSecretRef": {"name": "hash", "key": "hash"}});
    n.k.apply(hashed).await;
    n.k.apply(w.alias("ref", "main", "ref", &["alice"])).await;
    for (name, domain) in [("below", "hers"), ("beside", "main2")] {
        // Names of the other tenant's alias and of no domain at all read the same.
        n.k.apply(w.alias(name, domain, name, &["mallory"])).await;
    }
    n.k.not_ready("Mailbox", "hashed", "SecretNotFound", secs(60)).await;
    n.k.not_ready("MailAlias", "ref", "MailboxNotFound", secs(60)).await;
    for name in ["below", "beside"] {
        n.k.not_ready("MailAlias", name, "DomainNotFound", secs(60)).await;
    }
    for address in ["hashed", "ref", "below", "beside"].map(|local| format!("{local}@{}", n.zone)) {
        let refused = mail::send(w.stack, OUTSIDER, &address, "to nobody", None).await.expect_err("it does not exist");
        assert_eq!(refused.0, 550, "{address}: {refused:?}");
        assert_eq!(w.sql.snapshot(&format!("%{address}%")).await, Vec::<String>::new());
    }
    assert_eq!(w.sql.snapshot(&format!("%{}%", w.zone())).await, there);
}

#[tokio::test]
async fn mail_to_an_alias_reaches_another_tenant_only_as_it_reaches_the_world() {
    let w = World::new("targets").await;
    w.tenant(&["alice", "bob"]).await;
    let n = neighbour(&w, "next", &["mallory"]).await;
    let (alice, alices) = (w.address("alice"), w.password("alice").await);
    let alice_in = (alice.as_str(), alices.as_str());
    let (mallory, mallorys) = (format!("mallory@{}", n.zone), password(&n.k, "mallory").await);
    let mallory_in = (mallory.as_str(), mallorys.as_str());
    let tip = format!("tip@{}", n.zone);

    // An address of another tenant is one outside: it needs what every address outside needs.
    n.k.patch("MailInstance", "acme", json!({"spec": {"externalForwarding": "Deny"}})).await;
    n.k.ready("MailInstance", "acme", secs(60)).await;
    let target = json!({"kind": "MailAlias", "metadata": {"name": "tip"}, "spec": {
        "domainRef": {"name": "main"}, "localPart": "tip", "targets": [{"address": alice}]}});
    n.k.apply(target).await;
    let refused = n.k.not_ready("MailAlias", "tip", "ExternalForwardingDenied", secs(60)).await;
    assert!(!refused["status"].to_string().contains(&format!("{}/", w.ns)), "whose it is: {refused}");
    let refused = mail::send(w.stack, OUTSIDER, &tip, "denied", None).await.expect_err("there is no such alias");
    assert_eq!(refused.0, 550, "{refused:?}");

    // Allowed, it is a forward like any other: it gives neither side anything of the other one's.
    n.k.patch("MailInstance", "acme", json!({"spec": {"externalForwarding": "Allow"}})).await;
    n.k.ready("MailAlias", "tip", secs(60)).await;
    mail::send(w.stack, OUTSIDER, &tip, "forwarded", None).await.expect("mail is taken");
    mail::arrives(w.stack, alice_in, "forwarded").await;
    for (from, login) in [(&tip, alice_in), (&tip, mallory_in), (&alice, mallory_in), (&mallory, alice_in)] {
        let refused = mail::send(w.stack, from, OUTSIDER, "in another's name", Some(login)).await;
        assert_eq!(refused.expect_err("must be refused").0, 553, "{} as {from}", login.0);
    }
    for (login, other) in [(alice_in, "denied"), (mallory_in, "forwarded")] {
        let all = mail::inbox(w.stack, login).await.expect("sign-in");
        assert!(!all.iter().any(|m| mail::has_subject(m, other)), "{} got {other:?}", login.0);
    }
    // Whoever forwards to somebody does not keep them from going, nor is shown to them.
    w.k.delete("Mailbox", "alice").await;
    w.k.gone("Mailbox", "alice", secs(60)).await;
    assert_eq!(w.sql.row("mailbox", &format!("username = '{alice}'")).await, None);
    let events = w.k.list("Event").await;
    assert!(!events.iter().any(|e| e["note"].to_string().contains(&n.zone)), "{events:?}");
}

/// A mailbox with its password, in a world's namespace.
async fn login(w: &World, address: &str) -> (String, String) {
    let name = address.split('@').next().unwrap_or_default();
    (address.to_string(), w.password(name).await)
}

#[tokio::test]
async fn users_find_their_colleagues_in_the_address_book_and_nobody_else() {
    let w = World::new("book").await;
    let zone = |name: &str| format!("{name}-{}.test", w.ns);
    // Three tenants in one namespace, each with another view of who is a colleague, and one beside them.
    let domains =
        [("everybody", "one"), ("everybody", "two"), ("narrow", "three"), ("narrow", "four"), ("nobody", "five")];
    let people = [
        ("alice", "one"),
        ("bob", "one"),
        ("carol", "two"),
        ("dora", "three"),
        ("emil", "three"),
        ("fred", "four"),
        ("gina", "five"),
        ("hugo", "five"),
    ];
    w.zones(&domains.map(|(_, name)| zone(name))).await;
    for (name, book) in [("everybody", None), ("narrow", Some("Domain")), ("nobody", Some("None"))] {
        let mut instance = w.instance(name);
        if let Some(book) = book {
            instance["spec"]["addressBook"] = json!(book);
        }
        w.k.apply(instance).await;
    }
    for (instance, name) in domains {
        w.k.apply(w.domain(name, instance, &zone(name))).await;
    }
    // All are found by one word: what is not shown is not shown for another reason than that nothing was looked for.
    let word = format!("Person {}", w.ns);
    for (name, domain) in people {
        let mut mailbox = w.mailbox(name, domain);
        mailbox["spec"]["displayName"] = json!(format!("{word} {name}"));
        w.k.apply(mailbox).await;
    }
    let n = neighbour(&w, "next", &["eve"]).await;
    n.k.patch("Mailbox", "eve", json!({"spec": {"displayName": format!("{word} eve")}})).await;
    n.k.ready("Mailbox", "eve", secs(60)).await;
    for (name, _) in people {
        w.k.ready("Mailbox", name, secs(120)).await;
    }
    let address = |name: &str| {
        let domain = people.iter().find(|p| p.0 == name).expect("a person").1;
        format!("{name}@{}", zone(domain))
    };
    let eve = (format!("eve@{}", n.zone), password(&n.k, "eve").await);
    let everybody: Vec<String> = people.iter().map(|p| address(p.0)).chain([eve.0.clone()]).collect();

    let sees = [
        ("alice", &["alice", "bob", "carol"][..]),
        ("carol", &["alice", "bob", "carol"]),
        ("dora", &["dora", "emil"]),
        ("fred", &["fred"]),
        ("gina", &["gina"]),
    ];
    let mut views = vec![(eve.clone(), book::Users::from([eve.0]))];
    for (name, colleagues) in sees {
        let view = colleagues.iter().map(|name| address(name)).collect();
        views.push((login(&w, &address(name)).await, view));
    }
    for ((user, password), view) in &views {
        let login = (user.as_str(), password.as_str());
        assert_eq!(book::listed(w.stack, login).await, *view, "{user} lists");
        let webmail = book::Webmail::open(w.stack, login).await;
        let mut others = view.clone();
        others.remove(user);
        assert_eq!(webmail.written_to(&word).await, *view, "{user} writes");
        assert_eq!(webmail.invited(&word).await, others, "{user} invites");
        for other in &everybody {
            let known = view.contains(other);
            assert_eq!(book::fetched(w.stack, login, other).await, known, "{user} fetches {other}");
            // Nor by the whole address, for whoever knows it.
            assert_eq!(webmail.written_to(other).await.contains(other), known, "{user} looks for {other}");
        }
    }

    // To be found is not to be read: folders are each user's own, hidden from colleagues too. Opened once, all are there.
    for folder in ["Calendar/personal", "Contacts/personal"] {
        for ((user, password), _) in &views {
            assert!(book::opened(w.stack, (user, password), user, folder).await, "{user} opens {folder}");
        }
        for ((user, password), _) in &views {
            for ((owner, _), _) in &views {
                let opened = book::opened(w.stack, (user, password), owner, folder).await;
                assert_eq!(opened, user == owner, "{user} opens {folder} of {owner}");
            }
        }
    }

    // What SOGo divides by (`DomainFieldName`) is the tenant, the domain, or each for themselves.
    let group = async |user: &str| w.sql.one(&format!("SELECT tenant FROM sogo_users WHERE c_uid = '{user}'")).await;
    let id = |object: Value| object["status"]["instanceId"].as_str().expect("an id").to_string();
    assert_eq!(group(&address("carol")).await, id(w.k.get("MailInstance", "everybody").await.expect("there")));
    assert_eq!(group(&address("dora")).await, zone("three"));
    assert_eq!(group(&address("gina")).await, address("gina"));
}
