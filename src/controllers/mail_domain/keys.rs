//! Signing keys: made once, given to the signer, published, and only then signed with. The private half is at the signer
//! alone; what a crash leaves is found there again.

use super::super::ctx::{Ctx, Step, annotation, uid};
use super::super::hold::Hold;
use super::super::observed::Since;
use super::super::world::ObjectId;
use super::Parents;
use super::stage::Progress;
use crate::api::mail_domain::{DkimAlgorithm, DkimKeyState, DkimKeyStatus};
use crate::api::{Reason, RecordState, annotations, mail_domain};
use crate::dns::records::{DkimPublic, new_selector};
use crate::groupware::{Capability, DkimRow};
use std::collections::BTreeMap;

/// The keys to publish, and which of them sign.
pub struct Selectors {
    /// All, in the order in which they were made.
    pub keys: Vec<DkimRow>,
    /// The newest of each algorithm.
    pub newest: Vec<String>,
}

impl Selectors {
    /// For the records.
    pub fn public(&self) -> Vec<DkimPublic> {
        let public =
            |k: &DkimRow| DkimPublic { selector: k.selector.clone(), algorithm: k.algorithm, public: k.public.clone() };
        self.keys.iter().map(public).collect()
    }
}

fn capability(algorithm: DkimAlgorithm) -> Capability {
    match algorithm {
        DkimAlgorithm::RSA2048 => Capability::DkimRsa,
        DkimAlgorithm::Ed25519 => Capability::DkimEd25519,
    }
}

/// Our own keys, and those of others: they are neither published nor signed with, and their names are taken.
fn ours(keys: Vec<DkimRow>, uid: &str) -> (Vec<DkimRow>, Vec<DkimRow>) {
    keys.into_iter().partition(|k| k.owner.as_deref() == Some(uid))
}

fn newest(keys: &[DkimRow], algorithms: &[DkimAlgorithm]) -> Vec<String> {
    let last: BTreeMap<DkimAlgorithm, &str> = keys.iter().map(|k| (k.algorithm, k.selector.as_str())).collect();
    algorithms.iter().filter_map(|a| last.get(a)).map(|s| (*s).to_owned()).collect()
}

/// The keys that have to be made: of algorithms that have none, and of all of them when new ones are asked for.
pub fn missing(keys: &[DkimRow], algorithms: &[DkimAlgorithm], wish: bool, before: &[String]) -> Vec<DkimAlgorithm> {
    let has = |a: &DkimAlgorithm| keys.iter().any(|k| k.algorithm == *a && !(wish && before.contains(&k.selector)));
    algorithms.iter().filter(|a| !has(a)).copied().collect()
}

/// Makes what is missing.
pub async fn ensure(ctx: &Ctx, id: &ObjectId, p: &mut Progress, parents: &Parents) -> Step<Selectors> {
    let server = &parents.server;
    let failed = |e| {
        ctx.trouble(server, &e);
        Hold::backend(&server.label(), &e)
    };
    let capabilities = server.object.status.clone().unwrap_or_default().capabilities;
    let wanted: Vec<DkimAlgorithm> = p.object.spec.dkim.algorithms.clone();
    let said = wanted.clone();
    let algorithms: Vec<DkimAlgorithm> =
        wanted.into_iter().filter(|a| capabilities.iter().any(|c| c == capability(*a).as_str())).collect();
    if algorithms.is_empty() || (algorithms != said && said != mail_domain::Dkim::default().algorithms) {
        let text = format!(
            "{} cannot sign with every algorithm of dkim.algorithms: leave it out, or name RSA2048 alone",
            server.label()
        );
        return Err(Hold::stalled(Reason::Unsupported, text).into());
    }
    let all = ctx
        .rows(server, &id.key, &parents.name, Since::Ever, |rows| rows.dkim.clone())
        .await
        .map_err(|e| Hold::backend(&server.label(), &e))?;
    let (mut keys, others) = ours(all, &uid(p.object.as_ref()));
    let wish = annotation(p.object.as_ref(), annotations::ROTATE_DKIM);
    let asked = wish.is_some() && wish != p.status.last_handled_rotate_dkim && !p.status.dkim.is_empty();
    // Keys that were there when the wish was seen first: a crash in between makes no second pair.
    let before: Vec<String> = p.status.dkim.iter().map(|k| k.selector.clone()).collect();
    let todo = missing(&keys, &algorithms, asked, &before);
    if !todo.is_empty() {
        if asked {
            // What has signed no more since the wish before goes now.
            for old in keys.iter().filter(|k| !k.active && before.contains(&k.selector)) {
                server
                    .server
                    .remove_dkim_key(&uid(p.object.as_ref()), &parents.name, &old.selector)
                    .await
                    .map_err(failed)?;
            }
            let signing: Vec<DkimRow> =
                keys.iter().filter(|k| k.active || !before.contains(&k.selector)).cloned().collect();
            keys = signing;
        }
        let today = ctx.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
        for algorithm in todo {
            let taken: Vec<String> =
                keys.iter().chain(&others).map(|k| k.selector.clone()).chain(before.clone()).collect();
            let selector = new_selector(today.year(), today.month(), algorithm, &taken);
            let key = ctx.keys.make(algorithm).await.map_err(failed)?;
            let made = server.server.ensure_dkim_key(&uid(p.object.as_ref()), &parents.name, &selector, &key).await;
            let row = match made {
                Ok(row) => row,
                Err(e) => {
                    ctx.observed.stale(&server.uid, &parents.name).await;
                    return Err(failed(e).into());
                }
            };
            keys.push(row);
        }
        let copy = others.iter().chain(&keys).cloned().collect();
        ctx.observed.update(&server.uid, &parents.name, |s| s.dkim = copy).await;
    }
    if wish.is_some() {
        p.status.last_handled_rotate_dkim = wish;
    }
    let newest = newest(&keys, &algorithms);
    let out = Selectors { keys, newest };
    show(p, &out);
    Ok(out)
}

fn show(p: &mut Progress, selectors: &Selectors) {
    let state = |k: &DkimRow| match (k.active, selectors.newest.contains(&k.selector)) {
        (true, true) => DkimKeyState::Active,
        (false, true) => DkimKeyState::Pending,
        (_, false) => DkimKeyState::Retiring,
    };
    p.status.dkim = selectors
        .keys
        .iter()
        .map(|k| DkimKeyStatus { selector: k.selector.clone(), algorithm: k.algorithm, state: state(k) })
        .collect();
}

/// Signs with the newest keys whose records every server shows.
pub async fn sign(ctx: &Ctx, id: &ObjectId, p: &mut Progress, parents: &Parents, selectors: &Selectors) -> Step<()> {
    let server = &parents.server;
    let journal = p.journal();
    let shown = |selector: &String| {
        let name = crate::dns::records::dkim_name(selector, &parents.name);
        journal.iter().any(|r| r.name == name && r.state == RecordState::Ok)
    };
    let ready: Vec<String> = selectors.newest.iter().filter(|s| shown(s)).cloned().collect();
    let active: Vec<String> = selectors.keys.iter().filter(|k| k.active).map(|k| k.selector.clone()).collect();
    let same = ready.len() == active.len() && ready.iter().all(|s| active.contains(s));
    if !same && (ready.len() == selectors.newest.len() || active.is_empty()) && !ready.is_empty() {
        let result = server.server.sign_with(&uid(p.object.as_ref()), &parents.name, &ready).await;
        if let Err(error) = result {
            ctx.trouble(server, &error);
            ctx.observed.stale(&server.uid, &parents.name).await;
            return Err(Hold::backend(&server.label(), &error).into());
        }
        // Read back: what the status says of a key is what the signer has.
        let all = ctx
            .rows(server, &id.key, &parents.name, Since::now(), |rows| rows.dkim.clone())
            .await
            .map_err(|e| Hold::backend(&server.label(), &e))?;
        let (keys, _) = ours(all, &uid(p.object.as_ref()));
        show(p, &Selectors { keys, newest: selectors.newest.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(selector: &str, algorithm: DkimAlgorithm, active: bool) -> DkimRow {
        let owner = Some("uid".to_owned());
        DkimRow { selector: selector.into(), owner, algorithm, public: String::new(), active }
    }

    #[test]
    fn the_newest_is_the_one_that_was_made_last_and_never_another_ones() {
        use DkimAlgorithm::RSA2048;
        let foreign = DkimRow { owner: None, ..key("zz", RSA2048, true) };
        let made = vec![key("s202611r9", RSA2048, true), key("s202611r10", RSA2048, false), foreign.clone()];
        let (mine, others) = ours(made, "uid");
        assert_eq!((newest(&mine, &[RSA2048]), others), (vec!["s202611r10".to_owned()], vec![foreign]));
    }

    #[test]
    fn keys_are_made_once_and_anew_only_when_asked() {
        use DkimAlgorithm::{Ed25519, RSA2048};
        let both = [RSA2048, Ed25519];
        assert_eq!(missing(&[], &both, false, &[]), both);
        let keys = [key("a", RSA2048, true), key("b", Ed25519, true)];
        assert!(missing(&keys, &both, false, &[]).is_empty());
        let before = ["a".to_owned(), "b".to_owned()];
        assert_eq!(missing(&keys, &both, true, &before), both);
        let crashed = [key("a", RSA2048, true), key("b", Ed25519, true), key("c", RSA2048, false)];
        assert_eq!(missing(&crashed, &both, true, &before), [Ed25519], "the one that a crash left is used");
        assert_eq!(newest(&crashed, &both), ["c", "b"]);
    }
}
