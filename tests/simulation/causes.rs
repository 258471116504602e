//! What may rightly be said of an object that is not Ready, or whose deletion does not end: by what is there, not by what the
//! operator says.

use crate::api::{at, deleting, text};
use crate::authority::{holds, needs_proof};
use crate::by_hand;
use crate::declared::*;
use crate::world::World;
use base64::Engine;
use mailtenant_groupware::Address;
use std::collections::BTreeSet;

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
pub fn left_below(d: &Declared) -> bool {
    let Some(s) = d.server().filter(|_| d.key.res == "mailinstances") else { return false };
    let tenant = s.tenant(uid(d.object)).map(|t| t.id);
    let dead = |owner: Option<&str>| owner.is_some_and(|o| d.world.by_uid(o).is_none());
    tenant.is_some() && s.domains.values().any(|x| x.row.tenant == tenant && dead(x.row.owner.as_deref()))
}

/// Whether a mailbox gets mail by an alias whose object was taken away by force and that no object declares: it delivers to
/// others too, so that it stays on, and nobody here can delete it.
pub fn left_beside(d: &Declared) -> bool {
    let (Some(s), Some(address)) = (d.server().filter(|_| d.key.res == "mailboxes"), d.address()) else { return false };
    let declared =
        |a: &Address| Declared::all(d.world, "mailaliases").any(|x| x.address().as_deref() == Some(a.as_str()));
    s.aliases_to(&address).iter().filter_map(|a| s.aliases.get(a)).any(|row| {
        let dead = row.owner.as_deref().is_some_and(|o| d.world.by_uid(o).is_none());
        dead && row.settings.targets.iter().any(|t| t.as_str() != address) && !declared(&row.address)
    })
}

/// Whether the DNS server of a domain cannot be used, whatever is in it.
pub fn no_dns(d: &Declared) -> bool {
    causes_of_dns(d).iter().any(|why| *why != "DNSConflict")
}

/// Whether the operator can reach what the object is on.
pub fn reachable(d: &Declared) -> bool {
    causes_of_backend(d).is_empty()
}

pub fn secret(w: &World, ns: &str, name: &str, key: &str) -> Option<String> {
    let (_, v) = w.of("secrets").find(|(k, _)| k.ns == ns && k.name == name)?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(v["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

pub const OPERATOR_NAMESPACE: &str = "mailtenant-system";

pub fn causes_of_backend(d: &Declared) -> BTreeSet<&'static str> {
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
pub fn going_backend(backend: Option<&serde_json::Value>) -> impl Iterator<Item = &'static str> {
    backend.filter(|b| deleting(b)).into_iter().flat_map(|_| ["BackendNotFound", "BackendNotAllowed"])
}

pub fn causes_of_dns(d: &Declared) -> BTreeSet<&'static str> {
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
pub fn held_by_mass_loss(d: &Declared) -> bool {
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
pub fn was_held(i: &Declared) -> bool {
    (deleting(i.object) || !reachable(i)) && text(i.object, "/status/massLoss") == "Held"
}

/// Whether somebody else has written into the status of an instance that a loss is held: it stays until its server can be asked.
pub fn is_forged_as_held(i: &Declared) -> bool {
    i.world.notes.was_forged.contains(uid(i.object)) && text(i.object, "/status/massLoss") == "Held"
}

/// What is said of a row that nobody owns to whoever asks for it and is not entitled.
pub fn not_entitled(d: &Declared) -> Option<&'static str> {
    let asks = text(d.object, "/spec/adoptionPolicy") == "IfUnowned";
    (asks && !crate::legacy::entitled_now(d.world, d.key, d.object)).then_some("NotEntitled")
}

/// Reasons that would be right for an object that is not Ready. None: it must be Ready.
pub fn causes(d: &Declared) -> BTreeSet<&'static str> {
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
pub fn booked(i: &Declared) -> u64 {
    let all = Declared::all(i.world, "mailboxes").filter(|m| m.instance().is_some_and(|x| x.key == i.key));
    let default = bytes(&i.object["spec"]["defaultMailboxQuota"]);
    all.filter_map(|m| bytes(&m.object["spec"]["quota"]).or(default)).sum()
}

pub fn mailbox(d: &Declared, why: &mut BTreeSet<&'static str>) {
    if let Some(to) = at(d.object, "/spec/forwarding/to").and_then(serde_json::Value::as_array) {
        why.insert("ExternalForwardingDenied");
        // An address of an own domain that nobody has any more.
        let w = d.world;
        let had = |a: &serde_json::Value| {
            let mut all = Declared::all(w, "mailboxes").chain(Declared::all(w, "mailaliases"));
            all.any(|o| o.address().as_deref() == a.as_str())
        };
        // Or that more than one Mailbox has had.
        let several = |a: &serde_json::Value| {
            let all =
                w.api.log.iter().filter(|c| c.key.res == "mailboxes").filter_map(|c| Some((&c.key, c.new.as_ref()?)));
            let had =
                all.filter(|(key, object)| (Declared { world: w, key, object }).address().as_deref() == a.as_str());
            had.map(|(_, object)| uid(object)).collect::<BTreeSet<_>>().len() > 1
        };
        if !to.iter().all(had) || to.iter().any(several) {
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
