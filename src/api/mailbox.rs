//! `Mailbox`: an address that is also a login.

use super::*;
use kube::{CustomResource, KubeSchema};
pub use mailtenant_mail::policy::Access;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An address that is also a login, with mail, contacts and calendars.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailtenant.dev",
    version = "v1alpha1",
    kind = "Mailbox",
    plural = "mailboxes",
    shortname = "mbx",
    category = "mail",
    namespaced,
    validation = Rule::new("has(self.spec.credentialsSecret) || self.metadata.name.size() <= 248").message("the default name of the credentials Secret, <name>-mail, has more than 253 characters: name it in credentialsSecret").field_path(".spec.credentialsSecret"),
    validation = Rule::new("!has(self.spec.password.secretRef) || self.spec.password.secretRef.name != (has(self.spec.credentialsSecret) ? self.spec.credentialsSecret : self.metadata.name + '-mail')").message("the password cannot come from the credentials Secret, which the operator writes: name another Secret").field_path(".spec.password.secretRef"),
    validation = Rule::new("!has(self.spec.password.hashSecretRef) || self.spec.password.hashSecretRef.name != (has(self.spec.credentialsSecret) ? self.spec.credentialsSecret : self.metadata.name + '-mail')").message("the hash cannot come from the credentials Secret, which the operator writes: name another Secret").field_path(".spec.password.hashSecretRef"),
    status = "MailboxStatus",
    derive = "PartialEq",
    selectable = ".spec.domainRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domainRef.name"),
    printcolumn(name = "Used", type_ = "string", json_path = ".status.usedStorage"),
    printcolumn(name = "Quota", type_ = "string", json_path = ".status.quota"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.domainRef.name == oldSelf.domainRef.name").message("domainRef is immutable: create a new Mailbox in the other domain").field_path(".domainRef"))]
#[x_kube(validation = Rule::new("self.localPart == oldSelf.localPart").message("localPart is immutable: create a new Mailbox for another address").field_path(".localPart"))]
pub struct MailboxSpec {
    /// The MailDomain of the address, in the same namespace. Immutable.
    pub domain_ref: LocalRef,
    /// The part of the address before the `@`, in lower case, at most 64 characters (RFC 5321). The address is
    /// the login too, so only letters a to z, digits, `_`, `-` and single dots are allowed. For other
    /// characters create a MailAlias. Immutable.
    #[schemars(transform = rules::local_part)]
    pub local_part: String,
    /// Name of the person or team, shown in front of the address in outgoing mail and in the address book.
    /// One line without `<` and `>`. Left out: the address alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::display_name)]
    pub display_name: Option<String>,
    /// Most storage that the mail may take, such as `5Gi`. Left out: `defaultMailboxQuota` of the MailInstance. One of
    /// the two must be there, unless the instance has `storagePolicy: Share`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::storage)]
    pub quota: Option<Quantity>,
    /// Where the password comes from, and whether users may change it. Left out: the operator generates one and writes
    /// it to the credentials Secret.
    #[serde(default)]
    pub password: Password,
    /// Name of the Secret of type `mailtenant.dev/credentials` that the operator writes: user name, hosts and
    /// ports, and a generated password. Left out: `<name>-mail`. An existing Secret that this Mailbox does
    /// not own is never written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::object_name)]
    pub credentials_secret: Option<String>,
    /// Which protocols may be used. Each is allowed unless it is `false`. Needs the capability `ProtocolAccess`.
    #[serde(default)]
    pub access: Access,
    /// What is switched off. `None` (default): nothing. `Login`: nobody can sign in, and mail still arrives. `All`:
    /// nobody can sign in, and mail is refused. Nothing is deleted.
    #[serde(default)]
    pub suspend: Suspend,
    /// Addresses that incoming mail is forwarded to. Left out: none. Addresses outside the instance need
    /// `externalForwarding: Allow` of the MailInstance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Forwarding>,
    /// Automatic answer to incoming mail while the user is away. Needs the capability `AutoReply`; without
    /// it the mailbox reports `Unsupported`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_reply: Option<AutoReply>,
    /// Addresses that are sent host names, ports and user name, never the password. This release sends no such
    /// mail: the mailbox reports `Unsupported`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = rules::notice_addresses)]
    pub send_access_data_to: Vec<String>,
    /// What happens to mail, calendars and contacts when this object is deleted. `Delete`: they are deleted. `Retain`:
    /// the mailbox is switched off and its data stays at the backend. Left out: `deletionPolicy` of the MailInstance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// `Full` (default): create, change and delete at the backend. `Observe`: never
    /// write; `status.drift` lists what differs.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// What happens if the backend has a mailbox of this address already. `Never` (default): it is left alone, and this
    /// object reports `ExistsAtBackend`. `IfUnowned`: it is taken over if no object owns it, and either an object of this
    /// namespace had it last (`deletionPolicy: Retain`) or the domain is shown to be the tenant's: the zone's own
    /// `allowedNamespaces` names the namespace, or the zone shows the TXT record that the message names. Otherwise this
    /// object reports `NotEntitled`.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

/// Where the password comes from: at most one source, and `generate` when none is given.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::password)]
pub struct Password {
    /// The operator generates the password and writes it to the credentials Secret. The default, with `length: 24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// Key of a Secret in this namespace that holds the password in plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// Key of a Secret in this namespace that holds a hash of the password, as PHC or crypt
    /// string. Needs the capability `HashedPasswords`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_secret_ref: Option<SecretKeyRef>,
    /// `OnChange` (default): written when the declared password changes; users may change theirs. `Enforce`: a password
    /// that was changed at the backend is set back.
    #[serde(default)]
    pub management: PasswordManagement,
}

/// How a generated password is made.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Generate {
    /// Number of characters, each one of 64: the default 24 makes 144 bits of randomness.
    #[schemars(range(min = 22, max = 128))]
    pub length: i32,
}

impl Default for Generate {
    fn default() -> Self {
        Generate { length: 24 }
    }
}

/// Who may change a password.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum PasswordManagement {
    /// The declared password is written when it changes. Users may change theirs.
    #[default]
    OnChange,
    /// A password that was changed at the backend is set back to the declared one.
    Enforce,
}

/// What of a mailbox is switched off.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Suspend {
    /// Nothing: mail arrives, users sign in.
    #[default]
    None,
    /// Nobody can sign in. Mail still arrives.
    Login,
    /// Nobody can sign in, and mail is refused.
    All,
}

/// Forwarding of incoming mail.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forwarding {
    /// Addresses that get a copy of each message, each once.
    #[schemars(transform = rules::forward_addresses)]
    pub to: Vec<String>,
    /// `true` (default): the mailbox keeps each message too. `false`: mail is only forwarded.
    #[serde(default = "keep")]
    pub keep_copy: bool,
}

fn keep() -> bool {
    true
}

/// Automatic answer to incoming mail.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transform = rules::auto_reply)]
pub struct AutoReply {
    /// Subject of the answer: one line, at most 255 characters.
    #[schemars(transform = rules::line)]
    pub subject: String,
    /// Plain text of the answer, at most 10,000 characters.
    #[schemars(transform = rules::message)]
    pub message: String,
    /// First day on which answers are sent, `YYYY-MM-DD`. Left out: from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::day)]
    pub from: Option<String>,
    /// Last day on which answers are sent, `YYYY-MM-DD`; not before `from`. Left out: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::day)]
    pub until: Option<String>,
}

/// Whose an address is that mail is forwarded to.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForwardTarget {
    /// The address, its domain as A-label.
    pub address: String,
    /// `metadata.uid` of the Mailbox that had it when the forward began.
    pub uid: String,
}

/// What the operator last saw of the mailbox at the backend.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailboxStatus {
    /// `metadata.generation` of the spec that this status describes. -1: the operator has not looked at the object yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `mailtenant.dev/reconcile-requested-at` that was answered last: the rows were read for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Value of the annotation `mailtenant.dev/rotate-password` for which a new password was last made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rotate_password: Option<String>,
    /// The full address, its domain as A-label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Identifier of the mailbox at the backend. A mailbox that is missing there is created again under the same id
    /// if that is still free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_id: Option<String>,
    /// `Created` by this object, `Adopted` (it was there before and was taken over), or `Observed`. Only what was
    /// created or adopted is ever deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// Storage that the backend grants. It differs from `spec.quota` while the instance's storage does not allow more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quantity>,
    /// Storage that the mail takes, in steps of 1 % of the quota, so that the status does
    /// not change with every message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_storage: Option<Quantity>,
    /// Hosts, ports and URLs of the services that the server offers and `access` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_settings: Option<ClientSettings>,
    /// The Mailboxes that had the addresses of `spec.forwarding` when the forwards to them began. When such a Mailbox is gone the
    /// forward stays off, whoever has the address next, until the address was taken out of the spec and put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub forwards_to: Option<Vec<ForwardTarget>>,
    /// For `managementPolicy: Observe`: names of the fields that differ at the backend, or `missing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// `Ready`, `Reconciling` or `Stalled`, `WithinQuota`, and `DeletionBlocked` while a deletion waits. Each has
    /// a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
