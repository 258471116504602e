//! Points in time as the status has them. Pure.

/// RFC 3339 in whole seconds: texts of this form compare as the times do.
pub fn stamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// [`stamp`] of the first whole second that is not before: what is waited for is over then.
pub(super) fn stamp_after(at: jiff::Timestamp) -> String {
    let begun = at.subsec_nanosecond() > 0;
    stamp(at + jiff::SignedDuration::from_secs(i64::from(begun)))
}
