//! What is known of a mailbox before anything is decided.

use crate::not_ready::NotReady;
use crate::rules::recovery;
use crate::state::limits::Verdict;
use crate::state::parents::Domain;
use crate::state::world::SecretMeta;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use mailtenant_api::*;
use mailtenant_groupware::{Address, Capability, DomainName, MailboxRow, TenantId, Uid};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
pub struct Facts {
    pub domain: Domain,
    pub tenant: TenantId,
    /// The server's name for messages.
    pub label: String,
    /// What the server can do.
    pub capabilities: BTreeSet<Capability>,
    pub address: Address,
    /// How to reach the services.
    pub settings: ClientSettings,
    /// Whether numbers and storage allow it.
    pub verdict: Verdict,
    /// Whether the quotas of all mailboxes, by their statuses, are within what was booked.
    pub within_storage: bool,
    /// Quota that is asked for, in bytes.
    pub quota: u64,
    pub row: Option<MailboxRow>,
    /// Whether what a predecessor had is taken over.
    pub recovery: Recovery,
    pub credentials: SecretSeen,
    /// [`declared`] of the Secret that is named as source of the password; none if it is not there.
    pub source: Option<String>,
    /// Domains that the instance holds.
    pub own_domains: BTreeSet<DomainName>,
    /// The way that mail would take in a mail loop, back to this mailbox; empty: there is none.
    pub mail_loop: Vec<String>,
    /// Addresses in domains of the instance that are forwarded to and that nobody has.
    pub nobody: Vec<Address>,
    /// Uids of the Mailboxes that have the addresses which are forwarded to.
    pub holders: BTreeMap<Address, String>,
    /// Addresses that are forwarded to whose Mailbox of the time when the forward began is gone.
    pub gone: BTreeSet<Address>,
}

/// What may be taken over of a Mailbox of the same place that no longer exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the platform has consented to it in this namespace.
    pub consents: bool,
    /// Uid of the predecessor whose row it is; none: there is no such row. An error: it must not be taken over.
    pub whose: Result<Option<Uid>, NotReady>,
}

/// Where the password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Generated,
    /// A key of a Secret, plain.
    Plain(SecretKeyRef),
    /// A key of a Secret, hashed.
    Hash(SecretKeyRef),
}

/// Annotation: which access data the Secret holds (a digest of public facts), so that its content need not be read.
pub(super) const MARK: &str = "mailtenant.dev/settings";
/// Annotation: the Secret has no password, since the mailbox kept the one that it had.
pub(super) const WITHOUT_PASSWORD: &str = "mailtenant.dev/without-password";
/// Annotation: the value of `rotate-password` that the password was made for.
pub(super) const ROTATED_FOR: &str = "mailtenant.dev/rotated-for";

/// Annotation: uid of the Mailbox of before whose password it is: it was taken over with that Secret.
pub(super) const PASSWORD_OF: &str = "mailtenant.dev/password-of";

/// What the metadata of the credentials Secret tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSeen {
    /// It is not there.
    Missing,
    /// It belongs to somebody else.
    Foreign,
    /// The operator wrote it for a Mailbox of this name, and no longer existing: it was restored, or its owner was removed
    /// by force.
    Predecessor,
    Own {
        version: String,
        /// Which access data it holds.
        mark: Option<String>,
        /// Which wish for a new password it answers.
        rotated_for: Option<String>,
        /// This version was written or read by this process, and the access data in it were right.
        checked: bool,
        /// It has no password, and gets none without a wish for it: the one that the mailbox has is a person's.
        without_password: bool,
        /// Whose password it is, if it was taken over.
        password_of: Option<String>,
    },
}

impl SecretSeen {
    /// Of a Secret's metadata, for a Mailbox; `right`: the version that is known to be right.
    pub fn of(secret: Option<&SecretMeta>, mailbox: &Mailbox, right: Option<&str>) -> Self {
        let Some(secret) = secret else { return SecretSeen::Missing };
        if !secret.owner_references().iter().any(|o| o.uid == uid(mailbox)) {
            return if is_predecessors(secret, mailbox) { SecretSeen::Predecessor } else { SecretSeen::Foreign };
        }
        let note = |name: &str| secret.annotations().get(name).cloned();
        let version = version(secret);
        let checked = right == Some(version.as_str());
        SecretSeen::Own {
            version,
            mark: note(MARK),
            rotated_for: note(ROTATED_FOR),
            checked,
            without_password: note(WITHOUT_PASSWORD).is_some(),
            password_of: note(PASSWORD_OF),
        }
    }
}

/// Whether the operator wrote a Secret for a Mailbox of this name with another uid. Its mark says who wrote it; a backup may
/// have lost its owner, and one with any other owner is somebody else's.
pub fn is_predecessors<S: ResourceExt>(secret: &S, mailbox: &Mailbox) -> bool {
    let name = mailbox.name_any();
    let old = |o: &OwnerReference| o.kind == Mailbox::kind(&()) && o.name == name && o.api_version == API_VERSION;
    secret.annotations().contains_key(MARK) && secret.owner_references().iter().all(old)
}

/// A digest of the access data, none of it secret.
pub fn settings_mark(settings: &ClientSettings, source: &Source) -> String {
    let text = json!({"settings": settings, "generated": *source == Source::Generated}).to_string();
    let hash = digest(&SHA256, text.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12])
}

/// `uid/resourceVersion` of a Secret.
pub fn version(secret: &SecretMeta) -> String {
    format!("{}/{}", secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default())
}

/// Which value of a Secret of that [`version`] is declared as password: another key of the same Secret, or a hash instead of a
/// plain text, is another value. The key `password` in plain, as in the credentials Secret, goes without saying.
pub fn declared(version: String, source: &Source) -> String {
    match source {
        Source::Plain(r) if r.key != "password" => format!("{version}/plain/{}", r.key),
        Source::Hash(r) => format!("{version}/hash/{}", r.key),
        Source::Generated | Source::Plain(_) => version,
    }
}

/// How to reach the services of a mailbox. One that it may not use is left out, as one that the server does not offer.
pub fn client_settings(backend: &GroupwareBackend, address: &Address, access: mailbox::Access) -> ClientSettings {
    let hosts = backend.spec.hosts.clone();
    ClientSettings {
        username: Some(address.into()),
        imap: hosts.imap.filter(|_| access.imap),
        pop3: hosts.pop3.filter(|_| access.pop3),
        submission: hosts.submission.filter(|_| access.submission),
        sieve: hosts.sieve.filter(|_| access.sieve),
        webmail: hosts.webmail.filter(|_| access.groupware),
        dav: hosts.dav.filter(|_| access.groupware),
    }
}

/// A Secret in the place of the credentials is somebody else's.
pub fn not_owned(name: &str) -> NotReady {
    NotReady::stalled(
        Reason::SecretNotOwned,
        format!(
            "Secret {name} exists and does not belong to this Mailbox: remove it, or name another one in spec.credentialsSecret"
        ),
    )
}

/// A Secret in the place of the credentials was written for a Mailbox of this name that no longer exists.
pub fn of_predecessor(name: &str, server: &str) -> NotReady {
    let text = format!(
        "Secret {name} belongs to a Mailbox of this name that no longer exists. {}; or remove the Secret, or name another one \
         in spec.credentialsSecret",
        recovery::consent_needed(server)
    );
    NotReady::stalled(Reason::SecretNotOwned, text)
}

/// The Secret that is named as source is not there.
pub fn not_there(from: &SecretKeyRef) -> NotReady {
    let text = format!("Secret {} is not there: create it with the key {}", from.name, from.key);
    NotReady::waiting(Reason::SecretNotFound, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use serde_json::Value;

    #[test]
    fn only_a_secret_that_this_very_mailbox_owns_is_its_own() {
        let mailbox = fixtures::mailbox(json!({}), json!({}));
        let owner = |kind: &str, name: &str, uid: &str| {
            let api = if kind == "Mailbox" { API_VERSION } else { "v1" };
            json!({"apiVersion": api, "kind": kind, "name": name, "uid": uid})
        };
        let secret = |owners: Value, marked: bool| -> SecretMeta {
            let notes = if marked { json!({MARK: "m"}) } else { json!({}) };
            let meta = json!({"name": "alice-mail", "uid": "s", "resourceVersion": "7", "ownerReferences": owners, "annotations": notes});
            serde_json::from_value(json!({"metadata": meta})).unwrap()
        };
        let own = || owner("Mailbox", "alice", "uid-alice");
        let old = || owner("Mailbox", "alice", "uid-of-before");
        for (owners, marked, seen, why) in [
            (json!([own()]), true, "own", "ours"),
            (json!([own()]), false, "own", "ours, whatever became of its annotations"),
            (json!([owner("Secret", "x", "u"), own()]), true, "own", "one of two owners"),
            (json!([]), false, "foreign", "somebody made it"),
            (json!([owner("Mailbox", "bob", "uid-bob")]), true, "foreign", "of another Mailbox"),
            (json!([owner("Secret", "alice", "u")]), true, "foreign", "of another kind"),
            (json!([old(), owner("Secret", "x", "u")]), true, "foreign", "somebody else owns it too"),
            (json!([old()]), false, "foreign", "nothing says that the operator wrote it"),
            (json!([old()]), true, "predecessor", "of a Mailbox of this name"),
            (json!([]), true, "predecessor", "a backup has lost its owner"),
        ] {
            let is = match SecretSeen::of(Some(&secret(owners, marked)), &mailbox, None) {
                SecretSeen::Missing => "missing",
                SecretSeen::Foreign => "foreign",
                SecretSeen::Predecessor => "predecessor",
                SecretSeen::Own { .. } => "own",
            };
            assert_eq!(is, seen, "{why}");
        }
        assert_eq!(SecretSeen::of(None, &mailbox, None), SecretSeen::Missing);
    }
}
