//! What an object names is not there: it is created, or another one is named where the field can be changed.

use super::commands::{allowed, allows, dns_spec, manifest, zone_of};
use super::step::{Shell, Step};
use crate::kind::Kind;
use crate::object::Object;
use crate::picture::Picture;
use serde_json::{Value, json};

pub fn missing(picture: &Picture, (kind, name): (Kind, &str), asked: &Object, shell: &Shell) -> Step {
    let namespace = asked.namespace();
    match kind {
        Kind::MailInstance => {
            let backend = usable(picture, Kind::GroupwareBackend, namespace).unwrap_or("BACKEND");
            let spec = json!({"backendRef": {"name": backend}, "storage": "10Gi", "defaultMailboxQuota": "1Gi"});
            let text = format!(
                "create MailInstance {name}, with the storage that was booked; instanceRef cannot be changed, so for a wrong name \
                 delete {} and create it anew",
                asked.label()
            );
            Step::tenant(text).run(shell.apply(&manifest(kind, namespace, name, &spec)))
        }
        Kind::MailDomain => {
            let instances: Vec<&Object> =
                picture.of_kind(Kind::MailInstance).filter(|o| o.namespace() == namespace).collect();
            let instance = if let [one] = instances.as_slice() { one.name() } else { "INSTANCE" };
            let dns = usable(picture, Kind::DNSBackend, namespace).unwrap_or("DNSBACKEND");
            let spec = json!({"instanceRef": {"name": instance}, "domain": "DOMAIN",
                "dns": {"mode": "Managed", "backendRef": {"name": dns}}});
            let text = format!(
                "create MailDomain {name}; domainRef cannot be changed, so for a wrong name delete {} and create it anew",
                asked.label()
            );
            Step::tenant(text).run(shell.apply(&manifest(kind, namespace, name, &spec)))
        }
        Kind::Mailbox => mailbox(name, asked, shell),
        Kind::GroupwareBackend => groupware(picture, name, asked, shell),
        Kind::DNSBackend => dns(picture, name, asked, shell),
        // Nothing names an alias.
        Kind::MailAlias => Step::tenant(format!("create MailAlias {name}")),
    }
}

/// A backend that the namespace may use, where there is one.
fn usable<'a>(picture: &'a Picture, kind: Kind, namespace: &str) -> Option<&'a str> {
    let may = |o: &&Object| allowed(o, "/spec/allowedNamespaces").is_some_and(|a| allows(picture, &a, namespace));
    picture.of_kind(kind).find(may).map(Object::name)
}

fn mailbox(name: &str, alias: &Object, shell: &Shell) -> Step {
    let domain = alias.text("/spec/domainRef/name");
    let spec = json!({"domainRef": {"name": domain}, "localPart": name});
    let step = Step::tenant(format!("create Mailbox {name}, or take it out of the targets of {}", alias.label()))
        .run(shell.apply(&manifest(Kind::Mailbox, alias.namespace(), name, &spec)));
    let targets = alias.value["spec"]["targets"].as_array().cloned().unwrap_or_default();
    let rest: Vec<&Value> = targets.iter().filter(|t| t["mailboxRef"]["name"] != name).collect();
    if rest.is_empty() {
        return step.run(shell.about("delete", alias, "--wait=false"));
    }
    step.run(shell.merge(alias, &json!({"spec": {"targets": rest}})))
}

fn groupware(picture: &Picture, name: &str, instance: &Object, shell: &Shell) -> Step {
    let text =
        format!("the platform team registers GroupwareBackend {name} (docs/operations.md, \"Registering servers\")");
    let look = shell.kubectl("get groupwarebackends");
    let other = usable(picture, Kind::GroupwareBackend, instance.namespace());
    // What was made lies at the server of before; and with domains in it the deletion waits for them.
    let empty = !picture.unread.contains(&Kind::MailDomain) && picture.children(instance).is_empty();
    let Some(other) = other.filter(|_| empty && !instance.was_made() && !instance.is_deleting()) else {
        return Step::platform(text).look(look);
    };
    let mut spec = instance.value["spec"].clone();
    spec["backendRef"]["name"] = json!(other);
    let again = shell.apply(&manifest(Kind::MailInstance, instance.namespace(), instance.name(), &spec));
    let text = format!(
        "backendRef cannot be changed: if {name} is a wrong name, delete the MailInstance, which is empty and of which nothing was made yet, \
         and create it anew on another backend; else {text}"
    );
    Step::tenant(text).run(format!("{} && {again}", shell.about("delete", instance, ""))).look(look)
}

fn dns(picture: &Picture, name: &str, domain: &Object, shell: &Shell) -> Step {
    let holds = |o: &&Object| dns_spec(o).is_some_and(|spec| zone_of(&spec, domain.text("/spec/domain")).is_some());
    let other = picture.of_kind(Kind::DNSBackend).find(holds).map_or("DNSBACKEND", Object::name);
    let patch = json!({"spec": {"dns": {"backendRef": {"name": other}}}});
    let text = format!("name a DNSBackend that there is in dns.backendRef, or have the platform team register {name}");
    Step::tenant(text).run(shell.merge(domain, &patch)).look(shell.kubectl("get dnsbackends"))
}

/// A deletion cannot be taken back.
pub fn going(parent: &Object, asked: &Object, shell: &Shell) -> Step {
    let text = format!(
        "{} is being deleted, and nothing new is made in it: delete {} too, or, once the first is gone, create both anew",
        parent.label(),
        asked.label()
    );
    Step::tenant(text).run(shell.about("delete", asked, "--wait=false"))
}
