//! The records as a zone file (RFC 1035, 5), to be pasted at once. Names are absolute, so that it fits any zone.
//!
//! Importers add and do not replace: what must not stand beside something that is there is commented out, with what to
//! do by hand. Two SPF records, or two MX of different servers, would lose mail.

use crate::policy::{Purpose, RecordState, RecordStatus};
use crate::rr::RecordType;
use crate::value::to_presentation;

/// Whether a record may be added as it is, by somebody who replaces nothing. `mx_stays`: MX must not be changed yet.
pub fn may_be_added(entry: &RecordStatus, mx_stays: bool) -> bool {
    let waits = entry.purpose == Purpose::MX && mx_stays;
    let beside = entry.observed.is_some()
        || matches!(entry.state, RecordState::Wrong | RecordState::Duplicate | RecordState::Conflict);
    entry.state == RecordState::Ok || !(waits || beside)
}

/// What a comment beside a record says, in one line: what it is for, how it stands, what to do, and what is there.
pub fn comment(entry: &RecordStatus) -> String {
    let message = entry.message.iter().map(|m| format!(": {m}"));
    let observed = entry.observed.iter().map(|o| format!(" (there is: {o})"));
    let words: String = message.chain(observed).collect();
    line(&format!("{:?}, {:?}{words}", entry.purpose, entry.state))
}

/// The zone file of a domain. `ttl` in seconds. `mx_stays`: MX must not be changed yet.
pub fn zone_file(domain: &str, entries: &[RecordStatus], ttl: u32, mx_stays: bool) -> String {
    let mut out = format!(
        "; DNS records of {domain} for mail. Lines that begin with a semicolon are comments: what stands behind one must be\n\
         ; changed by hand, or must not be added yet. The status of the MailDomain has the same, and says what is there.\n"
    );
    for e in entries {
        let rtype = if e.type_ == "TXT" { RecordType::TXT } else { RecordType::MX };
        let value = line(&to_presentation(rtype, &e.value));
        let behind = if may_be_added(e, mx_stays) { "" } else { ";" };
        out.push_str(&format!("\n; {}\n{behind}{}. {ttl} IN {} {value}\n", comment(e), e.name, e.type_));
    }
    out
}

/// A text that stays in its line: what others put into the DNS may hold line breaks.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
