//! From a backend object to its server: connected when it is first needed, again when the object or one of its Secrets
//! changed.

use crate::connect::Secrets;
use crate::connections::{Dns, Fingerprint, Groupware};
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use k8s_openapi::api::core::v1::Secret;
use mailtenant_api::{Reason, SecretKeyRef};
use mailtenant_backend::{SecretText, Uid};
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Metadata that a fingerprint is made of; the Secret must exist.
fn fingerprint(ctx: &Ctx, uid: &str, generation: Option<i64>, refs: &[SecretKeyRef]) -> Result<Fingerprint, NotReady> {
    let world = ctx.world();
    let mut print = vec![(uid.to_owned(), generation.unwrap_or_default().to_string())];
    for SecretKeyRef { name, .. } in refs {
        let key = NamespacedName::new(&ctx.operator_namespace, name);
        let secret = world.secrets.get(&key).ok_or_else(|| {
            let help =
                "create it; objects that are being deleted wait for it, or for the annotation mailtenant.dev/orphan";
            NotReady::retry(Reason::SecretNotFound, format!("Secret {key} is not there: {help}"))
        })?;
        print.push((
            secret.metadata.uid.clone().unwrap_or_default(),
            secret.metadata.resource_version.clone().unwrap_or_default(),
        ));
    }
    Ok(print)
}

async fn read_secrets(ctx: &Ctx, refs: &[SecretKeyRef]) -> Step<Secrets> {
    let api = ctx.api::<Secret>(&ctx.operator_namespace);
    let mut values = BTreeMap::new();
    for SecretKeyRef { name, key } in refs {
        let missing = |what: String| NotReady::retry(Reason::SecretNotFound, format!("{what} is not there: create it"));
        let place = format!("Secret {}/{name}", ctx.operator_namespace);
        let secret = api.get_opt(name).await?.ok_or_else(|| missing(place.clone()))?;
        let value =
            secret.data.as_ref().and_then(|d| d.get(key)).ok_or_else(|| missing(format!("key {key} of {place}")))?;
        let text = std::str::from_utf8(&value.0)
            .map_err(|_| NotReady::waiting(Reason::SecretInvalid, format!("key {key} of {place} is not UTF-8 text")))?;
        values.insert((name.clone(), key.clone()), SecretText::new(text.trim_end_matches(['\n', '\r'])));
    }
    Ok(Secrets(values))
}

impl Ctx {
    pub async fn groupware(&self, name: &str) -> Step<Groupware> {
        let object = self.world().groupware.get(&NamespacedName::new("", name)).ok_or_else(|| {
            NotReady::waiting(
                Reason::BackendNotFound,
                format!("GroupwareBackend {name} is not there: the platform team has to create it"),
            )
        })?;
        let refs = object.spec.secret_refs();
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let print = fingerprint(self, &uid, object.metadata.generation, &refs)?;
        let mut open = self.connections.open_groupware.lock().await;
        if let Some((have, connection)) = open.get(name)
            && *have == print
        {
            // The object's status moves on; what the server was built from did not.
            return Ok(Groupware { object, ..connection.clone() });
        }
        let secrets = read_secrets(self, &refs).await?;
        let server = self
            .connections
            .groupware
            .connect(&object.spec, &secrets)
            .map_err(|e| NotReady::backend(&format!("GroupwareBackend {name}"), &e))?;
        let server =
            Arc::new(mailtenant_groupware::metered::Metered::new(server, name, self.connections.metrics.clone()));
        let uid = Uid::new(uid);
        // Perhaps another server: what the last one held says nothing of it.
        self.snapshots.stale_all(&uid).await;
        let connection = Groupware { name: name.into(), uid, object, server };
        open.insert(name.into(), (print, connection.clone()));
        Ok(connection)
    }

    pub async fn dns(&self, name: &str) -> Step<Dns> {
        let object = self.world().dns.get(&NamespacedName::new("", name)).ok_or_else(|| {
            NotReady::waiting(
                Reason::BackendNotFound,
                format!("DNSBackend {name} is not there: the platform team has to create it"),
            )
        })?;
        let refs = object.spec.secret_refs();
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let print = fingerprint(self, &uid, object.metadata.generation, &refs)?;
        let mut open = self.connections.open_dns.lock().await;
        if let Some((have, connection)) = open.get(name)
            && *have == print
        {
            return Ok(Dns { object, ..connection.clone() });
        }
        let secrets = read_secrets(self, &refs).await?;
        let label = format!("DNSBackend {name}");
        let resolver = self.connections.dns.resolver(&object.spec).map_err(|e| NotReady::backend(&label, &e))?;
        let server = self.connections.dns.connect(&object.spec, &secrets).map_err(|e| NotReady::backend(&label, &e))?;
        let zones = object.spec.zones.iter().map(|z| z.name.as_str());
        let guarded = Arc::new(mailtenant_dns::guarded::Guarded::new(server, zones));
        let server = Arc::new(mailtenant_dns::metered::Metered::new(guarded, name, self.connections.metrics.clone()));
        let connection = Dns { name: name.into(), object, server, resolver };
        open.insert(name.into(), (print, connection.clone()));
        Ok(connection)
    }
}
