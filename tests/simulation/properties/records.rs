//! What the operator may write into the DNS, and when.

use super::{Properties, Verdict};
use crate::api::{deleting, text};
use crate::authority;
use crate::declared::*;
use crate::dns::SetKey;
use crate::groupware::Verb;
use crate::world::World;
use mailtenant_dns::{RecordType, RrSet};
use std::collections::{BTreeMap, BTreeSet};

impl Properties {
    /// I7, on the way in: MX leads here only once the server has the domain and takes mail for somebody in it.
    pub(super) fn switched(&mut self, w: &World) -> Verdict {
        for (host, server) in &w.dns {
            let from = self.records.insert(host.clone(), server.history.len()).unwrap_or(0);
            for (i, (_, set)) in server.history.iter().enumerate().skip(from) {
                let ours = |v: &String| authority::leads_here(v);
                if set.rtype == RecordType::MX && !server.by_others.contains(&i) {
                    self.withdrawn(w, &server.history[..i], set)?;
                }
                let host = |v: &String| v.split_whitespace().nth(1).unwrap_or_default().to_owned();
                if set.rtype == RecordType::MX
                    && !server.by_others.contains(&i)
                    && let Some(host) = set.values.iter().map(host).find(|h| h.contains(".mial."))
                {
                    return Err(format!("I7: MX of {} was led to {host}, which does not exist", set.name));
                }
                if !server.by_others.contains(&i) {
                    authority::of_the_holder(w, &server.history[..i], set)?;
                }
                self.tightened(w, server, i)?;
                Self::wildcard_ended(w, server, i)?;
                // Put back where it was before: addresses may have gone meanwhile.
                let live = |d: &Declared| d.name() == set.name && text(d.object, "/status/state") == "Live";
                let known = self.drifted(w, &set.name) || Declared::all(w, "maildomains").any(|d| live(&d));
                if set.rtype != RecordType::MX || server.by_others.contains(&i) || !set.values.iter().any(ours) || known
                {
                    continue;
                }
                let takes = w.groupware.values().any(|s| {
                    let mut all = s.mailboxes.keys().chain(s.aliases.keys());
                    s.domains.get(set.name.as_str()).is_some_and(|d| d.row.active)
                        && all.any(|a| a.ends_with(&format!("@{}", set.name)))
                });
                // Who was asked for a moment ago may be on its way out by now, because its object was deleted just then.
                let left = w.groupware.values().flat_map(|s| &s.log).any(|e| {
                    matches!(e.verb, Verb::Disabled | Verb::Deleted | Verb::Released)
                        && e.name.ends_with(&format!("@{}", set.name))
                });
                let takes = takes || left;
                let refused = |d: &Declared| {
                    let mut all = d.children().into_iter().filter(|c| ready(c.object) && !deleting(c.object));
                    // Mail for it is refused on purpose, or it takes what nobody else does.
                    let asked = |c: &Declared| {
                        text(c.object, "/spec/suspend") != "All" && text(c.object, "/spec/localPart") != "*"
                    };
                    // One that was ready long before has been asked for. What a held watch has not told may be as old.
                    let long = w.held.is_empty().then(|| crate::world::stamp(w.ms.saturating_sub(400_000)));
                    let before = |c: &Declared| long.as_ref().is_some_and(|long| ready_since(c.object) < long.as_str());
                    all.find_map(|c| {
                        c.address().filter(|a| match w.notes.asked.get(a) {
                            Some(taken) => asked(&c) && !taken,
                            None => asked(&c) && before(&c),
                        })
                    })
                };
                let holder = Declared::all(w, "maildomains").find(|d| d.name() == set.name && authority::holds(d));
                if let Some(address) = holder.as_ref().and_then(refused) {
                    return Err(format!(
                        "I7: MX of {} leads here, and {address} was not asked for, or refused when it was asked last",
                        set.name
                    ));
                }
                let drifted = w.notes.drifted.keys().any(|n| n.ends_with(&format!("@{}", set.name)));
                if !takes && !drifted && w.notes.emptied.is_empty() {
                    return Err(format!("I7: MX of {} leads here, and nobody there gets mail", set.name));
                }
            }
        }
        Ok(())
    }

    /// I3: MX is not taken out of what was paused or only observed before its deletion. I12: nor while a mass loss is held: the
    /// server may be the wrong one, and whoever comes back finds mail lost on its way. `before`: all changes until then.
    fn withdrawn(&self, w: &World, before: &[(u64, RrSet)], set: &RrSet) -> Verdict {
        let led = before.iter().rev().find(|(_, s)| s.name == set.name && s.rtype == set.rtype);
        let leads = |s: &RrSet| s.values.iter().any(|v| authority::leads_here(v));
        if !led.is_some_and(|(_, s)| leads(s)) || leads(set) {
            return Ok(());
        }
        let Some(domain) = Declared::all(w, "maildomains").find(|d| d.name() == set.name && authority::holds(d)) else {
            return Ok(());
        };
        let was_asked =
            authority::asked(w, domain.key, uid(domain.object)).filter(|_| !w.notes.abandoned(uid(domain.object)));
        if let Some(word) = was_asked.and_then(|rv| authority::forbidden(&domain, rv, true)) {
            return Err(format!(
                "I3: {} was {word} before its deletion, and MX of {} was taken out",
                domain.key, set.name
            ));
        }
        let Some(instance) = domain.instance() else { return Ok(()) };
        // A watch that is late, or a pass that had begun before.
        let told = |since: &u64| w.ms > since + 120_000 && w.held.is_empty();
        let known = self.losses.get(uid(instance.object)).is_some_and(told);
        let accepted = !annotation(instance.object, "accept-mass-loss").is_empty();
        let given_up = !annotation(domain.object, "orphan").is_empty();
        if known && !accepted && !given_up && !w.notes.was_forged.contains(uid(instance.object)) {
            return Err(format!("I12: MX of {} was taken out while a mass loss of {} is held", set.name, instance.key));
        }
        Ok(())
    }

    /// I8: a name that a wildcard alone answers for is not written at or below before MX leads here: that would end it.
    fn wildcard_ended(w: &World, server: &crate::dns::Server, i: usize) -> Verdict {
        let (_, set) = &server.history[i];
        let Some(domain) = Declared::all(w, "maildomains").find(|d| {
            let name = d.name();
            (set.name == name || set.name.ends_with(&format!(".{name}"))) && server.zone_of(&name) != Some(name)
        }) else {
            return Ok(());
        };
        let (name, mut names) = (domain.name(), BTreeMap::new());
        for (_, s) in &server.history[..i] {
            names.insert((s.name.clone(), s.rtype), !s.values.is_empty());
        }
        let names = names.into_iter().filter(|(_, there)| *there).map(|((n, _), _)| n).collect();
        let wildcard = mailtenant_dns::wildcard::answering(&name, &server.zone_of(&name).unwrap_or_default(), &names);
        let live = text(domain.object, "/status/state") == "Live";
        match wildcard.filter(|_| !server.by_others.contains(&i) && !set.values.is_empty() && !live) {
            Some(wildcard) => Err(format!("I8: {} was written, and {wildcard} ends for {name}", set.name)),
            None => Ok(()),
        }
    }

    /// I7: nothing that rejects mail is published while MX leads to another server, through which the tenant still sends.
    fn tightened(&self, w: &World, server: &crate::dns::Server, i: usize) -> Verdict {
        let (at, set) = &server.history[i];
        let strict = |v: &&String| v.contains("p=quarantine") || v.contains("p=reject") || is_own_spf_with_fail(v);
        let before = server.history[..i].iter().rev().find(|(_, s)| s.name == set.name && s.rtype == set.rtype);
        let had = |v: &String| before.is_some_and(|(_, s)| s.values.contains(v));
        let Some(value) = set.values.iter().filter(strict).find(|v| !had(v)) else { return Ok(()) };
        // Somebody else wrote that all others fail; we put our term in, which makes it looser.
        let theirs = |v: &String| v.starts_with("v=spf1") && v.ends_with(" -all");
        let foreign = server.foreign.get(&(set.name.clone(), set.rtype));
        if value.starts_with("v=spf1") && foreign.is_some_and(|s| s.values.iter().any(theirs)) {
            return Ok(());
        }
        let domain = set.name.trim_start_matches("_dmarc.");
        // What is written at once is one change, in whatever order it stands here.
        let then = server.history.iter().rev().find(|(t, s)| t <= at && s.name == domain && s.rtype == RecordType::MX);
        let leads_here = then.is_some_and(|(_, s)| s.values.iter().any(|v| authority::leads_here(v)));
        // Whoever forges the status of a domain to be Live has its own mail rejected, and that of nobody else.
        let live = Declared::all(w, "maildomains").filter(|d| d.name() == domain).any(|d| {
            matches!(text(d.object, "/status/state"), "Live" | "Draining")
                || (authority::holds(&d) && w.notes.was_forged.contains(uid(d.object)))
        });
        if server.by_others.contains(&i) || leads_here || live || self.drifted(w, domain) {
            return Ok(());
        }
        Err(format!("I7: {} {} {value:?} while MX of {domain} leads elsewhere", set.name, set.rtype.as_str()))
    }

    /// I8: records of others stay; and none of ours stays where no MailDomain is.
    pub(super) fn records(&mut self, w: &World) -> Verdict {
        for server in w.dns.values() {
            let mut keys: BTreeSet<&SetKey> = server.foreign.keys().collect();
            keys.extend(server.sets.keys());
            for key in keys {
                let none = || RrSet { name: key.0.clone(), rtype: key.1, ttl: 0, values: vec![] };
                let was = server.foreign.get(key).cloned().unwrap_or_else(none);
                let is = server.sets.get(key).cloned().unwrap_or_else(none);
                let over = |name: &str| key.0 == name || key.0.ends_with(&format!(".{name}"));
                if self.forgotten.iter().any(|n| over(n)) {
                    continue;
                }
                // Who went while its zone was at another server left there what was in it.
                let stays = |v: &String| v.starts_with("v=spf1") || is.values.contains(v);
                let moved = server.moved.iter().any(|zone| over(zone)) && was.values.iter().all(stays);
                let managed = Declared::all(w, "maildomains")
                    .any(|d| (held(d.object) || w.notes.abandoned(uid(d.object))) && over(&d.name()));
                if managed {
                    // MX and SPF there can be only one of: they are replaced and merged, and put back at the end.
                    let kept =
                        |v: &&String| key.1 == RecordType::MX || v.starts_with("v=spf1") || is.values.contains(v);
                    if let Some(lost) = was.values.iter().find(|v| !kept(v)) {
                        return Err(format!("I8: {} {} {lost:?} is gone", key.0, key.1.as_str()));
                    }
                    if key.1 != RecordType::MX
                        && was.values.iter().any(|v| !v.starts_with("v=spf1"))
                        && is.ttl != was.ttl
                    {
                        return Err(format!(
                            "I8: TTL of {} {} was {} and is {}",
                            key.0,
                            key.1.as_str(),
                            was.ttl,
                            is.ttl
                        ));
                    }
                } else if is != was && !moved && !(was.values.is_empty() && authority::is_unknown_key(w, &key.0)) {
                    return Err(format!(
                        "I8: {} {} is {:?} ttl {}, of others are {:?} ttl {}, and no MailDomain is there",
                        key.0,
                        key.1.as_str(),
                        is.values,
                        is.ttl,
                        was.values,
                        was.ttl
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A record that the operator made, not one of others with a term of ours in it.
fn is_own_spf_with_fail(value: &str) -> bool {
    value == "v=spf1 include:_spf.mail.example.net -all"
}
