//! Many sets looked up at once, and what stands in the place of those that are not there: a CNAME, or a wildcard record.

use crate::{BackendError, RecordType, Resolver, Result, RrSet};
use futures::StreamExt;
use mailtenant_mail::manual::Shown;
use std::collections::{BTreeMap, BTreeSet};

/// How many look-ups run at a time. One server of a name that is away takes 5 s of each: one after the other, 15 sets would
/// take longer than a pass may.
const AT_ONCE: usize = 8;

/// Label of a name that nobody has: what is shown for it comes from a wildcard record.
const NOBODY: &str = "_mailtenant-wildcard";

/// A name beside `name` that nobody has.
pub fn sibling(name: &str) -> String {
    format!("{NOBODY}.{}", name.split_once('.').map_or(name, |(_, above)| above))
}

type Sets = BTreeMap<(String, RecordType), Vec<RrSet>>;

type Answer = Result<((String, RecordType), Vec<RrSet>)>;

/// Looks up each set once. An error: it was not answered by any server.
async fn all(resolver: &dyn Resolver, which: BTreeSet<(String, RecordType)>) -> Vec<Answer> {
    let look = |(name, rtype): (String, RecordType)| async move {
        let sets = resolver.lookup(&name, rtype).await?;
        Ok::<_, BackendError>(((name, rtype), sets))
    };
    futures::stream::iter(which.into_iter().map(look)).buffered(AT_ONCE).collect().await
}

/// The sets as the authoritative servers show them, in the order in which they are asked for.
///
/// `suspect` says of what a server has whether it is not what is wanted: only then a second look is taken at what stands in
/// its place.
pub async fn survey(
    resolver: &dyn Resolver,
    which: &[(String, RecordType)],
    suspect: impl Fn(&str, RecordType, &RrSet) -> bool,
) -> Result<Vec<Shown>> {
    let sets: Sets = all(resolver, which.iter().cloned().collect()).await.into_iter().collect::<Result<_>>()?;
    let bad = sets.iter().filter(|((name, rtype), servers)| servers.iter().any(|set| suspect(name, *rtype, set)));
    let bad: BTreeSet<(String, RecordType)> = bad.map(|(key, _)| key.clone()).collect();
    let beside = |(name, rtype): &(String, RecordType)| {
        let sibling = sibling(name);
        [(name.clone(), RecordType::CNAME), (sibling.clone(), RecordType::CNAME), (sibling, *rtype)]
    };
    // A name beside may lie in a zone that the servers do not have: then nothing is known of it, and nothing depends on it.
    let more = all(resolver, bad.iter().flat_map(beside).collect()).await;
    let more: Sets = more.into_iter().filter_map(Result::ok).collect();
    let alias = |name: &str| {
        let servers = more.get(&(name.to_owned(), RecordType::CNAME))?;
        servers.iter().find_map(|set| set.values.first().cloned())
    };
    let shown = |(name, rtype): &(String, RecordType)| {
        let servers = sets.get(&(name.clone(), *rtype)).cloned().unwrap_or_default();
        let (target, sibling) = (alias(name), sibling(name));
        let at_sibling = more.get(&(sibling.clone(), *rtype)).into_iter().flatten().find(|set| !set.values.is_empty());
        let same = |other: &RrSet| servers.iter().any(|set| set.values == other.values);
        let wildcard = at_sibling.is_some_and(same) || (target.is_some() && target == alias(&sibling));
        Shown { name: name.clone(), rtype: *rtype, servers, alias: target, wildcard }
    };
    Ok(which.iter().map(shown).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use std::sync::Mutex;

    /// Records by name and type, where `*` is a wildcard label, and what was asked for.
    struct Model(Vec<(&'static str, RecordType, &'static str)>, Mutex<Vec<String>>);

    #[async_trait]
    impl Resolver for Model {
        async fn lookup(&self, name: &str, rtype: RecordType) -> Result<Vec<RrSet>> {
            self.1.lock().unwrap().push(format!("{name} {}", rtype.as_str()));
            if !name.ends_with("acme.test") {
                return Err(BackendError::NotFound("a zone".into()));
            }
            let is = |n: &str| self.0.iter().any(|(have, ..)| *have == n);
            let wild = format!("*.{}", name.split_once('.').unwrap().1);
            let from = if is(name) { name.to_owned() } else { wild };
            let values = self.0.iter().filter(|(n, t, _)| *n == from && *t == rtype).map(|(.., v)| (*v).to_owned());
            Ok(vec![RrSet { name: name.into(), rtype, ttl: 60, values: values.collect() }])
        }
    }

    #[tokio::test]
    async fn what_stands_in_the_place_of_a_record_is_looked_for_where_it_is_not_as_wanted() {
        use RecordType::{CNAME, MX, TXT};
        for (records, alias, wildcard, asked) in [
            (vec![("_dmarc.acme.test", TXT, "good")], None, false, 1),
            (vec![("_dmarc.acme.test", TXT, "bad")], None, false, 4),
            (vec![("_dmarc.acme.test", CNAME, "x.")], Some("x."), false, 4),
            (vec![("*.acme.test", TXT, "bad")], None, true, 4),
            (vec![("*.acme.test", CNAME, "x.")], Some("x."), true, 4),
            (vec![("_dmarc.acme.test", TXT, "bad"), ("*.acme.test", TXT, "other")], None, false, 4),
            // The name has another type, so the wildcard is not for it.
            (vec![("_dmarc.acme.test", MX, "1 x."), ("*.acme.test", TXT, "other")], None, false, 4),
            (vec![], None, false, 4),
        ] {
            let model = Model(records.clone(), Mutex::default());
            let which = [("_dmarc.acme.test".to_owned(), TXT)];
            let good = |_: &str, _: RecordType, set: &RrSet| !set.values.iter().any(|v| v == "good");
            let shown = survey(&model, &which, good).await.unwrap();
            assert_eq!(shown.len(), 1);
            assert_eq!((shown[0].alias.as_deref(), shown[0].wildcard), (alias, wildcard), "{records:?}");
            assert_eq!(model.1.lock().unwrap().len(), asked, "{:?}", model.1);
        }
        // Beside the apex is another zone, which these servers refuse.
        let model = Model(vec![("acme.test", MX, "5 old.")], Mutex::default());
        let shown = survey(&model, &[("acme.test".to_owned(), MX)], |_, _, _| true).await.unwrap();
        assert_eq!((shown[0].servers[0].values.as_slice(), shown[0].wildcard), (&["5 old.".to_owned()][..], false));
        assert!(
            survey(&model, &[("other.test".to_owned(), MX)], |_, _, _| true).await.is_err(),
            "what is asked for is"
        );
    }
}
