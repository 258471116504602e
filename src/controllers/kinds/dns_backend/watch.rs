//! What the watching half knows of a DNSBackend: domains see its spec, that it came back, and why it is away.

use crate::rules::backend_ready;
use crate::state::derived::*;
use crate::state::kind::{Kind, ObjectId};
use crate::state::lane;
use crate::state::managed::{Managed, Stored};
use crate::state::wakeups::{self, Wakeups};
use crate::state::world::World;
use mailtenant_api::*;
use mailtenant_runtime::queue::{Lane, Priority};
use mailtenant_runtime::store::{Delta, NamespacedName};
use std::sync::Arc;

impl Managed for DNSBackend {
    fn index(world: &mut World, d: &Delta<Self>) {
        let names = |b: &Option<Arc<DNSBackend>>| secret_names(b.as_ref().map(|b| b.spec.secret_refs()));
        let id = Self::id(&d.key);
        world.index.backends_by_secret.update(&id, names(&d.old), names(&d.new));
    }

    fn wakeups(world: &World, delta: &Delta<Self>) -> Wakeups {
        let mut wakes = Wakeups::default();
        wakeups::of_itself(&mut wakes, <Self as Stored>::KIND, delta);
        let facet = |b: &DNSBackend| {
            let conditions = b.status.clone().unwrap_or_default().conditions;
            (b.metadata.uid.clone(), b.metadata.generation, backend_ready::reason(&conditions))
        };
        if wakeups::differs(delta, facet) {
            let domains = world.index.domains_by_dns_backend.of(&delta.key.name);
            wakes.add(domains.map(|d| ObjectId::new(Kind::MailDomain, d.clone())), Priority::Normal);
        }
        let words = |b: &DNSBackend| (b.spec.allowed_namespaces.clone(), b.spec.zones.clone());
        if wakeups::differs(delta, words) {
            // A zone decides about names in it whose records are edited by hand, too.
            let by_hand = world.domains.iter().filter(|(_, d)| d.spec.dns.mode == mail_domain::DnsMode::Manual);
            wakes.add(by_hand.map(|(key, _)| ObjectId::new(Kind::MailDomain, key.clone())), Priority::Low);
            // Those that were there before may be theirs now.
            let domains = world.index.domains_by_dns_backend.of(&delta.key.name);
            let below = domains.flat_map(|d| world.children_of_domain(d)).filter(|id| world.was_never_made(id));
            wakes.add(below, Priority::Low);
        }
        wakes
    }

    fn lane(_: &World, key: &NamespacedName) -> Lane {
        lane::backend(&Self::id(key))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use crate::fixtures;
    use mailtenant_runtime::store::Event;
    use serde_json::{Value, json};

    #[test]
    fn whom_a_zone_names_hears_of_it_where_something_was_refused() {
        let mut world = World::default();
        world.apply(Event::Applied(fixtures::managed_domain(json!({}))));
        let made = json!({"status": {"ownership": "Created"}, "metadata": {"name": "bob", "uid": "uid-bob"}});
        world.apply(Event::Applied(fixtures::mailbox(json!({"localPart": "bob"}), made)));
        world.apply(Event::Applied(fixtures::mailbox(json!({}), json!({}))));
        world.apply(Event::Applied(fixtures::alias(json!({}))));
        let mut woken = |version: &str, spec: Value| {
            let mut backend = fixtures::dns_backend(spec);
            backend.metadata.namespace = None;
            backend.metadata.resource_version = Some(version.into());
            let deltas = world.apply(Event::Applied(backend));
            let all = deltas.iter().flat_map(|d| DNSBackend::wakeups(&world, d).now);
            let mut names: Vec<String> =
                all.map(|(id, _)| id.key.name).filter(|n| ["alice", "bob", "info"].contains(&n.as_str())).collect();
            names.sort();
            names
        };
        let named = json!({"from": "Names", "names": ["t"]});
        let zones = json!({"zones": [{"name": "acme.test", "allowedNamespaces": named}]});
        woken("2", json!({}));
        assert_eq!(woken("3", json!({"requireProof": false})), Vec::<String>::new());
        assert_eq!(woken("4", zones.clone()), ["alice", "info"]);
        assert_eq!(woken("5", zones), Vec::<String>::new());
    }
}
