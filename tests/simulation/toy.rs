//! A small operator for two of our kinds, on kube's own Controller: it keeps the scheduler, the shrinker and the pins
//! honest independently of the real operator.

use crate::api::{deleting, text};
use crate::declared::{Declared, condition, ready};
use crate::groupware::GroupwareConnect;
use crate::plant::{Bug, PlantedConnect};
use crate::properties::Properties;
use crate::schedule::{Monitor, Subject};
use crate::sim::Sim;
use crate::world::{Step, User, World};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::controller::{Action, Controller};
use kube::{Api, Client, Resource, ResourceExt};
use mailtenant::api::*;
use mailtenant::groupware::*;
use mailtenant::runtime::secret::SecretText;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

struct Context {
    client: Client,
    connect: Arc<dyn Connect>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("waiting for {0}")]
    Waiting(&'static str),
}

type Pass = Result<Action, Error>;

impl Context {
    async fn backend(
        &self,
        instance: &MailInstance,
    ) -> Result<Arc<dyn mailtenant::groupware::GroupwareBackend>, Error> {
        let all: Api<mailtenant::api::GroupwareBackend> = Api::all(self.client.clone());
        let spec = all.get_opt(&instance.spec.backend_ref.name).await?.ok_or(Error::Waiting("backend"))?.spec;
        let mut secrets = BTreeMap::new();
        for (name, key) in self.connect.secrets(&spec) {
            let found = Api::<Secret>::namespaced(self.client.clone(), "mailtenant-system").get_opt(&name).await?;
            let value = found.and_then(|s| s.data?.remove(&key)).ok_or(Error::Waiting("secret"))?;
            secrets.insert((name, key), SecretText::new(String::from_utf8_lossy(&value.0)));
        }
        Ok(self.connect.connect(Settings { spec, secrets })?)
    }
}

async fn finalizer<K>(api: &Api<K>, object: &K, on: bool) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let mut list: Vec<String> = object.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
    if on {
        list.push(FINALIZER.into());
    }
    let patch =
        json!({"metadata": {"resourceVersion": object.resource_version(), "uid": object.uid(), "finalizers": list}});
    match api.patch_metadata(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(s)) if !on && s.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

async fn status<K>(
    api: &Api<K>,
    object: &K,
    kind: &str,
    was: Option<Value>,
    mut status: Value,
    ready: bool,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let reason = if ready { "Succeeded" } else { "DomainClaimed" };
    status["observedGeneration"] = json!(object.meta().generation);
    status["conditions"] = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }, "reason": reason, "message": "",
        "observedGeneration": object.meta().generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    if was.as_ref() != Some(&status) {
        let patch = json!({"apiVersion": API_VERSION, "kind": kind, "status": status});
        api.patch_status(&object.name_any(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch)).await?;
    }
    Ok(())
}

const LATER: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(60);

async fn instance(seen: Arc<MailInstance>, cx: Arc<Context>) -> Pass {
    let ns = seen.namespace().unwrap_or_default();
    let api: Api<MailInstance> = Api::namespaced(cx.client.clone(), &ns);
    let Some(live) = api.get_opt(&seen.name_any()).await? else { return Ok(Action::await_change()) };
    let uid = live.uid().unwrap_or_default();
    if live.meta().deletion_timestamp.is_some() {
        let domains = Api::<MailDomain>::namespaced(cx.client.clone(), &ns).list(&ListParams::default()).await?;
        if domains.items.iter().any(|d| d.spec.instance_ref.name == live.name_any()) {
            return Ok(Action::requeue(SOON));
        }
        match cx.backend(&live).await?.remove_tenant(&uid).await {
            Ok(_) | Err(BackendError::NotFound(_)) => finalizer(&api, &live, false).await?,
            Err(e) => return Err(e.into()),
        }
        return Ok(Action::await_change());
    }
    if !live.finalizers().iter().any(|f| f == FINALIZER) {
        finalizer(&api, &live, true).await?;
        return Ok(Action::requeue(LATER));
    }
    let want = TenantWant {
        owner: Owner { uid, adopt: live.spec.adoption_policy == AdoptionPolicy::IfUnowned },
        origin: format!("{ns}/{}", live.name_any()),
        ids: (0..9).map(|i| format!("{}-{i}", live.name_any())).collect(),
        storage: 0,
        address_book: live.spec.address_book,
    };
    let (row, _) = cx.backend(&live).await?.ensure_tenant(&want).await?;
    let was = live.status.as_ref().and_then(|s| serde_json::to_value(s).ok());
    status(&api, &live, "MailInstance", was, json!({"instanceId": row.id}), true).await?;
    Ok(Action::requeue(LATER))
}

async fn domain(seen: Arc<MailDomain>, cx: Arc<Context>) -> Pass {
    let ns = seen.namespace().unwrap_or_default();
    let api: Api<MailDomain> = Api::namespaced(cx.client.clone(), &ns);
    let claims: Api<MailDomainClaim> = Api::all(cx.client.clone());
    let Some(live) = api.get_opt(&seen.name_any()).await? else { return Ok(Action::await_change()) };
    let (uid, name) = (live.uid().unwrap_or_default(), live.spec.domain.clone());
    let parents: Api<MailInstance> = Api::namespaced(cx.client.clone(), &ns);
    let parent = parents.get_opt(&live.spec.instance_ref.name).await?;
    let claim = claims.get_opt(&name).await?;
    let mine = claim.as_ref().is_some_and(|c| c.spec.owner.uid == uid);
    if live.meta().deletion_timestamp.is_some() {
        for kind in ["mailboxes", "mailaliases"] {
            let below = match kind {
                "mailboxes" => {
                    Api::<Mailbox>::namespaced(cx.client.clone(), &ns).list(&ListParams::default()).await?.items.len()
                }
                _ => {
                    Api::<MailAlias>::namespaced(cx.client.clone(), &ns).list(&ListParams::default()).await?.items.len()
                }
            };
            if below > 0 {
                return Ok(Action::requeue(SOON));
            }
        }
        if !mine {
            // Nothing is done before the claim is ours.
            finalizer(&api, &live, false).await?;
            return Ok(Action::await_change());
        }
        let parent = parent.ok_or(Error::Waiting("instance"))?;
        match cx.backend(&parent).await?.remove_domain(&uid, &name, false).await {
            Ok(_) | Err(BackendError::NotFound(_)) => {}
            Err(e) => return Err(e.into()),
        }
        let only = Preconditions { uid: claim.and_then(|c| c.uid()), resource_version: None };
        match claims.delete(&name, &DeleteParams { preconditions: Some(only), ..Default::default() }).await {
            Err(kube::Error::Api(s)) if s.code == 404 => {}
            other => drop(other?),
        }
        finalizer(&api, &live, false).await?;
        return Ok(Action::await_change());
    }
    if !live.finalizers().iter().any(|f| f == FINALIZER) {
        finalizer(&api, &live, true).await?;
        return Ok(Action::requeue(LATER));
    }
    let was = live.status.as_ref().and_then(|s| serde_json::to_value(s).ok());
    let Some(parent) = parent.filter(|p| p.status.as_ref().is_some_and(|s| s.instance_id.is_some())) else {
        return Ok(Action::requeue(SOON));
    };
    match claim {
        Some(_) if mine => {}
        Some(_) => {
            status(&api, &live, "MailDomain", was, json!({}), false).await?;
            return Ok(Action::requeue(SOON));
        }
        None => {
            let owner =
                mail_domain_claim::ClaimOwner { namespace: ns.clone(), name: live.name_any(), uid: uid.clone() };
            claims.create(&PostParams::default(), &MailDomainClaim::new(&name, MailDomainClaimSpec { owner })).await?;
        }
    }
    let tenant = parent.status.as_ref().and_then(|s| s.instance_id.clone()).unwrap_or_default();
    let adopt = live.spec.adoption_policy == AdoptionPolicy::IfUnowned;
    let want = DomainWant { owner: Owner { uid, adopt }, name, tenant, alias_of: None };
    match cx.backend(&parent).await?.ensure_domain(&want).await {
        Ok(_) => status(&api, &live, "MailDomain", was, json!({}), true).await?,
        Err(BackendError::Exists { .. }) => status(&api, &live, "MailDomain", was, json!({}), false).await?,
        Err(e) => return Err(e.into()),
    }
    Ok(Action::requeue(LATER))
}

async fn bounded(pass: impl Future<Output = Pass>) -> Pass {
    tokio::time::timeout(Duration::from_secs(20), pass).await.unwrap_or(Err(Error::Waiting("an answer")))
}

async fn operator(sim: Sim, connect: Arc<dyn Connect>) {
    let client = sim.client();
    let cx = Arc::new(Context { client: client.clone(), connect });
    let config = kube::runtime::watcher::Config::default();
    let instances = Controller::new(Api::<MailInstance>::all(client.clone()), config.clone())
        .run(|o, c| bounded(instance(o, c)), |_, _, _| Action::requeue(SOON), cx.clone())
        .for_each(|_| async {});
    let domains = Controller::new(Api::<MailDomain>::all(client), config)
        .run(|o, c| bounded(domain(o, c)), |_, _, _| Action::requeue(SOON), cx)
        .for_each(|_| async {});
    futures::join!(instances, domains);
}

/// The users of [`crate::user`], without what the toy does not know.
fn user(seed: u64) -> Vec<User> {
    let known = |u: &User| match &u.step {
        Step::Api(r) => {
            let noise = r.body["metadata"]["annotations"].is_object() || r.path.contains("secrets/");
            !noise && !r.path.contains("/mailboxes") && !r.path.contains("/mailaliases")
        }
        Step::Groupware { step, .. } => {
            matches!(step, crate::groupware::ByHand::Password { password } if password == "pw")
                || matches!(step, crate::groupware::ByHand::ForeignDomain { .. })
        }
        Step::Dns { .. } => false,
    };
    crate::user::user(seed).into_iter().filter(known).collect()
}

#[derive(Default)]
struct ToyProperties(Properties);

impl Monitor for ToyProperties {
    fn check(&mut self, w: &World) -> Option<String> {
        self.0.check(w)
    }
    fn at_end(&mut self, w: &World) -> Option<String> {
        for d in ["mailinstances", "maildomains"].into_iter().flat_map(|k| Declared::all(w, k)) {
            if !crate::end::reachable(&d) {
                continue;
            }
            if deleting(d.object) && d.children().is_empty() {
                return Some(format!("stuck: {d} is still terminating"));
            }
            let orphan = d.key.res == "maildomains" && d.instance().is_none_or(|i| deleting(i.object));
            let waits = condition(d.object, "Ready").1 == "DomainClaimed" || orphan;
            if !deleting(d.object) && !ready(d.object) && !waits && !text(d.object, "/spec/domain").is_empty() {
                return Some(format!("end: {d} never became ready: {}", d.object["status"]));
            }
        }
        None
    }
}

/// The toy, with or without a bug.
pub fn subject(bug: Option<Bug>) -> Subject {
    Subject {
        start: Arc::new(move |sim: Sim| {
            let plain: Arc<dyn Connect> = Arc::new(GroupwareConnect(sim.clone()));
            let connect = match bug {
                Some(bug) => Arc::new(PlantedConnect(plain, bug)),
                None => plain,
            };
            Box::pin(operator(sim, connect))
        }),
        user,
        monitor: || Box::<ToyProperties>::default(),
        quiet_ms: 700_000,
    }
}
