//! The table: what was measured, and beside it what is aimed at.

use super::floor::Floor;
use super::harness::operator::Operator;
use super::measure::Used;
use std::time::Duration;

/// Rows, as they come.
pub struct Table {
    n: usize,
    domains: usize,
    /// Said before each row: what it is about, if not about the mailboxes.
    about: String,
    rows: Vec<[String; 3]>,
}

fn seconds(d: Duration) -> String {
    format!("{:.1} s", d.as_secs_f64())
}

fn millis(d: Duration) -> String {
    format!("{:.0} ms", d.as_secs_f64() * 1000.0)
}

/// The middle one.
fn median(all: &[Duration]) -> Duration {
    let mut all = all.to_vec();
    all.sort();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(0.001)
}

impl Table {
    /// For so many mailboxes in so many domains.
    pub fn new(n: usize, domains: usize) -> Table {
        Table { n, domains, about: String::new(), rows: vec![] }
    }

    fn row(&mut self, what: &str, value: String, aim: &str) {
        let what = format!("{}{what}", self.about);
        eprintln!("bench:   {what}: {value}");
        self.rows.push([what, value, aim.into()]);
    }

    fn each(&self, total: f64) -> f64 {
        total / self.n as f64
    }

    /// Time until all were ready, against the floor.
    pub fn set_ready(&mut self, took: Duration, floor: &[Floor; 2]) {
        self.row("floor: finalizer and status of each", seconds(floor[0].took), "");
        self.row("floor: finalizer, Secret and status of each", seconds(floor[1].took), "");
        let ms = |(name, used): &(String, f64)| format!("{name} {:.2}", used * 1000.0 / self.n as f64);
        let each = floor[1].each.iter().map(ms).collect::<Vec<_>>().join(", ");
        self.row("  its processor ms per mailbox, with the Secret", each, "");
        self.row("all Ready", seconds(took), "");
        self.row("  against the floor before", format!("{:.2}", ratio(took, floor[0].took)), "");
        self.row("  against the floor before, with the Secret", format!("{:.2}", ratio(took, floor[1].took)), "");
    }

    /// New mailboxes of a neighbour.
    pub fn neighbour(&mut self, took: &[Duration], edits: usize) {
        let worst = took.iter().max().copied().unwrap_or_default();
        let text = format!("{}; {} (beside {edits} edits)", millis(median(took)), millis(worst));
        self.row("a neighbour's new mailbox beside 100 edits a second: median, worst of 8", text, "3 s");
    }

    /// Requests to doveadm of a new mailbox.
    pub fn doveadm(&mut self, each: f64) {
        self.row("doveadm requests per new mailbox (of 50)", format!("{each:.2}"), "");
    }

    /// What creation took and used.
    pub fn creation(&mut self, quiet: Duration, floor: &[Floor; 2], used: &Used, edits: usize) {
        let n = self.n as f64;
        self.row("quiet after creation", seconds(quiet), "");
        self.row("  against the floor with the Secret", format!("{:.2}", ratio(quiet, floor[1].took)), "");
        // The edits made meanwhile are not creation.
        self.row(
            "API writes per mailbox",
            format!("{:.2}", self.each(used.writes() - edits as f64)),
            "<= 3, 2 with the policy",
        );
        self.row("API reads per mailbox", format!("{:.3}", self.each(used.reads())), "0");
        self.row("  which", used.kinds(n), "");
        self.row("SQL statements per mailbox", format!("{:.1}", self.each(used.statements)), "");
        self.row("memcached keys deleted per mailbox", format!("{:.2}", self.each(used.memcached)), "");
        let passes = |kind: &str| used.metric(&format!("mailtenant_reconcile_total{{kind=\"{kind}\""));
        self.row("passes per mailbox", format!("{:.2}", self.each(passes("Mailbox"))), "");
        self.row(
            "passes of the instance, of a domain",
            format!("{:.0}, {:.1}", passes("MailInstance"), passes("MailDomain") / self.domains as f64),
            "",
        );
        self.cpu("processor ms per mailbox", used);
        let all: f64 = used.cpu.values().sum();
        let against = format!("{:.2}, {:.2}", all / floor[0].processor.max(0.01), all / floor[1].processor.max(0.01));
        self.row("  all of it against the floor, with the Secret", against, "");
        self.where_time_goes(used);
    }

    fn cpu(&mut self, what: &str, used: &Used) {
        let mut all: Vec<_> = used.cpu.iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(a.1));
        let text: Vec<_> = all.iter().map(|(name, s)| format!("{name} {:.2}", self.each(**s * 1000.0))).collect();
        self.row(what, text.join(", "), "");
    }

    /// Mean times as the operator itself counted them.
    fn where_time_goes(&mut self, used: &Used) {
        let mean = |name: &str, label: &str| {
            let sum = used.metric(&format!("{name}_sum{label}"));
            let count = used.metric(&format!("{name}_count{label}"));
            (count > 0.0).then(|| sum / count * 1000.0)
        };
        let mut text = vec![];
        if let Some(ms) = mean("mailtenant_reconcile_duration_seconds", "{kind=\"Mailbox\"") {
            text.push(format!("pass of a Mailbox {ms:.1}"));
        }
        for verb in ["patch", "create"] {
            if let Some(ms) = mean("mailtenant_kubernetes_request_duration_seconds", &format!("{{verb=\"{verb}\"")) {
                text.push(format!("{verb} at the apiserver {ms:.1}"));
            }
        }
        for operation in ["ensure_mailbox", "disable_mailbox", "purge_mailbox", "drop_mailbox"] {
            let label = format!("{{backend=\"berlin\",operation=\"{operation}\"");
            if let Some(ms) = mean("mailtenant_backend_request_duration_seconds", &label) {
                text.push(format!("{operation} {ms:.1}"));
            }
        }
        self.row("  mean ms, many at a time", text.join(", "), "");
    }

    /// One edit under load and at rest.
    pub fn edits(&mut self, busy: &[Duration], calm: &[Duration]) {
        let (b, c) = (median(busy), median(calm));
        let worst = busy.iter().max().copied().unwrap_or_default();
        self.row("an edit at rest, until its status (median)", millis(c), "");
        self.row(
            "an edit while all are being created (median, worst)",
            format!("{}, {} ({} edits)", millis(b), millis(worst), busy.len()),
            "",
        );
        self.row("  against rest", format!("{:.1}", ratio(b, c)), "");
    }

    /// At rest.
    pub fn idle(&mut self, long: Duration, used: &Used) {
        let d = self.domains as f64;
        self.row(&format!("idle for {} s: API writes", long.as_secs()), format!("{:.0}", used.writes()), "0");
        self.row("idle: API reads", format!("{:.0} {}", used.reads(), used.kinds(1.0)), "");
        let looks = long.as_secs_f64() / 30.0;
        self.row(
            "idle: backend requests per domain and look (every 30 s)",
            format!("{:.1}", used.backend() / d / looks),
            "",
        );
        self.row(
            "idle: processor seconds per minute",
            format!("{:.2}", used.cpu.get("operator").unwrap_or(&0.0) / long.as_secs_f64() * 60.0),
            "",
        );
    }

    /// A restart with everything in place.
    pub fn restart(&mut self, listed: Duration, quiet: Duration, used: &Used, domains: usize) {
        self.row("restart: ready", seconds(listed), "");
        self.row("restart: quiet", seconds(quiet), "< 10 s");
        self.row("restart: API writes", format!("{:.0}", used.writes()), "0");
        self.row("restart: API requests", used.kinds(1.0), "");
        self.row("restart: backend requests per domain", format!("{:.1}", used.backend() / domains as f64), "");
        self.row("restart: processor seconds", format!("{:.2}", used.cpu.get("operator").unwrap_or(&0.0)), "");
    }

    /// Something that all mailboxes depend on was changed.
    pub fn fan_out(&mut self, what: &str, quiet: Duration, used: &Used, writes: &str) {
        self.row(&format!("{what}: quiet"), seconds(quiet), "");
        self.row(&format!("{what}: passes"), used.passes(), "");
        self.row(&format!("{what}: API writes; reads"), format!("{:.0}; {:.0}", used.writes(), used.reads()), writes);
        self.row(
            &format!("{what}: SQL statements, doveadm requests, memcached keys"),
            format!("{:.0}, {:.0}, {:.0}", used.statements, used.doveadm, used.memcached),
            "",
        );
    }

    /// The first edit that is made with a new password.
    pub fn edit_after_rotation(&mut self, took: Duration) {
        self.row("an edit after that, until its status", millis(took), "");
    }

    /// Many small tenants; from here on rows are about them.
    pub fn namespaces(&mut self, count: usize, ready: &[(&'static str, Duration)], quiet: Duration, used: &Used) {
        self.about = format!("{count} namespaces: ");
        let n = count as f64;
        let each: Vec<_> = ready.iter().map(|(kind, took)| format!("{kind} {}", seconds(*took))).collect();
        self.row("all Ready", each.join(", "), "");
        self.row("quiet after creation", seconds(quiet), "");
        self.row("API writes; reads of each", format!("{:.2}; {:.2}", used.writes() / n, used.reads() / n), "");
        self.row("  which", used.kinds(n), "");
        self.row("passes", used.passes(), "");
        self.row(
            "SQL statements, memcached keys, requests to PowerDNS of each",
            format!(
                "{:.1}, {:.1}, {:.1}",
                used.statements / n,
                used.memcached / n,
                used.metric("mailtenant_backend_requests_total{backend=\"many") / n
            ),
            "",
        );
        let mut cpu: Vec<_> = used.cpu.iter().collect();
        cpu.sort_by(|a, b| b.1.total_cmp(a.1));
        let cpu: Vec<_> = cpu.iter().map(|(name, s)| format!("{name} {:.0}", **s * 1000.0 / n)).collect();
        self.row("processor ms of each", cpu.join(", "), "");
    }

    /// Deletion of the whole namespace.
    pub fn deletion(&mut self, empty: Duration, gone: Duration, used: &Used) {
        self.row(
            "namespace deleted: all objects gone, namespace gone",
            format!("{}, {}", seconds(empty), seconds(gone)),
            "",
        );
        self.row("deletion: API writes per mailbox", format!("{:.2}", self.each(used.writes())), "");
        self.row("deletion: which", used.kinds(self.n as f64), "");
        self.row(
            "deletion: SQL statements, doveadm requests per mailbox",
            format!("{:.1}, {:.1}", self.each(used.statements), self.each(used.doveadm)),
            "",
        );
        self.row(
            "deletion: passes per mailbox",
            format!("{:.2}", self.each(used.metric("mailtenant_reconcile_total{kind=\"Mailbox\""))),
            "",
        );
        self.cpu("deletion: processor ms per mailbox", used);
        self.where_time_goes(used);
    }

    /// Resident memory now, and at its highest.
    pub fn memory(&mut self, what: &str, operator: &Operator) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", operator.pid())).unwrap_or_default();
        let peak = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0 kB");
        let peak: f64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap_or_default();
        let now = operator.resident() as f64 / 1024.0 / 1024.0;
        self.row(
            what,
            format!("{now:.0} MiB ({:.0} MiB)", peak / 1024.0),
            if self.n >= 10_000 { "< 100 MiB" } else { "" },
        );
    }

    /// The floor at the end of the run. A control plane gets slower as a run goes on (more in its memory, more in etcd), and
    /// ours is in the middle of it: the mean of the floors before and after is what it is compared with.
    pub fn floor_again(&mut self, ready: Duration, before: &[Floor; 2], after: &[Floor; 2]) {
        self.row(
            "floor once more at the end: without, with the Secret",
            format!("{}, {}", seconds(after[0].took), seconds(after[1].took)),
            "",
        );
        let mean = |i: usize| (before[i].took + after[i].took) / 2;
        self.row("all Ready, against the mean of both floors", format!("{:.2}", ratio(ready, mean(0))), "<= 1.5");
        self.row("  against the mean of both floors with the Secret", format!("{:.2}", ratio(ready, mean(1))), "");
    }

    /// Prints it.
    pub fn print(&self) {
        println!("\n| {} mailboxes in {} domains | measured | aim |\n|---|---|---|", self.n, self.domains);
        for [what, value, aim] in &self.rows {
            println!("| {what} | {value} | {aim} |");
        }
    }
}
