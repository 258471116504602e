//! What mail servers said about recipients, kept from pass to pass.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer of a mail server about a recipient counts.
const COUNTS: Duration = Duration::from_secs(600);
/// Longest pause between two answers of a server that is still being asked.
const PAUSE: Duration = Duration::from_secs(60);

/// What mail servers said, by the uid of a MailDomain: `host:port` and an address that it takes mail for. Kept from pass
/// to pass, so that a domain with thousands of addresses gets through, and a server that thinks about each.
#[derive(Default)]
pub struct Answers(Mutex<BTreeMap<String, BTreeMap<(String, String), Instant>>>);

impl Answers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<(String, String), Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Addresses that `server` was not found to take mail for in the last minutes. While answers keep coming none is
    /// forgotten: a slow server with many addresses would never be through.
    pub fn missing(&self, uid: &str, server: &str, addresses: &[String]) -> Vec<String> {
        let mut all = self.all();
        let known = all.entry(uid.to_owned()).or_default();
        if known.values().all(|at| at.elapsed() > PAUSE) {
            known.retain(|_, at| at.elapsed() < COUNTS);
        }
        addresses.iter().filter(|a| !known.contains_key(&(server.to_owned(), (*a).clone()))).cloned().collect()
    }

    /// Keeps that `server` takes mail for addresses.
    pub fn note(&self, uid: &str, server: &str, addresses: impl Iterator<Item = String>) {
        let now = Instant::now();
        self.all().entry(uid.to_owned()).or_default().extend(addresses.map(|a| ((server.to_owned(), a), now)));
    }

    /// The domain is live or gone.
    pub fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }
}
