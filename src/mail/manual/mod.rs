//! Records that somebody else edits (`dns.mode: Manual`): how each of them stands, from what is wanted and what every
//! authoritative server shows, and what to do about it, in words. Pure. Nothing here is ever written into the DNS.

mod mx;
mod server;
mod spf;
mod view;
mod zone_file;

pub use mx::MxAdvice;
pub use zone_file::{comment, may_be_added, zone_file};

use crate::policy::{ConflictPolicy, Purpose, RecordState, RecordStatus};
use crate::records::{Mode, Record};
use crate::rr::{RecordType, RrSet};
use view::View;

/// One set as the authoritative servers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Name of the set.
    pub name: String,
    /// Type of the set.
    pub rtype: RecordType,
    /// The set as each server that answers has it: at least one.
    pub servers: Vec<RrSet>,
    /// Target of the CNAME that some server shows at the name.
    pub alias: Option<String>,
    /// What is shown comes from a wildcard record: none is at the name itself.
    pub wildcard: bool,
}

/// What the caller has decided about the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What is done about a record of the tenant in the place of the wanted one.
    pub conflict: ConflictPolicy,
    /// What is to be done about MX.
    pub mx: MxAdvice,
}

/// How the wanted records stand, in their order; one entry for each value. A record whose set is not in `shown` was not
/// looked up and is left out.
pub fn judge(wanted: &[Record], shown: &[Shown], advice: &Advice) -> Vec<RecordStatus> {
    let set = |r: &Record| shown.iter().find(|s| s.name == r.name && s.rtype == r.rtype && !s.servers.is_empty());
    let all = wanted.iter().filter_map(|r| Some((r, set(r)?))).flat_map(|(r, s)| one(r, s, advice));
    all.map(|e| RecordStatus { observed: e.observed.map(shortened), ..e }).collect()
}

/// Most characters that are shown of what is there: a set may have 64 KB.
const MOST: usize = 2000;

fn shortened(text: String) -> String {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Whether nothing works as declared without the record. Without those of client discovery and of MTA-STS the domain works.
pub fn is_required(entry: &RecordStatus) -> bool {
    !matches!(entry.purpose, Purpose::ClientDiscovery | Purpose::MTASTS | Purpose::MX | Purpose::Challenge)
}

/// The entry of a record about which nothing is known but its value.
fn entry(record: &Record, value: &str, state: RecordState, message: Option<String>) -> RecordStatus {
    RecordStatus {
        name: record.name.clone(),
        type_: record.rtype.as_str().into(),
        value: value.into(),
        purpose: record.purpose,
        state,
        ownership: None,
        term: None,
        edited: false,
        observed: None,
        message,
    }
}

fn one(record: &Record, shown: &Shown, advice: &Advice) -> Vec<RecordStatus> {
    if let (Some(target), false) = (&shown.alias, shown.wildcard || record.rtype == RecordType::CNAME) {
        let text = "a CNAME stands at this name, beside which no other record can be: remove it, then add this record";
        let conflict = |value: &String| RecordStatus {
            observed: Some(format!("CNAME {target}")),
            ..entry(record, value, RecordState::Conflict, Some(text.into()))
        };
        return record.values.iter().map(conflict).collect();
    }
    if record.mode == Mode::Switch {
        return mx::switch(record, shown, &advice.mx);
    }
    let own = record.values.first().map_or("", String::as_str);
    let views: Vec<View> = match shown.wildcard {
        // A record at the name itself ends what the wildcard says there.
        true => vec![View::Absent],
        false => shown.servers.iter().map(|s| server::of(record, own, s, advice.conflict)).collect(),
    };
    let mut entry = combined(record, own, &views);
    if shown.wildcard && entry.state == RecordState::Missing {
        let text = "a wildcard record answers for this name: add this record all the same, it goes before";
        entry.message = Some(text.into());
    }
    vec![entry]
}

/// One entry from what each server has.
fn combined(record: &Record, own: &str, views: &[View]) -> RecordStatus {
    let good: Vec<&String> = views.iter().filter_map(View::good).collect();
    if let Some(value) = good.first() {
        if good.len() == views.len() {
            return entry(record, value, RecordState::Ok, None);
        }
        return entry(record, value, RecordState::Propagating, Some(only_some(good.len(), views.len())));
    }
    match views.iter().find_map(View::other) {
        Some((state, value, observed, message)) => {
            RecordStatus { observed: Some(observed.clone()), ..entry(record, value, *state, Some(message.clone())) }
        }
        None => entry(record, own, RecordState::Missing, Some("add this record at your DNS provider".into())),
    }
}

/// The words for a record that not every server shows.
fn only_some(good: usize, all: usize) -> String {
    format!("{good} of {all} DNS servers show it so far")
}

#[cfg(test)]
#[path = "manual_tests.rs"]
mod tests;
