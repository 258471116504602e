//! SPF: the terms that a domain needs (RFC 7208). How they get into an existing record is in [`crate::spf`].

use crate::policy::SpfAll;

/// The term that includes the SPF record of another name.
pub(super) fn spf_term(include: &str) -> String {
    format!("include:{}", include.strip_suffix('.').unwrap_or(include))
}

/// A record of ours that rejects nobody; none: it does so as it is.
pub(super) fn without_fail(record: &str) -> Option<String> {
    record.strip_suffix(" -all").map(|terms| format!("{terms} ~all"))
}

/// The last term: the result for all other senders.
pub(super) fn all_word(all: SpfAll) -> &'static str {
    match all {
        SpfAll::Fail => "-all",
        SpfAll::SoftFail => "~all",
        SpfAll::Neutral => "?all",
    }
}
