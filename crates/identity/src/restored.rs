//! What must be true of accounts after a backup was restored, before the first request: no session
//! and no link of the backup's time lives, and whoever was erased since is erased again.

use kernel::{AccountId, Ctx, SessionId};
use spine::{About, FromRow, Row, StoreError, Subject, args, transact};

use crate::account::{AccountState, erase, store as account};
use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::room::Identity;
use crate::session::EndReason;

/// Rows of one transaction: it may touch 512.
const STEP_ROWS: i64 = 200;
/// Accounts that one look returns.
const PAGE_ROWS: i64 = 500;

/// What ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Sessions.
    pub sessions: u64,
    /// Mailed links.
    pub links: u64,
}

/// An account, and whether it is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The account.
    pub id: AccountId,
    /// Whether only the bare row is left.
    pub is_erased: bool,
}

impl FromRow for Standing {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let state: AccountState = spine::word_of(row, "state")?;
        let id = AccountId::from_bytes(row.id16("id")?);
        Ok(Self { id, is_erased: state == AccountState::Erased })
    }
}

impl Identity {
    /// Ends every session and every open link of every account: of those that were ended or used
    /// after the backup nobody knows any more. Cut short, the next call goes on.
    ///
    /// # Errors
    /// As the database or the vault says.
    pub async fn end_everything(&self, ctx: &Ctx) -> Result<Ended, Error> {
        self.vault().resolve(&[Subject::House]).await?;
        let mut all = Ended::default();
        loop {
            let some = self.end_some(ctx).await?;
            if some == Ended::default() {
                return Ok(all);
            }
            all.sessions += some.sessions;
            all.links += some.links;
        }
    }

    async fn end_some(&self, ctx: &Ctx) -> Result<Ended, Error> {
        transact!(self.spine(), ctx, tx => {
            let restored = EndReason::Restored.as_str();
            let sessions = tx.change(&END_SOME, args![ctx.now, restored, STEP_ROWS]).await?;
            for row in &sessions {
                let id = |column| row.id16(column).map_err(spine::Error::from);
                let session = SessionId::from_bytes(id("id")?);
                let account = AccountId::from_bytes(id("account")?);
                self.tell_session(&mut tx, ctx, account, session).await?;
            }
            let links = tx.change(&SPEND_SOME, args![ctx.now, STEP_ROWS]).await?;
            let count = |rows: &[Row]| u64::try_from(rows.len()).unwrap_or(u64::MAX);
            let ended = Ended { sessions: count(&sessions), links: count(&links) };
            if ended != Ended::default() {
                let Ended { sessions, links } = ended;
                let told = events::EverythingEnded { sessions, links };
                tx.emit(About::house("identity", [0; 16], 0), told)?;
            }
            Ok::<_, Error>(ended)
        })
    }

    /// Erases once more a person whom the backup brought back. Needs no key of theirs, writes to
    /// nobody, and takes the last administrator away too: they were erased while there was another.
    /// False where they are erased already.
    ///
    /// # Errors
    /// [`Error::NotFound`]; as the database or the vault says.
    pub async fn erase_again(&self, ctx: &Ctx, id: AccountId) -> Result<bool, Error> {
        self.vault().resolve(&[Subject::House]).await?;
        let mut read = self.spine().read().await?;
        let row: Option<account::Account> =
            read.maybe(&account::FIND, args![id.as_bytes()]).await?;
        drop(read);
        let kind = row.ok_or(Error::NotFound)?.kind;
        let erased = transact!(self.spine(), ctx, tx => {
            let blanked = tx.change_one(&account::BLANK, args![id.as_bytes(), ctx.now]).await?;
            if blanked.is_none() {
                return Ok(false);
            }
            let ended = self.end_all(&mut tx, ctx, (id, Which::All), EndReason::Erased).await?;
            erase::delete_rows(&mut tx, id).await?;
            // The key may be gone: the house tells it, of the account by its id.
            let about = About::house("account", *id.as_bytes(), 0);
            tx.emit(about, events::AccountErased { kind, ended })?;
            Ok::<_, Error>(true)
        })?;
        self.vault().shred(Subject::Account(id)).await?;
        self.spine().cut_subject(id).await?;
        Ok(erased)
    }

    /// Some of the accounts after this one, in the order of their ids.
    ///
    /// # Errors
    /// As the database says.
    pub async fn standings(&self, after: Option<AccountId>) -> Result<Vec<Standing>, Error> {
        let after = after.map_or([0; 16], |id| *id.as_bytes());
        Ok(self.spine().read().await?.all(&PAGE, args![after, PAGE_ROWS]).await?)
    }
}

spine::sql! {
    read PAGE = "SELECT id, state FROM identity_account WHERE id > $1 ORDER BY id LIMIT $2";
    fact END_SOME in identity_session =
        "UPDATE identity_session SET ended_at = $1, end_reason = $2, version = version + 1 \
         WHERE id IN (SELECT id FROM identity_session WHERE ended_at IS NULL ORDER BY id LIMIT $3) \
         RETURNING id, account";
    fact SPEND_SOME in identity_ticket =
        "UPDATE identity_ticket SET used_at = $1, version = version + 1 \
         WHERE id IN (SELECT id FROM identity_ticket WHERE used_at IS NULL ORDER BY id LIMIT $2) \
         RETURNING id";
}
