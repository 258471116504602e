//! What is known of a name beyond its records: whether it is registered at all, whom its zone is delegated to, and whether
//! resolvers that validate refuse what is signed. Whoever cannot tell says nothing.

use super::ask::{Way, ask, is_answer, wire_name};
use super::{RecordType, RrSet};
use futures::future::join_all;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType as WireType};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::sleep;

/// A name, and what of it is asked.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The name itself. Its MX is asked for, which every resolver answers, with nothing at least.
    pub name: &'a str,
    /// The name at or above it that somebody has registered.
    pub registered: &'a str,
    /// The zone whose servers are asked for; none: they are nobody's business.
    pub zone: Option<&'a str>,
}

/// What is known of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Hosts that the zone is delegated to, as the zone above and as these themselves say. Empty: nobody says.
    pub servers: BTreeSet<String>,
    /// Whether the registered name is there. None: nobody says.
    pub registered: Option<bool>,
    /// Whether a resolver that validates refuses what it has for the name (RFC 4035, 5.5). None: nobody validates.
    pub bogus: Option<bool>,
}

/// Where a name is answered for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub servers: Vec<SocketAddr>,
    /// What the zone above calls them, if the name is a zone of its own; empty: nobody says.
    pub named: BTreeSet<String>,
}

/// Pause before a resolver that failed is asked again: it keeps a failure for a moment (RFC 9520, 3.2: 1 s at least).
const FAILURE: Duration = Duration::from_secs(2);

/// Hosts as values of NS have them, in canonical form.
pub(crate) fn hosts<'n>(names: impl Iterator<Item = &'n Name>) -> BTreeSet<String> {
    names.map(|name| mailtenant_mail::name::from_server(&name.to_ascii())).collect()
}

/// The hosts of a set of NS that a server has, in the form of [`Standing::servers`].
pub fn hosts_of(sets: &[RrSet]) -> BTreeSet<String> {
    let values = sets.iter().filter(|set| set.rtype == RecordType::NS).flat_map(|set| &set.values);
    values.map(|value| mailtenant_mail::name::from_server(value)).collect()
}

/// Whom the zone is delegated to, and whether the registered name is there. `place`: who answers for a name.
pub(crate) async fn found<F: Future<Output = Option<Place>>>(
    about: &About<'_>,
    way: Way,
    place: impl Fn(String) -> F,
) -> Standing {
    let zone = async {
        match about.zone {
            Some(zone) => answers(zone, way, &place).await,
            None => None,
        }
    };
    let registered = async {
        // One question where both are the same name.
        if about.zone == Some(about.registered) { None } else { answers(about.registered, way, &place).await }
    };
    let (zone, registered) = tokio::join!(zone, registered);
    let registered = if about.zone == Some(about.registered) { zone.clone() } else { registered };
    Standing {
        servers: about.zone.zip(zone).map(|(name, seen)| seen.delegated(name)).unwrap_or_default(),
        registered: registered.and_then(|seen| seen.is_there()),
        bogus: None,
    }
}

/// What the servers of a name say of its NS.
#[derive(Clone)]
struct Seen {
    named: BTreeSet<String>,
    messages: Vec<Message>,
}

async fn answers<F: Future<Output = Option<Place>>>(
    name: &str,
    way: Way,
    place: &impl Fn(String) -> F,
) -> Option<Seen> {
    let wanted = wire_name(name).ok()?;
    let Place { servers, named } = place(name.to_owned()).await?;
    let asked = servers.iter().map(|server| ask(*server, &wanted, WireType::NS, way));
    // Who was found from the root answers for the name, or says nothing of it (lame, RFC 1912, 2.8).
    let counts = |m: &Message| is_answer(m) && (way.recursion || m.metadata.authoritative);
    let messages = join_all(asked).await.into_iter().filter_map(Result::ok).filter(counts).collect();
    Some(Seen { named, messages })
}

impl Seen {
    fn delegated(&self, name: &str) -> BTreeSet<String> {
        let Ok(name) = wire_name(name) else { return BTreeSet::new() };
        let records = self.messages.iter().flat_map(|m| &m.answers).filter(|r| r.name == name);
        let values = records.filter_map(|r| if let RData::NS(host) = &r.data { Some(&host.0) } else { None });
        hosts(values).union(&self.named).cloned().collect()
    }

    /// Absent is what all of them call absent.
    fn is_there(&self) -> Option<bool> {
        let absent = |m: &Message| m.metadata.response_code == ResponseCode::NXDomain;
        (!self.messages.is_empty()).then(|| !self.messages.iter().all(absent))
    }
}

/// Whether a resolver that validates refuses what it has. SERVFAIL has other causes too: it counts if the same resolver has an
/// answer as soon as it need not validate, and fails again after that.
pub(crate) async fn bogus(servers: &[SocketAddr], name: &str) -> Option<bool> {
    let name = wire_name(name).ok()?;
    let all = join_all(servers.iter().map(|server| refuses(*server, &name))).await;
    let said: Vec<bool> = all.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.contains(&true))
}

async fn refuses(server: SocketAddr, name: &Name) -> Option<bool> {
    let ask = |way| ask(server, name, WireType::MX, way);
    let first = ask(Way::RECURSIVE).await.ok()?;
    // An authoritative server validates nothing.
    if !first.metadata.recursion_available {
        return None;
    }
    if is_answer(&first) {
        return Some(false);
    }
    let failed = |m: &Message| m.metadata.response_code == ResponseCode::ServFail;
    if !failed(&first) || !is_answer(&ask(Way::UNCHECKED).await.ok()?) {
        return None;
    }
    sleep(FAILURE).await;
    let again = ask(Way::RECURSIVE).await.ok()?;
    if is_answer(&again) { Some(false) } else { failed(&again).then_some(true) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;

    /// An answer: its code, and RA.
    #[derive(Clone, Copy)]
    struct Says(ResponseCode, bool);

    /// A server that answers `checked` while it has to validate, the last one again and again, and `unchecked` otherwise.
    async fn server(checked: &'static [Says], unchecked: Says) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut buffer, mut asked) = (vec![0; 512], 0);
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let Says(code, recursive) = if query.metadata.checking_disabled {
                    unchecked
                } else {
                    asked += 1;
                    checked[(asked - 1).min(checked.len() - 1)]
                };
                let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
                answer.metadata.response_code = code;
                answer.metadata.recursion_available = recursive;
                query.queries.iter().for_each(|q| {
                    answer.add_query(q.clone());
                });
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_failure_is_of_signatures_if_it_ends_with_validation_and_comes_back_with_it() {
        use ResponseCode::{NXDomain, NoError, Refused, ServFail};
        const GOOD: Says = Says(NoError, true);
        const FAILS: Says = Says(ServFail, true);
        for (checked, unchecked, want, why) in [
            (&[GOOD][..], GOOD, Some(false), "it answers"),
            (&[Says(NXDomain, true)], GOOD, Some(false), "it answers that there is nothing"),
            (&[FAILS], GOOD, Some(true), "the signatures are broken"),
            (&[FAILS], FAILS, None, "the servers of the zone do not answer"),
            (&[FAILS, GOOD], GOOD, Some(false), "it was a moment"),
            (&[FAILS, Says(Refused, true)], GOOD, None, "it says something else"),
            (&[Says(ServFail, false)], GOOD, None, "no resolver"),
            (&[Says(NoError, false)], GOOD, None, "an authoritative server"),
            (&[Says(Refused, true)], GOOD, None, "it does not talk to us"),
        ] {
            let server = server(checked, unchecked).await;
            assert_eq!(bogus(&[server], "acme.test").await, want, "{why}");
        }
        let (good, bad) = (server(&[GOOD], GOOD).await, server(&[FAILS], GOOD).await);
        assert_eq!(bogus(&[good, bad], "acme.test").await, Some(true), "one that validates is enough");
    }

    #[tokio::test]
    async fn absent_is_what_all_who_answer_call_absent() {
        use ResponseCode::{NXDomain, NoError, Refused, ServFail};
        for (codes, want) in [
            (&[NXDomain, NXDomain][..], Some(false)),
            (&[NXDomain, NoError], Some(true)),
            (&[NXDomain, Refused], Some(false)),
            (&[NoError], Some(true)),
            (&[Refused, ServFail], None),
        ] {
            let mut servers = vec![];
            for code in codes {
                let says: &'static [Says] = Box::leak(Box::new([Says(*code, true)]));
                servers.push(server(says, says[0]).await);
            }
            let place = |_: String| async { Some(Place { servers: servers.clone(), ..Place::default() }) };
            let about = About { name: "acme.test", registered: "acme.test", zone: None };
            assert_eq!(found(&about, Way::RECURSIVE, place).await.registered, want, "{codes:?}");
        }
        let about = About { name: "acme.test", registered: "acme.test", zone: None };
        assert_eq!(found(&about, Way::DIRECT, |_| async { None }).await, Standing::default());
    }
}
