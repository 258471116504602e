//! The process around the operator: HTTP, signals, waiting for CRDs, the Lease, the shutdown. The real clock, random
//! numbers and clients are created here; [`operator::run`] gets them from its caller.

use crate::args::RunArguments;
use crate::providers;
use kube::core::PartialObjectMeta;
use mailtenant_api as api;
use mailtenant_api::crds::WriteError;
use mailtenant_backend::metering::RequestMetrics;
use mailtenant_clock::{Clock, Random, SystemClock, SystemRandom};
use mailtenant_controllers::operator::{self, Environment};
use mailtenant_dns::policy::HttpsPolicy;
use mailtenant_dns::probe::SmtpProbe;
use mailtenant_groupware::signing::SystemKeyMaker;
use mailtenant_runtime::crds::Wanted;
use mailtenant_runtime::http::Health;
use mailtenant_runtime::lease::{self, Election};
use mailtenant_runtime::metrics::Metrics;
use mailtenant_runtime::requests::RequestLayer;
use mailtenant_runtime::revision;
use mailtenant_runtime::shutdown::{self, Shutdown, Signals};
use mailtenant_runtime::{crds, events, http, requests as kube_requests};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Time that running passes get after a signal. Kubernetes kills the process after 30 s by default.
const DRAIN: Duration = Duration::from_secs(25);
/// Time in which what was sent has arrived. As long as others wait after a leader that lost its Lease (`runtime::lease`).
const SENT: Duration = Duration::from_secs(5);
/// Time that waiting Events get after the last pass.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// Time without a sign of life of the async runtime after which `/healthz` fails.
const SILENCE: Duration = Duration::from_secs(60);

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No signal handler could be installed.
    #[error("signals: {0}")]
    Signals(#[source] io::Error),
    /// The HTTP port could not be opened.
    #[error("{flag} {address}: {error}")]
    Bind {
        /// The flag that gave it.
        flag: &'static str,
        /// The address that was given.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// No cluster is configured.
    #[error("no cluster: neither KUBECONFIG nor a service account can be used: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration of the cluster cannot be used.
    #[error("the client for the Kubernetes API: {0}")]
    Client(#[source] kube::Error),
    /// This process lost the Lease: another one may be working already.
    #[error("leadership lost: {0}")]
    Leadership(#[from] lease::Lost),
    /// A CRD was removed, or replaced by one that is unfit. The next process waits until it can be used.
    #[error("{0}")]
    Crd(crds::Missing),
    /// What was watched is not what there is. The next process reads everything again.
    #[error("{0}")]
    Restored(#[from] revision::Restored),
    /// The operator ended with an error.
    #[error("the operator: {0}")]
    Operator(#[from] operator::Error),
    /// A task that must not end has ended. Without it the process would look healthy and do nothing.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// A task of the process panicked.
    #[error("a task of the process failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs the operator until a signal asks it to stop (no error), or until it must stop.
pub async fn run(arguments: &RunArguments) -> Result<(), Error> {
    let signals = Signals::install().map_err(Error::Signals)?;
    let (trigger, shutdown) = shutdown::channel();
    let requests = RequestMetrics::default();
    let (metrics, health) = (Metrics::with("mailtenant", |registry| requests.register(registry)), Health::new());
    health.waiting("crds", "not looked for yet");
    let listener = bind("--http-address", arguments.http_address, "/healthz, /readyz and /metrics").await?;
    let (watched, counted) = (health.clone(), metrics.clone());
    let work = work(arguments, (&counted, requests), &watched, &shutdown);
    beside_probes(listener, (health, metrics), (signals, trigger), work).await
}

/// Opens a port.
pub(crate) async fn bind(flag: &'static str, address: SocketAddr, what: &str) -> Result<TcpListener, Error> {
    let listener = http::bind(address).await.map_err(|error| Error::Bind { flag, address, error })?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving {what}");
    }
    Ok(listener)
}

/// Does `work` beside what each process of this binary has: HTTP for probes and metrics, signals, and a sign of life of the
/// runtime. It ends with `work`, or with an error when one of them ends.
pub(crate) async fn beside_probes(
    listener: TcpListener,
    (health, metrics): (Health, Metrics),
    (signals, trigger): (Signals, shutdown::Trigger),
    work: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    // HTTP is served while running passes end: a probe that fails would cut them short.
    let (close_http, http_closes) = shutdown::channel();
    let mut tasks = JoinSet::new();
    let served = http::serve(listener, health.clone(), metrics, http_closes);
    tasks.spawn(async move {
        let _ = served.await;
        "the HTTP server"
    });
    tasks.spawn(async move {
        signals.forward(trigger).await;
        "signal handling"
    });
    tasks.spawn(async move {
        health.heartbeat("runtime", SILENCE).await;
        "the heartbeat"
    });
    let ended = tokio::select! {
        biased;
        task = tasks.join_next() => Err(match task {
            Some(Ok(name)) => Error::Ended(name),
            Some(Err(error)) => error.into(),
            None => Error::Ended("every task"),
        }),
        ended = work => ended,
    };
    close_http.request();
    tasks.shutdown().await;
    ended
}

/// Waits for the CRDs, then works while they can be used.
async fn work(
    arguments: &RunArguments,
    (metrics, requests): (&Metrics, RequestMetrics),
    health: &Health,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let identity = lease::identity(hostname.trim(), &*random);
    let config = kube::Config::infer().await?;
    let layer = RequestLayer::new(metrics.clone());
    let client = kube_requests::client(config.clone(), &layer).map_err(Error::Client)?;
    let definitions: Vec<Wanted> = api::crds::all().iter().map(|crd| Wanted::new(crd, api::VERSION)).collect();

    tokio::select! {
        biased;
        () = shutdown.requested() => return Ok(()),
        () = wait_for_crds(client.clone(), &definitions, metrics, health, &*random) => {}
    }

    let namespace = arguments.operator_namespace.clone();
    let environment = Environment {
        client: client.clone(),
        operator_namespace: namespace.clone(),
        identity: identity.clone(),
        clock: clock.clone(),
        server_time: layer.server_time.clone(),
        random: random.clone(),
        groupware: Arc::new(providers::Groupware),
        dns: Arc::new(providers::Dns::new(arguments.resolvers.clone())),
        probe: Arc::new(SmtpProbe::new(hostname.trim())),
        policies: Arc::new(HttpsPolicy::default()),
        keys: Arc::new(SystemKeyMaker),
        metrics: metrics.clone(),
        requests,
        health: health.clone(),
        shutdown: shutdown.clone(),
    };
    let election = lease::Config::new(namespace, "mailtenant", identity);
    let election = if arguments.leader_elect {
        // A client of its own: renewals do not queue behind the operator's requests.
        let client = kube_requests::client(config, &layer).map_err(Error::Client)?;
        Some(Election::new(client, election, clock, random.clone()))
    } else {
        None
    };
    let unfit = watch_crds(client, &definitions, metrics, health, &*random);
    match election {
        Some(election) => lead(election, environment, unfit).await,
        None => serve(environment, unfit).await,
    }
}

/// Runs the operator without an election, until a CRD is `unfit`.
async fn serve(environment: Environment, unfit: impl Future<Output = crds::Missing>) -> Result<(), Error> {
    environment.metrics.leader(true);
    let random = environment.random.clone();
    let few = kube::Api::<PartialObjectMeta<api::DNSBackend>>::all(environment.client.clone());
    tokio::select! {
        biased;
        unfit = unfit => Err(Error::Crd(unfit)),
        restored = revision::watch(few, &*random) => Err(restored.into()),
        ended = operate(environment) => ended,
    }
}

/// Waits for the Lease, runs the operator while this process holds it and no CRD is `unfit`, and releases it.
async fn lead(
    election: Election,
    environment: Environment,
    unfit: impl Future<Output = crds::Missing>,
) -> Result<(), Error> {
    let mut unfit = pin!(unfit);
    let (metrics, shutdown) = (environment.metrics.clone(), environment.shutdown.clone());
    let election = Arc::new(election);
    let leadership = tokio::select! {
        biased;
        () = shutdown.requested() => {
            // This process may have got it at this moment.
            election.release().await;
            return Ok(());
        }
        unfit = &mut unfit => {
            election.release().await;
            return Err(Error::Crd(unfit));
        }
        leadership = election.acquire() => leadership,
    };
    metrics.leader(true);
    // A task of its own, so that no long poll of the operator delays a renewal.
    let mut holder = JoinSet::new();
    holder.spawn(leadership.hold());
    let ended = tokio::select! {
        biased;
        lost = holder.join_next() => match lost {
            Some(Ok(lost)) => return Err(lost.into()),
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Error::Ended("the Lease's holder")),
        },
        unfit = &mut unfit => Err(Error::Crd(unfit)),
        ended = operate(environment) => ended,
    };
    // Nothing writes any more: the future of the operator was dropped.
    if matches!(ended, Err(Error::Crd(_))) {
        // Another replica may fit the CRDs (an older one, after a rollback of theirs), so it need not wait for the Lease
        // to run out. Only for what this one sent and cut off just now.
        warn!("passes in flight are cut off, another replica may lead in {SENT:?}");
        sleep(SENT).await;
    }
    holder.shutdown().await;
    metrics.leader(false);
    election.release().await;
    ended
}

async fn wait_for_crds(
    client: kube::Client,
    definitions: &[Wanted],
    metrics: &Metrics,
    health: &Health,
    random: &dyn Random,
) {
    crds::wait(client, definitions, random, |missing| {
        metrics.crd_missing(missing.len());
        metrics.crd_mismatch(missing.iter().filter_map(|missing| match &missing.why {
            crds::Why::Unfit(difference) => Some((missing.name.as_str(), difference.word()?)),
            _ => None,
        }));
        for missing in missing {
            warn!(crd = missing.name, "waiting: {missing}");
        }
        let reasons: Vec<String> = missing.iter().map(ToString::to_string).collect();
        health.waiting("crds", reasons.join("; "));
    })
    .await;
    info!("all CRDs are there");
    health.ready("crds");
}

/// Tells of CRDs that are of another release and can be used. Returns with one that cannot.
async fn watch_crds(
    client: kube::Client,
    definitions: &[Wanted],
    metrics: &Metrics,
    health: &Health,
    random: &dyn Random,
) -> crds::Missing {
    crds::watch(client, definitions, random, |different| {
        metrics.crd_mismatch(different.iter().filter_map(|d| Some((d.name.as_str(), d.difference.word()?))));
        for different in different {
            warn!(crd = different.name, "{different}");
        }
        let notes: Vec<String> = different.iter().map(ToString::to_string).collect();
        health.note("crds", notes.join("; "));
    })
    .await
}

/// Runs the operator, publishes its Events, and after a signal waits [`DRAIN`] for running passes.
async fn operate(environment: Environment) -> Result<(), Error> {
    let shutdown = environment.shutdown.clone();
    let (events, publisher) = events::new(
        environment.client.clone(),
        "mailtenant.dev/operator",
        environment.identity.clone(),
        environment.clock.clone(),
        environment.random.clone(),
        environment.metrics.clone(),
    );
    let mut publisher = pin!(publisher.run());
    let overdue = async {
        shutdown.requested().await;
        sleep(DRAIN).await;
    };
    let ended = tokio::select! {
        biased;
        () = &mut publisher => Err(Error::Ended("the publisher of Events")),
        () = overdue => {
            warn!("passes in flight did not end in {DRAIN:?} and are cut off");
            Ok(())
        }
        ended = operator::run(environment, events.clone()) => match ended {
            Ok(()) if shutdown.is_requested() => Ok(()),
            Ok(()) => Err(Error::Ended("the operator")),
            Err(error) => Err(error.into()),
        },
    };
    events.close();
    if !matches!(ended, Err(Error::Ended(_))) && timeout(LAST_EVENTS, publisher).await.is_err() {
        warn!("some Events were not published");
    }
    ended
}

/// Prints all CRDs to standard output, as one YAML text.
pub fn print_crds() -> Result<(), WriteError> {
    let text = api::crds::yaml()?;
    io::stdout().write_all(text.as_bytes()).map_err(|error| WriteError::Io("standard output".into(), error))
}
