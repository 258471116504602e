//! What the acting half must know of a kind. Its folder below `kinds/` says it, in `mod.rs`.

use super::above::Above;
use super::deletion;
use super::draft::{Draft, WithStatus};
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::state::blocked::Side;
use crate::state::kind::ObjectId;
use crate::state::world::World;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;

/// How a pass that came through ended.
pub struct Reached {
    /// The message of `Ready=True`; none: the conditions say all already.
    pub message: Option<String>,
    /// All that can be done is done, and still it is not as declared.
    pub not_ready: Option<NotReady>,
    /// When the next pass is due by itself.
    pub next: Next,
}

impl Reached {
    /// As declared, or as much of it as can be; the next pass is due when something changes.
    pub fn settled(message: impl Into<String>, not_ready: Option<NotReady>) -> Self {
        let next = not_ready.as_ref().map_or(Next::Settled, |n| n.next);
        Reached { message: Some(message.into()), not_ready, next }
    }

    /// The conditions say all already.
    pub fn reported(next: Next) -> Self {
        Reached { message: None, not_ready: None, next }
    }
}

/// What the acting half must know of a kind. The defaults are those of a kind that has nothing at a server.
pub trait Lifecycle: WithStatus {
    /// Gather, plan, apply. What is found is put into the draft.
    fn up(ctx: &Ctx, id: &ObjectId, draft: &mut Draft<Self>) -> impl Future<Output = Step<Reached>> + Send;

    /// What the status says besides the conditions when a pass did not come through.
    fn stopped(draft: &mut Draft<Self>, not_ready: &NotReady) {
        let _ = (draft, not_ready);
    }

    /// When the next pass is due, if nothing changes.
    fn next(ctx: &Ctx, id: &ObjectId, draft: &Draft<Self>, next: Next) -> Next {
        let _ = (ctx, id, draft);
        next
    }

    /// The parents of an object that is being deleted, as far as they are known.
    fn above(world: &World, object: &Self) -> Above {
        let _ = (world, object);
        Above::default()
    }

    /// The deletion goes on without a backend that blocks it, for the first time.
    fn given_up(ctx: &Ctx, object: &Self, side: Side) {
        let _ = (ctx, object, side);
    }
    /// The same where a parent is gone and servers know what it was. None: it is as [`Lifecycle::above`] has it.
    fn found(ctx: &Ctx, draft: &Draft<Self>, above: &Above) -> impl Future<Output = Step<Option<Above>>> + Send {
        let _ = (ctx, draft, above);
        async { Ok(None) }
    }

    /// Some, if nothing of the object can be anywhere, so that no server has to be asked.
    fn nothing_made(
        ctx: &Ctx,
        draft: &mut Draft<Self>,
    ) -> impl Future<Output = Step<Option<Cleanup<NotReady>>>> + Send {
        let _ = (ctx, draft);
        async { Ok(None) }
    }

    /// Whether there is something that must leave first.
    fn leads_here(draft: &Draft<Self>) -> bool {
        let _ = draft;
        false
    }

    /// What must leave before anything else is waited for: MX of a domain.
    fn withdraw_first(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> impl Future<Output = Step<()>> + Send {
        let _ = (ctx, draft, above);
        async { Ok(()) }
    }

    /// Who still needs the object: children by a live list, or whoever refers to it.
    fn needed_by(ctx: &Ctx, draft: &Draft<Self>, above: &Above) -> impl Future<Output = Step<Option<NotReady>>> + Send;

    /// `managementPolicy: Observe`: nothing is written. None: nothing stands against going on.
    fn observed(
        ctx: &Ctx,
        draft: &mut Draft<Self>,
        above: &Above,
    ) -> impl Future<Output = Step<Option<Cleanup<NotReady>>>> + Send {
        let _ = (ctx, draft, above);
        async { Ok(None) }
    }

    /// While resolvers may still send mail here.
    fn draining(ctx: &Ctx, draft: &Draft<Self>, above: &Above) -> impl Future<Output = Step<Option<NotReady>>> + Send {
        let _ = (ctx, draft, above);
        async { Ok(None) }
    }

    /// The parents cannot be used: some kinds may go all the same, if nothing was made.
    fn without_parents(draft: &Draft<Self>, not_ready: NotReady) -> Cleanup<NotReady> {
        let _ = draft;
        Cleanup::Waiting(deletion::with_way_out(not_ready))
    }

    /// Takes down what is at the server. Every guard has let it through.
    fn remove(
        ctx: &Ctx,
        draft: &mut Draft<Self>,
        above: &Above,
        server: &Groupware,
    ) -> impl Future<Output = Step<Cleanup<NotReady>>> + Send {
        let _ = (ctx, draft, above, server);
        async { Ok(Cleanup::Done) }
    }

    /// The groupware server is given up: what can be reached there all the same is switched off. Returned is what is left
    /// there. Every guard but those that speak for the server has let it through.
    fn switch_off(ctx: &Ctx, draft: &mut Draft<Self>, above: &Above) -> impl Future<Output = Step<String>> + Send {
        let _ = (ctx, draft, above);
        async { Ok(String::new()) }
    }

    /// After the groupware server: what the object has in the DNS.
    fn withdraw_rest(ctx: &Ctx, draft: &mut Draft<Self>) -> impl Future<Output = Step<()>> + Send {
        let _ = (ctx, draft);
        async { Ok(()) }
    }

    /// The last step: what others may have from now on.
    fn give_back(ctx: &Ctx, draft: &mut Draft<Self>) -> impl Future<Output = Step<()>> + Send {
        let _ = (ctx, draft);
        async { Ok(()) }
    }

    /// What is reported while a deletion waits, and when the next pass is due.
    fn waiting(
        ctx: &Ctx,
        id: &ObjectId,
        draft: &mut Draft<Self>,
        not_ready: &NotReady,
    ) -> impl Future<Output = Result<Next, kube::Error>> + Send {
        let _ = (ctx, id);
        report_blocked(draft, not_ready);
        async { Ok(not_ready.next) }
    }
}

/// Conditions of an object that is being deleted and may not go yet.
pub fn report_blocked<K: Lifecycle>(draft: &mut Draft<K>, not_ready: &NotReady) {
    deletion::blocked_conditions(&mut draft.conditions, not_ready);
}
