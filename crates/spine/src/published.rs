//! The checkpoint that strangers are shown. It follows the signed head at a pace of the program's
//! choosing, so that it can carry the signatures of outside witnesses and does not tell of every
//! single event when it happened.

use merkle::{Hash, SignedCheckpoint};
use store::{args, sql};

use crate::{Error, Spine, node};

sql! {
    read PUBLISHED =
        "SELECT p.note AS note FROM spine_published p JOIN spine_head h ON h.origin = p.origin \
         WHERE p.id = 1";
    read LEADER = "SELECT holder FROM spine_head WHERE id = 1 AND (holder = $1 OR lease_until < $2)";
    upkeep PUT in spine_published =
        "INSERT INTO spine_published (id, origin, size, at, note) \
         SELECT 1, origin, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS TEXT) \
         FROM spine_head WHERE id = 1 AND origin = $1 \
         ON CONFLICT (id) DO UPDATE SET origin = excluded.origin, size = excluded.size, \
         at = excluded.at, note = excluded.note \
         WHERE spine_published.origin <> excluded.origin OR spine_published.size <= excluded.size";
}

impl Spine {
    /// The checkpoint that was published last; none before the first of this log's name.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Tree`].
    pub async fn published(&self) -> Result<Option<SignedCheckpoint>, Error> {
        let rows = self.read().await?.rows(&PUBLISHED, args![]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(SignedCheckpoint::parse(row.text("note")?.as_bytes())?))
    }

    /// Shows a checkpoint to strangers from now on. One that is older than what they have seen, or
    /// of another name than the log's present one, changes nothing.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn publish(&self, signed: &SignedCheckpoint) -> Result<(), Error> {
        let claimed = signed.claimed();
        let size = i64::try_from(claimed.size()).unwrap_or(i64::MAX);
        let shown = args![claimed.origin(), size, self.0.clock.now(), signed.to_string()];
        let mut upkeep = self.upkeep().await?;
        upkeep.run(&PUT, shown).await?;
        upkeep.commit().await
    }

    /// Proves that the log of `new` leaves grew out of its first `old` ones: for a witness.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Tree`] for sizes that the log does not have.
    pub async fn prove_growth(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        let wanted = merkle::consistency_tiles(old, new)?;
        let tiles = node::tiles(&mut self.0.db.read().await?, &wanted).await?;
        Ok(merkle::prove_consistency(&tiles, old, new)?)
    }

    /// Whether this node leads the log, or nobody does: the one that publishes.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn publishes(&self) -> Result<bool, Error> {
        let args = args![self.0.node.as_str(), self.house_time()];
        Ok(!self.read().await?.rows(&LEADER, args).await?.is_empty())
    }

    /// The checkpoint to hand out for keeps: the published one where witnesses signed it and it
    /// covers `leaves`, else the newest.
    pub(crate) async fn to_hand_out(&self, leaves: u64) -> Result<Option<SignedCheckpoint>, Error> {
        match self.published().await? {
            Some(shown)
                if shown.note().signatures().len() > 1 && shown.claimed().size() >= leaves =>
            {
                Ok(Some(shown))
            }
            Some(_) | None => self.checkpoint().await,
        }
    }
}
