//! What every pass has at hand. All that comes from outside comes in here, so that the whole operator can run on a
//! virtual clock against models.

use crate::connections::Connections;
use crate::not_ready::NotReady;
use crate::rules::loss;
use crate::state::answers::Answers;
use crate::state::blocked::Blocked;
use crate::state::checkups::Checkups;
use crate::state::derived::declared_local_part;
use crate::state::kind::{Kind, ObjectId};
use crate::state::lookups::Lookups;
use crate::state::managed::Managed;
use crate::state::routes;
use crate::state::snapshots::{Since, Snapshots};
use crate::state::wakeups::Wakeups;
use crate::state::world::{SecretMeta, World};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client, Resource};
use mailtenant_api::{EventReason, uid};
use mailtenant_clock::{Clock, Random};
use mailtenant_dns::{PolicyProbe, RecipientProbe};
use mailtenant_groupware::signing::KeyMaker;
use mailtenant_groupware::{BackendError, DomainName, DomainSnapshot};
use mailtenant_runtime::dispatch::{Dispatcher, Next};
use mailtenant_runtime::events::{EventType, Events};
use mailtenant_runtime::metrics::Metrics;
use mailtenant_runtime::queue::Priority;
use mailtenant_runtime::server_time::ServerTime;
use mailtenant_runtime::store::{Delta, NamespacedName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Why a step of a pass ended the pass.
#[derive(Debug)]
pub enum Stop {
    /// The object cannot be ready now; the status says so.
    NotReady(NotReady),
    /// Kubernetes did not take a call: nothing can be said in the status either, try again.
    Kubernetes(kube::Error),
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Stop::Kubernetes(error)
    }
}
impl From<NotReady> for Stop {
    fn from(not_ready: NotReady) -> Self {
        Stop::NotReady(not_ready)
    }
}

/// Result of a step.
pub type Step<T> = Result<T, Stop>;
/// Result of a pass.
pub type Pass = Result<Next, kube::Error>;

/// What every pass has at hand.
pub struct Ctx {
    pub client: Client,
    /// All that the watches have told.
    world: RwLock<World>,
    /// Who gets the next pass.
    pub queue: Dispatcher<ObjectId>,
    /// What the groupware servers were last seen to hold.
    pub snapshots: Snapshots,
    pub connections: Connections,
    /// Asks mail servers about recipients.
    pub probe: Arc<dyn RecipientProbe>,
    /// Fetches MTA-STS policies as senders do.
    pub policies: Arc<dyn PolicyProbe>,
    pub answers: Answers,
    /// What DNS servers said a moment ago.
    pub lookups: Lookups,
    pub blocked: Blocked,
    pub checkups: Checkups,
    pub keys: Arc<dyn KeyMaker>,
    /// The time of this machine, for stamps.
    pub clock: Arc<dyn Clock>,
    server_time: Arc<ServerTime>,
    pub random: Arc<dyn Random>,
    pub events: Events,
    pub metrics: Metrics,
    /// Namespace of the platform's Secrets.
    pub operator_namespace: String,
    /// How many passes were begun.
    passes: AtomicU64,
    resync: Mutex<BTreeMap<ObjectId, Instant>>,
    written: Mutex<BTreeMap<NamespacedName, Written>>,
    /// Credentials Secrets, each with the version (`uid/resourceVersion`) whose access data are known to be right.
    right_secrets: Mutex<BTreeMap<NamespacedName, String>>,
    mass_loss: Mutex<BTreeMap<String, LossSlot>>,
    /// Of each MailDomain the name of its GroupwareBackend, and how many rows below it have no object.
    undeclared: Mutex<BTreeMap<NamespacedName, (String, usize)>>,
    /// Uids of objects whose last status write had no answer, or a bad one: it may have been carried out all the same.
    unsure: Mutex<BTreeSet<String>>,
    /// Uids of MailDomains whose marker was read since this process began: Kubernetes may have been restored before that.
    marked: Mutex<BTreeSet<String>>,
    /// Mailboxes whose row is missing and of which that was said, each with its uid.
    told_lost: Mutex<BTreeMap<ObjectId, String>>,
}

/// A Secret that a pass wrote: `uid/resourceVersion`, and whose pass.
type Written = (String, ObjectId);

/// The last count of what an instance misses, and when it was made.
type LossSlot = Arc<tokio::sync::Mutex<Option<(Instant, loss::Loss)>>>;

/// Parts of a [`Ctx`].
#[allow(missing_docs, reason = "as in Ctx")]
pub struct Parts {
    pub client: Client,
    pub queue: Dispatcher<ObjectId>,
    pub connections: Connections,
    pub probe: Arc<dyn RecipientProbe>,
    pub policies: Arc<dyn PolicyProbe>,
    pub keys: Arc<dyn KeyMaker>,
    pub clock: Arc<dyn Clock>,
    pub server_time: Arc<ServerTime>,
    pub random: Arc<dyn Random>,
    pub events: Events,
    pub metrics: Metrics,
    pub operator_namespace: String,
}

impl Ctx {
    pub fn new(p: Parts) -> Self {
        Ctx {
            client: p.client,
            world: RwLock::default(),
            queue: p.queue,
            snapshots: Snapshots::default(),
            connections: p.connections,
            probe: p.probe,
            policies: p.policies,
            answers: Answers::default(),
            lookups: Lookups::default(),
            blocked: Blocked::default(),
            checkups: Checkups::default(),
            keys: p.keys,
            clock: p.clock,
            server_time: p.server_time,
            random: p.random,
            events: p.events,
            metrics: p.metrics,
            operator_namespace: p.operator_namespace,
            passes: AtomicU64::default(),
            resync: Mutex::default(),
            written: Mutex::default(),
            right_secrets: Mutex::default(),
            mass_loss: Mutex::default(),
            undeclared: Mutex::default(),
            unsure: Mutex::default(),
            marked: Mutex::default(),
            told_lost: Mutex::default(),
        }
    }

    /// Number of the next pass, for the log.
    pub fn next_pass(&self) -> u64 {
        self.passes.fetch_add(1, Ordering::Relaxed)
    }

    /// The earlier of this machine's time and the API server's. A wait that must not end early ends when it is over by both:
    /// a replica whose clock is ahead would end what another one began.
    pub fn earliest_now(&self) -> Timestamp {
        let now = self.clock.now();
        self.server_time.now().map_or(now, |server| server.min(now))
    }

    /// The later of both: when such a wait begins.
    pub fn latest_now(&self) -> Timestamp {
        let now = self.clock.now();
        self.server_time.now().map_or(now, |server| server.max(now))
    }

    /// Reads the world. Never hold it across an await.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }
    /// Changes the world. Never hold it across an await.
    pub fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wake(&self, wakes: Wakeups) {
        for id in &wakes.gone {
            self.queue.forget(id);
            if id.kind == Kind::GroupwareBackend {
                self.queue.set_limits(&crate::state::lane::groupware(&id.key.name), None);
            }
            if id.kind == Kind::MailDomain {
                self.undeclared.lock().unwrap_or_else(PoisonError::into_inner).remove(&id.key);
            }
            self.resync.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
            self.checkups.forget(id);
            self.is_back(id);
        }
        let now: Vec<_> = {
            let world = self.world();
            wakes.now.into_iter().map(|(id, p)| (world.lane(&id), id, p)).collect()
        };
        self.queue.add(now.into_iter().map(|(lane, id, p)| (id, p, lane)));
        for id in wakes.soon {
            self.queue.add_after(&id, SOON);
        }
    }

    /// Notes a Secret that a pass of `by` wrote: that pass goes on with it and need not hear of it again.
    pub fn wrote_secret(&self, secret: &Secret, by: ObjectId) {
        let (key, meta) = (NamespacedName::of(secret), &secret.metadata);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(key, (version(meta), by));
    }

    /// Notes a credentials Secret with the access data that it should have.
    pub fn secret_is_right(&self, secret: &Secret) {
        let mut right = self.right_secrets.lock().unwrap_or_else(PoisonError::into_inner);
        right.insert(NamespacedName::of(secret), version(&secret.metadata));
    }

    /// The version of a credentials Secret that is known to be right.
    pub fn right_secret(&self, key: &NamespacedName) -> Option<String> {
        self.right_secrets.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Whom a change of a Secret concerns: not the one whose own write it is. That was a second pass of every mailbox.
    pub fn secret_changed(&self, world: &World, delta: &Delta<SecretMeta>) -> Wakeups {
        let mut wakes = crate::state::wakeups::secret(world, &self.operator_namespace, &delta.key);
        if delta.new.is_none() {
            self.right_secrets.lock().unwrap_or_else(PoisonError::into_inner).remove(&delta.key);
        }
        let noted = self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(&delta.key);
        if let (Some((wrote, by)), Some(new)) = (noted, &delta.new)
            && wrote == version(&new.metadata)
        {
            wakes.now.retain(|(id, _)| *id != by);
        }
        wakes
    }

    /// Where the last count of an instance's missing mailboxes is kept.
    pub fn mass_loss_of(&self, uid: &str) -> LossSlot {
        self.mass_loss.lock().unwrap_or_else(PoisonError::into_inner).entry(uid.to_owned()).or_default().clone()
    }

    /// Notes how many rows below a domain have no object.
    pub fn note_undeclared(&self, domain: &NamespacedName, backend: &str, rows: usize) {
        let mut all = self.undeclared.lock().unwrap_or_else(PoisonError::into_inner);
        match rows {
            0 => drop(all.remove(domain)),
            rows => drop(all.insert(domain.clone(), (backend.to_owned(), rows))),
        }
    }

    /// Rows without an object by the name of the GroupwareBackend, also of those that have none.
    pub fn undeclared(&self) -> BTreeMap<String, usize> {
        let mut sums: BTreeMap<String, usize> =
            self.world().groupware.iter().map(|(key, _)| (key.name.clone(), 0)).collect();
        for (backend, rows) in self.undeclared.lock().unwrap_or_else(PoisonError::into_inner).values() {
            *sums.entry(backend.clone()).or_default() += rows;
        }
        sums
    }

    pub(crate) fn is_unsure<K: Resource>(&self, object: &K) -> bool {
        let all = self.unsure.lock().unwrap_or_else(PoisonError::into_inner);
        !all.is_empty() && all.contains(&uid(object))
    }
    pub(crate) fn set_unsure<K: Resource>(&self, object: &K, unsure: bool) {
        let mut all = self.unsure.lock().unwrap_or_else(PoisonError::into_inner);
        if unsure {
            all.insert(uid(object));
        } else if !all.is_empty() {
            all.remove(&uid(object));
        }
    }

    pub(crate) fn marker_was_read(&self, uid: &str) -> bool {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }
    /// Notes whether it was; not once the domain is gone.
    pub(crate) fn set_marker_read(&self, uid: &str, read: bool) {
        let mut all = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = if read { all.insert(uid.to_owned()) } else { all.remove(uid) };
    }

    /// Whether nobody was told yet that the row of this mailbox is missing; from now on somebody was.
    pub(crate) fn tell_lost(&self, id: &ObjectId, uid: String) -> bool {
        let mut told = self.told_lost.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(id.clone(), uid.clone()) != Some(uid)
    }
    /// A mailbox has its row, or is gone: a later loss is another one.
    pub(crate) fn is_back(&self, id: &ObjectId) {
        self.told_lost.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Keeps a count of an instance's missing mailboxes.
    pub async fn counted_loss(&self, uid: &str, loss: loss::Loss) {
        *self.mass_loss_of(uid).lock().await = Some((Instant::now(), loss));
    }

    /// Whether the last count of an instance's missing mailboxes found any.
    pub async fn suspects_loss(&self, uid: &str) -> bool {
        self.mass_loss_of(uid).lock().await.is_some_and(|(_, loss)| loss.missing > 0)
    }

    /// Puts what a write returned into the world, and wakes whom it concerns.
    pub fn absorb<K: Managed>(&self, mut written: K) {
        mailtenant_runtime::store::prune(&mut written);
        let wakes = {
            let mut world = self.world_mut();
            world.observe(written).map(|delta| K::wakeups(&world, &delta))
        };
        if let Some(wakes) = wakes {
            self.wake(wakes);
        }
    }

    /// The API of a namespaced kind.
    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub fn event<K: Resource<DynamicType = ()>>(&self, about: &K, reason: EventReason, note: impl Into<String>) {
        let type_ = if reason.is_warning() { EventType::Warning } else { EventType::Normal };
        let regarding: ObjectReference = about.object_ref(&());
        self.events.publish(regarding, type_, reason.as_str(), "Reconcile", note.into());
    }

    /// Rows of a domain; whoever's rows changed by this read is woken.
    pub async fn rows<T>(
        &self,
        server: &crate::connections::Groupware,
        domain: &NamespacedName,
        name: &DomainName,
        since: Since,
        look: impl FnOnce(&DomainSnapshot) -> T,
    ) -> Result<T, BackendError> {
        let (value, changed) = self
            .snapshots
            .with(server.server.as_ref(), &server.uid, name, since, |rows, changed| (look(rows), changed))
            .await
            .inspect_err(|e| self.backend_failed(server, e))?;
        if !changed.is_empty() {
            let mut wakes = Wakeups::default();
            {
                let world = self.world();
                // Every object of that name: whoever read first, the owner must hear of it.
                let domains: Vec<NamespacedName> = world.index.domains_by_name.of(name).cloned().collect();
                for address in &changed {
                    let local = declared_local_part(address);
                    // Who sends mail on to it, where no object may declare it.
                    let key = routes::index_key(&domain.namespace, address);
                    wakes.now.extend(world.index.routes_by_address.of(&key).map(|id| (id.clone(), Priority::Low)));
                    for domain in domains.iter().chain([domain]) {
                        wakes
                            .now
                            .extend(world.owner_of_address(domain, local).into_iter().map(|id| (id, Priority::Normal)));
                    }
                }
            }
            self.wake(wakes);
        }
        Ok(value)
    }

    /// A call to a server failed: the backend's own pass should look at it, once for all of them.
    pub fn backend_failed(&self, server: &crate::connections::Groupware, error: &BackendError) {
        if matches!(error, BackendError::Unavailable { .. } | BackendError::Unauthorized(_)) {
            let id = ObjectId::new(Kind::GroupwareBackend, NamespacedName::new("", &server.name));
            self.queue.add_after(&id, SOON);
        }
    }

    /// The same for a DNS server; the words for the object that waits for it.
    pub fn dns_failed(&self, dns: &crate::connections::Dns, error: &BackendError) -> NotReady {
        if matches!(error, BackendError::Unavailable { .. } | BackendError::Unauthorized(_)) {
            let id = ObjectId::new(Kind::DNSBackend, NamespacedName::new("", &dns.name));
            self.queue.add_after(&id, SOON);
        }
        NotReady::backend(&dns.label(), error)
    }

    /// Whether the regular look at an object is due; sets the next one. Base give or take 20 %, so that nothing runs in
    /// step.
    pub fn resync_due(&self, id: &ObjectId, base: Duration) -> bool {
        let mut all = self.resync.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match all.get(id) {
            Some(at) if *at > now => false,
            known => {
                // The first pass after a start reads anyway.
                let due = known.is_some();
                all.insert(id.clone(), now + self.random.around(base, 20));
                due
            }
        }
    }
    /// How long until the next regular look; none if it is overdue: a pass that is held before it could look would
    /// otherwise ask for the next pass at once, for as long as it is held.
    pub fn until_resync(&self, id: &ObjectId) -> Option<Duration> {
        let all = self.resync.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).map(|at| at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

/// Pause before passes that take in many changes at once.
const SOON: Duration = Duration::from_secs(1);

fn version(meta: &ObjectMeta) -> String {
    format!("{}/{}", meta.uid.as_deref().unwrap_or_default(), meta.resource_version.as_deref().unwrap_or_default())
}

/// The instance's id object.
pub fn instance_id(key: &NamespacedName) -> ObjectId {
    ObjectId::new(Kind::MailInstance, key.clone())
}
