//! What is declared in a domain, and whether the mail servers say that they take mail for it (I7).

use super::facts::Declared;
use crate::ctx::Ctx;
use crate::not_ready::NotReady;
use crate::state::answers::Answers;
use crate::state::parents::Instance;
use crate::state::world::World;
use kube::ResourceExt;
use mailtenant_api::mailbox::Suspend;
use mailtenant_api::*;
use mailtenant_dns::{RecipientProbe, Verdict};
use mailtenant_runtime::store::NamespacedName;
use std::time::Duration;
use tokio::time::Instant;

fn is_ready(generation: Option<i64>, observed: Option<i64>, conditions: &[Condition]) -> bool {
    observed == generation && conditions::is_true(conditions, ConditionType::Ready)
}

/// What is declared in a domain, and is not on its way out.
pub fn declared(world: &World, key: &NamespacedName, name: &str) -> Declared {
    let mut out = Declared::default();
    let mailboxes = world.index.mailboxes_by_domain.of(key).filter_map(|k| world.mailboxes.get(k));
    for m in mailboxes.filter(|m| m.metadata.deletion_timestamp.is_none()) {
        let status = m.status.clone().unwrap_or_default();
        if !is_ready(m.metadata.generation, status.observed_generation, &status.conditions) {
            out.unready.push(format!("Mailbox {}", m.name_any()));
        } else if m.spec.suspend != Suspend::All {
            out.addresses.push(format!("{}@{name}", m.spec.local_part));
        }
    }
    let aliases = world.index.aliases_by_domain.of(key).filter_map(|k| world.aliases.get(k));
    for a in aliases.filter(|a| a.metadata.deletion_timestamp.is_none()) {
        let status = a.status.clone().unwrap_or_default();
        if !is_ready(a.metadata.generation, status.observed_generation, &status.conditions) {
            out.unready.push(format!("MailAlias {}", a.name_any()));
        } else if a.spec.local_part != "*" {
            out.addresses.push(format!("{}@{name}", a.spec.local_part));
        }
    }
    out
}

/// Asks the mail servers of an instance for what is declared in a domain of it: the one that is given for it (`delivery`), or
/// those of the hosts of MX that are `asked`.
pub async fn accepted(
    ctx: &Ctx,
    uid: &str,
    instance: &Instance,
    declared: &Declared,
    asked: impl Fn(&String) -> bool,
) -> Result<(), NotReady> {
    let spec = &instance.backend.spec;
    let port = |p: i32| p.clamp(1, 65535) as u16;
    let servers: Vec<(String, u16)> = match &spec.delivery {
        Some(d) => vec![(d.address.clone(), port(d.port))],
        None => spec.hosts.mx.iter().map(|m| m.host.clone()).filter(asked).map(|host| (host, 25)).collect(),
    };
    let backend = &instance.object.spec.backend_ref.name;
    ask(ctx.probe.as_ref(), &ctx.answers, backend, uid, &servers, &declared.addresses).await
}

/// How long one pass may ask: well below the time limit of a pass.
const BUDGET: Duration = Duration::from_secs(20);

/// Asks every server for every address: mail may come to any of them.
async fn ask(
    probe: &dyn RecipientProbe,
    answers: &Answers,
    backend: &str,
    uid: &str,
    servers: &[(String, u16)],
    addresses: &[String],
) -> Result<(), NotReady> {
    let end = Instant::now() + BUDGET;
    for server in servers {
        let at = format!("{}:{}", server.0, server.1);
        let label = format!("mail server {at} of GroupwareBackend {backend}");
        let mut left = answers.missing(uid, &at, addresses);
        while !left.is_empty() {
            let time = end.saturating_duration_since(Instant::now());
            if time.is_zero() {
                let asked = addresses.len() - left.len();
                let text = format!("the {label} takes mail for {asked} of {} addresses so far", addresses.len());
                return Err(NotReady::after(Reason::AwaitingAcceptance, text, Duration::from_secs(1)));
            }
            let verdicts = probe.ask(server, &left, time).await.map_err(|e| NotReady::backend(&label, &e))?;
            if verdicts.is_empty() || verdicts.len() > left.len() {
                let text = format!("the {label} did not answer for every address");
                return Err(NotReady::retry(Reason::AwaitingAcceptance, text));
            }
            let answered: Vec<String> = left.drain(..verdicts.len()).collect();
            let (good, bad): (Vec<_>, Vec<_>) =
                answered.into_iter().zip(verdicts).partition(|(_, v)| *v == Verdict::Accepted);
            answers.note(uid, &at, good.into_iter().map(|(a, _)| a));
            if let Some((address, Verdict::Later(why) | Verdict::Refused(why))) = bad.into_iter().next() {
                let text = format!("the {label} does not take mail for {address} yet: {why}");
                return Err(NotReady::retry(Reason::AwaitingAcceptance, text));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use mailtenant_dns::BackendError;
    use mailtenant_runtime::dispatch::Next;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// Thinks `0` about each recipient; knows all of them but those in `1`, and is not there at all when that is none.
    struct Server(Duration, Option<Vec<String>>);
    /// Servers by host, and who was asked for whom.
    struct Model(BTreeMap<String, Server>, Mutex<Vec<(String, String)>>);

    #[async_trait::async_trait]
    impl RecipientProbe for Model {
        async fn ask(
            &self,
            server: &(String, u16),
            addresses: &[String],
            time: Duration,
        ) -> mailtenant_dns::Result<Vec<Verdict>> {
            let Server(pause, unknown) = &self.0[&server.0];
            let Some(unknown) = unknown else { return Err(BackendError::unavailable("nobody listens")) };
            let (start, mut out) = (Instant::now(), vec![]);
            for address in addresses {
                if !out.is_empty() && start.elapsed() >= time {
                    break;
                }
                tokio::time::sleep(*pause).await;
                self.1.lock().unwrap().push((server.0.clone(), address.clone()));
                let known = !unknown.contains(address);
                out.push(if known { Verdict::Accepted } else { Verdict::Refused("550 no".into()) });
            }
            Ok(out)
        }
    }

    fn addresses(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("a{n}@acme.test")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_thinks_about_each_recipient_gets_through_in_passes_that_end() {
        let model =
            Model([("mx".to_owned(), Server(Duration::from_millis(600), Some(vec![])))].into(), Mutex::default());
        let (answers, servers, all) = (Answers::default(), [("mx".to_owned(), 25)], addresses(2000));
        for pass in 0.. {
            let start = Instant::now();
            let outcome = ask(&model, &answers, "b", "uid", &servers, &all).await;
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
            match outcome {
                Ok(()) => break,
                Err(not_ready) => assert_eq!(not_ready.reason, Reason::AwaitingAcceptance, "{}", not_ready.message),
            }
            assert!(pass < 100, "never through");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(model.1.lock().unwrap().len(), all.len(), "nobody is asked for twice");
    }

    #[tokio::test(start_paused = true)]
    async fn every_mx_host_must_take_every_address() {
        let all = addresses(3);
        let servers = [("mx1".to_owned(), 25), ("mx2".to_owned(), 25)];
        let cases: [(Option<Vec<String>>, Option<Reason>); 3] = [
            (Some(vec![]), None),
            (Some(vec!["a1@acme.test".into()]), Some(Reason::AwaitingAcceptance)),
            (None, Some(Reason::BackendUnreachable)),
        ];
        for (second, want) in cases {
            let hosts = [
                ("mx1".to_owned(), Server(Duration::ZERO, Some(vec![]))),
                ("mx2".to_owned(), Server(Duration::ZERO, second)),
            ];
            let model = Model(hosts.into(), Mutex::default());
            let outcome = ask(&model, &Answers::default(), "b", "uid", &servers, &all).await;
            assert_eq!(outcome.as_ref().err().map(|h| h.reason), want);
            if let Err(not_ready) = outcome {
                assert!(not_ready.message.contains("mx2:25") && not_ready.next == Next::Retry, "{not_ready:?}");
            } else {
                assert_eq!(model.1.lock().unwrap().len(), 6);
            }
        }
    }
}
