//! The rule of this room (W3): an account that makes one wish after the other, like a program, is asked to step
//! up.
//! It follows the log, so its count moves in the transaction of its cursor: no wish counts twice.
//! It alone writes `wishes_pace`, so it also deletes there (`delete_in` in `tables.rs`): in the order
//! of the log, a count that is late cannot come back after an erasure (W4).

use kernel::Timestamp;
use spine::{
    ACCOUNT_ERASED, ActionKind, BoxFuture, Consumer, Error, Event as _, Opened, Recorded,
    ResponseRequested, Tx, args,
};

use crate::events::Made;

/// How often an account makes a wish in one hour as no person does.
pub(crate) const PACE_MAX: i64 = 50;

spine::sql! {
    upkeep COUNT in wishes_pace = "INSERT INTO wishes_pace (account, hour, made) VALUES ($1, $2, 1) \
         ON CONFLICT (account, hour) DO UPDATE SET made = wishes_pace.made + 1 RETURNING made";
    upkeep FORGET in wishes_pace = "DELETE FROM wishes_pace WHERE account = $1";
}

/// Counts each wish and asks for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Flood;

impl Flood {
    /// The name of its cursor.
    pub const NAME: &'static str = "wishes.flood";
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

/// The beginning of the hour.
const fn hour_of(moment: Timestamp) -> Timestamp {
    Timestamp::from_seconds(moment.seconds().div_euclid(3_600) * 3_600)
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
