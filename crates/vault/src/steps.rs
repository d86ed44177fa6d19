//! The moments between the steps of work that a crash may cut in two. A drill hands in a [`Drill`]
//! that stops the work there, so that tests can reopen the vault and go on.

use std::fmt;

use crate::error::Error;

/// A moment after which a crash leaves a state that the next start must understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `init`: the root key's file stands.
    RootWritten,
    /// `init`: the keyholder folder has its name.
    NameWritten,
    /// `init`, epoch rotation: the new epoch's key file stands; the database knows nothing of it.
    EpochWritten,
    /// `init`: the database has its name and first epoch, but no purpose keys.
    VaultRecorded,
    /// One purpose key more stands.
    PurposeRecorded,
    /// `create`: the row stands, the cache does not have it.
    SubjectRecorded,
    /// `shred`: the row is a tombstone, the cache still holds the key.
    SubjectErased,
    /// `retire_days`: the rows are gone, the cache still holds keys.
    DaysErased,
    /// Epoch rotation: new keys are wrapped under the new epoch, old ones still under the old.
    EpochRecorded,
    /// Epoch rotation: one batch more is wrapped under the new epoch.
    BatchRewrapped,
    /// Epoch rotation: nothing in the database needs the old epoch; its key file still stands.
    EpochClosed,
    /// Epoch rotation: the old epoch's key file is overwritten, not yet removed.
    EpochOverwritten,
}

/// A drill that may stop the vault's work after a step, as a crash would.
pub trait Drill: Send + Sync + fmt::Debug {
    /// True where the work is to stop here.
    fn stops_after(&self, step: Step) -> bool;
}

/// The drill of every day: none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoDrill;

impl Drill for NoDrill {
    fn stops_after(&self, _: Step) -> bool {
        false
    }
}

/// Goes on, unless the drill says to stop.
pub(crate) fn passed(drill: &dyn Drill, step: Step) -> Result<(), Error> {
    if drill.stops_after(step) { Err(Error::Stopped(step)) } else { Ok(()) }
}
