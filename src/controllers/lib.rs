//! What is done about each kind. A folder a kind: gather -> plan (pure) -> apply -> status, and the way out.
//!
//! `world` is what the watches told, `edges` whom a change concerns, `observed` what servers were last seen to hold.

pub mod connect;
pub mod connections;
pub mod ctx;
pub mod deletion;
pub mod dns_backend;
pub mod edges;
pub mod family;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod groupware_backend;
pub mod hold;
pub mod ignored;
pub mod lane;
pub mod mail_alias;
pub mod mail_domain;
pub mod mail_domain_claim;
pub mod mail_instance;
pub mod mailbox;
pub mod mass_loss;
pub mod observed;
pub mod operator;
pub mod standing;
pub mod trouble;
pub mod world;

use ctx::Ctx;
use hold::Hold;
use kube::Resource;
use mailtenant_api::{Condition, ConditionType, Reason, conditions};
use mailtenant_runtime::dispatch::{Ended, Next, Work};
use mailtenant_runtime::queue::Lane;
use std::sync::Arc;
use std::time::Duration;
use world::{Kind, ObjectId};

/// Time limit of a backend's own pass: it may migrate a database. There are few of them, and what is on a backend waits
/// for it anyway.
pub const BACKEND_PASS: Duration = Duration::from_secs(300);

/// All passes.
pub struct Passes(pub Arc<Ctx>);

impl Work<ObjectId> for Passes {
    async fn pass(self: Arc<Self>, id: ObjectId) -> Next {
        let ctx = self.0.as_ref();
        let broken = ctx.world().broken.get(&id).cloned();
        if let Some(broken) = broken {
            return trouble::undecodable(ctx, &id, &broken).await;
        }
        match id.kind {
            Kind::GroupwareBackend => groupware_backend::pass(ctx, &id.key).await,
            Kind::DNSBackend => dns_backend::pass(ctx, &id.key).await,
            Kind::MailInstance => mail_instance::pass(ctx, &id.key).await,
            Kind::MailDomain => mail_domain::pass(ctx, &id.key).await,
            Kind::Mailbox => mailbox::pass(ctx, &id.key).await,
            Kind::MailAlias => mail_alias::pass(ctx, &id.key).await,
            Kind::MailDomainClaim => mail_domain_claim::pass(ctx, &id.key).await,
        }
    }

    async fn failed(self: Arc<Self>, id: ObjectId, ended: Ended) {
        let hold = match ended {
            Ended::Panicked => {
                let text = "a pass panicked: please report it with the operator's log. It is tried again.";
                Hold::retry(Reason::InternalError, text)
            }
            _ => {
                let text = "a pass took longer than it may and was ended: a backend or Kubernetes is slow, or there is more \
                            to do than fits. It is tried again.";
                Hold::retry(Reason::TimedOut, text)
            }
        };
        trouble::after(&self.0, &id, &hold).await;
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

/// What is declared and not allowed any more is taken away at the server, and before that the status stops to say Ready of
/// it (I4): the next pass, a moment later, does the rest.
pub fn said_first(object: &impl Resource, said: Option<&Vec<Condition>>, hold: Option<&Hold>) -> Option<Hold> {
    let ready = said.into_iter().flatten().find(|c| c.type_ == ConditionType::Ready.as_str());
    let claims = ready.is_some_and(|c| c.status == "True" && c.observed_generation == object.meta().generation);
    hold.filter(|_| claims).map(|h| Hold { next: Next::After(MOMENT), ..h.clone() })
}

/// Long enough not to spin where the watch has not told yet that the object is gone.
const MOMENT: Duration = Duration::from_millis(100);

/// A Warning Event when an object begins to be held, or is held for another reason.
pub fn tell_hold<K: Resource<DynamicType = ()>>(ctx: &Ctx, object: &K, old: &[Condition], hold: &Hold) {
    if object.meta().deletion_timestamp.is_none() {
        return tell_unready(ctx, object, old, hold);
    }
    if said(old, ConditionType::DeletionBlocked) != Some(hold.reason.as_str()) {
        ctx.event(object, true, "DeletionBlocked", hold.message.clone());
    }
}

/// The same for `Ready` alone: a backend that waits to go serves what is on it, and can stop to.
pub fn tell_unready<K: Resource<DynamicType = ()>>(ctx: &Ctx, object: &K, old: &[Condition], hold: &Hold) {
    // Parents that are on their way up are nothing to warn of.
    let patient = !hold.stalled && hold.next == Next::Settled;
    if said(old, ConditionType::Ready) != Some(hold.reason.as_str()) && !patient {
        ctx.event(object, true, hold.reason.as_str(), hold.message.clone());
    }
}

fn said(list: &[Condition], of: ConditionType) -> Option<&str> {
    conditions::find(list, of).map(|c| c.reason.as_str())
}
