//! What must hold once faults have stopped and nothing moves any more: everything that is declared is there and Ready,
//! or says why not, and is right about that; everything that was deleted is gone, or waits for what is there.

use crate::api::{at, deleting, text};
use crate::authority::{holds, needs_proof};
use crate::by_hand;
use crate::declared::*;
use crate::properties::Properties;
use crate::world::World;
use base64::Engine;
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

/// Whether a backend may block the deletion of an object: it cannot be reached, its object says so, a parent is gone, or a
/// mass loss is held.
pub fn blocked(d: &Declared) -> bool {
    let bad = |backend: Option<&serde_json::Value>| backend.is_none_or(|b| condition(b, "Ready").0 != "True");
    let parents = d.instance().is_none() || (d.key.res != "mailinstances" && d.domain().is_none());
    let dns = match by_hand::is_by_hand(d) {
        true => by_hand::mx_leads_here(d.world, &d.name()),
        false => d.key.res == "maildomains" && (bad(d.dns_backend()) || no_dns(d)),
    };
    parents || !reachable(d) || bad(d.backend()) || dns || held_by_mass_loss(d) || left_below(d) || left_beside(d)
}

/// Whether the tenant of an instance has domains at the server whose objects were taken away by force.
fn left_below(d: &Declared) -> bool {
    let Some(s) = d.server().filter(|_| d.key.res == "mailinstances") else { return false };
    let tenant = s.tenant(uid(d.object)).map(|t| t.id);
    let dead = |owner: Option<&str>| owner.is_some_and(|o| d.world.by_uid(o).is_none());
    tenant.is_some() && s.domains.values().any(|x| x.row.tenant == tenant && dead(x.row.owner.as_deref()))
}

/// Whether a mailbox gets mail by an alias whose object was taken away by force: nobody here can delete it.
fn left_beside(d: &Declared) -> bool {
    let (Some(s), Some(address)) = (d.server().filter(|_| d.key.res == "mailboxes"), d.address()) else { return false };
    let owner = |alias: &Address| s.aliases.get(alias).and_then(|a| a.owner.as_deref());
    s.aliases_to(&address).iter().any(|alias| owner(alias).is_some_and(|o| d.world.by_uid(o).is_none()))
}

/// Whether the DNS server of a domain cannot be used, whatever is in it.
fn no_dns(d: &Declared) -> bool {
    causes_of_dns(d).iter().any(|why| *why != "DNSConflict")
}

/// Whether the operator can reach what the object is on.
pub fn reachable(d: &Declared) -> bool {
    causes_of_backend(d).is_empty()
}

fn secret(w: &World, ns: &str, name: &str, key: &str) -> Option<String> {
    let (_, v) = w.of("secrets").find(|(k, _)| k.ns == ns && k.name == name)?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(v["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

pub const OPERATOR_NAMESPACE: &str = "mailtenant-system";

fn causes_of_backend(d: &Declared) -> BTreeSet<&'static str> {
    let mut why = BTreeSet::new();
    let Some(backend) = d.backend() else { return ["BackendNotFound"].into() };
    let name = text(backend, "/spec/sogo/database/credentialsSecretRef/name");
    match (secret(d.world, OPERATOR_NAMESPACE, name, "password"), d.server()) {
        (None, _) => drop(why.insert("SecretNotFound")),
        (Some(p), Some(s)) if p != s.password => drop(why.insert("BackendUnauthorized")),
        (Some(p), None) if !p.is_empty() => drop(why.insert("BackendUnauthorized")),
        _ => {}
    }
    if !why.is_empty() {
        // The backend's own object says which; the ones on it may say that it cannot be reached.
        why.extend(["BackendUnreachable", "BackendNotFound", "Deleting"]);
    }
    why
}

/// A backend that is going takes nothing new. What is on it is served, and taken down, all the same.
fn going_backend(backend: Option<&serde_json::Value>) -> impl Iterator<Item = &'static str> {
    backend.filter(|b| deleting(b)).into_iter().flat_map(|_| ["BackendNotFound", "BackendNotAllowed"])
}

fn causes_of_dns(d: &Declared) -> BTreeSet<&'static str> {
    if by_hand::is_by_hand(d) {
        // Whatever the person has not done, or not yet.
        return ["OwnershipUnproven", "AwaitingRecords", "DNSPropagating"].into();
    }
    let Some(backend) = d.dns_backend() else { return ["BackendNotFound"].into() };
    let mut why = BTreeSet::new();
    let name = text(backend, "/spec/powerdns/apiKeySecretRef/name");
    match (
        secret(d.world, OPERATOR_NAMESPACE, name, text(backend, "/spec/powerdns/apiKeySecretRef/key")),
        d.dns_server(),
    ) {
        (None, _) => why.extend(["SecretNotFound", "BackendUnreachable"]),
        (Some(p), Some(s)) if p != s.key => why.extend(["BackendUnauthorized", "BackendUnreachable"]),
        _ => {}
    }
    let zones = backend["spec"]["zones"].as_array().cloned().unwrap_or_default();
    let name = d.name();
    if !zones.iter().any(|z| name == text(z, "/name") || name.ends_with(&format!(".{}", text(z, "/name")))) {
        why.extend(["ZoneNotFound", "BackendNotAllowed"]);
    } else if !crate::authority::zone_allows(d.world, &name, &d.key.ns) {
        why.insert("BackendNotAllowed");
    } else if d.dns_server().is_none_or(|s| s.zone_of(&name).is_none()) {
        why.insert("ZoneNotFound");
    }
    // A record of others in the place of one of ours, or a wildcard that one of ours would end.
    if let Some(s) = d.dns_server() {
        if s.foreign.keys().any(|(n, _)| n.strip_prefix("*.").is_some_and(|above| name.ends_with(&format!(".{above}"))))
        {
            why.insert("DNSConflict");
        }
        let ours = |n: &str| n.starts_with("_dmarc.") || n.contains("._domainkey.") || n == name;
        if s.foreign
            .iter()
            .any(|((n, _), set)| (n == &name || n.ends_with(&format!(".{name}"))) && ours(n) && !set.values.is_empty())
        {
            why.insert("DNSConflict");
        }
    }
    why
}

/// Whether the server of an object was emptied or lacks many mailboxes of its instance, and nobody has said yet that what
/// was on it is lost.
fn held_by_mass_loss(d: &Declared) -> bool {
    let (Some(i), Some(b)) = (d.instance(), d.backend()) else { return false };
    let emptied = d.world.notes.emptied.contains_key(text(b, "/spec/sogo/database/host"));
    let absent = |m: &Declared| {
        let there = |a: String| m.server().is_some_and(|s| s.mailboxes.contains_key(a.as_str()));
        matches!(text(m.object, "/status/ownership"), "Created" | "Adopted") && !m.address().is_some_and(there)
    };
    let minimum = b["spec"]["massLoss"]["minimum"].as_u64().unwrap_or(10);
    let mine = |m: &Declared| m.instance().is_some_and(|x| x.key == i.key);
    let missing = Declared::all(d.world, "mailboxes").filter(mine).filter(absent).count() as u64;
    let word = annotation(i.object, "accept-mass-loss");
    // Nor is it taken while the server cannot be asked.
    let spent = word.is_empty() || word == text(i.object, "/status/acceptedMassLoss") || !reachable(d);
    (emptied || missing >= minimum) && spent && text(i.object, "/status/massLoss") != "Accepted"
}

/// Whether an instance was held, and nobody counts anew in it: it goes, or its server cannot be asked.
fn was_held(i: &Declared) -> bool {
    (deleting(i.object) || !reachable(i)) && text(i.object, "/status/massLoss") == "Held"
}

/// Whether somebody else has written into the status of an instance that a loss is held: it stays until its server can be asked.
fn is_forged_as_held(i: &Declared) -> bool {
    i.world.notes.was_forged.contains(uid(i.object)) && text(i.object, "/status/massLoss") == "Held"
}

/// What is said of a row that nobody owns to whoever asks for it and is not entitled.
fn not_entitled(d: &Declared) -> Option<&'static str> {
    let asks = text(d.object, "/spec/adoptionPolicy") == "IfUnowned";
    (asks && !crate::legacy::entitled_now(d.world, d.key, d.object)).then_some("NotEntitled")
}

/// Reasons that would be right for an object that is not Ready. None: it must be Ready.
fn causes(d: &Declared) -> BTreeSet<&'static str> {
    let mut why = causes_of_backend(d);
    why.extend(going_backend(d.backend()));
    if d.key.res != "mailinstances" {
        why.extend(going_backend(d.dns_backend()));
    }
    let w = d.world;
    let me = uid(d.object);
    let mut unproven = false;
    if annotation(d.object, "paused") == "true"
        || d.instance().is_some_and(|i| annotation(i.object, "paused") == "true")
    {
        why.insert("Paused");
    }
    if held_by_mass_loss(d) || d.instance().is_some_and(|i| was_held(&i) || is_forged_as_held(&i)) {
        why.insert("MassLossHeld");
    }
    // Parents that are going, or held, are not made again: what is below them is told so by the server.
    let no_parent = match (d.key.res, d.server()) {
        ("maildomains", Some(s)) => d.instance().is_some_and(|i| s.tenant(uid(i.object)).is_none()),
        ("mailboxes" | "mailaliases", Some(s)) => {
            // One of somebody else in its place is not its parent.
            let own =
                |p: &Declared| s.domains.get(p.name().as_str())?.row.owner.as_deref().filter(|o| *o == uid(p.object));
            d.domain().is_some_and(|p| own(&p).is_none())
        }
        _ => false,
    };
    let above_waits = std::iter::successors(d.parent(), |p| p.parent())
        .any(|p| deleting(p.object) || condition(p.object, "Ready").1 == "MassLossHeld");
    if no_parent && above_waits {
        why.insert("Progressing");
    }
    let parent = d.parent();
    // Whatever its domain says of itself.
    if d.key.res != "mailinstances" && d.instance().is_none() {
        why.insert("InstanceNotFound");
    }
    // One that was made anew and could not be served yet, above a domain that was.
    if d.instance().is_some_and(|i| text(i.object, "/status/ownership").is_empty()) {
        why.insert("InstanceNotReady");
    }
    match d.key.res {
        "mailinstances" => {
            if d.backend().is_none() {
                why.insert("BackendNotFound");
            }
            // What was given counts, and a quota that could not be changed yet was given all the same.
            let mine = |m: &Declared| m.instance().is_some_and(|x| x.key == d.key).then(|| m.address()).flatten();
            let given = Declared::all(w, "mailboxes")
                .filter_map(|m| mine(&m))
                .filter_map(|a| d.server().and_then(|s| s.mailboxes.get(a.as_str())).map(|m| m.row.settings.quota));
            // What one had that is on its way out counts until it is gone.
            let leaves = Declared::all(w, "mailboxes").any(|m| mine(&m).is_some() && deleting(m.object));
            if leaves || booked(d).max(given.sum()) > bytes(&d.object["spec"]["storage"]).unwrap_or(u64::MAX) {
                why.insert("QuotaExceeded");
            }
        }
        "maildomains" => {
            match &parent {
                None => drop(why.insert("InstanceNotFound")),
                Some(p) if condition(p.object, "Ready").0 != "True" || deleting(p.object) => {
                    why.extend(["InstanceNotReady", "InstanceNotFound", "Deleting"])
                }
                _ => {}
            }
            why.extend(causes_of_dns(d));
            let claim = w.of("maildomainclaims").find(|(k, _)| k.name == d.name());
            if claim.is_some_and(|(_, c)| text(c, "/spec/owner/uid") != me) {
                why.insert("DomainClaimed");
            }
            let near = |n: &str| n.ends_with(&format!(".{}", d.name())) || d.name().ends_with(&format!(".{n}"));
            if w.of("maildomainclaims").any(|(k, c)| near(&k.name) && text(c, "/spec/owner/namespace") != d.key.ns) {
                why.insert("DomainClaimed");
            }
            if claim.is_none() && (needs_proof(w, &d.name()) || by_hand::is_by_hand(d)) {
                why.insert("OwnershipUnproven");
                unproven = true;
            }
            if text(d.object, "/spec/cutover/mode") == "Manual" && d.object["spec"]["cutover"]["approved"] != true {
                why.insert("AwaitingApproval");
            }
            if d.server()
                .and_then(|s| s.domains.get(d.name().as_str()))
                .is_some_and(|r| r.row.owner.as_deref() != Some(me))
            {
                why.extend(["ExistsAtBackend", "DomainClaimed"]);
                why.extend(not_entitled(d));
            }
            // Its tenant went by force and is another one now: what is in the old one is never taken over.
            let tenant = parent.as_ref().map(|i| text(i.object, "/status/instanceId").to_string());
            let there = d.server().and_then(|s| s.domains.get(d.name().as_str())).map(|r| r.row.tenant.clone());
            if tenant.is_some() && there.is_some_and(|t| t.as_deref() != tenant.as_deref()) {
                why.insert("ExistsAtBackend");
            }
            let children: Vec<_> = d.children().into_iter().filter(|c| !deleting(c.object)).collect();
            if children.is_empty() {
                why.insert("AwaitingFirstAddress");
            }
            let taken = |c: &Declared| {
                ready(c.object) && c.address().is_some_and(|a| d.server().is_some_and(|s| s.accepts(&a)))
            };
            if !children.iter().all(taken) {
                why.insert("AwaitingAcceptance");
            }
            let hosts = d.backend().and_then(|b| b["spec"]["hosts"]["mx"].as_array().cloned()).unwrap_or_default();
            if !hosts.iter().all(|m| crate::dns::has_address(text(m, "/host"))) {
                why.insert("AwaitingAcceptance");
            }
            if unproven {
                // Nothing of the domain is anywhere before it is proven.
                for later in ["AwaitingApproval", "AwaitingFirstAddress", "AwaitingAcceptance", "ExistsAtBackend"] {
                    why.remove(later);
                }
            }
        }
        _ => {
            match &parent {
                None => why.extend(["DomainNotFound", "InstanceNotFound"]),
                // A domain that only waits for its addresses is ready for them.
                // Nor is one that does not hold its name, whatever was written into its status.
                Some(p) if condition(p.object, "Provisioned").0 != "True" || deleting(p.object) || !holds(p) => {
                    why.extend([
                        "DomainNotReady",
                        "DomainNotFound",
                        "InstanceNotReady",
                        "InstanceNotFound",
                        "Deleting",
                    ]);
                }
                _ => {}
            }
            if let Some(address) = d.address() {
                let same = |o: &Declared| o.key != d.key && o.address().as_ref() == Some(&address);
                if Declared::all(w, "mailboxes").chain(Declared::all(w, "mailaliases")).any(|o| same(&o)) {
                    why.insert("AddressInUse");
                }
                if let Some(s) = d.server() {
                    let owner = s
                        .mailboxes
                        .get(address.as_str())
                        .map(|m| &m.row.owner)
                        .or(s.aliases.get(address.as_str()).map(|a| &a.owner));
                    if owner.is_some_and(|o| o.as_deref() != Some(me)) {
                        why.extend(["ExistsAtBackend", "AddressInUse"]);
                        why.extend(not_entitled(d));
                    }
                }
            }
        }
    }
    if d.key.res == "mailboxes" {
        mailbox(d, &mut why);
    }
    if d.key.res == "mailaliases" {
        for t in at(d.object, "/spec/targets").and_then(serde_json::Value::as_array).into_iter().flatten() {
            match text(t, "/mailboxRef/name") {
                "" => drop(why.insert("ExternalForwardingDenied")),
                name => match d.mailbox_named(name) {
                    // A catch-all takes its address, so that mail would loop.
                    None => why.extend(["MailboxNotFound", "InvalidSpec"]),
                    Some(m) if condition(m.object, "Ready").0 != "True" || deleting(m.object) => {
                        why.extend(["MailboxNotReady", "MailboxNotFound", "InvalidSpec"])
                    }
                    _ => {}
                },
            }
        }
    }
    why
}

/// What the mailboxes of an instance are declared to hold.
fn booked(i: &Declared) -> u64 {
    let all = Declared::all(i.world, "mailboxes").filter(|m| m.instance().is_some_and(|x| x.key == i.key));
    let default = bytes(&i.object["spec"]["defaultMailboxQuota"]);
    all.filter_map(|m| bytes(&m.object["spec"]["quota"]).or(default)).sum()
}

fn mailbox(d: &Declared, why: &mut BTreeSet<&'static str>) {
    if let Some(to) = at(d.object, "/spec/forwarding/to").and_then(serde_json::Value::as_array) {
        why.insert("ExternalForwardingDenied");
        // An address of an own domain that nobody has any more.
        let w = d.world;
        let had = |a: &serde_json::Value| {
            let mut all = Declared::all(w, "mailboxes").chain(Declared::all(w, "mailaliases"));
            all.any(|o| o.address().as_deref() == a.as_str())
        };
        if !to.iter().all(had) {
            why.insert("InvalidSpec");
        }
    }
    let name = match text(d.object, "/spec/credentialsSecret") {
        "" => format!("{}-mail", d.key.name),
        name => name.to_string(),
    };
    let owned = |v: &serde_json::Value| crate::api::owners(v).iter().any(|o| text(o, "/uid") == uid(d.object));
    if d.world.of("secrets").any(|(k, v)| k.ns == d.key.ns && k.name == name && !owned(v)) {
        why.insert("SecretNotOwned");
    }
    let from = text(d.object, "/spec/password/secretRef/name");
    if !from.is_empty() && secret(d.world, &d.key.ns, from, text(d.object, "/spec/password/secretRef/key")).is_none() {
        why.insert("SecretNotFound");
    }
    if let Some(i) = d.instance() {
        let all = || Declared::all(d.world, "mailboxes").filter(|m| m.instance().is_some_and(|x| x.key == i.key));
        if bytes(&i.object["spec"]["storage"]).is_some_and(|s| booked(&i) > s) {
            why.insert("QuotaExceeded");
        }
        if i.object["spec"]["limits"]["mailboxes"].as_u64().is_some_and(|l| all().count() as u64 > l) {
            why.insert("LimitExceeded");
        }
    }
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
    // Taken over from one whose password came from elsewhere, by a declaration of before that a restored etcd gave back: what
    // the mailbox has stays.
    let taken = |e: &crate::groupware::Entry| {
        (e.verb, e.kind) == (crate::groupware::Verb::TakenOver, "mailbox") && e.owner.as_deref() == Some(uid(d.object))
    };
    let mut ever = d.world.api.log.iter().filter(|c| c.key == *d.key).flat_map(|c| [&c.old, &c.new]).flatten();
    let other = |v: &crate::api::Obj| uid(v) != uid(d.object) && v["spec"]["password"] != d.object["spec"]["password"];
    if from.is_some() && d.world.notes.restores > 0 && s.log.iter().any(taken) && ever.any(other) {
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
