//! The loop against a small server in memory.

use super::*;
use crate::{Change, DnsCapabilities, Result as DnsResult};
use async_trait::async_trait;
use mailtenant_mail::policy::{Ownership, Purpose};
use mailtenant_mail::records::Mode;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// What the server does with the next write.
enum Answer {
    Fails,
    /// Somebody else puts this value of MX there first.
    IsLate(&'static str),
    /// It is carried out, and a moment later somebody else makes this value of MX of what was there before.
    IsLost(&'static str),
}

struct Model {
    log: Log,
    sets: Mutex<BTreeMap<(String, RecordType), RrSet>>,
    zone: bool,
    /// By which the domain is answered.
    wildcard: Option<crate::Wildcard>,
    /// For the next writes; then each is carried out.
    answers: Mutex<VecDeque<Answer>>,
}

fn empty(key: &(String, RecordType)) -> RrSet {
    RrSet { name: key.0.clone(), rtype: key.1, ttl: 0, values: vec![] }
}

#[async_trait]
impl DnsServer for Model {
    fn provider(&self) -> &'static str {
        "model"
    }
    fn capabilities(&self) -> DnsCapabilities {
        DnsCapabilities { atomic: true, compare_and_set: true }
    }
    async fn probe(&self) -> DnsResult<String> {
        Ok("1".into())
    }
    async fn find_zone(&self, _: &str) -> DnsResult<String> {
        Ok("acme.test".into())
    }
    async fn read(&self, zone: &str, which: &[(String, RecordType)]) -> DnsResult<Vec<RrSet>> {
        self.log.lock().unwrap().push("read".into());
        if !self.zone {
            return Err(BackendError::NotFound(zone.into()));
        }
        let sets = self.sets.lock().unwrap();
        Ok(which.iter().map(|key| sets.get(key).cloned().unwrap_or_else(|| empty(key))).collect())
    }
    async fn contents(&self, _: &str, name: &str, rtype: RecordType) -> DnsResult<Vec<String>> {
        Ok(self.sets.lock().unwrap().get(&(name.to_owned(), rtype)).map(|s| s.values.clone()).unwrap_or_default())
    }
    async fn wildcard(&self, _: &str, name: &str) -> DnsResult<Option<crate::Wildcard>> {
        self.log.lock().unwrap().push(format!("wildcard {name}"));
        Ok(self.wildcard.clone())
    }
    async fn apply(&self, _: &str, changes: &[Change]) -> DnsResult<()> {
        self.log.lock().unwrap().push("apply".into());
        let answer = self.answers.lock().unwrap().pop_front();
        let mut sets = self.sets.lock().unwrap();
        match answer {
            Some(Answer::Fails) => return Err(BackendError::unavailable("gone")),
            Some(Answer::IsLate(value)) => {
                let key = ("acme.test".to_owned(), RecordType::MX);
                sets.insert(key, mx(&[value]));
                return Err(BackendError::Conflict("it changed".into()));
            }
            Some(Answer::IsLost(_)) | None => {}
        }
        for change in changes {
            sets.insert((change.after.name.clone(), change.after.rtype), change.after.clone());
        }
        if let Some(Answer::IsLost(value)) = answer {
            sets.insert(("acme.test".to_owned(), RecordType::MX), mx(&[value]));
        }
        Ok(())
    }
}

/// A journal in memory.
struct Notes {
    log: Log,
    entries: Vec<RecordStatus>,
    previous: Option<PreviousMx>,
    refuses: bool,
}

impl Journal for Notes {
    type Error = &'static str;
    fn entries(&self) -> Vec<RecordStatus> {
        self.entries.clone()
    }
    fn previous_mx(&self) -> Option<PreviousMx> {
        self.previous.clone()
    }
    async fn keep(&mut self, plan: &Plan, unknown: bool) -> Result<(), &'static str> {
        if !unknown {
            return Ok(());
        }
        if self.refuses {
            return Err("no");
        }
        self.log.lock().unwrap().push("journal".into());
        (self.entries, self.previous) = (plan.journal.clone(), plan.previous_mx.clone());
        Ok(())
    }
    fn lost(&mut self, set: &RrSet) {
        self.log.lock().unwrap().push(format!("lost {}", set.values.join(" ")));
    }
}

fn mx(values: &[&str]) -> RrSet {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    RrSet { name: "acme.test".into(), rtype: RecordType::MX, ttl: 300, values }
}

const OURS: &str = "10 mx.ours.test.";
const OLD: &str = "10 old.test.";

fn wanted() -> Vec<Record> {
    vec![Record {
        name: "acme.test".into(),
        rtype: RecordType::MX,
        ttl: 3600,
        values: vec![OURS.into()],
        purpose: Purpose::MX,
        mode: Mode::Switch,
        term: None,
        after_switch: None,
        with_mx: false,
    }]
}

fn publish(wanted: &[Record]) -> Aim<'_> {
    Aim::Publish { name: "acme.test", wanted, conflict: ConflictPolicy::Refuse, switch_mx: true, writer: None }
}

/// A zone with the old MX, and an empty journal.
fn start(answers: Vec<Answer>) -> (Model, Notes) {
    let log = Log::default();
    let sets = [(("acme.test".to_owned(), RecordType::MX), mx(&[OLD]))].into();
    let answers = Mutex::new(answers.into());
    let model = Model { log: log.clone(), sets: Mutex::new(sets), zone: true, wildcard: None, answers };
    (model, Notes { log, entries: vec![], previous: None, refuses: false })
}

impl Model {
    fn has(&self) -> Vec<String> {
        self.sets.lock().unwrap()[&("acme.test".to_owned(), RecordType::MX)].values.clone()
    }
    fn took(&self) -> String {
        self.log.lock().unwrap().join(" ")
    }
}

#[tokio::test]
async fn the_journal_is_kept_before_the_write() {
    let (server, mut notes) = start(vec![]);
    let end = converge(&server, "acme.test", &publish(&wanted()), &mut notes).await;
    assert!(matches!(end, Ok(Converged::Settled { .. })), "{end:?}");
    assert_eq!((server.took(), server.has()), ("read journal apply read".into(), vec![OURS.to_owned()]));
    assert_eq!(notes.previous, Some(PreviousMx { values: vec![OLD.into()], ttl: 300 }));
    // It is there: nothing is noted nor written.
    server.log.lock().unwrap().clear();
    converge(&server, "acme.test", &publish(&wanted()), &mut notes).await.unwrap();
    assert_eq!(server.took(), "read");
}

#[tokio::test]
async fn without_its_journal_nothing_is_written() {
    let (server, mut notes) = start(vec![]);
    notes.refuses = true;
    let end = converge(&server, "acme.test", &publish(&wanted()), &mut notes).await;
    assert_eq!((end, server.has()), (Err(Failed::Journal("no")), vec![OLD.to_owned()]));
}

#[tokio::test]
async fn who_was_slower_reads_again_and_notes_what_is_there_now() {
    let (server, mut notes) = start(vec![Answer::IsLate("10 newer.test.")]);
    let end = converge(&server, "acme.test", &publish(&wanted()), &mut notes).await;
    assert!(matches!(end, Ok(Converged::Settled { .. })), "{end:?}");
    assert_eq!(server.took(), "read journal apply read journal apply read");
    assert_eq!(notes.previous.map(|p| p.values), Some(vec!["10 newer.test.".into()]), "what goes back on deletion");
}

#[tokio::test]
async fn what_another_program_wrote_over_is_counted_and_written_again() {
    let (server, mut notes) = start(vec![Answer::IsLost("10 newer.test.")]);
    let end = converge(&server, "acme.test", &publish(&wanted()), &mut notes).await;
    assert!(matches!(end, Ok(Converged::Settled { .. })), "{end:?}");
    assert_eq!(server.took(), format!("read journal apply read lost {OURS} journal apply read"));
    assert_eq!(server.has(), [OURS]);
}

#[test]
fn values_of_others_beside_what_was_written_lose_nothing() {
    for (written, now, lost) in [
        (&[OURS][..], &[OURS][..], false),
        (&[OURS], &[OURS, OLD], false),
        (&[OURS, OLD], &[OURS], true),
        (&[], &[], false),
        (&[], &[OLD], true),
    ] {
        assert_eq!(is_lost(&mx(written), &mx(now)), lost, "{written:?} {now:?}");
    }
}

#[tokio::test]
async fn somebody_who_keeps_writing_ends_it() {
    let (server, mut notes) = start((0..99).map(|_| Answer::IsLate("10 newer.test.")).collect());
    let end = converge(&server, "acme.test", &publish(&wanted()), &mut notes).await;
    assert_eq!(end, Ok(Converged::Contended(Some(mx(&["10 newer.test."])))), "what was there last");
    assert_eq!(server.took().matches("read").count(), ROUNDS);
    assert_eq!(server.took().matches("apply").count(), ROUNDS);
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_journal() {
    let (server, mut notes) = start(vec![Answer::Fails]);
    let end = converge(&server, "acme.test", &publish(&wanted()), &mut notes).await;
    assert_eq!(end, Err(Failed::Server(BackendError::unavailable("gone"))));
    assert!(
        notes.entries.iter().any(|e| e.value == OURS && e.ownership == Some(Ownership::Created)),
        "{:?}",
        notes.entries
    );
    // It may have been carried out or not: who comes next takes it away by the journal.
    server.sets.lock().unwrap().insert(("acme.test".into(), RecordType::MX), mx(&[OURS]));
    let aim = Aim::WithdrawMx { name: "acme.test", on_delete: OnDelete::RestorePrevious };
    converge(&server, "acme.test", &aim, &mut notes).await.unwrap();
    assert_eq!(server.has(), [OLD]);
}

#[tokio::test]
async fn a_zone_that_is_gone_is_for_the_caller_to_judge() {
    for aim in
        [publish(&wanted()), Aim::WithdrawMx { name: "acme.test", on_delete: OnDelete::Remove }, Aim::WithdrawRest]
    {
        let (mut server, mut notes) = start(vec![]);
        server.zone = false;
        assert_eq!(converge(&server, "acme.test", &aim, &mut notes).await, Ok(Converged::ZoneGone));
        assert_eq!(server.took(), "read");
    }
}

#[tokio::test]
async fn a_withdrawal_is_in_the_journal_already() {
    let (server, mut notes) = start(vec![]);
    let challenge = Record {
        name: "_challenge.acme.test".into(),
        rtype: RecordType::TXT,
        values: vec!["x".into()],
        purpose: Purpose::Challenge,
        mode: Mode::SharedValues,
        ..wanted().remove(0)
    };
    let all = [wanted().remove(0), challenge];
    let Ok(Converged::Settled { plan, .. }) = converge(&server, "acme.test", &publish(&all), &mut notes).await else {
        panic!("not settled")
    };
    notes.entries = plan.journal;
    server.log.lock().unwrap().clear();
    let aim = Aim::WithdrawMx { name: "acme.test", on_delete: OnDelete::RestorePrevious };
    let Ok(Converged::Settled { plan, .. }) = converge(&server, "acme.test", &aim, &mut notes).await else {
        panic!("not settled")
    };
    assert!(plan.journal.iter().all(|e| e.purpose != Purpose::MX), "MX is forgotten once it is seen to be gone");
    notes.entries = plan.journal;
    let end = converge(&server, "acme.test", &Aim::WithdrawRest, &mut notes).await;
    assert!(matches!(end, Ok(Converged::Settled { plan, .. }) if plan.is_withdrawn()));
    assert_eq!(server.took(), "read apply read read apply read");
    assert_eq!(notes.previous.map(|p| p.values), Some(vec![OLD.into()]), "what was put back stays known");
}

/// The first record at or below such a name would take its web site and its mail with it.
#[tokio::test]
async fn what_a_wildcard_alone_answers_is_not_written_before_mx_leads_here() {
    let wildcard = crate::Wildcard { name: "*.test".into(), records: vec!["A 192.0.2.1".into()] };
    let challenge = [Record { rtype: RecordType::TXT, mode: Mode::SharedValues, ..wanted().remove(0) }];
    for (there, switch_mx, took) in [
        (true, false, "read wildcard acme.test"),
        (false, false, "read wildcard acme.test journal apply read"),
        // It was published before: what a hand took away is put back.
        (true, true, "read journal apply read"),
    ] {
        let (mut server, mut notes) = start(vec![]);
        server.wildcard = there.then(|| wildcard.clone());
        let aim = Aim::Publish {
            name: "acme.test",
            wanted: &challenge,
            conflict: ConflictPolicy::Refuse,
            switch_mx,
            writer: None,
        };
        let end = converge(&server, "acme.test", &aim, &mut notes).await;
        assert_eq!(end.is_err(), there && !switch_mx, "{end:?}");
        assert!(end.is_ok() || end == Err(Failed::Wildcard(wildcard.clone())));
        assert_eq!(server.took(), took);
        // At rest nobody is asked.
        if end.is_ok() {
            server.log.lock().unwrap().clear();
            converge(&server, "acme.test", &aim, &mut notes).await.unwrap();
            assert_eq!(server.took(), "read");
        }
    }
}

/// I7: the journal may be older than what others made of MX since, and what rejects mail goes by what is there.
#[test]
fn nothing_rejects_mail_where_mx_was_taken_out_since_it_was_written_or_seen() {
    use mailtenant_mail::policy::RecordState::{self, Missing, Ok, Propagating};
    let (fail, mild) = ("v=spf1 include:spf.test -all", "v=spf1 include:spf.test ~all");
    let spf = Record {
        rtype: RecordType::TXT,
        values: vec![fail.into()],
        purpose: Purpose::SPF,
        mode: Mode::SpfTerm,
        term: Some("include:spf.test".into()),
        ..wanted().remove(0)
    };
    let clients = Record {
        name: "_imaps._tcp.acme.test".into(),
        rtype: RecordType::SRV,
        values: vec!["0 1 993 imap.test.".into()],
        purpose: Purpose::ClientDiscovery,
        mode: Mode::Exclusive,
        with_mx: true,
        ..wanted().remove(0)
    };
    let records = [wanted(), vec![spf, clients]].concat();
    let entry = |(ownership, state): (Ownership, RecordState)| RecordStatus {
        name: "acme.test".into(),
        type_: "MX".into(),
        value: OURS.into(),
        purpose: Purpose::MX,
        state,
        ownership: Some(ownership),
        term: None,
        edited: false,
        observed: None,
        message: None,
    };
    let ours = Ownership::Created;
    // What the journal says of MX, what is there, whether MX may be switched; then SPF.
    for (known, there, switch_mx, spf, why) in [
        ((ours, Ok), Some(&[OURS][..]), false, fail, "it leads here"),
        ((ours, Ok), Some(&[]), false, mild, "it was ours, and was taken out (seed 25305)"),
        ((ours, Propagating), Some(&[OLD]), false, mild, "it was on its way, and was written over"),
        ((Ownership::Observed, Ok), Some(&[]), false, mild, "it led here before us, and was taken out (seed 36311)"),
        ((ours, Ok), Some(&[OLD, "50 mx.ours.test."]), false, fail, "beside others, by another preference"),
        ((ours, Ok), Some(&[]), true, fail, "it is put back in the same change"),
        ((ours, Missing), None, false, fail, "it was not read"),
    ] {
        let mut live: Vec<RrSet> = merge::which(&records, &[])
            .into_iter()
            .filter(|(_, rtype)| *rtype != RecordType::MX)
            .map(|key| empty(&key))
            .collect();
        live.extend(there.map(mx));
        let conflict = ConflictPolicy::Refuse;
        let aim = Aim::Publish { name: "acme.test", wanted: &records, conflict, switch_mx, writer: None };
        let plan = aim.plan(&[entry(known)], None, &live);
        let after = |rtype| plan.changes.iter().find(|c| c.after.rtype == rtype).map(|c| c.after.values.clone());
        assert_eq!(after(RecordType::TXT), Some(vec![spf.to_owned()]), "{why}");
        assert_eq!(after(RecordType::SRV).is_some(), spf == fail, "clients: {why}");
    }
}
