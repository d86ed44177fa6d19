//! Erasing a person: sessions end, rows go or are blanked as their tables declare, and the key of
//! everything sealed about them is destroyed. The log keeps its hashes and still verifies.

use kernel::{AccountId, Ctx, Secret, SessionId};
use spine::{About, Subject, Tx, args, transact};

use super::{AccountState, store};
use crate::ending::Which;
use crate::error::Error;
use crate::mail::{self, Letter};
use crate::password::store as password;
use crate::refresh::store as refresh;
use crate::room::Identity;
use crate::session::{EndReason, store as session};
use crate::{application, backup_code, events, factor, gate, ticket, trust};

/// The owner asks to be erased, and proves the password once more.
#[derive(Debug)]
pub struct EraseAccount {
    /// The account.
    pub account: AccountId,
    /// The session in which the person sits.
    pub session: SessionId,
    /// The present password.
    pub password: Secret<String>,
}

impl Identity {
    /// Erases the account of the person who asks.
    ///
    /// # Errors
    /// [`Error::PasswordWrong`], [`Error::Limited`]; as [`Identity::erase`].
    pub async fn erase_own(&self, ctx: &Ctx, command: EraseAccount) -> Result<(), Error> {
        let EraseAccount { account, session, password } = command;
        self.prove_for(ctx, (account, session), &password).await?;
        self.erase(ctx, account).await
    }

    /// Erases an account. Asking again finishes what a crash left half-done, and is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] for the last administrator; as the database or the
    /// vault says.
    pub async fn erase(&self, ctx: &Ctx, id: AccountId) -> Result<(), Error> {
        let mut read = self.spine().read().await?;
        let row: Option<store::Account> = read.maybe(&store::FIND, args![id.as_bytes()]).await?;
        drop(read);
        let row = row.ok_or(Error::NotFound)?;
        if row.state != AccountState::Erased {
            self.erase_rows(ctx, &row).await?;
        }
        // After the commit: until then the key is needed to tell of it, and a crash between the two
        // leaves a person who is gone but for a key, which the sweep destroys.
        self.vault().shred(Subject::Account(id)).await?;
        // What is still on its way into the log is cut loose by the sweep.
        self.spine().cut_subject(id).await?;
        self.mail_waits().notify_one();
        Ok(())
    }

    async fn erase_rows(&self, ctx: &Ctx, row: &store::Account) -> Result<(), Error> {
        let id = row.id;
        self.vault().resolve(&[Subject::Account(id), Subject::Day(ctx.now.day())]).await?;
        let email = self.open_email(row)?;
        transact!(self.spine(), ctx, tx => {
            let before = self.administrators(&mut tx, row.kind).await?;
            let all = (id, Which::All);
            let ended = self.end_all(&mut tx, ctx, all, EndReason::Erased).await?;
            let blanked = tx.change_one(&store::BLANK, args![id.as_bytes(), ctx.now]).await?;
            if blanked.is_none() {
                // Another call was faster; its commit tells of it.
                return Ok(());
            }
            self.keep_an_administrator(&mut tx, before).await?;
            delete_rows(&mut tx, id).await?;
            // Nobody is written to whose address was never verified: it may be a stranger's.
            let verified = row.state != AccountState::Unverified;
            if let Some(email) = email.as_ref().filter(|_| verified) {
                self.write_last(&mut tx, ctx, email, Letter::Erased).await?;
            }
            let about = About::account(id, 0);
            tx.emit(about, events::AccountErased { kind: row.kind, ended })?;
            Ok::<_, Error>(())
        })
    }
}

/// The rows of tables that declare `erase = delete`.
pub(crate) async fn delete_rows(tx: &mut Tx, id: AccountId) -> Result<(), Error> {
    for fact in [
        &password::ERASE,
        &factor::store::ERASE,
        &backup_code::store::ERASE,
        &gate::store::ERASE,
        &trust::store::ERASE,
        &ticket::ERASE,
        &refresh::ERASE,
        &session::ERASE,
        &application::ERASE,
    ] {
        tx.change(fact, args![id.as_bytes()]).await?;
    }
    for upkeep in [&session::ERASE_USE, &mail::ERASE] {
        tx.upkeep(upkeep, args![id.as_bytes()]).await?;
    }
    Ok(())
}
