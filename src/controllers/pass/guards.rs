//! What stands between a deletion and the first destructive call, once, in one order. Each guard can end the pass: the
//! object waits, or goes without a server being asked. [`ORDER`] is the order; a kind says what a guard finds
//! ([`super::lifecycle::Lifecycle`]). What a backend blocks can be given up ([`give_up`]): then the next guard is asked.

use super::above::Above;
use super::deletion::{self, with_way_out};
use super::draft::Draft;
use super::give_up::{self, Blocks, waits};
use super::lifecycle::Lifecycle;
use super::live;
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::rules::{backend_ready, loss};
use crate::state::blocked::Side;
use crate::state::parents;
use mailtenant_api::{is_deleting, paused, uid};
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// One guard of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The annotation `paused`, on the object itself.
    Paused,
    /// Nothing of the object can be anywhere.
    NothingMade,
    /// The annotation `paused`, on the instance.
    PausedAbove,
    /// A mass loss is held, and MX leads here: it is not taken out for a server that may be the wrong one. Those below wait for
    /// MX, so it is said before they are named.
    LossBeforeMx,
    /// MX leaves before anything is waited for.
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
    Guard::Paused,
    Guard::NothingMade,
    Guard::PausedAbove,
    Guard::LossBeforeMx,
    Guard::WithdrawFirst,
    Guard::NeededBy,
    Guard::Observed,
    Guard::MassLoss,
    Guard::Draining,
    Guard::Parents,
    Guard::Backend,
];

/// The backend that a guard asks.
fn side(guard: Guard) -> Side {
    match guard {
        Guard::WithdrawFirst => Side::Dns,
        Guard::Paused
        | Guard::NothingMade
        | Guard::PausedAbove
        | Guard::LossBeforeMx
        | Guard::NeededBy
        | Guard::Observed
        | Guard::MassLoss
        | Guard::Draining
        | Guard::Parents
        | Guard::Backend => Side::Groupware,
    }
}

/// Who can be asked.
pub trait Ask {
    /// Some: the pass ends here.
    fn ask(&mut self, guard: Guard) -> impl Future<Output = Step<Option<Cleanup<NotReady>>>> + Send;

    /// Whether the deletion goes on although this guard objects: a backend blocks it, and a person has given that up.
    fn gives_up(&mut self, guard: Guard, not_ready: &mut NotReady) -> bool;
}

/// How the guards have decided.
#[derive(Debug)]
pub enum Walked {
    /// One of them has the word.
    Ends(Cleanup<NotReady>),
    /// None has. Those that object without effect, since what they speak for is given up.
    Through(Vec<Guard>),
}

/// Asks all guards in their order; the first that objects has the word, and none is asked after it. One whose objection is
/// given up has none.
pub async fn walk(guards: &mut impl Ask) -> Step<Walked> {
    let mut given_up = vec![];
    for guard in ORDER {
        let objection = match guards.ask(guard).await {
            Err(Stop::NotReady(not_ready)) => Some(Cleanup::Waiting(not_ready)),
            other => other?,
        };
        match objection {
            None => {}
            Some(Cleanup::Done) => return Ok(Walked::Ends(Cleanup::Done)),
            Some(Cleanup::Waiting(mut not_ready)) => {
                if !guards.gives_up(guard, &mut not_ready) {
                    if !given_up.is_empty() && not_ready.next == Next::Settled {
                        // What was given up may answer again, and wakes nobody.
                        not_ready.next = Next::Retry;
                    }
                    return Ok(Walked::Ends(Cleanup::Waiting(not_ready)));
                }
                given_up.push(guard);
            }
        }
    }
    Ok(Walked::Through(given_up))
}

struct Guards<'a, 'b, K: Lifecycle> {
    ctx: &'a Ctx,
    draft: &'a mut Draft<K>,
    above: &'a Above,
    blocks: &'a mut Blocks<'b>,
}

impl<K: Lifecycle> Ask for Guards<'_, '_, K> {
    async fn ask(&mut self, guard: Guard) -> Step<Option<Cleanup<NotReady>>> {
        let Guards { ctx, draft, above, .. } = self;
        let object = draft.object.clone();
        let tenant = above.instance.is_some();
        let wait = |not_ready: Option<NotReady>| Ok(not_ready.map(Cleanup::Waiting));
        match guard {
            Guard::Paused => wait((tenant && paused(object.as_ref())).then(parents::paused_itself)),
            Guard::NothingMade => K::nothing_made(ctx, draft).await,
            Guard::PausedAbove => wait(above.instance().and_then(|i| parents::paused_by(&i.object))),
            // The instance wakes it when the loss is accepted or over.
            Guard::LossBeforeMx => {
                let held = held(above).filter(|_| K::leads_here(draft));
                wait(held.map(|n| NotReady { next: Next::Settled, ..n }))
            }
            Guard::WithdrawFirst => {
                K::withdraw_first(ctx, draft, above).await?;
                ctx.blocked.take_back(&uid(object.as_ref()), Side::Dns);
                Ok(None)
            }
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

    fn gives_up(&mut self, guard: Guard, not_ready: &mut NotReady) -> bool {
        self.blocks.gives_up(self.draft.object.as_ref(), side(guard), not_ready)
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
    let mut blocks = Blocks::of(ctx, draft.object.as_ref());
    let end = rounds(ctx, draft, &mut blocks).await;
    // What Kubernetes did not do says nothing about a backend.
    if !matches!(end, Err(Stop::Kubernetes(_))) {
        blocks.end();
    }
    end
}

async fn rounds<K: Lifecycle>(ctx: &Ctx, draft: &mut Draft<K>, blocks: &mut Blocks<'_>) -> Step<Cleanup<NotReady>> {
    for _ in 0..ROUNDS {
        let mut above = K::above(&ctx.world(), &draft.object);
        if let Some(found) = K::found(ctx, draft, &above).await? {
            above = found;
        }
        let given_up = match walk(&mut Guards { ctx, draft: &mut *draft, above: &above, blocks: &mut *blocks }).await? {
            Walked::Ends(end) => return Ok(end),
            // A platform kind has nothing anywhere.
            Walked::Through(_) if above.instance.is_none() => return Ok(Cleanup::Done),
            Walked::Through(given_up) => given_up,
        };
        if live::is_as_judged(ctx, draft, &above).await? {
            return remove(ctx, draft, &above, blocks, &given_up).await;
        }
        let key = NamespacedName::of(draft.object.as_ref());
        let known = ctx.world().get::<K>(&key);
        let same = |o: &Arc<K>| o.meta().uid == draft.object.meta().uid && is_deleting(o.as_ref());
        let Some(object) = known.filter(same) else { break };
        *draft = Draft::new(ctx, object);
    }
    Ok(Cleanup::Waiting(live::changed()))
}

/// Takes down what is at the server, then the records, then the claim. Of what is given up as much as can be reached is
/// switched off.
async fn remove<K: Lifecycle>(
    ctx: &Ctx,
    draft: &mut Draft<K>,
    above: &Above,
    blocks: &mut Blocks<'_>,
    given_up: &[Guard],
) -> Step<Cleanup<NotReady>> {
    let object = draft.object.clone();
    let mut left = vec![];
    if given_up.contains(&Guard::Observed) {
        give_up::event(
            ctx,
            object.as_ref(),
            &["it was only observed, so nothing is written: what is there stays there".into()],
        );
        return K::give_back(ctx, draft).await.map(|()| Cleanup::Done);
    }
    let mut reachable = !given_up.iter().any(|guard| side(*guard) == Side::Groupware);
    if reachable && let Cleanup::Waiting(mut not_ready) = waits(at_the_server(ctx, draft, above).await)? {
        if !blocks.gives_up(object.as_ref(), Side::Groupware, &mut not_ready) {
            return Ok(Cleanup::Waiting(not_ready));
        }
        reachable = false;
    }
    if !reachable {
        left.push(K::switch_off(ctx, draft, above).await?);
    }
    let mx_given_up = given_up.contains(&Guard::WithdrawFirst);
    if let Cleanup::Waiting(mut not_ready) =
        waits(K::withdraw_rest(ctx, draft, mx_given_up).await.map(|()| Cleanup::Done))?
    {
        if !blocks.gives_up(object.as_ref(), Side::Dns, &mut not_ready) {
            return Ok(Cleanup::Waiting(not_ready));
        }
        left.push(format!("its records stay in the DNS ({})", not_ready.message));
    } else if mx_given_up {
        left.push("its records were withdrawn, and whether the DNS still shows its MX is not known".into());
    }
    if !left.is_empty() {
        give_up::event(ctx, object.as_ref(), &left);
    }
    K::give_back(ctx, draft).await.map(|()| Cleanup::Done)
}

async fn at_the_server<K: Lifecycle>(ctx: &Ctx, draft: &mut Draft<K>, above: &Above) -> Step<Cleanup<NotReady>> {
    let Some(instance) = above.instance() else { return Ok(Cleanup::Done) };
    let server = ctx.groupware(&instance.object.spec.backend_ref.name).await;
    let server: Groupware = server.map_err(deletion::stop_with_way_out)?;
    K::remove(ctx, draft, above, &server).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtenant_api::Reason;

    /// What a guard of a table finds, and whether that is given up.
    #[derive(Clone, Copy)]
    enum Finds {
        Nothing,
        Waits,
        Fails,
        Done,
    }

    /// Guards that object, and notes who was asked.
    struct Table {
        finds: fn(Guard) -> Finds,
        given_up: fn(Guard) -> bool,
        asked: Vec<Guard>,
    }

    impl Ask for Table {
        async fn ask(&mut self, guard: Guard) -> Step<Option<Cleanup<NotReady>>> {
            self.asked.push(guard);
            let waiting = NotReady::waiting(Reason::Paused, format!("{guard:?}"));
            match (self.finds)(guard) {
                Finds::Nothing => Ok(None),
                Finds::Waits => Ok(Some(Cleanup::Waiting(waiting))),
                Finds::Fails => Err(waiting.into()),
                Finds::Done => Ok(Some(Cleanup::Done)),
            }
        }

        fn gives_up(&mut self, guard: Guard, _: &mut NotReady) -> bool {
            (self.given_up)(guard)
        }
    }

    async fn walked(finds: fn(Guard) -> Finds, given_up: fn(Guard) -> bool) -> (Walked, Vec<Guard>) {
        let mut table = Table { finds, given_up, asked: vec![] };
        let Ok(walked) = walk(&mut table).await else { panic!("Kubernetes was not asked") };
        (walked, table.asked)
    }

    #[tokio::test]
    async fn the_first_guard_that_objects_has_the_word_and_none_is_asked_after_it() {
        for (finds, last) in [
            ((|g| if g == Guard::Paused { Finds::Waits } else { Finds::Nothing }) as fn(Guard) -> Finds, Guard::Paused),
            (|g| if g == Guard::WithdrawFirst { Finds::Fails } else { Finds::Waits }, Guard::Paused),
            (|g| if g == Guard::WithdrawFirst { Finds::Fails } else { Finds::Nothing }, Guard::WithdrawFirst),
            (|g| if g == Guard::Backend { Finds::Waits } else { Finds::Nothing }, Guard::Backend),
        ] {
            let (walked, asked) = walked(finds, |_| false).await;
            let Walked::Ends(Cleanup::Waiting(not_ready)) = walked else { panic!("{last:?}: it went on") };
            assert_eq!(not_ready.message, format!("{last:?}"));
            assert_eq!(asked.last(), Some(&last));
            assert_eq!(asked, ORDER[..asked.len()]);
        }
        let (end, asked) = walked(|_| Finds::Nothing, |_| true).await;
        assert!(matches!(end, Walked::Through(given_up) if given_up.is_empty()), "nobody objects");
        assert_eq!(asked, ORDER);
        let (end, _) = walked(|g| if g == Guard::NothingMade { Finds::Done } else { Finds::Nothing }, |_| true).await;
        assert!(matches!(end, Walked::Ends(Cleanup::Done)), "it may go");
    }

    #[tokio::test]
    async fn what_is_given_up_lets_the_next_guard_speak() {
        use Guard::*;
        let at_a_backend = |g| matches!(g, LossBeforeMx | WithdrawFirst | Observed | MassLoss | Parents | Backend);
        let (end, asked) =
            walked(|g| if g == WithdrawFirst { Finds::Fails } else { Finds::Nothing }, at_a_backend).await;
        assert!(matches!(end, Walked::Through(given_up) if given_up == [WithdrawFirst]));
        assert_eq!(asked, ORDER);
        // Whoever is not given up has the word all the same; what was passed over may answer again.
        let children = |g| match g {
            WithdrawFirst => Finds::Fails,
            NeededBy => Finds::Waits,
            _ => Finds::Nothing,
        };
        let (end, _) = walked(children, at_a_backend).await;
        let Walked::Ends(Cleanup::Waiting(not_ready)) = end else { panic!("it went on") };
        assert_eq!((not_ready.message.as_str(), not_ready.next), ("NeededBy", Next::Retry));
        let draining = |g| match g {
            MassLoss | Draining => Finds::Waits,
            _ => Finds::Nothing,
        };
        let (end, _) = walked(draining, at_a_backend).await;
        let Walked::Ends(Cleanup::Waiting(not_ready)) = end else { panic!("mail is lost") };
        assert_eq!(not_ready.message, "Draining");
    }

    /// What must come before what, and why. A new guard finds its place by this.
    #[test]
    fn the_order_keeps_what_mail_depends_on() {
        use Guard::*;
        let at = |guard| ORDER.iter().position(|g| *g == guard);
        for (first, then, why) in [
            (Paused, NothingMade, "paused means that nothing is done"),
            (Paused, WithdrawFirst, "nothing is written while it is paused"),
            (PausedAbove, WithdrawFirst, "nothing is written below a paused instance"),
            (LossBeforeMx, WithdrawFirst, "MX stays while the server may be the wrong one"),
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
