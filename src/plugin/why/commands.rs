//! Commands that several reasons need.

use super::step::{Shell, Spot};
use crate::kind::Kind;
use crate::object::Object;
use crate::picture::{Lookup, Picture};
use mailtenant_api::{API_VERSION, AllowedFrom, AllowedNamespaces, DNSBackendSpec};
use serde_json::{Value, json};

/// A manifest of an object beside `asked`.
pub fn manifest(kind: Kind, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": kind.as_str(), "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

/// Which namespaces a part of a spec allows; none: it does not say, or cannot be read.
pub fn allowed(object: &Object, pointer: &str) -> Option<AllowedNamespaces> {
    serde_json::from_value(object.value.pointer(pointer)?.clone()).ok()
}

/// Whether a namespace is allowed, as far as its labels are known.
pub fn allows(picture: &Picture, allowed: &AllowedNamespaces, namespace: &str) -> bool {
    allowed.allows(namespace, &picture.labels.get(namespace).cloned().unwrap_or_default())
}

/// Lets a namespace in where a spot of `object` says who may.
pub fn let_in(
    shell: &Shell,
    object: &Object,
    spot: &Spot,
    allowed: &AllowedNamespaces,
    namespace: &str,
) -> Option<String> {
    match allowed.from {
        AllowedFrom::All => None,
        AllowedFrom::Names => Some(shell.add(object, &spot.below("names/-"), &json!(namespace))),
        AllowedFrom::Selector => {
            let labels = &allowed.selector.as_ref()?.match_labels;
            let words: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            Some(shell.kubectl(&format!("label namespace {namespace} --overwrite {}", words.join(" "))))
        }
    }
}

/// The spec of a DNSBackend, if it can be read.
pub fn dns_spec(backend: &Object) -> Option<DNSBackendSpec> {
    serde_json::from_value(backend.value["spec"].clone()).ok()
}

/// Index of the most specific zone of a DNSBackend that a name is in.
pub fn zone_of(spec: &DNSBackendSpec, domain: &str) -> Option<usize> {
    let within = |zone: &str| domain == zone || domain.ends_with(&format!(".{zone}"));
    let zones = spec.zones.iter().enumerate().filter(|(_, zone)| within(&zone.name));
    zones.max_by_key(|(_, zone)| zone.name.len()).map(|(index, _)| index)
}

/// Where the zone of a MailDomain is: the DNSBackend, and its most specific zone that the name is in, if there is one.
pub struct ZoneOf<'a> {
    pub backend: &'a Object,
    pub spec: DNSBackendSpec,
    pub index: Option<usize>,
}

impl<'a> ZoneOf<'a> {
    /// None: the DNSBackend is not there, or cannot be read.
    pub fn find(picture: &'a Picture, domain: &Object) -> Option<Self> {
        let Lookup::There(backend) = picture.get(Kind::DNSBackend, "", domain.dns_backend()?) else { return None };
        let spec = dns_spec(backend)?;
        let index = zone_of(&spec, domain.text("/spec/domain"));
        Some(ZoneOf { backend, spec, index })
    }

    /// Lets a namespace into the zone. None: it is in, or there is no zone. A zone that says nothing of namespaces is for all
    /// that the backend allows: it is made to name this one where `naming`.
    pub fn let_in(&self, shell: &Shell, namespace: &str, naming: bool) -> Option<String> {
        let index = self.index?;
        let zone = &self.spec.zones[index];
        let spot = Spot::of_entry("/spec/zones", index, &zone.name, "allowedNamespaces");
        match &zone.allowed_namespaces {
            Some(own) => let_in(shell, self.backend, &spot, own, namespace),
            None if naming => Some(shell.add(self.backend, &spot, &json!({"from": "Names", "names": [namespace]}))),
            None => None,
        }
    }
}

/// Opens the object in an editor.
pub fn edit(shell: &Shell, object: &Object) -> String {
    shell.about("edit", object, "")
}

/// The operator's log about an object.
pub fn log(shell: &Shell, object: &Object) -> String {
    let pods = format!("logs -n {} -l app.kubernetes.io/name=mailtenant --tail=-1", shell.operator_namespace);
    format!("{} | grep -w {}", shell.kubectl(&pods), object.name())
}
