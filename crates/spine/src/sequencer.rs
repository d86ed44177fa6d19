//! The sequencer (P2, P3, P4): takes what was committed, gives it dense leaf numbers, grows the tree,
//! signs the tree's head.
//!
//! One leader at a time, by a lease row with an epoch. The lease is renewed by the first statement
//! of each batch, which also locks the row; the last statement moves the head only where size and
//! epoch are still the leader's. So a leader that was paused and replaced can write nothing.

use std::time::Duration;

use kernel::Limits;
use merkle::key::SeedSigner;
use merkle::{Checkpoint, CompactRange, Hash, SignedCheckpoint, TileId};
use store::{Backend, Row, Transaction, args, sql};
use tokio_util::sync::CancellationToken;

use crate::events::{ForgedEventsFound, LogReopened};
use crate::leaf::Leaf;
use crate::node::{self, Fetch, Memory};
use crate::{Error, Event as _, Spine, keys, reopen};

sql! {
    read WAITING = "SELECT id FROM spine_head \
         WHERE note_size < size OR EXISTS (SELECT 1 FROM spine_outbox)";
    read HEAD = "SELECT origin, size, frontier, epoch, note, note_size FROM spine_head WHERE id = 1";
    upkeep FOUND in spine_head =
        "INSERT INTO spine_head (id, origin, size, frontier, epoch, holder, lease_until, note, \
         note_size, note_at) VALUES (1, $1, 0, $2, 0, '', 0, '', -1, 0) ON CONFLICT (id) DO NOTHING";
    upkeep LEAD in spine_head =
        "UPDATE spine_head SET epoch = CASE WHEN holder = $1 THEN epoch ELSE epoch + 1 END, \
         holder = $1, lease_until = $2 WHERE id = 1 \
         AND (holder = $1 OR lease_until < $3 OR lease_until > $4) \
         RETURNING origin, size, frontier, epoch, note, note_size";
    upkeep MOVE in spine_leaf =
        "INSERT INTO spine_leaf (idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, \
         version, entry, body, leaf, mac) \
         SELECT CAST($1 AS BIGINT) + ROW_NUMBER() OVER (ORDER BY id) - 1, id, at, kind, \
         actor_kind, subject, aggregate, aggregate_id, version, entry, body, leaf, mac \
         FROM (SELECT * FROM spine_outbox ORDER BY id LIMIT $2) AS batch \
         RETURNING idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, \
         entry, body, leaf, mac";
    upkeep MOVE_REOPENED in spine_leaf =
        "INSERT INTO spine_leaf (idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, \
         version, entry, body, leaf, mac) \
         SELECT CAST($1 AS BIGINT), id, at, kind, actor_kind, subject, aggregate, aggregate_id, \
         version, entry, body, leaf, mac \
         FROM (SELECT * FROM spine_outbox WHERE kind = $2 ORDER BY id DESC LIMIT 1) AS batch \
         RETURNING idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, \
         entry, body, leaf, mac";
    upkeep MOVED in spine_outbox =
        "DELETE FROM spine_outbox WHERE id IN \
         (SELECT id FROM spine_leaf WHERE idx >= $1 AND idx < $2)";
    upkeep PUT_TILE in spine_tile =
        "INSERT INTO spine_tile (level, idx, width, bytes) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (level, idx) DO UPDATE SET width = excluded.width, bytes = excluded.bytes";
    upkeep GROW in spine_head =
        "UPDATE spine_head SET size = $1, frontier = $2 \
         WHERE id = 1 AND size = $3 AND epoch = $4 RETURNING size";
    upkeep PUBLISH in spine_head =
        "UPDATE spine_head SET note = $1, note_size = $2, note_at = $3 \
         WHERE id = 1 AND origin = $4 AND note_size < $2";
    upkeep KEEP in spine_checkpoint =
        "INSERT INTO spine_checkpoint (size, at, note) \
         SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS TEXT) \
         WHERE NOT EXISTS (SELECT 1 FROM spine_checkpoint WHERE at > $4 AND at <= $2 \
         AND size = (SELECT MAX(size) FROM spine_checkpoint)) \
         ON CONFLICT (size) DO NOTHING";
    read SUSPECTS =
        "SELECT id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, body, \
         leaf, mac, (SELECT COUNT(*) FROM spine_leaf WHERE spine_leaf.id = spine_outbox.id) \
         AS leaves FROM spine_outbox ORDER BY id LIMIT $1";
    upkeep REMOVE_FORGED in spine_outbox = "DELETE FROM spine_outbox WHERE id = $1";
    upkeep REMOVE_NAMELESS in spine_outbox = "DELETE FROM spine_outbox WHERE id IS NULL";
}

/// How long a leader may be silent.
const LEASE: Duration = Duration::from_secs(5);
/// How long events may gather before they are sequenced: a batch costs one commit.
const GATHER: Duration = Duration::from_millis(10);
/// How often the outbox is looked at without a hint: other nodes commit too.
const POLL: Duration = Duration::from_millis(250);
/// The most that one batch may hold SQLite's only writer.
const SQLITE_HOLD: Duration = Duration::from_millis(10);
/// The least time between two signatures of this node, and between two kept checkpoints.
const COSIGN_EVERY: Duration = Duration::from_secs(1);
const KEEP_EVERY: Duration = Duration::from_secs(60);
const SMALLEST_BATCH: i64 = 64;

/// The head row.
pub(crate) struct Head {
    pub origin: String,
    pub range: CompactRange,
    epoch: i64,
    pub note: String,
    pub note_size: i64,
}

impl Head {
    pub(crate) fn from_row(row: &Row) -> Result<Self, Error> {
        let range = CompactRange::from_bytes(&row.bytes("frontier")?)?;
        if i64::try_from(range.size()) != Ok(row.int("size")?) {
            return Err(Error::Fork("the head's size and frontier differ".to_owned()));
        }
        Ok(Self {
            origin: row.text("origin")?,
            range,
            epoch: row.int("epoch")?,
            note: row.text("note")?,
            note_size: row.int("note_size")?,
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.range.size()
    }
}

/// Runs the sequencer until `stop`: leads where it can, waits where another node does.
///
/// # Errors
/// [`Error::Fork`] where the log does not continue what this node saw: it stops then, and signs
/// nothing. Other failures are logged and tried again.
pub async fn run_sequencer(spine: Spine, stop: CancellationToken) -> Result<(), Error> {
    let Some(mut sequencer) = start(&spine, &stop).await? else { return Ok(()) };
    loop {
        match sequencer.drain().await {
            Ok(()) => {}
            Err(error @ Error::Fork(_)) => return Err(error),
            Err(error) => tracing::warn!(%error, "a batch failed and will be tried again"),
        }
        let hint = sequencer.spine.0.pending.notified();
        tokio::select! {
            () = stop.cancelled() => {
                // What was committed before the stop still gets its leaf.
                return sequencer.drain().await;
            }
            () = hint => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Starts, however long the database needs to answer; none where the program stops before.
async fn start(spine: &Spine, stop: &CancellationToken) -> Result<Option<Sequencer>, Error> {
    loop {
        match Sequencer::start(spine.clone()).await {
            Ok(sequencer) => return Ok(Some(sequencer)),
            Err(error @ Error::Store(_)) => {
                tracing::warn!(%error, "the sequencer could not start and will try again");
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// The sequencer of one node.
pub(crate) struct Sequencer {
    spine: Spine,
    memory: Memory,
    key: SeedSigner,
    /// The epoch, size and root after our own last batch: nothing to prove while they still stand.
    led: Option<(i64, u64, Hash)>,
    batch: i64,
    cosigned_at: kernel::Timestamp,
}

impl Sequencer {
    pub(crate) async fn start(spine: Spine) -> Result<Self, Error> {
        let mut inner = spine.0.db.begin().await?;
        let empty = CompactRange::new().to_bytes();
        inner.run(FOUND.text(), args![spine.0.signer.name(), empty]).await?;
        let head = inner.rows(HEAD.text(), Vec::new()).await?;
        inner.commit().await?;
        let head = Head::from_row(head.first().ok_or(store::Error::Rows { found: 0 })?)?;
        spine.0.size.send_replace(head.size());
        let memory = Memory::load(&spine)?;
        let key = node::key(&spine, spine.0.entropy.as_ref())?;
        let cosigned_at = kernel::Timestamp::default();
        Ok(Self { spine, memory, key, led: None, batch: Limits::BATCH_EVENTS, cosigned_at })
    }

    /// Sequences until nothing waits or another node leads.
    pub(crate) async fn drain(&mut self) -> Result<(), Error> {
        loop {
            let waiting = self.spine.0.db.read().await?.rows(WAITING.text(), Vec::new()).await?;
            if let (true, Some((epoch, size, _))) = (waiting.is_empty(), self.led) {
                let head = self.spine.head().await?.ok_or(store::Error::Rows { found: 0 })?;
                if (head.epoch, head.size()) == (epoch, size) {
                    return Ok(());
                }
                // Another leads since, and has sequenced what waited.
                self.led = None;
                return self.follow().await;
            }
            match self.step().await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Error::NotLeader) => {
                    self.led = None;
                    return self.follow().await;
                }
                Err(error) => {
                    self.led = None;
                    return Err(error);
                }
            }
        }
    }

    /// One batch; false where nothing waited.
    async fn step(&mut self) -> Result<bool, Error> {
        let began = self.spine.0.clock.now();
        let mut inner = self.spine.0.db.begin().await?;
        let head = self.lead(&mut inner).await?;
        let first = i64::try_from(head.size()).unwrap_or(i64::MAX);
        let moved = match self.take(&mut inner, &head, first).await {
            // A row that stands in the log already, or that no column of the log takes.
            Err(error @ (store::Error::Unique | store::Error::Broken(_))) => {
                inner.rollback().await?;
                return if self.remove_forged().await? { Ok(true) } else { Err(error.into()) };
            }
            moved => moved?,
        };
        if moved.is_empty() {
            inner.commit().await?;
            self.publish(&head, head.range.root()).await?;
            return Ok(false);
        }
        let Some(leaves) = self.checked_leaves(first, &moved)? else {
            inner.rollback().await?;
            // None found: another batch than the one that was looked at. It is looked at next.
            self.remove_forged().await?;
            return Ok(true);
        };
        let after = first + i64::try_from(leaves.len()).unwrap_or(0);
        inner.run(MOVED.text(), args![first, after]).await?;
        let edge = node::tiles(&mut inner, &TileId::edge(head.size())).await?;
        let growth = merkle::grow(&head.range, &leaves, &edge)?;
        for tile in growth.tiles {
            let index = i64::try_from(tile.id.index()).unwrap_or(i64::MAX);
            let row = args![i64::from(tile.id.level()), index, tile.id.width(), tile.bytes];
            inner.run(PUT_TILE.text(), row).await?;
        }
        let grown = args![after, growth.range.to_bytes(), first, head.epoch];
        if inner.rows(GROW.text(), grown).await?.is_empty() {
            return Err(Error::NotLeader);
        }
        inner.commit().await?;
        let root = growth.range.root();
        self.led = Some((head.epoch, growth.range.size(), root));
        self.spine.0.meters.sequenced(leaves.len());
        self.adapt(began);
        self.publish(&Head { range: growth.range, ..head }, root).await?;
        Ok(true)
    }

    /// Moves the next rows of the outbox into the log. What was committed before a restore may still
    /// wait there: under a new name, the event that tells of it comes before all others.
    async fn take(
        &self,
        inner: &mut Transaction,
        head: &Head,
        first: i64,
    ) -> Result<Vec<Row>, store::Error> {
        if head.note_size < 0 {
            let kind = LogReopened::SPEC.kind;
            let moved = inner.rows(MOVE_REOPENED.text(), args![first, kind]).await?;
            if !moved.is_empty() {
                return Ok(moved);
            }
        }
        inner.rows(MOVE.text(), args![first, self.batch]).await
    }

    /// Takes or keeps the lease, and makes sure that the tree continues what was seen (P4).
    async fn lead(&mut self, inner: &mut Transaction) -> Result<Head, Error> {
        let now = self.spine.house_time();
        // No honest lease lasts longer than this: it was taken by a clock that has jumped.
        let nonsense = now.plus(LEASE * 2);
        let lease = args![self.spine.0.node.as_str(), now.plus(LEASE), now, nonsense];
        let rows = inner.rows(LEAD.text(), lease).await?;
        let head = Head::from_row(rows.first().ok_or(Error::NotLeader)?)?;
        let root = head.range.root();
        if self.led != Some((head.epoch, head.size(), root)) {
            self.continues_memory(inner, &head.origin, (head.size(), root)).await?;
            node::continues_cosigned(&self.spine, inner, (head.size(), root)).await?;
            self.led = Some((head.epoch, head.size(), root));
        }
        Ok(head)
    }

    /// Whether a tree continues the last one that this node saw.
    async fn continues_memory(
        &self,
        from: &mut impl Fetch,
        origin: &str,
        tree: (u64, Hash),
    ) -> Result<(), Error> {
        let Some(seen) = self.memory.seen() else { return Ok(()) };
        if seen.is_of(origin) {
            return node::continues(from, (seen.size, seen.root), tree).await;
        }
        reopen::continues(&self.spine, from, seen, origin).await
    }

    /// While another node leads: remembers what it signed, where that continues what this node saw,
    /// and signs it too (P4). So a leader that dies leaves others who know where the log was.
    async fn follow(&mut self) -> Result<(), Error> {
        let Some(head) = self.spine.head().await? else { return Ok(()) };
        if head.note.is_empty() {
            return Ok(());
        }
        let signed = SignedCheckpoint::parse(head.note.as_bytes())?;
        let tree = (signed.claimed().size(), signed.claimed().root());
        let seen = self.memory.seen();
        if seen.is_some_and(|seen| seen.is_of(&head.origin) && (seen.size, seen.root) == tree) {
            return Ok(());
        }
        let mut read = self.spine.0.db.read().await?;
        let named = signed.claimed().origin() == head.origin;
        if !named || !keys::is_signed(&self.spine, &mut read, &signed).await? {
            return Err(Error::Fork("its head is not signed by the log's key".to_owned()));
        }
        if seen.is_some_and(|seen| seen.is_of(&head.origin) && tree.0 < seen.size) {
            // This node led until a moment ago, and grew the tree by more than anybody has signed yet.
            let grown = (head.size(), head.range.root());
            return self.continues_memory(&mut read, &head.origin, grown).await;
        }
        self.continues_memory(&mut read, &head.origin, tree).await?;
        drop(read);
        self.memory.remember(&head.origin, tree.0, tree.1)?;
        self.spine.0.size.send_replace(tree.0);
        self.cosign(signed).await
    }

    /// The leaves in their order; none where one was not written by the spine.
    fn checked_leaves(&self, first: i64, moved: &[Row]) -> Result<Option<Vec<Hash>>, Error> {
        let mut leaves = Vec::with_capacity(moved.len());
        for row in moved {
            let leaf = Leaf::read(self.spine.0.sealer.as_ref(), row);
            if !is_ours(&leaf) {
                return Ok(None);
            }
            leaves.push((row.int("idx")?, leaf.hash));
        }
        leaves.sort_unstable_by_key(|(index, _)| *index);
        let dense = leaves.iter().zip(first..).all(|((index, _), expected)| *index == expected);
        if !dense {
            return Err(Error::Fork("the new leaf numbers are not dense".to_owned()));
        }
        Ok(Some(leaves.into_iter().map(|(_, leaf)| leaf).collect()))
    }

    /// Takes rows out of the outbox that the spine did not write, or that stand in the log already,
    /// and tells of it. False where there was none.
    async fn remove_forged(&self) -> Result<bool, Error> {
        self.spine.0.sealer.resolve(&[crate::Subject::House]).await?;
        let mut tx = self.spine.begin(&self.spine.system_ctx("sequencer")).await?;
        let nameless = tx.upkeep(&REMOVE_NAMELESS, args![]).await?;
        let mut count = u32::try_from(nameless).unwrap_or(u32::MAX);
        for row in tx.rows(&SUSPECTS, args![self.batch]).await? {
            let ours = is_ours(&Leaf::read(self.spine.0.sealer.as_ref(), &row));
            if !ours || row.int("leaves")? > 0 {
                let id = row.value("id")?;
                tx.upkeep(&REMOVE_FORGED, args![id]).await?;
                count = count.saturating_add(1);
            }
        }
        if count == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        tracing::error!(count, "events that this program did not write were kept out of the log");
        tx.emit(crate::About::house("log", [0; 16], 0), ForgedEventsFound { count })?;
        tx.commit().await?;
        Ok(true)
    }

    /// Signs the head where it is not signed yet, and tells who waits for it.
    async fn publish(&mut self, head: &Head, root: Hash) -> Result<(), Error> {
        let size = i64::try_from(head.size()).unwrap_or(i64::MAX);
        self.memory.remember(&head.origin, head.size(), root)?;
        if head.note_size < size {
            let checkpoint = Checkpoint::new(&head.origin, head.size(), root)?;
            let signed = node::sign(&self.spine, &checkpoint)?;
            let now = self.spine.0.clock.now();
            let note = signed.to_string();
            let mut inner = self.spine.0.db.begin().await?;
            let published = args![note.as_str(), size, now, head.origin.as_str()];
            inner.run(PUBLISH.text(), published).await?;
            inner.run(KEEP.text(), args![size, now, note, now.minus(KEEP_EVERY)]).await?;
            inner.commit().await?;
            self.cosign(signed).await?;
        }
        self.spine.0.size.send_replace(head.size());
        Ok(())
    }

    async fn cosign(&mut self, signed: SignedCheckpoint) -> Result<(), Error> {
        let now = self.spine.0.clock.now();
        // A clock that was set back must not silence this node for as long.
        if now >= self.cosigned_at && now.since(self.cosigned_at) < COSIGN_EVERY {
            return Ok(());
        }
        node::cosign(&self.spine, &self.key, signed).await?;
        self.cosigned_at = now;
        Ok(())
    }

    /// On SQLite a batch must not hold the writer for long.
    fn adapt(&mut self, began: kernel::Timestamp) {
        if self.spine.0.db.backend() != Backend::Sqlite {
            return;
        }
        let held = self.spine.0.clock.now().since(began);
        self.batch = if held > SQLITE_HOLD {
            (self.batch / 2).max(SMALLEST_BATCH)
        } else {
            (self.batch * 2).min(Limits::BATCH_EVENTS)
        };
    }
}

/// Whether the spine wrote a row of the outbox: its body is whole, and all fits its entry.
fn is_ours(leaf: &Leaf) -> bool {
    leaf.faults.is_empty() && leaf.body.is_some()
}

impl Spine {
    /// The head as it stands; none before the first start of the sequencer.
    pub(crate) async fn head(&self) -> Result<Option<Head>, Error> {
        let rows = self.0.db.read().await?.rows(HEAD.text(), Vec::new()).await?;
        rows.first().map(Head::from_row).transpose()
    }

    /// Sequences all that waits, now, where this process may lead: for commands and tests.
    ///
    /// # Errors
    /// As [`run_sequencer`].
    pub async fn sequence(&self) -> Result<(), Error> {
        // Nobody compares clocks for a command, and the lease is judged by the database's time.
        self.compare_clock().await?;
        Sequencer::start(self.clone()).await?.drain().await
    }
}
