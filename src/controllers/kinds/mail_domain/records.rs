//! The records of a domain: what is wanted, and what the authoritative servers do not show yet. Pure.

use super::facts::{Kept, Published};
use super::mta_sts;
use super::parents::Parents;
use super::steps::Part;
use crate::not_ready::NotReady;
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_api::{MailDomain, MailDomainStatus, Ownership, Purpose, Reason, RecordState, uid};
use mailtenant_dns::converge::Aim;
use mailtenant_dns::{RecordType, RrSet, Wildcard};
use mailtenant_mail::merge::{self, Conflict, PreviousMx};
use mailtenant_mail::mx;
use mailtenant_mail::records::{self, DkimPublic, Dmarc, Input, Record};

/// What the domain declares. `status`: which MTA-STS policy senders are told of.
pub fn desired(
    (domain, status): (&MailDomain, &MailDomainStatus),
    name: &str,
    parents: &Parents<'_>,
    dkim: Vec<DkimPublic>,
) -> Vec<Record> {
    let spec = &domain.spec;
    let backend = &parents.instance.backend.spec;
    let challenge = !parents.needs_proof;
    records::desired(&Input {
        domain: name.to_owned(),
        ttl: ttl(domain),
        challenge: challenge.then(|| records::challenge_value(&uid(domain), name)),
        mx: backend.hosts.mx.iter().map(|m| (m.preference.clamp(0, 65535) as u16, m.host.clone())).collect(),
        spf: backend.spf.as_ref().zip(spec.dns.spf.as_ref()).map(|(s, p)| (s.include.clone(), p.all)),
        dkim,
        dmarc: spec.dns.dmarc.as_ref().map(|d| Dmarc { policy: d.policy, report_to: d.report_to.clone() }),
        mta_sts: mta_sts::published(domain, status, &parents.instance.backend),
        tls_rpt: spec.dns.tls_rpt.as_ref().map(|t| t.report_to.clone()).unwrap_or_default(),
        discovery: spec.dns.client_discovery.then(|| backend.hosts.discovery()),
    })
}

/// The declared time to live.
pub fn ttl(domain: &MailDomain) -> u32 {
    domain.spec.dns.ttl.max(1) as u32
}

/// The words for records that cannot be made ours.
pub fn conflict(conflicts: &[Conflict]) -> Option<NotReady> {
    let first = conflicts.first()?;
    let more = match conflicts.len() - 1 {
        0 => String::new(),
        more => format!(" ({more} more, see status.dns.records)"),
    };
    Some(NotReady::stalled(Reason::DNSConflict, format!("{}{more}", first.message)))
}

/// The records for now, of those that are declared.
///
/// Before MX leads here nothing of them rejects mail. Where it does, its record stays as it is while a new host in it is not
/// proven yet: that is for [`Part::Mx`].
pub fn for_now(declared: Vec<Record>, journal: &[RecordStatus], part: Part, switch_mx: bool) -> Vec<Record> {
    let ours = |r: &RecordStatus| merge::is_our_mx(r) && r.state == RecordState::Propagating;
    let leads_here = switch_mx || journal.iter().any(|r| merge::is_good_mx(r) || ours(r));
    let mut wanted = if leads_here { declared } else { records::before_switch(declared) };
    let known = |value: &String| {
        let mut written = journal.iter().filter(|r| r.purpose == Purpose::MX && r.ownership.is_some());
        written.any(|r| mx::same_host(&r.value, value))
    };
    if part == Part::Records && switch_mx {
        wanted.retain(|r| r.purpose != Purpose::MX || r.values.iter().all(known));
    }
    wanted
}

/// Records of another type that are kept in the place of a text of ours.
pub fn kept(journal: &[RecordStatus]) -> impl Iterator<Item = &RecordStatus> {
    let text = |r: &&RecordStatus| matches!(r.purpose, Purpose::DMARC | Purpose::TLSRPT);
    let other = |r: &&RecordStatus| r.ownership == Some(Ownership::Adopted) && r.type_ != RecordType::TXT.as_str();
    journal.iter().filter(text).filter(other)
}

/// What the status says of records that are kept in the place of ours, by what they answer.
pub fn judge<'a>(records: impl Iterator<Item = &'a mut RecordStatus>, kept: &[Kept]) {
    for record in records.filter(|r| r.ownership == Some(Ownership::Adopted)) {
        let Some(kept) = kept.iter().find(|k| k.name == record.name && k.value == record.value) else { continue };
        let version = if record.purpose == Purpose::DMARC { "v=DMARC1" } else { "v=TLSRPTv1" };
        let found = "kept as it was found (conflictPolicy: Adopt)";
        let (state, message) = match &kept.answers {
            None => (RecordState::Ok, format!("{found}; no DNS server says what it answers")),
            Some(texts) => match texts.iter().filter(|t| t.starts_with(version)).collect::<Vec<_>>().as_slice() {
                [one] => (RecordState::Ok, format!("{found}; it answers \"{one}\"")),
                [] => (RecordState::Wrong, format!("{found}; it answers no text that begins with {version}")),
                more => {
                    let n = more.len();
                    (RecordState::Wrong, format!("{found}; it answers {n} texts that begin with {version}"))
                }
            },
        };
        (record.state, record.message) = (state, Some(message));
    }
}

/// A name that exists only through a wildcard, which the first record at or below it would end.
pub fn only_by_wildcard(name: &str, wildcard: &Wildcard) -> NotReady {
    let text = format!(
        "{name} is answered by {} alone: any record at or below {name} ends that, for its web site and its mail too. Nothing \
         is written. Create records of its own for {name} first, those of the wildcard that it shall keep, and ask for a pass",
        in_words(wildcard),
    );
    NotReady::stalled(Reason::DNSConflict, text)
}

/// What somebody who publishes a record below such a name has to know.
pub fn caution(name: &str, wildcard: &Wildcard) -> String {
    format!(
        ". Before that, create records of its own for {name}: it is answered by {} alone, and any record below {name}, this \
         one too, ends that",
        in_words(wildcard),
    )
}

/// Records of a wildcard that a message shows.
const SHOWN: usize = 5;

fn in_words(wildcard: &Wildcard) -> String {
    let shown = wildcard.records.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = wildcard.records.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("the wildcard {} ({shown}{more})", wildcard.name)
}

/// The sets of which every authoritative server is asked: those of types that are ours alone. What else was read stands in the
/// way of ours, and there is nothing to show.
pub fn visible(published: &Published) -> impl Iterator<Item = &(String, RecordType)> {
    let alias = |name: &str| published.wanted.iter().any(|r| r.rtype == RecordType::CNAME && r.name == name);
    published.which.iter().filter(move |(name, rtype)| match rtype {
        RecordType::CNAME => alias(name),
        RecordType::MX | RecordType::TXT | RecordType::SRV => !alias(name),
        _ => false,
    })
}

/// A set that was written, and what it was written by.
pub struct Written<'a> {
    /// Name of the set.
    pub name: &'a str,
    pub rtype: RecordType,
    /// All sets of the domain as the server has them.
    pub live: &'a [RrSet],
    /// Where they should come to.
    pub aim: &'a Aim<'a>,
    pub journal: &'a [RecordStatus],
    /// The MX set to put back on deletion.
    pub previous: &'a Option<PreviousMx>,
}

impl Written<'_> {
    fn is(&self, set: &RrSet) -> bool {
        (set.name.as_str(), set.rtype) == (self.name, self.rtype)
    }

    /// Whether some server does not show the set yet; `seen`: as each server has it.
    pub fn is_unseen(&self, seen: &[RrSet]) -> bool {
        seen.is_empty() || seen.iter().any(|server| self.is_old(server))
    }

    /// Whether the set would still have to be changed if it were as this server shows it.
    fn is_old(&self, server: &RrSet) -> bool {
        if self.rtype == RecordType::MX && matches!(self.aim, Aim::Publish { switch_mx: false, .. }) {
            // It was not written, and a server that shows another one does not undo what was.
            return false;
        }
        // A time to live that counts down in a cache says nothing.
        let there = |s: &RrSet| if self.is(s) { RrSet { ttl: s.ttl, ..server.clone() } } else { s.clone() };
        let view: Vec<RrSet> = self.live.iter().map(there).collect();
        let same = self.live.iter().find(|s| self.is(s)).is_some_and(|s| s.values == server.values);
        !same && !self.aim.plan(self.journal, self.previous.clone(), &view).changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtenant_api::mail_domain::{ConflictPolicy, SpfAll};
    use mailtenant_mail::records::{Discovery, Mode};

    #[test]
    fn every_server_must_show_a_set_and_what_it_has_beside_ours_is_not_our_business() {
        let set = |ttl, values: &[&str]| RrSet {
            name: "acme.test".into(),
            rtype: RecordType::TXT,
            ttl,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        let wanted = [Record {
            name: "acme.test".into(),
            rtype: RecordType::TXT,
            ttl: 300,
            values: vec!["ours".into()],
            purpose: Purpose::Challenge,
            mode: Mode::SharedValues,
            term: None,
            after_switch: None,
            with_mx: false,
        }];
        let conflict = ConflictPolicy::Refuse;
        let aim = Aim::Publish { name: "acme.test", wanted: &wanted, conflict, switch_mx: false, writer: None };
        let live = [set(300, &["ours", "theirs"])];
        let (good, old, other) = (set(12, &["ours", "theirs"]), set(300, &["theirs"]), set(300, &["new", "ours"]));
        for (seen, unseen, why) in [
            (vec![], true, "nobody says anything"),
            (vec![good.clone()], false, "a lower time to live is that of a cache"),
            (vec![good.clone(), old.clone()], true, "one of two is behind"),
            (vec![good, other], false, "ours is there"),
            (vec![set(0, &[])], true, "nothing at all"),
        ] {
            let (name, rtype) = ("acme.test", RecordType::TXT);
            let set = Written { name, rtype, live: &live, aim: &aim, journal: &[], previous: &None };
            assert_eq!(set.is_unseen(&seen), unseen, "{why}");
        }
    }

    fn entry(
        value: &str,
        type_: &str,
        purpose: Purpose,
        ownership: Option<Ownership>,
        state: RecordState,
    ) -> RecordStatus {
        RecordStatus {
            name: "acme.test".into(),
            type_: type_.into(),
            value: value.into(),
            purpose,
            state,
            ownership,
            term: None,
            edited: false,
            observed: None,
            message: None,
        }
    }

    #[test]
    fn nothing_rejects_mail_before_mx_leads_here_and_an_unproven_server_gets_none() {
        let input = Input {
            domain: "acme.test".into(),
            ttl: 60,
            challenge: None,
            mx: vec![(10, "mx1.test".into()), (20, "mx9.test".into())],
            spf: Some(("spf.test".into(), SpfAll::Fail)),
            dkim: vec![],
            dmarc: None,
            mta_sts: None,
            tls_rpt: vec![],
            discovery: Some(Discovery::default()),
        };
        use RecordState::{Missing, Ok, Propagating};
        let ours = Some(Ownership::Created);
        let mx = |host: &str, ownership, state| entry(&format!("10 {host}."), "MX", Purpose::MX, ownership, state);
        let both = || vec![mx("mx1.test", ours, Ok), mx("mx9.test", ours, Ok)];
        // The journal, the part, whether MX is ours; then SPF, whether MX is among them, whether clients are led here.
        for (journal, part, switch_mx, all, has_mx, led, why) in [
            (vec![], Part::Records, false, "~all", true, false, "nothing is ours"),
            (vec![mx("mx1.test", None, Missing)], Part::Records, false, "~all", true, false, "it is not there"),
            (vec![mx("mx1.test", ours, Missing)], Part::Records, false, "~all", true, false, "it is not written yet"),
            (vec![mx("mx1.test", ours, Propagating)], Part::Records, false, "-all", true, true, "it is on its way"),
            (
                vec![mx("mx1.test", Some(Ownership::Observed), Ok)],
                Part::Records,
                false,
                "-all",
                true,
                true,
                "as it was",
            ),
            (vec![], Part::Mx, true, "-all", true, true, "in one change with MX"),
            (both(), Part::Records, true, "-all", true, true, "at rest"),
            (vec![mx("mx1.test", ours, Ok)], Part::Records, true, "-all", false, true, "a new server is not proven"),
            (vec![mx("mx1.test", ours, Ok)], Part::Mx, true, "-all", true, true, "a new server that is proven"),
            (vec![], Part::Records, true, "-all", false, true, "live, and nothing is known of MX"),
        ] {
            let wanted = for_now(records::desired(&input), &journal, part, switch_mx);
            let of = |purpose| wanted.iter().find(|r| r.purpose == purpose);
            assert!(of(Purpose::SPF).unwrap().values[0].ends_with(all), "{why}");
            let is = (of(Purpose::MX).is_some(), of(Purpose::ClientDiscovery).is_some());
            assert_eq!(is, (has_mx, led), "{why}");
        }
    }

    #[test]
    fn what_is_kept_in_the_place_of_ours_is_judged_by_what_it_answers() {
        let (found, adopted) = ("kept as it was found (conflictPolicy: Adopt)", Some(Ownership::Adopted));
        let kept = |answers: Option<&[&str]>| Kept {
            name: "acme.test".into(),
            value: "x.test.".into(),
            answers: answers.map(|a| a.iter().map(|t| (*t).to_owned()).collect()),
        };
        for (answers, state, says) in [
            (Some(&["v=DMARC1; p=none", "other"][..]), RecordState::Ok, "it answers \"v=DMARC1; p=none\""),
            (Some(&["other"]), RecordState::Wrong, "it answers no text that begins with v=DMARC1"),
            (Some(&[]), RecordState::Wrong, "it answers no text that begins with v=DMARC1"),
            (Some(&["v=DMARC1; a", "v=DMARC1; b"]), RecordState::Wrong, "it answers 2 texts that begin with v=DMARC1"),
            (None, RecordState::Ok, "no DNS server says what it answers"),
        ] {
            let mut all = [entry("x.test.", "CNAME", Purpose::DMARC, adopted, RecordState::Ok)];
            judge(all.iter_mut(), &[kept(answers)]);
            assert_eq!((all[0].state, all[0].message.as_deref()), (state, Some(format!("{found}; {says}").as_str())));
        }
        let mut other = [entry("y.test.", "CNAME", Purpose::DMARC, adopted, RecordState::Ok)];
        judge(other.iter_mut(), &[kept(Some(&[]))]);
        assert_eq!(other[0].message, None);
    }
}
