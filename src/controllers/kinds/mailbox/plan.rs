//! What is to be done for a mailbox. Pure: from the object and what was gathered to settings and Secret actions.

use super::facts::{Facts, SecretSeen, Source, not_owned, not_there, of_predecessor, settings_mark};
use super::forwards::forwards;
use crate::not_ready::{MISSING, NotReady};
use crate::state::derived::{bytes, credentials_secret, is_noted, owner_uid};
use crate::state::limits::Verdict;
use mailtenant_api::mailbox::{PasswordManagement, Suspend};
use mailtenant_api::*;
use mailtenant_groupware::{Capability, MailboxRow, MailboxSettings, PasswordWant, Uid};

/// What happens to the credentials Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretAction {
    /// It is as it should be.
    Keep,
    /// Somebody else may have written it: read it, and put the access data back if they differ.
    Check,
    Create,
    /// Make it without a password: the mailbox is taken over with the one that it has, and nobody can read that.
    CreateWithoutPassword,
    /// It is of a predecessor, and becomes ours with its password.
    TakeOver,
    /// Take its password out: the mailbox is taken over with another one, that nobody can read.
    TakeOutPassword,
    /// Host names or ports changed.
    Update,
    /// A new password was asked for.
    Rotate,
}

impl SecretAction {
    /// Whether the Secret has no password afterwards, although one was to be generated.
    pub fn is_without_password(self) -> bool {
        matches!(self, SecretAction::CreateWithoutPassword | SecretAction::TakeOutPassword)
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing may be written (`managementPolicy: Observe`).
    Observe(Observation),
    /// The server is to have it.
    Ensure(Box<Ensure>),
}

/// What is reported of a mailbox that is only looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What differs, by the names of the fields.
    pub drift: Vec<String>,
    /// Why it is not ready.
    pub not_ready: Option<NotReady>,
    /// What stands against its number or quota.
    pub short: Option<NotReady>,
}

/// A mailbox as the server is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensure {
    /// All but the password.
    pub settings: MailboxSettings,
    /// What the server has now.
    pub row: RowPlan,
    pub secret: SecretAction,
    /// Where the password comes from.
    pub source: Source,
    /// Whether the password is handed over.
    pub password: PasswordPlan,
    /// All that can be is done, and still it is not as declared.
    pub not_ready: Option<NotReady>,
    /// What stands against its number or quota.
    pub short: Option<NotReady>,
}

/// What the server has of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowPlan {
    /// Ours; `settled`: as it should be, but for the password.
    Ours {
        /// Nothing but the password can differ.
        settled: bool,
    },
    /// A row that is not ours: adopted, or refused by the server.
    Other,
    /// A row of a predecessor with this uid, that is taken over with its password.
    Predecessor(Uid),
    /// None, and there never was one.
    New,
    /// None, but there was one by our own word.
    Lost {
        /// What the server called it, if it had the same address.
        former: Option<String>,
    },
}

/// Whether the password is handed over to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordPlan {
    /// No: the server has it, or it cannot be had.
    Keep,
    /// It is new, or the declared value may have changed.
    HandOver,
    /// Even if the declared value is the same: a user changed it (`management: Enforce`).
    Force,
}

impl Ensure {
    /// Whether the row is ours.
    pub fn is_there(&self) -> bool {
        matches!(self.row, RowPlan::Ours { .. })
    }

    /// Whether this password was made without anybody's wish for a new one, for a mailbox that has one already: its Secret
    /// or the password in it was lost, it is taken over, or its password came from elsewhere before.
    pub fn replaces(&self, password: &PasswordWant) -> bool {
        matches!(password, PasswordWant::Plain { generated: true, .. })
            && matches!(self.row, RowPlan::Ours { .. } | RowPlan::Other)
            && self.secret != SecretAction::Rotate
    }
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

/// Takes what the server cannot do out of the settings, and reports it. In a mailbox that is there it stays as it is: a server
/// that lost a capability (a column, a view) must not open what was closed.
fn unsupported(
    mailbox: &Mailbox,
    seen: &Facts,
    mine: Option<&MailboxRow>,
    settings: &mut MailboxSettings,
) -> Option<NotReady> {
    let spec = &mailbox.spec;
    let can = |c: Capability| seen.capabilities.contains(&c);
    let mut what = vec![];
    if spec.auto_reply.is_some() && !can(Capability::AutoReply) {
        what.push("autoReply");
    }
    if !spec.send_access_data_to.is_empty() {
        what.push("sendAccessDataTo");
    }
    let have = mine.map(|row| &row.settings);
    if spec.suspend == Suspend::Login && !can(Capability::Suspend) {
        what.push("suspend: Login");
        settings.login = have.is_none_or(|h| h.login);
    }
    if spec.forwarding.is_some() && !can(Capability::Forwarding) {
        what.push("forwarding");
        (settings.forward_to, settings.keep_copy) =
            have.map_or((vec![], true), |h| (h.forward_to.clone(), h.keep_copy));
    }
    if spec.password.hash_secret_ref.is_some() && !can(Capability::HashedPasswords) {
        what.push("password.hashSecretRef");
    }
    if spec.access != mailbox::Access::default() && !can(Capability::ProtocolAccess) {
        what.push("access");
        settings.access = have.map_or_else(mailbox::Access::default, |h| h.access);
    }
    let text = format!("not supported with {}: take it out of the spec", seen.label);
    let is = if what.len() > 1 { "are" } else { "is" };
    (!what.is_empty()).then(|| NotReady::stalled(Reason::Unsupported, format!("{} {is} {text}", what.join(", "))))
}

/// The words for what stands against a mailbox.
fn short(verdict: &Verdict, instance: &str) -> Option<NotReady> {
    match verdict {
        Verdict::Fits => None,
        Verdict::Number { what, limit } => Some(NotReady::stalled(
            Reason::LimitExceeded,
            format!("MailInstance {instance} allows {limit} {what}: raise spec.limits.{what}, or delete one"),
        )),
        Verdict::Unbounded => Some(NotReady::stalled(
            Reason::QuotaExceeded,
            format!(
                "MailInstance {instance} gives each mailbox a part of its storage, and this one asks for no bound: set spec.quota, \
                 or spec.defaultMailboxQuota of the instance, or its storagePolicy: Share"
            ),
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
    seen.address.fits().map_err(|e| NotReady::stalled(Reason::InvalidSpec, format!("{}: {e}", seen.address)))?;
    let mine = seen.row.as_ref().filter(|r| r.owner.as_ref() == Some(&owner_uid(mailbox)));
    let verdict = verdict(mailbox, seen, mine);
    let short = short(&verdict, &seen.domain.instance.key.name);
    let (settings, not_ready) = settings(mailbox, seen, mine, short.as_ref());
    if let (Some(not_ready), None) = (&not_ready, mine) {
        return Err(not_ready.clone());
    }
    if [mailbox.spec.management_policy, seen.domain.instance.object.spec.management_policy]
        .contains(&ManagementPolicy::Observe)
    {
        let drift = seen.row.as_ref().map_or_else(|| vec![MISSING.into()], |row| differences(row, &settings));
        let not_ready = NotReady::drifted(&drift).or(not_ready);
        return Ok(Plan::Observe(Observation { drift, not_ready, short }));
    }
    let source = source(mailbox);
    let (secret, version, refused) = secret(mailbox, seen, mine, &source);
    if let (Some(not_ready), None) = (&refused, mine) {
        return Err(not_ready.clone());
    }
    // Before any Secret is made: nothing is begun that cannot be finished.
    let predecessor = seen.recovery.whose.clone()?;
    let secret = match &predecessor {
        Some(uid) if source == Source::Generated => with_its_password(mailbox, secret, &seen.credentials, uid),
        _ => secret,
    };
    let password = match refused {
        // A password that cannot be had, or not be written, is no reason to take away the one that is there.
        Some(_) => PasswordPlan::Keep,
        None => password(mailbox, seen, mine, &source, secret, version.as_deref()),
    };
    Ok(Plan::Ensure(Box::new(Ensure {
        row: match predecessor {
            Some(uid) => RowPlan::Predecessor(uid),
            None => row(mailbox, seen, mine, &settings),
        },
        secret,
        source,
        password,
        settings,
        not_ready: not_ready.or(refused),
        short,
    })))
}

/// The mailbox as it should be, without what it cannot have; why not all of it.
fn settings(
    mailbox: &Mailbox,
    seen: &Facts,
    mine: Option<&MailboxRow>,
    short: Option<&NotReady>,
) -> (MailboxSettings, Option<NotReady>) {
    let (forward_to, keep_copy, forbidden) = forwards(mailbox, seen);
    let mut settings = MailboxSettings {
        display_name: mailbox.spec.display_name.clone().unwrap_or_default(),
        quota: quota(mailbox, seen, mine),
        login: mailbox.spec.suspend == Suspend::None,
        receive: mailbox.spec.suspend != Suspend::All,
        access: mailbox.spec.access,
        forward_to,
        keep_copy,
    };
    let unsupported = unsupported(mailbox, seen, mine, &mut settings);
    (settings, unsupported.or(forbidden).or(short.cloned()))
}

/// Whether a quota is more than a mailbox has; 0 = no bound.
fn is_more(quota: u64, mine: Option<&MailboxRow>) -> bool {
    let size = |quota: u64| if quota == 0 { u64::MAX } else { quota };
    mine.is_none_or(|row| size(quota) > size(row.settings.quota))
}

/// What stands against the number or the quota of a mailbox. That it was granted its quota is said by its status alone, which
/// others may have written (I13): where statuses sum up to more than was booked, nobody gets more than the server has.
fn verdict(mailbox: &Mailbox, seen: &Facts, mine: Option<&MailboxRow>) -> Verdict {
    if seen.verdict != Verdict::Fits || seen.within_storage || !is_more(seen.quota, mine) {
        return seen.verdict.clone();
    }
    let booked = bytes(&seen.domain.instance.object.spec.storage);
    // One that is lost gets back what it had: nobody's mail is refused because the storage was lowered before.
    let lost = seen.row.is_none() && !never_made(mailbox.status.as_ref().and_then(|s| s.ownership));
    if lost && (1..=booked).contains(&seen.quota) {
        return Verdict::Fits;
    }
    let free = mine.map_or(0, |row| u128::from(row.settings.quota));
    Verdict::Storage { wanted: seen.quota, free, booked }
}

/// Whatever stands against a mailbox, its number too: it gets no more than it has.
fn quota(mailbox: &Mailbox, seen: &Facts, mine: Option<&MailboxRow>) -> u64 {
    match mine.map(|row| row.settings.quota) {
        Some(have) if verdict(mailbox, seen, mine) != Verdict::Fits && is_more(seen.quota, mine) => have,
        _ => seen.quota,
    }
}

/// What happens to the credentials Secret, the version of the declared password if it can be had, and why it cannot.
fn secret(
    mailbox: &Mailbox,
    seen: &Facts,
    mine: Option<&MailboxRow>,
    source: &Source,
) -> (SecretAction, Option<String>, Option<NotReady>) {
    let rotate = annotation(mailbox, annotations::ROTATE_PASSWORD);
    let mark = settings_mark(&seen.settings, source);
    let action = match &seen.credentials {
        SecretSeen::Missing => SecretAction::Create,
        SecretSeen::Foreign => SecretAction::Keep,
        SecretSeen::Predecessor if seen.recovery.consents => SecretAction::TakeOver,
        SecretSeen::Predecessor => SecretAction::Keep,
        SecretSeen::Own { rotated_for, .. }
            if *source == Source::Generated && rotate.is_some() && *rotated_for != rotate =>
        {
            SecretAction::Rotate
        }
        // The mailbox whose password nobody could tell was lost: there is none to keep.
        SecretSeen::Own { without_password: true, .. } if *source == Source::Generated && seen.row.is_none() => {
            SecretAction::Rotate
        }
        SecretSeen::Own { mark: have, .. } if have.as_deref() != Some(mark.as_str()) => SecretAction::Update,
        SecretSeen::Own { checked: true, .. } => SecretAction::Keep,
        // The version that the server has the password of: it was read or written for that.
        SecretSeen::Own { version, .. }
            if *source == Source::Generated && mine.is_some_and(|r| r.password_version.as_ref() == Some(version)) =>
        {
            SecretAction::Keep
        }
        SecretSeen::Own { .. } => SecretAction::Check,
    };
    let name = credentials_secret(mailbox);
    let foreign = match seen.credentials {
        SecretSeen::Foreign => Some(not_owned(&name)),
        SecretSeen::Predecessor if !seen.recovery.consents => Some(of_predecessor(&name, &seen.label)),
        _ => None,
    };
    let (version, missing) = match (source, &seen.credentials) {
        // It has no password to compare with.
        (Source::Generated, SecretSeen::Own { without_password: true, .. }) => {
            (mine.and_then(|r| r.password_version.clone()), None)
        }
        (Source::Generated, SecretSeen::Own { version, .. }) => (Some(version.clone()), None),
        (Source::Generated, _) => (None, None),
        (Source::Plain(r) | Source::Hash(r), _) => (seen.source.clone(), seen.source.is_none().then(|| not_there(r))),
    };
    (action, version, foreign.or(missing))
}

/// What happens to the credentials Secret of a mailbox that is taken over from `uid` with the password that it has. Only a
/// Secret that came from there too has that password. One of our own has another: an etcd restored to the time before the
/// one of `uid` was made gives it back.
fn with_its_password(mailbox: &Mailbox, secret: SecretAction, credentials: &SecretSeen, uid: &Uid) -> SecretAction {
    // The wish that is not handled yet: the Secret has the new password, if a pass ended before the server had it.
    let handled = mailbox.status.as_ref().and_then(|s| s.last_handled_rotate_password.clone());
    let wish = annotation(mailbox, annotations::ROTATE_PASSWORD).filter(|wish| handled.as_ref() != Some(wish));
    match (secret, credentials) {
        (SecretAction::Create, _) => SecretAction::CreateWithoutPassword,
        // Somebody wants a new one.
        (SecretAction::Rotate, _) => secret,
        (_, SecretSeen::Own { rotated_for, .. }) if wish.is_some() && *rotated_for == wish => SecretAction::Rotate,
        (_, SecretSeen::Own { password_of, without_password: false, .. }) if password_of.as_deref() != Some(uid) => {
            SecretAction::TakeOutPassword
        }
        _ => secret,
    }
}

fn password(
    mailbox: &Mailbox,
    seen: &Facts,
    mine: Option<&MailboxRow>,
    source: &Source,
    secret: SecretAction,
    version: Option<&str>,
) -> PasswordPlan {
    if matches!(source, Source::Hash(_)) && !seen.capabilities.contains(&Capability::HashedPasswords) {
        return PasswordPlan::Keep;
    }
    let enforce = mailbox.spec.password.management == PasswordManagement::Enforce;
    if enforce && mine.is_some_and(|r| r.password_drifted) {
        return PasswordPlan::Force;
    }
    let known = mine.and_then(|r| r.password_version.as_deref());
    if secret.is_without_password() {
        return PasswordPlan::Keep;
    }
    let renewed = matches!(secret, SecretAction::Create | SecretAction::Rotate | SecretAction::TakeOver);
    if renewed || version != known { PasswordPlan::HandOver } else { PasswordPlan::Keep }
}

fn row(mailbox: &Mailbox, seen: &Facts, mine: Option<&MailboxRow>, settings: &MailboxSettings) -> RowPlan {
    if let Some(row) = mine {
        return RowPlan::Ours {
            settled: !row.removing
                && !row.effects_due
                && is_noted(row.origin.as_ref(), mailbox)
                && differences(row, settings).is_empty(),
        };
    }
    if seen.row.is_some() {
        return RowPlan::Other;
    }
    match mailbox.status.as_ref().filter(|s| !never_made(s.ownership)) {
        None => RowPlan::New,
        Some(status) => {
            // Of the same address only: the domain's object may be another one by now, with another name.
            let same = status.address.as_deref() == Some(&*seen.address);
            RowPlan::Lost { former: same.then(|| status.backend_id.clone()).flatten() }
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
