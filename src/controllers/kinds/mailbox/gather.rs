//! What is known of a mailbox before anything is decided: its parents, its rivals, its row at the server, its Secrets.

use super::facts::{Facts, Recovery, SecretSeen, client_settings, declared, version};
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::pass::draft::WithStatus;
use crate::rules::{backend_ready, delivery, recovery};
use crate::state::derived::{capabilities, credentials_secret, declared_local_part};
use crate::state::kind::{Kind, ObjectId};
use crate::state::limits::{self, Verdict};
use crate::state::parents::{self, Domain};
use crate::state::routes;
use crate::state::snapshots::Since;
use crate::state::world::World;
use kube::ResourceExt;
use mailtenant_api::*;
use mailtenant_groupware::ownership::exists;
use mailtenant_groupware::{Address, BackendError, DomainName, MailboxRow, Uid};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::store::NamespacedName;
use std::collections::{BTreeMap, BTreeSet};

/// What is known, and the server to go to.
pub struct Gathered {
    pub facts: Facts,
    pub server: Groupware,
}

/// What the world has of it.
struct Known {
    domain: Domain,
    verdict: Verdict,
    within_storage: bool,
    quota: u64,
    credentials: SecretSeen,
    source: Option<String>,
    own_domains: BTreeSet<DomainName>,
    undeclared: Vec<(NamespacedName, Address)>,
    holders: BTreeMap<Address, String>,
    gone: BTreeSet<Address>,
}

/// Nobody is asked. `right`: version of the credentials Secret whose content was seen to be right. A mailbox that may be made is noted as granted, so that the next one counts it.
fn known(world: &mut World, id: &ObjectId, mailbox: &Mailbox, right: Option<&str>) -> Result<Known, NotReady> {
    let key = &id.key;
    let domain_key = key.sibling(&mailbox.spec.domain_ref.name);
    let domain = parents::domain(world, &domain_key, false)?;
    let instance = &domain.instance.object;
    if let Some(not_ready) = parents::paused_by(instance) {
        return Err(not_ready);
    }
    if never_made(mailbox.status.as_ref().and_then(|s| s.ownership)) {
        parents::holds_name(world, &domain)?;
    }
    if let Some(other) = limits::rival(world, &domain_key, &mailbox.spec.local_part, id) {
        let address = format!("{}@{}", mailbox.spec.local_part, domain.name);
        let text = format!("{address} belongs to {other}: delete one of the two");
        return Err(NotReady::stalled(Reason::AddressInUse, text));
    }
    let verdict = limits::mailbox(world, instance, id);
    let quota = limits::wanted_quota(instance, mailbox);
    if verdict == Verdict::Fits && mailbox.status.as_ref().is_none_or(|s| s.quota.is_none()) {
        world.grant(&domain_key, uid(mailbox), quota);
    }
    let credentials = world.secrets.get(&key.sibling(credentials_secret(mailbox)));
    let password = &mailbox.spec.password;
    let named = password.secret_ref.as_ref().or(password.hash_secret_ref.as_ref());
    let source = named.and_then(|r| world.secrets.get(&key.sibling(&r.name)));
    let mut own_domains = world.held_names(&domain.instance.key);
    own_domains.insert(domain.name.clone());
    Ok(Known {
        verdict,
        within_storage: limits::within_storage(world, instance),
        quota,
        credentials: SecretSeen::of(credentials.as_deref(), mailbox, right),
        source: source.map(|s| declared(version(&s), &super::plan::source(mailbox))),
        own_domains,
        undeclared: routes::undeclared(world, &domain.instance.key, &routes::forwards(mailbox)),
        holders: routes::holders(world, &domain.instance.key, routes::forwards(mailbox)),
        gone: routes::gone_targets(world, &key.namespace, mailbox),
        domain,
    })
}

pub async fn gather(ctx: &Ctx, id: &ObjectId, mailbox: &Mailbox) -> Step<Gathered> {
    let right = ctx.right_secret(&id.key.sibling(credentials_secret(mailbox)));
    let Known { domain, verdict, within_storage, quota, credentials, source, own_domains, undeclared, holders, gone } =
        known(&mut ctx.world_mut(), id, mailbox, right.as_deref())?;
    backend_ready::groupware(&domain.instance.backend)?;
    let tenant = domain.instance.id.clone().unwrap_or_default();
    let server = ctx.groupware(&domain.instance.object.spec.backend_ref.name).await?;
    let address = Address::in_domain(&mailbox.spec.local_part, &domain.name);
    let asked = annotation(mailbox, annotations::RECONCILE);
    let fresh = asked.is_some() && asked != mailbox.status.as_ref().and_then(|s| s.last_handled_reconcile_at.clone());
    let row = ctx
        .rows(&server, &domain.key, &domain.name, Since::now_if(fresh), |rows| rows.mailboxes.get(&address).cloned())
        .await
        .map_err(|e| NotReady::backend(&server.label(), &e))?;
    let recovery = recovery_of(ctx, &server, mailbox, row.as_ref()).await?;
    let nobody = delivery::undeliverable(ctx, &server, undeclared).await?;
    let mail_loop = delivery::loop_of(ctx, &server, &domain.instance.key, id).await?;
    let capabilities = capabilities(&domain.instance.backend);
    let settings = client_settings(&domain.instance.backend, &address, mailbox.spec.access);
    let label = server.label();
    let facts = Facts {
        domain,
        tenant,
        label,
        capabilities,
        address,
        settings,
        verdict,
        within_storage,
        quota,
        row,
        recovery,
        credentials,
        source,
        own_domains,
        mail_loop,
        nobody,
        holders,
        gone,
    };
    Ok(Gathered { facts, server })
}

/// Whether the row is of a predecessor in the same place, and may be taken over. Known before anything is done: the
/// credentials Secret of such a mailbox gets no new password.
async fn recovery_of(
    ctx: &Ctx,
    server: &Groupware,
    mailbox: &Mailbox,
    row: Option<&MailboxRow>,
) -> Result<Recovery, kube::Error> {
    let namespace = mailbox.namespace().unwrap_or_default();
    let consents = recovery::consents(&server.object, &namespace, &ctx.world().namespace_labels(&namespace));
    let whose = match row.filter(|r| r.owner.as_deref() != mailbox.uid().as_deref()) {
        None => Ok(None),
        Some(row) => {
            let error = exists(format!("mailbox {}", row.address), row.owner.as_ref(), row.origin.as_ref());
            match recovery::replaced(ctx, server, mailbox, &error).await {
                Ok(Some(_)) if row.removing => Err(half_removed(row)),
                Ok(uid) => Ok(uid),
                Err(Stop::NotReady(not_ready)) => Err(not_ready),
                Err(Stop::Kubernetes(error)) => return Err(error),
            }
        }
    };
    Ok(Recovery { consents, whose })
}

fn half_removed(row: &MailboxRow) -> NotReady {
    let text = format!(
        "the removal of {} had begun when its Mailbox went, and it may have lost mail: the platform team has to look at it, and \
         can set removing to false in its row",
        row.address
    );
    NotReady { next: Next::Retry, ..NotReady::stalled(Reason::ExistsAtBackend, text) }
}

/// What an error of `ensure` for the object `uid` means for what is known of the domain.
pub async fn look_again(
    ctx: &Ctx,
    server: &Groupware,
    (domain, address): (&DomainName, &Address),
    uid: &Uid,
    error: &BackendError,
) {
    match error {
        BackendError::Exists { .. } => ctx.snapshots.refused(&server.uid, domain, address, uid).await,
        _ => ctx.snapshots.stale(&server.uid, domain).await,
    }
}

/// The words for an error of `ensure`: a row that belongs to a living object is an address in use.
pub async fn refused<K: WithStatus>(
    ctx: &Ctx,
    object: &K,
    address: &Address,
    server: &Groupware,
    error: &BackendError,
) -> Step<NotReady> {
    let BackendError::Exists { owner: Some(owner), .. } = error else {
        return Ok(NotReady::backend(&server.label(), error));
    };
    let living = holder(&ctx.world(), address, owner);
    if let Some(id) = living {
        // Its deletion wakes us; if it is not in the same domain object, a retry finds out.
        let text = format!("{address} belongs to {} {}: delete one of the two", id.kind.as_str(), id.key.name);
        return Ok(NotReady { next: Next::Retry, ..NotReady::stalled(Reason::AddressInUse, text) });
    }
    let refused = recovery::refused(ctx, server, object, error).await?;
    Ok(NotReady { next: Next::Retry, ..refused })
}

/// The object with this uid that declares the address.
fn holder(world: &World, address: &Address, owner: &Uid) -> Option<ObjectId> {
    let local = declared_local_part(address);
    let domains = world.index.domains_by_name.of(address.domain());
    let mut declaring = domains.flat_map(|d| world.owner_of_address(d, local));
    declaring.find(|id| {
        let uid = match id.kind {
            Kind::Mailbox => world.mailboxes.get(&id.key).and_then(|m| m.uid()),
            Kind::MailAlias => world.aliases.get(&id.key).and_then(|a| a.uid()),
            _ => None,
        };
        uid.is_some_and(|uid| uid == *owner)
    })
}
