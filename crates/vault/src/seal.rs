//! Sealing, opening and digests over keys that are in memory: nothing here waits.

use std::sync::atomic::Ordering;

use aws_lc_rs::{constant_time, hmac};
use kernel::{Entropy, Secret};
use spine::{BoxFuture, Place, SealError, Sealer, Subject};

use crate::aead::SEALS_MAX;
use crate::cache::Held;
use crate::error::Error;
use crate::frame::frame;
use crate::purpose::Purpose;
use crate::ring::Material;
use crate::sealed::{Binding, open, seal, version_of};
use crate::vault::Vault;

/// The version that subject keys have: they are destroyed, never replaced.
const SUBJECT_VERSION: u32 = 1;

impl Vault {
    /// Seals `plain` under the subject's key, bound to its place. The result is
    /// [`crate::OVERHEAD_LEN`] bytes longer.
    ///
    /// # Errors
    /// [`Error::Unresolved`], [`Error::Erased`], or [`Error::WornOut`] at the 2^32th seal.
    pub fn seal(
        &self,
        subject: Subject,
        place: Place<'_>,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        if subject == Subject::House {
            let ring = self.ring();
            let version = ring.current(Purpose::Field, self.now())?;
            let Material::Cipher(cipher) = version.material.as_ref() else {
                return Err(Error::Missing { what: "the field key" });
            };
            if version.use_once() > SEALS_MAX {
                return Err(Error::WornOut);
            }
            let binding = Binding { tenant: self.tenant(), subject, place, key: version.id };
            return seal(cipher, version.life.version, &binding, plain, entropy);
        }
        match self.held_now(subject)? {
            Held::Erased => Err(Error::Erased),
            Held::Missing => Err(Error::Unresolved),
            Held::Key(key) => {
                // This process's count since it fetched the key. One subject would need 50,000
                // seals in each second of a day to come near.
                if key.seals.fetch_add(1, Ordering::Relaxed) >= SEALS_MAX {
                    return Err(Error::WornOut);
                }
                let binding = Binding { tenant: self.tenant(), subject, place, key: key.id };
                seal(&key.cipher, SUBJECT_VERSION, &binding, plain, entropy)
            }
        }
    }

    /// Opens what [`Vault::seal`] made for the same subject and place.
    ///
    /// # Errors
    /// [`Error::Unresolved`], [`Error::Erased`], [`Error::NoKey`], or [`Error::Forged`] where a bit,
    /// the place, the subject or the tenant is another.
    pub fn open_sealed(
        &self,
        subject: Subject,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, Error> {
        let number = version_of(sealed)?;
        if subject == Subject::House {
            let ring = self.ring();
            let Some(version) = ring.version(Purpose::Field, number) else {
                // Perhaps another process has rotated: the next resolve reads the ring again.
                self.mark_stale();
                return Err(Error::Forged);
            };
            let Material::Cipher(cipher) = version.material.as_ref() else {
                return Err(Error::Erased);
            };
            let binding = Binding { tenant: self.tenant(), subject, place, key: version.id };
            return open(cipher, &binding, sealed).map(Secret::new);
        }
        match self.held_now(subject)? {
            Held::Erased => Err(Error::Erased),
            Held::Missing => Err(Error::NoKey),
            Held::Key(_) if number != SUBJECT_VERSION => Err(Error::Forged),
            Held::Key(key) => {
                let binding = Binding { tenant: self.tenant(), subject, place, key: key.id };
                open(&key.cipher, &binding, sealed).map(Secret::new)
            }
        }
    }

    /// Seals several columns of one row: `(column, plain)` in, sealed values out, in order.
    ///
    /// # Errors
    /// As [`Vault::seal`].
    pub fn seal_row(
        &self,
        subject: Subject,
        (table, row): (&str, [u8; 16]),
        columns: &[(&str, &[u8])],
        entropy: &dyn Entropy,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let seal_one = |(column, plain): &(&str, &[u8])| {
            self.seal(subject, Place { table, column, row }, plain, entropy)
        };
        columns.iter().map(seal_one).collect()
    }

    /// Opens several columns of one row.
    ///
    /// # Errors
    /// As [`Vault::open_sealed`].
    pub fn open_row(
        &self,
        subject: Subject,
        (table, row): (&str, [u8; 16]),
        columns: &[(&str, &[u8])],
    ) -> Result<Vec<Secret<Vec<u8>>>, Error> {
        let open_one = |(column, sealed): &(&str, &[u8])| {
            self.open_sealed(subject, Place { table, column, row }, sealed)
        };
        columns.iter().map(open_one).collect()
    }

    fn held_now(&self, subject: Subject) -> Result<Held, Error> {
        if let Subject::Day(day) = subject
            && day < self.ring().day_horizon
        {
            return Err(Error::Erased);
        }
        self.inner.cache.find(subject, self.now()).ok_or(Error::Unresolved)
    }

    /// A blind index: the same value in the same context gives the same 32 bytes, and nobody
    /// without the key can test a guess. `context` names table and column (`identity.email`), so
    /// that equal values in two columns cannot be joined. The caller normalises the value first.
    /// It tells which rows are equal: never index what has few values.
    #[must_use]
    pub fn blind(&self, context: &'static str, value: &[u8]) -> [u8; 32] {
        digest(&self.inner.digests.blind, &[b"blind", context.as_bytes(), value])
    }

    /// A keyed digest of a message, under the newest key. Compare by [`Vault::mac_matches`].
    #[must_use]
    pub fn mac(&self, context: &'static str, message: &[u8]) -> [u8; 32] {
        let ring = self.ring();
        let key = match ring.current(Purpose::Mac, self.now()) {
            Ok(version) => {
                version.use_once();
                match version.material.as_ref() {
                    Material::Mac(key) => key,
                    Material::Cipher(_) | Material::Pair(_) | Material::Gone => {
                        &self.inner.digests.mac
                    }
                }
            }
            Err(_) => &self.inner.digests.mac,
        };
        digest(key, &[b"mac", context.as_bytes(), message])
    }

    /// Whether `tag` is what [`Vault::mac`] gave for this message, under any version of the key.
    /// In constant time for each version.
    #[must_use]
    pub fn mac_matches(&self, context: &'static str, message: &[u8], tag: &[u8]) -> bool {
        let ring = self.ring();
        let parts: [&[u8]; 3] = [b"mac", context.as_bytes(), message];
        ring.versions(Purpose::Mac).iter().rev().any(|version| match version.material.as_ref() {
            Material::Mac(key) => {
                constant_time::verify_slices_are_equal(&digest(key, &parts), tag).is_ok()
            }
            Material::Cipher(_) | Material::Pair(_) | Material::Gone => false,
        })
    }

    /// A keyed pseudonym of an id, for the exported log.
    #[must_use]
    pub fn pseudonym(&self, id: &[u8]) -> [u8; 16] {
        let [first, ..] = halves(digest(&self.inner.digests.pseudonym, &[b"pseudonym", id]));
        first
    }
}

/// HMAC-SHA-256 over the framed parts.
fn digest(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let tag = hmac::sign(key, &frame(parts));
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    bytes
}

fn halves(bytes: [u8; 32]) -> [[u8; 16]; 2] {
    let number = |part: &[u8]| {
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(part) {
            *to = *from;
        }
        half
    };
    let (first, second) = bytes.split_at(16);
    [number(first), number(second)]
}

impl Sealer for Vault {
    fn resolve<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), SealError>> {
        Box::pin(async move {
            Self::resolve(self, subjects).await.map_err(|error| {
                tracing::warn!(%error, "keys were not resolved");
                SealError::from(error)
            })
        })
    }

    fn seal(
        &self,
        subject: Subject,
        place: Place<'_>,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        Ok(Self::seal(self, subject, place, plain, entropy)?)
    }

    fn open(
        &self,
        subject: Subject,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        Ok(self.open_sealed(subject, place, sealed)?.expose().clone())
    }

    fn pseudonym(&self, id: &[u8]) -> [u8; 16] {
        Self::pseudonym(self, id)
    }
}
