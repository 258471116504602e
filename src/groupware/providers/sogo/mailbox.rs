//! Mailboxes: what is read, what is compared, what is written. Their removal is in `removal`.
//!
//! A mailbox is a row in `mailbox` and one in `alias` under its own address: without the second a catch-all would get
//! its mail. The second also says where mail is forwarded to.

use super::db::Conn;
use super::domain::{hold, in_tenant};
use super::hashing::{NewPassword, forced};
use super::tenant::{bytes, stored};
use super::*;
use mailtenant_mail::address;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

fn columns(f: Features) -> String {
    let login = if f.login { "m.login_enabled" } else { "true" };
    let access = match f.access {
        true => "m.access_imap, m.access_pop3, m.access_submission, m.access_sieve, m.access_groupware",
        false => {
            "true AS access_imap, true AS access_pop3, true AS access_submission, true AS access_sieve, \
             true AS access_groupware"
        }
    };
    format!(
        "m.username, m.store_uid, m.owner, m.adopted, m.name, m.quota, m.active, {login} AS login_enabled, {access}, m.password_version, \
         (m.password_applied IS NOT NULL AND m.password <> m.password_applied) AS drifted, m.effects_due, \
         m.removing, COALESCE(q.bytes, 0) AS used, s.goto, \
         (m.owner IS NOT NULL AND (s.address IS NULL OR s.active <> m.active OR s.owner IS DISTINCT FROM m.owner)) \
         AS own_alias_differs"
    )
}

/// Columns and tables of [`mailbox_row`], without a WHERE.
pub(super) fn select(f: Features) -> String {
    format!(
        "SELECT {} FROM mailbox m LEFT JOIN quota2 q ON q.username = m.username \
         LEFT JOIN alias s ON s.address = m.username",
        columns(f)
    )
}

/// A row of [`select`].
pub(super) fn mailbox_row(r: &Row) -> MailboxRow {
    let username: String = r.get("username");
    let active: bool = r.get("active");
    let (forward_to, keep_copy) = forwards(&username, r.get("goto"));
    MailboxRow {
        id: r.get("store_uid"),
        owner: r.get("owner"),
        adopted: r.get("adopted"),
        settings: MailboxSettings {
            display_name: r.get("name"),
            quota: bytes(r.get("quota")),
            login: active && r.get::<_, bool>("login_enabled"),
            receive: active,
            access: Access {
                imap: r.get("access_imap"),
                pop3: r.get("access_pop3"),
                submission: r.get("access_submission"),
                sieve: r.get("access_sieve"),
                groupware: r.get("access_groupware"),
            },
            forward_to,
            keep_copy,
        },
        password_version: r.get("password_version"),
        password_drifted: r.get("drifted"),
        // A mailbox of ours whose own alias row is not there, off or another's gets no mail, whatever else is right.
        effects_due: r.get::<_, bool>("effects_due") || r.get::<_, bool>("own_alias_differs"),
        removing: r.get("removing"),
        used: bytes(r.get("used")),
        address: username,
    }
}

/// Addresses of a `goto`, sorted, each once.
pub(super) fn goto_list(goto: &str) -> Vec<String> {
    let set: BTreeSet<String> =
        goto.split(',').map(|t| t.trim().to_ascii_lowercase()).filter(|t| !t.is_empty()).collect();
    set.into_iter().collect()
}

/// What a mailbox' own alias row says: where mail goes on to, and whether the mailbox keeps it. One that goes nowhere
/// else keeps its mail.
fn forwards(username: &str, goto: Option<&str>) -> (Vec<String>, bool) {
    let mut to = goto_list(goto.unwrap_or_default());
    let before = to.len();
    to.retain(|t| t != username);
    let keep = to.len() < before || to.is_empty();
    (to, keep)
}

/// What must follow a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effects {
    /// Nothing.
    None,
    /// SOGo's cache.
    Forget,
    /// And Dovecot's auth cache.
    Flush,
    /// And open sessions.
    Kick,
}

/// All that is known before a decision.
pub(super) struct State {
    domain_there: bool,
    tenant: Option<String>,
    pub(super) row: Option<MailboxRow>,
    /// `login_enabled` by itself.
    login_enabled: bool,
    /// `effects_due` by itself.
    due: bool,
    pub(super) password: String,
    pub(super) applied: Option<String>,
    home: Option<String>,
    own: Option<OwnAlias>,
}

/// The alias row under the mailbox' address.
struct OwnAlias {
    owner: Option<String>,
    goto: String,
    active: bool,
}

async fn read(conn: &mut Conn, f: Features, address: &str, domain: &str) -> Result<State> {
    let sql = format!(
        "SELECT {}, d.domain, d.tenant, m.password, m.password_applied, m.home_path, \
         s.owner AS own_owner, s.active AS own_active \
         FROM (SELECT $1::text AS address, $2::text AS domain) w LEFT JOIN domain d ON d.domain = w.domain \
         LEFT JOIN mailbox m ON m.username = w.address LEFT JOIN quota2 q ON q.username = m.username \
         LEFT JOIN alias s ON s.address = w.address",
        columns(f)
    );
    let r = conn.row(&sql, &[&address, &domain]).await?;
    let r = r.ok_or_else(|| BackendError::unavailable("the database gave no row"))?;
    let there = r.get::<_, Option<&str>>("username").is_some();
    Ok(State {
        domain_there: r.get::<_, Option<&str>>("domain").is_some(),
        tenant: r.get("tenant"),
        row: there.then(|| mailbox_row(&r)),
        login_enabled: there && r.get::<_, bool>("login_enabled"),
        due: there && r.get::<_, bool>("effects_due"),
        password: r.get::<_, Option<String>>("password").unwrap_or_default(),
        applied: r.get("password_applied"),
        home: r.get("home_path"),
        own: r.get::<_, Option<String>>("goto").map(|goto| OwnAlias {
            owner: r.get("own_owner"),
            goto,
            active: r.get("own_active"),
        }),
    })
}

type Sets = Vec<(&'static str, Box<dyn ToSql + Sync + Send>)>;

impl Sogo {
    pub(super) async fn mailbox_ensure(&self, want: &MailboxWant) -> Result<(MailboxRow, Made)> {
        let domain = valid(want)?;
        let mut conn = self.turn().await?;
        let f = self.features(&mut conn).await?;
        let s = &want.settings;
        if !f.login && !s.login && s.receive {
            return Err(BackendError::Unsupported("no sign-in while mail is taken".into()));
        }
        if !f.access && s.access != Access::default() {
            return Err(BackendError::Unsupported("access by protocol".into()));
        }
        let state = read(&mut conn, f, &want.address, domain).await?;
        in_tenant(domain, state.domain_there, state.tenant.as_deref(), &want.tenant)?;
        let made = check(want, &state)?;
        let password = self.password(&want.password, &state).await?;
        let (mut sets, mut effects) = difference(want, &state, made, f, &password)?;
        let own = own_goto(want);
        let own_differs = state.own.as_ref().is_none_or(|o| {
            goto_list(&o.goto) != goto_list(&own)
                || o.active != s.receive
                || o.owner.as_deref() != Some(&want.owner.uid)
        });
        let due = state.due;
        if let (Made::Unchanged, Some(row)) = (made, &state.row)
            && sets.is_empty()
            && !own_differs
        {
            if !due {
                return Ok((row.clone(), Made::Unchanged));
            }
            effects = Effects::Kick;
        } else {
            // Once the row is inactive Dovecot does not know the home any more, and removal could not find the mail.
            let closing = state.row.as_ref().is_some_and(|r| r.settings.receive) && !s.receive;
            if closing && state.home.is_none() {
                let home = self.doveadm.home(&want.address).await?;
                sets.push(("home_path", Box::new(home)));
            }
            conn.begin().await?;
            let done = write(&mut conn, want, f, &state, domain, sets, effects, own_differs.then_some(own)).await;
            conn.end(done).await?;
            if due {
                effects = Effects::Kick;
            }
        }
        if effects > Effects::None {
            // Nothing is held at the database while other servers are spoken to.
            drop(conn);
            self.follow(&want.address, effects).await?;
            conn = self.again().await?;
            conn.execute(
                "UPDATE mailbox SET effects_due = false WHERE username = $1 AND owner = $2",
                &[&want.address, &want.owner.uid],
            )
            .await?;
        }
        match read(&mut conn, f, &want.address, domain).await?.row {
            Some(row) => Ok((row, if made == Made::Unchanged { Made::Changed } else { made })),
            None => Err(BackendError::Conflict(format!("mailbox {} went away while it was made", want.address))),
        }
    }

    async fn follow(&self, address: &str, effects: Effects) -> Result<()> {
        let user = [address.to_owned()];
        self.forget(&user).await?;
        match effects {
            Effects::None | Effects::Forget => Ok(()),
            Effects::Flush => self.doveadm.flush(&user).await,
            Effects::Kick => self.end_sessions(address).await,
        }
    }
}

/// Checks what the tables could not: addresses that would read as two, or switches that cannot be set apart.
fn valid(want: &MailboxWant) -> Result<&str> {
    let refuse = |what: &str| Err(BackendError::Rejected(format!("{what} is no address in canonical form")));
    if address::canonical(&want.address).as_ref() != Ok(&want.address) {
        return refuse(&want.address);
    }
    let (local, domain) = address::split(&want.address).unwrap_or_default();
    // A login. `+` begins a subaddress, `?` and `*` are doveadm's wildcards, and SOGo 5.8 puts it into its SQL unquoted:
    // a quote in it could read what belongs to another tenant (I11).
    if local.starts_with('-') || !local.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err(BackendError::Rejected(format!(
            "{}: a mailbox' local part has letters, digits, '.', '_' and '-', which does not come first",
            want.address
        )));
    }
    for to in &want.settings.forward_to {
        if address::canonical(to).as_ref() != Ok(to) {
            return refuse(to);
        }
    }
    if want.settings.login && !want.settings.receive {
        return Err(BackendError::Unsupported("sign-in to a mailbox that takes no mail".into()));
    }
    Ok(domain)
}

fn check(want: &MailboxWant, state: &State) -> Result<Made> {
    let what = format!("mailbox {}", want.address);
    match (&state.row, &state.own) {
        (Some(row), _) => {
            let made = claim(&what, row.owner.as_deref(), &want.owner)?;
            if row.removing {
                return Err(BackendError::Conflict(format!("{what} is being removed")));
            }
            Ok(made)
        }
        (None, None) => Ok(Made::Created),
        // An alias of that address: ours only when it is the leftover of a mailbox.
        (None, Some(alias)) => {
            let what = format!("alias {}", want.address);
            claim(&what, alias.owner.as_deref(), &want.owner)?;
            match goto_list(&alias.goto).contains(&want.address) {
                true => Ok(Made::Created),
                false => Err(BackendError::Exists { what, owner: alias.owner.clone() }),
            }
        }
    }
}

fn own_goto(want: &MailboxWant) -> String {
    let s = &want.settings;
    let own = (s.keep_copy || s.forward_to.is_empty()).then_some(&want.address);
    let to: BTreeSet<&String> = s.forward_to.iter().collect();
    let all: Vec<&str> = own.into_iter().chain(to).map(String::as_str).collect();
    all.join(",")
}

/// Columns to write, and what must follow.
fn difference(
    want: &MailboxWant,
    state: &State,
    made: Made,
    f: Features,
    password: &NewPassword,
) -> Result<(Sets, Effects)> {
    let s = &want.settings;
    let have = state.row.as_ref();
    let mut sets: Sets = Vec::new();
    let mut effects = Effects::None;
    let mut set = |column: &'static str, value: Box<dyn ToSql + Sync + Send>, follows: Effects| {
        sets.push((column, value));
        effects = effects.max(follows);
    };
    if made != Made::Unchanged {
        // Also at creation: somebody may have tried to sign in before, and "unknown user" is cached too.
        set("owner", Box::new(want.owner.uid.clone()), Effects::Flush);
    }
    if made == Made::Adopted {
        set("adopted", Box::new(true), Effects::Flush);
    }
    let was = have.map(|r| &r.settings);
    if was.is_none_or(|w| w.display_name != s.display_name) {
        set("name", Box::new(s.display_name.clone()), Effects::Forget);
    }
    if was.is_none_or(|w| w.quota != s.quota) {
        set("quota", Box::new(stored(s.quota)?), Effects::None);
    }
    let mut switch = |column: &'static str, was: Option<bool>, to: bool| {
        if was != Some(to) {
            // What is taken away must also end; what is given must only not be hidden by a cache.
            set(column, Box::new(to), if was == Some(true) { Effects::Kick } else { Effects::Flush });
        }
    };
    switch("active", was.map(|w| w.receive), s.receive);
    if f.login {
        switch("login_enabled", have.map(|_| state.login_enabled), s.login);
    }
    if f.access {
        let (w, a) = (was.map(|w| w.access), s.access);
        switch("access_imap", w.map(|w| w.imap), a.imap);
        switch("access_pop3", w.map(|w| w.pop3), a.pop3);
        switch("access_submission", w.map(|w| w.submission), a.submission);
        switch("access_sieve", w.map(|w| w.sieve), a.sieve);
        switch("access_groupware", w.map(|w| w.groupware), a.groupware);
    }
    if let Some(hash) = &password.hash {
        let follows = if have.is_some() { Effects::Kick } else { Effects::Flush };
        set("password", Box::new(hash.expose().to_owned()), follows);
        let declared = password.version.is_some().then(|| hash.expose().to_owned());
        set("password_applied", Box::new(declared), Effects::None);
    }
    if password.noted && state.applied.as_deref() != Some(state.password.as_str()) && forced(&want.password) {
        set("password_applied", Box::new(state.password.clone()), Effects::None);
    }
    if let Some(version) = &password.version
        && have.is_none_or(|r| r.password_version.as_ref() != Some(version))
    {
        set("password_version", Box::new(version.clone()), Effects::None);
    }
    Ok((sets, effects))
}

/// A store id as the database makes them. What else a status may hold (it can be copied or written by hand) must not
/// become a path.
fn made_by_us(id: &str) -> bool {
    let groups = [8, 4, 4, 4, 12];
    id.split('-').map(str::len).eq(groups) && id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// Whether no mailbox lives in the home of this id. Holds the id until the end of the transaction: nothing but this lock
/// keeps two mailboxes from getting it at the same moment.
async fn free(conn: &mut Conn, id: &str) -> Result<bool> {
    conn.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 7236271))", &[&id]).await?;
    let sql = "SELECT 1 FROM mailbox WHERE store_uid = $1 OR trim(trailing '/' from maildir) = $1 \
               OR starts_with(maildir, $1 || '/') LIMIT 1";
    Ok(conn.row(sql, &[&id]).await?.is_none())
}

#[allow(clippy::too_many_arguments, reason = "one transaction, read from top to bottom")]
async fn write(
    conn: &mut Conn,
    want: &MailboxWant,
    f: Features,
    state: &State,
    domain: &str,
    mut sets: Sets,
    effects: Effects,
    own: Option<String>,
) -> Result<()> {
    let (address, uid) = (&want.address, &want.owner.uid);
    let conflict = || BackendError::Conflict(format!("mailbox {address} changed meanwhile"));
    if effects > Effects::None {
        sets.push(("effects_due", Box::new(true)));
    }
    match &state.row {
        None => {
            hold(conn, domain, &want.tenant).await?;
            let local = address::split(address).map_or("", |(l, _)| l).to_owned();
            sets.push(("username", Box::new(address.clone())));
            sets.push(("local_part", Box::new(local)));
            sets.push(("domain", Box::new(domain.to_owned())));
            if let Some(id) = want.former.as_deref().filter(|id| made_by_us(id))
                && free(conn, id).await?
            {
                sets.push(("store_uid", Box::new(id.to_owned())));
            }
            let names: Vec<&str> = sets.iter().map(|(n, _)| *n).collect();
            let marks: Vec<String> = (1..=sets.len()).map(|i| format!("${i}")).collect();
            let params: Vec<&(dyn ToSql + Sync)> = sets.iter().map(|(_, v)| &**v as &(dyn ToSql + Sync)).collect();
            let sql = format!(
                "INSERT INTO mailbox ({}) VALUES ({}) ON CONFLICT DO NOTHING",
                names.join(", "),
                marks.join(", ")
            );
            if conn.execute(&sql, &params).await? != 1 {
                return Err(conflict());
            }
        }
        Some(row) if !sets.is_empty() => {
            let list: Vec<String> = sets.iter().enumerate().map(|(i, (n, _))| format!("{n} = ${}", i + 3)).collect();
            let mut params: Vec<&(dyn ToSql + Sync)> = vec![address, &row.owner];
            params.extend(sets.iter().map(|(_, v)| &**v as &(dyn ToSql + Sync)));
            let sql = format!(
                "UPDATE mailbox SET {}, modified = now() WHERE username = $1 AND owner IS NOT DISTINCT FROM $2",
                list.join(", ")
            );
            if conn.execute(&sql, &params).await? != 1 {
                return Err(conflict());
            }
        }
        Some(_) => {}
    }
    if let Some(goto) = own {
        let send_as = if f.send_as { ", send_as" } else { "" };
        let send_as_value = if f.send_as { ", true" } else { "" };
        let sql = format!(
            "INSERT INTO alias (address, goto, domain, active, owner{send_as}) VALUES ($1, $2, $3, $4, $5{send_as_value}) \
             ON CONFLICT (address) DO UPDATE SET goto = $2, active = $4, owner = $5, modified = now() \
             WHERE alias.owner IS NULL OR alias.owner = $5"
        );
        if conn.execute(&sql, &[address, &goto, &domain, &want.settings.receive, uid]).await? != 1 {
            return Err(conflict());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_ids() {
        assert!(made_by_us("6059e5bc-368c-4d4e-82d2-4b460284c7e3"));
        for id in [
            "",
            "..",
            "6059e5bc",
            "6059e5bc-368c-4d4e-82d2-4b460284c7e",
            "old.test/a",
            "6059e5bc-368c-4d4e-82d2-4b460284c7/.",
        ] {
            assert!(!made_by_us(id), "{id}");
        }
    }

    #[test]
    fn own_alias_rows() {
        let list = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let me = "a@x.test";
        assert_eq!(forwards(me, None), (vec![], true));
        assert_eq!(forwards(me, Some("a@x.test")), (vec![], true));
        assert_eq!(forwards(me, Some("a@x.test,c@y.test,b@y.test")), (list(&["b@y.test", "c@y.test"]), true));
        assert_eq!(forwards(me, Some(" B@y.test , b@y.test,")), (list(&["b@y.test"]), false));
        assert_eq!(forwards(me, Some("")), (vec![], true));
    }
}
