//! MX: the set as a whole leads here, or it does not. Whether it may is decided by the caller (I7).

use super::{Shown, entry, only_some};
use crate::mx::leads_to;
use crate::policy::{Ownership, RecordState, RecordStatus};
use crate::records::Record;

/// What is to be done about MX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MxAdvice {
    /// It stays as it is; until when, in words.
    Stay(String),
    /// It leads here, and is left alone; until when, in words.
    Keep(String),
    /// It is to lead here.
    Set,
}

/// One entry for each wanted value. Where any server shows a host of ours the entries are `Observed`: mail comes here.
pub(super) fn switch(record: &Record, shown: &Shown, advice: &MxAdvice) -> Vec<RecordStatus> {
    let servers = &shown.servers;
    let leads = leads_to(servers, &record.values).is_some();
    let good = if shown.wildcard { 0 } else { servers.iter().filter(|s| s.values == record.values).count() };
    // Of several that differ the one that lacks ours is shown.
    let first = servers.iter().find(|s| s.values != record.values).or(servers.first());
    let there: &[String] = first.map_or(&[], |s| s.values.as_slice());
    let observed = (!there.is_empty()).then(|| there.join(" | "));
    let one = |value: &String| {
        let (state, message) = if good == servers.len() {
            (RecordState::Ok, None)
        } else {
            let (state, text) = words(record, value, there, (good, servers.len()), leads, advice);
            (state, Some(if shown.wildcard { from_wildcard(&text) } else { text }))
        };
        let observed = observed.clone().filter(|_| state != RecordState::Ok);
        let ownership = leads.then_some(Ownership::Observed);
        RecordStatus { ownership, observed, ..entry(record, value, state, message) }
    };
    record.values.iter().map(one).collect()
}

/// The same of a name that has its MX from a wildcard record.
fn from_wildcard(text: &str) -> String {
    format!(
        "{text}. What is there comes from a wildcard record, which ends for this name as soon as any record is at or below it: \
         add what is there at the name itself before you add anything else"
    )
}

/// The state of one value of a set that is not ours everywhere, and what to do.
fn words(
    record: &Record,
    value: &String,
    there: &[String],
    (good, all): (usize, usize),
    leads: bool,
    advice: &MxAdvice,
) -> (RecordState, String) {
    if good > 0 {
        return (RecordState::Propagating, only_some(good, all));
    }
    let state = if there.contains(value) { RecordState::Wrong } else { RecordState::Missing };
    let whole = record.values.join(", ");
    let text = match advice {
        MxAdvice::Stay(until) if leads => {
            format!(
                "MX leads here already, and it should not before {until}: put back what was there, or make that good"
            )
        }
        MxAdvice::Keep(until) => format!("leave MX as it is until {until}, then set it to {whole}"),
        MxAdvice::Stay(until) => format!("do not add it yet: MX stays as it is until {until}"),
        MxAdvice::Set if there.is_empty() => format!("set MX to {whole} now"),
        MxAdvice::Set => format!("set MX to {whole} now, in the place of all that is there"),
    };
    (state, text)
}
