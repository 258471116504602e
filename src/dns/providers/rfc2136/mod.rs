//! Any DNS server that takes dynamic updates (RFC 2136) signed with TSIG (RFC 8945), by TCP: BIND, Knot, PowerDNS. Knows
//! records, nothing of mail or Kubernetes.
//!
//! What decides the design (BIND 9.18, Knot 3.2 and PowerDNS 4.7, seen on running servers):
//! - The server compares and sets: a prerequisite names the complete set as it was read (RFC 2136, 2.4.2), or says that
//!   there is none, and one message is carried out as a whole or not at all. Times to live are not compared by it.
//! - Sets are read by queries. A wildcard answers for names that have no set of their own; a message of prerequisites alone
//!   shows which ones are real.
//! - A record below a delegation is taken with NOERROR and never served, so the zone of each name is asked for first.
//! - A CNAME beside other records is left out with NOERROR by BIND and Knot. It is a prerequisite that there is none, and
//!   what was written is read back.
//! - A query for a zone that the server does not have is REFUSED, which a rule of access gives too. Absent is a zone
//!   only if an update of it is answered with NOTAUTH, and without a complaint about the key (I2).
//! - A set has one time to live: adding a record with another one changes it for all of the set.

mod connection;
mod message;
mod tsig;

use crate::{BackendError, Change, DnsCapabilities, DnsServer, RecordType, Result, RrSet};
use async_trait::async_trait;
use connection::Connection;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, RecordType as WireType};
use mailtenant_clock::Clock;
use mailtenant_mail::name;
use message::{Answer, Authority, Found};
use std::collections::BTreeSet;
use std::sync::Arc;
pub use tsig::{Algorithm, BadKey, Key};

/// So many zones are tried with the key by a probe, until one is found that the server has.
const PROBED: usize = 16;
/// Longest version that is shown.
const MAX_VERSION: usize = 64;

/// How to connect to a server.
pub struct Settings {
    /// The primary server of the zones, as `host:port`.
    pub server: String,
    /// The key that messages are signed with.
    pub key: Key,
    /// Zones that a probe tries the key on.
    pub zones: Vec<String>,
    /// What signatures are dated by.
    pub clock: Arc<dyn Clock>,
}

/// A provider for one server. Sends nothing yet.
pub fn connect(settings: Settings) -> Arc<dyn DnsServer> {
    Arc::new(Rfc2136(settings))
}

struct Rfc2136(Settings);

impl Rfc2136 {
    async fn open(&self) -> Result<Connection<'_>> {
        Connection::open(&self.0.server, &self.0.key, self.0.clock.as_ref()).await
    }
}

/// The error for an update that was not carried out; none for one that was.
fn refused(answer: &Answer, what: &str) -> Result<()> {
    match answer.code() {
        ResponseCode::NoError if answer.signed => Ok(()),
        ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::NXDomain | ResponseCode::YXDomain => {
            Err(BackendError::Conflict(format!("{what} changed since it was read")))
        }
        ResponseCode::Refused => Err(BackendError::Unauthorized(format!(
            "REFUSED for {what}: the server does not let this key change these names and types, or is not the primary"
        ))),
        ResponseCode::NotImp => Err(BackendError::Unsupported("the server takes no dynamic updates (NOTIMP)".into())),
        code @ (ResponseCode::FormErr | ResponseCode::NotZone) => {
            Err(BackendError::Rejected(format!("{code} for {what}")))
        }
        code => Err(BackendError::unavailable(format!("{code} for {what}"))),
    }
}

/// Sees that none of these names is a zone of the server, by its own word.
async fn prove_absent(connection: &mut Connection<'_>, names: &[&str]) -> Result<()> {
    let messages = names.iter().map(|name| message::empty_update(name)).collect::<Result<_>>()?;
    for (answer, name) in connection.ask(messages).await?.iter().zip(names) {
        if answer.code() != ResponseCode::NotAuth {
            refused(answer, name)?;
            let text = format!("the server takes updates of the zone {name} and does not answer queries for it");
            return Err(BackendError::unavailable(text));
        }
    }
    Ok(())
}

/// The zone of the server that holds a name. An alias is in the zone of the name above it: no zone begins at one.
async fn zone_of(connection: &mut Connection<'_>, name: &str) -> Result<Authority> {
    for name in name::self_and_parents(name) {
        let answer = connection.ask_one(message::query(name, WireType::SOA)?).await?;
        match message::authority(&answer, name)? {
            Authority::Alias => {}
            authority => return Ok(authority),
        }
    }
    Ok(Authority::None)
}

/// Asks for the zone itself, and for what else the caller wants to know, in one go. Returned are the answers to the
/// caller's messages. [`BackendError::NotFound`]: there is no such zone, by the server's own word.
async fn in_zone(
    connection: &mut Connection<'_>,
    zone: &str,
    messages: impl Iterator<Item = Result<Message>>,
) -> Result<Vec<Answer>> {
    let soa = message::query(zone, WireType::SOA);
    let messages = std::iter::once(soa).chain(messages).collect::<Result<_>>()?;
    let mut answers = connection.ask(messages).await?;
    let rest = answers.split_off(1);
    match answers.first().map(|answer| message::authority(answer, zone)).transpose()? {
        Some(Authority::Zone(have)) if have == zone => Ok(rest),
        None => Err(BackendError::unavailable("no answer")),
        Some(_) => {
            prove_absent(connection, &[zone]).await?;
            Err(BackendError::NotFound(format!("the zone {zone}")))
        }
    }
}

/// Empties the sets that come from a wildcard: at their names there are none.
async fn without_wildcards(connection: &mut Connection<'_>, zone: &str, sets: &mut [RrSet]) -> Result<()> {
    let doubtful = |set: &RrSet| {
        !set.values.is_empty() && set.name != zone && !set.name.starts_with('*') && set.rtype != RecordType::NS
    };
    let asked: Vec<&RrSet> = sets.iter().filter(|set| doubtful(set)).collect();
    if asked.is_empty() {
        return Ok(());
    }
    // Mostly all are real, which one message shows.
    let all = connection.ask_one(message::existence(zone, &asked)?).await?;
    if all.code() != ResponseCode::NXRRSet {
        return refused(&all, zone);
    }
    let messages = asked.iter().map(|set| message::existence(zone, &[*set])).collect::<Result<_>>()?;
    let mut answers = connection.ask(messages).await?.into_iter();
    for set in sets.iter_mut().filter(|set| doubtful(set)) {
        match answers.next() {
            Some(answer) if answer.code() == ResponseCode::NXRRSet => set.values.clear(),
            Some(answer) => refused(&answer, &set.name)?,
            None => return Err(BackendError::unavailable("no answer")),
        }
        set.ttl = if set.values.is_empty() { 0 } else { set.ttl };
    }
    Ok(())
}

/// Sees that each name is in the zone itself. Records above a zone cut are never served.
async fn check_cuts(
    connection: &mut Connection<'_>,
    zone: &str,
    names: &BTreeSet<&str>,
    answers: &[Answer],
) -> Result<()> {
    for (name, answer) in names.iter().zip(answers) {
        let authority = match message::authority(answer, name)? {
            Authority::Alias => match name::parents(name).next() {
                Some(parent) => zone_of(connection, parent).await?,
                None => Authority::None,
            },
            authority => authority,
        };
        let cut = match authority {
            Authority::Zone(have) if have == zone => continue,
            Authority::Zone(cut) | Authority::Delegated(cut) => cut,
            _ => return Err(BackendError::unavailable(format!("the server does not answer for {name} itself"))),
        };
        return Err(BackendError::Rejected(format!(
            "{cut} is a zone of its own: its records cannot be written in {zone}"
        )));
    }
    Ok(())
}

/// Sees that the sets still are as they were read. That there was none is left to the server: here a wildcard may answer.
fn compare(changes: &[Change], live: &[Found]) -> Result<()> {
    for (change, live) in changes.iter().zip(live) {
        let (before, set) = (&change.before, &live.set);
        if !before.values.is_empty() && (set.values != before.values || set.ttl != before.ttl) {
            let text = format!("{} {} changed since it was read", set.name, set.rtype.as_str());
            return Err(BackendError::Conflict(text));
        }
    }
    Ok(())
}

/// The name of a change that an alias stands in the way of.
fn alias<'a>(changes: &'a [Change], live: &[Found]) -> Option<&'a str> {
    let goes = |name: &str| changes.iter().any(|c| c.before.name == name && c.before.rtype == RecordType::CNAME);
    let mut both = changes.iter().zip(live);
    both.find(|(c, live)| live.alias && !c.after.values.is_empty() && !goes(&c.after.name))
        .map(|(c, _)| c.after.name.as_str())
}

fn beside_alias(name: &str) -> BackendError {
    let text = "is an alias (CNAME), and no other record may stand beside one (RFC 2181, 10.1)";
    BackendError::Rejected(format!("{name} {text}"))
}

/// The changed sets, as queries.
fn queries(changes: &[Change]) -> impl Iterator<Item = Result<Message>> {
    changes.iter().map(|c| message::query(&c.before.name, c.before.rtype.into()))
}

fn sets_of(answers: &[Answer], changes: &[Change]) -> Result<Vec<Found>> {
    let both = answers.iter().zip(changes);
    both.map(|(answer, c)| message::found(answer, &c.before.name, c.before.rtype)).collect()
}

#[async_trait]
impl DnsServer for Rfc2136 {
    fn provider(&self) -> &'static str {
        "rfc2136"
    }

    fn capabilities(&self) -> DnsCapabilities {
        DnsCapabilities { atomic: true, compare_and_set: true }
    }

    async fn probe(&self) -> Result<String> {
        let mut connection = self.open().await?;
        // Each server looks at the key where its rules of a zone are looked at, so an update is what shows it.
        let zones: Vec<&String> = self.0.zones.iter().take(PROBED).collect();
        let messages = zones.iter().map(|zone| message::empty_update(zone)).collect::<Result<_>>()?;
        for (answer, zone) in connection.ask(messages).await?.iter().zip(zones) {
            if answer.code() != ResponseCode::NotAuth {
                refused(answer, zone)?;
                break;
            }
        }
        let answer = connection.version().await?;
        let texts = answer.iter().flat_map(|m| &m.answers).filter_map(|r| match &r.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        });
        let version: Vec<String> =
            texts.map(|t| t.chars().filter(|c| !c.is_control()).take(MAX_VERSION).collect()).take(1).collect();
        Ok(version.into_iter().next().filter(|v: &String| !v.is_empty()).unwrap_or_else(|| "of unknown version".into()))
    }

    async fn find_zone(&self, name: &str) -> Result<String> {
        message::wire_name(name)?;
        let mut connection = self.open().await?;
        match zone_of(&mut connection, name).await? {
            Authority::Zone(zone) => Ok(zone),
            Authority::Delegated(cut) => {
                let below: Vec<&str> = name::self_and_parents(name).take_while(|n| name::is_within(n, &cut)).collect();
                prove_absent(&mut connection, &below).await?;
                Err(BackendError::NotFound(format!("a zone for {name} ({cut} is delegated to other servers)")))
            }
            Authority::Alias | Authority::None => {
                let all: Vec<&str> = name::self_and_parents(name).collect();
                prove_absent(&mut connection, &all).await?;
                Err(BackendError::NotFound(format!("a zone for {name}")))
            }
        }
    }

    async fn read(&self, zone: &str, which: &[(String, RecordType)]) -> Result<Vec<RrSet>> {
        let mut connection = self.open().await?;
        let messages = which.iter().map(|(name, rtype)| message::query(name, (*rtype).into()));
        let answers = in_zone(&mut connection, zone, messages).await?;
        let both = answers.iter().zip(which);
        let mut sets: Vec<RrSet> =
            both.map(|(a, (name, rtype))| Ok(message::found(a, name, *rtype)?.set)).collect::<Result<_>>()?;
        without_wildcards(&mut connection, zone, &mut sets).await?;
        Ok(sets)
    }

    async fn contents(&self, zone: &str, name: &str, rtype: RecordType) -> Result<Vec<String>> {
        let mut connection = self.open().await?;
        let query = std::iter::once(message::query(name, rtype.into()));
        let answers = in_zone(&mut connection, zone, query).await?;
        let found = answers.iter().map(|answer| message::found(answer, name, rtype)).collect::<Result<Vec<_>>>()?;
        Ok(found.iter().flat_map(|f| &f.data).map(ToString::to_string).collect())
    }

    async fn apply(&self, zone: &str, changes: &[Change]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let names: BTreeSet<&str> = changes.iter().map(|c| c.before.name.as_str()).collect();
        let mut connection = self.open().await?;
        let zones = names.iter().map(|name| message::query(name, WireType::SOA));
        let mut answers = in_zone(&mut connection, zone, zones.chain(queries(changes))).await?;
        let sets = answers.split_off(names.len());
        check_cuts(&mut connection, zone, &names, &answers).await?;
        let live = sets_of(&sets, changes)?;
        compare(changes, &live)?;
        let answer = connection.ask_one(message::update(zone, changes, &live)?).await?;
        if answer.code() == ResponseCode::NotAuth {
            // It was there a moment ago.
            return match in_zone(&mut connection, zone, std::iter::empty()).await {
                Ok(_) => Err(BackendError::unavailable("NOTAUTH for a zone that it serves: is it the primary server?")),
                Err(error) => Err(error),
            };
        }
        match (refused(&answer, zone), alias(changes, &live)) {
            (Err(BackendError::Conflict(_)), Some(name)) => return Err(beside_alias(name)),
            (result, _) => result?,
        }
        let written = in_zone(&mut connection, zone, queries(changes)).await?;
        for (change, live) in changes.iter().zip(sets_of(&written, changes)?) {
            // Still as it was before. Anything else is a change that somebody else made since.
            if live.set.values == change.before.values && live.set.values != change.after.values {
                let (name, rtype) = (&change.after.name, change.after.rtype.as_str());
                return Err(match live.alias && change.after.rtype != RecordType::CNAME {
                    true => beside_alias(name),
                    false => BackendError::Conflict(format!(
                        "{name} {rtype} is as it was, though the server took the change"
                    )),
                });
            }
        }
        Ok(())
    }
}
