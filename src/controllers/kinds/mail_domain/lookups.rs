//! What is looked up beyond the records of the domain itself: wildcards that answer for it, where records lead that are kept,
//! and the mail servers that MX is going to lead to. Nothing is decided here, and nothing is written.

use super::facts::Kept;
use super::former_policy::{Found, told_id};
use super::move_mx;
use super::zone::Zone;
use crate::ctx::Ctx;
use crate::not_ready::NotReady;
use crate::rules::zones::no_answer;
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_dns::address::is_public;
use mailtenant_dns::{BackendError, RecordType, RrSet, Wildcard};
use mailtenant_mail::records::{mta_sts_host, mta_sts_name};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// The wildcard by which alone a name is answered.
pub async fn wildcard(ctx: &Ctx, zone: &Zone, name: &str) -> Result<Option<Wildcard>, NotReady> {
    match zone {
        Zone::Managed { dns, name: zone } => dns.server.wildcard(zone, name).await.map_err(|e| ctx.dns_failed(dns, &e)),
        Zone::Manual { .. } => Ok(None),
    }
}

/// Hops of a chain of CNAMEs that are followed.
const HOPS: usize = 4;

/// What is answered where a record of somebody else was kept in the place of ours.
pub async fn behind(ctx: &Ctx, zone: &Zone, entry: &RecordStatus) -> Kept {
    let at = match entry.type_.as_str() {
        "CNAME" => entry.value.trim_end_matches('.').to_owned(),
        _ => entry.name.clone(),
    };
    Kept { name: entry.name.clone(), value: entry.value.clone(), answers: texts(ctx, zone, at).await }
}

/// The values of TXT at a name in any zone, through CNAMEs; none: nobody answers.
async fn texts(ctx: &Ctx, zone: &Zone, mut at: String) -> Option<Vec<String>> {
    for _ in 0..HOPS {
        let answers = anywhere(ctx, zone, &at, RecordType::TXT).await?;
        if !answers.is_empty() {
            return Some(answers);
        }
        match anywhere(ctx, zone, &at, RecordType::CNAME).await?.into_iter().next() {
            Some(next) => next.trim_end_matches('.').clone_into(&mut at),
            None => return Some(answers),
        }
    }
    // The chain is longer than anybody follows.
    Some(vec![])
}

fn of_the_first(sets: Vec<RrSet>) -> Option<Vec<String>> {
    sets.into_iter().next().map(|set| set.values)
}

/// The values of a set in any zone, of the first server that answers; none: nobody answers.
async fn anywhere(ctx: &Ctx, zone: &Zone, name: &str, rtype: RecordType) -> Option<Vec<String>> {
    match zone.resolver().lookup(name, rtype).await {
        Ok(sets) => of_the_first(sets),
        // The servers of this zone have nothing to do with that name.
        Err(BackendError::NotFound(_)) => {
            let elsewhere = ctx.connections.dns.default_resolver();
            elsewhere.lookup(name, rtype).await.ok().and_then(of_the_first)
        }
        Err(_) => None,
    }
}

/// The addresses of a name, through CNAMEs; empty: nobody says any.
async fn addresses(ctx: &Ctx, zone: &Zone, name: &str) -> BTreeSet<IpAddr> {
    let mut at = name.to_owned();
    for _ in 0..HOPS {
        let mut found = BTreeSet::new();
        for rtype in [RecordType::A, RecordType::AAAA] {
            let texts = anywhere(ctx, zone, &at, rtype).await.unwrap_or_default();
            found.extend(texts.iter().filter_map(|text| text.parse::<IpAddr>().ok()));
        }
        if !found.is_empty() {
            return found;
        }
        match anywhere(ctx, zone, &at, RecordType::CNAME).await.and_then(|targets| targets.into_iter().next()) {
            Some(target) => target.trim_end_matches('.').clone_into(&mut at),
            None => break,
        }
    }
    BTreeSet::new()
}

/// The MTA-STS policy that `host` serves for the domain `name`, fetched as senders do; why it is not known, otherwise.
pub async fn served_policy(ctx: &Ctx, zone: &Zone, name: &str, host: &str) -> Result<String, String> {
    let addresses = leads_to(ctx, zone, &mta_sts_host(name), host).await?;
    ctx.policies.policy(name, &addresses).await.map_err(|error| error.to_string())
}

/// What the authoritative servers of the domain that answer show at one of its own names, and whether one of them shows nothing.
async fn shown(zone: &Zone, name: &str, rtype: RecordType) -> Result<(BTreeSet<String>, bool), NotReady> {
    let sets = zone.resolver().lookup(name, rtype).await;
    let sets = sets.map_err(|e| NotReady::backend(&zone.label(), &no_answer(name, e)))?;
    let nothing = sets.is_empty() || sets.iter().any(|set| set.values.is_empty());
    Ok((sets.into_iter().flat_map(|set| set.values).collect(), nothing))
}

/// The values of TXT that CNAMEs lead to; none: nobody answers for one of them.
async fn behind_aliases(ctx: &Ctx, zone: &Zone, targets: BTreeSet<String>) -> Option<BTreeSet<String>> {
    let mut values = BTreeSet::new();
    for target in targets {
        values.extend(texts(ctx, zone, target.trim_end_matches('.').to_owned()).await?);
    }
    Some(values)
}

/// How long is waited for each of what is behind the record of a policy: other zones, and the policy itself. With the look-ups before
/// all ends before the pass does (60 s).
const POLICY: Duration = Duration::from_secs(10);

/// The MTA-STS policy that senders are told of for the domain `name`, but for `ours`, the values of TXT that are our own. `host`:
/// the platform's own. Others are connected to at addresses of the public Internet alone: a tenant may have put any address there.
pub async fn former_policy(
    ctx: &Ctx,
    zone: &Zone,
    name: &str,
    ours: &BTreeSet<String>,
    host: Option<&str>,
) -> Result<Found, NotReady> {
    let record = mta_sts_name(name);
    let (mut values, nothing) = shown(zone, &record, RecordType::TXT).await?;
    let mut unknown = None;
    if nothing {
        // Whoever leaves MTA-STS to a service has a CNAME there (RFC 8461, 8.2); a server that lags may still show it.
        let (targets, _) = shown(zone, &record, RecordType::CNAME).await?;
        match timeout(POLICY, behind_aliases(ctx, zone, targets)).await {
            Ok(Some(behind)) => values.extend(behind),
            Ok(None) | Err(_) => unknown = Some("no DNS server says what its CNAME leads to"),
        }
    }
    let ids: BTreeSet<String> = values.iter().filter(|v| !ours.contains(*v)).filter_map(|v| told_id(v)).collect();
    if let Some(why) = unknown {
        return Ok(Found::Told { ids, served: Err(why.to_owned()) });
    }
    if ids.is_empty() {
        return Ok(Found::Nothing);
    }
    let served = timeout(POLICY, fetched(ctx, zone, name, host)).await;
    Ok(Found::Told { ids, served: served.unwrap_or_else(|_| Err(format!("no answer within {} s", POLICY.as_secs()))) })
}

/// The policy that is served, whoever serves it; why it cannot be had, otherwise.
async fn fetched(ctx: &Ctx, zone: &Zone, name: &str, host: Option<&str>) -> Result<String, String> {
    let served_at = mta_sts_host(name);
    let own = addresses(ctx, zone, &served_at).await;
    if own.is_empty() {
        return Err(format!("no DNS server says an address of {served_at}"));
    }
    let platform = match host {
        Some(host) => addresses(ctx, zone, host).await,
        None => BTreeSet::new(),
    };
    let open = reachable(own, &platform);
    if open.is_empty() {
        return Err(format!("{served_at} has no public address"));
    }
    ctx.policies.policy(name, &open).await.map_err(|error| error.to_string())
}

/// Addresses that may be connected to for a tenant.
fn reachable(own: BTreeSet<IpAddr>, platform: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    own.into_iter().filter(|ip| is_public(*ip) || platform.contains(ip)).collect()
}

/// The addresses of a name that leads to a host of the platform; why it does not, otherwise. Nobody else's host is ever
/// connected to: a tenant may have put any address there.
async fn leads_to(ctx: &Ctx, zone: &Zone, name: &str, host: &str) -> Result<Vec<IpAddr>, String> {
    let alias = anywhere(ctx, zone, name, RecordType::CNAME).await.unwrap_or_default();
    let theirs = addresses(ctx, zone, host).await;
    // Nobody has to ask where it leads otherwise.
    let own = if is_alias_of(&alias, host) { BTreeSet::new() } else { addresses(ctx, zone, name).await };
    led((name, host), &alias, own, theirs)
}

fn is_alias_of(alias: &[String], host: &str) -> bool {
    alias.iter().any(|target| target.trim_end_matches('.') == host)
}

/// `own`: the addresses of the name; `theirs`: those of the platform's host.
fn led(
    (name, host): (&str, &str),
    alias: &[String],
    own: BTreeSet<IpAddr>,
    theirs: BTreeSet<IpAddr>,
) -> Result<Vec<IpAddr>, String> {
    if theirs.is_empty() {
        return Err(format!("no DNS server says an address of {host} (hosts.wellKnown of the GroupwareBackend)"));
    }
    if is_alias_of(alias, host) {
        return Ok(theirs.into_iter().collect());
    }
    match own.is_subset(&theirs) {
        _ if own.is_empty() => Err(format!("{name} has no address in the DNS yet")),
        true => Ok(own.into_iter().collect()),
        false => Err(format!("{name} does not lead to {host}")),
    }
}

/// A host of MX has an address in the DNS. `strictly`: somebody must be able to say so; else it is enough that the DNS
/// servers of the domain `name` do not say the opposite.
pub async fn resolves(
    ctx: &Ctx,
    zone: &Zone,
    (name, backend): (&str, &str),
    host: &str,
    strictly: bool,
) -> Result<(), NotReady> {
    let mut silent = false;
    for rtype in [RecordType::A, RecordType::AAAA] {
        let found = if strictly {
            anywhere(ctx, zone, host, rtype).await
        } else {
            match zone.resolver().lookup(host, rtype).await {
                Ok(sets) => of_the_first(sets),
                // They have no zone for it.
                Err(BackendError::NotFound(_)) => None,
                // They may say it when they are asked again.
                Err(error) => return Err(NotReady::backend(&zone.label(), &no_answer(host, error))),
            }
        };
        match found {
            Some(addresses) if !addresses.is_empty() => return Ok(()),
            Some(_) => {}
            None => silent = true,
        }
    }
    match (silent, strictly) {
        (true, false) => Ok(()),
        (true, true) => Err(move_mx::unknown(name, host)),
        (false, _) => Err(move_mx::without_address(name, host, backend)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_fetched_from_the_internet_or_from_the_platform() {
        let set = |all: &[&str]| all.iter().map(|ip| ip.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
        let own = ["1.1.1.1", "10.0.0.7", "10.0.0.8", "169.254.169.254"];
        for (platform, open) in [(&[][..], &["1.1.1.1"][..]), (&["10.0.0.7"], &["1.1.1.1", "10.0.0.7"])] {
            assert_eq!(reachable(set(&own), &set(platform)), set(open).into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_the_platforms_own_host_is_connected_to() {
        let set = |all: &[&str]| all.iter().map(|ip| ip.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
        let (ours, platform) = ("192.0.2.1", ["192.0.2.1", "2001:db8::1"]);
        for (alias, own, theirs, want) in [
            (&["wellknown.test."][..], &[][..], &platform[..], Ok(&platform[..])),
            (&["wellknown.test."], &["10.0.0.1"], &platform, Ok(&platform)),
            (&[], &[ours], &platform, Ok(&platform[..1])),
            (&["proxy.test."], &[ours], &platform, Ok(&platform[..1])),
            (&["evil.test."], &["10.0.0.1"], &platform, Err("does not lead to")),
            (&[], &[ours, "127.0.0.1"], &platform, Err("does not lead to")),
            (&[], &[], &platform, Err("has no address")),
            (&["wellknown.test."], &[ours], &[], Err("hosts.wellKnown")),
        ] {
            let alias: Vec<String> = alias.iter().map(|target| (*target).to_owned()).collect();
            let given = led(("mta-sts.acme.test", "wellknown.test"), &alias, set(own), set(theirs));
            match want {
                Ok(want) => assert_eq!(given, Ok(set(want).into_iter().collect()), "{alias:?} {own:?}"),
                Err(says) => assert!(given.as_ref().is_err_and(|why| why.contains(says)), "{given:?}"),
            }
        }
    }
}
