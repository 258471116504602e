//! One leader at a time, by a `coordination.k8s.io/v1` Lease. Writes the Lease and nothing else.
//!
//! - Every write is a compare-and-set: `create`, or `replace` with the `resourceVersion` that was read.
//! - Nobody's wall clock is trusted. A candidate takes the Lease over when it has itself, on its monotonic clock, seen
//!   the other's spec unchanged for the lease duration (15 s).
//! - A leader counts its own 10 s from *before* it sent the last renewal that succeeded: others start their 15 s no
//!   earlier than that write. So it stops, and the process exits, 5 s before anyone else may start.

use crate::store::version;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use mailtenant_clock::{Clock, Random};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

/// Names and times of an election. The times must keep `renew_every < renew_deadline < duration`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// `holderIdentity` of this process, unique for each process: see [`identity`].
    pub identity: String,
    /// How long others wait for a renewal before they take the Lease over (`leaseDurationSeconds`).
    pub duration: Duration,
    /// Time between two renewals, and between two reads by a candidate.
    pub renew_every: Duration,
    /// How long after its last renewal a leader gives up.
    pub renew_deadline: Duration,
    /// Time limit of one request.
    pub request_timeout: Duration,
}

impl Config {
    /// A Lease of 15 s, renewed every 2 s and given up after 10 s, with 5 s for a request.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Config {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_every: Duration::from_secs(2),
            renew_deadline: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// An identity that no other process has, nor this one after a restart under the same host name.
pub fn identity(hostname: &str, random: &dyn Random) -> String {
    let mut bytes = [0u8; 8];
    random.fill(&mut bytes);
    format!("{hostname}_{:016x}", u64::from_be_bytes(bytes))
}

/// Why leadership ended. Whatever the reason, the process must stop writing and exit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Another holds the Lease, or it was cleared.
    #[error("the Lease is held by {holder:?}")]
    Taken {
        /// Identity of the other process; empty where the holder was cleared.
        holder: String,
    },
    /// The Lease was deleted, so that anyone may create it.
    #[error("the Lease was deleted")]
    Deleted,
    /// No renewal succeeded in time.
    #[error("the Lease could not be renewed for {0:?}")]
    Deadline(Duration),
    /// The resourceVersion of the Lease is lower than before: the API server's storage was restored to an earlier state
    /// (etcd without a bump of its revision). What was watched until now is not what there is, and a watch that goes on
    /// would never report the difference.
    #[error("the API server was restored to an earlier state: all is to be read again")]
    Restored,
}

/// A failed request, by what is to be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Another write came first: read again.
    #[error("another write came first")]
    Conflict,
    /// The Lease is not there.
    #[error("not there")]
    NotFound,
    /// Anything else, time-outs too: whether a write was done is not known; try again.
    #[error("{0}")]
    Unknown(String),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 409 => Failure::Conflict,
            kube::Error::Api(status) if status.code == 404 => Failure::NotFound,
            error => Failure::Unknown(error.to_string()),
        }
    }
}

/// The spec last seen under another holder, and since when it has not changed.
type Observed = Option<(LeaseSpec, Instant)>;

/// A candidate for the Lease.
pub struct Election {
    api: Api<Lease>,
    config: Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Election {
    /// A candidate that sends nothing yet. Give it a client of its own, so that renewals do
    /// not wait behind other requests.
    pub fn new(client: Client, config: Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Election { api: Api::namespaced(client, &config.namespace), config, clock, random }
    }

    /// Waits until this process holds the Lease, for as long as it takes. Failed requests are logged and tried again.
    pub async fn acquire(self: &Arc<Self>) -> Leadership {
        let mut observed: Observed = None;
        loop {
            match self.try_acquire(&mut observed).await {
                Ok(Some(leadership)) => {
                    info!(identity = self.config.identity, lease = self.config.name, "leading");
                    return leadership;
                }
                Ok(None) => {}
                Err(Failure::Conflict) => debug!("another candidate was faster"),
                Err(error) => warn!(lease = self.config.name, %error, "the Lease cannot be read or written"),
            }
            // Jitter, so that candidates who saw the same Lease do not all ask in the same moment.
            sleep(self.random.around(self.config.renew_every, 20)).await;
        }
    }

    /// One look, and one write if the Lease may be taken.
    async fn try_acquire(self: &Arc<Self>, observed: &mut Observed) -> Result<Option<Leadership>, Failure> {
        let Some(lease) = self.bounded(self.api.get_opt(&self.config.name)).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec_taken(&LeaseSpec::default())),
            };
            let sent = Instant::now();
            let lease = self.bounded(self.api.create(&PostParams::default(), &lease)).await?;
            return Ok(Some(Leadership { election: self.clone(), lease, last_good: sent }));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        // Ours already: the answer to an earlier write got lost.
        if !holder.is_empty() && holder != self.config.identity {
            let now = Instant::now();
            let since = match observed {
                Some((seen, since)) if *seen == spec => *since,
                _ => {
                    if observed.as_ref().is_none_or(|(seen, _)| seen.holder_identity != spec.holder_identity) {
                        info!(lease = self.config.name, holder, "standing by");
                    }
                    *observed = Some((spec.clone(), now));
                    now
                }
            };
            let theirs = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).try_into().unwrap_or(0));
            if now.duration_since(since) < theirs.max(self.config.duration) {
                return Ok(None);
            }
            info!(lease = self.config.name, holder, "the holder gave no sign of life, taking over");
        }
        let taken = Lease { metadata: lease.metadata, spec: Some(self.spec_taken(&spec)) };
        let sent = Instant::now();
        let lease = self.replace(&taken).await?;
        Ok(Some(Leadership { election: self.clone(), lease, last_good: sent }))
    }

    /// Clears the holder of the Lease if it is this process, so that the next candidate need not wait. Tries
    /// for at most `request_timeout`, and only logs a failure. Call it after [`Leadership::hold`] was dropped
    /// and nothing writes any more.
    pub async fn release(&self) {
        let released = timeout(self.config.request_timeout, async {
            // A renewal that was sent before may come in between: then the Lease is read and released again.
            for _ in 0..3 {
                match self.try_release().await {
                    Err(Failure::Conflict) => continue,
                    other => return other,
                }
            }
            Err(Failure::Conflict)
        })
        .await;
        match released {
            Ok(Ok(())) => info!(lease = self.config.name, "released"),
            Ok(Err(error)) => warn!(lease = self.config.name, %error, "not released, the next leader waits"),
            Err(_) => warn!(lease = self.config.name, "not released in time, the next leader waits"),
        }
    }

    async fn try_release(&self) -> Result<(), Failure> {
        let Some(mut lease) = self.bounded(self.api.get_opt(&self.config.name)).await? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.config.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        spec.renew_time = Some(self.now());
        self.replace(&lease).await?;
        Ok(())
    }

    fn now(&self) -> MicroTime {
        MicroTime(self.clock.now())
    }

    /// The spec with us as its holder. The times in it are for people who look; nothing here reads them.
    fn spec_taken(&self, before: &LeaseSpec) -> LeaseSpec {
        let was_ours = before.holder_identity.as_deref() == Some(&self.config.identity);
        let transitions = before.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(self.config.duration.as_secs().try_into().unwrap_or(i32::MAX)),
            acquire_time: if was_ours { before.acquire_time.clone() } else { Some(self.now()) },
            renew_time: Some(self.now()),
            lease_transitions: Some(if was_ours { transitions } else { transitions.saturating_add(1) }),
            ..before.clone()
        }
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, Failure> {
        self.bounded(self.api.replace(&self.config.name, &PostParams::default(), lease)).await
    }

    async fn bounded<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
        match timeout(self.config.request_timeout, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failure::Unknown(format!("no answer within {:?}", self.config.request_timeout))),
        }
    }
}

/// This process holds the Lease as long as [`Leadership::hold`] runs.
pub struct Leadership {
    election: Arc<Election>,
    lease: Lease,
    /// Before the last write that succeeded was sent.
    last_good: Instant,
}

impl Leadership {
    /// Whether the server answers with a state before the one that it answered with last.
    fn is_older(&self, lease: &Lease) -> bool {
        version(lease) < version(&self.lease)
    }

    /// Renews the Lease until leadership is lost, and returns why. Must be polled by a task that nothing blocks. When
    /// it returns, everything that needs the Lease must end at once.
    pub async fn hold(mut self) -> Lost {
        let config = &self.election.config;
        let mut next = self.last_good + config.renew_every;
        loop {
            let deadline = self.last_good + config.renew_deadline;
            sleep_until(next.min(deadline)).await;
            let sent = Instant::now();
            // Also reached after the process itself was stopped for a while.
            if sent >= deadline {
                return Lost::Deadline(config.renew_deadline);
            }
            next = sent + config.renew_every;
            let mut renewed = self.lease.clone();
            renewed.spec = Some(self.election.spec_taken(&renewed.spec.unwrap_or_default()));
            match timeout_at(deadline, self.election.replace(&renewed)).await {
                Ok(Ok(lease)) if self.is_older(&lease) => return Lost::Restored,
                Ok(Ok(lease)) => (self.lease, self.last_good) = (lease, sent),
                Ok(Err(Failure::NotFound)) => return Lost::Deleted,
                // Someone wrote the Lease. It may have been ourselves (a renewal whose answer was lost) or a person who
                // put a label on it: only the name of the holder shows it.
                Ok(Err(Failure::Conflict)) => {
                    match timeout_at(deadline, self.election.bounded(self.election.api.get_opt(&config.name))).await {
                        Ok(Ok(Some(lease))) => {
                            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
                            if holder.as_deref() != Some(&config.identity) {
                                return Lost::Taken { holder: holder.unwrap_or_default() };
                            }
                            if self.is_older(&lease) {
                                return Lost::Restored;
                            }
                            self.lease = lease;
                            // At once: this was no renewal. Not in a tight loop, should conflict follow conflict.
                            next = sent + config.renew_every / 20;
                        }
                        Ok(Ok(None)) => return Lost::Deleted,
                        Ok(Err(error)) => warn!(lease = config.name, %error, "the Lease cannot be read"),
                        Err(_) => {}
                    }
                }
                Ok(Err(error)) => warn!(lease = config.name, %error, "the Lease was not renewed"),
                Err(_) => {}
            }
        }
    }
}
