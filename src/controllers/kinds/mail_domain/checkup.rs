//! Learns how a live domain stands, every few hours, and puts the verdict into the status. Nothing is decided here but when to
//! look, and nothing is written but the condition `Healthy` and its Event.

use super::gate::is_live;
use super::gather::Pass;
use super::health::{self, Facts, Written};
use super::move_mx;
use mailtenant_api::mail_domain::{DomainState, RecordStatus};
use mailtenant_api::*;
use mailtenant_dns::standing::{About, Standing, hosts_of};
use mailtenant_dns::{RecordType, RrSet};
use mailtenant_mail::{mx, name};
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long servers are waited for in all: a pass has 60 s, and has looked at the records before.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the world may lag behind our own server before it counts, in seconds: longer than any time to live that we write.
const LAG: i64 = 2 * 3600;

/// At the end of a pass, however it ended: judges where it is time.
pub(super) async fn report(pass: &mut Pass<'_>) {
    if !is_judged(pass) {
        pass.p.conditions.remove(ConditionType::Healthy);
        pass.ctx.checkups.forget(pass.id);
        return;
    }
    if !is_due(pass) || pass.zone().is_err() {
        return;
    }
    // Before it is tried: a pass that is ended while it waits must not wait again in the next one.
    pass.ctx.checkups.judged(pass.id, false, pass.ctx.random.as_ref());
    let facts = look(pass).await;
    let before = conditions::find(&pass.p.before, ConditionType::Healthy);
    let former = before.filter(|c| c.status == "False").map(|c| c.reason.clone());
    let verdict = health::judge(&facts, former.as_deref());
    pass.ctx.checkups.judged(pass.id, verdict.is_some(), pass.ctx.random.as_ref());
    let object = pass.p.object.clone();
    match verdict {
        Some((Reason::Succeeded, text)) => {
            if former.is_some() {
                pass.ctx.event(object.as_ref(), EventReason::Recovered, text.clone());
            }
            pass.p.conditions.set(ConditionType::Healthy, true, Reason::Succeeded, text);
        }
        Some((reason, text)) => {
            if former.as_deref() != Some(reason.as_str()) {
                pass.ctx.event(object.as_ref(), EventReason::Unhealthy, text.clone());
            }
            pass.p.conditions.set(ConditionType::Healthy, false, reason, text);
        }
        None if before.is_none() => {
            let text = format!("no DNS server says how {} stands: they are asked again", pass.name);
            pass.p.conditions.unknown(ConditionType::Healthy, Reason::BackendUnreachable, text);
        }
        None => {}
    }
}

/// Whether the domain is live and its name held. One that was judged once is judged on: where a person moves MX away it is not
/// live any more, which is just what has to be told.
fn is_judged(pass: &Pass<'_>) -> bool {
    let holder = pass.ctx.world().claims.get(&NamespacedName::new("", &*pass.name)).map(|c| c.spec.owner.uid.clone());
    let was_live = pass.p.object.status.as_ref().is_some_and(is_live);
    let told = conditions::find(&pass.p.before, ConditionType::Healthy).is_some();
    let lost = pass.p.status.state == Some(DomainState::Lost);
    holder == Some(pass.uid()) && !lost && (was_live || told || is_live(&pass.p.status))
}

/// Every few hours, when a pass is asked for, once it is live, and when what was said to be amiss is seen to be put right.
fn is_due(pass: &Pass<'_>) -> bool {
    let said = conditions::find(&pass.p.before, ConditionType::Healthy);
    let asked = annotation(pass.p.object.as_ref(), annotations::RECONCILE);
    let handled = pass.p.object.status.as_ref().and_then(|s| s.last_handled_reconcile_at.clone());
    let now = pass.p.conditions.clone().into_vec();
    let began = |type_| conditions::is_true(&now, type_) && !conditions::is_true(&pass.p.before, type_);
    let mended = said.is_some_and(|c| c.status == "False")
        && (began(ConditionType::CutOver) || began(ConditionType::DNSPublished));
    let due = pass.ctx.checkups.due(pass.id, said.is_none(), pass.ctx.random.as_ref());
    due || mended || pass.facts.went_live || (asked.is_some() && asked != handled)
}

/// One round of look-ups.
async fn look(pass: &Pass<'_>) -> Facts {
    let Ok(zone) = pass.zone() else { return Facts::default() };
    let managed = zone.managed().ok();
    let registered = name::registered(&pass.name).unwrap_or(&pass.name).to_owned();
    let about = About { name: &pass.name, registered: &registered, zone: managed.map(|(_, zone)| zone) };
    let (resolver, end) = (zone.resolver(), Instant::now() + PATIENCE);
    let (standing, seen) = tokio::join!(
        timeout_at(end, resolver.standing(&about)),
        timeout_at(end, resolver.lookup(&pass.name, RecordType::MX)),
    );
    let standing: Standing = standing.unwrap_or_default();
    let mut written =
        managed.map(|(dns, zone)| Written { zone: zone.to_owned(), label: dns.label(), servers: BTreeSet::new() });
    if let (Some(written), Some((dns, zone)), false) = (&mut written, managed, standing.servers.is_empty()) {
        let ns = [(zone.to_owned(), RecordType::NS)];
        let sets = timeout_at(end, dns.server.read(zone, &ns)).await;
        written.servers = hosts_of(&sets.ok().and_then(Result::ok).unwrap_or_default());
    }
    let hosts = hosts(pass);
    Facts {
        name: pass.name.to_string(),
        registered,
        standing,
        written,
        mx: seen.ok().and_then(Result::ok),
        mx_on_its_way: is_on_its_way(pass, &hosts),
        hosts,
        records: records(pass),
    }
}

/// The hosts that MX may lead to: those that are declared, and those that the records of the domain name.
fn hosts(pass: &Pass<'_>) -> BTreeSet<String> {
    let mut hosts = pass.parents().map(|parents| move_mx::hosts(parents.instance)).unwrap_or_default();
    let journal = pass.p.journal();
    hosts.extend(journal.iter().filter(|r| r.purpose == Purpose::MX).filter_map(|r| mx::host(&r.value)));
    hosts.retain(|host| !host.is_empty());
    hosts
}

/// Whether our own server has MX as it should be, and the others have not heard of it for a short time only.
fn is_on_its_way(pass: &Pass<'_>, hosts: &BTreeSet<String>) -> bool {
    let published = pass.facts.mx.iter().chain(&pass.facts.records).flat_map(|published| &published.live);
    let mx: Vec<RrSet> = published.filter(|s| s.rtype == RecordType::MX && *s.name == *pass.name).cloned().collect();
    let hosts: Vec<&String> = hosts.iter().collect();
    let lasts = [ConditionType::DNSPublished, ConditionType::CutOver].into_iter().any(|type_| {
        let said = conditions::find(&pass.p.before, type_);
        let since = said.filter(|c| c.status == "False" && c.reason == Reason::DNSPropagating.as_str());
        let since = since.and_then(|c| c.last_transition_time.parse::<jiff::Timestamp>().ok());
        since.is_some_and(|since| pass.now.duration_since(since).as_secs() > LAG)
    });
    mx::leads_to(&mx, &hosts).is_some() && !lasts
}

/// The records as this pass found or left them; none: it did not come to them.
fn records(pass: &Pass<'_>) -> Option<Vec<RecordStatus>> {
    let facts = &pass.facts;
    if facts.records.is_none() && facts.shown.is_none() && facts.compared.is_none() {
        return None;
    }
    let mut records = pass.p.journal();
    // Of a domain that is only looked at the journal says what was written once.
    let differing = facts.compared.as_ref().map(|compared| &compared.differing);
    for record in &mut records {
        if differing.is_some_and(|all| all.contains(&(record.purpose, record.name.clone()))) {
            record.state = RecordState::Wrong;
        }
    }
    Some(records)
}
