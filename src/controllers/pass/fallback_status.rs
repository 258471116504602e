//! What an object says when its own pass could not say it: Kubernetes refused a call, the pass took too long or panicked,
//! the object does not fit its type. Works on the object as Kubernetes has it now, of whatever kind and shape.

use super::deletion;
use crate::ctx::Ctx;
use crate::not_ready::NotReady;
use crate::state::kind::{Kind, ObjectId};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use mailtenant_api::*;
use mailtenant_runtime::dispatch::Next;
use serde_json::json;

macro_rules! by_kind {
    ($($kind:ident: $store:ident),* $(,)?) => {
        fn resource(kind: Kind) -> ApiResource {
            match kind {
                $(Kind::$kind => ApiResource::erase::<$kind>(&())),*
            }
        }

        /// Without it the next pass would compare with a status that is not there any more, and leave this one standing.
        fn absorb(ctx: &Ctx, kind: Kind, written: DynamicObject) {
            match kind {
                // One that does not fit its type is in no store.
                $(Kind::$kind => {
                    if let Ok(written) = written.try_parse::<$kind>() {
                        ctx.absorb(written);
                    }
                })*
            }
        }
    };
}
with_kinds!(by_kind);

/// The API of an object, whatever its kind.
pub fn api(ctx: &Ctx, id: &ObjectId) -> kube::Api<DynamicObject> {
    let resource = resource(id.kind);
    if id.key.namespace.is_empty() {
        kube::Api::all_with(ctx.client.clone(), &resource)
    } else {
        kube::Api::namespaced_with(ctx.client.clone(), &id.key.namespace, &resource)
    }
}

/// What a refusal by Kubernetes means for the object, if it is one that no retry by itself heals: a missing permission,
/// an admission webhook, a quota.
pub fn refusal(error: &kube::Error) -> Option<NotReady> {
    let kube::Error::Api(status) = error else { return None };
    let refused = (400..500).contains(&status.code) && !matches!(status.code, 404 | 409 | 410 | 429);
    refused.then(|| {
        let text = format!("Kubernetes refused a call of the operator ({}): {}", status.reason, status.message);
        NotReady::retry(
            Reason::KubernetesError,
            format!("{text}. The platform team has to look at the operator's rights."),
        )
    })
}

/// What it means that Kubernetes did not do a call, after a pass that failed too: a part of it may be away (a webhook, one
/// resource), and the status be taken all the same. Of another writer (409, 410) or of what is gone (404) there is nothing
/// to say.
pub fn away(error: &kube::Error) -> Option<NotReady> {
    let text = match error {
        kube::Error::Api(status) if status.code == 429 || status.code >= 500 => {
            format!(
                "Kubernetes did not do a call of the operator ({} {}): {}",
                status.code,
                status.reason,
                words(&status.message)
            )
        }
        kube::Error::Api(_) => return None,
        // Its words change from call to call, and may quote what was read.
        _ => "Kubernetes gave no answer to a call of the operator, or one that makes no sense".to_owned(),
    };
    Some(NotReady::retry(
        Reason::KubernetesError,
        format!("{text}. It is tried again; the operator's log names the call."),
    ))
}

/// The first of somebody's words: what is not from Kubernetes itself can be a whole page.
fn words(text: &str) -> String {
    const MOST: usize = 300;
    let mut first: String = text.chars().take(MOST).collect();
    if first.len() < text.len() {
        first.push_str(" ...");
    }
    first
}

/// Says so in the status; a status that says it already is not written. What else it says stays.
pub async fn say(ctx: &Ctx, id: &ObjectId, not_ready: &NotReady) -> Result<(), kube::Error> {
    if id.kind == Kind::MailDomainClaim {
        return Ok(());
    }
    let api = api(ctx, id);
    let Some(live) = api.get_opt(&id.key.name).await? else { return Ok(()) };
    let mut status = live.data.get("status").cloned().unwrap_or_else(|| json!({}));
    let old: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap_or_default();
    let generation = live.metadata.generation.unwrap_or_default();
    let conditions = if live.metadata.deletion_timestamp.is_some() {
        deletion::conditions(&live, &old, not_ready, ctx.clock.now())
    } else {
        let mut conditions = Conditions::new(&old, generation, ctx.clock.now());
        not_ready.put(&mut conditions);
        conditions.into_vec()
    };
    if conditions == old && status["observedGeneration"] == generation {
        return Ok(());
    }
    status["observedGeneration"] = json!(generation);
    status["conditions"] = json!(conditions);
    let resource = resource(id.kind);
    // The resourceVersion: what was read a moment ago is written back, and must not undo what came between.
    let patch = json!({
        "apiVersion": resource.api_version, "kind": resource.kind, "status": status,
        "metadata": {"name": id.key.name, "resourceVersion": live.metadata.resource_version},
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&id.key.name, &params, &Patch::Apply(&patch)).await {
        Ok(written) => {
            absorb(ctx, id.kind, written);
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// A pass that ended without a word of its own: says why, as far as Kubernetes lets it.
pub async fn after(ctx: &Ctx, id: &ObjectId, not_ready: &NotReady) {
    if let Err(error) = say(ctx, id, not_ready).await {
        tracing::warn!(object = %id, %error, reason = %not_ready.reason, "cannot say in the status why the pass failed");
    }
}

/// An object that does not fit its type, since it was written past the schema: it harms only itself. It is let go only
/// when it is being deleted and orphaned.
pub async fn undecodable(ctx: &Ctx, id: &ObjectId, broken: &mailtenant_runtime::watch::Undecodable) -> Next {
    let meta = &broken.metadata;
    let noted = |name: &str| meta.annotations.as_ref().and_then(|a| a.get(name)).is_some_and(|v| v == "true");
    let result = if meta.deletion_timestamp.is_some() && noted(annotations::ORPHAN) {
        let rest: Vec<&String> = meta.finalizers.iter().flatten().filter(|f| *f != FINALIZER).collect();
        let patch = json!({"metadata": {"resourceVersion": meta.resource_version, "finalizers": rest}});
        api(ctx, id).patch_metadata(&id.key.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    } else {
        let help = "correct the spec; if it is being deleted, the annotation mailtenant.dev/orphan: \"true\" lets it go without the backend";
        let text = format!("the object does not fit its type ({}): {help}", broken.error);
        say(ctx, id, &NotReady::stalled(Reason::Undecodable, text)).await
    };
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Next::Settled,
        Err(error) => {
            tracing::warn!(object = %id, %error, "cannot say that it cannot be decoded");
            Next::Retry
        }
        Ok(()) => Next::Settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16) -> kube::Error {
        kube::Error::Api(kube::core::Status::failure("in words", "Reason").with_code(code).boxed())
    }

    #[test]
    fn what_kubernetes_did_not_do_is_said_by_what_helps() {
        for code in [400, 401, 403, 422] {
            assert!(refusal(&answer(code)).is_some_and(|h| h.message.contains("in words")), "{code}: at once");
            assert!(away(&answer(code)).is_none(), "{code}");
        }
        for code in [429, 500, 503, 504] {
            assert!(refusal(&answer(code)).is_none(), "{code}: may pass by itself");
            let not_ready = away(&answer(code)).unwrap();
            assert_eq!(not_ready.reason, Reason::KubernetesError);
            assert!(
                not_ready.message.contains(&code.to_string()) && not_ready.message.contains("in words"),
                "{}",
                not_ready.message
            );
        }
        let page = kube::Error::Api(kube::core::Status::failure(&"<p>ü</p>".repeat(9999), "").with_code(502).boxed());
        assert!(away(&page).is_some_and(|h| h.message.len() < 600), "a proxy answered");
        for code in [404, 409, 410] {
            assert!(refusal(&answer(code)).is_none() && away(&answer(code)).is_none(), "{code}: nothing is wrong");
        }
        let cut = kube::Error::Service("127.0.0.1:1234 was reset".into());
        assert!(away(&cut).is_some_and(|h| !h.message.contains("1234")), "words that change are for the log");
    }
}
