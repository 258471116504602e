//! The MTA-STS policy of whoever has the mail of a domain before MX is switched (RFC 8461): senders that hold one with `enforce`
//! deliver to the mail servers that it names, and to no others. Pure.

use super::stamps::stamp_after;
use crate::not_ready::NotReady;
use jiff::{SignedDuration, Timestamp};
use mailtenant_api::Reason;
use mailtenant_api::mail_domain::{FormerPolicy, MtaStsMode};
use mailtenant_mail::records::{MTA_STS_LONGEST, MTA_STS_PATH, MtaStsPolicy, mta_sts_host, mta_sts_name};
use std::collections::BTreeSet;
use std::time::Duration;

/// Pause before it is looked at again.
const AGAIN: Duration = Duration::from_secs(120);

/// What is there of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No record tells senders of a policy.
    Nothing,
    /// A record does, and the policy cannot be had; why.
    Unknown(String),
    /// The text that is served.
    Served(String),
}

/// Whether a value of TXT tells of a policy (RFC 8461, 3.1).
pub fn tells(value: &str) -> bool {
    let head = value.split(';').next().unwrap_or_default();
    head.split_once('=').is_some_and(|(name, version)| name.trim_end() == "v" && version.trim() == "STSv1")
}

/// What is remembered of it, and why MX must stay. `hosts`: all that MX is going to lead to, in canonical form. `clocks`: the
/// earliest and the latest that it may be now.
pub fn judge(
    name: &str,
    before: Option<&FormerPolicy>,
    found: &Found,
    hosts: &BTreeSet<String>,
    clocks: (Timestamp, Timestamp),
) -> (Option<FormerPolicy>, Option<NotReady>) {
    let policy = match found {
        Found::Nothing => return gone(name, before, clocks),
        Found::Unknown(why) => return (before.cloned(), Some(unknown(name, why))),
        Found::Served(text) => MtaStsPolicy::parse(text),
    };
    let Some(policy) = policy else {
        return (before.cloned(), Some(unknown(name, "what is served there is no policy")));
    };
    let missing: Vec<&str> = hosts.iter().filter(|host| !names(&policy, host)).map(String::as_str).collect();
    if policy.mode() != MtaStsMode::Enforce || missing.is_empty() {
        return (None, None);
    }
    let text = format!(
        "an MTA-STS policy of {name} is in force that does not name {}: senders that hold it deliver there no mail. Have mode: none \
         served at https://{}{MTA_STS_PATH}, with a new id in TXT {}; MX is switched when that is seen",
        missing.join(", "),
        mta_sts_host(name),
        mta_sts_name(name)
    );
    let kept = FormerPolicy { max_age: i64::from(policy.max_age()), held_until: None };
    (Some(kept), Some(NotReady::after(Reason::AwaitingPolicyEnd, text, AGAIN)))
}

/// The record is gone, or was never there: who fetched the policy keeps it as long as it said (RFC 8461, 5.1).
fn gone(
    name: &str,
    before: Option<&FormerPolicy>,
    (earliest, latest): (Timestamp, Timestamp),
) -> (Option<FormerPolicy>, Option<NotReady>) {
    let Some(before) = before else { return (None, None) };
    let at = |text: &String| text.parse::<Timestamp>().ok();
    let kept = before.max_age.clamp(0, i64::from(MTA_STS_LONGEST));
    // A time that nobody can read, or that no policy lasts for, is none: a status proves nothing.
    let longest = latest + SignedDuration::from_secs(kept + 1);
    let until = before.held_until.as_ref().and_then(at).filter(|until| *until <= longest);
    let until = until.unwrap_or(latest + SignedDuration::from_secs(kept));
    if until <= earliest {
        return (None, None);
    }
    let said = stamp_after(until);
    let text = format!(
        "senders may hold an MTA-STS policy of {name} until {said}, under which they deliver to no new mail server. MX is switched then, or \
         at once when mode: none is served at https://{}{MTA_STS_PATH} with a new id in TXT {}",
        mta_sts_host(name),
        mta_sts_name(name)
    );
    let left = Duration::from_secs(until.duration_since(earliest).as_secs().max(0).unsigned_abs() + 1);
    let kept = FormerPolicy { held_until: Some(said), ..before.clone() };
    (Some(kept), Some(NotReady::after(Reason::AwaitingPolicyEnd, text, left.min(AGAIN))))
}

fn unknown(name: &str, why: &str) -> NotReady {
    let text = format!(
        "TXT {} tells senders of an MTA-STS policy that cannot be had ({why}): those that hold it may deliver to the mail servers of \
         before alone. Have mode: none served at https://{}{MTA_STS_PATH} with a new id, or remove the record if no sender holds a policy",
        mta_sts_name(name),
        mta_sts_host(name)
    );
    NotReady::after(Reason::AwaitingPolicyEnd, text, AGAIN)
}

/// Whether a policy names a host: `*.` stands for one label (RFC 8461, 4.1).
fn names(policy: &MtaStsPolicy, host: &str) -> bool {
    policy.mx().iter().any(|pattern| match pattern.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => pattern == host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    fn asked(before: Option<FormerPolicy>, found: Found, now: i64) -> (Option<FormerPolicy>, Option<String>) {
        let hosts = ["mx1.new.test", "mx2.new.test"].map(String::from).into();
        let (kept, held) = judge("acme.test", before.as_ref(), &found, &hosts, (at(now - 1), at(now)));
        (kept, held.map(|n| n.message))
    }

    fn served(mode: &str, mx: &[&str]) -> Found {
        let mx: String = mx.iter().map(|host| format!("mx: {host}\n")).collect();
        Found::Served(format!("version: STSv1\nmode: {mode}\n{mx}max_age: 600\n"))
    }

    fn kept(held_until: Option<&str>) -> Option<FormerPolicy> {
        Some(FormerPolicy { max_age: 600, held_until: held_until.map(String::from) })
    }

    #[test]
    fn mx_stays_while_a_policy_forbids_our_hosts() {
        for (found, holds) in [
            (Found::Nothing, None),
            (served("none", &[]), None),
            (served("testing", &["mx.old.test"]), None),
            (served("enforce", &["mx.old.test", "*.new.test"]), None),
            (served("enforce", &["mx1.new.test", "MX2.new.test"]), None),
            (served("enforce", &["mx.old.test"]), Some("name mx1.new.test, mx2.new.test")),
            (served("enforce", &["*.old.test", "mx1.new.test"]), Some("name mx2.new.test:")),
            (served("enforce", &["*.test"]), Some("name mx1.new.test")),
            (Found::Unknown("no answer within 10 s".into()), Some("no answer within 10 s")),
            (Found::Served("<html>".into()), Some("no policy")),
        ] {
            let (_, held) = asked(None, found.clone(), 0);
            match holds {
                Some(words) => assert!(held.as_ref().is_some_and(|m| m.contains(words)), "{found:?}: {held:?}"),
                None => assert_eq!(held, None, "{found:?}"),
            }
        }
    }

    #[test]
    fn what_was_seen_is_held_as_long_as_it_said() {
        let (seen, _) = asked(None, served("enforce", &["mx.old.test"]), 0);
        assert_eq!(seen, kept(None));
        // It cannot be had for a while: what is known stays.
        assert_eq!(asked(seen.clone(), Found::Unknown("x".into()), 1).0, kept(None));
        // The record goes: 600 s from then on, whenever it is looked at.
        let until = Some("2026-01-01T00:10:10Z");
        let (gone, held) = asked(seen.clone(), Found::Nothing, 10);
        assert_eq!(gone, kept(until));
        assert!(held.is_some_and(|m| m.contains("until 2026-01-01T00:10:10Z")));
        assert_eq!(asked(gone.clone(), Found::Nothing, 609).0, kept(until));
        assert!(asked(gone.clone(), Found::Nothing, 610).1.is_some(), "one of the clocks says that it is not over");
        assert_eq!(asked(gone.clone(), Found::Nothing, 611), (None, None));
        // Senders are told that there is none: nothing is waited for.
        assert_eq!(asked(gone, served("none", &[]), 20), (None, None));
        // Somebody wrote a time into the status that nobody can read, or that no policy lasts for.
        for forged in ["soon", "2999-01-01T00:00:00Z"] {
            assert_eq!(asked(kept(Some(forged)), Found::Nothing, 10).0, kept(until), "{forged}");
        }
    }

    #[test]
    fn only_records_of_mta_sts_tell_of_a_policy() {
        for (value, is) in [
            ("v=STSv1; id=1;", true),
            ("v = STSv1;id=1", true),
            ("v=STSv1", true),
            ("v=STSv10; id=1", false),
            ("v=spf1 -all", false),
            ("", false),
        ] {
            assert_eq!(tells(value), is, "{value:?}");
        }
    }
}
