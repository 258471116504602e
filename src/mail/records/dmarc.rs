//! DMARC: what receivers do with mail that fails, and where they report it (RFC 9989).

use crate::policy::DmarcPolicy;

/// Content of a DMARC record (RFC 9989).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dmarc {
    /// What receivers should do with mail that fails.
    pub policy: DmarcPolicy,
    /// `mailto:` URIs for aggregate reports.
    pub report_to: Vec<String>,
}

/// A record of ours under which receivers only report; none: it is one.
pub(super) fn without_policy(record: &str) -> Option<String> {
    let strict = ["; p=quarantine", "; p=reject"];
    strict.iter().find(|p| record.contains(**p)).map(|p| record.replacen(p, "; p=none", 1))
}

/// Text of the DMARC record. `p` comes right after `v`, as receivers from before RFC 9989 expect.
pub(crate) fn dmarc_value(dmarc: &Dmarc) -> String {
    let policy = match dmarc.policy {
        DmarcPolicy::None => "none",
        DmarcPolicy::Quarantine => "quarantine",
        DmarcPolicy::Reject => "reject",
    };
    match dmarc.report_to.as_slice() {
        [] => format!("v=DMARC1; p={policy}"),
        uris => format!("v=DMARC1; p={policy}; rua={}", uris.join(",")),
    }
}
