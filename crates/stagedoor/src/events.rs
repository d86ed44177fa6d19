//! What the program itself tells of: its keys.

spine::events! {
    room = "vault";
    /// A key got a new version.
    KeyRotated = "key_rotated" {
        plain { purpose: String, version: u32 } sealed {} retain_days = 3650, ocsf = 6003
    }
    /// Every person's key was wrapped anew, and an old epoch destroyed.
    EpochRotated = "epoch_rotated" {
        plain { epoch: i64, rewrapped: u64 } sealed {} retain_days = 3650, ocsf = 6003
    }
}
