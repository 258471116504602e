//! A receiver of mail that is not ours: rspamd, which judges SPF, DKIM and DMARC of what comes from a tenant's domain.

use super::stack::Stack;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Where the platform's mail servers send from, by the SPF record of the receiver's resolver.
pub const SENT_FROM: &str = "192.0.2.10";

/// A running one. It ends with this process.
pub struct Receiver {
    port: u16,
}

/// What it says of one message.
#[derive(Debug)]
pub struct Said {
    /// What becomes of it: `no action`, `add header`, `reject`, ...
    pub action: String,
    /// Names of what was found, with what is said about each.
    pub symbols: BTreeMap<String, Vec<String>>,
}

impl Receiver {
    /// Starts one that knows the records of a zone.
    pub fn start(stack: &'static Stack, zone: &str) -> Receiver {
        let root = stack.root.join(format!("receiver-{zone}"));
        let (dns, port) = (stack.free_port(), stack.free_port());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/stack/receiver/up.sh");
        let mut up = Command::new(script);
        up.arg(&root).args([dns.to_string(), port.to_string()]).args([zone, stack.get("PDNS_DNS")]);
        let out = up.env("OWNER_PID", std::process::id().to_string()).output().expect("up.sh can be started");
        assert!(out.status.success(), "the receiver did not start: {}", String::from_utf8_lossy(&out.stderr));
        Receiver { port }
    }

    /// Judges a message that comes from an address of the Internet.
    pub async fn judge(&self, from_ip: &str, sender: &str, message: &str) -> Said {
        let request = reqwest::Client::new().post(format!("http://127.0.0.1:{}/checkv2", self.port));
        let request = request.header("IP", from_ip).header("From", sender).header("Helo", "mx1.mail.example.net");
        let request = request.header("Rcpt", "someone@elsewhere.example").body(message.to_owned());
        let answer = request.send().await.expect("rspamd answers");
        let said: Value = serde_json::from_str(&answer.text().await.expect("a text")).expect("JSON");
        let options = |symbol: &Value| {
            let all = symbol["options"].as_array().cloned().unwrap_or_default();
            all.iter().filter_map(|o| o.as_str().map(String::from)).collect()
        };
        let symbols = said["symbols"].as_object().cloned().unwrap_or_default();
        Said {
            action: said["action"].as_str().unwrap_or_default().to_owned(),
            symbols: symbols.iter().map(|(name, symbol)| (name.clone(), options(symbol))).collect(),
        }
    }
}
