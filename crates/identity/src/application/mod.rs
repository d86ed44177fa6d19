//! Applications: an account holder wants to be another kind of account, and an operator decides.
//!
//! A kind opens doors of the shop, so that nobody has one by saying so (I11). Until it is decided
//! the account is a customer's. With an approval the account's sessions end: the next sign-in is
//! one of the new kind.

pub(crate) mod http;

use kernel::{AccountId, Ctx, Limits, Timestamp};
use serde::Serialize;
use spine::{About, FromRow, Row, StoreError, Tx, args, transact, word_of};

use crate::account::{AccountKind, store as account};
use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::operator::version_of;
use crate::room::Identity;
use crate::session::EndReason;

spine::words! {
    /// Where an application is in its life.
    pub ApplicationState {
        /// Nobody decided yet.
        Open = "open",
        /// The account became what it applied to be.
        Approved = "approved",
        /// It stays a customer's.
        Declined = "declined",
    }
}

/// An application, as operators and its account see it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ApplicationView {
    /// The account.
    #[schema(value_type = String)]
    pub account: AccountId,
    /// What it applied to be.
    pub kind: AccountKind,
    /// Whether it was decided.
    pub state: ApplicationState,
    /// When it applied, microseconds since 1970.
    #[schema(value_type = i64)]
    pub asked_at: Timestamp,
}

impl FromRow for ApplicationView {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            account: AccountId::from_bytes(row.id16("id")?),
            kind: word_of(row, "kind")?,
            state: word_of(row, "state")?,
            asked_at: row.time("asked_at")?,
        })
    }
}

/// An operator decides on an application.
#[derive(Clone, Debug)]
pub struct Decide {
    /// The account that applied.
    pub account: AccountId,
    /// Whether it becomes what it applied to be.
    pub approve: bool,
    /// Why, for the log; sealed.
    pub reason: String,
}

impl Identity {
    /// Notes an application inside the transaction that verifies the address.
    pub(crate) async fn apply(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        id: AccountId,
        kind: AccountKind,
    ) -> Result<(), Error> {
        tx.change(&ASK, args![id.as_bytes(), kind.as_str(), ctx.now]).await?;
        tx.emit(About::account(id, 0), events::Applied { kind })?;
        Ok(())
    }

    /// One page of the applications that wait, oldest account first.
    ///
    /// # Errors
    /// As the database says.
    pub async fn applications(
        &self,
        after: Option<AccountId>,
        rows: i64,
    ) -> Result<Vec<ApplicationView>, Error> {
        let after = after.map_or([0; 16], |id| *id.as_bytes());
        let rows = rows.clamp(1, Limits::PAGE_ROWS);
        let mut read = self.spine().read().await?;
        Ok(read.all(&WAITING, args![after, rows]).await?)
    }

    /// What an account applied to be, if anything.
    ///
    /// # Errors
    /// As the database says.
    pub async fn application(&self, id: AccountId) -> Result<Option<ApplicationView>, Error> {
        let mut read = self.spine().read().await?;
        Ok(read.maybe(&FIND, args![id.as_bytes()]).await?)
    }

    /// Decides on an application. Of all who decide at once, one does.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] where nothing waits for a decision, or the account is
    /// not an active customer's any more.
    pub async fn decide(&self, ctx: &Ctx, command: Decide) -> Result<AccountKind, Error> {
        let Decide { account: id, approve, reason } = command;
        self.known(id).await?;
        transact!(self.spine(), ctx, tx => {
            let state =
                if approve { ApplicationState::Approved } else { ApplicationState::Declined };
            let decided = args![id.as_bytes(), state.as_str(), ctx.now];
            let decided = tx.change_one(&DECIDE, decided).await?;
            let decided = decided.ok_or(Error::State("not waiting for a decision"))?;
            let kind: AccountKind = word_of(&decided, "kind").map_err(spine::Error::from)?;
            let mut version = 0;
            if approve {
                let row = args![id.as_bytes(), kind.as_str()];
                let row = tx.change_one(&account::BECOME, row).await?;
                version = version_of(&row.ok_or(Error::State("no active customer's"))?)?;
                self.end_all(&mut tx, ctx, (id, Which::All), EndReason::Operator).await?;
            }
            let event =
                events::ApplicationDecided { kind, approved: approve, reason: reason.clone() };
            tx.emit(About::account(id, version), event)?;
            Ok::<_, Error>(kind)
        })
    }
}

spine::sql! {
    read FIND = "SELECT id, kind, state, asked_at FROM identity_application WHERE id = $1";
    /// Those of accounts that can still become what they applied to be.
    read WAITING =
        "SELECT p.id, p.kind, p.state, p.asked_at FROM identity_application p \
         JOIN identity_account a ON a.id = p.id WHERE p.state = 'open' AND a.state = 'active' \
         AND p.id > $1 ORDER BY p.id LIMIT $2";
    fact ASK in identity_application =
        "INSERT INTO identity_application (id, version, kind, state, asked_at) \
         VALUES ($1, 1, $2, 'open', $3) RETURNING id";
    fact DECIDE in identity_application =
        "UPDATE identity_application SET state = $2, decided_at = $3, version = version + 1 \
         WHERE id = $1 AND state = 'open' RETURNING id, kind";
    fact ERASE in identity_application =
        "DELETE FROM identity_application WHERE id = $1 RETURNING id";
}
