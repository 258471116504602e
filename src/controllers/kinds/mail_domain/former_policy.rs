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
    /// Records do, with these ids.
    Told {
        ids: BTreeSet<String>,
        /// The text that is served, or why it cannot be had.
        served: Result<String, String>,
    },
}

/// The id of the policy that a value of TXT tells of (RFC 8461, 3.1); none: it tells of none. One without an id has the empty one.
pub fn told_id(value: &str) -> Option<String> {
    let mut fields = value.split(';').filter_map(|field| field.split_once('='));
    fields.next().filter(|(name, version)| name.trim() == "v" && version.trim() == "STSv1")?;
    let id = fields.find(|(name, _)| name.trim() == "id").map(|(_, id)| id.trim().chars().take(32).collect());
    Some(id.unwrap_or_default())
}

/// What is remembered of it, and why MX must stay. `hosts`: all that MX is going to lead to, in canonical form. `clocks`: the
/// earliest and the latest that it may be now.
///
/// Senders look for a new policy when the id changes, or when theirs is over (RFC 8461, 5.1). So one that forbids our hosts is
/// held until another one is told of by another id, or for the longest time that one of them said.
pub fn judge(
    name: &str,
    before: Option<&FormerPolicy>,
    found: &Found,
    hosts: &BTreeSet<String>,
    clocks: (Timestamp, Timestamp),
) -> (Option<FormerPolicy>, Option<NotReady>) {
    let (ids, served) = match (found, before) {
        (Found::Nothing, None) => return (None, None),
        (Found::Nothing, Some(before)) => return waits(name, before, "its record is gone", clocks),
        (Found::Told { ids, served }, _) => (ids, served),
    };
    let policy = match served {
        Ok(text) => MtaStsPolicy::parse(text).ok_or("what is served there is no policy"),
        Err(why) => Err(why.as_str()),
    };
    let policy = match policy {
        Ok(policy) => policy,
        Err(why) => return (before.cloned(), Some(unknown(name, why))),
    };
    let missing: Vec<&str> = hosts.iter().filter(|host| !names(&policy, host)).map(String::as_str).collect();
    if policy.mode() == MtaStsMode::Enforce && !missing.is_empty() {
        let max_age = before.map_or(0, |b| b.max_age).max(i64::from(policy.max_age()));
        let kept = FormerPolicy { ids: ids.iter().cloned().collect(), max_age, held_until: None };
        return (Some(kept), Some(forbidden(name, &missing)));
    }
    match before {
        Some(before) if before.ids.iter().any(|id| ids.contains(id)) => {
            waits(name, before, "another policy is served, and the record still has the former id", clocks)
        }
        _ => (None, None),
    }
}

fn forbidden(name: &str, missing: &[&str]) -> NotReady {
    let text = format!(
        "the MTA-STS policy of {name} does not name {}: senders that hold it deliver no mail there. {}; MX is switched when that is seen",
        missing.join(", "),
        way_out(name)
    );
    NotReady::after(Reason::AwaitingPolicyEnd, text, AGAIN)
}

fn unknown(name: &str, why: &str) -> NotReady {
    let text = format!(
        "TXT {} tells senders of an MTA-STS policy that cannot be read ({why}): those that hold it may deliver only to the former mail \
         servers. {}, or remove the record if no sender can hold a policy",
        mta_sts_name(name),
        way_out(name)
    );
    NotReady::after(Reason::AwaitingPolicyEnd, text, AGAIN)
}

fn way_out(name: &str) -> String {
    let (host, record) = (mta_sts_host(name), mta_sts_name(name));
    format!("Have mode: none served at https://{host}{MTA_STS_PATH}, with a new id in TXT {record}")
}

/// Nothing tells senders that the policy has ended: who fetched it keeps it as long as it said (RFC 8461, 5.1).
fn waits(
    name: &str,
    before: &FormerPolicy,
    why: &str,
    (earliest, latest): (Timestamp, Timestamp),
) -> (Option<FormerPolicy>, Option<NotReady>) {
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
        "senders may hold the former MTA-STS policy of {name} until {said} ({why}), under which they deliver to no new mail server. MX is \
         switched then, or sooner: {}",
        way_out(name)
    );
    let left = Duration::from_secs(until.duration_since(earliest).as_secs().max(0).unsigned_abs() + 1);
    let kept = FormerPolicy { held_until: Some(said), ..before.clone() };
    (Some(kept), Some(NotReady::after(Reason::AwaitingPolicyEnd, text, left.min(AGAIN))))
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

    fn told(id: &str, served: Result<&str, &str>) -> Found {
        Found::Told { ids: [id.to_owned()].into(), served: served.map(String::from).map_err(String::from) }
    }

    fn policy(id: &str, mode: &str, mx: &[&str], max_age: u32) -> Found {
        let mx: String = mx.iter().map(|host| format!("mx: {host}\n")).collect();
        told(id, Ok(&format!("version: STSv1\nmode: {mode}\n{mx}max_age: {max_age}\n")))
    }

    fn served(mode: &str, mx: &[&str]) -> Found {
        policy("1", mode, mx, 600)
    }

    fn kept(id: &str, max_age: i64, held_until: Option<&str>) -> Option<FormerPolicy> {
        Some(FormerPolicy { ids: vec![id.into()], max_age, held_until: held_until.map(String::from) })
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
            (told("1", Err("no answer within 10 s")), Some("no answer within 10 s")),
            (told("1", Ok("<html>")), Some("no policy")),
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
        assert_eq!(seen, kept("1", 600, None));
        // It cannot be had for a while: what is known stays.
        assert_eq!(asked(seen.clone(), told("1", Err("x")), 1).0, kept("1", 600, None));
        // The record goes, or the policy ends under the id that senders know: 600 s from then on, whenever it is looked at.
        let until = Some("2026-01-01T00:10:10Z");
        for found in [Found::Nothing, served("none", &[]), served("enforce", &["*.new.test"])] {
            let (gone, held) = asked(seen.clone(), found.clone(), 10);
            assert_eq!(gone, kept("1", 600, until), "{found:?}");
            assert!(held.is_some_and(|m| m.contains("until 2026-01-01T00:10:10Z")), "{found:?}");
            assert_eq!(asked(gone.clone(), found.clone(), 609).0, kept("1", 600, until));
            assert!(asked(gone.clone(), found.clone(), 610).1.is_some(), "one of the clocks says that it is not over");
            assert_eq!(asked(gone.clone(), found, 611), (None, None));
            // Senders are told that there is none by a new id: nothing is waited for.
            assert_eq!(asked(gone, policy("2", "none", &[], 60), 20), (None, None));
        }
        // Somebody wrote a time into the status that nobody can read, or that no policy lasts for.
        for forged in ["soon", "2999-01-01T00:00:00Z"] {
            assert_eq!(asked(kept("1", 600, Some(forged)), Found::Nothing, 10).0, kept("1", 600, until), "{forged}");
        }
    }

    #[test]
    fn a_shorter_policy_does_not_end_a_longer_one() {
        let (long, _) = asked(None, policy("1", "enforce", &["mx.old.test"], 31_536_000), 0);
        let (short, held) = asked(long, policy("2", "enforce", &["mx.old.test"], 60), 10);
        assert_eq!((&short, held.is_some()), (&kept("2", 31_536_000, None), true));
        assert_eq!(asked(short.clone(), Found::Nothing, 100).0, kept("2", 31_536_000, Some("2027-01-01T00:01:40Z")));
        // Both servers must tell of another one.
        let lagging = Found::Told { ids: ["2".into(), "3".into()].into(), served: policy_text("none") };
        assert!(asked(short.clone(), lagging, 20).1.is_some());
        assert_eq!(asked(short, policy("3", "none", &[], 60), 20), (None, None));
    }

    fn policy_text(mode: &str) -> Result<String, String> {
        Ok(format!("version: STSv1\nmode: {mode}\nmax_age: 60\n"))
    }

    #[test]
    fn only_records_of_mta_sts_tell_of_a_policy() {
        for (value, id) in [
            ("v=STSv1; id=20260101;", Some("20260101")),
            ("v = STSv1;id=1", Some("1")),
            ("v=STSv1; x=y; id = 7 ;", Some("7")),
            ("v=STSv1", Some("")),
            ("v=STSv10; id=1", None),
            ("id=1; v=STSv1", None),
            ("v=spf1 -all", None),
            ("", None),
        ] {
            assert_eq!(told_id(value).as_deref(), id, "{value:?}");
        }
    }
}
