//! The servers that backend objects stand for: built when they are first needed, kept until the object or one of its
//! Secrets changes.

use super::ctx::{Ctx, Step};
use super::hold::Hold;
use crate::connect::{ConnectDns, ConnectGroupware, Secrets};
use k8s_openapi::api::core::v1::Secret;
use mailtenant_api::{DNSBackend, GroupwareBackend, Reason, SecretKeyRef};
use mailtenant_backend::metering::RequestMetrics;
use mailtenant_backend::secret::SecretText;
use mailtenant_dns::{DnsServer, Resolver};
use mailtenant_groupware::GroupwareServer;
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex as AsyncMutex;

/// A groupware server.
#[derive(Clone)]
pub struct Groupware {
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The object.
    pub object: Arc<GroupwareBackend>,
    /// The server.
    pub server: Arc<dyn GroupwareServer>,
}

impl Groupware {
    /// For messages.
    pub fn label(&self) -> String {
        format!("GroupwareBackend {}", self.name)
    }
}

/// A DNS server.
#[derive(Clone)]
pub struct Dns {
    /// Name of the object.
    pub name: String,
    /// The object.
    pub object: Arc<DNSBackend>,
    /// The server.
    pub server: Arc<dyn DnsServer>,
    /// What the world sees.
    pub resolver: Arc<dyn Resolver>,
}

impl Dns {
    /// For messages.
    pub fn label(&self) -> String {
        format!("DNSBackend {}", self.name)
    }
}

/// What a connection was made from: the object and its Secrets, by uid and version.
type Fingerprint = Vec<(String, String)>;

/// All servers.
pub struct Connections {
    groupware: Arc<dyn ConnectGroupware>,
    dns: Arc<dyn ConnectDns>,
    metrics: RequestMetrics,
    open_groupware: AsyncMutex<BTreeMap<String, (Fingerprint, Groupware)>>,
    open_dns: AsyncMutex<BTreeMap<String, (Fingerprint, Dns)>>,
}

/// Metadata that a fingerprint is made of; the Secret must exist.
fn fingerprint(ctx: &Ctx, uid: &str, generation: Option<i64>, refs: &[SecretKeyRef]) -> Result<Fingerprint, Hold> {
    let world = ctx.world();
    let mut print = vec![(uid.to_owned(), generation.unwrap_or_default().to_string())];
    for SecretKeyRef { name, .. } in refs {
        let key = NamespacedName::new(&ctx.operator_namespace, name);
        let secret = world.secrets.get(&key).ok_or_else(|| {
            let help =
                "create it; objects that are being deleted wait for it, or for the annotation mailtenant.dev/orphan";
            Hold::retry(Reason::SecretNotFound, format!("Secret {key} is not there: {help}"))
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
        let missing = |what: String| Hold::retry(Reason::SecretNotFound, format!("{what} is not there: create it"));
        let place = format!("Secret {}/{name}", ctx.operator_namespace);
        let secret = api.get_opt(name).await?.ok_or_else(|| missing(place.clone()))?;
        let value =
            secret.data.as_ref().and_then(|d| d.get(key)).ok_or_else(|| missing(format!("key {key} of {place}")))?;
        let text = std::str::from_utf8(&value.0)
            .map_err(|_| Hold::waiting(Reason::SecretInvalid, format!("key {key} of {place} is not UTF-8 text")))?;
        values.insert((name.clone(), key.clone()), SecretText::new(text.trim_end_matches(['\n', '\r'])));
    }
    Ok(Secrets(values))
}

impl Connections {
    /// None open yet.
    pub fn new(groupware: Arc<dyn ConnectGroupware>, dns: Arc<dyn ConnectDns>, metrics: RequestMetrics) -> Self {
        Connections { groupware, dns, metrics, open_groupware: AsyncMutex::default(), open_dns: AsyncMutex::default() }
    }

    /// A groupware server.
    pub async fn groupware(&self, ctx: &Ctx, name: &str) -> Step<Groupware> {
        let object = ctx.world().groupware.get(&NamespacedName::new("", name)).ok_or_else(|| {
            Hold::waiting(
                Reason::BackendNotFound,
                format!("GroupwareBackend {name} is not there: the platform team has to create it"),
            )
        })?;
        let refs = object.spec.secret_refs();
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let print = fingerprint(ctx, &uid, object.metadata.generation, &refs)?;
        let mut open = self.open_groupware.lock().await;
        if let Some((have, connection)) = open.get(name)
            && *have == print
        {
            // The object's status moves on; what the server was built from did not.
            return Ok(Groupware { object, ..connection.clone() });
        }
        let secrets = read_secrets(ctx, &refs).await?;
        let server = self
            .groupware
            .connect(&object.spec, &secrets)
            .map_err(|e| Hold::backend(&format!("GroupwareBackend {name}"), &e))?;
        let server = Arc::new(mailtenant_groupware::metered::Metered::new(server, name, self.metrics.clone()));
        // Perhaps another server: what the last one held says nothing of it.
        ctx.observed.stale_all(&uid).await;
        let connection = Groupware { name: name.into(), uid, object, server };
        open.insert(name.into(), (print, connection.clone()));
        Ok(connection)
    }

    /// A DNS server.
    pub async fn dns(&self, ctx: &Ctx, name: &str) -> Step<Dns> {
        let object = ctx.world().dns.get(&NamespacedName::new("", name)).ok_or_else(|| {
            Hold::waiting(
                Reason::BackendNotFound,
                format!("DNSBackend {name} is not there: the platform team has to create it"),
            )
        })?;
        let refs = object.spec.secret_refs();
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let print = fingerprint(ctx, &uid, object.metadata.generation, &refs)?;
        let mut open = self.open_dns.lock().await;
        if let Some((have, connection)) = open.get(name)
            && *have == print
        {
            return Ok(Dns { object, ..connection.clone() });
        }
        let secrets = read_secrets(ctx, &refs).await?;
        let label = format!("DNSBackend {name}");
        let resolver = self.dns.resolver(&object.spec).map_err(|e| Hold::backend(&label, &e))?;
        let server = self.dns.connect(&object.spec, &secrets).map_err(|e| Hold::backend(&label, &e))?;
        let server = Arc::new(mailtenant_dns::metered::Metered::new(server, name, self.metrics.clone()));
        let connection = Dns { name: name.into(), object, server, resolver };
        open.insert(name.into(), (print, connection.clone()));
        Ok(connection)
    }
}
