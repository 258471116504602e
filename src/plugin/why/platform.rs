//! What the platform team does: servers, who may use them, the operator itself.

use super::commands::{ZoneOf, allowed, allows, edit, let_in, log};
use super::step::{Shell, Spot, Step};
use crate::kind::Kind;
use crate::object::Object;
use crate::picture::Picture;
use mailtenant_api::Reason;
use serde_json::json;

/// A backend does not answer.
pub fn unreachable(object: &Object, shell: &Shell) -> Step {
    let step = match object.kind {
        Kind::GroupwareBackend | Kind::DNSBackend => Step::platform(format!(
            "look at the server that {} names and at the network between: the operator tries again every 10 s",
            object.label()
        ))
        .look(shell.about("get", object, "-o yaml")),
        _ => Step::platform(
            "look at the DNS servers and mail servers that the message names, and at the network between: it is tried again",
        ),
    };
    step.look(log(shell, object))
}

/// Something was declared that a server or this release cannot do.
pub fn change(object: &Object, text: &str, shell: &Shell) -> Step {
    let step = match object.kind {
        Kind::GroupwareBackend | Kind::DNSBackend => Step::platform(text),
        _ => Step::tenant(text),
    };
    step.run(edit(shell, object))
}

/// The backend of an object does not allow its namespace, or no zone its name.
pub fn not_allowed(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let text = format!("the platform team lets namespace {} in", object.namespace());
    let command = match object.kind {
        Kind::MailDomain => zone(picture, object, shell),
        _ => groupware(picture, object, shell),
    };
    let Some(command) = command else {
        let text = "the message says what is not allowed: ask the platform team, or use another backend";
        return Step::platform(text).look(shell.kubectl("get groupwarebackends,dnsbackends -o yaml"));
    };
    Step::platform(text).run(command)
}

fn groupware(picture: &Picture, object: &Object, shell: &Shell) -> Option<String> {
    let backend = picture.above(object, Kind::GroupwareBackend)?;
    let names = allowed(backend, "/spec/allowedNamespaces")?;
    let_in(shell, backend, &Spot::at("/spec/allowedNamespaces"), &names, object.namespace())
}

fn zone(picture: &Picture, domain: &Object, shell: &Shell) -> Option<String> {
    let zone = ZoneOf::find(picture, domain)?;
    let (allowed, namespace) = (&zone.spec.allowed_namespaces, domain.namespace());
    if !allows(picture, allowed, namespace) {
        return let_in(shell, zone.backend, &Spot::at("/spec/allowedNamespaces"), allowed, namespace);
    }
    if zone.index.is_none() {
        let new = json!({"name": domain.text("/spec/domain")});
        return Some(shell.add(zone.backend, &Spot::at("/spec/zones/-"), &new));
    }
    zone.let_in(shell, namespace, false)
}

/// Something at the server belongs to an object of before, or to nobody.
pub fn exists(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let mut step = Step::tenant(
        "if it belongs to nobody, take it over by adoptionPolicy: IfUnowned. If the message says that its owner no longer exists (a \
         restore, a finalizer removed by force), the platform team allows to take it over by spec.recovery of the GroupwareBackend. \
         Else choose another name",
    );
    if object.text("/spec/adoptionPolicy") != "IfUnowned" {
        step = step.run(shell.merge(object, &json!({"spec": {"adoptionPolicy": "IfUnowned"}})));
    }
    match picture.above(object, Kind::GroupwareBackend) {
        Some(backend) => step.run_all(consent(picture, backend, object.namespace(), shell)),
        None => step,
    }
}

/// Objects of a namespace may take over what their predecessors had; none: they may already.
fn consent(picture: &Picture, backend: &Object, namespace: &str, shell: &Shell) -> Option<String> {
    let place = "/spec/recovery/allowedNamespaces";
    match allowed(backend, place) {
        Some(before) if allows(picture, &before, namespace) => None,
        Some(before) => let_in(shell, backend, &Spot::at(place), &before, namespace),
        None => {
            let names = json!({"from": "Names", "names": [namespace]});
            Some(shell.merge(backend, &json!({"spec": {"recovery": {"allowedNamespaces": names}}})))
        }
    }
}

/// The name is not shown to be the tenant's: the zone itself names the namespace, or the record is published.
pub fn not_entitled(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let step = Step::platform(
        "publish the TXT record that the message names where the zone is edited, or have the platform team name the namespace in the \
         zone itself",
    );
    let zone = picture.above(object, Kind::MailDomain).and_then(|domain| ZoneOf::find(picture, domain));
    step.run_all(zone.and_then(|zone| zone.let_in(shell, object.namespace(), true)))
}

/// The name is another tenant's.
pub fn claimed(picture: &Picture, domain: &Object, shell: &Shell) -> Step {
    let name = domain.text("/spec/domain");
    let look = shell.kubectl("get maildomainclaims");
    let Some(owner) = picture.claims.get(name) else {
        return Step::platform(
            "ask the platform team who holds the name, or a name above or below it: it is free when that MailDomain is gone",
        )
        .look(look);
    };
    let word = |key: &str| owner[key].as_str().unwrap_or_default();
    let text = format!(
        "MailDomain {} in namespace {} holds {name}: one of the two has to be deleted. This one, where it is a mistake",
        word("name"),
        word("namespace")
    );
    Step::platform(text).run(shell.about("delete", domain, "--wait=false")).look(look)
}

/// Kubernetes or the operator failed.
pub fn fault(object: &Object, reason: Reason, shell: &Shell) -> Step {
    let text = match reason {
        Reason::KubernetesError => {
            "the message has the words of Kubernetes: a right that the operator lacks, an admission webhook, a ResourceQuota. It is \
             tried again"
        }
        Reason::TimedOut => "the backend or the Kubernetes API answers too slowly: look at both. It is tried again",
        _ => "a fault in the operator: report it with its log. It is tried again",
    };
    Step::platform(text).look(log(shell, object))
}

/// The operator has said nothing about the object as it is.
pub fn unseen(object: &Object, shell: &Shell) -> Step {
    let text = format!(
        "the operator has not looked at {} as it is now: if that lasts for more than some seconds, see whether it runs",
        object.label()
    );
    let pods = format!("get pods,lease -n {} -l app.kubernetes.io/name=mailtenant", shell.operator_namespace);
    Step::platform(text).look(shell.kubectl(&pods)).look(log(shell, object))
}

/// Something above could not be read.
pub fn unread((kind, name): (Kind, &str), asked: &Object, shell: &Shell) -> Step {
    let text = format!(
        "{} waits for {}/{name}, which you may not read: ask the platform team to look at it",
        asked.label(),
        kind.as_str()
    );
    Step::platform(text).look(shell.kubectl(&format!("auth can-i get {}", kind.resource().plural)))
}
