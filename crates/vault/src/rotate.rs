//! Rotation while the house is open: a new version of a purpose key, and the epoch rotation that
//! wraps every key anew and destroys the old epoch.

use kernel::Timestamp;
use serde::Serialize;
use spine::Subject;
use store::{Transaction, Value, args};

use crate::aead::SEALS_MAX;
use crate::error::Error;
use crate::holder::{EpochKey, Wrapped};
use crate::purpose::{Phase, Purpose};
use crate::ring::Ring;
use crate::rows::{
    CLOSE_EPOCH, COUNT_UNDER_EPOCH, COUNT_USES, Count, END_PURPOSES, EPOCHS, EPOCHS_NEEDED,
    EpochNumber, EpochRow, LOCK, PURPOSES, PurposeRow, RETIRE_AT, REWRAP, REWRAP_MANY, REWRAP_ONE,
    REWRAP_PURPOSE, SubjectRow, UNDER_EPOCH,
};
use crate::steps::{Step, passed};
use crate::vault::{NewVersion, Vault, add_epoch, add_version};

/// Passes over the subjects of an old epoch: the second finds those that were made meanwhile.
const PASSES: u32 = 8;

/// A purpose key has a new version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rotated {
    /// Which key.
    pub purpose: Purpose,
    /// Its new version.
    pub version: u32,
    /// From when it is used.
    pub not_before: Timestamp,
}

/// How far an epoch rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Subject keys wrapped anew.
    pub done: u64,
    /// Subject keys that were under old epochs when it began.
    pub total: u64,
}

/// An epoch is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochRotated {
    /// The epoch that all keys are under now.
    pub epoch: i64,
    /// The epochs that were destroyed.
    pub destroyed: Vec<i64>,
    /// Subject keys wrapped anew.
    pub rewrapped: u64,
    /// A rotation that was cut short was finished; no further epoch was begun.
    pub resumed: bool,
}

/// What the upkeep did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tended {
    /// Keys that had sealed half of what they may, and have a new version.
    pub rotated: Vec<Rotated>,
    /// Old signing keys that were destroyed.
    pub ended: u64,
}

impl Vault {
    /// Gives a purpose key a new version. It is published at once and used after the lead; what
    /// the old version made still opens and verifies (a signing key's old version until the
    /// overlap is over).
    ///
    /// Order: the new version's row, then the end of the old one, in two transactions: cut short
    /// between them, the old version has no end yet, and [`Vault::tend`] gives it one.
    ///
    /// # Errors
    /// [`Error::Fixed`] for keys that are never rotated, [`Error::Pending`] where a new version
    /// waits already, [`Error::Raced`] where another process rotated the same key just now.
    pub async fn rotate(&self, purpose: Purpose) -> Result<Rotated, Error> {
        if !purpose.rotates() {
            return Err(Error::Fixed(purpose));
        }
        let _one = self.inner.rotating.lock().await;
        self.refresh().await?;
        let (ring, now) = (self.ring(), self.now());
        let phases = ring.phases(purpose, now)?;
        if phases.iter().any(|(_, phase)| *phase == Phase::Next) {
            return Err(Error::Pending(purpose));
        }
        let newest = ring.versions(purpose).last().map_or(0, |version| version.life.version);
        let version = newest.checked_add(1).ok_or(Error::Fixed(purpose))?;
        let not_before = now.plus(self.inner.tuning.lead);
        let new = NewVersion { tenant: self.tenant(), purpose, version, now, not_before };
        if !add_version((&self.inner.db, &self.inner.keyholder), &ring, new, self.entropy()).await?
        {
            return Err(Error::Raced);
        }
        passed(self.drill(), Step::PurposeRecorded)?;
        self.refresh().await?;
        self.end_old_versions().await?;
        Ok(Rotated { purpose, version, not_before })
    }

    /// Gives each superseded signing key its end: when the newest begins, plus the overlap.
    async fn end_old_versions(&self) -> Result<(), Error> {
        let ring = self.ring();
        let tenant = self.tenant();
        for purpose in Purpose::ALL.into_iter().filter(|purpose| purpose.retires()) {
            let [.., before, newest] = ring.versions(purpose) else { continue };
            if before.life.retire_at.is_some() {
                continue;
            }
            let end = newest.life.not_before.plus(self.inner.tuning.overlap);
            let args = args![tenant.as_bytes(), purpose.name(), newest.life.version, end];
            let mut tx = self.inner.db.begin().await?;
            tx.run(RETIRE_AT.text(), args).await?;
            tx.commit().await?;
        }
        self.refresh().await
    }

    /// The vault's upkeep, to be called every half lead (a minute by default): stores the counts
    /// of uses, rotates a key that has sealed half of what it may, destroys signing keys whose
    /// end has come, and reads what other processes rotated.
    ///
    /// # Errors
    /// [`Error`] of the key database; the next call goes on.
    pub async fn tend(&self) -> Result<Tended, Error> {
        self.store_uses().await?;
        self.refresh().await?;
        self.end_old_versions().await?;
        let (tenant, now) = (self.tenant(), self.now());
        let none: &[u8] = &[];
        let mut tx = self.inner.db.begin().await?;
        let ended = tx.run(END_PURPOSES.text(), args![tenant.as_bytes(), none, now]).await?;
        tx.commit().await?;
        let mut tended = Tended { rotated: Vec::new(), ended };
        if self.ring().current(Purpose::Field, now)?.uses() > SEALS_MAX / 2 {
            match self.rotate(Purpose::Field).await {
                Ok(rotated) => tended.rotated.push(rotated),
                Err(Error::Pending(_) | Error::Raced) => {}
                Err(other) => return Err(other),
            }
        }
        if ended > 0 {
            self.refresh().await?;
        }
        Ok(tended)
    }

    /// Adds this process's uses to the database's. Taken before they are stored: a failure loses
    /// at most one interval's count of a bound with a margin of two.
    async fn store_uses(&self) -> Result<(), Error> {
        let (ring, tenant) = (self.ring(), self.tenant());
        let versions = Purpose::ALL.into_iter().flat_map(|purpose| ring.versions(purpose));
        let counts: Vec<(_, u64)> =
            versions.map(|version| (version.id, version.take_uses())).collect();
        if counts.iter().all(|(_, uses)| *uses == 0) {
            return Ok(());
        }
        let mut tx = self.inner.db.begin().await?;
        for (id, uses) in counts.into_iter().filter(|(_, uses)| *uses > 0) {
            let uses = i64::try_from(uses).unwrap_or(i64::MAX);
            tx.run(COUNT_USES.text(), args![tenant.as_bytes(), id.as_bytes(), uses]).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Begins a new epoch, wraps every key under it in batches, and destroys the old epoch's key:
    /// from then on no copy of the key database from before opens anything, so whoever was erased
    /// before cannot be revived from one. Reads and writes go on meanwhile. Where a rotation was
    /// cut short, that one is finished instead.
    ///
    /// Order, and what a crash after each step leaves:
    /// 1. the new epoch's file: unknown to the database, found and used by the next rotation;
    /// 2. the epoch's row with a fresh tenant key: both epochs open, new keys go under the new;
    /// 3. batches, each a transaction with a guard on the old epoch: each key is under one of two
    ///    epochs that both open;
    /// 4. the old epoch's row is deleted, which foreign keys refuse while a key needs it: its file
    ///    is needed by nobody;
    /// 5. the file is overwritten, then removed: a file below the oldest row is destroyed by the
    ///    next rotation, whatever is left of it.
    ///
    /// # Errors
    /// [`Error`] of database or folder; calling it again goes on where it stopped.
    pub async fn rotate_epoch(
        &self,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<EpochRotated, Error> {
        let _one = self.inner.rotating.lock().await;
        let (epoch, resumed) = self.begin_epoch().await?;
        self.refresh().await?;
        let old: Vec<i64> = self.ring().epochs.iter().map(|known| known.key.number).collect();
        let old: Vec<i64> = old.into_iter().filter(|number| *number < epoch).collect();
        let mut total = 0;
        for number in &old {
            total += self.count_under(*number).await?;
        }
        let mut counter = Counter { progress, at: Progress { done: 0, total } };
        counter.tell(0);
        for number in old {
            self.empty_epoch(number, epoch, &mut counter).await?;
        }
        passed(self.drill(), Step::EpochClosed)?;
        let destroyed = self.destroy_epochs().await?;
        self.refresh().await?;
        Ok(EpochRotated { epoch, destroyed, rewrapped: counter.at.done, resumed })
    }

    /// Whether an epoch rotation was cut short and waits to be finished.
    ///
    /// # Errors
    /// [`Error`] of database or folder.
    pub async fn is_rotation_unfinished(&self) -> Result<bool, Error> {
        let needed: Vec<EpochNumber> =
            self.inner.db.read().await?.all(EPOCHS_NEEDED.text(), args![]).await?;
        Ok(self.epoch_rows().await?.len() > 1 || !self.leftover_epochs(&needed).await?.is_empty())
    }

    async fn epoch_rows(&self) -> Result<Vec<EpochRow>, Error> {
        let tenant = self.tenant();
        let mut reader = self.inner.db.read().await?;
        Ok(reader.all(EPOCHS.text(), args![tenant.as_bytes()]).await?)
    }

    /// Files of epochs that no row needs any more. One newer than all rows is no leftover: a
    /// rotation that was cut short wrote it, and the next one uses it.
    async fn leftover_epochs(&self, needed: &[EpochNumber]) -> Result<Vec<i64>, Error> {
        let Some(newest) = needed.last().map(|epoch| epoch.0) else { return Ok(Vec::new()) };
        let is_leftover =
            |file: &i64| *file < newest && !needed.iter().any(|epoch| epoch.0 == *file);
        Ok(self.inner.keyholder.epochs().await?.into_iter().filter(is_leftover).collect())
    }

    /// Begins the next epoch and gives its number; or gives the newest, and true, where a rotation
    /// waits to be finished. Under the lock, so that two processes never write one epoch's file
    /// and row at odds with each other.
    async fn begin_epoch(&self) -> Result<(i64, bool), Error> {
        let mut tx = self.locked().await?;
        let rows: Vec<EpochRow> = tx.all(EPOCHS.text(), args![self.tenant().as_bytes()]).await?;
        let newest = rows.last().ok_or(Error::Missing { what: "its epoch" })?.epoch;
        let needed: Vec<EpochNumber> = tx.all(EPOCHS_NEEDED.text(), args![]).await?;
        if rows.len() > 1 || !self.leftover_epochs(&needed).await?.is_empty() {
            return Ok((newest, true));
        }
        let number = newest + 1;
        self.inner.keyholder.add_epoch(number).await?;
        passed(self.drill(), Step::EpochWritten)?;
        let wrapped = self.inner.keyholder.make_tenant(number).await?;
        add_epoch(&mut tx, (self.tenant(), number), wrapped, self.now()).await?;
        tx.commit().await?;
        passed(self.drill(), Step::EpochRecorded)?;
        Ok((number, false))
    }

    /// A transaction that holds the vault's row.
    async fn locked(&self) -> Result<Transaction, Error> {
        let mut tx = self.inner.db.begin().await?;
        tx.run(LOCK.text(), args![]).await?;
        Ok(tx)
    }

    async fn count_under(&self, epoch: i64) -> Result<u64, Error> {
        let tenant = self.tenant();
        let mut reader = self.inner.db.read().await?;
        let counts: Vec<Count> =
            reader.all(COUNT_UNDER_EPOCH.text(), args![tenant.as_bytes(), epoch]).await?;
        Ok(counts.first().map_or(0, |count| count.0))
    }

    /// Moves everything from one epoch to another and deletes the old one's row.
    async fn empty_epoch(
        &self,
        old: i64,
        new: i64,
        counter: &mut Counter<'_>,
    ) -> Result<(), Error> {
        let mut last = Error::Raced;
        for _ in 0..PASSES {
            match self.rewrap_all(old, new, counter).await {
                // Another process that rotates too was faster: there is nothing left to wrap.
                Err(Error::EpochGone { .. }) => self.refresh().await?,
                other => other?,
            }
            match self.close_epoch(old).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // A key slipped in between look and delete: the foreign key refused.
                Err(error @ Error::Store(store::Error::Busy(_) | store::Error::Broken(_))) => {
                    last = error;
                }
                Err(other) => return Err(other),
            }
        }
        Err(last)
    }

    async fn rewrap_all(&self, old: i64, new: i64, counter: &mut Counter<'_>) -> Result<(), Error> {
        let ring = self.ring();
        self.rewrap_purposes(&ring, old, new).await?;
        self.rewrap_subjects(&ring, (old, new), counter).await
    }

    async fn close_epoch(&self, old: i64) -> Result<bool, Error> {
        let tenant = self.tenant();
        let mut tx = self.inner.db.begin().await?;
        let closed = tx.rows(CLOSE_EPOCH.text(), args![tenant.as_bytes(), old]).await?;
        tx.commit().await?;
        if !closed.is_empty() {
            return Ok(true);
        }
        // Another process that rotates too may have closed it.
        Ok(self.epoch_rows().await?.iter().all(|row| row.epoch != old))
    }

    async fn rewrap_purposes(&self, ring: &Ring, old: i64, new: i64) -> Result<(), Error> {
        let tenant = self.tenant();
        let rows: Vec<PurposeRow> =
            self.inner.db.read().await?.all(PURPOSES.text(), args![tenant.as_bytes()]).await?;
        let rows: Vec<PurposeRow> = rows.into_iter().filter(|row| row.epoch == Some(old)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let keys = rows.iter().map(|row| row.wrapped(old)).collect();
        let wrapped = self.inner.keyholder.rewrap(both(ring, old, new)?, keys).await?;
        let mut tx = self.inner.db.begin().await?;
        for (row, wrapped) in rows.iter().zip(wrapped) {
            let version = row.life.version;
            let args = args![tenant.as_bytes(), &row.purpose, version, old, new, wrapped];
            tx.run(REWRAP_PURPOSE.text(), args).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn rewrap_subjects(
        &self,
        ring: &Ring,
        (old, new): (i64, i64),
        counter: &mut Counter<'_>,
    ) -> Result<(), Error> {
        let tenant = self.tenant();
        let mut after: Vec<u8> = Vec::new();
        loop {
            let limit = self.inner.tuning.rewrap_keys.max(1);
            let args = args![tenant.as_bytes(), old, after, limit];
            let rows: Vec<SubjectRow> =
                self.inner.db.read().await?.all(UNDER_EPOCH.text(), args).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.subject.to_bytes().to_vec();
            let keys: Vec<Wrapped> = rows.iter().map(|row| row.wrapped(old)).collect();
            let wrapped = self.inner.keyholder.rewrap(both(ring, old, new)?, keys).await?;
            let wrapped: Vec<_> = rows.iter().map(|row| row.subject).zip(wrapped).collect();
            counter.tell(self.write_batch(&wrapped, old, new).await?);
            passed(self.drill(), Step::BatchRewrapped)?;
        }
    }

    /// Writes one batch. The guard on the old epoch leaves alone what was shredded meanwhile.
    async fn write_batch(
        &self,
        wrapped: &[(Subject, Vec<u8>)],
        old: i64,
        new: i64,
    ) -> Result<u64, Error> {
        let tenant = self.tenant();
        let mut tx = self.inner.db.begin().await?;
        let mut done = 0;
        let (full, rest) = wrapped.as_chunks::<REWRAP_MANY>();
        for chunk in full {
            let mut args: Vec<Value> = Vec::with_capacity(2 * REWRAP_MANY + 3);
            for (subject, wrapped) in chunk {
                args.push(Value::from(subject.to_bytes()));
                args.push(Value::from(wrapped));
            }
            args.extend(args![tenant.as_bytes(), old, new]);
            done += tx.run(REWRAP.text(), args).await?;
        }
        for (subject, wrapped) in rest {
            let args = args![subject.to_bytes(), wrapped, tenant.as_bytes(), old, new];
            done += tx.run(REWRAP_ONE.text(), args).await?;
        }
        tx.commit().await?;
        Ok(done)
    }

    /// Destroys the files of epochs that no row of any tenant needs. Under the lock, as in [`Vault::begin_epoch`].
    async fn destroy_epochs(&self) -> Result<Vec<i64>, Error> {
        let mut tx = self.locked().await?;
        let needed: Vec<EpochNumber> = tx.all(EPOCHS_NEEDED.text(), args![]).await?;
        let mut destroyed = Vec::new();
        for number in self.leftover_epochs(&needed).await? {
            self.inner.keyholder.overwrite_epoch(number).await?;
            passed(self.drill(), Step::EpochOverwritten)?;
            self.inner.keyholder.remove_epoch(number).await?;
            destroyed.push(number);
        }
        tx.rollback().await?;
        Ok(destroyed)
    }
}

fn both(ring: &Ring, old: i64, new: i64) -> Result<[EpochKey; 2], Error> {
    let known = |epoch| ring.epoch_key(epoch).cloned().ok_or(Error::EpochGone { epoch });
    Ok([known(old)?, known(new)?])
}

/// Counts batches for the one who watches.
struct Counter<'a> {
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    at: Progress,
}

impl Counter<'_> {
    fn tell(&mut self, more: u64) {
        self.at.done += more;
        self.at.total = self.at.total.max(self.at.done);
        (self.progress)(self.at);
    }
}
