//! The whole operator as one future, made of what is handed in: watches feed the world, the world wakes objects, the
//! dispatcher runs their passes.

use crate::connect::{ConnectDns, ConnectGroupware};
use crate::connections::Connections;
use crate::ctx::{Ctx, Parts};
use crate::pass::Passes;
use crate::state::census;
use crate::state::kind::{Kind, ObjectId};
use crate::state::managed::Managed;
use crate::state::wakeups::{self, Wakeups};
use crate::state::world::{NamespaceMeta, World};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Resource};
use mailtenant_api::*;
use mailtenant_backend::metering::RequestMetrics;
use mailtenant_clock::{Clock, Random};
use mailtenant_dns::{PolicyProbe, RecipientProbe};
use mailtenant_groupware::signing::KeyMaker;
use mailtenant_runtime::dispatch::Dispatcher;
use mailtenant_runtime::events::Events;
use mailtenant_runtime::http::Health;
use mailtenant_runtime::metrics::Metrics;
use mailtenant_runtime::queue::{Bounds, Limits, Priority};
use mailtenant_runtime::server_time::ServerTime;
use mailtenant_runtime::shutdown::Shutdown;
use mailtenant_runtime::store::{Delta, Event, NamespacedName};
use mailtenant_runtime::watch::{self, Undecodable};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What the operator gets from outside.
#[derive(Clone)]
pub struct Environment {
    /// For the Kubernetes API.
    pub client: kube::Client,
    /// Where the Secrets of backends live.
    pub operator_namespace: String,
    /// This process, unique among replicas and restarts.
    pub identity: String,
    /// The time of this machine.
    pub clock: Arc<dyn Clock>,
    /// The time of the API server.
    pub server_time: Arc<ServerTime>,
    pub random: Arc<dyn Random>,
    /// How groupware servers are reached.
    pub groupware: Arc<dyn ConnectGroupware>,
    /// How DNS servers are reached.
    pub dns: Arc<dyn ConnectDns>,
    /// Asks mail servers about recipients.
    pub probe: Arc<dyn RecipientProbe>,
    /// Fetches MTA-STS policies.
    pub policies: Arc<dyn PolicyProbe>,
    pub keys: Arc<dyn KeyMaker>,
    pub metrics: Metrics,
    /// Requests to backends, counted.
    pub requests: RequestMetrics,
    /// Whether it is ready.
    pub health: Health,
    pub shutdown: Shutdown,
}

/// Why the operator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A watch ended, which it never does.
    #[error("the watch of {0} ended")]
    Watch(&'static str),
    #[error("a task of the operator failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Bounds of the passes. A groupware server has limits of its own (`spec.limits.concurrency`). These hold for DNS servers:
/// tenants whose zones are slow to look up delay the domains of others only if there are four of them at a time.
pub const BOUNDS: Bounds = Bounds { concurrency: 48, guaranteed: 4, limits: Limits { group: 16, member: 4 } };

/// Time limit of a pass.
const PASS: Duration = Duration::from_secs(60);

/// Runs until the shutdown is asked for and the passes in flight have ended.
pub async fn run(environment: Environment, events: Events) -> Result<(), Error> {
    let Environment { client, operator_namespace, clock, server_time, random, metrics, health, shutdown, .. } =
        environment;
    let ctx = Arc::new(Ctx::new(Parts {
        client,
        queue: Dispatcher::new(BOUNDS, PASS),
        connections: Connections::new(environment.groupware, environment.dns, environment.requests),
        probe: environment.probe,
        policies: environment.policies,
        keys: environment.keys,
        clock,
        server_time,
        random: random.clone(),
        events,
        metrics,
        operator_namespace,
    }));
    health.waiting("caches", "not listed yet");
    let synced = Arc::new(Notify::new());
    let mut watches = watches(&ctx, &synced);
    let work = async {
        // Before every kind is listed, "not there" means nothing.
        while !ctx.world().synced() {
            synced.notified().await;
        }
        health.ready("caches");
        tracing::info!("all kinds are listed");
        ctx.queue.run(Arc::new(Passes(ctx.clone())), random, shutdown.receiver()).await;
    };
    let gauges = gauges(&ctx);
    tokio::select! { biased;
        ended = watches.join_next() => match ended {
            Some(Ok(kind)) => Err(Error::Watch(kind)),
            Some(Err(error)) => Err(error.into()),
            None => Err(Error::Watch("every kind")),
        },
        () = gauges => Ok(()),
        () = shutdown_before_sync(&ctx, &shutdown) => Ok(()),
        () = work => Ok(()),
    }
}

/// Before the first list is complete there is nothing to drain.
async fn shutdown_before_sync(ctx: &Ctx, shutdown: &Shutdown) {
    shutdown.requested().await;
    if ctx.world().synced() {
        std::future::pending::<()>().await;
    }
}

/// Gauges that nobody pushes.
async fn gauges(ctx: &Ctx) {
    loop {
        tokio::time::sleep(Duration::from_secs(15)).await;
        let depths = ctx.queue.depths();
        ctx.metrics.queue_depths(depths.iter().map(|(lane, n)| (lane.as_str(), *n)));
        ctx.metrics.objects_in_backoff("all", ctx.queue.failing());
        ctx.connections.metrics.undeclared_objects(ctx.undeclared());
        let world = ctx.world();
        ctx.connections.metrics.unhealthy_domains(census::unhealthy(&world));
        for (kind, n) in world.sizes() {
            ctx.metrics.cache_objects(kind.as_str(), n);
        }
        ctx.metrics.object_conditions(census::conditions(&world));
    }
}

/// How one kind's events get into the world.
struct Sink<K> {
    kind: Option<Kind>,
    name: &'static str,
    put: fn(&mut World, Event<K>) -> Vec<Delta<K>>,
    wakeups: fn(&Ctx, &World, &Delta<K>) -> Wakeups,
}

/// Takes one event into the world, and wakes whom it concerns.
fn take<K: Resource>(ctx: &Ctx, synced: &Notify, sink: &Sink<K>, event: Event<K>) {
    let listed = matches!(event, Event::ListedDone);
    let gone = match &event {
        Event::Deleted { key, .. } => Some(key.clone()),
        _ => None,
    };
    let begins = matches!(event, Event::Init);
    let wakes: Vec<Wakeups> = {
        let mut world = ctx.world_mut();
        let deltas = (sink.put)(&mut world, event);
        if let Some(kind) = sink.kind {
            // One that fell out of the store may have done so since it cannot be decoded any more.
            let whole = deltas.iter().filter(|d| d.new.is_some()).map(|d| d.key.clone());
            for key in whole.chain(gone) {
                world.broken.remove(&ObjectId::new(kind, key));
            }
            if begins {
                world.relisted.retain(|id| id.kind != kind);
            }
            if listed {
                let World { broken, relisted, .. } = &mut *world;
                broken.retain(|id, _| id.kind != kind || relisted.contains(id));
            }
        }
        deltas.iter().map(|d| (sink.wakeups)(ctx, &world, d)).collect()
    };
    for wakes in wakes {
        ctx.wake(wakes);
    }
    if listed {
        synced.notify_one();
    }
}

fn failed(ctx: &Ctx, name: &'static str, error: &watcher::Error) {
    ctx.metrics.watch_restarted(name);
    tracing::warn!(kind = name, %error, "watch failed; it is started again");
}

/// Watches the metadata of a kind.
fn watch_metadata<K>(
    tasks: &mut JoinSet<&'static str>,
    ctx: &Arc<Ctx>,
    synced: &Arc<Notify>,
    sink: Sink<PartialObjectMeta<K>>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let (ctx, synced) = (ctx.clone(), synced.clone());
    tasks.spawn(async move {
        let api: Api<PartialObjectMeta<K>> = Api::all(ctx.client.clone());
        watch::run_metadata(api, |e| take(&ctx, &synced, &sink, e), |e| failed(&ctx, sink.name, e)).await;
        sink.name
    });
}

/// Watches a kind of ours. The guard lets one object that does not fit its type harm only itself.
fn watch_one<K>(tasks: &mut JoinSet<&'static str>, ctx: &Arc<Ctx>, synced: &Arc<Notify>, sink: Sink<K>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (ctx, synced) = (ctx.clone(), synced.clone());
    tasks.spawn(async move {
        let api: Api<DeserializeGuard<K>> = Api::all(ctx.client.clone());
        let broken = |object: Undecodable| {
            let Some(kind) = sink.kind else { return };
            let meta = &object.metadata;
            let key =
                NamespacedName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
            let id = ObjectId::new(kind, key);
            let known = ctx.world().broken.get(&id).map(|b| {
                (
                    b.metadata.uid.clone(),
                    b.metadata.generation,
                    b.metadata.deletion_timestamp.clone(),
                    b.metadata.annotations.clone(),
                )
            });
            let now = (meta.uid.clone(), meta.generation, meta.deletion_timestamp.clone(), meta.annotations.clone());
            {
                let mut world = ctx.world_mut();
                world.relisted.insert(id.clone());
                world.broken.insert(id.clone(), object);
            }
            if known != Some(now) {
                ctx.wake(Wakeups { now: vec![(id, Priority::Normal)], ..Wakeups::default() });
            }
        };
        watch::run(api, |e| take(&ctx, &synced, &sink, e), broken, |e| failed(&ctx, sink.name, e)).await;
        sink.name
    });
}

fn watches(ctx: &Arc<Ctx>, synced: &Arc<Notify>) -> JoinSet<&'static str> {
    let mut tasks = JoinSet::new();
    macro_rules! by_kind {
        ($($kind:ident: $store:ident),* $(,)?) => {
            $(watch_one::<$kind>(
                &mut tasks,
                ctx,
                synced,
                Sink {
                    kind: Some(Kind::$kind),
                    name: Kind::$kind.as_str(),
                    put: World::apply,
                    wakeups: |_, world, d| <$kind as Managed>::wakeups(world, d),
                },
            );)*
        };
    }
    with_kinds!(by_kind);
    watch_metadata::<Secret>(
        &mut tasks,
        ctx,
        synced,
        Sink { kind: None, name: "Secret", put: |w, e| w.secrets.apply(e), wakeups: Ctx::secret_changed },
    );
    watch_metadata::<Namespace>(
        &mut tasks,
        ctx,
        synced,
        Sink {
            kind: None,
            name: "Namespace",
            put: |w, e| w.namespaces.apply(e),
            wakeups: |_, world, d| {
                let labels = |o: &Option<Arc<NamespaceMeta>>| o.as_ref().map(|o| o.metadata.labels.clone());
                // That it is being deleted says something to its mailboxes too, but their own deletion wakes them.
                if labels(&d.old) == labels(&d.new) {
                    Wakeups::default()
                } else {
                    wakeups::namespace(world, &d.key.name)
                }
            },
        },
    );
    tasks
}
