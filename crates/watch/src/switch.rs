//! The one off switch: it stops every automatic answer of every rule at once.
//!
//! Who answers and who turns the switch first takes the gate, a row that both must hold until they
//! commit. So whoever turned the switch knows that every answer after that commit has seen it, on
//! both databases and under every isolation level.

use kernel::{Ctx, Timestamp};
use spine::{About, FromRow, Row, StoreError, Subject, Tx, args, transact};

use crate::error::Error;
use crate::events;
use crate::room::Watch;

spine::sql! {
    read SWITCH = "SELECT stopped, changed_at FROM watch_switch WHERE id = $1";
    upkeep PASS in watch_gate =
        "INSERT INTO watch_gate (id, passed) VALUES (1, 1) \
         ON CONFLICT (id) DO UPDATE SET passed = watch_gate.passed + 1";
    fact TURN in watch_switch =
        "INSERT INTO watch_switch (id, version, stopped, changed_at) VALUES ($1, 1, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET version = watch_switch.version + 1, \
         stopped = excluded.stopped, changed_at = excluded.changed_at \
         WHERE watch_switch.stopped <> excluded.stopped RETURNING id, version";
}

/// There is one switch.
const ID: [u8; 16] = *b"watch.switch.one";
const REASON_BYTES: usize = 500;

/// How the switch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Whether automatic answers are stopped.
    pub stopped: bool,
    /// Since when it stands so; none where it was never turned.
    pub changed_at: Option<Timestamp>,
}

impl FromRow for Switch {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { stopped: row.flag("stopped")?, changed_at: Some(row.time("changed_at")?) })
    }
}

const NEVER_TURNED: Switch = Switch { stopped: false, changed_at: None };

/// Takes the gate, then reads the switch: a new statement, so that it sees what was committed while
/// this transaction waited.
pub(crate) async fn pass_gate(tx: &mut Tx) -> Result<Switch, spine::Error> {
    tx.upkeep(&PASS, args![]).await?;
    Ok(tx.maybe(&SWITCH, args![ID]).await?.unwrap_or(NEVER_TURNED))
}

impl Watch {
    /// How the switch stands.
    ///
    /// # Errors
    /// As the database says.
    pub async fn switch(&self) -> Result<Switch, Error> {
        let mut read = self.spine().read().await?;
        Ok(read.maybe(&SWITCH, args![ID]).await?.unwrap_or(NEVER_TURNED))
    }

    /// Stops all automatic answers. Rules go on to count and to alert; what was asked for before
    /// stands until it ends, or a person takes it back.
    ///
    /// # Errors
    /// [`Error::Already`], [`Error::Invalid`] without a reason.
    pub async fn stop_all_answers(&self, ctx: &Ctx, reason: &str) -> Result<(), Error> {
        self.turn(ctx, true, reason).await
    }

    /// Lets automatic answers go on.
    ///
    /// # Errors
    /// [`Error::Already`], [`Error::Invalid`] without a reason.
    pub async fn resume(&self, ctx: &Ctx, reason: &str) -> Result<(), Error> {
        self.turn(ctx, false, reason).await
    }

    async fn turn(&self, ctx: &Ctx, stopped: bool, reason: &str) -> Result<(), Error> {
        if reason.trim().is_empty() || reason.len() > REASON_BYTES {
            let detail = format!("must say why, in 1 to {REASON_BYTES} bytes");
            return Err(Error::field("reason", detail));
        }
        self.sealer().resolve(&[Subject::House]).await?;
        transact!(self.spine(), ctx, tx => {
            let before = pass_gate(&mut tx).await?;
            if before.stopped == stopped {
                return Err(Error::Already(if stopped { "stopped" } else { "running" }));
            }
            let turned = tx.change_one(&TURN, args![ID, stopped, ctx.now]).await?;
            let version = match turned {
                Some(row) => row.int("version")?,
                None => return Err(Error::Already(if stopped { "stopped" } else { "running" })),
            };
            let about = About::house("watch_switch", ID, version);
            let reason = reason.to_owned();
            if stopped {
                tx.emit(about, events::AnswersStopped { reason })?;
            } else {
                tx.emit(about, events::AnswersResumed { reason })?;
            }
            Ok::<_, Error>(())
        })
    }
}
