//! The last look before the first destructive call: whatever Kubernetes acknowledged before counts (`Retain`, `paused`,
//! `Observe`), also if its watch is late. Three requests per deletion.

use super::above::Above;
use super::draft::{Draft, WithStatus};
use super::judged::is_judged_alike;
use super::lifecycle::Lifecycle;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use kube::Api;
use mailtenant_api::{MailDomain, MailInstance, Reason};
use mailtenant_runtime::store::NamespacedName;

/// Whether the object and its parents are still as the guards have judged them. What is newer is put into the world.
pub async fn is_as_judged<K: Lifecycle>(ctx: &Ctx, draft: &Draft<K>, above: &Above) -> Step<bool> {
    let namespace = draft.object.meta().namespace.clone().unwrap_or_default();
    let mut same = is_same(ctx, &K::api(ctx, &namespace), draft.judged()).await?;
    if let Some(domain) = above.domain() {
        same &= is_same(ctx, &ctx.api::<MailDomain>(&namespace), domain.object.as_ref()).await?;
    }
    // Of an instance the one above is itself.
    let own = &draft.object.meta().uid;
    if let Some(instance) = above.instance().filter(|i| i.object.metadata.uid != *own) {
        same &= is_same(ctx, &ctx.api::<MailInstance>(&namespace), instance.object.as_ref()).await?;
    }
    Ok(same)
}

/// What is reported if it is not.
pub fn changed() -> NotReady {
    NotReady::retry(Reason::Progressing, "it was changed while it was being judged: it is looked at again")
}

async fn is_same<K: WithStatus>(ctx: &Ctx, api: &Api<K>, judged: &K) -> Step<bool> {
    let name = NamespacedName::of(judged).name;
    match api.get_opt(&name).await? {
        Some(live) if live.meta().uid == judged.meta().uid => {
            let same = is_judged_alike(&live, judged);
            if live.meta().resource_version != judged.meta().resource_version {
                ctx.absorb(live);
            }
            Ok(same)
        }
        // Its watch will tell. Until then nothing is known that could be judged.
        _ => {
            Err(NotReady::retry(Reason::Progressing, format!("{} {name} is not there any more", K::KIND.as_str()))
                .into())
        }
    }
}
