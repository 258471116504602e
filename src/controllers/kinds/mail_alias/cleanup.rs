//! The way out of an alias: at once, unless its whole domain is on the way out and may still get mail (I7).

use super::gather::address;
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::pass::deletion::{self, removal};
use crate::pass::draft::Draft;
use crate::pass::give_up;
use crate::state::derived::owner_uid;
use crate::state::parents::Place;
use mailtenant_api::*;
use mailtenant_groupware::{BackendError, DomainSnapshot, Removal};
use mailtenant_runtime::finalizer::Cleanup;

/// What an alias is goes with it, so it is removed if that is possible.
pub async fn switch_off(ctx: &Ctx, draft: &Draft<MailAlias>, place: &Place, server: &Groupware) -> String {
    let alias = draft.object.as_ref();
    let address = address(alias, &place.name);
    let removal = removal(alias.spec.deletion_policy);
    let result = server.server.remove_alias(&owner_uid(alias), &address, removal).await;
    ctx.snapshots.stale(&server.uid, &place.name).await;
    give_up::off(address.as_str(), &server.label(), result)
}

/// Takes the alias down at the server.
pub async fn remove(ctx: &Ctx, draft: &Draft<MailAlias>, place: &Place, server: &Groupware) -> Step<Cleanup<NotReady>> {
    let alias = draft.object.as_ref();
    let address = address(alias, &place.name);
    let removal = removal(alias.spec.deletion_policy);
    let result = server.server.remove_alias(&owner_uid(alias), &address, removal).await;
    if matches!(result, Err(BackendError::NotFound(_))) && !never_made(draft.status.ownership) {
        deletion::not_there(ctx, server, &place.instance).await?;
    }
    match result {
        Ok(()) => {
            let left = |s: &mut DomainSnapshot| match s.aliases.get_mut(&address) {
                Some(row) if removal == Removal::Keep => row.owner = None,
                _ => drop(s.aliases.remove(&address)),
            };
            ctx.snapshots.update(&server.uid, &place.name, left).await;
            Ok(Cleanup::Done)
        }
        Err(BackendError::NotFound(_) | BackendError::Exists { .. }) => Ok(Cleanup::Done),
        Err(error) => {
            ctx.snapshots.stale(&server.uid, &place.name).await;
            Ok(deletion::failed(ctx, server, &error))
        }
    }
}
