//! What the program itself tells of: its keys.

use std::collections::BTreeMap;

spine::events! {
    room = "vault";
    /// A key got a new version.
    KeyRotated = "key_rotated" {
        plain { purpose: String, version: u32 } sealed {} retain_days = 3650, ocsf = 6003
    }
    /// What the keyholder's process opened and refused in one minute; `line` is the digest of the
    /// line in its own file, which shows whether that was changed since.
    KeysOpened = "keys_opened" {
        plain {
            minute: i64, opened: u64, refused: u64, kinds: BTreeMap<String, u64>, line: String,
            node: String,
        }
        sealed {} retain_days = 3650, ocsf = 6003
    }
    /// Every person's key was wrapped anew, and an old epoch destroyed.
    EpochRotated = "epoch_rotated" {
        plain { epoch: i64, rewrapped: u64 } sealed {} retain_days = 3650, ocsf = 6003
    }
    /// A recovery code for the root key was made; an older one is worthless.
    RecoveryMade = "recovery_made" {
        plain {} sealed {} retain_days = 3650, ocsf = 6003
    }
    /// The root key was opened by the recovery code and sealed by another passphrase.
    RecoveryUsed = "recovery_used" {
        plain {} sealed {} retain_days = 3650, ocsf = 6003
    }
}

/// The keys' events. The vault itself keeps its tables in a database of its own.
pub(crate) const ROOM: spine::Room = spine::Room {
    name: "vault",
    number: 3,
    tables: &[],
    events: EVENTS,
    migrations: &[],
    statements: &[],
    consumers: &[],
    obeys: &[],
};
