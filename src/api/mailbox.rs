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
    /// The MailDomain. Immutable.
    pub domain_ref: LocalRef,
    /// The part before the `@`, lower case (RFC 5321: at most 64 bytes). The address is the login too, so it holds only
    /// what every server takes in one; for other characters make a MailAlias. Immutable.
    #[schemars(transform = rules::local_part)]
    pub local_part: String,
    /// The name that outgoing mail carries: one line without `<` and `>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::display_name)]
    pub display_name: Option<String>,
    /// Storage. Default: the instance's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::storage)]
    pub quota: Option<Quantity>,
    /// Where the password comes from. Default: `generate: {}`.
    #[serde(default)]
    pub password: Password,
    /// Name of the Secret with the access data. Default: `<name>-mail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::object_name)]
    pub credentials_secret: Option<String>,
    /// Which protocols may be used.
    #[serde(default)]
    pub access: Access,
    /// What is switched off.
    #[serde(default)]
    pub suspend: Suspend,
    /// Where mail goes on to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Forwarding>,
    /// Absence note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_reply: Option<AutoReply>,
    /// Who is told host names, ports and user name; never the password.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = rules::notice_addresses)]
    pub send_access_data_to: Vec<String>,
    /// What happens to the mail when the object is deleted. Default: what the instance says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Whether the operator writes to the backend.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// Whether a mailbox that is already at the backend is taken over.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

/// Where the password comes from; at most one source, `generate` when none is said.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::password)]
pub struct Password {
    /// Made by the operator, written to the credentials Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// A Secret with the password in plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// A Secret with a PHC or crypt string (capability `HashedPasswords`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_secret_ref: Option<SecretKeyRef>,
    /// Who may change it.
    #[serde(default)]
    pub management: PasswordManagement,
}

/// A generated password.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Generate {
    /// Number of characters, from 64 different ones: 24 are 144 bits.
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
    /// Written when the declared value changes; users may change theirs.
    #[default]
    OnChange,
    /// Drift is put back.
    Enforce,
}

/// What is switched off.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Suspend {
    /// Nothing.
    #[default]
    None,
    /// Nobody signs in, mail is taken.
    Login,
    /// Mail is refused too.
    All,
}

/// Where mail goes on to.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forwarding {
    /// Addresses.
    #[schemars(transform = rules::forward_addresses)]
    pub to: Vec<String>,
    /// Whether the mailbox keeps a copy.
    #[serde(default = "keep")]
    pub keep_copy: bool,
}

fn keep() -> bool {
    true
}

/// Absence note.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transform = rules::auto_reply)]
pub struct AutoReply {
    /// Subject of the note.
    #[schemars(transform = rules::line)]
    pub subject: String,
    /// Text of the note.
    #[schemars(transform = rules::message)]
    pub message: String,
    /// First day, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::day)]
    pub from: Option<String>,
    /// Last day, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::day)]
    pub until: Option<String>,
}

/// What the operator knows of the mailbox.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailboxStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `reconcile-requested-at` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Value of the annotation `rotate-password` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rotate_password: Option<String>,
    /// The full address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the backend calls it. A mailbox that vanished there is made again under the same id if that is still free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_id: Option<String>,
    /// How the mailbox at the backend came to be ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// Storage granted at the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quantity>,
    /// Storage in use, in steps of 1 % of the quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_storage: Option<Quantity>,
    /// How to reach the services that the server offers and `access` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_settings: Option<ClientSettings>,
    /// For `managementPolicy: Observe`: fields that differ at the backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
