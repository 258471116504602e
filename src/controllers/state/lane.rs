//! Which lane of the work queue an object's passes run in: the server that they mostly wait for, and the tenant whose
//! object it is. A tenant is a namespace, as for claims: who has many MailInstances in one gets no more for it.

use super::kind::ObjectId;
use super::world::World;
use mailtenant_api::MailInstance;
use mailtenant_api::mail_domain::DnsMode;
use mailtenant_runtime::queue::{Lane, Limits};
use mailtenant_runtime::store::NamespacedName;
use std::sync::Arc;

/// The backends' own passes: each backend is a member, so they wait neither for tenants nor for each other.
const BACKENDS: &str = "backends";
/// Passes of domains whose records are edited by hand: they wait for DNS servers of anybody.
const BY_HAND: &str = "dns";
/// Passes of objects that are on no server, or not yet: they wait for Kubernetes only.
const UNASSIGNED: &str = "unassigned";

/// Group of the passes that use a groupware server.
pub fn groupware(name: &str) -> String {
    format!("groupware/{name}")
}

/// Limits of a groupware server that takes so many passes at a time. A quarter is out of reach of a single tenant, so
/// that a neighbour's pass starts at once: all passes of a tenant may wait for one count of what it misses
/// (`mass_loss`).
pub fn groupware_limits(concurrency: usize) -> Limits {
    Limits { group: concurrency, member: concurrency - concurrency / 4 }
}

/// The group of what is on an instance's groupware server. Groups are named by backends that exist, never by what a tenant
/// wrote.
pub fn on_groupware(world: &World, instance: Option<Arc<MailInstance>>) -> Option<String> {
    let name = &instance?.spec.backend_ref.name;
    world.groupware.get(&NamespacedName::new("", name)).map(|_| groupware(name))
}

/// The group of the DNSBackend that has a domain's records; before there are any, of the one that it names. Domains whose
/// records are edited by hand have one together.
pub fn on_dns(world: &World, domain: &NamespacedName) -> Option<String> {
    let domain = world.domains.get(domain)?;
    if domain.spec.dns.mode == DnsMode::Manual {
        return Some(BY_HAND.to_owned());
    }
    let written = domain.status.as_ref().and_then(|s| s.dns.as_ref()).and_then(|d| d.backend.as_ref());
    let name = written.or(domain.spec.dns.backend_ref.as_ref().map(|r| &r.name))?;
    world.dns.get(&NamespacedName::new("", name)).map(|_| format!("dns/{name}"))
}

/// The lane of a backend's own passes.
pub fn backend(id: &ObjectId) -> Lane {
    Lane::new(BACKENDS, id.to_string())
}

/// The lane of a tenant's object, in the group of its server if it has one.
pub fn tenant(group: Option<String>, key: &NamespacedName) -> Lane {
    Lane::new(group.unwrap_or_else(|| UNASSIGNED.to_owned()), &key.namespace)
}

/// The lane of an object that is on no server.
pub fn unassigned(member: &str) -> Lane {
    Lane::new(UNASSIGNED, member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::kind::Kind;
    use mailtenant_api::*;
    use mailtenant_runtime::store::Event;
    use serde_json::{Value, json};

    fn put<K: serde::de::DeserializeOwned>(kind: &str, namespace: &str, name: &str, spec: Value) -> Event<K> {
        let object = json!({
            "apiVersion": mailtenant_api::API_VERSION, "kind": kind, "spec": spec,
            "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1"},
        });
        Event::Applied(serde_json::from_value(object).unwrap())
    }

    fn world() -> World {
        let mut world = World::default();
        let all = json!({"from": "All"});
        world.apply::<GroupwareBackend>(put(
            "GroupwareBackend",
            "",
            "b",
            json!({"allowedNamespaces": all, "hosts": {"mx": []}}),
        ));
        world.apply::<DNSBackend>(put("DNSBackend", "", "ns", json!({"allowedNamespaces": all, "zones": []})));
        for (instance, backend) in [("i", "b"), ("lost", "chosen-by-a-tenant")] {
            let spec = json!({"backendRef": {"name": backend}, "storage": "1Gi", "defaultMailboxQuota": "1Gi"});
            world.apply::<MailInstance>(put("MailInstance", "t", instance, spec));
        }
        for (domain, instance, dns) in
            [("d", "i", json!({"name": "ns"})), ("typo", "i", json!({"name": "sn"})), ("lost", "lost", Value::Null)]
        {
            let mut spec = json!({"instanceRef": {"name": instance}, "domain": "a.test", "dns": {"mode": "Managed"}});
            if !dns.is_null() {
                spec["dns"]["backendRef"] = dns;
            }
            world.apply::<MailDomain>(put("MailDomain", "t", domain, spec));
            let spec = json!({"domainRef": {"name": domain}, "localPart": "a"});
            world.apply::<Mailbox>(put("Mailbox", "t", domain, spec));
        }
        let spec = json!({"owner": {"namespace": "t", "name": "d", "uid": "uid-d"}});
        world.apply::<MailDomainClaim>(put("MailDomainClaim", "", "a.test", spec));
        world
    }

    #[test]
    fn lanes_by_kind() {
        let world = world();
        for (kind, namespace, name, group, member) in [
            (Kind::GroupwareBackend, "", "b", "backends", "GroupwareBackend b"),
            (Kind::DNSBackend, "", "b", "backends", "DNSBackend b"),
            (Kind::MailInstance, "t", "i", "groupware/b", "t"),
            (Kind::MailDomain, "t", "d", "dns/ns", "t"),
            (Kind::MailDomain, "t", "typo", "groupware/b", "t"),
            (Kind::Mailbox, "t", "d", "groupware/b", "t"),
            (Kind::MailInstance, "t", "lost", "unassigned", "t"),
            (Kind::MailDomain, "t", "lost", "unassigned", "t"),
            (Kind::Mailbox, "t", "lost", "unassigned", "t"),
            (Kind::MailAlias, "t", "gone", "unassigned", "t"),
            (Kind::MailDomainClaim, "", "a.test", "unassigned", "t"),
        ] {
            let id = ObjectId::new(kind, NamespacedName::new(namespace, name));
            assert_eq!(world.lane(&id), Lane::new(group, member), "{id}");
        }
    }

    #[test]
    fn a_domain_stays_in_the_lane_of_the_server_that_has_its_records() {
        let mut world = world();
        let mut moved = world.domains.get(&NamespacedName::new("t", "d")).unwrap().as_ref().clone();
        moved.spec.dns.backend_ref.as_mut().unwrap().name = "other".into();
        let status = json!({"dns": {"backend": "ns"}});
        moved.status = Some(serde_json::from_value(status).unwrap());
        moved.metadata.resource_version = Some("2".into());
        world.apply::<MailDomain>(Event::Applied(moved));
        let id = ObjectId::new(Kind::MailDomain, NamespacedName::new("t", "d"));
        assert_eq!(world.lane(&id), Lane::new("dns/ns", "t"));
    }

    #[test]
    fn a_tenant_leaves_a_quarter_of_a_groupware_server() {
        for (concurrency, member) in [(1, 1), (2, 2), (4, 3), (16, 12), (24, 18)] {
            assert_eq!(groupware_limits(concurrency), Limits { group: concurrency, member });
        }
    }
}
