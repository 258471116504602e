//! The rules of a domain's life, each as a row: what is known, and what comes next.

use super::*;
use crate::fixtures::{self, everything, record};
use crate::kinds::mail_domain::facts::{Compared, Declared, Facts, Server};
use crate::kinds::mail_domain::parents::Known;
use crate::state::limits::Verdict;
use crate::state::parents::Instance;
use mailtenant_api::mail_domain::{CutoverMode, DkimAlgorithm, DomainDnsStatus};
use mailtenant_dns::RecordType;
use mailtenant_groupware::{DkimRow, DomainName, DomainRow, Origin, Selector, TenantId, Uid};
use serde_json::{Value, json};
use std::sync::Arc;

const OWN: &str = "uid-d";

/// A domain, its status, and what its pass knows.
#[derive(Clone)]
struct Case {
    domain: MailDomain,
    status: MailDomainStatus,
    facts: Facts,
}

impl Case {
    fn plan(&self) -> Planned {
        let now = "2026-11-26T12:00:00Z".parse().unwrap();
        next(&Seen { domain: &self.domain, status: &self.status, now, facts: &self.facts })
    }
    fn known(&mut self) -> &mut Known {
        self.facts.known.as_mut().unwrap()
    }
    fn instance(&mut self) -> &mut Instance {
        self.known().instance.as_mut().unwrap()
    }
    fn row(&mut self) -> &mut DomainRow {
        self.facts.row.as_mut().unwrap().as_mut().unwrap()
    }
    fn annotate(&mut self, name: &str, value: &str) {
        self.domain.metadata.annotations.get_or_insert_default().insert(name.into(), value.into());
    }
    /// Nothing was ever made, and nothing is known from the name on.
    fn new_name(&mut self) {
        self.status = MailDomainStatus::default();
        self.facts.holder = Some(None);
        self.facts.relative = Some(None);
        self.facts.proven = Some(true);
    }
}

fn instance(spec: Value, status: Value) -> Instance {
    let mut instance = fixtures::domain(spec).instance;
    let backend = Arc::make_mut(&mut instance.backend);
    backend.status = serde_json::from_value(fixtures::ready()).unwrap();
    if !status.is_null() {
        Arc::make_mut(&mut instance.object).status = serde_json::from_value(status).unwrap();
    }
    instance
}

fn known() -> Known {
    Known {
        instance: Ok(instance(json!({}), Value::Null)),
        limit: Verdict::Fits,
        dns: Some(Arc::new(fixtures::dns_backend(json!({})))),
        by_hand: Ok(()),
        labels: Default::default(),
    }
}

fn domain_row() -> DomainRow {
    DomainRow {
        name: DomainName::from_server("acme.test"),
        owner: Some(Uid::new(OWN)),
        origin: Origin::parse(None, "t/d"),
        adopted: false,
        tenant: Some(TenantId::new("i-0000")),
        active: true,
        alias_of: None,
    }
}

fn key(selector: &str, active: bool) -> DkimRow {
    let (algorithm, owner) = (DkimAlgorithm::RSA2048, Some(Uid::new(OWN)));
    DkimRow { selector: Selector::new(selector), owner, algorithm, public: String::new(), active, created: None }
}

fn journal(mx: bool) -> Option<DomainDnsStatus> {
    let mut records = vec![record("s1._domainkey.acme.test", "TXT", Purpose::DKIM, RecordState::Ok)];
    if mx {
        records.push(record("acme.test", "MX", Purpose::MX, RecordState::Ok));
    }
    Some(DomainDnsStatus { backend: Some("n".into()), zone: Some("acme.test".into()), records, ..Default::default() })
}

fn published() -> Option<Published> {
    Some(Published { unseen: Some(vec![]), ..Published::default() })
}

/// A domain that is live; all of it is known.
fn live() -> Case {
    let regular = Regular { due: false, holder: Some(OWN.into()), observes: false, label: "GroupwareBackend b".into() };
    let mut domain = fixtures::managed_domain(json!({"dkim": {"algorithms": ["RSA2048"]}}));
    let status = MailDomainStatus {
        state: Some(DomainState::Live),
        ownership: Some(Ownership::Created),
        dns: journal(true),
        ..Default::default()
    };
    domain.status = Some(status.clone());
    let facts = Facts {
        regular: Some(Some(regular)),
        known: Some(known()),
        server: Some(Server { label: "GroupwareBackend b".into(), capabilities: everything() }),
        zone_found: true,
        holder: Some(Some(OWN.into())),
        row: Some(Some(domain_row())),
        keys: Some(vec![key("s1", true)]),
        records: published(),
        ..Facts::default()
    };
    Case { domain, status, facts }
}

/// The same before MX is switched, with one address that mail is taken for.
fn prepared() -> Case {
    let mut case = live();
    (case.status.state, case.status.dns) = (Some(DomainState::Provisioned), journal(false));
    case.facts.declared = Some(Declared { addresses: vec!["a@acme.test".into()], unready: vec![] });
    case.facts.accepted = true;
    case.facts.former_policy = Some(None);
    case.facts.mx = published();
    case
}

/// An action in short: of keys their selectors.
fn told(action: &Action) -> String {
    match action {
        Action::Sign(keys) => format!("Sign({:?})", keys.iter().map(|k| &k.selector).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    }
}

fn said(next: &Next) -> String {
    match next {
        Next::Learn(what) => format!("learn {what:?}"),
        Next::Do(what) => format!("do {}", told(what)),
        Next::Wait(not_ready, None) => format!("wait {}", not_ready.reason.as_str()),
        Next::Wait(not_ready, Some(condition)) => format!("wait {} {}", not_ready.reason.as_str(), condition.as_str()),
        Next::Ready(message) => message.clone(),
    }
}

type Row<'a> = (&'a str, &'a dyn Fn(&mut Case), &'a str);

fn check(from: impl Fn() -> Case, rows: &[Row<'_>]) {
    for (why, change, want) in rows {
        let mut case = from();
        change(&mut case);
        assert_eq!(said(&case.plan().next), *want, "{why}");
    }
}

#[test]
fn a_claim_comes_after_its_proof_and_before_anything_is_made() {
    let other = || Some(Some("other".to_owned()));
    check(
        live,
        &[
            ("who holds it", &|c| c.facts.holder = None, "learn Holder"),
            (
                "a new name that another one holds",
                &|c| {
                    c.new_name();
                    c.facts.holder = other();
                },
                "wait DomainClaimed OwnershipVerified",
            ),
            ("the watch may be late for a domain that was made", &|c| c.facts.holder = other(), "learn LiveHolder"),
            (
                "it was late",
                &|c| {
                    c.facts.holder = other();
                    c.facts.live_holder = Some(Some(OWN.into()));
                },
                "acme.test is live",
            ),
            (
                "it was not",
                &|c| {
                    c.facts.holder = other();
                    c.facts.live_holder = other();
                },
                "wait DomainClaimed OwnershipVerified",
            ),
            (
                "names above and below",
                &|c| {
                    c.new_name();
                    c.facts.relative = None;
                },
                "learn Relative",
            ),
            (
                "one of them is held",
                &|c| {
                    c.new_name();
                    c.facts.relative = Some(Some("a domain above".into()));
                },
                "wait DomainClaimed OwnershipVerified",
            ),
            (
                "the proof",
                &|c| {
                    c.new_name();
                    c.facts.proven = None;
                },
                "learn Proof",
            ),
            (
                "no proof, no claim",
                &|c| {
                    c.new_name();
                    c.facts.proven = Some(false);
                    c.facts.wildcard = Some(None);
                },
                "wait OwnershipUnproven OwnershipVerified",
            ),
            (
                "what the proof would end",
                &|c| {
                    c.new_name();
                    c.facts.proven = Some(false);
                },
                "learn Wildcard",
            ),
            ("proven", &Case::new_name, "do Claim"),
            (
                "no proof is asked for",
                &|c| {
                    c.new_name();
                    c.facts.proven = None;
                    c.known().dns = Some(Arc::new(fixtures::dns_backend(json!({"requireProof": false}))));
                },
                "do Claim",
            ),
            (
                "somebody was faster",
                &|c| {
                    c.new_name();
                    c.facts.claim = Some(Taken::Other);
                },
                "wait DomainClaimed OwnershipVerified",
            ),
            (
                "somebody above was faster",
                &|c| {
                    c.new_name();
                    c.facts.claim = Some(Taken::Relative("a domain above".into()));
                },
                "wait DomainClaimed OwnershipVerified",
            ),
            (
                "it is written before anything is made",
                &|c| {
                    c.new_name();
                    c.facts.claim = Some(Taken::Ours);
                },
                "do NoteVerified",
            ),
            (
                "the watch says ours, and nothing says that it was looked around: a crash, or a watch that is late",
                &|c| c.status = MailDomainStatus::default(),
                "do Claim",
            ),
            ("it was lost and is ours again", &|c| c.status.state = Some(DomainState::Lost), "do Claim"),
        ],
    );
    let state = |change: &dyn Fn(&mut Case)| {
        let mut case = live();
        change(&mut case);
        let of = |n: &Note| if let Note::State(state) = n { Some(*state) } else { None };
        case.plan().notes.iter().find_map(of)
    };
    let lost = |c: &mut Case| (c.facts.holder, c.facts.live_holder) = (Some(None), Some(None));
    assert_eq!(state(&lost), Some(DomainState::Lost), "what was made once is never Pending again");
    assert_eq!(state(&Case::new_name), Some(DomainState::Pending));
}

#[test]
fn the_domain_is_made_where_it_is_not_as_it_should_be() {
    let held = json!({"massLoss": "Held"});
    check(
        live,
        &[
            ("the row", &|c| c.facts.row = None, "learn Row { fresh: false }"),
            (
                "what is known may be from whoever held the name before",
                &|c| {
                    c.facts.row = None;
                    (c.facts.holder, c.facts.live_holder) = (Some(None), Some(Some(OWN.into())));
                },
                "learn Row { fresh: true }",
            ),
            ("another owner: the server judges", &|c| c.row().owner = None, "do Provision"),
            ("another tenant", &|c| c.row().tenant = Some(TenantId::new("j")), "do Provision"),
            ("switched off", &|c| c.row().active = false, "do Provision"),
            ("an alias", &|c| c.row().alias_of = Some(DomainName::from_server("b.test")), "do Provision"),
            ("it was made and is gone: is this the right server?", &|c| c.facts.row = Some(None), "learn Loss"),
            (
                "it is",
                &|c| {
                    c.facts.row = Some(None);
                    c.facts.loss_allowed = true;
                },
                "do Provision",
            ),
            (
                "it was never made",
                &|c| {
                    c.facts.row = Some(None);
                    (c.status.ownership, c.status.state) = (None, Some(DomainState::Verified));
                },
                "do Provision",
            ),
            (
                "nothing new while a loss is held",
                &|c| {
                    c.facts.row = Some(None);
                    (c.status.ownership, c.status.state) = (None, Some(DomainState::Verified));
                    *c.instance() = instance(json!({}), held.clone());
                },
                "wait MassLossHeld",
            ),
            (
                "the server has the word on what it made",
                &|c| {
                    c.row().active = false;
                    c.facts.ensured = true;
                },
                "acme.test is live",
            ),
        ],
    );
}

#[test]
fn nothing_signs_before_its_record_shows_and_old_keys_go_last() {
    let retired =
        json!([{"selector": "s0", "algorithm": "RSA2048", "state": "Retiring", "retiredAt": "2026-01-01T00:00:00Z"}]);
    let over = |c: &mut Case| {
        c.facts.keys = Some(vec![key("s0", false), key("s1", true)]);
        c.domain.status.as_mut().unwrap().dkim = serde_json::from_value(retired.clone()).unwrap();
    };
    check(
        live,
        &[
            (
                "an algorithm that the server has not",
                &|c| c.facts.server.as_mut().unwrap().capabilities.clear(),
                "wait Unsupported",
            ),
            ("the keys", &|c| c.facts.keys = None, "learn Keys"),
            ("none", &|c| c.facts.keys = Some(vec![]), "do MakeKeys([RSA2048])"),
            ("of somebody else", &|c| c.facts.keys.as_mut().unwrap()[0].owner = None, "do MakeKeys([RSA2048])"),
            ("records", &|c| c.facts.records = None, "do Publish { part: Records, switch_mx: true }"),
            (
                "before MX is ours it stays as it is",
                &|c| {
                    c.facts.records = None;
                    c.status.state = Some(DomainState::CutoverReady);
                },
                "do Publish { part: Records, switch_mx: false }",
            ),
            (
                "a record of somebody else",
                &|c| {
                    let conflict = NotReady::stalled(Reason::DNSConflict, "");
                    c.facts.records.as_mut().unwrap().conflict = Some(conflict);
                },
                "wait DNSConflict DNSPublished",
            ),
            ("are they shown", &|c| c.facts.records.as_mut().unwrap().unseen = None, "learn Shown(Records)"),
            (
                "they are not: nothing signs",
                &|c| {
                    c.facts.records.as_mut().unwrap().unseen = Some(vec![("acme.test".into(), RecordType::TXT)]);
                    c.facts.keys = Some(vec![key("s1", false)]);
                },
                "wait DNSPropagating DNSPublished",
            ),
            ("they are", &|c| c.facts.keys = Some(vec![key("s1", false)]), "do Sign([\"s1\"])"),
            (
                "it was said already, and the server has the word",
                &|c| {
                    c.facts.keys = Some(vec![key("s1", false)]);
                    c.facts.signing = Some(vec![key("s1", false)]);
                },
                "acme.test is live",
            ),
            ("a key that is over", &over, "do RemoveKey(\"s0\")"),
            (
                "not while the domain needs something itself",
                &|c| {
                    over(c);
                    c.status.state = Some(DomainState::CutoverReady);
                },
                "learn Declared",
            ),
        ],
    );
}

#[test]
fn mx_is_switched_last_and_only_when_mail_is_taken_and_a_person_agrees() {
    let manual = |c: &mut Case, approved| {
        c.domain.spec.cutover = mail_domain::Cutover { mode: CutoverMode::Manual, approved };
    };
    check(
        prepared,
        &[
            ("what is declared", &|c| c.facts.declared = None, "learn Declared"),
            (
                "one is not ready",
                &|c| c.facts.declared.as_mut().unwrap().unready.push("Mailbox a".into()),
                "wait AwaitingAcceptance CutOver",
            ),
            (
                "there is no address",
                &|c| c.facts.declared = Some(Declared::default()),
                "acme.test is prepared: MX is switched when the first Mailbox or MailAlias of the domain is there",
            ),
            (
                "nobody has agreed: the servers are not even asked",
                &|c| {
                    manual(c, false);
                    c.facts.accepted = false;
                },
                "wait AwaitingApproval CutOver",
            ),
            (
                "somebody has",
                &|c| {
                    manual(c, true);
                    c.facts.mx = None;
                },
                "do Publish { part: Mx, switch_mx: true }",
            ),
            ("do the servers take mail", &|c| c.facts.accepted = false, "learn Acceptance"),
            (
                "and does a policy of before let senders deliver there",
                &|c| c.facts.former_policy = None,
                "learn FormerPolicy",
            ),
            (
                "it does not",
                &|c| c.facts.former_policy = Some(Some(NotReady::waiting(Reason::AwaitingPolicyEnd, "held"))),
                "wait AwaitingPolicyEnd CutOver",
            ),
            ("they do", &|c| c.facts.mx = None, "do Publish { part: Mx, switch_mx: true }"),
            ("is it shown", &|c| c.facts.mx.as_mut().unwrap().unseen = None, "learn Shown(Mx)"),
            (
                "it is not",
                &|c| c.facts.mx.as_mut().unwrap().unseen = Some(vec![("acme.test".into(), RecordType::MX)]),
                "wait DNSPropagating CutOver",
            ),
            ("it is", &|_| {}, "do GoLive"),
            (
                "the journal names MX before it is written: only the state says that it went through",
                &|c| {
                    c.status.dns = journal(true);
                    c.facts.mx = None;
                },
                "do Publish { part: Mx, switch_mx: true }",
            ),
        ],
    );
}

#[test]
fn who_only_looks_does_nothing() {
    let observe = || {
        let mut case = live();
        case.domain.spec.management_policy = ManagementPolicy::Observe;
        case.facts.compared = Some(Compared::default());
        case
    };
    let good = "as declared at the backend and in the DNS; nothing is written";
    check(
        observe,
        &[
            ("as declared", &|_| {}, good),
            (
                "by the instance",
                &|c| {
                    c.domain.spec.management_policy = ManagementPolicy::Full;
                    *c.instance() = instance(json!({"managementPolicy": "Observe"}), Value::Null);
                },
                good,
            ),
            ("another tenant holds the name", &|c| c.facts.holder = Some(Some("other".into())), "wait DomainClaimed"),
            ("nobody holds it", &|c| c.facts.holder = Some(None), good),
            ("it is not there", &|c| c.facts.row = Some(None), "wait Drifted"),
            ("it is another tenant's", &|c| c.row().tenant = Some(TenantId::new("j")), "wait Drifted"),
            ("switched off", &|c| c.row().active = false, "wait Drifted"),
            ("no key signs", &|c| c.facts.keys = Some(vec![key("s1", false)]), "wait Drifted"),
            (
                "a record differs",
                &|c| {
                    let differing = [(Purpose::MX, "acme.test".to_owned())].into();
                    c.facts.compared = Some(Compared { records: vec![], differing });
                },
                "wait Drifted",
            ),
        ],
    );
    // Whatever is not known yet is learned, and nothing is done.
    let mut case = observe();
    case.facts = Facts { regular: case.facts.regular.clone(), ..Facts::default() };
    let all = observe().facts;
    for _ in 0..20 {
        match case.plan().next {
            Next::Learn(Observation::Parents) => case.facts.known = all.known.clone(),
            Next::Learn(Observation::Server) => case.facts.server = all.server.clone(),
            Next::Learn(Observation::Zone) => case.facts.zone_found = true,
            Next::Learn(Observation::Holder) => case.facts.holder = all.holder.clone(),
            Next::Learn(Observation::Row { .. }) => case.facts.row = all.row.clone(),
            Next::Learn(Observation::Keys) => case.facts.keys = all.keys.clone(),
            Next::Learn(Observation::Compared) => case.facts.compared = all.compared.clone(),
            other => return assert_eq!(said(&other), good),
        }
    }
    panic!("it does not end");
}

#[path = "by_hand_tests.rs"]
mod edited_by_hand;
#[path = "life_tests.rs"]
mod life;
#[path = "parents_tests.rs"]
mod parents;
#[path = "policy_tests.rs"]
mod policy;

#[test]
fn who_is_to_publish_a_proof_hears_of_the_wildcard_that_it_would_end() {
    let mut case = live();
    case.new_name();
    case.facts.proven = Some(false);
    for (wildcard, warned) in [(None, false), (Some("A 192.0.2.1"), true)] {
        let of = |record: &str| mailtenant_dns::Wildcard { name: "*.test".into(), records: vec![record.to_owned()] };
        case.facts.wildcard = Some(wildcard.map(of));
        let Next::Wait(not_ready, _) = case.plan().next else { panic!("it waits") };
        assert_eq!(not_ready.message.contains("*.test (A 192.0.2.1)"), warned, "{}", not_ready.message);
    }
}

/// A typing error in `hosts.mx` of the backend must not reach MX of the domains that are live.
#[test]
fn a_new_mail_server_is_proven_before_mx_leads_to_it_and_by_one_domain_first() {
    let moved = || {
        let mut case = live();
        let backend = Arc::make_mut(&mut case.instance().backend);
        let hosts = json!([{"host": "mx.test"}, {"host": "MX9.test", "preference": 20}]);
        backend.spec.hosts.mx = serde_json::from_value(hosts).unwrap();
        case.facts.new_mx_turn = Some(true);
        case.facts.declared = Some(Declared { addresses: vec!["a@acme.test".into()], unready: vec![] });
        case
    };
    let publish = "do Publish { part: Mx, switch_mx: true }";
    check(
        moved,
        &[
            ("whose turn it is", &|c| c.facts.new_mx_turn = None, "learn NewMxTurn"),
            ("not its", &|c| c.facts.new_mx_turn = Some(false), "wait AwaitingAcceptance DNSPublished"),
            ("what is declared", &|c| c.facts.declared = None, "learn Declared"),
            ("the proof", &|_| (), "learn NewMx"),
            ("proven", &|c| c.facts.new_mx_proven = true, publish),
            (
                "it is written",
                &|c| {
                    c.facts.new_mx_proven = true;
                    c.facts.mx = Some(Published::default());
                },
                "learn Shown(Mx)",
            ),
            (
                "it is shown",
                &|c| {
                    c.facts.mx = published();
                    let dns = c.status.dns.as_mut().unwrap();
                    let mx = record("acme.test", "MX", Purpose::MX, RecordState::Ok);
                    dns.records.push(RecordStatus { value: "20 mx9.test.".into(), ..mx });
                },
                "acme.test is live",
            ),
            (
                "a crash after it was noted, which it is only when it is proven",
                &|c| {
                    let dns = c.status.dns.as_mut().unwrap();
                    let mx = record("acme.test", "MX", Purpose::MX, RecordState::Missing);
                    dns.records.push(RecordStatus { value: "20 mx9.test.".into(), ..mx });
                },
                "acme.test is live",
            ),
            (
                "another preference is no new server",
                &|c| {
                    let backend = Arc::make_mut(&mut c.instance().backend);
                    backend.spec.hosts.mx =
                        serde_json::from_value(json!([{"host": "mx.test", "preference": 5}])).unwrap();
                },
                "acme.test is live",
            ),
        ],
    );
}

/// A condition that is said to be true first, and then not, would change its time in each pass (I5).
#[test]
fn while_a_new_mail_server_is_not_proven_nothing_says_that_the_records_are_as_declared() {
    let mut case = live();
    let backend = Arc::make_mut(&mut case.instance().backend);
    backend.spec.hosts.mx = serde_json::from_value(json!([{"host": "mx9.test"}])).unwrap();
    case.facts.new_mx_turn = Some(false);
    let published = |n: &Note| matches!(n, Note::Condition(ConditionType::DNSPublished, ..));
    assert!(!case.plan().notes.iter().any(published));
    case.facts.new_mx_turn = None;
    assert!(live().plan().notes.iter().any(published));
}
