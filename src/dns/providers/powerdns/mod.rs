//! PowerDNS Authoritative, 4.7 and later, by its HTTP API. Knows records, nothing of mail or Kubernetes.
//!
//! What decides the design (PowerDNS 4.7.3, seen on a running server):
//! - There is no compare-and-set. [`DnsServer::apply`] reads, compares and writes under one lock per server; all changes
//!   go in one PATCH, which the server carries out as one transaction or not at all. Another process can still write
//!   between our read and our write: the window is one request wide.
//! - A zone asked for with `rrset_name=` lacks disabled records, and has sets of other names that carry a comment,
//!   without records. A `REPLACE` made from that would delete disabled records, so writes start from the whole zone.
//! - `REPLACE` without `comments` keeps the comments. It gives the whole set one time to live, disabled records too.
//! - Whether a name is a zone is one request, and so is all that stands at a name. A name may have 120 labels, each of
//!   which may begin a zone: more than [`SINGLY`] are looked for in one read of all.
//! - A zone that is a copy (kind `Slave`, `Secondary` or `Consumer`) takes changes with 204. They are gone with the next transfer,
//!   and its serial runs ahead of the primary's, so that there may be none: such a zone is never written to.
//! - An unknown zone is a 404 in plain text, which any proxy can send too: a zone counts as absent only if the list of
//!   zones, as JSON, does not have it (I2).

use crate::wildcard::{self, Wildcard};
use crate::{BackendError, Change, DnsCapabilities, DnsServer, RecordType, Result, RrSet};
use async_trait::async_trait;
use mailtenant_backend::secret::SecretText;
use mailtenant_mail::name;
use mailtenant_mail::value::{from_presentation, to_presentation};
use reqwest::header::{HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// So many names are asked for one by one. The list of all zones, and a whole zone, may be large.
const SINGLY: usize = 12;
/// Longest text of a refusal that is reported.
const MAX_ERROR: usize = 400;
/// Longest time to wait that a Retry-After of the server may set.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How to connect to a server.
pub struct Settings {
    /// URL of the web server, without the path of the API.
    pub url: String,
    /// Id of the server in the API, usually `localhost`.
    pub server_id: String,
    /// Key for the header `X-API-Key`.
    pub api_key: SecretText,
}

/// The locks of all servers that this process writes to, by URL and server id: providers of one server share its lock.
#[derive(Default)]
pub struct Servers(Mutex<BTreeMap<(String, String), Arc<tokio::sync::Mutex<()>>>>);

impl Servers {
    /// A provider for one server. Sends nothing yet. An error: the settings cannot be used.
    pub fn connect(&self, settings: Settings) -> Result<Arc<dyn DnsServer>> {
        let server = (settings.url.trim_end_matches('/').to_owned(), settings.server_id);
        let lock = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(server.clone()).or_default().clone();
        Ok(Arc::new(PowerDns::new(&server.0, &server.1, &settings.api_key, lock)?))
    }
}

/// One PowerDNS server, its API key and its lock.
struct PowerDns {
    http: Client,
    /// URL of the server in the API: `…/api/v1/servers/<id>`.
    base: String,
    key: HeaderValue,
    /// The API key, to be found in texts that the server sends.
    secret: SecretText,
    lock: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Deserialize)]
struct ServerAnswer {
    #[serde(rename = "type")]
    kind: String,
    version: String,
}

#[derive(Deserialize)]
struct ZoneEntry {
    name: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct ZoneAnswer {
    name: String,
    #[serde(default)]
    kind: String,
    rrsets: Vec<SetAnswer>,
}

#[derive(Deserialize)]
struct SetAnswer {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    ttl: u32,
    records: Vec<RawRecord>,
}

/// A record as the server holds it.
#[derive(Clone, Serialize, Deserialize)]
struct RawRecord {
    content: String,
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
}

#[derive(Serialize)]
struct Patch {
    rrsets: Vec<SetPatch>,
}

#[derive(Serialize)]
struct SetPatch {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    changetype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    records: Vec<RawRecord>,
}

impl PowerDns {
    fn new(url: &str, server_id: &str, key: &SecretText, lock: Arc<tokio::sync::Mutex<()>>) -> Result<Self> {
        let refused = |what: &str| BackendError::Rejected(what.to_string());
        let id_ok = !server_id.is_empty()
            && server_id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !id_ok {
            return Err(refused("powerdns.serverId has characters that no server id has"));
        }
        // A Secret made from a file often ends with a line break.
        let secret = SecretText::new(key.expose().trim_end_matches(['\r', '\n']));
        let mut header = HeaderValue::from_str(secret.expose())
            .map_err(|_| refused("the API key has characters that no HTTP header can carry"))?;
        header.set_sensitive(true);
        let base = format!("{}/api/v1/servers/{server_id}", url.trim_end_matches('/'));
        if reqwest::Url::parse(&base).is_err() {
            return Err(refused("powerdns.url is not a URL"));
        }
        // The key is sent to the URL of the spec and nowhere else: no redirects, no proxy of the environment.
        let http = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|_| BackendError::unavailable("no HTTP client could be made"))?;
        Ok(PowerDns { http, base, key: header, secret, lock })
    }

    /// Sends a request; returns the status and the whole body. Status codes but 2xx and 404 are errors.
    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Patch>,
    ) -> Result<(StatusCode, Vec<u8>)> {
        let broken = |e: reqwest::Error| {
            BackendError::unavailable(if e.is_timeout() {
                "no answer within 10 s"
            } else if e.is_connect() {
                "no connection"
            } else {
                "the answer broke off"
            })
        };
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.base))
            .map_err(|_| BackendError::Rejected("powerdns.url is not a URL".into()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url).header("X-API-Key", self.key.clone());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(broken)?;
        let status = answer.status();
        let retry_after =
            answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse().ok());
        let bytes = answer.bytes().await.map_err(broken)?.to_vec();
        match status.as_u16() {
            200..=299 | 404 => Ok((status, bytes)),
            401 | 403 => Err(BackendError::Unauthorized(format!("HTTP {}", status.as_u16()))),
            409 => Err(BackendError::Conflict("the server says that somebody else changed it".into())),
            400 => Err(BackendError::Rejected("HTTP 400".into())),
            422 => match serde_json::from_slice::<ErrorAnswer>(&bytes) {
                Ok(answer) => Err(BackendError::Rejected(self.safe_text(&answer.error))),
                Err(_) => Err(BackendError::unavailable("HTTP 422 without a reason")),
            },
            code => Err(BackendError::Unavailable {
                message: format!("HTTP {code}"),
                retry_after: retry_after.map(|s: u64| Duration::from_secs(s).min(LONGEST_WAIT)),
            }),
        }
    }

    /// A text of the server that may be reported: about records, which are public, and never with the API key in it.
    fn safe_text(&self, text: &str) -> String {
        if !self.secret.expose().is_empty() && text.contains(self.secret.expose()) {
            return "the server gave a reason that cannot be shown".into();
        }
        text.chars().filter(|c| !c.is_control()).take(MAX_ERROR).collect()
    }

    /// A GET with an answer in JSON; none: 404, from the server or from a proxy.
    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<T>> {
        let (status, body) = self.send(Method::GET, path, query, None).await?;
        match status.as_u16() {
            404 => Ok(None),
            200 => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|_| BackendError::unavailable("the answer is not what the PowerDNS API says")),
            code => Err(BackendError::unavailable(format!("HTTP {code} where 200 was due"))),
        }
    }

    async fn zones(&self, query: &[(&str, &str)]) -> Result<Vec<ZoneEntry>> {
        let list: Option<Vec<ZoneEntry>> = self.get("/zones", query).await?;
        list.ok_or_else(|| BackendError::unavailable("HTTP 404 for the list of zones: is powerdns.serverId right?"))
    }

    /// The first of the names that is a zone of its own at this server, and of which kind.
    async fn first_zone<'a>(&self, names: &[&'a str]) -> Result<Option<(&'a str, String)>> {
        if names.len() > SINGLY {
            // Without what the server would have to read from each zone.
            let all = self.zones(&[("dnssec", "false")]).await?;
            let all: BTreeMap<String, String> = all.into_iter().map(|z| (name::from_server(&z.name), z.kind)).collect();
            return Ok(names.iter().find_map(|name| Some((*name, all.get(*name)?.clone()))));
        }
        for name in names {
            if let Some(kind) = self.kind_of(name).await? {
                return Ok(Some((*name, kind)));
            }
        }
        Ok(None)
    }

    /// Whether a wildcard stands right below one of the names.
    async fn any_wildcard(&self, zone: &str, above: &[&str]) -> Result<bool> {
        for encloser in above {
            let wildcard = format!("*.{encloser}");
            if !texts_at(&wildcard, &self.zone(zone, Some(&wildcard)).await?.rrsets).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first of the names that the zone hands on to other servers: it is not in it, though the server would take the
    /// record.
    async fn first_cut<'a>(&self, zone: &str, names: &[&'a str]) -> Result<Option<&'a str>> {
        let delegated = |sets: &[SetAnswer], name: &str| !canonical_set(name, RecordType::NS, sets).values.is_empty();
        if names.len() > SINGLY {
            let all = self.zone(zone, None).await?;
            return Ok(names.iter().copied().find(|name| delegated(&all.rrsets, name)));
        }
        for name in names {
            if delegated(&self.zone(zone, Some(name)).await?.rrsets, name) {
                return Ok(Some(*name));
            }
        }
        Ok(None)
    }

    /// The kind of the zone of exactly this name; none: the server has none. Its list of zones is the only proof of
    /// absence. The server, or a proxy, may have ignored the filter.
    async fn kind_of(&self, zone: &str) -> Result<Option<String>> {
        let list = self.zones(&[("zone", &format!("{zone}."))]).await?;
        Ok(list.into_iter().find(|z| name::from_server(&z.name) == zone).map(|z| z.kind))
    }

    /// A zone: all its records, or those of one name.
    async fn zone(&self, zone: &str, at: Option<&str>) -> Result<ZoneAnswer> {
        check_name(zone)?;
        let at = at.map(|n| format!("{n}."));
        let query: Vec<(&str, &str)> = at.iter().map(|n| ("rrset_name", n.as_str())).collect();
        match self.get::<ZoneAnswer>(&format!("/zones/{zone}."), &query).await? {
            Some(answer) if name::from_server(&answer.name) == zone => Ok(answer),
            Some(_) => Err(BackendError::unavailable("the answer is about another zone")),
            None => Err(self.absent(zone).await),
        }
    }

    /// The error for a 404 of a zone: absent only if the list of zones confirms it.
    async fn absent(&self, zone: &str) -> BackendError {
        match self.kind_of(zone).await {
            Ok(None) => BackendError::NotFound(format!("the zone {zone}")),
            Ok(Some(_)) => BackendError::unavailable("HTTP 404 for a zone that the server lists"),
            Err(e) => e,
        }
    }
}

/// Names go into paths and records: refuses all characters that the names of mail records do not have.
fn check_name(text: &str) -> Result<()> {
    let ok = !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|l| !l.is_empty() && l.len() <= 63)
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.' | b'*'));
    if ok { Ok(()) } else { Err(BackendError::Rejected(format!("{text:?} is not a canonical name"))) }
}

/// A copy of a zone of another server is not written to.
fn writable(zone: &str, kind: &str) -> Result<()> {
    if !["Slave", "Secondary", "Consumer"].iter().any(|copy| kind.eq_ignore_ascii_case(copy)) {
        return Ok(());
    }
    Err(BackendError::ReadOnly(format!(
        "the zone {zone} is of kind {kind} there: a copy, whose changes are made at its primary server"
    )))
}

/// The names from `name` up to the zone, without the zone: at each of them another zone could begin.
fn between<'a>(name: &'a str, zone: &'a str) -> impl Iterator<Item = &'a str> {
    name::self_and_parents(name).take_while(move |n| *n != zone)
}

/// Whether anything of a set is answered.
fn is_served(set: &SetAnswer) -> bool {
    set.records.iter().any(|r| !r.disabled)
}

/// All that is answered at a name, as type and value.
fn texts_at(name: &str, sets: &[SetAnswer]) -> Vec<String> {
    let at = sets.iter().filter(|s| name::from_server(&s.name) == name);
    let mut out: Vec<String> = at
        .flat_map(|s| s.records.iter().filter(|r| !r.disabled).map(|r| format!("{} {}", s.kind, r.content)))
        .collect();
    out.sort();
    out
}

/// A set without its disabled records, in canonical form.
fn canonical_set(name: &str, rtype: RecordType, sets: &[SetAnswer]) -> RrSet {
    let mut out = RrSet { name: name.into(), rtype, ttl: 0, values: vec![] };
    for set in sets.iter().filter(|s| s.kind == rtype.as_str() && name::from_server(&s.name) == name) {
        for record in set.records.iter().filter(|r| !r.disabled) {
            out.ttl = set.ttl;
            out.values.push(from_presentation(rtype, &record.content));
        }
    }
    out.values.sort();
    out.values.dedup();
    out
}

#[async_trait]
impl DnsServer for PowerDns {
    fn provider(&self) -> &'static str {
        "powerdns"
    }

    fn capabilities(&self) -> DnsCapabilities {
        DnsCapabilities { atomic: true, compare_and_set: false }
    }

    async fn probe(&self) -> Result<String> {
        match self.get::<ServerAnswer>("", &[]).await? {
            Some(server) if server.kind == "Server" => Ok(server.version),
            Some(_) => Err(BackendError::unavailable("the answer is not that of a PowerDNS server")),
            None => Err(BackendError::unavailable("HTTP 404: are powerdns.url and powerdns.serverId right?")),
        }
    }

    async fn find_zone(&self, name: &str) -> Result<String> {
        check_name(name)?;
        let suffixes: Vec<&str> = name::self_and_parents(name).collect();
        let Some((zone, kind)) = self.first_zone(&suffixes).await? else {
            return Err(BackendError::NotFound(format!("a zone for {name}")));
        };
        writable(zone, &kind)?;
        let below: Vec<&str> = between(name, zone).collect();
        match self.first_cut(zone, &below).await? {
            None => Ok(zone.to_string()),
            Some(cut) => {
                Err(BackendError::NotFound(format!("a zone for {name} ({cut} is delegated to other servers)")))
            }
        }
    }

    async fn read(&self, zone: &str, which: &[(String, RecordType)]) -> Result<Vec<RrSet>> {
        let mut answers = BTreeMap::new();
        for (name, _) in which {
            check_name(name)?;
            if !answers.contains_key(name) {
                answers.insert(name.clone(), self.zone(zone, Some(name)).await?);
            }
        }
        let set = |(name, rtype): &(String, RecordType)| {
            canonical_set(name, *rtype, answers.get(name).map_or(&[][..], |a| &a.rrsets))
        };
        Ok(which.iter().map(set).collect())
    }

    async fn contents(&self, zone: &str, name: &str, rtype: RecordType) -> Result<Vec<String>> {
        check_name(name)?;
        let all = self.zone(zone, Some(name)).await?.rrsets;
        let same = all.iter().filter(|s| s.kind == rtype.as_str() && name::from_server(&s.name) == name);
        Ok(same.flat_map(|s| &s.records).filter(|r| !r.disabled).map(|r| r.content.clone()).collect())
    }

    async fn wildcard(&self, zone: &str, name: &str) -> Result<Option<Wildcard>> {
        check_name(name)?;
        let above = wildcard::above(name, zone);
        if above.is_empty() || (above.len() <= SINGLY && !self.any_wildcard(zone, &above).await?) {
            return Ok(None);
        }
        // Whether a name is there shows in the whole zone alone: one below it is enough.
        let all = self.zone(zone, None).await?.rrsets;
        let names: BTreeSet<String> = all.iter().filter(|s| is_served(s)).map(|s| name::from_server(&s.name)).collect();
        Ok(wildcard::answering(name, zone, &names).map(|name| Wildcard { records: texts_at(&name, &all), name }))
    }

    async fn apply(&self, zone: &str, changes: &[Change]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut names = BTreeSet::new();
        for change in changes {
            check_name(&change.before.name)?;
            names.insert(change.before.name.as_str());
        }
        let _one_writer = self.lock.lock().await;
        let there = self.zone(zone, None).await?;
        writable(zone, &there.kind)?;
        let cuts: BTreeSet<&str> = names.iter().flat_map(|n| between(n, zone)).collect();
        let cuts: Vec<&str> = cuts.into_iter().collect();
        let delegated = |cut: &&str| !canonical_set(cut, RecordType::NS, &there.rrsets).values.is_empty();
        let cut = match cuts.iter().copied().find(delegated) {
            Some(cut) => Some(cut),
            None => self.first_zone(&cuts).await?.map(|(cut, _)| cut),
        };
        // Records above a zone cut are never served (measured: the server accepts them with 204).
        if let Some(cut) = cut {
            return Err(BackendError::Rejected(format!(
                "{cut} is a zone of its own: its records cannot be written in {zone}"
            )));
        }
        let mut patch = Patch { rrsets: Vec::new() };
        for change in changes {
            let live = canonical_set(&change.before.name, change.before.rtype, &there.rrsets);
            let same_ttl = live.values.is_empty() || live.ttl == change.before.ttl;
            if live.values != change.before.values || !same_ttl {
                return Err(BackendError::Conflict(format!(
                    "{} {} changed since it was read",
                    live.name,
                    live.rtype.as_str()
                )));
            }
            patch.rrsets.push(set_patch(change, &there.rrsets));
        }
        // The server takes them one after the other: a CNAME only once what stood beside it is gone, and the reverse.
        patch.rrsets.sort_by_key(|set| set.changetype != "DELETE");
        let (status, _) = self.send(Method::PATCH, &format!("/zones/{zone}."), &[], Some(&patch)).await?;
        match status.as_u16() {
            204 => Ok(()),
            404 => Err(self.absent(zone).await),
            // It may have been done or not: the next read shows it.
            code => Err(BackendError::unavailable(format!("HTTP {code} where 204 was due"))),
        }
    }
}

/// A change as the API wants it. Values that stay keep the content that the server has, byte for byte; disabled records
/// stay, unless one is just the value that is wanted.
fn set_patch(change: &Change, there: &[SetAnswer]) -> SetPatch {
    let (name, rtype) = (&change.after.name, change.after.rtype);
    let mut records: Vec<RawRecord> = Vec::new();
    let mut seen = BTreeSet::new();
    for set in there.iter().filter(|s| s.kind == rtype.as_str() && &name::from_server(&s.name) == name) {
        for record in &set.records {
            let value = from_presentation(rtype, &record.content);
            let wanted = change.after.values.contains(&value);
            if wanted || record.disabled {
                seen.extend(wanted.then_some(value));
                records.push(RawRecord { content: record.content.clone(), disabled: !wanted });
            }
        }
    }
    for value in change.after.values.iter().filter(|v| !seen.contains(*v)) {
        records.push(RawRecord { content: to_presentation(rtype, value), disabled: false });
    }
    let (changetype, ttl) = if records.is_empty() { ("DELETE", None) } else { ("REPLACE", Some(change.after.ttl)) };
    SetPatch { name: format!("{name}."), kind: rtype.as_str(), changetype, ttl, records }
}
