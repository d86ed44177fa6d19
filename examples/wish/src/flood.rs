//! The rule of this room (W3): an account that makes wishes like a program is asked to step up.
//! It follows the log, so its count moves in the transaction of its cursor: no wish counts twice.

use spine::{
    ActionKind, BoxFuture, Consumer, Error, Event as _, Recorded, ResponseRequested, Subject, Tx,
    args,
};

use crate::events::Made;
use crate::room::Wishes;

/// Wishes of one account in one hour that no person makes.
pub(crate) const PACE_MAX: i64 = 50;

spine::sql! {
    upkeep COUNT in wish_pace = "INSERT INTO wish_pace (account, hour, made) VALUES ($1, $2, 1) \
         ON CONFLICT (account, hour) DO UPDATE SET made = wish_pace.made + 1 RETURNING made";
}

/// Counts wishes and asks for an answer. Run by the binary with `spine::run_consumer`.
#[derive(Debug)]
pub struct Flood {
    room: Wishes,
}

impl Flood {
    /// The rule for this room.
    #[must_use]
    pub const fn new(room: Wishes) -> Self {
        Self { room }
    }

    async fn weigh(&self, tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
        let Some(account) = event.account() else { return Ok(()) };
        let hour = event.at.seconds().div_euclid(3_600);
        let rows = tx.upkeep_rows(&COUNT, args![account.as_bytes(), hour]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        // exactly at the limit, so that the hour asks once
        if row.int("made")? == PACE_MAX {
            let asked = ResponseRequested {
                action: ActionKind::StepUp,
                rule: "wish.flood".to_owned(),
                reason: format!("{PACE_MAX} wishes in an hour"),
                dry_run: false,
                account: Some(account),
                session: None,
                address: None,
                until: None,
            };
            asked.request(tx)?;
        }
        Ok(())
    }
}

impl Consumer for Flood {
    fn name(&self) -> &'static str {
        "wish.flood"
    }

    fn kinds(&self) -> &'static [&'static str] {
        const KINDS: &[&str] = &[Made::SPEC.kind];
        KINDS
    }

    fn prepare<'a>(&'a self, events: &'a [Recorded]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let accounts = events.iter().filter_map(Recorded::account);
            let subjects: Vec<Subject> = accounts.map(Subject::Account).collect();
            let sealer = self.room.spine.sealer();
            Ok(sealer.resolve(&subjects).await?)
        })
    }

    fn handle<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for event in events {
                self.weigh(tx, event).await?;
            }
            Ok(())
        })
    }
}
