//! How many objects have which conditions, for a metric. Types and reasons are those of the API: a word that somebody else
//! wrote into a status is counted as `Other`, so nobody can make up series without end.

use super::kind::Kind;
use super::world::World;
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use mailtenant_api::*;
use mailtenant_runtime::store::Store;
use std::collections::BTreeMap;

/// Kind, type of the condition, its status, its reason.
pub type Words = (&'static str, &'static str, &'static str, &'static str);

const OTHER: &str = "Other";

/// Counts the conditions of all objects.
pub fn conditions(world: &World) -> BTreeMap<Words, usize> {
    let mut all = BTreeMap::new();
    count(Kind::GroupwareBackend, &world.groupware, &mut all);
    count(Kind::DNSBackend, &world.dns, &mut all);
    count(Kind::MailInstance, &world.instances, &mut all);
    count(Kind::MailDomain, &world.domains, &mut all);
    count(Kind::Mailbox, &world.mailboxes, &mut all);
    count(Kind::MailAlias, &world.aliases, &mut all);
    all
}

/// Counts the domains that are not healthy, also for the reasons that none has.
pub fn unhealthy(world: &World) -> [(&'static str, usize); Reason::UNHEALTHY.len()] {
    let mut all = Reason::UNHEALTHY.map(|reason| (reason.as_str(), 0));
    for (_, domain) in world.domains.iter() {
        let said = domain.status.as_ref().and_then(|s| conditions::find(&s.conditions, ConditionType::Healthy));
        let Some(said) = said.filter(|c| c.status == "False") else { continue };
        all.iter_mut().filter(|(reason, _)| *reason == said.reason).for_each(|(_, n)| *n += 1);
    }
    all
}

fn count<K>(kind: Kind, store: &Store<K>, all: &mut BTreeMap<Words, usize>)
where
    K: HasStatus<Status: ObjectStatus> + Resource + ResourceExt,
{
    // Few words for many objects: they are looked up once each.
    let mut words: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for condition in store.iter().filter_map(|(_, object)| object.status()).flat_map(|status| status.conditions()) {
        *words.entry((&condition.type_, &condition.status, &condition.reason)).or_default() += 1;
    }
    for ((type_, status, reason), n) in words {
        let type_ = ConditionType::ALL.iter().map(|t| t.as_str()).find(|word| *word == type_).unwrap_or(OTHER);
        let status = ["True", "False", "Unknown"].into_iter().find(|word| *word == status).unwrap_or(OTHER);
        let reason = Reason::ALL.iter().map(|r| r.as_str()).find(|word| *word == reason).unwrap_or(OTHER);
        *all.entry((kind.as_str(), type_, status, reason)).or_default() += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use mailtenant_runtime::store::Event;
    use serde_json::json;

    #[test]
    fn conditions_are_counted_and_words_of_others_are_one_word() {
        let mut world = World::default();
        let condition = |type_: &str, status: &str, reason: &str| json!({"type": type_, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        for (name, conditions) in [
            ("a", json!([condition("Ready", "False", "Paused"), condition("DeletionBlocked", "True", "Draining")])),
            ("b", json!([condition("Ready", "False", "Paused")])),
            ("c", json!([condition("Ready", "True", "Succeeded"), condition("Mine", "Perhaps", "BecauseISaySo")])),
            ("d", json!([condition("Yours", "Perhaps", "BecauseYouSaySo")])),
        ] {
            let rest = json!({"metadata": {"name": name}, "status": {"conditions": conditions}});
            world.mailboxes.apply(Event::Applied(fixtures::mailbox(json!({}), rest)));
        }
        let of = |type_, status, reason| ("Mailbox", type_, status, reason);
        assert_eq!(
            conditions(&world),
            BTreeMap::from([
                (of("DeletionBlocked", "True", "Draining"), 1),
                (of("Other", "Other", "Other"), 2),
                (of("Ready", "False", "Paused"), 2),
                (of("Ready", "True", "Succeeded"), 1),
            ])
        );
    }
}
