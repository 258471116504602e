//! What could be declared and never work: mail that goes round in a circle, and names that leave no room.

use crate::harness::world::World;
use crate::harness::{dns, eventually, mail, secs};
use serde_json::json;

const OUTSIDER: &str = "x@elsewhere.example";

/// Waits until it is refused as declared wrongly, in a message with all these words.
async fn invalid(w: &World, kind: &str, name: &str, words: &[&str]) {
    w.k.says(kind, name, ("Stalled", "True", "InvalidSpec"), words, secs(60)).await;
}

#[tokio::test]
async fn mail_that_would_go_in_a_circle_goes_nowhere_and_each_member_is_named() {
    let w = World::new("circle").await;
    w.tenant(&["alice", "bob", "carol"]).await;
    let to = |name: &str, target: &str| {
        let mut alias = w.alias(name, "main", name, &[]);
        alias["spec"]["targets"] = json!([{"address": w.address(target)}]);
        alias
    };
    w.k.apply(to("lost", "nobody")).await;
    let nobody = format!("nobody has {}", w.address("nobody"));
    w.k.says("MailAlias", "lost", ("Ready", "False", "InvalidSpec"), &[&nobody], secs(60)).await;
    // Straight, and by a way that `+detail` hides.
    for [one, other, back] in [["here", "there", "here"], ["hither", "thither+x", "hither+y"]] {
        let plain = other.trim_end_matches("+x");
        w.k.apply(to(one, other)).await;
        w.k.apply(to(plain, back)).await;
        for name in [one, plain] {
            invalid(&w, "MailAlias", name, &["mail would loop", &w.address(one), &w.address(plain)]).await;
            let row = w.sql.row("alias", &format!("address = '{}'", w.address(name))).await;
            assert_eq!(row, None, "{name} is made");
            let refused = mail::send(w.stack, OUTSIDER, &w.address(name), "round", None).await.expect_err("nobody");
            assert_eq!(refused.0, 550, "{refused:?}");
        }
    }

    // Forwards of people who keep nothing: each keeps its mail instead.
    let (bob, carol) = (w.address("bob"), w.address("carol"));
    let forward = |to: &str| json!({"spec": {"forwarding": {"to": [to], "keepCopy": false}}});
    w.k.patch("Mailbox", "bob", forward(&carol)).await;
    w.k.ready("Mailbox", "bob", secs(60)).await;
    w.k.patch("Mailbox", "carol", forward(&bob)).await;
    for (name, address) in [("bob", &bob), ("carol", &carol)] {
        invalid(&w, "Mailbox", name, &["mail would loop", &bob, &carol]).await;
        let goto = format!("SELECT goto FROM alias WHERE address = '{address}'");
        eventually(&format!("mail for {name} stays there"), secs(30), || async {
            let is = w.sql.one(&goto).await;
            if is == *address { Ok(()) } else { Err(is) }
        })
        .await;
        mail::send(w.stack, OUTSIDER, address, "kept at home", None).await.expect("mail is taken");
        mail::arrives(w.stack, (address, &w.password(name).await), "kept at home").await;
    }

    // As the message says: one of them delivers to a mailbox, and all work.
    w.k.patch("Mailbox", "carol", json!({"spec": {"forwarding": null}})).await;
    w.k.apply(to("there", "alice")).await;
    for (kind, name) in [("Mailbox", "bob"), ("Mailbox", "carol"), ("MailAlias", "here"), ("MailAlias", "there")] {
        w.k.ready(kind, name, secs(60)).await;
    }
    for (local, at) in [("here", "alice"), ("bob", "carol")] {
        mail::send(w.stack, OUTSIDER, &w.address(local), "arrives", None).await.expect("mail is taken");
        mail::arrives(w.stack, (&w.address(at), &w.password(at).await), "arrives").await;
    }
}

/// A name of this many characters below the test's zone.
fn name_of(w: &World, length: usize) -> String {
    let zone = w.zone();
    let labels: String = (0..length - zone.len() - 1).map(|n| if n % 64 == 63 { '.' } else { 'a' }).collect();
    let name = format!("{labels}.{zone}");
    assert_eq!(name.len(), length);
    name
}

#[tokio::test]
async fn a_name_that_leaves_no_room_is_refused_and_the_longest_allowed_works() {
    let w = World::new("long").await;
    w.k.apply(w.instance("acme")).await;
    let (longest, longer) = (name_of(&w, 225), name_of(&w, 226));
    w.k.apply(w.domain("longer", "acme", &longer)).await;
    w.k.apply(w.domain("main", "acme", &longest)).await;
    invalid(&w, "MailDomain", "longer", &["at most 225 characters", "_domainkey"]).await;
    assert!(w.k.get("MailDomainClaim", &longer).await.is_none(), "a name is held that cannot be used");

    // 254 characters of an address are 28 before the `@`.
    let local = |length| "b".repeat(length);
    let mailbox = |name: &str, length| {
        let mut mailbox = w.mailbox(name, "main");
        mailbox["spec"]["localPart"] = json!(local(length));
        mailbox
    };
    w.k.apply(mailbox("longest", 28)).await;
    w.k.ready("Mailbox", "longest", secs(120)).await;
    w.k.ready("MailDomain", "main", secs(120)).await;
    let published = dns::snapshot(w.stack, &w.zone()).await;
    let keys = published.keys().filter(|(name, _)| name.ends_with(&format!("._domainkey.{longest}."))).count();
    assert_eq!(keys, 2, "{published:?}");
    let address = format!("{}@{longest}", local(28));
    mail::send(w.stack, OUTSIDER, &address, "a long way", None).await.expect("mail is taken");
    mail::arrives(w.stack, (&address, &w.password("longest").await), "a long way").await;

    w.k.apply(mailbox("longer", 29)).await;
    w.k.apply(w.alias("longer", "main", &"c".repeat(29), &["longest"])).await;
    let most = "at most 254 characters: in this domain a local part has at most 28";
    for kind in ["Mailbox", "MailAlias"] {
        invalid(&w, kind, "longer", &[most]).await;
    }
}
