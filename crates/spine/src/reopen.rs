//! After an honest restore the log goes on under a new name, and says so in itself: a node that saw
//! the tree that was lost follows because of what was told, not because the database is another.

use std::collections::BTreeMap;

use store::{Db, Row, args, sql};

use crate::events::LogReopened;
use crate::leaf::Leaf;
use crate::node::{Fetch, Memory, Seen};
use crate::{Error, Event as _, Spine};

sql! {
    upkeep REOPEN in spine_head =
        "UPDATE spine_head SET origin = $1, note = '', note_size = -1, holder = '', \
         lease_until = 0, epoch = epoch + 1 WHERE id = 1";
    upkeep FORGET_COSIGNED in spine_cosignature = "DELETE FROM spine_cosignature WHERE size >= 0";
    read ORIGIN = "SELECT origin FROM spine_head WHERE id = 1";
    read TOLD =
        "SELECT id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, body, \
         leaf, mac FROM spine_leaf WHERE kind = $1 UNION ALL \
         SELECT id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, body, \
         leaf, mac FROM spine_outbox WHERE kind = $1 LIMIT 1000";
}

impl Spine {
    /// After an honest restore: lets the log go on under a new origin, where an event names the
    /// last tree that this node saw under the old one.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::File`], [`Error::Seal`].
    pub async fn reopen(&self, reason: String) -> Result<String, Error> {
        self.0.sealer.resolve(&[crate::Subject::House]).await?;
        let mut memory = Memory::load(self)?;
        let head = self.head().await?.ok_or(store::Error::Rows { found: 0 })?;
        let known = memory.seen().map(|seen| (seen.size, seen.root));
        let (old_size, old_root) = known.unwrap_or((head.size(), head.range.root()));
        let origin = next_origin(&head.origin);
        let mut tx = self.begin(&self.system_ctx("reopen")).await?;
        tx.upkeep(&REOPEN, args![origin.as_str()]).await?;
        tx.upkeep(&FORGET_COSIGNED, Vec::new()).await?;
        tx.emit(
            crate::About::house("log", [0; 16], 0),
            LogReopened {
                old_origin: head.origin.clone(),
                old_size,
                old_root: old_root.to_base64(),
                restored_size: head.size(),
                reason,
            },
        )?;
        tx.commit().await?;
        memory.remember(&origin, head.size(), head.range.root())?;
        self.sequence().await?;
        Ok(origin)
    }
}

/// Whether the log of this name is the one that a node saw under another name, reopened: each
/// change of name is told by an event that only the program can have written, and the first of them
/// knew of all that the node saw.
pub(crate) async fn continues(
    spine: &Spine,
    inner: &mut impl Fetch,
    seen: &Seen,
    origin: &str,
) -> Result<(), Error> {
    let fork = || Error::Fork(format!("it is called {origin} now, and no one here told why"));
    let rows = inner.fetch(TOLD.text(), args![LogReopened::SPEC.kind]).await?;
    let told: BTreeMap<String, u64> = rows.iter().filter_map(|row| told(spine, row)).collect();
    let mut name = seen.origin.clone().ok_or_else(fork)?;
    if told.get(&name).is_none_or(|old_size| *old_size < seen.size) {
        return Err(fork());
    }
    for _ in 0..told.len() {
        if !told.contains_key(&name) {
            break;
        }
        name = next_origin(&name);
        if name == origin {
            return Ok(());
        }
    }
    Err(fork())
}

/// What an event tells: the old name, and how many leaves were known under it.
fn told(spine: &Spine, row: &Row) -> Option<(String, u64)> {
    let leaf = Leaf::read(spine.0.sealer.as_ref(), row);
    if !leaf.faults.is_empty() {
        return None;
    }
    let told: LogReopened = serde_json::from_slice(&leaf.body?.0).ok()?;
    Some((told.old_origin, told.old_size))
}

/// The present name of the log that stands in a database; none before its first start. A log keeps the
/// name that it was begun under, whatever becomes of the shop's address: strangers know it by that.
///
/// # Errors
/// [`Error::Store`].
pub async fn log_origin(db: &Db) -> Result<Option<String>, Error> {
    let rows = db.read().await?.rows(ORIGIN.text(), Vec::new()).await?;
    Ok(rows.first().map(|row| row.text("origin")).transpose()?)
}

/// The name that a log had before it was ever reopened.
#[must_use]
pub fn first_origin(origin: &str) -> &str {
    numbered(origin).map_or(origin, |(name, _)| name)
}

/// `name`, `name/2`, `name/3` …
fn next_origin(origin: &str) -> String {
    let (name, number) = numbered(origin).unwrap_or((origin, 1));
    format!("{name}/{}", number.saturating_add(1))
}

fn numbered(origin: &str) -> Option<(&str, u32)> {
    let (name, number) = origin.rsplit_once('/')?;
    Some((name, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_count_on() {
        assert_eq!(next_origin("shop.example/log"), "shop.example/log/2");
        assert_eq!(next_origin("shop.example/log/2"), "shop.example/log/3");
        for origin in ["shop.example/log", "shop.example/log/2", "shop.example/log/30"] {
            assert_eq!(first_origin(origin), "shop.example/log");
        }
    }
}
