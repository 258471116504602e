//! How the entries of the journal are read.

use crate::mx;
use crate::policy::{Ownership, Purpose, RecordState, RecordStatus};
use crate::rr::RecordType;

/// Whether an entry is about something that we wrote: a whole value (`Created`), or a term (`Adopted` with a term).
pub fn is_ours(e: &RecordStatus) -> bool {
    match e.ownership {
        Some(Ownership::Created) => true,
        Some(Ownership::Adopted) => e.term.is_some(),
        _ => false,
    }
}

/// Whether an entry is an MX that we made.
pub fn is_our_mx(e: &RecordStatus) -> bool {
    e.purpose == Purpose::MX && e.ownership == Some(Ownership::Created)
}

/// Whether an entry is an MX that was seen to lead here, whoever made it: all of it as wanted, or at one of several servers, or
/// beside others.
pub fn is_good_mx(e: &RecordStatus) -> bool {
    e.purpose == Purpose::MX && (e.state == RecordState::Ok || e.ownership == Some(Ownership::Observed))
}

/// Whether an entry says that MX leads here, or may be about to: by all that is wanted, or beside others.
pub fn leads_here(e: &RecordStatus) -> bool {
    let beside = || e.observed.iter().flat_map(|all| all.split(" | ")).any(|there| mx::same_host(there, &e.value));
    e.purpose == Purpose::MX && (is_our_mx(e) || is_good_mx(e) || beside())
}

/// Whether two entries are about the same value for the same purpose, whatever their state.
pub(super) fn same_record(a: &RecordStatus, b: &RecordStatus) -> bool {
    a.name == b.name && a.type_ == b.type_ && a.value == b.value && a.purpose == b.purpose
}

/// The type of an entry; none: a type that we never write.
pub(super) fn rtype_of(e: &RecordStatus) -> Option<RecordType> {
    match e.type_.as_str() {
        "MX" => Some(RecordType::MX),
        "TXT" => Some(RecordType::TXT),
        "CNAME" => Some(RecordType::CNAME),
        "SRV" => Some(RecordType::SRV),
        "TLSA" => Some(RecordType::TLSA),
        "CAA" => Some(RecordType::CAA),
        "LUA" => Some(RecordType::LUA),
        _ => None,
    }
}

/// Whether a term found in a live record can be the one of this entry. Not if the entry is about a whole record of our
/// own that was never seen: then another record with this term was written by others.
pub(super) fn may_hold_term(e: &RecordStatus) -> bool {
    e.ownership != Some(Ownership::Created) || e.state != RecordState::Missing
}

/// What is said of a value that is being removed.
const LEAVING: &str = "is being removed";

/// The entry of a value that is being removed.
pub(super) fn leaving(mut e: RecordStatus) -> RecordStatus {
    e.state = RecordState::Propagating;
    e.observed = None;
    e.message = Some(LEAVING.into());
    e
}

/// Whether an entry is about a value that is being removed: nobody should publish it anew.
pub fn is_leaving(e: &RecordStatus) -> bool {
    e.state == RecordState::Propagating && e.message.as_deref() == Some(LEAVING)
}
