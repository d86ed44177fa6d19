//! The keys of persons and of days: made, fetched, destroyed.
//!
//! One row decides: `ADD_SUBJECT` never replaces a row, so a tombstone stays one; `ERASE` takes
//! the wrapped key out of the row. Whoever races whom, the row says which came first.

use std::collections::HashSet;

use kernel::{KeyId, Timestamp};
use serde::Serialize;
use spine::Subject;
use store::{Value, args};

use crate::aead::Cipher;
use crate::cache::{Held, SubjectKey};
use crate::error::Error;
use crate::holder::{Bytes, KeyName, Named, Wrapped};
use crate::rows::{
    ADD_SUBJECT, ADD_TOMBSTONE, DROP_DAYS, ERASE, FIND, FIND_MANY, FIND_ONE, RAISE_HORIZON,
    SubjectRow,
};
use crate::steps::{Step, passed};
use crate::vault::Vault;

/// Tries at what another process may disturb.
const TRIES: u32 = kernel::Limits::TX_TRIES;

/// What `shred` did, for the record of the erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The key that was destroyed; of a subject that never had one, the tombstone's own id.
    pub key: KeyId,
    /// Since when the key stood.
    pub created_at: Timestamp,
    /// Since when it does not.
    pub erased_at: Timestamp,
    /// Old backups of the key database lose the key too once this epoch is destroyed
    /// ([`Vault::rotate_epoch`]).
    pub final_after_epoch: i64,
    /// False where it was erased before: nothing was done now.
    pub now: bool,
}

/// Forgets a subject when dropped, whichever way the work ended.
struct Forget<'a>(&'a Vault, Subject);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.inner.cache.remove(self.1);
    }
}

/// Forgets the days before this one when dropped.
struct ForgetDays<'a>(&'a Vault, i64);

impl Drop for ForgetDays<'_> {
    fn drop(&mut self) {
        self.0.inner.cache.remove_days(self.1);
    }
}

impl Vault {
    /// Fetches the keys of these subjects, so that sealing and opening need not wait. Erased
    /// subjects and unknown accounts are no error here: opening says so. A day's key is made when
    /// it is first asked for.
    ///
    /// # Errors
    /// [`Error::TooMany`] for more subjects than half the cache; [`Error`] of the key database.
    pub async fn resolve(&self, subjects: &[Subject]) -> Result<(), Error> {
        if self.is_stale()
            && let Err(error) = self.refresh().await
        {
            tracing::warn!(%error, "the installation's keys were not read again");
        }
        let horizon = self.ring().day_horizon;
        let asked: Vec<Subject> = subjects
            .iter()
            .copied()
            .filter(|subject| match subject {
                Subject::Account(_) => true,
                Subject::Day(day) => *day >= horizon,
                Subject::House => false,
            })
            .collect();
        let limit = (self.inner.cache.keys_max() / 2).max(1);
        for _ in 0..TRIES {
            let (missing, generation) = self.inner.cache.missing(&asked, self.now());
            if missing.is_empty() {
                return Ok(());
            }
            if missing.len() > limit {
                return Err(Error::TooMany { limit });
            }
            let found = match self.find(&missing).await {
                // Another process ended the epoch between the row and its key: read it again.
                Err(Error::EpochGone { .. } | Error::Raced) => {
                    self.refresh().await?;
                    continue;
                }
                found => found?,
            };
            // Not put in: a subject was shredded meanwhile, and may be among these.
            if self.inner.cache.put(found, generation, self.now()) {
                return Ok(());
            }
        }
        Err(Error::Raced)
    }

    async fn find(&self, subjects: &[Subject]) -> Result<Vec<(Subject, Held)>, Error> {
        let mut rows = Vec::with_capacity(subjects.len());
        for chunk in subjects.chunks(FIND_MANY) {
            rows.extend(self.rows(chunk).await?);
        }
        let mut found = self.held(&rows).await?;
        let standing: HashSet<Subject> = found.iter().map(|(subject, _)| *subject).collect();
        for subject in subjects.iter().filter(|subject| !standing.contains(subject)) {
            let held = match subject {
                // Erased here means: retired since we last heard.
                Subject::Day(_) => match self.make(*subject).await {
                    Err(Error::Erased) => Held::Erased,
                    made => made?,
                },
                Subject::Account(_) | Subject::House => Held::Missing,
            };
            found.push((*subject, held));
        }
        Ok(found)
    }

    async fn rows(&self, subjects: &[Subject]) -> Result<Vec<SubjectRow>, Error> {
        let tenant = self.tenant();
        let mut reader = self.inner.db.read().await?;
        if let [subject] = subjects {
            let args = args![tenant.as_bytes(), subject.to_bytes()];
            return Ok(reader.all(FIND_ONE.text(), args).await?);
        }
        // The last one fills the places that are left over.
        let Some(last) = subjects.last() else { return Ok(Vec::new()) };
        let filled = subjects.iter().chain(std::iter::repeat(last)).take(FIND_MANY);
        let mut args: Vec<Value> = filled.map(|subject| Value::from(subject.to_bytes())).collect();
        args.push(Value::from(tenant.as_bytes()));
        Ok(reader.all(FIND.text(), args).await?)
    }

    /// Opens the rows' keys; one that is in memory already is not asked of the keyholder again.
    async fn held(&self, rows: &[SubjectRow]) -> Result<Vec<(Subject, Held)>, Error> {
        let mut found = Vec::with_capacity(rows.len());
        let mut wanted = Vec::new();
        for row in rows {
            let Some(epoch) = row.epoch else {
                found.push((row.subject, Held::Erased));
                continue;
            };
            match self.inner.cache.known(row.subject, row.key) {
                Some(known) => found.push((row.subject, known)),
                None => wanted.push((row, epoch)),
            }
        }
        if wanted.is_empty() {
            return Ok(found);
        }
        // An epoch that this process does not know yet: another one rotated.
        if wanted.iter().any(|(_, epoch)| self.ring().epoch_key(*epoch).is_none()) {
            self.refresh().await?;
        }
        let keys = wanted.iter().map(|(row, epoch)| row.wrapped(*epoch)).collect();
        let keys = self.inner.keyholder.open(self.ring().epoch_keys(), keys).await?;
        for ((row, _), key) in wanted.iter().zip(keys) {
            found.push((row.subject, held(row.key, Cipher::new(&key)?)));
        }
        Ok(found)
    }

    /// Makes the key of a new account, or finds that it has one. A key without its account (the
    /// account's transaction failed) does no harm.
    ///
    /// # Errors
    /// [`Error::Erased`] where the subject was shredded: it never has a key again.
    pub async fn create(&self, subject: Subject) -> Result<(), Error> {
        if subject == Subject::House {
            return Ok(());
        }
        for _ in 0..TRIES {
            let (_, generation) = self.inner.cache.missing(&[], self.now());
            let made = self.make(subject).await?;
            passed(self.drill(), Step::SubjectRecorded)?;
            if self.inner.cache.put(vec![(subject, made)], generation, self.now()) {
                return Ok(());
            }
        }
        // Others are being shredded all the time; the key stands, and resolve fetches it.
        Ok(())
    }

    /// Adds a subject's row, or reads the one that stands.
    async fn make(&self, subject: Subject) -> Result<Held, Error> {
        let mut last = Error::Raced;
        for _ in 0..TRIES {
            match self.add(subject).await {
                Ok(Some(held)) => return Ok(held),
                Ok(None) => {}
                // A broken foreign key, or no epoch: it ended while the row was on its way.
                Err(
                    error @ (Error::Store(store::Error::Busy(_) | store::Error::Broken(_))
                    | Error::EpochGone { .. }),
                ) => {
                    last = error;
                    self.refresh().await?;
                    continue;
                }
                Err(other) => return Err(other),
            }
            let rows = self.rows(&[subject]).await?;
            match self.held(&rows).await.map(|mut found| found.pop()) {
                Ok(Some((_, Held::Erased))) => return Err(Error::Erased),
                Ok(Some((_, held @ (Held::Key(_) | Held::Missing)))) => return Ok(held),
                Ok(None) => {}
                Err(error @ Error::EpochGone { .. }) => last = error,
                Err(other) => return Err(other),
            }
            // No row, and none could be added: a retired day, or an epoch that is over.
            self.refresh().await?;
            if matches!(subject, Subject::Day(day) if day < self.ring().day_horizon) {
                return Err(Error::Erased);
            }
        }
        Err(last)
    }

    async fn add(&self, subject: Subject) -> Result<Option<Held>, Error> {
        let (ring, now, tenant) = (self.ring(), self.now(), self.tenant());
        let epoch = ring.epoch()?;
        let id = KeyId::generate(now, self.entropy());
        let name = KeyName { what: Named::Subject(subject), id };
        let (wrapped, key) = self.inner.keyholder.make(epoch.key.clone(), name).await?;
        let cipher = Cipher::new(&key)?;
        drop(key);
        let day = match subject {
            Subject::Day(day) => day,
            Subject::Account(_) | Subject::House => i64::MAX,
        };
        let (number, bytes) = (epoch.key.number, subject.to_bytes());
        let args = args![tenant.as_bytes(), bytes, id.as_bytes(), number, wrapped, now, day];
        let mut tx = self.inner.db.begin().await?;
        let added = tx.rows(ADD_SUBJECT.text(), args).await?;
        tx.commit().await?;
        Ok((!added.is_empty()).then(|| held(id, cipher)))
    }

    /// Destroys a subject's key: what was sealed under it is noise from now on, in every table,
    /// log and backup of the data. A tombstone stays, so that the subject is known to be erased.
    /// Doing it again does nothing and gives the same receipt. A subject that has no key gets its
    /// tombstone too, so that none is made later.
    ///
    /// Order: first the row, in one transaction; then this process's cache (also where the caller
    /// went away). A crash between the two loses the cache with the process. Other processes stop
    /// using the key within twice `recheck`. Old backups of the key database hold the key, wrapped,
    /// until the epoch in the receipt is destroyed.
    ///
    /// # Errors
    /// [`Error::NotErasable`] for the house's own key; [`Error`] of the key database.
    pub async fn shred(&self, subject: Subject) -> Result<Receipt, Error> {
        if subject == Subject::House {
            return Err(Error::NotErasable);
        }
        let _forget = Forget(self, subject);
        let mut tries = TRIES;
        let receipt = loop {
            match self.erase(subject).await {
                Err(Error::Store(error)) if error.is_busy() && tries > 1 => tries -= 1,
                done => break done?,
            }
        };
        passed(self.drill(), Step::SubjectErased)?;
        Ok(receipt)
    }

    async fn erase(&self, subject: Subject) -> Result<Receipt, Error> {
        let (tenant, now, bytes) = (self.tenant(), self.now(), subject.to_bytes());
        let none: &[u8] = &[];
        let mut tx = self.inner.db.begin().await?;
        let erased = tx.rows(ERASE.text(), args![tenant.as_bytes(), bytes, none, now]).await?;
        let mut done = !erased.is_empty();
        if !done {
            let id = KeyId::generate(now, self.entropy());
            let args = args![tenant.as_bytes(), bytes, id.as_bytes(), none, now];
            done = !tx.rows(ADD_TOMBSTONE.text(), args).await?.is_empty();
        }
        let rows: Vec<SubjectRow> =
            tx.all(FIND_ONE.text(), args![tenant.as_bytes(), bytes]).await?;
        // Not `newest in memory`: another process may have rotated.
        let epochs: Vec<crate::rows::EpochRow> =
            tx.all(crate::rows::EPOCHS.text(), args![tenant.as_bytes()]).await?;
        tx.commit().await?;
        let row = rows.first().ok_or(Error::Raced)?;
        Ok(Receipt {
            key: row.key,
            created_at: row.created_at,
            erased_at: row.erased_at.ok_or(Error::Raced)?,
            final_after_epoch: epochs.last().map_or(0, |row| row.epoch),
            now: done,
        })
    }

    /// Destroys the keys of all days before `before` (days since 1970) and never makes them
    /// again. Gives how many there were. The present day is never retired.
    ///
    /// Order: the horizon is raised in the transaction that removes the rows, so no day below it
    /// is made after; then the cache, as in [`Vault::shred`].
    ///
    /// # Errors
    /// [`Error`] of the key database.
    pub async fn retire_days(&self, before: i64) -> Result<u64, Error> {
        let before = before.min(self.now().day());
        let _forget = ForgetDays(self, before);
        let (first, end) = (Subject::Day(0).to_bytes(), Subject::Day(before.max(0)).to_bytes());
        let tenant = self.tenant();
        let mut tx = self.inner.db.begin().await?;
        tx.run(RAISE_HORIZON.text(), args![before]).await?;
        let dropped = tx.run(DROP_DAYS.text(), args![tenant.as_bytes(), first, end]).await?;
        tx.commit().await?;
        passed(self.drill(), Step::DaysErased)?;
        self.refresh().await?;
        Ok(dropped)
    }

    /// Forgets a subject's key in this process, because another process has shredded it.
    pub fn forget(&self, subject: Subject) {
        self.inner.cache.remove(subject);
    }

    /// How many subject keys are in memory, and how many may be.
    #[must_use]
    pub fn cached(&self) -> (usize, usize) {
        (self.inner.cache.len(), self.inner.cache.keys_max())
    }

    /// How many subject keys that were asked for were in memory, and how many had to be read.
    #[must_use]
    pub fn cache_meters(&self) -> (u64, u64) {
        self.inner.cache.meters()
    }
}

impl SubjectRow {
    /// The key as the keyholder is shown it.
    pub(crate) fn wrapped(&self, epoch: i64) -> Wrapped {
        let name = KeyName { what: Named::Subject(self.subject), id: self.key };
        Wrapped { name, epoch, wrapped: Bytes(self.wrapped.clone()) }
    }
}

fn held(id: KeyId, cipher: Cipher) -> Held {
    let seals = std::sync::atomic::AtomicU64::new(0);
    Held::Key(std::sync::Arc::new(SubjectKey { id, cipher, seals }))
}
