//! SPF records (RFC 7208): how one term gets into a record that somebody else wrote, and out of it again. Pure.
//!
//! A merged record differs from the one before by exactly `include:X ` in front of the `all` (or `
//! include:X` at the end when there is no `all`), and [`unmerge`] takes exactly that away again: what the
//! tenant wrote stays byte for byte.

/// Most DNS lookups that one evaluation may cause (RFC 7208, 4.6.4).
const MAX_LOOKUPS: usize = 10;

/// Why a term cannot be merged, by what the tenant has to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpfProblem {
    /// The text is not an SPF record.
    #[error("this is not an SPF record")]
    NotSpf,
    /// More than one record starts with `v=spf1`: receivers reject all of them (RFC 7208, 4.5).
    #[error("there are {0} SPF records where one is allowed: merge them into one")]
    Several(usize),
    /// The record refers to another one by `redirect=` (RFC 7208, 6.1).
    #[error("the SPF record uses redirect=, into which nothing can be merged: replace it by include: and an all")]
    Redirect,
    /// With the new term it would cause more than [`MAX_LOOKUPS`].
    #[error("the SPF record would cause {0} DNS lookups with our include, 10 are allowed: remove some")]
    TooManyLookups(usize),
    /// A term that no receiver understands.
    #[error("the SPF record has a term that is not SPF: {0:?}")]
    Syntax(String),
}

/// Whether a TXT value is an SPF record: `v=spf1` at its start, alone or followed by a space (RFC 7208, 4.5).
pub(crate) fn is_spf(text: &str) -> bool {
    let head = text.as_bytes().get(..6);
    head.is_some_and(|h| h.eq_ignore_ascii_case(b"v=spf1")) && matches!(text.as_bytes().get(6), None | Some(b' '))
}

/// A record with this term alone, and `all` behind it.
pub(crate) fn own(term: &str, all: &str) -> String {
    format!("v=spf1 {term} {all}")
}

/// One term of a record and its position.
struct Term<'a> {
    start: usize,
    text: &'a str,
}

impl Term<'_> {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }
    /// The term without its qualifier (`+`, `-`, `~`, `?`).
    fn bare(&self) -> &str {
        self.text.strip_prefix(['+', '-', '~', '?']).unwrap_or(self.text)
    }
    fn is_all(&self) -> bool {
        self.bare().eq_ignore_ascii_case("all")
    }
    /// Whether it has the same effect as `term`: `+` is the default qualifier.
    fn is(&self, term: &str) -> bool {
        self.text.strip_prefix('+').unwrap_or(self.text).eq_ignore_ascii_case(term)
    }
    /// Name of a modifier (`redirect=`, `exp=`, or an unknown one); none: it is a mechanism.
    fn modifier(&self) -> Option<&str> {
        let at = self.text.find(['=', ':', '/'])?;
        let name = &self.text[..at];
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        (self.text.as_bytes()[at] == b'=' && named).then_some(name)
    }
    /// Name of a mechanism, in lower case.
    fn mechanism(&self) -> String {
        let bare = self.bare();
        bare[..bare.find([':', '/']).unwrap_or(bare.len())].to_ascii_lowercase()
    }
    fn check(&self) -> Result<(), SpfProblem> {
        if self.modifier().is_some() {
            return Ok(());
        }
        let (name, bare) = (self.mechanism(), self.bare());
        let argument = bare[name.len()..].strip_prefix(':');
        let ok = match name.as_str() {
            "all" => bare.len() == 3,
            "include" | "exists" | "ip4" | "ip6" => argument.is_some_and(|a| !a.is_empty()),
            "a" | "mx" | "ptr" => argument != Some(""),
            _ => false,
        };
        if ok { Ok(()) } else { Err(SpfProblem::Syntax(self.text.chars().take(80).collect())) }
    }
    fn looks_up(&self) -> bool {
        match self.modifier() {
            Some(name) => name.eq_ignore_ascii_case("redirect"),
            None => matches!(self.mechanism().as_str(), "include" | "a" | "mx" | "ptr" | "exists"),
        }
    }
}

fn terms(record: &str) -> Vec<Term<'_>> {
    let mut at = 0;
    let mut out = Vec::new();
    for text in record.split(' ') {
        // The first piece is the version.
        if !text.is_empty() && at > 0 {
            out.push(Term { start: at, text });
        }
        at += text.len() + 1;
    }
    out
}

/// The terms that receivers evaluate: those after `all` are ignored (RFC 7208, 5.1).
fn reached<'r, 'a>(terms: &'r [Term<'a>]) -> &'r [Term<'a>] {
    let end = terms.iter().position(Term::is_all).unwrap_or(terms.len());
    &terms[..end]
}

/// Number of DNS lookups that the record itself causes; those of included records are not known here. `redirect=`
/// counts only without `all` (RFC 7208, 6.1).
fn lookups(record: &str) -> usize {
    let all = terms(record);
    let has_all = all.iter().any(Term::is_all);
    let modifiers = all.iter().filter(|t| !has_all && t.modifier().is_some() && t.looks_up()).count();
    reached(&all).iter().filter(|t| t.modifier().is_none() && t.looks_up()).count() + modifiers
}

/// Whether receivers evaluate `term` in `record`.
pub(crate) fn has(record: &str, term: &str) -> bool {
    is_spf(record) && reached(&terms(record)).iter().any(|t| t.is(term))
}

/// Whether receivers find no sender in a record: no mechanism before its `all`, and without an `all` no `redirect=`.
pub(crate) fn names_nobody(record: &str) -> bool {
    let all = terms(record);
    let redirects = !all.iter().any(Term::is_all) && all.iter().any(|t| t.modifier().is_some() && t.looks_up());
    is_spf(record) && !redirects && reached(&all).iter().all(|t| t.modifier().is_some())
}

/// The record with `term` in it, everything else byte for byte. A record that has it already is returned unchanged.
pub(crate) fn merge(record: &str, term: &str) -> Result<String, SpfProblem> {
    if !is_spf(record) {
        return Err(SpfProblem::NotSpf);
    }
    if has(record, term) {
        return Ok(record.to_string());
    }
    let list = terms(record);
    list.iter().try_for_each(Term::check)?;
    let all = list.iter().find(|t| t.is_all());
    if all.is_none() && list.iter().any(|t| t.modifier().is_some_and(|m| m.eq_ignore_ascii_case("redirect"))) {
        return Err(SpfProblem::Redirect);
    }
    let merged = match all {
        Some(all) => format!("{}{term} {}", &record[..all.start], &record[all.start..]),
        None => format!("{record} {term}"),
    };
    match lookups(&merged) {
        n if n > MAX_LOOKUPS => Err(SpfProblem::TooManyLookups(n)),
        _ => Ok(merged),
    }
}

/// The record without the `term` that [`merge`] put in; unchanged if it has none.
pub(crate) fn unmerge(record: &str, term: &str) -> String {
    if !is_spf(record) {
        return record.to_string();
    }
    let list = terms(record);
    let Some(ours) = reached(&list).iter().rev().find(|t| t.is(term)) else {
        return record.to_string();
    };
    let (before, after) = (&record[..ours.start], &record[ours.end()..]);
    match after.strip_prefix(' ') {
        Some(rest) => format!("{before}{rest}"),
        None => before.strip_suffix(' ').unwrap_or(before).to_string(),
    }
}

/// One record in the place of several: the terms of all, each once, `term` among them, and of their ends (`all`) the one
/// that refuses least. Receivers reject all of them as they stand, so nobody loses what worked.
pub(crate) fn merge_all(records: &[&String], term: &str) -> Result<String, SpfProblem> {
    let lists: Vec<Vec<Term<'_>>> = records.iter().map(|r| terms(r)).collect();
    let all: Vec<&Term<'_>> = lists.iter().flatten().collect();
    all.iter().try_for_each(|t| t.check())?;
    let named = |t: &Term<'_>, name: &str| t.modifier().is_some_and(|m| m.eq_ignore_ascii_case(name));
    if all.iter().any(|t| named(t, "redirect")) {
        return Err(SpfProblem::Redirect);
    }
    let mut out: Vec<&str> = vec!["v=spf1"];
    let mut explained = false;
    for t in all.iter().filter(|t| !t.is_all()) {
        let again = if named(t, "exp") {
            std::mem::replace(&mut explained, true)
        } else {
            out.iter().any(|known| known.eq_ignore_ascii_case(t.text))
        };
        if !again {
            out.push(t.text);
        }
    }
    // `-` refuses most, then `~`, `?`, and `+`, which stands for no qualifier too.
    let softness = |t: &&&Term<'_>| "-~?".find(&t.text[..1]).unwrap_or(3);
    out.extend(all.iter().filter(|t| t.is_all()).max_by_key(softness).map(|t| t.text));
    merge(&out.join(" "), term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const X: &str = "include:_spf.mail.example.net";

    #[test]
    fn merged() {
        for (record, want) in [
            ("v=spf1 -all", "v=spf1 include:_spf.mail.example.net -all"),
            ("v=spf1  a   ~all ", "v=spf1  a   include:_spf.mail.example.net ~all "),
            ("V=SPF1 MX ?ALL exp=x.%{d}", "V=SPF1 MX include:_spf.mail.example.net ?ALL exp=x.%{d}"),
            ("v=spf1 all", "v=spf1 include:_spf.mail.example.net all"),
            ("v=spf1", "v=spf1 include:_spf.mail.example.net"),
            ("v=spf1 a ip4:192.0.2.0/24", "v=spf1 a ip4:192.0.2.0/24 include:_spf.mail.example.net"),
            ("v=spf1 -all redirect=other.example", "v=spf1 include:_spf.mail.example.net -all redirect=other.example"),
            ("v=spf1 +INCLUDE:_spf.Mail.example.net -all", "v=spf1 +INCLUDE:_spf.Mail.example.net -all"),
            // Terms after `all` are ignored.
            (
                "v=spf1 -all include:_spf.mail.example.net",
                "v=spf1 include:_spf.mail.example.net -all include:_spf.mail.example.net",
            ),
            // Another qualifier is another statement.
            (
                "v=spf1 ~include:_spf.mail.example.net -all",
                "v=spf1 ~include:_spf.mail.example.net include:_spf.mail.example.net -all",
            ),
        ] {
            assert_eq!(merge(record, X).as_deref(), Ok(want), "{record}");
        }
    }

    #[test]
    fn refused() {
        let nine = "v=spf1 a mx ptr exists:%{i}.x include:a.b include:c.d include:e.f include:g.h include:i.j";
        assert!(merge(&format!("{nine} -all"), X).is_ok());
        for (record, want) in [
            ("v=spf2.0/pra -all", SpfProblem::NotSpf),
            ("v=spf10 -all", SpfProblem::NotSpf),
            ("", SpfProblem::NotSpf),
            ("é", SpfProblem::NotSpf),
            ("v=spf1 redirect=_spf.old.example", SpfProblem::Redirect),
            ("v=spf1 mx Redirect=_spf.old.example", SpfProblem::Redirect),
            ("v=spf1 ipv4:192.0.2.1 -all", SpfProblem::Syntax("ipv4:192.0.2.1".into())),
            ("v=spf1 include: -all", SpfProblem::Syntax("include:".into())),
            ("v=spf1 -all;", SpfProblem::Syntax("-all;".into())),
            (&format!("{nine} include:k.l ~all"), SpfProblem::TooManyLookups(11)),
        ] {
            assert_eq!(merge(record, X), Err(want), "{record}");
        }
        assert_eq!(lookups("v=spf1 a -all redirect=x include:y"), 1);
        assert_eq!(lookups("v=spf1 redirect=x"), 1);
    }

    fn term() -> impl Strategy<Value = String> {
        prop_oneof![
            "[+?~-]?(a|mx|ptr|all|A|MX|ALL)",
            "[+?~-]?(include|exists|a|mx|INCLUDE):[a-z]{1,4}\\.[a-z]{2}",
            "[+?~-]?ip[46]:[0-9a-f:./]{1,8}",
            "(redirect|exp|x-y)=[a-z%{}.]{1,8}",
            Just(X.to_string()),
            Just(String::new()),
            "[a-z=:+~é\"\\\\-]{1,6}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn there_and_back(list in prop::collection::vec(term(), 0..9), tail in " {0,2}", head in "(v=spf1|V=spf1)") {
            let record = std::iter::once(head).chain(list).collect::<Vec<_>>().join(" ") + &tail;
            if let Ok(merged) = merge(&record, X) {
                prop_assert!(has(&merged, X));
                prop_assert_eq!(merge(&merged, X), Ok(merged.clone()));
                if has(&record, X) {
                    prop_assert_eq!(merged, record);
                } else {
                    prop_assert_eq!(unmerge(&merged, X), record);
                }
            }
        }
        #[test]
        fn any_text(record in any::<String>()) {
            if let Ok(merged) = merge(&record, X) && !has(&record, X) {
                prop_assert_eq!(unmerge(&merged, X), record);
            }
        }
    }
}
