//! Addresses, their local parts, and URIs that hold one (RFC 5321, RFC 5322).

use super::names::{LABEL, NO_LONG_LABEL, u_label};
use super::schema::{items, rule, set, text};
use super::urls::PORT;
use schemars::Schema;

/// Characters of an address's local part: `atext` of RFC 5322, lower case. (`\x27`: the quote would end the CEL text.)
const ATEXT: &str = r"[a-z0-9!#$%&\x27*+/=?^_`{|}~-]";
/// The same without the characters that mail servers treat specially: `*`, `/`, `%`, `!`, `|` and the back quote.
const OWN_ATEXT: &str = r"[a-z0-9#$&\x27+=?^_{}~-]";
/// What a login may hold: Dovecot's own `auth_username_chars`. Of the others `+` begins a subaddress, `?` and `*` are
/// wildcards of doveadm, and SOGo 5.8 puts the login into its SQL unquoted, where a quote would end the text.
const LOGIN: &str = "[a-z0-9_-]";

const LEADING_HYPHEN: &str = "localPart must not begin with -: mail servers refuse such an address";

/// Local part of a mailbox, which is a login too ([`LOGIN`]).
pub(crate) fn local_part(s: &mut Schema) {
    text(s, 1, 64);
    rule(s, "!self.matches(r'[A-Z]')", "localPart must be lower case: alice, not Alice");
    rule(s, "!self.startsWith('-')", LEADING_HYPHEN);
    rule(
        s,
        format!(r"self.matches(r'^([A-Z]|{LOGIN})+([.]([A-Z]|{LOGIN})+)*$')"),
        "localPart must be words of letters a to z, digits, _ and - joined by single dots, without quotes and without the domain, such as alice or alice.example: it is a login too. An address with other characters (o'brien, r&d, or * for a catch-all) is a MailAlias of the mailbox",
    );
}

/// Local part of an alias: wider than that of a mailbox, and `*` for the catch-all.
pub(crate) fn alias_local_part(s: &mut Schema) {
    text(s, 1, 64);
    rule(s, "!self.matches(r'[A-Z]')", "localPart must be lower case: info, not Info");
    rule(s, "!self.startsWith('-')", LEADING_HYPHEN);
    rule(
        s,
        format!(r"self == '*' || self.matches(r'^([A-Z]|{OWN_ATEXT})+([.]([A-Z]|{OWN_ATEXT})+)*$')"),
        "localPart must be * (catch-all), or words of letters a to z, digits and # $ & ' + = ? ^ _ { } ~ - joined by single dots, without quotes and without the domain, such as info or press.office",
    );
}

/// One address in lower case, its domain as U-label or A-label.
pub(crate) fn address(s: &mut Schema) {
    text(s, 3, 254);
    let label = u_label();
    rule(
        s,
        format!(
            r"self.matches(r'^{ATEXT}+([.]{ATEXT}+)*@({label}[.])+{label}$') && !self.matches(r'[.][0-9]+$') && {NO_LONG_LABEL}"
        ),
        "must be one address in lower case without a name or quotes, such as bob@acme.example",
    );
    rule(s, "self.matches(r'^[^@]{0,64}(@|$)')", "the part of an address before the @ has at most 64 characters");
}

/// Addresses that a mailbox forwards to, each once.
pub(crate) fn forward_addresses(s: &mut Schema) {
    set(s, 1, 50);
    items(s, address);
}

/// Addresses that get the access data of a mailbox, each once.
pub(crate) fn notice_addresses(s: &mut Schema) {
    set(s, 0, 10);
    items(s, address);
}

/// URIs of a DMARC record (RFC 9990): `mailto:`, with an optional size.
pub(crate) fn dmarc_uris(s: &mut Schema) {
    set(s, 0, 10);
    items(s, |s| {
        text(s, 1, 320);
        rule(
            s,
            format!("self.matches(r'^mailto:[A-Za-z0-9._%+=~-]{{1,64}}@({LABEL}[.])+{LABEL}(![0-9]{{1,9}}[kmgt]?)?$')"),
            "must be a mailto: URI such as mailto:dmarc@acme.example, the domain as A-label",
        );
    });
}

/// URIs of a TLS report record (RFC 8460): `mailto:` or `https:`.
pub(crate) fn tls_rpt_uris(s: &mut Schema) {
    set(s, 1, 10);
    items(s, |s| {
        text(s, 1, 320);
        rule(
            s,
            format!(
                "self.matches(r'^mailto:[A-Za-z0-9._%+=~-]{{1,64}}@({LABEL}[.])+{LABEL}$') || self.matches(r'^https://({LABEL}[.])+{LABEL}(:{PORT})?(/[A-Za-z0-9._~%/?=&-]*)?$')"
            ),
            "must be a mailto: or https: URI, such as mailto:tls@acme.example, the domain as A-label",
        );
    });
}
