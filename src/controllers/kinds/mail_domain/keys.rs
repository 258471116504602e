//! Signing keys: made once, given to the signer, published, and only then signed with. The private half is at the signer
//! alone; what a crash leaves is found there again.

use super::Parents;
use super::status::{Progress, stamp};
use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::state::derived::capabilities;
use crate::state::kind::ObjectId;
use crate::state::snapshots::Since;
use mailtenant_api::mail_domain::{DkimAlgorithm, DkimKeyState, DkimKeyStatus};
use mailtenant_api::{Reason, RecordState, annotation, annotations, mail_domain, uid};
use mailtenant_groupware::{Capability, DkimRow, DomainSnapshot};
use mailtenant_mail::records::{DkimPublic, dkim_name, new_selector};
use std::collections::BTreeMap;

/// How long the record of a key stays after it signed the last time: mail can be on its way for days (RFC 5321, 4.5.4.1
/// gives a queue 4 to 5), and is verified once more wherever it is moved to.
const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(14 * 24);

/// The keys to publish, and which of them sign.
pub struct Selectors {
    /// All, in the order in which they were made.
    pub keys: Vec<DkimRow>,
    /// The newest of each algorithm.
    pub newest: Vec<String>,
    /// Those that no mail on its way needs any more: without a record.
    pub over: Vec<String>,
}

impl Selectors {
    /// For the records.
    pub fn public(&self) -> Vec<DkimPublic> {
        let public =
            |k: &DkimRow| DkimPublic { selector: k.selector.clone(), algorithm: k.algorithm, public: k.public.clone() };
        self.keys.iter().filter(|k| !self.over.contains(&k.selector)).map(public).collect()
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

/// The keys that have to be made: of algorithms that have none but what is replaced.
fn missing(keys: &[DkimRow], algorithms: &[DkimAlgorithm], replaced: impl Fn(&DkimRow) -> bool) -> Vec<DkimAlgorithm> {
    let has = |a: &DkimAlgorithm| keys.iter().any(|k| k.algorithm == *a && !replaced(k));
    algorithms.iter().filter(|a| !has(a)).copied().collect()
}

/// Whether a key that signs has reached the age of `dkim.rotateEvery` (`365d`). One of an unknown age never has. Whatever
/// the server's clock and the column say, one that replaced another one lately stays: a wrong clock makes no second key.
fn aged(key: &DkimRow, status: &[DkimKeyStatus], rotate_every: &str, now: jiff::Timestamp) -> bool {
    let days: Option<i64> = rotate_every.strip_suffix('d').and_then(|d| d.parse().ok());
    let (Some(days), Some(created)) = (days, key.created) else { return false };
    let old = |since: jiff::Timestamp| now.duration_since(since) >= jiff::SignedDuration::from_hours(24 * days);
    let retired =
        status.iter().filter(|s| s.algorithm == key.algorithm).filter_map(|s| s.retired_at.as_deref()?.parse().ok());
    key.active && old(created) && retired.into_iter().all(old)
}

/// Whether a key has been out of use for so long that no mail on its way needs its record. Since when it is stands in the
/// status; without that it is out of use since now.
fn done_with(key: &DkimRow, status: &[DkimKeyStatus], now: jiff::Timestamp) -> bool {
    let noted = status.iter().find(|s| s.selector == key.selector).and_then(|s| s.retired_at.as_deref());
    let since: Option<jiff::Timestamp> = noted.and_then(|t| t.parse().ok());
    !key.active && since.is_some_and(|since| now.duration_since(since) >= KEPT)
}

/// The algorithms to sign with: those that are declared; by default those of them that the server has.
pub fn algorithms(p: &Progress, server: &Groupware) -> Result<Vec<DkimAlgorithm>, NotReady> {
    let capabilities = capabilities(&server.object);
    let wanted: Vec<DkimAlgorithm> = p.object.spec.dkim.algorithms.clone();
    let said = wanted.clone();
    let algorithms: Vec<DkimAlgorithm> =
        wanted.into_iter().filter(|a| capabilities.contains(&capability(*a))).collect();
    if algorithms.is_empty() || (algorithms != said && said != mail_domain::Dkim::default().algorithms) {
        let text = format!(
            "{} cannot sign with every algorithm of dkim.algorithms: leave it out, or name RSA2048 alone",
            server.label()
        );
        return Err(NotReady::stalled(Reason::Unsupported, text));
    }
    Ok(algorithms)
}

/// Where nothing is written: the keys that sign, whoever made them, and whether one is lacking that is declared. One whose
/// selector cannot stand in the DNS signs nothing that anybody could verify.
pub fn observed(keys: Vec<DkimRow>, algorithms: Option<Vec<DkimAlgorithm>>, domain: &str) -> (Vec<DkimRow>, bool) {
    let (signing, odd): (Vec<_>, Vec<_>) = keys
        .into_iter()
        .filter(|k| k.active)
        .partition(|k| selector_ok(&k.selector) && dkim_name(&k.selector, domain).len() <= 253);
    let has = |a: &DkimAlgorithm| signing.iter().any(|k| k.algorithm == *a);
    let lacks = !odd.is_empty() || !algorithms.is_some_and(|all| all.iter().all(has));
    (signing, lacks)
}

/// Labels as a DNS server takes them (RFC 6376, 3.1), in either case.
fn selector_ok(selector: &str) -> bool {
    let label =
        |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    selector.split('.').all(label)
}

/// Makes what is missing.
pub async fn ensure(ctx: &Ctx, id: &ObjectId, p: &mut Progress, parents: &Parents) -> Step<Selectors> {
    let server = &parents.server;
    let failed = |e| {
        ctx.backend_failed(server, &e);
        NotReady::backend(&server.label(), &e)
    };
    let algorithms = algorithms(p, server)?;
    let all = ctx
        .rows(server, &id.key, &parents.name, Since::Ever, |rows| rows.dkim.clone())
        .await
        .map_err(|e| NotReady::backend(&server.label(), &e))?;
    let (mut keys, others) = ours(all, &uid(p.object.as_ref()));
    let wish = annotation(p.object.as_ref(), annotations::ROTATE_DKIM);
    let asked = wish.is_some() && wish != p.status.last_handled_rotate_dkim && !p.status.dkim.is_empty();
    // Keys that were there when the wish was seen first: a crash in between makes no second pair.
    let before: Vec<String> = p.status.dkim.iter().map(|k| k.selector.clone()).collect();
    let now = ctx.clock.now();
    let every = p.object.spec.dkim.rotate_every.clone();
    let replaced = |k: &DkimRow| (asked && before.contains(&k.selector)) || aged(k, &p.status.dkim, &every, now);
    let todo = missing(&keys, &algorithms, replaced);
    if !todo.is_empty() {
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        for &algorithm in &todo {
            let taken: Vec<String> =
                keys.iter().chain(&others).map(|k| k.selector.clone()).chain(before.clone()).collect();
            let selector = new_selector(today.year(), today.month(), algorithm, &taken);
            let key = ctx.keys.make(algorithm).await.map_err(failed)?;
            let made = server.server.ensure_dkim_key(&uid(p.object.as_ref()), &parents.name, &selector, &key).await;
            let row = match made {
                Ok(row) => row,
                Err(e) => {
                    ctx.snapshots.stale(&server.uid, &parents.name).await;
                    return Err(failed(e).into());
                }
            };
            keys.push(row);
        }
        let copy = others.iter().chain(&keys).cloned().collect();
        ctx.snapshots.update(&server.uid, &parents.name, |s| s.dkim = copy).await;
    }
    if wish.is_some() {
        p.status.last_handled_rotate_dkim = wish;
    }
    let newest = newest(&keys, &algorithms);
    let over = keys.iter().filter(|k| !newest.contains(&k.selector) && done_with(k, &p.status.dkim, now));
    let over = over.map(|k| k.selector.clone()).collect();
    let out = Selectors { keys, newest, over };
    show(p, &out, now);
    Ok(out)
}

/// Takes away what nobody needs any more, after its record, and after all that the domain itself needs.
pub async fn clear(ctx: &Ctx, p: &mut Progress, parents: &Parents, selectors: &Selectors) -> Step<()> {
    let server = &parents.server;
    for selector in &selectors.over {
        let removed = server.server.remove_dkim_key(&uid(p.object.as_ref()), &parents.name, selector).await;
        if let Err(error) = removed {
            ctx.backend_failed(server, &error);
            ctx.snapshots.stale(&server.uid, &parents.name).await;
            return Err(NotReady::backend(&server.label(), &error).into());
        }
        p.status.dkim.retain(|k| k.selector != *selector);
        let gone = |s: &mut DomainSnapshot| s.dkim.retain(|k| k.selector != *selector);
        ctx.snapshots.update(&server.uid, &parents.name, gone).await;
    }
    Ok(())
}

fn show(p: &mut Progress, selectors: &Selectors, now: jiff::Timestamp) {
    let state = |k: &DkimRow| match (k.active, selectors.newest.contains(&k.selector)) {
        (true, true) => DkimKeyState::Active,
        (false, true) => DkimKeyState::Pending,
        (_, false) => DkimKeyState::Retiring,
    };
    let before = std::mem::take(&mut p.status.dkim);
    let told = |k: &DkimRow| before.iter().find(|s| s.selector == k.selector).and_then(|s| s.retired_at.clone());
    let retired = |k: &DkimRow| {
        let out_of_use = !k.active && !selectors.newest.contains(&k.selector);
        out_of_use.then(|| told(k).unwrap_or_else(|| stamp(now)))
    };
    let shown = |k: &DkimRow| DkimKeyStatus {
        selector: k.selector.clone(),
        algorithm: k.algorithm,
        state: state(k),
        retired_at: retired(k),
    };
    p.status.dkim = selectors.keys.iter().map(shown).collect();
}

/// Signs with the newest keys whose records every server shows.
pub async fn sign(ctx: &Ctx, id: &ObjectId, p: &mut Progress, parents: &Parents, selectors: &Selectors) -> Step<()> {
    let server = &parents.server;
    let journal = p.journal();
    let shown = |selector: &String| {
        let name = dkim_name(selector, &parents.name);
        journal.iter().any(|r| r.name == name && r.state == RecordState::Ok)
    };
    let ready: Vec<String> = selectors.newest.iter().filter(|s| shown(s)).cloned().collect();
    let active: Vec<String> = selectors.keys.iter().filter(|k| k.active).map(|k| k.selector.clone()).collect();
    let same = ready.len() == active.len() && ready.iter().all(|s| active.contains(s));
    if !same && (ready.len() == selectors.newest.len() || active.is_empty()) && !ready.is_empty() {
        let result = server.server.sign_with(&uid(p.object.as_ref()), &parents.name, &ready).await;
        if let Err(error) = result {
            ctx.backend_failed(server, &error);
            ctx.snapshots.stale(&server.uid, &parents.name).await;
            return Err(NotReady::backend(&server.label(), &error).into());
        }
        // Read back: what the status says of a key is what the signer has.
        let all = ctx
            .rows(server, &id.key, &parents.name, Since::now(), |rows| rows.dkim.clone())
            .await
            .map_err(|e| NotReady::backend(&server.label(), &e))?;
        let (keys, _) = ours(all, &uid(p.object.as_ref()));
        show(p, &Selectors { keys, newest: selectors.newest.clone(), over: vec![] }, ctx.clock.now());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(selector: &str, algorithm: DkimAlgorithm, active: bool) -> DkimRow {
        let owner = Some("uid".to_owned());
        DkimRow { selector: selector.into(), owner, algorithm, public: String::new(), active, created: None }
    }

    fn at(text: &str) -> jiff::Timestamp {
        text.parse().unwrap()
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
        let never = |_: &DkimRow| false;
        assert_eq!(missing(&[], &both, never), both);
        let keys = [key("a", RSA2048, true), key("b", Ed25519, true)];
        assert!(missing(&keys, &both, never).is_empty());
        let asked = |k: &DkimRow| ["a", "b"].contains(&k.selector.as_str());
        assert_eq!(missing(&keys, &both, asked), both);
        let crashed = [key("a", RSA2048, true), key("b", Ed25519, true), key("c", RSA2048, false)];
        assert_eq!(missing(&crashed, &both, asked), [Ed25519], "the one that a crash left is used");
        assert_eq!(newest(&crashed, &both), ["c", "b"]);
    }

    #[test]
    fn who_only_looks_sees_that_a_declared_algorithm_does_not_sign() {
        use DkimAlgorithm::{Ed25519, RSA2048};
        let see = |keys: &[DkimRow], algorithms: Option<&[DkimAlgorithm]>| {
            let (signing, lacks) = observed(keys.to_vec(), algorithms.map(<[_]>::to_vec), "acme.test");
            (signing.into_iter().map(|k| k.selector).collect::<Vec<_>>().join(" "), lacks)
        };
        let (rsa, ed) = (key("Mail2024", RSA2048, true), key("e", Ed25519, true));
        assert_eq!(see(&[rsa.clone(), ed.clone()], Some(&[RSA2048, Ed25519])), ("Mail2024 e".into(), false));
        assert_eq!(see(&[rsa.clone(), ed.clone()], Some(&[RSA2048])), ("Mail2024 e".into(), false));
        let idle = DkimRow { active: false, ..ed };
        assert_eq!(see(&[rsa.clone(), idle], Some(&[RSA2048, Ed25519])), ("Mail2024".into(), true));
        assert_eq!(see(&[], Some(&[RSA2048])), (String::new(), true));
        assert_eq!(
            see(std::slice::from_ref(&rsa), None),
            ("Mail2024".into(), true),
            "the server has no such algorithm"
        );
        for odd in ["a b", "a..b", "", "schl\u{fc}ssel", &"x".repeat(64)] {
            let odd = key(odd, RSA2048, true);
            assert_eq!(see(&[rsa.clone(), odd], Some(&[RSA2048])), ("Mail2024".into(), true));
        }
    }

    #[test]
    fn keys_grow_old_by_the_servers_word() {
        let of = |created: Option<&str>| DkimRow { created: created.map(at), ..key("a", DkimAlgorithm::RSA2048, true) };
        let now = at("2026-11-26T12:00:00Z");
        let retired = |at: &str| {
            let (selector, algorithm, state) = ("z".to_owned(), DkimAlgorithm::RSA2048, DkimKeyState::Retiring);
            [DkimKeyStatus { selector, algorithm, state, retired_at: Some(at.into()) }]
        };
        assert!(aged(&of(Some("2025-11-26T12:00:00Z")), &[], "365d", now));
        assert!(!aged(&of(Some("2025-11-26T12:00:01Z")), &[], "365d", now));
        assert!(!aged(&of(Some("2027-01-01T00:00:00Z")), &[], "1d", now), "a clock that goes wrong");
        assert!(!aged(&of(None), &[], "1d", now));
        let new = DkimRow { active: false, ..of(Some("2000-01-01T00:00:00Z")) };
        assert!(!aged(&new, &[], "365d", now), "it does not even sign yet");
        let old = of(Some("2000-01-01T00:00:00Z"));
        assert!(
            !aged(&old, &retired("2026-11-26T11:00:00Z"), "365d", now),
            "it replaced one just now, whatever it says"
        );
        assert!(aged(&old, &retired("2025-11-20T11:00:00Z"), "365d", now));
    }

    #[test]
    fn a_record_stays_until_mail_that_is_on_its_way_has_arrived() {
        let now = at("2026-11-26T12:00:00Z");
        let told = |retired_at: Option<&str>| {
            let (selector, algorithm, state) = ("a".to_owned(), DkimAlgorithm::RSA2048, DkimKeyState::Retiring);
            vec![DkimKeyStatus { selector, algorithm, state, retired_at: retired_at.map(str::to_owned) }]
        };
        let idle = key("a", DkimAlgorithm::RSA2048, false);
        assert!(done_with(&idle, &told(Some("2026-11-12T12:00:00Z")), now));
        assert!(!done_with(&idle, &told(Some("2026-11-12T12:00:01Z")), now));
        assert!(!done_with(&idle, &told(None), now));
        assert!(!done_with(&idle, &[], now), "nobody knows since when");
        let signs = key("a", DkimAlgorithm::RSA2048, true);
        assert!(!done_with(&signs, &told(Some("2020-01-01T00:00:00Z")), now), "it signs, whatever the status says");
    }
}
