//! Every way the vault says no, and what each means for the one who asked. No variant carries key
//! material, a subject's id or a passphrase.

use std::path::PathBuf;

use kernel::{Kind, Refusal, Refused};
use spine::SealError;
use thiserror::Error;

use crate::purpose::Purpose;
use crate::steps::Step;

/// Why the vault did not do what was asked.
#[derive(Debug, Error)]
pub enum Error {
    /// A file of the keyholder folder cannot be read or written.
    #[error("the keyholder folder: {what} {path}")]
    File {
        /// What was tried (`read`, `write`, `destroy` ...).
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A key file or the keyholder folder is open to other users of the host.
    #[error(
        "{path} is open to other users of this host: set its mode to 0600 (a folder's to 0700)"
    )]
    Exposed {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file of the keyholder folder is not one that this version wrote.
    #[error("{path} is not a key file of this version: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The passphrase is wrong, or the root key is another installation's.
    #[error("the root key does not open the keyholder: a wrong passphrase, or another root key")]
    RootRefused,
    /// The passphrase of a sealed file is another.
    #[error("the passphrase does not open this file")]
    PassphraseRefused,
    /// A recovery code that was mistyped, or is another installation's.
    #[error("the recovery code is refused: {0}")]
    CodeRefused(&'static str),
    /// A file of the keyholder stands already and is another one.
    #[error("{path} stands already, and is another one: nothing was changed")]
    Stands {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase is too short to seal a root key.
    #[error("a passphrase of at least {least} characters is wanted")]
    WeakPassphrase {
        /// Fewest characters.
        least: usize,
    },
    /// There is a vault here already; `init` overwrites nothing.
    #[error("there is a vault here already: nothing was changed")]
    Exists,
    /// There is no vault here yet, or the database or the folder is the wrong one.
    #[error("there is no vault here: {what} is missing (run init, or mend the configuration)")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// Key database and keyholder folder are of two different vaults.
    #[error("the key database and the keyholder folder belong to two different vaults")]
    Mismatch,
    /// The key database is older than the last epoch rotation: its keys were destroyed on purpose.
    #[error(
        "the key database needs epoch {epoch}, whose key was destroyed: \
         it is older than the last epoch rotation"
    )]
    EpochGone {
        /// The epoch that is gone.
        epoch: i64,
    },
    /// The key database does not answer, or refused a statement.
    #[error("the key database: {0}")]
    Store(#[from] store::Error),
    /// The keyholder cannot be reached.
    #[error(
        "the keyholder does not answer at {socket}: is `stagedoor keyholder serve` up, or the `stagedoor serve` that starts it?"
    )]
    KeyholderAway {
        /// Its socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The keyholder could not do what was asked, for a reason of its own.
    #[error("the keyholder: {detail}")]
    Keyholder {
        /// What it said.
        detail: String,
    },
    /// The keyholder does not do this for whoever asks.
    #[error("the keyholder refuses: {why}")]
    Denied {
        /// Why.
        why: String,
    },
    /// More persons' keys were opened than the keyholder's budget allows.
    #[error("the keyholder opens no more keys for now: try again in {retry_after_s} s")]
    OpensLimited {
        /// When it may.
        retry_after_s: u32,
    },
    /// The subject's key was destroyed.
    #[error("the key of this subject was destroyed")]
    Erased,
    /// The subject has no key, and no tombstone either.
    #[error("the key of this subject is missing, and nothing says that it was destroyed")]
    NoKey,
    /// No key was resolved for the subject, or it has none.
    #[error("the key of this subject was not resolved, or was never made")]
    Unresolved,
    /// Sealed bytes that were altered, cut, or stand in another place.
    #[error("the sealed value was altered, or stands in another place")]
    Forged,
    /// A key has sealed as much as AES-GCM allows it to.
    #[error("this key has sealed as much as it may: rotate it")]
    WornOut,
    /// More subjects in one call than the cache holds.
    #[error("at most {limit} subjects in one call")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// No signing key set of this name.
    #[error("there is no signing key set of this name")]
    UnknownSigner,
    /// The house's own key belongs to no person, and is not shredded.
    #[error("the house's own key is not shredded: rotate it")]
    NotErasable,
    /// A rotation of this key has been made and its new version has not begun yet.
    #[error("a new version of the {} key is already waiting for its beginning", .0.name())]
    Pending(Purpose),
    /// A key of this purpose stays what it is: what was made with it would lose its meaning.
    #[error("the {} key is not rotated: what it made is compared for ever", .0.name())]
    Fixed(Purpose),
    /// Another process changed the same keys at the same time; asking again is safe.
    #[error("another process changed the same keys: ask again")]
    Raced,
    /// A token that is not one of ours, or not now, or not for this use.
    #[error("the token is refused: {0}")]
    Token(&'static str),
    /// A primitive failed on valid input: a fault of ours or of the machine.
    #[error("a cryptographic primitive failed: {0}")]
    Primitive(&'static str),
    /// A blocking task was cancelled, as when the program stops.
    #[error("the vault is stopping")]
    Stopping,
    /// A drill stopped the work after this step.
    #[error("stopped by a drill after {0:?}")]
    Stopped(Step),
}

impl Refusal for Error {
    fn refused(&self) -> Refused {
        use Kind::{Broken, Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable};
        let (kind, code) = match self {
            Self::File { .. } => (Unavailable, "vault.file_unavailable"),
            Self::Exposed { .. } => (Broken, "vault.exposed"),
            Self::Malformed { .. } => (Broken, "vault.malformed_file"),
            Self::RootRefused => (Forbidden, "vault.root_refused"),
            Self::PassphraseRefused => (Forbidden, "vault.passphrase_refused"),
            Self::CodeRefused(_) => (Forbidden, "vault.code_refused"),
            Self::Stands { .. } => (Conflict, "vault.file_stands"),
            Self::WeakPassphrase { .. } => (Invalid, "vault.weak_passphrase"),
            Self::Exists => (Conflict, "vault.exists"),
            Self::Missing { .. } => (Conflict, "vault.missing"),
            Self::Mismatch => (Broken, "vault.mismatch"),
            Self::EpochGone { .. } => (Broken, "vault.epoch_gone"),
            Self::Store(error) => (kind_of_store(error), "vault.store_unavailable"),
            Self::KeyholderAway { .. } => (Unavailable, "vault.keyholder_away"),
            Self::Keyholder { .. } => (Unavailable, "vault.keyholder_failed"),
            Self::Denied { .. } => (Broken, "vault.keyholder_refused"),
            Self::OpensLimited { .. } => (Unavailable, "vault.opens_limited"),
            Self::Erased => (NotFound, "vault.erased"),
            Self::Unresolved => (Broken, "vault.unresolved"),
            Self::NoKey => (Broken, "vault.no_key"),
            Self::Forged => (Broken, "vault.forged"),
            Self::WornOut => (Unavailable, "vault.worn_out"),
            Self::TooMany { .. } => (Invalid, "vault.too_many"),
            Self::UnknownSigner => (NotFound, "vault.unknown_signer"),
            Self::Pending(_) => (Conflict, "vault.rotation_pending"),
            Self::Fixed(_) => (Conflict, "vault.not_rotated"),
            Self::NotErasable => (Conflict, "vault.not_erasable"),
            Self::Raced => (Conflict, "vault.raced"),
            Self::Token(_) => (Unauthenticated, "vault.token_refused"),
            Self::Primitive(_) => (Broken, "vault.primitive_failed"),
            Self::Stopping => (Unavailable, "vault.stopping"),
            Self::Stopped(_) => (Broken, "vault.stopped"),
        };
        Refused::new(kind, code, self.outside())
    }
}

impl Error {
    /// The words for whoever asks from outside: where the keyholder is and what it lacks is the
    /// operator's business, and stands in the log.
    fn outside(&self) -> String {
        match self {
            Self::KeyholderAway { .. } | Self::Keyholder { .. } | Self::OpensLimited { .. } => {
                "the keys are not to be had just now: try again".to_owned()
            }
            other => other.to_string(),
        }
    }
}

/// A database that does not answer is no fault of ours; one that does not fit is.
const fn kind_of_store(error: &store::Error) -> Kind {
    match error {
        store::Error::Busy(_) | store::Error::Unavailable { .. } | store::Error::CommitFailed => {
            Kind::Unavailable
        }
        store::Error::Unique
        | store::Error::Broken(_)
        | store::Error::Column { .. }
        | store::Error::Rows { .. }
        | store::Error::Migration(_)
        | store::Error::Copy(_)
        | store::Error::File(_) => Kind::Broken,
    }
}

/// What the spine is told: its own four words.
impl From<Error> for SealError {
    fn from(error: Error) -> Self {
        match error {
            Error::Erased => Self::Erased,
            Error::Unresolved | Error::TooMany { .. } => Self::Unresolved,
            Error::NoKey => Self::Missing,
            Error::Forged => Self::Forged,
            Error::File { .. }
            | Error::Exposed { .. }
            | Error::Malformed { .. }
            | Error::RootRefused
            | Error::PassphraseRefused
            | Error::CodeRefused(_)
            | Error::Stands { .. }
            | Error::WeakPassphrase { .. }
            | Error::Exists
            | Error::Missing { .. }
            | Error::Mismatch
            | Error::EpochGone { .. }
            | Error::Store(_)
            | Error::KeyholderAway { .. }
            | Error::Keyholder { .. }
            | Error::Denied { .. }
            | Error::OpensLimited { .. }
            | Error::WornOut
            | Error::UnknownSigner
            | Error::Pending(_)
            | Error::Fixed(_)
            | Error::NotErasable
            | Error::Raced
            | Error::Token(_)
            | Error::Primitive(_)
            | Error::Stopping
            | Error::Stopped(_) => Self::Unavailable,
        }
    }
}
