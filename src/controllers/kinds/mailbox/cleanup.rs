//! The way out of a mailbox: whoever still needs it first, then sign-in, sessions, contacts and calendars, mail, rows.
//! The finalizer goes when the server has said that nothing of ours is left (I2).

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::pass::deletion;
use crate::pass::draft::Draft;
use crate::pass::give_up;
use crate::rules::{release, undeclared};
use crate::state::derived::{declared_local_part, owner_uid};
use crate::state::kind::{Kind, ObjectId};
use crate::state::parents::Place;
use crate::state::routes;
use crate::state::snapshots::Since;
use crate::state::wakeups;
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_groupware::{Address, BackendError, DomainName, DomainSnapshot, Uid};
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::queue::Priority;
use mailtenant_runtime::store::NamespacedName;

/// The address of a mailbox at the server.
pub fn address(mailbox: &Mailbox, domain: &DomainName) -> Address {
    Address::in_domain(&mailbox.spec.local_part, domain)
}

/// Alias objects that deliver to the mailbox.
pub fn referring_aliases(world: &World, mailbox: &Mailbox, place: &Place) -> Option<NotReady> {
    let key = NamespacedName::of(mailbox);
    let by_ref = world.index.aliases_by_mailbox.of(&key);
    let by_address =
        world.index.routes_by_address.of(&routes::index_key(&key.namespace, &address(mailbox, &place.name)));
    let by_address = by_address.filter(|id| id.kind == Kind::MailAlias).map(|id| &id.key);
    let mut names: Vec<String> = by_ref.chain(by_address).map(|k| k.name.clone()).collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| deletion::blocked(Reason::ReferencedByAlias, "MailAlias", &names))
}

/// Mailboxes that forward to the mailbox. It does not wait for them: that is their tenant's to change, and they find out that
/// nobody has the address by themselves.
fn forwarding_mailboxes(world: &World, mailbox: &Mailbox, address: &Address) -> Vec<String> {
    let key = NamespacedName::of(mailbox);
    let by_address = world.index.routes_by_address.of(&routes::index_key(&key.namespace, address));
    let others = by_address.filter(|id| id.kind == Kind::Mailbox && id.key != key).map(|id| &id.key);
    let stays = |k: &&NamespacedName| world.mailboxes.get(k).is_some_and(|m| !is_deleting(m.as_ref()));
    let mut names: Vec<String> = others.filter(stays).map(|k| k.name.clone()).collect();
    names.sort();
    names
}

/// What others send on to it is kept by them from now on: said to those who can end it.
fn report_forwards(ctx: &Ctx, mailbox: &Mailbox, address: &Address) {
    let names = forwarding_mailboxes(&ctx.world(), mailbox, address);
    if names.is_empty() {
        return;
    }
    let note = format!(
        "{address} is gone, and is still forwarded to by Mailbox {}: take it out of spec.forwarding. They keep that mail, and \
         whoever has the address next does not get it",
        undeclared::listed(&names, names.len())
    );
    ctx.event(mailbox, EventReason::StillForwardedTo, note);
}

/// Takes the mailbox down at the server, or switches it off under `Retain`.
pub async fn remove(ctx: &Ctx, draft: &Draft<Mailbox>, place: &Place, server: &Groupware) -> Step<Cleanup<NotReady>> {
    let mailbox = draft.object.as_ref();
    let (address, own) = (address(mailbox, &place.name), owner_uid(mailbox));
    // Whose row it is comes first: another tenant's address is none of our business, not even who delivers to it (I11).
    let ours = |rows: &DomainSnapshot| rows.mailbox_is_of(&address, &own);
    let ours = ctx.rows(server, &place.key, &place.name, Since::Ever, ours);
    let ours = ours.await.map_err(|e| deletion::with_way_out(NotReady::backend(&server.label(), &e)))?;
    if ours && let Some(waiting) = referenced(ctx, mailbox, server, &place.key, &address).await? {
        return Ok(waiting);
    }
    let policy = mailbox.spec.deletion_policy.unwrap_or(place.instance.object.spec.deletion_policy);
    let result = match policy {
        DeletionPolicy::Delete => destroy(server, &own, &address).await,
        DeletionPolicy::Retain => server.server.release_mailbox(&own, &address).await,
    };
    if result.is_ok() {
        report_forwards(ctx, mailbox, &address);
    }
    if result.is_ok() && policy == DeletionPolicy::Retain {
        let note = format!("{address} is switched off, its mail stays at the backend (deletionPolicy: Retain)");
        ctx.event(mailbox, EventReason::Retained, note);
    }
    if matches!(result, Err(BackendError::NotFound(_))) && !never_made(draft.status.ownership) {
        deletion::not_there(ctx, server, &place.instance).await?;
    }
    match result {
        Ok(()) => {
            ctx.snapshots.update(&server.uid, &place.name, |s| left(s, &address, policy)).await;
            Ok(Cleanup::Done)
        }
        Err(BackendError::NotFound(_) | BackendError::Exists { .. }) => Ok(Cleanup::Done),
        Err(error) => {
            ctx.snapshots.stale(&server.uid, &place.name).await;
            Ok(deletion::failed(ctx, server, &error))
        }
    }
}

/// As under `Retain`: nobody signs in, no mail is taken, and its data stay. One whose removal has begun may have lost some of
/// them: it stays marked so.
pub async fn switch_off(ctx: &Ctx, draft: &Draft<Mailbox>, place: &Place, server: &Groupware) -> String {
    let mailbox = draft.object.as_ref();
    let address = address(mailbox, &place.name);
    let own = owner_uid(mailbox);
    let begun = |rows: &DomainSnapshot| rows.mailboxes.get(&address).is_some_and(|m| m.removing);
    let result = match ctx.rows(server, &place.key, &place.name, Since::within(deletion::JUST_NOW), begun).await {
        Ok(true) => server.server.disable_mailbox(&own, &address).await,
        Ok(false) => server.server.release_mailbox(&own, &address).await,
        Err(error) => Err(error),
    };
    ctx.snapshots.stale(&server.uid, &place.name).await;
    give_up::off(address.as_str(), &server.label(), result)
}

/// Aliases that deliver to the mailbox at the backend: their passes come first, whether it is destroyed or kept (I1).
async fn referenced(
    ctx: &Ctx,
    mailbox: &Mailbox,
    server: &Groupware,
    domain: &NamespacedName,
    address: &Address,
) -> Step<Option<Cleanup<NotReady>>> {
    // An alias that was pointed elsewhere still names the mailbox at the backend until its own pass: the backend's
    // word counts, else its mail bounces.
    let aliases = match server.server.aliases_to(address).await {
        Ok(aliases) if aliases.is_empty() => return Ok(None),
        Ok(aliases) => aliases,
        Err(error) => return Ok(Some(deletion::failed(ctx, server, &error))),
    };
    let delivering = release::release_aliases(ctx, server, (address, &aliases)).await?;
    if !delivering.released.is_empty() {
        ctx.event(mailbox, EventReason::Retained, release::words(&delivering.released));
    }
    let Some(waits) = delivering.waits_for(ctx, server) else { return Ok(None) };
    let mut wakes = wakeups::Wakeups::default();
    {
        let world = ctx.world();
        for alias in &delivering.left {
            let local = declared_local_part(alias);
            let domains = world.index.domains_by_name.of(alias.domain()).filter(|d| d.namespace == domain.namespace);
            let ids: Vec<ObjectId> = domains
                .flat_map(|d| world.owner_of_address(d, local))
                .filter(|id| id.kind == Kind::MailAlias)
                .collect();
            wakes.now.extend(ids.into_iter().map(|id| (id, Priority::Normal)));
        }
    }
    ctx.wake(wakes);
    Ok(Some(Cleanup::Waiting(waits)))
}

/// The rows as they are afterwards: what differs from that at the next read is drift.
fn left(rows: &mut DomainSnapshot, address: &Address, policy: DeletionPolicy) {
    match policy {
        DeletionPolicy::Delete => drop(rows.mailboxes.remove(address)),
        DeletionPolicy::Retain => {
            if let Some(row) = rows.mailboxes.get_mut(address) {
                row.owner = None;
                row.settings.login = false;
                row.settings.receive = false;
            }
        }
    }
}

async fn destroy(server: &Groupware, owner: &Uid, address: &Address) -> Result<(), BackendError> {
    server.server.disable_mailbox(owner, address).await?;
    server.server.purge_mailbox(owner, address).await?;
    server.server.drop_mailbox(owner, address).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use mailtenant_runtime::store::Event;
    use serde_json::{Value, json};

    #[test]
    fn who_forwards_to_a_mailbox_that_goes_is_named_unless_it_goes_too() {
        let mut world = World::default();
        let mut add = |name: &str, to: &str, meta: Value| {
            let spec = json!({"localPart": name, "forwarding": {"to": [to]}});
            let mut all = json!({"metadata": {"name": name, "uid": name}});
            meta.as_object().into_iter().flatten().for_each(|(k, v)| all["metadata"][k] = v.clone());
            let mailbox = fixtures::mailbox(spec, all);
            world.apply::<Mailbox>(Event::Applied(mailbox.clone()));
            mailbox
        };
        let none = || json!({});
        let alice = add("alice", "alice+x@acme.test", none());
        add("carol", "alice@acme.test", none());
        add("bob", "alice+detail@acme.test", none());
        add("dave", "bob@acme.test", none());
        add("erin", "alice@acme.test", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
        add("elsewhere", "alice@acme.test", json!({"namespace": "another"}));
        let address = Address::new("alice@acme.test").unwrap();
        assert_eq!(forwarding_mailboxes(&world, &alice, &address), ["bob", "carol"]);
    }
}
