//! What goes wrong, on which wire, and what the operator must say about it.

use crate::harness::proxy::{Fault, Protocol};
use Fault::{Close, Hang, Http, Line, LostCommit, Rcode, Refuse, ResetBefore, ResetInAnswer, Sql, Truncated};

/// A way from the operator to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    Sql,
    Doveadm,
    Memcached,
    PowerDns,
    /// DNS itself, where records are seen.
    Dns,
    /// The mail server's port, where recipients are asked for.
    Smtp,
}

pub const WIRES: [Wire; 6] = [Wire::Sql, Wire::Doveadm, Wire::Memcached, Wire::PowerDns, Wire::Dns, Wire::Smtp];

impl Wire {
    pub fn protocol(self) -> Protocol {
        match self {
            Wire::Sql => Protocol::Postgres,
            Wire::Doveadm | Wire::PowerDns => Protocol::Http,
            Wire::Memcached => Protocol::Memcached,
            Wire::Dns => Protocol::Dns,
            Wire::Smtp => Protocol::Smtp,
        }
    }

    /// What a message about it has in it.
    pub fn word(self) -> &'static str {
        match self {
            Wire::Sql => "database",
            Wire::Doveadm => "doveadm",
            Wire::Memcached => "memcached",
            Wire::PowerDns => "DNSBackend",
            Wire::Dns => "no DNS server answers",
            Wire::Smtp => "mail server",
        }
    }

    /// The object that cannot leave without it, of those of [`super::wired`].
    pub fn last(self) -> &'static str {
        match self {
            Wire::Sql | Wire::Memcached => "info",
            Wire::Doveadm => "alice",
            Wire::PowerDns | Wire::Dns => "main",
            Wire::Smtp => "",
        }
    }
}

/// What goes wrong in one life, on each wire; nothing where a wire has had all its faults.
#[derive(Debug, Clone)]
pub struct Row {
    sql: Option<Fault>,
    doveadm: Option<Fault>,
    powerdns: Option<Fault>,
    memcached: Option<Fault>,
    dns: Option<Fault>,
    smtp: Option<Fault>,
}

impl Row {
    pub fn fault(&self, wire: Wire) -> Option<Fault> {
        match wire {
            Wire::Sql => &self.sql,
            Wire::Doveadm => &self.doveadm,
            Wire::Memcached => &self.memcached,
            Wire::PowerDns => &self.powerdns,
            Wire::Dns => &self.dns,
            Wire::Smtp => &self.smtp,
        }
        .clone()
    }
}

const UNAUTHORIZED: Fault = Http(401, &[], "");
const FORBIDDEN: Fault = Http(403, &[("Content-Type", "text/html")], "<html>Forbidden</html>");
const SLOW_DOWN: Fault = Http(429, &[("Retry-After", "2")], "slow down");
const INTERNAL: Fault = Http(500, &[("Content-Type", "application/json")], "{\"error\": \"internal\"}");
const BAD_GATEWAY: Fault = Http(502, &[("Content-Type", "text/html")], "<html><h1>502 Bad Gateway</h1></html>");
/// As doveadm says it; PowerDNS says nothing that looks like it.
const ERROR_INSIDE: Fault =
    Http(200, &[("Content-Type", "application/json")], "[[\"error\",{\"type\":\"exitCode\",\"exitCode\":75},\"m\"]]");
const NOTHING: Fault = Http(200, &[], "");
/// A proxy that lost its server: no proof that anything is absent.
const NOT_FOUND: Fault = Http(404, &[("Content-Type", "text/html")], "<html>Not Found</html>");

fn row(sql: Option<Fault>, http: [Fault; 2], others: [Option<Fault>; 3]) -> Row {
    let ([doveadm, powerdns], [memcached, dns, smtp]) = (http, others);
    Row { sql, doveadm: Some(doveadm), powerdns: Some(powerdns), memcached, dns, smtp }
}

/// Every fault of every wire: SQL, doveadm and PowerDNS, then memcached, DNS, SMTP.
pub fn rows() -> Vec<Row> {
    let busy = Line("SERVER_ERROR out of memory\r\n");
    vec![
        // Serialization.
        row(
            Some(Sql("40001")),
            [Refuse, UNAUTHORIZED],
            [Some(ResetBefore), Some(Rcode(2)), Some(Line("450 4.3.0 later\r\n"))],
        ),
        row(Some(Refuse), [UNAUTHORIZED, ResetBefore], [Some(Close), Some(Truncated), Some(ResetInAnswer)]),
        row(
            Some(ResetBefore),
            [FORBIDDEN, Refuse],
            [Some(Line("ERROR\r\n")), Some(Rcode(5)), Some(Line("421 4.3.2 down\r\n"))],
        ),
        row(Some(ResetInAnswer), [SLOW_DOWN, FORBIDDEN], [Some(Refuse), Some(Hang), Some(ResetBefore)]),
        row(Some(Hang), [INTERNAL, SLOW_DOWN], [Some(ResetInAnswer), Some(Refuse), Some(Close)]),
        // Read-only.
        row(Some(Sql("25006")), [Hang, INTERNAL], [Some(busy), Some(ResetInAnswer), Some(Refuse)]),
        // Our password is not taken any more.
        row(
            Some(Sql("28P01")),
            [BAD_GATEWAY, Hang],
            [Some(Hang), Some(Line("no answer")), Some(Line("554 5.7.1 not you\r\n"))],
        ),
        row(Some(LostCommit), [ERROR_INSIDE, BAD_GATEWAY], [None, None, Some(Line("hello\r\n"))]),
        row(None, [NOTHING, ERROR_INSIDE], [None, None, Some(Hang)]),
        row(None, [NOT_FOUND, NOTHING], [None, None, None]),
        row(None, [ResetBefore, NOT_FOUND], [None, None, None]),
        row(None, [ResetInAnswer, ResetInAnswer], [None, None, None]),
    ]
}

/// The reasons that a condition must show, one of them.
pub fn reasons(wire: Wire, fault: &Fault, kind: &str) -> &'static [&'static str] {
    match (wire, fault) {
        (_, Http(401 | 403, ..) | Sql("28P01")) => &["BackendUnauthorized"],
        // An answer about the recipient; anything else is one about the server.
        (Wire::Smtp, Line(line)) if kind == "RCPT" && (line.starts_with("450") || line.starts_with("554")) => {
            &["AwaitingAcceptance"]
        }
        _ => &["BackendUnreachable"],
    }
}

/// Whether the call is carried out although it fails: then the next try may find it done, and nothing is left to name.
pub fn carried_out(wire: Wire, fault: &Fault, kind: &str) -> bool {
    let reads = match wire {
        Wire::Sql => kind.starts_with("SELECT"),
        Wire::PowerDns => kind.starts_with("GET"),
        Wire::Dns => true,
        Wire::Doveadm | Wire::Memcached | Wire::Smtp => false,
    };
    *fault == LostCommit || (*fault == ResetInAnswer && !reads) || says_not_ours(wire, fault, kind)
}

/// A server that refuses to say whether a host of MX has an address has no zone for it, as most have for hosts of a platform:
/// nothing waits for that.
fn says_not_ours(wire: Wire, fault: &Fault, kind: &str) -> bool {
    // A, AAAA.
    wire == Wire::Dns && *fault == Rcode(5) && ["TYPE1", "TYPE28"].contains(&kind)
}

/// Calls whose failure changes nothing: manners, and the end of what failed already.
pub fn optional(wire: Wire, kind: &str) -> bool {
    match wire {
        Wire::Smtp => ["RSET", "QUIT"].contains(&kind),
        Wire::Sql => ["ROLLBACK", "ROLLBACK TO view"].contains(&kind),
        // Asked for the health of a live domain alone, which is told and holds nothing up.
        Wire::Dns => kind == "NS",
        _ => false,
    }
}
