//! Records: what is wanted against what is there, changed by the pure plan of `mailtenant_mail::merge`, read back at the server and
//! seen at the authoritative servers. What is going to be written stands in the status before it is written.

use super::Parents;
use super::journal;
use super::keys::Selectors;
use super::status::Progress;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use mailtenant_api::{ConditionType, Purpose, Reason, RecordState, uid};
use mailtenant_dns::converge::{Aim, Converged};
use mailtenant_dns::{RecordType, RrSet};
use mailtenant_groupware::DkimRow;
use mailtenant_mail::merge::{self, Policy};
use mailtenant_mail::records::{self, Input, Record};
use std::time::Duration;

/// Pause before DNS servers are asked again.
const PROPAGATION: Duration = Duration::from_secs(5);

/// The wanted records.
pub fn desired(p: &Progress, parents: &Parents, selectors: &Selectors) -> Vec<Record> {
    let spec = &p.object.spec;
    let hosts = &parents.instance.backend.spec.hosts;
    let challenge = !parents.dns.object.spec.require_proof;
    records::desired(&Input {
        domain: parents.name.clone(),
        ttl: spec.dns.ttl.max(1) as u32,
        challenge: challenge.then(|| records::challenge_value(&uid(p.object.as_ref()), &parents.name)),
        mx: hosts.mx.iter().map(|m| (m.preference.clamp(0, 65535) as u16, m.host.clone())).collect(),
        spf: parents
            .instance
            .backend
            .spec
            .spf
            .as_ref()
            .zip(spec.dns.spf.as_ref())
            .map(|(s, p)| (s.include.clone(), p.all)),
        dkim: selectors.public(),
        dmarc: Some(records::Dmarc { policy: spec.dns.dmarc.policy, report_to: spec.dns.dmarc.report_to.clone() }),
    })
}

/// The journal names MX before it is written: only the state says that the switch went through (I7).
fn is_live(p: &Progress) -> bool {
    p.status.state == Some(mailtenant_api::mail_domain::DomainState::Live)
}

/// Publishes all but MX; MX too where it is ours already.
pub async fn all_but_mx(ctx: &Ctx, p: &mut Progress, parents: &Parents, selectors: &Selectors) -> Step<()> {
    let switch = is_live(p);
    if let Err(stop) = publish(ctx, p, parents, selectors, switch).await {
        if let super::Stop::NotReady(not_ready) = &stop {
            p.conditions.set(ConditionType::DNSPublished, false, not_ready.reason, not_ready.message.clone());
        }
        return Err(stop);
    }
    p.conditions.set(
        ConditionType::DNSPublished,
        true,
        Reason::Succeeded,
        "every authoritative server shows the records",
    );
    Ok(())
}

/// Publishes the records, MX among them if `switch_mx`, and sees them at the authoritative servers.
pub async fn publish(
    ctx: &Ctx,
    p: &mut Progress,
    parents: &Parents,
    selectors: &Selectors,
    switch_mx: bool,
) -> Step<()> {
    let wanted = desired(p, parents, selectors);
    let conflict = p.object.spec.dns.conflict_policy;
    let aim = Aim::Publish { wanted: &wanted, conflict, switch_mx };
    let which = merge::which(&wanted, &p.journal());
    match journal::carry_out(ctx, p, &parents.dns, &parents.zone, &aim).await? {
        Converged::Settled { plan, live } => {
            let conflicts = plan.conflicts.clone();
            p.set_journal(plan.journal, plan.previous_mx);
            if let Some(conflict) = conflicts.first() {
                let more = if conflicts.len() > 1 {
                    format!(" ({} more, see status.dns.records)", conflicts.len() - 1)
                } else {
                    String::new()
                };
                return Err(NotReady::stalled(Reason::DNSConflict, format!("{}{more}", conflict.message)).into());
            }
            let policy = Policy { conflict, switch_mx, previous_mx: p.previous_mx() };
            shown(p, parents, &wanted, &which, &live, &policy).await
        }
        Converged::ZoneGone => {
            let error = mailtenant_backend::BackendError::NotFound(format!("the zone {}", parents.zone));
            Err(ctx.dns_failed(&parents.dns, &error).into())
        }
        Converged::Contended => {
            let text = format!("somebody else keeps changing the records of {}", parents.name);
            Err(NotReady::retry(Reason::DNSConflict, text).into())
        }
    }
}

/// Looks at the records of a domain that nothing is written for; `signing`: the keys that its mail is signed with. Returns
/// what differs.
pub async fn observe(ctx: &Ctx, p: &mut Progress, parents: &Parents, signing: Vec<DkimRow>) -> Step<Vec<String>> {
    let selectors = Selectors { keys: signing, newest: vec![], over: vec![] };
    let mut wanted = desired(p, parents, &selectors);
    // Nothing is claimed, so there is nothing to prove.
    wanted.retain(|r| r.purpose != Purpose::Challenge);
    let live = read(ctx, parents, &merge::which(&wanted, &[])).await?;
    let (records, differing) = merge::compare(&wanted, &p.journal(), &live, p.object.spec.dns.conflict_policy);
    p.dns().records = records;
    let (mx, rest): (Vec<_>, Vec<_>) = differing.into_iter().partition(|(purpose, _)| *purpose == Purpose::MX);
    let mut drift = vec![];
    for (condition, differing) in [(ConditionType::DNSPublished, rest), (ConditionType::CutOver, mx)] {
        let names: Vec<String> = differing.iter().map(|(purpose, name)| format!("{purpose:?} {name}")).collect();
        match names.as_slice() {
            [] => p.conditions.set(condition, true, Reason::Succeeded, "observed in the DNS"),
            some => p.conditions.set(condition, false, Reason::Drifted, format!("differs: {}", some.join(", "))),
        }
        drift.extend(names);
    }
    Ok(drift)
}

/// Reads sets at the server.
pub async fn read(ctx: &Ctx, parents: &Parents, which: &[(String, RecordType)]) -> Step<Vec<RrSet>> {
    let live = parents.dns.server.read(&parents.zone, which).await;
    Ok(live.map_err(|e| ctx.dns_failed(&parents.dns, &e))?)
}

/// Asks the authoritative servers; a set that would still have to be changed there is not shown yet.
async fn shown(
    p: &mut Progress,
    parents: &Parents,
    wanted: &[Record],
    which: &[(String, RecordType)],
    live: &[RrSet],
    policy: &Policy,
) -> Step<()> {
    let mut waiting: Vec<(String, RecordType)> = vec![];
    for (name, rtype) in which.iter().filter(|(_, t)| *t != RecordType::CNAME) {
        let seen =
            parents.dns.resolver.lookup(name, *rtype).await.map_err(|e| NotReady::backend(&parents.dns.label(), &e))?;
        let have = live.iter().find(|s| s.name == *name && s.rtype == *rtype);
        let old = seen.iter().any(|server| {
            // A time to live that counts down in a cache says nothing.
            let view: Vec<RrSet> = live
                .iter()
                .map(|s| {
                    if (&s.name, s.rtype) == (name, *rtype) {
                        RrSet { ttl: s.ttl, ..server.clone() }
                    } else {
                        s.clone()
                    }
                })
                .collect();
            let same = have.is_some_and(|h| h.values == server.values);
            !same && !merge::plan(wanted, &p.journal(), &view, policy).changes.is_empty()
        });
        if old || seen.is_empty() {
            waiting.push((name.clone(), *rtype));
        }
    }
    let dns = p.dns();
    for record in &mut dns.records {
        if record.state == RecordState::Ok
            && waiting.iter().any(|(n, t)| *n == record.name && t.as_str() == record.type_)
        {
            record.state = RecordState::Propagating;
        }
    }
    match waiting.first() {
        None => Ok(()),
        Some((name, rtype)) => {
            let text = format!("DNS servers do not show {} {name} yet: they are asked again", rtype.as_str());
            Err(NotReady::after(Reason::DNSPropagating, text, PROPAGATION).into())
        }
    }
}
