//! What is done and measured, in its order.

use super::floor::Floor;
use super::harness::kubectl::Kubectl;
use super::harness::operator::Operator;
use super::harness::proxy::{Protocol, Proxy};
use super::harness::sql::Sql;
use super::harness::stack::Stack;
use super::harness::world::{self, GROUPWARE, SYSTEM};
use super::harness::{dns, secs};
use super::load::{self, Pilot, Tenant};
use super::many::Many;
use super::measure::{Meter, Quiet};
use super::neighbour::Neighbour;
use super::observer::Observer;
use super::table::Table;
use super::{CONCURRENCY, said};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Mailboxes that are made before the others.
const FEW: usize = 50;

/// Servers with a registered backend, no operator yet.
pub struct Platform {
    /// The servers.
    pub stack: &'static Stack,
    /// Kubernetes, in the tenant's namespace.
    pub k: Kubectl,
    backend: Value,
    /// Stands before doveadm: counts requests and takes its share of the machine, so it is in the way only where nothing
    /// is timed.
    doveadm: &'static Proxy,
    straight: Value,
}

impl Platform {
    /// Starts the servers.
    pub async fn start() -> Platform {
        let stack: &'static Stack = Box::leak(Box::new(Stack::start("bench")));
        world::prepare(stack).await;
        let k = Kubectl::admin(stack, "bench").await;
        let doveadm: &'static Proxy = Box::leak(Box::new(Proxy::start(stack, Protocol::Http, stack.port("DOVEADM"))));
        let mut backend = world::groupware_backend(stack, GROUPWARE, json!({"from": "All"}));
        // The default of 100 requests a second would be what is measured.
        backend["spec"]["limits"] = json!({"requestsPerSecond": 1000, "concurrency": CONCURRENCY});
        backend["spec"]["resync"] = json!({"interval": "30s"});
        let straight = backend["spec"]["sogo"]["doveadm"]["url"].clone();
        backend["spec"]["sogo"]["doveadm"]["url"] = counted(doveadm);
        k.apply(backend.clone()).await;
        Platform { stack, k, backend, doveadm, straight }
    }

    /// One run of the floor; neither operator nor policy may be there.
    pub async fn floor(&self, namespace: &str, n: usize, secret: bool) -> Floor {
        Floor::run(self.stack, namespace, n, secret, &self.backend).await
    }

    /// Changes the backend's spec, and waits until it was looked at again.
    async fn reconfigure(&self, spec: Value) {
        self.k.patch("GroupwareBackend", GROUPWARE, json!({"spec": spec})).await;
        self.k.ready("GroupwareBackend", GROUPWARE, secs(60)).await;
    }

    async fn doveadm_by(&self, url: Value) {
        self.reconfigure(json!({"sogo": {"doveadm": {"url": url}}})).await;
    }
}

fn counted(proxy: &Proxy) -> Value {
    json!(format!("http://127.0.0.1:{}/doveadm/v1", proxy.port))
}

/// A platform with an operator and a tenant.
pub struct Bench {
    /// The platform.
    pub platform: Platform,
    n: usize,
    operator: Operator,
    meter: Meter,
    tenant: Tenant,
    pilot: Pilot,
}

impl Bench {
    /// Starts the operator; a tenant with its domains and one mailbox.
    pub async fn start(platform: Platform, n: usize) -> Bench {
        said("the operator comes up; a tenant with its domains and one mailbox");
        let (stack, k) = (platform.stack, platform.k.clone());
        let tenant = Tenant { k: k.clone(), domains: n.div_ceil(1000) };
        let zones: Vec<String> = (0..tenant.domains).map(load::zone).collect();
        for zone in &zones {
            dns::create_zone(stack, zone).await;
        }
        k.apply(world::dns_backend(stack, "bench", &["bench"], &zones)).await;
        let operator = Operator::start(stack, "bench");
        operator.ready().await;
        let meter = Meter::new(stack, platform.doveadm).await;
        k.ready("DNSBackend", "bench", secs(60)).await;
        k.ready("GroupwareBackend", GROUPWARE, secs(60)).await;
        tenant.prepare(n).await;
        Quiet::wait(&operator, secs(3), secs(120)).await;
        let pilot = Pilot::start(&tenant).await;
        Bench { platform, n, operator, meter, tenant, pilot }
    }

    /// A few mailboxes whose requests to doveadm are counted.
    pub async fn few(&mut self, table: &mut Table) {
        said("a few mailboxes whose requests to doveadm are counted");
        let mark = self.meter.mark(&self.operator).await;
        let observer = Observer::start(&self.tenant.k, 1 + FEW).await;
        self.tenant.apply(self.n..self.n + FEW, CONCURRENCY).await;
        observer.all_ready(secs(60)).await;
        table.doveadm(self.meter.since(&mark, &self.operator).await.doveadm / FEW as f64);
        self.platform.doveadm_by(self.platform.straight.clone()).await;
        Quiet::wait(&self.operator, secs(3), secs(120)).await;
    }

    /// All mailboxes at once, with an edit now and then; how long it took until all were ready.
    pub async fn creation(&mut self, table: &mut Table, floor: &[Floor; 2]) -> Duration {
        said("all mailboxes at once");
        let n = self.n;
        let observer = Observer::start(&self.tenant.k, n + FEW + 1).await;
        let mark = self.meter.mark(&self.operator).await;
        let start = Instant::now();
        let mut edits = vec![];
        let took = {
            let work = async {
                self.tenant.apply(0..n, CONCURRENCY).await;
                observer.all_ready(secs(60 + n as u64 / 5)).await
            };
            tokio::pin!(work);
            loop {
                tokio::select! { biased;
                    at = &mut work => break at.duration_since(start),
                    took = self.pilot.edit_after(secs(1)) => edits.push(took),
                }
            }
        };
        table.set_ready(took, floor);
        let quiet = Quiet::wait(&self.operator, secs(5), secs(300)).await;
        let used = self.meter.since(&mark, &self.operator).await;
        drop(observer);
        table.creation(quiet.saturating_duration_since(start), floor, &used, edits.len());

        said("an edit with nothing else to do");
        let mut calm = vec![];
        for _ in 0..9 {
            calm.push(self.pilot.edit_after(Duration::from_millis(300)).await);
        }
        table.edits(&edits, &calm);
        Quiet::wait(&self.operator, secs(3), secs(60)).await;
        took
    }

    /// Nothing to do.
    pub async fn rest(&mut self, table: &mut Table, idle: Duration) {
        said("at rest");
        let mark = self.meter.mark(&self.operator).await;
        tokio::time::sleep(idle).await;
        table.idle(idle, &self.meter.since(&mark, &self.operator).await);
        table.memory("resident memory after creation (peak)", &self.operator);
    }

    /// A restart with everything in place.
    pub async fn restart(&mut self, table: &mut Table) {
        said("a restart");
        self.start_again(table, self.tenant.domains).await;
    }

    async fn start_again(&mut self, table: &mut Table, domains: usize) {
        let mark = self.meter.mark(&self.operator).await;
        self.end().await;
        let start = Instant::now();
        self.operator.restart();
        self.operator.ready().await;
        let listed = start.elapsed();
        let quiet = Quiet::wait(&self.operator, secs(3), secs(300)).await;
        let used = self.meter.since(&mark, &self.operator).await;
        table.restart(listed, quiet.saturating_duration_since(start), &used, domains);
        table.memory("resident memory after a restart (peak)", &self.operator);
    }

    /// What all mailboxes depend on changes: the backend's address of doveadm, then the password of its database.
    pub async fn fan_out(&mut self, table: &mut Table) {
        said("the backend's spec changes");
        let (mark, start) = (self.meter.mark(&self.operator).await, Instant::now());
        self.platform.doveadm_by(counted(self.platform.doveadm)).await;
        let quiet = Quiet::wait(&self.operator, secs(5), secs(300)).await.saturating_duration_since(start);
        let used = self.meter.since(&mark, &self.operator).await;
        table.fan_out("the backend's spec changed", quiet, &used, "1: its own status");

        said("the password of the backend's database is rotated");
        let (user, password) = (self.platform.stack.get("GW_DB_USER"), "rotated-by-the-bench");
        let secrets = self.platform.k.within(SYSTEM);
        let sql = Sql::connect(self.platform.stack).await;
        let (mark, start) = (self.meter.mark(&self.operator).await, Instant::now());
        sql.run(&format!("ALTER ROLE {user} PASSWORD '{password}'")).await;
        secrets.put_secret("berlin-db", &[("username", user), ("password", password)]).await;
        let quiet = Quiet::wait(&self.operator, secs(5), secs(300)).await.saturating_duration_since(start);
        let used = self.meter.since(&mark, &self.operator).await;
        table.fan_out("the backend's Secret rotated", quiet, &used, "0");
        table.edit_after_rotation(self.pilot.edit_after(Duration::ZERO).await);
        Quiet::wait(&self.operator, secs(3), secs(60)).await;
    }

    /// A neighbour's new mailboxes while this tenant edits its own.
    pub async fn neighbour(&mut self, table: &mut Table) {
        said("a neighbour makes mailboxes while this tenant edits its own all the time");
        let neighbour = Neighbour::prepare(self.platform.stack, &self.tenant.k).await;
        let (took, edits) = neighbour.beside(&self.tenant, self.n).await;
        table.neighbour(&took, edits);
        Quiet::wait(&self.operator, secs(3), secs(300)).await;
        neighbour.end().await;
    }

    /// The namespace with all that is in it.
    pub async fn deletion(&mut self, table: &mut Table) {
        said("the namespace is deleted");
        let mark = self.meter.mark(&self.operator).await;
        let start = Instant::now();
        self.tenant.k.delete("Namespace", "bench").await;
        let empty = self.tenant.empty(secs(120 + self.n as u64)).await.duration_since(start);
        let used = self.meter.since(&mark, &self.operator).await;
        let gone = self.tenant.gone(secs(120)).await.duration_since(start);
        table.deletion(empty, gone, &used);
    }

    /// The operator ends on SIGTERM.
    pub async fn end(&self) {
        let status = self.operator.terminate().await;
        assert!(status.success(), "SIGTERM: {status}");
    }

    /// Many small tenants, and a restart with them. The operator had ended.
    pub async fn namespaces(&mut self, table: &mut Table, count: usize) {
        said("many namespaces: their zones");
        let many = Many { stack: self.platform.stack, k: self.platform.k.clone(), count };
        self.operator.restart();
        self.operator.ready().await;
        // Domains that are looked at as in production, and no proxy.
        let spec = json!({"resync": {"interval": "15m"}, "sogo": {"doveadm": {"url": self.platform.straight}}});
        self.platform.reconfigure(spec).await;
        many.prepare().await;
        Quiet::wait(&self.operator, secs(3), secs(120)).await;

        said("many namespaces: all at once");
        let mark = self.meter.mark(&self.operator).await;
        let start = Instant::now();
        let ready = many.apply(start).await;
        let quiet = Quiet::wait(&self.operator, secs(5), secs(600)).await.saturating_duration_since(start);
        let used = self.meter.since(&mark, &self.operator).await;
        table.namespaces(count, &ready, quiet, &used);
        table.memory("resident memory after creation (peak)", &self.operator);
        self.start_again(table, count).await;
    }
}
