//! Rows below a domain whose object no longer exists: its finalizer was taken off by hand, or its database was restored. Nobody
//! would ever remove them, and the domain could not go: they are kept as under `deletionPolicy: Retain`, switched off and
//! owned by nobody, since nobody said that their mail may be destroyed.

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::pass::deletion;
use crate::pass::draft::WithStatus;
use crate::state::derived;
use kube::ResourceExt;
use mailtenant_api::{MailAlias, Mailbox};
use mailtenant_groupware::{Address, BackendError, DomainName, Origin, Removal, Uid};
use std::collections::BTreeSet;

/// Keeps what is left in a domain. A live list must have said that no Mailbox and no MailAlias of it is there. Returns the
/// addresses; empty: all that is owned there is of objects that exist, or of another cluster.
pub async fn release(ctx: &Ctx, server: &Groupware, domain: &DomainName) -> Step<Vec<Address>> {
    let failed = |error: BackendError| deletion::with_way_out(NotReady::backend(&server.label(), &error));
    let rows = server.server.read_domain(domain).await.map_err(failed)?;
    let mut released = vec![];
    // Aliases first, as in every deletion (I1).
    for (address, row) in rows.aliases {
        if let Some(owner) = dead::<MailAlias>(ctx, row.owner, row.origin).await? {
            kept(server.server.remove_alias(&owner, &address, Removal::Keep).await).map_err(failed)?;
            released.push(address);
        }
    }
    for (address, row) in rows.mailboxes {
        if let Some(owner) = dead::<Mailbox>(ctx, row.owner, row.origin).await? {
            kept(server.server.release_mailbox(&owner, &address).await).map_err(failed)?;
            released.push(address);
        }
    }
    if !released.is_empty() {
        ctx.snapshots.stale(&server.uid, domain).await;
    }
    Ok(released)
}

/// The same of aliases that deliver to a mailbox that goes: those of objects that exist stay, and the mailbox waits for them.
pub async fn release_aliases(ctx: &Ctx, server: &Groupware, aliases: &[Address]) -> Step<Vec<Address>> {
    let failed = |error: BackendError| deletion::with_way_out(NotReady::backend(&server.label(), &error));
    let domains: BTreeSet<&str> = aliases.iter().map(Address::domain).collect();
    let mut released = vec![];
    for domain in domains.into_iter().map(DomainName::from_server) {
        let rows = server.server.read_domain(&domain).await.map_err(failed)?;
        for (address, row) in rows.aliases.into_iter().filter(|(address, _)| aliases.contains(address)) {
            if let Some(owner) = dead::<MailAlias>(ctx, row.owner, row.origin).await? {
                kept(server.server.remove_alias(&owner, &address, Removal::Keep).await).map_err(failed)?;
                released.push(address);
            }
        }
        ctx.snapshots.stale(&server.uid, &domain).await;
    }
    Ok(released)
}

/// Whoever came first has done it.
fn kept(done: Result<(), BackendError>) -> Result<(), BackendError> {
    match done {
        Err(BackendError::NotFound(_)) => Ok(()),
        other => other,
    }
}

/// The owner, if its object does not exist: neither here nor, as far as anybody can tell, in another cluster.
async fn dead<K: WithStatus>(ctx: &Ctx, owner: Option<Uid>, origin: Option<Origin>) -> Step<Option<Uid>> {
    let Some(owner) = owner else { return Ok(None) };
    if !may_be_dead(&owner, origin.as_ref(), &ctx.world().cluster(), &living(ctx)) {
        return Ok(None);
    }
    // A live look where it stood: the watch may be late.
    if let Some(origin) = &origin {
        let there = K::api(ctx, &origin.namespace).get_opt(&origin.name).await?;
        if there.is_some_and(|o| o.uid().as_deref() == Some(owner.as_str())) {
            return Ok(None);
        }
    }
    Ok(Some(owner))
}

/// Uids of all that can own an address.
fn living(ctx: &Ctx) -> BTreeSet<Uid> {
    let world = ctx.world();
    let mailboxes = world.mailboxes.iter().map(|(_, m)| derived::owner_uid(m.as_ref()));
    mailboxes.chain(world.aliases.iter().map(|(_, a)| derived::owner_uid(a.as_ref()))).collect()
}

/// Whether nothing that is known speaks against it.
fn may_be_dead(owner: &Uid, origin: Option<&Origin>, cluster: &str, living: &BTreeSet<Uid>) -> bool {
    let of_another = origin.is_some_and(|o| !o.cluster.is_empty() && o.cluster != cluster);
    !of_another && !living.contains(owner)
}

/// What was kept, for the Event: up to five addresses, and how many more.
pub fn words(released: &[Address]) -> String {
    let shown: Vec<&str> = released.iter().take(5).map(|a| a.as_str()).collect();
    let more = released.len().saturating_sub(5);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "{}{more}: their objects no longer exist, so they are switched off and stay at the backend with their mail",
        shown.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_be_dead() {
        let living = BTreeSet::from([Uid::new("lives")]);
        let at = |cluster: Option<&str>| Origin::parse(cluster, "t/alice");
        for (owner, origin, dead) in [
            ("gone", at(Some("c")), true),
            ("gone", at(None), true),
            ("gone", None, true),
            ("lives", at(Some("c")), false),
            ("lives", None, false),
            // Nobody here can tell.
            ("gone", at(Some("another")), false),
        ] {
            assert_eq!(may_be_dead(&Uid::new(owner), origin.as_ref(), "c", &living), dead, "{owner} {origin:?}");
        }
    }

    #[test]
    fn an_event_names_five() {
        let all: Vec<Address> = (0..7).map(|n| Address::from_server(format!("m{n}@acme.test"))).collect();
        let text = words(&all);
        assert!(text.contains("m4@acme.test and 2 more: ") && !text.contains("m5@"), "{text}");
    }
}
