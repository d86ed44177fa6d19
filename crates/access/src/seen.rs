//! What the edge saw, folded: counts by client, rule and minute in an upkeep table, and at most one
//! event for each of them. A flood makes larger counts, not more transactions: clients past the
//! bound of a minute are counted together, and told together once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::Timestamp;
use spine::{About, Subject, Tx, args, sql, transact};
use tokio_util::sync::CancellationToken;
use web::feed::{Net, Observations, Observed};

use crate::error::Error;
use crate::events::{FloodObserved, LimitExceeded, RequestRefused};
use crate::room::Access;

sql! {
    upkeep COUNT in access_seen = "INSERT INTO access_seen (bucket, rule, minute, seen) \
        VALUES ($1, $2, $3, $4) \
        ON CONFLICT (bucket) DO UPDATE SET seen = access_seen.seen + excluded.seen RETURNING seen";
    upkeep FORGET in access_seen = "DELETE FROM access_seen WHERE bucket IN \
        (SELECT bucket FROM access_seen WHERE minute < $1 LIMIT 5000)";
}

/// Counts that one transaction writes.
const CHUNK: usize = 200;
/// How long counts are kept, min.
const KEEP_MIN: i64 = 120;
/// The shortest time between two looks.
const REST: Duration = Duration::from_secs(1);
/// The longest name of a rule, bytes.
const RULE_BYTES: usize = 96;

/// What one fold did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Clients and rules counted one by one.
    pub counted: u64,
    /// Events told.
    pub told: u64,
    /// What was seen past the bounds of the minute, and counted together.
    pub left_out: u64,
    /// What the edge could not even queue.
    pub dropped: u64,
}

/// What this minute has had already.
#[derive(Debug, Default)]
struct Minute {
    minute: i64,
    clients: HashSet<[u8; 32]>,
    events: usize,
    flood: bool,
    left_out: u64,
    dropped: u64,
}

/// Folds what the edge saw. One for each node.
#[derive(Debug)]
pub struct Observer {
    room: Access,
    minute: Mutex<Minute>,
    totals: Mutex<Folded>,
}

/// One client, rule and minute, with what was seen.
#[derive(Clone, Debug)]
struct Count {
    address: IpAddr,
    rule: String,
    minute: i64,
    count: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A rule's name as it may stand in the log in the clear.
fn clean(rule: &str) -> String {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if rule.is_empty() || rule.len() > RULE_BYTES || !rule.bytes().all(good) {
        return "other".to_owned();
    }
    rule.to_owned()
}

/// Puts together what one client did to one rule in one minute.
fn together(observed: &Observed) -> Vec<Count> {
    let mut counts: HashMap<(IpAddr, &str, i64), u64> = HashMap::new();
    for seen in &observed.seen {
        let client = Net::of_client(seen.client).address();
        let key = (client, seen.rule.as_str(), seen.second.div_euclid(60));
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(seen.count);
    }
    let mut counts: Vec<Count> = counts
        .into_iter()
        .map(|((address, rule, minute), count)| Count { address, rule: clean(rule), minute, count })
        .collect();
    counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.address.cmp(&b.address)));
    counts
}

impl Observer {
    /// An observer that writes into this room.
    #[must_use]
    pub fn new(room: Access) -> Self {
        Self { room, minute: Mutex::default(), totals: Mutex::default() }
    }

    /// Everything folded since the start, for metrics.
    #[must_use]
    pub fn totals(&self) -> Folded {
        *lock(&self.totals)
    }

    /// Folds until `stop`, at most once in a second, and what is left at the end. What could not be
    /// written is counted as dropped.
    pub async fn run(&self, observations: &Observations, stop: CancellationToken) {
        loop {
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                () = observations.ready() => false,
            };
            let observed = observations.take();
            if let Err(error) = self.fold(&observed).await {
                let lost = observed.seen.iter().map(|seen| seen.count).sum::<u64>();
                tracing::warn!(%error, lost, "what the edge saw could not be written");
                let mut minute = lock(&self.minute);
                minute.dropped = minute.dropped.saturating_add(lost);
            }
            if stopping {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(REST) => {}
            }
        }
    }

    /// Folds one batch.
    ///
    /// # Errors
    /// The store's and the vault's.
    pub async fn fold(&self, observed: &Observed) -> Result<Folded, Error> {
        let ctx = self.room.own_ctx();
        self.room.vault().resolve(&[Subject::Day(ctx.now.day())]).await?;
        let (admitted, mut folded) = self.admit(observed, ctx.now);
        for chunk in admitted.chunks(CHUNK) {
            let room_left = self.room.config().seen.events_max().saturating_sub(self.told());
            let (told, untold) = transact!(self.room.spine(), &ctx, tx => {
                write(&mut tx, chunk, room_left).await
            })?;
            let mut minute = lock(&self.minute);
            minute.events += told;
            minute.left_out = minute.left_out.saturating_add(untold);
            folded.told += u64::try_from(told).unwrap_or(0);
            folded.left_out += untold;
        }
        folded.told += self.tell_flood(&ctx).await?;
        let mut totals = lock(&self.totals);
        totals.counted += folded.counted;
        totals.told += folded.told;
        totals.left_out += folded.left_out;
        totals.dropped += folded.dropped;
        Ok(folded)
    }

    fn told(&self) -> usize {
        lock(&self.minute).events
    }

    /// Which counts may be written one by one in this minute, in order of their keys, so that two
    /// nodes never wait for each other in a circle.
    fn admit(&self, observed: &Observed, now: Timestamp) -> (Vec<([u8; 32], Count)>, Folded) {
        let mut minute = lock(&self.minute);
        let present = now.seconds().div_euclid(60);
        if minute.minute != present {
            *minute = Minute { minute: present, ..Minute::default() };
        }
        let mut folded = Folded { dropped: observed.dropped, ..Folded::default() };
        minute.dropped = minute.dropped.saturating_add(observed.dropped);
        let mut admitted = BTreeMap::new();
        for count in together(observed) {
            let text = format!("{}|{}|{}", count.address, count.rule, count.minute);
            let bucket = self.room.vault().blind("access_seen.bucket", text.as_bytes());
            let full = minute.clients.len() >= self.room.config().seen.clients_max();
            // Far from now: a clock that is wrong, and nothing to keep rows for.
            let near = (count.minute - present).abs() <= KEEP_MIN;
            if !near || (full && !minute.clients.contains(&bucket)) {
                minute.left_out = minute.left_out.saturating_add(count.count);
                folded.left_out = folded.left_out.saturating_add(count.count);
                continue;
            }
            minute.clients.insert(bucket);
            folded.counted += 1;
            admitted.insert(bucket, count);
        }
        (admitted.into_iter().collect(), folded)
    }

    /// Tells once in a minute that not all was told one by one.
    async fn tell_flood(&self, ctx: &kernel::Ctx) -> Result<u64, Error> {
        let (left_out, dropped) = {
            let minute = lock(&self.minute);
            if minute.flood || (minute.left_out == 0 && minute.dropped == 0) {
                return Ok(0);
            }
            (minute.left_out, minute.dropped)
        };
        transact!(self.room.spine(), ctx, tx => {
            let event = FloodObserved { left_out, dropped };
            tx.emit(About::house("flood", [0; 16], 0), event)?;
            Ok::<_, Error>(())
        })?;
        lock(&self.minute).flood = true;
        Ok(1)
    }
}

/// Writes counts, and tells those that are the first of their minute while there is room for
/// events. Returns how many were told, and how much was seen of the first ones that were not.
async fn write(
    tx: &mut Tx,
    counts: &[([u8; 32], Count)],
    room_left: usize,
) -> Result<(usize, u64), Error> {
    let (mut told, mut untold) = (0, 0_u64);
    for (bucket, count) in counts {
        let seen = i64::try_from(count.count).unwrap_or(i64::MAX / 2);
        let args = args![bucket, &count.rule, count.minute, seen];
        let rows = tx.upkeep_rows(&COUNT, args).await?;
        let total =
            rows.first().map(|row| row.int("seen")).transpose().map_err(spine::Error::from)?;
        // `blocked`: the block itself was told.
        if total != Some(seen) || count.rule == "blocked" {
            continue;
        }
        if told >= room_left {
            untold = untold.saturating_add(count.count);
            continue;
        }
        tell(tx, count)?;
        told += 1;
    }
    Ok((told, untold))
}

fn tell(tx: &mut Tx, count: &Count) -> Result<(), Error> {
    let about = About::unknown(tx.ctx().now, "client", [0; 16]);
    let Count { address, rule, minute, count } = count.clone();
    if rule.starts_with("limit.") {
        tx.emit(about, LimitExceeded { rule, count, address, minute })?;
    } else {
        tx.emit(about, RequestRefused { rule, count, address, minute })?;
    }
    Ok(())
}

impl Access {
    /// Counts one more, and says whether it was the first of its minute over all nodes.
    pub(crate) async fn first_in_minute(
        &self,
        tx: &mut Tx,
        rule: &'static str,
        what: &[u8; 16],
    ) -> Result<bool, Error> {
        let minute = tx.ctx().now.seconds().div_euclid(60);
        let key = [rule.as_bytes(), what, &minute.to_be_bytes()].concat();
        let bucket = self.vault().blind("access_seen.other", &key);
        let rows = tx.upkeep_rows(&COUNT, args![bucket, rule, minute, 1_i64]).await?;
        let total = rows.first().map(|row| row.int("seen")).transpose();
        Ok(total.map_err(spine::Error::from)? == Some(1))
    }

    /// Forgets counts that are older than two hours.
    pub(crate) async fn forget_seen(&self, now: Timestamp) -> Result<(), Error> {
        let oldest = now.seconds().div_euclid(60) - KEEP_MIN;
        for _ in 0..200 {
            let mut upkeep = self.spine().upkeep().await?;
            let gone = upkeep.run(&FORGET, args![oldest]).await?;
            upkeep.commit().await?;
            if gone < 5_000 {
                break;
            }
        }
        Ok(())
    }
}
