//! MX is switched last (I7): when every declared address is ready, the server itself says that it takes mail for each,
//! and a person has agreed where that is asked for.

use super::super::ctx::{Ctx, Step};
use super::super::hold::Hold;
use super::super::world::{ObjectId, World};
use super::Parents;
use super::keys::Selectors;
use super::publish;
use super::stage::Progress;
use crate::api::mail_domain::{CutoverMode, DomainState};
use crate::api::mailbox::Suspend;
use crate::api::*;
use crate::dns::Verdict;
use crate::runtime::store::NamespacedName;
use kube::ResourceExt;
use std::time::Duration;

/// What is declared in a domain.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Addresses that must take mail.
    pub addresses: Vec<String>,
    /// Objects that are not ready.
    pub unready: Vec<String>,
}

fn is_ready(generation: Option<i64>, observed: Option<i64>, conditions: &[Condition]) -> bool {
    observed == generation && conditions::is_true(conditions, ConditionType::Ready)
}

/// What is declared in a domain, and is not on its way out.
pub fn declared(world: &World, key: &NamespacedName, name: &str) -> Declared {
    let mut out = Declared::default();
    let mailboxes = world.index.mailboxes_by_domain.of(key).filter_map(|k| world.mailboxes.get(k));
    for m in mailboxes.filter(|m| m.metadata.deletion_timestamp.is_none()) {
        let status = m.status.clone().unwrap_or_default();
        if !is_ready(m.metadata.generation, status.observed_generation, &status.conditions) {
            out.unready.push(format!("Mailbox {}", m.name_any()));
        } else if m.spec.suspend != Suspend::All {
            out.addresses.push(format!("{}@{name}", m.spec.local_part));
        }
    }
    let aliases = world.index.aliases_by_domain.of(key).filter_map(|k| world.aliases.get(k));
    for a in aliases.filter(|a| a.metadata.deletion_timestamp.is_none()) {
        let status = a.status.clone().unwrap_or_default();
        if !is_ready(a.metadata.generation, status.observed_generation, &status.conditions) {
            out.unready.push(format!("MailAlias {}", a.name_any()));
        } else if a.spec.local_part != "*" {
            out.addresses.push(format!("{}@{name}", a.spec.local_part));
        }
    }
    out
}

/// Goes live, or says what is missing. Returns the message of `Ready=True`.
pub async fn run(ctx: &Ctx, id: &ObjectId, p: &mut Progress, parents: &Parents, selectors: &Selectors) -> Step<String> {
    let live =
        p.journal().iter().any(|r| r.purpose == Purpose::MX && r.state == RecordState::Ok && r.ownership.is_some());
    if live && p.status.state == Some(DomainState::Live) {
        p.conditions.set(ConditionType::CutOver, true, Reason::Succeeded, "MX is ours");
        return Ok(format!("{} is live", parents.name));
    }
    p.status.state = Some(DomainState::CutoverReady);
    match accepted(ctx, id, p, parents).await {
        Ok(true) => {}
        Ok(false) => {
            let text = "MX is switched when the first Mailbox or MailAlias of the domain is there";
            p.conditions.set(ConditionType::CutOver, false, Reason::AwaitingFirstAddress, text);
            return Ok(format!("{} is prepared: {text}", parents.name));
        }
        Err(hold) => {
            p.conditions.set(ConditionType::CutOver, false, hold.reason, hold.message.clone());
            return Err(hold.into());
        }
    }
    if let Err(stop) = publish::publish(ctx, p, parents, selectors, true).await {
        if let super::Stop::Hold(hold) = &stop {
            p.conditions.set(ConditionType::CutOver, false, hold.reason, hold.message.clone());
        }
        return Err(stop);
    }
    ctx.forget_probes(&super::super::ctx::uid(p.object.as_ref()));
    p.status.state = Some(DomainState::Live);
    p.conditions.set(ConditionType::CutOver, true, Reason::Succeeded, "MX is ours");
    ctx.event(
        p.object.as_ref(),
        false,
        "CutOver",
        format!("MX of {} is ours, every declared address takes mail", parents.name),
    );
    Ok(format!("{} is live", parents.name))
}

/// Whether MX may be switched; `false`: there is no address yet.
async fn accepted(ctx: &Ctx, id: &ObjectId, p: &Progress, parents: &Parents) -> Result<bool, Hold> {
    let declared = declared(&ctx.world(), &id.key, &parents.name);
    if let Some(first) = declared.unready.first() {
        let more = declared.unready.len() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("{first}{more} must be ready before MX is switched: see their conditions");
        return Err(Hold::waiting(Reason::AwaitingAcceptance, text));
    }
    if declared.addresses.is_empty() {
        return Ok(false);
    }
    let cutover = &p.object.spec.cutover;
    if cutover.mode == CutoverMode::Manual && !cutover.approved {
        let text = "everything is prepared: set spec.cutover.approved: true to switch MX";
        return Err(Hold::waiting(Reason::AwaitingApproval, text));
    }
    let spec = &parents.instance.backend.spec;
    let port = |p: i32| p.clamp(1, 65535) as u16;
    let servers: Vec<(String, u16)> = match &spec.delivery {
        Some(d) => vec![(d.address.clone(), port(d.port))],
        None => spec.hosts.mx.iter().map(|m| (m.host.clone(), 25)).collect(),
    };
    ask(ctx, p, parents, &servers, &declared.addresses).await.map(|()| true)
}

/// Recipients that are asked for in one go.
const CHUNK: usize = 100;
/// How long one pass may ask: well below the time limit of a pass, which would forget all answers.
const BUDGET: Duration = Duration::from_secs(20);

/// Asks the server for every address. Answers are kept from pass to pass, so that a domain with thousands of addresses
/// gets through.
async fn ask(
    ctx: &Ctx,
    p: &Progress,
    parents: &Parents,
    servers: &[(String, u16)],
    addresses: &[String],
) -> Result<(), Hold> {
    let server = format!("mail server of GroupwareBackend {}", parents.server.name);
    let uid = super::super::ctx::uid(p.object.as_ref());
    let start = tokio::time::Instant::now();
    let left: Vec<String> = ctx.unprobed(&uid, addresses);
    for (n, chunk) in left.chunks(CHUNK).enumerate() {
        if start.elapsed() > BUDGET {
            let asked = addresses.len() - left.len() + n * CHUNK;
            let text = format!("the {server} takes mail for {asked} of {} addresses so far", addresses.len());
            return Err(Hold::after(Reason::AwaitingAcceptance, text, Duration::from_secs(1)));
        }
        let verdicts = ctx.probe.ask(servers, chunk).await.map_err(|e| Hold::backend(&server, &e))?;
        if verdicts.len() != chunk.len() {
            return Err(Hold::retry(
                Reason::AwaitingAcceptance,
                format!("the {server} did not answer for every address"),
            ));
        }
        let (good, bad): (Vec<_>, Vec<_>) = chunk.iter().zip(verdicts).partition(|(_, v)| *v == Verdict::Accepted);
        ctx.probed(&uid, good.into_iter().map(|(a, _)| a.clone()));
        if let Some((address, Verdict::Later(why) | Verdict::Refused(why))) = bad.into_iter().next() {
            return Err(Hold::retry(
                Reason::AwaitingAcceptance,
                format!("the {server} does not take mail for {address} yet: {why}"),
            ));
        }
    }
    Ok(())
}
