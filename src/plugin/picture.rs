//! What was read of a cluster, and how it hangs together. Pure.

use crate::kind::{Kind, Target};
use crate::object::Object;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gap {
    pub verb: &'static str,
    pub resource: String,
    /// Empty: of the cluster.
    pub namespace: String,
    pub why: String,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = match self.namespace.as_str() {
            "" => "in the cluster".to_owned(),
            namespace => format!("in namespace {namespace}"),
        };
        write!(f, "cannot {} {} {place}: {}", self.verb, self.resource, self.why)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Picture {
    pub objects: Vec<Object>,
    /// `spec.owner` of the MailDomainClaims, by their name.
    pub claims: BTreeMap<String, Value>,
    /// Labels of namespaces, as far as they could be read.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Kinds that could not be read: that one of them is not here does not mean that it is not there.
    pub unread: BTreeSet<Kind>,
    pub gaps: Vec<Gap>,
}

/// Whether something that is named is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lookup<'a> {
    There(&'a Object),
    Missing,
    /// It could not be read.
    Unread,
}

impl<'a> Lookup<'a> {
    pub fn object(self) -> Option<&'a Object> {
        match self {
            Lookup::There(object) => Some(object),
            Lookup::Missing | Lookup::Unread => None,
        }
    }
}

impl Picture {
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |o| o.kind == kind)
    }

    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Lookup<'_> {
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        match self.of_kind(kind).find(|o| o.namespace() == namespace && o.name() == name) {
            Some(object) => Lookup::There(object),
            None if self.unread.contains(&kind) => Lookup::Unread,
            None => Lookup::Missing,
        }
    }

    pub fn parent(&self, object: &Object) -> Option<Lookup<'_>> {
        let (kind, name) = object.parent()?;
        Some(self.get(kind, object.namespace(), name))
    }

    /// The object itself and what is above it, as far as it is there.
    pub fn upwards<'a>(&'a self, object: &'a Object) -> impl Iterator<Item = &'a Object> {
        std::iter::successors(Some(object), |o| self.parent(o)?.object())
    }

    /// The object of this kind at or above an object.
    pub fn above<'a>(&'a self, object: &'a Object, kind: Kind) -> Option<&'a Object> {
        self.upwards(object).find(|o| o.kind == kind)
    }

    /// What names `object` as its parent: of a domain its mailboxes before its aliases. In the order of their names.
    pub fn children<'a>(&'a self, object: &'a Object) -> Vec<&'a Object> {
        let same_place = |o: &Object| !object.kind.is_namespaced() || o.namespace() == object.namespace();
        let names = |o: &Object| o.parent() == Some((object.kind, object.name()));
        let mut children: Vec<&Object> = self.objects.iter().filter(|o| same_place(o) && names(o)).collect();
        if object.kind == Kind::DNSBackend {
            children = self.of_kind(Kind::MailDomain).filter(|o| o.dns_backend() == Some(object.name())).collect();
        }
        children.sort_by_key(|o| (o.kind, o.namespace().to_owned(), o.name().to_owned()));
        children
    }

    /// The aliases that deliver to a mailbox.
    pub fn aliases_to(&self, mailbox: &Object) -> Vec<&Object> {
        let names =
            |o: &&Object| o.namespace() == mailbox.namespace() && o.target_mailboxes().contains(&mailbox.name());
        self.of_kind(Kind::MailAlias).filter(names).collect()
    }

    /// Everything in the domains of an instance of one kind.
    pub fn below_instance<'a>(&'a self, instance: &'a Object, kind: Kind) -> Vec<&'a Object> {
        if kind == Kind::MailDomain {
            return self.children(instance);
        }
        let domains = self.children(instance);
        domains.into_iter().flat_map(|d| self.children(d)).filter(|o| o.kind == kind).collect()
    }

    /// The object that a command line means; in words why it is not clear.
    pub fn find(&self, target: &Target, namespace: &str) -> Result<&Object, String> {
        let fits = |o: &&Object| {
            o.name() == target.name
                && target.kind.is_none_or(|kind| kind == o.kind)
                && (!o.kind.is_namespaced() || o.namespace() == namespace)
        };
        let found: Vec<&Object> = self.objects.iter().filter(fits).collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => {
                let what = target.kind.map_or("object", Kind::as_str);
                let place = match target.kind.is_none_or(Kind::is_namespaced) {
                    true => format!(" in namespace {namespace}"),
                    false => String::new(),
                };
                let unread = target.kind.map_or(!self.unread.is_empty(), |kind| self.unread.contains(&kind));
                let doubt = if unread { " that you may read" } else { "" };
                Err(format!("there is no {what} {}{doubt}{place}", target.name))
            }
            some => {
                let names: Vec<String> = some.iter().map(|o| o.label().to_lowercase()).collect();
                Err(format!("{} is the name of several objects: say which, {}", target.name, names.join(" or ")))
            }
        }
    }
}
