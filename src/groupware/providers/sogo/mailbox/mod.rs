//! Mailboxes: what is read, what is compared, what is written. Their removal is in `removal`.
//!
//! A mailbox is a row in `mailbox` and one in `alias` under its own address: without the second a catch-all would get
//! its mail. The second also says where mail is forwarded to.

mod change;
mod password;
pub(super) mod rows;
mod write;

use super::Sogo;
use super::ownership::check_tenant;
use crate::{Address, BackendError, Made, MailboxRow, MailboxWant, Result};
use change::{Change, Effects, check, difference, supported, valid};
use rows::{State, read};

impl Sogo {
    pub(super) async fn mailbox_ensure(&self, want: &MailboxWant) -> Result<(MailboxRow, Made)> {
        let domain = valid(want)?;
        let mut conn = self.connection_within_limit().await?;
        let f = self.features(&mut conn).await?;
        supported(want, f)?;
        let state = read(&mut conn, f, &want.address, &domain).await?;
        check_tenant(&domain, state.domain_there, state.tenant.as_ref(), &want.tenant)?;
        let made = check(want, &state)?;
        let password = match made {
            // Nobody's password changes by a take-over: what was declared is noted as what stands there.
            Made::TakenOver => password::kept(&want.password),
            _ => password::decide(&self.hasher, &want.password, &state).await?,
        };
        let mut change = difference(want, &state, made, f, &password)?;
        let only_notes = change.only_notes() && !state.due;
        let effects = if state.due { Effects::Kick } else { change.effects };
        if let (Made::Unchanged, Some(row), true) = (made, &state.row, change.is_empty()) {
            if !state.due {
                return Ok((row.clone(), Made::Unchanged));
            }
        } else {
            self.note_home(want, &state, &mut change).await?;
            conn.begin().await?;
            let done = write::write(&mut conn, want, f, &state, &domain, change).await;
            conn.end(done).await?;
        }
        if effects > Effects::None {
            // Nothing is held at the database while other servers are spoken to.
            drop(conn);
            self.carry_out(&want.address, effects).await?;
            conn = self.connection().await?;
            conn.execute(
                "UPDATE mailbox SET effects_due = false WHERE username = $1 AND owner = $2",
                &[&want.address, &want.owner.uid],
            )
            .await?;
        }
        match read(&mut conn, f, &want.address, &domain).await?.row {
            Some(row) if made == Made::Unchanged && only_notes => Ok((row, made)),
            Some(row) => Ok((row, if made == Made::Unchanged { Made::Changed } else { made })),
            None => Err(BackendError::Conflict(format!("mailbox {} went away while it was made", want.address))),
        }
    }

    /// Once the row is inactive Dovecot does not know the home any more, and removal could not find the mail.
    async fn note_home(&self, want: &MailboxWant, state: &State, change: &mut Change) -> Result<()> {
        let closing = state.row.as_ref().is_some_and(|r| r.settings.receive) && !want.settings.receive;
        if closing && state.home.is_none() {
            change.set("home_path", self.doveadm.home(&want.address).await?, Effects::None);
        }
        Ok(())
    }

    async fn carry_out(&self, address: &Address, effects: Effects) -> Result<()> {
        self.clear_sogo_cache(std::slice::from_ref(address)).await?;
        match effects {
            Effects::None | Effects::Forget => Ok(()),
            Effects::Flush => self.doveadm.flush(address).await,
            Effects::Kick => self.end_sessions(address).await,
        }
    }
}
