//! Conditions and their reasons, one enum for all kinds; `docs/reasons.md` explains each.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition, as apimachinery's `metav1.Condition`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// CamelCase name, unique in the list.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(transform = crate::rules::condition_status)]
    pub status: String,
    /// CamelCase word that programs may compare.
    pub reason: String,
    /// A sentence for a person: names the object that is waited for and the step that helps.
    #[serde(default)]
    pub message: String,
    /// Generation of the spec that this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed (RFC 3339).
    pub last_transition_time: String,
}

/// The condition types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the API; docs/reasons.md explains them")]
pub enum ConditionType {
    Ready,
    Reconciling,
    Stalled,
    OwnershipVerified,
    Provisioned,
    DNSPublished,
    CutOver,
    WithinQuota,
    WithinLimits,
    FieldsIgnored,
    DeletionBlocked,
}

macro_rules! words {
    ($(#[$m:meta])* $name:ident { $($(#[doc = $doc:literal])* $word:ident),* $(,)? }) => {
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $doc])* $word),* }
        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$($name::$word),*];
            /// The word that stands in the status.
            pub fn as_str(self) -> &'static str { match self { $($name::$word => stringify!($word)),* } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

words! {
    /// Why a condition is as it is. Stable: dashboards and scripts compare them.
    Reason {
        /// All that was declared was read back from the backend.
        Succeeded,
        /// Work is under way.
        Progressing,
        /// The instance that the domain names is not there.
        InstanceNotFound,
        /// The domain that the object names is not there.
        DomainNotFound,
        /// A mailbox that the alias names is not there.
        MailboxNotFound,
        /// The groupware or DNS backend that is named is not there.
        BackendNotFound,
        /// The parent instance is not ready yet.
        InstanceNotReady,
        /// The parent domain is not provisioned yet.
        DomainNotReady,
        /// A mailbox that the alias names is not provisioned yet.
        MailboxNotReady,
        /// The backend does not allow this namespace, or the DNS backend not this zone.
        BackendNotAllowed,
        /// No answer, a time-out, or an answer that makes no sense.
        BackendUnreachable,
        /// The backend refused our credentials.
        BackendUnauthorized,
        /// The backend refused the change: the declared values must change.
        BackendRejected,
        /// The backend cannot do what is declared.
        Unsupported,
        /// The instance's storage is booked out.
        QuotaExceeded,
        /// The instance's number of domains, mailboxes or aliases is reached.
        LimitExceeded,
        /// An older object has the address.
        AddressInUse,
        /// Another tenant of the cluster holds the domain.
        DomainClaimed,
        /// The proof of ownership is not in the DNS.
        OwnershipUnproven,
        /// A record that is already there differs from what is declared.
        DNSConflict,
        /// No zone of the DNS backend takes the name.
        ZoneNotFound,
        /// Everything is ready, a person has to approve the cut-over.
        AwaitingApproval,
        /// The domain has no address yet, so MX is not switched.
        AwaitingFirstAddress,
        /// The server does not take mail for all declared addresses yet.
        AwaitingAcceptance,
        /// DNS servers do not show the written records yet.
        DNSPropagating,
        /// It is at the backend already and is not ours.
        ExistsAtBackend,
        /// The Secret that is named, or its key, is not there.
        SecretNotFound,
        /// A Secret of that name belongs to somebody else.
        SecretNotOwned,
        /// The Secret holds something that cannot be used.
        SecretInvalid,
        /// Targets outside the instance are not allowed by the instance.
        ExternalForwardingDenied,
        /// The object's spec cannot be used as it is.
        InvalidSpec,
        /// The object could not be decoded: it was written past the schema.
        Undecodable,
        /// The annotation `mailtenant.dev/paused` is set.
        Paused,
        /// Nothing is written (`managementPolicy: Observe`) and the backend differs.
        Drifted,
        /// Many mailboxes are missing at the backend: a person has to look.
        MassLossHeld,
        /// The object is being deleted.
        Deleting,
        /// Deletion waits for instances.
        HasInstances,
        /// Deletion waits for domains.
        HasDomains,
        /// Deletion waits for mailboxes.
        HasMailboxes,
        /// Deletion waits for aliases.
        HasAliases,
        /// Deletion waits for aliases that name the mailbox.
        ReferencedByAlias,
        /// Deletion waits until no resolver sends mail here any more.
        Draining,
        /// Kubernetes refused or failed a call.
        KubernetesError,
        /// A pass took longer than it may, and was ended.
        TimedOut,
        /// A fault in the operator: please report it.
        InternalError,
    }
}

impl ConditionType {
    /// Every type, in the order of the documentation.
    pub const ALL: &'static [ConditionType] = &[
        ConditionType::Ready,
        ConditionType::Reconciling,
        ConditionType::Stalled,
        ConditionType::OwnershipVerified,
        ConditionType::Provisioned,
        ConditionType::DNSPublished,
        ConditionType::CutOver,
        ConditionType::WithinQuota,
        ConditionType::WithinLimits,
        ConditionType::FieldsIgnored,
        ConditionType::DeletionBlocked,
    ];

    /// The word that stands in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionType::Ready => "Ready",
            ConditionType::Reconciling => "Reconciling",
            ConditionType::Stalled => "Stalled",
            ConditionType::OwnershipVerified => "OwnershipVerified",
            ConditionType::Provisioned => "Provisioned",
            ConditionType::DNSPublished => "DNSPublished",
            ConditionType::CutOver => "CutOver",
            ConditionType::WithinQuota => "WithinQuota",
            ConditionType::WithinLimits => "WithinLimits",
            ConditionType::FieldsIgnored => "FieldsIgnored",
            ConditionType::DeletionBlocked => "DeletionBlocked",
        }
    }
}

/// A list of conditions under construction: keeps `lastTransitionTime` unless a status flips.
#[derive(Clone, Debug)]
pub struct Conditions {
    list: Vec<Condition>,
    generation: i64,
    now: Timestamp,
}

impl Conditions {
    /// Starts from what the object says now. `generation` is that of the spec this pass looked at.
    pub fn new(previous: &[Condition], generation: i64, now: Timestamp) -> Self {
        Conditions { list: previous.to_vec(), generation, now }
    }

    /// Sets one condition, by apimachinery's rules.
    pub fn set(&mut self, type_: ConditionType, status: bool, reason: Reason, message: impl Into<String>) {
        self.put(type_, if status { "True" } else { "False" }, reason, message.into());
    }

    /// Sets one condition to `Unknown`.
    pub fn unknown(&mut self, type_: ConditionType, reason: Reason, message: impl Into<String>) {
        self.put(type_, "Unknown", reason, message.into());
    }

    /// Takes a condition away.
    pub fn remove(&mut self, type_: ConditionType) {
        self.list.retain(|c| c.type_ != type_.as_str());
    }

    fn put(&mut self, type_: ConditionType, status: &str, reason: Reason, message: String) {
        let stamp = self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let fresh = Condition {
            type_: type_.as_str().into(),
            status: status.into(),
            reason: reason.as_str().into(),
            message,
            observed_generation: Some(self.generation),
            last_transition_time: stamp,
        };
        match self.list.iter_mut().find(|c| c.type_ == fresh.type_) {
            Some(old) => {
                let since = if old.status == fresh.status {
                    old.last_transition_time.clone()
                } else {
                    fresh.last_transition_time.clone()
                };
                *old = Condition { last_transition_time: since, ..fresh };
            }
            None => self.list.push(fresh),
        }
    }

    /// `Ready=True`, with `Reconciling` and `Stalled` gone (kstatus: Current).
    pub fn ready(&mut self, message: impl Into<String>) {
        self.set(ConditionType::Ready, true, Reason::Succeeded, message);
        self.remove(ConditionType::Reconciling);
        self.remove(ConditionType::Stalled);
    }

    /// `Ready=False` that a retry or another object's change heals (kstatus: InProgress).
    pub fn waiting(&mut self, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        self.set(ConditionType::Ready, false, reason, message.clone());
        self.set(ConditionType::Reconciling, true, reason, message);
        self.remove(ConditionType::Stalled);
    }

    /// `Ready=False` that no retry heals: somebody must change something (kstatus: Failed).
    pub fn stalled(&mut self, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        self.set(ConditionType::Ready, false, reason, message.clone());
        self.set(ConditionType::Stalled, true, reason, message);
        self.remove(ConditionType::Reconciling);
    }

    /// The finished list.
    pub fn into_vec(self) -> Vec<Condition> {
        self.list
    }
}

/// The condition of one type in a list.
pub fn find(list: &[Condition], type_: ConditionType) -> Option<&Condition> {
    list.iter().find(|c| c.type_ == type_.as_str())
}

/// Whether the condition of one type is `True` in a list.
pub fn is_true(list: &[Condition], type_: ConditionType) -> bool {
    find(list, type_).is_some_and(|c| c.status == "True")
}
