//! Counts what was asked of whom between two moments, without standing in anybody's way: the apiserver's audit log,
//! PostgreSQL's statement counter, memcached's, the calls of the doveadm proxy, processor time of process trees, and the
//! operator's own metrics.

use super::harness::audit::OPERATOR;
use super::harness::operator::Operator;
use super::harness::proxy::Proxy;
use super::harness::sql::Sql;
use super::harness::stack::Stack;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Where counts come from.
pub struct Meter {
    audit: PathBuf,
    sql: Sql,
    doveadm: &'static Proxy,
    memcached: u16,
    /// Name and process id of each server.
    servers: Vec<(String, u32)>,
}

/// A moment.
pub struct Mark {
    audit: u64,
    statements: i64,
    doveadm: usize,
    memcached: f64,
    cpu: BTreeMap<String, f64>,
    metrics: BTreeMap<String, f64>,
}

/// What happened since a moment.
#[derive(Debug, Default)]
pub struct Used {
    /// The operator's requests to Kubernetes by verb and resource, the Lease's apart.
    pub kubernetes: BTreeMap<String, f64>,
    /// SQL statements of the operator's role, BEGIN and COMMIT among them.
    pub statements: f64,
    /// HTTP requests to doveadm.
    pub doveadm: f64,
    /// Keys deleted at memcached.
    pub memcached: f64,
    /// Processor seconds by process tree.
    pub cpu: BTreeMap<String, f64>,
    /// Growth of the operator's counters; meaningless over a restart.
    pub metrics: BTreeMap<String, f64>,
}

impl Used {
    /// Requests that change something.
    pub fn writes(&self) -> f64 {
        self.kubernetes.iter().filter(|(what, _)| !is_read(what)).map(|(_, n)| n).sum::<f64>() + 0.0
    }
    /// Requests that read; a watch counts when it ends, like everything in the audit log.
    pub fn reads(&self) -> f64 {
        self.kubernetes.iter().filter(|(what, _)| is_read(what)).map(|(_, n)| n).sum::<f64>() + 0.0
    }
    /// Requests to all parts of the groupware server.
    pub fn backend(&self) -> f64 {
        self.statements + self.doveadm + self.memcached
    }
    /// Kinds of requests, the most frequent first.
    pub fn kinds(&self, per: f64) -> String {
        let mut all: Vec<_> = self.kubernetes.iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(a.1));
        all.iter().map(|(what, n)| format!("{what} {:.2}", *n / per)).collect::<Vec<_>>().join(", ")
    }
    /// Passes of each kind, the most frequent first.
    pub fn passes(&self) -> String {
        let mut all = BTreeMap::<&str, f64>::new();
        for (line, n) in self.metrics.iter().filter(|(_, n)| **n > 0.0) {
            let kind = line.strip_prefix("mailtenant_reconcile_total{kind=\"").and_then(|l| l.split('"').next());
            if let Some(kind) = kind {
                *all.entry(kind).or_default() += n;
            }
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.iter().map(|(kind, n)| format!("{kind} {n:.0}")).collect::<Vec<_>>().join(", ")
    }
    /// Growth of a counter of the operator, over all samples whose line starts so.
    pub fn metric(&self, start: &str) -> f64 {
        self.metrics.iter().filter(|(line, _)| line.starts_with(start)).map(|(_, n)| n).sum()
    }
}

fn is_read(what: &str) -> bool {
    ["get ", "list ", "watch "].iter().any(|verb| what.starts_with(verb))
}

impl Meter {
    /// Finds the servers' processes; has PostgreSQL count.
    pub async fn new(stack: &Stack, doveadm: &'static Proxy) -> Meter {
        let sql = Sql::connect(stack).await;
        sql.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").await;
        let servers = servers(stack);
        Meter { audit: stack.root.join("k8s/audit.log"), sql, doveadm, memcached: stack.port("MEMCACHED"), servers }
    }

    /// Now.
    pub async fn mark(&self, operator: &Operator) -> Mark {
        Mark {
            audit: fs::metadata(&self.audit).expect("an audit log: run it without KUBECONFIG").len(),
            statements: self.statements().await,
            doveadm: self.doveadm.calls().len(),
            memcached: self.memcached().await,
            cpu: self.cpu(operator),
            metrics: metrics(operator).await,
        }
    }

    /// What happened since.
    pub async fn since(&mut self, mark: &Mark, operator: &Operator) -> Used {
        let cpu = self.cpu(operator).into_iter().map(|(name, now)| {
            // The operator may be another process by now.
            let before = mark.cpu.get(&name).copied().unwrap_or_default();
            (name, if now < before { now } else { now - before })
        });
        let now = metrics(operator).await;
        Used {
            kubernetes: self.audited(mark.audit),
            statements: (self.statements().await - mark.statements) as f64,
            doveadm: (self.doveadm.calls().len() - mark.doveadm) as f64,
            memcached: self.memcached().await - mark.memcached,
            cpu: cpu.collect(),
            metrics: now
                .into_iter()
                .map(|(l, n)| (l.clone(), n - mark.metrics.get(&l).copied().unwrap_or_default()))
                .collect(),
        }
    }

    async fn statements(&self) -> i64 {
        let sql = "SELECT COALESCE(sum(s.calls), 0)::bigint FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = 'mailtenant'";
        self.sql.one(sql).await.parse().expect("a number")
    }

    async fn memcached(&self) -> f64 {
        let mut stream =
            tokio::net::TcpStream::connect(("127.0.0.1", self.memcached)).await.expect("memcached answers");
        stream.write_all(b"stats\r\n").await.expect("memcached takes commands");
        let mut lines = BufReader::new(&mut stream).lines();
        let mut sum = 0.0;
        while let Some(line) = lines.next_line().await.expect("memcached answers") {
            if line == "END" {
                break;
            }
            let value = line.strip_prefix("STAT delete_misses ").or_else(|| line.strip_prefix("STAT delete_hits "));
            sum += value.and_then(|v| v.parse::<f64>().ok()).unwrap_or_default();
        }
        sum
    }

    /// The operator's requests since a place in the audit log.
    fn audited(&self, since: u64) -> BTreeMap<String, f64> {
        let mut file = fs::File::open(&self.audit).expect("an audit log");
        file.seek(SeekFrom::Start(since)).expect("the audit log only grows");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("the audit log is text");
        let mut out = BTreeMap::new();
        for line in text.lines().filter(|l| l.contains(OPERATOR)) {
            let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            let object = &entry["objectRef"];
            if object["resource"] == "leases" || entry["user"]["username"] != OPERATOR {
                continue;
            }
            let sub = text(&object["subresource"]);
            let slash = if sub.is_empty() { "" } else { "/" };
            let what = format!("{} {}{slash}{sub}", text(&entry["verb"]), text(&object["resource"]));
            *out.entry(what).or_default() += 1.0;
        }
        out
    }

    fn cpu(&self, operator: &Operator) -> BTreeMap<String, f64> {
        let all = processes();
        let own = [("operator".to_owned(), operator.pid())];
        self.servers.iter().chain(&own).map(|(name, pid)| (name.clone(), used(&all, *pid))).collect()
    }
}

/// Name and process id of every server that is measured, and of this program.
fn servers(stack: &Stack) -> Vec<(String, u32)> {
    let mut servers = vec![];
    for line in fs::read_to_string(stack.root.join("k8s/pids")).unwrap_or_default().lines() {
        if let Some((pid, name)) = line.split_once(' ') {
            servers.push((name.to_owned(), pid.parse().expect("a pid")));
        }
    }
    for (name, file) in [("postgres", "gw/pg/postmaster.pid"), ("dovecot", "gw/run/dovecot/master.pid")] {
        let text = fs::read_to_string(stack.root.join(file)).unwrap_or_default();
        if let Some(pid) = text.lines().next().and_then(|l| l.trim().parse().ok()) {
            servers.push((name.into(), pid));
        }
    }
    servers.push(("bench".into(), std::process::id()));
    servers
}

/// Processor seconds that each server and this program has used: unlike time, not the machine's other work's doing.
pub fn processor_of_each(stack: &Stack) -> Vec<(String, f64)> {
    let all = processes();
    servers(stack).iter().map(|(name, pid)| (name.clone(), used(&all, *pid))).collect()
}

/// One process.
struct Process {
    parent: u32,
    /// Processor seconds of itself.
    own: f64,
    /// Those of its children that have ended.
    ended: f64,
}

/// Every process.
fn processes() -> BTreeMap<u32, Process> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in brackets may hold anything.
        let Some((_, rest)) = text.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
        // utime, stime, cutime, cstime in ticks of 10 ms: fields 14 to 17 of proc_pid_stat(5).
        let (own, ended) = ((number(11) + number(12)) / 100.0, (number(13) + number(14)) / 100.0);
        all.insert(pid, Process { parent: number(1) as u32, own, ended });
    }
    all
}

/// Processor seconds of a server with its children. Those of this program are the operator, which is counted apart.
fn used(all: &BTreeMap<u32, Process>, root: u32) -> f64 {
    if root == std::process::id() { all.get(&root).map_or(0.0, |p| p.own) } else { tree(all, root) }
}

fn tree(all: &BTreeMap<u32, Process>, root: u32) -> f64 {
    let own = all.get(&root).map_or(0.0, |p| p.own + p.ended);
    own + all.iter().filter(|(_, p)| p.parent == root).map(|(pid, _)| tree(all, *pid)).sum::<f64>()
}

/// All samples of the operator's metrics.
async fn metrics(operator: &Operator) -> BTreeMap<String, f64> {
    let (_, text) = operator.page("/metrics").await.unwrap_or_default();
    let samples = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.rsplit_once(' '));
    samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// When the operator has nothing to do any more.
pub struct Quiet;

impl Quiet {
    /// Waits until no pass has ended for `still`, and gives the moment of the last one.
    pub async fn wait(operator: &Operator, still: Duration, limit: Duration) -> Instant {
        let end = Instant::now() + limit;
        let (mut passes, mut last) = (-1.0, Instant::now());
        loop {
            let now: f64 = metrics(operator)
                .await
                .iter()
                .filter(|(l, _)| l.starts_with("mailtenant_reconcile_total"))
                .map(|(_, n)| n)
                .sum();
            if now != passes {
                (passes, last) = (now, Instant::now());
            } else if last.elapsed() >= still {
                return last;
            }
            assert!(Instant::now() < end, "not quiet after {limit:?}: {now} passes\n{}", operator.tail(20));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
