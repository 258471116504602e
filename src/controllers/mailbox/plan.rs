//! What is to be done for a mailbox. Pure: from the object and what was gathered to settings and Secret actions.

use super::super::ctx::{annotation, uid};
use super::super::hold::Hold;
use super::super::standing::Verdict;
use super::gather::Facts;
use super::secret::{SecretSeen, settings_mark};
use crate::api::mail_instance::ExternalForwarding;
use crate::api::mailbox::{PasswordManagement, Suspend};
use crate::api::*;
use crate::groupware::{Capability, MailboxRow, MailboxSettings};

/// What happens to the credentials Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretAction {
    /// It is as it should be.
    Keep,
    /// Make it.
    Create,
    /// Host names or ports changed.
    Update,
    /// A new password was asked for.
    Rotate,
}

/// Where the password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The credentials Secret.
    Generated,
    /// A key of a Secret, plain.
    Plain(SecretKeyRef),
    /// A key of a Secret, hashed.
    Hash(SecretKeyRef),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The mailbox as it should be.
    pub settings: MailboxSettings,
    /// The credentials Secret.
    pub secret: SecretAction,
    /// Where the password comes from.
    pub source: Source,
    /// The password must be handed over: it is new, or the declared value may have changed.
    pub password: bool,
    /// Write the password even if the declared value is the same.
    pub force: bool,
    /// The row is ours and as it should be, but for the password.
    pub settled: bool,
    /// The row was there once, by our own word, and is not now.
    pub recreates: bool,
    /// What the server called it then.
    pub former: Option<String>,
    /// Nothing may be written.
    pub observe: bool,
    /// What differs.
    pub drift: Vec<String>,
    /// All is done, and still it is not as declared.
    pub hold: Option<Hold>,
}

/// Source of the password.
pub fn source(mailbox: &Mailbox) -> Source {
    let password = &mailbox.spec.password;
    match (&password.secret_ref, &password.hash_secret_ref) {
        (Some(r), _) => Source::Plain(r.clone()),
        (_, Some(r)) => Source::Hash(r.clone()),
        _ => Source::Generated,
    }
}

fn unsupported(mailbox: &Mailbox, seen: &Facts) -> Option<Hold> {
    let spec = &mailbox.spec;
    let can = |c: Capability| seen.capabilities.contains(c.as_str());
    let what = if spec.auto_reply.is_some() && !can(Capability::AutoReply) {
        "autoReply"
    } else if !spec.send_access_data_to.is_empty() {
        "sendAccessDataTo"
    } else if spec.suspend == Suspend::Login && !can(Capability::Suspend) {
        "suspend: Login"
    } else if spec.forwarding.is_some() && !can(Capability::Forwarding) {
        "forwarding"
    } else if spec.password.hash_secret_ref.is_some() && !can(Capability::HashedPasswords) {
        "password.hashSecretRef"
    } else if spec.access != mailbox::Access::default() && !can(Capability::ProtocolAccess) {
        "access"
    } else {
        return None;
    };
    Some(Hold::stalled(
        Reason::Unsupported,
        format!("{what} is not supported with {}: take it out of the spec", seen.label),
    ))
}

fn forwards(mailbox: &Mailbox, seen: &Facts) -> Result<(Vec<String>, bool), Hold> {
    let Some(forwarding) = &mailbox.spec.forwarding else { return Ok((vec![], true)) };
    let mut to = vec![];
    for text in &forwarding.to {
        let address = crate::groupware::address::canonical(text)
            .map_err(|e| Hold::stalled(Reason::InvalidSpec, format!("forwarding.to {text}: {e}")))?;
        let domain = address.rsplit('@').next().unwrap_or_default();
        let outside = !seen.own_domains.contains(domain);
        if outside && seen.domain.instance.object.spec.external_forwarding == ExternalForwarding::Deny {
            return Err(Hold::stalled(
                Reason::ExternalForwardingDenied,
                format!(
                    "{address} is outside MailInstance {}: forward to its own addresses, or set its externalForwarding: Allow",
                    seen.domain.instance.key.name
                ),
            ));
        }
        if address == seen.address {
            return Err(Hold::stalled(Reason::InvalidSpec, "forwarding.to names the mailbox itself: use keepCopy"));
        }
        to.push(address);
    }
    to.sort();
    to.dedup();
    Ok((to, forwarding.keep_copy))
}

/// The words for what stands against a mailbox.
fn short(verdict: &Verdict, instance: &str) -> Option<Hold> {
    match verdict {
        Verdict::Fits => None,
        Verdict::Number { what, limit } => Some(Hold::stalled(
            Reason::LimitExceeded,
            format!("MailInstance {instance} allows {limit} {what}: raise spec.limits.{what}, or delete one"),
        )),
        Verdict::Storage { wanted, free, booked } => Some(Hold::stalled(
            Reason::QuotaExceeded,
            format!(
                "a quota of {} is more than the {} that are left of the {} of MailInstance {instance}: lower it, or raise spec.storage",
                Quantity::from_bytes(*wanted).0,
                Quantity::from_bytes(*free).0,
                Quantity::from_bytes(*booked).0
            ),
        )),
    }
}

/// Names of the settings that differ.
pub fn differences(row: &MailboxRow, settings: &MailboxSettings) -> Vec<String> {
    let have = &row.settings;
    let mut names = vec![];
    let mut look = |name: &str, differs: bool| {
        if differs {
            names.push(name.to_owned());
        }
    };
    look("displayName", have.display_name != settings.display_name);
    look("quota", have.quota != settings.quota);
    look("suspend", (have.login, have.receive) != (settings.login, settings.receive));
    look("access", have.access != settings.access);
    look("forwarding", (&have.forward_to, have.keep_copy) != (&settings.forward_to, settings.keep_copy));
    names
}

/// Plans.
pub fn plan(mailbox: &Mailbox, seen: &Facts) -> Result<Plan, Hold> {
    if let Some(hold) = unsupported(mailbox, seen) {
        return Err(hold);
    }
    let (forward_to, keep_copy) = forwards(mailbox, seen)?;
    let mine = seen.row.as_ref().filter(|r| r.owner.as_deref() == Some(&uid(mailbox)));
    let hold = short(&seen.verdict, &seen.domain.instance.key.name);
    let mut quota = seen.quota;
    if let Some(hold) = &hold {
        // What is there goes on with what it has; what is not is not made.
        let Some(row) = mine else { return Err(hold.clone()) };
        if matches!(seen.verdict, Verdict::Storage { .. }) {
            quota = row.settings.quota;
        }
    }
    let settings = MailboxSettings {
        display_name: mailbox.spec.display_name.clone().unwrap_or_default(),
        quota,
        login: mailbox.spec.suspend == Suspend::None,
        receive: mailbox.spec.suspend != Suspend::All,
        access: mailbox.spec.access,
        forward_to,
        keep_copy,
    };
    let observe = mailbox.spec.management_policy == ManagementPolicy::Observe
        || seen.domain.instance.object.spec.management_policy == ManagementPolicy::Observe;
    if observe {
        let drift = match &seen.row {
            Some(row) => differences(row, &settings),
            None => vec!["missing".into()],
        };
        let hold = (!drift.is_empty()).then(|| {
            Hold::waiting(
                Reason::Drifted,
                format!(
                    "nothing is written (managementPolicy: Observe), and the backend differs: {}",
                    drift.join(", ")
                ),
            )
        });
        return Ok(Plan { settings, observe, drift, hold, ..Plan::nothing() });
    }
    let source = source(mailbox);
    let rotate = annotation(mailbox, annotations::ROTATE_PASSWORD);
    let mark = settings_mark(&seen.settings, &source);
    let secret = match &seen.credentials {
        SecretSeen::Missing => SecretAction::Create,
        SecretSeen::Foreign => {
            return Err(Hold::stalled(
                Reason::SecretNotOwned,
                format!(
                    "Secret {} exists and does not belong to this Mailbox: remove it, or name another one in spec.credentialsSecret",
                    super::super::world::credentials_secret(mailbox)
                ),
            ));
        }
        SecretSeen::Own { rotated_for, .. }
            if source == Source::Generated && rotate.is_some() && *rotated_for != rotate =>
        {
            SecretAction::Rotate
        }
        SecretSeen::Own { mark: have, .. } if have.as_deref() != Some(mark.as_str()) => SecretAction::Update,
        SecretSeen::Own { .. } => SecretAction::Keep,
    };
    let version = match (&source, &seen.credentials) {
        (Source::Generated, SecretSeen::Own { version, .. }) => Some(version.clone()),
        (Source::Generated, _) => None,
        (Source::Plain(r) | Source::Hash(r), _) => Some(seen.source.clone().ok_or_else(|| {
            Hold::waiting(
                Reason::SecretNotFound,
                format!("Secret {} is not there: create it with the key {}", r.name, r.key),
            )
        })?),
    };
    let enforce = mailbox.spec.password.management == PasswordManagement::Enforce;
    let force = enforce && mine.is_some_and(|r| r.password_drifted);
    let known = mine.and_then(|r| r.password_version.as_ref());
    let password =
        force || secret == SecretAction::Create || secret == SecretAction::Rotate || version.as_ref() != known;
    let settled = mine.is_some_and(|r| !r.removing && !r.effects_due && differences(r, &settings).is_empty());
    let status = mailbox.status.as_ref();
    let recreates = seen.row.is_none()
        && status.is_some_and(|s| matches!(s.ownership, Some(Ownership::Created | Ownership::Adopted)));
    // Of the same address only: the domain's object may be another one by now, with another name.
    let former = status.filter(|s| recreates && s.address.as_ref() == Some(&seen.address));
    let former = former.and_then(|s| s.backend_id.clone());
    Ok(Plan {
        settings,
        secret,
        source,
        password,
        force,
        settled,
        recreates,
        former,
        observe: false,
        drift: vec![],
        hold,
    })
}

impl Plan {
    fn nothing() -> Self {
        Plan {
            settings: MailboxSettings {
                display_name: String::new(),
                quota: 0,
                login: true,
                receive: true,
                access: mailbox::Access::default(),
                forward_to: vec![],
                keep_copy: true,
            },
            secret: SecretAction::Keep,
            source: Source::Generated,
            password: false,
            force: false,
            settled: true,
            recreates: false,
            former: None,
            observe: false,
            drift: vec![],
            hold: None,
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
