//! The records of a domain: what is wanted, and what the authoritative servers do not show yet. Pure.

use super::facts::Published;
use super::parents::Parents;
use crate::not_ready::NotReady;
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_api::{Endpoint, MailDomain, Reason, Security, groupware_backend::Hosts, uid};
use mailtenant_dns::converge::Aim;
use mailtenant_dns::{RecordType, RrSet};
use mailtenant_mail::merge::{Conflict, PreviousMx};
use mailtenant_mail::records::{self, Dav, Discovery, DkimPublic, Dmarc, Input, Record};

pub fn desired(domain: &MailDomain, name: &str, parents: &Parents<'_>, dkim: Vec<DkimPublic>) -> Vec<Record> {
    let spec = &domain.spec;
    let backend = &parents.instance.backend.spec;
    let challenge = !parents.needs_proof;
    records::desired(&Input {
        domain: name.to_owned(),
        ttl: spec.dns.ttl.max(1) as u32,
        challenge: challenge.then(|| records::challenge_value(&uid(domain), name)),
        mx: backend.hosts.mx.iter().map(|m| (m.preference.clamp(0, 65535) as u16, m.host.clone())).collect(),
        spf: backend.spf.as_ref().zip(spec.dns.spf.as_ref()).map(|(s, p)| (s.include.clone(), p.all)),
        dkim,
        dmarc: spec.dns.dmarc.as_ref().map(|d| Dmarc { policy: d.policy, report_to: d.report_to.clone() }),
        tls_rpt: spec.dns.tls_rpt.as_ref().map(|t| t.report_to.clone()).unwrap_or_default(),
        discovery: spec.dns.client_discovery.then(|| discovery(&backend.hosts)),
    })
}

/// What the groupware server offers.
fn discovery(hosts: &Hosts) -> Discovery {
    let endpoint = |e: &Option<Endpoint>| {
        e.as_ref().map(|e| records::Endpoint {
            host: e.host.clone(),
            port: e.port.clamp(1, 65535) as u16,
            tls: e.security == Security::TLS,
        })
    };
    Discovery {
        imap: endpoint(&hosts.imap),
        pop3: endpoint(&hosts.pop3),
        submission: endpoint(&hosts.submission),
        sieve: endpoint(&hosts.sieve),
        dav: hosts.dav.as_deref().and_then(dav),
    }
}

/// Host, port and path of the URL for calendars and contacts.
fn dav(url: &str) -> Option<Dav> {
    let url = url.parse::<http::Uri>().ok()?;
    let tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let endpoint = records::Endpoint { host: url.host()?.to_owned(), port, tls };
    Some(Dav { endpoint, path: url.path().to_owned() })
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

/// The sets of which every authoritative server is asked: where no CNAME is, there is none to show.
pub fn visible(published: &Published) -> impl Iterator<Item = &(String, RecordType)> {
    published.which.iter().filter(|(_, rtype)| *rtype != RecordType::CNAME)
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
    use mailtenant_api::mail_domain::{ConflictPolicy, Purpose};
    use mailtenant_mail::records::Mode;

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
            with_mx: false,
        }];
        let aim = Aim::Publish { wanted: &wanted, conflict: ConflictPolicy::Refuse, switch_mx: false };
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
}
