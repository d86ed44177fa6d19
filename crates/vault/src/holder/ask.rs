//! The questions to a keyholder and its answers. They name each key whole, so that a row that was
//! moved opens nothing; keys themselves stand beside what is said, never in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kernel::{KeyId, TenantId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spine::Subject;

use crate::aead::KeyBytes;
use crate::error::Error;
use crate::holder::tally::Minute;
use crate::holder::{BATCH_MAX, EPOCHS_MAX};
use crate::sealed::{purpose_context, subject_context};

/// Bytes, as text in a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A tenant's key of an epoch, wrapped under the epoch's key, as its row has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EpochKey {
    pub(crate) number: i64,
    pub(crate) wrapped: Bytes,
}

/// What keys hang under.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Under {
    pub(crate) tenant: TenantId,
    pub(crate) epochs: Vec<EpochKey>,
}

/// What a key is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Named {
    /// A purpose's key, by name: one that this program does not know is still re-wrapped.
    Purpose { purpose: String, version: u32 },
    /// A person's or a day's.
    #[serde(with = "subject_bytes")]
    Subject(Subject),
}

/// A key's whole name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyName {
    pub(crate) what: Named,
    pub(crate) id: KeyId,
}

impl KeyName {
    /// The context that the key is wrapped with under its tenant's key of an epoch.
    pub(crate) fn context(&self, tenant: TenantId, epoch: i64) -> Vec<u8> {
        match &self.what {
            Named::Purpose { purpose, version } => {
                purpose_context(tenant, purpose, *version, self.id, epoch)
            }
            Named::Subject(subject) => subject_context(tenant, *subject, self.id, epoch),
        }
    }
}

/// A wrapped key, as its row has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wrapped {
    pub(crate) name: KeyName,
    pub(crate) epoch: i64,
    pub(crate) wrapped: Bytes,
}

/// A question.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// How do you stand?
    Facts,
    /// What was opened in each minute after this one?
    Minutes { after: i64 },
    /// Write a new epoch's key, unless it stands.
    AddEpoch { epoch: i64 },
    /// Overwrite the key of an epoch that is over.
    OverwriteEpoch { epoch: i64 },
    /// Remove its file.
    RemoveEpoch { epoch: i64 },
    /// Make a fresh key of the tenant under an epoch.
    MakeTenant { tenant: TenantId, epoch: i64 },
    /// Make keys of these names under the one epoch.
    Make { under: Under, names: Vec<KeyName> },
    /// Open these keys.
    Open { under: Under, keys: Vec<Wrapped> },
    /// Wrap these keys anew under the epoch `to`.
    Rewrap { under: Under, to: i64, keys: Vec<Wrapped> },
    /// Give your files, for a backup of keys: all of them are wrapped. Refused where the root key is a
    /// bare file.
    Files,
}

impl Ask {
    /// The keys that it is about.
    pub(crate) fn names(&self) -> Box<dyn Iterator<Item = &KeyName> + Send + '_> {
        match self {
            Self::Make { names, .. } => Box::new(names.iter()),
            Self::Open { keys, .. } | Self::Rewrap { keys, .. } => {
                Box::new(keys.iter().map(|key| &key.name))
            }
            Self::Facts
            | Self::Minutes { .. }
            | Self::AddEpoch { .. }
            | Self::OverwriteEpoch { .. }
            | Self::RemoveEpoch { .. }
            | Self::MakeTenant { .. }
            | Self::Files => Box::new(std::iter::empty()),
        }
    }

    /// How many persons' and days' keys it wants to see.
    pub(crate) fn subjects_opened(&self) -> usize {
        let Self::Open { .. } = self else { return 0 };
        self.names().filter(|name| matches!(name.what, Named::Subject(_))).count()
    }

    /// Refuses what is longer than it may be.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let epochs = match self {
            Self::Make { under, .. } | Self::Open { under, .. } | Self::Rewrap { under, .. } => {
                under.epochs.len()
            }
            Self::Facts
            | Self::Minutes { .. }
            | Self::AddEpoch { .. }
            | Self::OverwriteEpoch { .. }
            | Self::RemoveEpoch { .. }
            | Self::MakeTenant { .. }
            | Self::Files => 0,
        };
        if self.names().count() > BATCH_MAX || epochs > EPOCHS_MAX {
            return Err(Error::TooMany { limit: BATCH_MAX });
        }
        Ok(())
    }
}

/// How a keyholder stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The vault's name.
    pub(crate) name: [u8; 16],
    /// The root's kind.
    pub(crate) root: String,
    /// Others on the host may read the folder.
    pub(crate) exposed: bool,
    /// The number of the volume that the folder lies on.
    pub(crate) volume: u64,
    /// The epochs whose files stand, in order.
    pub(crate) epochs: Vec<i64>,
}

/// A file of the keyholder's, by its name in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedFile {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

/// What an answer says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    Done,
    Facts(Facts),
    Minutes(Vec<Minute>),
    /// Wrapped keys; those that were made stand beside.
    Wrapped(Vec<Bytes>),
    /// The keys stand beside.
    Opened,
    Files(Vec<NamedFile>),
    Refused(No),
}

/// An answer: what it says, and keys.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) said: Said,
    pub(crate) keys: Vec<KeyBytes>,
}

impl From<Said> for Answer {
    fn from(said: Said) -> Self {
        Self { said, keys: Vec::new() }
    }
}

/// Why a keyholder says no, as it is told over the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum No {
    RootRefused,
    EpochGone { epoch: i64 },
    Forged,
    TooMany,
    Limited { retry_after_s: u32 },
    Denied { why: String },
    Failed { detail: String },
}

impl From<&Error> for No {
    fn from(error: &Error) -> Self {
        match error {
            Error::RootRefused => Self::RootRefused,
            Error::EpochGone { epoch } => Self::EpochGone { epoch: *epoch },
            Error::Forged => Self::Forged,
            Error::TooMany { .. } => Self::TooMany,
            Error::OpensLimited { retry_after_s } => {
                Self::Limited { retry_after_s: *retry_after_s }
            }
            Error::Denied { why } => Self::Denied { why: why.clone() },
            other => Self::Failed { detail: other.to_string() },
        }
    }
}

impl From<No> for Error {
    fn from(no: No) -> Self {
        match no {
            No::RootRefused => Self::RootRefused,
            No::EpochGone { epoch } => Self::EpochGone { epoch },
            No::Forged => Self::Forged,
            No::TooMany => Self::TooMany { limit: BATCH_MAX },
            No::Limited { retry_after_s } => Self::OpensLimited { retry_after_s },
            No::Denied { why } => Self::Denied { why },
            No::Failed { detail } => Self::Keyholder { detail },
        }
    }
}

mod subject_bytes {
    //! A subject as its 17 bytes.

    use super::{Bytes, Deserialize, Deserializer, Serialize, Serializer, Subject};

    pub(super) fn serialize<S: Serializer>(subject: &Subject, to: S) -> Result<S::Ok, S::Error> {
        Bytes(subject.to_bytes().to_vec()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Subject, D::Error> {
        let bytes = Bytes::deserialize(from)?;
        Subject::from_bytes(&bytes.0).ok_or_else(|| serde::de::Error::custom("no subject"))
    }
}
