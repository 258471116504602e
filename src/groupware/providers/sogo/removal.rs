//! The end of a mailbox: switched off, destroyed, forgotten, each step repeatable; or let go with its data.
//!
//! The order matters: a user who signs in after SOGo's rows went gets fresh ones, and Dovecot does not know the home of
//! a mailbox that is inactive, so the home is noted before. An address that is made anew must find nothing.

use super::sogo_data::SogoData;
use super::*;
use tokio_postgres::Row;

/// What removal has to know of a mailbox.
struct RemovalState {
    active: bool,
    removing: bool,
    effects_due: bool,
    home: Option<String>,
    /// Home below the mail folder.
    place: String,
}

fn removal_state(r: &Row) -> RemovalState {
    RemovalState {
        active: r.get("active"),
        removing: r.get("removing"),
        effects_due: r.get("effects_due"),
        home: r.get("home_path"),
        place: r.get("place"),
    }
}

const SELECT: &str = "SELECT active, removing, effects_due, home_path, \
    COALESCE(NULLIF(trim(trailing '/' from maildir), ''), store_uid) AS place FROM mailbox WHERE username = $1 AND owner = $2";

impl Sogo {
    async fn removal_state(&self, conn: &mut Conn, owner: &Uid, address: &Address) -> Result<RemovalState> {
        let r = conn.row(SELECT, &[&address, &owner]).await?;
        r.as_ref().map(removal_state).ok_or_else(|| BackendError::NotFound(format!("mailbox {address}")))
    }

    /// Home of a mailbox. It is never switched on to be asked for: mail would be taken, and destroyed.
    async fn home(&self, address: &Address, state: &RemovalState) -> Result<String> {
        if let Some(home) = &state.home {
            return Ok(home.clone());
        }
        self.doveadm.home(address).await?.ok_or_else(|| {
            let text = if state.active {
                "although its row is active"
            } else {
                "because it is switched off: its user_query has to know such mailboxes where '%s' is doveadm"
            };
            BackendError::unavailable(format!("Dovecot does not tell the home of {address} {text}"))
        })
    }

    /// Off, with the home noted; then sessions and caches.
    async fn switch_off(&self, owner: &Uid, address: &Address, removing: bool) -> Result<()> {
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        let state = self.removal_state(&mut conn, owner, address).await?;
        let off = !state.active && state.removing == removing && (state.home.is_some() || !removing);
        if off && !state.effects_due {
            return Ok(());
        }
        if !off {
            // Who is to stay is switched off also while Dovecot does not answer: nothing of it will be destroyed by its home.
            let home = match self.home(address, &state).await {
                Err(_) if !removing => None,
                home => Some(home?),
            };
            let login = if f.login { ", login_enabled = false" } else { "" };
            conn.begin().await?;
            let done = async {
                let sql = format!(
                    "UPDATE mailbox SET active = false, removing = $3, home_path = COALESCE($4, home_path), effects_due = true, \
                     modified = now(){login} WHERE username = $1 AND owner = $2"
                );
                conn.execute(&sql, &[&address, &owner, &removing, &home]).await?;
                conn.execute(
                    "UPDATE alias SET active = false, modified = now() WHERE address = $1 AND owner = $2 AND active",
                    &[&address, &owner],
                )
                .await
            }
            .await;
            conn.end(done).await?;
        }
        drop(conn);
        self.clear_sogo_cache(std::slice::from_ref(address)).await?;
        self.end_sessions(address).await?;
        let mut conn = self.connection().await?;
        conn.execute("UPDATE mailbox SET effects_due = false WHERE username = $1 AND owner = $2", &[&address, &owner])
            .await
            .map(|_| ())
    }

    pub(super) async fn mailbox_disable(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.switch_off(owner, address, true).await
    }

    /// What was switched off, or an error that says to do so first.
    async fn require_disabled(
        &self,
        conn: &mut Conn,
        owner: &Uid,
        address: &Address,
    ) -> Result<(RemovalState, String)> {
        let state = self.removal_state(conn, owner, address).await?;
        let first = || BackendError::Conflict(format!("mailbox {address} must be switched off first"));
        if state.active || !state.removing || state.effects_due {
            return Err(first());
        }
        let home = state.home.clone().ok_or_else(first)?;
        if !may_be_destroyed(&home, &state.place) {
            // Neither path is shown: the home is the server's own business.
            return Err(BackendError::Rejected(format!(
                "the home of {address} does not end in its store id: not destroyed"
            )));
        }
        Ok((state, home))
    }

    pub(super) async fn mailbox_purge(&self, owner: &Uid, address: &Address) -> Result<()> {
        let mut conn = self.connection_within_limit().await?;
        let (state, home) = self.require_disabled(&mut conn, owner, address).await?;
        let shared = conn
            .row(
                "SELECT count(*) AS others FROM mailbox m, \
                 LATERAL (SELECT COALESCE(NULLIF(trim(trailing '/' from maildir), ''), store_uid) AS place) p \
                 WHERE username <> $1 AND (p.place = $2 OR starts_with(p.place, $2 || '/'))",
                &[&address, &state.place],
            )
            .await?
            .map_or(0, |r| r.get::<_, i64>("others"));
        if shared > 0 {
            return Err(BackendError::Rejected(format!("the home of {address} holds another mailbox: not destroyed")));
        }
        conn.begin().await?;
        let done = purge_sogo(&mut conn, address).await;
        conn.end(done).await?;
        drop(conn);
        self.doveadm.destroy(&home).await
    }

    pub(super) async fn mailbox_drop(&self, owner: &Uid, address: &Address) -> Result<()> {
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        let (_, home) = self.require_disabled(&mut conn, owner, address).await?;
        if self.doveadm.exists(&home).await? {
            return Err(must_be_destroyed(address));
        }
        conn.begin().await?;
        let done = drop_rows(&mut conn, f, owner, address).await;
        conn.end(done).await
    }

    pub(super) async fn mailbox_release(&self, owner: &Uid, address: &Address) -> Result<()> {
        self.switch_off(owner, address, false).await?;
        let mut conn = self.connection().await?;
        conn.begin().await?;
        let done = async {
            conn.execute("UPDATE alias SET owner = NULL WHERE address = $1 AND owner = $2", &[&address, &owner])
                .await?;
            conn.execute(
                "UPDATE mailbox SET owner = NULL, adopted = false, modified = now() WHERE username = $1 AND owner = $2",
                &[&address, &owner],
            )
            .await
        }
        .await;
        conn.end(done).await.map(|_| ())
    }
}

/// A home that may be destroyed: absolute, without dots, and ending in what is the mailbox' own.
fn may_be_destroyed(home: &str, place: &str) -> bool {
    let plain = |p: &str| !p.is_empty() && p.split('/').all(|s| !s.is_empty() && s != "." && s != "..");
    let Some(rest) = home.strip_suffix(place) else { return false };
    plain(place) && rest.len() > 1 && rest.ends_with('/') && home.strip_prefix('/').is_some_and(plain)
}

async fn purge_sogo(conn: &mut Conn, address: &str) -> Result<()> {
    let sogo = SogoData::hold(conn).await?;
    if sogo.count(conn, address).await? == 0 {
        return Ok(());
    }
    sogo.purge(conn, address).await?;
    match sogo.count(conn, address).await? {
        0 => Ok(()),
        _ => Err(BackendError::Conflict("SOGo wrote while the mailbox was destroyed: once more".into())),
    }
}

fn must_be_destroyed(address: &Address) -> BackendError {
    BackendError::Conflict(format!("the data of {address} must be destroyed first"))
}

/// The owner is checked by locking the row first; children go before it.
async fn drop_rows(conn: &mut Conn, f: Features, owner: &Uid, address: &Address) -> Result<()> {
    let sql = "SELECT 1 FROM mailbox WHERE username = $1 AND owner = $2 AND removing FOR UPDATE";
    if conn.row(sql, &[&address, &owner]).await?.is_none() {
        return Err(BackendError::NotFound(format!("mailbox {address}")));
    }
    if SogoData::hold(conn).await?.count(conn, address).await? > 0 {
        return Err(must_be_destroyed(address));
    }
    if let Some(alias) = alias::delivering_to(conn, address).await?.first() {
        return Err(BackendError::Conflict(format!("alias {alias} still delivers to {address}")));
    }
    conn.execute("DELETE FROM alias WHERE address = $1", &[&address]).await?;
    if f.app_password {
        conn.execute("DELETE FROM app_password WHERE username = $1", &[&address]).await?;
    }
    if f.import_job {
        conn.execute("DELETE FROM import_job WHERE username = $1", &[&address]).await?;
    }
    conn.execute("DELETE FROM quota2 WHERE username = $1", &[&address]).await?;
    conn.execute("DELETE FROM mailbox WHERE username = $1 AND owner = $2", &[&address, &owner]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::may_be_destroyed;

    #[test]
    fn homes_that_may_be_destroyed() {
        let id = "6059e5bc-368c-4d4e-82d2-4b460284c7e3";
        assert!(may_be_destroyed(&format!("/srv/vmail/{id}"), id));
        assert!(may_be_destroyed("/srv/vmail/acme.test/alice", "acme.test/alice"));
        for (home, place) in [
            ("/srv/vmail", id),
            ("/srv/vmail/", ""),
            ("/", ""),
            ("", ""),
            ("/srv/vmail/other", id),
            (&format!("/{id}"), id),
            (&format!("srv/vmail/{id}"), id),
            (&format!("/srv/vmail/x{id}"), id),
            (&format!("/srv/../{id}"), id),
            (&format!("/srv//{id}"), id),
            (&format!("/srv/vmail/{id}/"), id),
            ("/srv/vmail/..", ".."),
            ("/srv/vmail/a/../b", "a/../b"),
        ] {
            assert!(!may_be_destroyed(home, place), "{home} {place}");
        }
    }
}
