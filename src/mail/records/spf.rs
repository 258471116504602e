//! SPF: the term that every domain of an instance shares, and what follows it (RFC 7208). How it comes into a record of
//! others is in [`crate::spf`].

use crate::policy::SpfAll;

/// The SPF term for a name.
pub fn spf_term(include: &str) -> String {
    format!("include:{}", include.strip_suffix('.').unwrap_or(include))
}

/// The last term: what holds for all other senders.
pub(super) fn all_word(all: SpfAll) -> &'static str {
    match all {
        SpfAll::Fail => "-all",
        SpfAll::SoftFail => "~all",
        SpfAll::Neutral => "?all",
    }
}
