//! The kinds of the API group `mailtenant.dev/v1alpha1`: types, defaults, CEL rules, reasons and conditions.
//!
//! Nothing here does I/O or knows a server, so tools that only read or write manifests can use it alone. `crds/`
//! is generated from it ([`crds::all`]).

#![forbid(unsafe_code)]
// The columns of `kubectl get` repeat their attribute by design.
#![allow(clippy::duplicated_attributes)]

pub mod common;
pub mod conditions;
pub mod crds;
pub mod dns_backend;
pub mod events;
pub mod groupware_backend;
pub mod mail_alias;
pub mod mail_domain;
pub mod mail_domain_claim;
pub mod mail_instance;
pub mod mailbox;
pub mod object;
pub mod people;
pub mod quantity;
pub mod rbac;
mod rules;

pub use common::*;
pub use conditions::{Condition, ConditionType, Conditions, Reason};
pub use dns_backend::{DNSBackend, DNSBackendSpec, DNSBackendStatus};
pub use events::EventReason;
pub use groupware_backend::{GroupwareBackend, GroupwareBackendSpec, GroupwareBackendStatus};
pub use mail_alias::{MailAlias, MailAliasSpec, MailAliasStatus};
pub use mail_domain::{MailDomain, MailDomainSpec, MailDomainStatus, Purpose, RecordState};
pub use mail_domain_claim::{MailDomainClaim, MailDomainClaimSpec};
pub use mail_instance::{MailInstance, MailInstanceSpec, MailInstanceStatus};
pub use mailbox::{Mailbox, MailboxSpec, MailboxStatus};
pub use object::{ObjectStatus, annotation, has_finalizer, is_deleting, never_made, orphan, paused, uid};
pub use quantity::Quantity;

/// API group of all kinds.
pub const GROUP: &str = "mailtenant.dev";
/// The only version of the API that is served.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of all kinds: group and version.
pub const API_VERSION: &str = "mailtenant.dev/v1alpha1";
/// Field manager of every write to Kubernetes, which GitOps tools can be configured to ignore.
pub const FIELD_MANAGER: &str = "mailtenant";
/// Finalizer of every kind but MailDomainClaim.
pub const FINALIZER: &str = "mailtenant.dev/finalizer";
/// `type` of the credentials Secret of a Mailbox.
pub const CREDENTIALS_TYPE: &str = "mailtenant.dev/credentials";
