//! Whom a query goes to: servers that are given, or those that are authoritative for the name, found from the root. No cache,
//! and never the resolver of the pod, which may show another view of a domain than the Internet has (split horizon).

use super::ask::{TIMEOUT, Way, ask, is_answer, wire_name};
use super::standing::{self, About, Place, Standing};
use super::{Answers, BackendError, RecordType, Resolver, Result, RrSet};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{FuturesOrdered, FuturesUnordered};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType as WireType};
use mailtenant_mail::value::canonical;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};

/// How long one server of a walk is waited for before the next one is queried too. 13 unreachable root servers, one
/// after the other, took 65 s: more than a pass has, so that it could not even report it.
const HEDGE: Duration = Duration::from_millis(250);
/// How long one walk from the root may take, the look-ups of server names included. A pass looks up several
/// sets, and has 60 s.
const WALK: Duration = Duration::from_secs(15);
/// What helps where the Internet's servers are out of reach.
const HELP: &str = "set resolvers or dnsAddress of the DNSBackend, or --resolvers of the operator, if the root servers cannot be \
                    reached from here";

/// Queries a given list of servers.
pub struct DirectResolver {
    servers: Vec<String>,
}

impl DirectResolver {
    /// `servers` as `host:port` or `[v6]:port`; without a port, 53.
    pub fn new(servers: Vec<String>) -> Self {
        DirectResolver { servers }
    }
}

impl DirectResolver {
    /// The servers, and those whose names lead to no address.
    async fn addresses(&self) -> (Vec<SocketAddr>, Vec<String>) {
        let (mut addresses, mut unknown) = (vec![], vec![]);
        for server in &self.servers {
            // Resolved each time: the address behind the name of a Service may change.
            let found = match server.parse::<SocketAddr>() {
                Ok(address) => Some(address),
                Err(_) => {
                    let target = match server.rsplit_once(':') {
                        Some((_, port)) if port.parse::<u16>().is_ok() => server.clone(),
                        _ => format!("{server}:53"),
                    };
                    let found = timeout(TIMEOUT, lookup_host(target)).await;
                    found.ok().and_then(|r| r.ok()).and_then(|mut list| list.next())
                }
            };
            match found {
                Some(address) => addresses.push(address),
                None => unknown.push(server.clone()),
            }
        }
        (addresses, unknown)
    }
}

#[async_trait]
impl Resolver for DirectResolver {
    async fn lookup(&self, name: &str, rtype: RecordType) -> Result<Vec<RrSet>> {
        ask_all(&self.addresses().await.0, name, rtype, false).await.map(|answers| answers.sets)
    }

    async fn lookup_each(&self, name: &str, rtype: RecordType) -> Result<Answers> {
        let (addresses, unknown) = self.addresses().await;
        // Whoever names them answers for them: a resolver of the platform may stand before the authoritative servers.
        let mut answers = ask_all(&addresses, name, rtype, false).await?;
        answers.silent.extend(unknown);
        Ok(answers)
    }

    async fn standing(&self, about: &About<'_>) -> Standing {
        let servers = self.addresses().await.0;
        let place = |_: String| async { Some(Place { servers: servers.clone(), ..Place::default() }) };
        let (found, bogus) =
            tokio::join!(standing::found(about, Way::RECURSIVE, place), standing::bogus(&servers, about.name));
        Standing { bogus, ..found }
    }
}

/// The set as each server has it. Servers that do not answer are named apart. An error: none answers;
/// [`BackendError::NotFound`] if each refused: none has a zone for the name, or none answers us.
///
/// `authoritative`: an answer without the AA bit (RFC 1035, 4.1.1) is none.
async fn ask_all(servers: &[SocketAddr], name: &str, rtype: RecordType, authoritative: bool) -> Result<Answers> {
    let question = wire_name(name)?;
    let wanted = &question;
    let asked = servers.iter().map(|server| async move {
        let answer = ask(*server, wanted, rtype.into(), Way::RECURSIVE).await;
        (server, answer)
    });
    let mut running: FuturesOrdered<_> = asked.collect();
    let (mut answers, mut refused) = (Answers::default(), 0);
    while let Some((server, answer)) = running.next().await {
        match answer {
            Ok(answer) if is_answer(&answer) && (answer.metadata.authoritative || !authoritative) => {
                answers.sets.push(set_of(&answer, &question, name, rtype));
            }
            other => {
                let code = other.map(|answer| answer.metadata.response_code);
                refused += usize::from(code.is_ok_and(|code| code == ResponseCode::Refused));
                answers.silent.push(server.to_string());
            }
        }
    }
    match answers.sets.is_empty() {
        false => Ok(answers),
        true if refused > 0 && refused == servers.len() => {
            Err(BackendError::NotFound(format!("a zone for {name} at its DNS servers")))
        }
        true => Err(BackendError::unavailable(format!("no DNS server answers for {name}"))),
    }
}

/// The records of exactly this name and type. A CNAME is not followed: a challenge behind one proves nothing.
fn set_of(message: &Message, question: &Name, name: &str, rtype: RecordType) -> RrSet {
    let mut set = RrSet { name: name.into(), rtype, ttl: 0, values: vec![] };
    for record in message.answers.iter().filter(|r| r.name == *question && r.record_type() == WireType::from(rtype)) {
        set.ttl = record.ttl;
        set.values.push(canonical(record.data.clone()));
    }
    set.values.sort();
    set.values.dedup();
    set
}

/// Finds the authoritative servers of each name from the root, then queries all of them.
///
/// It follows referrals itself and caches nothing, so that a new delegation is seen at once. The servers are those of
/// the last referral (the view of the parent zone), with all their IPv4 addresses.
pub struct RootResolver {
    roots: Vec<SocketAddr>,
    port: u16,
}

/// Most referrals in a row, and most look-ups of server names within each other, in one walk.
const MAX_STEPS: usize = 24;
const MAX_DEPTH: usize = 3;

/// The root servers of the Internet, IPv4 (root hints of IANA, stable for years).
const ROOTS: [[u8; 4]; 13] = [
    [198, 41, 0, 4],
    [170, 247, 170, 2],
    [192, 33, 4, 12],
    [199, 7, 91, 13],
    [192, 203, 230, 10],
    [192, 5, 5, 241],
    [192, 112, 36, 4],
    [198, 97, 190, 53],
    [192, 36, 148, 17],
    [192, 58, 128, 30],
    [193, 0, 14, 129],
    [199, 7, 83, 42],
    [202, 12, 27, 33],
];

impl RootResolver {
    /// Starts at the root servers of the Internet.
    pub fn internet() -> Self {
        RootResolver { roots: ROOTS.iter().map(|ip| SocketAddr::from((*ip, 53))).collect(), port: 53 }
    }

    /// Starts at other root servers; all servers below them listen on `port`. For tests.
    pub fn from_roots(roots: Vec<SocketAddr>, port: u16) -> Self {
        RootResolver { roots, port }
    }

    /// The servers that are authoritative for `name`.
    async fn authoritative(&self, name: &Name, rtype: WireType, depth: usize) -> Result<Vec<SocketAddr>> {
        self.place(name, rtype, depth).await.map(|place| place.servers)
    }

    /// The same, with what the zone above calls them.
    async fn place(&self, name: &Name, rtype: WireType, depth: usize) -> Result<Place> {
        let lost = || BackendError::unavailable(format!("the authoritative servers of {name} were not found: {HELP}"));
        if depth > MAX_DEPTH {
            return Err(lost());
        }
        let mut servers = self.roots.clone();
        let (mut zone, mut named) = (Name::root(), BTreeSet::new());
        for _ in 0..MAX_STEPS {
            let answer = first(&servers, name, rtype).await.ok_or_else(lost)?;
            if answer.metadata.authoritative {
                let named = if zone == *name { standing::hosts(named.iter()) } else { BTreeSet::new() };
                return Ok(Place { servers, named });
            }
            // Only downwards: a server that refers elsewhere does not have the zone.
            let next = answer.authorities.iter().filter(|r| {
                r.record_type() == WireType::NS && zone.zone_of(&r.name) && r.name != zone && r.name.zone_of(name)
            });
            let next: Vec<_> = next.collect();
            let cut = next.first().map(|r| r.name.clone()).ok_or_else(lost)?;
            let hosts: BTreeSet<Name> = next
                .iter()
                .filter(|r| r.name == cut)
                .filter_map(|r| if let RData::NS(host) = &r.data { Some(host.0.to_lowercase()) } else { None })
                .collect();
            let mut found = BTreeSet::new();
            for host in &hosts {
                let glue: Vec<IpAddr> =
                    answer.additionals.iter().filter(|r| r.name == *host).filter_map(|r| r.data.ip_addr()).collect();
                // Without glue the name of the server is looked up the same way. Within the zone itself that cannot work.
                let addresses = if glue.is_empty() && !cut.zone_of(host) {
                    Box::pin(self.addresses(host, depth + 1)).await
                } else {
                    glue
                };
                found.extend(addresses.into_iter().filter(IpAddr::is_ipv4).map(|ip| SocketAddr::new(ip, self.port)));
            }
            if found.is_empty() {
                return Err(lost());
            }
            (servers, zone, named) = (found.into_iter().collect(), cut, hosts);
        }
        Err(lost())
    }

    async fn addresses(&self, host: &Name, depth: usize) -> Vec<IpAddr> {
        let Ok(servers) = self.authoritative(host, WireType::A, depth).await else { return vec![] };
        let Some(answer) = first(&servers, host, WireType::A).await else { return vec![] };
        answer.answers.iter().filter(|r| r.name == *host).filter_map(|r| r.data.ip_addr()).collect()
    }
}

/// The first answer of any server. Each is queried [`HEDGE`] after the one before, without waiting for that.
async fn first(servers: &[SocketAddr], name: &Name, rtype: WireType) -> Option<Message> {
    let mut running: FuturesUnordered<_> = (0u32..)
        .zip(servers)
        .map(|(n, server)| async move {
            sleep(HEDGE * n).await;
            ask(*server, name, rtype, Way::DIRECT).await
        })
        .collect();
    while let Some(answer) = running.next().await {
        if let Some(answer) = answer.ok().filter(is_answer) {
            return Some(answer);
        }
    }
    None
}

impl RootResolver {
    /// Finds the servers and asks all of them, within the time that one walk may take.
    async fn walk(&self, name: &str, rtype: RecordType, authoritative: bool) -> Result<Answers> {
        let walk = async {
            let servers = self.authoritative(&wire_name(name)?, rtype.into(), 0).await?;
            ask_all(&servers, name, rtype, authoritative).await
        };
        let late = |_| {
            let seconds = WALK.as_secs();
            BackendError::unavailable(format!("no DNS server answered for {name} within {seconds} s: {HELP}"))
        };
        timeout(WALK, walk).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }
}

#[async_trait]
impl Resolver for RootResolver {
    async fn lookup(&self, name: &str, rtype: RecordType) -> Result<Vec<RrSet>> {
        self.walk(name, rtype, false).await.map(|answers| answers.sets)
    }

    async fn lookup_each(&self, name: &str, rtype: RecordType) -> Result<Answers> {
        self.walk(name, rtype, true).await
    }

    /// Nobody validates here: whether signatures are good is not known.
    async fn standing(&self, about: &About<'_>) -> Standing {
        let place = |name: String| async move { self.place(&wire_name(&name).ok()?, WireType::NS, 0).await.ok() };
        timeout(WALK, standing::found(about, Way::DIRECT, place)).await.unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;
    use tokio::time::Instant;

    /// Roots that take every question and answer none, as behind a firewall.
    async fn silent(count: usize) -> Vec<UdpSocket> {
        futures::future::join_all((0..count).map(|_| async { UdpSocket::bind("127.0.0.1:0").await.unwrap() })).await
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_internet_a_lookup_ends_well_within_a_pass_and_says_what_helps() {
        let roots = silent(ROOTS.len()).await;
        let resolver = RootResolver::from_roots(roots.iter().map(|r| r.local_addr().unwrap()).collect(), 53);
        let start = Instant::now();
        let error = resolver.lookup("acme.test", RecordType::TXT).await.unwrap_err();
        assert!(start.elapsed() <= WALK, "{:?}", start.elapsed());
        assert!(matches!(error, BackendError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("set resolvers or dnsAddress"), "{error}");
    }
}
