//! A session's successor. Where the password was proved again, or became another, the session ends
//! and another takes its place in the same transaction: another id, another secret, the same end. A
//! thief of the cookie, of a signed token or of a refresh token is out with the old one (I8).

use kernel::{AccountId, Ctx, Secret, SessionId};
use spine::{Tx, args};

use super::{Client, EndReason, Entered, Opened, Opening, store};
use crate::account::store as account;
use crate::error::Error;
use crate::gate::Method;
use crate::room::Identity;

/// The successor of a session.
#[derive(Debug)]
pub struct Renewed {
    /// The session that took the place.
    pub opened: Opened,
    /// What signed in.
    pub client: Client,
    /// The first refresh token of an app's.
    pub refresh: Option<Secret<String>>,
}

impl Identity {
    /// Ends a live session of an account inside a transaction and opens its successor, in which `method`
    /// was proved now.
    pub(crate) async fn renew(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        (id, session): (AccountId, SessionId),
        (reason, method): (EndReason, Method),
    ) -> Result<Renewed, Error> {
        let live: Option<store::Live> =
            tx.maybe(&store::LIVE_BY_ID, args![session.as_bytes(), ctx.now]).await?;
        let store::Live(live) = live.ok_or(Error::SessionEnded)?;
        let row: account::Account = tx.one(&account::FIND, args![id.as_bytes()]).await?;
        if !self.end_one(tx, ctx, (id, session), reason).await? {
            return Err(Error::SessionEnded);
        }
        let client = live.client;
        let methods = live.methods.renewed(method);
        let opening = Opening { client, methods, ends_at: live.ends_at };
        let entered = self.enter(tx, ctx, &row, opening).await?;
        let Entered { opened, refresh } = entered.ok_or(Error::SessionEnded)?;
        Ok(Renewed { opened, client, refresh })
    }
}
