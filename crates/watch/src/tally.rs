//! Counters of rules: budgets, which are guards, and tallies, which are for people to judge by.
//!
//! Hours are those of the clock: at the turn of one, a rule may spend two budgets in a row.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::Timestamp;
use spine::{FromRow, Row, StoreError, Tx, args};

use crate::error::Error;
use crate::room::Watch;

spine::sql! {
    upkeep SPEND in watch_budget =
        "INSERT INTO watch_budget (name, hour, used) VALUES ($1, $2, 1) \
         ON CONFLICT (name, hour) DO UPDATE SET used = watch_budget.used + 1 \
         WHERE watch_budget.used < $3 RETURNING used";
    upkeep COUNT in watch_tally =
        "INSERT INTO watch_tally (rule, hour, fired, asked, dry, withheld) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (rule, hour) DO UPDATE SET \
         fired = watch_tally.fired + excluded.fired, asked = watch_tally.asked + excluded.asked, \
         dry = watch_tally.dry + excluded.dry, withheld = watch_tally.withheld + excluded.withheld";
    upkeep FORGET_BUDGETS in watch_budget = "DELETE FROM watch_budget WHERE hour < $1";
    upkeep FORGET_TALLIES in watch_tally = "DELETE FROM watch_tally WHERE hour < $1";
    upkeep MEET in watch_rule =
        "INSERT INTO watch_rule (name, since) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    read RULES_KNOWN = "SELECT name, since FROM watch_rule LIMIT 1000";
    read TALLIES =
        "SELECT rule, CAST(COALESCE(SUM(fired), 0) AS BIGINT) AS fired, \
         CAST(COALESCE(SUM(asked), 0) AS BIGINT) AS asked, \
         CAST(COALESCE(SUM(dry), 0) AS BIGINT) AS dry, \
         CAST(COALESCE(SUM(withheld), 0) AS BIGINT) AS withheld \
         FROM watch_tally WHERE hour >= $1 GROUP BY rule";
}

const HOUR: Duration = Duration::from_secs(3_600);
const BUDGETS_KEPT_H: i64 = 48;
const TALLIES_KEPT_H: i64 = 24 * 90;

/// The hour of the clock, since 1970.
pub(crate) const fn hour_of(at: Timestamp) -> i64 {
    at.seconds().div_euclid(3_600)
}

/// What a rule did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often it had enough.
    pub fired: i64,
    /// Answers asked for.
    pub asked: i64,
    /// Answers that would have been asked for.
    pub dry: i64,
    /// Answers withheld.
    pub withheld: i64,
}

struct Named<T>(String, T);

impl FromRow for Named<Tally> {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let tally = Tally {
            fired: row.int("fired")?,
            asked: row.int("asked")?,
            dry: row.int("dry")?,
            withheld: row.int("withheld")?,
        };
        Ok(Self(row.text("rule")?, tally))
    }
}

impl FromRow for Named<Timestamp> {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self(row.text("name")?, row.time("since")?))
    }
}

/// Spends one of a budget; false where it is spent. Committed with what it was spent for.
pub(crate) async fn spend(tx: &mut Tx, name: &str, budget: u32) -> Result<bool, spine::Error> {
    if budget == 0 {
        return Ok(false);
    }
    let hour = hour_of(tx.ctx().now);
    Ok(!tx.upkeep_rows(&SPEND, args![name, hour, budget]).await?.is_empty())
}

/// Adds what a batch did.
pub(crate) async fn count(
    tx: &mut Tx,
    tallies: &BTreeMap<&'static str, Tally>,
) -> Result<(), spine::Error> {
    let hour = hour_of(tx.ctx().now);
    for (rule, tally) in tallies {
        let Tally { fired, asked, dry, withheld } = *tally;
        tx.upkeep(&COUNT, args![*rule, hour, fired, asked, dry, withheld]).await?;
    }
    Ok(())
}

/// Forgets counters whose time is over.
pub(crate) async fn forget(tx: &mut Tx) -> Result<(), spine::Error> {
    let hour = hour_of(tx.ctx().now);
    tx.upkeep(&FORGET_BUDGETS, args![hour - BUDGETS_KEPT_H]).await?;
    tx.upkeep(&FORGET_TALLIES, args![hour - TALLIES_KEPT_H]).await?;
    Ok(())
}

/// Since when each of these rules is known here; new ones since now.
pub(crate) async fn meet(
    tx: &mut Tx,
    names: impl Iterator<Item = &'static str>,
) -> Result<BTreeMap<String, Timestamp>, spine::Error> {
    let known = known(tx.all(&RULES_KNOWN, args![]).await?);
    let now = tx.ctx().now;
    let mut all = known;
    for name in names {
        if !all.contains_key(name) {
            tx.upkeep(&MEET, args![name, now]).await?;
            all.insert(name.to_owned(), now);
        }
    }
    Ok(all)
}

fn known(rows: Vec<Named<Timestamp>>) -> BTreeMap<String, Timestamp> {
    rows.into_iter().map(|Named(name, since)| (name, since)).collect()
}

impl Watch {
    /// What each rule did in the last `hours`, by its name.
    ///
    /// # Errors
    /// As the database says.
    pub async fn tallies(
        &self,
        now: Timestamp,
        hours: u32,
    ) -> Result<BTreeMap<String, Tally>, Error> {
        let from = hour_of(now.minus(HOUR * hours.saturating_sub(1)));
        let rows: Vec<Named<Tally>> = self.spine().read().await?.all(&TALLIES, args![from]).await?;
        Ok(rows.into_iter().map(|Named(rule, tally)| (rule, tally)).collect())
    }

    /// Since when each rule is known here, by its name.
    ///
    /// # Errors
    /// As the database says.
    pub async fn known_since(&self) -> Result<BTreeMap<String, Timestamp>, Error> {
        Ok(known(self.spine().read().await?.all(&RULES_KNOWN, args![]).await?))
    }
}
