//! The journal of records, kept in the status: what is going to be written stands there before it is written (I8, I10).

use super::records;
use super::status::Progress;
use crate::connections::Dns;
use crate::ctx::{Ctx, Step, Stop};
use crate::not_ready::NotReady;
use crate::state::derived::a_label;
use mailtenant_api::Reason;
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_dns::RrSet;
use mailtenant_dns::converge::{Aim, Converged, Failed, Journal, converge};
use mailtenant_mail::merge::{Plan, PreviousMx, in_words};

struct StatusJournal<'a> {
    ctx: &'a Ctx,
    p: &'a mut Progress,
    /// The DNSBackend.
    backend: &'a str,
    /// DNSBackend and zone, for the status; none on the way out.
    publishing: Option<(&'a str, &'a str)>,
}

impl Journal for StatusJournal<'_> {
    type Error = Stop;

    fn entries(&self) -> Vec<RecordStatus> {
        self.p.journal()
    }

    fn previous_mx(&self) -> Option<PreviousMx> {
        self.p.previous_mx()
    }

    fn lost(&mut self, set: &RrSet) {
        self.ctx.connections.metrics.lost_update(self.backend);
        let what = in_words(&set.name, set.rtype, &set.values);
        tracing::info!(backend = self.backend, "another program wrote over {what}: it is written again");
    }

    async fn keep(&mut self, plan: &Plan, unknown: bool) -> Step<()> {
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
    let mut journal = StatusJournal { ctx, p, backend: &dns.name, publishing };
    match converge(dns.server.as_ref(), zone, aim, &mut journal).await {
        Ok(end) => Ok(end),
        Err(Failed::Journal(stop)) => Err(stop),
        Err(Failed::Server(error)) => Err(ctx.dns_failed(dns, &error).into()),
        Err(Failed::Wildcard(wildcard)) => Err(records::only_by_wildcard(&a_label(&p.object), &wildcard).into()),
    }
}
