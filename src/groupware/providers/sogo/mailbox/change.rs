//! What has to change about a mailbox. Pure.

use super::super::columns::{goto_list, stored};
use super::super::params::Param;
use super::super::schema::Features;
use super::password::{NewPassword, forced};
use super::rows::{OwnAlias, State};
use crate::ownership::{claim, exists};
use crate::{Access, Address, BackendError, DomainName, Made, MailboxWant, Origin, Result, Uid};
use std::collections::BTreeSet;

/// What must follow a change, each with all before it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effects {
    #[default]
    None,
    /// SOGo's cache is cleared.
    Forget,
    /// And Dovecot's auth cache.
    Flush,
    /// And open sessions end.
    Kick,
}

/// Columns of `mailbox` and their values.
pub(crate) type Columns = Vec<(&'static str, Box<dyn Param + Send>)>;

/// What to write, and what must follow.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) columns: Columns,
    /// `goto` of the alias row under the mailbox' own address; none: the row is as it should be.
    pub(crate) own_goto: Option<String>,
    pub(crate) effects: Effects,
}

impl Change {
    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.own_goto.is_none()
    }

    /// Where the owner stands is noted, and nothing else.
    pub(crate) fn only_notes(&self) -> bool {
        self.own_goto.is_none() && self.columns.iter().all(|(name, _)| ["origin", "cluster"].contains(name))
    }

    pub(crate) fn set(&mut self, column: &'static str, value: impl Param + Send + 'static, follows: Effects) {
        self.columns.push((column, Box::new(value)));
        self.effects = self.effects.max(follows);
    }

    /// What is taken away must also end; what is given must only not be hidden by a cache.
    fn switch(&mut self, column: &'static str, was: Option<bool>, to: bool) {
        if was != Some(to) {
            self.set(column, to, if was == Some(true) { Effects::Kick } else { Effects::Flush });
        }
    }

    fn ownership(&mut self, want: &MailboxWant, state: &State, made: Made) {
        if made != Made::Unchanged {
            // Also at creation: somebody may have tried to sign in before, and "unknown user" is cached too.
            self.set("owner", want.owner.uid.clone(), Effects::Flush);
        }
        if made == Made::Adopted {
            self.set("adopted", true, Effects::Flush);
        }
        let origin = &want.owner.origin;
        if state.row.as_ref().is_none_or(|r| r.origin.as_ref() != Some(origin)) {
            self.set("origin", origin.to_string(), Effects::None);
            self.set("cluster", origin.cluster.clone(), Effects::None);
        }
    }

    fn settings(&mut self, want: &MailboxWant, state: &State, f: Features) -> Result<()> {
        let s = &want.settings;
        let was = state.row.as_ref().map(|r| &r.settings);
        if was.is_none_or(|w| w.display_name != s.display_name) {
            self.set("name", s.display_name.clone(), Effects::Forget);
        }
        if was.is_none_or(|w| w.quota != s.quota) {
            self.set("quota", stored(s.quota)?, Effects::None);
        }
        self.switch("active", was.map(|w| w.receive), s.receive);
        if f.login {
            self.switch("login_enabled", was.map(|_| state.login_enabled), s.login);
        }
        if f.access {
            let (w, a) = (was.map(|w| w.access), s.access);
            self.switch("access_imap", w.map(|w| w.imap), a.imap);
            self.switch("access_pop3", w.map(|w| w.pop3), a.pop3);
            self.switch("access_submission", w.map(|w| w.submission), a.submission);
            self.switch("access_sieve", w.map(|w| w.sieve), a.sieve);
            self.switch("access_groupware", w.map(|w| w.groupware), a.groupware);
        }
        Ok(())
    }

    fn password(&mut self, want: &MailboxWant, state: &State, new: &NewPassword) {
        let have = state.row.as_ref();
        if let Some(hash) = &new.hash {
            let follows = if have.is_some() { Effects::Kick } else { Effects::Flush };
            self.set("password", hash.expose().to_owned(), follows);
            let declared = new.version.is_some().then(|| hash.expose().to_owned());
            self.set("password_applied", declared, Effects::None);
        }
        if new.noted && state.applied.as_deref() != Some(state.password.as_str()) && forced(&want.password) {
            self.set("password_applied", state.password.clone(), Effects::None);
        }
        if let Some(version) = &new.version
            && have.is_none_or(|r| r.password_version.as_ref() != Some(version))
        {
            self.set("password_version", version.clone(), Effects::None);
        }
    }

    fn own_alias(&mut self, want: &MailboxWant, state: &State) {
        let goto = own_goto(want);
        let as_wanted = state.own.as_ref().is_some_and(|o| {
            goto_list(&o.goto) == goto_list(&goto)
                && o.active == want.settings.receive
                && o.owner.as_ref() == Some(&want.owner.uid)
        });
        self.own_goto = (!as_wanted).then_some(goto);
    }
}

/// From what is there to what is wanted.
pub(crate) fn difference(
    want: &MailboxWant,
    state: &State,
    made: Made,
    f: Features,
    password: &NewPassword,
) -> Result<Change> {
    let mut change = Change::default();
    change.ownership(want, state, made);
    change.settings(want, state, f)?;
    change.password(want, state, password);
    change.own_alias(want, state);
    Ok(change)
}

/// Checks what the tables could not: addresses that would read as two, or switches that cannot be set apart.
pub(crate) fn valid(want: &MailboxWant) -> Result<DomainName> {
    let refuse = |what: &str| Err(BackendError::Rejected(format!("{what} is no address in canonical form")));
    if Address::new(&want.address).as_ref() != Ok(&want.address) {
        return refuse(&want.address);
    }
    let local = want.address.local();
    // A login. `+` begins a subaddress, `?` and `*` are doveadm's wildcards, and SOGo 5.8 puts it into its SQL unquoted:
    // a quote in it could read what belongs to another tenant (I11).
    if local.starts_with('-') || !local.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err(BackendError::Rejected(format!(
            "{}: a mailbox' local part has letters, digits, '.', '_' and '-', which does not come first",
            want.address
        )));
    }
    for to in &want.settings.forward_to {
        if Address::new(to).as_ref() != Ok(to) {
            return refuse(to);
        }
    }
    if want.settings.login && !want.settings.receive {
        return Err(BackendError::Unsupported("sign-in to a mailbox that takes no mail".into()));
    }
    Ok(DomainName::from_server(want.address.domain()))
}

/// Refuses what the tables at hand cannot say.
pub(crate) fn supported(want: &MailboxWant, f: Features) -> Result<()> {
    let s = &want.settings;
    if !f.login && !s.login && s.receive {
        return Err(BackendError::Unsupported("no sign-in while mail is taken".into()));
    }
    if !f.access && s.access != Access::default() {
        return Err(BackendError::Unsupported("access by protocol".into()));
    }
    Ok(())
}

/// Whether the mailbox may be made, or changed in the name of its owner.
pub(crate) fn check(want: &MailboxWant, state: &State) -> Result<Made> {
    let what = format!("mailbox {}", want.address);
    match (&state.row, &state.own) {
        (Some(row), _) => {
            let made = claim(&what, row.owner.as_ref(), row.origin.as_ref(), &want.owner)?;
            if row.removing {
                return Err(BackendError::Conflict(format!("{what} is being removed")));
            }
            if let Some(alias) = state.own.as_ref().filter(|alias| is_anothers(alias, want)) {
                return Err(exists(alias_of(want, alias), alias.owner.as_ref(), None));
            }
            Ok(made)
        }
        (None, None) => Ok(Made::Created),
        // An alias of that address: ours only when it is the leftover of a mailbox.
        (None, Some(alias)) => {
            let what = alias_of(want, alias);
            claim(&what, alias.owner.as_ref(), None, &want.owner)?;
            match goto_list(&alias.goto).contains(&want.address) {
                true => Ok(Made::Created),
                false => Err(exists(what, alias.owner.as_ref(), None)),
            }
        }
    }
}

/// Whether the alias row under the mailbox' address is owned by neither the mailbox nor the one that it replaces: a mailbox
/// is not made or adopted in part.
fn is_anothers(alias: &OwnAlias, want: &MailboxWant) -> bool {
    let ours = |owner: &Uid| *owner == want.owner.uid || want.owner.replaces.as_ref() == Some(owner);
    alias.owner.as_ref().is_some_and(|owner| !ours(owner))
}

/// What the alias row under the mailbox' address is called in an error. Where its object stood is told to nobody of another
/// namespace (I11).
fn alias_of(want: &MailboxWant, alias: &OwnAlias) -> String {
    let own = &want.owner.origin;
    let near = |o: &&Origin| (&o.cluster, &o.namespace) == (&own.cluster, &own.namespace);
    match alias.origin.as_ref().filter(near).filter(|_| alias.owner.is_some()) {
        Some(origin) => format!("alias {} of MailAlias {}", want.address, origin.name),
        None => format!("alias {}", want.address),
    }
}

/// What the own alias row says: the mailbox itself where it keeps its mail, then where mail goes on to.
fn own_goto(want: &MailboxWant) -> String {
    let s = &want.settings;
    let own = (s.keep_copy || s.forward_to.is_empty()).then_some(&want.address);
    let to: BTreeSet<&Address> = s.forward_to.iter().collect();
    let all: Vec<&str> = own.into_iter().chain(to).map(Address::as_str).collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::super::schema::Catalog;
    use super::*;
    use crate::{Adopt, Holders, MailboxRow, MailboxSettings, Origin, Owner, PasswordWant, TenantId, Uid};
    use mailtenant_backend::SecretText;

    fn want() -> MailboxWant {
        MailboxWant {
            owner: Owner { uid: Uid::new("uid-1"), adopt: Adopt::Nothing, origin: Origin::default(), replaces: None },
            tenant: TenantId::new("acme"),
            holders: Holders::default(),
            address: Address::from_server("a@x.test"),
            former: None,
            settings: MailboxSettings {
                display_name: "A".into(),
                quota: 10,
                login: true,
                receive: true,
                access: Access::default(),
                forward_to: vec![],
                keep_copy: true,
            },
            password: PasswordWant::Keep,
        }
    }

    /// A mailbox that is as `want` says.
    fn as_wanted(want: &MailboxWant) -> State {
        State {
            domain_there: true,
            tenant: Some(want.tenant.clone()),
            row: Some(MailboxRow {
                address: want.address.clone(),
                id: "store".into(),
                owner: Some(want.owner.uid.clone()),
                origin: Some(want.owner.origin.clone()),
                adopted: false,
                settings: want.settings.clone(),
                password_version: None,
                password_drifted: false,
                effects_due: false,
                removing: false,
                used: 0,
            }),
            login_enabled: want.settings.login,
            due: false,
            password: "{SSHA512}x".into(),
            applied: None,
            home: None,
            own: Some(OwnAlias {
                owner: Some(want.owner.uid.clone()),
                origin: None,
                goto: own_goto(want),
                active: want.settings.receive,
            }),
        }
    }

    fn line(want: &MailboxWant, state: &State, made: Made, password: &NewPassword) -> String {
        let f = Features { login: true, access: true, ..Catalog::default().features() };
        let Change { columns, own_goto, effects } = difference(want, state, made, f, password).unwrap();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        format!("{} | {} | {effects:?}", names.join(" "), own_goto.unwrap_or_default())
    }

    #[test]
    fn what_a_setting_writes_and_what_follows() {
        let table: &[(fn(&mut MailboxSettings), &str)] = &[
            (|_| {}, " |  | None"),
            (|s| s.display_name = "B".into(), "name |  | Forget"),
            (|s| s.quota = 0, "quota |  | None"),
            (|s| s.login = false, "login_enabled |  | Kick"),
            (|s| s.access.pop3 = false, "access_pop3 |  | Kick"),
            (|s| (s.login, s.receive) = (false, false), "active login_enabled | a@x.test | Kick"),
            (|s| s.forward_to = vec![Address::from_server("b@y.test")], " | a@x.test,b@y.test | None"),
            (|s| (s.forward_to, s.keep_copy) = (vec![Address::from_server("b@y.test")], false), " | b@y.test | None"),
        ];
        for (change, taken) in table {
            let (before, mut after) = (want(), want());
            change(&mut after.settings);
            assert_eq!(&line(&after, &as_wanted(&before), Made::Unchanged, &NewPassword::default()), taken);
            // The other way round something is given: no session has to end.
            let given = line(&before, &as_wanted(&after), Made::Unchanged, &NewPassword::default());
            assert!(given.split(" | ").next() == taken.split(" | ").next() && !given.ends_with("Kick"), "{given}");
        }
    }

    #[test]
    fn made_adopted_and_a_new_password() {
        let (want, none) = (want(), NewPassword::default());
        let nothing = State { row: None, own: None, ..as_wanted(&want) };
        let new = NewPassword { hash: Some(SecretText::new("{SSHA512}y")), version: Some("2".into()), noted: false };
        let password = "password password_applied password_version";
        let switches = "active login_enabled access_imap access_pop3 access_submission access_sieve access_groupware";
        assert_eq!(
            line(&want, &nothing, Made::Created, &new),
            format!("owner origin cluster name quota {switches} {password} | a@x.test | Flush")
        );
        assert_eq!(line(&want, &as_wanted(&want), Made::Adopted, &none), "owner adopted |  | Flush");
        assert_eq!(line(&want, &as_wanted(&want), Made::Unchanged, &new), format!("{password} |  | Kick"));
    }

    /// Of a mailbox that is nobody's, or ours already, the alias row under its address must not be another's: it would be
    /// ours in part.
    #[test]
    fn the_own_alias_of_another_is_named() {
        let want = MailboxWant {
            owner: Owner {
                uid: Uid::new("me"),
                adopt: Adopt::All,
                origin: Origin::parse(Some("c"), "t/alice").unwrap(),
                replaces: Some(Uid::new("old")),
            },
            ..want()
        };
        let at = |cluster, place| Origin::parse(Some(cluster), place);
        let (plain, named) = ("alias a@x.test", "alias a@x.test of MailAlias info");
        for (row, alias, origin, refused) in [
            (None, None, None, None),
            (None, Some("me"), None, None),
            (Some("old"), Some("old"), None, None),
            (None, Some("other"), None, Some(plain)),
            (None, Some("other"), at("c", "t/info"), Some(named)),
            (Some("me"), Some("other"), at("c", "t/info"), Some(named)),
            // What stands in another namespace, or in another cluster, is not shown.
            (None, Some("other"), at("c", "u/info"), Some(plain)),
            (None, Some("other"), at("d", "t/info"), Some(plain)),
        ] {
            let mut state = as_wanted(&want);
            state.row = state.row.map(|r| MailboxRow { owner: row.map(Uid::new), origin: at("c", "t/alice"), ..r });
            state.own = state.own.map(|own| OwnAlias { owner: alias.map(Uid::new), origin, ..own });
            let said = match check(&want, &state) {
                Err(BackendError::Exists { what, owner, origin: None, .. }) => {
                    assert_eq!(owner.as_deref(), alias);
                    Some(what)
                }
                other => {
                    assert!(other.is_ok(), "{row:?} {alias:?}: {other:?}");
                    None
                }
            };
            assert_eq!(said.as_deref(), refused, "{row:?} {alias:?}");
        }
    }
}
