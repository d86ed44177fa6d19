//! The room itself: what its verbs work with, in one value that is cheap to clone.

use spine::Spine;
use vault::Vault;

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
}
