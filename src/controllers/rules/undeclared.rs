//! Rows below a domain whose object no longer exists: its finalizer was taken off by hand, it was orphaned, or its database
//! was restored. Nobody would ever remove them: the condition `Undeclared` of the domain names them, and nothing is done about
//! them while the domain stays. [`super::release`] has what becomes of them when it goes.

use crate::ctx::{Ctx, Step};
use crate::pass::draft::{Draft, WithStatus};
use crate::state::derived::{a_label, owner_uid};
use crate::state::kind::Kind;
use crate::state::world::World;
use kube::ResourceExt;
use mailtenant_api::*;
use mailtenant_groupware::{Address, DomainSnapshot, Origin, Uid};
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;

/// Addresses that a message names.
pub const NAMED: usize = 5;

/// Live looks of one pass.
const LOOKS: usize = 2 * NAMED;

/// A row whose owner is no object of this cluster, as far as the watches have told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeclared {
    /// Kind of the objects that own such rows.
    pub kind: Kind,
    pub address: Address,
    pub owner: Uid,
    /// Where the owner stood.
    pub origin: Option<Origin>,
}

/// Uids of all that can own a domain, or an address in one.
fn living(world: &World) -> impl Iterator<Item = &str> {
    let domains = world.domains.iter().map(|(_, o)| o.metadata.uid.as_deref());
    let mailboxes = world.mailboxes.iter().map(|(_, o)| o.metadata.uid.as_deref());
    let aliases = world.aliases.iter().map(|(_, o)| o.metadata.uid.as_deref());
    // One that cannot be decoded is there.
    let broken = world.broken.values().map(|o| o.metadata.uid.as_deref());
    domains.chain(mailboxes).chain(aliases).chain(broken).flatten()
}

/// Whether an object of this cluster owns a row, as far as the watches have told.
pub fn is_living(world: &World, owner: &Uid) -> bool {
    living(world).any(|uid| uid == owner.as_str())
}

/// Of an owner in another cluster nobody here can tell.
fn of_another(origin: Option<&Origin>, cluster: &str) -> bool {
    origin.is_some_and(|o| !o.cluster.is_empty() && o.cluster != cluster)
}

/// Rows of which nothing that is known says that their owner exists: aliases first, then by address.
fn unknown<'a>(rows: &DomainSnapshot, cluster: &str, living: impl Iterator<Item = &'a str>) -> Vec<Undeclared> {
    let aliases = rows.aliases.values().map(|r| (Kind::MailAlias, &r.address, &r.owner, &r.origin));
    let mailboxes = rows.mailboxes.values().map(|r| (Kind::Mailbox, &r.address, &r.owner, &r.origin));
    let owned = aliases.chain(mailboxes).filter_map(|(kind, address, owner, origin)| {
        let owner = owner.as_ref().filter(|_| !of_another(origin.as_ref(), cluster))?;
        Some((kind, address, owner, origin))
    });
    let owned: Vec<_> = owned.collect();
    let mut owners: BTreeSet<&str> = owned.iter().map(|(_, _, owner, _)| owner.as_str()).collect();
    for uid in living {
        if owners.is_empty() {
            break;
        }
        owners.remove(uid);
    }
    let unknown = owned.into_iter().filter(|(_, _, owner, _)| owners.contains(owner.as_str()));
    unknown
        .map(|(kind, address, owner, origin)| Undeclared {
            kind,
            address: address.clone(),
            owner: owner.clone(),
            origin: origin.clone(),
        })
        .collect()
}

/// [`unknown`] by what the watches have told.
pub fn unknown_to(world: &World, rows: &DomainSnapshot) -> Vec<Undeclared> {
    // Most owners are objects of the domain, by the index: all others are gone through only for what is left.
    let name = rows.mailboxes.keys().chain(rows.aliases.keys()).next().map(|a| a.domain());
    let domains: Vec<_> = name.into_iter().flat_map(|name| world.index.domains_by_name.of(name)).collect();
    let mailboxes = domains.iter().flat_map(|d| world.index.mailboxes_by_domain.of(d));
    let mailboxes: Vec<_> = mailboxes.filter_map(|key| world.mailboxes.get(key)).collect();
    let aliases = domains.iter().flat_map(|d| world.index.aliases_by_domain.of(d));
    let aliases: Vec<_> = aliases.filter_map(|key| world.aliases.get(key)).collect();
    let mailboxes = mailboxes.iter().map(|o| o.metadata.uid.as_deref());
    let near = mailboxes.chain(aliases.iter().map(|o| o.metadata.uid.as_deref())).flatten();
    unknown(rows, &world.cluster(), near.chain(living(world)))
}

/// Whether an object with this uid stands in a place: a live look, since the watch may be late. Its metadata alone: one that
/// cannot be decoded is there.
async fn stands<K: WithStatus>(ctx: &Ctx, owner: &Uid, origin: Option<&Origin>) -> Step<bool> {
    let Some(origin) = origin else { return Ok(false) };
    let there = K::api(ctx, &origin.namespace).get_metadata_opt(&origin.name).await?;
    Ok(there.is_some_and(|o| o.uid().as_deref() == Some(owner.as_str())))
}

/// Whether the owner of a row that is [`unknown`] does not exist.
pub async fn is_gone(ctx: &Ctx, row: &Undeclared) -> Step<bool> {
    let stands = match row.kind {
        Kind::Mailbox => stands::<Mailbox>(ctx, &row.owner, row.origin.as_ref()).await?,
        _ => stands::<MailAlias>(ctx, &row.owner, row.origin.as_ref()).await?,
    };
    Ok(!stands)
}

/// Whether an object stands where the owner of a row stood: the owner, or one that waits to take the row over.
pub async fn is_place_taken(ctx: &Ctx, row: &Undeclared) -> Step<bool> {
    let Some(origin) = &row.origin else { return Ok(false) };
    let namespace = &origin.namespace;
    Ok(match row.kind {
        Kind::Mailbox => ctx.api::<Mailbox>(namespace).get_metadata_opt(&origin.name).await?.is_some(),
        _ => ctx.api::<MailAlias>(namespace).get_metadata_opt(&origin.name).await?.is_some(),
    })
}

/// The owner, if its object does not exist: neither here nor, as far as anybody can tell, in another cluster.
pub async fn dead<K: WithStatus>(ctx: &Ctx, owner: Option<&Uid>, origin: Option<&Origin>) -> Step<Option<Uid>> {
    let Some(owner) = owner else { return Ok(None) };
    if of_another(origin, &ctx.world().cluster()) || is_living(&ctx.world(), owner) {
        return Ok(None);
    }
    Ok((!stands::<K>(ctx, owner, origin).await?).then(|| owner.clone()))
}

/// Puts into the status of a domain which rows below it are undeclared. It costs no read of the server: what was read last is
/// judged, which each regular look makes anew. What cannot be judged now stays as it was said.
pub async fn report(ctx: &Ctx, draft: &mut Draft<MailDomain>) -> Step<()> {
    let domain = draft.object.clone();
    let key = NamespacedName::of(domain.as_ref());
    let backend = {
        let world = ctx.world();
        let instance = world.instances.get(&key.sibling(&domain.spec.instance_ref.name));
        instance.and_then(|i| world.groupware.get(&NamespacedName::new("", &i.spec.backend_ref.name)))
    };
    let Some(backend) = backend else { return Ok(()) };
    let own = owner_uid(domain.as_ref());
    // What is below the domain of somebody else is none of its business.
    let judge = |rows: &DomainSnapshot| rows.domain_is_of(&own).then(|| unknown_to(&ctx.world(), rows));
    let seen = ctx.snapshots.last(&owner_uid(backend.as_ref()), &a_label(&domain), judge).await;
    let name = backend.name_any();
    match seen {
        None => return Ok(()),
        Some(None) => {
            draft.conditions.remove(ConditionType::Undeclared);
            ctx.note_undeclared(&key, &name, 0);
        }
        Some(Some(unknown)) => {
            let mut named = vec![];
            let mut all = unknown.len();
            for row in unknown.into_iter().take(LOOKS) {
                match is_gone(ctx, &row).await {
                    Ok(true) => named.push(row),
                    Ok(false) => all -= 1,
                    // It says what it said until then: nothing else of the domain depends on it.
                    Err(_) => return Ok(()),
                }
                if named.len() == NAMED {
                    break;
                }
            }
            ctx.note_undeclared(&key, &name, all);
            let (there, text) = message(&named, all, &key.namespace, &name);
            draft.conditions.set(ConditionType::Undeclared, there, Reason::Succeeded, text);
        }
    }
    Ok(())
}

/// Whether there are any, and the words. `named`: the first of `all`.
fn message(named: &[Undeclared], all: usize, namespace: &str, backend: &str) -> (bool, String) {
    if named.is_empty() {
        return (false, "every owned row below the domain has its object".into());
    }
    let what = |row: &Undeclared| {
        let kind = row.kind.as_str();
        // What stood in another namespace is not told (I11).
        match row.origin.as_ref().filter(|o| o.namespace == namespace) {
            Some(origin) => format!("{} ({kind} {})", row.address, origin.name),
            None => format!("{} (a {kind})", row.address),
        }
    };
    let rows: Vec<String> = named.iter().map(what).collect();
    let text = format!(
        "{} at the backend: the objects that own them no longer exist, and nothing is removed by itself. Create each again under \
         its name, with spec.recovery of GroupwareBackend {backend}; to be rid of it, delete it after that",
        listed(&rows, all)
    );
    (true, text)
}

/// Names, and how many more there are.
pub fn listed(named: &[impl AsRef<str>], all: usize) -> String {
    let shown: Vec<&str> = named.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = all.saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
#[path = "undeclared_tests.rs"]
mod tests;
