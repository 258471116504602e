//! Conditions and their reasons, one enum for all kinds. `docs/reasons.md` explains each.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition: the `metav1.Condition` of Kubernetes.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name of the condition in CamelCase, unique in the list, such as `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False`, or `Unknown` where it cannot be judged now.
    #[schemars(transform = crate::rules::condition_status)]
    pub status: String,
    /// Why the condition has this status: a CamelCase word that programs may compare.
    pub reason: String,
    /// A sentence for people that names the object that is waited for and the step that helps. It
    /// may change at any time.
    #[serde(default)]
    pub message: String,
    /// `metadata.generation` of the spec that this condition describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Time (RFC 3339) at which `status` last changed.
    pub last_transition_time: String,
}

/// The condition types of all kinds.
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
    SchemaUpToDate,
    Undeclared,
    Healthy,
    DeletionBlocked,
}

macro_rules! words {
    ($(#[$m:meta])* $name:ident { $($(#[doc = $doc:literal])* $word:ident),* $(,)? }) => {
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $doc])* $word),* }
        impl $name {
            /// All values, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$($name::$word),*];
            /// The word as the status of an object has it.
            pub fn as_str(self) -> &'static str { match self { $($name::$word => stringify!($word)),* } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

words! {
    /// Why a condition has its status. Stable: dashboards and scripts compare them.
    Reason {
        /// All that was declared was read back from the backend.
        Succeeded,
        /// Work is in progress.
        Progressing,
        /// The MailInstance that the domain names does not exist.
        InstanceNotFound,
        /// The MailDomain that the object names does not exist.
        DomainNotFound,
        /// A Mailbox that the alias names does not exist.
        MailboxNotFound,
        /// The GroupwareBackend or DNSBackend that is named does not exist.
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
        /// The storage of the instance does not suffice.
        QuotaExceeded,
        /// The instance has as many domains, mailboxes or aliases as it may.
        LimitExceeded,
        /// An older object has the address.
        AddressInUse,
        /// Another tenant of the cluster holds the domain.
        DomainClaimed,
        /// The proof of ownership is not in the DNS.
        OwnershipUnproven,
        /// A record that is already there differs from what is declared.
        DNSConflict,
        /// The DNS server has no zone for the name.
        ZoneNotFound,
        /// The DNS server has only a copy of the zone, which it takes from another server.
        ZoneReadOnly,
        /// Everything is ready, a person has to approve the cut-over.
        AwaitingApproval,
        /// The domain has no address yet, so MX is not switched.
        AwaitingFirstAddress,
        /// The server does not take mail for all declared addresses yet.
        AwaitingAcceptance,
        /// Senders may hold an MTA-STS policy of before that does not name our mail servers.
        AwaitingPolicyEnd,
        /// DNS servers do not show the written records yet.
        DNSPropagating,
        /// Records that the tenant edits (`dns.mode: Manual`) are not as they have to be.
        AwaitingRecords,
        /// Nobody has the name of a live domain registered any more.
        RegistrationGone,
        /// The zone of a live domain is delegated to other DNS servers than those that have the records.
        NameServersMoved,
        /// Resolvers that validate refuse the zone of a live domain.
        DNSSECBroken,
        /// MX of a live domain leads elsewhere.
        MXElsewhere,
        /// Records of a live domain are not as they have to be, and nobody puts them back.
        RecordsChanged,
        /// It is at the backend already and does not belong to this object.
        ExistsAtBackend,
        /// It was at the backend before its tenant came, and the name is not shown to be the tenant's.
        NotEntitled,
        /// The Secret that is named, or its key, does not exist.
        SecretNotFound,
        /// A Secret of that name belongs to somebody else.
        SecretNotOwned,
        /// The Secret holds something that cannot be used.
        SecretInvalid,
        /// A ConfigMap of that name belongs to somebody else.
        ConfigMapNotOwned,
        /// Targets outside the instance are not allowed by the instance.
        ExternalForwardingDenied,
        /// The object's spec cannot be used as it is.
        InvalidSpec,
        /// The object could not be decoded: it was written without validation by the current schema.
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
        /// A bug in the operator: please report it.
        InternalError,
    }
}

impl Reason {
    /// Whether the cause lies at a backend, or at what leads to it. A deletion that waits for such a reason may wait for
    /// ever: there, and nowhere else, the annotation `mailtenant.dev/orphan` counts. All else ends by itself, or by a change
    /// of an object, for which the message of the reason asks.
    pub fn lies_at_a_backend(self) -> bool {
        match self {
            // The backend, its object, its Secret, or what is on it.
            Reason::BackendNotFound
            | Reason::BackendNotAllowed
            | Reason::BackendUnreachable
            | Reason::BackendUnauthorized
            | Reason::BackendRejected
            | Reason::Unsupported
            | Reason::ZoneNotFound
            | Reason::ZoneReadOnly
            | Reason::ExistsAtBackend
            | Reason::SecretNotFound
            | Reason::SecretInvalid
            | Reason::MassLossHeld => true,
            // MX at a DNS provider of the tenant, who may have no way to it any more.
            Reason::AwaitingRecords => true,
            // A parent that was removed by force: nothing says any more where the object is.
            Reason::InstanceNotFound | Reason::DomainNotFound => true,
            // Others go first, or resolvers may still send mail here.
            Reason::HasInstances
            | Reason::HasDomains
            | Reason::HasMailboxes
            | Reason::HasAliases
            | Reason::ReferencedByAlias
            | Reason::Draining => false,
            // Somebody said that nothing is to be done, and can take that back.
            Reason::Paused | Reason::Drifted => false,
            // It is tried again, or somebody corrects an object.
            Reason::Succeeded
            | Reason::Progressing
            | Reason::Deleting
            | Reason::Undecodable
            | Reason::InvalidSpec
            | Reason::KubernetesError
            | Reason::TimedOut
            | Reason::InternalError => false,
            // Nothing that a deletion waits for.
            #[rustfmt::skip]
            Reason::MailboxNotFound | Reason::InstanceNotReady | Reason::DomainNotReady | Reason::MailboxNotReady
            | Reason::QuotaExceeded | Reason::LimitExceeded | Reason::AddressInUse | Reason::DomainClaimed
            | Reason::OwnershipUnproven | Reason::DNSConflict | Reason::RegistrationGone | Reason::NameServersMoved
            | Reason::DNSSECBroken | Reason::MXElsewhere | Reason::RecordsChanged | Reason::AwaitingApproval
            | Reason::AwaitingFirstAddress | Reason::AwaitingAcceptance | Reason::AwaitingPolicyEnd
            | Reason::DNSPropagating | Reason::SecretNotOwned | Reason::ConfigMapNotOwned | Reason::NotEntitled
            | Reason::ExternalForwardingDenied => false,
        }
    }
}

impl Reason {
    /// Why a live domain is not `Healthy`, the worst first.
    pub const UNHEALTHY: [Reason; 5] = [
        Reason::RegistrationGone,
        Reason::NameServersMoved,
        Reason::DNSSECBroken,
        Reason::MXElsewhere,
        Reason::RecordsChanged,
    ];
}

impl ConditionType {
    /// All types, in the order of the documentation.
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
        ConditionType::SchemaUpToDate,
        ConditionType::Undeclared,
        ConditionType::Healthy,
        ConditionType::DeletionBlocked,
    ];

    /// The word as the status of an object has it.
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
            ConditionType::SchemaUpToDate => "SchemaUpToDate",
            ConditionType::Undeclared => "Undeclared",
            ConditionType::Healthy => "Healthy",
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
    /// Starts from the conditions that the object has. `generation` is that of the spec that this pass read.
    pub fn new(previous: &[Condition], generation: i64, now: Timestamp) -> Self {
        Conditions { list: previous.to_vec(), generation, now }
    }

    /// Sets one condition to `True` or `False`. Its `lastTransitionTime` changes only with its status.
    pub fn set(&mut self, type_: ConditionType, status: bool, reason: Reason, message: impl Into<String>) {
        self.put(type_, if status { "True" } else { "False" }, reason, message.into());
    }

    /// Sets one condition to `Unknown`.
    pub fn unknown(&mut self, type_: ConditionType, reason: Reason, message: impl Into<String>) {
        self.put(type_, "Unknown", reason, message.into());
    }

    /// Removes a condition, if it is in the list.
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

    /// `Ready=False` until a retry succeeds or another object changes (kstatus: InProgress).
    pub fn waiting(&mut self, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        self.set(ConditionType::Ready, false, reason, message.clone());
        self.set(ConditionType::Reconciling, true, reason, message);
        self.remove(ConditionType::Stalled);
    }

    /// `Ready=False` until somebody changes something: no retry helps (kstatus: Failed).
    pub fn stalled(&mut self, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        self.set(ConditionType::Ready, false, reason, message.clone());
        self.set(ConditionType::Stalled, true, reason, message);
        self.remove(ConditionType::Reconciling);
    }

    /// The list as the status gets it.
    pub fn into_vec(self) -> Vec<Condition> {
        self.list
    }
}

/// The condition of one type in a list; none: it is not in the list.
pub fn find(list: &[Condition], type_: ConditionType) -> Option<&Condition> {
    list.iter().find(|c| c.type_ == type_.as_str())
}

/// Whether the condition of one type is in the list and `True`.
pub fn is_true(list: &[Condition], type_: ConditionType) -> bool {
    find(list, type_).is_some_and(|c| c.status == "True")
}
