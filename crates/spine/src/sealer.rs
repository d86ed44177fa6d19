//! What the spine needs of the vault: to seal and open the parts of an event's body.
//!
//! Sealing and opening are synchronous over keys that were resolved before the transaction began,
//! so that nothing waits for a key while it holds a row.

use std::future::Future;
use std::pin::Pin;

use kernel::{AccountId, Entropy};
use thiserror::Error;

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whose key a part of an event is sealed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A person with an account. Erasing the person destroys the key.
    Account(AccountId),
    /// Persons who are not known yet (a failed sign-in): the key of that UTC day (days since 1970),
    /// which retention destroys.
    Day(i64),
    /// No person: the installation's own key.
    House,
}

impl Subject {
    /// The subject as 17 bytes, a kind and 16 bytes, for key names and additional data.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        let (kind, id) = match self {
            Self::Account(id) => (1, *id.as_bytes()),
            Self::Day(day) => (2, i128::from(day).to_be_bytes()),
            Self::House => (3, [0; 16]),
        };
        for (to, from) in bytes.iter_mut().zip(std::iter::once(kind).chain(id)) {
            *to = from;
        }
        bytes
    }

    /// Reads what [`Subject::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        let id: [u8; 16] = id.try_into().ok()?;
        match kind {
            1 => Some(Self::Account(AccountId::from_bytes(id))),
            2 => i64::try_from(i128::from_be_bytes(id)).ok().map(Self::Day),
            3 => (id == [0; 16]).then_some(Self::House),
            _ => None,
        }
    }
}

/// The place that a sealed value stands in: it opens nowhere else (AAD, NIST SP 800-38D).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The row's id.
    pub row: [u8; 16],
}

/// Why a value cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The subject's key was destroyed: the person was erased, or the day's retention is over.
    #[error("the key of this value was destroyed")]
    Erased,
    /// The key was not resolved before the transaction began: a fault of the caller.
    #[error("the key of this value was not resolved beforehand")]
    Unresolved,
    /// There is no key for this value, and nothing says that it was destroyed.
    #[error("the key of this value is missing")]
    Missing,
    /// The sealed bytes are not what was written at this place.
    #[error("the sealed value was altered, or stands in another place")]
    Forged,
    /// The key store does not answer.
    #[error("the key store does not answer")]
    Unavailable,
}

/// The vault, as the spine sees it.
pub trait Sealer: Send + Sync {
    /// Fetches the keys of these subjects, so that sealing and opening need not wait. Subjects
    /// whose keys were destroyed are no error here: opening says so. A day's key is made when it is
    /// first asked for; an account's key is not.
    fn resolve<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), SealError>>;

    /// Seals under the subject's key.
    ///
    /// # Errors
    /// [`SealError::Unresolved`] or [`SealError::Erased`].
    fn seal(
        &self,
        subject: Subject,
        place: Place<'_>,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError>;

    /// Opens what [`Sealer::seal`] made for the same subject and place.
    ///
    /// # Errors
    /// [`SealError`], each of its kinds but `Unavailable`.
    fn open(&self, subject: Subject, place: Place<'_>, sealed: &[u8])
    -> Result<Vec<u8>, SealError>;

    /// Whether the subject's key can still seal: a probe, for those who would tell of somebody who
    /// may have been erased meanwhile.
    ///
    /// # Errors
    /// [`SealError`], each of its kinds but `Erased`.
    fn is_alive(&self, subject: Subject, entropy: &dyn Entropy) -> Result<bool, SealError> {
        let place = Place { table: "", column: "probe", row: [0; 16] };
        match self.seal(subject, place, b"", entropy) {
            Ok(_) => Ok(true),
            Err(SealError::Erased) => Ok(false),
            Err(
                error @ (SealError::Unresolved
                | SealError::Missing
                | SealError::Forged
                | SealError::Unavailable),
            ) => Err(error),
        }
    }

    /// A keyed pseudonym of an id for the log: the same id gives the same bytes, and no one without
    /// the key can tell which id it is.
    fn pseudonym(&self, id: &[u8]) -> [u8; 16];
}

/// The key that signs checkpoints, wherever it lives.
pub trait CheckpointSigner: Send + Sync {
    /// The log's name in its signature lines (C2SP signed-note key name).
    fn name(&self) -> &str;
    /// The Ed25519 public key, 32 bytes.
    fn public_key(&self) -> [u8; 32];
    /// Signs the note's text.
    ///
    /// # Errors
    /// [`SealError::Unavailable`] where the key store does not answer.
    fn sign(&self, note: &[u8]) -> Result<[u8; 64], SealError>;
}
