//! Watches a whole cluster from its first moment to the last: every version of every object, every Event, and every
//! secret that was ever in a Secret. What tests ask of the whole run is answered from here.

use super::kubectl::{KINDS, Kubectl};
use super::stack::Stack;
use base64::Engine;
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What was seen so far.
pub struct Recorder {
    /// Every object and Event, one JSON a line, as it was seen; Secrets are not among them.
    pub file: PathBuf,
    secrets: Arc<Mutex<BTreeSet<String>>>,
}

impl Recorder {
    /// Starts watching; the CRDs must be there.
    pub fn start(stack: &'static Stack) -> Recorder {
        let file = stack.root.join("log/objects.jsonl");
        let out = Arc::new(Mutex::new(std::fs::File::create(&file).expect("the stack's folder can be written")));
        let secrets = Arc::new(Mutex::new(BTreeSet::new()));
        let found = secrets.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let k = Kubectl::admin(stack, "default").await;
                let watches = KINDS.iter().chain(["Secret", "Event"].iter()).map(|kind| {
                    let (api, out, found) = (k.everywhere(kind), out.clone(), found.clone());
                    async move {
                        let mut stream =
                            watcher(api, watcher::Config::default()).default_backoff().touched_objects().boxed();
                        while let Some(seen) = stream.next().await {
                            let Ok(object) = seen else { continue };
                            let object = serde_json::to_value(object).unwrap_or_default();
                            if *kind == "Secret" {
                                found.lock().expect("no poison").extend(secret_values(&object));
                            } else {
                                let mut out = out.lock().expect("no poison");
                                let _ = writeln!(out, "{object}");
                            }
                        }
                    }
                });
                futures::future::join_all(watches).await;
            });
        });
        Recorder { file, secrets }
    }

    /// A secret that tests used and that never was in a Secret.
    pub fn note(&self, secret: &str) {
        self.secrets.lock().expect("no poison").insert(secret.to_string());
    }

    /// All secrets so far.
    pub fn secrets(&self) -> BTreeSet<String> {
        self.secrets.lock().expect("no poison").clone()
    }
}

/// Values of a Secret that are secret: access data such as host names are not.
fn secret_values(secret: &Value) -> Vec<String> {
    let open = |key: &str| {
        ["username", "ca.crt"].contains(&key)
            || ["-host", "-port", "-security", "-url"].iter().any(|end| key.ends_with(end))
    };
    let decode = |v: &Value| base64::engine::general_purpose::STANDARD.decode(v.as_str()?).ok();
    let data = secret["data"].as_object().cloned().unwrap_or_default();
    data.iter().filter(|(k, _)| !open(k)).filter_map(|(_, v)| String::from_utf8(decode(v)?).ok()).collect()
}
