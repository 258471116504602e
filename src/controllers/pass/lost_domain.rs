//! The way out of what lies in a domain whose MailDomain is gone: its finalizer was taken off by hand, before that of those
//! below it. Where they lie at a server is found by the address that they had, and by whose the tenant is.

use super::deletion::{JUST_NOW, stop_with_way_out, with_way_out};
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::rules::backend_ready;
use crate::state::derived::owner_uid;
use crate::state::parents::{self, Instance, Place};
use crate::state::snapshots::Since;
use mailtenant_api::MailDomain;
use mailtenant_groupware::DomainName;
use mailtenant_runtime::store::NamespacedName;

/// The place of a domain whose MailDomain is not there. None: it is there by now, or no instance of the namespace has a tenant
/// with such a domain.
///
/// The name is from a status, which others may have written (I13): it leads only into a tenant that the server says is of an
/// instance of the same namespace, and there each call says whose row it is for.
pub async fn find(ctx: &Ctx, domain: &NamespacedName, name: &DomainName) -> Step<Option<Place>> {
    // A live look: the watch may be late.
    if ctx.api::<MailDomain>(&domain.namespace).get_metadata_opt(&domain.name).await?.is_some() {
        return Ok(None);
    }
    for instance in instances(ctx, &domain.namespace) {
        let server = ctx.groupware(&instance.object.spec.backend_ref.name).await.map_err(stop_with_way_out)?;
        let failed = |e| with_way_out(NotReady::backend(&server.label(), &e));
        // One read serves all that are deleted together.
        let tenant_of =
            |rows: &mailtenant_groupware::DomainSnapshot| rows.domain.as_ref().and_then(|d| d.tenant.clone());
        let tenant = ctx.rows(&server, domain, name, Since::within(JUST_NOW), tenant_of).await.map_err(failed)?;
        let Some(tenant) = tenant else { continue };
        let own = server.server.tenant(&owner_uid(instance.object.as_ref())).await.map_err(failed)?;
        if own.is_some_and(|own| own.id == tenant) {
            return Ok(Some(Place { key: domain.clone(), name: name.clone(), instance }));
        }
    }
    Ok(None)
}

/// Instances of a namespace whose server can be asked.
fn instances(ctx: &Ctx, namespace: &str) -> Vec<Instance> {
    let world = ctx.world();
    let keys = world.instances.iter().map(|(key, _)| key).filter(|key| key.namespace == namespace);
    let usable = keys.filter_map(|key| parents::instance(&world, key, true).ok());
    usable.filter(|instance| backend_ready::groupware(&instance.backend).is_ok()).collect()
}
