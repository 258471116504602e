//! What is to be done for a mailbox. Pure: from the object and what was gathered to settings and Secret actions.

use super::gather::Facts;
use super::secret::{SecretSeen, settings_mark};
use crate::not_ready::{MISSING, NotReady};
use crate::state::limits::Verdict;
use mailtenant_api::mail_instance::ExternalForwarding;
use mailtenant_api::mailbox::{PasswordManagement, Suspend};
use mailtenant_api::*;
use mailtenant_groupware::{Capability, MailboxRow, MailboxSettings};

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
    /// All that can be is done, and still it is not as declared.
    pub not_ready: Option<NotReady>,
    /// What stands against its number or quota.
    pub short: Option<NotReady>,
    /// The row is ours.
    pub there: bool,
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

/// Takes what the server cannot do out of the settings; the first of it is said.
fn unsupported(mailbox: &Mailbox, seen: &Facts, settings: &mut MailboxSettings) -> Option<NotReady> {
    let spec = &mailbox.spec;
    let can = |c: Capability| seen.capabilities.contains(c.as_str());
    let mut what = vec![];
    if spec.auto_reply.is_some() && !can(Capability::AutoReply) {
        what.push("autoReply");
    }
    if !spec.send_access_data_to.is_empty() {
        what.push("sendAccessDataTo");
    }
    if spec.suspend == Suspend::Login && !can(Capability::Suspend) {
        what.push("suspend: Login");
        settings.login = true;
    }
    if spec.forwarding.is_some() && !can(Capability::Forwarding) {
        what.push("forwarding");
        (settings.forward_to, settings.keep_copy) = (vec![], true);
    }
    if spec.password.hash_secret_ref.is_some() && !can(Capability::HashedPasswords) {
        what.push("password.hashSecretRef");
    }
    if spec.access != mailbox::Access::default() && !can(Capability::ProtocolAccess) {
        what.push("access");
        settings.access = mailbox::Access::default();
    }
    let text = format!("not supported with {}: take it out of the spec", seen.label);
    let is = if what.len() > 1 { "are" } else { "is" };
    (!what.is_empty()).then(|| NotReady::stalled(Reason::Unsupported, format!("{} {is} {text}", what.join(", "))))
}

/// Where mail goes on to, without what may not be; why not. Whenever something is left out the mailbox keeps its mail.
fn forwards(mailbox: &Mailbox, seen: &Facts) -> (Vec<String>, bool, Option<NotReady>) {
    let Some(forwarding) = &mailbox.spec.forwarding else { return (vec![], true, None) };
    let one = |text: &String| {
        let address = mailtenant_mail::address::canonical(text)
            .map_err(|e| NotReady::stalled(Reason::InvalidSpec, format!("forwarding.to {text}: {e}")))?;
        let domain = address.rsplit('@').next().unwrap_or_default();
        let outside = !seen.own_domains.contains(domain);
        if outside && seen.domain.instance.object.spec.external_forwarding == ExternalForwarding::Deny {
            return Err(NotReady::stalled(
                Reason::ExternalForwardingDenied,
                format!(
                    "{address} is outside MailInstance {}: forward to its own addresses, or set its externalForwarding: Allow",
                    seen.domain.instance.key.name
                ),
            ));
        }
        if address == seen.address {
            return Err(NotReady::stalled(Reason::InvalidSpec, "forwarding.to names the mailbox itself: use keepCopy"));
        }
        Ok(address)
    };
    let (mut to, mut not_ready) = (vec![], None);
    for result in forwarding.to.iter().map(one) {
        match result {
            Ok(address) => to.push(address),
            Err(why) => not_ready = not_ready.or(Some(why)),
        }
    }
    to.sort();
    to.dedup();
    let keep_copy = forwarding.keep_copy || not_ready.is_some();
    (to, keep_copy, not_ready)
}

/// The words for what stands against a mailbox.
fn short(verdict: &Verdict, instance: &str) -> Option<NotReady> {
    match verdict {
        Verdict::Fits => None,
        Verdict::Number { what, limit } => Some(NotReady::stalled(
            Reason::LimitExceeded,
            format!("MailInstance {instance} allows {limit} {what}: raise spec.limits.{what}, or delete one"),
        )),
        Verdict::Storage { wanted, free, booked } => Some(NotReady::stalled(
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

/// Plans. What stands against a mailbox that is there stands against that part of it alone: a suspension, or a forward
/// that was taken out, does not wait for it. One that is not there is not made in parts.
pub fn plan(mailbox: &Mailbox, seen: &Facts) -> Result<Plan, NotReady> {
    let mine = seen.row.as_ref().filter(|r| r.owner.as_deref() == Some(&uid(mailbox)));
    let short = short(&seen.verdict, &seen.domain.instance.key.name);
    let kept = matches!(seen.verdict, Verdict::Storage { .. }).then_some(mine).flatten();
    let (forward_to, keep_copy, forbidden) = forwards(mailbox, seen);
    let mut settings = MailboxSettings {
        display_name: mailbox.spec.display_name.clone().unwrap_or_default(),
        quota: kept.map_or(seen.quota, |row| row.settings.quota),
        login: mailbox.spec.suspend == Suspend::None,
        receive: mailbox.spec.suspend != Suspend::All,
        access: mailbox.spec.access,
        forward_to,
        keep_copy,
    };
    let unsupported = unsupported(mailbox, seen, &mut settings);
    let not_ready = unsupported.or(forbidden).or(short.clone());
    let there = mine.is_some();
    if let (Some(not_ready), false) = (&not_ready, there) {
        return Err(not_ready.clone());
    }
    let observe = mailbox.spec.management_policy == ManagementPolicy::Observe
        || seen.domain.instance.object.spec.management_policy == ManagementPolicy::Observe;
    if observe {
        let drift = match &seen.row {
            Some(row) => differences(row, &settings),
            None => vec![MISSING.into()],
        };
        return Ok(Plan {
            settings,
            observe,
            not_ready: NotReady::drifted(&drift).or(not_ready),
            drift,
            short,
            there,
            ..Plan::nothing()
        });
    }
    let source = source(mailbox);
    let rotate = annotation(mailbox, annotations::ROTATE_PASSWORD);
    let mark = settings_mark(&seen.settings, &source);
    let mut refused = None;
    let secret = match &seen.credentials {
        SecretSeen::Missing => SecretAction::Create,
        SecretSeen::Foreign => {
            refused = Some(super::secret::not_owned(&crate::state::derived::credentials_secret(mailbox)));
            SecretAction::Keep
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
        (Source::Plain(r) | Source::Hash(r), _) => {
            if seen.source.is_none() {
                refused = refused.or(Some(super::secret::not_there(r)));
            }
            seen.source.clone()
        }
    };
    if let (Some(not_ready), false) = (&refused, there) {
        return Err(not_ready.clone());
    }
    // A password that cannot be had, or not be written, is no reason to take away the one that is there.
    let known = mine.and_then(|r| r.password_version.as_ref());
    let taken = !matches!(source, Source::Hash(_)) || seen.capabilities.contains(Capability::HashedPasswords.as_str());
    let can_have = refused.is_none() && taken;
    let enforce = mailbox.spec.password.management == PasswordManagement::Enforce;
    let force = can_have && enforce && mine.is_some_and(|r| r.password_drifted);
    let renewed = matches!(secret, SecretAction::Create | SecretAction::Rotate);
    let password = can_have && (force || renewed || version.as_ref() != known);
    let settled = mine.is_some_and(|r| !r.removing && !r.effects_due && differences(r, &settings).is_empty());
    let status = mailbox.status.as_ref();
    let recreates = seen.row.is_none()
        && status.is_some_and(|s| matches!(s.ownership, Some(Ownership::Created | Ownership::Adopted)));
    // Of the same address only: the domain's object may be another one by now, with another name.
    let former = status.filter(|s| recreates && s.address.as_ref() == Some(&seen.address));
    let former = former.and_then(|s| s.backend_id.clone());
    let not_ready = not_ready.or(refused);
    Ok(Plan {
        secret,
        source,
        password,
        force,
        settled,
        recreates,
        former,
        settings,
        not_ready,
        short,
        there,
        ..Plan::nothing()
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
            not_ready: None,
            short: None,
            there: false,
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
