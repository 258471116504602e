//! Objects that do not fit their type, since they were written past the schema: they harm only themselves.

use super::ctx::Ctx;
use super::world::{Kind, ObjectId};
use crate::api::*;
use crate::runtime::dispatch::Next;
use crate::runtime::watch::Undecodable;
use kube::Resource;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::json;

fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::GroupwareBackend => ApiResource::erase::<GroupwareBackend>(&()),
        Kind::DNSBackend => ApiResource::erase::<DNSBackend>(&()),
        Kind::MailInstance => ApiResource::erase::<MailInstance>(&()),
        Kind::MailDomain => ApiResource::erase::<MailDomain>(&()),
        Kind::Mailbox => ApiResource::erase::<Mailbox>(&()),
        Kind::MailAlias => ApiResource::erase::<MailAlias>(&()),
        Kind::MailDomainClaim => ApiResource::erase::<MailDomainClaim>(&()),
    }
}

/// Says so in the status; lets go only of an object that is being deleted and orphaned.
pub async fn pass(ctx: &Ctx, id: &ObjectId, broken: &Undecodable) -> Next {
    let resource = resource(id.kind);
    let api: kube::Api<DynamicObject> = if id.key.namespace.is_empty() {
        kube::Api::all_with(ctx.client.clone(), &resource)
    } else {
        kube::Api::namespaced_with(ctx.client.clone(), &id.key.namespace, &resource)
    };
    let meta = &broken.metadata;
    let noted = |name: &str| meta.annotations.as_ref().and_then(|a| a.get(name)).is_some_and(|v| v == "true");
    let result = if meta.deletion_timestamp.is_some() && noted(annotations::ORPHAN) {
        let rest: Vec<&String> = meta.finalizers.iter().flatten().filter(|f| *f != FINALIZER).collect();
        let patch = json!({"metadata": {"resourceVersion": meta.resource_version, "finalizers": rest}});
        api.patch_metadata(&id.key.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    } else if id.kind == Kind::MailDomainClaim {
        Ok(())
    } else {
        let generation = meta.generation.unwrap_or_default();
        let mut conditions = Conditions::new(&[], generation, ctx.clock.now());
        let help = "correct the spec; if it is being deleted, the annotation mailtenant.dev/orphan: \"true\" lets it go without the backend";
        conditions.stalled(Reason::Undecodable, format!("the object does not fit its type ({}): {help}", broken.error));
        let patch = json!({
            "apiVersion": DynamicObject::api_version(&resource), "kind": DynamicObject::kind(&resource),
            "metadata": {"name": id.key.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"observedGeneration": generation, "conditions": conditions.into_vec()},
        });
        // A merge, not an apply: what else the status says (ownership, journal, ids) is needed when it decodes again.
        // Its stamp would move with every pass; a pass comes only when the object changed.
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        api.patch_status(&id.key.name, &params, &Patch::Merge(&patch)).await.map(drop)
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
