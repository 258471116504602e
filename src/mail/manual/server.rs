//! How one server's set is judged, by what the record is for.

use super::spf;
use super::view::View;
use crate::policy::{ConflictPolicy, Purpose, RecordState};
use crate::records::{Mode, Record, equivalent};
use crate::rr::{RecordType, RrSet};

/// What a server has in the place of a record whose value would be `own`.
pub(super) fn of(record: &Record, own: &str, server: &RrSet, policy: ConflictPolicy) -> View {
    match (record.mode, &record.term) {
        (Mode::SpfTerm, Some(term)) => spf::view(own, term, &server.values, policy),
        (Mode::SharedValues, _) if server.values.iter().any(|v| v == own) => View::Good(own.into()),
        (Mode::SharedValues, _) => View::Absent,
        _ => exclusive(record, own, &server.values, policy),
    }
}

/// Whether a value is for this purpose at all. At the names of DMARC, MTA-STS and TLS reports everybody passes over what is not
/// (RFC 9989, 4.10.1; RFC 8461, 3.1; RFC 8460, 3); at those of keys nothing else may be.
fn counts((purpose, rtype): (Purpose, RecordType), value: &str) -> bool {
    let version = match purpose {
        Purpose::DMARC => "v=DMARC1",
        Purpose::TLSRPT => "v=TLSRPTv1",
        // Its host has a CNAME, which is for nothing else.
        Purpose::MTASTS if rtype == RecordType::TXT => "v=STSv1",
        _ => return true,
    };
    value.trim_start().starts_with(version)
}

fn exclusive(record: &Record, own: &str, values: &[String], policy: ConflictPolicy) -> View {
    let purpose = record.purpose;
    // What it is to be once MX leads here is as good before that: it was somebody's choice.
    let as_good = |there: &str| {
        equivalent(purpose, there, own) || record.after_switch.as_ref().is_some_and(|v| equivalent(purpose, there, v))
    };
    let there: Vec<&String> = values.iter().filter(|v| counts((purpose, record.rtype), v)).collect();
    let observed = there.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(" | ");
    let other = |state, message: &str| View::Other(state, own.into(), observed.clone(), message.into());
    match there.as_slice() {
        [] => View::Absent,
        [one] if as_good(one) => View::Good((*one).clone()),
        // A key of somebody else is never kept: mail would be signed with one that it does not verify.
        [one] if policy == ConflictPolicy::Adopt && purpose != Purpose::DKIM => View::Good((*one).clone()),
        [_] => other(RecordState::Wrong, "another value is there: replace it by this one"),
        several => {
            let text = format!("the name has {} such records where one is allowed: leave only this one", several.len());
            other(RecordState::Duplicate, &text)
        }
    }
}
