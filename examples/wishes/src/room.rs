//! The room itself: what its verbs work with, in one value that is cheap to clone.

use spine::{Consumer, Spine};
use vault::Vault;

use crate::flood::Flood;

/// The room. Clones share everything.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub(crate) spine: Spine,
    pub(crate) vault: Vault,
}

impl Wishes {
    /// Opens the room.
    #[must_use]
    pub const fn open(spine: Spine, vault: Vault) -> Self {
        Self { spine, vault }
    }

    /// What follows the log for this room.
    #[must_use]
    pub fn consumers(&self) -> Vec<Box<dyn Consumer>> {
        vec![Box::new(Flood)]
    }
}
