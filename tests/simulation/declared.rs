//! What the objects declare, resolved along their references: the measure that the properties hold the servers against.

use crate::api::{Key, Obj, at, deleting, finalizers, text};
use crate::groupware::Server;
use crate::world::World;
use mailtenant_api::{FINALIZER, Quantity};
use serde_json::Value;

pub const KINDS: [&str; 4] = ["mailinstances", "maildomains", "mailboxes", "mailaliases"];

/// One tenant object with the objects above it.
#[derive(Clone, Copy)]
pub struct Declared<'a> {
    pub world: &'a World,
    pub key: &'a Key,
    pub object: &'a Value,
}

pub fn uid(v: &Value) -> &str {
    text(v, "/metadata/uid")
}

pub fn held(v: &Value) -> bool {
    finalizers(v).contains(&FINALIZER)
}

pub fn annotation<'a>(v: &'a Value, name: &str) -> &'a str {
    v["metadata"]["annotations"].get(format!("mailtenant.dev/{name}")).and_then(Value::as_str).unwrap_or("")
}

pub fn condition<'a>(v: &'a Value, name: &str) -> (&'a str, &'a str) {
    let all = at(v, "/status/conditions").and_then(Value::as_array);
    let hit = all.into_iter().flatten().find(|c| c["type"] == name);
    hit.map_or(("", ""), |c| (text(c, "/status"), text(c, "/reason")))
}

/// Since when an object says whether it is Ready.
pub fn ready_since(v: &Value) -> &str {
    let all = at(v, "/status/conditions").and_then(Value::as_array);
    all.into_iter().flatten().find(|c| c["type"] == "Ready").map_or("", |c| text(c, "/lastTransitionTime"))
}

/// Ready=True, said of this very generation.
pub fn ready(v: &Value) -> bool {
    condition(v, "Ready").0 == "True"
        && v["status"]["observedGeneration"] == v["metadata"]["generation"]
        && !deleting(v)
}

pub fn bytes(v: &Value) -> Option<u64> {
    v.as_str().and_then(|s| Quantity(s.into()).bytes().ok())
}

impl<'a> Declared<'a> {
    pub fn all(world: &'a World, kind: &'static str) -> impl Iterator<Item = Declared<'a>> {
        world.of(kind).map(move |(key, object): (&Key, &Obj)| Declared { world, key, object })
    }

    /// An object of the same namespace.
    fn near(&self, res: &'static str, name: &str) -> Option<Declared<'a>> {
        let key = Key { res, ns: self.key.ns.clone(), name: name.into() };
        self.world.api.objs.get_key_value(&key).map(|(key, object)| Declared { world: self.world, key, object })
    }

    pub fn mailbox_named(&self, name: &str) -> Option<Declared<'a>> {
        self.near("mailboxes", name)
    }

    /// The MailDomain of a mailbox or alias, or the domain itself.
    pub fn domain(&self) -> Option<Declared<'a>> {
        match self.key.res {
            "maildomains" => Some(*self),
            "mailinstances" => None,
            _ => self.near("maildomains", text(self.object, "/spec/domainRef/name")),
        }
    }

    pub fn instance(&self) -> Option<Declared<'a>> {
        match self.key.res {
            "mailinstances" => Some(*self),
            "maildomains" => self.near("mailinstances", text(self.object, "/spec/instanceRef/name")),
            _ => self.domain()?.instance(),
        }
    }

    /// The object directly above.
    pub fn parent(&self) -> Option<Declared<'a>> {
        match self.key.res {
            "mailinstances" => None,
            "maildomains" => self.instance(),
            _ => self.domain(),
        }
    }

    fn cluster(&self, res: &'static str, name: &str) -> Option<&'a Value> {
        self.world.api.objs.get(&Key { res, ns: String::new(), name: name.into() }).map(|v| &**v)
    }

    /// Whether nothing is written for it: by its own word or by its parents'.
    pub fn is_observed(&self) -> bool {
        std::iter::successors(Some(*self), |d| d.parent())
            .any(|d| text(d.object, "/spec/managementPolicy") == "Observe")
    }

    pub fn backend(&self) -> Option<&'a Value> {
        self.cluster("groupwarebackends", text(self.instance()?.object, "/spec/backendRef/name"))
    }

    pub fn dns_backend(&self) -> Option<&'a Value> {
        self.cluster("dnsbackends", text(self.domain()?.object, "/spec/dns/backendRef/name"))
    }

    pub fn server(&self) -> Option<&'a Server> {
        self.world.groupware.get(text(self.backend()?, "/spec/sogo/database/host"))
    }

    pub fn dns_server(&self) -> Option<&'a crate::dns::Server> {
        self.world.dns.get(text(self.dns_backend()?, "/spec/powerdns/url"))
    }

    pub fn name(&self) -> String {
        text(self.object, "/spec/domain").to_lowercase()
    }

    /// Full address; `@domain` for a catch-all.
    pub fn address(&self) -> Option<String> {
        let domain = self.domain()?.name();
        Some(match text(self.object, "/spec/localPart") {
            "*" => format!("@{domain}"),
            local => format!("{local}@{domain}"),
        })
    }

    /// `Delete` or `Retain`, as it holds for a mailbox.
    pub fn deletion_policy(&self) -> Option<&'a str> {
        match text(self.object, "/spec/deletionPolicy") {
            "" => Some(text(self.instance()?.object, "/spec/deletionPolicy")),
            own => Some(own),
        }
    }

    /// Addresses of an alias, sorted; None while a mailbox that it names is not there. Other kinds have none.
    pub fn targets(&self) -> Option<Vec<String>> {
        let none = vec![];
        let list = at(self.object, "/spec/targets").and_then(Value::as_array).unwrap_or(&none);
        let mut out: Vec<String> = list
            .iter()
            .map(|t| match text(t, "/mailboxRef/name") {
                "" => Some(text(t, "/address").to_string()),
                name => self.mailbox_named(name)?.address(),
            })
            .collect::<Option<_>>()?;
        out.sort();
        out.dedup();
        Some(out)
    }

    pub fn children(&self) -> Vec<Declared<'a>> {
        let below: &[&'static str] = match self.key.res {
            "mailinstances" => &["maildomains"],
            "maildomains" => &["mailboxes", "mailaliases"],
            _ => &[],
        };
        let mine = |c: &Declared<'a>| c.key.ns == self.key.ns && c.parent().is_some_and(|p| p.key == self.key);
        below.iter().flat_map(|kind| Declared::all(self.world, kind)).filter(mine).collect()
    }

    /// Aliases that name a mailbox.
    pub fn referenced_by(&self) -> Vec<Declared<'a>> {
        let names = |a: &Declared<'a>| {
            let list = at(a.object, "/spec/targets").and_then(Value::as_array);
            a.key.ns == self.key.ns && list.into_iter().flatten().any(|t| text(t, "/mailboxRef/name") == self.key.name)
        };
        if self.key.res != "mailboxes" {
            vec![]
        } else {
            Declared::all(self.world, "mailaliases").filter(names).collect()
        }
    }
}

impl std::fmt::Display for Declared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.key)
    }
}
