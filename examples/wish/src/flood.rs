//! The rule of this room (W3): an account that makes wishes like a program is asked to step up.
//! It follows the log, so its count moves in the transaction of its cursor: no wish counts twice.
//! It alone writes `wish_pace`, so it also deletes there (`delete_in` in `tables.rs`): in the order
//! of the log, a count that is late cannot come back after an erasure (W4).

use kernel::Timestamp;
use spine::{
    ACCOUNT_ERASED, ActionKind, BoxFuture, Consumer, Error, Event as _, Opened, Recorded,
    ResponseRequested, Tx, args,
};

use crate::events::Made;
use crate::room::Wishes;

/// Wishes of one account in one hour that no person makes.
pub(crate) const PACE_MAX: i64 = 50;
/// Hours that a count is kept.
const KEPT_HOURS: i64 = 48;

spine::sql! {
    upkeep COUNT in wish_pace = "INSERT INTO wish_pace (account, hour, made) VALUES ($1, $2, 1) \
         ON CONFLICT (account, hour) DO UPDATE SET made = wish_pace.made + 1 RETURNING made";
    upkeep FORGET in wish_pace = "DELETE FROM wish_pace WHERE account = $1";
    upkeep TEND in wish_pace = "DELETE FROM wish_pace WHERE hour < $1";
}

/// Counts wishes and asks for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Flood;

impl Flood {
    /// The name of its cursor.
    pub const NAME: &'static str = "wish.flood";
}

async fn weigh(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    if let Some(person) = event.erased_account() {
        tx.upkeep(&FORGET, args![person.as_bytes()]).await?;
        return Ok(());
    }
    // none, or closed: a person who was erased meanwhile, whom nobody can ask any more
    let (Some(account), Opened::Whole(_)) = (event.account(), &event.sealed) else {
        return Ok(());
    };
    let rows = tx.upkeep_rows(&COUNT, args![account.as_bytes(), hour_of(event.at)]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    // exactly at the limit, so that the hour asks once
    if row.int("made")? == PACE_MAX {
        let reason = format!("{PACE_MAX} wishes in an hour");
        let asked = ResponseRequested {
            account: Some(account),
            ..ResponseRequested::new(ActionKind::StepUp, Flood::NAME, reason)
        };
        asked.request(tx)?;
    }
    Ok(())
}

impl Wishes {
    /// Deletes counts whose time is over; the program calls it each minute.
    ///
    /// # Errors
    /// The database's.
    pub async fn tend(&self, now: Timestamp) -> Result<u64, Error> {
        let mut upkeep = self.spine.upkeep().await?;
        let deleted = upkeep.run(&TEND, args![hour_of(now) - KEPT_HOURS]).await?;
        upkeep.commit().await?;
        Ok(deleted)
    }
}

const fn hour_of(moment: Timestamp) -> i64 {
    moment.seconds().div_euclid(3_600)
}

impl Consumer for Flood {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn kinds(&self) -> &'static [&'static str] {
        const KINDS: &[&str] = &[Made::SPEC.kind, ACCOUNT_ERASED];
        KINDS
    }

    fn handle<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for event in events {
                weigh(tx, event).await?;
            }
            Ok(())
        })
    }
}
