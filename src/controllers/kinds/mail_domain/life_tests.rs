//! A whole life, walked with a model of the world.

use super::*;
use crate::kinds::mail_domain::status::put;

/// A world for one domain: it answers, carries out, and moves on when the domain waits.
struct Model {
    case: Case,
    /// Of the status, as Kubernetes has it.
    conditions: Vec<Condition>,
    holder: Option<String>,
    proven: bool,
    row: Option<DomainRow>,
    keys: Vec<DkimRow>,
    /// The DNS servers show what was written.
    shown: bool,
    declared: Declared,
    /// What was done, and what was waited for, in order.
    story: Vec<String>,
}

impl Model {
    fn new() -> Self {
        let mut case = live();
        (case.status, case.domain.status) = (MailDomainStatus::default(), None);
        let (conditions, keys, story) = (vec![], vec![], vec![]);
        let declared = Declared::default();
        Model { case, conditions, holder: None, proven: false, row: None, keys, shown: false, declared, story }
    }

    /// One pass, as the driver does it.
    fn pass(&mut self) -> Next {
        self.case.facts = Facts { regular: live().facts.regular, ..Facts::default() };
        self.case.domain.status = Some(self.case.status.clone());
        for _ in 0..100 {
            let Planned { notes, next } = self.case.plan();
            let mut conditions = Conditions::new(&self.conditions, 1, jiff::Timestamp::UNIX_EPOCH);
            notes.into_iter().for_each(|n| put(&mut self.case.status, &mut conditions, n));
            self.conditions = conditions.into_vec();
            match next {
                Next::Learn(what) => self.learn(what),
                Next::Do(action) => self.act(action),
                end => {
                    self.story.push(said(&end));
                    return end;
                }
            }
        }
        panic!("a pass does not end: {:?}", self.story);
    }

    fn learn(&mut self, what: Observation) {
        let facts = &mut self.case.facts;
        let unseen = || Some(if self.shown { vec![] } else { vec![("acme.test".into(), RecordType::TXT)] });
        match what {
            Observation::Parents => facts.known = Some(known()),
            Observation::Server => facts.server = live().facts.server,
            Observation::Zone => facts.zone_found = true,
            Observation::Holder => facts.holder = Some(self.holder.clone()),
            Observation::LiveHolder => facts.live_holder = Some(self.holder.clone()),
            Observation::Relative => facts.relative = Some(None),
            Observation::Proof => facts.proven = Some(self.proven),
            Observation::Wildcard => facts.wildcard = Some(None),
            Observation::Row { .. } => facts.row = Some(self.row.clone()),
            Observation::Keys => facts.keys = Some(self.keys.clone()),
            Observation::Shown(Part::Records) => facts.records.as_mut().unwrap().unseen = unseen(),
            Observation::Shown(Part::Mx) => facts.mx.as_mut().unwrap().unseen = unseen(),
            Observation::Declared => facts.declared = Some(self.declared.clone()),
            Observation::Acceptance => facts.accepted = true,
            Observation::FormerPolicy => facts.former_policy = Some(None),
            other => panic!("{other:?} is not needed"),
        }
    }

    fn act(&mut self, action: Action) {
        self.story.push(told(&action));
        let (facts, status) = (&mut self.case.facts, &mut self.case.status);
        match action {
            Action::Claim => {
                assert!(self.proven);
                (self.holder, facts.claim) = (Some(OWN.into()), Some(Taken::Ours));
            }
            Action::NoteVerified => status.state = Some(DomainState::Verified),
            Action::Provision => {
                self.row = Some(domain_row());
                (facts.row, facts.ensured) = (Some(self.row.clone()), true);
            }
            Action::MakeKeys(_) => {
                self.keys.push(key(&format!("s{}", self.keys.len() + 1), false));
                facts.keys = Some(self.keys.clone());
            }
            Action::Publish { part, switch_mx } => {
                let names = self.keys.iter().map(|k| format!("{}._domainkey.acme.test", k.selector));
                let of = |n: String| record(&n, "TXT", Purpose::DKIM, RecordState::Ok);
                let mut records: Vec<RecordStatus> = names.map(of).collect();
                if switch_mx {
                    records.push(record("acme.test", "MX", Purpose::MX, RecordState::Ok));
                }
                status.dns = Some(DomainDnsStatus { records, ..journal(false).unwrap() });
                let published = Some(Published { switch_mx, ..Published::default() });
                match part {
                    Part::Records => facts.records = published,
                    Part::Mx => facts.mx = published,
                }
            }
            Action::Sign(keys) => {
                let signs = |k: &DkimRow| keys.iter().any(|s| s.selector == k.selector);
                self.keys.iter_mut().for_each(|k| k.active = signs(k));
                facts.signing = Some(self.keys.clone());
            }
            Action::TellPolicy => panic!("no policy is declared"),
            Action::WriteZoneFile(_) => panic!("somebody else edits the records"),
            Action::GoLive => (status.state, facts.went_live) = (Some(DomainState::Live), true),
            Action::RemoveKey(selector) => {
                self.keys.retain(|k| k.selector != selector);
                facts.keys.as_mut().unwrap().retain(|k| k.selector != selector);
            }
        }
    }
}

#[test]
fn a_whole_life_in_order() {
    let mut model = Model::new();
    model.pass();
    model.proven = true;
    model.pass();
    model.shown = true;
    model.pass();
    model.declared.unready.push("Mailbox a".into());
    model.pass();
    model.declared = Declared { addresses: vec!["a@acme.test".into()], unready: vec![] };
    model.pass();
    let (records, mx) = ("Publish { part: Records, switch_mx: false }", "Publish { part: Mx, switch_mx: true }");
    let prepared = "acme.test is prepared: MX is switched when the first Mailbox or MailAlias of the domain is there";
    let want = [
        "wait OwnershipUnproven OwnershipVerified",
        "Claim",
        "NoteVerified",
        "Provision",
        "MakeKeys([RSA2048])",
        records,
        "wait DNSPropagating DNSPublished",
        records,
        "Sign([\"s1\"])",
        prepared,
        records,
        "wait AwaitingAcceptance CutOver",
        records,
        mx,
        "GoLive",
        "acme.test is live",
    ];
    assert_eq!(model.story, want);
    // At rest the records are compared, and nothing else is done.
    model.story.clear();
    model.pass();
    assert_eq!(model.story, ["Publish { part: Records, switch_mx: true }", "acme.test is live"]);
    // New keys: the old one signs until the new one is shown, and its record stays.
    model.story.clear();
    model.case.annotate(annotations::ROTATE_DKIM, "1");
    model.shown = false;
    model.pass();
    model.shown = true;
    model.pass();
    model.pass();
    let records = "Publish { part: Records, switch_mx: true }";
    let want = [
        "MakeKeys([RSA2048])",
        records,
        "wait DNSPropagating DNSPublished",
        records,
        "Sign([\"s2\"])",
        "acme.test is live",
        records,
        "acme.test is live",
    ];
    assert_eq!(model.story, want);
    assert_eq!(model.case.status.last_handled_rotate_dkim.as_deref(), Some("1"));
}
