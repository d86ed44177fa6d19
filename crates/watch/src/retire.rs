//! The end of what this room keeps: alerts and answers go a year after they last mattered.

use std::time::Duration;

use kernel::EventId;
use spine::{About, Subject, args, transact};

use crate::erased;
use crate::error::Error;
use crate::events::OldRetired;
use crate::room::Watch;

spine::sql! {
    fact RETIRE_ALERTS in watch_alert =
        "DELETE FROM watch_alert WHERE id IN (SELECT id FROM watch_alert WHERE last_at < $1 \
         ORDER BY last_at LIMIT 200) RETURNING id";
    fact RETIRE_ANSWERS in watch_answer =
        "DELETE FROM watch_answer WHERE id IN (SELECT id FROM watch_answer WHERE asked_at < $1 \
         AND (until_at IS NULL OR until_at < $1) ORDER BY asked_at LIMIT 200) RETURNING id";
}

const KEPT: Duration = Duration::from_secs(365 * 86_400);

impl Watch {
    /// Deletes alerts and answers that are over for a year, at most 200 of each, and blanks what is
    /// left to blank of erased persons: to be called until nothing is left, say each hour. Gives
    /// how many rows it changed.
    ///
    /// # Errors
    /// As the database says.
    pub async fn retire(&self) -> Result<u64, Error> {
        let ctx = self.spine().system_ctx("watch");
        self.sealer().resolve(&[Subject::House]).await?;
        let before = ctx.now.minus(KEPT);
        transact!(self.spine(), &ctx, tx => {
            let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            let alerts = number(tx.change(&RETIRE_ALERTS, args![before]).await?.len());
            let answers = number(tx.change(&RETIRE_ANSWERS, args![before]).await?.len());
            if alerts + answers > 0 {
                let id = EventId::generate(ctx.now, ctx.entropy());
                let about = About::house("watch_retired", *id.as_bytes(), 0);
                tx.emit(about, OldRetired { alerts, answers })?;
            }
            let blanked = erased::blank(&mut tx, 100).await?;
            Ok::<_, Error>(alerts + answers + blanked)
        })
    }
}
