//! Consumers (P7): parts of the program that follow the log, each at its own pace.
//!
//! A consumer's cursor moves in the transaction of its own writes, so each event has its effect
//! once. Batches that hold nothing for it move the cursor in memory only, and now and then on disk.
//! A batch that fails is tried again event by event, so that one event that cannot be handled holds
//! up only those behind it, and is named in the program's log.

use std::time::Duration;

use kernel::Limits;
use store::{args, sql};
use tokio_util::sync::CancellationToken;

use crate::events::UnreadableEventsPassed;
use crate::{About, BoxFuture, Error, Recorded, Spine, Subject, Tx};

sql! {
    read CURSOR = "SELECT idx FROM spine_cursor WHERE name = $1";
    upkeep ADVANCE in spine_cursor =
        "INSERT INTO spine_cursor (name, idx) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET idx = excluded.idx WHERE spine_cursor.idx = $3";
}

/// Something that follows the log.
pub trait Consumer: Send + Sync {
    /// Its name: the name of its cursor. Never reused for another meaning.
    fn name(&self) -> &'static str;

    /// The kinds of event that it wants; all where empty.
    fn kinds(&self) -> &'static [&'static str];

    /// Handles events in leaf order, within a transaction that also moves the cursor. The keys that
    /// it seals under were resolved before: see [`Consumer::prepare`].
    fn handle<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Called before the transaction begins: the place for all that may wait. Unless a consumer
    /// does otherwise, this resolves the keys of the house, of the day, and of every account that
    /// the events are about.
    fn prepare<'a>(
        &'a self,
        spine: &'a Spine,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(spine.resolve_for(events))
    }
}

const PAGE: i64 = 200;
/// Events that pass without interest before the cursor is written all the same.
const SAVE_EVERY: i64 = 2_000;
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How often the log is looked at without a hint.
const POLL: Duration = Duration::from_secs(1);

/// Runs a consumer until `stop`. A batch that fails is tried again, later and later, for ever: an
/// event is never skipped.
pub async fn run_consumer(spine: Spine, consumer: &dyn Consumer, stop: CancellationToken) {
    let mut grown = spine.grown();
    let mut follower = Follower::new(spine, consumer);
    let mut retry = FIRST_RETRY;
    loop {
        let wait = match follower.catch_up(&stop).await {
            Ok(()) => {
                retry = FIRST_RETRY;
                POLL
            }
            Err(error) => {
                let (consumer, leaf) = (consumer.name(), follower.stuck.unwrap_or(-1));
                tracing::warn!(%error, consumer, leaf, "events from this one will be tried again");
                retry = (retry * 2).min(LONGEST_RETRY);
                retry
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            _ = grown.changed(), if wait == POLL => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Follower<'a> {
    spine: Spine,
    consumer: &'a dyn Consumer,
    at: Option<i64>,
    saved: i64,
    /// How many events are taken at once.
    page: i64,
    /// The first event of a batch that failed.
    stuck: Option<i64>,
}

impl<'a> Follower<'a> {
    const fn new(spine: Spine, consumer: &'a dyn Consumer) -> Self {
        Self { spine, consumer, at: None, saved: 0, page: PAGE, stuck: None }
    }

    async fn catch_up(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        while !stop.is_cancelled() {
            let at = self.position().await?;
            let page = self.page;
            let kinds = self.consumer.kinds();
            let wants = |kind: &str| kinds.is_empty() || kinds.contains(&kind);
            let events = self.events(at, page).await?;
            let Some(last) = events.last() else { return Ok(()) };
            let next = last.index + 1;
            let full = i64::try_from(events.len()) == Ok(page);
            let wanted: Vec<Recorded> =
                events.into_iter().filter(|event| wants(&event.kind)).collect();
            if !wanted.is_empty() {
                self.consume(&wanted, next).await?;
            } else if next - self.saved >= SAVE_EVERY {
                let mut upkeep = self.spine.upkeep().await?;
                upkeep.run(&ADVANCE, args![self.consumer.name(), next, self.saved]).await?;
                upkeep.commit().await?;
                self.saved = next;
            }
            self.at = Some(next);
            self.spine.0.meters.read_to(self.consumer.name(), next);
            self.stuck = None;
            self.page = (page * 2).min(PAGE);
            if !full {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next events; one alone where they cannot be opened together.
    async fn events(&mut self, at: i64, page: i64) -> Result<Vec<Recorded>, Error> {
        let kinds = self.consumer.kinds();
        let wants = |kind: &str| kinds.is_empty() || kinds.contains(&kind);
        let events = self.spine.events_from(at, page, wants).await;
        if events.is_err() {
            self.failed_at(at);
        }
        events
    }

    fn failed_at(&mut self, leaf: i64) {
        self.page = 1;
        self.stuck = Some(leaf);
    }

    async fn position(&mut self) -> Result<i64, Error> {
        if let Some(at) = self.at {
            return Ok(at);
        }
        let rows = self.spine.read().await?.rows(&CURSOR, args![self.consumer.name()]).await?;
        let at = rows.first().map(|row| row.int("idx")).transpose()?.unwrap_or(0);
        self.at = Some(at);
        self.spine.0.meters.read_to(self.consumer.name(), at);
        self.saved = at;
        Ok(at)
    }

    async fn consume(&mut self, events: &[Recorded], next: i64) -> Result<(), Error> {
        let tried = self.try_consume(events, next).await;
        if tried.is_err() {
            // Another node may have been faster: read the cursor anew.
            self.at = None;
            self.failed_at(events.first().map_or(next, |event| event.index));
        }
        tried
    }

    /// What is said of events that cannot be opened: the consumer gets past them, as past those of
    /// erased persons, but nobody asked for this. They stay in the log.
    fn unreadable(&self, events: &[Recorded]) -> Option<UnreadableEventsPassed> {
        let mut lost = events.iter().filter(|event| event.sealed.is_lost());
        let first = lost.next()?;
        let count = u32::try_from(lost.count()).unwrap_or(u32::MAX).saturating_add(1);
        let (consumer, leaf, kind) = (self.consumer.name(), first.index, first.kind.as_str());
        tracing::error!(
            consumer, leaf, kind, count, why = ?first.sealed,
            "EVENTS CANNOT BE OPENED and are passed over: `stagedoor audit verify` says more"
        );
        Some(UnreadableEventsPassed { consumer: consumer.to_owned(), first_leaf: leaf, count })
    }

    async fn try_consume(&mut self, events: &[Recorded], next: i64) -> Result<(), Error> {
        self.consumer.prepare(&self.spine, events).await?;
        let passed = self.unreadable(events);
        if passed.is_some() {
            self.spine.0.sealer.resolve(&[Subject::House]).await?;
        }
        let mut tx = self.spine.begin(&self.spine.system_ctx(self.consumer.name())).await?;
        let moved = tx.upkeep(&ADVANCE, args![self.consumer.name(), next, self.saved]).await?;
        if moved == 0 {
            return Err(Error::NotLeader);
        }
        self.consumer.handle(&mut tx, events).await?;
        if let Some(passed) = passed {
            tx.emit(About::house("log", [0; 16], 0), passed)?;
        }
        tx.commit().await?;
        self.saved = next;
        Ok(())
    }
}

/// How far ahead keys of days are fetched: midnight may pass while a batch waits for the database.
const AHEAD: Duration = Duration::from_secs(60);

impl Spine {
    /// Resolves the keys of the house, of the day, and of every account that the events are about:
    /// what most consumers seal under.
    ///
    /// # Errors
    /// [`Error::Seal`] where the key store does not answer.
    pub async fn resolve_for(&self, events: &[Recorded]) -> Result<(), Error> {
        let now = self.clock().now();
        let mut subjects = vec![Subject::House];
        subjects.extend([now.day(), now.plus(AHEAD).day()].map(Subject::Day));
        subjects.extend(events.iter().filter_map(Recorded::account).map(Subject::Account));
        subjects.sort_unstable();
        subjects.dedup();
        Ok(self.sealer().resolve(&subjects).await?)
    }

    /// Lets a consumer read all that is in the log, now: for commands and tests.
    ///
    /// # Errors
    /// The consumer's, or the store's.
    pub async fn consume(&self, consumer: &dyn Consumer) -> Result<(), Error> {
        Follower::new(self.clone(), consumer).catch_up(&CancellationToken::new()).await
    }
}

/// The most events that a consumer sees at once.
const _: () = assert!(PAGE <= Limits::BATCH_EVENTS);
