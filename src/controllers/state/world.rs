//! All that the watches have told, with the index of who refers to whom. Pure data: passes read it under a short lock.

use super::derived::a_label;
use super::kind::{Kind, ObjectId};
use super::verdicts::Verdicts;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use mailtenant_api::*;
use mailtenant_groupware::{Address, DomainName};
use mailtenant_runtime::index::Multi;
use mailtenant_runtime::store::{NamespacedName, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Numbers of one domain, kept up with every change, so that a limit is looked up and not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub mailboxes: u64,
    pub aliases: u64,
    /// Sum of the quotas that mailboxes declare, in bytes. Wider than a quota: a sum that stops at its largest value is
    /// wrong for good once something is taken off it again.
    pub declared: u128,
    /// Mailboxes that declare none.
    pub without_quota: u64,
    /// Sum of the quotas granted at the backend, in bytes, by what statuses say.
    pub granted: u128,
    /// Goes up with every change that a limit may depend on.
    pub revision: u64,
}

/// Who refers to whom.
#[derive(Default)]
#[allow(missing_docs, reason = "the names say it: objects by what they refer to")]
pub struct Index {
    pub instances_by_backend: Multi<String, NamespacedName>,
    pub domains_by_instance: Multi<NamespacedName, NamespacedName>,
    pub domains_by_dns_backend: Multi<String, NamespacedName>,
    pub domains_by_name: Multi<DomainName, NamespacedName>,
    pub domains_by_alias_of: Multi<NamespacedName, NamespacedName>,
    /// Domains by each name above theirs.
    pub domains_below: Multi<String, NamespacedName>,
    /// Claimed names by each name above them.
    pub claims_below: Multi<String, String>,
    pub mailboxes_by_domain: Multi<NamespacedName, NamespacedName>,
    pub mailboxes_by_secret: Multi<NamespacedName, NamespacedName>,
    pub aliases_by_domain: Multi<NamespacedName, NamespacedName>,
    pub aliases_by_mailbox: Multi<NamespacedName, NamespacedName>,
    /// Aliases and forwarding mailboxes by the addresses that they name ([`super::routes::index_key`]).
    pub routes_by_address: Multi<(String, Address), ObjectId>,
    /// Objects that declare an address: domain object and local part.
    pub addresses: Multi<(NamespacedName, String), ObjectId>,
    pub backends_by_secret: Multi<String, ObjectId>,
    /// Objects that wait for storage or numbers, by domain.
    pub wanting: Multi<NamespacedName, ObjectId>,
    pub tallies: BTreeMap<NamespacedName, Tally>,
}

/// Metadata of a Secret; its content is read when it is needed.
pub type SecretMeta = PartialObjectMeta<Secret>;
/// Metadata of a Namespace.
pub type NamespaceMeta = PartialObjectMeta<Namespace>;

macro_rules! world {
    ($($kind:ident: $store:ident),* $(,)?) => {
        /// All that the watches have told.
        #[derive(Default)]
        #[allow(missing_docs, reason = "one store per kind")]
        pub struct World {
            pub namespaces: Store<NamespaceMeta>,
            pub secrets: Store<SecretMeta>,
            $(pub $store: Store<$kind>,)*
            pub index: Index,
            /// Who gets what there is not enough of.
            pub verdicts: Verdicts,
            /// Mailboxes and aliases that were told to go on and do not say so in their status yet: by uid, with the quota
            /// that they were told, in bytes. Without it two objects of the same second could both get the last place.
            pub granting: BTreeMap<String, u64>,
            /// Objects that cannot be decoded, with what is wrong.
            pub broken: BTreeMap<ObjectId, mailtenant_runtime::watch::Undecodable>,
            /// Those of them that were told of since their kind was listed last: the others are gone.
            pub relisted: BTreeSet<ObjectId>,
        }

        impl World {
            /// Whether every kind was listed once.
            pub fn synced(&self) -> bool {
                self.namespaces.synced() && self.secrets.synced() $(&& self.$store.synced())*
            }

            /// How many objects of each kind there are.
            pub fn sizes(&self) -> Vec<(Kind, usize)> {
                vec![$((Kind::$kind, self.$store.len())),*]
            }
        }
    };
}
with_kinds!(world);

impl World {
    /// Labels of a namespace; none if it is not known.
    pub fn namespace_labels(&self, name: &str) -> BTreeMap<String, String> {
        let key = NamespacedName::new("", name);
        self.namespaces.get(&key).and_then(|n| n.metadata.labels.clone()).unwrap_or_default()
    }

    /// Id of the cluster: the uid of the namespace kube-system, which every cluster has for as long as it lives. Empty: it
    /// is not known.
    pub fn cluster(&self) -> String {
        let system = self.namespaces.get(&NamespacedName::new("", "kube-system"));
        system.and_then(|n| n.metadata.uid.clone()).unwrap_or_default()
    }

    /// Whether a namespace is being deleted, and with it all that is in it.
    pub fn namespace_leaves(&self, name: &str) -> bool {
        self.namespaces.get(&NamespacedName::new("", name)).is_some_and(|n| n.metadata.deletion_timestamp.is_some())
    }

    /// Uid of the MailDomain that holds a name, as far as the watch has told.
    pub fn holder(&self, name: &str) -> Option<String> {
        self.claims.get(&NamespacedName::new("", name)).map(|c| c.spec.owner.uid.clone())
    }

    /// Whether a domain holds its name.
    pub fn holds_name(&self, domain: &MailDomain) -> bool {
        domain.metadata.uid.is_some() && self.holder(&a_label(domain)) == domain.metadata.uid
    }

    /// Names that an instance's domains hold: an unproven claim counts for nothing (I9, I11).
    pub fn held_names(&self, instance: &NamespacedName) -> BTreeSet<DomainName> {
        let domains = self.index.domains_by_instance.of(instance).filter_map(|k| self.domains.get(k));
        domains.filter(|d| self.holds_name(d)).map(|d| a_label(&d)).collect()
    }

    /// The instance of a domain object.
    pub fn instance_of(&self, domain: &NamespacedName) -> Option<Arc<MailInstance>> {
        let domain_object = self.domains.get(domain)?;
        self.instances.get(&domain.sibling(&domain_object.spec.instance_ref.name))
    }

    /// Notes that an object was told to go on, with the quota that it was told, in bytes (0 for an alias).
    pub fn grant(&mut self, domain: &NamespacedName, uid: String, quota: u64) {
        if self.granting.insert(uid, quota) != Some(quota) {
            self.index.tallies.entry(domain.clone()).or_default().revision += 1;
        }
    }

    /// Numbers of a whole instance: the sum over its domains.
    pub fn tally(&self, instance: &NamespacedName) -> Tally {
        let mut sum = Tally::default();
        for domain in self.index.domains_by_instance.of(instance) {
            if let Some(t) = self.index.tallies.get(domain) {
                sum.mailboxes += t.mailboxes;
                sum.aliases += t.aliases;
                sum.declared += t.declared;
                sum.without_quota += t.without_quota;
                sum.granted += t.granted;
            }
        }
        sum
    }

    /// Every mailbox and alias object of an instance.
    pub fn children_of(&self, instance: &NamespacedName) -> Vec<ObjectId> {
        self.index.domains_by_instance.of(instance).flat_map(|d| self.children_of_domain(d)).collect()
    }

    /// Whether nothing was ever made of a mailbox or alias, by its own status.
    pub fn was_never_made(&self, id: &ObjectId) -> bool {
        never_made(match id.kind {
            Kind::Mailbox => self.mailboxes.get(&id.key).and_then(|m| m.status.as_ref()?.ownership),
            Kind::MailAlias => self.aliases.get(&id.key).and_then(|a| a.status.as_ref()?.ownership),
            _ => None,
        })
    }

    /// Every mailbox and alias object of a domain.
    pub fn children_of_domain(&self, domain: &NamespacedName) -> Vec<ObjectId> {
        let mailboxes = self.index.mailboxes_by_domain.of(domain).map(|k| ObjectId::new(Kind::Mailbox, k.clone()));
        let aliases = self.index.aliases_by_domain.of(domain).map(|k| ObjectId::new(Kind::MailAlias, k.clone()));
        mailboxes.chain(aliases).collect()
    }

    /// Every mailbox and alias object of a namespace whose MailDomain is not there: nothing but the namespace leads from an
    /// instance to them.
    pub fn children_without_domain(&self, namespace: &str) -> Vec<ObjectId> {
        let first = NamespacedName::new(namespace, "");
        let index = &self.index;
        let domains: BTreeSet<&NamespacedName> = [&index.mailboxes_by_domain, &index.aliases_by_domain]
            .into_iter()
            .flat_map(|by_domain| by_domain.keys_from(&first).take_while(|d| d.namespace == namespace))
            .filter(|d| self.domains.get(d).is_none())
            .collect();
        domains.into_iter().flat_map(|d| self.children_of_domain(d)).collect()
    }

    /// The object that declares an address of a domain, for the look-up from a row to its object.
    pub fn owner_of_address(&self, domain: &NamespacedName, local_part: &str) -> Vec<ObjectId> {
        self.index.addresses.of(&(domain.clone(), local_part.to_owned())).cloned().collect()
    }
}
