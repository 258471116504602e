//! What is looked up beyond the records of the domain itself: wildcards that answer for it, where records lead that are kept,
//! and the mail servers that MX is going to lead to. Nothing is decided here, and nothing is written.

use super::facts::Kept;
use super::move_mx;
use super::zone::Zone;
use crate::ctx::Ctx;
use crate::not_ready::NotReady;
use crate::rules::zones::no_answer;
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_dns::{BackendError, RecordType, RrSet, Wildcard};

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
    let mut at = match entry.type_.as_str() {
        "CNAME" => entry.value.trim_end_matches('.').to_owned(),
        _ => entry.name.clone(),
    };
    let mut answers = None;
    for _ in 0..HOPS {
        answers = anywhere(ctx, zone, &at, RecordType::TXT).await;
        if answers.as_ref().is_none_or(|texts| !texts.is_empty()) {
            break;
        }
        match anywhere(ctx, zone, &at, RecordType::CNAME).await {
            None => answers = None,
            Some(next) => match next.into_iter().next() {
                Some(next) => {
                    next.trim_end_matches('.').clone_into(&mut at);
                    continue;
                }
                None => break,
            },
        }
        break;
    }
    Kept { name: entry.name.clone(), value: entry.value.clone(), answers }
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
