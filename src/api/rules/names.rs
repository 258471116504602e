//! Names of hosts, domains and zones (RFC 1123, RFC 5890).

use super::schema::{keyed, rule, text};
use schemars::Schema;

/// One label of a host name.
pub(super) const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
/// One label that may start with or hold an underscore: names of records and zones.
const SERVICE_LABEL: &str = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?";
/// First character of a U-label. Upper case is not allowed (RFC 5892); U+3007 is the one letter-like number.
const U_FIRST: &str = r"[\p{Ll}\p{Lo}\p{Lm}\p{Nd}\x{3007}]";
/// Inner characters: marks, the hyphen, and those that RFC 5892 allows in context. The operator checks IDNA itself.
const U_INNER: &str = r"[\p{Ll}\p{Lo}\p{Lm}\p{Nd}\p{M}\x{3007}\x{200C}\x{200D}\x{B7}\x{375}\x{5F3}\x{5F4}\x{30FB}-]";
/// Last character of a U-label.
const U_LAST: &str = r"[\p{Ll}\p{Lo}\p{Lm}\p{Nd}\p{M}\x{3007}\x{5F3}\x{5F4}]";
/// The public suffixes of two labels that people most often write by mistake. The operator checks the whole list.
const SUFFIXES: &[&str] = &[
    "ac.at", "ac.jp", "ac.nz", "ac.uk", "co.at", "co.id", "co.il", "co.in", "co.jp", "co.ke", "co.kr", "co.nz",
    "co.th", "co.uk", "co.za", "com.ar", "com.au", "com.br", "com.cn", "com.co", "com.hk", "com.mx", "com.my",
    "com.pl", "com.sg", "com.tr", "com.tw", "com.ua", "gov.uk", "gv.at", "me.uk", "ne.jp", "net.au", "or.at", "or.jp",
    "org.au", "org.uk",
];

/// One label of a domain as U-label or A-label. Its length is bounded by [`NO_LONG_LABEL`]: counted repetition of
/// a Unicode class makes a large automaton.
pub(super) fn u_label() -> String {
    format!("{U_FIRST}({U_INNER}*{U_LAST})?")
}

/// CEL: no label has more than 63 characters.
pub(super) const NO_LONG_LABEL: &str = "!self.matches(r'[^.@]{64}([^@]*$)')";

const HOST_HELP: &str =
    "must be a host name in lower case without a trailing dot, such as mail.example.net, or an IP address";

/// Host name or IP address of a server that the platform runs.
pub(crate) fn host(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        format!("self.matches(r'^{LABEL}([.]{LABEL})*$') && !self.matches(r'(^|[.])[0-9]+$') || isIP(self)"),
        HOST_HELP,
    );
}

/// Host name of a mail exchanger: never an address (RFC 2181, 10.3).
pub(crate) fn mx_host(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        format!("self.matches(r'^{LABEL}([.]{LABEL})+$')"),
        "must be a full host name of at least two labels, in lower case and without a trailing dot, such as mx1.mail.example.net",
    );
    rule(
        s,
        "!isIP(self) && !self.matches(r'[.][0-9]+$')",
        "an MX record names a host, never an IP address: give a host name such as mx1.mail.example.net",
    );
}

/// Host that CNAME records of domains lead to: never an address.
pub(crate) fn well_known_host(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        format!("self.matches(r'^{LABEL}([.]{LABEL})+$') && !isIP(self) && !self.matches(r'[.][0-9]+$')"),
        "must be a full host name in lower case without a trailing dot, such as wellknown.mail.example.net: CNAME records of domains lead to it",
    );
}

/// Domain of an SPF record; its labels may hold underscores (`_spf`).
pub(crate) fn spf_domain(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        format!("self.matches(r'^{SERVICE_LABEL}([.]{SERVICE_LABEL})+$') && !self.matches(r'[.][0-9]+$')"),
        "must be the domain of an SPF record in lower case without a trailing dot, such as _spf.mail.example.net; without the word include:",
    );
}

/// Name of a zone, which may be a single label or below an underscore.
pub(crate) fn zone(s: &mut Schema) {
    text(s, 1, 253);
    rule(s, "!self.endsWith('.')", "write the zone without a trailing dot, such as example.org");
    let (label, service) = (u_label(), SERVICE_LABEL);
    rule(
        s,
        format!("self.matches(r'^({label}|{service})([.]({label}|{service}))*[.]?$') && {NO_LONG_LABEL}"),
        "must be the name of a zone in lower case, such as example.org: labels of letters, digits and inner '-', 1 to 63 characters each, joined by single dots",
    );
}

/// Zones of a DNSBackend, each name once.
pub(crate) fn zones(s: &mut Schema) {
    keyed(s, 1, 256, "name");
}

/// Mail exchangers, each host once.
pub(crate) fn mx(s: &mut Schema) {
    keyed(s, 1, 16, "host");
}

/// Name of a mail domain. One rule for each common mistake, so that the message names it.
pub(crate) fn domain(s: &mut Schema) {
    text(s, 1, 253);
    let label = u_label();
    rule(s, "!self.endsWith('.')", "write the domain without a trailing dot, such as acme.example");
    rule(s, r"!self.matches(r'[\p{Lu}\p{Lt}]')", "write the domain in lower case, such as acme.example");
    rule(s, "!self.contains('_')", "a mail domain has no underscore: letters, digits and inner hyphens are allowed");
    rule(
        s,
        "self.contains('.')",
        "a single label is a top-level domain or a local name: write a name below it, such as acme.example",
    );
    rule(
        s,
        format!("self.matches(r'^{label}([.]{label})*$') && {NO_LONG_LABEL}"),
        "must be a domain such as acme.example, münchen.example or xn--mnchen-3ya.example: labels of 1 to 63 letters, digits and inner hyphens in lower case, joined by single dots",
    );
    rule(
        s,
        "!isIP(self) && !self.matches(r'[.][0-9]+$')",
        "an IP address is not a mail domain: write a name such as acme.example",
    );
    let list = SUFFIXES.iter().map(|s| format!("'{s}'")).collect::<Vec<_>>().join(", ");
    rule(
        s,
        format!("!(self in [{list}])"),
        "this is a public suffix, below which others register their names: write the name below it, such as acme.co.uk",
    );
}
