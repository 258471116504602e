//! What becomes of rows whose object no longer exists when what they are below is deleted. They could never go, and would hold
//! it up for ever: they are kept as under `deletionPolicy: Retain`, switched off and owned by nobody, since nobody said that
//! their mail may be destroyed.

use super::undeclared::{self, Undeclared, dead, is_gone, is_place_taken, listed};
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::pass::deletion;
use crate::state::derived::declared_local_part;
use crate::state::kind::Kind;
use crate::state::world::World;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mailtenant_api::{MailDomain, Reason};
use mailtenant_groupware::{Address, BackendError, DomainName, DomainRow, Left, Removal};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;

fn failed(server: &Groupware, error: &BackendError) -> NotReady {
    deletion::with_way_out(NotReady::backend(&server.label(), error))
}

/// Keeps what is left in a domain. A live list must have said that no Mailbox and no MailAlias of it is there. `kept` gets the
/// addresses, also if it does not come to its end.
pub async fn release(ctx: &Ctx, server: &Groupware, domain: &DomainName, kept: &mut Vec<String>) -> Step<()> {
    let rows = server.server.read_domain(domain).await.map_err(|e| failed(server, &e))?;
    let unknown = undeclared::unknown_to(&ctx.world(), &rows);
    let before = kept.len();
    // Aliases first, as in every deletion (I1).
    let done = async {
        for row in unknown {
            if !is_gone(ctx, &row).await? {
                continue;
            }
            if row.kind == Kind::Mailbox {
                aliases_first(ctx, server, &row.address, kept).await?;
            }
            let done = match row.kind {
                Kind::Mailbox => server.server.release_mailbox(&row.owner, &row.address).await,
                _ => server.server.remove_alias(&row.owner, &row.address, Removal::Keep).await,
            };
            if once(done).map_err(|e| failed(server, &e))? {
                kept.push(row.address.into());
            }
        }
        Ok(())
    }
    .await;
    if kept.len() > before {
        ctx.snapshots.stale(&server.uid, domain).await;
    }
    done
}

/// Aliases of other domains too: a mailbox leaves after all that deliver to it.
async fn aliases_first(ctx: &Ctx, server: &Groupware, mailbox: &Address, kept: &mut Vec<String>) -> Step<()> {
    let aliases = server.server.aliases_to(mailbox).await.map_err(|e| failed(server, &e))?;
    if aliases.is_empty() {
        return Ok(());
    }
    let delivering = release_aliases(ctx, server, (mailbox, &aliases)).await?;
    kept.extend(delivering.released.iter().cloned().map(String::from));
    delivering.waits_for(ctx, server).map_or(Ok(()), |not_ready| Err(not_ready.into()))
}

/// Aliases at the server that deliver to a mailbox that goes.
#[derive(Debug)]
pub struct Delivering {
    /// They were switched off and are nobody's.
    pub released: Vec<Address>,
    /// They stay.
    pub left: Vec<Address>,
    /// An object of this cluster has one of those that stay at the server. Its MailDomain may be gone: then nothing says what
    /// address it declares.
    has_owner: bool,
}

impl Delivering {
    /// A mailbox waits for those that stay. Where no object here has any of them, nobody here can delete them.
    pub fn waits_for(&self, ctx: &Ctx, server: &Groupware) -> Option<NotReady> {
        let left = &self.left;
        if left.is_empty() {
            return None;
        }
        if !self.has_owner && !are_declared(&ctx.world(), left) {
            let what = format!("the mailbox still gets mail by {}, which no object declares", listed(left, left.len()));
            return Some(deletion::left_below(&server.label(), &what));
        }
        let not_ready = deletion::blocked(Reason::ReferencedByAlias, "at the backend, the alias", left);
        Some(NotReady { next: Next::Retry, ..not_ready })
    }
}

fn are_declared(world: &World, aliases: &[Address]) -> bool {
    let is = |a: &Address| {
        let mut domains = world.index.domains_by_name.of(a.domain());
        domains.any(|d| !world.owner_of_address(d, declared_local_part(a)).is_empty())
    };
    aliases.iter().any(is)
}

/// The same of aliases that deliver to a mailbox that goes, and to nobody else: those of objects that exist stay, and the
/// mailbox waits for them. So it does for one that others get mail by, and for one that an object of its name waits to take
/// over.
pub async fn release_aliases(
    ctx: &Ctx,
    server: &Groupware,
    (mailbox, aliases): (&Address, &[Address]),
) -> Step<Delivering> {
    let domains: BTreeSet<&str> = aliases.iter().map(Address::domain).collect();
    let (mut released, mut has_owner) = (vec![], false);
    for domain in domains.into_iter().map(DomainName::from_server) {
        let rows = server.server.read_domain(&domain).await.map_err(|e| failed(server, &e))?;
        let unknown = undeclared::unknown_to(&ctx.world(), &rows);
        let mut owners = aliases.iter().filter_map(|a| rows.aliases.get(a)?.owner.as_ref());
        has_owner |= owners.any(|owner| undeclared::is_living(&ctx.world(), owner));
        let alone = |a: &Address| rows.aliases.get(a).is_some_and(|r| r.settings.targets.iter().all(|t| t == mailbox));
        let mine = |r: &Undeclared| r.kind == Kind::MailAlias && aliases.contains(&r.address) && alone(&r.address);
        for row in unknown.into_iter().filter(mine) {
            if !is_place_taken(ctx, &row).await? {
                // Whatever comes of it.
                ctx.snapshots.stale(&server.uid, &domain).await;
                once(server.server.remove_alias(&row.owner, &row.address, Removal::Keep).await)
                    .map_err(|e| failed(server, &e))?;
                released.push(row.address);
            }
        }
    }
    let left = aliases.iter().filter(|a| !released.contains(a)).cloned().collect();
    Ok(Delivering { released, left, has_owner })
}

/// Keeps the domains of a tenant whose MailDomain no longer exists, with what of that kind is in them. A live list must have
/// said that no MailDomain of the instance is there. Mailboxes and aliases of objects that exist are waited for: they find
/// their way out by themselves (`pass/lost_domain.rs`).
pub async fn release_domains(
    ctx: &Ctx,
    server: &Groupware,
    (namespace, domains): (&str, &[DomainRow]),
    kept: &mut Vec<String>,
) -> Step<()> {
    for domain in domains {
        let owner = dead::<MailDomain>(ctx, domain.owner.as_ref(), domain.origin.as_ref()).await?;
        let Some(owner) = owner else { continue };
        release(ctx, server, &domain.name, kept).await?;
        match server.server.remove_domain(&owner, &domain.name, Removal::Keep).await {
            Ok(Left::Used(_)) => kept.push(format!("{} (in use by others, so it stays on)", domain.name)),
            Ok(_) => kept.push(domain.name.clone().into()),
            Err(BackendError::NotFound(_)) => {}
            Err(error @ BackendError::Conflict(_)) => {
                return Err(held_by(ctx, server, (namespace, &domain.name), &error).await?.into());
            }
            Err(error) => {
                ctx.backend_failed(server, &error);
                return Err(failed(server, &error).into());
            }
        }
        ctx.snapshots.forget(&server.uid, &domain.name);
    }
    Ok(())
}

/// Whom a domain without a MailDomain waits for, if it can be told.
async fn held_by(
    ctx: &Ctx,
    server: &Groupware,
    (namespace, domain): (&str, &DomainName),
    error: &BackendError,
) -> Step<NotReady> {
    let rows = server.server.read_domain(domain).await.map_err(|e| failed(server, &e))?;
    let aliases = rows.aliases.values().filter_map(|r| r.owner.as_deref());
    let owners: BTreeSet<&str> = aliases.chain(rows.mailboxes.values().filter_map(|r| r.owner.as_deref())).collect();
    let owns = |key: &NamespacedName, meta: &ObjectMeta| {
        key.namespace == namespace && meta.uid.as_deref().is_some_and(|uid| owners.contains(uid))
    };
    let world = ctx.world();
    let aliases = world.aliases.iter().filter(|(key, a)| owns(key, &a.metadata)).map(|(key, _)| &key.name);
    let aliases: Vec<&String> = aliases.collect();
    let mailboxes = world.mailboxes.iter().filter(|(key, m)| owns(key, &m.metadata)).map(|(key, _)| &key.name);
    let mailboxes: Vec<&String> = mailboxes.collect();
    let (reason, what, names) = match (aliases.is_empty(), mailboxes.is_empty()) {
        (false, _) => (Reason::HasAliases, "MailAlias", aliases),
        (true, false) => (Reason::HasMailboxes, "Mailbox", mailboxes),
        (true, true) => return Ok(deletion::left_below(&server.label(), &error.to_string())),
    };
    // Nobody wakes an instance for what is in no MailDomain.
    Ok(NotReady { next: Next::Retry, ..deletion::blocked(reason, what, &names) })
}

/// Whether this call did it: whoever came first has done it otherwise.
fn once(done: Result<(), BackendError>) -> Result<bool, BackendError> {
    match done {
        Ok(()) => Ok(true),
        Err(BackendError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What it means for others that a domain stays at the server.
pub const BURNED: &str = "the name is not free: a MailInstance of this namespace and name has it back with adoptionPolicy: IfUnowned, \
    for any other tenant the platform team has to free it first (docs/operations.md, \"Freeing a name\")";

/// What was kept, for the Event: up to five names, and how many more.
pub fn words(kept: &[impl AsRef<str>]) -> String {
    format!(
        "{}: their objects no longer exist, so they are switched off and stay at the backend with their mail",
        listed(kept, kept.len())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_five() {
        let all: Vec<String> = (0..7).map(|n| format!("m{n}@acme.test")).collect();
        let text = words(&all);
        assert!(text.contains("m4@acme.test and 2 more: ") && !text.contains("m5@"), "{text}");
    }
}
