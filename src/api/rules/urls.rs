//! URLs, `host:port`, ids of servers and names of databases.

use super::schema::{items, rule, set, text};
use schemars::Schema;

/// A port, 1 to 65535.
pub(super) const PORT: &str = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

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

/// URL that users open in a browser or a client.
pub(crate) fn web_url(s: &mut Schema) {
    url(
        s,
        r"([/?#][^\s\p{Cc}]*)?",
        "must be an http or https URL without user name or password, such as https://webmail.example.net/SOGo",
    );
}

/// URL of the HTTP API of doveadm, with its path.
pub(crate) fn doveadm_url(s: &mut Schema) {
    url(
        s,
        r"(/[^\s\p{Cc}?#@]*)?/doveadm/v1",
        "must be an http or https URL that ends in /doveadm/v1, without user name or password, such as https://dovecot.mail.svc:8080/doveadm/v1",
    );
}

/// URL of the web server of PowerDNS, without the path of its API.
pub(crate) fn powerdns_url(s: &mut Schema) {
    url(
        s,
        r"(/[^\s\p{Cc}?#@]*)?",
        "must be an http or https URL without user name, password or query, such as http://pdns.dns.svc:8081",
    );
    rule(s, "!self.matches(r'/api(/.*)?$')", "give the URL of the server without /api: http://pdns.dns.svc:8081");
}

/// `host:port`, an IPv6 address in brackets.
pub(crate) fn socket(s: &mut Schema) {
    text(s, 1, 260);
    rule(
        s,
        format!(r"self.matches(r'^([a-z0-9_]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-fA-F:.]+\]):{PORT}$')"),
        "must be host:port with a port from 1 to 65535, such as pdns.dns.svc:53, 192.0.2.1:53 or [2001:db8::1]:53",
    );
}

/// Name of a TSIG key.
pub(crate) fn key_name(s: &mut Schema) {
    text(s, 1, 254);
    rule(
        s,
        r"self.matches(r'^[a-z0-9_]([a-z0-9_-]{0,62})([.][a-z0-9_]([a-z0-9_-]{0,62}))*[.]?$')",
        "must be the name of a TSIG key in lower case, such as mailtenant. or mailtenant.example.org",
    );
}

/// DNS servers as `host:port`, each once.
pub(crate) fn sockets(s: &mut Schema) {
    set(s, 0, 16);
    items(s, socket);
}

/// Id of a server in the HTTP API of PowerDNS.
pub(crate) fn server_id(s: &mut Schema) {
    text(s, 1, 253);
    rule(
        s,
        "self.matches(r'^[A-Za-z0-9._-]+$')",
        "must be a server id of letters, digits, '.', '_' and '-', such as localhost",
    );
}

/// Name of a PostgreSQL database: at most 63 characters.
pub(crate) fn database_name(s: &mut Schema) {
    text(s, 1, 63);
    rule(s, r"!self.matches(r'[\p{Cc}\s]')", "must be the name of a database, without spaces and control characters");
}
