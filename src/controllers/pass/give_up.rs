//! The annotation `orphan`. It counts only while a backend blocks the deletion, and skips no more than what is blocked: all
//! other guards keep their word, what can be reached is switched off, and an Event says what is left where.

use super::guards::Guard;
use super::lifecycle::Lifecycle;
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::pass::above::Above;
use crate::state::blocked::Side;
use mailtenant_api::{EventReason, annotations, orphan, uid};
use mailtenant_groupware::BackendError;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::finalizer::Cleanup;
use std::collections::BTreeSet;

/// What one pass finds of the backends that block a deletion.
pub struct Blocks<'a> {
    ctx: &'a Ctx,
    uid: String,
    seen: BTreeSet<Side>,
}

impl<'a> Blocks<'a> {
    pub fn of<K: Lifecycle>(ctx: &'a Ctx, object: &K) -> Self {
        Blocks { ctx, uid: uid(object), seen: BTreeSet::new() }
    }

    /// Whether the deletion goes on although it is blocked: by a backend, for long enough, and a person has given it up.
    pub fn gives_up<K: Lifecycle>(&mut self, object: &K, side: Side, not_ready: &mut NotReady) -> bool {
        if !not_ready.reason.lies_at_a_backend() {
            return false;
        }
        self.seen.insert(side);
        let left = self.ctx.blocked.note(&self.uid, side);
        if !orphan(object) {
            self.ctx.blocked.take_back(&self.uid, side);
            return false;
        }
        if !left.is_zero() {
            // Nobody else may wake it: what blocks it can be settled.
            not_ready.next = Next::After(left);
            return false;
        }
        if self.ctx.blocked.give_up(&self.uid, side) {
            K::given_up(self.ctx, object, side);
        }
        true
    }

    /// The pass came to its end: what did not block it now blocks it no more.
    pub fn end(&self) {
        for side in [Side::Groupware, Side::Dns] {
            if !self.seen.contains(&side) {
                self.ctx.blocked.clear(&self.uid, side);
            }
        }
    }
}

/// The backend that a guard asks.
pub fn side(guard: Guard) -> Side {
    match guard {
        Guard::WithdrawFirst => Side::Dns,
        Guard::Paused
        | Guard::NothingMade
        | Guard::PausedAbove
        | Guard::NeededBy
        | Guard::Observed
        | Guard::MassLoss
        | Guard::Draining
        | Guard::Parents
        | Guard::Backend => Side::Groupware,
    }
}

/// A step that ended the pass because something is not ready waits for that.
pub fn waits(step: Step<Cleanup<NotReady>>) -> Step<Cleanup<NotReady>> {
    match step {
        Err(Stop::NotReady(not_ready)) => Ok(Cleanup::Waiting(not_ready)),
        other => other,
    }
}

/// The groupware server of what is given up, if it can be asked all the same; else why it cannot.
pub async fn reached(ctx: &Ctx, above: &Above) -> Step<Result<Groupware, String>> {
    let Some(instance) = above.instance() else {
        return Ok(Err("no groupware server can be asked: what is there stays there and may go on working".into()));
    };
    match ctx.groupware(&instance.object.spec.backend_ref.name).await {
        Ok(server) => Ok(Ok(server)),
        Err(Stop::NotReady(n)) => Ok(Err(format!(
            "it could not be switched off ({}): what is there stays there and may go on working",
            n.message
        ))),
        Err(stop) => Err(stop),
    }
}

/// In words, how far something could be switched off at a server.
pub fn off(what: &str, label: &str, result: Result<(), BackendError>) -> String {
    match result {
        Ok(()) => format!("{what} is switched off; what else is at {label} stays there"),
        Err(BackendError::NotFound(_) | BackendError::Exists { .. }) => format!("{label} has nothing of it"),
        Err(error) => {
            format!(
                "{what} could not be switched off at {label} ({error}): what is there stays there and may go on working"
            )
        }
    }
}

/// Says what is left where.
pub fn event<K: Lifecycle>(ctx: &Ctx, object: &K, left: &[String]) {
    let text = format!("{} let it go although a backend blocks its deletion: {}", annotations::ORPHAN, left.join("; "));
    ctx.event(object, EventReason::Orphaned, text);
}
