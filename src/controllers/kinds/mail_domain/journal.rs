//! The journal of records, kept in the status: what is going to be written stands there before it is written (I8, I10).

use super::records;
use super::status::Progress;
use crate::connections::Dns;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::state::derived::a_label;
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_api::{Purpose, Reason, RecordState};
use mailtenant_dns::RrSet;
use mailtenant_dns::converge::{Aim, Converged, Failed, Journal, converge};
use mailtenant_mail::merge::{Plan, PreviousMx, in_words};

struct StatusJournal<'a> {
    ctx: &'a Ctx,
    p: &'a mut Progress,
    /// The DNSBackend.
    backend: &'a str,
    /// The plan is about records for this purpose alone: those of others stay in the journal as they are.
    only: Option<Purpose>,
    /// DNSBackend and zone, for the status; none on the way out.
    publishing: Option<(&'a str, &'a str)>,
}

impl Journal for StatusJournal<'_> {
    type Error = Stop;

    fn entries(&self) -> Vec<RecordStatus> {
        let mut entries = self.p.journal();
        entries.retain(|e| self.only.is_none_or(|purpose| e.purpose == purpose));
        entries
    }

    fn previous_mx(&self) -> Option<PreviousMx> {
        self.p.previous_mx()
    }

    fn lost(&mut self, set: &RrSet) {
        self.ctx.connections.metrics.lost_updates(self.backend, 1);
        let what = in_words(&set.name, set.rtype, &set.values);
        tracing::info!(backend = self.backend, "another program wrote over {what}: it is written again");
    }

    async fn keep(&mut self, plan: &Plan, unknown: bool) -> Step<()> {
        if let Some(purpose) = self.only {
            set_only(self.p, purpose, plan.journal.clone());
            return if unknown { self.p.write_first(self.ctx).await } else { Ok(()) };
        }
        let Some((backend, zone)) = self.publishing else {
            if unknown {
                self.p.set_journal(plan.journal.clone(), plan.previous_mx.clone());
                self.p.write_first(self.ctx).await?;
            }
            return Ok(());
        };
        let dns = self.p.dns();
        dns.zone = Some(zone.to_owned());
        dns.backend = Some(backend.to_owned());
        self.p.set_journal(plan.journal.clone(), plan.previous_mx.clone());
        let noted = self.p.note_mx_ttl(&plan.changes, self.ctx.latest_now());
        if unknown || noted {
            // This status speaks of the new spec already: it must not say Ready of it (I4).
            self.p.conditions.waiting(Reason::Progressing, "records are being changed");
            self.p.write_first(self.ctx).await?;
        }
        Ok(())
    }
}

/// What is reported after so many rounds in which somebody else was faster. `last`: the set as it was read last.
pub fn contended(p: &Progress, last: Option<&RrSet>) -> NotReady {
    let name = a_label(&p.object);
    let what = last.map(|s| format!(", last {}", in_words(&s.name, s.rtype, &s.values))).unwrap_or_default();
    let text = format!("somebody else keeps changing the records of {name}{what}: find the program that does");
    NotReady::retry(Reason::DNSConflict, text)
}

/// Brings the records of a zone to where they should be, with the status as journal.
pub async fn carry_out(ctx: &Ctx, p: &mut Progress, dns: &Dns, zone: &str, aim: &Aim<'_>) -> Step<Converged> {
    let publishing = matches!(aim, Aim::Publish { .. }).then_some((dns.name.as_str(), zone));
    let mut journal = StatusJournal { ctx, p, backend: &dns.name, only: None, publishing };
    let end = converge(dns.server.as_ref(), zone, aim, &mut journal).await;
    end.map_err(|failed| stopped(ctx, p, dns, failed))
}

/// Brings the records for one purpose to where they should be, and leaves all others alone. True: they are there, and no
/// record of somebody else is in their place.
pub async fn carry_out_only(
    ctx: &Ctx,
    p: &mut Progress,
    (dns, zone): (&Dns, &str),
    purpose: Purpose,
    aim: &Aim<'_>,
) -> Step<bool> {
    let mut journal = StatusJournal { ctx, p, backend: &dns.name, only: Some(purpose), publishing: None };
    match converge(dns.server.as_ref(), zone, aim, &mut journal).await {
        Ok(Converged::Settled { plan, .. }) => {
            let taken = |e: &RecordStatus| matches!(e.state, RecordState::Conflict | RecordState::Duplicate);
            let free = !plan.journal.iter().any(taken);
            set_only(p, purpose, plan.journal);
            Ok(free)
        }
        Ok(Converged::ZoneGone) => Ok(false),
        Ok(Converged::Contended(last)) => Err(contended(p, last.as_ref()).into()),
        Err(failed) => Err(stopped(ctx, p, dns, failed)),
    }
}

fn set_only(p: &mut Progress, purpose: Purpose, entries: Vec<RecordStatus>) {
    let others = p.journal().into_iter().filter(|e| e.purpose != purpose);
    let all = others.chain(entries).collect();
    p.set_journal(all, None);
}

fn stopped(ctx: &Ctx, p: &Progress, dns: &Dns, failed: Failed<Stop>) -> Stop {
    match failed {
        Failed::Journal(stop) => stop,
        Failed::Server(error) => ctx.dns_failed(dns, &error).into(),
        Failed::Wildcard(wildcard) => records::only_by_wildcard(&a_label(&p.object), &wildcard).into(),
    }
}
