//! Who may take over what nobody owns (I3). At a server that served mail before mailtenant came, a domain and its mailboxes
//! belong to somebody whom no object names: `adoptionPolicy: IfUnowned` is the word of whoever came first, and would give
//! them somebody's mail with a password of their choice. So more is asked for: the platform has named the namespace in the
//! zone itself, or somebody who may write the zone has put the TXT record there that is made for this MailDomain.
//!
//! What an object of the same namespace had and let go is its tenant's own, and needs none of this: a server gives it back
//! to [`Adopt::Kept`](mailtenant_groupware::Adopt). So this is asked only where a server said that there is more.

use super::zones;
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::state::derived::a_label;
use kube::ResourceExt;
use mailtenant_api::dns_backend::Zone;
use mailtenant_api::{AdoptionPolicy, DNSBackend, MailDomain, Reason, uid};
use mailtenant_dns::{RecordType, RrSet};
use mailtenant_groupware::BackendError;
use mailtenant_mail::{name, records};
use mailtenant_runtime::store::NamespacedName;

/// Whether what `error` speaks of may be taken over by an object of a MailDomain, or by itself. False: it is not asked for,
/// or nobody gets it. An error: it could be, by whoever is entitled.
pub async fn adopts(
    ctx: &Ctx,
    server: &Groupware,
    domain: &MailDomain,
    policy: AdoptionPolicy,
    error: &BackendError,
) -> Step<bool> {
    let BackendError::Exists { what, adoptable: true, .. } = error else { return Ok(false) };
    if policy == AdoptionPolicy::Never {
        return Ok(false);
    }
    let name = a_label(domain);
    let namespace = domain.namespace().unwrap_or_default();
    let Some(backend) = zones::managed_by(domain)? else {
        return by_hand(ctx, &server.label(), domain, &namespace, what).await;
    };
    let zone = {
        let world = ctx.world();
        let dns = world.dns.get(&NamespacedName::new("", backend)).ok_or_else(|| zones::not_there(backend))?;
        zones::allowed(&world.namespace_labels(&namespace), &dns, &namespace, &name)?.clone()
    };
    if let Some(other) = more_specific(ctx.world().dns.iter().map(|(_, dns)| dns.as_ref()), &name, &zone) {
        return Err(elsewhere(&server.label(), what, &name, &other).into());
    }
    if zones::names_its_tenants(&zone) {
        return Ok(true);
    }
    let value = records::adoption_value(&uid(domain), &name);
    if zones::all_show(&proof(ctx, backend, &name).await?, &value) {
        return Ok(true);
    }
    let place = Place { server: &server.label(), namespace: &namespace, name: &name, zone: &zone.name, backend };
    Err(not_entitled(&place, what, &value).into())
}

/// The same of a domain whose records are edited by hand: the zones of DNSBackends that the name is in still decide, and where
/// there is none, or none that names its namespaces, the record does.
async fn by_hand(ctx: &Ctx, server: &str, domain: &MailDomain, namespace: &str, what: &str) -> Step<bool> {
    let name = a_label(domain);
    let named = {
        let world = ctx.world();
        let backends = world.dns.iter().map(|(_, dns)| dns.as_ref());
        let zones = zones::allowed_by_hand(&world.namespace_labels(namespace), backends, namespace, &name)?;
        !zones.is_empty() && zones.into_iter().all(zones::names_its_tenants)
    };
    if named {
        return Ok(true);
    }
    let (record, value) = (records::challenge_name(&name), records::adoption_value(&uid(domain), &name));
    let resolver = ctx.connections.dns.default_resolver();
    // Whom the platform asks does not change while this process runs. A server that gives no answer is no proof.
    let look = async {
        let answers = resolver.lookup_each(&record, RecordType::TXT).await?;
        Ok(if answers.silent.is_empty() { answers.sets } else { vec![] })
    };
    let seen = ctx.lookups.once(("", &record), look).await;
    let seen = seen.map_err(|e| NotReady::backend("the authoritative DNS servers", &zones::no_answer(&record, e)))?;
    if zones::all_show(&seen, &value) {
        return Ok(true);
    }
    let text = format!(
        "{server}: {what} was there before and belongs to nobody we know. It is for whoever the name {name} belongs to: add the \
         TXT record {record} with the value \"{value}\"; all DNS servers of the name must show it"
    );
    Err(NotReady::retry(Reason::NotEntitled, text).into())
}

/// The zone that decides about a name, and its DNSBackend, if it is not `zone`: the most specific one of all DNSBackends. Else
/// whoever may use a zone far above would choose the one that names them.
fn more_specific<'a>(all: impl Iterator<Item = &'a DNSBackend>, name: &str, zone: &Zone) -> Option<(String, String)> {
    let zones = all.flat_map(|dns| dns.spec.zones.iter().map(|z| (z, dns.name_any())));
    let covering = zones.filter_map(|(z, dns)| Some((name::canonical(&z.name).ok()?, dns)));
    let covering = covering.filter(|(z, _)| name::is_within(name, z));
    let own = name::canonical(&zone.name).map_or(0, |z| z.len());
    covering.max_by_key(|(z, _)| z.len()).filter(|(z, _)| z.len() > own)
}

fn elsewhere(server: &str, what: &str, name: &str, (zone, backend): &(String, String)) -> NotReady {
    let text = format!(
        "{server}: {what} was there before and belongs to nobody we know. Zone {zone} of DNSBackend {backend} decides whose the \
         name {name} is: name that DNSBackend in spec.dns.backendRef of the MailDomain"
    );
    NotReady::retry(Reason::NotEntitled, text)
}

/// The sets of the record that proves a name, as the authoritative servers have them now.
async fn proof(ctx: &Ctx, backend: &str, name: &str) -> Step<Vec<RrSet>> {
    let dns = ctx.dns(backend).await?;
    let record = records::challenge_name(name);
    let look = dns.resolver.lookup(&record, RecordType::TXT);
    // Other resolvers of it are asked anew.
    let whom = format!("{backend}/{}", dns.object.metadata.generation.unwrap_or_default());
    let seen = ctx.lookups.once((&whom, &record), look).await;
    Ok(seen.map_err(|e| NotReady::backend(&dns.label(), &zones::no_answer(&record, e)))?)
}

/// Where something is that is not taken over.
struct Place<'a> {
    /// The groupware server, for messages.
    server: &'a str,
    namespace: &'a str,
    name: &'a str,
    zone: &'a str,
    /// The DNSBackend that has the zone.
    backend: &'a str,
}

fn not_entitled(place: &Place<'_>, what: &str, value: &str) -> NotReady {
    let Place { server, namespace, name, zone, backend } = place;
    let record = records::challenge_name(name);
    let text = format!(
        "{server}: {what} was there before and belongs to nobody we know. It is for whoever the name {name} belongs to: add \
         the TXT record {record} with the value \"{value}\", or ask the platform team to name namespace {namespace} in \
         allowedNamespaces of zone {zone} of DNSBackend {backend}"
    );
    NotReady::retry(Reason::NotEntitled, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use mailtenant_runtime::dispatch::Next;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    #[test]
    fn only_a_zone_that_names_the_namespace_entitles() {
        let all = json!({"from": "All"});
        let names = |names: &[&str]| json!({"from": "Names", "names": names});
        let labelled = json!({"from": "Selector", "selector": {"matchLabels": {"team": "acme"}}});
        let (acme, sub) = ("acme.test", "sub.acme.test");
        // Who may use the backend, its zones with whom they are for; the name, and whether it is named: none: not allowed.
        let table: &[(&Value, &[(&str, Value)], &str, Option<bool>, &str)] = &[
            (&all, &[(acme, Value::Null)], acme, Some(false), "an open zone"),
            (&all, &[(acme, all.clone())], acme, Some(false), "open by its own word"),
            (&names(&["t"]), &[(acme, Value::Null)], acme, Some(false), "the backend names it, for all of its zones"),
            (&all, &[(acme, names(&["t", "u"]))], acme, Some(true), "named"),
            (&all, &[(acme, names(&["t"]))], sub, Some(true), "a name below"),
            (&all, &[(acme, labelled.clone())], acme, Some(true), "chosen by its labels"),
            (&all, &[(acme, names(&["u"]))], acme, None, "for another one"),
            (&names(&["u"]), &[(acme, names(&["t"]))], acme, None, "the backend is for others"),
            (&all, &[(acme, names(&["t"])), (sub, Value::Null)], sub, Some(false), "the most specific zone decides"),
            (
                &all,
                &[(acme, Value::Null), (sub, names(&["t"]))],
                sub,
                Some(true),
                "also where it is the one that names",
            ),
            (&all, &[("other.test", names(&["t"]))], acme, None, "in no zone"),
        ];
        let labels = BTreeMap::from([("team".to_owned(), "acme".to_owned())]);
        for (backend, zones, name, want, why) in table {
            let zone = |(name, allowed): &(&str, Value)| match allowed {
                Value::Null => json!({"name": name}),
                allowed => json!({"name": name, "allowedNamespaces": allowed}),
            };
            let zones: Vec<Value> = zones.iter().map(zone).collect();
            let dns = fixtures::dns_backend(json!({"allowedNamespaces": backend, "zones": zones}));
            let named = zones::allowed(&labels, &dns, "t", name).ok().map(zones::names_its_tenants);
            assert_eq!(named, *want, "{why}");
            // Where nobody is named, a name has to be proven, unless the platform says otherwise.
            for (said, needed) in
                [(None, want.map(|named| !named)), (Some(true), Some(true)), (Some(false), Some(false))]
            {
                let mut dns = dns.clone();
                dns.spec.require_proof = said;
                let proof = zones::allowed(&labels, &dns, "t", name).ok().map(|z| zones::needs_proof(&dns, z));
                assert_eq!(proof, want.and(needed), "{why}, requireProof {said:?}");
            }
        }
    }

    #[test]
    fn the_most_specific_zone_of_all_backends_decides() {
        let dns = |zones: &[&str]| {
            let zones: Vec<Value> = zones.iter().map(|z| json!({"name": z})).collect();
            fixtures::dns_backend(json!({"zones": zones}))
        };
        let zone = |name: &str| Zone { name: name.into(), allowed_namespaces: None };
        for (others, chosen, other) in [
            (vec!["acme.test", "other.test"], "test", Some("acme.test")),
            (vec!["test"], "acme.test", None),
            (vec!["acme.test"], "acme.test", None),
            (vec!["sub.acme.test"], "acme.test", None),
        ] {
            let (mine, theirs) = (dns(&[chosen]), dns(&others));
            let seen = more_specific([&mine, &theirs].into_iter(), "acme.test", &zone(chosen));
            assert_eq!(seen.map(|(zone, _)| zone).as_deref(), other, "{others:?} {chosen}");
        }
    }

    #[test]
    fn every_server_must_show_the_record_of_this_very_domain() {
        let (ours, theirs) = (records::adoption_value("uid-d", "acme.test"), "token=x".to_owned());
        let published = records::challenge_value("uid-d", "acme.test");
        let set = |values: &[&String]| RrSet {
            name: "_mailtenant-challenge.acme.test".into(),
            rtype: RecordType::TXT,
            ttl: 60,
            values: values.iter().map(|v| (*v).clone()).collect(),
        };
        for (seen, shown, why) in [
            (vec![], false, "nobody answers"),
            (vec![set(&[&theirs])], false, "the token of another one"),
            (vec![set(&[&published])], false, "what the operator publishes itself"),
            (vec![set(&[&ours]), set(&[])], false, "one of two is behind"),
            (vec![set(&[&theirs, &ours]), set(&[&ours])], true, "beside others"),
        ] {
            assert_eq!(zones::all_show(&seen, &ours), shown, "{why}");
        }
    }

    #[test]
    fn a_refusal_names_the_record_and_the_zone() {
        let place =
            Place { server: "GroupwareBackend b", namespace: "t", name: "acme.test", zone: "test", backend: "n" };
        let refused = not_entitled(&place, "mailbox a@acme.test", "token=x expiry=never");
        assert_eq!((refused.reason, refused.stalled, refused.next), (Reason::NotEntitled, false, Next::Retry));
        for word in [
            "mailbox a@acme.test",
            "_mailtenant-challenge.acme.test with the value \"token=x expiry=never\"",
            "namespace t in allowedNamespaces of zone test of DNSBackend n",
        ] {
            assert!(refused.message.contains(word), "{}", refused.message);
        }
    }
}
