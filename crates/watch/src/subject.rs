//! Whose key seals what this room keeps: the person's where there is one, the day's for clients
//! whom nobody knows, the house's for the rest. Erasing the person, or retiring the day, makes what
//! was sealed unreadable, and that is no error here.

use std::net::IpAddr;

use kernel::{AccountId, SessionId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spine::{About, Place, Row, SealError, Sealer, StoreError, Subject};

/// Reads the columns `account` and `day`.
pub(crate) fn subject_of(row: &Row) -> Result<Subject, StoreError> {
    let account = row.opt_bytes("account")?;
    let account = account.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    Ok(match (account, row.opt_int("day")?) {
        (Some(id), _) => Subject::Account(AccountId::from_bytes(id)),
        (None, Some(day)) => Subject::Day(day),
        (None, None) => Subject::House,
    })
}

/// The columns `account` and `day`.
pub(crate) fn columns(subject: Subject) -> (Option<[u8; 16]>, Option<i64>) {
    match subject {
        Subject::Account(id) => (Some(*id.as_bytes()), None),
        Subject::Day(day) => (None, Some(day)),
        Subject::House => (None, None),
    }
}

/// An event about a thing of this room, under the subject's key.
pub(crate) const fn about(
    subject: Subject,
    aggregate: &'static str,
    id: [u8; 16],
    version: i64,
) -> About {
    About { subject, aggregate, aggregate_id: id, version }
}

/// Opens a JSON value; none where its key was destroyed, or there is nothing.
pub(crate) fn open<T: DeserializeOwned>(
    sealer: &dyn Sealer,
    subject: Subject,
    place: Place<'_>,
    sealed: Option<&[u8]>,
) -> Result<Option<T>, spine::Error> {
    let Some(sealed) = sealed else { return Ok(None) };
    match sealer.open(subject, place, sealed) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(SealError::Erased) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whom an answer meets, as sealed beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedTarget {
    pub(crate) session: Option<SessionId>,
    pub(crate) address: Option<IpAddr>,
}
