//! Amounts, times, days and texts.

use super::schema::{rule, text};
use schemars::Schema;
use serde_json::json;

/// An amount of storage: above zero, and small enough for the 64 bits of a database.
pub(crate) fn storage(s: &mut Schema) {
    s.remove("pattern");
    s.insert("maxLength".into(), json!(32));
    rule(
        s,
        "type(self) == int ? self > 0 : type(self) == string && self.matches(r'^[0-9]{1,15}([.][0-9]{1,9})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$') \
         && quantity(self).isGreaterThan(quantity('0')) && quantity(self).isLessThan(quantity('8Ei'))",
        "must be an amount of storage above zero and below 8Ei, such as 500Mi, 5Gi or 1073741824",
    );
}

/// Time between two bulk reads, 1 s to 24 h.
pub(crate) fn interval(s: &mut Schema) {
    text(s, 2, 7);
    rule(
        s,
        "self.matches(r'^[0-9]{1,6}(s|m|h)$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",
        "must be a whole number of s, m or h from 1s to 24h, such as 30s, 15m or 1h",
    );
}

/// Age of a key in whole days.
pub(crate) fn days(s: &mut Schema) {
    text(s, 2, 5);
    rule(s, "self.matches(r'^[1-9][0-9]{0,3}d$')", "must be a whole number of days from 1d to 9999d, such as 365d");
}

/// One line of text for people, such as a name or a subject; a line break could add a header.
pub(crate) fn line(s: &mut Schema) {
    text(s, 1, 255);
    rule(
        s,
        r"!self.matches(r'[\p{Cc}\x{2028}\x{2029}]')",
        "must be one line of text without line breaks and other control characters",
    );
}

/// The name beside an address: SOGo takes what stands after the first `<` of a name for the sender's address.
pub(crate) fn display_name(s: &mut Schema) {
    line(s);
    rule(s, "!self.matches(r'[<>]')", "must be a name without < and >, between which an address would stand");
}

/// Text for people that may have several lines.
pub(crate) fn message(s: &mut Schema) {
    text(s, 1, 10000);
    rule(
        s,
        r"!self.matches(r'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')",
        "must be text without control characters; line breaks and tabs are allowed",
    );
}

/// A day of the calendar, `YYYY-MM-DD`.
pub(crate) fn day(s: &mut Schema) {
    text(s, 10, 10);
    rule(
        s,
        "!format.date().validate(self).hasValue()",
        "must be a day of the calendar as YYYY-MM-DD, such as 2026-12-24",
    );
}
