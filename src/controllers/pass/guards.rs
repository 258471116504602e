//! What stands between a deletion and the first destructive call, once, in one order. Each guard can end the pass: the
//! object waits, or goes without a server being asked. [`ORDER`] is the order; a kind says what a guard finds
//! ([`super::lifecycle::Lifecycle`]).

use super::above::Above;
use super::deletion::{self, with_way_out};
use super::draft::Draft;
use super::lifecycle::Lifecycle;
use super::live;
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::rules::{backend_ready, loss};
use crate::state::parents;
use mailtenant_api::{is_deleting, orphan, paused};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// One guard of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The annotation `orphan`: no server is asked.
    Orphan,
    /// The annotation `paused`, on the object itself.
    Paused,
    /// Nothing of the object can be anywhere.
    NothingMade,
    /// The annotation `paused`, on the instance.
    PausedAbove,
    /// MX leaves before anything is waited for; not while a mass loss is held.
    WithdrawFirst,
    /// Children, by a live list, and whoever refers to the object.
    NeededBy,
    Observed,
    /// A mass loss is held: "not there" is no proof.
    MassLoss,
    /// Resolvers may still send mail here.
    Draining,
    /// The parents cannot be used.
    Parents,
    /// The backend is not ready.
    Backend,
}

/// The order in which the guards are asked.
pub const ORDER: [Guard; 11] = [
    Guard::Orphan,
    Guard::Paused,
    Guard::NothingMade,
    Guard::PausedAbove,
    Guard::WithdrawFirst,
    Guard::NeededBy,
    Guard::Observed,
    Guard::MassLoss,
    Guard::Draining,
    Guard::Parents,
    Guard::Backend,
];

/// Who can be asked.
pub trait Ask {
    /// Some: the pass ends here.
    fn ask(&mut self, guard: Guard) -> impl Future<Output = Step<Option<Cleanup<NotReady>>>> + Send;
}

/// Asks all guards in their order; the first that objects has the word, and none is asked after it.
pub async fn walk(guards: &mut impl Ask) -> Step<Option<Cleanup<NotReady>>> {
    for guard in ORDER {
        if let Some(end) = guards.ask(guard).await? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

struct Guards<'a, K: Lifecycle> {
    ctx: &'a Ctx,
    draft: &'a mut Draft<K>,
    above: &'a Above,
}

impl<K: Lifecycle> Ask for Guards<'_, K> {
    async fn ask(&mut self, guard: Guard) -> Step<Option<Cleanup<NotReady>>> {
        let Guards { ctx, draft, above } = self;
        let object = draft.object.clone();
        let tenant = above.instance.is_some();
        let wait = |not_ready: Option<NotReady>| Ok(not_ready.map(Cleanup::Waiting));
        match guard {
            Guard::Orphan if orphan(object.as_ref()) => K::orphaned(ctx, draft).await.map(Some),
            Guard::Orphan => Ok(None),
            Guard::Paused => wait((tenant && paused(object.as_ref())).then(parents::paused_itself)),
            Guard::NothingMade => K::nothing_made(ctx, draft).await,
            Guard::PausedAbove => wait(above.instance().and_then(|i| parents::paused_by(&i.object))),
            // Nothing is taken out of the DNS for a server that may be the wrong one.
            Guard::WithdrawFirst if held(above).is_some() => Ok(None),
            Guard::WithdrawFirst => K::withdraw_first(ctx, draft, above).await.map(|()| None),
            Guard::NeededBy => wait(K::needed_by(ctx, draft, above).await?),
            Guard::Observed => K::observed(ctx, draft, above).await,
            // The instance wakes it when the loss is accepted or over.
            Guard::MassLoss => wait(held(above).map(|n| NotReady { next: Next::Settled, ..n })),
            Guard::Draining => wait(K::draining(ctx, draft, above).await?),
            Guard::Parents => Ok(match &above.instance {
                Some(Err(not_ready)) => Some(K::without_parents(draft, not_ready.clone())),
                _ => None,
            }),
            Guard::Backend => {
                let ready = above.instance().map_or(Ok(()), |i| backend_ready::groupware(&i.backend));
                Ok(ready.err().map(|not_ready| Cleanup::Waiting(with_way_out(not_ready))))
            }
        }
    }
}

/// What is reported while a mass loss of the instance is held.
fn held(above: &Above) -> Option<NotReady> {
    let instance = above.instance().filter(|i| loss::is_held(&i.object))?;
    Some(with_way_out(loss::not_ready(&instance.key.name, None)))
}

/// How often the guards are asked in one pass while the object or its parents keep changing.
const ROUNDS: usize = 3;

/// Asks the guards, connects, and takes the object down.
pub async fn take_down<K: Lifecycle>(ctx: &Ctx, draft: &mut Draft<K>) -> Step<Cleanup<NotReady>> {
    for _ in 0..ROUNDS {
        let mut above = K::above(&ctx.world(), &draft.object);
        if let Some(found) = K::found(ctx, draft, &above).await? {
            above = found;
        }
        if let Some(end) = walk(&mut Guards { ctx, draft: &mut *draft, above: &above }).await? {
            return Ok(end);
        }
        if above.instance().is_none() || live::is_as_judged(ctx, draft, &above).await? {
            return remove(ctx, draft, &above).await;
        }
        let key = NamespacedName::of(draft.object.as_ref());
        let known = ctx.world().get::<K>(&key);
        let same = |o: &Arc<K>| o.meta().uid == draft.object.meta().uid && is_deleting(o.as_ref());
        let Some(object) = known.filter(same) else { break };
        *draft = Draft::new(ctx, object);
    }
    Ok(Cleanup::Waiting(live::changed()))
}

async fn remove<K: Lifecycle>(ctx: &Ctx, draft: &mut Draft<K>, above: &Above) -> Step<Cleanup<NotReady>> {
    match above.instance() {
        None => Ok(Cleanup::Done),
        Some(instance) => {
            let server = ctx.groupware(&instance.object.spec.backend_ref.name).await;
            let server: Groupware = server.map_err(deletion::stop_with_way_out)?;
            K::remove(ctx, draft, above, &server).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtenant_api::Reason;

    /// Objects from one guard on, and notes who was asked.
    struct Table(Option<usize>, Vec<Guard>);

    impl Ask for Table {
        async fn ask(&mut self, guard: Guard) -> Step<Option<Cleanup<NotReady>>> {
            self.1.push(guard);
            let objects = self.0.is_some_and(|from| ORDER.iter().position(|g| *g == guard) >= Some(from));
            Ok(objects.then(|| Cleanup::Waiting(NotReady::waiting(Reason::Paused, format!("{guard:?}")))))
        }
    }

    #[tokio::test]
    async fn the_first_guard_that_objects_has_the_word_and_none_is_asked_after_it() {
        for from in 0..ORDER.len() {
            let mut table = Table(Some(from), vec![]);
            let end = walk(&mut table).await;
            let Ok(Some(Cleanup::Waiting(not_ready))) = end else { panic!("{from}: it went on") };
            assert_eq!(not_ready.message, format!("{:?}", ORDER[from]));
            assert_eq!(table.1, ORDER[..=from]);
        }
        let mut table = Table(None, vec![]);
        assert!(matches!(walk(&mut table).await, Ok(None)), "nobody objects");
        assert_eq!(table.1, ORDER);
    }

    /// What must come before what, and why. A new guard finds its place by this.
    #[test]
    fn the_order_keeps_what_mail_depends_on() {
        use Guard::*;
        let at = |guard| ORDER.iter().position(|g| *g == guard);
        for (first, then, why) in [
            (Orphan, Paused, "the way out of a stuck deletion works for a paused object too"),
            (Paused, NothingMade, "paused means that nothing is done"),
            (Paused, WithdrawFirst, "nothing is written while it is paused"),
            (PausedAbove, WithdrawFirst, "nothing is written below a paused instance"),
            (WithdrawFirst, NeededBy, "MX leaves first; children wait for that"),
            (NeededBy, Observed, "children first, also of what is only observed"),
            (NeededBy, MassLoss, "whoever waits for others reports those, and is woken by them"),
            (Observed, MassLoss, "a row that is not ours may be judged without the rest of the server"),
            (MassLoss, Backend, "a server that may be the wrong one is not asked for proof"),
            (Observed, Draining, "nobody takes out the MX of what is only observed"),
            (Draining, Backend, "the old TTL is waited for before a server is asked"),
            (Parents, Backend, "the backend is known by the parents"),
        ] {
            assert!(at(first) < at(then), "{first:?} before {then:?}: {why}");
        }
    }
}
