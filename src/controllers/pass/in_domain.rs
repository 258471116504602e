//! What lies in a MailDomain. Such kinds differ in what they are at the server; their way out is the same and stands here
//! once.

use super::above::Above;
use super::deletion;
use super::draft::{Draft, WithStatus};
use super::give_up;
use super::lifecycle::{Lifecycle, Reached};
use super::lost_domain;
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::state::blocked::Side;
use crate::state::kind::ObjectId;
use crate::state::parents::{self, Place};
use crate::state::world::World;
use mailtenant_api::{LocalRef, ManagementPolicy, ObjectStatus, Reason, never_made, orphan, paused, uid};
use mailtenant_groupware::{DomainName, DomainSnapshot};
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;

/// A kind whose objects lie in a MailDomain and are made at its server. It has its [`Lifecycle`] from this.
pub trait InDomain: WithStatus {
    /// The MailDomain that it names, in its own namespace.
    fn domain_ref(&self) -> &LocalRef;

    /// The address that its status says it had.
    fn last_address(&self) -> Option<&str>;

    /// What its spec says.
    fn management_policy(&self) -> ManagementPolicy;

    /// Whether its own row is among those of its domain.
    fn is_among(&self, rows: &DomainSnapshot, domain: &DomainName) -> bool;

    fn up(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Self>) -> impl Future<Output = Step<Reached>> + Send;

    fn stopped(draft: &mut Draft<Self>, not_ready: &NotReady) {
        let _ = (draft, not_ready);
    }

    /// Who refers to it and must go first.
    fn needed_by(world: &World, object: &Self, place: &Place) -> Option<NotReady> {
        let _ = (world, object, place);
        None
    }

    fn remove(
        ctx: &Ctx,
        draft: &Draft<Self>,
        place: &Place,
        server: &Groupware,
    ) -> impl Future<Output = Step<Cleanup<NotReady>>> + Send;

    /// Its server is given up and can be reached all the same. Returned is what is left there.
    fn switch_off(
        ctx: &Ctx,
        draft: &Draft<Self>,
        place: &Place,
        server: &Groupware,
    ) -> impl Future<Output = String> + Send;
}

impl<K: InDomain> Lifecycle for K {
    async fn up(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Self>) -> Step<Reached> {
        <Self as InDomain>::up(ctx, id, draft).await
    }

    fn stopped(draft: &mut Draft<Self>, not_ready: &NotReady) {
        <Self as InDomain>::stopped(draft, not_ready);
    }

    fn above(world: &World, object: &Self) -> Above {
        Above::in_domain(world, &NamespacedName::of(object).sibling(&object.domain_ref().name))
    }

    async fn found(ctx: &Ctx, draft: &Draft<Self>, above: &Above) -> Step<Option<Above>> {
        let object = draft.object.as_ref();
        let lost = above.lacks().is_some_and(|n| n.reason == Reason::DomainNotFound);
        if !lost || paused(object) || never_made(draft.status.ownership()) {
            return Ok(None);
        }
        let Some((_, name)) = object.last_address().and_then(|a| a.rsplit_once('@')) else { return Ok(None) };
        let domain = NamespacedName::of(object).sibling(&object.domain_ref().name);
        match lost_domain::find(ctx, &domain, &DomainName::from_server(name)).await {
            Ok(place) => Ok(place.map(Above::in_place)),
            // The guard of the parents says it then, and can be given up.
            Err(Stop::NotReady(_)) if orphan(object) => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    async fn nothing_made(ctx: &Ctx, draft: &mut Draft<Self>) -> Step<Option<Cleanup<NotReady>>> {
        Ok(deletion::nothing_made(ctx, draft, &draft.object.domain_ref().name))
    }

    async fn needed_by(ctx: &Ctx, draft: &Draft<Self>, above: &Above) -> Step<Option<NotReady>> {
        let needed = |place| <Self as InDomain>::needed_by(&ctx.world(), &draft.object, place);
        Ok(above.place().and_then(needed))
    }

    async fn observed(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> Step<Option<Cleanup<NotReady>>> {
        let Some(place) = above.place() else { return Ok(None) };
        let object = draft.object.as_ref();
        if !parents::observes(object.management_policy(), &place.instance.object) {
            return Ok(None);
        }
        let ours = |rows: &DomainSnapshot| object.is_among(rows, &place.name);
        let domain = (&place.key, &place.name);
        deletion::observed_row(ctx, &place.instance, domain, draft.status.ownership(), ours).await.map(Some)
    }

    async fn draining(ctx: &Ctx, _: &Draft<Self>, above: &Above) -> Step<Option<NotReady>> {
        // Nobody takes out the MX of a domain whose MailDomain is gone: there is nothing to wait for.
        let Some(domain) = above.domain() else { return Ok(None) };
        let leaving = ctx.world().namespace_leaves(&domain.key.namespace);
        let object = domain.object.as_ref();
        let given_up = orphan(object) && ctx.blocked.is_given_up(&uid(object), Side::Dns);
        Ok(deletion::draining(object, leaving, given_up, ctx.earliest_now()))
    }

    fn without_parents(draft: &Draft<Self>, not_ready: NotReady) -> Cleanup<NotReady> {
        deletion::parentless(draft.status.ownership(), not_ready)
    }

    async fn remove(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above, server: &Groupware) -> Step<Cleanup<NotReady>> {
        match above.place() {
            Some(place) => <Self as InDomain>::remove(ctx, draft, place, server).await,
            None => Ok(Cleanup::Done),
        }
    }

    async fn switch_off(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> Step<String> {
        let server = give_up::reached(ctx, above).await?;
        Ok(match (server, above.place()) {
            (Ok(server), Some(place)) => <Self as InDomain>::switch_off(ctx, draft, place, &server).await,
            (Ok(server), None) => format!("what is at {} stays there", server.label()),
            (Err(why), _) => why,
        })
    }
}
