//! What is known of an alias before anything is decided: its parents, its rivals, its targets, its row at the server.

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::rules::{backend_ready, delivery};
use crate::state::derived::{a_label, capabilities};
use crate::state::kind::ObjectId;
use crate::state::limits::{self, Verdict};
use crate::state::parents::{self, Domain};
use crate::state::routes;
use crate::state::snapshots::Since;
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_groupware::{Address, AliasRow, Capability, DomainName, TenantId};
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;

/// One target as the world has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A mailbox that the server has.
    Mailbox(Address),
    /// A Mailbox object that is not there.
    NoMailbox(String),
    /// A Mailbox object that the server does not have yet.
    NotReady(String),
    /// A Mailbox object of another instance.
    Stranger(String),
    /// An address as written.
    Address(String),
}

/// What is known, and the server to go to.
pub struct Gathered {
    pub facts: Facts,
    pub server: Groupware,
}

#[derive(Debug, Clone)]
pub struct Facts {
    pub domain: Domain,
    pub tenant: TenantId,
    /// The server's name for messages.
    pub label: String,
    /// What the server can do.
    pub capabilities: BTreeSet<Capability>,
    /// Its address, or that of the catch-all.
    pub address: Address,
    /// Whether the numbers allow it.
    pub verdict: Verdict,
    pub targets: Vec<Target>,
    pub row: Option<AliasRow>,
    /// Domains that the instance holds.
    pub own_domains: BTreeSet<DomainName>,
    /// The way that mail would take in a mail loop, back to this alias; empty: there is none.
    pub mail_loop: Vec<String>,
    /// Targets in domains of the instance that nobody has.
    pub nobody: Vec<Address>,
}

/// The address of an alias at the server.
pub fn address(alias: &MailAlias, domain: &DomainName) -> Address {
    match alias.spec.local_part.as_str() {
        "*" => Address::catch_all(domain),
        local => Address::in_domain(local, domain),
    }
}

fn target(world: &World, own: &Domain, key: &NamespacedName, target: &mail_alias::AliasTarget) -> Target {
    let Some(reference) = &target.mailbox_ref else {
        return Target::Address(target.address.clone().unwrap_or_default());
    };
    let name = reference.name.clone();
    let Some(mailbox) = world.mailboxes.get(&key.sibling(&name)) else { return Target::NoMailbox(name) };
    let Some(domain) = world.domains.get(&key.sibling(&mailbox.spec.domain_ref.name)) else {
        return Target::NotReady(name);
    };
    if domain.spec.instance_ref.name != own.instance.key.name {
        return Target::Stranger(name);
    }
    let ownership = mailbox.status.as_ref().and_then(|s| s.ownership);
    // Not whether it is ready: one that waits for more storage takes mail all the same.
    // One that is on its way out gets nothing new.
    if ownership.is_none() || mailbox.metadata.deletion_timestamp.is_some() {
        return Target::NotReady(name);
    }
    Target::Mailbox(Address::in_domain(&mailbox.spec.local_part, &a_label(&domain)))
}

pub async fn gather(ctx: &Ctx, id: &ObjectId, alias: &MailAlias) -> Step<Gathered> {
    let domain_key = id.key.sibling(&alias.spec.domain_ref.name);
    let (domain, verdict, targets, own_domains, undeclared) = {
        let mut world = ctx.world_mut();
        let domain = parents::domain(&world, &domain_key, false)?;
        if let Some(not_ready) = parents::paused_by(&domain.instance.object) {
            return Err(not_ready.into());
        }
        if never_made(alias.status.as_ref().and_then(|s| s.ownership)) {
            parents::holds_name(&world, &domain)?;
        }
        if let Some(other) = limits::rival(&world, &domain_key, &alias.spec.local_part, id) {
            return Err(NotReady::stalled(
                Reason::AddressInUse,
                format!("{} belongs to {other}: delete one of the two", address(alias, &domain.name)),
            )
            .into());
        }
        let verdict = limits::alias(&mut world, &domain.instance.object, id);
        if verdict == Verdict::Fits && alias.status.as_ref().is_none_or(|s| s.ownership.is_none()) {
            world.grant(&domain_key, uid(alias), 0);
        }
        let targets: Vec<Target> = alias.spec.targets.iter().map(|t| target(&world, &domain, &id.key, t)).collect();
        let mut own_domains = world.held_names(&domain.instance.key);
        own_domains.insert(domain.name.clone());
        // A mailbox that was made in the instance is inside of it, whether the watch has told of its domain's claim or not.
        own_domains.extend(targets.iter().filter_map(|t| match t {
            Target::Mailbox(address) => Some(DomainName::from_server(address.domain())),
            _ => None,
        }));
        let undeclared = routes::undeclared(&world, &domain.instance.key, &routes::named(alias));
        (domain, verdict, targets, own_domains, undeclared)
    };
    backend_ready::groupware(&domain.instance.backend)?;
    let tenant = domain.instance.id.clone().unwrap_or_default();
    let server = ctx.groupware(&domain.instance.object.spec.backend_ref.name).await?;
    let address = address(alias, &domain.name);
    let asked = annotation(alias, annotations::RECONCILE);
    let fresh = asked.is_some() && asked != alias.status.as_ref().and_then(|s| s.last_handled_reconcile_at.clone());
    let row = ctx
        .rows(&server, &domain_key, &domain.name, Since::now_if(fresh), |rows| rows.aliases.get(&address).cloned())
        .await
        .map_err(|e| NotReady::backend(&server.label(), &e))?;
    let capabilities = capabilities(&domain.instance.backend);
    let label = server.label();
    let nobody = delivery::undeliverable(ctx, &server, undeclared).await?;
    let mail_loop = delivery::loop_of(ctx, &server, &domain.instance.key, id).await?;
    let facts =
        Facts { domain, tenant, label, capabilities, address, verdict, targets, row, own_domains, mail_loop, nobody };
    Ok(Gathered { facts, server })
}
