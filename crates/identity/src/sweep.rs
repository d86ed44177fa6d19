//! Deleting what is no longer needed: ended sessions, spent tickets, sent mails, full budgets. In
//! bounded steps, so that it never holds the database for long; the program calls it now and then.

use std::time::Duration;

use kernel::{Ctx, Timestamp};
use spine::{About, Subject, Tx, args, transact};

use crate::account::store as account;
use crate::error::Error;
use crate::events;
use crate::room::Identity;
use crate::{attempt, ending, factor, gate, mail, refresh, session, ticket, trust};

/// Rows of one table in one step: a transaction may touch 512.
const STEP_ROWS: i64 = 80;
/// Ended sessions stay in sight of the log's readers.
const SESSION_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Spent tickets and sent mails.
/// A second factor that was begun.
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Within this, every event of an erased person has found its leaf.
const ERASED_LATELY: Duration = Duration::from_secs(86_400);

/// Longer than any node uses a key that another destroyed, and than a transaction may take.
const KEY_STILL_KNOWN: Duration = Duration::from_secs(600);

/// How long an account waits for its address to be verified.
const UNVERIFIED_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// What one step deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tickets.
    pub tickets: u64,
    /// Sessions.
    pub sessions: u64,
    /// Sign-ins that stayed half-way, second factors that were never confirmed, devices whose trust is
    /// over.
    pub half_way: u64,
}

impl Identity {
    /// One step of sweeping. Call again while it deletes anything.
    ///
    /// # Errors
    /// As the database says.
    pub async fn sweep(&self, ctx: &Ctx) -> Result<Swept, Error> {
        self.vault().resolve(&[Subject::House]).await?;
        let swept = transact!(self.spine(), ctx, tx => {
            let swept = sweep_facts(&mut tx, ctx).await?;
            if swept != Swept::default() {
                let Swept { tickets, sessions, half_way } = swept;
                let about = About::house("identity", [0; 16], 0);
                tx.emit(about, events::Swept { tickets, sessions, half_way })?;
            }
            Ok::<_, Error>(swept)
        })?;
        let mut upkeep = self.spine().upkeep().await?;
        upkeep.run(&attempt::SWEEP, args![ctx.now]).await?;
        upkeep.run(&ending::SWEEP, args![ctx.now]).await?;
        upkeep.run(&mail::SWEEP, args![ctx.now.minus(WEEK)]).await?;
        if swept.sessions > 0 {
            upkeep.run(&session::store::SWEEP_USE, args![]).await?;
        }
        upkeep.commit().await?;
        self.cut_erased(ctx).await?;
        self.erase_never_verified(ctx).await?;
        Ok(swept)
    }

    /// Erases accounts whose address was never verified: nobody uses them, and somebody else may
    /// have typed the address.
    async fn erase_never_verified(&self, ctx: &Ctx) -> Result<(), Error> {
        let before = ctx.now.minus(UNVERIFIED_KEPT);
        let mut read = self.spine().read().await?;
        let never: Vec<account::Id> =
            read.all(&account::NEVER_VERIFIED, args![before, ctx.now]).await?;
        drop(read);
        for account::Id(id) in never {
            // One that cannot be erased must not keep the others.
            if let Err(error) = self.erase(ctx, id).await {
                tracing::error!(account = %id, %error, "an unused account was not erased");
            }
        }
        Ok(())
    }

    /// Finishes what erasing begins, for persons erased of late: their keys are destroyed, also where
    /// the program died between the commit and that; events that were still on their way into the
    /// log are cut loose from them; and what another node wrote for them meanwhile goes too.
    async fn cut_erased(&self, ctx: &Ctx) -> Result<(), Error> {
        for account::Id(id) in self.erased_since(ctx.now.minus(ERASED_LATELY)).await? {
            self.vault().shred(Subject::Account(id)).await?;
            self.spine().cut_subject(id).await?;
        }
        for account::Id(id) in self.erased_since(ctx.now.minus(KEY_STILL_KNOWN)).await? {
            self.spine().delete_rows_of(id).await?;
        }
        Ok(())
    }

    async fn erased_since(&self, since: Timestamp) -> Result<Vec<account::Id>, Error> {
        let mut read = self.spine().read().await?;
        Ok(read.all(&account::ERASED_SINCE, args![since]).await?)
    }
}

async fn sweep_facts(tx: &mut Tx, ctx: &Ctx) -> Result<Swept, Error> {
    let before = ctx.now.minus(WEEK);
    let tickets = tx.change(&ticket::SWEEP, args![before, STEP_ROWS]).await?.len();
    let pending = tx.change(&gate::store::SWEEP, args![before, STEP_ROWS]).await?.len();
    let before = ctx.now.minus(DAY);
    let over = tx.change(&trust::store::SWEEP, args![ctx.now, STEP_ROWS]).await?.len();
    let begun = tx.change(&factor::store::SWEEP, args![before, STEP_ROWS]).await?.len();
    let before = ctx.now.minus(SESSION_KEPT);
    let sessions = tx.change(&session::store::SWEEP, args![before, STEP_ROWS]).await?.len();
    if sessions > 0 {
        tx.change(&refresh::store::SWEEP, args![STEP_ROWS]).await?;
    }
    let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
    let half_way = count(pending + begun + over);
    Ok(Swept { tickets: count(tickets), sessions: count(sessions), half_way })
}
