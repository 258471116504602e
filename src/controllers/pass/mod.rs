//! Passes: one object, one step nearer to what is declared. [`life`] is the way up and down for all kinds, [`guards`] what
//! stands before a removal, [`fallback_status`] what an object reports when its pass could not.

pub mod above;
pub mod deletion;
pub mod draft;
pub mod fallback_status;
pub mod give_up;
pub mod guards;
pub mod in_domain;
pub mod judged;
pub mod life;
pub mod lifecycle;
pub mod live;
pub mod lost_domain;
pub mod report;
pub mod write;

use crate::ctx::Ctx;
use crate::not_ready::NotReady;
use crate::state::kind::{Kind, ObjectId};
use mailtenant_api::*;
use mailtenant_runtime::dispatch::{Ended, Next, Work};
use mailtenant_runtime::queue::Lane;
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// Time limit of a backend's own pass: it may migrate a database. There are few of them, and what is on a backend waits
/// for it anyway.
pub const BACKEND_PASS: Duration = Duration::from_secs(300);

/// A kind that has passes: any with a [`lifecycle::Lifecycle`], and the claims, which have neither status nor finalizer.
pub trait HasPass {
    fn pass(ctx: &Ctx, key: &NamespacedName) -> impl Future<Output = Next> + Send;
}

impl<K: lifecycle::Lifecycle> HasPass for K {
    async fn pass(ctx: &Ctx, key: &NamespacedName) -> Next {
        life::pass::<K>(ctx, key).await
    }
}

macro_rules! by_kind {
    ($($kind:ident: $store:ident),* $(,)?) => {
        async fn pass(ctx: &Ctx, id: &ObjectId) -> Next {
            match id.kind {
                $(Kind::$kind => <$kind as HasPass>::pass(ctx, &id.key).await),*
            }
        }
    };
}
with_kinds!(by_kind);

pub struct Passes(pub Arc<Ctx>);

impl Work<ObjectId> for Passes {
    async fn pass(self: Arc<Self>, id: ObjectId) -> Next {
        let ctx = self.0.as_ref();
        let broken = ctx.world().broken.get(&id).cloned();
        if let Some(broken) = broken {
            return fallback_status::undecodable(ctx, &id, &broken).await;
        }
        // Every line that a pass logs names its object and the pass.
        let span = tracing::info_span!("pass", object = %id, pass = ctx.next_pass());
        pass(ctx, &id).instrument(span).await
    }

    async fn failed(self: Arc<Self>, id: ObjectId, ended: Ended) {
        let not_ready = match ended {
            Ended::Panicked => {
                let text = "a pass panicked: please report it with the operator's log. It is tried again.";
                NotReady::retry(Reason::InternalError, text)
            }
            _ => {
                let text = "a pass took longer than it may and was ended: a backend or Kubernetes is slow, or there is more \
                            to do than fits. It is tried again.";
                NotReady::retry(Reason::TimedOut, text)
            }
        };
        fallback_status::after(&self.0, &id, &not_ready).await;
    }

    fn lane(&self, id: &ObjectId) -> Lane {
        self.0.world().lane(id)
    }

    fn time_limit(&self, id: &ObjectId, usual: Duration) -> Duration {
        match id.kind {
            Kind::GroupwareBackend | Kind::DNSBackend => BACKEND_PASS,
            _ => usual,
        }
    }

    fn ended(&self, id: &ObjectId, ended: Ended, took: Duration) {
        let outcome = match ended {
            Ended::With(Next::Settled | Next::After(_)) => "settled",
            Ended::With(Next::Retry | Next::RetryAfter(_)) => "retry",
            Ended::TimedOut => "timed_out",
            Ended::Panicked => "panicked",
        };
        self.0.metrics.reconciled(id.kind.as_str(), outcome, took);
        match ended {
            Ended::Panicked => {
                self.0.metrics.panicked();
                tracing::error!(object = %id, "a pass panicked; the object is tried again, please report it");
            }
            Ended::TimedOut => tracing::warn!(object = %id, ?took, "a pass took too long and was ended"),
            Ended::With(next) => tracing::debug!(object = %id, ?next, ?took, "pass"),
        }
    }
}
