//! TLS reporting: where senders report connections that TLS failed for (RFC 8460).

/// Name of the record of `domain` (RFC 8460, 3).
pub(super) fn tls_rpt_name(domain: &str) -> String {
    format!("_smtp._tls.{domain}")
}

/// Text of the record, for `mailto:` and `https:` URIs.
pub(super) fn tls_rpt_value(report_to: &[String]) -> String {
    format!("v=TLSRPTv1; rua={}", report_to.join(","))
}
