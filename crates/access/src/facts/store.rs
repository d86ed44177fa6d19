//! The memory of facts: which ids were taken, with what contents, as which event. Many rows in one
//! statement, in order of their keys, so that two batches never wait for each other in a circle.

use std::collections::{BTreeMap, HashMap};

use kernel::{EventId, Timestamp};
use spine::{FromRow, ReadOnly, Row, Sql, StoreError, Tx, UpkeepSort, Value, args, multi_row, sql};

use super::check::{Checked, Digest};
use crate::error::Error;
use crate::room::Access;

const FIND: &str = "SELECT fact_index, body_index, event, expires_at FROM access_fact \
     WHERE fact_index IN ";
const CLAIM: &str = "INSERT INTO access_fact \
     (fact_index, body_index, event, created_at, expires_at) VALUES ";
/// A row whose time is over makes room; any other stands, and its claim is not returned.
const UNLESS: &str = " ON CONFLICT (fact_index) DO UPDATE SET body_index = excluded.body_index, \
     event = excluded.event, created_at = excluded.created_at, expires_at = excluded.expires_at \
     WHERE access_fact.expires_at <= excluded.created_at RETURNING fact_index";

sql! {
    read FIND_1 = multi_row!(FIND, 1, 1, "");
    read FIND_8 = multi_row!(FIND, 8, 1, "");
    read FIND_64 = multi_row!(FIND, 64, 1, "");
    read FIND_512 = multi_row!(FIND, 512, 1, "");
    upkeep CLAIM_1 in access_fact = multi_row!(CLAIM, 5, 1, UNLESS);
    upkeep CLAIM_8 in access_fact = multi_row!(CLAIM, 5, 8, UNLESS);
    upkeep CLAIM_64 in access_fact = multi_row!(CLAIM, 5, 64, UNLESS);
    upkeep CLAIM_512 in access_fact = multi_row!(CLAIM, 5, 512, UNLESS);
    upkeep FORGET in access_fact = "DELETE FROM access_fact WHERE fact_index IN \
        (SELECT fact_index FROM access_fact WHERE expires_at <= $1 LIMIT 5000)";
}

/// What was taken before: by the digest of its id, the digest of its contents and its event.
pub(super) type Known = HashMap<Digest, (Digest, EventId)>;

struct KnownRow {
    index: Digest,
    body: Digest,
    event: EventId,
    expires: Timestamp,
}

impl FromRow for KnownRow {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            index: row.fixed("fact_index")?,
            body: row.fixed("body_index")?,
            event: EventId::from_bytes(row.id16("event")?),
            expires: row.time("expires_at")?,
        })
    }
}

const fn find_for(count: usize) -> (usize, Sql<ReadOnly>) {
    match count {
        0..=1 => (1, FIND_1),
        2..=8 => (8, FIND_8),
        9..=64 => (64, FIND_64),
        _ => (512, FIND_512),
    }
}

const fn claim_for(count: usize) -> (usize, Sql<UpkeepSort>) {
    match count {
        0..8 => (1, CLAIM_1),
        8..64 => (8, CLAIM_8),
        64..512 => (64, CLAIM_64),
        _ => (512, CLAIM_512),
    }
}

impl Access {
    /// Those of the facts that were taken before and are still remembered.
    pub(super) async fn known_facts(
        &self,
        facts: &[Checked<'_>],
        now: Timestamp,
    ) -> Result<Known, Error> {
        let Some(last) = facts.last() else { return Ok(Known::new()) };
        let (places, find) = find_for(facts.len());
        // The last one fills the places that are left over.
        let filled = facts.iter().chain(std::iter::repeat(last)).take(places);
        let args: Vec<Value> = filled.map(|fact| Value::from(fact.index)).collect();
        let rows: Vec<KnownRow> = self.spine().read().await?.all(&find, args).await?;
        let alive = rows.into_iter().filter(|row| row.expires > now);
        Ok(alive.map(|row| (row.index, (row.body, row.event))).collect())
    }

    /// Remembers facts; returns how many were free to be taken.
    pub(super) async fn claim(
        &self,
        tx: &mut Tx,
        facts: &BTreeMap<Digest, (Digest, EventId)>,
    ) -> Result<usize, Error> {
        let now = tx.ctx().now;
        let expires = now.plus(self.config().facts.replay());
        let mut claimed = 0;
        let mut rest = facts.iter();
        while rest.len() > 0 {
            let (places, claim) = claim_for(rest.len());
            let args = rest.by_ref().take(places).flat_map(|(index, (body, event))| {
                args![index, body, event.as_bytes(), now, expires]
            });
            claimed += tx.upkeep_rows(&claim, args.collect()).await?.len();
        }
        Ok(claimed)
    }

    /// Forgets facts whose time is over.
    pub(crate) async fn forget_facts(&self, now: Timestamp) -> Result<(), Error> {
        for _ in 0..200 {
            let mut upkeep = self.spine().upkeep().await?;
            let gone = upkeep.run(&FORGET, args![now]).await?;
            upkeep.commit().await?;
            if gone < 5_000 {
                break;
            }
        }
        Ok(())
    }
}
