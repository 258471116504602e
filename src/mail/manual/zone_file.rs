//! The records as a zone file (RFC 1035, 5), to be pasted at once. Names are absolute, so that it fits any zone.
//!
//! Importers add and do not replace: what must not stand beside something that is there is commented out, with what to
//! do by hand. Two SPF records, or two MX of different servers, would lose mail.

use crate::policy::{Purpose, RecordState, RecordStatus};
use crate::rr::RecordType;
use crate::value::to_presentation;

/// The zone file of a domain. `mx_stays`: MX must not be changed yet.
pub fn zone_file(domain: &str, entries: &[RecordStatus], ttl: u32, mx_stays: bool) -> String {
    let mut out = format!(
        "; DNS records of {domain} for mail. Lines that begin with a semicolon are comments: what stands behind one must be\n\
         ; changed by hand, or must not be added yet. The status of the MailDomain has the same, and says what is there.\n"
    );
    for e in entries {
        let waits = e.purpose == Purpose::MX && mx_stays && e.state != RecordState::Ok;
        let beside = e.observed.is_some() || matches!(e.state, RecordState::Wrong | RecordState::Duplicate);
        let message = e.message.iter().map(|m| format!(": {m}"));
        let observed = e.observed.iter().map(|o| format!(" (there is: {o})"));
        let words: String = message.chain(observed).collect();
        let comment = line(&format!("{:?}, {:?}{words}", e.purpose, e.state));
        let rtype = if e.type_ == "TXT" { RecordType::TXT } else { RecordType::MX };
        let value = line(&to_presentation(rtype, &e.value));
        let behind = if waits || (beside && e.state != RecordState::Ok) { ";" } else { "" };
        out.push_str(&format!("\n; {comment}\n{behind}{}. {ttl} IN {} {value}\n", e.name, e.type_));
    }
    out
}

/// A text that stays in its line: what others put into the DNS may hold line breaks.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
