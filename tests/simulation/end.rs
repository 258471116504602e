//! What must hold once faults have stopped and nothing moves any more: everything that is declared is there and Ready,
//! or says why not, and is right about that; everything that was deleted is gone, or waits for what is there.

use crate::api::{at, deleting, text};
use crate::authority::holds;
use crate::by_hand;
use crate::causes::*;
use crate::declared::*;
use crate::properties::Properties;
use crate::world::World;
use mailtenant_groupware::{Address, DomainName};
use std::collections::BTreeSet;

pub fn check(w: &World) -> Result<(), String> {
    for kind in KINDS {
        for d in Declared::all(w, kind) {
            if text(d.object, "/spec/managementPolicy") == "Observe" {
                continue;
            }
            if deleting(d.object) { gone(&d)? } else { there(&d)? }
        }
    }
    undeclared(w)?;
    healthy(w)?;
    idle(w)?;
    let users: [(&'static str, &'static str, &str); 2] = [
        ("groupwarebackends", "mailinstances", "/spec/backendRef/name"),
        ("dnsbackends", "maildomains", "/spec/dns/backendRef/name"),
    ];
    for (res, kind, pointer) in users {
        for (key, v) in w.of(res).filter(|(_, v)| deleting(v)) {
            if !w.of(kind).any(|(_, u)| text(u, pointer) == key.name) {
                return Err(format!("stuck: {key} is used by nobody and still there: {}", v["status"]));
            }
        }
    }
    for (key, v) in w.of("namespaces") {
        if deleting(v) && !w.api.objs.keys().any(|k| k.ns == key.name) {
            return Err(format!("stuck: {key} is empty and still there"));
        }
    }
    for (key, claim) in w.of("maildomainclaims") {
        let owner = text(claim, "/spec/owner/uid");
        if w.by_uid(owner).is_none() && !w.notes.abandoned(owner) {
            return Err(format!("I9: {key} is held by a MailDomain that is gone"));
        }
    }
    Ok(())
}

/// A domain says `Undeclared` exactly while rows below it have no object, of whatever it is told by its server.
fn undeclared(w: &World) -> Result<(), String> {
    for d in Declared::all(w, "maildomains") {
        let leaves = w.of("namespaces").any(|(k, v)| k.name == d.key.ns && deleting(v));
        let served = d.backend().is_some_and(|b| condition(b, "Ready").0 == "True") && allowed(&d) && reachable(&d);
        let Some(server) = d.server().filter(|_| served && !leaves && !deleting(d.object)) else { continue };
        let ours = server.domains.get(d.name().as_str()).is_some_and(|r| r.row.owner.as_deref() == Some(uid(d.object)));
        if !ours || !holds(&d) {
            continue;
        }
        let below = |a: &Address| a.domain() == d.name();
        let mailboxes = server.mailboxes.values().filter(|m| below(&m.row.address)).map(|m| &m.row.owner);
        let aliases = server.aliases.values().filter(|a| below(&a.address)).map(|a| &a.owner);
        let ownerless: Vec<_> = mailboxes.chain(aliases).flatten().filter(|o| w.by_uid(o).is_none()).collect();
        let right = if ownerless.is_empty() { "False" } else { "True" };
        let said = condition(d.object, "Undeclared").0;
        if said != right {
            return Err(format!("end: {d} says Undeclared={said:?}, and without an object are {ownerless:?}"));
        }
    }
    Ok(())
}

/// A live domain is judged from its first pass on, and nothing is said that nobody here can tell.
fn healthy(w: &World) -> Result<(), String> {
    for d in Declared::all(w, "maildomains") {
        let (said, reason) = condition(d.object, "Healthy");
        if deleting(d.object) || w.notes.was_forged.contains(uid(d.object)) {
            continue;
        }
        let right = [("True", "Succeeded"), ("Unknown", "BackendUnreachable")];
        let amiss = said == "False" && ["MXElsewhere", "RecordsChanged"].contains(&reason);
        let live = ready(d.object) && text(d.object, "/status/state") == "Live" && holds(&d);
        if !(right.contains(&(said, reason)) || amiss || (said.is_empty() && !live)) {
            return Err(format!("end: {d} says Healthy={said:?} for {reason:?}; status {}", d.object["status"]));
        }
    }
    Ok(())
}

/// Whether the backend of an object is for its namespace.
fn allowed(d: &Declared) -> bool {
    let labels =
        d.world.of("namespaces").find(|(k, _)| k.name == d.key.ns).map(|(_, v)| v["metadata"]["labels"].clone());
    labels.is_some_and(|l| l["mail"] == "standard")
}

/// I5: while nothing changes, a backend is read by domain, and what is Ready is left alone.
fn idle(w: &World) -> Result<(), String> {
    let ready: BTreeSet<String> = ["mailboxes", "mailaliases"]
        .into_iter()
        .flat_map(|k| Declared::all(w, k))
        .filter(|d| ready(d.object))
        .filter_map(|d| d.address())
        .collect();
    let about = |call: &String, word: &str| call.split(' ').skip_while(|x| *x != word).nth(1).map(String::from);
    let mut seen = BTreeSet::new();
    for call in &w.notes.calls {
        for word in ["ensure_mailbox", "ensure_alias", "aliases_to"] {
            // Once is the end of what there was to do.
            if about(call, word).is_some_and(|a| ready.contains(&a)) && !seen.insert(call) {
                return Err(format!("I5: nothing changes, and still {call}"));
            }
        }
    }
    let reads = w.notes.calls.iter().filter(|c| c.contains("read_domain")).count();
    let domains = w.of("maildomains").count();
    // Every 5 minutes give or take 20 %, over 1,000 s, and one more for who is held.
    // And the instance counts in each interval while a mailbox that it had is missing and may not be made.
    let missing = Declared::all(w, "mailboxes")
        .any(|m| !text(m.object, "/status/ownership").is_empty() && condition(m.object, "Ready").0 != "True");
    // An instance that waits for what a domain without a MailDomain holds reads that twice at each try.
    // And so does a mailbox that waits for an alias which nobody here can delete, and the domain of such a mailbox.
    let left = |v: &serde_json::Value| {
        condition(v, "DeletionBlocked").1 == "ExistsAtBackend"
            || condition(v, "DeletionBlocked").1 == "ReferencedByAlias"
    };
    let held_up = |kind: &'static str| w.of(kind).filter(|(_, v)| deleting(v) && left(v)).count();
    let waits =
        w.of("mailinstances").filter(|(_, v)| deleting(v)).count() + held_up("mailboxes") + held_up("maildomains");
    if reads > if missing { 11 } else { 6 } * domains + 30 * waits {
        return Err(format!("I5: {reads} bulk reads of {domains} domains while nothing changes"));
    }
    Ok(())
}

fn there(d: &Declared) -> Result<(), String> {
    let (status, reason) = condition(d.object, "Ready");
    let mut why = causes(d);
    // What is below an instance that is only observed is only observed too.
    if d.instance().is_some_and(|i| text(i.object, "/spec/managementPolicy") == "Observe") {
        why.extend([
            "Drifted",
            "Paused",
            "InstanceNotReady",
            "DomainNotReady",
            "MailboxNotReady",
            "AwaitingAcceptance",
        ]);
        if status == "True" || why.contains(reason) {
            return Ok(());
        }
    }
    // A parent that cannot be used is said first.
    let no_parent = d.key.res != "mailinstances"
        && std::iter::successors(d.parent(), |p| p.parent()).last().is_none_or(|p| p.key.res != "mailinstances");
    if annotation(d.object, "paused") == "true" && d.backend().is_some() && !no_parent && reason != "Paused" {
        return Err(format!("end: {d} is paused, and says {reason:?}"));
    }
    if status != "True" {
        if why.contains(reason) && d.object["status"]["observedGeneration"] == d.object["metadata"]["generation"] {
            return Ok(());
        }
        // What somebody else wrote into the status after the operator stays until a pass is asked for.
        if d.world.notes.forged.contains(uid(d.object)) {
            return Ok(());
        }
        return Err(format!(
            "end: {d} is Ready={status:?} for {reason:?}, right would be {why:?}; status {}",
            d.object["status"]
        ));
    }
    if !ready(d.object) {
        return Err(format!(
            "end: {d} is Ready of generation {}, not of {}",
            d.object["status"]["observedGeneration"], d.object["metadata"]["generation"]
        ));
    }
    if !held(d.object) {
        return Err(format!("end: {d} has no finalizer"));
    }
    if why.contains("SecretNotOwned") {
        return Err(format!("end: {d} is Ready with a Secret of somebody else in the place of its own"));
    }
    let instance_paused = d.instance().is_some_and(|i| annotation(i.object, "paused") == "true");
    if (annotation(d.object, "paused") == "true" || instance_paused) && d.key.res != "mailinstances"
        || annotation(d.object, "paused") == "true"
    {
        return Err(format!("end: {d} is paused, and does not say so"));
    }
    // Nothing new is made below what is going, nor put back.
    let going = std::iter::successors(d.parent(), |p| p.parent()).any(|p| deleting(p.object));
    if why.contains("Paused") || why.contains("MassLossHeld") || !reachable(d) || going {
        return Ok(());
    }
    if let Some(lie) = Properties::differs(d) {
        return Err(format!("I10: {d} at the end: {lie}"));
    }
    match d.key.res {
        "mailboxes" => password(d),
        "maildomains" if by_hand::is_by_hand(d) => by_hand::at_the_end(d),
        "maildomains" => signs(d),
        _ => Ok(()),
    }
}

/// Mail is signed with one key of each algorithm, whose record the DNS shows.
fn signs(d: &Declared) -> Result<(), String> {
    let wish = annotation(d.object, "rotate-dkim");
    if wish != text(d.object, "/status/lastHandledRotateDkim") {
        return Err(format!("end: {d} was asked for new keys ({wish}) and has not handled it"));
    }
    let (Some(s), Some(dns)) = (d.server().and_then(|s| s.domains.get(d.name().as_str())), d.dns_server()) else {
        return Ok(());
    };
    let active: Vec<_> = s.dkim.iter().filter(|k| k.active).collect();
    let shown = |k: &&mailtenant_groupware::DkimRow| {
        let set = dns.set(&format!("{}._domainkey.{}", k.selector, d.name()), mailtenant_dns::RecordType::TXT);
        set.values.iter().any(|v| v.contains(&k.public))
    };
    let newest = s.dkim.last().is_some_and(|k| k.active);
    if active.len() != 1 || !newest || !s.dkim.iter().all(|k| shown(&k)) {
        return Err(format!("end: {d} signs with {:?}, of {:?}, or their records are missing", active, s.dkim));
    }
    Ok(())
}

fn password(d: &Declared) -> Result<(), String> {
    let address = d.address().unwrap_or_default();
    let own = (format!("{}-mail", d.key.name), "password".to_string());
    let from = at(d.object, "/spec/password/secretRef");
    let (name, key) = from.map_or(own, |r| (text(r, "/name").to_string(), text(r, "/key").to_string()));
    let Some(s) = d.server() else { return Ok(()) };
    let told = secret(d.world, &d.key.ns, &name, &key);
    let is = s.mailboxes.get(address.as_str()).map(|m| &m.password);
    // Taken over without its Secret: the password stays, and nobody can tell it.
    let unknown = |v: &serde_json::Value| v["metadata"]["annotations"]["mailtenant.dev/without-password"] == "true";
    let mut secrets = d.world.of("secrets").filter(|(k, _)| k.ns == d.key.ns && k.name == name);
    if from.is_none() && told.is_none() && is.is_some() && secrets.any(|(_, v)| unknown(v)) {
        return Ok(());
    }
    // Taken over with the password that it had, which is another one than the Secret declares: that one is set when it changes
    // (seed 36188). The server has noted the Secret that it was taken over with.
    let taken = |e: &crate::groupware::Entry| {
        (e.verb, e.kind) == (crate::groupware::Verb::TakenOver, "mailbox") && e.owner.as_deref() == Some(uid(d.object))
    };
    let noted = s.mailboxes.get(address.as_str()).and_then(|m| m.row.password_version.clone()).unwrap_or_default();
    let mut declared = d.world.of("secrets").filter(|(k, _)| k.ns == d.key.ns && k.name == name);
    let version = |v: &crate::api::Obj| format!("{}/{}", uid(v), text(v, "/metadata/resourceVersion"));
    let is_noted = |v: &crate::api::Obj| noted == version(v) || noted.starts_with(&format!("{}/", version(v)));
    if from.is_some() && s.log.iter().any(taken) && declared.any(|(_, v)| is_noted(v)) {
        return Ok(());
    }
    if told.is_none() || told.as_ref() != is {
        return Err(format!(
            "end: the password of {address} is not the one in its Secret (there: {}, server: {})",
            told.is_some(),
            is.is_some()
        ));
    }
    Ok(())
}

/// Whether a MailDomain of a name went without the operator.
fn left_by_force(w: &World, name: &str) -> bool {
    let gone =
        w.api.log.iter().filter(|c| c.key.res == "maildomains" && c.new.is_none()).filter_map(|c| c.old.as_ref());
    gone.into_iter().any(|old| w.notes.abandoned(uid(old)) && text(old, "/spec/domain").to_lowercase() == name)
}

/// Whether the server knows where something lies whose MailDomain is gone by force: in the domain of its address, in the
/// tenant of an instance of its namespace.
fn is_found(d: &Declared) -> bool {
    let address = text(d.object, "/status/address");
    let Some((_, name)) = address.rsplit_once('@') else { return false };
    let forged = d.world.notes.was_forged.contains(uid(d.object));
    let lies = |i: &Declared| {
        let server = i.server().filter(|_| reachable(i) && text(i.object, "/spec/managementPolicy") != "Observe");
        let paused = annotation(i.object, "paused") == "true" || held_by_mass_loss(i);
        server.is_some_and(|s| {
            let own = s.tenant(uid(i.object)).map(|t| t.id);
            !paused && own.is_some() && s.domains.get(name).is_some_and(|r| r.row.tenant == own)
        })
    };
    d.domain().is_none()
        && !forged
        && Declared::all(d.world, "mailinstances").filter(|i| i.key.ns == d.key.ns).any(|i| lies(&i))
}

/// The server that has a mailbox, by its owner: without its MailDomain nothing leads from the object to it.
fn lies_at<'a>(d: &Declared<'a>) -> Option<&'a crate::groupware::Server> {
    let mine = |m: &crate::groupware::Mailbox| m.row.owner.as_deref() == Some(uid(d.object));
    d.world.groupware.values().find(|s| s.mailboxes.values().any(mine))
}

/// A deletion that has not ended must wait for something that is there.
fn gone(d: &Declared) -> Result<(), String> {
    let mut blockers: Vec<String> = d.children().iter().chain(&d.referenced_by()).map(|c| c.key.to_string()).collect();
    // An alias that was pointed elsewhere and could not follow still delivers to the mailbox at the backend.
    // Without its MailDomain the address is the one that it had.
    let had = || Some(text(d.object, "/status/address").to_owned()).filter(|a| !a.is_empty());
    let server = d.server().or_else(|| lies_at(d));
    let delivers: Vec<Address> = match (d.key.res, server, d.address().or_else(had)) {
        ("mailboxes", Some(s), Some(a)) => s.aliases_to(&a),
        // One of another domain, to a mailbox whose object is gone: it leaves after that alias too.
        ("maildomains", Some(s), _) => {
            let below = s.mailboxes.keys().filter(|a| a.domain() == d.name());
            below.flat_map(|a| s.aliases_to(a)).filter(|alias| alias.domain() != d.name()).collect()
        }
        _ => vec![],
    };
    blockers.extend(delivers.iter().map(String::from));
    // A child whose finalizer a person took away left its rows behind: that is for a person too.
    let w = d.world;
    let me = uid(d.object);
    let left_behind = d.server().is_some_and(|s| {
        let tenant = s.tenant(me).map(|t| t.id);
        let domains = s.domains.values().filter(|x| x.row.owner.as_deref() == Some(me) || x.row.tenant == tenant);
        let names: Vec<&DomainName> = domains.clone().map(|x| &x.row.name).collect();
        let below = |a: &Address| names.iter().any(|n| a.domain() == n.as_str());
        let owners = domains
            .map(|x| &x.row.owner)
            .chain(s.mailboxes.values().filter(|m| below(&m.row.address)).map(|m| &m.row.owner));
        let mut owners = owners.chain(s.aliases.values().filter(|a| below(&a.address)).map(|a| &a.owner)).flatten();
        // What has no object any more is kept, and holds nothing up.
        owners
            .any(|o| o != me && w.by_uid(o).is_some() && (w.notes.abandoned(o) || w.notes.forced.contains(o.as_str())))
    });
    if left_behind {
        return Ok(());
    }
    let paused = annotation(d.object, "paused") == "true"
        || d.instance().is_some_and(|i| annotation(i.object, "paused") == "true")
        // Below a domain that is paused too, while its MX leads here; and what others wrote into its status stays there.
        || d.domain().is_some_and(|p| annotation(p.object, "paused") == "true" || w.notes.was_forged.contains(uid(p.object)))
        // What was made before is not taken down by one who only looks, or is paused. Without its MailDomain that is the instance
        // in whose tenant it is found.
        || d.is_observed()
        || d.domain().is_none()
            && Declared::all(w, "mailinstances")
                .any(|i| i.key.ns == d.key.ns && (i.is_observed() || annotation(i.object, "paused") == "true"));
    let orphan = annotation(d.object, "orphan") == "true";
    let led = by_hand::is_by_hand(d) && by_hand::mx_leads_here(w, &d.name());
    let dns = match by_hand::is_by_hand(d) {
        true => led,
        false => d.key.res == "maildomains" && !causes_of_dns(d).is_empty(),
    };
    let unreachable = (!reachable(d) && !is_found(d)) || dns;
    // While much is missing at the backend nothing that is not there is taken for deleted. Nor while somebody else has written
    // so into the status: an instance that is being deleted does not count any more.
    // Without its MailDomain it may be found in the tenant of an instance of its namespace, and waits with that one.
    let lies_below = |i: &Declared| i.key.ns == d.key.ns && (held_by_mass_loss(i) || was_held(i));
    let found_held = d.domain().is_none() && Declared::all(w, "mailinstances").any(|i| lies_below(&i));
    let held = held_by_mass_loss(d) || d.instance().is_some_and(|i| is_forged_as_held(&i)) || found_held;
    // Who is told to go without a backend goes without it, and waits for all else: for its domain too, while MX leads here.
    let kept = |p: &Declared| deleting(p.object) && annotation(p.object, "orphan") != "true" && blocked(p);
    let above = d.key.res != "maildomains" && d.domain().is_some_and(|p| kept(&p));
    // An MX that a MailDomain of that name left behind by force is nobody's: a person has to change it.
    // And so is one that was put there after the backup that etcd was restored from.
    let own = (d.key.res == "maildomains").then(|| d.name());
    let name = d.domain().map(|p| p.name()).or(own);
    let mx_left = d.domain().is_some_and(|p| left_by_force(w, &p.name()))
        || name.is_some_and(|name| w.notes.left_behind.contains(&name));
    let late = w.notes.clock_ahead || mx_left;
    if blockers.is_empty() && !(paused || late || above || ((unreachable || held) && !orphan)) {
        return Err(format!(
            "stuck: {d} is still terminating; status {}; finalizers {}",
            d.object["status"], d.object["metadata"]["finalizers"]
        ));
    }
    let (status, reason) = condition(d.object, "DeletionBlocked");
    // What somebody else wrote into the status after the operator stays until a pass is asked for.
    if w.notes.forged.contains(me) {
        return Ok(());
    }
    if status != "True" {
        return Err(format!(
            "end: {d} waits for {blockers:?} and does not say so (DeletionBlocked {status:?} {reason:?})"
        ));
    }
    let right: BTreeSet<&str> = d
        .children()
        .iter()
        .map(|c| match c.key.res {
            "maildomains" => "HasDomains",
            "mailboxes" => "HasMailboxes",
            _ => "HasAliases",
        })
        .chain((!d.referenced_by().is_empty() || !delivers.is_empty()).then_some("ReferencedByAlias"))
        // Of an alias that no object declares.
        .chain((!delivers.is_empty()).then_some("ExistsAtBackend"))
        .chain(if unreachable {
            vec!["BackendUnreachable", "BackendUnauthorized", "BackendNotFound", "SecretNotFound"]
        } else {
            vec![]
        })
        .chain(if paused { vec!["Paused", "Draining"] } else { vec![] })
        // What began while the clock was ahead ends by that clock.
        .chain(if late { vec!["Draining"] } else { vec![] })
        .chain(if held { vec!["MassLossHeld", "Draining"] } else { vec![] })
        .chain(above.then_some("Draining"))
        .chain(led.then_some("AwaitingRecords"))
        // It was held, and nobody can count anew.
        .chain(d.instance().filter(|i| text(i.object, "/status/massLoss") == "Held").map(|_| "MassLossHeld"))
        .chain(d.domain().is_none().then_some("DomainNotFound"))
        .chain(d.instance().is_none().then_some("InstanceNotFound"))
        .collect();
    if !right.contains(reason) {
        return Err(format!("end: {d} says it waits for {reason}, right would be {right:?}"));
    }
    Ok(())
}
