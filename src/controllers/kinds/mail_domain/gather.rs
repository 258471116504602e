//! Learns what the plan asks for. Nothing is decided here, and nothing is written.

use super::acceptance;
use super::by_hand;
use super::facts::{Compared, Facts, Looked, Proof, Published, Regular, Seen, Server};
use super::former_policy;
use super::keys;
use super::lookups;
use super::move_mx;
use super::parents::{self, Known, Parents};
use super::plan;
use super::records::{self, Written};
use super::status::Progress;
use super::steps::{Note, Observation, Part, Planned};
use super::zone::Zone;
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step, Stop};
use crate::kinds::mail_domain_claim as claim;
use crate::not_ready::NotReady;
use crate::rules::zones::{self, all_show, no_answer};
use crate::rules::{backend_ready, mass_loss, recovery};
use crate::state::derived::{a_label, capabilities, origin, owner_uid};
use crate::state::kind::ObjectId;
use crate::state::parents as above;
use crate::state::snapshots::Since;
use jiff::Timestamp;
use mailtenant_api::*;
use mailtenant_dns::converge::Aim;
use mailtenant_dns::{RecordType, RrSet, survey};
use mailtenant_groupware::{BackendError, DkimSigner, DomainName, DomainSnapshot, Uid};
use mailtenant_mail::manual::Shown;
use mailtenant_mail::merge;
use mailtenant_mail::mx;
use mailtenant_mail::name;
use mailtenant_mail::records::{
    Manager, Record, adoption_value, challenge_name, challenge_value, mta_sts_value, token,
};
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;

/// One pass of a domain: what it knows, and the servers that it has connected.
pub struct Pass<'a> {
    /// All that a pass has at hand.
    pub ctx: &'a Ctx,
    pub id: &'a ObjectId,
    /// Its status under construction.
    pub p: &'a mut Progress,
    pub name: DomainName,
    /// When it began. Whether a key is too old, or over, does not change on the way.
    pub now: Timestamp,
    /// What is known so far.
    pub facts: Facts,
    server: Option<Groupware>,
    zone: Option<Zone>,
}

/// What the plan has the pass learn first is there: a fault of the plan otherwise.
fn there<T>(what: Option<T>) -> Step<T> {
    let text = "a step was taken before what it needs was known: please report it";
    what.ok_or_else(|| NotReady::retry(Reason::InternalError, text).into())
}

impl<'a> Pass<'a> {
    /// Nothing is known yet.
    pub fn new(ctx: &'a Ctx, id: &'a ObjectId, p: &'a mut Progress) -> Self {
        let name = a_label(&p.object);
        // A replica whose clock is ahead ends the life of a key no earlier.
        let now = ctx.earliest_now();
        Pass { ctx, id, p, name, now, facts: Facts::default(), server: None, zone: None }
    }

    fn seen(&self) -> Seen<'_> {
        Seen { domain: &self.p.object, status: &self.p.status, now: self.now, facts: &self.facts }
    }

    pub fn plan(&self) -> Planned {
        plan::next(&self.seen())
    }

    /// Uid of the domain.
    pub fn uid(&self) -> String {
        uid(self.p.object.as_ref())
    }

    /// Who the domain is to a server.
    pub fn owner(&self) -> Uid {
        owner_uid(self.p.object.as_ref())
    }

    /// The part of the groupware server that signs.
    pub fn signer(&self) -> Step<&dyn DkimSigner> {
        let server = self.server()?;
        Ok(server.server.dkim().ok_or_else(|| keys::cannot_sign(&server.label()))?)
    }

    pub fn server(&self) -> Step<&Groupware> {
        there(self.server.as_ref())
    }

    /// Where the records are edited.
    pub fn zone(&self) -> Step<&Zone> {
        there(self.zone.as_ref())
    }

    pub fn parents(&self) -> Step<Parents<'_>> {
        Ok(parents::check(&self.p.object, &self.name, there(self.facts.known.as_ref())?)?)
    }

    /// What becomes of the signing keys.
    pub fn keys(&self) -> Step<keys::KeyPlan> {
        let algorithms = keys::algorithms(&self.p.object, there(self.facts.server.as_ref())?)?;
        let all = there(self.facts.keys.as_ref())?;
        Ok(keys::plan(&self.p.object, all, &algorithms, self.now))
    }

    /// All records that are declared.
    pub fn declared(&self) -> Step<Vec<Record>> {
        let keys = self.keys()?;
        let mut declared =
            records::desired((&self.p.object, &self.p.status), &self.name, &self.parents()?, keys.public());
        declared.extend(keys.lost.iter().map(|key| key.record(records::ttl(&self.p.object))));
        Ok(declared)
    }

    /// The records that are to be there.
    pub fn wanted(&self, part: Part, switch_mx: bool) -> Step<Vec<Record>> {
        Ok(records::for_now(self.declared()?, &self.p.journal(), part, switch_mx))
    }

    /// The same, as an aim for the domain `name`.
    pub fn aim<'r>(
        &self,
        name: &'r str,
        wanted: &'r [Record],
        manager: &'r Option<(Manager, String)>,
        switch_mx: bool,
    ) -> Step<Aim<'r>> {
        let writer = self.writer(name, manager)?;
        Ok(Aim::Publish { name, wanted, conflict: self.p.object.spec.dns.conflict_policy, switch_mx, writer })
    }

    /// Who this domain is to other clusters, and its token; none: this cluster has no id.
    pub fn manager(&self) -> Option<(Manager, String)> {
        let origin = origin(self.ctx.world().cluster(), self.p.object.as_ref());
        let manager = || Manager::new(&origin.cluster, &origin.namespace, &origin.name);
        (!origin.cluster.is_empty()).then(|| (manager(), token(&self.uid(), &self.name)))
    }

    /// The same, for the marker of the domain `name`.
    pub fn writer<'r>(&self, name: &'r str, manager: &'r Option<(Manager, String)>) -> Step<Option<merge::Writer<'r>>> {
        let Some((manager, token)) = manager else { return Ok(None) };
        let (server, namespace) = (self.server()?, &self.id.key.namespace);
        let recovers = recovery::consents(&server.object, namespace, &self.ctx.world().namespace_labels(namespace));
        Ok(Some(merge::Writer { domain: name, ttl: records::ttl(&self.p.object), manager, token, recovers }))
    }

    /// Rows of the domain at the server.
    pub async fn rows<T>(&self, since: Since, look: impl FnOnce(&DomainSnapshot) -> T) -> Step<T> {
        let server = self.server()?;
        let rows = self.ctx.rows(server, &self.id.key, &self.name, since, look).await;
        Ok(rows.map_err(|e| NotReady::backend(&server.label(), &e))?)
    }
}

pub async fn learn(pass: &mut Pass<'_>, what: Observation) -> Step<()> {
    let ctx = pass.ctx;
    match what {
        Observation::Regular => pass.facts.regular = Some(regular(pass)),
        Observation::Look => pass.facts.looked = Some(look(pass).await?),
        Observation::Parents => pass.facts.known = Some(Known::of(&ctx.world(), pass.id, &pass.p.object)),
        Observation::Server => connect(pass).await?,
        Observation::Zone => {
            pass.zone = Some(zone(pass).await?);
            pass.facts.zone_found = true;
        }
        Observation::Holder => pass.facts.holder = Some(holder(ctx, &pass.name)),
        Observation::LiveHolder => pass.facts.live_holder = Some(claim::holder(ctx, &pass.name).await?),
        Observation::Relative => {
            let relative = claim::relative_known(&ctx.world(), &pass.name, &pass.id.key.namespace);
            pass.facts.relative = Some(relative);
        }
        Observation::Proof => pass.facts.proven = Some(proven(pass).await?),
        Observation::ShownByHand => pass.facts.shown = Some(shown_by_hand(pass).await?),
        Observation::Row { fresh } => {
            pass.facts.row = Some(pass.rows(Since::now_if(fresh), |rows| rows.domain.clone()).await?);
        }
        Observation::Loss => {
            mass_loss::allow(ctx, pass.server()?, pass.parents()?.instance).await?;
            pass.facts.loss_allowed = true;
        }
        Observation::Keys => pass.facts.keys = Some(pass.rows(Since::Ever, |rows| rows.dkim.clone()).await?),
        Observation::Shown(part) => shown(pass, part).await?,
        Observation::Declared => {
            let declared = acceptance::declared(&ctx.world(), &pass.id.key, &pass.name);
            pass.facts.declared = Some(declared);
        }
        Observation::Acceptance => match accepted(pass, false).await {
            Ok(()) => pass.facts.accepted = true,
            Err(Stop::NotReady(refused)) if zones::by_hand(&pass.p.object) => pass.facts.refused = Some(refused),
            Err(stop) => return Err(stop),
        },
        Observation::NewMxTurn => {
            let new = move_mx::new_hosts(pass.parents()?.instance, &pass.p.journal());
            let backend = pass.parents()?.instance.object.spec.backend_ref.name.clone();
            pass.facts.new_mx_turn = Some(move_mx::turn(&ctx.world(), &pass.id.key, &backend, &new));
        }
        Observation::NewMx => {
            accepted(pass, true).await?;
            pass.facts.new_mx_proven = true;
        }
        Observation::FormerPolicy => {
            pass.facts.former_policy = Some(match former_policy(pass).await {
                // It holds MX, and not what is said of all other records.
                Err(Stop::NotReady(not_ready)) => Some(not_ready),
                held => held?,
            });
        }
        Observation::Policy => pass.facts.policy = Some(policy(pass).await?),
        Observation::Wildcard => pass.facts.wildcard = Some(lookups::wildcard(ctx, pass.zone()?, &pass.name).await?),
        Observation::Compared => pass.facts.compared = Some(compared(pass).await?),
    }
    Ok(())
}

/// Uid of the MailDomain that holds a name.
fn holder(ctx: &Ctx, name: &str) -> Option<String> {
    ctx.world().claims.get(&NamespacedName::new("", name)).map(|c| c.spec.owner.uid.clone())
}

/// Sets the time of the next regular look. Also of a domain that holds nothing: what it is refused for may be gone then.
fn regular(pass: &Pass<'_>) -> Option<Regular> {
    let (ctx, domain) = (pass.ctx, &pass.p.object);
    name::mail_domain(&domain.spec.domain).ok()?;
    let key = pass.id.key.sibling(&domain.spec.instance_ref.name);
    let instance = above::instance(&ctx.world(), &key, false).ok()?;
    backend_ready::groupware(&instance.backend).ok()?;
    let interval = crate::kinds::mail_instance::interval(&instance.backend.spec.resync.interval);
    Some(Regular {
        due: ctx.resync_due(pass.id, interval),
        holder: holder(ctx, &pass.name),
        observes: above::observes(domain.spec.management_policy, &instance.object),
        label: format!("GroupwareBackend {}", instance.object.spec.backend_ref.name),
    })
}

/// Whether the server has the domain, read now.
async fn look(pass: &mut Pass<'_>) -> Step<bool> {
    let instance = pass.id.key.sibling(&pass.p.object.spec.instance_ref.name);
    let backend = above::instance(&pass.ctx.world(), &instance, false)?.object.spec.backend_ref.name.clone();
    let server = pass.ctx.groupware(&backend).await?;
    pass.server = Some(server);
    pass.rows(Since::now(), |rows| rows.domain.is_some()).await
}

async fn connect(pass: &mut Pass<'_>) -> Step<()> {
    let backend = pass.parents()?.instance.object.spec.backend_ref.name.clone();
    let server = pass.ctx.groupware(&backend).await?;
    pass.facts.server = Some(Server { label: server.label(), capabilities: capabilities(&server.object) });
    pass.server = Some(server);
    Ok(())
}

async fn zone(pass: &Pass<'_>) -> Step<Zone> {
    let (ctx, domain) = (pass.ctx, &pass.p.object);
    let Some(backend) = zones::managed_by(domain)? else {
        return Ok(Zone::Manual { resolver: ctx.connections.dns.default_resolver() });
    };
    let dns = ctx.dns(backend).await?;
    let name = dns.server.find_zone(&pass.name).await.map_err(|e| match e {
        BackendError::NotFound(_) => NotReady::retry(
            Reason::ZoneNotFound,
            format!("{} has no zone for {}: create it there", dns.label(), pass.name),
        ),
        e => ctx.dns_failed(&dns, &e),
    })?;
    Ok(Zone::Managed { dns, name })
}

async fn lookup(pass: &Pass<'_>, name: &str, rtype: RecordType) -> Step<Vec<RrSet>> {
    let zone = pass.zone()?;
    let seen = zone.resolver().lookup(name, rtype).await;
    Ok(seen.map_err(|e| NotReady::backend(&zone.label(), &no_answer(name, e)))?)
}

/// Whether every authoritative server shows the challenge.
async fn proven(pass: &mut Pass<'_>) -> Step<bool> {
    if zones::by_hand(&pass.p.object) {
        return proven_by_hand(pass).await;
    }
    let seen = lookup(pass, &challenge_name(&pass.name), RecordType::TXT).await?;
    Ok(is_proof(&seen, &pass.uid(), &pass.name))
}

/// The same where anybody may have the zone: a server that does not answer is no proof, and neither is a wildcard record.
async fn proven_by_hand(pass: &mut Pass<'_>) -> Step<bool> {
    let (uid, name) = (pass.uid(), pass.name.clone());
    let proof = proof(pass).await?;
    let proven = proof.answers.silent.is_empty() && !proof.wildcard && is_proof(&proof.answers.sets, &uid, &name);
    pass.facts.proof = Some(proof);
    Ok(proven)
}

async fn proof(pass: &Pass<'_>) -> Step<Proof> {
    let (uid, name, record) = (pass.uid(), &pass.name, challenge_name(&pass.name));
    let zone = pass.zone()?;
    let answers = zone.resolver().lookup_each(&record, RecordType::TXT).await;
    let answers = answers.map_err(|e| NotReady::backend(&zone.label(), &no_answer(&record, e)))?;
    if is_proof(&answers.sets, &uid, name) {
        let beside = lookup(pass, &survey::sibling(&record), RecordType::TXT).await?;
        return Ok(Proof { wildcard: any_is_proof(&beside, &uid, name), answers, ..Proof::default() });
    }
    // The record that is asked for may end a wildcard by which the name has its mail now.
    let mx = (name.to_string(), RecordType::MX);
    let mx = survey::survey(zone.resolver(), &[mx], |_, _, set| !set.values.is_empty()).await;
    let mx = mx.map_err(|e| NotReady::backend(&zone.label(), &no_answer(name, e)))?;
    let wild = mx.into_iter().filter(|s| s.wildcard).flat_map(|s| s.servers).flat_map(|set| set.values);
    let mx_of_wildcard: BTreeSet<String> = wild.collect();
    Ok(Proof { answers, wildcard: false, mx_of_wildcard: mx_of_wildcard.into_iter().collect() })
}

/// Whether any of the sets shows a value that would prove the name.
fn any_is_proof(seen: &[RrSet], own: &str, name: &str) -> bool {
    seen.iter().any(|set| is_proof(std::slice::from_ref(set), own, name))
}

/// The records as the servers show them. Those by which clients find the servers are asked for once MX leads here.
async fn shown_by_hand(pass: &Pass<'_>) -> Step<Looked> {
    let wanted = by_hand::wanted(&pass.seen(), &pass.name, &pass.parents()?, &pass.keys()?);
    let (later, first): (Vec<Record>, Vec<Record>) = wanted.iter().cloned().partition(|r| r.with_mx);
    let mut sets = surveyed(pass, &first).await?;
    if by_hand::mx_is_ours(&wanted, &sets) {
        sets.extend(surveyed(pass, &later).await?);
    }
    Ok(Looked { sets, at: pass.ctx.latest_now() })
}

async fn surveyed(pass: &Pass<'_>, wanted: &[Record]) -> Step<Vec<Shown>> {
    let zone = pass.zone()?;
    let which: Vec<(String, RecordType)> = wanted.iter().map(|r| (r.name.clone(), r.rtype)).collect();
    let suspect = |_: &str, _: RecordType, set: &RrSet| by_hand::is_suspect(wanted, set);
    let shown = survey::survey(zone.resolver(), &which, suspect).await;
    Ok(shown.map_err(|e| NotReady::backend(&zone.label(), &no_answer(&pass.name, e)))?)
}

/// Whether the sets of the challenge, one per DNS server, prove that the name is of the domain with this uid. The value that
/// entitles to more proves that too.
pub fn is_proof(seen: &[RrSet], own: &str, name: &str) -> bool {
    [challenge_value(own, name), adoption_value(own, name)].iter().any(|value| all_show(seen, value))
}

/// Asks the authoritative servers for what was written.
async fn shown(pass: &mut Pass<'_>, part: Part) -> Step<()> {
    let written = there(published(&mut pass.facts, part))?.clone();
    let (name, manager) = (pass.name.clone(), pass.manager());
    let aim = pass.aim(&name, &written.wanted, &manager, written.switch_mx)?;
    let (journal, previous) = (pass.p.journal(), pass.p.previous_mx());
    let mut unseen = vec![];
    for (name, rtype) in records::visible(&written) {
        let seen = lookup(pass, name, *rtype).await?;
        let set =
            Written { name, rtype: *rtype, live: &written.live, aim: &aim, journal: &journal, previous: &previous };
        if set.is_unseen(&seen) {
            unseen.push((name.clone(), *rtype));
        }
    }
    let mut kept = vec![];
    for entry in records::kept(&journal) {
        kept.push(lookups::behind(pass.ctx, pass.zone()?, entry).await);
    }
    let published = there(published(&mut pass.facts, part))?;
    (published.unseen, published.kept) = (Some(unseen), kept);
    Ok(())
}

/// Where a pass ended before the records were looked at that a person edits (the instance of the domain goes, a parent cannot
/// be used): MX may have been set all the same, as the person was told. That is noted, since on the way out mail is taken
/// until its time to live is over (I7). Servers that do not answer are asked again by a later pass.
pub async fn mx_by_hand_meanwhile(pass: &mut Pass<'_>) {
    let journal = pass.p.journal();
    let told: Vec<&str> = journal.iter().filter(|r| r.purpose == Purpose::MX).map(|r| r.value.as_str()).collect();
    if !zones::by_hand(&pass.p.object) || pass.facts.shown.is_some() || told.is_empty() {
        return;
    }
    let resolver = pass.ctx.connections.dns.default_resolver();
    let seen = resolver.lookup(&pass.name, RecordType::MX).await.unwrap_or_default();
    if let Some((_, ttl)) = mx::leads_to(&seen, &told) {
        pass.p.note(Note::MxLeadsHere(ttl, pass.ctx.latest_now()));
    }
}

/// The mail servers, or those that are `new` in MX of a live domain, have addresses and take mail for every declared address.
async fn accepted(pass: &Pass<'_>, new: bool) -> Step<()> {
    let (ctx, instance) = (pass.ctx, pass.parents()?.instance);
    let backend = &instance.object.spec.backend_ref.name;
    let hosts = if new { move_mx::new_hosts(instance, &pass.p.journal()) } else { move_mx::hosts(instance) };
    for host in &hosts {
        lookups::resolves(ctx, pass.zone()?, (&pass.name, backend), host, new).await?;
    }
    let declared = there(pass.facts.declared.as_ref())?;
    Ok(acceptance::accepted(ctx, &pass.uid(), instance, declared, |host| hosts.contains(&move_mx::canonical(host)))
        .await?)
}

/// Why the MTA-STS policy of whoever has the mail now has MX stay.
async fn former_policy(pass: &mut Pass<'_>) -> Step<Option<NotReady>> {
    // A domain whose status was lost may tell of one itself.
    let journal = pass.p.journal();
    let ours = journal.iter().filter(|r| r.purpose == Purpose::MTASTS && r.ownership == Some(Ownership::Created));
    let mut ours: BTreeSet<String> = ours.map(|r| r.value.clone()).collect();
    let id = pass.p.status.dns.as_ref().and_then(|d| d.mta_sts.as_ref()?.id.as_ref());
    ours.extend(id.map(|id| mta_sts_value(id)));
    let instance = pass.parents()?.instance;
    let host = instance.backend.spec.hosts.well_known.as_deref();
    let found = lookups::former_policy(pass.ctx, pass.zone()?, &pass.name, &ours, host).await?;
    let before = pass.p.status.dns.as_ref().and_then(|d| d.former_policy.clone());
    let clocks = (pass.ctx.earliest_now(), pass.ctx.latest_now());
    let (kept, held) = former_policy::judge(&pass.name, before.as_ref(), &found, &move_mx::hosts(instance), clocks);
    if kept != before {
        pass.p.note(Note::FormerPolicy(kept));
    }
    Ok(held)
}

/// What the host of the MTA-STS policy serves, or why it is not known. It is asked only where it leads to the platform's host.
async fn policy(pass: &Pass<'_>) -> Step<Result<String, String>> {
    let backend = pass.parents()?.instance.backend.clone();
    let host = there(backend.spec.hosts.well_known.as_deref())?;
    Ok(lookups::served_policy(pass.ctx, pass.zone()?, &pass.name, host).await)
}

fn published(facts: &mut Facts, part: Part) -> Option<&mut Published> {
    match part {
        Part::Records => facts.records.as_mut(),
        Part::Mx => facts.mx.as_mut(),
    }
}

/// Reads the records of a domain that nothing is written for.
async fn compared(pass: &Pass<'_>) -> Step<Compared> {
    let domain = &pass.p.object;
    let algorithms = keys::algorithms(domain, there(pass.facts.server.as_ref())?).ok();
    let (signing, _) = keys::observed(there(pass.facts.keys.clone())?, algorithms, &pass.name);
    let dkim = keys::public(signing.iter());
    let mut wanted = records::desired((domain, &pass.p.status), &pass.name, &pass.parents()?, dkim);
    // Nothing is claimed, so there is nothing to prove; and a domain is not asked to lead clients to a server that only
    // looks at it.
    wanted.retain(|r| !matches!(r.purpose, Purpose::Challenge | Purpose::ClientDiscovery | Purpose::MTASTS));
    if zones::by_hand(domain) {
        let shown = surveyed(pass, &wanted).await?;
        return Ok(by_hand::compared(&wanted, &shown, domain.spec.dns.conflict_policy));
    }
    let (dns, zone) = pass.zone()?.managed()?;
    let live = dns.server.read(zone, &merge::which(&wanted, &[])).await;
    let live = live.map_err(|e| pass.ctx.dns_failed(dns, &e))?;
    let (records, differing) = merge::compare(&wanted, &pass.p.journal(), &live, domain.spec.dns.conflict_policy);
    Ok(Compared { records, differing })
}
