//! Ending sessions, everywhere at once, whatever the cause: one way, used by every cause.
//!
//! The rows end in the cause's own transaction; the account's epoch moves on, so that a sign-in
//! that was half-way is over before it began; the revocation stands in a table that a cold node
//! loads, and the committing node publishes it at once, because signed tokens outlive the row by
//! minutes.

use std::time::Duration;

use kernel::{AccountId, Ctx, SessionId, Timestamp};
use spine::{FromRow, Row, StoreError, Tx, args};
use web::feed::Delta;

use crate::error::Error;
use crate::room::Identity;
use crate::session::{EndReason, store as session};

/// How much longer than its own life a signed token may be taken for alive by a clock that is slow.
const SKEW: Duration = Duration::from_secs(60);
const PAGE_ROWS: i64 = 1_000;
/// Pages that a cold node loads at most: one more than the feed holds, so that one that does not get
/// them all is told so by the feed's floor.
const PAGES_MAX: usize = 501;

struct Revocation {
    id: [u8; 16],
    delta: Delta,
}

impl FromRow for Revocation {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let id = row.id16("id")?;
        let until = row.time("until_at")?;
        let delta = match row.text("scope")?.as_str() {
            "session" => Delta::SessionEnded { session: SessionId::from_bytes(id), until },
            "account" => Delta::AccountSessionsEnded {
                account: AccountId::from_bytes(id),
                before: row.time("before_at")?,
                until,
            },
            _ => return Err(StoreError::Column { column: "scope" }),
        };
        Ok(Self { id, delta })
    }
}

/// Which sessions of an account end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// All of them.
    All,
    /// All but the one in which the person sits.
    AllBut(SessionId),
}

impl Identity {
    /// The last moment at which a token that was signed at `now` can look alive.
    fn tokens_until(&self, now: Timestamp) -> Timestamp {
        now.plus(self.config().token.access()).plus(SKEW)
    }

    /// Notes and publishes that one session ended.
    pub(crate) async fn tell_session(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: AccountId,
        session: SessionId,
    ) -> Result<(), Error> {
        let until = self.tokens_until(ctx.now);
        let row = args![session.as_bytes(), "session", account.as_bytes(), ctx.now, until];
        tx.upkeep(&NOTE, row).await?;
        let publisher = self.publisher().clone();
        tx.after_commit(move || {
            publisher.publish(Delta::SessionEnded { session, until });
        });
        Ok(())
    }

    /// Ends one live session of an account. False where it had ended already.
    pub(crate) async fn end_one(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        (account, session): (AccountId, SessionId),
        reason: EndReason,
    ) -> Result<bool, Error> {
        let row = args![session.as_bytes(), account.as_bytes(), ctx.now, reason.as_str()];
        if tx.change_one(&session::END, row).await?.is_none() {
            return Ok(false);
        }
        self.tell_session(tx, ctx, account, session).await?;
        Ok(true)
    }

    /// Ends the sessions of an account; gives how many were live.
    pub(crate) async fn end_all(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        (account, which): (AccountId, Which),
        reason: EndReason,
    ) -> Result<u64, Error> {
        let keep = match which {
            Which::All => SessionId::from_bytes([0; 16]),
            Which::AllBut(session) => session,
        };
        let epoch = tx.change_one(&crate::account::store::NEXT_EPOCH, args![account.as_bytes()]);
        let epoch =
            epoch.await?.ok_or(Error::NotFound)?.int("epoch").map_err(spine::Error::from)?;
        let row = args![account.as_bytes(), keep.as_bytes(), ctx.now, reason.as_str()];
        let ended = tx.change(&session::END_ALL_BUT, row).await?;
        for row in &ended {
            let session = SessionId::from_bytes(row.id16("id").map_err(spine::Error::from)?);
            self.tell_session(tx, ctx, account, session).await?;
        }
        match which {
            Which::All => self.tell_account(tx, ctx, account).await?,
            Which::AllBut(session) => {
                tx.change(&session::MOVE_ALONG, args![session.as_bytes(), epoch]).await?;
            }
        }
        Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
    }

    /// Notes and publishes that all sessions that began before now ended: also one that another
    /// node opened a moment ago and that this transaction cannot see.
    async fn tell_account(&self, tx: &mut Tx, ctx: &Ctx, account: AccountId) -> Result<(), Error> {
        let (before, until) = (ctx.now, self.tokens_until(ctx.now));
        let row = args![account.as_bytes(), "account", account.as_bytes(), before, until];
        tx.upkeep(&NOTE, row).await?;
        let publisher = self.publisher().clone();
        tx.after_commit(move || {
            publisher.publish(Delta::AccountSessionsEnded { account, before, until });
        });
        Ok(())
    }

    /// The revocations that were noted since a moment, also by other programs on this database.
    ///
    /// # Errors
    /// As the database says.
    pub async fn revocations_since(&self, since: Timestamp) -> Result<Vec<Delta>, Error> {
        self.revocations(self.tokens_until(since)).await
    }

    /// What a cold node must know before it serves: every revocation that a signed token can still
    /// contradict.
    ///
    /// # Errors
    /// As the database says.
    pub async fn revocations(&self, now: Timestamp) -> Result<Vec<Delta>, Error> {
        let mut read = self.spine().read().await?;
        let mut deltas = Vec::new();
        let mut last = [0; 16];
        for _ in 0..PAGES_MAX {
            let page: Vec<Revocation> = read.all(&LIVE, args![now, last, PAGE_ROWS]).await?;
            let Some(end) = page.last() else { break };
            last = end.id;
            deltas.extend(page.into_iter().map(|revocation| revocation.delta));
        }
        Ok(deltas)
    }
}

spine::sql! {
    /// What a node must know before it serves.
    read LIVE =
        "SELECT id, scope, account, before_at, until_at FROM identity_revocation \
         WHERE until_at > $1 AND id > $2 ORDER BY id LIMIT $3";
    upkeep NOTE in identity_revocation =
        "INSERT INTO identity_revocation (id, scope, account, before_at, until_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET \
         before_at = excluded.before_at, until_at = excluded.until_at";
    upkeep SWEEP in identity_revocation = "DELETE FROM identity_revocation WHERE until_at < $1";
}
