//! What a field may hold: bounds, and CEL rules whose messages say what is allowed.
//!
//! Each function is a schemars `transform` of one field (or of one struct) and touches only the schema. A format
//! stands in CEL rather than in `pattern`, because a refused `pattern` answers with the expression alone. Every text
//! and list has an upper bound: the apiserver estimates the cost of a rule from the bounds of what it reads and
//! refuses a CRD whose worst case is too dear.

use schemars::Schema;
use serde_json::{Map, Value, json};

/// Characters of an address's local part: `atext` of RFC 5322, lower case. (`\x27`: the quote would end the CEL text.)
const ATEXT: &str = r"[a-z0-9!#$%&\x27*+/=?^_`{|}~-]";
/// The same without those that mean something to mail servers: `*`, `/`, `%`, `!`, `|` and the back quote.
const OWN_ATEXT: &str = r"[a-z0-9#$&\x27+=?^_{}~-]";
/// What a login may hold: Dovecot's own `auth_username_chars`. Of the others `+` begins a subaddress, `?` and `*` are
/// wildcards of doveadm, and SOGo 5.8 puts the login into its SQL unquoted, where a quote would end the text.
const LOGIN: &str = "[a-z0-9_-]";
/// One label of a host name.
const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
/// One label that may start with or hold an underscore: names of records and zones.
const SERVICE_LABEL: &str = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?";
/// First character of a U-label. Upper case has no place (RFC 5892); U+3007 is the one letter-like number.
const U_FIRST: &str = r"[\p{Ll}\p{Lo}\p{Lm}\p{Nd}\x{3007}]";
/// Inner characters: marks, the hyphen, and those that RFC 5892 allows in context. IDNA itself is checked in reconcile.
const U_INNER: &str = r"[\p{Ll}\p{Lo}\p{Lm}\p{Nd}\p{M}\x{3007}\x{200C}\x{200D}\x{B7}\x{375}\x{5F3}\x{5F4}\x{30FB}-]";
/// Last character of a U-label.
const U_LAST: &str = r"[\p{Ll}\p{Lo}\p{Lm}\p{Nd}\p{M}\x{3007}\x{5F3}\x{5F4}]";
/// 1 to 65535.
const PORT: &str = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
/// An object's name (RFC 1123 subdomain).
const OBJECT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
/// The public suffixes of two labels that people most often write by mistake. The whole list is asked in reconcile.
const SUFFIXES: &[&str] = &[
    "ac.at", "ac.jp", "ac.nz", "ac.uk", "co.at", "co.id", "co.il", "co.in", "co.jp", "co.ke", "co.kr", "co.nz",
    "co.th", "co.uk", "co.za", "com.ar", "com.au", "com.br", "com.cn", "com.co", "com.hk", "com.mx", "com.my",
    "com.pl", "com.sg", "com.tr", "com.tw", "com.ua", "gov.uk", "gv.at", "me.uk", "ne.jp", "net.au", "or.at", "or.jp",
    "org.au", "org.uk",
];

/// Adds one rule.
fn rule(s: &mut Schema, cel: impl Into<String>, message: &str) {
    push(s.ensure_object(), json!({"rule": cel.into(), "message": message}));
}

/// Adds one rule that names the field it is about; `path` is relative, such as `.domainRef`.
fn rule_at(s: &mut Schema, path: &str, cel: impl Into<String>, message: &str) {
    push(s.ensure_object(), json!({"rule": cel.into(), "message": message, "fieldPath": path}));
}

fn push(schema: &mut Map<String, Value>, rule: Value) {
    if let Some(rules) = schema.entry("x-kubernetes-validations").or_insert_with(|| json!([])).as_array_mut() {
        rules.push(rule);
    }
}

/// Applies `f` to the items of a list.
fn items(s: &mut Schema, f: impl Fn(&mut Schema)) {
    if let Some(items) = s.get_mut("items")
        && let Ok(mut schema) = Schema::try_from(items.take())
    {
        f(&mut schema);
        *items = schema.to_value();
    }
}

fn text(s: &mut Schema, min: u32, max: u32) {
    s.insert("minLength".into(), json!(min));
    s.insert("maxLength".into(), json!(max));
}

fn list(s: &mut Schema, min: u32, max: u32) {
    if min > 0 {
        s.insert("minItems".into(), json!(min));
    }
    s.insert("maxItems".into(), json!(max));
}

/// A list whose items differ from each other: the apiserver refuses `Duplicate value`.
fn set(s: &mut Schema, min: u32, max: u32) {
    list(s, min, max);
    s.insert("x-kubernetes-list-type".into(), json!("set"));
}

/// A list of objects that one field tells apart.
fn keyed(s: &mut Schema, min: u32, max: u32, key: &str) {
    list(s, min, max);
    s.insert("x-kubernetes-list-type".into(), json!("map"));
    s.insert("x-kubernetes-list-map-keys".into(), json!([key]));
}

/// One label of a domain as U-label or A-label. Its length is bounded apart ([`NO_LONG_LABEL`]): counted repetition of
/// a Unicode class makes a large automaton.
fn u_label() -> String {
    format!("{U_FIRST}({U_INNER}*{U_LAST})?")
}

/// CEL: no label has more than 63 characters.
const NO_LONG_LABEL: &str = "!self.matches(r'[^.@]{64}([^@]*$)')";

// Names of Kubernetes objects

/// Name of an object or a Secret.
pub fn object_name(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        format!("self.matches(r'^{OBJECT}$')"),
        "must be the name of an object: lower-case letters, digits, '-' and '.', starting and ending with a letter or a digit",
    );
}

/// Key of a Secret.
pub fn secret_key(s: &mut Schema) {
    text(s, 1, 253);
    rule(s, "self.matches(r'^[-._a-zA-Z0-9]+$')", "must be a key of a Secret: letters, digits, '-', '_' and '.'");
}

/// Names of namespaces.
pub fn namespaces(s: &mut Schema) {
    set(s, 0, 128);
    items(s, |s| {
        text(s, 1, 63);
        rule(
            s,
            "self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "must be the name of a namespace: lower-case letters, digits and inner '-', at most 63 characters",
        );
    });
}

/// Labels of namespaces.
pub fn match_labels(s: &mut Schema) {
    s.insert("minProperties".into(), json!(1));
    s.insert("maxProperties".into(), json!(16));
    if let Some(values) = s.get_mut("additionalProperties").and_then(Value::as_object_mut) {
        values.insert("maxLength".into(), json!(63));
    }
    rule(
        s,
        "self.all(k, k.size() <= 317 && k.matches(r'^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$'))",
        "the keys must be label keys, such as mail or example.com/mail",
    );
    rule(
        s,
        "self.all(k, self[k].matches(r'^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$'))",
        "the values must be label values: letters, digits, '-', '_' and '.', at most 63 characters",
    );
}

/// [`super::AllowedNamespaces`]: what goes with `from`.
pub fn allowed_namespaces(s: &mut Schema) {
    rule(
        s,
        "self.from == 'Selector' ? has(self.selector) : !has(self.selector)",
        "selector goes with from: Selector, and only with it",
    );
    rule(
        s,
        "self.from == 'Names' ? has(self.names) && self.names.size() > 0 : !has(self.names) || self.names.size() == 0",
        "names (at least one) goes with from: Names, and only with it",
    );
}

// Names of hosts and domains

const HOST_HELP: &str =
    "must be a host name in lower case without a trailing dot, such as mail.example.net, or an IP address";

/// Host name or IP address.
pub fn host(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        format!("self.matches(r'^{LABEL}([.]{LABEL})*$') && !self.matches(r'(^|[.])[0-9]+$') || isIP(self)"),
        HOST_HELP,
    );
}

/// Host name of a mail exchanger.
pub fn mx_host(s: &mut Schema) {
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

/// Domain of an SPF record.
pub fn spf_domain(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        format!("self.matches(r'^{SERVICE_LABEL}([.]{SERVICE_LABEL})+$') && !self.matches(r'[.][0-9]+$')"),
        "must be the domain of an SPF record in lower case without a trailing dot, such as _spf.mail.example.net; without the word include:",
    );
}

/// Name of a zone.
pub fn zone(s: &mut Schema) {
    text(s, 1, 253);
    rule(s, "!self.endsWith('.')", "write the zone without a trailing dot, such as example.org");
    let (label, service) = (u_label(), SERVICE_LABEL);
    rule(
        s,
        format!("self.matches(r'^({label}|{service})([.]({label}|{service}))*[.]?$') && {NO_LONG_LABEL}"),
        "must be the name of a zone in lower case, such as example.org: labels of letters, digits and inner '-', 1 to 63 characters each, joined by single dots",
    );
}

/// Zones of a DNS backend.
pub fn zones(s: &mut Schema) {
    keyed(s, 1, 256, "name");
}

/// Mail exchangers.
pub fn mx(s: &mut Schema) {
    keyed(s, 1, 16, "host");
}

/// Name of a mail domain.
pub fn domain(s: &mut Schema) {
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

// Addresses

const LEADING_HYPHEN: &str = "localPart must not begin with -: mail servers refuse such an address";

/// Local part of a mailbox.
pub fn local_part(s: &mut Schema) {
    text(s, 1, 64);
    rule(s, "!self.matches(r'[A-Z]')", "localPart must be lower case: alice, not Alice");
    rule(s, "!self.startsWith('-')", LEADING_HYPHEN);
    rule(
        s,
        format!(r"self.matches(r'^([A-Z]|{LOGIN})+([.]([A-Z]|{LOGIN})+)*$')"),
        "localPart must be words of letters a to z, digits, _ and - joined by single dots, without quotes and without the domain, such as alice or alice.example: it is a login too. An address with other characters (o'brien, r&d, or * for a catch-all) is a MailAlias of the mailbox",
    );
}

/// Local part of an alias: also `*`.
pub fn alias_local_part(s: &mut Schema) {
    text(s, 1, 64);
    rule(s, "!self.matches(r'[A-Z]')", "localPart must be lower case: info, not Info");
    rule(s, "!self.startsWith('-')", LEADING_HYPHEN);
    rule(
        s,
        format!(r"self == '*' || self.matches(r'^([A-Z]|{OWN_ATEXT})+([.]([A-Z]|{OWN_ATEXT})+)*$')"),
        "localPart must be * (catch-all), or words of letters a to z, digits and # $ & ' + = ? ^ _ { } ~ - joined by single dots, without quotes and without the domain, such as info or press.office",
    );
}

/// An address.
pub fn address(s: &mut Schema) {
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

/// Addresses that a mailbox forwards to.
pub fn forward_addresses(s: &mut Schema) {
    set(s, 1, 50);
    items(s, address);
}

/// Addresses that access data is sent to.
pub fn notice_addresses(s: &mut Schema) {
    set(s, 0, 10);
    items(s, address);
}

/// URIs of a DMARC record (RFC 9990): `mailto:`, with an optional size.
pub fn dmarc_uris(s: &mut Schema) {
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
pub fn tls_rpt_uris(s: &mut Schema) {
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

// URLs and sockets

fn url(s: &mut Schema, tail: &str, message: &str) {
    text(s, 1, 1024);
    rule(
        s,
        format!(
            r"self.matches(r'^https?://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:{PORT})?{tail}$')"
        ),
        message,
    );
}

/// URL that users are told.
pub fn web_url(s: &mut Schema) {
    url(
        s,
        r"([/?#][^\s\p{Cc}]*)?",
        "must be an http or https URL without user name or password, such as https://webmail.example.net/SOGo",
    );
}

/// URL of doveadm's API.
pub fn doveadm_url(s: &mut Schema) {
    url(
        s,
        r"(/[^\s\p{Cc}?#@]*)?/doveadm/v1",
        "must be an http or https URL that ends in /doveadm/v1, without user name or password, such as https://dovecot.mail.svc:8080/doveadm/v1",
    );
}

/// URL of PowerDNS's web server.
pub fn powerdns_url(s: &mut Schema) {
    url(
        s,
        r"(/[^\s\p{Cc}?#@]*)?",
        "must be an http or https URL without user name, password or query, such as http://pdns.dns.svc:8081",
    );
    rule(s, "!self.matches(r'/api(/.*)?$')", "give the URL of the server without /api: http://pdns.dns.svc:8081");
}

/// `host:port`.
pub fn socket(s: &mut Schema) {
    text(s, 1, 260);
    rule(
        s,
        format!(r"self.matches(r'^([a-z0-9_]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-fA-F:.]+\]):{PORT}$')"),
        "must be host:port with a port from 1 to 65535, such as pdns.dns.svc:53, 192.0.2.1:53 or [2001:db8::1]:53",
    );
}

/// Resolvers.
pub fn sockets(s: &mut Schema) {
    set(s, 0, 16);
    items(s, socket);
}

/// Id of a server inside PowerDNS's API.
pub fn server_id(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        "self.matches(r'^[A-Za-z0-9._-]+$')",
        "must be a server id of letters, digits, '.', '_' and '-', such as localhost",
    );
}

/// Name of a PostgreSQL database.
pub fn database_name(s: &mut Schema) {
    text(s, 1, 63);
    rule(s, r"!self.matches(r'[\p{Cc}\s]')", "must be the name of a database, without spaces and control characters");
}

/// [`super::groupware_backend::Database`].
pub fn database(s: &mut Schema) {
    rule_at(
        s,
        ".caSecretRef",
        "!has(self.caSecretRef) || self.tls == 'VerifyFull'",
        "caSecretRef goes with tls: VerifyFull: the other modes check no certificate",
    );
}

// Amounts, times, texts

/// An amount of storage above zero.
pub fn storage(s: &mut Schema) {
    s.remove("pattern");
    s.insert("maxLength".into(), json!(32));
    rule(
        s,
        "type(self) == int ? self > 0 : type(self) == string && self.matches(r'^[0-9]{1,15}([.][0-9]{1,9})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$') \
         && quantity(self).isGreaterThan(quantity('0')) && quantity(self).isLessThan(quantity('8Ei'))",
        "must be an amount of storage above zero and below 8Ei, such as 500Mi, 5Gi or 1073741824",
    );
}

/// Time between two bulk reads.
pub fn interval(s: &mut Schema) {
    text(s, 2, 7);
    rule(
        s,
        "self.matches(r'^[0-9]{1,6}(s|m|h)$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",
        "must be a whole number of s, m or h from 1s to 24h, such as 30s, 15m or 1h",
    );
}

/// Age of keys in days.
pub fn days(s: &mut Schema) {
    text(s, 2, 5);
    rule(s, "self.matches(r'^[1-9][0-9]{0,3}d$')", "must be a whole number of days from 1d to 9999d, such as 365d");
}

/// One line that people read: a name, a subject.
pub fn line(s: &mut Schema) {
    text(s, 1, 255);
    rule(
        s,
        r"!self.matches(r'[\p{Cc}\x{2028}\x{2029}]')",
        "must be one line of text without line breaks and other control characters",
    );
}

/// The name beside an address: SOGo takes what stands after the first `<` of a name for the sender's address.
pub fn display_name(s: &mut Schema) {
    line(s);
    rule(s, "!self.matches(r'[<>]')", "must be a name without < and >, between which an address would stand");
}

/// A text of several lines.
pub fn message(s: &mut Schema) {
    text(s, 1, 10000);
    rule(
        s,
        r"!self.matches(r'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')",
        "must be text without control characters; line breaks and tabs are allowed",
    );
}

/// A day.
pub fn day(s: &mut Schema) {
    text(s, 10, 10);
    rule(
        s,
        "!format.date().validate(self).hasValue()",
        "must be a day of the calendar as YYYY-MM-DD, such as 2026-12-24",
    );
}

/// [`super::mailbox::AutoReply`].
pub fn auto_reply(s: &mut Schema) {
    rule_at(
        s,
        ".until",
        "!has(self.from) || !has(self.until) || self.until >= self.from",
        "until must be the same day as from or a later one",
    );
}

// Unions and what goes with what

/// [`super::mailbox::Password`].
pub fn password(s: &mut Schema) {
    rule(
        s,
        "[has(self.generate), has(self.secretRef), has(self.hashSecretRef)].filter(x, x).size() <= 1",
        "exactly one of generate, secretRef and hashSecretRef may be given; none = generate",
    );
}

/// [`super::mail_alias::AliasTarget`].
pub fn alias_target(s: &mut Schema) {
    rule(s, "has(self.mailboxRef) != has(self.address)", "a target is exactly one of mailboxRef and address");
}

/// Targets of an alias.
pub fn targets(s: &mut Schema) {
    list(s, 1, 500);
    s.insert("x-kubernetes-list-type".into(), json!("atomic"));
    rule(s, "self.all(t, self.exists_one(u, u == t))", "no target may be given twice");
}

/// [`super::mail_domain::DomainDns`].
pub fn domain_dns(s: &mut Schema) {
    rule_at(
        s,
        ".backendRef",
        "self.mode != 'Managed' || has(self.backendRef)",
        "mode: Managed needs backendRef, the DNSBackend that holds the zone",
    );
    rule_at(
        s,
        ".backendRef",
        "self.mode != 'Manual' || !has(self.backendRef)",
        "mode: Manual has no backendRef: the records are edited elsewhere; remove it or say mode: Managed",
    );
}

/// Algorithms of signing keys.
pub fn algorithms(s: &mut Schema) {
    set(s, 1, 2);
}

/// Status of a condition, as apimachinery bounds it.
pub fn condition_status(s: &mut Schema) {
    s.insert("enum".into(), json!(["True", "False", "Unknown"]));
}
