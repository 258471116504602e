//! The dashboard's queries at a real Prometheus that scrapes the operator: each gives data. What is only there while
//! something is wrong, something is made wrong for.

use crate::harness::world::{World, groupware_backend};
use crate::harness::{eventually, secs};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Prometheus, out of Debian's package, which scrapes one operator every second.
struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    fn start(w: &World) -> Prometheus {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let promtool = Command::new(top.join("e2e/stack/promtool.sh")).output().expect("promtool.sh can be started");
        assert!(promtool.status.success(), "{}", String::from_utf8_lossy(&promtool.stderr));
        let promtool = String::from_utf8(promtool.stdout).expect("a path");
        let folder = w.stack.root.join("prometheus");
        std::fs::create_dir_all(&folder).expect("the stack's folder can be written");
        // The label that the ServiceMonitor gives.
        let config = json!({"global": {"scrape_interval": "1s"}, "scrape_configs": [{"job_name": "mailtenant",
            "static_configs": [{"targets": [format!("127.0.0.1:{}", w.platform.operator.http)]}]}]});
        std::fs::write(folder.join("prometheus.yml"), config.to_string()).expect("the configuration is written");
        let address = format!("127.0.0.1:{}", w.stack.free_port());
        let log = std::fs::File::create(w.stack.root.join("log/prometheus.log")).expect("a log file");
        let child = Command::new(Path::new(promtool.trim()).with_file_name("prometheus"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address", &address])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus can be started");
        w.stack.end_with_stack(child.id(), "prometheus");
        Prometheus { child, url: format!("http://{address}/api/v1/query") }
    }

    /// How many series a query gives. Refused: its words.
    async fn series(&self, query: &str) -> Result<usize, String> {
        let form = reqwest::Url::parse_with_params(&self.url, [("query", query)]).map_err(|e| e.to_string())?;
        let answer = reqwest::get(form).await.map_err(|e| e.to_string())?;
        let answer: Value = answer.json().await.map_err(|e| e.to_string())?;
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.len()),
            None => Err(answer.to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Title of the panel and query, as Grafana asks it. `or vector(0)`, which draws a zero where there is nothing, is left out:
/// with it every query gives data.
fn queries() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/grafana/mailtenant.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("a file")).expect("JSON");
    let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
    let mut all = vec![];
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query").replace("$__rate_interval", "1m");
            let query = query.trim_end_matches(" or vector(0)").to_owned();
            assert!(!query.contains('$'), "{query}: Prometheus knows no variables of Grafana");
            all.push((panel["title"].as_str().unwrap_or_default().to_owned(), query));
        }
    }
    all
}

/// Only there after a fault that other tests would suffer from: the watch of a kind broke off, a CRD of another release.
/// Their metrics are seen in src/runtime/metrics.rs, and in tests/apiserver/releases.rs.
const NOT_MADE: [&str; 2] = ["mailtenant_watch_restarts_total", "mailtenant_crd_mismatch"];

#[tokio::test]
async fn each_query_of_the_dashboard_gives_data() {
    let w = World::new("dashboard").await;
    w.tenant(&["alice"]).await;
    let prometheus = Prometheus::start(&w);

    // Not ready, a deletion that waits, and a server that does not answer.
    w.k.annotate("Mailbox", "alice", "mailtenant.dev/paused", "true").await;
    w.k.delete("MailDomain", "main").await;
    w.k.blocked("MailDomain", "main", "HasMailboxes", &["alice"], secs(60)).await;
    // Connections are taken and nothing is said: passes of this server last, so that the queue is not empty when it is counted.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut away = groupware_backend(w.stack, &w.ns, json!({"from": "All"}));
    away["spec"]["sogo"]["database"]["port"] = json!(silent.local_addr().expect("an address").port());
    w.k.apply(away).await;
    w.k.not_ready("GroupwareBackend", &w.ns, "BackendUnreachable", secs(60)).await;

    let all = queries();
    assert!(all.len() > 20, "{all:?}");
    let open = all.into_iter().filter(|(_, query)| !NOT_MADE.iter().any(|name| query.contains(name)));
    // Each must have given data once: the queue is not full all the time.
    let open = std::cell::RefCell::new(open.collect::<Vec<_>>());
    eventually("each query gives data", secs(180), || async {
        let mut still = vec![];
        let queries = open.borrow().clone();
        for (title, query) in queries {
            match prometheus.series(&query).await {
                Ok(0) => still.push((title, query)),
                Ok(_) => {}
                // It is only starting.
                Err(words) if words.contains("error sending request") => still.push((title, query)),
                Err(words) => panic!("{title}: {query}: {words}"),
            }
        }
        open.replace(still.clone());
        if still.is_empty() { Ok(()) } else { Err(still) }
    })
    .await;
    drop(silent);

    w.k.delete("GroupwareBackend", &w.ns).await;
    w.k.annotate("Mailbox", "alice", "mailtenant.dev/paused", "false").await;
}
