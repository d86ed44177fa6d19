//! What this room tells the log. Ids and words stand in the sealed part.

use crate::wish::WishId;

spine::events! {
    room = "wishes";
    /// An account made a wish.
    Made = "made" { plain { } sealed { wish: WishId } retain_days = 90, ocsf = 3001 }
    /// An account dropped a wish.
    Dropped = "dropped" { plain { } sealed { wish: WishId } retain_days = 90, ocsf = 3001 }
}
