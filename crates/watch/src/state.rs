//! The engine's memory across restarts and between nodes (A2): windows as sealed rows, written in
//! the transaction that moves the cursor.
//!
//! The engine in memory is only a cache of the rows. Each batch stamps the state with random bytes,
//! in memory and in the database; where the two differ (a transaction that failed, another node
//! that was faster, a restart), everything is read anew. A leaf number says what was counted
//! already, so that a batch that is delivered again counts nothing. What is not kept: successes of
//! clients that never failed. After a restart the share of such a client's failures is judged a
//! little too high, for one window.

use std::collections::BTreeMap;

use kernel::Timestamp;
use spine::{FromRow, Place, Row, StoreError, Subject, Tx, Value, args, multi_row};

use crate::config::Tuned;
use crate::engine::{Engine, Mark};
use crate::room::Watch;
use crate::rule::{Key, Rule};
use crate::tally;

const SAVE: &str = "INSERT INTO watch_window (rule, mark, last_at, state_sealed) VALUES ";
const OVER: &str = " ON CONFLICT (rule, mark) DO UPDATE SET last_at = excluded.last_at, \
     state_sealed = excluded.state_sealed";

spine::sql! {
    read STATE = "SELECT stamp, next_index FROM watch_state WHERE id = 1";
    upkeep STAMP in watch_state =
        "INSERT INTO watch_state (id, stamp, next_index) VALUES (1, $1, $2) \
         ON CONFLICT (id) DO UPDATE SET stamp = excluded.stamp, next_index = excluded.next_index";
    read WINDOWS =
        "SELECT mark, state_sealed FROM watch_window WHERE rule = $1 AND mark > $2 \
         AND last_at >= $3 ORDER BY mark LIMIT 1000";
    upkeep SAVE_1 in watch_window = multi_row!(SAVE, 4, 1, OVER);
    upkeep SAVE_8 in watch_window = multi_row!(SAVE, 4, 8, OVER);
    upkeep SAVE_64 in watch_window = multi_row!(SAVE, 4, 64, OVER);
    upkeep CUT in watch_window = "DELETE FROM watch_window WHERE rule = $1 AND last_at <= $2";
    upkeep FORGET in watch_window = "DELETE FROM watch_window WHERE rule = $1 AND mark = $2";
    upkeep FORGET_PAIRS in watch_window =
        "DELETE FROM watch_window WHERE rule = $1 AND substr(mark, 9) = $2";
}

const PAGE_ROWS: usize = 1_000;

/// What this process knows of the state.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) engine: Engine,
    /// The first leaf that was not counted yet.
    pub(crate) next_index: i64,
    /// Since when each rule is known here.
    pub(crate) since: BTreeMap<String, Timestamp>,
    stamp: Option<[u8; 16]>,
    swept_hour: i64,
}

impl Live {
    pub(crate) fn new(rules: &[Tuned], keys_max: u32) -> Self {
        let engine = Engine::new(rules, keys_max);
        Self { engine, next_index: 0, since: BTreeMap::new(), stamp: None, swept_hour: 0 }
    }
}

struct Stored {
    stamp: [u8; 16],
    next_index: i64,
}

impl FromRow for Stored {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { stamp: row.fixed("stamp")?, next_index: row.int("next_index")? })
    }
}

struct StoredWindow {
    mark: Mark,
    sealed: Vec<u8>,
}

impl FromRow for StoredWindow {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { mark: Mark(row.id16("mark")?), sealed: row.bytes("state_sealed")? })
    }
}

/// A window's place. The rule stands where the column would, so that a window opens only as its
/// own rule's.
const fn place(rule: &Rule, mark: Mark) -> Place<'static> {
    Place { table: "watch_window", column: rule.name, row: mark.0 }
}

impl Watch {
    /// Makes memory what the database says. Until [`Watch::save`], memory counts as unknown.
    pub(crate) async fn load(&self, tx: &mut Tx, live: &mut Live) -> Result<(), spine::Error> {
        let stored: Option<Stored> = tx.maybe(&STATE, args![]).await?;
        let known = live.stamp.take();
        if known.is_some() && known == stored.as_ref().map(|stored| stored.stamp) {
            return Ok(());
        }
        *live = Live::new(self.rules(), self.config().keys_max);
        live.next_index = stored.map_or(0, |stored| stored.next_index);
        live.since = tally::meet(tx, self.rules().iter().map(|tuned| tuned.rule.name)).await?;
        let now = tx.ctx().now;
        for (index, Tuned { rule, .. }) in self.rules().iter().enumerate() {
            let mut after = Vec::new();
            loop {
                let horizon = now.minus(rule.memory());
                let rows: Vec<StoredWindow> =
                    tx.all(&WINDOWS, args![rule.name, after, horizon]).await?;
                for row in &rows {
                    self.put_back(&mut live.engine, (index, rule), row);
                }
                match rows.last() {
                    Some(last) if rows.len() == PAGE_ROWS => after = last.mark.0.to_vec(),
                    Some(_) | None => break,
                }
            }
        }
        Ok(())
    }

    fn put_back(&self, engine: &mut Engine, (index, rule): (usize, &Rule), row: &StoredWindow) {
        match self.sealer().open(Subject::House, place(rule, row.mark), &row.sealed) {
            // False: made under another window size, or there are more than may be.
            Ok(bytes) => drop(engine.read(index, row.mark, &bytes)),
            Err(error) => {
                tracing::warn!(%error, rule = rule.name, "a window counts anew");
            }
        }
    }

    /// Writes what changed, and the stamp that says that memory and database agree.
    pub(crate) async fn save(&self, tx: &mut Tx, live: &mut Live) -> Result<(), spine::Error> {
        let now = tx.ctx().now;
        for (index, cut) in live.engine.take_cuts() {
            if let Some(tuned) = self.rules().get(index) {
                tx.upkeep(&CUT, args![tuned.rule.name, cut]).await?;
            }
        }
        self.write(tx, &mut live.engine).await?;
        if live.swept_hour != tally::hour_of(now) {
            live.swept_hour = tally::hour_of(now);
            live.engine.expire(now);
            for Tuned { rule, .. } in self.rules() {
                let horizon = now.minus(rule.memory()).micros().saturating_sub(1);
                tx.upkeep(&CUT, args![rule.name, horizon]).await?;
            }
            tally::forget(tx).await?;
        }
        let stamp = tx.ctx().random::<16>();
        tx.upkeep(&STAMP, args![stamp, live.next_index]).await?;
        live.stamp = Some(stamp);
        Ok(())
    }

    async fn write(&self, tx: &mut Tx, engine: &mut Engine) -> Result<(), spine::Error> {
        let mut rows: Vec<Vec<Value>> = Vec::new();
        for (index, mark) in engine.take_changed() {
            let Some(Tuned { rule, .. }) = self.rules().get(index) else { continue };
            let Some((bytes, last_at)) = engine.write(index, mark) else { continue };
            let place = place(rule, mark);
            let sealed = self.sealer().seal(Subject::House, place, &bytes, tx.ctx().entropy())?;
            rows.push(args![rule.name, mark.0, last_at, sealed]);
        }
        let mut rows = rows.into_iter();
        loop {
            let (count, statement) = match rows.len() {
                0 => return Ok(()),
                1..8 => (1, &SAVE_1),
                8..64 => (8, &SAVE_8),
                _ => (64, &SAVE_64),
            };
            let args = rows.by_ref().take(count).flatten().collect();
            tx.upkeep(statement, args).await?;
        }
    }

    /// Forgets the windows of one account, in memory and in the database.
    pub(crate) async fn forget(
        &self,
        tx: &mut Tx,
        live: &mut Live,
        account: Mark,
    ) -> Result<(), spine::Error> {
        live.engine.forget(account);
        let half: Vec<u8> = account.0.iter().take(8).copied().collect();
        for Tuned { rule, .. } in self.rules() {
            match rule.key {
                Key::Account => {
                    tx.upkeep(&FORGET, args![rule.name, account.0]).await?;
                }
                Key::Pair => {
                    tx.upkeep(&FORGET_PAIRS, args![rule.name, &half]).await?;
                }
                Key::Client | Key::Neighbours | Key::House => {}
            }
        }
        Ok(())
    }
}
