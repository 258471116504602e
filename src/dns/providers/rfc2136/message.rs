//! The messages of this provider, and what is read from answers. Pure.

use crate::{BackendError, Change, RecordType, Result, RrSet};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode, UpdateMessage};
use hickory_resolver::proto::rr::rdata::{MX, TXT};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType as WireType};
use mailtenant_mail::name;
use mailtenant_mail::value::canonical;
use std::collections::BTreeSet;

/// Longest character-string of a TXT record, in bytes (RFC 1035, 3.3).
const STRING: usize = 255;

/// What the server answers.
pub struct Answer {
    /// The answer.
    pub message: Message,
    /// Whether it is signed. One that is not says only that a zone is refused or not there.
    pub signed: bool,
}

impl Answer {
    /// Its code.
    pub fn code(&self) -> ResponseCode {
        self.message.metadata.response_code
    }
}

/// A canonical name as it is sent.
pub fn wire_name(name: &str) -> Result<Name> {
    let refused = || BackendError::Rejected(format!("{name:?} is not a canonical name"));
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.' | b'*');
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(refused());
    }
    Name::from_ascii(format!("{name}.")).map_err(|_| refused())
}

/// A query that only the server itself answers.
pub fn query(name: &str, rtype: WireType) -> Result<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(wire_name(name)?, rtype));
    Ok(message)
}

/// The query for the version of the server, which many do not tell.
pub fn version_query() -> Result<Message> {
    let mut message = query("version.bind", WireType::TXT)?;
    if let Some(query) = message.queries.first_mut() {
        query.set_query_class(DNSClass::CH);
    }
    Ok(message)
}

/// An update without any change: it asks whether the server takes updates of the zone from this key.
pub fn empty_update(zone: &str) -> Result<Message> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Update);
    message.add_zone(Query::query(wire_name(zone)?, WireType::SOA));
    Ok(message)
}

/// An update without any change that succeeds if all of these sets are really there, and do not come from a wildcard.
pub fn existence(zone: &str, sets: &[&RrSet]) -> Result<Message> {
    let mut message = empty_update(zone)?;
    for set in sets {
        message.add_pre_requisite(whole_set(&set.name, set.rtype.into(), DNSClass::ANY)?);
    }
    Ok(message)
}

/// What the server says of the zone that holds a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Authority {
    /// This zone of the server.
    Zone(String),
    /// A zone of the server hands this name, or one above, on to other servers.
    Delegated(String),
    /// The name is an alias: the answer is about its target.
    Alias,
    /// The server does not answer for the name.
    None,
}

/// Reads the answer to a SOA query. An error: it says nothing.
pub fn authority(answer: &Answer, name: &str) -> Result<Authority> {
    let (code, message) = (answer.code(), &answer.message);
    match code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        ResponseCode::Refused | ResponseCode::NotAuth => return Ok(Authority::None),
        code => return Err(BackendError::unavailable(format!("{code} for {name}"))),
    }
    if !message.metadata.authoritative {
        return Ok(cut(message, name).map_or(Authority::None, Authority::Delegated));
    }
    let alias = |r: &Record| matches!(r.record_type(), WireType::CNAME | WireType::DNAME);
    if message.answers.iter().any(alias) {
        return Ok(Authority::Alias);
    }
    let mut sections = message.answers.iter().chain(&message.authorities);
    let soa = sections.find(|r| r.record_type() == WireType::SOA).map(|r| owner(&r.name));
    match soa {
        Some(zone) if name::is_within(name, &zone) => Ok(Authority::Zone(zone)),
        _ => Err(BackendError::unavailable(format!("an answer for {name} that names no zone"))),
    }
}

/// The name at or above `name` that a referral hands on. A referral to the root, as some servers send it for what they do
/// not have, is none.
fn cut(message: &Message, name: &str) -> Option<String> {
    let servers = message.authorities.iter().filter(|r| r.record_type() == WireType::NS && !r.name.is_root());
    servers.map(|r| owner(&r.name)).find(|cut| name::is_within(name, cut))
}

fn owner(name: &Name) -> String {
    name::from_server(&name.to_ascii())
}

/// A set as the server has it.
#[derive(Debug)]
pub struct Found {
    /// In canonical form.
    pub set: RrSet,
    /// Its records as they are, one or more a canonical value.
    pub data: Vec<RData>,
    /// The name is an alias (CNAME), perhaps by a wildcard.
    pub alias: bool,
}

/// Reads the answer to a query for a set. A set below a delegation is not in the zone: it is empty.
pub fn found(answer: &Answer, name: &str, rtype: RecordType) -> Result<Found> {
    let message = &answer.message;
    let mut out = Found { set: RrSet { name: name.into(), rtype, ttl: 0, values: vec![] }, data: vec![], alias: false };
    match answer.code() {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(BackendError::unavailable(format!("{code} for {} of {name}", rtype.as_str()))),
    }
    let referral = !message.metadata.authoritative;
    if referral && cut(message, name).is_none() {
        return Err(BackendError::unavailable(format!("the server does not answer for {name} itself")));
    }
    // The name servers of a delegation stand in its referral.
    let section = if referral { &message.authorities } else { &message.answers };
    for record in section.iter().filter(|r| owner(&r.name) == name) {
        out.alias |= record.record_type() == WireType::CNAME;
        if record.record_type() == WireType::from(rtype) && (!referral || rtype == RecordType::NS) {
            out.set.ttl = record.ttl;
            out.set.values.push(canonical(record.data.clone()));
            out.data.push(record.data.clone());
        }
    }
    out.set.values.sort();
    out.set.values.dedup();
    Ok(out)
}

/// One message that makes all changes, each under the condition that the set is as it was read. `live` are the sets of the
/// changes, in their order, as they are now: values that stay are not touched, and what goes is named byte for byte.
///
/// Deletions name single records or nothing: one of all types at a name would need more rights. They come first, so that
/// a CNAME can give way to other records, and the reverse.
pub fn update(zone: &str, changes: &[Change], live: &[Found]) -> Result<Message> {
    let mut message = empty_update(zone)?;
    let (mut deletions, mut additions) = (vec![], vec![]);
    for (change, live) in changes.iter().zip(live) {
        let (before, after) = (&change.before, &change.after);
        let name = wire_name(&before.name)?;
        if before.values.is_empty() {
            message.add_pre_requisite(whole_set(&before.name, before.rtype.into(), DNSClass::NONE)?);
        }
        for data in live.data.iter().filter(|_| !before.values.is_empty()) {
            message.add_pre_requisite(Record::from_rdata(name.clone(), 0, data.clone()));
            let stays = after.values.contains(&canonical(data.clone()));
            if stays && after.ttl == before.ttl {
                continue;
            }
            let mut record = Record::from_rdata(name.clone(), 0, data.clone());
            record.dns_class = DNSClass::NONE;
            deletions.push(record);
            // With another time to live: Knot leaves out what is there already with the old one.
            if stays {
                additions.push(Record::from_rdata(name.clone(), after.ttl, data.clone()));
            }
        }
        for value in after.values.iter().filter(|v| !before.values.contains(v)) {
            additions.push(Record::from_rdata(name.clone(), after.ttl, data(&after.name, after.rtype, value)?));
        }
    }
    for (name, rtype) in alone(changes) {
        message.add_pre_requisite(whole_set(name, rtype, DNSClass::NONE)?);
    }
    message.add_updates(deletions);
    message.add_updates(additions);
    Ok(message)
}

/// What must not be there, since a CNAME stands alone (RFC 2181, 10.1): BIND and Knot answer NOERROR to one beside other
/// records, or to other records beside one, and leave it out.
fn alone(changes: &[Change]) -> BTreeSet<(&str, WireType)> {
    use WireType::{A, AAAA, CAA, CNAME, MX, NS, SRV, TLSA, TXT};
    let of = |set: &RrSet| (set.name.clone(), WireType::from(set.rtype));
    let touched: BTreeSet<_> = changes.iter().map(|c| of(&c.before)).collect();
    let mut out = BTreeSet::new();
    for after in changes.iter().map(|c| &c.after).filter(|after| !after.values.is_empty()) {
        let others =
            if after.rtype == RecordType::CNAME { &[A, AAAA, CAA, MX, NS, SRV, TLSA, TXT][..] } else { &[CNAME] };
        let others = others.iter().filter(|other| !touched.contains(&(after.name.clone(), **other)));
        out.extend(others.map(|other| (after.name.as_str(), *other)));
    }
    out
}

/// A record that means the whole set: of class ANY, that it is there; of class NONE, that it is not (RFC 2136, 2.4).
fn whole_set(name: &str, rtype: WireType, class: DNSClass) -> Result<Record> {
    let mut record = Record::update0(wire_name(name)?, 0, rtype);
    record.dns_class = class;
    Ok(record)
}

/// An MX with the host as it is written: the parser of hickory-proto makes small letters of all.
fn mx(value: &str) -> Option<MX> {
    let (preference, host) = value.split_once(' ')?;
    Some(MX::new(preference.parse().ok()?, Name::from_ascii(host).ok()?))
}

/// The data of a value: canonical, but for the letters of a host.
fn data(name: &str, rtype: RecordType, value: &str) -> Result<RData> {
    let refused = || BackendError::Rejected(format!("{name} {}: {value:?} cannot be written", rtype.as_str()));
    let data = match rtype {
        RecordType::TXT if value.is_empty() => RData::TXT(TXT::from_bytes(vec![b""])),
        RecordType::TXT => RData::TXT(TXT::from_bytes(value.as_bytes().chunks(STRING).collect())),
        RecordType::MX => RData::MX(mx(value).ok_or_else(refused)?),
        _ => RData::try_from_str(rtype.into(), value).map_err(|_| refused())?,
    };
    // What the parser took for something else: a host without a trailing dot, escapes. Letters are as somebody wrote them.
    let same = match rtype {
        RecordType::TXT => canonical(data.clone()) == value,
        _ => canonical(data.clone()).eq_ignore_ascii_case(value),
    };
    if same { Ok(data) } else { Err(refused()) }
}
