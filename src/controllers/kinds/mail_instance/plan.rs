//! What is to be done for an instance. Pure: from the object and what was gathered to what the server is to have.

use crate::not_ready::NotReady;
use crate::rules::loss;
use mailtenant_api::mail_instance::{ExternalForwarding, MassLossState, StoragePolicy};
use mailtenant_api::*;
use mailtenant_groupware::{Capability, TenantRow};
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub struct Facts {
    /// The tenant as the server has it.
    pub tenant: Option<TenantRow>,
    /// Whether the tenant says where its owner stands.
    pub noted: bool,
    /// Sum of the quotas that mailboxes were given, in bytes, by what their statuses say.
    pub granted: u128,
    /// What the server can do.
    pub capabilities: BTreeSet<Capability>,
    /// The server's name for messages.
    pub label: String,
    /// Whether mailboxes are missing, as this pass found it.
    pub mass_loss: Option<MassLossState>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub action: Action,
    /// What differs, of an instance that is only looked at.
    pub drift: Vec<String>,
    /// All that can be is done, and still it is not as declared.
    pub not_ready: Option<NotReady>,
    /// Whether what was given fits what was booked.
    pub within: Result<(), NotReady>,
}

/// What is to be done at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the tenant stays as it is.
    Keep(TenantRow),
    /// The tenant is created, or changed into what is declared.
    Ensure {
        /// Bytes that all mailboxes may use together.
        storage: u64,
    },
}

pub fn plan(instance: &MailInstance, seen: &Facts) -> Result<Plan, NotReady> {
    let booked = crate::state::derived::bytes(&instance.spec.storage);
    // Lowered below what mailboxes were given: what they have stays theirs until their quotas are lowered.
    let short = (instance.spec.storage_policy == StoragePolicy::Allocate && seen.granted > u128::from(booked))
        .then(|| short(instance, seen.granted));
    let within = short.clone().map_or(Ok(()), Err);
    let can_share = can_share(instance, &seen.capabilities, &seen.label);
    if instance.spec.management_policy == ManagementPolicy::Observe {
        let tenant = seen.tenant.clone().ok_or_else(|| {
            let text = "nothing is written (managementPolicy: Observe), and the backend has no such tenant";
            NotReady::waiting(Reason::Drifted, text)
        })?;
        // What is declared, not what would be written while mailboxes still have more.
        let drift = differences(&tenant, booked, instance);
        let not_ready = NotReady::drifted(&drift).or(can_share.err());
        return Ok(Plan { action: Action::Keep(tenant), drift, not_ready, within });
    }
    let name = instance.metadata.name.as_deref().unwrap_or_default();
    let held = seen.mass_loss == Some(MassLossState::Held);
    if held && seen.tenant.is_none() {
        return Err(loss::not_ready(name, None));
    }
    can_share?;
    let storage = if short.is_some() { kept(booked, seen) } else { booked };
    let action = match &seen.tenant {
        // While a loss is held nothing is written: it was read before the others, and may be gone with them by now.
        Some(tenant) if held || (seen.noted && differences(tenant, storage, instance).is_empty()) => {
            Action::Keep(tenant.clone())
        }
        _ => Action::Ensure { storage },
    };
    let not_ready = held.then(|| loss::not_ready(name, None)).or(short);
    Ok(Plan { action, drift: vec![], not_ready, within })
}

/// What mailboxes were given stays theirs, but for no more than the tenant has: that they were given it is said by statuses
/// alone, and whoever may write those must not get more storage by it (I13).
fn kept(booked: u64, seen: &Facts) -> u64 {
    let have = seen.tenant.as_ref().map_or(0, |tenant| tenant.storage);
    u64::try_from(seen.granted).unwrap_or(u64::MAX).min(have).max(booked)
}

fn short(instance: &MailInstance, granted: u128) -> NotReady {
    NotReady::stalled(
        Reason::QuotaExceeded,
        format!(
            "mailboxes were given {}, more than spec.storage {}: lower their quotas first, or raise spec.storage",
            Quantity::from_bytes(granted).0,
            instance.spec.storage.0
        ),
    )
}

/// Whether users' own filters may send mail on: by an address alone no server here tells inside from outside.
pub fn redirects(instance: &MailInstance) -> bool {
    instance.spec.external_forwarding == ExternalForwarding::Allow
}

/// What a tenant at the backend has otherwise than declared, by the names of the fields.
fn differences(tenant: &TenantRow, storage: u64, instance: &MailInstance) -> Vec<String> {
    let all = [
        ("active", tenant.active),
        ("storage", tenant.storage == storage),
        ("addressBook", tenant.address_book == instance.spec.address_book),
        ("externalForwarding", tenant.redirects == redirects(instance)),
    ];
    all.into_iter().filter(|(_, same)| !same).map(|(name, _)| name.to_owned()).collect()
}

/// Storage is shared only where the server itself keeps mailboxes within it.
fn can_share(instance: &MailInstance, capabilities: &BTreeSet<Capability>, label: &str) -> Result<(), NotReady> {
    let bounded = capabilities.contains(&Capability::TenantStorage);
    if instance.spec.storage_policy != StoragePolicy::Share || bounded {
        return Ok(());
    }
    let text = format!("storagePolicy: Share is not supported with {label}: use Allocate");
    Err(NotReady::stalled(Reason::Unsupported, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{domain, everything};
    use mailtenant_api::mail_instance::AddressBook;
    use mailtenant_groupware::{TenantId, Uid};
    use mailtenant_runtime::dispatch::Next;
    use serde_json::{Value, json};

    fn instance(spec: Value) -> MailInstance {
        domain(spec).instance.object.as_ref().clone()
    }

    fn row(storage: u64) -> TenantRow {
        TenantRow {
            id: TenantId::new("acme-1"),
            owner: Some(Uid::new("uid")),
            origin: None,
            adopted: false,
            storage,
            used: 0,
            active: true,
            address_book: AddressBook::Instance,
            redirects: false,
        }
    }

    #[test]
    fn what_is_done_by_what_was_seen() {
        let booked = 10 << 30;
        let spec = json!({"storage": "10Gi"});
        let seen = |tenant: Option<TenantRow>, granted: u128, mass_loss| Facts {
            tenant,
            noted: true,
            granted,
            capabilities: everything(),
            label: "GroupwareBackend b".into(),
            mass_loss,
        };
        let held = Some(MassLossState::Held);
        let ensure = |storage| Ok(Action::Ensure { storage });
        let keep = |storage| Ok(Action::Keep(row(storage)));
        for (name, seen, action, reason) in [
            ("new", seen(None, 0, None), ensure(booked), None),
            ("as declared", seen(Some(row(booked)), booked.into(), None), keep(booked), None),
            ("another storage", seen(Some(row(1)), 0, None), ensure(booked), None),
            // What mailboxes were given stays theirs.
            ("lowered", seen(Some(row(20 << 30)), 12 << 30, None), ensure(12 << 30), Some(Reason::QuotaExceeded)),
            // Their statuses say so: nobody has more than the tenant ever had.
            ("forged", seen(Some(row(booked)), 99 << 40, None), keep(booked), Some(Reason::QuotaExceeded)),
            ("forged and new", seen(None, 99 << 40, None), ensure(booked), Some(Reason::QuotaExceeded)),
            ("beyond 64 bits", seen(Some(row(20 << 30)), 1 << 70, None), keep(20 << 30), Some(Reason::QuotaExceeded)),
            ("lost, and held", seen(None, 0, held), Err(Reason::MassLossHeld), None),
            // Nothing is written while it is asked whether this is the right server.
            ("there, and held", seen(Some(row(1)), 0, held), keep(1), Some(Reason::MassLossHeld)),
            ("accepted", seen(None, 0, Some(MassLossState::Accepted)), ensure(booked), None),
        ] {
            let plan = plan(&instance(spec.clone()), &seen);
            assert_eq!(plan.as_ref().map(|p| p.action.clone()).map_err(|n| n.reason), action, "{name}");
            assert_eq!(plan.ok().and_then(|p| p.not_ready).map(|n| n.reason), reason, "{name}");
        }
    }

    /// Under `Share` quotas say nothing about what is given: the bound is what was booked, also below what is used.
    #[test]
    fn shared_storage_is_what_was_booked() {
        let shared = instance(json!({"storage": "2Mi", "storagePolicy": "Share"}));
        let seen = Facts {
            noted: true,
            tenant: Some(row(4 << 20)),
            granted: 20 << 20,
            capabilities: everything(),
            label: "GroupwareBackend b".into(),
            mass_loss: None,
        };
        assert_eq!(plan(&shared, &seen).map(|p| p.action), Ok(Action::Ensure { storage: 2 << 20 }));
    }

    #[test]
    fn what_is_only_looked_at_is_never_written() {
        let observed = instance(json!({"storage": "10Gi", "managementPolicy": "Observe"}));
        let seen = |tenant| Facts {
            tenant,
            noted: true,
            granted: 12 << 30,
            capabilities: BTreeSet::new(),
            label: "GroupwareBackend b".into(),
            mass_loss: None,
        };
        assert_eq!(plan(&observed, &seen(None)).map_err(|n| n.reason), Err(Reason::Drifted));
        let same = plan(&observed, &seen(Some(row(10 << 30)))).unwrap();
        assert_eq!((same.drift.as_slice(), same.not_ready), ([].as_slice(), None));
        let differs = plan(&observed, &seen(Some(row(12 << 30)))).unwrap();
        assert_eq!(differs.action, Action::Keep(row(12 << 30)));
        assert_eq!(differs.drift, ["storage"], "what is declared counts, not what mailboxes were given");
    }

    #[test]
    fn what_differs_of_a_tenant_is_named() {
        let tenant = |storage, active, address_book, redirects| TenantRow {
            id: TenantId::new("acme-1"),
            owner: None,
            origin: None,
            adopted: false,
            storage,
            used: 0,
            active,
            address_book,
            redirects,
        };
        use AddressBook::{Instance, None as Nobody};
        let deny = instance(json!({}));
        assert!(differences(&tenant(5, true, Instance, false), 5, &deny).is_empty());
        let all = ["active", "storage", "addressBook", "externalForwarding"];
        assert_eq!(differences(&tenant(6, false, Nobody, true), 5, &deny), all);
        assert_eq!(
            differences(&tenant(0, true, Instance, false), 5, &deny),
            ["storage"],
            "no bound is not what was booked"
        );
        let allow = instance(json!({"externalForwarding": "Allow"}));
        assert_eq!(differences(&tenant(5, true, Instance, false), 5, &allow), ["externalForwarding"]);
        assert!(differences(&tenant(5, true, Instance, true), 5, &allow).is_empty());
    }

    #[test]
    fn storage_is_shared_only_where_the_server_bounds_it() {
        let all = everything();
        let less: BTreeSet<Capability> = all.iter().copied().filter(|c| *c != Capability::TenantStorage).collect();
        let ask = |policy: &str, capabilities: &BTreeSet<Capability>| {
            let instance = domain(serde_json::json!({"storagePolicy": policy})).instance.object;
            can_share(&instance, capabilities, "GroupwareBackend b")
        };
        assert_eq!([ask("Share", &all), ask("Allocate", &all), ask("Allocate", &less)], [Ok(()), Ok(()), Ok(())]);
        let not_ready = ask("Share", &less).unwrap_err();
        assert_eq!((not_ready.reason, not_ready.stalled, not_ready.next), (Reason::Unsupported, true, Next::Settled));
        assert!(
            ["storagePolicy: Share", "GroupwareBackend b"].iter().all(|w| not_ready.message.contains(w)),
            "{not_ready:?}"
        );
    }
}
